"""Which partition a key belongs to.

Enters: a key. Leaves: its partition, as Kafka's Java clients have it (murmur2).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from aiokafka.partitioner import murmur2


def partitioner(partitions: int) -> Callable[[bytes], int]:
    """Key -> partition, as Kafka's Java producer computes it; cached, since the hash is computed in Python."""

    @lru_cache(maxsize=32_768)
    def partition_of(key: bytes) -> int:
        return int((murmur2(key) & 0x7FFFFFFF) % partitions)

    return partition_of
