"""The job that every side of the benchmark does: clients, trades of one trading day, a hundred rules on them.

Enters: numbers of clients, trades and rules. Leaves: records in the order they happened, and rule files.
Holds: everything follows from a fixed seed; amounts and habits are those of the simulator's population.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from engine.core.firm_time import DAY_MS, day_of, day_start_ms
from engine.demo.population import CHANNELS, INSTITUTION_CHANNELS, Client, found_client, pick, profile_value

SEED: Final = 20_260
SHIPPED: Final = Path(__file__).parents[2] / "rules"
FEATURES_ONLY: Final = ("events.yaml", "features.yaml", "tiers.yaml")
POLICY: Final = "contact: {daily_cap: 2, urgent_from: 48}\n"
SESSIONS_S: Final = ((9.5 * 3600, 11.5 * 3600), (13 * 3600, 15 * 3600))  # of the exchanges, in the firm's time zone
MEDIAN_AMOUNT_CNY: Final = 13_000
SPREAD: Final = 1.3  # of the logarithm of an amount


@dataclass(frozen=True, slots=True)
class Record:
    topic: str
    key: bytes
    value: bytes
    time_ms: int


class Job:
    """Clients with their habits; the same seed gives the same records."""

    def __init__(self, clients: int) -> None:
        self._random = random.Random(SEED)
        self.day = day_of(int(dt.datetime.now(dt.UTC).timestamp() * 1000)) - 1
        opened_ms = day_start_ms(self.day) - 400 * DAY_MS
        year = dt.datetime.now(dt.UTC).year
        self.clients = [
            found_client(self._random.random, index, clients, opened_ms, self.day - 400, year, True)
            for index in range(clients)
        ]

    def portraits(self) -> Iterator[Record]:
        """A profile and a balance of each client, from the morning before the market opens."""
        morning_ms = day_start_ms(self.day) + 8 * 3_600_000
        for index, client in enumerate(self.clients):
            time_ms = morning_ms + index
            yield _record("profiles", f"P{index}", client.id, time_ms, profile_value(client))
            amounts = {
                "kind": "snapshot",
                "amount_fen": 0,
                "assets_fen": client.assets_fen,
                "cash_fen": client.cash_fen,
            }
            yield _record("balances", f"B{index}", client.id, time_ms, amounts)

    def trades(self, number: int) -> Iterator[Record]:
        """Trades of one trading day, in the order of their times."""
        midnight_ms = day_start_ms(self.day)
        half = number // 2
        for index in range(number):
            (begin_s, end_s), at = (SESSIONS_S[0], index / half) if index < half else (SESSIONS_S[1], index / half - 1)
            yield self.trade(f"T{index}", midnight_ms + int(1000 * (begin_s + (end_s - begin_s) * min(at, 1.0))))

    def trade(self, event_id: str, time_ms: int) -> Record:
        uniform = self._random.random
        client: Client = self.clients[int(uniform() * len(self.clients))]
        symbol, product, price_fen = client.securities[int(uniform() * len(client.securities))]
        amount_fen = int(100 * MEDIAN_AMOUNT_CNY * math.exp(SPREAD * self._random.gauss(0, 1)))
        quantity = max(amount_fen // price_fen, 1)
        channels = CHANNELS if client.type == "individual" else INSTITUTION_CHANNELS
        values = {
            "symbol": symbol,
            "product": product,
            "side": "buy" if uniform() < 0.55 else "sell",
            "quantity": quantity,
            "price_cny": f"{price_fen // 100}.{price_fen % 100:02d}",
            "amount_fen": quantity * price_fen,
            "channel": pick(uniform, channels),
        }
        return _record("trades", event_id, client.id, time_ms, values)


def _record(topic: str, event_id: str, client_id: str, time_ms: int, values: dict[str, Any]) -> Record:
    value = {"event_id": event_id, "client_id": client_id, "time": time_ms, **values}
    return Record(topic, client_id.encode(), json.dumps(value, separators=(",", ":")).encode(), time_ms)


# Ten kinds of rule. The ten steps of a kind share out the amounts, so that a trade makes one of them act, seldom more
# than one kind; the amounts are such that about one event in fifty acts.
KINDS: Final[tuple[tuple[str, str, int, str], ...]] = (
    ("large-sale", "alert", 330_000, 'trade.side == "sell" and {band} and client.tier in ("A", "B")'),
    (
        "unsuitable",
        "alert",
        40_000,
        'trade.product in ("option", "future") and client.risk_level in ("R1", "R2") and {band}',
    ),
    ("busy-day", "task", 230_000, 'trades_1d >= {busy} and {band} and trade.channel in ("web", "desktop")'),
    (
        "selling-out",
        "task",
        260_000,
        'trade.side == "sell" and {band} and sold_cny_7d >= 250_000 and sold_cny_7d >= 0.{share} * turnover_cny_7d',
    ),
    (
        "beyond-means",
        "alert",
        120_000,
        'client.type == "individual" and trade.side == "buy" and {band} '
        "and trade.amount_cny >= {times} * client.assets_cny",
    ),
    (
        "spread-out",
        "task",
        300_000,
        'symbols_30d >= 3 and trades_30d >= {busy} and client.age_band in ("under_25", "25_35") and {band}',
    ),
    (
        "unusual-order",
        "alert",
        480_000,
        "trades_30d >= 4 and {band} and trade.amount_cny == largest_trade_cny_90d "
        "and trade.amount_cny >= {times} * turnover_cny_30d / trades_30d",
    ),
    (
        "institution-desk",
        "task",
        120_000,
        'client.type in ("private_fund", "mutual_fund") and {band} and turnover_cny_30d >= 200_000',
    ),
    ("by-phone", "survey", 75_000, 'trade.channel in ("phone", "branch") and client.value_score >= 20 and {band}'),
    (
        "trader-without-robot",
        "task",
        200_000,
        'client.tier == "C" and client.risk_level not in ("R1", "R5") and robo_trades_90d == 0 '
        'and derivative_trades_90d == 0 and trade.product in ("stock", "etf") and {band}',
    ),
)
BAND: Final = 1.2  # from one step to the next


def rule_file(rules: int) -> str:
    """YAML of so many rules on trades, all for the firm's own teams."""
    lines = ["rules:"]
    for index in range(rules):
        name, kind, least_cny, when = KINDS[index % len(KINDS)]
        step = index // len(KINDS)
        n = step % 10
        low, high = int(least_cny * BAND**n), int(least_cny * BAND ** (n + 1))
        numbers = {
            "band": f"{low} <= trade.amount_cny < {high}" if n < 9 else f"trade.amount_cny >= {low}",
            "busy": 3 + n // 3,
            "share": 60 + 2 * n,
            "times": 2 + 0.2 * n,
        }
        lines += [
            f"  - id: {name}-{step}",
            f"    title: {name.replace('-', ' ')}, step {step}",
            "    owner: trading",
            "    on: trades",
            f"    when: >\n      {when.format(**numbers)}",
            f"    kind: {kind}",
            "    audience: team",
            f"    priority: {10 + index % 90}",
            "    cooldown: 1h",
            "    expires: 1d",
            f"    template: {name.replace('-', '_')}",
            "    parameters: {symbol: trade.symbol, amount_cny: trade.amount_cny, month: turnover_cny_30d}",
            "    description: One of the benchmark's rules.",
        ]
    return "\n".join(lines) + "\n"


def write_rules(directory: Path, rules: int) -> Path:
    """A rules directory: features and tiers as shipped, and so many rules."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in FEATURES_ONLY:
        (directory / name).write_text((SHIPPED / name).read_text())
    (directory / "policy.yaml").write_text(POLICY)
    (directory / "trades.yaml").write_text(rule_file(rules))
    return directory
