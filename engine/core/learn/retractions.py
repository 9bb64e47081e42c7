"""Which actions a correction takes back: those that the corrected event led to, unless they hold for what replaces it.

Enters: actions that were sent, a Correction. Leaves: what a client's state remembers of them; those that are retracted.
Holds: what a cancelled event led to is retracted once, as far back as is remembered: the client's last MAX_CAUSED
actions, of REACH_MS. Only what an event that can be corrected has led to is remembered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.core.client.state import MAX_CAUSED, REACH_MS, ClientState, event_digest
from engine.core.contract.corrections import CORRECTABLE, Correction
from engine.core.contract.message import Because
from engine.core.contract.outbound import Outcome
from engine.core.contract.topics import TOPICS
from engine.core.learn import accounts
from engine.core.learn.corrections import Corrected, kind_corrected
from engine.core.plan.compile import CompiledRule, Plan
from engine.core.rules.occasion import BECOMES, after, on
from engine.core.rules.ruleset import Rule

# places in what is remembered of an action; its id follows from them
EVENT, SENT_MS, SEQUENCE, ORDINAL, RULE, VERSION, KIND = range(7)
Sent = list[Any]


def note(client: ClientState, cause: Because, rule: Rule, ordinal: int) -> None:
    """An action was sent, and what it names as its cause may be corrected."""
    kind = cause.type
    if cause.event_id is None or (kind not in CORRECTABLE and kind in TOPICS):
        return
    digest = event_digest(kind, cause.event_id, cause.time_ms)
    sent = [digest, client.now_ms, client.sequence, ordinal, rule.id, rule.version, rule.kind]
    client.caused = [*client.caused, sent][-MAX_CAUSED:]


def is_beyond(client: ClientState, correction: Correction) -> bool:
    """Whether the event is older than what is remembered: it may have led to actions that nobody knows of."""
    time_ms = correction.original.time
    full = len(client.caused) == MAX_CAUSED and time_ms <= client.caused[0][SENT_MS]
    return bool(full or time_ms < client.now_ms - REACH_MS)


def holding(plan: Plan, client: ClientState, kind: str, event: Any) -> frozenset[str]:
    """The rules that hold now with this event."""
    if kind == accounts.BALANCES and event.account is not None:
        event = accounts.as_counted(client, event)  # as one of the whole client

    def match(trigger: Any) -> set[str]:
        rules = plan.compiled[trigger]
        return {rules[index].rule.id for index in plan.match[trigger](client, event, None)}

    found = match(on(kind))
    if plan.timed.becomes:
        found |= match(BECOMES)
    if (steps := plan.timed.steps.get(kind)) is not None:
        then = {steps.then_rules[index] for index in steps.then(client, event, None)}
        found |= then & match(after(kind))
    return frozenset(found)


def before(plan: Plan, client: ClientState, correction: Correction) -> frozenset[str]:
    """What has to be asked before the correction: the rules that hold with the event as it was sent."""
    kind, original = kind_corrected(correction), correction.original
    asked = client.waiting or _led_to(client, kind, original)
    return holding(plan, client, kind, original) if asked else frozenset()


def standing(plan: Plan, client: ClientState, found: Corrected, held: frozenset[str]) -> Callable[[str], bool]:
    """After the correction: whether what the event led a rule to stands."""
    if (new := found.instead) is None:
        return lambda rule_id: False
    holds = holding(plan, client, found.kind, new)
    rules = {compiled.rule.id: compiled for compiled in plan.compiled[on(found.kind)]}
    return lambda rule_id: _stands(rule_id, held, holds, rules, client, new)


def retract(
    plan: Plan, client: ClientState, correction: Correction, found: Corrected, stands: Callable[[str], bool]
) -> list[Sent]:
    """The actions that are retracted. Their rules may act again: what was retracted counts for no cooldown."""
    sent = _led_to(client, found.kind, correction.original)
    if not sent:
        return []
    gone = [of for of in sent if not stands(_rule_of(plan, of))]
    if (new := found.instead) is not None:
        digest = event_digest(found.kind, new.event_id, new.time)
        client.caused = [[digest, *of[1:]] if of in sent and of not in gone else of for of in client.caused]
    client.caused = [of for of in client.caused if of not in gone]
    for of in gone:
        _forget(client, _rule_of(plan, of), of)
    return gone


def _led_to(client: ClientState, kind: str, event: Any) -> list[Sent]:
    if not client.caused:
        return []
    digest = event_digest(kind, event.event_id, event.time)
    return [of for of in client.caused if of[EVENT] == digest]


def _rule_of(plan: Plan, sent: Sent) -> str:
    """Its rule's id by now."""
    rule_id: str = sent[RULE]
    return plan.layout.renamed.get(rule_id, rule_id)


def _stands(
    rule_id: str,
    held: frozenset[str],
    holds: frozenset[str],
    rules: dict[str, CompiledRule],
    client: ClientState,
    new: Any,
) -> bool:
    """Whether an action stands though its event is another now. Where its rule does not hold with the event of before
    any longer either, time has passed, and only what the rule asks of the event itself counts.
    """
    if rule_id in holds:
        return True
    if rule_id in held:
        return False
    own = rules[rule_id].own if rule_id in rules else None
    return own is None or bool(own(client, new, None))


def _forget(client: ClientState, rule_id: str, sent: Sent) -> None:
    if client.acted.get(rule_id) == sent[SENT_MS]:
        del client.acted[rule_id]
    if (entry := client.held.get(rule_id)) is not None and entry[1] == sent[SENT_MS]:
        client.held = client.held | {rule_id: [entry[0], 0]}
    channel = next((of[3] for of in client.recent if of[:2] == [sent[SENT_MS], rule_id]), "")
    client.list_outcome([client.now_ms, rule_id, sent[KIND], channel, Outcome.RETRACTED.value, 1])
