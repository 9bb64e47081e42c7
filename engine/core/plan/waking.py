"""Rules that can fire without an event: what they wait for, and when to wake a client.

Enters: the rules by trigger, the names of each trigger's scope. Leaves: Timed.
Holds: indexes are those into the plan's compiled rules of the trigger; a condition over state is woken at every moment
at which time alone can make it true or, when it holds, false.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from engine.core.assign.roster import limited
from engine.core.firm_time import DAY_MS
from engine.core.language.expressions import BOOL, Changes, Expression, Name, Scope
from engine.core.plan.codegen import Code
from engine.core.plan.features import Windows
from engine.core.plan.matching import Matcher, add
from engine.core.plan.sensitivity import Meanings, Read, Wake, Watch
from engine.core.rules.business_days import BusinessCalendar, BusinessDays, asked_by
from engine.core.rules.day_lists import DayLists, expressions_of
from engine.core.rules.meaning import meaning
from engine.core.rules.occasion import (
    AT,
    BECOMES,
    BUSINESS_DAYS,
    ITEM_STEP,
    Becomes,
    BeforeMaturity,
    Calendar,
    OnEvents,
    Sequence,
    Silence,
    Step,
    Trigger,
    Unanswered,
    Waits,
    kept_items,
    listed_work,
)
from engine.core.rules.ruleset import Feature, Rule, RuleSet
from engine.core.rules.tables import Declared, Definition, Table, row_tree

ByTrigger = Mapping[Trigger, tuple[Rule, ...]]
TAKEN_ANEW: Final = ("client.segment", "client.value_score")  # whenever the client is woken


@dataclass(frozen=True, slots=True)
class Wait:
    """A sequence while it waits for its second step."""

    within_ms: int
    absent: bool
    index: int  # among the compiled rules of its trigger
    trigger: Trigger
    kept: tuple[str, ...]  # fields of the first step that the rule reads when the wait ends


@dataclass(frozen=True, slots=True)
class Steps:
    """What an event of one topic means for the sequences: each function gives indexes into the rule ids beside it."""

    first: Matcher
    first_rules: tuple[str, ...]
    then: Matcher
    then_rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Portrayal:
    """The portrait, compiled."""

    stages: tuple[str, ...]
    stage: Matcher
    traits: Read
    shown: tuple[tuple[str, Callable[[Any], Any]], ...]  # of each trait: its name, and its value as others read it
    watch: Watch


@dataclass(frozen=True, slots=True)
class Silent:
    """A silence that a rule waits for."""

    rule_id: str
    index: int  # into the compiled rules of SILENCE
    source: str
    length_ms: int


@dataclass(frozen=True, slots=True)
class Unanswering:
    """A rule that waits for an answer to items."""

    rule_id: str
    index: int  # into the compiled rules of UNANSWERED
    waits: Unanswered


@dataclass(frozen=True, slots=True)
class Maturing:
    """When a rule is due, for each holding with a term."""

    index: int  # into the compiled rules of MATURITY
    when: BeforeMaturity


@dataclass(frozen=True, slots=True)
class Possible:
    """Which rules that wait can hold before an event comes: for each, the part of its condition that only events change
    is true. While it is false, time does not wake a client for that rule.
    """

    calendars: Matcher  # of the rules of AT
    slides: Matcher  # of those of BECOMES that read a window
    wakes: Matcher  # of those of BECOMES that count days
    acts: Matcher  # whole, of those of BECOMES that read what the engine itself does
    ends: Matcher  # not of waiting: of `ending`, those whose actions nobody need see to any more


@dataclass(frozen=True, slots=True)
class Timed:
    """Rules that can fire without an event: what they wait for, and when to wake a client."""

    digest: str  # of all that waking follows from; when it is another, every client must be evaluated once
    silences: tuple[Silent, ...]
    unanswered: tuple[Unanswering, ...]
    kept: frozenset[str]  # kinds of actions, and ids of rules, whose actions are kept until they are answered
    listed: frozenset[str]  # the other rules whose actions are in the list of a team
    hearing: frozenset[str]  # the rules that hear of the steps of items
    clocked: frozenset[str]  # kinds of items, and rules, whose items have a clock
    cared: dict[str, Rule]  # by id: rules that see through what they send
    ending: tuple[str, ...]  # those of them that say when nobody need act any more
    becomes: dict[str, Becomes]  # by rule id
    wakes: tuple[Wake, ...]
    calendars: tuple[Calendar, ...]  # of the compiled rules of AT
    business: BusinessDays | None  # the days that those name
    maturities: tuple[Maturing, ...]
    waits: dict[str, Wait]  # by rule id
    steps: dict[str, Steps]  # by topic
    possible: Possible
    portrayed: bool
    slides: tuple[Windows, ...]  # of each rule of `possible.slides`
    acting: tuple[str, ...]  # the rules of `possible.acts`
    by_actions: bool  # whether what the engine does can move a tier
    anything: bool = field(init=False)  # whether any rule can act without an event

    def __post_init__(self) -> None:
        waits = (self.silences, self.unanswered, self.waits, self.calendars, self.maturities, self.becomes)
        object.__setattr__(self, "anything", any((*waits, self.portrayed, self.hearing, self.cared)))


def steps_of(rules: Iterable[Rule], topic: str) -> tuple[list[tuple[str, Step]], list[tuple[str, Step]]]:
    """The first steps and the second steps on a topic, each with its rule's id."""
    sequences = [(rule.id, rule.occasion) for rule in rules if isinstance(rule.occasion, Sequence)]
    return (
        [(id_, sequence.first) for id_, sequence in sequences if sequence.first.on == topic],
        [(id_, sequence.then) for id_, sequence in sequences if sequence.then.on == topic],
    )


def digest_of(rule_set: RuleSet) -> str:
    """Names everything that waking depends on: rules that need no event, tiers, segments, and what these build on."""
    said = tuple((r.id, r.occasion, r.when) for r in rule_set.rules if _waits(r))
    features = [replace(feature, was=()) for feature in rule_set.features]
    bases: list[Feature | Table | Definition] = [*features, *rule_set.tables, *rule_set.definitions]
    plain = tuple(replace(base, description="") for base in bases)
    tiers = (rule_set.tiers.ladders, rule_set.tiers.segments, rule_set.value_score)
    portrait = (rule_set.stages, rule_set.traits) if rule_set.portrait else ()
    # whom the end of a pause concerns is known once every client was evaluated
    resumed = (max(resumption.at_ms for resumption in rule_set.resumed),) if rule_set.resumed else ()
    named = (said, plain, tiers, rule_set.lists, *_calendar_of(rule_set, (said, plain, tiers, portrait)), *portrait)
    cared = tuple((rule.id, rule.care) for rule in rule_set.rules if rule.care is not None)
    lists = ("lists",) if any(rule.audience != "client" for rule in rule_set.rules) else ()  # work leaves by itself
    named += (*resumed, *rule_set.journeys, *cared, *limited(rule_set), *lists)
    return hashlib.blake2b(repr(meaning(named)).encode(), digest_size=16).hexdigest()


def _waits(rule: Rule) -> bool:
    """Whether it can act without an event; an item expires."""
    return not isinstance(rule.occasion, OnEvents) or ITEM_STEP in rule.triggers


def _calendar_of(rule_set: RuleSet, parts: Any) -> tuple[BusinessCalendar, ...]:
    """The calendar, if waking depends on it."""
    rules = rule_set.rules
    said = {getattr(of, what, "") for rule in rules for of in (rule.occasion, rule.care) for what in ("every", "hours")}
    waits = [doing.at for one in rule_set.journeys for _, doing in one.steps if isinstance(doing, Waits)]
    said |= {at.every for at in waits if at is not None}
    timers = not said.isdisjoint((*BUSINESS_DAYS, "business"))
    asked = timers or asked_by(expression.tree for expression in expressions_of(parts))
    return (rule_set.calendar,) if rule_set.calendar is not None and asked else ()


def timed(
    rule_set: RuleSet,
    by_trigger: ByTrigger,
    scope: Scope,
    steps: dict[str, Steps],
    possible: Possible,
    watch: Callable[[Collection[Expression]], Watch],
    of_actions: Collection[str],
    business: BusinessDays | None,
    by_actions: bool,
    first_fields: Mapping[str, tuple[str, ...]],
) -> Timed:
    """`scope` is that of BECOMES; `watch` says when time alone can change some conditions; `of_actions`: the features
    that read what the engine itself does; `first_fields`: of rules whose sequence ends without its second step.
    """
    placed = [(index, rule.id, rule.occasion) for rules in by_trigger.values() for index, rule in enumerate(rules)]
    return Timed(
        digest=digest_of(rule_set),
        silences=tuple(
            Silent(rule_id, index, silence.source, silence.days * DAY_MS)
            for index, rule_id, silence in placed
            if isinstance(silence, Silence)
        ),
        unanswered=tuple(
            Unanswering(rule_id, index, unanswered)
            for index, rule_id, unanswered in placed
            if isinstance(unanswered, Unanswered)
        ),
        kept=(kept := kept_items(rule_set)),
        listed=listed_work(rule_set, kept),
        hearing=frozenset(rule.id for rule in by_trigger[ITEM_STEP]),
        clocked=frozenset(unanswered.of for _, _, unanswered in placed if isinstance(unanswered, Unanswered)),
        cared=(cared := cared_for(by_trigger)),
        ending=tuple(rule.id for rule in cared.values() if rule.care and rule.care.ends_when),
        becomes={rule_id: becomes for _, rule_id, becomes in placed if isinstance(becomes, Becomes)},
        wakes=watch([rule.when for rule in by_trigger[BECOMES]]).wakes,
        calendars=tuple(calendar for _, _, calendar in placed if isinstance(calendar, Calendar)),
        business=business,
        maturities=tuple(Maturing(index, when) for index, _, when in placed if isinstance(when, BeforeMaturity)),
        waits={
            rule_id: Wait(
                sequence.within_s * 1000, sequence.absent, index, sequence.triggers[0], first_fields.get(rule_id, ())
            )
            for index, rule_id, sequence in placed
            if isinstance(sequence, Sequence)
        },
        steps=steps,
        possible=possible,
        portrayed=bool(rule_set.portrait),
        slides=tuple(watch([rule.when]).windows for rule in sliding(by_trigger, scope)),
        acting=tuple(rule.id for rule in reading(by_trigger, scope, of_actions)),
        by_actions=by_actions,
    )


def cared_for(by_trigger: ByTrigger) -> dict[str, Rule]:
    """By id, those that see through what they send."""
    return {rule.id: rule for rules in by_trigger.values() for rule in rules if rule.care is not None}


def first_fields(rule: Rule, scope: Scope) -> tuple[str, ...]:
    """The fields of the first step that the rule reads when the wait ends. `scope` is that of its trigger."""
    asked = (rule.when, *(value for _, value in rule.parameters))
    read = (name.code for expression in asked for name in read_by(expression, scope) if name.of == "event")
    return tuple(sorted({field for code in read for field in re.findall(r"\be\.(\w+)", code)} - {"time"}))


def read_by(expression: Expression, scope: Scope) -> list[Name]:
    """The names an expression reads, those that its definitions and tables read included."""
    return [inner for name in expression.names for inner in (scope[name].reads or (scope[name],))]


def changes_with(condition: Expression, scope: Scope, *changes: Changes) -> bool:
    """Whether it reads a name that changes in this way without an event."""
    return any(name.changes in changes for name in read_by(condition, scope))


def meanings_of(declared: Declared, scope: Scope) -> Meanings:
    """The expressions behind definitions and tables in this scope, which has no names of events."""
    tables = {t.name: [row_tree(t.inputs, row, scope) for row in t.rows] for t in declared.tables if t.on is None}
    return tables | {d.name: [d.expression.tree] for d in declared.definitions if d.on is None}


def fixed_part(condition: Expression, scope: Scope, meanings: Meanings) -> Expression:
    """The part of a condition that only events can change: while it is false, time does not make the condition true."""
    definitions = {name: trees[0] for name, trees in meanings.items() if scope[name].type == BOOL}

    def parts(tree: ast.expr) -> Iterator[ast.expr]:
        if isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And):
            for value in tree.values:
                yield from parts(value)
        elif isinstance(tree, ast.Name) and tree.id in definitions:
            yield from parts(definitions[tree.id])
        else:
            yield tree

    def is_fixed(name: Name) -> bool:
        return name.changes == "event" and name.name not in TAKEN_ANEW

    fixed = [part for part in parts(condition.tree) if all(is_fixed(name) for name in _names(part, scope))]
    return replace(condition, tree=ast.BoolOp(ast.And(), fixed) if len(fixed) > 1 else [*fixed, ast.Constant(True)][0])


def _names(tree: ast.expr, scope: Scope) -> Iterator[Name]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in scope:
            name = scope[node.id]
            yield from (name,) if name.reads is None else name.reads


def add_possible(
    code: Code,
    by_trigger: ByTrigger,
    scope: Scope,
    meanings: Meanings,
    sure: DayLists,
    of_actions: Collection[str],
) -> None:
    """The matchers of Possible."""
    waiting = {
        "calendars": by_trigger[AT],
        "slides": sliding(by_trigger, scope),
        "wakes": [rule for rule in by_trigger[BECOMES] if changes_with(rule.when, scope, "elapsed")],
    }
    for what, rules in waiting.items():
        fixed = [fixed_part(sure.sure(rule.when, in_doubt=True), scope, meanings) for rule in rules]
        add(code, f"possible_{what}", fixed, scope)
    ends = [rule.care.ends_when for rule in cared_for(by_trigger).values() if rule.care and rule.care.ends_when]
    add(code, "possible_ends", [sure.sure(condition) for condition in ends], scope)
    acts = [sure.sure(rule.when) for rule in reading(by_trigger, scope, of_actions)]
    add(code, "possible_acts", acts, scope)


def sliding(by_trigger: ByTrigger, scope: Scope) -> list[Rule]:
    """Those of BECOMES that read a window."""
    return [rule for rule in by_trigger[BECOMES] if changes_with(rule.when, scope, "day", "hour")]


def reading(by_trigger: ByTrigger, scope: Scope, of: Collection[str]) -> list[Rule]:
    """Those of BECOMES that read one of these."""
    return [rule for rule in by_trigger[BECOMES] if any(name.name in of for name in read_by(rule.when, scope))]
