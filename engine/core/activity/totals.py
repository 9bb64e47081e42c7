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
# Below 0 it is not known what was counted up to then, such as -t where a correction left a total from t on unknown.
HOLE: Final = None  # the value of an event in a tail of which nothing is known but that it is not after this time
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


def take_back(total: list[Any], aggregate: str, time_ms: int, value: Any) -> bool:
    """Take an event out again that was counted; returns whether what is left is known."""
    tail = total[TAIL]
    whole = len(tail) < MAX_TAIL  # all that was counted is in it
    if [time_ms, value] in tail:
        earliest = tail[0][0]
        tail.remove([time_ms, value])
        if not whole:  # there may be earlier ones, up to this moment
            tail.insert(0, [earliest, HOLE])
    so_far = total[VALUE]
    if aggregate == "count":
        total[VALUE] = max(so_far - 1, 0)
    elif aggregate == "sum":
        total[VALUE] = so_far - value
        return bool(abs(so_far) < MAX_SUM // 2)
    elif whole:
        total[VALUE] = blank_value(aggregate)
        for _, counted in tail:
            total[VALUE] = _step(aggregate, total[VALUE], counted)
    elif aggregate == "last":
        if tail[-1][0] > time_ms or so_far != value:
            return True
        total[VALUE] = None if tail[-1][1] is HOLE else tail[-1][1]
        return tail[-1][1] is not HOLE
    elif aggregate == "distinct":
        if any(counted == value for _, counted in tail):
            return True
        return so_far.pop(value, value) is value
    elif aggregate == "top":
        if so_far is TOO_MANY or value[0] not in so_far:
            return True
        tallies.add(so_far, value[0], -value[1])
        if not so_far[value[0]]:
            del so_far[value[0]]
            return bool(value[1] == 1)
    elif so_far == value:
        total[VALUE] = None
        return False
    return True


def begin(total: list[Any], aggregate: str, time_ms: int) -> None:
    """The event to count from has come: what came before it no longer counts."""
    if time_ms < abs(total[START]):
        return
    later = [entry for entry in total[TAIL] if entry[0] > time_ms]
    if later and len(later) == MAX_TAIL:  # more than is remembered came after it: what is counted stays
        total[START] = time_ms if total[START] >= 0 else total[START]
        return
    total[START] = time_ms
    total[TAIL] = later
    total[VALUE] = blank_value(aggregate)
    for _, value in later:
        total[VALUE] = _step(aggregate, total[VALUE], value)


def lose(total: list[Any]) -> None:
    """Its value is known no longer, until an event to count from comes that is not before the one so far."""
    total[START] = -max(abs(total[START]), 1)


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
