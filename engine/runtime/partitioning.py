"""Which partition a key belongs to.

Enters: a key. Leaves: its partition, as Kafka's Java clients have it (murmur2).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final

from aiokafka.partitioner import murmur2

MAX_KNOWN: Final = 32_768  # keys whose partition is kept: the hash is computed in Python


@cache
def partitioner(partitions: int) -> Callable[[bytes], int]:
    """Key -> partition, as Kafka's Java producer computes it."""
    known: dict[bytes, int] = {}

    def partition_of(key: bytes) -> int:
        found = known.get(key)
        if found is None:
            if len(known) >= MAX_KNOWN:
                known.clear()
            found = known[key] = int((murmur2(key) & 0x7FFFFFFF) % partitions)
        return found

    return partition_of
