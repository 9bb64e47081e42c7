"""The Kafka and the Redis in memory keep the contracts that the real ones keep (tests/kafka, tests/runtime)."""

from __future__ import annotations

import asyncio
import time
from dataclasses import fields
from functools import partial
from random import Random
from typing import Any

import pytest
from aiokafka import TopicPartition
from msgspec import structs

from engine.core.contract.message import Message
from engine.runtime.clients import Clients
from engine.runtime.kafka.log import KafkaLog
from engine.runtime.protocol.ledger import Store, digest_of_messages
from engine.runtime.redis.keys import client_key, due_key
from engine.runtime.redis.store import RedisStore
from engine.runtime.settings import Settings
from tests.contract_log import KafkaContract
from tests.contract_store import StoreContract
from tests.simulation.broker import SimKafka
from tests.simulation.consumer import SimConsumer
from tests.simulation.network import Network, Weather
from tests.simulation.producer import SimProducer
from tests.simulation.redis import SimRedis, SimRedisClient
from tests.simulation.scenario import generate
from tests.simulation.world import World


def network() -> Network:
    """On the real clock: a network asks nothing of its loop that every loop does not do."""
    return Network(asyncio.get_running_loop(), Random(1), lambda process: None)  # type: ignore[arg-type]


class TestSimulatedLog(KafkaContract):
    ledger, tasks = TopicPartition(Settings().ledger_topic, 0), Settings().topic("tasks")

    @pytest.fixture(autouse=True)
    async def _kafka(self) -> None:
        settings = Settings(transaction_timeout_s=2)
        self.settings, self.kafka = settings, SimKafka(network(), 1)
        self.kafka.wall_ms = lambda: int(time.time() * 1000)
        for topic in (settings.ledger_topic, "tasks"):
            self.kafka.create(topic, 1)
        self.clients = Clients(consumer=partial(SimConsumer, self.kafka), producer=partial(SimProducer, self.kafka))

    def open_log(self) -> KafkaLog:
        return KafkaLog(self.settings, self.clients, 0)

    async def producer(self, transactional_id: str, timeout_ms: int = 60_000) -> SimProducer:
        producer = SimProducer(self.kafka, transactional_id, timeout_ms)
        await producer.start()
        return producer

    async def appended(self) -> int:
        return self.kafka.logs[self.ledger].end

    async def lose_requests(self) -> None:
        self.kafka.network.weather["kafka"] = Weather(down=True)

    async def lose_answers(self) -> None:
        self.kafka.network.weather["kafka"] = Weather(mute=True)

    async def mend(self) -> None:
        self.kafka.network.weather["kafka"] = Weather()

    async def published(self, open_transactions: bool = False) -> list[tuple[bytes | None, bytes | None]]:
        await asyncio.sleep(0.1)  # markers follow the answer
        return [(entry.key, entry.value) for entry in self.kafka.logs[TopicPartition("tasks", 0)].committed()]

    async def test_a_message_says_where_the_firm_keeps_its_schema(self) -> None:
        """As a header, which the digest in the ledger leaves out: the same decision under another address replays."""
        written = Message("tasks", b"c", b"{}", (("ce_id", b"1"), ("ce_retracts", b"2")), schema="tasks.json")
        foreign = Message("tasks", b"c", b"{}", (("ce_dataschema", b"urn:a-producer:s"),))
        self.settings = Settings(schemas_url="https://schemas.firm.example/engage")
        log = self.open_log()
        await log.start()
        await log.publish([written, foreign], [b"unit"])
        await log.stop()
        await asyncio.sleep(0.1)
        first, second = self.kafka.logs[TopicPartition("tasks", 0)].committed()
        where = ("ce_dataschema", b"https://schemas.firm.example/engage/tasks.json")
        assert first.headers == (*written.headers, where)
        assert second.headers == foreign.headers
        assert digest_of_messages([written]) == digest_of_messages([structs.replace(written, headers=first.headers)])


class TestSimulatedStore(StoreContract):
    async def open_store(self) -> Store:
        self.redis = SimRedis(network())
        client: Any = SimRedisClient(self.redis)
        return RedisStore(client, "contract", 3)

    async def appended(self) -> int:
        return self.kafka.logs[self.ledger].end

    async def lose_requests(self) -> None:
        self.redis.network.weather["redis"] = Weather(down=True)

    async def lose_answers(self) -> None:
        self.redis.network.weather["redis"] = Weather(mute=True)

    async def mend(self) -> None:
        self.redis.network.weather["redis"] = Weather()

    async def lose_last_unit(self) -> None:
        self.redis.lose(1)

    async def evict(self, client_id: str, state: bool = True, due: bool = True) -> None:
        if state:
            del self.redis.data.hashes[client_key("contract", 3, client_id)]
        if due:
            del self.redis.data.sorted_sets[due_key("contract", 3)][client_id]


def test_a_world_leaves_nothing_real() -> None:
    """A way out of the process that is added to Clients has to be added here, too."""
    random = Random(0)
    simulated, real = World(generate(random, 0), random).clients, Clients()
    assert not [f.name for f in fields(Clients) if getattr(simulated, f.name) is getattr(real, f.name)]
