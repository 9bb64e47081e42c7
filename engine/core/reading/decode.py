"""Bytes to events.

Enters: one record's key, value and timestamp, and what a rule set declares. Leaves: Taken with the Event, or Rejected
with the reason.
Holds: never raises, whatever the bytes; each record is judged alone, so that a bad one cannot harm its batch. A field
that cannot be read costs itself alone, unless the event means nothing without it: the event is the one that the record
would have been with that field unknown. What a record grants (consents) is never more than it says legibly. A record
has one meaning: a key twice refuses it, and a number that no float keeps is not read as another.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import cache, partial
from typing import Any, Final, get_args

import msgspec
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, to_json

from engine.core.contract.corrections import Correction
from engine.core.contract.events import AS_NUMBER, DeclaredEvent, Event
from engine.core.contract.fields import DATE, Instead
from engine.core.contract.outbound import Rejection
from engine.core.contract.topic import Topic, nested
from engine.core.contract.topics import EVENTS, EVENTS_RANK, OWN, TOPICS, Kinds
from engine.core.reading import corrections, envelopes, likeness, surroundings

MAX_EVENT_BYTES: Final = 65_536
FUTURE_TOLERANCE_MS: Final = 300_000

_REASON_OF_ERROR: Final = {
    "json_invalid": Rejection.NOT_JSON,
    "missing": Rejection.MISSING_FIELD,
    "nothing_said": Rejection.MISSING_FIELD,
    "incomplete": Rejection.MISSING_FIELD,
    "contradiction": Rejection.OUT_OF_RANGE,
    "literal_error": Rejection.UNKNOWN_VALUE,
    "currency": Rejection.UNKNOWN_VALUE,
    "greater_than": Rejection.OUT_OF_RANGE,
    "greater_than_equal": Rejection.OUT_OF_RANGE,
    "less_than": Rejection.OUT_OF_RANGE,
    "less_than_equal": Rejection.OUT_OF_RANGE,
    "finite_number": Rejection.OUT_OF_RANGE,
    "time_range": Rejection.OUT_OF_RANGE,
    "string_too_short": Rejection.OUT_OF_RANGE,
    "string_too_long": Rejection.OUT_OF_RANGE,
}
_OF_ALL: Final = ("incomplete", "contradiction")  # about several fields, which the text names
_PRECEDENCE: Final = list(Rejection)


NONE_DECLARED: Final[Kinds] = {}
_LEFT_OUT: Final = object()  # stands for a field that is not said


class Taken(msgspec.Struct, frozen=True, gc=False):
    """A record that is an event. `unread` names the fields, such as "time_zone" or "consents.sms", that could not be
    read and are taken as unknown.
    """

    event: Event
    unread: tuple[str, ...] = ()


class Rejected(msgspec.Struct, frozen=True, gc=False):
    """A record that is not an event. `error` says what to mend and repeats no value of the record."""

    reason: Rejection
    error: str


# topic, key, value, record time
Decode = Callable[[str, bytes | None, bytes | None, int], Taken | Rejected]


def decode(
    topic: str, key: bytes | None, value: bytes | None, timestamp_ms: int, declared: Kinds = NONE_DECLARED
) -> Taken | Rejected:
    """Read one record of an inbound topic. A negative `timestamp_ms` means that the record carries none."""
    if not key or not value or len(value) > MAX_EVENT_BYTES:
        return _bare(key, value)
    known = _declared(value, declared) if topic == EVENTS else TOPICS.get(topic) or declared[topic]
    unread: tuple[str, ...] = ()
    event = known.quick.read(value, envelopes.may_be, len(TOPICS)) if known.quick is not None else None
    if event is None:
        found = _validated(known, value)
        if isinstance(found, Rejected):
            return found
        event, unread = found.event, found.unread
        if isinstance(event, Correction):
            made = corrections.read(event, partial(_within, declared))
            if isinstance(made, tuple):
                return Rejected(*made)
            event = made
        if known.quick is not None:
            event = known.quick.of(event)
    if topic == EVENTS:
        if known is _UNDECLARED:
            return _unknown_type(event, declared)
        unread = tuple(f"{known.name}.{name}" for name in unread)
    if event.client_id.encode() != key:
        return _key_mismatch(key, event.client_id)
    if 0 <= timestamp_ms < event.time - FUTURE_TOLERANCE_MS and topic not in OWN:
        return Rejected(
            Rejection.FUTURE,
            f"time lies {(event.time - timestamp_ms) // 1000} s after the record's own time; at most "
            f"{FUTURE_TOLERANCE_MS // 1000} s are tolerated: check the producer's clock",
        )
    return Taken(event, unread)


def _bare(key: bytes | None, value: bytes | None) -> Rejected:
    """A record that is not read at all."""
    if value is not None and len(value) > MAX_EVENT_BYTES:
        return Rejected(
            Rejection.TOO_LARGE, f"the value has {len(value)} bytes, at most {MAX_EVENT_BYTES} are accepted"
        )
    if not key:
        return Rejected(Rejection.NO_KEY, "the record has no key; its key must be the client's id")
    return Rejected(
        Rejection.NO_VALUE, "the record has no value (a tombstone): a client cannot be deleted this way; send none"
    )


def _validated(known: Topic, value: bytes) -> Taken | Rejected:
    """What the topic's model makes of a value."""
    fractions: list[str] = []  # numbers written with a point or an exponent
    try:
        event = known.validate(value, context=fractions)
        # Each key has a colon (58). If there are no more colons than fields were read, no key is there twice, and none
        # that the contract does not name
        if (value.count(58) == len(event.__pydantic_fields_set__) and not fractions) or _is_clear(known, event, value):
            return Taken(event)
        return _with_care(known, value, [], fractions) or Taken(event)
    except ValidationError as error:
        found = _with_care(known, value, _faults(error), fractions)
        assert found is not None  # it names the faults
        return found


def _within(declared: Kinds, topic: str, key: bytes, value: bytes) -> Event | envelopes.Found:
    """An event that a correction repeats."""
    found = decode(topic, key, value, -1, declared)
    return found.event if isinstance(found, Taken) else (found.reason, found.error)


def kind_of(topic: str, event: Any) -> str:
    """What rules, states and causes call an event: the topic that it came on, or its declared type."""
    name: str = event.type if topic == EVENTS else topic
    return name


# -- what a rule set declares ------------------------------------------------------------------------------------------

_UNDECLARED: Final = Topic(EVENTS, EVENTS_RANK, "event", "event", DeclaredEvent)
_TYPE: Final = re.compile(rb'"type"[ \t\r\n]*:[ \t\r\n]*"([a-z0-9_]{1,64})"')


def _declared(value: bytes, declared: Kinds) -> Topic:
    """The declared type that a record says it is of. Its model asks for `type` again, so that it is never another."""
    if value.count(b'"type"') == 1:
        found = _TYPE.search(value)
        name: object = found[1].decode() if found else None
    else:  # one of an object within too, or written in another way
        try:
            fields, _ = _read(value.decode().lstrip())
            name = fields.get("type")
        except Exception:  # whatever is wrong with it is said by whoever reads it as an event
            name = None
    return declared.get(name, _UNDECLARED) if isinstance(name, str) else _UNDECLARED


def _unknown_type(event: Event, declared: Kinds) -> Rejected:
    close = difflib.get_close_matches(getattr(event, "type", ""), declared, n=1)
    meant = f" (is it {close[0]}?)" if close else ""
    return Rejected(
        Rejection.UNKNOWN_TYPE,
        f"the active rules declare no such type{meant}: declare it in events.yaml, publish, then resend",
    )


def _key_mismatch(key: bytes, client_id: str) -> Rejected:
    found = surroundings.of_key(key, client_id)
    text = "the record's key is not its client_id; key every record by client_id"
    return Rejected(Rejection.KEY_MISMATCH, f"{text}: {found}" if found else text)


# -- what is read twice ------------------------------------------------------------------------------------------------

_BLANKS: Final = b" \t\r\n"
_DIGITS: Final = bytes.maketrans(b"123456789.-", b"00000000000")
_LONG: Final = b":" + 16 * b"0"  # a number of more digits than any float keeps


def _is_clear(topic: Topic, event: Event, value: bytes) -> bool:
    """Whether the value says nothing but the event, each field once: it need not be read again.

    Times have colons too, but without blanks only keys are followed by `":`.
    """
    said = len(event.__pydantic_fields_set__)
    for name in topic.nested:
        inner = getattr(event, name)
        if inner is not None:
            said += len(inner.__pydantic_fields_set__)
    shape = value.translate(_DIGITS, _BLANKS)
    return shape.count(b'":') == said and _LONG not in shape


class _TwiceError(Exception):
    """A key stands twice in one object; the key is its argument."""


class _Inexact:
    """Stands for a number that no float keeps."""


_INEXACT: Final = _Inexact()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceError(next(name for name in names if names.count(name) > 1))
    return fields


def _number(text: str) -> float | _Inexact:
    number = float(text)
    if len(text) <= 16 or not math.isfinite(number) or number == 0:
        return number
    return number if Decimal(repr(number)) == Decimal(text) else _INEXACT


_read: Final = json.JSONDecoder(object_pairs_hook=_object, parse_float=_number).raw_decode


def _with_care(topic: Topic, value: bytes, faults: list[ErrorDetails], fractions: list[str]) -> Taken | Rejected | None:
    """Read a value again that is not clear, or in which pydantic found faults. None: the event is as it was read."""
    if faults and faults[0]["type"] == "json_invalid":
        return _not_json(value, faults[0]["msg"])
    try:
        fields, _ = _read(value.decode().lstrip())
    except _TwiceError as twice:
        return _twice(topic, twice.args[0])
    except (ValueError, RecursionError):  # this parser's limits are the process's, not those of pydantic's
        return Rejected(Rejection.NOT_JSON, "a number of too many digits, or objects nested too deeply")
    if not isinstance(fields, dict):
        return Rejected(*envelopes.of_value(fields))
    may_fall, needed = fallbacks(topic.model), topic.model.needed
    fatal = [f for f in faults if f["loc"][0] not in may_fall or (f["type"] == "missing" and f["loc"][0] in needed)]
    missing = any(fault["type"] == "missing" for fault in fatal)
    if missing:
        found = envelopes.of_object(topic, fields)
    else:  # what a declared event is, its type says
        found = None if topic.rank == EVENTS_RANK else envelopes.of_event(topic, fields)
    if found is not None:
        return Rejected(*found)
    if fatal:
        return _rejected(fatal, fields)
    places: list[tuple[int | str, ...]] = [fault["loc"] for fault in faults]
    if fractions:
        places += _inexact(topic.model, fields)
    return _leniently(topic.model, fields, places) if places else None


def _faults(error: ValidationError) -> list[ErrorDetails]:
    faults = error.errors(include_url=False, include_input=False)
    return [fault for fault in faults if fault["loc"][-1:] != (AS_NUMBER,)]


def _not_json(value: bytes, parser_says: str) -> Rejected:
    found = likeness.of_value(value, parser_says)
    return Rejected(Rejection.NOT_JSON, found or f"not JSON: {parser_says.removeprefix('Invalid JSON: ')}")


def _twice(topic: Topic, name: str) -> Rejected:
    known = name in topic.model.model_fields or any(
        name in inner.model_fields for inner in nested(topic.model).values()
    )
    called = f"the key {name}" if known else "a key that the contract does not name"
    return Rejected(
        Rejection.DUPLICATE_KEY, f"{called} stands twice in one object, so it is not clear which counts: send it once"
    )


def _inexact(model: type[BaseModel], fields: dict[str, Any]) -> list[tuple[str, ...]]:
    """The places of numbers that no float keeps."""
    found = [(name,) for name, value in fields.items() if value is _INEXACT and name in model.model_fields]
    return [
        *found,
        *(
            (name, *place)
            for name, inner in nested(model).items()
            if isinstance(fields.get(name), dict)
            for place in _inexact(inner, fields[name])
        ),
    ]


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


def _leniently(model: type[Event], fields: dict[str, Any], places: Sequence[tuple[int | str, ...]]) -> Taken | Rejected:
    """The event with what stands at these places taken as unknown."""
    kept = _known(model, fields)
    unread = {_spoilt(model, kept, place): None for place in places}  # in order, each once
    try:
        event: Event = model.__pydantic_validator__.validate_json(to_json(kept))
    except ValidationError as again:  # no field is wrong by itself
        return _rejected(_faults(again), kept)
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


def _rejected(faults: list[ErrorDetails], fields: dict[str, Any]) -> Rejected:
    reasons = [_REASON_OF_ERROR.get(fault["type"], Rejection.WRONG_TYPE) for fault in faults]
    worst = min(reasons, key=_PRECEDENCE.index)
    places = ("" if fault["type"] in _OF_ALL else f"{fault['loc'][0]}: " for fault in faults[:5])
    texts = [place + _said(fault, fields) for place, fault in zip(places, faults, strict=False)]
    return Rejected(worst, "; ".join(texts)[:500])


def _said(fault: ErrorDetails, fields: dict[str, Any]) -> str:
    """What is wrong with a field, where more can be said than pydantic does."""
    value = fields.get(str(fault["loc"][0]))
    match fault["type"]:
        case "int_type" | "int_from_float" | "finite_number" if isinstance(value, float | _Inexact):
            if isinstance(value, float) and not math.isfinite(value):
                return "NaN, Infinity or beyond every float; send a whole number"
            return "a number with a point or an exponent; send a whole number, as digits alone"
        case "int_type" if isinstance(value, str):
            return "a text; send the number without quotes"
        case "string_pattern_mismatch" if fault["ctx"]["pattern"] == DATE:
            return "no such day; write 2026-03-02"
        case "string_pattern_mismatch" if isinstance(value, str):
            return f"{_odd(value)}; ids are printable ASCII without blanks"
    return fault["msg"]


def _odd(text: str) -> str:
    """The first character that no id has, by its kind."""
    odd = next((letter for letter in text if not "!" <= letter <= "~"), "")
    if odd == " ":
        return "a blank"
    return "a control character" if odd < " " or odd == "\x7f" else "a character that is not ASCII"
