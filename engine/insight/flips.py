"""What would change the answer of a condition: for each name, the nearest value that alone does.

Enters: an Expression, its Scope, what is declared; the client, event and tier change. Leaves: Flips.
Holds: every Flip has been tried on the compiled condition. A condition can change its answer only where two sides of a
comparison meet, so the values tried are those places (solved exactly, the name may stand on both sides) and their
neighbours; where sides are not quotients of polynomials up to the second degree, a place may be missed.
"""

from __future__ import annotations

import ast
import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final

from engine.core.firm_time import DAY_MS
from engine.core.language.expressions import Expression, Name, Scope, to_python
from engine.core.language.functions import FUNCTIONS, Line
from engine.core.language.types import INTEGER_UNITS
from engine.core.plan.codegen import Code
from engine.core.rules.names import PERSONAL
from engine.core.rules.tables import Declared, Definition, Table, row_tree, with_declared
from engine.insight.terms import names_behind
from engine.insight.values import shown

Polynomial = tuple[Fraction, ...]  # coefficients, the constant first
Quotient = tuple[Polynomial, Polynomial]
Decide = Callable[..., Any]
Distance = tuple[int, float, float]

STEP: Final = Fraction(1, 10_000)  # between neighbours of a value that is not a whole number
OTHER: Final = "something else"  # a text that no rule writes
ANY: Final = "with a value such as"
MAX_FORMS: Final = 16
MAX_TEXTS: Final = 100
MAX_ROWS: Final = 200
YEAR_MS: Final = 365 * DAY_MS
SIGNED: Final = ("time", "duration", None)  # units whose values can be below zero
_ONE: Final[Polynomial] = (Fraction(1),)
_X: Final[Polynomial] = (Fraction(0), Fraction(1))


@dataclass(frozen=True, slots=True)
class Flip:
    """`name` at `new` changes the answer; `bound` says which values beyond it do too: at least, at most, or exactly."""

    name: str
    now: str
    new: str
    bound: str
    value: Any

    def __str__(self) -> str:
        return f"{self.name} {self.bound or 'being'} {self.new} (now {self.now})"


class Flipper:
    """One condition, with definitions and tables opened up, so that changes are proposed for undeclared names."""

    def __init__(self, condition: Expression, scope: Scope, declared: Declared, topic: str) -> None:
        behind = [name for text in condition.names for name in names_behind(text, scope)]
        self.names = tuple(dict.fromkeys(behind))
        self._scope = scope
        places = {name: f"h{index}" for index, name in enumerate(self.names)}
        used = _declared_in(condition, declared)
        own = {t.name for t in declared.tables} | {d.name for d in declared.definitions} | set(declared.lists)
        over = {n: replace(k, code=places.get(n, "None")) for n, k in scope.items() if n not in own}
        moved = with_declared(over, declared, topic, compiling=True)
        code = Code()
        code.constants |= declared.globals
        arguments = ", ".join(places.values())
        code.function("decide", arguments, [f"return {code.place(to_python(condition, moved))}"])
        read = ", ".join(scope[name].code for name in self.names)
        code.function("read", "c, e, t", [f"return [{read}]"])
        tables = [entry for entry in used if isinstance(entry, Table)]
        for table in tables:
            code.function(f"table_{table.name}", arguments, [f"return {moved[table.name].code}"])
        space = code.run()
        self._decide: Decide = space["decide"]
        self._read: Decide = space["read"]
        self._tables: dict[str, Decide] = {table.name: space[f"table_{table.name}"] for table in tables}
        self._inline = {entry.name: entry.expression.tree for entry in used if isinstance(entry, Definition)}
        rows = [row_tree(table.inputs, row, scope) for table in tables for row in table.rows[:MAX_ROWS]]
        self._trees = [condition.tree, *self._inline.values(), *rows]
        calls = {ast.unparse(n.func) for tree in self._trees for n in ast.walk(tree) if isinstance(n, ast.Call)}
        # otherwise a change that would do may be overlooked
        self.complete = all(FUNCTIONS[name].lines is not None for name in calls)

    def flips(self, client: Any, event: Any, move: Any) -> tuple[Flip, ...]:
        """At most one for each name, the smallest change first."""
        return self.flips_of(self._read(client, event, move))

    def flips_of(self, values: list[Any]) -> tuple[Flip, ...]:
        """The same for values of `names`."""
        holds = bool(self._decide(*values))
        now = dict(zip(self.names, values, strict=True))
        now |= {name: read(*values) for name, read in self._tables.items()}
        found: list[tuple[Distance, int, Flip]] = []
        for index, text in enumerate(self.names):
            name, value = self._scope[text], values[index]

            def turned(new: Any, index: int = index) -> bool:
                return bool(self._decide(*values[:index], new, *values[index + 1 :])) is not holds

            tried = [(_distance(name, value, new), new) for new in self._candidates(name, now) if new != value]
            best: tuple[Distance, int, Flip] | None = None
            for distance, new in sorted(tried, key=lambda pair: pair[0]):
                if turned(new):
                    bound = _bound(name, value, new, turned)
                    now_shown = PERSONAL if name.personal and value is not None else shown(value, name.type)
                    flip = Flip(text, now_shown, shown(new, name.type), bound, new)
                    if best is None or bound != ANY:
                        best = distance, index, flip
                    if bound != ANY:
                        break
            if best is not None:
                found.append(best)
        return tuple(flip for _, _, flip in sorted(found, key=lambda item: item[:2]))

    def _candidates(self, name: Name, now: Mapping[str, Any]) -> Iterable[Any]:
        """Values to try."""
        if name.optional:
            yield None
        if name.type.kind == "bool":
            yield from (True, False)
        elif name.type.values is not None:
            yield from name.type.values
        elif name.type.kind == "text":
            texts = (text for tree in self._trees for text in _texts(tree, name.name, self._scope))
            yield from itertools.islice(dict.fromkeys(texts), MAX_TEXTS)
            yield OTHER
        elif name.type.kind == "number":
            forms = _Forms(name.name, now, self._inline)
            for place in {place for tree in self._trees for place in forms.meetings(tree)}:
                for value in _beside(place, name):
                    if value >= 0 or name.type.unit in SIGNED or name.signed:
                        yield value
            if now[name.name] is None:
                yield 0


def _declared_in(condition: Expression, declared: Declared) -> list[Definition | Table]:
    """The declared names that the condition reads, through definitions too."""
    known: dict[str, Definition | Table] = {t.name: t for t in declared.tables}
    known |= {d.name: d for d in declared.definitions}
    used: dict[str, Definition | Table] = {}
    left = list(condition.names)
    while left:
        name = left.pop()
        if name in known and name not in used:
            used[name] = entry = known[name]
            left += entry.expression.names if isinstance(entry, Definition) else entry.inputs
    return list(used.values())


def _distance(name: Name, now: Any, new: Any) -> Distance:
    """The order of changes: numbers by relative change, other enum values, a missing value given, one removed."""
    if new is None:
        return 2, 0.0, 0.0
    if isinstance(new, (bool, str)):
        return 1, float(new == OTHER), 0.0
    if now is None:
        return 1, 2.0, abs(new)
    change = abs(new - now)
    return 0, change / (YEAR_MS if name.type.unit == "time" else max(abs(new), abs(now))), change


def _bound(name: Name, now: Any, value: Any, turned: Callable[[Any], bool]) -> str:
    """Whether the next values do it as well: those beyond, or, from a missing value, those on one side."""
    if name.type.kind != "number" or value is None:
        return ""
    step: Any = 1 if _whole(name) else float(STEP)
    up = turned(value + step)
    down = turned(value - step) and (value >= step or name.type.unit in SIGNED or name.signed)
    if now is None and up and (down or value < step):
        return ANY
    if up and (now is None or value > now):
        return "at least"
    return "at most" if down and (now is None or value < now) else "exactly"


def _whole(name: Name) -> bool:
    return name.type.unit in INTEGER_UNITS or name.type.unit == "duration"


# -- which values to try -----------------------------------------------------------------------------------------------


def _beside(place: Fraction, name: Name) -> Iterable[int | float]:
    if _whole(name):
        low, high = math.floor(place), math.ceil(place)
        yield from {low - 1, low, high, high + 1}
        return
    low, high = math.floor(place / STEP), math.ceil(place / STEP)
    yield float(place)
    yield from (float(count * STEP) for count in (low - 1, low, high, high + 1))


def _texts(tree: ast.expr, name: str, scope: Scope) -> Iterable[str]:
    """Texts that stand in a comparison or function with the name, those of lists too."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Compare, ast.Call)) and _mentions(node, name):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                    yield inner.value
                elif isinstance(inner, ast.Name) and inner.id in scope and scope[inner.id].type.kind == "set":
                    yield from scope[inner.id].type.values or ()


def _mentions(tree: ast.AST, name: str) -> bool:
    return any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(tree))


class _Forms:
    """The sides of comparisons as quotients of polynomials in one name, all else being as it is now."""

    def __init__(self, name: str, now: Mapping[str, Any], inline: Mapping[str, ast.expr]) -> None:
        self.name = name
        self.now = now
        self.inline = inline

    def meetings(self, tree: ast.expr) -> Iterable[Fraction]:
        """Where two sides of a comparison are equal, or a divisor is zero."""
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare):
                sides = [node.left, *node.comparators]
                for left, right in itertools.pairwise(sides):
                    for one, other in itertools.product(self.of(left), self.members(right)):
                        yield from _roots(_minus(_times(one[0], other[1]), _times(other[0], one[1])))
                        yield from _roots(one[1])
                        yield from _roots(other[1])

    def members(self, tree: ast.expr) -> list[Quotient]:
        """The forms of a side, or of each value of a written list."""
        return [form for value in tree.elts for form in self.of(value)] if isinstance(tree, ast.Set) else self.of(tree)

    def of(self, tree: ast.expr) -> list[Quotient]:
        """Several if functions or a choice lead to them; none if it is not such a quotient."""
        match tree:
            case ast.Constant(value=int() | float() as value):
                return [((Fraction(value),), _ONE)]
            case ast.Name(id=id_):
                if id_ == self.name:
                    return [(_X, _ONE)]
                if id_ in self.inline:
                    return self.of(self.inline[id_])
                known = self.now.get(id_)
                return [((Fraction(known),), _ONE)] if isinstance(known, (int, float)) else []
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return [(_minus((), top), bottom) for top, bottom in self.of(operand)]
            case ast.IfExp(body=body, orelse=orelse):
                return [*self.of(body), *self.of(orelse)][:MAX_FORMS]
            case ast.Call(func=ast.Name(id=function), args=args):
                forms = [form for argument in args for form in self.of(argument)]
                lines = FUNCTIONS[function].lines or ()
                return [_on_line(form, line) for line in lines for form in forms][:MAX_FORMS]
            case ast.BinOp(left=left, op=op, right=right):
                pairs = itertools.product(self.of(left), self.of(right))
                return [_combined(op, one, other) for one, other in pairs][:MAX_FORMS]
        return []


def _combined(op: ast.operator, one: Quotient, other: Quotient) -> Quotient:
    if isinstance(op, ast.Mult):
        return _times(one[0], other[0]), _times(one[1], other[1])
    if isinstance(op, ast.Div):
        return _times(one[0], other[1]), _times(one[1], other[0])
    left, right = _times(one[0], other[1]), _times(other[0], one[1])
    return (_add(left, right) if isinstance(op, ast.Add) else _minus(left, right)), _times(one[1], other[1])


def _on_line(form: Quotient, line: Line) -> Quotient:
    factor, offset = line
    return _add(_times(form[0], (factor,)), _times(form[1], (offset,))), form[1]


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
