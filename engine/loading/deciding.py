"""Deciding the past of one bucket of clients: all of a client's events at once, in the order of time, and what falls
due up to the end of the past.

Enters: rows of a bucket, a plan. Leaves: states as units to commit, counts, letters.
Holds: a function of the rows and the plan alone, so that a bucket decided again comes to the same bytes. A client's
decisions depend on its own events only; so deciding client after client is deciding all in the order of time.
"""

from __future__ import annotations

import base64
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from engine.core.client.items import CARE, KIND, LEAVES_MS, OPENED, STATE, WORK, noted
from engine.core.client.record import tallied_by
from engine.core.client.sections import pack, unpack
from engine.core.client.state import ClientState
from engine.core.contract.events import Event
from engine.core.contract.outbound import TOPIC_OF_KIND, Outcome
from engine.core.contract.topics import ranks
from engine.core.decide.occasions import next_due_ms
from engine.core.decide.path import Due, decide
from engine.core.learn import actions
from engine.core.plan.compile import Plan
from engine.core.policy import outcomes
from engine.core.reading.decode import Rejected, Taken, decode, kind_of
from engine.loading.spill import Row
from engine.operations.record_file import to_json
from engine.processors.engagement import ENGAGEMENT
from engine.runtime.protocol.writes import Write, encode_writes

Acted = Literal["all", "cooldowns", "nothing"]
UNIT_CLIENTS: Final = 2_000
NOT_BEFORE: Final = "not_before_until"


@dataclass(slots=True)
class Counts:
    """What became of the records of some buckets."""

    records: int = 0
    events: int = 0
    duplicates: int = 0
    clients: int = 0
    refused: Counter[str] = field(default_factory=Counter)  # by reason
    unread: Counter[str] = field(default_factory=Counter)  # topic.field
    muted: Counter[str] = field(default_factory=Counter)  # rule -> actions that the past led to
    tallies: Counter[str] = field(default_factory=Counter)  # by tier and stage, see record.py
    waiting: Counter[str] = field(default_factory=Counter)  # kind -> actions that wait for an answer
    first: Counter[str] = field(default_factory=Counter)  # rule -> clients whom it acts on at the first live tick

    def add(self, other: Counts) -> None:
        for name in ("records", "events", "duplicates", "clients"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("refused", "unread", "muted", "tallies", "waiting", "first"):
            getattr(self, name).update(getattr(other, name))


@dataclass(slots=True)
class Unit:
    """States of new clients, to be committed together."""

    clients: int
    tallies: dict[str, int]
    writes: list[bytes]


@dataclass(slots=True)
class Decided:
    counts: Counts = field(default_factory=Counts)
    units: list[Unit] = field(default_factory=list)
    letters: list[bytes] = field(default_factory=list)  # lines of JSON


@dataclass(frozen=True, slots=True)
class Past:
    """What is decided by: where the past ends, what counts of what it would have done; `live_ms` for a dry run: when
    the first tick comes.
    """

    until_ms: int
    acted: Acted = "all"
    live_ms: int | None = None
    unit_clients: int = UNIT_CLIENTS  # committed together: a run that goes on must divide them as the one before did


def decide_bucket(plan: Plan, past: Past, rows: Iterable[tuple[int, Row]]) -> Decided:
    """`rows` are (part, row), in the order of the inputs."""
    found, counts = Decided(), Counts()
    found.counts = counts
    clients: dict[bytes, list[tuple[int, Row]]] = defaultdict(list)
    for part, row in rows:
        clients[row.key or b""].append((part, row))
    writes: list[Write] = []
    tallies: Counter[str] = Counter()
    for key in sorted(clients):
        events = sorted(_events(plan, past, clients.pop(key), found), key=_order)
        if not events:
            continue
        client = _decide_client(plan, past, [(topic, event) for _, topic, event in events], counts)
        writes.append(ENGAGEMENT.write(client, pack(plan.layout, client)))
        tallies.update(tallied_by(client))
        if len(writes) == past.unit_clients:
            found.units.append(_unit(writes, tallies))
            writes, tallies = [], Counter()
    if writes:
        found.units.append(_unit(writes, tallies))
    for unit in found.units:
        counts.clients += unit.clients
        counts.tallies.update(unit.tallies)
    return found


def _unit(writes: list[Write], tallies: Counter[str]) -> Unit:
    return Unit(len(writes), dict(sorted(tallies.items())), encode_writes(writes))


def _order(event: tuple[int, str, Event]) -> tuple[int, int]:
    return event[2].time, event[0]  # what comes of one moment and one topic stays in the order of the inputs


def _events(plan: Plan, past: Past, rows: list[tuple[int, Row]], found: Decided) -> Iterator[tuple[int, str, Event]]:
    """(rank, kind, event) of the records that are events of the past."""
    counts, ranked = found.counts, ranks()
    for part, row in rows:
        counts.records += 1
        outcome = decode(row.topic, row.key, row.value, row.timestamp_ms, plan.declared_types)
        if isinstance(outcome, Rejected):
            counts.refused[outcome.reason.value] += 1
            found.letters.append(_letter(part, row, outcome.reason.value, outcome.error))
            continue
        assert isinstance(outcome, Taken)
        event = outcome.event
        if event.time >= past.until_ms:
            counts.refused[NOT_BEFORE] += 1
            error = "dated at or after --until: workers take it from its topic"
            found.letters.append(_letter(part, row, NOT_BEFORE, error))
            continue
        counts.events += 1
        if outcome.unread:
            counts.unread.update(f"{row.topic}.{name}" for name in outcome.unread)
        yield ranked[row.topic], kind_of(row.topic, event), event


def _letter(part: int, row: Row, reason: str, error: str) -> bytes:
    """A record line, so that a mended one can be read again, with where it came from and what is wrong."""
    fields: dict[str, Any] = {"part": part, "place": row.place, "reason": reason, "error": error, "topic": row.topic}
    fields["key"] = None if row.key is None else row.key.decode(errors="replace")
    if row.timestamp_ms >= 0:
        fields["timestamp"] = row.timestamp_ms
    try:
        value = json.loads(row.value or b"")
        as_it_was = to_json(value) == row.value
    except (ValueError, RecursionError):
        as_it_was = False
    if as_it_was:  # else reading it as JSON might lose what is wrong with it
        fields["value"] = value
    else:
        fields["value_base64"] = base64.b64encode(row.value or b"").decode()
    return json.dumps(fields, ensure_ascii=False).encode()


def _decide_client(plan: Plan, past: Past, events: list[tuple[str, Event]], counts: Counts) -> ClientState:
    states: dict[str, ClientState] = {}
    client_id = events[0][1].client_id
    for decided in (decide(plan, states, events), decide(plan, states, [Due(client_id, past.until_ms)])):
        counts.duplicates += sum(times for (what, *_), times in decided.counts.items() if what == "duplicates")
        for (rule_id, outcome), times in decided.outcomes.items():
            if outcome == Outcome.SENT:
                counts.muted[rule_id] += times
    client = states[client_id]
    client.caused = []  # nothing was sent that could be retracted
    client.asked = None  # nor was a pool asked
    outcomes.told(client)  # what was counted is not to be published
    work = [item for item in client.items if WORK in noted(item)]
    client.items = [item for item in client.items if LEAVES_MS not in noted(item)]
    for item in work:  # nobody can take up what was not sent
        del item[CARE:]
    if client.waiting or work:  # and nothing of the past is sent later
        client.waiting = []
        client.due_ms = next_due_ms(plan, client, 0)
    if past.acted != "all":
        _forget(plan, client, past.acted)
    counts.waiting.update(item[KIND] for item in client.items if item[KIND] in TOPIC_OF_KIND and item[STATE] == OPENED)
    if past.live_ms is not None:
        tried = {client_id: unpack(plan.layout, pack(plan.layout, client))}
        live = decide(plan, tried, [Due(client_id, past.live_ms)], past.live_ms)
        counts.first.update({rule_id for (rule_id, outcome) in live.outcomes if outcome == Outcome.SENT})
    return client


def _forget(plan: Plan, client: ClientState, acted: Acted) -> None:
    """Nothing was sent: so nothing waits for an answer; and, if so asked, nothing holds a rule back."""
    client.items = [item for item in client.items if item[KIND] not in TOPIC_OF_KIND]
    if acted == "nothing":
        client.acted = {}
        client.contacts = {}
        client.recent = []
        actions.forget(plan, client)
    client.due_ms = next_due_ms(plan, client, 0)
