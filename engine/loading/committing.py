"""A load on Kafka and Redis: its states through the ledger, and where workers go on.

Enters: decided buckets. Leaves: units that a recovery applies like any other, and positions that say how far the load
has come.
Holds: no worker decides before a load has come to its end; a partition is opened for it before any client is written.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from engine.core.plan.compile import Plan
from engine.loading import topics
from engine.loading.deciding import Counts, Decided, Past
from engine.loading.loading import Load, Order, prepare, rules_of, together
from engine.loading.report import Progress
from engine.loading.sources import Part
from engine.loading.spill import Row
from engine.processors.engagement import ENGAGEMENT
from engine.processors.opening import Opened, open_partition
from engine.runtime.clients import Clients
from engine.runtime.errors import Fenced, Refused, Surprised, Unavailable
from engine.runtime.kafka import topics as kafka_topics
from engine.runtime.observe.metrics import Metrics
from engine.runtime.protocol.position import Position
from engine.runtime.redis.eviction import refuse_eviction
from engine.runtime.redis.pins import pin_ledger, pin_partitions
from engine.runtime.redis.store import RedisStore
from engine.runtime.rule_sets.archive import RuleSetArchive
from engine.runtime.rule_sets.following import RuleSets
from engine.runtime.settings import Settings

if TYPE_CHECKING:
    from engine.runtime.clients import AnyRedis


_T = TypeVar("_T")
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 30.0
START_TRIES: Final = 6  # half a minute: an address may be wrong, too


@dataclass(frozen=True, slots=True)
class Begun:
    """What a load finds: the rules it decides by, and where workers go on."""

    partitions: int
    plan: Plan
    begins: topics.Begins
    over: Mapping[str, Any]  # a load that has come to its end here; empty: none has


async def start(settings: Settings, clients: Clients, redis: AnyRedis, until_ms: int, *, dry: bool = False) -> Begun:
    """Look at everything once; what a run before this one has begun with holds on. `dry`: change nothing but the active
    rules if others are given. Raises Refused when there are clients that no load brought.
    """
    await refuse_eviction(redis)
    partitions = await kafka_topics.partition_count(settings, clients)
    empty = await kafka_topics.ledger_is_empty(settings, clients, partitions)
    await pin_partitions(redis, settings.scope, partitions, empty)
    await pin_ledger(redis, settings.scope, settings.ledger_topic)
    first = await _first(redis, settings, partitions)
    over = bool(first.end.load) and not first.end.loading  # a worker has it now, perhaps
    begun = first.end.load if dry or over else await _begun(settings, clients, redis)
    archive = RuleSetArchive(settings, clients)
    # a load keeps its rules, whatever was published since; one that has ended is compared with those that are given
    digest = begun.get("rules") if "done" in begun or settings.rules is None else None
    if digest is None:
        rule_sets = RuleSets(settings, clients, Metrics())
        await rule_sets.read_given()
        await rule_sets.start()
        digest = rule_sets.plan.rule_set.digest
    await archive.read()
    plan = await clients.aside(archive.plan, digest)
    if "begins" in begun:
        noted = begun["begins"]
        begins = {
            number: {topic: noted[str(number)][topic] for topic in ENGAGEMENT.ranks()} for number in range(partitions)
        }
    else:
        begins = await topics.begins(settings, clients, partitions, until_ms, plan.declared_types)
    return Begun(partitions, plan, begins, begun if begun and "done" not in begun else {})


async def _first(redis: AnyRedis, settings: Settings, partitions: int) -> Position:
    """Where the first partition stands. Raises Refused if one has clients, before any is opened, which would take it
    from a worker.
    """
    positions = [
        Position.read(await RedisStore(redis, settings.scope, number).position()) for number in range(partitions)
    ]
    for number, position in enumerate(positions):
        if position.states and not position.end.load:
            raise Refused(_taken(number, position.states))
    return positions[0]


async def _begun(settings: Settings, clients: Clients, redis: AnyRedis) -> Mapping[str, Any]:
    """The load that is under way, as the first partition has it, which is marked first and completed last; its ledger
    says so where Redis has lost it.
    """
    opened = open_partition(settings, clients, redis, ENGAGEMENT, 0, plan=lambda: ENGAGEMENT.bare_plan, for_load=True)
    try:
        position = await opened.partition.recover()
    except (Fenced, Surprised) as error:
        raise Refused(_disturbed(error)) from error
    finally:
        await opened.log.stop()
    return position.end.load


def _disturbed(error: Exception) -> str:
    return f"{error}. Stop all workers, let no other load run, and run this one again: it goes on"


def _taken(number: int, clients: int) -> str:
    return (
        f"partition {number}: there are {clients} clients already, and a past is loaded before anything else. Load it "
        "under a new --app-id and --prefix, with topics of its own"
    )


class Commits:
    """The partitions of one load, committed to."""

    def __init__(self, load: str, past: Past, begins: dict[int, dict[str, int]], rules: str) -> None:
        self._mark = {"id": load, "until": past.until_ms, "acted": past.acted, "rules": rules}
        self._begins = begins

    async def open(self, opened: Opened[Any, Any, Any]) -> tuple[int, int] | None:
        """Recover and mark as loading; how many buckets are done, and clients of the next; None: it is complete."""
        partition = opened.partition
        position = await partition.recover()
        load = position.end.load
        if not load:
            if position.states:
                raise Refused(_taken(partition.number, position.states))
            mark = self._done(partition.number, [0, 0])
            await partition.load([], 0, {}, mark, self._begins[partition.number])
            return 0, 0
        if load["id"] != self._mark["id"]:
            raise Refused(other_load(load))
        return (load["done"][0], load["done"][1]) if position.end.loading else None

    async def take(self, opened: Opened[Any, Any, Any], skip: int, bucket: int, decided: Decided) -> None:
        """Commit a bucket's units, but for the clients that a run before this one committed."""
        done = 0
        for unit in decided.units:
            done += unit.clients
            if done > skip:
                stand = [bucket + 1, 0] if unit is decided.units[-1] else [bucket, done]
                mark = self._done(opened.partition.number, stand)
                await opened.partition.load(unit.writes, unit.clients, unit.tallies, mark, {})

    def _done(self, partition: int, stand: list[int]) -> dict[str, Any]:
        """The first partition has the beginnings of all: a run that goes on takes no records for the past that came
        since, nor for what follows it.
        """
        begins = {} if partition else {"begins": {str(number): offsets for number, offsets in self._begins.items()}}
        return {**self._mark, **begins, "done": stand}

    async def end(self, opened: Opened[Any, Any, Any]) -> None:
        if opened.partition.position.end.loading:
            await opened.partition.load([], 0, {}, self._mark, {})


def has_ended(begun: Begun, past: Past) -> bool:
    """Whether a load of the topics has come to its end before. Where its past ended on them is known no longer, so they
    are not read again to see that. Raises Refused if it was of another past.
    """
    if begun.over and (begun.over.get("until"), begun.over.get("acted")) != (past.until_ms, past.acted):
        raise Refused(other_load(begun.over))
    return bool(begun.over)


def other_load(load: Mapping[str, Any]) -> str:
    return (
        "another load is under way here, or has come to its end: of other files, another --until, --acted or other "
        f"rules (they were {load.get('rules', '')[:12]}). Give the same again to go on; another past needs a new "
        "--app-id, with topics and Redis of its own"
    )


async def run(
    settings: Settings,
    clients: Clients,
    redis: AnyRedis,
    order: Order,
    begun: Begun,
    progress: Progress,
    topic: Callable[[Part], AsyncIterator[Row]] | None = None,
) -> Counts | None:
    """Load on Kafka and Redis, however often they are away. None: it had come to its end before. Raises Refused."""
    prepare(order)
    pool = clients.processes(order.jobs)
    try:
        load = Load(order, rules_of(begun.plan), pool, progress, topic)
        await patiently(load.split, progress)
        commits = Commits(load.id, order.past, begun.begins, begun.plan.rule_set.digest)
        await patiently(lambda: _commit_all(settings, clients, redis, order, begun.plan, load, commits), progress)
        loaded = load.finish()
    finally:
        pool.stop()
    shutil.rmtree(order.work)
    return loaded


async def patiently(step: Callable[[], Awaitable[_T]], progress: Progress, tries: int | None = None) -> _T:
    """Begin a step again, with growing pauses, while Kafka or Redis is away: it goes on where it stands."""
    pause_s, tried = FIRST_PAUSE_S, 0
    while True:
        before, tried = progress.total, tried + 1
        try:
            return await step()
        except Unavailable as error:
            if tried == tries:
                raise
            pause_s = FIRST_PAUSE_S if progress.total > before else min(2 * pause_s, LONGEST_PAUSE_S)
            progress.say(f"{error}; the load goes on when it is back, and can be ended and run again")
            await asyncio.sleep(pause_s)


async def _commit_all(
    settings: Settings, clients: Clients, redis: AnyRedis, order: Order, plan: Plan, load: Load, commits: Commits
) -> None:
    opened = [
        open_partition(settings, clients, redis, ENGAGEMENT, number, plan=lambda: plan, for_load=True)
        for number in range(order.partitions)
    ]
    try:
        stands = [await commits.open(one) for one in opened]
        if any(stands):  # else all are complete
            load.begin()
            await together(
                _partition(load, commits, one, stand, order.each) for one, stand in zip(opened, stands, strict=True)
            )
        for one in reversed(opened):  # the first is the last: what a run that goes on needs to know is there
            await commits.end(one)
    except (Fenced, Surprised) as error:
        raise Refused(_disturbed(error)) from error
    finally:
        for one in opened:
            await one.log.stop()


async def _partition(
    load: Load, commits: Commits, opened: Opened[Any, Any, Any], stand: tuple[int, int] | None, each: int
) -> None:
    buckets, skip = (each, 0) if stand is None else stand

    async def take(bucket: int, decided: Decided) -> None:
        await commits.take(opened, skip if bucket == buckets else 0, bucket, decided)

    await load.partition(opened.partition.number, buckets, take)
