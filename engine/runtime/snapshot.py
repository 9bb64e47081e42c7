"""Snapshots: a file of all states, an emptied Redis made whole again, and the ledger cut behind both.

Enters: Redis, the ledger, a snapshot file. Leaves: a file, states in Redis, a shorter ledger.
Holds: a snapshot is taken while workers run: each partition's position is read first, so that states read later may be
newer, and the ledger after that position, whose writes are absolute, makes them whole. Redis is known to the engine
again only when every partition is.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgpack
from aiokafka import TopicPartition
from aiokafka.admin.records_to_delete import RecordsToDelete
from redis.asyncio import Redis

from engine.core.state import unpack
from engine.runtime import ledger, topics
from engine.runtime.clients import NO_RULES, packed_states
from engine.runtime.kafka import KafkaLog
from engine.runtime.ledger import Fenced, Position, Refused, Surprised
from engine.runtime.metrics import Metrics
from engine.runtime.partition import Partition
from engine.runtime.redis_store import RedisStore, flushed, is_pinned, pin_ledger, pin_partitions, pinned_partitions
from engine.runtime.settings import Settings
from engine.runtime.unit import UnitLimits

FORMAT: Final = "engage-snapshot-1"
ROWS: Final = 500


@dataclass(frozen=True, slots=True)
class Header:
    app_id: str
    partitions: int


async def take(settings: Settings, redis: Redis, path: Path) -> int:
    """Write a snapshot; how many clients it holds. The file appears whole or not at all."""
    partitions = await pinned_partitions(redis, settings.app_id)
    part = path.with_name(path.name + ".part")
    clients = 0
    with part.open("wb") as out:
        _put(out, [FORMAT, settings.app_id, partitions])
        for partition in range(partitions):
            position = await RedisStore(redis, settings.app_id, partition).position()
            _put(out, ["partition", partition, position])
            async for states in _batches(packed_states(redis, settings.app_id, partition)):
                _put(out, ["states", ledger.encode_writes((unpack(NO_RULES.layout, state), state) for state in states)])
                clients += len(states)
        _put(out, ["end", clients])
        out.flush()
        os.fsync(out.fileno())
    part.replace(path)
    return clients


async def _batches(states: AsyncIterator[tuple[str, bytes]]) -> AsyncIterator[list[bytes]]:
    batch: list[bytes] = []
    async for _, state in states:
        batch.append(state)
        if len(batch) == ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


def _put(out: BinaryIO, row: list[Any]) -> None:
    out.write(msgpack.packb(row))


def read(path: Path) -> tuple[Header, Iterator[list[Any]]]:
    """A snapshot's header and rows. Raises Refused for a file that is none, or is not whole."""
    try:
        source = path.open("rb")
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error
    rows = _rows(path, source)
    first = next(rows, None)
    if not isinstance(first, list) or first[:1] != [FORMAT]:
        raise Refused(f"{path}: not a snapshot of this version ({FORMAT})")
    return Header(first[1], first[2]), rows


def _rows(path: Path, source: BinaryIO) -> Iterator[list[Any]]:
    row: Any = None
    with source:
        try:
            for row in msgpack.Unpacker(source, max_buffer_size=256_000_000):
                yield row
        except (ValueError, msgpack.UnpackException) as error:
            raise Refused(f"{path}: cannot be read as a snapshot ({error})") from error
    if not isinstance(row, list) or row[0] != "end":
        raise Refused(f"{path}: the snapshot is not whole: take another")


@dataclass(slots=True)
class Rebuilt:
    clients: int = 0
    units: int = 0


async def rebuild(settings: Settings, redis: Redis, path: Path | None) -> Rebuilt:
    """Make a Redis that holds no state whole, from a snapshot and the ledger after it, or from the whole ledger.

    Stop all workers first: each partition is fenced. Raises Refused when Redis holds state, or when snapshot and
    ledger do not fit.
    """
    partitions = await topics.partition_count(settings)
    if await is_pinned(redis, settings.app_id):
        raise Refused(
            "this Redis holds the engine's state already; a rebuild is for an emptied one. Workers bring a Redis "
            "that only lost its last writes up to date by themselves"
        )
    if path is not None:
        await _restore(settings, redis, path, partitions)
    metrics, rebuilt = Metrics(), Rebuilt()
    for number in range(partitions):
        log = KafkaLog(settings, number)
        store = RedisStore(redis, settings.app_id, number)
        partition = Partition(number, log, store, lambda: NO_RULES, lambda _: True, metrics, 0, UnitLimits())
        try:
            rebuilt.clients += (await _recovered(partition)).clients
        finally:
            await log.stop()
    rebuilt.units = int(metrics.recovered_units._value.get())
    await pin_ledger(redis, settings.app_id, settings.ledger_topic)
    await pin_partitions(redis, settings.app_id, partitions, ledger_is_empty=True)
    return rebuilt


async def _recovered(partition: Partition) -> Position:
    try:
        return await partition.recover()
    except (Fenced, Surprised) as error:
        raise Refused(
            f"partition {partition.number}: {error}. Let no worker start meanwhile, and run the rebuild again"
        ) from error


async def _restore(settings: Settings, redis: Redis, path: Path, partitions: int) -> None:
    header, rows = read(path)
    if (header.app_id, header.partitions) != (settings.app_id, partitions):
        raise Refused(
            f"{path}: is of app {header.app_id} with {header.partitions} partitions, not of {settings.app_id} with "
            f"{partitions}"
        )
    store, position = RedisStore(redis, settings.app_id, 0), None
    for kind, *values in rows:
        if kind == "states":
            await store.restore(values[0])
            continue
        if position is not None:  # a partition's position comes after all of its states
            await store.restore([], position)
        position = None
        if kind == "partition":
            store, position = RedisStore(redis, settings.app_id, values[0]), values[1]


async def trim(settings: Settings, redis: Redis, path: Path) -> dict[int, int]:
    """Delete the ledger's records that neither the snapshot nor Redis needs; each partition's new beginning.

    Raises Refused unless Redis has on disk what the ledger is about to lose.
    """
    header, rows = read(path)
    partitions = await topics.partition_count(settings)
    if (header.app_id, header.partitions) != (settings.app_id, partitions):
        raise Refused(f"{path}: is not a snapshot of this engine")
    positions = {values[0]: values[1] for kind, *values in rows if kind == "partition"}
    await flushed(redis)
    beginnings = {}
    for number, position in positions.items():
        stored = await RedisStore(redis, settings.app_id, number).position()
        if position is None or stored is None:
            continue
        # the record that a position names must stay: it is how ledger and Redis know each other
        before = min(Position.from_bytes(position).ledger, Position.from_bytes(stored).ledger) - 1
        if before > 0:
            beginnings[number] = before
    async with topics.Admin(settings) as admin:
        targets = {
            TopicPartition(settings.ledger_topic, number): RecordsToDelete(before_offset=before)
            for number, before in beginnings.items()
        }
        if targets:
            await admin.delete_records(targets)
    return beginnings
