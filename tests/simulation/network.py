"""The way between processes and servers: requests that are slow, lost, or done without an answer.

Enters: what a request does at the server. Leaves: its answer, or a connection error.
Holds: what was sent arrives even when the sender is killed or stopped meanwhile; a dead process sends nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from random import Random
from typing import Any, Final, TypeVar

from tests.simulation.loop import PROCESS, Process, SimLoop

T = TypeVar("T")
TIMEOUT_S: Final = 1.5  # after which a client gives up a request


@dataclass(slots=True)
class Weather:
    """How things stand on the way to one server."""

    down: bool = False
    mute: bool = False  # requests arrive, no answer comes back
    loss: float = 0.0  # part of requests that go wrong
    slowness: float = 1.0


class Network:
    def __init__(self, loop: SimLoop, random: Random, kill: Callable[[Process], None]) -> None:
        self.loop = loop
        self.random = random
        self.weather = {"kafka": Weather(), "redis": Weather()}
        self.trace: list[tuple[float, str, str]] | None = None
        self.seen: Counter[str] = Counter()  # what went wrong, to show that faults do happen
        self.kill = kill
        self._servers = Context()

    def note(self, text: str, process: Process | None = None) -> None:
        if self.trace is not None:
            who = process or PROCESS.get()
            self.trace.append((self.loop.time(), who.name if who is not None else "-", text))

    def later(self, delay_s: float, callback: Callable[..., Any], *args: Any) -> None:
        """Something a server does by itself."""
        self.loop.call_later(delay_s, callback, *args, context=self._servers)

    def latency_s(self, system: str, process: Process | None = None) -> float:
        slowness = max(
            self.weather[system].slowness, process.slowness if process is not None and system == "kafka" else 1.0
        )
        delay_s = self.random.expovariate(400.0) * slowness  # 2.5 ms in the mean, one way
        return min(delay_s, 1.0)

    async def call(self, system: str, what: str, effect: Callable[[], T], lost: Callable[[], Exception]) -> T:
        """Have a server do something. Raises what `lost` makes when there is no answer, or what the effect raises."""
        process = PROCESS.get()
        if process is not None:
            if not process.alive:
                raise asyncio.CancelledError
            process.calls += 1
            if process.trap is not None and process.trapped(what):
                self.note(f"at request {process.calls}: {what}")
                process.trap(process)
                if not process.alive:
                    if self.random.random() < 0.5:  # it was on its way already
                        self._send(system, what, effect, self.loop.create_future(), lost, process)
                    raise asyncio.CancelledError
        future: asyncio.Future[T] = self.loop.create_future()
        self._send(system, what, effect, future, lost, process)
        return await future

    def _send(
        self,
        system: str,
        what: str,
        effect: Callable[[], T],
        future: asyncio.Future[T],
        lost: Callable[[], Exception],
        process: Process | None,
    ) -> None:
        self.later(self.latency_s(system, process), self._arrive, system, what, effect, future, lost, process)

    def _arrive(
        self,
        system: str,
        what: str,
        effect: Callable[[], T],
        future: asyncio.Future[T],
        lost: Callable[[], Exception],
        process: Process | None,
    ) -> None:
        weather = self.weather[system]
        if weather.down:
            self.seen[f"{system} down"] += 1
            self.later(self.random.choice((0.001, 0.2, TIMEOUT_S)), _fail, future, lost)
            return
        dice = self.random.random() / weather.loss if weather.loss else 1.0
        if dice < 0.3:
            self.seen[f"{system} request lost"] += 1
            self.note(f"request lost: {what}", process)
            self.later(self.random.choice((0.001, TIMEOUT_S)), _fail, future, lost)
            return
        if dice < 0.5:  # the client gives up, and the request arrives all the same
            self.seen[f"{system} request late"] += 1
            self.later(self.random.choice((0.001, TIMEOUT_S)), _fail, future, lost)
            delay_s = self.random.choice((0.01, 0.3, 2.0, 6.0)) * self.random.random()
            self.later(delay_s, self._perform, f"late: {what}", effect, process)
            return
        answer, error = self._perform(what, effect, process)
        if weather.mute or dice < 0.8:
            self.seen[f"{system} answer lost"] += 1
            self.note(f"answer lost: {what}", process)
            self.later(self.random.choice((0.001, TIMEOUT_S)), _fail, future, lost)
        elif dice < 0.9:
            self.seen[f"{system} answer slow"] += 1
            self.later(self.random.random() * 2 * TIMEOUT_S, _answer, future, answer, error)
        else:
            self.later(self.latency_s(system, process), _answer, future, answer, error)
            if dice < 1.0 and system == "redis":  # something on the way sends it again
                self.seen["redis request repeated"] += 1
                self.later(self.random.random() * 2.0, self._perform, f"again: {what}", effect, process)

    def _perform(
        self, what: str, effect: Callable[[], T], process: Process | None
    ) -> tuple[T | None, Exception | None]:
        try:
            answer = effect()
        except Exception as error:
            self.note(f"{what}: {error!r}", process)
            return None, error
        self.note(what, process)
        return answer, None


def _answer(future: asyncio.Future[Any], answer: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(answer)
    else:
        future.set_exception(error)


def _fail(future: asyncio.Future[Any], lost: Callable[[], Exception]) -> None:
    if not future.done():
        future.set_exception(lost())
