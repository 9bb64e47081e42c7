"""aiokafka's producer and consumer over the Kafka in memory: the part of their interface that the engine uses.

Enters: the engine's calls. Leaves: what aiokafka would answer, its exceptions included.
Holds: a send's future fails by itself and the transaction can be committed all the same; a consumer never raises for a
broker that is away; ends of partitions are those of the last fetch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import (
    ConcurrentTransactions,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    OffsetOutOfRangeError,
    ProducerFenced,
)

from engine.runtime.kafka import partitioner
from tests.simulation.broker import Entry, Headers, SimKafka
from tests.simulation.group import Member
from tests.simulation.loop import PROCESS, Process
from tests.simulation.network import TIMEOUT_S

RETRY_S = 0.005


class Acknowledged:
    """What a send comes to."""

    __slots__ = ("offset",)

    def __init__(self, offset: int) -> None:
        self.offset = offset


class SimProducer:
    def __init__(
        self, kafka: SimKafka, transactional_id: str | None = None, transaction_timeout_ms: int = 0, **_: Any
    ) -> None:
        self._kafka = kafka
        self._network = kafka.network
        self.transactional_id = transactional_id
        self._timeout_s = transaction_timeout_ms / 1000
        self._epoch = -1
        self._fenced = False
        self._began_s = 0.0
        self._pending: dict[TopicPartition, list[tuple[Any, asyncio.Future[Acknowledged]]]] = {}
        self._deliveries: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        if self.transactional_id is None:
            await self._network.call("kafka", "connect", lambda: None, KafkaConnectionError)
            return
        tid = self.transactional_id
        while True:
            try:
                effect = lambda: self._kafka.initialise(tid)  # noqa: E731
                self._epoch = await self._network.call("kafka", f"initialise {tid}", effect, KafkaConnectionError)
                return
            except ConcurrentTransactions:
                await asyncio.sleep(RETRY_S)

    async def stop(self) -> None:
        """What was sent may still arrive."""

    async def partitions_for(self, topic: str) -> set[int]:
        return set(range(self._kafka.counts[topic]))

    async def begin_transaction(self) -> None:
        if self._fenced:
            raise ProducerFenced
        self._began_s = self._network.loop.time()

    async def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int | None = None,
        headers: Iterable[tuple[str, bytes]] = (),
        timestamp_ms: int | None = None,
    ) -> asyncio.Future[Acknowledged]:
        if partition is None:
            partition = partitioner(self._kafka.counts[topic])(key) if key else 0
        future: asyncio.Future[Acknowledged] = self._network.loop.create_future()
        if not self._pending:
            self._network.loop.call_soon(self._flush)
        record: tuple[bytes | None, bytes | None, Headers, int | None] = (key, value, tuple(headers), timestamp_ms)
        self._pending.setdefault(TopicPartition(topic, partition), []).append((record, future))
        return future

    def _flush(self) -> None:
        """Send what is pending, partition by partition, each on its own way."""
        pending, self._pending = self._pending, {}
        for tp, batch in pending.items():
            task = asyncio.ensure_future(self._deliver(tp, batch))
            self._deliveries.add(task)
            task.add_done_callback(self._deliveries.discard)

    async def _deliver(self, tp: TopicPartition, batch: list[tuple[Any, asyncio.Future[Acknowledged]]]) -> None:
        records = [record for record, _ in batch]
        sequence: list[int] = []  # idempotence: a batch that is sent again is appended once
        tid = self.transactional_id or ""

        def effect() -> int:
            self._kafka.checked(tid, self._epoch)
            if not sequence:
                sequence.append(self._kafka.produce(tid, self._epoch, self._timeout_s, tp, records))
            return sequence[0]

        error: Exception = KafkaTimeoutError()
        tries = 0
        while tries < 2:
            try:
                what = f"produce {len(records)} to {tp.topic}-{tp.partition} epoch {self._epoch}"
                first = await self._network.call("kafka", what, effect, KafkaConnectionError)
            except ConcurrentTransactions:
                await asyncio.sleep(RETRY_S)
                continue
            except KafkaConnectionError:
                tries += 1
                continue
            except KafkaError as other:
                self._fenced = self._fenced or isinstance(other, ProducerFenced)
                error = other
                break
            for index, (_, future) in enumerate(batch):
                if not future.done():
                    future.set_result(Acknowledged(first + index))
            return
        for _, future in batch:
            if not future.done():
                future.set_exception(error)
                future.exception()  # nobody may ask

    async def commit_transaction(self) -> None:
        tid, epoch = self.transactional_id or "", self._epoch
        if self._fenced:
            raise ProducerFenced
        loss = self._network.weather["kafka"].loss
        if loss and self._network.random.random() < loss:
            # No answer, however long one waits: was it done or not?
            done = self._network.random.random() < 0.5
            self._network.note(f"EndTxn of epoch {epoch} has no answer, done: {done}")
            self._network.seen["EndTxn without an answer"] += 1
            coordinator = self._kafka.coordinators[tid]
            if done and coordinator.epoch == epoch and coordinator.transaction is not None:
                self._kafka.end(tid, epoch, "committed")
            await asyncio.sleep(60)
        if loss and self._network.random.random() < loss:
            # This EndTxn is on its way for so long that the client sends another; it comes when it is not wanted.
            self._network.note(f"EndTxn of epoch {epoch} is late")
            await asyncio.sleep(TIMEOUT_S)
            coordinator = self._kafka.coordinators[tid]
            if coordinator.epoch == epoch:
                coordinator.late_end = (epoch, PROCESS.get())
        while True:
            try:
                effect = lambda: self._kafka.end(tid, epoch, "committed")  # noqa: E731
                await self._network.call("kafka", f"EndTxn epoch {epoch}", effect, KafkaConnectionError)
                break
            except ConcurrentTransactions:
                await asyncio.sleep(RETRY_S)
            except KafkaConnectionError:
                await asyncio.sleep(TIMEOUT_S)  # a client notices by its timeout; then it sends again
        process = PROCESS.get()
        if process is not None and process.after_commit is not None:
            await asyncio.sleep(process.after_commit(process))


class SimConsumer:
    def __init__(
        self,
        kafka: SimKafka,
        group_id: str | None = None,
        session_timeout_ms: int = 0,
        max_poll_records: int = 500,
        **_: Any,
    ) -> None:
        self._kafka = kafka
        self._network = kafka.network
        self._group_id = group_id
        self._member: Member | None = None
        self._limit = max_poll_records
        self._positions: dict[TopicPartition, int] = {}
        self._told: dict[TopicPartition, tuple[int, int]] = {}  # last stable offset and end, as last heard
        self.latest_ms = 0  # record time of the latest record handed out
        self.process = PROCESS.get()

    async def start(self) -> None:
        await self._network.call("kafka", "connect", lambda: None, KafkaConnectionError)

    async def stop(self) -> None:
        if self._member is not None and self._alive():
            self._kafka.group(self._group_id or "", "").leave(self._member)
            self._member = None

    def _alive(self) -> bool:
        return self.process is None or self.process.alive

    # -- the group ---------------------------------------------------------------------------------

    def subscribe(self, topics: list[str], listener: Any) -> None:
        assert self.process is not None
        process: Process = self.process

        async def tell(share: list[TopicPartition]) -> None:
            await listener.on_partitions_revoked([])
            await listener.on_partitions_assigned(share)

        def begin(share: list[TopicPartition]) -> None:
            self._network.loop.spawn(process, lambda: tell(share))

        self._member = Member(process, begin)
        if self._alive():
            self._kafka.group(self._group_id or "", topics[0]).join(self._member)

    def unsubscribe(self) -> None:
        if self._member is not None and self._alive():
            self._kafka.group(self._group_id or "", "").leave(self._member)

    def pause(self, *tps: TopicPartition) -> None:
        """A member that is paused reads nothing; it never does here."""

    # -- reading -----------------------------------------------------------------------------------

    async def topics(self) -> set[str]:
        return set(self._kafka.counts)

    async def beginning_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        effect = lambda: {tp: self._kafka.logs[tp].first for tp in tps}  # noqa: E731
        return await self._network.call("kafka", "beginning offsets", effect, KafkaConnectionError)

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        effect = lambda: {tp: self._kafka.logs[tp].stable for tp in tps}  # noqa: E731
        return await self._network.call("kafka", "end offsets", effect, KafkaConnectionError)

    def assign(self, tps: list[TopicPartition]) -> None:
        self._positions = dict.fromkeys(tps, 0)
        if len(tps) > 1:
            self._kafka.intakes[self.process, tps[0].partition] = self

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self._positions[tp] = offset

    async def position(self, tp: TopicPartition) -> int:
        return self._positions[tp]

    def last_stable_offset(self, tp: TopicPartition) -> int | None:
        return self._told[tp][0] if tp in self._told else None

    def highwater(self, tp: TopicPartition) -> int | None:
        return self._told[tp][1] if tp in self._told else None

    def behind(self) -> bool:
        """Whether it was told of more than it has read."""
        return any(self._told[tp][0] > position for tp, position in self._positions.items() if tp in self._told)

    async def getmany(self, *tps: TopicPartition, timeout_ms: int = 0) -> dict[TopicPartition, list[Entry]]:
        loop = self._network.loop
        until_s = loop.time() + timeout_ms / 1000
        wanted = tps or tuple(self._positions)
        while True:
            if self._member is None and any(self._kafka.logs[tp].stable > self._positions[tp] for tp in wanted):
                fetched = await self._fetch(wanted)
                if fetched:
                    return fetched
            remaining_s = until_s - loop.time()
            if remaining_s <= 0:
                return {}
            await self._wait(wanted, remaining_s)

    async def _fetch(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, list[Entry]]:
        """One round trip; empty when it goes wrong."""
        network, random, weather = self._network, self._network.random, self._network.weather["kafka"]
        future: asyncio.Future[Any] = network.loop.create_future()
        if weather.down or (weather.loss and random.random() < weather.loss):
            network.later(random.choice((0.02, 0.5)), self._arrive, future, ())
        else:
            network.later(2 * network.latency_s("kafka", self.process), self._arrive, future, tuple(tps))
        answer, broken = await future
        if broken:
            raise OffsetOutOfRangeError({tp: self._positions[tp] for tp in broken})
        fetched = {}
        for tp, (records, position, *told) in answer.items():
            self._told[tp] = (told[0], told[1])
            self._positions[tp] = max(self._positions[tp], position)
            if records:
                fetched[tp] = records
                self.latest_ms = max(self.latest_ms, max(record.timestamp for record in records))
        return fetched

    def _arrive(self, future: asyncio.Future[Any], tps: tuple[TopicPartition, ...]) -> None:
        """At the broker. It may leave out a partition, or give less than there is."""
        random, answer, broken = self._network.random, {}, []
        for tp in tps:
            position = self._positions[tp]
            if position < self._kafka.logs[tp].first:
                broken.append(tp)
                continue
            if random.random() < 0.15:
                continue
            limit = self._limit if random.random() < 0.5 else random.randint(1, 8)
            answer[tp] = self._kafka.fetch(tp, position, limit)
        if not future.done():
            future.set_result((answer, broken))

    async def _wait(self, tps: Iterable[TopicPartition], seconds: float) -> None:
        future: asyncio.Future[None] = self._network.loop.create_future()
        if self._member is None:
            for tp in tps:
                waiting = self._kafka.logs[tp].waiting
                if len(waiting) > 32:
                    waiting[:] = [other for other in waiting if not other.done()]
                waiting.append(future)
        handle = self._network.loop.call_later(seconds, _wake, future)
        try:
            await future
        finally:
            handle.cancel()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
