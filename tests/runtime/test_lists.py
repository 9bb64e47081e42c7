"""Clients are listed by tier, segment, advisor and stage, exactly as their hashes say, whatever is lost or repeated."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator

import msgpack
import pytest
from click.testing import CliRunner

from engine.cli.main import main
from engine.core.firm_time import NEVER_MS
from engine.runtime.clients import redis_client
from engine.runtime.protocol.writes import LISTED, Write, decode_writes, encode_writes, from_0_1
from engine.runtime.redis.keys import client_key, list_key
from engine.runtime.redis.lists import listed_clients
from engine.runtime.redis.pins import pin_partitions
from engine.runtime.redis.store import RedisStore
from engine.runtime.settings import Settings
from tests.services.redis import RedisServer


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


@pytest.fixture
async def redis(server: RedisServer) -> AsyncIterator:
    async with redis_client(Settings(redis=server.url)) as client:
        await client.flushall()
        await pin_partitions(client, "engage", 2, ledger_is_empty=True)
        yield client


def write(key: str, moved=(), **public: str) -> Write:
    return Write(key, NEVER_MS, b"s", {**dict.fromkeys(LISTED, ""), **public}, moved)


async def apply(store: RedisStore, *writes: Write) -> None:
    for chunk in encode_writes(writes):
        found = await store.position() or b""
        assert await store.apply(found, found + b"x", [chunk]) == found + b"x"


async def named(redis, **values: str) -> list[str]:
    return sorted([id_ async for page in listed_clients(redis, "engage", values) for id_ in page])


async def lists_are_what_hashes_say(redis, partition: int = 0) -> None:
    prefix = client_key("engage", partition, "")
    said: dict[str, set[bytes]] = {}
    async for key in redis.scan_iter(f"{prefix}*"):
        id_ = key.decode().removeprefix(prefix)
        for field, value in zip(LISTED, await redis.hmget(key, LISTED), strict=True):
            if value:
                said.setdefault(list_key("engage", partition, field, value.decode()), set()).add(id_.encode())
    held = {key.decode(): await redis.smembers(key) async for key in redis.scan_iter(f"{{engage:{partition}}}:list:*")}
    assert held == said


async def test_a_client_is_in_the_lists_of_its_values_and_leaves_them(redis):
    store = RedisStore(redis, "engage", 0)
    await apply(store, write("c1", tier="A", advisor="ann", stage="new"), write("c2", tier="B"), write("c3", tier="A"))
    assert await named(redis, tier="A") == ["c1", "c3"]
    assert await named(redis, tier="A", advisor="ann") == ["c1"]
    assert await named(redis, tier="B", advisor="ann") == await named(redis, segment="x") == []
    await apply(store, write("c1", ("A", "", "ann", "new"), tier="B", stage="silent"))
    assert await named(redis, tier="A") == ["c3"]
    assert await named(redis, tier="B") == ["c1", "c2"]
    assert await named(redis, advisor="ann") == await named(redis, stage="new") == []
    assert not await redis.exists(list_key("engage", 0, "advisor", "ann"))  # an empty list is no key
    await lists_are_what_hashes_say(redis)


async def test_both_partitions_are_read(redis):
    for partition in (0, 1):
        clients = [write(f"c{partition}-{n}", tier="A", advisor=f"a{n % 3}") for n in range(3_000)]
        await apply(RedisStore(redis, "engage", partition), *clients)
    assert len(await named(redis, tier="A")) == 6_000
    pages = [page async for page in listed_clients(redis, "engage", {"tier": "A"})]
    assert len(pages) > 2
    assert len({id_ for page in pages for id_ in page}) == sum(map(len, pages)) == 6_000
    assert len(await named(redis, tier="A", advisor="a1")) == 2_000


@pytest.mark.parametrize("seed", range(8))
async def test_lists_follow_whatever_is_applied_lost_and_applied_again(redis, seed):
    """Units; hashes that are gone while a worker still has the states; the whole ledger once more."""
    chance, store = random.Random(seed), RedisStore(redis, "engage", 0)
    now: dict[str, dict[str, str]] = {}
    units: list[list[Write]] = []
    for _ in range(25):
        unit = []
        for key in chance.sample([f"c{n}" for n in range(6)], 3):
            before = now.get(key)
            now[key] = (
                {field: chance.choice(("", "x", "y")) for field in LISTED}
                if chance.random() < 0.6 or not before
                else before
            )
            moved = () if before is None else None if before == now[key] else tuple(before.values())
            unit.append(write(key, moved, **now[key]))
        units.append(unit)
        await apply(store, *unit)
        if chance.random() < 0.3:
            key = chance.choice(list(now))
            await redis.delete(client_key("engage", 0, key))
            if chance.random() < 0.5:  # noticed, and written again from the ledger
                last = next(w for u in reversed(units) for w in u if w.key == key)
                (chunk,) = encode_writes([last])
                await apply(store, *decode_writes(chunk))
            else:  # not noticed: the worker has it and goes on
                values = {field: chance.choice(("", "x", "y")) for field in LISTED}
                again = write(key, tuple(now[key].values()), **values)
                now[key] = values
                units.append([again])
                await apply(store, again)
    await lists_are_what_hashes_say(redis)
    for unit in units:  # over what is there already, as when keys of a whole partition were lost
        await apply(store, *unit)
    await lists_are_what_hashes_say(redis)


async def test_what_is_missing_in_a_list_comes_back_when_it_is_looked_at(redis):
    """A list that was deleted, and clients whom an older engine wrote."""
    store = RedisStore(redis, "engage", 0)
    await apply(store, *(write(f"c{n}", tier="A", segment="s") for n in range(500)))
    await redis.delete(list_key("engage", 0, "tier", "A"))
    cursor = -1
    while cursor:
        cursor = (await store.look(max(cursor, 0), 100)).cursor
    await lists_are_what_hashes_say(redis)
    assert len(await named(redis, tier="A")) == 500


async def test_a_rebuild_and_a_record_of_0_1_list_clients(redis):
    store = RedisStore(redis, "engage", 0)
    await store.restore(encode_writes([write("c1", None, tier="A")._replace(moved=())]), b"p")
    row = ["c2", -1, b"s", "B", "", "individual", "seg", "", "bob", "", ""]
    await store.apply(b"p", b"q", [from_0_1(msgpack.packb([row], use_bin_type=False))])
    assert await named(redis, tier="A") == ["c1"]
    assert await named(redis, tier="B", segment="seg", advisor="bob") == ["c2"]
    await lists_are_what_hashes_say(redis)


async def test_a_write_that_moves_nothing_touches_no_list(redis):
    store = RedisStore(redis, "engage", 0)
    await apply(store, write("c1", tier="A"))
    before = (await redis.info("commandstats")).get("cmdstat_hmget", {}).get("calls", 0)
    await apply(store, write("c1", None, tier="A"))
    after = (await redis.info("commandstats")).get("cmdstat_hmget", {}).get("calls", 0)
    assert after == before


def test_the_command_lists_and_counts(server):
    async def fill() -> None:
        async with redis_client(Settings(redis=server.url)) as client:
            await client.flushall()
            await pin_partitions(client, "engage", 1, ledger_is_empty=True)
            await apply(
                RedisStore(client, "engage", 0), *(write(f"c{n}", tier="AB"[n % 2], stage="new") for n in range(9))
            )

    asyncio.run(fill())

    def engage(*arguments: str):
        return CliRunner().invoke(main, ["clients", "--redis", server.url, *arguments])

    assert sorted(engage("--tier", "B").output.split()) == ["c1", "c3", "c5", "c7"]
    assert engage("--tier", "A", "--stage", "new", "--count").output == "5\n"
    assert len(engage("--stage", "new", "--limit", "3").output.split()) == 3
    assert engage("--tier", "Z").output == ""
    refused = engage()
    assert refused.exit_code == 2
    assert "name at least one of --tier, --segment, --advisor, --stage" in refused.output
