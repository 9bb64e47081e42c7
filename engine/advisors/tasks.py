"""Why a task or alert has room with its advisor, or still waits: how many are open with whom it is for, and what is
before it.

Enters: a plan, a pool, a request's id. Leaves: a TaskAccount; lines of text, or plain values.
Holds: nothing is written; all is as of the pool's present. Nobody but the client's advisor can have it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from engine.core.assign.roster import NOBODY, Advisor, Roster
from engine.core.assign.staff import staff
from engine.core.assign.state import PoolState, Task
from engine.core.contract.message import rfc3339
from engine.core.contract.topics import ADVISORS
from engine.core.firm_time import date_of_day, day_of
from engine.core.plan.compile import Plan
from engine.insight.values import ZONE, duration, firm_time


@dataclass(frozen=True, slots=True)
class TaskAccount:
    """`task` is None once it is over, and `ended_ms` says since when. `before`: how many wait whose turn is earlier."""

    pool: str
    request: str
    task: Task | None
    ended_ms: int
    at_ms: int
    open: int
    number: int | None  # the advisor can have; None: any
    before: int
    why_not: str  # what keeps it: absent, leave, left, open_tasks, other_pool or unknown; "": nothing
    because: str
    rule_set: str  # its digest


def is_known(pool: PoolState, request: str) -> bool:
    return request in pool.tasks or request in pool.ended


def looked_at(plan: Plan, pool: PoolState, request: str) -> TaskAccount:
    """Of a request that is known."""
    roster = plan.pools.roster if plan.pools is not None else NOBODY
    task, digest = pool.tasks.get(request), plan.rule_set.digest
    if task is None:
        return TaskAccount(pool.name, request, None, pool.ended[request], pool.now_ms, 0, None, 0, "", "", digest)
    advisor = next((one for one in staff(roster, pool) if one.name == task.advisor), None)
    turns = [name for _, _, name in pool.queued.get(task.advisor, ())]
    before = turns.index(request) if request in turns else 0
    number, times = advisor.open_tasks if advisor is not None else None, pool.open[task.advisor]
    why, because = ("", "") if task.given_ms else _why(roster, pool, task, advisor, before)
    return TaskAccount(pool.name, request, task, 0, pool.now_ms, times, number, before, why, because, digest)


def _why(roster: Roster, pool: PoolState, task: Task, advisor: Advisor | None, before: int) -> tuple[str, str]:
    if advisor is None and roster.is_elsewhere(task.advisor, pool.name):
        return "other_pool", f"of pool {roster.home[task.advisor]} now; the client asks there"
    if advisor is None:
        return "unknown", "neither advisors.yaml nor .csv has this advisor; the team gets it"
    day = date_of_day(day_of(pool.now_ms)).isoformat()
    if advisor.last_day is not None and day > advisor.last_day:
        return "left", f"the last day was {advisor.last_day}; the team gets it"
    if advisor.absent_ms is not None:
        return "absent", f"since {firm_time(advisor.absent_ms)} ({ZONE}), as the topic {ADVISORS.name} says"
    if (leave := advisor.away(day)) is not None:
        return "leave", f"until {leave.last}; the team gets it"
    if advisor.open_tasks is not None and pool.open[advisor.name] >= advisor.open_tasks:
        waits = f", and {before} wait before it" if before else ""
        return "open_tasks", f"{pool.open[advisor.name]} of {advisor.open_tasks} are open{waits}"
    return "", ""


def lines(found: TaskAccount) -> Iterator[str]:
    if (task := found.task) is None:
        yield f"request {found.request}: a task or alert of pool {found.pool}"
        since = f"  over since {firm_time(found.ended_ms)} ({ZONE})"
        yield f"{since}: it was closed or is not wanted any more, or the advisor was away and the team has it"
        return
    yield f"request {found.request}: a task or alert for {task.advisor}, of client {task.client}"
    yield f"  asked {firm_time(task.asked_ms)} of pool {found.pool}, with priority {task.priority}"
    yield f"  {_outcome(found, task)}, by rule set {found.rule_set[:12]}"
    number = "any number can be" if found.number is None else f"{found.open} of {found.number} are"
    could = f"has it: {number} open" if task.given_ms else f"could: {number} open"
    yield f"    {task.advisor}: {f'no, {found.why_not}: {found.because}' if found.why_not else could}"


def _outcome(found: TaskAccount, task: Task) -> str:
    if not task.given_ms:
        return f"waits at {firm_time(found.at_ms)} ({ZONE})"
    waited_ms = task.given_ms - task.asked_ms
    return (
        f"open since {firm_time(task.given_ms)} ({ZONE}), {f'after {duration(waited_ms)}' if waited_ms else 'at once'}"
    )


def as_json(found: TaskAccount) -> dict[str, Any]:
    task = found.task
    candidate = task and {
        "advisor_id": task.advisor,
        "open": found.open,
        "open_tasks": found.number,
        "before": found.before,
        "why_not": found.why_not or None,
        "because": found.because or None,
    }
    return {
        "request_id": found.request,
        "kind": "task",
        "client_id": task.client if task is not None else None,
        "pool": found.pool,
        "asked": rfc3339(task.asked_ms) if task is not None else None,
        "priority": task.priority if task is not None else None,
        "outcome": "over" if task is None else "open" if task.given_ms else "waits",
        "advisor_id": task.advisor if task is not None else None,
        "decided": rfc3339(found.ended_ms if task is None else task.given_ms or found.at_ms),
        "rule_set": found.rule_set,
        "candidates": [candidate] if candidate is not None else [],
    }
