"""Tiers: where the edges are, how long a client stays, and when time alone moves one."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from engine.core.client.state import MAX_HISTORY
from engine.core.contract.events import parse_time_ms
from engine.core.firm_time import DAY_MS, NEVER_MS
from tests.core.making import Desk, at, balance, login, plan_of, profile, trade

NOW = """\
individual:
  measure: client.assets_cny
  promote_after: {up}d
  demote_after: {down}d
  tiers:
    - {{tier: A, enter: 1_000_000, exit: 900_000}}
    - {{tier: B, enter: 300_000, exit: 270_000}}
    - {{tier: C}}
"""


def by_assets_now(up: int = 0, down: int = 0) -> Desk:
    """Tiers by assets at this moment, so that a test says exactly what is measured."""
    return Desk(plan_of(tiers=NOW.format(up=up, down=down)))


def by_mean(**fields: str) -> Desk:
    """The shipped ladder: mean of daily assets, up at once, down after 30 days."""
    return Desk(plan_of(**fields))


def moves(published: list[dict]) -> list[tuple]:
    return [(m["from_tier"], m["to_tier"], m["reason"]) for m in published if m["topic"] == "tier-changes"]


@pytest.mark.parametrize(
    ("before_cny", "now_cny", "tier"),
    [
        (None, 0, "C"),
        (None, 299_999.99, "C"),
        (None, 300_000, "B"),
        (None, 999_999.99, "B"),
        (None, 1_000_000, "A"),
        (0, 300_000, "B"),
        (0, 299_999.99, "C"),
        (0, 1_000_000, "A"),
        (400_000, 270_000, "B"),
        (400_000, 269_999.99, "C"),
        (400_000, 999_999.99, "B"),
        (400_000, 1_000_000, "A"),
        (2_000_000, 900_000, "A"),
        (2_000_000, 899_999.99, "B"),
        (2_000_000, 300_000, "B"),
        (2_000_000, 299_999.99, "C"),  # below A's exit: the tier its assets enter, not the one whose exit they hold
        (2_000_000, 0, "C"),
    ],
)
def test_entry_and_exit(before_cny, now_cny, tier):
    desk = by_assets_now()
    desk.take(profile(at(0)))
    if before_cny is not None:
        desk.take(balance(at(0), before_cny))
    desk.take(balance(at(1), now_cny))
    assert desk.tier == tier


def test_unknown_until_both_profile_and_assets_came():
    desk = by_assets_now()
    assert desk.take(balance(at(0), 2_000_000), login(at(0))) == []
    assert desk.tier is None
    assert moves(desk.take(profile(at(1)))) == [(None, "A", "first")]
    other = by_assets_now()
    assert other.take(profile(at(0)), login(at(0)), trade(at(0))) == []
    assert moves(other.take(balance(at(1), 5))) == [(None, "C", "first")]
    assert other.client.tier_since_ms == at(1)


def test_why_says_measure_threshold_and_since():
    desk = by_assets_now()
    desk.take(profile(at(0)))
    first = desk.take(balance(at(0), 400_000))
    up = desk.take(balance(at(1), 1_500_000.5))
    down = desk.take(balance(at(2), 100_000))
    assert first[0]["why"] == {"client.assets_cny": "400000.00", "threshold": "300000.00"}
    assert up[0]["why"] == {
        "client.assets_cny": "1500000.50", "threshold": "1000000.00", "since": "2026-02-16T04:00:00.000Z",
    }  # fmt: skip
    assert down[0]["why"] == {
        "client.assets_cny": "100000.00", "threshold": "900000.00", "since": "2026-02-17T04:00:00.000Z",
    }  # fmt: skip
    assert (up[0]["reason"], down[0]["reason"]) == ("promoted", "demoted")


def test_the_lowest_tier_has_no_threshold():
    desk = by_assets_now()
    assert desk.take(profile(at(0)), balance(at(0), 5))[0]["why"] == {"client.assets_cny": "5.00", "threshold": None}


def test_between_exit_and_entry_nobody_moves():
    desk = by_assets_now()
    desk.take(profile(at(0)), balance(at(0), 1_000_000))
    rng = random.Random(3)
    for day in range(1, 50):
        assert desk.take(balance(at(day), rng.uniform(900_000, 1_100_000))) == []
    assert desk.tier == "A"


@pytest.mark.parametrize(("up", "down"), [(0, 30), (5, 30), (10, 3), (0, 0)])
def test_a_client_on_the_edge_never_moves_sooner_than_its_stay(up, down):
    desk = by_assets_now(up, down)
    desk.take(profile(at(0)), balance(at(0), 500_000))
    rng, moved = random.Random(up * 31 + down), []
    for step in range(1, 800):
        now = at(step / 4, hour=0)
        moved += desk.tick_all(now - 1)
        moved += desk.take(balance(now, rng.choice([899_999, 1_000_001, 269_000, 301_000])))
    assert len(moved) >= 3
    for since, change in zip([at(0), *(time_of(m) for m in moved)], moved, strict=False):
        stay = up if change["reason"] == "promoted" else down
        assert time_of(change) - since >= stay * DAY_MS


def time_of(message: dict) -> int:
    return parse_time_ms(message["time"])


def test_after_the_stay_a_timer_moves_the_client_at_its_due_time():
    desk = by_assets_now(down=30)
    desk.take(profile(at(0)), balance(at(0), 500_000))
    assert desk.take(balance(at(3), 100_000)) == []
    assert desk.client.due_ms == at(0) + 30 * DAY_MS
    assert desk.tick(at(0) + 30 * DAY_MS - 1) == []
    late = desk.tick(at(45))
    assert moves(late) == [("B", "C", "demoted")]
    assert time_of(late[0]) == desk.client.tier_since_ms == at(0) + 30 * DAY_MS
    assert late[0]["cause"] == {"type": "timer", "event_id": None, "time": late[0]["time"]}


def test_back_above_the_edge_within_the_stay_nothing_happens():
    desk = by_assets_now(down=30)
    desk.take(profile(at(0)), balance(at(0), 500_000), balance(at(3), 100_000), balance(at(20), 500_000))
    assert desk.tick(at(100)) == []
    assert desk.tier == "B"


def test_the_sliding_mean_moves_a_client_at_the_days_start_without_any_event():
    desk = by_mean()
    desk.take(profile(at(0)), balance(at(0), 0))
    desk.take(balance(at(10), 600_000))
    published = desk.tick_all(at(60))
    # 10 days of 0 before: the mean over days 0..d is 600,000 (d - 9) / (d + 1), at least 300,000 from d = 19 on
    assert moves(published) == [("C", "B", "promoted")]
    assert time_of(published[0]) == at(19, hour=0)
    assert published[0]["why"]["assets_avg_cny_30d"] == "300000.00"
    assert desk.client.due_ms == NEVER_MS  # the whole window holds one value: nothing more can come of it


def test_a_mean_that_cannot_reach_an_edge_is_not_looked_at_every_day():
    desk = by_mean()
    desk.take(profile(at(0)), balance(at(0), 500_000), balance(at(5), 600_000))
    assert desk.client.due_ms == NEVER_MS


def test_a_measure_of_trades_slides_too():
    ladder = """\
individual:
  measure: turnover_cny_30d
  tiers:
    - {tier: A, enter: 1_000, exit: 500}
    - {tier: C}
"""
    features = "  turnover_cny_30d: {source: trades, aggregate: sum, field: amount_cny, window: 30d}\n"
    desk = Desk(plan_of(features=features, tiers=ladder))
    desk.take(profile(at(0)))
    assert moves(desk.take(trade(at(0), 200_000))) == [("C", "A", "promoted")]
    published = desk.tick_all(at(90))
    assert moves(published) == [("A", "C", "demoted")]
    assert time_of(published[0]) == at(30, hour=0)


@pytest.mark.parametrize("type_", ["mutual_fund", "private_fund", "insurer", "qfii", "social_security_fund"])
def test_an_institution_is_its_own_tier(type_):
    desk = by_mean()
    published = desk.take(profile(at(0), type=type_))
    assert moves(published) == [(None, type_, "first")]
    assert published[0]["why"] == {}
    assert desk.take(balance(at(1), 10**7), profile(at(2), type=type_)) == []


def test_a_change_of_type_moves_at_once():
    desk = by_mean()
    desk.take(profile(at(0)), balance(at(0), 400_000))
    assert moves(desk.take(profile(at(1), type="private_fund"))) == [("B", "private_fund", "type_changed")]
    assert moves(desk.take(profile(at(2)))) == [("private_fund", "B", "type_changed")]


def test_the_history_keeps_the_last_moves():
    desk = by_assets_now()
    desk.take(profile(at(0)))
    for day in range(30):
        desk.take(balance(at(day), 2_000_000 if day % 2 else 400_000))
    history = desk.client.tier_history
    assert len(history) == MAX_HISTORY
    assert [to for _, _, to in history[-2:]] == ["B", "A"]
    assert history[-1] == [at(29), "B", "A"]


TURNOVER = """\
individual:
  measure: turnover_cny_7d
  promote_after: {up}d
  demote_after: {down}d
  tiers:
    - {{tier: A, enter: 4_000, exit: 3_000}}
    - {{tier: B, enter: 800, exit: 500}}
    - {{tier: C}}
"""


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("up", "down"), [(0, 0), (2, 3), (0, 9)])
def test_a_client_whose_turnover_falls_moves_as_one_who_is_evaluated_at_every_midnight(seed, up, down):
    chance = random.Random(seed)
    features = "  turnover_cny_7d: {source: trades, aggregate: sum, field: amount_cny, window: 7d}\n"
    plan = plan_of(features=features, tiers=TURNOVER.format(up=up, down=down))
    trades = [
        trade(at(day, hour=chance.randrange(1, 23)), chance.choice((9_000, 30_000, 80_000, 250_000)))
        for day in range(40)
    ]
    trades = sorted((t for t in trades if chance.random() < 0.5), key=lambda item: item[1].time)
    ladders = {type_: replace(ladder, falling=None) for type_, ladder in plan.ladders.items()}
    woken, nightly = Desk(plan), Desk(replace(plan, ladders=ladders))
    for desk in (woken, nightly):
        desk.take(profile(at(0, hour=0)))
        for item in trades:
            desk.tick_all(item[1].time)
            desk.take(item)
        desk.tick_all(at(60))
    assert woken.client.tier_history == nightly.client.tier_history
    assert len(woken.client.tier_history) >= 3
    timers, nights = (desk.client.sequence - len(trades) - 1 for desk in (woken, nightly))
    assert timers < nights / 2  # a client whom no night can move is not woken
