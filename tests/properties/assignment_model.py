"""A slow model of a pool, written from docs/care.md alone: everything is counted anew from all that has happened.

Enters: a roster as plain values, requests and releases in order. Leaves: the answers, and what each advisor has.
Holds: nothing of core/assign is used.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

Plain = dict[str, Any]
FIRM = dt.timezone(dt.timedelta(hours=8))


@dataclass(slots=True)
class PoolModel:
    roster: Plain  # advisors: list of mappings; weights; widen: pairs of (milliseconds, by); give_up: milliseconds
    now: int = 0
    given: list[tuple[str, str, str, int]] = field(default_factory=list)  # request, client, advisor, weight
    ended: set[str] = field(default_factory=set)
    waiting: list[Plain] = field(default_factory=list)
    said: dict[str, tuple[int, str | None]] = field(default_factory=dict)  # request -> when, who

    def ask(self, asked: Plain) -> list[tuple[str, int, str | None]]:
        answers = self.pass_time(asked["time"])
        name = asked["request"]
        if name in self.said:
            return [*answers, (name, *self.said[name])]
        if any(one["request"] == name for one in self.waiting):
            return answers
        self.waiting.append(asked | {"since": self.now})
        return answers + self._try([self.waiting[-1]])

    def release(self, request: str, client: str, time: int) -> list[tuple[str, int, str | None]]:
        answers = self.pass_time(time)
        if request in self._has(client):
            self.ended.add(request)
            return answers + self._serve()
        self.waiting = [one for one in self.waiting if one["request"] != request]
        return answers

    def pass_time(self, until: int) -> list[tuple[str, int, str | None]]:
        answers: list[tuple[str, int, str | None]] = []
        while moments := [m for one in self.waiting for m in self._moments(one) if self.now < m <= until]:
            self.now = min(moments)
            answers += self._serve()
        self.now = max(self.now, until)
        return answers

    def change(self, roster: Plain, time: int) -> list[tuple[str, int, str | None]]:
        """Another roster: what fell due before is decided by it, too."""
        self.roster = roster
        return self.pass_time(time) + self._serve()

    def loads(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for _, advisor, weight in self._held().values():
            found[advisor] = found.get(advisor, 0) + weight
        return found

    # -- what follows from all that happened --------------------------------------------------------

    def _held(self) -> dict[str, tuple[str, str, int]]:
        last = {client: (request, advisor, weight) for request, client, advisor, weight in self.given}
        return {client: one for client, one in last.items() if one[0] not in self.ended}

    def _has(self, client: str) -> set[str]:
        return {request for who, (request, _, _) in self._held().items() if who == client}

    def _moments(self, one: Plain) -> list[int]:
        return [one["since"] + after for after, _ in self.roster["widen"]] + [one["since"] + self.roster["give_up"]]

    def _serve(self) -> list[tuple[str, int, str | None]]:
        return self._try(sorted(self.waiting, key=lambda one: (-one["priority"], one["since"], one["request"])))

    def _try(self, some: list[Plain]) -> list[tuple[str, int, str | None]]:
        answers = []
        for one in some:
            who = self._who(one)
            if who is None and self.now < one["since"] + self.roster["give_up"]:
                continue
            if who is not None:
                self.given.append((one["request"], one["client"], who, self._weight(one)))
            self.said[one["request"]] = self.now, who
            self.waiting = [other for other in self.waiting if other["request"] != one["request"]]
            answers.append((one["request"], self.now, who))
        return answers

    def _weight(self, one: Plain) -> int:
        return int(self.roster["weights"].get(one["tier"], 1))

    def _who(self, one: Plain) -> str | None:
        able = [advisor for advisor in self.roster["advisors"] if self._able(one, advisor)]
        before = [advisor for _, advisor, _ in [self._held()[one["client"]]]] if self._has(one["client"]) else []
        if any(advisor["name"] in before for advisor in able):
            return before[0]
        share = {a["name"]: Fraction(self._without(one, a) + self._weight(one), a["capacity"]) for a in able}
        return min(share, key=lambda name: (share[name], name)) if share else None

    def _without(self, one: Plain, advisor: Plain) -> int:
        """What an advisor has beside the client."""
        return sum(
            w for client, (_, who, w) in self._held().items() if who == advisor["name"] and client != one["client"]
        )

    def _able(self, one: Plain, advisor: Plain) -> bool:
        less = max((by for after, by in self.roster["widen"] if self.now - one["since"] >= after), default=0)
        today = dt.datetime.fromtimestamp(self.now / 1000, FIRM).date().isoformat()
        return (
            (advisor["licence"] is None or today <= advisor["licence"])
            and (not advisor["regions"] or one["region"] is None or one["region"] in advisor["regions"])
            and (not advisor["languages"] or one["language"] is None or one["language"] in advisor["languages"])
            and (not advisor["tiers"] or one["tier"] is None or one["tier"] in advisor["tiers"])
            and all(advisor["skills"].get(skill, 0) + less >= level for skill, level in one["needs"].items())
            and self._without(one, advisor) + self._weight(one) <= advisor["capacity"]
        )
