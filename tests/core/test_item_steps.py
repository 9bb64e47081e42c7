"""Rules on the steps of open items: each step is heard of once, in the decision that brings it about, in any order."""

import itertools
from collections import Counter

import pytest

from engine.core.client.items import ITEM_STATES, MAX_STEPS, STEPS
from engine.core.client.sections import pack, unpack
from engine.core.firm_time import DAY_MS
from engine.core.rules.occasion import ITEM_STEP, ITEM_STEPS, kept_items
from engine.insight.explain import Explainer
from tests.core.making import Desk, at, login, plan_of, profile, rule
from tests.core.test_answers import came
from tests.core.test_items import ASK, TEAM, step

NAMED = "{id: item.id, kind: item.kind, about: item.about, step: item.step, days: item.days, opened: item.opened_at}"
HEARD = rule("heard", on="item", cooldown="1m", parameters=NAMED, **TEAM)


def hears(when):
    return rule("heard", on="item", when=when, cooldown="1m", parameters=NAMED, **TEAM)


def desk(*rules):
    found = Desk(plan_of(*rules))
    found.take(profile(at(0)))
    return found


def heard(actions):
    return [
        (action["parameters"]["step"], action["parameters"]["id"], action["cause"]["event_id"])
        for action in actions
        if action["rule_id"] == "heard"
    ]


def test_rules_can_name_every_state():
    assert tuple(ITEM_STATES.values()) == ITEM_STEPS


def test_each_step_of_a_complaint_is_heard_in_the_decision_of_its_event():
    found = desk(HEARD)
    told = [step(at(1), "opened", category="fees"), step(at(2), "answered"), step(at(4.5), "resolved")]
    actions = [action for event in told for action in found.take(event)]
    assert heard(actions) == [
        (name, "K1", event.event_id) for name, (_, event) in zip(("opened", "answered", "closed"), told, strict=True)
    ]
    assert actions[-1]["parameters"] == {
        "id": "K1", "kind": "complaint", "about": "fees", "step": "closed", "days": 3,
        "opened": "2026-02-17T04:00:00.000Z",
    }  # fmt: skip


def test_a_step_that_changes_nothing_is_none():
    found = desk(HEARD)
    said = [step(at(day), status) for day, status in enumerate(("opened", "opened", "resolved", "withdrawn"), start=1)]
    assert [name for event in said for name, _, _ in heard(found.take(event))] == ["opened", "closed"]
    assert [name for name, _, _ in heard(found.take(step(at(9), "reopened")))] == ["opened"]


# by name: one rule for each, since the client's cooldown counts by rule
EACH = tuple(
    rule(name, on="item", when=f'item.step == "{name}"', cooldown="1m", **TEAM)
    for name in ("opened", "answered", "closed")
)
STEPS_TOLD = (("opened", 1), ("resolved", 2), ("withdrawn", 3), ("reopened", 4), ("answered", 5), ("resolved", 6))


def test_in_whatever_order_steps_come_each_is_heard_once():
    """A client came to a state as often as the steps in the order of time say, however they come."""
    for order in itertools.permutations(STEPS_TOLD):
        found = desk(*EACH)
        found.take(*(step(at(day), status) for status, day in order))
        assert Counter(rule_id for rule_id, _ in found.outcomes) == {"opened": 2, "answered": 1, "closed": 2}, order


def test_a_closing_whose_opening_has_not_come():
    found = desk(HEARD)
    (action,) = found.take(step(at(3), "resolved"))
    assert (action["parameters"]["days"], action["parameters"]["opened"]) == (0, "2026-02-19T04:00:00.000Z")
    found.take(login(at(4)))
    (action,) = found.take(step(at(1), "opened", category="fees"))
    assert (action["parameters"]["step"], action["parameters"]["days"], action["parameters"]["about"]) == (
        "opened", 3, "fees",
    )  # fmt: skip


def test_no_more_steps_are_kept_than_the_bound():
    found = desk(HEARD)
    statuses = itertools.cycle(("opened", "resolved"))
    sent = [heard(found.take(step(at(day), next(statuses)))) for day in range(1, 30)]
    assert all(len(each) == 1 for each in sent)
    assert len(found.client.items[0][STEPS]) == MAX_STEPS
    assert found.take(step(at(2.5), "answered")) == []  # older than all that is known


def test_what_the_engine_sends_is_opened_answered_and_closed():
    found = desk(ASK, hears('item.kind == "survey"'))
    survey, opened = found.take(login(at(1)))
    assert opened["parameters"] == {
        "id": survey["id"], "kind": "survey", "about": "ask", "step": "opened", "days": 0,
        "opened": survey["time"],
    }  # fmt: skip
    assert opened["cause"] == survey["cause"]
    assert opened["id"] != survey["id"]
    (closed,) = found.take(came("feedback", at(2), action_id=survey["id"], nps=3))
    assert (closed["parameters"]["step"], closed["parameters"]["days"]) == ("closed", 1)


def test_what_rules_on_items_send_is_not_heard_of():
    """Neither at once, nor when it is answered or expires: each action would lead to the next for ever."""
    found = desk(ASK, HEARD, rule("other", on="item", when='item.kind == "task"', cooldown="1m", **TEAM))
    assert [action["rule_id"] for action in found.take(login(at(1)))] == ["ask", "heard"]
    task = next(item[1] for item in found.client.items if item[0] == "task")  # it waits for an answer all the same
    assert found.take(came("outcomes", at(2), action_id=task, status="done")) == []
    assert [action["parameters"]["kind"] for action in found.tick_all(at(500))] == ["survey"]


def test_what_nobody_closes_expires_once_at_its_own_time():
    found = desk(hears('item.step == "expired"'))
    found.take(step(at(1), "opened"), step(at(2), "opened", "K2"), step(at(3), "resolved", "K2"))
    assert found.client.due_ms == at(1) + 90 * DAY_MS
    (action,) = found.tick_all(at(300))
    assert (action["parameters"]["id"], action["parameters"]["days"]) == ("K1", 90)
    assert action["cause"]["type"] == "timer"
    assert found.client.items == []  # the task on it, too, at day 181: nobody hears of that


def test_it_expires_though_an_event_comes_first_after_an_outage():
    found = desk(hears('item.step == "expired"'))
    found.take(step(at(1), "opened"))
    (action,) = found.take(login(at(200)))
    assert action["time"] == "2026-05-18T04:00:00.000Z"


def test_steps_are_kept_while_a_rule_asks_for_them_or_the_item_does_not_tell_them():
    asks, asks_not = plan_of(HEARD), plan_of(rule("other"))
    found = desk(rule("other"))
    found.take(step(at(1), "opened"), step(at(2), "answered"))
    assert len(found.client.items[0]) == STEPS
    again = Desk(asks)
    again.states["c1"] = unpack(asks.layout, pack(found.plan.layout, found.client))
    again.take(step(at(3), "resolved"))
    assert [state for _, state in again.client.items[0][STEPS]] == ["o", "a", "c"]
    back = Desk(asks_not)
    back.states["c1"] = unpack(asks_not.layout, pack(asks.layout, again.client))
    back.take(step(at(4), "reopened"))
    assert [state for _, state in back.client.items[0][STEPS]] == ["o", "a", "c", "o"]


@pytest.mark.parametrize(
    ("when", "kept"),
    [
        ('item.kind == "complaint"', set()),
        ('item.kind == "task" and item.step == "closed"', {"task"}),
        ('item.kind in ("task", "alert")', {"task", "alert"}),
        ('item.about == "ask"', {"ask"}),
        ('item.kind == "survey" or item.kind == "task"', {"survey", "task", "alert", "assignment"}),
        ('item.step == "closed"', {"survey", "task", "alert", "assignment"}),
        ('item.kind != "task"', {"survey", "task", "alert", "assignment"}),
    ],
)
def test_only_actions_that_a_rule_can_ask_for_are_kept(when, kept):
    assert kept_items(plan_of(ASK, hears(when)).rule_set) == kept


def test_explain_says_what_it_depends_on():
    found = desk(HEARD, hears('item.step == "closed"').replace("id: heard", "id: second"))
    rule_set = found.plan.rule_set
    second = next(each for each in rule_set.rules if each.id == "second")
    explained = Explainer(found.plan).explain(second, ITEM_STEP, found.client, None, None)
    assert explained.open == ("item.step",)
