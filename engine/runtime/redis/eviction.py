"""Whether Redis evicts keys when its memory is full: the state has no copy that is as quick to read.

Enters: a Redis, and what the settings say of it. Leaves: a refusal at the start, a warning while a worker runs.
Holds: any policy but noeviction is refused: whether a key can be evicted would hang on who has set an expiry on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog
from redis.exceptions import ResponseError

from engine.runtime.errors import Refused
from engine.runtime.redis.store import redis_errors

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = structlog.get_logger(__name__)

KEEPS_ALL: Final = "noeviction"
REMEDY: Final = (
    "set its maxmemory-policy to noeviction (CONFIG SET, its configuration file, or its provider's settings)"
)
UNKNOWN: Final = (
    "Redis does not say its maxmemory-policy (INFO and CONFIG GET are forbidden or unknown there): make sure that it "
    "is noeviction, and set redis_never_evicts"
)


async def policy(redis: Redis) -> str | None:
    """The maxmemory-policy; None where neither INFO nor CONFIG GET says it: rights or the service may forbid both."""
    try:
        with redis_errors():
            found = (await redis.info("memory")).get("maxmemory_policy")
    except (ResponseError, Refused):
        found = None
    if found is None:
        try:
            with redis_errors():
                found = (await redis.config_get("maxmemory-policy")).get("maxmemory-policy")
        except (ResponseError, Refused):
            return None
    return None if found is None else str(found)


def _evicts(found: str) -> str:
    return f"Redis evicts keys when its memory is full (maxmemory-policy {found}), and clients with them: {REMEDY}"


async def refuse_eviction(redis: Redis) -> None:
    """Raises Refused when Redis is known to evict."""
    found = await policy(redis)
    if found not in (None, KEEPS_ALL):
        raise Refused(_evicts(str(found)))


class EvictionWatch:
    """What is known of it while a worker runs. `stated`: the settings say that it never evicts."""

    def __init__(self, redis: Redis, stated: bool) -> None:
        self._redis = redis
        self._stated = stated
        self.warning: str | None = None

    async def look(self) -> None:
        found = await policy(self._redis)
        before, self.warning = self.warning, None
        if found is None:
            self.warning = None if self._stated else UNKNOWN
        elif found != KEEPS_ALL:
            self.warning = _evicts(found)
        if self.warning is not None and self.warning != before:
            log.warning(self.warning)
        elif before is not None and self.warning is None:
            log.info("Redis keeps all keys")
