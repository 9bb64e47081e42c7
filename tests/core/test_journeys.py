"""Journeys: from the beginning to the end, exactly."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from engine.core.client.items import BEGAN_MS, ENDED, ENTERED_MS, STANDS, journey
from engine.core.client.sections import pack, unpack
from engine.core.contract.events import Complaint, Feedback
from engine.core.decide.path import Input, decide
from engine.core.firm_time import DAY_MS
from engine.core.plan.compile import Plan
from tests.core.making import FEATURES, HOUR_MS, Desk, at, balance, login, plan_of, profile, rule, trade

ACT = "{kind: task, audience: team, priority: 50, expires: 2d, template: t}"
TELL = "{kind: message, audience: client, channels: [sms], priority: 50, expires: 2d, template: t}"
TRADES = FEATURES + "  trades_3d: {source: trades, aggregate: count, window: 3d}\n"


def led(steps: str, entry: str = "{on: trades}", more: str = "", rules: tuple[str, ...] = (), **others: Any) -> Plan:
    """A plan with one journey, `way`."""
    text = f"journeys:\n  - id: way\n    title: T\n    owner: wealth\n    description: D.\n    entry: {entry}\n{more}"
    text += "    steps:\n" + "".join(f"      {line}\n" for line in steps.strip().splitlines())
    return plan_of(*rules, others=(("journeys/way.yaml", text),), **{"features": TRADES, **others})


def where(desk: Desk) -> str:
    """The step at which the client stands, or why the journey ended."""
    entry = journey(desk.client.journeys, "way")
    return "nowhere" if entry is None else f"ended {entry[ENDED]}" if entry[ENDED] else entry[STANDS]


def acts(published: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(record["rule_id"], record["time"]) for record in published if "rule_id" in record]


def begun(plan: Plan) -> Desk:
    desk = Desk(plan)
    desk.take(profile(at(0)))
    desk.take(trade(at(1)))
    return desk


def test_it_leads_from_step_to_step_each_at_its_own_moment():
    desk = begun(led(f"a: {{act: {ACT}}}\nrest: {{wait: 2d}}\nb: {{act: {ACT}}}\nmore: {{wait: 12h}}"))
    assert where(desk) == "rest"
    assert desk.client.due_ms == at(3)
    assert acts(desk.tick_all(at(9))) == [("way/b", "2026-02-19T04:00:00.000Z")]
    assert where(desk) == "ended completed"
    assert journey(desk.client.journeys, "way") == ["way", at(1), "more", at(3.5), "completed"]
    assert Counter(desk.outcomes) == {("way", "sent"): 1, ("way/a", "sent"): 1, ("way/b", "sent"): 1}


def test_what_fell_due_comes_before_the_next_event_whether_a_tick_came_or_not():
    desk = begun(led(f"rest: {{wait: 2d}}\nb: {{act: {ACT}}}"))
    assert acts(desk.take(login(at(20)))) == [("way/b", "2026-02-19T04:00:00.000Z")]


def test_an_act_names_journey_and_step():
    plan = led(f"a: {{act: {ACT}}}")
    desk = Desk(plan)
    desk.take(profile(at(0)))
    (record,) = desk.take(trade(at(1)))
    assert (record["rule_id"], record["campaign"], record["title"], record["owner"]) == ("way/a", "way", "T", "wealth")
    assert record["cause"]["type"] == "trades"


def test_an_act_can_have_a_condition_of_its_own():
    act = ACT.replace("{kind", "{when: client.days_known >= 3, kind")
    desk = begun(led(f"a: {{act: {act}}}\nrest: {{wait: 2d}}\nb: {{act: {act}}}"))
    assert [rule_id for rule_id, _ in acts(desk.tick_all(at(9)))] == ["way/b"]
    assert ("way/a", "sent") not in desk.outcomes


@pytest.mark.parametrize(
    ("event", "stands"),
    [
        (login(at(2), success=True), "ended completed"),
        (login(at(2), success=False), "look"),
        (trade(at(2)), "look"),
        (login(at(0.5), success=True), "look"),  # it happened before the wait began
        (login(at(1), success=True), "ended completed"),  # in the same moment
    ],
)
def test_a_wait_for_an_event(event: Input, stands: str):
    desk = begun(
        led(
            "look: {wait: {on: logins, when: login.success, timeout: 7d, otherwise: late}, next: end}\n"
            "late: {exit: bored}"
        )
    )
    desk.take(event)
    assert where(desk) == stands


def test_an_event_at_the_end_of_the_timeout_is_too_late():
    plan = led("look: {wait: {on: logins, timeout: 7d, otherwise: late}, next: end}\nlate: {exit: bored}")
    for moment_ms, stands in ((at(8) - 1, "ended completed"), (at(8), "ended bored")):
        desk = begun(plan)
        desk.take(login(moment_ms))
        assert where(desk) == stands


def test_one_event_ends_one_wait():
    desk = begun(led("one: {wait: {on: logins, timeout: 7d}}\ntwo: {wait: {on: logins, timeout: 7d}}"))
    desk.take(login(at(2)))
    assert where(desk) == "two"
    desk.take(login(at(2)))
    assert where(desk) == "ended completed"


def test_a_duplicate_leads_nowhere():
    desk = begun(led("one: {wait: {on: logins, timeout: 7d}}\ntwo: {wait: {on: logins, timeout: 7d}}"))
    desk.take(first := login(at(2)))
    desk.take(first)
    assert where(desk) == "two"


def test_a_wait_until_a_condition_holds_goes_on_at_once_if_it_does():
    desk = begun(
        led(
            "rich: {wait: {until: client.assets_cny >= 100, timeout: 9d}}\n"
            "silent: {wait: {until: client.days_since_trade >= 4, timeout: 90d}}"
        )
    )
    assert where(desk) == "rich"
    desk.take(balance(at(2), 100))
    assert where(desk) == "silent"
    assert desk.client.due_ms == at(5)  # four days after the trade
    desk.tick_all(at(5))
    assert where(desk) == "ended completed"
    assert journey(desk.client.journeys, "way")[ENTERED_MS] == at(5)


def test_a_condition_over_a_window_is_asked_when_the_window_moves():
    desk = begun(led("quiet: {wait: {until: trades_3d == 0, timeout: 90d}}"))
    desk.tick_all(at(3))
    assert where(desk) == "quiet"
    desk.tick_all(at(4))
    assert journey(desk.client.journeys, "way")[ENTERED_MS] == at(4, hour=0)


def test_a_condition_that_follows_from_an_unknown_past_does_not_hold():
    """The feature is younger than its window: nobody knows whether there were trades."""
    plan = led("quiet: {wait: {until: trades_3d == 0, timeout: 90d}}", entry="{on: logins}")
    before = Desk(plan_of())
    before.take(profile(at(0)))
    before.take(trade(at(9.5)), login(at(10)))
    desk = Desk(plan)
    desk.states["c1"] = unpack(plan.layout, pack(before.plan.layout, before.client))
    desk.take(login(at(11)))
    assert where(desk) == "quiet"
    desk.tick_all(at(20))
    assert where(desk) == "ended completed"


def test_a_wait_for_a_time_of_the_calendar():
    week = "{every: week, day: mon, time: '09:00'}"
    desk = begun(led(f"one: {{wait: {{at: {week}}}}}\ntwo: {{wait: {{for: 7d, at: {week}}}}}"))
    assert desk.client.due_ms == at(7, hour=9)  # the first day is a Monday
    desk.tick_all(at(7, hour=9))
    assert desk.client.due_ms == at(14, hour=9)  # a week later it is Monday again, at the very moment


def test_branches_take_the_first_that_holds():
    plan = led(
        "choose:\n  branch:\n    - {when: client.assets_cny >= 100, to: rich}\n"
        "    - {when: client.has_advisor, to: led}\n"
        "    - {otherwise: poor}\nrich: {exit: rich}\nled: {exit: advised}\npoor: {exit: poor}",
    )
    for given, reason in (
        ([balance(at(0.5), 100)], "rich"),
        ([profile(at(0.5), advisor_id="a")], "advised"),
        ([], "poor"),
    ):
        desk = Desk(plan)
        desk.take(profile(at(0)))
        desk.take(*given)
        desk.take(trade(at(1)))
        assert where(desk) == f"ended {reason}"


def test_a_split_draws_by_weight_the_same_each_time():
    plan = led("draw: {split: {to: {one: 1, two: 3}}}\none: {exit: one}\ntwo: {exit: two}")
    states: dict[str, Any] = {}
    for again in range(2):
        for number in range(400):
            decide(plan, states, [trade(at(again), client_id=f"c{number}")])
        if again:
            break
        first = {client_id: client.journeys[0][ENDED] for client_id, client in states.items()}
        states = {}
    assert {client_id: client.journeys[0][ENDED] for client_id, client in states.items()} == first
    assert 70 <= Counter(first.values())["one"] <= 130  # a quarter


def test_what_ends_it_is_asked_before_what_leads_on():
    ends = "    goal: client.assets_cny >= 100\n    exits: {complaint: client.open_complaints > 0}\n"
    plan = led(f"look: {{wait: {{on: balances, timeout: 9d}}}}\na: {{act: {ACT}}}\nrest: {{wait: 30d}}", more=ends)
    desk = begun(plan)
    assert acts(desk.take(balance(at(2), 100))) == []
    assert where(desk) == "ended goal"
    desk = begun(plan)
    desk.take(balance(at(2), 1))
    assert where(desk) == "rest"
    desk.take(complaint(at(3)))
    assert where(desk) == "ended complaint"


def complaint(time_ms: int, **fields: Any) -> Input:
    values = {"complaint_id": "k", "status": "opened", "category": "fees", "severity": "low", **fields}
    return "complaints", Complaint(event_id=f"k-{time_ms}", client_id="c1", time=time_ms, **values)


def test_once_again_and_one_at_a_time():
    steps = "rest: {wait: 2d}"
    desk = begun(led(steps))
    desk.take(trade(at(1.5)))
    assert journey(desk.client.journeys, "way")[BEGAN_MS] == at(1)
    desk.tick_all(at(3))
    desk.take(trade(at(400)))
    assert where(desk) == "ended completed"  # once and for all
    assert Counter(desk.outcomes)["way", "not_entered"] == 2
    desk = begun(led(steps, entry="{on: trades, again: 5d}"))
    for day, stands in ((4, "ended completed"), (7.9, "ended completed"), (8, "rest")):
        desk.take(trade(at(day)))
        assert where(desk) == stands


def test_it_does_not_begin_where_what_ends_it_holds():
    desk = Desk(led("rest: {wait: 2d}", more="    exits: {rich: client.assets_cny >= 100}\n"))
    desk.take(balance(at(0), 100), trade(at(1)))
    assert where(desk) == "nowhere"
    desk.take(balance(at(2), 1), trade(at(3)))
    assert where(desk) == "rest"


@pytest.mark.parametrize(
    ("entry", "inputs", "day"),
    [
        ("{becomes: client.assets_cny >= 100}", [balance(at(1), 100)], 1),
        ("{silence: {of: trades, for: 3d}}", [trade(at(1)), login(at(5))], 4),
        ("{at: {every: month, day: 20, time: '12:00'}}", [login(at(1)), login(at(5))], 4),
        ("{on: tier_change, when: tier_change.new == 'A'}", [balance(at(1), 2_000_000)], 1),
        ("{sequence: {first: {on: logins}, without: {on: trades}, within: 2d}}", [login(at(1)), login(at(9))], 3),
        ("{on: item, when: item.kind == 'complaint'}", [complaint(at(1))], 1),
    ],
)
def test_it_begins_as_a_rule_is_evaluated(entry: str, inputs: list[Input], day: float):
    desk = Desk(led("rest: {wait: 90d}", entry=f'"{entry}"' if entry[0] != "{" else entry))
    desk.take(profile(at(0)), *inputs)
    assert journey(desk.client.journeys, "way")[BEGAN_MS] == at(day)


def test_rules_on_items_hear_of_its_beginning_and_end():
    hears = rule(
        "hears", on="item", when='item.kind == "journey"', kind="task", audience="team",
        parameters="{id: item.id, about: item.about, step: item.step, days: item.days}",
    )  # fmt: skip
    plan = led("rest: {wait: 2d}", rules=(hears,))
    desk = Desk(plan)
    desk.take(profile(at(0)))
    (first,) = desk.take(trade(at(1)))
    assert first["parameters"] == {"id": "way", "about": "rest", "step": "opened", "days": 0}
    (last,) = desk.tick_all(at(9))
    assert last["parameters"] == {"id": "way", "about": "completed", "step": "closed", "days": 2}


def test_an_answer_to_the_action_of_a_step():
    survey = ACT.replace("task", "survey").replace("team", "client, channels: [sms]")
    steps = f"ask: {{act: {survey}}}\n"
    steps += "wait: {wait: {on: feedback, of: ask, when: feedback.nps <= 6, timeout: 9d, otherwise: end}}\n"
    steps += f"help: {{act: {ACT}}}"

    def answer(day: float, rule_id: str, nps: int) -> Input:
        return "feedback", Feedback(
            event_id=f"f{day}", client_id="c1", time=at(day), action_id="x", rule_id=rule_id, nps=nps
        )

    desk = begun(led(steps))
    desk.take(answer(2, "other", 3))
    desk.take(answer(3, "way/ask", 9))
    assert where(desk) == "wait"
    assert [record["rule_id"] for record in desk.take(answer(4, "way/ask", 3))] == ["way/help"]


NIGHT = (
    "contact: {daily_cap: 9}\nclasses: {service: {when_quiet: hold}}\nquiet_hours: {night: {hours: '21:00-09:00'}}\n"
)


@pytest.mark.parametrize(
    ("then", "sent"),
    [
        ([], True),  # it was completed with its last act
        ([balance(at(1, hour=23), 100)], False),  # it has reached its goal
        ([complaint(at(1, hour=23))], False),
    ],
)
@pytest.mark.parametrize("after", ["", "rest: {wait: 9d}"])
def test_what_waits_for_the_morning_is_not_sent_once_the_journey_has_ended(after: str, then: list[Input], sent: bool):
    """But what the last step of a completed journey says is."""
    more = "    goal: client.assets_cny >= 100\n    exits: {complaint: client.open_complaints > 0}\n"
    text = led(f"a: {{act: {TELL}}}\n{after}", more=more).rule_set.files
    desk = Desk(
        plan_of(features=TRADES, others=(("policy.yaml", NIGHT), *(f for f in text if f[0] == "journeys/way.yaml")))
    )
    desk.take(profile(at(0), consents={"sms": True}), trade(at(1, hour=22)))
    assert where(desk) == ("rest" if after else "ended completed")
    desk.take(*then)
    published = desk.tick_all(at(2, hour=12))
    assert [record["rule_id"] for record in published] == ["way/a"] * (sent or not after)
    assert (("way/a", "no_longer_true") in desk.outcomes) is not (sent or not after)


def test_a_client_in_no_journey_has_no_byte_more():
    plain, leading = Desk(plan_of(features=TRADES)), Desk(led("rest: {wait: 30d}", entry="{on: balances}"))
    events = profile(at(0)), login(at(1))
    for desk in (plain, leading):
        desk.take(*events)
    assert pack(plain.plan.layout, plain.client) == pack(leading.plan.layout, leading.client)


def test_where_a_client_stands_is_stored():
    desk = begun(led("rest: {wait: 30d}"))
    stored = pack(desk.plan.layout, desk.client)
    again = unpack(desk.plan.layout, stored)
    assert again.journeys == [["way", at(1), "rest", at(1), ""]]
    assert pack(desk.plan.layout, again) == stored


def test_a_loop_that_waits_goes_round():
    desk = begun(
        led(f"a: {{act: {ACT}}}\nrest: {{wait: 1d, next: a}}", more="    exits: {old: client.days_since_trade >= 4}\n")
    )
    assert len(acts(desk.tick_all(at(30)))) == 3
    assert where(desk) == "ended old"


def test_how_often_a_journey_ended_and_why_is_counted():
    desk = begun(led("rest: {wait: 2d}"))
    assert desk.client.due_ms == at(3)
    decided = decide(desk.plan, desk.states, [login(at(3) + HOUR_MS)])
    assert decided.counts["journeys", "way", "completed"] == 1
    assert at(3) - at(1) == 2 * DAY_MS
