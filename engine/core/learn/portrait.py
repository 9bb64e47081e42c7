"""The portrait: a client's stage of life, and its traits; and its score.

Enters: a Plan and a ClientState. Leaves: the client, portrayed as of its present; what it scores.
Holds: it is taken at every event and timer, and a timer is set wherever time alone can change it; so it is always that
of the client's present. What follows from a feature that a correction left unknown is missing; the stage stays. A
client that no rule set has portrayed keeps nothing.
"""

from __future__ import annotations

from typing import Any

from engine.core.client.state import ClientState
from engine.core.firm_time import NEVER_MS
from engine.core.plan.compile import Plan
from engine.core.plan.corrected import is_unknown


def portray(plan: Plan, client: ClientState) -> None:
    portrayal = plan.portrayal
    if portrayal is None:
        _take_down(client)
        return
    if not (is_unknown(client, plan.follows.stage) and client.stage in portrayal.stages):
        first = portrayal.stage(client, None, None)
        stage = portrayal.stages[first[0]] if first else None
        if stage != client.stage:
            client.stage, client.stage_since_ms = stage, None if stage is None else client.now_ms
    values = portrayal.traits(client, None, None)
    if client.unknown_until:
        of_each = zip(values, plan.follows.traits, strict=True)
        values = tuple(None if is_unknown(client, of) else value for value, of in of_each)
    if client.portrayed != values or client.portrait is None:
        client.portrayed = values
        client.portrait = {
            name: shown(value)
            for (name, shown), value in zip(portrayal.shown, values, strict=True)
            if value is not None
        }


def scored(plan: Plan, client: ClientState) -> tuple[float | None, list[Any] | None]:
    """The score, and of each dimension its weight, value, and what counts without one. A part that follows from a
    feature that a correction left unknown is missing, and so is the score, whatever counts without it.
    """
    value = plan.value_score(client, None, None) if plan.value_score is not None else None
    parts = plan.score_parts(client, None, None) if plan.score_parts is not None else None
    if is_unknown(client, plan.follows.score):
        value = None
        for part, of in zip(parts or (), plan.follows.parts, strict=False):
            if part is not None and is_unknown(client, of):
                part[1] = None
    return value, parts


def _take_down(client: ClientState) -> None:
    """Its rules had a portrait: other systems are to see that nobody says so any longer."""
    if client.portrait:
        client.portrait = {}
    client.stage = client.stage_since_ms = None


def next_portrait_ms(plan: Plan, client: ClientState) -> int:
    """When time alone can change the portrait."""
    return NEVER_MS if plan.portrayal is None else plan.portrayal.watch.next_ms(plan.layout, client)


def classify(plan: Plan, client: ClientState) -> None:
    """Take its segment and score anew."""
    if not (is_unknown(client, plan.follows.segment) and client.segment in plan.segments):
        first = plan.segment(client, None, None) if plan.segments else None
        client.segment = plan.segments[first[0]] if first else None
    score, client.score_parts = scored(plan, client)
    client.value_score = client.value_score if plan.value_score is None else score
