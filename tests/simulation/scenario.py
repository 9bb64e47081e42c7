"""What happens to the engine in one run, drawn from a seed: the settings, the inputs, the faults.

Enters: a seed. Leaves: a Scenario. Holds: the same seed gives the same scenario; inputs and faults are lists, so that a
failing run can be made shorter by leaving some out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final

from engine.core.contract.topics import intake_topics
from engine.runtime.partitioning import partitioner
from tests.simulation import past
from tests.simulation.corrections import corrected

BASE_MS: Final = 1_772_000_000_000
WALL_MS_PER_S: Final = 4 * 3_600_000  # wall clocks run fast: a simulated second is four hours, so that timers fall due
INTAKE_TOPICS: Final = intake_topics()
BUILT_IN: Final = ("profiles", "balances", "logins", "trades")
WITH_ACCOUNTS: Final = ("c1", "c4", "c6")  # whose balances are of three accounts
ZONES: Final = {"c2": "America/New_York", "c3": "Asia/Kathmandu", "c5": "Pacific/Kiritimati"}
DRAIN_S: Final = 90.0  # all must be decided so long after the last fault
CLIENTS: Final = tuple(f"c{number}" for number in range(9))
BACKFILLS: Final = (
    ("sold_cny_7d", "size_cny_7d", "favourite_30h"),
    ("traded_since_login_cny", "logins_12h", "sold_cny_7d"),
    ("trades_7d", "assets_avg_cny_30d"),  # never undeclared: nothing changes
)
OF_A_UNIT: Final = ("LOAD", "produce", "EndTxn", "APPLY")  # what a backfill asks for when it writes
EVICTED: Final = ("states", "states", "clients", "due times", "all due times", "position", "partition")
REFUSALS: Final = ("ledger rewritten", "ledger cut", "ledger trimmed too far", "inbound lost")
_STEPS: Final = ("opened", "opened", "answered", "resolved", "reopened")  # of complaints
_INSTEAD: Final = {
    1: {"answered": "waiting_for_client"},
    3: {"answered": "client_answered", "resolved": "acknowledged"},
}
_POISON: Final = (b"{", b"\xff\xfe", b"[]", b"null", b'{"event_id":"x"}', b"", None)


@dataclass(frozen=True, slots=True)
class Input:
    """A record that upstream appends, or (topic "rule-sets") a rule set that is published."""

    at_s: float
    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    rule_set: int = -1  # number in rule_texts.GOOD, -1: the bad one

    def __str__(self) -> str:
        if self.topic == "rule-sets":
            return f"rule set {self.rule_set} is published"
        return f"{self.topic}-{self.partition} {self.key!r} time {self.timestamp_ms}: {(self.value or b'')[:160]!r}"


@dataclass(frozen=True, slots=True)
class Fault:
    at_s: float
    kind: str
    who: int = 0  # number of the worker
    seconds: float = 0.0
    amount: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind} worker {self.who}, {self.seconds:.2f} s, amount {self.amount:.3g}"


@dataclass(slots=True)
class Scenario:
    seed: int
    partitions: int
    workers: int
    batch_records: int
    unit_records: int
    unit_age_s: float
    cache_bytes: int
    chunk_bytes: int
    end_s: float  # inputs and faults are over
    tick_clients: int = 1_000  # at once, of all that are due
    backfill_clients: int = 20_000  # whose history is read at once
    backfill_unit_clients: int = 500
    past: past.Past | None = None  # what it begins with, instead of with nothing
    rebuild: Fault | None = None  # what happens to a rebuild of an emptied Redis; None: a backup is put back
    refusal: str = ""  # the state of affairs that the engine must refuse to start on, made at the end
    inputs: list[Input] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def generate(random: Random, seed: int) -> Scenario:
    end_s = random.choice((4.0, 8.0, 14.0))
    scenario = Scenario(
        seed=seed,
        partitions=random.choice((1, 2, 2, 3)),
        workers=random.choice((1, 2, 2, 3)),
        batch_records=random.choice((1, 3, 10, 50)),
        unit_records=random.choice((3, 10, 5_000)),
        unit_age_s=random.choice((0.1, 0.5, 1.0)),
        cache_bytes=random.choice((5_000, 20_000, 5_000_000)),
        chunk_bytes=random.choice((300, 1_200, 900_000)),
        end_s=end_s,
        refusal=random.choice(REFUSALS) if random.random() < 0.05 else "",
    )
    scenario.faults = sorted(_faults(random, scenario), key=lambda item: item.at_s)
    inputs = draw_inputs(random, scenario, random.choice((12, 40, 90)))
    for fault in scenario.faults:
        if fault.kind == "slow zombie":  # is of interest only with work to do that needs no states
            inputs += _unreadable(random, scenario, fault)
    scenario.rebuild = _rebuild(Random(f"{seed}: how an operator mends Redis"))
    chance = Random(f"{seed}: what an operator does")  # apart, so that it does not change what else a seed says
    if chance.random() < 0.18:
        inputs += _operated(chance, scenario, inputs)
    inputs += _own_events(Random(f"{seed}: events of the firm's own"), scenario)
    inputs += _decided(Random(f"{seed}: what staff decide"), scenario)
    inputs += _answers(Random(f"{seed}: what comes back"), scenario)
    inputs += _positions(Random(f"{seed}: what clients hold"), scenario)
    inputs += corrected(Random(f"{seed}: what is corrected"), inputs, scenario.partitions, scenario.end_s, wall_ms)
    scenario.faults += _open_transactions(Random(f"{seed}: what other producers do"), scenario)
    scenario.faults += _evictions(Random(f"{seed}: what Redis evicts"), scenario)
    scenario.faults += _silent_starts(Random(f"{seed}: when Kafka gives no records"), scenario)
    scenario.tick_clients = Random(f"{seed}: how many clients a tick takes").choice((1, 2, 5, 1_000))
    if scenario.partitions == 1:  # all clients are there: of one a tick, more would fall due than ticks take
        scenario.tick_clients = max(scenario.tick_clients, 2)
    chance = Random(f"{seed}: what it begins with")
    if chance.random() < 0.12:
        scenario.past = _past(chance, scenario)
        scenario.faults = [fault for fault in scenario.faults if not fault.kind.startswith("backfill")]
        if not scenario.past.on_topics:
            inputs += [replace(item, at_s=chance.random()) for item in scenario.past.inputs if chance.random() < 0.2]
    scenario.faults.sort(key=lambda item: item.at_s)
    scenario.inputs = sorted(inputs, key=lambda item: item.at_s)
    return scenario


def _past(random: Random, scenario: Scenario) -> past.Past:
    """Of as many records as a run of its own, all before this one begins."""
    span_s = random.choice((2.0, 6.0, 20.0))
    before = replace(scenario, end_s=span_s)
    inputs = draw_inputs(random, before, random.choice((6, 30, 60)))
    for more in (_own_events, _decided, _answers, _positions):
        inputs += more(random, before)
    inputs += corrected(random, inputs, scenario.partitions, span_s, wall_ms)
    kept = past.earlier(
        (item for item in inputs if item.topic not in ("rule-sets", "rerouted")),
        span_s + 2.0,
        int((span_s + 2.0) * WALL_MS_PER_S),
    )
    return past.draw(random, kept, lambda kind, request, seconds: Fault(0.0, kind, 0, seconds, request), BASE_MS)


def _open_transactions(random: Random, scenario: Scenario) -> list[Fault]:
    """Of producers that hang, or take long, on an inbound topic; `who` is the partition."""
    count = random.choice((1, 1, 2)) if random.random() < 0.2 else 0
    return [
        Fault(
            at_s=random.uniform(0.05, scenario.end_s),
            kind=random.choice(("open transaction, committed", "open transaction, aborted")),
            who=random.randrange(scenario.partitions),
            seconds=random.choice((0.2, 2.0, 8.0, 12.0)),
            amount=random.random(),
        )
        for _ in range(count)
    ]


def _evictions(random: Random, scenario: Scenario) -> list[Fault]:
    count = random.choice((1, 1, 2, 4)) if random.random() < 0.25 else 0
    kinds = [f"evicted {kind}" for kind in EVICTED]
    return [Fault(random.uniform(0.05, scenario.end_s), random.choice(kinds)) for _ in range(count)]


def _silent_starts(random: Random, scenario: Scenario) -> list[Fault]:
    """A unit is thrown away; when its records are to come again, none come for a while."""
    if random.random() >= 0.1:
        return []
    at_s, who = random.uniform(0.5, scenario.end_s), random.randrange(scenario.workers)
    return [Fault(at_s, "failover and no records", who, random.uniform(1.2, 3.0), 1)]


def _rebuild(random: Random) -> Fault | None:
    dice = random.random()
    if dice < 0.6:
        return None
    if dice < 0.7:
        return Fault(0.0, "rebuild")
    kinds = ("rebuild killed at request", "rebuild paused at request", "failover in a rebuild", "failover in a rebuild")
    kind = random.choice(kinds)
    return Fault(0.0, kind, 0, random.choice((0.5, 3.0)) if "paused" in kind else 0.0, random.randint(1, 40))


# -- inputs ----------------------------------------------------------------------------------------


def wall_ms(at_s: float) -> int:
    return BASE_MS + int(at_s * WALL_MS_PER_S)


def draw_inputs(random: Random, scenario: Scenario, records: int) -> list[Input]:
    partition_of = partitioner(scenario.partitions)
    made: list[Input] = []
    burst_s = random.uniform(0, scenario.end_s)
    skew_ms = random.choice((0, 0, 5 * 3_600_000))  # upstream's clocks differ that much: record times fall
    for number in range(records):
        at_s = random.uniform(0, scenario.end_s)
        if random.random() < 0.3:
            at_s = min(burst_s + random.random() * 0.3, scenario.end_s)
        topic = random.choice(BUILT_IN)
        client_id = random.choice(CLIENTS)
        timestamp_ms = wall_ms(at_s) - random.randint(0, skew_ms)
        late_ms = random.choice((0, 0, 1_000, 86_400_000, -random.randint(0, 300_000)))
        value = json.dumps(_event(random, topic, client_id, number, timestamp_ms - late_ms)).encode()
        key: bytes | None = client_id.encode()
        partition = partition_of(client_id.encode())
        dice = random.random()
        if dice < 0.08:
            partition = random.randrange(scenario.partitions)  # another partitioner, or none
        elif dice < 0.12:
            value = random.choice(_POISON) or b""
        elif dice < 0.14:
            key = random.choice((None, b"", b"another", b"k" * 70))
        elif dice < 0.15:
            topic = "rerouted"  # a stranger's record on the internal topic
        made.append(Input(at_s, topic, partition, key, value or None, timestamp_ms))
        if random.random() < 0.05:
            made.append(Input(at_s + random.random(), topic, partition, key, value or None, timestamp_ms))
    for _ in range(random.choice((0, 0, 1, 3))):
        rule_set = random.choice((0, 1, 2, -1))
        made.append(Input(random.uniform(0, scenario.end_s), "rule-sets", 0, None, None, 0, rule_set))
    return made


def _own_events(random: Random, scenario: Scenario) -> list[Input]:
    """Of types that not every rule set declares; many come again, as those that waited as dead letters do."""
    partition_of = partitioner(scenario.partitions)
    made: list[Input] = []
    for number in range(random.choice((0, 4, 12, 30))):
        at_s = random.uniform(0, scenario.end_s)
        client_id = random.choice(CLIENTS)
        timestamp_ms = wall_ms(at_s)
        late_ms = random.choice((0, 0, 1_000, 86_400_000))
        event = {"event_id": f"own{number}", "client_id": client_id, "time": timestamp_ms - late_ms}
        event |= random.choice(
            (
                {"type": "visit", "branch": "b1", "minutes": random.choice((5, 45, 90, 500, 7.25))},
                {"type": "visit", "branch": "b2", "reason": random.choice(("advice", "cash", "tea"))},
                {"type": "course", "title": "options"},
                {"type": "visit"},
                {"type": "tour"},
                {},
            )
        )
        value = json.dumps(event).encode()
        partition = partition_of(client_id.encode())
        if random.random() < 0.08:
            partition = random.randrange(scenario.partitions)
        times = [at_s, *[min(at_s + random.random() * 8, scenario.end_s)] * (random.random() < 0.3)]
        made += [Input(t, "events", partition, client_id.encode(), value, wall_ms(t)) for t in times]
    return made


def _answers(random: Random, scenario: Scenario) -> list[Input]:
    """Receipts, opt-outs among them, surveys answered, complaints, what staff did; and profiles that consent anew."""
    partition_of = partitioner(scenario.partitions)
    made: list[Input] = []
    for number in range(random.choice((0, 0, 6, 20))):
        at_s = random.uniform(0, scenario.end_s)
        client_id = random.choice(CLIENTS)
        timestamp_ms = wall_ms(at_s)
        late_ms = random.choice((0, 0, 1_000, 43_200_000, 86_400_000))
        about = {"event_id": f"back{number}", "client_id": client_id, "time": timestamp_ms - late_ms}
        action = {"action_id": f"a{number}", "rule_id": "silent"}
        topic, fields = random.choice(
            (
                ("receipts", action | {"channel": random.choice(("sms", "email")), "status": "opted_out"}),
                ("receipts", action | {"channel": "sms", "status": "opted_out"}),
                ("receipts", action | {"channel": "sms", "status": random.choice(("delivered", "bounced", "lost"))}),
                ("feedback", action | {"nps": random.randint(0, 11), "answers": ["fees"], "comment": "words"}),
                ("feedback", action | {"nps": random.randint(0, 6)}),
                ("outcomes", action | {"status": random.choice(("done", "not_reached"))}),
                ("complaints", {"complaint_id": f"k{number % 2}", "status": _step(random, number)}),
                ("receipts", action | {"channel": "sms", "status": "opted_out", "purpose": "service"}),
                ("profiles", {"consents": {"sms": True, "email": True}}),
                ("profiles", {"service_consents": {"sms": random.random() < 0.5}, "consent_source": "app"}),
            )
        )
        value = json.dumps(about | fields).encode()
        partition = partition_of(client_id.encode())
        if random.random() < 0.08:
            partition = random.randrange(scenario.partitions)
        made.append(Input(at_s, topic, partition, client_id.encode(), value, timestamp_ms))
    return made


def _step(random: Random, number: int) -> str:
    status = random.choice(_STEPS)
    return _INSTEAD.get(number % 4, {}).get(status, status)


def _positions(random: Random, scenario: Scenario) -> list[Input]:
    """Of few clients and securities, many late: what ends comes before what it ends."""
    partition_of = partitioner(scenario.partitions)
    made: list[Input] = []
    for number in range(random.choice((0, 0, 8, 24))):
        at_s = random.uniform(0, scenario.end_s)
        client_id = random.choice(CLIENTS[:3])
        timestamp_ms = wall_ms(at_s)
        late_ms = random.choice((0, 0, 1_000, 43_200_000, 86_400_000))
        event = {"event_id": f"held{number}", "client_id": client_id, "time": timestamp_ms - late_ms}
        event |= {"symbol": random.choice(("600000", "F1")), "quantity": random.choice((0, 0, 100, 150.5))}
        event |= random.choice(({}, {"value_fen": random.randint(0, 9_000_000)}, {"value_fen": 5_000_000}))
        event |= random.choice(({}, {"cost_fen": 6_000_000}, {"risk_class": "R4", "product": "fund"}))
        partition = partition_of(client_id.encode())
        if random.random() < 0.08:
            partition = random.randrange(scenario.partitions)
        made.append(Input(at_s, "positions", partition, client_id.encode(), json.dumps(event).encode(), timestamp_ms))
    return made


def _decided(random: Random, scenario: Scenario) -> list[Input]:
    """What staff decide of clients, late now and then; of two of a kind the later counts, whenever it comes."""
    partition_of = partitioner(scenario.partitions)
    made: list[Input] = []
    for number in range(random.choice((0, 0, 5, 15))):
        at_s = random.uniform(0, scenario.end_s)
        client_id = random.choice(CLIENTS)
        time_ms = wall_ms(at_s) - random.choice((0, 0, 3_600_000, 86_400_000))
        until_ms = wall_ms(at_s) + random.choice((1_800_000, 20_000_000, 90_000_000))
        fields = random.choice(
            (
                {"kind": "tier", "tier": random.choice("ABCZ"), "until": until_ms},
                {"kind": "tier", "tier": "A", "starts_at": until_ms - 900_000, "until": until_ms},
                {"kind": "tier", "ended": True},
                {"kind": "do_not_contact"},
                {"kind": "do_not_contact", "until": until_ms},
                {"kind": "do_not_contact", "ended": True},
                {"kind": "snooze", "until": until_ms},
                {"kind": "snooze", "until": until_ms, "rule_id": random.choice(("idle", "silent", "none"))},
                {"kind": "note"},
                {"kind": "snooze"},
            )
        )
        about = {"event_id": f"staff{number}", "client_id": client_id, "time": time_ms, "by": "S-1", "reason": "why"}
        partition = partition_of(client_id.encode())
        if random.random() < 0.08:
            partition = random.randrange(scenario.partitions)
        value = json.dumps(about | fields).encode()
        made.append(Input(at_s, "overrides", partition, client_id.encode(), value, wall_ms(at_s)))
    return made


def _unreadable(random: Random, scenario: Scenario, fault: Fault) -> list[Input]:
    made = []
    for number in range(12):
        at_s = min(fault.at_s + random.uniform(0, fault.seconds), scenario.end_s)
        partition = random.randrange(scenario.partitions)
        made.append(Input(at_s, "logins", partition, None, b"unreadable %d" % number, wall_ms(at_s)))
    return made


def _event(random: Random, topic: str, client_id: str, number: int, time_ms: int) -> dict[str, Any]:
    event: dict[str, Any] = {"event_id": f"e{number}", "client_id": client_id, "time": time_ms}
    if topic == "trades":
        side = random.choice(("buy", "sell"))
        event |= {"symbol": "600000", "side": side, "quantity": 100, "amount_fen": random.randint(1, 10_000_000)}
    elif topic == "balances":
        assets = random.choice((10_000_000, 40_000_000, 200_000_000))
        event |= {"kind": "deposit", "amount_fen": 100, "assets_fen": assets}
        if client_id in WITH_ACCOUNTS:
            event["account"] = f"a{number % 3}"
    elif topic == "profiles":
        consents = {"sms": random.random() < 0.7, "app_push": random.random() < 0.7}
        event |= {"type": random.choice(("individual", "individual", "qfii")), "consents": consents}
        event["risk_level"] = f"R{number % 5 + 1}"
        if client_id in ZONES:
            event["time_zone"] = ZONES[client_id]
    return event


def _operated(random: Random, scenario: Scenario, before: list[Input]) -> list[Input]:
    """Backfills, and the rule sets that make them worth while: features go and come back, mostly before, in the middle
    now and then.
    """
    scenario.backfill_clients = random.choice((2, 5, 20_000))
    scenario.backfill_unit_clients = random.choice((1, 3, 500))
    first_s = at_s = random.uniform(0.2, 0.9) * scenario.end_s
    if random.random() < 0.3:  # the backfill finds a Redis that is only being made whole
        scenario.rebuild = None
        scenario.faults.append(Fault(max(at_s - random.uniform(0.7, 2.0), 0.05), "failover", 0, 0.0, 10_000))
    for _ in range(random.choice((1, 1, 1, 2))):
        kind, amount, seconds = random.choice(
            (
                ("backfill", 0, 0.0),
                ("backfill killed at request", random.randint(1, 60), 0.0),
                ("backfill paused at request", random.randint(1, 60), random.choice((0.5, 3.0, 8.0))),
                ("backfill killed in a unit", random.randrange(len(OF_A_UNIT)), 0.0),
                ("backfill paused in a unit", random.choice((0, 0, 0, 1, 2, 3)), random.choice((3.0, 8.0, 8.0))),
            )
        )
        who = random.choice((0, 0, 1, 1, 1, 2))
        scenario.faults.append(Fault(at_s, kind, who, seconds, amount))
        at_s = min(at_s + random.random() * 2, scenario.end_s)
    times = [random.random() * at_s, at_s - random.random(), at_s + random.random() * 2]
    sets = random.choice(((1, 2, 2), (1, 2, 2), (1, 0, 2), (1, 2, 1), (0, 1, 2), (1, 2, -1)))
    made = [
        Input(min(max(moment_s, 0.0), scenario.end_s), "rule-sets", 0, None, None, 0, rule_set)
        for moment_s, rule_set in zip(times, sets, strict=True)
    ]
    if random.random() < 0.25:
        made += _forgotten(random, scenario, before, first_s)
    return made


def _forgotten(random: Random, scenario: Scenario, before: list[Input], until_s: float) -> list[Input]:
    """Clocks jump so far ahead that timers make clients forget what came; then upstream sends it again."""
    jump_s = random.uniform(0.2, 0.7) * until_s
    scenario.faults += [Fault(jump_s, "clock", who, 0.0, 240) for who in range(scenario.workers)]
    sent = [item for item in before if item.at_s < jump_s]
    return [replace(item, at_s=random.uniform(jump_s, scenario.end_s)) for item in sent]


# -- faults ----------------------------------------------------------------------------------------


def _faults(random: Random, scenario: Scenario) -> list[Fault]:
    kinds = [
        "crash", "crash", "crash at request", "crash at request", "stop", "pause",
        "pause at request", "pause at request", "rebalance", "rebalance",
        "kafka down", "redis down", "kafka mute", "redis mute", "kafka flaky", "kafka flaky", "redis flaky",
        "redis flaky", "kafka slow", "redis slow", "failover", "failover", "clock", "retention", "crash and failover",
        "pause and failover", "slow zombie", "slow zombie", "slow zombie", "slow zombie",
        "stop while paused at request", "pause in the successor's start",
    ]  # fmt: skip
    made = []
    for _ in range(random.choice((0, 1, 2, 4, 7))):
        kind = random.choice(kinds)
        amount = random.random()
        seconds = random.choice((0.3, 1.0, 3.0, 8.0)) * random.random()
        if kind == "pause in the successor's start":
            amount, seconds = random.randint(15, 45), random.choice((3.0, 5.0, 8.0))
        elif kind.endswith("at request"):
            amount = random.choice((5, 20, 60)) * random.random() + 1
            seconds = random.choice((0.5, 3.0, 8.0))
        elif "failover" in kind:
            amount = random.choice((0, 1, 1, 2, 5, 10_000))  # writes lost
        elif kind == "slow zombie":
            amount, seconds = random.choice((60, 120, 240)), random.uniform(1.5, 6)
        elif "slow" in kind:
            amount = random.choice((5, 40, 200))
        elif kind == "clock":
            amount = random.choice((-48, -3, 3, 48))  # hours
        made.append(
            Fault(
                at_s=random.uniform(0.05, scenario.end_s),
                kind=kind,
                who=random.randrange(scenario.workers),
                seconds=seconds,
                amount=amount,
            )
        )
    return made
