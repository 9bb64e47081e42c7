"""The processor of clients: events and rules in, tier changes and actions out.

Enters: what the protocol hands to a Processor. Leaves: what the core makes of it.
Holds: its topics, keys and group have the names that they had before there were processors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from typing import ClassVar, Final

from engine.core.activity.activities import UnreadableState
from engine.core.client.record import listed_by, public_fields, tallied_by
from engine.core.client.sections import pack, unpack
from engine.core.client.state import ClientState, NewerState
from engine.core.contract.events import Event
from engine.core.contract.topics import EVENTS, ranks
from engine.core.decide import path
from engine.core.decide.path import Due, Input, Sweep
from engine.core.decide.semantics import SEMANTICS
from engine.core.learn.columns import plan_of_features, put_columns, put_known
from engine.core.pace import Pace
from engine.core.plan.compile import Plan
from engine.core.reading.decode import Decode, decode, kind_of
from engine.runtime.errors import Newer, Refused
from engine.runtime.protocol.processor import Decided, Processor
from engine.runtime.protocol.writes import Write
from engine.runtime.redis.reading import NO_RULES


class Engagement(Processor[Plan, ClientState, Input]):
    name: ClassVar[str] = "engagement"
    suffix: ClassVar[str] = ""
    semantics: ClassVar[int] = SEMANTICS

    def __init__(self) -> None:
        self._features: tuple[tuple[str, tuple[str, ...]], Plan] | None = None  # of the last backfill

    def ranks(self) -> dict[str, int]:
        return ranks()

    def decoder(self, plan: Plan) -> Decode:
        declared = plan.declared_types
        return lambda topic, key, value, timestamp_ms: decode(topic, key, value, timestamp_ms, declared)

    def arrived(self, events: Sequence[tuple[str, Event]]) -> Sequence[Input]:
        return [pair if pair[0] != EVENTS else (kind_of(*pair), pair[1]) for pair in events]

    def due(self, key: str, time_ms: int) -> Input:
        return Due(key, time_ms)

    def sweep(self, key: str, time_ms: int) -> Input:
        return Sweep(key, time_ms)

    def decide(
        self, plan: Plan, states: MutableMapping[str, ClientState], inputs: Sequence[Input], decided_ms: int, pace: Pace
    ) -> Decided[ClientState]:
        try:
            found = path.decide(plan, states, inputs, decided_ms, pace)
        except UnreadableState as error:  # an activity is read when an event first asks for it
            raise Refused(
                f"a state in Redis cannot be read ({error}). Restore the Redis backup that belongs to this "
                "ledger, or empty Redis and run `engage rebuild`"
            ) from error
        counts = found.counts
        counts.update({("decisions", *about): times for about, times in found.outcomes.items()})
        for (before, after, reason), times in found.moves.items():
            counts["tier_changes", before, after, reason] += times
        tallies: Counter[str] = Counter()
        for client in found.changed.values():
            if more := self.recount(client):
                tallies.update(more)
        return Decided(found.messages, found.changed, counts, tallies)

    def pack(self, plan: Plan, state: ClientState) -> bytes:
        return pack(plan.layout, state)

    def unpack(self, plan: Plan, packed: bytes) -> ClientState:
        try:
            state = unpack(plan.layout, packed)
            state.listed, state.tallied = listed_by(state), tallied_by(state)
            return state
        except NewerState as error:
            raise Newer(str(error)) from error

    def write(self, state: ClientState, packed: bytes) -> Write:
        listed, before = listed_by(state), state.listed
        moved = None if listed == before else before or ()
        state.listed = listed
        # where nothing is left of it, that is written, too
        places = listed[-1] if listed[-1] or (before and before[-1]) else None
        return Write(state.client_id, state.due_ms, packed, public_fields(state, places), moved)

    def recount(self, state: ClientState) -> Mapping[str, int]:
        now, before = tallied_by(state), state.tallied
        if now == before:
            return {}
        state.tallied = now
        more = Counter(now)
        more.subtract(before)
        return more

    def digest(self, plan: Plan) -> str:
        return plan.rule_set.digest

    def swept_by(self, plan: Plan) -> str:
        return plan.timed.digest

    @property
    def bare_plan(self) -> Plan:
        return NO_RULES

    def refill(self, plan: Plan, state: ClientState, packed: bytes, names: Collection[str]) -> None:
        key = plan.rule_set.digest, tuple(sorted(names))
        if self._features is None or self._features[0] != key:
            self._features = key, plan_of_features(plan.rule_set, names)
        layout = self._features[1].layout
        found = unpack(layout, packed)
        put_columns(plan.layout, state, layout, found)
        put_known(state, found, names)


ENGAGEMENT: Final = Engagement()
