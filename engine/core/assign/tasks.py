"""Tasks and alerts that are open with advisors: at most so many of each, the others wait by priority.

Enters: a Roster, a pool, a task. Leaves: the pool, changed; the answers, in order.
Holds: nobody is given a task beyond the number of that moment; what is open goes with its client, and counts with the
next advisor. Who is away, or not in the files any more, is given none: what waits for such an advisor is answered with
AWAY, and goes to the team. What waits for one who is of another pool now waits until its client asks there.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from engine.core.assign.roster import Advisor, Roster
from engine.core.assign.staff import staff
from engine.core.assign.state import AWAY, ROOM, Given, PoolState, Task
from engine.core.firm_time import date_of_day, day_number, day_of, day_start_ms


def want(roster: Roster, pool: PoolState, request: str, task: Task) -> list[tuple[str, Given]]:
    """Room is asked for. Asked again, the answer is the same; what is over is not answered again."""
    if request in pool.ended:
        return []
    if (known := pool.tasks.get(request)) is not None:
        return [(request, room(pool, known))] if known.given_ms else []
    pool.put(request, task._replace(asked_ms=pool.now_ms))
    return serve(roster, pool, task.advisor)


def bring(pool: PoolState, request: str, task: Task) -> None:
    """It is open already, and its client has this advisor now: it counts, whatever the number is."""
    if request not in pool.ended and request not in pool.tasks:
        pool.put(request, task._replace(asked_ms=pool.now_ms, given_ms=pool.now_ms))


def serve(roster: Roster, pool: PoolState, advisor: str = "") -> list[tuple[str, Given]]:
    """What waits for this advisor, or for any, and is not to wait any more."""
    names = (advisor,) if advisor in pool.queued else () if advisor else sorted(pool.queued)
    of_pool = {one.name: one for one in staff(roster, pool)} if names else {}
    declared, answers = roster.pools.get(pool.name), []
    team = declared.team if declared is not None else ""
    for name in names:
        here = of_pool.get(name)
        if here is None and roster.is_elsewhere(name, pool.name):
            continue
        for _, _, request in list(pool.queued[name]):
            if here is None or is_away(pool, here):
                client = pool.tasks[request].client
                pool.end(request)
                answers.append((request, Given(pool.now_ms, client, name, team, AWAY)))
            elif here.open_tasks is None or pool.open[name] < here.open_tasks:
                given = pool.tasks[request]._replace(given_ms=pool.now_ms)
                pool.put(request, given)
                answers.append((request, room(pool, given)))
            else:
                break
    return answers


def is_away(pool: PoolState, advisor: Advisor) -> bool:
    """Whether the advisor is absent or on leave, or has left the firm."""
    day = date_of_day(day_of(pool.now_ms)).isoformat()
    left = advisor.last_day is not None and day > advisor.last_day
    return left or advisor.absent_ms is not None or advisor.away(day) is not None


def room(pool: PoolState, task: Task) -> Given:
    return Given(task.given_ms, task.client, task.advisor, "", ROOM)


def turns_ms(roster: Roster, pool: PoolState) -> Iterator[int]:
    """When an advisor leaves for whom something waits; leaves are moments of a pool anyway."""
    for one in staff(roster, pool) if pool.queued else ():
        if one.last_day is not None and one.name in pool.queued:
            yield day_start_ms(day_number(dt.date.fromisoformat(one.last_day)) + 1)
