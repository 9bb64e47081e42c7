"""Looking at clients: one client's record on one screen, and the hash of all states.

Enters: a Redis and a client's id. Leaves: plain values, or text for a terminal. Holds: reads only.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from engine.core.client import accounts, overrides
from engine.core.client.consents import CHANNELS, PURPOSES, UNKNOWN, Consent, consent, in_words, of_purposes
from engine.core.client.items import (
    ABOUT,
    BEGAN_MS,
    ENDED,
    ENTERED_MS,
    ITEM_STATES,
    JOURNEY,
    KEY,
    KIND,
    SINCE_MS,
    STANDS,
    STATE,
)
from engine.core.client.positions import COST, PRODUCT, QUANTITY, RISK, TIME_MS, VALUE
from engine.core.client.record import PORTRAIT_FIELDS, PUBLIC_FIELDS
from engine.core.client.score import ScorePoints, score_points
from engine.core.client.sections import last_events, unpack
from engine.core.client.state import ClientState
from engine.core.contract.actions import ACTIONS
from engine.core.contract.fields import units
from engine.core.contract.message import cny, rfc3339
from engine.core.contract.profiles import ALL
from engine.core.contract.topics import TOPICS, sources
from engine.core.decide.journeys import in_order
from engine.core.firm_time import NEVER_MS
from engine.core.plan.compile import compile_rule_set
from engine.core.policy.holding import EXPIRES_MS, RELEASE_MS, RULE, WHY
from engine.core.policy.holding import SINCE_MS as SINCE
from engine.core.rules.policy import ContactPolicy
from engine.core.rules.ruleset import RuleSet, Tiers
from engine.runtime.errors import Refused
from engine.runtime.partitioning import partitioner
from engine.runtime.protocol.ledger import Log
from engine.runtime.protocol.position import Position
from engine.runtime.protocol.recovery import refuse_loading
from engine.runtime.protocol.writes import STATE_FIELD
from engine.runtime.redis.errors import redis_errors
from engine.runtime.redis.keys import client_key, due_key
from engine.runtime.redis.pins import pinned_partitions
from engine.runtime.redis.store import RedisStore

if TYPE_CHECKING:
    from engine.runtime.clients import AnyRedis

# what is shown, and what a snapshot keeps, needs no feature
NO_RULES = compile_rule_set(RuleSet("", (), (), Tiers({}, (), None), ContactPolicy(), ()))


async def read_client(redis: AnyRedis, app_id: str, client_id: str) -> dict[str, Any] | None:
    """The public record with tier history and last actions; None for an unknown client. Times are RFC 3339, money is
    CNY. Raises Refused for a client whose state is gone.
    """
    partition = partitioner(await pinned_partitions(redis, app_id))(client_id.encode())
    key = client_key(app_id, partition, client_id)
    with redis_errors():
        found = cast(dict[bytes, bytes], await redis.hgetall(key))
    if STATE_FIELD.encode() not in found:
        await refuse_gone(redis, app_id, partition, client_id)
        return None
    packed = found[STATE_FIELD.encode()]
    client = unpack(NO_RULES.layout, packed)
    public: dict[str, Any] = {
        name: found.get(name.encode(), b"").decode() or None for name in (*PUBLIC_FIELDS, *PORTRAIT_FIELDS)
    }
    public["portrait"] = json.loads(public["portrait"] or "{}")
    private = _private(client, last_events(packed))
    return {"client_id": client_id, **public, **private, "redis_key": key, "partition": partition}


def _private(client: ClientState, declared: Mapping[str, int]) -> dict[str, Any]:
    """`declared` says when the last event of each declared type came."""
    last = {**{name: client.activities[name].last_ms for name in sources()}, **declared}
    return {
        "age_band": client.age_band,
        "region": client.region,
        "risk_level": client.risk_level,
        "consents": list(client.consents),
        "consents_by_purpose": {
            purpose: {channel: _consent(consent(client, channel, purpose)) for channel in CHANNELS}
            for purpose in (PURPOSES if of_purposes(client) else ())
        },
        "consents_said": None if (said := client.said_ms.get("consents")) is None else rfc3339(said),
        "consents_source": client.consent_sources.get(ALL),
        "opted_out": {channel: rfc3339(moment) for channel, moment in sorted(client.opted_out.items())},
        "assets_peak_cny": None if client.assets_peak_fen is None else cny(client.assets_peak_fen),
        "score": [points.as_json() for points in score_points(client.score_parts)],
        "events": client.sequence,
        "known_since": rfc3339(client.since_ms),
        "last_event": {name: None if moment is None else rfc3339(moment) for name, moment in last.items()},
        "next_look": None if client.due_ms >= NEVER_MS else rfc3339(client.due_ms),
        "late_events": [
            {"topic": topic, "time": rfc3339(at), "came_at": rfc3339(came)} for topic, at, came in reversed(client.late)
        ],
        "unknown": sorted(name for name, day in client.unknown_until.items() if day >= client.day),
        "items": [
            {
                "kind": item[KIND],
                "id": item[KEY],
                "about": item[ABOUT],
                "state": ITEM_STATES[item[STATE]],
                "opened_at": rfc3339(item[SINCE_MS]) if item[SINCE_MS] else None,
            }
            for item in client.items
        ],
        "journeys": [
            {
                "journey": entry[JOURNEY],
                "step": None if entry[ENDED] else entry[STANDS],
                "since": rfc3339(entry[ENTERED_MS]),
                "began_at": rfc3339(entry[BEGAN_MS]),
                "ended": entry[ENDED] or None,
            }
            for entry in in_order(client.journeys)
        ],
        "held": [
            {
                "rule": held[RULE],
                "why": held[WHY],
                "since": rfc3339(held[SINCE]),
                "until": rfc3339(held[RELEASE_MS]),
                "expires": rfc3339(held[EXPIRES_MS]),
            }
            for held in client.waiting
        ],
        "positions": [
            {
                "symbol": symbol,
                "product": told[PRODUCT],
                "risk_class": told[RISK],
                "quantity": units(told[QUANTITY]),
                "value_cny": None if told[VALUE] is None else cny(told[VALUE]),
                "cost_cny": None if told[COST] is None else cny(told[COST]),
                "time": rfc3339(told[TIME_MS]),
            }
            for symbol, told in client.positions.items()
            if told[QUANTITY] != 0
        ],
        "positions_dropped": client.positions_dropped,
        "accounts": accounts.as_json(client.accounts),
        "accounts_dropped": client.accounts_dropped,
        "overrides": [
            {
                "kind": entry.kind,
                "rule": entry.rule_id,
                "tier": entry.tier,
                "by": entry.by,
                "reason": entry.reason,
                "time": rfc3339(entry.said_ms),
                "from": rfc3339(entry.from_ms),
                "until": None if entry.until_ms is None else rfc3339(entry.until_ms),
                "withdrawn": entry.withdrawn,
                "said": overrides.sentence(entry, client.now_ms, rfc3339),
            }
            for entry in overrides.shown(client.overrides)
        ],
        "tier_at_risk": client.tier_risk
        and {
            "since": rfc3339(client.tier_risk[0]),
            "falls_at": rfc3339(client.tier_risk[1]),
            "falls_to": client.tier_risk[2],
        },
        "tier_history": [
            {"time": rfc3339(at), "from": old, "to": new} for at, old, new in reversed(client.tier_history)
        ],
        "last_actions": [
            {"time": rfc3339(at), "rule": rule, "kind": kind, "channel": channel, "outcome": outcome, "times": times}
            for at, rule, kind, channel, outcome, times, *_ in reversed(client.recent)
        ],
    }


def _consent(found: Consent) -> dict[str, Any]:
    time = None if found.time_ms is None else rfc3339(found.time_ms)
    return {"status": found.status, "time": time, "source": found.source, "said": in_words(found, rfc3339)}


def on_one_screen(record: dict[str, Any]) -> str:
    """The record as about thirty lines of text."""
    lines = [f"client {record['client_id']}", ""]
    shown = (
        *("tier", "tier_since", "client_type", "segment", "value_score", "advisor", "assets_cny", "assets_peak_cny"),
        *("age_band", "region", "risk_level", "events", "known_since", "updated_at", "next_look"),
    )
    missing = [name for name in ("age_band", "region", "risk_level") if record[name] is None]
    lines += [f"  {name:<16} {'-' if record[name] is None else record[name]}" for name in shown if name not in missing]
    lines += [f"  {'not known':<16} {', '.join(missing)}"] if missing else []
    if risk := record["tier_at_risk"]:
        lines.insert(4, f"    at risk since {risk['since']}: falls to {risk['falls_to']} at {risk['falls_at']}")
    at = next(number for number, line in enumerate(lines) if line.startswith("  value_score")) + 1
    lines[at:at] = [f"    {_points(part)}" for part in record.get("score", ())]
    if record.get("stage") is not None:
        lines.append(f"  {'stage':<16} {record['stage']}, since {record['stage_since']}")
    if record.get("portrait"):
        said = "; ".join(f"{name} {value}" for name, value in record["portrait"].items())
        lines.append(f"  {'portrait':<16} {said}")
    since = f"; said at {record['consents_said']}" if record["consents_said"] else ""
    source = f", by {record['consents_source']}" if record["consents_source"] else ""
    lines.append(f"  {'consents':<16} {', '.join(record['consents']) or '-'}{since}{source}")
    for purpose, channels in record["consents_by_purpose"].items():
        told = (f"{channel} {one['said']}" for channel, one in channels.items() if one["status"] != UNKNOWN)
        lines.append(f"    {purpose:<14} {'; '.join(told)}")
    lines += [f"  {'opted out':<16} {channel}, {moment}" for channel, moment in record["opted_out"].items()]
    singular = {name: kind.singular for name, kind in {**TOPICS, ACTIONS.name: ACTIONS}.items()}
    last = {f"last {singular.get(name, name)}": moment for name, moment in record["last_event"].items()}
    lines += [f"  {name:<16} {moment}" for name, moment in last.items() if moment is not None]
    if record["late_events"]:  # older than what the client had been through: the path that was taken may differ
        lines += ["", "events that came late, newest first"]
        lines += [
            f"  {e['time']}  {e['topic']}, when the client stood at {e['came_at']}" for e in record["late_events"]
        ]
    if record["unknown"]:
        names = " ".join(record["unknown"])
        lines += [
            "",
            "not known since an event was corrected",
            f"  {names}",
            f"  to know them: engage backfill {names}",
        ]
    if record["items"]:
        lines += ["", "items, the oldest first"]
        lines += [
            f"  {i['opened_at'] or '-':<24}  {i['state']:<8} {i['kind']:<10} {i['id']}  {i['about'] or ''}".rstrip()
            for i in record["items"]
        ]
    if record["journeys"]:
        lines += ["", "journeys, those that go on first", *(f"  {_journey(one)}" for one in record["journeys"])]
    if record["held"]:
        lines += ["", "held, to be decided again; of a rule that is paused when it is resumed"]
        lines += [
            f"  {h['since']}  {h['rule']}: {h['why'].replace('_', ' ')}, until {h['until']}" for h in record["held"]
        ]
    if record["positions"]:
        dropped = f" ({record['positions_dropped']} more had no room)" if record["positions_dropped"] else ""
        lines += ["", f"positions{dropped}"]
        lines += [
            f"  {p['time']}  {p['symbol']:<12} {p['product']:<10} {p['risk_class'] or '-':<3} "
            f"{'not known' if p['quantity'] is None else p['quantity']}, "
            f"value {p['value_cny'] or '-'}, cost {p['cost_cny'] or '-'}"
            for p in record["positions"]
        ]
    if record["accounts"]:
        dropped = f" ({record['accounts_dropped']} more had no room)" if record["accounts_dropped"] else ""
        lines += ["", f"accounts{dropped}"]
        lines += [
            f"  {a['time']}  {a['account']:<12} {a['assets_cny']}, cash {a['cash_cny'] or '-'}"
            + (f", ratio {a['margin_ratio']}" if a["margin_ratio"] is not None else "")
            for a in record["accounts"]
        ]
    if record["overrides"]:
        lines += ["", "what staff decided, the latest first", *(f"  {o['said']}" for o in record["overrides"])]
    lines += ["", "tier history, newest first"]
    lines += [f"  {h['time']}  {h['from'] or '-'} -> {h['to']}" for h in record["tier_history"]] or ["  none"]
    lines += ["", "last actions, newest first"]
    lines += [
        f"  {a['time']}  {a['outcome']:<10} {a['kind']:<10} {a['channel']:<10} {a['rule']}"
        + (f"  ({a['times']} times)" if a["times"] > 1 else "")
        for a in record["last_actions"]
        if a["kind"] != "journey"  # to begin one is no action: it is above
    ] or ["  none"]
    return "\n".join(lines)


def _journey(one: dict[str, Any]) -> str:
    """`waits_for` and `until` are there if somebody asked the rules."""
    began = f"{one['began_at']}  {one['journey']}:"
    if one["ended"]:
        return f"{began} ended at {one['since']}, {one['ended']}"
    awaited = f", waits for {one['waits_for']}" if one.get("waits_for") else ""
    return f"{began} at {one['step']} since {one['since']}{awaited}" + (
        f", until {one['until']}" if one.get("until") else ""
    )


def _points(part: dict[str, Any]) -> ScorePoints:
    return ScorePoints(part["part"], part["weight"], part["value"], part.get("otherwise"))


async def all_states(
    redis: AnyRedis, app_id: str, moved: Callable[[int, int], None] = lambda done, of: None
) -> AsyncIterator[tuple[str, bytes]]:
    """Every client's id and packed state. `moved` hears of the partitions that are read."""
    partitions = await pinned_partitions(redis, app_id)
    for partition in range(partitions):
        async for pair in packed_states(redis, app_id, partition):
            yield pair
        moved(partition + 1, partitions)


async def packed_states(redis: AnyRedis, app_id: str, partition: int) -> AsyncIterator[tuple[str, bytes]]:
    """Every client's id and packed state of one partition, at least once, each as of some moment while this runs.

    The due times name them all; the keys of all partitions would be gone through for each partition anew. Raises
    Refused when they do not: a snapshot without them would make the loss last.
    """
    store, ids = RedisStore(redis, app_id, partition), []
    with redis_errors():
        async for client_id, _ in redis.zscan_iter(due_key(app_id, partition), count=1000):
            ids.append(client_id.decode())
            if len(ids) == 500:
                for pair in await _states(store, partition, ids):
                    yield pair
                ids = []
    for pair in await _states(store, partition, ids):
        yield pair
    looked = await store.look(0, 1)
    written = Position.read(looked.position).states
    if looked.known != written:
        raise Refused(_gone(partition, f"knows {looked.known} clients, {written} were written"))


async def _states(store: RedisStore, partition: int, ids: list[str]) -> list[tuple[str, bytes]]:
    found = []
    for client_id, state in zip(ids, (await store.load(ids)).states, strict=True):
        if state is None:
            raise Refused(_gone(partition, f"has lost the state of client {client_id}"))
        found.append((client_id, state))
    return found


async def refuse_gone(redis: AnyRedis, app_id: str, partition: int, client_id: str) -> None:
    """Raises Refused when a client without a state has a due time: it was written, and is no unknown client."""
    with redis_errors():
        due = await redis.zscore(due_key(app_id, partition), client_id)
    if due is not None:
        raise Refused(_gone(partition, f"has lost the state of client {client_id}"))


def _gone(partition: int, what: str) -> str:
    return (
        f"partition {partition}: Redis {what}: keys were evicted or deleted. A running worker writes them again from "
        "the ledger within minutes, or says why it cannot; then run this again"
    )


async def refuse_any_loading(redis: AnyRedis, app_id: str, partitions: int, log_of: Callable[[int], Log]) -> None:
    """Raises Refused while a load has not come to its end: in a partition that it has not reached, too."""
    for number in range(partitions):
        await refuse_loading(number, log_of(number), Position.read(await RedisStore(redis, app_id, number).position()))
