"""A client and its advisor's pool: what is asked of the pool, what its answers mean, what is given back.

Enters: the client, an action that was sent, an answer. Leaves: requests and releases to publish; the client, changed.
Holds: a client asks for one thing at a time; an answer counts if it is to that; whose advisor is another one by now has
what was asked or assigned released, and what is open counts with the advisor of now. See ARCHITECTURE.md, Assignment.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from engine.core.assign.roster import ROOM_KINDS, takes_room
from engine.core.assign.state import AWAY
from engine.core.client.items import (
    ACTION,
    ADVISOR,
    ASKED,
    GIVEN,
    KEY,
    KIND,
    MATCH,
    OF_TEAM,
    OVER,
    POOL,
    REQUEST,
    STANDING,
    STATE,
    WORK,
    find,
    is_cared_for,
    noted,
    room_of,
)
from engine.core.client.state import ClientState
from engine.core.contract.events import DEFAULT_LANGUAGE
from engine.core.contract.granting import AssignmentAnswer
from engine.core.contract.message import Message, rfc3339
from engine.core.contract.outbound import Outcome
from engine.core.contract.topics import ASSIGNMENT_REQUESTS
from engine.core.decide.messages import match_name
from engine.core.learn.facts import take_facts
from engine.core.plan.compile import Plan
from engine.core.plan.matching import Pools, team_of
from engine.core.policy import holding, rates
from engine.core.policy.gates import Hold, Send, Suppress, Told
from engine.core.policy.match import Match
from engine.core.rules.ruleset import Rule

BUSY: Final = "advisor_busy"  # why an action is held: until its advisor has room
IN_TURN: Final = (BUSY, rates.RATE, rates.WAITS)
FREES: Final = frozenset(("assignment_answers", "budget_answers"))  # what comes on these can free what is held
HIGHEST: Final = 9
TOLD: Final = ("accepted", "declined")  # outcomes that a pool hears of
_json: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class _Said:
    """An answer, as facts are taken from an event."""

    time: int
    advisor_id: str | None
    model_fields_set = frozenset({"advisor_id"})


def in_turn(
    plan: Plan, client: ClientState, match: Match, sent: Send, number: int, decided: Any
) -> Send | Hold | Suppress:
    """The action, or why it waits: its advisor has to have room, then what all clients share is asked."""
    verdict = _with_room(plan, client, match, sent, number, decided) if decided.pace.asks_room else sent
    return rates.in_turn(decided.pace, client, match, verdict, decided) if isinstance(verdict, Send) else verdict


def _with_room(
    plan: Plan, client: ClientState, match: Match, sent: Send, number: int, decided: Any
) -> Send | Hold | Suppress:
    """Room is asked for once; it waits until there is some, at most until it expires."""
    advisor = client.advisor_id
    pool = plan.pools.limited.get(advisor) if plan.pools is not None and advisor is not None else None
    if pool is None or not takes_room(match.compiled.rule):
        return sent
    named = match_name(client, match, number)
    room = room_of(client.rooms, named)
    asked = room is not None and room[:REQUEST] + room[ADVISOR:MATCH] == [pool, advisor]
    if asked and room is not None and room[STANDING] != ASKED:
        return sent
    told: Told = (("advisor", advisor), ("pool", pool))
    until_ms = holding.expires_ms(client, match) - 1
    if max(decided.decided_ms, client.now_ms) >= until_ms or holding.is_full(client):
        return Suppress(sent.channel, Outcome.ADVISOR_BUSY, None, told)
    if not asked:
        if room is not None:
            decided.messages += _given_back(client, room)
        decided.messages.append(_room(client, pool, "task", named, match.compiled.rule.priority))
    return Hold(sent.channel, until_ms, BUSY, told)


def _room(client: ClientState, pool: str, kind: str, named: bytes, priority: int) -> Message:
    """Of kind task it is asked for, of kind open the action of this name takes it. What is asked twice, since the
    advisor is another one meanwhile, has another name.
    """
    what = b"\0".join((kind.encode(), named, str(client.sequence).encode()))
    request = hashlib.blake2b(what, digest_size=16).hexdigest()
    stands = [named, "", ASKED] if kind == "task" else [b"", named.decode(), GIVEN]
    client.rooms = [*client.rooms, [pool, request, client.advisor_id, *stands]]
    record = {
        "event_id": request,
        "client_id": pool,
        "time": rfc3339(client.now_ms),
        "kind": kind,
        "request_id": request,
        "client": client.client_id,
        "advisor_id": client.advisor_id,
        "priority": priority,
    }
    return _message(pool, record)


def _given_back(client: ClientState, room: list[Any]) -> list[Message]:
    client.rooms = [other for other in client.rooms if other is not room]
    return [_release(client, room)] if room[STANDING] != OF_TEAM else []


def sent(plan: Plan, client: ClientState, match: Match, action: str) -> list[Message]:
    """An action was sent: one of kind assignment asks for somebody, another may have been given room."""
    rule = match.compiled.rule
    if rule.kind == "assignment" and plan.pools is not None:
        return ask(plan.pools, client, rule, action)
    room = room_of(client.rooms, match.held[holding.MATCH]) if match.held is not None else None
    if room is not None:
        room[MATCH], room[ACTION] = b"", action
        if room[STANDING] == OF_TEAM and (item := find(client.items, rule.kind, action)) is not None:
            noted(item)[WORK] = [team_of(plan.pools, client, rule.owner)[0], rule.priority, "team"]
    return []


def ask(pools: Pools, client: ClientState, rule: Rule, action: str) -> list[Message]:
    """An action of kind assignment was sent: its client's pool is asked. What was asked before is given up."""
    if not (found := pools.which(client, None, None)):
        return []
    messages = [_release(client, client.asked)] if client.asked is not None else []
    at = found[0]
    pool = pools.names[at]
    client.asked = [pool, action, client.advisor_id]
    needs = ((skill, level(client, None, None)) for skill, level in pools.needs[at])
    conflict = pools.conflicts[at]
    barred = client.advisor_id is not None and conflict is not None and conflict(client, None, None)
    record: dict[str, Any] = {
        "event_id": action,
        "client_id": pool,
        "time": rfc3339(client.now_ms),
        "kind": "assign",
        "request_id": action,
        "client": client.client_id,
        "tier": client.tier,
        "region": client.region,
        "language": (client.language or DEFAULT_LANGUAGE).partition("-")[0],
        "needs": [f"{skill}:{min(int(level), HIGHEST)}" for skill, level in needs if level is not None and level >= 1],
        "priority": rule.priority,
    }
    if barred:
        record["refused"] = [client.advisor_id]
    return [*messages, _message(pool, record)]


def answered(client: ClientState, answer: AssignmentAnswer) -> list[Message]:
    """Of what was not asked, or not any more, an answer says nothing: it is released already."""
    if answer.why is not None:
        _moved(client, answer)
        return []
    room = next((one for one in client.rooms if one[REQUEST] == answer.request_id and one[STANDING] == ASKED), None)
    if room is not None:
        room[STANDING] = OF_TEAM if answer.outcome == AWAY else GIVEN
        holding.bring_forward(client, BUSY, room[MATCH])
        return []
    if client.asked is None or client.asked[REQUEST] != answer.request_id:
        return []
    client.asked, before, messages = None, client.assigned, list[Message]()
    if answer.outcome == "assigned" and answer.advisor_id is not None:
        if before is not None and before[POOL] != answer.pool:  # a pool knows itself that it gives a client to another
            messages.append(_release(client, before))
        client.assigned = [answer.pool, answer.request_id, answer.advisor_id]
        take_facts(client, _Said(answer.time, answer.advisor_id), ("advisor_id",))
    return messages


def _moved(client: ClientState, answer: AssignmentAnswer) -> None:
    """The pool gives the client to another, or to nobody. What is asked meanwhile stands."""
    if client.assigned is None or client.assigned[REQUEST] != answer.request_id:
        return
    before, moved = client.advisor_id, answer.advisor_id is not None
    client.assigned = [answer.pool, answer.request_id, answer.advisor_id] if moved else None
    take_facts(client, _Said(answer.time, answer.advisor_id), ("advisor_id",))
    if client.asked is not None and client.asked[ADVISOR] == before:
        client.asked = [*client.asked[:ADVISOR], client.advisor_id]


def heard(_plan: Any, client: ClientState, outcome: Any, decided: Any, _steps: Any) -> None:
    """The advisor accepted or declined the client: the outcome names the action that asked for somebody."""
    if client.assigned is not None and client.assigned[REQUEST] == outcome.action_id and outcome.status in TOLD:
        decided.messages.append(_about(client, client.assigned, outcome.status, outcome.event_id))


def granted(plan: Any, client: ClientState, answer: Any, decided: Any, _steps: Any) -> None:
    """A budget has answered: with a part for the client's partition, or that nothing is left. What waited is judged."""
    if decided.pace is not None:
        messages, known = rates.answered(plan.budgets, decided.pace, answer)
        decided.messages += messages
        if known:
            holding.bring_forward(client, rates.WAITS)


def settle(plan: Plan, client: ClientState, decided: Any) -> list[Message]:
    """After an event: another advisor, or none, is known by now; or the one of before is of another pool."""
    messages = []
    if client.assigned is not None and client.assigned[ADVISOR] != client.advisor_id:
        messages.append(_release(client, client.assigned))
        client.assigned = None
    if client.asked is not None and client.asked[ADVISOR] != client.advisor_id:
        messages.append(_release(client, client.asked))
        client.asked = None
    pool = plan.pools.limited.get(client.advisor_id or "") if plan.pools is not None else None
    for room in client.rooms:
        if room[ADVISOR] != client.advisor_id or _is_counted_elsewhere(plan, room, pool) or not _stands(client, room):
            messages += _given_back(client, room)
            if room[MATCH]:
                holding.bring_forward(client, BUSY, room[MATCH])
    if pool is not None and decided.pace is not None and decided.pace.asks_room:
        counted = {room[ACTION] for room in client.rooms}
        for item in client.items:
            if item[KEY] not in counted and is_with_advisor(item):
                messages.append(_room(client, pool, "open", item[KEY].encode(), noted(item)[WORK][1]))
    return messages


def is_with_advisor(item: list[Any]) -> bool:
    """Whether it is open with the client's advisor, whoever that is by now, and counts as that."""
    return (
        item[STATE] not in OVER
        and item[KIND] in ROOM_KINDS
        and is_cared_for(item)
        and noted(item).get(WORK, (None, None, ""))[2] == "advisor"
    )


def _is_counted_elsewhere(plan: Plan, room: list[Any], pool: str | None) -> bool:
    """Whether the advisor is of another pool than when it was asked for, or can have any number by now. Of who is not
    in the files any more the pool knows that what waits goes to the team.
    """
    known = plan.pools is not None and room[ADVISOR] in plan.pools.roster.home
    return known and room[STANDING] != OF_TEAM and room[POOL] != pool


def _stands(client: ClientState, room: list[Any]) -> bool:
    """Whether it waits with nothing else in its way, or is open. What the team has takes no room."""
    if room[ACTION]:
        return room[STANDING] == GIVEN and any(
            item[KEY] == room[ACTION] and item[STATE] not in OVER for item in client.items
        )
    return any(held[holding.MATCH] == room[MATCH] and held[holding.WHY] in IN_TURN for held in client.waiting)


def _release(client: ClientState, what: list[Any]) -> Message:
    return _about(client, what, "release", "")


def _about(client: ClientState, what: list[Any], kind: str, by: str) -> Message:
    """What the pool hears of a request. `by` is the event that said it, where it can be said more than once."""
    named = f"{kind}\0{what[REQUEST]}" + (f"\0{by}" if by else "")
    record = {
        "event_id": hashlib.blake2b(named.encode(), digest_size=16).hexdigest(),
        "client_id": what[POOL],
        "time": rfc3339(client.now_ms),
        "kind": kind,
        "request_id": what[REQUEST],
        "client": client.client_id,
    }
    if kind in TOLD:
        record["advisor_id"] = what[ADVISOR]
    return _message(what[POOL], record)


def _message(pool: str, record: dict[str, Any]) -> Message:
    headers = (("content-type", b"application/json"),)
    return Message(ASSIGNMENT_REQUESTS.name, pool.encode(), _json(record), headers)
