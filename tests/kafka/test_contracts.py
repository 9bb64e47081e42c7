"""The log's contract on a real broker, behind a proxy that holds back requests or answers: tests/contract_log.py."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import confluent_kafka
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from engine.core.contract.message import Message
from engine.core.contract.topics import ranks
from engine.runtime.clients import Clients
from engine.runtime.errors import Unavailable
from engine.runtime.kafka import intake as kafka_intake
from engine.runtime.kafka.connection import tell_later
from engine.runtime.kafka.intake import KafkaIntake
from engine.runtime.kafka.log import KafkaLog
from engine.runtime.settings import Settings
from tests.contract_log import KafkaContract
from tests.faults.arena import listeners
from tests.faults.proxy import Proxies, Proxy
from tests.kafka.conftest import MakeInstallation
from tests.services.kafka import KafkaBroker
from tests.services.process import free_port


@pytest.fixture(scope="module")
def behind_a_proxy() -> Iterator[tuple[KafkaBroker, Proxy]]:
    proxies, plain, behind, controller = Proxies(), free_port(), free_port(), free_port()
    proxy = proxies.to(behind)
    config = {
        "listeners": f"{listeners(['FRONT'], [behind], plain)},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": listeners(["FRONT"], [proxy.port], plain),
        "listener.security.protocol.map": "FRONT:PLAINTEXT,PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
    }
    with KafkaBroker(port=plain, controller_port=controller, config=config) as broker:
        yield broker, proxy
    proxies.stop()


@pytest.fixture
def proxied(install: MakeInstallation, behind_a_proxy: tuple[KafkaBroker, Proxy]) -> tuple[Settings, Proxy]:
    broker, proxy = behind_a_proxy
    engine = install(kafka=broker.bootstrap).create_topics(1)
    return engine.settings.model_copy(update={"kafka": f"127.0.0.1:{proxy.port}"}), proxy


@pytest.mark.short
async def test_an_intake_that_hears_nothing_is_not_caught_up(
    proxied: tuple[Settings, Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiokafka raises nothing for 40 seconds, and a tick by the clock would run ahead of what waits at the broker."""
    monkeypatch.setattr(kafka_intake, "HEARD_S", 1.0)
    settings, proxy = proxied
    intake = KafkaIntake(settings, Clients(), ranks(), 0, 1)
    await intake.start({})
    try:
        for caught_up in (True, False, True):
            if not caught_up:
                proxy.stall()
            for _ in range(2_000):
                assert await intake.next(0.1) is None
                if intake.caught_up == caught_up:
                    break
            assert intake.caught_up == caught_up
            assert intake.merger.caught_up
            proxy.mend()
    finally:
        proxy.mend()
        await intake.stop()


class TestKafkaLog(KafkaContract):
    @pytest.fixture(autouse=True)
    def _installation(self, install: MakeInstallation, behind_a_proxy: tuple[KafkaBroker, Proxy]) -> None:
        broker, self.proxy = behind_a_proxy
        self.engine = install(kafka=broker.bootstrap, transaction_timeout_s=5).create_topics(1)
        self.ledger = TopicPartition(self.engine.settings.ledger_topic, 0)
        self.tasks = self.engine.settings.topic("tasks")

    @pytest.fixture(autouse=True)
    async def _forgotten(self) -> AsyncIterator[None]:
        """What clients that were cut off leave behind is handled as a worker does it: no task of theirs goes on."""
        asyncio.get_running_loop().set_exception_handler(tell_later)
        yield
        left = {task.get_coro().__qualname__ for task in asyncio.all_tasks()}  # type: ignore[union-attr]
        assert not {name for name in left if name.startswith(("AIOKafka", "Sender.", "MessageAccumulator."))}

    def open_log(self) -> KafkaLog:
        return KafkaLog(self.engine.settings.model_copy(update={"kafka": f"127.0.0.1:{self.proxy.port}"}), Clients(), 0)

    async def published(self, open_transactions: bool = False) -> list[tuple[bytes | None, bytes | None]]:
        found = self.engine.read("tasks", open_transactions=open_transactions)
        return [(record.key, record.value) for record in found]

    async def appended(self) -> int:
        return self.engine.ends([confluent_kafka.TopicPartition(*self.ledger)])[self.ledger]

    async def producer(self, transactional_id: str, timeout_ms: int = 60_000) -> Any:
        producer = AIOKafkaProducer(
            bootstrap_servers=self.engine.settings.kafka,
            transactional_id=f"{self.engine.name}-{transactional_id}",
            transaction_timeout_ms=timeout_ms,
            retry_backoff_ms=5,
        )
        await producer.start()
        return producer

    async def lose_requests(self) -> None:
        self.proxy.stall(answers=False)

    async def lose_answers(self) -> None:
        self.proxy.stall(requests=False)

    async def mend(self) -> None:
        """What was held back is lost, with its connections."""
        self.proxy.cut()
        self.proxy.mend()

    @pytest.mark.parametrize("fault", ["cut", "stalled", "stalled and then cut"])
    async def test_a_log_that_is_given_up_leaves_nothing_behind(self, fault: str) -> None:
        """Neither tasks that nobody ends, nor words about them in the worker's log."""
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        log = self.open_log()
        await log.start()
        await log.publish([Message("tasks", b"C1", b"one", ())], [b"ledger"])
        if fault == "cut":
            self.proxy.cut()
        else:
            self.proxy.stall()
        publishing = asyncio.create_task(log.publish([Message("tasks", b"C1", b"two", ())], [b"ledger"]))
        await asyncio.sleep(0.3)
        if fault == "stalled and then cut":
            self.proxy.cut()
        with pytest.raises(Unavailable):
            await publishing
        await log.stop()
        await asyncio.sleep(0)
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        await self.mend()
        gc.collect()
        await asyncio.sleep(0)
        assert not left
        assert not [context for context in told if not isinstance(context.get("exception"), KafkaError)]
