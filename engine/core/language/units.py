"""Which parts of an expression fit together: kinds, units, the values of enums.

Enters: checked parts. Leaves: the same parts brought to one unit, or Refused with every reason.
Holds: a written number that meets money becomes fen, exactly; unlike units are never compared, added or chosen between.
"""

from __future__ import annotations

import ast
import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final, NamedTuple

from engine.core.language.types import DURATION, MONEY, TIME, FaultKind, Type, number, quoted

UNIT_WORDS: Final = {
    None: "a plain number",
    MONEY: "money",
    "days": "days",
    "ratio": "a ratio",
    "count": "a count",
    "shares": "a number of shares",
    "score": "a score",
    TIME: "a time",
    DURATION: "a duration",
    "hour": "an hour of the day",
    "day": "a day of the month",
    "month": "a month of the year",
    "year": "a year",
}
MAX_WRONG: Final = 20  # values of one list that are reported at once
KIND_WORDS: Final = {"text": "a text", "bool": "a condition", "set": "a list", "list": "a list"}
# Units that a written number does not take, and how a value of them is written.
WRITTEN: Final = {TIME: 'write a time such as date("2026-10-01")', DURATION: "write a duration such as days(7)"}


class Wrong(NamedTuple):
    """A fault at a node; see Fault."""

    node: ast.AST
    message: str
    remedy: str
    kind: FaultKind = "other"
    name: str = ""


class Refused(Exception):
    """Why a part is refused. Never leaves the checker."""

    def __init__(self, *faults: Wrong | tuple[ast.AST, str, str]) -> None:
        super().__init__()
        self.faults = tuple(Wrong(*fault) for fault in faults)


@dataclass(frozen=True, slots=True)
class Checked:
    """A checked part. A `literal` is made of written values only: it takes the unit of what it meets; its own is None.
    A value written with its unit, such as cny(5) or days(7), is not a literal.

    In a tree under check a written number is a Fraction, so that 0.1 * 3 CNY is exactly 30 fen.
    """

    node: ast.expr  # as written
    tree: ast.expr  # as compiled
    type: Type
    literal: bool = False
    optional: bool = False
    log10: float = 0.0  # no value of it is beyond 10 ** log10
    items: tuple[Checked, ...] = ()  # the values of a written list

    @property
    def value(self) -> Fraction | None:
        """The written number, when it is one."""
        value: object = self.tree.value if isinstance(self.tree, ast.Constant) else None
        return value if isinstance(value, Fraction) else None


def words(type_: Type) -> str:
    if type_.kind == "number":
        return UNIT_WORDS.get(type_.unit, str(type_.unit))
    return KIND_WORDS[type_.kind]


def constant(value: Any) -> ast.Constant:
    return ast.Constant(value)


def agree(items: Sequence[Checked], verb: str) -> list[Checked]:
    """The same items, written numbers in the unit of the others."""
    first = next((item for item in items if not item.literal), items[0])
    unlike = [item for item in items if item.type.kind != first.type.kind]
    if unlike:
        remedy = f"write {words(first.type)}"
        raise Refused(*((i.node, f"cannot {verb} {words(first.type)} and {words(i.type)}", remedy) for i in unlike))
    if first.type.kind == "text" and verb == "compare":
        _agree_texts(items)
    if first.type.kind != "number":
        return list(items)
    unit = unit_of(items)
    for item in items:
        own = item.type.unit
        if own == unit or (own is None and unit not in WRITTEN and (item.literal or unit != MONEY)):
            continue
        if own is not None:
            days = {own, unit} == {"days", DURATION}
            remedy = "subtract times: now - client.tier_since > days(7)" if days else "bring both to one unit"
        else:
            remedy = WRITTEN.get(unit or "", "only a written number takes the unit of money")
        raise Refused((item.node, f"cannot {verb} {words(number(unit))} and {words(item.type)}", remedy))
    return [take_unit(item, unit) if item.literal else item for item in items]


def _agree_texts(items: Sequence[Checked]) -> None:
    faults = []
    for position, holder in enumerate(items):
        allowed = holder.type.values
        if holder.literal or allowed is None:
            continue
        for other, item in enumerate(items):
            values = item.type.values or ()
            wrong = [value for value in values if value not in allowed]
            all_wrong = len(wrong) == len(values) and other > position
            for value in wrong[:MAX_WRONG] if item.literal else wrong[:1] if all_wrong else ():
                close = difflib.get_close_matches(value, allowed, n=1)
                hint = f'did you mean "{close[0]}"? ' if close else ""
                remedy = f"{hint}allowed: {quoted(allowed)}" if allowed else "it has no values"
                name = ast.unparse(holder.node)
                faults.append(Wrong(item.node, f'{name} is never "{value}"', remedy, "never that value", name))
    if faults:
        raise Refused(*faults)


def unit_of(items: Sequence[Checked]) -> str | None:
    """The unit of items that agree."""
    return next((item.type.unit for item in items if item.type.unit is not None), None)


def take_unit(item: Checked, unit: str | None) -> Checked:
    """A literal in a unit."""
    if unit is None:
        return item
    tree = _fen(item.node, item.tree) if unit == MONEY else item.tree
    return replace(item, tree=tree, type=number(unit), literal=False, log10=item.log10 + 2)


def _fen(node: ast.expr, tree: ast.expr) -> ast.expr:
    value: Any = tree.value if isinstance(tree, ast.Constant) else None
    if isinstance(value, Fraction):
        if (value * 100).denominator != 1:
            raise Refused((node, "money with more than two decimals", "write at most two decimals"))
        return constant(value * 100)
    if isinstance(tree, ast.IfExp):
        return ast.IfExp(tree.test, _fen(node, tree.body), _fen(node, tree.orelse))
    return ast.BinOp(tree, ast.Mult(), constant(Fraction(100)))


def log10_of(value: Fraction) -> float:
    return math.log10(abs(value)) if abs(value) > 1 else 0.0
