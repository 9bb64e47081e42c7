"""How what rules sent to staff is seen through: reminders and escalations while nobody takes it up, and its end.

Enters: a client whose time has come, or who had an event. Leaves: its items, changed; the steps to be published.
Holds: an item has each step of its rule once. Its clock counts what the rule says, and stands while it waits for the
client. It ends with the condition of a rule with `becomes`, with what a rule with `unanswered` waited for, and with
`ends_when`.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, get_args

from engine.core.client import items
from engine.core.client.items import (
    ABOUT,
    ESCALATED,
    ITEM_STATES,
    KEY,
    KIND,
    NEEDLESS,
    OF,
    OVER,
    OVERDUE,
    REMINDED,
    SINCE_MS,
    STATE,
    STEP_MS,
    TAKEN,
    Item,
    as_read,
    is_cared_for,
    is_of_team,
    noted,
    steps_of,
)
from engine.core.client.state import ClientState
from engine.core.firm_time import NEVER_MS
from engine.core.learn.items import Clock, clock_of, due_ms, is_heard, is_unanswered, note, ran_ms
from engine.core.plan.compile import Plan
from engine.core.rules.occasion import Becomes, Care, EscalatedTo, Unanswered
from engine.core.rules.ruleset import Rule

_ENDED: Final = "ended"
_HEARD: Final = {name: state for state, name in ITEM_STATES.items() if state in (REMINDED, OVERDUE, ESCALATED)}


class Step(NamedTuple):
    """One step of an action that was sent."""

    rule: Rule
    action_id: str
    sent_ms: int
    step: str  # reminded, overdue, escalated, ended
    name: str  # of the rule's step
    number: int  # of the action's steps
    to: str | None  # team or head, since the last escalation; None: whom the action was for
    ran_ms: int  # that count
    heard: list[Item]
    of_team: bool = False  # the team got it, since the advisor was away


def take(plan: Plan, client: ClientState, *, timer: bool) -> list[Step]:
    """What has come to its end; and with a timer the steps whose time is up."""
    found: list[Step] = []
    cared = _open(plan, client)
    ended = _ending(plan, client) if cared else frozenset()
    for item, rule, care in cared:
        taken = noted(item)[TAKEN]
        if _has_ended(plan, client, item, rule, ended):
            taken.append(_ENDED)
            heard = note(plan, client, item[KIND], item[KEY], NEEDLESS, max(client.now_ms, item[STEP_MS]))
            found.append(_step(plan, client, item, rule, care, _ENDED, _ENDED, heard))
            continue
        clock = clock_of(care, plan.timed.business)
        for at in care.steps if timer else ():
            if at.name in taken or _due_ms(clock, item, at.wait_s) > client.now_ms:
                continue
            taken.append(at.name)
            heard = [as_read(item, client.now_ms, _HEARD[at.step])] if is_heard(plan, item) else []
            found.append(_step(plan, client, item, rule, care, at.step, at.name, heard))
    return found


def _step(
    plan: Plan, client: ClientState, item: list[Any], rule: Rule, care: Care, step: str, name: str, heard: list[Item]
) -> Step:
    taken = noted(item)[TAKEN]
    to = next((name for name in reversed(taken) if name in get_args(EscalatedTo)), None)
    ran = ran_ms(clock_of(care, plan.timed.business), steps_of(item), client.now_ms)
    of_team = is_of_team(item, rule)
    return Step(rule, item[KEY], item[SINCE_MS], step, name, len(taken), to, ran, heard, of_team)


def next_care_ms(plan: Plan, client: ClientState) -> int:
    """When the next step is due."""
    due = (due_ms for item, _, _ in _open(plan, client) for due_ms, _ in upcoming(plan, item))
    return min(due, default=NEVER_MS)


def upcoming(plan: Plan, item: list[Any]) -> list[tuple[int, str]]:
    """The steps that it has not had, each with when it is due, as far as its clock runs; the next first."""
    rule = plan.timed.cared[item[ABOUT]]
    assert rule.care is not None
    clock, taken = clock_of(rule.care, plan.timed.business), noted(item)[TAKEN]
    due = [(_due_ms(clock, item, at.wait_s), at.name) for at in rule.care.steps if at.name not in taken]
    return sorted(pair for pair in due if pair[0] < NEVER_MS)


def _due_ms(clock: Clock, item: list[Any], after_s: int) -> int:
    return due_ms(clock, steps_of(item), clock.length_ms(after_s))


def _open(plan: Plan, client: ClientState) -> list[tuple[list[Any], Rule, Care]]:
    """What is seen through: the items, and the rules that sent them, as they are now."""
    return [
        (item, rule, rule.care)
        for item in client.items
        if is_cared_for(item)
        and item[STATE] not in OVER
        and _ENDED not in noted(item)[TAKEN]
        and (rule := plan.timed.cared.get(item[ABOUT])) is not None
        and rule.care is not None
    ]


def _ending(plan: Plan, client: ClientState) -> frozenset[str]:
    """The rules whose `ends_when` holds."""
    if not plan.timed.ending:
        return frozenset()
    return frozenset(plan.timed.ending[index] for index in plan.timed.possible.ends(client, None, None))


def _has_ended(plan: Plan, client: ClientState, item: list[Any], rule: Rule, ended: frozenset[str]) -> bool:
    if rule.id in ended or (isinstance(rule.occasion, Becomes) and rule.id not in client.held):
        return True
    waited_for = noted(item).get(OF)
    if waited_for is None or not isinstance(rule.occasion, Unanswered):
        return False
    of = items.find(client.items, *waited_for)
    return of is None or not is_unanswered(rule.occasion, of)
