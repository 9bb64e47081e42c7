"""THE table of the expression language's functions: an entry holds everything that is known of a function.

Enters: a call and its arguments. Leaves: the checked result, or Refused with what to write; the code that runs; what
lint, `explain` and the reference need to know.
Holds: the table is read when it is used, so an entry added to it is known everywhere. A function of written values is
calculated here and leaves nothing in compiled code; the code of the others never raises.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Protocol

from engine.core.firm_time import DAY_MS, HOUR_MS, MINUTE_MS, WEEKDAYS
from engine.core.language import helpers
from engine.core.language.arithmetic import written
from engine.core.language.types import BOOL, DURATION, MONEY, TEXT, TIME, Scope, Type, enum, number
from engine.core.language.units import WRITTEN, Checked, Refused, agree, constant, unit_of, words
from engine.core.text import DAY, Form

MAX_CONTAINED: Final = 1_000  # each is looked for by itself
Hull = tuple[float, float]  # the least and the most that a number can be
Line = tuple[Fraction, Fraction]  # a factor and an offset
_AS_IT_IS: Final[Line] = (Fraction(1), Fraction(0))


class Checks(Protocol):
    """What a function asks the checker about its arguments."""

    scope: Scope

    def check(self, node: ast.expr) -> Checked: ...

    def name(self, node: ast.expr) -> Checked: ...

    def listed(self, node: ast.expr) -> Checked: ...

    def each(self, check: Callable[[ast.expr], Checked], nodes: Iterable[ast.expr]) -> list[Checked]: ...

    def each_of(self, *parts: tuple[Callable[[ast.expr], Checked], ast.expr]) -> list[Checked]: ...


@dataclass(frozen=True, slots=True)
class Function:
    """A function. Its result is missing when an argument is; a condition is false then."""

    name: str
    example: str
    gives: str  # in words, for the reference
    check: Callable[[Function, Checks, ast.Call], Checked]
    least: int = 1  # arguments
    most: int = 1
    code: Callable[..., Any] | None = None  # what compiled code calls; None: nothing of it is left there
    type: Type | None = None  # of its result; None: that of its arguments
    lacks: Callable[[Sequence[ast.expr], Scope], bool] | None = None  # whether it can be missing of what is known
    bounds: Callable[[Sequence[Hull]], Hull] | None = None  # of its result, from those of its arguments; None: unknown
    # The straight lines, over an argument, that its result is always on one of; None: it is not made of such lines.
    lines: tuple[Line, ...] | None = None
    form: Form | None = None  # of a text that it gives
    by_day: bool = False  # of a time: its result changes at midnight alone
    asks_calendar: bool = False  # calendar.yaml answers; for a day outside of it, nobody can say

    @property
    def texts(self) -> tuple[str, ...] | None:
        """The texts that its result is one of, when there are only some."""
        return None if self.type is None else self.type.values

    @property
    def takes(self) -> str:
        """How many arguments, in words."""
        if self.least < self.most:
            return f"{self.least} to {self.most} values"
        return "one value" if self.most == 1 else "two values"

    def call(self, *arguments: ast.expr) -> ast.Call:
        return ast.Call(ast.Name(self.name, ast.Load()), list(arguments), [])


# -- of what can be missing --------------------------------------------------------------------------------------------


def _known(function: Function, checks: Checks, node: ast.Call) -> Checked:
    argument = node.args[0]
    if not isinstance(argument, (ast.Name, ast.Attribute)):
        raise Refused((argument, "known asks about one name", "write known(x) with a declared name"))
    item = checks.name(argument)
    return Checked(node, function.call(item.tree) if item.optional else constant(True), BOOL)


# -- of numbers --------------------------------------------------------------------------------------------------------


def a_number(item: Checked) -> Checked:
    if item.type.kind != "number":
        raise Refused((item.node, f"cannot calculate with {words(item.type)}", "write a number"))
    return item


def _of_numbers(*refused: str, whole_cny: bool = False) -> Callable[[Function, Checks, ast.Call], Checked]:
    """Numbers of one unit that is not `refused`. With `whole_cny`, `code` gets and returns money as CNY."""

    def check(function: Function, checks: Checks, node: ast.Call) -> Checked:
        given = checks.each(checks.check, node.args)
        items = agree([a_number(item) for item in given], f"take the {function.name} of")
        unit, log10 = unit_of(items), max(item.log10 for item in items)
        if unit in refused:
            message = f"{function.name} takes a number, found {words(items[0].type)}"
            raise Refused((node, message, "such as round(x / days(1))"))
        literal, optional = all(item.literal for item in items), any(item.optional for item in items)
        scale = 100 if unit == MONEY and whole_cny else 1
        values = [item.value / scale for item in items if item.value is not None]
        if len(values) == len(items) and function.code is not None:
            return written(node, Fraction(function.code(*values)) * scale, unit, literal=literal)
        arguments = [item.tree for item in items]
        if scale > 1:
            arguments = [ast.BinOp(argument, ast.Div(), constant(Fraction(scale))) for argument in arguments]
        tree: ast.expr = function.call(*arguments)
        if scale > 1:
            tree = ast.BinOp(tree, ast.Mult(), constant(Fraction(scale)))
        return Checked(node, tree, number(unit), literal, optional, log10)

    return check


def _bounds_of_min(hulls: Sequence[Hull]) -> Hull:
    return min(low for low, _ in hulls), min(high for _, high in hulls)


def _bounds_of_max(hulls: Sequence[Hull]) -> Hull:
    return max(low for low, _ in hulls), max(high for _, high in hulls)


def _bounds_of_abs(hulls: Sequence[Hull]) -> Hull:
    low, high = hulls[0]
    least = 0.0 if low <= 0 <= high else min(abs(low), abs(high))
    return least, max(abs(low), abs(high))


def _bounds_of_round(hulls: Sequence[Hull]) -> Hull:
    return hulls[0][0] - 1, hulls[0][1] + 1


# -- of times ----------------------------------------------------------------------------------------------------------


def on_calendar(tree: ast.expr, scope: Scope) -> bool:
    """Whether a time is one of the engine's own; one that was calculated can lie beyond the calendar."""
    return isinstance(tree, ast.Name) and scope[tree.id].reads is None


def _beyond_calendar(arguments: Sequence[ast.expr], scope: Scope) -> bool:
    return not on_calendar(arguments[0], scope)


def _of_time(function: Function, checks: Checks, node: ast.Call) -> Checked:
    item = checks.check(node.args[0])
    if item.type != number(TIME):
        message = f"{function.name} takes a time, found {words(item.type)}"
        raise Refused((item.node, message, "write a time such as now or client.last_trade_at"))
    optional = item.optional or _beyond_calendar([item.tree], checks.scope)
    return Checked(node, function.call(item.tree), function.type or TEXT, optional=optional, log10=4.0)


def _of_the_calendar(
    code: Callable[[float], Any],
    type_: Type,
    gives: str,
    bounds: Hull | None = None,
    *,
    by_day: bool = True,
    form: Form | None = None,
) -> Function:
    return Function(
        name=code.__name__,
        example=f"{code.__name__}(now)",
        gives=gives,
        check=_of_time,
        code=code,
        type=type_,
        lacks=_beyond_calendar,
        bounds=None if bounds is None else lambda _hulls: bounds,
        by_day=by_day,
        form=form,
    )


def _no_calendar(_moment_ms: float) -> bool:
    """Compiled code has the active calendar's function in its place; rules that ask without one are refused."""
    return False


def _of_business_days(name: str, gives: str, *, by_day: bool = True) -> Function:
    return Function(
        name, f"{name}(now)", gives, _of_time, code=_no_calendar, type=BOOL, by_day=by_day, asks_calendar=True
    )


# -- of written values -------------------------------------------------------------------------------------------------


def _of_written(unit: str, scale: int) -> Callable[[Function, Checks, ast.Call], Checked]:
    """A written number with its unit, `scale` of it in code."""

    def check(function: Function, checks: Checks, node: ast.Call) -> Checked:
        item = checks.check(node.args[0])
        if item.value is None or not item.literal:
            instead = f", or {function.name}(1) * x" if unit == DURATION else ""
            message = f"{function.name} takes a written number"
            raise Refused((item.node, message, f"write {function.example}{instead}"))
        value = item.value * scale
        if unit == MONEY and value.denominator != 1:
            raise Refused((item.node, "money with more than two decimals", "write at most two decimals"))
        return written(node, value, unit, literal=False)

    return check


def _date(_function: Function, checks: Checks, node: ast.Call) -> Checked:
    item = checks.check(node.args[0])
    text = item.tree.value if isinstance(item.tree, ast.Constant) else None
    if not isinstance(text, str):
        raise Refused((item.node, "date takes a written day", WRITTEN[TIME]))
    try:
        moment_ms = helpers.date_ms(text) if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) else None
    except ValueError:
        moment_ms = None
    if moment_ms is None:
        remedy = 'write year, month and day: date("2026-10-01")'
        raise Refused((item.node, f'no such day: "{text[:40]}"', remedy))
    return written(node, Fraction(moment_ms), TIME, literal=False)


# -- of texts ----------------------------------------------------------------------------------------------------------


def _of_text(function: Function, checks: Checks, node: ast.Call) -> Checked:
    """The second argument is a written text, some of them, or a declared list."""
    text, sought = node.args
    listed = isinstance(sought, (ast.Tuple, ast.List, ast.Set, ast.Name, ast.Attribute))
    item, given = checks.each_of((checks.check, text), (checks.listed if listed else checks.check, sought))
    if item.type.kind != "text":
        message = f"{function.name} takes a text, found {words(item.type)}"
        raise Refused((item.node, message, "write a name that is a text"))
    parts = given.items or (given,)
    named = isinstance(given.tree, ast.Name)
    texts = [part.tree.value for part in parts if isinstance(part.tree, ast.Constant)]
    if not named and not (len(texts) == len(parts) and all(isinstance(text, str) and text for text in texts)):
        remedy = f'write {function.name}(x, "60"), or the name of a list'
        raise Refused((given.node, f"{function.name} looks for written texts", remedy))
    if named and function.name == "contains" and len(given.type.values or ()) > MAX_CONTAINED:
        remedy = "use starts_with, ends_with or in"
        raise Refused((given.node, f"contains with a list of more than {MAX_CONTAINED:,} texts", remedy))
    second = given.tree if named else constant(texts[0] if len(texts) == 1 else tuple(texts))
    return Checked(node, function.call(item.tree, second), BOOL)


def _text_function(code: Callable[[str, helpers.Texts], bool], gives: str) -> Function:
    name = code.__name__
    return Function(name, f'{name}(x, "60")', gives, _of_text, 2, 2, code=code, type=BOOL)


def _draw(function: Function, checks: Checks, node: ast.Call) -> Checked:
    """A text of which each value draws its own lot, the written name of the lot, and what it is drawn anew for."""
    items = checks.each(checks.check, node.args)
    text, lot, *rounds = items
    if text.type.kind != "text":
        raise Refused((text.node, f"draw takes a text, found {words(text.type)}", "write draw(client.id, ...)"))
    if not (isinstance(lot.tree, ast.Constant) and isinstance(lot.tree.value, str) and lot.tree.value):
        raise Refused((lot.node, "draw takes the written name of a lot", f"write {function.example}"))
    for item in map(a_number, rounds):
        if item.type.unit in (MONEY, TIME, DURATION):
            remedy = "write a number that changes when lots are drawn anew: month(now), year(now)"
            raise Refused((item.node, f"draw takes a number, found {words(item.type)}", remedy))
    optional = any(item.optional for item in items)
    tree = function.call(*(item.tree for item in items))
    return Checked(node, tree, function.type or TEXT, optional=optional, log10=2.0)


# -- the table ---------------------------------------------------------------------------------------------------------

_NEGATED: Final[Line] = (Fraction(-1), Fraction(0))
_HALVES: Final = ((Fraction(1), Fraction(1, 2)), (Fraction(1), Fraction(-1, 2)))  # from half to half
FUNCTIONS: Final[dict[str, Function]] = {
    function.name: function
    for function in (
        Function("known", "known(x)", "whether the name has a value", _known, type=BOOL, lines=()),
        Function(
            name="min",
            example="min(x, y)",
            gives="the smallest",
            check=_of_numbers(),
            least=2,
            most=20,
            code=min,
            bounds=_bounds_of_min,
            lines=(_AS_IT_IS,),
        ),
        Function(
            name="max",
            example="max(x, y)",
            gives="the largest",
            check=_of_numbers(),
            least=2,
            most=20,
            code=max,
            bounds=_bounds_of_max,
            lines=(_AS_IT_IS,),
        ),
        Function(
            name="abs",
            example="abs(x)",
            gives="without its sign",
            check=_of_numbers(TIME),
            code=abs,
            bounds=_bounds_of_abs,
            lines=(_AS_IT_IS, _NEGATED),
        ),
        Function(
            name="round",
            example="round(x)",
            gives="the nearest whole number; of money, whole CNY",
            check=_of_numbers(TIME, DURATION, whole_cny=True),
            code=round,
            bounds=_bounds_of_round,
            lines=(_AS_IT_IS, *_HALVES),
        ),
        Function("cny", "cny(50_000)", "money, where a plain number would not say so", _of_written(MONEY, 100)),
        Function("date", 'date("2026-10-01")', "the start of that day", _date),
        Function("days", "days(7)", "a duration", _of_written(DURATION, DAY_MS)),
        Function("hours", "hours(2)", "a duration", _of_written(DURATION, HOUR_MS)),
        Function("minutes", "minutes(30)", "a duration", _of_written(DURATION, MINUTE_MS)),
        _of_the_calendar(helpers.hour, number("hour"), "0 to 23", (0, 23), by_day=False),
        _of_the_calendar(helpers.weekday, enum(*WEEKDAYS), ", ".join(WEEKDAYS)),
        _of_the_calendar(helpers.day, number("day"), "of the month, 1 to 31", (1, 31)),
        _of_the_calendar(helpers.month, number("month"), "1 to 12", (1, 12)),
        _of_the_calendar(helpers.year, number("year"), "such as 2026"),
        _of_the_calendar(helpers.date_of, TEXT, 'the day as text, "2026-10-01"', form=DAY),
        _of_business_days("is_trading_day", "whether the exchange trades on that day; by calendar.yaml"),
        _of_business_days("is_working_day", "whether people work on that day, make-up days included; by calendar.yaml"),
        _of_business_days(
            "in_business_hours", "whether it is a working day within the hours of calendar.yaml", by_day=False
        ),
        _text_function(
            helpers.starts_with,
            "whether the text begins with what is written: one text, or a list of which any will do",
        ),
        _text_function(helpers.ends_with, "whether it ends so"),
        _text_function(helpers.contains, "whether it has it anywhere"),
        _text_function(helpers.has_code, "of codes that are joined by blanks: whether one of them is what is written"),
        Function(
            name="draw",
            example='draw(client.id, "visit")',
            gives="0 to 99.99, a lot that the client draws once for all; with a third value, anew when that changes",
            check=_draw,
            least=2,
            most=3,
            code=helpers.draw,
            type=number("draw"),
            bounds=lambda _hulls: (0, 99.99),
        ),
    )
}


def function_globals() -> dict[str, Callable[..., Any]]:
    """What the globals of compiled code must hold."""
    return {function.name: function.code for function in FUNCTIONS.values() if function.code is not None}
