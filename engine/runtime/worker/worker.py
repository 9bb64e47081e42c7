"""A worker: the Faust app and everything that hangs on it. The one place where things are wired.

Enters: settings. Leaves: a running worker. Holds: Faust gives the app, its lifecycle, the agent, the channel and the
web server; its own consumer and producer stay off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from typing import Any, Final

import structlog

from engine.core.contract.granting import BUDGET
from engine.core.policy.rates import period_of
from engine.processors.engagement import ENGAGEMENT
from engine.runtime.clients import Clients
from engine.runtime.errors import Fenced, Refused, Unavailable
from engine.runtime.kafka import topics
from engine.runtime.kafka.log import KafkaLog
from engine.runtime.kafka.membership import Membership
from engine.runtime.kafka.progress import Progress
from engine.runtime.observe.metrics import Metrics
from engine.runtime.observe.pools import FIELDS, OF_BUDGETS
from engine.runtime.protocol.processor import Processor
from engine.runtime.protocol.unit import UnitLimits
from engine.runtime.redis import pins
from engine.runtime.redis.eviction import MemoryWatch, refuse_eviction
from engine.runtime.redis.lists import shown_of_pools
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
WANTED_S: Final = 1.0  # between two looks whether the rules need a further processor


class Share:
    """What a worker has of one processor: partitions, a place in its group, and what monitors hear."""

    def __init__(
        self, settings: Settings, clients: Clients, processor: Processor[Any, Any, Any], partitions: Callable[..., Any]
    ) -> None:
        self.settings = settings.scoped(processor.name, processor.suffix)
        self.partitions: Partitions = partitions(
            self.settings, processor=processor, rejoin=lambda: self.membership.rejoin()
        )
        self.membership: Membership = Membership(self.settings, clients, self.partitions.assign)
        self.progress = Progress(self.settings, clients)


class Worker:
    """Runs partitions until `stop` or a failure. `unit` and `cache_bytes`: see Partitions. The first processor always
    works; a further one does once the rules need it.
    """

    def __init__(
        self,
        settings: Settings,
        clients: Clients,
        unit: UnitLimits | None = None,
        cache_bytes: int | None = None,
        processors: Sequence[Processor[Any, Any, Any]] = (ENGAGEMENT,),
    ) -> None:
        metrics = Metrics()
        self.settings = settings = settings.scoped(processors[0].name, processors[0].suffix)
        self.rule_sets = RuleSets(settings, clients, metrics)
        self._clients = clients
        self._loop = asyncio.get_running_loop()
        self._waiting = Waiting(metrics)
        self._app = clients.app(settings)
        self._redis = clients.redis(settings)
        self.breaker = Breaker(settings, clients, self._redis, metrics, lambda: self.rule_sets.plan.rule_set)
        self._delivery = Delivery(self._app, AT_ONCE)
        self._unit, self._cache_bytes = unit, cache_bytes
        self._shares = [
            Share(settings, clients, processor, self._partitions(metrics, self._waiting))
            for processor in processors[:1]
        ]
        self._further = [
            Share(settings, clients, processor, self._partitions(Metrics(), Waiting(Metrics())))
            for processor in processors[1:]
        ]
        self.partitions = self._shares[0].partitions
        self._metrics = metrics
        self._memory = MemoryWatch(self._redis, settings.redis_never_evicts)
        further = [share.partitions for share in self._further]
        self.health = Health(self._waiting, self.partitions, self.rule_sets, self._memory, self.breaker, further)
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
        (first,) = self._shares
        await self._patiently(lambda: self._check(first))
        await self._warn()
        await self._patiently(self.rule_sets.start)
        await self._join(first)
        self._spawn(self._tell_monitors())
        self._spawn(self._forever(self._watch_topics))
        self._spawn(self._forever(self._watch_redis))
        self._spawn(self._forever(self.rule_sets.follow))
        self._spawn(self._forever(self.breaker.run))
        for share in self._further:
            self._spawn(self._join_when_wanted(share))
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
        await asyncio.gather(*(what.stop() for share in self._shares for what in (share.membership, share.partitions)))
        await self._commit_progress()
        for share in self._shares:
            await share.progress.stop()
        await self._redis.aclose()
        await self._app.stop()
        log.info("worker stopped")

    def _partitions(self, metrics: Metrics, waiting: Waiting) -> Callable[..., Partitions]:
        """What makes those of a processor."""

        def made(settings: Settings, **of_share: Any) -> Partitions:
            return Partitions(
                settings,
                self._clients,
                self._redis,
                metrics,
                waiting,
                plan=lambda: self.rule_sets.plan,
                delivery=self._delivery,
                breaker=self.breaker,
                check=self._check_redis,
                ended=self._ended,
                unit=self._unit,
                cache_bytes=self._cache_bytes,
                **of_share,
            )

        return made

    async def _join(self, share: Share) -> None:
        await self._patiently(share.membership.start)
        self._spawn(self._poll_membership(share.membership))
        self._spawn(share.partitions.reconcile())

    async def _join_when_wanted(self, share: Share) -> None:
        while self.rule_sets.plan.pools is None and not self.rule_sets.plan.budgets:
            await asyncio.sleep(WANTED_S)
        await self._patiently(lambda: self._check(share))
        self._shares.append(share)
        await self._join(share)
        self._spawn(self._forever(lambda: self._watch_pools(share)))

    async def _check(self, share: Share) -> None:
        settings = share.settings
        partitions = await topics.partition_count(settings, self._clients)
        empty = await topics.ledger_is_empty(settings, self._clients, partitions)
        await pins.pin_partitions(self._redis, settings.scope, partitions, empty)
        await pins.pin_ledger(self._redis, settings.scope, settings.ledger_topic)
        await refuse_any_loading(
            self._redis, settings.scope, partitions, lambda number: KafkaLog(settings, self._clients, number)
        )
        share.partitions.count(partitions)

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
            committed = 0
            for share in self._shares:
                committed += await share.progress.commit(share.partitions.reached())
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

    async def _watch_pools(self, share: Share) -> None:
        """For monitors alone."""
        while True:
            await asyncio.sleep(PROGRESS_S)
            pools = self.rule_sets.plan.pools
            advisors = pools.roster.advisors if pools is not None else {}
            here = {runner.number for runner in share.partitions.runners()}
            partitions = {name: share.partitions.of(name) for name in advisors}
            mine = {name: number for name, number in partitions.items() if number in here}
            found = await shown_of_pools(self._redis, share.settings.scope, mine, FIELDS)
            self._metrics.pools.show(found, self._clients.wall_ms())
            await self._show_budgets(share, here)

    async def _show_budgets(self, share: Share, here: Collection[int]) -> None:
        declared = self.rule_sets.plan.budgets
        partitions = {name: share.partitions.of(BUDGET + name) for name in declared}
        mine = {BUDGET + name: number for name, number in partitions.items() if number in here}
        found = await shown_of_pools(self._redis, share.settings.scope, mine, OF_BUDGETS)
        now_ms = self._clients.wall_ms()
        self._metrics.budgets.show(
            {key.removeprefix(BUDGET): fields for key, fields in found.items()},
            {name: declared[name].limit for name in declared if BUDGET + name in mine},
            {name: period_of(budget, now_ms)[0] for name, budget in declared.items()},
        )

    async def _check_redis(self) -> None:
        """What Redis forgot is refused while a worker runs, too: the operator must choose the backup."""
        for share in self._shares:
            if not await pins.has_pins(self._redis, share.settings.scope):
                await self._check(share)

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

    async def _poll_membership(self, membership: Membership) -> None:
        probed = self._loop.time()
        while True:
            try:
                await membership.poll()
                if self._loop.time() - probed > PROBE_S:
                    probed = self._loop.time()
                    await membership.probe()
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
