"""Every aggregate, source and window against a model that keeps all events and looks through them each time."""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.core.activity.totals import MAX_TAIL
from engine.core.client.sections import pack, unpack
from engine.core.client.state import ClientState
from engine.core.firm_time import DAY_MS, HOUR_MS, NEVER_MS, day_of, day_start_ms
from engine.core.plan.features import next_slide_ms
from engine.core.rules.occasion import TIER_CHANGE
from tests.core.making import Desk, all_windows, at, event_of, plan_of, rule, topic_of
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


def exactly(trade: Any) -> Any:
    return None if trade.quantity is None else Fraction(str(trade.quantity))


def ratio(balance: Any) -> Any:
    return None if balance.margin_ratio is None else Fraction(round(balance.margin_ratio * 10**6), 10**6)


def sized(trade: Any) -> Any:
    return None if trade.quantity is None else (trade.symbol, Fraction(str(trade.quantity)))


KINDS: list[Kind] = [
    ("bought", "trades", "count", "", lambda e: 1, 'trade.side == "buy"', buys),
    ("turnover_cny", "trades", "sum", "amount_cny", lambda e: e.amount_fen, "", every),
    ("shares_sold", "trades", "sum", "quantity", exactly, 'trade.side == "sell"', sells),
    ("largest", "trades", "max", "quantity", lambda e: e.quantity, "", every),
    ("sizes", "trades", "distinct", "quantity", lambda e: e.quantity, "", every),
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
    ("cash_cny", "balances", "sum", "cash_cny", lambda e: e.cash_fen, "", every),
    ("cash_high_cny", "balances", "max", "cash_cny", lambda e: e.cash_fen, "", every),
    ("turnover_avg_cny", "trades", "avg", "amount_cny", lambda e: e.amount_fen, "", every),
    ("bought_avg_cny", "trades", "avg", "amount_cny", lambda e: e.amount_fen, 'trade.side == "buy"', buys),
    ("size_avg", "trades", "avg", "quantity", exactly, 'trade.side == "sell"', sells),
    ("cash_avg_cny", "balances", "avg", "cash_cny", lambda e: e.cash_fen, "", every),
    ("ratio_avg", "balances", "avg", "margin_ratio", ratio, "", every),
    ("favourite", "trades", "top", "symbol", lambda e: (e.symbol, 1), "", every),
    ("favourite_sold", "trades", "top", "symbol", lambda e: (e.symbol, 1), 'trade.side == "sell"', sells),
    ("largest_symbol", "trades", "top", "symbol by amount_cny", lambda e: (e.symbol, e.amount_fen), "", every),
    ("most_held", "trades", "top", "symbol by quantity", sized, "", every),
    ("usual_size", "trades", "top", "quantity", lambda e: None if e.quantity is None else (e.quantity, 1), "", every),
    ("usual_device", "logins", "top", "device_id", lambda e: e.device_id and (e.device_id, 1), "", every),
]  # fmt: skip
# how it is written in the file, and in a feature's name
DAYS = ("1d", "2d", "7d", "30d", "90d", "366d")
HOURS = ("1h", "5h", "24h", "72h")
MONTHS = ("month", "previous_month")
SINCE: dict[str, tuple[str, str, Callable[[Any], bool]]] = {
    "deposit": ("balances", 'balance.kind == "deposit"', deposits),
    "sale": ("trades", 'trade.side == "sell"', sells),
    "login": ("logins", "", every),
}
Log = list[tuple[int, str, Any]]  # (the event's own time, its topic, the event), in the order of time
UNDECIDED = object()  # what a late start of a count leaves open, see totals.py


def spans(kind: Kind) -> list[str]:
    """What a kind of feature is tried with."""
    return [*DAYS, *MONTHS] if kind[2] == "daily_mean" else [*DAYS, *HOURS, *MONTHS, *SINCE]


def written(kind: Kind, span: str) -> str:
    name, source, aggregate, field, _, where, _ = kind
    reach = f"window: {span}"
    if span in SINCE:
        on, when, _ = SINCE[span]
        reach = f"since: {{on: {on}" + (f", when: '{when}'" if when else "") + "}"
    return (
        f"  {name}_{span}: {{source: {source}, aggregate: {aggregate}, {reach}"
        + (f", field: {field.replace(' by ', ', by: ')}" if field else "")
        + (f", where: '{where}'" if where else "")
        + "}\n"
    )


def plan_for(pairs: list[tuple[Kind, str]]) -> Any:
    names = [f"{kind[0]}_{span}" for kind, span in pairs]
    readers = [  # a rule takes a bounded number of parameters
        rule(f"reader-{first}", on="tier_change", when='tier_change.new == "A"',
             parameters="{" + ", ".join(f"{name}: {name}" for name in names[first : first + 12]) + "}")
        for first in range(0, len(names), 12)
    ]  # fmt: skip
    tiers = "individual:\n  measure: client.assets_cny\n  tiers:\n    - {tier: A}\n"
    watches = rule("watches", becomes=" or ".join(f"known({name})" for name in names))
    return plan_of(*readers, watches, features="".join(written(*pair) for pair in pairs), tiers=tiers)


PAIRS = [(kind, span) for kind in KINDS for span in spans(kind)]
PLANS = [(PAIRS[first::20], plan_for(PAIRS[first::20])) for first in range(20)]


def read(plan: Any, client: ClientState) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for reader in plan.compiled[TIER_CHANGE]:
        values = reader.parameters(client, None, None)
        found |= {name: value for (name, _), value in zip(reader.parameter_names, values, strict=True)}
    return found


def first_of_month(day: int, months_before: int = 0) -> int:
    date = dt.date(1970, 1, 1) + dt.timedelta(days=day)
    year, month = divmod(date.year * 12 + date.month - 1 - months_before, 12)
    return (dt.date(year, month + 1, 1) - dt.date(1970, 1, 1)).days


def modelled(kind: Kind, span: str, log: Log, now_ms: int) -> Any:
    _, source, aggregate, _, value_of, _, keeps = kind
    today = day_of(now_ms)
    begin_ms, end_ms = 0, NEVER_MS  # what counts came at a time of [begin, end)
    if span in SINCE:
        on, _, holds = SINCE[span]
        starts = [index for index, (_, topic, event) in enumerate(log) if topic == on and holds(event)]
        log = log[starts[-1] + 1 :] if starts else log
        if starts and len(log) >= MAX_TAIL:
            return UNDECIDED
    elif span in MONTHS:
        begin_ms = day_start_ms(first_of_month(today, int(span == "previous_month")))
        end_ms = day_start_ms(first_of_month(today)) if span == "previous_month" else NEVER_MS
    elif span.endswith("h"):
        begin_ms = (now_ms // HOUR_MS - int(span[:-1]) + 1) * HOUR_MS
    else:
        begin_ms = day_start_ms(today - int(span[:-1]) + 1)
    known = [
        (at_ms, value_of(e)) for at_ms, topic, e in log if topic == source and keeps(e) and value_of(e) is not None
    ]
    inside = [value for at_ms, value in known if begin_ms <= at_ms < end_ms]
    if aggregate in ("count", "sum"):
        total = sum(inside)
        return int(total) if total == int(total) else float(total)
    if aggregate == "distinct":
        return len(set(inside))
    if aggregate == "daily_mean":
        on_days = [day_of(at_ms) for at_ms, _ in known]
        until = min(today, day_of(end_ms - 1))
        closing = [
            known[bisect_right(on_days, day) - 1][1]
            for day in range(day_of(begin_ms), until + 1)
            if on_days and day >= on_days[0]
        ]
        mean = sum(closing) / len(closing) if closing and isinstance(closing[0], float) else None
        return mean if mean is not None else sum(closing) // len(closing) if closing else None
    if not inside:
        return None
    if aggregate == "last":
        return inside[-1]
    if aggregate == "avg":
        mean = sum(inside) / len(inside) if isinstance(inside[0], Fraction) else sum(inside) // len(inside)
        return float(mean)
    if aggregate == "top":
        totals: dict[Any, Any] = defaultdict(int)
        for item, amount in inside:
            totals[item] += amount
        most = max(totals.values())
        return min(item for item, amount in totals.items() if amount == most)
    return min(inside) if aggregate == "min" else max(inside)


def assert_as_modelled(plan: Any, pairs: list[tuple[Kind, str]], client: ClientState, log: Log, now_ms: int) -> None:
    found = read(plan, client)
    assert len(found) == len(pairs)
    for kind, span in pairs:
        name, expected = f"{kind[0]}_{span}", modelled(kind, span, log, now_ms)
        if expected is UNDECIDED:
            continue
        value = found[name]
        same = abs(value - expected) < 1e-9 if isinstance(value, float) and expected is not None else value == expected
        assert same, f"{name} is {value}, should be {expected}"


@quick(120)
@given(history=histories(), store=st.lists(st.booleans(), min_size=1, max_size=5), part=st.sampled_from(PLANS))
def test_features_are_what_a_search_through_all_events_finds(history, store, part):
    pairs, plan = part
    desk = Desk(plan)
    logs: dict[str, Log] = defaultdict(list)
    reached: dict[str, int] = {}
    for number, item in enumerate(history):
        topic, event = topic_of(item), event_of(item)
        desk.take(item)
        id_ = event.client_id
        reached[id_] = max(reached.get(id_, 0), event.time)
        insort(logs[id_], (event.time, topic, event), key=lambda entry: entry[0])
        client = desk.states[id_]
        if store[number % len(store)]:
            client = desk.states[id_] = unpack(plan.layout, pack(plan.layout, client))
        if number % 3 == 0 or number == len(history) - 1:
            assert_as_modelled(plan, pairs, client, logs[id_], reached[id_])


@quick(40)
@given(history=histories(clients=1, most=12), part=st.sampled_from(PLANS), store=st.booleans())
def test_no_window_slides_before_it_is_said_to(history, part, store):
    """After the last event: up to each moment said nothing changes, at it all is as modelled, and it ends some day."""
    pairs, plan = part
    desk = Desk(plan)
    log: Log = []
    now_ms = 0
    for item in history:
        desk.take(item)
        now_ms = max(now_ms, event_of(item).time)
        insort(log, (event_of(item).time, topic_of(item), event_of(item)), key=lambda entry: entry[0])
    client = desk.client
    steps = 0
    while (slide_ms := next_slide_ms(plan.layout, client, all_windows(plan))) < NEVER_MS:
        assert slide_ms > client.now_ms
        before = read(plan, client)
        client.advance(plan.layout, slide_ms - 1)
        assert read(plan, client) == before
        assert next_slide_ms(plan.layout, client, all_windows(plan)) == slide_ms
        if store:
            client = unpack(plan.layout, pack(plan.layout, client))
            assert next_slide_ms(plan.layout, client, all_windows(plan)) == slide_ms
        client.advance(plan.layout, slide_ms)
        if steps < 10 or steps % 30 == 0:
            assert_as_modelled(plan, pairs, client, log, slide_ms)
        steps += 1
    assert steps < 1000
    assert_as_modelled(plan, pairs, client, log, client.now_ms)
    later = read(plan, client)
    client.advance(plan.layout, at(0) + 3000 * DAY_MS)
    assert read(plan, client) == later
