"""A Log and a Store in memory, with all that can go wrong between a worker and Kafka or Redis.

Enters: what goes wrong next, by `Faults`. Leaves: what Kafka and Redis would hold (`Ledger`, `Data`).
Holds: a transaction is there whole or not at all; its marker takes an offset, and so do the records of one that was
aborted; whoever started last is the only one who can write.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Final

import msgpack

from engine.core.client.record import PUBLIC_FIELDS
from engine.core.contract.message import Message
from engine.runtime.errors import Fenced, Surprised, Unavailable

BEFORE: Final = "before"  # nothing was done, an error is the answer
ABORTED: Final = "aborted"  # the transaction was written and then aborted (Log alone)
AFTER: Final = "after"  # all was done, the answer is lost


class Faults:
    """What happens to the next operations, in order; when there is no more, all goes well."""

    def __init__(self, planned: Iterable[str] = ()) -> None:
        self.planned = deque(planned)

    def next(self) -> str:
        return self.planned.popleft() if self.planned else ""


class Ledger:
    """One partition of the ledger at the broker, and what was published beside it."""

    def __init__(self) -> None:
        self.first = 0
        self.records: list[bytes | None] = []  # None: a marker, or a record of an aborted transaction
        self.messages: list[Message] = []
        self.epoch = 0

    def lose(self, records: int) -> None:
        """An unclean election: the end is gone."""
        del self.records[len(self.records) - records :]

    def units(self) -> list[tuple[int, bytes]]:
        """Committed records with their offsets."""
        return [(offset, record) for offset, record in enumerate(self.records) if record is not None]


class MemoryLog:
    """What one worker sees of a Ledger."""

    def __init__(self, ledger: Ledger, faults: Faults | None = None) -> None:
        self._ledger = ledger
        self._faults = faults or Faults()
        self._epoch = 0

    async def start(self) -> None:
        self._ledger.epoch += 1
        self._epoch = self._ledger.epoch

    async def bounds(self) -> tuple[int, int]:
        return self._ledger.first, len(self._ledger.records)

    async def read(self, first: int, end: int) -> AsyncIterator[tuple[int, bytes]]:
        for offset, record in self._ledger.units():
            if first <= offset < end:
                yield offset, record

    async def publish(self, messages: Sequence[Message], records: Sequence[bytes]) -> int:
        if self._epoch != self._ledger.epoch:
            raise Fenced("another producer has this transactional id")
        fault, kept = self._faults.next(), self._ledger.records
        if fault == BEFORE:
            raise Unavailable("kafka", "no connection")
        if fault == ABORTED:
            kept += [None] * (len(records) + 1)
            raise Unavailable("kafka", "a batch was not acknowledged")
        kept += records
        last = len(kept) - 1
        kept.append(None)
        self._ledger.messages += messages
        if fault == AFTER:
            raise Unavailable("kafka", "no answer to the commit")
        return last

    async def stop(self) -> None:
        self._epoch = -1


class Data:
    """What Redis holds of one partition. Every write is kept, so that a failover can lose any number of the last."""

    def __init__(self) -> None:
        self.applied: list[tuple[bytes, list[list[Any]]]] = []
        self.failovers = 0

    def lose(self, units: int) -> None:
        self.failovers += 1
        del self.applied[max(len(self.applied) - units, 0) :]

    @property
    def position(self) -> bytes | None:
        return self.applied[-1][0] if self.applied else None

    def rows(self) -> dict[str, list[Any]]:
        """By client id: [client id, due time or -1, packed state, public fields...]."""
        return {row[0].decode(): row for _, rows in self.applied for row in rows}

    def states(self) -> dict[str, bytes]:
        return {client_id: row[2] for client_id, row in self.rows().items()}

    def public(self, client_id: str) -> dict[str, str]:
        texts = [text.decode() for text in self.rows()[client_id][3:]]
        return dict(zip(PUBLIC_FIELDS, texts, strict=True))


class MemoryStore:
    """What one worker sees of a Data."""

    def __init__(self, data: Data, faults: Faults | None = None) -> None:
        self._data = data
        self._faults = faults or Faults()
        self._scanned = 0  # the failover since which clients are being named

    async def position(self) -> bytes | None:
        return self._data.position

    async def load(self, client_ids: Sequence[str]) -> tuple[bytes | None, list[bytes | None]]:
        states = self._data.states()
        return self._data.position, [states.get(client_id) for client_id in client_ids]

    async def apply(self, begin: bytes, end: bytes, writes: Sequence[bytes]) -> bytes:
        fault = self._faults.next()
        if fault == BEFORE:
            raise Unavailable("redis", "no connection")
        found = self._data.position or b""
        if found == begin:
            rows = [row for chunk in writes for row in msgpack.unpackb(chunk, raw=True)]
            self._data.applied.append((end, rows))
            found = end
        if fault == AFTER:
            raise Unavailable("redis", "no answer")
        return found

    async def due(self, until_ms: int, limit: int) -> list[str]:
        due = sorted((row[1], row[0]) for row in self._data.rows().values() if 0 <= row[1] <= until_ms)
        return [client_id.decode() for _, client_id in due[:limit]]

    async def clients(self, cursor: int, limit: int) -> tuple[int, list[str]]:
        if cursor == 0:
            self._scanned = self._data.failovers
        elif self._data.failovers != self._scanned:
            raise Surprised("a cursor of before a failover")
        client_ids = list(self._data.rows())
        end = cursor + limit
        return end if end < len(client_ids) else 0, client_ids[cursor:end]
