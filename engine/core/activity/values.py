"""What a client did at one source, value by value: which were seen, and the last.

Enters: an Activity, a value, and the slot that it is of. Leaves: the Activity, with the value noted.
Holds: a value of an earlier slot never takes the place of a later one.
"""

from __future__ import annotations

from typing import Any

from engine.core.activity.activity import SEVERAL, Activity
from engine.core.activity.layout import MAX_DISTINCT, SourceLayout
from engine.core.firm_time import month_start


def see(activity: Activity, index: int, value: Any, slot: int, now: int, layout: SourceLayout) -> None:
    """Note a value for `distinct`, seen in a slot up to `now`. Beyond MAX_DISTINCT values the one seen longest ago is
    forgotten.
    """
    if slot < now:
        _see_late(activity, index, value, slot, now, layout)
        return
    seen = activity.sets[index] = activity.sets[index] or {}
    if seen.get(value) == slot:
        return
    seen.pop(value, None)  # kept in order of the slot last seen
    seen[value] = slot
    if len(seen) > MAX_DISTINCT:
        del seen[next(iter(seen))]
    for past, (aggregate, window) in enumerate(layout.windows):
        if aggregate == "distinct" and window.column == index:
            activity.past[past] = activity.window_value(aggregate, index, window.first(now))


def set_mean(row: list[Any], index: int, set_at: int, value: Any, at: int) -> None:
    """Note a slot's closing value, set `at` milliseconds into it; a later one stays."""
    before = row[set_at]
    if before is None:
        row[index], row[set_at] = value, at
    elif before & ~SEVERAL <= at:
        row[index], row[set_at] = value, at | SEVERAL
    else:
        row[set_at] = before | SEVERAL


def set_last(activity: Activity, index: int, value: Any, slot: int, at: int, now: int, layout: SourceLayout) -> None:
    """Note a value for `last`, set `at` milliseconds into a slot up to `now`; a later known value stays."""
    kept, new = activity.lasts[index], [slot, at, value]
    if slot < now:
        for closing, entry in _closings(activity, "last", index, slot, now, layout):
            if entry is None or entry[1][:2] <= new[:2]:
                activity.closed[closing] = [month_start(now), new]
    if kept is not None and kept[:2] > new[:2]:
        return
    activity.lasts[index] = new
    for past, (aggregate, window) in enumerate(layout.windows):
        if aggregate == "last" and window.column == index:
            activity.past[past] = activity.window_value(aggregate, index, window.first(now))


def _see_late(activity: Activity, index: int, value: Any, slot: int, now: int, layout: SourceLayout) -> None:
    """Note a value of an earlier slot. `recompute` has to follow."""
    seen = activity.sets[index] = activity.sets[index] or {}
    if slot > now - layout.keep and seen.get(value, slot - 1) < slot:
        seen[value] = slot
        activity.sets[index] = dict(sorted(seen.items(), key=lambda item: item[1])[-MAX_DISTINCT:])
    for closing, entry in _closings(activity, "distinct", index, slot, now, layout):
        if entry is None:
            activity.closed[closing] = [month_start(now), [value]]
        elif value not in entry[1]:
            entry[1].append(value)


def _closings(
    activity: Activity, aggregate: str, index: int, slot: int, now: int, layout: SourceLayout
) -> list[tuple[int, list[Any] | None]]:
    """The closings that an event of the previous month belongs to, each with what is kept of that month."""
    if not layout.closings:
        return []
    start = month_start(now)
    if not month_start(start - 1) <= slot < start:
        return []
    found = []
    for closing, (_, kept, column) in enumerate(layout.closings):
        if kept == aggregate and column == index:
            entry = activity.closed[closing]
            found.append((closing, entry if entry is not None and entry[0] == start else None))
    return found
