"""What happens to a client without an event, or after several: silences, waits, calendar times, and conditions that
have become true.

Enters: a Plan and a ClientState whose time has come. Leaves: matches, and when to evaluate the client next.
Holds: everything falls due at a moment that follows from the client's own events alone; what has been evaluated is
noted in the state, so that it is evaluated once. What a rule waits for is kept while the rule is not in the active set.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from engine.core.client import overrides
from engine.core.client.items import CARE, SEEN, STATE, Item, is_cared_for
from engine.core.client.state import REMEMBERED_MS, ClientState
from engine.core.contract.events import Event
from engine.core.contract.message import Because, Message
from engine.core.contract.topic import event_of, values_of
from engine.core.decide import journeys
from engine.core.decide.messages import care_message
from engine.core.firm_time import DAY_MS, NEVER_MS, day_start_ms
from engine.core.learn import care
from engine.core.learn.corrections import next_known_ms
from engine.core.learn.items import next_item_ms, take_expired, take_unanswered
from engine.core.learn.portrait import next_portrait_ms
from engine.core.plan.compile import Plan
from engine.core.plan.features import next_slide_ms
from engine.core.plan.sensitivity import has_acted, next_flip_ms, next_hour_ms
from engine.core.plan.waking import Silent, Wait
from engine.core.policy import clock
from engine.core.policy.holding import next_release_ms, take_released
from engine.core.policy.match import Match, Maturity, matched
from engine.core.rules.occasion import (
    AT,
    BECOMES,
    ITEM_STEP,
    MATURITY,
    SILENCE,
    UNANSWERED,
    Becomes,
    Trigger,
    after,
)


class DueSource(NamedTuple):
    """One kind of thing that falls due by itself."""

    next_ms: Callable[[Plan, ClientState], int]  # when; NEVER_MS when nothing does
    take: Callable[[Plan, ClientState], list[Match]]  # at the client's present: note what fell due, and what matches
    noted: Callable[[ClientState], object]  # what `take` notes: it differs when something happened


def take_due(plan: Plan, client: ClientState) -> list[Match]:
    """Note everything that falls due at the client's present; returns the rules that match."""
    return [match for source in DUE for match in source.take(plan, client)]


def next_due_ms(plan: Plan, client: ClientState, decided_ms: int = 0) -> int:
    """When to evaluate the client next if no event comes. Calendar times whose actions have expired by `decided_ms` are
    passed over: a client whose first event lies years back has no use for all of those since.
    """
    due_ms = client.review_ms
    if client.overrides:  # their beginnings and ends move the tier, and make conditions true
        due_ms = min(due_ms, overrides.next_change_ms(client))
    if client.unknown_until:
        due_ms = min(due_ms, next_known_ms(client))
    timed = plan.timed
    if (timed.by_actions or timed.acting) and has_acted(client) and (timed.by_actions or _moves_rules(plan, client)):
        due_ms = min(due_ms, next_hour_ms(client))
    if timed.anything or client.waiting or client.journeys or client.items:
        if decided_ms > client.now_ms + DAY_MS:
            client.decided_ms, client.calendar_ms = decided_ms, 0
        if timed.calendars or timed.maturities:
            _note_calendar(plan, client)
        for source in DUE:
            due_ms = min(due_ms, source.next_ms(plan, client))
    return max(due_ms, client.now_ms + 1)  # what a late event makes overdue comes next


def noted(client: ClientState) -> tuple[object, ...]:
    """The traces of an evaluation: equal before and after if nothing came of it."""
    return client.tier, client.tier_risk, client.recent, *(source.noted(client) for source in DUE)


def _holding(
    plan: Plan, trigger: Trigger, candidates: list[int], client: ClientState, event: Any = None
) -> list[Match]:
    """Those of the candidates whose condition holds."""
    if not candidates:
        return []
    return [match for match in matched(plan, client, trigger, event) if match.compiled.index in candidates]


# -- silences ----------------------------------------------------------------------------------------------------------


def _silences(plan: Plan, client: ClientState) -> list[Match]:
    fallen = [silent for silent in plan.timed.silences if _silent_since(client, silent) <= client.now_ms]
    matches = _holding(plan, SILENCE, [silent.index for silent in fallen], client)
    for silent in fallen:
        last_ms = client.activities[silent.source].last_ms
        assert last_ms is not None  # else it is not silent since any time
        silenced = client.silenced = client.silenced or {}
        silenced[silent.rule_id] = last_ms
    if any(last_ms + REMEMBERED_MS <= client.now_ms for last_ms in client.silenced.values()):
        _forget_silences(plan, client)
    return matches


def _forget_silences(plan: Plan, client: ClientState) -> None:
    """Those of rules that are not active and may not come back; of an active rule, it lasts until the next event."""
    active = {silent.rule_id for silent in plan.timed.silences}
    client.silenced = {
        rule_id: last_ms
        for rule_id, last_ms in client.silenced.items()
        if rule_id in active or last_ms + REMEMBERED_MS > client.now_ms
    }


def _silent_since(client: ClientState, silent: Silent) -> int:
    """When this silence falls due; NEVER_MS if it was already seen, or there was no event yet."""
    last_ms = client.activities[silent.source].last_ms
    if last_ms is None or client.silenced.get(silent.rule_id) == last_ms:
        return NEVER_MS
    return last_ms + silent.length_ms


def _next_silence_ms(plan: Plan, client: ClientState) -> int:
    due_ms = NEVER_MS
    for silent in plan.timed.silences:
        due_ms = min(due_ms, _silent_since(client, silent))
    return due_ms


# -- sequences ---------------------------------------------------------------------------------------------------------


def sequence_matches(plan: Plan, client: ClientState, topic: str, event: Event) -> list[Match]:
    """Note what an event means for the sequences; those that it completes, and whose condition holds. Steps are
    ordered by the events' own times.
    """
    steps, waits = plan.timed.steps.get(topic), plan.timed.waits
    for rule_id, start_ms in client.waits.items():
        if rule_id not in waits and start_ms > 0:
            client.waits[rule_id] = -start_ms  # this event may be its second step: nobody can tell
    if steps is None:
        return []
    candidates = []
    if client.waits:
        for index in steps.then(client, event, None):
            rule_id = steps.then_rules[index]
            wait, began_ms = waits[rule_id], client.waits.get(rule_id)
            if began_ms is None or event.time < abs(began_ms):
                continue
            _end_wait(client, rule_id)
            if not wait.absent and event.time < abs(began_ms) + wait.within_ms:
                candidates.append(wait.index)
    matches = _holding(plan, after(topic), candidates, client, event)
    for index in steps.first(client, event, None):
        rule_id = steps.first_rules[index]
        began = client.waits = client.waits or {}
        if not waits[rule_id].absent:
            began[rule_id] = max(event.time, abs(began.get(rule_id, 0)))
        elif rule_id not in began:
            began[rule_id] = event.time
            if waits[rule_id].kept:
                first_steps = client.first_steps = client.first_steps or {}
                first_steps[rule_id] = values_of(event, waits[rule_id].kept)
    return matches


def _end_wait(client: ClientState, rule_id: str) -> None:
    del client.waits[rule_id]
    client.first_steps.pop(rule_id, None)


def _ended_waits(plan: Plan, client: ClientState) -> list[Match]:
    """Waits that end now. One whose rule is not active is kept for as long as the rule may come back; when events came
    meanwhile (its start is negative then), it is not known whether the second step was among them.
    """
    waits, now_ms = plan.timed.waits, client.now_ms
    ended = {
        rule_id: start_ms
        for rule_id, start_ms in client.waits.items()
        if abs(start_ms) + (waits[rule_id].within_ms if rule_id in waits else REMEMBERED_MS) <= now_ms
    }
    matches = []
    for rule_id, start_ms in ended.items():
        kept = client.first_steps.get(rule_id, {})
        _end_wait(client, rule_id)
        if start_ms > 0 and rule_id in waits and waits[rule_id].absent:
            wait = waits[rule_id]
            matches += _holding(
                plan, wait.trigger, [wait.index], client, first_step(plan, client, wait, start_ms, kept)
            )
    return matches


def first_step(plan: Plan, client: ClientState, wait: Wait, start_ms: int, kept: Mapping[str, Any]) -> Any:
    """The event that began a sequence, as far as the rule reads it."""
    fields = {"event_id": "", "client_id": client.client_id, "time": start_ms, **kept}
    return event_of(plan.rule_set.kinds[wait.trigger.topic], fields)


def _next_wait_ms(plan: Plan, client: ClientState) -> int:
    due_ms = NEVER_MS
    for rule_id, start_ms in client.waits.items():
        if rule_id in plan.timed.waits:
            due_ms = min(due_ms, abs(start_ms) + plan.timed.waits[rule_id].within_ms)
    return due_ms


# -- items -------------------------------------------------------------------------------------------------------------


def item_matches(plan: Plan, client: ClientState, steps: Iterable[Item]) -> list[Match]:
    """Of each step that an item took the rules whose condition holds."""
    return [match for item in steps for match in matched(plan, client, ITEM_STEP, item)]


def _waited(plan: Plan, client: ClientState) -> list[Match]:
    """Of each item the rules that have waited long enough for an answer, and what nobody has closed for too long."""
    if not client.items:
        return []
    return item_matches(plan, client, take_expired(plan, client)) + [
        match
        for index, item in take_unanswered(plan, client)
        for match in _holding(plan, UNANSWERED, [index], client, item)
    ]


def see_through(
    plan: Plan,
    client: ClientState,
    cause: Because,
    steps: list[Item],
    messages: list[Message],
    counts: Counter[tuple[str, ...]],
) -> list[Match]:
    """Reminders, escalations and ends of what was sent to staff, among the messages; the rules that hear of them, and
    of other steps.
    """
    for step in care.take(plan, client, timer=cause.event_id is None) if plan.timed.cared else ():
        counts["care", step.rule.kind, step.step] += 1
        messages.append(care_message(plan, client, step, cause))
        steps = [*steps, *step.heard]
    return item_matches(plan, client, steps)


# -- the calendar ------------------------------------------------------------------------------------------------------


def _on_calendar(plan: Plan, client: ClientState) -> list[Match]:
    possible = plan.timed.possible.calendars(client, None, None)
    if client.calendar_ms > client.now_ms and client.calendar_rules == possible:
        return []  # no calendar time has come
    before_ms, now_ms, birth_date = client.now_ms - 1, client.now_ms, client.birth_date
    # those that were passed over do not come by another wake at their moment
    times = {
        plan.timed.calendars[index]
        for index in possible
        if now_ms > client.decided_ms - plan.compiled[AT][index].rule.expires_s * 1000
    }
    business = plan.timed.business
    due = {when for when in times if clock.next_ms(when, before_ms, birth_date, business) == now_ms}
    candidates = [index for index in possible if plan.timed.calendars[index] in due]
    return _holding(plan, AT, candidates, client) + _matured(plan, client)


def _matured(plan: Plan, client: ClientState) -> list[Match]:
    """Of holdings that end on one day the largest first: the others may be in its cooldown."""
    matches = []
    for day, symbol, amount_fen, _, product in sorted(client.holdings, key=lambda held: -held[2]):
        candidates = [m.index for m in plan.timed.maturities if clock.at_day_ms(m.when, day) == client.now_ms]
        maturity = Maturity(symbol, amount_fen, day - client.day, product, day_start_ms(day))
        matches += _holding(plan, MATURITY, candidates, client, maturity)
    return matches


def _note_calendar(plan: Plan, client: ClientState) -> None:
    """Keep the next calendar time of the rules that can hold, whose action has not expired when it is decided; until it
    has come or other rules can hold.
    """
    possible = plan.timed.possible.calendars(client, None, None)
    if client.calendar_ms > client.now_ms and client.calendar_rules == possible:
        return
    due_ms, after_ms = NEVER_MS, dict[Any, int]()
    for index in possible:
        when, rule = plan.timed.calendars[index], plan.compiled[AT][index].rule
        from_ms = max(client.now_ms, client.decided_ms - rule.expires_s * 1000)
        after_ms[when] = min(from_ms, after_ms.get(when, from_ms))
    for when, from_ms in after_ms.items():
        due_ms = min(due_ms, clock.next_ms(when, from_ms, client.birth_date, plan.timed.business))
    for maturing in plan.timed.maturities:
        for day, *_ in client.holdings:
            moment_ms = clock.at_day_ms(maturing.when, day)
            if client.now_ms < moment_ms < due_ms:
                due_ms = moment_ms
    client.calendar_ms, client.calendar_rules = due_ms, possible


# -- conditions that become true ---------------------------------------------------------------------------------------


def became(plan: Plan, client: ClientState) -> list[Match]:
    """Note which conditions hold now; those that have become true and stayed so for as long as their rule asks."""
    rules = plan.compiled[BECOMES]
    holding = [
        index
        for index in plan.match[BECOMES](client, None, None)
        if not rules[index].needs or all(reach.is_known(client) for reach in rules[index].needs)
    ]
    if not holding and not client.held:
        return []
    matches = []
    held = {rule_id: entry for rule_id, entry in client.held.items() if rule_id not in plan.timed.becomes}
    if held:
        held = {rule_id: entry for rule_id, entry in held.items() if max(entry) + REMEMBERED_MS > client.now_ms}
    for index in holding:
        compiled = rules[index]
        entry = client.held.get(compiled.rule.id, [client.now_ms, 0])
        if _act_ms(plan.timed.becomes[compiled.rule.id], entry) <= client.now_ms:
            matches.append(Match(compiled))
            entry = [entry[0], client.now_ms]
        held[compiled.rule.id] = entry
    client.held = held
    return matches


def _act_ms(becomes: Becomes, entry: list[int]) -> int:
    """When a rule whose condition holds is to act: `entry` is since when it holds, and when it last acted (0: not)."""
    since_ms, acted_ms = entry
    if not acted_ms:
        return since_ms + becomes.for_s * 1000
    return acted_ms + becomes.repeat_s * 1000 if becomes.repeat_s else NEVER_MS


def _next_change_ms(plan: Plan, client: ClientState) -> int:
    """When a condition that holds is to act, or when one can change though nothing happens."""
    if not plan.timed.becomes:
        return NEVER_MS
    due_ms = NEVER_MS
    for rule_id, entry in client.held.items():
        if rule_id in plan.timed.becomes:
            due_ms = min(due_ms, _act_ms(plan.timed.becomes[rule_id], entry))
    if plan.timed.wakes and plan.timed.possible.wakes(client, None, None):
        due_ms = min(due_ms, next_flip_ms(plan.timed.wakes, client))
    for index in plan.timed.possible.slides(client, None, None):
        due_ms = min(due_ms, next_slide_ms(plan.layout, client, plan.timed.slides[index]))
    return due_ms


def _moves_rules(plan: Plan, client: ClientState) -> bool:
    """Whether what was done just now makes the condition of a rule true, or no longer true."""
    holding = {plan.timed.acting[index] for index in plan.timed.possible.acts(client, None, None)}
    return any((rule_id in holding) != (rule_id in client.held) for rule_id in plan.timed.acting)


DUE: Final[tuple[DueSource, ...]] = (
    DueSource(
        lambda plan, client: next_release_ms(plan, client) if client.waiting else NEVER_MS,
        take_released,
        lambda client: (client.waiting, client.rooms),
    ),
    DueSource(
        lambda plan, client: next_item_ms(plan, client) if client.items else NEVER_MS,
        _waited,
        lambda client: [item[SEEN] for item in client.items],
    ),
    DueSource(  # its steps are no matches: path.py takes them
        lambda plan, client: care.next_care_ms(plan, client) if client.items and plan.timed.cared else NEVER_MS,
        lambda plan, client: [],
        lambda client: [(item[STATE], item[CARE:]) for item in client.items if is_cared_for(item)],
    ),
    DueSource(_next_silence_ms, _silences, lambda client: client.silenced),
    DueSource(_next_wait_ms, _ended_waits, lambda client: client.waits),
    DueSource(
        lambda plan, client: client.calendar_ms if plan.timed.calendars or plan.timed.maturities else NEVER_MS,
        _on_calendar,
        lambda client: None,
    ),
    DueSource(
        lambda plan, client: journeys.next_ms(plan, client) if client.journeys else NEVER_MS,
        lambda plan, client: [],  # see path.py
        lambda client: client.journeys,
    ),
    DueSource(next_portrait_ms, lambda plan, client: [], lambda client: (client.stage, client.portrait)),
    DueSource(
        _next_change_ms,
        lambda plan, client: became(plan, client) if client.held or plan.timed.becomes else [],
        lambda client: client.held,
    ),
)
