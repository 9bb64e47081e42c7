"""Open items of a client: what opens, answers and closes them; and which are unanswered for as long as a rule asks.

Enters: events, actions that were sent, a client whose time has come. Leaves: its items, changed; matches.
Holds: actions are kept only where a rule asks for them, so a client whom no such rule concerns has none. An item is
seen by a rule once for each time that it was opened.
"""

from __future__ import annotations

from typing import Any

from engine.core.client import items
from engine.core.client.items import ABOUT, ANSWERED, CLOSED, KEY, KIND, OPENED, SEEN, SINCE_MS, STATE, STEP_MS, Item
from engine.core.client.state import ClientState
from engine.core.contract.events import Complaint, Feedback, Outcome
from engine.core.firm_time import DAY_MS, NEVER_MS
from engine.core.plan.compile import Plan
from engine.core.rules.ruleset import Rule

_COMPLAINT = {"answered": ANSWERED, "resolved": CLOSED, "withdrawn": CLOSED}
_OUTCOME = {"accepted": ANSWERED, "declined": CLOSED, "done": CLOSED}  # not_reached leaves it as it is


def take_complaint(client: ClientState, complaint: Complaint) -> None:
    state, key, time_ms = _COMPLAINT.get(complaint.status), complaint.complaint_id, complaint.time
    if state is None:
        client.items = items.opened(client.items, "complaint", key, complaint.category, time_ms)
    else:
        client.items = items.stepped(client.items, "complaint", key, state, time_ms, begins=True)


def take_outcome(client: ClientState, outcome: Outcome) -> None:
    if (state := _OUTCOME.get(outcome.status)) is not None:
        _answered(client, outcome.action_id, state, outcome.time)


def take_feedback(client: ClientState, feedback: Feedback) -> None:
    _answered(client, feedback.action_id, CLOSED, feedback.time)


def _answered(client: ClientState, action_id: str, state: str, time_ms: int) -> None:
    for item in client.items:
        if item[KEY] == action_id and item[KIND] != "complaint":
            items.stepped(client.items, item[KIND], action_id, state, time_ms, begins=False)


def keep(plan: Plan, client: ClientState, rule: Rule, action_id: str) -> None:
    """An action was sent: it waits for an answer, if a rule asks for that."""
    if rule.kind in plan.timed.kept or rule.id in plan.timed.kept:
        client.items = items.opened(client.items, rule.kind, action_id, rule.id, client.now_ms)


def take_unanswered(plan: Plan, client: ClientState) -> list[tuple[int, Item]]:
    """Note what is unanswered for as long as a rule asks: (the rule's index, the item), the oldest first."""
    found = []
    for item in sorted(client.items, key=lambda item: item[SINCE_MS]):
        for rule in plan.timed.unanswered:
            if _due_ms(rule.rule_id, rule.of, rule.length_ms, item) <= client.now_ms:
                item[SEEN] = [*item[SEEN], rule.rule_id]
                found.append((rule.index, as_read(item, client.now_ms)))
    return found


def next_unanswered_ms(plan: Plan, client: ClientState) -> int:
    """When the next item is unanswered for long enough. What was sent just now can have made a condition true."""
    if plan.timed.becomes and plan.timed.kept and any(item[STEP_MS] == client.now_ms for item in client.items):
        return client.now_ms + 1
    return min(
        (
            _due_ms(rule.rule_id, rule.of, rule.length_ms, item)
            for rule in plan.timed.unanswered
            for item in client.items
        ),
        default=NEVER_MS,
    )


def waiting_for(client: ClientState, rule_id: str, of: str, length_ms: int) -> list[tuple[int, Item]]:
    """What a rule waits for, and when it is due, the next first."""
    due = [(_due_ms(rule_id, of, length_ms, item), as_read(item, client.now_ms)) for item in client.items]
    return sorted(pair for pair in due if pair[0] < NEVER_MS)


def _due_ms(rule_id: str, of: str, length_ms: int, item: list[Any]) -> int:
    """When it is unanswered for as long as the rule asks; NEVER_MS if that is not so, or was seen already."""
    meant = of == item[KIND] or (of == item[ABOUT] and item[KIND] != "complaint")
    return item[SINCE_MS] + length_ms if meant and item[STATE] == OPENED and rule_id not in item[SEEN] else NEVER_MS


def as_read(item: list[Any], now_ms: int) -> Item:
    since_ms = item[SINCE_MS]
    return Item(item[KIND], item[KEY], item[ABOUT], since_ms, (now_ms - since_ms) // DAY_MS)
