"""Journeys whose rules change while clients are in them; and what asks about them, or shows them."""

from __future__ import annotations

from typing import Any

import pytest

from engine.core.client.items import ENDED, ENTERED_MS, journey
from engine.core.client.sections import pack, unpack
from engine.core.decide.path import Sweep, decide
from engine.core.plan.compile import Plan
from engine.insight.outlook import outlook
from engine.insight.preview import led as explained
from engine.insight.preview import preview
from tests.core.making import Desk, at, login, plan_of, profile, rule, trade
from tests.core.test_journeys import ACT, TRADES, acts, begun, led, where


def changed(desk: Desk, plan: Plan) -> Desk:
    """The same client under other rules, as a worker reads its state."""
    after = Desk(plan)
    after.states["c1"] = unpack(plan.layout, pack(desk.plan.layout, desk.client))
    return after


def test_a_shortened_wait_fires_at_its_new_time():
    desk = changed(begun(led(f"rest: {{wait: 30d}}\nb: {{act: {ACT}}}")), led(f"rest: {{wait: 5d}}\nb: {{act: {ACT}}}"))
    desk.sweep(at(2))
    assert (where(desk), desk.client.due_ms) == ("rest", at(6))
    assert [time for _, time in acts(desk.tick_all(at(9)))] == ["2026-02-22T04:00:00.000Z"]


def test_a_wait_that_is_over_by_the_new_rules_ends_at_once():
    desk = changed(begun(led(f"rest: {{wait: 30d}}\nb: {{act: {ACT}}}")), led(f"rest: {{wait: 5d}}\nb: {{act: {ACT}}}"))
    assert [rule_id for rule_id, _ in acts(desk.sweep(at(10)))] == ["way/b"]
    assert journey(desk.client.journeys, "way")[ENTERED_MS] == at(10)


def test_a_lengthened_wait_goes_on():
    desk = changed(begun(led("rest: {wait: 5d}")), led("rest: {wait: 30d}"))
    desk.sweep(at(2))
    desk.tick_all(at(30))
    assert where(desk) == "rest"
    desk.tick_all(at(31))
    assert where(desk) == "ended completed"


@pytest.mark.parametrize("after", [lambda: led("other: {wait: 5d}"), lambda: plan_of(features=TRADES)])
def test_who_stands_in_a_step_that_is_gone_has_left_the_journey(after: Any):
    desk = changed(begun(led("rest: {wait: 30d}")), after())
    decided = decide(desk.plan, desk.states, [Sweep("c1", at(2))])
    assert where(desk) == "ended journey_changed"
    assert decided.counts["journeys", "way", "journey_changed"] == 1


def test_an_event_finds_the_rules_of_now_before_the_sweep_does():
    desk = changed(begun(led("rest: {wait: 30d}")), led("other: {wait: 5d}"))
    desk.take(login(at(2)))
    assert where(desk) == "ended journey_changed"


def test_steps_before_and_after_may_change_and_new_ones_are_taken():
    desk = begun(led(f"a: {{act: {ACT}}}\nrest: {{wait: 5d}}"))
    desk = changed(desk, led(f"z: {{wait: 9d}}\nrest: {{wait: 5d}}\nb: {{act: {ACT}}}"))
    desk.sweep(at(2))
    assert [rule_id for rule_id, _ in acts(desk.tick_all(at(9)))] == ["way/b"]


def test_a_journey_that_was_renamed_goes_on():
    renamed = led("rest: {wait: 5d}").rule_set
    text = dict(renamed.files)["journeys/way.yaml"].replace("id: way", "id: road\n    was: way")
    plan = plan_of(features=TRADES, others=(("journeys/way.yaml", text),))
    desk = changed(begun(led("rest: {wait: 5d}")), plan)
    desk.tick_all(at(9))
    assert journey(desk.client.journeys, "road")[ENDED] == "completed"


def test_explain_says_where_the_client_stands():
    plan = led(f"rest: {{wait: 2d}}\nb: {{act: {ACT}}}")
    desk, rules = begun(plan), {each.id: each for each in plan.rule_set.rules}
    stands = "the journey began at 2026-02-17 12:00; the client stands at rest since 2026-02-17 12:00, until 2026-02-19"
    assert explained(plan, rules["way"], desk.client).startswith(stands)
    assert explained(plan, rules["way/b"], desk.client).startswith(stands)
    waiting = begun(led("look: {wait: {on: logins, when: login.success, timeout: 3d, otherwise: end}}"))
    said = explained(waiting.plan, waiting.plan.rule_set.rules[0], waiting.client)
    assert said.endswith(", and waits for logins where login.success, until 2026-02-20 12:00 at the latest")
    desk.tick_all(at(9))
    ended = "the journey began at 2026-02-17 12:00 and ended at 2026-02-19 12:00: completed"
    assert explained(plan, rules["way"], desk.client) == ended
    other = Desk(plan)
    other.take(profile(at(0)))
    assert explained(plan, rules["way"], other.client) == "the client was never in the journey"


def test_a_preview_goes_through_journeys():
    plan = led(f"rest: {{wait: 2d}}\nb: {{act: {ACT}}}\nmore: {{wait: 100d}}\nc: {{act: {ACT}}}")
    found = preview(plan, begun(plan).client, at(1.5), at(91))
    assert [record["rule_id"] for topic, record in found.steps if topic == "tasks"] == ["way/b"]


def test_publishing_counts_who_stands_where_and_who_leaves():
    before, after = led("rest: {wait: 30d}"), led(f"other: {{wait: 30d}}\nb: {{act: {ACT}}}")
    states = [pack(before.layout, begun(before).client)] * 3
    found = outlook(before, after, states, at(2))
    assert [line for line in found.lines() if "journey" in line] == [
        "  journey way: 3 at rest; 3 of them leave it: their step is gone"
    ]
    assert found.as_json()["journeys"] == [{"journey": "way", "step": "rest", "clients": 3}]
    assert outlook(before, before, states, at(2)).leave == {}


def test_an_act_is_paused_by_its_name_and_waits():
    """As the breaker does it."""
    paused = 'paused:\n  way/b: {since: "2026-02-17T00:00:00.000Z", by: ann, why: "too many"}\n'
    plan = led(f"rest: {{wait: 2d}}\nb: {{act: {ACT}}}")
    files = {name: text for name, text in plan.rule_set.files if name == "journeys/way.yaml"}
    desk = begun(plan_of(features=TRADES, others=(*files.items(), ("pauses.yaml", paused))))
    assert acts(desk.tick_all(at(4))) == []
    assert ("way/b", "held") in desk.outcomes


def test_a_rule_waits_for_an_answer_to_an_act():
    late = rule("late", unanswered="{of: way/a, for: 1d}", kind="alert", audience="team")
    desk = begun(led(f"a: {{act: {ACT}}}\nrest: {{wait: 9d}}", rules=(late,)))
    assert [rule_id for rule_id, _ in acts(desk.tick_all(at(4)))] == ["late"]


def test_a_journey_that_asks_what_is_open_has_it_kept():
    """As a rule that asks it has."""
    survey = ACT.replace("task", "survey").replace("team", "client, channels: [sms]")
    steps = f"ask: {{act: {survey}}}\nrest: {{wait: 3d}}\n"
    steps += "open: {branch: [{when: client.open_surveys >= 1, to: remind}, {otherwise: end}]}\n"
    desk = Desk(led(f"{steps}remind: {{act: {ACT}}}"))
    desk.take(profile(at(0), consents={"sms": True}), trade(at(1)))
    assert [rule_id for rule_id, _ in acts(desk.tick_all(at(9)))] == ["way/remind"]


def test_another_calendar_moves_a_wait_for_a_working_day():
    """Every client is evaluated once, as for rules on working days."""
    waits = "wait: {wait: {at: {every: working_day, time: '09:30'}}}"
    days = "calendar:\n  title: Days\n  first_day: 2026-01-01\n  last_day: 2026-12-31\n  holidays: [{}]\n"
    one, other = (led(waits, calendar=days.format(day)).timed.digest for day in ("2026-02-18", "2026-02-20"))
    assert one != other
    assert (
        led("wait: {wait: 3d}", calendar=days.format("2026-02-18")).timed.digest == led("wait: {wait: 3d}").timed.digest
    )
