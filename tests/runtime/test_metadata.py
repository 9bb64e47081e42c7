"""Kafka clients of one process share metadata of topics, and each reports what its own broker told it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.cluster import ClusterMetadata

from engine.runtime.kafka import connection


def test_whoever_connects_shares():
    assert connection.share_metadata.__module__ == ClusterMetadata.update_metadata.__module__


def answer(leaders: dict[str, list[int]]) -> Any:
    """By topic, the broker that leads each partition."""
    brokers = [(broker, "127.0.0.1", 9092 + broker, None) for broker in (0, 1)]
    topics = [
        (0, topic, False, [(0, partition, leader, [0, 1], [0, 1]) for partition, leader in enumerate(of_topic)])
        for topic, of_topic in leaders.items()
    ]
    return SimpleNamespace(API_VERSION=1, brokers=brokers, controller_id=0, topics=topics)


def told(*leaders: dict[str, list[int]]) -> ClusterMetadata:
    cluster = ClusterMetadata()
    for one in leaders:
        cluster.update_metadata(answer(one))
    return cluster


def knows(cluster: ClusterMetadata, topic: str) -> list[int]:
    led = [cluster.leader_for_partition(TopicPartition(topic, p)) for p in sorted(cluster.partitions_for_topic(topic))]
    assert led == [
        next(b for b in (0, 1) if TopicPartition(topic, p) in cluster.partitions_for_broker(b)) for p in range(len(led))
    ]
    return led


def test_clients_that_know_the_same_have_it_once():
    first, second = told({"a": [0, 1, 0]}), told({"a": [0, 1, 0]})
    assert first._partitions["a"] is second._partitions["a"]
    assert first.partitions_for_broker(0) is second.partitions_for_broker(0)


def test_each_knows_what_it_was_told():
    before = told({"a": [0, 1], "b": [0]})
    moved = told({"a": [0, 1], "b": [0]}, {"a": [1, 0], "b": [0]})
    more = told({"a": [1, 0, 1], "c": [0]})
    assert knows(before, "a") == [0, 1]
    assert knows(moved, "a") == [1, 0]
    assert knows(more, "a") == [1, 0, 1]
    assert knows(moved, "b") == knows(before, "b") == [0]
    assert more.partitions_for_topic("b") is None
    before.update_metadata(answer({"a": [1, 0]}))
    assert knows(before, "a") == [1, 0]
    assert knows(moved, "a") == [1, 0]
    assert before.partitions_for_topic("b") is None
