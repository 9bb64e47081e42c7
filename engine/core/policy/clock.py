"""Clocks of the firm and of clients: periods of a calendar, and times of the day, in any zone.

Enters: a moment in epoch milliseconds, and a zone; None is the firm's. Leaves: moments.
Holds: time zones are those of the tzdata package alone, never the machine's, so that every worker counts alike. A time
of the day that a night leaves out comes when the clock has passed it; of one that comes twice the first counts.
"""

from __future__ import annotations

import datetime as dt
import zoneinfo
from functools import lru_cache
from typing import Final

from engine.core.firm_time import FIRM_UTC_OFFSET_MS
from engine.core.rules.policy import Per

# The decisions follow from it: with another version SEMANTICS is raised (tests compare it with what is installed).
TZDATA_VERSION: Final = "2026f"
FIRM: Final = dt.timezone(dt.timedelta(milliseconds=FIRM_UTC_OFFSET_MS))
DAY_MINUTES: Final = 24 * 60
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
    if per == "hour":  # one that comes twice in a night is one
        return instants_ms(today, here.hour * 60, zone)[0], instants_ms(today, (here.hour + 1) * 60, zone)[0]
    if per == "day":
        first, after = today, today + dt.timedelta(days=1)
    elif per == "week":
        first = today - dt.timedelta(days=today.weekday())
        after = first + dt.timedelta(days=7)
    else:
        first = today.replace(day=1)
        after = (first + dt.timedelta(days=31)).replace(day=1)
    return instants_ms(first, 0, zone)[0], instants_ms(after, 0, zone)[0]


def minute_of(moment: dt.datetime) -> int:
    return moment.hour * 60 + moment.minute
