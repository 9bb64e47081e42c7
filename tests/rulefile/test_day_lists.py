"""Lists of days that end: found before, and never an answer after."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from engine.core.contract.outbound import Outcome
from engine.core.decide.path import Due, decide
from engine.core.plan.compile import compile_rule_set
from engine.core.rules.day_lists import days_left, ends_in_words
from engine.rulefile.lint.lint import lint
from engine.rulefile.read.load import load
from engine.rulefile.stories.story import firm_time_ms
from engine.rulefile.tools.diff import differences
from engine.runtime.observe.metrics import Metrics
from engine.runtime.rule_sets.following import RuleSets
from engine.runtime.settings import load as load_settings
from engine.runtime.worker.health import Health
from engine.runtime.worker.waiting import Waiting
from tests.core.making import TIERS, login, profile, rule
from tests.rulefile.sample import good

LISTS = """\
lists:
  holidays:
    values: ["2026-10-01", "2026-12-30"]
    {last}
    description: exchange holidays
define:
  is_holiday: {{is: date_of(now) in holidays, description: a holiday}}
"""
FEATURES = """\
features:
  trades_7d: {source: trades, aggregate: count, window: 7d}
  assets_avg_cny_30d: {source: balances, aggregate: daily_mean, field: assets_cny, window: 30d}
"""


def files(when, last="last_day: 2026-12-31", **occasion):
    occasion = occasion or {"at": '{every: day, time: "09:00"}'}
    asked = rule("r", when=f"'{when}'", audience="team", kind="task", cooldown="1m", **occasion)
    return {
        "features.yaml": FEATURES,
        "tiers.yaml": TIERS,
        "policy.yaml": "contact:\n  daily_cap: 2\n",
        "definitions.yaml": LISTS.format(last=last),
        "rules.yaml": "rules:\n" + asked,
    }


def outcome(given, day):
    """What becomes of the rule at nine of a day, of a client who came the evening before."""
    plan = compile_rule_set(good(given))
    nine = firm_time_ms(f"{day} 09:00")
    states = {}
    decide(plan, states, [profile(nine - 10 * 3_600_000)])
    decided = decide(plan, states, [Due("c1", nine)])
    return {Outcome(o) for (_, o), _ in decided.outcomes.items()}


SENT, UNKNOWN = {Outcome.SENT}, {Outcome.DAY_UNKNOWN}


@pytest.mark.parametrize(
    ("when", "working", "holiday", "after"),
    [
        ("date_of(now) not in holidays", SENT, set(), UNKNOWN),
        ("date_of(now) in holidays", set(), SENT, UNKNOWN),
        ("not (date_of(now) in holidays)", SENT, set(), UNKNOWN),
        ("not (date_of(now) not in holidays)", set(), SENT, UNKNOWN),
        ("not is_holiday", SENT, set(), UNKNOWN),
        ("is_holiday", set(), SENT, UNKNOWN),
        ("date_of(now + days(1)) not in holidays and client.days_known < 5", set(), SENT, UNKNOWN),
        ("is_holiday and client.days_known > 5", set(), set(), set()),
        ("not (is_holiday or client.days_known > 5)", SENT, set(), UNKNOWN),
        ("date_of(client.known_since) not in holidays", SENT, SENT, UNKNOWN),
    ],
)  # fmt: skip
@pytest.mark.parametrize("last", ["last_day: 2026-12-31", ""])
def test_past_its_end_a_list_of_days_has_no_answer(when, working, holiday, after, last):
    """A day beyond was "no holiday", in silence."""
    given = files(when, last)
    assert outcome(given, "2026-12-29") == working
    assert outcome(given, "2026-12-30") == holiday
    assert outcome(given, "2027-01-05") == after


def test_it_counts_for_rules_on_events_too():
    plan = compile_rule_set(good(files("date_of(now) not in holidays", on="logins")))
    for day, expected in (("2026-12-29", Outcome.SENT), ("2027-03-01", Outcome.DAY_UNKNOWN)):
        decided = decide(plan, {}, [login(firm_time_ms(f"{day} 09:00"))])
        assert ("r", expected) in decided.outcomes


@pytest.mark.parametrize(
    ("last", "values", "problem"),
    [
        ("last_day: 2026-13-01", '"2026-10-01"', 'not a day: "2026-13-01"'),
        ("last_day: soon", '"2026-10-01"', 'not a day: "soon"'),
        ("last_day: 2026-12-31", '"2026-10-01", "1 Oct"', 'has "1 Oct", which is no day'),
        ("last_day: 2026-12-31", '"2026-10-01", "2026-02-30"', 'has "2026-02-30", which is no day'),
        ("last_day: 2026-11-30", '"2026-12-30"', "the list has 2026-12-30, after its last_day"),
    ],
)
def test_a_last_day_must_fit_its_list(last, values, problem):
    given = files("date_of(now) in holidays", last)
    given["definitions.yaml"] = given["definitions.yaml"].replace('"2026-10-01", "2026-12-30"', values)
    found = load(given)
    assert isinstance(found, tuple)
    assert problem in " ".join(map(str, found))


@pytest.mark.parametrize(
    ("today", "codes"),
    [
        ("2026-01-01", []), ("2026-09-30", []), ("2026-10-02", ["L307"]), ("2026-12-31", ["L307"]),
        ("2027-01-01", ["L307"]), ("2030-01-01", ["L307"]),
    ],
)  # fmt: skip
def test_lint_says_so_in_good_time(today, codes):
    rule_set = good(files("date_of(now) not in holidays and not is_holiday"))
    found = [f for f in lint(rule_set, None, firm_time_ms(today)) if f.code in ("L307", "L308")]
    assert [f.code for f in found] == codes
    assert [f.code for f in lint(rule_set) if f.code == "L307"] == []


@pytest.mark.parametrize(
    ("today", "left", "warning"),
    [
        ("2026-06-01", 213, ""),
        ("2026-11-01", 60, "the list holidays ends on 2026-12-31, in 60 days: add the next days, and publish"),
        ("2026-12-30", 1, "the list holidays ends on 2026-12-31, in 1 day: add the next days, and publish"),
        ("2026-12-31", 0, "the list holidays ends on 2026-12-31, in 0 days: add the next days, and publish"),
        ("2027-01-01", -1, "the list holidays ended on 2026-12-31, 1 day ago: what it says of later days is not known: "
         "add the next days, and publish"),
    ],
)  # fmt: skip
def test_health_and_metrics_say_so_in_good_time(today, left, warning):
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    clients = SimpleNamespace(wall_ms=lambda: firm_time_ms(today))
    rule_sets = RuleSets(load_settings(), clients, metrics)
    assert (rule_sets.days_left(), rule_sets.warnings()) == ({}, [])
    rule_sets._plan = compile_rule_set(good(files("date_of(now) not in holidays")))
    assert rule_sets.warnings() == [warning] * bool(warning)
    metrics.lists_end(rule_sets.days_left())
    assert registry.get_sample_value("engage_list_days_left", {"list": "holidays"}) == left
    partitions = SimpleNamespace(joined=True, runners=list)
    report = Health(Waiting(metrics), partitions, rule_sets).report()
    assert (report["state"], report["warnings"]) == ("amber" if warning else "green", [warning] * bool(warning))
    metrics.lists_end({})
    assert registry.get_sample_value("engage_list_days_left", {"list": "holidays"}) is None


def test_diff_says_how_far_a_list_reaches():
    one, other = (good(files("date_of(now) in holidays", f"last_day: {day}")) for day in ("2026-12-31", "2027-12-31"))
    (found,) = differences(one, other)
    assert str(found) == 'last day "holidays":\n  2026-12-31 becomes 2027-12-31'


def test_what_is_inferred_is_said():
    rule_set = good(files("date_of(now) not in holidays", ""))
    assert rule_set.last_days == {"holidays": "2026-12-31"}
    assert [f.code for f in lint(rule_set) if f.code == "L308"] == ["L308"]
    plain = files('"x" != "y"', "")
    plain["definitions.yaml"] = plain["definitions.yaml"].partition("define:")[0]
    assert good(plain).last_days == {}


def test_the_days_left_in_words():
    now_ms = firm_time_ms("2026-12-01 23:59")
    assert days_left({"a": "2026-12-31", "b": "2026-12-02", "c": "2026-11-30", "d": "2026-12-01"}, now_ms) == {
        "a": 30, "b": 1, "c": -1, "d": 0}  # fmt: skip
    assert ends_in_words("2026-12-02", 1) == "ends on 2026-12-02, in 1 day"
    assert ends_in_words("2026-11-30", -1).startswith("ended on 2026-11-30, 1 day ago")
