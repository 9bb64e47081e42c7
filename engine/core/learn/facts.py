"""What an event teaches about its client: facts, holdings, and the columns of features.

Enters: a Plan, the client, an event. Leaves: the client, changed.
Holds: a fact is that of the latest event that set it, by the events' own times. An absent field sets nothing; null
sets the fact to unknown.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, Final

from engine.core.client import consents, overrides, positions
from engine.core.client.items import Item
from engine.core.client.state import MAX_HOLDINGS, ClientState
from engine.core.contract.events import Balance, Event, Position, Receipt, Trade
from engine.core.contract.fields import micro
from engine.core.contract.profiles import ALL, CONSENTS, Override
from engine.core.firm_time import day_number
from engine.core.learn.items import TAKES
from engine.core.plan.compile import Plan

MAX_LATE: Final = 5
_PURPOSE_OF: Final = {field: purpose for purpose, field in CONSENTS.items()}


def learn(plan: Plan, client: ClientState, topic: str, event: Event, late: bool) -> list[Item]:
    """Learn from an event. `late`: its time lies before the client's present, which stays.

    Returns the steps that open items took by it, where rules ask for them.
    """
    if late:
        client.late = [*client.late, [topic, event.time, client.now_ms]][-MAX_LATE:]
        client.since_ms = min(client.since_ms, event.time)
    facts = plan.facts[topic]
    if facts:
        take_facts(client, event, facts)
    if topic not in plan.update:
        return []
    if topic in LEARNERS:
        LEARNERS[topic](client, event)
    plan.update[topic](client, event, late)
    client.activities[topic].saw_event(event.time)
    return TAKES[topic](plan, client, event) if topic in TAKES else []


def take_facts(client: ClientState, event: Any, facts: tuple[str, ...]) -> None:
    told, time_ms = event.model_fields_set, event.time
    said_ms = client.said_ms
    new = [fact for fact in facts if fact in told and said_ms.get(fact, 0) <= time_ms]
    for fact in new:
        value = getattr(event, fact)
        if fact in _PURPOSE_OF:
            value = consents.told(client, _PURPOSE_OF[fact], value, time_ms, event.consent_source)
        elif fact == "birth_date" and value != client.birth_date:
            client.calendar_ms = 0
        elif fact == "advisor_id" and value != (before := client.advisor_id) and (before or client.advisor_before):
            client.advisor_before, client.advisor_changed_ms = before or client.advisor_before, time_ms
        setattr(client, fact, value)
    client.said_ms = {**said_ms, **dict.fromkeys(new, time_ms)}


def _take_receipt(client: ClientState, receipt: Receipt) -> None:
    if receipt.status == "opted_out":
        consents.opted_out(client, receipt.channel, receipt.purpose or ALL, receipt.time)


def _take_override(client: ClientState, override: Override) -> None:
    client.overrides = overrides.taken(client.overrides, override, client.now_ms)


def _take_peak(client: ClientState, balance: Balance) -> None:
    if client.peak_below_fen is not None:
        if balance.assets_fen < client.peak_below_fen:
            return  # the highest before may have been higher
        client.peak_below_fen = None
    peak_fen = client.assets_peak_fen
    client.assets_peak_fen = balance.assets_fen if peak_fen is None else max(peak_fen, balance.assets_fen)


def _take_holding(client: ClientState, trade: Trade) -> None:
    """Add a holding with a last day; a sale removes the part that is sold."""
    held = client.holdings
    if not held and trade.matures_on is None:
        return
    if trade.side == "sell":
        if not any(entry[1] == trade.symbol for entry in held):
            return
        held = _sold(held, trade)
    elif trade.matures_on is not None:
        day = day_number(dt.date.fromisoformat(trade.matures_on))
        if day >= client.day:
            bought = [day, trade.symbol, trade.amount_fen, micro(trade.quantity), trade.product]
            held = sorted([*held, bought], key=lambda entry: entry[:3])[:MAX_HOLDINGS]
    if held != client.holdings:
        client.holdings, client.calendar_ms = held, 0


def _sold(held: list[list[Any]], trade: Trade) -> list[list[Any]]:
    """What is left after a sale, taken from the nearest maturity first. Without a quantity, all is sold."""
    left, to_sell = [], micro(trade.quantity)
    for day, symbol, amount_fen, quantity, product in held:
        if symbol != trade.symbol or to_sell == 0:
            left.append([day, symbol, amount_fen, quantity, product])
        elif quantity is not None and to_sell is not None:
            kept = max(quantity - to_sell, 0)
            to_sell -= quantity - kept
            if kept:
                left.append([day, symbol, amount_fen * kept // quantity, kept, product])
    return left


def _take_position(client: ClientState, told: Position) -> None:
    client.positions, dropped = positions.taken(client.positions, told)
    if dropped:
        client.positions_dropped += dropped


# by topic: what its events teach beside facts and features
LEARNERS: Final[dict[str, Callable[[ClientState, Any], None]]] = {
    "balances": _take_peak,
    "trades": _take_holding,
    "receipts": _take_receipt,
    "positions": _take_position,
    "overrides": _take_override,
}


def unknown_in(plan: Plan, override: Any) -> str:
    """What an override names that the active rules do not have; it is kept, since they may have it again."""
    if override.rule_id is not None and override.kind == overrides.SNOOZE and override.rule_id not in plan.rule_ids:
        return "unknown_rule"
    if override.tier is not None and override.kind == overrides.TIER and override.tier not in plan.rule_set.tiers.names:
        return "unknown_tier"
    return ""
