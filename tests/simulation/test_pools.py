"""The simulation with both processors: no request is lost or answered twice, no advisor has more than fits."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from engine.core.assign import choice, staff, tasks
from engine.core.assign.state import PoolState
from engine.core.decide import assigning, path
from engine.core.decide import pools as deciding
from engine.core.reading import decode
from engine.processors.assignment import ASSIGNMENT
from tests.simulation.pools import WITH_POOLS, judge, with_pools
from tests.simulation.run import Result, run_scenario
from tests.simulation.scenario import generate

pytestmark = pytest.mark.simulation


def run(seed: int) -> Result:
    random = Random(seed)
    scenario = generate(random, seed)
    with_pools(scenario, Random(f"{seed}: advisors"))
    return run_scenario(scenario, random, judge=judge, rules=WITH_POOLS, further=(ASSIGNMENT,))


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_seeds(first: int) -> None:
    happened: Counter[str] = Counter()
    for seed in range(first, first + 20):
        result = run(seed)
        assert result.violations == [], f"seed {seed}"
        happened += result.seen
    assert any(what.startswith("crash") for what in happened)
    assert all(happened[f"answer {why}"] for why in ("", "stand_in", "back", "not_accepted", "other_pool", "conflict"))
    assert all(happened[f"change {what}"] for what in ("present", "capacity", "last_day", "leave", "unknown_value"))
    assert all(
        happened[f"room {what}"] for what in ("room", "away", "withdrawn", "returned", "waits", "brought", "counted")
    )


def _keeps_all(client: Any) -> list[Any]:
    return []


def _any_answer(client: Any, answer: Any) -> list[Any]:
    client.asked = [answer.pool, answer.request_id, client.advisor_id]
    return _ANSWERED(client, answer)


def _room_for_all(roster: Any, pool: Any, asked: Any, advisor: Any) -> str:
    why = _WHY_NOT(roster, pool, asked, advisor)
    return "" if why == "capacity" else why


def _as_it_came(pool: Any, advisor: str, said: Any, time_ms: int, event: str) -> bool:
    return staff.hear(pool, advisor, said, pool.now_ms, event)


def _any_number(roster: Any, pool: Any, advisor: str = "") -> Any:
    free = {name: tuple(replace(one, open_tasks=None) for one in of) for name, of in roster.advisors.items()}
    pool.staff = None
    answers = _SERVE(replace(roster, advisors=free), pool, advisor)
    pool.staff = None
    return answers


def _not_heard(pool: Any, request: str) -> Any:
    return pool.tasks.get(request)


def _as_if_there_was_room(client: Any, answer: Any) -> list[Any]:
    for room in client.rooms:
        room[assigning.STANDING] = assigning.GIVEN
    return _ANSWERED(client, answer)


def _part_by_pool_alone(roster: Any, pool: Any) -> Any:
    free = {name: tuple(replace(one, not_for=()) for one in of) for name, of in roster.advisors.items()}
    pool.staff = None
    answers = _PART(replace(roster, advisors=free), pool)
    pool.staff = None
    return answers


_PART = choice._part
_ANSWERED, _WHY_NOT, _SERVE = assigning.answered, choice.why_not, tasks.serve
BUGS: dict[str, tuple[Any, str, Any]] = {
    "who has another advisor is not released": (assigning, "settle", _keeps_all),
    "an answer counts though nobody asked any more": (assigning, "answered", _any_answer),
    "a release is not heard": (deciding, "release", lambda roster, pool, request, client, time_ms: []),
    "capacity is not asked": (choice, "why_not", _room_for_all),
    "nobody hears of a stand-in": (choice, "_turn_over", lambda roster, pool: []),
    "a client who is moved goes by the answer before": (assigning, "_moved", lambda client, answer: None),
    "time does not serve who waits": (deciding, "pass_time", lambda roster, pool, until_ms: []),
    "what came last of an advisor holds": (choice, "noted", _as_it_came),
    "an advisor gets any number of tasks": (tasks, "serve", _any_number),
    "room is kept by what is closed": (assigning, "_stands", lambda client, room: True),
    "a pool does not hear that room is given back": (PoolState, "end", _not_heard),
    "an answer to one task gives room to all": (assigning, "answered", _as_if_there_was_room),
    "what is open does not go with the client": (assigning, "is_with_advisor", lambda item: False),
    "a pool does not count what is brought": (tasks, "bring", lambda pool, request, task: None),
    "whoever has a client keeps it": (choice, "_part", lambda roster, pool: []),
    "a conflict is not seen": (choice, "_part", _part_by_pool_alone),
    "another worker's clock refuses a request": (decode, "OWN", frozenset()),
}


@pytest.mark.parametrize("bug", BUGS)
def test_the_auditor_sees_a_bug(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert path.assigning is assigning
    monkeypatch.setattr(*BUGS[bug])
    assert any(run(seed).violations for seed in range(40))
