"""Outbound messages: decisions as the bytes that are published.

Enters: what was decided, the client's state at that moment. Leaves: Message (topic, key, value, CloudEvents headers).
Holds: the bytes follow from the client's own events alone: neither partitions, offsets, batches nor a clock are in
them.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, cast

from engine.core.client.state import ClientState
from engine.core.contract.corrections import CORRECTIONS, Correction
from engine.core.contract.events import DEFAULT_LANGUAGE, ClientType
from engine.core.contract.message import FIRST_MS, LAST_MS, Message, cny, rfc3339
from engine.core.contract.outbound import (
    RETRACTION,
    TOPIC_OF_KIND,
    Action,
    Cause,
    Outbound,
    Retraction,
    TierChange,
    Value,
)
from engine.core.language.types import DURATION, MONEY, TIME
from engine.core.learn.retractions import KIND, ORDINAL, RULE, SENT_MS, SEQUENCE, VERSION, Sent
from engine.core.policy import holding
from engine.core.policy.match import Match, TierMove
from engine.core.rules.ruleset import Rule

SOURCE: Final = "urn:engage"


def _value(value: Any, unit: str | None) -> Value:
    """A value as it is published: money as CNY, a time as RFC 3339, a duration as whole seconds."""
    published: Value = value
    if value is not None and unit == MONEY:
        published = cny(value)
    elif value is not None and unit == TIME:  # one that was calculated can lie beyond what can be written
        published = rfc3339(min(max(round(value), FIRST_MS), LAST_MS))
    elif value is not None and unit == DURATION:
        published = round(value / 1000)
    return published


def _id(client_id: str, sequence: int, ordinal: int, *what: str) -> str:
    """Names a decision by its cause: the client's n-th event or timer."""
    text = "\0".join((*what, client_id, str(sequence), str(ordinal)))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _message(
    topic: str, record: Outbound, type_: str, schema: str | None = None, more: tuple[tuple[str, bytes], ...] = ()
) -> Message:
    return Message(
        topic,
        record.client_id.encode(),
        record.model_dump_json(by_alias=True).encode(),
        (
            ("ce_specversion", b"1.0"),
            ("ce_id", record.id.encode()),
            ("ce_source", SOURCE.encode()),
            ("ce_type", f"engage.{type_}.v1".encode()),
            ("ce_time", record.time.encode()),
            ("ce_subject", record.client_id.encode()),
            ("ce_dataschema", f"https://engage.example/schemas/{schema or topic}.json".encode()),
            ("content-type", b"application/json"),
            *more,
        ),
    )


def tier_change_message(client: ClientState, move: TierMove, cause: Cause, ordinal: int) -> Message:
    why: dict[str, Value] = {}
    if move.measure_name is not None:
        unit = MONEY if move.money else None
        why = {move.measure_name: _value(move.measure, unit), "threshold": _value(move.threshold, unit)}
    if move.since_ms is not None:
        why["since"] = rfc3339(move.since_ms)
    record = TierChange(
        id=_id(client.client_id, client.sequence, ordinal, "tier-change"),
        client_id=client.client_id,
        time=rfc3339(client.now_ms),
        cause=cause,
        client_type=cast(ClientType, client.type),
        from_tier=move.from_tier,
        to_tier=move.to_tier,
        reason=move.reason,
        why=why,
    )
    return _message("tier-changes", record, "tier-change")


def audience_of(rule: Rule, client: ClientState) -> str:
    """Who acts: work for the advisor of a client who has none goes to the team of the rule's owner."""
    return "team" if rule.audience == "advisor" and client.advisor_id is None else rule.audience


def action_id(client: ClientState, rule: Rule, ordinal: int) -> str:
    return _id(client.client_id, client.sequence, ordinal, rule.id, str(rule.version))


def action_message(match: Match, client: ClientState, channel: str, cause: Cause, ordinal: int) -> Message:
    compiled, event, move, _ = match
    rule, audience = compiled.rule, audience_of(compiled.rule, client)
    why = _named(compiled.why_names, compiled.why(client, event, move))
    if audience != rule.audience:
        why["client.has_advisor"] = False
    record = Action(
        id=action_id(client, rule, ordinal),
        client_id=client.client_id,
        time=rfc3339(client.now_ms),
        cause=cause,
        kind=rule.kind,
        rule_id=rule.id,
        rule_version=rule.version,
        title=rule.title,
        description=rule.description,
        audience=audience,
        channel=channel,
        owner=rule.owner,
        advisor_id=client.advisor_id,
        tier=client.tier,
        language=client.language or DEFAULT_LANGUAGE,
        priority=rule.priority,
        template=rule.template,
        parameters=_named(compiled.parameter_names, compiled.parameters(client, event, move)),
        why=why,
        expires_at=rfc3339(holding.expires_ms(client, match)),
        contact_class=rule.contact_class,
        purpose=compiled.contact_class.purpose,
        campaign=rule.campaign,
        tags=rule.tags,
        arm="treated" if compiled.holdouts else None,
    )
    return _message(TOPIC_OF_KIND[rule.kind], record, rule.kind)


def retracted_id(client: ClientState, sent: Sent) -> str:
    """The id of an action that was sent before."""
    return _id(client.client_id, sent[SEQUENCE], sent[ORDINAL], sent[RULE], str(sent[VERSION]))


def retraction_message(client: ClientState, sent: Sent, kind: str, correction: Correction) -> Message:
    """Its headers say what it is, and which action is meant: `ce_type`, `ce_retracts`."""
    action, original = retracted_id(client, sent), correction.original
    record = Retraction(
        id=hashlib.blake2b(f"retraction\0{action}".encode(), digest_size=16).hexdigest(),
        client_id=client.client_id,
        time=rfc3339(client.now_ms),
        cause=Cause(type=CORRECTIONS, event_id=correction.event_id, time=rfc3339(correction.time)),
        kind=sent[KIND],
        action_id=action,
        rule_id=sent[RULE],
        rule_version=sent[VERSION],
        reason="cancelled" if correction.kind == "cancel" else "replaced",
        event=Cause(type=kind, event_id=original.event_id, time=rfc3339(original.time)),
        action_time=rfc3339(sent[SENT_MS]),
    )
    return _message(TOPIC_OF_KIND[sent[KIND]], record, RETRACTION, RETRACTION, (("ce_retracts", action.encode()),))


def _named(names: tuple[tuple[str, str | None], ...], values: tuple[Any, ...]) -> dict[str, Value]:
    return {name: _value(value, unit) for (name, unit), value in zip(names, values, strict=True)}
