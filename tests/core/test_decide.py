"""Decisions: the contact policy in its order, who comes first, silences, timers before late events."""

from __future__ import annotations

import pytest

from engine.core.client.state import MAX_HISTORY
from engine.core.contract.outbound import Outcome
from engine.core.decide.path import Due, decide
from engine.core.firm_time import DAY_MS, NEVER_MS
from tests.core.making import HOUR_MS, Desk, at, balance, event_of, login, plan_of, profile, rule, trade

DAILY = {"kind": "task", "audience": "team", "cooldown": "1m"}
SILENT = {"silence": "{of: logins, for: 30d}", "cooldown": "1d", "kind": "task", "audience": "team"}


def ids(published: list[dict]) -> list[str]:
    return [m["rule_id"] for m in published if m["topic"] != "tier-changes"]


def desk_with(*rules: str, consents: tuple[str, ...] = ("app_push", "sms"), **options: int) -> Desk:
    desk = Desk(plan_of(*rules, **options))
    desk.take(profile(at(0, hour=0), consents=consents))
    return desk


def test_cooldown_is_counted_from_the_last_time_it_acted():
    desk = desk_with(rule("r", cooldown="2d"), daily_cap=100)
    assert ids(desk.take(login(at(0)))) == ["r"]
    assert ids(desk.take(login(at(1)))) == []
    assert ids(desk.take(login(at(2) - 1))) == []
    assert ids(desk.take(login(at(2)))) == ["r"]  # not prolonged by what it suppressed
    assert ids(desk.take(login(at(3)))) == []
    assert desk.outcomes == [("r", o) for o in ("sent", "cooldown", "cooldown", "sent", "cooldown")]


def test_cooldown_is_of_one_rule_and_one_client():
    desk = desk_with(rule("r", cooldown="30d"), rule("s", cooldown="30d", when='login.channel == "web"'), daily_cap=9)
    desk.take(profile(at(0), client_id="c2"))
    assert ids(desk.take(login(at(1)))) == ["r"]
    assert ids(desk.take(login(at(1), channel="web"))) == ["s"]
    assert ids(desk.take(login(at(1), client_id="c2"))) == ["r"]


@pytest.mark.parametrize(
    ("consents", "channel"),
    [
        (("app_push", "sms", "email"), "sms"),
        (("email", "app_push"), "email"),
        (("app_push",), "app_push"),
        (("phone", "wechat"), None),
        ((), None),
    ],
)
def test_the_first_channel_agreed_to_in_the_rules_order(consents, channel):
    desk = desk_with(rule("r", channels="[sms, email, app_push]"), consents=consents)
    published = desk.take(login(at(0)))
    assert [m["channel"] for m in published] == ([channel] if channel else [])
    assert desk.outcomes == [("r", "sent" if channel else "no_consent")]


def test_cooldown_and_channels_that_follow_from_the_client():
    definitions = """\
tables:
  contact_every:
    unit: days
    hit: first
    otherwise: 30
    rows: [{client.region: east, then: 2}]
  contact_by:
    hit: first
    otherwise: [email]
    rows: [{client.region: east, then: [sms, app_push]}]
"""
    desk = Desk(plan_of(rule("r", cooldown="contact_every", channels="contact_by"), definitions=definitions))
    agreed = ("sms", "email")
    desk.take(profile(at(0), consents=agreed), profile(at(0), client_id="c2", consents=agreed, region="east"))
    published = [m for day in range(1, 7) for id_ in ("c1", "c2") for m in desk.take(login(at(day), client_id=id_))]
    assert [(m["client_id"], m["time"][8:10], m["channel"]) for m in published] == [
        ("c1", "17", "email"),
        ("c2", "17", "sms"),
        ("c2", "19", "sms"),
        ("c2", "21", "sms"),
    ]


def test_times_and_durations_leave_as_such():
    parameters = "{at: now, since: now - client.known_since, day: date_of(now), never: client.last_trade_at}"
    far = "{far: now + days(10_000_000)}"
    desk = desk_with(rule("r", parameters=parameters), rule("s", parameters=far, when="now > date('2026-02-16')"))
    near, beyond = desk.take(login(at(0)))
    assert near["parameters"] == {"at": "2026-02-16T04:00:00.000Z", "since": 43_200, "day": "2026-02-16", "never": None}
    assert beyond["parameters"] == {"far": "9999-12-31T23:59:59.999Z"}
    assert beyond["why"] == {"now": "2026-02-16T04:00:00.000Z"}


def test_why_tells_what_definitions_and_tables_follow_from():
    definitions = """\
tables: {least_cny: {hit: first, unit: cny, otherwise: 5, rows: [{client.region: east, then: 2}]}}
define: {is_rich: {is: client.assets_cny > least_cny}}
"""
    desk = Desk(plan_of(rule("r", when='is_rich and login.channel == "app"', audience="team"), definitions=definitions))
    desk.take(profile(at(0), region="east"), balance(at(0), 3))
    (message,) = desk.take(login(at(1)))
    told = {"is_rich": True, "client.assets_cny": "3.00", "client.region": "east", "login.channel": "app"}
    assert message["why"] == told


@pytest.mark.parametrize(
    ("policy", "priority", "sent"),
    [
        ("", 90, ["letter", "greeting"]),
        ("urgent_from: 80", 90, ["letter", "greeting", "urgent"]),
        ("urgent_from: 90", 90, ["letter", "greeting", "urgent"]),
        ("urgent_from: 91", 90, ["letter", "greeting"]),
    ],
)
def test_what_is_urgent_is_sent_when_the_days_contacts_are_used_up(policy, priority, sent):
    letters = [rule(id_, on="trades", priority=10) for id_ in ("letter", "greeting")]
    plan = plan_of(*letters, rule("urgent", priority=priority), policy=policy)
    desk = Desk(plan)
    desk.take(profile(at(0)))
    assert sorted(ids([*desk.take(trade(at(1))), *desk.take(login(at(1.1)))])) == sorted(sent)
    assert (("urgent", "daily_cap") in desk.outcomes) == ("urgent" not in sent)


def test_what_is_urgent_counts_towards_the_cap():
    desk = Desk(
        plan_of(rule("letter", on="trades", priority=10), rule("urgent", priority=90), policy="urgent_from: 80")
    )
    desk.take(profile(at(0)))
    assert ids(desk.take(*(login(at(1, hour)) for hour in (8, 9, 10)), trade(at(1, 11)))) == ["urgent"] * 3
    assert desk.outcomes[-1] == ("letter", "daily_cap")


def test_work_for_an_advisor_whom_the_client_does_not_have_is_the_teams():
    desk = Desk(plan_of(rule("r", audience="advisor", owner="wealth", when="login.success")))
    desk.take(profile(at(0)))
    (alone,) = desk.take(login(at(1)))
    desk.take(profile(at(2), advisor_id="ADV-7"))
    (advised,) = desk.take(login(at(3)))
    who = ("audience", "owner", "advisor_id", "channel")
    assert [alone[key] for key in who] == ["team", "wealth", None, "work_queue"]
    assert alone["why"] == {"login.success": True, "client.has_advisor": False}
    assert [advised[key] for key in who] == ["advisor", "wealth", "ADV-7", "work_queue"]
    assert advised["why"] == {"login.success": True}


def test_nobody_asks_a_client_for_consent_to_tell_the_advisor():
    desk = desk_with(rule("r", kind="alert", audience="advisor"), consents=(), daily_cap=1)
    assert [m["channel"] for m in desk.take(login(at(0)))] == ["work_queue"]


def test_a_client_without_profile_agreed_to_nothing():
    desk = Desk(plan_of(rule("r")))
    assert desk.take(login(at(0))) == []
    assert desk.outcomes == [("r", "no_consent")]


def test_a_consent_withdrawn_counts_from_then_on():
    desk = desk_with(rule("r"))
    assert ids(desk.take(login(at(1)))) == ["r"]
    desk.take(profile(at(1.5), consents=()))
    assert desk.take(login(at(2))) == []


def test_the_daily_cap_is_of_the_firms_day_and_all_rules():
    r, s = rule("r", when="login.success"), rule("s", when='login.channel == "web"', priority=40)
    desk = desk_with(r, s, daily_cap=2)
    assert ids(desk.take(login(at(0, hour=22)))) == ["r"]
    assert ids(desk.take(login(at(0, hour=23), channel="web"))) == ["r"]
    assert desk.outcomes[-1] == ("s", "daily_cap")
    assert ids(desk.take(login(at(0, hour=23.999)))) == []
    assert ids(desk.take(login(at(1, hour=0), channel="web"))) == ["r", "s"]


def test_the_cap_does_not_bind_what_staff_do():
    staff = [rule(f"r{n}", kind="task", audience="team") for n in range(5)]
    desk = desk_with(rule("c"), *staff, daily_cap=1)
    assert len(ids(desk.take(login(at(0))))) == 6
    assert len(ids(desk.take(login(at(0, hour=13))))) == 5


def test_most_urgent_first_then_by_id():
    desk = desk_with(*(rule(id_, priority=p) for id_, p in (("z", 90), ("b", 50), ("a", 50), ("m", 10))), daily_cap=3)
    assert ids(desk.take(login(at(0)))) == ["z", "a", "b"]
    assert desk.outcomes[-1] == ("m", "daily_cap")


def test_rules_of_a_tier_change_stand_in_line_with_those_of_its_event():
    moved = 'tier_change.new == "A"'
    desk = desk_with(
        rule("first", on="tier_change", when=moved, priority=80),
        rule("second", on="balances", priority=60),
        rule("third", on="[balances, tier_change]", priority=50),
        rule("fourth", on="tier_change", when=moved, priority=40),
        daily_cap=100,
    )
    published = desk.take(balance(at(1), 2_000_000))
    assert published[0]["topic"] == "tier-changes"
    assert ids(published) == ["first", "second", "third", "fourth"]
    assert ("third", "cooldown") in desk.outcomes  # matched on both, acted once


@pytest.mark.parametrize(
    ("cooling", "agreed", "capped", "outcome"),
    [
        (True, False, True, Outcome.COOLDOWN),
        (True, True, True, Outcome.COOLDOWN),
        (True, True, False, Outcome.COOLDOWN),
        (False, False, True, Outcome.NO_CONSENT),
        (False, False, False, Outcome.NO_CONSENT),
        (False, True, True, Outcome.DAILY_CAP),
        (False, True, False, Outcome.SENT),
    ],
)
def test_the_first_outcome_that_applies_is_recorded(cooling, agreed, capped, outcome):
    other = rule("other", when='login.channel == "web"', priority=90)
    desk = desk_with(rule("r", when="not login.success or login.channel == 'web'", cooldown="7d"), other, daily_cap=3)
    if cooling:
        desk.take(login(at(0, hour=1), success=False))
    for hour in (2, 3, 4) if capped else ():
        desk.take(login(at(1, hour=hour), channel="desktop"), login(at(1, hour=hour)))
    if capped:
        desk.client.contacts = {"": [desk.client.now_ms] * 3}
    if not agreed:
        desk.take(profile(at(1, hour=5), consents=()))
    desk.outcomes.clear()
    desk.take(login(at(1, hour=6), success=False))
    assert desk.outcomes == [("r", outcome.value)]


def test_recent_actions_list_each_send_and_count_each_refusal():
    desk = desk_with(rule("r", cooldown="1d"), daily_cap=100)
    for day in range(30):
        desk.take(login(at(day)), login(at(day, hour=13)))
    recent = desk.client.recent
    assert len(recent) == MAX_HISTORY
    assert recent[-1] == [at(29, hour=13), "r", "message", "app_push", "cooldown", 30]
    assert [entry[4] for entry in recent].count("cooldown") == 1
    assert recent[-2] == [at(29), "r", "message", "app_push", "sent", 1]


# -- silence and timers ---------------------------------------------------------------------------


def test_silence_fires_once_at_its_due_time_and_again_after_the_next_login():
    desk = desk_with(rule("quiet", **SILENT, parameters="{days: client.days_since_login}"))
    desk.take(login(at(1)))
    due_ms = at(1) + 30 * DAY_MS
    assert desk.client.due_ms == due_ms
    assert desk.tick(due_ms - 1) == []
    first = desk.tick(due_ms + 5 * DAY_MS)
    assert [(m["rule_id"], m["time"], m["parameters"]) for m in first] == [
        ("quiet", "2026-03-19T04:00:00.000Z", {"days": 30})
    ]
    assert desk.client.due_ms == NEVER_MS
    assert desk.tick(at(300)) == []
    assert ids(desk.take(login(at(100)))) == []
    assert ids(desk.tick(at(200))) == ["quiet"]


def test_a_silence_of_years_is_one():
    desk = Desk(plan_of(rule("silent", **SILENT), rule("daily", at='{every: day, time: "09:00"}', **DAILY)))
    desk.take(login(at(0)))
    actions = [action["rule_id"] for day in range(1, 1_000, 7) for action in desk.tick(at(day))]
    assert actions.count("silent") == 1
    assert actions.count("daily") > 900


def test_silence_is_counted_from_the_last_login_and_only_from_a_login():
    desk = desk_with(rule("quiet", **SILENT))
    assert desk.tick(at(100)) == []  # nothing was heard yet, so nothing fell silent
    desk.take(login(at(101)), login(at(120)), trade(at(140)))
    assert desk.client.due_ms == at(150)
    assert ids(desk.tick(at(150))) == ["quiet"]


def test_a_silence_whose_condition_does_not_hold_is_over_too():
    desk = desk_with(rule("quiet", **SILENT, when='client.tier == "A"'))
    desk.take(login(at(1)))
    assert desk.tick(at(31)) == []
    assert desk.client.due_ms == NEVER_MS
    desk.take(balance(at(40), 10**7))
    assert desk.tick_all(at(200)) == []


def test_two_silences_of_different_length_each_at_their_time():
    month = rule("month", **SILENT)
    quarter = rule("quarter", **{**SILENT, "silence": "{of: logins, for: 90d}"})
    desk = desk_with(month, quarter)
    desk.take(login(at(0)))
    published = desk.tick(at(365))  # one tick, very late
    assert [(m["rule_id"], m["time"][:10]) for m in published] == [("month", "2026-03-18"), ("quarter", "2026-05-17")]


def test_timers_before_an_event_run_first_at_their_own_time():
    desk = desk_with(rule("quiet", **SILENT), rule("hello"))
    desk.take(login(at(0)))
    published = desk.take(login(at(40)))  # no tick came in the meantime
    assert [(m["rule_id"], m["time"]) for m in published] == [
        ("quiet", "2026-03-18T04:00:00.000Z"),
        ("hello", "2026-03-28T04:00:00.000Z"),
    ]
    assert published[0]["cause"]["type"] == "timer"


def test_an_event_at_the_very_moment_comes_after_the_timer():
    desk = desk_with(rule("quiet", **SILENT))
    desk.take(login(at(0)))
    assert ids(desk.take(login(at(30)))) == ["quiet"]
    assert desk.client.due_ms == at(60)


def test_an_older_event_after_a_timer_does_not_turn_time_back():
    desk = desk_with(rule("quiet", **SILENT), rule("hello"))
    desk.take(login(at(0)))
    desk.tick(at(35))
    published = desk.take(login(at(29)))  # it happened before the silence was over, and came after
    assert desk.client.now_ms == at(30)
    assert [(m["time"], m["cause"]["time"]) for m in published] == [
        ("2026-03-18T04:00:00.000Z", "2026-03-17T04:00:00.000Z")
    ]


def test_a_tick_for_a_client_nobody_knows_does_nothing():
    plan = plan_of(rule("quiet", **SILENT))
    decided = decide(plan, {}, [Due("nobody", at(0))])
    assert (decided.messages, decided.changed) == ([], {})


# -- what leaves ----------------------------------------------------------------------------------


def test_changed_names_exactly_the_clients_that_changed():
    plan = plan_of(rule("quiet", **SILENT))
    states: dict = {}
    decide(plan, states, [login(at(0), client_id=id_) for id_ in ("c1", "c2", "c3")])
    decided = decide(plan, states, [login(at(1), client_id="c2"), Due("c3", at(2)), Due("c1", at(30))])
    assert set(decided.changed) == {"c1", "c2"}
    assert decided.changed["c1"] is states["c1"]


def test_why_and_parameters_are_read_at_the_moment_of_the_decision():
    features = "  logins_7d: {source: logins, aggregate: count, window: 7d}\n" \
               "  in_cny_7d: {source: balances, aggregate: sum, field: amount_cny, window: 7d}\n"  # fmt: skip
    tiers = "individual:\n  measure: client.assets_cny\n  tiers:\n    - {tier: A}\n"
    r = rule("r", when="logins_7d >= 2 and in_cny_7d > 0.01", parameters="{part: in_cny_7d / 3, n: logins_7d + 1}")
    desk = Desk(plan_of(r, features=features, tiers=tiers))
    desk.take(profile(at(0)), balance(at(0), 100, kind="deposit", amount_fen=1000), login(at(1)))
    action = desk.take(login(at(2)))[0]
    assert action["why"] == {"logins_7d": 2, "in_cny_7d": "10.00"}
    assert action["parameters"] == {"part": "3.33", "n": 3}


def test_an_action_says_all_that_a_messaging_system_needs():
    desk = desk_with(
        rule("r", version=3, title="标题", owner="trading", expires="2h", template="welcome", kind="survey")
    )
    desk.take(profile(at(0), advisor_id="adv-7", language="en", consents=("sms",)), balance(at(0), 400_000))
    item = login(at(1))
    action = desk.take(item)[0]
    id_ = action.pop("id")
    assert len(id_) == 32
    assert action == {
        "topic": "surveys", "client_id": "c1", "time": "2026-02-17T04:00:00.000Z", "kind": "survey", "rule_id": "r",
        "cause": {"type": "logins", "event_id": event_of(item).event_id, "time": "2026-02-17T04:00:00.000Z"},
        "rule_version": 3, "title": "标题", "description": "D.", "audience": "client", "channel": "sms",
        "owner": "trading", "advisor_id": "adv-7", "tier": "B", "language": "en", "priority": 50, "template": "welcome",
        "parameters": {},
        "why": {"client.days_known": 1}, "expires_at": "2026-02-17T06:00:00.000Z",
        "class": "service", "purpose": "service", "campaign": None, "tags": [], "arm": None, "follows": None,
        "team": "trading", "not_before": None,
    }  # fmt: skip


def test_a_day_is_counted_from_the_first_event():
    desk = desk_with(rule("r", when="client.days_known >= 1"))
    assert desk.take(login(at(0, hour=0) + DAY_MS - 1)) == []
    assert ids(desk.take(login(at(0, hour=0) + DAY_MS + HOUR_MS))) == ["r"]
