"""The month's decision as an engineer writes it by hand: what every peer runs, whatever carries events and states.

Enters: the bytes of a trade, what is known of its client. Leaves: the changed client, the bytes of actions.
Holds: it needs pydantic and nothing of Engage. A client is plain lists and dicts, so that each framework stores it in
its own way. Trades of a client come in the order of their times, as the job has them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from pydantic import BaseModel

DAY_MS: Final = 86_400_000
FIRM_OFFSET_MS: Final = 8 * 3_600_000  # the firm's days are those of UTC+8
WINDOW_DAYS: Final = 7
COOLDOWN_MS: Final = DAY_MS
TIERS: Final = (("A", 4_000_000), ("B", 800_000), ("C", 0))  # best first; in CNY of turnover in seven days
RULES: Final = 100


class Rule(NamedTuple):
    """Money is in CNY."""

    id: str
    tier: str
    amount: int
    trades: int
    turnover: int


class Trade(BaseModel):
    """What the rules ask of a trade."""

    event_id: str
    client_id: str
    time: int
    amount_fen: int


Client = dict[str, Any]  # days: [[day, trades, fen], ...], at most seven; acted: rule -> time of its last action
Condition = Callable[[int, int, int], bool]
LEAST: Final = {"A": 230_000, "B": 250_000, "C": 260_000}  # of a trade that the first rule of a tier regards
STEP: Final = 1.08  # from one rule's amount to the next one's; so, one action in twenty trades


def rules() -> Iterator[Rule]:
    """A third of them for each tier. They ask for more and more of a trade, and for this and that of the week."""
    for index in range(RULES):
        tier, enter = TIERS[index % len(TIERS)]
        step = index // len(TIERS)
        trades, turnover = 1 + step % 4 * (4 if tier == "A" else 2), enter + step % 5 * (enter // 8 or 60_000)
        yield Rule(f"{tier.lower()}-{step}", tier, int(LEAST[tier] * STEP**step), trades, turnover)


def blank() -> Client:
    return {"days": [], "acted": {}}


def read(value: bytes) -> Trade:
    return Trade.model_validate_json(value)


class Decider:
    """The rules by tier, the least amount first, so that a small trade meets few of them."""

    def __init__(self) -> None:
        self._by_tier: dict[str, list[tuple[int, str, Condition]]] = {tier: [] for tier, _ in TIERS}
        for rule in sorted(rules(), key=lambda rule: rule.amount):
            self._by_tier[rule.tier].append((rule.amount * 100, rule.id, _condition(rule)))

    def decide(self, client: Client, trade: Trade) -> list[bytes]:
        """Count the trade, and act on it."""
        trades, turnover = _count(client["days"], trade)
        tier = next(tier for tier, enter in TIERS if turnover >= enter * 100)
        acted, actions = client["acted"], []
        for least, rule_id, holds in self._by_tier[tier]:
            if trade.amount_fen < least:
                break
            if holds(trade.amount_fen, trades, turnover):
                last = acted.get(rule_id)
                if last is None or trade.time >= last + COOLDOWN_MS:
                    acted[rule_id] = trade.time
                    actions.append(_action(rule_id, tier, trade, trades, turnover))
        return actions


def _condition(rule: Rule) -> Condition:
    least, most_rare, least_turnover = rule.amount * 100, rule.trades, rule.turnover * 100
    return lambda amount, trades, turnover: amount >= least and trades >= most_rare and turnover >= least_turnover


def _count(days: list[list[int]], trade: Trade) -> tuple[int, int]:
    """Add the trade to its day; trades and fen of seven days."""
    day = (trade.time + FIRM_OFFSET_MS) // DAY_MS
    if days and days[-1][0] == day:
        days[-1][1] += 1
        days[-1][2] += trade.amount_fen
    else:
        days.append([day, 1, trade.amount_fen])
        while days[0][0] <= day - WINDOW_DAYS:
            del days[0]
    trades = turnover = 0
    for _, number, fen in days:
        trades += number
        turnover += fen
    return trades, turnover


def _action(rule_id: str, tier: str, trade: Trade, trades: int, turnover: int) -> bytes:
    action = {
        "client_id": trade.client_id,
        "rule_id": rule_id,
        "tier": tier,
        "time": trade.time,
        "cause": {"type": "trades", "event_id": trade.event_id, "time": trade.time},
        "parameters": {"amount_fen": trade.amount_fen, "trades_7d": trades, "turnover_fen_7d": turnover},
    }
    return json.dumps(action, separators=(",", ":")).encode()
