"""One inbound record, and what becomes of it.

Enters: a record as a consumer hands it out. Leaves: Taken, Rejected or Rerouted, and the messages that those set aside
become. Holds: each record is judged alone, but for whether it is dated too far ahead.
"""

from __future__ import annotations

import gzip
from collections import deque
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, assert_never, cast

import msgspec

from engine.core.contract.message import Message
from engine.core.contract.outbound import Rejection
from engine.core.contract.topics import DEAD_LETTERS, OWN, REROUTED, inbound_topics
from engine.core.firm_time import DAY_MS
from engine.core.reading.decode import FUTURE_TOLERANCE_MS, MAX_EVENT_BYTES, Decode, Rejected, Taken
from engine.core.reading.surroundings import of_headers

LARGEST_LETTER_BYTES: Final = 15_000_000  # what the dead letters' topic takes, with room for headers
MAX_KEY_BYTES: Final = 64  # no client's id is longer; a longer key is not hashed, only refused
_HEADER_TOPIC: Final = "engage_topic"
_HEADER_PARTITION: Final = "engage_partition"
_HEADER_OFFSET: Final = "engage_offset"
_HEADER_TIMESTAMP: Final = "engage_timestamp"
_ORIGIN: Final = (_HEADER_TOPIC, _HEADER_PARTITION, _HEADER_OFFSET, _HEADER_TIMESTAMP)
HEADER_ENCODING: Final = "engage_encoding"
MAX_HEADERS_BYTES: Final = 65_536  # of the producer's on a copy, which its topic has to take
APPEND_TIME: Final = 1  # the `timestamp_type` of a record whose time is the broker's


class Record(Protocol):
    """A record as a consumer returns it."""

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


class Inbound(msgspec.Struct, gc=False):
    """One record, which can pass for a consumer's. A rerouted record has its original topic, partition and offset."""

    topic: str  # the contract's name, without prefix
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    rerouted: bool = False
    appended: bool = False  # the timestamp is the broker's own, not the producer's
    headers: Sequence[tuple[str, bytes]] = ()  # the producer's

    @property
    def place(self) -> Place:
        return self.topic, self.partition, self.offset

    @property
    def timestamp(self) -> int:
        return self.timestamp_ms

    @property
    def timestamp_type(self) -> int:
        return APPEND_TIME if self.appended else 0

    def _headers(self) -> tuple[tuple[str, bytes], ...]:
        return (
            (_HEADER_TOPIC, self.topic.encode()),
            (_HEADER_PARTITION, str(self.partition).encode()),
            (_HEADER_OFFSET, str(self.offset).encode()),
            (_HEADER_TIMESTAMP, str(self.timestamp_ms).encode()),
        )

    def set_aside(self, outcome: Rejected | Rerouted) -> Message:
        """The message for a record that is not decided here."""
        match outcome:
            case Rerouted():  # a copy for the partition that its key belongs to
                headers = (*_within(self.headers), *self._headers())
                return Message(REROUTED, self.key or b"", self.value, headers, self.timestamp_ms)
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


def _within(headers: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    """The producer's headers for a copy, but for those that do not fit or pass for the engine's own."""
    left = MAX_HEADERS_BYTES
    for name, content in headers:
        left -= len(name.encode()) + len(content or b"")
        if left >= 0 and name not in _ORIGIN:
            yield name, content


def _packed(data: bytes | None) -> bytes | None:
    return None if data is None else gzip.compress(data, compresslevel=1, mtime=0)  # no time: the same bytes again


def read(record: Inbound, belongs: Callable[[bytes], bool], decode: Decode) -> Outcome:
    """Raises nothing, whatever the bytes."""
    key = record.key
    if record.topic == REROUTED:
        return Rejected(Rejection.UNKNOWN_VALUE, "not a copy that the engine made: no such origin")
    readable = len(record.value or b"") <= MAX_EVENT_BYTES  # else a dead letter anywhere, and larger than a copy may be
    if readable and key and len(key) <= MAX_KEY_BYTES and not belongs(key):
        if not record.rerouted:
            return Rerouted()
        return Rejected(Rejection.KEY_MISMATCH, "a copy that is not on the partition of its key")
    outcome = decode(record.topic, record.key, record.value, record.timestamp_ms)
    if record.headers and isinstance(outcome, Rejected) and (found := of_headers(record.headers)) is not None:
        return Rejected(outcome.reason, f"{outcome.error}; by its headers {found}")
    return outcome


def read_all(records: Iterable[Inbound], belongs: Callable[[bytes], bool], decode: Decode) -> list[Read]:
    return [(record, read(record, belongs, decode)) for record in records]


def fetched(topic: str, partition: int, records: Iterable[Any]) -> list[Inbound]:
    """From records as a broker sends them: a third of the time that a consumer takes to make its own."""
    return [  # by position: by name it takes twice as long
        Inbound(
            topic, partition, r.offset, r.timestamp, r.key, r.value, False, r.timestamp_type == APPEND_TIME, r.headers
        )
        for r in records
    ]


def inbound(topic: str, records: Sequence[Record], known: Container[str] | None = None) -> Iterable[Inbound]:
    """From a consumer's records, if they are not made already, each when it is asked for: a batch may end before. A
    rerouted copy comes from one of the topics that are known.
    """
    if topic != REROUTED and records and isinstance(records[0], Inbound):
        return cast(Sequence[Inbound], records)  # one consumer makes all alike
    return _made(topic, records, known)


def _made(topic: str, records: Iterable[Record], known: Container[str] | None) -> Iterator[Inbound]:
    for r in records:
        [made] = fetched(topic, r.partition, [r])
        if topic == REROUTED:
            _restore(made, inbound_topics() if known is None else known)
        yield made


def _restore(made: Inbound, known: Container[str]) -> None:
    """Where a rerouted copy first came from, by its headers; another program's record becomes a dead letter."""
    headers = dict(made.headers)
    made.headers = [(name, content) for name, content in made.headers if name not in _ORIGIN]
    made.rerouted = True
    try:
        name = headers[_HEADER_TOPIC].decode()
        origin = [int(headers[h]) for h in (_HEADER_PARTITION, _HEADER_OFFSET, _HEADER_TIMESTAMP)]
    except (KeyError, ValueError, TypeError, AttributeError):
        return
    if name in known:
        made.topic = name
        made.partition, made.offset, made.timestamp_ms = origin


# -- events dated ahead ----------------------------------------------------------------------------
#
# The clock of their producer is wrong, and would move their client's time. What is said without a clock follows from
# the records alone; what a worker said by its clock is in the ledger, so that a replay says the same. What the engine
# wrote itself is believed: another worker's clock may be ahead of this one's.

NEIGHBOURS: Final = 20  # records before and after one that are asked
FAR_MS: Final = 366 * DAY_MS

FUTURE: Final = Rejected(
    Rejection.FUTURE,
    "the time lies far ahead of the engine's clock, or of the records around it: check the producer's clock",
)
Read = tuple[Inbound, Outcome]


def by_clock(found: Iterable[Read], wall_ms: int) -> Iterator[Read]:
    """No event may lie ahead of the wall clock. Where the record's time is the broker's, `decode` has compared it."""
    latest_ms = wall_ms + FUTURE_TOLERANCE_MS
    for record, outcome in found:
        ahead = isinstance(outcome, Taken) and outcome.event.time > latest_ms and not record.appended
        yield record, FUTURE if ahead and record.topic not in OWN else outcome


def by_ledger(found: Iterable[Read], refused: Collection[Place]) -> Iterator[Read]:
    """Refuses the records that were refused when the unit was decided."""
    for record, outcome in found:
        yield record, FUTURE if refused and record.place in refused else outcome


def by_neighbours(found: Iterable[Read]) -> Iterable[Read]:
    """Without a clock: no event may lie more than a year ahead of most of the next records, and of all events just
    before it.

    A record of which nothing follows is believed: time may have passed. Both sides are asked so that records need not
    be in the order of time: the last ones of one client may be followed by the first ones of another.
    """
    return found if isinstance(found, list) and _within_a_year(found) else _asking(found)


def _asking(found: Iterable[Read]) -> Iterator[Read]:
    following: deque[Read] = deque()
    before: deque[int] = deque(maxlen=NEIGHBOURS)
    stream = iter(found)
    while True:
        while len(following) <= NEIGHBOURS and (more := next(stream, None)) is not None:
            following.append(more)
        if not following:
            return
        record, outcome = following.popleft()
        if isinstance(outcome, Taken):
            moment_ms = outcome.event.time
            far = moment_ms > max(before, default=0) + FAR_MS and record.topic not in OWN
            if far and _ahead_of(moment_ms, following):
                outcome = FUTURE
            else:
                before.append(moment_ms)
        yield record, outcome


def _within_a_year(found: Sequence[Read]) -> bool:
    """Whether no event lies far ahead of any record: nearly always."""
    latest_ms, first_ms = 0, found[0][0].timestamp_ms if found else 0
    for record, outcome in found:
        if record.timestamp_ms < first_ms:
            first_ms = record.timestamp_ms
        if isinstance(outcome, Taken) and outcome.event.time > latest_ms:
            latest_ms = outcome.event.time
    return latest_ms <= first_ms + FAR_MS


def _ahead_of(moment_ms: int, following: Iterable[Read]) -> bool:
    times = sorted(record.timestamp_ms for record, _ in following if record.timestamp_ms >= 0)
    return bool(times) and moment_ms > times[(len(times) - 1) // 2] + FAR_MS
