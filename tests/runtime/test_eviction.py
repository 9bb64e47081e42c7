"""A Redis that evicts keys: refused at the start, amber while a worker runs, asked for where it does not say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from engine.operations import snapshot
from engine.operations.explain import from_redis
from engine.runtime.clients import Clients, redis_client
from engine.runtime.errors import Refused
from engine.runtime.partitioning import partitioner
from engine.runtime.redis.eviction import UNKNOWN, MemoryWatch, memories, refuse_eviction
from engine.runtime.redis.keys import client_key, due_key, position_key
from engine.runtime.redis.pins import has_pins, pin_ledger, pin_partitions
from engine.runtime.redis.reading import all_states, read_client
from engine.runtime.settings import Settings
from tests.runtime.test_redis import filled
from tests.services.redis import RedisServer

EVICTING = ["allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-lfu", "volatile-ttl"]


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
async def redis(server: RedisServer) -> AsyncIterator[Redis]:
    async with redis_client(Settings(redis=server.url)) as redis:
        yield redis
        await redis.config_set("maxmemory-policy", "noeviction")
        await redis.flushall()


async def as_user(redis: Redis, server: RedisServer, *rights: str) -> Redis:
    await redis.acl_setuser(
        "managed", enabled=True, reset=True, passwords=["+p"], keys=["*"], commands=["+@all", *rights]
    )
    return redis_client(Settings(redis=server.url.replace("://", "://managed:p@")))


@pytest.mark.parametrize("evicting", EVICTING)
async def test_an_evicting_redis_is_refused(redis: Redis, evicting: str):
    await refuse_eviction(redis)
    await redis.config_set("maxmemory-policy", evicting)
    with pytest.raises(Refused, match=rf"maxmemory-policy {evicting}\).*set its maxmemory-policy to noeviction"):
        await refuse_eviction(redis)
    with pytest.raises(Refused, match=evicting):  # nor is it filled again, to lose clients again
        await snapshot.rebuild(Settings(kafka="127.0.0.1:1"), Clients(), redis, None)


@pytest.mark.parametrize(
    ("rights", "says"),
    [
        ([], True),
        (["-config"], True),  # most managed services
        (["-info"], True),
        (["-config", "-info"], False),
        (["-config|get", "-info"], False),
        (["-@admin", "-@dangerous"], False),
    ],
)
async def test_where_it_does_not_say_its_policy_it_is_asked_for(
    redis: Redis, server: RedisServer, rights: list[str], says: bool
):
    async with await as_user(redis, server, *rights) as user:
        await refuse_eviction(user)  # what is not known is not refused
        assert [memory.policy for memory in await memories(user)] == ["noeviction" if says else None]
        watch, stated = MemoryWatch(user, False), MemoryWatch(user, True)
        await watch.look()
        await stated.look()
        assert (watch.warning, stated.warning) == (None if says else UNKNOWN, None)
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        await watch.look()
        await stated.look()  # what it says counts for more than what was stated
        assert (watch.evicts, stated.evicts) == (says, says)
        for warning, unknown in ((watch.warning, UNKNOWN), (stated.warning, None)):
            assert "allkeys-lru" in str(warning) if says else warning == unknown
        await redis.config_set("maxmemory-policy", "noeviction")
        await watch.look()
        assert watch.warning == (None if says else UNKNOWN)


# -- other keys -----------------------------------------------------------------------------------------


async def test_a_pin_that_is_gone_is_written_again(redis: Redis):
    for lost in ("{engage}:partitions", "{engage}:ledger"):
        await pin_partitions(redis, "engage", 4, ledger_is_empty=True)
        await pin_ledger(redis, "engage", "engage-ledger")
        assert await has_pins(redis, "engage")
        await redis.delete(lost)
        assert not await has_pins(redis, "engage")
        await pin_partitions(redis, "engage", 4, ledger_is_empty=False)
        await pin_ledger(redis, "engage", "engage-ledger")
        assert await has_pins(redis, "engage")
    await redis.flushall()
    with pytest.raises(Refused, match="holds no state but the ledger has records"):
        await pin_partitions(redis, "engage", 4, ledger_is_empty=False)


@pytest.mark.parametrize("lost", ["state", "due time", "client", "all due times", "position"])
async def test_no_command_passes_over_what_is_gone(redis: Redis, tmp_path, lost: str):
    """A snapshot without them, and a ledger trimmed behind it, would make the loss last."""
    await filled(redis, "engage")
    number = partitioner(4)(b"c3")
    if lost in ("state", "client"):
        await redis.delete(client_key("engage", number, "c3"))
    if lost in ("due time", "client"):
        await redis.zrem(due_key("engage", number), "c3")
    if lost == "all due times":
        await redis.delete(due_key("engage", number))
    if lost == "position":
        await redis.delete(position_key("engage", number))
    with pytest.raises(Refused, match=rf"partition {number}: Redis .*keys were evicted or deleted"):
        await snapshot.take(Settings(), redis, tmp_path / "snapshot")
    assert not list(tmp_path.iterdir())
    with pytest.raises(Refused, match=f"partition {number}"):
        _ = [pair async for pair in all_states(redis, "engage")]
    if lost == "state":
        for reading in (read_client, from_redis):
            with pytest.raises(Refused, match="Redis has lost the state of client c3"):
                await reading(redis, "engage", "c3")
            assert await reading(redis, "engage", "nobody") is None
