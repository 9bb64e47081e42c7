"""Clocks of the policy: periods and quiet hours in odd zones, nights of 23 and 25 hours, days left out."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
import tzdata
from hypothesis import given
from hypothesis import strategies as st

from engine.core.firm_time import DAY_MS, HOUR_MS, MINUTE_MS
from engine.core.policy.clock import TZDATA_VERSION, instants_ms, local, minute_of, period_ms, zone_named
from engine.core.policy.quiet import Unknown, quiet_now, quiet_until_ms
from engine.core.rules.business_days import BusinessCalendar, business_days
from engine.core.rules.policy import QuietHours

ZONES = (
    "Asia/Shanghai", "Asia/Kathmandu", "Pacific/Pago_Pago", "Pacific/Kiritimati", "America/New_York", "Europe/London",
    "Australia/Lord_Howe", "Africa/Cairo", "America/Santiago", "Asia/Beirut", "Pacific/Apia", "Pacific/Chatham",
)  # fmt: skip


def ms(text: str) -> int:
    return round(dt.datetime.fromisoformat(text).timestamp() * 1000)


def test_decisions_follow_from_the_version_of_the_time_zones():
    assert tzdata.IANA_VERSION == TZDATA_VERSION, "raise SEMANTICS with it: other zones are other decisions"


@pytest.mark.parametrize(
    ("zone", "date", "minute", "instants"),
    [
        ("Asia/Shanghai", "2026-03-01", 0, ("2026-03-01T00:00+08:00",)),
        ("Asia/Shanghai", "2026-03-01", 1440, ("2026-03-02T00:00+08:00",)),
        ("Asia/Kathmandu", "2026-03-01", 9 * 60, ("2026-03-01T09:00+05:45",)),
        ("America/New_York", "2026-03-08", 150, ("2026-03-08T03:00-04:00",)),  # 02:30 is left out
        ("America/New_York", "2026-03-08", 180, ("2026-03-08T03:00-04:00",)),
        ("America/New_York", "2026-11-01", 90, ("2026-11-01T01:30-04:00", "2026-11-01T01:30-05:00")),
        ("Africa/Cairo", "2026-04-24", 0, ("2026-04-24T01:00+03:00",)),  # midnight is left out
        ("Australia/Lord_Howe", "2026-10-04", 135, ("2026-10-04T02:30+11:00",)),  # half an hour is
        ("Pacific/Apia", "2011-12-30", 600, ("2011-12-31T00:00+14:00",)),  # the day was left out
    ],
)
def test_when_a_clock_shows_a_time(zone, date, minute, instants):
    first, last = instants_ms(dt.date.fromisoformat(date), minute, ZoneInfo(zone))
    assert (first, last) == (ms(instants[0]), ms(instants[-1]))


@pytest.mark.parametrize(
    ("per", "zone", "at", "begins", "next_"),
    [
        ("hour", "Asia/Kathmandu", "2026-03-01T09:59:59+05:45", "2026-03-01T09:00+05:45", "2026-03-01T10:00+05:45"),
        ("hour", "Pacific/Chatham", "2026-04-05T03:10+13:45", "2026-04-05T03:00+13:45", "2026-04-05T02:45+12:45"),
        ("hour", "Pacific/Chatham", "2026-04-05T02:50+12:45", "2026-04-05T02:45+12:45", "2026-04-05T03:00+12:45"),
        ("hour", "Australia/Lord_Howe", "2026-10-04T02:45+11:00", "2026-10-04T02:30+11:00", "2026-10-04T03:00+11:00"),
        ("day", "Pacific/Kiritimati", "2026-03-01T23:59:59+14:00", "2026-03-01T00:00+14:00", "2026-03-02T00:00+14:00"),
        ("day", "Pacific/Pago_Pago", "2026-03-01T00:00+00:00", "2026-02-28T00:00-11:00", "2026-03-01T00:00-11:00"),
        ("day", "America/New_York", "2026-03-08T12:00-04:00", "2026-03-08T00:00-05:00", "2026-03-09T00:00-04:00"),
        ("day", "Africa/Cairo", "2026-04-24T12:00+03:00", "2026-04-24T01:00+03:00", "2026-04-25T00:00+03:00"),
        ("week", "Asia/Shanghai", "2026-03-01T12:00+08:00", "2026-02-23T00:00+08:00", "2026-03-02T00:00+08:00"),
        ("month", "Asia/Shanghai", "2028-02-29T12:00+08:00", "2028-02-01T00:00+08:00", "2028-03-01T00:00+08:00"),
        ("month", "Asia/Shanghai", "2026-12-31T23:59+08:00", "2026-12-01T00:00+08:00", "2027-01-01T00:00+08:00"),
    ],
)
def test_periods_of_the_calendar(per, zone, at, begins, next_):
    assert period_ms(per, ms(at), ZoneInfo(zone)) == (ms(begins), ms(next_))


NIGHT = QuietHours("night", 21 * 60 + 30, 8 * 60 + 30)
SMALL_HOURS = QuietHours("small", 60, 150)
NOON = QuietHours("noon", 12 * 60, 13 * 60, days=(0, 1, 2, 3, 4))
MIDDLE = QuietHours("middle", 30, 105)
LATE = QuietHours("late", 23 * 60 + 30, 30)
SUNDAY = QuietHours("sunday", 0, 24 * 60, days=(6,))
SATURDAY_NIGHT = QuietHours("saturday", 22 * 60, 0, days=(5,))


@pytest.mark.parametrize(
    ("hours", "zone", "at", "until"),
    [
        ([NIGHT], "Asia/Shanghai", "2026-03-02T21:29:59+08:00", None),
        ([NIGHT], "Asia/Shanghai", "2026-03-02T21:30+08:00", "2026-03-03T08:30+08:00"),
        ([NIGHT], "Asia/Shanghai", "2026-03-03T08:29:59+08:00", "2026-03-03T08:30+08:00"),
        ([NIGHT], "Asia/Shanghai", "2026-03-03T08:30+08:00", None),
        ([NIGHT], None, "2026-03-02T23:00+08:00", "2026-03-03T08:30+08:00"),  # no zone: the firm's
        ([NIGHT], "Asia/Kathmandu", "2026-03-02T23:00+08:00", None),  # 20:45 there
        ([NIGHT], "Pacific/Kiritimati", "2026-03-02T16:00+08:00", "2026-03-03T08:30+14:00"),
        ([NIGHT], "America/New_York", "2026-03-07T23:00-05:00", "2026-03-08T08:30-04:00"),
        ([SMALL_HOURS], "America/New_York", "2026-03-08T01:30-05:00", "2026-03-08T03:00-04:00"),
        ([SMALL_HOURS], "America/New_York", "2026-11-01T01:30-04:00", "2026-11-01T02:30-05:00"),
        ([SMALL_HOURS], "America/New_York", "2026-11-01T01:30-05:00", "2026-11-01T02:30-05:00"),
        # the clock is set back to before they begin, and they begin again
        ([MIDDLE], "Atlantic/Azores", "2026-10-25T00:40+00:00", "2026-10-25T00:00-01:00"),
        ([MIDDLE], "Atlantic/Azores", "2026-10-25T00:40-01:00", "2026-10-25T01:45-01:00"),
        ([LATE], "Africa/Cairo", "2026-10-29T23:40+03:00", "2026-10-29T23:00+02:00"),
        ([LATE], "Africa/Cairo", "2026-10-29T23:40+02:00", "2026-10-30T00:30+02:00"),
        ([NOON], "Asia/Shanghai", "2026-03-06T12:59+08:00", "2026-03-06T13:00+08:00"),
        ([NOON], "Asia/Shanghai", "2026-03-07T12:59+08:00", None),
        ([SUNDAY], "Asia/Shanghai", "2026-03-01T12:00+08:00", "2026-03-02T00:00+08:00"),
        ([SATURDAY_NIGHT], "Asia/Shanghai", "2026-02-28T23:59:59+08:00", "2026-03-01T00:00+08:00"),
        ([SATURDAY_NIGHT, SUNDAY, NIGHT], "Asia/Shanghai", "2026-02-28T23:00+08:00", "2026-03-02T08:30+08:00"),
    ],
)
def test_quiet_hours_and_their_end(hours, zone, at, until):
    where = zone_named(zone)
    held = quiet_now(hours, ms(at), where, None)
    assert (held is not None) == (until is not None)
    assert quiet_until_ms(hours, ms(at), where, None) == ms(until or at)


def test_hours_that_never_end_have_no_end():
    assert quiet_until_ms([QuietHours("always", 0, 1440)], ms("2026-03-01T00:00+08:00"), None, None) is None


def test_holidays_are_days_that_are_no_working_days():
    calendar = BusinessCalendar("X", "2026-09-01", "2026-10-31", ("2026-10-01", "2026-10-02"), (), ("2026-10-10",))
    days, quiet = business_days(calendar), [QuietHours("holidays", 0, 1440, holidays=True)]

    def until(at: str) -> int | None:
        return quiet_until_ms(quiet, ms(at), zone_named("America/New_York"), days)

    assert until("2026-10-01T09:00+08:00") == ms("2026-10-05T00:00+08:00")  # and the week-end after
    assert until("2026-10-10T09:00+08:00") == ms("2026-10-10T09:00+08:00")  # a make-up working Saturday
    assert until("2026-10-11T09:00+08:00") == ms("2026-10-12T00:00+08:00")
    with pytest.raises(Unknown):
        until("2026-11-02T09:00+08:00")
    with pytest.raises(Unknown):
        until("2026-10-31T09:00+08:00")  # nobody knows whether the next day is one


def by_walking(hours: QuietHours, moment_ms: int, zone: ZoneInfo) -> bool:
    """Whether the clock on the wall lies in the span, from the manual: minute by minute, without knowing of zones."""
    here = local(moment_ms, zone).replace(tzinfo=None)
    for began in (here.date(), here.date() - dt.timedelta(days=1)):
        begin = dt.datetime.combine(began, dt.time()) + dt.timedelta(minutes=hours.begin)
        length = (hours.until - hours.begin) % 1440 or 1440
        if (not hours.days or began.weekday() in hours.days) and begin <= here < begin + dt.timedelta(minutes=length):
            return True
    return False


SET_AT = {  # when clocks are set back
    "America/New_York": ms("2026-11-01T06:00+00:00"), "Europe/London": ms("2026-10-25T01:00+00:00"),
    "Australia/Lord_Howe": ms("2026-04-04T15:00+00:00"), "Africa/Cairo": ms("2026-10-29T21:00+00:00"),
    "America/Santiago": ms("2026-04-05T03:00+00:00"), "Pacific/Chatham": ms("2026-04-04T14:00+00:00"),
}  # fmt: skip
YEAR = st.integers(ms("2026-01-01T00:00+00:00") // MINUTE_MS, ms("2027-01-01T00:00+00:00") // MINUTE_MS)
NIGHTS = st.tuples(st.sampled_from(sorted(SET_AT)), st.integers(-180, 180)).map(
    lambda drawn: (drawn[0], SET_AT[drawn[0]] // MINUTE_MS + drawn[1])
)


@given(
    st.tuples(st.sampled_from(ZONES), YEAR) | NIGHTS,
    st.integers(0, 1439),
    st.integers(0, 1440),
    st.sets(st.integers(0, 6)),
)
def test_it_is_quiet_when_the_clock_on_the_wall_says_so(where, begin, until, days):
    if begin == until:
        return
    zone, hours = ZoneInfo(where[0]), QuietHours("q", begin, until, tuple(sorted(days)))
    now = where[1] * MINUTE_MS
    quiet = by_walking(hours, now, zone)
    assert (quiet_now([hours], now, zone, None) is not None) == quiet
    end = quiet_until_ms([hours], now, zone, None)
    if end is None:
        assert (until - begin) % 1440 == 0
        return
    assert not by_walking(hours, end, zone)
    for moment in (*range(now, end, max((end - now) // 50, 1)), end - 1 if end > now else now):
        assert by_walking(hours, moment, zone) == (end > now)


@given(st.sampled_from(ZONES), st.integers(ms("2025-01-01T00:00+00:00"), ms("2028-01-01T00:00+00:00")))
def test_a_period_begins_where_the_one_before_ends(name, now):
    zone = ZoneInfo(name)
    for per in ("hour", "day", "week", "month"):
        begin, end = period_ms(per, now, zone)
        assert begin <= now < end
        assert period_ms(per, end, zone)[0] == end
        assert period_ms(per, begin, zone) == (begin, end)
        assert end - begin <= 31 * DAY_MS + 2 * HOUR_MS
        assert minute_of(local(begin, zone)) in (0, 60) or name == "Pacific/Apia" or per == "hour"


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "../etc/passwd", "America", "x" * 64, None])
def test_no_such_zone(name):
    assert zone_named(name) is None
