"""The calendar of calendar.yaml: trading days, working days and business hours, with a first and a last day.

Enters: a BusinessCalendar. Leaves: BusinessDays, which answers for a moment, and names the next such day.
Holds: a trading day is a Monday to Friday without holiday; a Saturday or Sunday on which people work is a working day,
and no trading day. Of a day outside of the calendar nothing is known: no question about it holds.
"""

from __future__ import annotations

import ast
import datetime as dt
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from engine.core.firm_time import FIRM_UTC_OFFSET_MS, MINUTE_MS, day_number, day_of, day_start_ms
from engine.core.language.functions import FUNCTIONS
from engine.core.language.types import Expression

CALENDAR_FILE: Final = "calendar.yaml"
MAX_YEARS: Final = 50  # that one covers
_DAY_MINUTES: Final = 24 * 60
_ASKING: Final = tuple(function.name for function in FUNCTIONS.values() if function.asks_calendar)


@dataclass(frozen=True, slots=True)
class BusinessCalendar:
    """Days as they are written: 2026-12-31; hours as 09:00-17:30."""

    title: str
    first_day: str
    last_day: str
    holidays: tuple[str, ...] = ()  # nobody trades or works
    closed: tuple[str, ...] = ()  # nobody trades, people work
    workdays: tuple[str, ...] = ()  # Saturdays and Sundays on which people work
    business_hours: tuple[str, ...] = ()  # of working days


class BusinessDays:
    """What a calendar comes to."""

    def __init__(self, calendar: BusinessCalendar) -> None:
        self.first, self.last = _number(calendar.first_day), _number(calendar.last_day)
        off = frozenset(map(_number, calendar.holidays))
        closed, extra = (frozenset(map(_number, days)) for days in (calendar.closed, calendar.workdays))
        usual = [day for day in range(self.first, self.last + 1) if _is_weekday(day) and day not in off]
        self.trading = [day for day in usual if day not in closed]
        self.working = sorted({*usual, *extra})
        self._trading, self._working = frozenset(self.trading), frozenset(self.working)
        self._hours = tuple(sorted(map(minutes_of, calendar.business_hours)))
        self.day_ms = sum(end - begin for begin, end in self._hours) * MINUTE_MS  # of business hours of a working day

    def is_trading_day(self, moment_ms: float) -> bool:
        return day_of(moment_ms) in self._trading  # type: ignore[arg-type]  # calculated times have fractions

    def is_working_day(self, moment_ms: float) -> bool:
        return day_of(moment_ms) in self._working  # type: ignore[arg-type]

    def in_business_hours(self, moment_ms: float) -> bool:
        minute = (moment_ms + FIRM_UTC_OFFSET_MS) // MINUTE_MS % _DAY_MINUTES
        return self.is_working_day(moment_ms) and any(begin <= minute < end for begin, end in self._hours)

    def next_day(self, every: str, day: int) -> int:
        """The first trading or working day from `day` on. Outside of the calendar: the first Monday to Friday, at which
        nothing is sent, since nobody knows whether it is one.
        """
        days = self.trading if every == "trading_day" else self.working
        if day < self.first and (before := _next_weekday(day)) < self.first:
            return before
        place = bisect_left(days, day)
        return days[place] if place < len(days) else _next_weekday(max(day, self.last + 1))

    def after(self, start_ms: int, length_ms: int) -> int:
        """The moment at which so much of business hours has passed since `start_ms`."""
        if length_ms <= 0:
            return start_ms
        days, rest = divmod(self._passed(start_ms) + length_ms - 1, self.day_ms)
        moment_ms, rest = day_start_ms(self._working_day(days)), rest + 1
        for begin, end in self._hours:
            if rest <= (end - begin) * MINUTE_MS:
                return moment_ms + begin * MINUTE_MS + rest
            rest -= (end - begin) * MINUTE_MS
        raise AssertionError("a day's business hours are as long as their parts")

    def between(self, start_ms: int, end_ms: int) -> int:
        """How much of business hours lies between two moments, in milliseconds."""
        return self._passed(end_ms) - self._passed(start_ms)

    def _passed(self, moment_ms: int) -> int:
        """The business hours from the calendar's first day to a moment. Of days outside of the calendar each Monday to
        Friday counts: a clock that stood still there would keep silent.
        """
        day = day_of(moment_ms)
        inside = self.first <= day <= self.last
        passed_ms = self._days_before(day) * self.day_ms
        if day in self._working if inside else _is_weekday(day):
            since_ms = moment_ms - day_start_ms(day)
            passed_ms += sum(min(max(since_ms - b * MINUTE_MS, 0), (e - b) * MINUTE_MS) for b, e in self._hours)
        return passed_ms

    def _days_before(self, day: int) -> int:
        """Working days from the calendar's first day on; less than none for a day before it."""
        if day < self.first:
            return _weekdays_before(day) - _weekdays_before(self.first)
        beyond = max(0, _weekdays_before(day) - _weekdays_before(self.last + 1)) if day > self.last else 0
        return bisect_left(self.working, day) + beyond

    def _working_day(self, number: int) -> int:
        """The inverse of `_days_before`."""
        if 0 <= number < len(self.working):
            return self.working[number]
        weekday = number + _weekdays_before(self.first)
        if number >= 0:
            weekday = number - len(self.working) + _weekdays_before(self.last + 1)
        return weekday // 5 * 7 + weekday % 5 - 3

    def functions(self) -> dict[str, Callable[[float], bool]]:
        """By their names in the expression language."""
        return {name: getattr(self, name) for name in FUNCTIONS if FUNCTIONS[name].asks_calendar}


def answered_by(calendar: BusinessCalendar | None, faulty: bool) -> frozenset[str]:
    """The functions of the calendar that it has an answer for; of a faulty one all, so that no rule is blamed."""
    names = frozenset(name for name, function in FUNCTIONS.items() if function.asks_calendar)
    if faulty or (calendar is not None and calendar.business_hours):
        return names
    return names - {"in_business_hours"} if calendar is not None else frozenset()


@lru_cache(maxsize=64)
def business_days(calendar: BusinessCalendar) -> BusinessDays:
    return BusinessDays(calendar)


def minutes_of(span: str) -> tuple[int, int]:
    """When business hours begin and end, in minutes of the day."""
    begin, end = (int(time[:2]) * 60 + int(time[3:]) for time in span.split("-"))
    return begin, end


def asked_by(trees: Iterable[ast.AST]) -> set[str]:
    """The functions of the calendar that these trees call."""
    return {call for tree in trees for node in ast.walk(tree) if (call := called(node))}


def called(node: ast.AST) -> str:
    """The function of the calendar that this calls."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        function = FUNCTIONS.get(node.func.id)
        return node.func.id if function is not None and function.asks_calendar else ""
    return ""


def asks_calendar(expression: Expression) -> bool:
    """Whether it calls such a function itself."""
    named = any(name in expression.text for name in _ASKING)  # which is found faster
    return named and any(called(node) for node in ast.walk(expression.tree))


def outside(calendar: BusinessCalendar, moment: ast.expr) -> ast.expr:
    """A condition: the moment's day is not one that the calendar covers."""
    day: Any = ast.Call(ast.Name("date_of", ast.Load()), [moment], [])
    tests: list[ast.expr] = [
        ast.Compare(day, [ast.Lt()], [ast.Constant(calendar.first_day)]),
        ast.Compare(day, [ast.Gt()], [ast.Constant(calendar.last_day)]),
    ]
    return ast.BoolOp(ast.Or(), tests)


def _number(day: str) -> int:
    return day_number(dt.date.fromisoformat(day))


def _is_weekday(day: int) -> bool:
    return (day + 3) % 7 < 5  # day 0 was a Thursday


def _weekdays_before(day: int) -> int:
    """Mondays to Fridays from day -3, a Monday, on."""
    weeks, rest = divmod(day + 3, 7)
    return weeks * 5 + min(rest, 5)


def _next_weekday(day: int) -> int:
    return next(later for later in range(day, day + 3) if _is_weekday(later))
