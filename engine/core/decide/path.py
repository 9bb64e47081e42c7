"""The decision: apply event -> update features -> tier -> match rules -> contact policy -> messages.

Enters: a Plan, the states of the clients named, decoded inputs in order. Leaves: changed states, messages, counts.
Holds: a pure function of its arguments. A client's timers that fall due before its next event run first, at their own
due time, so that it does not matter when, or whether, a tick came.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Final

from engine.core.client.state import MAX_HISTORY, MAX_MATURITIES, ClientState, pack, unpack
from engine.core.contract.events import Balance, Event, Profile, Trade
from engine.core.contract.message import Message, rfc3339
from engine.core.contract.outbound import TIMER, Cause, Outcome
from engine.core.decide.messages import action_message, tier_change_message
from engine.core.decide.occasions import Hit, became_hits, due_hits, next_due_ms, sequence_hits
from engine.core.decide.tiers import TierMove, review, review_due_ms
from engine.core.firm_time import DAY_MS, day_number
from engine.core.plan.compile import CompiledRule, Plan


@dataclass(frozen=True, slots=True)
class Due:
    """A tick's word to one client: time has reached `time_ms`."""

    client_id: str
    time_ms: int


@dataclass(frozen=True, slots=True)
class Sweep:
    """A word to one client that what happens without an event follows from other rules now: `time_ms` has come."""

    client_id: str
    time_ms: int


Input = tuple[str, Event] | Due | Sweep


@dataclass(slots=True)
class Decided:
    """What a sequence of inputs led to. `changed` holds the clients whose state differs from before."""

    messages: list[Message] = field(default_factory=list)
    changed: dict[str, ClientState] = field(default_factory=dict)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)  # (rule id, outcome)
    moves: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # (from or "", to, reason)


def decide(plan: Plan, states: MutableMapping[str, ClientState], inputs: Iterable[Input]) -> Decided:
    """Decide inputs in order. `states` must hold every client that is named and known; new ones are added to it."""
    decided = Decided()
    changed = decided.changed
    for item in inputs:
        if not isinstance(item, tuple):
            _wake(plan, states, item, decided)
            continue
        topic, event = item
        client = states.get(event.client_id)
        if client is None:
            client = states[event.client_id] = ClientState(plan.layout, event.client_id, event.time)
        elif client.due_ms <= event.time:
            _run_timers(plan, client, event.time, decided)
        _apply(plan, client, topic, event, decided)
        changed[event.client_id] = client
    return decided


def _apply(plan: Plan, client: ClientState, topic: str, event: Event, decided: Decided) -> None:
    day = client.day
    client.advance(plan.layout, event.time)
    client.sequence += 1
    if isinstance(event, Profile):
        _take_profile(client, event)
    else:
        if isinstance(event, Balance):
            _take_balance(client, event)
        elif isinstance(event, Trade):
            _take_term(client, event)
        plan.update[topic](client, event)
        getattr(client, topic).saw_event(client.now_ms)
    move = None
    if topic in plan.review_on:
        move = review(plan, client)
        client.review_ms = review_due_ms(plan, client)
    if move is not None or topic == "balances" or topic == "profiles" or day != client.day or client.sequence == 1:
        _classify(plan, client)
    rules = plan.compiled[topic]
    hits = [Hit(rules[index], event) for index in plan.match[topic](client, event, None)]
    if client.waits or topic in plan.timed.steps:
        hits += sequence_hits(plan, client, topic, event)
    if client.held or plan.timed.becomes:
        hits += became_hits(plan, client)
    if hits or move is not None:
        cause = Cause.model_construct(type=topic, event_id=event.event_id, time=rfc3339(event.time))
        _act(plan, client, event, cause, hits, move, decided)
    client.due_ms = next_due_ms(plan, client)


def _run_timers(plan: Plan, client: ClientState, until_ms: int, decided: Decided) -> None:
    """Everything that falls due up to `until_ms`, each at its own time."""
    while client.due_ms <= until_ms:
        client.advance(plan.layout, client.due_ms)
        client.sequence += 1
        move = review(plan, client)
        _classify(plan, client)
        hits = due_hits(plan, client)
        if client.held or plan.timed.becomes:
            hits += became_hits(plan, client)
        if hits or move is not None:
            cause = Cause.model_construct(type=TIMER, event_id=None, time=rfc3339(client.now_ms))
            _act(plan, client, None, cause, hits, move, decided)
        client.review_ms = review_due_ms(plan, client)
        client.due_ms = next_due_ms(plan, client)


def _wake(plan: Plan, states: MutableMapping[str, ClientState], item: Due | Sweep, decided: Decided) -> None:
    """Time has come for a client, when it is known."""
    client = states.get(item.client_id)
    if client is None:
        return
    if isinstance(item, Sweep):
        if _sweep(plan, states, item, decided):
            decided.changed[item.client_id] = states[item.client_id]
    elif client.due_ms <= item.time_ms:
        _run_timers(plan, client, item.time_ms, decided)
        decided.changed[item.client_id] = client


def _sweep(plan: Plan, states: MutableMapping[str, ClientState], item: Sweep, decided: Decided) -> bool:
    """Act on what holds already, note when to look again; whether that changed the client.

    Most clients stay as they are: the look itself leaves no trace.
    """
    client = states[item.client_id]
    late = client.due_ms <= item.time_ms
    if late:
        _run_timers(plan, client, item.time_ms, decided)
    looked_at = unpack(plan.layout, pack(plan.layout, client))
    # a moment that the client has not been through: nothing of the calendar falls due twice
    looked_at.due_ms = max(item.time_ms, client.now_ms + 1)
    _run_timers(plan, looked_at, looked_at.due_ms, decided)
    if _noted(looked_at) != _noted(client):
        states[item.client_id] = looked_at
        return True
    # what follows is noted without moving the client's time: events that come late still count at their own
    sooner = looked_at.due_ms < client.due_ms or looked_at.review_ms < client.review_ms
    if sooner:
        client.due_ms, client.review_ms = min(looked_at.due_ms, client.due_ms), looked_at.review_ms
    moved = looked_at.segment != client.segment
    client.segment = looked_at.segment
    return late or sooner or moved


def _noted(client: ClientState) -> tuple[object, ...]:
    return client.tier, client.recent, client.silenced, client.held, client.waits


_PROFILE_FACTS: Final = ("type", "age_band", "region", "risk_level", "language", "time_zone", "advisor_id")


def _take_profile(client: ClientState, event: Profile) -> None:
    """What the event says; null is "unknown now". Consents that are unknown are none."""
    said = event.model_fields_set
    for name in _PROFILE_FACTS:
        if name in said:
            setattr(client, name, getattr(event, name))
    if "consents" in said:
        client.consents = tuple(channel for channel, agreed in event.consents or () if agreed)
    if "birth_date" in said and client.birth_date != event.birth_date:
        client.birth_date = event.birth_date
        client.calendar_ms = 0


def _take_balance(client: ClientState, event: Balance) -> None:
    client.assets_fen = event.assets_fen
    peak_fen = client.assets_peak_fen
    client.assets_peak_fen = event.assets_fen if peak_fen is None else max(peak_fen, event.assets_fen)
    said = event.model_fields_set
    if "cash_fen" in said:
        client.cash_fen = event.cash_fen
    if "margin_ratio" in said:
        client.margin_ratio = event.margin_ratio


def _take_term(client: ClientState, trade: Trade) -> None:
    """Remember what was bought until a day, forget what is sold. A part sold counts as all."""
    held = client.maturities
    if trade.side == "sell":
        held = [entry for entry in held if entry[1] != trade.symbol]
    elif trade.matures_on is not None:
        day = day_number(dt.date.fromisoformat(trade.matures_on))
        if day >= client.day:
            held = sorted([*held, [day, trade.symbol, trade.amount_fen]])[:MAX_MATURITIES]
    if held != client.maturities:
        client.maturities, client.calendar_ms = held, 0


def _classify(plan: Plan, client: ClientState) -> None:
    first = plan.segment(client, None, None)
    client.segment = plan.segments[first[0]] if first else None
    if plan.value_score is not None:
        client.value_score = plan.value_score(client, None, None)


def _act(
    plan: Plan,
    client: ClientState,
    event: Event | None,
    cause: Cause,
    hits: list[Hit],
    move: TierMove | None,
    decided: Decided,
) -> None:
    """Publish a tier change, then take each rule that matched through the contact policy, most urgent first."""
    ordinal = 0
    if move is not None:
        decided.moves[move.from_tier or "", move.to_tier, move.reason] += 1
        decided.messages.append(tier_change_message(client, move, cause, ordinal))
        ordinal += 1
        rules = plan.compiled["tier_change"]
        hits += [Hit(rules[i], event, move) for i in plan.match["tier_change"](client, event, move)]
    if len(hits) > 1:
        hits.sort(key=lambda hit: (-hit.compiled.rule.priority, hit.compiled.rule.id))
    for compiled, about, change in hits:
        rule = compiled.rule
        outcome, channel = contact(plan, client, compiled)
        decided.outcomes[rule.id, outcome] += 1
        _remember(client, rule.id, rule.kind, channel, outcome)
        if outcome is Outcome.SENT:
            client.acted[rule.id] = client.now_ms
            decided.messages.append(action_message(compiled, client, about, change, channel, cause, ordinal))
        ordinal += 1


def cooldown_ends_ms(client: ClientState, compiled: CompiledRule) -> int:
    """Until when the rule may not act for this client again; 0 when it has not acted."""
    acted_ms = client.acted.get(compiled.rule.id)
    if acted_ms is None:
        return 0
    days, _ = compiled.contact(client, None, None)
    most_ms = compiled.rule.cooldown_s * 1000
    return acted_ms + (most_ms if days is None else min(round(days * DAY_MS), most_ms))


def contact(plan: Plan, client: ClientState, compiled: CompiledRule) -> tuple[Outcome, str]:
    """The contact policy, in the order of `Outcome`: what becomes of the action, and the channel it would take."""
    rule = compiled.rule
    channels: tuple[str, ...] = compiled.contact(client, None, None)[1] or rule.channels
    if client.now_ms < cooldown_ends_ms(client, compiled):
        return Outcome.COOLDOWN, channels[0]
    if rule.audience != "client":
        return Outcome.SENT, channels[0]
    channel = next((channel for channel in channels if channel in client.consents), None)
    if channel is None:
        return Outcome.NO_CONSENT, channels[0]
    if client.contacts_day != client.day:
        client.contacts_day, client.contacts_today = client.day, 0
    policy = plan.rule_set.policy
    if client.contacts_today >= policy.daily_cap and not policy.is_urgent(rule.priority):
        return Outcome.DAILY_CAP, channel
    client.contacts_today += 1
    return Outcome.SENT, channel


def _remember(client: ClientState, rule_id: str, kind: str, channel: str, outcome: Outcome) -> None:
    """Keep the last actions, sent or not; the same outcome again is counted, not listed again."""
    if outcome is not Outcome.SENT:
        for index, entry in enumerate(client.recent):
            if entry[1] == rule_id and entry[4] == outcome:
                del client.recent[index]
                client.recent.append([client.now_ms, *entry[1:5], entry[5] + 1])
                return
    client.recent.append([client.now_ms, rule_id, kind, channel, outcome.value, 1])
    if len(client.recent) > MAX_HISTORY:
        del client.recent[0]
