"""Every aggregate, source and window against a model that keeps all events and looks through them each time."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.core.ruleset import WINDOW_DAYS
from engine.core.state import day_of, pack, unpack
from tests.core.making import Desk, event_of, plan_of, rule, topic_of
from tests.properties.histories import histories, quick

# name, source, aggregate, field in the file, value of an event, filter in the file, filter
Kind = tuple[str, str, str, str, Callable[[Any], Any], str, Callable[[Any], bool]]


def every(event: Any) -> bool:
    return True


def buys(event: Any) -> bool:
    return bool(event.side == "buy")


def sells(event: Any) -> bool:
    return bool(event.side == "sell")


def deposits(event: Any) -> bool:
    return bool(event.kind == "deposit")


KINDS: list[Kind] = [
    ("bought", "trades", "count", "", lambda e: 1, 'trade.side == "buy"', buys),
    ("turnover_cny", "trades", "sum", "amount_cny", lambda e: e.amount_fen, "", every),
    ("shares_sold", "trades", "sum", "quantity", lambda e: e.quantity, 'trade.side == "sell"', sells),
    ("smallest_cny", "trades", "min", "amount_cny", lambda e: e.amount_fen, "", every),
    ("largest_cny", "trades", "max", "amount_cny", lambda e: e.amount_fen, 'trade.side == "buy"', buys),
    ("symbols", "trades", "distinct", "symbol", lambda e: e.symbol, "", every),
    ("symbol", "trades", "last", "symbol", lambda e: e.symbol, 'trade.side == "sell"', sells),
    ("logged_in", "logins", "count", "", lambda e: 1, "login.success", lambda e: e.success),
    ("devices", "logins", "distinct", "device_id", lambda e: e.device_id, "login.success", lambda e: e.success),
    ("assets_mean_cny", "balances", "daily_mean", "assets_cny", lambda e: e.assets_fen, "", every),
    ("cash_mean_cny", "balances", "daily_mean", "cash_cny", lambda e: e.cash_fen, "", every),
    ("ratio_mean", "balances", "daily_mean", "margin_ratio", lambda e: e.margin_ratio, "", every),
    ("came_cny", "balances", "sum", "amount_cny", lambda e: e.amount_fen, 'balance.kind == "deposit"', deposits),
    ("ratio_low", "balances", "min", "margin_ratio", lambda e: e.margin_ratio, "", every),
    ("cash_high_cny", "balances", "max", "cash_cny", lambda e: e.cash_fen, "", every),
]  # fmt: skip
FEATURES = "".join(
    f"  {name}_{days}d: {{source: {source}, aggregate: {aggregate}, window: {days}d"
    + (f", field: {field}" if field else "")
    + (f", where: '{where}'" if where else "")
    + "}\n"
    for name, source, aggregate, field, _, where, _ in KINDS
    for days in WINDOW_DAYS
)
NAMES = [f"{name}_{days}d" for name, *_ in KINDS for days in WINDOW_DAYS]
READERS = [  # a rule takes a bounded number of parameters
    rule(f"reader-{first}", on="tier_change", when='tier_change.new == "A"',
         parameters="{" + ", ".join(f"{name}: {name}" for name in NAMES[first : first + 12]) + "}")
    for first in range(0, len(NAMES), 12)
]  # fmt: skip
PLAN = plan_of(
    *READERS,
    features=FEATURES,
    tiers="individual:\n  measure: client.assets_cny\n  tiers:\n    - {tier: A}\n",
)

Log = list[tuple[int, Any]]  # (the client's day when the event came, the event)


def modelled(kind: Kind, days: int, log: Log, today: int) -> Any:
    _, _, aggregate, _, value_of, _, keeps = kind
    known = [(day, value_of(e)) for day, e in log if keeps(e) and value_of(e) is not None]
    inside = [value for day, value in known if today - days < day <= today]
    if aggregate in ("count", "sum"):
        return sum(inside)
    if aggregate == "distinct":
        return len(set(inside))
    if aggregate == "daily_mean":
        on = [day for day, _ in known]
        closing = [
            known[bisect_right(on, day) - 1][1] for day in range(today - days + 1, today + 1) if on and day >= on[0]
        ]
        mean = sum(closing) / len(closing) if closing and isinstance(closing[0], float) else None
        return mean if mean is not None else sum(closing) // len(closing) if closing else None
    if not inside:
        return None
    if aggregate == "last":
        return inside[-1]
    return min(inside) if aggregate == "min" else max(inside)


@quick(150)
@given(history=histories(), store=st.lists(st.booleans(), min_size=1, max_size=5))
def test_features_are_what_a_search_through_all_events_finds(history, store):
    desk = Desk(PLAN)
    logs: dict[tuple[str, str], Log] = defaultdict(list)
    reached: dict[str, int] = {}
    for number, item in enumerate(history):
        topic, event = topic_of(item), event_of(item)
        desk.take(item)
        id_ = event.client_id
        reached[id_] = max(reached.get(id_, 0), event.time)
        today = day_of(reached[id_])
        logs[id_, topic].append((today, event))
        client = desk.states[id_]
        if store[number % len(store)]:
            client = desk.states[id_] = unpack(PLAN.layout, pack(PLAN.layout, client))
        found = [value for reader in PLAN.compiled["tier_change"] for value in reader.parameters(client, None, None)]
        names = [name for reader in PLAN.compiled["tier_change"] for name, _ in reader.parameter_names]
        expected = {
            f"{kind[0]}_{days}d": modelled(kind, days, logs[id_, kind[1]], today)
            for kind in KINDS
            for days in WINDOW_DAYS
        }
        for name, value in zip(names, found, strict=True):
            same = abs(value - expected[name]) < 1e-9 if isinstance(value, float) else value == expected[name]
            assert same, f"{name} is {value}, should be {expected[name]}"
        assert len(found) == len(expected)
