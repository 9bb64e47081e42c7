"""The simulation with budgets: what is sent never costs more than the limit, and every sum agrees, whatever fails."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest

from engine.core.assign import budgets as granting
from engine.core.assign.budgets import Part
from engine.core.decide import pools
from engine.core.policy import rates
from engine.core.rules.policy import Budget
from engine.processors.assignment import ASSIGNMENT
from tests.simulation.budgets import WITH_BUDGETS, judge, with_budgets
from tests.simulation.run import Result, run_scenario
from tests.simulation.scenario import generate

pytestmark = pytest.mark.simulation


def run(seed: int) -> Result:
    random = Random(seed)
    scenario = generate(random, seed)
    with_budgets(scenario)
    return run_scenario(scenario, random, judge=judge, rules=WITH_BUDGETS, further=(ASSIGNMENT,))


@pytest.mark.parametrize("first", range(0, 40, 20))
def test_seeds(first: int) -> None:
    happened: Counter[str] = Counter()
    for seed in range(first, first + 20):
        result = run(seed)
        assert result.violations == [], f"seed {seed}"
        happened += result.seen
    assert any(what.startswith("crash") for what in happened)
    assert all(happened[f"budget {what}"] for what in ("grant", "return", "granted", "nothing"))


def _keeps_the_rest(name: str, block: Any, now_ms: int, messages: list[Any]) -> Any:
    return _CLOSED(name, block._replace(left=0), now_ms, messages)


def _gives_whatever_is_wanted(budget: Any, request: str, asked: Part, limit: int | None, partitions: int) -> Part:
    wanted = asked._replace(limit=10**9)
    return _GRANT(budget, request, wanted, 10**9, partitions)._replace(limit=min(limit or 0, asked.limit))


def _counts_late_ones(budgets: Any, pace: Any, answer: Any) -> Any:
    block = pace.block(answer.budget)
    if block is not None and answer.request_id in block.late:
        pace.keep(answer.budget, block._replace(request=answer.request_id, late=()))
    return _ANSWERED(budgets, pace, answer)


def _counts_each_time(budget: Any, request: str, asked: Part, limit: int | None, partitions: int) -> Part:
    return _GRANT(budget, f"{request}{len(budget.answers)}", asked, limit, partitions)


def _asks_by_its_own_limit(budget: Any, request: str, asked: Part, limit: int | None, partitions: int) -> Part:
    return _GRANT(budget, request, asked._replace(limit=limit or 0), limit, partitions)


_CLOSED, _ANSWERED, _GRANT = rates._closed, rates.answered, granting.grant
BUGS: dict[str, tuple[Any, str, Any]] = {
    "what is left of a block is kept to oneself": (rates, "_closed", _keeps_the_rest),
    "the limit is not asked": (pools, "grant", _gives_whatever_is_wanted),
    "an answer to a former period counts": (rates, "answered", _counts_late_ones),
    "an answer is decided again when it is asked again": (pools, "grant", _counts_each_time),
    "the limit is that of whoever grants alone": (pools, "grant", _asks_by_its_own_limit),
    "what is given back is not heard": (pools, "give_back", lambda budget, request, period, amount: None),
    "what an action costs is not what is spent": (Budget, "cost_of", lambda budget, own, channel: 1),
}


@pytest.mark.parametrize("bug", BUGS)
def test_the_auditor_sees_a_bug(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*BUGS[bug])
    assert any(run(seed).violations for seed in range(30))
