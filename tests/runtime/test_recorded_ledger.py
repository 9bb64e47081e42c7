"""The ledger that release 0.1.0 wrote, followed in memory: from its beginning, and from where Redis stood."""

from __future__ import annotations

import msgpack
import pytest

from engine.runtime.observe.metrics import Metrics
from engine.runtime.protocol.partition import Partition
from engine.runtime.protocol.unit import UnitLimits
from engine.runtime.protocol.writes import Write, decode_writes, from_0_1
from engine.runtime.redis.reading import NO_RULES
from tests.fixtures import loading
from tests.memory import Data, Ledger, MemoryLog, MemoryStore


def partition_of(number: int, data: Data) -> Partition:
    ledger = Ledger()
    ledger.records = loading.ledger_slots(number)
    log, store = MemoryLog(ledger), MemoryStore(data)
    return Partition(number, log, store, lambda: NO_RULES, lambda _: True, Metrics(), 0, UnitLimits())


def stored(number: int) -> tuple[bytes, list[Write]]:
    position, rows = loading.store_rows(number)
    return position, list(decode_writes(from_0_1(msgpack.packb(rows, use_bin_type=False))))


@pytest.mark.parametrize("number", range(loading.PARTITIONS))
async def test_the_ledger_leads_to_what_redis_held(number: int) -> None:
    data = Data()
    await partition_of(number, data).recover()
    position, rows = stored(number)
    assert data.position == position
    assert data.rows() == {write.key: write for write in rows}


@pytest.mark.parametrize("number", range(loading.PARTITIONS))
async def test_redis_needs_nothing_of_the_ledger(number: int) -> None:
    data = Data()
    data.applied.append(stored(number))
    await partition_of(number, data).recover()
    assert len(data.applied) == 1
