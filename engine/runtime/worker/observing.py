"""What a partition of a worker tells, as metrics.

Enters: what the partition tells an Observer. Leaves: counts in `Metrics`, samples of what rules cost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import structlog

from engine.core.plan.compile import Plan
from engine.runtime.observe.metrics import Metrics
from engine.runtime.protocol.processor import Phase
from engine.runtime.protocol.unit import OpenUnit
from engine.runtime.worker.rule_costs import CostSampler

log = structlog.get_logger(__name__)


class PartitionMetrics:
    """The Observer of one partition."""

    def __init__(self, metrics: Metrics, wall_ms: Callable[[], int]) -> None:
        self._metrics = metrics
        self._wall_ms = wall_ms
        self._costs = CostSampler(metrics)
        self._plan: Plan | None = None
        self._partition: int | None = None  # once it has recovered: before, it decides nothing

    def uses(self, plan: Plan) -> None:
        self._plan = plan
        if self._partition is not None:
            self._metrics.uses(self._partition, plan.rule_set)

    def timing(self, phase: Phase) -> AbstractContextManager[Any]:
        metrics = self._metrics
        histogram = metrics.decide_seconds if phase == "decide" else metrics.commit_seconds.labels(phase)
        timer: AbstractContextManager[Any] = histogram.time()
        return timer

    def decided(self, plan: Plan, states: Mapping[str, Any], inputs: Sequence[Any]) -> None:
        self._costs.take(plan, states, inputs)

    def committed(
        self, partition: int, cause: str, unit: OpenUnit, tallies: Mapping[str, int], records: Sequence[bytes]
    ) -> None:
        self._metrics.committed(partition, cause, unit, tallies, records)
        if unit.acted_ms:
            now_ms = self._wall_ms()
            for came_ms in unit.acted_ms:
                self._metrics.action_delay.observe(max(now_ms - came_ms, 0) / 1000)
        for (topic, reason), times in unit.rejected.items():  # lines that repeat are folded, see folding.py
            log.warning(
                "records are refused: `engage dead-letters` shows them",
                partition=partition,
                topic=topic,
                reason=reason,
                error=unit.refusals[topic, reason],
                records=times,
            )

        for (about, *names), times in unit.counts.items():
            if about == "unknown":
                log.warning(
                    "corrections left a feature unknown: run `engage backfill FEATURE`",
                    partition=partition,
                    feature=names[0],
                    clients=times,
                )

    def recovered(self, partition: int, units: int, healed: int, tallies: Mapping[str, int]) -> None:
        self._metrics.recovered_units.inc(units)
        self._metrics.healed.inc(healed)
        self._metrics.population(partition, tallies)
        self._partition = partition
        if self._plan is not None:
            self._metrics.uses(partition, self._plan.rule_set)

    def ticked(self) -> None:
        self._metrics.ticks.inc()

    def swept(self, changed: int, unchanged: int) -> None:
        self._metrics.swept.labels("changed").inc(changed)
        self._metrics.swept.labels("unchanged").inc(unchanged)
