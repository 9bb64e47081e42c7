"""Tallies: how often each value of a field came, or what another field of those events adds up to.

Enters: a tally of one slot or total, values. Leaves: the tally, changed; the winner of several.
Holds: the order in which events come makes no difference. A column keeps MAX_TALLIES entries: beyond that its oldest
slots are forgotten whole, and `Activity.known` says from which slot on it is complete.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from engine.core.activity.layout import MAX_SUM, SourceLayout

if TYPE_CHECKING:
    from engine.core.activity.activity import Activity

MAX_TALLIES: Final = 512  # values, each counted once a slot
Tally = dict[Any, int]
FULL: Final[Tally] = {}  # of a slot whose values are no longer counted; never changed


def tally(cell: Tally | None, value: Any, amount: int, more: bool) -> tuple[Tally | None, bool]:
    """The cell with the value counted, and whether it or an earlier one has a further entry by now."""
    if cell is None:
        return {value: amount}, True
    if not cell:
        return cell, more
    more = more or value not in cell
    add(cell, value, amount)
    return cell, more


def add(cell: Tally, value: Any, amount: int) -> None:
    """Sums saturate, so that a state can always be stored."""
    cell[value] = max(-MAX_SUM, min(cell.get(value, 0) + amount, MAX_SUM))


def crop(activity: Activity, layout: SourceLayout, now: int) -> None:
    """Forget the oldest slots of columns that have too many entries."""
    for index, (key, aggregate) in enumerate(layout.columns):
        if aggregate == "top" and (full := _full_until(activity, index, now, now - layout.keep)) is not None:
            activity.known_from(key, full + 1)
            for row, slot in enumerate(activity.days):
                if slot <= full and activity.columns[index][row] is not None:
                    activity.columns[index][row] = FULL
            if full == now:
                activity.today[index] = FULL
            activity.packed = activity.packed_past = None
            activity.recompute(layout, now)


def _full_until(activity: Activity, index: int, now: int, oldest: int) -> int | None:
    """The latest slot from which on there are too many entries; None if there are not."""
    entries = len(activity.today[index] or ())
    if entries > MAX_TALLIES:
        return now
    for row in range(len(activity.days) - 1, -1, -1):
        if activity.days[row] <= oldest:
            return None
        entries += len(activity.columns[index][row] or ())
        if entries > MAX_TALLIES:
            return activity.days[row]
    return None


def merged(cells: Iterable[Tally | None]) -> Tally | None:
    found: Tally = {}
    for cell in cells:
        for value, amount in (cell or FULL).items():
            add(found, value, amount)
    return found or None


def winner(today: Tally | None, past: Tally | None) -> Any:
    """The value with the most; of several the first in alphabetical order, or the smallest."""
    both = merged((past, today)) if past and today else past or today
    return min(both, key=lambda value: (-both[value], value)) if both else None
