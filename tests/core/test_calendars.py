"""Calendar times against a slow search, hour by hour; and a table of days worth knowing."""

import datetime as dt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.decide.calendars import next_ms
from engine.core.firm_time import NEVER_MS, day_number
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
