"""What commit and recovery rest on: the ledger's log against a real broker, one belief a test."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidProducerEpoch, ProducerFenced
from confluent_kafka import TopicPartition
from confluent_kafka.admin import NewTopic

from engine.core.contract.message import Message
from engine.runtime.clients import Clients
from engine.runtime.errors import Fenced, Refused
from engine.runtime.kafka.log import KafkaLog
from tests.kafka.conftest import MakeInstallation
from tests.kafka.installation import Installation

pytestmark = pytest.mark.short


def alert(value: bytes) -> Message:
    return Message("alerts", b"C1", value, ())


async def test_a_new_producer_fences_the_old_and_ends_its_transaction(engine: Installation) -> None:
    old, new = KafkaLog(engine.settings, Clients(), 0), KafkaLog(engine.settings, Clients(), 0)
    await old.start()
    await old.publish([alert(b"committed")], [b"record"])
    zombie = AIOKafkaProducer(
        bootstrap_servers=engine.settings.kafka, transactional_id=f"{engine.settings.group}-0", retry_backoff_ms=5
    )
    await zombie.start()
    try:
        await zombie.begin_transaction()
        await (await zombie.send(engine.settings.topic("alerts"), b"left open", key=b"C1"))
        await new.start()
        await new.publish([alert(b"after")], [b"record"])
        with pytest.raises((ProducerFenced, InvalidProducerEpoch)):
            await zombie.commit_transaction()
        with pytest.raises(Fenced):
            await old.publish([alert(b"from the zombie")], [b"record"])
        assert [r.value for r in engine.read("alerts")] == [b"committed", b"after"]
    finally:
        await new.stop()
        await old.stop()
        await zombie.stop()


async def test_recovery_reads_past_markers_and_stops_at_the_last_stable_offset(engine: Installation) -> None:
    log = KafkaLog(engine.settings, Clients(), 1)
    stranger = AIOKafkaProducer(
        bootstrap_servers=engine.settings.kafka, transactional_id=f"{engine.name}-x", retry_backoff_ms=5
    )
    await log.start()
    await stranger.start()
    try:
        offsets = [await log.publish([], [b"first"]), await log.publish([], [b"second", b"third"])]
        for _ in range(3):  # nothing but aborted records and markers at the end
            await stranger.begin_transaction()
            await (await stranger.send(engine.settings.ledger_topic, b"aborted", partition=1))
            await stranger.abort_transaction()
        end = offsets[1] + 2 + 3 * 2  # behind its marker, and three times a record and a marker
        async with asyncio.timeout(300):  # the broker writes a marker some time after it answered the abort
            while (await log.bounds())[1] < end:
                await asyncio.sleep(0.01)
        first, last = await log.bounds()
        assert last == end
        async with asyncio.timeout(300):  # it waits for nothing after the end
            read = [pair async for pair in log.read(first, end)]
        assert read == [(offsets[0], b"first"), (offsets[1] - 1, b"second"), (offsets[1], b"third")]

        await stranger.begin_transaction()
        await (await stranger.send(engine.settings.ledger_topic, b"open", partition=1))
        uncommitted = engine.consumer("read_uncommitted")
        assert uncommitted.get_watermark_offsets(TopicPartition(engine.settings.ledger_topic, 1), 120)[1] == end + 1
        uncommitted.close()
        assert await log.bounds() == (first, end + 1)  # what lies behind an open transaction is there, too
        await stranger.abort_transaction()
    finally:
        await stranger.stop()
        await log.stop()


def test_a_failed_send_prevents_the_commit(install: MakeInstallation) -> None:
    """One message is larger than its topic takes: neither it nor the others nor the ledger record may be seen."""
    engine = install()
    alerts = NewTopic(engine.settings.topic("alerts"), 4, config={"max.message.bytes": "2000"})
    engine.admin.create_topics([alerts])[alerts.topic].result(120)
    engine.create_topics()
    asyncio.run(publish_too_large(engine))


async def publish_too_large(engine: Installation) -> None:
    log = KafkaLog(engine.settings, Clients(), 2)
    await log.start()
    try:
        with pytest.raises(Refused, match=r"alerts: the topic does not take .* raise max\.message\.bytes"):
            await log.publish([Message("tasks", b"C1", b"small", ()), alert(b"x" * 5000)], [b"record"])
        await log.start()
        first, end = await log.bounds()
        assert [pair async for pair in log.read(first, end)] == []
        assert engine.read("tasks", "alerts") == []
        await log.publish([alert(b"small")], [b"record"])
        first, end = await log.bounds()
        assert [record async for _, record in log.read(first, end)] == [b"record"]
        assert [r.value for r in engine.read("tasks", "alerts")] == [b"small"]
    finally:
        await log.stop()
