"""Lists of days that end, and the calendar: what they say of a later day is not known.

Enters: a rule set's lists, calendar and expressions. Leaves: the last day of each; which of its days a condition asks
for; the condition as it may hold, where there is no answer.
Holds: a day after a list's last day is neither in the list nor outside of it, and a day outside of the calendar neither
a trading day nor none.
"""

from __future__ import annotations

import ast
import datetime as dt
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, Final

from engine.core.firm_time import day_number, day_of
from engine.core.language.expressions import BOOL, Expression
from engine.core.rules.business_days import CALENDAR_FILE, BusinessCalendar, called, outside
from engine.core.rules.tables import Definition

DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
SOON_DAYS: Final = 60  # before its end a list is reported
LastDays = Mapping[str, str]  # of a list, as it is written: 2026-12-31


def inferred(parts: Any, lists: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Lists of days that expressions ask for `date_of(...)`: each covers the year of its last day."""
    days = {name: max(values) for name, values in lists.items() if values and all(map(DAY.fullmatch, values))}
    if not days:
        return {}
    asked = {
        listed
        for expression in expressions_of(parts)
        for node in ast.walk(expression.tree)
        if (listed := _asks(node, days)) and any(_is_date_of(inner) for inner in ast.walk(node))
    }
    return {name: f"{day[:4]}-12-31" for name, day in days.items() if name in asked}


def expressions_of(value: Any) -> Iterator[Expression]:
    """All that stand in it."""
    if isinstance(value, Expression):
        yield value
    elif isinstance(value, dict):
        yield from expressions_of(tuple(value.values()))
    elif isinstance(value, tuple):
        for item in value:
            yield from expressions_of(item)
    elif is_dataclass(value):
        for field in fields(value):
            yield from expressions_of(getattr(value, field.name))


def days_left(last_days: LastDays, now_ms: int) -> dict[str, int]:
    """Until the last day of each list; below 0 once it has passed."""
    today = day_of(now_ms)
    return {name: day_number(dt.date.fromisoformat(day)) - today for name, day in last_days.items()}


def in_words(name: str) -> str:
    """What has a last day."""
    return name if name == CALENDAR_FILE else f"the list {name}"


def ends_in_words(day: str, left: int) -> str:
    if left < 0:
        return f"ended on {day}, {-left} day{'s' if left < -1 else ''} ago: what it says of later days is not known"
    return f"ends on {day}, in {left} day{'' if left == 1 else 's'}"


class DayLists:
    """`definitions` are those that conditions may use."""

    def __init__(
        self, last_days: LastDays, definitions: tuple[Definition, ...], calendar: BusinessCalendar | None = None
    ) -> None:
        self.last_days, self._calendar = last_days, calendar
        self._meanings = {d.name: d.expression.tree for d in definitions}
        self._conditions = {d.name for d in definitions if d.expression.type == BOOL}
        self._any = bool(last_days) or calendar is not None
        self._asking = {name for name, tree in self._meanings.items() if self._any and self._asked_by(tree)}

    def _asked_by(self, tree: ast.AST) -> list[ast.Compare | ast.Call]:
        found: list[ast.Compare | ast.Call] = []
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare | ast.Call) and (_asks(node, self.last_days) or called(node)):
                found.append(node)
            elif isinstance(node, ast.Name) and node.id in self._meanings:
                found += self._asked_by(self._meanings[node.id])
        return found

    def beyond(self, tree: ast.expr, others: Iterable[ast.expr] = (), now: bool = False) -> ast.expr | None:
        """A condition: it asks a list for a day that lies after the list's last, or it, or `others`, ask the calendar
        for one outside of it; `now` is then asked for, too. None: nothing of that is asked.
        """
        if not self._any:
            return None
        asked = self._asked_by(tree)
        asked += [node for other in others for node in self._asked_by(other) if isinstance(node, ast.Call)]
        tests = [self._unknown(node) for node in asked]
        if now and self._calendar is not None:
            tests.append(outside(self._calendar, ast.Name("now", ast.Load())))
        return ast.BoolOp(ast.Or(), tests) if len(tests) > 1 else tests[0] if tests else None

    def may_hold(self, tree: ast.expr, wanted: bool = True) -> ast.expr:
        """Where there is no answer, the answer that lets the condition be `wanted`."""
        if not self._any:
            return tree
        match tree:
            case ast.BoolOp():
                return ast.BoolOp(tree.op, [self.may_hold(value, wanted) for value in tree.values])
            case ast.UnaryOp(op=ast.Not()):
                return ast.UnaryOp(tree.op, self.may_hold(tree.operand, not wanted))
            case ast.Name() if tree.id in self._asking and tree.id in self._conditions:
                return self.may_hold(self._meanings[tree.id], wanted)
            case ast.Compare() if _asks(tree, self.last_days):
                holds = isinstance(tree.ops[0], ast.NotIn)  # as it is evaluated for a day that is not listed
                return tree if holds is wanted else ast.IfExp(self._unknown(tree), ast.Constant(wanted), tree)
            case ast.Call() if wanted and called(tree):  # as it is evaluated, it does not hold
                return ast.IfExp(self._unknown(tree), ast.Constant(True), tree)
        return tree

    def sure(self, condition: Expression, *, in_doubt: bool = False) -> Expression:
        """The condition as it holds by what the calendar says: where that has no answer, `in_doubt`."""
        return replace(condition, tree=self.may_hold(condition.tree, in_doubt))

    def _unknown(self, node: ast.Compare | ast.Call) -> ast.expr:
        """A condition: there is no answer."""
        if isinstance(node, ast.Call):
            assert self._calendar is not None  # else the rule set was refused
            return outside(self._calendar, node.args[0])
        listed = node.comparators[0]
        assert isinstance(listed, ast.Name)
        return ast.Compare(node.left, [ast.Gt()], [ast.Constant(self.last_days[listed.id])])


def _asks(node: ast.AST, lists: Mapping[str, Any]) -> str:
    """The list that a comparison asks."""
    if isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.In, ast.NotIn)):
        listed = node.comparators[0]
        if isinstance(listed, ast.Name) and listed.id in lists:
            return listed.id
    return ""


def _is_date_of(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "date_of"
