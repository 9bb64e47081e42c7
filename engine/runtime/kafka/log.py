"""The Log of a partition on Kafka: a transactional producer, and the ledger's records for recovery.

Enters: messages and ledger records. Leaves: both, in one transaction.
Holds: nothing is committed of which a send was not acknowledged; what the outcome was after an error, the ledger tells.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import MessageSizeTooLargeError

from engine.core.contract.message import Message
from engine.runtime.clients import Clients, Producer
from engine.runtime.errors import Refused, Surprised
from engine.runtime.kafka.batches import batches, too_small
from engine.runtime.kafka.connection import (
    MAX_REQUEST_BYTES,
    TRANSACTION_BACKOFF_MS,
    discard,
    errors,
    log_bounds,
    reader,
    records_between,
    sending,
    start,
)
from engine.runtime.settings import Settings

SLOW_COMMIT_S: Final = 1.0


class KafkaLog:
    """Log of one partition: its transactional producer, and the ledger's records for recovery."""

    def __init__(self, settings: Settings, clients: Clients, partition: int) -> None:
        self._settings = settings
        self._clients = clients
        self._partition = partition
        self._ledger = TopicPartition(settings.ledger_topic, partition)
        self._producer: Producer | None = None
        self._slow = False  # the last commit took so long that a late EndTxn of it could end the next transaction

    async def start(self) -> None:
        await self.stop()
        producer = self._clients.producer(
            **self._settings.kafka_client(TRANSACTION_BACKOFF_MS),
            transactional_id=f"{self._settings.group}-{self._partition}",
            transaction_timeout_ms=int(self._settings.transaction_timeout_s * 1000),
            max_batch_size=1_048_576,
            max_request_size=MAX_REQUEST_BYTES,
            linger_ms=0,
        )
        self._producer = producer
        await start(producer, self._settings)
        self._slow = False

    async def bounds(self) -> tuple[int, int]:
        return await log_bounds(self._settings, self._clients, self._ledger)

    async def read(self, first: int, end: int) -> AsyncIterator[tuple[int, bytes]]:
        if first >= end:
            return
        async with reader(self._settings, self._clients) as consumer:
            async for record in records_between(consumer, self._ledger, first, end):
                yield record.offset, record.value

    async def publish(self, messages: Sequence[Message], records: Sequence[bytes]) -> int:
        if self._slow:
            # Initialising the producer again and going on would be wrong: another worker may have been here since
            raise Surprised("the last commit took over a second: its end may come late and end another transaction")
        producer = self._producer
        assert producer is not None
        clock = asyncio.get_running_loop().time
        with errors():
            async with asyncio.timeout(self._settings.transaction_timeout_s):
                await producer.begin_transaction()
                sends: list[asyncio.Future[Any]] = []
                topics: list[str] = []  # of each send
                async with sending(sends):
                    async for topic, partition, batch in batches(producer, messages, self._settings, self._partition):
                        sends.append(await producer.send_batch(batch, topic, partition=partition))
                        sends[-1].add_done_callback(_seen)
                        topics.append(topic)
                    for record in records:
                        sends.append(await producer.send(self._ledger.topic, record, partition=self._partition))
                        sends[-1].add_done_callback(_seen)
                        topics.append(self._ledger.topic)
                # aiokafka's commit ignores failed batches: whatever was not acknowledged must stop us here
                try:
                    acknowledged = await asyncio.gather(*sends)
                except MessageSizeTooLargeError as error:
                    raise Refused(
                        f"{', '.join(too_small(topics, sends))}: the topic does not take a record as large as "
                        "the engine has to write; raise max.message.bytes, best to 16777216"
                    ) from error
                began = clock()  # a busy worker's sends may take long: only the end can come late
                await producer.commit_transaction()
        self._slow = clock() - began > SLOW_COMMIT_S
        return int(acknowledged[-1].offset)

    async def stop(self) -> None:
        producer, self._producer = self._producer, None
        await discard(producer)


def _seen(sent: asyncio.Future[Any]) -> None:
    """The transaction reports the failure of a send; asyncio need not report it again."""
    if not sent.cancelled():
        sent.exception()
