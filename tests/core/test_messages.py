"""What leaves: ids that name a decision for ever, texts of money and time, records as the published schemas say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from engine.core.client.record import PUBLIC_FIELDS, public_fields
from engine.core.client.state import ClientState
from engine.core.contract.message import Message, cny, rfc3339
from engine.core.contract.outbound import CARE, OUTBOUND, OUTBOUND_MODEL, CareStep, Outbound
from tests.core.making import Desk, at, balance, login, plan_of, profile, published, rule, shipped_plan, trade
from tests.services.process import REPOSITORY

ALL = ("app_push", "sms", "email", "phone", "wechat")


def validator(name: str) -> Draft202012Validator:
    schema: Any = json.loads((REPOSITORY / "schemas" / f"{name}.json").read_text())
    return Draft202012Validator(schema, format_checker=FormatChecker())


VALIDATORS = {f"{name}.json": validator(name) for name in (*OUTBOUND, CARE)}
RECORD = validator("client-record")


def model_of(message: Message) -> type[Outbound]:
    return CareStep if message.schema == "care.json" else OUTBOUND_MODEL[message.topic]


@pytest.fixture(scope="module")
def busy() -> Desk:
    """The shipped rules, and clients that set off as many of them as a few hundred events can."""
    desk = Desk(shipped_plan())
    for number, type_ in enumerate(["individual", "individual", "mutual_fund", "private_fund", "qfii"]):
        me: Any = {"client_id": f"c{number}"}
        desk.take(profile(at(0), type=type_, consents=ALL, age_band="25_35", region="east", risk_level="R2", **me))
        desk.take(balance(at(0), 1_200_000, kind="deposit", amount_fen=1_200_000_00, **me))
        for day in range(1, 21):
            desk.take(login(at(day), success=day % 7 > 0, **me), login(at(day, hour=14), channel="branch", **me))
            desk.take(
                trade(at(day), 3_000_000_00, product="option", **me), trade(at(day), product="robo_portfolio", **me)
            )
            desk.take(balance(at(day), 10_000, kind="loss", amount_fen=50_000_00, margin_ratio=1.2 + day / 50, **me))
        desk.take(balance(at(22), 100_000, kind="transfer_out", amount_fen=900_000_00, **me))
        desk.tick_all(at(150), client_id=f"c{number}")
    return desk


def test_every_message_validates_against_the_published_schema(busy):
    messages = [*busy.messages, *busy.decided]
    assert {m.topic for m in messages} == set(OUTBOUND)  # something of every topic is looked at
    assert {m.schema for m in messages} == VALIDATORS.keys()
    values = [json.loads(m.value or b"") for m in messages]
    assert len({value.get("rule_id") for value in values}) > 15
    for message, value in zip(messages, values, strict=True):
        VALIDATORS[message.schema].validate(value)
        model_of(message).model_validate(value)  # which allows no field that it does not know


def test_every_message_has_the_bytes_that_its_model_writes(busy):
    for message in (*busy.messages, *busy.decided):
        record = model_of(message).model_validate_json(message.value or b"")
        written = record.model_dump_json(by_alias=True, exclude_unset=message.topic == "decisions")
        assert message.value == written.encode()


def test_ids_are_unique(busy):
    ids = [dict(m.headers)["ce_id"] for m in (*busy.messages, *busy.decided)]
    assert len(set(ids)) == len(ids)


def test_the_key_is_the_client_and_the_headers_are_cloud_events(busy):
    for message in (*busy.messages, *busy.decided):
        value = json.loads(message.value or b"")
        assert message.key == value["client_id"].encode()
        kind = "decision" if message.topic == "decisions" else value.get("kind", "tier-change")
        follows = {"ce_follows": value["follows"].encode()} if "step" in value else {}
        kind = "care" if follows else kind
        listed = value.get("rule_id") in busy.plan.timed.listed and "parameters" in value
        leaves = {"ce_leaves": value["expires_at"].encode()} if listed else {}
        assert dict(message.headers) == {
            "ce_specversion": b"1.0", "ce_id": value["id"].encode(), "ce_source": b"urn:engage",
            "ce_type": f"engage.{kind}.v1".encode(), "ce_time": value["time"].encode(),
            "ce_subject": value["client_id"].encode(), "content-type": b"application/json", **follows, **leaves,
        }  # fmt: skip
        assert message.schema == ("care.json" if follows else f"{message.topic}.json")


def test_the_public_record_validates_whatever_is_known(busy):
    new = ClientState(busy.plan.layout, "new", at(0))
    for client in [new, *busy.states.values()]:
        RECORD.validate(public_fields(client))
    assert public_fields(new) == dict.fromkeys(PUBLIC_FIELDS, "") | {"updated_at": "2026-02-16T04:00:00Z"}


def test_the_public_record_says_what_is_known():
    desk = Desk(plan_of())
    desk.take(profile(at(0), advisor_id="adv-1"), balance(at(1) + 999, 400_000.05))
    record = public_fields(desk.client)
    assert record == {
        "tier": "B", "tier_since": "2026-02-17T04:00:00Z", "client_type": "individual", "segment": "",
        "value_score": "", "advisor": "adv-1", "assets_cny": "400000.05", "updated_at": "2026-02-17T04:00:00Z",
    }  # fmt: skip


def test_ids_hold_still():
    """An id, once published, is the same in every later version: others look actions up by it."""
    desk = Desk(plan_of(rule("r", version=2)))
    desk.take(profile(at(0)), balance(at(0), 400_000), login(at(1)))
    assert [m["id"] for m in published(desk.messages)] == [
        "a34fb43ce27b75575a5e25534575e26b",
        "9bc37dea3fa8ce20550b1f770666f6c8",
    ]


@pytest.mark.parametrize("what", ["client", "rule", "version", "before"])
def test_ids_differ_when_anything_differs(what):
    def id_of(client_id: str = "c1", rule_id: str = "r", version: int = 1, before: int = 0) -> str:
        desk = Desk(plan_of(rule(rule_id, version=version)))
        desk.take(profile(at(0), client_id=client_id), *(trade(at(0), client_id=client_id) for _ in range(before)))
        return str(desk.take(login(at(1), client_id=client_id))[0]["id"])

    other = {
        "client": {"client_id": "c2"},
        "rule": {"rule_id": "s"},
        "version": {"version": 2},
        "before": {"before": 1},
    }
    assert id_of() == id_of()
    assert id_of(**other[what]) != id_of()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fen", "text"),
    [(0, "0.00"), (5, "0.05"), (100, "1.00"), (-5, "-0.05"), (-12345, "-123.45"), (10**15, "10000000000000.00"),
     (0.5, "0.00"), (1.5, "0.02"), (-0.4, "0.00"), (2**63 - 1, "92233720368547758.07")],
)  # fmt: skip
def test_money_is_an_exact_decimal(fen, text):
    assert cny(fen) == text


def test_times_are_rfc3339_with_milliseconds():
    assert rfc3339(at(0) + 7) == "2026-02-16T04:00:00.007Z"
    assert rfc3339(1) == "1970-01-01T00:00:00.001Z"
