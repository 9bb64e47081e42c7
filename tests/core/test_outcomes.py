"""What can become of a rule, by the policy and its own fields: what metrics show from 0, and nothing else."""

from __future__ import annotations

import itertools

import pytest

from engine.core.contract.outbound import Outcome
from engine.core.policy.gates import GATES
from tests.core.making import FEATURES, plan_of, rule

ALWAYS = {"snoozed", "cooldown", "sent"}
TO_CLIENT = {"do_not_contact", "no_consent"}
WAITS = {"held", "no_longer_true", "expired", "retracted", "quiet_hours"}  # the last where no more can wait
NIGHT = "quiet_hours: {night: {hours: '21:30-08:30'}}\n"
HOLIDAYS = "quiet_hours: {closed: {days: holidays}}"
CAPS = "caps: {calls: {at_most: 1, per: day, of: {channel: phone}}}"
CALENDAR = """\
calendar:
  title: T
  first_day: 2026-01-01
  last_day: 2026-12-31
  holidays: [2026-10-01]
"""
FREE = "caps: {others: {at_most: 1, per: day, of: {channel: wechat}}}\n"  # a policy that stops none of these
COUNT = FEATURES + "  n: {source: logins, aggregate: count, window: 7d}\n"


def outcomes(text: str, policy: str = FREE, **others: str) -> set[str]:
    definitions, calendar = others.get("definitions", ""), others.get("calendar", "")
    files = (("policy.yaml", policy + "\n"),)
    plan = plan_of(text, features=COUNT, definitions=definitions, calendar=calendar, others=files)
    (only,) = plan.rule_set.rules
    found = plan.rule_set.outcomes_of(only)
    assert list(found) == [outcome for outcome in Outcome if outcome in found]
    return {outcome.value for outcome in found}


LAW = rule("r", **{"class": "regulatory"})


def classed(text: str, name: str = "service") -> str:
    return f"classes: {{{name}: {text}}}"


@pytest.mark.parametrize(
    ("text", "policy", "expected"),
    [
        (rule("r", audience="team"), "", ALWAYS),
        (rule("r"), "", ALWAYS | TO_CLIENT),
        (rule("r", audience="team", when="n < 3"), "", ALWAYS | {"past_unknown"}),
        # what falls due by itself can be late, and waits then for what has come since
        (rule("r", audience="team", silence="{of: logins, for: 30d}"), "", ALWAYS | {"expired"}),
        (rule("r", silence="{of: logins, for: 30d}"), "", ALWAYS | TO_CLIENT | WAITS),
        (
            rule("r", silence="{of: logins, for: 30d}", still="false"),
            "",
            ALWAYS | TO_CLIENT | WAITS - {"no_longer_true"},
        ),
        (rule("r"), "contact: {daily_cap: 2}", ALWAYS | TO_CLIENT | {"daily_cap"}),
        (rule("r", priority=60), "contact: {daily_cap: 2, urgent_from: 60}", ALWAYS | TO_CLIENT),
        (rule("r", audience="team"), "contact: {daily_cap: 2}\n" + NIGHT, ALWAYS),
        (rule("r"), CAPS, ALWAYS | TO_CLIENT),
        (rule("r", channels="[sms, phone]"), CAPS, ALWAYS | TO_CLIENT | {"cap"}),
        (rule("r"), FREE + NIGHT, ALWAYS | TO_CLIENT | {"quiet_hours"}),
        (rule("r"), FREE + NIGHT + classed("{when_quiet: hold}"), ALWAYS | TO_CLIENT | WAITS),
        (rule("r"), FREE + NIGHT + classed("{exempt: [quiet_hours]}"), ALWAYS | TO_CLIENT),
        (rule("r"), "contact: {daily_cap: 2}\n" + classed("{exempt: [caps]}"), ALWAYS | TO_CLIENT),
        (rule("r"), FREE + "holdout: {share: 0.05, salt: a}", ALWAYS | TO_CLIENT | {"holdout"}),
        (rule("r"), FREE + "holdout: {share: 0.05, salt: a}\n" + classed("{holdout: false}"), ALWAYS | TO_CLIENT),
        (rule("r", audience="team"), FREE + "holdout: {share: 0.05, salt: a}", ALWAYS),
        (rule("r", audience="team", holdout="{share: 0.05, salt: a}"), "", ALWAYS | {"holdout"}),
        (rule("r"), FREE + classed("{collect: 10m}"), ALWAYS | TO_CLIENT | WAITS),
        (
            rule("r"),
            FREE + "rates: {all: {at_most: 9, per: hour}}",
            ALWAYS | TO_CLIENT | (WAITS - {"quiet_hours"}) | {"rate"},
        ),
        (
            rule("r"),
            FREE + "budgets: {all: {limit: 9}}",
            ALWAYS | TO_CLIENT | (WAITS - {"quiet_hours"}) | {"no_budget"},
        ),
        (rule("r", audience="team"), FREE + "budgets: {all: {limit: 9}}", ALWAYS),
        (rule("r", audience="team"), FREE + "rates: {all: {at_most: 9, per: hour}}", ALWAYS),
        (
            LAW,
            FREE + classed("{exempt: [consent], channels: [sms, app_push]}", "regulatory"),
            ALWAYS | {"do_not_contact"},
        ),
        (LAW, FREE + classed("{exempt: [consent], channels: [sms]}", "regulatory"), ALWAYS | TO_CLIENT),
        (LAW, FREE + classed("{exempt: [do_not_contact, snooze]}", "regulatory"), {"cooldown", "no_consent", "sent"}),
    ],
)
def test_of_a_rule_what_its_fields_and_the_policy_make_possible(text: str, policy: str, expected: set[str]) -> None:
    assert outcomes(text, policy or FREE) == expected


OFTEN = "define:\n  often: {is: n >= 3, description: D.}\n"
OPEN = "define:\n  open_now: {is: is_trading_day(now), description: D.}\n"
BY_N = """\
tables:
  by_n:
    hit: first
    rows: [{n: ">= 3", then: 1}]
    otherwise: 0
    description: D.
"""


@pytest.mark.parametrize(
    ("condition", "definitions", "expected"),
    [
        ("often", OFTEN, {"past_unknown"}),
        ("always", OFTEN + "  always: {is: often or client.days_known > 3, description: D.}\n", {"past_unknown"}),
        ("by_n == 1", BY_N, {"past_unknown"}),
        ("is_trading_day(now)", "", {"day_unknown"}),
        ("open_now", OPEN, {"day_unknown"}),
        ('client.language != "is_trading_day"', "", set()),
        ("date_of(now) in closed", 'lists: {closed: {values: ["2026-05-01"], description: D.}}\n', {"day_unknown"}),
        ("client.tier in vips", "lists: {vips: {values: [A], description: D.}}\n", set()),
    ],
)
def test_what_a_condition_asks(condition: str, definitions: str, expected: set[str]) -> None:
    text = rule("r", audience="team", when=f"'{condition}'")
    assert outcomes(text, definitions=definitions, calendar=CALENDAR) == ALWAYS | expected


def test_quiet_holidays_ask_the_calendar() -> None:
    assert outcomes(rule("r"), FREE + HOLIDAYS, calendar=CALENDAR) == ALWAYS | TO_CLIENT | {
        "quiet_hours",
        "day_unknown",
    }


def test_parameters_and_days_of_the_calendar_ask_it() -> None:
    given = rule("r", audience="team", parameters="{open: is_trading_day(now)}")
    assert outcomes(given, calendar=CALENDAR) == ALWAYS | {"day_unknown"}
    daily = rule("r", audience="team", at="{every: trading_day, time: '09:00'}")
    assert outcomes(daily, calendar=CALENDAR) == ALWAYS | {"expired", "day_unknown"}


def test_outcomes_are_in_the_order_of_the_gates() -> None:
    gates = [outcome for outcome, _ in itertools.groupby(outcome for outcome, _ in GATES)]
    assert list(Outcome) == [
        *gates,
        Outcome.PAUSED,
        Outcome.QUIET_HOURS,
        Outcome.DAILY_CAP,
        Outcome.CAP,
        Outcome.HOLDOUT,
        Outcome.ADVISOR_BUSY,
        Outcome.NO_BUDGET,
        Outcome.RATE,
        Outcome.RETRACTED,
        Outcome.SENT,
    ]
