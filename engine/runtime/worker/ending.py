"""How a worker's process ends: by SIGTERM or SIGINT, once or several times, within a grace period whatever hangs.

Enters: signals. Leaves: an event that asks the worker to stop; in the end the process, with exit status 0.
Holds: what cannot be finished in time, such as a unit while Kafka is away, is finished by the partition's next owner,
as after a crash.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from typing import Final

import structlog

from engine.runtime.clients import Clients

log = structlog.get_logger(__name__)

GRACE_S: Final = 9.0  # Docker kills after 10 seconds, Kubernetes after 30


def stop_on_signals(clients: Clients) -> asyncio.Event:
    """Set by the first signal; further ones change nothing."""
    stop = asyncio.Event()

    def begin() -> None:
        if not stop.is_set():
            stop.set()
            clients.thread(_leave_anyway, "grace period")

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, begin)
    return stop


def _leave_anyway() -> None:
    threading.Event().wait(GRACE_S)
    log.warning("worker ends in the middle: its partitions' next owners finish what it had begun", after_s=GRACE_S)
    leave()


def leave() -> None:
    """End the process at once. What still runs are threads that compile rules or resolve names, and a signal that comes
    while Python tidies up would end it with another status.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)
