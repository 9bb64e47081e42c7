"""Features, one by one: what each aggregate and window sees, at the edges of days, and what is bounded.

tests/properties/test_features.py compares all of them with a model over random histories.
"""

from __future__ import annotations

import pytest

from engine.core.activity.layout import MAX_DISTINCT, MAX_SUM
from engine.core.client.sections import pack, unpack
from engine.core.contract.events import MAX_AMOUNT_FEN
from engine.core.firm_time import NEVER_MS, day_of, day_start_ms
from engine.core.plan.features import column_key, next_slide_ms
from engine.core.rules.occasion import TIER_CHANGE
from tests.core.making import Desk, all_windows, at, balance, login, plan_of, profile, rule, trade


def desk(features: str) -> Desk:
    """A desk with these features; `value` reads one."""
    names = [line.split(":")[0].strip() for line in features.splitlines()]
    tiers = "individual:\n  measure: client.assets_cny\n  tiers:\n    - {tier: A}\n"
    parameters = "{" + ", ".join(f"p{i}: {name}" for i, name in enumerate(names)) + "}"
    reader = rule("reader", on="tier_change", when='tier_change.new == "A"', parameters=parameters)
    watches = rule("watches", becomes=" or ".join(f"known({name})" for name in names))
    return Desk(plan_of(reader, watches, features=features, tiers=tiers))


def values(desk: Desk, client_id: str = "c1") -> tuple:
    return desk.plan.compiled[TIER_CHANGE][0].parameters(desk.states[client_id], None, None)


def value(desk: Desk):
    return values(desk)[0]


def test_the_firms_day_begins_at_midnight_in_china():
    assert day_start_ms(day_of(at(0))) == at(0, hour=0)
    assert day_of(at(0, hour=0)) - day_of(at(0, hour=0) - 1) == 1
    assert day_of(at(0, hour=23.9)) == day_of(at(0, hour=0))
    assert at(0, hour=8) % 86_400_000 == 0  # 08:00 in China is midnight in UTC


@pytest.mark.parametrize("days", [1, 7, 30, 90])
def test_a_window_is_today_and_the_days_before(days):
    d = desk(f"  n: {{source: logins, aggregate: count, window: {days}d}}")
    d.take(login(at(0, hour=0)), login(at(0, hour=23.999)))
    assert value(d) == 2
    d.take(login(at(days - 1, hour=23.999)))
    assert value(d) == 3
    d.take(login(at(days, hour=0)))
    assert value(d) == (1 if days == 1 else 2)


def test_filters_and_fields():
    d = desk(
        '  sold_cny: {source: trades, aggregate: sum, field: amount_cny, where: trade.side == "sell", window: 7d}\n'
        "  least_cny: {source: trades, aggregate: min, field: amount_cny, window: 7d}\n"
        "  most: {source: trades, aggregate: max, field: quantity, window: 7d}\n"
        "  latest: {source: trades, aggregate: last, field: symbol, window: 7d}\n"
        "  symbols: {source: trades, aggregate: distinct, field: symbol, window: 7d}\n"
    )
    d.take(login(at(0)))
    assert values(d) == (0, None, None, None, 0)
    d.take(trade(at(0), 500, side="sell", quantity=9), trade(at(1), 300), trade(at(2), 700, symbol="x", side="sell"))
    assert values(d) == (1200, 300, 9, "x", 2)
    d.take(login(at(7, hour=0)))  # the first trade leaves the window
    assert values(d) == (700, 300, 1, "x", 2)
    d.take(login(at(8, hour=0)))
    assert values(d) == (700, 700, 1, "x", 1)
    d.take(login(at(9, hour=0)))
    assert values(d) == (0, None, None, None, 0)


def test_an_event_without_the_field_is_left_out():
    d = desk(
        "  low_cny: {source: balances, aggregate: min, field: cash_cny, window: 7d}\n"
        "  mean_cny: {source: balances, aggregate: daily_mean, field: cash_cny, window: 7d}\n"
        "  places: {source: logins, aggregate: distinct, field: region, window: 7d}\n"
        "  place: {source: logins, aggregate: last, field: region, window: 7d}\n"
    )
    d.take(balance(at(0), 10), login(at(0)))
    assert values(d) == (None, None, 0, None)
    d.take(balance(at(1), 10, cash_fen=600), login(at(1), region="east"), balance(at(2), 10), login(at(2)))
    assert values(d) == (600, 600, 1, "east")


def test_daily_mean_carries_the_last_value_over_days_without_one():
    d = desk("  mean_cny: {source: balances, aggregate: daily_mean, field: assets_cny, window: 7d}")
    d.take(balance(at(0), 100), balance(at(0, hour=13), 10))  # the day's last value is the day's value
    assert value(d) == 1000
    d.take(login(at(3)))  # 10 on four days
    assert value(d) == 1000
    d.take(balance(at(3), 50))  # 10 10 10 50
    assert value(d) == 8000 // 4
    d.take(login(at(6)))  # 10 10 10 50 50 50 50
    assert value(d) == 23000 // 7
    d.take(login(at(8)))  # 10 and six times 50: the first two days have left
    assert value(d) == 31000 // 7
    d.take(login(at(100)))  # long after its last event: still what the client has
    assert value(d) == 5000
    d.take(balance(at(100), 0))
    assert value(d) == 30000 // 7


def test_daily_mean_of_a_ratio_keeps_its_fraction():
    d = desk("  mean: {source: balances, aggregate: daily_mean, field: margin_ratio, window: 7d}")
    d.take(balance(at(0), 1, margin_ratio=1.5), balance(at(1), 1, margin_ratio=1.25))
    assert value(d) == pytest.approx(1.375)


def test_a_late_event_counts_on_the_day_of_its_own_time():
    d = desk(
        "  n1: {source: logins, aggregate: count, window: 1d}\n  n7: {source: logins, aggregate: count, window: 7d}\n"
    )
    d.take(login(at(10)), login(at(2)), login(at(9)))
    assert values(d) == (1, 2)
    assert d.client.now_ms == at(10)
    assert d.client.activities["logins"].last_ms == at(10)


def test_distinct_forgets_the_value_seen_longest_ago():
    d = desk("  symbols: {source: trades, aggregate: distinct, field: symbol, window: 90d}")
    d.take(*(trade(at(n // 10), symbol=f"s{n}") for n in range(MAX_DISTINCT)))
    assert value(d) == MAX_DISTINCT
    d.take(trade(at(10), symbol="s0"))  # seen again: the oldest is s1 now
    d.take(trade(at(10), symbol="new"))
    assert value(d) == MAX_DISTINCT
    seen = d.client.activities["trades"].sets[0]
    assert "s1" not in seen
    assert {"s0", "s2", "new"} <= seen.keys()


def test_a_sum_never_leaves_sixty_four_bits():
    d = desk("  turnover_cny: {source: trades, aggregate: sum, field: amount_cny, window: 90d}")
    d.take(trade(at(0), MAX_AMOUNT_FEN))
    cell = d.client.activities["trades"].today
    cell[0] = MAX_SUM - 2 * MAX_AMOUNT_FEN  # as after nearly a million trades of the largest size in a day
    d.take(*(trade(at(0), MAX_AMOUNT_FEN) for _ in range(5)))
    assert MAX_SUM - 2 * MAX_AMOUNT_FEN < cell[0] <= MAX_SUM
    d.take(trade(at(1), MAX_AMOUNT_FEN), login(at(2)))
    assert value(d) <= MAX_SUM


def test_features_that_differ_in_their_window_share_a_column():
    d = desk(
        "  a: {source: logins, aggregate: count, window: 7d}\n  b: {source: logins, aggregate: count, window: 90d}\n"
        "  c: {source: logins, aggregate: count, where: login.success, window: 90d}\n"
    )
    assert len(d.plan.layout.sources["logins"].columns) == 2


def test_days_since_the_last_of_a_kind_are_of_the_one_before():
    at_login = rule(
        "r", when="login.success", parameters="{days: client.days_since_login, trade: client.days_since_trade}"
    )
    d = Desk(plan_of(at_login, daily_cap=100))
    d.take(profile(at(0)))
    assert d.take(login(at(0)))[0]["parameters"] == {"days": None, "trade": None}
    d.take(trade(at(1)))
    assert d.take(login(at(3.5)))[0]["parameters"] == {"days": 3, "trade": 2}


def test_hours_slide_with_the_clock():
    d = desk(
        "  n: {source: logins, aggregate: count, window: 3h}\n  today: {source: logins, aggregate: count, window: 1d}\n"
    )
    d.take(login(at(0, hour=22.2)), login(at(0, hour=23.9)))
    assert values(d) == (2, 2)
    d.take(login(at(1, hour=0.99)))  # 22, 23 and 0 o'clock; the day is a new one
    assert values(d) == (3, 1)
    d.take(profile(at(1, hour=1)))
    assert values(d) == (2, 1)
    d.take(profile(at(1, hour=3)))
    assert values(d) == (0, 1)


def test_a_calendar_month_and_the_one_before():
    """The first day is 16 February: 28 February is 12 days after it, 1 April 44."""
    d = desk(
        "  n: {source: trades, aggregate: count, window: month}\n"
        "  before: {source: trades, aggregate: count, window: previous_month}\n"
        "  symbols: {source: trades, aggregate: distinct, field: symbol, window: previous_month}\n"
        "  latest: {source: trades, aggregate: last, field: symbol, window: previous_month}\n"
    )
    d.take(trade(at(12), symbol="a"), trade(at(12), symbol="b"))
    assert values(d) == (2, 0, 0, None)
    d.take(trade(at(13, hour=0), symbol="b"))  # 1 March
    assert values(d) == (1, 2, 2, "b")
    d.take(profile(at(44, hour=0)))  # 1 April
    assert values(d) == (0, 1, 1, "b")
    d.take(profile(at(74, hour=0)))  # 1 May
    assert values(d) == (0, 0, 0, None)


def test_what_counts_since_an_event():
    d = desk(
        "  bought_cny: {source: trades, aggregate: sum, field: amount_cny, "
        "since: {on: balances, when: balance.kind == 'deposit'}}\n"
        "  after_sale: {source: trades, aggregate: count, since: {on: trades, when: trade.side == 'sell'}}\n"
        "  symbols: {source: trades, aggregate: distinct, field: symbol, since: {on: logins}}\n"
    )
    d.take(trade(at(0), 100), trade(at(1), 200, symbol="x"))  # since the client is known
    assert values(d) == (300, 2, 2)
    d.take(balance(at(2), 10, kind="withdrawal"), trade(at(3), 50, side="sell"), login(at(3)))
    assert values(d) == (350, 0, 0)
    d.take(balance(at(500), 10, kind="deposit"), trade(at(900), 7))
    assert values(d) == (7, 1, 1)
    packed = pack(d.plan.layout, d.client)
    assert d.plan.compiled[TIER_CHANGE][0].parameters(unpack(d.plan.layout, packed), None, None) == (7, 1, 1)


def test_distinct_numbers_are_stored():
    d = desk("  sizes: {source: trades, aggregate: distinct, field: quantity, window: 7d}")
    d.take(trade(at(0), quantity=5), trade(at(1), quantity=7))
    assert unpack(d.plan.layout, pack(d.plan.layout, d.client)).activities["trades"].sets == [
        {5: day_of(at(0)), 7: day_of(at(1))}
    ]


def test_the_next_slide_is_the_first_moment_at_which_a_value_can_change():
    d = desk(
        "  week: {source: trades, aggregate: count, window: 7d}\n"
        "  recent: {source: logins, aggregate: count, window: 24h}\n"
        "  mean_cny: {source: balances, aggregate: daily_mean, field: assets_cny, window: 3d}\n"
        "  after: {source: balances, aggregate: count, since: {on: trades}}\n"
    )

    def slide() -> int:
        return next_slide_ms(d.plan.layout, d.client, all_windows(d.plan))

    d.take(profile(at(0)))
    assert slide() == NEVER_MS
    d.take(trade(at(0)))
    assert slide() == at(7, hour=0)
    d.take(login(at(1, hour=12.5)))
    assert slide() == at(2, hour=12)
    d.take(balance(at(1, hour=13), 100))
    assert slide() == at(2, hour=0)  # a mean can change every day
    d.take(profile(at(4)))
    assert slide() == at(7, hour=0)
    d.take(profile(at(7)))
    assert slide() == NEVER_MS


KEYS = (
    ("logins", "count", "", "window: 7d", "aaee77b9"),
    ("logins", "count", "login.success", "window: 7d", "3ff24dff"),
    ("logins", "count", 'login.channel == "app" and login.success', "window: 24h", "dbde6faa"),
    ("logins", "distinct, field: device_id", "not login.success", "window: month", "eed5ba88"),
    ("trades", "sum, field: amount_cny", 'trade.side == "buy"', "since: {on: balances}", "4002c401"),
    ("trades", "max, field: amount_cny", 'trade.product in ("future", "option")', "window: 7d", "ca690e73"),
    ("trades", "count", "trade.amount_cny >= 0.5 and not trade.quantity * 2 > 7", "window: 7d", "9f1c1881"),
    ("trades", "count", 'starts_with(trade.symbol, ("60", "00"))', "window: 7d", "39885429"),
    ("balances", "last, field: kind", "known(balance.cash_cny)", "window: 7d", "d3c00693"),
    ("balances", "min, field: cash_cny", "1 < balance.cash_cny < max(balance.assets_cny, 5)", "window: 7d", "4da5e75d"),
)


@pytest.mark.parametrize(("source", "aggregate", "where", "window", "key"), KEYS)
def test_a_columns_key_never_changes(source, aggregate, where, window, key):
    """States are stored under these keys: another one loses the past of every client."""
    name = "n_cny" if "field: amount_cny" in aggregate or "field: cash_cny" in aggregate else "n"
    filtered = f", where: '{where}'" if where else ""
    tiers = "individual:\n  measure: client.assets_cny\n  tiers:\n    - {tier: A}\n"
    features = f"  {name}: {{source: {source}, aggregate: {aggregate}{filtered}, {window}}}\n"
    assert column_key(plan_of(features=features, tiers=tiers).rule_set.features[0]) == key


def test_a_mean_carries_the_latest_value_however_late_an_older_one_comes():
    """Also when the row of that value lies before all windows."""
    d = desk("  ratio_mean: {source: balances, aggregate: daily_mean, field: margin_ratio, window: 2d}\n")
    d.take(balance(at(0), 10, margin_ratio=1.2), balance(at(10), 10, margin_ratio=1.5), balance(at(11), 10))
    d.take(balance(at(12), 10), balance(at(30), 10), balance(at(5), 10, margin_ratio=9.0))
    assert value(d) == 1.5
    d.states["c1"] = unpack(d.plan.layout, pack(d.plan.layout, d.client))
    assert value(d) == 1.5
    assert len(d.client.activities["balances"].days) <= 3
    d.take(balance(at(13), 10, margin_ratio=1.25))
    assert value(d) == 1.25
