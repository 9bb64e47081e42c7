"""Open items of a client: what opens, answers and closes them; and which are unanswered for as long as a rule asks.

Enters: events, actions that were sent, a client whose time has come. Leaves: its items, changed; the items as rules
read them, one for each step that they came to.
Holds: actions, and the steps of items, are kept only where a rule asks for them, so a client whom no such rule concerns
has none. An item is seen by a rule once for each time that it was opened.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from engine.core.client import items
from engine.core.client.items import (
    ABOUT,
    ANSWERED,
    CLOSED,
    EXPIRED,
    KEY,
    KIND,
    LONGEST_MS,
    OPENED,
    OVER,
    RETRACTED,
    SEEN,
    SINCE_MS,
    STATE,
    STEP_MS,
    STEPS,
    Item,
    as_read,
)
from engine.core.client.state import ClientState
from engine.core.contract.events import Complaint, Feedback, Outcome
from engine.core.firm_time import NEVER_MS
from engine.core.plan.compile import Plan
from engine.core.rules.ruleset import Rule

_COMPLAINT = {"answered": ANSWERED, "resolved": CLOSED, "withdrawn": CLOSED}
_OUTCOME = {"accepted": ANSWERED, "declined": CLOSED, "done": CLOSED}  # not_reached leaves it as it is


def _take_complaint(plan: Plan, client: ClientState, complaint: Complaint) -> list[Item]:
    state, key = _COMPLAINT.get(complaint.status, OPENED), complaint.complaint_id
    return _step(plan, client, "complaint", key, state, complaint.time, complaint.category, begins=True)


def _take_outcome(plan: Plan, client: ClientState, outcome: Outcome) -> list[Item]:
    state = _OUTCOME.get(outcome.status)
    return _answered(plan, client, outcome.action_id, state, outcome.time) if state is not None else []


def _take_feedback(plan: Plan, client: ClientState, feedback: Feedback) -> list[Item]:
    return _answered(plan, client, feedback.action_id, CLOSED, feedback.time)


def _answered(plan: Plan, client: ClientState, action_id: str, state: str, time_ms: int) -> list[Item]:
    for item in client.items:
        if item[KEY] == action_id and item[KIND] != "complaint":
            return _step(plan, client, item[KIND], action_id, state, time_ms)
    return []


def _step(
    plan: Plan,
    client: ClientState,
    kind: str,
    key: str,
    state: str,
    time_ms: int,
    about: str | None = None,
    *,
    begins: bool = False,
) -> list[Item]:
    """An item comes to a state; what of that rules hear of."""
    before = items.find(client.items, kind, key)
    steps = items.steps_of(before) if before else []
    if state == OPENED:
        client.items = items.opened(client.items, kind, key, about, time_ms)
    else:
        client.items = items.stepped(client.items, kind, key, state, time_ms, begins=begins)
    item = items.find(client.items, kind, key)
    if item is None:
        return []
    heard = _is_heard(plan, item)
    if not steps and not heard:
        return []
    item[STEPS:] = [steps]
    found = items.note_step(item, state, time_ms)
    if heard:
        return [as_read(item, client.now_ms, came_to) for came_to in found]
    if item[STEPS] == items.known_steps(item):
        del item[STEPS:]
    return []


TAKES: Final[dict[str, Callable[[Plan, ClientState, Any], list[Item]]]] = {
    "outcomes": _take_outcome,
    "feedback": _take_feedback,
    "complaints": _take_complaint,
}


def lose_complaint(client: ClientState, complaint: Complaint) -> None:
    """A step of a complaint was none. What it is about is unknown until a step says it, if this one may have."""
    state, key = _COMPLAINT.get(complaint.status, OPENED), complaint.complaint_id
    client.items = items.undone(client.items, "complaint", key, state, complaint.time)
    item = items.find(client.items, "complaint", key)
    if item is not None and state == OPENED and complaint.category == item[ABOUT]:
        item[ABOUT] = None


def lose_outcome(client: ClientState, outcome: Outcome) -> None:
    if (state := _OUTCOME.get(outcome.status)) is not None:
        _lose_answer(client, outcome.action_id, state, outcome.time)


def lose_feedback(client: ClientState, feedback: Feedback) -> None:
    _lose_answer(client, feedback.action_id, CLOSED, feedback.time)


def _lose_answer(client: ClientState, action_id: str, state: str, time_ms: int) -> None:
    """What was answered waits again, since it was opened."""
    for item in client.items:
        if item[KEY] == action_id and item[KIND] != "complaint":
            client.items = items.undone(client.items, item[KIND], action_id, state, time_ms)
            return


def keep(plan: Plan, client: ClientState, rule: Rule, action_id: str) -> list[Item]:
    """An action was sent: it waits for an answer, if a rule asks for that."""
    if rule.kind in plan.timed.kept or rule.id in plan.timed.kept:
        return _step(plan, client, rule.kind, action_id, OPENED, client.now_ms, rule.id)
    return []


def take_back(plan: Plan, client: ClientState, kind: str, action_id: str) -> list[Item]:
    """An action was retracted: nobody waits for an answer any more."""
    item = items.find(client.items, kind, action_id)
    if item is None or item[STATE] in OVER:
        return []
    return _step(plan, client, kind, action_id, RETRACTED, max(client.now_ms, item[STEP_MS]))


def take_expired(plan: Plan, client: ClientState) -> list[Item]:
    """Forget what nobody closes, at the moment at which it has waited too long."""
    gone = [item for item in client.items if _expires_ms(plan, item) <= client.now_ms]
    if gone:
        client.items = [item for item in client.items if item not in gone]
    return [as_read(item, client.now_ms, EXPIRED) for item in sorted(gone, key=lambda item: item[STEP_MS])]


def _expires_ms(plan: Plan, item: list[Any]) -> int:
    return NEVER_MS if item[STATE] in OVER or not _is_heard(plan, item) else item[STEP_MS] + LONGEST_MS


def _is_heard(plan: Plan, item: list[Any]) -> bool:
    """Whether rules hear of its steps. Of what they send themselves they do not: there would be no end to it."""
    hearing = plan.timed.hearing
    return bool(hearing) and (item[KIND] == "complaint" or item[ABOUT] not in hearing)


def take_unanswered(plan: Plan, client: ClientState) -> list[tuple[int, Item]]:
    """Note what is unanswered for as long as a rule asks: (the rule's index, the item), the oldest first."""
    found = []
    for item in sorted(client.items, key=lambda item: item[SINCE_MS]):
        for rule in plan.timed.unanswered:
            if _due_ms(rule.rule_id, rule.of, rule.length_ms, item) <= client.now_ms:
                item[SEEN] = [*item[SEEN], rule.rule_id]
                found.append((rule.index, as_read(item, client.now_ms, OPENED)))
    return found


def next_item_ms(plan: Plan, client: ClientState) -> int:
    """When the next item is unanswered for long enough, or expires. What was sent just now can have made a condition
    true.
    """
    if plan.timed.becomes and plan.timed.kept and any(item[STEP_MS] == client.now_ms for item in client.items):
        return client.now_ms + 1
    due_ms = (
        min((_expires_ms(plan, item) for item in client.items), default=NEVER_MS) if plan.timed.hearing else NEVER_MS
    )
    for rule in plan.timed.unanswered:
        for item in client.items:
            due_ms = min(due_ms, _due_ms(rule.rule_id, rule.of, rule.length_ms, item))
    return due_ms


def waiting_for(client: ClientState, rule_id: str, of: str, length_ms: int) -> list[tuple[int, Item]]:
    """What a rule waits for, and when it is due, the next first."""
    due = [(_due_ms(rule_id, of, length_ms, item), as_read(item, client.now_ms, OPENED)) for item in client.items]
    return sorted(pair for pair in due if pair[0] < NEVER_MS)


def _due_ms(rule_id: str, of: str, length_ms: int, item: list[Any]) -> int:
    """When it is unanswered for as long as the rule asks; NEVER_MS if that is not so, or was seen already."""
    meant = of == item[KIND] or (of == item[ABOUT] and item[KIND] != "complaint")
    return item[SINCE_MS] + length_ms if meant and item[STATE] == OPENED and rule_id not in item[SEEN] else NEVER_MS
