"""What features ask a client's state to keep of one source.

Enters: nothing. Leaves: Window, SourceLayout.
Holds: a slot is a day of the firm's calendar, counted from 1970-01-01, or an hour.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from engine.core.firm_time import month_start

MAX_DISTINCT: Final = 64
MAX_SUM: Final = (1 << 63) - 1
SET_AT: Final = "@"  # the end of a column's key that holds when in its slot another column was set


@dataclass(frozen=True, slots=True)
class Window:
    """One feature over a column: `past[index]` holds its value over the slots before the present one."""

    column: int
    slots: int  # how far it reaches back at most, the present slot included
    unit: str = "slot"  # or month, previous_month: of days

    def first(self, now: int) -> int:
        """The slot before the first one of the window."""
        if self.unit == "slot":
            return now - self.slots
        start = month_start(now)
        return start - 1 if self.unit == "month" else month_start(start - 1) - 1


@dataclass(frozen=True, slots=True)
class SourceLayout:
    """The columns one source keeps, each named by a key that outlives the order of features."""

    # (key, aggregate): count, sum, min, max, top, daily_mean, set_at: one value a slot
    columns: tuple[tuple[str, str], ...]
    sets: tuple[str, ...]  # distinct: value -> last slot it was seen
    lasts: tuple[str, ...]  # last: (slot, milliseconds into it, value)
    windows: tuple[tuple[str, Window], ...]  # (aggregate, window), in the order of `Activity.past`
    keys: list[list[str]]  # of columns, sets and lasts: what is stored to know them again
    keep: int  # slots that some window reaches
    blank_today: tuple[Any, ...]  # what the present slot's row begins with
    blank_past: tuple[Any, ...]  # every window's value without past slots
    means: tuple[tuple[int, int], ...] = ()  # each daily_mean column, and the column that says when it was set
    closings: tuple[tuple[str, str, int], ...] = ()  # (key, distinct or last, its index): kept when a month ends
    totals: tuple[tuple[str, str], ...] = ()  # (key, aggregate): one value, since an event
    hours: SourceLayout | None = None  # the same by hour
    former: Mapping[str, str] = field(default_factory=dict)  # keys that older releases gave to columns -> the key
    factors: Mapping[str, int] = field(default_factory=dict)  # by which values under a former key are multiplied
    mark: int = field(init=False)  # stored with what is stored: of the same layout, if it is the same
    stored_keys: list[bytes] = field(init=False)  # `keys` as they are stored, see packing.py
    keeps_slots: bool = field(init=False)  # whether there is anything by slot
    blank_row: list[Any] = field(init=False)  # `blank_today`, to be compared with a row
    totals_keys: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        columns, sets, lasts = self.keys
        plain = [key for key in columns if not key.endswith(SET_AT)]
        set_at = [key.removesuffix(SET_AT) for key in columns if key.endswith(SET_AT)]
        stored = [bytes.fromhex("".join(keys)) for keys in (plain, set_at, sets, lasts)]
        object.__setattr__(self, "stored_keys", stored)
        object.__setattr__(self, "keeps_slots", any(self.keys))
        object.__setattr__(self, "blank_row", list(self.blank_today))
        object.__setattr__(self, "totals_keys", tuple(key for key, _ in self.totals))
        of = self.keys, self.keep, self.totals, self.closings, self.hours and self.hours.mark
        object.__setattr__(self, "mark", zlib.crc32(repr(of).encode()))
