"""At most so many open tasks of an advisor: what waits, in which order, what frees it; over clients and pools."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import msgpack
import pytest

from engine.core.assign import state as pool_state
from engine.core.assign.state import NewerPool, PoolState
from engine.core.client import record, sections
from engine.core.contract.events import Outcome
from engine.core.contract.message import Message
from engine.core.contract.outbound import Rejection
from engine.core.contract.topics import ADVISORS, ASSIGNMENT_REQUESTS, TOPICS
from engine.core.decide import pools
from engine.core.decide.path import Due, decide
from engine.core.decide.timeline import Timeline
from engine.core.firm_time import DAY_MS, HOUR_MS
from engine.core.pace import Pace
from engine.core.reading.decode import Rejected
from engine.processors.assignment import ASSIGNMENT
from tests.core.making import at, login, plan_of, profile, rule, trade

ADVISORS_YAML = """\
advisors:
  ann: {pool: east, capacity: 9, open_tasks: 2}
  bob: {pool: east, capacity: 9, open_tasks: 1, leave: [{from: 2026-02-20, until: 2026-02-21}]}
  cy: {pool: rest, capacity: 9}
"""
POOLS = """\
assignment:
  pools:
    east: {when: client.region == "east", team: wealth}
    rest: {when: client.region == "west", team: research}
"""
CARE = "{remind: {after: 2h}}"
TASK = rule("call", kind="task", audience="advisor", cooldown="1m", expires="5d", care=CARE)
URGENT = rule("urgent", on="trades", kind="alert", audience="advisor", priority=90, cooldown="1m", care=CARE)


def plan(*rules: str, advisors: str = ADVISORS_YAML, assignment: str = POOLS) -> Any:
    return plan_of(*(rules or (TASK, URGENT)), others=(("advisors.yaml", advisors), ("assignment.yaml", assignment)))


class Firm:
    """Clients and pools; what the one tells the other comes when it is let through."""

    def __init__(self, rules: Any = None) -> None:
        self.plan = rules or plan()
        self.states: dict[str, Any] = {}
        self.pools: dict[str, PoolState] = {}
        self.requests: list[Message] = []
        self.answers: list[Message] = []
        self.sent: list[dict[str, Any]] = []
        self.steps: list[dict[str, Any]] = []  # of care
        self.told: list[dict[str, Any]] = []
        self.asked: list[dict[str, Any]] = []
        self.numbers = 0

    def decide(self, item: Any) -> None:
        self.states = {  # as from Redis
            name: sections.unpack(self.plan.layout, sections.pack(self.plan.layout, state))
            for name, state in self.states.items()
        }
        decided = decide(self.plan, self.states, [item], pace=Pace())
        for message in decided.messages:
            record = json.loads(message.value)
            if message.topic == ASSIGNMENT_REQUESTS.name:
                self.requests.append(message)
                self.asked.append(record)
            elif message.topic == "decisions":
                self.told.append(record)
            elif "step" in record:
                self.steps.append(record)
            else:
                self.sent.append(record)

    def publish(self, rules: Any, time_ms: int) -> None:
        self.plan = rules
        self.answers += pools.sweep(rules.pools.roster, self.pools["east"], time_ms)
        self.pass_on()

    def pass_on(self) -> None:
        """Pass requests and answers on until none is left."""
        while self.requests or self.answers:
            requests, self.requests = self.requests, []
            for message in requests:
                self.ask(message)
            answers, self.answers = self.answers, []
            for message in answers:
                self.take(message)

    def ask(self, message: Message) -> None:
        self.pool(ASSIGNMENT_REQUESTS.validate(message.value))

    def pool(self, item: Any) -> None:
        self.pools = {name: pool_state.unpack(pool_state.pack(pool)) for name, pool in self.pools.items()}
        self.answers += pools.take(self.plan.pools.roster, self.pools, item)

    def say(self, time_ms: int, advisor: str, **says: Any) -> None:
        self.numbers += 1
        record = {"event_id": f"e{self.numbers}", "pool": "east", "time": time_ms, "advisor_id": advisor} | says
        self.pool(ADVISORS.validate(json.dumps(record)))
        self.pass_on()

    def take(self, answer: Message) -> None:
        self.decide(("assignment_answers", TOPICS["assignment_answers"].validate(answer.value)))

    def client(self, name: str, advisor: str | None = "ann", time_ms: int = at(0)) -> None:
        self.decide(profile(time_ms, name, advisor_id=advisor, region="east"))

    def log_in(self, name: str, time_ms: int) -> None:
        self.decide(login(time_ms, name))
        self.pass_on()

    def say_of(self, action: dict[str, Any], time_ms: int, status: str = "done") -> None:
        self.numbers += 1
        common = {"event_id": f"o{self.numbers}", "client_id": action["client_id"], "time": time_ms}
        self.decide(("outcomes", Outcome(**common, action_id=action["id"], status=status)))
        self.pass_on()

    def open(self) -> Counter[str]:
        """By advisor, as pools have it; the clients' own account is the same."""
        of_pools = Counter({name: times for pool in self.pools.values() for name, times in pool.open.items() if times})
        held = {(room[1], room[2]) for state in self.states.values() for room in state.rooms if room[5] == 1}
        granted = {
            (request, task.advisor)
            for pool in self.pools.values()
            for request, task in pool.tasks.items()
            if task.given_ms
        }
        assert held == granted
        return of_pools


def firm_with(*clients: str) -> Firm:
    firm = Firm()
    for name in clients:
        firm.client(name)
    return firm


def test_what_an_advisor_has_no_room_for_waits_until_something_is_done():
    firm = firm_with("c1", "c2", "c3")
    for number in (1, 2, 3):
        firm.log_in(f"c{number}", at(1) + number)
    assert [one["client_id"] for one in firm.sent] == ["c1", "c2"]
    assert firm.open() == {"ann": 2}
    held = [one for one in firm.told if one["outcome"] == "held"]
    assert held[-1]["client_id"] == "c3"
    assert held[-1]["numbers"] == {"waits_for": "advisor_busy", "advisor": "ann", "pool": "east"}
    firm.say_of(firm.sent[0], at(2))
    assert [one["client_id"] for one in firm.sent] == ["c1", "c2", "c3"]
    assert firm.open() == {"ann": 2}


def test_priority_first_then_who_has_waited_longest():
    firm = firm_with("c1", "c2", "c3", "c4", "c5")
    for number in (1, 2, 3, 4):
        firm.log_in(f"c{number}", at(1) + number)
    firm.decide(trade(at(1) + 5, client_id="c5"))
    firm.pass_on()
    for _ in range(3):
        firm.say_of(firm.sent[-2], at(2))
    assert [one["client_id"] for one in firm.sent] == ["c1", "c2", "c5", "c3", "c4"]


@pytest.mark.parametrize("status", ["done", "declined"])
def test_only_an_end_frees_room(status: str):
    firm = firm_with("c1", "c2", "c3")
    for number in (1, 2, 3):
        firm.log_in(f"c{number}", at(1) + number)
    for says in ("accepted", "not_reached", "waiting_for_client"):
        firm.say_of(firm.sent[0], at(1) + 10, says)
    assert len(firm.sent) == 2
    firm.say_of(firm.sent[0], at(1) + 20, status)
    firm.say_of(firm.sent[0], at(1) + 30, status)  # once
    assert ([one["client_id"] for one in firm.sent], firm.open()) == (["c1", "c2", "c3"], {"ann": 2})


def test_its_clock_begins_when_it_is_sent():
    firm = firm_with("c1", "c2", "c3")
    for number in (1, 2, 3):
        firm.log_in(f"c{number}", at(1) + number)
    firm.say_of(firm.sent[0], at(1) + 5 * HOUR_MS)
    state = firm.states["c3"]
    assert state.due_ms == at(1) + 7 * HOUR_MS
    firm.decide(Due("c3", state.due_ms))
    assert [(one["client_id"], one["age_s"]) for one in firm.steps if one["client_id"] == "c3"] == [("c3", 7200)]


def test_what_is_over_before_there_is_room_leaves_the_queue():
    firm = firm_with("c1", "c2", "c3")
    for number in (1, 2, 3):
        firm.log_in(f"c{number}", at(1) + number)
    assert len(firm.pools["east"].queued["ann"]) == 1
    state = firm.states["c3"]
    assert state.due_ms == at(1) + 3 + 5 * DAY_MS - 1  # the moment before it expires
    firm.decide(Due("c3", state.due_ms))
    firm.pass_on()
    assert (firm.told[-1]["outcome"], firm.told[-1]["client_id"]) == ("advisor_busy", "c3")
    assert (firm.pools["east"].queued, firm.states["c3"].rooms, firm.states["c3"].waiting) == ({}, [], [])
    firm.say_of(firm.sent[0], at(9))
    assert firm.open() == {"ann": 1}


def test_another_advisor_is_asked_then_and_what_is_open_frees_room():
    firm = firm_with("c1", "c2", "c3", "c4")
    for number in (1, 2, 3, 4):
        firm.log_in(f"c{number}", at(1) + number)
    firm.decide(profile(at(1) + 100, "c3", advisor_id="bob"))
    firm.decide(Due("c3", firm.states["c3"].due_ms))
    firm.pass_on()
    assert [one["client_id"] for one in firm.sent] == ["c1", "c2", "c3"]
    assert (firm.sent[-1]["advisor_id"], firm.open()) == ("bob", {"ann": 2, "bob": 1})
    firm.decide(profile(at(1) + 200, "c1", advisor_id="cy"))  # who has no number
    firm.pass_on()
    assert (firm.sent[-1]["client_id"], firm.open()) == ("c4", {"ann": 2, "bob": 1})


@pytest.mark.parametrize("says", [{"present": False}, {"last_day": "2026-02-16"}])
def test_who_is_away_has_nothing_waiting_the_team_has_it(says: dict[str, Any]):
    firm = firm_with("c1", "c2", "c3")
    for number in (1, 2, 3):
        firm.log_in(f"c{number}", at(1) + number)
    firm.say(at(1) + 50, "ann", **says)
    (action,) = [one for one in firm.sent if one["client_id"] == "c3"]
    assert (action["audience"], action["owner"], action["why"]["client.advisor_away"]) == ("team", "wealth", True)
    assert firm.open() == {"ann": 2}
    assert firm.states["c3"].rooms == []
    firm.decide(Due("c3", firm.states["c3"].due_ms))
    (reminder,) = [one for one in firm.steps if one["client_id"] == "c3"]
    assert (reminder["to"], reminder["owner"]) == ("team", "wealth")
    (work,) = record.open_work(firm.states["c3"])
    assert (work["team"], work["for"], work["advisor_id"]) == ("wealth", "team", None)


def test_whoever_comes_on_leave_while_something_waits_gives_it_to_the_team():
    firm = firm_with()
    for name in ("c1", "c2"):
        firm.client(name, "bob")
        firm.log_in(name, at(1))
    assert [one["client_id"] for one in firm.sent] == ["c1"]
    firm.answers += pools.reach(firm.plan.pools.roster, firm.pools["east"], firm.pools["east"].due_ms)
    firm.pass_on()
    assert (firm.sent[-1]["client_id"], firm.sent[-1]["audience"]) == ("c2", "team")


def test_whoever_leaves_the_firm_while_something_waits_gives_it_to_the_team():
    firm = firm_with("c1", "c2", "c3")
    firm.say(at(0) + 1, "ann", last_day="2026-02-18")
    for number in (1, 2, 3):
        firm.log_in(f"c{number}", at(1) + number)
    firm.answers += pools.reach(firm.plan.pools.roster, firm.pools["east"], at(4))
    firm.pass_on()
    assert (firm.sent[-1]["client_id"], firm.sent[-1]["audience"]) == ("c3", "team")


def test_a_request_that_comes_again_counts_once_and_one_that_is_over_not_at_all():
    firm = firm_with("c1", "c2", "c3")
    firm.decide(login(at(1), "c1"))
    (message,) = firm.requests
    firm.ask(message)
    first = list(firm.answers)
    firm.ask(message)
    assert firm.answers == [*first, *first]
    firm.requests = []
    firm.pass_on()
    assert (len(firm.sent), firm.open()) == (1, {"ann": 1})
    firm.say_of(firm.sent[0], at(2))
    firm.ask(message)
    assert (firm.answers, firm.open()) == ([], {})
    release = firm.asked[-1]
    assert release["kind"] == "release"
    firm.pool(ASSIGNMENT_REQUESTS.validate(json.dumps(release)))
    assert (firm.answers, firm.open()) == ([], {})


def test_an_answer_that_crosses_with_the_end_gives_nothing():
    firm = firm_with("c1", "c2", "c3")
    for number in (1, 2, 3):
        firm.log_in(f"c{number}", at(1) + number)
    firm.decide(profile(at(1) + 90, "c3", advisor_id="cy"))  # its release is on its way
    released, firm.requests = firm.requests, []
    firm.say_of(firm.sent[0], at(1) + 100)  # so there is room, for a moment
    assert firm.pools["east"].open == {"ann": 2}
    for message in released:
        firm.ask(message)
    firm.pass_on()
    assert [one["advisor_id"] for one in firm.sent if one["client_id"] == "c3"] == ["cy"]
    assert (firm.open(), firm.states["c3"].rooms) == ({"ann": 1}, [])


def test_the_topic_says_another_number():
    firm = firm_with("c1", "c2", "c3")
    firm.say(at(0) + 1, "ann", open_tasks=0)
    for number in (1, 2, 3):
        firm.log_in(f"c{number}", at(1) + number)
    assert firm.sent == []
    firm.say(at(2), "ann", open_tasks=1)
    assert len(firm.sent) == 1
    firm.say(at(2) + 1, "ann", open_tasks=None)
    assert (len(firm.sent), firm.open()) == (2, {"ann": 2})
    firm.say(at(2) + 2, "ann", open_tasks=1)  # what is open stays
    firm.say_of(firm.sent[0], at(3))
    assert (len(firm.sent), firm.open()) == (2, {"ann": 1})


def test_a_number_for_whom_the_files_have_none_is_refused():
    fields = {"event_id": "e", "pool": "rest", "time": at(0), "advisor_id": "cy", "open_tasks": 3}
    found = ASSIGNMENT.decoder(plan())("advisors", b"rest", json.dumps(fields).encode(), at(0))
    assert found == Rejected(
        Rejection.UNKNOWN_VALUE,
        "open_tasks: advisors.yaml or .csv has no open_tasks for this advisor, nor has the pool: add it there",
    )


def test_a_pools_number_is_of_those_who_have_none():
    firm = Firm(plan(assignment=POOLS.replace("team: research", "team: research, open_tasks: 1")))
    for name in ("c1", "c2"):
        firm.client(name, "cy")
        firm.log_in(name, at(1))
    assert ([one["client_id"] for one in firm.sent], firm.open()) == (["c1"], {"cy": 1})


def test_other_rules_do_not_limit_and_nothing_is_kept_of_it():
    firm = Firm(plan(advisors=ADVISORS_YAML.replace(", open_tasks: 2", "").replace(", open_tasks: 1", "")))
    for name in ("c1", "c2", "c3"):
        firm.client(name)
        firm.log_in(name, at(1))
    assert (len(firm.sent), firm.asked, firm.pools) == (3, [], {})
    packed = msgpack.unpackb(sections.pack(firm.plan.layout, firm.states["c1"]), strict_map_key=False)
    assert "assignment" not in packed[2]
    without = Firm(plan(rule("call", kind="task", audience="advisor", cooldown="1m")))  # nobody closes it
    without.client("c1")
    without.log_in("c1", at(1))
    assert (len(without.sent), without.asked) == (1, [])


def test_new_rules_without_a_number_let_all_go():
    firm = firm_with("c1", "c2", "c3")
    for number in (1, 2, 3):
        firm.log_in(f"c{number}", at(1) + number)
    firm.publish(plan(advisors=ADVISORS_YAML.replace(", open_tasks: 2", "")), at(2))
    assert len(firm.sent) == 3
    for action in list(firm.sent):
        firm.say_of(action, at(3))
    assert firm.open() == {}


def test_who_is_taken_out_of_the_files_has_nothing_waiting():
    firm = firm_with("c1", "c2", "c3")
    for number in (1, 2, 3):
        firm.log_in(f"c{number}", at(1) + number)
    firm.publish(plan(advisors=ADVISORS_YAML.replace("ann:", "dan:")), at(2))
    assert [one["advisor_id"] for one in firm.sent] == ["ann"] * 3


def test_a_pool_says_how_much_is_open():
    firm = firm_with("c1", "c2", "c3", "c4")
    for number in (1, 2, 3, 4):
        firm.log_in(f"c{number}", at(1) + number)
    public = ASSIGNMENT.write(firm.pools["east"], b"").public
    assert {name: public[name] for name in ("open_tasks", "queued_tasks")} == {"open_tasks": "2", "queued_tasks": "2"}
    bare = ASSIGNMENT.write(PoolState("east", at(0)), b"").public
    assert not {"open_tasks", "queued_tasks"} & bare.keys()


def test_a_pool_without_tasks_is_stored_as_before_and_others_are_not_read_by_older_engines(monkeypatch):
    bare = PoolState("east", at(0))
    assert msgpack.unpackb(pool_state.pack(bare))[0] == pool_state.WITHOUT_FACTS
    firm = firm_with("c1")
    firm.log_in("c1", at(1))
    packed = pool_state.pack(firm.pools["east"])
    assert msgpack.unpackb(packed)[0] == pool_state.VERSION == 3
    monkeypatch.setattr(pool_state, "VERSION", 2)
    with pytest.raises(NewerPool):
        pool_state.unpack(packed)


def test_ended_requests_are_forgotten_in_the_end(monkeypatch):
    monkeypatch.setattr(pool_state, "MAX_ANSWERS", 3)
    pool = PoolState("east", at(0))
    for number in range(5):
        pool.end(f"r{number}")
    assert list(pool.ended) == ["r2", "r3", "r4"]
    pool.now_ms = at(40)
    pool.end("r9")
    assert list(pool.ended) == ["r9"]


def test_in_one_order_it_is_as_it_was_where_answers_came_in_time():
    firm, told = firm_with("c1", "c2", "c3"), list[dict[str, Any]]()
    events = [profile(at(0), name, advisor_id="ann", region="east") for name in ("c1", "c2", "c3")]
    events += [login(at(1) + number, f"c{number}") for number in (1, 2, 3)]
    for event in events[3:]:
        firm.decide(event)
        firm.pass_on()
    firm.say_of(firm.sent[0], at(1) + 20)
    timeline = Timeline(firm.plan, {}, {})
    outcome = Outcome(event_id="o1", client_id="c1", time=at(1) + 20, action_id=firm.sent[0]["id"], status="done")
    for topic, event in [*events, ("outcomes", outcome)]:
        for decided in timeline.take(topic, event):
            told += [json.loads(m.value) for m in decided.messages if m.topic in ("tasks", "alerts")]
    assert told == firm.sent
    assert {name: pool_state.pack(pool) for name, pool in timeline.pools.items()} == {
        name: pool_state.pack(pool) for name, pool in firm.pools.items()
    }
