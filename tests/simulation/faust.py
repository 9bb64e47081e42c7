"""As much of Faust as the worker uses, without threads and sockets: an app, a channel, agents, pages that nobody asks.

Enters: the worker's wiring. Leaves: its agents, running. Holds: an agent's actors take from one channel, each one item
at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any


class Channel:
    def __init__(self, maxsize: int) -> None:
        self._queue: asyncio.Queue[Any] = asyncio.Queue(maxsize)

    async def put(self, item: Any) -> None:
        await self._queue.put(item)

    async def __aiter__(self) -> AsyncIterator[Any]:
        while True:
            yield await self._queue.get()


class SimApp:
    def __init__(self, *_: Any, **__: Any) -> None:
        self.flow_control = self
        self._actors: list[Callable[[], Any]] = []
        self._tasks: list[asyncio.Task[Any]] = []

    def channel(self, maxsize: int) -> Channel:
        return Channel(maxsize)

    def agent(self, channel: Channel, concurrency: int, name: str) -> Callable[[Any], Any]:
        def register(actor: Any) -> Any:
            self._actors += [lambda: actor(channel)] * concurrency
            return actor

        return register

    def page(self, path: str) -> Callable[[Any], Any]:
        return lambda handler: handler

    async def start(self) -> None:
        self._tasks = [asyncio.get_running_loop().create_task(actor()) for actor in self._actors]

    def resume(self) -> None:
        """Faust's own consumer, which is off."""

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
