"""The same text again: within a time it is sent once, whatever rule and channel sends it."""

from __future__ import annotations

from typing import Any

import pytest

from engine.core.client.sections import pack, unpack
from engine.core.policy.gates import Suppress, judge
from engine.core.policy.match import MAX_TEXTS, Match
from engine.core.rules.occasion import on
from engine.insight.explain import Explainer
from engine.insight.rendering import policy
from tests.core.making import HOUR_MS, Desk, at, event_of, login, plan_of, profile, rule, trade

CLASSES = "classes: {service: {same_text: 2d}, marketing: {}}\n"
VALUES = {"parameters": "{side: trade.side, n: client.days_known}", "on": "trades"}


def desk_with(*rules: str, said: str = CLASSES, consents: tuple[str, ...] = ("app_push", "sms")) -> Desk:
    desk = Desk(plan_of(*rules, others=(("policy.yaml", "contact: {daily_cap: 100}\n" + said),)))
    desk.take(profile(at(0, hour=0), consents=consents))
    return desk


def outcomes(desk: Desk, *items: Any) -> list[str]:
    desk.outcomes = []
    desk.take(*items)
    return [outcome for _, outcome in desk.outcomes]


def test_within_its_time_it_is_sent_once():
    desk = desk_with(rule("r"))
    moments = [at(1, 9), at(1, 10), at(3, 8.9), at(3, 9), at(3, 9.1)]
    assert outcomes(desk, *(login(moment) for moment in moments)) == [
        "sent",
        "repeated",
        "repeated",
        "sent",
        "repeated",
    ]
    desk = desk_with(rule("r"), said="classes: {service: {}}\n")
    assert outcomes(desk, *(login(moment) for moment in moments)) == ["sent"] * 5
    assert desk.client.texts == {}


def test_other_values_are_another_text():
    desk = desk_with(rule("r", **VALUES))
    trades = [trade(at(1, 9), side="buy"), trade(at(1, 10), side="sell"), trade(at(1, 11), side="buy")]
    assert outcomes(desk, *trades) == ["sent", "sent", "repeated"]
    assert outcomes(desk, trade(at(2, 9), side="buy")) == ["sent"]  # days_known is another


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [
        ({}, {}, "repeated"),
        ({"class": "marketing"}, {}, "repeated"),  # the one that was sent first need not ask
        ({}, {"class": "marketing"}, "sent"),
        ({}, {"class": "marketing", "same_text": "1h"}, "sent"),
        ({}, {"class": "marketing", "same_text": "3d"}, "repeated"),
        ({}, {"same_text": "1h"}, "sent"),  # its own goes before its class's
        ({}, {"template": "other"}, "sent"),
        ({"audience": "team"}, {}, "sent"),
        ({"kind": "survey"}, {"channels": "sms"}, "repeated"),
    ],
)
def test_of_two_rules(first, second, outcome):
    desk = desk_with(rule("a", **first), rule("b", on="trades", **second))
    assert outcomes(desk, login(at(1, 9)), trade(at(1, 11))) == ["sent", outcome]


def test_it_is_known_to_a_state_that_is_read_again_and_forgotten_in_time():
    desk = desk_with(rule("r"), rule("s", template="other", same_text="3d", on="trades"))
    desk.take(login(at(1)))
    desk.states["c1"] = unpack(desk.plan.layout, pack(desk.plan.layout, desk.client))
    assert outcomes(desk, login(at(2))) == ["repeated"]
    desk.take(login(at(1) + 3 * 24 * HOUR_MS))
    assert list(desk.client.texts.values()) == [at(4)]
    desk.take(trade(at(8)))
    assert list(desk.client.texts.values()) == [at(8)]


def test_there_are_at_most_so_many():
    desk = desk_with(rule("r", on="trades", parameters="{symbol: trade.symbol}"))
    items = [trade(at(1) + n * 60_000, symbol=f"{n:06}") for n in range(MAX_TEXTS + 1)]
    assert set(outcomes(desk, *items)) == {"sent"}
    assert len(desk.client.texts) == MAX_TEXTS
    assert outcomes(desk, trade(at(1, 20), symbol="000001"), trade(at(1, 21), symbol="000000")) == ["repeated", "sent"]


def test_what_waits_is_asked_again():
    night = CLASSES.replace("2d", "2d, when_quiet: hold") + "quiet_hours: {night: {hours: '21:30-08:30'}}\n"
    desk = desk_with(rule("a", priority=90), rule("b", on="trades"), said=night)
    desk.take(login(at(1, 22)), trade(at(1, 23)))
    desk.tick_all(at(2, 12))
    assert desk.outcomes == [("a", "held"), ("b", "held"), ("a", "sent"), ("b", "repeated")]


def test_it_says_why():
    desk = desk_with(rule("r"))
    item = login(at(1, 9))
    desk.take(item, login(at(1, 10)))
    match = Match(desk.plan.compiled[on("logins")][0], event_of(item))
    verdict = judge(desk.plan, desk.client, match)
    assert isinstance(verdict, Suppress)
    assert verdict.until_ms == at(3, 9)
    assert dict(verdict.told) == {"template": "t", "sent": "2026-02-17T01:00:00.000Z"}
    explained = Explainer(desk.plan).explain(match.compiled.rule, on("logins"), desk.client, match.event, None)
    assert policy(explained) == (
        "would stop it: the client has had the same text (template t, sent 2026-02-17T01:00:00.000Z) "
        "until 2026-02-19 09:00"
    )


def test_all_surveys_share_a_cap():
    said = "caps: {surveys: {at_most: 1, within: 7d, of: {kind: survey}}}\n"
    kinds = {"kind": "survey", "cooldown": "1m"}
    desk = desk_with(rule("a", **kinds), rule("b", on="trades", channels="sms", **kinds), rule("c"), said=said)
    desk.take(login(at(1)), trade(at(3)), trade(at(8.1)), login(at(9)))
    assert desk.outcomes == [
        ("a", "sent"), ("c", "sent"), ("b", "cap"), ("b", "sent"), ("a", "cap"), ("c", "sent"),
    ]  # fmt: skip
