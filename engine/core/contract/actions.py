"""The engine's own actions as a source of features: what it sent, and what the contact policy stopped.

Enters: nothing. Leaves: ACTIONS, a kind of event that no topic carries and no rule is evaluated on; an OwnAction each.
Holds: an action counts at the moment at which it is decided.
"""

from __future__ import annotations

from typing import Annotated, Final, NamedTuple

from pydantic import Field

from engine.core.contract.events import ActionChannel, Event, Identifier, Kind
from engine.core.contract.outbound import Audience, Outcome
from engine.core.contract.topic import Asked, Topic
from engine.core.contract.topics import Kinds, sources


class OwnAction(NamedTuple):
    """An action as features count it."""

    time: int
    rule_id: str
    kind: str
    audience: str
    channel: str
    outcome: str
    contact_class: str


class _Action(Event):
    """What the fields can be."""

    rule_id: Identifier
    kind: Kind
    audience: Audience
    channel: ActionChannel
    outcome: Annotated[Outcome, Field(strict=False)]
    contact_class: Identifier


ACTIONS: Final = Topic(
    name="actions",
    rank=-1,  # it is never merged
    singular="action",
    called="action",
    model=_Action,
    names=(
        Asked("rule_id", "the rule that matched"),
        Asked("kind", "the kind of action"),
        Asked("audience", "for whom it is"),
        Asked("channel", "the channel it was sent on, or would have been"),
        Asked("contact_class", "its class of the contact policy"),
        Asked("outcome", "sent, or why it was not; a filter that does not ask for it counts what was sent"),
    ),
    example={"rule_id": "rule-1", "kind": "message", "audience": "client", "channel": "sms", "outcome": "sent"}
    | {"contact_class": "service"},
)
OUTCOME: Final = "action.outcome"


def counted(kinds: Kinds) -> tuple[str, ...]:
    """The sources of features."""
    return (*sources(kinds), ACTIONS.name)
