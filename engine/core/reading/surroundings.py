"""What stands beside a value: a key that is not the client's id, headers that name another form.

Enters: a key and the client's id, or headers. Leaves: what is wrong with them and what the producer changes.
Holds: only refused records come here; it never raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from engine.core.reading.likeness import SERIALIZER, encoding
from engine.core.reading.notations import PLAIN

_STRING: Final = "use a plain string serializer for keys"


def of_key(key: bytes, client_id: str) -> str | None:
    """Why a record's key is not its client_id, if that can be seen."""
    wanted = client_id.encode()
    if key.strip(b" \t\r\n\x00") == wanted:
        return "blanks or zero bytes stand around the key"
    if key.lower() == wanted.lower():
        return "they differ in capital letters"
    if key == b'"' + wanted + b'"':
        return f"the key is JSON text in quotes: {_STRING}"
    if (found := encoding(key)) is not None:
        return f"the key has {found.partition(':')[0]}: {_STRING}"
    if key[:1] in (b"\x00", b"\x03") and key.endswith(wanted):
        return f"the key has Schema Registry framing: {_STRING}"
    if key[:1] == b"{":
        return "the key is a JSON object: send the client_id alone"
    if key[1:] == wanted and key[0] == 2 * len(wanted):
        return f"the key is Avro: {_STRING}"
    if len(key) in (4, 8) and wanted.isdigit() and int.from_bytes(key, "big") == int(wanted):
        return f"the key is a binary number: {_STRING}"
    return None


_HEADERS: Final = (
    (("ce_", "ce-"), "CloudEvents in binary mode: put event_id, client_id and time into the value"),
    (("__value_schema_id", "__key_schema_id"), f"Schema Registry, with the schema's id in the headers: {SERIALIZER}"),
    (("apicurio.",), f"Schema Registry (Apicurio), with the schema's id in the headers: {SERIALIZER}"),
    (("__debezium", "debezium"), "Debezium: send what is in after, with the contract's fields"),
)  # fmt: skip
_TYPE_HEADERS: Final = ("content-type", "contenttype", "content-encoding")
_TYPES: Final = {"avro", "protobuf", "xml", "msgpack", "cbor", "csv", "gzip", "deflate", "zstd", "br", "snappy"}


def of_headers(headers: Iterable[tuple[str, Any]]) -> str | None:
    """What the headers of a refused record say of its form."""
    for header, content in headers:
        name = str(header).lower()
        for starts, said in _HEADERS:
            if name.startswith(starts):
                return said
        if name.replace("_", "-") in _TYPE_HEADERS:
            stated = bytes(content or b"")[:200].lower().decode("ascii", "replace")
            if "cloudevents" in stated:
                return "CloudEvents: send what is in data, with event_id, client_id and time in it"
            if named := sorted(_TYPES & set(re.split(r"[^a-z]+", stated))):
                return f"{named[0]}: {PLAIN}"
    return None
