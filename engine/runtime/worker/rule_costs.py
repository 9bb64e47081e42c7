"""What each rule costs while the engine runs: now and then the tests that an event needs are timed one by one.

Enters: what was decided, by a partition; metrics texts of one or several workers. Leaves: counts in `Metrics`; the
dearest rules.
Holds: nothing is decided here, and states are only read. An event is sampled once its batch is decided, with the
client as it is then, so its tests are about those that were made.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from engine.core.client.state import ClientState
from engine.core.decide.path import Input
from engine.core.plan.compile import Plan
from engine.core.rules.occasion import BECOMES, on
from engine.runtime.observe.metrics import Metrics

SAMPLE_EVERY: Final = 1_000  # events; the timing of one event's tests then costs a hundredth of deciding
STATE_TRIGGERS: Final = (BECOMES,)  # evaluated after every event, whatever its topic


class CostSampler:
    """Times the rules' tests for one event in `every`, over all batches of a partition."""

    def __init__(
        self, metrics: Metrics, every: int = SAMPLE_EVERY, clock_ns: Callable[[], int] = time.perf_counter_ns
    ) -> None:
        self._metrics = metrics
        self._every = every
        self._clock_ns = clock_ns
        self._left = every  # events until the next one that is timed

    def take(self, plan: Plan, states: Mapping[str, ClientState], inputs: Sequence[Input]) -> None:
        while self._left <= len(inputs):
            self._time(plan, states, inputs[self._left - 1])
            self._left += self._every
        self._left -= len(inputs)

    def _time(self, plan: Plan, states: Mapping[str, ClientState], item: Input) -> None:
        if not isinstance(item, tuple):
            return  # no event
        topic, event = item
        client = states[event.client_id]
        for trigger in (on(topic), *STATE_TRIGGERS):
            if trigger in plan.match:
                costs_ns = plan.match[trigger].costs(client, event, None, self._clock_ns)
                for index, cost_ns in costs_ns.items():
                    self._metrics.rules.tested(plan.compiled[trigger][index].rule.id, cost_ns / 1e9)
        self._metrics.rule_sampled_events.inc()


@dataclass(frozen=True, slots=True)
class RuleCost:
    rule: str
    us_per_event: float  # what the rule adds to an event of any kind, in the mean
    us_per_test: float
    tests_per_event: float  # the index spares the others
    share: float  # of the tests of all rules


def top(metrics_texts: Iterable[str]) -> list[RuleCost]:
    """All rules that were tested in a sample, the dearest first, from what one or several workers' /metrics say."""
    seconds: defaultdict[str, float] = defaultdict(float)
    tests: defaultdict[str, float] = defaultdict(float)
    events = 0.0
    for text in metrics_texts:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == "engage_rule_sampled_events_total":
                    events += sample.value
                elif sample.name == "engage_rule_sampled_seconds_total":
                    seconds[sample.labels["rule"]] += sample.value
                elif sample.name == "engage_rule_sampled_tests_total":
                    tests[sample.labels["rule"]] += sample.value
    whole = sum(seconds.values())
    return [
        RuleCost(
            rule, spent / events * 1e6, spent / tests[rule] * 1e6, tests[rule] / events, spent / whole if whole else 0.0
        )
        for rule, spent in sorted(seconds.items(), key=lambda entry: (-entry[1], entry[0]))
        if events and tests[rule]
    ]
