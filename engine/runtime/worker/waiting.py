"""What a worker waits for, and its lines in the log: one when a wait begins, one a minute, one when it is over.

Enters: who waits for what (a partition's number, or a step of the worker), who no longer waits. Leaves: the systems
that are away, `engage_waiting`, lines.
Holds: however many wait, and however often they try, a wait is one of the whole worker. One that begins and ends again
and again writes a few lines a minute.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from engine.runtime.observe.metrics import Metrics

log = structlog.get_logger(__name__)

SYSTEMS: Final = ("kafka", "redis")
UPGRADE: Final = "upgrade"  # of this worker: a newer engine wrote what it found
SAY_EVERY_S: Final = 60.0
LINES_AT_ONCE: Final = 4  # within that time; what happens beyond is said with the next line

Who = int | str


@dataclass(slots=True)
class _Wait:
    """`said`: whether the log's last line says that it is waited for."""

    who: set[Who] = field(default_factory=set)
    since: float = 0.0
    error: str = ""
    tries: int = 0  # since the last line
    times: int = 0  # how often it began since the last line
    said: bool = False
    lines: deque[float] = field(default_factory=lambda: deque(maxlen=LINES_AT_ONCE))
    timer: asyncio.TimerHandle | None = None


class Waiting:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._waits = {what: _Wait() for what in (*SYSTEMS, UPGRADE)}

    @property
    def systems(self) -> list[str]:
        return [system for system in SYSTEMS if self._waits[system].who]

    def begin(self, what: str, who: Who, error: object) -> None:
        """`who` waits for this, and nothing else; call it again at each try that fails."""
        self.end(who, *(other for other in self._waits if other != what))
        wait = self._waits[what]
        wait.tries += 1
        wait.error = str(error)
        if not wait.who:
            wait.since = asyncio.get_running_loop().time()
            wait.times += 1
            self._show(what, 1)
        wait.who.add(who)
        if not wait.said:
            self._say_soon(what)

    def end(self, who: Who, *whats: str, gone: bool = False) -> None:
        """`who` no longer waits, for anything or for these. One that is `gone` knows nothing of what it waited for."""
        for what in whats or self._waits:
            wait = self._waits[what]
            if who not in wait.who:
                continue
            wait.who.discard(who)
            if not wait.who:
                self._show(what, 0)
                if not gone:
                    self._say_soon(what)

    def _show(self, what: str, waits: int) -> None:
        if what in SYSTEMS:
            self._metrics.waiting.labels(what).set(waits)

    def _say_soon(self, what: str) -> None:
        """At once, unless much was said of it in the last minute: then when that is over."""
        wait, loop = self._waits[what], asyncio.get_running_loop()
        left_s = wait.lines[0] + SAY_EVERY_S - loop.time() if len(wait.lines) == LINES_AT_ONCE else 0.0
        if left_s <= 0:
            self._say(what)
        elif wait.timer is None:
            wait.timer = loop.call_later(left_s, self._say, what)

    def _say(self, what: str) -> None:
        wait, loop = self._waits[what], asyncio.get_running_loop()
        if wait.timer is not None:
            wait.timer.cancel()
            wait.timer = None
        waits = bool(wait.who)
        if waits or wait.said or wait.times:
            begun = "" if waits and not wait.said else "still " if waits else "no longer "
            level = logging.INFO if not waits else logging.ERROR if what == UPGRADE else logging.WARNING
            waiting = "waiting for this worker's upgrade" if what == UPGRADE else "waiting"
            log.log(level, begun + waiting, **self._fields(what, loop.time()))
            wait.lines.append(loop.time())
        wait.said, wait.tries, wait.times = waits, 0, 0
        if waits:
            wait.timer = loop.call_later(SAY_EVERY_S, self._say, what)

    def _fields(self, what: str, now: float) -> dict[str, Any]:
        wait = self._waits[what]
        fields: dict[str, Any] = {"system": what} if what in SYSTEMS else {}
        if wait.who:
            fields["error"] = wait.error
        if wait.said:
            fields["for_s"] = round(now - wait.since, 1)
            if wait.who:
                fields["partitions"] = sum(isinstance(who, int) for who in wait.who)
        if wait.tries > 1:
            fields["tries"] = wait.tries
        if wait.times > 1:
            fields["times"] = wait.times
        return fields
