"""Slots for calendar actions that are known to be due; clients whose zone is not known."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.core.decide.path import decide
from engine.core.policy.gates import Suppress, judge
from engine.core.policy.match import Match
from engine.core.rules.occasion import on
from tests.core.making import Desk, at, event_of, login, plan_of, profile, rule, trade

FOR_CALENDAR = "caps: {day: {at_most: 1, per: day, reserve: {for: calendar}}}\n"
LETTER = {"at": '{every: day, time: "17:00"}', "priority": 80, "cooldown": "12h", "when": "not client.has_advisor"}


def desk_with(*rules: str, said: str = FOR_CALENDAR, **facts: Any) -> Desk:
    desk = Desk(plan_of(*rules, others=(("policy.yaml", "contact: {daily_cap: 100}\n" + said),)))
    desk.take(profile(at(0, hour=20), **facts))
    return desk


def of_day(desk: Desk, day: int, *hours: float) -> list[tuple[str, str]]:
    desk.outcomes = []
    for hour in hours:
        desk.take(login(at(day, hour)))
    desk.tick_all(at(day, 23))
    return [(rule_id, str(outcome)) for rule_id, outcome in desk.outcomes]


def test_a_slot_is_kept_for_what_is_known_to_be_due():
    desk = desk_with(rule("word"), rule("letter", **LETTER))
    assert of_day(desk, 1, 10, 18) == [("word", "cap"), ("letter", "sent"), ("word", "cap")]
    assert of_day(desk, 2, 10) == [("word", "cap"), ("letter", "sent")]
    item = login(at(3, 10))
    desk.take(profile(at(3, 9)))
    verdict = judge(desk.plan, desk.client, Match(desk.plan.compiled[on("logins")][0], event_of(item)))
    assert isinstance(verdict, Suppress)
    assert verdict.until_ms == at(3, 17)
    assert dict(verdict.told) == {"cap": "day", "count": 0, "at_most": 0, "period": "day", "lost_to": "letter"}


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ("without reserve", {}),
        ("not true now", {}),
        ("no consent", {}),
        ("", {"priority": 50}),  # not a higher one
        ("", {"audience": "team"}),
        ("", {"class": "regulatory"}),  # it does not count
        ("", {"holdout": "{share: 1, salt: a}"}),
        ("", {"at": '{every: day, time: "09:00"}'}),  # it is over for today
        ("", {"at": '{every: month, day: 5, time: "17:00"}'}),
        ("", {"at": None, "on": "trades"}),  # nobody knows when
        ("", {"cooldown": "30d"}),  # it has acted
    ],
)
def test_none_is_kept_where_nothing_will_be_sent(change, fields):
    said = FOR_CALENDAR if change != "without reserve" else FOR_CALENDAR.replace(", reserve: {for: calendar}", "")
    facts: dict[str, Any] = {"advisor_id": "A"} if change == "not true now" else {}
    if change == "no consent":
        fields = {"channels": "email"}
    desk = desk_with(rule("word"), rule("letter", **LETTER | fields), said=said, **facts)
    if fields.get("cooldown") == "30d":
        desk.tick_all(at(1, 23))
    desk.outcomes = []
    desk.take(login(at(2, 10)))
    first = next(outcome for rule_id, outcome in desk.outcomes if rule_id == "word" or outcome == "sent")
    assert first == "sent"


def test_of_two_slots_one_is_free_and_each_action_keeps_its_own():
    said = FOR_CALENDAR.replace("at_most: 1", "at_most: 2")
    desk = desk_with(rule("word"), rule("letter", **LETTER), said=said)
    assert of_day(desk, 1, 10, 11) == [("word", "sent"), ("word", "cap"), ("letter", "sent")]
    twice = LETTER | {"cooldown": "1h", "at": '{every: day, time: "19:00"}'}
    desk = desk_with(rule("word"), rule("letter", **LETTER), rule("news", **twice), said=said)
    assert of_day(desk, 1, 10) == [("word", "cap"), ("letter", "sent"), ("news", "sent")]


def test_a_cap_of_the_time_up_to_now_looks_as_far_ahead():
    said = "caps: {c: {at_most: 2, within: 48h, reserve: [{for: calendar}, {slots: 1, for: service}]}}\n"
    weekly = LETTER | {"at": '{every: week, day: fri, time: "17:00"}'}  # 2026-02-20
    desk = desk_with(
        rule("word"), rule("offer", on="trades", **{"class": "marketing"}), rule("letter", **weekly), said=said
    )
    desk.outcomes = []
    desk.take(login(at(1, 10)), login(at(1, 11)))  # Tuesday: Friday is further away
    desk.take(login(at(3, 12)), login(at(3, 13)))  # the first of Tuesday count no more, and Friday is near
    desk.tick_all(at(4, 23))
    assert desk.outcomes == [
        ("word", "sent"), ("word", "sent"), ("word", "sent"), ("word", "cap"), ("letter", "sent"),
    ]  # fmt: skip
    desk.outcomes = []
    desk.take(trade(at(8, 10)), trade(at(8, 11)))
    assert desk.outcomes == [("offer", "sent"), ("offer", "cap")]  # the other slot is the class's


def test_zones_that_are_not_known_are_counted():
    night = "quiet_hours: {night: {hours: '21:30-08:30'}}\n"
    plan = plan_of(
        rule("r"), rule("t", audience="team"), others=(("policy.yaml", "contact: {daily_cap: 9}\n" + night),)
    )
    for zone, expected in ((None, "missing"), ("Mars/Olympus", "invalid"), ("Asia/Kathmandu", None)):
        desk = Desk(plan)
        desk.take(profile(at(0)))
        desk.client.time_zone = zone
        decided = decide(plan, desk.states, [login(at(1))])
        counted = {about: times for about, times in decided.counts.items() if about[0] == "unknown_zones"}
        assert counted == ({("unknown_zones", expected): 1} if expected else {})
    desk = Desk(plan_of(rule("r"), others=(("policy.yaml", "contact: {daily_cap: 9}\n"),)))
    desk.take(profile(at(0)))
    assert not [about for about in decide(desk.plan, desk.states, [login(at(1))]).counts if about[0] == "unknown_zones"]
    assert json.loads(decide(plan, {}, [profile(at(0)), login(at(1))]).messages[0].value or b"")["rule_id"] == "r"
