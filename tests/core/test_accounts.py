"""Balances of accounts: a client's assets are the sum over accounts, once accounts are told."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.client.accounts import MAX_ACCOUNTS
from engine.core.client.sections import pack, unpack
from engine.core.contract.corrections import Correction
from engine.core.firm_time import DAY_MS, HOUR_MS, day_of
from engine.core.plan.readers import READERS
from engine.runtime.redis import reading
from tests.core.making import FEATURES, Desk, at, balance, login, plan_of, rule

MORE = (
    FEATURES
    + """\
  assets_avg_cny_3d: {source: balances, aggregate: daily_mean, field: assets_cny, window: 3d}
  cash_low_cny_30d: {source: balances, aggregate: min, field: cash_cny, window: 30d}
  money_in_cny_7d: {source: balances, aggregate: sum, field: amount_cny, where: balance.kind == "deposit", window: 7d}
"""
)
RICH = rule("rich", on="balances", when="balance.assets_cny >= 500", audience="team", kind="task")


def desk_of(*events: Any) -> Desk:
    desk = Desk(plan_of(RICH, features=MORE))
    desk.take(*events)
    return desk


def of(account: str, time_ms: int, assets_cny: float, **fields: Any) -> Any:
    return balance(time_ms, assets_cny, account=account, **fields)


def value(desk: Desk, name: str) -> Any:
    return eval(desk.plan.scopes[None][name].code, dict(READERS), {"c": desk.client})  # our own text


def facts(desk: Desk) -> tuple[Any, ...]:
    client = desk.client
    return client.assets_fen, client.cash_fen, client.margin_ratio, client.assets_peak_fen


def test_assets_and_cash_are_sums_and_the_ratio_is_the_lowest():
    desk = desk_of(
        of("a", at(0), 100, cash_fen=1_000, margin_ratio=2.0),
        of("b", at(1), 300, cash_fen=500),
        of("c", at(1, 13), -50),
    )
    assert facts(desk) == (35_000, 1_500, 2.0, 40_000)
    desk.take(of("b", at(2), 300, margin_ratio=1.4), of("a", at(2, 13), 250, margin_ratio=None))
    assert facts(desk) == (50_000, 1_500, 1.4, 50_000)  # cash that is left out stays; null ends the ratio
    assert [action["rule_id"] for action in desk.take(of("a", at(3), 260))] == ["rich"]


def test_a_balance_of_no_account_sets_the_assets_only_until_accounts_are_told():
    desk = desk_of(balance(at(0), 900), of("a", at(1), 100))
    assert facts(desk)[0] == 10_000
    desk.take(balance(at(2), 700, kind="deposit", amount_fen=5_000))
    assert facts(desk)[0] == 10_000
    assert value(desk, "money_in_cny_7d") == 5_000
    assert value(desk, "assets_avg_cny_3d") == (90_000 + 10_000 + 10_000) // 3


def test_an_account_that_ends_leaves_the_sum_and_is_forgotten():
    desk = desk_of(of("a", at(0), 100, cash_fen=0, margin_ratio=3.0), of("b", at(1), 40))
    desk.take(of("a", at(2), 0, cash_fen=0, margin_ratio=None))
    assert facts(desk)[:3] == (4_000, 0, None)
    assert [*desk.client.accounts] == ["a", "b"]
    desk.take(of("a", at(1, 20), 90))  # one of before the end changes nothing of now
    assert facts(desk)[0] == 4_000
    desk.take(login(at(34)))
    assert [*desk.client.accounts] == ["b"]


def test_a_client_has_so_many_accounts_at_most_the_greatest():
    desk = Desk(plan_of(features=MORE))
    desk.take(*(of(f"a{number:02}", at(0, 1) + number, number) for number in range(MAX_ACCOUNTS + 2)))
    assert len(desk.client.accounts) == MAX_ACCOUNTS
    assert {"a00", "a01"}.isdisjoint(desk.client.accounts)
    assert desk.client.accounts_dropped == 2
    assert desk.client.assets_fen == 100 * sum(range(2, MAX_ACCOUNTS + 2))


def test_who_tells_no_accounts_stores_nothing_of_them():
    desk = desk_of(balance(at(0), 900, cash_fen=5))
    assert b"accounts" not in pack(desk.plan.layout, desk.client)
    desk.take(of("a", at(1), 1))
    again = unpack(desk.plan.layout, pack(desk.plan.layout, desk.client))
    assert again.accounts == desk.client.accounts


def correction(about: Any, now_ms: int, replacement: Any = None) -> Any:
    original = about[1]
    fields = {"event_id": f"fix-{now_ms}", "client_id": "c1", "time": now_ms, "topic": "balances"}
    made = Correction.model_construct(
        **fields,
        kind="replace" if replacement else "cancel",
        original=original,
        replacement=replacement and replacement[1],
    )
    return "corrections", made


def test_what_is_cancelled_goes_back_to_what_the_account_had_before():
    wrong = of("a", at(2), 900)
    desk = desk_of(of("a", at(0), 100), of("b", at(0, 13), 50), wrong, of("b", at(3), 60))
    assert facts(desk)[0] == 96_000
    desk.take(correction(wrong, at(3, 14)))
    assert facts(desk)[0] == 16_000
    assert desk.client.activities["balances"].today[0] in (None, 16_000)
    first = of("b", at(4), 70)
    desk.take(first, correction(first, at(4, 13)), correction(first, at(4, 13.5)))
    assert facts(desk)[0] == 16_000  # once


def test_what_is_replaced_counts_as_if_it_had_been_right():
    wrong = of("a", at(2), 900)
    right = ("balances", wrong[1].model_copy(update={"assets_fen": 20_000}))
    told = [of("a", at(0), 100), of("b", at(0, 13), 50), wrong, of("b", at(3), 60)]
    desk = desk_of(*told)
    desk.take(correction(wrong, at(3, 14), right))
    assert facts(desk)[0] == 26_000
    should = desk_of(*[right if item is wrong else item for item in told])
    assert value(desk, "assets_avg_cny_3d") == value(should, "assets_avg_cny_3d")
    assert desk.plan.reaches["assets_avg_cny_3d"].is_known(desk.client)


STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 60), st.integers(-500, 500)), min_size=1, max_size=14)


@settings(max_examples=80, deadline=None)
@given(steps=STEPS, order=st.randoms(use_true_random=False))
def test_daily_means_are_those_of_a_list_of_all_balances(steps, order):
    """In whatever order they come: of each account none is overtaken by two others of it."""
    times = itertools.accumulate(hours for _, hours, _ in steps)
    made = [
        of(account, at(0, 1) + hour * HOUR_MS, assets) for (account, _, assets), hour in zip(steps, times, strict=True)
    ]
    came, place = list(made), 0
    while place < len(came) - 1:
        if order.random() < 0.5:
            came[place : place + 2] = came[place + 1], came[place]
            place += 1
        place += 1
    came = [*came, login(max(event.time for _, event in made) + HOUR_MS)]
    desk = Desk(plan_of(features=MORE))
    desk.take(*came)
    latest = {event.account: event.assets_fen for _, event in made}
    assert desk.client.assets_fen == sum(latest.values())
    today = day_of(desk.client.now_ms)
    first = day_of(made[0][1].time)
    closing = []
    for day in range(max(first, today - 29), today + 1):
        known = {event.account: event.assets_fen for _, event in made if day_of(event.time) <= day}
        closing.append(sum(known.values()))
    assert value(desk, "assets_avg_cny_30d") == sum(closing) // len(closing)
    again = unpack(desk.plan.layout, pack(desk.plan.layout, desk.client))
    assert again.assets_fen == desk.client.assets_fen


@pytest.mark.parametrize("late_ms", [HOUR_MS, DAY_MS, 5 * DAY_MS])
def test_an_account_that_comes_late_is_in_the_total_from_its_own_time_on(late_ms):
    last = at(8)
    desk = desk_of(of("a", at(0), 100), of("a", last, 200), of("b", last - late_ms, 50))
    assert facts(desk)[0] == 25_000
    days = -(-late_ms // DAY_MS) if late_ms >= DAY_MS else 0
    should = sum([20_000 + 5_000] + [10_000 + (5_000 if back <= days else 0) for back in (1, 2)]) // 3
    assert value(desk, "assets_avg_cny_3d") == should


def test_operators_see_them():
    desk = desk_of(of("b", at(0), 100, cash_fen=-5), of("a", at(1), 300, margin_ratio=1.5))
    shown = reading._private(desk.client, {})
    assert [(a["account"], a["assets_cny"], a["cash_cny"], a["margin_ratio"]) for a in shown["accounts"]] == [
        ("a", "300.00", None, 1.5),
        ("b", "100.00", "-0.05", None),
    ]
    assert shown["accounts_dropped"] == 0
