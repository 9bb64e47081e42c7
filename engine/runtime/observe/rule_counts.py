"""Counters with a series for each rule: what became of it when it matched, and what a sample of its tests took.

Enters: rules, counts. Leaves: Prometheus text. Holds: every rule that is used has all its series, from 0; a rule that
is not used any more has none. With thousands of rules these are nearly all series of a worker, and its event loop waits
while they are written, so a series is a number here and not an object of the library.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from prometheus_client.metrics_core import Metric

from engine.core.contract.outbound import Outcome

DECISIONS: Final = "engage_decisions"
TESTS: Final = "engage_rule_sampled_tests"
SECONDS: Final = "engage_rule_sampled_seconds"
_TEXTS: Final = {
    DECISIONS: "Rules that matched, by what became of them.",
    TESTS: "Tests of a rule's condition that were timed.",
    SECONDS: "Time that these tests took.",
}


class RuleCounts:
    """A collector of the library, too: `collect` is for whoever asks a registry for one value."""

    def __init__(self) -> None:
        self._outcomes: dict[str, dict[str, int]] = {}
        self._tests: dict[str, int] = {}
        self._seconds: dict[str, float] = {}

    def keep(self, rules: Collection[str]) -> None:
        """These are the rules that are used."""
        for rule in self._outcomes.keys() - set(rules):
            del self._outcomes[rule], self._tests[rule], self._seconds[rule]
        for rule in rules:
            self._begin(rule)

    def decided(self, rule: str, outcome: str, times: int) -> None:
        self._begin(rule)
        outcomes = self._outcomes[rule]
        outcomes[outcome] = outcomes.get(outcome, 0) + times

    def tested(self, rule: str, seconds: float) -> None:
        self._begin(rule)
        self._tests[rule] += 1
        self._seconds[rule] += seconds

    def _begin(self, rule: str) -> None:
        if rule not in self._outcomes:
            self._outcomes[rule] = dict.fromkeys((outcome.value for outcome in Outcome), 0)
            self._tests[rule], self._seconds[rule] = 0, 0.0

    def collect(self) -> Iterator[Metric]:
        found = {name: Metric(name, text, "counter") for name, text in _TEXTS.items()}
        for rule, outcomes in self._outcomes.items():
            for outcome, times in outcomes.items():
                found[DECISIONS].add_sample(f"{DECISIONS}_total", {"rule": rule, "outcome": outcome}, times)
            found[TESTS].add_sample(f"{TESTS}_total", {"rule": rule}, self._tests[rule])
            found[SECONDS].add_sample(f"{SECONDS}_total", {"rule": rule}, self._seconds[rule])
        yield from found.values()

    def text(self, of_counters: str = "_total") -> bytes:
        """`of_counters`: what follows the name of a counter's family; OpenMetrics names it without."""
        rules = {rule: _escaped(rule) for rule in self._outcomes}
        lines = [_header(DECISIONS, of_counters)]
        lines += [
            f'{DECISIONS}_total{{outcome="{outcome}",rule="{rules[rule]}"}} {times}\n'
            for rule, outcomes in self._outcomes.items()
            for outcome, times in outcomes.items()
        ]
        for name, values in ((TESTS, self._tests), (SECONDS, self._seconds)):
            lines.append(_header(name, of_counters))
            lines += [f'{name}_total{{rule="{rules[rule]}"}} {value}\n' for rule, value in values.items()]
        return "".join(lines).encode()


def _header(name: str, end: str) -> str:
    return f"# HELP {name}{end} {_TEXTS[name]}\n# TYPE {name}{end} counter\n"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
