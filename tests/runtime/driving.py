"""One partition over a Log and a Store in memory, driven by hand.

Enters: a history of events. Leaves: batches as the intake cuts them, and what a run without any fault comes to.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from prometheus_client import CollectorRegistry

from engine.core.client.record import public_fields, work_places
from engine.core.client.sections import pack
from engine.core.client.state import ClientState
from engine.core.contract.message import Message
from engine.core.contract.topics import intake_topics
from engine.core.decide.path import Input, decide
from engine.core.plan.compile import Plan
from engine.core.reading.decode import Taken
from engine.processors.engagement import ENGAGEMENT
from engine.runtime.observe.metrics import Metrics
from engine.runtime.protocol.intake import Batch, Merger, merge
from engine.runtime.protocol.ledger import Unit, decode_unit
from engine.runtime.protocol.partition import Partition
from engine.runtime.protocol.processor import Processor
from engine.runtime.protocol.records import Inbound, read
from engine.runtime.protocol.unit import UnitLimits
from engine.runtime.protocol.writes import Write
from engine.runtime.worker.observing import PartitionMetrics, RulesInUse
from tests.core.making import at, event_of, login, plan_of, rule, topic_of
from tests.memory import Data, Faults, Ledger, MemoryLog, MemoryStore


class ConsumerRecord:
    """What a consumer hands out."""

    def __init__(
        self,
        offset: int,
        timestamp: int,
        key: bytes | None = b"c1",
        value: bytes | None = b"{}",
        headers: Sequence[tuple[str, bytes]] = (),
        partition: int = 0,
        timestamp_type: int | None = 0,
    ) -> None:
        self.timestamp_type = timestamp_type
        self.offset, self.timestamp, self.key, self.value = offset, timestamp, key, value
        self.headers, self.partition = headers, partition


Topics = dict[str, list[ConsumerRecord]]


def topics_of(history: Iterable[Input], start_ms: int | None = None) -> Topics:
    """The history as the records of one partition: each event comes a moment after the latest seen so far."""
    topics: Topics = defaultdict(list)
    latest_ms = start_ms or 0
    for item in history:
        event = event_of(item)
        latest_ms = max(latest_ms + 1, event.time)
        records = topics[topic_of(item)]
        value = event.model_dump_json(exclude_unset=True).encode()  # null would say that it is unknown
        records.append(ConsumerRecord(len(records), latest_ms, event.client_id.encode(), value))
    return dict(topics)


def end_of(records: list[ConsumerRecord]) -> int:
    return records[-1].offset + 1 if records else 0


def next_batch(topics: Topics, offsets: dict[str, int], limit: int) -> Batch | None:
    """What the intake would hand over next."""
    merger = Merger({topic: offsets.get(topic, 0) for topic in intake_topics()})
    for topic, records in topics.items():
        at = offsets.get(topic, 0)
        merger.add(topic, [r for r in records if r.offset >= at], end_of(records), end_of(records))
    return merger.cut(limit)


def all_batches(topics: Topics, limit: int, offsets: Mapping[str, int] | None = None) -> list[Batch]:
    """From these offsets on."""
    batches: list[Batch] = []
    offsets = dict(offsets or {})
    while batch := next_batch(topics, offsets, limit):
        batches.append(batch)
        offsets |= {topic: end for topic, (_, end) in batch.ranges.items()}
    return batches


class Faultless:
    """What a run without any fault comes to: decided record by record, in the order of the merge."""

    def __init__(
        self,
        plan: Plan,
        topics: Topics,
        belongs: Callable[[bytes], bool] = lambda _: True,
        states: Iterable[ClientState] = (),
    ) -> None:
        self.messages: list[Message] = []
        self._states = {client.client_id: client for client in states}  # those that there are already
        self._plan = plan
        for _, record in merge(topics):
            outcome = read(record, belongs, ENGAGEMENT.decoder(plan))
            if isinstance(outcome, Taken):
                arrived = ENGAGEMENT.arrived([(record.topic, outcome.event)])
                self.messages += decide(plan, self._states, arrived).messages
            else:
                self.messages.append(record.set_aside(outcome))

    def tick(self, inputs: Iterable[Input]) -> None:
        self.messages += decide(self._plan, self._states, inputs).messages

    @property
    def states(self) -> dict[str, bytes]:
        return {id_: pack(self._plan.layout, client) for id_, client in self._states.items()}


def by_client(messages: Iterable[Message]) -> dict[bytes | None, list[tuple[str, bytes | None]]]:
    found = defaultdict(list)
    for message in messages:
        found[message.key].append((message.topic, message.value))
    return dict(found)


class Bench:
    """A ledger, a store, and workers that come and go."""

    def __init__(
        self,
        plan: Plan | Callable[[], Plan],
        *,
        publish_faults: Iterable[str] = (),
        apply_faults: Iterable[str] = (),
        belongs: Callable[[bytes], bool] = lambda _: True,
        cache_bytes: int = 10_000_000,
        limits: UnitLimits | None = None,
        processor: Processor[Any, Any, Any] = ENGAGEMENT,
        partitions: int = 1,
    ) -> None:
        self._processor = processor
        self.ledger = Ledger()
        self.data = Data()
        self.wall_ms = 0
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self._plan = plan if callable(plan) else lambda: plan
        self.rules = RulesInUse(lambda: processor.digest(self._plan()))
        self._publish_faults = Faults(publish_faults)
        self._apply_faults = Faults(apply_faults)
        self._belongs = belongs
        self._cache_bytes = cache_bytes
        self._limits = limits or UnitLimits()
        self._partitions = partitions

    def worker(self) -> Partition[Any, Any, Any]:
        return Partition(
            7,
            MemoryLog(self.ledger, self._publish_faults),
            MemoryStore(self.data, self._apply_faults),
            self._processor,
            plan=self._plan,
            belongs=self._belongs,
            observer=PartitionMetrics(self.metrics, lambda: self.wall_ms, lambda counts: None, self.rules),
            cache_bytes=self._cache_bytes,
            limits=self._limits,
            partitions=self._partitions,
        )

    async def started(self) -> Partition[Any, Any, Any]:
        worker = self.worker()
        await worker.recover()
        return worker


async def take_turns(
    bench: Bench, batches: Sequence[Batch], versions: Sequence[Callable[[], AbstractContextManager[None]]]
) -> None:
    """One worker after another, each of its version, takes the partition over for a few units."""
    for turn in range(0, len(batches), 3):
        with versions[turn // 3 % len(versions)]():
            worker = await bench.started()
            for batch in batches[turn : turn + 3]:
                await worker.take(batch)
                await worker.commit("age")
        if turn % 2:
            bench.data.lose(2)  # the next one has units of this one to apply


def single(topic: str, offset: int, key: bytes | None, value: bytes | None, timestamp_ms: int = -1) -> Batch:
    """A batch of one record."""
    record = Inbound(topic, 7, offset, timestamp_ms, key, value)
    return Batch([record], {topic: (offset, offset + 1)}, len(value or b""))


def written(client: ClientState, state: bytes) -> Write:
    return Write(client.client_id, client.due_ms, state, public_fields(client, work_places(client) or None))


def pack_all(plan: Plan, clients: Iterable[ClientState]) -> list[Write]:
    return [written(client, pack(plan.layout, client)) for client in clients]


# -- partitions of logins ---------------------------------------------------------------------------

QUIET = plan_of()
HELLO = plan_of(
    rule("hello", when='login.channel == "web"'),
    rule("silent", silence="{of: logins, for: 30d}", kind="task", audience="team"),
)


def logins(number: int, clients: int = 5, **fields: str) -> Topics:
    return topics_of(login(at(0) + n, client_id=f"c{n % clients}", **fields) for n in range(number))


async def take_all(worker: Partition[Any, Any, Any], topics: Topics, limit: int = 10) -> None:
    for batch in all_batches(topics, limit):
        await worker.take(batch)


def batch_at(topics: Topics, offsets: dict[str, int], limit: int) -> Batch:
    batch = next_batch(topics, offsets, limit)
    assert batch is not None
    return batch


def units(bench: Bench) -> list[Unit]:
    return [decode_unit(record) for _, record in bench.ledger.units()]


class Recorded:
    """The inputs of a partition, as RecordedInputs gives them."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self.passed = 0

    async def read(self, ranges: Mapping[str, tuple[int, int]]) -> list[Inbound]:
        found = {t: [r for r in self._topics[t] if a <= r.offset < b] for t, (a, b) in ranges.items()}
        return [record for _, record in merge({topic: records for topic, records in found.items() if records})]

    async def pass_over(self, ranges: Mapping[str, tuple[int, int]]) -> None:
        self.passed += sum(end - begin for begin, end in ranges.values())
