"""Every bad record, by its reason; what is accepted; what an error says and does not say."""

from __future__ import annotations

import json

import pytest

from engine.core.contract.events import MAX_AMOUNT_FEN, Balance, Login, Trade
from engine.core.contract.fields import EARLIEST_MS, LATEST_MS, MAX_QUANTITY
from engine.core.contract.outbound import Rejection
from engine.core.contract.profiles import Profile
from engine.core.reading.decode import FUTURE_TOLERANCE_MS, MAX_EVENT_BYTES, Rejected, decode
from tests.core.records import (
    GOOD,
    JSON,
    LOGIN,
    MISSING,
    NOW_MS,
    PROFILE,
    RANGE,
    TRADE,
    TYPE,
    VALUE,
    event_of,
    refused,
    take,
)


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
    model = type(event_of(topic, GOOD[topic]))
    if field in model.essential and (model.model_fields[field].is_required() or field == "until"):
        result = refused(topic, without)
        assert result.reason is MISSING
        assert field in result.error
    else:  # an override without rule_id is of all rules
        # right to send, but not what the event hangs on
        needed = (topic, field) in (("balances", "kind"), ("logins", "channel"))
        assert take(topic, without).unread == ((field,) if needed else ())


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
