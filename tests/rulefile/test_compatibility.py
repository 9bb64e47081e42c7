"""What a change of event types does to records that were right before, and what is said of it."""

import json

import pytest

from engine.core.reading.decode import Rejected, decode
from engine.core.rules.event_types import declared_by
from engine.rulefile.tools.compatibility import broken
from engine.rulefile.tools.diff import differences
from engine.rulefile.tools.effects import effects
from tests.core.making import fields_of
from tests.rulefile.declaring import EVENTS, rule_set_of

BARE = {"features": "features:\n", "rules": "rules: []\n", "definitions": "define:\n", "tiers": "{}\n"}
FULL = {
    "symbol": "600000", "shares": 500, "amount_fen": 5, "board": "star", "lots": 400, "rate": 0.25,
    "listed_on": "2026-11-05", "told_at": 1_790_000_000_000, "first_one": True, "phone": "1",
}  # fmt: skip
HARMLESS = [
    ("title: Shares of a new issue allotted", "title: Lucky"),
    ("      phone: {kind: text, personal: true}\n", ""),
    ("phone: {kind: text, personal: true}", "phone: text"),
    ("first_one: bool", "first_one: bool\n      also: id"),
    ("shares: {kind: number, unit: shares, required: true, ", "shares: {kind: number, unit: shares, "),
    ("symbol: {kind: id, ", "symbol: {kind: text, "),
    ("values: [main, star, other]", "values: [star, main, gem, other]"),
    ("board: {kind: enum, values: [main, star, other], required: true}", "board: {kind: text, required: true}"),
    ("most: 500", "most: 600"),
]
HARMFUL = [
    ("ipo_allotment:", "allotment_of_shares:", "ipo_allotment is removed"),
    ("first_one: bool", "first_one: bool\n      also: {kind: id, required: true}", "also is new and required"),
    ("lots: {kind: number, unit: count, most: 500}", "lots: {kind: number, unit: count, most: 300}", "narrower bounds"),
    ("rate: {kind: number, unit: ratio}", "rate: {kind: number, unit: ratio, least: 1}", "narrower bounds"),
    ("rate: {kind: number, unit: ratio}", "rate: {kind: number, unit: count}", "rate is whole now"),
    ("rate: {kind: number, unit: ratio}", "rate: id", "rate was a number and is an id"),
    ("listed_on: date", "listed_on: time", "listed_on was a date and is a time"),
    ("amount_cny: {kind: money, description", "amount_cny: {kind: money, least: 10, description", "narrower bounds"),
]


def both(old, new):
    assert old in EVENTS
    return rule_set_of(**BARE, events=EVENTS), rule_set_of(**BARE, events=EVENTS.replace(old, new))


def read(rule_set):
    common = {"event_id": "a", "client_id": "c1", "time": 1_790_000_000_000, "type": "ipo_allotment"}
    value = json.dumps(common | FULL).encode()
    return decode("events", b"c1", value, -1, declared_by(rule_set.event_types))


@pytest.mark.parametrize(("old", "new"), HARMLESS)
def test_what_is_harmless_is_not_mentioned_and_reads_what_was_read(old, new):
    before, after = both(old, new)
    assert broken(before, after) == ()
    was, now = read(before), read(after)
    assert not was.unread
    assert not now.unread
    before_, after_ = fields_of(was.event), fields_of(now.event)
    assert {name: before_[name] for name in after_ if name in before_} == {n: after_[n] for n in before_ if n in after_}


@pytest.mark.parametrize(("old", "new", "said"), HARMFUL)
def test_what_is_harmful_is_said_and_refuses_or_loses_what_was_read(old, new, said):
    before, after = both(old, new)
    (sentence,) = [found for found in broken(before, after) if said in found]
    assert sentence in effects(before, after)
    now = read(after)
    assert isinstance(now, Rejected) or now.unread


def test_a_field_that_becomes_required_refuses_records_without_it():
    before, after = both("first_one: bool", "first_one: {kind: bool, required: true}")
    assert broken(before, after) == (
        "event type ipo_allotment: first_one becomes required: records without it become dead letters",
    )


def test_a_value_that_leaves_an_enum_without_other_loses_records():
    start = EVENTS.replace("values: [main, star, other]", "values: [main, star]")
    before = rule_set_of(**BARE, events=start)
    after = rule_set_of(**BARE, events=start.replace("[main, star]", "[main]"))
    assert broken(before, after) == (
        "event type ipo_allotment: board has lost star: records with it become dead letters",
    )
    assert isinstance(read(after), Rejected)


def test_the_difference_is_told_field_by_field():
    before, after = both("rate: {kind: number, unit: ratio}", "rate: {kind: number, unit: score, required: true}")
    (found,) = differences(before, after)
    assert str(found) == (
        'event type "ipo_allotment":\n  fields rate required: no becomes yes\n  fields rate unit: ratio becomes score'
    )


def test_types_that_come_and_go_are_told():
    before, after = both("branch_visit:", "hall_visit:")
    assert [(d.what, d.name, d.change) for d in differences(before, after)] == [
        ("event type", '"branch_visit"', "removed"),
        ("event type", '"hall_visit"', "added"),
    ]
    assert any(line.startswith("what is kept of branch_visit goes") for line in effects(before, after))


def test_a_feature_over_a_field_of_another_kind_loses_its_past():
    said = effects(rule_set_of(), rule_set_of(events=EVENTS.replace("rate: {kind: number, unit: ratio}", "rate: time")))
    assert "loses its past: 1 feature (best_rate_30d)" in said
