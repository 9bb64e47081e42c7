"""What JSON looks like that is not the topic's event: an envelope around it, several at once, another topic's event.

Enters: the topic and the value as read. Leaves: the reason and a sentence that names what it is and what the producer
changes, without any part of the value.
Holds: only records that are refused, or that say something the contract does not name, come here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cache, lru_cache
from typing import Any, Final

from pydantic import BaseModel

from engine.core.contract.outbound import Rejection
from engine.core.contract.topic import COMMON, Topic
from engine.core.contract.topics import EVENTS_RANK, TOPICS
from engine.core.reading.notations import PLAIN, packed

Found = tuple[Rejection, str]
_EVENT: Final = "with event_id, client_id and time in it"
_DEPTH: Final = 4  # envelopes within envelopes


def of_value(value: Any) -> Found:
    """What a value is that is not an object."""
    if isinstance(value, list):
        return Rejection.WRONG_TYPE, "a JSON array, not an object: send each event as a record of its own"
    if isinstance(value, str):
        if isinstance(_unpacked(value), dict | list):
            return Rejection.WRONG_TYPE, "JSON within a JSON string, encoded twice: send the object itself"
        if (notation := packed(value)) is not None:
            return Rejection.WRONG_TYPE, f"{notation} in a JSON string: {PLAIN}, not as {notation}"
    if value is None:
        return (
            Rejection.WRONG_TYPE,
            "the JSON value null, as some producers write a deletion: a client cannot be deleted this way",
        )
    return Rejection.WRONG_TYPE, "JSON, but no object: send an object with the event's fields"


def of_event(topic: Topic, fields: Mapping[str, Any]) -> Found | None:
    """What an object is that could pass as the topic's event since little is needed for one, and is another thing.

    It is another topic's event if all of this topic's fields that it has are that one's too, and that one has more.
    """
    if _own(topic, fields) and may_be(topic.model)(fields):
        return None  # nearly always
    other = _other(topic, fields)
    if other is not None and _own(other, fields) > _own(topic, fields):
        return Rejection.WRONG_TOPIC, _misplaced(other)
    if not _own(topic, fields) and any(_own(topic, inner) for inner in _inner(fields)):
        return _enveloped(
            "an envelope with the event's fields in an object within", "send them beside event_id, client_id and time"
        )
    return None


def of_object(topic: Topic, fields: Mapping[str, Any]) -> Found | None:
    """What an object is in which the topic's fields are missing; None if it is only an event without them."""
    if not fields:
        return Rejection.MISSING_FIELD, f"an empty object: send the event's fields, {_EVENT}"
    if (known := _known(fields)) is not None:
        return known
    needed = {name for name, field in topic.model.model_fields.items() if field.is_required()}
    said = topic.rank == EVENTS_RANK and "type" in fields  # it says itself what it is
    said |= topic.model.model_fields["client_id"].alias is not None and bool(_own(topic, fields))  # of a pool
    if not said and (other := _other(topic, fields)) is not None and set(COMMON) <= fields.keys():
        return Rejection.WRONG_TOPIC, _misplaced(other)
    others = {name: value for name, value in fields.items() if name not in topic.model.model_fields}
    if any(needed & inner.keys() and set(COMMON) & inner.keys() for inner in _inner(others)):
        return _enveloped("an envelope with the event in an object within", "send that object alone")
    unions = [value for value in fields.values() if isinstance(value, dict) and len(value) == 1]
    if any(value.keys() & {"string", "long", "int", "boolean", "double"} for value in unions):
        return Rejection.WRONG_TYPE, f'JSON as Avro writes it ({{"string": ...}}): {PLAIN}, without types'
    if not fields.keys() & set(topic.model.model_fields):
        alike = {_bare(name) for name in fields} & {_bare(name) for name in COMMON}
        if not alike:
            return Rejection.MISSING_FIELD, (
                f"JSON with no field of the contract, so probably another system's: send the event's fields, {_EVENT}"
            )
    absent = [name for name in topic.model.model_fields if name in needed and name not in fields]
    written = {_bare(name) for name in fields}
    misspelt = [name for name in absent if _bare(name) in written]
    if misspelt:
        return Rejection.MISSING_FIELD, (
            f"{', '.join(misspelt)}: the name is written otherwise, such as in capital letters, as eventId or with "
            "blanks: write it as here"
        )
    return None


def _bare(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


# -- another topic's event ---------------------------------------------------------------------------------------------


@cache
def _names(topic: Topic) -> tuple[frozenset[str], frozenset[str]]:
    """Its own fields, and those of them without which it is not complete."""
    own = frozenset(topic.fields)
    return own, frozenset(name for name in own if topic.model.model_fields[name].is_required())


def may_be(model: type[BaseModel]) -> Callable[[Iterable[str]], bool]:
    """Says of an event's keys whether they are not all that another topic's event needs."""
    return _may_be(model, len(TOPICS))


@lru_cache(maxsize=1024)  # declared types have new models in each rule set
def _may_be(model: type[BaseModel], topics: int) -> Callable[[Iterable[str]], bool]:
    """`topics` is how many there are: it is another function when one is added."""
    found: set[str] = set()
    for other in TOPICS.values():
        needed = [name for name in other.fields if name in _names(other)[1] and name not in model.model_fields]
        found |= {needed[0]} if needed else set(other.fields) - model.model_fields.keys()
    return frozenset(found).isdisjoint


def _own(topic: Topic, fields: Mapping[str, Any]) -> frozenset[str]:
    return _names(topic)[0] & fields.keys()


def _other(topic: Topic, fields: Mapping[str, Any]) -> Topic | None:
    """The topic whose event this is: all that it needs is there, and all of `topic`'s fields are its too. Of several,
    the one with most fields.
    """
    shared = _own(topic, fields)
    others = [
        other
        for other in TOPICS.values()
        if other is not topic and shared <= (own := _own(other, fields)) and own and _whole(other, fields)
    ]
    return max(others, key=lambda other: len(_own(other, fields)), default=None)


def _whole(topic: Topic, fields: Mapping[str, Any]) -> bool:
    """Whether all that the topic's event needs is there, and in its list where there is one."""
    return all(
        name in fields and (not (choices := topic.choices(name)) or fields[name] in choices)
        for name in _names(topic)[1]
    )


def _misplaced(other: Topic) -> str:
    article = "an" if other.called[0] in "aeiou" else "a"
    return f"has the fields of {article} {other.called}: send it to the topic {other.name}"


# -- envelopes ---------------------------------------------------------------------------------------------------------


def _enveloped(name: str, remedy: str) -> Found:
    return Rejection.ENVELOPE, f"{name}: {remedy}"


def _has(*names: str, one_of: Collection[str] = ()) -> Callable[[Mapping[str, Any]], bool]:
    return lambda fields: set(names) <= fields.keys() and (not one_of or any(name in fields for name in one_of))


_CDC: Final = "send what is in {}, with the contract's fields"
_AFTER: Final = _CDC.format("after")
_ENVELOPES: Final[tuple[tuple[str, Callable[[Mapping[str, Any]], bool], str], ...]] = (
    (
        "GoldenGate's envelope of a change (op_type, before, after)",
        _has("op_type", one_of=("before", "after", "table")),
        _AFTER,
    ),
    (
        "Debezium's envelope of a change (before, after)",
        _has("after", one_of=("before", "op", "source")),
        f"{_AFTER}; its ExtractNewRecordState does that",
    ),
    ("Debezium's envelope of a change (before, op)", _has("before", "op"), "a deletion is no event: send none"),
    ("Kafka Connect's envelope (schema, payload)", _has("schema", "payload"), "set schemas.enable=false for it"),
    (
        "Canal's envelope of a change (data, database, table)",
        lambda fields: _has("data", "table", "type")(fields) and isinstance(fields["data"], list | None),
        _CDC.format("data") + ", a record for each row",
    ),
    ("Canal's envelope of a change (isDdl)", _has("isDdl"), _CDC.format("data") + ", a record for each row"),
    ("Maxwell's envelope of a change (data, database, table)", _has("data", "table", "type"), _CDC.format("data")),
    ("a CloudEvents envelope (specversion, data)", _has("specversion"), f"send what is in data, {_EVENT}"),
    ("an envelope of AWS DMS (data, metadata)", _has("data", "metadata"), _CDC.format("data")),
    ("MongoDB's envelope of a change (operationType)", _has("operationType"), _CDC.format("fullDocument")),
    ("DynamoDB's envelope of a change (dynamodb)", _has("dynamodb"), _CDC.format("NewImage, without types")),
    ("wal2json's envelope of a change (change)", lambda fields: isinstance(fields.get("change"), list), "send the row"),
    ("wal2json's envelope of a change (action, columns)", _has("action", "columns"), "send the row"),
    ("Qlik Replicate's envelope of a change (message)", _has("message", "headers"), _CDC.format("message.data")),
    ("an SNS notification (Message)", _has("Message", one_of=("TopicArn", "MessageId")), "send what is in Message"),
    ("an EventBridge envelope (detail-type, detail)", _has("detail-type"), f"send what is in detail, {_EVENT}"),
    ("a list of records (Records)", lambda fields: isinstance(fields.get("Records"), list), "send a record for each"),
    ("a call of JSON-RPC", _has("jsonrpc"), f"send what is in params, {_EVENT}"),
)  # fmt: skip


def _known(fields: Mapping[str, Any]) -> Found | None:
    found = next(((name, remedy) for name, holds, remedy in _ENVELOPES if holds(fields)), None)
    if found is None:
        return None
    payload = _unpacked(fields.get("payload"))
    if isinstance(payload, dict) and "schema" in fields and (within := _known(payload)) is not None:
        return _enveloped(f"{found[0]} around another", f"{found[1]}; within it, {within[1]}")
    return _enveloped(*found)


def _inner(fields: Mapping[str, Any], depth: int = _DEPTH) -> Iterator[Mapping[str, Any]]:
    """The objects within, also those in lists and in strings of JSON."""
    for value in fields.values():
        value = _unpacked(value)
        for part in value[:3] if isinstance(value, list) else (value,):
            if isinstance(part, dict):
                yield part
                if depth > 1:
                    yield from _inner(part, depth - 1)


def _unpacked(value: Any) -> Any:
    """JSON in a string, read; anything else as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            pass
    return value
