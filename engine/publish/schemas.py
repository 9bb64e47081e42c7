"""The published contract: JSON Schema 2020-12 for everything that crosses the border, one AsyncAPI 3 document, and JSON
Schema of the rule files.

Enters: the models of the core, what the readers of rule files use. Leaves: file name -> text, the same files in a
directory, or how a directory differs.
Holds: the files say what the models say: inbound ones what is right to send, outbound ones what is published. What the
engine makes of a field that is not right, they say in words. Two limits of JSON Schema are known: it takes 5.0 for an
integer, which the engine does not, and it knows no rule across two fields.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, Final, cast, get_args

from pydantic import BaseModel
from ruamel.yaml import YAML

from engine.core.client.record import PORTRAIT_FIELDS, PUBLIC_FIELDS
from engine.core.contract.events import ClientType, DeclaredEvent, Event
from engine.core.contract.outbound import (
    CARE,
    OUTBOUND,
    OUTBOUND_MODEL,
    RETRACTION,
    SCHEMAS_URL,
    TOPIC_OF_KIND,
    CareStep,
    Outbound,
    Rejection,
    Retraction,
)
from engine.core.contract.topics import ADVISORS, EVENTS, TOPICS, written_topics
from engine.core.reading.decode import NONE_DECLARED
from engine.core.rules.ruleset import RuleSet
from engine.publish import asyncapi
from engine.rulefile.schema.schema import rule_file_schemas

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
    return {"$schema": DIALECT, "$id": name, "title": title, **_tidy(raw)}


def _inbound(topic: str) -> Schema:
    found = ADVISORS if topic == ADVISORS.name else TOPICS.get(topic)
    model = found.model if found is not None else DeclaredEvent
    return _of_event(inbound_file(topic), model)


def _of_event(name: str, model: type[Event]) -> Schema:
    schema = _from_model(name, model.__name__, model, "validation")
    schema["properties"]["time"]["description"] += " RFC 3339 with an offset, or integer epoch milliseconds."
    for field in schema["properties"].values():
        if field.get("default", ...) is None:  # null is said, absent is not: neither stands for the other
            del field["default"]
    schema["description"] += f"\n\n{_what_cannot_be_read(model)}"
    return schema


def _what_cannot_be_read(model: type[Event]) -> str:
    optional = [name for name, field in model.model_fields.items() if not field.is_required()]
    if optional and model.essential.issuperset(optional):
        return "A record with a field that cannot be read is a dead letter."
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
    title = model.__name__ if kind is None else f"{kind.capitalize()}Action"
    schema = _from_model(outbound_file(topic), title, model, "serialization")
    if kind is not None:
        schema["properties"]["kind"] = {"const": kind}
    for part in (schema, *schema.get("$defs", {}).values()):
        part.pop("additionalProperties", None)
        for field in part["properties"].values():
            field.pop("default", None)
    schema["description"] = schema["description"].replace("\n", " ")
    schema["description"] += " Fields may be added: ignore those that you do not know."
    return schema


def _about_action(name: str, model: type[Outbound]) -> Schema:
    schema = _from_model(f"{name}.json", model.__name__, model, "serialization")
    for part in (schema, *schema["$defs"].values()):
        part.pop("additionalProperties", None)
    schema["description"] = schema["description"].replace("\n", " ")
    schema["description"] += " Fields may be added: ignore those that you do not know."
    return schema


def _object(name: str, title: str, description: str, properties: Schema, required: list[str]) -> Schema:
    head = {"$schema": DIALECT, "$id": name, "title": title, "description": description}
    return {**head, "type": "object", "properties": properties, "required": required}


def _field(schema: Schema, description: str) -> Schema:
    return {**schema, "description": description}


def _dead_letter_headers() -> Schema:
    integer = {"type": "string", "pattern": r"^\d+$"}
    properties = {
        "engage_reason": _field(
            {"type": "string", "enum": [reason.value for reason in Rejection]}, "Why the record was not accepted."
        ),
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
    portrait = {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": {
            "type": "object",
            "propertyNames": {"pattern": "^[a-z][a-z0-9_]*$"},
            "additionalProperties": {"type": ["string", "number", "boolean"]},
        },
        "description": "The traits of the rules' portrait.yaml that are known, as one JSON object. Money is an exact "
        "decimal text in CNY, a time RFC 3339. Absent while no rules have portrayed the client.",
    }
    of_portrait: dict[str, Schema] = {
        "stage": field({"type": "string"}, "The stage of life, of portrait.yaml. Absent as portrait is."),
        "stage_since": field(DATE_TIME, "When the client came into this stage."),
        "portrait": portrait,
    }
    properties |= {name: of_portrait[name] for name in PORTRAIT_FIELDS}
    description = (
        "Public fields of a client's Redis hash, key `{engage:<p>}:client:<client id>`, p being the partition: "
        "murmur2(client id) mod partitions, as Kafka's Java producer does. Redis hashes hold text, so every value is "
        "text; it is empty while not known. Other fields are the engine's own and may change."
    )
    return _object("client-record.json", "Client record in Redis", description, properties, list(PUBLIC_FIELDS))


def generate(rule_set: RuleSet | None = None, url: str = SCHEMAS_URL) -> dict[str, str]:
    """File name -> text of every file under schemas/; those of rule files with the names of a rule set. `url` is where
    the files are to be found: each one's `$id` is its own address there.
    """
    declared = NONE_DECLARED if rule_set is None else rule_set.declared_types
    inbound = {topic: _inbound(topic) for topic in written_topics()}
    own = {name: _of_event(declared_file(name), kind.model) for name, kind in declared.items()}
    outbound = {topic: _outbound(topic) for topic in OUTBOUND}
    dead_letter_headers = _dead_letter_headers()
    retraction, care = _about_action(RETRACTION, Retraction), _about_action(CARE, CareStep)
    schemas = {inbound_file(topic): schema for topic, schema in inbound.items()}
    schemas |= {declared_file(name): schema for name, schema in own.items()}
    schemas |= {outbound_file(topic): schema for topic, schema in outbound.items()}
    schemas |= {f"{RETRACTION}.json": retraction, f"{CARE}.json": care}
    schemas |= {"dead-letter-headers.json": dead_letter_headers, "client-record.json": _client_record()}
    schemas |= {f"{RULE_FILES}/{name}": schema for name, schema in rule_file_schemas(rule_set, url).items()}
    for name, schema in schemas.items():
        schema["$id"] = f"{url}/{name}"
    files = {name: json.dumps(schema, indent=2, ensure_ascii=False) + "\n" for name, schema in schemas.items()}
    yaml = YAML()
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.ignore_aliases = lambda *_: True
    out = io.StringIO()
    yaml.dump(asyncapi.document(inbound, own, outbound, retraction, care, dead_letter_headers), out)
    return files | {"asyncapi.yaml": out.getvalue()}


def write(directory: Path, rule_set: RuleSet | None = None, url: str = SCHEMAS_URL) -> list[str]:
    """Make the directory's schema files be those generated; the names of the files written or removed."""
    (directory / RULE_FILES).mkdir(parents=True, exist_ok=True)
    files = generate(rule_set, url)
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


def check(directory: Path, rule_set: RuleSet | None = None, url: str = SCHEMAS_URL) -> list[str]:
    """What differs between the directory and what the models say, a line each, with the remedy; empty when nothing."""
    files = generate(rule_set, url)
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
