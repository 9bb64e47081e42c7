"""Where parts of the contact policy meet: caps of a channel and quiet hours, the calendar's end, an expiry just after
quiet hours, as many waiting as there may be, hours that a night has twice.
"""

from __future__ import annotations

import pytest

from engine.core.decide.path import Due, decide
from engine.core.policy.gates import Hold, Suppress, judge
from engine.core.policy.holding import MAX_WAITING
from engine.core.policy.match import Match
from engine.core.rules.occasion import on
from tests.core.making import Desk, Input, at, login, plan_of, profile, rule, trade
from tests.core.test_policy import MINUTE_MS, desk_with, sent, verdicts
from tests.core.test_policy_clock import ms

HOLD = "classes: {service: {when_quiet: hold}, marketing: {when_quiet: drop}, other: {when_quiet: other_channel}}\n"
CALENDAR = """\
calendar: {title: C, first_day: 2026-02-01, last_day: 2026-02-28, holidays: [2026-02-17]}
"""  # the 28th is a Saturday


def verdict_of(desk: Desk) -> object:
    return judge(desk.plan, desk.client, Match(desk.plan.compiled[on("logins")][0], login(desk.client.now_ms)[1]))


def test_regulatory_has_channels_of_its_own_in_a_policy_without_classes_too():
    desk = desk_with(rule("law", channels="[phone, sms, email]", **{"class": "regulatory"}), consents=())
    assert [action["channel"] for action in desk.take(login(at(1)))] == ["sms"]
    desk = desk_with(rule("law", channels="[phone, app_push]", **{"class": "regulatory"}), consents=())
    desk.take(login(at(1)))
    assert verdicts(desk) == [("law", "no_consent")]


@pytest.mark.parametrize(
    ("class_", "expires", "time", "outcome"),
    [
        ("marketing", "1d", "2026-02-28T12:00+08:00", "quiet_hours"),  # a Saturday, the last day that is known
        ("service", "1h", "2026-02-28T12:00+08:00", "quiet_hours"),  # it expires on that day
        ("service", "1d", "2026-02-28T12:00+08:00", "day_unknown"),  # nobody knows whether it can go out on Sunday
        ("service", "12h", "2026-02-28T12:00+08:00", "quiet_hours"),
        ("marketing", "1d", "2026-03-01T12:00+08:00", "day_unknown"),
        ("marketing", "1d", "2026-03-01T23:00+08:00", "quiet_hours"),  # at night, whatever the day is
        ("service", "6h", "2026-03-01T23:00+08:00", "quiet_hours"),
        ("service", "1d", "2026-03-01T23:00+08:00", "day_unknown"),
    ],
)
def test_the_calendar_is_asked_as_far_as_the_answer_hangs_on_it(class_, expires, time, outcome):
    quiet = "quiet_hours: {free: {days: holidays}, night: {hours: '22:00-08:00'}}\n"
    policy = "contact: {daily_cap: 100}\n" + HOLD + quiet
    plan = plan_of(
        rule("r", expires=expires, **{"class": class_}), calendar=CALENDAR, others=(("policy.yaml", policy),)
    )
    desk = Desk(plan)
    desk.take(profile(at(0)), login(ms(time)))
    assert verdicts(desk) == [("r", outcome)]


def test_what_expires_while_releases_are_spread_goes_out_at_the_end_of_quiet_hours():
    policy = HOLD + "quiet_hours: {night: {hours: '21:30-08:30'}}\nrelease_over: 12h\n"
    desk = desk_with(rule("soon", expires="12h"), rule("later", expires="2d", on="trades"), policy=policy)
    desk.take(login(at(1, 22)), trade(at(1, 22)))
    assert verdicts(desk) == [("soon", "held"), ("later", "held")]
    soon, later = sorted(held[3] for held in desk.client.waiting)
    assert soon == at(2, 8.5)
    assert at(2, 10) < later < at(2, 20.5)
    assert sent(desk.tick_all(at(3))) == ["soon", "later"]


@pytest.mark.parametrize(
    ("cap", "outcome"),
    [
        ("of: {channel: app_push}", "held"),  # by SMS in the morning
        ("of: {channel: [app_push, sms]}", "held"),
        ("of: {class: service}", "cap"),  # another channel would not do
    ],
)
def test_what_a_cap_of_one_channel_stops_waits_for_the_other(cap, outcome):
    policy = HOLD + f"caps: {{one: {{at_most: 1, per: day, {cap}}}}}\n"
    desk = desk_with(rule("r"), policy=policy + "quiet_hours: {sms: {hours: '21:30-08:30', of: {channel: sms}}}\n")
    desk.take(login(at(1, 12)), login(at(1, 22)))
    assert verdicts(desk) == [("r", "sent"), ("r", outcome)]


def test_the_channel_that_is_free_first():
    night = "{long: {hours: '21:30-09:00', of: {channel: app_push}}, short: {hours: '21:30-08:00', of: {channel: sms}}}"
    desk = desk_with(rule("r", **{"class": "other"}), policy=HOLD + f"quiet_hours: {night}\n")
    desk.take(login(at(1, 22)))
    assert desk.client.due_ms == at(2, 8)
    assert [action["channel"] for action in desk.tick(at(2, 8))] == ["sms"]


def test_no_more_collect_than_may_wait():
    desk = desk_with(rule("r"), policy="classes: {service: {collect: 12h}}\n")
    for n in range(MAX_WAITING + 1):
        desk.take(login(at(1, 9) + n * MINUTE_MS))
    assert verdicts(desk) == [("r", "held")] * MAX_WAITING + [("r", "quiet_hours")]


def test_what_fell_due_late_is_stopped_when_no_more_can_wait_unless_nothing_could_stop_it():
    policy = "classes: {regulatory: {exempt: [consent, do_not_contact, snooze], channels: [sms]}, service: {}}\n"
    daily = {"at": '{every: day, time: "10:00"}'}
    rules = [rule(f"r{n:02}", **daily) for n in range(MAX_WAITING + 1)]
    desk = desk_with(*rules, rule("law", priority=1, **daily, **{"class": "regulatory"}), policy=policy)
    desk.tick(at(0, 23))
    withdrawn: list[Input] = [profile(at(1, 10.1), consents=())]
    decided = decide(desk.plan, desk.states, withdrawn, decided_ms=at(1, 10.5))
    outcomes = [outcome for _, outcome in decided.outcomes]
    assert outcomes == ["held"] * MAX_WAITING + ["quiet_hours", "sent"]
    decided = decide(desk.plan, desk.states, [Due("c1", at(1, 10.6))], decided_ms=at(1, 10.6))
    assert {outcome for _, outcome in decided.outcomes} == {"no_consent"}


@pytest.mark.parametrize(
    ("caps", "name", "until"),
    [
        ({"day": "1, per: day", "week": "1, per: week"}, "week", at(7, 0)),
        ({"week": "2, per: week", "none": "0, per: hour"}, "none", None),  # that never ends
        ({"none": "0, within: 1h", "month": "1, per: month"}, "none", None),
        ({"one": "1, per: day", "other": "1, per: day"}, "one", at(2, 0)),
        ({"one": "1, within: 36h", "other": "1, per: day"}, "one", at(3, 0)),
    ],
)
def test_of_several_caps_the_one_that_lasts_longest_is_named(caps, name, until):
    listed = ", ".join(f"{name}: {{at_most: {said}, spare_from: 60}}" for name, said in caps.items())
    desk = desk_with(rule("r", priority=60), rule("low", on="trades"), policy=f"caps: {{{listed}}}\n")
    desk.take(login(at(1)))
    assert verdicts(desk) == [("r", "sent")]
    low = judge(desk.plan, desk.client, Match(desk.plan.compiled[on("trades")][0], trade(at(1))[1]))
    assert isinstance(low, Suppress)
    assert (dict(low.told)["cap"], low.until_ms) == (name, until)


@pytest.mark.parametrize(
    ("zone", "date", "times", "outcomes"),
    [
        ("Asia/Kathmandu", "2026-04-05", "01:00+05:45 01:59:59+05:45 02:00+05:45", "sent cap sent"),
        ("America/New_York", "2026-11-01", "01:10-04:00 01:59-04:00 01:00-05:00", "sent cap sent"),
        ("America/New_York", "2026-03-08", "01:10-05:00 01:59-05:00 03:00-04:00", "sent cap sent"),
        ("Australia/Lord_Howe", "2026-04-05", "01:10+11:00 01:30+10:30 01:59+10:30", "sent sent cap"),
        ("Pacific/Chatham", "2026-04-05", "03:00+13:45 02:45+12:45 02:59+12:45", "sent sent cap"),
        ("Pacific/Chatham", "2026-04-05", "02:59+12:45 03:00+12:45 03:59+12:45", "sent sent cap"),
    ],
)
def test_an_hour_ends_when_the_clock_is_set(zone, date, times, outcomes):
    desk = desk_with(rule("r"), policy="caps: {one: {at_most: 1, per: hour, zone: client}}\n", time_zone=zone)
    desk.take(*(login(ms(f"{date}T{time}")) for time in times.split()))
    assert [outcome for _, outcome in verdicts(desk)] == outcomes.split()


@pytest.mark.parametrize(("whose", "zone"), [("client", "America/New_York"), ("firm", "firm")])
def test_whose_clock_it_is(whose, zone):
    policy = HOLD + f"quiet_hours: {{all_day: {{hours: '00:00-23:59', zone: {whose}}}}}\n"
    desk = desk_with(rule("r"), policy=policy, time_zone="America/New_York")
    desk.take(login(at(1)))
    verdict = verdict_of(desk)
    assert isinstance(verdict, Hold)
    assert dict(verdict.told)["zone"] == zone
