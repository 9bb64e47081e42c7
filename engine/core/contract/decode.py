"""Bytes to events.

Enters: one record's key, value and timestamp. Leaves: Taken with the Event, or Rejected with the reason.
Holds: never raises, whatever the bytes; each record is judged alone, so that a bad one cannot harm its batch. A field
that cannot be read costs itself alone, unless the event means nothing without it: the event is the one that the record
would have been with that field unknown. What a record grants (consents) is never more than it says legibly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json, to_json

from engine.core.contract.events import Event
from engine.core.contract.fields import Instead
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


_LEFT_OUT: Final = object()  # stands for a field that is not said


@dataclass(slots=True)  # not frozen: that would cost a tenth of reading the record
class Taken:
    """A record that is an event. `unread` names the fields, such as "time_zone" or "consents.sms", that could not be
    read and are taken as unknown.
    """

    event: Event
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that is not an event. `error` says what to mend and repeats no value of the record."""

    reason: Rejection
    error: str


def decode(topic: str, key: bytes | None, value: bytes | None, timestamp_ms: int) -> Taken | Rejected:
    """Read one record of an inbound topic. A negative `timestamp_ms` means that the record carries none."""
    if value is not None and len(value) > MAX_EVENT_BYTES:
        return Rejected(
            Rejection.TOO_LARGE, f"the value has {len(value)} bytes, at most {MAX_EVENT_BYTES} are accepted"
        )
    if not key:
        return Rejected(Rejection.NO_KEY, "the record has no key; its key must be the client's id")
    if not value:
        return Rejected(Rejection.NO_VALUE, "the record has no value; a client cannot be deleted this way")
    unread: tuple[str, ...] = ()
    try:
        event = TOPICS[topic].validate(value)
    except ValidationError as error:
        found = _leniently(TOPICS[topic].model, value, error)
        if isinstance(found, Rejected):
            return found
        event, unread = found.event, found.unread
    if event.client_id.encode() != key:
        return Rejected(Rejection.KEY_MISMATCH, "the record's key is not its client_id; key every record by client_id")
    if 0 <= timestamp_ms < event.time - FUTURE_TOLERANCE_MS:
        return Rejected(
            Rejection.FUTURE,
            f"time lies {(event.time - timestamp_ms) // 1000} s after the record's own time; at most "
            f"{FUTURE_TOLERANCE_MS // 1000} s are tolerated: check the producer's clock",
        )
    return Taken(event, unread)


# -- records with a field that cannot be read --------------------------------------------------------------------------


@cache
def fallbacks(model: type[BaseModel]) -> dict[str, Any]:
    """What stands for each field that cannot be read; the fields without which an event means nothing are left out.

    It follows from the model, for fields that are added to it too: what stands for a field is a value of its own
    (Instead), or None if it is optional. Without either a field is as needed as those that are called essential.
    """
    essential: frozenset[str] = getattr(model, "essential", frozenset())
    unsaid: frozenset[str] = getattr(model, "unsaid", frozenset())
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        instead = next((part.value for part in field.metadata if isinstance(part, Instead)), None)
        if name not in essential and (instead is not None or type(None) in get_args(field.annotation)):
            found[name] = _LEFT_OUT if name in unsaid else instead
    return found


@cache
def nested(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The fields that have fields themselves."""
    found: dict[str, type[BaseModel]] = {}
    for name, field in model.model_fields.items():
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                found[name] = part
    return found


def _leniently(model: type[Event], value: bytes, error: ValidationError) -> Taken | Rejected:
    """The event with what cannot be read taken as unknown, if what an event needs can be read."""
    may_fall = fallbacks(model)
    faults = error.errors(include_url=False, include_input=False)
    fatal = [fault for fault in faults if not fault["loc"] or fault["loc"][0] not in may_fall]
    if fatal:
        return _rejected(fatal)
    fields = _known(model, from_json(value))
    unread = {_spoilt(model, fields, fault["loc"]): None for fault in faults}  # in order, each once
    try:
        event: Event = model.__pydantic_validator__.validate_json(to_json(fields))
    except ValidationError as again:  # no field is wrong by itself
        return _rejected(again.errors(include_url=False, include_input=False))
    return Taken(event, tuple(unread))


def _known(model: type[BaseModel], fields: dict[str, Any]) -> dict[str, Any]:
    """Without what the model does not know, which need not be anything that can be written again."""
    inner = nested(model)
    return {
        name: _known(inner[name], value) if name in inner and isinstance(value, dict) else value
        for name, value in fields.items()
        if name in model.model_fields
    }


def _spoilt(model: type[BaseModel], fields: dict[str, Any], loc: tuple[int | str, ...]) -> str:
    """Put the fallback in place of the field at `loc`; its name. Only what cannot be read is lost of a nested one."""
    name = str(loc[0])
    inner = nested(model).get(name)
    if inner is not None and len(loc) > 1 and loc[1] in inner.model_fields:
        return f"{name}.{_spoilt(inner, fields[name], loc[1:])}"
    fallback = fallbacks(model)[name]
    if fallback is _LEFT_OUT:
        fields.pop(name, None)
    else:
        fields[name] = fallback
    return name


def _rejected(faults: list[ErrorDetails]) -> Rejected:
    reasons = [_REASON_OF_ERROR.get(fault["type"], Rejection.WRONG_TYPE) for fault in faults]
    worst = min(reasons, key=_PRECEDENCE.index)
    texts = [f"{'.'.join(map(str, fault['loc'])) or 'value'}: {fault['msg']}" for fault in faults[:5]]
    return Rejected(worst, "; ".join(texts)[:500])
