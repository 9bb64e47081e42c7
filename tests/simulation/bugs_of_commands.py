"""Deliberate bugs in the commands that run beside the workers. See bugs.py."""

from __future__ import annotations

from typing import Any

from aiokafka import TopicPartition

from engine.loading.committing import Commits
from engine.operations import snapshot
from engine.operations.backfill import Backfill
from engine.processors.columns import Columns
from engine.processors.engagement import Engagement
from engine.runtime.errors import Fenced, Refused
from engine.runtime.kafka.history import RecordedInputs
from engine.runtime.kafka.log import KafkaLog
from engine.runtime.protocol import recovery
from engine.runtime.protocol.ledger import Step
from engine.runtime.protocol.partition import Partition
from engine.runtime.protocol.position import Position
from engine.runtime.protocol.recovery import Recovery, under_way
from engine.runtime.protocol.unit import OpenUnit
from engine.runtime.redis import reading
from engine.runtime.worker import worker
from tests.simulation.bug import Change, Table, registering
from tests.simulation.loop import PROCESS

BUGS: Table = {}
bug = registering(BUGS)


def by_a_command() -> bool:
    process = PROCESS.get()
    return process is not None and process.name.startswith("o")


@bug("a backfill goes on after it was fenced")
def _() -> list[Change]:
    original = KafkaLog.publish

    async def publish(self: KafkaLog, *unit: Any) -> int:
        try:
            return await original(self, *unit)
        except Fenced:
            if not by_a_command():
                raise
            await self.start()
            return await original(self, *unit)

    return [(KafkaLog, "publish", publish)]


@bug("a backfill does not follow the ledger to its end")
def _() -> list[Change]:
    """What was decided between its reading of the history and its taking of the partition is left out."""
    original = Columns.follow

    async def follow(self: Columns, *where: Any) -> None:
        if self._ledger is None:
            await original(self, *where)

    return [(Columns, "follow", follow)]


@bug("a backfill writes to Redis alone")
def _() -> list[Change]:
    original = KafkaLog.publish

    async def publish(self: Any, *unit: Any) -> int:
        return int((await self.bounds())[1]) - 1 if by_a_command() else await original(self, *unit)

    return [(KafkaLog, "publish", publish)]


@bug("a backfill's unit does not say so")
def _() -> list[Change]:
    original = Partition.revise

    async def revise(self: Partition, client_ids: Any, change: Any, step: Step) -> int:
        return await original(self, client_ids, change, Step({}))

    return [(Partition, "revise", revise)]


@bug("a backfill keeps what it had begun when it takes the partition again")
def _() -> list[Change]:
    """A unit that was on its way when the worker came is still there, and goes out with the next."""
    original = Partition.recover

    async def recover(self: Partition) -> Any:
        unit, cache = self._unit, dict(self._cache)
        position = await original(self)
        if by_a_command() and unit.steps:
            self._unit = OpenUnit(changed=unit.changed, steps=unit.steps)
            self._cache.update(cache)
        return position

    return [(Partition, "recover", recover)]


@bug("a backfill forgets how far timers had moved time")
def _() -> list[Change]:
    return [(Columns, "_move_time", lambda self, due, writes: None)]


@bug("a backfill counts again what is read again")
def _() -> list[Change]:
    async def fetch(self: RecordedInputs, tp: TopicPartition) -> list[Any]:
        return (await self._consumer.getmany(tp, timeout_ms=100)).get(tp, [])

    return [(RecordedInputs, "_fetch", fetch)]


@bug("a backfill does not look at the rules again")
def _() -> list[Change]:
    async def declaring(self: Backfill) -> Any:
        return await self._head()

    return [(Backfill, "_declaring", declaring), (Backfill, "_kept", lambda self, columns: None)]


@bug("a backfill does not count what it has made known")
def _() -> list[Change]:
    """Whoever watches the metric goes on being told to run it."""
    original = Engagement.recount

    def recount(self: Engagement, state: Any) -> Any:
        return {} if by_a_command() else original(self, state)

    return [(Engagement, "recount", recount)]


@bug("a load that goes on asks anew where the past ends")
def _() -> list[Change]:
    """What has come to the topics since is taken for the past as well, or the load for another one."""
    original = Commits._done

    def done(self: Commits, partition: int, stand: list[int]) -> dict[str, Any]:
        return {name: value for name, value in original(self, partition, stand).items() if name != "begins"}

    return [(Commits, "_done", done)]


@bug("a load that goes on commits a bucket from its beginning")
def _() -> list[Change]:
    original = Commits.take

    async def take(self: Commits, opened: Any, skip: int, bucket: int, decided: Any) -> None:
        await original(self, opened, 0, bucket, decided)

    return [(Commits, "take", take)]


@bug("workers decide while a past is being loaded")
def _() -> list[Change]:
    """The end of the load is awaited by nobody."""

    async def allowed(*_: Any) -> None: ...

    original = Recovery.run

    async def run(self: Recovery, gone: Any) -> Any:
        self._for_load = True
        return await original(self, gone)

    return [(Recovery, "run", run), (worker, "refuse_any_loading", allowed)]


@bug("a load is over when Redis says so")
def _() -> list[Change]:
    """A Redis that fails over right after a load, or is only being brought up to date, keeps workers out for ever."""

    async def refuse(number: int, _: Any, position: Position) -> None:
        if position.end.loading:
            raise Refused(under_way(number))

    return [(recovery, "refuse_loading", refuse), (reading, "refuse_loading", refuse)]


@bug("a rebuild falls over what it finds moved")
def _() -> list[Change]:
    return [(snapshot, "_recovered", lambda partition: partition.recover())]


@bug("no clients in Redis, nothing to fill")
def _() -> list[Change]:
    original = Backfill.run

    async def run(self: Backfill, filled: Any) -> None:
        if (await self._position()).states:
            await original(self, filled)

    return [(Backfill, "run", run)]
