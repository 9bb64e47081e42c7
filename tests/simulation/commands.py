"""Commands that an operator runs beside the workers: the engine's own, each run in a process of its own.

Enters: a World, and what to run. Leaves: what the command did in Kafka and Redis, and what it claimed to have done.
Holds: a command that was killed, found a system away, or was refused for a cause that passes, is run again until it is
done; one that is refused without cause is a violation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aiokafka import TopicPartition

from engine.runtime import backfill, replay
from engine.runtime.ledger import Refused, Unavailable
from tests.simulation.broker import PartitionLog
from tests.simulation.loop import Process
from tests.simulation.redis import SimRedisClient
from tests.simulation.rule_texts import BAD
from tests.simulation.scenario import BACKFILLS, INTAKE_TOPICS, OF_A_UNIT, Fault

if TYPE_CHECKING:
    from tests.simulation.world import World

PIN: Final = "{engage}:partitions"


@dataclass(frozen=True, slots=True)
class Claim:
    """A command's word that these features are filled in a partition, as of a moment between two ledger offsets."""

    names: tuple[str, ...]
    first: int
    last: int


class Backfill:
    """`engage backfill`, run until it is done, or until the features are no longer declared."""

    def __init__(self, world: World, fault: Fault) -> None:
        self.names: tuple[str, ...] = BACKFILLS[fault.who % len(BACKFILLS)]
        self.done = False
        self.claims: dict[int, Claim] = {}
        self._world = world
        self._fault = fault
        self._began: dict[int, int] = {}  # where each partition's ledger ended
        self._published = 0  # rule sets that were, the one in force included, when the command began
        self._losses = 0  # failovers until then
        self._pinned = True

    def start(self) -> None:
        world, fault = self._world, self._fault
        process = Process(f"o{world.commands.index(self)}.{len(world.processes)}")
        process.gone = self._again
        world.processes.append(process)
        if fault.kind != "backfill":
            if fault.kind.endswith("in a unit"):
                process.trap_word = OF_A_UNIT[int(fault.amount)]
            else:
                process.trap_call = int(fault.amount)
            process.trap = partial(world.pause, seconds=fault.seconds) if fault.seconds else world.kill
            self._fault = Fault(fault.at_s, "backfill", fault.who)  # once
        world.network.note(f"backfill {' '.join(self.names)}", process)
        world.loop.spawn(process, lambda: self._life(process))

    async def _life(self, process: Process) -> None:
        world = self._world
        self._began = {number: self._ledger(number).end for number in range(world.scenario.partitions)}
        self._published, self._losses = len(world.published), world.redis.losses
        self._pinned = PIN in world.redis.data.values
        redis: Any = SimRedisClient(world.redis)
        try:
            await backfill.run(world.settings, redis, self.names, self._told)
            self.done = True
        except Unavailable as error:
            world.network.note(f"ends: {error}", process)
        except Refused as error:
            world.network.note(f"refused: {error}", process)
            self._refused(str(error))
        except Exception as error:
            if process.alive:
                world.violations.append(f"the backfill ended with {error!r}")
        if process.alive:
            world.network.note("ends", process)
            process.alive = False
            self._again()

    def _again(self) -> None:
        if not self.done:
            self._world.network.later(self._world.random.uniform(0.2, 3.0), self.start)

    def _ledger(self, number: int) -> PartitionLog:
        return self._world.kafka.logs[TopicPartition(self._world.settings.ledger_topic, number)]

    def _told(self, line: str) -> None:
        done = re.match(r"partition (\d+): done", line)
        if done:
            number = int(done[1])
            self.claims[number] = Claim(self.names, self._began[number], self._ledger(number).end)

    def _refused(self, reason: str) -> None:
        world = self._world
        heads = world.published[self._published - 1 :]
        lacking = any(not declares(files, self.names) for files in heads)
        if reason.startswith("the rule set in force declares no feature") and lacking:
            self.done = world.well and not declares(heads[-1], self.names)  # nothing is left to fill
        elif reason.startswith("the features have changed in the rule set in force") and len(world.published) > 1:
            world.network.seen["features changed meanwhile"] += 1
        elif reason.startswith("the rules of rule set") and BAD in heads:
            world.network.note("the rules in force are bad: they are mended first")
        elif reason.startswith("this Redis holds no state") and (not self._pinned or world.redis.losses > self._losses):
            world.network.note("Redis was emptied: it is made whole first")
            if world.well:  # emptied before the first unit, so that no worker noticed
                world.pin()
        else:
            world.refusals.append(f"the backfill: {reason}")


async def replay_differs(world: World) -> list[str]:
    """What `engage replay --from-ledger` finds wrong, where all that it reads is still held."""
    numbers = range(world.scenario.partitions)
    if not all(whole_history(world, number) for number in numbers):
        return []
    world.network.seen["replay from the ledger"] += 1
    replayed = replay.Replayed()
    await replay.replay_ledger(world.settings, world.scenario.partitions, replayed)
    held = {key.partition(":client:")[2]: fields["state"] for key, fields in world.redis.data.hashes.items()}
    if replayed.states != held:
        replayed.differences.append("the states differ")
    return [f"replay from the ledger: {difference}" for difference in replayed.differences]


def declares(files: dict[str, str], names: Iterable[str]) -> bool:
    return files != BAD and all(f"  {name}: " in files["features.yaml"] for name in names)


def whole_history(world: World, number: int) -> bool:
    """Whether the inbound topics of a partition still hold all that ever came."""
    topics = (world.settings.topic(topic) for topic in INTAKE_TOPICS)
    return all(world.kafka.logs[TopicPartition(topic, number)].first == 0 for topic in topics)
