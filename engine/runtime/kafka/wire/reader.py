"""A consumer of aiokafka's that reads by shared long polls, not by fetches of its own.

Enters: a consumer that was started and has nothing assigned yet. Leaves: the same consumer; records by its `getmany`.
Holds: positions, offsets that the broker tells, and what an aborted transaction wrote are aiokafka's business, as they
are for any consumer. What is at hand is bounded: whoever does not take it gets no more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from aiokafka import TopicPartition
from aiokafka.consumer import fetcher

from engine.runtime.kafka.wire.any_header import Batch, Records
from engine.runtime.kafka.wire.polls import Answer, Polls
from engine.runtime.kafka.wire.sessions import Asked, end_of

Make = Callable[[int, list[Any]], list[Any]]  # of a partition's records, each in the place of one

FULL_BYTES: Final = 16_384  # at hand of one partition of a topic


@dataclass(slots=True)
class _AtHand:
    """What was fetched of a partition of a topic, in order, and not yet taken; and its bytes."""

    results: deque[tuple[Any, int]] = field(default_factory=deque)
    size_bytes: int = 0
    next: int | None = None  # from where to fetch next; None: not known before all is taken


class _Piece(NamedTuple):
    """What stands for a record where aiokafka leaves out what was aborted and what was read before."""

    offset: int  # of the last of them
    records: list[Any]


class _InPieces(Batch):
    def __iter__(self) -> Iterator[_Piece]:
        return (_Piece(piece[-1].offset, piece) for piece in self.pieces())


class _Unread(fetcher.PartitionRecords):  # type: ignore[misc]
    """Its records come in pieces: one by one, they go through three generators of Python's."""

    make: Make

    def _consumer_record(self, tp: TopicPartition, piece: _Piece) -> list[Any]:
        first, records = self.next_fetch_offset, piece.records
        return self.make(
            tp.partition, records if records[0].offset >= first else [r for r in records if r.offset >= first]
        )


class Fetcher(fetcher.Fetcher):  # type: ignore[misc]
    """Of a consumer that assigns partitions itself, once, and seeks their offsets at the same moment."""

    def __init__(
        self,
        made: Mapping[TopicPartition, Make],
        polls: Polls,
        wall_ms: Callable[[], int],
        client: Any,
        subscriptions: Any,
        **options: Any,
    ):
        self.client = client
        self._made = made
        self._polls = polls
        self._wall_ms = wall_ms
        self._assigned: Any = None
        self._at_hand: dict[TopicPartition, _AtHand] = {}
        self._error: Exception | None = None
        super().__init__(client, subscriptions, **options)
        self.isolation: int = self._isolation_level

    async def _fetch_requests_routine(self) -> None:
        """The task that aiokafka's fetcher begins with and ends at its close."""
        try:
            await self._subscriptions.wait_for_assignment()
            self._assigned = self._subscriptions.subscription.assignment
            self._at_hand = {tp: _AtHand(next=self._assigned.state_value(tp).position) for tp in self._assigned.tps}
            self._polls.join(self, self._assigned.tps)
            await asyncio.wait([self._assigned.unassign_future])
        except Exception as error:  # for whoever reads
            self.fail(error)
            self.told()
        finally:
            self._polls.leave(self)

    # -- for the polls -----------------------------------------------------------------------------

    def wants(self, tp: TopicPartition) -> Asked | None:
        at_hand = self._at_hand[tp]
        if at_hand.next is None or at_hand.size_bytes >= FULL_BYTES:
            return None
        return Asked(at_hand.next, self._max_partition_fetch_bytes)

    def take(self, tp: TopicPartition, offset: int, answer: Answer) -> None:
        at_hand, state = self._at_hand[tp], self._assigned.state_value(tp)
        if at_hand.next != offset:
            return
        state.highwater, state.lso = answer.end, answer.stable
        self.heard(tp)
        records = Records(answer.batches, _InPieces)
        if not records.has_next():
            return
        unread = _Unread(tp, records, answer.aborted, offset, None, None, self._check_crcs, self._isolation_level)
        unread.make = self._made[tp]
        result = fetcher.FetchResult(tp, assignment=self._assigned, partition_records=unread, backoff=0)
        size_bytes = len(answer.batches)
        at_hand.results.append((result, size_bytes))
        at_hand.size_bytes += size_bytes
        at_hand.next = end_of(answer.batches) if at_hand.size_bytes < FULL_BYTES else None

    def fail(self, error: Exception) -> None:
        self._error = error

    def heard(self, tp: TopicPartition) -> None:
        state = self._assigned.state_value(tp)
        state.timestamp = max(self._wall_ms(), (state.timestamp or 0) + 1)  # another answer has another time

    def told(self) -> None:
        for waiter in self._fetch_waiters:
            self._notify(waiter)

    # -- for the consumer --------------------------------------------------------------------------

    async def fetched_records(
        self, partitions: Collection[TopicPartition], timeout: float = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[Any]]:
        """What is at hand, or comes within the timeout; of more than `max_records` the rest of a piece. Raises what
        cannot be read.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        while True:
            found = self._taken(partitions, max_records)
            if found or loop.time() >= until:
                return found
            waiter = self._create_fetch_waiter()
            wakes = loop.call_at(until, self._notify, waiter)
            try:
                await waiter
            finally:
                wakes.cancel()

    def _taken(self, partitions: Collection[TopicPartition], most: int | None) -> dict[TopicPartition, list[Any]]:
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        found: dict[TopicPartition, list[Any]] = {}
        for tp, at_hand in self._at_hand.items():
            if partitions and tp not in partitions:
                continue
            records: list[Any] = []
            while at_hand.results and (most is None or most > 0):
                result, size_bytes = at_hand.results[0]
                for piece in result.getall(1):
                    records += piece
                    if most is not None:
                        most -= len(piece)
                if result.has_more():
                    continue
                at_hand.results.popleft()
                at_hand.size_bytes -= size_bytes
                if not at_hand.results:
                    at_hand.next = self._assigned.state_value(tp).position
                self._polls.changed(tp)
            if records:
                found[tp] = records
        return found


async def share_polls(
    consumer: Any, made: Mapping[TopicPartition, Make], polls: Polls, wall_ms: Callable[[], int]
) -> None:
    """Have the consumer read these by shared polls, and hand out what is made of their records. One that is no real
    consumer, as in a simulation, reads as it does.
    """
    own = getattr(consumer, "_fetcher", None)
    if own is None:
        return
    await own.close()
    consumer._fetcher = Fetcher(
        made,
        polls,
        wall_ms,
        consumer._client,
        consumer._subscription,
        max_partition_fetch_bytes=consumer._max_partition_fetch_bytes,
        check_crcs=consumer._check_crcs,
        retry_backoff_ms=consumer._retry_backoff_ms,
        auto_offset_reset=consumer._auto_offset_reset,
        isolation_level=consumer._isolation_level,
    )
