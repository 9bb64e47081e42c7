"""A class of the policy that is kept from a client as long as something holds: marketing while a complaint is open."""

from __future__ import annotations

from typing import Any

import pytest

from engine.core.client.sections import pack, unpack
from engine.core.contract.events import Complaint
from engine.core.decide.path import Input
from engine.core.rules.occasion import on
from engine.insight.decisions import change, why
from engine.insight.explain import Explainer
from engine.insight.rendering import policy
from tests.core.making import (
    FEATURES,
    Desk,
    at,
    decisions,
    event_of,
    login,
    plan_of,
    profile,
    rule,
    shipped_plan,
    trade,
)

BARS = "{open_complaint: client.open_complaints > 0, busy: trades_30d >= 3}"
CLASSES = f"classes: {{service: {{when_quiet: hold}}, marketing: {{when_quiet: hold, not_while: {BARS}}}}}\n"
NIGHT = "quiet_hours: {night: {hours: '21:30-08:00'}}\n"
COUNTED = FEATURES + "  trades_30d: {source: trades, aggregate: count, window: 30d}\n"
OFFER = {"class": "marketing", "expires": "5d"}


def desk_with(*rules: str, classes: str = CLASSES, features: str = COUNTED) -> Desk:
    others = (("policy.yaml", "contact: {daily_cap: 100}\n" + classes + NIGHT),)
    desk = Desk(plan_of(*rules, features=features, others=others))
    desk.take(profile(at(0)))
    return desk


def complaint(time_ms: int, status: str = "opened", key: str = "K-1") -> Input:
    fields: dict[str, Any] = {"event_id": f"{key}-{time_ms}-{status}", "client_id": "c1", "time": time_ms}
    return "complaints", Complaint(**fields, complaint_id=key, status=status)


@pytest.mark.parametrize(
    ("steps", "outcome"),
    [
        ((), "sent"),
        (("opened",), "not_while"),
        (("opened", "acknowledged"), "not_while"),
        (("opened", "answered"), "not_while"),  # it is open until the client has it settled
        (("opened", "waiting_for_client"), "not_while"),
        (("opened", "resolved"), "sent"),
        (("opened", "withdrawn"), "sent"),
        (("opened", "resolved", "reopened"), "not_while"),
    ],
)
def test_from_the_opening_of_a_complaint_to_its_end(steps, outcome):
    desk = desk_with(rule("offer", **OFFER), rule("news"))
    desk.take(*(complaint(at(1, 9 + n), step) for n, step in enumerate(steps)))
    desk.take(login(at(2)))
    assert dict(desk.outcomes) == {"offer": outcome, "news": "sent"}


def test_each_complaint_counts_and_the_end_of_the_last_ends_it():
    desk = desk_with(rule("offer", **OFFER))
    desk.take(complaint(at(1)), complaint(at(1, 13), key="K-2"), complaint(at(2), "resolved"), login(at(3)))
    desk.take(complaint(at(4), "resolved", "K-2"), login(at(5)))
    assert desk.outcomes == [("offer", "not_while"), ("offer", "sent")]


def test_what_waits_is_asked_again():
    desk = desk_with(rule("offer", **OFFER))
    desk.take(login(at(1, 23)), complaint(at(2, 7)))
    desk.tick_all(at(2, 12))
    assert desk.outcomes == [("offer", "held"), ("offer", "not_while")]


def test_it_begins_no_cooldown_and_work_for_staff_goes_on():
    desk = desk_with(rule("offer", **OFFER, cooldown="30d"), rule("call", audience="team", kind="task", **OFFER))
    desk.take(complaint(at(1)), login(at(2)), complaint(at(3), "resolved"), login(at(4)))
    assert [one for one in desk.outcomes if one[0] == "offer"] == [("offer", "not_while"), ("offer", "sent")]
    assert [one for one in desk.outcomes if one[0] == "call"] == [("call", "sent")] * 2


def test_the_first_that_holds_is_named_and_read_by_people():
    desk = desk_with(rule("offer", **OFFER))
    desk.take(*(trade(at(1, hour)) for hour in (9, 10, 11)), login(at(2)))
    (decision,) = decisions(desk.decided)
    assert (decision["outcome"], decision["numbers"]) == ("not_while", {"while": "busy"})
    assert why(decision) == "its class is not sent meanwhile (while busy)"
    assert change(decision["outcome"]) == "the end of what keeps it, or another class"
    desk.take(complaint(at(3)), login(at(4)))
    compiled, item = desk.plan.compiled[on("logins")][0], login(at(4))
    told = Explainer(desk.plan).explain(compiled.rule, on("logins"), desk.client, event_of(item), None)
    assert policy(told) == "would stop it: marketing is not sent meanwhile (while open_complaint)"


def test_a_past_that_is_not_known_keeps_it_away():
    """A client of whom the feature is kept for three days, with a window of thirty."""
    before = desk_with(rule("offer", **OFFER), classes="", features=FEATURES)
    before.take(trade(at(1)))
    plan = desk_with(rule("offer", **OFFER)).plan
    after = Desk(plan)
    after.states["c1"] = unpack(plan.layout, pack(before.plan.layout, before.client))
    after.take(login(at(4)), login(at(40)))
    assert after.outcomes == [("offer", "not_while"), ("offer", "sent")]


def test_the_shipped_policy_has_it():
    (bar,) = shipped_plan().bars["marketing"]
    assert bar.name == "open_complaint"
    assert set(shipped_plan().bars) == {"marketing"}
