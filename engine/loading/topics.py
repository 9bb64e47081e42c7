"""Where the past ends on the inbound topics: each partition's first record that is not of the past; and the past that
they hold.

Enters: the end of the past. Leaves: for each partition, the offset of each topic from which workers go on; records.
Holds: all records before that offset are of the past: dated before its end, or unreadable. It is found without reading
what was recorded long before: no event is dated more than FUTURE_TOLERANCE_MS after its record.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from aiokafka import TopicPartition

from engine.core.contract.topics import REROUTED, Kinds
from engine.core.reading.decode import FUTURE_TOLERANCE_MS, Taken, decode
from engine.loading.sources import TOPIC, Part
from engine.loading.spill import Row
from engine.processors.engagement import ENGAGEMENT
from engine.runtime.clients import Clients, Consumer
from engine.runtime.kafka.connection import reader, records_between
from engine.runtime.protocol.records import inbound
from engine.runtime.settings import Settings

Begins = dict[int, dict[str, int]]  # partition -> topic -> offset


async def begins(settings: Settings, clients: Clients, partitions: int, until_ms: int, declared: Kinds) -> Begins:
    """For each partition and topic, the first record dated at or after `until_ms`, or the end."""
    found: Begins = {number: {} for number in range(partitions)}
    tps = {
        TopicPartition(settings.topic(topic), number): (number, topic)
        for topic in ENGAGEMENT.ranks()
        for number in range(partitions)
    }
    async with reader(settings, clients, sorted({tp.topic for tp in tps})) as consumer:
        ends = await consumer.end_offsets(list(tps))
        firsts = await consumer.beginning_offsets(list(tps))
        times: dict[TopicPartition, Any] = await consumer.offsets_for_times(
            dict.fromkeys(tps, until_ms - FUTURE_TOLERANCE_MS)
        )
        for tp, (number, topic) in tps.items():
            if topic == REROUTED:  # no worker has copied anything yet
                found[number][topic] = ends[tp]
                continue
            at = times.get(tp)
            begin = ends[tp] if at is None else max(at.offset, firsts[tp])
            found[number][topic] = await _first(consumer, tp, topic, begin, ends[tp], until_ms, declared)
    return found


async def _first(
    consumer: Consumer, tp: TopicPartition, topic: str, begin: int, end: int, until_ms: int, declared: Kinds
) -> int:
    async for record in records_between(consumer, tp, begin, end):
        [made] = inbound(topic, [record])
        outcome = decode(topic, made.key, made.value, made.timestamp_ms, declared)
        if isinstance(outcome, Taken) and outcome.event.time >= until_ms:  # none that is ahead of its record's time
            return int(record.offset)
    return end


def parts(begun: Begins) -> list[Part]:
    """What the topics hold of the past: one part for each partition of each topic."""
    return [
        Part(Path(f"{topic}-{number}"), TOPIC, 0, end)
        for number, offsets in begun.items()
        for topic, end in offsets.items()
        if topic != REROUTED and end  # a copy's own record is read where it first came
    ]


def rows(settings: Settings, clients: Clients) -> Callable[[Part], AsyncIterator[Row]]:
    """Reads such a part."""

    async def read(part: Part) -> AsyncIterator[Row]:
        topic, _, number = part.path.name.rpartition("-")
        tp = TopicPartition(settings.topic(topic), int(number))
        async with reader(settings, clients) as consumer:
            first = (await consumer.beginning_offsets([tp]))[tp]
            async for record in records_between(consumer, tp, first, part.end or 0):
                yield Row(topic, record.key, record.timestamp, record.value, record.offset)

    return read
