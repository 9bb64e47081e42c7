"""Bytes to events.

Enters: one record's key, value and timestamp. Leaves: an Event, or a Rejected with its reason.
Holds: never raises, whatever the bytes; each record is judged alone, so that a bad one cannot harm its batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from engine.core.contract.events import Event
from engine.core.contract.outbound import Rejection
from engine.core.contract.topics import TOPICS

MAX_EVENT_BYTES: Final = 65_536
FUTURE_TOLERANCE_MS: Final = 300_000

_REASON_OF_ERROR: Final = {
    "json_invalid": Rejection.NOT_JSON,
    "missing": Rejection.MISSING_FIELD,
    "literal_error": Rejection.UNKNOWN_VALUE,
    "greater_than": Rejection.OUT_OF_RANGE,
    "greater_than_equal": Rejection.OUT_OF_RANGE,
    "less_than": Rejection.OUT_OF_RANGE,
    "less_than_equal": Rejection.OUT_OF_RANGE,
    "finite_number": Rejection.OUT_OF_RANGE,
    "time_range": Rejection.OUT_OF_RANGE,
    "string_too_short": Rejection.OUT_OF_RANGE,
    "string_too_long": Rejection.OUT_OF_RANGE,
}
_PRECEDENCE: Final = list(Rejection)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that is not an event. `error` says what to mend and repeats no value of the record."""

    reason: Rejection
    error: str


def decode(topic: str, key: bytes | None, value: bytes | None, timestamp_ms: int) -> Event | Rejected:
    """Read one record of an inbound topic. A negative `timestamp_ms` means that the record carries none."""
    if value is not None and len(value) > MAX_EVENT_BYTES:
        return Rejected(
            Rejection.TOO_LARGE, f"the value has {len(value)} bytes, at most {MAX_EVENT_BYTES} are accepted"
        )
    if not key:
        return Rejected(Rejection.NO_KEY, "the record has no key; its key must be the client's id")
    if not value:
        return Rejected(Rejection.NO_VALUE, "the record has no value; a client cannot be deleted this way")
    try:
        event: Event = TOPICS[topic].model.__pydantic_validator__.validate_json(value)
    except ValidationError as error:
        return _rejected(error)
    if event.client_id.encode() != key:
        return Rejected(Rejection.KEY_MISMATCH, "the record's key is not its client_id; key every record by client_id")
    if 0 <= timestamp_ms < event.time - FUTURE_TOLERANCE_MS:
        return Rejected(
            Rejection.FUTURE,
            f"time lies {(event.time - timestamp_ms) // 1000} s after the record's own time; at most "
            f"{FUTURE_TOLERANCE_MS // 1000} s are tolerated: check the producer's clock",
        )
    return event


def _rejected(error: ValidationError) -> Rejected:
    faults = error.errors(include_url=False, include_input=False)
    reasons = [_REASON_OF_ERROR.get(fault["type"], Rejection.WRONG_TYPE) for fault in faults]
    worst = min(reasons, key=_PRECEDENCE.index)
    texts = [f"{'.'.join(map(str, fault['loc'])) or 'value'}: {fault['msg']}" for fault in faults[:5]]
    return Rejected(worst, "; ".join(texts)[:500])
