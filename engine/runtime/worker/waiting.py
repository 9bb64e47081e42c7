"""Which of Kafka and Redis a worker waits for.

Enters: what did not answer, what answers again. Leaves: their names; `engage_waiting` shows the same.
"""

from __future__ import annotations

from typing import Final

from engine.runtime.observe.metrics import Metrics

SYSTEMS: Final = ("kafka", "redis")


class Waiting:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._away: set[str] = set()

    @property
    def systems(self) -> list[str]:
        return sorted(self._away)

    def begin(self, system: str) -> None:
        self._away.add(system)
        self._metrics.waiting.labels(system).set(1)

    def end(self, *systems: str) -> None:
        self._away.difference_update(systems)
        for system in systems:
            self._metrics.waiting.labels(system).set(0)
