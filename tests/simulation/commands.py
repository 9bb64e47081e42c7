"""Commands that an operator runs beside the workers: the engine's own, each run in a process of its own.

Enters: a World, and what to run. Leaves: what the command did in Kafka and Redis, and what it claimed to have done.
Holds: a command that was killed, found a system away, or was refused for a cause that passes, is run again until it is
done; one that is refused without cause is a violation.
"""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Iterable
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from aiokafka import TopicPartition

from engine.loading import committing, deciding, sources, topics
from engine.loading.loading import Order
from engine.loading.report import Progress
from engine.operations import backfill, replay, snapshot
from engine.runtime.errors import Refused, Unavailable
from engine.runtime.rule_sets import pausing
from tests.simulation.broker import PartitionLog
from tests.simulation.loop import Process
from tests.simulation.rule_texts import BAD
from tests.simulation.scenario import BACKFILLS, INTAKE_TOPICS, OF_A_UNIT, Fault

if TYPE_CHECKING:
    from tests.simulation.past import Past
    from tests.simulation.world import World

SHM: Final = Path("/dev/shm")  # where to sync a file costs nothing
PIN: Final = "{engage}:partitions"


@dataclass(frozen=True, slots=True)
class Claim:
    """A command's word that these features are filled in a partition, as of a moment between two ledger offsets."""

    names: tuple[str, ...]
    first: int
    last: int


class Command:
    """A command, run until it is done. `fault` says what happens to its first process: see scenario.py."""

    name = ""

    def __init__(self, world: World, fault: Fault) -> None:
        self.done = False
        self._world = world
        self._fault = fault
        self._losses = self._evictions = 0  # failovers of Redis until it began, and keys it evicted
        self._pinned = True

    async def _run(self, redis: Any) -> None:
        raise NotImplementedError

    def _refused(self, reason: str) -> bool:
        """Whether there was cause for it."""
        raise NotImplementedError

    def start(self) -> None:
        world, fault = self._world, self._fault
        process = Process(f"o{world.commands.index(self)}.{len(world.processes)}")
        process.gone = self._again
        world.processes.append(process)
        if fault.kind.endswith("in a unit"):
            process.trap_word = OF_A_UNIT[int(fault.amount)]
        elif fault.kind not in ("", "backfill", "load", "rebuild", "resume"):
            process.trap_call = int(fault.amount)
        process.trap = partial(world.pause, seconds=fault.seconds) if fault.seconds else world.kill
        if fault.kind == "failover in a rebuild":
            process.trap = lambda _: None if world.well else world.redis.lose(10_000)
        self._fault = Fault(fault.at_s, "", fault.who)  # once
        world.network.note(self.name, process)
        world.loop.spawn(process, lambda: self._life(process))

    async def _life(self, process: Process) -> None:
        world = self._world
        self._losses, self._pinned = world.redis.losses, PIN in world.redis.data.values
        self._evictions = world.redis.evictions
        try:
            await self._run(world.clients.redis(world.settings))
            self.done = True
        except Unavailable as error:
            world.network.note(f"ends: {error}", process)
        except Refused as error:
            world.network.note(f"refused: {error}", process)
            if not self._refused(str(error)):
                world.refusals.append(f"{self.name}: {error}")
        except Exception as error:
            if process.alive:
                world.violations.append(f"{self.name} ended with {error!r}")
        if process.alive:
            world.network.note("ends", process)
            process.alive = False
            self._again()

    def _again(self) -> None:
        if not self.done:
            self._world.network.later(self._world.random.uniform(0.2, 3.0), self.start)


class Resume(Command):
    """`engage rules resume`; with `who` 1 what was held is dropped."""

    def __init__(self, world: World, fault: Fault, rule: str) -> None:
        super().__init__(world, fault)
        self.rule = rule
        self.drop = fault.who == 1
        self.name = f"resume {rule}"

    async def _run(self, redis: Any) -> None:
        world = self._world
        await pausing.resume(world.settings, world.clients, self.rule, "ann", "mended", drop=self.drop)

    def _refused(self, reason: str) -> bool:
        return "somebody else made rule set" in reason


class Backfill(Command):
    """`engage backfill`, until it is done, or until the features are declared no longer."""

    def __init__(self, world: World, fault: Fault) -> None:
        super().__init__(world, fault)
        self.names: tuple[str, ...] = BACKFILLS[fault.who % len(BACKFILLS)]
        self.name = f"backfill {' '.join(self.names)}"
        self.claims: dict[int, Claim] = {}
        self._began: dict[int, int] = {}  # where each partition's ledger ended
        self._published = 0  # rule sets that were, the one in force included, when the command began

    async def _run(self, redis: Any) -> None:
        world = self._world
        self._began = {number: self._ledger(number).end for number in range(world.scenario.partitions)}
        self._published = len(world.published)
        scenario = world.scenario
        sizes = backfill.Sizes(scenario.backfill_clients, scenario.backfill_unit_clients, scenario.chunk_bytes)
        await backfill.run(world.settings, world.clients, redis, self.names, self._told, sizes)

    def _ledger(self, number: int) -> PartitionLog:
        return self._world.kafka.logs[TopicPartition(self._world.settings.ledger_topic, number)]

    def _told(self, line: str) -> None:
        done = re.match(r"partition (\d+): done", line)
        if done:
            number = int(done[1])
            self.claims[number] = Claim(self.names, self._began[number], self._ledger(number).end)

    def _refused(self, reason: str) -> bool:
        world = self._world
        heads = world.published[self._published - 1 :]
        if reason.startswith("the active rule set declares no feature"):
            self.done = world.well and not declares(heads[-1], self.names)  # nothing is left to fill
            return any(not declares(files, self.names) for files in heads)
        if reason.startswith("the features have changed in the active rule set"):
            world.network.seen["features changed meanwhile"] += 1
            return len(world.published) > 1
        if reason.startswith("this Redis holds no state"):
            if world.well and not world.rebuilding():  # emptied before the first unit, so that no worker noticed
                world.pin()
            return not self._pinned or world.redis.losses > self._losses
        return reason.startswith("the rules of rule set") and BAD in heads


class Rebuild(Command):
    """`engage rebuild`, from the whole ledger, after all workers were stopped."""

    name = "rebuild"

    def start(self) -> None:
        self._world.loop.create_task(self._alone(), context=Context())

    async def _alone(self) -> None:
        """Workers that do not end in time are killed."""
        world = self._world
        processes = [slot.process for slot in world.slots if slot.process is not None]
        for slot in world.slots:
            slot.stopped = True
        for process in processes:
            world.loop.signal(process, signal.SIGTERM)
        until_s = world.loop.time() + 5
        while any(process.alive for process in processes) and world.loop.time() < until_s:
            await asyncio.sleep(0.1)
        for process in processes:
            world.kill(process)
        super().start()

    async def _run(self, redis: Any) -> None:
        await snapshot.rebuild(self._world.settings, self._world.clients, redis, None)
        self._over()

    def _over(self) -> None:
        self.done = True
        self._world.let_workers_start()

    def _refused(self, reason: str) -> bool:
        world = self._world
        if reason.startswith("this Redis holds the engine's state already"):
            self._over()  # it was killed, or told nothing, at its end
            return self._pinned
        others = any(not command.done for command in world.commands if command is not self)
        harmed = world.redis.losses > self._losses or world.redis.evictions > self._evictions
        return reason.endswith("run the rebuild again") and (others or harmed)


class Load(Command):
    """`engage load`, before there are workers; they start when it is done."""

    name = "load"

    def __init__(self, world: World, past: Past) -> None:
        super().__init__(world, past.fault)
        self.past = past
        self._directory = TemporaryDirectory(prefix="engage-load-", dir=SHM if SHM.exists() else None)
        self._file = Path(self._directory.name) / "past.ndjson"
        self._file.write_bytes(past.on_file())

    async def _run(self, redis: Any) -> None:
        world, past, clients = self._world, self.past, self._world.clients
        settings, directory = world.settings, Path(self._directory.name)
        begun = await committing.start(settings, clients, redis, past.until_ms)
        parts = topics.parts(begun.begins) if past.on_topics else sources.parts_of([self._file], [])
        what = deciding.Past(past.until_ms, past.acted, unit_clients=past.unit_clients)
        if past.on_topics and committing.has_ended(begun, what):
            self._over()
            return
        letters = directory / "letters.ndjson"
        order = Order(parts, what, directory / "work", letters, 2, begun.partitions, past.bucket_bytes)
        progress = Progress(lambda line: world.network.note(f"load: {line}"), world.loop.time)
        rows = topics.rows(settings, clients)
        await committing.run(settings, clients, redis, order, begun, progress, rows)
        self._over()

    def _over(self) -> None:
        world = self._world
        self.done = True
        self._directory.cleanup()
        world.let_workers_start()

    def _refused(self, reason: str) -> bool:
        world = self._world
        if reason.startswith("this Redis holds no state"):
            world.lost_pins()
            return not self._pinned or world.redis.losses > self._losses
        return "let no other load run" in reason


async def replay_differs(world: World) -> list[str]:
    """What `engage replay --from-ledger` finds wrong, where all that it reads is still held."""
    numbers = range(world.scenario.partitions)
    if not all(whole_history(world, number) for number in numbers):
        return []
    world.network.seen["replay from the ledger"] += 1
    replayed = replay.Replayed()
    for processor in (world.processor, *world.further):
        await replay.replay_ledger(
            world.settings, world.clients, world.scenario.partitions, replayed, processor=processor
        )
    for (own, _), states in zip(world.scopes, (replayed.states, replayed.pools), strict=False):
        held = {
            key.partition(":client:")[2]: fields["state"]
            for key, fields in world.redis.data.hashes.items()
            if key.startswith(f"{{{own.scope}:") and ":client:" in key
        }
        if states != held:
            replayed.differences.append(f"the states of {own.scope} differ")
    return [f"replay from the ledger: {difference}" for difference in replayed.differences]


def declares(files: dict[str, str], names: Iterable[str]) -> bool:
    return files != BAD and all(f"  {name}: " in files["features.yaml"] for name in names)


def whole_history(world: World, number: int) -> bool:
    """Whether the inbound topics of a partition still hold all that ever came."""
    topics = (world.settings.topic(topic) for topic in INTAKE_TOPICS)
    return all(world.kafka.logs[TopicPartition(topic, number)].first == 0 for topic in topics)
