"""A pool's advisors as they are by the hour: the roster, and what the topic advisors said since.

Enters: a Roster, what a pool has heard, a change. Leaves: Advisors; what was heard, changed.
Holds: each fact has the time of the record that said it, and the latest holds, in whatever order and however often
records come: of two of one time the one with the greater event_id. What was never said, or is null, is the roster's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from engine.core.assign.roster import Advisor, Leave, Roster
from engine.core.assign.state import Fact, PoolState

PLAIN: Final = ("present", "last_day", "capacity", "open_tasks")
LEAVE: Final = "leave "  # and its first day
MAX_LEAVES: Final = 32  # of an advisor: those that begin last
Staff = tuple[Advisor, ...]


def hear(pool: PoolState, advisor: str, said: Mapping[str, Any], time_ms: int, event: str) -> bool:
    """Whether a record says anything that holds now and did not before. `said` has PLAIN names, and those of leaves."""
    facts, new = pool.said.setdefault(advisor, {}), False
    for name, value in said.items():
        fact = Fact(time_ms, event, value)
        if (before := facts.get(name)) is None or fact[:2] > before[:2]:
            facts[name], new = fact, True
    for name in sorted(name for name in facts if name.startswith(LEAVE))[:-MAX_LEAVES]:
        del facts[name]
    pool.staff = None
    return new


def staff(roster: Roster, pool: PoolState) -> Staff:
    """All of the pool, in the order of names."""
    return _now(roster, pool)[0] if pool.said else roster.advisors.get(pool.name, ())


def with_leave(roster: Roster, pool: PoolState) -> Staff:
    """Those of them who have leaves."""
    return _now(roster, pool)[1] if pool.said else roster.away.get(pool.name, ())


def count(roster: Roster, pool: PoolState) -> None:
    """How much all of the pool take together, for those who read it."""
    if pool.counted is not (of_pool := staff(roster, pool)):
        pool.counted, pool.capacity = of_pool, sum(one.capacity for one in of_pool)


def _now(roster: Roster, pool: PoolState) -> tuple[Staff, Staff]:
    """Both, made once for a roster and what was said."""
    if pool.staff is None or pool.staff[0] is not roster:
        everybody = tuple(_as_said(one, pool.said.get(one.name)) for one in roster.advisors.get(pool.name, ()))
        pool.staff = roster, (everybody, tuple(one for one in everybody if one.leave))
    found: tuple[Staff, Staff] = pool.staff[1]
    return found


def _as_said(advisor: Advisor, facts: dict[str, Fact] | None) -> Advisor:
    if facts is None:
        return advisor
    said = {name: fact.value for name, fact in facts.items() if fact.value is not None}
    leaves = {one.first: one for one in advisor.leave if LEAVE + one.first not in facts}
    for name, value in said.items():
        if name.startswith(LEAVE):
            first = name.removeprefix(LEAVE)
            leaves[first] = Leave(first, *value)
    return replace(
        advisor,
        capacity=said.get("capacity", advisor.capacity),
        open_tasks=said.get("open_tasks", advisor.open_tasks),
        last_day=said.get("last_day", advisor.last_day),
        leave=tuple(leaves[first] for first in sorted(leaves)),
        absent_ms=facts["present"].time_ms if said.get("present") is False else None,
    )
