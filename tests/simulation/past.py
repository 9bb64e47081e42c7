"""An installation that begins with a past: what clients did before, how it is loaded, and what a load is to write.

Enters: a seed, what draws inputs. Leaves: a Past; for the auditor, the states that follow from it.
Holds: it ends where the run begins. A client's events are decided one at a time, in the order of their own time; what
is shared with the engine is `decide`, `decode` and what `--acted` forgets.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiokafka import TopicPartition

from engine.core.client.items import noted
from engine.core.client.sections import pack
from engine.core.client.state import ClientState
from engine.core.contract.outbound import TOPIC_OF_KIND
from engine.core.contract.topics import inbound_topics, ranks
from engine.core.decide.occasions import next_due_ms
from engine.core.decide.path import Due, decide
from engine.core.learn import actions
from engine.core.plan.compile import Plan
from engine.core.reading.decode import Taken, decode, kind_of
from engine.loading.deciding import Acted
from engine.operations.record_file import SimulatedRecord, parse_line, to_line
from engine.runtime.partitioning import partitioner
from engine.runtime.protocol.ledger import LOADED, Step, Unit, decode_unit

if TYPE_CHECKING:
    from tests.simulation.broker import PartitionLog
    from tests.simulation.scenario import Fault, Input
    from tests.simulation.world import World

TIMES: Final = ("time", "until", "starts_at")
IDS: Final = ("event_id", "corrects")


@dataclass(frozen=True, slots=True)
class Past:
    """`on_topics`: it lies there, before all that comes; else in a file, and some of it comes on the topics again."""

    inputs: list[Input]
    on_topics: bool
    acted: Acted
    until_ms: int
    bucket_bytes: int
    unit_clients: int
    workers_wait: bool  # until it is loaded; else they try to start once it has begun in every partition
    fault: Fault  # what happens to the load: see Command

    def on_file(self) -> bytes:
        """In any order of time; what has no value cannot be said in a file."""
        lines = [
            to_line(SimulatedRecord(item.topic, _text(item.key), item.timestamp_ms, item.value or b"null"))
            for item in self.inputs
        ]
        return "".join(lines).encode()


class Record(NamedTuple):
    topic: str
    key: bytes | None
    value: bytes | None
    timestamp_ms: int


def _text(key: bytes | None) -> str | None:
    return None if key is None else key.decode()


def earlier(inputs: Iterable[Input], by_s: float, by_ms: int) -> list[Input]:
    """The same, so much before; their events have other ids."""
    found = []
    for item in inputs:
        try:
            value = json.dumps(_earlier(json.loads(item.value or b""), by_ms)).encode()
        except ValueError:
            value = item.value or b""
        found.append(replace(item, at_s=item.at_s - by_s, timestamp_ms=item.timestamp_ms - by_ms, value=value or None))
    return sorted(found, key=lambda item: item.at_s)


def _earlier(value: Any, by_ms: int) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: _changed(name, inner, by_ms) for name, inner in value.items()}


def _changed(name: str, value: Any, by_ms: int) -> Any:
    if name in TIMES and isinstance(value, int):
        return value - by_ms
    return f"past-{value}" if name in IDS else _earlier(value, by_ms)


def draw(random: Random, inputs: list[Input], fault: Callable[[str, int, float], Fault], until_ms: int) -> Past:
    kind, request, seconds = random.choice(
        (
            ("load", 0, 0.0),
            ("load killed at request", random.randint(1, 120), 0.0),
            ("load killed at request", random.randint(1, 120), 0.0),
            ("load paused at request", random.randint(1, 120), random.choice((0.5, 3.0, 8.0))),
            ("load killed in a unit", random.choice((1, 2, 3)), 0.0),
        )
    )
    return Past(
        inputs,
        on_topics=random.random() < 0.5,
        acted=random.choice(("all", "all", "cooldowns", "nothing")),
        until_ms=until_ms,
        bucket_bytes=random.choice((400, 3_000, 16_000_000)),
        unit_clients=random.choice((1, 2, 2_000)),
        workers_wait=True,  # that they do not is tried at every request of a load, in test_simulation.py
        fault=fault(kind, request, seconds),
    )


def loaded(
    plan: Plan,
    past: Past,
    records: Iterable[Record],
    belongs: Callable[[bytes], bool],
    hear: Callable[[str, Any], None] = lambda kind, event: None,
) -> dict[str, bytes]:
    """The state of each client, by id, after its past, each event of which is heard."""
    rank = ranks()
    events: dict[str, list[tuple[int, int, int, str, Any]]] = {}
    for number, record in enumerate(records):
        outcome = decode(record.topic, record.key, record.value, record.timestamp_ms, plan.declared_types)
        if isinstance(outcome, Taken) and outcome.event.time < past.until_ms and belongs(record.key or b""):
            event = outcome.event
            place = event.time, rank[record.topic], number, kind_of(record.topic, event), event
            events.setdefault(event.client_id, []).append(place)
    found = {}
    for client_id, places in events.items():
        states: dict[str, ClientState] = {}
        for *_, kind, event in sorted(places, key=lambda place: place[:3]):
            decide(plan, states, [(kind, event)])
            hear(kind, event)
        decide(plan, states, [Due(client_id, past.until_ms)])
        found[client_id] = pack(plan.layout, _unsent(plan, states[client_id], past.acted))
    return found


class Loading:
    """The units of a load in one partition, against what they are to write."""

    def __init__(self, world: World, number: int, hear: Callable[[str, Any], None]) -> None:
        assert world.scenario.past is not None
        self.over = False
        self._past = world.scenario.past
        self._world = world
        self._number = number
        self._hear = hear
        self._begun: Any = None  # as its first unit has it
        self._written: dict[str, bytes] = {}

    def take(self, plan: Plan, unit: Unit, written: dict[str, bytes]) -> Iterator[str]:
        """What is wrong with a unit."""
        mark = dict(unit.end.load)
        done, _ = mark.pop("done", None), mark.pop("begins", None)
        self.over = done is None
        if unit.semantics != LOADED or unit.steps != (Step({}),) or mark.get("until") != self._past.until_ms:
            yield "is no unit of the load, before that has come to its end"
            return
        if self._begun is None:
            self._begun = unit.offsets, mark
            yield from self._begins_right(plan, unit.offsets)
        elif self._begun != (unit.offsets, mark):
            yield "is of another load than the one before"
        if twice := self._written.keys() & written.keys():
            yield f"writes {', '.join(sorted(twice))} a second time"
        self._written |= written
        if not self.over:
            return
        partition_of = partitioner(self._world.scenario.partitions)
        wanted = loaded(plan, self._past, self._records(), lambda key: partition_of(key) == self._number, self._hear)
        if self._written != wanted:
            names = {*wanted, *self._written}
            differ = sorted(name for name in names if wanted.get(name) != self._written.get(name))
            yield f"the load has come to other states than its past: {', '.join(differ)}"

    def _begins_right(self, plan: Plan, offsets: Mapping[str, int]) -> Iterator[str]:
        """Workers go on before the first record that is not of the past, and after all that was there at first."""
        for topic in inbound_topics():
            before = [
                i for i in self._past.inputs if self._past.on_topics and (i.topic, i.partition) == (topic, self._number)
            ]
            for entry in self._log(topic, self._number).entries[: offsets.get(topic, 0)]:
                outcome = decode(topic, entry.key, entry.value, entry.timestamp, plan.declared_types)
                if entry.readable and isinstance(outcome, Taken) and outcome.event.time >= self._past.until_ms:
                    yield f"{topic} offset {entry.offset} is not of the past, and passed over"
            if offsets.get(topic, 0) < len(before):
                yield f"{topic}: begins at {offsets.get(topic, 0)}, the past has {len(before)} records"

    def _log(self, topic: str, number: int) -> PartitionLog:
        return self._world.kafka.logs[TopicPartition(self._world.settings.topic(topic), number)]

    def _records(self) -> Iterator[Record]:
        """All of the past, in the order in which those of one moment count."""
        if not self._past.on_topics:
            for line in self._past.on_file().decode().splitlines():
                topic, key, time_ms, value = parse_line(line)
                yield Record(topic, key, value, time_ms)
            return
        ledger = self._world.settings.ledger_topic
        for number in range(self._world.scenario.partitions):
            first = next(self._world.kafka.logs[TopicPartition(ledger, number)].committed())
            for topic, end in decode_unit(first.value or b"").offsets.items():
                for entry in self._log(topic, number).entries[:end] if topic in inbound_topics() else ():
                    if entry.readable:
                        yield Record(topic, entry.key, entry.value, entry.timestamp)


def _unsent(plan: Plan, client: ClientState, acted: Acted) -> ClientState:
    """Nothing of it was sent: nothing is retracted or sent later; and what else was asked for."""
    work = [item for item in client.items if "w" in noted(item)]
    was = [*client.waiting, *work], acted
    client.items = [item for item in client.items if "x" not in noted(item)]
    for item in work:
        del item[8:]
    client.caused, client.waiting = [], []
    for outcome in client.recent:
        del outcome[6:]  # what it counts was never to be published
    if acted != "all":
        client.items = [item for item in client.items if item[0] not in TOPIC_OF_KIND]
    if acted == "nothing":
        client.acted, client.contacts, client.recent = {}, {}, []
        actions.forget(plan, client)
    if was != ([], "all"):
        client.due_ms = next_due_ms(plan, client, 0)
    return client
