"""A pool's requests and answers as records: what a request asks for, what is answered.

Enters: a Roster, the pools' states, requests, moments. Leaves: the states, changed; answers as messages.
Holds: pure. An answer has the same bytes whenever it is published, and its id follows from the request's.
"""

from __future__ import annotations

import hashlib
from collections.abc import MutableMapping
from typing import Any, Final

import msgspec

from engine.core.assign.choice import Answers, accept, ask, pass_on, pass_time, reconsider, release
from engine.core.assign.roster import Roster
from engine.core.assign.state import Given, PoolState, Waiting
from engine.core.contract.events import AssignmentRequest
from engine.core.contract.message import Message, rfc3339

ANSWERS: Final = "assignment_answers"
_json: Final = msgspec.json.Encoder().encode


def take(roster: Roster, pools: MutableMapping[str, PoolState], asked: AssignmentRequest) -> list[Message]:
    """One request; a pool that is new is added."""
    pool = pools.get(asked.client_id)
    if pool is None:
        pool = pools[asked.client_id] = PoolState(asked.client_id, asked.time)
    about = asked.request_id, asked.client
    if asked.kind == "release":
        return _answers(pool, release(roster, pool, *about, asked.time))
    if asked.kind == "accepted":
        return _answers(pool, accept(roster, pool, *about, asked.advisor_id or "", asked.time))
    if asked.kind != "assign":
        return _answers(pool, pass_on(roster, pool, *about, asked.advisor_id or "", asked.time, asked.kind))
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
    )
    return _answers(pool, ask(roster, pool, waiting))


def reach(roster: Roster, pool: PoolState, time_ms: int) -> list[Message]:
    """What falls due up to a moment."""
    return _answers(pool, pass_time(roster, pool, time_ms))


def sweep(roster: Roster, pool: PoolState, time_ms: int) -> list[Message]:
    """The roster is another one."""
    return _answers(pool, reconsider(roster, pool, time_ms))


def _answers(pool: PoolState, answers: Answers) -> list[Message]:
    return [_answer(pool.name, request, given) for request, given in answers]


def _answer(pool: str, request: str, given: Given) -> Message:
    named = f"answer\0{request}" + (f"\0{given.number}" if given.why else "")
    record: dict[str, Any] = {
        "event_id": hashlib.blake2b(named.encode(), digest_size=16).hexdigest(),
        "client_id": given.client,
        "time": rfc3339(given.time_ms),
        "request_id": request,
        "pool": pool,
        "outcome": "no_capacity" if not given.advisor else "moved" if given.why else "assigned",
    }
    if given.why:
        record["why"] = given.why
    if given.advisor:
        record["advisor_id"] = given.advisor
    if given.team:
        record["team"] = given.team
    headers = (("content-type", b"application/json"),)
    return Message(ANSWERS, given.client.encode(), _json(record), headers)
