"""Messages as Kafka's producer takes them: by partition of each topic, many together.

Enters: messages in order. Leaves: batches of aiokafka's, each for a partition of a topic; what a refusal is about.
Holds: the messages of a partition keep their order.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from aiokafka.errors import MessageSizeTooLargeError

from engine.core.contract.message import Message
from engine.runtime.clients import Producer
from engine.runtime.partitioning import partitioner
from engine.runtime.settings import Settings


async def batches(
    producer: Producer, messages: Iterable[Message], settings: Settings, partition: int
) -> AsyncIterator[tuple[str, int, Any]]:
    """The messages by topic and partition, each partition's in order; a message by itself costs aiokafka more. Those
    without a key go to the partition whose number the writer has, or what is left of it.
    """
    open_: dict[tuple[str, int], Any] = {}
    counted: dict[str, tuple[str, int]] = {}  # its topic's name, and how many partitions that has
    for message in messages:
        if message.topic not in counted:
            topic = settings.topic(message.topic)
            counted[message.topic] = topic, len(await producer.partitions_for(topic))
        (topic, partitions), key = counted[message.topic], message.key
        place = topic, partition % partitions if key is None else partitioner(partitions)(key)
        # aiokafka sends no record without both key and value; other clients do, and those become dead letters
        value = b"" if key is None and message.value is None else message.value
        headers = headers_of(message, settings.schemas_url)
        if (batch := open_.get(place)) is None:
            batch = open_[place] = producer.create_batch()
        if batch.append(timestamp=message.timestamp_ms, key=key, value=value, headers=headers) is None:
            yield *place, batch
            batch = open_[place] = producer.create_batch()
            batch.append(timestamp=message.timestamp_ms, key=key, value=value, headers=headers)
    for place, batch in open_.items():
        yield *place, batch


def too_small(topics: Sequence[str], sends: Sequence[asyncio.Future[Any]]) -> list[str]:
    """Topics that refused a record for its size."""
    ended = [(topic, sent.exception()) for topic, sent in zip(topics, sends, strict=True) if sent.done()]
    return sorted({topic for topic, error in ended if isinstance(error, MessageSizeTooLargeError)})


def headers_of(message: Message, schemas_url: str) -> list[tuple[str, bytes]]:
    """A message's headers as they are published: with the address of its schema, if it has one."""
    if message.schema is None:
        return list(message.headers)
    return [*message.headers, ("ce_dataschema", f"{schemas_url}/{message.schema}".encode())]
