"""An advisor leaves: who gets the clients, and the requests that give them on.

Enters: settings, an advisor's id. Leaves: a Handover; lines of text, or plain values; records on the topic of requests.
Holds: the plan is made by the engine's own code, on the pool as Redis has it and by the active rules; a request that is
published again changes nothing, since the client is another advisor's then.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from engine.advisors.pools import stored_pools
from engine.core.assign.choice import HANDOVER, pass_on
from engine.core.assign.roster import NOBODY, Roster
from engine.core.assign.staff import staff
from engine.core.assign.state import PoolState, pack, unpack
from engine.core.contract.message import rfc3339
from engine.core.contract.topics import ASSIGNMENT_REQUESTS
from engine.operations.explain import plan_in_use
from engine.operations.record_file import send
from engine.runtime.clients import Clients
from engine.runtime.errors import Refused
from engine.runtime.settings import OF_POOLS, Settings

SHOWN: Final = 20  # clients in the text; --json has all


@dataclass(slots=True)
class Handover:
    advisor: str
    pool: str
    takes_more: bool  # the roster lets the advisor have new clients
    steps: list[tuple[str, str, str | None]] = field(default_factory=list)  # client, request, who gets it
    before: dict[str, int] = field(default_factory=dict)  # advisor -> load
    after: dict[str, int] = field(default_factory=dict)
    capacity: dict[str, int] = field(default_factory=dict)


async def planned(settings: Settings, clients: Clients, advisor: str) -> Handover:
    """Raises Refused where nobody is in the advisor's book."""
    plan = await plan_in_use(settings, clients)
    roster = plan.pools.roster if plan.pools is not None else NOBODY
    scope = settings.scoped(*OF_POOLS).scope
    async with clients.redis(settings) as redis:
        async for _, pool in stored_pools(redis, scope):
            if any(entry.advisor == advisor for entry in pool.book.values()):
                return plan_of(roster, pool, advisor, clients.wall_ms())
    raise Refused(f"no client of {advisor} is in the book of a pool; whom your profiles gave clients, they take them")


def plan_of(roster: Roster, pool: PoolState, advisor: str, at_ms: int) -> Handover:
    """`pool` stays as it is."""
    tried = unpack(pack(pool))
    of_pool = staff(roster, pool)
    stays = any(one.name == advisor and one.last_day is None for one in of_pool)
    found = Handover(advisor, pool.name, stays, capacity={one.name: one.capacity for one in of_pool})
    names = sorted({*found.capacity, advisor})
    found.before = {name: pool.loads[name] for name in names}
    for client, entry in sorted(pool.book.items()):
        if entry.advisor == advisor:
            pass_on(roster, tried, entry.request, client, advisor, max(at_ms, tried.now_ms), HANDOVER)
            now = tried.book[client].advisor
            found.steps.append((client, entry.request, now if now != advisor else None))
    found.after = {name: tried.loads[name] for name in names}
    return found


def requests(found: Handover, at_ms: int) -> Iterator[bytes]:
    """What is to be published, in order, as lines of ndjson. Clients whom nobody can take stay."""
    for client, request, to in found.steps:
        if to is not None:
            named = f"{HANDOVER}\0{request}\0{found.advisor}"
            record = {
                "event_id": hashlib.blake2b(named.encode(), digest_size=16).hexdigest(),
                "client_id": found.pool,
                "time": rfc3339(at_ms),
                "kind": HANDOVER,
                "request_id": request,
                "client": client,
                "advisor_id": found.advisor,
            }
            yield json.dumps({"topic": ASSIGNMENT_REQUESTS.name, "key": found.pool, "value": record}).encode()


async def publish(settings: Settings, clients: Clients, found: Handover, per_second: int) -> int:
    """At so many clients a second; how many there were."""
    return await send(settings, clients, requests(found, clients.wall_ms()), per_second)


# -- in words ----------------------------------------------------------------------------------------------------------


def lines(found: Handover) -> Iterator[str]:
    to = [to for _, _, to in found.steps if to is not None]
    yield f"{found.advisor} of pool {found.pool}: {len(found.steps)} clients, {len(to)} can be given on"
    if found.takes_more:
        yield f"  {found.advisor} gets new clients still: say last_day first, in advisors.yaml or on the topic advisors"
    yield "  load before and after"
    for name, before in found.before.items():
        of = f" of {found.capacity[name]}" if name in found.capacity else ""
        gets = f", gets {to.count(name)}" if name in to else ""
        yield f"    {name}: {before} -> {found.after[name]}{of}{gets}"
    for client, _, who in found.steps[:SHOWN]:
        yield f"  {client} -> {who or 'nobody has room, or is apt'}"
    if len(found.steps) > SHOWN:
        yield f"  and {len(found.steps) - SHOWN} more"


def as_json(found: Handover) -> dict[str, Any]:
    return {
        "advisor_id": found.advisor,
        "pool": found.pool,
        "takes_more": found.takes_more,
        "clients": [{"client_id": client, "request_id": request, "to": to} for client, request, to in found.steps],
        "before": found.before,
        "after": found.after,
        "capacity": found.capacity,
    }
