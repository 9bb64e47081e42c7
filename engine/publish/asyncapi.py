"""The AsyncAPI 3 document, from the engine's side: it receives events and sends decisions.

Enters: the JSON Schemas of what crosses the border. Leaves: one document that needs no other file.
Holds: what a generator of classes makes a class of has a name here, so that none is called AnonymousSchema_12: each
record, each part of one, each list of values. Fields say the same as in the JSON Schemas, in the form of which
generators make plain types: several types of a field are one list. No dialect is named: what is used here is in all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, Final, Literal, get_args, get_origin

from ruamel.yaml.scalarstring import LiteralScalarString

from engine.core.contract import events, outbound
from engine.core.contract.outbound import CARE, CARED_KINDS, LEAVES, RETRACTION, TOPIC_OF_KIND, WORK_KINDS
from engine.core.contract.topics import ADVISORS, DEAD_LETTERS, EVENTS

Schema = dict[str, Any]

_LISTS: Final = {  # values -> the name that the contract has for them
    get_args(literal): name
    for module in (events, outbound)
    for name, literal in vars(module).items()
    if get_origin(literal) is Literal
} | {tuple(outcome.value for outcome in outbound.Outcome): "DecisionOutcome"}
_INFO: Final = """\
Events come in, tier changes and actions go out. All topics may carry a configured prefix.

Keys are client ids. Inbound topics all have the same number of partitions, and records are partitioned by murmur2 of
the key: the default of Kafka's Java producer; with librdkafka set `partitioner=murmur2_random`. A record found on
another partition is moved to its own, but its order against the client's other records is then not kept.

Outbound records and dead letters are published in transactions: consumers must set `isolation.level=read_committed`
(not the default of Kafka's Java consumer), else they also see records of aborted transactions.

A record on the topic of an action whose header `ce_type` is `engage.retraction.v1` retracts the action that its header
`ce_retracts` names: the event that had led to it was corrected. One whose `ce_type` is `engage.care.v1` says of the
action that its header `ce_follows` names that it is reminded of, overdue, escalated, or that it has ended.

Money is integer fen (1 CNY = 100 fen) where a field ends in `_fen` and an exact decimal text where it ends in `_cny`.
In inbound records a field that is absent says nothing, and null says that it is unknown now. Unknown fields are
ignored; known ones are strict: an integer is written without a decimal point. A field that cannot be read costs the
record only where the event means nothing without it (each schema says which those are).
"""
_LEAVES: Final = "When it leaves the work lists, if nobody has accepted it by then; absent where a rule waits for it."


def document(
    inbound: Mapping[str, Schema],
    declared: Mapping[str, Schema],
    sent: Mapping[str, Schema],
    retraction: Schema,
    care: Schema,
    dead_letter_headers: Schema,
) -> Schema:
    """Of the schemas of inbound topics, of declared types by name, of outbound topics, of what retracts an action. With
    declared types, each is a message of its own.
    """
    schemas: Schema = {
        "ClientId": {"title": "ClientId", "type": "string", "minLength": 1, "maxLength": 64}
        | {"description": "The client id, UTF-8."}
    }
    messages: Schema = {}
    channels: Schema = {}
    operations: Schema = {}

    def add(topic: str, name: str, action: str, description: str, message: Schema) -> None:
        messages[name] = {"name": name, "title": _words(name), **message}
        channel = channels.setdefault(topic, {"address": topic, "description": description, "messages": {}})
        channel["messages"][name] = {"$ref": f"#/components/messages/{name}"}
        uses = [{"$ref": f"#/channels/{topic}/messages/{name}"} for name in channel["messages"]]
        operations[f"{action}-{topic}"] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{topic}"},
            "messages": uses,
        }

    for schema in (
        *inbound.values(),
        *sent.values(),
        retraction,
        care,
    ):  # first, since a firm may call its own what we call ours
        _put(schema, schemas)
    for topic, schema in inbound.items():
        said = _summary(schema)
        if topic == EVENTS and declared:
            for own in declared.values():
                named = own | {"title": _free(own["title"], "Event", {}, schemas)}
                message = {"summary": _summary(own), **_json(_put(named, schemas))}
                add(topic, named["title"], "receive", said, message)
        else:
            message = _json(_put(schema, schemas))
            if topic == ADVISORS.name:
                message["bindings"] = _bindings({"type": "string", "description": "The advisor's pool, UTF-8."})
            add(topic, schema["title"], "receive", said, message)
    kind_of = {topic: kind for kind, topic in TOPIC_OF_KIND.items()}
    for topic, schema in sent.items():
        name = schema["title"]
        headers = _headers(f"{name}Headers", kind_of.get(topic, topic.removesuffix("s")), schema)
        if kind_of.get(topic) in WORK_KINDS:
            headers["properties"][LEAVES] = schema["properties"]["time"] | {"description": _LEAVES}
        message = {"headers": _put(headers, schemas), **_json(_put(schema, schemas))}
        said = f"{schema['description'].partition('.')[0]}."
        add(topic, name, "send", said, message)
        if topic in kind_of:
            add(
                topic,
                retraction["title"],
                "send",
                said,
                _about(retraction, RETRACTION, ("ce_retracts", "action_id"), schemas),
            )
        if kind_of.get(topic) in CARED_KINDS:
            add(topic, care["title"], "send", said, _about(care, CARE, ("ce_follows", "follows"), schemas))
    dead_letter = {
        "description": "Its value is the original value, byte for byte; it need not be JSON.",
        "headers": _put(dead_letter_headers | {"title": "DeadLetterHeaders"}, schemas),
        "contentType": "application/octet-stream",
        "bindings": _bindings({"description": "The original key, byte for byte; absent when it had none."}),
    }
    said = "Inbound records that were not accepted, with the reason."
    add(DEAD_LETTERS, "DeadLetter", "send", said, dead_letter)
    server = {
        "host": "{kafka}",
        "protocol": "kafka",
        "description": "Your Kafka cluster.",
        "variables": {"kafka": {"default": "localhost:9092", "description": "HOST:PORT of a broker"}},
    }
    info = {"title": "Engage", "version": "1.0.0", "description": LiteralScalarString(_INFO)}
    head = {"asyncapi": "3.0.0", "id": "urn:engage", "info": info, "defaultContentType": "application/json"}
    components = {"messages": messages, "schemas": schemas}
    return {**head, "servers": {"kafka": server}, "channels": channels, "operations": operations} | {
        "components": components
    }


def _put(schema: Schema, schemas: Schema) -> Schema:
    """Put a record's schema, its parts and its lists of values among the schemas; the reference to it."""
    for name, part in _parts(schema):
        fields = {field: _named(f"{name}{_pascal(field)}", said, schemas) for field, said in part["properties"].items()}
        kept = {key: value for key, value in part.items() if key not in ("$schema", "$id", "$defs")}
        schemas[name] = {"title": name} | kept | {"properties": fields}
    return _reference(schema["title"])


def _parts(schema: Schema) -> Iterator[tuple[str, Schema]]:
    yield schema["title"], schema
    yield from schema.get("$defs", {}).items()


def _named(name: str, said: Schema, schemas: Schema) -> Schema:
    """A field's schema: what generators make a class of by its name, and the rest as one list of types."""
    if "$ref" in said:
        return said | {"$ref": _reference(said["$ref"].rpartition("/")[2])["$ref"]}
    if "enum" in said:
        values = {"type": said["type"], "enum": said["enum"]}
        listed = _free(_LISTS.get(tuple(said["enum"]), name), "Value", values, schemas)
        schemas[listed] = {"title": listed, **values}
        about = {key: value for key, value in said.items() if key not in ("type", "enum")}
        return {"anyOf": [_reference(listed)], **about} if about else _reference(listed)
    if "$ref" in said.get("items", {}):
        return said | {"items": _named(name, said["items"], schemas)}
    if "anyOf" not in said:
        return said
    choices = [_named(name, choice, schemas) for choice in said["anyOf"]]
    about = {key: value for key, value in said.items() if key != "anyOf"}
    if any("type" not in choice for choice in choices):
        return about | {"anyOf": choices}
    merged: Schema = {}
    for choice in choices:  # what limits a number says nothing of a text, and the other way round
        limits = {key: value for key, value in choice.items() if key != "type"}
        assert not limits.keys() & merged.keys(), name
        merged |= limits
    types = [choice["type"] if isinstance(choice["type"], list) else [choice["type"]] for choice in choices]
    return about | {"type": list(dict.fromkeys(chain.from_iterable(types)))} | merged


def _free(name: str, suffix: str, schema: Schema, schemas: Schema) -> str:
    """The name, made longer while another schema has it."""
    while name in schemas and schemas[name] != {"title": name, **schema}:
        name += suffix
    return name


def _headers(name: str, kind: str, schema: Schema) -> Schema:
    """CloudEvents 1.0, Kafka binary mode."""
    properties = {
        "ce_specversion": {"const": "1.0"},
        "ce_id": {"type": "string", "pattern": "^[0-9a-f]{32}$", "description": "The record's `id`."},
        "ce_source": {"type": "string", "format": "uri-reference"},
        "ce_type": {"const": f"engage.{kind}.v1"},
        "ce_time": schema["properties"]["time"] | {"description": "The record's `time`."},
        "ce_subject": {"type": "string", "description": "The client id."},
        "ce_dataschema": {"const": schema["$id"]},
        "content-type": {"const": "application/json"},
    }
    return {"title": name, "type": "object", "properties": properties, "required": list(properties)}


def _about(schema: Schema, type_: str, named_by: tuple[str, str], schemas: Schema) -> Schema:
    """What is said of an action, which a header names as a field does."""
    header, field = named_by
    headers = _headers(f"{schema['title']}Headers", type_, schema)
    headers["properties"][header] = schema["properties"][field]
    headers["required"].append(header)
    return {"headers": _put(headers, schemas), **_json(_put(schema, schemas))}


def _json(payload: Schema) -> Schema:
    return {"payload": payload, "contentType": "application/json", "bindings": _bindings(_reference("ClientId"))}


def _bindings(key: Schema) -> Schema:
    return {"kafka": {"key": key, "bindingVersion": "0.5.0"}}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _summary(schema: Schema) -> str:
    return str(schema["description"]).partition("\n\n")[0].replace("\n", " ")


def _pascal(field: str) -> str:
    return "".join(part.capitalize() for part in field.replace("-", "_").split("_"))


def _words(name: str) -> str:
    """TierChange -> Tier change."""
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip().capitalize()
