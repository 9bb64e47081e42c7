"""Deliberate bugs in recovery and in deciding. See bugs.py."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial
from itertools import chain, count
from typing import Any

from engine.core.client.items import CARE, STEPS, TAKEN, is_cared_for
from engine.core.client.positions import QUANTITY
from engine.core.contract.topics import intake_topics
from engine.core.decide import messages
from engine.core.learn import actions
from engine.processors.engagement import Engagement
from engine.runtime.kafka.intake import KafkaIntake
from engine.runtime.kafka.log import KafkaLog
from engine.runtime.kafka.membership import Membership
from engine.runtime.protocol import intake, ledger
from engine.runtime.protocol.intake import Merger
from engine.runtime.protocol.partition import Partition
from engine.runtime.protocol.position import End
from engine.runtime.protocol.records import Rerouted, inbound
from engine.runtime.protocol.recovery import Recovery
from engine.runtime.protocol.unit import OpenUnit
from engine.runtime.redis.store import RedisStore
from engine.runtime.worker.delivery import Delivery
from engine.runtime.worker.waiting import Waiting
from tests.simulation.bug import Change, Table, registering
from tests.simulation.loop import PROCESS

BUGS: Table = {}
bug = registering(BUGS)


# -- recovery ---------------------------------------------------------------------------------------


@bug("look at the ledger's end before the position")
def _() -> list[Change]:
    original = Partition.recover

    async def recover(self: Any) -> Any:
        bounds = KafkaLog.bounds
        await self._log.start()
        seen = await bounds(self._log)
        self._log.start, self._log.bounds = _nothing, partial(_answer, seen)
        try:
            return await original(self)
        finally:
            del self._log.start, self._log.bounds

    return [(Partition, "recover", recover)]


async def _nothing() -> None:
    """Done before."""


async def _answer(answer: Any) -> Any:
    return answer


@bug("start without following the ledger")
def _() -> list[Change]:
    async def follow(self: Recovery, position: Any, *_: Any) -> Any:
        return position

    return [(Recovery, "_follow", follow)]


@bug("skip the ledger's digest")
def _() -> list[Change]:
    original = Recovery._follow

    class Any_(str):
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            return True

        def __ne__(self, other: object) -> bool:
            return False

    async def follow(self: Recovery, position: Any, *rest: Any) -> Any:
        blind = replace(position, digest=Any_(position.digest))
        found = await original(self, blind, *rest)
        return position if found is blind else found

    return [(Recovery, "_follow", follow)]


@bug("keep the cache after a failed commit")
def _() -> list[Change]:
    original = Partition.recover

    async def recover(self: Partition) -> Any:
        kept = dict(self._cache)
        position = await original(self)
        self._cache.update(kept)
        return position

    return [(Partition, "recover", recover)]


@bug("keep a queued batch over a rebalance")
def _() -> list[Change]:
    """What a worker had in hand of a partition when it lost it is still there when it gets it back."""
    original, queued = Delivery.deliver, dict[Any, Any]()

    async def deliver(self: Delivery, partition: Partition, batch: Any) -> None:
        place = PROCESS.get(), partition.number
        kept, queued[place] = queued.get(place), batch
        if kept is not None:
            partition.offsets.update({topic: begin for topic, (begin, _) in kept.ranges.items()})
            await original(self, partition, kept)
        await original(self, partition, batch)
        del queued[place]

    return [(Delivery, "deliver", deliver)]


@bug("take again what is read again")
def _() -> list[Change]:
    original = Merger.add

    def add(self: Merger, topic: str, records: Any, position: int, end: int) -> None:
        queue = self._queues[topic]
        fetched = queue.fetched
        queue.fetched = min([fetched, *(record.offset for record in records)])
        original(self, topic, records, position, end)
        queue.fetched = max(queue.fetched, fetched)

    return [(Merger, "add", add)]


@bug("ignore where a batch begins, read on where the consumer stood")
def _() -> list[Change]:
    start, take = KafkaIntake.start, Partition.take

    async def stay(self: Any, offsets: dict[str, int]) -> dict[str, int]:
        stood = {topic: queue.fetched for topic, queue in self.merger._queues.items()}
        return await start(self, {topic: max(offset, stood[topic]) for topic, offset in offsets.items()})

    async def anywhere(self: Partition, batch: Any) -> None:
        self.offsets.update({topic: begin for topic, (begin, _) in batch.ranges.items()})
        await take(self, batch)

    return [(KafkaIntake, "start", stay), (Partition, "take", anywhere)]


@bug("never rejoin when fenced")
def _() -> list[Change]:
    return [(Membership, "rejoin", lambda self: None)]


@bug("what a partition waits for outlives it")
def _() -> list[Change]:
    original = Waiting.end

    def end(self: Waiting, who: Any, *whats: str, gone: bool = False) -> None:
        if not gone:
            original(self, who, *whats)

    return [(Waiting, "end", end)]


# -- deciding ---------------------------------------------------------------------------------------


@bug("ticks by the clock in a backlog")
def _() -> list[Change]:
    return [(Merger, "caught_up", property(lambda self: True))]


@bug("ticks by the clock while a transaction is open")
def _() -> list[Change]:
    return [(KafkaIntake, "readable_ms", lambda self, now_ms: now_ms)]


@bug("ticks are not recorded")
def _() -> list[Change]:
    original = ledger.encode_unit

    def encode(*parts: Any) -> list[bytes]:
        *before, steps = parts
        return original(*before, [step for step in steps if not step.due])

    return [(ledger, "encode_unit", encode)]


@bug("offsets of the last batch's beginning")
def _() -> list[Change]:
    original = ledger.encode_unit

    def encode(begin: bytes, end: End, *rest: Any) -> list[bytes]:
        firsts = {topic: first for topic, (first, _) in rest[-1][-1].ranges.items()}
        return original(begin, replace(end, offsets={**end.offsets, **firsts}), *rest)

    return [(ledger, "encode_unit", encode)]


@bug("lose a step of the open unit")
def _() -> list[Change]:
    original = Partition.take

    async def take(self: Partition, batch: Any) -> None:
        if self._unit.steps:
            self._unit.steps.pop(0)
        await original(self, batch)

    return [(Partition, "take", take)]


@bug("random action ids")
def _() -> list[Change]:
    original, numbers = messages._id, count()

    def id_(*parts: Any) -> str:
        return original(*parts) if PROCESS.get() is None else f"{next(numbers):032x}"

    return [(messages, "_id", id_)]


@bug("ids that leave out which event it was")
def _() -> list[Change]:
    """The auditor decides with this, too: it must see it by the id alone."""

    def id_(client: Any, ordinal: int, *what: str) -> str:
        return hashlib.blake2b("\0".join((*what, client.client_id, str(ordinal))).encode(), digest_size=16).hexdigest()

    return [(messages, "_id", id_)]


@bug("re-route twice")
def _() -> list[Change]:
    original = OpenUnit.set_aside

    def twice(self: OpenUnit, record: Any, outcome: Any) -> None:
        original(self, record, outcome)
        if isinstance(outcome, Rerouted):
            self.messages.append(record.set_aside(outcome))

    return [(OpenUnit, "set_aside", twice)]


@bug("rules change in the middle of a unit")
def _() -> list[Change]:
    original = Partition._decide

    def decide(self: Partition, inputs: Any, decided_ms: int) -> Any:
        self._plan = self._newest_plan()
        return original(self, inputs, decided_ms)

    return [(Partition, "_decide", decide)]


@bug("own events are read by the first rules that a worker had")
def _() -> list[Change]:
    original = Engagement.decode
    first: list[Any] = []

    def decode(self: Engagement, plan: Any, *record: Any) -> Any:
        first.append(plan)
        return original(self, first[0], *record)

    return [(Engagement, "decode", decode)]


@bug("opt-outs are forgotten when a state is read")
def _() -> list[Change]:
    original = Engagement.unpack

    def unpack(self: Engagement, plan: Any, packed: bytes) -> Any:
        client = original(self, plan, packed)
        client.opted_out = {}
        return client

    return [(Engagement, "unpack", unpack)]


@bug("consents to one purpose are forgotten when a state is read")
def _() -> list[Change]:
    original = Engagement.unpack

    def unpack(self: Engagement, plan: Any, packed: bytes) -> Any:
        client = original(self, plan, packed)
        client.service_consents = None
        return client

    return [(Engagement, "unpack", unpack)]


@bug("what was corrected is forgotten when a state is read")
def _() -> list[Change]:
    original = Engagement.unpack

    def unpack(self: Engagement, plan: Any, packed: bytes) -> Any:
        client = original(self, plan, packed)
        client.corrected = {}
        return client

    return [(Engagement, "unpack", unpack)]


@bug("what events led to is forgotten when a state is read")
def _() -> list[Change]:
    original = Engagement.unpack

    def unpack(self: Engagement, plan: Any, packed: bytes) -> Any:
        client = original(self, plan, packed)
        client.caused = []
        return client

    return [(Engagement, "unpack", unpack)]


@bug("corrections of what an earlier batch brought are dropped")
def _() -> list[Change]:
    original = Engagement.decide

    def decide(self: Engagement, plan: Any, states: Any, inputs: Any, decided_ms: int, pace: Any) -> Any:
        here = {item[1].event_id for item in inputs if isinstance(item, tuple)}
        kept = [i for i in inputs if not isinstance(i, tuple) or i[0] != "corrections" or i[1].corrects in here]
        return original(self, plan, states, kept, decided_ms, pace)

    return [(Engagement, "decide", decide)]


@bug("the notice of a demotion is forgotten when a state is read")
def _() -> list[Change]:
    original = Engagement.unpack

    def unpack(self: Engagement, plan: Any, packed: bytes) -> Any:
        client = original(self, plan, packed)
        client.tier_risk = None
        return client

    return [(Engagement, "unpack", unpack)]


@bug("items are forgotten when a state is read")
def _() -> list[Change]:
    original = Engagement.unpack

    def unpack(self: Engagement, plan: Any, packed: bytes) -> Any:
        client = original(self, plan, packed)
        client.items = []
        return client

    return [(Engagement, "unpack", unpack)]


@bug("ended positions are forgotten when a state is read")
def _() -> list[Change]:
    original = Engagement.unpack

    def unpack(self: Engagement, plan: Any, packed: bytes) -> Any:
        client = original(self, plan, packed)
        client.positions = {symbol: told for symbol, told in client.positions.items() if told[QUANTITY]}
        return client

    return [(Engagement, "unpack", unpack)]


@bug("steps of items are forgotten when a state is read")
def _() -> list[Change]:
    original = Engagement.unpack

    def unpack(self: Engagement, plan: Any, packed: bytes) -> Any:
        client = original(self, plan, packed)
        for item in client.items:
            del item[STEPS:]
        return client

    return [(Engagement, "unpack", unpack)]


@bug("the steps that an item had are forgotten when a state is read")
def _() -> list[Change]:
    original = Engagement.unpack

    def unpack(self: Engagement, plan: Any, packed: bytes) -> Any:
        client = original(self, plan, packed)
        for item in client.items:
            if is_cared_for(item):
                item[CARE] = item[CARE] | {TAKEN: []}
        return client

    return [(Engagement, "unpack", unpack)]


@bug("what staff decided is forgotten when a state is read")
def _() -> list[Change]:
    original = Engagement.unpack

    def unpack(self: Engagement, plan: Any, packed: bytes) -> Any:
        client = original(self, plan, packed)
        client.overrides = {}
        return client

    return [(Engagement, "unpack", unpack)]


@bug("accounts are forgotten when a state is read")
def _() -> list[Change]:
    original = Engagement.unpack

    def unpack(self: Engagement, plan: Any, packed: bytes) -> Any:
        client = original(self, plan, packed)
        client.accounts = {}
        return client

    return [(Engagement, "unpack", unpack)]


@bug("the engine's actions are counted in states that are not written")
def _() -> list[Change]:
    def take(plan: Any, client: Any, action: Any) -> None:
        packed = client.activities["actions"].packed
        plan.update["actions"](client, action, False)
        client.activities["actions"].packed = packed

    return [(actions, "take", take)]


@bug("merge one topic after another")
def _() -> list[Change]:
    def merge(records: Any) -> Any:
        topics = [topic for topic in intake_topics() if topic in records]
        return chain.from_iterable([(topic, r) for r in inbound(topic, records[topic])] for topic in topics)

    return [(intake, "merge", merge)]


@bug("ticks by how far a thrown-away unit had come")
def _() -> list[Change]:
    original = Partition.recover

    async def recover(self: Partition) -> Any:
        reached_ms = self.reached_ms
        position = await original(self)
        self.reached_ms = reached_ms
        return position

    return [(Partition, "recover", recover)]


# -- sweeps -------------------------------------------------------------------------------------------


@bug("a sweep that has begun counts as done")
def _() -> list[Change]:
    original = RedisStore.clients

    async def clients(self: RedisStore, cursor: int, limit: int) -> tuple[int, list[str]]:
        return 0, (await original(self, cursor, limit))[1]

    return [(RedisStore, "clients", clients)]


@bug("a sweep goes on from where one under other rules was")
def _() -> list[Change]:
    original = Partition.sweep

    async def sweep(self: Any, *how_far: int) -> None:
        self._sweeping = self._plan.timed.digest
        await original(self, *how_far)

    return [(Partition, "sweep", sweep)]


@bug("a sweep goes on though other rules decided meanwhile")
def _() -> list[Change]:
    original = Partition._use

    def use(self: Any, plan: Any) -> None:
        sweeping = self._sweeping
        original(self, plan)
        self._sweeping = sweeping

    return [(Partition, "_use", use)]


@bug("the ledger does not say whom a sweep changed")
def _() -> list[Change]:
    original = ledger.encode_unit

    def encode(*parts: Any) -> list[bytes]:
        *before, steps = parts
        return original(*before, [replace(step, swept=()) for step in steps])

    return [(ledger, "encode_unit", encode)]
