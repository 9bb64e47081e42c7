"""The simulation with another processor: workers are killed, Kafka and Redis fail, and each event still counts once."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from aiokafka import TopicPartition

from engine.core.contract.topics import inbound_topics
from engine.core.reading.decode import Taken, decode
from engine.runtime.partitioning import partitioner
from engine.runtime.protocol.ledger import decode_unit
from tests.counter import COUNTER, EVERY
from tests.simulation.run import run_scenario
from tests.simulation.scenario import generate
from tests.simulation.world import World

pytestmark = pytest.mark.simulation


def judge(world: World) -> list[str]:
    """What Redis holds and what was published, against the inbound topics."""
    settings, found = world.settings, list[str]()
    partition_of = partitioner(world.scenario.partitions)
    wanted: Counter[str] = Counter()
    refused = {place for number in range(world.scenario.partitions) for place in _ahead(world, number)}
    for topic in (*inbound_topics(), "rerouted"):
        for number in range(world.scenario.partitions):
            for entry in world.kafka.logs[TopicPartition(settings.topic(topic), number)].committed():
                origin = {name: value.decode() for name, value in dict(entry.headers).items() if value is not None}
                name = origin.get("engage_topic", topic)
                place = (
                    name,
                    int(origin.get("engage_partition", number)),
                    int(origin.get("engage_offset", entry.offset)),
                )
                time_ms = int(origin.get("engage_timestamp", entry.timestamp))
                mine = entry.key and partition_of(entry.key) == number
                taken = decode(name, entry.key, entry.value, time_ms) if mine and name in inbound_topics() else None
                if isinstance(taken, Taken) and place not in refused:
                    wanted[taken.event.client_id] += 1
    prefix = f"{{{settings.scope}:"
    held = {key.rpartition(":")[2]: int(row["events"]) for key, row in world.redis.data.hashes.items()}
    if held != wanted:
        found.append(f"Redis counts {held}, the topics {wanted}")
    if not all(key.startswith(prefix) for key in world.redis.data.hashes):
        found.append("a key has the tag of another processor")
    said = Counter(e.value for n in range(world.scenario.partitions)
                   for e in world.kafka.logs[TopicPartition(settings.topic("tasks"), n)].committed())  # fmt: skip
    due = Counter(f"{key}:{n}".encode() for key, events in wanted.items() for n in range(EVERY, events + 1, EVERY))
    if said != due:
        found.append(f"published {said - due} too much, {due - said} too little")
    return found


def _ahead(world: World, number: int) -> list[tuple[str, int, int]]:
    log = world.kafka.logs[TopicPartition(world.settings.ledger_topic, number)]
    return [
        place for entry in log.committed() for step in decode_unit(entry.value or b"").steps for place in step.ahead
    ]


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_seeds(first: int) -> None:
    happened: Counter[str] = Counter()
    for seed in range(first, first + 20):
        random = Random(seed)
        scenario = generate(random, seed)
        scenario.refusal, scenario.rebuild, scenario.past = "", None, None
        others = ("backfill", "rebuild", "retention", "load")
        scenario.faults = [fault for fault in scenario.faults if not fault.kind.startswith(others)]
        result = run_scenario(scenario, random, processor=COUNTER, judge=judge)
        assert result.violations == [], f"seed {seed}"
        happened += result.seen
    assert any(what.startswith("crash") for what in happened)
