"""The code that says what of an event counts in the columns of its source's features, so that it can be taken back;
what a correction has left unknown.

Enters: the plans of all sources. Leaves: Python text of ours; the features that are unknown, and
what follows from them.
Holds: what is said follows from the event alone, so that an event that is sent again says the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Final

from engine.core.client.state import ClientState
from engine.core.contract.actions import ACTIONS
from engine.core.contract.corrections import CORRECTABLE
from engine.core.contract.fields import DIMENSIONS
from engine.core.contract.topics import TOPICS
from engine.core.firm_time import HOUR_MS, NEVER_MS, day_of, next_month
from engine.core.language.expressions import Scope
from engine.core.plan.features import Grid, Reach, SourcePlan
from engine.core.plan.updates import Condition, by_code, field_code, has_by
from engine.core.rules.meaning import filter_meaning
from engine.core.rules.ruleset import Feature, RuleSet, Since

Features = frozenset[str]
EXACT: Final = ("count", "sum", "avg")  # over a window, whatever is corrected


@dataclass(frozen=True, slots=True)
class Follows:
    """The features that segment, score and portrait follow from."""

    segment: Features
    score: Features
    parts: tuple[Features, ...]  # of each dimension of the score
    stage: Features
    traits: tuple[Features, ...]


def follows(rule_set: RuleSet, scope: Scope, reaches: Mapping[str, Reach]) -> Follows:
    """`scope` has the names of the client alone."""
    of = partial(features_behind, scope, reaches)
    parts = {part.name: of(part.value.names) for part in rule_set.score}
    return Follows(
        of(name for segment in rule_set.tiers.segments for name in segment.when.names),
        of(rule_set.value_score.names if rule_set.value_score is not None else ()),
        tuple(parts.get(name, frozenset()) for name in DIMENSIONS),
        of(name for stage in rule_set.stages for name in stage.when.names),
        tuple(of(trait.value.names) for trait in rule_set.traits),
    )


def features_behind(scope: Scope, features: Collection[str], asked: Iterable[str]) -> Features:
    """Which of the features are among these names, or those that their definitions and tables read."""
    read = chain.from_iterable(scope[name].reads or (scope[name],) for name in asked)
    return frozenset(name.name for name in read if name.name in features)


def can_be_unknown(features: Iterable[Feature]) -> Features:
    """Those that a correction can leave unknown."""

    def corrected(source: str) -> bool:
        return source in CORRECTABLE or (source not in TOPICS and source != ACTIONS.name)

    found = set()
    for feature in features:
        since = feature.window.on if isinstance(feature.window, Since) else None
        taken_out = corrected(feature.source) and feature.aggregate not in EXACT
        if taken_out or (since is not None and (corrected(since) or corrected(feature.source))):
            found.add(feature.name)
    return frozenset(found)


def is_unknown(client: ClientState, features: Features) -> bool:
    """Whether a correction has left one of them unknown."""
    return bool(client.unknown_until) and not features.isdisjoint(client.unknown_until)


def counted_lines(source: str, plans: Mapping[str, SourcePlan], condition: Condition) -> list[str]:
    """Python text of a function of event `e`: what it counts by day, in totals, as what begins totals, and by hour.

    Of each column it is None, or (value, more): `more` is the amount of a `top`, and of a sum whether it can be
    negative.
    """
    plan, lines = plans[source], []
    begins: dict[str, str] = {}  # condition's meaning -> local name
    begun, excluded = [], {}
    for counted, other in plans.items():
        for index, feature in enumerate(other.totals):
            if not isinstance(since := feature.window, Since) or since.on != source:
                continue
            text = filter_meaning(since.when)
            if text not in begins:
                begins[text] = f"s{len(begins)}"
                lines.append(f"{begins[text]} = {condition(since.when) if since.when else 'True'}")
            begun.append(f'("{counted}", {index}, {begins[text]})')
            if counted == source:
                excluded[index] = begins[text]
    totals = [_counted(feature, condition, excluded.get(index)) for index, feature in enumerate(plan.totals)]
    hours = _grid(plan.hours, condition) if plan.hours else "None"
    return [*lines, f"return {_grid(plan.days, condition)}, [{', '.join(totals)}], [{', '.join(begun)}], {hours}"]


def _grid(grid: Grid, condition: Condition) -> str:
    groups = [[_counted(feature, condition) for feature in group] for group in (grid.columns, grid.sets, grid.lasts)]
    return "(" + ", ".join(f"[{', '.join(group)}]" for group in groups) + ")"


def _counted(feature: Feature, condition: Condition, excluded: str | None = None) -> str:
    value = field_code(feature)
    tests = [f"not {excluded}"] if excluded else []
    tests += [condition(feature.where)] if feature.where else []
    if feature.field and feature.of_field.optional:
        tests.append(f"{value} is not None")
    tests += has_by(feature)
    more = by_code(feature) if feature.aggregate == "top" else str(feature.bounds[0] < 0)
    counted = f"({value}, {more})"
    return f"{counted} if {' and '.join(tests)} else None" if tests else counted


def unknown_until(
    reaches: Mapping[str, Reach], source: str, unit: str, places: Collection[str | int], day: int
) -> dict[str, int]:
    """The features that read one of these places (columns' keys, or indexes of totals), each with the day until which
    its window can reach what came on `day`; NEVER_MS for totals.
    """
    found = [r for r in reaches.values() if r.source == source and r.unit == unit]
    return {r.name: _last_day(r, day) for r in found if not set(places).isdisjoint(r.places)}


def until(reach: Reach, slot: int) -> int:
    """The day until which its window can reach a slot of its own unit."""
    return _last_day(reach, slot if reach.unit == "day" else day_of(slot * HOUR_MS))


def _last_day(reach: Reach, day: int) -> int:
    window = reach.window
    if window is None:
        return NEVER_MS
    if reach.unit == "hour":
        return day + window.slots // 24 + 1
    if window.unit == "slot":
        return day + window.slots - 1
    return next_month(day if window.unit == "month" else next_month(day)) - 1
