"""Kafka or Redis away, or a Redis that forgot: the engine waits, says so, goes on; nothing is lost or doubled."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kafka.conftest import MakeInstallation, Offline
from tests.kafka.installation import Installation, Sent, WorkerProcess
from tests.kafka.worker_process import eventually
from tests.services.kafka import KafkaBroker
from tests.services.process import Server
from tests.services.redis import RedisServer

AWAY_S = 4.0
BUSY_SHARE = 0.4  # of one processor, while there is nothing to do but wait; a busy loop takes all of one


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A store of the test's own, which writes every command to disk before it answers."""
    with RedisServer(appendfsync="always") as server:
        yield server


@pytest.fixture(scope="module")
def own_kafka() -> Iterator[KafkaBroker]:
    """A broker of this module's own, to be killed and started."""
    with KafkaBroker() as broker:
        yield broker


def producing(engine: Installation, records: tuple[Sent, ...], rate: float) -> threading.Thread:
    thread = threading.Thread(target=engine.produce, args=(records,), kwargs={"rate": rate})
    thread.start()
    return thread


def outage(worker: WorkerProcess, system: str, server: Server) -> None:
    """Kill the server for a while and start it again; the worker must notice, wait quietly, and be well again."""
    eventually(lambda: worker.ready, "the worker is well")  # on a busy machine a partition may be starting again
    eventually(lambda: worker.metric("engage_waiting", system=system) == 0, "it waits for nothing")
    before = len(worker.entries())
    server.kill()
    eventually(lambda: worker.metric("engage_waiting", system=system) == 1, f"the worker waits for {system}")
    status, body = worker.get("/health/ready")
    assert status == 503
    assert f"{system} is away" in body
    assert worker.get("/health/live")[0] == 200
    began, cpu = time.monotonic(), worker.cpu_seconds
    time.sleep(AWAY_S)  # how much it does meanwhile is what is measured
    share = (worker.cpu_seconds - cpu) / (time.monotonic() - began)
    print(f"CPU share {share:.2f} while {system} is away")
    assert share < BUSY_SHARE, f"{share:.0%} of a processor while {system} is away"
    server.start()
    eventually(lambda: worker.ready, "the worker is ready again")
    eventually(lambda: worker.metric("engage_waiting", system=system) == 0, "it waits no more")
    told = [entry["event"] for entry in worker.entries()[before:] if entry.get("system") == system]
    assert [event for event in told if event != "still waiting"] == ["waiting", "no longer waiting"]
    assert told.count("still waiting") <= 3  # one a minute, not one for each partition and try


@pytest.mark.short
def test_redis_killed_under_load(install: MakeInstallation, own_redis: RedisServer, trades: Offline) -> None:
    engine = install(redis_url=own_redis.url).create_topics()
    load = producing(engine, trades.records, 1_500)
    worker = engine.worker(ENGAGE_BATCH_RECORDS=50).wait_ready()
    eventually(lambda: worker.metric("engage_events_total") > 500, "the worker is at work")
    outage(worker, "redis", own_redis)
    load.join()
    engine.settle()
    engine.comes_to(trades.states)
    assert engine.actions() == trades.actions
    worker.stop()


def test_kafka_killed_under_load(install: MakeInstallation, own_kafka: KafkaBroker, trades: Offline) -> None:
    engine = install(kafka=own_kafka.bootstrap).create_topics()
    load = producing(engine, trades.records, 1_500)
    worker = engine.worker(ENGAGE_BATCH_RECORDS=50).wait_ready()
    eventually(lambda: worker.metric("engage_events_total") > 500, "the worker is at work")
    outage(worker, "kafka", own_kafka)
    load.join()
    engine.settle()
    engine.comes_to(trades.states)
    assert engine.actions() == trades.actions
    worker.stop()


def test_both_away_at_the_start(install: MakeInstallation, own_kafka: KafkaBroker, own_redis: RedisServer) -> None:
    """A worker may come up before what it needs: it waits for both and is ready when they are there."""
    engine = install(kafka=own_kafka.bootstrap, redis_url=own_redis.url).create_topics()
    own_kafka.kill()
    own_redis.kill()
    worker = engine.worker()
    for system, server in (("redis", own_redis), ("kafka", own_kafka)):
        eventually(lambda system=system: worker.metric("engage_waiting", system=system) == 1, f"it waits for {system}")
        assert worker.get("/health/ready")[0] == 503
        assert worker.get("/health/live")[0] == 200
        server.start()
    worker.wait_ready()
    worker.stop()


@pytest.mark.parametrize(
    "worker_too",
    [pytest.param(False, marks=pytest.mark.short), True],
    ids=["worker-stays", "worker-restarts"],
)
def test_redis_that_lost_its_last_writes(
    install: MakeInstallation, own_redis: RedisServer, trades: Offline, tmp_path: Path, worker_too: bool
) -> None:
    """Its data are put back to an earlier time: the ledger brings it forward, nothing is decided or published again."""
    engine = install(redis_url=own_redis.url).create_topics()
    worker = engine.worker().wait_ready()
    engine.produce(trades.records[:4_000])
    engine.settle()
    earlier = engine.positions()
    own_redis.save_data(tmp_path / "earlier")
    engine.produce(trades.records[4_000:8_000])
    engine.settle()
    if worker_too:
        worker.kill()
    own_redis.kill()
    own_redis.restore_data(tmp_path / "earlier")
    own_redis.start()
    if worker_too:
        assert engine.positions() == earlier
        worker = engine.worker(ENGAGE_SESSION_TIMEOUT_S=1).wait_ready()
    engine.produce(trades.records[8_000:])
    eventually(lambda: worker.metric("engage_recovered_units_total") > 0, "the ledger was followed")
    engine.settle()
    engine.comes_to(trades.states)
    assert engine.actions() == trades.actions
    worker.stop()
