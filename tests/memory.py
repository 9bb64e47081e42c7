"""A Log and a Store in memory, with all that can go wrong between a worker and Kafka or Redis.

Enters: what goes wrong next, by `Faults`. Leaves: what Kafka and Redis would hold (`Ledger`, `Data`).
Holds: a transaction is there whole or not at all; its marker takes an offset, and so do the records of one that was
aborted; whoever started last is the only one who can write.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final

from engine.core.contract.message import Message
from engine.core.firm_time import NEVER_MS
from engine.runtime.errors import Fenced, Surprised, Unavailable
from engine.runtime.protocol.ledger import Loaded, Looked
from engine.runtime.protocol.writes import Write, decode_writes

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

    @property
    def acts(self) -> list[Message]:
        """What was published but for decisions, which only ride."""
        return [message for message in self.messages if not message.rides]

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
        self.applied: list[tuple[bytes, list[Write]]] = []
        self.failovers = 0
        # what was evicted or deleted, by the number of units applied before
        self.states_gone: dict[str, int] = {}
        self.due_gone: dict[str, int] = {}

    def lose(self, units: int) -> None:
        self.failovers += 1
        del self.applied[max(len(self.applied) - units, 0) :]

    @property
    def position(self) -> bytes | None:
        return self.applied[-1][0] if self.applied else None

    def rows(self) -> dict[str, Write]:
        """By key."""
        return self._since({})

    def _since(self, gone: dict[str, int]) -> dict[str, Write]:
        units = enumerate(self.applied)
        return {write.key: write for at, (_, rows) in units for write in rows if at >= gone.get(write.key, 0)}

    def states(self) -> dict[str, bytes]:
        return {key: write.state for key, write in self._since(self.states_gone).items()}

    def due(self) -> dict[str, Write]:
        """Those that have a due time."""
        return self._since(self.due_gone)

    def known(self) -> set[str]:
        return set(self.due())

    def evict(self, *keys: str, states: bool = True, due: bool = True) -> None:
        for gone in [self.states_gone] * states + [self.due_gone] * due:
            gone.update(dict.fromkeys(keys or self.rows(), len(self.applied)))

    def evict_position(self) -> None:
        self.applied.append((b"", []))

    def public(self, key: str) -> dict[str, str]:
        return dict(self.rows()[key].public)


class MemoryStore:
    """What one worker sees of a Data."""

    def __init__(self, data: Data, faults: Faults | None = None) -> None:
        self._data = data
        self._faults = faults or Faults()
        self._scanned = 0  # the failover since which clients are being named

    async def position(self) -> bytes | None:
        return self._data.position

    async def load(self, client_ids: Sequence[str]) -> Loaded:
        states, known = self._data.states(), self._data.known()
        gone = [client_id for client_id in client_ids if client_id in known and client_id not in states]
        return Loaded(self._data.position, [states.get(client_id) for client_id in client_ids], len(known), gone)

    async def look(self, cursor: int, limit: int) -> Looked:
        states, known = self._data.states(), sorted(self._data.known())
        gone = [client_id for client_id in known[cursor : cursor + limit] if client_id not in states]
        return Looked(self._data.position, len(known), gone, cursor + limit if cursor + limit < len(known) else 0)

    async def missing(self, client_ids: Sequence[str]) -> list[str]:
        whole = self._data.states().keys() & self._data.known()
        return [client_id for client_id in client_ids if client_id not in whole]

    async def apply(self, begin: bytes, end: bytes, writes: Sequence[bytes]) -> bytes:
        fault = self._faults.next()
        if fault == BEFORE:
            raise Unavailable("redis", "no connection")
        found = self._data.position or b""
        if found == begin:
            rows = [write for chunk in writes for write in decode_writes(chunk)]
            self._data.applied.append((end, rows))
            found = end
        if fault == AFTER:
            raise Unavailable("redis", "no answer")
        return found

    async def due(self, until_ms: int, limit: int) -> list[str]:
        rows = self._data.due().values()
        due = sorted((row.due_ms, row.key.encode()) for row in rows if row.due_ms <= until_ms and row.due_ms < NEVER_MS)
        return [key.decode() for _, key in due[:limit]]

    async def clients(self, cursor: int, limit: int) -> tuple[int, list[str]]:
        if cursor == 0:
            self._scanned = self._data.failovers
        elif self._data.failovers != self._scanned:
            raise Surprised("a cursor of before a failover")
        client_ids = list(self._data.due())
        end = cursor + limit
        return end if end < len(client_ids) else 0, client_ids[cursor:end]
