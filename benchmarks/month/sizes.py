"""What a month of a client takes to keep.

Enters: an engine that has done its job. Leaves: bytes of a packed state, of Redis, of the ledger.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from benchmarks.backlog import Engine
from engine.runtime.protocol.writes import STATE_FIELD
from engine.runtime.redis.keys import client_key


@dataclass(frozen=True, slots=True)
class Sizes:
    state_bytes: float  # the median of all clients
    redis_bytes_per_client: float
    ledger_bytes_per_event: float  # on Kafka's disk

    def __str__(self) -> str:
        return (
            f"a client after the month: packed state {self.state_bytes:,.0f} bytes (median), "
            f"{self.redis_bytes_per_client:,.0f} bytes in Redis in all; ledger {self.ledger_bytes_per_event:,.0f} "
            "bytes an event"
        )


def redis_bytes(engine: Engine) -> int:
    with engine.servers.redis_client() as store:
        return int(store.info("memory")["used_memory"])


def ledger_bytes(engine: Engine) -> int:
    data = engine.servers.kafka.directory / "data"
    return sum(file.stat().st_size for file in data.glob(f"{engine.prefix}{engine.app_id}-ledger-*/*.log"))


def state_bytes(engine: Engine) -> float:
    """The median of all clients."""
    with engine.servers.redis_client() as store:
        sizes: list[int] = []
        for partition in range(engine.servers.partitions):
            pipe = store.pipeline(transaction=False)
            for key in store.scan_iter(client_key(engine.app_id, partition, "*"), count=5_000):
                pipe.hstrlen(key, STATE_FIELD)
            sizes += pipe.execute()
        return median(sizes)
