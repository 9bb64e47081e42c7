"""Sets of values: intervals of numbers, sets of texts, and missing as one value more.

Enters: nothing. Leaves: Span, Choice, Domain, frozen; the values for which a comparison holds; bounds of arithmetic.
Holds: what leaves may be too large, never too small.
"""

from __future__ import annotations

import ast
import itertools
import math
import operator
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Final

from engine.core.language.functions import FUNCTIONS
from engine.core.language.types import TINY
from engine.core.text import Form

Number = int | float
INF: Final = math.inf


@dataclass(frozen=True, slots=True)
class Span:
    """An interval of numbers."""

    low: Number = -INF
    high: Number = INF
    low_open: bool = False
    high_open: bool = False

    @property
    def empty(self) -> bool:
        return self.low > self.high or (self.low == self.high and (self.low_open or self.high_open))

    def meet(self, other: Span) -> Span:
        low, high = max(self.low, other.low), min(self.high, other.high)
        low_open = any(s.low_open for s in (self, other) if s.low == low)
        return Span(low, high, low_open, any(s.high_open for s in (self, other) if s.high == high))

    def whole(self) -> Span:
        """Only whole numbers."""
        low, high = self.low, self.high
        if not math.isinf(low):
            low = math.floor(low) + 1 if self.low_open else math.ceil(low)
        if not math.isinf(high):
            high = math.ceil(high) - 1 if self.high_open else math.floor(high)
        return Span(low, high)


@dataclass(frozen=True, slots=True)
class Choice:
    """The values of a set; with `others`, every value but these, of a form if there is one."""

    values: frozenset[Hashable]
    others: bool = False
    form: Form | None = None

    @property
    def empty(self) -> bool:
        return not self.values and not self.others

    def meet(self, other: Choice) -> Choice:
        if self.others and other.others:
            return Choice(self.values | other.values, True, self.form or other.form)
        if self.others:
            return other.meet(self)
        if other.others:
            return Choice(frozenset(value for value in self.values if other.has(value)))
        return Choice(self.values & other.values)

    def has(self, value: Any) -> bool:
        fits = self.form is None or self.form.fits(value)
        return (value in self.values) is not self.others and (fits or not self.others)


Values = tuple[Span, ...] | Choice
NUMBERS: Final[tuple[Span, ...]] = (Span(),)
TEXTS: Final = Choice(frozenset(), True)
BOOLS: Final = Choice(frozenset((True, False)))
SIGNS: Final = Choice(frozenset("<=>"))


@dataclass(frozen=True, slots=True)
class Domain:
    """What a term can be. A term without values is missing, or impossible."""

    values: Values
    missing: bool = True

    @property
    def has_values(self) -> bool:
        return not self.values.empty if isinstance(self.values, Choice) else bool(self.values)

    @property
    def empty(self) -> bool:
        return not self.missing and not self.has_values

    def meet(self, other: Domain, whole: bool = False) -> Domain:
        mine, theirs = self.values, other.values
        if isinstance(mine, Choice) or isinstance(theirs, Choice):
            assert isinstance(mine, Choice)
            assert isinstance(theirs, Choice)
            values: Values = mine.meet(theirs)
        else:
            spans = (a.meet(b) for a in mine for b in theirs)
            values = tuple(span for span in ((s.whole() if whole else s) for s in spans) if not span.empty)
        return Domain(values, self.missing and other.missing)

    def hull(self) -> tuple[Number, Number]:
        if isinstance(self.values, Choice) or not self.values:
            return -INF, INF
        return min(s.low for s in self.values), max(s.high for s in self.values)

    def holds(self, value: Any) -> bool:
        """Whether it can be this value; None is missing."""
        if value is None:
            return self.missing
        if isinstance(self.values, Choice):
            return self.values.has(value)
        return any(span.meet(Span(value, value)) == Span(value, value) for span in self.values)


def solutions(op: type[ast.cmpop], constants: list[Any]) -> Values:
    """The values for which `value op constant` holds."""
    if isinstance(constants[0], str):
        return Choice(frozenset(constants), others=op in (ast.NotEq, ast.NotIn))
    first = constants[0]
    if op in (ast.Eq, ast.In):
        return tuple(Span(c, c) for c in sorted(set(constants)))
    if op in (ast.NotEq, ast.NotIn):
        edges = [-INF, *sorted(set(constants)), INF]
        return tuple(Span(a, b, True, True) for a, b in itertools.pairwise(edges))
    if op in (ast.Lt, ast.LtE):
        return (Span(high=first, high_open=op is ast.Lt),)
    return (Span(low=first, low_open=op is ast.Gt),)


def bounds_of(node: ast.expr, hulls: list[tuple[float, float]]) -> tuple[float, float]:
    """Bounds of a calculation from the bounds of its parts; nan if there are none."""
    lows, highs = [low for low, _ in hulls], [high for _, high in hulls]
    match node:
        case ast.UnaryOp():
            return -highs[0], -lows[0]
        case ast.IfExp():
            return min(lows), max(highs)
        case ast.Call(func=ast.Name(id=id_)):
            bounds = FUNCTIONS[id_].bounds
            return (math.nan, math.nan) if bounds is None else bounds(hulls)
        case ast.BinOp(op=ast.Add()):
            return lows[0] + lows[1], highs[0] + highs[1]
        case ast.BinOp(op=ast.Sub()):
            return lows[0] - highs[1], highs[0] - lows[1]
        case ast.BinOp(op=ast.Mult()):
            return _corners(operator.mul, hulls[0], hulls[1])
    low, high = hulls[1]
    if low < 0 < high or low == high == 0:
        return -INF, INF
    divisor = (max(low, TINY), max(high, TINY)) if low >= 0 else (min(low, -TINY), min(high, -TINY))
    return _corners(operator.truediv, hulls[0], divisor)


def _corners(calculate: Any, one: tuple[Number, Number], two: tuple[Number, Number]) -> tuple[float, float]:
    """No value is infinite: 0 * inf stands for 0 times something, inf / inf for anything from 0 on."""
    values: list[float] = []
    for a, b in itertools.product(one, two):
        value = calculate(a, b)
        if math.isnan(value):
            values += [0.0, math.copysign(INF, a) * math.copysign(1.0, b)] if calculate is operator.truediv else [0.0]
        else:
            values.append(value)
    return min(values), max(values)
