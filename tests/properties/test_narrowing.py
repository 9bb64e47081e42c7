"""Narrowing never says "never" of what can be: random conditions against the compiled code on values at their bounds.

What is proved of a condition (never true, never false, implied by another) is tried on hundreds of values each time,
among them every constant that the condition is written with and its neighbours.
"""

from __future__ import annotations

import random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.core.language.expressions import BOOL, TEXT, Expression, enum, number, parse
from engine.rulefile.proof.narrowing import World, boxes, impossible
from engine.rulefile.proof.ranges import BOOLS, TEXTS, Choice, Domain, Span
from tests.core.expression_code import function, named

NAMES = [
    named("c.money", number("cny"), optional=True),
    named("e.money", number("cny")),
    named("c.days", number("days"), optional=True),
    named("count_7d", number("count")),
    named("count_30d", number("count")),
    named("c.ratio", number("ratio"), optional=True),
    named("e.ratio", number("ratio")),
    named("c.tier", enum("A", "B", "C"), optional=True),
    named("c.type", enum("person", "fund"), optional=True),
    named("e.side", enum("buy", "sell")),
    named("e.word", TEXT, optional=True),
    named("c.flag", BOOL, optional=True),
    named("e.flag", BOOL),
]
SCOPE = {name.name: name for name in NAMES}
TIERS = {("person", "A"), ("person", "B"), (None, None), ("fund", "C")}
COUNTS = [0, 1, 2, 3, 5, 8]
POOLS: dict[str, list[Any]] = {
    "c.money": [None, 0, 1, 99, 100, 101, 200, 300, 301, 10**13],
    "e.money": [0, 100, 150, 200, 201, 10**13],
    "c.days": [None, 0, 1, 2, 3, 5, 40_000],
    "count_7d": COUNTS,
    "count_30d": COUNTS,
    "c.ratio": [None, 0, 0.5, 1, 1.5, 1000.0],
    "e.ratio": [0, 0.1, 0.5, 1.0, 2, 1000.0],
    "c.tier": [None, "A", "B", "C"],
    "c.type": [None, "person", "fund"],
    "e.side": ["buy", "sell"],
    "e.word": [None, "", "A", "x"],
    "c.flag": [None, True, False],
    "e.flag": [True, False],
}
BOUNDS = {"cny": (0, 10**13), "days": (0, 40_000), "count": (0, float("inf")), "ratio": (0, 1000)}
WORLD = World(
    {
        n.name: Domain(
            BOOLS
            if n.type == BOOL
            else (Choice(frozenset(n.type.values)) if n.type.values else TEXTS)
            if n.type.kind == "text"
            else (Span(*BOUNDS[n.type.unit or ""]),),
            missing=n.optional,
        )
        for n in NAMES
    },
    whole=frozenset(n.name for n in NAMES if n.type.unit in ("cny", "days", "count")),
    relations=((("c.type", "c.tier"), frozenset(TIERS)),),
    at_most=(("count_7d", "count_30d"),),
)
NUMBERS = {
    "cny": (["c.money", "e.money"], ["0", "1", "1.5", "2", "3", "100_000_000_000"]),
    "days": (["c.days"], ["0", "1", "2.5", "3", "50_000"]),
    "count": (["count_7d", "count_30d"], ["-1", "0", "1", "2", "4.5", "5"]),
    "ratio": (["c.ratio", "e.ratio"], ["0", "0.1", "0.5", "1", "1.5", "1000", "1001"]),
}
SIGNS = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
TEXT_VALUES = {"c.tier": "ABC", "e.word": "Ax", "c.type": ("person", "fund"), "e.side": ("buy", "sell")}


@st.composite
def values(draw: st.DrawFn, unit: str, deep: bool = True) -> str:
    named_, written = NUMBERS[unit]
    form = draw(st.integers(0, 8 if deep else 1))
    if form <= 3:
        return draw(st.sampled_from(named_))
    one, two = draw(values(unit, deep=False)), draw(values(unit, deep=False))
    match form:
        case 4:
            return f"({one} {draw(st.sampled_from('+-'))} {two})"
        case 5:
            return f"({draw(st.sampled_from(['0.1', '2', '-3']))} * {one})"
        case 6:
            return f"{draw(st.sampled_from(['min', 'max']))}({one}, {two})"
        case 7:
            return f"abs({one} - {draw(st.sampled_from(written))})"
    return f"({one} if {draw(atoms(deep=False))} else {two})"


@st.composite
def atoms(draw: st.DrawFn, deep: bool = True) -> str:
    match draw(st.integers(0, 8)):
        case 0:
            return f"known({draw(st.sampled_from(list(SCOPE)))})"
        case 1:
            return draw(st.sampled_from(["c.flag", "e.flag", "True", "False"]))
        case 2 | 3:
            name = draw(st.sampled_from(list(TEXT_VALUES)))
            some = draw(st.lists(st.sampled_from(TEXT_VALUES[name]), min_size=1, max_size=2))
            if len(some) == 1:
                return f'{name} {draw(st.sampled_from(["==", "!="]))} "{some[0]}"'
            listed = ", ".join(f'"{value}"' for value in some)
            return f"{name} {draw(st.sampled_from(['in', 'not in']))} ({listed})"
        case 4:
            unit = draw(st.sampled_from(list(NUMBERS)))
            low, high = draw(st.sampled_from(NUMBERS[unit][1])), draw(st.sampled_from(NUMBERS[unit][1]))
            return f"{low} <= {draw(values(unit, deep))} < {high}"
        case 5:
            unit = draw(st.sampled_from(list(NUMBERS)))
            return f"{draw(values(unit, deep))} {draw(SIGNS)} {draw(values(unit, deep))}"
        case 6:
            ratio = f"{draw(values('cny', deep))} / {draw(values('cny', deep))}"
            return f"{ratio} {draw(SIGNS)} {draw(st.sampled_from(NUMBERS['ratio'][1]))}"
    unit = draw(st.sampled_from(list(NUMBERS)))
    return f"{draw(values(unit, deep))} {draw(SIGNS)} {draw(st.sampled_from(NUMBERS[unit][1]))}"


def _joined(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    several = st.lists(parts, min_size=2, max_size=4)
    return st.one_of(
        several.map(lambda some: f"({' and '.join(some)})"),
        several.map(lambda some: f"({' or '.join(some)})"),
        parts.map(lambda one: f"not ({one})"),
        st.tuples(parts, parts, parts).map(lambda three: f"({three[0]} if {three[1]} else {three[2]})"),
    )


conditions = st.recursive(atoms(), _joined, max_leaves=8)


def parsed(text: str) -> Expression:
    expression = parse(text, SCOPE, BOOL)
    assert isinstance(expression, Expression), (text, expression)
    return expression


def draws(seed: int, count: int) -> list[dict[str, Any]]:
    chance = random.Random(seed)
    some = [{name: chance.choice(pool) for name, pool in POOLS.items()} for _ in range(count)]
    for one in some:
        one["c.type"], one["c.tier"] = chance.choice(sorted(TIERS, key=str))
        one["count_7d"], one["count_30d"] = sorted((one["count_7d"], one["count_30d"]))
    return some


DRAWN = draws(1, 4000)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(conditions, conditions, st.integers(0, 9))
def test_what_is_proved_holds_for_every_value_tried(one: str, two: str, seed: int) -> None:
    first, second = parsed(one), parsed(two)
    first_holds, second_holds = function(first, SCOPE), function(second, SCOPE)
    tried = DRAWN[seed * 400 :][:400]
    found = [(first_holds(v), second_holds(v)) for v in tried]
    for holds in (True, False):
        if impossible(WORLD, (first.tree, holds)):
            assert not any(a is holds for a, _ in found)
        for also in (True, False):
            if impossible(WORLD, (first.tree, holds), (second.tree, also)):
                assert not any(a is holds and b is also for a, b in found)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(conditions, st.sampled_from(DRAWN))
def test_some_box_holds_the_values_that_meet_a_condition(text: str, some: dict[str, Any]) -> None:
    expression = parsed(text)
    holds = function(expression, SCOPE)(some)
    found = list(boxes(WORLD, (expression.tree, holds)))
    assert any(all(box[name].holds(value) for name, value in some.items() if name in box) for box in found)


def test_what_it_can_prove() -> None:
    never = [
        "c.money > 5 and c.money < 3",
        "count_7d < 0",
        "count_7d > 2 and count_7d < 3",
        "count_7d > 5 and count_30d < 4",
        'c.tier == "A" and c.type == "fund"',
        'c.tier == "A" and not known(c.type)',
        "c.money > 3 and not known(c.money)",
        "c.money / e.money > 0.5 and c.money / e.money < 0.2",
        "c.money / e.money > 0.5 and not known(c.money)",
        "c.money < e.money and e.money < c.money",
        "c.money < e.money and e.money < 3 and c.money > 4",
        "0.5 * e.ratio > 600",
        "1 < c.days < 2",
        "not (e.flag or not e.flag)",
        "e.money / c.money < 0",
        '(5 if c.tier == "A" else 6) < count_7d and count_7d < 6',
    ]
    always = ["count_7d >= 0", "e.ratio <= 1000", "known(e.money)", 'e.side == "buy" or e.side == "sell"']
    unproved = ["c.money >= 0", "c.money > 5", "count_7d > count_30d - 1", 'c.tier == "A" or c.tier != "A"']
    assert [text for text in never if not impossible(WORLD, (parsed(text).tree, True))] == []
    assert [text for text in always if not impossible(WORLD, (parsed(text).tree, False))] == []
    assert [text for text in unproved for holds in (True, False) if impossible(WORLD, (parsed(text).tree, holds))] == []


def test_work_is_bounded() -> None:
    text = " and ".join(f"(count_7d == {n} or count_30d == {n} or c.days == {n} or e.flag)" for n in range(30))
    assert not impossible(WORLD, (parsed(text).tree, True), (parsed("count_7d < 0 or e.money < 0").tree, True))
