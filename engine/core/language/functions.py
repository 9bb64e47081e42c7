"""The functions of the expression language, but for known(x): what they take and what they give.

Enters: a call and its checked arguments. Leaves: the checked result, or Refused with what to write.
Holds: a function of written values is calculated here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Final

from engine.core.firm_time import HOUR_MS, WEEKDAYS
from engine.core.language.arithmetic import written
from engine.core.language.helpers import date_ms
from engine.core.language.types import BOOL, DURATION, MONEY, TEXT, TIME, Scope, Type, enum, number
from engine.core.language.units import WRITTEN, Checked, Refused, agree, constant, unit_of, words

TIME_FUNCTIONS: Final[dict[str, Type]] = {
    "hour": number("hour"),
    "weekday": enum(*WEEKDAYS),
    "day": number("day"),
    "month": number("month"),
    "year": number("year"),
    "date_of": TEXT,
}
TEXT_FUNCTIONS: Final = ("starts_with", "ends_with", "contains")
# What they give of one: (unit, how much of it in code).
_WRITTEN_UNITS: Final = {
    "days": (DURATION, 24 * HOUR_MS),
    "hours": (DURATION, HOUR_MS),
    "minutes": (DURATION, HOUR_MS // 60),
    "cny": (MONEY, 100),
}
WRITTEN_FUNCTIONS: Final = (*_WRITTEN_UNITS, "date")
# Least and most arguments, and an example.
FUNCTIONS: Final[dict[str, tuple[int, int, str]]] = {
    "known": (1, 1, "known(x)"),
    "min": (2, 20, "min(x, y)"),
    "max": (2, 20, "max(x, y)"),
    "abs": (1, 1, "abs(x)"),
    "round": (1, 1, "round(x)"),
    "cny": (1, 1, "cny(50_000)"),
    "date": (1, 1, 'date("2026-10-01")'),
    "days": (1, 1, "days(7)"),
    "hours": (1, 1, "hours(2)"),
    "minutes": (1, 1, "minutes(30)"),
    **{name: (1, 1, f"{name}(now)") for name in TIME_FUNCTIONS},
    **{name: (2, 2, f'{name}(x, "60")') for name in TEXT_FUNCTIONS},
}
MAX_CONTAINED: Final = 1_000  # each is looked for by itself


def a_number(item: Checked) -> Checked:
    if item.type.kind != "number":
        raise Refused((item.node, f"cannot calculate with {words(item.type)}", "write a number"))
    return item


def call_numbers(node: ast.Call, function: str, given: Sequence[Checked]) -> Checked:
    """min, max, abs, round."""
    items = agree([a_number(item) for item in given], f"take the {function} of")
    unit, log10 = unit_of(items), max(item.log10 for item in items)
    if (unit == TIME and function in ("abs", "round")) or (unit == DURATION and function == "round"):
        raise Refused((node, f"{function} takes a number, found {words(items[0].type)}", "such as round(x / days(1))"))
    literal, optional = all(item.literal for item in items), any(item.optional for item in items)
    scale = 100 if unit == MONEY and function == "round" else 1  # to whole CNY, while code counts fen
    values = [item.value for item in items if item.value is not None]
    if len(values) == len(items):
        return written(node, _fold(function, values, scale), unit, literal=literal)
    arguments = [item.tree for item in items]
    if scale > 1:
        arguments = [ast.BinOp(arguments[0], ast.Div(), constant(Fraction(scale)))]
    tree: ast.expr = ast.Call(ast.Name(function, ast.Load()), arguments, [])
    if scale > 1:
        tree = ast.BinOp(tree, ast.Mult(), constant(Fraction(scale)))
    return Checked(node, tree, number(unit), literal, optional, log10)


def _fold(function: str, values: list[Fraction], scale: int) -> Fraction:
    if function in ("min", "max"):
        return min(values) if function == "min" else max(values)
    return abs(values[0]) if function == "abs" else Fraction(round(values[0] / scale) * scale)


def on_calendar(tree: ast.expr, scope: Scope) -> bool:
    """Whether a time is one of the engine's own; one that was calculated can lie beyond the calendar."""
    return isinstance(tree, ast.Name) and scope[tree.id].reads is None


def call_time(node: ast.Call, function: str, item: Checked, scope: Scope) -> Checked:
    """The calendar functions."""
    if item.type != number(TIME):
        message = f"{function} takes a time, found {words(item.type)}"
        raise Refused((item.node, message, "write a time such as now or client.last_trade_at"))
    tree = ast.Call(ast.Name(function, ast.Load()), [item.tree], [])
    optional = item.optional or not on_calendar(item.tree, scope)
    return Checked(node, tree, TIME_FUNCTIONS[function], optional=optional, log10=4.0)


def call_written(node: ast.Call, function: str, item: Checked) -> Checked:
    """A written value with its unit."""
    if function == "date":
        return _date(node, item)
    unit, scale = _WRITTEN_UNITS[function]
    if item.value is None or not item.literal:
        instead = f", or {function}(1) * x" if unit == DURATION else ""
        example = FUNCTIONS[function][2]
        raise Refused((item.node, f"{function} takes a written number", f"write {example}{instead}"))
    value = item.value * scale
    if unit == MONEY and value.denominator != 1:
        raise Refused((item.node, "money with more than two decimals", "write at most two decimals"))
    return written(node, value, unit, literal=False)


def _date(node: ast.Call, item: Checked) -> Checked:
    text = item.tree.value if isinstance(item.tree, ast.Constant) else None
    if not isinstance(text, str):
        raise Refused((item.node, "date takes a written day", WRITTEN[TIME]))
    try:
        moment_ms = date_ms(text) if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) else None
    except ValueError:
        moment_ms = None
    if moment_ms is None:
        remedy = 'write year, month and day: date("2026-10-01")'
        raise Refused((item.node, f'no such day: "{text[:40]}"', remedy))
    return written(node, Fraction(moment_ms), TIME, literal=False)


def call_text(node: ast.Call, function: str, item: Checked, given: Checked) -> Checked:
    """starts_with, ends_with, contains: the second argument is a written text, some of them, or a declared list."""
    if item.type.kind != "text":
        raise Refused((item.node, f"{function} takes a text, found {words(item.type)}", "write a name that is a text"))
    parts = given.items or (given,)
    named = isinstance(given.tree, ast.Name)
    texts = [part.tree.value for part in parts if isinstance(part.tree, ast.Constant)]
    if not named and not (len(texts) == len(parts) and all(isinstance(text, str) and text for text in texts)):
        remedy = f'write {function}(x, "60"), or the name of a list'
        raise Refused((given.node, f"{function} looks for written texts", remedy))
    if named and function == "contains" and len(given.type.values or ()) > MAX_CONTAINED:
        remedy = "use starts_with, ends_with or in"
        raise Refused((given.node, f"contains with a list of more than {MAX_CONTAINED:,} texts", remedy))
    second = given.tree if named else constant(texts[0] if len(texts) == 1 else tuple(texts))
    return Checked(node, ast.Call(ast.Name(function, ast.Load()), [item.tree, second], []), BOOL)
