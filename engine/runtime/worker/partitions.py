"""The partitions of a worker: a runner for each that the group assigns.

Enters: assignments. Leaves: runners, started and ended. Holds: the callbacks of the group only note what is wanted;
`reconcile` starts and ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import structlog

from engine.core.plan.compile import Plan
from engine.processors.opening import open_partition
from engine.runtime.clients import Clients
from engine.runtime.errors import Refused
from engine.runtime.kafka.intake import KafkaIntake
from engine.runtime.kafka.topics import grown
from engine.runtime.kafka.wire.polls import Polls
from engine.runtime.observe.metrics import Metrics
from engine.runtime.partitioning import partitioner
from engine.runtime.protocol.processor import Processor
from engine.runtime.protocol.unit import UnitLimits
from engine.runtime.rule_sets.breaker import Breaker
from engine.runtime.settings import Settings
from engine.runtime.worker.delivery import Delivery
from engine.runtime.worker.event_loop import Turns
from engine.runtime.worker.observing import PartitionMetrics, RulesInUse
from engine.runtime.worker.runner import Runner
from engine.runtime.worker.waiting import Waiting

if TYPE_CHECKING:
    from engine.runtime.clients import AnyRedis

log = structlog.get_logger(__name__)

AT_ONCE: Final = 4  # partitions that work, and partitions that start
# in the open units of all its partitions, while it is behind
UNITS_RECORDS: Final = 160_000
UNITS_BYTES: Final = 30_000_000  # of many: most of them are open while others are at work
UNIT_BYTES: Final = 16_000_000  # of each of few
SWEEP_CLIENTS: Final = 2_000  # of all its partitions, a second


class Partitions:
    """`unit` and `cache_bytes` are those of each partition, by default as the settings have it."""

    def __init__(
        self,
        settings: Settings,
        clients: Clients,
        redis: AnyRedis,
        metrics: Metrics,
        waiting: Waiting,
        *,
        processor: Processor[Any, Any, Any],
        plan: Callable[[], Plan],
        delivery: Delivery,
        breaker: Breaker,
        check: Callable[[], Awaitable[None]],
        rejoin: Callable[[], None],
        ended: Callable[[asyncio.Task[None]], None],
        unit: UnitLimits | None,
        cache_bytes: int | None,
    ) -> None:
        self.joined = False
        self._settings = settings
        self._clients = clients
        self._redis = redis
        self._metrics = metrics
        self._waiting = waiting
        self._processor = processor
        self._plan = plan
        self._delivery = delivery
        self._breaker = breaker
        self._check = check
        self._rejoin = rejoin
        self._ended = ended
        self._unit = unit
        self._cache_bytes = cache_bytes
        self._rules = RulesInUse(lambda: processor.digest(plan()))
        self._turns = Turns(AT_ONCE, (unit or UnitLimits()).tick_clients, lambda: breaker.holds)
        self._polls = Polls()
        self._wanted: frozenset[int] = frozenset()
        self._changed = asyncio.Event()
        self._running: dict[int, tuple[Runner, asyncio.Task[None]]] = {}
        self._left: list[Runner] = []  # at the worker's end
        self.count(1)

    def count(self, partitions: int) -> None:
        """How many there are in all, of all workers."""
        self._all = partitions
        self._partition_of = partitioner(partitions)

    def of(self, key: str) -> int:
        return self._partition_of(key.encode())

    def runners(self) -> list[Runner]:
        """By the partition's number."""
        return [runner for _, (runner, _) in sorted(self._running.items())]

    def reached(self) -> dict[int, dict[str, int]]:
        """By partition: see Runner."""
        return {runner.number: runner.reached for runner in (*self.runners(), *self._left)}

    def assign(self, partitions: frozenset[int]) -> None:
        """The group's word on what this worker is to run."""
        self.joined = True
        self._wanted = partitions
        self._changed.set()

    async def reconcile(self) -> None:
        """Start what was assigned, end what was taken away; for ever."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            wanted = self._wanted
            if max(wanted, default=0) >= self._all:
                raise Refused(grown(self._settings.ledger_topic, max(wanted) + 1, self._all))
            log.info("assigned", partitions=sorted(wanted))
            self._metrics.assigned.set(len(wanted))
            await self._end(set(self._running) - wanted)
            for number in sorted(wanted - set(self._running)):
                runner = self._runner(number)
                task = asyncio.get_running_loop().create_task(runner.run())
                task.add_done_callback(self._ended)
                self._running[number] = (runner, task)

    async def stop(self) -> None:
        """Each finishes and commits what it has in hand."""
        self._left = self.runners()
        await self._end(set(self._running))

    async def _end(self, numbers: set[int]) -> None:
        ending = {number: self._running.pop(number) for number in numbers}
        for runner, _ in ending.values():
            runner.stop()
        await asyncio.gather(*(task for _, task in ending.values()), return_exceptions=True)
        for number in ending:
            self._forget(number)

    def _runner(self, number: int) -> Runner:
        settings, clients, partition_of = self._settings, self._clients, self._partition_of
        share = max(len(self._wanted), 1)
        unit_bytes = UNIT_BYTES if share <= AT_ONCE else UNITS_BYTES // share
        opened = open_partition(
            settings,
            clients,
            self._redis,
            self._processor,
            number,
            plan=self._plan,
            belongs=lambda key: partition_of(key) == number,
            observer=PartitionMetrics(self._metrics, clients.wall_ms, self._breaker.committed, self._rules),
            cache_bytes=self._cache_bytes or settings.cache_mb * 1_000_000 // share,
            limits=self._unit or UnitLimits(UNITS_RECORDS // max(share, AT_ONCE), unit_bytes),
            partitions=self._all,
        )
        return Runner(
            opened.partition,
            KafkaIntake(
                settings,
                clients,
                self._processor.ranks(),
                number,
                self._all,
                share,
                self._polls,
                lambda: opened.partition.room,
            ),
            settings,
            self._metrics,
            self._waiting,
            stop_log=opened.log.stop,
            deliver=self._delivery.deliver,
            turns=self._turns,
            sweep_clients=max(SWEEP_CLIENTS // share, 10),
            check=self._check,
            fenced=lambda: self._fenced(number),
            wall_ms=clients.wall_ms,
        )

    def _fenced(self, number: int) -> None:
        """Another worker has it; the group is to say who should, unless it has: one that is ending was taken away."""
        if self._running.pop(number, None) is not None:
            self._forget(number)
            self._rejoin()

    def _forget(self, number: int) -> None:
        self._metrics.forget(number)
        self._rules.forget(number)
