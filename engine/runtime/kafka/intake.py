"""The inbound topics of one partition, read from Kafka.

Enters: the offsets to begin at. Leaves: batches.
Holds: a consumer of its own that no group moves, assigned once; nothing but its own partition's offsets moves it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import structlog
from aiokafka import TopicPartition

from engine.runtime.clients import Clients, Consumer
from engine.runtime.errors import Refused
from engine.runtime.kafka.connection import discard, errors, reader
from engine.runtime.kafka.open_transactions import OpenTransactions
from engine.runtime.kafka.topics import grown
from engine.runtime.kafka.wire.polls import Polls
from engine.runtime.kafka.wire.reader import FULL_BYTES, share_polls
from engine.runtime.protocol.intake import MAX_BATCH_BYTES, Batch, Held, Merger
from engine.runtime.protocol.records import fetched
from engine.runtime.settings import Settings

log = structlog.get_logger(__name__)

FETCH_AHEAD_BYTES: Final = 24_000_000  # over all partitions of a worker
BATCHES_RECORDS: Final = 20_000  # too: records at hand take memory, and deciding a batch holds all partitions up
LEAST_BATCH_RECORDS: Final = 250
MERGE_WAIT_S: Final = 0.5
HEARD_S: Final = 5.0


class KafkaIntake:
    """The inbound topics of one partition, by a consumer of its own that no group moves."""

    def __init__(
        self,
        settings: Settings,
        clients: Clients,
        ranks: Mapping[str, int],
        partition: int,
        partitions: int,
        share: int = 1,
        polls: Polls | None = None,
        room: Callable[[], int] = lambda: BATCHES_RECORDS,
    ) -> None:
        """`ranks`: the topics, with their places in the merge. Each has `partitions`. The worker reads `share` of them,
        by the same `polls`, and divides what it may hold at once.
        """
        self._settings = settings
        self._clients = clients
        self._partitions = partitions
        ahead = FETCH_AHEAD_BYTES // (share * len(ranks))
        self._batch_records = min(settings.batch_records, max(BATCHES_RECORDS // share, LEAST_BATCH_RECORDS))
        self._fetch_bytes = min(max(ahead, FULL_BYTES), 1_048_576)
        self._polls = polls or Polls()
        self._room = room
        self._topics = {topic: TopicPartition(settings.topic(topic), partition) for topic in ranks}
        self._names = {tp: topic for topic, tp in self._topics.items()}
        self._reader: reader | None = None
        self._consumer: Consumer | None = None
        self._ranks = ranks
        self.merger = Merger(dict.fromkeys(ranks, 0), ranks)
        self._forget_answers()

    def _forget_answers(self) -> None:
        self._heard_ms, self._heard_at = 0, -HEARD_S  # when all topics' ends were last heard of, by two clocks
        self._open = OpenTransactions(self._ranks)
        # each topic's last answer, and when it came
        self._answered: dict[str, tuple[int | None, int, int]] = dict.fromkeys(self._ranks, (None, 0, 0))
        # An answer that is new now was asked for after the last but one look: what was on its way then came before it
        self._looked_ms: deque[int] = deque([0, 0], maxlen=2)

    @property
    def caught_up(self) -> bool:
        """aiokafka is silent about a broker that does not answer: while the ledger's does, records may wait at it."""
        return self.merger.caught_up and _now_s() - self._heard_at < HEARD_S

    def readable_ms(self, now_ms: int) -> int:
        return self._open.readable_ms(now_ms)

    def held(self) -> list[Held]:
        return [replace(held, topic=self._topics[held.topic].topic) for held in self._open.held(_now_s())]

    async def start(self, offsets: dict[str, int]) -> dict[str, int]:
        """Seek the offsets, or a topic's beginning if there is none. Raises Refused when a topic lost what is
        needed.
        """
        await self.stop()
        self._forget_answers()
        self._reader = reader(
            self._settings,
            self._clients,
            [tp.topic for tp in self._names],
            max_poll_records=self._batch_records,
            max_partition_fetch_bytes=self._fetch_bytes,
        )
        consumer = self._consumer = await self._reader.__aenter__()
        tps = list(self._topics.values())
        made = {tp: partial(fetched, topic) for tp, topic in self._names.items()}
        with errors():
            await share_polls(consumer, made, self._polls, self._clients.wall_ms)
            first, end = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
            begin = {}
            for topic, tp in self._topics.items():
                begin[topic] = offsets.get(topic, first[tp])
                if topic not in offsets and first[tp]:
                    log.warning(
                        "the first records were deleted before this engine read any: passed over",
                        topic=tp.topic,
                        partition=tp.partition,
                        before_offset=first[tp],
                    )
                if not first[tp] <= begin[topic] <= end[tp]:
                    raise Refused(
                        f"partition {tp.partition}: {tp.topic} must be read from offset {begin[topic]} but holds "
                        f"{first[tp]} to {end[tp]}: events are missing. Restore the topic, or go on without "
                        "them: `engage accept-loss`"
                    )
            # no await between assign and seek: a fetch from elsewhere must not begin
            consumer.assign(tps)
            for topic, tp in self._topics.items():
                consumer.seek(tp, begin[topic])
        self.merger = Merger(begin, self._ranks)
        for topic, tp in self._topics.items():
            self.merger.add(topic, [], begin[topic], end[tp])
        return begin

    async def next(self, wait_s: float) -> Batch | None:
        """The next batch, or None after waiting. Waits a little for topics that lag behind the others."""
        limit = min(self._batch_records, max(self._room(), LEAST_BATCH_RECORDS))
        with errors():
            records, size_bytes = self.merger.held()
            if records < limit and size_bytes < MAX_BATCH_BYTES:
                await self._fetch((), wait_s)
            until = _now_s() + MERGE_WAIT_S
            while self.merger.held()[0] and (lacking := self.merger.lacking()) and _now_s() < until:
                await self._fetch([self._topics[topic] for topic in lacking], 0.05)
        return self.merger.cut(limit)

    async def _fetch(self, tps: Sequence[TopicPartition], wait_s: float) -> None:
        consumer = self._consumer
        assert consumer is not None
        found = await consumer.getmany(*tps, timeout_ms=int(wait_s * 1000))
        lacking = self.merger.lacking()
        for tp, topic in self._names.items():
            answered_ms = consumer.last_poll_timestamp(tp)
            if answered_ms == self._answered[topic][0] and tp not in found and topic not in lacking:
                continue  # nothing has been heard of it since
            partitions = len(consumer.partitions_for_topic(tp.topic) or ())  # which the client asks for every minute
            if partitions > self._partitions:  # nobody would read those that are new
                raise Refused(grown(tp.topic, partitions, self._partitions))
            end = consumer.highwater(tp) or 0
            stable = consumer.last_stable_offset(tp)
            if stable is None or stable < 0:
                stable = end
            position = await consumer.position(tp)
            self.merger.add(topic, found.get(tp, ()), position, max(stable, position), end)
            answer = answered_ms, stable, end
            if answered_ms and answer != self._answered[topic]:
                self._answered[topic] = answer
                self._open.note(topic, stable, end, self._looked_ms[0], _now_s())
        self._looked_ms.append(self._clients.wall_ms())
        heard_ms = min(consumer.last_poll_timestamp(tp) or 0 for tp in self._names)
        if heard_ms and heard_ms != self._heard_ms:  # the wall clock may be moved
            self._heard_ms, self._heard_at = heard_ms, _now_s()

    async def stop(self) -> None:
        consumer, self._consumer = self._consumer, None
        await discard(consumer)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
