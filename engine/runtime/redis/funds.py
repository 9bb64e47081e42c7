"""What is left of budgets, for a client.

Enters: a Redis, settings, the client. Leaves: its partition's part of each budget, and what of each was granted.
Holds: reads only. The two are read one after the other: between them a part can be granted, and seem to be missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from engine.core.assign.budgets import unpack
from engine.core.contract.granting import BUDGET
from engine.core.pace import Pace
from engine.core.plan.compile import Plan
from engine.core.policy.rates import Funds
from engine.runtime.partitioning import partitioner
from engine.runtime.protocol.position import Position
from engine.runtime.protocol.writes import STATE_FIELD
from engine.runtime.redis.errors import redis_errors
from engine.runtime.redis.keys import client_key
from engine.runtime.redis.pins import is_pinned, pinned_partitions
from engine.runtime.redis.store import RedisStore
from engine.runtime.settings import OF_POOLS, Settings

if TYPE_CHECKING:
    from engine.runtime.clients import AnyRedis


async def funds_for(redis: AnyRedis, settings: Settings, plan: Plan, client_id: str) -> Funds:
    """Raises Refused where no worker has run."""
    number = partitioner(await pinned_partitions(redis, settings.app_id))(client_id.encode())
    position = Position.read(await RedisStore(redis, settings.app_id, number).position())
    pace, scope = Pace(dict(position.end.pace), asks_rates=False), settings.scoped(*OF_POOLS).scope
    if not await is_pinned(redis, scope):
        return Funds(pace, {})
    granted, partition_of = {}, partitioner(await pinned_partitions(redis, scope))
    for name in plan.budgets:
        key = BUDGET + name
        with redis_errors():
            packed = await redis.hget(client_key(scope, partition_of(key.encode()), key), STATE_FIELD)  # type: ignore[misc]
        if packed is not None:
            granted[name] = dict(unpack(cast(bytes, packed)).periods)
    return Funds(pace, granted)
