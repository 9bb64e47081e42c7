"""The work of lint and of tests grows with the number of rules: counted by operations, never by the clock."""

from __future__ import annotations

from collections import Counter

import pytest

from engine.core.decide import path
from engine.rulefile.lint.lint import lint
from engine.rulefile.proof import narrowing, wider
from engine.rulefile.trial import alone
from engine.rulefile.trial.run import run_tests
from tests.rulefile.sample import FILES, good

RULE = """\
  - id: rule-{i}
    title: Rule {i}
    owner: trading
    {on}
    kind: {kind}
    audience: {audience}
    priority: {priority}
    cooldown: 1d
    expires: 2d
    template: {template}
    description: One of many.
    serves: offers
"""
TEAM = {"kind": "task", "audience": "team", "priority": 50, "template": "note"}
CLIENT = {"kind": "message", "audience": "client\n    channels: [sms, email]", "priority": 50, "template": "note"}


def thresholds(i):
    return {**TEAM, "on": f"on: trades\n    when: trade.amount_cny >= {1000 + i}"}


def symbols(i):
    return {**TEAM, "on": f'on: trades\n    when: trade.symbol == "{600000 + i}" and trade.amount_cny > {i}'}


def tiers(i):
    return {**TEAM, "on": f'on: trades\n    when: client.tier == "A" and trade.symbol == "{600000 + i}"'}


def bands(i):
    return {
        **TEAM,
        "on": f"on: trades\n    when: trade.amount_cny >= {i * 1000} and trade.amount_cny < {i * 1000 + 1000}",
    }


def crossed(i):
    return {**TEAM, "on": f"on: trades\n    when: trade.amount_cny >= {i} and client.cash_cny <= {i}"}


def calculated(i):
    return {**TEAM, "on": f"on: balances\n    when: client.cash_cny / client.assets_cny > {1 - i / 1000}"}


def either(i):
    return {**TEAM, "on": f'on: trades\n    when: trade.symbol == "{600000 + i}" or trade.amount_cny > {i}'}


def becoming(i):
    return {**TEAM, "on": f"becomes: client.cash_cny >= {1000 + i}"}


def calendar(i):
    return {**TEAM, "on": f'at: {{every: day, time: "{i % 24:02}:{i % 60:02}"}}\n    when: client.cash_cny >= {i}'}


def to_clients(i):
    return {**CLIENT, "on": f"on: trades\n    when: trade.amount_cny >= {1000 + i}", "template": f"note_{i}"}


def to_clients_apart(i):
    return {**CLIENT, "on": f'on: trades\n    when: trade.symbol == "{600000 + i}"', "template": f"note_{i}"}


def owners(i):
    return {**TEAM, "on": f"on: logins\n    when: trades_30d > {i}"}


SHAPES = [
    thresholds, symbols, tiers, bands, crossed, calculated, either, becoming, calendar, to_clients, to_clients_apart,
    owners,
]  # fmt: skip
FEW, MANY = 150, 600


def rules(shape, count, more=""):
    text = "".join(RULE.format(i=i, **shape(i)) + more.format(i=i) for i in range(count))
    return "rules:\n" + text


def of(shape, count, more=""):
    return good({**FILES, "many.yaml": rules(shape, count, more)})


def counting(monkeypatch, *functions):
    counts = Counter()
    for owner, name in functions:
        real = getattr(owner, name)

        def counted(*args, real=real, name=name):
            counts[name] += 1
            return real(*args)

        monkeypatch.setattr(owner, name, counted)
    return counts


@pytest.mark.parametrize("shape", SHAPES)
def test_lint_grows_with_the_rules(shape, monkeypatch):
    counts = counting(monkeypatch, (narrowing._Narrowing, "assume"), (wider.Outline, "within"))
    found = []
    for count in (FEW, MANY):
        rule_set = of(shape, count)
        counts.clear()
        lint(rule_set)
        found.append(counts.total())
    assert found[1] < 1.5 * MANY / FEW * found[0]


def contained(i, shape):
    """A rule in the middle, and one that says the same, or less."""
    return shape(i)


@pytest.mark.parametrize("shape", [thresholds, symbols, tiers, bands, crossed, calculated, either])
def test_what_repeats_another_is_found_among_many(shape):
    """Two are made the same: the later of them is named, at the least."""

    def twice(i):
        return shape(77 if i == 299 else i)

    found = {f.subject for f in lint(of(twice, 300)) if f.code == "L201"}
    assert found & {'rule "rule-299"', 'rule "rule-77"'}
    narrower = {thresholds: 298, tiers: None}.get(shape)
    if narrower is not None:
        assert 'rule "rule-298"' in found


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ("trade.amount_cny >= 5", "trade.amount_cny >= 900_000"),
        ('trade.symbol in ("600001", "600002")', 'trade.symbol == "600002" and trade.amount_cny > 7'),
        ("trade.amount_cny > 10 and trade.amount_cny < 900_000", "trade.amount_cny > 200 and trade.amount_cny < 300"),
        ('client.tier == "A"', 'client.tier == "A" and trade.symbol == "600777"'),
        ("client.cash_cny > 3 * trade.amount_cny", "client.cash_cny > 3 * trade.amount_cny and client.tier == \"B\""),
        ("True", "trade.amount_cny >= 12_345"),
    ],
)  # fmt: skip
def test_a_narrower_rule_is_found_among_many(wide, narrow):
    def shape(i):
        when = {140: wide, 150: narrow}.get(i, f'trade.symbol == "{600000 + i}" and client.tier == "C"')
        return {**TEAM, "on": f"on: trades\n    when: '{when}'"}

    assert 'rule "rule-150"' in {f.subject for f in lint(of(shape, 300)) if f.code == "L201"}


TESTED = """\
    tests:
      - name: one
        {{}}
"""


@pytest.mark.parametrize(
    ("shape", "event"),
    [
        (thresholds, "event: {{trades: {{amount_cny: 9_000_000}}}}"),
        (symbols, "event: {{trades: {{amount_cny: 9_000_000, symbol: \"600001\"}}}}"),
        (becoming, "event: {{balances: {{cash_cny: 9_000_000, assets_cny: 10_000_000}}}}"),
        (calendar, "event: {{balances: {{cash_cny: 9_000_000, assets_cny: 10_000_000}}}}\n        wait: 1d"),
        (calculated, "event: {{balances: {{cash_cny: 9_000_000, assets_cny: 10_000_000}}}}"),
    ],
)  # fmt: skip
def test_tests_of_rules_grow_with_the_rules(shape, event, monkeypatch):
    more = f"    tests:\n      - name: one\n        {event}\n        expect: fires\n"
    counts = counting(monkeypatch, (path, "judge"), (path, "decide"), (alone.Companies, "_with"))
    found = []
    for count in (20, 80):
        rule_set = of(shape, count, more)
        counts.clear()
        run_tests(rule_set)
        found.append(counts.total())
    assert found[1] < 1.2 * 80 / 20 * found[0]
