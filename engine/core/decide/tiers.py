"""Tiers: where a client belongs, when it may move, and when to review it without an event.

Enters: a Plan and a ClientState. Leaves: a TierMove or none, and the time of the next review; both follow from the
client's Standing.
Holds: between a step's exit and enter thresholds a client stays where it is; no move sooner than the ladder allows.
Where a ladder has a grace or a review, a client that belongs lower has notice first, and moves down when both allow it.
A tier that staff gave holds until its end; then the client has the tier it had before, or a better one that it earns.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from engine.core.client import overrides
from engine.core.client.state import MAX_HISTORY, ClientState
from engine.core.firm_time import DAY_MS, HOUR_MS, NEVER_MS, day_start_ms
from engine.core.plan.compile import Plan
from engine.core.plan.features import next_slide_ms
from engine.core.plan.sensitivity import CompiledLadder
from engine.core.policy import clock
from engine.core.policy.match import AtRisk, TierMove
from engine.core.rules.ruleset import Ladder

# Where a client is on its ladder: the measure now, the step of its tier, and the one that it belongs to
Standing = tuple[CompiledLadder, Any, int | None, int]


def standing(plan: Plan, client: ClientState) -> Standing | None:
    """None where its type has no ladder, or is not known."""
    ladder = plan.ladders.get(client.type) if client.type is not None else None
    if ladder is None:
        return None
    value, current = ladder.measure(client, None, None), ladder.place.get(client.tier)
    return ladder, value, current, _step_for(ladder, value, current)


def _step_for(ladder: CompiledLadder, value: Any, current: int | None) -> int:
    """Index of the step a client with this measure belongs to, coming from step `current`."""
    best = 0
    for enter in ladder.enter:
        if enter is None or (value is not None and value >= enter):
            break
        best += 1
    best = min(best, len(ladder.enter) - 1)
    if current is None or best <= current:
        return best
    leave = ladder.exit[current]
    return best if leave is not None and value is not None and value < leave else current


def _stay_ms(ladder: CompiledLadder, current: int, target: int) -> int:
    days = ladder.ladder.promote_after_days if target < current else ladder.ladder.demote_after_days
    return days * DAY_MS


def _unknown(ladder: CompiledLadder, client: ClientState) -> bool:
    """Whether a correction has left the measure without its value: no tier follows from it."""
    return not all(reach.is_known(client) for reach in ladder.needs)


def review(client: ClientState, stands: Standing | None) -> TierMove | AtRisk | None:
    """Move the client to the tier it belongs to now, if it may move, or give it notice of that. Changes where it stands
    if it returns something.
    """
    if client.type is None:
        return None
    ladder = stands[0] if stands is not None else None
    if client.tier_risk is not None and (
        ladder is None or not ladder.ladder.gives_notice or client.tier not in ladder.place
    ):
        client.tier_risk = None  # other rules, or another type
    if (client.overrides or client.tier_before is not None) and _is_given(client, ladder):
        return _by_staff(client, stands)
    if stands is None:
        if client.tier == client.type:
            return None
        return _move(client, client.type, "first" if client.tier is None else "type_changed", None, None, None)
    ladder, value, current, target = stands
    if value is None or (client.corrected and _unknown(ladder, client)):
        return None
    if current is not None and target <= current:
        client.tier_risk = None
    if target == current:
        return None
    tier = ladder.ladder.steps[target].tier
    if current is None:
        reason = "first" if client.tier is None else "type_changed"
        return _move(client, tier, reason, ladder, value, ladder.enter[target])
    if target > current and ladder.ladder.gives_notice:
        if client.tier_risk is None and (falls_ms := _falls_down_ms(ladder.ladder, client)) > client.now_ms:
            client.tier_risk = [client.now_ms, falls_ms, tier]
            return AtRisk(tier, falls_ms, (falls_ms - client.now_ms) // DAY_MS)
        if client.tier_risk is not None and client.now_ms < client.tier_risk[1]:
            return None
    elif client.now_ms < (client.tier_since_ms or 0) + _stay_ms(ladder, current, target):
        return None
    if target < current:
        return _move(client, tier, "promoted", ladder, value, ladder.enter[target])
    return _move(client, tier, "demoted", ladder, value, ladder.exit[current])


def _falls_down_ms(ladder: Ladder, client: ClientState) -> int:
    """When a client who has notice now moves down: after its stay and the grace, at a review."""
    stay_ms = (client.tier_since_ms or 0) + ladder.demote_after_days * DAY_MS
    earliest_ms = max(stay_ms, client.now_ms + ladder.grace_days * DAY_MS)
    return earliest_ms if ladder.review is None else clock.next_ms(ladder.review, earliest_ms - 1)


def _is_given(client: ClientState, ladder: CompiledLadder | None) -> bool:
    """Whether staff's tier holds, or is just over."""
    return client.tier_before is not None or (ladder is not None and overrides.tier_now(client) in ladder.place)


def _by_staff(client: ClientState, stands: Standing | None) -> TierMove | None:
    tier = overrides.tier_now(client)
    if tier is None or stands is None or tier not in stands[0].place:
        return _given_no_longer(client, stands)
    client.tier_risk = None
    if client.tier_before is None:
        client.tier_before = client.tier or ""
    return None if client.tier == tier else _move(client, tier, "override", None, None, None)


def _given_no_longer(client: ClientState, stands: Standing | None) -> TierMove | None:
    """Back to the tier before, or to a better one by the measure: a worse one is for the ladder, in its time."""
    if stands is None:
        client.tier_before = None
        assert client.type is not None
        return None if client.tier == client.type else _move(client, client.type, "type_changed", None, None, None)
    ladder = stands[0]
    before = ladder.place.get(client.tier_before or None)
    value = stands[1] if not (client.corrected and _unknown(ladder, client)) else None
    if value is None and before is None:
        return None  # it keeps the tier until one can be told
    step = before if value is None else _step_for(ladder, value, before)
    assert step is not None
    tier = ladder.ladder.steps[step if before is None else min(step, before)].tier
    client.tier_before = None
    return None if client.tier == tier else _move(client, tier, "override_ended", ladder, value, None)


def _move(
    client: ClientState, to_tier: str, reason: str, ladder: CompiledLadder | None, measure: Any, threshold: float | None
) -> TierMove:
    name, money = (ladder.ladder.measure.text, ladder.money) if ladder else (None, False)
    move = TierMove(client.tier, to_tier, reason, measure, name, threshold, money, client.tier_since_ms)
    client.tier, client.tier_since_ms, client.tier_risk = to_tier, client.now_ms, None
    client.tier_history = [*client.tier_history, [client.now_ms, move.from_tier, to_tier]][-MAX_HISTORY:]
    return move


def review_due_ms(plan: Plan, client: ClientState, stands: Standing | None) -> int:
    """When time alone could move the client: at the end of its minimum stay, or on the next day of a sliding
    measure.
    """
    if stands is None or client.tier_before is not None:
        return NEVER_MS  # when an override ends, it wakes the client
    ladder, _, current, target = stands
    if client.corrected and _unknown(ladder, client):
        return day_start_ms(client.day + 1)
    rises = recovers = True  # whether time alone can make the measure better than the tier asks for, or good enough
    if ladder.daily_mean is not None:
        if current is None:
            return NEVER_MS  # there is no balance yet
        # The mean stays between the lowest and the highest daily value of its window.
        values = _daily_values(ladder.daily_mean, client)
        best = _step_for(ladder, max(values), current) if values else current
        if not values or best == current == _step_for(ladder, min(values), current):
            return NEVER_MS
        rises, recovers = best < current, best <= current
    due_ms = NEVER_MS
    if current is not None:
        if target != current:
            may_ms = (client.tier_since_ms or 0) + _stay_ms(ladder, current, target)
            if target > current and ladder.ladder.gives_notice:
                may_ms = client.tier_risk[1] if client.tier_risk is not None else 0
                rises = recovers  # which ends the risk
            due_ms = max(may_ms, client.now_ms + 1)
            if not rises:
                return due_ms  # waits for nothing but its minimum stay
            if target > current and ladder.falling is not None:
                return due_ms  # it can only fall further
        if ladder.falling is not None:
            return min(due_ms, _falls_ms(ladder.falling, ladder.exit[current], client))
    slide_ms = next_slide_ms(plan.layout, client, ladder.windows)
    if slide_ms < NEVER_MS:
        due_ms = min(due_ms, slide_ms, day_start_ms(client.day + 1))
    return min(due_ms, _elapsed_ms(ladder, client))


def _falls_ms(falling: tuple[str, int, int], leave: float | None, client: ClientState) -> int:
    """When a count or sum falls below `leave` as the days of its window pass; NEVER_MS if it cannot."""
    if leave is None or leave <= 0:
        return NEVER_MS
    topic, column, window = falling
    activity = client.activities[topic]
    kept, row, day = activity.today[column], len(activity.days), client.day
    while kept < leave and row and activity.days[row - 1] > client.day - window:
        row -= 1  # from the newest on: with the day that makes it enough, it stops being enough
        day = activity.days[row]
        kept += activity.columns[column][row]
    return day_start_ms(day + window)


def _daily_values(daily_mean: tuple[int, int], client: ClientState) -> list[Any]:
    """The closing values of the days in the mean's window, and of the day before it, from which they carry on."""
    column, days = daily_mean
    balances = client.activities["balances"]
    start = max(bisect_right(balances.days, client.day - days) - 1, 0)
    values = [*balances.columns[column][start:], balances.today[column]]
    return [value for value in values if value is not None]


def _elapsed_ms(ladder: CompiledLadder, client: ClientState) -> int:
    """When a measure moves because it counts days, or reads what time it is."""
    due_ms = NEVER_MS
    for base in ladder.bases:
        base_ms = base(client, None, None)
        if base_ms is not None:
            due_ms = min(due_ms, base_ms + ((client.now_ms - base_ms) // DAY_MS + 1) * DAY_MS)
    if ladder.by_now == "hour":
        due_ms = min(due_ms, (client.now_ms // HOUR_MS + 1) * HOUR_MS)
    elif ladder.by_now == "day":
        due_ms = min(due_ms, day_start_ms(client.day + 1))
    return due_ms
