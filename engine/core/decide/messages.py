"""Outbound messages: decisions as the bytes that are published.

Enters: what was decided, the client's state at that moment. Leaves: Message (topic, key, value, CloudEvents headers
but for ce_dataschema, whose address whoever publishes knows).
Holds: the bytes follow from the client's own events alone: neither partitions, offsets, batches nor a clock are in
them. A record is a dict in the form that its model in outbound.py describes, field by field: to make the model itself
takes several times longer, and tests compare the two.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from typing import Any, Final

from pydantic_core import to_json

from engine.core.client.items import find, is_away, is_of_team, room_of
from engine.core.client.state import ClientState
from engine.core.contract.corrections import CORRECTIONS, Correction
from engine.core.contract.events import DEFAULT_LANGUAGE
from engine.core.contract.message import Because, Message, rfc3339
from engine.core.contract.outbound import (
    CARE,
    DECISIONS,
    LEAVES,
    RETRACTION,
    TIER_CHANGES,
    TOPIC_OF_KIND,
    Outcome,
    Value,
)
from engine.core.language.types import MONEY
from engine.core.learn.care import Step
from engine.core.learn.retractions import KIND, ORDINAL, RULE, SENT_MS, SEQUENCE, VERSION, Sent
from engine.core.plan.compile import Plan
from engine.core.plan.matching import team_of
from engine.core.policy import holding, whom
from engine.core.policy.gates import Hold, Verdict
from engine.core.policy.match import Match, TierMove, parameters_of, published_value, why_of
from engine.core.policy.outcomes import Folded
from engine.core.rules.ruleset import Rule
from engine.core.teams import Headers

SOURCE: Final = "urn:engage"
Record = dict[str, Any]  # in the form of a model of outbound.py
Header = tuple[str, bytes]
_SPECVERSION: Final = ("ce_specversion", b"1.0")
_SOURCE: Final = ("ce_source", SOURCE.encode())
_CONTENT_TYPE: Final = ("content-type", b"application/json")


def because(topic: str, event: Any) -> Because:
    return Because(topic, event.event_id, event.time)


def _id(client_id: str, sequence: int, ordinal: int, *what: str) -> str:
    """Names a decision by its cause: the client's n-th event or timer."""
    text = "\0".join((*what, client_id, str(sequence), str(ordinal)))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _message(topic: str, record: Record, type_: str, schema: str, more: Headers = (), rides: bool = False) -> Message:
    id_, time, key = record["id"].encode(), record["time"].encode(), record["client_id"].encode()
    headers = (_SPECVERSION, ("ce_id", id_), _SOURCE, _type_header(type_), ("ce_time", time), ("ce_subject", key))
    value = to_json(record, inf_nan_mode="null")
    return Message(topic, key, value, (*headers, _CONTENT_TYPE, *more), rides=rides, schema=f"{schema}.json")


@cache
def _type_header(type_: str) -> Header:
    return "ce_type", f"engage.{type_}.v1".encode()


def tier_change_message(client: ClientState, move: TierMove, cause: Because, ordinal: int) -> Message:
    why: dict[str, Value] = {}
    if move.measure_name is not None:
        unit = MONEY if move.money else None
        why = {
            move.measure_name: published_value(move.measure, unit),
            "threshold": published_value(move.threshold, unit),
        }
    if move.since_ms is not None:
        why["since"] = rfc3339(move.since_ms)
    record = {
        "id": _id(client.client_id, client.sequence, ordinal, "tier-change"),
        "client_id": client.client_id,
        "time": rfc3339(client.now_ms),
        "cause": cause.said(),
        "client_type": client.type,
        "from_tier": move.from_tier,
        "to_tier": move.to_tier,
        "reason": move.reason,
        "why": why,
    }
    return _message(TIER_CHANGES, record, "tier-change", TIER_CHANGES)


def whose(
    plan: Plan, rule: Rule, client: ClientState, headers: Headers = (), away: bool = False
) -> tuple[str, str, Headers]:
    """Who acts, which department that is, and its headers; `headers` are those of the rule's owner. `away`: the advisor
    was when room was asked for, and the team has it.
    """
    if rule.audience == "advisor" and (away or client.advisor_id is None):
        return "team", *team_of(plan.pools, client, rule.owner, headers)
    return rule.audience, rule.owner, headers


def team_headers(plan: Plan, rule_id: str, client: ClientState, action: str) -> Headers:
    """Of whom a rule's actions go to now, for what it sent before."""
    compiled = plan.compiled_of(rule_id)
    if compiled is None:
        return ()
    item = find(client.items, compiled.rule.kind, action)
    away = item is not None and is_of_team(item, compiled.rule)
    return whose(plan, compiled.rule, client, compiled.headers, away)[2]


def action_id(client: ClientState, rule: Rule, ordinal: int) -> str:
    return _id(client.client_id, client.sequence, ordinal, rule.id, str(rule.version))


def _instead(plan: Plan, match: Match, client: ClientState, why: dict[str, Value]) -> tuple[str, str, Headers]:
    """Who acts where the client may have no advisor, or the advisor may be away; and in `why`, that it is so."""
    held, away = match.held, False
    if client.advisor_id is None:
        why["client.has_advisor"] = False
    elif held is not None and (away := is_away(room_of(client.rooms, held[holding.MATCH]))):
        why["client.advisor_away"] = True
    return whose(plan, match.compiled.rule, client, match.compiled.headers, away)


def action_message(plan: Plan, match: Match, client: ClientState, channel: str, cause: Because, named: str) -> Message:
    """`named` is its id."""
    compiled, held, rule = match.compiled, match.held, match.compiled.rule
    expires_at = rfc3339(holding.expires_ms(client, match))
    who, why = (rule.audience, rule.owner, compiled.headers), why_of(client, match)
    if rule.audience == "advisor" and (client.rooms or client.advisor_id is None):
        who = _instead(plan, match, client, why)
    record = {
        "id": named, "client_id": client.client_id, "time": rfc3339(client.now_ms), "cause": cause.said(),
        "kind": rule.kind, "rule_id": rule.id, "rule_version": rule.version, "title": rule.title,
        "description": rule.description, "audience": who[0], "channel": channel, "owner": who[1],
        "advisor_id": client.advisor_id, "tier": client.tier, "language": client.language or DEFAULT_LANGUAGE,
        "priority": rule.priority, "template": rule.template, "parameters": parameters_of(client, match), "why": why,
        "expires_at": expires_at, "class": rule.contact_class, "purpose": compiled.contact_class.purpose,
        "campaign": rule.campaign, "tags": rule.tags, "team": rule.owner, "follows": match.follows,
        "arm": "treated" if compiled.holdouts else None,
        "not_before": rfc3339(held[holding.RELEASE_MS]) if held else None,
    }  # fmt: skip
    topic, headers = TOPIC_OF_KIND[rule.kind], who[2]
    if rule.id in plan.timed.listed:
        headers = (*headers, (LEAVES, expires_at.encode()))
    return _message(topic, record, rule.kind, topic, headers)


def care_message(plan: Plan, client: ClientState, step: Step, cause: Because) -> Message:
    """Its headers say what it is, and which action is meant: `ce_type`, `ce_follows`; the team's are beside them."""
    rule, action = step.rule, step.action_id
    audience, owner, _ = whose(plan, rule, client, away=step.of_team)
    record = {
        "id": hashlib.blake2b(f"care\0{action}\0{step.name}".encode(), digest_size=16).hexdigest(),
        "client_id": client.client_id,
        "time": rfc3339(client.now_ms),
        "cause": cause.said(),
        "kind": rule.kind,
        "follows": action,
        "rule_id": rule.id,
        "rule_version": rule.version,
        "title": rule.title,
        "step": step.step,
        "number": step.number,
        "to": step.to or audience,
        "owner": owner,
        "head": next((team.head for team in plan.rule_set.teams if team.name == owner), None),
        "advisor_id": client.advisor_id,
        "priority": rule.priority,
        "class": rule.contact_class,
        "action_time": rfc3339(step.sent_ms),
        "age_s": (client.now_ms - step.sent_ms) // 1000,
        "clock_s": step.ran_ms // 1000,
    }
    more = (("ce_follows", action.encode()), *team_headers(plan, rule.id, client, action))
    return _message(TOPIC_OF_KIND[rule.kind], record, CARE, CARE, more)


def match_name(client: ClientState, match: Match, ordinal: int) -> bytes:
    """Names a match by what led to it: 16 bytes. What waited has the name that it was given first."""
    if match.held is not None:
        named: bytes = match.held[holding.MATCH]
        return named
    rule = match.compiled.rule
    return bytes.fromhex(_id(client.client_id, client.sequence, ordinal, "decision", rule.id, str(rule.version)))


def decision_message(
    client: ClientState,
    match: Match,
    named: bytes,
    verdict: Verdict,
    cause: Because,
    folded: Iterable[Folded],
    action: str | None,
) -> Message:
    """`named` is the match's name, `action` the id of the action that was sent."""
    rule, numbers = match.compiled.rule, dict(verdict.told)
    about: dict[str, Any] = {"kind": rule.kind, "channel": verdict.channel, "class": rule.contact_class}
    if (arm := whom.arm(match.compiled.holdouts, client.client_id)) is not None:
        about["arm"] = arm
    if action is not None:
        about["action_id"] = action
    if isinstance(verdict, Hold):
        about["not_before"] = rfc3339(verdict.until_ms)
        numbers = {"waits_for": verdict.why, **numbers}
    elif verdict.until_ms is not None:
        about["until"] = rfc3339(verdict.until_ms)
    if numbers:
        about["numbers"] = numbers
    first = match.held is None or match.held[holding.WHY] == holding.THEN
    id_ = named.hex() if first else _later_id(client, named)
    return _decision(client, id_, named, (rule.id, rule.version), verdict.reason, cause, about, folded)


def ending_message(client: ClientState, held: list[Any], outcome: Outcome, folded: Iterable[Folded]) -> Message:
    """What was held ended without being judged."""
    rule, named = (held[holding.RULE], held[holding.VERSION]), held[holding.MATCH]
    id_ = _later_id(client, named)
    return _decision(client, id_, named, rule, outcome, holding.cause_of(held), {}, folded)


def _later_id(client: ClientState, named: bytes) -> str:
    """Of another decision about a match that was held."""
    return hashlib.blake2b(named + str(client.sequence).encode(), digest_size=16).hexdigest()


def _decision(
    client: ClientState,
    id_: str,
    named: bytes,
    rule: tuple[str, int],
    outcome: Outcome,
    cause: Because,
    about: dict[str, Any],
    folded: Iterable[Folded],
) -> Message:
    """Without the fields that do not apply."""
    record = {
        "id": id_,
        "client_id": client.client_id,
        "time": rfc3339(client.now_ms),
        "cause": cause.said(),
        "match": named.hex(),
        "rule_id": rule[0],
        "rule_version": rule[1],
        "outcome": outcome.value,
        **about,
    }
    if counted := [{"rule_id": one.rule, "outcome": one.outcome, "times": one.times} for one in folded]:
        record["folded"] = counted
    return _message(DECISIONS, record, "decision", DECISIONS, rides=True)


def retracted_id(client: ClientState, sent: Sent) -> str:
    """The id of an action that was sent before."""
    return _id(client.client_id, sent[SEQUENCE], sent[ORDINAL], sent[RULE], str(sent[VERSION]))


def retraction_message(client: ClientState, sent: Sent, kind: str, correction: Correction, of_team: Headers) -> Message:
    """Its headers say what it is, and which action is meant: `ce_type`, `ce_retracts`; the team's are beside them."""
    action, original = retracted_id(client, sent), correction.original
    record = {
        "id": hashlib.blake2b(f"retraction\0{action}".encode(), digest_size=16).hexdigest(),
        "client_id": client.client_id,
        "time": rfc3339(client.now_ms),
        "cause": because(CORRECTIONS, correction).said(),
        "kind": sent[KIND],
        "action_id": action,
        "rule_id": sent[RULE],
        "rule_version": sent[VERSION],
        "reason": "cancelled" if correction.kind == "cancel" else "replaced",
        "event": because(kind, original).said(),
        "action_time": rfc3339(sent[SENT_MS]),
    }
    more = (("ce_retracts", action.encode()), *of_team)
    return _message(TOPIC_OF_KIND[sent[KIND]], record, RETRACTION, RETRACTION, more)
