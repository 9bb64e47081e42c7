"""What staff decide of clients: what holds when, in whatever order it is said, and what follows."""

import json
import random

import pytest

from engine.core.client import overrides
from engine.core.client.sections import pack, unpack
from engine.core.contract.outbound import Rejection
from engine.core.decide.path import decide
from engine.core.learn.facts import unknown_in
from tests.core.making import Desk, at, balance, login, plan_of, profile, rule
from tests.core.records import OVERRIDE, refused, take
from tests.core.test_answers import came

DAY_RULES = (
    rule("letter", audience="client", channels="[sms]"),
    rule("margin", audience="client", channels="[sms]", priority=99),
    rule("call", audience="team"),
)


def said(time_ms, kind, **fields):
    return came("overrides", time_ms, **{"kind": kind, "by": "S-1", "reason": "because", **fields})


def desk_of(*rules, **files):
    desk = Desk(plan_of(*(rules or DAY_RULES), **files))
    desk.take(profile(at(0)), balance(at(0), 400_000))
    return desk


def sent(desk, time_ms):
    desk.outcomes.clear()
    desk.take(login(time_ms))
    return dict(desk.outcomes)


# -- the contract ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"kind": "tier"}, Rejection.MISSING_FIELD),
        ({"kind": "tier", "tier": "A"}, Rejection.MISSING_FIELD),
        ({"kind": "snooze"}, Rejection.MISSING_FIELD),
        ({"kind": "snooze", "until": OVERRIDE["time"]}, Rejection.OUT_OF_RANGE),
        ({"kind": "do_not_contact", "until": "tomorrow"}, Rejection.WRONG_TYPE),
        ({"kind": "do_not_contact", "until": 7}, Rejection.OUT_OF_RANGE),
        ({"kind": "do_not_contact", "ended": "yes"}, Rejection.WRONG_TYPE),
        ({"kind": "snooze", "until": OVERRIDE["until"], "rule_id": ["letter"]}, Rejection.WRONG_TYPE),
        ({"kind": "note", "ended": True}, Rejection.UNKNOWN_VALUE),
        ({"kind": "rest"}, Rejection.UNKNOWN_VALUE),
        ({"kind": "note", "by": None}, Rejection.WRONG_TYPE),
    ],
)
def test_what_might_say_more_than_was_meant_is_refused(fields, reason):
    about = {name: OVERRIDE[name] for name in ("event_id", "client_id", "time", "by", "reason")}
    assert refused("overrides", about | fields).reason is reason


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "tier", "until": OVERRIDE["until"]}, "a tier override without its tier"),
        ({"kind": "snooze"}, "without `until`: only do_not_contact may be for good"),
        ({"kind": "snooze", "until": OVERRIDE["time"]}, "until is not later than its beginning"),
        ({"kind": "note", "ended": True}, "ended: a note has no end"),
    ],
)
def test_the_error_names_the_fields_that_it_is_about(fields, said):
    about = {name: OVERRIDE[name] for name in ("event_id", "client_id", "time", "by", "reason")}
    assert refused("overrides", about | fields).error == said


@pytest.mark.parametrize("reason", [None, "", "x" * 201, 7])
def test_a_reason_that_cannot_be_read_costs_itself_alone(reason):
    assert take("overrides", OVERRIDE | {"reason": reason}).event.reason is None


# -- gates -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "stopped"),
    [
        ({"kind": "do_not_contact"}, {"letter": "do_not_contact", "margin": "do_not_contact", "call": "sent"}),
        ({"kind": "snooze", "until": at(9)}, {"letter": "snoozed", "margin": "snoozed", "call": "sent"}),
        (
            {"kind": "snooze", "until": at(9), "rule_id": "call"},
            {"letter": "sent", "margin": "sent", "call": "snoozed"},
        ),
        ({"kind": "snooze", "until": at(9), "rule_id": "other"}, {"letter": "sent", "margin": "sent", "call": "sent"}),
        ({"kind": "note"}, {"letter": "sent", "margin": "sent", "call": "sent"}),
    ],
)
def test_what_is_stopped(fields, stopped):
    desk = desk_of()
    desk.take(said(at(1), **fields))
    assert sent(desk, at(2)) == stopped


def test_it_holds_from_its_beginning_to_its_end_and_not_longer():
    desk = desk_of()
    desk.take(said(at(1), "do_not_contact", starts_at=at(3), until=at(5)))
    found = [sent(desk, moment)["margin"] for moment in (at(3) - 1, at(3), at(5) - 1, at(5))]
    assert found == ["sent", "do_not_contact", "do_not_contact", "sent"]


def test_a_withdrawal_ends_it():
    desk = desk_of()
    desk.take(said(at(1), "do_not_contact"), said(at(3), "do_not_contact", ended=True))
    assert sent(desk, at(4))["letter"] == "sent"


def test_whatever_the_order_of_records():
    """What is kept, and the tier, follow from the records' own times."""
    rng = random.Random(5)
    records = [
        said(at(1), "tier", tier="A", until=at(20)),
        said(at(2), "tier", tier="C", until=at(30)),
        said(at(2), "tier", ended=True),
        said(at(3), "do_not_contact"),
        said(at(4), "do_not_contact", ended=True),
        said(at(4), "snooze", until=at(9)),
        said(at(5), "snooze", until=at(7), rule_id="call"),
        said(at(6), "note"),
    ]
    kept = set()
    for _ in range(40):
        rng.shuffle(records)
        desk = desk_of()
        desk.take(login(at(7)), *records)
        kept.add(json.dumps([desk.client.overrides, desk.tier]))
    assert len(kept) == 1
    assert json.loads(kept.pop())[1] == "C"


def test_a_condition_becomes_true_when_one_ends():
    desk = desk_of(rule("again", becomes="not client.do_not_contact", audience="team", **{"for": "1m"}))
    desk.tick_all(at(0) + 120_000)
    desk.take(said(at(1), "do_not_contact", until=at(5)))
    desk.outcomes.clear()
    desk.tick_all(at(6))
    assert desk.outcomes == [("again", "sent")]
    assert desk.client.acted["again"] == at(5) + 60_000


# -- tiers -------------------------------------------------------------------------------------------------------------


def moves(published):
    return [(m["from_tier"], m["to_tier"], m["reason"], m["time"]) for m in published if m["topic"] == "tier-changes"]


def test_a_tier_is_given_and_taken_back_at_its_moments_however_late_ticks_come():
    for late_ms in (1, 86_400_000 * 30):
        desk = desk_of()
        desk.take(said(at(1), "tier", tier="A", starts_at=at(2), until=at(8)))
        found = moves(desk.tick(at(8) + late_ms))
        assert found == [("B", "A", "override", "2026-02-18T04:00:00.000Z"),
                         ("A", "B", "override_ended", "2026-02-24T04:00:00.000Z")]  # fmt: skip
        assert desk.client.tier_before is None


@pytest.mark.parametrize(
    ("before", "given", "meanwhile", "after"),
    [
        (400_000, "A", 400_000, "B"),
        (400_000, "A", 1_000, "B"),  # a worse one comes in its time
        (400_000, "C", 9_000_000_000, "A"),  # a better one at once
        (400_000, "B", 400_000, "B"),
        (400_000, "B", 9_000_000_000, "A"),
        (2_000_000, "C", 2_000_000, "A"),
    ],
)
def test_the_tier_at_its_end(before, given, meanwhile, after):
    desk = Desk(plan_of(rule("r")))
    desk.take(profile(at(0)), balance(at(0), before), said(at(1), "tier", tier=given, until=at(9)))
    assert desk.tier == given
    desk.take(balance(at(3), meanwhile))
    desk.tick(at(9) - 1)
    assert desk.tier == given
    desk.tick(at(9))
    assert desk.tier == after


def test_before_anything_is_measured():
    desk = Desk(plan_of(rule("r")))
    desk.take(profile(at(0)), said(at(1), "tier", tier="A", until=at(9)))
    assert desk.tier == "A"
    desk.tick(at(10))
    assert desk.tier == "A"
    assert moves(desk.take(balance(at(11), 5)))[0][:3] == ("A", "C", "override_ended")


def test_a_tier_that_the_rules_do_not_have_moves_nobody_and_is_said():
    desk = desk_of()
    topic, event = said(at(1), "tier", tier="Z", until=at(9))
    assert unknown_in(desk.plan, event) == "unknown_tier"
    desk.take((topic, event))
    assert desk.tier == "B"
    assert list(desk.client.overrides) == ["tier"]


def test_a_rule_that_the_rules_do_not_have_is_said():
    desk = desk_of()
    topic, event = said(at(1), "snooze", rule_id="gone", until=at(9))
    decided = decide(desk.plan, desk.states, [(topic, event)])
    assert decided.counts == {("overrides", "snooze", "unknown_rule"): 1}


# -- what is kept ------------------------------------------------------------------------------------------------------


def test_it_is_kept_and_one_of_whom_nothing_was_said_has_not_a_byte_more():
    desk = desk_of()
    assert b"overrides" not in pack(desk.plan.layout, desk.client)
    desk.take(said(at(1), "tier", tier="A", until=at(9)), said(at(1), "note", reason="likes tea"))
    packed = pack(desk.plan.layout, desk.client)
    again = unpack(desk.plan.layout, packed)
    assert (again.overrides, again.tier_before) == (desk.client.overrides, "B")
    assert pack(desk.plan.layout, again) == packed


def test_what_holds_outlives_what_is_over():
    desk = desk_of()
    desk.take(said(at(1), "do_not_contact"))
    for number in range(100):
        desk.take(said(at(2) + number, "snooze", rule_id=f"r{number}", until=at(3)), said(at(2) + number, "note"))
    assert overrides.holds(desk.client, "do_not_contact")
    assert len(desk.client.overrides) == overrides.MAX_OVERRIDES + overrides.MAX_NOTES


def test_a_snooze_follows_a_rule_to_its_new_name():
    desk = desk_of()
    desk.take(said(at(1), "snooze", rule_id="call", until=at(9)))
    plan = plan_of(rule("phone", audience="team", was="[call]"))
    later = Desk(plan)
    later.states["c1"] = unpack(plan.layout, pack(desk.plan.layout, desk.client))
    assert sent(later, at(2)) == {"phone": "snoozed"}


def test_who_and_why_in_a_sentence():
    desk = desk_of()
    desk.take(
        said(at(1), "tier", tier="A", until=at(9), reason="a parent"),
        said(at(2), "do_not_contact"),
        said(at(3), "snooze", rule_id="call", until=at(4)),
        said(at(5), "snooze", ended=True, reason=None),
        said(at(5), "note", reason="likes tea"),
    )
    text = [overrides.sentence(entry, desk.client.now_ms, str) for entry in overrides.shown(desk.client.overrides)]
    assert text == [
        f"note, by S-1 at {at(5)}: likes tea",
        f"snooze of all that goes to the client: withdrawn, by S-1 at {at(5)}: no reason is known",
        f"snooze of call ended {at(4)}, by S-1 at {at(3)}: because",
        f"do not contact for good, by S-1 at {at(2)}: because",
        f"tier A until {at(9)}, by S-1 at {at(1)}: a parent",
    ]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_of_one_moment_that_end_at_once_the_one_that_begins_earlier_counts(order):
    desk = desk_of()
    both = said(at(1), "do_not_contact"), said(at(1), "do_not_contact", starts_at=at(5))
    desk.take(*(both[number] for number in order))
    assert desk.client.now_ms == at(1)
    assert overrides.holds(desk.client, "do_not_contact")
