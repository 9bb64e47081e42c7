"""A correction's earlier event, and what replaces it, as events.

Enters: a Correction whose objects are as JSON has them, and how an event is read. Leaves: the Correction with events in
their place, or the reason and a sentence.
Holds: what is in a correction is read like a record of its own topic; ids that it leaves out are the correction's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic_core import to_json

from engine.core.contract.corrections import Correction
from engine.core.contract.events import Event
from engine.core.contract.outbound import Rejection
from engine.core.reading.envelopes import Found

Read = Callable[[str, bytes, bytes], Event | Found]  # topic, key, value


def read(correction: Correction, read_event: Read) -> Correction | Found:
    if correction.kind == "replace" and correction.replacement is None:
        return Rejection.MISSING_FIELD, "replacement: Field required, the event as it should have been"
    found: dict[str, Any] = {}
    for name in ("original", "replacement") if correction.kind == "replace" else ("original",):
        fields = getattr(correction, name)
        if not isinstance(fields, dict):
            return Rejection.WRONG_TYPE, f"{name}: no object; send the event's fields in it"
        whole = {"event_id": correction.corrects, "client_id": correction.client_id, **fields}
        event = read_event(correction.topic, correction.client_id.encode(), to_json(whole))
        if isinstance(event, tuple):
            return event[0], f"{name}: {event[1]}"[:500]
        if event.time > correction.time:
            return Rejection.OUT_OF_RANGE, f"{name}: its time lies after the correction's"
        found[name] = event
    if found["original"].event_id != correction.corrects:
        return Rejection.UNKNOWN_VALUE, "original: its event_id is not what `corrects` says"
    if correction.kind == "replace" and _type(found["original"]) != _type(found["replacement"]):
        return Rejection.UNKNOWN_VALUE, "replacement: of another type than the original; cancel that and send this"
    return correction.model_copy(update={"replacement": None} | found)


def _type(event: Event) -> Any:
    return getattr(event, "type", None)
