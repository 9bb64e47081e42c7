"""Intake: the records of one partition of all inbound topics, merged into batches that know where they begin.

Enters: records as fetched, topic by topic. Leaves: Batch.
Holds: a batch is a contiguous range of each topic; its order is a function of its records alone: by record time, ties
in the order of the topics, each topic's offsets in order. So a batch can be made again from its ranges.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Final, Protocol

from engine.core.contract.topics import ranks
from engine.runtime.protocol.records import Inbound, Record, inbound

MAX_BATCH_BYTES: Final = 4_000_000


@dataclass(frozen=True, slots=True)
class Batch:
    """Records in the order in which they are decided; `ranges` gives their offsets by topic, [begin, end)."""

    records: Sequence[Inbound]
    ranges: dict[str, tuple[int, int]]
    size_bytes: int
    waiting: int = 0  # records that are known to come after it, about: markers of transactions count


@dataclass(frozen=True, slots=True)
class Held:
    """A topic whose records have waited behind an open transaction for so long."""

    topic: str
    offset: int  # where the transaction begins
    records: int
    seconds: float


@dataclass(slots=True)
class _Queue:
    """What was fetched of one topic and not yet put into a batch."""

    records: list[Record] = field(default_factory=list)
    size_bytes: int = 0
    begin: int = 0  # where the next batch begins
    fetched: int = 0  # the consumer's position: after the last record fetched, markers included
    end: int = 0  # the last known end of what can be read of the topic
    log_end: int = 0  # of the topic itself: between the two are records behind an open transaction


class Merger:
    """Holds fetched records until they can be merged. It knows no consumer: it only adds and cuts."""

    def __init__(self, offsets: Mapping[str, int], ranked: Mapping[str, int] | None = None) -> None:
        self._ranks = ranked or ranks()
        self._queues = {topic: _Queue(begin=offsets[topic], fetched=offsets[topic]) for topic in self._ranks}

    def add(self, topic: str, records: Sequence[Record], position: int, end: int, log_end: int = 0) -> None:
        """Add fetched records of a topic, with the consumer's position after them and the last known end of what can
        be read, and of all that the topic holds if that is more.
        """
        queue = self._queues[topic]
        new = [r for r in records if r.offset >= queue.fetched]
        queue.records += new
        queue.size_bytes += _size(new)
        queue.fetched = max(queue.fetched, position)
        queue.end = max(queue.end, end)
        queue.log_end = max(queue.end, log_end)

    def lacking(self) -> list[str]:
        """Topics that have more records but none fetched: merging past them would take later records first."""
        return [t for t, q in self._queues.items() if not q.records and q.fetched < q.end]

    def held(self) -> tuple[int, int]:
        """Records at hand, and their bytes."""
        queues = self._queues.values()
        return sum(len(q.records) for q in queues), sum(q.size_bytes for q in queues)

    @property
    def caught_up(self) -> bool:
        return all(not q.records and q.fetched >= q.end for q in self._queues.values())

    def lag(self) -> dict[str, int]:
        # with nothing at hand, what was fetched past the last batch was markers and aborted transactions
        return {t: max(q.log_end - (q.begin if q.records else q.fetched), 0) for t, q in self._queues.items()}

    def cut(self, limit: int) -> Batch | None:
        """The next batch, of at most `limit` records; None if there are no records."""
        at_hand = {topic: queue.records for topic, queue in self._queues.items() if queue.records}
        taken, taken_bytes = dict.fromkeys(self._queues, 0), dict.fromkeys(self._queues, 0)
        merged: list[Inbound] = []
        records, size_bytes = self.held()
        if len(at_hand) == 1 and records <= limit and size_bytes <= MAX_BATCH_BYTES:  # usual while many wait
            [(topic, fetched)] = at_hand.items()
            merged = list(inbound(topic, fetched, self._ranks))
            taken[topic], taken_bytes[topic] = records, size_bytes
        else:
            frontier = self._frontier()
            size_bytes = 0
            for topic, record in merge(at_hand, self._ranks):
                if (
                    len(merged) >= limit
                    or size_bytes >= MAX_BATCH_BYTES
                    or (frontier is not None and (record.timestamp_ms, self._ranks[topic]) > frontier)
                ):
                    break
                merged.append(record)
                size = _size((record,))
                taken[topic] += 1
                taken_bytes[topic] += size
                size_bytes += size
        ranges: dict[str, tuple[int, int]] = {}
        for topic, queue in self._queues.items():
            count = taken[topic]
            last = queue.records[count - 1] if count else None
            queue.size_bytes -= taken_bytes[topic]
            del queue.records[:count]
            end = queue.fetched if not queue.records else last.offset + 1 if last else queue.begin
            if end > queue.begin:
                ranges[topic] = (queue.begin, end)
                queue.begin = end
        # without records there may be markers and aborted ones: a position that stayed before them would one day be
        # before all that Kafka still holds, and look as if events were missing
        waiting = sum(queue.end - queue.begin for queue in self._queues.values() if queue.end > queue.begin)
        return Batch(merged, ranges, size_bytes, waiting) if ranges else None

    def _frontier(self) -> tuple[int, int] | None:
        """What a topic that is behind has not shown yet comes, in the order of the merge, after the latest it has
        shown.
        """
        return min(
            (
                (max(r.timestamp for r in queue.records), self._ranks[topic])
                for topic, queue in self._queues.items()
                if queue.records and queue.fetched < queue.end
            ),
            default=None,
        )


def _size(records: Iterable[Record | Inbound]) -> int:
    """What they take in memory, about."""
    return sum([len(record.value or b"") + len(record.key or b"") + 100 for record in records])


class Intake(Protocol):
    """Where a partition's records come from. Errors: Unavailable, Refused."""

    merger: Merger

    @property
    def caught_up(self) -> bool:
        """Whether everything that could be read of the topics a moment ago is in batches."""

    def readable_ms(self, now_ms: int) -> int:
        """Whatever came before this moment can be read; `now_ms` while no transaction of a producer is open."""

    def held(self) -> Sequence[Held]:
        """The topics, by their real names, whose records have waited behind an open transaction for long."""

    async def start(self, offsets: dict[str, int]) -> dict[str, int]:
        """Seek the offsets, or a topic's beginning if there is none; returns where it begins."""

    async def next(self, wait_s: float) -> Batch | None:
        """The next batch, or None after waiting."""

    async def stop(self) -> None: ...


def merge(
    records: Mapping[str, Sequence[Record]], ranked: Mapping[str, int] | None = None
) -> Iterator[tuple[str, Inbound]]:
    """k-way merge by record time; ties by rank; each topic's own order is kept even if its
    times fall.
    """
    ranked = ranked or ranks()
    streams = [_stream(topic, records[topic], ranked) for topic in ranked if topic in records]
    return heapq.merge(*streams, key=lambda pair: pair[1].timestamp_ms)


def _stream(topic: str, records: Sequence[Record], ranked: Mapping[str, int]) -> Iterator[tuple[str, Inbound]]:
    return zip(repeat(topic), inbound(topic, records, ranked), strict=False)
