"""Inbound records as lines of a file: what `engage simulate` writes, `engage replay` reads and `engage send` sends.

Enters: a record, or a line. Leaves: a line, or the bytes a Kafka record would have, or the record on its topic.
Holds: written in a fixed order of fields, compact JSON, so that sed can cut it up for kcat; a value that is not JSON
travels as base64, so that nothing is lost.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from engine.runtime.clients import Clients
from engine.runtime.errors import Refused
from engine.runtime.kafka.connection import discard, errors, start
from engine.runtime.settings import Settings

IN_FLIGHT: Final = 5_000
MAX_REQUEST_BYTES: Final = 64_000_000


class SimulatedRecord(NamedTuple):
    """One Kafka record. A value of bytes is bad on purpose and goes out as it is."""

    topic: str
    key: str | None
    time_ms: int
    value: dict[str, Any] | bytes


_encode: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def to_json(value: object) -> bytes:
    return _encode(value).encode()


def to_line(record: SimulatedRecord) -> str:
    """One ndjson line in a fixed order of fields, so that sed can cut the value out for tools such as kcat."""
    if isinstance(record.value, bytes):
        value = f'"value_base64":"{base64.b64encode(record.value).decode()}"'
    else:
        value = f'"value":{_encode(record.value)}'
    key = "null" if record.key is None else f'"{record.key}"'
    return f'{{"topic":"{record.topic}","key":{key},"timestamp":{record.time_ms},{value}}}\n'


_LINE: Final = re.compile(
    r'\{"topic":"([^"\\]+)","key":(?:null|"([^"\\]*)"),"timestamp":(\d+),"value(_base64)?":(.*)\}\s*', re.DOTALL
)


NO_RECORD: Final = (
    'not a record line: {"topic":"...","key":"..." or null,"timestamp":<epoch ms, may be left out>,"value":{...}}'
)


class _TwiceError(ValueError):
    pass


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise _TwiceError
    return fields


def parse_line(line: str) -> tuple[str, bytes | None, int, bytes]:
    """A line -> topic, key, time of the record, value. Raises ValueError.

    The value's bytes are those in the line; of a line laid out otherwise they are written anew.
    """
    match = _LINE.fullmatch(line)
    if match is not None:
        topic, key, timestamp, is_base64, value = match.groups()
        raw = base64.b64decode(value.strip('"'), validate=True) if is_base64 else value.encode()
        return topic, None if key is None else key.encode(), int(timestamp), raw
    try:
        fields = json.loads(line, object_pairs_hook=_each_once)
        topic, key, timestamp_ms = fields["topic"], fields["key"], fields.get("timestamp", -1)
        given = [isinstance(topic, str), key is None or isinstance(key, str), type(timestamp_ms) is int]
        if not all(given):
            raise TypeError
        raw = base64.b64decode(fields["value_base64"]) if "value_base64" in fields else to_json(fields["value"])
    except _TwiceError:
        raise ValueError("a key stands twice in one object, so it is not clear which counts") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError(NO_RECORD) from None
    return topic, None if key is None else key.encode(), timestamp_ms, raw


async def send(settings: Settings, clients: Clients, lines: Iterable[bytes], per_second: int | None) -> int:
    """Put records on their topics, each client's in the order of the lines, stamped now; how many. Raises Refused."""
    producer = clients.producer(
        **settings.kafka_client(), enable_idempotence=True, linger_ms=20, max_request_size=MAX_REQUEST_BYTES
    )
    clock = asyncio.get_running_loop().time
    sent, waiting = 0, list[Any]()
    with errors():
        try:
            await start(producer, settings)
            began = clock()
            for number, line in enumerate(lines, start=1):
                try:
                    topic, key, _, value = parse_line(line.decode())
                except ValueError as error:
                    raise Refused(f"line {number}: {error}; {sent} records were sent") from error
                waiting.append(await producer.send(settings.topic(topic), value, key=key))
                sent += 1
                if len(waiting) >= IN_FLIGHT:
                    await asyncio.gather(*waiting)
                    waiting.clear()
                if per_second and sent / per_second > clock() - began:
                    await asyncio.sleep(sent / per_second - (clock() - began))
            await asyncio.gather(*waiting)
        finally:
            await discard(producer)
    return sent
