"""Clients by what they are listed under: tier, segment, advisor, stage; what staff have to do; pools by their names.

Enters: a Redis, and values of LISTED fields, or names. Leaves: pages of client ids; open work; fields of pools.
Holds: reads only, page by page. A client that has all the values from beginning to end of the reading is named, once.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from engine.runtime.protocol.writes import PASSING
from engine.runtime.redis.errors import redis_errors
from engine.runtime.redis.keys import client_key, list_key, work_key
from engine.runtime.redis.pins import pinned_partitions

if TYPE_CHECKING:
    from engine.runtime.clients import AnyRedis

PAGE: Final = 1000
WORK: Final = PASSING[0]


async def listed_clients(redis: AnyRedis, app_id: str, values: Mapping[str, str]) -> AsyncIterator[list[str]]:
    """The ids of all clients with these values, at least one of them, partition by partition."""
    for partition in range(await pinned_partitions(redis, app_id)):
        keys = [list_key(app_id, partition, field, value) for field, value in values.items()]
        async for page in _of_partition(redis, keys):
            yield page


async def open_work(redis: AnyRedis, app_id: str, whose: str, limit: int | None = None) -> list[dict[str, Any]]:
    """What is open for a team (team:<name>) or an advisor (advisor:<id>), the most urgent first, of equal priority the
    oldest; as the clients' records have it. What ends while this reads is left out.
    """
    placed: list[tuple[float, str, str, int]] = []
    for partition in range(await pinned_partitions(redis, app_id)):
        key, last = work_key(app_id, partition, whose), -1 if limit is None else limit - 1
        with redis_errors():
            members = cast("list[tuple[bytes, float]]", await redis.zrange(key, 0, last, withscores=True))
        for member, place in members:
            action, _, client_id = member.decode().partition(" ")
            placed.append((place, action, client_id, partition))
    placed = sorted(placed) if limit is None else heapq.nsmallest(limit, placed)
    found = []
    for _, action, client_id, partition in placed:
        with redis_errors():
            work = cast(bytes | None, await redis.hget(client_key(app_id, partition, client_id), WORK))  # type: ignore[misc]
        found += [one for one in json.loads(work or b"[]") if one["action_id"] == action]
    return found


async def work_of(redis: AnyRedis, app_id: str, whose: str) -> int:
    """How much is open."""
    found = 0
    for partition in range(await pinned_partitions(redis, app_id)):
        with redis_errors():
            found += await redis.zcard(work_key(app_id, partition, whose))
    return found


async def shown_of_pools(
    redis: AnyRedis, scope: str, partitions: Mapping[str, int], fields: Sequence[str]
) -> dict[str, dict[str, str]]:
    """Public fields of pools, by pool, those that it has; of those that were ever asked. `partitions`: of each pool."""
    found = {}
    for name, number in partitions.items():
        with redis_errors():
            values = cast(list[bytes | None], await redis.hmget(client_key(scope, number, name), list(fields)))
        if values[0] is not None:
            found[name] = {field: v.decode() for field, v in zip(fields, values, strict=True) if v is not None}
    return found


async def _of_partition(redis: Any, keys: list[str]) -> AsyncIterator[list[str]]:
    """Goes through the shortest list, and asks the others."""
    with redis_errors():
        sizes = {key: cast(int, await redis.scard(key)) for key in keys}
        shortest, *others = sorted(keys, key=lambda key: sizes[key])
        if not sizes[shortest]:
            return
        named: set[bytes] = set()  # a scan can name a member twice
        cursor = -1
        while cursor:
            cursor, found = await redis.sscan(shortest, max(cursor, 0), count=PAGE)
            page = [member for member in dict.fromkeys(found) if member not in named]
            named.update(page)
            for key in others:
                if page:
                    holds = await redis.smismember(key, page)
                    page = [member for member, held in zip(page, holds, strict=True) if held]
            if page:
                yield [member.decode() for member in page]
