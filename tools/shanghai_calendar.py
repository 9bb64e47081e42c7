"""`make calendar`: writes rules/calendar.yaml, from 2025 to as far as the Shanghai exchange has published its holidays.

Enters: exchange_calendars, kept by hand from the exchange's announcements; holidays, from the notices of the State
Council, which name the Saturdays and Sundays that are worked. Leaves: the file's text, on standard output.
Holds: the two must agree on every Monday to Friday, else nothing is written. tests/rulefile/test_shipped_calendar.py
compares the file with a third package.
"""

from __future__ import annotations

import datetime as dt
import re
import sys
from collections.abc import Iterator

import exchange_calendars
import holidays as public_holidays

FIRST = dt.date(2025, 1, 1)
HEAD = """\
# yaml-language-server: $schema=../schemas/rule-files/calendar.json
# Trading days, working days and business hours. Conditions ask is_trading_day(now), is_working_day(now) and
# in_business_hours(now); a rule is due with at: {every: trading_day, time: "08:30"}.
#
# A trading day is a Monday to Friday that is no holiday. Of days after last_day nothing is known: rules that ask are
# not sent then, with the outcome day_unknown. Written by `make calendar`: once the exchange has published another year,
# run it again, or add the days by hand.

calendar:
  title: Shanghai Stock Exchange
"""
TAIL = """\
  # Of working days; the firm's own to set.
  business_hours: ["09:00-17:30"]
"""


def days(last: dt.date) -> Iterator[dt.date]:
    for number in range((last - FIRST).days + 1):
        yield FIRST + dt.timedelta(days=number)


def listed(key: str, found: list[dt.date]) -> str:
    lines = "".join(f"    - {day}  # {day:%a}\n" for day in found)
    return f"  {key}:\n{lines}"


def main() -> int:
    exchange = exchange_calendars.get_calendar("XSHG", start=FIRST.isoformat())
    sessions = {session.date() for session in exchange.sessions}
    last = dt.date(max(sessions).year, 12, 31)  # the package ends with the last year that is announced
    weekdays = [day for day in days(last) if day.weekday() < 5]
    public = public_holidays.country_holidays("CN", years=range(FIRST.year, last.year + 1), language="en_US")
    differ = [day for day in weekdays if (day in sessions) is (day in public)]
    if differ:
        print(f"the exchange and the State Council differ: {', '.join(map(str, differ))}", file=sys.stderr)
        return 1
    holidays = [day for day in weekdays if day not in sessions]
    worked = (re.search(r"substituted from (\d\d)/(\d\d)/(\d{4})", name) for name in public.values())
    named = (dt.date(int(day[3]), int(day[1]), int(day[2])) for day in worked if day)
    workdays = sorted(day for day in named if FIRST <= day <= last)
    said = f"  first_day: {FIRST}\n  last_day: {last}\n"
    print(HEAD + said + listed("holidays", holidays) + listed("workdays", workdays) + TAIL, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
