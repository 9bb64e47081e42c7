"""What every Store keeps: the one in memory and the one on a real Valkey, by the same tests."""

from __future__ import annotations

import itertools

import msgpack
import pytest

from engine.core.record import PUBLIC_FIELDS
from engine.core.state import ClientState
from engine.runtime.ledger import Store, encode_writes
from engine.runtime.redis_store import RedisStore, connect
from tests.core.making import at, shipped_plan
from tests.memory import Data, MemoryStore

_apps = itertools.count()


@pytest.fixture(params=["memory", "redis"])
async def store(request):
    if request.param == "memory":
        yield MemoryStore(Data())
        return
    async with connect(request.getfixturevalue("redis_server").url) as redis:
        yield RedisStore(redis, f"contract-{next(_apps)}", 3)


def writes(**clients: tuple[int, bytes]) -> bytes:
    """One chunk, as the ledger holds it: client id -> (due or -1, state)."""
    rows = [[id_, due, state, *PUBLIC_FIELDS] for id_, (due, state) in clients.items()]
    return bytes(msgpack.packb(rows, use_bin_type=False))


async def test_a_new_store_knows_nothing(store: Store):
    assert await store.position() is None
    assert await store.load(["a", "b"]) == (None, [None, None])
    assert await store.due(1 << 60, 10) == []


async def test_states_come_back_byte_for_byte_in_the_order_asked_for(store: Store):
    every_byte, large = bytes(range(256)), b"\xc3\x28\x00" * 100_000
    assert await store.apply(b"", b"one", [writes(a=(-1, every_byte), b=(-1, b""), c=(-1, large))]) == b"one"
    assert await store.position() == b"one"
    assert await store.load(["c", "unknown", "a", "b"]) == (b"one", [large, None, every_byte, b""])


async def test_an_answer_that_was_lost_is_asked_for_again(store: Store):
    one = [writes(a=(5, b"A"))]
    await store.apply(b"", b"one", one)
    assert await store.apply(b"", b"one", one) == b"one"
    assert await store.load(["a"]) == (b"one", [b"A"])


async def test_a_unit_that_does_not_begin_here_writes_nothing(store: Store):
    await store.apply(b"", b"one", [writes(a=(5, b"A"))])
    assert await store.apply(b"zero", b"two", [writes(a=(7, b"other"), b=(7, b"B"))]) == b"one"
    assert await store.load(["a", "b"]) == (b"one", [b"A", None])
    assert await store.due(10, 10) == ["a"]
    assert await store.apply(b"", b"two", [writes(b=(7, b"B"))]) == b"one"
    assert await store.apply(b"one", b"two", [writes(b=(7, b"B"))]) == b"two"


async def test_a_unit_of_many_chunks_is_one_step(store: Store):
    chunks = [writes(**{f"c{n}-{m}": (n * 100 + m, b"%d" % m) for m in range(100)}) for n in range(30)]
    await store.apply(b"", b"one", chunks)
    _, states = await store.load([f"c{n}-{m}" for n in range(30) for m in range(100)])
    assert states == [b"%d" % m for _ in range(30) for m in range(100)]
    assert len(await store.due(10_000, 5_000)) == 3_000


async def test_later_writes_replace_earlier_ones(store: Store):
    await store.apply(b"", b"one", [writes(a=(5, b"long ago"), b=(5, b"B"))])
    await store.apply(b"one", b"two", [writes(a=(9, b"now")), writes(a=(8, b"later in the same unit"))])
    assert await store.load(["a", "b"]) == (b"two", [b"later in the same unit", b"B"])
    assert await store.due(8, 10) == ["b", "a"]


async def test_who_is_due_earliest_first_and_no_more_than_asked_for(store: Store):
    moment = at(0) + 123  # no digit of a millisecond is lost
    await store.apply(
        b"",
        b"one",
        [writes(z=(moment, b""), a=(moment, b""), first=(0, b""), after=(moment + 1, b""), never=(-1, b""))],
    )
    assert await store.due(moment, 10) == ["first", "a", "z"]
    assert await store.due(moment - 1, 10) == ["first"]
    assert await store.due(moment + 1, 3) == ["first", "a", "z"]
    await store.apply(b"one", b"two", [writes(first=(-1, b""), a=(moment + 2, b""))])
    assert await store.due(moment + 5, 10) == ["z", "after", "a"]


async def test_any_client_id_that_the_contract_allows(store: Store):
    ids = ["{a}", "*", "a:b", '"', "\\", "%s", "KEYS[1]", "a" * 64, "".join(map(chr, range(33, 97)))]
    await store.apply(b"", b"one", [writes(**{id_: (n, b"%d" % n) for n, id_ in enumerate(ids)})])
    assert await store.load(ids) == (b"one", [b"%d" % n for n in range(len(ids))])
    assert await store.due(100, 100) == ids


async def test_a_unit_without_changes_moves_the_position(store: Store):
    await store.apply(b"", b"one", encode_writes([]))
    assert await store.position() == b"one"


async def test_other_systems_read_a_client_with_plain_redis(redis_server):
    client = ClientState(shipped_plan().layout, "c1", at(0))
    async with connect(redis_server.url) as redis:
        store = RedisStore(redis, "plain", 3)
        await store.apply(b"", b"one", encode_writes([(client, b"packed")]))
        found = await redis.hgetall("{plain:3}:client:c1")
        assert found.pop(b"state") == b"packed"
        assert found == {name.encode(): b"" for name in PUBLIC_FIELDS} | {b"updated_at": b"2026-02-16T04:00:00Z"}
        assert await redis.ttl("{plain:3}:client:c1") == -1


async def test_partitions_and_engines_on_one_redis_do_not_meet(redis_server):
    async with connect(redis_server.url) as redis:
        stores = [RedisStore(redis, app, number) for app in ("app", "app2") for number in (1, 11)]
        for number, store in enumerate(stores):
            await store.apply(b"", b"%d" % number, [writes(a=(number, b"%d" % number))])
        for number, store in enumerate(stores):
            assert await store.load(["a"]) == (b"%d" % number, [b"%d" % number])
            assert await store.due(100, 100) == ["a"]
