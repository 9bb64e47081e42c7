"""What `engage explain` prints: every rule in a line, or one in full.

Enters: an Account of a client. Leaves: lines of text, or plain values.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from engine.core.client import accounts, overrides
from engine.core.client.state import ClientState
from engine.core.contract.message import rfc3339
from engine.core.contract.outbound import Outcome
from engine.core.language.types import MONEY, number
from engine.core.rules.occasion import OnEvents
from engine.core.rules.ruleset import Rule
from engine.insight import rendering as explained
from engine.insight.decisions import change
from engine.insight.portrait import Portrait, portrait_lines
from engine.insight.score import Score, score_lines
from engine.insight.values import ZONE, firm_time, shown
from engine.operations.explain import Account, Seen
from engine.runtime.errors import Refused

_OF_ACCOUNT: Final = {"assets": MONEY, "cash": MONEY, "ratio": "ratio"}


def lines(account: Account, rule_id: str | None, as_json: bool) -> list[str]:
    """Raises Refused if the rule does not exist."""
    if rule_id is not None and all(seen.rule.id != rule_id for seen in account.seen):
        raise Refused(f"no rule {rule_id}; without --rule all are listed")
    if as_json:
        return [json.dumps(_json(account, rule_id), ensure_ascii=False)]
    return list(in_full(account, rule_id) if rule_id else overview(account))


def overview(account: Account) -> Iterator[str]:
    """A line a rule, those that acted first."""
    client = account.client
    yield f"client {client.client_id} at {firm_time(client.now_ms)} ({ZONE}): tier {client.tier or '-'}"
    if client.tier_risk is not None:
        _, falls_ms, falls_to = client.tier_risk
        yield f"at risk: falls to {falls_to} at {firm_time(falls_ms)} unless its measure rises"
    yield from account_lines(client)
    if account.score is not None:
        yield from score_lines(account.score)
    if account.portrait is not None:
        yield from portrait_lines(account.portrait)
    told = list(override_lines(account))
    if told:
        yield ""
        yield "what staff decided, the latest first"
        yield from (f"  {line}" for line in told)
    if account.happened:
        yield ""
        yield "what time alone brings until then"
        yield from (f"  {line}" for line in account.happened)
    for title, rows in _groups(account):
        if rows:
            yield ""
            yield f"with this event: {title}" if account.imagined and rows[0].looked else title
            width = max(len(seen.rule.id) for seen in rows)
            yield from (f"  {seen.rule.id:<{width}}  {_line(seen, account.imagined)}" for seen in rows)


def override_lines(account: Account) -> Iterator[str]:
    """Who decided what, why and until when; and what of it the rules do not know."""
    client, known = account.client, {former for seen in account.seen for former in (seen.rule.id, *seen.rule.was)}
    for entry in overrides.shown(client.overrides):
        problem = ""
        if entry.rule_id is not None and entry.rule_id not in known:
            problem = "; there is no such rule: it stops nothing"
        elif entry.tier is not None and not entry.withdrawn and entry.tier not in account.tiers:
            problem = "; there is no such tier: it moves nobody"
        yield overrides.sentence(entry, client.now_ms, firm_time) + problem


def account_lines(client: ClientState) -> Iterator[str]:
    """What the client has, account by account."""
    if not client.accounts:
        return
    yield f"assets and cash are the sum of {len(client.accounts)} accounts, the ratio is the lowest"
    for name, told in client.accounts.items():
        values = zip(_OF_ACCOUNT.items(), told[accounts.ASSETS : accounts.BEFORE], strict=True)
        said = ", ".join(f"{what} {shown(value, number(unit))}" for (what, unit), value in values if value is not None)
        yield f"  {name}: {said}, at {firm_time(told[accounts.TIME_MS])}"


def _groups(account: Account) -> list[tuple[str, list[Seen]]]:
    looked = [seen for seen in account.seen if seen.looked]
    rest = [seen for seen in account.seen if not seen.looked]
    return [
        ("would fire" if account.imagined else "fired", [seen for seen in looked if seen.outcome is Outcome.SENT]),
        ("stopped by the contact policy", [s for s in looked if s.outcome not in (None, Outcome.SENT)]),
        ("evaluated, did not fire", [seen for seen in looked if seen.outcome is None]),
        ("not evaluated: they wait for time", [seen for seen in rest if _waits(seen.rule)]),
        ("not evaluated: they wait for an event", [seen for seen in rest if not _waits(seen.rule)]),
    ]


def _waits(rule: Rule) -> bool:
    return not isinstance(rule.occasion, OnEvents)


def _line(seen: Seen, imagined: bool) -> str:
    explanation = seen.explanation
    if seen.outcome is Outcome.SENT:
        return f"{'would fire' if imagined else 'fired'} at {firm_time(explanation.now_ms)}"
    if seen.outcome is not None:
        return f"{firm_time(explanation.now_ms)}: {explained.policy(explanation).removeprefix('would stop it: ')}"
    said = explained.in_short(explanation)
    if seen.looked:
        return f"{firm_time(explanation.now_ms)}: {said}"
    if seen.coming is not None:
        moment_ms, outcome = seen.coming
        return (
            f"{'fires' if outcome == 'sent' else f'is stopped ({outcome})'} at {firm_time(moment_ms)} if nothing comes"
        )
    on = ", ".join(map(str, seen.rule.triggers))
    return f"on {on}: {said}" if not _waits(seen.rule) else explanation.standing or said


def in_full(account: Account, rule_id: str) -> Iterator[str]:
    seen = next(seen for seen in account.seen if seen.rule.id == rule_id)
    rule, explanation = seen.rule, seen.explanation
    yield f"{rule.id}: {rule.title}"
    yield f"client {account.client.client_id} at {firm_time(explanation.now_ms)} ({ZONE}), {_occasion(seen)}"
    would = account.imagined
    if seen.outcome is Outcome.SENT:
        yield "it would fire" if would else "it fired"
    elif seen.outcome is not None:
        yield f"it {'would be' if would else 'was'} stopped: {seen.outcome}"
    elif seen.looked and not explanation.term.holds:
        yield f"it {'would not' if would else 'did not'} fire: the condition is false"
    elif seen.looked:
        yield "it would not act then" if would else "it did not act then"
    yield ""
    yield from explained.in_full(explanation)
    if seen.then is not None:
        yield ""
        yield f"at {firm_time(seen.then.now_ms)}, without an event"
        yield from explained.in_full(seen.then)
    if seen.coming is not None:
        moment_ms, outcome = seen.coming
        yield f"if no event comes: {outcome} at {firm_time(moment_ms)}"
    recent = [entry for entry in account.client.recent if entry[1] == rule.id]
    for entry in recent:
        at_ms, _, _, channel, outcome, times, *_ = entry
        said = f"last {outcome}" if tuple(entry) in account.sent else f"would be {outcome}"
        yield f"{said}: {firm_time(at_ms)}, {channel}{f', {times} times' if times > 1 else ''}"
        if needed := change(outcome):
            yield f"  to be sent: {needed}"


def _occasion(seen: Seen) -> str:
    return f"evaluated on {seen.explanation.trigger}" if seen.looked else "as it is then, without an event"


def _json(account: Account, rule_id: str | None) -> dict[str, Any]:
    return {
        "client_id": account.client.client_id,
        "time": rfc3339(account.client.now_ms),
        "imagined": account.imagined,
        "accounts": accounts.as_json(account.client.accounts),
        "score": _score_json(account.score),
        "portrait": _portrait_json(account.portrait),
        "overrides": list(override_lines(account)),
        "rules": [
            {
                **explained.as_json(seen.explanation),
                "looked_at": seen.looked,
                "then": seen.then and explained.as_json(seen.then),
                "outcome": seen.outcome,
                "coming": seen.coming and {"time": rfc3339(seen.coming[0]), "outcome": seen.coming[1]},
            }
            for seen in account.seen
            if rule_id in (None, seen.rule.id)
        ],
    }


def _score_json(score: Score | None) -> dict[str, Any] | None:
    if score is None:
        return None
    parts = [
        {
            **part.points.as_json(),
            "text": part.text,
            "values": explained.values_json(part.values),
        }
        for part in score.parts
    ]
    return {"value": score.value, "parts": parts}


def _portrait_json(portrait: Portrait | None) -> dict[str, Any] | None:
    if portrait is None:
        return None
    since_ms = portrait.stage_since_ms
    return {
        "stage": portrait.stage,
        "stage_since": None if since_ms is None else rfc3339(since_ms),
        "parts": [
            {"name": p.name, "value": p.value, "text": p.text, "values": explained.values_json(p.values)}
            for p in portrait.parts
        ],
    }
