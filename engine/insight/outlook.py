"""What publishing a rule set would do at once: whom it moves to another tier, and on whom its rules act.

Enters: the plans of the active set and of the other, clients' stored states, the moment. Leaves: an Outlook.
Holds: what has fallen due since the states were stored is decided first, by the active set. Then a client is decided as
the sweep after publishing decides it, by the engine's own path; what the active set would do then, too, does not count.
What is held is acted on, too: it goes out when quiet hours end, though nobody publishes anything then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from engine.core.assign.changes import StaffChanges, staff_changes
from engine.core.client.items import (
    ADVISOR,
    ASKED,
    ENDED,
    JOURNEY,
    OVER,
    POOL,
    STANDING,
    STANDS,
    STATE,
    WORK,
    noted,
)
from engine.core.client.sections import pack, unpack
from engine.core.client.state import ClientState
from engine.core.contract.outbound import Outcome
from engine.core.decide.assigning import is_with_advisor
from engine.core.decide.path import Due, Sweep, decide
from engine.core.plan.compile import Plan
from engine.core.rules.occasion import CHANGED, Journey
from engine.core.rules.ruleset import RuleSet


@dataclass(slots=True)
class Outlook:
    clients: int = 0  # that were evaluated
    moves: Counter[tuple[str, str]] = field(default_factory=Counter)  # (from tier, to tier): clients
    acts: Counter[str] = field(default_factory=Counter)  # rule id: clients; at once, or later
    later: Counter[str] = field(default_factory=Counter)  # of those, for whom the action is held
    stands: Counter[tuple[str, str]] = field(default_factory=Counter)  # (journey, step): clients, as of now
    leave: Counter[str] = field(default_factory=Counter)  # of a journey: clients whose step is gone
    left: dict[tuple[str, int], int] = field(default_factory=dict)  # (pinned journey, earlier version): clients
    affected: int = 0  # clients who move or on whom a rule acts
    staff: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # see `leaves`
    one_in: int = 1  # of so many clients one was evaluated; all figures are times that

    def of_all(self, one_in: int) -> Outlook:
        """What it would be for all clients, when one in so many was evaluated."""
        moves = Counter({move: clients * one_in for move, clients in self.moves.items()})
        acts = Counter({rule_id: clients * one_in for rule_id, clients in self.acts.items()})
        later = Counter({rule_id: clients * one_in for rule_id, clients in self.later.items()})
        stands = Counter({step: clients * one_in for step, clients in self.stands.items()})
        leave = Counter({journey: clients * one_in for journey, clients in self.leave.items()})
        left = {version: clients * one_in for version, clients in self.left.items()}
        affected = self.affected * one_in
        staff = Counter({what: number * one_in for what, number in self.staff.items()})
        return Outlook(self.clients * one_in, moves, acts, later, stands, leave, left, affected, staff, one_in)

    def as_json(self) -> dict[str, object]:
        return {
            "one_in": self.one_in,
            "clients": self.clients,
            "affected": self.affected,
            "moves": [{"from": old or None, "to": new, "clients": n} for (old, new), n in sorted(self.moves.items())],
            "rules": dict(sorted(self.acts.items())),
            "later": dict(sorted(self.later.items())),
            "journeys": [{"journey": of, "step": s, "clients": n} for (of, s), n in sorted(self.stands.items())],
            "earlier_versions": [
                {"journey": of, "version": version, "clients": n} for (of, version), n in sorted(self.left.items())
            ],
            "journey_changed": dict(sorted(self.leave.items())),
            "staff": staff_as_json(self.staff),
        }

    def lines(self) -> Iterator[str]:
        about = f", by one in {self.one_in:,}" if self.one_in > 1 else ""
        yield f"of {self.clients:,} clients{about}, {self.affected:,} would be moved or acted on at once"
        for (old, new), clients in sorted(self.moves.items()):
            yield f"  tier {old or '-'} -> {new}: {clients:,} clients"
        for rule_id, clients in sorted(self.acts.items(), key=lambda pair: (-pair[1], pair[0])):
            held = f", on {self.later[rule_id]:,} of them later: it is held" if self.later[rule_id] else ""
            yield f"  rule {rule_id} acts on {clients:,} clients{held}"
        for journey in sorted({journey for journey, _ in self.stands}):
            at = ", ".join(f"{n:,} at {step}" for (of, step), n in sorted(self.stands.items()) if of == journey)
            left = self.leave[journey]
            yield f"  journey {journey}: {at}{f'; {left:,} of them leave it: their step is gone' if left else ''}"
        for (journey, version), clients in sorted(self.left.items()):
            if not clients and self.one_in == 1:
                yield f"  journey {journey}: nobody is in version {version} any more: it can be taken out of earlier"
            else:
                yield f"  journey {journey}: {clients:,} clients go on with version {version}"
        yield from staff_lines(self.staff)


def is_one_in(one_in: int, client_id: str) -> bool:
    """Whether a client is among those that are evaluated: the same each time, and no matter how ids are made."""
    return int.from_bytes(blake2b(client_id.encode(), digest_size=8).digest()) % one_in == 0


def outlook(before: Plan | None, after: Plan, states: Iterable[bytes], now_ms: int) -> Outlook:
    """Of all clients by their states; without a set before, whatever would be done is new."""
    found = Outlook()
    names = after.layout.renamed
    journeys = {journey.id: journey for journey in after.rule_set.journeys}
    changes = staff_changes(before.rule_set, after.rule_set) if before is not None else None
    found.left = {(one.id, version): 0 for one in journeys.values() for version in one.pinned[1:]}
    for packed in states:
        found.clients += 1
        if before is not None:
            packed = _as_of(before, packed, now_ms)
        client = unpack(after.layout, packed)
        if changes:
            found.staff.update(leaves(changes, client))
        found.stands.update((entry[JOURNEY], entry[STANDS]) for entry in client.journeys if not entry[ENDED])
        for id_, version in _earlier(journeys, client):
            found.left[id_, version] += 1
        moves, acts, later, leave = _at_once(after, client, now_ms)
        found.leave.update(leave)
        if not moves and not acts:
            continue
        if before is not None:
            moves_before, acts_before, *_ = _at_once(before, unpack(before.layout, packed), now_ms)
            moves -= moves_before
            acts -= {names.get(rule_id, rule_id) for rule_id in acts_before}
        found.moves.update(moves)
        found.acts.update(acts)
        found.later.update(acts & later)
        found.affected += bool(moves or acts)
    return found


def _earlier(journeys: Mapping[str, Journey], client: ClientState) -> set[tuple[str, int]]:
    """Of pinned journeys the earlier versions that the client is in, or of which something is held."""
    at = [(entry[JOURNEY], entry[STANDS]) for entry in client.journeys if not entry[ENDED]]
    at += [(rule_id.partition("/")[0], rule_id.partition("/")[2]) for rule_id, *_ in client.waiting]
    versions = {(id_, journeys[id_].place_of(step)[0]) for id_, step in at if id_ in journeys}
    return {(id_, version) for id_, version in versions if version in journeys[id_].pinned[1:]}


def _as_of(plan: Plan, packed: bytes, now_ms: int) -> bytes:
    client = unpack(plan.layout, packed)
    if client.due_ms > now_ms:
        return packed
    decide(plan, {client.client_id: client}, [Due(client.client_id, now_ms)])
    return pack(plan.layout, client)


def _at_once(plan: Plan, client: ClientState, now_ms: int) -> tuple[set[tuple[str, str]], set[str], set[str], set[str]]:
    """The moves, the rules that act, of those the ones whose action is held; the journeys whose step is gone."""
    decided = decide(plan, {client.client_id: client}, [Sweep(client.client_id, now_ms)], now_ms)
    moves = {(old, new) for old, new, _ in decided.moves}
    sent, held = (
        {rule_id for rule_id, outcome in decided.outcomes if outcome == which} for which in (Outcome.SENT, Outcome.HELD)
    )
    leave = {journey for what, journey, *why in decided.counts if what == "journeys" and why == [CHANGED]}
    return moves, sent | held, held - sent, leave


# -- staff -------------------------------------------------------------------------------------------------------------


def leaves(changes: StaffChanges, client: ClientState) -> Counter[tuple[str, str, str]]:
    """What of a client a team or advisor who is gone, or is changed, has: by (team or advisor, the name, what), where
    what is open, clients, waits or given_on.
    """
    found: Counter[tuple[str, str, str]] = Counter()
    advisor = client.advisor_id or ""
    for item in client.items:
        if item[STATE] not in OVER and noted(item).get(WORK, ("",))[0] in changes.teams_gone:
            found["team", noted(item)[WORK][0], "open"] += 1
    if advisor in changes.advisors_gone or advisor in changes.moved:
        found["advisor", advisor, "clients"] += advisor in changes.advisors_gone
        found["advisor", advisor, "open"] += sum(map(is_with_advisor, client.items))
        found["advisor", advisor, "waits"] += sum(room[STANDING] == ASKED for room in client.rooms)
    if client.assigned is not None:
        pool, who = client.assigned[POOL], client.assigned[ADVISOR]
        gives = changes.moved.get(who, ("",))[0] == pool or client.client_id in changes.barred.get(who, ())
        found["advisor", who, "given_on"] += gives
    return +found


def leaves_of(old: RuleSet, new: RuleSet, clients: Iterable[ClientState]) -> Counter[tuple[str, str, str]]:
    """The same of all clients."""
    changes, found = staff_changes(old, new), Counter[tuple[str, str, str]]()
    for client in clients if changes else ():
        found.update(leaves(changes, client))
    return found


def staff_lines(staff: Counter[tuple[str, str, str]]) -> Iterator[str]:
    for what, name in sorted({(what, name) for what, name, _ in staff}):
        held = {told: staff[what, name, told] for told in _STAFF}
        parts = [said.format(n=number) for told, said in _STAFF.items() if (number := held[told])]
        yield f"  {what} {name}: {', '.join(parts)}"


def staff_as_json(staff: Counter[tuple[str, str, str]]) -> list[dict[str, object]]:
    return [
        {what: name} | {told: staff[what, name, told] for told in _STAFF if staff[what, name, told]}
        for what, name in sorted({(what, name) for what, name, _ in staff})
    ]


_STAFF: Final = {
    "clients": "{n:,} clients stay",
    "given_on": "{n:,} clients are given on",
    "open": "{n:,} open",
    "waits": "{n:,} wait for room",
}
