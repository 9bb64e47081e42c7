"""Transactions of other programs that stay open on an inbound topic: timers wait, and everybody can see why."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition

from engine.core.contract.topics import ranks
from engine.runtime.clients import Clients
from engine.runtime.kafka import open_transactions
from engine.runtime.kafka.intake import KafkaIntake
from tests.kafka.conftest import MakeInstallation
from tests.kafka.installation import RULES, Installation, Sent
from tests.kafka.worker_process import eventually

HELD = "records wait behind an open transaction of another program, and timers with them"


class Others:
    """Programs that write in transactions of their own."""

    def __init__(self, engine: Installation) -> None:
        self._engine = engine
        self._made: list[Producer] = []

    def begin(self, topic: str, partition: int = 0, timeout_ms: int = 300_000) -> Producer:
        """A transaction with one record, left open."""
        transactional_id = f"{self._engine.name}-other-{len(self._made)}"
        options = {"transactional.id": transactional_id, "transaction.timeout.ms": timeout_ms}
        producer = self._engine.producer(**options)
        self._made.append(producer)
        producer.init_transactions(60)
        producer.begin_transaction()
        producer.produce(self._engine.settings.topic(topic), key="c9", value=b"{}", partition=partition)
        assert producer.flush(60) == 0
        return producer


@pytest.mark.short
@pytest.mark.parametrize("ends", ["aborted", "committed"])
def test_health_log_and_lag_name_what_waits(install: MakeInstallation, ends: str) -> None:
    engine = install(clock="wall").create_topics(2)
    worker = engine.worker().wait_ready()
    other = Others(engine).begin("trades", partition=1)
    login = {"event_id": "e", "client_id": "c1", "time": 1_700_000_000_000}
    engine.produce([Sent("trades", b"c1", json.dumps(login).encode(), 1)] * 3)
    (said,) = eventually(lambda: worker.logged(HELD), "the log names it")
    assert (said["topic"], said["partition"], said["level"]) == (engine.settings.topic("trades"), 1, "warning")
    status, body = worker.get("/health/ready")
    health = json.loads(body)
    assert (status, health["state"]) == (200, "amber")
    assert f"partition 1: 4 records of {engine.settings.topic('trades')} have waited for" in health["warnings"][0]
    assert worker.metric("engage_lag_records", topic="trades", partition="1") == 4
    assert worker.metric("engage_held_seconds", partition="1") >= open_transactions.HELD_S
    assert worker.metric("engage_held_seconds", partition="0") == 0
    if ends == "aborted":
        other.abort_transaction(60)
    else:
        other.commit_transaction(60)
    engine.settle()
    eventually(lambda: json.loads(worker.get("/health/ready")[1])["state"] == "green", "all is well again")
    eventually(lambda: worker.metric("engage_lag_records", topic="trades") == 0, "nothing waits")
    assert worker.logged("the open transaction has ended")
    assert len(engine.read("dead-letters")) == (3 if ends == "aborted" else 4)


@pytest.fixture
def one(install: MakeInstallation) -> Iterator[Installation]:
    return install().create_topics(1)


@pytest.mark.parametrize(
    ("topic", "ends"),
    [
        ("trades", "aborted"),
        ("profiles", "committed"),
        ("logins", "timed out"),
        ("balances", "one of two aborted"),
        ("trades", "fenced by the program's next start"),
    ],
)
async def test_the_moment_up_to_which_all_can_be_read_stands_still(
    one: Installation, topic: str, ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_transactions, "HELD_S", 0.5)
    others, wall_ms = Others(one), Clients().wall_ms
    real = one.settings.topic(topic)
    intake = KafkaIntake(one.settings, Clients(), ranks(), 0, 1)
    await intake.start({})

    async def until(held: bool) -> None:
        for _ in range(2_000):
            await intake.next(0.1)
            if bool(intake.held()) == held and intake.caught_up:
                return
        raise AssertionError(f"{real} is {'not ' if held else ''}held")

    try:
        for _ in range(5):
            await intake.next(0.1)
        began_ms = wall_ms()
        assert intake.readable_ms(began_ms) == began_ms
        first = others.begin(topic, timeout_ms=5_000 if ends == "timed out" else 300_000)
        second = others.begin(topic) if ends == "one of two aborted" else None
        await until(held=True)
        assert intake.readable_ms(wall_ms()) <= wall_ms() - 500
        assert [held.topic for held in intake.held()] == [real]
        assert intake.merger.lag()[topic] == (2 if second else 1)
        if ends == "aborted":
            first.abort_transaction(60)
        elif ends == "committed":
            first.commit_transaction(60)
        elif ends == "fenced by the program's next start":
            again = one.producer(**{"transactional.id": f"{one.name}-other-0"})
            again.init_transactions(60)
        elif second is not None:
            first.abort_transaction(60)
            await until(held=True)
            assert intake.merger.lag()[topic] > 0
            second.commit_transaction(60)
        await until(held=False)
        for _ in range(5):
            await intake.next(0.1)
        now_ms = wall_ms()
        assert intake.readable_ms(now_ms) == now_ms
        assert one.ends([TopicPartition(real, 0)])[real, 0] > 0
        assert intake.merger.lag()[topic] == 0
    finally:
        await intake.stop()


def test_what_lies_behind_one_on_the_engines_own_topics_is_not_passed_over(
    install: MakeInstallation, tmp_path: Path
) -> None:
    """A start that took the ledger to end there said that Kafka had lost its end; a publisher did not see who else had
    published, and said that Kafka was away when its own set only waited.
    """
    engine = install().create_topics(1)
    worker, others = engine.worker().wait_ready(), Others(engine)
    own = [
        topic.removeprefix(engine.settings.prefix)
        for topic in (engine.settings.ledger_topic, engine.settings.rule_set_topic)
    ]
    opened = [others.begin(topic) for topic in own]
    login = {"event_id": "e", "client_id": "c1", "time": 1_700_000_000_000, "channel": "app"}
    engine.produce([Sent("logins", b"c1", json.dumps(login).encode())])
    engine.settle()
    changed = shutil.copytree(RULES, tmp_path / "rules")
    with (changed / "policy.yaml").open("a") as policy:
        policy.write("# a remark\n")
    refused = engine.engage("publish", str(changed), "--note", "x", "--as", "ann")
    assert (refused.returncode, "on cannot be read: a transaction of another program" in refused.stderr) == (1, True)
    worker.stop()
    worker = engine.worker()  # its rules are the active ones
    eventually(lambda: worker.logged("assigned"), "it begins to recover")
    for other in opened:
        other.abort_transaction(60)
    worker.wait_ready()
    assert engine.engage("publish", str(changed), "--note", "x", "--as", "ann").returncode == 0
    replayed = engine.engage("replay", "--from-ledger")
    assert (replayed.returncode, "events 1\n" in replayed.stderr) == (0, True)
