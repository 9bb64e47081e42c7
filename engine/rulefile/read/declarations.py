"""Reads features.yaml, tiers.yaml, score.yaml, portrait.yaml and policy.yaml: what rules build on.

Enters: each file's root node. Leaves: features, tiers, score, contact policy.
Holds: a declaration with a fault is named in `unsure`, so that rules which use it are not blamed.
"""

from __future__ import annotations

import ast
import itertools
import re
from dataclasses import replace
from typing import Final, Literal, cast, get_args

from engine.core.contract.actions import ACTIONS, OUTCOME, counted
from engine.core.contract.fields import DIMENSIONS
from engine.core.contract.outbound import Outcome
from engine.core.language.expressions import BOOL, Expression, Name, Scope, Type, number
from engine.core.language.types import DURATION, MONEY, TIME
from engine.core.language.units import words
from engine.core.plan.waking import changes_with, read_by
from engine.core.rules import names
from engine.core.rules.occasion import Calendar
from engine.core.rules.ruleset import (
    Aggregate,
    Feature,
    Ladder,
    Segment,
    Since,
    Tiers,
    TierStep,
    Trait,
    Window,
)
from engine.core.rules.score import FULL, SCORE, ScorePart
from engine.rulefile.read.definitions import is_word
from engine.rulefile.read.occasions import read_calendar
from engine.rulefile.source.document import Listing, Mapping, Node, Scalar
from engine.rulefile.source.fields import DAY_S, IDENTIFIER, KEBAB, TIER, Reader

AGGREGATES: Final[tuple[str, ...]] = get_args(Aggregate)
NUMERIC: Final = ("sum", "min", "max", "daily_mean", "avg")
MONTHS: Final[dict[str, Literal["month", "previous_month"]]] = {"month": "month", "previous_month": "previous_month"}
LONGEST: Final[dict[str, tuple[Literal["day", "hour"], int]]] = {"d": ("day", 366), "h": ("hour", 72)}
WINDOW_FORMS: Final = "write 7d (1d to 366d), 24h (1h to 72h), month or previous_month"
MAX_FEATURES: Final = 60  # each costs memory in every client's state
STAGE: Final = ("client.stage", "client.days_in_stage", "client.stage_since")
LATER: Final = ("client.tier", "client.days_in_tier", "client.segment", SCORE, *STAGE)  # than the score
MAX_TRAITS: Final = 30  # each is in every client's record
LADDER_KEYS: Final = ("promote_after", "demote_after", "grace", "review")  # beside measure and tiers
REVIEWS: Final = ("week", "month", "quarter", "year")  # how often clients may move down
MAX_STAY_S: Final = 366 * DAY_S
FEATURE_KEYS: Final = ("window", "since", "field", "by", "where", "description", "was")  # beside source and aggregate


def read_features(reader: Reader, root: Node) -> tuple[Feature, ...]:
    """By name; those with a fault are left out."""
    before = len(reader.problems)
    fields = reader.mapping(root, ("features",))
    entries = reader.entries(fields.get("features"))
    reader.unsure.any_name |= len(reader.problems) > before and not entries
    if len(entries) > MAX_FEATURES:
        reader.problem(entries[MAX_FEATURES][0], f"{len(entries)} features", f"declare at most {MAX_FEATURES}")
    features = []
    declared, claimed = {key.value: key for key, _ in entries}, dict[str, str]()
    for key, node in entries:
        before = len(reader.problems)
        feature = _feature(reader, key, node)
        reader.claim(key, feature.name, feature.was, declared, claimed)
        if len(reader.problems) > before:
            reader.unsure.names.add(key.value)
        else:
            features.append(feature)
    return tuple(sorted(features, key=lambda feature: feature.name))


def _feature(reader: Reader, key: Scalar, node: Node) -> Feature:
    name = reader.word(key, IDENTIFIER)
    if is_word(reader, name):
        reader.problem(key, f'"{name}" is a word of the rule language', "choose another name")
    fields = reader.mapping(node, ("source", "aggregate"), FEATURE_KEYS)
    source = reader.choice(fields.get("source"), counted(reader.kinds))
    aggregate = cast(Aggregate, reader.choice(fields.get("aggregate"), AGGREGATES))
    given = len(reader.problems)
    window = _window(
        reader, key if reader.whole(node, fields) else None, fields.get("window"), fields.get("since"), aggregate
    )
    scope: Scope = names.event_scope(source, reader.kinds) if source else {}
    where = reader.expression(fields["where"], scope, BOOL) if "where" in fields and source else None
    where = _sent(where) if source == ACTIONS.name else where
    types = {known.name.partition(".")[2]: known.type for known in scope.values() if known.kept}
    field = _field(reader, node, fields.get("field"), aggregate, types) if source and aggregate else None
    by = _by(reader, fields["by"], aggregate, types) if "by" in fields and source and aggregate else None
    description = reader.words(fields.get("description"), 300, lines=True)
    if not (source and aggregate and window) or len(reader.problems) > given:
        return Feature(name, source, "count", None, None, Window("day"))
    money = field is not None and aggregate != "distinct" and types[field].unit == "cny"
    if money and "_cny" not in name:
        reader.problem(key, f'"{name}" holds money', f'put the unit in its name, such as "{name}_cny"')
    elif "_cny" in name and not money:
        reader.problem(key, f'"{name}" holds no money', "leave _cny out of its name")
    was = reader.former(fields.get("was"), IDENTIFIER)
    asked, asked_by = (names.field_name(source, name_, reader.kinds) for name_ in (field, by))
    return Feature(name, source, aggregate, field, where, window, description, was, asked, by, asked_by)


def _sent(where: Expression | None) -> Expression:
    """A filter of actions: of those that were sent, unless it asks what became of them."""
    name: ast.expr = ast.Name(OUTCOME, ast.Load())
    sent: ast.expr = ast.Compare(name, [ast.Eq()], [ast.Constant(Outcome.SENT.value)])
    if where is None:
        return Expression("True", sent, BOOL, False, (OUTCOME,))
    if OUTCOME in where.names:
        return where
    return replace(where, tree=ast.BoolOp(ast.And(), [sent, where.tree]), names=(*where.names, OUTCOME))


def _window(
    reader: Reader, at: Node | None, window: Node | None, since: Node | None, aggregate: Aggregate | None
) -> Window | Since | None:
    """What of the past the feature covers. `at` is where to report that it has neither."""
    if window is not None and since is not None:
        reader.problem(since, "both window and since", "keep the one that is meant")
    elif since is not None:
        if aggregate == "daily_mean":
            reader.problem(since, "daily_mean counts days, since counts events", "use a window of days, or last")
        fields = reader.mapping(since, ("on",), ("when",))
        on = reader.choice(fields.get("on"), counted(reader.kinds))
        scope = names.event_scope(on, reader.kinds) if on else {}
        when = reader.expression(fields["when"], scope, BOOL) if on and "when" in fields else None
        return Since(on, _sent(when) if on == ACTIONS.name else when) if on else None
    elif window is None:
        if at is not None:
            reader.problem(at, "neither window nor since", "add window: 7d, or since: {on: balances, when: ...}")
    elif (scalar := reader.scalar(window)) is not None:
        found = re.fullmatch(r"([1-9][0-9]{0,2})([dh])", scalar.value)
        if scalar.value in MONTHS:
            return Window(MONTHS[scalar.value])
        if found is None or int(found[1]) > LONGEST[found[2]][1]:
            reader.problem(scalar, f'not a window: "{scalar.value[:80]}"', WINDOW_FORMS)
        elif found[2] == "h" and aggregate == "daily_mean":
            reader.problem(scalar, "daily_mean counts days, this window hours", "use a window of days, or last")
        else:
            return Window(LONGEST[found[2]][0], int(found[1]))
    return None


def _field(reader: Reader, at: Node, node: Node | None, aggregate: Aggregate, types: dict[str, Type]) -> str | None:
    """The field that an aggregate works on; numbers for all but distinct, last and top."""
    usable = tuple(field for field, type_ in types.items() if aggregate not in NUMERIC or _adds_up(type_, aggregate))
    if aggregate == "count":
        if node is not None:
            reader.problem(node, "count takes no field", "remove it, or use where")
        return None
    if node is None:
        reader.problem(at, f"{aggregate} needs a field", f"add field, one of: {', '.join(usable)}")
        return None
    return reader.choice(node, usable)


def _by(reader: Reader, node: Node, aggregate: Aggregate, types: dict[str, Type]) -> str | None:
    if aggregate != "top":
        reader.problem(node, f"{aggregate} takes no by", "remove it, or write aggregate: top")
        return None
    return reader.choice(node, tuple(field for field, type_ in types.items() if _adds_up(type_, aggregate)))


def _adds_up(type_: Type, aggregate: Aggregate) -> bool:
    """Whether it is a number that the aggregate takes. Moments have an order, but no mean and no sum worth having."""
    return type_.kind == "number" and (type_.unit != TIME or aggregate not in ("avg", "top"))


def read_tiers(reader: Reader, root: Node, features: tuple[Feature, ...], *, scored: bool = False) -> Tiers:
    """`scored`: score.yaml has the score, which tiers and segments can then be by."""
    fields = reader.mapping(root, (), (*names.CLIENT_TYPES, "segments", "value_score"))
    base = {
        name: known
        for name, known in names.rule_scope(None, features, (), (), kinds=reader.kinds).items()
        if name not in LATER
    }
    if scored and "value_score" in fields:
        reader.problem(fields["value_score"], "value_score beside score.yaml", "remove it: score.yaml is the score")
    score_now = {SCORE: Name(SCORE, number("score"), False, "None", bounds=(0, FULL), log10=2.0)} if scored else {}
    base |= score_now
    ladders = {type_: _ladder(reader, fields[type_], base) for type_ in names.CLIENT_TYPES if type_ in fields}
    tiers = tuple(dict.fromkeys(step.tier for ladder in ladders.values() for step in ladder.steps))
    scope = names.rule_scope(None, features, tiers, (), kinds=reader.kinds)
    before_segment = {n: k for n, k in scope.items() if n not in ("client.segment", SCORE, *STAGE)} | score_now
    segments = tuple(_segment(reader, item, before_segment) for item in reader.items(fields.get("segments")))
    _no_twice(reader, fields.get("segments"), [segment.id for segment in segments])
    scope = names.rule_scope(None, features, tiers, tuple(segment.id for segment in segments), kinds=reader.kinds)
    before_score = {n: k for n, k in scope.items() if n not in (SCORE, *STAGE)}
    score = reader.expression(fields["value_score"], before_score, number()) if "value_score" in fields else None
    return Tiers(ladders, segments, score and _in_cny(score))


def _in_cny(score: Expression) -> Expression:
    """A score is a plain number: of money, which code counts in fen, it is the CNY."""
    if score.type.unit != MONEY:
        return score
    return replace(score, tree=ast.BinOp(score.tree, ast.Div(), ast.Constant(100)), type=number("score"))


def read_score(reader: Reader, root: Node, scope: Scope) -> tuple[ScorePart, ...]:
    """In the order of DIMENSIONS. `scope` has what is known of the client, and what is declared."""
    fields = reader.mapping(root, ("score",))
    given = reader.mapping(fields.get("score"), (), DIMENSIONS)
    faults = reader.faults
    parts = tuple(_part(reader, name, given[name], scope) for name in DIMENSIONS if name in given)
    weights = sum(part.weight for part in parts)
    if "score" in fields and reader.faults == faults and abs(weights - FULL) > 1e-9:
        reader.problem(fields["score"], f"the weights add up to {weights:g}", f"let them add up to {FULL}")
    return parts


def _part(reader: Reader, name: str, node: Node, scope: Scope) -> ScorePart:
    fields = reader.mapping(node, ("weight", "is"), ("otherwise", "description"))
    at = fields.get("is")
    value = reader.expression(at, scope, number())
    if at is not None and value.type.unit in (MONEY, TIME, DURATION):
        reader.problem(
            at, f"{name} is {words(value.type)}", f"write a number from 0 to {FULL}, such as 100 * x / cny(1_000_000)"
        )
    asked = [read.name for read in read_by(value, scope)]
    later = [read for read in asked if read.startswith(LATER)]
    if at is not None and later:
        reader.problem(
            at, f"{name} follows from {later[0]}", "ask what that follows from: it can follow from the score"
        )
    weight = reader.number(fields.get("weight"))
    if "weight" in fields and not 0 <= weight <= FULL:
        reader.problem(fields["weight"], f"a weight of {weight}", f"write 0 to {FULL}; all of them add up to {FULL}")
    otherwise = reader.number(fields["otherwise"]) if "otherwise" in fields else None
    if otherwise is not None and not 0 <= otherwise <= FULL:
        reader.problem(fields["otherwise"], f"otherwise {otherwise}", f"write 0 to {FULL}")
    return ScorePart(name, weight, value, otherwise, reader.words(fields.get("description"), 300, lines=True))


def stage_ids(root: Node | None) -> tuple[str, ...]:
    """The stages that portrait.yaml declares, faulty ones too."""
    stages = root.entries.get("stages") if isinstance(root, Mapping) else None
    items = stages[1].items if stages is not None and isinstance(stages[1], Listing) else []
    ids = [item.entries["id"][1] for item in items if isinstance(item, Mapping) and "id" in item.entries]
    return tuple(dict.fromkeys(id_.value for id_ in ids if isinstance(id_, Scalar)))


def read_portrait(reader: Reader, root: Node, scope: Scope) -> tuple[tuple[Segment, ...], tuple[Trait, ...]]:
    """`scope` has what is known of the client, and what is declared."""
    fields = reader.mapping(root, (), ("stages", "portrait"))
    listed = fields.get("stages")
    stages = tuple(_segment(reader, item, scope) for item in (reader.items(listed) if listed else ()))
    _no_twice(reader, listed, [stage.id for stage in stages])
    traits = []
    entries = reader.entries(fields.get("portrait"))
    if len(entries) > MAX_TRAITS:
        reader.problem(entries[MAX_TRAITS][0], f"{len(entries)} traits", f"declare at most {MAX_TRAITS}")
    for key, node in entries:
        given = reader.mapping(node, ("is",), ("description",))
        name, value = reader.word(key, IDENTIFIER), reader.expression(given.get("is"), scope, None)
        traits.append(Trait(name, value, reader.words(given.get("description"), 300, lines=True)))
        if value.type.kind == "list":
            reader.problem(given["is"], f"{name} is several texts", "write one text, number or condition")
        elif personal := next((read.name for read in read_by(value, scope) if read.personal), None):
            reader.problem(given["is"], f"{name} follows from {personal}, which is personal", "leave it out")
    whens = (
        [
            (item.entries["when"][1], stage.when)
            for item, stage in zip(reader.items(listed), stages, strict=True)
            if isinstance(item, Mapping) and "when" in item.entries
        ]
        if listed
        else []
    )
    values = [(node, trait.value) for (_, node), trait in zip(entries, traits, strict=True)]
    for node, expression in (*whens, *values):
        if changes_with(expression, scope, "now"):
            reader.problem(node, "now in a portrait", "count days, such as client.days_since_trade: they say when")
    return stages, tuple(traits)


def _segment(reader: Reader, node: Node, scope: Scope) -> Segment:
    fields = reader.mapping(node, ("id", "when"))
    return Segment(reader.word(fields.get("id"), KEBAB), reader.expression(fields.get("when"), scope, BOOL))


def _ladder(reader: Reader, node: Node, scope: Scope) -> Ladder:
    fields = reader.mapping(node, ("measure", "tiers"), LADDER_KEYS)
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

    review = read_calendar(reader, fields["review"], REVIEWS) if "review" in fields else None
    assert review is None or isinstance(review, Calendar)  # no maturity is among REVIEWS
    return Ladder(measure, tuple(steps), stay("promote_after"), stay("demote_after"), stay("grace"), review)


def _step(reader: Reader, node: Node, measured: Type, last: bool) -> TierStep:
    fields = reader.mapping(node, ("tier",) if last else ("tier", "enter", "exit"))
    tier = reader.word(fields.get("tier"), TIER)
    if last or not {"enter", "exit"} <= fields.keys():
        return TierStep(tier, None, None)
    given = len(reader.problems)
    enter, exit_ = reader.number(fields["enter"]), reader.number(fields["exit"])
    if len(reader.problems) > given:
        return TierStep(tier, None, None)
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
