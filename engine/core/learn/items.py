"""Open items of a client: what opens, answers and closes them; and which are unanswered for as long as a rule asks.

Enters: events, actions that were sent, a client whose time has come. Leaves: its items, changed; the items as rules
read them, one for each step that they came to. And their clocks: how much time has run, and when it is up.
Holds: actions, and the steps of items, are kept only where a rule asks for them, so a client whom no such rule concerns
has none. An item is seen by a rule once for each time that it was opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

from engine.core.client import items
from engine.core.client.items import (
    ABOUT,
    ACKNOWLEDGED,
    ANSWERED,
    BY,
    CARE,
    CLOSED,
    EXPIRED,
    KEY,
    KIND,
    LEAVES_MS,
    LONGER,
    NEEDLESS,
    OF,
    OPENED,
    OVER,
    RESUMED,
    RETRACTED,
    SAID_MS,
    SEEN,
    SEVERITY,
    SINCE_MS,
    STATE,
    STEP_MS,
    STEPS,
    TAKEN,
    WAITING,
    WORK,
    Item,
    as_read,
    noted,
)
from engine.core.client.state import ClientState
from engine.core.contract.events import Complaint, Feedback, Outcome
from engine.core.firm_time import DAY_MS, NEVER_MS
from engine.core.plan.compile import Plan
from engine.core.plan.matching import team_of
from engine.core.plan.waking import Unanswering
from engine.core.rules.business_days import BusinessDays
from engine.core.rules.occasion import Care, Unanswered
from engine.core.rules.ruleset import Rule

_WAITS: Final = {"waiting_for_client": WAITING, "client_answered": RESUMED}
_COMPLAINT: Final = {
    "acknowledged": ACKNOWLEDGED,
    "answered": ANSWERED,
    "resolved": CLOSED,
    "withdrawn": CLOSED,
} | _WAITS
_OUTCOME: Final = {"accepted": ANSWERED, "declined": CLOSED, "done": CLOSED} | _WAITS  # not_reached leaves it as it is


def _take_complaint(plan: Plan, client: ClientState, complaint: Complaint) -> list[Item]:
    state, key = _COMPLAINT.get(complaint.status, OPENED), complaint.complaint_id
    said = complaint.severity, complaint.time
    steps = note(plan, client, "complaint", key, state, complaint.time, complaint.category, said, begins=True)
    if state in (WAITING, RESUMED):  # so does what is to be done about it
        for item in client.items:
            if noted(item).get(OF) == ["complaint", key]:
                steps += note(plan, client, item[KIND], item[KEY], state, complaint.time)
    return steps


def _take_outcome(plan: Plan, client: ClientState, outcome: Outcome) -> list[Item]:
    state = _OUTCOME.get(outcome.status)
    if state is None:
        return []
    steps = _answered(plan, client, outcome.action_id, state, outcome.time)
    item = _work(client, outcome.action_id) if state == ANSWERED and outcome.by is not None else None
    if item is not None and outcome.time >= noted(item).get(BY, ("", outcome.time))[1]:
        item[CARE:] = [noted(item) | {BY: [outcome.by, outcome.time]}]
    return steps


def _work(client: ClientState, action_id: str) -> list[Any] | None:
    return next((item for item in client.items if item[KEY] == action_id and WORK in noted(item)), None)


def _take_feedback(plan: Plan, client: ClientState, feedback: Feedback) -> list[Item]:
    return _answered(plan, client, feedback.action_id, CLOSED, feedback.time)


def _answered(plan: Plan, client: ClientState, action_id: str, state: str, time_ms: int) -> list[Item]:
    for item in client.items:
        if item[KEY] == action_id and item[KIND] != "complaint":
            return note(plan, client, item[KIND], action_id, state, time_ms)
    return []


def note(
    plan: Plan,
    client: ClientState,
    kind: str,
    key: str,
    state: str,
    time_ms: int,
    about: str | None = None,
    said: tuple[str | None, int] = (None, 0),  # of a complaint its severity, and when
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
    item[STEPS:] = [steps, *item[CARE:]]
    found, heard = items.note_step(item, state, time_ms), is_heard(plan, item)
    care = noted(item)
    if said[0] is not None and said[1] >= care.get(SAID_MS, said[1]):
        care = care | {SEVERITY: said[0], SAID_MS: said[1]}
    if kind == "complaint" and any(rule.waits.reopened == "goes_on" for rule in plan.timed.unanswered):
        care = care | {LONGER: 1}
    if care:
        item[CARE:] = [care]
    elif not heard and item[STEPS] == items.known_steps(item):
        del item[STEPS:]
    return [as_read(item, client.now_ms, came_to) for came_to in found] if heard else []


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
    if (
        item is not None
        and noted(item).get(SAID_MS) == complaint.time
        and noted(item).get(SEVERITY) == complaint.severity
    ):
        item[CARE:] = [{name: said for name, said in noted(item).items() if name not in (SEVERITY, SAID_MS)}]
    for other in client.items:
        if noted(other).get(OF) == ["complaint", key]:
            client.items = items.undone(client.items, other[KIND], other[KEY], state, complaint.time)


def lose_outcome(client: ClientState, outcome: Outcome) -> None:
    if (state := _OUTCOME.get(outcome.status)) is not None:
        _lose_answer(client, outcome.action_id, state, outcome.time)
    item = _work(client, outcome.action_id)
    if item is not None and noted(item).get(BY) == [outcome.by, outcome.time]:
        item[CARE:] = [{name: said for name, said in noted(item).items() if name != BY}]


def lose_feedback(client: ClientState, feedback: Feedback) -> None:
    _lose_answer(client, feedback.action_id, CLOSED, feedback.time)


def _lose_answer(client: ClientState, action_id: str, state: str, time_ms: int) -> None:
    """What was answered waits again, since it was opened."""
    for item in client.items:
        if item[KEY] == action_id and item[KIND] != "complaint":
            client.items = items.undone(client.items, item[KIND], action_id, state, time_ms)
            return


def keep(plan: Plan, client: ClientState, rule: Rule, action_id: str, about: Any) -> list[Item]:
    """An action was sent that waits for an answer, or is seen through. `about`: what its rule matched."""
    steps = note(plan, client, rule.kind, action_id, OPENED, client.now_ms, rule.id)
    item = items.find(client.items, rule.kind, action_id)
    if rule.audience != "client" and item is not None:
        waited_for = {OF: [about.kind, about.id]} if isinstance(about, Item) and about.step == "opened" else {}
        care = {TAKEN: [], **waited_for} if rule.care is not None else {}
        item[STEPS:] = [items.steps_of(item), {**care, WORK: _as_sent(plan, client, rule)}]
    return steps


def list_work(plan: Plan, client: ClientState, rule: Rule, action_id: str, leaves_ms: int) -> None:
    """An action was sent for staff that no rule waits for: it is in their list, until it expires or somebody acts."""
    work = _as_sent(plan, client, rule)
    client.items = items.listed(client.items, rule.kind, action_id, rule.id, client.now_ms, work, leaves_ms)


def _as_sent(plan: Plan, client: ClientState, rule: Rule) -> list[Any]:
    alone = rule.audience == "advisor" and client.advisor_id is None
    return [team_of(plan.pools, client, rule.owner)[0] if alone else rule.owner, rule.priority, rule.audience]


def take_back(plan: Plan, client: ClientState, kind: str, action_id: str) -> list[Item]:
    """An action was retracted: nobody waits for an answer any more."""
    item = items.find(client.items, kind, action_id)
    if item is None or item[STATE] in OVER:
        return []
    return note(plan, client, kind, action_id, RETRACTED, max(client.now_ms, item[STEP_MS]))


def take_expired(plan: Plan, client: ClientState) -> list[Item]:
    """Forget what nobody closes, at the moment at which it has waited too long."""
    gone = [item for item in client.items if _leaves_ms(plan, item) <= client.now_ms]
    if gone:
        client.items = [item for item in client.items if item not in gone]
    in_order = sorted(gone, key=lambda item: item[STEP_MS])
    return [as_read(item, client.now_ms, EXPIRED) for item in in_order if is_heard(plan, item)]


def _leaves_ms(plan: Plan, item: list[Any]) -> int:
    """Whatever nobody reads goes at a midnight: see `remembered`."""
    seen = item[STATE] not in OVER and (WORK in noted(item) or is_heard(plan, item))
    return items.leaves_ms(item) if seen else NEVER_MS


def is_heard(plan: Plan, item: list[Any]) -> bool:
    """Whether rules hear of its steps. Of what they send themselves they do not: there would be no end to it."""
    hearing = plan.timed.hearing
    return bool(hearing) and (item[KIND] == "complaint" or item[ABOUT] not in hearing)


def take_unanswered(plan: Plan, client: ClientState) -> list[tuple[int, Item]]:
    """Note what is unanswered for as long as a rule asks: (the rule's index, the item), the oldest first."""
    found = []
    for item in sorted(client.items, key=lambda item: item[SINCE_MS]):
        for rule in plan.timed.unanswered:
            if _due_ms(plan, rule, item) <= client.now_ms:
                item[SEEN] = [*item[SEEN], rule.rule_id]
                found.append((rule.index, as_read(item, client.now_ms, OPENED)))
    return found


def next_item_ms(plan: Plan, client: ClientState) -> int:
    """When the next item is unanswered for long enough, or expires. What was sent just now can have made a condition
    true.
    """
    asked = bool(plan.timed.becomes and plan.timed.kept)
    if asked and any(item[STEP_MS] == client.now_ms and LEAVES_MS not in noted(item) for item in client.items):
        return client.now_ms + 1
    due_ms = min((_leaves_ms(plan, item) for item in client.items), default=NEVER_MS)
    for rule in plan.timed.unanswered:
        for item in client.items:
            due_ms = min(due_ms, _due_ms(plan, rule, item))
    return due_ms


def waiting_for(plan: Plan, client: ClientState, rule_id: str) -> list[tuple[int, Item]]:
    """What a rule waits for, and when it is due, the next first."""
    (rule,) = [rule for rule in plan.timed.unanswered if rule.rule_id == rule_id]
    due = [(_due_ms(plan, rule, item), as_read(item, client.now_ms, OPENED)) for item in client.items]
    return sorted((pair for pair in due if pair[0] < NEVER_MS), key=lambda pair: (pair[0], pair[1].id))


def is_unanswered(waits: Unanswered, item: list[Any]) -> bool:
    """Whether it has not come to what a rule waits for."""
    return item[STATE] not in OVER and level_of(items.steps_of(item)) < UNTIL[waits.until]


def _is_clocked(plan: Plan, item: list[Any]) -> bool:
    return len(item) > CARE or item[KIND] in plan.timed.clocked or item[ABOUT] in plan.timed.clocked


def _due_ms(plan: Plan, rule: Unanswering, item: list[Any]) -> int:
    """When it is unanswered for as long as the rule asks; NEVER_MS if that is not so, or was seen already."""
    waits = rule.waits
    meant = waits.of == item[KIND] or (waits.of == item[ABOUT] and item[KIND] != "complaint")
    if not meant or item[STATE] in OVER or rule.rule_id in item[SEEN]:
        return NEVER_MS
    clock = clock_of(waits, plan.timed.business)
    for_s = dict(waits.by_severity).get(noted(item).get(SEVERITY, ""), waits.for_s)
    return due_ms(clock, items.steps_of(item), clock.length_ms(for_s))


# -- clocks: from the opening until the item comes to what is waited for, but not while it waits for the client --------


# It follows from the item's steps alone, so it does not matter in which order they came.
UNTIL: Final = {"acknowledged": 1, "answered": 2, "accepted": 2, "closed": 3, "done": 3}  # how far an item has come
_LEVEL: Final = {OPENED: 0, ANSWERED: 2, CLOSED: 3, RETRACTED: 3, NEEDLESS: 3}
_AT_LEAST: Final = {ACKNOWLEDGED: 1, WAITING: 1}


class Clock(NamedTuple):
    """`business`: counts business hours, else every hour; `anew`: begins anew whenever the item is opened again."""

    until: int  # how far the item has come when it stops
    business: BusinessDays | None
    anew: bool

    def length_ms(self, seconds: int) -> int:
        """Whole days of business hours are working days."""
        if self.business is not None and seconds * 1000 % DAY_MS == 0:
            return seconds * 1000 // DAY_MS * self.business.day_ms
        return seconds * 1000

    def between(self, start_ms: int, end_ms: int) -> int:
        return end_ms - start_ms if self.business is None else self.business.between(start_ms, end_ms)

    def after(self, start_ms: int, length_ms: int) -> int:
        return start_ms + length_ms if self.business is None else self.business.after(start_ms, length_ms)


def clock_of(waits: Unanswered | Care, business: BusinessDays | None) -> Clock:
    """`business`: of the calendar; a rule that counts in business hours has one."""
    anew = not isinstance(waits, Unanswered) or waits.reopened == "begins_anew"
    return Clock(UNTIL[waits.until], business if waits.hours == "business" else None, anew)


def due_ms(clock: Clock, steps: Iterable[list[Any]], length_ms: int) -> int:
    """When it has run for so long; NEVER_MS while it stands. If it had before, and runs again: since when it does."""
    left_ms, runs_since = length_ms, None
    for start_ms, end_ms in _runs(clock, steps):
        if end_ms is None:
            runs_since = start_ms
        else:
            left_ms -= clock.between(start_ms, end_ms)
    return NEVER_MS if runs_since is None else clock.after(runs_since, max(left_ms, 0))


def ran_ms(clock: Clock, steps: Iterable[list[Any]], now_ms: int) -> int:
    """For how long it has run."""
    return sum(clock.between(start, max(now_ms, start) if end is None else end) for start, end in _runs(clock, steps))


def _runs(clock: Clock, steps: Iterable[list[Any]]) -> Iterator[tuple[int, int | None]]:
    """From when to when it ran; None: it runs."""
    known = list(steps)
    if clock.anew:
        last = max((place for place, (_, state) in enumerate(known) if state == OPENED), default=0)
        known = known[last:]
    since_ms, level = None, _LEVEL[CLOSED]  # nothing is waited for before it is opened
    for at_ms, state in known:
        level = _after(level, state)
        runs = level < clock.until and state != WAITING
        if since_ms is not None and not runs:
            yield since_ms, at_ms
            since_ms = None
        elif since_ms is None and runs:
            since_ms = at_ms
    if since_ms is not None:
        yield since_ms, None


def level_of(steps: Iterable[list[Any]]) -> int:
    """How far it has come."""
    level = _LEVEL[CLOSED]
    for _, state in steps:
        level = _after(level, state)
    return level


def _after(level: int, state: str) -> int:
    return _LEVEL.get(state, max(level, _AT_LEAST.get(state, 0)))
