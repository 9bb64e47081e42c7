"""How far the inbound topics are decided, for programs that watch lag: committed as the offsets of the workers' group.

Enters: where the partitions of this worker stand. Leaves: offsets that kafka-consumer-groups, KEDA and others read.
Holds: nothing in the engine reads them back: a partition begins where its position says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from aiokafka import TopicPartition

from engine.runtime.clients import Clients, Producer
from engine.runtime.kafka.connection import discard, errors
from engine.runtime.settings import Settings

ALL_AGAIN_S: Final = 60.0  # also what has not moved: two owners of a partition may have committed in the wrong order
GIVE_UP_S: Final = 3.0


class Progress:
    """A member cannot commit what it does not subscribe to by aiokafka's own consumer, and who is not a member of a
    group that has members cannot by a consumer at all. A transaction can: it asks for no member.
    """

    def __init__(self, settings: Settings, clients: Clients) -> None:
        self._settings = settings
        self._clients = clients
        # no other worker's: it would be fenced
        self._transactional_id = f"{settings.group}-progress-{int(clients.chance() * 2**48):012x}"
        self._producer: Producer | None = None
        self._committed: dict[TopicPartition, int] = {}
        self._all_again_at = 0.0

    async def commit(self, reached: Mapping[int, Mapping[str, int]]) -> bool:
        """What has moved of the next offsets, by partition and topic; whether anything has. Raises Unavailable, within
        seconds, Refused or Fenced; the next commit tries all again.
        """
        now = asyncio.get_running_loop().time()
        if now >= self._all_again_at:
            self._all_again_at, self._committed = now + ALL_AGAIN_S, {}
        offsets = {
            TopicPartition(self._settings.topic(topic), number): offset
            for number, topics in reached.items()
            for topic, offset in topics.items()
        }
        moved = {tp: offset for tp, offset in offsets.items() if self._committed.get(tp) != offset}
        if not moved:
            return False
        committed, self._committed = self._committed, {}
        try:
            with errors():
                async with asyncio.timeout(GIVE_UP_S):
                    await self._write(moved)
        except BaseException:
            await self.stop()
            raise
        self._committed = committed | moved
        return True

    async def _write(self, offsets: dict[TopicPartition, int]) -> None:
        if self._producer is None:
            self._producer = self._clients.producer(
                **self._settings.kafka_client(), transactional_id=self._transactional_id
            )
            await self._producer.start()
        await self._producer.begin_transaction()
        await self._producer.send_offsets_to_transaction(offsets, self._settings.group)
        await self._producer.commit_transaction()

    async def stop(self) -> None:
        producer, self._producer = self._producer, None
        await discard(producer)
