"""The inbound topics of one partition, read again as a worker read them.

Enters: ranges of offsets, which only go forward. Leaves: records in the order in which they were decided.
Holds: what a topic no longer has is left out, or refused to whoever needs it whole; what it should have is waited for
a while only.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from aiokafka import TopicPartition

from engine.core.contract.topics import ranks
from engine.runtime.clients import Consumer
from engine.runtime.errors import Refused, Unavailable
from engine.runtime.protocol.intake import Merger, merge
from engine.runtime.protocol.records import Inbound
from engine.runtime.settings import Settings

PIECE_RECORDS: Final = 5_000
STALLED_S: Final = 30.0

Ranges = Mapping[str, tuple[int, int]]


class RecordedInputs:
    """Reads range after range, by a consumer of its own."""

    def __init__(
        self,
        settings: Settings,
        consumer: Consumer,
        partition: int,
        whole: bool = False,
        ranked: Mapping[str, int] | None = None,
    ) -> None:
        """Of the topics in `ranked`, by default those of clients' events, with their places in the merge."""
        self._ranks = ranked or ranks()
        self._consumer = consumer
        self._whole = whole
        self._tps = {topic: TopicPartition(settings.topic(topic), partition) for topic in self._ranks}
        self._held: dict[str, list[Any]] = {topic: [] for topic in self._ranks}
        self._first: dict[str, int] = {}

    async def _begin(self) -> None:
        """Go to the first offset that any unit can have read."""
        tps = list(self._tps.values())
        first = await self._consumer.beginning_offsets(tps)
        self._consumer.assign(tps)
        for tp in tps:
            self._consumer.seek(tp, first[tp])
        self._first = {topic: first[tp] for topic, tp in self._tps.items()}

    async def _fetch(self, tp: TopicPartition) -> list[Any]:
        """Records that were not fetched before: a fetch may give some again. There are some, or markers."""
        position = await self._consumer.position(tp)
        clock = asyncio.get_running_loop().time
        until = clock() + STALLED_S
        while True:
            fetched = await self._consumer.getmany(tp, timeout_ms=100, max_records=PIECE_RECORDS)
            if fetched or await self._consumer.position(tp) > position:
                return [record for record in fetched.get(tp, ()) if record.offset >= position]
            if clock() > until:
                raise Unavailable(
                    "kafka",
                    f"{tp.topic}-{tp.partition} gives no records at {position}, but the ledger says that later ones "
                    "were decided: Kafka has lost them, or the topic was made anew",
                )

    async def read(self, ranges: Ranges) -> list[Inbound]:
        """The records of a batch, in its order."""
        if not self._first:
            await self._begin()
        found = {}
        for topic, (begin, end) in ranges.items():
            held, tp = self._held[topic], self._tps[topic]
            first = self._first[topic]
            if self._whole and begin < first:
                raise Refused(
                    f"partition {tp.partition}: {tp.topic} no longer holds offsets {begin} to {first - 1}, which were "
                    "decided: a replay from the ledger needs all of them"
                )
            while await self._consumer.position(tp) < end:
                held += await self._fetch(tp)
            count = bisect_left(held, end, key=lambda record: record.offset)
            found[topic] = [record for record in held[:count] if record.offset >= begin]
            del held[:count]
        return [record for _, record in merge({t: r for t, r in found.items() if r}, self._ranks)]

    async def pass_over(self, ranges: Ranges) -> None:
        """Leave out the records of a batch, without reading those that were not fetched yet."""
        if not self._first:
            await self._begin()
        for topic, (_, end) in ranges.items():
            held, tp = self._held[topic], self._tps[topic]
            del held[: bisect_left(held, end, key=lambda record: record.offset)]
            if await self._consumer.position(tp) < end:
                self._consumer.seek(tp, end)

    async def read_until(self, offsets: Mapping[str, int]) -> AsyncIterator[list[Inbound]]:
        """All records before these offsets, in pieces: as intake merges them when all of them lie there."""
        if not self._first:
            await self._begin()
        ends = {topic: max(offsets.get(topic, 0), first) for topic, first in self._first.items()}
        merger = Merger(self._first, self._ranks)
        for topic, end in ends.items():
            merger.add(topic, [], self._first[topic], end)
        while not merger.caught_up:
            for topic in merger.lacking():
                tp = self._tps[topic]
                records = await self._fetch(tp)
                count = bisect_left(records, ends[topic], key=lambda record: record.offset)
                self._held[topic] += records[count:]
                merger.add(topic, records[:count], min(await self._consumer.position(tp), ends[topic]), ends[topic])
            batch = merger.cut(PIECE_RECORDS)
            if batch is not None:
                yield list(batch.records)
