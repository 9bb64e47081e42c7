"""A further function of the rule language is one entry of a table, and everything knows it."""

from fractions import Fraction

import pytest

from engine.core.language import functions
from engine.core.language.functions import FUNCTIONS, Function
from engine.core.language.types import BOOL
from engine.core.rules.occasion import on
from engine.insight.explain import Explainer
from engine.publish import reference
from engine.rulefile.lint.lint import lint
from engine.rulefile.read.load import load
from tests.core.making import FEATURES, TIERS, Desk, at, plan_of, rule, trade

DOUBLE = Function(
    name="double",
    example="double(x)",
    gives="twice as much",
    check=functions._of_numbers("time"),
    code=lambda x: 2 * x,
    bounds=lambda hulls: (2 * hulls[0][0], 2 * hulls[0][1]),
    lines=((Fraction(2), Fraction(0)),),
)
SPREAD = Function(  # as little as can be said of one
    name="spread",
    example="spread(x, y)",
    gives="how far they are from each other",
    check=functions._of_numbers(),
    least=2,
    most=2,
    code=lambda x, y: abs(x - y),
)
SHOUTED = Function(
    name="shouted",
    example="shouted(x)",
    gives="whether it is written in capital letters",
    check=lambda function, checks, node: functions.Checked(node, function.call(checks.check(node.args[0]).tree), BOOL),
    code=str.isupper,
    type=BOOL,
)


@pytest.fixture(autouse=True)
def table(monkeypatch):
    for function in (DOUBLE, SPREAD, SHOUTED):
        monkeypatch.setitem(FUNCTIONS, function.name, function)
    plan_of.cache_clear()  # the language is another
    yield
    plan_of.cache_clear()


def on_trades(when, **fields):
    return rule(
        "r",
        on="trades",
        when=f"'{when}'",
        kind="task",
        audience="team",
        parameters="{n: double(trade.quantity)}",
        **fields,
    )


def findings(when):
    rule_set = load(
        {
            "features.yaml": f"features:\n{FEATURES}",
            "tiers.yaml": TIERS,
            "policy.yaml": "contact:\n  daily_cap: 2\n",
            "rules.yaml": "rules:\n" + on_trades(when),
        }
    )
    assert isinstance(rule_set, tuple) is False, rule_set
    return [finding.message for finding in lint(rule_set) if finding.code.startswith("L1")]


def fires(when, **fields):
    return bool(Desk(plan_of(on_trades(when))).take(trade(at(0), **fields)))


def test_its_value_is_calculated():
    assert [action["parameters"] for action in Desk(plan_of(on_trades("True"))).take(trade(at(0), quantity=21))] == [
        {"n": 42}
    ]
    assert fires("double(trade.amount_cny) >= 10", amount_fen=500)
    assert not fires("double(trade.amount_cny) >= 10", amount_fen=499)
    assert fires("spread(trade.quantity, 100) > 90", quantity=5)
    assert fires("double(3) == 6")
    assert fires("shouted(trade.symbol)", symbol="GOLD")
    assert not fires("shouted(trade.symbol)", symbol="Gold")


def test_of_a_missing_value_it_is_missing():
    assert not fires("double(client.assets_cny) >= 0")
    assert fires("not double(client.assets_cny) >= 0")
    assert not fires("shouted(client.region)")


@pytest.mark.parametrize(
    ("when", "message", "remedy"),
    [
        ("double(trade.symbol) > 1", "cannot calculate with a text", "write a number"),
        ("double(now) > now", "double takes a number, found a time", ""),
        ("double(1, 2) > 1", "double takes one value", "write double(x)"),
        ("double > 1", 'unknown name "double"', "double is a function: double(x)"),
        ("doubel(1) > 1", 'unknown function "doubel"', 'did you mean "double"?'),
        ("spread(trade.quantity, trade.amount_cny) > 1", "cannot take the spread of", ""),
    ],
)
def test_what_is_wrong_with_a_call_is_said(when, message, remedy):
    problems = load(
        {
            "features.yaml": "features: {}\n",
            "tiers.yaml": TIERS.replace("assets_avg_cny_30d", "client.assets_cny"),
            "policy.yaml": "contact:\n  daily_cap: 2\n",
            "rules.yaml": "rules:\n" + on_trades(when),
        }
    )
    assert any(message in problem.message and remedy in problem.remedy for problem in problems), problems


def test_lint_proves_by_its_bounds():
    assert findings("double(trade.quantity) <= 0") == ["can never hold: its parts exclude one another"]
    assert findings("double(trade.amount_cny) >= 0") == ["always holds"]


def test_lint_proves_nothing_without_bounds():
    for when in ("spread(trade.quantity, 100) < 0", "spread(trade.quantity, 100) >= 0", "shouted(trade.symbol)"):
        assert findings(when) == []


def flips_of(when, **fields):
    plan = plan_of(on_trades(when))
    desk = Desk(plan)
    item = trade(at(0), **fields)
    desk.take(item)
    found = Explainer(plan).explain(plan.rule_set.rules[0], on("trades"), desk.client, item[1], None)
    return [str(flip) for flip in found.flips], found.all_tried


def test_what_would_flip_it_is_found_by_its_lines():
    assert flips_of("double(trade.quantity) >= 101", quantity=10) == (
        ["trade.quantity at least 50.5 shares (now 10 shares)"],
        True,
    )


def test_without_lines_not_all_is_tried():
    assert flips_of("spread(trade.quantity, 100) < 5", quantity=10) == ([], False)


def test_it_is_in_the_reference():
    text = reference.render()
    assert "| `double(x)` | twice as much |" in text
    assert "| `spread(x, y)` | how far they are from each other |" in text


def test_its_name_is_taken():
    problems = load({"features.yaml": "features:\n  double: {source: trades, aggregate: count, window: 7d}\n"})
    assert '"double" is a word of the rule language' in [problem.message for problem in problems]
