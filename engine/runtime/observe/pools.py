"""How loaded pools of advisors are, and how far budgets are used, as metrics of the worker that has their partitions.

Enters: what Redis shows of pools and budgets, limits, a moment. Leaves: gauges by pool and by budget.
Holds: a pool or budget is shown by one worker; one that it gives away is gone with its next look.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from prometheus_client import Counter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

from engine.core.contract.events import parse_time_ms

OF_BUDGETS: Final = ("period", "granted")
FIELDS: Final = ("clients", "load", "capacity", "absent", "waiting", "open_tasks", "queued_tasks", "waits_since")
_POOL_TEXTS: Final = {
    "clients": "Clients in the pool's book.",
    "load": "What they take of the capacity, by the weights of their tiers.",
    "capacity": "Of all advisors of the pool together.",
    "absent": "Advisors whom the topic advisors says are absent.",
    "waiting": "Requests that nobody could take yet.",
    "open_tasks": "Tasks and alerts that are open with its advisors, of pools that were asked for room.",
    "queued_tasks": "Tasks and alerts that wait until an advisor has room.",
    "waits_seconds": "How long the oldest of them has waited.",
}
_BUDGET_TEXTS: Final = {
    "planned": "The limit of its period: fen, or actions.",
    "granted": "Of that, what partitions have.",
}


class _Gauges(Collector):
    """The values that were shown last, by pool or by budget."""

    def __init__(self, registry: CollectorRegistry, of: str, texts: Mapping[str, str]) -> None:
        self._of, self._texts = of, texts
        self._shown: Mapping[str, Mapping[str, float]] = {}
        registry.register(self)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        yield from self._families().values()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        families = self._families()
        for name, values in self._shown.items():
            for what, value in values.items():
                families[what].add_metric([name], value)
        yield from families.values()

    def _families(self) -> dict[str, GaugeMetricFamily]:
        of = self._of
        return {what: GaugeMetricFamily(f"engage_{of}_{what}", text, labels=[of]) for what, text in self._texts.items()}


class PoolGauges(_Gauges):
    def __init__(self, registry: CollectorRegistry) -> None:
        self.answers = Counter("engage_pool_answers", "What it answered.", ["pool", "outcome"], registry=registry)
        super().__init__(registry, "pool", _POOL_TEXTS)

    def show(self, found: Mapping[str, Mapping[str, str]], now_ms: int) -> None:
        """`found`: FIELDS of each pool of this worker that was ever asked."""
        self._shown = {
            name: {
                **{what: float(fields[what]) for what in _POOL_TEXTS if what in fields},
                "waits_seconds": _seconds_since(fields["waits_since"], now_ms),
            }
            for name, fields in found.items()
        }


class Budgets(_Gauges):
    """Amounts are fen, or a number of actions."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.spent = Counter(
            "engage_budget_spent", "What actions cost that were sent: fen, or actions.", ["budget"], registry=registry
        )
        super().__init__(registry, "budget", _BUDGET_TEXTS)

    def show(
        self, found: Mapping[str, Mapping[str, str]], limits: Mapping[str, int], periods: Mapping[str, str]
    ) -> None:
        """`found`: OF_BUDGETS of each that was ever asked; `limits` of those of this worker, `periods` that are now."""
        shown = {}
        for name, limit in limits.items():
            fields = found.get(name, {})
            is_present = fields.get("period") == periods[name]
            shown[name] = {"planned": limit, "granted": int(fields["granted"]) if is_present else 0}
        self._shown = shown


def _seconds_since(moment: str, now_ms: int) -> float:
    return max(now_ms - parse_time_ms(moment), 0) / 1000 if moment else 0.0
