"""Whether Redis evicts keys when its memory is full: the state has no copy that is as quick to read.

Enters: a Redis, and what the settings say of it. Leaves: a refusal at the start, a warning while a worker runs.
Holds: any policy but noeviction is refused: whether a key can be evicted would hang on who has set an expiry on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog
from redis.exceptions import ResponseError

from engine.runtime.errors import Refused
from engine.runtime.redis.errors import redis_errors

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from engine.runtime.clients import AnyRedis

log = structlog.get_logger(__name__)

KEEPS_ALL: Final = "noeviction"
REMEDY: Final = (
    "set its maxmemory-policy to noeviction (CONFIG SET, its configuration file, or its provider's settings)"
)
UNKNOWN: Final = (
    "Redis does not say its maxmemory-policy (INFO and CONFIG GET are forbidden or unknown there): make sure that it "
    "is noeviction, and set redis_never_evicts"
)


async def policies(redis: AnyRedis) -> list[str | None]:
    """The maxmemory-policy of each server that holds keys."""
    with redis_errors():
        async with redis.primaries() as servers:
            return [await _policy(server) for server in servers]


async def _policy(server: Redis) -> str | None:
    """None where neither INFO nor CONFIG GET says it: rights or the service may forbid both."""
    try:
        with redis_errors():
            found = (await server.info("memory")).get("maxmemory_policy")
    except (ResponseError, Refused):
        found = None
    if found is None:
        try:
            with redis_errors():
                found = (await server.config_get("maxmemory-policy")).get("maxmemory-policy")
        except (ResponseError, Refused):
            return None
    return None if found is None else str(found)


def _evicts(found: list[str | None]) -> str | None:
    """What is wrong with these policies, if anything is known to be."""
    for policy in found:
        if policy not in (None, KEEPS_ALL):
            text = f"maxmemory-policy {policy}"
            return f"Redis evicts keys when its memory is full ({text}), and clients with them: {REMEDY}"
    return None


async def refuse_eviction(redis: AnyRedis) -> None:
    """Raises Refused when Redis is known to evict."""
    if fault := _evicts(await policies(redis)):
        raise Refused(fault)


class EvictionWatch:
    """What is known of it while a worker runs. `stated`: the settings say that it never evicts."""

    def __init__(self, redis: AnyRedis, stated: bool) -> None:
        self._redis = redis
        self._stated = stated
        self.warning: str | None = None
        self.evicts = False

    async def look(self) -> None:
        found = await policies(self._redis)
        before, self.warning = self.warning, _evicts(found)
        self.evicts = self.warning is not None
        if self.warning is None and None in found and not self._stated:
            self.warning = UNKNOWN
        if self.warning is not None and self.warning != before:
            log.warning(self.warning)
        elif before is not None and self.warning is None:
            log.info("Redis keeps all keys")
