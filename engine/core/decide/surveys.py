"""What surveys come to, counted by segment: how many are sent and answered, and the scores in the answers.

Enters: a client, an answer. Leaves: labels of what is counted, in the classes by which scores are usually added up: NPS
is the share of promoters less that of detractors.
Holds: segments are those of the active rules; a client of another one, until it is evaluated anew, counts under none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from engine.core.client.state import ClientState
from engine.core.contract.events import Feedback
from engine.core.plan.compile import Plan
from engine.core.rules.ruleset import RuleSet

STEPS: Final = ("sent", "answered")
# of each score the least that counts so, the best first
CLASSES: Final[dict[str, tuple[tuple[int, str], ...]]] = {
    "nps": ((9, "promoter"), (7, "passive"), (0, "detractor")),
    "csat": ((4, "satisfied"), (3, "neutral"), (1, "dissatisfied")),
    "ces": ((5, "easy"), (4, "neutral"), (1, "hard")),
}


def of_sent(plan: Plan, client: ClientState) -> tuple[str, str, str]:
    return "surveys", _segment(plan, client), "sent"


def of_answer(plan: Plan, client: ClientState, answer: Feedback) -> Iterator[tuple[str, ...]]:
    segment = _segment(plan, client)
    yield "surveys", segment, "answered"
    for score, classes in CLASSES.items():
        given: int | None = getattr(answer, score)
        if given is not None:
            yield "survey_scores", segment, score, next(name for least, name in classes if given >= least)


def _segment(plan: Plan, client: ClientState) -> str:
    return client.segment if client.segment in plan.segments else ""


def counted_under(rule_set: RuleSet) -> Iterator[tuple[str, ...]]:
    """All labels that there can be under these rules."""
    for segment in ("", *(segment.id for segment in rule_set.tiers.segments)):
        yield from (("surveys", segment, step) for step in STEPS)
        for score, classes in CLASSES.items():
            yield from (("survey_scores", segment, score, name) for _, name in classes)
