"""Why a request for an advisor was answered as it was, or still waits: each candidate, and what kept it.

Enters: settings, a request's id. Leaves: an Account; lines of text, or plain values.
Holds: nothing is written. What was answered is decided again by the engine's own code, on the pools as the ledger has
them before that unit and by the rule set that the unit names; what waits is evaluated as of now, by the rules given.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from aiokafka import TopicPartition

from engine.advisors import tasks
from engine.advisors.pools import stored_pools
from engine.advisors.tasks import TaskAccount
from engine.core.assign.choice import Candidate, candidates, widened
from engine.core.assign.roster import NOBODY
from engine.core.assign.state import Given, PoolState, Waiting, unpack
from engine.core.contract.message import rfc3339
from engine.core.contract.topics import ADVISORS, ASSIGNMENT_REQUESTS
from engine.core.firm_time import date_of_day, day_of
from engine.core.plan.compile import Plan
from engine.insight.values import ZONE, duration, firm_time
from engine.operations.explain import plan_in_use
from engine.operations.replay import PartitionReplay, Replayed
from engine.processors.assignment import ASSIGNMENT
from engine.runtime.clients import Clients
from engine.runtime.errors import Refused
from engine.runtime.kafka.connection import log_bounds, reader, records_between
from engine.runtime.kafka.history import RecordedInputs
from engine.runtime.partitioning import partitioner
from engine.runtime.protocol.ledger import Unit, decode_unit
from engine.runtime.protocol.writes import Write, decode_writes
from engine.runtime.rule_sets.archive import RuleSetArchive
from engine.runtime.settings import OF_POOLS, Settings

if TYPE_CHECKING:
    from engine.runtime.clients import AnyRedis

NOT_KNOWN: Final = (
    "no pool knows a request {request}: requests have the id of the action of kind assignment that asked, those for a "
    "task their own, as on the topic assignment_requests; answers are kept for 31 days, and one that was withdrawn "
    "before there was an answer leaves nothing"
)


@dataclass(frozen=True, slots=True)
class Account:
    """`given` is None while the request waits. `candidates` are as of `at_ms`, when it was decided last, or now."""

    pool: str
    asked: Waiting
    given: Given | None
    at_ms: int
    less: int  # of each skill, by the step of `widen` that the request had reached
    weight: int
    candidates: tuple[Candidate, ...]
    rule_set: str  # its digest


async def account(settings: Settings, clients: Clients, request: str) -> Account | TaskAccount:
    """Raises Refused for a request that no pool knows, and when what was decided on is not kept any more."""
    own = settings.scoped(*OF_POOLS)
    async with clients.redis(settings) as redis:
        pool, partitions = await _pool_of(redis, own, request)
    waiting = next((one for one in pool.queue if one.request == request), None)
    if waiting is None and not tasks.is_known(pool, request):
        archive = RuleSetArchive(own, clients)
        await archive.read()
        return await _Again(own, clients, archive, partitions, pool).account(request)
    plan = await plan_in_use(settings, clients)
    pool.now_ms = max(pool.now_ms, clients.wall_ms())
    return looked_at(plan, pool, waiting, None) if waiting is not None else tasks.looked_at(plan, pool, request)


def looked_at(plan: Plan, pool: PoolState, asked: Waiting, given: Given | None) -> Account:
    roster = plan.pools.roster if plan.pools is not None else NOBODY
    declared = roster.pools.get(pool.name)
    less = widened(declared, pool.now_ms - asked.asked_ms).by if declared is not None else 0
    found = tuple(candidates(roster, pool, asked))
    weight = roster.weight(asked.tier)
    return Account(pool.name, asked, given, pool.now_ms, less, weight, found, plan.rule_set.digest)


async def _pool_of(redis: AnyRedis, own: Settings, request: str) -> tuple[PoolState, int]:
    partitions = 0
    async for partitions, pool in stored_pools(redis, own.scope):
        waits = any(one.request == request for one in pool.queue)
        if waits or request in pool.answers or tasks.is_known(pool, request):
            return pool, partitions
    raise Refused(NOT_KNOWN.format(request=request))


class _Again:
    """Decides the unit that answered a request again."""

    def __init__(
        self, own: Settings, clients: Clients, archive: RuleSetArchive, partitions: int, pool: PoolState
    ) -> None:
        self._own, self._clients, self._archive = own, clients, archive
        self._partitions, self._pool = partitions, pool
        self._number = partitioner(partitions)(pool.name.encode())
        self._before: dict[str, Write] = {}

    async def account(self, request: str) -> Account:
        tp = TopicPartition(self._own.ledger_topic, self._number)
        first, end = await log_bounds(self._own, self._clients, tp)
        async with reader(self._own, self._clients) as consumer, reader(self._own, self._clients) as source:
            records = [
                (r.offset, r.value) async for r in self._unit_of(request, records_between(consumer, tp, first, end))
            ]
            if not records:
                raise Refused(self._gone(request, "the ledger"))
            unit = decode_unit(records[-1][1])
            inputs = RecordedInputs(self._own, source, self._number, whole=True, ranked=ASSIGNMENT.ranks())
            seen: list[Account] = []
            replay = PartitionReplay(
                ASSIGNMENT,
                self._number,
                inputs,
                self._watching(request, seen),
                self._belongs,
                Replayed(),
                self._partitions,
            )
            replay.states.apply(self._before.values())
            try:
                await inputs.pass_over(_until(unit))
                for offset, value in records:
                    await replay.take(offset, value)
            except Refused as error:
                raise Refused(self._gone(request, ASSIGNMENT_REQUESTS.name)) from error
        if not seen:
            raise Refused(self._gone(request, "this release's way to decide"))
        return seen[-1]

    async def _unit_of(self, request: str, records: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """The records of the unit that has the answer; what pools were before it is noted."""
        chunks: list[Any] = []
        writes: list[Write] = []
        async for record in records:
            unit = decode_unit(record.value)
            chunks.append(record)
            writes += decode_writes(unit.writes)
            if unit.chunk < unit.chunks - 1:
                continue
            after = next((write for write in writes if write.key == self._pool.name), None)
            if after is not None and request in unpack(after.state).answers:
                for chunk in chunks:
                    yield chunk
                return
            self._before |= {write.key: write for write in writes}
            chunks, writes = [], []

    def _watching(self, request: str, seen: list[Account]) -> Any:
        """Plans that note the request each time before it is decided."""
        given = self._pool.answers[request]
        plans: dict[str, Plan] = {}

        def watched(digest: str) -> Plan:
            if digest not in plans:
                plan = self._archive.plan(digest)

                def look(pool: PoolState, asked: Waiting) -> None:
                    if asked.request == request:
                        seen.append(looked_at(plan, pool, asked, given))

                assert plan.pools is not None
                roster = replace(plan.pools.roster, look=look)
                plans[digest] = replace(plan, pools=plan.pools._replace(roster=roster))
            return plans[digest]

        return watched

    def _belongs(self, key: bytes) -> bool:
        return partitioner(self._partitions)(key) == self._number

    def _gone(self, request: str, where: str) -> str:
        given = self._pool.answers[request]
        said = f"was given to {given.advisor}" if given.advisor else "found nobody with room"
        return (
            f"client {given.client} {said} at {firm_time(given.time_ms)} ({ZONE}), by pool {self._pool.name}; who else "
            f"there was cannot be shown: {where} has no more what that was decided on"
        )


def _until(unit: Unit) -> dict[str, tuple[int, int]]:
    """What lies before the unit's inputs."""
    begins: dict[str, int] = {}
    for step in unit.steps:
        for topic, (begin, _) in step.ranges.items():
            begins.setdefault(topic, begin)
    return {topic: (0, begin) for topic, begin in begins.items()}


# -- in words ----------------------------------------------------------------------------------------------------------


def lines(found: Account | TaskAccount) -> Iterator[str]:
    if isinstance(found, TaskAccount):
        yield from tasks.lines(found)
        return
    asked = found.asked
    told = {"tier": asked.tier, "region": asked.region, "language": asked.language}
    of = "".join(f", {name} {value}" for name, value in told.items() if value is not None)
    yield f"request {asked.request}: client {asked.client}{of}, weight {found.weight}"
    if asked.needs:
        less = f", by now {found.less} less" if found.less else ""
        yield f"  needs {', '.join(f'{skill} {level}' for skill, level in asked.needs)}{less}"
    yield f"  asked {firm_time(asked.asked_ms)} of pool {found.pool}, with priority {asked.priority}"
    yield f"  {_outcome(found)}, by rule set {found.rule_set[:12]}"
    if not found.candidates:
        yield "  nobody of advisors.yaml or advisors.csv takes clients of this pool"
    for one in found.candidates:
        yield f"    {one.advisor.name}: {_verdict(found, one)}"


def _outcome(found: Account) -> str:
    if found.given is None:
        return f"waits at {firm_time(found.at_ms)} ({ZONE})"
    waited_ms = found.given.time_ms - found.asked.asked_ms
    when = f"{firm_time(found.given.time_ms)} ({ZONE}), {f'after {duration(waited_ms)}' if waited_ms else 'at once'}"
    return f"{f'given to {found.given.advisor}' if found.given.advisor else 'no capacity'} at {when}"


def _verdict(found: Account, one: Candidate) -> str:
    if one.why_not:
        return f"no, {one.why_not}: {_why(found, one)}"
    load = f"load {one.load + found.weight} of {one.advisor.capacity} with the client"
    if found.given is None:
        return f"could: {load}"
    return (
        f"takes the client: {load}" if one.advisor.name == found.given.advisor else f"could: {load}, no smaller a share"
    )


def _why(found: Account, one: Candidate) -> str:
    advisor, asked = one.advisor, found.asked
    match one.why_not:
        case "refused":
            return "declined the client, did not accept it in time, gave it up, or must not have it any more"
        case "conflict":
            return "must not have this client (not_for)"
        case "absent":
            return f"since {firm_time(advisor.absent_ms or 0)} ({ZONE}), as the topic {ADVISORS.name} says"
        case "left":
            return f"the last day was {advisor.last_day}"
        case "leave":
            leave = advisor.away(date_of_day(day_of(found.at_ms)).isoformat())
            return f"until {leave.last}" if leave is not None else ""
        case "licence":
            return f"held until {advisor.licence_until}"
        case "region":
            return f"takes clients of {', '.join(advisor.regions)}"
        case "language":
            return f"speaks {', '.join(advisor.languages)}"
        case "tier":
            return f"takes clients of tier {', '.join(advisor.tiers)}"
        case "skills":
            has, lacking = dict(advisor.skills), [(s, n) for s, n in asked.needs]
            few = [(skill, level) for skill, level in lacking if has.get(skill, 0) < level - found.less]
            return ", ".join(f"{skill} {has.get(skill, 0)} of {level - found.less}" for skill, level in few)
    return f"load {one.load} of {advisor.capacity}, and the client takes {found.weight}"


def as_json(found: Account | TaskAccount) -> dict[str, Any]:
    if isinstance(found, TaskAccount):
        return tasks.as_json(found)
    asked, given = found.asked, found.given
    return {
        "request_id": asked.request,
        "client_id": asked.client,
        "pool": found.pool,
        "asked": rfc3339(asked.asked_ms),
        "tier": asked.tier,
        "region": asked.region,
        "language": asked.language,
        "needs": dict(asked.needs),
        "less": found.less,
        "weight": found.weight,
        "priority": asked.priority,
        "outcome": "waits" if given is None else "assigned" if given.advisor else "no_capacity",
        "advisor_id": given.advisor or None if given is not None else None,
        "decided": rfc3339(found.at_ms),
        "rule_set": found.rule_set,
        "candidates": [
            {
                "advisor_id": one.advisor.name,
                "load": one.load,
                "capacity": one.advisor.capacity,
                "why_not": one.why_not or None,
                "because": _why(found, one) if one.why_not else None,
            }
            for one in found.candidates
        ],
    }
