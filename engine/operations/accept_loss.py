"""Going on without events that Kafka deleted before they were decided.

Enters: an engine whose workers refuse to read over the gap. Leaves: each gap as a unit of the ledger without records.
Holds: nothing is passed over that a topic still holds, and nothing in silence; run again, it changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from aiokafka import TopicPartition

from engine.core.contract.topics import intake_topics
from engine.processors.engagement import ENGAGEMENT
from engine.processors.opening import open_partition
from engine.runtime.clients import Clients
from engine.runtime.errors import Fenced, Refused, Surprised
from engine.runtime.kafka import topics
from engine.runtime.kafka.connection import errors, reader
from engine.runtime.protocol.intake import Batch
from engine.runtime.protocol.position import Position
from engine.runtime.redis.pins import pinned_partitions
from engine.runtime.redis.store import RedisStore
from engine.runtime.rule_sets.archive import RuleSetArchive
from engine.runtime.settings import Settings

if TYPE_CHECKING:
    from engine.runtime.clients import AnyRedis


async def give_up(
    settings: Settings, clients: Clients, redis: AnyRedis, say: Callable[[str], None], *, really: bool
) -> int:
    """Say which offsets are missing and, if `really`, let every partition go on after them; how many partitions miss
    some. These are fenced: stop all workers first.
    """
    partitions = await topics.partition_count(settings, clients)
    await pinned_partitions(redis, settings.app_id)
    archive = RuleSetArchive(settings, clients)
    await archive.read()
    if archive.head is None:
        raise Refused("no rule set is active: nothing was decided yet, so nothing is missing")
    plan = archive.plan(archive.head)
    missing = 0
    for number in range(partitions):
        store = RedisStore(redis, settings.app_id, number)
        gaps = await _gaps(settings, clients, number, Position.read(await store.position()))
        if gaps and really:
            opened = open_partition(settings, clients, redis, ENGAGEMENT, number, plan=lambda: plan)
            partition = opened.partition
            try:
                gaps = await _gaps(settings, clients, number, await partition.recover())
                await partition.take(Batch((), gaps, 0))
                await partition.commit("lost")
            except (Fenced, Surprised) as error:
                raise Refused(f"partition {number}: {error}. Stop all workers, and run this again") from error
            finally:
                await opened.log.stop()
        for topic, (begin, end) in gaps.items():
            say(f"partition {number}: {settings.topic(topic)} lacks the records from offset {begin} to {end - 1}")
        missing += bool(gaps)
    return missing


async def _gaps(settings: Settings, clients: Clients, partition: int, position: Position) -> dict[str, tuple[int, int]]:
    """The offset from which each topic must be read, and its first offset, if that is later."""
    offsets = position.offsets
    tps = {topic: TopicPartition(settings.topic(topic), partition) for topic in intake_topics() if topic in offsets}
    async with reader(settings, clients) as consumer:
        with errors():
            first = await consumer.beginning_offsets(list(tps.values()))
            end = await consumer.end_offsets(list(tps.values()))
    for topic, tp in tps.items():
        if end[tp] < offsets[topic]:
            raise Refused(
                f"partition {partition}: {tp.topic} ends at offset {end[tp]}, before what was decided of it "
                f"({offsets[topic]}): it was made anew, or Kafka lost its end. Restore the topic, or start under a new "
                "--app-id"
            )
    return {topic: (offsets[topic], first[tp]) for topic, tp in tps.items() if first[tp] > offsets[topic]}
