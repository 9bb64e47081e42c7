"""What a record says twice, inexactly or impossibly: refused by name, or that field unknown and counted."""

from __future__ import annotations

import json
import sys

import pytest

from engine.core.contract.outbound import Rejection
from engine.core.reading.decode import Rejected
from tests.core.records import NOW_MS, PROFILE, TRADE, event_of, refused, take
from tests.core.test_producers import SECRET

# -- ambiguous JSON ----------------------------------------------------------------------------------------------------


def plain(**fields):
    return json.dumps({"event_id": "e-1", "client_id": "c-1", "time": NOW_MS} | fields).encode()[:-1]


_TRADE = plain(symbol="600000", side="buy", amount_fen=1)
TWICE = {
    "an amount": ("trades", _TRADE + b',"amount_fen":2}', "amount_fen"),
    "an amount, the same": ("trades", _TRADE + b',"amount_fen":1}', "amount_fen"),
    "blanks before the colon": ("trades", _TRADE + b',"amount_fen" \t\r\n :2}', "amount_fen"),
    "escaped": ("trades", _TRADE + b',"amount\\u005ffen":2}', "amount_fen"),
    "a side": ("trades", _TRADE + b', "side":"sell"}', "side"),
    "the client": ("logins", plain(channel="app") + b',"client_id":"c-1"}', "client_id"),
    "a time of the other form": ("logins", plain(channel="app") + b',"time":"2026-03-02T09:30:00+08:00"}', "time"),
    "beside a field that is left out": ("logins", plain() + b',"channel":"app","channel":"web"}', "channel"),
    "of which one cannot be read": ("logins", plain() + b',"channel":"fax","channel":"web"}', "channel"),
    "of which the other cannot be read": ("logins", plain() + b',"channel":"app","channel":"fax"}', "channel"),
    "a consent": ("profiles", plain() + b',"consents":{"sms":true,"sms":false}}', "sms"),
    "a consent, withdrawn first": ("profiles", plain() + b',"consents":{"sms":false,"phone":true,"sms":true}}', "sms"),
    "the consents": ("profiles", plain() + b',"consents":{"sms":true},"consents":{"phone":true}}', "consents"),
    "the consents, one null": ("profiles", plain() + b',"consents":{"sms":true},"consents":null}', "consents"),
    "assets": ("balances", plain(kind="snapshot", amount_fen=0, assets_fen=5) + b',"assets_fen":7}', "assets_fen"),
    "an unknown key": ("trades", _TRADE + b',"hunter2":2,"hunter2":3}', "a key that the contract does not name"),
    "an unknown key, deep": ("trades", _TRADE + b',"x":[{"y":{"hunter2":1,"hunter2":1}}]}', "does not name"),
    "beside colons in texts": ("trades", _TRADE + b',"note":"a: \\":b\\":","side":"buy"}', "side"),
}  # fmt: skip


@pytest.mark.parametrize(("topic", "value", "key"), TWICE.values(), ids=TWICE)
def test_a_key_twice(topic, value, key):
    result = refused(topic, value)
    assert result.reason is Rejection.DUPLICATE_KEY
    assert key in result.error
    assert SECRET not in result.error


@pytest.mark.parametrize(
    "beside",
    [
        b"",
        b',"note":"\\":\\":"',
        b',"note":"a:b\\":c"',
        b',"x":{"y":1,"z":[{"y":1},{"y":2}]}',
        b',"x" : {"amount_fen":9}',
    ],
)
def test_no_key_twice(beside):
    assert event_of("trades", _TRADE + beside + b"}").amount_fen == 1
    assert take("profiles", plain(consents={"sms": True}) + beside + b"}").event.consents.sms is True


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("100.00000000000000001", None),
        ("0.10000000000000001", None),
        ("1234.5600000000000001", None),
        ("12345678901234567e-10", None),
        ("1e400", None),
        ("1e-400", None),
        ("NaN", None),
        ("-Infinity", None),
        ("1e999999999999", None),
        ("9007199254740993.0", None),
        ("100.0000000000000000000", 100),
        ("1234.560000000000000000", 1234.56),
        ("1E+2", 100),
        ("123456.123456", 123456.123456),
        ("1000000000000", 10**12),
    ],
)
@pytest.mark.parametrize("beside", [b"}", b' , "note" : "x" }'])
def test_a_quantity_is_read_exactly_or_unknown(text, read, beside):
    result = take("trades", _TRADE + b',"quantity" : ' + text.encode() + beside)
    assert result.event.quantity == read
    assert result.unread == (() if read is not None else ("quantity",))


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("1.29999999999999999999", None),
        ("1.3000000000000000000000", 1.3),
        ("1.3000000000000000001", None),
        ("1.3", 1.3),
        ("2", 2.0),
        ("1e400", None),
        ("NaN", None),
        ("13e-1", 1.3),
    ],
)
def test_a_ratio_is_read_exactly_or_unknown(text, read):
    """A margin call hangs on it."""
    value = plain(kind="snapshot", amount_fen=0, assets_fen=5) + b',"margin_ratio":' + text.encode() + b"}"
    result = take("balances", value)
    assert (result.event.margin_ratio, result.unread) == (read, () if read is not None else ("margin_ratio",))


@pytest.mark.parametrize("number", [2**53 + 1, 2**53 - 1, 10**17 - 1, -(2**53) - 1, 99_999_999_999_999_999])
def test_amounts_beyond_what_a_float_keeps(number):
    value = plain(kind="snapshot", amount_fen=0, assets_fen=number) + b',"x":1}'
    assert event_of("balances", value).assets_fen == number


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1e3", "as digits alone"), ("5.0", "as digits alone"), ("9007199254740993.0", "as digits alone"),
        ("1.00000000000000000001", "as digits alone"), ("NaN", "NaN"), ("-Infinity", "Infinity"), ("1e400", "Infinity"),
        ('"5"', "without quotes"),
    ],
)  # fmt: skip
def test_an_amount_that_is_no_whole_number(text, said):
    value = plain(symbol="600000", side="buy") + b',"amount_fen":' + text.encode() + b"}"
    result = refused("trades", value)
    assert result.reason is Rejection.WRONG_TYPE
    assert "amount_fen" in result.error
    assert said in result.error


@pytest.mark.parametrize(
    ("symbol", "said"),
    [("60\u00000", "control character"), ("60\t0", "control character"), ("600000\n", "control character"),
     ("60 0", "a blank"), ("６０００００", "not ASCII"), ("60\u200b", "not ASCII"), ("60\x7f", "control character")],
)  # fmt: skip
def test_a_character_that_no_id_has(symbol, said):
    assert said in refused("trades", TRADE | {"symbol": symbol}).error


# -- dates that cannot be ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("date", "possible"),
    [
        ("2026-03-02", True), ("2026-03-03", False), ("2027-01-01", False), ("2099-12-31", False),
        ("1901-03-03", True), ("1901-03-02", False), ("1900-01-01", False), ("1876-03-02", False),
        ("0001-01-01", False), ("9999-12-31", False), ("1990-02-29", False), ("1988-02-29", True),
    ],
)  # fmt: skip
def test_a_birth_date_that_cannot_be_is_unknown(date, possible):
    for fields in (
        PROFILE | {"birth_date": date},
        {"birth_date": date} | PROFILE,
        PROFILE | {"birth_date": date, "x": 1},
    ):
        result = take("profiles", fields)
        assert (result.event.birth_date, result.unread) == ((date, ()) if possible else (None, ("birth_date",)))
        assert result.event.consents.sms is True


@pytest.mark.parametrize(
    ("side", "date", "possible"),
    [
        ("buy", "2026-03-02", True), ("buy", "2026-03-01", False), ("buy", "2020-01-01", False),
        ("buy", "2099-12-31", True), ("buy", "9999-12-31", False), ("buy", "1970-01-01", False),
        ("sell", "2026-03-01", True),  # paid out after the last day
    ],
)  # fmt: skip
def test_what_matured_before_it_was_bought_has_no_known_last_day(side, date, possible):
    result = take("trades", TRADE | {"side": side, "matures_on": date})
    assert (result.event.matures_on, result.unread) == ((date, ()) if possible else (None, ("matures_on",)))
    assert result.event.amount_fen == TRADE["amount_fen"]


def test_limits_of_the_process_refuse_and_do_not_raise():
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(700)
    try:
        assert isinstance(take("trades", _TRADE + b',"note":' + b"9" * 800 + b"}"), Rejected)
    finally:
        sys.set_int_max_str_digits(before)
