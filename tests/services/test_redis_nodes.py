"""Redis in a cluster and behind Sentinels, on real servers: every use of it, failovers, slots that move."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis.exceptions
from redis.asyncio.cluster import RedisCluster
from redis.crc import key_slot

from engine.operations import snapshot
from engine.operations.replay import states_hash
from engine.runtime.clients import AnyRedis, redis_client
from engine.runtime.errors import Refused, Unavailable
from engine.runtime.protocol.ledger import Store
from engine.runtime.redis.errors import redis_errors
from engine.runtime.redis.eviction import memories, refuse_eviction
from engine.runtime.redis.keys import client_key, due_key, tag
from engine.runtime.redis.pins import has_pins, pin_ledger, pin_partitions, pinned_partitions
from engine.runtime.redis.reading import all_states, packed_states, read_client
from engine.runtime.redis.store import RedisStore
from engine.runtime.redis.upkeep import flushed
from engine.runtime.settings import Settings
from tests.contract_store import StoreContract, writes
from tests.runtime.driving import pack_all
from tests.runtime.test_redis import filled
from tests.services.redis import RedisServer
from tests.services.redis_nodes import Cluster, Nodes, Sentinels

pytestmark = pytest.mark.kafka  # it needs no Kafka, but as long as what does

_apps = itertools.count()
# an app whose keys are in the last third of the slots: the first node of a cluster does not have them
FOREIGN = next(name for n in itertools.count() if key_slot(f"{{{(name := f'foreign-{n}')}}}".encode()) > 12_000)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster")) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sentinels]:
    with Sentinels(tmp_path_factory.mktemp("sentinels")) as nodes:
        yield nodes


@pytest.fixture(params=["cluster", "sentinels"])
def nodes(request: pytest.FixtureRequest) -> Nodes:
    found: Nodes = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def client(nodes: Nodes) -> AsyncIterator[AnyRedis]:
    async with redis_client(Settings(**nodes.settings)) as found:
        yield found


@pytest.fixture
async def in_cluster(cluster: Cluster) -> AsyncIterator[AnyRedis]:
    async with redis_client(Settings(**cluster.settings)) as found:
        yield found


@pytest.fixture
def app_id() -> str:
    return f"nodes-{next(_apps)}"


def slot(app_id: str, partition: int) -> int:
    return key_slot(tag(app_id, partition).encode())


async def again(command, *args):
    """Its answer, once Redis is well again."""
    async with asyncio.timeout(300):
        while True:
            with contextlib.suppress(Unavailable):
                return await command(*args)
            await asyncio.sleep(0.05)


class OnNodes(StoreContract):
    """Lost requests and answers need a proxy before one server: test_contract_store.py has them."""

    test_a_request_that_was_lost_did_nothing = None
    test_an_answer_that_was_lost_says_nothing_and_all_was_done = None
    test_what_a_failover_loses_is_whole_units_from_the_end = None

    @pytest.fixture(autouse=True)
    def _names(self, app_id: str) -> None:
        self.name = app_id

    async def evict(self, client_id: str, state: bool = True, due: bool = True) -> None:
        if state:
            await self.redis.delete(client_key(self.name, 3, client_id))
        if due:
            await self.redis.zrem(due_key(self.name, 3), client_id)

    async def open_store(self) -> Store:
        return RedisStore(self.redis, self.name, 3)


class TestInACluster(OnNodes):
    @pytest.fixture(autouse=True)
    def _redis(self, in_cluster: AnyRedis, cluster: Cluster) -> None:
        self.redis, self.cluster = in_cluster, cluster

    async def lose_last_unit(self) -> None:
        self.cluster.fail_over(self.cluster.owner(slot(self.name, 3)))


class TestBySentinel(OnNodes):
    @pytest.fixture(autouse=True)
    async def _redis(self, sentinels: Sentinels) -> AsyncIterator[None]:
        self.sentinels = sentinels
        async with redis_client(Settings(**sentinels.settings)) as self.redis:
            yield

    async def lose_last_unit(self) -> None:
        self.sentinels.fail_over(self.sentinels.primaries()[0])
        await again(self._write)

    async def _write(self) -> None:
        """The connections to the primary before were closed."""
        with redis_errors():
            await self.redis.set("{nodes}:written", 1)
            await self.redis.delete("{nodes}:written")


# -- every use -----------------------------------------------------------------------------------------


async def test_whatever_reads_or_writes(client: AnyRedis, app_id: str, tmp_path: Path) -> None:
    assert not await has_pins(client, app_id)
    desk = await filled(client, app_id)
    await pin_ledger(client, app_id, "ledger")
    assert await has_pins(client, app_id)
    assert await pinned_partitions(client, app_id) == 4
    with pytest.raises(Refused, match="built with 4 partitions"):
        await pin_partitions(client, app_id, 8, ledger_is_empty=False)
    packed = {write.key: write.state for write in pack_all(desk.plan, desk.states.values())}
    found = [pair async for pair in all_states(client, app_id)]
    assert states_hash(found) == states_hash(packed.items())
    record = await read_client(client, app_id, "c3")
    assert record is not None
    assert record["tier"] == "A"
    assert await read_client(client, app_id, "nobody") is None
    await flushed(client, app_id)
    await refuse_eviction(client)
    settings = Settings(app_id=app_id)
    assert await snapshot.take(settings, client, tmp_path / "snapshot") == 30
    _, rows = snapshot.read(tmp_path / "snapshot")
    assert [row.partition for row in rows if row.partition is not None] == [0, 1, 2, 3]


async def test_partitions_are_spread_over_the_cluster(cluster: Cluster, in_cluster: AnyRedis, app_id: str) -> None:
    await filled(in_cluster, app_id)
    assert len({cluster.owner(slot(app_id, number)).port for number in range(4)}) > 1


async def test_a_script_that_a_server_forgot_is_sent_again(nodes: Nodes, client: AnyRedis, app_id: str) -> None:
    store = RedisStore(client, app_id, 0)
    await store.apply(b"", b"one", [writes(a=(5, b"A"))])
    for server in nodes.primaries():
        nodes.ask(server, "SCRIPT FLUSH")
    assert (await again(store.load, ["a"]))[:2] == (b"one", [b"A"])
    for server in nodes.primaries():
        nodes.ask(server, "SCRIPT FLUSH")
    assert await again(store.apply, b"one", b"two", [writes(b=(6, b"B"))]) == b"two"


async def test_one_server_that_evicts_is_enough(nodes: Nodes, client: AnyRedis) -> None:
    server = nodes.primaries()[-1]
    nodes.ask(server, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(Refused, match=r"maxmemory-policy allkeys-lru"):
            await refuse_eviction(client)
    finally:
        nodes.ask(server, "CONFIG", "SET", "maxmemory-policy", "noeviction")
    assert [memory.policy for memory in await memories(client)] == ["noeviction"] * len(nodes.primaries())


async def test_one_server_that_does_not_flush_is_enough(cluster: Cluster, in_cluster: AnyRedis, app_id: str) -> None:
    await filled(in_cluster, app_id)
    server = cluster.owner(slot(app_id, 2))
    cluster.ask(server, "CONFIG", "SET", "appendfsync", "no")
    try:
        with pytest.raises(Unavailable, match="was not flushed in time"):
            await flushed(in_cluster, app_id, wait_ms=200)
    finally:
        cluster.ask(server, "CONFIG", "SET", "appendfsync", "everysec")
    await flushed(in_cluster, app_id)


# -- failovers -----------------------------------------------------------------------------------------


async def test_a_planned_failover_in_a_cluster_is_followed_by_the_next_command(
    cluster: Cluster, in_cluster: AnyRedis, app_id: str
) -> None:
    store = RedisStore(in_cluster, app_id, 0)
    await store.apply(b"", b"one", [writes(a=(5, b"A"))])
    cluster.fail_over(cluster.owner(slot(app_id, 0)))
    assert await store.apply(b"one", b"two", [writes(b=(6, b"B"))]) == b"two"
    assert (await store.load(["a", "b"]))[:2] == (b"two", [b"A", b"B"])


async def test_a_killed_primary_is_away_until_another_takes_its_place(
    nodes: Nodes, client: AnyRedis, app_id: str
) -> None:
    """And it has lost what its replicas had not heard: the compare of positions tells, as with one server."""
    store = RedisStore(client, app_id, 0)
    await again(store.apply, b"", b"one", [writes(a=(5, b"A"))])
    primary = nodes.owner(slot(app_id, 0)) if isinstance(nodes, Cluster) else nodes.primaries()[0]
    nodes.replicated(primary)
    with nodes.deaf_replicas(primary):
        assert await store.apply(b"one", b"two", [writes(a=(6, b"AA"), b=(6, b"B"))]) == b"two"
        nodes.fail(primary)
    nodes.restart(primary)
    assert (await again(store.load, ["a", "b"]))[:2] == (b"one", [b"A", None])
    assert await store.apply(b"two", b"three", [writes(a=(7, b"no"))]) == b"one"
    assert await store.apply(b"one", b"two", [writes(a=(6, b"AA"), b=(6, b"B"))]) == b"two"
    assert (await store.load(["a", "b"]))[:2] == (b"two", [b"AA", b"B"])


async def test_while_one_primary_is_away_the_partitions_of_the_others_go_on(
    cluster: Cluster, in_cluster: AnyRedis, app_id: str
) -> None:
    stores = [RedisStore(in_cluster, app_id, number) for number in range(8)]
    for store in stores:
        await store.apply(b"", b"one", [writes(a=(5, b"A"))])
    primary = cluster.owner(slot(app_id, 0))
    cluster.replicated(primary)
    others = [number for number in range(8) if cluster.owner(slot(app_id, number)) is not primary]
    assert others
    primary.pause()
    try:
        for number in others:
            assert await stores[number].apply(b"one", b"two", [writes(b=(6, b"B"))]) == b"two"
        assert (await again(stores[0].load, ["a"]))[:2] == (b"one", [b"A"])  # from the replica that took its place
    finally:
        cluster.resume(primary)


# -- slots that move -----------------------------------------------------------------------------------


async def test_a_partition_waits_while_its_slot_moves_key_by_key(
    cluster: Cluster, in_cluster: AnyRedis, app_id: str
) -> None:
    """At each step, whatever has moved: what was asked is answered whole, or it is waited for. Nothing is written on
    the new node before the slot is there, or the move would overwrite it or end there.
    """
    store, loop = RedisStore(in_cluster, app_id, 0), asyncio.get_running_loop()
    ids = [f"c{number}" for number in range(20)]
    await store.apply(b"", b"one", [writes(**{id_: (5, id_.encode()) for id_ in ids})])
    answers: list[object] = []

    async def ask(command, *args) -> object:
        try:
            return await command(*args)
        except Unavailable as error:
            return error

    def between() -> None:
        for command, args in (
            (store.load, (ids,)),
            (store.load, (["new"],)),
            (store.look, (0, 100)),
            (store.missing, (ids,)),
            (store.apply, (b"one", b"two", [writes(new=(6, b"B"))])),
            (store.apply, (b"one", b"one", [writes(**{id_: (5, id_.encode()) for id_ in ids})])),
        ):
            answers.append(asyncio.run_coroutine_threadsafe(ask(command, *args), loop).result(60))

    await asyncio.to_thread(cluster.move_slot, slot(app_id, 0), between, 1)
    assert (await store.load([*ids, "new"]))[:3] == (b"one", [*(id_.encode() for id_ in ids), None], 20)
    waited = [answer for answer in answers if isinstance(answer, Unavailable)]
    assert len(waited) > len(answers) / 2
    assert all("moves the slot of these keys to another node" in str(error) for error in waited)
    right = (await store.load(ids), await store.load(["new"]), await store.look(0, 100), [], b"one")
    assert all(answer in right for answer in answers if not isinstance(answer, Unavailable))
    assert await store.apply(b"one", b"two", [writes(new=(6, b"B"))]) == b"two"


async def test_what_redis_py_itself_would_read_then(cluster: Cluster, in_cluster: AnyRedis, app_id: str) -> None:
    """Why the engine's client does not follow ASK: a state that is yet to come would be taken for one that is gone.
    If this fails, redis-py or the server has become safer, and the engine's own way may go.
    """
    store = RedisStore(in_cluster, app_id, 0)
    await store.apply(b"", b"one", [writes(a=(5, b"A"))])
    number, client = slot(app_id, 0), client_key(app_id, 0, "a")
    source, target = cluster.owner(number), cluster.target(number)
    keys = [key for key in cluster.ask(source, "CLUSTER GETKEYSINSLOT", number, 10) if key != client]
    cluster.ask(target, "CLUSTER SETSLOT", number, "IMPORTING", cluster.id(source))
    cluster.ask(source, "CLUSTER SETSLOT", number, "MIGRATING", cluster.id(target))
    cluster.ask(source, "MIGRATE", "127.0.0.1", target.port, "", 0, 10_000, "KEYS", *keys)
    try:
        async with RedisCluster(host="127.0.0.1", port=source.port) as theirs:
            assert (await RedisStore(theirs, app_id, 0).load(["a"]))[:4] == (b"one", [None], 1, ["a"])
        with pytest.raises(Unavailable, match="moves the slot"):
            await store.load(["a"])
    finally:
        cluster.move_slot(number)
    assert (await store.load(["a"]))[:4] == (b"one", [b"A"], 1, [])


async def test_a_slot_that_moves_at_once_is_not_noticed(cluster: Cluster, in_cluster: AnyRedis, app_id: str) -> None:
    store = RedisStore(in_cluster, app_id, 0)
    await store.apply(b"", b"one", [writes(a=(5, b"A"))])
    cluster.move_slot_at_once(slot(app_id, 0))
    assert await store.apply(b"one", b"two", [writes(b=(6, b"B"))]) == b"two"


async def test_a_snapshot_in_which_a_slot_moves_is_none(
    cluster: Cluster, in_cluster: AnyRedis, app_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(in_cluster, app_id)

    async def states(redis_, app, partition):
        async for pair in packed_states(redis_, app, partition):
            yield pair
        if partition == 1:
            await asyncio.to_thread(cluster.move_slot, slot(app_id, 1))

    monkeypatch.setattr(snapshot, "packed_states", states)
    with pytest.raises(Unavailable, match="during the snapshot: take the snapshot again"):
        await snapshot.take(Settings(app_id=app_id), in_cluster, tmp_path / "not-whole")
    assert not list(tmp_path.iterdir())


# -- settings that do not fit --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "mode", "said"),
    [
        ("cluster", "standalone", "is a node of a cluster .*set redis_mode to cluster"),
        ("cluster", "sentinel", "set redis_mode"),
        ("server", "cluster", "not a node of a cluster .*set redis_mode to standalone or sentinel"),
        ("server", "sentinel", "set redis_mode"),
        ("sentinel", "standalone", "set redis_mode"),
        ("sentinel", "cluster", "set redis_mode"),
    ],
)
async def test_another_kind_of_redis_is_refused_with_the_setting(
    cluster: Cluster, sentinels: Sentinels, redis_server: RedisServer, asked: str, mode: str, said: str
) -> None:
    servers = {
        "cluster": cluster.target(key_slot(f"{{{FOREIGN}}}".encode())),
        "server": redis_server,
        "sentinel": sentinels.sentinels[0],
    }
    settings = Settings(redis=servers[asked].url, redis_mode=mode, redis_service="engage-primary")
    async with redis_client(settings) as client:
        with pytest.raises(Refused, match=said):
            await pin_partitions(client, FOREIGN, 4, ledger_is_empty=True)


async def test_credentials_that_a_cluster_or_sentinels_refuse(cluster: Cluster, sentinels: Sentinels) -> None:
    settings = cluster.settings | {"redis": cluster.settings["redis"].replace("://", "://nobody:secret@")}
    async with redis_client(Settings(**settings)) as client:
        with pytest.raises(Refused, match="Redis refuses the credentials") as refused:
            await pinned_partitions(client, "x")
    assert "secret" not in str(refused.value)
    settings = sentinels.settings | {"redis_sentinel_username": "nobody", "redis_sentinel_password": "secret"}
    async with redis_client(Settings(**settings)) as client:
        with pytest.raises(Refused, match=r"the Sentinels refuse the credentials.*redis_sentinel_password") as refused:
            await pinned_partitions(client, "x")
    assert "secret" not in str(refused.value)


async def test_a_name_that_no_sentinel_knows_is_waited_for_by_its_name(sentinels: Sentinels) -> None:
    async with redis_client(Settings(**sentinels.settings | {"redis_service": "another"})) as client:
        with pytest.raises(Unavailable, match="No master found for 'another'"):
            await pinned_partitions(client, "x")


@pytest.mark.parametrize("mode", ["cluster", "sentinel"])
async def test_nobody_there(mode: str) -> None:
    settings = Settings(redis="redis://127.0.0.1:1,127.0.0.1:2/0", redis_mode=mode, redis_service="x")
    async with redis_client(settings) as client:
        with pytest.raises(Unavailable, match="redis is away"):
            await RedisStore(client, "x", 0).position()
        with pytest.raises(Unavailable, match="redis is away"):
            await refuse_eviction(client)


async def test_a_cluster_whose_first_node_is_away_is_found_by_the_others(cluster: Cluster, app_id: str) -> None:
    url = cluster.settings["redis"].replace("redis://", "redis://127.0.0.1:1,")
    async with redis_client(Settings(redis=url, redis_mode="cluster")) as client:
        assert await again(RedisStore(client, app_id, 0).position) is None


def test_an_error_of_a_cluster_that_is_not_known_is_waited_for() -> None:
    with pytest.raises(Unavailable), redis_errors():
        raise redis.exceptions.SlotNotCoveredError("Slot 1 not covered")
