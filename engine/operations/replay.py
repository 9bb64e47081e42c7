"""Deciding again, without publishing: over a file, or over what a running engine recorded in its ledger.

Enters: records of a file, or a ledger and its inbound topics. Leaves: messages in order, and the states' hash at the
end.
Holds: the same decision code as a worker; from the ledger, the same batches, ticks and rule sets, compared digest by
digest. What an engine of other semantics decided is not decided again: its writes are taken as the ledger has them.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, assert_never

from aiokafka import TopicPartition

from engine.core.assign.roster import NOBODY, Roster
from engine.core.assign.state import PoolState
from engine.core.client.sections import pack
from engine.core.client.state import ClientState
from engine.core.contract.events import Event
from engine.core.contract.message import Message
from engine.core.contract.outbound import OUTBOUND
from engine.core.contract.outbound import Outcome as Verdict
from engine.core.contract.topics import ADVISORS, POOL_TOPICS, Kinds, written_topics
from engine.core.decide.path import Decided
from engine.core.decide.pools import read_change
from engine.core.decide.timeline import Timeline
from engine.core.pace import Pace
from engine.core.plan import compile as plans
from engine.core.policy import holding
from engine.core.reading.decode import Rejected, Taken, decode, kind_of
from engine.operations.record_file import parse_line
from engine.processors.assignment import ASSIGNMENT
from engine.processors.engagement import ENGAGEMENT
from engine.runtime.clients import Clients
from engine.runtime.errors import Refused
from engine.runtime.kafka.connection import log_bounds, reader, records_between
from engine.runtime.kafka.history import Ranges, RecordedInputs
from engine.runtime.partitioning import partitioner
from engine.runtime.protocol import ledger
from engine.runtime.protocol.ledger import Step, Unit
from engine.runtime.protocol.processor import Input, Plan, Processor, State
from engine.runtime.protocol.records import Inbound, Outcome, Rerouted, by_ledger, by_neighbours, read, read_all
from engine.runtime.protocol.writes import Write, decode_writes
from engine.runtime.rule_sets.archive import RuleSetArchive
from engine.runtime.settings import Settings

SHOWN: Final = frozenset(OUTBOUND)
KINDS: Final = 20  # of rejected records that are listed


def states_hash(states: Iterable[tuple[str, bytes]]) -> str:
    """One hash of all packed states, whatever their order: what `engage states` prints of a running engine."""
    total = 0
    for client_id, state in states:
        row = hashlib.sha256(len(client_id).to_bytes(2, "big") + client_id.encode() + state).digest()
        total = (total + int.from_bytes(row, "big")) % (1 << 256)
    return f"{total:064x}"


def read_file(lines: Iterable[bytes], name: str) -> Iterator[Inbound]:
    """Records of an ndjson file. Raises ValueError naming an invalid line."""
    for number, line in enumerate(lines, start=1):
        try:
            topic, key, timestamp_ms, value = parse_line(line.decode())
            if topic not in written_topics():
                raise ValueError(f'"{topic}" is not an inbound topic; there are {", ".join(written_topics())}')
        except ValueError as error:
            raise ValueError(f"{name}:{number}: {error}") from error
        yield Inbound(topic, 0, number, timestamp_ms, key, value)


def read_with(declared: Kinds, roster: Roster = NOBODY) -> Callable[[Inbound], Outcome]:
    """Reads the records of a file, with the types and the advisors that a rule set declares."""

    def decoded(topic: str, key: bytes | None, value: bytes | None, timestamp_ms: int) -> Taken | Rejected:
        if topic == ADVISORS.name:
            return read_change(roster, decode(topic, key, value, timestamp_ms, POOL_TOPICS))
        return decode(topic, key, value, timestamp_ms, declared)

    return lambda record: read(record, lambda _: True, decoded)


def events_of_file(lines: Iterable[bytes], name: str, declared: Kinds) -> Iterator[tuple[str, Event]]:
    """The events of an ndjson file, with their kinds; records that are not events are left out."""
    outcome_of = read_with(declared)
    for record in read_file(lines, name):
        outcome = outcome_of(record)
        if isinstance(outcome, Taken):
            yield kind_of(record.topic, outcome.event), outcome.event


def as_line(message: Message) -> str:
    """An outbound record as an ndjson line; its value is exactly what would be published."""
    key, value = json.dumps((message.key or b"").decode()), (message.value or b"").decode()
    return f'{{"topic":"{message.topic}","key":{key},"value":{value}}}'


@dataclass(slots=True)
class Replayed:
    """The result of a replay. `differences` are units whose messages differ from those that were published."""

    states: dict[str, bytes] = field(default_factory=dict)
    pools: dict[str, bytes] = field(default_factory=dict)  # of advisors
    events: int = 0
    rejected: int = 0
    refused: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # topic, reason, error: a few kinds of many
    first: dict[tuple[str, str, str], Inbound] = field(default_factory=dict)  # of each of these
    units: int = 0
    applied: int = 0  # units of an engine with other semantics, whose writes were taken as they are
    loaded: int = 0  # units of a load, the same
    differences: list[str] = field(default_factory=list)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)  # of a file: (rule id, outcome)
    waiting: Counter[str] = field(default_factory=Counter)  # of a file: rule id -> actions that are held at its end

    def count(self, record: Inbound, outcome: Outcome) -> None:
        match outcome:
            case Taken():
                self.events += 1
            case Rejected():
                self.rejected += 1
                kind = record.topic, outcome.reason.value, outcome.error
                if kind in self.first or len(self.first) < KINDS:
                    self.first.setdefault(kind, record)
                    self.refused[kind] += 1
            case Rerouted():
                pass
            case _:
                assert_never(outcome)

    def decided(self, decided: Decided) -> None:
        self.outcomes.update(decided.outcomes)

    @property
    def unknown_days(self) -> dict[str, int]:
        """Decisions past the end of a list of days, by rule."""
        return {rule_id: n for (rule_id, outcome), n in self.outcomes.items() if outcome == Verdict.DAY_UNKNOWN}

    def rejections(self, *, of_a_file: bool) -> Iterator[str]:
        """What was rejected and why: a line for each kind, with its first record."""
        for (topic, reason, error), times in self.refused.most_common():
            record = self.first[topic, reason, error]
            place = f"line {record.offset}" if of_a_file else f"partition {record.partition}, offset {record.offset}"
            more = f" (and {times - 1} more)" if times > 1 else ""
            yield f"{topic}, {place}{more}: {reason}: {error}"
        if others := self.rejected - self.refused.total():
            yield f"{others} more were rejected for other reasons"

    @property
    def hash(self) -> str:
        return states_hash(self.states.items())

    def as_dict(self, *, of_a_file: bool) -> dict[str, Any]:
        """What it came to, for programs."""
        found = {
            "events": self.events,
            "rejected": self.rejected,
            "clients": len(self.states),
            "states": self.hash,
            "rejections": list(self.rejections(of_a_file=of_a_file)),
            "day_unknown": self.unknown_days,
        }
        ledger = {"units": self.units, "applied": self.applied, "loaded": self.loaded, "differences": self.differences}
        return found if of_a_file else found | ledger

    def lines(self, *, of_a_file: bool) -> Iterator[str]:
        """The same for people."""
        yield f"events {self.events}"
        yield f"rejected {self.rejected}"
        yield f"clients {len(self.states)}"
        yield f"states {self.hash}"
        if not of_a_file:
            yield f"units {self.units}"
            yield f"differences {len(self.differences)}"
        if self.applied:
            yield f"{self.applied} units decided by an older engine were applied, not decided again"
        if self.loaded:
            yield f"{self.loaded} units of a load were applied as they are"
        yield from self.rejections(of_a_file=of_a_file)
        for rule_id, times in self.unknown_days.items():
            ended = "a list of days or the calendar has ended; add the next days"
            yield f"{rule_id}: {times} not sent (day_unknown): {ended}"
        yield from self.differences


def replay_records(
    plan: plans.Plan, records: Iterable[Inbound], replayed: Replayed, until_ms: int | None = None
) -> Iterator[Message]:
    """Decide the records of a file in their order, and what falls due meanwhile; then, with `until_ms`, what falls due
    up to that time.
    """
    states: dict[str, ClientState] = {}
    pools: dict[str, PoolState] = {}
    timeline = Timeline(plan, states, pools)
    outcome_of = read_with(plan.declared_types, plan.pools.roster if plan.pools is not None else NOBODY)
    for record, outcome in by_neighbours((record, outcome_of(record)) for record in records):
        replayed.count(record, outcome)
        if isinstance(outcome, Taken):
            for decided in timeline.take(kind_of(record.topic, outcome.event), outcome.event):
                replayed.decided(decided)
                yield from decided.messages
        else:
            yield record.set_aside(outcome)
    if until_ms is not None:
        for decided in timeline.reach(until_ms):
            replayed.decided(decided)
            yield from decided.messages
    replayed.waiting.update(held[holding.RULE] for client in states.values() for held in client.waiting)
    replayed.states = {client_id: pack(plan.layout, client) for client_id, client in states.items()}
    replayed.pools = {name: ASSIGNMENT.pack(plan, pool) for name, pool in pools.items()}


async def replay_ledger(
    settings: Settings,
    clients: Clients,
    partitions: int,
    replayed: Replayed,
    moved: Callable[[int, int], None] = lambda done, of: None,
    processor: Processor[Any, Any, Any] = ENGAGEMENT,
) -> list[Message]:
    """Decide every unit of every ledger partition of a processor again, from its recorded inputs and rule set. `moved`
    hears of hundredths of all partitions.

    Raises Refused when the beginning of the ledger or recorded inputs are no longer held.
    """
    settings = settings.scoped(processor.name, processor.suffix)
    archive = RuleSetArchive(settings, clients)
    await archive.read()
    messages: list[Message] = []
    partition_of = partitioner(partitions)
    for number in range(partitions):

        def belongs(key: bytes, number: int = number) -> bool:
            return partition_of(key) == number

        ledger_tp = TopicPartition(settings.ledger_topic, number)
        async with reader(settings, clients) as consumer, reader(settings, clients) as source:
            first, end = await log_bounds(settings, clients, ledger_tp)
            if first > 0:
                raise Refused(
                    f"partition {number}: the ledger is held from offset {first} on; a replay needs its beginning"
                )
            inputs = RecordedInputs(settings, source, number, whole=True, ranked=processor.ranks())
            partition = PartitionReplay(processor, number, inputs, archive.plan, belongs, replayed, partitions)
            async for record in records_between(consumer, ledger_tp, first, end):
                messages += await partition.take(record.offset, record.value)
                moved(100 * number + 100 * (record.offset + 1) // end, 100 * partitions)
        states = replayed.states if processor is ENGAGEMENT else replayed.pools
        states |= partition.states.packed()
    return messages


class Inputs(Protocol):
    """What one partition's units were decided from, read forward once. See RecordedInputs."""

    async def read(self, ranges: Ranges) -> list[Inbound]: ...

    async def pass_over(self, ranges: Ranges) -> None: ...


class PartitionReplay(Generic[Plan, State, Input]):
    """Decides one partition's units again, record by record of its ledger."""

    def __init__(
        self,
        processor: Processor[Plan, State, Input],
        number: int,
        inputs: Inputs,
        plan: Callable[[str], Plan],
        belongs: Callable[[bytes], bool],
        replayed: Replayed,
        partitions: int = 1,
    ) -> None:
        self.states: _States[Plan, State, Input] = _States(processor, Pace(partitions=partitions))
        self._processor = processor
        self._number = number
        self._inputs = inputs
        self._plan = plan  # by digest of the rule set
        self._belongs = belongs
        self._replayed = replayed
        self._written: list[Write] = []  # by the open unit

    async def take(self, offset: int, record: bytes) -> list[Message]:
        """The messages of the unit that this record ends."""
        unit = ledger.decode_unit(record)
        self._written += decode_writes(unit.writes)
        if unit.chunk < unit.chunks - 1:
            return []
        written, self._written = self._written, []
        if unit.semantics != self._processor.semantics:
            self.states.apply(written)
            self.states.pace.kept = dict(unit.end.pace)
            for step in unit.steps:
                await self._inputs.pass_over(step.ranges)
            if unit.semantics == ledger.LOADED:
                self._replayed.loaded += 1
            else:
                self._replayed.applied += 1
            return []
        plan = self._plan(unit.rule_set)
        self.states.go_by(plan)
        decided = [message for step in unit.steps for message in await self._decide(step, plan)]
        for name in self.states.backfill(unit, written):
            self._differs(offset, f"a backfill changed more of {name} than its columns")
        if ledger.digest_of_messages(decided) != unit.published:
            self._differs(offset, "the messages differ")
        self._replayed.units += 1
        return decided

    def _differs(self, offset: int, how: str) -> None:
        self._replayed.differences.append(f"partition {self._number}, ledger offset {offset}: {how}")

    async def _decide(self, step: Step, plan: Plan) -> list[Message]:
        processor = self._processor
        if step.backfilled:  # nothing was decided: no budget was given back either
            return []
        if woken := step.woken(processor):
            return self.states.decide(woken, (*step.due, *step.swept), step.decided_ms)
        messages: list[Message] = []
        events: list[tuple[str, Event]] = []
        found = read_all(await self._inputs.read(step.ranges), self._belongs, processor.decoder(plan))
        for record, outcome in by_ledger(found, step.ahead):
            self._replayed.count(record, outcome)
            if isinstance(outcome, Taken):
                events.append((record.topic, outcome.event))
            else:
                messages.append(record.set_aside(outcome))
        keys = {event.client_id for _, event in events}
        return messages + self.states.decide(processor.arrived(events), keys, step.decided_ms)


class _States(Generic[Plan, State, Input]):
    """Client states as a worker keeps them: a new rule set rewrites only those that change."""

    def __init__(self, processor: Processor[Plan, State, Input], pace: Pace) -> None:
        self._processor = processor
        self.pace = pace
        self._packed: dict[str, bytes] = {}
        self._open: dict[str, State] = {}
        self._changed: set[str] = set()
        self._plan: Plan | None = None

    def go_by(self, plan: Plan) -> None:
        if plan is not self._plan:
            self.packed()
            self._open.clear()
            self._plan = plan

    def _load(self, keys: Iterable[str]) -> Plan:
        assert self._plan is not None
        for key in keys:
            if key not in self._open and key in self._packed:
                self._open[key] = self._processor.unpack(self._plan, self._packed[key])
        return self._plan

    def apply(self, written: Iterable[Write]) -> None:
        """Apply states as an engine of other semantics wrote them."""
        self.packed()
        for write in written:
            self._packed[write.key] = write.state
            self._open.pop(write.key, None)

    def decide(self, inputs: Sequence[Input], keys: Iterable[str], decided_ms: int) -> list[Message]:
        decided = self._processor.decide(self._load(keys), self._open, inputs, decided_ms, self.pace)
        self._changed.update(decided.changed)
        return decided.messages

    def backfill(self, unit: Unit, writes: Iterable[Write]) -> list[str]:
        """Apply what a backfill wrote; returns the keys of which it wrote anything else, too."""
        names = {name for step in unit.steps for name in step.backfilled}
        written = {write.key: write.state for write in writes} if names else {}
        plan = self._load(written)
        differing = []
        for key, packed in written.items():
            self._processor.refill(plan, self._open[key], packed, names)
            if self._processor.pack(plan, self._open[key]) != packed:
                differing.append(key)
        self._changed.update(written)
        return differing

    def packed(self) -> dict[str, bytes]:
        for key in self._changed:
            assert self._plan is not None
            self._packed[key] = self._processor.pack(self._plan, self._open[key])
        self._changed.clear()
        return self._packed
