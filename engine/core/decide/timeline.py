"""Who is due: events and timers of many clients in order of time, as in a live engine whose ticks come in time.

Enters: events in the order in which they came. Leaves: what each, and each client that fell due before it, led to.
Holds: time is the latest event's own; a client is woken at its own due time, before the event that is later. What a
client asks of its advisor's pool, or a budget, is answered at once, and taken in before anything else happens; pools
are woken as clients are. All clients are of one partition; rates are not asked.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, MutableMapping
from typing import Any

from engine.core.assign.budgets import BudgetState
from engine.core.assign.state import PoolState
from engine.core.client.state import ClientState
from engine.core.contract.events import Event
from engine.core.contract.granting import BUDGET
from engine.core.contract.message import Message
from engine.core.contract.topics import ADVISORS, ASSIGNMENT_REQUESTS, BUDGET_REQUESTS, TOPICS
from engine.core.decide import pools
from engine.core.decide.path import Decided, Due, Input, Sweep, decide
from engine.core.firm_time import NEVER_MS
from engine.core.pace import Pace
from engine.core.plan.compile import Plan
from engine.core.policy.rates import Funds


class Timeline:
    """The clients of one plan, and a queue of when they are due. Without `pools` nobody answers what they ask for. With
    neither pools nor `funds`, which is what is known of budgets at the beginning, no budget is asked.
    """

    def __init__(
        self,
        plan: Plan,
        states: MutableMapping[str, ClientState],
        pools: dict[str, PoolState] | None = None,
        funds: Funds | None = None,
    ) -> None:
        self.plan = plan
        self.states = states
        self.pools = pools
        self.budgets: dict[str, BudgetState] = {}
        self._pace = Pace(asks_rates=False) if pools is not None or funds is not None else None
        if funds is not None and self._pace is not None:
            self._begin(funds, self._pace)
        self.reached_ms = 0
        self._queue = [(client.due_ms, False, client_id) for client_id, client in states.items()]  # and whether a pool
        heapq.heapify(self._queue)

    def _begin(self, funds: Funds, pace: Pace) -> None:
        """What had been asked for is asked for again."""
        for name in funds.pace.budgets():
            block = funds.pace.block(name)
            pace.keep(name, block._replace(request="", late=()) if block is not None else None)
        for name, granted in funds.granted.items():
            budget = self.budgets[BUDGET + name] = BudgetState(BUDGET + name, 0)
            budget.periods.update(granted)

    def sweep(self, client_id: str, at_ms: int) -> Iterator[Decided]:
        """Evaluate a client as after a publication."""
        yield from self._settled(self._decided(Sweep(client_id, at_ms)))

    def take(self, topic: str, event: Event) -> Iterator[Decided]:
        """What fell due before the event, then the event."""
        yield from self.reach(event.time)
        taken = self._asked(event) if topic == ADVISORS.name else self._decided((topic, event))
        yield from self._settled(taken)

    def reach(self, until_ms: int) -> Iterator[Decided]:
        """Wake every client that is due up to a moment, in the order of time."""
        self.reached_ms = max(self.reached_ms, until_ms)
        while self._queue and self._queue[0][0] <= self.reached_ms:
            due_ms, of_pool, name = heapq.heappop(self._queue)
            if of_pool:
                yield from self._woken(name, due_ms)
            elif self.states[name].due_ms == due_ms:  # else another entry says when
                yield from self._settled(self._decided(Due(name, due_ms)))

    def _settled(self, decided: Decided) -> Iterator[Decided]:
        """This, and what its requests and answers lead to, first come, first served, as both topics have them."""
        waiting = deque([decided])
        while waiting:
            decided = waiting.popleft()
            yield decided
            if self._pace is None:
                continue
            for message in decided.messages:
                if message.topic == ASSIGNMENT_REQUESTS.name and self.pools is not None:
                    waiting.append(self._asked(ASSIGNMENT_REQUESTS.validate(message.value)))
                elif message.topic == BUDGET_REQUESTS.name:
                    wanted: Any = BUDGET_REQUESTS.validate(message.value)
                    granted = pools.ask_budget(self.plan.budgets, self.budgets, wanted, 1)
                    waiting += [Decided(messages=granted)] if granted else []
                elif message.topic in (pools.ANSWERS, pools.OF_BUDGETS):
                    waiting.append(self._decided((message.topic, TOPICS[message.topic].validate(message.value))))

    def _decided(self, item: Input) -> Decided:
        decided = decide(self.plan, self.states, [item], pace=self._pace)
        for client_id, client in decided.changed.items():
            if client.due_ms < NEVER_MS:
                heapq.heappush(self._queue, (client.due_ms, False, client_id))
        return decided

    def _asked(self, asked: Any) -> Decided:
        """A pool hears of a client or of an advisor."""
        if self.plan.pools is None or self.pools is None:
            return Decided()
        answers = pools.take(self.plan.pools.roster, self.pools, asked)
        return self._answered(self.pools[asked.client_id], answers)

    def _woken(self, name: str, due_ms: int) -> Iterator[Decided]:
        if self.plan.pools is not None and self.pools is not None and self.pools[name].due_ms == due_ms:
            pool = self.pools[name]
            yield from self._settled(self._answered(pool, pools.reach(self.plan.pools.roster, pool, due_ms)))

    def _answered(self, pool: PoolState, answers: list[Message]) -> Decided:
        if pool.due_ms < NEVER_MS:
            heapq.heappush(self._queue, (pool.due_ms, True, pool.name))
        return Decided(messages=answers)
