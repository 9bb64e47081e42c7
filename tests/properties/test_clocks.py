"""Clocks of open items against a slow model that looks at every minute: business hours over holidays, pauses,
reopening, steps in any order.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.core.client.items import note_step
from engine.core.firm_time import DAY_MS, NEVER_MS, date_of_day, day_of, day_start_ms
from engine.core.learn.items import Clock, clock_of, due_ms, level_of, ran_ms
from engine.core.rules.business_days import BusinessCalendar, BusinessDays
from engine.core.rules.occasion import Unanswered
from tests.properties.histories import quick

MINUTE = 60_000
FIRST, LAST = dt.date(2026, 2, 9), dt.date(2026, 3, 8)  # a Monday to a Sunday: four weeks
FROM = day_of(1_770_595_200_000) - 9  # days before and after the calendar are asked, too
NAMES = {"o": 0, "k": 1, "a": 2, "c": 3, "n": 3, "r": 3}


def minute_of(moment_ms: int) -> int:
    return (moment_ms - day_start_ms(day_of(moment_ms))) // MINUTE


class Slow:
    """A calendar by what docs/rules.md says, day by day."""

    def __init__(self, calendar: BusinessCalendar) -> None:
        self.calendar = calendar
        self.spans = [tuple(int(t[:2]) * 60 + int(t[3:]) for t in span.split("-")) for span in calendar.business_hours]

    def works(self, day: int) -> bool:
        date = date_of_day(day)
        weekday = date.isoweekday() <= 5
        if not FIRST <= date <= LAST:
            return weekday
        said = date.isoformat()
        return said in self.calendar.workdays or (weekday and said not in self.calendar.holidays)

    def counts(self, minute_ms: int) -> bool:
        minute = minute_of(minute_ms)
        return self.works(day_of(minute_ms)) and any(begin <= minute < end for begin, end in self.spans)


DATES = [FIRST + dt.timedelta(days=n) for n in range((LAST - FIRST).days + 1)]
weekdays = st.sampled_from([day.isoformat() for day in DATES if day.isoweekday() <= 5])
weekends = st.sampled_from([day.isoformat() for day in DATES if day.isoweekday() > 5])
hours = st.sampled_from(
    [("09:00-17:30",), ("09:00-12:00", "13:00-17:00"), ("00:00-24:00",), ("13:00-15:00", "08:00-09:00")]
)
calendars = st.builds(
    BusinessCalendar,
    st.just("T"),
    st.just(FIRST.isoformat()),
    st.just(LAST.isoformat()),
    holidays=st.lists(weekdays, unique=True, max_size=12).map(tuple),
    workdays=st.lists(weekends, unique=True, max_size=3).map(tuple),
    business_hours=hours,
)
moments = st.integers(0, 46 * 24 * 60).map(lambda minutes: day_start_ms(FROM) + minutes * MINUTE)
histories = st.lists(
    st.tuples(moments, st.sampled_from("okwbacnowb")), min_size=1, max_size=9, unique_by=lambda s: s[0]
)
waits = st.builds(
    Unanswered,
    st.just("complaint"),
    st.sampled_from([60, 3_600, 7_200, 86_400, 172_800, 432_000]),
    until=st.sampled_from(["acknowledged", "answered", "closed"]),
    hours=st.sampled_from(["all", "business"]),
    reopened=st.sampled_from(["begins_anew", "goes_on"]),
)


def slow(calendar: BusinessCalendar, wait: Unanswered, steps: list[Any], until_ms: int) -> tuple[int, int | None, bool]:
    """Minute by minute: how many ran by the end, when the clock had run for so long while it ran, whether it runs."""
    model, clock_until = Slow(calendar), {"acknowledged": 1, "answered": 2, "closed": 3}[wait.until]
    a_day = sum(end - begin for begin, end in model.spans)
    length = wait.for_s // 86_400 * a_day if wait.hours == "business" and wait.for_s % 86_400 == 0 else wait.for_s // 60
    level, stands, ran, up = 3, False, 0, None
    begins = dict(steps)
    runs = False
    for now in range(min(begins), until_ms + MINUTE, MINUTE):
        if now in begins:
            state, stands = begins[now], begins[now] == "w"
            if state == "o":
                level = 0
                if wait.reopened == "begins_anew":
                    ran, up = 0, None
            elif state in "kw":
                level = max(level, 1)
            elif state != "b":
                level = NAMES[state]
            was, runs = runs, level < clock_until and not stands
            if runs and (not was or up is None):
                up = now if ran >= length else None
            if not runs:
                up = None
        if now == until_ms:
            break
        if runs and (wait.hours == "all" or model.counts(now)):
            ran += 1
            if ran == length:
                up = now + MINUTE
    return ran, up, runs


@quick(300)
@given(calendars, waits, histories, st.randoms(use_true_random=False))
def test_a_clock_is_what_a_model_that_looks_at_every_minute_says(calendar, wait, history, random):
    shuffled = [*history]
    random.shuffle(shuffled)
    item: list[Any] = ["complaint", "K", None, 0, "o", 0, [], []]
    for at_ms, state in shuffled:
        note_step(item, state, at_ms)
    steps = item[7]
    assert steps == [list(step) for step in sorted(history)]
    clock = clock_of(wait, BusinessDays(calendar))
    end_ms = day_start_ms(FROM + 60)
    ran, up, runs = slow(calendar, wait, steps, end_ms)
    assert ran_ms(clock, steps, end_ms) == ran * MINUTE
    due = due_ms(clock, steps, clock.length_ms(wait.for_s))
    assert due == (NEVER_MS if not runs else up if up is not None else due)
    if runs and up is None:  # later than the model looks
        assert end_ms < due < end_ms + 60 * DAY_MS
    assert runs == (level_of(steps) < clock.until and steps[-1][1] != "w")


@quick(300)
@given(calendars, moments, moments)
def test_business_hours_between_two_moments_are_counted_minute_by_minute(calendar, one, other):
    begin, end = sorted((one, other))
    model, days = Slow(calendar), BusinessDays(calendar)
    counted = sum(model.counts(now) for now in range(begin, end, MINUTE))
    assert days.between(begin, end) == counted * MINUTE
    later = days.after(begin, counted * MINUTE)
    assert later <= end
    assert days.between(begin, later) == counted * MINUTE
    if counted:
        assert days.between(begin, later - 1) < counted * MINUTE  # the first such moment


def test_the_two_agree_far_outside_of_the_calendar():
    days = BusinessDays(BusinessCalendar("T", "2026-02-09", "2026-03-08", (), (), (), ("09:00-17:30",)))
    start = day_start_ms(FROM - 4000)
    for n in range(0, 9000, 37):
        moment = days.after(start, n * days.day_ms + MINUTE)
        assert days.between(start, moment) == n * days.day_ms + MINUTE
        assert Slow(days_calendar()).counts(moment - MINUTE)


def days_calendar() -> BusinessCalendar:
    return BusinessCalendar("T", "2026-02-09", "2026-03-08", (), (), (), ("09:00-17:30",))


def test_a_clock_that_counts_every_hour_asks_no_calendar():
    clock = Clock(2, None, False)
    assert due_ms(clock, [[0, "o"]], 5) == 5
    assert ran_ms(clock, [[0, "o"], [3, "w"], [7, "b"]], 9) == 5
