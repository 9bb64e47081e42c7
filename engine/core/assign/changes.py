"""What a rule set takes from staff who hold work or clients by the one before it.

Enters: the active rule set and the one that follows. Leaves: StaffChanges. Holds: pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class StaffChanges:
    teams_gone: frozenset[str]  # from teams.yaml
    advisors_gone: frozenset[str]  # from advisors.yaml and .csv
    moved: dict[str, tuple[str, str]]  # advisor -> the pool before, the pool now
    barred: dict[str, frozenset[str]]  # advisor -> clients whom not_for names since

    def __bool__(self) -> bool:
        return bool(self.teams_gone or self.advisors_gone or self.moved or self.barred)


def staff_changes(old: Any, new: Any) -> StaffChanges:
    """A set without teams.yaml lets any name own work; one without assignment.yaml has no pools that would act."""
    teams = {team.name for team in old.teams} - {team.name for team in new.teams} if new.teams else set[str]()
    before, now = ({one.name: one for one in of.advisors} for of in (old, new))
    if new.assignment is None:
        before = {}
    declared = {pool.name for pool in new.assignment.pools} if new.assignment is not None else set[str]()
    both = sorted(before.keys() & now.keys())
    return StaffChanges(
        frozenset(teams),
        frozenset(before.keys() - now.keys()),
        {
            name: (before[name].pool, now[name].pool)
            for name in both
            if before[name].pool != now[name].pool and before[name].pool in declared
        },
        {
            name: frozenset(now[name].not_for) - frozenset(before[name].not_for)
            for name in both
            if not frozenset(now[name].not_for) <= frozenset(before[name].not_for)
        },
    )
