"""`top` and `avg`: ties, what does not fit, late events, and what they cost.

tests/properties/test_features.py compares their values with a model over random histories.
"""

from __future__ import annotations

import itertools
import random

import pytest

from engine.core.activity import tallies
from engine.core.activity.packing import pack_activity
from engine.core.client.sections import pack, unpack
from engine.core.plan.features import column_key, parts_of
from engine.rulefile.lint.lint import lint
from engine.rulefile.proof.worlds import scope_of
from engine.rulefile.trial.run import run_tests
from tests.core.making import FEATURES, Desk, at, balance, login, plan_of, rule, trade
from tests.core.test_features import desk, value, values
from tests.core_form import needs_sources
from tests.rulefile.sample import FILES, good

TOP = "  fav: {source: trades, aggregate: top, field: symbol, window: 7d}\n"
MOST = "  fav: {source: trades, aggregate: top, field: symbol, by: amount_cny, window: 7d}\n"
SINCE = "  fav: {source: trades, aggregate: top, field: symbol, since: {on: logins}}\n"


@pytest.fixture
def few(monkeypatch):
    needs_sources()
    monkeypatch.setattr(tallies, "MAX_TALLIES", 4)


def is_known(d: Desk) -> bool:
    return d.plan.reaches["fav"].is_known(d.client)


def test_the_most_frequent_value_and_of_several_the_first_in_alphabetical_order():
    d = desk(TOP)
    d.take(login(at(0)))
    assert value(d) is None
    d.take(trade(at(0), symbol="C"), trade(at(0), symbol="B"))
    assert value(d) == "B"
    d.take(trade(at(1), symbol="C"))
    assert value(d) == "C"
    d.take(login(at(7, hour=0)))  # the first day has left the window
    assert value(d) == "C"
    d.take(login(at(8, hour=0)))
    assert value(d) is None


def test_the_value_whose_events_add_up_to_the_most():
    d = desk(MOST)
    d.take(trade(at(0), 100, symbol="A"), trade(at(0), 100, symbol="A"), trade(at(1), 300, symbol="B"))
    assert value(d) == "B"
    d.take(trade(at(2), 100, symbol="A"))
    assert value(d) == "A"  # as much: the first in alphabetical order


def test_a_mean_of_money_is_whole_fen_and_one_of_quantities_has_its_fraction():
    d = desk(
        "  size_cny: {source: trades, aggregate: avg, field: amount_cny, window: 7d}\n"
        "  pieces: {source: trades, aggregate: avg, field: quantity, window: 7d}\n"
        "  cash_cny: {source: balances, aggregate: avg, field: cash_cny, window: 7d}\n"
    )
    d.take(login(at(0)))
    assert values(d) == (None, None, None)
    d.take(trade(at(0), 100, quantity=0.1), trade(at(0), 101, quantity=0.2), balance(at(0), 5))
    assert values(d) == (100, 0.15, None)  # 100.5 fen, rounded down; a balance without cash is no cash of 0
    d.take(trade(at(1), 99, quantity=0.3), balance(at(1), 5, cash_fen=0))
    assert values(d) == (100, 0.2, 0)


def test_a_mean_shares_its_columns_with_sums_and_counts():
    mean = "  size_cny: {source: trades, aggregate: avg, field: amount_cny, window: 7d}\n"
    others = (
        "  turnover_cny: {source: trades, aggregate: sum, field: amount_cny, window: 30d}\n"
        "  trades: {source: trades, aggregate: count, window: 30d}\n"
    )
    events = [trade(at(day), 100 * day) for day in range(20)]
    with_mean, without = desk(others + mean), desk(others)
    with_mean.take(*events)
    without.take(*events)
    kept = [
        pack_activity(each.plan.layout.sources["trades"], each.client.activities["trades"])
        for each in (with_mean, without)
    ]
    assert len(kept[0]) == len(kept[1])


def test_a_mean_of_an_optional_field_counts_the_events_that_have_it():
    feature = desk(
        "  fav_cny: {source: balances, aggregate: avg, field: cash_cny, window: 7d}\n"
    ).plan.rule_set.features[0]
    every = desk("  fav: {source: balances, aggregate: count, window: 7d}\n").plan.rule_set.features[0]
    assert column_key(every) not in [column_key(part) for part in parts_of(feature)]


@pytest.mark.usefixtures("few")
def test_days_that_do_not_fit_are_forgotten_whole_and_the_value_is_not_known_until_they_leave():
    d = desk(TOP)
    d.take(trade(at(0), symbol="A"), trade(at(0), symbol="A"), trade(at(0), symbol="B"), trade(at(1), symbol="C"))
    assert value(d) == "A"
    assert is_known(d)
    d.take(trade(at(1), symbol="D"), trade(at(2), symbol="D"))  # a fifth entry: the first day goes, both values of it
    assert value(d) == "D"
    assert not is_known(d)
    d.take(trade(at(0), symbol="A"), trade(at(3), symbol="D"))  # late for a day that was forgotten
    assert value(d) == "D"
    d.take(login(at(6, hour=23)))
    assert not is_known(d)
    d.take(login(at(7, hour=0)))
    assert is_known(d)
    assert value(d) == "D"


@pytest.mark.usefixtures("few")
def test_a_day_with_too_many_values_has_none():
    d = desk(TOP)
    d.take(*(trade(at(0), symbol=symbol) for symbol in "ABCDEE"), trade(at(0), symbol="E"))
    assert value(d) is None
    assert not is_known(d)
    d.take(trade(at(1), symbol="B"), login(at(7, hour=0)))
    assert value(d) == "B"
    assert is_known(d)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("features", [TOP, MOST, SINCE])
@pytest.mark.parametrize("seed", range(40))
def test_the_order_in_which_events_come_makes_no_difference(features, seed):
    """Also where not all fit, and when the state is stored in between."""
    chance = random.Random(seed)
    events = [
        trade(at(chance.randrange(6), hour=chance.randrange(24)), chance.randrange(1, 5), symbol=chance.choice("ABCD"))
        for _ in range(12)
    ]
    last = trade(at(6), 1, symbol="A")  # both end at the same present
    found = []
    for shuffled in (sorted(events, key=lambda event: event[1].time), chance.sample(events, len(events))):
        d = desk(features)
        for event in (*shuffled, last):
            d.take(event)
            d.states["c1"] = unpack(d.plan.layout, pack(d.plan.layout, d.client))
        found.append((value(d) if is_known(d) else None, d.plan.reaches["fav"].known(d.client)))
    assert found[0] == found[1]


@pytest.mark.usefixtures("few")
def test_a_total_with_too_many_values_is_not_known_until_it_begins_anew():
    d = desk(SINCE)
    d.take(*(trade(at(0), symbol=symbol) for symbol in "ABCD"))
    assert value(d) == "A"
    d.take(trade(at(1), symbol="E"), trade(at(1), symbol="E"))
    assert value(d) is None
    assert not is_known(d)
    d.take(login(at(2)), trade(at(3), symbol="E"))
    assert value(d) == "E"
    assert is_known(d)


@pytest.mark.usefixtures("few")
def test_a_condition_on_what_did_not_fit_is_past_unknown():
    d = Desk(plan_of(rule("r", on="logins", when='fav == "D"'), features=FEATURES + TOP))
    d.take(*(trade(at(day), symbol=symbol) for day, symbol in enumerate("BBCDD")))
    d.take(trade(at(4), symbol="E"), login(at(4, hour=22)))
    assert d.outcomes == [("r", "past_unknown")]
    d.take(login(at(7)))
    d.take(login(at(8)))
    assert d.outcomes[1:] == [("r", "past_unknown"), ("r", "no_consent")]


def test_a_column_is_bounded():
    d = desk("  fav: {source: trades, aggregate: top, field: symbol, window: 366d}\n")
    sizes = []
    for day in range(200):
        d.take(*(trade(at(day, hour=8 + number / 10), symbol=f"{day * 10 + number:06}.SZ") for number in range(10)))
        sizes.append(len(pack(d.plan.layout, d.client)))
    kept = d.client.activities["trades"]
    entries = sum(len(cell) for cell in itertools.chain(kept.columns[0], kept.today) if cell)
    assert entries <= tallies.MAX_TALLIES
    assert max(sizes[100:]) < sizes[60] * 1.5


def test_a_client_without_such_features_has_nothing_of_them():
    plain = "  trades_7d: {source: trades, aggregate: count, window: 7d}\n"
    d = desk(plain)
    d.take(trade(at(0)))
    names = d.plan.update["trades"].__code__.co_names
    assert not {"crop", "tally"} & {*names}


STAYS = """\
events:
  stay:
    title: A stay
    owner: wealth
    fields:
      nights: {kind: number, unit: days, required: true, most: 20}
      house: {kind: text, personal: true}
"""


def test_a_mean_of_whole_days_of_a_declared_type_has_its_fraction_and_is_not_taken_for_whole():
    features = (
        FILES["features.yaml"]
        + "  nights_avg: {source: stay, aggregate: avg, field: nights, window: 7d}\n"
        + "  house: {source: stay, aggregate: top, field: house, window: 7d}\n"
    )
    said = rule("r", on="stay", when='nights_avg == 2.5 and house == "x"')
    rule_set = good({**FILES, "features.yaml": features, "events.yaml": STAYS, "rules.yaml": f"rules:\n{said}"})
    assert [finding for finding in lint(rule_set) if finding.subject == 'rule "r"' and finding.code == "L101"] == []
    scope = scope_of(rule_set, None)
    assert scope["house"].personal
    assert (scope["nights_avg"].type.unit, scope["nights_avg"].bounds) == (None, (0, 20))


FAVOURITE = """\
  - id: favourite
    title: T
    owner: wealth
    on: trades
    when: fav == trade.symbol and known(size_cny) and trade.amount_cny > 2 * size_cny
    kind: alert
    audience: advisor
    priority: 50
    cooldown: 1d
    expires: 1d
    template: t
    description: More than usual of what the client trades most often.
    tests:
      - name: twice as much as usual, with all that came before
        given:
          client: {type: individual, advisor_id: A1}
          history:
            - {at: -3d, trades: {symbol: 600519.SH, amount_cny: 100}}
            - {at: -2d, trades: {symbol: 600519.SH, amount_cny: 100}}
            - {at: -1d, trades: {symbol: 000001.SZ, amount_cny: 100}}
        event: {trades: {symbol: 600519.SH, amount_cny: 900}}
        expect: fires
      - name: another symbol
        given:
          client: {type: individual, advisor_id: A1}
          history: [{at: -3d, trades: {symbol: 600519.SH, amount_cny: 100}}, {at: -2d, trades: {symbol: 600519.SH}}]
        event: {trades: {symbol: 000001.SZ, amount_cny: 900}}
        expect: {not: condition}
"""


def test_tests_in_rule_files_know_them():
    features = (
        FILES["features.yaml"] + TOP + "  size_cny: {source: trades, aggregate: avg, field: amount_cny, window: 7d}\n"
    )
    rule_set = good({**FILES, "features.yaml": features, "rules.yaml": f"rules:\n{FAVOURITE}"})
    assert [result.failure for result in run_tests(rule_set).results] == ["", ""]
