"""The departments of teams.yaml: who can own a rule or a type of event.

Enters: nothing. Leaves: Team, and the headers of what a team's rules send.
Holds: a set without teams.yaml has no teams, and then any name is an owner.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

TEAMS_FILE: Final = "teams.yaml"
Headers = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Team:
    name: str
    title: str
    head: str  # whom it is escalated to: an id or a role of the firm's staff
    topics: tuple[str, ...] = ()  # that its systems read; none: any
    headers: tuple[tuple[str, str], ...] = ()  # of its actions' records, for systems that filter by them
    description: str = ""


def headers_by_team(teams: Iterable[Team]) -> dict[str, Headers]:
    """As records have them, of those that have any."""
    return {team.name: tuple((name, value.encode()) for name, value in team.headers) for team in teams if team.headers}
