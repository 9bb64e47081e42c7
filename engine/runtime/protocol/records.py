"""One inbound record, and what becomes of it.

Enters: a record as a consumer hands it out. Leaves: Taken, Rejected or Rerouted, and the messages that those set aside
become. Holds: each record is judged alone; whether its time lies too far ahead, future.py says.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, assert_never

from engine.core.contract.decode import MAX_EVENT_BYTES, Rejected, Taken, decode
from engine.core.contract.message import Message
from engine.core.contract.outbound import Rejection
from engine.core.contract.topics import DEAD_LETTERS, REROUTED, TOPICS

LARGEST_LETTER_BYTES: Final = 15_000_000  # what the dead letters' topic takes, with room for headers
MAX_KEY_BYTES: Final = 64  # no client's id is longer; a longer key is not hashed, only refused
_HEADER_TOPIC: Final = "engage_topic"
_HEADER_PARTITION: Final = "engage_partition"
_HEADER_OFFSET: Final = "engage_offset"
_HEADER_TIMESTAMP: Final = "engage_timestamp"
HEADER_ENCODING: Final = "engage_encoding"
APPEND_TIME: Final = 1  # the `timestamp_type` of a record whose time is the broker's


class Record(Protocol):
    """What a consumer hands out."""

    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def timestamp_type(self) -> int | None: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


@dataclass(frozen=True, slots=True)
class Rerouted:
    """The record belongs to another partition, and is re-sent there."""


Outcome = Taken | Rejected | Rerouted
Place = tuple[str, int, int]  # topic, partition and offset that a record first came with


@dataclass(slots=True)
class Inbound:
    """One record. A rerouted record shows the topic, partition and offset it first came with."""

    topic: str  # the contract's name, without prefix
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    rerouted: bool = False
    appended: bool = False  # the timestamp is the broker's own, not the producer's

    @property
    def place(self) -> Place:
        return self.topic, self.partition, self.offset

    def _headers(self) -> tuple[tuple[str, bytes], ...]:
        return (
            (_HEADER_TOPIC, self.topic.encode()),
            (_HEADER_PARTITION, str(self.partition).encode()),
            (_HEADER_OFFSET, str(self.offset).encode()),
            (_HEADER_TIMESTAMP, str(self.timestamp_ms).encode()),
        )

    def set_aside(self, outcome: Rejected | Rerouted) -> Message:
        """What is published of a record that is not decided here."""
        match outcome:
            case Rerouted():  # a copy for the partition that its key belongs to
                return Message(REROUTED, self.key or b"", self.value, self._headers(), self.timestamp_ms)
            case Rejected():
                return self._letter(outcome)
            case _:
                assert_never(outcome)

    def _letter(self, rejected: Rejected) -> Message:
        """The original bytes, with the reason in headers; packed by gzip when they are more than the topic takes:
        a producer that compresses gets such records past Kafka's limits.
        """
        key, value = self.key, self.value
        headers = (("engage_reason", rejected.reason.value.encode()), ("engage_error", rejected.error.encode()))
        if len(key or b"") + len(value or b"") > LARGEST_LETTER_BYTES:
            key, value = _packed(key), _packed(value)
            return Message(DEAD_LETTERS, key, value, (*headers, *self._headers(), (HEADER_ENCODING, b"gzip")))
        return Message(DEAD_LETTERS, key, value, headers + self._headers())


def _packed(data: bytes | None) -> bytes | None:
    return None if data is None else gzip.compress(data, compresslevel=1, mtime=0)  # no time: the same bytes again


def read(record: Inbound, belongs: Callable[[bytes], bool]) -> Outcome:
    """Raises nothing, whatever the bytes."""
    key = record.key
    if record.topic == REROUTED:
        return Rejected(Rejection.UNKNOWN_VALUE, "not a copy that the engine made: no such origin")
    readable = len(record.value or b"") <= MAX_EVENT_BYTES  # else a dead letter anywhere, and larger than a copy may be
    if readable and key and len(key) <= MAX_KEY_BYTES and not belongs(key):
        if not record.rerouted:
            return Rerouted()
        return Rejected(Rejection.KEY_MISMATCH, "a copy that is not on the partition of its key")
    return decode(record.topic, record.key, record.value, record.timestamp_ms)


def inbound(topic: str, record: Record) -> Inbound:
    """From a consumer's record."""
    appended = record.timestamp_type == APPEND_TIME
    made = Inbound(
        topic, record.partition, record.offset, record.timestamp, record.key, record.value, appended=appended
    )
    if topic == REROUTED:
        headers = dict(record.headers)
        made.rerouted = True
        try:
            name = headers[_HEADER_TOPIC].decode()
            origin = [int(headers[h]) for h in (_HEADER_PARTITION, _HEADER_OFFSET, _HEADER_TIMESTAMP)]
        except (KeyError, ValueError, TypeError, AttributeError):
            return made  # another program's record: it becomes a dead letter
        if name in TOPICS:
            made.topic = name
            made.partition, made.offset, made.timestamp_ms = origin
    return made
