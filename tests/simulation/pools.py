"""Pools of advisors in the simulation: rule files that ask for advisors, what comes for them, and an auditor of both.

Enters: a World at rest, whose workers have the processor of pools beside that of clients. Leaves: what is wrong.
Holds: what pools hold is compared with what the topics say and with what clients hold; nothing of how a pool decides is
asked.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import replace
from random import Random
from typing import Any, Final

from aiokafka import TopicPartition

from engine.core.assign.roster import Roster
from engine.core.assign.state import PoolState
from engine.core.assign.state import unpack as pool_of
from engine.core.client.items import ACTION, KEY, OVER, STATE
from engine.core.client.sections import unpack
from engine.core.contract.topics import ADVISORS, ASSIGNMENT_REQUESTS, DEAD_LETTERS
from engine.core.decide.assigning import is_with_advisor
from engine.core.firm_time import date_of_day, day_of
from engine.core.policy import holding
from engine.runtime.partitioning import partitioner
from engine.runtime.protocol.ledger import decode_unit
from engine.runtime.protocol.writes import decode_writes
from engine.runtime.redis.reading import NO_RULES
from engine.runtime.settings import Settings
from tests.simulation.auditor import audit
from tests.simulation.rule_texts import GOOD
from tests.simulation.scenario import CLIENTS, Input, Scenario, wall_ms
from tests.simulation.world import World

CAPACITY: Final = {"adv-1": 3, "adv-2": 2, "adv-3": 4, "adv-4": 1, "adv-5": 2}
POOL_OF: Final = {"adv-1": "first", "adv-2": "first", "adv-3": "second", "adv-4": "second", "adv-9": "first"}
OF_TASKS: Final = ("room", "away")  # what is answered to who asks for room
STOPPING_S: Final = 5.0
FIRST_DAYS: Final = (1, 2, 2)  # of leaves, by rule set
MOVES: Final = (
    "{pool: first, capacity: 2, open_tasks: 1}",
    "{pool: second, capacity: 2}",
    "{pool: first, capacity: 2}",
)
BARRED: Final = ("[]", "[c0, c1, c2, c3, c4, c5, c6, c7, c8]", "[c0, c2, c4, c6, c8]")  # of adv-1 and adv-3
STAND_INS: Final = {"first": {"adv-1": "adv-2"}, "second": {"adv-4": "adv-3"}}
_ADVISORS: Final = """\
advisors:
  adv-1: {pool: first, capacity: 3, skills: {funds: 3}, open_tasks: 2, not_for: BARRED,
          leave: [{from: LEAVE, until: BACK, stand_in: adv-2}]}
  adv-2: {pool: first, capacity: 2, open_tasks: 1, tiers: [A, B, C]}
  adv-3: {pool: second, capacity: 4, regions: [east], not_for: BARRED}
  adv-4: {pool: second, capacity: 1, leave: [{from: LEAVE, until: BACK, stand_in: adv-3}]}
  adv-5: MOVES
"""
_ASSIGNMENT: Final = """\
assignment:
  weights: {A: 3, B: 2}
  pools:
    first: {when: client.type == "individual", team: wealth, needs: {funds: trades_7d}, widen: WIDEN, give_up: 2d}
    second: {when: client.days_known >= 0, team: wealth, accept: ACCEPT, open_tasks: 1}
"""
_RULES: Final = """\
rules:
  - id: needs-somebody
    title: Nobody looks after the client
    owner: wealth
    on: [logins, trades]
    when: not client.has_advisor
    kind: assignment
    audience: team
    priority: 70
    cooldown: 12h
    expires: 1d
    template: assign
    description: Each client has somebody.
  - id: somebody-else
    title: A large trade needs another
    owner: wealth
    on: trades
    when: trade.side == "sell"
    kind: assignment
    audience: team
    priority: 60
    cooldown: 1d
    expires: 1d
    template: assign
    description: Again, with a new tier or pool.
  - id: nobody-could
    title: There was no room
    owner: wealth
    on: assignment_answers
    when: assignment_answer.outcome == "no_capacity"
    kind: task
    audience: team
    priority: 80
    cooldown: 1h
    expires: 1d
    template: escalate
    description: The team finds somebody.
  - id: call-back
    title: The advisor calls
    owner: wealth
    on: [logins, assignment_answers]
    when: client.has_advisor
    kind: task
    audience: advisor
    priority: 40
    cooldown: 2h
    expires: 9h
    template: call_back
    care: {remind: {after: 3h}, ends_when: client.open_complaints > 0}
    description: It is open until somebody closes it.
  - id: look-at-it
    title: The advisor looks at a trade
    owner: wealth
    becomes: trades_7d == 1 or trades_7d == 3
    kind: alert
    audience: advisor
    priority: 60
    cooldown: 1h
    expires: 1d
    template: look
    care: {overdue: 5h}
    description: It ends by itself.
"""


def _day(number: int) -> str:
    """So many days after the first of a scenario."""
    return date_of_day(day_of(wall_ms(0)) + number).isoformat()


WITH_POOLS: Final = tuple(
    files
    | {
        "advisors.yaml": _ADVISORS.replace("LEAVE", _day(first))
        .replace("BACK", _day(first + 1))
        .replace("BARRED", barred)
        .replace("MOVES", moves),
        "assignment.yaml": _ASSIGNMENT.replace("WIDEN", widen).replace("ACCEPT", accept),
        "assigning.yaml": _RULES,
    }
    for files, widen, first, accept, barred, moves in zip(
        GOOD,
        ("[{after: 6h, by: 1}, {after: 1d, by: 9}]", "[{after: 4h, by: 9}]", "[]"),
        FIRST_DAYS,
        ("31d", "2d", "10h"),
        BARRED,
        MOVES,
        strict=False,
    )
)


def told(random: Random, scenario: Scenario) -> list[Input]:
    """Profiles that say who looks after a client, or that nobody does; many late, some on the wrong partition."""
    partition_of = partitioner(scenario.partitions)
    made = []
    for number in range(random.choice((0, 6, 20))):
        at_s, client_id = random.uniform(0, scenario.end_s), random.choice(CLIENTS)
        late_ms = random.choice((0, 0, 1_000, 43_200_000))
        record = {"event_id": f"told{number}", "client_id": client_id, "time": wall_ms(at_s) - late_ms}
        record["advisor_id"] = random.choice(("own-1", "own-1", None, "adv-1"))
        partition = partition_of(client_id.encode()) if random.random() < 0.9 else random.randrange(scenario.partitions)
        value = json.dumps(record | {"region": random.choice(("east", "west"))}).encode()
        made.append(Input(at_s, "profiles", partition, client_id.encode(), value, wall_ms(at_s)))
    return made


def changes(random: Random, scenario: Scenario) -> list[Input]:
    """Advisors come and go, take fewer or leave the firm, as the topic advisors says: some late, some twice, some on
    the wrong partition, some about whom no rule set has.
    """
    partition_of = partitioner(scenario.partitions)
    made = []
    for number in range(random.choice((0, 8, 24))):
        at_s, advisor = random.uniform(0, scenario.end_s), random.choice((*POOL_OF, *list(POOL_OF)[:-1]))
        pool = POOL_OF[advisor] if random.random() < 0.9 else "second"
        late_ms = random.choice((0, 0, 1_000, 43_200_000))
        record: dict[str, Any] = {"event_id": f"change{number}", "pool": pool, "time": wall_ms(at_s) - late_ms}
        record["advisor_id"] = advisor
        record |= random.choice(
            (
                *(
                    {"present": False},
                    {"present": True},
                    {"present": None, "capacity": random.randrange(CAPACITY.get(advisor, 0) + 1)},
                ),
                *({"open_tasks": 0}, {"open_tasks": None}),
                *({"capacity": None}, {"last_day": _day(random.randrange(3))}, {"last_day": None}, {}),
                {"leave_from": _day(random.randrange(3)), "leave_until": random.choice((None, _day(2), _day(3)))},
            )
        )
        partition = partition_of(pool.encode()) if random.random() < 0.9 else random.randrange(scenario.partitions)
        for _ in range(random.choice((1, 1, 2))):
            made.append(
                Input(at_s, ADVISORS.name, partition, pool.encode(), json.dumps(record).encode(), wall_ms(at_s))
            )
    return made


def with_own_rules(scenario: Scenario, rule_sets: int) -> None:
    """By so many rule sets, without the commands that know only the usual ones."""
    scenario.refusal, scenario.rebuild, scenario.past = "", None, None
    scenario.faults = [f for f in scenario.faults if not f.kind.startswith(("backfill", "rebuild", "retention"))]
    scenario.inputs = [
        replace(one, rule_set=one.rule_set % rule_sets) if one.rule_set >= 0 else one for one in scenario.inputs
    ]


def with_pools(scenario: Scenario, random: Random) -> None:
    scenario.inputs = sorted(
        [*scenario.inputs, *told(random, scenario), *changes(random, scenario)], key=lambda item: item.at_s
    )
    with_own_rules(scenario, len(WITH_POOLS))


def judge(world: World) -> list[str]:
    """Clients as always, then pools."""
    return audit(world) or _Pools(world).check()


def _amiss(record: dict[str, Any]) -> str:
    """Why a record about an advisor is a dead letter; "" if it is not."""
    if len(record) == len(("event_id", "pool", "time", "advisor_id")):
        return "missing_field"
    known = record["advisor_id"] != "adv-9" and POOL_OF[record["advisor_id"]] == record["pool"]
    return "" if known else "unknown_value"


def _is_open(pool: PoolState, request: str) -> bool:
    return request in pool.tasks and bool(pool.tasks[request].given_ms)


class _Pools:
    def __init__(self, world: World) -> None:
        self.world = world
        self.found: list[str] = []
        self.said: dict[tuple[str, str, str], tuple[int, str, Any]] = {}  # pool, advisor, of what: time, event, value
        self.numbers = range(world.scenario.partitions)
        ((_, _), (self.settings, _)) = world.scopes
        self.requests = self._records(ASSIGNMENT_REQUESTS.name)
        self.answers = self._records("assignment_answers")
        self.brought = {one["request_id"] for one in self.requests if one["kind"] == "open"}
        self.on_their_way = self._behind(ASSIGNMENT_REQUESTS.name, self.settings)
        self.on_their_way |= self._behind("assignment_answers", world.settings)
        self.pools = {name: pool_of(state) for name, state in self._stored(self.settings.scope).items()}
        clients = self._stored(world.settings.scope).values()
        self.clients = {client.client_id: client for client in (unpack(NO_RULES.layout, state) for state in clients)}

    def check(self) -> list[str]:
        self._ledger()
        released = {one["request_id"] for one in self.requests if one["kind"] == "release"}
        asked = [one for one in self.requests if one["kind"] == "assign"]
        self._answered(asked, released)
        self._heard()
        self._served()
        self._books(released)
        self._both_sides()
        self._with_whom_they_may()
        self._rooms()
        return self.found

    def _answered(self, asked: list[dict[str, Any]], released: set[str]) -> None:
        """Each request has one answer, or waits, or was withdrawn before there was one."""
        twice = [name for name, times in Counter(one["request_id"] for one in asked).items() if times > 1]
        answers = Counter(one["request_id"] for one in self.answers if "why" not in one)
        answers -= Counter(one["request_id"] for one in self.answers if one["outcome"] in OF_TASKS)
        waiting = Counter(one.request for pool in self.pools.values() for one in pool.queue)
        self.world.network.seen.update(f"answer {one.get('why', '')}" for one in self.answers)
        self.found += [f"{name} was asked for twice" for name in twice]
        for one in asked:
            name = one["request_id"]
            if answers[name] + waiting[name] > 1:
                self.found.append(f"{name} has {answers[name]} answers and waits {waiting[name]} times")
            if answers[name] + waiting[name] == 0 and name not in released:
                self.found.append(f"{name} of {one['client']} was lost: it has no answer and does not wait")
        known = {one["request_id"] for one in asked}
        self.found += [f"{name} was answered, and not asked for" for name in answers if name not in known]

    def _served(self) -> None:
        """What fell due for who waits was done; workers have stopped since, and servers ended what was left open."""
        stopped_s = self.world.settings.transaction_timeout_s + STOPPING_S
        since_ms = wall_ms(self.world.loop.time() - stopped_s)
        late = [name for name, pool in self.pools.items() if pool.due_ms <= since_ms]
        self.found += [f"time has passed for who waits in pool {name}, and it did not see it" for name in late]
        for name, pool in self.pools.items():
            leaves = {advisor: self._leave(name, advisor, pool) for advisor, of in POOL_OF.items() if of == name}
            due = {advisor: leave[1] for advisor, leave in leaves.items() if leave and leaves.get(leave[1], "") is None}
            if pool.away != due:
                self.found.append(f"in pool {name} {pool.away} stand in, it would be {due}")

    def _leave(self, name: str, advisor: str, pool: PoolState) -> tuple[str, str | None] | None:
        """The leave of that day: its end, and who stands in."""
        first, today = FIRST_DAYS[WITH_POOLS.index(self.world.active())], date_of_day(day_of(pool.now_ms)).isoformat()
        stand_in = STAND_INS[name].get(advisor)
        leaves: dict[str, tuple[str, str | None] | None] = (
            {_day(first): (_day(first + 1), stand_in)} if stand_in else {}
        )
        for (of, whom, what), (_, _, value) in self.said.items():
            if (of, whom) == (name, advisor) and what.startswith("leave "):
                leaves[what.removeprefix("leave ")] = value
        return next((leaves[day] for day in sorted(leaves) if day <= today <= (leaves[day] or ("",))[0]), None)

    def _heard(self) -> None:
        """What was said of advisors last, by its own time, is what pools hold; what says nothing is a dead letter."""
        letters = self.world.kafka.logs
        refused: dict[tuple[int, int], str] = {}
        for number in self.numbers:
            for entry in letters[TopicPartition(self.settings.topic(DEAD_LETTERS), number)].committed():
                headers = {name: value.decode() for name, value in entry.headers if name.startswith("engage_")}
                if headers["engage_topic"] == ADVISORS.name:
                    place = int(headers["engage_partition"]), int(headers["engage_offset"])
                    refused[place] = headers["engage_reason"]
        self.world.network.seen.update(f"change {why}" for why in refused.values())
        for number in self.numbers:
            for entry in letters[TopicPartition(self.settings.topic(ADVISORS.name), number)].committed():
                record, why = json.loads(entry.value or b""), refused.get((number, entry.offset), "")
                if why == "future":  # a worker's clock was behind
                    continue
                if why != _amiss(record):
                    self.found.append(f"{record} was refused as {why!r}, not as {_amiss(record)!r}")
                elif not why:
                    self._note(record)
        held = {
            (pool.name, advisor, name): (fact.time_ms, fact.event, tuple(v) if isinstance(v := fact.value, list) else v)
            for pool in self.pools.values()
            for advisor, facts in pool.said.items()
            for name, fact in facts.items()
        }
        if held != self.said:
            self.found.append(f"pools know of their advisors {held}, they were told {self.said}")

    def _note(self, record: dict[str, Any]) -> None:
        says = {name: record[name] for name in ("present", "capacity", "last_day", "open_tasks") if name in record}
        if "leave_from" in record:
            until = record["leave_until"]
            says[f"leave {record['leave_from']}"] = until and (until, record.get("stand_in"))
        for name, value in says.items():
            about, fact = (record["pool"], record["advisor_id"], name), (record["time"], record["event_id"], value)
            if about not in self.said or fact[:2] > self.said[about][:2]:
                self.said[about] = fact
        self.world.network.seen.update(f"change {name.split()[0]}" for name in says)

    def _books(self, released: set[str]) -> None:
        """What pools hold is what was answered and is not released; nobody has more than fits."""
        expected: dict[str, dict[str, tuple[str, str]]] = defaultdict(dict)
        for one in self.answers:  # of a client and a pool in the order of the pool
            if one.get("why") in ("stand_in", "back") or one["outcome"] in OF_TASKS:
                continue  # the book stays as it is
            if one["outcome"] != "no_capacity":
                expected[one["pool"]][one["client_id"]] = one["advisor_id"], one["request_id"]
            elif "why" in one:
                del expected[one["pool"]][one["client_id"]]
        weights = {one["request_id"]: {"A": 3, "B": 2}.get(one.get("tier") or "", 1) for one in self.requests}
        for name, pool in self.pools.items():
            held = {client: (entry.advisor, entry.request) for client, entry in pool.book.items()}
            due = {client: of for client, of in expected[name].items() if of[1] not in released}
            if held != due:
                self.found.append(f"pool {name} holds {held}, by the topics it would be {due}")
            for client, entry in pool.book.items():
                if entry.weight != weights[entry.request]:
                    self.found.append(f"pool {name} counts {client} as {entry.weight}")

    def _both_sides(self) -> None:
        """What a client holds its pool holds, and the other way round."""
        here = {(c, *client.assigned) for c, client in self.clients.items() if client.assigned is not None}
        there = {
            (client, name, entry.request, who)
            for name, pool in self.pools.items()
            for client, entry in pool.book.items()
            for who in [entry.advisor if client in pool.apart else pool.away.get(entry.advisor, entry.advisor)]
        }
        if here != there:
            self.found.append(f"assigned by clients alone {here - there}, by pools alone {there - here}")
        asking = {(c, *client.asked[:2]) for c, client in self.clients.items() if client.asked is not None}
        waiting = {(one.client, name, one.request) for name, pool in self.pools.items() for one in pool.queue}
        if asking != waiting:
            self.found.append(f"asked by clients alone {asking - waiting}, waiting in pools alone {waiting - asking}")
        for client_id, client in self.clients.items():
            if client.assigned is not None and client.advisor_id != client.assigned[2]:
                self.found.append(f"{client_id} has {client.advisor_id} and holds {client.assigned}")

    def _with_whom_they_may(self) -> None:
        """Nobody is with an advisor who must not have the client, or who is of another pool, by the rules of now."""
        roster = self._roster(self.world.head())
        barred = {one.name: one.not_for for of in roster.advisors.values() for one in of}
        for name, pool in self.pools.items():
            for client, entry in pool.book.items():
                who = pool.away.get(entry.advisor, entry.advisor)
                if client in (*barred[entry.advisor], *(barred[who] if client not in pool.apart else ())):
                    self.found.append(f"{client} is with {who}, who must not have it: {entry}")
                if roster.home[entry.advisor] != name:
                    self.found.append(f"{client} is with {entry.advisor} in {name}, who is of another pool")

    def _roster(self, rule_set: str) -> Roster:
        plan = self.world.plan(rule_set)
        assert plan is not None
        assert plan.pools is not None
        return plan.pools.roster

    def _behind(self, topic: str, own: Settings) -> set[str]:
        """Requests of records that came while workers stopped, by a client's timer: nobody has heard of them."""
        found = set()
        for number in self.numbers:
            units = list(self.world.kafka.logs[TopicPartition(own.ledger_topic, number)].committed())
            decided = decode_unit(units[-1].value or b"").offsets.get(topic, 0) if units else 0
            log = self.world.kafka.logs[TopicPartition(own.topic(topic), number)]
            found |= {json.loads(e.value or b"")["request_id"] for e in log.committed() if e.offset >= decided}
        return found

    def _rooms(self) -> None:
        """Each request for room has one answer, waits or was withdrawn; what clients have open, pools count, and it is
        open indeed.
        """
        asked = {one["request_id"]: one for one in self.requests if one["kind"] == "task"}
        released = {one["request_id"] for one in self.requests if one["kind"] == "release"}
        answers = Counter(one["request_id"] for one in self.answers if one["outcome"] in OF_TASKS)
        outcomes = {one["request_id"]: one["outcome"] for one in self.answers if one["outcome"] in OF_TASKS}
        here: dict[str, tuple[str, str, str, bool]] = {}
        limited = {one.name: one for of in self._roster(self.world.head()).advisors.values() for one in of}
        for client_id, client in self.clients.items():
            counted = {room[ACTION] for room in client.rooms}
            advisor = limited.get(client.advisor_id or "")
            for item in client.items:
                if is_with_advisor(item) and (advisor is not None and advisor.open_tasks is not None):
                    self.world.network.seen["room counted"] += 1
                    if item[KEY] not in counted:
                        self.found.append(f"{item} of {client_id} does not count with {advisor.name}: {client.rooms}")
            open_ = {item[KEY] for item in client.items if item[STATE] not in OVER}
            held = {entry[holding.MATCH] for entry in client.waiting}
            for pool, request, advisor, match, action, standing in client.rooms:
                here[request] = client_id, pool, advisor, bool(standing)
                if (action not in open_ if action else match not in held) or advisor != client.advisor_id:
                    self.found.append(f"{client_id} keeps room for what is neither open nor waits: {client.rooms}")
        there = {
            request: (task.client, name, task.advisor, bool(task.given_ms))
            for name, pool in self.pools.items()
            for request, task in pool.tasks.items()
        }
        differ = [one for one in {*here.items()} ^ {*there.items()} if one[0] not in self.on_their_way]
        if differ:
            self.found.append(f"room by clients {here}, by pools {there}")
        if len(asked) != sum(one["kind"] == "task" for one in self.requests):
            self.found.append("room was asked for twice by one name")
        self.world.network.seen["room brought"] += len(self.brought)
        for request, one in asked.items():
            if answers[request] > 1:
                self.found.append(f"room {request} was given {answers[request]} times")
            waits = request in there and not there[request][3]
            if not answers[request] and not waits and request not in released | self.on_their_way:
                self.found.append(f"room {request} of {one['client']} was lost")
            if outcomes.get(request) == "room" and request not in there and request not in released:
                self.found.append(f"room {request} of {one['client']} was given and nobody has it")
        self.found += [f"room {request} was given, and not asked for" for request in answers if request not in asked]
        self.world.network.seen.update(f"room {outcome}" for outcome in outcomes.values())
        self.world.network.seen["room withdrawn"] += len(asked.keys() & released - answers.keys())
        self.world.network.seen["room returned"] += len(outcomes.keys() & released)
        self.world.network.seen["room waits"] += sum(not given for *_, given in there.values())

    def _ledger(self) -> None:
        """At every unit no advisor has more than fits; Redis has what was written last."""
        last: dict[str, bytes] = {}
        before: dict[str, PoolState] = {}
        for number in self.numbers:
            log = self.world.kafka.logs[TopicPartition(self.settings.ledger_topic, number)]
            for entry in log.committed():
                unit = decode_unit(entry.value or b"")
                for write in decode_writes(unit.writes):
                    last[write.key], pool = write.state, pool_of(write.state)
                    self._fits(pool, before.get(write.key, pool), self._roster(unit.rule_set))
                    before[write.key] = pool
        if last != (stored := self._stored(self.settings.scope)):
            differ = [name for name in {*last, *stored} if last.get(name) != stored.get(name)]
            self.found.append(f"Redis holds other pools than the ledger wrote: {', '.join(differ)}")

    def _fits(self, pool: PoolState, before: PoolState, roster: Roster) -> None:
        loads: Counter[str] = Counter()
        for entry in pool.book.values():
            loads[entry.advisor] += entry.weight
        for advisor, load in loads.items():
            if load > CAPACITY[advisor]:
                self.found.append(f"{advisor} has {load} of {CAPACITY[advisor]}: {pool.book}")
        numbers = {one.name: one.open_tasks for of in roster.advisors.values() for one in of}
        tasks = Counter(task.advisor for task in pool.tasks.values() if task.given_ms)
        new = {name: task for name, task in pool.tasks.items() if task.given_ms and not _is_open(before, name)}
        came = Counter(task.advisor for name, task in new.items() if name in self.brought)
        for advisor in {task.advisor for name, task in new.items() if name not in self.brought}:
            self.world.network.seen["open tasks"] += 1
            most, times = numbers[advisor], tasks[advisor] - came[advisor]
            if most is not None and times > most:
                self.found.append(f"{advisor} was given room for {times} open tasks of {most}: {pool.tasks}")

    def _records(self, topic: str) -> list[dict[str, Any]]:
        logs = (self.world.kafka.logs[TopicPartition(self.settings.topic(topic), number)] for number in self.numbers)
        return [json.loads(entry.value or b"") for log in logs for entry in log.committed()]

    def _stored(self, scope: str) -> dict[str, bytes]:
        hashes = self.world.redis.data.hashes
        return {
            key.rpartition(":client:")[2]: fields["state"]
            for key, fields in hashes.items()
            if key.partition(":")[0] == f"{{{scope}"
        }
