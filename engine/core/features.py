"""Features: which columns a client's state keeps for them, the code that updates a column, the code that reads a
feature.

Enters: the features of a rule set. Leaves: a SourceLayout per source, Python text of ours for updates and reads.
Holds: features that differ only in their window share one column; a column's key depends on nothing but what it holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from engine.core.events import MAX_AMOUNT_FEN
from engine.core.names import EVENT_NAMES
from engine.core.ruleset import Feature, Source
from engine.core.state import (
    DAY_MS,
    MAX_DISTINCT,
    MAX_SUM,
    NEVER_MS,
    Activity,
    ClientState,
    Layout,
    SourceLayout,
    Window,
    day_start_ms,
)

_BLANK_PAST: Final = {"count": 0, "sum": 0, "distinct": 0, "daily_mean": (0, 0)}
SOURCES: Final[tuple[Source, ...]] = ("trades", "logins", "balances")


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """What one source keeps, and for each column the feature that first asked for it (its field and filter)."""

    layout: SourceLayout
    columns: tuple[Feature, ...]
    sets: tuple[Feature, ...]
    lasts: tuple[Feature, ...]
    reads: dict[str, str]  # feature name -> Python text over `c`


def column_key(feature: Feature) -> str:
    """Eight hex digits naming what a column holds, whatever the feature's name and window."""
    where = feature.where.text if feature.where else ""
    text = "\0".join((feature.source, feature.aggregate, feature.field or "", where))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def plan_source(source: Source, features: Iterable[Feature]) -> SourcePlan:
    """Lay out the columns of one source. Features are taken by name, so that file order does not matter."""
    kept: dict[str, dict[str, Feature]] = {"columns": {}, "sets": {}, "lasts": {}}
    windows: list[tuple[str, Window]] = []
    reads: dict[str, str] = {}
    for feature in sorted((f for f in features if f.source == source), key=lambda f: f.name):
        group = kept[{"distinct": "sets", "last": "lasts"}.get(feature.aggregate, "columns")]
        key = column_key(feature)
        group.setdefault(key, feature)
        column, past = list(group).index(key), len(windows)
        windows.append((feature.aggregate, Window(column, feature.window_days)))
        reads[feature.name] = _read(feature.aggregate, f"c.{source}", column, past)
    layout = SourceLayout(
        columns=tuple((key, f.aggregate) for key, f in kept["columns"].items()),
        sets=tuple(kept["sets"]),
        lasts=tuple(kept["lasts"]),
        windows=tuple(windows),
        keys=[list(kept[group]) for group in ("columns", "sets", "lasts")],
        keep_days=max((w.days for _, w in windows), default=1),
        blank_today=tuple(0 if f.aggregate in ("count", "sum") else None for f in kept["columns"].values()),
        blank_past=tuple(_BLANK_PAST.get(aggregate) for aggregate, _ in windows),
    )
    columns, sets, lasts = (tuple(group.values()) for group in (kept["columns"], kept["sets"], kept["lasts"]))
    return SourcePlan(layout, columns, sets, lasts, reads)


def _read(aggregate: str, activity: str, column: int, past: int) -> str:
    if aggregate in ("count", "sum"):
        return f"({activity}.today[{column}] + {activity}.past[{past}])"
    if aggregate in ("distinct", "last"):
        return f"{activity}.past[{past}]"
    reader = {"min": "least", "max": "greatest", "daily_mean": "daily_mean"}[aggregate]
    return f"{reader}({activity}.today[{column}], {activity}.past[{past}])"


def least(today: Any, past: Any) -> Any:
    return past if today is None else today if past is None or today < past else past


def greatest(today: Any, past: Any) -> Any:
    return past if today is None else today if past is None or today > past else past


def daily_mean(today: Any, past: tuple[int, int]) -> Any:
    """Mean of daily closing values, today's being the value now; whole units (fen) stay whole, rounded down."""
    if today is None:
        return None
    total, days = past[0] + today, past[1] + 1
    return total / days if isinstance(total, float) else total // days


def days_between(earlier_ms: int | None, later_ms: int) -> int | None:
    return None if earlier_ms is None else (later_ms - earlier_ms) // DAY_MS


READERS: Final[dict[str, Callable[..., Any]]] = {
    "least": least,
    "greatest": greatest,
    "daily_mean": daily_mean,
    "days_between": days_between,
}


def update_lines(plan: SourcePlan, condition: Callable[[Feature], str]) -> list[str]:
    """Python text that applies event `e` to Activity `a` of client `c`; `condition` gives the text of a feature's
    filter.
    """
    lines: list[str] = ["a.touched = True", "t = a.today"]
    for index, feature in enumerate(plan.columns):
        value, cell = _field_code(feature), f"t[{index}]"
        step = {
            "count": f"{cell} += 1",
            "sum": f"{cell} += {value}",
            "min": f"{cell} = least({value}, {cell})",
            "max": f"{cell} = greatest({value}, {cell})",
            "daily_mean": f"{cell} = {value}",
        }[feature.aggregate]
        lines.append(_guarded(feature, value, condition, step))
    for index, feature in enumerate(plan.sets):
        value = _field_code(feature)
        lines.append(_guarded(feature, value, condition, f"see(a, {index}, {value}, c.day, windows)"))
    for index, feature in enumerate(plan.lasts):
        value = _field_code(feature)
        lines.append(_guarded(feature, value, condition, f"set_last(a, {index}, {value}, c.day, windows)"))
    return lines


def _field_code(feature: Feature) -> str:
    if feature.field is None:
        return "1"
    return next(n.code for n in EVENT_NAMES[feature.source] if n.name.partition(".")[2] == feature.field)


def _guarded(feature: Feature, value: str, condition: Callable[[Feature], str], step: str) -> str:
    tests = [condition(feature)] if feature.where else []
    if feature.field and next(n for n in EVENT_NAMES[feature.source] if n.code == value).optional:
        tests.append(f"{value} is not None")
    if feature.aggregate == "sum":  # saturates, so that a state can always be stored
        tests.append(f"{step.partition(' ')[0]} < {MAX_SUM - MAX_AMOUNT_FEN}")
    return f"if {' and '.join(tests)}: {step}" if tests else step


def see(activity: Activity, index: int, value: Any, day: int, windows: tuple[tuple[str, Window], ...]) -> None:
    """Note a value for `distinct`. Beyond MAX_DISTINCT values the one seen longest ago is forgotten."""
    seen = activity.sets[index]
    if seen.get(value) == day:
        return
    seen.pop(value, None)  # kept in order of the day last seen
    seen[value] = day
    if len(seen) > MAX_DISTINCT:
        del seen[next(iter(seen))]
    for past, (aggregate, window) in enumerate(windows):
        if aggregate == "distinct" and window.column == index:
            activity.past[past] = activity.window_value(aggregate, index, day - window.days)


def set_last(activity: Activity, index: int, value: Any, day: int, windows: tuple[tuple[str, Window], ...]) -> None:
    """Note a value for `last`."""
    activity.lasts[index] = [day, value]
    for past, (aggregate, window) in enumerate(windows):
        if aggregate == "last" and window.column == index:
            activity.past[past] = value


UPDATERS: Final[dict[str, Callable[..., Any]]] = {
    "see": see,
    "set_last": set_last,
    "least": least,
    "greatest": greatest,
}


def next_slide_ms(layout: Layout, client: ClientState) -> int:
    """The next moment at which a feature of the client can change though no event comes; NEVER_MS when none can."""
    day = client.day
    for source, activity in (
        (layout.trades, client.trades),
        (layout.logins, client.logins),
        (layout.balances, client.balances),
    ):
        last_day = day if activity.touched else activity.days[-1] if activity.days else day - source.keep_days
        if source.windows and day - last_day < source.keep_days:
            return day_start_ms(day + 1)
    return NEVER_MS
