"""The firm's calendar, and what features ask a client's state to keep of one source.

Enters: nothing. Leaves: days and months of moments, Window, SourceLayout.
Holds: a slot is a day of the firm's calendar, counted from 1970-01-01, or an hour.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

DAY_MS: Final = 86_400_000
HOUR_MS: Final = 3_600_000
FIRM_UTC_OFFSET_MS: Final = 8 * HOUR_MS  # the firm's calendar day: China keeps UTC+8 all year
NEVER_MS: Final = 1 << 62
LONGEST_MONTH: Final = 31
_EPOCH_ORDINAL: Final = dt.date(1970, 1, 1).toordinal()


def day_of(moment_ms: int) -> int:
    """Days since 1970-01-01 in the firm's time zone."""
    return (moment_ms + FIRM_UTC_OFFSET_MS) // DAY_MS


def day_start_ms(day: int) -> int:
    return day * DAY_MS - FIRM_UTC_OFFSET_MS


@lru_cache(maxsize=4096)
def month_start(day: int) -> int:
    """The first day of the day's month."""
    return day + 1 - dt.date.fromordinal(_EPOCH_ORDINAL + day).day


def next_month(day: int) -> int:
    """The first day of the month after the day's."""
    return month_start(month_start(day) + LONGEST_MONTH)


@dataclass(frozen=True, slots=True)
class Window:
    """One feature over a column: `past[index]` holds its value over the slots before the present one."""

    column: int
    slots: int  # how far it reaches back at most, the present slot included
    unit: str = "slot"  # or month, previous_month: of days

    def first(self, now: int) -> int:
        """The slot before the first one of the window."""
        if self.unit == "slot":
            return now - self.slots
        start = month_start(now)
        return start - 1 if self.unit == "month" else month_start(start - 1) - 1


@dataclass(frozen=True, slots=True)
class SourceLayout:
    """The columns one source keeps, each named by a key that outlives the order of features."""

    columns: tuple[tuple[str, str], ...]  # (key, aggregate): count, sum, min, max, daily_mean: one value a slot
    sets: tuple[str, ...]  # distinct: value -> last slot it was seen
    lasts: tuple[str, ...]  # last: (slot, value)
    windows: tuple[tuple[str, Window], ...]  # (aggregate, window), in the order of `Activity.past`
    keys: list[list[str]]  # of columns, sets and lasts: what is stored to know them again
    keep: int  # slots that some window reaches
    blank_today: tuple[Any, ...]  # what the present slot's row begins with
    blank_past: tuple[Any, ...]  # every window's value without past slots
    closings: tuple[tuple[str, str, int], ...] = ()  # (key, distinct or last, its index): kept when a month ends
    totals: tuple[tuple[str, str], ...] = ()  # (key, aggregate): one value, since an event
    hours: SourceLayout | None = None  # the same by hour
    watched: tuple[tuple[str, Window], ...] = ()  # those of `windows` that are waited for while no event comes

    @property
    def extended(self) -> bool:
        """Whether there is more than columns by day."""
        return bool(self.hours or self.totals or self.closings)
