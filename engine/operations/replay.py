"""Deciding again, without publishing: over a file, or over what a running engine recorded in its ledger.

Enters: records of a file, or a ledger and its inbound topics. Leaves: messages in order, and the states' hash at the
end.
Holds: the same decision code as a worker; from the ledger, the same batches, ticks and rule sets, compared digest by
digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgpack
from aiokafka import TopicPartition

from engine.core.client.state import ClientState, pack, unpack
from engine.core.contract.events import Event
from engine.core.contract.message import Message
from engine.core.contract.outbound import OUTBOUND
from engine.core.contract.topics import DEAD_LETTERS, TOPICS, inbound_topics
from engine.core.decide.path import Due, Input, decide
from engine.core.plan.columns import plan_of_features, put_columns
from engine.core.plan.compile import Plan
from engine.operations.record_file import parse_line
from engine.runtime.clients import Clients
from engine.runtime.errors import Refused
from engine.runtime.kafka.connection import reader, records_between
from engine.runtime.kafka.history import RecordedInputs
from engine.runtime.partitioning import partitioner
from engine.runtime.protocol import ledger
from engine.runtime.protocol.intake import Inbound, read
from engine.runtime.protocol.ledger import Unit
from engine.runtime.rule_sets.archive import RuleSetArchive
from engine.runtime.settings import Settings

SHOWN: Final = frozenset(OUTBOUND)


def states_hash(states: Iterable[tuple[str, bytes]]) -> str:
    """One hash of all packed states, whatever their order: what `engage states` prints of a running engine."""
    total = 0
    for client_id, state in states:
        row = hashlib.sha256(len(client_id).to_bytes(2, "big") + client_id.encode() + state).digest()
        total = (total + int.from_bytes(row, "big")) % (1 << 256)
    return f"{total:064x}"


def read_file(lines: Iterable[bytes], name: str) -> Iterator[Inbound]:
    """Records of an ndjson file. Raises ValueError naming the line that is none."""
    for number, line in enumerate(lines, start=1):
        try:
            topic, key, timestamp_ms, value = parse_line(line.decode())
            if topic not in TOPICS:
                raise ValueError(f'"{topic}" is no inbound topic; there are {", ".join(inbound_topics())}')
        except ValueError as error:
            raise ValueError(f"{name}:{number}: {error}") from error
        yield Inbound(topic, 0, number, timestamp_ms, key, value)


def as_line(message: Message) -> str:
    """An outbound record as an ndjson line; its value is exactly what would be published."""
    key, value = json.dumps((message.key or b"").decode()), (message.value or b"").decode()
    return f'{{"topic":"{message.topic}","key":{key},"value":{value}}}'


@dataclass(slots=True)
class Replayed:
    """What a replay came to. `differences` are units whose messages were not those that were published."""

    states: dict[str, bytes] = field(default_factory=dict)
    events: int = 0
    rejected: int = 0
    units: int = 0
    differences: list[str] = field(default_factory=list)

    @property
    def hash(self) -> str:
        return states_hash(self.states.items())


def replay_records(
    plan: Plan, records: Iterable[Inbound], replayed: Replayed, until_ms: int | None = None
) -> Iterator[Message]:
    """Decide the records of a file in their order; then, with `until_ms`, what falls due up to that time."""
    states: dict[str, ClientState] = {}
    for record in records:
        event = _read(record, lambda _: True, replayed)
        if isinstance(event, Message):
            yield event
            continue
        yield from decide(plan, states, [(record.topic, event)]).messages
    if until_ms is not None:
        due = sorted((c.due_ms, c.client_id) for c in states.values() if c.due_ms <= until_ms)
        yield from decide(plan, states, [Due(client_id, until_ms) for _, client_id in due]).messages
    replayed.states = {client_id: pack(plan.layout, client) for client_id, client in states.items()}


async def replay_ledger(settings: Settings, clients: Clients, partitions: int, replayed: Replayed) -> list[Message]:
    """Decide every unit of every ledger partition again, from its recorded inputs and rule set.

    Raises Refused when the beginning of the ledger or recorded inputs are no longer held.
    """
    archive = RuleSetArchive(settings, clients)
    await archive.read()
    messages: list[Message] = []
    for partition in range(partitions):
        messages += await _replay_partition(settings, clients, partition, partitioner(partitions), archive, replayed)
    return messages


async def _replay_partition(
    settings: Settings,
    clients: Clients,
    partition: int,
    partition_of: Callable[[bytes], int],
    archive: RuleSetArchive,
    replayed: Replayed,
) -> list[Message]:
    ledger_tp = TopicPartition(settings.ledger_topic, partition)
    states = _States()
    messages: list[Message] = []
    async with reader(settings, clients) as consumer, reader(settings, clients) as source:
        inputs = RecordedInputs(settings, source, partition, whole=True)
        chunks: list[bytes] = []
        first = (await consumer.beginning_offsets([ledger_tp]))[ledger_tp]
        end = (await consumer.end_offsets([ledger_tp]))[ledger_tp]
        if first > 0:
            raise Refused(
                f"partition {partition}: the ledger is held from offset {first} on; a replay needs its beginning"
            )
        async for record in records_between(consumer, ledger_tp, first, end):
            unit = ledger.decode_unit(record.value)
            chunks.append(unit.writes)
            if unit.chunk < unit.chunks - 1:
                continue
            states.go_by(archive.plan(unit.rule_set))
            decided = await _replay_unit(unit, states, inputs, lambda key: partition_of(key) == partition, replayed)
            for name in states.backfill(unit, chunks):
                replayed.differences.append(
                    f"partition {partition}, ledger offset {record.offset}: a backfill changed more of {name} than "
                    "its columns"
                )
            chunks = []
            if ledger.digest_of_messages(decided) != unit.published:
                replayed.differences.append(
                    f"partition {partition}, ledger offset {record.offset}: the messages differ"
                )
            messages += decided
            replayed.units += 1
    replayed.states |= states.packed()
    return messages


class _States:
    """Client states as a worker keeps them: under another rule set only those are written anew that change."""

    def __init__(self) -> None:
        self._packed: dict[str, bytes] = {}
        self._open: dict[str, ClientState] = {}
        self._changed: set[str] = set()
        self._plan: Plan | None = None

    def go_by(self, plan: Plan) -> None:
        if plan is not self._plan:
            self.packed()
            self._open.clear()
            self._plan = plan

    def _load(self, client_ids: Iterable[str]) -> Plan:
        assert self._plan is not None
        for client_id in client_ids:
            if client_id not in self._open and client_id in self._packed:
                self._open[client_id] = unpack(self._plan.layout, self._packed[client_id])
        return self._plan

    def decide(self, inputs: Sequence[Input], client_ids: Iterable[str]) -> list[Message]:
        decided = decide(self._load(client_ids), self._open, inputs)
        self._changed.update(decided.changed)
        return decided.messages

    def backfill(self, unit: Unit, chunks: Iterable[bytes]) -> list[str]:
        """Take the columns that a backfill wrote; the clients of which it wrote anything else, too."""
        names = {name for step in unit.steps for name in step.backfilled}
        rows = [row for chunk in chunks for row in msgpack.unpackb(chunk, raw=True)] if names else []
        written = {row[0].decode(): row[2] for row in rows}
        plan = self._load(written)
        features = plan_of_features(plan.rule_set, names) if names else plan
        differing = []
        for client_id, state in written.items():
            client = self._open[client_id]
            put_columns(plan.layout, client, features.layout, unpack(features.layout, state))
            if pack(plan.layout, client) != state:
                differing.append(client_id)
        self._changed.update(written)
        return differing

    def packed(self) -> dict[str, bytes]:
        for client_id in self._changed:
            assert self._plan is not None
            self._packed[client_id] = pack(self._plan.layout, self._open[client_id])
        self._changed.clear()
        return self._packed


async def _replay_unit(
    unit: Unit, states: _States, inputs: RecordedInputs, belongs: Callable[[bytes], bool], replayed: Replayed
) -> list[Message]:
    messages: list[Message] = []
    for step in unit.steps:
        if woken := step.woken():
            messages += states.decide(woken, (*step.due, *step.swept))
            continue
        events: list[tuple[str, Event]] = []
        for record in await inputs.read(step.ranges):
            event = _read(record, belongs, replayed)
            if isinstance(event, Message):
                messages.append(event)
            else:
                events.append((record.topic, event))
        messages += states.decide(events, {event.client_id for _, event in events})
    return messages


def _read(record: Inbound, belongs: Callable[[bytes], bool], replayed: Replayed) -> Event | Message:
    event = read(record, belongs)
    if not isinstance(event, Message):
        replayed.events += 1
    elif event.topic == DEAD_LETTERS:
        replayed.rejected += 1
    return event
