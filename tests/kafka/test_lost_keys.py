"""Keys that a real Redis evicts or somebody deletes: no client is made new, no timer lost, and nothing done twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from confluent_kafka import TopicPartition

from engine.runtime.redis.keys import client_key, due_key, position_key
from tests.kafka.conftest import MakeInstallation
from tests.kafka.installation import Installation, Sent
from tests.kafka.worker_process import WorkerProcess, eventually
from tests.services.redis import RedisServer

Loss = Callable[[redis.Redis, str], object]
LOSSES: dict[str, Loss] = {
    "state": lambda r, app: r.delete(client_key(app, 0, "c1")),
    "due time": lambda r, app: r.zrem(due_key(app, 0), "c1"),
    "client": lambda r, app: [r.delete(client_key(app, 0, "c1")), r.zrem(due_key(app, 0), "c1")],
    "all due times": lambda r, app: r.delete(due_key(app, 0)),
    "position": lambda r, app: r.delete(position_key(app, 0)),
    "the partition": lambda r, app: r.delete(*r.keys(f"{{{app}:0}}:*")),
    "expired": lambda r, app: r.pexpire(client_key(app, 0, "c1"), 1),
    "number of partitions": lambda r, app: r.delete(f"{{{app}}}:partitions"),
    "name of the ledger": lambda r, app: r.delete(f"{{{app}}}:ledger"),
}


def event(number: int, client_id: str = "c1", hour: int = 0) -> Sent:
    value = {
        "event_id": f"e{number}", "client_id": client_id, "time": f"2026-02-{16 + number:02}T{10 + hour}:00:00+08:00",
        "symbol": "600519", "side": "buy", "quantity": 100, "amount_fen": 1_000_000,
    }  # fmt: skip
    return Sent("trades", client_id.encode(), json.dumps(value).encode())


@pytest.fixture
def engine(install: MakeInstallation) -> Installation:
    return install().create_topics(1)


def content(engine: Installation) -> dict[bytes, object]:
    """All that Redis holds of the engine."""
    with engine.redis() as client:
        found: dict[bytes, object] = {}
        for key in client.keys(f"{{{engine.name}*"):
            kind = client.type(key)
            sorted_set = lambda k: client.zrange(k, 0, -1, withscores=True)  # noqa: E731
            read = {b"hash": client.hgetall, b"zset": sorted_set, b"set": client.smembers}
            found[key] = read.get(kind, client.get)(key)
        return found


def whole(engine: Installation, before: dict[bytes, object]) -> Callable[[], bool]:
    return lambda: content(engine) == before


@pytest.mark.parametrize(
    ("loss", "restarted"),
    [
        pytest.param("state", False, marks=pytest.mark.short),
        pytest.param("due time", True, marks=pytest.mark.short),
        ("due time", False),
        ("client", True),
        ("all due times", False),
        ("position", True),
        ("position", False),
        ("the partition", False),
        ("expired", True),
        ("number of partitions", False),
        ("number of partitions", True),
        ("name of the ledger", False),
    ],
)
def test_without_an_event_all_comes_back(engine: Installation, loss: str, restarted: bool) -> None:
    worker = engine.worker().wait_ready()
    engine.produce([event(0), event(0, "c2"), event(1), event(2, "c3")])
    engine.settle()
    before, published = content(engine), engine.actions()
    if restarted:
        worker.stop()
    with engine.redis() as client:
        LOSSES[loss](client, engine.name)
    if restarted:
        worker = engine.worker().wait_ready()
    eventually(whole(engine, before), "Redis is whole")
    assert engine.actions() == published
    snapshot = engine.directory / "snapshot"
    done = engine.engage("snapshot", str(snapshot))
    assert done.returncode == 0, done.stderr
    engine.produce([event(3), event(3, "new")])
    engine.settle()
    replayed = engine.engage("replay", "--from-ledger")
    assert "differences 0" in replayed.stderr
    assert f"states {engine.states().split()[-1]}" in replayed.stderr
    worker.stop()


@pytest.mark.short
def test_the_next_event_is_of_the_client_that_was_evicted(engine: Installation) -> None:
    worker = engine.worker().wait_ready()
    engine.produce([event(0), event(0, "c2"), event(1)])
    engine.settle()
    worker.stop()
    with engine.redis() as client:
        assert client.delete(client_key(engine.name, 0, "c1")) == 1
    engine.produce([event(2), event(2, "new"), event(3)])  # at once when it starts
    worker = engine.worker().wait_ready()
    engine.settle()
    assert worker.metric("engage_healed_clients_total") == 1
    replayed = engine.engage("replay", "--from-ledger")
    assert "differences 0" in replayed.stderr
    worker.stop()


def test_behind_a_trimmed_ledger_it_is_refused_and_the_remedy_mends_it(engine: Installation, tmp_path: Path) -> None:
    worker = engine.worker().wait_ready()
    for records in ([event(0), event(0, "c2")], [event(1)]):
        engine.produce(records)
        engine.settle()
    snapshot = tmp_path / "snapshot"
    assert engine.engage("snapshot", str(snapshot)).returncode == 0
    trimmed = engine.engage("trim", "--snapshot", str(snapshot))
    assert trimmed.returncode == 0, trimmed.stderr
    ledger = TopicPartition(engine.settings.ledger_topic, 0)
    consumer = engine.consumer()
    assert consumer.get_watermark_offsets(ledger, timeout=60)[0] > 0
    consumer.close()
    before = content(engine)
    with engine.redis() as client:
        client.delete(client_key(engine.name, 0, "c2"))
    assert worker.wait() == 1
    said = worker.log.read_text().partition("Error: ")[2]
    assert said.startswith("partition 0: Redis has lost clients that were written (c2), by eviction or by hand")
    with engine.redis() as client:
        client.delete(*client.keys(f"{{{engine.name}*"))
    rebuilt = engine.engage("rebuild", "--snapshot", str(snapshot))
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert content(engine) == before
    engine.worker().wait_ready().stop()


@pytest.mark.short
def test_an_evicting_redis_is_refused_and_one_that_becomes_so_is_amber(install: MakeInstallation) -> None:
    with RedisServer(config={"maxmemory-policy": "allkeys-lru"}) as server:
        engine = install(redis_url=server.url).create_topics(1)
        assert "Redis evicts keys when its memory is full (maxmemory-policy allkeys-lru)" in engine.refusal()
        with engine.redis() as client:
            client.config_set("maxmemory-policy", "noeviction")
            worker = engine.worker().wait_ready()
            for evicting in ("volatile-ttl", "noeviction"):
                client.config_set("maxmemory-policy", evicting)
                eventually(lambda known=evicting: health(worker) == (known == "noeviction"), evicting)
        worker.stop()


def health(worker: WorkerProcess) -> bool:
    """Whether it is green, else it is amber for eviction."""
    found = json.loads(worker.get("/health/ready")[1])
    assert found["ready"]
    assert found["state"] == "green" or "maxmemory-policy volatile-ttl" in found["warnings"][0]
    return bool(found["state"] == "green")


def test_where_redis_does_not_say_its_policy_the_settings_do(install: MakeInstallation) -> None:
    with RedisServer() as server, redis.Redis.from_url(server.url) as client:
        client.acl_setuser(
            "managed", enabled=True, passwords=["+p"], keys=["*"], commands=["+@all", "-config", "-info"]
        )
        engine = install(redis_url=server.url.replace("://", "://managed:p@")).create_topics(1)
        worker = engine.worker().wait_ready()
        found = json.loads(worker.get("/health/ready")[1])
        assert found["state"] == "amber"
        assert "set redis_never_evicts" in found["warnings"][0]
        worker.stop()
        worker = engine.worker(ENGAGE_REDIS_NEVER_EVICTS="true").wait_ready()
        assert json.loads(worker.get("/health/ready")[1])["state"] == "green"
        worker.stop()
