"""Requests of pools and budgets as records, and what is said of advisors; what is answered.

Enters: a Roster, limits, the states of pools and budgets, requests, moments. Leaves: the states, changed; answers as
messages.
Holds: pure. An answer has the same bytes whenever it is published, and its id follows from the request's.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

import msgspec

from engine.core.assign.budgets import BudgetState, Part, give_back, grant
from engine.core.assign.choice import (
    Answers,
    accept,
    ask,
    bring_task,
    hear,
    pass_on,
    pass_time,
    reconsider,
    release,
    want_room,
)
from engine.core.assign.roster import ADVISORS_FILE, Advisor, Roster
from engine.core.assign.staff import LEAVE, PLAIN, count
from engine.core.assign.state import AWAY, ROOM, Given, PoolState, Task, Waiting
from engine.core.contract.granting import BUDGET, AdvisorChange, AssignmentRequest, BudgetRequest
from engine.core.contract.message import Message, rfc3339
from engine.core.contract.outbound import Rejection
from engine.core.reading.decode import Rejected, Taken
from engine.core.rules.policy import Budget

ANSWERS: Final = "assignment_answers"
OF_BUDGETS: Final = "budget_answers"
LEAVE_FIELDS: Final = ("leave_from", "leave_until", "stand_in")
_OF_CLIENTS: Final = (  # texts, and what they are where a pool is meant
    ("the client's id", "the advisor's pool"),
    ("a client cannot be deleted this way; send none", "an advisor is taken out of the roster, or has a last_day"),
    ("a client cannot be deleted this way", "an advisor is taken out of the roster, or has a last_day"),
    ("client_id", "pool"),
)
_HEADERS: Final = (("content-type", b"application/json"),)
_json: Final = msgspec.json.Encoder().encode


def take(
    roster: Roster, pools: MutableMapping[str, PoolState], asked: AssignmentRequest | AdvisorChange
) -> list[Message]:
    """One request, or what has changed about an advisor; a pool that is new is added."""
    pool = pools.get(asked.client_id)
    if pool is None:
        pool = pools[asked.client_id] = PoolState(asked.client_id, asked.time)
    if isinstance(asked, AdvisorChange):
        return _answers(roster, pool, hear(roster, pool, asked.advisor_id, _said(asked), asked.time, asked.event_id))
    about = asked.request_id, asked.client
    if asked.kind == "release":
        return _answers(roster, pool, release(roster, pool, *about, asked.time))
    if asked.kind == "accepted":
        return _answers(roster, pool, accept(roster, pool, *about, asked.advisor_id or "", asked.time))
    if asked.kind in ("task", "open"):
        task = Task(asked.priority, asked.time, asked.client, asked.advisor_id or "")
        hears = want_room if asked.kind == "task" else bring_task
        return _answers(roster, pool, hears(roster, pool, asked.request_id, task))
    if asked.kind != "assign":
        return _answers(roster, pool, pass_on(roster, pool, *about, asked.advisor_id or "", asked.time, asked.kind))
    needs = ((skill, int(level)) for skill, _, level in (need.partition(":") for need in asked.needs))
    waiting = Waiting(
        asked.priority,
        asked.time,
        asked.request_id,
        asked.client,
        asked.tier,
        asked.region,
        asked.language,
        tuple(needs),
        asked.refused,
    )
    return _answers(roster, pool, ask(roster, pool, waiting))


def read_change(roster: Roster, found: Taken | Rejected) -> Taken | Rejected:
    """A record about an advisor, beside the roster: whom it does not have in that pool nothing is said of."""
    if isinstance(found, Rejected):
        error = found.error
        for of_clients, of_pools in _OF_CLIENTS:
            error = error.replace(of_clients, of_pools)
        return Rejected(found.reason, error)
    assert isinstance(found.event, AdvisorChange)
    return _amiss(roster, found.event) or found


def _amiss(roster: Roster, change: AdvisorChange) -> Rejected | None:
    said = change.model_fields_set
    if said.isdisjoint((*PLAIN, *LEAVE_FIELDS)):
        return Rejected(
            Rejection.MISSING_FIELD, "it says nothing: send present, leave_from, last_day, capacity or open_tasks"
        )
    if change.leave_from is None and not said.isdisjoint(LEAVE_FIELDS):
        return Rejected(Rejection.MISSING_FIELD, "leave_from: a leave is known by its first day: send it")
    if change.leave_from is not None and "leave_until" not in said:
        return Rejected(Rejection.MISSING_FIELD, "leave_until: send the leave's last day, or null to take it back")
    if change.leave_from is not None and change.leave_until is not None and change.leave_until < change.leave_from:
        return Rejected(Rejection.OUT_OF_RANGE, "leave_until: the leave ends before it begins")
    of_pool = [one.name for one in roster.advisors.get(change.client_id, ())]
    for field, name in (("advisor_id", change.advisor_id), ("stand_in", change.stand_in)):
        if name is not None and name not in of_pool:
            return Rejected(Rejection.UNKNOWN_VALUE, f"{field}: {_unknown(roster, name, of_pool)}")
    if change.open_tasks is not None and _own(roster, change).open_tasks is None:
        error = (
            f"open_tasks: {ADVISORS_FILE} or .csv has no open_tasks for this advisor, nor has the pool: add it there"
        )
        return Rejected(Rejection.UNKNOWN_VALUE, error)
    if change.stand_in == change.advisor_id:
        return Rejected(Rejection.UNKNOWN_VALUE, "stand_in: the advisor's own id: name somebody else of the pool")
    return None


def _own(roster: Roster, change: AdvisorChange) -> Advisor:
    return next(one for one in roster.advisors[change.client_id] if one.name == change.advisor_id)


def _unknown(roster: Roster, name: str, of_pool: list[str]) -> str:
    for pool, advisors in roster.advisors.items():
        if any(one.name == name for one in advisors):
            return f"of the pool {pool} by {ADVISORS_FILE} or .csv: send it with this pool as key and as pool"
    close = difflib.get_close_matches(name, of_pool, n=1)
    meant = f" (is it {close[0]}?)" if close else ""
    return (
        f"neither {ADVISORS_FILE} nor .csv of the active rules has this id in the pool{meant}: add it, publish, resend"
    )


def _said(change: AdvisorChange) -> dict[str, Any]:
    """What was said, as pools keep it."""
    said: dict[str, Any] = {name: getattr(change, name) for name in PLAIN if name in change.model_fields_set}
    if change.leave_from is not None:
        said[LEAVE + change.leave_from] = change.leave_until and (change.leave_until, change.stand_in)
    return said


def ask_budget(
    limits: Mapping[str, Budget], budgets: MutableMapping[str, BudgetState], asked: BudgetRequest, partitions: int
) -> list[Message]:
    """One request to a budget; one that is new is added."""
    name, budget = asked.client_id.removeprefix(BUDGET), budgets.get(asked.client_id)
    if budget is None:
        budget = budgets[asked.client_id] = BudgetState(asked.client_id, asked.time)
    budget.now_ms = max(budget.now_ms, asked.time)
    if asked.kind == "return":
        give_back(budget, asked.request_id, asked.period, asked.amount)
        return []
    limit = int(limits[name].limit) if name in limits else None
    part = grant(
        budget, asked.request_id, Part(asked.period, asked.amount, asked.least, asked.limit), limit, partitions
    )
    record = {
        "event_id": hashlib.blake2b(f"answer\0{asked.request_id}".encode(), digest_size=16).hexdigest(),
        "client_id": asked.client,
        "time": rfc3339(asked.time),
        "request_id": asked.request_id,
        "budget": name,
        "period": part.period,
        "outcome": "granted" if part.amount else "nothing",
        "amount": part.amount,
        "least": part.least,
        "limit": part.limit,
    }
    return [Message(OF_BUDGETS, asked.client.encode(), _json(record), _HEADERS)]


def reach(roster: Roster, pool: PoolState, time_ms: int) -> list[Message]:
    """What falls due up to a moment."""
    return _answers(roster, pool, pass_time(roster, pool, time_ms))


def sweep(roster: Roster, pool: PoolState, time_ms: int) -> list[Message]:
    """The roster is another one."""
    return _answers(roster, pool, reconsider(roster, pool, time_ms))


def _answers(roster: Roster, pool: PoolState, answers: Answers) -> list[Message]:
    count(roster, pool)
    return [_answer(pool.name, request, given) for request, given in answers]


def _answer(pool: str, request: str, given: Given) -> Message:
    of_task = given.why in (ROOM, AWAY)
    named = f"answer\0{request}" + (f"\0{given.number}" if given.why and not of_task else "")
    record: dict[str, Any] = {
        "event_id": hashlib.blake2b(named.encode(), digest_size=16).hexdigest(),
        "client_id": given.client,
        "time": rfc3339(given.time_ms),
        "request_id": request,
        "pool": pool,
        "outcome": given.why if of_task else _outcome(given),
    }
    if given.why and not of_task:
        record["why"] = given.why
    if given.advisor:
        record["advisor_id"] = given.advisor
    if given.team:
        record["team"] = given.team
    return Message(ANSWERS, given.client.encode(), _json(record), _HEADERS)


def _outcome(given: Given) -> str:
    if not given.advisor:
        return "no_capacity"
    return "moved" if given.why else "assigned"
