"""Features: which columns a client's state keeps for them, the code that updates a column, the code that reads a
feature.

Enters: the features of a rule set. Leaves: a SourceLayout per source, Python text of ours for updates and reads.
Holds: features that differ only in their window share one column; a column's key depends on nothing but what it holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from engine.core.activity import layout as layouts
from engine.core.activity.layout import SET_AT, SourceLayout
from engine.core.activity.totals import START, TOO_MANY, VALUE
from engine.core.client.state import ClientState, Layout
from engine.core.contract.fields import MICRO
from engine.core.firm_time import HOUR_MS, LONGEST_MONTH, NEVER_MS, day_start_ms
from engine.core.language.expressions import Expression
from engine.core.language.types import INTEGER_UNITS
from engine.core.plan.readers import in_millionths, kept_text, total_text, value_text
from engine.core.rules.meaning import filter_meaning
from engine.core.rules.names import activity_code
from engine.core.rules.ruleset import Feature, Since, Window

PART: Final = ":"  # in the name of what is kept for a feature beside others; no release before kept such
_BLANK_PAST: Final = {"count": 0, "sum": 0, "distinct": 0, "daily_mean": (0, 0)}


@dataclass(frozen=True, slots=True)
class Grid:
    """The columns of one slot's length, and for each the feature that first asked for it (its field and filter)."""

    layout: SourceLayout
    columns: tuple[Feature, ...]
    sets: tuple[Feature, ...]
    lasts: tuple[Feature, ...]


# Of each source, places among the windows of its layout: of its days, and of its hours
Windows = tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """What one source keeps, by day, by hour and since an event."""

    days: Grid
    hours: Grid | None
    totals: tuple[Feature, ...]
    reads: dict[str, str]  # feature name -> Python text over `c`
    daily_means: dict[str, tuple[int, int]]  # feature name -> its column, and how many days its window reaches back
    falling: dict[str, tuple[int, int]]  # the same for counts and sums that only fall while no event comes
    reaches: dict[str, Reach]  # by feature name
    places: tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]  # of its windows by day, and by hour

    @property
    def layout(self) -> SourceLayout:
        return self.days.layout


def column_key(feature: Feature) -> str:
    """Eight hex digits naming what a column holds: neither the feature's name, its window nor its layout matters. Of a
    feature with several columns it names them together.
    """
    field = feature.of_field.stored_as or feature.field if feature.field else None
    field = f"{field} in millionths" if in_millionths(feature) else field
    if feature.asked_by is not None:
        field = f"{field} by {feature.asked_by.stored_as or feature.by}"
    return _key(feature, field, filter_meaning)


def old_column_key(feature: Feature) -> str:
    """The key of 0.1.0, which named the text of `where` and `when` as it was written, and kept whole quantities."""
    return _key(feature, feature.field, lambda filter_: filter_.text if filter_ else "")


def _key(feature: Feature, field: str | None, of: Callable[[Expression | None], str]) -> str:
    parts = [feature.source, feature.aggregate, field or "", of(feature.where)]
    if isinstance(feature.window, Since):
        parts += [feature.window.on, of(feature.window.when)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]


def _former(features: Iterable[Feature]) -> dict[str, str]:
    """Old key -> key, for features whose key has changed."""
    keys = ((old_column_key(feature), column_key(feature)) for feature in features if PART not in feature.name)
    return {old: new for old, new in keys if old != new}


def _factors(features: Iterable[Feature]) -> dict[str, int]:
    return {old_column_key(f): MICRO for f in features if in_millionths(f) and PART not in f.name}


def parts_of(feature: Feature) -> tuple[Feature, ...]:
    """What is kept for a feature, a column each: a mean follows from a sum and a count, which others may share."""
    if feature.aggregate != "avg":
        return (feature,)
    asked = feature.of_field
    added = replace(asked, exact=asked.exact or asked.type.unit not in INTEGER_UNITS)
    counted = (feature.field, asked) if asked.optional else (None, None)
    return (
        replace(feature, name=f"{feature.name}{PART}sum", aggregate="sum", asked=added),
        replace(feature, name=f"{feature.name}{PART}count", aggregate="count", field=counted[0], asked=counted[1]),
    )


def plan_source(source: str, features: Collection[Feature]) -> SourcePlan:
    """Lay out the columns of one source. Features are taken by name, so that file order does not matter."""
    by_day: list[tuple[Feature, Window]] = []
    by_hour: list[tuple[Feature, Window]] = []
    totals: dict[str, Feature] = {}
    kept: dict[str, str] = {}  # by part
    of_source = sorted((f for f in features if f.source == source), key=lambda f: f.name)
    for part in (part for feature in of_source for part in parts_of(feature)):
        if isinstance(part.window, Since):
            key = column_key(part)
            totals.setdefault(key, part)
            total = f"{activity_code(source)}.totals[{list(totals).index(key)}][{VALUE}]"
            kept[part.name] = total_text(part.aggregate, total)
        else:
            (by_hour if part.window.unit == "hour" else by_day).append((part, part.window))
    hours = _grid(by_hour, f"{activity_code(source)}.hours", kept, {}, None) if by_hour else None
    days = _grid(
        by_day,
        activity_code(source),
        kept,
        totals,
        hours.layout if hours else None,
    )
    means = {
        feature.name: (window.column, window.slots)
        for (feature, _), (aggregate, window) in zip(by_day, days.layout.windows, strict=True)
        if aggregate == "daily_mean"
    }
    falling = {
        feature.name: (window.column, window.slots)
        for (feature, _), (aggregate, window) in zip(by_day, days.layout.windows, strict=True)
        if aggregate in ("count", "sum") and window.unit == "slot" and not in_millionths(feature)
        if feature.bounds[0] >= 0
    }
    windows = {part.name: window for (part, _), (_, window) in zip(by_day, days.layout.windows, strict=True)}
    if hours:
        windows |= {part.name: window for (part, _), (_, window) in zip(by_hour, hours.layout.windows, strict=True)}
    in_days, in_hours = ({part.name: place for place, (part, _) in enumerate(found)} for found in (by_day, by_hour))
    reads, reaches = {}, {}
    for feature in of_source:
        parts = parts_of(feature)
        keys = [column_key(part) for part in parts]
        reads[feature.name] = value_text(feature, [kept[part.name] for part in parts])
        since = isinstance(feature.window, Since)
        unit = "since" if since else "day" if parts[0].name in in_days else "hour"
        places = tuple(list(totals).index(key) if since else key for key in keys)
        window = windows.get(parts[0].name)
        reaches[feature.name] = Reach(feature.name, feature.aggregate, source, unit, places, window)
    of_days, of_hours = (
        {f.name: tuple(among[part.name] for part in parts_of(f) if part.name in among) for f in of_source}
        for among in (in_days, in_hours)
    )
    return SourcePlan(days, hours, tuple(totals.values()), reads, means, falling, reaches, (of_days, of_hours))


def daily_totals(plan: SourcePlan) -> dict[str, tuple[int, ...]]:
    """For each field of money the columns that keep its closing value of each day, whatever the events were."""
    found: dict[str, tuple[int, ...]] = {}
    for index, feature in enumerate(plan.days.columns):
        if feature.aggregate == "daily_mean" and not filter_meaning(feature.where):
            field = f"{str(feature.field).removesuffix('_cny')}_fen"
            found[field] = (*found.get(field, ()), index)
    return found


def _grid(
    features: list[tuple[Feature, Window]],
    activity: str,
    reads: dict[str, str],
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
        reads[feature.name] = kept_text(kind, unit, activity, column, len(windows))
        windows.append((kind, layouts.Window(column, slots, unit)))
    columns = [(key, f.aggregate) for key, f in kept["columns"].items()]
    means = [(index, key) for index, (key, aggregate) in enumerate(columns) if aggregate == "daily_mean"]
    set_at = [(f"{key}{SET_AT}", "set_at") for _, key in means]
    layout = SourceLayout(
        columns=(*columns, *set_at),
        sets=tuple(kept["sets"]),
        lasts=tuple(kept["lasts"]),
        windows=tuple(windows),
        keys=[[*kept["columns"], *(key for key, _ in set_at)], list(kept["sets"]), list(kept["lasts"])],
        keep=max((w.slots for _, w in windows), default=1),
        blank_today=tuple(0 if aggregate in ("count", "sum") else None for _, aggregate in (*columns, *set_at)),
        blank_past=tuple(_BLANK_PAST.get(feature.aggregate) for feature, _ in features),
        means=tuple((index, len(columns) + n) for n, (index, _) in enumerate(means)),
        closings=tuple(closings.values()),
        totals=tuple((key, f.aggregate) for key, f in totals.items()),
        hours=hours,
        former=_former([*(feature for feature, _ in features), *totals.values()]),
        factors=_factors([*(feature for feature, _ in features), *totals.values()]),
    )
    return Grid(layout, *(tuple(kept[group].values()) for group in ("columns", "sets", "lasts")))


def windows_of(sources: Mapping[str, SourcePlan], names: Collection[str]) -> Windows:
    """Where the windows of these features are; others among the names have none."""
    found = []
    for source, plan in sources.items():
        days, hours = (tuple(sorted({place for name in names for place in of.get(name, ())})) for of in plan.places)
        if days or hours:
            found.append((source, days, hours))
    return tuple(found)


def next_slide_ms(layout: Layout, client: ClientState, windows: Windows) -> int:
    """The next moment at which a feature of these windows can change though no event comes; or NEVER_MS."""
    day, hour = NEVER_MS, NEVER_MS
    for source, of_days, of_hours in windows:
        if not client.activities.has(source):
            continue
        activity, kept = client.activities[source], layout.sources[source]
        if of_days:
            day = min(day, activity.next_slide(kept, client.day, of_days))
        if of_hours and kept.hours and activity.hours:
            hour = min(hour, activity.hours.next_slide(kept.hours, client.now_ms // HOUR_MS, of_hours))
    slides = [day_start_ms(day)] if day < NEVER_MS else []
    return min([*slides, hour * HOUR_MS] if hour < NEVER_MS else slides, default=NEVER_MS)


# -- what is known of a feature's past ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reach:
    """Where a feature's past is kept, and how far back it asks; `window` is None for a total since an event."""

    name: str
    aggregate: str
    source: str
    unit: str  # day, hour, or since
    places: tuple[str | int, ...]  # the columns' keys, or the totals' indexes
    window: layouts.Window | None

    def known(self, client: ClientState) -> tuple[int, int]:
        """How many slots of the window are known, and how many it has; (0, 1) and (1, 1) for a total."""
        if self.window is None:
            activity = client.activities[self.source]
            totals = [activity.totals[int(place)] for place in self.places]
            return int(all(total[START] >= 0 and total[VALUE] is not TOO_MANY for total in totals)), 1
        now = client.now_ms // HOUR_MS if self.unit == "hour" else client.day
        first = self.window.first(now) + 1
        wanted = now - first + 1
        return max(wanted - max(self.since(client) - first, 0), 0), wanted

    def since(self, client: ClientState) -> int:
        """The slot from which on all is known of what a window asks; 0: from the first event."""
        activity = client.activities[self.source]
        known = activity.hours.known if self.unit == "hour" and activity.hours is not None else activity.known
        return max(known.get(str(place), 0) for place in self.places)

    def is_known(self, client: ClientState) -> bool:
        known, wanted = self.known(client)
        return known >= wanted
