"""What a field costs that cannot be read: itself alone; and the forms that a field may have."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from engine.core.contract.events import (
    MAX_AMOUNT_FEN,
    Login,
)
from engine.core.contract.fields import MAX_QUANTITY, micro, units
from engine.core.contract.topics import TOPICS
from engine.core.reading.decode import Rejected, Taken, fallbacks
from tests.core.records import GOOD, PROFILE, TRADE, VALUE, event_of, refused, take

# What stands for a value that cannot be read, field by field; every field that a model has and that is not essential.
SPOILT = [
    ("trades", "product", "other", ("nft", 5, "", "STOCK", ["stock"], True)),
    ("trades", "channel", "other", ("fax", 1, "", {"app": 1})),
    ("trades", "price_cny", None, (12.34, "-1", "1e3", "١٢", 12)),
    ("trades", "matures_on", None, ("2026-02-30", "soon", 20260302, "2026-3-2", "1899-01-01", "")),
    (
        "trades",
        "quantity",
        None,
        (0, -5, MAX_QUANTITY + 1, 10**4000, True, "five", "", "0", "-5", "1e3", "٥", "1_000", " 5", "+5", 0.0, -1.5,
         1e-7, "1.2345678", 1e30, float("inf"), float("nan"), 123456789012.1234, "123456789012.123456", [5]),
    ),
    ("logins", "channel", "other", ("fax", "NoneType", 7, [])),
    ("logins", "success", True, (1, 0, "true", "no", [])),
    ("logins", "device_id", None, ("", "with space", 7, "x" * 65)),
    ("logins", "region", None, ("moon", 5, "")),
    ("balances", "kind", "other", ("gift", 5, "DEPOSIT")),
    ("balances", "cash_fen", None, (1.5, "5", MAX_AMOUNT_FEN + 1, -MAX_AMOUNT_FEN - 1, True)),
    ("balances", "margin_ratio", None, (-0.1, 1001, float("nan"), float("inf"), "1.5", True)),
    ("profiles", "type", None, ("hedge_fund", 5, "", ["individual"])),
    ("profiles", "age_band", None, ("25-35", 30)),
    ("profiles", "region", None, ("south", 5)),
    ("profiles", "risk_level", None, ("R6", 3, "r1")),
    ("profiles", "consents", None, (["sms"], "sms", True, 5)),
    ("profiles", "marketing_consents", None, (["sms"], "sms", True, 5)),
    ("profiles", "service_consents", None, ("sms",)),
    ("profiles", "risk_consents", None, ("sms",)),
    ("profiles", "consent_source", None, ("", 7, "two words")),
    ("profiles", "language", None, ("Chinese", "", 5, "zh-CN-x-private", "zh_CN.UTF-8", "z", "中文")),
    ("profiles", "time_zone", None, ("GMT+8", "", "8", 8, "Mars/Base", "asia/shanghai", "UTC+08:00", "x" * 999)),
    ("profiles", "advisor_id", None, ("", 7, "Zhang San")),
    ("profiles", "birth_date", None, ("1990-02-30", "1990", 1990, "")),
    ("receipts", "rule_id", None, ("", 7, "two words")),
    ("receipts", "kind", None, ("letter", 7)),
    ("receipts", "purpose", None, ("spam", 7)),
    ("outcomes", "rule_id", None, ("", 7)),
    ("outcomes", "kind", None, ("call", 7)),
    ("outcomes", "code", None, ("", 7, "x" * 65)),
    ("outcomes", "by", None, ("Zhang San", 7)),
    ("feedback", "rule_id", None, ("", 7)),
    ("feedback", "kind", None, ("form", 7)),
    ("feedback", "nps", None, (-1, 11, 9.5, 9.0, "9", True, [9])),
    ("feedback", "csat", None, (0, 6, "5")),
    ("feedback", "ces", None, (0, 8, "7")),
    ("feedback", "answers", None, ("fees", [], ["two words"], [7], ["x" * 33], ["x"] * 21, {"q1": "fees"}, [None])),
    ("feedback", "comment", None, (7, ["words"], "x" * 10_001)),
    ("complaints", "category", None, ("", 7, "two words")),
    ("complaints", "severity", None, ("grave", 3, "LOW")),
    ("trades", "account", None, ("", 7, "two words")),
    ("trades", "order_id", None, ("", 7, "two words", "x" * 65)),
    ("trades", "commission_fen", None, (-1, 1.5, "7")),
    ("trades", "market", None, ("", 7, "two words")),
    ("positions", "product", "other", ("gold", 3)),
    ("positions", "risk_class", None, ("unknown", "R6", 3)),
    ("positions", "value_fen", None, (-1, 1.5, "7")),
    ("positions", "cost_fen", None, (-1, 1.5, "7")),
    ("overrides", "reason", None, ("", 7, "x" * 201)),
]  # fmt: skip
SPOILT_ONCE = [(topic, field, instead, value) for topic, field, instead, values in SPOILT for value in values]


@pytest.mark.parametrize(("topic", "field", "instead", "value"), SPOILT_ONCE)
def test_what_is_out_of_one_fields_range_costs_that_field_alone(topic, field, instead, value):
    result = take(topic, GOOD[topic] | {field: value})
    assert isinstance(result, Taken), result
    assert result.unread == (field,)
    unsaid = field in type(result.event).unsaid
    good = {name: given for name, given in GOOD[topic].items() if name != field}
    assert result.event == event_of(topic, good if unsaid else good | {field: instead})
    assert (field in result.event.model_fields_set) is not unsaid
    assert getattr(result.event, field) == instead


def test_the_table_above_names_every_field():
    named = {(topic, field) for topic, field, *_ in SPOILT}
    models = {topic: type(event_of(topic, good)) for topic, good in GOOD.items()}
    assert named == {(topic, field) for topic, model in models.items() for field in fallbacks(model)}
    assert {topic: model.essential - {"event_id", "client_id", "time"} for topic, model in models.items()} == {
        "trades": {"symbol", "side", "amount_fen", "currency"},
        "logins": set(),
        "balances": {"amount_fen", "assets_fen", "account"},
        "profiles": set(),
        "receipts": {"action_id", "channel", "status"},
        "outcomes": {"action_id", "status"},
        "feedback": {"action_id"},
        "complaints": {"complaint_id", "status"},
        "positions": {"symbol", "quantity"},
        "overrides": {"kind", "by", "tier", "rule_id", "starts_at", "until", "ended"},
    }


def test_a_field_that_is_added_later_is_lenient_if_it_is_optional():
    class Later(Login):
        mood: str | None = None

    class Other(Login):
        mood: str = "calm"

    assert fallbacks(Later) == fallbacks(Login) | {"mood": None}
    assert fallbacks(Other) == fallbacks(Login)


@pytest.mark.parametrize("topic", list(GOOD))
def test_each_field_is_essential_or_lenient(topic):
    model = TOPICS[topic].model
    assert set(model.model_fields) == model.essential | set(fallbacks(model))


def test_several_fields_spoilt():
    spoilt = {"time_zone": "GMT+8", "language": 5, "region": "south", "consents": {"sms": "yes", "phone": True}}
    result = take("profiles", PROFILE | spoilt)
    assert result.unread == ("region", "consents.sms", "language", "time_zone")
    assert dict(result.event.consents) == dict.fromkeys(("app_push", "email", "wechat"), False) | {
        "sms": None,
        "phone": True,
    }


def test_beside_a_field_without_which_it_means_nothing_the_others_are_not_blamed():
    result = refused("trades", TRADE | {"side": "hold", "product": "nft", "quantity": 0})
    assert result.reason is VALUE
    assert "product" not in result.error


@pytest.mark.parametrize(
    ("consents", "agreed", "unread"),
    [
        ({"sms": True, "phone": False}, {"sms"}, ()),
        ({"sms": None, "phone": True}, {"phone"}, ()),
        ({}, set(), ()),
        (None, set(), ()),
        ({"fax": True}, set(), ()),
        ({"sms": 1, "phone": True}, {"phone"}, ("consents.sms",)),
        ({"sms": "true", "phone": "yes", "email": True}, {"email"}, ("consents.sms", "consents.phone")),
        ({"sms": {"agreed": True}}, set(), ("consents.sms",)),
        ("sms", set(), ("consents",)),
        (["sms"], set(), ("consents",)),
        (True, set(), ("consents",)),
    ],
)
@pytest.mark.parametrize("beside", [{}, {"time_zone": "GMT+8", "added_later": 10**300}, {"type": 5, "region": []}])
def test_consents(consents, agreed, unread, beside):
    result = take("profiles", PROFILE | {"consents": consents} | beside)
    assert {channel for channel, given in result.event.consents or () if given} == agreed
    assert [name for name in result.unread if name.startswith("consents")] == list(unread)


def test_a_profile_that_says_nothing_of_consents():
    event = event_of("profiles", {name: value for name, value in PROFILE.items() if name != "consents"})
    assert "consents" not in event.model_fields_set


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("zh-CN", "zh-CN"),
        ("zh_CN", "zh-CN"),
        ("zh-Hans-CN", "zh-CN"),
        ("zh_Hans_CN", "zh-CN"),
        ("ZH-cn", "zh-CN"),
        ("zh-Hant-HK", "zh-HK"),
        ("zh-Hant", "zh-Hant"),
        ("sr-latn-rs", "sr-Latn-RS"),
        ("es-419", "es-419"),
        ("en", "en"),
        ("yue", "yue"),
    ],
)
def test_languages(written, read):
    result = take("profiles", PROFILE | {"language": written})
    assert (result.event.language, result.unread) == (read, ())


@pytest.mark.parametrize(
    "zone", ["Asia/Shanghai", "Etc/GMT-8", "EST5EDT", "UTC", "America/Argentina/Buenos_Aires", "Asia/Urumqi"]
)
def test_time_zones(zone):
    result = take("profiles", PROFILE | {"time_zone": zone})
    assert (result.event.time_zone, result.unread) == (zone, ())


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (1, 1),
        (MAX_QUANTITY, MAX_QUANTITY),
        (100.0, 100),
        ("100", 100),
        ("100.000000", 100),
        (1234.56, 1234.56),
        ("1234.56", 1234.56),
        ("1234.5600000", 1234.56),
        (0.1, 0.1),
        (0.000001, 0.000001),
        ("0.000001", 0.000001),
        ("999999999.123456", 999999999.123456),
        (1e6, 1_000_000),
        (None, None),
    ],
)
def test_quantities(written, read):
    result = take("trades", TRADE | {"quantity": written})
    assert (result.event.quantity, result.unread) == (read, ())
    assert type(result.event.quantity) is type(read)
    if read is not None:
        assert units(micro(read)) == read
        assert micro(read) == Decimal(str(written)) * 1_000_000


@pytest.mark.parametrize("currency", ["CNY", "RMB", None])
def test_a_trade_in_cny_counts(currency):
    result = take("trades", TRADE | {"currency": currency})
    assert isinstance(result, Taken)
    assert result.unread == ()


@pytest.mark.parametrize("currency", ["HKD", "USD", "CNH", "cny", "", 156, 1, True, ["CNY"], {"code": "CNY"}])
def test_a_trade_of_another_or_an_unreadable_currency_is_refused(currency):
    """Its amounts would be added up as CNY."""
    result = take("trades", TRADE | {"currency": currency})
    assert isinstance(result, Rejected), result
    assert result.reason == "unknown_value"
    assert result.error == "currency: amounts are in CNY: convert them, and send CNY or no currency"


def test_trades_with_and_without_their_optional_fields_are_read_quickly():
    more = {"account": "A-1", "order_id": "o-1", "commission_fen": 5, "currency": "CNY", "market": "SH"}
    read = TOPICS["trades"].quick.read
    for given in (TRADE, TRADE | more):
        for separators in ((",", ":"), (", ", ": ")):
            event = read(json.dumps(given, separators=separators).encode(), lambda model: lambda keys: False, 0)
            assert {name: getattr(event, name) for name in given} == given
    for odd in ("two words", "tab\x7f", "\u00e9"):
        for name in ("account", "symbol"):
            value = json.dumps(TRADE | {name: odd}, ensure_ascii=False, separators=(",", ":"))
            assert read(value.encode(), lambda model: lambda keys: False, 0) is None
