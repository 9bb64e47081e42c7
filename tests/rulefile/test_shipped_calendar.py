"""The calendar that is shipped, beside a package that it was not made from (see tools/shanghai_calendar.py)."""

from __future__ import annotations

import datetime as dt

import chinese_calendar
import pytest

from engine.core.firm_time import day_number, day_start_ms
from engine.core.rules.business_days import BusinessDays
from engine.rulefile.read.load import read_directory
from tests.rulefile.sample import good
from tests.services.process import REPOSITORY

CALENDAR = good(read_directory(REPOSITORY / "rules")).calendar
assert CALENDAR is not None
DAYS = BusinessDays(CALENDAR)
EVERY = [dt.date.fromordinal(n + 719_163) for n in range(DAYS.first, DAYS.last + 1)]


def noon(day: dt.date) -> int:
    return day_start_ms(day_number(day)) + 12 * 3_600_000


def test_it_covers_whole_years_from_2025_on():
    assert (EVERY[0], EVERY[-1] >= dt.date(2026, 12, 31)) == (dt.date(2025, 1, 1), True)
    assert (EVERY[-1].month, EVERY[-1].day) == (12, 31)


@pytest.mark.parametrize("year", sorted({day.year for day in EVERY}))
def test_its_days_are_those_of_the_other_package(year):
    """The exchange trades on a Monday to Friday that is no public holiday, and never on a weekend that is worked."""
    days = [day for day in EVERY if day.year == year]
    for day in days:
        works = chinese_calendar.is_workday(day)
        assert DAYS.is_working_day(noon(day)) is works, day
        assert DAYS.is_trading_day(noon(day)) is (works and day.weekday() < 5), day
    trading = sum(DAYS.is_trading_day(noon(day)) for day in days)
    assert trading == {2025: 243, 2026: 242}.get(year, trading)


@pytest.mark.parametrize(
    ("day", "trades", "works"),
    [
        ("2025-01-26", False, True),  # a Sunday made up for the Spring Festival
        ("2025-01-27", True, True),
        ("2025-01-28", False, False),
        ("2025-02-05", True, True),
        ("2025-10-08", False, False),
        ("2026-02-16", False, False),  # a Monday
        ("2026-02-24", True, True),
        ("2026-10-10", False, True),  # a Saturday made up for the National Day
        ("2026-11-28", False, False),
    ],
)
def test_days_worth_knowing(day, trades, works):
    moment = noon(dt.date.fromisoformat(day))
    assert (DAYS.is_trading_day(moment), DAYS.is_working_day(moment)) == (trades, works)
