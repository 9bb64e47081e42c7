"""Corrections: an earlier event of a client is cancelled, or replaced by what it should have been.

Enters: the table's other models. Leaves: the model of the topic `corrections`.
Holds: a correction repeats the earlier event as it was sent. Reading one makes events of both objects in it, by the
rules of their own topic (see `decode`).
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal, get_args

from pydantic import Field, WithJsonSchema

from engine.core.contract.events import Event, Identifier

CORRECTIONS: Final = "corrections"
Corrected = Literal[
    "trades",
    "logins",
    "balances",
    "events",
    "receipts",
    "outcomes",
    "feedback",
    "complaints",
    "positions",
    "overrides",
]
CORRECTABLE: Final[tuple[str, ...]] = get_args(Corrected)
Result = Literal["exact", "unknown", "waiting", "ignored"]  # what became of a correction
RESULTS: Final[tuple[Result, ...]] = get_args(Result)

_AS_SENT: Final = WithJsonSchema({"type": "object", "required": ["time"]})


class Correction(Event):
    """Cancels an earlier event of the client, or replaces it by what it should have been.

    Windows of features are as if the event had been right from the start. `time` is when it was corrected, not before
    the events in it. Corrections of one event count in the order in which they come.
    """

    essential: ClassVar[frozenset[str]] = Event.essential | {"kind", "topic", "corrects", "original"}

    kind: Literal["cancel", "replace"]
    topic: Corrected = Field(description="Where the earlier event was sent.")
    corrects: Identifier = Field(description="The `event_id` of the earlier event.")
    original: Annotated[Any, _AS_SENT] = Field(
        description="The earlier event with the values that it was sent with, its `time` among them, by the schema of "
        "its topic. `event_id` and `client_id` may be left out."
    )
    replacement: Annotated[Any, _AS_SENT] = Field(
        default=None,
        description="For `replace`: the event as it should have been, whole, by the same schema. Without `event_id` it "
        "has that of the earlier event.",
    )
