"""Events of the firm's own: read, decided, remembered and explained like those of built-in topics."""

import json
from itertools import count

import pytest

from engine.core.client.sections import last_events, pack, unpack
from engine.core.plan.compile import compile_rule_set
from engine.core.plan.features import column_key
from engine.core.reading.decode import Rejected, Taken, decode, kind_of
from engine.core.rules.event_types import declared_by
from engine.core.rules.occasion import on
from engine.insight.explain import Explainer
from engine.insight.rendering import as_json, in_full
from engine.runtime.redis import reading
from tests.core.making import Desk, at, login, profile
from tests.rulefile.declaring import EVENTS, FEATURES, FILES, RULES, plan_with, rule_set_of

TYPES = declared_by(rule_set_of().event_types)
GOOD = {
    "event_id": "a1",
    "client_id": "c1",
    "time": 1_790_000_000_000,
    "type": "ipo_allotment",
    "symbol": "600000",
    "shares": 500,
    "board": "main",
}
ids = count()


def read(declared=TYPES, key=b"c1", **fields):
    value = {name: value for name, value in (GOOD | fields).items() if value is not ...}
    return decode("events", key, json.dumps(value).encode(), 1_790_000_000_000, declared)


def event(**fields):
    taken = read(**{"event_id": f"e{next(ids)}", **fields})
    assert isinstance(taken, Taken)
    assert not taken.unread
    return kind_of("events", taken.event), taken.event


def allotted(time_ms, **fields):
    taken = decode(
        "events",
        b"c1",
        json.dumps(GOOD | {"event_id": f"e{next(ids)}", "time": time_ms} | fields).encode(),
        time_ms,
        TYPES,
    )
    assert isinstance(taken, Taken)
    return taken.event.type, taken.event


# -- reading -----------------------------------------------------------------------------------------------------------


def test_a_record_is_read_by_its_type():
    taken = read(
        amount_fen=1_000_050,
        listed_on="2026-11-05",
        told_at="2026-09-21T22:13:20+08:00",
        lots=1,
        first_one=True,
        rate=0.25,
    )
    assert isinstance(taken, Taken)
    found = taken.event
    assert (found.symbol, found.shares, found.amount_fen, found.board) == ("600000", 500, 1_000_050, "main")
    assert (found.listed_on, found.told_at) == (1_793_808_000_000, 1_790_000_000_000)
    assert (found.lots, found.first_one, found.rate) == (1, True, 0.25)
    assert not taken.unread
    assert kind_of("events", found) == "ipo_allotment"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"type": "ipo"}, "unknown_type"),
        ({"type": "branch-visit"}, "unknown_type"),
        ({"type": ""}, "out_of_range"),
        ({"type": 5}, "wrong_type"),
        ({"type": None}, "wrong_type"),
        ({"type": ...}, "missing_field"),
        ({"shares": ...}, "missing_field"),
        ({"shares": "many"}, "wrong_type"),
        ({"shares": None}, "wrong_type"),
        ({"symbol": ""}, "out_of_range"),
        ({"board": ...}, "missing_field"),
        ({"client_id": "c2"}, "key_mismatch"),
        ({"event_id": ...}, "missing_field"),
    ],
)  # fmt: skip
def test_what_is_refused(fields, reason):
    found = read(**fields)
    assert isinstance(found, Rejected)
    assert found.reason == reason


@pytest.mark.parametrize(
    ("fields", "unread"),
    [
        ({"lots": 501}, "ipo_allotment.lots"),
        ({"lots": 1.5}, "ipo_allotment.lots"),
        ({"rate": 0.1234567}, "ipo_allotment.rate"),
        ({"amount_fen": -1}, "ipo_allotment.amount_fen"),
        ({"listed_on": "2026-02-30"}, "ipo_allotment.listed_on"),
        ({"listed_on": "9999-12-31"}, "ipo_allotment.listed_on"),
        ({"told_at": "yesterday"}, "ipo_allotment.told_at"),
        ({"first_one": "yes"}, "ipo_allotment.first_one"),
        ({"phone": "1" * 201}, "ipo_allotment.phone"),
    ],
)  # fmt: skip
def test_a_field_that_cannot_be_read_costs_itself_alone(fields, unread):
    taken = read(**fields)
    assert isinstance(taken, Taken)
    assert taken.unread == (unread,)
    assert getattr(taken.event, unread.partition(".")[2]) is None


def test_a_value_that_an_enum_lacks_counts_as_other_where_it_has_that():
    taken = read(board="gem")
    assert isinstance(taken, Taken)
    assert (taken.event.board, taken.unread) == ("other", ("ipo_allotment.board",))
    assert read(board=None).event.board == "other"


def test_a_type_within_the_record_is_not_its_type():
    inner = read(more={"type": "branch_visit", "branch": "b"})
    assert isinstance(inner, Taken)
    assert inner.event.type == "ipo_allotment"
    only_inner = read(type=..., more={"type": "ipo_allotment"})
    assert isinstance(only_inner, Rejected)
    assert only_inner.reason == "missing_field"
    twice = b'{"type":"branch_visit",' + json.dumps(GOOD).encode()[1:]
    assert decode("events", b"c1", twice, -1, TYPES).reason == "duplicate_key"
    escaped = json.dumps(GOOD).encode().replace(b'"type"', b'"\\u0074ype"')
    assert decode("events", b"c1", escaped, -1, TYPES).event.type == "ipo_allotment"


def test_an_unknown_type_is_refused_whatever_its_fields():
    found = read(type="order_incident", region="east", advisor_id="a-7")
    assert isinstance(found, Rejected)
    assert found.reason == "unknown_type"
    assert "is it" not in found.error
    near = read(type="ipo_allotments")
    assert "(is it ipo_allotment?)" in near.error
    assert read(declared={}).reason == "unknown_type"


def test_nothing_of_a_record_is_in_its_error():
    assert "secret" not in read(type="secret_type").error
    assert "secret" not in read(shares="secret").error


@pytest.mark.parametrize(
    ("topic", "value", "reason"),
    [
        ("events", {"symbol": "6", "side": "buy", "amount_fen": 5}, "wrong_topic"),
        ("trades", {"type": "ipo_allotment", "shares": 5}, "wrong_topic"),
        ("events", {"payload": GOOD}, "envelope"),
    ],
)
def test_what_belongs_to_another_topic(topic, value, reason):
    common = {name: GOOD[name] for name in ("event_id", "client_id", "time")}
    found = decode(topic, b"c1", json.dumps(common | value).encode(), -1, TYPES)
    assert isinstance(found, Rejected)
    assert found.reason == reason


@pytest.mark.parametrize("value", [b"{", b"[]", b'"x"', b"\xff", b"5", b'{"type":"ipo_allotment"'])
def test_what_is_no_event_is_refused_as_on_any_topic(value):
    assert decode("events", b"c1", value, -1, TYPES).reason == decode("trades", b"c1", value, -1).reason


# -- deciding ----------------------------------------------------------------------------------------------------------


def test_a_rule_on_a_type_fires_with_its_values():
    desk = Desk(plan_with())
    published = desk.take(profile(at(0)), allotted(at(1), board="gem"), allotted(at(9), shares=100.5, amount_fen=70_05))
    (message,) = [action for action in published if action["topic"] == "messages"]
    assert message["rule_id"] == "congratulate"
    assert message["cause"]["type"] == "ipo_allotment"
    assert message["parameters"] == {"symbol": "600000", "amount": "70.05", "days_to_listing": None, "in_all": 600.5}
    assert message["why"]["client.days_since_ipo_allotment"] == 8


def test_the_same_event_counts_once_and_an_id_is_its_types_own():
    desk = Desk(plan_with())
    desk.take(profile(at(0)), allotted(at(1), event_id="x"), allotted(at(1), event_id="x"))
    assert desk.client.activities["ipo_allotment"].today[0] == 1


def test_a_silence_and_a_sequence_of_a_type():
    desk = Desk(plan_with())
    published = desk.take(profile(at(0)), allotted(at(1), amount_fen=5), allotted(at(2), board="star"), login(at(2)))
    published += desk.tick(at(90))
    assert [action["rule_id"] for action in published if action["topic"] == "tasks"] == ["payment-due", "no-more-luck"]


def test_late_events_count_in_the_window_of_their_own_time():
    plan = plan_with()
    in_time, late = Desk(plan), Desk(plan)
    one, two = allotted(at(1), shares=0.000001), allotted(at(3), shares=2.5)
    in_time.take(profile(at(0)), one, two, login(at(5)))
    late.take(profile(at(0)), two, login(at(5)), one)
    ones, others = (pack(plan.layout, desk.client) for desk in (in_time, late))
    assert unpack(plan.layout, ones).activities["ipo_allotment"].columns == (
        unpack(plan.layout, others).activities["ipo_allotment"].columns
    )


# -- states ------------------------------------------------------------------------------------------------------------


def test_a_state_keeps_it_and_one_without_is_not_larger():
    plan, without = plan_with(), plan_with(**_without_types())
    desk = Desk(plan)
    desk.take(profile(at(0)), login(at(1)))
    other = Desk(without)
    other.take(profile(at(0)), login(at(1)))
    assert b"ipo_allotment" not in pack(plan.layout, desk.client)
    desk.take(allotted(at(2)))
    packed = pack(plan.layout, desk.client)
    assert b"#ipo_allotment" in packed
    assert pack(plan.layout, unpack(plan.layout, packed)) == packed
    assert last_events(packed) == {"ipo_allotment": at(2)}


def test_what_a_removed_type_kept_is_left_behind():
    desk = Desk(plan_with())
    desk.take(profile(at(0)), allotted(at(1)))
    packed = pack(desk.plan.layout, desk.client)
    without = plan_with(**_without_types())
    again = unpack(without.layout, packed)
    assert b"ipo_allotment" not in pack(without.layout, again)
    again.advance(without.layout, at(3))
    back = unpack(desk.plan.layout, pack(without.layout, again))
    assert back.activities["ipo_allotment"].last_ms is None


def test_engage_client_says_when_the_last_one_was():
    desk = Desk(plan_with())
    desk.take(profile(at(0)), allotted(at(1)))
    packed = pack(desk.plan.layout, desk.client)
    shown = reading._private(unpack(reading.NO_RULES.layout, packed), last_events(packed))
    assert shown["last_event"]["ipo_allotment"] is not None


def _without_types():
    rules = "rules: []\n"
    return {
        "events": "events:\n",
        "features": "features:\n",
        "rules": rules,
        "definitions": "define:\n",
        "tiers": "{}\n",
    }


# -- declarations that change ------------------------------------------------------------------------------------------


def features(events):
    return {feature.name: column_key(feature) for feature in rule_set_of(events=events).features}


def test_a_column_of_another_kind_of_value_is_another_column():
    """What was kept as a number is never read as a text."""
    before = features(EVENTS)
    as_money = EVENTS.replace("rate: {kind: number, unit: ratio}", "rate: {kind: date}")
    after = {f.name: column_key(f) for f in rule_set_of(events=as_money).features}
    assert {name for name in before if before[name] != after[name]} == {"best_rate_30d"}


def test_other_layouts_of_a_declaration_keep_what_is_known():
    again = EVENTS.replace("phone: {kind: text, personal: true}", "phone: {kind: id}").replace(
        "values: [main, star, other]", "values: [star, main, gem, other]"
    )
    assert features(again) == features(EVENTS)


def test_equal_declarations_have_one_model():
    one, other = rule_set_of(), rule_set_of(rules=RULES + "\n# a remark\n")
    assert one.digest != other.digest
    assert one.kinds["ipo_allotment"] is other.kinds["ipo_allotment"]


def test_two_rule_sets_read_the_same_record_each_in_its_own_way():
    plan, other = plan_with(), compile_rule_set(rule_set_of(events=EVENTS.replace("most: 500", "most: 5")))
    assert read(declared=plan.declared_types, lots=50).event.lots == 50
    assert read(declared=other.declared_types, lots=50).event.lots is None


# -- explaining --------------------------------------------------------------------------------------------------------


def test_explain_shows_what_would_flip_it():
    desk = Desk(plan_with())
    item = allotted(at(1), shares=50)
    desk.take(profile(at(0)), item)
    rule = next(rule for rule in desk.plan.rule_set.rules if rule.id == "congratulate")
    found = Explainer(desk.plan).explain(rule, on("ipo_allotment"), desk.client, item[1], None)
    assert [str(flip) for flip in found.flips] == ["ipo_allotment.shares at least 100 shares (now 50 shares)"]


def test_the_files_of_these_tests_use_everything():
    assert FILES["features.yaml"] == FEATURES


# -- personal fields ---------------------------------------------------------------------------------------------------

ASKS = RULES.replace(
    "when: ipo_allotment.shares >= 100 and",
    'when: ipo_allotment.phone != "x" and last_phone != "y" and ipo_allotment.shares >= 100 and',
)
PHONE = "13800138000"


def told(plan):
    desk = Desk(plan)
    item = allotted(at(1), phone=PHONE)
    (message,) = [action for action in desk.take(profile(at(0)), item) if action["topic"] == "messages"]
    rule = next(rule for rule in plan.rule_set.rules if rule.id == "congratulate")
    explanation = Explainer(plan).explain(rule, on("ipo_allotment"), desk.client, item[1], None)
    return message, json.dumps(as_json(explanation)) + "\n".join(in_full(explanation))


def test_a_personal_value_is_in_no_reason_and_no_explanation():
    message, explained = told(plan_with(rules=ASKS))
    assert message["why"]["ipo_allotment.phone"] == message["why"]["last_phone"] == "(personal)"
    assert PHONE not in json.dumps(message)
    assert PHONE not in explained
    assert "(personal)" in explained


def test_a_rule_sends_a_personal_value_on_purpose():
    message, _ = told(
        plan_with(rules=ASKS.replace("in_all: allotted_30d", "in_all: allotted_30d\n      phone: ipo_allotment.phone"))
    )
    assert message["parameters"]["phone"] == PHONE


def test_whoever_asks_sees_personal_values():
    _, explained = told(compile_rule_set(rule_set_of(rules=ASKS).showing_all()))
    assert PHONE in explained
