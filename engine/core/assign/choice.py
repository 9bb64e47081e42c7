"""Who takes a client: requests and releases of a pool, in order.

Enters: a Roster, the pool's state, requests, moments. Leaves: the state, changed; the answers, in order.
Holds: pure. No advisor is given a client beyond the capacity of the roster at that moment; an answer that was given is
the same whenever it is asked for again; what falls due before a request is decided first, at its own time.
"""

from __future__ import annotations

import datetime as dt
from bisect import insort
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache
from itertools import chain
from typing import Any, Final, NamedTuple

from engine.core.assign import tasks
from engine.core.assign.roster import Advisor, Leave, Pool, Roster, Widening
from engine.core.assign.staff import hear as noted
from engine.core.assign.staff import staff, with_leave
from engine.core.assign.state import Entry, Given, PoolState, Task, Waiting
from engine.core.firm_time import NEVER_MS, date_of_day, day_number, day_of, day_start_ms

Answers = list[tuple[str, Given]]  # by request
NOT_WIDENED: Final = Widening(0, 0)
HANDOVER: Final = "handover"


def ask(roster: Roster, pool: PoolState, asked: Waiting) -> Answers:
    """A client needs somebody. `asked.asked_ms` is when; earlier than the pool's present counts as now."""
    answers = pass_time(roster, pool, asked.asked_ms)
    if asked.request in pool.answers:
        return [*answers, (asked.request, pool.answers[asked.request])]
    if any(one.request == asked.request for one in pool.queue):
        return answers
    asked = asked._replace(asked_ms=pool.now_ms)
    given = _decide(roster, pool, asked)
    if given is None:
        insort(pool.queue, asked, key=_turn)
        pool.due_ms = _next_due_ms(roster, pool)
        return answers
    return [*answers, (asked.request, given)]


def release(roster: Roster, pool: PoolState, request: str, client: str, time_ms: int) -> Answers:
    """A request is withdrawn, or what it led to has ended. One that was released before changes nothing."""
    answers = pass_time(roster, pool, time_ms)
    if (task := pool.end(request) if request in pool.tasks else None) is not None:
        return answers + _due_again(roster, pool, tasks.serve(roster, pool, task.advisor))
    entry = pool.book.get(client)
    if entry is not None and entry.request == request:
        pool.remove(client)
        return answers + _serve(roster, pool)
    pool.queue = [one for one in pool.queue if one.request != request]
    pool.due_ms = _next_due_ms(roster, pool)
    return answers


def want_room(roster: Roster, pool: PoolState, request: str, task: Task) -> Answers:
    """A task or alert is for an advisor: it waits until there is room."""
    answers = pass_time(roster, pool, task.asked_ms)
    return answers + _due_again(roster, pool, tasks.want(roster, pool, request, task))


def bring_task(roster: Roster, pool: PoolState, request: str, task: Task) -> Answers:
    """A client comes to an advisor, and this is open with it."""
    answers = pass_time(roster, pool, task.asked_ms)
    tasks.bring(pool, request, task)
    return answers


def _due_again(roster: Roster, pool: PoolState, answers: Answers) -> Answers:
    pool.due_ms = _next_due_ms(roster, pool)
    return answers


def accept(roster: Roster, pool: PoolState, request: str, client: str, advisor: str, time_ms: int) -> Answers:
    """The advisor takes the client on: it is nobody else's turn any more."""
    answers = pass_time(roster, pool, time_ms)
    entry = _given(pool, request, client, advisor)
    if entry is not None:
        pool.enter(client, entry._replace(accept_by_ms=NEVER_MS))
        pool.due_ms = _next_due_ms(roster, pool)
    return answers


def pass_on(
    roster: Roster, pool: PoolState, request: str, client: str, advisor: str, time_ms: int, why: str
) -> Answers:
    """The advisor declined the client, or is to give it up: it is the next one's turn. Said again, it changes nothing,
    since the client is another advisor's then.
    """
    answers = pass_time(roster, pool, time_ms)
    entry = _given(pool, request, client, advisor)
    if entry is None:
        return answers
    return answers + _next(roster, pool, client, entry, why) + _serve(roster, pool)


def _given(pool: PoolState, request: str, client: str, advisor: str) -> Entry | None:
    entry = pool.book.get(client)
    return entry if entry is not None and (entry.request, entry.advisor) == (request, advisor) else None


def _next(roster: Roster, pool: PoolState, client: str, entry: Entry, why: str) -> Answers:
    """To somebody who has not refused the client. If there is nobody, a handover leaves it where it is; else it has no
    advisor any more.
    """
    refused = (*entry.refused, entry.advisor)
    asked = Waiting(
        0, pool.now_ms, entry.request, client, entry.tier, entry.region, entry.language, entry.needs, refused
    )
    chosen = choose(roster, pool, asked)
    if chosen is None and why == HANDOVER:
        return []
    if chosen is None:
        pool.remove(client)
    else:
        _enter(roster, pool, asked, chosen)
    declared = roster.pools.get(pool.name)
    return [(entry.request, pool.moved(client, chosen or "", declared.team if declared else "", why))]


def _enter(roster: Roster, pool: PoolState, asked: Waiting, chosen: str) -> None:
    declared = roster.pools[pool.name]
    until_ms = pool.now_ms + declared.accept_s * 1000 if declared.accept_s else NEVER_MS
    of_client = asked.tier, asked.region, asked.language, asked.needs, asked.refused
    pool.enter(asked.client, Entry(chosen, roster.weight(asked.tier), asked.request, *of_client, until_ms))


def pass_time(roster: Roster, pool: PoolState, until_ms: int) -> Answers:
    """What falls due up to a moment, by the roster of now, each step at its own time."""
    answers: Answers = []
    pool.due_ms = _next_due_ms(roster, pool)
    while pool.due_ms <= until_ms:
        pool.now_ms = max(pool.now_ms, pool.due_ms)
        answers += _serve(roster, pool)
    pool.now_ms = max(pool.now_ms, until_ms)
    return answers + _turn_over(roster, pool)  # by a roster that is new, too, before anybody is chosen by it


def reconsider(roster: Roster, pool: PoolState, time_ms: int) -> Answers:
    """The roster is another one: there may be somebody now."""
    return pass_time(roster, pool, time_ms) + _serve(roster, pool)


def hear(roster: Roster, pool: PoolState, advisor: str, said: Mapping[str, Any], time_ms: int, event: str) -> Answers:
    """An advisor comes or goes, or takes more or fewer: what fell due before is decided as it was until then."""
    answers = pass_time(roster, pool, time_ms)
    return answers + _serve(roster, pool) if noted(pool, advisor, said, time_ms, event) else answers


def _serve(roster: Roster, pool: PoolState) -> Answers:
    """Clients of whoever goes on leave or is back; those who are with whom they must not be; those whom nobody accepted
    in time; whoever waits, in turn.
    """
    answers = _turn_over(roster, pool) + _part(roster, pool)
    if (declared := roster.pools.get(pool.name)) is not None and declared.accept_s:
        for client, entry in sorted(pool.book.items()):
            if entry.accept_by_ms <= pool.now_ms:
                answers += _next(roster, pool, client, entry, "not_accepted")
    in_vain: set[tuple[Any, ...]] = set()
    for one in pool.queue:
        if (given := _decide(roster, pool, one, in_vain)) is not None:
            answers.append((one.request, given))
    pool.queue = [one for one in pool.queue if one.request not in pool.answers]
    return _due_again(roster, pool, answers + tasks.serve(roster, pool))


def _turn_over(roster: Roster, pool: PoolState) -> Answers:
    """Clients of somebody on leave go to the stand-in, and back afterwards; the book stays as it is. Whom the stand-in
    must not have stays.
    """
    day, present = _today(pool), with_leave(roster, pool)
    if not present and not pool.away:
        return []
    at_work = {one.name for one in staff(roster, pool) if one.away(day) is None}
    leaves = {one.name: leave.stand_in for one in present if (leave := one.away(day)) is not None}
    away = {name: stand_in for name, stand_in in leaves.items() if stand_in in at_work and stand_in is not None}
    barred = {one.name: one.not_for for one in staff(roster, pool) if one.not_for}
    before, pool.away = pool.away, away
    apart, pool.apart = pool.apart, set()
    answers = []
    for client, entry in sorted(pool.book.items()):
        name = entry.advisor
        had, who = None if client in apart else before.get(name), away.get(name)
        if who is not None and client in barred.get(who, ()):
            who = None
            pool.apart.add(client)
        if had != who:
            answers.append((entry.request, pool.moved(client, who or name, "", "stand_in" if who else "back")))
    return answers


def _part(roster: Roster, pool: PoolState) -> Answers:
    """Clients whose advisor is of another pool by now, where nobody counts them, or is not to have them any more."""
    if pool.name not in roster.pools:
        return []
    gone = {name for name, load in pool.loads.items() if load and roster.is_elsewhere(name, pool.name)}
    found = {client: "other_pool" for client, entry in pool.book.items() if entry.advisor in gone} if gone else {}
    for advisor in staff(roster, pool):
        for client in advisor.not_for:
            if (entry := pool.book.get(client)) is not None and entry.advisor == advisor.name:
                found[client] = "conflict"
    answers: Answers = []
    for client in sorted(found):
        answers += _next(roster, pool, client, pool.book[client], found[client])
    return answers


def _decide(
    roster: Roster, pool: PoolState, asked: Waiting, in_vain: set[tuple[Any, ...]] | None = None
) -> Given | None:
    """An answer, noted in the pool; None while it is worth waiting. `in_vain`: what others asked for in this turn, and
    nobody was found for.
    """
    if roster.look is not None:
        roster.look(pool, asked)
    declared = roster.pools.get(pool.name)
    kind = None if in_vain is None or declared is None else _kind(roster, pool, asked)
    if kind is None or in_vain is None:
        chosen = choose(roster, pool, asked)
    elif kind in in_vain:
        chosen = None
    elif (chosen := choose(roster, pool, asked)) is None:
        in_vain.add(kind)
    if chosen is None and declared is not None and pool.now_ms < asked.asked_ms + declared.give_up_s * 1000:
        return None
    given = Given(pool.now_ms, asked.client, chosen or "", declared.team if declared is not None else "")
    if chosen is not None:
        if in_vain and asked.client in pool.book:
            in_vain.clear()  # somebody has room again
        _enter(roster, pool, asked, chosen)
    pool.answered(asked.request, given)
    return given


def _kind(roster: Roster, pool: PoolState, asked: Waiting) -> tuple[Any, ...] | None:
    """Requests of one kind find the same one; None: it depends on the client, or on who has, or had it."""
    if asked.refused or asked.client in pool.book or any(asked.client in one.not_for for one in staff(roster, pool)):
        return None
    less = widened(roster.pools[pool.name], pool.now_ms - asked.asked_ms).by if asked.needs else 0
    return asked.tier, asked.region, asked.language, asked.needs, less


def choose(roster: Roster, pool: PoolState, asked: Waiting) -> str | None:
    """The one who has the client, else the least loaded by share, else the first by name."""
    weight = roster.weight(asked.tier)
    had = pool.book.get(asked.client)
    best: tuple[Advisor, int] | None = None
    for advisor in staff(roster, pool):
        has = had is not None and had.advisor == advisor.name
        load = pool.loads[advisor.name] + weight
        if best is not None and not has and load * best[0].capacity >= best[1] * advisor.capacity:
            continue  # apt or not
        if why_not(roster, pool, asked, advisor):
            continue
        if has:
            return advisor.name
        best = advisor, load
    return best[0].name if best is not None else None


def why_not(roster: Roster, pool: PoolState, asked: Waiting, advisor: Advisor) -> str:
    """What keeps an advisor from taking the client: the first that applies; "" if nothing does."""
    day = _today(pool)
    if advisor.name in asked.refused:
        return "refused"
    if asked.client in advisor.not_for:
        return "conflict"
    if advisor.last_day is not None and day > advisor.last_day:
        return "left"
    if advisor.absent_ms is not None:
        return "absent"
    if advisor.leave and advisor.away(day) is not None:
        return "leave"
    if advisor.licence_until is not None and day > advisor.licence_until:
        return "licence"
    if asked.region is not None and advisor.regions and asked.region not in advisor.regions:
        return "region"
    if asked.language is not None and advisor.languages and asked.language not in advisor.languages:
        return "language"
    if asked.tier is not None and advisor.tiers and asked.tier not in advisor.tiers:
        return "tier"
    if asked.needs:
        less = widened(roster.pools[pool.name], pool.now_ms - asked.asked_ms).by
        skills = dict(advisor.skills)
        if any(skills.get(skill, 0) < level - less for skill, level in asked.needs):
            return "skills"
    if pool.loads[advisor.name] - _own(pool, asked, advisor) + roster.weight(asked.tier) > advisor.capacity:
        return "capacity"
    return ""


class Candidate(NamedTuple):
    """An advisor of the pool, for one request. `load` is without the client, `why_not` as `why_not` says it."""

    advisor: Advisor
    load: int
    why_not: str


def candidates(roster: Roster, pool: PoolState, asked: Waiting) -> list[Candidate]:
    """All of the pool, in the order of names."""
    return [
        Candidate(one, pool.loads[one.name] - _own(pool, asked, one), why_not(roster, pool, asked, one))
        for one in staff(roster, pool)
    ]


def _own(pool: PoolState, asked: Waiting, advisor: Advisor) -> int:
    """What the client takes of the advisor's capacity already."""
    had = pool.book.get(asked.client)
    return had.weight if had is not None and had.advisor == advisor.name else 0


def widened(pool: Pool, waited_ms: int) -> Widening:
    """The step that a request has reached."""
    return max((step for step in pool.widen if step.waited_s * 1000 <= waited_ms), default=NOT_WIDENED, key=_waited)


def _waited(step: Widening) -> int:
    return step.waited_s


def _next_due_ms(roster: Roster, pool: PoolState) -> int:
    """When the next step of anything that waits begins, somebody had to accept, or a leave begins or ends."""
    declared = roster.pools.get(pool.name)
    moments: list[Iterable[int]] = [_steps_ms(declared, pool)]
    moments.append(tasks.turns_ms(roster, pool))
    moments += [_turns_ms(leave) for one in with_leave(roster, pool) for leave in one.leave]
    if declared is not None and declared.accept_s:
        moments.append(entry.accept_by_ms for entry in pool.book.values())
    return min((moment for moment in chain.from_iterable(moments) if moment > pool.now_ms), default=NEVER_MS)


@cache
def _turns_ms(leave: Leave) -> tuple[int, int]:
    """When it begins and has ended."""
    first, last = (day_number(dt.date.fromisoformat(day)) for day in (leave.first, leave.last))
    return day_start_ms(first), day_start_ms(last + 1)


def _today(pool: PoolState) -> str:
    return _date(day_of(pool.now_ms))


@lru_cache(8)
def _date(day: int) -> str:
    return date_of_day(day).isoformat()


def _steps_ms(declared: Pool | None, pool: PoolState) -> Iterator[int]:
    """The next step of each that waits."""
    if declared is None:
        return
    steps = sorted({step.waited_s * 1000 for step in declared.widen} | {declared.give_up_s * 1000})
    for one in pool.queue:
        waited = pool.now_ms - one.asked_ms
        for step in steps:
            if step > waited:
                yield one.asked_ms + step
                break


def _turn(one: Waiting) -> tuple[int, int, str]:
    return one.turn
