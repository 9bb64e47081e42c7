"""The packed state: what changes when the layout does, what another version is told, how large it may grow."""

from __future__ import annotations

import random

import msgpack
import pytest

from engine.core.client.sections import STATE_VERSION, pack, unpack
from engine.core.client.state import ClientState
from engine.core.firm_time import DAY_MS
from engine.core.plan import features
from engine.core.plan.compile import Plan
from engine.core.rules.occasion import on
from tests.core.making import Desk, at, balance, login, plan_of, profile, rule, shipped_plan, trade
from tests.core_form import replaces_parts

LARGEST_STATE_BYTES = 39_500  # of which 32 open items, all seen through and in work lists, take 3,500
ONE_TIER = "individual:\n  measure: client.assets_cny\n  tiers:\n    - {tier: A}\n"


def counting(*lines: str) -> Plan:
    """A plan with these features of logins, each a line without its name: a, b, c and so on."""
    names = [f"f{index}" for index, line in enumerate(lines) if line]
    features = "".join(f"  f{index}: {{source: logins, {line}}}\n" for index, line in enumerate(lines) if line)
    reader = rule("reader", parameters="{" + ", ".join(f"{name}: {name}" for name in names) + "}")
    return plan_of(reader, features=features, tiers=ONE_TIER)


def read(plan: Plan, client: ClientState) -> dict[str, object]:
    reader = plan.compiled[on("logins")][0]
    names = (name for name, _ in reader.parameter_names)
    return dict(zip(names, reader.parameters(client, None, None), strict=True))


WEEK = "aggregate: count, window: 7d"
MONTH = "aggregate: count, window: 30d"
GOOD_WEEK = "aggregate: count, where: login.success, window: 7d"
PLACES = "aggregate: distinct, field: region, window: 7d"
PLACE = "aggregate: last, field: region, window: 7d"


def test_a_feature_added_begins_empty_and_the_others_stay():
    before, after = counting(WEEK), counting(WEEK, GOOD_WEEK, PLACES, PLACE)
    desk = Desk(before)
    desk.take(login(at(0), region="east"), login(at(1), region="west"))
    client = unpack(after.layout, pack(before.layout, desk.client))
    assert read(after, client) == {"f0": 2, "f1": 0, "f2": 0, "f3": None}
    later = Desk(after)
    later.states["c1"] = client
    later.take(login(at(1.1), region="east"), login(at(3), region="east"))
    assert read(after, client) == {"f0": 4, "f1": 2, "f2": 1, "f3": "east"}


def test_a_feature_removed_is_left_behind_and_comes_back_empty():
    both, one = counting(WEEK, GOOD_WEEK), counting(WEEK)
    desk = Desk(both)
    desk.take(login(at(0)), login(at(1)))
    without = unpack(one.layout, pack(both.layout, desk.client))
    again = unpack(both.layout, pack(one.layout, without))
    assert read(both, again) == {"f0": 2, "f1": 0}


def test_a_longer_window_of_a_column_sees_what_is_still_held():
    short, long = counting(WEEK), counting(WEEK, MONTH)
    desk = Desk(short)
    desk.take(login(at(0)), login(at(3)), login(at(6)))
    assert read(long, unpack(long.layout, pack(short.layout, desk.client))) == {"f0": 3, "f1": 3}


def test_names_and_order_of_features_do_not_matter():
    before, after = counting(WEEK, GOOD_WEEK), counting(GOOD_WEEK, "", WEEK)
    desk = Desk(before)
    desk.take(login(at(0)), login(at(1), success=False))
    assert read(after, unpack(after.layout, pack(before.layout, desk.client))) == {"f0": 1, "f2": 2}


WAYS = (
    'aggregate: count, where: login.success and login.channel == "app", window: 7d',
    "aggregate: count, where: login.channel  ==  'app'  and  login.success, window: 7d",
    'aggregate: count, where: (login.success and "app" == login.channel), window: 30d',
)


def test_how_a_filter_is_written_does_not_matter():
    desk = Desk(counting(WAYS[0]))
    desk.take(login(at(0)), login(at(1), success=False), login(at(2)))
    for way in WAYS[1:]:
        after = counting(way)
        assert read(after, unpack(after.layout, pack(desk.plan.layout, desk.client))) == {"f0": 2}
    other = counting('aggregate: count, where: login.success or login.channel == "app", window: 7d')
    assert read(other, unpack(other.layout, pack(desk.plan.layout, desk.client))) == {"f0": 0}


SINCE = "since: {on: logins, when: login.region   == 'east'}"
ONCE = (
    "aggregate: count, where: login.channel  ==  'app', window: 7d",
    "aggregate: distinct, field: region, where: login.channel  ==  'app', window: 7d",
    "aggregate: last, field: region, where: login.channel  ==  'app', window: 7d",
    "aggregate: distinct, field: region, where: login.channel  ==  'app', window: previous_month",
    "aggregate: count, where: login.channel  ==  'app', window: 3h",
    f"aggregate: count, {SINCE}",
    f"aggregate: distinct, field: region, {SINCE}",
)


@replaces_parts
def test_columns_that_0_1_0_named_by_the_text_of_their_filter_are_found_again(monkeypatch):
    with monkeypatch.context() as then:
        then.setattr(features, "column_key", features.old_column_key)
        plan_of.cache_clear()
        old = counting(*ONCE)
    plan_of.cache_clear()
    new = counting(*ONCE)
    assert set(old.layout.sources["logins"].keys[0]).isdisjoint(new.layout.sources["logins"].keys[0])
    before, all_along = Desk(old), Desk(new)
    for desk in (before, all_along):
        desk.take(login(at(0), region="northeast"), login(at(20), region="east"), login(at(20.1), region="west"))
        desk.take(login(at(20.1), region="central", channel="web"))
    packed = pack(new.layout, unpack(new.layout, pack(old.layout, before.client)))
    for client in (before.client, all_along.client):
        client.event_ids = {}  # each desk makes events of its own
    packed = pack(new.layout, unpack(new.layout, pack(old.layout, before.client)))
    assert packed == pack(new.layout, all_along.client)
    assert read(new, unpack(new.layout, packed)) == read(new, all_along.client)


def test_another_version_of_the_state_is_refused():
    plan = shipped_plan()
    values = msgpack.unpackb(pack(plan.layout, ClientState(plan.layout, "c1", at(0))))
    values[0] = STATE_VERSION + 1
    with pytest.raises(ValueError, match=f"version {STATE_VERSION + 1}, this engine reads up to {STATE_VERSION}"):
        unpack(plan.layout, msgpack.packb(values))


def test_a_state_stays_small_however_busy_the_client():
    """100,000 events over a year, of every kind, with values that hardly ever repeat, under the shipped rules."""
    desk, rng = Desk(shipped_plan()), random.Random(7)
    desk.take(profile(at(0), consents=("app_push", "sms", "email", "phone", "wechat")))
    times = sorted(at(0) + rng.randrange(365 * DAY_MS) for _ in range(100_000))
    largest = 0
    for number, time_ms in enumerate(times):
        amount = rng.randrange(10**11)
        if number % 3 == 0:
            products = ["stock", "fund", "option", "robo_portfolio"]
            item = trade(time_ms, amount, symbol=f"{rng.randrange(10**60):060d}", product=rng.choice(products))
        elif number % 3 == 1:
            item = login(time_ms, device_id=f"{rng.randrange(10**60):060d}", success=rng.random() < 0.9)
        else:
            kind = rng.choice(["deposit", "withdrawal", "transfer_out", "loss"])
            item = balance(time_ms, rng.randrange(10**9), kind=kind, amount_fen=amount, cash_fen=amount)
        desk.take(item)
        if number % 5_000 == 0:
            largest = max(largest, len(pack(desk.plan.layout, desk.client)))
    assert 4_000 < largest < LARGEST_STATE_BYTES


@pytest.mark.parametrize("since", [0, 1])
@pytest.mark.parametrize("former", [(WEEK,), (WEEK, GOOD_WEEK), (WEEK, PLACES)])
def test_days_pass_alike_for_a_client_in_memory_and_one_that_is_read_again(former, since):
    """Under rules that count no logins: a state has what former ones counted that day, and when a feature began."""
    plan = plan_of(rule("reader"), features="  f: {source: trades, aggregate: count, window: 7d}\n", tiers=ONE_TIER)
    desk, last = Desk(counting(WEEK)), counting(*former).layout
    desk.take(profile(at(0)), login(at(0.1), region="east"))
    client = unpack(last, pack(desk.plan.layout, desk.client))
    client.advance(last, at(since, 13))
    packed = pack(last, client)
    in_memory = unpack(plan.layout, packed)
    assert in_memory.activities["logins"].last_ms == at(0.1)
    for day in range(since + 1, 90):
        read_again = unpack(plan.layout, packed)
        for client in (in_memory, read_again):
            client.advance(plan.layout, at(day))
        packed = pack(plan.layout, read_again)
        assert packed == pack(plan.layout, in_memory), day


def test_what_rules_did_is_forgotten_alike_in_memory_and_where_it_is_read_again():
    plan = counting(WEEK)
    in_memory = ClientState(plan.layout, "c1", at(0))
    in_memory.acted = {"first": at(0), "second": at(200)}
    packed = pack(plan.layout, in_memory)
    remembered = set()
    for day in range(1, 600):
        read_again = unpack(plan.layout, packed)
        for client in (in_memory, read_again):
            client.advance(plan.layout, at(day))
            if day == 300:
                client.acted["first"] = at(day)  # it acts again
        packed = pack(plan.layout, read_again)
        assert in_memory.acted == read_again.acted, day
        remembered.add(tuple(in_memory.acted))
    assert remembered == {("first", "second"), ("first",)}
