"""Facts and events have their own time: what is late, what comes twice, what is not said, what falls due too late."""

from __future__ import annotations

import pytest

from engine.core.client.sections import pack, unpack
from engine.core.client.state import DUPLICATE_DAYS, MAX_EVENT_IDS
from engine.core.contract.events import parse_time_ms
from engine.core.contract.profiles import Consents, Profile
from engine.core.decide.path import Due, decide
from engine.core.firm_time import DAY_MS
from engine.core.rules.occasion import on
from engine.insight.explain import Explainer
from engine.insight.rendering import as_json, in_full
from tests.core.making import Desk, at, balance, event_of, login, plan_of, profile, published, rule, topic_of, trade

TEAM = {"audience": "team", "cooldown": "1m"}
COUNTS = "  logins_7d: {source: logins, aggregate: count, window: 7d}\n"
TIERS = (
    "individual:\n  measure: client.assets_cny\n  tiers:\n    - {tier: A, enter: 1_000, exit: 900}\n    - {tier: B}\n"
)


def desk(*rules: str, features: str = COUNTS, tiers: str = TIERS) -> Desk:
    return Desk(plan_of(*rules, features=features, tiers=tiers))


def said(time_ms: int, **fields: object) -> tuple[str, Profile]:
    """A profile that says these fields and no others."""
    return "profiles", Profile(event_id=f"p{time_ms}", client_id="c1", time=time_ms, type="individual", **fields)


# -- facts -------------------------------------------------------------------------------------------------------------


def test_an_older_profile_gives_back_no_consent_that_was_withdrawn():
    d = desk(rule("hello", on="logins", cooldown="1m"))
    d.take(said(at(0), consents=Consents(sms=True)), said(at(2), consents=Consents()))
    d.take(said(at(1), consents=Consents(sms=True, app_push=True)))
    assert d.client.consents == ()
    assert d.take(login(at(3))) == []


def test_each_fact_is_that_of_the_latest_event_that_told_it():
    d = desk()
    d.take(said(at(2), risk_level="R2"), said(at(1), risk_level="R5", region="east"), said(at(3), region=None))
    assert (d.client.risk_level, d.client.region) == ("R2", None)
    d.take(said(at(2.5), region="west"))
    assert d.client.region is None  # null was told later


def test_an_older_snapshot_does_not_move_the_tier_back():
    d = desk()
    d.take(profile(at(0)), balance(at(2), 100), balance(at(1), 900_000_000))
    assert (d.client.assets_fen, d.tier) == (10_000, "B")
    assert d.client.assets_peak_fen == 90_000_000_000


def test_what_is_not_said_stays_and_null_is_unknown():
    d = desk()
    d.take(balance(at(0), 10, margin_ratio=1.2, cash_fen=5), balance(at(1), 10))
    assert (d.client.margin_ratio, d.client.cash_fen) == (1.2, 5)
    d.take(balance(at(2), 10, margin_ratio=None))
    assert (d.client.margin_ratio, d.client.cash_fen) == (None, 5)


def test_times_of_facts_survive_storage():
    d = desk()
    d.take(said(at(2), risk_level="R2", consents=Consents(sms=True)), balance(at(1), 10))
    again = unpack(d.plan.layout, pack(d.plan.layout, d.client))
    assert again.said_ms == d.client.said_ms
    assert again.said_ms == {"type": at(2), "risk_level": at(2), "consents": at(2), "assets_fen": at(1)}


def test_a_part_that_is_sold_leaves_the_rest_of_a_holding():
    d = desk()
    d.take(trade(at(0), 1_000, symbol="x", quantity=10, matures_on="2026-12-31"))
    d.take(trade(at(0.1), 600, symbol="x", quantity=3, matures_on="2026-11-30"))
    d.take(trade(at(1), 50, symbol="x", quantity=5, side="sell"))  # the three that end first, then two
    assert [entry[2:4] for entry in d.client.holdings] == [[800, 8_000_000]]
    d.take(trade(at(2), 50, symbol="x", quantity=8, side="sell"))
    assert d.client.holdings == []


# -- late events -------------------------------------------------------------------------------------------------------


def test_a_late_event_leaves_the_present_where_it_is_and_is_listed():
    d = desk()
    d.take(login(at(5)), login(at(1)))
    assert (d.client.now_ms, d.client.since_ms) == (at(5), at(1))
    assert d.client.activities["logins"].last_ms == at(5)
    assert d.client.late == [["logins", at(1), at(5)]]
    assert unpack(d.plan.layout, pack(d.plan.layout, d.client)).late == d.client.late


@pytest.mark.parametrize("days", [0.001, 0.5, 1, 6, 7, 40])
def test_a_late_event_counts_in_the_window_of_its_own_time(days):
    d = desk(rule("reads", on="trades", parameters="{n: logins_7d}", **TEAM))
    d.take(login(at(50)), login(at(50 - days)))
    (action,) = d.take(trade(at(50)))
    assert action["parameters"]["n"] == (2 if days < 7 else 1)


def test_a_late_close_of_a_day_is_carried_to_the_days_after():
    d = desk(
        rule("reads", on="logins", parameters="{m: mean_cny_4d}", **TEAM),
        features="  mean_cny_4d: {source: balances, aggregate: daily_mean, field: assets_cny, window: 4d}\n",
    )
    d.take(balance(at(0), 100), balance(at(3, hour=9), 400), balance(at(1, hour=9), 200))
    (action,) = d.take(login(at(3)))
    assert action["parameters"]["m"] == "225.00"  # 100 200 200 400
    d.take(balance(at(1, hour=8), 7))  # not the last of its day
    assert d.take(login(at(3.1)))[0]["parameters"]["m"] == "225.00"


def test_a_silence_counts_from_the_latest_event_by_its_own_time():
    d = desk(rule("silent", silence="{of: logins, for: 5d}", on=None, when="client.days_known >= 0", **TEAM))
    d.take(trade(at(3)), login(at(1)))
    assert d.client.due_ms == at(6)
    d.take(login(at(2)))
    assert d.client.due_ms == at(7)


# -- the same event again ----------------------------------------------------------------------------------------------


def test_the_same_event_counts_once_within_its_horizon():
    d = desk(rule("hello", on="logins", **TEAM))
    first = login(at(0))
    assert len(d.take(first)) == 1
    decided = decide(d.plan, d.states, [first, first])
    assert (decided.messages, decided.counts) == ([], {("duplicates", "logins"): 2})
    d.states["c1"] = unpack(d.plan.layout, pack(d.plan.layout, d.client))
    assert decide(d.plan, d.states, [first]).counts == {("duplicates", "logins"): 1}
    d.take(login(at(DUPLICATE_DAYS)))
    assert decide(d.plan, d.states, [first]).counts == {("duplicates", "logins"): 1}
    d.take(login(at(DUPLICATE_DAYS + 1)))
    assert decide(d.plan, d.states, [first]).counts == {("late", "logins"): 1}


def test_the_same_id_on_another_topic_or_at_another_time_is_another_event():
    d = desk()
    one, other = login(at(0)), trade(at(0))
    same_id = event_of(other).model_copy(update={"event_id": event_of(one).event_id})
    later = event_of(one).model_copy(update={"time": at(1)})
    decided = decide(d.plan, d.states, [one, (topic_of(other), same_id), (topic_of(one), later)])
    assert decided.counts == {}
    assert d.client.sequence == 3


def test_of_very_many_events_the_last_ones_are_known_again():
    d = desk()
    events = [login(at(0) + n) for n in range(MAX_EVENT_IDS + 600)]
    decide(d.plan, d.states, events)
    assert sum(map(len, d.client.event_ids.values())) <= (MAX_EVENT_IDS + 256) * 6
    assert decide(d.plan, d.states, events[-MAX_EVENT_IDS:]).counts == {("duplicates", "logins"): MAX_EVENT_IDS}


# -- what falls due too late -------------------------------------------------------------------------------------------

DAILY = rule("daily", at='{every: day, time: "09:00"}', on=None, when="client.days_known >= 0", expires="2h", **TEAM)


def test_what_fell_due_is_sent_in_time_and_expires_after_it():
    in_time, late = desk(DAILY), desk(DAILY)
    for d in (in_time, late):
        d.take(login(at(0)))
    due_ms = in_time.client.due_ms
    assert [m.topic for m in decide(in_time.plan, in_time.states, [Due("c1", due_ms)], due_ms + 60_000).messages]
    decided = decide(late.plan, late.states, [Due("c1", due_ms)], due_ms + 3 * 3_600_000)
    assert published(decided.messages) == []
    assert decided.outcomes == {("daily", "expired"): 1}
    assert "daily" not in late.client.acted


def test_a_client_whose_first_event_lies_years_back_is_not_evaluated_for_each_day_since():
    d = desk(DAILY)
    now_ms = at(4_000)
    decide(d.plan, d.states, [login(at(0))], now_ms)
    decided = decide(d.plan, d.states, [login(now_ms)], now_ms)
    assert sum(decided.outcomes.values()) <= 1
    assert d.client.sequence < 5


def test_an_event_of_the_past_acts_whenever_it_is_decided():
    d = desk(rule("hello", on="logins", **TEAM))
    assert len(published(decide(d.plan, d.states, [login(at(0))], at(4_000)).messages)) == 1


# -- tiers that time moves ---------------------------------------------------------------------------------------------

ELAPSED = """\
individual:
  measure: 100 - client.days_since_login
  tiers:
    - {tier: A, enter: 80, exit: 60}
    - {tier: B, enter: 30, exit: 20}
    - {tier: C}
"""


def test_a_tier_measured_by_days_moves_by_time_alone():
    d = desk(tiers=ELAPSED)
    d.take(profile(at(0)), login(at(0)))
    assert d.tier == "A"
    changes = [(m["to_tier"], m["time"]) for m in d.tick_all(at(200)) if m["topic"] == "tier-changes"]
    assert changes == [("B", "2026-03-29T04:00:00.000Z"), ("C", "2026-05-08T04:00:00.000Z")]


@pytest.mark.parametrize(("measure", "day"), [("year(now)", 319), ("client.days_known / 10", 4), ("hour(now)", 0)])
def test_a_tier_measured_by_the_time_moves_with_it(measure, day):
    least = {"year(now)": 2027, "client.days_known / 10": 0.4, "hour(now)": 23}[measure]
    steps = f"    - {{tier: A, enter: {least}, exit: {round(least - 0.1, 1)}}}\n    - {{tier: B}}\n"
    tiers = f"individual:\n  measure: {measure}\n  tiers:\n{steps}"
    d = desk(tiers=tiers)
    d.take(profile(at(0)))
    assert d.tier == "B"
    moved = [m for m in d.tick_all(at(400)) if m["topic"] == "tier-changes"]
    assert moved[0]["to_tier"] == "A"
    assert at(day, hour=0) <= parse_time_ms(moved[0]["time"]) < at(day + 1, hour=0)


# -- a past that is not known ------------------------------------------------------------------------------------------

QUIET = rule("quiet", on="trades", when="logins_n < 9", **TEAM)
BUSY = rule("busy", on="trades", when="logins_n >= 2", **TEAM)


def counted(window: str) -> str:
    return f"  logins_n: {{source: logins, aggregate: count, window: {window}}}\n"


def under(d: Desk, features: str, *rules: str) -> Desk:
    """The same client under other rules."""
    other = desk(*rules, features=features)
    other.states = {"c1": unpack(other.plan.layout, pack(d.plan.layout, d.client))}
    return other


@pytest.mark.parametrize(
    ("before", "after", "hours_apart"),
    [("7d", "90d", 72), ("2h", "24h", 2), ("24h", "7d", 12), ("7d", "month", 36), ("1d", "366d", 48)],
)
def test_a_count_that_is_short_of_its_past_lets_no_rule_act_that_asks_for_little(before, after, hours_apart):
    d = desk(features=counted(before))
    end = at(12)
    d.take(*(login(end - n * hours_apart * 3_600_000) for n in reversed(range(10))))
    d = under(d, counted(after), QUIET, BUSY)
    assert [a["rule_id"] for a in d.take(login(end + 1), login(end + 2), trade(end + 3))] == ["busy"]
    assert ("quiet", "past_unknown") in d.outcomes
    (reach,) = next(c for c in d.plan.compiled[on("trades")] if c.rule.id == "quiet").needs
    known, wanted = reach.known(d.client)
    assert 0 <= known < wanted


def test_the_window_is_known_again_when_time_has_covered_it():
    d = desk(features=counted("7d"))
    d.take(login(at(0)), login(at(20)))
    d = under(d, counted("10d"), QUIET)
    assert d.take(trade(at(21))) == []
    assert [a["rule_id"] for a in d.take(trade(at(24)))] == ["quiet"]


def test_a_client_who_is_younger_than_the_window_has_no_unknown_past():
    d = desk(features=counted("7d"))
    d.take(login(at(0)), login(at(2)))
    d = under(d, counted("90d"), QUIET)
    assert [a["rule_id"] for a in d.take(trade(at(3)))] == ["quiet"]


def test_an_explanation_says_how_much_is_known():
    d = desk(features=counted("7d"))
    d.take(*(login(at(day)) for day in range(0, 30, 3)))
    d = under(d, counted("90d"), QUIET)
    quiet = d.plan.rule_set.rules[0]
    found = Explainer(d.plan).explain(quiet, on("trades"), d.client, None, None)
    assert found.short == ("logins_n: 7 of 90 days known",)
    assert "  past of logins_n: 7 of 90 days known" in list(in_full(found))
    assert as_json(found)["past"] == ["logins_n: 7 of 90 days known"]


# -- rules that come and go --------------------------------------------------------------------------------------------


def test_what_a_rule_did_is_kept_while_it_is_away_and_for_a_raised_cooldown():
    d = desk(rule("offer", on="logins", audience="team", cooldown="7d"))
    assert len(d.take(login(at(0)))) == 1
    d = under(d, COUNTS)
    d.take(login(at(11)))
    d = under(d, COUNTS, rule("offer", on="logins", audience="team", cooldown="30d"))
    assert d.take(login(at(12))) == []
    assert len(d.take(login(at(31)))) == 1


def test_memory_of_a_year_is_enough():
    d = desk(rule("offer", on="logins", audience="team", cooldown="365d"))
    d.take(login(at(0)))
    d = under(d, COUNTS)
    d.take(login(at(364)))
    d = under(d, COUNTS, rule("offer", on="logins", audience="team", cooldown="365d"))
    assert d.take(login(at(364.5))) == []
    assert d.client.acted == {"offer": at(0)}
    d.take(trade(at(0) + 367 * DAY_MS))
    assert d.client.acted == {}


@pytest.mark.parametrize("was", ["offer", "[older, offer]"])
def test_a_rule_that_says_what_it_was_goes_on_with_its_memory(was):
    def waits(id_: str, **more: str) -> str:
        return rule(id_, silence="{of: logins, for: 3d}", audience="team", **more)

    d = desk(rule("offer", on="trades", audience="team", cooldown="30d"), waits("quiet"))
    d.take(login(at(0)), trade(at(1)))
    assert [a["rule_id"] for a in d.tick(at(4))] == ["quiet"]
    present = {"on": "trades", "audience": "team", "cooldown": "30d"}
    named = under(d, COUNTS, rule("present", **present, was=was), waits("still", was="quiet"))
    assert named.take(trade(at(5))) == named.sweep(at(5.1)) == []
    assert ("present", "cooldown") in named.outcomes
    other = under(d, COUNTS, rule("present", **present))
    assert [a["rule_id"] for a in other.take(trade(at(5)))] == ["present"]
