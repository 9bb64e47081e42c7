"""The Kafka and the Redis in memory keep the contracts that the real ones keep (tests/kafka, tests/runtime)."""

from __future__ import annotations

import asyncio
import inspect
from random import Random
from typing import Any
from unittest.mock import patch

import pytest
from aiokafka import TopicPartition

from engine.runtime import kafka
from engine.runtime.kafka import KafkaLog
from engine.runtime.ledger import Log
from engine.runtime.redis_store import RedisStore
from engine.runtime.settings import Settings
from tests.contract_log import LogContract
from tests.runtime import test_contract_store
from tests.simulation.broker import SimKafka
from tests.simulation.consumer import SimConsumer
from tests.simulation.network import Network
from tests.simulation.producer import SimProducer
from tests.simulation.redis import SimRedis, SimRedisClient


def network() -> Network:
    """On the real clock: a network asks nothing of its loop that every loop does not do."""
    return Network(asyncio.get_running_loop(), Random(1), lambda process: None)  # type: ignore[arg-type]


class TestSimulatedLog(LogContract):
    @pytest.fixture(autouse=True)
    async def _kafka(self):
        settings = Settings()
        self.settings, self.kafka = settings, SimKafka(network(), 1)
        for topic in (settings.ledger_topic, "tasks"):
            self.kafka.create(topic, 1)
        with (
            patch.object(kafka, "AIOKafkaProducer", lambda **options: SimProducer(self.kafka, **options)),
            patch.object(kafka, "AIOKafkaConsumer", lambda **options: SimConsumer(self.kafka, **options)),
        ):
            yield

    def open_log(self) -> Log:
        return KafkaLog(self.settings, 0)

    async def published(self) -> list[tuple[bytes | None, bytes | None]]:
        await asyncio.sleep(0.1)  # markers follow the answer
        return [(entry.key, entry.value) for entry in self.kafka.logs[TopicPartition("tasks", 0)].committed()]


@pytest.fixture
async def store() -> RedisStore:
    client: Any = SimRedisClient(SimRedis(network()))
    return RedisStore(client, "contract", 3)


# The tests of every Store, with the store above
globals().update(
    {
        name: test
        for name, test in vars(test_contract_store).items()
        if name.startswith("test_") and set(inspect.signature(test).parameters) == {"store"}
    }
)
