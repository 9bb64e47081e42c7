"""Plays a scenario: inputs and faults at their times; then everything is well again and must come to rest.

Enters: a World. Leaves: it, at rest, or with what kept it from that. Holds: from the end of the faults on, servers
answer, processes run and are started again when they end.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from aiokafka import TopicPartition

from engine.core.client.sections import unpack
from engine.core.contract.topics import inbound_topics
from engine.core.policy.holding import WHY
from engine.core.policy.rates import WAITS
from engine.runtime.protocol import ledger
from engine.runtime.protocol.position import Position
from engine.runtime.redis.keys import position_key, tag
from engine.runtime.redis.reading import NO_RULES
from engine.runtime.settings import Settings
from tests.simulation.auditor import audit
from tests.simulation.commands import Backfill, Resume, replay_differs
from tests.simulation.loop import Process
from tests.simulation.network import Weather
from tests.simulation.scenario import DRAIN_S, Fault, Input, wall_ms
from tests.simulation.world import World

STOPPING_S = 6.0
SYSTEMS = ("kafka", "redis")
LONGEST_PAUSE_S = 8.0


async def play(world: World, judge: Callable[[World], list[str]] = audit) -> None:
    world.publish(world.rules[0])
    world.begin()
    for item in sorted([*world.scenario.inputs, *world.scenario.faults], key=lambda item: item.at_s):
        await asyncio.sleep(max(item.at_s - world.loop.time(), 0))
        if world.violations:
            return
        world.network.note(f"-- {item}")
        if isinstance(item, Input):
            world.take(item)
        else:
            _inflict(world, item)
    await asyncio.sleep(max(world.scenario.end_s - world.loop.time(), 0))
    _heal(world)
    world.well = True
    world.publish(world.rules[world.random.randrange(len(world.rules))])
    world.network.note("-- all is well from here on")
    if not await _rest(world):
        return
    digest = await _all_by_one_set(world)
    while digest and digest != world.head():  # the breaker has paused a rule meanwhile
        digest = await _all_by_one_set(world)
    if not digest:
        return
    world.violations += _old_rules(world, digest)
    await world.stop()
    await asyncio.sleep(world.settings.transaction_timeout_s + 1)  # what killed workers left open is ended
    world.violations += judge(world)
    if (world.commands or world.further) and not world.violations:
        world.violations += await replay_differs(world)
    if world.scenario.refusal:
        await _refusal(world)


async def _all_by_one_set(world: World) -> str:
    """Wait until every partition uses the rules that are active now and has evaluated all clients; their digest, empty
    when that does not come about.
    """
    digest = world.head()
    until_s = world.loop.time() + 10  # workers hear of the rules by then, and take them at their next tick
    while world.loop.time() < until_s and world.behind(digest):
        await asyncio.sleep(0.25)
    await asyncio.sleep(1.5)
    until_s = world.loop.time() + DRAIN_S
    while world.loop.time() < until_s and (world.unswept(digest) or world.unlisted()):
        await asyncio.sleep(0.25)
    late = world.unswept(digest) if digest == world.head() else []
    world.violations += [f"{which} has not evaluated all clients" for which in late]
    for number in range(world.scenario.partitions):
        tp = TopicPartition(world.settings.topic("logins"), number)
        world.kafka.append(tp, None, b"a probe: every partition is at work")
    if not await _rest(world):
        return ""
    return digest


async def _rest(world: World) -> bool:
    """Wait until nothing is left to do. False, and a violation, when that does not come about."""
    until_s = world.loop.time() + DRAIN_S
    while waiting := [
        *(one for scope in world.scopes for one in _waiting(world, *scope)),
        *_unwell(world),
        *_soon(world),
    ]:
        if world.violations:
            return False
        if world.loop.time() > until_s:
            world.violations.append(f"no rest after {DRAIN_S:.0f} s: {'; '.join(waiting[:4])}")
            return False
        await asyncio.sleep(0.5)
    return True


# -- faults ----------------------------------------------------------------------------------------


def _inflict(world: World, fault: Fault) -> None:
    network, kind = world.network, fault.kind
    network.seen[kind] += 1
    if kind.startswith(SYSTEMS):
        system, _, what = kind.partition(" ")
        weather = {"down": Weather(down=True), "mute": Weather(mute=True), "slow": Weather(slowness=fault.amount)}
        network.weather[system] = weather.get(what, Weather(loss=0.04 + 0.4 * fault.amount**2))
        network.later(fault.seconds, network.weather.__setitem__, system, Weather())
    elif kind.startswith("backfill"):
        world.run_command(Backfill(world, fault))
    elif kind.startswith("resume"):
        for rule in world.paused():
            world.run_command(Resume(world, fault, rule))
    elif kind == "retention":
        _retention(world)
    elif kind.startswith("evicted"):
        world.redis.evict(world.random, kind.removeprefix("evicted "))
    elif kind.startswith("open transaction"):
        _open_transaction(world, fault)
    elif kind == "failover":
        _lose(world, int(fault.amount))
    else:
        process = world.slots[fault.who].process
        if process is not None and process.alive:
            _harm(world, fault, process)


def _open_transaction(world: World, fault: Fault) -> None:
    """Another program's, on one partition of an inbound topic."""
    topics = inbound_topics()
    topic = topics[int(fault.amount * len(topics))]
    tp = TopicPartition(world.settings.topic(topic), fault.who)
    producer = f"another program {fault.at_s}"
    epoch = world.kafka.initialise(producer)
    world.kafka.produce(producer, epoch, fault.seconds + DRAIN_S, tp, [(b"c1", b"of another program", (), None)])
    world.network.later(fault.seconds, world.kafka.end, producer, epoch, fault.kind.rpartition(" ")[2])


def _harm(world: World, fault: Fault, process: Process) -> None:
    """What happens to one process."""
    match fault.kind:
        case "crash":
            world.kill(process)
        case "crash at request":
            process.trap_call, process.trap = process.calls + int(fault.amount), world.kill
        case "pause at request":
            process.trap_call = process.calls + int(fault.amount)
            process.trap = partial(world.pause, seconds=fault.seconds)
        case "stop":
            world.loop.signal(process, signal.SIGTERM)
        case "pause in the successor's start":
            world.slots[fault.who].trap = int(fault.amount), fault.seconds
            world.kill(process)
        case "stop while paused at request":  # what it waits for and its end reach it in the same moment
            process.trap_call = process.calls + int(fault.amount)
            process.trap = partial(_pause_and_stop, world, fault.seconds)
        case "pause":
            world.pause(process, fault.seconds)
        case "rebalance":
            for group in world.kafka.groups.values():
                group.silent(process)
        case "slow zombie":
            process.slowness = fault.amount
            process.after_commit = partial(_zombie, world)
            world.network.later(fault.seconds, setattr, process, "slowness", 1.0)
        case "clock":
            process.clock_offset_ms += int(fault.amount * 3_600_000)
        case "crash and failover":
            # at the moment of the crash, or while the successor starts
            world.kill(process)
            world.network.later(fault.seconds * 0.3, _lose, world, int(fault.amount))
        case "failover and no records":
            _lose(world, int(fault.amount))
            _mute_after(world, ("initialise", "LOOK", "end offsets"), fault.seconds, process)
        case "pause and failover":
            world.pause(process, fault.seconds)
            world.network.later(fault.seconds * 0.5, _lose, world, int(fault.amount))


def _zombie(world: World, process: Process) -> float:
    """The answer to an EndTxn takes that long; right after it the group gives the process up, while its reads crawl."""
    process.after_commit = None
    delay_s = world.random.uniform(0.9, 1.6)
    for group in world.kafka.groups.values():
        world.network.later(delay_s + world.random.uniform(0, 0.1), group.silent, process)
    return delay_s


def _mute_after(world: World, requests: tuple[str, ...], seconds: float, process: Process) -> None:
    """Kafka gives no answer from the moment on when a process has sent these, one after another."""
    if requests:
        process.trap_word, process.trap = requests[0], partial(_mute_after, world, requests[1:], seconds)
    else:
        world.network.later(0.005, _inflict, world, Fault(0.0, "kafka mute", 0, seconds))


def _pause_and_stop(world: World, seconds: float, process: Process) -> None:
    world.pause(process, seconds)
    world.network.later(seconds / 2, world.loop.signal, process, signal.SIGTERM)


def _lose(world: World, writes: int) -> None:
    if world.loop.time() <= world.scenario.end_s:
        world.network.note(f"Redis fails over and loses {writes} writes")
        world.redis.lose(writes)


def _retention(world: World) -> None:
    """Inbound records decided long ago are deleted: longer ago than any worker sleeps in the middle of a start."""
    old_s = world.loop.time() - LONGEST_PAUSE_S
    for number in range(world.scenario.partitions):
        ledger_log = world.kafka.logs[TopicPartition(world.settings.ledger_topic, number)]
        old = [entry for entry in ledger_log.committed() if entry.at_s < old_s]
        for topic, offset in ledger.decode_unit(old[-1].value or b"").offsets.items() if old else ():
            log = world.kafka.logs[TopicPartition(world.settings.topic(topic), number)]
            log.first = max(log.first, offset)


def _heal(world: World) -> None:
    for system in SYSTEMS:
        world.network.weather[system] = Weather()
    for slot in world.slots:
        slot.trap = None
    for process in world.processes:
        process.clock_offset_ms = 0
        process.trap_call, process.trap_word = 0, ""
        process.slowness = 1.0
        process.after_commit = None
        if process.paused:
            world.loop.wake(process)


# -- rest ------------------------------------------------------------------------------------------


def _waiting(world: World, settings: Settings, topics: tuple[str, ...]) -> list[str]:
    """What keeps the run from being at rest: records not decided, open transactions, a store that is behind."""
    found = []
    for number in range(world.scenario.partitions):
        log = world.kafka.logs[TopicPartition(settings.ledger_topic, number)]
        units = [entry for entry in log.entries if entry.readable]
        offsets = ledger.decode_unit(units[-1].value or b"").offsets if units else {}
        for topic in topics:
            inbound = world.kafka.logs[TopicPartition(settings.topic(topic), number)]
            last = next((e.offset for e in reversed(inbound.entries) if e.readable), -1)
            if inbound.open:
                found.append(f"a transaction is open on {topic}-{number}")
            if last >= offsets.get(topic, 0):
                found.append(f"{topic}-{number} is decided to {offsets.get(topic, 0)}, its last record is {last}")
        if log.open:
            found.append(f"a transaction is open on ledger-{number}")
        stored = world.redis.get(position_key(settings.scope, number))
        stands = Position.read(stored).ledger
        place = tag(settings.scope, number)
        known = world.redis.data.sorted_sets.get(f"{place}:due", {})
        kept = [client_id for client_id in known if f"{place}:client:{client_id}" in world.redis.data.hashes]
        if units and len(kept) != ledger.decode_unit(units[-1].value or b"").end.states:
            found.append(f"of partition {number} Redis has only {', '.join(kept)}")
        if units and stands != units[-1].offset + 1:
            found.append(f"Redis stands at {stands}, ledger-{number} ends at {units[-1].offset + 1}")
    return found


def _soon(world: World) -> list[str]:
    """What the processors will ask of each other while workers stop: nobody would hear of it any more."""
    until_ms = wall_ms(world.loop.time() + STOPPING_S)
    sets = world.redis.data.sorted_sets
    places = [f"{tag(own.scope, n)}:due" for own, _ in world.scopes[1:] for n in range(world.scenario.partitions)]
    found = [f"{key} is due soon" for place in places for key, ms in sets.get(place, {}).items() if ms <= until_ms]
    of_clients = f"{{{world.settings.scope}:"
    for key, fields in world.redis.data.hashes.items() if world.further else ():
        if key.startswith(of_clients) and ":client:" in key:
            waiting = unpack(NO_RULES.layout, fields["state"]).waiting
            found += [f"{key} waits for {held[WHY]}" for held in waiting if held[WHY] == WAITS]
    return found


def _unwell(world: World) -> list[str]:
    found = []
    for slot in world.slots:
        if slot.process is None or not slot.process.alive:
            found.append(f"worker {slot.number} is not running")
    undone = [command for command in world.commands if not command.done]
    found += [f"{command.name} is not done" for command in undone]
    for living in world.living():
        found += living.health.not_ready()
    return found


def _old_rules(world: World, digest: str) -> list[str]:
    """Partitions whose last unit was decided with other rules than those in force."""
    found = []
    for number in range(world.scenario.partitions):
        log = world.kafka.logs[TopicPartition(world.settings.ledger_topic, number)]
        unit = ledger.decode_unit([entry for entry in log.entries if entry.readable][-1].value or b"")
        if unit.rule_set != digest:
            found.append(f"partition {number} decides with {unit.rule_set[:8]}, active is {digest[:8]}")
    return found


# -- what must be refused ----------------------------------------------------------------------------


async def _refusal(world: World) -> None:
    """Spoil what a worker would start on; one that starts all the same has broken its word."""
    spoilt = _spoil(world)
    if spoilt is None:
        return
    world.network.note(f"-- {world.scenario.refusal} on partition {spoilt}")
    world.network.seen[world.scenario.refusal] += 1
    before = world.redis.get(position_key(world.settings.scope, spoilt))
    world.refusals.clear()
    slot = world.slots[0]
    slot.stopped = False
    world.start(slot)
    until_s = world.loop.time() + 30
    while not world.refusals and world.loop.time() < until_s:
        await asyncio.sleep(0.2)
    await world.stop()
    if not world.refusals:
        world.violations.append(f"started on a {world.scenario.refusal}")
    if world.redis.get(position_key(world.settings.scope, spoilt)) != before:
        world.violations.append(f"changed the state over a {world.scenario.refusal}")
    world.refusals.clear()


def _spoil(world: World) -> int | None:
    """The partition it was done to; None when there is nothing to spoil."""
    numbers = list(range(world.scenario.partitions))
    world.random.shuffle(numbers)
    for number in numbers:
        tp = partial(TopicPartition, partition=number)
        log = world.kafka.logs[tp(world.settings.ledger_topic)]
        units = [entry for entry in log.entries if entry.readable]
        if not units:
            continue
        last = units[-1]
        if world.scenario.refusal == "ledger rewritten":
            # Kafka lost its end, and other decisions were written in its place
            fields = ledger.decode_unit(last.value or b"")
            end = replace(fields.end, states=fields.end.states + 1)
            records = ledger.encode_unit(fields.begin, end, [fields.writes], "", "", fields.semantics, fields.steps)
            last.value = records[0]
        elif world.scenario.refusal == "ledger cut":
            del log.entries[last.offset :]
        elif world.scenario.refusal == "ledger trimmed too far":
            log.first = log.end
        else:
            for topic, offset in ledger.decode_unit(last.value or b"").offsets.items():
                inbound = world.kafka.logs[tp(world.settings.topic(topic))]
                world.kafka.append(tp(world.settings.topic(topic)), None, b"")
                inbound.first = offset + 1
        return number
    return None
