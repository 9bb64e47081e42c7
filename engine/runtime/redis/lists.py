"""Clients by what they are listed under: tier, segment, advisor, stage; pools by their names.

Enters: a Redis, and values of LISTED fields, or names. Leaves: pages of client ids; fields of pools.
Holds: reads only, page by page. A client that has all the values from beginning to end of the reading is named, once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from engine.runtime.redis.errors import redis_errors
from engine.runtime.redis.keys import client_key, list_key
from engine.runtime.redis.pins import pinned_partitions

if TYPE_CHECKING:
    from engine.runtime.clients import AnyRedis

PAGE: Final = 1000


async def listed_clients(redis: AnyRedis, app_id: str, values: Mapping[str, str]) -> AsyncIterator[list[str]]:
    """The ids of all clients with these values, at least one of them, partition by partition."""
    for partition in range(await pinned_partitions(redis, app_id)):
        keys = [list_key(app_id, partition, field, value) for field, value in values.items()]
        async for page in _of_partition(redis, keys):
            yield page


async def shown_of_pools(
    redis: AnyRedis, scope: str, partitions: Mapping[str, int], fields: Sequence[str]
) -> dict[str, dict[str, str]]:
    """Public fields of pools, by pool; of those that were ever asked. `partitions`: of each pool."""
    found = {}
    for name, number in partitions.items():
        with redis_errors():
            values = cast(list[bytes | None], await redis.hmget(client_key(scope, number, name), list(fields)))
        if None not in values:
            found[name] = {field: (value or b"").decode() for field, value in zip(fields, values, strict=True)}
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
