"""Counters with a series for each rule: what became of it when it matched, and what a sample of its tests took.

Enters: rules, counts. Leaves: Prometheus text. Holds: every rule that is used has a series, from 0, for whatever can
become of it, and for nothing else; a rule that is not used any more has none. With thousands of rules these are nearly
all series of a worker, and its event loop waits while they are written, so a series is a number here and not an object
of the library.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from prometheus_client.metrics_core import Metric

from engine.core.contract.outbound import Outcome
from engine.core.rules.ruleset import RuleSet

DECISIONS: Final = "engage_decisions"
TESTS: Final = "engage_rule_sampled_tests"
SECONDS: Final = "engage_rule_sampled_seconds"
_TEXTS: Final = {
    DECISIONS: "Rules that matched, by what became of them.",
    TESTS: "Tests of a rule's condition that were timed.",
    SECONDS: "Time that these tests took.",
}

Outcomes = Mapping[str, tuple[Outcome, ...]]  # rule -> what can become of it


def outcomes_of(rule_set: RuleSet) -> Outcomes:
    return {rule.id: rule_set.outcomes_of(rule) for rule in rule_set.rules}


def merged(several: Collection[Outcomes]) -> Outcomes:
    """Of rule sets that are used side by side, while partitions change from one to the other."""
    if len(several) == 1:
        return next(iter(several))
    found: dict[str, set[Outcome]] = {}
    for outcomes in several:
        for rule, possible in outcomes.items():
            found.setdefault(rule, set()).update(possible)
    return {rule: tuple(outcome for outcome in Outcome if outcome in possible) for rule, possible in found.items()}


class RuleCounts:
    """A collector of the library, too: `collect` is for whoever asks a registry for one value."""

    def __init__(self) -> None:
        self._outcomes: dict[str, dict[str, int]] = {}
        self._tests: dict[str, int] = {}
        self._seconds: dict[str, float] = {}

    def keep(self, rules: Outcomes) -> None:
        """These are the rules that are used, each with what can become of it."""
        before, self._outcomes = self._outcomes, {}
        for rule, outcomes in rules.items():
            counted = before.get(rule, {})
            self._outcomes[rule] = {outcome.value: counted.get(outcome, 0) for outcome in outcomes}
        self._tests = {rule: self._tests.get(rule, 0) for rule in rules}
        self._seconds = {rule: self._seconds.get(rule, 0.0) for rule in rules}

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
            self._outcomes[rule] = {}
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
