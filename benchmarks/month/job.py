"""The month's job: trades of thirty days by few busy and many quiet clients, and a hundred rules on the week behind.

Enters: numbers of clients and trades. Leaves: records in the order they happened, and rule files.
Holds: everything but the date follows from a fixed seed; the month ends with yesterday. A trade is some 250 bytes. The
rules are those that the peers run, see benchmarks/peers/logic.py.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from benchmarks.day.job import MEDIAN_AMOUNT_CNY, POLICY, SEED, SPREAD, Record
from benchmarks.peers.logic import TIERS, Rule, rules
from engine.core.firm_time import DAY_MS, HOUR_MS, day_of, day_start_ms
from engine.demo.population import CHANNELS, SECURITIES, pick

DAYS: Final = 30
SYMBOLS: Final = [security for products in SECURITIES.values() for security in products]
STAY: Final = ("  promote_after: 0d", "  demote_after: 0d")
FEATURES: Final = """\
features:
  trades_7d: {source: trades, aggregate: count, window: 7d, description: trades in a week}
  turnover_cny_7d: {source: trades, aggregate: sum, field: amount_cny, window: 7d, description: turnover in a week}
"""


class Month:
    """The same seed gives the same clients and trades."""

    def __init__(self, clients: int) -> None:
        self._random = random.Random(SEED)
        self.begin_ms = day_start_ms(day_of(int(time.time() * 1000)) - DAYS)
        self._clients = range(clients)
        self._weights = list(itertools.accumulate((index + 10) ** -0.9 for index in range(clients)))

    def profiles(self) -> Iterator[Record]:
        """Of each client, from the hour before the month."""
        for index in self._clients:
            time_ms = self.begin_ms - HOUR_MS + index
            value = f'{{"event_id":"P{index}","client_id":"{name_of(index)}","time":{time_ms},"type":"individual"}}'
            yield Record("profiles", name_of(index).encode(), value.encode(), time_ms)

    def trades(self, number: int) -> Iterator[Record]:
        for index in range(number):
            yield self.trade(f"T{index}", self.begin_ms + index * DAYS * DAY_MS // number)

    def trade(self, event_id: str, time_ms: int) -> Record:
        uniform = self._random.random
        client = self._random.choices(self._clients, cum_weights=self._weights)[0]
        symbol, product, price_fen = SYMBOLS[int(uniform() * len(SYMBOLS))]
        amount_fen = int(100 * MEDIAN_AMOUNT_CNY * math.exp(SPREAD * self._random.gauss(0, 1)))
        client_id = name_of(client)
        value = {
            "event_id": event_id,
            "client_id": client_id,
            "time": time_ms,
            "symbol": symbol,
            "product": product,
            "side": "buy" if uniform() < 0.55 else "sell",
            "quantity": max(amount_fen // price_fen, 1),
            "price_cny": f"{price_fen // 100}.{price_fen % 100:02d}",
            "amount_fen": amount_fen,
            "channel": pick(uniform, CHANNELS),
            "account": f"{client_id}-01",  # fields that no rule asks for come along, as they do everywhere
            "order_id": f"{event_id}-{symbol}",
        }
        return Record("trades", client_id.encode(), json.dumps(value, separators=(",", ":")).encode(), time_ms)


def name_of(client: int) -> str:
    return f"C{client:06d}"


def _rule_file(given: Iterable[Rule]) -> str:
    lines = ["rules:"]
    for rule in given:
        when = f'client.tier == "{rule.tier}" and trade.amount_cny >= {rule.amount}'
        lines += [
            f"  - id: {rule.id}",
            f"    title: {rule.id}",
            "    owner: trading",
            "    on: trades",
            f"    when: {when} and trades_7d >= {rule.trades} and turnover_cny_7d >= {rule.turnover}",
            "    kind: alert",
            "    audience: team",
            "    priority: 50",
            "    cooldown: 1d",
            "    expires: 1d",
            "    template: month",
            "    parameters: {amount_cny: trade.amount_cny, trades: trades_7d, turnover: turnover_cny_7d}",
            "    description: One of the benchmark's rules.",
        ]
    return "\n".join(lines) + "\n"


def write_rules(directory: Path, given: Iterable[Rule] | None = None) -> Path:
    """A rules directory: tiers by the turnover of a week, and the rules, those of the peers unless others are given."""
    directory.mkdir(parents=True, exist_ok=True)
    steps = [f"    - {{tier: {tier}, enter: {least}, exit: {least}}}" for tier, least in TIERS[:-1]]
    ladder = ["individual:", "  measure: turnover_cny_7d", *STAY, "  tiers:", *steps, f"    - {{tier: {TIERS[-1][0]}}}"]
    (directory / "policy.yaml").write_text(POLICY)
    (directory / "features.yaml").write_text(FEATURES)
    (directory / "tiers.yaml").write_text("\n".join(ladder) + "\n")
    (directory / "trades.yaml").write_text(_rule_file(given or rules()))
    return directory
