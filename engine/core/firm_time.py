"""Time as the firm counts it: days and months of its calendar (UTC+8, which China keeps all year).

Enters: epoch milliseconds, days. Leaves: the other one.
Holds: a day is a number, counted from 1970-01-01 in the firm's time zone.
"""

from __future__ import annotations

import datetime as dt
from functools import lru_cache
from typing import Final

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
FIRM_UTC_OFFSET_MS: Final = 8 * HOUR_MS
NEVER_MS: Final = 1 << 62
LONGEST_MONTH: Final = 31
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_EPOCH: Final = dt.date(1970, 1, 1).toordinal()


def day_of(moment_ms: int) -> int:
    """The day of a moment."""
    return (moment_ms + FIRM_UTC_OFFSET_MS) // DAY_MS


def day_start_ms(day: int) -> int:
    return day * DAY_MS - FIRM_UTC_OFFSET_MS


def day_number(date: dt.date) -> int:
    return date.toordinal() - _EPOCH


def date_of_day(day: int) -> dt.date:
    """Raises ValueError beyond the years 1 to 9999."""
    return dt.date.fromordinal(_EPOCH + day)


@lru_cache(maxsize=4096)
def month_start(day: int) -> int:
    """The first day of the day's month."""
    return day + 1 - date_of_day(day).day


def next_month(day: int) -> int:
    """The first day of the month after the day's."""
    return month_start(month_start(day) + LONGEST_MONTH)
