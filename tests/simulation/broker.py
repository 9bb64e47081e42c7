"""A Kafka in memory: what of it the engine's promise rests on.

Enters: requests of clients. Leaves: records, offsets, errors.
Holds: a transaction's records are visible once its marker stands behind them in their partition; markers take offsets
and come one partition after another; the coordinator knows one epoch for each transactional id and refuses all others,
ends what is left open after its timeout, and takes an EndTxn that comes late for the one it is waiting for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import ConcurrentTransactions, InvalidTxnState, ProducerFenced

from tests.simulation.group import Group
from tests.simulation.loop import Process
from tests.simulation.network import Network

Headers = tuple[tuple[str, bytes], ...]


@dataclass(slots=True, eq=False)
class Transaction:
    transactional_id: str
    epoch: int
    outcome: str = ""  # committed or aborted, once decided
    partitions: dict[TopicPartition, None] = field(default_factory=dict)


@dataclass(slots=True)
class Entry:
    """A record as consumers see it, or a marker (key and value None)."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    transaction: Transaction | None = None
    marker: bool = False
    at_s: float = 0.0  # when it was appended
    timestamp_type: int = 0  # as the producer has it

    @property
    def readable(self) -> bool:
        return not self.marker and (self.transaction is None or self.transaction.outcome == "committed")


class PartitionLog:
    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.first = 0  # what retention has left
        self.open: dict[Transaction, int] = {}
        self.waiting: list[asyncio.Future[None]] = []

    @property
    def end(self) -> int:
        return len(self.entries)

    @property
    def stable(self) -> int:
        """The last stable offset: nothing before it is of an open transaction."""
        return min(self.open.values(), default=len(self.entries))

    def committed(self) -> Iterable[Entry]:
        """Everything ever visible, retention or not."""
        return (entry for entry in self.entries[: self.stable] if entry.readable)

    def changed(self) -> None:
        for future in self.waiting:
            if not future.done():
                future.set_result(None)
        self.waiting.clear()


class Coordinator:
    """Of one transactional id."""

    def __init__(self) -> None:
        self.epoch = -1
        self.transaction: Transaction | None = None
        self.last = ""
        self.late_end: tuple[int, Process | None] | None = None  # the epoch of an EndTxn still on its way


class SimAdmin:
    """An admin client of a broker that says nothing of its topics' settings."""

    def __init__(self, **_: Any) -> None:
        """Kafka's addresses are of no use here."""

    async def start(self) -> None:
        """Asks nothing."""

    async def close(self) -> None:
        """Holds nothing open."""

    async def describe_configs(self, config_resources: list[Any]) -> list[Any]:
        return []


class SimKafka:
    def __init__(self, network: Network, partitions: int) -> None:
        self.network = network
        self.partitions = partitions
        self.logs: dict[TopicPartition, PartitionLog] = {}
        self.counts: dict[str, int] = {}
        self.coordinators: dict[str, Coordinator] = {}
        self.told_monitors: Callable[[dict[TopicPartition, int]], None] = lambda offsets: None
        self.groups: dict[str, Group] = {}
        self.intakes: dict[
            tuple[Process | None, str, int], Any
        ] = {}  # who reads a scope's inbound topics of a partition
        self.wall_ms = lambda: 0

    def create(self, topic: str, partitions: int) -> None:
        self.counts[topic] = partitions
        for partition in range(partitions):
            self.logs[TopicPartition(topic, partition)] = PartitionLog()

    def group(self, group_id: str, topic: str) -> Group:
        if group_id not in self.groups:
            self.groups[group_id] = Group(self.network, [tp for tp in self.logs if tp.topic == topic])
        return self.groups[group_id]

    # -- records -----------------------------------------------------------------------------------

    def append(
        self,
        tp: TopicPartition,
        key: bytes | None,
        value: bytes | None,
        headers: Headers = (),
        timestamp_ms: int | None = None,
        transaction: Transaction | None = None,
    ) -> int:
        log = self.logs[tp]
        offset = log.end
        if transaction is not None:
            log.open.setdefault(transaction, offset)
            transaction.partitions[tp] = None
        timestamp_ms = self.wall_ms() if timestamp_ms is None else timestamp_ms
        now_s = self.network.loop.time()
        log.entries.append(Entry(*tp, offset, timestamp_ms, key, value, headers, transaction, at_s=now_s))
        log.changed()
        return offset

    def fetch(self, tp: TopicPartition, offset: int, limit: int) -> tuple[list[Entry], int, int, int]:
        """Visible records from an offset, the offset after what was read, the last stable offset, the end."""
        log = self.logs[tp]
        records: list[Entry] = []
        stable = log.stable
        while offset < stable and len(records) < limit:
            entry = log.entries[offset]
            offset += 1
            if entry.readable:
                records.append(entry)
        return records, offset, stable, log.end

    def since(self, tp: TopicPartition, time_ms: int) -> Entry | None:
        """The first record, or marker, held that is not older."""
        log = self.logs[tp]
        return next((entry for entry in log.entries[log.first : log.stable] if entry.timestamp >= time_ms), None)

    # -- transactions ------------------------------------------------------------------------------

    def initialise(self, transactional_id: str) -> int:
        """A new epoch: whoever holds an older one is fenced, and what it left open is aborted."""
        coordinator = self.coordinators.setdefault(transactional_id, Coordinator())
        transaction = coordinator.transaction
        if transaction is not None:
            if not transaction.outcome:
                coordinator.epoch += 1
                self._end(coordinator, transaction, "aborted")
            raise ConcurrentTransactions
        coordinator.epoch += 1
        return coordinator.epoch

    def produce(
        self,
        transactional_id: str,
        epoch: int,
        timeout_s: float,
        tp: TopicPartition,
        records: list[tuple[bytes | None, bytes | None, Headers, int | None]],
    ) -> int:
        """Append records to the open transaction, beginning one; the first offset."""
        coordinator = self.checked(transactional_id, epoch)
        transaction = coordinator.transaction
        if transaction is not None and transaction.outcome:
            raise ConcurrentTransactions
        if transaction is None:
            transaction = coordinator.transaction = Transaction(transactional_id, epoch)
            self.network.later(timeout_s, self._expire, coordinator, transaction)
        first = self.logs[tp].end
        for key, value, headers, timestamp_ms in records:
            self.append(tp, key, value, headers, timestamp_ms, transaction)
        late, coordinator.late_end = coordinator.late_end, None
        if late is not None and late[0] == epoch:
            self.network.seen["late EndTxn"] += 1
            self.network.note(f"the late EndTxn of {transactional_id} epoch {epoch} arrives", late[1])
            self._end(coordinator, transaction, "committed")
            if late[1] is not None and self.network.random.random() < 0.5:
                self.network.later(0.0, self.network.kill, late[1])
        return first

    def end(self, transactional_id: str, epoch: int, outcome: str) -> None:
        """EndTxn."""
        coordinator = self.checked(transactional_id, epoch)
        transaction = coordinator.transaction
        if transaction is None:
            if coordinator.last != outcome:
                raise InvalidTxnState
        elif not transaction.outcome:
            self._end(coordinator, transaction, outcome)
        else:
            raise ConcurrentTransactions if transaction.outcome == outcome else InvalidTxnState

    def commit_offsets(self, transactional_id: str, epoch: int, offsets: dict[TopicPartition, int]) -> None:
        """Of a group, for monitors: in a transaction that has nothing else."""
        self.checked(transactional_id, epoch).last = "committed"
        self.told_monitors(offsets)

    def checked(self, transactional_id: str, epoch: int) -> Coordinator:
        coordinator = self.coordinators[transactional_id]
        if epoch != coordinator.epoch:
            raise ProducerFenced
        return coordinator

    def _expire(self, coordinator: Coordinator, transaction: Transaction) -> None:
        if coordinator.transaction is transaction and not transaction.outcome:
            self.network.seen["transaction timed out"] += 1
            self.network.note(f"transaction of {transaction.transactional_id} epoch {transaction.epoch} timed out")
            coordinator.epoch += 1
            self._end(coordinator, transaction, "aborted")

    def _end(self, coordinator: Coordinator, transaction: Transaction, outcome: str) -> None:
        """The outcome is decided; the markers follow, one partition after another."""
        transaction.outcome = outcome
        delay_s = 0.0
        for tp in transaction.partitions:
            delay_s += self.network.latency_s("kafka")
            self.network.later(delay_s, self._mark, transaction, tp)
        self.network.later(delay_s, self._complete, coordinator, transaction)

    def _mark(self, transaction: Transaction, tp: TopicPartition) -> None:
        log = self.logs[tp]
        if log.open.pop(transaction, None) is not None:
            now_s = self.network.loop.time()
            log.entries.append(Entry(*tp, log.end, self.wall_ms(), None, None, (), transaction, True, now_s))
            log.changed()

    def _complete(self, coordinator: Coordinator, transaction: Transaction) -> None:
        coordinator.transaction = None
        coordinator.last = transaction.outcome
