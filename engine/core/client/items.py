"""Open items: what waits for an answer. A complaint, or a survey, task, alert or assignment that the engine has sent.

Enters: steps, each with its time. Leaves: a client's items, changed; counts and ages.
Holds: the clock of an item begins with its latest opening, its state is that of its latest step, in whatever order
steps come. A closed item is remembered for as long as late steps of it may come. There are at most MAX_ITEMS; closed
ones go first.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from engine.core.firm_time import DAY_MS

OPENED, ANSWERED, CLOSED = "o", "a", "c"
ITEM_STATES: Final = {OPENED: "opened", ANSWERED: "answered", CLOSED: "closed"}
MAX_ITEMS: Final = 32
REMEMBERED_MS: Final = 7 * DAY_MS  # of what is closed
LONGEST_MS: Final = 90 * DAY_MS  # of what nobody ever answers
# places in an item
KIND, KEY, ABOUT, SINCE_MS, STATE, STEP_MS, SEEN = range(7)


class Item(NamedTuple):
    """An item as rules read it."""

    kind: str
    id: str  # of the complaint, or of the action
    about: str | None  # the category, or the rule
    since_ms: int
    days: int


def opened(items: list[list[Any]], kind: str, key: str, about: str | None, time_ms: int) -> list[list[Any]]:
    """It is open, for the first time or again; its clock begins."""
    item = _find(items, kind, key)
    if item is None:
        return _bounded([*items, [kind, key, about, time_ms, OPENED, time_ms, []]])
    if time_ms > item[SINCE_MS]:
        item[SINCE_MS], item[SEEN] = time_ms, []
    if time_ms >= item[STEP_MS]:
        item[STATE], item[STEP_MS] = OPENED, time_ms
    item[ABOUT] = item[ABOUT] or about
    return items


def stepped(items: list[list[Any]], kind: str, key: str, state: str, time_ms: int, *, begins: bool) -> list[list[Any]]:
    """It is answered, or closed. `begins`: also when it is not known yet, since its opening may come late."""
    item = _find(items, kind, key)
    if item is None:
        return _bounded([*items, [kind, key, None, 0, state, time_ms, []]]) if begins else items
    if time_ms >= item[STEP_MS]:
        item[STATE], item[STEP_MS] = state, time_ms
    return items


def _find(items: list[list[Any]], kind: str, key: str) -> list[Any] | None:
    return next((item for item in items if item[KEY] == key and item[KIND] == kind), None)


def _bounded(items: list[list[Any]]) -> list[list[Any]]:
    if len(items) > MAX_ITEMS:
        gone = min(items, key=lambda item: (item[STATE] != CLOSED, item[STEP_MS]))
        items.remove(gone)
    return items


def remembered(items: list[list[Any]], now_ms: int) -> list[list[Any]]:
    """Without what was closed, or waited in vain, too long ago."""
    return [item for item in items if item[STEP_MS] + (REMEMBERED_MS if item[STATE] == CLOSED else LONGEST_MS) > now_ms]


def count(items: list[list[Any]], kind: str) -> int:
    """How many are open, answered or not."""
    return sum(item[KIND] == kind and item[STATE] != CLOSED for item in items)


def oldest_ms(items: list[list[Any]], kind: str) -> int | None:
    """When the clock of the oldest open one began."""
    found = [item[SINCE_MS] or item[STEP_MS] for item in items if item[KIND] == kind and item[STATE] != CLOSED]
    return min(found, default=None)
