"""Which partition a key belongs to.

Enters: a key. Leaves: its partition, as Kafka's Java clients have it (murmur2).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final

from aiokafka.partitioner import murmur2

MAX_KNOWN: Final = 32_768  # keys whose partition is kept: the hash is computed in Python


class _Known(dict[bytes, int]):
    """Partitions by key: a dict that is asked for its items, so that a known key costs no call of Python's."""

    def __init__(self, partitions: int) -> None:
        super().__init__()
        self._partitions = partitions

    def __missing__(self, key: bytes) -> int:
        if len(self) >= MAX_KNOWN:
            self.clear()
        found = self[key] = int((murmur2(key) & 0x7FFFFFFF) % self._partitions)
        return found


@cache
def partitioner(partitions: int) -> Callable[[bytes], int]:
    """Key -> partition, as Kafka's Java producer computes it."""
    return _Known(partitions).__getitem__
