"""What a correction changes of what is known of a client: the earlier event goes, what it should have been comes.

Enters: a Plan, the client, a Correction. Leaves: the client, changed; what became of the correction.
Holds: windows, totals and facts are as if the event had been right from the start, or unknown. One that did not count
changes nothing. One that has not come yet does not count when it comes; what replaces it counts at once. Whether an
event has come is known for as long as duplicates are; one of before that has counted, if the client was known then.
"""

from __future__ import annotations

import zlib
from typing import Any, Final, NamedTuple

from engine.core.activity.activity import UNSET
from engine.core.activity.corrected import Moment, note, take_back, take_from_total, total_settled
from engine.core.activity.totals import START, lose
from engine.core.client.state import ClientState, event_digest
from engine.core.contract.corrections import Correction, Result
from engine.core.contract.events import Event
from engine.core.contract.topic import values_of
from engine.core.contract.topics import EVENTS
from engine.core.firm_time import HOUR_MS, NEVER_MS, day_of, day_start_ms
from engine.core.learn import accounts
from engine.core.learn.facts import LEARNERS, take_facts
from engine.core.learn.items import TAKES
from engine.core.learn.unlearn import UNLEARN
from engine.core.plan.compile import Plan
from engine.core.plan.corrected import unknown_until, until
from engine.core.plan.features import Reach

COUNTED: Final[tuple[Result, ...]] = ("exact", "unknown")  # the event had come
RECEIPTS: Final = "receipts"
MAX_CORRECTED: Final = 64  # events of a client, the newest


class Corrected(NamedTuple):
    """What became of a correction. `unknown` names the features that no longer know their value, and `comes` is what is
    to be taken as an event of its own, since the one that it replaces has not come.
    """

    kind: str  # of the earlier event: its topic, or declared type
    result: Result
    unknown: tuple[str, ...] = ()
    comes: Event | None = None
    instead: Event | None = None  # what it counts as now


def kind_corrected(correction: Correction) -> str:
    """The topic of the earlier event, or its declared type."""
    return correction.original.type if correction.topic == EVENTS else correction.topic


def correct(plan: Plan, client: ClientState, correction: Correction) -> Corrected:
    kind = kind_corrected(correction)
    original, new = correction.original, correction.replacement
    digest = event_digest(kind, original.event_id, original.time)
    number = int.from_bytes(digest, "big")
    before = client.corrected.pop(number, None)
    if before is not None and before != content(original):
        client.corrected[number] = before
        return Corrected(kind, "ignored")
    seen = before is not None or client.has_seen(digest)
    counted = seen or (client.since_ms <= original.time and day_of(original.time) < client.knows_since())
    anew = event_digest(kind, new.event_id, new.time) if new is not None else None
    _remember(client, number, content(new) if new is not None and anew == digest else 0)
    if not counted:
        if kind == RECEIPTS:  # it will not count, but a correction gives no consent
            LEARNERS[kind](client, original)
        if anew != digest:
            client.see(digest)  # so that it is known when it comes
        return Corrected(kind, "waiting", (), new)
    if new is not None and anew is not None and anew != digest:
        if client.has_seen(anew):
            new = None  # what replaces it has come by itself
        else:
            client.see(anew)
    unknown = exchange(plan, client, kind, original, new)
    return Corrected(kind, "unknown" if unknown else "exact", unknown, instead=new)


def content(event: Any) -> int:
    """Names what an event says; never 0."""
    said = [(name, getattr(event, name)) for name in sorted(type(event).model_fields)]
    return zlib.crc32(repr(said).encode()) or 1


def _remember(client: ClientState, number: int, now: int) -> None:
    corrected = client.corrected = client.corrected or {}
    corrected[number] = now
    if len(corrected) > MAX_CORRECTED:
        del corrected[next(iter(corrected))]


# -- an event goes, another comes --------------------------------------------------------------------------------------


def exchange(plan: Plan, client: ClientState, kind: str, original: Any, new: Any) -> tuple[str, ...]:
    """Take an event that counted out of everything, and take in the one that replaces it, if there is one. Returns the
    features that no longer know their value.
    """
    of_account = kind == accounts.BALANCES and original.account is not None
    if of_account:
        counted_as = accounts.as_counted(client, original)
        accounts.take_back(plan, client, original)
        original = counted_as
    counted = plan.counted[kind](original)
    counts_now = plan.counted[kind](new) if new is not None else None
    activity, layout = client.activities[kind], plan.layout.sources[kind]
    grids = []
    if layout.keeps_slots:
        then = _day(original.time)
        grids.append((activity, layout, 0, then, client.day, take_back(activity, layout, counted[0], then, client.day)))
    if layout.hours and activity.hours:
        then, now = _hour(original.time), client.now_ms // HOUR_MS
        doubts = take_back(activity.hours, layout.hours, counted[3], then, now)
        grids.append((activity.hours, layout.hours, 3, then, now, doubts))
    totals = _take_from_totals(plan, client, kind, original.time, counted)
    _take_facts_back(client, original, plan.facts[kind])
    if kind in UNLEARN:
        UNLEARN[kind](client, original)
    activity.lost_event(original.time)
    _forget_waits(plan, client, kind, original, new)
    if of_account:
        accounts.restate(client)
    if new is not None:
        if kind == accounts.BALANCES:
            new = accounts.of_client(plan, client, new)
        if plan.facts[kind]:
            take_facts(client, new, plan.facts[kind])
        if kind in LEARNERS:
            LEARNERS[kind](client, new)
        if kind in TAKES:
            TAKES[kind](plan, client, new)
        plan.update[kind](client, new, new.time < client.now_ms)
        activity.saw_event(new.time)
    unknown: dict[str, int] = {}
    for of, of_layout, place, then, now, doubts in grids:
        moment = (_day if place == 0 else _hour)(new.time) if new is not None else then
        found = counts_now[place] if counts_now is not None else None
        left = [doubt for doubt in doubts if not doubt.settled(then, found, moment)]
        note(of, left, then, now, of_layout)
        unit = "hour" if place else "day"
        for key in {doubt.key: None for doubt in left}:
            first = of.known[key]  # of a mean it can lie ahead
            day = first - 1 if unit == "day" and first < UNSET else day_of(original.time)
            reached = unknown_until(plan.reaches, kind, unit, {key}, day)
            unknown |= dict.fromkeys(reached, NEVER_MS) if first == UNSET else reached
    for source, index, settled in totals:
        if not settled(new, counts_now):
            lose(client.activities[source].totals[index])
            unknown |= unknown_until(plan.reaches, source, "since", {index}, client.day)
        client.activities[source].packed = None
    unknown = {name: day for name, day in unknown.items() if day >= client.day}  # others no longer reach it
    if unknown:
        client.unknown_until = client.unknown_until | unknown
    return tuple(sorted(unknown))


def forget_known(plan: Plan, client: ClientState) -> None:
    """Of the features that corrections left unknown keep those that still are: the window has not left the day behind,
    nothing has begun the total anew, no later value is the last one, the rules declare it. A mean has an end once a
    value has come.
    """
    unknown: dict[str, int] = {}
    for name, day in client.unknown_until.items():
        reach = plan.reaches.get(name)
        if reach is not None and reach.aggregate == "last" and reach.window is not None:
            _know_last(plan, client, reach)
        if day >= client.day and reach is not None and not reach.is_known(client):
            since = reach.since(client) if day == NEVER_MS and reach.window is not None else UNSET
            unknown[name] = day if since == UNSET else until(reach, since - 1)
    if unknown != client.unknown_until:
        client.unknown_until = unknown


def _know_last(plan: Plan, client: ClientState, reach: Reach) -> None:
    """A value of a later slot is the last one, whatever came before."""
    of, layout = client.activities[reach.source], plan.layout.sources[reach.source]
    activity, grid = (of.hours, layout.hours) if reach.unit == "hour" else (of, layout)
    assert activity is not None
    assert grid is not None
    for index, key in enumerate(grid.lasts):
        at_closings = any(kept == "last" and column == index for _, kept, column in grid.closings)
        entry = activity.lasts[index]
        if key in reach.places and not at_closings and entry is not None and entry[0] >= activity.known.get(key, 0):
            activity.known.pop(key, None)
            activity.packed = of.packed = None


def next_known_ms(client: ClientState) -> int:
    """When the next of them is known again, by time alone."""
    day = min(client.unknown_until.values())
    return NEVER_MS if day >= NEVER_MS else day_start_ms(day + 1)


def _day(time_ms: int) -> Moment:
    day = day_of(time_ms)
    return Moment(day, time_ms - day_start_ms(day))


def _hour(time_ms: int) -> Moment:
    return Moment(time_ms // HOUR_MS, time_ms % HOUR_MS)


def _take_from_totals(plan: Plan, client: ClientState, kind: str, time_ms: int, counted: Any) -> list[Any]:
    """Those in doubt: the source, the total's index, and what says whether the replacement settles it."""
    doubts: list[Any] = []
    aggregates = plan.layout.sources[kind].totals
    for index, (found, (_, aggregate)) in enumerate(zip(counted[1], aggregates, strict=True)):
        total = client.activities[kind].totals[index] if found is not None else None
        if total is not None and take_from_total(total, aggregate, time_ms, found):

            def settled(new: Any, now: Any, index: int = index, aggregate: str = aggregate, found: Any = found) -> bool:
                return new is not None and total_settled(aggregate, time_ms, found[0], now[1][index], new.time)

            doubts.append((kind, index, settled))
    for place, (source, index, begins) in enumerate(counted[2]):
        if begins and client.activities[source].totals[index][START] == time_ms:

            def begun(new: Any, now: Any, place: int = place) -> bool:
                return new is not None and now[2][place][2] and new.time >= time_ms

            doubts.append((source, index, begun))
    return doubts


def _take_facts_back(client: ClientState, original: Any, facts: tuple[str, ...]) -> None:
    """A fact that the event set is unknown, until a later event says it."""
    told = original.model_fields_set if facts else ()
    for fact in facts:
        said = fact in told and client.said_ms.get(fact) == original.time
        if said and getattr(client, fact) == getattr(original, fact):
            setattr(client, fact, None)


def _forget_waits(plan: Plan, client: ClientState, kind: str, original: Any, new: Any) -> None:
    """A sequence that the event began does not go on, unless what replaces it begins it, too."""
    steps = plan.timed.steps.get(kind)
    if steps is None or not client.waits:
        return
    again = {steps.first_rules[index] for index in steps.first(client, new, None)} if new is not None else set()
    for rule_id in steps.first_rules:
        if abs(client.waits.get(rule_id, 0)) != original.time:
            continue
        kept = client.first_steps.pop(rule_id, {})
        if rule_id in again:
            client.waits[rule_id] = new.time
            if kept:
                client.first_steps[rule_id] = values_of(new, kept)
        else:
            del client.waits[rule_id]
