"""docs/policy-tutorial.md is what it says: its files load, their tests pass, and its events lead to its decisions."""

from __future__ import annotations

import json
import re

from engine.core.contract.message import rfc3339
from engine.core.plan.compile import compile_rule_set
from engine.core.reading.decode import Taken, decode
from engine.core.rules.ruleset import RuleSet
from engine.insight.decisions import decided_of, lines
from engine.publish.starter import FILES
from engine.rulefile.read.load import load
from engine.rulefile.trial.run import run_tests
from tests.core.making import Desk, decisions
from tests.services.process import REPOSITORY

TUTORIAL = (REPOSITORY / "docs/policy-tutorial.md").read_text(encoding="utf-8")
LATER_MS = 1_800_000_000_000
STEPS = re.split(r"^## ", TUTORIAL, flags=re.MULTILINE)[1:]


def rule_set() -> RuleSet:
    written = re.findall(r"^cat > polite/rules/(\S+) <<'END'\n(.*?)^END$", STEPS[0], re.MULTILINE | re.DOTALL)
    found = load(FILES | dict(written))
    assert isinstance(found, RuleSet), "\n".join(map(str, found))
    return found


def test_the_rules_pass_their_tests():
    report = run_tests(rule_set())
    passed = len(report.results) - len(report.failed)
    assert f"{passed} of {len(report.results)} tests passed, " in STEPS[0]
    assert f"rules without a test: {', '.join(report.untested)}\n" in STEPS[0]


def test_the_events_lead_to_the_decisions():
    plan = compile_rule_set(rule_set())
    desk, shown = Desk(plan), 0
    for step in STEPS[2:7]:
        for value, topic in re.findall(r"^echo '(.*)' \| send (\w+)$", step, re.MULTILINE):
            taken = decode(topic, b"K1", value.encode(), LATER_MS)
            assert isinstance(taken, Taken)
            assert not taken.unread
            desk.take((topic, taken.event))
        said = list(lines(decided_of(plan, desk.states["K1"], decisions(desk.decided), 7)))
        for block in re.findall(r"^```console\n(.*?)^```$", step, re.MULTILINE | re.DOTALL):
            wanted = [line for line in block.splitlines() if line]
            start = said.index(wanted[0])
            assert [line for line in said[start:] if line][: len(wanted)] == wanted
            shown += len(wanted)
    assert shown > 30
    (first, *others) = [json.loads(message.value or b"") for message in desk.messages if message.topic == "messages"]
    assert [one["rule_id"] for one in others] == ["bond-letter", "option-notice"]
    (message,) = re.findall(r"```json\n(.*?)```", STEPS[3], re.DOTALL)
    assert json.loads(message).items() <= first.items()
    assert rfc3339(desk.states["K1"].now_ms) == "2026-11-04T03:15:00.000Z"
