"""The contact policy by example: classes, caps, quiet hours, what waits and is decided again."""

from __future__ import annotations

from typing import Any

import pytest

from engine.core.client.sections import pack, unpack
from engine.core.decide.path import Due, decide
from engine.core.firm_time import DAY_MS, NEVER_MS
from engine.core.policy.gates import Suppress, judge
from engine.core.policy.holding import MAX_WAITING
from engine.core.policy.match import Match
from engine.core.rules.occasion import on
from tests.core.making import HOUR_MS, Desk, Input, at, balance, login, plan_of, profile, published, rule, trade

MINUTE_MS = 60_000
QUIET = "quiet_hours: {night: {hours: '21:30-08:30'}}"
CLASSES = """\
classes:
  regulatory: {exempt: [consent, caps, quiet_hours], counts: false, channels: [email]}
  risk: {exempt: [caps, quiet_hours], purpose: risk}
  service: {when_quiet: hold}
  relationship: {when_quiet: other_channel}
  marketing: {purpose: marketing}
"""


def desk_with(*rules: str, policy: str = "", consents: tuple[str, ...] = ("app_push", "sms"), **facts: Any) -> Desk:
    declared = "contact: {daily_cap: 100}\n" + policy
    desk = Desk(plan_of(*rules, others=(("policy.yaml", declared),)))
    desk.take(profile(at(0, hour=0), consents=consents, **facts))
    return desk


def sent(published_: list[dict[str, Any]]) -> list[str]:
    return [m["rule_id"] for m in published_ if m["topic"] != "tier-changes"]


def verdicts(desk: Desk) -> list[tuple[str, str]]:
    found, desk.outcomes = desk.outcomes, []
    return found


# -- caps --------------------------------------------------------------------------------------------------------------


def test_caps_by_period_and_rolling():
    desk = desk_with(rule("r"), policy="caps: {two: {at_most: 2, within: 24h}, six: {at_most: 6, per: week}}\n")
    day = 4  # 2026-02-20, a Friday
    moments = [at(day, 9), at(day, 20), at(day, 23), at(day + 1, 8.99), at(day + 1, 9), at(day + 1, 19), at(day + 2, 0)]
    for moment in moments:
        desk.take(login(moment))
    # rolling: at 09:00 the first of the day before counts no more
    assert [o for _, o in verdicts(desk)] == ["sent", "sent", "cap", "cap", "sent", "cap", "sent"]
    desk.take(*(login(at(day + 2, hour)) for hour in (20, 21, 22)))
    assert [o for _, o in verdicts(desk)] == ["sent", "cap", "cap"]
    desk.take(login(at(day + 3, 7)))  # Monday: the week is new, the last 24 hours have two
    assert verdicts(desk) == [("r", "sent")]


@pytest.mark.parametrize(
    ("of", "stopped"),
    [
        ("{kind: survey}", {"s"}),
        ("{class: marketing}", {"m"}),
        ("{class: [marketing, service]}", {"m", "s"}),
        ("{channel: sms}", set()),
        ("{channel: app_push}", {"m", "s"}),
        ("{tag: gold}", {"m"}),
        ("{team: trading}", {"s"}),
        ("{rule: m}", {"m"}),
        ("{rule: m, kind: survey}", set()),
    ],
)
def test_what_a_cap_means(of, stopped):
    rules = rule("m", **{"class": "marketing", "tags": "[gold]"}), rule("s", kind="survey", owner="trading")
    desk = desk_with(*rules, policy=f"caps: {{one: {{at_most: 1, per: day, of: {of}}}}}\n", consents=("app_push",))
    desk.take(login(at(1)))
    first = verdicts(desk)
    desk.take(login(at(1, 13)))
    both = {r for r, o in verdicts(desk) + first if o == "cap"}
    assert both == (stopped if len(stopped) < 2 else {"m", "s"})


def test_the_tightest_wins_and_says_who_had_the_slot():
    policy = "caps: {day: {at_most: 1, per: day}, week: {at_most: 1, per: week}}\n"
    desk = desk_with(rule("first", priority=60), rule("second"), policy=policy)
    desk.take(login(at(1)))
    assert verdicts(desk) == [("first", "sent"), ("second", "cap")]
    verdict = judge(desk.plan, desk.client, Match(desk.plan.compiled[on("logins")][1], login(at(1))[1]))
    assert isinstance(verdict, Suppress)
    assert verdict.until_ms == at(7, 0)
    assert dict(verdict.told) == {"cap": "week", "count": 1, "at_most": 1, "period": "week", "lost_to": "first"}


def test_a_cap_by_the_clients_day():
    desk = desk_with(
        rule("r"), policy="caps: {day: {at_most: 1, per: day, zone: client}}\n", time_zone="America/New_York"
    )
    desk.take(login(at(1, 11)), login(at(1, 12.9)), login(at(1, 13.1)))  # 22:00, 23:54, 00:06 there
    assert [o for _, o in verdicts(desk)] == ["sent", "cap", "sent"]


def test_slots_are_reserved_for_what_matters_more():
    policy = "caps: {day: {at_most: 3, per: day, reserve: {slots: 1, for: service}}}\n"
    rules = rule("offer", on="trades", **{"class": "marketing"}), rule("help", on="logins")
    desk = desk_with(*rules, policy=policy)
    desk.take(*(trade(at(1, hour)) for hour in (9, 10, 11)))
    assert [o for _, o in verdicts(desk)] == ["sent", "sent", "cap"]
    desk.take(login(at(1, 12)), login(at(1, 13)))
    assert [o for _, o in verdicts(desk)] == ["sent", "cap"]


def test_what_a_class_is_exempt_from_and_whether_it_counts():
    policy = CLASSES + "caps: {day: {at_most: 1, per: day}}\n"
    rules = (
        rule("law", on="trades", channels="[email, app_push]", **{"class": "regulatory"}),
        rule("alarm", on="balances", **{"class": "risk"}),
        rule("word"),
    )
    desk = desk_with(*rules, policy=policy)
    law = desk.take(trade(at(1, 9)), trade(at(1, 10)))
    assert [m["channel"] for m in law] == ["app_push", "app_push"]  # what the client agreed to goes first
    assert [o for _, o in verdicts(desk)] == ["sent", "sent"]
    desk.take(login(at(1, 11)))
    assert verdicts(desk) == [("word", "sent")]  # the law's do not count
    desk.take(balance(at(1, 12), 5))
    assert verdicts(desk) == [("alarm", "sent")]  # though the day's contact was had
    desk.take(login(at(2, 9)), balance(at(2, 10), 6), login(at(3, 9)))
    assert [o for _, o in verdicts(desk)] == ["sent", "sent", "sent"]
    desk.take(balance(at(4, 9), 6), login(at(4, 10)))
    assert verdicts(desk) == [("alarm", "sent"), ("word", "cap")]  # the alarm counts
    silent = desk_with(*rules, policy=policy, consents=())
    assert [m["channel"] for m in silent.take(trade(at(1)))] == ["email"]  # without consent by its own channels alone
    silent.take(login(at(1)), balance(at(1, 13), 5))
    assert [o for _, o in verdicts(silent)] == ["sent", "no_consent", "no_consent"]


def test_what_was_sent_keeps_its_tags():
    policy = "contact: {daily_cap: 100}\ncaps: {gold: {at_most: 1, per: week, of: {tag: gold}}}\n"
    before = plan_of(rule("a", tags="[gold]"), others=(("policy.yaml", policy),))
    after = plan_of(rule("a"), rule("b", on="trades", tags="[gold]"), others=(("policy.yaml", policy),))
    desk = Desk(before)
    desk.take(profile(at(0, hour=0)), login(at(1)))
    desk.plan = after
    desk.states["c1"] = unpack(after.layout, pack(before.layout, desk.client))
    verdicts(desk)
    desk.take(trade(at(2)))
    assert verdicts(desk) == [("b", "cap")]


def test_contacts_of_a_renamed_rule_are_its_own():
    policy = "contact: {daily_cap: 100}\ncaps: {a: {at_most: 1, per: week, of: {rule: RULE}}}\n"
    before = plan_of(rule("a"), others=(("policy.yaml", policy.replace("RULE", "a")),))
    after = plan_of(rule("b", was="a"), others=(("policy.yaml", policy.replace("RULE", "b")),))
    desk = Desk(before)
    desk.take(profile(at(0, hour=0)), login(at(1)))
    desk.plan = after
    desk.states["c1"] = unpack(after.layout, pack(before.layout, desk.client))
    verdicts(desk)
    desk.take(login(at(2)))
    assert verdicts(desk) == [("b", "cap")]


# -- quiet hours -------------------------------------------------------------------------------------------------------


def test_held_at_night_and_sent_in_the_morning_by_the_clients_clock():
    desk = desk_with(rule("r"), policy=CLASSES + QUIET, time_zone="America/New_York")
    item = login(at(1, 12))  # 23:00 in New York
    assert desk.take(item) == []
    assert verdicts(desk) == [("r", "held")]
    assert desk.client.due_ms == at(1, 21.5)  # 08:30 there
    assert desk.tick(at(1, 21.49)) == []
    (action,) = desk.tick(at(1, 21.5))
    assert verdicts(desk) == [("r", "sent")]
    assert action["cause"] == {"type": "logins", "event_id": item[1].event_id, "time": "2026-02-17T04:00:00.000Z"}
    assert action["time"] == "2026-02-17T13:30:00.000Z"
    assert action["expires_at"] == "2026-02-18T04:00:00.000Z"  # not prolonged
    assert desk.client.waiting == []


@pytest.mark.parametrize(
    ("class_", "fields", "outcome"),
    [
        ("service", {}, "held"),
        ("marketing", {}, "quiet_hours"),  # its class says nothing: drop
        ("risk", {}, "sent"),
        ("service", {"expires": "2h"}, "quiet_hours"),  # it would have expired
        ("relationship", {}, "held"),
        ("service", {"audience": "team"}, "sent"),
    ],
)
def test_what_becomes_of_a_class_in_quiet_hours(class_, fields, outcome):
    desk = desk_with(rule("r", **{"class": class_, **fields}), policy=CLASSES + QUIET)
    desk.take(login(at(1, 23)))
    assert verdicts(desk) == [("r", outcome)]


def test_another_channel_that_may_be_used_now():
    policy = CLASSES + "quiet_hours: {night: {hours: '21:30-08:30', of: {channel: [app_push, phone]}}}\n"
    rules = rule("r", channels="[app_push, sms]", **{"class": "relationship"}), rule("s", priority=10)
    desk = desk_with(*rules, policy=policy)
    assert [(m["rule_id"], m["channel"]) for m in desk.take(login(at(1, 23)))] == [("r", "sms")]
    assert verdicts(desk) == [("r", "sent"), ("s", "held")]


@pytest.mark.parametrize("still", [None, "false"])
def test_what_is_not_true_any_more_is_not_sent(still):
    condition = "login.success and not client.has_advisor"
    desk = desk_with(rule("r", when=condition, still=still), policy=CLASSES + QUIET)
    desk.take(login(at(1, 23)), profile(at(2, 7), advisor_id="ADV-1"))
    desk.tick_all(at(2, 12))
    assert verdicts(desk) == [("r", "held"), ("r", "sent" if still else "no_longer_true")]


def test_consent_and_caps_are_those_of_the_release():
    policy = CLASSES + QUIET + "\ncaps: {day: {at_most: 1, per: day}}\n"
    rules = rule("low", priority=10), rule("high", priority=90, on="trades")
    desk = desk_with(*rules, policy=policy)
    desk.take(login(at(1, 22)), trade(at(1, 23)))
    assert verdicts(desk) == [("low", "held"), ("high", "held")]
    desk.tick_all(at(2, 12))
    assert verdicts(desk) == [("high", "sent"), ("low", "cap")]
    desk.take(login(at(2, 23)), profile(at(3, 7), consents=()))
    desk.tick_all(at(3, 12))
    assert verdicts(desk) == [("low", "held"), ("low", "no_consent")]


def test_a_silence_that_was_broken_while_it_waited():
    silent = {"silence": "{of: trades, for: 2d}", "cooldown": "1d"}
    desk = desk_with(rule("r", **silent), policy=CLASSES + QUIET)
    desk.take(trade(at(1, 22)))
    desk.tick_all(at(3, 23))
    assert verdicts(desk) == [("r", "held")]
    desk.take(trade(at(4, 8)))
    desk.tick_all(at(4, 12))
    assert verdicts(desk) == [("r", "no_longer_true")]


def test_what_collects_waits_for_what_competes_with_it():
    policy = "classes: {risk: {exempt: [caps]}, service: {collect: 15m}}\ncaps: {day: {at_most: 1, per: day}}\n"
    rules = (
        rule("low", priority=10),
        rule("high", priority=60, on="trades"),
        rule("now", on="balances", **{"class": "risk"}),
    )
    desk = desk_with(*rules, policy=policy)
    desk.take(login(at(1, 12)), trade(at(1, 12) + 10 * MINUTE_MS), balance(at(1, 12) + 11 * MINUTE_MS, 5))
    assert verdicts(desk) == [("low", "held"), ("high", "held"), ("now", "sent")]
    assert desk.client.due_ms == at(1, 12) + 15 * MINUTE_MS
    desk.tick(at(1, 12) + 15 * MINUTE_MS)
    assert verdicts(desk) == [("high", "cap"), ("low", "cap")]  # the alarm had the day's contact
    desk.take(login(at(2, 12)), trade(at(2, 12.1)))
    desk.tick_all(at(2, 13))
    assert verdicts(desk)[-2:] == [("high", "sent"), ("low", "cap")]


def test_a_rule_that_is_gone_for_a_while_keeps_what_waits():
    policy = (("policy.yaml", "contact: {daily_cap: 9}\n" + CLASSES + QUIET),)
    with_, without = plan_of(rule("r"), others=policy), plan_of(rule("x", on="trades"), others=policy)
    desk = Desk(with_)
    desk.take(profile(at(0, hour=0)), login(at(1, 23)))
    for plan in (without, with_):
        desk.states["c1"] = unpack(plan.layout, pack(desk.plan.layout, desk.client))
        desk.plan = plan
        desk.sweep(at(2, 1))
    assert desk.client.due_ms == at(2, 8.5)
    assert sent(desk.tick(at(2, 8.5))) == ["r"]


def test_at_most_so_many_wait():
    desk = desk_with(rule("r"), policy=CLASSES + QUIET)
    for n in range(MAX_WAITING + 2):
        desk.take(login(at(1, 22) + n * MINUTE_MS))
    assert [o for _, o in verdicts(desk)] == ["held"] * MAX_WAITING + ["quiet_hours"] * 2
    desk.tick(at(2, 8.5))
    # each is decided: after the first the others are in its cooldown
    assert [o for _, o in verdicts(desk)] == ["sent"] + ["cooldown"] * (MAX_WAITING - 1)
    assert desk.client.due_ms > at(3)


def test_releases_are_spread_but_not_those_of_one_client():
    policy = CLASSES + QUIET + "\nrelease_over: 2h\n"
    rules = rule("low", priority=10), rule("high", priority=90, on="trades")
    desk = desk_with(*rules, policy=policy)
    clients = [f"c{n}" for n in range(60)]
    for client_id in clients:
        desk.take(profile(at(0, 1), client_id), login(at(1, 22), client_id), trade(at(1, 23), client_id=client_id))
    due = [desk.states[client_id].due_ms for client_id in clients]
    assert at(2, 8.5) <= min(due) < max(due) < at(2, 10.5)
    assert len(set(due)) > 30
    assert all(len({held[3] for held in desk.states[client_id].waiting}) == 1 for client_id in clients)


# -- what fell due while nobody looked ---------------------------------------------------------------------------------

LATER = {"at": '{every: day, time: "10:00"}', "cooldown": "1h"}


def test_what_fell_due_late_waits_for_what_the_log_still_holds():
    desk = desk_with(rule("r", **LATER))
    desk.tick(at(0, 23))
    now = at(1, 10.5)
    withdrawn: list[Input] = [profile(at(1, 10.1), consents=())]
    decided = decide(desk.plan, desk.states, withdrawn, decided_ms=now)
    assert dict(decided.outcomes) == {("r", "held"): 1}
    decided = decide(desk.plan, desk.states, [Due("c1", now + 1000)], decided_ms=now + 1000)
    assert dict(decided.outcomes) == {("r", "no_consent"): 1}
    assert published(decided.messages) == []


def test_what_fell_due_late_is_sent_once_all_is_known():
    desk = desk_with(rule("r", **LATER), rule("s", on="logins", cooldown="1m"))
    desk.tick(at(0, 23))
    now = at(1, 10.5)
    decided = decide(desk.plan, desk.states, [login(at(1, 10.1)), login(at(1, 10.2))], decided_ms=now)
    assert sorted(decided.outcomes) == [("r", "held"), ("s", "sent")]
    decided = decide(desk.plan, desk.states, [Due("c1", now)], decided_ms=now + 500)
    (action,) = published(decided.messages)
    assert action["rule_id"] == "r"
    assert action["cause"]["time"] == "2026-02-17T02:00:00.000Z"


@pytest.mark.parametrize("decided_ms", [0, at(1, 10) + 1500])
def test_what_falls_due_in_time_is_sent_at_its_time(decided_ms):
    desk = desk_with(rule("r", **LATER))
    desk.tick(at(0, 23))
    decided = decide(desk.plan, desk.states, [login(at(1, 10) + 1000)], decided_ms=decided_ms)
    assert [action["time"] for action in published(decided.messages)] == ["2026-02-17T02:00:00.000Z"]


def test_work_for_staff_and_what_a_tick_finds_does_not_wait():
    desk = desk_with(rule("r", audience="team", **LATER), rule("s", **LATER))
    desk.tick(at(0, 23))
    now = at(1, 12)
    decided = decide(desk.plan, desk.states, [Due("c1", at(1, 11))], decided_ms=now)
    assert sorted(decided.outcomes) == [("r", "sent"), ("s", "sent")]


def test_a_state_of_what_waits_is_read_as_it_was_written():
    move_rule = rule("m", on="tier_change", when="True", kind="message")
    desk = desk_with(rule("r", when="trade.symbol != ''", on="trades"), move_rule, policy=CLASSES + QUIET)
    desk.take(trade(at(1, 22)), balance(at(1, 22), 400_000))
    copied = unpack(desk.plan.layout, pack(desk.plan.layout, desk.client))
    assert copied.waiting == desk.client.waiting != []
    ways = []
    for client in (desk.client, copied):
        desk.states["c1"] = client
        ways.append(desk.tick(at(2, 8.5)))
    assert ways[0] == ways[1]
    assert set(sent(ways[0])) <= {"r", "m"}
    assert any(action["why"] for action in ways[0])


def test_nobody_is_stored_longer_who_was_sent_nothing():
    assert desk_with(rule("r")).client.due_ms == NEVER_MS
    desk = desk_with(rule("r"))
    desk.take(login(at(1)))
    assert list(desk.client.contacts.values()) == [[at(1)]]
    desk.take(trade(at(1) + 2 * DAY_MS + HOUR_MS))
    assert desk.client.contacts == {}


def test_a_calendar_time_that_was_passed_over_stays_so_for_a_state_that_was_read_again():
    """Another wake at its very moment made it fire, but only in a state that did not remember the next time."""
    desk = desk_with(rule("r", **LATER), rule("s", silence="{of: logins, for: 1d}", audience="team", cooldown="1d"))
    decide(desk.plan, desk.states, [login(at(1, 10))], decided_ms=at(9, 12))
    assert desk.client.due_ms == at(2, 10)  # the silence; what the calendar has there was passed over
    desk.states["c1"] = unpack(desk.plan.layout, pack(desk.plan.layout, desk.client))
    decided = decide(desk.plan, desk.states, [Due("c1", at(2, 10))])
    assert ("r", "sent") not in decided.outcomes
    assert decided.outcomes["s", "sent"] == 1
