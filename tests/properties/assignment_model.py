"""A slow model of a pool, written from docs/care.md alone: everything is counted anew from all that has happened.

Enters: a roster as plain values, what pools are asked, in order. Leaves: the answers, and what each advisor has.
Holds: nothing of core/assign is used.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

Plain = dict[str, Any]
Said = tuple[str, int, str | None, str]  # request, when, who, why it was moved
FIRM = dt.timezone(dt.timedelta(hours=8))


@dataclass(slots=True)
class PoolModel:
    # advisors: list of mappings; elsewhere: names of those of another pool; weights; widen: pairs of (milliseconds,
    # by); give_up, accept: milliseconds
    roster: Plain
    now: int = 0
    given: list[tuple[str, str, Plain]] = field(default_factory=list)  # client, advisor, what was asked; with `by`
    ended: set[str] = field(default_factory=set)
    accepted: set[tuple[str, str]] = field(default_factory=set)  # request, advisor
    waiting: list[Plain] = field(default_factory=list)
    said: dict[str, Said] = field(default_factory=dict)  # by request
    away: dict[str, str] = field(default_factory=dict)  # who clients of whom heard of
    apart: set[str] = field(default_factory=set)  # clients who stayed, since the stand-in must not have them
    heard: list[Plain] = field(
        default_factory=list
    )  # all that the topic advisors ever said: advisor, time, event, says

    tasks: list[Plain] = field(default_factory=list)  # all that room was ever asked for; with `given`, `over`

    def want(self, task: Plain) -> list[Said]:
        """Room is asked for: request, advisor, priority, time."""
        answers = self.pass_time(task["time"])
        before = next((one for one in self.tasks if one["request"] == task["request"]), None)
        if before is not None:
            given = before["given"] is not None and not before["over"]
            return [*answers, (task["request"], before["given"], task["advisor"], "room")] if given else answers
        self.tasks.append(task | {"since": self.now, "given": None, "over": False})
        return answers + self._serve_tasks()

    def bring(self, task: Plain) -> list[Said]:
        """A client comes to an advisor, and this is open: it counts, whatever the number."""
        answers = self.pass_time(task["time"])
        if all(one["request"] != task["request"] for one in self.tasks):
            self.tasks.append(task | {"since": self.now, "given": self.now, "over": False})
        return answers

    def end(self, request: str, time: int) -> list[Said]:
        """What room was asked for is over, or not wanted any more."""
        answers = self.pass_time(time)
        for one in self.tasks:
            one["over"] = one["over"] or one["request"] == request
        return answers + self._serve_tasks()

    def open_tasks(self) -> dict[str, tuple[int, int]]:
        """Of each advisor how many are open, and wait."""
        left = [one for one in self.tasks if not one["over"]]
        return {
            name: (
                sum(one["advisor"] == name and one["given"] is not None for one in left),
                sum(one["advisor"] == name and one["given"] is None for one in left),
            )
            for name in {one["advisor"] for one in left}
        }

    def _serve_tasks(self) -> list[Said]:
        """Whoever waits for somebody who is there and has room; for whoever is not there, the team has it."""
        answers, advisors = [], {advisor["name"]: advisor for advisor in self._advisors()}
        waits = [one for one in self.tasks if one["given"] is None and not one["over"]]
        for one in sorted(waits, key=lambda one: (one["advisor"], -one["priority"], one["since"], one["request"])):
            advisor = advisors.get(one["advisor"])
            if one["advisor"] in self.roster["elsewhere"]:
                continue  # its client asks in the other pool
            if advisor is None or not self._is_there(advisor):
                one["over"] = True
                answers.append((one["request"], self.now, one["advisor"], "away"))
            elif advisor["open_tasks"] is None or self.open_tasks()[one["advisor"]][0] < advisor["open_tasks"]:
                one["given"] = self.now
                answers.append((one["request"], self.now, one["advisor"], "room"))
        return answers

    def _is_there(self, advisor: Plain) -> bool:
        left = advisor["last_day"] is not None and self._today() > advisor["last_day"]
        return advisor["present"] and not left and self._leave(advisor) is None

    def ask(self, asked: Plain) -> list[Said]:
        answers = self.pass_time(asked["time"])
        name = asked["request"]
        if name in self.said:
            return [*answers, self.said[name]]
        if any(one["request"] == name for one in self.waiting):
            return answers
        self.waiting.append(asked | {"since": self.now})
        return answers + self._try([self.waiting[-1]])

    def release(self, request: str, client: str, time: int) -> list[Said]:
        answers = self.pass_time(time)
        if client in (held := self._held()) and held[client][1]["request"] == request:
            self.ended.add(request)
            return answers + self._serve()
        self.waiting = [one for one in self.waiting if one["request"] != request]
        return answers

    def accept(self, request: str, client: str, advisor: str, time: int) -> list[Said]:
        answers = self.pass_time(time)
        if self._is(request, client, advisor):
            self.accepted.add((request, advisor))
        return answers

    def pass_on(self, request: str, client: str, advisor: str, time: int, why: str) -> list[Said]:
        answers = self.pass_time(time)
        if not self._is(request, client, advisor):
            return answers
        return answers + self._next(client, why) + self._serve()

    def pass_time(self, until: int) -> list[Said]:
        answers: list[Said] = []
        while moments := [moment for moment in self._moments() if self.now < moment <= until]:
            self.now = min(moments)
            answers += self._serve()
        self.now = max(self.now, until)
        return answers + self._turn_over()

    def hear(self, record: Plain) -> list[Said]:
        """What the topic advisors says: due is first what was due without it."""
        answers = self.pass_time(record["time"])
        before = self._advisors()
        self.heard.append(record)
        return answers + self._serve() if self._advisors() != before else answers

    def change(self, roster: Plain, time: int) -> list[Said]:
        """Another roster: what fell due before is decided by it, too."""
        self.roster = roster
        return self.pass_time(time) + self._serve()

    def loads(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for advisor, one in self._held().values():
            found[advisor] = found.get(advisor, 0) + one["weight"]
        return found

    # -- what follows from all that happened --------------------------------------------------------

    def _held(self) -> dict[str, tuple[str, Plain]]:
        last = {client: (advisor, one) for client, advisor, one in self.given}
        return {client: held for client, held in last.items() if held[1]["request"] not in self.ended}

    def _is(self, request: str, client: str, advisor: str) -> bool:
        advisor_now, one = self._held().get(client, ("", {"request": ""}))
        return (one["request"], advisor_now) == (request, advisor)

    def _moments(self) -> Iterator[int]:
        for one in self.waiting:
            yield from (one["since"] + after for after, _ in self.roster["widen"])
            yield one["since"] + self.roster["give_up"]
        for advisor in self._advisors():
            for first, last, _ in advisor["leave"]:
                yield midnight(first)
                yield midnight(last) + 86_400_000
            if advisor["last_day"] is not None:
                yield midnight(advisor["last_day"]) + 86_400_000
        if self.roster["accept"]:
            yield from (one["by"] for advisor, one in self._held().values() if self._is_open(advisor, one))

    def _is_open(self, advisor: str, one: Plain) -> bool:
        """Whether the advisor has yet to accept."""
        return one["by"] is not None and (one["request"], advisor) not in self.accepted

    def _serve(self) -> list[Said]:
        answers = self._turn_over() + self._part()
        if self.roster["accept"]:
            for client, (advisor, one) in sorted(self._held().items(), key=lambda item: item[0]):
                if self._is_open(advisor, one) and one["by"] <= self.now:
                    answers += self._next(client, "not_accepted")
        answers += self._try(sorted(self.waiting, key=lambda one: (-one["priority"], one["since"], one["request"])))
        return answers + self._serve_tasks()

    def _turn_over(self) -> list[Said]:
        leaves = {a["name"]: self._leave(a) for a in self._advisors()}
        here = [name for name, leave in leaves.items() if leave is None]
        before, self.away = self.away, {n: leave[2] for n, leave in leaves.items() if leave and leave[2] in here}
        answers: list[Said] = []
        barred = {a["name"]: a["not_for"] for a in self._advisors()}
        apart, self.apart = self.apart, set()
        for client, (advisor, one) in sorted(self._held().items(), key=lambda item: item[0]):
            now = self.away.get(advisor)
            if now is not None and client in barred[now]:
                now = None
                self.apart.add(client)
            if (None if client in apart else before.get(advisor)) != now:
                answers.append((one["request"], self.now, now or advisor, "stand_in" if now else "back"))
        return answers

    def _part(self) -> list[Said]:
        """Whoever is with whom it must not be goes to the next one, or to nobody."""
        barred = {advisor["name"]: advisor["not_for"] for advisor in self._advisors()}
        answers: list[Said] = []
        for client, (advisor, _) in sorted(self._held().items(), key=lambda item: item[0]):
            if advisor in self.roster["elsewhere"]:
                answers += self._next(client, "other_pool")
            elif client in barred.get(advisor, ()):
                answers += self._next(client, "conflict")
        return answers

    def _leave(self, advisor: Plain) -> tuple[str, str, str | None] | None:
        today = self._today()
        return next((leave for leave in advisor["leave"] if leave[0] <= today <= leave[1]), None)

    def _next(self, client: str, why: str) -> list[Said]:
        advisor, before = self._held()[client]
        one = before | {"since": self.now, "refused": (*before["refused"], advisor)}
        who = self._who(one)
        if who is None and why == "handover":
            return []
        if who is None:
            self.ended.add(one["request"])
        else:
            self._give(one, who)
        return [(one["request"], self.now, who, why)]

    def _give(self, one: Plain, who: str) -> None:
        by = self.now + self.roster["accept"] if self.roster["accept"] else None
        self.given.append((one["client"], who, one | {"weight": self._weight(one), "by": by}))

    def _try(self, some: list[Plain]) -> list[Said]:
        answers = []
        for one in some:
            who = self._who(one)
            if who is None and self.now < one["since"] + self.roster["give_up"]:
                continue
            if who is not None:
                self._give(one, who)
            self.said[one["request"]] = one["request"], self.now, who, ""
            self.waiting = [other for other in self.waiting if other["request"] != one["request"]]
            answers.append(self.said[one["request"]])
        return answers

    def _weight(self, one: Plain) -> int:
        return int(self.roster["weights"].get(one["tier"], 1))

    def _who(self, one: Plain) -> str | None:
        able = [advisor for advisor in self._advisors() if self._able(one, advisor)]
        before = self._held().get(one["client"], (None, None))[0]
        if any(advisor["name"] == before for advisor in able):
            return before
        share = {a["name"]: Fraction(self._without(one, a) + self._weight(one), a["capacity"]) for a in able}
        return min(share, key=lambda name: (share[name], name)) if share else None

    def _advisors(self) -> list[Plain]:
        """As the roster has them, but for what was said last of each matter."""
        return [self._as_said(advisor) for advisor in self.roster["advisors"]]

    def _as_said(self, advisor: Plain) -> Plain:
        of_them = sorted(
            (record for record in self.heard if record["advisor"] == advisor["name"]),
            key=lambda record: (record["time"], record["event"]),
        )
        last: Plain = {}
        for record in of_them:
            last |= record["says"]
        leaves = {leave[0]: leave for leave in advisor["leave"]}
        leaves |= {name[1]: value and (name[1], *value) for name, value in last.items() if isinstance(name, tuple)}
        said = {name: value for name, value in last.items() if value is not None and not isinstance(name, tuple)}
        leave = [leaves[first] for first in sorted(leaves) if leaves[first] is not None]
        return {"present": True} | advisor | said | {"leave": leave}

    def _without(self, one: Plain, advisor: Plain) -> int:
        """What an advisor has beside the client."""
        held = self._held().items()
        return sum(of["weight"] for client, (who, of) in held if who == advisor["name"] and client != one["client"])

    def _today(self) -> str:
        return dt.datetime.fromtimestamp(self.now / 1000, FIRM).date().isoformat()

    def _able(self, one: Plain, advisor: Plain) -> bool:
        less = max((by for after, by in self.roster["widen"] if self.now - one["since"] >= after), default=0)
        today = self._today()
        return (
            advisor["name"] not in one["refused"]
            and one["client"] not in advisor["not_for"]
            and advisor["present"]
            and self._leave(advisor) is None
            and (advisor["last_day"] is None or today <= advisor["last_day"])
            and (advisor["licence"] is None or today <= advisor["licence"])
            and (not advisor["regions"] or one["region"] is None or one["region"] in advisor["regions"])
            and (not advisor["languages"] or one["language"] is None or one["language"] in advisor["languages"])
            and (not advisor["tiers"] or one["tier"] is None or one["tier"] in advisor["tiers"])
            and all(advisor["skills"].get(skill, 0) + less >= level for skill, level in one["needs"].items())
            and self._without(one, advisor) + self._weight(one) <= advisor["capacity"]
        )


def midnight(day: str) -> int:
    return int(dt.datetime.combine(dt.date.fromisoformat(day), dt.time(), FIRM).timestamp() * 1000)
