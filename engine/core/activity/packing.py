"""An Activity as bytes, and from bytes.

Enters: a layout and an Activity, or its bytes. Leaves: the other one.
Holds: values are named by the keys of their columns, so that features come and go without a new format; a key that the
layout lacks is left behind, one that it adds begins empty, and it is noted since when such a column is complete.
Packing is most of what a write costs: what has not changed since the last time is not packed again. Slots are stored
as steps from one to the next, and a column with one blank value throughout as that value.
"""

from __future__ import annotations

from itertools import accumulate
from operator import sub
from typing import Any, Final

import msgspec

from engine.core.activity.activity import BLANK_DICT, BLANK_LIST, SEVERAL, Activity, blanks
from engine.core.activity.layout import MAX_SUM, SET_AT, SourceLayout
from engine.core.activity.totals import ALL, SINCE_ADDED, VALUE, blank_total

_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder().decode
# names of the fields of a packed activity; a blank one is left out
LAST, PAST, TODAY, SETS, LASTS, HOURS, TOTALS, CLOSED, KEEP, KNOWN = "l", "p", "t", "s", "e", "h", "o", "m", "k", "w"
UNSURE: Final = "u"
AS_VALUE: Final = "value"


def pack_activity(layout: SourceLayout, activity: Activity) -> bytes:
    if activity.packed is None:
        activity.packed = _pack(_fields(layout, activity))
    return activity.packed


def _fields(layout: SourceLayout, activity: Activity) -> dict[str, Any]:
    fields: dict[str, Any] = {LAST: activity.last_ms}
    if layout.keeps_slots:
        if activity.packed_past is None:
            columns = [column if any(column) else _blank(column) for column in activity.columns]
            activity.packed_past = _pack([layout.stored_keys, _steps(activity.days), columns])
        fields[PAST] = activity.packed_past
        fields[KEEP] = layout.keep
    if activity.touched or activity.today != layout.blank_row:
        fields[TODAY] = [activity.touched, *activity.today]
    if any(activity.sets):
        fields[SETS] = activity.sets
    if any(activity.lasts):
        fields[LASTS] = activity.lasts
    if layout.hours and activity.hours:
        activity.hours.packed = None
        fields[HOURS] = pack_activity(layout.hours, activity.hours)
    if layout.totals:
        fields[TOTALS] = dict(zip(layout.totals_keys, activity.totals, strict=True))
    if layout.closings and any(activity.closed):
        keys = (key for key, _, _ in layout.closings)
        fields[CLOSED] = {key: value for key, value in zip(keys, activity.closed, strict=True) if value}
    if activity.known:
        fields[KNOWN] = activity.known
    if activity.unsure_ms:
        fields[UNSURE] = activity.unsure_ms
    return fields


def _steps(slots: list[int]) -> list[int]:
    return [*slots[:1], *map(sub, slots[1:], slots)]


def _blank(column: list[Any]) -> Any:
    """Its one value, if a column of zeros or of None is the same throughout; else the column."""
    return column[0] if column and column.count(column[0]) == len(column) else column


def unknown_until(last_ms: int) -> bytes:
    """Of a client of whose events nothing is known but when the last one came."""
    return _pack({LAST: last_ms})


def last_of(packed: bytes) -> int | None:
    """When the last event came."""
    last_ms: int | None = _unpack(packed)[LAST]
    return last_ms


def unpack_activity(layout: SourceLayout, packed: bytes, now: tuple[int, int], since: tuple[int, int]) -> Activity:
    """`now` and `since` are the day and the hour of the client's present and of its first event."""
    fields = _unpack(packed)
    return _unpacked(layout, packed, fields, now, since, fields[LAST] is not None or UNSURE in fields)


def _unpacked(
    layout: SourceLayout,
    packed: bytes,
    fields: dict[str, Any],
    now: tuple[int, int],
    since: tuple[int, int],
    heard: bool,
) -> Activity:
    """`heard`: the client had events at this source."""
    past = fields.get(PAST)
    stored_keys, steps, columns = _unpack(past) if past is not None else ([b"", b"", b"", b""], [], [])
    days = [*accumulate(steps)]
    columns = [column if type(column) is list else [column] * len(days) for column in columns]
    touched, *today = fields.get(TODAY, (False,))
    sets, lasts = fields.get(SETS), fields.get(LASTS)
    same = stored_keys == layout.stored_keys and fields.get(KEEP, layout.keep) == layout.keep
    # made without its lists where they are read: the blank ones would be thrown away
    activity = Activity(None if same else layout)
    activity.last_ms, activity.days, activity.touched = fields[LAST], days, touched
    activity.known = fields.get(KNOWN, BLANK_DICT)
    if UNSURE in fields:
        activity.unsure_ms = fields[UNSURE]
    if same:
        activity.columns = columns
        activity.today = today or list(layout.blank_today)
        activity.sets = [seen or BLANK_DICT for seen in sets] if sets else blanks(BLANK_DICT, len(layout.sets))
        activity.lasts = lasts or blanks(None, len(layout.lasts))
        activity.packed_past = past
    else:
        keys = _keys(stored_keys)
        sets, lasts = sets or [{} for _ in keys[1]], lasts or [None for _ in keys[2]]
        _refit(layout, activity, keys, (columns, today, sets, lasts))
        if heard:
            _note_known(layout, activity, keys, fields.get(KEEP, layout.keep), now[0], since[0])
    if layout.totals or layout.closings or TOTALS in fields or CLOSED in fields:
        same &= _unpack_totals(layout, activity, fields)
    else:
        activity.totals, activity.closed = BLANK_LIST, BLANK_LIST
    if layout.hours and activity.hours is None:
        activity.hours = Activity(layout.hours)
    if layout.hours and HOURS in fields:
        hours = _unpack(fields[HOURS])
        activity.hours = _unpacked(layout.hours, fields[HOURS], hours, (now[1], now[1]), (since[1], since[1]), heard)
        same &= activity.hours.packed is not None
    elif layout.hours and activity.hours and heard:
        _note_known(layout.hours, activity.hours, [[], [], []], layout.hours.keep, now[1], since[1])
        same &= not activity.hours.known
    same &= (layout.hours is not None) == (HOURS in fields)
    activity.packed = packed if same else None
    return activity


def _keys(stored: list[bytes]) -> list[list[str]]:
    """The keys of columns, sets and lasts, from the four digits of each."""
    plain, set_at, sets, lasts = ([joined[at : at + 4].hex() for at in range(0, len(joined), 4)] for joined in stored)
    return [[*plain, *(key + SET_AT for key in set_at)], sets, lasts]


def _refit(layout: SourceLayout, activity: Activity, keys: list[list[str]], values: tuple[list[Any], ...]) -> None:
    """Take over what was written under other features."""
    columns, today, sets, lasts = values
    columns_keys, sets_keys, lasts_keys = ([layout.former.get(key, key) for key in named] for named in keys)
    rows = len(activity.days)
    today = today or [None] * len(columns_keys)
    for index, key in enumerate(keys[0]):
        if factor := layout.factors.get(key):
            columns[index] = [_times(value, factor) for value in columns[index]]
            today[index] = _times(today[index], factor)
    known = {key: (column, value) for key, column, value in zip(columns_keys, columns, today, strict=True)}
    for index, ((key, aggregate), blank) in enumerate(zip(layout.columns, layout.blank_today, strict=True)):
        if key in known:
            column, value = known[key]
            activity.columns[index] = column
            activity.today[index] = blank if value is None else value
        elif aggregate == "set_at" and key.removesuffix(SET_AT) in known:
            activity.columns[index] = [SEVERAL] * rows  # when is not known: what comes later of the same day counts
            activity.today[index] = SEVERAL if activity.touched else None
        else:
            activity.columns[index] = [blank] * rows
    known_sets = dict(zip(sets_keys, sets, strict=True))
    activity.sets = [known_sets.get(key) or BLANK_DICT for key in layout.sets]
    known_lasts = dict(zip(lasts_keys, lasts, strict=True))
    activity.lasts = [known_lasts.get(key) for key in layout.lasts]


def _times(value: int | None, factor: int) -> int | None:
    return value and min(value * factor, MAX_SUM)  # so that a state can always be stored


def _note_known(
    layout: SourceLayout, activity: Activity, keys: list[list[str]], kept: int, now: int, since: int
) -> None:
    """Note from which slot on each column is complete: a new one after this slot, one that was kept for a shorter
    window as far as that reached. A client without events before has nothing that could be missing.
    """
    stored = {layout.former.get(key, key) for named in keys for key in named}
    columns = [key for key, aggregate in layout.columns if aggregate != "set_at"]
    for key in (*columns, *layout.sets, *layout.lasts):
        if key not in stored:
            activity.known = activity.known | {key: now + 1}
        elif kept < layout.keep and key not in layout.lasts and now - kept + 1 > since:
            activity.known_from(key, now - kept + 1)


def _unpack_totals(layout: SourceLayout, activity: Activity, fields: dict[str, Any]) -> bool:
    """Whether all of it was written under this layout."""
    stored, closed = fields.get(TOTALS, {}), fields.get(CLOSED, {})
    for key, factor in layout.factors.items():
        if key in stored:
            stored[key][VALUE] = _times(stored[key][VALUE], factor)
    totals = {layout.former.get(key, key): value for key, value in stored.items()}
    begin = ALL if activity.last_ms is None and not activity.unsure_ms else SINCE_ADDED
    activity.totals = [totals.get(key) or blank_total(aggregate, begin) for key, aggregate in layout.totals]
    months = {layout.former.get(key, key): value for key, value in closed.items()}
    activity.closed = [_of_today(months.get(key), aggregate) for key, aggregate, _ in layout.closings]
    return list(stored) == [key for key, _ in layout.totals] and list(closed) == [
        key for (key, _, _), value in zip(layout.closings, activity.closed, strict=True) if value
    ]


# -- what release 0.1.0 wrote ------------------------------------------------------------------------------------------


def from_positions(packed: bytes) -> bytes:
    """A packed activity of 0.1.0, whose values stood by position, as one of today."""
    today: bytes = _pack(_from_positions(packed))
    return today


def _from_positions(packed: bytes) -> dict[str, Any]:
    last_ms, touched, past, today, sets, lasts, *more = _unpack(packed)
    keys, days, columns = _unpack(past)
    columns_keys, sets_keys, lasts_keys = (bytes.fromhex("".join(named)) for named in keys)
    stored_keys = [columns_keys, b"", sets_keys, lasts_keys]
    past = _pack([stored_keys, _steps(days), columns])
    fields: dict[str, Any] = {LAST: last_ms, PAST: past, TODAY: [touched, *today], SETS: sets}
    fields[LASTS] = [last and [last[0], 0, last[1]] for last in lasts]
    hours, totals, closed = more[0] if more else (None, {}, {})
    if hours:
        fields[HOURS] = _pack(_from_positions(hours))
    fields[TOTALS] = {key: [0, value, []] for key, value in totals.items()}
    fields[CLOSED] = {key: {AS_VALUE: entry} for key, entry in closed.items() if entry}
    return fields


def _of_today(entry: Any, aggregate: str) -> list[Any] | None:
    """0.1.0 kept only the number of a month's distinct values, and only the value of the last one."""
    if not isinstance(entry, dict):
        return entry  # type: ignore[no-any-return]
    start, value = entry[AS_VALUE]
    return [start, [None] * value if aggregate == "distinct" else [start - 1, 0, value]]
