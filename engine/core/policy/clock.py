"""Clocks of the firm and of clients: periods of a calendar, and times of the day, in any zone; times of the firm's
calendar at which rules are evaluated.

Enters: a moment in epoch milliseconds, and a zone, None is the firm's; a Calendar. Leaves: moments.
Holds: time zones are those of the tzdata package alone, never the machine's, so that every worker counts alike. A time
of the day that a night leaves out comes when the clock has passed it; of one that comes twice the first counts.
"""

from __future__ import annotations

import calendar
import datetime as dt
import zoneinfo
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from engine.core.firm_time import (
    FIRM_UTC_OFFSET_MS,
    HOUR_MS,
    MINUTE_MS,
    NEVER_MS,
    date_of_day,
    day_number,
    day_of,
    day_start_ms,
)
from engine.core.rules.business_days import BusinessDays
from engine.core.rules.occasion import BUSINESS_DAYS, BeforeMaturity, Calendar
from engine.core.rules.policy import Per

# The decisions follow from it: with another version SEMANTICS is raised (tests compare it with what is installed).
TZDATA_VERSION: Final = "2026f"
FIRM: Final = dt.timezone(dt.timedelta(milliseconds=FIRM_UTC_OFFSET_MS))
DAY_MINUTES: Final = 24 * 60
_MONTHS: Final = {"month": 1, "quarter": 3, "year": 12, "birthday": 12}
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND: Final = dt.timedelta(milliseconds=1)

zoneinfo.reset_tzpath(())  # the package alone


@lru_cache(maxsize=1024)
def zone_named(name: str | None) -> dt.tzinfo | None:
    """None where there is no such zone."""
    if name is None:
        return None
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return None


def local(moment_ms: int, zone: dt.tzinfo) -> dt.datetime:
    return (_EPOCH + moment_ms * _MILLISECOND).astimezone(zone)


def _ms(moment: dt.datetime) -> int:
    return (moment - _EPOCH) // _MILLISECOND


def instants_ms(date: dt.date, minute: int, zone: dt.tzinfo) -> tuple[int, int]:
    """The first and the last moment at which the clock there shows this time; both the moment at which it passes it,
    when a night leaves it out. `minute` can be that of the next day: 24:00 is 1440.
    """
    wall = dt.datetime.combine(date, dt.time()) + dt.timedelta(minutes=minute)
    first, last = (_ms(wall.replace(tzinfo=zone, fold=fold)) for fold in (0, 1))
    if first <= last:
        return first, last
    before, after = last, first  # the clock leaps over it between these two
    while after - before > 1:
        middle = (before + after) // 2
        if local(middle, zone).replace(tzinfo=None) < wall:
            before = middle
        else:
            after = middle
    return after, after


def period_ms(per: Per, moment_ms: int, zone: dt.tzinfo) -> tuple[int, int]:
    """When the hour, day, week or month of a moment begins, and the next one."""
    here = local(moment_ms, zone)
    today = here.date()
    if per == "hour":
        return _hour_ms(moment_ms, here)
    if per == "day":
        first, after = today, today + dt.timedelta(days=1)
    elif per == "week":
        first = today - dt.timedelta(days=today.weekday())
        after = first + dt.timedelta(days=7)
    else:
        first = today.replace(day=1)
        after = (first + dt.timedelta(days=31)).replace(day=1)
    return instants_ms(first, 0, zone)[0], instants_ms(after, 0, zone)[0]


def _hour_ms(moment_ms: int, here: dt.datetime) -> tuple[int, int]:
    """It ends, and another begins, when the clock is set."""
    zone = here.tzinfo
    assert zone is not None
    begin_ms = moment_ms - (here.minute * 60 + here.second) * 1000 - here.microsecond // 1000
    end_ms = begin_ms + HOUR_MS
    if local(begin_ms, zone).utcoffset() != here.utcoffset():
        begin_ms = set_ms(begin_ms, moment_ms, zone)
    if local(end_ms - 1, zone).utcoffset() != here.utcoffset():
        end_ms = set_ms(moment_ms, end_ms - 1, zone)
    return begin_ms, end_ms


def set_ms(before: int, after: int, zone: dt.tzinfo) -> int:
    """The moment between the two at which the clock is set; it is, once."""
    set_to = local(after, zone).utcoffset()
    while after - before > 1:
        middle = (before + after) // 2
        if local(middle, zone).utcoffset() == set_to:
            after = middle
        else:
            before = middle
    return after


def minute_of(moment: dt.datetime) -> int:
    return moment.hour * 60 + moment.minute


# -- times of the firm's calendar --------------------------------------------------------------------------------------


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
