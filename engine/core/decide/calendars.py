"""Times of the firm's calendar at which rules are evaluated.

Enters: a Calendar and a moment; of trading and working days, the rule set's own. Leaves: the first occurrence after it,
in epoch milliseconds.
Holds: days and times are the firm's (UTC+8); a day that a month does not have is its last one.
"""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from engine.core.firm_time import MINUTE_MS, NEVER_MS, date_of_day, day_number, day_of, day_start_ms
from engine.core.rules.business_days import BusinessDays
from engine.core.rules.occasion import BUSINESS_DAYS, BeforeMaturity, Calendar

_MONTHS: Final = {"month": 1, "quarter": 3, "year": 12, "birthday": 12}


def next_ms(when: Calendar, after_ms: int, birth_date: str | None = None, business: BusinessDays | None = None) -> int:
    """The first occurrence later than `after_ms`; NEVER_MS for a birthday that is not known."""
    if when.every in BUSINESS_DAYS:
        assert business is not None  # else the rule set was refused
        today = day_of(after_ms)
        moment_ms = at_day_ms(when, business.next_day(when.every, today))
        return moment_ms if moment_ms > after_ms else at_day_ms(when, business.next_day(when.every, today + 1))
    if when.every == "birthday" and birth_date is None:
        return NEVER_MS
    birth_date = birth_date if when.every == "birthday" else None
    today = day_of(after_ms)
    moment_ms = _first_from(when, today, birth_date)
    return moment_ms if moment_ms > after_ms else _first_from(when, today + 1, birth_date)


def at_day_ms(when: Calendar | BeforeMaturity, day: int) -> int:
    """The moment that belongs to `day`."""
    return day_start_ms(day - when.before_days) + when.minute * MINUTE_MS


@lru_cache(maxsize=16_384)
def _first_from(when: Calendar, day: int, birth_date: str | None) -> int:
    """The first occurrence on `day` or later."""
    return next(
        at_day_ms(when, named) for named in _named_days(when, day, birth_date) if named - when.before_days >= day
    )


def _named_days(when: Calendar, day: int, birth_date: str | None) -> Iterator[int]:
    """The days that the calendar names, from some day not later than `day`, in order."""
    if when.every == "day":
        yield day
        return
    start = date_of_day(day)
    if when.every == "week":
        yield day + (when.day - start.isoweekday()) % 7
        return
    step = _MONTHS[when.every]
    month, month_day = when.month, when.day
    if birth_date is not None:
        month, month_day = int(birth_date[5:7]), int(birth_date[8:10])
    count = start.year * 12 + (month - 1 if step == 12 else (start.month - 1) // step * step)
    while True:
        year, zero_based = divmod(count, 12)
        last = calendar.monthrange(year, zero_based + 1)[1]
        yield day_number(dt.date(year, zero_based + 1, min(month_day, last)))
        count += step
