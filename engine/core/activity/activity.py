"""What the engine remembers of a client's events at one source: rows of values by day and by hour, and running totals.

Enters: a layout (which columns the features need), values, the turn of days and hours. Leaves: Activity.
Holds: a slot is a day, or an hour in `Activity.hours`. An event counts in the slot of its own time, however late it
comes; the order in which events come makes no difference to rows. Rows that no window reaches are dropped; values that
follow from others (`past`, `slide`) are not stored; what no feature asks for costs nothing.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Any, Final

from engine.core.activity.layout import MAX_DISTINCT, MAX_SUM, SourceLayout, Window
from engine.core.activity.tallies import merged
from engine.core.activity.totals import blank_total
from engine.core.firm_time import LONGEST_MONTH, NEVER_MS, month_start, next_month

SEVERAL: Final = 1 << 28  # in a cell that says when its slot's value was set: it is not the slot's only one
UNSET: Final = (
    1 << 40
)  # the slot from which on a daily_mean is complete that carries what is not known, until it is set
# What most clients have blank: one object for all of them, replaced and never changed. Whoever adds to what may be it
# begins with `acted = client.acted = client.acted or {}`
BLANK_DICT: Final[dict[Any, Any]] = {}
BLANK_LIST: Final[list[Any]] = []
_ADDED: Final = ("count", "sum", "top")  # of these, what the slots of a window hold is added up


class Activity:
    """What a client did at one source: a row per active slot, with the present one apart."""

    __slots__ = (
        "before_ms", "closed", "columns", "days", "hours", "known", "last_ms", "lasts", "packed", "packed_past", "past",
        "sets", "slides", "today", "totals", "touched", "unsure_ms",
    )  # fmt: skip

    def __init__(self, layout: SourceLayout | None) -> None:
        """A blank one; without a layout, one whose lists are still to be set."""
        self.last_ms: int | None = None  # the time of the latest event
        self.unsure_ms = 0  # that event was cancelled: the one before it, up to this time, is not known
        self.before_ms: int | None = None  # the event before the present one; has a meaning while that is decided
        self.touched = False  # whether the present slot has a row
        self.known: dict[str, int] = BLANK_DICT  # column -> the first slot it is complete from; without one: all
        self.slides: list[int] | None = None  # by window, what `next_slide` found of the past slots; 0: not asked yet
        self.packed: bytes | None = None  # all of it packed, until it changes
        self.packed_past: bytes | None = None  # `days` and `columns` packed, until they change
        self.hours: Activity | None = None
        self.closed: list[list[Any] | None]  # by closing: [first day of the month after, distinct values or last entry]
        self.totals: list[list[Any]]
        self.past: list[Any]  # by window, see Layout; follows from the rest
        self.days: list[int]
        self.columns: list[list[Any]]
        self.today: list[Any]
        self.sets: list[dict[Any, int]]
        self.lasts: list[list[Any] | None]  # [slot, milliseconds into it, value]
        if layout is None:
            return
        self.days = []
        self.columns = [[] for _ in layout.columns]
        self.today = list(layout.blank_today)
        self.sets = blanks(BLANK_DICT, len(layout.sets))
        self.lasts = blanks(None, len(layout.lasts))
        self.closed = blanks(None, len(layout.closings))
        self.totals = [blank_total(aggregate) for _, aggregate in layout.totals] if layout.totals else BLANK_LIST
        self.hours = Activity(layout.hours) if layout.hours else None
        self.past = list(layout.blank_past)

    def saw_event(self, time_ms: int) -> None:
        """An event comes. A rule on it asks for the days since the one before."""
        self.before_ms = self.last_ms
        if self.last_ms is None:
            if time_ms >= self.unsure_ms:
                self.last_ms, self.unsure_ms = time_ms, 0
        elif time_ms > self.last_ms:
            self.last_ms = time_ms
        self.packed = None

    def lost_event(self, time_ms: int) -> None:
        """An event is cancelled. If it was the latest, the one before it is not known."""
        if self.last_ms == time_ms:
            self.last_ms, self.unsure_ms = None, time_ms
        self.packed = None

    def known_from(self, key: str, slot: int) -> None:
        """A column is complete from this slot on, or from a later one that was noted before."""
        known = self.known = self.known or {}
        known[key] = max(slot, known.get(key, 0))

    # -- time moves on -------------------------------------------------------------------------------------------------

    def close_day(self, layout: SourceLayout, day: int, new_day: int) -> None:
        """Today's row becomes a past one, and rows that no window reaches are dropped."""
        if layout.closings and new_day >= next_month(day):
            self._close_month(layout, day, new_day)
        if self.touched:
            self.packed = self.packed_past = None
            for mean, set_at in layout.means if self.known else ():
                if self.today[set_at] is not None and self.known.get(layout.columns[mean][0]) == UNSET:
                    self.known[layout.columns[mean][0]] = day
            self.days.append(day)
            before, self.today = self.today, list(layout.blank_today)
            for index, column in enumerate(self.columns):
                column.append(before[index])
            for mean, _ in layout.means:
                self.today[mean] = before[mean]  # it carries its last value forward
            self.touched = False
        self._drop(layout, new_day - layout.keep)
        if self.known:
            kept = max(layout.keep, 2 * LONGEST_MONTH) if layout.closings else layout.keep
            self.known = {key: first for key, first in self.known.items() if first > new_day - kept + 1}
            self.packed = None

    def _drop(self, layout: SourceLayout, oldest: int) -> None:
        """Drop what no window reaches. Of the rows before the windows the last stays, and those in which a daily_mean
        was set that it carries: so an event that comes late does not take the place of a later one.
        """
        if len(self.days) > 1 and self.days[1] <= oldest:
            last = bisect_right(self.days, oldest) - 1
            kept = self._kept_for_means(layout, last) if layout.means else [last]
            if len(kept) <= last:
                self.packed = self.packed_past = None
                self.days[: last + 1] = [self.days[row] for row in kept]
                for column in self.columns:
                    column[: last + 1] = [column[row] for row in kept]
        for seen in self.sets:
            if seen and (past := [v for v, last in seen.items() if last <= oldest]):
                self.packed = None
                for value in past:
                    del seen[value]

    def _kept_for_means(self, layout: SourceLayout, last: int) -> list[int]:
        kept = {last}
        for _, set_at in layout.means:
            kept.add(next((row for row in range(last, -1, -1) if self.columns[set_at][row] is not None), last))
        return sorted(kept)

    def _close_month(self, layout: SourceLayout, day: int, new_day: int) -> None:
        """Keep the values of a month that columns do not hold by day; a month without an event has none."""
        start = next_month(day)
        self.packed = None
        self.closed = [None] * len(layout.closings)
        if new_day >= next_month(start):
            return
        before = month_start(day) - 1
        for index, (_, aggregate, column) in enumerate(layout.closings):
            last = self.lasts[column] if aggregate == "last" else None
            if aggregate == "distinct":
                values = [value for value, seen in self.sets[column].items() if seen > before]
                self.closed[index] = [start, values] if values else None
            elif last is not None and last[0] > before:
                self.closed[index] = [start, last]

    def turn_hour(self, layout: SourceLayout, hour: int, new_hour: int) -> None:
        """As `close_day` and `recompute`, for the columns by hour."""
        hours = self.hours
        if layout.hours and hours:
            kept = hours.touched or hours.days or any(hours.sets) or any(hours.lasts) or hours.known
            if kept:
                hours.close_day(layout.hours, hour, new_hour)
                hours.recompute(layout.hours, new_hour)
                self.packed = None

    # -- an event of an earlier slot -----------------------------------------------------------------------------------

    def row(self, layout: SourceLayout, slot: int) -> list[Any]:
        """The row of an earlier slot, or what it begins with, to be changed and put back."""
        index = bisect_left(self.days, slot)
        if index < len(self.days) and self.days[index] == slot:
            return [column[index] for column in self.columns]
        row = list(layout.blank_today)
        if index > 0:
            for mean, _ in layout.means:
                row[mean] = self.columns[mean][index - 1]
        return row

    def put_row(self, layout: SourceLayout, slot: int, now: int, row: list[Any]) -> None:
        """Put the row of a slot before `now` where it belongs; later days without a value of their own carry on."""
        index = bisect_left(self.days, slot)
        if index == len(self.days) or self.days[index] != slot:
            self.days.insert(index, slot)
            for column, value in zip(self.columns, row, strict=True):
                column.insert(index, value)
        else:
            for column, value in zip(self.columns, row, strict=True):
                column[index] = value
        for mean, set_at in layout.means:
            if row[set_at] is None:
                continue
            later = index + 1
            while later < len(self.days) and self.columns[set_at][later] is None:
                self.columns[mean][later] = row[mean]
                later += 1
            if later == len(self.days) and self.today[set_at] is None:
                self.today[mean] = row[mean]
        self.packed = self.packed_past = None
        self._drop(layout, now - layout.keep)
        self.recompute(layout, now)

    # -- values of windows ---------------------------------------------------------------------------------------------

    def recompute_hours(self, layout: SourceLayout, hour: int) -> None:
        if layout.hours and self.hours:
            self.hours.recompute(layout.hours, hour)

    def recompute(self, layout: SourceLayout, day: int) -> None:
        """Every feature's value over the slots of its window before the present one."""
        self.slides = None
        days = self.days
        if not days and not any(self.closed) and not any(self.sets) and not any(self.lasts):
            self.past = list(layout.blank_past)
            return
        past: list[Any] = []
        starts: dict[int, int] = {}
        for aggregate, window in layout.windows:
            until, end = day, len(days)
            if window.unit == "slot":
                first_day = day - window.slots
            elif aggregate == "closed":
                past.append(self._closed_value(layout, window.column, day))
                continue
            else:
                first_day = window.first(day)
                if window.unit == "previous_month":
                    until = month_start(day)
                    end = bisect_right(days, until - 1)
            if aggregate in ("distinct", "last"):
                past.append(self.window_value(aggregate, window.column, first_day))
                continue
            start = starts.get(first_day)
            if start is None:
                start = starts[first_day] = bisect_right(days, first_day)
            if aggregate == "daily_mean":
                past.append(self._carried(window.column, start, end, first_day, until))
                continue
            values = self.columns[window.column][start:end]
            if aggregate in ("count", "sum"):
                value = sum(values)
                past.append(value if -MAX_SUM <= value <= MAX_SUM else MAX_SUM if value > 0 else -MAX_SUM)
            elif aggregate == "top":
                past.append(merged(values))
            else:
                known = [v for v in values if v is not None]
                past.append((min if aggregate == "min" else max)(known) if known else None)
        self.past = past

    def window_value(self, aggregate: str, index: int, first_day: int) -> Any:
        """distinct or last over the slots after `first_day`, the present one included."""
        if aggregate == "distinct":
            return sum(1 for last in self.sets[index].values() if last > first_day)
        last = self.lasts[index]
        return last[2] if last is not None and last[0] > first_day else None

    def _closed_value(self, layout: SourceLayout, index: int, day: int) -> Any:
        """distinct or last over the month before the day's."""
        entry, distinct = self.closed[index], layout.closings[index][1] == "distinct"
        if entry is None or entry[0] != month_start(day):
            return 0 if distinct else None
        return min(len(entry[1]), MAX_DISTINCT) if distinct else entry[1][2]

    def _carried(self, column: int, start: int, end: int, first_day: int, until: int) -> tuple[Any, int]:
        """(sum, number) of daily closing values for the days of the window before `until`, each day without one as
        the last.
        """
        days, values = self.days, self.columns[column]
        total: Any = 0
        number = 0
        if start > 0:
            reached, value = first_day + 1, values[start - 1]
        elif end > 0:
            reached, value = days[0], values[0]
        else:
            return 0, 0
        for index in range(start, end):
            if value is not None:
                total += value * (days[index] - reached)
                number += days[index] - reached
            reached, value = days[index], values[index]
        if value is not None:
            total += value * (until - reached)
            number += until - reached
        return total, number

    # -- when a value changes by itself --------------------------------------------------------------------------------

    def next_slide(self, layout: SourceLayout, now: int, windows: tuple[int, ...]) -> int:
        """The slot at whose beginning the value of one of these windows can change though no event comes; NEVER_MS when
        none can.
        """
        slides = self.slides = self.slides or [0] * len(layout.windows)
        slide = NEVER_MS
        for place in windows:
            aggregate, window = layout.windows[place]
            if aggregate == "distinct" or aggregate == "last":
                if (seen := self._first_seen(aggregate, window.column, window.first(now))) is not None:
                    slide = min(slide, seen + window.slots if window.unit == "slot" else next_month(now))
            elif aggregate == "closed":
                _, kept, index = layout.closings[window.column]
                entry = self.closed[window.column]
                month = self._first_seen(kept, index, month_start(now) - 1)
                if month is not None or (entry is not None and entry[0] == month_start(now)):
                    slide = min(slide, next_month(now))
            elif aggregate == "daily_mean" and window.unit == "slot" and self._stays(window, now):
                continue
            else:
                if not slides[place]:
                    slides[place] = self._slide_of_rows(aggregate, window, now)
                slide = min(slide, slides[place])
                if self.touched and (self.today[window.column] or aggregate not in _ADDED):
                    slide = min(slide, _slide(aggregate, window, now, now))
        return slide

    def _slide_of_rows(self, aggregate: str, window: Window, now: int) -> int:
        start = bisect_right(self.days, window.first(now))
        if aggregate in _ADDED:  # a row without what they add changes nothing when it leaves
            values = self.columns[window.column]
            start = next((row for row in range(start, len(values)) if values[row]), len(values))
        return _slide(aggregate, window, self.days[start], now) if start < len(self.days) else NEVER_MS

    def _stays(self, window: Window, now: int) -> bool:
        """Whether each day of a daily_mean has the same value, so that it is that however far it slides."""
        start = bisect_right(self.days, window.first(now))
        values = self.columns[window.column][max(start - 1, 0) :]
        first = values[0] if values else None
        return (
            first is not None
            and not self.known
            and values.count(first) == len(values)
            and (not self.touched or self.today[window.column] == first)
        )

    def _first_seen(self, aggregate: str, index: int, first: int) -> int | None:
        """The earliest slot after `first` with a value that counts."""
        if aggregate == "distinct":  # kept in order of the slot last seen
            return next((last for last in self.sets[index].values() if last > first), None)
        last = self.lasts[index]
        return last[0] if last is not None and last[0] > first else None


def blanks(blank: Any, number: int) -> list[Any]:
    return [blank] * number if number else BLANK_LIST


def _slide(aggregate: str, window: Window, row: int, now: int) -> int:
    """When the row that is the first of a window changes its value without an event."""
    if window.unit == "previous_month":
        return next_month(now)
    if aggregate == "daily_mean":
        return now + 1
    return row + window.slots if window.unit == "slot" else next_month(now)
