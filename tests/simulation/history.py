"""What features come to over a partition's whole past: the auditor's own answer to a backfill.

Enters: every event that was decided, with the client's time before it; names of features. Leaves: their columns.
Holds: it decides nothing but these features, by `decide`, with `plan_of_features` and `put_columns` of the core, which
the engine's backfill and replay use too; it knows nothing of how a backfill reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from engine.core.client.sections import pack, unpack
from engine.core.client.state import ClientState, Layout
from engine.core.decide.path import decide
from engine.core.learn.columns import put_columns, put_known
from engine.core.plan.compile import Plan
from engine.processors.columns import Columns
from tests.simulation.commands import Claim
from tests.simulation.plans import features_once, plan_of


class History:
    def __init__(self, names: Iterable[str], claims: list[Claim]) -> None:
        self.plan: Plan = features_once(plan_of(0).rule_set, names)
        self.claims = claims  # not seen to be true yet
        self._were_filled: dict[Claim, set[str]] = {claim: set() for claim in claims}  # clients, once within the claim
        self._clients: dict[str, ClientState] = {}
        self._past: dict[str, list[tuple[str, Any, int]]] = {}  # by client
        self._corrected: set[str] = set()  # clients

    def take(self, topic: str, event: Any, time_ms: int) -> None:
        self._past.setdefault(event.client_id, []).append((topic, event, time_ms))
        if topic == "corrections":
            self._corrected.add(event.client_id)
        if (
            event.client_id in self._clients
        ):  # timers have moved the client's time: duplicates from before may be forgotten
            self._clients[event.client_id].advance(self.plan.layout, time_ms)
        if topic in self.plan.facts and topic != "corrections":
            decide(self.plan, self._clients, [(topic, event)])
        else:  # of a type that these rules do not declare: only time passed
            known = self._clients.setdefault(
                event.client_id, ClientState(self.plan.layout, event.client_id, event.time)
            )
            known.advance(self.plan.layout, event.time)

    def put(self, layout: Layout, client: ClientState) -> None:
        """Put the columns into a client's state."""
        found = self._clients[client.client_id]
        if client.client_id in self._corrected:
            found = self._as_it_was(client.client_id)
        found.advance(self.plan.layout, client.now_ms)
        put_columns(layout, client, self.plan.layout, found)
        put_known(client, found, [feature.name for feature in self.plan.rule_set.features])

    async def _declared_by(self, _rule_set: str) -> Any:
        return self.plan.declared_types

    def _as_it_was(self, client_id: str) -> ClientState:
        """With all corrections known from the start, as a backfill reads it."""
        columns = Columns(self.plan, lambda _: True, lambda _: True, self._declared_by)
        for topic, event, _ in self._past[client_id]:
            if topic == "corrections":
                columns.foreseen.add(event)
        for topic, event, time_ms in self._past[client_id]:
            if client_id in columns.clients:
                columns.clients[client_id].advance(self.plan.layout, time_ms)
            columns.apply(topic, event, topic in self.plan.facts)
        return columns.clients[client_id]

    def look(self, first: int, last: int, states: dict[str, bytes]) -> None:
        """The states from one ledger offset to another: a claim is true when they held it at some time meant, but for
        clients whose events were corrected since they held it.
        """
        meant = [claim for claim in self.claims if first <= claim.last and last >= claim.first]
        if not meant:
            return
        filled = {client_id for client_id, state in states.items() if self._filled(state)}
        others = states.keys() - filled
        unknown = {client_id for client_id in others if self._is_unknown(states[client_id])}
        for claim in meant:
            self._were_filled[claim] |= filled
            if others <= unknown & self._were_filled[claim]:
                self.claims.remove(claim)

    def _is_unknown(self, state: bytes) -> bool:
        """Whether a correction left one of the features unknown."""
        names = {feature.name for feature in self.plan.rule_set.features}
        return not names.isdisjoint(unpack(self.plan.layout, state).unknown_until)

    def _filled(self, state: bytes) -> bool:
        layout = self.plan.layout
        client, filled = unpack(layout, state), unpack(layout, state)
        self.put(layout, filled)
        for source in layout.sources:
            activity, found = client.activities[source], filled.activities[source]
            if activity.unsure_ms:  # corrections came since: when the last event came is no part of a column
                found.last_ms, found.unsure_ms, found.packed = activity.last_ms, activity.unsure_ms, None
        return pack(layout, filled) == pack(layout, client)
