"""The ledger: the write-ahead log of every decision, and the position that says how far Redis has followed it.

Enters: the changed clients of a commit unit and where it began. Leaves: ledger records, and from records the writes
again.
Holds: a record carries the writes themselves, as absolute values, so that recovery decides nothing and applying twice
is harmless. `Log` and `Store` are all that commit and recovery know of Kafka and Redis.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import msgpack

from engine.core.client.record import public_fields
from engine.core.client.state import ClientState
from engine.core.contract.message import Message
from engine.core.decide.path import Due, Input, Sweep
from engine.core.firm_time import NEVER_MS
from engine.runtime.errors import Refused

LEDGER_VERSION: Final = 2
MAX_CHUNK_BYTES: Final = 900_000  # below Kafka's default of 1 MB a record


@dataclass(frozen=True, slots=True)
class Position:
    """How far partition p has come. Stored in Redis as the last write of every unit, compared byte by byte."""

    ledger: int = 0  # the ledger offset to read next
    digest: str = ""  # of the last ledger record applied
    offsets: dict[str, int] = field(default_factory=dict)  # inbound topic -> the offset to read next
    clients: int = 0
    tiers: dict[str, int] = field(default_factory=dict)  # clients in each tier
    swept: str = ""  # `Timed.digest` of the rules under which every client has been looked at

    def to_bytes(self) -> bytes:
        return json.dumps(
            {
                "ledger": self.ledger,
                "digest": self.digest,
                "offsets": self.offsets,
                "clients": self.clients,
                "tiers": self.tiers,
                "swept": self.swept,
            },
            sort_keys=True,
            separators=(",", ":"),
        ).encode()

    @classmethod
    def from_bytes(cls, text: bytes) -> Position:
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError) as error:
            raise Refused(
                f"what Redis holds as a partition's position is none ({text[:60]!r}): another program wrote there. "
                "Restore Redis's backup, or empty it and run `engage rebuild`"
            ) from error


class Log(Protocol):
    """One partition of the ledger, and the topics published to beside it. Errors: Fenced, Unavailable."""

    async def start(self) -> None:
        """Fence whoever wrote here before and end what they left open."""

    async def bounds(self) -> tuple[int, int]:
        """First offset still held, and the last stable offset."""

    def read(self, first: int, end: int) -> AsyncIterator[tuple[int, bytes]]:
        """Committed records with offsets in [first, end)."""

    async def publish(self, messages: Sequence[Message], records: Sequence[bytes]) -> int:
        """Messages and ledger records in one transaction; the last record's offset. A failure leaves the outcome
        unknown.
        """

    async def stop(self) -> None: ...


class Store(Protocol):
    """The states of one partition. Errors: Unavailable."""

    async def position(self) -> bytes | None: ...

    async def load(self, client_ids: Sequence[str]) -> tuple[bytes | None, list[bytes | None]]:
        """Position and packed states, read in one step."""

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

    def woken(self) -> list[Input]:
        """What the clock brought about, as inputs of `decide`."""
        return [
            *(Due(client_id, self.tick_ms) for client_id in self.due),
            *(Sweep(client_id, self.tick_ms) for client_id in self.swept),
        ]


@dataclass(frozen=True, slots=True)
class Unit:
    """A ledger record decoded. A unit too large for one record is several, in order, of one transaction."""

    chunk: int
    chunks: int
    begin: bytes  # the position that the unit began from
    offsets: dict[str, int]
    clients: int
    tiers: dict[str, int]
    swept: str
    writes: bytes
    rule_set: str
    published: str  # digest of the messages, in order
    steps: tuple[Step, ...]


def encode_writes(changed: Iterable[tuple[ClientState, bytes]], chunk_bytes: int = MAX_CHUNK_BYTES) -> list[bytes]:
    """Clients with their packed states as chunks of `[[client id, due or -1, state, public fields...], ...]`: what the
    ledger holds and the script applies.
    """
    chunks: list[bytes] = []
    rows: list[list[Any]] = []
    size = 0
    for client, state in changed:
        due = client.due_ms if client.due_ms < NEVER_MS else -1
        rows.append([client.client_id, due, state, *public_fields(client)])
        size += len(state) + 256
        if size > chunk_bytes:
            chunks.append(_packed_for_lua(rows))
            rows, size = [], 0
    if rows or not chunks:
        chunks.append(_packed_for_lua(rows))
    return chunks


def _packed_for_lua(rows: list[list[Any]]) -> bytes:
    # Redis's cmsgpack does not know msgpack's binary type: bytes go as the older raw type
    packed: bytes = msgpack.packb(rows, use_bin_type=False)
    return packed


def encode_unit(
    begin: bytes, end: Position, writes: Sequence[bytes], rule_set: str, published: str, steps: Sequence[Step]
) -> list[bytes]:
    """The ledger records of a unit, one for each chunk of writes; the last one carries the audit. Of `end`, what the
    ledger itself says is not known yet, and not looked at.
    """
    records = []
    for chunk, part in enumerate(writes):
        last = chunk == len(writes) - 1
        head = (LEDGER_VERSION, chunk, len(writes), begin, end.offsets, end.clients, end.tiers, end.swept)
        audit = [(s.ranges, s.tick_ms, s.due, s.swept, s.backfilled) for s in steps] if last else []
        records.append(msgpack.packb((*head, part, rule_set, published, audit)))
    return records


def decode_unit(record: bytes) -> Unit:
    """Read a ledger record. Raises Refused when an incompatible version wrote it."""
    try:
        version, *values, audit = msgpack.unpackb(record)
        if version == LEDGER_VERSION:
            steps = (
                Step({t: (a, b) for t, (a, b) in ranges.items()}, tick, *map(tuple, who_and_what))
                for ranges, tick, *who_and_what in audit
            )
            return Unit(*(*values, tuple(steps)))
    except (ValueError, TypeError) as error:
        raise Refused(f"a ledger record cannot be read ({error}): was the topic written by another program?") from error
    raise Refused(
        f"the ledger was written in format {version}, this engine reads format {LEDGER_VERSION}: start the version "
        f"that wrote it, let it finish its partitions, or rebuild under a new application id"
    )


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
