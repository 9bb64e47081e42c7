"""The states that release 0.1.0 wrote: each reads as 0.1.0 read it, and is packed as this version packs."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import msgpack
import pytest

from engine.core.activity.activity import SEVERAL
from engine.core.activity.layout import SourceLayout
from engine.core.client.record import public_fields
from engine.core.client.sections import STATE_VERSION, pack, unpack
from engine.core.client.state import ClientState, Layout
from engine.core.firm_time import day_start_ms
from engine.core.plan.compile import Plan, compile_rule_set
from engine.core.plan.features import column_key
from engine.core.rules.ruleset import RuleSet
from engine.rulefile.read.load import load
from tests.core.making import shipped_plan
from tests.fixtures.loading import Golden, golden, rules
from tests.fixtures.reading import activity, attributes, values
from tests.fixtures.wide import wide_rules

SOURCES = ("trades", "logins", "balances")
FORMER = {"maturities": "holdings"}


@cache
def plan_of(which: str) -> Plan:
    """Of a rule set of 0.1.0."""
    result = load(wide_rules()[which] if which.startswith("wide") else rules(which))
    assert isinstance(result, RuleSet), "\n".join(map(str, result))
    return compile_rule_set(result)


def read_under(which: str) -> list[tuple[Golden, dict[str, Any]]]:
    """The states that 0.1.0 read under a rule set, and what it read."""
    found = [*golden("state"), *golden("wide")]
    return [(pair, pair.meaning["states"][which]) for pair in found if which in pair.meaning["states"]]


every_rule_set = pytest.mark.parametrize("which", ["shipped", "changed", *wide_rules()])


# -- what is read -----------------------------------------------------------------------------------


def wanted(layout: Layout, meaning: dict[str, Any]) -> dict[str, Any]:
    """The attributes of a state whose slots 0.1.0 read so; what it did not know is as in a new one."""
    of_client = {name: value for name, value in meaning.items() if name not in (*SOURCES, "values", "repacked")}
    new = ClientState(layout, meaning["client_id"], 0)
    day, count = of_client.pop("contacts_day"), of_client.pop("contacts_today")
    of_client["contacts"] = {"": [day_start_ms(day)] * count} if count else {}
    of_client = attributes(new) | {FORMER.get(name, name): value for name, value in of_client.items()}
    of_client["holdings"] = [[*holding, None, None] for holding in of_client["holdings"]]  # of no told quantity
    return of_client


def wanted_activity(layout: SourceLayout, meaning: Any) -> Any:
    """The same of what 0.1.0 read: under the present keys, with what it did not know."""
    if meaning is None:
        return None
    renamed = {
        kept: {layout.former.get(key, key): _scaled(value, layout.factors.get(key, 1)) for key, value in of.items()}
        for kept, of in meaning.items()
        if kept in ("columns", "today", "sets", "lasts", "closed", "totals")
    }
    scaled = {layout.former[key]: factor for key, factor in layout.factors.items()}
    past = []
    for (aggregate, window), value in zip(layout.windows, meaning["past"], strict=True):
        key = layout.columns[window.column][0] if aggregate in ("sum", "daily_mean") else ""
        total, *days = value if aggregate == "daily_mean" else [value]
        total = _scaled(total, scaled.get(key, 1))
        past.append([total, *days] if days else total)
    for key, aggregate in layout.columns:
        if aggregate == "set_at":  # when in its day it was set: as if before any other event of it, and not alone
            renamed["columns"][key] = [SEVERAL] * len(meaning["days"])
            renamed["today"][key] = SEVERAL if meaning["touched"] else None
    for key, last in renamed["lasts"].items():
        renamed["lasts"][key] = last and [last[0], 0, last[1]]
    for key, aggregate, _ in layout.closings:
        if entry := renamed["closed"][key]:
            start, value = entry
            renamed["closed"][key] = [start, [None] * value if aggregate == "distinct" else [start - 1, 0, value]]
    for key, value in renamed["totals"].items():
        renamed["totals"][key] = [0, value, []]
    hours = wanted_activity(layout.hours, meaning["hours"]) if layout.hours else None
    return meaning | renamed | {"hours": hours, "past": past, "known": {}}


def _scaled(value: Any, factor: int) -> Any:
    if factor == 1 or value is None:
        return value
    return [_scaled(one, factor) for one in value] if isinstance(value, list) else value * factor


@every_rule_set
def test_every_attribute_is_what_0_1_read(which: str) -> None:
    for pair, meaning in read_under(which):
        layout = plan_of(which).layout
        assert attributes(unpack(layout, pair.data)) == wanted(layout, meaning), pair.name


@every_rule_set
def test_every_column_is_what_0_1_read(which: str) -> None:
    layout = plan_of(which).layout
    for pair, meaning in read_under(which):
        client = unpack(layout, pair.data)
        for source in SOURCES:
            kept = layout.sources[source]
            found = activity(kept, client.activities[source])
            assert found == wanted_activity(kept, meaning[source]), (pair.name, source)


@every_rule_set
def test_rules_read_what_they_read_in_0_1(which: str) -> None:
    plan = plan_of(which)
    for pair, meaning in read_under(which):
        read = values(plan, unpack(plan.layout, pair.data))
        for name in meaning["values"]:
            if "daily_mean_quantity" in name and read[name] is not None:
                read[name] = int(read[name])  # 0.1.0 rounded it down
        assert {name: read[name] for name in meaning["values"]} == meaning["values"], pair.name


def test_what_the_shipped_features_of_today_read() -> None:
    """Those that 0.1.0 shipped, too, under whatever name."""
    plan, before = shipped_plan(), plan_of("shipped")
    same = {
        feature.name: old.name
        for feature in plan.rule_set.features
        for old in before.rule_set.features
        if (column_key(feature), feature.window) == (column_key(old), old.window)
    }
    assert len(same) > 20
    for pair in golden("state"):
        read = values(plan, unpack(plan.layout, pair.data))
        was = pair.meaning["states"]["shipped"]["values"]
        assert {name: read[name] for name in same} == {name: was[old] for name, old in same.items()}, pair.name


# -- what is written ----------------------------------------------------------------------------------


@every_rule_set
def test_it_is_packed_as_today_and_comes_back(which: str) -> None:
    plan = plan_of(which)
    for pair, meaning in read_under(which):
        client = unpack(plan.layout, pair.data)
        packed = pack(plan.layout, client)
        version, client_id, sections = msgpack.unpackb(packed)
        assert (version, client_id) == (STATE_VERSION, meaning["client_id"])
        assert {f"@{source}" for source in SOURCES if meaning[source]["last_ms"] is not None} <= set(sections)
        again = unpack(plan.layout, packed)
        assert attributes(again) == attributes(client), pair.name
        assert values(plan, again) == values(plan, client), pair.name
        for source, kept in plan.layout.sources.items():
            assert activity(kept, again.activities[source]) == activity(kept, client.activities[source]), pair.name
        assert pack(plan.layout, again) == packed, pair.name


@pytest.mark.parametrize("which", ["shipped", "changed"])
def test_the_public_fields_are_the_same(which: str) -> None:
    for pair in golden("state"):
        found = public_fields(unpack(plan_of(which).layout, pair.data))
        assert {name: found[name] for name in pair.meaning["public"]} == pair.meaning["public"], pair.name


def test_it_goes_from_layout_to_layout() -> None:
    """A state that was written anew under other rules reads as if it had come to them as 0.1.0 wrote it."""
    one, other = plan_of("changed"), plan_of("shipped")
    for pair in golden("state"):
        direct = unpack(other.layout, pair.data)
        via = unpack(other.layout, pack(one.layout, unpack(one.layout, pair.data)))
        assert values(other, via) == values(other, direct), pair.name
        assert json.dumps(attributes(via), sort_keys=True) == json.dumps(attributes(direct), sort_keys=True)


def test_quantities_beyond_what_a_state_can_store() -> None:
    """0.1.0 kept them whole, within 64 bits; in millionths they stop at the largest that can be stored."""
    plan = plan_of("wide-0")
    layout = plan.layout.sources["trades"]
    pair = next(pair for pair in golden("wide") if pair.name.startswith("wide-0/"))
    version, client_id, fields, trades, *others = msgpack.unpackb(pair.data)
    last_ms, touched, past, today, sets, lasts, (hours, totals, closed) = msgpack.unpackb(trades, strict_map_key=False)
    keys, days, columns = msgpack.unpackb(past)
    for index, key in enumerate(keys[0]):
        if key in layout.factors:
            columns[index], today[index] = [10**14] * len(days), 10**14
    totals = {key: 10**14 if key in layout.factors else value for key, value in totals.items()}
    more = [hours, totals, closed]
    trades = msgpack.packb([last_ms, touched, msgpack.packb([keys, days, columns]), today, sets, lasts, more])
    client = unpack(plan.layout, msgpack.packb([version, client_id, fields, trades, *others]))
    again = unpack(plan.layout, pack(plan.layout, client))
    assert values(plan, again) == values(plan, client)
    assert values(plan, again)["wide_trades_sum_quantity_7d"] > 9 * 10**12
