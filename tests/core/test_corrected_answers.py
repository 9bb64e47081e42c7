"""Corrections of what comes back: features go back, items wait again, what was held and decided before holds again."""

import pytest

from engine.core.client.items import STEPS
from engine.core.client.overrides import EARLIER, MAX_EARLIER, tier_now, until_ms
from engine.core.client.positions import portfolio
from engine.core.client.sections import pack, unpack
from engine.core.decide.path import decide
from engine.core.firm_time import NEVER_MS
from engine.core.policy.channels import rests_until_ms
from engine.runtime.redis import reading
from tests.core import making
from tests.core.making import Desk, at, decisions, event_of, plan_of, profile, rule
from tests.core.test_answers import came
from tests.core.test_corrections import correction

FEATURES = f"""\
{making.FEATURES}  nps_last: {{source: feedback, aggregate: last, field: nps, window: 90d}}
  nps_avg: {{source: feedback, aggregate: avg, field: nps, window: 90d}}
  opened_7d: {{source: receipts, aggregate: count, window: 7d, where: 'receipt.status == "opened"'}}
  done_7d: {{source: outcomes, aggregate: count, window: 7d, where: 'outcome.status == "done"'}}
"""
TEAM = {"kind": "task", "audience": "team"}
ASKED = "{last: nps_last, mean: nps_avg, opened: opened_7d, done: done_7d}"
SEEN = rule("seen", on="logins", when="client.days_known >= 0", parameters=ASKED, cooldown="1m", **TEAM)
LOW = rule("low", on="feedback", when="feedback.nps <= 6", **TEAM)
ASK = rule("ask", on="trades", when="trade.amount_cny >= 0", kind="survey", cooldown="1m")
CHASE = rule("chase", unanswered="{of: ask, for: 3d}", **TEAM)
LATE = rule("late", unanswered="{of: complaint, for: 2d}", parameters="{about: item.about}", **TEAM)


def answer(time_ms, nps, action_id="a1"):
    return came("feedback", time_ms, action_id=action_id, nps=nps)


def step(time_ms, status, **fields):
    return came("complaints", time_ms, complaint_id="K1", status=status, **fields)


def told(time_ms, quantity, value_fen, symbol="S", **fields):
    return came("positions", time_ms, symbol=symbol, quantity=quantity, value_fen=value_fen, **fields)


def said(time_ms, kind, **fields):
    return came("overrides", time_ms, **{"kind": kind, "by": "S-1", "reason": "because", **fields})


def desk_of(*rules, **files):
    desk = Desk(plan_of(*(rules or (SEEN,)), features=FEATURES, **files))
    desk.take(profile(at(0)))
    return desk


def fixes(desk, time_ms, item, by=None, id_="k1"):
    """What the correction led to, after the client was stored and read."""
    desk.states["c1"] = unpack(desk.plan.layout, pack(desk.plan.layout, desk.client))
    return desk.take(correction(time_ms, item, by, id_))


# -- features, and what they led to ------------------------------------------------------------------------------------


def test_the_mean_of_answers_goes_back_and_the_last_is_unknown_if_it_was_that_one():
    desk = desk_of()
    first, second = answer(at(1), 9), answer(at(2), 3)
    desk.take(first, second)
    fixes(desk, at(3), first)
    (action,) = desk.take(came("logins", at(3.1), channel="app"))
    assert (action["parameters"]["last"], action["parameters"]["mean"]) == (3, 3)
    fixes(desk, at(4), second, id_="k2")
    assert set(desk.client.unknown_until) == {"nps_last"}
    (action,) = desk.take(came("logins", at(4.1), channel="app"))
    assert (action["parameters"]["last"], action["parameters"]["mean"]) == (None, None)
    desk.take(answer(at(5), 8))
    assert desk.client.unknown_until == {}


def test_another_answer_in_its_place_is_the_last_one():
    desk = desk_of()
    item = answer(at(1), 3)
    desk.take(item)
    fixes(desk, at(2), item, {"nps": 8})
    (action,) = desk.take(came("logins", at(2.1), channel="app"))
    assert (action["parameters"]["last"], action["parameters"]["mean"]) == (8, 8)


@pytest.mark.parametrize(
    ("name", "item"),
    [
        ("opened", came("receipts", at(1), action_id="a1", channel="sms", status="opened")),
        ("done", came("outcomes", at(1), action_id="a1", status="done")),
    ],
)
def test_receipts_and_outcomes_are_counted_no_more(name, item):
    desk = desk_of()
    desk.take(item)
    fixes(desk, at(2), item)
    (action,) = desk.take(came("logins", at(2.1), channel="app"))
    assert action["parameters"][name] == 0


def test_what_a_wrong_answer_led_to_is_retracted():
    desk = desk_of(LOW)
    item = answer(at(1), 3)
    (task,) = desk.take(item)
    (back,) = fixes(desk, at(1.1), item, {"nps": 9})
    assert (back["action_id"], back["reason"], back["event"]["type"]) == (task["id"], "replaced", "feedback")


# -- items -------------------------------------------------------------------------------------------------------------


def chased(actions):
    return [action["time"][:10] for action in actions if action["rule_id"] == "chase"]


def test_a_survey_whose_answer_was_another_client_s_waits_again_since_it_was_sent():
    desk = desk_of(ASK, CHASE)
    (survey,) = desk.take(came("trades", at(1), symbol="S", side="buy", amount_fen=1))
    item = answer(at(2), 9, survey["id"])
    desk.take(item)
    assert chased(desk.tick_all(at(5))) == []
    fixes(desk, at(6), item)
    assert chased(desk.tick_all(at(30))) == ["2026-02-22"]  # at once: three days are over
    assert desk.client.due_ms > at(30)


@pytest.mark.parametrize(("before", "state"), [((), "o"), (("accepted",), "a"), (("accepted", "declined"), "c")])
def test_an_item_is_as_the_steps_before_left_it(before, state):
    desk = desk_of(
        rule("t", on="trades", when="trade.amount_cny >= 0", **TEAM), rule("w", unanswered="{of: t, for: 3d}")
    )
    (task,) = desk.take(came("trades", at(1), symbol="S", side="buy", amount_fen=1))
    steps = [came("outcomes", at(1.1 + n / 10), action_id=task["id"], status=s) for n, s in enumerate(before)]
    last = came("outcomes", at(2), action_id=task["id"], status="done")
    desk.take(*steps, last)
    assert desk.client.items[0][4] == "c"
    fixes(desk, at(2.5), last)
    assert desk.client.items[0][4:6] == [state, event_of(steps[-1]).time if steps else at(1)]
    if len(before) < 2:
        assert [step for _, step in desk.client.items[0][STEPS]] == ["o", *"a"[: len(before)]]  # as if nothing had come


def test_a_complaint_that_was_none_is_gone_and_nobody_is_reminded():
    desk = desk_of(LATE)
    item = step(at(1), "opened", category="fees")
    desk.take(item)
    fixes(desk, at(1.5), item)
    assert desk.client.items == []
    assert desk.tick_all(at(30)) == []


def test_a_complaint_that_was_closed_by_mistake_waits_on():
    desk = desk_of(LATE)
    closed = step(at(2), "resolved")
    desk.take(step(at(1), "opened", category="fees"), closed)
    fixes(desk, at(2.5), closed)
    (action,) = desk.tick_all(at(30))
    assert (action["time"], action["parameters"]) == ("2026-02-19T04:00:00.000Z", {"about": "fees"})


def test_a_complaint_of_another_category_is_reminded_of_with_it():
    desk = desk_of(LATE)
    item = step(at(1), "opened", category="fees")
    desk.take(item)
    fixes(desk, at(1.5), item, {"category": "app"})
    (action,) = desk.tick_all(at(30))
    assert action["parameters"] == {"about": "app"}


def test_a_reopening_that_was_none_leaves_it_closed():
    desk = desk_of(LATE)
    again = step(at(3), "reopened")
    desk.take(step(at(1), "opened"), step(at(2), "resolved"), again)
    fixes(desk, at(3.5), again)
    assert desk.client.items[0][3:6] == [at(1), "c", at(2)]
    assert desk.tick_all(at(30)) == []


# -- holdings ----------------------------------------------------------------------------------------------------------


def test_a_position_goes_back_to_the_record_before():
    desk = desk_of()
    first = told(at(1), 100, 5_000, product="fund", risk_class="R4", cost_fen=4_000)
    second = told(at(2), 300, 9_000, product="stock", risk_class="R5", cost_fen=8_000)
    desk.take(first, told(at(1), 1, 1_000, "T"), second)
    fixes(desk, at(3), second)
    found = portfolio(desk.client)
    assert (found.value_fen, found.products, found.riskiest, found.gain) == (6_000, "fund other", "R4", 0.25)
    assert desk.client.positions["S"][:6] == ["fund", "R4", 100_000_000, 5_000, 4_000, at(1)]


def test_what_was_before_the_one_before_is_not_known_so_neither_is_the_portfolio():
    desk = desk_of()
    records = [told(at(day), 100 * day, 1_000 * day) for day in (1, 2, 3)]
    desk.take(*records, told(at(1), 1, 1_000, "T"))
    fixes(desk, at(4), records[2])
    assert portfolio(desk.client).value_fen == 3_000
    fixes(desk, at(4), records[1], id_="k2")
    assert portfolio(desk.client)[:2] == (None, None)
    shown = {told["symbol"]: told["quantity"] for told in reading._private(desk.client, {})["positions"]}
    assert shown == {"S": None, "T": 1}
    late = told(at(1.5), 7, 7)  # older than one that is not known
    desk.take(late)
    assert portfolio(desk.client)[:2] == (None, None)
    desk.take(told(at(5), 10, 500))
    assert portfolio(desk.client)[:2] == (2, 1_500)


def test_a_position_that_was_none_is_not_held():
    desk = desk_of()
    only = told(at(1), 100, 5_000)
    desk.take(told(at(1), 1, 1_000, "T"), only)
    fixes(desk, at(2), only)
    assert portfolio(desk.client)[:2] == (1, 1_000)


def test_a_record_before_that_was_wrong_is_replaced_for_the_change_in_value():
    fall = rule("fall", on="positions", when="position.value_change <= -0.2", **TEAM)
    desk = desk_of(fall)
    first, second = told(at(1), 100, 5_000), told(at(2), 100, 9_900)
    desk.take(first, second)
    fixes(desk, at(2.5), second, {"value_fen": 10_000})
    (action,) = desk.take(told(at(3), 100, 7_950))
    assert action["rule_id"] == "fall"
    desk.take(told(at(4), 100, 7_900))
    assert desk.client.positions["S"][6][:2] == [100_000_000, 7_950]


# -- what staff decided ------------------------------------------------------------------------------------------------


def test_an_override_of_another_client_never_was_and_the_one_before_holds():
    desk = desk_of()
    right, wrong = said(at(1), "tier", tier="A", until=at(90)), said(at(2), "tier", tier="C", until=at(60))
    desk.take(right, wrong)
    assert desk.tier == "C"
    fixes(desk, at(3), wrong)
    assert (desk.tier, tier_now(desk.client), until_ms(desk.client, "tier")) == ("A", "A", at(90))
    assert len(desk.client.overrides["tier"]) == EARLIER
    fixes(desk, at(4), right, id_="k2")
    assert desk.client.overrides == {}


def test_a_withdrawal_that_was_none_lets_the_decision_hold():
    desk = desk_of()
    ended = said(at(2), "do_not_contact", ended=True)
    desk.take(said(at(1), "do_not_contact"), ended)
    assert until_ms(desk.client, "do_not_contact") is None
    fixes(desk, at(3), ended)
    assert until_ms(desk.client, "do_not_contact") == NEVER_MS


def test_a_note_is_taken_away_and_the_memory_of_decisions_is_bounded():
    desk = desk_of()
    note = said(at(1), "note")
    desk.take(note, *(said(at(2 + n / 10), "snooze", until=at(50 + n)) for n in range(9)))
    assert len(desk.client.overrides["snooze"][EARLIER]) == MAX_EARLIER
    fixes(desk, at(4), note)
    assert list(desk.client.overrides) == ["snooze"]


# -- channels ----------------------------------------------------------------------------------------------------------

RESTS = "contact: {daily_cap: 100}\nrests: {sms: {after: 2, for: 30d}}\n"


def receipt(time_ms, status):
    return came("receipts", time_ms, action_id="a1", channel="sms", status=status)


def test_a_failure_that_was_none_lets_the_channel_rest_no_more():
    desk = desk_of(others=(("policy.yaml", RESTS),))
    wrong = receipt(at(1.2), "bounced")
    desk.take(receipt(at(1), "failed"), wrong)
    assert rests_until_ms(desk.plan, desk.client, "sms") == at(31.2)
    fixes(desk, at(2), wrong)
    assert rests_until_ms(desk.plan, desk.client, "sms") is None
    desk.take(receipt(at(3), "failed"))
    assert rests_until_ms(desk.plan, desk.client, "sms") == at(33)


def test_a_receipt_that_was_a_failure_counts_as_one():
    desk = desk_of(others=(("policy.yaml", RESTS),))
    wrong = receipt(at(1.2), "delivered")
    desk.take(wrong, receipt(at(1.3), "failed"))
    fixes(desk, at(2), wrong, {"status": "failed"})
    assert desk.client.failures == {"sms": [at(1.2), at(1.3)]}


def test_a_consent_that_was_withdrawn_is_not_given_by_a_correction():
    desk = Desk(plan_of(rule("hello", on="logins", when="client.days_known >= 0", channels="[sms]", cooldown="1m")))
    out = receipt(at(1), "opted_out")
    desk.take(profile(at(0), consents=("sms",)), out)
    decided = decide(desk.plan, desk.states, [correction(at(2), out)])
    assert decided.counts["corrections", "receipts", "exact"] == 1
    assert desk.take(came("logins", at(3), channel="app")) == []
    desk.take(profile(at(4), consents=("sms",)))
    assert len(desk.take(came("logins", at(5), channel="app"))) == 1
    assert decisions([]) == []
