"""What suits a client: each thing that has to be known, and that nothing unknown is offered."""

from __future__ import annotations

from typing import Any

import pytest

from engine.core.policy.gates import Suppress, judge
from engine.core.policy.match import Match
from engine.core.policy.whom import ages_of
from engine.core.rules.occasion import on
from engine.insight.explain import Explainer
from engine.insight.rendering import policy
from tests.core.making import Desk, Input, at, event_of, login, plan_of, profile, rule, trade

PRODUCTS = """\
product,risk_class,youngest,oldest
cash,R1,,
bonds,R2,18,
shares,R4,18,69
gone,R1,,
"""
LISTS = "lists:\n  staff: {values: [c9]}\n  withdrawn: {values: [gone]}\n"
FEATURES = """\
  assets_avg_cny_30d: {source: balances, aggregate: daily_mean, field: assets_cny, window: 30d}
  assessed_days: {source: feedback, aggregate: last, field: nps, window: 90d}
"""
SUITS = "suitability: {products: products.csv, blacklist: {clients: staff, products: withdrawn}}\n"
KNOWN = {"risk_level": "R4", "birth_date": "1980-03-01"}


def desk_with(*rules: str, suits: str = SUITS, client_id: str = "c1", **facts: Any) -> Desk:
    others = (
        ("policy.yaml", "contact: {daily_cap: 100}\n" + suits),
        ("products.csv", PRODUCTS),
        ("definitions.yaml", LISTS),
    )
    desk = Desk(plan_of(*rules, features=FEATURES, others=others))
    desk.take(profile(at(0), client_id, **{name: value for name, value in facts.items() if value is not None}))
    return desk


def offering(product: str, **fields: Any) -> str:
    return rule("r", offers=f"{{product: {product}}}", **{"on": "trades", **fields})


def told(desk: Desk, item: Input, client_id: str = "c1") -> dict[str, Any]:
    """What speaks against the offer that a trade leads to; empty if it is sent."""
    compiled = desk.plan.compiled[on("trades")][0]
    verdict = judge(desk.plan, desk.states[client_id], Match(compiled, event_of(item)))
    desk.take(item)
    if not isinstance(verdict, Suppress):
        assert desk.outcomes == [("r", "sent")]
        return {}
    assert desk.outcomes == [("r", "unsuitable")]
    explained = Explainer(desk.plan).explain(compiled.rule, on("trades"), desk.states[client_id], event_of(item), None)
    said = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in verdict.told)
    assert policy(explained) == f"would stop it: what it offers does not suit the client ({said})"
    return dict(verdict.told)


@pytest.mark.parametrize(
    ("product", "facts", "against"),
    [
        ("shares", KNOWN, {}),
        ("cash", {"risk_level": "R1"}, {}),
        ("shares", KNOWN | {"risk_level": "R3"}, {"risk_class": "R4", "risk_level": "R3"}),
        ("shares", KNOWN | {"risk_level": None}, {"unknown": "risk_level"}),
        ("cash", {}, {"unknown": "risk_level"}),
        ("futures", KNOWN, {"unknown": "risk_class"}),
        ("gone", KNOWN, {"blacklist": "withdrawn"}),
        ("shares", {"risk_level": "R5"}, {"unknown": "age"}),
        ("shares", {"risk_level": "R5", "type": "private_fund"}, {}),  # an age is a person's
        ("shares", KNOWN | {"birth_date": "2008-02-17"}, {"age": 17, "youngest": 18}),  # a day too young
        ("shares", KNOWN | {"birth_date": "2008-02-16"}, {}),
        ("shares", KNOWN | {"birth_date": "1956-02-17"}, {}),
        ("shares", KNOWN | {"birth_date": "1956-02-16"}, {"age": 70, "oldest": 69}),
        ("shares", {"risk_level": "R5", "age_band": "36_45"}, {}),
        ("shares", {"risk_level": "R5", "age_band": "over_60"}, {"age": 200, "oldest": 69}),  # some of them are older
        ("bonds", {"risk_level": "R5", "age_band": "under_25"}, {"age": 0, "youngest": 18}),
        ("bonds", {"risk_level": "R5", "age_band": "over_60"}, {}),
    ],
)  # fmt: skip
def test_what_suits_whom(product, facts, against):
    desk = desk_with(offering("trade.symbol"), **facts)
    expected = {"product": product, **against} if against else {}
    assert told(desk, trade(at(0, 13), symbol=product)) == expected


def test_whom_nothing_is_offered():
    desk = desk_with(offering("trade.symbol"), client_id="c9", **KNOWN)
    expected = {"product": "cash", "blacklist": "staff"}
    assert told(desk, trade(at(0, 13), symbol="cash", client_id="c9"), "c9") == expected


@pytest.mark.parametrize(
    ("product", "fields"),
    [
        ("'\"bonds\"'", {}),
        ("bond", {"parameters": "{bond: '\"bonds\"'}"}),
        ('\'"bonds" if trade.side == "buy" else trade.symbol\'', {}),
        ("what", {"parameters": '{what: \'"bonds" if client.has_advisor else "bonds"\'}', "audience": "team"}),
    ],
)
def test_how_a_rule_says_what_it_offers(product, fields):
    assert told(desk_with(offering(product, **fields), **KNOWN), trade(at(0, 13))) == {}
    desk = desk_with(offering(product, **fields), **KNOWN | {"risk_level": "R1"})
    assert told(desk, trade(at(0, 13))) == {"product": "bonds", "risk_class": "R2", "risk_level": "R1"}


@pytest.mark.parametrize(
    ("days", "against"),
    [
        (None, {"unknown": "assessment"}),
        (3, {}),
        (4, {"assessed_days": 4, "at_most": 3}),
    ],
)
def test_an_assessment_that_is_too_old_does_not_count(days, against):
    suits = "suitability: {products: products.csv, assessed: client.days_since_trade, within: 3d}\n"
    desk = desk_with(offering("'\"cash\"'", on="logins"), suits=suits, **KNOWN)
    if days is not None:
        desk.take(trade(at(0, 13)))
    desk.take(login(at(days or 0, 14)))
    assert desk.outcomes == [("r", "unsuitable" if against else "sent")]
    verdict = judge(desk.plan, desk.client, Match(desk.plan.compiled[on("logins")][0], login(at(9))[1]))
    assert isinstance(verdict, Suppress)  # where it was sent by its cooldown
    assert dict(verdict.told) == ({"product": "cash", **against} if against else {})


def test_what_waits_is_asked_again_and_an_offer_that_is_not_known_is_not_made():
    night = "quiet_hours: {night: {hours: '21:30-08:30'}}\nclasses: {service: {when_quiet: hold}}\n"
    desk = desk_with(offering("trade.symbol"), suits=SUITS + night, **KNOWN)
    desk.take(trade(at(1, 23), symbol="shares"), profile(at(2, 7), risk_level="R2"))
    desk.tick_all(at(2, 12))
    assert desk.outcomes == [("r", "held"), ("r", "unsuitable")]
    unknown = desk_with(offering('trade.symbol if trade.side == "sell" else client.tier'), **KNOWN)
    assert told(unknown, trade(at(0, 13))) == {"unknown": "product"}


def test_rules_that_offer_nothing_are_not_asked():
    desk = desk_with(rule("r", on="trades"))
    assert told(desk, trade(at(0, 13))) == {}


def test_ages_by_the_day():
    desk = desk_with(rule("r"), birth_date="2000-02-29")
    ages = []
    for moment in (at(8), at(12), at(13), at(377), at(378)):  # 24 and 28 February, 1 March; the same a year later
        desk.take(login(moment))
        ages.append(ages_of(desk.client))
    assert ages == [(25, 25), (25, 25), (26, 26), (26, 26), (27, 27)]
