"""What records do to a client: what is said, unsaid, unknown or illegible; sums, debts and fractions, exactly."""

from __future__ import annotations

import json
from decimal import Decimal

import msgpack
import pytest

from engine.core.activity.packing import from_positions, unpack_activity
from engine.core.client.record import public_fields
from engine.core.client.sections import pack, unpack
from engine.core.contract.events import MAX_AMOUNT_FEN
from engine.core.contract.fields import MAX_QUANTITY
from engine.core.contract.profiles import Consents, Profile
from engine.core.plan.features import old_column_key
from engine.core.reading.decode import Taken, decode
from tests.core.making import FEATURES, Desk, at, plan_of, rule

THANKS = rule("thanks", on="trades", when="trade.amount_cny > 0", channels="[sms, phone]")
TEAM = {"audience": "team", "kind": "task"}


def give(desk, topic, time_ms, **fields):
    """A record as a producer sends it; what was published."""
    value = {"event_id": f"e{time_ms}", "client_id": "c1", "time": time_ms, **fields}
    taken = decode(topic, b"c1", json.dumps(value).encode(), time_ms)
    assert isinstance(taken, Taken), taken
    return desk.take((topic, taken.event))


def trade(desk, time_ms, **fields):
    return give(desk, "trades", time_ms, **{"symbol": "600519", "side": "buy", "amount_fen": 1_000_000, **fields})


# -- consents ----------------------------------------------------------------------------------------------------------

ODD: list[dict] = [  # beside a withdrawal
    {"time_zone": "GMT+8"},
    {"time_zone": ""},
    {"time_zone": None},
    {"time_zone": "EST5EDT"},
    {"language": "zh_CN"},
    {"language": "zh-Hans-CN"},
    {"region": "south"},
    {"risk_level": "R6"},
    {"time_zone": 8, "language": ["zh"], "region": {}, "risk_level": False, "age_band": -1},
    {"type": "hedge_fund"},
    {"type": None},
    {"type": ["individual"]},
    {"age_band": "25-35"},
    {"advisor_id": "Zhang San"},
    {"advisor_id": 10**30},
    {"birth_date": "1990-02-30"},
    {"birth_date": 1990},
    {"added_later": {"deep": [1e308, None]}},
    {"language": "x" * 9999},
    *(
        {name: value}
        for name in Profile.model_fields
        if name not in (*Profile.essential, "consents")
        for value in ([], 1)
    ),
]
WITHDRAWALS = [
    {},
    None,
    {"sms": False, "phone": False},
    {"sms": None},
    {"sms": "true", "phone": "yes"},
    {"sms": 1, "phone": [True]},
    {"wechat": True},
    {"fax": True},
    [],
    ["sms", "phone"],
    "sms",
    True,
]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: str(odd)[:60])
def test_a_withdrawal_takes_effect_whatever_else_cannot_be_read(odd):
    desk = Desk(plan_of(THANKS))
    give(desk, "profiles", at(0), type="individual", consents={"sms": True, "phone": True})
    assert trade(desk, at(1)), "the rule works"
    give(desk, "profiles", at(30), **{"type": "individual", "consents": {}} | odd)
    assert trade(desk, at(31)) == []
    assert desk.client.consents == ()


@pytest.mark.parametrize("consents", WITHDRAWALS, ids=str)
@pytest.mark.parametrize("odd", [{}, {"time_zone": "GMT+8"}], ids=str)
def test_what_is_no_clear_consent_is_none(consents, odd):
    desk = Desk(plan_of(THANKS))
    give(desk, "profiles", at(0), type="individual", consents={"sms": True, "phone": True})
    give(desk, "profiles", at(30), type="individual", consents=consents, **odd)
    assert trade(desk, at(31)) == []


def test_a_channel_that_cannot_be_read_costs_that_channel():
    desk = Desk(plan_of(THANKS))
    give(desk, "profiles", at(0), type="individual", consents={"sms": "yes", "phone": True})
    assert [action["channel"] for action in trade(desk, at(1))] == ["phone"]


def test_a_profile_without_consents_says_nothing_of_them():
    desk = Desk(plan_of(THANKS))
    give(desk, "profiles", at(0), type="individual", consents={"sms": True})
    give(desk, "profiles", at(1), advisor_id="adv-1")
    assert desk.client.consents == ("sms",)
    assert [action["channel"] for action in trade(desk, at(2))] == ["sms"]


def test_consents_of_a_client_who_never_said_are_none():
    desk = Desk(plan_of(THANKS))
    give(desk, "profiles", at(0), type="individual")
    assert trade(desk, at(1)) == []


def test_consents_know_every_channel():
    assert set(Consents.model_fields) == {"app_push", "sms", "email", "phone", "wechat"}


# -- absent and null ---------------------------------------------------------------------------------------------------

WHOLE = {
    "type": "individual", "age_band": "25_35", "region": "east", "risk_level": "R3", "language": "en",
    "time_zone": "Europe/London", "advisor_id": "adv-1", "birth_date": "1990-02-03",
}  # fmt: skip


def facts(desk):
    return {name: getattr(desk.client, name) for name in WHOLE}


@pytest.mark.parametrize("name", WHOLE)
def test_absent_says_nothing_and_null_says_unknown(name):
    desk = Desk(plan_of(THANKS))
    give(desk, "profiles", at(0), **WHOLE)
    give(desk, "profiles", at(1), **{field: value for field, value in WHOLE.items() if field != name})
    give(desk, "profiles", at(2))
    assert facts(desk) == WHOLE
    give(desk, "profiles", at(3), **{name: None})
    assert facts(desk) == WHOLE | {name: None}


def test_a_type_that_is_not_known_yet_leaves_the_client_in_its_tier():
    desk = Desk(plan_of())
    give(desk, "profiles", at(0), type="individual")
    give(desk, "balances", at(0), kind="snapshot", amount_fen=0, assets_fen=200_000_000)
    give(desk, "profiles", at(1), type="family_office")
    assert (desk.client.type, desk.tier) == ("individual", "A")


def test_the_default_language_stands_where_none_is_known():
    language = rule("english", on="trades", when='client.language == "zh-CN"', parameters="{language: client.language}")
    desk = Desk(plan_of(language))
    give(desk, "profiles", at(0), type="individual", consents={"sms": True}, language="Chinese")
    (action,) = trade(desk, at(1))
    assert (action["language"], action["parameters"]["language"]) == ("zh-CN", "zh-CN")
    give(desk, "profiles", at(2), language="en_GB")
    assert trade(desk, at(3)) == []
    assert desk.client.language == "en-GB"


@pytest.mark.parametrize("name", ["margin_ratio", "cash_fen"])
def test_a_balance_that_says_nothing_of_it_leaves_it(name):
    desk = Desk(plan_of())
    balance = {"kind": "interest", "amount_fen": 5, "assets_fen": 100}
    give(desk, "balances", at(0), **balance, margin_ratio=1.25, cash_fen=7)
    before = getattr(desk.client, name)
    give(desk, "balances", at(0, 13), **balance)
    assert getattr(desk.client, name) == before
    give(desk, "balances", at(0, 14), **balance, **{name: None})
    assert getattr(desk.client, name) is None


def test_an_interest_booking_does_not_hide_a_margin_call():
    call = rule("call", becomes="client.margin_ratio < 1.3", repeat_every="2d", **TEAM)
    desk = Desk(plan_of(call))
    give(desk, "balances", at(0), kind="loss", amount_fen=5, assets_fen=100, margin_ratio=1.25)
    give(desk, "balances", at(0, 13), kind="interest", amount_fen=5, assets_fen=105)
    assert len(desk.messages) == 1
    assert len(desk.tick_all(at(5))) == 2


# -- values that are not in a list -------------------------------------------------------------------------------------


@pytest.mark.parametrize("odd", [{"product": "nft"}, {"channel": "kiosk"}, {"price_cny": 12.5}, {"quantity": "ten"}])
def test_a_new_value_costs_neither_the_trade_nor_the_turnover(odd):
    features = FEATURES + "  turnover_cny_7d: {source: trades, aggregate: sum, field: amount_cny, window: 7d}\n"
    desk = Desk(plan_of(rule("x", on="trades", when="turnover_cny_7d >= 20_000", **TEAM), features=features))
    assert trade(desk, at(0), quantity=100) == []
    assert len(trade(desk, at(1), **{"quantity": 100} | odd)) == 1


def test_other_is_a_value_like_the_others():
    when = 'trade.product == "other" and trade.channel == "other"'
    desk = Desk(plan_of(rule("x", on="trades", when=when, **TEAM)))
    assert len(trade(desk, at(0), product="nft", channel="kiosk")) == 1
    assert len(trade(desk, at(1), product=None, channel=None)) == 1
    assert trade(desk, at(2)) == []  # not said: a stock, by the app


def test_a_balance_of_a_new_kind_sets_the_assets():
    desk = Desk(plan_of(rule("x", on="balances", when='balance.kind == "other"', **TEAM)))
    assert len(give(desk, "balances", at(0), kind="spin_off", amount_fen=5, assets_fen=700)) == 1
    assert desk.client.assets_fen == 700


@pytest.mark.parametrize("success", [None, "yes", 1])
def test_a_login_of_unknown_success_is_no_failure(success):
    desk = Desk(plan_of(rule("failed", when="not login.success", **TEAM), rule("came", when="login.success", **TEAM)))
    (action,) = give(desk, "logins", at(0), channel="app", success=success)
    assert action["rule_id"] == "came"


# -- amounts -----------------------------------------------------------------------------------------------------------


def test_a_margin_account_below_zero():
    """The call is sent though cash is negative, and nobody takes the old assets for true."""
    call = rule("margin-call", on="balances", when="balance.margin_ratio < 1.3", **TEAM)
    rich = rule("rich", when="client.assets_cny >= 500_000", **TEAM)
    debt = rule("debt", when="client.cash_cny < 0 and client.assets_cny < -1_000", **TEAM)
    desk = Desk(plan_of(call, rich, debt))
    give(desk, "balances", at(0), kind="snapshot", amount_fen=0, assets_fen=60_000_000, cash_fen=5, margin_ratio=2.0)
    loss = {"kind": "loss", "amount_fen": 50_000_000, "cash_fen": -500_000, "margin_ratio": 1.2}
    assert len(give(desk, "balances", at(31), assets_fen=10_000_000, **loss)) == 1
    assert give(desk, "logins", at(31, 13), channel="app") == []
    give(desk, "balances", at(32), assets_fen=-200_001, **loss)
    assert [action["rule_id"] for action in give(desk, "logins", at(32, 13), channel="app")] == ["debt"]
    assert public_fields(desk.client)["assets_cny"] == "-2000.01"


def test_the_peak_of_a_client_who_only_ever_owed():
    desk = Desk(plan_of())
    for day, assets_fen in enumerate((-900, -300, -700)):
        give(desk, "balances", at(day), kind="loss", amount_fen=0, assets_fen=assets_fen)
    assert desk.client.assets_peak_fen == -300


def test_assets_of_institutions():
    """300 billion CNY, and the most there can be, are exact from the record to what is published."""
    shown = rule("shown", on="balances", when="balance.assets_cny >= 300_000_000_000", **TEAM)
    desk = Desk(plan_of(shown.rstrip() + "\n    parameters: {assets: client.assets_cny, mean: assets_avg_cny_30d}\n"))
    for day, assets_fen in enumerate((30_000_000_000_001, 2**53 + 1, MAX_AMOUNT_FEN - 1, MAX_AMOUNT_FEN)):
        (action,) = give(desk, "balances", at(2 * day), kind="snapshot", amount_fen=0, assets_fen=assets_fen)[-1:]
        assert Decimal(action["parameters"]["assets"]) * 100 == assets_fen
        assert public_fields(desk.client)["assets_cny"] == f"{assets_fen // 100}.{assets_fen % 100:02d}"
        again = unpack(desk.plan.layout, pack(desk.plan.layout, desk.client))
        assert again.assets_fen == assets_fen


def test_sums_below_zero_are_exact_and_stop_short_of_64_bits():
    features = (
        "  owed_cny_7d: {source: balances, aggregate: sum, field: cash_cny, window: 7d}\n"
        "  owed_cny_1d: {source: balances, aggregate: sum, field: cash_cny, window: 1d}\n"
        "  owed_cny_since: {source: balances, aggregate: sum, field: cash_cny, since: {on: logins}}\n"
    )
    shown = rule("x", on="balances", when="owed_cny_7d < 0", **TEAM)
    desk = Desk(plan_of(shown.rstrip() + "\n    parameters: {sum: owed_cny_7d}\n", features=FEATURES + features))
    owed = {"kind": "loss", "amount_fen": 0, "assets_fen": 0}
    give(desk, "balances", at(0), **owed, cash_fen=-(2**53) - 1)
    give(desk, "balances", at(1), **owed, cash_fen=-2)
    last = give(desk, "balances", at(2), **owed, cash_fen=1)[0]
    assert Decimal(last["parameters"]["sum"]) * 100 == -(2**53) - 2
    for n in range(250):
        give(desk, "balances", at(3 + n // 100, 1) + 60_000 * (n % 100), **owed, cash_fen=-MAX_AMOUNT_FEN)
    again = unpack(desk.plan.layout, pack(desk.plan.layout, desk.client))
    assert pack(desk.plan.layout, again) == pack(desk.plan.layout, desk.client)


# -- quantities --------------------------------------------------------------------------------------------------------


def test_fractions_of_a_fund():
    features = (
        "  units_7d: {source: trades, aggregate: sum, field: quantity, window: 7d}\n"
        "  units_total: {source: trades, aggregate: sum, field: quantity, since: {on: logins}}\n"
        "  most_7d: {source: trades, aggregate: max, field: quantity, window: 7d}\n"
        "  last_7d: {source: trades, aggregate: last, field: quantity, window: 7d}\n"
        "  sizes_7d: {source: trades, aggregate: distinct, field: quantity, window: 7d}\n"
    )
    names = "units: units_7d, total: units_total, most: most_7d, last: last_7d, sizes: sizes_7d, own: trade.quantity"
    shown = rule("x", on="trades", when="known(trade.quantity)", **TEAM) + f"    parameters: {{{names}}}\n"
    desk = Desk(plan_of(shown, features=FEATURES + features))

    def values(day, quantity):
        (action,) = trade(desk, at(day), quantity=quantity, product="fund")
        return action["parameters"]

    assert values(0, 1234.56) == {
        "units": 1234.56, "total": 1234.56, "most": 1234.56, "last": 1234.56, "sizes": 1, "own": 1234.56
    }  # fmt: skip
    assert values(1, "100.0")["units"] == 1334.56
    values(2, 0.1)
    found = values(2.5, 0.2)
    assert found["units"] == 1334.86  # not 1334.8600000000001
    assert (found["most"], found["last"], found["sizes"]) == (1234.56, 0.2, 4)
    whole = values(3, "0.14")
    assert (whole["units"], type(whole["units"])) == (1335, int)
    desk.states["c1"] = unpack(desk.plan.layout, pack(desk.plan.layout, desk.client))
    assert values(4, 1)["total"] == 1336


def test_conditions_on_quantities_mean_units():
    whens = ("trade.quantity >= 100", "trade.quantity == 1234.56", "trade.quantity * 2 > 2_469", "trade.quantity < 0.2")
    desk = Desk(plan_of(*(rule(f"r{n}", on="trades", when=when, **TEAM) for n, when in enumerate(whens))))

    def fired(day, quantity):
        return {action["rule_id"] for action in trade(desk, at(day), quantity=quantity)}

    assert fired(0, 100) == {"r0"}
    assert fired(1, 99.999999) == set()
    assert fired(2, "1234.56") == {"r0", "r1", "r2"}
    assert fired(3, 0.1) == {"r3"}
    assert fired(4, None) == set()


def test_a_sum_of_quantities_stops_short_of_64_bits():
    features = "  units_1d: {source: trades, aggregate: sum, field: quantity, window: 1d}\n"
    desk = Desk(plan_of(rule("x", on="trades", when="units_1d > 1", **TEAM), features=FEATURES + features))
    for n in range(20):
        trade(desk, at(0) + n, quantity=MAX_QUANTITY)
    assert unpack(desk.plan.layout, pack(desk.plan.layout, desk.client)).sequence == 20


def test_what_0_1_0_kept_of_quantities_is_read_in_millionths():
    features = (
        "  units_7d: {source: trades, aggregate: sum, field: quantity, window: 7d}\n"
        "  mean_7d: {source: trades, aggregate: daily_mean, field: quantity, window: 7d}\n"
        "  units_total: {source: trades, aggregate: sum, field: quantity, since: {on: logins}}\n"
        "  most_7d: {source: trades, aggregate: max, field: quantity, window: 7d}\n"
    )
    names = "units: units_7d, mean: mean_7d, total: units_total, most: most_7d"
    shown = rule("x", on="trades", when="known(trade.quantity)", **TEAM) + f"    parameters: {{{names}}}\n"
    desk = Desk(plan_of(shown, features=FEATURES + features))
    trade(desk, at(0), quantity=5)
    old = {f.name: old_column_key(f) for f in desk.plan.rule_set.features}
    keys = [[old["mean_7d"], old["most_7d"], old["units_7d"]], [], []]
    past, today = [[3, 3], [3, None], [3, 0]], [9, 7, 16]
    more = [None, {old["units_total"]: 19}, {}]
    days = [desk.client.day - 2, desk.client.day - 1]
    packed = msgpack.packb([at(0), True, msgpack.packb([keys, days, past]), today, [], [], more])
    layout, since = desk.plan.layout.sources["trades"], (days[0], days[0] * 24)
    now = (desk.client.day, desk.client.now_ms // 3_600_000)
    activity = unpack_activity(layout, from_positions(packed), now, since)
    activity.recompute(layout, desk.client.day)
    desk.client.activities["trades"] = activity
    (action,) = trade(desk, at(0, 13), quantity=0.5)
    assert action["parameters"] == {"units": 19.5, "mean": 2.166666, "total": 19.5, "most": 7}


# -- tables of 0.1.0 ---------------------------------------------------------------------------------------------------

KINDS_0_1 = "deposit | withdrawal | transfer_in | transfer_out | gain | loss | dividend | interest | fee | snapshot"


@pytest.mark.parametrize(
    ("topic", "rows", "complete", "unheard"),
    [
        ("balances", {"balance.assets_cny": ("0 .. 500_000", ">= 500_000")}, {"assets_fen": 5}, {"assets_fen": -5}),
        ("balances", {"balance.kind": (KINDS_0_1,)}, {"kind": "fee"}, {"kind": "spin_off"}),
        ("trades", {"trade.quantity": ("<= 100", "> 100")}, {"quantity": 100}, {"quantity": "many"}),
        ("trades", {"trade.channel": ("app", "web | desktop", "phone | branch | api")}, {}, {"channel": "kiosk"}),
    ],
)
def test_a_table_that_was_complete_has_no_value_for_what_events_say_only_now(topic, rows, complete, unheard):
    """Rule sets of 0.1.0 are read; no condition on such a table holds for what it does not know of."""
    lines = [f'      - {{{name}: "{cell}", then: 1}}' for name, cells in rows.items() for cell in cells]
    table = "\n".join((f"tables:\n  worth:\n    hit: unique\n    on: {topic}\n    rows:", *lines, ""))
    desk = Desk(plan_of(rule("known", on=topic, when="worth >= 0", **TEAM), definitions=table))
    base = {"balances": {"kind": "fee", "amount_fen": 0, "assets_fen": 1}, "trades": {"symbol": "x", "side": "buy"}}
    values = base[topic] | {"amount_fen": 5}
    assert len(give(desk, topic, at(0), **values | complete)) == 1
    assert give(desk, topic, at(1), **values | unheard) == []


def test_a_table_that_names_what_is_new_has_a_value_for_it():
    rows = ('{balance.kind: "not other", then: 1}', "{balance.kind: other, then: 2}")
    table = "tables:\n  worth:\n    hit: unique\n    on: balances\n    rows:\n" + "".join(
        f"      - {r}\n" for r in rows
    )
    desk = Desk(plan_of(rule("two", on="balances", when="worth == 2", **TEAM), definitions=table))
    assert len(give(desk, "balances", at(0), kind="spin_off", amount_fen=5, assets_fen=5)) == 1
