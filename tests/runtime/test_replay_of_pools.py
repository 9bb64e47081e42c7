"""A replay of files with pools equals a live run whose answers came in time: the same bytes, on every topic.

The live run has a partition of clients and one of pools, each over a log and a store in memory. Whatever one publishes
for the other comes there before the next record from outside, in the order of its topic; who is due is woken in time.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator
from random import Random
from typing import Any

import pytest

from engine.core.contract.message import Message
from engine.core.contract.topics import ADVISORS as CHANGES
from engine.core.contract.topics import ASSIGNMENT_REQUESTS
from engine.core.decide import timeline
from engine.core.decide.pools import ANSWERS
from engine.core.firm_time import DAY_MS, NEVER_MS
from engine.operations.replay import Replayed, read_file, replay_records
from engine.processors.assignment import ASSIGNMENT
from tests.core.making import FEATURES, HOUR_MS, at, plan_of, rule
from tests.runtime.driving import Bench, single

SEEDS = range(6)
RECORDS = 80
KINDS = ("login", "login", "login", "trade", "profile", "balance", "outcome", "outcome", "advisor")
CLIENTS = [f"c{number}" for number in range(12)]
ADVISORS = """\
advisors:
  ann: {pool: east, capacity: 3, skills: {funds: 2}, leave: [{from: 2026-02-18, until: 2026-02-19, stand_in: bob}]}
  bob: {pool: east, capacity: 2}
  cy: {pool: rest, capacity: 2, tiers: [B, C]}
  dee: {pool: rest, capacity: 1}
"""
LEAVE = {"leave_from": "2026-02-20", "leave_until": "2026-02-21", "stand_in": "bob"}
ASSIGNMENT_YAML = """\
assignment:
  weights: {A: 2}
  pools:
    east: {when: client.region == "east", team: wealth, needs: {funds: trades_30d}, widen: [{after: 2h, by: 1},
           {after: 9h, by: 9}], give_up: 1d}
    rest: {when: client.days_known >= 0, team: research, accept: 6h}
"""
PLAN = plan_of(
    rule("ask", kind="assignment", audience="team", when="client.days_known >= 0", cooldown="1h"),
    rule("at-nine", at="{every: day, time: '09:00'}", kind="assignment", audience="team",
         when="not client.has_advisor"),
    rule("no-room", on="assignment_answers", when="'assignment_answer.outcome == \"no_capacity\"'", kind="task",
         audience="team", parameters="{team: assignment_answer.team}"),
    rule("again", on="assignment_answers", when="'assignment_answer.outcome == \"no_capacity\" and "
         "client.region == \"west\"'", kind="assignment", audience="team", cooldown="2h"),
    rule("hello", on="assignment_answers", when="client.has_advisor", parameters="{who: assignment_answer.advisor_id}"),
    features=FEATURES + "  trades_30d: {source: trades, aggregate: count, window: 30d}\n",
    others=(("advisors.yaml", ADVISORS), ("assignment.yaml", ASSIGNMENT_YAML)),
)  # fmt: skip


class Live:
    """Both partitions, and the file of what came from outside."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.sides = Bench(PLAN), Bench(PLAN, processor=ASSIGNMENT)
        self._passed = [0, 0]  # messages of each side that the other one has seen
        self._offsets: Counter[str] = Counter()

    async def started(self) -> Live:
        self.clients, self.pools = [await side.started() for side in self.sides]
        return self

    async def take(self, topic: str, client: str, time_ms: int, **fields: Any) -> None:
        await self.reach(time_ms)
        named, side = ("pool", self.pools) if topic == CHANGES.name else ("client_id", self.clients)
        record = {"event_id": f"e{len(self.lines)}", named: client, "time": time_ms} | fields
        line = {"topic": topic, "key": client, "timestamp": time_ms, "value": record}
        self.lines.append(json.dumps(line).encode() + b"\n")
        await self._deliver(side, topic, client.encode(), json.dumps(record).encode(), time_ms)
        await self._settle(time_ms)

    async def reach(self, until_ms: int) -> None:
        while True:
            rows = [(row.due_ms, number) for number, side in enumerate(self.sides) for row in side.data.rows().values()]
            due_ms, number = min(rows, default=(NEVER_MS, 0))
            if due_ms > until_ms:
                return
            await (self.clients, self.pools)[number].tick(due_ms, limit=1)
            await self._settle(due_ms)

    async def _deliver(self, side: Any, topic: str, key: bytes, value: bytes, time_ms: int) -> None:
        await side.take(single(topic, self._offsets[topic], key, value, time_ms))
        self._offsets[topic] += 1
        await side.commit("age")

    async def _settle(self, time_ms: int) -> None:
        """Requests go to pools and answers to clients, until there are no more."""
        while any(passed < len(side.ledger.messages) for passed, side in zip(self._passed, self.sides, strict=True)):
            for number, topic in enumerate((ASSIGNMENT_REQUESTS.name, ANSWERS)):
                messages = self.sides[number].ledger.messages
                new, self._passed[number] = messages[self._passed[number] :], len(messages)
                for message in new:
                    if message.topic == topic:
                        other = (self.pools, self.clients)[number]
                        await self._deliver(other, topic, message.key or b"", message.value or b"", time_ms)

        for side in self.sides:  # what was written before is of no interest: nothing is lost here
            if side.data.applied:
                side.data.applied[:] = [(side.data.position or b"", list(side.data.rows().values()))]

    @property
    def messages(self) -> list[Message]:
        return [message for side in self.sides for message in side.ledger.messages]

    def answers(self) -> Iterator[dict[str, Any]]:
        return (json.loads(message.value or b"") for message in self.sides[1].ledger.messages)


async def played(seed: int) -> Live:
    """A story of all that comes from outside; the last known of what it is about comes from the run."""
    random, live, time_ms = Random(seed), await Live().started(), at(0)
    for client in CLIENTS:
        await live.take("profiles", client, time_ms, type="individual", region=random.choice(("east", "west", "west")))
    for _ in range(RECORDS):
        time_ms += random.choice((1, 60_000, HOUR_MS, 3 * HOUR_MS, 3 * HOUR_MS))
        client = random.choice(CLIENTS)
        kind = random.choice(KINDS)
        given = [one for one in live.answers() if one["outcome"] != "no_capacity"]
        if kind == "login":
            await live.take("logins", client, time_ms, channel="app")
        elif kind == "trade":
            said = {"symbol": "600000.SH", "product": "stock", "side": "buy", "quantity": 1, "amount_fen": 100}
            await live.take("trades", client, time_ms, **said)
        elif kind == "profile":
            said = random.choice(({"advisor_id": None}, {"advisor_id": "own"}, {"region": "east"}, {"region": "west"}))
            await live.take("profiles", client, time_ms, **said)
        elif kind == "balance":
            assets_fen = random.choice((0, 40_000_000, 200_000_000))
            said = {"kind": "snapshot", "amount_fen": 0, "assets_fen": assets_fen}
            await live.take("balances", client, time_ms, **said)
        elif kind == "advisor":
            says = random.choice(({"present": False}, {"present": True}, {"capacity": 4}, {"capacity": None}, LEAVE))
            who = "ann" if says is LEAVE else random.choice(("ann", "bob"))
            await live.take(CHANGES.name, "east", time_ms, advisor_id=who, **says)
        elif given:
            one = random.choice(given[-6:])
            status = random.choice(("accepted", "accepted", "declined"))
            await live.take("outcomes", one["client_id"], time_ms, action_id=one["request_id"], status=status)
    await live.reach(time_ms + 3 * DAY_MS)
    return live


def by_topic(messages: Iterable[Message]) -> dict[tuple[str, bytes | None], list[bytes | None]]:
    """Values in order, by topic and key: between two topics there is no order."""
    found: dict[tuple[str, bytes | None], list[bytes | None]] = defaultdict(list)
    for message in messages:
        found[message.topic, message.key].append(message.value)
    return found


def replayed(live: Live) -> tuple[Replayed, list[Message]]:
    result, until_ms = Replayed(), json.loads(live.lines[-1])["timestamp"] + 3 * DAY_MS
    return result, list(replay_records(PLAN, read_file(live.lines, "f"), result, until_ms))


async def test_both_sides_come_to_the_same_bytes() -> None:
    happened: Counter[str] = Counter()
    for seed in SEEDS:
        live = await played(seed)
        result, messages = replayed(live)
        assert by_topic(messages) == by_topic(live.messages), f"seed {seed}"
        clients, pools = (side.data.states() for side in live.sides)
        assert result.states == clients, f"seed {seed}"
        assert result.pools == pools, f"seed {seed}"
        assert result.rejected == 0
        happened.update(one.get("why", one["outcome"]) for one in live.answers())
    assert set(happened) == {"assigned", "no_capacity", "stand_in", "back", "declined", "not_accepted"}


class _LastFirst(deque[Any]):
    def popleft(self) -> Any:
        return self.pop()


async def test_who_is_served_out_of_turn_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "deque", _LastFirst)
    stories = [await played(seed) for seed in SEEDS]
    assert any(by_topic(replayed(live)[1]) != by_topic(live.messages) for live in stories)
