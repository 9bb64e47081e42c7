"""Holdouts: who is held out, that it stays so, and that both arms are asked alike."""

from __future__ import annotations

import pytest

from engine.core.language.helpers import place
from engine.core.policy.gates import Suppress, judge
from engine.core.policy.match import Match
from engine.core.policy.whom import arm
from engine.core.rules.occasion import on
from engine.core.rules.policy import Holdout
from engine.insight.explain import Explainer
from engine.insight.rendering import policy
from tests.core.making import Desk, at, login, plan_of, profile, rule, trade

IDS = [f"C{number:06}" for number in range(20_000)]
FIRM = "holdout: {share: 0.3, salt: spring}"
OUT = next(id_ for id_ in IDS if place("spring", id_) < 0.3)
IN = next(id_ for id_ in IDS if place("spring", id_) >= 0.3)


def desk_with(*rules: str, policy: str = "", consents: tuple[str, ...] = ("app_push", "sms")) -> Desk:
    desk = Desk(plan_of(*rules, others=(("policy.yaml", "contact: {daily_cap: 100}\n" + policy),)))
    desk.take(*(profile(at(0, hour=0), id_, consents=consents) for id_ in (IN, OUT)))
    return desk


def of(desk: Desk, *client_ids: str, day: float = 1) -> list[tuple[str, str]]:
    """What becomes of a login of each."""
    desk.outcomes = []
    desk.take(*(login(at(day), client_id) for client_id in client_ids))
    return desk.outcomes


def test_a_share_of_clients_is_held_out_and_a_greater_one_holds_out_the_same_and_more():
    held = {share: {id_ for id_ in IDS if place("spring", id_) < share} for share in (0.05, 0.1, 0.5, 1.0)}
    for share, ids in held.items():
        assert abs(len(ids) / len(IDS) - share) < 0.01
    assert held[0.05] < held[0.1] < held[0.5] < held[1.0] == set(IDS)
    others = {id_ for id_ in IDS if place("autumn", id_) < 0.1}
    assert abs(len(others & held[0.1]) / len(IDS) - 0.01) < 0.004  # another salt draws anew
    assert place("spring", "C000001") == 0.3571948331885224  # of every release


def test_the_firms_holdout_and_who_is_exempt():
    rules = (
        rule("word"),
        rule("alarm", priority=60, **{"class": "risk"}),
        rule("work", audience="team"),
        rule("late", **{"class": "relationship"}),
    )
    classes = "classes: {risk: {}, service: {}, relationship: {holdout: false}}\n"
    desk = desk_with(*rules, policy=classes + FIRM)
    assert sorted(of(desk, IN)) == [("alarm", "sent"), ("late", "sent"), ("word", "sent"), ("work", "sent")]
    assert sorted(of(desk, OUT)) == [("alarm", "sent"), ("late", "sent"), ("word", "holdout"), ("work", "sent")]
    desk = desk_with(*rules[:2], policy="classes: {risk: {holdout: true}, service: {}}\n" + FIRM)
    assert of(desk, OUT) == [("alarm", "holdout"), ("word", "holdout")]


def test_the_holdout_of_one_rule_whoever_acts():
    by_rule = {"holdout": "{share: 0.3, salt: spring}"}
    desk = desk_with(rule("r", audience="advisor", **by_rule), rule("s", **by_rule, **{"class": "risk"}), rule("t"))
    assert sorted(of(desk, OUT)) == [("r", "holdout"), ("s", "holdout"), ("t", "sent")]
    assert [o for _, o in of(desk, IN)] == ["sent"] * 3


def test_a_name_has_no_part_in_it():
    by_rule = {"holdout": "{share: 0.3, salt: spring}"}
    before, after = plan_of(rule("a", **by_rule)), plan_of(rule("b", was="a", **by_rule))
    for plan, name in ((before, "a"), (after, "b")):
        desk = Desk(plan)
        desk.take(*(profile(at(0), id_) for id_ in IDS[:300]))
        outcomes = dict(zip(IDS[:300], (o for _, o in of(desk, *IDS[:300])), strict=True))
        assert {id_ for id_, o in outcomes.items() if o == "holdout"} == {
            id_ for id_ in IDS[:300] if place("spring", id_) < 0.3
        }, name


def test_the_arm_is_in_the_action_where_there_is_a_holdout():
    desk = desk_with(rule("a", holdout="{share: 0.3, salt: spring}"), rule("b", on="trades"))
    (with_,), (without,) = desk.take(login(at(1), IN)), desk.take(trade(at(1), client_id=IN))
    assert with_["arm"] == "treated"
    assert without["arm"] is None
    assert arm((), OUT) is None
    assert [arm((Holdout("spring", 0.3),), id_) for id_ in (OUT, IN)] == ["holdout", "treated"]


def test_both_arms_are_asked_alike_and_as_often():
    policy = "caps: {day: {at_most: 1, per: day}}\nquiet_hours: {night: {hours: '21:30-08:30'}}\n"
    classes = "classes: {service: {when_quiet: hold}}\n"
    desk = desk_with(rule("r", cooldown="3d"), policy=classes + policy + FIRM)
    found = {}
    for id_ in (IN, OUT):
        desk.outcomes = []
        desk.take(login(at(1, 23), id_))
        desk.tick_all(at(2, 12), id_)
        desk.take(login(at(3), id_), profile(at(5), id_, consents=()), login(at(5, 13), id_))
        found[id_] = [outcome for _, outcome in desk.outcomes]
    assert found[IN] == ["held", "sent", "cooldown", "no_consent"]
    assert found[OUT] == ["held", "holdout", "cooldown", "no_consent"]
    assert desk.states[OUT].contacts == {}


def test_what_is_held_out_uses_no_slot():
    policy = "caps: {day: {at_most: 1, per: day}}\n"
    rules = rule("first", priority=90, holdout="{share: 0.3, salt: spring}"), rule("second")
    desk = desk_with(*rules, policy=policy)
    assert of(desk, IN) == [("first", "sent"), ("second", "cap")]
    assert of(desk, OUT) == [("first", "holdout"), ("second", "sent")]


@pytest.mark.parametrize("by_rule", [True, False])
def test_it_says_why(by_rule):
    desk = desk_with(rule("r", holdout=FIRM[9:] if by_rule else None), policy="" if by_rule else FIRM)
    verdict = judge(desk.plan, desk.states[OUT], Match(desk.plan.compiled[on("logins")][0], login(at(1), OUT)[1]))
    assert isinstance(verdict, Suppress)
    expected = {"holdout": "rule" if by_rule else "firm", "share": 0.3, "place": round(place("spring", OUT), 4)}
    assert dict(verdict.told) == expected
    explained = Explainer(desk.plan).explain(
        desk.plan.rule_set.rules[0], on("logins"), desk.states[OUT], login(at(1), OUT)[1], None
    )
    said = ", ".join(f"{name} {value}" for name, value in expected.items())
    assert policy(explained) == f"would stop it: the client is held out ({said})"
