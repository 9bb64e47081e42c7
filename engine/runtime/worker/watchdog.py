"""Ends a process whose event loop hangs.

Enters: a deadline. Leaves: the process, when it passes. Holds: heartbeats to Kafka alone would keep a stuck partition
for ever.
"""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Final

import structlog

log = structlog.get_logger(__name__)

BEAT_S: Final = 0.5
LOOK_S: Final = 1.0
EXIT_HUNG: Final = 70


class Watchdog:
    """`beat` is a task of the event loop, `watch` runs in a thread beside it."""

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._loop = asyncio.get_running_loop()
        self._beat_at = self._loop.time()

    async def beat(self) -> None:
        while True:
            self._beat_at = self._loop.time()
            await asyncio.sleep(BEAT_S)

    def watch(self) -> None:
        never = threading.Event()
        while not never.wait(LOOK_S):
            if self._loop.time() - self._beat_at > self._deadline_s:
                log.critical("the event loop hangs: ending the process")
                os._exit(EXIT_HUNG)
