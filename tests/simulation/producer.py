"""aiokafka's producer over the Kafka in memory: the part of its interface that the engine uses.

Enters: the engine's calls. Leaves: what aiokafka would answer, its exceptions included.
Holds: batches go their own ways, partition by partition; a send's future fails by itself, and the transaction can be
committed all the same; an EndTxn may be late, repeated, or without an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import (
    ConcurrentTransactions,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    ProducerFenced,
)

from engine.runtime.partitioning import partitioner
from tests.simulation.broker import Headers, SimKafka
from tests.simulation.loop import PROCESS
from tests.simulation.network import TIMEOUT_S

RETRY_S: Final = 0.005
MOST_TOGETHER: Final = 3  # records of a batch: some have to be several
Record = tuple[bytes | None, bytes | None, Headers, int | None]  # key, value, headers, timestamp


class Acknowledged:
    """What a send comes to."""

    __slots__ = ("offset",)

    def __init__(self, offset: int) -> None:
        self.offset = offset


class SimBatch(list[Record]):
    """Records of one partition."""

    def append(  # type: ignore[override]
        self, *, timestamp: int | None, key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes]]
    ) -> bool | None:
        if len(self) == MOST_TOGETHER:
            return None
        super().append((key, value, tuple(headers), timestamp))
        return True


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
        record: Record = (key, value, tuple(headers), timestamp_ms)
        self._pending.setdefault(TopicPartition(topic, partition), []).append((record, future))
        return future

    def create_batch(self) -> SimBatch:
        return SimBatch()

    async def send_batch(self, batch: SimBatch, topic: str, *, partition: int) -> asyncio.Future[Acknowledged]:
        future: asyncio.Future[Acknowledged] = self._network.loop.create_future()
        if not self._pending:
            self._network.loop.call_soon(self._flush)
        self._pending.setdefault(TopicPartition(topic, partition), []).extend((record, future) for record in batch)
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

    async def send_offsets_to_transaction(self, offsets: dict[TopicPartition, int], group_id: str) -> None:
        tid, epoch = self.transactional_id or "", self._epoch
        effect = lambda: self._kafka.commit_offsets(tid, epoch, offsets)  # noqa: E731
        await self._network.call("kafka", f"commit offsets of {group_id}", effect, KafkaConnectionError)

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
