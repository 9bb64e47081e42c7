"""What a client remembers of verdicts: for cooldowns and caps, and the list of its last outcomes.

Enters: a plan, a client, a match and its verdict. Leaves: the client, changed; whether the verdict is published.
Holds: the same refusal again, on the same day or within the same cooldown, is counted and not published; the client's
next decision that is published says how many there were. Nothing but the client's own past decides that. What would
have been sent but for a holdout is published each time, as what is sent.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from engine.core.client import contacts
from engine.core.client.state import ClientState
from engine.core.contract.outbound import Outcome
from engine.core.firm_time import day_of
from engine.core.plan.compile import Plan
from engine.core.policy.gates import Send, Verdict
from engine.core.policy.match import Match, note_text

# places in an outcome; the last is there only if it is more than 0
AT_MS, RULE, KIND, CHANNEL, OUTCOME, TIMES, COUNTED = range(7)


class Folded(NamedTuple):
    """Verdicts that were counted since the last decision that was published."""

    rule: str
    outcome: str
    times: int


def record(plan: Plan, client: ClientState, match: Match, verdict: Verdict) -> list[Folded] | None:
    """Remember the verdict; what is to be said of others beside it, or None if it is not published."""
    rule, reason = match.compiled.rule, verdict.reason
    if isinstance(verdict, Send) or reason is Outcome.HOLDOUT:  # which is as often as it would be sent
        acted = client.acted = client.acted or {}
        acted[rule.id] = client.now_ms
        if isinstance(verdict, Send) and rule.audience == "client" and plan.layout.contacts_ms:
            kept = contacts.remembered(client.contacts, client.now_ms - plan.layout.contacts_ms)
            client.contacts = contacts.noted(kept, rule.contact(verdict.channel), client.now_ms)
    if match.compiled.keeps_text and isinstance(verdict, Send):
        note_text(client, match)
    policy = plan.rule_set.policy
    before = None if isinstance(verdict, Send) else _like(client, rule.id, reason)
    again = before is not None and match.held is None and _is_same(client, before)
    published = policy.publishes(reason, waited=match.held is not None)
    counted = _counted(before) + (again and published)
    folded = None
    if published and not again:
        folded, counted = told(client), 0
    times = 1
    if before is not None:  # the same outcome again is counted, not listed again
        times += before[TIMES]
        client.recent.remove(before)
    entry = [client.now_ms, rule.id, rule.kind, verdict.channel, reason.value, times]
    client.list_outcome([*entry, counted] if counted else entry)
    return folded


def end(plan: Plan, client: ClientState, rule_id: str, kind: str, outcome: Outcome) -> list[Folded] | None:
    """Remember that what was held ended without being judged, as `record` does."""
    folded = told(client) if plan.rule_set.policy.publishes(outcome, waited=True) else None
    client.list_outcome([client.now_ms, rule_id, kind, "", outcome.value, 1])
    return folded


def told(client: ClientState) -> list[Folded]:
    """What was counted, which is published now."""
    folded = []
    for entry in client.recent:
        if counted := _counted(entry):
            folded.append(Folded(entry[RULE], entry[OUTCOME], counted))
            del entry[COUNTED:]
    return folded


def _like(client: ClientState, rule_id: str, reason: Outcome) -> list[Any] | None:
    return next((entry for entry in client.recent if entry[RULE] == rule_id and entry[OUTCOME] == reason), None)


def _is_same(client: ClientState, before: list[Any]) -> bool:
    """Whether a refusal says nothing new after the one before."""
    if before[OUTCOME] == Outcome.COOLDOWN:
        return bool(before[AT_MS] >= client.acted[before[RULE]])
    return before[OUTCOME] not in (Outcome.HELD, Outcome.HOLDOUT) and day_of(before[AT_MS]) == client.day


def _counted(entry: list[Any] | None) -> int:
    return entry[COUNTED] if entry is not None and len(entry) > COUNTED else 0
