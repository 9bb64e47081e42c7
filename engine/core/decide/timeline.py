"""Who is due: events and timers of many clients in order of time, as in a live engine whose ticks come in time.

Enters: events in the order in which they came. Leaves: what each, and each client that fell due before it, led to.
Holds: time is the latest event's own; a client is woken at its own due time, before the event that is later.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, MutableMapping

from engine.core.client.state import ClientState
from engine.core.contract.events import Event
from engine.core.decide.path import Decided, Due, decide
from engine.core.firm_time import NEVER_MS
from engine.core.plan.compile import Plan


class Timeline:
    """The clients of one plan, and a queue of when they are due."""

    def __init__(self, plan: Plan, states: MutableMapping[str, ClientState]) -> None:
        self.plan = plan
        self.states = states
        self.reached_ms = 0
        self._queue = [(client.due_ms, client_id) for client_id, client in states.items()]
        heapq.heapify(self._queue)

    def take(self, topic: str, event: Event) -> Iterator[Decided]:
        """What fell due before the event, then the event."""
        yield from self.reach(event.time)
        yield self._decided(decide(self.plan, self.states, [(topic, event)]))

    def reach(self, until_ms: int) -> Iterator[Decided]:
        """Wake every client that is due up to a moment, in the order of time."""
        self.reached_ms = max(self.reached_ms, until_ms)
        while self._queue and self._queue[0][0] <= self.reached_ms:
            due_ms, client_id = heapq.heappop(self._queue)
            if self.states[client_id].due_ms == due_ms:  # else another entry says when
                yield self._decided(decide(self.plan, self.states, [Due(client_id, due_ms)]))

    def _decided(self, decided: Decided) -> Decided:
        for client_id, client in decided.changed.items():
            if client.due_ms < NEVER_MS:
                heapq.heappush(self._queue, (client.due_ms, client_id))
        return decided
