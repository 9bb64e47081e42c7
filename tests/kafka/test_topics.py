"""`engage topics`: creates what the engine needs, says what differs, changes nothing that exists."""

from __future__ import annotations

import json

import pytest

from engine.core.contract.outbound import OUTBOUND
from engine.core.contract.topics import OWN, written_topics
from engine.runtime.settings import OF_POOLS
from tests.kafka.conftest import MakeInstallation
from tests.kafka.installation import Installation
from tests.kafka.worker_process import eventually

AS_NEEDED = "all topics are as the engine needs them\n"


def test_topics_that_kafka_compacts_are_told(engine: Installation) -> None:
    """It deletes events, decided or not; profiles may be meant so."""
    engine.alter(engine.settings.topic("trades"), "cleanup.policy", "compact,delete")
    worker = engine.worker().wait_ready()
    (told,) = [entry for entry in worker.entries() if entry["event"].startswith("this topic is compacted")]
    assert (told["topic"], told["level"]) == (engine.settings.topic("trades"), "warning")
    worker.stop()


def test_topics_with_the_producers_times_are_reported_and_a_clock_years_ahead_is_refused(engine: Installation) -> None:
    trades = engine.settings.topic("trades")
    engine.alter(trades, "message.timestamp.type", "CreateTime")
    engine.alter(trades, "message.timestamp.after.max.ms", str(2**63 - 1))  # as brokers before Kafka 4 have it
    ahead = {"event_id": "e1", "client_id": "c1", "time": "2099-01-01T10:00:00+08:00", "symbol": "600519"}
    ahead |= {"side": "buy", "quantity": 100, "amount_fen": 1_000_000}
    producer = engine.producer()

    def sent() -> bool:
        errors: list[object] = []
        at_ms = 4_070_916_000_000
        producer.produce(trades, json.dumps(ahead), b"c1", timestamp=at_ms, on_delivery=lambda e, _: errors.append(e))
        producer.flush(60)
        return errors == [None]

    eventually(sent, "Kafka takes the producer's time")
    worker = engine.worker(ENGAGE_CLOCK="wall").wait_ready()
    (told,) = [entry for entry in worker.entries() if entry["event"].startswith("this topic takes its records' times")]
    assert (told["topic"], told["level"]) == (trades, "warning")
    labels = {"topic": "trades", "reason": "future"}
    eventually(lambda: worker.metric("engage_rejected_total", **labels) == 1, "the dead letter")
    worker.stop()
    assert engine.engage("replay", "--from-ledger").returncode == 0  # which refuses it again


@pytest.mark.short
def test_topics_are_created_once_and_compared(install: MakeInstallation) -> None:
    engine = install()
    settings = engine.settings
    needed = {settings.topic(name) for name in (*written_topics(), *OUTBOUND, "dead-letters", "rerouted")}
    needed |= {settings.ledger_topic, settings.rule_set_topic, settings.resent_topic}
    pools = settings.scoped(*OF_POOLS)
    needed |= {*map(settings.topic, OWN), pools.topic("rerouted"), pools.ledger_topic}

    before = engine.engage("topics")
    assert before.returncode == 1
    missing = {line.split(": missing")[0] for line in before.stdout.splitlines()}
    assert missing == needed

    created = engine.engage("topics", "--create", "--partitions", "3")
    assert created.returncode == 0, created.stdout
    assert {line.removesuffix(": created") for line in created.stdout.removesuffix(AS_NEEDED).splitlines()} == needed

    again = engine.engage("topics", "--create", "--partitions", "5")  # what exists decides
    assert (again.returncode, again.stdout) == (0, AS_NEEDED)
    partitions = {name: len(topic.partitions) for name, topic in engine.admin.list_topics(timeout=60).topics.items()}
    assert all(partitions[settings.topic(name)] == 3 for name in (*written_topics(), "rerouted"))
    assert partitions[settings.ledger_topic] == 3

    engine.alter(settings.ledger_topic, "retention.ms", "1000")
    differs = eventually(lambda: (done := engine.engage("topics")).returncode and done.stdout, "a difference")
    assert f"{settings.ledger_topic}: retention.ms is 1000, needs -1\n" == differs
