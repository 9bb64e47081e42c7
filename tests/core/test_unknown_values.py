"""Actions, score, segment, portrait and explain show nothing as known that a correction left unknown."""

import pytest

from engine.core.policy.match import NOT_KNOWN
from engine.insight.portrait import portrait_of
from engine.insight.score import score_lines, score_of
from tests.core.making import TIERS as LADDER
from tests.core.making import Desk, at, balance, login, plan_of, profile, rule, trade
from tests.core.test_corrections import correction

FEATURES = """\
  trades_7d: {source: trades, aggregate: count, window: 7d}
  largest_cny_7d: {source: trades, aggregate: max, field: amount_cny, window: 7d}
  symbols_7d: {source: trades, aggregate: distinct, field: symbol, window: 7d}
  assets_avg_cny_30d: {source: balances, aggregate: daily_mean, field: assets_cny, window: 30d}
"""
DEFINITIONS = "define:\n  trades_large: {is: largest_cny_7d >= 4, description: d}\n"
TIERS = (
    LADDER
    + """\
segments:
  - {id: large, when: largest_cny_7d >= 4}
  - {id: small, when: "True"}
"""
)
PORTRAIT = """\
stages:
  - {id: busy, when: largest_cny_7d >= 4}
  - {id: calm, when: trades_7d >= 0}
portrait:
  largest: {is: largest_cny_7d}
  number: {is: trades_7d}
  size: {is: trades_large}
"""
SCORE = """\
score:
  behaviour: {weight: 60, is: 10 * symbols_7d}
  needs: {weight: 40, is: 10 * trades_7d}
"""
PLAN = plan_of(
    rule(
        "told",
        when="largest_cny_7d >= 1",
        parameters="{largest: largest_cny_7d, kinds: symbols_7d, number: trades_7d, large: trades_large}",
    ),
    features=FEATURES,
    definitions=DEFINITIONS,
    tiers=TIERS,
    portrait=PORTRAIT,
    score=SCORE,
)


@pytest.fixture
def desk():
    """The largest trade, of a day with two, is busted."""
    desk = Desk(PLAN)
    busted = trade(at(1, 10), 900, symbol="600002")
    desk.take(profile(at(-1)), trade(at(0, 10), 100), trade(at(1, 9), 500, symbol="600001"), busted)
    assert (desk.client.stage, desk.client.segment) == ("busy", "large")
    desk.take(balance(at(1, 11), 10), correction(at(1, 12), busted))
    return desk


def test_an_action_says_what_is_known_alone(desk):
    (action,) = desk.take(login(at(1, 13)))
    assert action["parameters"] == {"largest": None, "kinds": None, "number": 2, "large": None}
    assert action["why"] == {"largest_cny_7d": NOT_KNOWN}


def test_a_portrait_has_what_is_known_and_the_stage_stays(desk):
    assert (desk.client.stage, desk.client.portrait) == ("busy", {"number": 2})
    told = {part.name: [value.shown for value in part.values] for part in portrait_of(PLAN, desk.client).parts}
    assert (told["largest"], told["number"]) == ([NOT_KNOWN], ["2"])


def test_a_score_that_follows_from_it_is_missing_and_the_segment_stays(desk):
    assert (desk.client.segment, desk.client.value_score) == ("large", None)
    assert [part and part[1] for part in desk.client.score_parts] == [None, None, None, 20]
    lines = "\n".join(score_lines(score_of(PLAN, desk.client)))
    assert "value score missing" in lines
    assert f"symbols_7d = {NOT_KNOWN}" in lines


def test_all_of_it_is_told_again_when_the_day_has_left_the_windows(desk):
    desk.take(trade(at(8, 9), 700), balance(at(8, 10), 10))
    assert not desk.client.unknown_until
    assert (desk.client.stage, desk.client.segment, desk.client.value_score) == ("busy", "large", 10.0)
    assert desk.client.portrait == {"largest": "7.00", "number": 1, "size": True}
    (action,) = desk.take(login(at(8, 12)))
    assert action["parameters"] == {"largest": "7.00", "kinds": 1, "number": 1, "large": True}
    assert action["why"] == {"largest_cny_7d": "7.00"}
