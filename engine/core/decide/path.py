"""The decision: learn -> tier -> match -> judge -> record -> messages.

Enters: a Plan, the states of the clients named, decoded inputs in order. Leaves: changed states, messages, counts.
Holds: a pure function of its arguments. A client's timers that fall due before its next event run first, at their own
due time, so that it does not matter when, or whether, a tick came.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final

from engine.core.client import items
from engine.core.client.items import Item
from engine.core.client.sections import pack, unpack
from engine.core.client.state import ClientState
from engine.core.contract.corrections import CORRECTIONS
from engine.core.contract.events import Event
from engine.core.contract.message import Because, Message
from engine.core.contract.outbound import TIMER, Outcome
from engine.core.decide import assigning, journeys, surveys
from engine.core.decide.messages import (
    action_id,
    action_message,
    because,
    decision_message,
    ending_message,
    match_name,
    retracted_id,
    retraction_message,
    team_headers,
    tier_change_message,
)
from engine.core.decide.occasions import (
    became,
    item_matches,
    next_due_ms,
    noted,
    see_through,
    sequence_matches,
    take_due,
)
from engine.core.decide.tiers import review, review_due_ms, standing
from engine.core.learn import accounts, retractions
from engine.core.learn.actions import note_action
from engine.core.learn.corrections import COUNTED, Corrected, correct, forget_known
from engine.core.learn.facts import learn, unknown_in
from engine.core.learn.items import keep, list_work, take_back
from engine.core.learn.portrait import classify, portray
from engine.core.pace import Pace
from engine.core.plan.compile import Plan
from engine.core.policy import channels, holding
from engine.core.policy.clock import zone_named
from engine.core.policy.gates import IN_TIME, Hold, Moment, Send, judge
from engine.core.policy.match import AtRisk, Match, TierMove, matched
from engine.core.policy.outcomes import end, record
from engine.core.policy.rates import settle
from engine.core.rules.occasion import BEGINS, TIER_AT_RISK, TIER_CHANGE, on


@dataclass(frozen=True, slots=True)
class Due:
    """From a tick, for one client: time has reached `time_ms`."""

    client_id: str
    time_ms: int


@dataclass(frozen=True, slots=True)
class Sweep:
    """For one client, after a change of rules: evaluate, at `time_ms`, what happens without an event."""

    client_id: str
    time_ms: int


Input = tuple[str, Event] | Due | Sweep


@dataclass(slots=True)
class Decided:
    """The result of a sequence of inputs. `changed` holds the clients whose state differs from before."""

    messages: list[Message] = field(default_factory=list)
    changed: dict[str, ClientState] = field(default_factory=dict)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)  # (rule id, outcome)
    moves: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # (from or "", to, reason)
    # what else, and about what: duplicates and late (topic), receipts (channel, status), dropped (what a state has no
    # room for), overrides (kind, what is wrong with it or ""), tier_notices (tier, the one it would fall to), retracted
    # (kind of action), care (kind of action, step), corrections (kind of the earlier event, result), beyond (kind of a
    # corrected event older than what is known of actions), unknown_zones (missing or invalid: the firm's decided),
    # surveys, survey_scores, journeys (id, why it ended), budget_spent (budget), pool_answers (pool, outcome)
    counts: Counter[tuple[str, ...]] = field(default_factory=Counter)
    decided_ms: int = 0  # the moment at which this is decided; 0: whatever falls due is decided in time
    pace: Pace | None = None  # of the partition; None: rates are not asked


def decide(
    plan: Plan,
    states: MutableMapping[str, ClientState],
    inputs: Iterable[Input],
    decided_ms: int = 0,
    pace: Pace | None = None,
) -> Decided:
    """Decide inputs in order. `states` must hold every client that is named and known; new ones are added to it.

    `decided_ms`: the wall clock's moment, by which what fell due may have expired; 0: all is decided in time, as in a
    replay of a file. `pace` is changed.
    """
    decided = Decided(decided_ms=decided_ms, pace=pace)
    if pace is not None and pace.kept:
        decided.messages += settle(plan.budgets, pace, decided_ms)
    for item in inputs:
        if isinstance(item, tuple):
            _take(plan, states, *item, decided)
        elif (client := states.get(item.client_id)) is None:
            continue
        elif isinstance(item, Sweep):
            _sweep(plan, states, item, decided)
        elif client.due_ms <= item.time_ms:
            _run_timers(plan, client, item.time_ms, decided)
            decided.changed[item.client_id] = client
    return decided


def _take(plan: Plan, states: MutableMapping[str, ClientState], topic: str, event: Event, decided: Decided) -> None:
    """One event, after what falls due before it."""
    client_id, time_ms = event.client_id, event.time
    if (client := states.get(client_id)) is None:
        client = states[client_id] = ClientState(plan.layout, client_id, time_ms)
    elif client.due_ms <= time_ms:
        _run_timers(plan, client, time_ms, decided, behind=True)
    decided.changed[client_id] = client
    late, again, day = time_ms < client.now_ms, time_ms <= client.now_ms, client.day
    client.advance(plan.layout, time_ms)
    if client.seen(topic, event.event_id, time_ms, again):
        decided.counts["duplicates", topic] += 1
        return
    if late:
        decided.counts["late", topic] += 1
    client.sequence += 1
    if topic == "balances":
        event = accounts.of_client(plan, client, event)
    dropped = client.positions_dropped, client.accounts_dropped
    steps = learn(plan, client, topic, event, late)
    comes = _BACK[topic](plan, client, event, decided, steps) if topic in _BACK else None
    if client.unknown_until:
        forget_known(plan, client)
    if (client.positions_dropped, client.accounts_dropped) != dropped:
        decided.counts["dropped", "positions"] += client.positions_dropped - dropped[0]
        decided.counts["dropped", "accounts"] += client.accounts_dropped - dropped[1]
    found = None
    if topic in plan.review_on:
        stands = standing(plan, client)
        found = review(client, stands)
        client.review_ms = review_due_ms(plan, client, stands if found is None else standing(plan, client))
    if plan.facts[topic] or isinstance(found, TierMove) or day != client.day or client.sequence == 1:
        classify(plan, client)
    if plan.portrayal is not None or client.portrait or client.stage:
        portray(plan, client)
    matches = matched(plan, client, on(topic), event)
    if client.waits or topic in plan.timed.steps:
        matches += sequence_matches(plan, client, topic, event)
    if client.held or plan.timed.becomes:
        matches += became(plan, client)
    if topic in assigning.FREES:
        matches += holding.take_released(plan, client)
    if client.items or steps:
        matches += see_through(plan, client, because(topic, event), steps, decided.messages, decided.counts)
    if client.journeys:
        matches += journeys.heard(plan, client, topic, event, decided.counts)
    if matches or found is not None:
        _act(plan, client, event, because(topic, event), matches, found, decided)
    if client.asked is not None or client.assigned is not None or client.rooms or (client.items and plan.pools):
        decided.messages += assigning.settle(plan, client, decided)
    client.due_ms = next_due_ms(plan, client, decided.decided_ms)
    if comes is not None:
        _take(plan, states, *comes, decided)


def _receipt(plan: Plan, client: ClientState, event: Any, decided: Decided, _steps: list[Item]) -> None:
    decided.counts["receipts", event.channel, event.status] += 1
    channels.note_receipt(plan, client, event)
    _end(plan, client, channels.heard(client, event.action_id, event.status), Outcome.NO_LONGER_TRUE, decided)


def _feedback(plan: Plan, client: ClientState, event: Any, decided: Decided, _steps: list[Item]) -> None:
    decided.counts.update(surveys.of_answer(plan, client, event))
    _end(plan, client, channels.heard(client, event.action_id, "answered"), Outcome.NO_LONGER_TRUE, decided)


def _override(plan: Plan, _client: ClientState, event: Any, decided: Decided, _steps: list[Item]) -> None:
    decided.counts["overrides", event.kind, unknown_in(plan, event)] += 1


def _correction(
    plan: Plan, client: ClientState, event: Any, decided: Decided, steps: list[Item]
) -> tuple[str, Event] | None:
    """Returns the event that counts instead of one that has not come."""
    held = retractions.before(plan, client, event)
    found = correct(plan, client, event)
    decided.counts["corrections", found.kind, found.result] += 1
    classify(plan, client)
    if found.result in COUNTED:
        channels.corrected(plan, client, found.kind, event.original, found.instead)
        _retract(plan, client, event, found, held, decided, steps)
    return (found.kind, found.comes) if found.comes is not None else None


def _retract(
    plan: Plan,
    client: ClientState,
    event: Any,
    found: Corrected,
    held: frozenset[str],
    decided: Decided,
    steps: list[Item],
) -> None:
    """What the corrected event led to is taken back, or not sent at all if it waits."""
    if retractions.is_beyond(client, event):
        decided.counts["beyond", found.kind] += 1
    stands = retractions.standing(plan, client, found, held)
    if client.waiting:
        gone = holding.correct(plan, client, found.kind, event.original, found.instead, stands)
        _end(plan, client, gone, Outcome.RETRACTED, decided)
    for sent in retractions.retract(plan, client, event, found, stands):
        kind: str = sent[retractions.KIND]
        decided.counts["retracted", kind] += 1
        of_team = team_headers(plan, sent[retractions.RULE], client, retracted_id(client, sent))
        decided.messages.append(retraction_message(client, sent, found.kind, event, of_team))
        steps += take_back(plan, client, kind, retracted_id(client, sent))


def _answer(plan: Plan, client: ClientState, event: Any, decided: Decided, _steps: list[Item]) -> None:
    decided.counts["pool_answers", event.pool, event.outcome] += 1
    decided.messages += assigning.answered(client, event)
    classify(plan, client)


_BACK: Final[dict[str, Callable[[Plan, ClientState, Any, Decided, list[Item]], tuple[str, Event] | None]]] = {
    "receipts": _receipt,
    "feedback": _feedback,
    "overrides": _override,
    "assignment_answers": _answer,
    "budget_answers": assigning.granted,
    "outcomes": assigning.heard,
    CORRECTIONS: _correction,
}


def _run_timers(plan: Plan, client: ClientState, until_ms: int, decided: Decided, *, behind: bool = False) -> None:
    """Everything that falls due up to `until_ms`, each at its own time. `behind`: events since are at hand."""
    while client.due_ms <= until_ms:
        client.advance(plan.layout, client.due_ms)
        client.sequence += 1
        if client.unknown_until:
            forget_known(plan, client)
        found = review(client, standing(plan, client))
        classify(plan, client)
        if plan.portrayal is not None or client.portrait or client.stage:
            portray(plan, client)
        if client.waiting:
            _end(plan, client, holding.take_expired(plan, client), Outcome.EXPIRED, decided)
        matches = take_due(plan, client)
        if client.journeys:
            matches += journeys.take(plan, client, decided.counts)
        cause = Because(TIMER, None, client.now_ms)
        if client.items:
            matches += see_through(plan, client, cause, [], decided.messages, decided.counts)
        if matches or found is not None:
            _act(plan, client, None, cause, matches, found, decided, Moment(decided.decided_ms, behind))
        decided.messages += assigning.settle(plan, client, decided) if client.rooms or plan.pools else []
        client.review_ms = review_due_ms(plan, client, standing(plan, client))
        client.due_ms = next_due_ms(plan, client, decided.decided_ms)


def _sweep(plan: Plan, states: MutableMapping[str, ClientState], item: Sweep, decided: Decided) -> None:
    """Act on what holds already, note when to evaluate the client next.

    Most clients stay as they are: evaluating them leaves no trace.
    """
    client = states[item.client_id]
    late = client.due_ms <= item.time_ms
    if late:
        _run_timers(plan, client, item.time_ms, decided)
    tried = unpack(plan.layout, pack(plan.layout, client))
    tried.listed, tried.tallied = client.listed, client.tallied
    # a moment that the client has not been through: nothing of the calendar falls due twice
    tried.due_ms = max(item.time_ms, client.now_ms + 1)
    _run_timers(plan, tried, tried.due_ms, decided)
    if noted(tried) != noted(client):
        states[item.client_id] = decided.changed[item.client_id] = tried
        return
    # what follows is noted without moving the client's time: events that come late still count at their own
    before = (client.due_ms, client.review_ms, client.segment)
    if tried.due_ms < client.due_ms or tried.review_ms < client.review_ms:
        client.due_ms, client.review_ms = min(tried.due_ms, client.due_ms), tried.review_ms
    if _weights(client) != _weights(tried):
        client.value_score, client.score_parts, late = tried.value_score, tried.score_parts, True
    client.segment = tried.segment  # a score that only drifts with its windows is no reason to write every client
    if late or before != (client.due_ms, client.review_ms, client.segment):
        decided.changed[item.client_id] = client


def _weights(client: ClientState) -> list[Any]:
    """The form of the score: with another one, it is another score."""
    return [part and part[::2] for part in client.score_parts or ()]


def _act(
    plan: Plan,
    client: ClientState,
    event: Event | None,
    cause: Because,
    matches: list[Match],
    found: TierMove | AtRisk | None,
    decided: Decided,
    moment: Moment = IN_TIME,
) -> None:
    """Publish a tier change, add the rules on it, or on the notice of one; then take each rule that matched through the
    contact policy, most urgent first; then those that hear of the items that were opened so.
    """
    ordinal = 0
    if isinstance(found, TierMove):
        decided.moves[found.from_tier or "", found.to_tier, found.reason] += 1
        decided.messages.append(tier_change_message(client, found, cause, ordinal))
        ordinal += 1
        matches = matches + matched(plan, client, TIER_CHANGE, event, found)
    elif found is not None:
        decided.counts["tier_notices", client.tier or "", found.falls_to] += 1
        matches = matches + matched(plan, client, TIER_AT_RISK, found)
    while matches:
        if plan.journeys and any(match.compiled.rule.kind == BEGINS for match in matches):
            matches, ordinal = journeys.travel(plan, client, cause, matches, ordinal, moment, decided)
        opened = _send(plan, client, cause, matches, ordinal, decided, moment)
        matches, ordinal = item_matches(plan, client, opened) if opened else [], ordinal + len(matches)


def _send(
    plan: Plan, client: ClientState, cause: Because, matches: list[Match], number: int, decided: Decided, moment: Moment
) -> list[Item]:
    """The items that were opened by what was sent, where rules ask for their steps."""
    opened: list[Item] = []
    if len(matches) > 1:
        matches = sorted(matches, key=lambda match: (-match.compiled.rule.priority, match.compiled.rule.id))
    for match in matches:
        verdict, rule = judge(plan, client, match, moment), match.compiled.rule
        if isinstance(verdict, Send) and match.compiled.shared and decided.pace is not None:
            verdict = assigning.in_turn(plan, client, match, verdict, number, decided)
        first = cause if match.held is None else holding.cause_of(match.held)
        decided.outcomes[rule.id, verdict.reason] += 1
        folded, action = record(plan, client, match, verdict), None
        named = match_name(client, match, number) if folded is not None or isinstance(verdict, Hold) else b""
        if match.compiled.by_client_zone and zone_named(client.time_zone) is None:
            decided.counts["unknown_zones", "missing" if client.time_zone is None else "invalid"] += 1
        note_action(plan, client, rule, verdict.channel, verdict.reason.value)
        if isinstance(verdict, Hold):
            holding.hold(plan, client, match, cause, verdict.until_ms, verdict.why, named)
        elif isinstance(verdict, Send):
            if match.held is not None and holding.is_freed(match.held):
                decided.counts["freed", rule.id] += 1
            action = action_id(client, rule, number)
            decided.messages.append(action_message(plan, match, client, verdict.channel, first, action))
            if rule.kind == "survey":
                decided.counts[surveys.of_sent(plan, client)] += 1
            retractions.note(client, first, rule, number)
            if rule.then is not None:
                _follow(plan, client, match, first, verdict.channel, action, decided)
            if rule.id in plan.timed.listed:
                list_work(plan, client, rule, action, holding.expires_ms(client, match))
            elif not plan.timed.kept.isdisjoint((rule.kind, rule.id)):
                opened += keep(plan, client, rule, action, match.event)
            if client.rooms or (plan.pools is not None and rule.kind == "assignment"):
                decided.messages += assigning.sent(plan, client, match, action)
        if folded is not None:
            decided.messages.append(decision_message(client, match, named, verdict, first, folded, action))
        number += 1
    return opened


def _end(plan: Plan, client: ClientState, gone: list[list[Any]], outcome: Outcome, decided: Decided) -> None:
    """What was held ends, without being judged."""
    for held in gone:
        compiled = holding.compiled_of(plan, held)
        decided.outcomes[held[holding.RULE], outcome] += 1
        folded = end(plan, client, held[holding.RULE], compiled.rule.kind if compiled else "", outcome)
        if folded is not None:
            decided.messages.append(ending_message(client, held, outcome, folded))


def _follow(
    plan: Plan, client: ClientState, match: Match, cause: Because, channel: str, id_: str, decided: Decided
) -> None:
    """What its rule says then; an item that waits for an answer waits for that to the last that was sent."""
    if match.follows is not None:
        items.becomes(client.items, match.compiled.rule.kind, match.follows, id_)
    if not channels.follow(plan, client, match, cause, channel, id_):
        decided.counts["dropped", "follow_ups"] += 1
