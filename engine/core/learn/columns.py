"""Puts columns of features into a state: those that a backfill computed, or that a ledger record holds.

Enters: a client's state, and one of the same client that holds some features alone. Leaves: the first one, with their
columns replaced. Holds: nothing but those columns changes; both states stand at the same time.
"""

from __future__ import annotations

import copy
from bisect import bisect_left
from collections.abc import Collection, Sequence
from typing import Any

from engine.core.activity.activity import Activity
from engine.core.activity.layout import SourceLayout
from engine.core.client.state import ClientState, Layout
from engine.core.firm_time import HOUR_MS, day_of
from engine.core.plan.compile import Plan, compile_rule_set
from engine.core.rules.ruleset import RuleSet, Tiers


def plan_of_features(rule_set: RuleSet, names: Collection[str]) -> Plan:
    """A plan that keeps these features and decides nothing."""
    chosen = tuple(feature for feature in rule_set.features if feature.name in names)
    nothing = Tiers({}, (), None)
    alone = RuleSet(
        rule_set.digest, rule_set.files, chosen, nothing, rule_set.policy, (), event_types=rule_set.event_types
    )
    return compile_rule_set(alone)  # definitions and tables can ask for features that are not chosen


def put_columns(layout: Layout, client: ClientState, found_layout: Layout, found: ClientState) -> None:
    """Replace every column of `found_layout` by its values in `found`."""
    for source, kept in layout.sources.items():
        if source not in found_layout.sources:  # a type that was declared only since
            continue
        activity = client.activities[source]
        _put(kept, activity, found_layout.sources[source], found.activities[source])
        activity.recompute(kept, client.day)
        activity.recompute_hours(kept, client.now_ms // HOUR_MS)


def complete_after(layout: Layout, client: ClientState, moment_ms: int) -> None:
    """Note that the client's columns hold nothing of what came up to a moment."""
    for source, kept in layout.sources.items():
        activity = client.activities[source]
        _known_from(kept, activity, day_of(moment_ms) + 1)
        if kept.hours is not None and activity.hours is not None:
            _known_from(kept.hours, activity.hours, moment_ms // HOUR_MS + 1)


def _known_from(layout: SourceLayout, activity: Activity, slot: int) -> None:
    keys = (*(key for key, _ in layout.columns), *layout.sets, *layout.lasts)
    activity.known = activity.known | dict.fromkeys(keys, slot)


def put_known(client: ClientState, found: ClientState, names: Collection[str]) -> None:
    """What corrections left unknown is known from `found`: these features, and when the last events came."""
    for source, activity in client.activities.read.items():
        if activity.unsure_ms and (last_ms := found.activities[source].last_ms) is not None:
            activity.last_ms, activity.unsure_ms, activity.packed = last_ms, 0, None
    if client.unknown_until:
        client.unknown_until = {name: day for name, day in client.unknown_until.items() if name not in names}


def _put(layout: SourceLayout, activity: Activity, found_layout: SourceLayout, found: Activity) -> None:
    days = sorted({*activity.days, *found.days}) if found_layout.columns else activity.days
    if days != activity.days:  # the state held fewer slots than the columns need
        activity.columns = [
            _spread(activity.days, column, days, blank)
            for column, blank in zip(activity.columns, layout.blank_today, strict=True)
        ]
        activity.days = days
    keys = [key for key, _ in layout.columns]
    columns, todays = copy.deepcopy((found.columns, found.today))  # what was found goes on changing
    for (key, _), column, today, blank in zip(
        found_layout.columns, columns, todays, found_layout.blank_today, strict=True
    ):
        index = keys.index(key)
        activity.columns[index], activity.today[index] = _spread(found.days, column, days, blank), today
    if found_layout.columns:
        activity.touched = activity.touched or found.touched
    _replace(activity.sets, layout.sets, found.sets, found_layout.sets)
    _replace(activity.lasts, layout.lasts, found.lasts, found_layout.lasts)
    _replace(activity.totals, [key for key, _ in layout.totals], found.totals, [key for key, _ in found_layout.totals])
    _replace(
        activity.closed, [key for key, *_ in layout.closings], found.closed, [key for key, *_ in found_layout.closings]
    )
    for key in (*(key for key, _ in found_layout.columns), *found_layout.sets, *found_layout.lasts):
        activity.known.pop(key, None)
        if key in found.known:  # more than is kept
            activity.known_from(key, found.known[key])
    if layout.hours and activity.hours and found_layout.hours and found.hours:
        _put(layout.hours, activity.hours, found_layout.hours, found.hours)
    activity.packed = activity.packed_past = None


def _replace(values: list[Any], keys: Sequence[str], found: list[Any], found_keys: Sequence[str]) -> None:
    for key, value in zip(found_keys, found, strict=True):
        values[keys.index(key)] = copy.deepcopy(value)  # what was found goes on changing


def _spread(days: list[int], column: list[Any], onto: list[int], blank: Any) -> list[Any]:
    """The column's values at the slots `onto`, which hold all of `days`."""
    spread = [blank] * len(onto)
    for day, value in zip(days, column, strict=True):
        spread[bisect_left(onto, day)] = value
    return spread
