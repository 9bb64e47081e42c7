"""A client's portrait, part by part: the stage, and each trait with the values that it follows from.

Enters: a plan and a client. Leaves: the parts, and lines of text.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.core.client.state import ClientState
from engine.core.language.expressions import Expression, one_line
from engine.core.learn.portrait import portray
from engine.core.plan.compile import Plan
from engine.insight.explain import Value, value_of
from engine.insight.score import value_lines
from engine.insight.terms import readings_of
from engine.insight.values import firm_time


@dataclass(frozen=True, slots=True)
class Portrayed:
    name: str
    value: str | float | bool | None
    text: str  # as it is written
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Portrait:
    stage: str | None
    stage_since_ms: int | None
    parts: tuple[Portrayed, ...]  # the condition of the stage, and each trait


def portrait_of(plan: Plan, client: ClientState) -> Portrait | None:
    """As it is at the client's present; None without a portrait. The client is portrayed anew."""
    if plan.portrayal is None:
        return None
    before = client.stage
    portray(plan, client)
    known = client.portrait or {}
    rule_set = plan.rule_set
    whens = {stage.id: stage.when for stage in rule_set.stages}
    parts = []
    if client.stage is not None and client.stage == before:
        parts.append(_part(plan, client, "stage", client.stage, whens[client.stage]))
    parts += [_part(plan, client, trait.name, known.get(trait.name), trait.value) for trait in rule_set.traits]
    return Portrait(client.stage, client.stage_since_ms, tuple(parts))


def _part(plan: Plan, client: ClientState, name: str, value: str | float | None, expression: Expression) -> Portrayed:
    readings = readings_of(expression, plan.scopes[None], plan.rule_set.declared)
    return Portrayed(name, value, one_line(expression.text), tuple(value_of(reading, client) for reading in readings))


def portrait_lines(portrait: Portrait) -> list[str]:
    since = "" if portrait.stage_since_ms is None else f" since {firm_time(portrait.stage_since_ms)}"
    lines = [f"stage {portrait.stage or '-'}{since}, portrait"]
    for part in portrait.parts:
        lines.append(f"  {part.name}: {'missing' if part.value is None else part.value}; {part.text}")
        lines += [f"    {line}" for value in part.values for line in value_lines(value)]
    return lines
