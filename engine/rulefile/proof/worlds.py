"""What is certain of a client and an event when a rule is evaluated, whatever its condition says.

Enters: a rule set, and the occasion. Leaves: the Scope of names there, and a World for engine.rulefile.proof.narrowing.
Holds: only facts that the engine itself keeps: bounds of the events' schemas, tiers that a type can have, features that
count the event at hand. They hold for clients whose tiers were set under this rule set, and for events that come in
time: a late one counts in the window of its own time, and tells the client nothing that a later one told already.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from engine.core.activity.layout import MAX_DISTINCT, MAX_SUM
from engine.core.contract.fields import EARLIEST_MS, LATEST_MS
from engine.core.contract.topics import Kinds
from engine.core.firm_time import DAY_MS
from engine.core.language.expressions import Name, Scope
from engine.core.language.types import INTEGER_UNITS
from engine.core.plan.features import column_key
from engine.core.rules import names
from engine.core.rules.occasion import TIER_AT_RISK, TIER_CHANGE, Silence, Trigger, Unanswered
from engine.core.rules.ruleset import Feature, Rule, RuleSet, Tiers, Window
from engine.core.rules.tables import Declared, row_tree
from engine.rulefile.proof.narrowing import World
from engine.rulefile.proof.ranges import BOOLS, INF, TEXTS, Choice, Domain, Span, Values

MAX_DAYS: Final = (LATEST_MS - EARLIEST_MS) // DAY_MS + 3_660  # timers go on after the last event
MAX_ROWS: Final = 30  # of a table that is looked into
MAX_VALUES: Final = 5000  # of a list
GROWING: Final = ("count", "sum", "distinct")  # never less in a longer window


def scope_of(rule_set: RuleSet, trigger: Trigger | None) -> Scope:
    segments = tuple(segment.id for segment in rule_set.tiers.segments)
    tiers, kinds = rule_set.tiers.names, rule_set.kinds
    stages = tuple(stage.id for stage in rule_set.stages)
    declared = rule_set.declared
    return names.rule_scope(trigger, rule_set.features, tiers, segments, declared=declared, kinds=kinds, stages=stages)


def world_of(rule_set: RuleSet, trigger: Trigger | None, rule: Rule | None = None) -> World:
    """Facts that are always true on this trigger, plus those implied by the rule's own timer."""
    scope = scope_of(rule_set, trigger)
    features = {feature.name: feature for feature in rule_set.features}
    domains = {name: _domain(known, features.get(name)) for name, known in scope.items()}
    topic = trigger.topic if trigger else ""
    implied = []
    for feature in rule_set.features:
        if feature.source != topic or not _has_today(feature):
            continue
        seen = _having_seen_one(feature, domains[feature.name])
        if feature.where is None:
            domains[feature.name] = seen
        else:
            implied.append((feature.where.tree, feature.name, seen))
    tiers = scope["client.tier"].type.values or ()
    relations: list[tuple[tuple[str, ...], frozenset[tuple[Any, ...]]]] = []
    same: dict[str, str] = {}
    at_most = _longer_windows(rule_set.features)
    if trigger == TIER_CHANGE:
        same["tier_change.new"] = "client.tier"
        domains["client.days_in_tier"] = Domain((Span(0, 0),), missing=False)
        related = ("client.type", "client.tier", "tier_change.old", "tier_change.reason")
        relations.append((related, frozenset(_moves(rule_set.tiers, tiers))))
    elif trigger == TIER_AT_RISK:
        domains["client.tier_at_risk"] = Domain(Choice(frozenset((True,))), missing=False)
        domains["client.tier_falls_at"] = replace(domains["client.tier_falls_at"], missing=False)
        falling = ("client.type", "client.tier", "tier_at_risk.falls_to")
        relations.append((falling, frozenset(_falls(rule_set.tiers))))
    else:
        relations.append((("client.type", "client.tier"), frozenset(_tiers_by_type(rule_set.tiers, tiers))))
    if topic == "balances":
        same["client.assets_cny"] = "balance.assets_cny"
        domains["client.assets_peak_cny"] = replace(domains["client.assets_peak_cny"], missing=False)
        at_most.append(("balance.assets_cny", "client.assets_peak_cny"))
    if rule is not None and isinstance(rule.occasion, Silence):
        since = names.days_since(rule.occasion.source, rule_set.kinds)
        domains[since] = Domain((Span(rule.occasion.days, MAX_DAYS),), missing=False)
    if rule is not None and isinstance(rule.occasion, Unanswered):
        domains["item.step"] = Domain(Choice(frozenset(("opened",))), missing=False)
        domains["item.days"] = Domain((Span(rule.occasion.for_s * 1000 // DAY_MS, MAX_DAYS),), missing=False)
    return World(
        domains,
        frozenset(name for name, known in scope.items() if known.type.unit in INTEGER_UNITS and known.reads is None),
        same,
        _meanings(rule_set.declared, scope),
        relations=tuple(relations),
        at_most=tuple(at_most),
        implied=tuple(implied),
    )


class Worlds:
    """The worlds of one rule set: each is made once, for all rules that are evaluated there."""

    def __init__(self, rule_set: RuleSet) -> None:
        self.rule_set = rule_set
        self._worlds: dict[tuple[Trigger | None, Silence | Unanswered | None], World] = {}
        self._scopes: dict[Trigger | None, Scope] = {}

    def of(self, trigger: Trigger | None, rule: Rule | None = None) -> World:
        waits = rule.occasion if rule is not None and isinstance(rule.occasion, Silence | Unanswered) else None
        key = (trigger, waits)
        if key not in self._worlds:
            self._worlds[key] = world_of(self.rule_set, trigger, rule)
        return self._worlds[key]

    def scope(self, trigger: Trigger | None) -> Scope:
        if trigger not in self._scopes:
            self._scopes[trigger] = scope_of(self.rule_set, trigger)
        return self._scopes[trigger]


def event_world(source: str, kinds: Kinds) -> World:
    """For the filter of a feature: the event alone."""
    known = names.event_scope(source, kinds)
    whole = frozenset(name for name, given in known.items() if given.type.unit in INTEGER_UNITS)
    return World({name: _domain(given, None) for name, given in known.items()}, whole)


def _domain(name: Name, feature: Feature | None) -> Domain:
    return Domain(_values(name, feature), missing=name.optional)


def _values(name: Name, feature: Feature | None) -> Values:
    type_ = name.type
    if type_.kind == "bool":
        return BOOLS
    if type_.kind != "number":
        if type_.kind == "text" and type_.values is not None:
            return Choice(frozenset(type_.values))
        return TEXTS if name.form is None else Choice(frozenset(), True, name.form)
    if feature is not None:
        if feature.aggregate in GROWING:
            most = {"count": INF, "sum": MAX_SUM, "distinct": MAX_DISTINCT}[feature.aggregate]
            return (Span(-most if feature.bounds[0] < 0 else 0, most),)
        return _values(feature.of_field, None)
    if name.changes == "elapsed":
        return (Span(0, MAX_DAYS),)
    return (Span(*name.bounds),)


def _meanings(declared: Declared, scope: Scope) -> dict[str, ast.expr]:
    """What definitions, short tables and short lists stand for; of long ones only the names are known."""
    meanings = {d.name: d.expression.tree for d in declared.definitions if d.name in scope}
    for table in declared.tables:
        if table.name in scope and table.type.kind != "list" and len(table.rows) <= MAX_ROWS and not table.partial:
            value: Any = table.rows[-1].then if table.otherwise is None else table.otherwise
            tree: ast.expr = ast.Constant(value)  # some row matches when there is no `otherwise`
            for row in reversed(table.rows):
                value = row.then
                tree = ast.IfExp(row_tree(table.inputs, row, scope), ast.Constant(value), tree)
            meanings[table.name] = tree
    for name, values in declared.lists.items():
        if len(values) <= MAX_VALUES:
            meanings[name] = ast.Set([ast.Constant(value) for value in values])
    return meanings


def _has_today(feature: Feature) -> bool:
    """Whether the event at hand is surely in its window."""
    return isinstance(feature.window, Window) and feature.window.unit != "previous_month"


def _having_seen_one(feature: Feature, before: Domain) -> Domain:
    """The feature's value once an event of its own has been counted."""
    given = feature.field is None or not feature.of_field.optional
    if feature.aggregate == "count" or (feature.aggregate == "distinct" and given):
        return before.meet(Domain((Span(low=1),), missing=False))
    return replace(before, missing=before.missing and not given)


def _longer_windows(features: tuple[Feature, ...]) -> list[tuple[str, str]]:
    """Features of one column by window: what a shorter one counts, a longer one does too."""
    columns: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for feature in features:
        window = feature.window
        grows = feature.aggregate in GROWING and feature.bounds[0] >= 0
        if grows and isinstance(window, Window) and window.unit in ("day", "hour"):
            columns.setdefault((column_key(feature), window.unit), []).append((window.length, feature.name))
    pairs = (pair for column in columns.values() for pair in itertools.pairwise(sorted(column)))
    return [(shorter, longer) for (_, shorter), (_, longer) in pairs]


def _tiers_by_type(tiers: Tiers, every: tuple[str, ...]) -> list[tuple[str | None, str | None]]:
    """A type with a ladder may still have the tier of another type, until it can be measured."""
    rows: list[tuple[str | None, str | None]] = [(None, None)]
    for type_ in names.CLIENT_TYPES:
        rows += [(type_, tier) for tier in (*every, None)] if type_ in tiers.ladders else [(type_, type_)]
    return rows


def _moves(tiers: Tiers, every: tuple[str, ...]) -> list[tuple[str, str, str | None, str]]:
    """Every move that a review can make: type, new tier, old tier, reason."""
    rows: list[tuple[str, str, str | None, str]] = []
    for type_ in names.CLIENT_TYPES:
        ladder = tiers.ladders.get(type_)
        steps = [step.tier for step in ladder.steps] if ladder else [type_]
        for new, old in itertools.product(steps, (*every, None)):
            if old is None:
                rows.append((type_, new, None, "first"))
            elif old != new:
                moved = "promoted" if old in steps and steps.index(new) < steps.index(old) else "demoted"
                rows.append((type_, new, old, moved if old in steps else "type_changed"))
                if ladder is not None:
                    rows.append((type_, new, old, "override_ended"))
            if ladder is not None and old != new:
                rows.append((type_, new, old, "override"))
    return rows


def _falls(tiers: Tiers) -> Iterator[tuple[str, str, str]]:
    """Every demotion of which clients have notice: type, tier, the lower one."""
    for type_, ladder in tiers.ladders.items():
        if ladder.gives_notice:
            yield from ((type_, *two) for two in itertools.combinations([step.tier for step in ladder.steps], 2))


def example(values: Mapping[str, Any]) -> str:
    """Values of names as words: `client.tier "A", balance.amount_cny 500,000`."""
    said = []
    for name, value in sorted(values.items()):
        shown = f'"{value}"' if isinstance(value, str) else f"{value:,}" if isinstance(value, (int, float)) else value
        said.append(f"{name} {'missing' if value is None else shown}")
    return ", ".join(said)
