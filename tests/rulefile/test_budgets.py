"""Budgets in rule files: what they may say, what is wrong with them, what lint finds, what a change of them does."""

from __future__ import annotations

import pytest

from engine.core.rules.policy import Budget, Fen, Selection
from engine.rulefile.lint.lint import lint
from engine.rulefile.tools.diff import differences
from engine.rulefile.trial.run import run_tests
from tests.core.making import rule
from tests.rulefile.sample import good
from tests.rulefile.test_policy_files import LOGIN, files, said, stories
from tests.services.process import REPOSITORY

SMS = "budgets: {sms: {limit: 20_000 CNY, per: month, of: {channel: sms}, cost: 0.05 CNY}}\n"
TEXT = rule("r", channels="[sms]")


def test_budgets_are_read():
    policy = """\
budgets:
  sms: {limit: 20_000 CNY, per: month, of: {channel: sms}, cost: 0.05 CNY}
  autumn: {limit: 1.5 CNY, of: {campaign: [autumn, winter], team: wealth}, cost: {sms: 0.1 CNY, email: 0 CNY}}
  offers: {limit: 5_000, per: week}
"""
    rules = (
        rule("r", channels="[sms]", campaign="autumn", cost="12 CNY"),
        rule("s", channels="[email]", campaign="winter"),
    )
    found = good(files(policy, *rules))
    assert found.policy.budgets == (
        Budget("sms", Fen(2_000_000), "month", Selection(channels=("sms",)), (), 5),
        Budget(
            "autumn",
            Fen(150),
            None,
            Selection(teams=("wealth",)),
            ("autumn", "winter"),
            None,
            (("sms", 10), ("email", 0)),
        ),
        Budget("offers", 5_000, "week"),
    )
    first, second = found.rules
    assert first.cost == 1_200
    assert [one.name for one in found.budgets_on(first)] == ["sms", "autumn", "offers"]
    assert [one.cost_of(first.cost, "sms") for one in found.policy.budgets] == [1_200, 1_200, 1]
    assert [one.cost_of(second.cost, "email") for one in found.policy.budgets] == [5, 0, 1]


@pytest.mark.parametrize(
    ("budgets", "problem"),
    [
        ("{b: {per: day}}", "missing key limit; add it"),
        (
            "{b: {limit: 20 EUR, cost: 1 CNY}}",
            'not an amount: "20 EUR"; write whole fen, such as 0.05 CNY, or a number',
        ),
        ("{b: {limit: 2 CNY, cost: 0.005 CNY}}", 'not an amount: "0.005 CNY"; write whole fen, such as 0.05 CNY'),
        ("{b: {limit: 2 CNY, cost: 5}}", 'not an amount: "5"; write whole fen'),
        ("{b: {limit: -2 CNY, cost: 1 CNY}}", 'not an amount: "-2 CNY"'),
        ("{b: {limit: 9_000_000_000_000_000 CNY, cost: 1 CNY}}", "is out of range; write less"),
        ("{b: {limit: 20, cost: 1 CNY}}", "cost, and the limit is a number of actions; leave it out: each counts as 1"),
        ("{b: {limit: 20 CNY, per: hour, cost: 1 CNY}}", 'unknown value "hour"'),
        ("{b: {limit: 20 CNY, cost: {fax: 1 CNY}}}", 'unknown value "fax"'),
        ("{b: {limit: 20, of: {campaign: atumn}}}", 'no rule has campaign "atumn"; did you mean "autumn"?'),
        ("{b: {limit: 20, of: {team: nobody}}}", 'no rule has team "nobody"'),
        ("{b: {limit: 20, of: {campaing: autumn}}}", 'unknown key "campaing"'),
        (
            "{b: {limit: 20 CNY}}",
            'nobody says what rule "r" costs by app_push; add cost, as one amount or by channel, or',
        ),
        ("{b: {limit: 20 CNY, cost: {sms: 1 CNY}}}", 'nobody says what rule "r" costs by app_push'),
        ("{" + "a" * 51 + ": {limit: 20}}", "a name of 51 characters; stay within 50"),
    ],
)
def test_a_budget_that_is_none_is_refused_where_it_stands(budgets: str, problem: str) -> None:
    found = said(files(f"budgets: {budgets}\n", rule("r", channels="[app_push]", campaign="autumn")))
    assert [one for one in found if problem in one and one.startswith("policy.yaml:2:")], found


def test_what_staff_do_costs_no_budget():
    (found,) = said(files("", rule("r", audience="team", cost="1 CNY")))
    assert "cost for audience team; remove it: budgets pay for what goes to clients" in found


def test_where_it_is_said_again_somebody_says_what_that_costs():
    policy = "budgets: {b: {limit: 20 CNY, of: {channel: phone}, cost: {sms: 1 CNY}}}\n"
    (found,) = said(files(policy, rule("r", channels="[sms]", then="{after: 2d, channel: phone}", expires="9d")))
    assert 'nobody says what rule "r" costs by phone' in found


def test_lint_finds_what_no_rule_is_under_and_what_is_never_sent():
    policy = """\
budgets:
  sms: {limit: 1 CNY, cost: {sms: 2 CNY, email: 0.50 CNY}, of: {channel: [sms, email]}}
  calls: {limit: 5, of: {channel: phone}}
"""
    rules = rule("r", channels="[sms, email]"), rule("gift", channels="[email]", cost="3 CNY")
    rules += (rule("again", channels="[email]", then="{after: 2d, channel: sms}", expires="9d"),)
    found = [str(one) for one in lint(good(files(policy, *rules))) if one.code in ("L512", "L513")]
    never = "it is never sent there; raise the limit, or make it cheaper"
    assert [one.partition(": ")[2] for one in found] == [
        "L512 warning: budget calls: concerns no rule for the client: those that it names are exempt, or work for "
        "staff; name others in of, or remove it",
        f'L513 error: rule "r": costs more by sms than the whole budget sms: {never}',
        f'L513 error: rule "gift": costs more by email than the whole budget sms: {never}',
        f'L513 error: rule "again": costs more by sms than the whole budget sms: {never}',
    ]


def test_a_diff_says_amounts_as_they_are_written():
    before = good(files(SMS, TEXT))
    after = good(
        files(
            SMS.replace("20_000", "30_000").replace("0.05", "0.06"),
            rule("r", channels="[sms]", cost="1 CNY", version=2),
        )
    )
    assert [str(one) for one in differences(before, after)] == [
        "policy:\n  budgets sms limit: 20,000 CNY becomes 30,000 CNY\n  budgets sms cost: 0.05 CNY becomes 0.06 CNY",
        'rule "r" (T):\n  version: 1 becomes 2\n  cost: none becomes 1 CNY',
    ]


def test_tests_say_what_is_left_of_a_budget():
    tests = stories(
        "{name: enough, given: {budgets: {sms: 0.05 CNY}}, EVENT, expect: fires}",
        "{name: not enough, given: {budgets: {sms: 0.04 CNY}}, EVENT, expect: {not: no_budget}}",
        "{name: all of it, given: {budgets: {offers: 0}}, EVENT, expect: {not: no_budget}}",
        "{name: not asked, EVENT, expect: fires}",
        "{name: wrong, given: {budgets: {sms: 0.04 CNY}}, EVENT, expect: fires}",
        "{name: unknown, given: {budgets: {smss: 1}}, EVENT, expect: fires}",
    ).replace("EVENT", LOGIN)
    policy = SMS.replace("}}\n", "}, offers: {limit: 3}}\n")
    found = good(files(policy, rule("r", channels="[sms]", tests=tests)))
    results = run_tests(found).results
    assert [(one.test.name, one.failure) for one in results if one.failure] == [
        ("wrong", "it was stopped: no_budget"),
        ("unknown", "policy.yaml has no budget smss"),
    ]
    assert len(results) == 6


def test_what_the_manual_shows_is_so():
    page = (REPOSITORY / "docs" / "policy.md").read_text(encoding="utf-8")
    section = page.partition("\n## Budgets\n")[2].partition("\n## ")[0]
    declared, tests = (block.partition("```")[0] for block in section.split("```yaml\n")[1:])
    gift = rule("gift", channels="[sms]", campaign="autumn", tags="[offer]", cost="12 CNY")
    found = good(
        files(declared, gift, rule("r", channels="[sms]", tests="\n" + tests.partition("tests:\n")[2].rstrip()))
    )
    assert [one.name for one in found.budgets_on(found.rules[0])] == ["sms", "contact_wealth", "autumn", "offers"]
    (result,) = run_tests(found).results
    assert result.failure == ""
