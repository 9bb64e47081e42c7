"""The published contract: JSON Schema 2020-12 for everything that crosses the border, one AsyncAPI 3 document, and JSON
Schema of the rule files.

Enters: the models of the core, what the readers of rule files use. Leaves: file name -> text, the same files in a
directory, or how a directory differs.
Holds: the files say what the models say: inbound ones what is right to send, outbound ones what is published. What the
engine makes of a field that is not right, they say in words. Two limits of JSON Schema are known: it takes 5.0 for an
integer, which the engine does not, and it knows no rule across two fields.
"""

from __future__ import annotations

import inspect
import io
import json
from pathlib import Path
from typing import Any, Final, cast, get_args

from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

from engine.core.client.record import PUBLIC_FIELDS
from engine.core.contract.events import ClientType, DeclaredEvent, Event
from engine.core.contract.outbound import OUTBOUND, OUTBOUND_MODEL, TOPIC_OF_KIND, Rejection, TierChange
from engine.core.contract.topics import DEAD_LETTERS, EVENTS, TOPICS, Kinds, inbound_topics
from engine.core.reading.decode import NONE_DECLARED
from engine.core.rules.ruleset import RuleSet
from engine.rulefile.schema.schema import rule_file_schemas

BASE: Final = "https://engage.example/schemas"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
REMEDY: Final = "run `engage schemas` and commit the result"
RFC3339_PATTERN: Final = r"^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$"
DATE_TIME: Final[dict[str, Any]] = {"type": "string", "format": "date-time", "pattern": RFC3339_PATTERN}
DECIMAL_TEXT: Final[dict[str, Any]] = {"type": "string", "pattern": r"^-?\d+(\.\d+)?$"}
RULE_FILES: Final = "rule-files"

Schema = dict[str, Any]


def inbound_file(topic: str) -> str:
    return f"event-{topic}.json"


def declared_file(name: str) -> str:
    return f"event-{EVENTS}-{name.replace('_', '-')}.json"


def outbound_file(topic: str) -> str:
    return f"{topic}.json"


def _tidy(node: Any) -> Any:
    """Take out what pydantic writes for its own sake (titles of fields) and state times as exactly as they are."""
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    out = {key: _tidy(value) for key, value in node.items() if not (key == "title" and isinstance(value, str))}
    if out.get("format") == "date-time":
        out["pattern"] = RFC3339_PATTERN
    return out


def _from_model(name: str, title: str, model: type[BaseModel], mode: str) -> Schema:
    raw = model.model_json_schema(mode=cast(Any, mode))
    return {"$schema": DIALECT, "$id": f"{BASE}/{name}", "title": title, **_tidy(raw)}


def _inbound(topic: str) -> Schema:
    model = TOPICS[topic].model if topic in TOPICS else DeclaredEvent
    return _of_event(inbound_file(topic), f"{model.__name__} event", model)


def _of_event(name: str, title: str, model: type[Event]) -> Schema:
    schema = _from_model(name, title, model, "validation")
    schema["properties"]["time"]["description"] += " RFC 3339 with an offset, or integer epoch milliseconds."
    for field in schema["properties"].values():
        if field.get("default", ...) is None:  # null is said, absent is not: neither stands for the other
            del field["default"]
    schema["description"] += f"\n\n{_what_cannot_be_read(model)}"
    return schema


def _what_cannot_be_read(model: type[Event]) -> str:
    needed = ", ".join(name for name in model.model_fields if name in model.essential)
    unsaid = ", ".join(name for name in model.model_fields if name in model.unsaid)
    also = f" ({unsaid}: as not said)" if unsaid else ""
    return (
        f"A record without a legible {needed} is a dead letter. Any other field that cannot be read, since it has "
        f"another type, is out of its range or not in its list, costs itself alone: it is taken as unknown, or as "
        f"`other` where its list has that{also}, and counted in engage_unread_fields_total."
    )


def _outbound(topic: str) -> Schema:
    model = OUTBOUND_MODEL[topic]
    kind = next((kind for kind, kinds_topic in TOPIC_OF_KIND.items() if kinds_topic == topic), None)
    title = "Tier change" if model is TierChange else cast(str, kind).capitalize()
    schema = _from_model(outbound_file(topic), title, model, "serialization")
    if kind is not None:
        schema["properties"]["kind"] = {"const": kind}
    for part in (schema, *schema.get("$defs", {}).values()):
        part.pop("additionalProperties", None)
    schema["description"] += " Fields may be added: ignore those that you do not know."
    return schema


def _object(name: str, title: str, description: str, properties: Schema, required: list[str]) -> Schema:
    head = {"$schema": DIALECT, "$id": f"{BASE}/{name}", "title": title, "description": description}
    return {**head, "type": "object", "properties": properties, "required": required}


def _field(schema: Schema, description: str) -> Schema:
    return {**schema, "description": description}


def _dead_letter_headers() -> Schema:
    integer = {"type": "string", "pattern": r"^\d+$"}
    properties = {
        "engage_reason": _field({"type": "string", "enum": list(Rejection)}, "Why the record was not accepted."),
        "engage_error": _field({"type": "string"}, "What is wrong, for a person; repeats no value of the record."),
        "engage_topic": _field({"type": "string", "minLength": 1}, "The topic that the record came from."),
        "engage_partition": _field(integer, "Its partition."),
        "engage_offset": _field(integer, "Its offset."),
        "engage_timestamp": _field(
            {"type": "string", "pattern": r"^-?\d+$"}, "Its time in epoch milliseconds; -1 without."
        ),
    }
    required = list(properties)
    properties["engage_encoding"] = _field({"const": "gzip"}, "Key and value are packed: they were over 15 MB.")
    description = (
        "Kafka headers of a record on `dead-letters`, each UTF-8 text. "
        "The record's key and value are the original's, byte for byte."
    )
    name = "dead-letter-headers.json"
    return _object(name, "Headers of a dead letter", description, properties, required)


def _client_record() -> Schema:
    def field(schema: Schema, description: str) -> Schema:
        return {"anyOf": [schema, {"const": ""}], "description": description}

    number = {"type": "string", "pattern": r"^-?\d+(\.\d+)?(e[+-]?\d+)?$"}
    fields = {
        "tier": field({"type": "string"}, "A tier of the active rules, or the type of an institution."),
        "tier_since": field(DATE_TIME, "When the client came into this tier."),
        "client_type": field({"type": "string", "enum": list(get_args(ClientType))}, "From the last profile."),
        "segment": field({"type": "string"}, "The first segment of the rules that held at the last event."),
        "value_score": field(number, "The rules' value score, a number as text."),
        "advisor": field({"type": "string"}, "Id of the advisor in charge."),
        "assets_cny": field(DECIMAL_TEXT, "Total assets at the last balance event, exact decimal in CNY."),
        "updated_at": _field(DATE_TIME, "Time of the client's last event, or of what was due since."),
    }
    properties = {name: fields[name] for name in PUBLIC_FIELDS}
    description = (
        "Public fields of a client's Redis hash, key `{engage:<p>}:client:<client id>`, p being the partition: "
        "murmur2(client id) mod partitions, as Kafka's Java producer does. Redis hashes hold text, so every value is "
        "text; it is empty while not known. Other fields are the engine's own and may change."
    )
    return _object("client-record.json", "Client record in Redis", description, properties, list(properties))


def _headers(topic: str, type_name: str) -> Schema:
    """CloudEvents 1.0, Kafka binary mode."""
    properties = {
        "ce_specversion": {"const": "1.0"},
        "ce_id": _field({"type": "string", "pattern": "^[0-9a-f]{32}$"}, "The record's `id`."),
        "ce_source": {"type": "string", "format": "uri-reference"},
        "ce_type": {"const": f"engage.{type_name}.v1"},
        "ce_time": _field(DATE_TIME, "The record's `time`."),
        "ce_subject": _field({"type": "string"}, "The client id."),
        "ce_dataschema": {"const": f"{BASE}/{outbound_file(topic)}"},
        "content-type": {"const": "application/json"},
    }
    return {"type": "object", "properties": properties, "required": list(properties)}


_KEY: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 64, "description": "The client id, UTF-8."}

_INFO: Final = """\
Events come in, tier changes and actions go out. All topics may carry a configured prefix.

Keys are client ids. Inbound topics all have the same number of partitions, and records are partitioned by murmur2 of
the key: the default of Kafka's Java producer; with librdkafka set `partitioner=murmur2_random`. A record found on
another partition is moved to its own, but its order against the client's other records is then not kept.

Outbound records and dead letters are published in transactions: consumers must set `isolation.level=read_committed`
(not the default of Kafka's Java consumer), else they also see records of aborted transactions.

Money is integer fen (1 CNY = 100 fen) where a field ends in `_fen` and an exact decimal text where it ends in `_cny`.
In inbound records a field that is absent says nothing, and null says that it is unknown now. Unknown fields are
ignored; known ones are strict: an integer is written without a decimal point. A field that cannot be read costs the
record only where the event means nothing without it (each schema says which those are).
"""


def _message(name: str, title: str, payload: Schema, **more: Any) -> Schema:
    kafka = {"kafka": {"key": _KEY, "bindingVersion": "0.5.0"}}
    return {
        "name": name,
        "title": title,
        "contentType": "application/json",
        "payload": payload,
        **more,
        "bindings": kafka,
    }


def _json_schema_file(name: str) -> Schema:
    return {"schemaFormat": f"application/schema+json;version={DIALECT}", "schema": {"$ref": f"./{name}"}}


def _summary(model: type[BaseModel]) -> str:
    return str(inspect.getdoc(model)).partition("\n\n")[0].replace("\n", " ")


def asyncapi(declared: Kinds = NONE_DECLARED) -> Schema:
    """The AsyncAPI 3.0.0 document, from the engine's side: it receives events and sends decisions. With the types that
    a rule set declares, each is a message of its own.
    """
    channels: Schema = {}
    operations: Schema = {}

    def add(topic: str, message_name: str, message: Schema, action: str, description: str) -> None:
        found = channels.setdefault(topic, {"address": topic, "description": description, "messages": {}})
        found["messages"][message_name] = message
        channel = {"$ref": f"#/channels/{topic}"}
        messages = [{"$ref": f"#/channels/{topic}/messages/{name}"} for name in found["messages"]]
        operations[f"{action}-{topic}"] = {"action": action, "channel": channel, "messages": messages}

    for topic in TOPICS if declared else inbound_topics():
        inbound = TOPICS[topic].model if topic in TOPICS else DeclaredEvent
        name = inbound.__name__
        message = _message(name.lower(), f"{name} event", _json_schema_file(inbound_file(topic)))
        add(topic, name.lower(), message, "receive", _summary(inbound))
    for name, declared_type in declared.items():
        model = declared_type.model
        message = _message(name, f"{model.__name__} event", _json_schema_file(declared_file(name)))
        add(EVENTS, name, message | {"summary": _summary(model)}, "receive", _summary(DeclaredEvent))
    kind_of = {topic: kind for kind, topic in TOPIC_OF_KIND.items()}
    for topic in OUTBOUND:
        kind = kind_of.get(topic, "tier-change")
        headers = _headers(topic, kind)
        message = _message(kind, kind.capitalize(), _json_schema_file(outbound_file(topic)), headers=headers)
        add(topic, kind, message, "send", f"{str(OUTBOUND_MODEL[topic].__doc__).split('.')[0]}.")
    dead_letter = _message(
        "dead-letter",
        "Dead letter",
        {"description": "The original value, byte for byte; it need not be JSON."},
        headers=_json_schema_file("dead-letter-headers.json"),
    )
    dead_letter["contentType"] = "application/octet-stream"
    dead_letter["bindings"]["kafka"]["key"] = {
        "description": "The original key, byte for byte; absent when it had none."
    }
    add(DEAD_LETTERS, "dead-letter", dead_letter, "send", "Inbound records that were not accepted, with the reason.")
    server = {
        "host": "{kafka}",
        "protocol": "kafka",
        "description": "Your Kafka cluster.",
        "variables": {"kafka": {"default": "localhost:9092", "description": "HOST:PORT of a broker"}},
    }
    info = {"title": "Engage", "version": "1.0.0", "description": LiteralScalarString(_INFO)}
    head = {"asyncapi": "3.0.0", "id": "urn:engage", "info": info, "defaultContentType": "application/json"}
    return {**head, "servers": {"kafka": server}, "channels": channels, "operations": operations}


def generate(rule_set: RuleSet | None = None) -> dict[str, str]:
    """File name -> text of every file under schemas/; those of rule files with the names of a rule set."""
    declared = NONE_DECLARED if rule_set is None else rule_set.declared_types
    schemas = {inbound_file(topic): _inbound(topic) for topic in inbound_topics()}
    schemas |= {
        declared_file(name): _of_event(declared_file(name), f"{kind.model.__name__} event", kind.model)
        for name, kind in declared.items()
    }
    schemas |= {outbound_file(topic): _outbound(topic) for topic in OUTBOUND}
    schemas |= {"dead-letter-headers.json": _dead_letter_headers(), "client-record.json": _client_record()}
    schemas |= {f"{RULE_FILES}/{name}": schema for name, schema in rule_file_schemas(rule_set, BASE).items()}
    files = {name: json.dumps(schema, indent=2, ensure_ascii=False) + "\n" for name, schema in schemas.items()}
    yaml = YAML()
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.ignore_aliases = lambda *_: True
    out = io.StringIO()
    yaml.dump(asyncapi(declared), out)
    return files | {"asyncapi.yaml": out.getvalue()}


def write(directory: Path, rule_set: RuleSet | None = None) -> list[str]:
    """Make the directory's schema files be those generated; the names of the files written or removed."""
    (directory / RULE_FILES).mkdir(parents=True, exist_ok=True)
    files = generate(rule_set)
    changed = []
    for name, text in files.items():
        path = directory / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            changed.append(name)
    for path in _strangers(directory, files):
        path.unlink()
        changed.append(path.relative_to(directory).as_posix())
    return changed


def check(directory: Path, rule_set: RuleSet | None = None) -> list[str]:
    """What differs between the directory and what the models say, a line each, with the remedy; empty when nothing."""
    files = generate(rule_set)
    faults = []
    for name, text in files.items():
        path = directory / name
        if not path.exists():
            faults.append(f"{path}: missing; {REMEDY}")
        elif path.read_text(encoding="utf-8") != text:
            faults.append(f"{path}: differs from the models; {REMEDY}")
    faults += [f"{path}: belongs to no model; {REMEDY}" for path in _strangers(directory, files)]
    return faults


def _strangers(directory: Path, files: dict[str, str]) -> list[Path]:
    found = [
        path
        for place in ("", f"{RULE_FILES}/")
        for end in ("json", "yaml")
        for path in directory.glob(f"{place}*.{end}")
    ]
    return sorted(path for path in found if path.relative_to(directory).as_posix() not in files)
