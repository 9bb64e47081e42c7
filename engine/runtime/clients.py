"""What a process reaches outside itself: Kafka, Redis, the wall clock, chance, threads, Faust. Made here, nowhere else.

Enters: options. Leaves: clients, the time, random numbers. Holds: whoever needs one is given a `Clients`, so that a
simulation is a `Clients` of its own and replaces nothing by name. How long something takes is measured by the event
loop's clock, as asyncio's own timeouts are; so that clock is not in here.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, ParamSpec, Protocol, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from engine.runtime.aside import aside
from engine.runtime.errors import Refused
from engine.runtime.settings import Settings

_P = ParamSpec("_P")
_T = TypeVar("_T")
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
    """What the engine uses of aiokafka's producer. `send` answers once a record waits; its future, once it is there."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def partitions_for(self, topic: str) -> set[int]: ...
    async def begin_transaction(self) -> None: ...
    async def commit_transaction(self) -> None: ...
    def transaction(self) -> AbstractAsyncContextManager[Any]: ...
    async def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: Iterable[tuple[str, bytes]] | None = None,
    ) -> Any: ...


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


def redis_client(url: str) -> Redis:
    """A client that answers or fails within seconds and never repeats a command by itself."""
    try:
        return Redis.from_url(
            url,
            socket_timeout=10,
            socket_connect_timeout=3,
            retry=Retry(NoBackoff(), 0),
            health_check_interval=0,
            # on, as they are by default, they make redis-py hand out connections that the server has closed
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
        )
    except ValueError:  # its text may hold a part of the password
        raise Refused("the address of Redis is not a URL such as redis://USER:PASSWORD@HOST:6379/0") from None


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
    redis: Callable[[str], Redis] = redis_client  # by URL
    wall_ms: Callable[[], int] = _wall_ms
    chance: Callable[[], float] = random.random  # from 0 to below 1; for pauses, never for a decision
    aside: Aside = aside
    app: Callable[[Settings], Any] = _faust_app  # Faust has no types
    thread: Callable[[Callable[[], None], str], None] = _daemon  # runs a function, under a name, beside all else
