"""The simulation's rule sets as plans, each loaded and compiled once.

Enters: rule_texts. Leaves: plans, and the engine's own loading and compiling with a memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, lru_cache
from typing import Any

from engine.core.contract.outbound import Outcome
from engine.core.learn.columns import plan_of_features
from engine.core.plan.compile import Plan, compile_rule_set
from engine.core.rules.ruleset import RuleSet
from engine.rulefile.read.load import load
from tests.simulation.rule_texts import GOOD


@lru_cache(maxsize=16)
def plan_of(number: int) -> Plan:
    rule_set = load(GOOD[number])
    assert isinstance(rule_set, RuleSet), "\n".join(map(str, rule_set))
    return compile_rule_set(rule_set)


@lru_cache(maxsize=1)
def plans() -> dict[str, Plan]:
    """Every good rule set, by digest; others once they were compiled."""
    return {plan.rule_set.digest: plan for plan in map(plan_of, range(len(GOOD)))}


@cache
def possible(digest: str) -> frozenset[tuple[str, str]]:
    """(rule, outcome) of all that can happen by this rule set; to what other rules held, too."""
    own = _possible(plans()[digest].rule_set)
    ended = {Outcome.EXPIRED, Outcome.NO_LONGER_TRUE, Outcome.RETRACTED}
    held = {(rule, end) for plan in plans().values() for rule, end in _possible(plan.rule_set) if end in ended}
    return own | held


def _possible(rule_set: RuleSet) -> frozenset[tuple[str, str]]:
    return frozenset((rule.id, outcome) for rule in rule_set.rules for outcome in rule_set.outcomes_of(rule))


_loaded: dict[tuple[tuple[str, str], ...], Any] = {}


def load_once(load_files: Any) -> Any:
    """The engine's own loading, remembered: texts never change and reading YAML is slow."""

    def loading(files: Any, whose: str) -> Any:
        key = tuple(sorted(files.items()))
        if key not in _loaded:
            try:
                _loaded[key] = load_files(files, whose)
            except Exception as error:
                _loaded[key] = error
        found = _loaded[key]
        if isinstance(found, Exception):
            raise type(found)(*found.args)
        return found

    return loading


def compile_once(rule_set: RuleSet) -> Plan:
    known = plans()
    if rule_set.digest not in known:
        known[rule_set.digest] = compile_rule_set(rule_set)
    return known[rule_set.digest]


@lru_cache(maxsize=64)
def _features(digest: str, names: frozenset[str]) -> Plan:
    return plan_of_features(plans()[digest].rule_set, names)


def features_once(rule_set: RuleSet, names: Iterable[str]) -> Plan:
    """A plan of features alone, compiled once."""
    return _features(rule_set.digest, frozenset(names))
