"""Random conditions with what they mean beside them, for tests that need conditions of a known meaning.

The model is built with its types known and evaluated without the engine's parser, checker or compiler.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st

from engine.core.language.expressions import BOOL, enum, number
from tests.core.expression_code import named

NAMES = [
    named("c.money", number("cny"), optional=True),
    named("e.money", number("cny")),
    named("c.days", number("days"), optional=True),
    named("count_7d", number("count")),
    named("count_30d", number("count")),
    named("c.ratio", number("ratio"), optional=True),
    named("c.tier", enum("A", "B", "C"), optional=True),
    named("e.side", enum("buy", "sell")),
    named("c.flag", BOOL, optional=True),
    named("e.flag", BOOL),
]
SCOPE = {name.name: name for name in NAMES}
UNITS = ("cny", "days", "count", "ratio")

Values = dict[str, Any]


@dataclass
class Part:
    """A text and what it means: a Fraction when `literal`, else a number, a text, a bool or None."""

    text: str
    mean: Callable[[Values], Any]
    literal: bool = False


def value_of(name: str) -> st.SearchStrategy[Any]:
    known = SCOPE[name]
    if known.type == BOOL:
        some: st.SearchStrategy[Any] = st.booleans()
    elif known.type.values:
        some = st.sampled_from(known.type.values)
    elif known.type.unit == "ratio":
        some = st.floats(0, 1000)
    else:
        some = st.integers(0, 50) | st.integers(0, 10**13)
    return st.none() | some if known.optional else some


all_values = st.fixed_dictionaries({name: value_of(name) for name in SCOPE})


def plain(value: Any) -> Any:
    """A written number as it is once it meets a value."""
    if isinstance(value, Fraction):
        return value.numerator if value.denominator == 1 else float(value)
    return value


def meets(part: Part, unit: str | None, values: Values) -> Any:
    value = part.mean(values)
    if part.literal and unit == "cny":
        value *= 100
    return plain(value)


@st.composite
def literals(draw: st.DrawFn) -> Part:
    cents = draw(st.integers(0, 10**6))
    value = Fraction(cents, 100)
    text = f"{cents // 100}.{cents % 100:02d}" if cents % 100 or draw(st.booleans()) else str(cents // 100)
    times = draw(st.integers(1, 9))
    form = draw(st.sampled_from(("{}", "{}", "-{}", "(0 - {})", "({t} * {})", "({} + {t})", "max({}, {t})")))
    value = {
        "-{}": -value,
        "(0 - {})": -value,
        "({t} * {})": times * value,
        "({} + {t})": value + times,
        "max({}, {t})": max(value, Fraction(times)),
    }.get(form, value)
    return Part(form.format(text, t=times), lambda values: value, literal=True)


def lift(act: Callable[..., Any]) -> Callable[..., Any]:
    """Missing in, missing out."""
    return lambda *given: None if None in given else act(*given)


def divide(left: Any, right: Any) -> Any:
    return None if -1e-30 < right < 1e-30 else left / right


@st.composite
def numbers(draw: st.DrawFn, unit: str, depth: int = 3) -> Part:
    """A part with a unit: never a bare literal."""
    names = [name.name for name in NAMES if name.type == number(unit)]
    forms = ["name"] if depth == 0 else ["name", "add", "scale", "min", "sign", "round", "if"]
    if depth and unit == "ratio":
        forms += ["ratio", "ratio"]
    form = draw(st.sampled_from(forms))
    if form == "name":
        name = draw(st.sampled_from(names))
        return Part(name, lambda values: values[name])
    if form == "ratio":
        other = draw(st.sampled_from(("cny", "count")))
        a, b = draw(numbers(other, depth - 1)), draw(numbers(other, depth - 1))
        return Part(f"({a.text} / {b.text})", lambda v: lift(divide)(a.mean(v), b.mean(v)))
    a = draw(numbers(unit, depth - 1))
    if form == "sign":
        if draw(st.booleans()):
            return Part(f"(-{a.text})", lambda v: lift(operator.neg)(a.mean(v)))
        return Part(f"abs({a.text})", lambda v: lift(abs)(a.mean(v)))
    if form == "round":
        whole = lift(lambda x: round(x / 100) * 100 if unit == "cny" else round(x))
        return Part(f"round({a.text})", lambda v: whole(a.mean(v)))
    if form == "scale":
        b = draw(literals() | numbers("ratio", depth - 1))
        if draw(st.booleans()):
            return Part(f"({a.text} * {b.text})", lambda v: lift(operator.mul)(a.mean(v), meets(b, None, v)))
        if b.literal and b.mean({}) == 0:
            return a
        return Part(f"({a.text} / {b.text})", lambda v: lift(divide)(a.mean(v), meets(b, None, v)))
    b = draw(literals() | numbers(unit, depth - 1))
    if form == "if":
        test = draw(conditions(depth - 1))
        return Part(
            f"({a.text} if {test.text} else {b.text})", lambda v: a.mean(v) if test.mean(v) else meets(b, unit, v)
        )
    if form == "min":
        act = draw(st.sampled_from((min, max)))
        return Part(f"{act.__name__}({a.text}, {b.text})", lambda v: lift(act)(a.mean(v), meets(b, unit, v)))
    sign, act = draw(st.sampled_from((("+", operator.add), ("-", operator.sub))))
    return Part(f"({a.text} {sign} {b.text})", lambda v: lift(act)(a.mean(v), meets(b, unit, v)))


ORDER = {"==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def compare(act: Callable[[Any, Any], bool], left: Any, right: Any) -> bool:
    return left is not None and right is not None and act(left, right)


@st.composite
def conditions(draw: st.DrawFn, depth: int = 3) -> Part:
    form = draw(
        st.sampled_from(["flag", "order", "chain", "text", "list", "known"] + ["and", "or", "not"] * (depth > 0))
    )
    if form == "flag":
        name = draw(st.sampled_from(("c.flag", "e.flag")))
        return Part(name, lambda v: v[name] is True)
    if form == "known":
        name = draw(st.sampled_from([name.name for name in NAMES]))
        return Part(f"known({name})", lambda v: v[name] is not None)
    if form in ("and", "or"):
        a, b = draw(conditions(depth - 1)), draw(conditions(depth - 1))
        act = all if form == "and" else any
        return Part(f"({a.text} {form} {b.text})", lambda v: act([a.mean(v), b.mean(v)]))
    if form == "not":
        a = draw(conditions(depth - 1))
        return Part(f"(not {a.text})", lambda v: not a.mean(v))
    if form == "text":
        sign = draw(st.sampled_from(("==", "!=")))
        value = draw(st.sampled_from(("A", "B", "C")))
        return Part(f'(c.tier {sign} "{value}")', lambda v: compare(ORDER[sign], v["c.tier"], value))
    if form == "list":
        no = draw(st.booleans())
        values = draw(st.lists(st.sampled_from(("A", "B", "C")), min_size=1))
        listed = ", ".join(f'"{value}"' for value in values)
        return Part(
            f"(c.tier {'not ' * no}in ({listed},))",
            lambda v: v["c.tier"] is not None and (v["c.tier"] in values) is not no,
        )
    unit = draw(st.sampled_from(UNITS))
    a, b = draw(numbers(unit, depth)), draw(literals() | numbers(unit, depth))
    sign = draw(st.sampled_from(list(ORDER)))
    if form == "order":
        return Part(f"({a.text} {sign} {b.text})", lambda v: compare(ORDER[sign], a.mean(v), meets(b, unit, v)))
    c, second = draw(literals() | numbers(unit, depth)), draw(st.sampled_from(list(ORDER)))

    def chain(v: Values) -> bool:
        middle, last = a.mean(v), meets(c, unit, v)
        first = meets(b, unit, v)
        return compare(ORDER[sign], first, middle) and compare(ORDER[second], middle, last)

    return Part(f"({b.text} {sign} {a.text} {second} {c.text})", chain)
