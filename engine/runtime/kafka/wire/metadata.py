"""What the Kafka clients of a process know of topics, kept once.

Enters: what a broker answers to a request for metadata. Leaves: aiokafka's own ClusterMetadata.
Holds: a client replaces what it knows with each answer and never changes it, so that clients who know the same may
have the same objects. A worker has some two clients for a partition, each of which knows all partitions of its topics.
"""

from __future__ import annotations

from typing import Any, Final

from aiokafka.cluster import ClusterMetadata

_own: Final = ClusterMetadata.update_metadata
_of_topics: Final[dict[str, dict[int, Any]]] = {}  # the partitions of each, as a client last heard of them
_of_brokers: Final[dict[tuple[int, int], set[Any]]] = {}  # broker, and how many partitions it leads -> those


def _update(self: Any, answer: Any) -> None:
    _own(self, answer)
    for topic, partitions in self._partitions.items():
        if _of_topics.get(topic) != partitions:
            _of_topics[topic] = partitions
        self._partitions[topic] = _of_topics[topic]
    for broker, led in self._broker_partitions.items():
        about = broker, len(led)
        if _of_brokers.get(about) != led:
            _of_brokers[about] = led
        self._broker_partitions[broker] = _of_brokers[about]


def share_metadata() -> None:
    """Have every client of this process share what it knows."""
    ClusterMetadata.update_metadata = _update
