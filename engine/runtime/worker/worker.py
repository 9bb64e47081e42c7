"""A worker: the Faust app and everything that hangs on it. The one place where things are wired.

Enters: settings. Leaves: a running worker. Holds: Faust gives the app, its lifecycle, the agent, the channel and the
web server; its own consumer and producer stay off.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import structlog
from faust.web import Request, Response, Web

from engine.runtime.clients import Clients
from engine.runtime.errors import Refused, Unavailable
from engine.runtime.kafka import topics
from engine.runtime.kafka.intake import KafkaIntake, grown
from engine.runtime.kafka.log import KafkaLog
from engine.runtime.kafka.membership import Membership
from engine.runtime.observe.metrics import Metrics
from engine.runtime.partitioning import partitioner
from engine.runtime.protocol.partition import Partition
from engine.runtime.protocol.unit import UnitLimits
from engine.runtime.redis import store as redis_store
from engine.runtime.redis.store import RedisStore
from engine.runtime.rule_sets.following import RuleSets
from engine.runtime.settings import Settings
from engine.runtime.worker.runner import FIRST_PAUSE_S, LONGEST_PAUSE_S, Runner, Turns, Work
from engine.runtime.worker.watchdog import Watchdog

log = structlog.get_logger(__name__)

AT_ONCE: Final = 8  # partitions that work, and partitions that start
SWEEP_CLIENTS: Final = 2_000  # of all its partitions, a second
PROBE_S: Final = 3.0
TOPICS_S: Final = 60.0


class Worker:
    """Runs partitions until `stop` or a failure. `unit` and `cache_bytes` are those of each partition, by default as
    the settings have it.
    """

    def __init__(
        self, settings: Settings, clients: Clients, unit: UnitLimits | None = None, cache_bytes: int | None = None
    ) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self._clients = clients
        self._unit = unit or UnitLimits(age_s=settings.unit_age_s)
        self._cache_bytes = cache_bytes
        self._loop = asyncio.get_running_loop()
        self.app = clients.app(settings)
        self._work: Any = self.app.channel(maxsize=1024)
        self.app.agent(self._work, concurrency=AT_ONCE, name="engagement")(self._engage)
        self._pages()
        self._redis = clients.redis(settings.redis.get_secret_value())
        self._rule_sets = RuleSets(settings, clients, self.metrics)
        self._membership = Membership(settings, clients, self._assigned)
        self._assignment: frozenset[int] = frozenset()
        self._reassigned = asyncio.Event()
        self._turns = Turns(asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(AT_ONCE))
        self._runners: dict[int, tuple[Runner, asyncio.Task[None]]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._failure: asyncio.Future[None] = self._loop.create_future()
        self._joined = False
        self._watchdog = Watchdog(settings.unit_deadline_s)
        self._partitions = 1
        self._partition_of = partitioner(1)

    # -- life --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Serve metrics and health at once; join when Kafka, Redis, topics and rules are right. Raises Refused."""
        try:
            await self.app.start()
        except OSError as error:
            raise Refused(
                f"metrics and health cannot be served at {self.settings.web_host}, port {self.settings.web_port} "
                f"({error.strerror}): give another --web-port or --web-host"
            ) from error
        self.app.flow_control.resume()  # Faust does so only when its own consumer gets partitions
        self._clients.thread(self._watchdog.watch, "watchdog")
        self._spawn(self._watchdog.beat())
        await self._patiently(self._check)
        await self._warn()
        await self._patiently(self._rule_sets.start)
        await self._patiently(self._membership.start)
        self._spawn(self._poll_membership())
        self._spawn(self._reconcile())
        self._spawn(self._forever(self._watch_topics))
        self._spawn(self._forever(self._rule_sets.follow))
        if self.settings.watch and self.settings.rules:
            directory = self.settings.rules
            self._spawn(self._forever(lambda: self._rule_sets.watch(directory)))
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
        await self._end_runners(set(self._runners))
        await self._membership.stop()
        await self._redis.aclose()
        await self.app.stop()
        log.info("worker stopped")

    async def _check(self) -> None:
        partitions = await topics.partition_count(self.settings, self._clients)
        empty = await topics.ledger_is_empty(self.settings, self._clients, partitions)
        await redis_store.pin_partitions(self._redis, self.settings.app_id, partitions, empty)
        await redis_store.pin_ledger(self._redis, self.settings.app_id, self.settings.ledger_topic)
        self._partitions = partitions
        self._partition_of = partitioner(partitions)

    async def _warn(self) -> None:
        """Of what is no reason to refuse: profiles may be meant to be compacted."""
        for name in await topics.compacted(self.settings, self._clients):
            log.warning(
                "this topic is compacted: of a client's events Kafka may delete all but the last, decided or not. Set "
                "its cleanup.policy to delete",
                topic=name,
            )

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

    async def _check_redis(self) -> None:
        """What Redis forgot is refused while a worker runs, too: which backup to go by is the operator's to say."""
        if not await redis_store.is_pinned(self._redis, self.settings.app_id):
            await self._check()

    async def _patiently(self, step: Callable[[], Awaitable[None]]) -> None:
        """Repeat a step of the start with growing pauses while Kafka or Redis is away."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                await step()
                for system in ("kafka", "redis"):
                    self.metrics.waiting.labels(system).set(0)
                return
            except Unavailable as error:
                self.metrics.waiting.labels(error.system).set(1)
                log.warning("waiting", system=error.system, error=str(error), pause_s=round(pause_s, 2))
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _forever(self, step: Callable[[], Awaitable[None]]) -> None:
        """Begin again whenever Kafka comes back."""
        pause_s = FIRST_PAUSE_S
        while True:
            began = self._loop.time()
            try:
                await step()
            except Unavailable as error:
                log.warning("waiting", system=error.system, error=str(error), pause_s=round(pause_s, 2))
            pause_s = FIRST_PAUSE_S if self._loop.time() - began > 10 else min(pause_s * 2, LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._failure.done():
            self._failure.set_exception(error)

    # -- partitions --------------------------------------------------------------------------------

    async def _engage(self, stream: Any) -> None:
        """The engagement agent. It never leaks an exception: what went wrong is the partition's to handle."""
        async for work in stream:
            try:
                await work.partition.take(work.batch)
            except Exception as error:
                if not work.done.cancelled():
                    work.done.set_exception(error)
            else:
                if not work.done.cancelled():
                    work.done.set_result(None)

    def _assigned(self, partitions: frozenset[int]) -> None:
        self._joined = True
        self._assignment = partitions
        self._reassigned.set()

    async def _poll_membership(self) -> None:
        probed = self._loop.time()
        while True:
            try:
                await self._membership.poll()
                if self._loop.time() - probed > PROBE_S:
                    probed = self._loop.time()
                    await self._membership.probe()
                    self.metrics.waiting.labels("kafka").set(0)
            except Unavailable as error:
                self.metrics.waiting.labels(error.system).set(1)
                log.warning("the group cannot be reached", error=str(error))
                await asyncio.sleep(1)

    async def _reconcile(self) -> None:
        """Start what was assigned, end what was taken away."""
        while True:
            await self._reassigned.wait()
            self._reassigned.clear()
            wanted = self._assignment
            if max(wanted, default=0) >= self._partitions:
                raise Refused(grown(self.settings.ledger_topic, max(wanted) + 1, self._partitions))
            log.info("assigned", partitions=sorted(wanted))
            self.metrics.assigned.set(len(wanted))
            await self._end_runners(set(self._runners) - wanted)
            for partition in sorted(wanted - set(self._runners)):
                runner = self._runner(partition)
                task = self._loop.create_task(runner.run())
                task.add_done_callback(self._ended)
                self._runners[partition] = (runner, task)

    async def _end_runners(self, partitions: set[int]) -> None:
        ending = {p: self._runners.pop(p) for p in partitions}
        for runner, _ in ending.values():
            runner.stop()
        await asyncio.gather(*(task for _, task in ending.values()), return_exceptions=True)
        for partition in ending:
            self.metrics.forget(partition)

    def _runner(self, number: int) -> Runner:
        settings, partition_of = self.settings, self._partition_of
        share = max(len(self._assignment), 1)
        log_ = KafkaLog(settings, self._clients, number)
        partition = Partition(
            number,
            log_,
            RedisStore(self._redis, settings.app_id, number),
            lambda: self._rule_sets.plan,
            lambda key: partition_of(key) == number,
            self.metrics,
            self._cache_bytes or settings.cache_mb * 1_000_000 // share,
            self._unit,
        )

        def fenced() -> None:
            self._runners.pop(number, None)
            self.metrics.forget(number)
            self._membership.rejoin()

        return Runner(
            partition,
            KafkaIntake(settings, self._clients, number, self._partitions, share),
            log_.stop,
            self._submit,
            self._turns,
            max(SWEEP_CLIENTS // share, 10),
            settings,
            self.metrics,
            self._check_redis,
            fenced,
            self._clients.wall_ms,
        )

    async def _submit(self, work: Work) -> None:
        await self._work.put(work)

    # -- health ------------------------------------------------------------------------------------

    def not_ready(self) -> list[str]:
        """Why this worker is not ready, empty when it is. A worker without partitions is a ready spare."""
        reasons = [] if self._joined else ["has no assignment from its group yet"]
        for system in ("kafka", "redis"):
            if self.metrics.waiting.labels(system)._value.get():
                reasons.append(f"{system} is away")
        reasons += [
            f"partition {number} is not running"
            for number, (runner, _) in sorted(self._runners.items())
            if not runner.ready
        ]
        return reasons

    def health(self) -> dict[str, Any]:
        """Amber: it works, but not by the newest rules."""
        reasons, trouble = self.not_ready(), self._rule_sets.trouble
        return {
            "state": "red" if reasons else "amber" if trouble else "green",
            "ready": not reasons,
            "reasons": reasons,
            "warnings": [trouble[:2000]] if trouble else [],
            "rule_set": self._rule_sets.in_words(),
            "rule_set_stale": trouble is not None,
        }

    def _pages(self) -> None:
        app: Any = self.app  # Faust's types ask of a page what its own pages do not do

        @app.page("/metrics")
        async def metrics(web: Web, request: Request) -> Response:
            runners = [runner for runner, _ in self._runners.values()]
            self.metrics.cache_clients.set(sum(runner.cached for runner in runners))
            self.metrics.rule_sets_by_partition(runner.rule_set for runner in runners)
            return web.bytes(self.metrics.text(), content_type="text/plain")

        @app.page("/health/live")
        async def live(web: Web, request: Request) -> Response:
            return web.json({"live": True})

        @app.page("/health/ready")
        async def ready(web: Web, request: Request) -> Response:
            body = self.health()
            return web.json(body, status=200 if body["ready"] else 503)


async def run(worker: Worker) -> None:
    """Run a worker until SIGTERM or SIGINT. Raises Refused, or what else ended it."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    waiting = [loop.create_task(stop.wait()), loop.create_task(_start_and_watch(worker))]
    try:
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
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
