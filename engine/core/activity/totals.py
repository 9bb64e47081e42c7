"""Running totals since an event: `count`, `sum`, `min`, `max`, `distinct`, `top` or `last` of what came after it.

Enters: a total, the time and value of what counts, the time of the event to count from. Leaves: the total, changed.
Holds: an event counts when its own time is not before the event that is counted from. When that one comes late, what
came before it is taken out again, as far as the newest MAX_TAIL events tell; what lies further back stays counted.
"""

from __future__ import annotations

from bisect import insort
from typing import Any, Final

from engine.core.activity import tallies
from engine.core.activity.layout import MAX_DISTINCT, MAX_SUM

MAX_TAIL: Final = 4
INLINE: Final = ("count", "sum", "min", "max")  # added up by generated code, which calls `remember`
ALL, SINCE_ADDED = 0, -1  # what a total counts from before its event has come: all, or what came since it is kept
TOO_MANY: Final = False  # the value of a `top` with more values than are counted
START, VALUE, TAIL = 0, 1, 2  # of a total: since when it counts, what it came to, its newest events [time, value]


def blank_value(aggregate: str) -> Any:
    return {"count": 0, "sum": 0, "distinct": {}, "top": {}}.get(aggregate)


def blank_total(aggregate: str, since_ms: int = ALL) -> list[Any]:
    return [since_ms, blank_value(aggregate), []]


def add(total: list[Any], aggregate: str, time_ms: int, value: Any) -> None:
    """Count an event, unless it came before the event that is counted from."""
    if time_ms < total[START]:
        return
    if remember(total[TAIL], time_ms, value) or aggregate != "last":
        total[VALUE] = _step(aggregate, total[VALUE], value)


def remember(tail: list[list[Any]], time_ms: int, value: Any) -> bool:
    """Keep an event among the newest; returns whether it is the latest of them."""
    latest = not tail or tail[-1][0] <= time_ms
    if latest:
        tail.append([time_ms, value])
    else:
        insort(tail, [time_ms, value], key=lambda entry: entry[0])
    if len(tail) > MAX_TAIL:
        del tail[0]
    return latest


def begin(total: list[Any], aggregate: str, time_ms: int) -> None:
    """The event to count from has come: what came before it no longer counts."""
    if time_ms < total[START]:
        return
    total[START] = time_ms
    later = [entry for entry in total[TAIL] if entry[0] > time_ms]
    if later and len(later) == MAX_TAIL:
        return  # more than is remembered came after it: what is counted stays
    total[TAIL] = later
    total[VALUE] = blank_value(aggregate)
    for _, value in later:
        total[VALUE] = _step(aggregate, total[VALUE], value)


def _step(aggregate: str, so_far: Any, value: Any) -> Any:
    if aggregate == "count":
        return so_far + 1
    if aggregate == "sum":  # saturates, so that a state can always be stored
        return max(-MAX_SUM, min(so_far + value, MAX_SUM))
    if aggregate == "distinct":
        if value in so_far or len(so_far) < MAX_DISTINCT:
            so_far[value] = 0
        return so_far
    if aggregate == "top":
        if so_far is TOO_MANY or (value[0] not in so_far and len(so_far) >= tallies.MAX_TALLIES):
            return TOO_MANY
        tallies.add(so_far, *value)
        return so_far
    if aggregate == "last" or so_far is None:
        return value
    return min(so_far, value) if aggregate == "min" else max(so_far, value)
