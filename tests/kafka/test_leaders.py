"""Two brokers: partitions are read on from whichever leads them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest
from confluent_kafka import Consumer, ElectionType, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from engine.core.contract.topics import ranks
from engine.runtime.clients import Clients
from engine.runtime.errors import Unavailable
from engine.runtime.kafka.intake import KafkaIntake
from engine.runtime.kafka.wire.polls import Polls
from engine.runtime.settings import Settings
from tests.services.kafka import KafkaBroker

PARTITIONS = 4
CLUSTER = b"of two brokers.."


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[KafkaBroker, KafkaBroker]]:
    """The first is the controller, too."""
    with KafkaBroker(tmp_path_factory.mktemp("first"), cluster=CLUSTER) as first:
        config = {
            "process.roles": "broker",
            "node.id": "2",
            "controller.quorum.voters": first.config["controller.quorum.voters"],
        }
        second = KafkaBroker(tmp_path_factory.mktemp("second"), cluster=CLUSTER, config=config)
        second.config["listeners"] = f"PLAINTEXT://127.0.0.1:{second.port}"
        with second:
            yield first, second


@pytest.fixture
def settings(brokers: tuple[KafkaBroker, KafkaBroker]) -> Settings:
    """Each topic is on both brokers, which lead two of its partitions each."""
    found = Settings(kafka=",".join(broker.bootstrap for broker in brokers))
    admin = AdminClient({"bootstrap.servers": found.kafka})
    places = [[1, 2], [2, 1], [1, 2], [2, 1]]
    topics = [NewTopic(found.topic(name), PARTITIONS, replica_assignment=places) for name in ranks()]
    for created in admin.create_topics(topics).values():
        created.result(120)
    return found


@pytest.fixture
async def intakes(settings: Settings) -> AsyncIterator[list[KafkaIntake]]:
    polls = Polls()
    made = [KafkaIntake(settings, Clients(), ranks(), n, PARTITIONS, PARTITIONS, polls) for n in range(PARTITIONS)]
    for intake in made:
        await intake.start({})
    yield made
    for intake in made:
        await intake.stop()


def produce(settings: Settings, values: list[bytes]) -> None:
    producer = Producer({"bootstrap.servers": settings.kafka, "acks": "all"})
    for value in values:
        for partition in range(PARTITIONS):
            producer.produce(settings.topic("trades"), value, b"c1", partition)
    assert producer.flush(120) == 0


def leaders(settings: Settings) -> list[int]:
    consumer = Consumer({"bootstrap.servers": settings.kafka, "group.id": "leaders"})
    (topic,) = consumer.list_topics(settings.topic("trades"), 60).topics.values()
    consumer.close()
    return [topic.partitions[number].leader for number in range(PARTITIONS)]


async def leads_again(settings: Settings) -> None:
    admin = AdminClient({"bootstrap.servers": settings.kafka})
    async with asyncio.timeout(300):
        while leaders(settings) != [1, 2, 1, 2]:
            with contextlib.suppress(KafkaException):  # not in step yet
                admin.elect_leaders(ElectionType.PREFERRED).result(30)
            await asyncio.sleep(0.5)


async def comes(intake: KafkaIntake, wanted: list[bytes]) -> None:
    """Just these records, in this order, are the next ones. While a broker is away there may be none."""
    found: list[bytes | None] = []
    for _ in range(1_200):
        try:
            batch = await intake.next(0.25)
        except Unavailable:
            continue
        found += [record.value for record in batch.records] if batch else []
        if len(found) >= len(wanted):
            break
    assert found == wanted


@pytest.mark.short
async def test_partitions_are_read_on_from_the_broker_that_leads_them_by_now(
    brokers: tuple[KafkaBroker, KafkaBroker], settings: Settings, intakes: list[KafkaIntake]
) -> None:
    assert leaders(settings) == [1, 2, 1, 2]
    number = 0
    for change in ("nothing", "the second is killed", "the second leads again", "the second is stopped"):
        match change:
            case "the second is killed":
                brokers[1].kill()
            case "the second leads again":  # with all connections as they are
                brokers[1].start()
                await leads_again(settings)
            case "the second is stopped":
                brokers[1].stop()
        if change in ("the second is killed", "the second is stopped"):
            async with asyncio.timeout(300):
                while set(leaders(settings)) != {1}:
                    await asyncio.sleep(0.1)
        values = [b"record %d" % n for n in range(number, number + 50)]
        number += 50
        await asyncio.to_thread(produce, settings, values)
        for intake in intakes:
            await comes(intake, values)
