"""Calendar times against a slow search, hour by hour; and a table of days worth knowing."""

import datetime as dt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.firm_time import NEVER_MS, day_number
from engine.core.policy.clock import next_ms
from engine.core.rules.business_days import BusinessCalendar, BusinessDays
from engine.core.rules.occasion import Calendar

FIRM = dt.timezone(dt.timedelta(hours=8))


def ms(text: str) -> int:
    return round(dt.datetime.fromisoformat(text).replace(tzinfo=FIRM).timestamp() * 1000)


@pytest.mark.parametrize(
    ("calendar", "after", "birth_date", "expected"),
    [
        (Calendar("day", 1, 1, 540, 0), "2026-03-02T08:59", None, "2026-03-02T09:00"),
        (Calendar("day", 1, 1, 540, 0), "2026-03-02T09:00", None, "2026-03-03T09:00"),
        (Calendar("week", 1, 1, 0, 0), "2026-03-02T00:00", None, "2026-03-09T00:00"),
        (Calendar("week", 7, 1, 0, 0), "2026-03-02T00:00", None, "2026-03-08T00:00"),
        (Calendar("month", 1, 1, 540, 0), "2026-12-31T23:59", None, "2027-01-01T09:00"),
        (Calendar("month", 31, 1, 540, 0), "2026-02-10T00:00", None, "2026-02-28T09:00"),
        (Calendar("month", 31, 1, 540, 0), "2028-02-10T00:00", None, "2028-02-29T09:00"),
        (Calendar("quarter", 5, 1, 60, 0), "2026-01-05T01:00", None, "2026-04-05T01:00"),
        (Calendar("year", 29, 2, 0, 0), "2026-03-01T00:00", None, "2027-02-28T00:00"),
        (Calendar("birthday", 1, 1, 540, 0), "2026-03-02T00:00", "1988-02-29", "2027-02-28T09:00"),
        (Calendar("birthday", 1, 1, 540, 0), "2027-03-02T00:00", "1988-02-29", "2028-02-29T09:00"),
        (Calendar("birthday", 1, 1, 540, 3), "2026-12-29T00:00", "1990-01-01", "2026-12-29T09:00"),
        (Calendar("birthday", 1, 1, 540, 3), "2026-12-29T09:00", "1990-01-01", "2027-12-29T09:00"),
        (Calendar("birthday", 1, 1, 0, 0), "1998-02-27T00:00", "1990-02-28", "1998-02-28T00:00"),
    ],
)
def test_the_next_time(calendar, after, birth_date, expected):
    assert next_ms(calendar, ms(after), birth_date) == ms(expected)


def test_an_unknown_birthday_never_comes():
    assert next_ms(Calendar("birthday", 1, 1, 540, 0), ms("2026-03-02T00:00")) == NEVER_MS


calendars = st.builds(
    Calendar,
    st.sampled_from(["day", "month", "quarter", "year"]),
    st.integers(1, 31),
    st.integers(1, 12),
    st.integers(0, 23).map(lambda hour: hour * 60),
    st.just(0),
) | st.builds(Calendar, st.just("week"), st.integers(1, 7), st.just(1), st.just(600), st.just(0))


def names(calendar: Calendar, day: dt.date) -> bool:
    """Whether the calendar names this day, said in other words."""
    last = (day.replace(day=28) + dt.timedelta(days=4)).replace(day=1) - dt.timedelta(days=1)
    if calendar.every in ("day", "week"):
        return calendar.every == "day" or day.isoweekday() == calendar.day
    months = {"month": range(1, 13), "quarter": (1, 4, 7, 10), "year": (calendar.month,)}[calendar.every]
    return day.month in months and day.day == min(calendar.day, last.day)


@settings(max_examples=150, deadline=None)
@given(calendars, st.integers(ms("2026-01-01T00:00"), ms("2029-01-01T00:00")))
def test_no_time_is_left_out_and_none_is_made_up(calendar, after_ms):
    found = next_ms(calendar, after_ms)
    day = dt.datetime.fromtimestamp(after_ms / 1000, FIRM).date()
    while True:
        moment = dt.datetime.combine(day, dt.time(calendar.minute // 60), FIRM)
        if names(calendar, day) and moment.timestamp() * 1000 > after_ms:
            break
        day += dt.timedelta(days=1)
    assert found == moment.timestamp() * 1000
    assert next_ms(calendar, found - 1) == found
    assert day_number(day) * 86_400_000 <= found + 8 * 3_600_000 < (day_number(day) + 1) * 86_400_000


DAYS_OF_YEARS = st.dates(dt.date(2025, 1, 1), dt.date(2028, 12, 31)).map(dt.date.isoformat)


@st.composite
def business_calendars(draw: st.DrawFn) -> BusinessCalendar:
    first, last = sorted(draw(st.lists(DAYS_OF_YEARS, min_size=2, max_size=2)))
    inside = [day for day in draw(st.lists(DAYS_OF_YEARS, max_size=40, unique=True)) if first <= day <= last]
    weekend = tuple(day for day in inside if dt.date.fromisoformat(day).weekday() > 4)
    rest = tuple(day for day in inside if day not in weekend)
    return BusinessCalendar("", first, last, rest[::2], rest[1::2], weekend)


def falls(calendar: BusinessCalendar, every: str, day: dt.date) -> bool:
    """In other words: whether a rule of these days is due on the day."""
    text, weekday = day.isoformat(), day.weekday() < 5
    if text < calendar.first_day or text > calendar.last_day:
        return weekday
    if every == "trading_day":
        return weekday and text not in calendar.holidays + calendar.closed
    return text in calendar.workdays or (weekday and text not in calendar.holidays)


@settings(max_examples=150, deadline=None)
@given(
    business_calendars(),
    st.sampled_from(["trading_day", "working_day"]),
    st.integers(0, 1439),
    st.integers(ms("2024-12-20T00:00"), ms("2029-01-20T00:00")),
)
def test_no_business_day_is_left_out_and_none_is_made_up(calendar, every, minute, after_ms):
    business = BusinessDays(calendar)
    found = next_ms(Calendar(every, 1, 1, minute, 0), after_ms, None, business)
    day = dt.datetime.fromtimestamp(after_ms / 1000, FIRM).date()
    while True:
        moment_ms = ms(f"{day}T{minute // 60:02}:{minute % 60:02}")
        if falls(calendar, every, day) and moment_ms > after_ms:
            break
        day += dt.timedelta(days=1)
    assert found == moment_ms
    text = day.isoformat()
    covered = calendar.first_day <= text <= calendar.last_day
    asked = business.is_trading_day if every == "trading_day" else business.is_working_day
    assert asked(found) is covered  # outside of the calendar nobody knows


def test_the_next_business_day_takes_the_same_few_steps_however_long_the_calendar():
    class Counted(list):
        def __getitem__(self, place):
            steps.append(place)
            return super().__getitem__(place)

    steps: list[int] = []
    business = BusinessDays(BusinessCalendar("", "2001-01-01", "2049-12-31"))
    business.trading = Counted(business.trading)
    next_ms(Calendar("trading_day", 1, 1, 540, 0), ms("2030-06-03T10:00"), None, business)
    assert len(steps) <= 2 * 15
