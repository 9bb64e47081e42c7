"""Advisors' pools in a run of faults: the rule files that ask for advisors, what changes about those, and the judge of
both sides at rest.

Enters: an installation at rest, the ledgers of both processors as the auditor reads them, what the replay of clients
published. Leaves: findings, and the pools' states as their ledger is decided again.
Holds: what pools hold is compared with what the topics say and with what clients hold. What was published in the last
moment, behind what the other side had decided when the workers ended, is on its way, and counted as that.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import threading
from collections import Counter, defaultdict
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import msgpack

from engine.core.assign.state import AWAY, ROOM, PoolState
from engine.core.assign.state import unpack as pool_of
from engine.core.client.items import ADVISOR, GIVEN, OF_TEAM, POOL, REQUEST, STANDING
from engine.core.client.sections import unpack
from engine.core.contract.granting import BUDGET
from engine.core.contract.message import Message
from engine.core.contract.topics import ADVISORS, ASSIGNMENT_REQUESTS
from engine.core.decide.pools import ANSWERS
from engine.operations.replay import Replayed, replay_ledger
from engine.processors.assignment import ASSIGNMENT
from engine.runtime.clients import Clients
from engine.runtime.redis.reading import NO_RULES
from tests.faults.load import WAITS
from tests.kafka.installation import Installation, Record

if TYPE_CHECKING:
    from tests.faults.auditor import Audit, Chain

REQUESTS = ASSIGNMENT_REQUESTS.name
OF_TASKS = (ROOM, AWAY)
POOLS = ("institutions", "east", "central", "rest")
ADVISORS_OF_EACH = 12
WEIGHTS = {"A": 3, "B": 2}
LEAVE = dt.timedelta(days=4)
CHANGE_S = 0.3  # between two changes of advisors
ASSIGNMENT_YAML = """\
assignment:
  weights: {A: 3, B: 2}
  pools:
    institutions: {when: client.type != "individual", team: institutional_sales}
    east: {when: client.region == "east", team: wealth, needs: {funds: 3 if client.tier == "A" else 0},
           widen: [{after: 2h, by: 1}, {after: 1d, by: 3}], give_up: 3d}
    central: {when: client.region == "central", team: wealth, give_up: 1d, open_tasks: 1}
    rest: {when: client.days_known >= 0, team: wealth, open_tasks: 2}
"""
RULES = """\
rules:
  - id: advisor-for-some
    title: A client has no advisor
    owner: wealth
    on: balances
    when: not client.has_advisor and client.assets_cny >= 100_000
    kind: assignment
    audience: team
    priority: 50
    cooldown: 5d
    expires: 30d
    template: assign_advisor
    description: Tier A comes first.
  - id: another-advisor
    title: A large trade asks for somebody again
    owner: wealth
    on: trades
    when: trade.amount_cny >= 200_000
    kind: assignment
    audience: team
    priority: 60
    cooldown: 30d
    expires: 30d
    template: assign_advisor
    description: The tier may be another, and so may the pool.
  - id: call-the-client
    title: Money moved, and the advisor calls
    owner: wealth
    on: balances
    kind: task
    audience: advisor
    priority: 40
    cooldown: 1m
    expires: 30d
    template: call_the_client
    care: {overdue: 4h, ends_when: client.assets_cny < 200_000}
    description: At most so many are open with an advisor.
  - id: look-at-the-account
    title: A holding that the advisor looks into
    owner: wealth
    on: positions
    kind: alert
    audience: advisor
    priority: 60
    cooldown: 1m
    expires: 30d
    template: look_at_the_account
    care: {remind: {after: 1d}, ends_when: trades_1d > 3}
    description: It comes before what is less urgent.
"""
OPEN_TASKS = {"central": 1, "rest": 2}  # of each of the pool's advisors, as above; of the other pools any


def capacity(number: int) -> int:
    return 5 + 10 * (number % 4)


def write(directory: Path, today: dt.date) -> None:
    """Beside the rules that are there. Records are of the last twenty days: one advisor in three was away meanwhile."""
    lines = ["advisors:"]
    for pool in POOLS:
        for number in range(ADVISORS_OF_EACH):
            begins = today - dt.timedelta(days=3 + number)
            stand_in = f", stand_in: {pool}-{(number + 1) % ADVISORS_OF_EACH}" if number % 2 else ""
            leave = f", leave: [{{from: {begins}, until: {begins + LEAVE}{stand_in}}}]" if number % 3 == 0 else ""
            skills = f"skills: {{funds: {1 + number % 3}}}"
            lines.append(f"  {pool}-{number}: {{pool: {pool}, capacity: {capacity(number)}, {skills}{leave}}}")
    texts = {"advisors.yaml": "\n".join(lines) + "\n", "assignment.yaml": ASSIGNMENT_YAML, "assigning.yaml": RULES}
    for name, text in texts.items():
        (directory / name).write_text(text)


class Changes:
    """What changes about advisors by the hour, told between `start` and `stop`: who is away, has a leave or leaves the
    firm, and who takes fewer clients; of each, now and then, that it is as the roster says again.
    """

    def __init__(self, installation: Installation, seed: int) -> None:
        self._installation, self._random = installation, Random(seed)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="changes")
        self.told = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when all were acknowledged."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        producer, topic = self._installation.producer(**WAITS), self._installation.settings.topic(ADVISORS.name)
        while not self._stopping.wait(CHANGE_S):
            pool = self._random.choice(POOLS)
            value = json.dumps(self._change(pool)).encode()
            for _ in range(self._random.choice((1, 1, 2))):  # said twice it is the same
                producer.produce(topic, key=pool.encode(), value=value)
                self.told += 1
            producer.poll(0)
        producer.flush()

    def _change(self, pool: str) -> dict[str, Any]:
        number, random = self._random.randrange(ADVISORS_OF_EACH), self._random
        now = dt.datetime.now(dt.UTC)
        told = {"event_id": f"change-{self.told}", "pool": pool, "advisor_id": f"{pool}-{number}"}
        first, last = (str((now + dt.timedelta(days=days)).date()) for days in (-random.randrange(4), 2))
        told["time"] = (now - dt.timedelta(seconds=random.choice((0, 0, 3_600)))).isoformat()
        said: tuple[dict[str, Any], ...] = (
            *({"present": False}, {"present": True}, {"present": None, "capacity": random.randrange(capacity(number))}),
            *({"capacity": None}, {"last_day": str(now.date() - dt.timedelta(days=1))}, {"last_day": None}),
            {"leave_from": first, "leave_until": last, "stand_in": f"{pool}-{(number + 1) % ADVISORS_OF_EACH}"},
            {"leave_from": first, "leave_until": None},
        )
        return told | random.choice(said)


def check(
    installation: Installation,
    ledger: list[list[Record]],
    chains: tuple[list[Chain], list[Chain]],
    clients: dict[str, bytes],
    messages: list[Message],
    found: Audit,
) -> dict[str, bytes]:
    """`ledger` is that of pools, `chains` of clients and of pools; `clients` and `messages` as replayed."""
    judge = _Judge(installation, chains, clients, found)
    judge.replayed(messages)
    judge.fits(ledger)
    judge.answered()
    judge.books()
    judge.both_sides()
    judge.rooms()
    found.counted.update(requests=len(judge.requests), answers=len(judge.answers), on_their_way=len(judge.on_their_way))
    return judge.states


class _Judge:
    def __init__(
        self,
        installation: Installation,
        chains: tuple[list[Chain], list[Chain]],
        clients: dict[str, bytes],
        found: Audit,
    ) -> None:
        self.installation, self.found = installation, found
        self.records = {name: installation.read(name) for name in (REQUESTS, ANSWERS)}
        of_clients, of_pools = chains
        self.on_their_way: set[str] = set()  # requests
        for name, deciding in ((REQUESTS, of_pools), (ANSWERS, of_clients)):
            behind = (r for r in self.records[name] if r.offset >= deciding[r.partition].offsets.get(name, 0))
            self.on_their_way |= {record.json["request_id"] for record in behind}
        self.requests = [record.json for record in self.records[REQUESTS]]
        self.answers = [record.json for record in self.records[ANSWERS]]
        self.released = {one["request_id"] for one in self.requests if one["kind"] == "release"}
        self.brought = {one["request_id"] for one in self.requests if one["kind"] == "open"}  # whatever the number is
        self.states: dict[str, bytes] = {}
        self.clients = [unpack(NO_RULES.layout, state) for state in clients.values()]

    def replayed(self, messages: list[Message]) -> None:
        """Both ledgers, decided again, give what the topics hold."""
        result, of = Replayed(), self.installation
        answers = asyncio.run(replay_ledger(of.settings, Clients(), of.partitions, result, processor=ASSIGNMENT))
        for difference in result.differences:
            self.found.find(f"a digest in the pools' ledger is not that of the replay: {difference}")
        for name, again in ((REQUESTS, messages), (ANSWERS, answers)):
            there = Counter((record.key, record.value) for record in self.records[name])
            self.found.same(name, there, Counter((m.key, m.value) for m in again if m.topic == name))
        self.states = result.pools
        self.pools = {name: pool_of(state) for name, state in self.states.items() if not name.startswith(BUDGET)}

    def fits(self, ledger: list[list[Record]]) -> None:
        """After no unit anybody has more than the capacity, or asked for more open tasks than the number; and what
        others read is the sum.
        """
        beyond = set()
        for record in (one for records in ledger for one in records):
            writes = msgpack.unpackb(msgpack.unpackb(record.value or b"")[1]["writes"], raw=True)
            for key, _, *values in writes[b"rows"]:
                if key.startswith(BUDGET.encode()):
                    continue
                row = dict(zip(writes[b"fields"], values, strict=True))
                pool = pool_of(row[b"state"])
                asked = (one for name, one in pool.tasks.items() if one.given_ms and name not in self.brought)
                loads, tasks = _loads(pool), Counter(one.advisor for one in asked)
                most = OPEN_TASKS.get(pool.name, 10**9)
                beyond |= {f"{name} has {times} open tasks of {most}" for name, times in tasks.items() if times > most}
                self.found.counted["fullest_percent"] = max(
                    self.found.counted["fullest_percent"],
                    *(100 * load // _room(name) for name, load in loads.items()),
                    0,
                )
                beyond |= {f"{name} has {load} of {_room(name)}" for name, load in loads.items() if load > _room(name)}
                if int(row[b"load"]) != loads.total():
                    beyond.add(f"{row[b'load']!r} is shown, {loads.total()} is the sum")
        if beyond:
            self.found.find("advisors have more than fits", sorted(beyond))

    def answered(self) -> None:
        """Each request has one answer, or waits, or was withdrawn before there was one."""
        asked = Counter(one["request_id"] for one in self.requests if one["kind"] in ("assign", "task"))
        answers = Counter(one["request_id"] for one in self.answers if "why" not in one)
        waiting = Counter(one.request for pool in self.pools.values() for one in pool.queue)
        waiting.update(name for pool in self.pools.values() for name, one in pool.tasks.items() if not one.given_ms)
        self.found.counted["waiting"] = waiting.total()
        ends = {name: answers[name] + waiting[name] for name in asked}
        for text, names in (
            ("requests were made twice", [name for name, times in asked.items() if times > 1]),
            ("requests have several answers, or one and wait", [name for name in asked if ends[name] > 1]),
            (
                "requests were lost: they have no answer and do not wait",
                [name for name in asked if not ends[name] and name not in self.released | self.on_their_way],
            ),
            ("answers are to nothing that was asked", [name for name in answers if name not in asked]),
        ):
            if names:
                self.found.find(f"{len(names)} {text}", names)

    def books(self) -> None:
        """What pools hold is what was answered and is not released; loads are its sums."""
        held: dict[str, dict[str, tuple[str, str]]] = defaultdict(dict)
        for one in self.answers:  # of a client and a pool in the order of the pool
            if one.get("why") in ("stand_in", "back") or one["outcome"] in OF_TASKS:
                continue
            if one["outcome"] != "no_capacity":
                held[one["pool"]][one["client_id"]] = one["advisor_id"], one["request_id"]
            elif "why" in one:
                del held[one["pool"]][one["client_id"]]
        weights = {one["request_id"]: WEIGHTS.get(one.get("tier") or "", 1) for one in self.requests}
        wrong = []
        for name, pool in self.pools.items():
            here = {client: (e.advisor, e.request) for client, e in pool.book.items() if not self._open(e.request)}
            due = {client: of for client, of in held[name].items() if of[1] not in self.released | self.on_their_way}
            wrong += [f"{name}: {one}" for one in {*here.items()} ^ {*due.items()}]
            wrong += [
                f"{name} counts {c} as {e.weight}" for c, e in pool.book.items() if e.weight != weights[e.request]
            ]
            if {advisor: load for advisor, load in pool.loads.items() if load} != _loads(pool):
                wrong.append(f"{name}: loads are not the sums of the book")
        if wrong:
            self.found.find(f"{len(wrong)} clients in the books of pools are not as the topics say", sorted(wrong))

    def both_sides(self) -> None:
        """What a client holds its pool holds, and the other way round."""
        here = {
            (client.client_id, *client.assigned)
            for client in self.clients
            if client.assigned is not None and not self._open(client.assigned[1])
        }
        there = {
            (client, name, entry.request, pool.away.get(entry.advisor, entry.advisor))
            for name, pool in self.pools.items()
            for client, entry in pool.book.items()
            if not self._open(entry.request)
        }
        if here != there:
            self.found.find(f"{len(here ^ there)} clients hold another advisor than their pool", sorted(here ^ there))
        asked = {(client.client_id, *client.asked[:2]) for client in self.clients if client.asked is not None}
        waits = {(one.client, name, one.request) for name, pool in self.pools.items() for one in pool.queue}
        differ = [one for one in asked ^ waits if not self._open(one[2])]
        if differ:
            self.found.find(f"{len(differ)} clients ask for what does not wait, or do not any more", sorted(differ))

    def rooms(self) -> None:
        """What clients have open with their advisors, or waiting for them, pools count, and the other way round."""
        here = {
            (client.client_id, room[POOL], room[REQUEST], room[ADVISOR], room[STANDING] == GIVEN)
            for client in self.clients
            for room in client.rooms
            if room[STANDING] != OF_TEAM
        }
        there = {
            (one.client, name, request, one.advisor, bool(one.given_ms))
            for name, pool in self.pools.items()
            for request, one in pool.tasks.items()
        }
        differ = sorted(one for one in here ^ there if not self._open(one[2]))
        if differ:
            self.found.find(f"{len(differ)} open tasks are not with their pool, or not with their client", differ)
        told = Counter(one["outcome"] for one in self.answers if one["outcome"] in OF_TASKS)
        names = {one["request_id"] for one in self.answers if one["outcome"] == ROOM}
        self.found.counted.update({f"tasks: {outcome}": times for outcome, times in told.items()})
        self.found.counted["tasks: room returned"] += len(names & self.released)
        self.found.counted["tasks: brought"] += len(self.brought)
        self.found.counted["tasks: waiting"] += sum(not given for *_, given in there)

    def _open(self, request: Any) -> bool:
        return request in self.on_their_way


def _loads(pool: PoolState) -> Counter[str]:
    loads: Counter[str] = Counter()
    for entry in pool.book.values():
        loads[entry.advisor] += entry.weight
    return loads


def _room(advisor: str) -> int:
    return capacity(int(advisor.rpartition("-")[2]))
