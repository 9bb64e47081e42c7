"""examples/pools beside the shipped rules: it is right, nothing is doubtful, and a client of tier A gets an advisor."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from engine.core.decide.timeline import Timeline
from engine.core.plan.compile import compile_rule_set
from engine.core.rules.ruleset import RuleSet
from engine.rulefile.lint.lint import lint
from engine.rulefile.read.load import load, read_directory
from engine.rulefile.tools.format import formatted
from engine.rulefile.trial.run import run_tests
from tests.core.making import at, balance, login, profile
from tests.services.process import REPOSITORY

POOLS = REPOSITORY / "examples/pools"
FILES = {path.name: path.read_text(encoding="utf-8") for path in sorted(POOLS.glob("*.yaml"))}


@pytest.fixture(scope="module")
def rule_set() -> RuleSet:
    found = load(read_directory(REPOSITORY / "rules") | FILES)
    assert isinstance(found, RuleSet), "\n".join(map(str, found))
    return found


def test_it_is_laid_out_and_nothing_is_doubtful(rule_set: RuleSet):
    assert {name: formatted(name, text) for name, text in FILES.items()} == FILES
    assert [str(found) for found in lint(rule_set)] == []


def test_its_tests_pass_and_those_of_the_shipped_rules_beside_it(rule_set: RuleSet):
    results = run_tests(rule_set).results
    assert [(one.test.rule, one.test.name) for one in results if one.failure] == []
    own = Counter(one.test.file for one in results if one.test.file in FILES)
    assert own == {"assignment.yaml": 6, "pools.yaml": 5}


def test_a_client_of_tier_a_gets_an_advisor_and_hears_of_it(rule_set: RuleSet):
    timeline = Timeline(compile_rule_set(rule_set), {}, {})
    told = []
    for topic, event in (
        profile(at(0), type="individual", region="east", language="zh-CN", consents={"app_push": True}),
        balance(at(0.1), 60_000_000),
        login(at(0.2)),
    ):
        told += [message for decided in timeline.take(topic, event) for message in decided.messages]
    assert timeline.states["c1"].advisor_id == "li-na"
    answers = [json.loads(one.value) for one in told if one.topic == "assignment_answers"]
    assert [(one["pool"], one["outcome"]) for one in answers] == [("wealth_east", "assigned")]
    words = [json.loads(one.value) for one in told if one.topic == "messages"]
    assert {"advisor": "li-na"} in [
        {"advisor": one["parameters"]["advisor"]} for one in words if one["rule_id"] == "advisor-for-you"
    ]
