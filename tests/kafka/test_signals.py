"""Workers ended by SIGTERM and SIGINT at any moment: exit status 0 within the grace period, nothing lost or doubled."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from engine.runtime.worker.event_loop import GRACE_S
from tests.kafka.conftest import MakeInstallation, Offline
from tests.kafka.installation import Installation, WorkerProcess
from tests.kafka.worker_process import eventually
from tests.services.kafka import KafkaBroker
from tests.services.redis import RedisServer

TERM, INT = signal.SIGTERM, signal.SIGINT
KINDS = [(TERM,), (INT,), (TERM, TERM), (TERM, INT), (INT, INT, TERM)]


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    with RedisServer(appendfsync="always") as server:
        yield server


@pytest.fixture
def own_kafka() -> Iterator[KafkaBroker]:
    with KafkaBroker() as broker:
        yield broker


def end(worker: WorkerProcess, kind: tuple[signal.Signals, ...]) -> None:
    for number in kind:
        worker.signal(number)
    began = time.monotonic()
    assert worker.wait() == 0, worker.log.read_text()[-2000:]
    print(f"ended after {time.monotonic() - began:.1f} s")
    assert "Traceback" not in worker.log.read_text()


def listens(worker: WorkerProcess) -> bool:
    return worker.get("/health/live")[0] == 200


@pytest.mark.short
def test_ended_again_and_again_under_load(install: MakeInstallation, trades: Offline) -> None:
    """From the moment when it listens on: while it joins, recovers, decides, commits."""
    engine = install().create_topics()
    engine.produce(trades.records)
    for number, wait_s in enumerate((0.0, 0.2, 0.4, 0.7, 1.0, 1.4, 2.0, 3.0)):
        worker = engine.worker(ENGAGE_BATCH_RECORDS=50)
        eventually(lambda worker=worker: listens(worker), "it listens")  # type: ignore[misc]
        time.sleep(wait_s)
        end(worker, KINDS[number % len(KINDS)])
    engine.worker().wait_ready()
    engine.settle()
    engine.comes_to(trades.states)
    assert engine.actions() == trades.actions


def at_work(engine: Installation) -> WorkerProcess:
    worker = engine.worker(ENGAGE_BATCH_RECORDS=20).wait_ready()
    eventually(lambda: worker.metric("engage_events_total") > 20, "the worker is at work")
    return worker


@pytest.mark.parametrize("kind", KINDS[:3], ids=str)
def test_ended_while_redis_is_away(
    install: MakeInstallation, own_redis: RedisServer, trades: Offline, kind: tuple[signal.Signals, ...]
) -> None:
    engine = install(redis_url=own_redis.url).create_topics()
    engine.produce(trades.records)
    worker = at_work(engine)
    own_redis.kill()
    eventually(lambda: worker.metric("engage_waiting", system="redis") == 1, "it waits")
    end(worker, kind)
    late = engine.worker()
    eventually(lambda: late.logged("waiting"), "another one waits from its start on")
    end(late, kind)
    own_redis.start()
    engine.worker().wait_ready()
    engine.settle()
    engine.comes_to(trades.states)
    assert engine.actions() == trades.actions


def test_ended_while_kafka_is_away_or_hangs(install: MakeInstallation, own_kafka: KafkaBroker, trades: Offline) -> None:
    engine = install(kafka=own_kafka.bootstrap).create_topics()
    engine.produce(trades.records)
    worker = at_work(engine)
    own_kafka.pause()  # it takes connections, and answers nothing
    time.sleep(1)
    began = time.monotonic()
    end(worker, (TERM, TERM))
    assert time.monotonic() - began < GRACE_S + 60  # it is the machine that may be slow
    own_kafka.resume()
    worker = at_work(engine)
    own_kafka.kill()
    eventually(lambda: worker.metric("engage_waiting", system="kafka") == 1, "it waits")
    end(worker, (INT,))
    own_kafka.start()
    engine.worker().wait_ready()
    engine.settle()
    engine.comes_to(trades.states)
    assert engine.actions() == trades.actions
