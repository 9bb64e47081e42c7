"""What a running engine publishes and holds is what the offline replay says, byte for byte, whatever befalls its
workers.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.producer import message_accumulator, producer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from engine.runtime.partitioning import partitioner
from tests.kafka.conftest import Offline
from tests.kafka.installation import Installation
from tests.kafka.worker_process import eventually

DYING_WORKER = Path(__file__).with_name("dying_worker.py")
DYING_WORKER_STATUS = 99


def assert_as_offline(engine: Installation, offline: Offline) -> None:
    engine.settle()
    engine.comes_to(offline.states)
    assert engine.actions() == offline.actions


@pytest.mark.short
def test_mis_keyed_trades(engine: Installation, trades: Offline) -> None:
    """librdkafka's default partitioner is not Java's: most records come on a wrong partition and are re-sent once."""
    engine.produce(trades.records, partitioner="consistent_random")
    worker = engine.worker().wait_ready()
    assert_as_offline(engine, trades)
    rerouted = engine.read("rerouted")
    assert 5_000 < len(rerouted) < 10_000
    first_came = {(r.headers["engage_partition"], r.headers["engage_offset"]) for r in rerouted}
    assert len(first_came) == len(rerouted)  # each once
    assert engine.metric("engage_rerouted_total") == len(rerouted)
    assert engine.metric("engage_events_total", topic="trades") == 10_000
    eventually(lambda: worker.metric("engage_lag_records") == 0, "no lag is shown")
    worker.stop()


@pytest.mark.short
@pytest.mark.parametrize("moment", ["before_apply", "after_apply"])
def test_worker_that_dies(engine: Installation, trades: Offline, moment: str) -> None:
    """Dead between publish and apply, the ledger alone knows of the unit; dead after apply, nobody saw it finish."""
    engine.produce(trades.records)
    dying = engine.worker(
        program=[str(DYING_WORKER)],
        DIE_MOMENT=moment,
        DIE_AT=20,
        ENGAGE_BATCH_RECORDS=100,
        ENGAGE_SESSION_TIMEOUT_S=1,
    )
    assert dying.wait() == DYING_WORKER_STATUS
    assert not engine.settled()
    worker = engine.worker().wait_ready()
    if moment == "before_apply":
        assert worker.metric("engage_recovered_units_total") >= 1
    assert_as_offline(engine, trades)
    worker.stop()


def test_workers_killed_at_random_moments(engine: Installation, trades: Offline) -> None:
    seed = random.randrange(1_000_000)
    print("seed", seed)  # shown when the test fails
    moments = random.Random(seed)
    producing = threading.Thread(target=engine.produce, args=(trades.records,), kwargs={"rate": 1_500})
    producing.start()
    for _ in range(3):
        worker = engine.worker(ENGAGE_BATCH_RECORDS=50, ENGAGE_SESSION_TIMEOUT_S=1).wait_ready()
        time.sleep(moments.uniform(0, 0.7))  # the moment is what is tried, nothing is waited for
        worker.kill()
    worker = engine.worker(ENGAGE_SESSION_TIMEOUT_S=1)
    producing.join()
    assert_as_offline(engine, trades)
    worker.stop()


def test_whatever_producers_compress_with(engine: Installation, trades: Offline) -> None:
    share = len(trades.records) // 4 + 1
    for number, codec in enumerate(("gzip", "snappy", "lz4", "zstd")):
        client = engine.producer(**{"compression.type": codec, "linger.ms": 100})
        for sent in trades.records[number * share : (number + 1) * share]:
            client.produce(engine.settings.topic(sent.topic), key=sent.key, value=sent.value)
        assert client.flush(60) == 0
    worker = engine.worker().wait_ready()
    assert_as_offline(engine, trades)
    worker.stop()


class NotUtf8(str):
    """A header's name as librdkafka's C and Go users can write it, and Python's clients cannot."""

    def encode(self, *_: str) -> bytes:
        return b"\xff\xfe"


def test_whatever_headers_are_called(engine: Installation, trades: Offline, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (message_accumulator, producer):
        monkeypatch.setattr(module, "DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)

    async def produce() -> None:
        async with AIOKafkaProducer(bootstrap_servers=engine.settings.kafka, linger_ms=20) as client:
            partition_of = partitioner(engine.partitions)
            for number, sent in enumerate(trades.records):
                headers = [(NotUtf8("?"), b"1"), ("plain", b"2")] if number % 97 == 5 else []
                where = {"partition": partition_of(sent.key or b""), "headers": headers}
                await client.send(engine.settings.topic(sent.topic), sent.value, key=sent.key, **where)

    asyncio.run(produce())
    worker = engine.worker().wait_ready()
    assert_as_offline(engine, trades)
    worker.stop()


def test_sigterm_finishes_the_unit_in_hand(engine: Installation, trades: Offline) -> None:
    """Nothing is left for the next start to recover."""
    producing = threading.Thread(target=engine.produce, args=(trades.records,), kwargs={"rate": 2_500})
    producing.start()
    first = engine.worker(ENGAGE_BATCH_RECORDS=50).wait_ready()
    eventually(lambda: first.metric("engage_events_total") > 500, "the worker is at work")
    first.stop()  # asserts exit status 0
    assert not engine.settled()
    second = engine.worker().wait_ready()
    assert second.metric("engage_recovered_units_total") == 0
    producing.join()
    assert_as_offline(engine, trades)
    second.stop()
