"""Records into Kafka and actions out of it, beside the worker.

Enters: records of the job. Leaves: them on the inbound topics; the committed actions.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import redis
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.day.job import Record
from benchmarks.process import BenchmarkError
from engine.core.contract.outbound import TOPIC_OF_KIND
from engine.runtime.redis.keys import position_key

ACTION_TOPICS = tuple(TOPIC_OF_KIND.values())


class Action(NamedTuple):
    client_id: str
    rule_id: str
    event_id: str  # of the event that caused it; empty for a timer


def producer(bootstrap: str, **options: Any) -> Producer:
    base = {"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "log_level": 3}
    return Producer({**base, **options})


def produce(bootstrap: str, prefix: str, records: Iterable[Record]) -> None:
    """Write records with their own times; returns when the broker has all of them."""
    client = producer(bootstrap, **{"linger.ms": 20, "enable.idempotence": True})
    for record in records:
        while True:
            try:
                client.produce(prefix + record.topic, record.value, record.key, timestamp=record.time_ms)
                break
            except BufferError:
                client.poll(0.1)
    if client.flush(60):
        raise BenchmarkError("Kafka did not take all records within a minute")


def reader(bootstrap: str, topics: Sequence[str], partitions: int, at_end: bool = False) -> Consumer:
    """A read_committed consumer of all partitions, from their beginning or their end."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "benchmark-reader",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": not at_end,
        }
    )
    tps = [TopicPartition(topic, partition) for topic in topics for partition in range(partitions)]
    for tp in tps:
        low, high = consumer.get_watermark_offsets(tp, timeout=10)
        tp.offset = high if at_end else low
    consumer.assign(tps)
    return consumer


def read_all(bootstrap: str, topics: Sequence[str], partitions: int) -> Iterator[Message]:
    """Every committed record that the topics hold now; what is committed and not yet to be read is waited for."""
    places = [(topic, partition) for topic in topics for partition in range(partitions)]
    appended = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "benchmark-ends", "isolation.level": "read_uncommitted"}
    )
    ends = {place: appended.get_watermark_offsets(TopicPartition(*place), timeout=10)[1] for place in places}
    appended.close()
    consumer = reader(bootstrap, topics, partitions)
    open_ = set(places)
    until = time.monotonic() + 60
    while open_:
        if time.monotonic() > until:
            raise BenchmarkError("the actions could not be read within a minute")
        for message in consumer.consume(1000, 0.5):
            error = message.error()
            if error is None:
                yield message
            elif error.code() == error._PARTITION_EOF:
                place = message.topic() or "", message.partition() or 0
                if (message.offset() or 0) >= ends[place]:
                    open_.discard(place)
            else:
                raise KafkaException(error)
    consumer.close()


def action_of(value: bytes) -> Action:
    said = json.loads(value)
    return Action(said["client_id"], said["rule_id"], said["cause"]["event_id"] or "")


def actions(bootstrap: str, topics: Sequence[str], partitions: int) -> list[Action]:
    """All published actions, doubles included."""
    return [action_of(message.value() or b"") for message in read_all(bootstrap, topics, partitions)]


def engine_actions(bootstrap: str, prefix: str, partitions: int) -> list[Action]:
    return actions(bootstrap, [prefix + topic for topic in ACTION_TOPICS], partitions)


def create_topic(bootstrap: str, topic: str, partitions: int) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 3})
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(30)


class Progress:
    """How many records of a topic the worker has decided, published and applied: its positions in Redis."""

    def __init__(self, url: str, app_id: str, partitions: int) -> None:
        self._redis = redis.Redis.from_url(url)
        self._keys = [position_key(app_id, partition) for partition in range(partitions)]

    def done(self, topic: str) -> int:
        positions = [json.loads(text) for text in self._redis.mget(self._keys) if text]
        return sum(int(position["offsets"].get(topic, 0)) for position in positions)

    def clients(self) -> int:
        return sum(int(json.loads(text)["clients"]) for text in self._redis.mget(self._keys) if text)
