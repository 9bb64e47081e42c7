"""Who takes clients, and by what: what advisors.yaml and assignment.yaml declare.

Enters: nothing (the rulefile package builds these from YAML). Leaves: frozen dataclasses; a Roster, ready to choose by.
Holds: a client's pool is the first whose condition holds; an advisor is of one pool.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from engine.core.language.types import Expression

ADVISORS_FILE: Final = "advisors.yaml"
ADVISORS_SHEET: Final = "advisors.csv"  # the same as rows; each advisor is in one of the two
ASSIGNMENT_FILE: Final = "assignment.yaml"
ROOM_KINDS: Final = ("task", "alert")  # of actions, of which an advisor can have at most so many open


@dataclass(frozen=True, slots=True)
class Leave:
    """An advisor is away from the beginning of one day to the end of another."""

    first: str  # days of the firm's calendar, as in 2027-06-30
    last: str
    stand_in: str | None = None  # who has the clients meanwhile; None: they stay, and no new ones come


@dataclass(frozen=True, slots=True)
class Advisor:
    """Empty tuples: any."""

    name: str
    pool: str
    capacity: int  # of clients, each by the weight of its tier
    regions: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()  # as in zh or en, whatever the region
    tiers: tuple[str, ...] = ()
    skills: tuple[tuple[str, int], ...] = ()  # with the level
    licence_until: str | None = None  # the last day on which it holds; None: for good
    leave: tuple[Leave, ...] = ()  # by day
    last_day: str | None = None  # with the firm: after it no new clients come; None: it is not known
    not_for: tuple[str, ...] = ()  # clients whom this advisor must not have: relatives, an employer
    open_tasks: int | None = None  # at most so many tasks and alerts are open with the advisor; None: any
    absent_ms: int | None = None  # since when, by the topic advisors; None: present

    def away(self, day: str) -> Leave | None:
        return next((one for one in self.leave if one.first <= day <= one.last), None)


@dataclass(frozen=True, slots=True)
class Widening:
    """After so long a request asks for so much less of each skill."""

    waited_s: int
    by: int


@dataclass(frozen=True, slots=True)
class Pool:
    name: str
    when: Expression  # over the client
    team: str  # whom it is escalated to
    needs: tuple[tuple[str, Expression], ...] = ()  # skill -> the level that a client needs; 0, or missing: none
    widen: tuple[Widening, ...] = ()  # by time
    give_up_s: int = 0  # after so long without anybody the answer is that there is no capacity
    accept_s: int = 0  # so long an advisor has to accept a client, then it is the next one's turn; 0: nobody has to
    conflict: Expression | None = None  # over the client: whom it holds for is not to have the advisor of that moment
    open_tasks: int | None = None  # of each of its advisors who has no number of its own


@dataclass(frozen=True, slots=True)
class Assignment:
    pools: tuple[Pool, ...]  # in order: a client's is the first that holds
    weights: tuple[tuple[str, int], ...] = ()  # of tiers; 1 unless said


@dataclass(frozen=True, slots=True)
class Roster:
    """Both, by pool."""

    pools: dict[str, Pool]
    advisors: dict[str, tuple[Advisor, ...]]  # by pool, each in the order of names
    weights: dict[str, int]
    away: dict[str, tuple[Advisor, ...]]  # by pool: those of them who have leaves
    home: dict[str, str]  # advisor -> pool
    look: Callable[[Any, Any], None] | None = None  # hears of a pool and a request each time before it is decided

    def weight(self, tier: str | None) -> int:
        return self.weights.get(tier or "", 1)

    def is_elsewhere(self, advisor: str, pool: str) -> bool:
        """Whether the advisor is of another of the pools than this one."""
        return self.home.get(advisor, pool) != pool


def takes_room(rule: Any) -> bool:
    """Whether what the rule sends is open with an advisor until somebody closes it."""
    return rule.kind in ROOM_KINDS and rule.audience == "advisor" and rule.care is not None


def asks_room(rule: Any, rule_set: Any) -> bool:
    """Whether some advisors can have at most so many of it open."""
    pools = rule_set.assignment.pools if rule_set.assignment is not None else ()
    return takes_room(rule) and any(one.open_tasks is not None for one in (*pools, *rule_set.advisors))


def limited(rule_set: Any) -> tuple[tuple[str, str, bool], ...]:
    """Each advisor, the pool, and whether there is a number; nothing if each of them can have any."""
    pools = rule_set.assignment.pools if rule_set.assignment is not None else ()
    numbers = {pool.name for pool in pools if pool.open_tasks is not None}
    found = ((one.name, one.pool, one.open_tasks is not None or one.pool in numbers) for one in rule_set.advisors)
    of_all = tuple(sorted(found))
    return of_all if any(of for *_, of in of_all) else ()


NOBODY: Final = Roster({}, {}, {}, {}, {})


def roster_of(assignment: Assignment | None, advisors: Iterable[Advisor]) -> Roster:
    """Of a set that declares no assignment: one without pools, where nobody is assigned."""
    if assignment is None:
        return NOBODY
    pools = {pool.name: pool for pool in assignment.pools}
    by_pool: dict[str, list[Advisor]] = {name: [] for name in pools}
    for advisor in sorted(advisors, key=lambda one: one.name):
        most = advisor.open_tasks if advisor.open_tasks is not None else pools[advisor.pool].open_tasks
        by_pool[advisor.pool].append(replace(advisor, open_tasks=most))
    away = {name: tuple(one for one in found if one.leave) for name, found in by_pool.items()}
    home = {one.name: name for name, found in by_pool.items() for one in found}
    return Roster(pools, {name: tuple(found) for name, found in by_pool.items()}, dict(assignment.weights), away, home)
