"""The matcher finds exactly the conditions that hold when each is tested alone.

What should hold is told by the model of random expressions; values lie around the numbers that the conditions name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.core.language.expressions import BOOL, Expression, parse
from engine.core.plan import matching
from engine.core.plan.codegen import Code
from engine.core.plan.matching import Matcher
from engine.core.rules.tables import list_globals, list_name
from tests.properties.conditions import SCOPE, Part, Values, all_values, conditions

LISTS = {"watched": ("A", "C")}
C_SCOPE = {name: replace(known, code=f"c[{name!r}]") for name, known in SCOPE.items()}
C_SCOPE |= {name: list_name(name, values) for name, values in LISTS.items()}
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
NUMBERS = ("c.days", "count_7d", "c.ratio")
BOUNDS = (0, 1, 2, 2.5, 7)


def matcher(texts: list[str]) -> Matcher:
    parsed = [parse(text, C_SCOPE, BOOL) for text in texts]
    wrong = [found for found in parsed if not isinstance(found, Expression)]
    assert not wrong, wrong
    code = Code()
    code.constants |= list_globals(LISTS)
    matching.add(code, "some", [found for found in parsed if isinstance(found, Expression)], C_SCOPE)
    found = code.run()["some"]
    assert isinstance(found, Matcher)
    return found


def same(value: Any, wanted: Any) -> bool:
    return value is not None and value == wanted


def term(name: str, form: str, low: Any, high: Any) -> Part:
    """One comparison of a number with written ones."""
    tests: dict[str, Callable[[Any], bool]] = {
        "{n} >= {a}": lambda x: x >= low,
        "{n} > {a}": lambda x: x > low,
        "{a} >= {n}": lambda x: x <= low,
        "{n} < {a}": lambda x: x < low,
        "{n} == {a}": lambda x: x == low,
        "{n} in ({a}, {b})": lambda x: x in (low, high),
        "{a} <= {n} < {b}": lambda x: low <= x < high,
        "{a} < {n} <= {b}": lambda x: low < x <= high,
    }
    text = form.format(n=name, a=low, b=high)
    return Part(text, lambda v: v[name] is not None and tests[form](v[name]))


FORMS = (
    "{n} >= {a}", "{n} > {a}", "{a} >= {n}", "{n} < {a}", "{n} == {a}", "{n} in ({a}, {b})",
    "{a} <= {n} < {b}", "{a} < {n} <= {b}",
)  # fmt: skip
numbers = st.builds(
    term, st.sampled_from(NUMBERS), st.sampled_from(FORMS), st.sampled_from(BOUNDS), st.sampled_from(BOUNDS)
)
texts = st.builds(
    lambda name, value: Part(f'{name} == "{value}"', lambda v: same(v[name], value)), st.just("c.tier"),
    st.sampled_from("ABC"),
) | st.builds(
    lambda name, value: Part(f'{name} == "{value}"', lambda v: same(v[name], value)), st.just("e.side"),
    st.sampled_from(["buy", "sell"]),
)  # fmt: skip
flags = st.builds(
    lambda name, no: Part(f"{'not ' * no}{name}", lambda v: (v[name] is True) is not no),
    st.sampled_from(["c.flag", "e.flag"]),
    st.booleans(),
)
ratios = st.builds(
    lambda bound: Part(
        f"count_7d / count_30d >= {bound}", lambda v: v["count_30d"] != 0 and v["count_7d"] / v["count_30d"] >= bound
    ),
    st.sampled_from([0.5, 1, 2]),
)
listed = st.just(Part("c.tier in watched", lambda v: v["c.tier"] in LISTS["watched"]))
terms = numbers | texts | flags | ratios | listed


def joined(word: str, parts: list[Part]) -> Part:
    whole = all if word == "and" else any
    return Part(f"({f' {word} '.join(part.text for part in parts)})", lambda v: whole([part.mean(v) for part in parts]))


written = st.recursive(
    terms,
    lambda inner: st.builds(joined, st.sampled_from(["and", "and", "or"]), st.lists(inner, min_size=2, max_size=4)),
    max_leaves=12,
)
near = st.fixed_dictionaries(
    {
        "c.days": st.none() | st.integers(0, 8),
        "count_7d": st.integers(0, 8),
        "count_30d": st.integers(0, 8),
        "c.ratio": st.none() | st.sampled_from([0.0, 0.5, 1.0, 2.0, 2.4999999999999996, 2.5, 7.000000000000001]),
        "c.tier": st.sampled_from([None, "A", "B", "C", "gone"]),
        "e.side": st.sampled_from(["buy", "sell"]),
        "c.flag": st.sampled_from([None, True, False]),
        "e.flag": st.booleans(),
    }
)


@QUICK
@given(st.lists(written | written | conditions(2), max_size=30), st.lists(near, min_size=1, max_size=8), all_values)
def test_the_matcher_finds_what_holds(parts: list[Part], some: list[Values], any_values: Values) -> None:
    found = matcher([part.text for part in parts])
    for values in [*({**any_values, **values} for values in some), any_values]:
        held = [index for index, part in enumerate(parts) if part.mean(values)]
        assert found(values, None, None) == held
        assert set(held) <= found.costs(values, None, None, iter(range(1000)).__next__).keys()


VALUES: Values = {"c.tier": "B", "count_7d": 3, "e.side": "buy", "c.days": None, "e.flag": True}


@pytest.mark.parametrize(
    ("texts", "tested"),
    [
        pytest.param(['c.tier == "A"', 'c.tier == "B"', 'c.tier in ("A", "C")'], {1}, id="by value"),
        pytest.param(["c.tier in watched", 'c.tier == "B"', "c.tier not in watched"], {1, 2}, id="by list"),
        pytest.param(["count_7d >= 4", "count_7d < 4", "2 < count_7d <= 3", "count_7d == 2"], {1, 2}, id="by bound"),
        pytest.param(["c.days >= 0", "c.days < 5", "e.flag"], {2}, id="missing"),
        pytest.param(
            ['c.tier == "A" or count_7d > 5', 'c.tier == "A" and count_7d == 3', 'e.side == "buy" or count_7d > 7'],
            {2},
            id="either",
        ),
        pytest.param(["False", "count_7d > 5 and count_7d < 2", "True"], {2}, id="never"),
        pytest.param(["count_7d * 2 > 10", "count_7d * 2 > 5", "count_7d * 2 > 20"], {1}, id="calculated"),
    ],
)
def test_what_cannot_hold_is_not_tested(texts: list[str], tested: set[int]) -> None:
    assert matcher(texts).costs(VALUES, None, None, iter(range(1000)).__next__).keys() == tested


def test_a_cost_is_the_time_of_one_test() -> None:
    clock = iter([10, 17, 20, 22]).__next__
    assert matcher(["c.days / count_7d > 1", "count_7d != 4"]).costs(VALUES, None, None, clock) == {0: 7, 1: 2}


def test_nothing_to_match() -> None:
    assert matcher([])(VALUES, None, None) == []
