"""A worker: the Faust app and everything that hangs on it. The one place where things are wired.

Enters: settings. Leaves: a running worker. Holds: Faust gives the app, its lifecycle, the agent, the channel and the
web server; its own consumer and producer stay off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import structlog

from engine.processors.engagement import ENGAGEMENT
from engine.runtime.clients import Clients
from engine.runtime.errors import Fenced, Refused, Unavailable
from engine.runtime.kafka import topics
from engine.runtime.kafka.log import KafkaLog
from engine.runtime.kafka.membership import Membership
from engine.runtime.kafka.progress import Progress
from engine.runtime.observe.metrics import Metrics
from engine.runtime.protocol.processor import Processor
from engine.runtime.protocol.unit import UnitLimits
from engine.runtime.redis import pins
from engine.runtime.redis.eviction import MemoryWatch, refuse_eviction
from engine.runtime.redis.reading import refuse_any_loading
from engine.runtime.rule_sets.breaker import Breaker
from engine.runtime.rule_sets.following import RuleSets
from engine.runtime.settings import Settings
from engine.runtime.worker.delivery import Delivery
from engine.runtime.worker.event_loop import Watchdog
from engine.runtime.worker.health import Health, add_pages
from engine.runtime.worker.partitions import AT_ONCE, Partitions
from engine.runtime.worker.runner import FIRST_PAUSE_S, LONGEST_PAUSE_S
from engine.runtime.worker.waiting import Waiting

log = structlog.get_logger(__name__)

PROBE_S: Final = 3.0
TOPICS_S: Final = 60.0
REDIS_S: Final = 10.0
PROGRESS_S: Final = 5.0


class Worker:
    """Runs partitions until `stop` or a failure. `unit` and `cache_bytes`: see Partitions."""

    def __init__(
        self,
        settings: Settings,
        clients: Clients,
        unit: UnitLimits | None = None,
        cache_bytes: int | None = None,
        processor: Processor[Any, Any, Any] = ENGAGEMENT,
    ) -> None:
        metrics = Metrics()
        settings = settings.scoped(processor.name, processor.suffix)
        self.settings = settings
        self.rule_sets = RuleSets(settings, clients, metrics)
        self._clients = clients
        self._loop = asyncio.get_running_loop()
        self._waiting = Waiting(metrics)
        self._app = clients.app(settings)
        self._redis = clients.redis(settings)
        self.breaker = Breaker(settings, clients, self._redis, metrics, lambda: self.rule_sets.plan.rule_set)
        self.partitions = Partitions(
            settings,
            clients,
            self._redis,
            metrics,
            self._waiting,
            processor=processor,
            plan=lambda: self.rule_sets.plan,
            delivery=Delivery(self._app, AT_ONCE),
            breaker=self.breaker,
            check=self._check_redis,
            rejoin=lambda: self._membership.rejoin(),
            ended=self._ended,
            unit=unit,
            cache_bytes=cache_bytes,
        )
        self._membership = Membership(settings, clients, self.partitions.assign)
        self._metrics = metrics
        self._progress = Progress(settings, clients)
        self._memory = MemoryWatch(self._redis, settings.redis_never_evicts)
        self.health = Health(self._waiting, self.partitions, self.rule_sets, self._memory, self.breaker)
        add_pages(self._app, self.health, metrics, self.partitions, self.rule_sets)
        self._watchdog = Watchdog(settings.unit_deadline_s)
        self._tasks: list[asyncio.Task[None]] = []
        self._failure: asyncio.Future[None] = self._loop.create_future()

    async def start(self) -> None:
        """Serve metrics and health at once; join when Kafka, Redis, topics and rules are right. Raises Refused."""
        try:
            await self._app.start()
        except OSError as error:
            raise Refused(
                f"metrics and health cannot be served at {self.settings.web_host}, port {self.settings.web_port} "
                f"({error.strerror}): give another --web-port or --web-host"
            ) from error
        self._app.flow_control.resume()  # Faust does so only when its own consumer gets partitions
        self._clients.thread(self._watchdog.watch, "watchdog")
        self._spawn(self._watchdog.beat())
        await self.rule_sets.read_given()
        await self._patiently(lambda: refuse_eviction(self._redis))
        await self._patiently(self._memory.look)
        await self._patiently(self._check)
        await self._warn()
        await self._patiently(self.rule_sets.start)
        await self._patiently(self._membership.start)
        self._spawn(self._poll_membership())
        self._spawn(self.partitions.reconcile())
        self._spawn(self._tell_monitors())
        self._spawn(self._forever(self._watch_topics))
        self._spawn(self._forever(self._watch_redis))
        self._spawn(self._forever(self.rule_sets.follow))
        self._spawn(self._forever(self.breaker.run))
        if self.settings.watch and self.settings.rules:
            directory = self.settings.rules
            self._spawn(self._forever(lambda: self.rule_sets.watch(directory)))
        log.info(
            "worker started", kafka=self.settings.kafka, web=f"http://{self.settings.web_host}:{self.settings.web_port}"
        )

    async def failed(self) -> None:
        """Returns never; raises what ended the worker."""
        await self._failure

    async def stop(self) -> None:
        """Finish and commit what is in hand, leave the group."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # the others learn of it while what is in hand is committed; a next owner that is quicker fences this one
        await asyncio.gather(self._membership.stop(), self.partitions.stop())
        await self._commit_progress()
        await self._progress.stop()
        await self._redis.aclose()
        await self._app.stop()
        log.info("worker stopped")

    async def _check(self) -> None:
        partitions = await topics.partition_count(self.settings, self._clients)
        empty = await topics.ledger_is_empty(self.settings, self._clients, partitions)
        await pins.pin_partitions(self._redis, self.settings.scope, partitions, empty)
        await pins.pin_ledger(self._redis, self.settings.scope, self.settings.ledger_topic)
        await refuse_any_loading(
            self._redis, self.settings.scope, partitions, lambda number: KafkaLog(self.settings, self._clients, number)
        )
        self.partitions.count(partitions)

    async def _warn(self) -> None:
        """About settings that may be meant so: profiles may be compacted on purpose."""
        for name, warning in await topics.doubtful(self.settings, self._clients):
            log.warning(warning, topic=name)

    async def _watch_topics(self) -> None:
        """A topic that is deleted under a worker looks like a Kafka that is away, or like one without news."""
        refused = False
        while True:
            await asyncio.sleep(TOPICS_S)
            try:
                await topics.partition_count(self.settings, self._clients)
                refused = False
            except Refused as error:
                if refused:
                    raise
                refused = True  # a broker that is only starting does not know its topics yet: one more look
                log.warning("the topics are not as they were", error=str(error))

    async def _tell_monitors(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS_S)
            await self._commit_progress()

    async def _commit_progress(self) -> None:
        """For monitors alone: what goes wrong is counted and logged, and stops nothing."""
        try:
            committed = await self._progress.commit(self.partitions.reached())
        except (Unavailable, Refused, Fenced) as error:
            self._metrics.progress.labels("failed").inc()
            if not self._waiting.systems:  # an outage has its lines
                log.warning("how far partitions are could not be committed for monitors", error=str(error))
        else:
            self._metrics.progress.labels("committed").inc(committed)

    async def _watch_redis(self) -> None:
        """Its settings may be changed under a worker, and a failover leads to a server with others."""
        while True:
            await asyncio.sleep(REDIS_S)
            await self._memory.look()
            await self._check_redis()

    async def _check_redis(self) -> None:
        """What Redis forgot is refused while a worker runs, too: the operator must choose the backup."""
        if not await pins.has_pins(self._redis, self.settings.scope):
            await self._check()

    async def _patiently(self, step: Callable[[], Awaitable[None]]) -> None:
        """Repeat a step of the start with growing pauses while Kafka or Redis is away."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                await step()
                self._waiting.end("start")
                return
            except Unavailable as error:
                self._waiting.begin(error.system, "start", error)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _forever(self, step: Callable[[], Awaitable[None]]) -> None:
        """Begin again whenever Kafka or Redis comes back. A step that fails alone keeps no partition from running: what
        it may mean for the worker is for those to say that need the system.
        """
        pause_s, trouble = FIRST_PAUSE_S, None
        while True:
            began = self._loop.time()
            try:
                await step()
            except Unavailable as error:
                trouble = error
            pause_s = FIRST_PAUSE_S if self._loop.time() - began > 10 else min(pause_s * 2, LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s)
            if trouble is not None and trouble.system not in self._waiting.systems:  # an outage has its lines
                log.warning("a watch was interrupted and begins again", system=trouble.system, error=str(trouble))
            trouble = None

    async def _poll_membership(self) -> None:
        probed = self._loop.time()
        while True:
            try:
                await self._membership.poll()
                if self._loop.time() - probed > PROBE_S:
                    probed = self._loop.time()
                    await self._membership.probe()
                    self._waiting.end("worker")
            except Unavailable as error:
                self._waiting.begin(error.system, "worker", error)
                await asyncio.sleep(1)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._failure.done():
            self._failure.set_exception(error)


async def run(worker: Worker, stop: asyncio.Event) -> None:
    """Run a worker until it is asked to stop. Raises Refused, or what else ended it."""
    loop = asyncio.get_running_loop()
    waiting = [loop.create_task(stop.wait()), loop.create_task(_start_and_watch(worker))]
    try:
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            for task in done:
                task.result()
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await worker.stop()


async def _start_and_watch(worker: Worker) -> None:
    await worker.start()
    await worker.failed()
