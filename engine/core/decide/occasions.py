"""What happens to a client though no event came, and what follows from several: silences, waits, calendar times, and
conditions that have become true.

Enters: a Plan and a ClientState whose time has come. Leaves: hits, the rules to act on, and when to look again.
Holds: everything falls due at a moment that follows from the client's own events alone; what has been looked at is
noted in the state, so that it is looked at once.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any, NamedTuple

from engine.core.client.state import ClientState
from engine.core.contract.events import Event
from engine.core.decide import calendars
from engine.core.decide.tiers import TierMove
from engine.core.firm_time import DAY_MS, NEVER_MS
from engine.core.plan.compile import CompiledRule, Plan
from engine.core.plan.features import next_slide_ms
from engine.core.rules.ruleset import Becomes


class Hit(NamedTuple):
    """A rule whose condition holds, and what it is about: the names of its expressions are read from these."""

    compiled: CompiledRule
    event: Any = None  # an Event, a Maturity or None
    move: TierMove | None = None


class Maturity(NamedTuple):
    """A holding that comes to its term, as rules read it."""

    symbol: str
    amount_fen: int
    days: int


def due_hits(plan: Plan, client: ClientState) -> list[Hit]:
    """The rules that fall due at the client's present moment: silences, waits that ended, calendar times."""
    hits = _silences(plan, client)
    if client.waits:
        hits += _timeouts(plan, client)
    possible = plan.timed.calendars_possible(client, None, None)
    if client.calendar_ms <= client.now_ms or client.calendar_rules != possible:  # else no calendar time has come
        hits += _on_calendar(plan, client, possible)
        hits += _matured(plan, client)
    return hits


def next_due_ms(plan: Plan, client: ClientState) -> int:
    """When to look at the client again if no event comes."""
    timed = plan.timed
    due_ms = client.review_ms
    for index, source, length_ms in timed.silences:
        due_ms = min(due_ms, _silent_since(plan, client, index, source, length_ms))
    for rule_id, start_ms in client.waits.items():
        if rule_id in timed.waits:
            due_ms = min(due_ms, start_ms + timed.waits[rule_id].within_ms)
    if timed.calendars or timed.maturities:
        possible = timed.calendars_possible(client, None, None)
        if client.calendar_ms <= client.now_ms or client.calendar_rules != possible:
            client.calendar_rules, client.calendar_ms = possible, _next_calendar_ms(plan, client, possible)
        due_ms = min(due_ms, client.calendar_ms)
    if timed.becomes:
        due_ms = min(due_ms, _becomes_due_ms(plan, client))
    return due_ms


def _holding(plan: Plan, trigger: str, candidates: list[int], client: ClientState, event: Any = None) -> list[Hit]:
    """Those of the candidates whose condition holds."""
    if not candidates:
        return []
    rules, matched = plan.compiled[trigger], plan.match[trigger](client, event, None)
    return [Hit(rules[index], event) for index in candidates if index in matched]


# -- silences ----------------------------------------------------------------------------------------------------------


def _silences(plan: Plan, client: ClientState) -> list[Hit]:
    candidates = [
        index
        for index, source, length_ms in plan.timed.silences
        if _silent_since(plan, client, index, source, length_ms) <= client.now_ms
    ]
    hits = _holding(plan, "silence", candidates, client)
    for index, source, _ in plan.timed.silences:
        if index in candidates:
            client.silenced[plan.compiled["silence"][index].rule.id] = getattr(client, source).last_ms
    return hits


def _silent_since(plan: Plan, client: ClientState, index: int, source: str, length_ms: int) -> int:
    """When this silence falls due; NEVER_MS when it was already seen, or nothing has been heard yet."""
    last_ms: int | None = getattr(client, source).last_ms
    if last_ms is None or client.silenced.get(plan.compiled["silence"][index].rule.id) == last_ms:
        return NEVER_MS
    return last_ms + length_ms


# -- sequences ---------------------------------------------------------------------------------------------------------


def sequence_hits(plan: Plan, client: ClientState, topic: str, event: Event) -> list[Hit]:
    """Note what an event means for the sequences; those that it completes, and whose condition holds."""
    steps, waits = plan.timed.steps.get(topic), plan.timed.waits
    for rule_id in [rule_id for rule_id in client.waits if rule_id not in waits]:
        del client.waits[rule_id]  # its rule is in force no more
    if steps is None:
        return []
    candidates = []
    if client.waits:
        for index in steps.then(client, event, None):
            wait, start_ms = waits[steps.then_rules[index]], client.waits.pop(steps.then_rules[index], None)
            if start_ms is not None and not wait.absent and client.now_ms < start_ms + wait.within_ms:
                candidates.append(wait.index)
    hits = _holding(plan, f"after_{topic}", candidates, client, event)
    for index in steps.first(client, event, None):
        rule_id = steps.first_rules[index]
        if not waits[rule_id].absent or rule_id not in client.waits:
            client.waits[rule_id] = client.now_ms
    return hits


def _timeouts(plan: Plan, client: ClientState) -> list[Hit]:
    waits = plan.timed.waits
    ended = [
        rule_id
        for rule_id, start_ms in client.waits.items()
        if rule_id not in waits or start_ms + waits[rule_id].within_ms <= client.now_ms
    ]
    for rule_id in ended:
        del client.waits[rule_id]
    ended = [rule_id for rule_id in ended if rule_id in waits and waits[rule_id].absent]
    return _holding(plan, "timeout", [waits[rule_id].index for rule_id in ended], client)


# -- the calendar ------------------------------------------------------------------------------------------------------


def _on_calendar(plan: Plan, client: ClientState, possible: list[int]) -> list[Hit]:
    before_ms, now_ms, birth_date = client.now_ms - 1, client.now_ms, client.birth_date
    times = {plan.timed.calendars[index] for index in possible}
    due = {when for when in times if calendars.next_ms(when, before_ms, birth_date) == now_ms}
    candidates = [index for index in possible if plan.timed.calendars[index] in due]
    return _holding(plan, "at", candidates, client)


def _matured(plan: Plan, client: ClientState) -> list[Hit]:
    hits = []
    for day, symbol, amount_fen in client.maturities:
        candidates = [i for i, when in plan.timed.maturities if calendars.at_day_ms(when, day) == client.now_ms]
        hits += _holding(plan, "maturity", candidates, client, Maturity(symbol, amount_fen, day - client.day))
    return hits


def _next_calendar_ms(plan: Plan, client: ClientState, possible: list[int]) -> int:
    due_ms = NEVER_MS
    for when in {plan.timed.calendars[index] for index in possible}:
        due_ms = min(due_ms, calendars.next_ms(when, client.now_ms, client.birth_date))
    for _, when in plan.timed.maturities:
        for day, _, _ in client.maturities:
            moment_ms = calendars.at_day_ms(when, day)
            if client.now_ms < moment_ms < due_ms:
                due_ms = moment_ms
    return due_ms


# -- conditions that become true ---------------------------------------------------------------------------------------


def became_hits(plan: Plan, client: ClientState) -> list[Hit]:
    """Note which conditions hold now; those that have become true and stayed so for as long as their rule asks."""
    holding = plan.match["becomes"](client, None, None)
    if not holding and not client.held:
        return []
    hits = []
    held: dict[str, list[int]] = {}
    for index in holding:
        compiled = plan.compiled["becomes"][index]
        entry = client.held.get(compiled.rule.id, [client.now_ms, 0])
        if _act_ms(plan.timed.becomes[compiled.rule.id], entry) <= client.now_ms:
            hits.append(Hit(compiled))
            entry = [entry[0], client.now_ms]
        held[compiled.rule.id] = entry
    client.held = held
    return hits


def _act_ms(becomes: Becomes, entry: list[int]) -> int:
    """When a rule whose condition holds is to act: `entry` is since when it holds, and when it last acted (0: not)."""
    since_ms, acted_ms = entry
    if not acted_ms:
        return since_ms + becomes.for_s * 1000
    return acted_ms + becomes.repeat_s * 1000 if becomes.repeat_s else NEVER_MS


def _becomes_due_ms(plan: Plan, client: ClientState) -> int:
    """When a condition that holds is to act, or when one can change though nothing happens."""
    due_ms = NEVER_MS
    for rule_id, entry in client.held.items():
        if rule_id in plan.timed.becomes:
            due_ms = min(due_ms, _act_ms(plan.timed.becomes[rule_id], entry))
    for wake in plan.timed.wakes if plan.timed.wakes and plan.timed.wakes_possible(client, None, None) else ():
        base_ms = wake.base(client, None, None)
        if base_ms is None:
            continue
        days = (client.now_ms - base_ms) // DAY_MS
        if wake.days is None:
            due_ms = min(due_ms, base_ms + (days + 1) * DAY_MS)
        elif (later := bisect_right(wake.days, days)) < len(wake.days):
            due_ms = min(due_ms, base_ms + wake.days[later] * DAY_MS)
    if plan.timed.slides_possible(client, None, None):
        due_ms = min(due_ms, next_slide_ms(plan.layout, client))
    return due_ms
