"""When rules are paused for everybody: more actions than the policy allows.

Enters: a rule set, what of each rule was published lately. Leaves: the rules that are to be paused, each with the
sentence that says why.
Holds: no decision depends on it. What it finds becomes a step of the history, and that a part of the rule set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from engine.core.rules.policy import Bounds
from engine.core.rules.ruleset import Rule, RuleSet

USUAL_DAYS: Final = 8  # a week, and the day on which it began


class Counted(NamedTuple):
    """Actions of a rule: in the last minute, in the last hour, in its busiest hour of the last days; 0: not known."""

    minute: int = 0
    hour: int = 0
    usual: int = 0


def is_excepted(rule_set: RuleSet, rule: Rule) -> bool:
    """Whether the policy's breaker does not concern it."""
    breaker = rule_set.policy.breaker
    return breaker is None or not {rule.id, *rule.was, rule.contact_class}.isdisjoint(breaker.exempt)


def bounds_on(rule_set: RuleSet, rule: Rule) -> Bounds | None:
    """Beyond which the rule is paused; None: it is not counted."""
    breaker, own = rule_set.policy.breaker, rule.breaker
    if breaker is None or is_excepted(rule_set, rule):
        return own
    if own is None:
        return breaker.each_rule
    each = breaker.each_rule
    return Bounds(
        own.per_minute or each.per_minute,
        own.per_hour or each.per_hour,
        own.times_usual or each.times_usual,
        own.usual_from if own.times_usual else each.usual_from,
    )


def counts(rule_set: RuleSet) -> dict[str, Bounds]:
    """The rules whose actions are counted, with their bounds."""
    found = {rule.id: bounds_on(rule_set, rule) for rule in rule_set.rules}
    return {rule_id: bounds for rule_id, bounds in found.items() if bounds is not None}


def beyond(rule_set: RuleSet, counted: Mapping[str, Counted]) -> dict[str, str]:
    """The rules to be paused, with the reason."""
    paused = {pause.rule for pause in rule_set.paused}
    found = {}
    for rule in rule_set.rules:
        bounds, had = bounds_on(rule_set, rule), counted.get(rule.id)
        if bounds is not None and had is not None and rule.id not in paused and (why := _beyond(bounds, had)):
            found[rule.id] = why
    breaker = rule_set.policy.breaker
    if breaker is None:
        return found
    together = {rule.id for rule in rule_set.rules if not is_excepted(rule_set, rule)}
    left = {rule: had for rule, had in counted.items() if rule in together - paused - found.keys()}
    found |= _beyond_all("a minute", breaker.all.per_minute, {r: (h.minute, h.usual / 60) for r, h in left.items()})
    left = {rule: had for rule, had in left.items() if rule not in found}
    return found | _beyond_all("an hour", breaker.all.per_hour, {r: (h.hour, h.usual) for r, h in left.items()})


def _beyond(bounds: Bounds, had: Counted) -> str:
    for period, number, most in (("a minute", had.minute, bounds.per_minute), ("an hour", had.hour, bounds.per_hour)):
        if most is not None and number > most:
            return f"{number:,} actions in {period}, {most:,} are allowed"
    times = bounds.times_usual
    if times is None or not had.usual or had.hour <= max(bounds.usual_from, times * had.usual):
        return ""
    return f"{had.hour:,} actions in an hour, more than {times} times its busiest of {USUAL_DAYS} days, {had.usual:,}"


def _beyond_all(period: str, most: int | None, had: Mapping[str, tuple[int, float]]) -> dict[str, str]:
    """Those that are most above what is usual for them, as few as bring the others within the bound."""
    total = sum(number for number, _ in had.values())
    if most is None or total <= most:
        return {}
    found, left = {}, total
    for rule, (number, usual) in sorted(had.items(), key=_most_unusual_first):
        if left <= most:
            break
        found[rule] = (
            f"{total:,} actions of all rules in {period}, {most:,} are allowed: {number:,} are its own, "
            f"{max(number - round(usual), 0):,} more than usual"
        )
        left -= number
    return found


def _most_unusual_first(entry: tuple[str, tuple[int, float]]) -> tuple[float, str]:
    rule, (number, usual) = entry
    return usual - number, rule


def sliding(counted: Sequence[Mapping[str, int]], part: float) -> dict[str, int]:
    """Of a period up to now, by what was counted in the calendar's last and present one, of which `part` has passed:
    as if the last had been spread evenly.
    """
    earlier, current = counted
    rules = earlier.keys() | current.keys()
    return {rule: current.get(rule, 0) + int(earlier.get(rule, 0) * (1 - part)) for rule in rules}
