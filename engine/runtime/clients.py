"""What a process reaches outside itself: Kafka, Redis, the wall clock, chance, threads, Faust. Made here, nowhere else.

Enters: options. Leaves: clients, the time, random numbers. Holds: whoever needs one is given a `Clients`, so that a
simulation is a `Clients` of its own and replaces nothing by name. How long something takes is measured by the event
loop's clock, as asyncio's own timeouts are; so that clock is not in here.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, ParamSpec, Protocol, Self, TypeVar, cast

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from redis.asyncio import Redis, cluster, sentinel
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    ClusterDownError,
    MovedError,
    NoScriptError,
    RedisClusterException,
    SlotNotCoveredError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.maint_notifications import MaintNotificationsConfig

from engine.runtime.addresses import RedisAddresses
from engine.runtime.aside import ProcessPool, aside
from engine.runtime.errors import Refused
from engine.runtime.settings import Settings

_P = ParamSpec("_P")
_T = TypeVar("_T")
REDIRECTS: Final = 5
TOPOLOGY_S: Final = 5.0  # to hear from a cluster who is where
_OPTIONS: Final[dict[str, Any]] = {
    "socket_timeout": 10,
    "socket_connect_timeout": 3,
    "retry": Retry(NoBackoff(), 0),
    "health_check_interval": 0,
    # on, as they are by default, they make redis-py hand out connections that the server has closed
    "maint_notifications_config": MaintNotificationsConfig(enabled=False),
}
Offsets = dict[TopicPartition, int]


class Consumer(Protocol):
    """What the engine uses of aiokafka's consumer."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def subscribe(self, topics: Sequence[str], *, listener: ConsumerRebalanceListener) -> None: ...
    def unsubscribe(self) -> None: ...
    def pause(self, *partitions: TopicPartition) -> None: ...
    async def topics(self) -> set[str]: ...
    def partitions_for_topic(self, topic: str) -> set[int] | None: ...
    async def beginning_offsets(self, partitions: Sequence[TopicPartition]) -> Offsets: ...
    async def end_offsets(self, partitions: Sequence[TopicPartition]) -> Offsets: ...
    async def offsets_for_times(self, timestamps: dict[TopicPartition, int]) -> dict[TopicPartition, Any]: ...
    def assign(self, partitions: Sequence[TopicPartition]) -> None: ...
    def seek(self, partition: TopicPartition, offset: int) -> None: ...
    async def position(self, partition: TopicPartition) -> int: ...
    def last_stable_offset(self, partition: TopicPartition) -> int | None: ...
    def highwater(self, partition: TopicPartition) -> int | None: ...
    def last_poll_timestamp(self, partition: TopicPartition) -> int | None: ...
    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[Any]]: ...


class Producer(Protocol):
    """What the engine uses of aiokafka's producer. `send` and `send_batch` answer once what they got waits; the future
    of that, once it is there. A batch's `append` returns None when it has no more room.
    """

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def partitions_for(self, topic: str) -> set[int]: ...
    async def begin_transaction(self) -> None: ...
    async def commit_transaction(self) -> None: ...
    def transaction(self) -> AbstractAsyncContextManager[Any]: ...
    async def send_offsets_to_transaction(self, offsets: Offsets, group_id: str) -> None: ...
    async def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: Iterable[tuple[str, bytes]] | None = None,
    ) -> Any: ...
    def create_batch(self) -> Any: ...
    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> Any: ...


class Admin(Protocol):
    """What the engine uses of aiokafka's admin client."""

    async def start(self) -> None: ...
    async def close(self) -> None: ...
    async def describe_configs(self, config_resources: list[Any]) -> list[Any]: ...
    async def create_topics(self, new_topics: list[Any]) -> Any: ...
    async def delete_records(self, records_to_delete: dict[TopicPartition, Any]) -> Any: ...


class Aside(Protocol):
    """Computes something long beside the event loop. See aside.py."""

    async def __call__(self, function: Callable[_P, _T], *args: _P.args, **options: _P.kwargs) -> _T: ...


class Processes(Protocol):
    """Computes in so many processes at once. See aside.py."""

    jobs: int

    async def run(self, function: Callable[..., _T], *args: Any) -> _T: ...
    def stop(self) -> None: ...


class RedisServer(Redis):
    """One server; with Sentinels, the primary that they name."""

    @asynccontextmanager
    async def primaries(self) -> AsyncIterator[list[Redis]]:
        """A client of each server that holds keys."""
        yield [self]


class RedisCluster(cluster.RedisCluster):
    """A cluster: sends a command to the primary of its key (the first one of a script), and repeats none.

    redis-py's own client follows ASK to the node that a slot is being moved to. A script there finds nothing of the
    keys that are yet to come, and would take a client for unknown or write one that the move then overwrites. So a
    partition waits until its slot has moved. It also asks all nodes anew (34 ms of CPU) after each failure.
    """

    def __init__(self, url: RedisAddresses) -> None:
        self._url = url
        self._stale: str | None = None  # the node after whose failure the cluster has to be asked who is where
        nodes, given = _servers(url, 6379)
        super().__init__(
            startup_nodes=[cluster.ClusterNode(host, port) for host, port in nodes],
            require_full_coverage=False,  # what a lost node held is away, the rest is not
            dynamic_startup_nodes=False,  # names that an operator gave outlive addresses
            max_connections=1_000,  # to a node; each partition has one command on its way
            **given,
        )

    async def __aenter__(self) -> Self:
        return self  # connects with the first command, as one server's client does

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        key = args[3] if args[0] in ("EVAL", "EVALSHA") else args[1]
        await self._know()
        for _ in range(REDIRECTS):
            name = ""
            try:
                node = self.nodes_manager.get_node_from_slot(self.keyslot(key))
                name = node.name
                return await node.execute_command(*args, **options)
            except MovedError as moved:
                await self.nodes_manager.move_slot(moved)
            except (RedisConnectionError, RedisTimeoutError, ClusterDownError, SlotNotCoveredError):
                self._stale = name
                raise
        raise ClusterDownError("the nodes disagree about who has the slot")

    async def _know(self) -> None:
        """Ask who is where: at first, and after a failure."""
        try:
            async with asyncio.timeout(TOPOLOGY_S):
                await self.initialize()
                if self._stale is not None:
                    failed, self._stale = self._stale, None
                    await self.nodes_manager.initialize(last_failed_node_name=failed)
        except IndexError as error:  # redis-py takes the first primary, and there is none
            raise ClusterDownError("no node has slots") from error

    def register_script(  # type: ignore[override]
        self, script: str
    ) -> Callable[..., Awaitable[Any]]:
        """As redis-py's, but for the one node that has the keys: it loads a script on all, and one may be away."""
        sha = hashlib.sha1(script.encode()).hexdigest()

        async def run(keys: Sequence[str], args: Sequence[Any]) -> Any:
            try:
                return await self.execute_command("EVALSHA", sha, len(keys), *keys, *args)
            except NoScriptError:
                return await self.execute_command("EVAL", script, len(keys), *keys, *args)

        return run

    @asynccontextmanager
    async def primaries(self) -> AsyncIterator[list[Redis]]:
        self._stale = self._stale or ""
        await self._know()
        async with AsyncExitStack() as stack:
            servers = [f"[{node.host}]:{node.port}" if ":" in node.host else node.name for node in self.get_primaries()]
            made = [Redis.from_url(self._url.url(server), **_OPTIONS) for server in servers]
            yield [await stack.enter_async_context(server) for server in made]


class _SentinelPool(sentinel.SentinelConnectionPool):
    """redis-py's own leaves the connections to the Sentinels open."""

    async def aclose(self) -> None:
        await super().aclose()
        await self.sentinel_manager.aclose()


AnyRedis = RedisServer | RedisCluster


def redis_client(settings: Settings) -> AnyRedis:
    """A client that answers or fails within seconds and never repeats a command by itself. The one place that knows
    whether there is one server, a primary that Sentinels know, or a cluster.
    """
    try:
        url = RedisAddresses.of(settings.redis.get_secret_value())
        if settings.redis_mode == "cluster":
            return RedisCluster(url)
        if settings.redis_mode == "sentinel":
            return _by_sentinel(url, settings)
        return cast(RedisServer, RedisServer.from_url(url.url(url.servers[0]), **_OPTIONS))
    except (ValueError, RedisClusterException):  # its text may hold a part of the password
        raise Refused("the address of Redis is not a URL such as redis://USER:PASSWORD@HOST:6379/0") from None


def _by_sentinel(url: RedisAddresses, settings: Settings) -> RedisServer:
    nodes, given = _servers(url, 26379)
    password = settings.redis_sentinel_password
    asked = {name: value for name, value in given.items() if name not in ("username", "password", "db")}
    asked |= {
        "username": settings.redis_sentinel_username,
        "password": password.get_secret_value() if password else None,
        "socket_timeout": 2,  # each is asked in turn
        "socket_connect_timeout": 1,
    }
    known = sentinel.Sentinel(nodes, sentinel_kwargs=asked, **given)
    return cast(RedisServer, known.master_for(settings.redis_service or "", RedisServer, _SentinelPool))


def _servers(url: RedisAddresses, port: int) -> tuple[list[tuple[str, int]], dict[str, Any]]:
    """Hosts and ports, and what redis-py takes beside them."""
    nodes = [parse_url(url.url(server)) for server in url.servers]
    beside = {name: value for name, value in nodes[0].items() if name not in ("host", "port", "connection_class")}
    tls = {"ssl": True} if url.scheme == "rediss" else {}
    return [(node["host"], node.get("port", port)) for node in nodes], _OPTIONS | beside | tls


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _faust_app(settings: Settings) -> Any:
    from engine.runtime.app import faust_app  # Faust takes half a second to load, and commands do without it

    return faust_app(settings)


def _daemon(function: Callable[[], None], name: str) -> None:
    threading.Thread(target=function, daemon=True, name=name).start()


@dataclass(frozen=True, slots=True)
class Clients:
    """How to make each of them; by default the real one."""

    consumer: Callable[..., Consumer] = AIOKafkaConsumer
    producer: Callable[..., Producer] = AIOKafkaProducer
    admin: Callable[..., Admin] = AIOKafkaAdminClient
    redis: Callable[[Settings], AnyRedis] = redis_client
    wall_ms: Callable[[], int] = _wall_ms
    chance: Callable[[], float] = random.random  # from 0 to below 1; for pauses, never for a decision
    aside: Aside = aside
    processes: Callable[[int], Processes] = ProcessPool
    app: Callable[[Settings], Any] = _faust_app  # Faust has no types
    thread: Callable[[Callable[[], None], str], None] = _daemon  # runs a function, under a name, beside all else
