"""Pools as Redis holds them, for commands.

Enters: a Redis, the scope of the processor of pools. Leaves: states. Holds: reads only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, cast

from engine.core.assign.state import PoolState, unpack
from engine.core.contract.granting import BUDGET
from engine.runtime.protocol.writes import STATE_FIELD
from engine.runtime.redis.errors import redis_errors
from engine.runtime.redis.keys import client_key, due_key
from engine.runtime.redis.pins import pinned_partitions

if TYPE_CHECKING:
    from engine.runtime.clients import AnyRedis


async def stored_pools(redis: AnyRedis, scope: str) -> AsyncIterator[tuple[int, PoolState]]:
    """Every pool that was ever asked, with the number of partitions. Raises Refused where no worker has run."""
    partitions = await pinned_partitions(redis, scope)
    for number in range(partitions):
        with redis_errors():
            names = cast(list[bytes], await redis.zrange(due_key(scope, number), 0, -1))
        for name in sorted(found.decode() for found in names):
            if name.startswith(BUDGET):
                continue
            with redis_errors():
                packed = cast(bytes | None, await redis.hget(client_key(scope, number, name), STATE_FIELD))
            if packed is not None:
                yield partitions, unpack(packed)
