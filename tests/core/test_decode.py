"""Every bad record, by its reason; what is accepted; what an error says and does not say."""

from __future__ import annotations

import json

import pytest

from engine.core.contract.decode import FUTURE_TOLERANCE_MS, MAX_EVENT_BYTES, Rejected, decode
from engine.core.contract.events import (
    EARLIEST_MS,
    LATEST_MS,
    MAX_AMOUNT_FEN,
    MAX_QUANTITY,
    Balance,
    Login,
    Profile,
    Trade,
)
from engine.core.contract.outbound import Rejection

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
    return decode(topic, key, value if isinstance(value, bytes) else json.dumps(value).encode(), timestamp_ms)


def refused(topic, value, **arguments):
    result = take(topic, value, **arguments)
    assert isinstance(result, Rejected), result
    return result


@pytest.mark.parametrize(
    ("topic", "model"), [("logins", Login), ("trades", Trade), ("balances", Balance), ("profiles", Profile)]
)
def test_good_records(topic, model):
    event = take(topic, GOOD[topic])
    assert type(event) is model
    assert event.time == NOW_MS


BAD_FIELDS = [
    ("logins", "channel", "fax", VALUE),
    ("logins", "channel", None, VALUE),
    ("logins", "success", 1, TYPE),
    ("logins", "success", "true", TYPE),
    ("logins", "region", "moon", VALUE),
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
    ("trades", "quantity", 0, RANGE),
    ("trades", "quantity", -5, RANGE),
    ("trades", "quantity", MAX_QUANTITY + 1, RANGE),
    ("trades", "quantity", 10**4000, RANGE),
    ("trades", "quantity", "5", TYPE),
    ("trades", "quantity", True, TYPE),
    ("trades", "quantity", 5.0, TYPE),
    ("trades", "quantity", 5.5, TYPE),
    ("trades", "quantity", None, TYPE),
    ("trades", "amount_fen", -1, RANGE),
    ("trades", "amount_fen", MAX_AMOUNT_FEN + 1, RANGE),
    ("trades", "amount_fen", 1e3, TYPE),
    ("trades", "side", "hold", VALUE),
    ("trades", "product", "nft", VALUE),
    ("trades", "price_cny", 12.34, TYPE),
    ("trades", "price_cny", "-1", TYPE),
    ("trades", "price_cny", "1e3", TYPE),
    ("trades", "price_cny", "١٢", TYPE),
    ("balances", "kind", "gift", VALUE),
    ("balances", "assets_fen", -1, RANGE),
    ("balances", "margin_ratio", -0.1, RANGE),
    ("balances", "margin_ratio", 1001, RANGE),
    ("balances", "margin_ratio", float("nan"), RANGE),
    ("balances", "margin_ratio", float("inf"), RANGE),
    ("balances", "margin_ratio", "1.5", TYPE),
    ("profiles", "type", "hedge_fund", VALUE),
    ("profiles", "type", None, VALUE),
    ("profiles", "risk_level", "R6", VALUE),
    ("profiles", "consents", None, TYPE),
    ("profiles", "consents", ["sms"], TYPE),
    ("profiles", "consents", {"sms": 1}, TYPE),
    ("profiles", "language", "Chinese", TYPE),
    ("profiles", "time_zone", "8", TYPE),
]


@pytest.mark.parametrize(("topic", "field", "value", "reason"), BAD_FIELDS)
def test_one_bad_field(topic, field, value, reason):
    key = value.encode() if field == "client_id" else b"c-1"
    result = refused(topic, GOOD[topic] | {field: value}, key=key)
    assert result.reason is reason
    assert field in result.error


@pytest.mark.parametrize(("topic", "field"), [(topic, field) for topic, good in GOOD.items() for field in good])
def test_one_field_missing(topic, field):
    needed = field not in ("price_cny", "margin_ratio", "consents")
    without = {name: value for name, value in GOOD[topic].items() if name != field}
    result = take(topic, without)
    if needed:
        assert isinstance(result, Rejected)
        assert result.reason is MISSING
        assert field in result.error
    else:
        assert not isinstance(result, Rejected)


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
    assert isinstance(take("logins", LOGIN, timestamp_ms=timestamp_ms), Login)


@pytest.mark.parametrize("value", [b"[" * 1_000_000, b"\xff" * 1_000_000, b'{"a":' * 200_000, b"9" * 1_000_000])
def test_a_megabyte_is_refused_unread(value):
    assert refused("logins", value).reason is Rejection.TOO_LARGE


def test_largest_accepted():
    value = json.dumps(LOGIN).encode()
    assert isinstance(take("logins", value + b" " * (MAX_EVENT_BYTES - len(value))), Login)
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
        ("logins", {"event_id": "x" * 64}),
        ("logins", {"extra": {"deep": [1, None, "客户", 1.5]}, "another": 10**300}),
        ("profiles", {"consents": {"sms": True, "fax": True}}),
        ("profiles", {"consents": {}}),
        ("profiles", {"language": "en", "time_zone": "America/Argentina/Buenos_Aires"}),
    ],
)
def test_accepted(topic, fields):
    event = take(topic, GOOD[topic] | fields)
    assert not isinstance(event, Rejected), event
    known = {name: value for name, value in fields.items() if name in type(event).model_fields and name != "consents"}
    assert {name: getattr(event, name) for name in known} == known


def test_a_key_given_twice_counts_as_its_last():
    assert refused("logins", raw('"app", "channel": "fax"')).reason is VALUE
    event = take("logins", raw('"web", "channel": "app"'))
    assert isinstance(event, Login)
    assert event.channel == "app"


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
    event = take("logins", LOGIN | {"time": text})
    assert isinstance(event, Login), event
    assert event.time == NOW_MS


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (None, b"x" * (MAX_EVENT_BYTES + 1), Rejection.TOO_LARGE),
        (None, None, Rejection.NO_KEY),
        (b"c-2", b"", Rejection.NO_VALUE),
        (b"c-2", b"{}", MISSING),
        (b"c-1", json.dumps(LOGIN | {"channel": "fax", "success": 1}).encode(), TYPE),
        (b"c-1", json.dumps(LOGIN | {"channel": "fax", "time": 5}).encode(), VALUE),
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
