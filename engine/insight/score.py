"""A client's score, part by part: what each is now, what it weighs, and how many points it gives.

Enters: a plan and a client. Leaves: parts with the values that they follow from.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.core.client.score import ScorePoints, score_points
from engine.core.client.state import ClientState
from engine.core.language.expressions import number, one_line
from engine.core.learn.portrait import scored
from engine.core.plan.compile import Plan
from engine.insight.explain import Value, value_of
from engine.insight.terms import readings_of
from engine.insight.values import shown


@dataclass(frozen=True, slots=True)
class Part:
    points: ScorePoints
    text: str  # as it is written
    description: str
    values: tuple[Value, ...]  # of the names in it

    def __str__(self) -> str:
        return f"{self.points}; {self.text}"


@dataclass(frozen=True, slots=True)
class Score:
    value: float | None
    parts: tuple[Part, ...]  # none where tiers.yaml has the score


def score_of(plan: Plan, client: ClientState) -> Score | None:
    """As it is at the client's present; None without a score."""
    if plan.value_score is None:
        return None
    value, parts = scored(plan, client)
    if parts is None:
        return Score(value, ())
    given = {points.name: points for points in score_points(parts)}
    scope, declared = plan.scopes[None], plan.rule_set.declared
    return Score(
        value,
        tuple(
            Part(
                given[part.name],
                one_line(part.value.text),
                part.description,
                tuple(value_of(reading, client) for reading in readings_of(part.value, scope, declared)),
            )
            for part in plan.rule_set.score
        ),
    )


def score_lines(score: Score) -> list[str]:
    """A line for the score, and some for each part."""
    lines = [f"value score {shown(score.value, number('score'))}"]
    for part in score.parts:
        lines.append(f"  {part}")
        lines += [f"    {line}" for value in part.values for line in value_lines(value)]
    return lines


def value_lines(value: Value) -> list[str]:
    lines = [f"{value.text} = {value.shown}" + (f", by the row {value.row}" if value.row else "")]
    return lines + [f"  {line}" for inner in value.values for line in value_lines(inner)]
