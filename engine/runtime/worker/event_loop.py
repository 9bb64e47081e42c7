"""The event loop that all partitions of a worker share: whose turn it is, how long a tick keeps it busy; and how the
process ends, by SIGTERM or SIGINT, once or several times, or when its loop hangs.

Enters: what partitions want to do; signals. Leaves: turns, clients for the next tick; an event that asks the
worker to stop, and in the end the process, with exit status 0 within a grace period.
Holds: nothing here changes what is decided. What cannot be finished in time, such as a unit while Kafka is away, is
finished by the next owner, as after a crash. Heartbeats to Kafka alone would keep a stuck partition for ever.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from functools import partial
from typing import Any, Final, Generic, TypeVar

import structlog

from engine.runtime.clients import Clients

T = TypeVar("T")

log = structlog.get_logger(__name__)

BEAT_S: Final = 0.5
LOOK_S: Final = 1.0
EXIT_HUNG: Final = 70
GRACE_S: Final = 9.0  # Docker kills after 10 seconds, Kubernetes after 30

TICK_BUSY_S: Final = 0.1  # what a part of a herd may keep the loop busy: an event waits for a few of these at most
LONGEST_TURN_S: Final = 2.0
NEAR: Final = 3
FIRST_CLIENTS: Final = 100
FEW_CLIENTS: Final = 20


class Turns:
    """How many partitions of a worker start, and how many work, at once; which one works off a herd: many clients who
    are due.

    A transaction or a start waits, at each of its steps, for whatever else the event loop has to do: with 64 partitions
    deciding and committing at once each step takes so long that transactions run out of time. Herds are worked off one
    at a time, so that events wait for no more than one, however many partitions have one.
    """

    def __init__(self, at_once: int, tick_clients: int, holds: Callable[[], bool] = lambda: False) -> None:
        """`tick_clients`: that a tick evaluates at most. `holds`: nothing is decided, since a rule is being paused."""
        self.holds = holds
        self.starting = asyncio.Semaphore(at_once)
        self.working = asyncio.Semaphore(at_once)
        self.herding: list[Turn] = []  # the first has its turn, the others wait
        self.pace = Pace(tick_clients)


class Turn:
    """The place of one partition in a line, which it keeps while it does other things."""

    def __init__(self, line: list[Turn]) -> None:
        self._line = line
        self._came = asyncio.Event()
        self._ends: asyncio.TimerHandle | None = None

    @property
    def near(self) -> bool:
        """Whether it may come soon."""
        return self in self._line[:NEAR]

    async def came(self, wait_s: float) -> bool:
        """Whether the turn has come, after waiting so long at most. Takes the last place when there was none."""
        if self not in self._line:
            self._line.append(self)
            if self is self._line[0]:
                self._begin()
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._came.wait()
        return self._came.is_set()

    def _begin(self) -> None:
        self._came.set()
        # who waits for a system that is away keeps nobody else from theirs
        self._ends = asyncio.get_running_loop().call_later(LONGEST_TURN_S, self.over)

    def over(self) -> None:
        """Give the turn, or the place, away."""
        self._came.clear()
        if self._ends is not None:
            self._ends.cancel()
        if self in self._line:
            first = self._line[0] is self
            self._line.remove(self)
            if first and self._line:
                self._line[0]._begin()


class Pace:
    """How many clients of a herd a tick takes: as many as keep the event loop busy for `TICK_BUSY_S`."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.few = min(FEW_CLIENTS, most)  # who are due are no herd
        self.clients = min(FIRST_CLIENTS, most)

    async def of(self, tick: Coroutine[Any, Any, bool]) -> bool:
        """Awaits a tick of so many clients; True, as it says, if there may be more."""
        timed = Timed(tick)
        more = await timed
        if more:
            right = self.clients * TICK_BUSY_S / max(timed.busy_s, 1e-6)
            right = min(max(right, self.clients / 2), self.clients * 2)  # one slow tick says little
            self.clients = min(max(int(right), self.few), self.most)
        return more


class Timed(Generic[T]):
    """Awaits a coroutine, and counts for how long it, and not what it waited for, kept the event loop busy."""

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self._work = work
        self.busy_s = 0.0

    def __await__(self) -> Generator[Any, Any, T]:
        clock = asyncio.get_running_loop().time
        work = self._work
        step = partial(work.send, None)
        while True:
            began = clock()
            try:
                waits_for = step()
            except StopIteration as end:
                result: T = end.value
                return result
            finally:
                self.busy_s += clock() - began
            try:
                answer = yield waits_for
            except GeneratorExit:
                work.close()
                raise
            except BaseException as error:  # whatever it is, it is for the work
                step = partial(work.throw, error)
            else:
                step = partial(work.send, answer)


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
