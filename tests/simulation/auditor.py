"""The auditor: knows what went in, what stands in the ledger, what was published and what Redis holds.

Enters: a World at rest. Leaves: what is wrong, one line each.
Holds: it shares `decide`, `decode`, `pack` and the ledger's format with the engine, and nothing of how the engine
reads, merges, re-routes, commits or recovers: that it does itself, in the plainest way.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from aiokafka import TopicPartition

from engine.core.client.items import MAX_ITEMS
from engine.core.client.record import work_places
from engine.core.client.sections import pack, unpack
from engine.core.client.state import ClientState, Layout
from engine.core.contract.actions import ACTIONS
from engine.core.contract.events import Event
from engine.core.contract.message import Message
from engine.core.contract.outbound import Rejection
from engine.core.contract.topics import ADVISORS, OWN, REQUESTS
from engine.core.decide.path import Due, Sweep, decide
from engine.core.learn.columns import put_columns, put_known
from engine.core.pace import Pace
from engine.core.plan.compile import Plan
from engine.core.plan.sensitivity import has_acted, next_hour_ms
from engine.core.policy.holding import MATCH, THEN, WHY
from engine.core.policy.outcomes import COUNTED, OUTCOME, RULE
from engine.core.reading.decode import FUTURE_TOLERANCE_MS, Rejected, decode, kind_of
from engine.processors.engagement import ENGAGEMENT
from engine.runtime.partitioning import partitioner
from engine.runtime.protocol.ledger import LOADED, Step, Unit, decode_unit
from engine.runtime.protocol.records import FUTURE
from engine.runtime.protocol.writes import decode_writes
from engine.runtime.redis.reading import NO_RULES
from engine.runtime.settings import PUBLISHED
from tests.care_audit import CARE, CareAudit
from tests.journey_audit import JourneyAudit
from tests.policy_audit import PolicyAudit
from tests.retractions import Retractions
from tests.simulation.broker import Entry
from tests.simulation.commands import Backfill, whole_history
from tests.simulation.history import History
from tests.simulation.past import Loading
from tests.simulation.plans import possible
from tests.simulation.redis import Data, lists_that_differ, write_rows
from tests.simulation.scenario import INTAKE_TOPICS, wall_ms
from tests.simulation.world import SCHEMAS_URL, World
from tests.work_audit import WorkAudit

LAST_OFFSET: Final = 1 << 62
MAX_DECISIONS: Final = 32  # from one event; far more than the rules here can make
Published = tuple[str, bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]


def audit(world: World) -> list[str]:
    found: list[str] = []
    expected: Counter[Published] = Counter()
    for number in range(world.scenario.partitions):
        auditor = _Partition(world, number)
        found += auditor.check()
        expected += auditor.messages
    published = Counter(_published(world))
    for what, difference in (("lacks", expected - published), ("has", published - expected)):
        for (topic, key, value, headers), times in list(difference.items())[:3]:
            found.append(
                f"{topic} {what} {times} x {key!r} {(value or b'')[:200]!r} {dict(headers).get('ce_id', b'')!r}"
            )
    ids = Counter(dict(headers).get("ce_id") for _, _, _, headers in published.elements())
    found += [f"the id {name!r} was published {times} times" for name, times in ids.items() if name and times > 1]
    return found


def _published(world: World) -> Iterator[Published]:
    names = {world.settings.topic(topic): topic for topic in (*PUBLISHED, "rerouted", *REQUESTS)}
    for tp, log in world.kafka.logs.items():
        if tp.topic in names:
            for entry in log.committed():
                of_pools = dict(entry.headers).get("engage_topic") == ADVISORS.name.encode()  # see pools.py
                if (names[tp.topic] != "rerouted" or entry.transaction is not None) and not of_pools:  # upstream's own
                    yield names[tp.topic], entry.key, entry.value, entry.headers


def _labels(fields: dict[str, bytes]) -> Iterator[str]:
    """What a client counts as: its tier, its stage, what corrections left unknown, where it stands in journeys."""
    if fields["tier"]:
        yield fields["tier"].decode()
    if fields.get("stage"):
        yield f"stage:{fields['stage'].decode()}"
    yield from _hidden(fields["state"])


@lru_cache(maxsize=4096)
def _hidden(state: bytes) -> tuple[str, ...]:
    client = unpack(NO_RULES.layout, state)
    led = [f"journey:{id_}:{step}" for id_, _, step, _, ended in client.journeys if not ended]
    return (*(f"unknown:{name}" for name in client.unknown_until), *led)


class _Partition:
    """One partition's ledger, checked record by record and decided again."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.found: list[str] = []
        self.followed: set[str] = set()  # names of what is said again, if it is, after each action
        self.messages: Counter[Published] = Counter()
        self.position = b""
        self.offsets: dict[str, int] = {}
        self.data = Data()  # what Redis must hold
        self.pace = Pace(partitions=world.scenario.partitions)
        self.states: dict[str, ClientState] = {}
        self.plan: Plan | None = None
        self.retractions, self.policy = Retractions(), PolicyAudit()
        self.care, self.work, self.journeys = CareAudit(), WorkAudit(), JourneyAudit()
        self.past = Loading(world, number, self.policy.hear) if world.scenario.past is not None else None
        self.outcomes: Counter[tuple[str, str]] = Counter()  # of rules that matched
        self.ledger = 0  # the offset after the last unit
        self.whole = whole_history(world, number)
        backfills = [command for command in world.commands if isinstance(command, Backfill)]
        self.histories = {
            names: History(names, [b.claims[number] for b in backfills if number in b.claims and b.names == names])
            for names in dict.fromkeys(backfill.names for backfill in backfills)
        }
        self.partition_of = partitioner(world.scenario.partitions)
        self.prefix = f"{{engage:{number}}}:client:"
        self.due = f"{{engage:{number}}}:due"
        self.where = f"{{engage:{number}}}:position"

    def check(self) -> list[str]:
        chunks: list[Unit] = []
        transaction: Any = None
        for entry in self.world.kafka.logs[TopicPartition(self.world.settings.ledger_topic, self.number)].committed():
            unit = decode_unit(entry.value or b"")
            at = f"ledger-{self.number} offset {entry.offset}"
            if unit.chunk != len(chunks) or (chunks and entry.transaction is not transaction):
                return [*self.found, f"{at}: chunk {unit.chunk} where {len(chunks)} was due"]
            if unit.begin != self.position:
                return [*self.found, f"{at}: begins from {unit.begin!r}, not from {self.position!r}"]
            chunks.append(unit)
            transaction = entry.transaction
            if len(chunks) == unit.chunks:
                self._look(entry.offset)
                self._unit(at, entry, chunks)
                chunks = []
            if self.found:
                return self.found
        self._look(LAST_OFFSET)
        for names, history in self.histories.items():
            if self.whole and history.claims:
                self.found.append(f"ledger-{self.number}: {' '.join(names)} were never filled, whatever was claimed")
        self._inputs_decided()
        self._store()
        return self.found

    # -- one unit ----------------------------------------------------------------------------------

    def _unit(self, at: str, entry: Entry, chunks: list[Unit]) -> None:
        unit = chunks[-1]
        plan = self.world.plan(unit.rule_set)
        if plan is None:
            self.found.append(f"{at}: decided with {unit.rule_set}, which is no good rule set")
            return
        if plan is not self.plan:
            self.plan, self.states = plan, {}  # read again from what is stored, as any reader would
        written = {write.key: write.state for chunk in chunks for write in decode_writes(chunk.writes)}
        if self.past is not None and not self.past.over:
            self.found += [f"{at}: {fault}" for fault in self.past.take(plan, unit, written)]
            self.offsets = dict(unit.offsets)
            messages, changed = [], {}
        else:
            messages, changed = self._decide(at, plan, unit)
        if any(step.backfilled for step in unit.steps):
            changed = self._backfilled(at, plan, unit, written)
        digest = hashlib.blake2b(digest_size=16)
        for message in messages:
            about = message.schema and ("ce_dataschema", f"{SCHEMAS_URL}/{message.schema}".encode())
            headers = (*message.headers, about) if about else message.headers
            self.messages[message.topic, message.key, message.value, headers] += 1
            for part in (message.topic.encode(), message.key or b"", message.value or b""):
                digest.update(len(part).to_bytes(4, "big") + part)
        if digest.hexdigest() != unit.published:
            self.found.append(f"{at}: published something else than deciding again gives")
        for topic, offset in unit.offsets.items():
            if offset != self.offsets.get(topic, offset):
                self.found.append(f"{at}: stands at {topic} {offset}, its steps end at {self.offsets[topic]}")
        digest = hashlib.blake2b(entry.value or b"", digest_size=8).hexdigest()
        self.position = f'{{"ledger":{entry.offset + 1},"digest":"{digest}",'.encode() + (unit.end_text or b"{")[1:]
        write_rows(self.data, self.due, self.prefix, [chunk.writes for chunk in chunks], self.where, self.position)
        decided = {client_id: pack(plan.layout, client) for client_id, client in changed.items()}
        if written != decided and unit.semantics != LOADED:
            differ = sorted(c for c in {*written, *decided} if written.get(c) != decided.get(c))
            self.found.append(f"{at}: writes other states of {', '.join(differ)} than deciding again gives")
        if json.loads(json.dumps(self.pace.kept)) != dict(unit.end.pace):
            self.found.append(f"{at}: what its clients share stands at {unit.end.pace}, not at {self.pace.kept}")
        self._counts(at, unit)
        self.ledger = entry.offset + 1

    def _look(self, until: int) -> None:
        """What Redis holds by the ledger, from the last unit to this one."""
        for history in self.histories.values() if self.whole else ():
            history.look(self.ledger, until, {key: fields["state"] for key, fields in self.data.hashes.items()})

    def _backfilled(self, at: str, plan: Plan, unit: Unit, written: dict[str, bytes]) -> dict[str, ClientState]:
        """The states that a backfill was to write: those that it wrote, with the columns that their past gives.

        Where inbound topics have lost their beginning, it may have seen that or not: the columns are what it says.
        """
        step = unit.steps[0]
        history = self.histories.get(step.backfilled)
        if len(unit.steps) > 1 or step.ranges or step.due or history is None:
            self.found.append(f"{at}: no unit of a backfill that was asked for")
            return {}
        changed = {}
        for client_id, state in written.items():
            self._load(plan, client_id)
            client = changed[client_id] = self.states[client_id]
            before = pack(plan.layout, client)
            if self.whole:
                history.put(plan.layout, client)
            else:
                found = unpack(history.plan.layout, state)
                put_columns(plan.layout, client, history.plan.layout, found)
                put_known(client, found, step.backfilled)
            if pack(plan.layout, client) == before:
                self.found.append(f"{at}: the backfill of {client_id} changes nothing")
        return changed

    def _decide(self, at: str, plan: Plan, unit: Unit) -> tuple[list[Message], dict[str, ClientState]]:
        messages: list[Message] = []
        changed: dict[str, ClientState] = {}
        for step in unit.steps:
            inputs: list[Any] = step.woken(ENGAGEMENT)
            for topic, (begin, end) in step.ranges.items():
                log = self.world.kafka.logs[TopicPartition(self.world.settings.topic(topic), self.number)]
                if begin != self.offsets.get(topic, 0) or not begin < end <= log.end:
                    self.found.append(f"{at}: takes {topic} {begin} to {end}, not from {self.offsets.get(topic, 0)}")
                self.offsets[topic] = end
            for topic, record in self._merged(step.ranges):
                event = self._read(topic, record, step)
                if isinstance(event, Message):
                    messages.append(event)
                else:
                    inputs.append(event)
            messages += decide(plan, self.states, [], step.decided_ms, self.pace).messages  # blocks that end
            for item in inputs:  # one at a time: what came in one batch must not matter
                client_id = item[1].client_id if isinstance(item, tuple) else item.client_id
                before, stood_ms = self._load(plan, client_id)
                decided = decide(plan, self.states, [item], step.decided_ms, self.pace)
                self.found += [f"{at}: {fault}" for fault in self.retractions.take(item, decided.messages)]
                if impossible := decided.outcomes.keys() - possible(unit.rule_set):
                    self.found.append(f"{at}: {sorted(impossible)} cannot be by its rule set, and had no series")
                self.found += [f"{at}: {fault}" for fault in self.policy.take(plan, item, decided.messages)]
                self.found += [f"{at}: {fault}" for fault in self.care.take(plan, decided.messages)]
                self.found += [f"{at}: {fault}" for fault in self.work.take(plan, decided.messages)]
                if (client := self.states.get(client_id)) is not None and self.past is None:
                    left = ("journeys", "trader", "journey_changed") in decided.counts
                    led = self.journeys.take(plan, item, decided.messages, left, stood_ms, client.now_ms)
                    self.found += [f"{at}: {fault}" for fault in led]
                self.outcomes.update((rule_id, str(outcome)) for rule_id, outcome in decided.outcomes.elements())
                messages += decided.messages
                changed |= decided.changed
                for history in self.histories.values() if isinstance(item, tuple) else ():
                    history.take(*item, stood_ms)
                for message in decided.messages:
                    self._named(at, message, client_id, range(before + 1, self.states[client_id].sequence + 1))
        return messages, changed

    def _load(self, plan: Plan, client_id: str) -> tuple[int, int]:
        """How many events and timers the client has had, and its time."""
        stored = self.data.hashes.get(self.prefix + client_id)
        if client_id not in self.states and stored is not None:
            self.states[client_id] = unpack(plan.layout, stored["state"])
        client = self.states.get(client_id)
        return (client.sequence, client.now_ms) if client is not None else (0, 0)

    def _named(self, at: str, message: Message, client_id: str, causes: range) -> None:
        """The id must follow from the cause: the rule, the client, which of its events and timers, which of its
        decisions.
        """
        value = json.loads(message.value or b"")
        if message.topic in REQUESTS:
            return  # see pools.py and budgets.py
        if message.topic == "decisions":
            self._decision_named(at, value, client_id, causes)
            return
        if "action_id" in value:
            named = hashlib.blake2b(f"retraction\0{value['action_id']}".encode(), digest_size=16).hexdigest()
            if value["id"] != named:
                self.found.append(f"{at}: the id {value['id']} does not follow from the action that is retracted")
            return
        if dict(message.headers)["ce_type"] == CARE:
            return  # care_audit.py knows how it is named
        what = [value["rule_id"], str(value["rule_version"])] if "rule_id" in value else ["tier-change"]
        if value["id"] not in _ids(what, client_id, causes) or dict(message.headers)["ce_id"].decode() != value["id"]:
            self.found.append(f"{at}: the id {value['id']} does not follow from its cause")
        self.followed.add(hashlib.blake2b(f"follows\0{value['id']}".encode(), digest_size=16).hexdigest())

    def _decision_named(self, at: str, told: dict[str, Any], client_id: str, causes: range) -> None:
        """The first decision on a match gives it its id; a later one follows from that and its own cause. What is
        said again on another channel is a match that follows from the action that was sent.
        """
        if told["match"] == told["id"] and told["id"] in self.followed:
            return
        if told["match"] == told["id"]:
            ids = _ids(["decision", told["rule_id"], str(told["rule_version"])], client_id, causes)
        else:
            names = (bytes.fromhex(told["match"]) + str(cause).encode() for cause in causes)
            ids = (hashlib.blake2b(name, digest_size=16).hexdigest() for name in names)
        if told["id"] not in ids:
            self.found.append(f"{at}: the decision {told['id']} does not follow from its cause")

    def _counts(self, at: str, unit: Unit) -> None:
        clients = self.data.hashes
        labels = Counter(label for fields in clients.values() for label in _labels(fields))
        if unit.end.states != len(clients) or unit.end.tallies != dict(labels):
            told = f"{unit.end.states} clients, {unit.end.tallies}"
            self.found.append(f"{at}: counts {told}, there are {len(clients)}, {dict(labels)}")

    # -- inputs ------------------------------------------------------------------------------------

    def _merged(self, ranges: dict[str, tuple[int, int]]) -> Iterator[tuple[str, Entry]]:
        """Earliest record first; ties by the contract's order of topics; a topic's own order stays."""
        queues = []
        for topic in INTAKE_TOPICS:
            if topic in ranges:
                begin, end = ranges[topic]
                log = self.world.kafka.logs[TopicPartition(self.world.settings.topic(topic), self.number)]
                queues.append((topic, [entry for entry in log.entries[begin:end] if entry.readable]))
        while any(queue for _, queue in queues):
            times = [_time(queue[0]) if queue else 1 << 62 for _, queue in queues]
            topic, queue = queues[times.index(min(times))]
            yield topic, queue.pop(0)

    def _read(self, topic: str, record: Entry, step: Step) -> tuple[str, Event] | Message:
        origin = dict(record.headers)
        copy = topic == "rerouted"
        coordinates = (topic.encode(), str(record.partition).encode(), str(record.offset).encode())
        if copy and origin:
            coordinates = (origin["engage_topic"], origin["engage_partition"], origin["engage_offset"])
            topic = coordinates[0].decode()
        time_ms = _time(record)
        names = ("engage_topic", "engage_partition", "engage_offset", "engage_timestamp")
        headers = tuple(zip(names, (*coordinates, str(time_ms).encode()), strict=True))
        right = not record.key or len(record.key) > 64 or self.partition_of(record.key) == self.number
        if topic not in INTAKE_TOPICS or topic == "rerouted":
            answer: Any = Rejected(Rejection.UNKNOWN_VALUE, "not a copy that the engine made: no such origin")
        elif not right and not copy:
            return Message("rerouted", record.key, record.value, headers, time_ms)
        elif not right:
            answer = Rejected(Rejection.KEY_MISMATCH, "a copy that is not on the partition of its key")
        else:
            assert self.plan is not None
            answer = decode(topic, record.key, record.value, time_ms, self.plan.declared_types)
            ahead = not isinstance(answer, Rejected) and answer.event.time > step.decided_ms + FUTURE_TOLERANCE_MS
            ahead &= topic not in OWN
            if ahead != ((topic, int(coordinates[1]), int(coordinates[2])) in step.ahead):
                self.found.append(f"{topic} {coordinates}: refused by the clock, or not, as it must not be")
            if ahead:
                answer = FUTURE
        if isinstance(answer, Rejected):
            reason = (("engage_reason", answer.reason.value.encode()), ("engage_error", answer.error.encode()))
            return Message("dead-letters", record.key, record.value, reason + headers)
        return kind_of(topic, answer.event), answer.event

    def _inputs_decided(self) -> None:
        for topic in INTAKE_TOPICS:
            log = self.world.kafka.logs[TopicPartition(self.world.settings.topic(topic), self.number)]
            left = [entry for entry in log.entries[self.offsets.get(topic, 0) :] if entry.readable]
            # what processors say to each other while workers stop waits for the next start
            unheard = topic in OWN and self.world.stopping_s
            missing = [entry.offset for entry in left if not unheard or entry.at_s < unheard]
            if missing:
                self.found.append(f"{topic}-{self.number}: offsets {missing} were never decided")

    # -- Redis -------------------------------------------------------------------------------------

    def _store(self) -> None:
        held = self.world.redis.data
        mine = {key: fields for key, fields in held.hashes.items() if key.startswith(self.prefix)}
        if (held.values.get(self.where) or b"") != self.position:
            self.found.append(f"Redis stands at {held.values.get(self.where)!r}, the ledger ends at {self.position!r}")
        if mine != self.data.hashes:
            differ = sorted(k for k in {*mine, *self.data.hashes} if mine.get(k) != self.data.hashes.get(k))
            self.found.append(f"Redis holds other states than the ledger wrote: {', '.join(differ)}")
        if held.sorted_sets.get(self.due, {}) != self.data.sorted_sets.get(self.due, {}):
            self.found.append(f"Redis holds other due times than the ledger wrote on partition {self.number}")
        if differ := lists_that_differ(held, self.prefix):
            self.found.append(f"Redis lists other clients than it holds: {', '.join(differ)}")
        self._looked_at()
        self._verdicts()
        layout = self.plan.layout if self.plan else Layout({})
        self.found += self.care.end([unpack(layout, fields["state"]) for fields in self.data.hashes.values()])

    def _verdicts(self) -> None:
        """Each match is published, or counted: in a later decision, or in the state that waits for one. Without an end
        is what waits, and nothing else.
        """
        counted = self.policy.counted.copy()
        for key, fields in self.data.hashes.items():
            client = unpack(self.plan.layout if self.plan else Layout({}), fields["state"])
            for one in client.recent:
                counted[one[RULE], one[OUTCOME]] += sum(one[COUNTED:])
            waits = {held[MATCH].hex() for held in client.waiting if held[WHY] != THEN}
            if waits != (held := self.policy.waiting(client.client_id)):
                self.found.append(f"{key} waits for {waits}, and what is published leaves {held} without an end")
        if counted != self.outcomes:
            differ = sorted(what for what in {*counted, *self.outcomes} if counted[what] != self.outcomes[what])
            self.found.append(f"of {differ} others were counted than there were")

    def _looked_at(self) -> None:
        """What holds for a client without an event has been acted on, under the rules in force in the end; what falls
        due later is known. What has expired has left the work lists by then.
        """
        if self.plan is None or not self.data.hashes:
            return
        now_ms, layout = wall_ms(self.world.loop.time()), self.plan.layout
        for key, fields in self.data.hashes.items():
            client = unpack(layout, fields["state"])
            states = {client.client_id: client}
            # a clock that jumped ahead takes clients along: a sweep is about a moment that they have not been through
            moment_ms = max(now_ms, client.now_ms + 1)
            decide(self.plan, states, [Due(client.client_id, moment_ms)])
            due_ms = client.due_ms
            listed = {line.split()[2] for line in work_places(client).splitlines()}
            self.found += self.work.end(client.client_id, listed, moment_ms, full=len(client.items) >= MAX_ITEMS)
            counts_actions = ACTIONS.name in layout.sources
            if counts_actions and has_acted(client) and due_ms <= next_hour_ms(client):
                continue  # what was done just now is evaluated when the hour ends
            decided = decide(self.plan, states, [Sweep(client.client_id, moment_ms)])
            if decided.messages or states[client.client_id].due_ms < due_ms:
                self.found.append(f"{key} was not evaluated under the active rules")


def _ids(what: list[str], client_id: str, causes: range) -> Iterator[str]:
    """Of what these events and timers of the client can have led to."""
    for cause in causes:
        for nth in range(MAX_DECISIONS):
            name = "\0".join((*what, client_id, str(cause), str(nth)))
            yield hashlib.blake2b(name.encode(), digest_size=16).hexdigest()


def _time(record: Entry) -> int:
    origin = dict(record.headers)
    return int(origin["engage_timestamp"]) if "engage_timestamp" in origin else record.timestamp
