"""Deliberate bugs in publishing, applying and reading: what Kafka and Redis are asked for. See bugs.py."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from engine.core.client.record import listed_by
from engine.processors.engagement import Engagement
from engine.runtime.errors import Fenced, Unavailable
from engine.runtime.kafka import connection as kafka
from engine.runtime.kafka import log as kafka_log
from engine.runtime.kafka.log import KafkaLog
from engine.runtime.protocol.ledger import decode_unit
from engine.runtime.protocol.partition import Partition
from engine.runtime.protocol.recovery import Recovery
from engine.runtime.protocol.writes import LISTED, decode_writes
from engine.runtime.redis.store import RedisStore
from engine.runtime.worker.runner import Runner
from tests.simulation.broker import SimKafka
from tests.simulation.bug import Change, Table, registering
from tests.simulation.loop import PROCESS
from tests.simulation.producer import SimProducer
from tests.simulation.redis import SimRedis, write_rows

BUGS: Table = {}
bug = registering(BUGS)


# -- the producer -----------------------------------------------------------------------------------


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

    return [(kafka_log, "asyncio", SimpleNamespace(**{**vars(asyncio), "gather": gather}))]


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
    return [(kafka_log, "SLOW_COMMIT_S", 1e9)]


@bug("read uncommitted")
def _() -> list[Change]:
    def fetch(self: SimKafka, tp: Any, offset: int, limit: int) -> Any:
        log = self.logs[tp]
        found = [entry for entry in log.entries[offset : offset + limit] if not entry.marker]
        return found, min(offset + limit, log.end), log.end, log.end

    return [(SimKafka, "fetch", fetch)]


@bug("a wait that loses a cancellation")
def _() -> list[Change]:
    """What asyncio.wait_for does before Python 3.12 when the answer and the cancellation come at once."""

    async def enter(self: Any) -> Any:
        task = asyncio.ensure_future(self._consumer.start())
        with kafka.errors():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError:
                if not task.done():
                    task.cancel()
                    raise
            await task
        return self._consumer

    return [(kafka.reader, "__aenter__", enter)]


# -- the store --------------------------------------------------------------------------------------


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
    original = Partition._load

    async def load(self: Any, client_ids: Any) -> None:
        self._check_stands = lambda *found: None
        try:
            await original(self, client_ids)
        finally:
            del self._check_stands

    return [(Partition, "_load", load)]


@bug("a client that is gone passes for a new one")
def _() -> list[Change]:
    original = RedisStore.load

    async def load(self: Any, client_ids: Any) -> Any:
        return (await original(self, client_ids))._replace(gone=[])

    return [(RedisStore, "load", load)]


@bug("nobody counts the clients that Redis knows")
def _() -> list[Change]:
    original = Partition._check_stands

    def check(self: Any, position: Any, known: Any, gone: Any) -> None:
        original(self, position, self.position.states + self._recovery.miscounted, gone)

    return [(Partition, "_check_stands", check)]


@bug("what is gone is healed with its first write")
def _() -> list[Change]:
    original = Recovery._lost

    async def lost(self: Any, first: int, end: int) -> Any:
        found = await original(self, first, end)
        async for _, record in self._log.read(first, end):
            for write in decode_writes(decode_unit(record).writes):
                if write.key in found and found[write.key] is not write:
                    found[write.key] = write
                    return found
        return found

    return [(Recovery, "_lost", lost)]


@bug("monitors see what is not committed")
def _() -> list[Change]:
    reached = property(lambda self: dict(self._partition.offsets) if self._began else {})
    return [(Runner, "reached", reached)]


@bug("lists are not left")
def _() -> list[Change]:
    original = Engagement.write

    def write(self: Engagement, state: Any, packed: bytes) -> Any:
        return original(self, state, packed)._replace(moved=None)

    return [(Engagement, "write", write)]


@bug("what is done stays in work lists")
def _() -> list[Change]:
    original = Engagement.write

    def write(self: Engagement, state: Any, packed: bytes) -> Any:
        found = original(self, state, packed)
        of_client = listed_by(state)[: len(LISTED)]
        return found._replace(moved=None) if found.moved and found.moved[: len(LISTED)] == of_client else found

    return [(Engagement, "write", write)]
