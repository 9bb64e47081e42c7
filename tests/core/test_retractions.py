"""Retractions by example: which actions are taken back, what they leave behind, and how far that reaches."""

import json

from engine.core.client.items import ITEM_STATES, STATE
from engine.core.client.sections import pack, unpack
from engine.core.client.state import MAX_CAUSED
from engine.core.contract.outbound import Retraction, is_retraction
from engine.core.decide.path import decide
from tests.core import making
from tests.core.making import Desk, at, balance, event_of, login, plan_of, profile, rule, trade
from tests.core.test_corrections import correction
from tests.core.test_messages import validator
from tests.core.test_policy import CLASSES, QUIET
from tests.retractions import Retractions

FEATURES = making.FEATURES + "  trades_1d: {source: trades, aggregate: count, window: 1d}\n"
LARGE = {"kind": "alert", "audience": "team", "cooldown": "30d"}
PLAN = plan_of(
    rule("large", on="trades", when="trade.amount_cny >= 1000", **LARGE),
    rule("many", on="trades", when="trades_1d >= 3 and trade.amount_cny >= 1", **LARGE),
    rule("poor", becomes="client.assets_cny < 100", **LARGE),
    rule("followed", sequence="{first: {on: logins}, within: 1h, then: {on: trades}}", **LARGE),
    rule("stale", unanswered="{of: large, for: 3d}", kind="task", audience="team"),
    rule("nothing-to-do", on="item", when='item.step == "retracted"', kind="task", audience="team"),
    features=FEATURES,
)
BIG, SMALL = 200_000, 100  # in fen


def take(desk, item):
    """What was published: the rules that acted, and those whose action was retracted."""
    before = len(desk.messages)
    desk.take(item)
    actions = [m for m in desk.messages[before:] if m.topic != "tier-changes"]
    found = [(is_retraction(m.headers), json.loads(m.value)["rule_id"]) for m in actions]
    return [rule_id for back, rule_id in found if not back], [rule_id for back, rule_id in found if back]


def test_the_alert_of_a_cancelled_trade_is_retracted_on_its_topic():
    desk, busted = Desk(PLAN), trade(at(0), BIG)
    (alert,) = desk.take(busted)
    desk.states["c1"] = unpack(PLAN.layout, pack(PLAN.layout, desk.client))
    cancelled = correction(at(1), busted)
    retraction = desk.take(cancelled)[0]
    message = desk.messages[1]
    assert message.topic == alert["topic"] == "alerts"
    assert is_retraction(message.headers)
    assert not is_retraction(desk.messages[0].headers)
    assert dict(message.headers)["ce_retracts"] == alert["id"].encode()
    del retraction["topic"]
    validator("retraction").validate(retraction)
    assert message.value == Retraction.model_validate(retraction).model_dump_json(by_alias=True).encode()
    assert retraction["action_id"] == alert["id"]
    assert retraction["event"] == alert["cause"]
    assert retraction["reason"] == "cancelled"
    assert (retraction["cause"]["type"], retraction["cause"]["event_id"]) == ("corrections", "k1")
    assert (retraction["rule_id"], retraction["rule_version"]) == ("large", 1)
    assert desk.client.recent[-2][4] == "retracted"  # then the task of the rule on the item
    assert take(desk, correction(at(1.1), busted, id_="k2")) == ([], [])  # once


def test_what_was_retracted_counts_for_no_cooldown():
    desk, busted = Desk(PLAN), trade(at(0), BIG)
    desk.take(busted)
    assert take(desk, trade(at(0.1), BIG)) == ([], [])  # the cooldown
    desk.take(correction(at(1), busted))
    assert take(desk, trade(at(1.1), BIG)) == (["large"], [])


def test_a_later_action_of_the_rule_keeps_its_cooldown():
    desk, first = Desk(PLAN), trade(at(0), BIG)
    desk.take(first, trade(at(31), BIG))
    assert take(desk, correction(at(31.1), first))[1] == []  # after a month nobody knows
    assert take(desk, trade(at(32), BIG)) == ([], [])


def test_its_open_item_is_closed_as_retracted_and_rules_hear_of_it():
    desk, busted = Desk(PLAN), trade(at(0), BIG)
    desk.take(busted)
    assert take(desk, correction(at(1), busted)) == (["nothing-to-do"], ["large"])
    (item,) = [item for item in desk.client.items if item[0] == "alert"]
    assert ITEM_STATES[item[STATE]] == "retracted"
    assert desk.tick_all(at(10)) == []  # nobody is reminded of it


def test_a_replacement_that_holds_lets_the_action_stand_until_it_is_cancelled_itself():
    desk, big = Desk(PLAN), trade(at(0), BIG)
    desk.take(big)
    assert take(desk, correction(at(1), big, {"amount_fen": BIG * 2})) == ([], [])
    bigger = "trades", event_of(big).model_copy(update={"amount_fen": BIG * 2})
    assert take(desk, correction(at(2), bigger, id_="k2"))[1] == ["large"]


def test_a_replacement_that_does_not_hold_retracts_the_action():
    desk, big = Desk(PLAN), trade(at(0), BIG)
    desk.take(big)
    assert take(desk, correction(at(1), big, {"amount_fen": SMALL}))[1] == ["large"]
    assert json.loads(desk.messages[1].value)["reason"] == "replaced"


def test_where_time_has_passed_only_what_the_rule_asks_of_the_event_counts():
    for new, gone in ((SMALL * 2, []), (SMALL // 2, ["many"])):
        desk, third = Desk(PLAN), trade(at(0, 14), SMALL)
        desk.take(trade(at(0, 12), SMALL), trade(at(0, 13), SMALL))
        assert take(desk, third) == (["many"], [])
        desk.take(login(at(5)))  # none of the three is in the window any more
        assert take(desk, correction(at(5.1), third, {"amount_fen": new}))[1] == gone


def test_a_condition_that_still_holds_acts_again():
    desk, poor = Desk(PLAN), balance(at(0), 50)
    desk.take(profile(at(-1)))
    assert take(desk, poor) == (["poor"], [])
    desk.take(balance(at(0.1), 60))
    acted, gone = take(desk, correction(at(1), poor))
    assert gone == ["poor"]
    assert "poor" in acted


def test_the_second_step_of_a_sequence():
    desk, then = Desk(PLAN), trade(at(0, 12.5), SMALL)
    desk.take(login(at(0, 12)))
    assert take(desk, then) == (["followed"], [])
    assert take(desk, correction(at(1), then, {"amount_fen": SMALL * 2})) == ([], [])
    replaced = "trades", event_of(then).model_copy(update={"amount_fen": SMALL * 2})
    assert take(desk, correction(at(1.1), replaced, id_="k2"))[1] == ["followed"]


def test_what_time_led_to_is_not_retracted():
    desk, big = Desk(PLAN), trade(at(0), BIG)
    desk.take(big)
    assert [action["rule_id"] for action in desk.tick_all(at(4))] == ["stale"]
    assert take(desk, correction(at(5), big))[1] == ["large"]


def test_an_event_that_has_not_come_retracts_nothing():
    desk, big = Desk(PLAN), trade(at(0), BIG)
    desk.take(login(at(-1)))
    assert take(desk, correction(at(0.1), big)) == ([], [])
    assert take(desk, big) == ([], [])


def test_the_memory_is_bounded_and_says_what_lies_beyond():
    rules = [rule(f"r{number}", on="trades", **LARGE | {"cooldown": "1m"}) for number in range(4)]
    desk = Desk(plan_of(*rules))
    trades = [trade(at(0, 1 + number), SMALL) for number in range(6)]
    desk.take(*trades)
    assert len(desk.client.caused) == MAX_CAUSED == 16
    beyond = decide(desk.plan, desk.states, [correction(at(1), trades[0])])
    assert (beyond.messages, beyond.counts["beyond", "trades"]) == ([], 1)
    within = decide(desk.plan, desk.states, [correction(at(1), trades[5], id_="k2")])
    assert (len(within.messages), within.counts["retracted", "alert"], within.counts["beyond", "trades"]) == (4, 4, 0)
    desk.take(login(at(40)))
    assert desk.client.caused == []


def test_who_was_sent_nothing_by_an_event_is_stored_in_not_one_byte_more():
    desk = Desk(PLAN)
    desk.take(trade(at(0), SMALL))
    assert b"causes" not in pack(PLAN.layout, desk.client)
    desk.take(trade(at(0.1), BIG))
    assert b"causes" in pack(PLAN.layout, desk.client)


def test_the_model_that_tests_compare_with_sees_faults():
    desk, big, other = Desk(PLAN), trade(at(0), BIG), trade(at(0.1), SMALL)
    acted, back = decide(PLAN, desk.states, [big]).messages, correction(at(1), big)
    said = decide(PLAN, desk.states, [back]).messages

    def model():
        made = Retractions()
        assert made.take(big, acted) == []
        return made

    assert model().take(back, said) == []
    assert "was not retracted" in model().take(back, [])[0]
    assert "without a correction" in model().take(other, said)[0]
    assert "does not stand" in model().take(correction(at(1), other), said)[0]


def test_what_waits_is_not_sent_or_sent_as_the_replacement_says():
    for new, said in ((None, []), ({"amount_fen": SMALL}, []), ({"amount_fen": BIG * 2}, ["4000.00"])):
        policy = (("policy.yaml", f"contact: {{daily_cap: 9}}\n{CLASSES}{QUIET}"),)
        large = rule("large", on="trades", when="trade.amount_cny >= 1000", parameters="{cny: trade.amount_cny}")
        desk, big = Desk(plan_of(large, others=policy)), trade(at(0, 23), BIG)
        desk.take(profile(at(0)), big)
        assert len(desk.client.waiting) == 1
        assert take(desk, correction(at(0, 23.5), big, new)) == ([], [])
        assert [action["parameters"]["cny"] for action in desk.tick_all(at(1, 9))] == said


def test_what_was_sent_after_it_had_waited_is_retracted():
    policy = (("policy.yaml", f"contact: {{daily_cap: 9}}\n{CLASSES}{QUIET}"),)
    desk, big = Desk(plan_of(rule("large", on="trades"), others=policy)), trade(at(0, 23), BIG)
    desk.take(profile(at(0)), big)
    (action,) = desk.tick_all(at(1, 9))
    assert action["cause"]["type"] == "trades"
    assert take(desk, correction(at(1, 10), big)) == ([], ["large"])


# -- what stands, and what does not, by what replaces the event --------------------------------------------------------

SURE = {**LARGE, "cooldown": "1d"}
REPLACED = plan_of(
    rule("any", on="[trades, logins]", **SURE),
    rule("three", on="trades", when="trades_1d >= 3", **SURE),
    rule("many", on="trades", when="trades_1d >= 3 and trade.amount_cny >= 1", **SURE),
    rule("poor", becomes="client.assets_cny < 100", repeat_every="2d", **SURE),
    rule("step", sequence="{first: {on: logins}, within: 1h, then: {on: trades, when: trade.amount_cny >= 1}}", **SURE),
    rule(
        "whole",
        sequence="{first: {on: logins}, within: 1h, then: {on: trades}}",
        when="trade.amount_cny >= 1",
        **SURE,
    ),
    rule("rich", on="balances", when="balance.assets_cny >= 1000", **SURE),
    features=FEATURES,
)


def now(item, **fields):
    """The event as it is after it was replaced."""
    return item[0], event_of(item).model_copy(update=fields)


def test_a_condition_that_a_replacement_ends_takes_its_action_back():
    desk, poor = Desk(REPLACED), balance(at(0), 50)
    desk.take(profile(at(-1)))
    assert take(desk, poor) == (["poor"], [])
    assert take(desk, correction(at(0.1), poor, {"assets_fen": 6_000})) == ([], [])
    assert take(desk, correction(at(0.2), now(poor, assets_fen=6_000), {"assets_fen": 60_000}, "k2"))[1] == ["poor"]


def test_the_second_step_of_a_sequence_is_asked_for_what_it_asks_and_for_what_the_rule_asks():
    desk, then = Desk(REPLACED), trade(at(0, 12.5), SMALL)
    desk.take(login(at(0, 12)))
    assert take(desk, then) == (["step", "whole"], [])
    assert take(desk, correction(at(0, 13), then, {"amount_fen": SMALL - 1})) == ([], ["step", "whole"])


def test_a_replacement_that_leaves_the_window_takes_the_action_back():
    """The rule held with the event as it was sent, so that time has not passed: it is the event that is another."""
    desk, third = Desk(REPLACED), trade(at(0, 14), SMALL)
    desk.take(trade(at(0, 12), SMALL), trade(at(0, 13), SMALL))
    assert take(desk, third) == (["many", "three"], [])
    assert take(desk, correction(at(0, 15), third, {"time": at(-3)})) == ([], ["many", "three"])


def test_where_time_has_passed_a_rule_that_asks_nothing_of_the_event_stands():
    desk, third = Desk(REPLACED), trade(at(0, 14), SMALL)
    desk.take(trade(at(0, 12), SMALL), trade(at(0, 13), SMALL), third, login(at(5)))
    assert take(desk, correction(at(5.1), third, {"amount_fen": SMALL // 2})) == ([], ["many"])


def test_a_balance_of_an_account_is_asked_as_one_of_the_whole_client():
    desk, second = Desk(REPLACED), balance(at(0.1), 600, account="b")
    desk.take(balance(at(0), 700, account="a"))
    assert take(desk, second) == (["rich"], [])
    assert take(desk, correction(at(1), second, {"assets_fen": 40_000})) == ([], [])
    assert take(desk, correction(at(1.1), now(second, assets_fen=40_000), {"assets_fen": 20_000}, "k2"))[1] == ["rich"]


def test_what_was_moved_in_time_is_cancelled_by_its_new_time_and_nothing_else_with_it():
    desk, one, other = Desk(REPLACED), trade(at(0, 12), SMALL), login(at(2, 12))
    desk.take(one, other)
    assert take(desk, correction(at(3), one, {"time": at(0, 13)})) == ([], [])
    assert take(desk, correction(at(3.1), other, id_="k2")) == ([], ["any"])
    assert take(desk, correction(at(3.2), now(one, time=at(0, 13)), id_="k3")) == ([], ["any"])
    assert desk.client.caused == []


def test_what_a_replacement_took_back_is_not_taken_back_again():
    desk, big = Desk(PLAN), trade(at(0), BIG)
    desk.take(big)
    assert take(desk, correction(at(1), big, {"amount_fen": SMALL}))[1] == ["large"]
    assert desk.client.caused == []
    assert take(desk, correction(at(2), now(big, amount_fen=SMALL), id_="k2"))[1] == []


def test_a_rule_that_has_another_name_now_takes_its_actions_back():
    desk, big = Desk(PLAN), trade(at(0), BIG)
    desk.take(big)
    desk.plan = plan_of(rule("huge", on="trades", when="trade.amount_cny >= 1000", was="large", **LARGE))
    desk.states["c1"] = unpack(desk.plan.layout, pack(PLAN.layout, desk.client))
    assert take(desk, correction(at(1), big, {"amount_fen": SMALL})) == ([], ["large"])  # by the name it was sent under
    assert take(desk, trade(at(1.1), BIG)) == (["huge"], [])


# -- what an action leaves behind --------------------------------------------------------------------------------------


def test_only_the_last_action_of_a_rule_counts_for_its_cooldown_and_its_repetition():
    desk, first = Desk(REPLACED), trade(at(0), SMALL)
    assert take(desk, first) == (["any"], [])
    assert take(desk, trade(at(2), SMALL)) == (["any"], [])
    assert take(desk, correction(at(2.1), first)) == ([], ["any"])
    assert take(desk, trade(at(2.2), SMALL)) == ([], [])  # the cooldown of the second
    poor = balance(at(3), 50)
    assert take(desk, poor) == (["poor"], [])
    assert [action["rule_id"] for action in desk.tick_all(at(5.5))] == ["poor"]
    desk.take(balance(at(5.6), 60))
    assert take(desk, correction(at(5.7), poor)) == ([], ["poor"])
    assert [action["rule_id"] for action in desk.tick_all(at(7.5))] == ["poor"]


def test_an_outcome_that_was_retracted_is_listed_with_its_channel():
    desk, big = Desk(PLAN), trade(at(0), BIG)
    desk.take(big, correction(at(1), big))
    (entry,) = [entry for entry in desk.client.recent if entry[4] == "retracted"]
    assert entry[1:4] == ["large", "alert", "work_queue"]


def test_what_no_correction_can_name_is_not_remembered():
    desk = Desk(plan_of(rule("met", on="[profiles, trades]", **LARGE | {"cooldown": "1m"})))
    assert take(desk, profile(at(0))) == (["met"], [])
    assert desk.client.caused == []
    assert take(desk, trade(at(1))) == (["met"], [])
    assert len(desk.client.caused) == 1


def test_what_lies_beyond_is_counted_where_a_part_of_it_may_be_known():
    rules = [rule(f"r{number}", on="trades", **LARGE | {"cooldown": "1m"}) for number in range(5)]
    desk, trades = Desk(plan_of(*rules)), [trade(at(0, 1 + number), SMALL) for number in range(4)]
    desk.take(*trades)
    part = decide(desk.plan, desk.states, [correction(at(1), trades[0])])  # of five actions one is remembered
    assert (len(part.messages), part.counts["beyond", "trades"]) == (1, 1)
    desk.take(login(at(40)))
    old = decide(desk.plan, desk.states, [correction(at(40), trades[3], id_="k2")])
    assert (old.messages, old.counts["beyond", "trades"]) == ([], 1)
