"""What rules do to each other, and to themselves: L201 to L204, L206, L207.

Enters: a RuleSet. Leaves: findings.
Holds: what is said of two rules is proved of their conditions, or shown by values for which both hold, tried on them.
"""

from __future__ import annotations

import ast
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from engine.core.contract.actions import ACTIONS
from engine.core.language.expressions import Expression, Scope, function_globals, to_python
from engine.core.plan.sensitivity import wrong_when_short
from engine.core.plan.waking import meanings_of, read_by
from engine.core.rules.occasion import Becomes, Trigger, event_triggers
from engine.core.rules.policy import Cap
from engine.core.rules.ruleset import Feature, Rule, RuleSet
from engine.core.rules.tables import list_globals
from engine.rulefile.lint.conditions import implied
from engine.rulefile.lint.findings import Findings
from engine.rulefile.lint.policy import named, slots
from engine.rulefile.proof.narrowing import Box, Unsettled, World, boxes, impossible
from engine.rulefile.proof.ranges import INF, Choice, Domain
from engine.rulefile.proof.wider import Wider
from engine.rulefile.proof.worlds import Worlds, event_world, example

MAX_BOXES: Final = 8
MAX_TRIES: Final = 200
MAX_EARLIER: Final = 20  # rules of one priority that a rule is compared with


def look(certain: Worlds, findings: Findings) -> None:
    rule_set = certain.rule_set
    worlds = {trigger: certain.of(trigger) for trigger in event_triggers(rule_set.kinds)}

    def can_never_hold(rule: Rule) -> bool:
        return all(t in worlds and impossible(worlds[t], (rule.when.tree, True)) for t in rule.triggers)

    never = {rule.id for rule in rule_set.rules if can_never_hold(rule)}
    rules = [replace(rule, then=None) for rule in rule_set.rules if rule.id not in never]  # of what each says first
    rules_sent = [rule for rule in rules if all(slots(rule_set, cap, rule) for cap in rule_set.caps_on(rule))]
    _used_up(rule_set, rules_sent, worlds, findings)
    _same_priority(certain, rules_sent, worlds, findings)
    _without_advisor(certain, rules, findings)
    _repeated(rules, worlds, findings)
    _segments(certain, findings)
    _feeds_itself(certain, rules, findings)


def _without_advisor(certain: Worlds, rules: list[Rule], findings: Findings) -> None:
    advised = ast.Name("client.has_advisor", ast.Load())
    for rule in rules:
        home = findings.places.rules.get(rule.id)
        if rule.audience != "advisor" or home is None:
            continue
        if all(impossible(certain.of(trigger), (rule.when.tree, True), (advised, True)) for trigger in rule.triggers):
            message = "is for the advisor of clients who have none: it goes to the team of its owner"
            remedy = "write audience: team, or correct its condition"
            findings.add("L206", home.key("audience") or home, f'rule "{rule.id}"', message, remedy, home=home)


def _feeds_itself(certain: Worlds, rules: list[Rule], findings: Findings) -> None:
    """Rules that are more likely to hold for having acted: asked the other way round, a count is a limit."""
    rule_set = certain.rule_set
    of_actions = [f for f in rule_set.features if f.source == ACTIONS.name and f.where is not None]
    if not of_actions:
        return
    aggregates = {feature.name: feature.aggregate for feature in rule_set.features}
    world = event_world(ACTIONS.name, rule_set.kinds)
    for rule in rules:
        home, scope = findings.places.rules.get(rule.id), certain.scope(rule.triggers[0])
        if home is None:
            continue
        read = {name.name for name in read_by(rule.when, scope)}
        limits = wrong_when_short(rule.when, aggregates, meanings_of(rule_set.declared, scope))
        for feature in of_actions:
            if feature.name not in read or feature.name in limits or not _counts(world, feature, rule):
                continue
            message = f"keeps itself true: its own action counts in {feature.name}, which its condition asks to be high"
            remedy = f'leave it out of the feature, as in `where: action.rule_id != "{rule.id}"`'
            at = home.key("becomes" if isinstance(rule.occasion, Becomes) else "when") or home
            findings.add("L207", at, f'rule "{rule.id}"', message, remedy, home=home)


def _counts(world: World, feature: Feature, rule: Rule) -> bool:
    """Whether a feature can count what a rule does."""
    assert feature.where is not None
    known = {"action.rule_id": rule.id, "action.kind": rule.kind, "action.audience": rule.audience}
    own = [ast.Compare(ast.Name(name, ast.Load()), [ast.Eq()], [ast.Constant(value)]) for name, value in known.items()]
    return not impossible(world, (feature.where.tree, True), *((part, True) for part in own))


def _together(one: Rule, other: Rule, worlds: Mapping[Trigger, World]) -> list[World]:
    """Facts that are certain on each trigger of the one, if the other is evaluated on all of them; else nothing."""
    triggers = one.triggers
    return [worlds[t] for t in triggers] if all(t in other.triggers and t in worlds for t in triggers) else []


def _repeated(rules: list[Rule], worlds: Mapping[Trigger, World], findings: Findings) -> None:
    wider = Wider(rules, worlds, lambda rule: (rule.kind, rule.audience, rule.template))
    for position, rule in enumerate(rules):
        home = findings.places.rules.get(rule.id)
        for place in wider.of(position):
            other = rules[place]
            on = _together(rule, other, worlds)
            if home is None or not on or not implied(on, rule.when, other.when):
                continue
            back = _together(other, rule, worlds)
            if back and place > position and implied(back, other.when, rule.when):
                continue  # of two that are equal, the later one is named
            message = f'repeats "{other.id}": whenever its condition holds, so does that one\'s, with the same template'
            remedy = "remove one of the two, or exclude what the other covers"
            findings.add("L201", home.key("when") or home, f'rule "{rule.id}"', message, remedy, home=home)
            break


def _used_up(rule_set: RuleSet, rules: list[Rule], worlds: Mapping[Trigger, World], findings: Findings) -> None:
    wider = Wider(rules, worlds, lambda rule: "client" if rule.audience == "client" else None)
    for position, rule in enumerate(rules):
        home = findings.places.rules.get(rule.id)
        caps = rule_set.caps_on(rule)
        if home is None or not caps:
            continue
        before = [
            other
            for other in (rules[place] for place in wider.of(position) if place < position)
            if other.channels_by is None
            and _treated_alike(rule_set, other, rule)
            and {*rule.channels} <= {*other.channels}
            and (on := _together(rule, other, worlds))
            and implied(on, rule.when, other.when)
        ]
        for cap in caps:
            counted = [other for other in before if _counts_towards(rule_set, cap, other)]
            if len(counted) < cap.at_most:
                continue
            one = cap.at_most == 1
            first = ", ".join(f'"{other.id}"' for other in counted[: cap.at_most])
            message = f"is sent only while {first} {'is' if one else 'are'} in cooldown: whenever it fires, "
            message += f"{'it goes' if one else 'they go'} first and {'uses' if one else 'use'} up the {named(cap)}"
            remedy = "give it a higher priority, or exclude in the others what it covers"
            findings.add("L202", home.key("priority") or home, f'rule "{rule.id}"', message, remedy, home=home)
            break


def _treated_alike(rule_set: RuleSet, other: Rule, rule: Rule) -> bool:
    """Whether the other goes first whenever this one goes: of another class it may lack consent, wait or be dropped."""
    hours = {*rule_set.quiet_hours_on(other)} <= {*rule_set.quiet_hours_on(rule)}
    return other.contact_class == rule.contact_class and other.holdout is None and hours


def _counts_towards(rule_set: RuleSet, cap: Cap, rule: Rule) -> bool:
    """Whether what it sends always counts towards the cap."""
    counts = rule_set.policy.class_named(rule.contact_class).counts or bool(cap.of.classes)
    return counts and all(cap.of.meets(rule.contact(channel)) for channel in rule.channels)


def _same_priority(certain: Worlds, rules: list[Rule], worlds: Mapping[Trigger, World], findings: Findings) -> None:
    """Each is compared with the few before it: one pair is enough to give it another priority."""
    before: defaultdict[tuple[int, Trigger], list[Rule]] = defaultdict(list)
    for other in rules:
        home = findings.places.rules.get(other.id)
        if home is None or not certain.rule_set.caps_on(other):
            continue
        on = [trigger for trigger in other.triggers if trigger in worlds]
        pairs = ((one, trigger) for trigger in on for one in before[other.priority, trigger][-MAX_EARLIER:])
        for one, trigger in pairs:
            if one.template == other.template:
                continue
            shown = witness(certain.scope(trigger), worlds[trigger], one.when, other.when)
            if shown is not None:
                message = f'may fire on {trigger} together with "{one.id}", of priority {one.priority} too; the one '
                message += f"that comes first in the alphabet goes first. Example: {example(shown)}"
                at = home.key("priority") or home
                findings.add("L203", at, f'rule "{other.id}"', message, "give them different priorities", home=home)
                break
        for trigger in on:
            before[other.priority, trigger].append(other)


def _segments(certain: Worlds, findings: Findings) -> None:
    rule_set, world = certain.rule_set, certain.of(None)
    earlier: list[tuple[ast.expr, bool]] = []
    for segment in rule_set.tiers.segments:
        home = findings.places.segments.get(segment.id)
        alone = impossible(world, (segment.when.tree, True))
        if home is not None and earlier and not alone and impossible(world, (segment.when.tree, True), *earlier):
            message = "no client is in it: whoever meets its condition is in a segment above"
            remedy = "move it up, or correct its condition"
            findings.add("L204", home, f'segment "{segment.id}"', message, remedy, home=home)
        earlier.append((segment.when.tree, False))


def witness(scope: Scope, world: World, *conditions: Expression) -> dict[str, Any] | None:
    """Values, money in CNY, for which all conditions hold: found by trying, so finding none proves nothing."""
    names = list(dict.fromkeys(name for condition in conditions for name in condition.names))
    if any(scope[name].reads is not None for name in names):
        return None
    holds: list[Callable[[Mapping[str, Any]], Any]] = []
    for box in _some_boxes(world, conditions):
        holds = holds or [_function(condition, scope) for condition in conditions]
        domains = [_domain(world, box, name) for name in names]
        choices = [_candidates(domain, name in world.whole) for name, domain in zip(names, domains, strict=True)]
        for values in itertools.islice(itertools.product(*choices), MAX_TRIES):
            tried = dict(zip(names, values, strict=True))
            if all(condition(tried) is True for condition in holds) and _agrees(world, tried):
                money = {name for name in names if scope[name].type.unit == "cny"}
                return {n: v / 100 if n in money and v is not None else v for n, v in tried.items()}
    return None


def _some_boxes(world: World, conditions: tuple[Expression, ...]) -> Iterator[Box]:
    try:
        yield from itertools.islice(boxes(world, *((condition.tree, True) for condition in conditions)), MAX_BOXES)
    except Unsettled:
        return


def _domain(world: World, box: Box, name: str) -> Domain:
    kept = world.same.get(name, name)
    return box.get(kept) or world.domains[kept]


def _candidates(domain: Domain, whole: bool) -> list[Any]:
    if isinstance(domain.values, Choice):
        some = sorted(domain.values.values, key=str)[:3]
        found: list[Any] = ["..."] if domain.values.others else list(some)
    else:
        found = []
        for span in domain.values[:2]:
            low = 0 if span.low == -INF else span.low
            step = 1 if whole else 0.01
            inside = [low + step if span.low_open else low, low + 100, 10 * low + 1000, span.high]
            found += [v for v in inside if v < INF and domain.holds(v)]
    return [*dict.fromkeys(found), *([None] if domain.missing else [])]


def _agrees(world: World, values: Mapping[str, Any]) -> bool:
    """Whether values that belong together do."""
    aliased = all(values[a] == values[b] for a, b in world.same.items() if a in values and b in values)
    ordered = all(values[a] <= values[b] for a, b in world.at_most if a in values and b in values)
    rows = all(
        any(
            all(values.get(world_name, value) == value for world_name, value in zip(names, row, strict=True))
            for row in some
        )
        for names, some in world.relations
    )
    return aliased and ordered and rows


def _function(expression: Expression, scope: Scope) -> Callable[[Mapping[str, Any]], Any]:
    lists = {name: known for name, known in scope.items() if known.type.kind == "set"}
    given = {name: replace(known, code=f"v[{name!r}]") for name, known in scope.items()} | lists
    tree = ast.parse("lambda v: None", mode="eval")
    assert isinstance(tree.body, ast.Lambda)
    tree.body.body = to_python(expression, given)
    known = list_globals({name: listed.type.values or () for name, listed in lists.items()})
    code = compile(ast.fix_missing_locations(tree), "<condition>", "eval")
    function: Callable[[Mapping[str, Any]], Any] = eval(code, function_globals() | known)  # our own generated tree
    return function
