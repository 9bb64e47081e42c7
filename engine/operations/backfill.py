"""Backfill: columns of new features, computed from the history of the inbound topics and put into the clients' states.

Enters: names of features that the active rule set declares. Leaves: states in which they are as if always there.
Holds: while the history is read the worker goes on; to write, a partition is taken as a worker takes it, and the units
go through the ledger; a worker that takes it back only makes the rest be written later. Run again, it changes nothing.
Memory: the columns of `Sizes.clients_at_once` clients; a partition with more of them is read several times.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import difflib
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka import TopicPartition

from engine.core.client.state import ClientState
from engine.core.contract.topics import EVENTS, Kinds, intake_topics
from engine.core.decide.path import Input
from engine.core.firm_time import DAY_MS, LONGEST_MONTH
from engine.core.learn.columns import plan_of_features
from engine.core.plan.compile import Plan
from engine.core.plan.features import column_key
from engine.core.rules.ruleset import Feature, Since, fillable
from engine.processors.columns import Columns, Inputs
from engine.processors.engagement import ENGAGEMENT
from engine.processors.opening import open_partition
from engine.runtime.clients import Clients
from engine.runtime.errors import Fenced, Refused, Surprised
from engine.runtime.kafka import topics
from engine.runtime.kafka.connection import reader
from engine.runtime.kafka.history import RecordedInputs
from engine.runtime.partitioning import partitioner
from engine.runtime.protocol.ledger import Log, Step, Store
from engine.runtime.protocol.partition import Partition
from engine.runtime.protocol.position import Position
from engine.runtime.protocol.unit import UnitLimits
from engine.runtime.protocol.writes import MAX_CHUNK_BYTES
from engine.runtime.redis.pins import pinned_partitions
from engine.runtime.redis.store import RedisStore
from engine.runtime.rule_sets.archive import RuleSetArchive
from engine.runtime.settings import Settings

if TYPE_CHECKING:
    from engine.runtime.clients import AnyRedis

log = structlog.get_logger(__name__)

CHANGED: Final = "the features have changed in the active rule set meanwhile: run the backfill again"
PAUSE_S: Final = 1.0  # before a partition is taken from its worker again


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is held in memory and written at once."""

    clients_at_once: int = 20_000  # some 5 KB each while their history is read
    unit_clients: int = 500  # written in one unit
    chunk_bytes: int = MAX_CHUNK_BYTES


@dataclass(slots=True)
class Filled:
    """The result, in clients and units."""

    clients: int = 0
    changed: int = 0
    units: int = 0


class Backfill:
    """Fills one partition. `head` reads the active rule set: it must declare `features` as they are here."""

    def __init__(
        self,
        features: Sequence[Feature],
        partition: Partition[Plan, ClientState, Input],
        log_: Log,
        store: Store,
        inputs: Callable[[], AbstractAsyncContextManager[Inputs]],
        belongs: Callable[[bytes], bool],
        head: Callable[[], Awaitable[Plan]],
        declared_types: Callable[[str], Awaitable[Kinds]],
        sizes: Sizes,
    ) -> None:
        self._names = tuple(feature.name for feature in features)
        self._keys = {feature.name: column_key(feature) for feature in features}
        self._partition = partition
        self._log = log_
        self._store = store
        self._inputs = inputs
        self._belongs = belongs
        self._head = head
        self._declared_types = declared_types
        self._declared_by: set[str] = set()  # digests of rule sets
        self._wrote: int | None = None  # the ledger offset from which on columns are written
        self._sizes = sizes

    async def run(self, filled: Filled) -> None:
        """Raises Refused, Unavailable: run it again."""
        plan = await self._declaring()
        # once at least: a Redis that lost its last writes knows of fewer clients than the ledger
        passes = max(-(-(await self._position()).states // self._sizes.clients_at_once), 1)
        for number in range(passes):

            def chosen(key: bytes, number: int = number) -> bool:
                return zlib.crc32(key) % passes == number

            while not await self._pass(plan, chosen, filled):
                pass  # an event was corrected meanwhile: its past is read again

    async def _pass(self, plan: Plan, chosen: Callable[[bytes], bool], filled: Filled) -> bool:
        """Read and write the chosen clients; False if a correction came that was not known when reading began."""
        loaded_ms = (await self._position()).end.load.get("until", 0)
        of_features = plan_of_features(plan.rule_set, self._names)
        columns = Columns(of_features, chosen, self._belongs, self._declared_types, loaded_ms)
        async with self._inputs() as inputs:
            await columns.foresee(self._log, inputs, await self._position())
        async with self._inputs() as inputs:
            await columns.follow(self._log, inputs, (await self._position()).ledger)
            return await self._write(columns, inputs, filled)

    async def _position(self) -> Position:
        return Position.read(await self._store.position())

    async def _declaring(self) -> Plan:
        """The active rules. Raises Refused when they no longer declare the features as they did."""
        plan = await self._head()
        if {f.name: column_key(f) for f in plan.rule_set.features if f.name in self._names} != self._keys:
            raise Refused(CHANGED)
        self._declared_by.add(plan.rule_set.digest)
        return plan

    async def _write(self, columns: Columns, inputs: Inputs, filled: Filled) -> bool:
        """Take the partition and write; take it again if its worker took it back meanwhile. False: nothing more is
        written, since a correction came that the events before it were read without.
        """
        written: set[str] = set()
        while True:
            try:
                position = await self._partition.recover()
                # Now no one else can write here. The rule set of the worker's last unit is on the topic by now.
                await self._declaring()
                self._partition.take_newest_plan()
                await columns.follow(self._log, inputs, position.ledger)
                if columns.unforeseen:
                    return False
                self._kept(columns)
                self._wrote = position.ledger if self._wrote is None else self._wrote
                todo = sorted(columns.clients.keys() - written)
                for begin in range(0, len(todo), self._sizes.unit_clients):
                    unit = todo[begin : begin + self._sizes.unit_clients]
                    changed = await self._partition.revise(unit, columns.put, Step({}, backfilled=self._names))
                    written.update(unit)
                    filled.clients += len(unit)
                    filled.changed += changed
                    filled.units += changed > 0
                return True
            except (Fenced, Surprised) as error:
                log.info("the worker took the partition back", partition=self._partition.number, error=str(error))
                await asyncio.sleep(PAUSE_S)

    def _kept(self, columns: Columns) -> None:
        """Raises Refused when a rule set decided since the first write that may have left the columns behind again."""
        others = [offset for digest, offset in columns.decided_by.items() if digest not in self._declared_by]
        if self._wrote is not None and max(others, default=-1) >= self._wrote:
            raise Refused(CHANGED)


# -- on Kafka and Redis ------------------------------------------------------------------------------------------------


def chosen_features(plan: Plan, names: Sequence[str]) -> tuple[Feature, ...]:
    """Raises Refused if the active rule set does not declare one, or no inbound topic holds what it counts."""
    declared = {feature.name: feature for feature in plan.rule_set.features}
    if own := declared.keys() & set(names) - fillable(plan.rule_set.features):
        raise Refused(f"{min(own)} counts the engine's own actions, of which no inbound topic tells: leave it out")
    for name in names:
        if name not in declared:
            hint = "".join(f'did you mean "{close}"? ' for close in difflib.get_close_matches(name, declared, n=1))
            said = f"{hint}Publish rules that declare it first, with no rule that uses it yet"
            raise Refused(f'the active rule set declares no feature "{name}": {said}')
    return tuple(declared[name] for name in dict.fromkeys(names))


async def run(
    settings: Settings,
    clients: Clients,
    redis: AnyRedis,
    names: Sequence[str],
    say: Callable[[str], None],
    sizes: Sizes,
) -> Filled:
    """Backfill features in every partition, one after another. Raises Refused, Unavailable: run it again."""
    partitions = await topics.partition_count(settings, clients)
    await pinned_partitions(redis, settings.app_id)
    archive = RuleSetArchive(settings, clients)

    def newest() -> Plan:
        if archive.head is None:
            raise Refused("no rule set is active: start a worker, or publish rules first")
        return archive.plan(archive.head)

    async def head() -> Plan:
        await archive.read()
        return newest()

    async def types(digest: str) -> Kinds:
        if not archive.holds(digest):
            await archive.read()  # published since
        return archive.declared_types(digest)

    features = chosen_features(await head(), names)
    since = await held_since(settings, clients, partitions)
    loaded_ms = Position.read(await RedisStore(redis, settings.app_id, 0).position()).end.load.get("until", 0)
    if loaded_ms:
        since = {topic: max(since_ms or 0, loaded_ms) for topic, since_ms in since.items()}
        refuse_totals(features, loaded_ms)
    for line in reach(features, since, clients.wall_ms()):
        say(line)
    filled, partition_of = Filled(), partitioner(partitions)
    for number in range(partitions):

        def belongs(key: bytes, number: int = number) -> bool:
            return partition_of(key) == number

        @asynccontextmanager
        async def inputs(number: int = number) -> AsyncIterator[RecordedInputs]:
            async with reader(settings, clients) as consumer:
                yield RecordedInputs(settings, consumer, number)

        limits = UnitLimits(chunk_bytes=sizes.chunk_bytes)
        opened = open_partition(
            settings, clients, redis, ENGAGEMENT, number, plan=newest, belongs=belongs, limits=limits
        )
        try:
            fill = Backfill(features, opened.partition, opened.log, opened.store, inputs, belongs, head, types, sizes)
            await fill.run(filled)
        finally:
            await opened.log.stop()
        say(f"partition {number}: done, {filled.clients} clients so far, {filled.changed} changed")
    return filled


async def held_since(settings: Settings, clients: Clients, partitions: int) -> dict[str, int | None]:
    """How far back each topic reaches, in record time; None if it is complete from its beginning."""
    since: dict[str, int | None] = {}
    async with reader(settings, clients) as consumer:
        for topic in intake_topics():
            tps = [TopicPartition(settings.topic(topic), number) for number in range(partitions)]
            first = await consumer.beginning_offsets(tps)
            found: dict[TopicPartition, Any] = await consumer.offsets_for_times(dict.fromkeys(tps, 0))
            cut = [found[tp].timestamp if found.get(tp) else clients.wall_ms() for tp in tps if first[tp] > 0]
            since[topic] = max(cut, default=None)
    return since


def reach(features: Sequence[Feature], since: Mapping[str, int | None], now_ms: int) -> list[str]:
    """Lines about the history before it is read: how far back it reaches, and for which features it is too short."""
    lines = [f"{topic}: held {_since(since_ms)}" for topic, since_ms in since.items()]
    for feature in features:
        window = feature.window
        begins_ms = 0
        needed = {feature.source}
        if isinstance(window, Since):
            needed.add(window.on)
        else:
            days = {"day": window.length, "hour": 4, "month": LONGEST_MONTH, "previous_month": 2 * LONGEST_MONTH}
            begins_ms = now_ms - days[window.unit] * DAY_MS
        for topic in sorted({source if source in since else EVENTS for source in needed}):
            since_ms = since[topic]
            if since_ms is not None and since_ms > begins_ms:
                lines.append(
                    f"warning: {feature.name} needs {topic} from further back than the topic reaches: what came before "
                    f"{_moment(since_ms)} does not count"
                )
    return lines


def refuse_totals(features: Sequence[Feature], loaded_ms: int) -> None:
    """What is counted since an event cannot be said to be known from a day on."""
    for feature in features:
        if isinstance(feature.window, Since):
            raise Refused(
                f"{feature.name} counts since an event, and what came before {_moment(loaded_ms)} was loaded, from "
                "outside the topics: a backfill would count too little. It counts from its declaration on; or load the "
                "past again, with the feature declared, under a new --app-id"
            )


def _since(since_ms: int | None) -> str:
    return "from its beginning" if since_ms is None else f"since {_moment(since_ms)}"


def _moment(moment_ms: int) -> str:
    return dt.datetime.fromtimestamp(moment_ms / 1000, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
