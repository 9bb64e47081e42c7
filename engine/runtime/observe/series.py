"""The labels that a rule set's series can have, so that each is shown from 0.

Enters: tiers, kinds of events. Leaves: labels.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

from engine.core.contract.corrections import RESULTS
from engine.core.contract.topic import Topic, nested
from engine.core.contract.topics import EVENTS, TOPICS
from engine.core.decide.surveys import counted_under
from engine.core.reading.decode import fallbacks
from engine.core.rules.ruleset import RuleSet, Tiers


def fields_that_may_be_unread(kind: Topic) -> Iterator[str]:
    model = kind.model
    for name in fallbacks(model):
        yield name
        if name in nested(model):
            yield from (f"{name}.{inner}" for inner in fallbacks(nested(model)[name]))


# What a rule set says has series from 0.
DECLARED: Final = (
    *("duplicates", "late", "corrections", "surveys", "survey_scores", "journeys", "budget_spent", "pool_answers"),
)


def of_rule_set(rule_set: RuleSet) -> Iterator[tuple[str, ...]]:
    """What is counted of the surveys, journeys, budgets, pools and types it declares, by the counter's name and its
    labels.
    """
    yield from counted_under(rule_set)
    yield from (("journeys", journey.id, reason) for journey in rule_set.journeys for reason in journey.reasons)
    yield from (("budget_spent", budget.name) for budget in rule_set.policy.budgets)
    for pool in rule_set.assignment.pools if rule_set.assignment is not None else ():
        yield from (("pool_answers", pool.name, outcome) for outcome in TOPICS["assignment_answers"].choices("outcome"))
    for name, kind in rule_set.declared_types.items():
        yield "duplicates", name
        yield "late", name
        yield from (("corrections", name, result) for result in RESULTS)
        yield from (("unread", EVENTS, f"{name}.{field}") for field in fields_that_may_be_unread(kind))


def notices_of(tiers: Tiers) -> Iterator[tuple[str, str]]:
    """(tier, the lower one): of what demotions these rules can give notice."""
    for ladder in tiers.ladders.values():
        yield from itertools.combinations([step.tier for step in ladder.steps], 2)


def tier_moves(tiers: Tiers) -> Iterator[tuple[str, str, str]]:
    """(from, to, reason): what can happen under these rules to clients that they put into their tiers."""
    ladders = {kind: [step.tier for step in ladder.steps] for kind, ladder in tiers.ladders.items()}
    for kind in TOPICS["profiles"].choices("type"):
        ladders.setdefault(kind, [kind])
    for kind, steps in ladders.items():
        others = {tier for other, found in ladders.items() if other != kind for tier in found}
        for index, tier in enumerate(steps):
            yield "", tier, "first"
            if kind in tiers.ladders:
                yield from ((before, tier, "override") for before in ("", *steps) if before != tier)
                yield from ((before, tier, "override_ended") for before in steps if before != tier)
            yield from ((lower, tier, "promoted") for lower in steps[index + 1 :])
            yield from ((higher, tier, "demoted") for higher in steps[:index])
            yield from ((other, tier, "type_changed") for other in others if other not in steps)
