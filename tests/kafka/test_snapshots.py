"""A Redis that was emptied is made whole again, and the ledger can be cut behind a snapshot."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.core.contract.topics import ranks
from tests.kafka.conftest import MakeInstallation, Offline
from tests.kafka.installation import Installation
from tests.kafka.worker_process import eventually
from tests.services.redis import RedisServer


@pytest.fixture
def alone(install: MakeInstallation, tmp_path: Path) -> tuple[Installation, RedisServer]:
    """An installation with a Redis of its own, which can be emptied."""
    with RedisServer(tmp_path / "redis") as store:
        yield install(redis_url=store.url).create_topics(), store


def decided(engine: Installation, trades: Offline, snapshot_at: int, snapshot: Path) -> None:
    """All trades decided, a snapshot taken in the middle, while the worker runs; it stops when nothing is due."""
    worker = engine.worker(ENGAGE_BATCH_RECORDS=200).wait_ready()
    engine.produce(trades.records[:snapshot_at])
    engine.settle()
    assert engine.engage("snapshot", str(snapshot)).returncode == 0
    engine.produce(trades.records[snapshot_at:])
    engine.settle()
    engine.comes_to(trades.states)
    worker.stop()


@pytest.mark.parametrize(
    "with_snapshot", [False, pytest.param(True, marks=pytest.mark.short)], ids=["ledger", "snapshot"]
)
def test_an_emptied_redis_is_rebuilt(
    alone: tuple[Installation, RedisServer], trades: Offline, tmp_path: Path, with_snapshot: bool
) -> None:
    engine, _ = alone
    snapshot = tmp_path / "snapshot"
    decided(engine, trades, 6_000, snapshot)
    refused = engine.engage("rebuild")
    assert refused.returncode == 1
    assert "holds the engine's state already" in refused.stderr
    engine.redis().flushall()
    rebuilt = engine.engage("rebuild", *(["--snapshot", str(snapshot)] if with_snapshot else []))
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert engine.states() == trades.states
    worker = engine.worker().wait_ready()  # and it goes on, with nothing left to recover
    assert worker.metric("engage_recovered_units_total") == 0
    worker.stop()


def test_redis_emptied_under_a_running_worker(alone: tuple[Installation, RedisServer], trades: Offline) -> None:
    """It ends and says what to do, rather than bring back what it can and leave what another start would refuse."""
    engine, _ = alone
    worker = engine.worker().wait_ready()
    engine.produce(trades.records[:5_000])
    engine.settle()
    engine.redis().flushall()
    assert worker.wait() == 1
    refusal = worker.log.read_text().partition("Error: ")[2]
    assert "this Redis holds no state but the ledger has records" in refusal
    assert "engage rebuild" in refusal
    rebuilt = engine.engage("rebuild")
    assert rebuilt.returncode == 0, rebuilt.stderr
    worker = engine.worker().wait_ready()
    engine.produce(trades.records[5_000:])
    engine.settle()
    engine.comes_to(trades.states)
    assert engine.actions() == trades.actions
    worker.stop()


def test_the_ledger_is_trimmed_behind_a_snapshot(
    alone: tuple[Installation, RedisServer], trades: Offline, tmp_path: Path
) -> None:
    engine, _ = alone
    snapshot = tmp_path / "snapshot"
    decided(engine, trades, 6_000, snapshot)
    trimmed = engine.engage("trim", "--snapshot", str(snapshot))
    assert trimmed.returncode == 0, trimmed.stderr
    assert trimmed.stdout.count("the ledger begins at") == 4
    worker = engine.worker().wait_ready()  # the record that the position names is still there
    worker.stop()
    engine.redis().flushall()
    without = engine.engage("rebuild")
    assert without.returncode == 1
    assert "its beginning was deleted" in without.stderr
    assert engine.engage("rebuild", "--snapshot", str(snapshot)).returncode == 0
    assert engine.states() == trades.states


def test_a_snapshot_that_is_not_whole_is_refused(
    alone: tuple[Installation, RedisServer], trades: Offline, tmp_path: Path
) -> None:
    engine, _ = alone
    snapshot = tmp_path / "snapshot"
    decided(engine, trades, 9_000, snapshot)
    whole = snapshot.read_bytes()
    engine.redis().flushall()
    for bad in (whole[: len(whole) // 2], b"", b"no snapshot", whole[:-20]):
        snapshot.write_bytes(bad)
        refused = engine.engage("rebuild", "--snapshot", str(snapshot))
        assert refused.returncode == 1
        assert "snapshot" in refused.stderr
        assert engine.redis().dbsize() == 0
    for place in (0, 100, len(whole) // 2, len(whole) - 1):  # one bit of it changed
        changed = bytearray(whole)
        changed[place] ^= 4
        snapshot.write_bytes(changed)
        refused = engine.engage("rebuild", "--snapshot", str(snapshot))
        assert (refused.returncode, engine.redis().dbsize()) == (1, 0), refused.stderr


def test_a_snapshot_of_another_ledger_is_refused(
    alone: tuple[Installation, RedisServer], trades: Offline, tmp_path: Path
) -> None:
    """Same application and partitions, topics created anew: it must not get into Redis, nor cut the ledger."""
    engine, _ = alone
    decided(engine, trades, 9_000, tmp_path / "old")
    topics = [engine.settings.topic(name) for name in ranks()]
    topics.append(engine.settings.ledger_topic)
    for deleted in engine.admin.delete_topics(topics).values():
        deleted.result(120)
    eventually(lambda: not set(topics) & set(engine.admin.list_topics(timeout=60).topics), "the topics are gone")
    engine.redis().flushall()
    engine.create_topics()
    worker = engine.worker(ENGAGE_BATCH_RECORDS=100).wait_ready()
    engine.produce(trades.records)
    engine.settle()
    engine.comes_to(trades.states)
    worker.stop()
    for command in ("trim", "rebuild"):
        refused = engine.engage(command, "--snapshot", str(tmp_path / "old"))
        assert refused.returncode == 1
        assert "the snapshot is of another ledger" in refused.stderr
        engine.redis().flushall()  # for the rebuild
    assert engine.redis().dbsize() == 0
    assert engine.engage("rebuild").returncode == 0
    assert engine.states() == trades.states


def test_a_snapshot_that_cannot_be_written(alone: tuple[Installation, RedisServer], tmp_path: Path) -> None:
    engine, _ = alone
    engine.worker().wait_ready().stop()
    for file in (tmp_path / "none" / "snapshot", tmp_path):
        refused = engine.engage("snapshot", str(file))
        assert refused.returncode == 2
        assert f"Error: Invalid value for 'FILE': {file}" in refused.stderr
    assert not list(tmp_path.glob("*.part"))
