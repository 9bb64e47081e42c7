"""How loaded the pools of advisors are, as metrics of the worker that has their partitions.

Enters: what Redis shows of pools, a moment. Leaves: gauges by pool.
Holds: a pool is shown by one worker; one that it gives away is gone with its next look.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

from engine.core.contract.events import parse_time_ms

FIELDS: Final = ("clients", "load", "capacity", "absent", "waiting", "waits_since")
_GAUGES: Final = {
    "clients": "Clients in the pool's book.",
    "load": "What they take of the capacity, by the weights of their tiers.",
    "capacity": "Of all advisors of the pool together.",
    "absent": "Advisors whom the topic advisors says are absent.",
    "waiting": "Requests that nobody could take yet.",
    "waits_seconds": "How long the oldest of them has waited.",
}


class PoolGauges(Collector):
    def __init__(self, registry: CollectorRegistry) -> None:
        self._shown: dict[str, dict[str, float]] = {}  # by pool
        registry.register(self)

    def show(self, found: Mapping[str, Mapping[str, str]], now_ms: int) -> None:
        """`found`: FIELDS of each pool of this worker that was ever asked."""
        self._shown = {
            name: {
                **{what: float(fields[what]) for what in _GAUGES if what in fields},
                "waits_seconds": _seconds_since(fields["waits_since"], now_ms),
            }
            for name, fields in found.items()
        }

    def describe(self) -> Iterator[GaugeMetricFamily]:
        yield from self._families().values()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        families = self._families()
        for name, values in self._shown.items():
            for what, value in values.items():
                families[what].add_metric([name], value)
        yield from families.values()

    @staticmethod
    def _families() -> dict[str, GaugeMetricFamily]:
        return {what: GaugeMetricFamily(f"engage_pool_{what}", text, labels=["pool"]) for what, text in _GAUGES.items()}


def _seconds_since(moment: str, now_ms: int) -> float:
    return max(now_ms - parse_time_ms(moment), 0) / 1000 if moment else 0.0
