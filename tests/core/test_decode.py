"""Every bad record, by its reason; what is accepted; what one bad field costs; what an error says and does not say."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from engine.core.contract.decode import FUTURE_TOLERANCE_MS, MAX_EVENT_BYTES, Rejected, Taken, decode, fallbacks
from engine.core.contract.events import (
    EARLIEST_MS,
    LATEST_MS,
    MAX_AMOUNT_FEN,
    Balance,
    Login,
    Profile,
    Trade,
)
from engine.core.contract.fields import MAX_QUANTITY, micro, units
from engine.core.contract.outbound import Rejection
from engine.core.contract.topics import TOPICS
from tests.core.making import fields_of

NOW_MS = 1_772_415_000_000  # 2026-03-02T09:30:00+08:00
LOGIN = {"event_id": "e-1", "client_id": "c-1", "time": NOW_MS, "channel": "app"}
TRADE = {
    "event_id": "e-1", "client_id": "c-1", "time": NOW_MS, "symbol": "600000", "side": "buy", "quantity": 100,
    "amount_fen": 123_456, "price_cny": "12.34",
}  # fmt: skip
BALANCE = {
    "event_id": "e-1", "client_id": "c-1", "time": NOW_MS, "kind": "deposit", "amount_fen": 5, "assets_fen": 7,
    "margin_ratio": 1.5,
}  # fmt: skip
PROFILE = {"event_id": "e-1", "client_id": "c-1", "time": NOW_MS, "type": "individual", "consents": {"sms": True}}
GOOD = {"logins": LOGIN, "trades": TRADE, "balances": BALANCE, "profiles": PROFILE}

MISSING, TYPE, VALUE, RANGE, JSON = (
    Rejection.MISSING_FIELD, Rejection.WRONG_TYPE, Rejection.UNKNOWN_VALUE, Rejection.OUT_OF_RANGE, Rejection.NOT_JSON,
)  # fmt: skip


def take(topic, value, key=b"c-1", timestamp_ms=NOW_MS):
    result = decode(topic, key, value if isinstance(value, bytes) else json.dumps(value).encode(), timestamp_ms)
    if isinstance(result, Taken) and TOPICS[topic].quick:  # an event that is no pydantic model
        return Taken(TOPICS[topic].model.model_construct(**fields_of(result.event)), result.unread)
    return result


def event_of(topic, value, **arguments):
    result = take(topic, value, **arguments)
    assert isinstance(result, Taken), result
    return result.event


def refused(topic, value, **arguments):
    result = take(topic, value, **arguments)
    assert isinstance(result, Rejected), result
    return result


@pytest.mark.parametrize(
    ("topic", "model"), [("logins", Login), ("trades", Trade), ("balances", Balance), ("profiles", Profile)]
)
def test_good_records(topic, model):
    assert take(topic, GOOD[topic]).unread == ()
    event = event_of(topic, GOOD[topic])
    assert type(event) is model
    assert event.time == NOW_MS


BAD_FIELDS = [
    ("logins", "event_id", "", RANGE),
    ("logins", "event_id", 7, TYPE),
    ("logins", "event_id", "x" * 65, RANGE),
    ("logins", "client_id", "with space", TYPE),
    ("logins", "client_id", "客户", TYPE),
    ("logins", "client_id", "line\n", TYPE),
    ("logins", "client_id", "nul\x00", TYPE),
    ("logins", "time", NOW_MS // 1000, RANGE),
    ("logins", "time", NOW_MS * 1000, RANGE),
    ("logins", "time", -1, RANGE),
    ("logins", "time", EARLIEST_MS - 1, RANGE),
    ("logins", "time", LATEST_MS, RANGE),
    ("logins", "time", 10**400, RANGE),
    ("logins", "time", float(NOW_MS), TYPE),
    ("logins", "time", str(NOW_MS), TYPE),
    ("logins", "time", True, TYPE),
    ("logins", "time", None, TYPE),
    ("logins", "time", [NOW_MS], TYPE),
    ("logins", "time", "2026-03-02T09:30:00", TYPE),
    ("logins", "time", "2026-03-02T09:30+08:00", TYPE),
    ("logins", "time", "2026-03-02", TYPE),
    ("logins", "time", "20260302T093000+0800", TYPE),
    ("logins", "time", "2026-W10-1T09:30:00+08:00", TYPE),
    ("logins", "time", "2026-02-30T09:30:00+08:00", TYPE),
    ("logins", "time", "２０２６-03-02T09:30:00Z", TYPE),
    ("logins", "time", "yesterday", TYPE),
    ("logins", "time", "1999-12-31T23:59:59Z", RANGE),
    ("logins", "time", "0001-01-01T00:00:00+23:59", RANGE),
    ("trades", "symbol", "", RANGE),
    ("trades", "symbol", None, TYPE),
    ("trades", "side", "hold", VALUE),
    ("trades", "side", None, VALUE),
    ("trades", "amount_fen", -1, RANGE),
    ("trades", "amount_fen", MAX_AMOUNT_FEN + 1, RANGE),
    ("trades", "amount_fen", 1e3, TYPE),
    ("trades", "amount_fen", None, TYPE),
    ("balances", "amount_fen", -1, RANGE),
    ("balances", "assets_fen", MAX_AMOUNT_FEN + 1, RANGE),
    ("balances", "assets_fen", -MAX_AMOUNT_FEN - 1, RANGE),
    ("balances", "assets_fen", 7.0, TYPE),
    ("balances", "assets_fen", None, TYPE),
]


@pytest.mark.parametrize(("topic", "field", "value", "reason"), BAD_FIELDS)
def test_without_these_an_event_means_nothing(topic, field, value, reason):
    key = value.encode() if field == "client_id" else b"c-1"
    result = refused(topic, GOOD[topic] | {field: value}, key=key)
    assert result.reason is reason
    assert field in result.error


@pytest.mark.parametrize(("topic", "field"), [(topic, field) for topic, good in GOOD.items() for field in good])
def test_one_field_missing(topic, field):
    without = {name: value for name, value in GOOD[topic].items() if name != field}
    if field in type(event_of(topic, GOOD[topic])).essential:
        result = refused(topic, without)
        assert result.reason is MISSING
        assert field in result.error
    else:
        needed = field in ("kind", "channel")  # right to send, but not what the event hangs on
        assert take(topic, without).unread == ((field,) if needed else ())


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
    ("profiles", "language", None, ("Chinese", "", 5, "zh-CN-x-private", "zh_CN.UTF-8", "z", "中文")),
    ("profiles", "time_zone", None, ("GMT+8", "", "8", 8, "Mars/Base", "asia/shanghai", "UTC+08:00", "x" * 999)),
    ("profiles", "advisor_id", None, ("", 7, "Zhang San")),
    ("profiles", "birth_date", None, ("1990-02-30", "1990", 1990, "")),
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
        "trades": {"symbol", "side", "amount_fen"},
        "logins": set(),
        "balances": {"amount_fen", "assets_fen"},
        "profiles": set(),
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


def raw(text: str) -> bytes:
    return json.dumps(LOGIN).encode().replace(b'"app"', text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(
    "value",
    [
        b"not json",
        b" ",
        b"{",
        b"\x00\x01\x02",
        json.dumps(LOGIN).encode()[:-1],
        json.dumps(LOGIN).encode() + b"{}",
        b"\xef\xbb\xbf" + json.dumps(LOGIN).encode(),  # a byte order mark is not JSON
        json.dumps(LOGIN).encode().replace(b"app", b"\xff\xfe"),
        json.dumps(LOGIN).encode("utf-16"),
        raw('"\\ud800"'),
        raw('"app", "extra": "\\udfff"'),
        raw('"app", "extra": "\ud800"'),
        raw('"app", "extra": ' + "[" * 50_000),
        raw('"app", "extra": ' + "[" * 5_000 + "]" * 5_000),
        raw('"app", "extra": ' + "1" * 5_000),
        raw("'app'"),
        raw('"app",'),
        raw('"app" /* */'),
    ],
    ids=lambda value: repr(value[-30:]),
)
def test_not_json(value):
    assert refused("logins", value).reason is JSON


@pytest.mark.parametrize("value", [b"null", b"5", b"[]", b'"text"', b"true", b"NaN"])
def test_json_but_no_object(value):
    assert refused("logins", value).reason is TYPE


@pytest.mark.parametrize(
    ("key", "value", "timestamp_ms", "reason"),
    [
        (None, LOGIN, NOW_MS, Rejection.NO_KEY),
        (b"", LOGIN, NOW_MS, Rejection.NO_KEY),
        (b"c-2", LOGIN, NOW_MS, Rejection.KEY_MISMATCH),
        (b"C-1", LOGIN, NOW_MS, Rejection.KEY_MISMATCH),
        (b"c-1\x00", LOGIN, NOW_MS, Rejection.KEY_MISMATCH),
        (b"\xff", LOGIN, NOW_MS, Rejection.KEY_MISMATCH),
        (b'"c-1"', LOGIN, NOW_MS, Rejection.KEY_MISMATCH),
        (b"c-1", None, NOW_MS, Rejection.NO_VALUE),
        (b"c-1", b"", NOW_MS, Rejection.NO_VALUE),
        (b"c-1", LOGIN, NOW_MS - FUTURE_TOLERANCE_MS - 1, Rejection.FUTURE),
        (b"c-1", LOGIN, 0, Rejection.FUTURE),
        (b"c-1", b"x" * (MAX_EVENT_BYTES + 1), NOW_MS, Rejection.TOO_LARGE),
    ],
)
def test_record_around_the_event(key, value, timestamp_ms, reason):
    value = json.dumps(value).encode() if isinstance(value, dict) else value
    result = decode("logins", key, value, timestamp_ms)
    assert isinstance(result, Rejected)
    assert result.reason is reason


@pytest.mark.parametrize("timestamp_ms", [-1, NOW_MS - FUTURE_TOLERANCE_MS, NOW_MS, NOW_MS + 10**10])
def test_not_dated_in_the_future(timestamp_ms):
    """A record without a time of its own cannot be judged by it; one that comes late is no fault."""
    assert isinstance(event_of("logins", LOGIN, timestamp_ms=timestamp_ms), Login)


@pytest.mark.parametrize("value", [b"[" * 1_000_000, b"\xff" * 1_000_000, b'{"a":' * 200_000, b"9" * 1_000_000])
def test_a_megabyte_is_refused_unread(value):
    assert refused("logins", value).reason is Rejection.TOO_LARGE


def test_largest_accepted():
    value = json.dumps(LOGIN).encode()
    assert isinstance(event_of("logins", value + b" " * (MAX_EVENT_BYTES - len(value))), Login)
    assert refused("logins", value + b" " * (MAX_EVENT_BYTES + 1 - len(value))).reason is Rejection.TOO_LARGE


@pytest.mark.parametrize(
    ("topic", "fields"),
    [
        ("trades", {"quantity": 1, "amount_fen": 0}),
        ("trades", {"quantity": MAX_QUANTITY, "amount_fen": MAX_AMOUNT_FEN}),
        ("trades", {"price_cny": "0.000001"}),
        ("trades", {"price_cny": None}),
        ("balances", {"margin_ratio": 2}),
        ("balances", {"margin_ratio": None, "cash_fen": None}),
        ("balances", {"amount_fen": MAX_AMOUNT_FEN, "assets_fen": MAX_AMOUNT_FEN, "cash_fen": -1}),
        ("balances", {"assets_fen": -MAX_AMOUNT_FEN, "cash_fen": -MAX_AMOUNT_FEN}),
        ("balances", {"assets_fen": 2**53 + 1}),
        ("balances", {"kind": "other"}),
        ("trades", {"channel": "other"}),
        ("logins", {"event_id": "x" * 64}),
        ("logins", {"extra": {"deep": [1, None, "客户", 1.5]}, "another": 10**300}),
        ("profiles", {"consents": {"sms": True, "fax": True}}),
        ("profiles", {"consents": {}}),
        ("profiles", {"language": "en", "time_zone": "America/Argentina/Buenos_Aires"}),
    ],
)
def test_accepted(topic, fields):
    assert take(topic, GOOD[topic] | fields).unread == ()
    event = event_of(topic, GOOD[topic] | fields)
    known = {name: value for name, value in fields.items() if name in type(event).model_fields and name != "consents"}
    assert {name: getattr(event, name) for name in known} == known


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-02T09:30:00+08:00",
        "2026-03-02T01:30:00Z",
        "2026-03-02T01:30:00.000Z",
        "2026-03-02t01:30:00z",
        "2026-03-02 01:30:00.000999999+00:00",
        "2026-03-01T17:30:00-08:00",
    ],
)
def test_times_in_text(text):
    assert event_of("logins", LOGIN | {"time": text}).time == NOW_MS


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (None, b"x" * (MAX_EVENT_BYTES + 1), Rejection.TOO_LARGE),
        (None, None, Rejection.NO_KEY),
        (b"c-2", b"", Rejection.NO_VALUE),
        (b"c-2", b"{}", MISSING),
        (b"c-1", json.dumps(LOGIN | {"event_id": 5, "time": 5}).encode(), TYPE),
        (b"c-1", json.dumps(LOGIN | {"channel": "fax", "time": 5}).encode(), RANGE),
        (b"c-2", json.dumps(LOGIN | {"time": NOW_MS + 10**9}).encode(), Rejection.KEY_MISMATCH),
    ],
)
def test_the_first_reason_is_the_one_named(key, value, reason):
    result = decode("logins", key, value, NOW_MS)
    assert isinstance(result, Rejected)
    assert result.reason is reason


@pytest.mark.parametrize("topic", list(GOOD))
def test_an_error_repeats_nothing_of_the_record(topic):
    secret = "hunter2-" * 3
    spoiled = dict.fromkeys(GOOD[topic], secret) | {secret: secret}
    assert secret[:8] not in refused(topic, spoiled).error
    assert secret[:8] not in refused(topic, json.dumps(spoiled).encode()[:-9]).error
    assert secret[:8] not in refused(topic, GOOD[topic], key=secret.encode()).error


def test_an_error_is_short_however_much_is_wrong():
    result = refused("trades", {field: [] for field in TRADE})
    assert len(result.error) <= 500
    assert result.error.count(";") == 4
    deep = {field: {field: [{}] * 9} for field in PROFILE}
    assert len(refused("profiles", deep).error) <= 500
