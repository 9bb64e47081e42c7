"""What the engine's own actions teach: the columns of features that count them.

Enters: a Plan, the client, an action and what became of it. Leaves: the client, changed.
Holds: actions are counted only while a feature asks for them, so a client of other rules keeps nothing of them.
"""

from __future__ import annotations

from engine.core.activity.totals import SINCE_ADDED, blank_total
from engine.core.client.state import ClientState
from engine.core.contract.actions import ACTIONS, OwnAction
from engine.core.plan.compile import Plan
from engine.core.plan.features import parts_of
from engine.core.rules.ruleset import Rule, Since


def note_action(plan: Plan, client: ClientState, rule: Rule, channel: str, outcome: str) -> None:
    """A rule matched: its action counts at the client's present."""
    if ACTIONS.name in plan.update:
        about = rule.id, rule.kind, rule.audience, channel, outcome, rule.contact_class
        take(plan, client, OwnAction(client.now_ms, *about))


def take(plan: Plan, client: ClientState, action: OwnAction) -> None:
    plan.update[ACTIONS.name](client, action, False)
    client.activities[ACTIONS.name].saw_event(action.time)


def forget(plan: Plan, client: ClientState) -> None:
    """Nothing was sent, whatever was decided. What was counted since an action is not known."""
    client.activities.forget(ACTIONS.name)
    for feature in plan.rule_set.features:
        if isinstance(feature.window, Since) and feature.window.on == ACTIONS.name and feature.source != ACTIONS.name:
            activity, reach = client.activities[feature.source], plan.reaches[feature.name]
            for part, place in zip(parts_of(feature), reach.places, strict=True):
                activity.totals[int(place)] = blank_total(part.aggregate, SINCE_ADDED)
            activity.packed = None
