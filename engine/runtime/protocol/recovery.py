"""The start of a partition: what the ledger holds and the store lacks, whatever became of either.

Enters: a Log and a Store. Leaves: the position from which the partition goes on, and a store that holds what the ledger
says.
Holds: nothing is decided again; each write is the last one of its key, so a start that ends anywhere can be repeated.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import structlog

from engine.runtime.errors import Refused, Surprised
from engine.runtime.protocol import ledger
from engine.runtime.protocol.ledger import Log, Store, Unit
from engine.runtime.protocol.position import Position
from engine.runtime.protocol.writes import Write, decode_writes, encode_writes

log = structlog.get_logger(__name__)

HEAL_KEYS: Final = 20_000  # held in memory at once; when more are gone, the whole ledger is applied again
NAMED: Final = 3  # keys in a message


async def apply(store: Store, begin: bytes, end: bytes, writes: Sequence[bytes]) -> None:
    found = await store.apply(begin, end, writes)
    if found != end:
        raise Surprised(f"Redis stands at {found!r}, not where this unit began")


def some(keys: Collection[str]) -> str:
    """A few of the keys, for a message."""
    named = sorted(keys)[:NAMED]
    return ", ".join(named) + (f" and {len(keys) - len(named)} more" if len(keys) > len(named) else "")


def under_way(number: int) -> str:
    return (
        f"partition {number}: a load is under way here, or was broken off. Run the same `engage load` again: it goes "
        "on where it stands, and workers may start when it has come to its end"
    )


async def refuse_loading(number: int, log_: Log, position: Position) -> None:
    """Raises Refused while a load has not come to its end. A store that fails over right after it, or that is only
    being brought up to date, stands within the load: the ledger knows.
    """
    loading = position.end.loading
    if loading:
        _, end = await log_.bounds()
        async for _, record in log_.read(position.ledger, end):
            loading = ledger.decode_unit(record).end.loading
    if loading:
        raise Refused(under_way(number))


class Recovery:
    """Of one partition."""

    def __init__(self, number: int, log_: Log, store: Store, *, for_load: bool = False) -> None:
        self._number = number
        self._for_load = for_load
        self._log = log_
        self._store = store
        self.units = 0  # applied from the ledger by all starts
        self.healed = 0  # keys that were gone and were written again
        self.miscounted = 0  # by how many keys the store has more than the position says, since the last start

    async def run(self, gone: Collection[str]) -> Position:
        """Fence the predecessor and apply what the ledger holds and the store lacks: units that came after its
        position, and keys that were written before it and are `gone`, or that are missing by number.

        Raises Refused, Newer, Fenced, Unavailable.
        """
        # a newer engine's partition, and one that a load is filling, are left alone, not fenced
        position = Position.read(await self._store.position())
        if not self._for_load:
            await refuse_loading(self._number, self._log, position)
        for _ in range(2):
            await self._log.start()
            position = Position.read(await self._store.position())
            first, end = await self._log.bounds()
            if first <= max(position.ledger - 1, 0) and position.ledger <= end:
                break
            # Another worker may have taken over, and committed, since this one began: fence it and check again
        self._check_bounds(position, first, end)
        position = await self._follow(position, max(position.ledger - 1, 0), end)
        if position.end.loading and not self._for_load:
            raise Refused(under_way(self._number))
        return await self._heal(position, first, end, gone)

    def _check_bounds(self, position: Position, first: int, end: int) -> None:
        """The ledger must still hold the record that the position names, or, for a store that holds none, its
        beginning.
        """
        needed = max(position.ledger - 1, 0)
        if end < position.ledger or first > needed:
            lost = "Kafka has lost the end of it" if end < position.ledger else "its beginning was deleted"
            raise Refused(
                f"partition {self._number}: Redis stands at ledger offset {position.ledger} but the ledger holds "
                f"{first} to {end}: {lost}. Restore the topic, or the Redis backup that belongs to it; or empty this "
                "Redis and run `engage rebuild` with the newest snapshot"
            )

    async def _follow(self, position: Position, first: int, end: int) -> Position:
        """Apply the ledger's records from `first`, which includes the last applied one: it must be the one the
        position names.
        """
        chunks: list[Unit] = []
        recovered = 0
        seen_last = position.ledger == 0
        async for offset, record in self._log.read(first, end):
            if offset < position.ledger:
                if ledger.digest_of(record) != position.digest:
                    raise Refused(
                        f"partition {self._number}: the ledger record at offset {offset} is not the one that Redis "
                        "applied last. This Redis belongs to another ledger, or Kafka lost and rewrote its end: "
                        "restore the pair that belongs together"
                    )
                seen_last = True
                continue
            unit = ledger.decode_unit(record)
            if unit.begin != position.text:
                raise Refused(
                    f"partition {self._number}: the ledger record at offset {offset} does not follow what Redis holds. "
                    f"Restore the Redis backup that belongs to this ledger"
                )
            chunks.append(unit)
            if len(chunks) < unit.chunks:
                continue
            position = unit.leads_to(offset, record)
            await apply(self._store, unit.begin, position.text, [chunk.writes for chunk in chunks])
            chunks = []
            recovered += 1
        if not seen_last:
            raise Refused(
                f"partition {self._number}: the ledger record before offset {position.ledger}, the last that Redis "
                f"applied, is missing: Kafka lost it. Restore the topic, or the Redis backup that belongs to it"
            )
        if recovered:
            self.units += recovered
            log.info("recovered", partition=self._number, units=recovered, ledger=position.ledger)
        return position

    # -- keys that were written and are gone ---------------------------------------------------------

    async def _heal(self, position: Position, first: int, end: int, gone: Collection[str]) -> Position:
        """Write what was evicted or deleted again: the ledger has the last write of each key."""
        self.miscounted = 0
        known, missing = await self._known(position), await self._missing(gone)
        if known == position.states and not missing:
            return position
        log.warning(
            "Redis has lost keys that were written, by eviction or by hand: the ledger is searched for them",
            partition=self._number,
            clients=known,
            written=position.states,
            gone=some(missing),
        )
        lost = await self._lost(first, position.ledger)
        missing = await self._missing(missing)  # another worker may have been quicker
        if lost is None and first == 0:
            # emptied first, so that whoever starts before this has ended begins at the beginning, too
            await apply(self._store, position.text, b"", [])
            position = await self._follow(Position(), 0, end)
        elif lost is None or missing - lost.keys():
            raise Refused(
                self._unhealed(f"more than {HEAL_KEYS}" if lost is None else some(missing - lost.keys()), first)
            )
        else:
            for chunk in encode_writes(lost.values()):
                await apply(self._store, position.text, position.text, [chunk])
            self.healed += len(lost)
            log.info("what Redis had lost is back", partition=self._number, clients=some(lost.keys()))
        self.miscounted = await self._known(position) - position.states
        if self.miscounted and await self._lost(first, position.ledger) != {}:
            raise Surprised("Redis has lost keys again while they were written")
        if self.miscounted and first > 0:
            raise Refused(self._unhealed(f"{abs(self.miscounted)} that nothing names", first))
        if self.miscounted:  # an engine that did not notice counted a client twice
            log.warning("clients were counted wrong, the next unit corrects it", partition=self._number)
        return position

    async def _known(self, position: Position) -> int:
        looked = await self._store.look(0, 1)
        if (looked.position or b"") != position.text:
            raise Surprised("Redis moved while what it had lost was searched for: another worker has the partition")
        return looked.known

    async def _missing(self, keys: Collection[str]) -> set[str]:
        return set(await self._store.missing(sorted(keys)))

    async def _lost(self, first: int, end: int) -> dict[str, Write] | None:
        """The last write of each key that the store lacks; None when these are too many."""
        lost: dict[str, Write] = {}
        async for _, record in self._log.read(first, end):
            rows = {write.key: write for write in decode_writes(ledger.decode_unit(record).writes)}
            for key in await self._store.missing([key for key in rows if key not in lost]):
                lost[key] = rows[key]
            lost.update({key: rows[key] for key in rows.keys() & lost.keys()})
            if len(lost) > HEAL_KEYS:
                return None
        return lost

    def _unhealed(self, which: str, first: int) -> str:
        return (
            f"partition {self._number}: Redis has lost clients that were written ({which}), by eviction or by hand, "
            f"and the ledger begins after that, at offset {first}. Set Redis's maxmemory-policy to noeviction, stop "
            "all workers, empty this Redis and run `engage rebuild --snapshot FILE` with the newest snapshot"
        )
