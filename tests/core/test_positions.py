"""Positions: what counts of records that come in any order, what rules can ask of them, what a state has room for."""

import itertools
import json

import pytest

from engine.core.client.positions import (
    ENDED_MS,
    MAX_ENDED,
    MAX_POSITIONS,
    last_value,
    portfolio,
    position_share,
    value_change,
)
from engine.core.client.sections import pack, unpack
from engine.core.firm_time import DAY_MS, HOUR_MS
from engine.runtime.redis import reading
from tests.core.making import Desk, at, login, plan_of, profile, rule
from tests.core.test_answers import came

NAMES = {
    "positions": "client.positions",
    "value": "client.positions_cny",
    "concentration": "client.concentration",
    "gain": "client.positions_gain",
    "stock": "client.stock_share",
    "riskiest": "client.riskiest_class",
    "above": "client.classes_above_level",
    "symbols": "client.held_symbols",
    "products": "client.held_products",
}
ITS_OWN = {
    "change": "position.value_change",
    "was": "position.last_value_cny",
    "its_gain": "position.gain",
    "share": "position.share",
    "its_above": "position.classes_above_level",
}


def asked(names):
    return "{" + ", ".join(f"{name}: {text}" for name, text in names.items()) + "}"


TOLD = rule("told", on="positions", when="position.quantity >= 0", parameters=asked(NAMES | ITS_OWN), cooldown="1m")
SEEN = rule("seen", on="logins", when="client.days_known >= 0", parameters=asked(NAMES), cooldown="1m")
HOLDS = rule("holds", on="logins", when='has_code(client.held_symbols, "A") and client.option_share < 0.5')


def held(time_ms, symbol="A", quantity=100, value=1_000_00, **fields):
    return came("positions", time_ms, symbol=symbol, quantity=quantity, value_fen=value, **fields)


def desk(*rules, **fields):
    found = Desk(plan_of(*rules))
    found.take(profile(at(0), **fields))
    return found


def parameters(found, *events):
    return [action["parameters"] for action in found.take(*events)]


def test_what_follows_from_all_positions():
    found = desk(TOLD, risk_level="R2")
    (first,) = parameters(found, held(at(1), product="stock", risk_class="R4", cost_fen=2_000_00))
    assert first == {
        "positions": 1, "value": "1000.00", "concentration": 1, "gain": -0.5, "stock": 1, "riskiest": "R4",
        "above": 2, "symbols": "A", "products": "stock", "change": None, "was": None, "its_gain": -0.5, "share": 1,
        "its_above": 2,
    }  # fmt: skip
    (second,) = parameters(found, held(at(2), "B", 5, 3_000_00, product="fund", risk_class="R1", cost_fen=2_000_00))
    assert second == {
        "positions": 2, "value": "4000.00", "concentration": 0.75, "gain": 0, "stock": 0.25, "riskiest": "R4",
        "above": 2, "symbols": "A B", "products": "fund stock", "change": None, "was": None, "its_gain": 0.5,
        "share": 0.75, "its_above": -1,
    }  # fmt: skip
    (ended,) = parameters(found, held(at(3), quantity=0, value=0))
    assert (ended["positions"], ended["riskiest"], ended["symbols"], ended["share"]) == (1, "R1", "B", 0)
    assert parameters(found, held(at(4), "B", 0, 0))[0]["positions"] == 0


def test_nothing_is_known_before_the_first_record_and_no_money_while_a_value_is_not():
    found = desk(SEEN, TOLD)
    assert set(parameters(found, login(at(1)))[0].values()) == {None}
    parameters(found, held(at(2), cost_fen=500_00))
    (then,) = parameters(found, held(at(3), "B", value=None))
    assert (then["positions"], then["symbols"], then["gain"]) == (2, "A B", 1)
    assert {then["value"], then["concentration"], then["stock"], then["share"], then["riskiest"]} == {None}


def test_a_change_is_that_of_one_unit():
    found = desk(TOLD)
    parameters(found, held(at(1), quantity=100, value=1_000_00))
    (sold,) = parameters(found, held(at(2), quantity=50, value=500_00))
    assert (sold["change"], sold["was"]) == (0, "1000.00")
    (fell,) = parameters(found, held(at(3), quantity=50, value=450_00))
    assert fell["change"] == -0.1
    late = held(at(2.5), quantity=50, value=100_00)  # says nothing of now, but of before
    found.take(late)
    assert [asks(found.client, late[1]) for asks in (value_change, position_share, last_value)] == [None] * 3
    assert last_value(found.client, held(at(3))[1]) == 100_00
    assert parameters(found, held(at(4), quantity=100, value=900_00))[0]["change"] == 0
    parameters(found, held(at(5), quantity=0, value=0))
    assert parameters(found, held(at(6)))[0]["change"] is None


RECORDS = [
    held(at(1), "A", 100, 1_000_00),
    held(at(2), "A", 0, 0),
    held(at(3), "B", 10, 500_00, cost_fen=700_00),
    held(at(4), "B", 10, 400_00, cost_fen=700_00, product="fund"),
]


def test_the_latest_counts_in_whatever_order_records_come():
    ways = set()
    for order in itertools.permutations(RECORDS):
        found = desk()
        found.take(*order)
        client = found.client
        ways.add((json.dumps(client.positions), portfolio(client)[:7]))
    ((stored, then),) = ways
    assert (then[0], then[1], then[5]) == (1, 400_00, "B")
    assert list(json.loads(stored)) == ["A", "B"]


def test_of_one_moment_the_last_that_came_counts():
    found = desk()
    found.take(held(at(1), value=1), held(at(1), value=2, event_id="again"))
    assert portfolio(found.client).value_fen == 2


def test_an_end_is_remembered_for_as_long_as_is_said():
    found = desk()
    found.take(held(at(1)), held(at(2), quantity=0, value=0))
    found.take(login(at(2) + ENDED_MS - DAY_MS), held(at(1.5)))
    assert portfolio(found.client).held == 0
    found.take(login(at(2) + ENDED_MS + DAY_MS))
    assert found.client.positions == {}
    assert portfolio(found.client).held == 0  # it is known that there were some


def test_when_an_end_is_forgotten_does_not_depend_on_what_wakes_the_client():
    last_day = 2 + ENDED_MS // DAY_MS
    for evening in (at(last_day, hour=18), at(last_day + 1, hour=18)):
        woken, left_alone = desk(), desk()
        for found in (woken, left_alone):
            found.take(held(at(2), quantity=0, value=0))
        woken.take(login(evening - 8 * HOUR_MS))
        for found in (woken, left_alone):
            found.take(login(evening))
        assert woken.client.positions == left_alone.client.positions
    assert woken.client.positions == {}


def test_a_state_has_room_for_so_many_the_greatest_stay():
    found = desk()
    for number in range(MAX_POSITIONS):
        found.take(held(at(1), f"S{number:03d}", value=1_000 + number))
    found.take(held(at(2), "LESS", value=1))
    assert found.client.positions_dropped == 1
    assert "LESS" not in found.client.positions
    found.take(held(at(2), "MORE", value=10**9), held(at(2), "UNKNOWN", value=None))
    assert found.client.positions_dropped == 3
    assert {"MORE", "UNKNOWN"} <= set(found.client.positions)
    assert "S000" not in found.client.positions
    for number in range(MAX_ENDED + 5):
        found.take(held(at(3) + number, f"E{number:03d}", quantity=0, value=0))
    assert len(found.client.positions) == MAX_POSITIONS + MAX_ENDED
    assert "E004" not in found.client.positions
    assert "E005" in found.client.positions
    assert found.client.positions_dropped == 3


def test_it_is_stored_and_a_client_without_any_is_stored_as_before():
    found = desk(TOLD)
    without = pack(found.plan.layout, found.client)
    assert b"positions" not in without
    found.take(held(at(1), quantity=1.5, product="fund"))
    packed = pack(found.plan.layout, found.client)
    again = unpack(found.plan.layout, packed)
    assert again.positions == found.client.positions
    assert pack(found.plan.layout, again) == packed


def test_whether_something_is_held_can_be_asked():
    found = desk(HOLDS)
    assert not found.take(login(at(1)), held(at(2), "AB"), login(at(3)))
    assert found.take(held(at(4), "A"), login(at(5)))


@pytest.mark.parametrize("dropped", [0, 2])
def test_operators_see_them(dropped):
    found = desk()
    found.take(held(at(1), "F1", 2.5, 1_234_00, product="fund", cost_fen=None), held(at(1), "OVER", 0, 0))
    found.client.positions_dropped = dropped
    shown = reading._private(found.client, {})
    assert [(p["symbol"], p["quantity"], p["value_cny"], p["cost_cny"]) for p in shown["positions"]] == [
        ("F1", 2.5, "1234.00", None)
    ]
    assert shown["positions_dropped"] == dropped
