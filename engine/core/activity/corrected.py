"""Taking an event back out of an activity: windows are as if it had never come, or say that they do not know.

Enters: an activity, what the event counted in each column, its slot. Leaves: the activity, changed; doubts.
Holds: counts, sums and tallies are exact. Beside the least, the greatest, the last, a distinct value, a day's closing
value no slot knows others: where the event was just that, the column counts as complete only from the slot after. What
is left in such a column is never more than the truth.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, NamedTuple

from engine.core.activity import totals
from engine.core.activity.activity import SEVERAL, UNSET, Activity
from engine.core.activity.layout import MAX_SUM, SourceLayout
from engine.core.activity.totals import START
from engine.core.firm_time import month_start

Counts = Sequence[tuple[Any, Any] | None]  # by column: (value, more), or None; see plan/corrected.py
Grid = tuple[Counts, Counts, Counts]  # of columns, sets and lasts


class Moment(NamedTuple):
    """Where an event counts: its slot, and milliseconds into it."""

    slot: int
    at: int


class Doubt(NamedTuple):
    """A column that no longer knows the value of a slot."""

    group: int  # of Grid
    place: int
    aggregate: str
    key: str
    value: Any

    def settled(self, then: Moment, counted: Grid | None, now: Moment) -> bool:
        """Whether what replaces the event, at `now`, says what the value is."""
        found = counted[self.group][self.place] if counted is not None else None
        if found is None:
            return False
        match self.aggregate:
            case "min":
                return now.slot == then.slot and bool(found[0] <= self.value)
            case "max":
                return now.slot == then.slot and bool(found[0] >= self.value)
            case "daily_mean":
                return now.slot == then.slot and now.at >= then.at
            case "last":
                return now >= then
            case "distinct":
                return found[0] == self.value and now.slot >= then.slot
            case _:
                return now.slot == then.slot and found[0] == self.value


def take_back(activity: Activity, layout: SourceLayout, counted: Grid, then: Moment, now: int) -> list[Doubt]:
    """Take an event of a slot up to `now` out of columns, sets and lasts."""
    doubts: list[Doubt] = []
    place = bisect_left(activity.days, then.slot)
    past = place < len(activity.days) and activity.days[place] == then.slot
    if past or (then.slot == now and activity.touched):
        row = activity.today if then.slot == now else [column[place] for column in activity.columns]
        before = _before(activity, layout, place, now)
        for index, (found, (key, aggregate)) in enumerate(zip(counted[0], layout.columns, strict=False)):
            since = activity.known.get(key, then.slot)
            if found is None or then.slot < since < UNSET:
                continue
            begins = key in activity.known and since == then.slot  # what was before this slot is not known
            if _take_from(row, index, aggregate, found, then.at, layout, None if begins else before):
                doubts.append(Doubt(0, index, aggregate, key, found[0]))
        if then.slot < now:
            for column, value in zip(activity.columns, row, strict=True):
                column[place] = value
        for mean, set_at in layout.means:
            if row[set_at] is None:
                carry(activity, mean, set_at, place + (then.slot < now), row[mean])
    elif then.slot < now:
        doubts += _carried_from(activity, layout, counted[0], then.slot)
    for index, found in enumerate(counted[1]):
        if found is not None and _unsee(activity, index, found[0], then.slot, now, layout):
            doubts.append(Doubt(1, index, "distinct", layout.sets[index], found[0]))
    for index, found in enumerate(counted[2]):
        if found is not None and _unset(activity, index, [*then, found[0]], now, layout):
            doubts.append(Doubt(2, index, "last", layout.lasts[index], found[0]))
    activity.packed = activity.packed_past = None
    activity.recompute(layout, now)
    return doubts


def _take_from(
    row: list[Any],
    index: int,
    aggregate: str,
    found: tuple[Any, Any],
    at: int,
    layout: SourceLayout,
    before: list[Any] | None,
) -> bool:
    """Take a value out of a cell; returns whether the cell no longer knows its value."""
    value, more = found
    cell = row[index]
    match aggregate:
        case "count":
            row[index] = max(cell - 1, 0)
        case "sum":
            row[index] = cell - value if more else max(cell - value, 0)
            return bool(abs(cell) > MAX_SUM // 2)  # some of it may not have been added
        case "min" | "max":
            if cell == value:
                row[index] = None
                return True
        case "daily_mean":
            set_at = dict(layout.means)[index]
            if row[set_at] is not None and row[set_at] & ~SEVERAL == at and cell == value:
                only = before is not None and not row[set_at] & SEVERAL
                row[index], row[set_at] = before[index] if before is not None and only else None, None
                return not only
        case "top" if cell is not None and value in cell:
            left = cell[value] - more
            kept = {item: amount for item, amount in cell.items() if item != value}
            if left:
                kept[value] = left
            row[index] = kept or None
            # others of the same value may have added nothing, or what took it away
            return bool((not left and more != 1) or abs(cell[value]) == MAX_SUM)
    return False


def _before(activity: Activity, layout: SourceLayout, place: int, now: int) -> list[Any] | None:
    """The row before this place; None if it is no longer kept."""
    if place > 0 and (place == len(activity.days) or activity.days[place] > now - layout.keep):
        return [column[place - 1] for column in activity.columns]
    dropped = bool(activity.days) and activity.days[0] <= now - layout.keep
    return None if dropped else list(layout.blank_today)


def _carried_from(activity: Activity, layout: SourceLayout, counted: Counts, slot: int) -> list[Doubt]:
    """A row that is no longer kept may be the one that the first day with a row carries its value from."""
    doubts: list[Doubt] = []
    if activity.days and activity.days[0] < slot:
        return doubts
    for mean, set_at in layout.means:
        found = counted[mean]
        first = [column[0] for column in activity.columns] if activity.days else activity.today
        if found is not None and first[set_at] is None and first[mean] == found[0]:
            carry(activity, mean, set_at, 0, None)
            doubts.append(Doubt(0, mean, "daily_mean", layout.columns[mean][0], found[0]))
    return doubts


def carry(activity: Activity, mean: int, set_at: int, place: int, value: Any) -> None:
    """Days from `place` on that have no value of their own carry this one."""
    for later in range(place, len(activity.days)):
        if activity.columns[set_at][later] is not None:
            return
        activity.columns[mean][later] = value
    if activity.today[set_at] is None:
        activity.today[mean] = value


def _unsee(activity: Activity, index: int, value: Any, slot: int, now: int, layout: SourceLayout) -> bool:
    seen, doubtful = activity.sets[index], False
    if seen.get(value) == slot:
        del seen[value]
        doubtful = True
    for closing, (_, kept, column) in enumerate(layout.closings):
        entry = activity.closed[closing]
        if kept != "distinct" or column != index or entry is None or not _closed_on(entry, slot, now):
            continue
        if value in entry[1]:
            left = [item for item in entry[1] if item != value]
            activity.closed[closing] = [entry[0], left] if left else None
            doubtful = True
    return doubtful


def _unset(activity: Activity, index: int, entry: list[Any], now: int, layout: SourceLayout) -> bool:
    doubtful = False
    if activity.lasts[index] == entry:
        activity.lasts[index] = None
        doubtful = True
    for closing, (_, kept, column) in enumerate(layout.closings):
        closed = activity.closed[closing]
        if kept == "last" and column == index and closed is not None and closed[1] == entry:
            activity.closed[closing] = None
            doubtful = True
    return doubtful


def _closed_on(entry: list[Any], slot: int, now: int) -> bool:
    start = month_start(now)
    return bool(entry[0] == start and month_start(start - 1) <= slot < start)


def note(activity: Activity, doubts: Sequence[Doubt], then: Moment, now: int, layout: SourceLayout) -> None:
    """What is in doubt counts as complete from a later slot on: for windows that reach it, its value is unknown."""
    for doubt in doubts:
        first = then.slot + 1
        if doubt.aggregate == "daily_mean":
            first = _next_set(activity, dict(layout.means)[doubt.place], then.slot, now)
        activity.known_from(doubt.key, first)
        activity.packed = None


def _next_set(activity: Activity, set_at: int, slot: int, now: int) -> int:
    """The next slot with a value of its own. While there is none, slots to come carry what is not known, too."""
    place = bisect_left(activity.days, slot + 1)
    for later in range(place, len(activity.days)):
        if activity.columns[set_at][later] is not None:
            return activity.days[later]
    return now if activity.today[set_at] is not None else UNSET


# -- totals ------------------------------------------------------------------------------------------------------------


def take_from_total(total: list[Any], aggregate: str, time_ms: int, found: tuple[Any, Any]) -> bool:
    """Take an event out of a total; returns whether its value is no longer known."""
    if time_ms < total[START]:
        return False
    counted = [found[0], found[1]] if aggregate == "top" else found[0]
    return not totals.take_back(total, aggregate, time_ms, counted)


def total_settled(aggregate: str, then_ms: int, value: Any, found: tuple[Any, Any] | None, now_ms: int) -> bool:
    if found is None:
        return False
    doubt = Doubt(0, 0, aggregate, "", value)
    return doubt.settled(Moment(0, then_ms), ([found], [], []), Moment(0, now_ms))
