"""Features: which columns a client's state keeps for them, the code that updates a column, the code that reads a
feature.

Enters: the features of a rule set. Leaves: a SourceLayout per source, Python text of ours for updates and reads.
Holds: features that differ only in their window share one column; a column's key depends on nothing but what it holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final

from engine.core.client import layout as layouts
from engine.core.client.activity import MAX_DISTINCT, MAX_SUM, Activity
from engine.core.client.layout import SourceLayout
from engine.core.client.state import ClientState, Layout
from engine.core.contract.events import MAX_AMOUNT_FEN
from engine.core.contract.fields import MAX_QUANTITY, MICRO, micro, units
from engine.core.contract.topics import sources
from engine.core.firm_time import DAY_MS, HOUR_MS, LONGEST_MONTH, NEVER_MS, day_start_ms
from engine.core.language.expressions import Expression
from engine.core.rules.meaning import filter_meaning
from engine.core.rules.names import activity_code, feature_bounds, field_name
from engine.core.rules.ruleset import Feature, Since, Window

_BLANK_PAST: Final = {"count": 0, "sum": 0, "distinct": 0, "daily_mean": (0, 0)}


@dataclass(frozen=True, slots=True)
class Grid:
    """The columns of one slot's length, and for each the feature that first asked for it (its field and filter)."""

    layout: SourceLayout
    columns: tuple[Feature, ...]
    sets: tuple[Feature, ...]
    lasts: tuple[Feature, ...]


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """What one source keeps, by day, by hour and since an event."""

    days: Grid
    hours: Grid | None
    totals: tuple[Feature, ...]
    reads: dict[str, str]  # feature name -> Python text over `c`
    daily_means: dict[str, tuple[int, int]]  # feature name -> its column, and how many days its window reaches back

    @property
    def layout(self) -> SourceLayout:
        return self.days.layout


def column_key(feature: Feature) -> str:
    """Eight hex digits naming what a column holds: neither the feature's name, its window nor its layout matters."""
    return _key(feature, filter_meaning)


def old_column_key(feature: Feature) -> str:
    """The key of 0.1.0, which named the text of `where` and `when` as it was written."""
    return _key(feature, lambda filter_: filter_.text if filter_ else "")


def _key(feature: Feature, of: Callable[[Expression | None], str]) -> str:
    field = f"{feature.field} in millionths" if _in_millionths(feature) else feature.field or ""
    parts = [feature.source, feature.aggregate, field, of(feature.where)]
    if isinstance(feature.window, Since):
        parts += [feature.window.on, of(feature.window.when)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]


def _former(features: Iterable[Feature]) -> dict[str, str]:
    """Old key -> key, of the features whose key is another now."""
    keys = ((old_column_key(feature), column_key(feature)) for feature in features)
    return {old: new for old, new in keys if old != new}


def plan_source(source: str, features: Iterable[Feature], watched: Collection[str] | None = None) -> SourcePlan:
    """Lay out the columns of one source. Features are taken by name, so that file order does not matter. `watched` has
    the names of those that are waited for while no event comes; None: all.
    """
    by_day: list[tuple[Feature, Window]] = []
    by_hour: list[tuple[Feature, Window]] = []
    totals: dict[str, Feature] = {}
    reads: dict[str, str] = {}
    for feature in sorted((f for f in features if f.source == source), key=lambda f: f.name):
        if isinstance(feature.window, Since):
            key = column_key(feature)
            totals.setdefault(key, feature)
            total = f"{activity_code(source)}.totals[{list(totals).index(key)}]"
            reads[feature.name] = f"len({total})" if feature.aggregate == "distinct" else _value(feature, total)
        else:
            (by_hour if feature.window.unit == "hour" else by_day).append((feature, feature.window))
    hours = _grid(by_hour, f"{activity_code(source)}.hours", reads, watched, {}, None) if by_hour else None
    days = _grid(
        by_day,
        activity_code(source),
        reads,
        watched,
        totals,
        hours.layout if hours else None,
    )
    means = {
        feature.name: (window.column, window.slots)
        for (feature, _), (aggregate, window) in zip(by_day, days.layout.windows, strict=True)
        if aggregate == "daily_mean"
    }
    return SourcePlan(days, hours, tuple(totals.values()), reads, means)


def _grid(
    features: list[tuple[Feature, Window]],
    activity: str,
    reads: dict[str, str],
    watched: Collection[str] | None,
    totals: dict[str, Feature],
    hours: SourceLayout | None,
) -> Grid:
    """Lay out columns of one slot's length; adds to `reads`."""
    kept: dict[str, dict[str, Feature]] = {"columns": {}, "sets": {}, "lasts": {}}
    closings: dict[str, tuple[str, str, int]] = {}
    windows: list[tuple[str, layouts.Window]] = []
    for feature, given in features:
        aggregate, key = feature.aggregate, column_key(feature)
        group = kept[{"distinct": "sets", "last": "lasts"}.get(aggregate, "columns")]
        group.setdefault(key, feature)
        column = list(group).index(key)
        unit = "slot" if given.unit in ("day", "hour") else given.unit
        slots = {"month": LONGEST_MONTH, "previous_month": 2 * LONGEST_MONTH}.get(unit, given.length)
        kind: str = aggregate
        if unit == "previous_month" and aggregate in ("distinct", "last"):
            closings.setdefault(key, (key, aggregate, column))
            kind, column, slots = "closed", list(closings).index(key), LONGEST_MONTH
        reads[feature.name] = _value(feature, _read(kind, unit, activity, column, len(windows)))
        windows.append((kind, layouts.Window(column, slots, unit)))
    layout = SourceLayout(
        columns=tuple((key, f.aggregate) for key, f in kept["columns"].items()),
        sets=tuple(kept["sets"]),
        lasts=tuple(kept["lasts"]),
        windows=tuple(windows),
        keys=[list(kept[group]) for group in ("columns", "sets", "lasts")],
        keep=max((w.slots for _, w in windows), default=1),
        blank_today=tuple(0 if f.aggregate in ("count", "sum") else None for f in kept["columns"].values()),
        blank_past=tuple(_BLANK_PAST.get(feature.aggregate) for feature, _ in features),
        closings=tuple(closings.values()),
        totals=tuple((key, f.aggregate) for key, f in totals.items()),
        hours=hours,
        former=_former([*(feature for feature, _ in features), *totals.values()]),
        watched=tuple(
            window
            for (feature, _), window in zip(features, windows, strict=True)
            if watched is None or feature.name in watched
        ),
    )
    columns, sets, lasts = (tuple(group.values()) for group in (kept["columns"], kept["sets"], kept["lasts"]))
    return Grid(layout, columns, sets, lasts)


def _in_millionths(feature: Feature) -> bool:
    """Quantities have decimals; what is added up is kept in whole numbers, so that sums are exact."""
    summed = feature.aggregate in ("sum", "daily_mean")
    return summed and field_name(feature.source, feature.field).type.unit == "shares"


def _value(feature: Feature, kept: str) -> str:
    """Text of a feature's value, from that of what is kept."""
    return f"units({kept})" if _in_millionths(feature) else kept


def _read(kind: str, unit: str, activity: str, column: int, past: int) -> str:
    if unit == "previous_month" and kind == "daily_mean":
        return f"mean({activity}.past[{past}])"
    if unit == "previous_month" or kind in ("distinct", "last"):
        return f"{activity}.past[{past}]"
    if kind in ("count", "sum"):
        return f"({activity}.today[{column}] + {activity}.past[{past}])"
    reader = {"min": "least", "max": "greatest", "daily_mean": "daily_mean"}[kind]
    return f"{reader}({activity}.today[{column}], {activity}.past[{past}])"


def least(today: Any, past: Any) -> Any:
    return past if today is None else today if past is None or today < past else past


def greatest(today: Any, past: Any) -> Any:
    return past if today is None else today if past is None or today > past else past


def daily_mean(today: Any, past: tuple[int, int]) -> Any:
    """Mean of daily closing values, today's being the value now; whole units (fen) stay whole, rounded down."""
    return None if today is None else mean((past[0] + today, past[1] + 1))


def mean(past: tuple[int, int]) -> Any:
    total, days = past
    if not days:
        return None
    return total / days if isinstance(total, float) else total // days


def days_between(earlier_ms: int | None, later_ms: int) -> int | None:
    return None if earlier_ms is None else (later_ms - earlier_ms) // DAY_MS


READERS: Final[dict[str, Callable[..., Any]]] = {
    "least": least,
    "greatest": greatest,
    "daily_mean": daily_mean,
    "mean": mean,
    "days_between": days_between,
    "units": units,
}


def update_lines(source: str, plans: dict[str, SourcePlan], condition: Callable[[Expression], str]) -> list[str]:
    """Python text that applies event `e` of a source to client `c`; `condition` gives the text of an expression over
    the event. Uses `UPDATERS` and `constants`.
    """
    plan = plans[source]
    lines = [f"a = {activity_code(source)}", f"windows = windows_{source}"]
    starts, excluded = _starts(source, plans, condition)
    lines += starts
    lines += _grid_lines(plan.days, "c.day", condition)
    for index, feature in enumerate(plan.totals):
        value, cell = _field_code(feature), f"n[{index}]"
        step = {
            **_STEPS,
            "distinct": "note({cell}, {value})",
            "last": "{cell} = {value}",
        }[feature.aggregate].format(cell=cell, value=value)
        lines += ["n = a.totals"] * (index == 0)
        lines.append(_guarded(feature, value, condition, step, cell, excluded.get(index)))
    if plan.hours:
        lines += ["a = a.hours", f"windows = hour_windows_{source}"]
        lines += _grid_lines(plan.hours, f"c.now_ms // {HOUR_MS}", condition)
    return lines


_STEPS: Final = {
    "count": "{cell} += 1",
    "sum": "{cell} += {value}",
    "min": "{cell} = least({value}, {cell})",
    "max": "{cell} = greatest({value}, {cell})",
    "daily_mean": "{cell} = {value}",
}


def _grid_lines(grid: Grid, slot: str, condition: Callable[[Expression], str]) -> list[str]:
    lines: list[str] = ["a.touched = True", "t = a.today"]
    for index, feature in enumerate(grid.columns):
        value, cell = _field_code(feature), f"t[{index}]"
        step = _STEPS[feature.aggregate].format(cell=cell, value=value)
        lines.append(_guarded(feature, value, condition, step, cell))
    for index, feature in enumerate(grid.sets):
        value = _field_code(feature)
        lines.append(_guarded(feature, value, condition, f"see(a, {index}, {value}, {slot}, windows)"))
    for index, feature in enumerate(grid.lasts):
        value = _field_code(feature)
        lines.append(_guarded(feature, value, condition, f"set_last(a, {index}, {value}, {slot}, windows)"))
    return lines


def _starts(
    source: str, plans: dict[str, SourcePlan], condition: Callable[[Expression], str]
) -> tuple[list[str], dict[int, str]]:
    """Text that begins totals anew when the event they count from comes; for each total of this source whose own event
    it may be, the local name that says whether it was.
    """
    lines: list[str] = []
    found: dict[str, str] = {}  # condition's meaning -> local name
    excluded: dict[int, str] = {}
    for counted, plan in plans.items():
        for index, feature in enumerate(plan.totals):
            since = feature.window
            if not isinstance(since, Since) or since.on != source:
                continue
            text = filter_meaning(since.when)
            if text not in found:
                found[text] = f"s{len(found)}"
                lines.append(f"{found[text]} = {condition(since.when) if since.when else 'True'}")
            blank = {"count": "0", "sum": "0", "distinct": "{}"}.get(feature.aggregate, "None")
            activity = activity_code(counted)
            lines.append(f"if {found[text]}: {activity}.totals[{index}] = {blank}; {activity}.packed = None")
            if counted == source:
                excluded[index] = found[text]
    return lines, excluded


def _field_code(feature: Feature) -> str:
    if feature.field is None:
        return "1"
    code = field_name(feature.source, feature.field).code
    return f"micro({code})" if _in_millionths(feature) else code


def _guarded(
    feature: Feature,
    value: str,
    condition: Callable[[Expression], str],
    step: str,
    cell: str = "",
    excluded: str | None = None,
) -> str:
    tests = [f"not {excluded}"] if excluded else []
    if feature.where:
        tests.append(condition(feature.where))
    if feature.field and field_name(feature.source, feature.field).optional:
        tests.append(f"{value} is not None")
    if feature.aggregate == "sum":  # saturates, so that a state can always be stored
        most = MAX_SUM - (MAX_QUANTITY * MICRO if _in_millionths(feature) else MAX_AMOUNT_FEN)
        tests.append(f"{-most} < {cell} < {most}" if feature_bounds(feature)[0] < 0 else f"{cell} < {most}")
    return f"if {' and '.join(tests)}: {step}" if tests else step


def see(activity: Activity, index: int, value: Any, slot: int, windows: tuple[tuple[str, layouts.Window], ...]) -> None:
    """Note a value for `distinct`. Beyond MAX_DISTINCT values the one seen longest ago is forgotten."""
    seen = activity.sets[index]
    if seen.get(value) == slot:
        return
    seen.pop(value, None)  # kept in order of the slot last seen
    seen[value] = slot
    if len(seen) > MAX_DISTINCT:
        del seen[next(iter(seen))]
    for past, (aggregate, window) in enumerate(windows):
        if aggregate == "distinct" and window.column == index:
            activity.past[past] = activity.window_value(aggregate, index, window.first(slot))


def set_last(
    activity: Activity, index: int, value: Any, slot: int, windows: tuple[tuple[str, layouts.Window], ...]
) -> None:
    """Note a value for `last`."""
    activity.lasts[index] = [slot, value]
    for past, (aggregate, window) in enumerate(windows):
        if aggregate == "last" and window.column == index:
            activity.past[past] = value


def note(seen: dict[Any, int], value: Any) -> None:
    """Note a value for `distinct` since an event, as far as it is counted."""
    if len(seen) < MAX_DISTINCT:
        seen[value] = 0


UPDATERS: Final[dict[str, Callable[..., Any]]] = {
    "see": see,
    "set_last": set_last,
    "note": note,
    "least": least,
    "greatest": greatest,
    "micro": micro,
}


def constants(plans: dict[str, SourcePlan]) -> dict[str, Any]:
    """What the text of `update_lines` calls by name, beside `UPDATERS`."""
    found: dict[str, Any] = {f"windows_{source}": plan.layout.windows for source, plan in plans.items()}
    found |= {f"hour_windows_{s}": plan.hours.layout.windows for s, plan in plans.items() if plan.hours}
    return found


def next_slide_ms(layout: Layout, client: ClientState) -> int:
    """The next moment at which a watched feature of the client can change though no event comes; or NEVER_MS."""
    day, hour = NEVER_MS, NEVER_MS
    for source in sources():
        kept: SourceLayout = getattr(layout, source)
        activity: Activity = getattr(client, source)
        day = min(day, activity.next_slide(kept, client.day))
        if kept.hours and activity.hours:
            hour = min(hour, activity.hours.next_slide(kept.hours, client.now_ms // HOUR_MS))
    slides = [day_start_ms(day)] if day < NEVER_MS else []
    return min([*slides, hour * HOUR_MS] if hour < NEVER_MS else slides, default=NEVER_MS)
