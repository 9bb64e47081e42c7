"""What is told of verdicts: one decision for each match, equal refusals counted, one end of what was held."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

from engine.core.client.sections import pack, unpack
from engine.core.client.state import MAX_HISTORY
from engine.core.contract.message import Message, rfc3339
from engine.core.decide.path import decide
from tests.core.making import Desk, Input, at, decisions, login, plan_of, profile, rule, trade
from tests.core.test_corrections import correction
from tests.core.test_policy import CLASSES, MINUTE_MS, QUIET, desk_with


def take(desk: Desk, *inputs: Input) -> list[dict[str, Any]]:
    """The decisions on what these bring about."""
    before = len(desk.decided)
    desk.take(*inputs)
    return decisions(desk.decided[before:])


def tick_all(desk: Desk, until_ms: int) -> list[dict[str, Any]]:
    before = len(desk.decided)
    desk.tick_all(until_ms)
    return decisions(desk.decided[before:])


def outcomes(told: Iterable[dict[str, Any]]) -> list[str]:
    return [one["outcome"] for one in told]


def counted(told: Iterable[dict[str, Any]]) -> Counter[tuple[str, str]]:
    """By rule and outcome: those that are told of one by one, and those that were folded."""
    found: Counter[tuple[str, str]] = Counter()
    for one in told:
        found[one["rule_id"], one["outcome"]] += 1
        for folded in one.get("folded", ()):
            found[folded["rule_id"], folded["outcome"]] += folded["times"]
    return found


def test_an_action_has_its_decision_and_each_names_the_other():
    desk = desk_with(rule("r", version=3, channels="[sms, app_push]", **{"class": "marketing"}))
    moment = login(at(1))
    (action,) = desk.take(moment)
    (told,) = decisions(desk.decided)
    assert told == {
        "id": told["id"], "match": told["id"], "client_id": "c1", "time": action["time"], "cause": action["cause"],
        "rule_id": "r", "rule_version": 3, "outcome": "sent", "kind": "message", "channel": "sms",
        "class": "marketing", "action_id": action["id"],
    }  # fmt: skip
    assert told["id"] != action["id"]
    assert (action["team"], action["not_before"], action["arm"]) == ("wealth", None, None)


def test_a_refusal_says_its_reason_with_the_numbers():
    policy = "caps: {week: {at_most: 1, per: week}, sliding: {at_most: 1, within: 36h, of: {kind: survey}}}\n"
    desk = desk_with(
        rule("first", priority=60), rule("second"), rule("third", kind="survey", cooldown="2d"), policy=policy
    )
    sent, *stopped = take(desk, login(at(1)))
    assert outcomes([sent, *stopped]) == ["sent", "cap", "cap"]
    for one in stopped:
        assert one["numbers"] == {"cap": "week", "count": 1, "at_most": 1, "period": "week", "lost_to": "first"}
        assert one["until"] == rfc3339(at(7, 0))
        assert "action_id" not in one
    surveys = desk_with(rule("s", kind="survey"), policy=policy)
    assert take(surveys, login(at(6, 12)), login(at(7, 1)))[1]["numbers"]["period"] == 36 * 3600
    cooled = desk_with(rule("r", cooldown="2d"))
    assert take(cooled, login(at(1)), login(at(2)))[1]["until"] == rfc3339(at(3))


@pytest.mark.parametrize("cooldown", ["1m", "3d"])
def test_the_same_refusal_again_is_counted_and_told_with_the_next_decision(cooldown):
    policy = "caps: {one: {at_most: 1, per: week}}\n" if cooldown == "1m" else ""
    desk = desk_with(rule("r", cooldown=cooldown), rule("t", on="trades", audience="team"), policy=policy)
    told = take(desk, login(at(0, 12)), *(login(at(0, 13) + n * MINUTE_MS) for n in range(5)))
    assert len(told) == 2
    refused = told[1]
    assert "folded" not in refused
    (other,) = take(desk, trade(at(0, 20)))  # of another rule
    assert other["folded"] == [{"rule_id": "r", "outcome": refused["outcome"], "times": 4}]
    again = take(desk, *(login(at(1, hour)) for hour in (9, 10, 11)))
    if cooldown == "1m":  # a day later the cap is told of again
        assert outcomes(again) == ["cap"]
        assert "folded" not in again[0]
    else:  # within the same cooldown there is nothing new
        assert again == []
    last = take(desk, login(at(4)), trade(at(4, 13)))  # the first week has not ended, the cooldown has
    assert outcomes(last) == (["cap", "sent"] if cooldown == "1m" else ["sent", "sent"])
    found = counted(decisions(desk.decided))
    assert found == Counter((rule_id, str(outcome)) for rule_id, outcome in desk.outcomes)


def test_a_count_is_never_lost_however_many_outcomes_come_between():
    """The list of last outcomes is short: what it counts stays, and what is retracted takes a place in it, too."""
    names = [f"r{n:02}" for n in range(MAX_HISTORY + 3)]
    desk = desk_with(*(rule(name, cooldown="30d", priority=n + 1) for n, name in enumerate(names)))
    desk.take(*(login(at(1, 10) + n * MINUTE_MS) for n in range(7)))
    assert len(desk.client.recent) <= MAX_HISTORY
    copied = unpack(desk.plan.layout, pack(desk.plan.layout, desk.client))
    assert copied.recent == desk.client.recent
    untold = Counter((one[1], one[4]) for one in desk.client.recent for _ in range(sum(one[6:])))
    assert counted(decisions(desk.decided)) + untold == Counter((r, str(o)) for r, o in desk.outcomes)


def test_decisions_do_not_depend_on_what_is_decided_together():
    def history() -> list[Input]:
        return [login(at(day, hour)) for day in range(4) for hour in (8, 9, 10, 22, 23)]

    plan = desk_with(rule("r", cooldown="5h"), rule("s", priority=9), policy=CLASSES + QUIET).plan
    first: list[Input] = [profile(at(0, 0))]
    events = history()
    ways: list[list[Message]] = []
    for size in (1, 3, 100):
        messages: list[Message] = []
        states: dict[str, Any] = {}
        decide(plan, states, first)
        for begin in range(0, len(events), size):
            packed = {key: pack(plan.layout, client) for key, client in states.items()}
            states = {key: unpack(plan.layout, state) for key, state in packed.items()}
            messages += decide(plan, states, events[begin : begin + size]).messages
        ways.append(messages)
    assert ways[0] == ways[1] == ways[2]
    assert {one["outcome"] for one in decisions(ways[0])} >= {"sent", "cooldown", "held"}
    assert any("folded" in one for one in decisions(ways[0]))


def test_what_is_held_is_told_of_when_it_is_and_when_it_ends():
    desk = desk_with(rule("r"), policy=CLASSES + QUIET)
    (held,) = take(desk, login(at(1, 23)))
    assert held["outcome"] == "held"
    assert held["match"] == held["id"]
    assert held["not_before"] == rfc3339(at(2, 8.5))
    assert held["numbers"] == {"waits_for": "quiet_hours", "quiet_hours": "night", "zone": "firm"}
    before = len(desk.messages)
    (sent,) = tick_all(desk, at(2, 12))
    action = json.loads(desk.messages[before].value or b"")
    assert (sent["outcome"], sent["match"], sent["action_id"]) == ("sent", held["id"], action["id"])
    assert sent["id"] not in (held["id"], action["id"])
    assert sent["cause"] == held["cause"] == action["cause"]
    assert action["not_before"] == rfc3339(at(2, 8.5))


def test_each_of_many_that_waited_has_an_end_of_its_own():
    desk = desk_with(rule("r", cooldown="5d"), policy=CLASSES + QUIET)
    held = take(desk, *(login(at(1, 22) + n * MINUTE_MS) for n in range(4)))
    ended = tick_all(desk, at(2, 12))
    assert outcomes(held) == ["held"] * 4
    assert sorted(outcomes(ended)) == ["cooldown"] * 3 + ["sent"]  # equal, and yet each is told of
    assert sorted(one["match"] for one in ended) == sorted(one["id"] for one in held)
    assert len({one["id"] for one in (*held, *ended)}) == 8


def test_what_was_held_and_is_corrected_ends_as_retracted():
    desk = desk_with(rule("r", on="trades", when="trade.amount_cny >= 1"), policy=CLASSES + QUIET)
    busted = trade(at(1, 22), 1_000_00)
    (held,) = take(desk, busted)
    (ended,) = take(desk, correction(at(1, 23), busted))
    assert (ended["outcome"], ended["match"]) == ("retracted", held["id"])
    assert ended["cause"] == held["cause"]
    assert ("r", "retracted") in desk.outcomes
    assert tick_all(desk, at(3)) == []
    assert desk.client.recent[-1][4] == "retracted"


def test_what_was_held_and_is_replaced_keeps_its_name():
    desk = desk_with(rule("r", on="trades", when="trade.amount_cny >= 1"), policy=CLASSES + QUIET)
    first = trade(at(1, 22), 1_000_00)
    (held,) = take(desk, first)
    assert take(desk, correction(at(1, 23), first, {"amount_fen": 2_000_00})) == []
    (ended,) = tick_all(desk, at(3))
    assert (ended["outcome"], ended["match"]) == ("sent", held["id"])


def test_what_is_held_while_its_rule_is_gone_expires_in_time():
    policy = (("policy.yaml", "contact: {daily_cap: 9}\n" + CLASSES + QUIET),)
    with_, without = plan_of(rule("r", version=4), others=policy), plan_of(rule("x", on="trades"), others=policy)
    desk = Desk(with_)
    (held,) = take(desk, profile(at(0, hour=0)), login(at(1, 23)))
    desk.states["c1"] = unpack(without.layout, pack(with_.layout, desk.client))
    desk.plan = without
    desk.sweep(at(2, 1))
    (ended,) = tick_all(desk, at(4))
    assert (ended["outcome"], ended["match"], ended["time"]) == ("expired", held["id"], rfc3339(at(2, 23)))
    assert (ended["rule_id"], ended["rule_version"]) == ("r", 4)
    assert "kind" not in ended
    assert desk.client.waiting == []


def test_the_policy_says_what_is_told():
    def told(policy: str, hour: float = 12) -> list[str]:
        desk = desk_with(rule("r", cooldown="1d"), policy=CLASSES + QUIET + policy)
        found = outcomes(take(desk, login(at(1, hour)), login(at(1, hour) + 1), login(at(1, hour) + 2)))
        return found + outcomes(tick_all(desk, at(2, 10)))

    assert told("") == ["sent", "cooldown"]
    assert told("\ndecisions: {leave_out: [cooldown]}") == ["sent"]
    assert told("\ndecisions: {publish: false}") == []
    # the end of what was held is told whatever it is
    assert told("\ndecisions: {leave_out: [cooldown]}", 23) == ["held"] * 3 + ["sent", "cooldown", "cooldown"]


def test_what_is_left_out_is_not_counted_either():
    desk = desk_with(
        rule("r", cooldown="1d"), rule("t", on="trades", audience="team"), policy="decisions: {leave_out: [cooldown]}\n"
    )
    desk.take(*(login(at(1, hour)) for hour in (9, 10, 11, 12)))
    assert all(len(one) == 6 for one in desk.client.recent)
    assert desk.client.recent[-1][4:] == ["cooldown", 3]  # but listed, with the client
    (told,) = take(desk, trade(at(1, 13)))
    assert "folded" not in told


def test_a_client_of_whom_nothing_is_counted_is_stored_as_before():
    desk = desk_with(rule("r"), rule("x", on="trades"))
    desk.take(login(at(1)), trade(at(2)))
    assert all(len(one) == 6 for one in desk.client.recent)
    assert desk.client.waiting == []
