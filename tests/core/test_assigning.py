"""A client and its advisor's pool: what is asked, what answers do, what is given back; both in one order of time."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest

from engine.core.assign import choice
from engine.core.assign.state import Entry, Given, PoolState, Waiting
from engine.core.client.sections import pack, unpack
from engine.core.contract.events import Outcome
from engine.core.contract.granting import AssignmentAnswer, AssignmentRequest
from engine.core.decide import pools
from engine.core.decide.timeline import Timeline
from engine.processors.assignment import ASSIGNMENT
from tests.core.making import DAY_MS, FEATURES, HOUR_MS, Desk, at, login, plan_of, profile, rule, trade

ADVISORS = """\
advisors:
  ann: {pool: east, capacity: 2, skills: {funds: 1}}
  bob: {pool: east, capacity: 2}
  cy: {pool: rest, capacity: 1}
"""
ASSIGNMENT_YAML = """\
assignment:
  weights: {A: 2}
  pools:
    east: {when: client.region == "east", team: wealth, needs: {funds: trades_30d}, widen: [{after: 2h, by: 9}], give_up: 1d}
    rest: {when: client.region == "west", team: research}
"""  # noqa: E501
COUNTED = "  trades_30d: {source: trades, aggregate: count, window: 30d}\n"
PLAN = plan_of(
    rule("ask", kind="assignment", audience="team", when="client.days_known >= 0", cooldown="1m"),
    rule("no-room", on="assignment_answers", when="'assignment_answer.outcome == \"no_capacity\"'", kind="task",
         audience="team", parameters="{team: assignment_answer.team}"),
    features=FEATURES + COUNTED,
    others=(("advisors.yaml", ADVISORS), ("assignment.yaml", ASSIGNMENT_YAML)),
)  # fmt: skip


def asked(desk: Desk) -> list[tuple[str, str, str]]:
    """Pool, kind and request of what was sent to pools since the last look."""
    found = [json.loads(m.value) for m in desk.messages if m.topic == "assignment_requests"]
    desk.messages = [m for m in desk.messages if m.topic != "assignment_requests"]
    return [(one["client_id"], one["kind"], one["request_id"]) for one in found]


def answer(time_ms: int, request: str, advisor: str | None = None, pool: str = "east", id_: str = "") -> tuple:
    outcome = "assigned" if advisor else "no_capacity"
    said = {"advisor_id": advisor} if advisor else {"team": "wealth"}
    common = {"event_id": id_ or f"a-{request}", "client_id": "c1", "time": time_ms}
    return "assignment_answers", AssignmentAnswer(**common, request_id=request, pool=pool, outcome=outcome, **said)


def begun() -> tuple[Desk, str]:
    desk = Desk(PLAN)
    desk.take(profile(at(0), region="east", language="zh-CN", advisor_id=None), login(at(0)))
    ((pool, kind, request),) = asked(desk)
    assert (pool, kind) == ("east", "assign")
    return desk, request


def test_a_request_says_what_the_client_needs():
    desk = Desk(PLAN)
    desk.take(profile(at(0), region="east", language="zh-CN"), trade(at(0)), trade(at(0)), login(at(0)))
    record = json.loads(next(m for m in desk.messages if m.topic == "assignment_requests").value)
    action = json.loads(next(m for m in desk.messages if m.topic == "assignments").value)
    assert record["request_id"] == record["event_id"] == action["id"]
    del record["request_id"], record["event_id"]
    assert record == {
        **{"client_id": "east", "time": "2026-02-16T04:00:00.000Z", "kind": "assign", "client": "c1", "tier": None},
        **{"region": "east", "language": "zh", "needs": ["funds:2"], "priority": 50},
    }


def test_a_client_of_no_pool_asks_nobody():
    desk = Desk(PLAN)
    desk.take(profile(at(0), region="central"), login(at(0)))
    assert [m.topic for m in desk.messages] == ["assignments"]


def test_an_answer_sets_the_advisor_and_counts_once():
    desk, request = begun()
    desk.take(answer(at(0.1), request, "ann"))
    assert (desk.client.advisor_id, desk.client.asked) == ("ann", None)
    assert desk.client.assigned == ["east", request, "ann"]
    desk.take(answer(at(0.2), request, "bob", id_="another"))  # it was answered
    desk.take(answer(at(0.2), "somebody-else's", "bob"))
    assert (desk.client.advisor_id, asked(desk)) == ("ann", [])
    stored = unpack(PLAN.layout, pack(PLAN.layout, desk.client))
    assert (stored.asked, stored.assigned) == (None, ["east", request, "ann"])


def test_who_has_another_advisor_by_now_is_released():
    desk, request = begun()
    desk.take(answer(at(0.1), request, "ann"), profile(at(1), advisor_id="own"))
    assert (asked(desk), desk.client.assigned) == ([("east", "release", request)], None)


def test_a_profile_that_is_older_takes_nobody_away_nor_does_one_without_an_advisor():
    desk, request = begun()
    desk.take(answer(at(1), request, "ann"), profile(at(0.5), advisor_id="own"), profile(at(2), language="en"))
    assert (desk.client.advisor_id, asked(desk)) == ("ann", [])
    desk.take(profile(at(3), advisor_id=None))
    assert (desk.client.advisor_id, asked(desk)) == (None, [("east", "release", request)])


def test_a_request_is_withdrawn_when_somebody_was_found_meanwhile():
    desk, request = begun()
    desk.take(profile(at(0.5), advisor_id="own"))
    assert asked(desk) == [("east", "release", request)]
    desk.take(answer(at(0.6), request, "ann"))  # it was on its way
    assert (desk.client.advisor_id, desk.client.assigned, asked(desk)) == ("own", None, [])


def test_an_answer_that_is_older_than_what_is_known_is_given_back():
    desk, request = begun()
    desk.take(profile(at(2), advisor_id=None))  # as it was: the request stands
    assert asked(desk) == []
    desk.take(answer(at(1), request, "ann"))
    assert (desk.client.advisor_id, asked(desk)) == (None, [("east", "release", request)])


def test_a_second_request_takes_the_place_of_the_first_and_another_pool_that_of_the_one_before():
    desk, request = begun()
    desk.take(profile(at(1), region="west"), login(at(1)))
    withdrawn, (pool, kind, second) = asked(desk)
    assert withdrawn == ("east", "release", request)
    assert (pool, kind) == ("rest", "assign")
    desk.take(answer(at(1.1), second, "cy", pool="rest"), profile(at(2), region="east"), login(at(2)))
    ((pool, kind, third),) = asked(desk)
    assert (pool, kind, desk.client.assigned) == ("east", "assign", ["rest", second, "cy"])
    desk.take(answer(at(2.1), third, "bob"))
    assert asked(desk) == [("rest", "release", second)]
    assert desk.client.assigned == ["east", third, "bob"]


def test_without_capacity_the_team_has_a_task_and_the_client_stays_as_it_was():
    desk, request = begun()
    desk.take(answer(at(0.5), request))
    task = json.loads(desk.messages[-1].value)
    assert (task["rule_id"], task["parameters"]) == ("no-room", {"team": "wealth"})
    assert (desk.client.advisor_id, desk.client.asked, desk.client.assigned) == (None, None, None)


def test_both_run_in_one_order_where_a_past_is_replayed():
    timeline = Timeline(PLAN, {}, pools := {})

    def play(*items: tuple) -> list[tuple[str, str, str | None]]:
        messages = [m for topic, event in items for d in timeline.take(topic, event) for m in d.messages]
        answers = [json.loads(m.value) for m in messages if m.topic == "assignment_answers"]
        return [(one["client_id"], one["outcome"], one.get("advisor_id")) for one in answers]

    def come(client: str, day: float, *events: tuple) -> list[tuple[str, str, str | None]]:
        return play(profile(at(day), client, region="east"), *events, login(at(day), client))

    assert come("c1", 0) == [("c1", "assigned", "ann")]
    assert come("c2", 0.01) == [("c2", "assigned", "bob")]
    assert come("c3", 0.02, trade(at(0.02), client_id="c3")) == [("c3", "assigned", "ann")]
    assert come("c4", 0.03, trade(at(0.03), client_id="c4")) == []  # ann is full, and bob knows no funds
    assert timeline.states["c4"].advisor_id is None
    (late,) = play(login(at(0.5), "c1"))[:1]  # two hours on less was asked for
    assert late == ("c4", "assigned", "bob")
    assert timeline.states["c4"].said_ms["advisor_id"] == at(0.03) + 2 * 3_600_000
    assert pools["east"].loads == {"ann": 2, "bob": 2}
    packed = ASSIGNMENT.pack(PLAN, pools["east"])
    assert ASSIGNMENT.pack(PLAN, ASSIGNMENT.unpack(PLAN, packed)) == packed


POOL_OF_VERSION_1 = (  # a client with somebody, its answer, a request that waits
    "9301a46561737485a16ecf0000019c936e3800a164cf0000019c936e3801a16281a2633193a3616e6e02a27231a16181a2723194cf0000019c936e"
    "3800a26331a3616e6ea67765616c7468a171919832cf0000019c936e3800a27232a26332a141a465617374a27a689192a566756e647303"
)


def test_a_pool_of_the_first_version_is_read():
    pool = ASSIGNMENT.unpack(PLAN, bytes.fromhex(POOL_OF_VERSION_1))
    assert (pool.name, pool.now_ms, pool.due_ms) == ("east", 1_772_000_000_000, 1_772_000_000_001)
    assert (pool.book, pool.loads) == ({"c1": Entry("ann", 2, "r1")}, {"ann": 2})
    assert pool.answers == {"r1": Given(1_772_000_000_000, "c1", "ann", "wealth")}
    assert pool.queue == [Waiting(50, 1_772_000_000_000, "r2", "c2", "A", "east", "zh", (("funds", 3),))]


def test_of_many_who_wait_for_the_same_one_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """At each step of each of them all are tried again: of 40 there would be thousands of looks at the advisors."""
    pool, roster, asked, looks = PoolState("east", at(0)), PLAN.pools.roster, at(0), 0
    choose = choice.choose

    def counted(*about: Any) -> str | None:
        nonlocal looks
        looks += 1
        return choose(*about)

    monkeypatch.setattr(choice, "choose", counted)
    for number in range(44):
        asked += 60_000
        choice.ask(roster, pool, Waiting(50, asked, f"r{number}", f"c{number}", None, "east", "zh", (("funds", 3),)))
    assert (len(pool.queue), looks) == (44, 44)
    answers = choice.pass_time(roster, pool, asked + 2 * HOUR_MS)  # less is asked for, and there is room for four
    assert [given.advisor for _, given in answers] == ["ann", "bob", "ann", "bob"]
    assert looks < 44 + 4 + 2 * 44
    assert len(choice.pass_time(roster, pool, asked + DAY_MS)) == 40


def test_a_pool_that_is_renamed_keeps_its_clients_and_answers_who_waits() -> None:
    pool = PoolState("east", at(0))
    for number in range(5):
        choice.ask(PLAN.pools.roster, pool, Waiting(50, at(0), f"r{number}", f"c{number}", None, "east", "zh", ()))
    assert ({of.advisor for of in pool.book.values()}, len(pool.book), len(pool.queue)) == ({"ann", "bob"}, 4, 1)
    others = (
        ("advisors.yaml", ADVISORS.replace("pool: east", "pool: coast")),
        ("assignment.yaml", ASSIGNMENT_YAML.replace("east:", "coast:")),
    )
    renamed = plan_of(rule("ask", kind="assignment", audience="team"), others=others, features=FEATURES + COUNTED)
    book, loads = dict(pool.book), dict(pool.loads)
    said = choice.reconsider(renamed.pools.roster, pool, at(1))
    assert [(request, given.client, given.advisor) for request, given in said] == [("r4", "c4", "")]
    assert (pool.book, dict(pool.loads), pool.queue) == (book, loads, [])
    coast = PoolState("coast", at(1))  # brings nobody along
    asked = Waiting(50, at(1), "r5", "c4", None, "east", "zh", ())
    assert choice.ask(renamed.pools.roster, coast, asked)[0][1].advisor == "ann"
    choice.release(renamed.pools.roster, pool, "r0", "c0", at(2))  # by whom the new pool gave somebody
    assert set(pool.book) == {"c1", "c2", "c3"}


def test_a_client_of_before_has_asked_for_nobody():
    desk, _ = begun()
    version, client_id, sections = msgpack.unpackb(pack(PLAN.layout, desk.client), raw=False, strict_map_key=False)
    assert sections.pop("assignment")
    before = unpack(PLAN.layout, msgpack.packb([version, client_id, sections]))
    assert (before.asked, before.assigned, before.advisor_id) == (None, None, desk.client.advisor_id)


# -- another advisor ---------------------------------------------------------------------------------------------------


def moved(time_ms: int, request: str, why: str, advisor: str | None) -> tuple:
    said = {"advisor_id": advisor, "outcome": "moved"} if advisor else {"outcome": "no_capacity"}
    common = {"event_id": f"{why}-{time_ms}", "client_id": "c1", "time": time_ms, "pool": "east", "why": why}
    return "assignment_answers", AssignmentAnswer(**common, request_id=request, **said)


def outcome(time_ms: int, action: str, status: str) -> tuple:
    common = {"event_id": f"{status}-{time_ms}", "client_id": "c1", "time": time_ms}
    return "outcomes", Outcome(**common, action_id=action, status=status)


def test_a_client_goes_to_a_stand_in_and_back():
    desk, request = begun()
    desk.take(answer(at(0.1), request, "ann"), moved(at(1), request, "stand_in", "bob"))
    assert (desk.client.advisor_id, desk.client.assigned) == ("bob", ["east", request, "bob"])
    desk.take(moved(at(3), request, "back", "ann"))
    assert (desk.client.advisor_id, desk.client.assigned, asked(desk)) == ("ann", ["east", request, "ann"], [])


def test_a_client_whom_nobody_takes_any_more_has_no_advisor():
    desk, request = begun()
    desk.take(answer(at(0.1), request, "ann"), moved(at(1), request, "declined", None))
    assert (desk.client.advisor_id, desk.client.assigned, asked(desk)) == (None, None, [])
    task = json.loads(desk.messages[-1].value)
    assert task["rule_id"] == "no-room"


def test_what_is_asked_stands_while_the_pool_moves_the_client():
    desk, request = begun()
    desk.take(answer(at(0.1), request, "ann"), login(at(0.2)))
    ((_, _, second),) = asked(desk)
    desk.take(moved(at(0.3), request, "stand_in", "bob"))
    assert (desk.client.asked, asked(desk)) == (["east", second, "bob"], [])


def test_a_move_of_a_client_who_is_somebody_elses_by_now_says_nothing():
    desk, request = begun()
    desk.take(answer(at(0.1), request, "ann"), profile(at(1), advisor_id="own"))
    asked(desk)
    desk.take(moved(at(2), request, "back", "ann"))
    assert (desk.client.advisor_id, desk.client.assigned, asked(desk)) == ("own", None, [])


def test_the_pool_hears_who_accepted_or_declined():
    desk, request = begun()
    desk.take(outcome(at(0.05), request, "declined"))  # nobody has the client yet
    assert asked(desk) == []
    desk.take(answer(at(0.1), request, "ann"), outcome(at(0.2), request, "accepted"))
    assert asked(desk) == [("east", "accepted", request)]
    desk.take(outcome(at(0.3), request, "declined"), outcome(at(0.4), "another", "declined"))
    (told,) = [json.loads(m.value) for m in desk.messages if m.topic == "assignment_requests"]
    assert (told["kind"], told["request_id"], told["advisor_id"], told["client"]) == ("declined", request, "ann", "c1")


def test_a_pool_takes_what_it_hears_as_records():
    assert PLAN.pools is not None
    east: dict[str, PoolState] = {}

    def hears(time_ms: int, kind: str, **said: object) -> list[dict]:
        common = {"event_id": f"{kind}{time_ms}", "client_id": "east", "time": time_ms, "client": "c1"}
        request = AssignmentRequest(**common, kind=kind, request_id="r", **said)
        return [json.loads(m.value) for m in pools.take(PLAN.pools.roster, east, request)]

    (first,) = hears(at(0), "assign")
    (second,) = hears(at(1), "declined", advisor_id="ann")
    assert [first["outcome"], first["advisor_id"], second["outcome"]] == ["assigned", "ann", "moved"]
    assert (second["why"], second["advisor_id"], second["request_id"]) == ("declined", "bob", "r")
    assert hears(at(1), "declined", advisor_id="ann") == []  # said again
    assert hears(at(2), "handover", advisor_id="bob") == []  # ann has refused, so the client stays
    (third,) = hears(at(3), "declined", advisor_id="bob")
    assert (third["outcome"], third["why"], third["team"]) == ("no_capacity", "declined", "wealth")
    assert len({one["event_id"] for one in (first, second, third)}) == 3
    assert hears(at(4), "assign") == [first]  # the answer to the request is what it was


def test_a_client_with_a_conflict_asks_for_somebody_else():
    plan = plan_of(
        rule("ask", kind="assignment", audience="team", when="client.days_known >= 0", cooldown="1m"),
        features=FEATURES + "  trades_30d: {source: trades, aggregate: count, window: 30d}\n",
        others=(
            ("advisors.yaml", ADVISORS),
            ("assignment.yaml", ASSIGNMENT_YAML.replace("team: wealth,", "team: wealth, conflict: trades_30d > 0,")),
        ),
    )
    assert plan.pools is not None
    desk, states = Desk(plan), dict[str, PoolState]()
    desk.take(profile(at(0), region="east", advisor_id="ann"), login(at(0.1)))
    desk.take(trade(at(1)), login(at(1)))
    records = [m.value for m in desk.messages if m.topic == "assignment_requests"]
    told = [json.loads(value) for value in records]
    assert [one.get("refused") for one in told if one["kind"] == "assign"] == [None, ["ann"]]
    last = AssignmentRequest.model_validate_json(records[-1])
    assert pools.take(plan.pools.roster, states, last) == []  # ann alone knows funds, and must not have the client
    (answer,) = pools.reach(plan.pools.roster, states["east"], at(1, 15))  # less is asked for by now
    assert json.loads(answer.value)["advisor_id"] == "bob"


def test_whom_nobody_may_have_keeps_nobody_else_waiting():
    plan = plan_of(
        rule("ask", kind="assignment", audience="team"),
        others=(
            ("advisors.yaml", "advisors:\n  ann: {pool: all, capacity: 1, not_for: [c1]}\n"),
            ("assignment.yaml", "assignment: {pools: {all: {when: client.days_known >= 0, team: t, give_up: 9d}}}\n"),
        ),
    )
    assert plan.pools is not None
    pool, roster = PoolState("all", at(0)), plan.pools.roster
    for number, client in enumerate(("c0", "c1", "c2")):  # c0 is given to ann; the others wait
        choice.ask(roster, pool, Waiting(50, at(0), f"r{number}", client, None, None, None, ()))
    ((request, given),) = choice.release(roster, pool, "r0", "c0", at(0.1))
    assert (request, given.advisor, [one.client for one in pool.queue]) == ("r2", "ann", ["c1"])
