"""When the breaker pauses which rules, and that a pause loses and doubles nothing, whatever the history."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from engine.core.client.sections import pack, unpack
from engine.core.decide.path import Due, Sweep, decide
from engine.core.plan.compile import Plan, compile_rule_set, paused_otherwise
from engine.core.rules.policy import Bounds, Breaker, Pause, Resumption
from engine.core.rules.ruleset import RuleSet
from engine.rulefile.read.load import load
from engine.rulefile.tools.diff import differences
from engine.runtime.rule_sets.bounds import Counted, beyond, bounds_on, counts, sliding
from tests.core.making import DAY_MS, HOUR_MS, at, login, plan_of, profile, published, rule

POLICY = "contact: {daily_cap: 2}\n"
RULES = (
    rule("a"),
    rule("b", audience="team", kind="task"),
    rule("law", **{"class": "regulatory"}),
    rule("own", breaker="{per_minute: 5}"),
)


def rules_with(breaker: str) -> RuleSet:
    return plan_of(*RULES, others=(("policy.yaml", f"{POLICY}breaker: {breaker}\n"),)).rule_set


def refused(files: dict[str, str]) -> list[str]:
    found = load(dict(plan_of(*RULES).rule_set.files) | files)
    assert not isinstance(found, RuleSet)
    return [f"{one.file}:{one.line}: {one.message}" for one in found]


def test_what_is_counted_and_which_bounds_there_are():
    rule_set = rules_with("{each_rule: {per_minute: 10, per_hour: 100, times_usual: 3}}")
    assert set(counts(rule_set)) == {"a", "b", "own"}
    bounds = {one.id: bounds_on(rule_set, one) for one in rule_set.rules}
    assert bounds["a"] == bounds["b"] == Bounds(10, 100, 3)
    assert bounds["own"] == Bounds(5, 100, 3)
    assert bounds["law"] is None
    without = plan_of(*RULES).rule_set
    assert set(counts(without)) == {"own"}  # a bound of its own needs no policy
    excepted = rules_with("{each_rule: {per_minute: 10}, except: [service, law]}")
    assert set(counts(excepted)) == {"own"}
    assert excepted.policy.breaker == Breaker(Bounds(10), Bounds(), ("service", "law"))
    assert counts(rules_with("{each_rule: {per_minute: 10}, except: []}")).keys() == {"a", "b", "law", "own"}
    renamed = plan_of(
        rule("new", was="old"), others=(("policy.yaml", f"{POLICY}breaker: {{all: {{per_hour: 2}}, except: old}}"),)
    )
    assert counts(renamed.rule_set) == {}


@pytest.mark.parametrize(
    ("had", "why"),
    [
        (Counted(10, 100, 40), ""),
        (Counted(11, 100, 40), "11 actions in a minute, 10 are allowed"),
        (Counted(10, 101, 40), "101 actions in an hour, 100 are allowed"),
        (Counted(0, 61, 20), "61 actions in an hour, more than 3 times its busiest of 8 days, 20"),
        (Counted(0, 60, 20), ""),
        (Counted(0, 50, 2), ""),  # no more than usual_from
        (Counted(0, 51, 2), "51 actions in an hour, more than 3 times its busiest of 8 days, 2"),
        (Counted(0, 99, 0), ""),  # nothing is known of what is usual
    ],
)
def test_a_rule_beyond_its_bounds(had, why):
    rule_set = rules_with("{each_rule: {per_minute: 10, per_hour: 100, times_usual: 3, usual_from: 50}}")
    assert beyond(rule_set, {"a": had, "law": Counted(10**6, 10**6), "gone": had}) == ({"a": why} if why else {})
    paused = replace(rule_set, paused=(Pause("a", 1, "ann", "why"),))
    assert beyond(paused, {"a": had}) == {}


def test_of_all_rules_those_are_paused_that_are_most_above_what_is_usual():
    rule_set = rules_with("{all: {per_hour: 1_000}}")
    as_usual = {"a": Counted(0, 600, 600), "b": Counted(0, 300, 10), "own": Counted(0, 90, 0)}
    assert beyond(rule_set, as_usual) == {}
    found = beyond(rule_set, as_usual | {"own": Counted(0, 150, 0)})
    assert list(found) == ["b"]
    assert (
        found["b"] == "1,050 actions of all rules in an hour, 1,000 are allowed: 300 are its own, 290 more than usual"
    )
    assert set(beyond(rule_set, {"a": Counted(0, 5_000, 600), "b": Counted(0, 1_200, 10)})) == {"a", "b"}
    # those that are excepted count for nothing: pausing others would not help
    assert beyond(rule_set, {"a": Counted(0, 600, 600), "law": Counted(0, 10_000, 0)}) == {}
    both = rules_with("{each_rule: {per_minute: 50}, all: {per_minute: 60}}")
    assert set(beyond(both, {"a": Counted(55, 55), "b": Counted(40, 40)})) == {"a"}  # without it all is well


def test_the_last_minute_by_the_counts_of_two():
    earlier, current = {"a": 60, "b": 10}, {"a": 5, "c": 1}
    assert sliding((earlier, current), 0.0) == {"a": 65, "b": 10, "c": 1}
    assert sliding((earlier, current), 0.5) == {"a": 35, "b": 5, "c": 1}
    assert sliding((earlier, current), 0.99) == {"a": 5, "b": 0, "c": 1}


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("{}", ["policy.yaml:2: neither each_rule nor all"]),
        ("{each_rule: {}}", ["policy.yaml:2: none of per_minute, per_hour, times_usual"]),
        ("{all: {times_usual: 3}}", ['policy.yaml:2: unknown key "times_usual"']),
        ("{each_rule: {usual_from: 3, per_minute: 1}}", ["policy.yaml:2: usual_from without times_usual"]),
        ("{each_rule: {per_minute: 0}}", ["policy.yaml:2: 0 is out of range"]),
        ("{each_rule: {per_minute: 10, per_hour: 600}}", ["policy.yaml:2: 600 in an hour, and 10 in a minute"]),
        (
            "{each_rule: {per_minute: 1}, except: [law, marketing, lau]}",
            ['policy.yaml:2: neither a class nor a rule: "lau"'],
        ),
    ],
)
def test_faults_of_a_breaker_are_named(text, faults):
    assert refused({"policy.yaml": f"{POLICY}breaker: {text}\n"}) == faults


def test_what_differs_between_two_breakers():
    one = rules_with("{each_rule: {per_minute: 10, per_hour: 100}}")
    other = rules_with("{each_rule: {per_minute: 20, per_hour: 100}, except: [law]}")
    assert [str(found) for found in differences(one, other)] == [
        "policy:\n  breaker each rule per minute: 10 becomes 20\n  breaker exempt: law added\n"
        "  breaker exempt: regulatory removed"
    ]


# -- whatever the history ----------------------------------------------------------------------------------------------

RUNAWAY = (
    rule("run", cooldown="1m", expires="20h", still="false"),
    rule("work", audience="team", kind="task", cooldown="1m", expires="3d"),
)
WITH_QUIET = """\
classes:
  service: {when_quiet: hold, collect: 5m}
quiet_hours: {night: {hours: "21:30-08:30"}}
release_over: 1h
"""


@pytest.mark.parametrize("seed", range(40))
def test_each_match_ends_exactly_once(seed):
    """Logins, pauses, ends of pauses, sweeps and ticks in any order, over two clients."""
    chance = Random(seed)
    policy = "contact: {daily_cap: 100}\n" + (WITH_QUIET if seed % 2 else "")
    plan = plan_of(*RUNAWAY, others=(("policy.yaml", policy),))
    states = {}
    now_ms = at(0, hour=0)
    decide(plan, states, [profile(now_ms, client) for client in ("c1", "c2")])
    outcomes: Counter[tuple[str, str]] = Counter()
    causes: Counter[tuple[str, str, str]] = Counter()
    logins = 0

    def step(plan: Plan, item) -> None:
        decided = decide(plan, states, [item])
        outcomes.update(decided.outcomes)
        for action in published(decided.messages):
            if "rule_id" in action:
                causes[action["rule_id"], action["client_id"], action["cause"]["event_id"]] += 1

    for _ in range(120):
        now_ms += chance.choice((60_000, HOUR_MS // 3, 2 * HOUR_MS))
        dice, client = chance.random(), chance.choice(("c1", "c2"))
        if dice < 0.5:
            step(plan, login(now_ms, client))
            logins += 1
        elif dice < 0.7:
            plan = _repaused(plan, chance, now_ms)
            states = {key: unpack(plan.layout, pack(plan.layout, state)) for key, state in states.items()}
            for each in ("c1", "c2") if chance.random() < 0.8 else ():
                step(plan, Sweep(each, now_ms))
        else:
            step(plan, Due(client, now_ms))
    plan = paused_otherwise(plan, replace(plan.rule_set, paused=()))
    for client in ("c1", "c2"):
        step(plan, Sweep(client, now_ms))
        while states[client].waiting:
            step(plan, Due(client, max(states[client].due_ms, now_ms)))
            now_ms += DAY_MS
    assert outcomes["run", "held"] + outcomes["work", "held"] > 0
    for rule_id in ("run", "work"):
        final = sum(times for (id_, outcome), times in outcomes.items() if id_ == rule_id and outcome != "held")
        assert final == logins
    assert max(causes.values()) == 1


def _repaused(plan: Plan, chance: Random, now_ms: int) -> Plan:
    """One of the rules is paused, or is not any more, dropping what it held or not."""
    rule_set, which = plan.rule_set, chance.choice(("run", "work"))
    stands = {pause.rule: pause for pause in rule_set.paused}
    ends = {end.rule: end for end in rule_set.resumed}
    if which in stands:
        del stands[which]
        before = ends[which].dropped_ms if which in ends else 0
        ends[which] = Resumption(which, now_ms, "ann", "why", now_ms if chance.random() < 0.4 else before)
    else:
        stands[which] = Pause(which, now_ms, "ann", "why")
    changed = replace(rule_set, paused=tuple(stands.values()), resumed=tuple(ends.values()))
    return compile_rule_set(changed) if chance.random() < 0.2 else paused_otherwise(plan, changed)
