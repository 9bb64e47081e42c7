"""Compiles a rule set: all rules of a trigger become one matcher, all updates of a source one generated function.

Enters: a RuleSet. Leaves: a Plan, the same rule set as fast functions over ClientState.
Holds: generated code is built from the engine's own text and from checked trees.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from itertools import chain
from typing import Any

from engine.core.assign.roster import asks_room
from engine.core.client.state import ClientState, Layout
from engine.core.contract import topics
from engine.core.contract.actions import ACTIONS
from engine.core.contract.corrections import CORRECTIONS
from engine.core.contract.fields import DIMENSIONS
from engine.core.language.expressions import Expression, Scope, to_python
from engine.core.plan import corrected, features, journeys, matching, updates
from engine.core.plan.codegen import Code
from engine.core.plan.corrected import Follows, features_behind, follows
from engine.core.plan.features import Reach
from engine.core.plan.matching import Matcher
from engine.core.plan.readers import public_value
from engine.core.plan.sensitivity import (
    Bar,
    CompiledLadder,
    Meanings,
    Read,
    Wake,
    Watch,
    add_bars,
    bars_of,
    compiled_ladder,
    flips,
    wrong_when_short,
)
from engine.core.plan.waking import (
    Portrayal,
    Possible,
    Steps,
    Timed,
    add_possible,
    digest_of,
    first_fields,
    meanings_of,
    read_by,
    steps_of,
    timed,
)
from engine.core.rules import names
from engine.core.rules.business_days import business_days
from engine.core.rules.day_lists import DayLists
from engine.core.rules.occasion import BEGINS, JOURNEY, Trigger, on, triggers
from engine.core.rules.policy import Budget, Cap, ContactClass, Holdout, Pause, QuietHours, Rate, Rest, Resumption
from engine.core.rules.ruleset import Rule, RuleSet, counting
from engine.core.rules.score import with_score
from engine.core.teams import Headers, headers_by_team


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule as evaluated on one trigger. `why` and `parameters` are read only when it fires."""

    rule: Rule
    trigger: Trigger
    index: int  # among those of its trigger
    contact_class: ContactClass
    caps: tuple[Cap, ...]  # that can stop it, on one of its channels
    quiet: tuple[QuietHours, ...]
    holdouts: tuple[Holdout, ...]
    rates: tuple[Rate, ...]
    budgets: tuple[Budget, ...]
    shared: bool  # whether it has either, or advisors have at most so many of it open
    offers: Read | None  # the product that it offers
    by_client_zone: bool  # whether a cap or quiet hours ask what time it is for the client
    same_text_ms: int
    rare: bool  # whether it has what few rules have: an offer, a text not sent twice, a journey, a class with bars
    keeps_text: bool  # whether what it sends matters to some rule's `same_text`
    passed_on: frozenset[str]  # fields of its event that are in no state
    why: Read
    why_names: tuple[tuple[str, str | None], ...]  # (name, unit)
    parameters: Read
    parameter_names: tuple[tuple[str, str | None], ...]
    follows: tuple[tuple[frozenset[str], ...], tuple[frozenset[str], ...]]  # the features behind each `why`, parameter
    contact: Read  # (days of its cooldown, channels), each None when it is always the same
    own: Read | None  # the part of its condition that its event alone decides
    beyond: Read | None  # whether a list of days that the condition asks has ended before the day in question
    needs: tuple[Reach, ...]  # the features whose value must not be short of its past for the condition to be right
    headers: Headers  # of its team


@dataclass(frozen=True, slots=True)
class Plan:
    """A rule set ready to run."""

    rule_set: RuleSet
    layout: Layout
    update: dict[str, Callable[[ClientState, Any, bool], None]]  # source -> apply an event, late or not
    client_totals: dict[str, tuple[int, ...]]  # field of balances -> the columns of its daily means, unfiltered
    counted: dict[str, Callable[[Any], Any]]  # source -> what of an event counts, see corrected.py
    match: dict[Trigger, Matcher]  # trigger -> indexes into `compiled[trigger]` that hold
    compiled: dict[Trigger, tuple[CompiledRule, ...]]
    timed: Timed
    ladders: dict[str, CompiledLadder]
    segments: tuple[str, ...]
    segment: Matcher
    value_score: Read | None
    portrayal: Portrayal | None
    score_parts: Read | None  # of each dimension: weight and value, and what counts where it is missing; or None
    facts: dict[str, tuple[str, ...]]  # topic -> the facts that its events set
    review_on: frozenset[str]  # the topics that can move a tier at once
    scopes: dict[Trigger | None, Scope]  # the names that expressions use there; None: of the client alone
    reaches: Mapping[str, Reach]  # feature name -> how far back it asks
    follows: Follows
    rule_ids: frozenset[str]  # also former ones
    declared_types: topics.Kinds  # what a record on the topic `events` can be
    answers: Read | None  # to each channel of policy.answers
    rests: Mapping[str, Rest]  # by channel
    assessed: Read | None  # days since the client's risk was assessed
    barred: tuple[frozenset[str], frozenset[str]]  # clients to whom nothing is offered, products that are not
    holdable: dict[str, dict[str, CompiledRule]]  # rule id -> trigger -> as it is evaluated there
    paused: dict[str, Pause]  # by rule id
    resumed: dict[str, Resumption]
    budgets: Mapping[str, Budget]
    pools: matching.Pools | None
    journeys: journeys.Routes
    bars: Mapping[str, tuple[Bar, ...]]  # class of the policy -> what keeps it from a client

    def compiled_of(self, rule_id: str) -> CompiledRule | None:
        """A rule as it is now, by its name or a former one."""
        return next(iter(self.holdable.get(self.layout.renamed.get(rule_id, rule_id), {}).values()), None)


def compile_rule_set(rule_set: RuleSet) -> Plan:
    """Compile every part. Takes about a millisecond a rule."""
    tiers, segments = rule_set.tiers.names, tuple(s.id for s in rule_set.tiers.segments)
    stages = tuple(stage.id for stage in rule_set.stages)
    kinds = rule_set.kinds

    def scope_of(trigger: Trigger | None, reads: dict[str, str] | None = None) -> Scope:
        return names.rule_scope(trigger, rule_set.features, tiers, segments, reads, rule_set.declared, kinds, stages)

    measured = {t: with_score(ladder.measure, rule_set.value_score) for t, ladder in rule_set.tiers.ladders.items()}
    of_actions = counting(rule_set.features, ACTIONS.name)
    counted = (*topics.sources(kinds), *((ACTIONS.name,) if of_actions else ()))
    sources = {source: features.plan_source(source, rule_set.features) for source in counted}
    reads = {name: text for plan in sources.values() for name, text in plan.reads.items()}

    code = Code()
    code.constants |= rule_set.declared.globals
    for source in sources:
        event_scope = names.event_scope(source, kinds)

        def condition(expression: Expression, event_scope: Scope = event_scope) -> str:
            return code.place(to_python(expression, event_scope))

        code.function(f"update_{source}", "c, e, late", updates.update_lines(source, sources, condition))
        code.function(f"counted_{source}", "e", corrected.counted_lines(source, sources, condition))

    known = triggers(kinds)
    scopes = names.Scopes(lambda trigger: scope_of(trigger, reads))
    by_trigger = {trigger: tuple(rule for rule in rule_set.rules if trigger in rule.triggers) for trigger in known}
    day_lists = DayLists(rule_set.last_days, rule_set.definitions, rule_set.calendar)
    for trigger, rules in by_trigger.items():
        matching.add_rules(code, trigger, rules, scopes, day_lists)
    steps = {topic: steps_of(rule_set.rules, topic) for topic in kinds}
    sure = DayLists({}, rule_set.definitions, rule_set.calendar)
    ends = {rule.id for rule in rule_set.rules if getattr(rule.occasion, "absent", False)}
    for topic, both in steps.items():
        for place, found in zip(("first", "then"), both, strict=True):
            # in doubt a wait does not begin, and one whose end is acted on is over
            conditions = [sure.sure(step.when, in_doubt=place == "then" and id_ in ends) for id_, step in found]
            matching.add(code, f"{place}_{topic}", conditions, scopes[on(topic)] if found else {})
    meanings = meanings_of(rule_set.declared, scopes[None])
    add_possible(code, by_trigger, scopes[None], meanings, sure, of_actions)
    journeys.add(code, rule_set.journeys, scopes, sure)

    scope = scopes[None]
    bases = [name for name in scope.values() if name.base]
    for name in bases:
        code.function(f"base_{name.name.partition('.')[2]}", "c, e, t", [f"return {name.base}"])
    matching.add(code, "segment", [sure.sure(s.when) for s in rule_set.tiers.segments], scope)
    if rule_set.value_score is not None:
        score = code.place(to_python(rule_set.value_score, scope))
        code.function("value_score", "c, e, t", [f"return {score}"])
    matching.add(code, "stage", [sure.sure(stage.when) for stage in rule_set.stages], scope if rule_set.stages else {})
    traits = [code.place(to_python(trait.value, scope)) for trait in rule_set.traits]
    code.function("traits", "c, e, t", [f"return {matching.tuple_of(traits)}"])
    if (suits := rule_set.policy.suitability) is not None and suits.assessed is not None:
        code.function("assessed", "c, e, t", [f"return {code.place(to_python(suits.assessed, scope))}"])
    if rule_set.policy.answers:
        values = [code.place(to_python(value, scope)) for _, value in rule_set.policy.answers]
        code.function("answers", "c, e, t", [f"return {matching.tuple_of(values)}"])
    add_bars(code, rule_set.policy.classes, scope, sure)
    matching.add_pools(code, rule_set.assignment, scope, sure.sure)
    if rule_set.score:
        code.function("score_parts", "c, e, t", [f"return {_score_parts(rule_set, scope)}"])
    for client_type, expression in measured.items():
        measure = code.place(to_python(expression, scope))
        code.function(f"measure_{client_type}", "c, e, t", [f"return {measure}"])

    code.constants |= updates.UPDATERS | updates.constants(sources)
    space = code.run()

    base_of = {name.name: space[f"base_{name.name.partition('.')[2]}"] for name in bases}
    reaches = {name: reach for plan in sources.values() for name, reach in plan.reaches.items()}
    ladders = {
        t: compiled_ladder(
            ladder, measured[t], space[f"measure_{t}"], sources, read_by(measured[t], scope), base_of, reaches
        )
        for t, ladder in rule_set.tiers.ladders.items()
    }

    def watch(asked: Collection[Expression]) -> Watch:
        read = {name.name for expression in asked for name in read_by(expression, scope)}
        wakes = tuple(Wake(base_of[name], days) for name, days in flips(asked, scope, meanings).items())
        return Watch(wakes, features.windows_of(sources, read), not read.isdisjoint(of_actions))

    # whoever reads a portrait reads the segment beside it
    portrayed = [*rule_set.portrait, *(segment.when for segment in rule_set.tiers.segments)]
    by_balance_alone = all(ladder.daily_mean is not None for ladder in ladders.values())
    compiled = {
        trigger: _compiled(space, trigger, rules, scopes, reaches, meanings, rule_set)
        for trigger, rules in by_trigger.items()
    }
    return Plan(
        rule_set=rule_set,
        layout=Layout(
            {source: plan.layout for source, plan in sources.items()},
            rule_set.was_rules | {of: now for one in rule_set.journeys for of, now in one.waits_before.items()},
            rule_set.policy.kept_ms,
            max(rule_set.texts_s.values(), default=0) * 1000,
        ),
        update={source: space[f"update_{source}"] for source in sources},
        client_totals=features.daily_totals(sources["balances"]),
        counted={source: space[f"counted_{source}"] for source in sources},
        match={trigger: space[f"match_{trigger}"] for trigger in by_trigger},
        compiled=compiled,
        timed=timed(
            rule_set,
            by_trigger,
            scope,
            {
                topic: Steps(
                    space[f"first_{topic}"],
                    tuple(rule_id for rule_id, _ in first),
                    space[f"then_{topic}"],
                    tuple(rule_id for rule_id, _ in then),
                )
                for topic, (first, then) in steps.items()
                if first or then
            },
            Possible(**{what.name: space[f"possible_{what.name}"] for what in fields(Possible)}),
            watch,
            of_actions,
            business_days(rule_set.calendar) if rule_set.calendar else None,
            watch([*measured.values()]).by_actions,
            {
                rule.id: first_fields(rule, scopes[trigger])
                for trigger, rules in by_trigger.items()
                if trigger.kind == "timeout"
                for rule in rules
            },
        ),
        ladders=ladders,
        segments=segments,
        segment=space["segment"],
        value_score=space.get("value_score"),
        portrayal=_portrayal(rule_set, space, watch(portrayed)) if rule_set.portrait else None,
        score_parts=space.get("score_parts"),
        facts={topic: kind.told_facts for topic, kind in kinds.items()},
        review_on=frozenset(("profiles", "balances", "overrides", CORRECTIONS) if by_balance_alone else kinds),
        scopes=scopes,
        reaches=reaches,
        follows=follows(rule_set, scope, reaches),
        rule_ids=frozenset(rule.id for rule in rule_set.rules) | frozenset(rule_set.was_rules),
        declared_types=rule_set.declared_types,
        answers=space.get("answers"),
        rests={rest.name: rest for rest in rule_set.policy.rests},
        assessed=space.get("assessed"),
        barred=rule_set.policy.barred(rule_set.lists),
        holdable=_holdable(compiled.values()),
        paused={pause.rule: pause for pause in rule_set.paused},
        resumed={resumption.rule: resumption for resumption in rule_set.resumed},
        budgets={budget.name: budget for budget in rule_set.policy.budgets},
        pools=matching.pools_of(rule_set, space),
        journeys=journeys.routes(rule_set, by_trigger[JOURNEY], space, scopes, meanings, watch, reaches),
        bars=bars_of(rule_set.policy.classes, space, scope, meanings, reaches),
    )


def paused_otherwise(plan: Plan, rule_set: RuleSet) -> Plan:
    """The plan of a set that differs from the plan's own in its pauses alone: they must not wait for a compilation."""
    return replace(
        plan,
        rule_set=rule_set,
        timed=replace(plan.timed, digest=digest_of(rule_set)),
        paused={pause.rule: pause for pause in rule_set.paused},
        resumed={resumption.rule: resumption for resumption in rule_set.resumed},
    )


def _holdable(compiled: Iterable[tuple[CompiledRule, ...]]) -> dict[str, dict[str, CompiledRule]]:
    found: dict[str, dict[str, CompiledRule]] = {}
    for one in chain.from_iterable(compiled):
        found.setdefault(one.rule.id, {})[str(one.trigger)] = one
    return found


def _portrayal(rule_set: RuleSet, space: Mapping[str, Any], watch: Watch) -> Portrayal:
    return Portrayal(
        tuple(stage.id for stage in rule_set.stages),
        space["stage"],
        space["traits"],
        tuple((trait.name, public_value(trait.value.type.unit)) for trait in rule_set.traits),
        watch,
    )


def _score_parts(rule_set: RuleSet, scope: Scope) -> str:
    parts = {part.name: part for part in rule_set.score}
    found = [
        f"[{part.weight!r}, {scope[part.declared_as].code}, {part.otherwise!r}]" if part is not None else "None"
        for part in map(parts.get, DIMENSIONS)
    ]
    return f"[{', '.join(found)}]"


def _compiled(
    space: Mapping[str, Any],
    trigger: Trigger,
    rules: tuple[Rule, ...],
    scopes: Mapping[Trigger | None, Scope],
    reaches: Mapping[str, Reach],
    meanings: Meanings,
    rule_set: RuleSet,
) -> tuple[CompiledRule, ...]:
    scope, policy = scopes[trigger] if rules else {}, rule_set.policy
    kind, texts = rule_set.kinds.get(trigger.topic), rule_set.texts_s
    passed_on = frozenset(asked.field for asked in kind.names if not asked.kept) if kind is not None else frozenset()
    aggregates, headers = {name: reach.aggregate for name, reach in reaches.items()}, headers_by_team(rule_set.teams)
    return tuple(
        CompiledRule(
            rule,
            trigger,
            index,
            policy.class_named(rule.contact_class),
            rule_set.caps_on(rule),
            rule_set.quiet_hours_on(rule),
            rule_set.holdouts_on(rule),
            rule_set.rates_on(rule),
            rule_set.budgets_on(rule),
            bool(rule_set.rates_on(rule) or rule_set.budgets_on(rule)) or asks_room(rule, rule_set),
            space.get(f"offers_{trigger}_{index}"),
            rule_set.asks_zone(rule),
            rule_set.same_text_s(rule) * 1000,
            rule.offers is not None
            or bool(rule_set.same_text_s(rule) or policy.class_named(rule.contact_class).not_while)
            or rule.kind == BEGINS,
            rule.audience == "client" and rule.template in texts,
            passed_on,
            space[f"why_{trigger}_{index}"],
            tuple(
                (n, None if names.is_personal(scope[n]) else scope[n].type.unit)
                for n in matching.told(rule.when, scope)
            ),
            space[f"parameters_{trigger}_{index}"],
            tuple((n, expression.type.unit) for n, expression in rule.parameters),
            (
                tuple(features_behind(scope, reaches, (n,)) for n in matching.told(rule.when, scope)),
                tuple(features_behind(scope, reaches, expression.names) for _, expression in rule.parameters),
            ),
            space.get(f"contact_{trigger}_{index}", _always_the_same),
            space.get(f"own_{trigger}_{index}"),
            space.get(f"beyond_{trigger}_{index}"),
            tuple(reaches[name] for name in sorted(wrong_when_short(rule.when, aggregates, meanings))),
            headers.get(rule.owner, ()),
        )
        for index, rule in enumerate(rules)
    )


def _always_the_same(_client: ClientState, _event: Any, _move: Any) -> tuple[None, None]:
    return None, None
