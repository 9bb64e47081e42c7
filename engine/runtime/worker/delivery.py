"""The way through Faust: a channel, and the engagement agent whose actors take batches from it.

Enters: a partition and a batch. Leaves: what the partition made of it, or what went wrong.
Holds: nothing else in the engine knows the channel or the agent; the agent never leaks an exception.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from dataclasses import dataclass
from typing import Any, Final

from engine.runtime.protocol.intake import Batch
from engine.runtime.protocol.partition import Partition

CHANNEL_ITEMS: Final = 1024


@dataclass(frozen=True, slots=True)
class _Item:
    """A batch on its way, and the future that says how it went."""

    partition: Partition
    batch: Batch
    decided_ms: int
    done: asyncio.Future[None]


class Delivery:
    """One for a worker, with as many actors as partitions work at once."""

    def __init__(self, app: Any, actors: int) -> None:
        self._channel = app.channel(maxsize=CHANNEL_ITEMS)
        app.agent(self._channel, concurrency=actors, name="engagement")(self._engage)

    async def deliver(self, partition: Partition, batch: Batch, decided_ms: int) -> None:
        """Have an actor give the batch to the partition. Returns, or raises, what `take` does."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self._channel.put(_Item(partition, batch, decided_ms, done))
        await done

    async def _engage(self, items: AsyncIterable[_Item]) -> None:
        async for item in items:
            try:
                await item.partition.take(item.batch, item.decided_ms)
            except Exception as error:  # whoever delivered it handles it
                if not item.done.cancelled():
                    item.done.set_exception(error)
            else:
                if not item.done.cancelled():
                    item.done.set_result(None)
