"""Workers on a cluster of Redis and on Sentinels: failovers and slots that move, under load, and every command."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.crc import key_slot

from engine.runtime.redis.keys import tag
from tests.kafka.conftest import MakeInstallation, Offline
from tests.kafka.installation import Installation
from tests.services.redis_nodes import Cluster, Nodes, Sentinels


@pytest.fixture(params=[pytest.param(Cluster, marks=pytest.mark.short), Sentinels])
def nodes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Nodes]:
    with request.param(tmp_path / "nodes") as found:
        yield found


def harm(nodes: Nodes, engine: Installation) -> None:
    """Whatever can be done to them, one after the other."""
    slots = [int(key_slot(tag(engine.name, number).encode())) for number in range(engine.partitions)]
    if isinstance(nodes, Cluster):
        nodes.move_slot(slots[0])
        nodes.move_slot_at_once(slots[1])
        nodes.fail_over(nodes.owner(slots[2]))
    primary = nodes.owner(slots[3]) if isinstance(nodes, Cluster) else nodes.primaries()[0]
    with nodes.deaf_replicas(primary):
        before = engine.positions()[3]
        while engine.positions()[3] == before:  # this much will be lost, of this partition at least
            pass
        nodes.fail(primary)
    nodes.restart(primary)


def test_several_servers(install: MakeInstallation, trades: Offline, nodes: Nodes, tmp_path: Path) -> None:
    """Nothing is lost or doubled, and every command works."""
    settings = nodes.settings
    engine = install(redis_url=settings.pop("redis"), **settings).create_topics(4)
    workers = [engine.worker(), engine.worker()]
    for worker in workers:
        worker.wait_ready()
    load = threading.Thread(target=engine.produce, args=(trades.records,), kwargs={"rate": 600})
    load.start()
    harm(nodes, engine)
    load.join()
    engine.settle()
    assert all(worker.running for worker in workers)
    engine.comes_to(trades.states)
    assert engine.actions() == trades.actions

    snapshot = str(tmp_path / "snapshot")
    client = next(iter(trades.actions))[1]
    for command in (
        ("client", client),
        ("explain", client),
        ("snapshot", snapshot),
        ("trim", "--snapshot", snapshot),
    ):
        done = engine.engage(*command)
        assert done.returncode == 0, (command, done.stderr)
    for worker in workers:
        worker.stop()
    for server in nodes.primaries():
        nodes.ask(server, "FLUSHALL")
    assert "engage rebuild" in engine.refusal()
    done = engine.engage("rebuild", "--snapshot", snapshot)
    assert done.returncode == 0, done.stderr
    assert engine.states() == trades.states
