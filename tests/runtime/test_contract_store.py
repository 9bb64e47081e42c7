"""What every Store keeps: the one in memory and the one on a real Valkey, by the same tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from engine.core.client.record import PUBLIC_FIELDS
from engine.core.client.state import ClientState
from engine.runtime.clients import redis_client
from engine.runtime.protocol.ledger import Store
from engine.runtime.protocol.writes import encode_writes
from engine.runtime.redis.keys import client_key, due_key
from engine.runtime.redis.store import RedisStore
from engine.runtime.settings import Settings
from tests.contract_store import StoreContract, writes
from tests.core.making import at, shipped_plan
from tests.faults.proxy import Proxies, Proxy
from tests.memory import AFTER, BEFORE, Data, Faults, MemoryStore
from tests.runtime.driving import written
from tests.services.redis import DATA, RedisServer


class TestMemoryStore(StoreContract):
    async def open_store(self) -> Store:
        self.data, self.faults = Data(), Faults()
        return MemoryStore(self.data, self.faults)

    async def lose_requests(self) -> None:
        self.faults.planned.append(BEFORE)

    async def lose_answers(self) -> None:
        self.faults.planned.append(AFTER)

    async def mend(self) -> None:
        assert not self.faults.planned

    async def lose_last_unit(self) -> None:
        self.data.lose(1)

    async def evict(self, client_id: str, state: bool = True, due: bool = True) -> None:
        self.data.evict(client_id, states=state, due=due)


@pytest.fixture(scope="module")
def behind_a_proxy() -> Iterator[tuple[RedisServer, Proxy]]:
    proxies = Proxies()
    with RedisServer(appendfsync="always") as server:
        yield server, proxies.to(server.port)
    proxies.stop()


class TestRedisStore(StoreContract):
    @pytest.fixture(autouse=True)
    async def _client(
        self, behind_a_proxy: tuple[RedisServer, Proxy], request: pytest.FixtureRequest
    ) -> AsyncIterator[None]:
        self.server, self.proxy = behind_a_proxy
        async with redis_client(Settings(redis=f"redis://127.0.0.1:{self.proxy.port}/0")) as redis:
            self.redis, self.name = redis, request.node.name
            self.opened = RedisStore(redis, self.name, 3)
            yield

    async def open_store(self) -> Store:
        return self.opened

    async def lose_requests(self) -> None:
        await self._hold(requests=True)

    async def lose_answers(self) -> None:
        await self._hold(requests=False)

    async def _hold(self, requests: bool) -> None:
        """Nothing passes that way, and once something waits there the connection breaks."""
        self.proxy.stall(requests=requests, answers=not requests)

        async def break_it() -> None:
            while not self.proxy.held:
                await asyncio.sleep(0.01)
            self.proxy.cut()

        self.breaking = asyncio.create_task(break_it())

    async def mend(self) -> None:
        await self.breaking
        self.proxy.mend()

    async def lose_last_unit(self) -> None:
        """Kill it and cut the end off its append-only file, in the middle of what it wrote last."""
        self.server.kill()
        file = max((self.server.directory / DATA).rglob("*.incr.aof"))
        with file.open("r+b") as end:
            end.truncate(file.stat().st_size - 10)
        self.server.start()
        await asyncio.sleep(0.1)  # until the client has heard that its connection is gone

    async def evict(self, client_id: str, state: bool = True, due: bool = True) -> None:
        if state:
            await self.redis.delete(client_key(self.name, 3, client_id))
        if due:
            await self.redis.zrem(due_key(self.name, 3), client_id)


async def test_other_systems_read_a_client_with_plain_redis(redis_server):
    client = ClientState(shipped_plan().layout, "c1", at(0))
    async with redis_client(Settings(redis=redis_server.url)) as redis:
        store = RedisStore(redis, "plain", 3)
        await store.apply(b"", b"one", encode_writes([written(client, b"packed")]))
        found = await redis.hgetall("{plain:3}:client:c1")
        assert found.pop(b"state") == b"packed"
        assert found == {name.encode(): b"" for name in PUBLIC_FIELDS} | {b"updated_at": b"2026-02-16T04:00:00Z"}
        assert await redis.ttl("{plain:3}:client:c1") == -1


async def test_partitions_and_engines_on_one_redis_do_not_meet(redis_server):
    async with redis_client(Settings(redis=redis_server.url)) as redis:
        stores = [RedisStore(redis, app, number) for app in ("app", "app2") for number in (1, 11)]
        for number, store in enumerate(stores):
            await store.apply(b"", b"%d" % number, [writes(a=(number, b"%d" % number))])
        for number, store in enumerate(stores):
            assert (await store.load(["a"]))[:2] == (b"%d" % number, [b"%d" % number])
            assert await store.due(100, 100) == ["a"]
