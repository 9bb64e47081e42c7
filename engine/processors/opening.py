"""A partition on Kafka and Redis: the one place where one is put together.

Enters: settings, clients, a Redis, a processor and a partition's number. Leaves: the Partition, its log and its store.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic

from engine.runtime.clients import Clients
from engine.runtime.kafka.log import KafkaLog
from engine.runtime.protocol.partition import Partition
from engine.runtime.protocol.processor import Input, Observer, Plan, Processor, State
from engine.runtime.protocol.unit import UnitLimits
from engine.runtime.redis.store import RedisStore
from engine.runtime.settings import Settings

if TYPE_CHECKING:
    from engine.runtime.clients import AnyRedis


@dataclass(frozen=True, slots=True)
class Opened(Generic[Plan, State, Input]):
    partition: Partition[Plan, State, Input]
    log: KafkaLog
    store: RedisStore


def open_partition(
    settings: Settings,
    clients: Clients,
    redis: AnyRedis,
    processor: Processor[Plan, State, Input],
    number: int,
    *,
    plan: Callable[[], Plan],
    belongs: Callable[[bytes], bool] = lambda key: True,
    observer: Observer | None = None,
    cache_bytes: int = 0,
    limits: UnitLimits | None = None,
    for_load: bool = False,
    partitions: int = 1,
) -> Opened[Plan, State, Input]:
    """`settings` are the processor's own, see Settings.scoped."""
    log, store = KafkaLog(settings, clients, number), RedisStore(redis, settings.scope, number)
    partition = Partition(
        number,
        log,
        store,
        processor,
        plan=plan,
        belongs=belongs,
        observer=observer,
        cache_bytes=cache_bytes,
        limits=limits,
        for_load=for_load,
        partitions=partitions,
    )
    return Opened(partition, log, store)
