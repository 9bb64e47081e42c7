"""What the engine remembers of a client's events at one source: columns of values by day.

Enters: a layout (which columns the features need), values, the day's turn. Leaves: Activity, or its packed bytes.
Holds: rows that no window reaches are dropped; values that follow from others (`past`) are not stored.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any, Final

import msgpack

DAY_MS: Final = 86_400_000
FIRM_UTC_OFFSET_MS: Final = 8 * 3_600_000  # the firm's calendar day: China keeps UTC+8 all year
NEVER_MS: Final = 1 << 62
MAX_DISTINCT: Final = 64
MAX_SUM: Final = (1 << 63) - 1


def day_of(moment_ms: int) -> int:
    """Days since 1970-01-01 in the firm's time zone."""
    return (moment_ms + FIRM_UTC_OFFSET_MS) // DAY_MS


def day_start_ms(day: int) -> int:
    return day * DAY_MS - FIRM_UTC_OFFSET_MS


@dataclass(frozen=True, slots=True)
class Window:
    """One feature over a column: `past[index]` holds its value over the days before today."""

    column: int
    days: int


@dataclass(frozen=True, slots=True)
class SourceLayout:
    """The columns one source keeps, each named by a key that outlives the order of features."""

    columns: tuple[tuple[str, str], ...]  # (key, aggregate): count, sum, min, max, daily_mean: one value a day
    sets: tuple[str, ...]  # distinct: value -> last day it was seen
    lasts: tuple[str, ...]  # last: (day, value)
    windows: tuple[tuple[str, Window], ...]  # (aggregate, window), in the order of `Activity.past`
    keys: list[list[str]]  # of columns, sets and lasts: what is stored to know them again
    keep_days: int
    blank_today: tuple[Any, ...]  # what today's row begins with
    blank_past: tuple[Any, ...]  # every window's value without past days


class Activity:
    """What a client did at one source, a row per active day, today apart."""

    __slots__ = (
        "before_ms", "columns", "days", "last_ms", "lasts", "packed", "packed_past", "past", "sets", "today", "touched",
    )  # fmt: skip

    def __init__(self, layout: SourceLayout) -> None:
        self.last_ms: int | None = None
        self.before_ms: int | None = None  # the event before the present one; has a meaning while that is decided
        self.days: list[int] = []
        self.columns: list[list[Any]] = [[] for _ in layout.columns]
        self.today: list[Any] = list(layout.blank_today)
        self.touched = False  # whether today has a row
        self.sets: list[dict[Any, int]] = [{} for _ in layout.sets]
        self.lasts: list[list[Any] | None] = [None for _ in layout.lasts]
        self.past: list[Any] = list(layout.blank_past)  # by window, see Layout; follows from the rest
        self.packed: bytes | None = None  # all of it packed, until it changes
        self.packed_past: bytes | None = None  # `days` and `columns` packed, until the day closes

    def saw_event(self, moment_ms: int) -> None:
        """An event comes. A rule on it asks for the days since the one before."""
        self.before_ms, self.last_ms = self.last_ms, moment_ms
        self.packed = None

    def close_day(self, layout: SourceLayout, day: int, new_day: int) -> None:
        """Today's row becomes a past one, and rows that no window reaches are dropped."""
        self.packed = None
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
        oldest = new_day - layout.keep_days
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

    def recompute(self, layout: SourceLayout, day: int) -> None:
        """Every feature's value over the days of its window before `day`."""
        days = self.days
        starts: dict[int, int] = {}
        if not days and not any(self.sets) and not any(self.lasts):
            self.past = list(layout.blank_past)
            return
        past: list[Any] = []
        for aggregate, window in layout.windows:
            first_day = day - window.days  # the window is (first_day, day]
            if aggregate in ("distinct", "last"):
                past.append(self.window_value(aggregate, window.column, first_day))
                continue
            start = starts.get(first_day)
            if start is None:
                start = starts[first_day] = bisect_right(days, first_day)
            if aggregate == "daily_mean":
                past.append(self._carried(window.column, start, first_day, day))
                continue
            values = self.columns[window.column][start:]
            if aggregate in ("count", "sum"):
                past.append(min(sum(values), MAX_SUM))
            else:
                known = [v for v in values if v is not None]
                past.append((min if aggregate == "min" else max)(known) if known else None)
        self.past = past

    def window_value(self, aggregate: str, index: int, first_day: int) -> Any:
        """distinct or last over the days after `first_day`, today included."""
        if aggregate == "distinct":
            return sum(1 for last in self.sets[index].values() if last > first_day)
        last = self.lasts[index]
        return last[1] if last is not None and last[0] > first_day else None

    def _carried(self, column: int, start: int, first_day: int, day: int) -> tuple[int, int]:
        """(sum, number) of daily closing values for the days of the window before today, each day without one as the
        last.
        """
        days, values = self.days, self.columns[column]
        total = number = 0
        if start > 0:
            reached, value = first_day + 1, values[start - 1]
        elif days:
            reached, value = days[0], values[0]
        else:
            return 0, 0
        for index in range(start, len(days)):
            if value is not None:
                total += value * (days[index] - reached)
                number += days[index] - reached
            reached, value = days[index], values[index]
        if value is not None:
            total += value * (day - reached)
            number += day - reached
        return total, number


_pack: Final = msgpack.Packer().pack


def pack_activity(layout: SourceLayout, activity: Activity) -> bytes:
    """Packing is most of what a write costs: what has not changed since the last time is not packed again."""
    if activity.packed is None:
        if activity.packed_past is None:
            activity.packed_past = _pack([layout.keys, activity.days, activity.columns])
        activity.packed = _pack(
            [
                activity.last_ms,
                activity.touched,
                activity.packed_past,
                activity.today,
                activity.sets,
                activity.lasts,
            ]
        )
    return activity.packed


def unpack_activity(layout: SourceLayout, packed: bytes) -> Activity:
    activity = Activity(layout)
    activity.last_ms, activity.touched, packed_past, today, sets, lasts = msgpack.unpackb(packed)
    (columns_keys, sets_keys, lasts_keys), activity.days, columns = msgpack.unpackb(packed_past)
    if [columns_keys, sets_keys, lasts_keys] == layout.keys:
        activity.columns, activity.today, activity.sets, activity.lasts = columns, today, sets, lasts
        activity.packed_past, activity.packed = packed_past, packed
        return activity
    # written under other features: what is no longer asked for is left behind, what is new begins empty
    known = {key: (column, value) for key, column, value in zip(columns_keys, columns, today, strict=True)}
    blanks = zip(layout.columns, layout.blank_today, strict=True)
    found = [known.get(key, ([blank] * len(activity.days), blank)) for (key, _), blank in blanks]
    activity.columns, activity.today = [column for column, _ in found], [value for _, value in found]
    known_sets = dict(zip(sets_keys, sets, strict=True))
    activity.sets = [known_sets.get(key, {}) for key in layout.sets]
    known_lasts = dict(zip(lasts_keys, lasts, strict=True))
    activity.lasts = [known_lasts.get(key) for key in layout.lasts]
    return activity
