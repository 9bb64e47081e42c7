"""Quiet hours: whether now is one, and when they end.

Enters: the quiet hours that concern an action, a moment, the client's zone. Leaves: those that hold, and their end.
Holds: it is quiet when the clock on the client's wall says so, in nights of 23 and 25 hours too. A client whose zone
is not known has the firm's.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from engine.core.firm_time import MINUTE_MS, day_of, day_start_ms
from engine.core.policy.clock import DAY_MINUTES, FIRM, instants_ms, local, minute_of, set_ms
from engine.core.rules.business_days import BusinessDays
from engine.core.rules.policy import QuietHours

_MOST_SPANS = 64  # in a row: what is quiet for longer has no end


class Unknown(Exception):
    """The calendar says nothing of the day of `moment_ms`."""

    def __init__(self, moment_ms: int) -> None:
        super().__init__(moment_ms)
        self.moment_ms = moment_ms


def quiet_now(
    hours: Sequence[QuietHours], moment_ms: int, zone: dt.tzinfo | None, business: BusinessDays | None
) -> QuietHours | None:
    """The first that holds. Raises Unknown where none is known to hold, and a day would have to be known."""
    return next((one for one, _ in _held(hours, moment_ms, zone, business)), None)


def quiet_until_ms(
    hours: Sequence[QuietHours], moment_ms: int, zone: dt.tzinfo | None, business: BusinessDays | None
) -> int | None:
    """When none holds any more; None if no end can be seen. Raises Unknown with the moment up to which they hold."""
    for _ in range(_MOST_SPANS):
        held = _held(hours, moment_ms, zone, business)
        if not held:
            return moment_ms
        moment_ms = max(end for _, end in held)
    return None


def _held(
    hours: Sequence[QuietHours], moment_ms: int, zone: dt.tzinfo | None, business: BusinessDays | None
) -> list[tuple[QuietHours, int]]:
    """Those that hold, each with its end."""
    held: list[tuple[QuietHours, int]] = []
    unknown = False
    for one in hours:
        try:
            end_ms = _end_ms(one, moment_ms, zone, business)
        except Unknown:
            unknown = True
        else:
            held += [(one, end_ms)] if end_ms is not None else []
    if unknown and not held:
        raise Unknown(moment_ms)
    return held


def _end_ms(hours: QuietHours, moment_ms: int, zone: dt.tzinfo | None, business: BusinessDays | None) -> int | None:
    """When it ends, if it holds."""
    if hours.holidays:
        return _holiday_end_ms(moment_ms, business)
    there = FIRM if zone is None or hours.zone == "firm" else zone
    here = local(moment_ms, there)
    minute, today = minute_of(here), here.date()
    for began in (today, today - dt.timedelta(days=1)):
        shift = 0 if began == today else DAY_MINUTES
        until = hours.until if hours.until > hours.begin else hours.until + DAY_MINUTES
        if (hours.days and began.weekday() not in hours.days) or not hours.begin <= minute + shift < until:
            continue
        end_ms = next(end for end in instants_ms(began, until, there) if end > moment_ms)
        if end_ms - moment_ms <= (until - minute - shift) * MINUTE_MS:
            return end_ms
        back_ms = set_ms(moment_ms, end_ms, there)  # the clock is set back meanwhile, perhaps to before it begins
        return _end_ms(hours, back_ms, zone, business) or back_ms
    return None


def _holiday_end_ms(moment_ms: int, business: BusinessDays | None) -> int | None:
    """When the next working day begins, or the calendar ends; None on a working day."""
    assert business is not None  # else the policy was refused
    day = day_of(moment_ms)
    if not business.first <= day <= business.last:
        raise Unknown(moment_ms)
    if business.is_working_day(moment_ms):
        return None
    return day_start_ms(min(business.next_day("working_day", day), business.last + 1))
