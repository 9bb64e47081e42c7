"""Reads features.yaml, tiers.yaml and policy.yaml: what rules build on.

Enters: each file's root node. Leaves: features, tiers, contact policy.
Holds: a declaration with a fault is named in `unsure`, so that rules which use it are not blamed.
"""

from __future__ import annotations

import itertools
import keyword
from typing import Final, cast, get_args

from engine.core import names
from engine.core.expression_functions import FUNCTIONS
from engine.core.expressions import BOOL, Scope, Type, number
from engine.core.ruleset import (
    WINDOW_DAYS,
    Aggregate,
    ContactPolicy,
    Feature,
    Ladder,
    Segment,
    Source,
    Tiers,
    TierStep,
)
from engine.rulefile.document import Node, Scalar
from engine.rulefile.fields import IDENTIFIER, KEBAB, TIER, Reader

SOURCES: Final[tuple[str, ...]] = get_args(Source)
AGGREGATES: Final[tuple[str, ...]] = get_args(Aggregate)
NUMERIC: Final = ("sum", "min", "max", "daily_mean")
WINDOWS: Final = tuple(f"{days}d" for days in WINDOW_DAYS)
MAX_FEATURES: Final = 60  # each costs memory in every client's state
DAY_S: Final = 86_400
MAX_STAY_S: Final = 366 * DAY_S


def read_features(reader: Reader, root: Node) -> tuple[Feature, ...]:
    """By name; those with a fault are left out."""
    entries = reader.entries(reader.mapping(root, ("features",)).get("features"))
    if len(entries) > MAX_FEATURES:
        reader.problem(entries[MAX_FEATURES][0], f"{len(entries)} features", f"declare at most {MAX_FEATURES}")
    features = []
    for key, node in entries:
        before = len(reader.problems)
        feature = _feature(reader, key, node)
        if len(reader.problems) > before:
            reader.unsure.names.add(key.value)
        else:
            features.append(feature)
    return tuple(sorted(features, key=lambda feature: feature.name))


def _feature(reader: Reader, key: Scalar, node: Node) -> Feature:
    name = reader.word(key, IDENTIFIER)
    if name in FUNCTIONS or keyword.iskeyword(name):
        reader.problem(key, f'"{name}" is a word of the rule language', "choose another name")
    fields = reader.mapping(node, ("source", "aggregate", "window"), ("field", "where", "description"))
    source = cast(Source, reader.choice(fields.get("source"), SOURCES))
    aggregate = cast(Aggregate, reader.choice(fields.get("aggregate"), AGGREGATES))
    window = reader.choice(fields.get("window"), WINDOWS)
    given = len(reader.problems)
    scope: Scope = names.event_scope(source) if source else {}
    where = reader.expression(fields["where"], scope, BOOL) if "where" in fields and source else None
    types = {known.name.partition(".")[2]: known.type for known in scope.values()}
    field = _field(reader, node, fields.get("field"), aggregate, types) if source and aggregate else None
    description = reader.words(fields.get("description"), 300)
    if not (source and aggregate and window) or len(reader.problems) > given:
        return Feature(name, "trades", "count", None, None, 1)
    money = field is not None and aggregate != "distinct" and types[field].unit == "cny"
    if money and "_cny" not in name:
        reader.problem(key, f'"{name}" holds money', f'put the unit in its name, such as "{name}_cny"')
    elif "_cny" in name and not money:
        reader.problem(key, f'"{name}" holds no money', "leave _cny out of its name")
    return Feature(name, source, aggregate, field, where, int(window[:-1]), description)


def _field(reader: Reader, at: Node, node: Node | None, aggregate: Aggregate, types: dict[str, Type]) -> str | None:
    """The field that an aggregate works on; numbers for all but distinct and last."""
    usable = tuple(field for field, type_ in types.items() if type_.kind == "number" or aggregate not in NUMERIC)
    if aggregate == "count":
        if node is not None:
            reader.problem(node, "count takes no field", "remove it, or use where")
        return None
    if node is None:
        reader.problem(at, f"{aggregate} needs a field", f"add field, one of: {', '.join(usable)}")
        return None
    return reader.choice(node, usable)


def read_tiers(reader: Reader, root: Node, features: tuple[Feature, ...]) -> Tiers:
    fields = reader.mapping(root, (), (*names.CLIENT_TYPES, "segments", "value_score"))
    base = {
        name: known
        for name, known in names.rule_scope("client", features, (), ()).items()
        if name not in ("client.tier", "client.days_in_tier", "client.segment", "client.value_score")
    }
    ladders = {type_: _ladder(reader, fields[type_], base) for type_ in names.CLIENT_TYPES if type_ in fields}
    tiers = tuple(dict.fromkeys(step.tier for ladder in ladders.values() for step in ladder.steps))
    scope = names.rule_scope("client", features, tiers, ())
    before_segment = {n: k for n, k in scope.items() if n not in ("client.segment", "client.value_score")}
    segments = tuple(_segment(reader, item, before_segment) for item in reader.items(fields.get("segments")))
    _no_twice(reader, fields.get("segments"), [segment.id for segment in segments])
    scope = names.rule_scope("client", features, tiers, tuple(segment.id for segment in segments))
    before_score = {n: k for n, k in scope.items() if n != "client.value_score"}
    score = reader.expression(fields["value_score"], before_score, number()) if "value_score" in fields else None
    return Tiers(ladders, segments, score)


def _segment(reader: Reader, node: Node, scope: Scope) -> Segment:
    fields = reader.mapping(node, ("id", "when"))
    return Segment(reader.word(fields.get("id"), KEBAB), reader.expression(fields.get("when"), scope, BOOL))


def _ladder(reader: Reader, node: Node, scope: Scope) -> Ladder:
    fields = reader.mapping(node, ("measure", "tiers"), ("promote_after", "demote_after"))
    measure = reader.expression(fields.get("measure"), scope, number())
    nodes = reader.items(fields.get("tiers"))
    if "tiers" in fields and not nodes:
        reader.problem(fields["tiers"], "no tiers", "list at least one, best first")
    steps = [_step(reader, item, measure.type, item is nodes[-1]) for item in nodes]
    _no_twice(reader, fields.get("tiers"), [step.tier for step in steps])
    for item, (better, step) in zip(nodes[1:], itertools.pairwise(steps), strict=True):
        if better.exit is not None and step.enter is not None and better.exit < step.enter:
            remedy = (
                f"tiers stand best first: {better.tier} is left at {better.exit}, {step.tier} begins at {step.enter}"
            )
            reader.problem(item, f"tier {step.tier} reaches above the exit of {better.tier}", remedy)

    def stay(key: str) -> int:
        return reader.duration(fields[key], "d", 0, MAX_STAY_S) // DAY_S if key in fields else 0

    return Ladder(measure, tuple(steps), stay("promote_after"), stay("demote_after"))


def _step(reader: Reader, node: Node, measured: Type, last: bool) -> TierStep:
    fields = reader.mapping(node, ("tier",) if last else ("tier", "enter", "exit"))
    tier = reader.word(fields.get("tier"), TIER)
    if last or not {"enter", "exit"} <= fields.keys():
        return TierStep(tier, None, None)
    enter, exit_ = reader.number(fields["enter"]), reader.number(fields["exit"])
    for key, value in (("enter", enter), ("exit", exit_)):
        if measured.unit == "cny" and round(value * 100) / 100 != value:
            reader.problem(fields[key], "money with more than two decimals", "write at most two decimals")
    if exit_ > enter:
        reader.problem(fields["exit"], f"exit {exit_} is above enter {enter}", "write exit at or below enter")
    return TierStep(tier, enter, exit_)


def _no_twice(reader: Reader, node: Node | None, ids: list[str]) -> None:
    for position, id_ in enumerate(ids):
        if id_ and id_ in ids[:position]:
            reader.problem(reader.items(node)[position], f'"{id_}" twice', "keep one, or choose another name")


def read_policy(reader: Reader, root: Node) -> ContactPolicy:
    fields = reader.mapping(root, ("contact",), ("publishing",))
    contact = reader.mapping(fields.get("contact"), ("daily_cap",))
    publishing = reader.mapping(fields.get("publishing"), ("approval",))
    reader.choice(publishing.get("approval"), ("true", "false"))  # asked of the texts: see RuleSetArchive
    return ContactPolicy(reader.integer(contact.get("daily_cap"), 0, 100))
