"""One run: the workers as they are, on a Kafka and a Redis in memory, through a scenario and until all is quiet again.

Enters: a Scenario. Leaves: the servers as they stand at the end, and what went against the engine's word on the way.
Holds: nothing of the engine is replaced: it is given the `Clients` of this world.
"""

from __future__ import annotations

import asyncio
import json
import math
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import Context
from functools import partial
from random import Random
from typing import Any, Final
from unittest.mock import patch

import structlog
from aiokafka import TopicPartition

from engine.core.contract.topics import POOL_TOPICS, REROUTED
from engine.core.plan.compile import Plan
from engine.core.rules.policy import PAUSES_FILE
from engine.core.rules.ruleset import RuleSet
from engine.loading import pool
from engine.operations import backfill
from engine.processors import engagement
from engine.rulefile.read.load import digest, load
from engine.rulefile.read.pauses import pauses_in
from engine.runtime.clients import Clients
from engine.runtime.errors import Refused
from engine.runtime.protocol.ledger import decode_unit
from engine.runtime.protocol.processor import Processor
from engine.runtime.protocol.unit import UnitLimits
from engine.runtime.rule_sets import archive
from engine.runtime.settings import PUBLISHED, Settings
from engine.runtime.worker import worker
from engine.runtime.worker.event_loop import stop_on_signals
from tests.simulation import plans, rule_texts
from tests.simulation.broker import SimAdmin, SimKafka
from tests.simulation.commands import Command, Load, Rebuild
from tests.simulation.consumer import SimConsumer
from tests.simulation.faust import SimApp
from tests.simulation.loop import PROCESS, Process, SimLoop
from tests.simulation.network import Network
from tests.simulation.producer import SimProducer
from tests.simulation.redis import SimRedis, SimRedisClient, lists_that_differ
from tests.simulation.scenario import DRAIN_S, INTAKE_TOPICS, Input, Scenario, wall_ms

SCHEMAS_URL: Final = "https://schemas.firm.example/engage"


class Slot:
    """A place for a worker: a process, and another when it is gone."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: Process | None = None
        self.stopped = False  # not to be started again
        self.trap: tuple[int, float] | None = None  # the next process is stopped at this request, for so long


class World:
    def __init__(
        self,
        scenario: Scenario,
        random: Random,
        processor: Processor[Any, Any, Any] = engagement.ENGAGEMENT,
        rules: Sequence[dict[str, str]] = rule_texts.GOOD,
        further: Sequence[Processor[Any, Any, Any]] = (),
    ) -> None:
        """`further`: processors that each worker has beside the first."""
        self.processor = processor
        self.further = further
        self.stopping_s = math.inf  # when workers are asked to end, for good
        self.rules = rules
        self.scenario = scenario
        self.random = random
        self.loop = SimLoop(random)
        self.network = Network(self.loop, random, self.kill)
        self.kafka = SimKafka(self.network, scenario.partitions)
        self.redis = SimRedis(self.network)
        self.settings = Settings(
            transaction_timeout_s=4.0,
            session_timeout_s=2.0,
            batch_records=scenario.batch_records,
            unit_age_s=scenario.unit_age_s,
            schemas_url=SCHEMAS_URL,
        ).scoped(processor.name, processor.suffix)
        self.scopes: list[tuple[Settings, tuple[str, ...]]] = [(self.settings, INTAKE_TOPICS)]  # and what each reads
        self.scopes += [(self.settings.scoped(one.name, one.suffix), tuple(one.ranks())) for one in further]
        self.pin_keys = [f"{{{own.scope}}}:partitions" for own, _ in self.scopes]  # the first is that of clients
        self.clients = clients_of(self)
        self.slots = [Slot(number) for number in range(scenario.workers)]
        self.processes: list[Process] = []
        self.workers: dict[Process, worker.Worker] = {}
        self.commands: list[Command] = []
        self.published: list[dict[str, str]] = []  # rule sets, in order
        self._clocks_jump = any(fault.kind == "clock" for fault in scenario.faults)
        self.well = False  # no fault comes any more
        self.violations: list[str] = []
        self.refusals: list[str] = []
        self.kafka.wall_ms = lambda: wall_ms(self.loop.time())
        self.redis.asked_due = self._asked_due
        self.kafka.told_monitors = self._told_monitors
        s = self.settings
        everywhere = [s.topic(t) for t in (*INTAKE_TOPICS, *PUBLISHED, *POOL_TOPICS)]
        for own, _ in self.scopes:
            everywhere += [own.topic(REROUTED), own.ledger_topic]
        for topic in dict.fromkeys(everywhere):
            self.kafka.create(topic, scenario.partitions)
        for topic in (s.rule_set_topic, s.resent_topic):
            self.kafka.create(topic, 1)

    # -- upstream ----------------------------------------------------------------------------------

    def take(self, item: Input) -> None:
        if item.topic == "rule-sets":
            self.publish(rule_texts.BAD if item.rule_set < 0 else self.rules[item.rule_set])
        else:
            topic = self.settings.topic(item.topic)
            tp = TopicPartition(topic, item.partition)
            self.kafka.append(tp, item.key, item.value, (), item.timestamp_ms)

    def publish(self, files: dict[str, str]) -> None:
        """As `engage publish` does, which ends no pause."""
        tp = TopicPartition(self.settings.rule_set_topic, 0)
        files = files | {name: text for name, text in self.active().items() if name == PAUSES_FILE}
        self.published.append(files)
        key, value = rule_texts.record(files)
        self.kafka.append(tp, key, value)
        self.kafka.append(tp, b"head", key)

    def active(self) -> dict[str, str]:
        """The files of the set that is, whoever published it."""
        records = list(self.kafka.logs[TopicPartition(self.settings.rule_set_topic, 0)].committed())
        head = [entry.value for entry in records if entry.key == b"head"]
        found = [entry.value for entry in records if head and entry.key == head[-1]]
        return dict(json.loads(found[-1] or b"")["files"]) if found else {}

    def head(self) -> str:
        return digest(self.active())

    def paused(self) -> list[str]:
        return [pause.rule for pause in pauses_in(self.active().get(PAUSES_FILE, ""))[0]]

    def plan(self, named: str) -> Plan | None:
        """Of a good set of this digest on the topic."""
        if named not in plans.plans():
            records = self.kafka.logs[TopicPartition(self.settings.rule_set_topic, 0)].committed()
            files = [dict(json.loads(e.value or b"")["files"]) for e in records if e.key == named.encode()]
            rule_set = load(files[0], published=True) if files else None
            if isinstance(rule_set, RuleSet):
                plans.compile_once(rule_set)
        return plans.plans().get(named)

    def _told_monitors(self, offsets: dict[TopicPartition, int]) -> None:
        """Nothing counts as decided that the ledger does not have. What its writer knows to be committed may not be
        readable yet.
        """
        for tp, offset in offsets.items():
            of = next(own for own, topics in self.scopes if tp.topic in map(own.topic, topics))
            ledger = self.kafka.logs[TopicPartition(of.ledger_topic, tp.partition)]
            known = self.kafka.logs[tp].first
            for record in [entry.value for entry in ledger.entries if entry.value][-4:]:
                decided = {of.topic(topic): end for topic, end in decode_unit(record).offsets.items()}
                known = max(known, decided.get(tp.topic, 0))
            if offset > known:
                self.violations.append(f"monitors were told of {offset} of {tp}, the ledger has {known}")

    # -- workers -----------------------------------------------------------------------------------

    def start(self, slot: Slot) -> None:
        if slot.stopped or (slot.process is not None and slot.process.alive):
            return
        process = Process(f"w{slot.number}.{len(self.processes)}")
        process.gone = partial(self._again, slot)
        self.processes.append(process)
        slot.process = process
        if slot.trap is not None:
            process.trap_call, seconds = slot.trap
            process.trap, slot.trap = partial(self.pause, seconds=seconds), None
        self.network.note("starts", process)
        self.loop.spawn(process, lambda: self._life(slot, process))

    async def _life(self, slot: Slot, process: Process) -> None:
        loaded = self._loaded
        try:
            await worker.run(self._worker(process), stop_on_signals(self.clients))
        except Refused as error:
            self._refused(str(error), loaded)
        except Exception as error:
            if process.alive:
                self.violations.append(f"{process.name} ended with {error!r}")
        if process.alive:
            self.network.note("ends", process)
            process.alive = False
            self._again(slot)

    def _worker(self, process: Process) -> worker.Worker:
        scenario = self.scenario
        unit = UnitLimits(scenario.unit_records, chunk_bytes=scenario.chunk_bytes, tick_clients=scenario.tick_clients)
        made = worker.Worker(self.settings, self.clients, unit, scenario.cache_bytes, (self.processor, *self.further))
        self.workers[process] = made
        return made

    def living(self) -> list[worker.Worker]:
        return [made for process, made in self.workers.items() if process.alive]

    def behind(self, named: str) -> bool:
        """Whether a worker has not heard of the rules in force; the same may have been in force before."""
        end = self.kafka.logs[TopicPartition(self.settings.rule_set_topic, 0)].stable
        heard = [made.rule_sets for made in self.living()]
        return any(h._plan is None or h._plan.rule_set.digest != named or h._archive.next < end for h in heard)

    def unswept(self, named: str) -> list[str]:
        """Partitions whose clients have not all been looked at under the rules in force."""
        plan = self.plan(named)
        assert plan is not None
        found = []
        for at, processor in enumerate((self.processor, *self.further)):
            wanted = processor.swept_by(plan)
            partitions = [made._further[at - 1].partitions if at else made.partitions for made in self.living()]
            runners = [runner for of_worker in partitions for runner in of_worker.runners()]
            stands = {runner.number: runner._partition.position for runner in runners if runner.ready}
            swept = {number for number, position in stands.items() if position.swept == wanted or not position.states}
            numbers = (number for number in range(self.scenario.partitions) if number not in swept)
            found += [f"partition {number} of {processor.name or 'clients'}" for number in numbers]
        return found

    def unlisted(self) -> bool:
        """Whether clients that a list has lost are not all back: they are as clients are looked at, a few at a time."""
        places = [f"{{{self.settings.scope}:{number}}}:client:" for number in range(self.scenario.partitions)]
        return any(lists_that_differ(self.redis.data, place) for place in places)

    def _refused(self, reason: str, loaded: bool) -> None:
        """`loaded`: when the worker started, all loads had come to their end."""
        self.network.note(f"refused: {reason}")
        holds_none, gone = (
            reason.startswith("this Redis holds no state"),
            set(self.pin_keys) - set(self.redis.data.values),
        )
        if self.pin_keys[0] in gone or (holds_none and gone):  # true
            self.network.seen["emptied Redis refused"] += 1
            self.lost_pins()
        elif "a load is under way here" in reason and not loaded:
            self.network.seen["worker in a load refused"] += 1
        elif holds_none and not self.redis.forgot.isdisjoint(self.pin_keys):
            self.network.note("the operator, or a worker that had looked at an empty ledger, was quicker")
        else:
            self.refusals.append(reason)

    def lost_pins(self) -> None:
        """The operator puts a backup back, or rebuilds."""
        if self.scenario.rebuild is None:
            self.pin()
        elif not self.rebuilding():
            self.network.seen[self.scenario.rebuild.kind] += 1
            self.run_command(Rebuild(self, self.scenario.rebuild))

    @property
    def _loaded(self) -> bool:
        return all(command.done for command in self.commands if isinstance(command, Load))

    def let_workers_start(self) -> None:
        """After a load or a rebuild, unless the other one is under way."""
        if self._loaded and not self.rebuilding():
            for slot in self.slots:
                slot.stopped = False
                self.network.later(self.random.random(), self.start, slot)

    def begin(self) -> None:
        """With workers; or with a past, before there are any."""
        past = self.scenario.past
        if past is None:
            for slot in self.slots:
                self.start(slot)
            return
        for slot in self.slots:
            slot.stopped = True
        for item in past.inputs if past.on_topics else ():
            self.take(item)
        self.network.seen[past.fault.kind] += 1
        self.run_command(Load(self, past))
        if not past.workers_wait:
            self.loop.create_task(self._start_too_soon(), context=Context())

    async def _start_too_soon(self) -> None:
        """Somebody starts workers while the past is being loaded; whoever keeps them running starts them again."""
        ledgers = [TopicPartition(self.settings.ledger_topic, number) for number in range(self.scenario.partitions)]
        while not all(self.kafka.logs[tp].stable for tp in ledgers):
            await asyncio.sleep(0.05)
        await asyncio.sleep(self.random.random())
        for slot in self.slots:
            slot.stopped = False
            self.start(slot)

    def pin(self) -> None:
        for own, _ in self.scopes:
            self.redis.set(f"{{{own.scope}}}:partitions", str(self.scenario.partitions).encode(), nx=True)

    def _again(self, slot: Slot) -> None:
        self.network.later(self.random.uniform(0.05, 1.5), self.start, slot)

    def run_command(self, command: Command) -> None:
        self.commands.append(command)
        command.start()

    def rebuilding(self) -> bool:
        return any(isinstance(command, Rebuild) and not command.done for command in self.commands)

    def kill(self, process: Process) -> None:
        if process.alive:
            self.loop.kill(process)
            self._silent_later(process)
            process.gone()

    def pause(self, process: Process, seconds: float) -> None:
        self.loop.pause(process)
        self._silent_later(process)
        self.network.later(seconds, self.loop.wake, process)

    def _silent_later(self, process: Process) -> None:
        self.network.later(self.settings.session_timeout_s, self._silent, process)

    def _silent(self, process: Process) -> None:
        if process.paused or not process.alive:
            for group in self.kafka.groups.values():
                group.silent(process)

    def _asked_due(self, key: str, until_ms: int) -> None:
        """A tick is about to be made: it must not run ahead of records that its worker was told of."""
        process = PROCESS.get()
        number = int(key.split("}")[0].rpartition(":")[2])
        intake = self.kafka.intakes.get((process, key[1:].partition(":")[0], number))
        if intake is not None and intake.behind() and until_ms > intake.latest_ms:
            self.violations.append(
                f"{process.name if process else '-'}: tick of partition {number} at {until_ms} while records wait, "
                f"the latest read is of {intake.latest_ms}"
            )
        waits_ms = None if intake is None else intake.waits_behind_an_open_transaction()
        if waits_ms is not None and until_ms > waits_ms and not self._clocks_jump:
            self.violations.append(
                f"{process.name if process else '-'}: tick of partition {number} at {until_ms} while records of "
                f"{waits_ms} on wait behind an open transaction"
            )

    async def stop(self) -> None:
        """Every worker is asked to end, and does."""
        self.stopping_s = self.loop.time()
        for slot in self.slots:
            slot.stopped = True
            if slot.process is not None and slot.process.alive:
                self.loop.signal(slot.process, signal.SIGTERM)
        until_s = self.loop.time() + DRAIN_S
        while any(slot.process is not None and slot.process.alive for slot in self.slots):
            if self.loop.time() > until_s:
                self.violations.append("a worker does not end when asked to")
                return
            await asyncio.sleep(0.1)


async def _at_once(function: Any, *args: Any) -> Any:
    """No thread: what it would be in the middle of is not the seed's to say."""
    return function(*args)


class SimProcesses:
    """Computes what processes of their own would, at once."""

    jobs = 2

    async def run(self, function: Any, *args: Any) -> Any:
        await asyncio.sleep(0)
        return function(*args)

    def stop(self) -> None:
        """There are none."""


def clients_of(world: World) -> Clients:
    """The servers in memory and the virtual clock, for every process of this world."""

    def process_wall_ms() -> int:
        process = PROCESS.get()
        return wall_ms(world.loop.time()) + (process.clock_offset_ms if process is not None else 0)

    return Clients(
        consumer=partial(SimConsumer, world.kafka),
        producer=partial(SimProducer, world.kafka),
        admin=SimAdmin,
        redis=lambda settings: SimRedisClient(world.redis),
        wall_ms=process_wall_ms,
        chance=world.random.random,
        aside=_at_once,
        processes=lambda jobs: SimProcesses(),
        app=SimApp,
        thread=lambda function, name: None,  # the watchdog: here no loop hangs
    )


@contextmanager
def compiled_once(world: World) -> Iterator[None]:
    """Rule sets are loaded and compiled once for all runs; the engine's log lines go into the trace."""
    changes: list[tuple[Any, str, Any]] = [
        (archive, "load_files", plans.load_once(archive.load_files)),
        (archive, "compile_rule_set", plans.compile_once),
        (pool, "load_files", plans.load_once(pool.load_files)),
        (pool, "compile_rule_set", plans.compile_once),
        *((module, "plan_of_features", plans.features_once) for module in (backfill, engagement)),
    ]
    before = structlog.get_config()
    patches = [patch.object(where, name, what) for where, name, what in changes]
    try:
        structlog.configure(**_logging(world.network))
        for one in patches:
            one.start()
        yield
    finally:
        for one in reversed(patches):
            one.stop()
        structlog.configure(**before)


def _logging(network: Network) -> dict[str, Any]:
    if network.trace is None:
        return {"wrapper_class": structlog.make_filtering_bound_logger(50), "processors": [_drop]}

    def note(logger: Any, level: str, event: dict[str, Any]) -> Any:
        text = " ".join(f"{name}={value}" for name, value in event.items() if name != "event")
        network.note(f"log: {event.get('event')} {text}")
        raise structlog.DropEvent

    return {"processors": [note], "wrapper_class": structlog.make_filtering_bound_logger(10)}


def _drop(logger: Any, level: str, event: Any) -> Any:
    raise structlog.DropEvent
