"""Whether Redis evicts keys when its memory is full, and how full that is: no other copy of the state is so near.

Enters: a Redis, and what the settings say of it. Leaves: a refusal at the start, a warning while a worker runs.
Holds: any policy but noeviction is refused: whether a key can be evicted would hang on who has set an expiry on it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

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


class Memory(NamedTuple):
    """Of one server. Rights or the service may forbid INFO and CONFIG GET."""

    policy: str | None  # None: it does not say
    used_bytes: int = 0
    limit_bytes: int = 0  # its maxmemory, else the machine's memory; 0: it does not say


async def memories(redis: AnyRedis) -> list[Memory]:
    """Of each server that holds keys."""
    with redis_errors():
        async with redis.primaries() as servers:
            return [await _memory(server) for server in servers]


async def _memory(server: Redis) -> Memory:
    told: dict[str, Any] = {}
    try:
        with redis_errors():
            told = await server.info("memory")
    except (ResponseError, Refused):
        pass
    policy = told.get("maxmemory_policy")
    if policy is None:
        try:
            with redis_errors():
                policy = (await server.config_get("maxmemory-policy")).get("maxmemory-policy")
        except (ResponseError, Refused):
            pass
    limit_bytes = told.get("maxmemory") or told.get("total_system_memory", 0)
    return Memory(None if policy is None else str(policy), told.get("used_memory", 0), limit_bytes)


def _evicts(found: Iterable[Memory]) -> str | None:
    """What is wrong with these policies, if anything is known to be."""
    for memory in found:
        if memory.policy not in (None, KEEPS_ALL):
            text = f"maxmemory-policy {memory.policy}"
            return f"Redis evicts keys when its memory is full ({text}), and clients with them: {REMEDY}"
    return None


async def refuse_eviction(redis: AnyRedis) -> None:
    """Raises Refused when Redis is known to evict."""
    if fault := _evicts(await memories(redis)):
        raise Refused(fault)


class MemoryWatch:
    """What is known of it while a worker runs. `stated`: the settings say that it never evicts."""

    def __init__(self, redis: AnyRedis, stated: bool) -> None:
        self._redis = redis
        self._stated = stated
        self.warning: str | None = None
        self.evicts = False
        self.fullest = Memory(None)  # the server with the largest part of its memory in use

    async def look(self) -> None:
        found = await memories(self._redis)
        self.fullest = max(found, key=lambda memory: memory.used_bytes / max(memory.limit_bytes, 1))
        before, self.warning = self.warning, _evicts(found)
        self.evicts = self.warning is not None
        if self.warning is None and any(memory.policy is None for memory in found) and not self._stated:
            self.warning = UNKNOWN
        if self.warning is not None and self.warning != before:
            log.warning(self.warning)
        elif before is not None and self.warning is None:
            log.info("Redis keeps all keys")
