"""The columns of features as of a partition's history, folded in the order in which it was decided.

Enters: the ledger, the inbound records, corrections first. Leaves: states that hold the chosen features alone.
Holds: an event that was corrected is read as it should have been. Which correction of an event counts is decided as the
engine decides it. Memory: the columns of the chosen clients, and the events that were corrected.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

from engine.core.client.sections import pack, unpack
from engine.core.client.state import ClientState, event_digest
from engine.core.contract.corrections import CORRECTIONS, Correction
from engine.core.contract.events import Event
from engine.core.contract.topics import EVENTS, Kinds
from engine.core.learn import accounts
from engine.core.learn.columns import complete_after, put_columns, put_known
from engine.core.learn.corrections import content, correct, kind_corrected
from engine.core.plan.compile import Plan
from engine.core.reading.decode import Taken, decode, kind_of
from engine.processors.engagement import ENGAGEMENT
from engine.runtime.errors import Refused
from engine.runtime.kafka.history import Ranges
from engine.runtime.protocol import ledger
from engine.runtime.protocol.ledger import Log
from engine.runtime.protocol.position import Position
from engine.runtime.protocol.records import Inbound, Place, read
from engine.runtime.protocol.writes import decode_writes

PIECE: Final = 5_000  # corrections read at once
_OF_DECLARED: Final = (EVENTS, CORRECTIONS)  # topics whose records mean what the rules of the time declared


class Inputs(Protocol):
    """The history of one partition, read forward once. See RecordedInputs."""

    async def read(self, ranges: Ranges) -> list[Inbound]: ...

    def read_until(self, offsets: Mapping[str, int]) -> AsyncIterator[list[Inbound]]: ...


Key = tuple[str, bytes]  # client, digest of the event


def key_of(kind: str, event: Event) -> Key:
    return event.client_id, event_digest(kind, event.event_id, event.time)


class Foreseen:
    def __init__(self) -> None:
        self.now: dict[Key, Event | None] = {}  # what each corrected event is by now
        self._added: set[Key] = set()  # corrections
        self.met: set[Key] = set()  # corrected events that came before their correction

    def add(self, correction: Correction) -> None:
        said = key_of("corrections", correction)
        if said in self._added:
            return
        self._added.add(said)
        key = key_of(kind_corrected(correction), correction.original)
        if key in self.now:
            so_far = self.now[key]
            if so_far is None or content(so_far) != content(correction.original):
                return  # it has been corrected otherwise
        self.now[key] = correction.replacement

    def has(self, correction: Correction) -> bool:
        return key_of("corrections", correction) in self._added

    def instead(self, kind: str, event: Event) -> Event | None:
        """What counts in the place of an event: usually the event itself."""
        seen: set[Key] = set()
        found: Event | None = event
        while found is not None and (key := key_of(kind, found)) in self.now and key not in seen:
            seen.add(key)
            found = self.now[key]
        return found


class Columns:
    """The columns of the chosen clients as of one ledger offset, and how they continue from there."""

    def __init__(
        self,
        plan: Plan,
        chosen: Callable[[bytes], bool],
        belongs: Callable[[bytes], bool],
        declared_by: Callable[[str], Awaitable[Kinds]],
        loaded_ms: int = 0,
    ) -> None:
        """`declared_by` gives the types that a rule set declared, by its digest. `loaded_ms`: what was before is not on
        the topics, but was loaded.
        """
        self._loaded_ms = loaded_ms
        self.clients: dict[str, ClientState] = {}
        self._plan = plan
        self._names = frozenset(feature.name for feature in plan.rule_set.features)
        self._decode = ENGAGEMENT.decoder(plan)
        self._declared_by = declared_by
        self._chosen = chosen
        self._belongs = belongs
        self._ledger: int | None = None  # the offset to read next; None before the first record was seen
        self.foreseen = Foreseen()
        self.unforeseen = False  # a correction came that the events before were read without
        self.decided_by: dict[str, int] = {}  # digests of rule sets, and the last ledger offset that each decided

    async def foresee(self, log_: Log, inputs: Inputs, position: Position) -> None:
        """Read all corrections up to a position: the events that they regard are then read as they should have been.
        Those that were dated ahead, and refused, correct nothing.
        """
        end = position.offsets.get(CORRECTIONS, 0)
        found: list[tuple[Place, Correction]] = []
        for begin in range(0, end, PIECE):
            for record in await inputs.read({CORRECTIONS: (begin, min(begin + PIECE, end))}):
                if not record.key or not self._chosen(record.key):
                    continue
                outcome = read(record, self._belongs, self._decode)
                if isinstance(outcome, Taken) and isinstance(outcome.event, Correction):
                    found.append((record.place, outcome.event))
        ahead = await _ahead(log_, position.ledger) if found else ()
        for place, correction in found:
            if place not in ahead:
                self.foreseen.add(correction)

    async def follow(self, log_: Log, inputs: Inputs, end: int) -> None:
        """Take what the ledger says was decided up to `end`, in its order; before its beginning, in the order of time.

        The ledger says, too, how far a timer had moved a client's time when an event came: by then the client may have
        forgotten that it had come before.
        """
        first, _ = await log_.bounds()
        if self._ledger is not None and self._ledger < first:
            raise Refused("the ledger was trimmed while the history was read: run the backfill again")
        writes: list[bytes] = []
        async for offset, record in log_.read(first if self._ledger is None else self._ledger, end):
            unit = ledger.decode_unit(record)
            if self._ledger is None and unit.begin:
                async for records in inputs.read_until(Position.read(unit.begin).offsets):
                    self._take(records, (), None)
            self._ledger = offset + 1
            self.decided_by[unit.rule_set] = offset
            writes.append(unit.writes)
            if unit.chunk < unit.chunks - 1:  # not by their number: a trimmed ledger begins with the last of a unit
                continue
            for step in unit.steps:
                if step.ranges:
                    records = await inputs.read(step.ranges)
                    declared = any(record.topic in _OF_DECLARED for record in records)
                    self._take(records, step.ahead, await self._declared_by(unit.rule_set) if declared else None)
            self._move_time({client_id for step in unit.steps for client_id in (*step.due, *step.swept)}, writes)
            writes = []

    def _take(self, records: Sequence[Inbound], ahead: Collection[Place], declared: Kinds | None) -> None:
        """`declared` by the rules that decided them, if known: what they refused counts when it is sent again."""
        for record in records:
            if not record.key or not self._chosen(record.key) or record.place in ahead:
                continue
            outcome = then = read(record, self._belongs, self._decode)
            if record.topic in _OF_DECLARED and declared is not None:
                then = read(record, self._belongs, partial(decode, declared=declared))
            if isinstance(then, Taken):
                event = outcome.event if isinstance(outcome, Taken) else then.event
                self.apply(kind_of(record.topic, event), event, isinstance(outcome, Taken))

    def apply(self, topic: str, event: Event, counts: bool) -> None:
        """An event that the active rules no longer read moves its client's time, as it did."""
        layout = self._plan.layout
        client = self.clients.get(event.client_id)
        if client is None:
            client = self.clients[event.client_id] = ClientState(layout, event.client_id, event.time)
            if self._loaded_ms:
                complete_after(layout, client, self._loaded_ms)
        late, again = event.time < client.now_ms, event.time <= client.now_ms
        client.advance(layout, event.time)
        if client.seen(topic, event.event_id, event.time, again):
            return
        if isinstance(event, Correction):
            self._correct(client, event)
        elif (key := key_of(topic, event)) in self.foreseen.now:
            self.foreseen.met.add(key)
            self._instead(client, topic, event)
            return
        if counts and topic in self._plan.update:
            self._count(client, topic, event, late)

    def _count(self, client: ClientState, topic: str, event: Event, late: bool) -> None:
        event = accounts.of_client(self._plan, client, event) if topic == accounts.BALANCES else event
        self._plan.update[topic](client, event, late)
        client.activities[topic].saw_event(event.time)

    def _instead(self, client: ClientState, kind: str, event: Event) -> None:
        """An event is counted as it should have been."""
        new = self.foreseen.instead(kind, event)
        if new is None or kind not in self._plan.update:
            return
        digest = event_digest(kind, new.event_id, new.time)
        if (new.event_id, new.time) != (event.event_id, event.time):
            if client.has_seen(digest):
                return
            client.see(digest)
        self._count(client, kind, new, new.time < client.now_ms)

    def _correct(self, client: ClientState, correction: Correction) -> None:
        """One that was foreseen is behind us, if its event came before it."""
        kind, original = kind_corrected(correction), correction.original
        if kind not in self._plan.update:  # of a type that is no longer declared: nothing of it counts
            client.see(event_digest(kind, original.event_id, original.time))
        elif not self.foreseen.has(correction):
            self.unforeseen = True
            found = correct(self._plan, client, correction)
            if found.comes is not None:
                self.apply(found.kind, found.comes, True)
        elif (key := key_of(kind, original)) in self.foreseen.now and key not in self.foreseen.met:
            self.foreseen.met.add(key)
            client.see(key[1])
            self._instead(client, kind, original)

    def _move_time(self, due: set[str], writes: Sequence[bytes]) -> None:
        for chunk in writes if due else ():
            for write in decode_writes(chunk):
                client = self.clients.get(write.key)
                if client is not None and write.key in due:
                    client.advance(self._plan.layout, unpack(self._plan.layout, write.state).now_ms)

    def put(self, plan: Plan, client: ClientState) -> bool:
        """Put the columns into a client's state; returns whether that changed it."""
        layout = plan.layout
        found, before = self.clients[client.client_id], pack(layout, client)
        found.advance(self._plan.layout, client.now_ms)
        put_columns(layout, client, self._plan.layout, found)
        put_known(client, found, self._names)
        return pack(layout, client) != before


async def _ahead(log_: Log, end: int) -> set[Place]:
    """The records that were refused since they were dated ahead, as far as the ledger reaches back."""
    first, _ = await log_.bounds()
    return {
        place
        async for _, record in log_.read(first, end)
        for step in ledger.decode_unit(record).steps
        for place in step.ahead
    }
