"""What the engine remembers of a client's events at one source: rows of values by day and by hour, and running totals.

Enters: a layout (which columns the features need), values, the turn of days and hours. Leaves: Activity, or its packed
bytes.
Holds: a slot is a day, or an hour in `Activity.hours`; rows that no window reaches are dropped; values that follow from
others (`past`, `slide`) are not stored; what no feature asks for costs nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import Any, Final

import msgpack

from engine.core.client.layout import SourceLayout, Window
from engine.core.firm_time import NEVER_MS, month_start, next_month

MAX_DISTINCT: Final = 64
MAX_SUM: Final = (1 << 63) - 1


def blank_total(aggregate: str) -> Any:
    return {"count": 0, "sum": 0, "distinct": {}}.get(aggregate)


class Activity:
    """What a client did at one source, a row per active slot, the present one apart."""

    __slots__ = (
        "before_ms", "closed", "columns", "days", "hours", "last_ms", "lasts", "packed", "packed_past", "past", "sets",
        "slide", "today", "totals", "touched",
    )  # fmt: skip

    def __init__(self, layout: SourceLayout) -> None:
        self.last_ms: int | None = None
        self.before_ms: int | None = None  # the event before the present one; has a meaning while that is decided
        self.days: list[int] = []
        self.columns: list[list[Any]] = [[] for _ in layout.columns]
        self.today: list[Any] = list(layout.blank_today)
        self.touched = False  # whether the present slot has a row
        self.sets: list[dict[Any, int]] = [{} for _ in layout.sets]
        self.lasts: list[list[Any] | None] = [None for _ in layout.lasts]
        self.closed: list[list[Any] | None] = [None for _ in layout.closings]  # [first day of the month after, value]
        self.totals: list[Any] = [blank_total(aggregate) for _, aggregate in layout.totals]
        self.hours: Activity | None = Activity(layout.hours) if layout.hours else None
        self.past: list[Any] = list(layout.blank_past)  # by window, see Layout; follows from the rest
        self.slide: int | None = None  # what `next_slide` found of the past slots, until it changes
        self.packed: bytes | None = None  # all of it packed, until it changes
        self.packed_past: bytes | None = None  # `days` and `columns` packed, until the slot closes

    def saw_event(self, moment_ms: int) -> None:
        """An event comes. A rule on it asks for the days since the one before."""
        self.before_ms, self.last_ms = self.last_ms, moment_ms
        self.packed = None

    def close_day(self, layout: SourceLayout, day: int, new_day: int) -> None:
        """Today's row becomes a past one, and rows that no window reaches are dropped."""
        self.packed = None
        if layout.closings and new_day >= next_month(day):
            self._close_month(layout, day, new_day)
        if self.touched:
            self.packed_past = None
            self.days.append(day)
            for column, value in zip(self.columns, self.today, strict=True):
                column.append(value)
            # daily_mean carries its last value forward, the others start anew
            self.today = [
                0 if a in ("count", "sum") else v if a == "daily_mean" else None
                for (_, a), v in zip(layout.columns, self.today, strict=True)
            ]
            self.touched = False
        oldest = new_day - layout.keep
        if (
            len(self.days) > 1 and self.days[1] <= oldest
        ):  # one row before the window stays: what daily_mean carries from
            self.packed_past = None
            drop = bisect_right(self.days, oldest) - 1
            del self.days[:drop]
            for column in self.columns:
                del column[:drop]
        for seen in self.sets:
            for value in [v for v, last in seen.items() if last <= oldest]:
                del seen[value]

    def _close_month(self, layout: SourceLayout, day: int, new_day: int) -> None:
        """Keep what a month came to that columns do not hold by day; a month without an event came to nothing."""
        start = next_month(day)
        self.closed = [None] * len(layout.closings)
        if new_day >= next_month(start):
            return
        for index, (_, aggregate, column) in enumerate(layout.closings):
            value = self.window_value(aggregate, column, month_start(day) - 1)
            if value != (0 if aggregate == "distinct" else None):
                self.closed[index] = [start, value]

    def turn_hour(self, layout: SourceLayout, hour: int, new_hour: int) -> None:
        """As `close_day` and `recompute`, for the columns by hour."""
        hours = self.hours
        if layout.hours and hours and (hours.touched or hours.days or any(hours.sets) or any(hours.lasts)):
            hours.close_day(layout.hours, hour, new_hour)
            hours.recompute(layout.hours, new_hour)
            self.packed = None

    def recompute_hours(self, layout: SourceLayout, hour: int) -> None:
        if layout.hours and self.hours:
            self.hours.recompute(layout.hours, hour)

    def recompute(self, layout: SourceLayout, day: int) -> None:
        """Every feature's value over the slots of its window before the present one."""
        self.slide = None
        days = self.days
        starts: dict[int, int] = {}
        if not days and not self.closed and not any(self.sets) and not any(self.lasts):
            self.past = list(layout.blank_past)
            return
        past: list[Any] = []
        for aggregate, window in layout.windows:
            until, end = day, len(days)
            if window.unit == "slot":
                first_day = day - window.slots  # the window is what comes after it
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
                past.append(max(-MAX_SUM, min(sum(values), MAX_SUM)))
            else:
                known = [v for v in values if v is not None]
                past.append((min if aggregate == "min" else max)(known) if known else None)
        self.past = past

    def window_value(self, aggregate: str, index: int, first_day: int) -> Any:
        """distinct or last over the slots after `first_day`, the present one included."""
        if aggregate == "distinct":
            return sum(1 for last in self.sets[index].values() if last > first_day)
        last = self.lasts[index]
        return last[1] if last is not None and last[0] > first_day else None

    def _closed_value(self, layout: SourceLayout, index: int, day: int) -> Any:
        """distinct or last over the month before the day's."""
        entry = self.closed[index]
        if entry is not None and entry[0] == month_start(day):
            return entry[1]
        return 0 if layout.closings[index][1] == "distinct" else None

    def _carried(self, column: int, start: int, end: int, first_day: int, until: int) -> tuple[int, int]:
        """(sum, number) of daily closing values for the days of the window before `until`, each day without one as
        the last.
        """
        days, values = self.days, self.columns[column]
        total = number = 0
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

    def next_slide(self, layout: SourceLayout, now: int) -> int:
        """The slot at whose beginning a watched value can change though no event comes; NEVER_MS when none can."""
        if self.slide is None:
            self.slide = self._slide_of_rows(layout, now)
        slide = self.slide
        for aggregate, window in layout.watched:
            if aggregate == "distinct" or aggregate == "last":
                if (seen := self._first_seen(aggregate, window.column, window.first(now))) is not None:
                    slide = min(slide, seen + window.slots if window.unit == "slot" else next_month(now))
            elif aggregate == "closed":
                _, kept, index = layout.closings[window.column]
                entry = self.closed[window.column]
                month = self._first_seen(kept, index, month_start(now) - 1)
                if month is not None or (entry is not None and entry[0] == month_start(now)):
                    slide = min(slide, next_month(now))
            elif self.touched and (self.today[window.column] or aggregate not in ("count", "sum")):
                slide = min(slide, _slide(aggregate, window, now, now))
        return slide

    def _slide_of_rows(self, layout: SourceLayout, now: int) -> int:
        slide = NEVER_MS
        for aggregate, window in layout.watched:
            if aggregate in ("distinct", "last", "closed"):
                continue
            start = bisect_right(self.days, window.first(now))
            if aggregate in ("count", "sum"):  # a row without what they add changes nothing when it leaves
                values = self.columns[window.column]
                start = next((row for row in range(start, len(values)) if values[row]), len(values))
            if start < len(self.days):
                slide = min(slide, _slide(aggregate, window, self.days[start], now))
        return slide

    def _first_seen(self, aggregate: str, index: int, first: int) -> int | None:
        """The earliest slot after `first` with a value that counts."""
        if aggregate == "distinct":  # kept in order of the slot last seen
            return next((last for last in self.sets[index].values() if last > first), None)
        last = self.lasts[index]
        return last[0] if last is not None and last[0] > first else None


def _slide(aggregate: str, window: Window, row: int, now: int) -> int:
    """When the row that is the first of a window changes its value without an event."""
    if window.unit == "previous_month":
        return next_month(now)
    if aggregate == "daily_mean":
        return now + 1
    return row + window.slots if window.unit == "slot" else next_month(now)


_pack: Final = msgpack.Packer().pack


def pack_activity(layout: SourceLayout, activity: Activity) -> bytes:
    """Packing is most of what a write costs: what has not changed since the last time is not packed again."""
    if activity.packed is None:
        if activity.packed_past is None:
            activity.packed_past = _pack([layout.keys, activity.days, activity.columns])
        parts = [
            activity.last_ms,
            activity.touched,
            activity.packed_past,
            activity.today,
            activity.sets,
            activity.lasts,
        ]
        if layout.extended:
            parts.append(_pack_more(layout, activity))
        activity.packed = _pack(parts)
    return activity.packed


def _pack_more(layout: SourceLayout, activity: Activity) -> list[Any]:
    hours = None
    if layout.hours and activity.hours:
        activity.hours.packed = None
        hours = pack_activity(layout.hours, activity.hours)
    totals = {key: value for (key, _), value in zip(layout.totals, activity.totals, strict=True)}
    closed = {key: value for (key, _, _), value in zip(layout.closings, activity.closed, strict=True)}
    return [hours, totals, closed]


def unpack_activity(layout: SourceLayout, packed: bytes) -> Activity:
    activity = Activity(layout)
    activity.last_ms, activity.touched, packed_past, today, sets, lasts, *more = _unpack(packed)
    (columns_keys, sets_keys, lasts_keys), activity.days, columns = _unpack(packed_past)
    same = _unpack_more(layout, activity, *more) if layout.extended else not more
    if [columns_keys, sets_keys, lasts_keys] == layout.keys:
        activity.columns, activity.today, activity.sets, activity.lasts = columns, today, sets, lasts
        activity.packed_past, activity.packed = packed_past, packed if same else None
        return activity
    # written under other features: what is no longer asked for is left behind, what is new begins empty
    known = _by_present_key(layout, columns_keys, zip(columns, today, strict=True))
    blanks = zip(layout.columns, layout.blank_today, strict=True)
    found = [known.get(key, ([blank] * len(activity.days), blank)) for (key, _), blank in blanks]
    activity.columns, activity.today = [column for column, _ in found], [value for _, value in found]
    known_sets = _by_present_key(layout, sets_keys, sets)
    activity.sets = [known_sets.get(key, {}) for key in layout.sets]
    known_lasts = _by_present_key(layout, lasts_keys, lasts)
    activity.lasts = [known_lasts.get(key) for key in layout.lasts]
    return activity


def _by_present_key(layout: SourceLayout, keys: Iterable[str], values: Iterable[Any]) -> dict[str, Any]:
    return {layout.former.get(key, key): value for key, value in zip(keys, values, strict=True)}


def _unpack_more(layout: SourceLayout, activity: Activity, more: Any = (None, {}, {})) -> bool:
    """Whether all of it was written under this layout."""
    hours, totals, closed = more
    if layout.hours and hours:
        activity.hours = unpack_activity(layout.hours, hours)
    known = _by_present_key(layout, totals, totals.values())
    activity.totals = [known.get(key, blank_total(aggregate)) for key, aggregate in layout.totals]
    known = _by_present_key(layout, closed, closed.values())
    activity.closed = [known.get(key) for key, _, _ in layout.closings]
    kept = activity.hours is None or activity.hours.packed is not None
    return (
        kept
        and list(totals) == [key for key, _ in layout.totals]
        and list(closed) == [k for k, _, _ in layout.closings]
    )


def _unpack(packed: bytes) -> Any:
    return msgpack.unpackb(packed, strict_map_key=False)  # distinct values may be numbers
