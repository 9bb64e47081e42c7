"""The ledger: the write-ahead log of every decision.

Enters: what a commit unit writes, and where it began and ended. Leaves: ledger records, and units from records.
Holds: a record carries the writes themselves, as absolute values, so that recovery decides nothing and applying twice
is harmless. `Log` and `Store` are all that commit and recovery know of Kafka and Redis.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

import msgpack

from engine.core.contract.message import Message
from engine.runtime import formats
from engine.runtime.errors import Refused
from engine.runtime.protocol import writes
from engine.runtime.protocol.position import End, Position
from engine.runtime.protocol.processor import Input, Processor
from engine.runtime.protocol.records import Place

FORMAT_0_1: Final = 2
SEMANTICS_0_1: Final = 1
LOADED: Final = 0  # semantics of a load's units: nothing on the topics leads to them, so replays take their writes
_STEP_FIELDS: Final = ("ranges", "tick_ms", "due", "swept", "backfilled", "decided_ms", "ahead")


class Log(Protocol):
    """One partition of the ledger, and the topics published to beside it. Errors: Fenced, Unavailable."""

    async def start(self) -> None:
        """Fence whoever wrote here before and end what they left open."""

    async def bounds(self) -> tuple[int, int]:
        """First offset still held, and the end, whether all before it can be read yet or not."""

    def read(self, first: int, end: int) -> AsyncIterator[tuple[int, bytes]]:
        """Committed records with offsets in [first, end). Raises Unavailable while an open transaction hides some."""

    async def publish(self, messages: Sequence[Message], records: Sequence[bytes]) -> int:
        """Messages and ledger records in one transaction; the last record's offset. A failure leaves the outcome
        unknown.
        """

    async def stop(self) -> None: ...


class Loaded(NamedTuple):
    """What a store answers in one step."""

    position: bytes | None
    states: list[bytes | None]  # packed
    known: int  # how many keys it can name
    gone: list[str]  # of the keys asked for: it can name them, but has no state


class Looked(NamedTuple):
    position: bytes | None
    known: int
    gone: list[str]
    cursor: int


class Store(Protocol):
    """The states of one partition. Errors: Unavailable."""

    async def position(self) -> bytes | None: ...

    async def load(self, client_ids: Sequence[str]) -> Loaded: ...

    async def look(self, cursor: int, limit: int) -> Looked:
        """Look whether some keys, about `limit`, have their states, from a cursor on; the cursor that follows is 0 at
        beginning and end.
        """

    async def missing(self, client_ids: Sequence[str]) -> list[str]:
        """Those that have no state, or that it cannot name."""

    async def apply(self, begin: bytes, end: bytes, writes: Sequence[bytes]) -> bytes:
        """Write all and move the position from `begin` to `end`, in one step; the position found when it is neither."""

    async def due(self, until_ms: int, limit: int) -> list[str]:
        """Clients due at or before `until_ms`, earliest first."""

    async def clients(self, cursor: int, limit: int) -> tuple[int, list[str]]:
        """Some of all clients, about `limit`, from a cursor on, and the cursor that follows: 0 at beginning and end.

        Each client that is there from beginning to end is named, some more than once. Surprised when the order in which
        they are named has changed meanwhile.
        """


@dataclass(frozen=True, slots=True)
class Step:
    """One batch, tick or sweep of a unit, for audit and replay: inbound ranges [from, to), who was due at which time,
    whom a sweep at that time changed.

    A backfill's step has no inputs: its unit's writes are the states with the columns of these features replaced.
    """

    ranges: dict[str, tuple[int, int]]
    tick_ms: int = 0
    due: tuple[str, ...] = ()
    swept: tuple[str, ...] = ()
    backfilled: tuple[str, ...] = ()
    decided_ms: int = 0  # the wall clock's moment; 0: time was the events' own
    ahead: tuple[Place, ...] = ()  # records that were refused since their time lay far ahead

    def woken(self, processor: Processor[Any, Any, Input]) -> list[Input]:
        """What the clock brought about, as inputs of `decide`."""
        return [
            *(processor.due(key, self.tick_ms) for key in self.due),
            *(processor.sweep(key, self.tick_ms) for key in self.swept),
        ]

    def encode(self) -> dict[str, Any]:
        """Its fields by name, those without a value left out."""
        fields = {name: getattr(self, name) for name in _STEP_FIELDS}
        return {name: value for name, value in fields.items() if value}

    @classmethod
    def decode(cls, fields: dict[str, Any]) -> Step:
        """Fields of a newer engine are left out."""
        return cls(
            {topic: (begin, end) for topic, (begin, end) in fields.get("ranges", {}).items()},
            fields.get("tick_ms", 0),
            tuple(fields.get("due", ())),
            tuple(fields.get("swept", ())),
            tuple(fields.get("backfilled", ())),
            fields.get("decided_ms", 0),
            tuple((topic, partition, offset) for topic, partition, offset in fields.get("ahead", ())),
        )


@dataclass(frozen=True, slots=True)
class Unit:
    """A ledger record decoded. A unit too large for one record is several, in order, of one transaction."""

    chunk: int
    chunks: int
    begin: bytes  # the position that the unit began from
    end: End
    writes: bytes
    rule_set: str
    published: str  # digest of the messages, in order
    semantics: int  # of the engine that decided it
    steps: tuple[Step, ...]
    end_text: bytes | None  # as the record has it; None: of 0.1.0

    @property
    def offsets(self) -> dict[str, int]:
        return dict(self.end.offsets)

    def leads_to(self, offset: int, record: bytes) -> Position:
        """The position after this record, at this offset."""
        if self.end_text is None:
            return Position.after_0_1(offset + 1, digest_of(record), self.end)
        return Position.after(offset + 1, digest_of(record), self.end_text)


def encode_unit(
    begin: bytes,
    end: End,
    chunks: Sequence[bytes],
    rule_set: str,
    published: str,
    semantics: int,
    steps: Sequence[Step],
) -> list[bytes]:
    """The ledger records of a unit, one for each chunk of writes; the last one carries the steps. A record is
    `[format, {field: value}]`.
    """
    records = []
    for chunk, part in enumerate(chunks):
        fields = {
            "chunk": chunk, "chunks": len(chunks), "begin": begin, "end": end.encode(), "writes": part,
            "rule_set": rule_set, "published": published, "semantics": semantics,
            "steps": [step.encode() for step in steps] if chunk == len(chunks) - 1 else [],
        }  # fmt: skip
        records.append(msgpack.packb([formats.LEDGER_FORMAT, fields]))
    return records


def decode_unit(record: bytes) -> Unit:
    """Read a ledger record. Raises Newer, or Refused for what no engine wrote."""
    try:
        format_, *rest = msgpack.unpackb(record)
        formats.check_readable("a ledger record", format_, formats.LEDGER_FORMAT)
        return _unit_0_1(*rest) if format_ == FORMAT_0_1 else _unit(*rest)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Refused(f"a ledger record cannot be read ({error}): was the topic written by another program?") from error


def _unit(fields: dict[str, Any]) -> Unit:
    return Unit(
        chunk=fields["chunk"],
        chunks=fields["chunks"],
        begin=fields["begin"],
        end=End.decode(fields["end"]),
        writes=fields["writes"],
        rule_set=fields["rule_set"],
        published=fields["published"],
        semantics=fields["semantics"],
        steps=tuple(Step.decode(step) for step in fields["steps"]),
        end_text=fields["end"],
    )


def _unit_0_1(
    chunk: int,
    chunks: int,
    begin: bytes,
    offsets: dict[str, int],
    clients: int,
    tiers: dict[str, int],
    swept: str,
    part: bytes,
    rule_set: str,
    published: str,
    audit: list[Any],
) -> Unit:
    """Of 0.1.0, which wrote its fields without their names."""
    steps = (
        Step({t: (a, b) for t, (a, b) in ranges.items()}, tick_ms, tuple(due), tuple(swept), tuple(backfilled))
        for ranges, tick_ms, due, swept, backfilled in audit
    )
    end = End(offsets, clients, tiers, swept)
    rows = writes.from_0_1(part)
    return Unit(chunk, chunks, begin, end, rows, rule_set, published, SEMANTICS_0_1, tuple(steps), None)


def digest_of(record: bytes) -> str:
    return hashlib.blake2b(record, digest_size=8).hexdigest()


def digest_of_messages(messages: Iterable[Message]) -> str:
    """Names what a unit published: topics, keys and values in order."""
    digest = hashlib.blake2b(digest_size=16)
    for message in messages:
        for part in (message.topic.encode(), message.key or b"", message.value or b""):
            digest.update(len(part).to_bytes(4, "big"))
            digest.update(part)
    return digest.hexdigest()
