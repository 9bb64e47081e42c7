"""Deliberate bugs: mistakes that an engine like this one can make, to show that the simulation sees them.

Enters: the name of a bug. Leaves: an engine that has it, for as long as the context lasts.
Holds: each is a small change of the engine's own classes, or of what the script or Kafka's isolation promises; none
touches the auditor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain, count
from types import SimpleNamespace
from typing import Any, Final
from unittest.mock import patch

from engine.core import messages
from engine.runtime import intake, kafka, ledger
from engine.runtime.intake import INTAKE_TOPICS, REROUTED, Merger, inbound
from engine.runtime.kafka import KafkaLog
from engine.runtime.kafka_intake import KafkaIntake
from engine.runtime.ledger import Fenced, Unavailable
from engine.runtime.membership import Membership
from engine.runtime.partition import Partition
from engine.runtime.redis_store import RedisStore
from engine.runtime.runner import Runner
from tests.simulation.broker import SimKafka
from tests.simulation.clients import SimProducer
from tests.simulation.loop import PROCESS
from tests.simulation.redis import SimRedis, write_rows

Change = tuple[Any, str, Any]
BUGS: Final[dict[str, Callable[[], list[Change]]]] = {}


def bug(name: str) -> Callable[[Callable[[], list[Change]]], Callable[[], list[Change]]]:
    def register(make: Callable[[], list[Change]]) -> Callable[[], list[Change]]:
        BUGS[name] = make
        return make

    return register


@contextmanager
def switched_on(name: str) -> Iterator[None]:
    """The engine with this bug; with none for an empty name."""
    patches = [patch.object(*change) for change in (BUGS[name]() if name else ())]
    try:
        for one in patches:
            one.start()
        yield
    finally:
        for one in reversed(patches):
            one.stop()


# -- the producer ------------------------------------------------------------------------------------


@bug("skip the fence")
def _() -> list[Change]:
    original = SimProducer.start

    async def start(self: SimProducer) -> None:
        process = PROCESS.get()
        if self.transactional_id is not None and process is not None:
            self.transactional_id += f"-{process.name}"
        await original(self)

    return [(SimProducer, "start", start)]


@bug("apply before publish")
def _() -> list[Change]:
    original = KafkaLog.publish

    async def publish(self: Any, messages_: Any, records: Any) -> int:
        if getattr(self, "background", None) is not None:
            await self.background
        _, end = await self.bounds()
        self.background = asyncio.ensure_future(original(self, messages_, records))
        return int(end) + len(records) - 1

    return [(KafkaLog, "publish", publish)]


@bug("commit with a failed send")
def _() -> list[Change]:
    async def gather(*sends: Any) -> list[Any]:
        return [await sends[-1]]

    return [(kafka, "asyncio", SimpleNamespace(**{**vars(asyncio), "gather": gather}))]


@bug("re-initialise when fenced")
def _() -> list[Change]:
    original = KafkaLog.publish

    async def publish(self: KafkaLog, *unit: Any) -> int:
        try:
            return await original(self, *unit)
        except Fenced:
            await self.start()
            return await original(self, *unit)

    return [(KafkaLog, "publish", publish)]


@bug("a lost answer means aborted")
def _() -> list[Change]:
    original = KafkaLog.publish

    async def publish(self: KafkaLog, *unit: Any) -> int:
        try:
            return await original(self, *unit)
        except Unavailable:
            await self.start()
            return await original(self, *unit)

    return [(KafkaLog, "publish", publish)]


@bug("take the producer back after a slow commit")
def _() -> list[Change]:
    original = KafkaLog.publish

    async def publish(self: KafkaLog, *unit: Any) -> int:
        if self._slow:
            await self.start()
        return await original(self, *unit)

    return [(KafkaLog, "publish", publish)]


@bug("go on after a slow commit")
def _() -> list[Change]:
    return [(kafka, "SLOW_COMMIT_S", 1e9)]


@bug("read uncommitted")
def _() -> list[Change]:
    def fetch(self: SimKafka, tp: Any, offset: int, limit: int) -> Any:
        log = self.logs[tp]
        found = [entry for entry in log.entries[offset : offset + limit] if not entry.marker]
        return found, min(offset + limit, log.end), log.end, log.end

    return [(SimKafka, "fetch", fetch)]


# -- the store ---------------------------------------------------------------------------------------


@bug("drop the compare in the script")
def _() -> list[Change]:
    def apply(self: SimRedis, position: str, due: str, begin: bytes, end: bytes, prefix: str, chunks: Any) -> bytes:
        self.write(lambda data: write_rows(data, due, prefix, chunks, position, end))
        return end

    return [(SimRedis, "apply", apply)]


@bug("position before the states, not in one step")
def _() -> list[Change]:
    def apply(self: SimRedis, position: str, due: str, begin: bytes, end: bytes, prefix: str, chunks: Any) -> bytes:
        found = self.get(position) or b""
        if found != begin:
            return found
        self.write(lambda data: data.values.__setitem__(position, end))
        self.write(lambda data: write_rows(data, due, prefix, chunks, position, data.values.get(position, b"")))
        return end

    return [(SimRedis, "apply", apply)]


@bug("apply the chunks of a unit one by one")
def _() -> list[Change]:
    original = RedisStore.apply

    async def apply(self: RedisStore, begin: bytes, end: bytes, writes: Any) -> bytes:
        for chunk in writes:
            found = await original(self, begin, end, [chunk])
            begin = end
        return found

    return [(RedisStore, "apply", apply)]


@bug("load without comparing the position")
def _() -> list[Change]:
    return [(Partition, "_check_position", lambda self, found: None)]


@bug("an idle partition never looks at the store")
def _() -> list[Change]:
    original = Partition.tick

    async def tick(self: Partition, time_ms: int, limit: int = 1000) -> bool:
        return bool(await self._store.due(time_ms, 1)) and await original(self, time_ms, limit)

    return [(Partition, "tick", tick)]


# -- recovery ----------------------------------------------------------------------------------------


@bug("look at the ledger's end before the position")
def _() -> list[Change]:
    original = Partition.recover

    async def recover(self: Any) -> Any:
        bounds = KafkaLog.bounds
        await self._log.start()
        seen = await bounds(self._log)
        self._log.start, self._log.bounds = _nothing, partial(_answer, seen)
        try:
            return await original(self)
        finally:
            del self._log.start, self._log.bounds

    return [(Partition, "recover", recover)]


async def _nothing() -> None:
    """Done before."""


async def _answer(answer: Any) -> Any:
    return answer


@bug("start without following the ledger")
def _() -> list[Change]:
    async def follow(self: Partition, position: Any, *_: Any) -> Any:
        return position

    return [(Partition, "_follow", follow)]


@bug("skip the ledger's digest")
def _() -> list[Change]:
    original = Partition._follow

    class Any_(str):
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            return True

        def __ne__(self, other: object) -> bool:
            return False

    async def follow(self: Partition, position: Any, *rest: Any) -> Any:
        blind = replace(position, digest=Any_(position.digest))
        found = await original(self, blind, *rest)
        return position if found is blind else found

    return [(Partition, "_follow", follow)]


@bug("keep the cache after a failed commit")
def _() -> list[Change]:
    original = Partition.recover

    async def recover(self: Partition) -> Any:
        kept = dict(self._cache)
        position = await original(self)
        self._cache.update(kept)
        return position

    return [(Partition, "recover", recover)]


@bug("keep a queued batch over a restart")
def _() -> list[Change]:
    original = Runner._hand_over

    async def hand_over(self: Any, batch: Any) -> None:
        kept, self.kept = getattr(self, "kept", None), batch
        if kept is not None:
            self._partition.offsets.update({topic: begin for topic, (begin, _) in kept.ranges.items()})
            await original(self, kept)
        await original(self, batch)
        self.kept = None

    return [(Runner, "_hand_over", hand_over)]


@bug("ignore where a batch begins, read on where the consumer stood")
def _() -> list[Change]:
    start, take = KafkaIntake.start, Partition.take

    async def stay(self: Any, offsets: dict[str, int]) -> dict[str, int]:
        stood = {topic: queue.fetched for topic, queue in self.merger._queues.items()}
        return await start(self, {topic: max(offset, stood[topic]) for topic, offset in offsets.items()})

    async def anywhere(self: Partition, batch: Any) -> None:
        self.offsets.update({topic: begin for topic, (begin, _) in batch.ranges.items()})
        await take(self, batch)

    return [(KafkaIntake, "start", stay), (Partition, "take", anywhere)]


@bug("never rejoin when fenced")
def _() -> list[Change]:
    return [(Membership, "rejoin", lambda self: None)]


# -- deciding ----------------------------------------------------------------------------------------


@bug("ticks by the clock in a backlog")
def _() -> list[Change]:
    return [(Merger, "caught_up", property(lambda self: True))]


@bug("ticks are not recorded")
def _() -> list[Change]:
    original = ledger.encode_unit

    def encode(*parts: Any) -> list[bytes]:
        *before, steps = parts
        return original(*before, [step for step in steps if not step.due])

    return [(ledger, "encode_unit", encode)]


@bug("offsets of the last batch's beginning")
def _() -> list[Change]:
    original = ledger.encode_unit

    def encode(begin: bytes, offsets: dict[str, int], *rest: Any) -> list[bytes]:
        ranges = rest[-1][-1].ranges
        return original(begin, {**offsets, **{topic: first for topic, (first, _) in ranges.items()}}, *rest)

    return [(ledger, "encode_unit", encode)]


@bug("lose a step of the open unit")
def _() -> list[Change]:
    original = Partition.take

    async def take(self: Partition, batch: Any) -> None:
        if self._unit.steps:
            self._unit.steps.pop(0)
        await original(self, batch)

    return [(Partition, "take", take)]


@bug("random action ids")
def _() -> list[Change]:
    original, numbers = messages._id, count()

    def id_(*parts: Any) -> str:
        return original(*parts) if PROCESS.get() is None else f"{next(numbers):032x}"

    return [(messages, "_id", id_)]


@bug("re-route twice")
def _() -> list[Change]:
    original = Partition._count

    def twice(self: Partition, record: Any, message: Any) -> None:
        original(self, record, message)
        if message.topic == REROUTED:
            self._unit.messages.append(message)

    return [(Partition, "_count", twice)]


@bug("rules change in the middle of a unit")
def _() -> list[Change]:
    original = Partition._decide

    def decide(self: Partition, inputs: Any) -> None:
        self._plan = self._newest_plan()
        original(self, inputs)

    return [(Partition, "_decide", decide)]


@bug("merge one topic after another")
def _() -> list[Change]:
    def merge(records: Any) -> Any:
        topics = [topic for topic in INTAKE_TOPICS if topic in records]
        return chain.from_iterable([(topic, inbound(topic, r)) for r in records[topic]] for topic in topics)

    return [(intake, "merge", merge)]
