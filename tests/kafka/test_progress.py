"""What Kafka's own tool says of the workers' group: how far each partition is, with workers and without."""

from __future__ import annotations

import time

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

from engine.core.contract.topics import intake_topics
from tests.kafka.conftest import Offline
from tests.kafka.installation import Installation
from tests.kafka.worker_process import eventually
from tests.services.consumer_groups import describe


def lags(engine: Installation) -> dict[tuple[str, int], str]:
    """By inbound topic and partition."""
    found = describe(engine.settings.kafka, engine.settings.group)
    names = {engine.settings.topic(name): name for name in intake_topics()}
    return {(names[topic], p): lag for (topic, p), (_, _, lag) in found.items() if topic in names}


def positions(engine: Installation) -> dict[tuple[str, int], int]:
    return {
        (topic, p): position.get("offsets", {}).get(topic, 0)
        for p, position in enumerate(engine.positions())
        for topic in intake_topics()
    }


def committed(engine: Installation) -> dict[tuple[str, int], int]:
    found = describe(engine.settings.kafka, engine.settings.group)
    names = {engine.settings.topic(name): name for name in intake_topics()}
    return {(names[topic], p): int(at) for (topic, p), (at, _, _) in found.items() if topic in names and at != "-"}


@pytest.mark.short
def test_monitors_see_each_partition(engine: Installation, trades: Offline) -> None:
    everything = {(topic, p) for topic in intake_topics() for p in range(4)}
    worker = engine.worker().wait_ready()
    eventually(lambda: lags(engine).keys() == everything, "every topic and partition is there before any event")
    engine.produce(trades.records[:2_000])
    engine.settle()
    eventually(lambda: set(lags(engine).values()) == {"0"}, "with members in the group, all of it is decided")
    assert committed(engine) == positions(engine)
    worker.stop()
    engine.produce(trades.records[2_000:2_500])
    waiting = {place: int(lag) for place, lag in lags(engine).items()}
    assert sum(waiting.values()) == 500  # nobody is a member, and what waits is seen all the same
    engine.worker().wait_ready()
    eventually(lambda: set(lags(engine).values()) == {"0"}, "a worker has decided it")


def test_the_end_is_committed(engine: Installation, trades: Offline) -> None:
    """Not five seconds later: what is decided between the last commit and the end counts."""
    worker = engine.worker().wait_ready()
    for begin in range(0, 300, 100):
        engine.produce(trades.records[begin : begin + 100])
        engine.settle()
    worker.stop()
    assert committed(engine) == positions(engine)


def test_nothing_is_read_back(engine: Installation, trades: Offline) -> None:
    """Whatever somebody sets the offsets to: the engine goes on where it stands."""
    first = engine.worker().wait_ready()
    engine.produce(trades.records[:5_000])
    engine.settle()
    first.stop()
    group, topic = engine.settings.group, engine.settings.topic("trades")
    reset = [TopicPartition(topic, p, 0 if p % 2 else 10_000_000) for p in range(4)]
    engine.admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, reset)])[group].result(60)
    engine.worker().wait_ready()
    engine.produce(trades.records[5_000:])
    engine.settle()
    engine.comes_to(trades.states)
    assert engine.actions() == trades.actions
    eventually(lambda: committed(engine) == positions(engine), "the next commit overwrites them")


def test_a_group_that_refuses_stops_nothing(engine: Installation, trades: Offline) -> None:
    """A topic that is gone from Kafka's memory makes the commit fail, again and again; the work goes on."""
    worker = engine.worker(program=("-m", "tests.kafka.mute_monitors")).wait_ready()
    engine.produce(trades.records[:1_000])
    engine.settle()
    began = time.monotonic()
    eventually(lambda: worker.metric("engage_monitor_commits_total", result="failed") >= 2, "commits fail")
    assert time.monotonic() - began < 300
    assert worker.ready
    engine.produce(trades.records[1_000:2_000])
    engine.settle()
    lines = worker.logged("how far partitions are could not be committed for monitors")
    assert len(lines) == 1
    worker.stop()
