"""Channels: the order by what a client answers to, those that rest, and what is said again on another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine.core.client.sections import pack, unpack
from engine.core.contract.events import Feedback, Receipt
from engine.core.decide.path import Due, decide
from engine.core.pace import Pace
from engine.core.plan.compile import paused_otherwise
from engine.core.policy.holding import MAX_WAITING
from engine.core.rules.occasion import on
from engine.core.rules.policy import Pause, Resumption
from engine.insight.explain import Explainer, waiting
from engine.insight.rendering import policy
from tests.core.making import FEATURES, Desk, Input, at, decisions, login, plan_of, profile, rule, trade
from tests.core.test_corrections import correction

MINUTE_MS = 60_000
ALL = ("app_push", "sms", "email")


def desk_with(*rules: str, said: str = "", features: str = FEATURES, consents: tuple[str, ...] = ALL) -> Desk:
    desk = Desk(plan_of(*rules, features=features, others=(("policy.yaml", "contact: {daily_cap: 100}\n" + said),)))
    desk.take(profile(at(0, hour=0), consents=consents))
    return desk


def receipt(time_ms: int, status: str, action_id: str = "a", channel: str = "app_push") -> Input:
    about = {"event_id": f"r-{time_ms}-{status}-{action_id}", "client_id": "c1", "time": time_ms}
    return "receipts", Receipt(**about, action_id=action_id, channel=channel, status=status)  # type: ignore[arg-type]


def answer(time_ms: int, action_id: str) -> Input:
    about = {"event_id": f"f-{time_ms}", "client_id": "c1", "time": time_ms}
    return "feedback", Feedback(**about, action_id=action_id, nps=9)  # type: ignore[arg-type]


def ways(actions: list[dict[str, Any]]) -> list[str]:
    return [action["channel"] for action in actions]


# -- by what the client answers to -------------------------------------------------------------------------------------

ANSWERED = FEATURES + "".join(
    f"  {channel}_opened: {{source: receipts, aggregate: count, window: 90d, "
    f'where: \'receipt.channel == "{channel}" and receipt.status in ("opened", "clicked")\'}}\n'
    for channel in ("sms", "email")
)
ORDER = "answers: {sms: sms_opened, email: email_opened}\n"
CLASSES = "classes: {service: {by_answers: true}, marketing: {}}\n"


def test_the_channel_that_a_client_answers_to_goes_first():
    channels = {"channels": "[app_push, email, sms]"}
    rules = rule("a", **channels), rule("b", on="trades", **channels, **{"class": "marketing"})
    desk = desk_with(*rules, said=CLASSES + ORDER, features=ANSWERED)
    assert ways(desk.take(login(at(1)))) == ["app_push"]
    desk.take(receipt(at(2), "delivered", channel="sms"), receipt(at(2, 13), "opened", channel="sms"))
    assert ways(desk.take(login(at(3)))) == ["sms"]
    desk.take(*(receipt(at(4, hour), "clicked", channel="email") for hour in (9, 10)))
    assert ways(desk.take(login(at(5)))) == ["email"]
    assert ways(desk.take(trade(at(5, 13)))) == ["app_push"]  # its class does not say so
    desk.take(profile(at(6), consents=("sms", "app_push")))
    assert ways(desk.take(login(at(7)))) == ["sms"]


# -- channels that rest ------------------------------------------------------------------------------------------------

RESTS = "rests: {app_push: {after: 3, for: 10d}}\n"


def failing(desk: Desk, *hours: float, status: str = "bounced") -> None:
    desk.take(*(receipt(at(1, hour), status, f"a{hour}") for hour in hours))


def test_a_channel_rests_after_failures_in_a_row_and_comes_back_in_time():
    desk = desk_with(rule("r"), said=RESTS)
    failing(desk, 9, 10)
    assert ways(desk.take(login(at(1, 10.5)))) == ["app_push"]
    failing(desk, 11, status="failed")
    assert ways(desk.take(login(at(1, 12)))) == ["sms"]
    assert ways(desk.take(login(at(11, 10.9)), login(at(11, 11.1)))) == ["sms", "app_push"]
    desk.take(receipt(at(11, 12), "failed", "a12"))  # still in a row
    assert ways(desk.take(login(at(11, 13)))) == ["sms"]


def test_whatever_arrives_ends_the_row_by_its_own_time():
    for good, channel in ((at(1, 9.5), "app_push"), (at(1, 12), "sms")):
        desk = desk_with(rule("r"), said=RESTS)
        failing(desk, 9, 10, 11)
        desk.take(receipt(good, "delivered", "late"))
        left = [at(1, 10), at(1, 11)] if channel == "app_push" else []
        assert desk.client.failures.get("app_push", []) == left
        assert ways(desk.take(login(at(1, 13)))) == ["app_push"]
    desk = desk_with(rule("r"), said=RESTS)
    failing(desk, 9, 10, 11)
    desk.take(receipt(at(1, 12), "delivered", "x", channel="sms"))
    assert ways(desk.take(login(at(1, 13)))) == ["sms"]  # another channel is another row


def test_where_all_channels_rest_nothing_is_sent():
    said = RESTS + "classes: {regulatory: {exempt: [consent, rests], channels: [app_push]}, service: {}}\n"
    rules = rule("r", channels="app_push"), rule("law", channels="app_push", on="trades", **{"class": "regulatory"})
    desk = desk_with(*rules, said=said)
    failing(desk, 9, 10, 11)
    desk.outcomes = []
    desk.take(login(at(1, 12)), trade(at(1, 13)))
    assert desk.outcomes == [("r", "channel_rests"), ("law", "sent")]
    compiled = desk.plan.compiled[on("logins")][0]
    explained = Explainer(desk.plan).explain(compiled.rule, on("logins"), desk.client, login(at(2))[1], None)
    assert policy(explained) == (
        "would stop it: the channel rests (channel app_push, failures 3) until 2026-02-27 11:00"
    )
    nobody = desk_with(rule("r", channels="app_push"), said=RESTS, consents=())
    failing(nobody, 9, 10, 11)
    nobody.take(login(at(1, 12)))
    assert nobody.outcomes == [("r", "no_consent")]


def test_failures_are_kept_only_where_a_channel_can_rest():
    desk = desk_with(rule("r"), said=RESTS)
    desk.take(*(receipt(at(1, hour), "bounced", channel="sms") for hour in (9, 10, 11)))
    assert desk.client.failures == {}
    failing(desk, 9, 10, 11, 12)
    desk.states["c1"] = unpack(desk.plan.layout, pack(desk.plan.layout, desk.client))
    assert desk.client.failures == {"app_push": [at(1, 10), at(1, 11), at(1, 12)]}
    assert desk_with(rule("r")).client.failures == {}


# -- said again --------------------------------------------------------------------------------------------------------

THEN = {"then": "{channel: [sms, email], after: 2d}", "expires": "9d", "cooldown": "7d"}


def again(desk: Desk, hours: float) -> list[dict[str, Any]]:
    """What is sent until so long after the first day's noon."""
    return desk.tick_all(at(1) + round(hours * 60) * MINUTE_MS)


def test_what_is_not_opened_is_said_again():
    desk = desk_with(rule("r", **THEN))
    item = login(at(1))
    (first,) = desk.take(item)
    assert first["follows"] is None
    assert desk.client.due_ms == at(3)
    assert again(desk, 47.9) == []
    (second,) = again(desk, 48.1)
    assert (second["channel"], second["follows"]) == ("sms", first["id"])
    assert second["id"] != first["id"]
    assert (second["cause"], second["expires_at"]) == (first["cause"], first["expires_at"])
    (third,) = again(desk, 97)
    assert (third["channel"], third["follows"]) == ("email", second["id"])
    assert again(desk, 24 * 30) == []
    assert desk.client.waiting == []
    assert [outcome for _, outcome in desk.outcomes] == ["sent"] * 3


@pytest.mark.parametrize("status", ["opened", "clicked", "opted_out", "answered"])
def test_what_the_client_has_seen_is_not(status):
    desk = desk_with(rule("r", **THEN))
    (first,) = desk.take(login(at(1)))
    seen = answer(at(2), first["id"]) if status == "answered" else receipt(at(2), status, first["id"])
    desk.take(receipt(at(1, 13), "delivered", first["id"]), receipt(at(1, 14), "opened", "another"), seen)
    assert again(desk, 24 * 30) == []
    assert desk.client.waiting == []


@pytest.mark.parametrize("status", ["failed", "bounced"])
@pytest.mark.parametrize("then", ["{channel: sms}", "{channel: sms, after: 2d}"])
def test_what_has_failed_is_said_again_at_once(status, then):
    desk = desk_with(rule("r", **THEN | {"then": then}))
    (first,) = desk.take(login(at(1)))
    assert desk.take(receipt(at(1, 13), "delivered", first["id"]), receipt(at(1, 14), status, first["id"])) == []
    assert desk.client.due_ms == at(1, 14) + 1
    assert ways(again(desk, 3)) == ["sms"]
    desk.take(receipt(at(1, 16), status, first["id"]))
    assert again(desk, 24 * 30) == []


def test_without_a_time_what_is_not_opened_stays_so():
    desk = desk_with(rule("r", **THEN | {"then": "{channel: sms}"}))
    desk.take(login(at(1)))
    assert again(desk, 24 * 30) == []
    assert desk.outcomes == [("r", "sent")]
    assert desk.client.waiting == []


def test_it_is_decided_anew():
    when = "not client.has_advisor"
    policy_ = "caps: {day: {at_most: 1, per: day}}\n"
    for change, outcome in (
        (profile(at(2), advisor_id="ADV-1", consents=ALL), "no_longer_true"),
        (profile(at(2), consents=("app_push",)), "no_consent"),
        (trade(at(3, 11)), "cap"),
    ):
        desk = desk_with(rule("r", when=when, **THEN), rule("s", on="trades"), said=policy_)
        desk.take(login(at(1)), change)
        desk.outcomes = []
        assert again(desk, 49) == []
        assert desk.outcomes == [("r", outcome)]


def test_at_night_it_waits_and_an_opening_meanwhile_counts():
    night = "classes: {service: {when_quiet: hold}}\nquiet_hours: {night: {hours: '21:30-08:30'}}\n"
    for opened in (False, True):
        desk = desk_with(rule("r", **THEN), said=night)
        (first,) = desk.take(login(at(1)))
        desk.take(receipt(at(1, 23), "failed", first["id"]))
        assert again(desk, 12) == []
        desk.states["c1"] = unpack(desk.plan.layout, pack(desk.plan.layout, desk.client))
        if opened:
            desk.take(receipt(at(2, 5), "opened", first["id"]))
        assert ways(again(desk, 24)) == ([] if opened else ["sms"])
        told = decisions(desk.decided)
        (held,) = (one["match"] for one in told if one["outcome"] == "held")
        ends = [one["outcome"] for one in told if one["match"] == held]
        assert ends == ["held", "no_longer_true" if opened else "sent"]


@pytest.mark.parametrize(
    ("said", "then"),
    [
        ("caps: {sms: {at_most: 1, per: week, of: {channel: sms}}}\n", ["cap", "sent"]),
        ("quiet_hours: {sms: {hours: '11:00-23:00', of: {channel: sms}}}\n", ["quiet_hours", "quiet_hours"]),
        ("rates: {sms: {at_most: 1, per: hour, of: {channel: sms}}}\n", ["held", "sent"]),
        ("budgets: {sms: {limit: 5, of: {channel: sms}}}\n", ["held", "held"]),  # until it is answered
    ],
)
def test_what_limits_its_channel_holds_though_the_rule_begins_on_another(said, then):
    on_sms = THEN | {"then": "{channel: sms, after: 2d}"}
    desk, pace = desk_with(rule("r", **on_sms), rule("s", **on_sms), said=said), Pace()
    first = decide(desk.plan, desk.states, [login(at(1))], pace=pace)
    assert sorted(outcome for _, outcome in first.outcomes.elements()) == ["sent", "sent"]
    second = decide(desk.plan, desk.states, [Due("c1", at(3) + 1000)], pace=pace)
    assert sorted(outcome for _, outcome in second.outcomes.elements()) == then


def test_a_channel_that_rests_is_passed_over():
    desk = desk_with(rule("r", **THEN), said="rests: {sms: {after: 1, for: 30d}}\n")
    desk.take(login(at(1)), receipt(at(1, 13), "failed", "another", channel="sms"))
    assert ways(again(desk, 49)) == ["email"]


def test_the_same_text_again_and_holdouts():
    said = "classes: {service: {same_text: 30d}}\nholdout: {share: 0, salt: none}\n"
    desk = desk_with(rule("r", **THEN), said=said)
    desk.take(login(at(1)))
    assert ways(again(desk, 49)) == ["sms"]


def test_a_cancelled_event_takes_what_waits_along():
    desk = desk_with(rule("r", **THEN | {"on": "trades"}))
    item = trade(at(1))
    desk.take(item)
    desk.take(correction(at(2), item))
    assert desk.client.waiting == []
    assert again(desk, 24 * 30) == []


def test_an_item_waits_for_the_answer_to_what_came_last():
    desk = desk_with(
        rule("r", kind="survey", **THEN | {"then": "{channel: sms, after: 1d}"}),
        rule("u", unanswered="{of: r, for: 3d}", audience="team", when="True"),
    )
    (first,) = desk.take(login(at(1)))
    (second,) = again(desk, 25)
    assert [item[1] for item in desk.client.items] == [second["id"]]
    desk.take(answer(at(3), second["id"]), answer(at(3, 13), first["id"]))
    assert again(desk, 24 * 30) == []


def test_what_there_is_no_room_for_is_counted():
    night = "classes: {service: {when_quiet: hold}}\nquiet_hours: {night: {hours: '21:30-08:30', of: {rule: q}}}\n"
    desk = desk_with(rule("q", on="trades"), rule("r", **THEN), said=night)
    desk.take(*(trade(at(1, 22) + n * MINUTE_MS) for n in range(MAX_WAITING)))
    decided = decide(desk.plan, desk.states, [login(at(1, 23))])
    assert decided.counts["dropped", "follow_ups"] == 1
    assert len(desk.client.waiting) == MAX_WAITING


def test_a_rule_that_says_it_no_more_sends_nothing():
    desk, without = desk_with(rule("r", **THEN)), plan_of(rule("r", **THEN | {"then": None}))
    desk.take(login(at(1)))
    desk.states["c1"] = unpack(without.layout, pack(desk.plan.layout, desk.client))
    desk.plan = without
    desk.sweep(at(2))
    assert again(desk, 24 * 30) == []
    assert desk.client.waiting == []


def test_what_a_pause_holds_is_said_again_when_it_ends():
    desk = desk_with(rule("r", **THEN))
    (first,) = desk.take(login(at(1)))
    active = desk.plan
    pause = Pause("r", at(2), "ann", "too many")
    desk.plan = paused_otherwise(active, replace(active.rule_set, paused=(pause,)))
    desk.take(receipt(at(2, 13), "failed", first["id"]))
    assert again(desk, 30) == []
    assert [str(outcome) for _, outcome in desk.outcomes] == ["sent", "held"]
    desk.states["c1"] = unpack(desk.plan.layout, pack(desk.plan.layout, desk.client))
    resumption = Resumption("r", at(3), "ann", "well")
    desk.plan = paused_otherwise(active, replace(active.rule_set, resumed=(resumption,)))
    (second,) = [*desk.sweep(at(3)), *desk.tick_all(at(3, 13))]
    assert (second["channel"], second["follows"]) == ("sms", first["id"])


def test_explain_says_what_comes_then():
    desk = desk_with(rule("r", **THEN))
    (first,) = desk.take(login(at(1)))
    (found,) = desk.plan.rule_set.rules
    assert list(waiting(desk.plan, found, desk.client)) == [
        "sent by app_push: sent by sms or email if that fails, or at 2026-02-19 12:00 if nobody has opened it"
    ]
    again(desk, 49)
    desk.take(receipt(at(3, 14), "failed", "another"))
    assert list(waiting(desk.plan, found, desk.client)) == [
        "sent by sms: sent by email if that fails, or at 2026-02-21 12:00 if nobody has opened it"
    ]
    assert first["channel"] == "app_push"
