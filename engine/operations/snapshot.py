"""Snapshots: a file of all states, an emptied Redis made whole again, and the ledger cut behind both.

Enters: AnyRedis, the ledger, a snapshot file. Leaves: a file, states in Redis, a shorter ledger.
Holds: a snapshot is taken while workers run: each partition's position is read first, so that states read later may be
newer, and the ledger after that position, whose writes are absolute, makes them whole. Redis is known to the engine
again only when every partition is.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import msgpack
from aiokafka import TopicPartition
from aiokafka.admin.records_to_delete import RecordsToDelete

from engine.processors.assignment import ASSIGNMENT
from engine.processors.engagement import ENGAGEMENT
from engine.processors.opening import open_partition
from engine.runtime.clients import Clients
from engine.runtime.errors import Fenced, Refused, Surprised, Unavailable
from engine.runtime.formats import SNAPSHOT_FORMAT, check_readable
from engine.runtime.kafka import topics
from engine.runtime.kafka.connection import partition_counts
from engine.runtime.kafka.log import KafkaLog
from engine.runtime.protocol import ledger, writes
from engine.runtime.protocol.partition import Partition
from engine.runtime.protocol.position import Position
from engine.runtime.protocol.processor import Processor
from engine.runtime.protocol.writes import Write, decode_writes, encode_writes
from engine.runtime.redis.eviction import refuse_eviction
from engine.runtime.redis.pins import is_pinned, pin_ledger, pin_partitions, pinned_partitions
from engine.runtime.redis.reading import packed_states
from engine.runtime.redis.store import RedisStore
from engine.runtime.redis.upkeep import flushed
from engine.runtime.settings import Settings

if TYPE_CHECKING:
    from engine.runtime.clients import AnyRedis

# A file is rows of msgpack, each a map. The first one names the format, `{engage_snapshot: 3, app_id: ..., partitions:
# ...}`; then `{partition: ..., position: ...}` and that partition's `{states: [chunks of writes]}`; `{end: digest}`.
ROWS: Final = 500
BEGIN_0_1: Final = b"\x93" + msgpack.packb("engage-snapshot-2")  # its rows were arrays, this the first of three values
END_BYTES: Final = len(msgpack.packb({"end": b"\0" * 64}))  # as much as ["end", digest]


AnyProcessor = Processor[Any, Any, Any]
Moved = Callable[[int, int], None]  # how far it is, and of how much


@dataclass(frozen=True, slots=True)
class Header:
    app_id: str
    partitions: int


@dataclass(frozen=True, slots=True)
class Row:
    """A partition's position (its states follow), or some states. With neither it is the end, or a newer engine's."""

    partition: int | None = None
    position: bytes | None = None
    chunks: tuple[bytes, ...] = ()


async def take(
    settings: Settings,
    redis: AnyRedis,
    path: Path,
    moved: Moved = lambda done, of: None,
    processor: AnyProcessor = ENGAGEMENT,
) -> int:
    """Write a snapshot; how many states it holds. The file appears whole or not at all. `moved` hears of how many of
    the states are written. Raises Refused when it cannot be written.
    """
    settings = settings.scoped(processor.name, processor.suffix)
    partitions = await pinned_partitions(redis, settings.scope)
    if path.exists() and not path.is_file():
        raise Refused(f"{path} exists and is not a regular file; choose another path")
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as out:
            clients = await _write(settings, redis, partitions, out, moved, processor)
            out.flush()
            os.fsync(out.fileno())
        part.replace(path)
        _sync(path.absolute().parent)  # a trim relies on the file: its name must survive a crash of the machine, too
    except OSError as error:
        raise Refused(f"{error.filename or part}: {error.strerror}: nothing was written") from error
    finally:
        part.unlink(missing_ok=True)
    return clients


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def _write(
    settings: Settings, redis: AnyRedis, partitions: int, out: BinaryIO, moved: Moved, processor: AnyProcessor
) -> int:
    """Writes all rows; returns the number of states."""
    rows, plan = Rows(out), processor.bare_plan
    stores = [RedisStore(redis, settings.scope, partition) for partition in range(partitions)]
    clients, of = 0, sum([Position.read(await store.position()).states for store in stores])
    rows.put({"engage_snapshot": SNAPSHOT_FORMAT, "app_id": settings.scope, "partitions": partitions})
    for partition, store in enumerate(stores):
        server = await store.server()
        position = await store.position()
        Position.read(position)  # what a newer engine writes is its own to save
        rows.put({"partition": partition, "position": position})
        async for states in _batches(packed_states(redis, settings.scope, partition)):
            chunks = encode_writes(
                processor.write(processor.unpack(plan, state), state)._replace(moved=()) for state in states
            )
            rows.put({"states": chunks})
            clients += len(states)
            moved(clients, of)
        if await store.server() != server:  # another one names clients in another order, and may have lost writes
            what = "it restarted, failed over or moved a slot during the snapshot: take the snapshot again"
            raise Unavailable("redis", what)
    rows.end()
    return clients


class Rows:
    """The rows of a snapshot as they are written. The last one is the digest of all before it."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._digest = hashlib.blake2b()

    def put(self, row: dict[str, Any]) -> None:
        packed = msgpack.packb(row)
        self._digest.update(packed)
        self._out.write(packed)

    def end(self) -> None:
        self.put({"end": self._digest.digest()})


async def _batches(states: AsyncIterator[tuple[str, bytes]]) -> AsyncIterator[list[bytes]]:
    batch: list[bytes] = []
    async for _, state in states:
        batch.append(state)
        if len(batch) == ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


def read(path: Path) -> tuple[Header, Iterator[Row]]:
    """A snapshot's header and rows. Raises Refused if the file is not a snapshot or not complete, and Newer."""
    try:
        with path.open("rb") as source:
            of_0_1 = source.read(len(BEGIN_0_1)) == BEGIN_0_1
            source.seek(0)
            whole = _is_whole(source)
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error
    rows = _rows(path)
    try:
        first: Any = next(rows)
        if of_0_1:
            header = Header(*first[1:])
        else:
            check_readable(str(path), first["engage_snapshot"], SNAPSHOT_FORMAT)
            header = Header(first["app_id"], first["partitions"])
    except (StopIteration, ValueError, TypeError, KeyError, IndexError, msgpack.UnpackException) as error:
        raise Refused(f"{path}: not a snapshot that `engage snapshot` wrote") from error
    if not whole:
        raise Refused(f"{path}: the snapshot is not whole, or was changed: take another")
    return header, (_row_0_1(*row) if of_0_1 else _row(row) for row in rows)


def clients_of(path: Path, moved: Moved = lambda done, of: None) -> Iterator[Write]:
    """Of all clients. A scan can name one twice; among so many that makes no difference. `moved` hears of bytes."""
    _, rows = read(path)
    done, size = 0, path.stat().st_size
    for row in rows:
        for chunk in row.chunks:
            yield from decode_writes(chunk)
            done += len(chunk)
            moved(done, size)


def _row(row: dict[str, Any]) -> Row:
    return Row(row.get("partition"), row.get("position"), tuple(row.get("states", ())))


def _row_0_1(kind: str, *values: Any) -> Row:
    if kind == "partition":
        return Row(*values)
    return Row(chunks=tuple(map(writes.from_0_1, values[0]))) if kind == "states" else Row()


def _is_whole(source: BinaryIO) -> bool:
    digest = hashlib.blake2b()
    left = os.fstat(source.fileno()).st_size - END_BYTES
    while left > 0 and (part := source.read(min(left, 1 << 20))):
        digest.update(part)
        left -= len(part)
    end = "end", digest.digest()
    return source.read(END_BYTES) in (msgpack.packb(dict([end])), msgpack.packb(end))  # an array: of 0.1.0


def _rows(path: Path) -> Iterator[Any]:
    with path.open("rb") as source:
        yield from msgpack.Unpacker(source, max_buffer_size=256_000_000)


@dataclass(slots=True)
class Rebuilt:
    clients: int = 0
    units: int = 0
    pools: int = 0  # of advisors


async def rebuild_all(
    settings: Settings,
    clients: Clients,
    redis: AnyRedis,
    path: Path | None,
    moved: Moved = lambda done, of: None,
) -> Rebuilt:
    """Clients by `rebuild`; before them the pools of advisors, if there are any and Redis has none, from their whole
    ledger. What was interrupted can be run again.
    """
    pools = settings.scoped(ASSIGNMENT.name, ASSIGNMENT.suffix)
    partitions = (await partition_counts(pools, clients, [pools.ledger_topic])).get(pools.ledger_topic)
    decided = partitions and not await topics.ledger_is_empty(pools, clients, partitions)
    first = Rebuilt()
    if decided and not await is_pinned(redis, pools.scope):
        first = await rebuild(settings, clients, redis, None, moved, ASSIGNMENT)
        if await is_pinned(redis, settings.scope):
            return Rebuilt(0, first.units, first.clients)
    rebuilt = await rebuild(settings, clients, redis, path, moved)
    return Rebuilt(rebuilt.clients, first.units + rebuilt.units, first.clients)


async def rebuild(
    settings: Settings,
    clients: Clients,
    redis: AnyRedis,
    path: Path | None,
    moved: Moved = lambda done, of: None,
    processor: AnyProcessor = ENGAGEMENT,
) -> Rebuilt:
    """Make a Redis that holds no state whole, from a snapshot and the ledger after it, or from the whole ledger.
    `moved` hears of the partitions restored, and of those recovered.

    Stop all workers first: each partition is fenced. Raises Refused when Redis holds state, or when snapshot and
    ledger do not fit.
    """
    settings = settings.scoped(processor.name, processor.suffix)
    await refuse_eviction(redis)
    partitions = await topics.partition_count(settings, clients)
    if await is_pinned(redis, settings.scope):
        raise Refused(
            "this Redis holds the engine's state already; a rebuild is for an emptied one. Workers bring a Redis "
            "that only lost its last writes up to date by themselves"
        )
    if path is not None:
        await _restore(settings, clients, redis, path, partitions, moved)
    rebuilt, restored = Rebuilt(), partitions if path is not None else 0
    for number in range(partitions):
        opened = open_partition(
            settings, clients, redis, processor, number, plan=lambda: processor.bare_plan, for_load=True
        )
        try:
            rebuilt.clients += (await _recovered(opened.partition)).states
            rebuilt.units += opened.partition.recovered_units
        finally:
            await opened.log.stop()
        moved(restored + number + 1, restored + partitions)
    await pin_ledger(redis, settings.scope, settings.ledger_topic)
    await pin_partitions(redis, settings.scope, partitions, ledger_is_empty=True)
    return rebuilt


async def _recovered(partition: Partition[Any, Any, Any]) -> Position:
    try:
        return await partition.recover()
    except (Fenced, Surprised) as error:
        raise Refused(
            f"partition {partition.number}: {error}. Let no worker start meanwhile, and run the rebuild again"
        ) from error


async def _restore(
    settings: Settings, clients: Clients, redis: AnyRedis, path: Path, partitions: int, moved: Moved
) -> None:
    header, rows = read(path)
    if (header.app_id, header.partitions) != (settings.scope, partitions):
        raise Refused(
            f"{path}: is of app {header.app_id} with {header.partitions} partitions, not of {settings.scope} with "
            f"{partitions}"
        )
    await _check_fits(settings, clients, path)
    store, position = RedisStore(redis, settings.scope, 0), None
    for row in rows:
        if row.chunks:
            await store.restore(row.chunks)
            continue
        if position is not None:  # a partition's position comes after all of its states
            await store.restore([], position)
        position = row.position
        if row.partition is not None:
            moved(row.partition, 2 * partitions)
            store = RedisStore(redis, settings.scope, row.partition)


async def _check_fits(settings: Settings, clients: Clients, path: Path) -> dict[int, Position]:
    """The snapshot's positions; raises Refused unless the ledger holds the record that each of them names."""
    rows = read(path)[1]
    positions = {
        row.partition: Position.read(row.position) for row in rows if row.partition is not None and row.position
    }
    for number, position in positions.items():
        log = KafkaLog(settings, clients, number)
        first, end = await log.bounds()
        if first >= position.ledger:
            raise Refused(
                f"{path}: partition {number} is of ledger offset {position.ledger}, the ledger holds {first} to {end}: "
                "it was trimmed behind a newer snapshot; use that one"
            )
        named = [record async for _, record in log.read(position.ledger - 1, min(position.ledger, end))]
        if [ledger.digest_of(record) for record in named] != [position.digest]:
            raise Refused(
                f"{path}: partition {number}: the snapshot is of another ledger, or Kafka has lost this one's end; use "
                "the snapshot that belongs to this ledger"
            )
    return positions


async def trim(settings: Settings, clients: Clients, redis: AnyRedis, path: Path) -> dict[int, int]:
    """Delete the ledger's records that neither the snapshot nor Redis needs; each partition's new beginning.

    Raises Refused unless Redis has on disk what the ledger is about to lose.
    """
    header, _ = read(path)
    partitions = await topics.partition_count(settings, clients)
    if (header.app_id, header.partitions) != (settings.scope, partitions):
        raise Refused(f"{path}: is not a snapshot of this engine")
    positions = await _check_fits(settings, clients, path)
    await flushed(redis, settings.scope)
    beginnings = {}
    for number, position in positions.items():
        stored = await RedisStore(redis, settings.scope, number).position()
        if stored is None:
            continue
        # the record that a position names must stay: it is how ledger and Redis know each other
        before = min(position.ledger, Position.read(stored).ledger) - 1
        if before > 0:
            beginnings[number] = before
    async with topics.Admin(settings, clients) as admin:
        targets = {
            TopicPartition(settings.ledger_topic, number): RecordsToDelete(before_offset=before)
            for number, before in beginnings.items()
        }
        if targets:
            await admin.delete_records(targets)
    return beginnings
