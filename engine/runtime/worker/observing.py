"""What a partition of a worker tells, as metrics, and what waits before it.

Enters: what the partition tells an Observer; its intake. Leaves: counts in `Metrics`, samples of what rules cost,
warnings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import structlog

from engine.core.client.record import of_unknown
from engine.core.plan.compile import Plan
from engine.core.rules.ruleset import fillable
from engine.runtime.observe.metrics import Metrics
from engine.runtime.protocol.intake import Held, Intake
from engine.runtime.protocol.processor import Phase
from engine.runtime.protocol.unit import OpenUnit
from engine.runtime.worker.rule_costs import CostSampler

log = structlog.get_logger(__name__)


class RulesInUse:
    """Of all partitions of a worker: a line in the log when the last of them has come to a rule set, and one when the
    first sweep begins and when the last has ended. `newest` is the digest of the rules that all are to use.
    """

    def __init__(self, newest: Callable[[], str]) -> None:
        self._newest = newest
        self._stand: dict[int, tuple[str, bool]] = {}  # by partition: the rules that it uses, whether it has to sweep
        self._told: str | None = None  # the rule set of the last line; who loads those of a start reports them
        self._sweeping = False

    def stands(self, partition: int, rule_set: str, sweeping: bool) -> None:
        self._stand[partition] = rule_set, sweeping
        self._tell()

    def forget(self, partition: int) -> None:
        """It is another worker's now."""
        if self._stand.pop(partition, None) is not None:
            self._tell()

    def _tell(self) -> None:
        used, sweeping = {digest for digest, _ in self._stand.values()}, [s for _, s in self._stand.values() if s]
        if sweeping and not self._sweeping:
            self._sweeping = True
            log.info("sweep begins: all clients are evaluated under new rules")
        if used != {newest := self._newest()}:
            return
        if self._told not in (None, newest):
            log.info("rule set active", digest=newest, partitions=sorted(self._stand))
        self._told = newest
        if self._sweeping and not sweeping:
            self._sweeping = False
            log.info("sweep ends")


class PartitionMetrics:
    """The Observer of one partition."""

    def __init__(
        self,
        metrics: Metrics,
        wall_ms: Callable[[], int],
        breaker: Callable[[Mapping[tuple[str, ...], int]], None],
        rules: RulesInUse,
    ) -> None:
        self._metrics = metrics
        self._rules = rules
        self._wall_ms = wall_ms
        self._breaker = breaker  # hears of what each unit counted
        self._costs = CostSampler(metrics)
        self._plan: Plan | None = None
        self._fillable: frozenset[str] = frozenset()
        self._partition: int | None = None  # once it has recovered: before, it decides nothing

    def uses(self, plan: Plan) -> None:
        self._plan = plan
        self._fillable = fillable(plan.rule_set.features)
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
        self._metrics.committed(partition, cause, unit, self._shown(tallies), records)
        self._breaker(unit.counts)
        if unit.acted_ms:
            now_ms = self._wall_ms()
            for came_ms in unit.acted_ms:
                self._metrics.action_delay.observe(max(now_ms - came_ms, 0) / 1000)
        if unit.rejected:
            _warn_of_refused(partition, unit)
        more = {name: n for label, n in unit.tallies.items() if n > 0 and (name := of_unknown(label)) in self._fillable}
        if more:
            _warn_of_unknown(partition, more)

    def recovered(self, partition: int, units: int, healed: int, tallies: Mapping[str, int]) -> None:
        self._metrics.recovered_units.inc(units)
        self._metrics.healed.inc(healed)
        self._metrics.population(partition, self._shown(tallies))
        self._partition = partition
        if self._plan is not None:
            self._metrics.uses(partition, self._plan.rule_set)

    def _shown(self, tallies: Mapping[str, int]) -> Mapping[str, int]:
        """Without features that nobody can fill: those of rules that have gone, and those of the engine's actions."""
        return {label: n for label, n in tallies.items() if not (name := of_unknown(label)) or name in self._fillable}

    def ticked(self) -> None:
        self._metrics.ticks.inc()

    def swept(self, changed: int, unchanged: int) -> None:
        self._metrics.swept.labels("changed").inc(changed)
        self._metrics.swept.labels("unchanged").inc(unchanged)

    def stands(self, partition: int, rule_set: str, sweeping: bool) -> None:
        self._rules.stands(partition, rule_set, sweeping)


def _warn_of_refused(partition: int, unit: OpenUnit) -> None:
    for (topic, reason), times in unit.rejected.items():  # lines that repeat are folded, see folding.py
        log.warning(
            "records are refused: `engage dead-letters` shows them",
            partition=partition,
            topic=topic,
            reason=reason,
            error=unit.refusals[topic, reason],
            records=times,
        )


def _warn_of_unknown(partition: int, features: Mapping[str, int]) -> None:
    for feature, times in features.items():
        log.warning(
            "corrections left a feature unknown: run `engage backfill FEATURE`",
            partition=partition,
            feature=feature,
            clients=times,
        )


class Backlog:
    """What waits before one partition: records that are yet to be read, also behind open transactions of others."""

    def __init__(self, metrics: Metrics, intake: Intake, partition: int, wall_ms: Callable[[], int]) -> None:
        self.held: dict[str, Held] = {}  # by topic, what waits behind an open transaction
        self._metrics = metrics
        self._intake = intake
        self._partition = partition
        self._wall_ms = wall_ms
        self._none_waited_ms = wall_ms()  # when no record waited for the last time

    @property
    def warnings(self) -> list[str]:
        """What does not keep the partition from running, but needs somebody to act."""
        return [
            f"partition {self._partition}: {held.records} records of {held.topic} have waited for {held.seconds:.0f} s "
            f"behind an open transaction that begins at offset {held.offset}: timers wait, too. Find its producer, and "
            "end it (kafka-transactions.sh find-hanging, abort)"
            for held in self.held.values()
        ]

    def report(self, reached_ms: int) -> None:
        """`reached_ms`: the record time of the last record decided."""
        lag, now_ms, number = self._intake.merger.lag(), self._wall_ms(), self._partition
        for topic, records in lag.items():
            self._metrics.lag.labels(topic, number).set(records)
        if not any(lag.values()):
            self._none_waited_ms = now_ms
        behind_ms = now_ms - max(self._none_waited_ms, reached_ms)
        self._metrics.lag_seconds.labels(number).set(max(behind_ms, 0) / 1000)
        before, self.held = self.held, {held.topic: held for held in self._intake.held()}
        for topic, held in self.held.items():
            self._metrics.held.labels(topic, number).set(held.seconds)
            if topic not in before:
                log.warning(
                    "records wait behind an open transaction of another program, and timers with them",
                    partition=number,
                    topic=topic,
                    offset=held.offset,
                    records=held.records,
                )
        for topic in before.keys() - self.held.keys():
            self._metrics.held.labels(topic, number).set(0)
            log.info(
                "the open transaction has ended", partition=number, topic=topic, seconds=round(before[topic].seconds)
            )
