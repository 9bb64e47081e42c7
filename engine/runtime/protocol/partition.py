"""One partition: recover, decide, commit. The whole of the exactly-once protocol, over a Log and a Store.

Enters: batches and ticks in order. Leaves: published messages, ledger records, the store's state.
Holds: publish, then apply; start is the only recovery; a unit's changes are in memory only until both have happened,
and any surprise throws the memory away. Nothing here knows Kafka, Redis or a clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, Generic

import structlog

from engine.core.contract.events import Event
from engine.core.pace import Pace
from engine.core.reading.decode import Taken
from engine.runtime.errors import Newer, Refused, Surprised
from engine.runtime.protocol import ledger
from engine.runtime.protocol.intake import Batch
from engine.runtime.protocol.ledger import Log, Step, Store
from engine.runtime.protocol.position import Position
from engine.runtime.protocol.processor import Input, NobodyListens, Observer, Plan, Processor, State
from engine.runtime.protocol.records import FUTURE, Place, by_clock, by_neighbours, read_all
from engine.runtime.protocol.recovery import Recovery, apply, some
from engine.runtime.protocol.state_cache import StateCache
from engine.runtime.protocol.unit import OpenUnit, UnitLimits
from engine.runtime.protocol.writes import encode_writes

log = structlog.get_logger(__name__)

Offsets = Mapping[str, int]
LOOK_KEYS: Final = 100  # checked each second: a hundred thousand in a quarter of an hour


class Partition(Generic[Plan, State, Input]):
    """State machine of one partition. `recover` first; then `take`, `tick` and `commit`, never two at a time."""

    def __init__(
        self,
        number: int,
        log_: Log,
        store: Store,
        processor: Processor[Plan, State, Input],
        *,
        plan: Callable[[], Plan],
        belongs: Callable[[bytes], bool] = lambda key: True,
        observer: Observer | None = None,
        cache_bytes: int = 0,
        limits: UnitLimits | None = None,
        for_load: bool = False,
        partitions: int = 1,
    ) -> None:
        """`plan` gives the newest. By default nothing is kept in memory beyond what is being decided. `for_load`: it
        may stand in the middle of a load. `partitions`: of how many it is one.
        """
        self.number = number
        self._log = log_
        self._store = store
        self._newest_plan = plan
        self._plan = plan()
        self._belongs = belongs
        self._processor = processor
        self._observer = observer or NobodyListens()
        self._limits = limits or UnitLimits()
        self.position = Position()
        self.offsets: dict[str, int] = {}  # next offset of each inbound topic, open unit included
        self._cache: StateCache[State] = StateCache(cache_bytes)
        self._unit = OpenUnit()
        self._pace = Pace(partitions=partitions)  # as the open unit leaves it
        self.behind = False  # at the last batch, a quarter of what fills a unit waited
        self.reached_ms = 0  # record time of the last record decided
        self.reached_event_ms = self._committed_event_ms = 0  # latest event time decided
        self._recovery = Recovery(number, log_, store, for_load=for_load)
        self._gone: set[str] = set()  # keys that were written and are not in the store
        self._look_cursor = 0
        self._sweeping, self._sweep_cursor = "", 0  # the rules of the sweep that has begun, and how far it has come

    # -- recovery ----------------------------------------------------------------------------------

    async def recover(self) -> Position:
        """Start, and start again after any surprise: see recovery.py. Raises Refused, Newer, Fenced, Unavailable."""
        recovery = self._recovery
        units, healed = recovery.units, recovery.healed
        position = await recovery.run(self._gone)
        self.position = position
        self.offsets = dict(position.offsets)
        self._pace.kept = dict(position.end.pace)
        self._cache.clear()
        self._unit = OpenUnit(states_added=recovery.miscounted)
        self._sweeping = ""
        self._gone.clear()
        # what was decided and not committed comes again: no tick may run ahead of it
        self.reached_ms, self.reached_event_ms = 0, self._committed_event_ms
        self._use(self._newest_plan())
        self._observer.recovered(self.number, recovery.units - units, recovery.healed - healed, position.tallies)
        self._observer.stands(self.number, self.rule_set, self.sweeping)
        return position

    @property
    def recovered_units(self) -> int:
        """Applied from the ledger by all starts."""
        return self._recovery.units

    async def look(self) -> None:
        """Whether the store is as this worker left it: where it stands, how many keys it has, and a few of these, in
        turn. Raises Surprised.
        """
        looked = await self._store.look(self._look_cursor, LOOK_KEYS)
        self._check_stands(looked.position, looked.known, looked.gone)
        self._look_cursor = looked.cursor

    # -- deciding ----------------------------------------------------------------------------------

    async def take(self, batch: Batch, decided_ms: int = 0) -> None:
        """Decide a batch at this moment of the wall clock (0: there is none, time is the events' own); commit when the
        unit is full, or holds a message that presses and the partition is not behind.
        """
        if any(self.offsets.get(topic, begin) != begin for topic, (begin, _) in batch.ranges.items()):
            log.warning("batch dropped: it does not begin where the partition stands", partition=self.number)
            raise Surprised("a batch does not begin where the partition stands")
        unit, processor = self._unit, self._processor
        events: list[tuple[str, Event]] = []  # with their topics
        keys: dict[str, None] = {}  # in order: so is the cache's
        latest_ms = 0
        ahead: list[Place] = []
        found = read_all(batch.records, self._belongs, processor.decoder(self._plan))
        for record, outcome in by_clock(found, decided_ms) if decided_ms else by_neighbours(found):
            if isinstance(outcome, Taken):
                event, topic = outcome.event, record.topic
                events.append((topic, event))
                keys[event.client_id] = None
                if event.time > latest_ms:
                    latest_ms = event.time
                if outcome.unread:
                    unit.unread.update((topic, name) for name in outcome.unread)
                continue
            unit.set_aside(record, outcome)
            if outcome is FUTURE:
                ahead.append(record.place)
        unit.events.update([topic for topic, _ in events])
        await self._load(keys)
        unit.steps.append(Step(batch.ranges, decided_ms=decided_ms, ahead=tuple(ahead)))
        unit.records += len(batch.records)
        unit.size_bytes += batch.size_bytes
        before = len(unit.messages)
        self._decide(processor.arrived(events), decided_ms)
        if len(unit.messages) > before:
            acted = [message.key for message in unit.messages[before:] if not message.rides]
            who = set(acted)
            came_ms = {record.key: record.timestamp_ms for record in batch.records if record.key in who}
            unit.acted_ms += [came_ms[key] for key in acted if key in came_ms]
        if batch.records:
            self.reached_ms = batch.records[-1].timestamp_ms
        self.reached_event_ms = max(self.reached_event_ms, latest_ms)
        self.offsets.update({topic: end for topic, (_, end) in batch.ranges.items()})
        self.behind = batch.waiting >= self._limits.records / 4
        full = unit.records >= self._limits.records or unit.size_bytes >= self._limits.size_bytes
        if full or 0 < self._cache.limit <= len(unit.changed):
            await self.commit("size")
        elif unit.pressing and not self.behind:
            await self.commit("messages")

    async def tick(self, time_ms: int, limit: int = 1000, decided_ms: int = 0, *, ends_unit: bool = True) -> bool:
        """Evaluate clients that are due, at this moment of the wall clock. True if there may be more. Until the unit is
        committed the same ones are due.
        """
        # who is due would be missing from a Redis that lost its last writes, and no event may come to show it
        await self.look()
        client_ids = await self._store.due(time_ms, limit)
        if not client_ids:
            return False
        await self._load(client_ids)
        self._unit.steps.append(Step({}, time_ms, tuple(client_ids), decided_ms=decided_ms))
        self._observer.ticked()
        self._decide([self._processor.due(key, time_ms) for key in client_ids], decided_ms)
        if ends_unit:
            await self.commit("tick")
        return len(client_ids) == limit

    async def sweep(self, time_ms: int, limit: int, decided_ms: int = 0) -> None:
        """Evaluate the next clients under new rules, until all have been evaluated: no event or timer of theirs
        may come for long.
        """
        if not self.sweeping:
            return
        digest = self._processor.swept_by(self._plan)
        cursor = self._sweep_cursor if self._sweeping == digest else 0
        if cursor == 0:
            self._observer.stands(self.number, self.rule_set, True)
        cursor, client_ids = await self._store.clients(cursor, limit)
        new = [client_id for client_id in client_ids if client_id not in self._cache]
        await self._load(client_ids)
        paced = dict(self._pace.kept)
        changed = self._decide([self._processor.sweep(key, time_ms) for key in client_ids], decided_ms)
        if changed or cursor == 0 or self._pace.kept != paced:  # of no client: a budget is given back
            self._unit.steps.append(Step({}, time_ms, swept=tuple(changed), decided_ms=decided_ms))
            self._unit.swept = digest if cursor == 0 else None
            await self.commit("sweep")
        for client_id in new:
            if client_id not in self._unit.changed:
                self._cache.pop(client_id, None)  # what is used often stays
        self._observer.swept(len(changed), len(client_ids) - len(changed))
        self._sweeping, self._sweep_cursor = digest, cursor
        if cursor == 0:
            self._observer.stands(self.number, self.rule_set, self.sweeping)

    async def revise(self, client_ids: Sequence[str], change: Callable[[Plan, State], bool], step: Step) -> int:
        """Change states in a unit of their own, without an input; how many `change` says it changed."""
        await self._load(client_ids)
        known = {key: self._cache[key] for key in client_ids if key in self._cache}
        self._unit.changed = {key: state for key, state in known.items() if change(self._plan, state)}
        changed = len(self._unit.changed)
        for state in self._unit.changed.values():
            self._unit.tallies.update(self._processor.recount(state))
        if changed:
            self._unit.steps.append(step)
            self._unit.swept = ""  # what holds for a client may be another thing now
            await self.commit("backfill")
        self._cache.clear()
        return changed

    async def load(
        self, writes: Sequence[bytes], new: int, tallies: Mapping[str, int], load: Mapping[str, Any], begin: Offsets
    ) -> None:
        """Commit a part of a load: writes of so many new keys, decided elsewhere from what lies before the topics.
        `begin`: from where each topic must be read.
        """
        self._unit = OpenUnit(steps=[Step({})], states_added=new, tallies=Counter(tallies), load=load)
        self.offsets.update({topic: max(offset, self.offsets.get(topic, 0)) for topic, offset in begin.items()})
        await self._commit("load", list(writes) or encode_writes([]), ledger.LOADED)

    async def _load(self, client_ids: Collection[str]) -> None:
        """Bring the clients' states into the cache. No await between here and the end of the decision."""
        cache = self._cache
        missing = [client_id for client_id in client_ids if client_id not in cache]
        if not missing:
            return
        loaded = await self._store.load(missing)
        self._check_stands(loaded.position, loaded.known, loaded.gone)
        packed = loaded.states
        cache.weigh([state for state in packed if state is not None])
        cache.make_room(len(missing), {*client_ids}, self._unit.changed)
        for client_id, state in zip(missing, packed, strict=True):
            if state is not None:
                cache[client_id] = self._unpacked(client_id, state)

    def _unpacked(self, client_id: str, state: bytes) -> State:
        try:
            return self._processor.unpack(self._plan, state)
        except Newer as error:
            raise Newer(
                f"the state of client {client_id} is of a newer Engage ({error}): upgrade this worker"
            ) from error
        except Exception as error:  # whatever msgpack and the columns make of bytes that another program wrote
            raise Refused(
                f"partition {self.number}: the state of client {client_id} in Redis cannot be read ({error}). Restore "
                "the Redis backup that belongs to this ledger, or empty Redis and run `engage rebuild`"
            ) from error

    def _check_stands(self, position: bytes | None, known: int, gone: Collection[str]) -> None:
        """A key that was written and is gone must not pass for a new one, nor may its timer be lost."""
        if (position or b"") != self.position.text:
            raise Surprised("Redis moved under this worker: it failed over, or another worker writes here")
        written = self.position.states + self._recovery.miscounted
        self._gone.update(gone)
        if gone:
            raise Surprised(f"Redis has lost clients that were written, by eviction or by hand: {some(gone)}")
        if known != written:
            raise Surprised(
                f"Redis knows {known} clients, {written} were written: some were evicted, or deleted by hand"
            )

    def _decide(self, inputs: Sequence[Input], decided_ms: int) -> Collection[str]:
        """Decide, as part of the open unit; the clients that it changed."""
        unit, known = self._unit, len(self._cache)
        with self._observer.timing("decide"):
            decided = self._processor.decide(self._plan, self._cache, inputs, decided_ms, self._pace)
        self._observer.decided(self._plan, self._cache, inputs)
        unit.add(decided, len(self._cache) - known)
        return decided.changed.keys()

    # -- committing --------------------------------------------------------------------------------

    @property
    def cached(self) -> int:
        return len(self._cache)

    @property
    def room(self) -> int:
        """How many clients are kept in memory."""
        return self._cache.limit

    @property
    def rule_set(self) -> str:
        return self._processor.digest(self._plan)

    @property
    def sweeping(self) -> bool:
        """Whether clients have yet to be evaluated under new rules."""
        return self._processor.swept_by(self._plan) not in ("", self.position.swept) and self.position.states > 0

    @property
    def uncommitted(self) -> bool:
        return bool(self._unit.steps)

    async def commit(self, cause: str) -> None:
        """Publish the open unit, then apply it. After any error the partition must recover."""
        unit = self._unit
        if not unit.steps:
            return
        processor, plan = self._processor, self._plan
        changed = [processor.write(state, processor.pack(plan, state)) for state in unit.changed.values()]
        await self._commit(cause, encode_writes(changed, self._limits.chunk_bytes), processor.semantics)
        self._cache.weigh([write.state for write in changed])
        self._cache.keep_last(unit.changed)
        self.take_newest_plan()

    async def _commit(self, cause: str, writes: Sequence[bytes], semantics: int) -> None:
        unit, processor, plan = self._unit, self._processor, self._plan
        begin = self.position.text
        end = unit.end(self.position, self.offsets, processor.swept_by(plan), self._pace.kept)
        published = ledger.digest_of_messages(unit.messages)
        digest = processor.digest(plan)
        records = ledger.encode_unit(begin, end, writes, digest, published, semantics, unit.steps)
        with self._observer.timing("publish"):
            last = await self._log.publish(unit.messages, records)
        if last + 1 < self.position.ledger + len(records):
            raise Surprised(f"the ledger has lost its end: a unit after offset {self.position.ledger} came to {last}")
        position = Position.after(last + 1, ledger.digest_of(records[-1]), end.encode())
        with self._observer.timing("apply"):
            await apply(self._store, begin, position.text, writes)
        self.position = position
        self._recovery.miscounted = 0
        self._committed_event_ms = self.reached_event_ms
        self._unit = OpenUnit()
        self._observer.committed(self.number, cause, unit, position.tallies, records)
        log.debug(
            "committed",
            partition=self.number,
            ledger=last,
            records=unit.records,
            messages=len(unit.messages),
            cause=cause,
        )

    def take_newest_plan(self) -> None:
        """A unit's boundary: the only place where rules change. States are read again under the new layout."""
        plan = self._newest_plan()
        if plan is not self._plan:
            self._use(plan)
            self._cache.clear()
            self._observer.stands(self.number, self.rule_set, self.sweeping)

    def _use(self, plan: Plan) -> None:
        if self._processor.swept_by(plan) != self._processor.swept_by(self._plan):
            self._sweeping = ""  # whoever is decided under these rules has to be evaluated again under the former ones
        self._plan = plan
        self._observer.uses(plan)
