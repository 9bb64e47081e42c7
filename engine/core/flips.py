"""What would change the answer of a condition: for each name, the nearest value that alone does.

Enters: an Expression, its Scope, the value of every name it reads. Leaves: Flips, the smallest change first.
Holds: every Flip has been tried on the compiled condition. A condition can change its answer only where two sides of a
comparison meet, so the values tried are those places (solved exactly, the name may stand on both sides) and their
neighbours; where sides are no quotients of polynomials up to the second degree, a place may be overlooked.
"""

from __future__ import annotations

import ast
import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final

from engine.core.expression_types import INTEGER_UNITS
from engine.core.expressions import Expression, Name, Scope, to_python
from engine.core.generated import Code
from engine.core.shown import MISSING, shown

Polynomial = tuple[Fraction, ...]  # coefficients, the constant first
Quotient = tuple[Polynomial, Polynomial]
Decide = Callable[..., Any]

STEP: Final = Fraction(1, 10_000)  # between neighbours of a value that is no whole number
OTHER: Final = "something else"  # a text that no rule writes
MAX_FORMS: Final = 16
MAX_TEXTS: Final = 100
SIGNED: Final = ("time", "duration", None)  # units whose values can be below zero
_ONE: Final[Polynomial] = (Fraction(1),)
_X: Final[Polynomial] = (Fraction(0), Fraction(1))


@dataclass(frozen=True, slots=True)
class Flip:
    """`name` at `new` turns the answer; `bound` says how the values beyond it do: at least, at most, or exactly."""

    name: str
    now: str
    new: str
    bound: str
    value: Any

    def __str__(self) -> str:
        return f"{self.name} {self.bound or 'being'} {self.new} (now {self.now})"


def flips(condition: Expression, scope: Scope, now: Mapping[str, Any]) -> tuple[Flip, ...]:
    """At most one for each name."""
    decide = _over_names(condition, scope)
    values = [now[name] for name in condition.names]
    holds = bool(decide(*values))
    found: list[tuple[tuple[int, float], int, Flip]] = []
    for index, text in enumerate(condition.names):
        name = scope[text]

        def turned(value: Any, index: int = index) -> bool:
            return bool(decide(*values[:index], value, *values[index + 1 :])) is not holds

        tried = [(_distance(values[index], v), v) for v in _candidates(condition, name, now) if v != values[index]]
        tried.sort(key=lambda pair: pair[0])
        for distance, value in tried:
            if turned(value):
                bound = _bound(name, values[index], value, turned)
                flip = Flip(text, shown(values[index], name.type), _said(value, name), bound, value)
                found.append((distance, index, flip))
                break
    return tuple(flip for _, _, flip in sorted(found, key=lambda item: item[:2]))


def _over_names(condition: Expression, scope: Scope) -> Decide:
    """The compiled condition as a function of the values of its names."""
    places = {name: f"h{index}" for index, name in enumerate(condition.names)}
    code = Code()
    read = {name: replace(scope[name], code=place) for name, place in places.items()}
    code.function("decide", ", ".join(places.values()), [f"return {code.place(to_python(condition, read))}"])
    function: Decide = code.run()["decide"]
    return function


def _said(value: Any, name: Name) -> str:
    return shown(value, name.type)


def _distance(now: Any, new: Any) -> tuple[int, float]:
    """Numbers by their relative change; then other values of an enum; then a missing value given; then one taken."""
    if new is None:
        return 2, 0.0
    if isinstance(new, (bool, str)):
        return 1, float(new == OTHER)
    if now is None:
        return 1, 2 + math.log10(1 + abs(new))
    return 0, abs(new - now) / max(abs(new), abs(now))


def _bound(name: Name, now: Any, value: Any, turned: Callable[[Any], bool]) -> str:
    """Whether the next value in the same direction does it as well; from a missing value, which direction does."""
    if name.type.kind != "number" or value is None:
        return ""
    step: Any = 1 if _whole(name) else float(STEP)
    up, down = turned(value + step), turned(value - step) and (value > 0 or name.type.unit in SIGNED)
    if up and (now is None or value > now):
        return "at least"
    return "at most" if down and (now is None or value < now) else "exactly"


def _whole(name: Name) -> bool:
    return name.type.unit in INTEGER_UNITS or name.type.unit == "duration"


# -- which values to try -----------------------------------------------------------------------------------------------


def _candidates(condition: Expression, name: Name, now: Mapping[str, Any]) -> Iterable[Any]:
    if name.optional:
        yield None
    if name.type.kind == "bool":
        yield from (True, False)
    elif name.type.values is not None:
        yield from name.type.values
    elif name.type.kind == "text":
        yield from itertools.islice(_texts(condition.tree, name.name), MAX_TEXTS)
        yield OTHER
    elif name.type.kind == "number":
        for place in {place for places in _meetings(condition.tree, name.name, now) for place in places}:
            for value in _beside(place, name):
                if value >= 0 or name.type.unit in SIGNED:
                    yield value
        if now[name.name] is None:
            yield 0


def _beside(place: Fraction, name: Name) -> Iterable[int | float]:
    if _whole(name):
        low, high = math.floor(place), math.ceil(place)
        yield from {low - 1, low, high, high + 1}
        return
    low, high = math.floor(place / STEP), math.ceil(place / STEP)
    yield float(place)
    yield from (float(count * STEP) for count in (low - 1, low, high, high + 1))


def _texts(tree: ast.expr, name: str) -> Iterable[str]:
    """Texts that stand in a comparison or function with the name."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Compare, ast.Call)) and _mentions(node, name):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                    yield inner.value


def _mentions(tree: ast.AST, name: str) -> bool:
    return any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(tree))


def _meetings(tree: ast.expr, name: str, now: Mapping[str, Any]) -> Iterable[list[Fraction]]:
    """Where two sides of a comparison are equal, or a divisor is zero, as the name changes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and _mentions(node, name):
            sides = [node.left, *node.comparators]
            for left, right in itertools.pairwise(sides):
                for one, other in itertools.product(_forms(left, name, now), _members(right, name, now)):
                    yield _roots(_minus(_times(one[0], other[1]), _times(other[0], one[1])))
                    yield _roots(one[1])
                    yield _roots(other[1])


def _members(tree: ast.expr, name: str, now: Mapping[str, Any]) -> list[Quotient]:
    """The forms of a side, or of each value of a written list."""
    if isinstance(tree, ast.Set):
        return [form for value in tree.elts for form in _forms(value, name, now)]
    return _forms(tree, name, now)


def _forms(tree: ast.expr, name: str, now: Mapping[str, Any]) -> list[Quotient]:
    """What a side can be as the name changes; several where min, max, abs, round or a choice make it so."""
    match tree:
        case ast.Constant(value=int() | float() as value):
            return [((Fraction(value),), _ONE)]
        case ast.Name(id=id_):
            if id_ == name:
                return [(_X, _ONE)]
            known = now.get(id_)
            return [((Fraction(known),), _ONE)] if isinstance(known, (int, float)) else []
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return [(_minus((), top), bottom) for top, bottom in _forms(operand, name, now)]
        case ast.IfExp(body=body, orelse=orelse):
            return [*_forms(body, name, now), *_forms(orelse, name, now)][:MAX_FORMS]
        case ast.Call(func=ast.Name(id=function), args=args):
            forms = [form for argument in args for form in _forms(argument, name, now)]
            if function == "abs":
                forms += [(_minus((), top), bottom) for top, bottom in forms]
            elif function == "round":  # from half to half
                forms += [_plus(form, Fraction(sign, 2)) for form in forms for sign in (1, -1)]
            elif function not in ("min", "max"):
                return []
            return forms[:MAX_FORMS]
        case ast.BinOp(left=left, op=op, right=right):
            pairs = itertools.product(_forms(left, name, now), _forms(right, name, now))
            return [_combined(op, one, other) for one, other in pairs][:MAX_FORMS]
    return []


def _combined(op: ast.operator, one: Quotient, other: Quotient) -> Quotient:
    if isinstance(op, ast.Mult):
        return _times(one[0], other[0]), _times(one[1], other[1])
    if isinstance(op, ast.Div):
        return _times(one[0], other[1]), _times(one[1], other[0])
    left, right = _times(one[0], other[1]), _times(other[0], one[1])
    return (_add(left, right) if isinstance(op, ast.Add) else _minus(left, right)), _times(one[1], other[1])


def _plus(form: Quotient, value: Fraction) -> Quotient:
    return _add(form[0], _times(form[1], (value,))), form[1]


def _add(one: Polynomial, other: Polynomial) -> Polynomial:
    return tuple(a + b for a, b in itertools.zip_longest(one, other, fillvalue=Fraction(0)))


def _minus(one: Polynomial, other: Polynomial) -> Polynomial:
    return _add(one, tuple(-value for value in other))


def _times(one: Polynomial, other: Polynomial) -> Polynomial:
    result = [Fraction(0)] * max(len(one) + len(other) - 1, 0)
    for (i, a), (j, b) in itertools.product(enumerate(one), enumerate(other)):
        result[i + j] += a * b
    return tuple(result)


def _roots(polynomial: Polynomial) -> list[Fraction]:
    """Exact for the first degree, to the nearest float for the second; none are looked for above."""
    coefficients = list(polynomial)
    while coefficients and coefficients[-1] == 0:
        coefficients.pop()
    if len(coefficients) == 2:
        return [-coefficients[0] / coefficients[1]]
    if len(coefficients) == 3:
        c, b, a = coefficients
        inside = b * b - 4 * a * c
        if inside >= 0:
            try:
                root = Fraction(math.sqrt(inside))
            except OverflowError:
                return []
            return [(-b - root) / (2 * a), (-b + root) / (2 * a)]
    return []


__all__ = ["MISSING", "Flip", "flips"]
