"""The processor of pools and budgets: requests for advisors, and for parts of budgets, in; answers out.

Enters: what the protocol hands to a Processor. Leaves: what core/assign makes of it.
Holds: its keys are pools, and budgets by their name behind BUDGET; its topics, group, ledger and keys of Redis are its
own; roster and limits are those of the rule set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, cast

from engine.core.assign import budgets
from engine.core.assign.budgets import BudgetState
from engine.core.assign.roster import NOBODY, Roster
from engine.core.assign.state import NewerPool, PoolState, pack, unpack
from engine.core.contract.events import Event
from engine.core.contract.granting import AdvisorChange, AssignmentRequest, BudgetRequest
from engine.core.contract.message import rfc3339
from engine.core.contract.topics import ADVISORS, BUDGET_REQUESTS, POOL_TOPICS, REROUTED, REROUTED_RANK
from engine.core.decide import pools
from engine.core.firm_time import NEVER_MS
from engine.core.pace import Pace
from engine.core.plan.compile import Plan
from engine.core.reading.decode import Decode, Rejected, Taken, decode
from engine.core.rules.meaning import meaning
from engine.runtime.errors import Newer
from engine.runtime.protocol.processor import Decided, Processor
from engine.runtime.protocol.writes import Write
from engine.runtime.redis.reading import NO_RULES
from engine.runtime.settings import OF_POOLS

State = PoolState | BudgetState


@dataclass(frozen=True, slots=True)
class Moment:
    """Time has reached this, or the roster is another one since."""

    pool: str
    time_ms: int
    swept: bool


@dataclass(frozen=True, slots=True)
class ToBudget:
    """A request to a budget: as it is read quickly, it has no class of its own."""

    request: BudgetRequest


Input = AssignmentRequest | AdvisorChange | ToBudget | Moment


class AssignmentProcessor(Processor[Plan, State, Input]):
    name: ClassVar[str] = OF_POOLS[0]
    suffix: ClassVar[str] = OF_POOLS[1]
    semantics: ClassVar[int] = 2

    def __init__(self) -> None:
        self._roster: tuple[Plan, str] | None = None  # and what names its roster

    def ranks(self) -> dict[str, int]:
        return {topic.name: topic.rank for topic in POOL_TOPICS.values()} | {REROUTED: REROUTED_RANK}

    def decoder(self, plan: Plan) -> Decode:
        def decoded(topic: str, key: bytes | None, value: bytes | None, timestamp_ms: int) -> Taken | Rejected:
            found = decode(topic, key, value, timestamp_ms, POOL_TOPICS)
            return pools.read_change(_roster(plan), found) if topic == ADVISORS.name else found

        return decoded

    def arrived(self, events: Sequence[tuple[str, Event]]) -> Sequence[Input]:
        return [
            ToBudget(cast(BudgetRequest, event))
            if topic == BUDGET_REQUESTS.name
            else cast(AssignmentRequest | AdvisorChange, event)
            for topic, event in events
        ]

    def due(self, key: str, time_ms: int) -> Input:
        return Moment(key, time_ms, swept=False)

    def sweep(self, key: str, time_ms: int) -> Input:
        return Moment(key, time_ms, swept=True)

    def decide(
        self, plan: Plan, states: MutableMapping[str, State], inputs: Sequence[Input], decided_ms: int, pace: Pace
    ) -> Decided[State]:
        decided: Decided[State] = Decided()
        roster = _roster(plan)
        for item in inputs:
            if isinstance(item, ToBudget):
                known, asked = cast(MutableMapping[str, BudgetState], states), item.request
                decided.messages += pools.ask_budget(plan.budgets, known, asked, pace.partitions)
                decided.changed[asked.client_id] = states[asked.client_id]
            elif not isinstance(item, Moment):
                decided.messages += pools.take(roster, cast(MutableMapping[str, PoolState], states), item)
                decided.changed[item.client_id] = states[item.client_id]
            elif isinstance(pool := states.get(item.pool), PoolState) and (item.swept or pool.due_ms <= item.time_ms):
                decided.messages += (pools.sweep if item.swept else pools.reach)(roster, pool, item.time_ms)
                decided.changed[pool.name] = pool
        return decided

    def pack(self, plan: Plan, state: State) -> bytes:
        return budgets.pack(state) if isinstance(state, BudgetState) else pack(state)

    def unpack(self, plan: Plan, packed: bytes) -> State:
        try:
            return budgets.unpack(packed) if packed.startswith(budgets.FORM) else unpack(packed)
        except NewerPool as error:
            raise Newer(str(error)) from error

    def write(self, state: State, packed: bytes) -> Write:
        """Other systems read how loaded a pool is, and since when somebody waits; how much of a budget is granted."""
        if isinstance(state, BudgetState):
            told = {"period": state.period, "granted": str(state.granted), "updated_at": rfc3339(state.now_ms)}
            return Write(state.name, NEVER_MS, packed, told, None)
        public = {
            "clients": str(len(state.book)),
            "capacity": str(state.capacity),
            "absent": str(state.absent),
            "load": str(sum(state.loads.values())),
            "waiting": str(len(state.queue)),
            "waits_since": rfc3339(min(one.asked_ms for one in state.queue)) if state.queue else "",
            "updated_at": rfc3339(state.now_ms),
        }
        if state.tasks or state.ended:
            open_tasks = state.open.total()
            public |= {"open_tasks": str(open_tasks), "queued_tasks": str(len(state.tasks) - open_tasks)}
        return Write(state.name, state.due_ms, packed, public, None)

    def recount(self, state: State) -> Mapping[str, int]:
        return {}

    def digest(self, plan: Plan) -> str:
        return plan.rule_set.digest

    def swept_by(self, plan: Plan) -> str:
        """The roster: a queue may be served by another one."""
        if self._roster is None or self._roster[0] is not plan:
            told = repr((meaning(plan.rule_set.assignment), meaning(plan.rule_set.advisors)))
            self._roster = plan, hashlib.sha256(told.encode()).hexdigest()
        return self._roster[1]

    @property
    def bare_plan(self) -> Plan:
        return NO_RULES


def _roster(plan: Plan) -> Roster:
    return plan.pools.roster if plan.pools is not None else NOBODY


ASSIGNMENT: Final = AssignmentProcessor()
