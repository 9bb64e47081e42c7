"""What items, positions and overrides are after any corrections, in any order: as if all had been right, or unknown."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.core.client.items import OPENED
from engine.core.client.overrides import EARLIER
from engine.core.client.positions import BEFORE, QUANTITY, TIME_MS, VALUE
from engine.core.client.sections import pack, unpack
from engine.core.client.state import ClientState
from engine.core.contract.fields import micro
from tests.core.making import HOUR_MS, Desk, at, event_of, plan_of, profile, rule
from tests.core.test_answers import came
from tests.core.test_corrections import changed, correction
from tests.properties.histories import quick

PLANS = {
    "heard": plan_of(rule("heard", on="item", when='item.kind == "complaint"', kind="task", audience="team")),
    "kept": plan_of(rule("late", unanswered="{of: complaint, for: 9d}", kind="task", audience="team")),
}
# which event, by its place; cancelled, or as another says it; how many events later it is corrected, or before it comes
FIXES = st.lists(
    st.tuples(st.integers(0, 9), st.none() | st.integers(0, 9), st.sampled_from([-2, 1, 1, 3, 9])), max_size=4
)


def played(topic: str, told: list[dict[str, Any]], fixes: Any, order: int, plan: str) -> tuple[ClientState, list[Any]]:
    """The client after a history as it is told, and the events as they should have been."""
    events = [came(topic, at(1) + place * HOUR_MS, **fields) for place, fields in enumerate(told)]
    random, desk = Random(order), Desk(PLANS[plan])
    places = random.sample(range(len(events)), len(events))
    right: dict[int, Any] = {place: event_of(item) for place, item in enumerate(events)}
    comes: list[list[Any]] = [[events[place]] for place in places]
    corrected = set()
    for number, (index, other, later) in enumerate(fixes):
        place = index % len(events)
        if place in corrected:
            continue
        corrected.add(place)
        by = None if other is None else told[other % len(told)]
        right[place] = changed(right[place], by) if by is not None else None
        fix = correction(at(2), events[place], by, f"k{number}")
        comes[min(max(places.index(place) + later, 0), len(comes) - 1)].insert(0 if later < 0 else 9, fix)
    desk.take(profile(at(0)))
    for items in comes:
        for item in items:
            desk.take(item)
            desk.states["c1"] = unpack(desk.plan.layout, pack(desk.plan.layout, desk.client))
    return desk.client, [event for event in right.values() if event is not None]


STEPS = ("opened", "answered", "resolved", "reopened", "withdrawn")
STATE = {"opened": "o", "reopened": "o", "answered": "a", "resolved": "c", "withdrawn": "c"}
steps = st.fixed_dictionaries({"complaint_id": st.sampled_from(["K1", "K2"]), "status": st.sampled_from(STEPS)})


@quick(300)
@given(told=st.lists(steps, min_size=1, max_size=7), fixes=FIXES, order=st.integers(), plan=st.sampled_from([*PLANS]))
def test_complaints(told, fixes, order, plan):
    client, right = played("complaints", told, fixes, order, plan)
    expected = {}
    for event in sorted(right, key=lambda event: event.time):
        since_ms, *_ = expected.get(event.complaint_id, (0,))
        state = STATE[event.status]
        expected[event.complaint_id] = (event.time if state == OPENED else since_ms, state, event.time)
    assert {item[1]: tuple(item[3:6]) for item in client.items} == expected


records = st.fixed_dictionaries(
    {"symbol": st.sampled_from(["S", "T"]), "quantity": st.sampled_from([0, 1, 7]), "value_fen": st.integers(0, 9)},
    optional={"product": st.sampled_from(["fund", "bond"]), "risk_class": st.just("R4"), "cost_fen": st.integers(1, 3)},
)


@quick(300)
@given(told=st.lists(records, min_size=1, max_size=8), fixes=FIXES, order=st.integers())
def test_positions(told, fixes, order):
    client, right = played("positions", told, fixes, order, "kept")
    unknown = 0
    for symbol in ("S", "T"):
        latest = sorted((event for event in right if event.symbol == symbol), key=lambda event: -event.time)
        found = client.positions.get(symbol)
        if found is None:
            assert latest == []
            continue
        if found[QUANTITY] is None:
            unknown += 1
            continue
        now = latest[0]
        whole = [now.product, now.risk_class, micro(now.quantity), now.value_fen, now.cost_fen, now.time]
        assert found[:BEFORE] == whole
        before = found[BEFORE]
        if before is None:
            assert len(latest) == 1
        elif before[0] is not None:
            assert before[:3] == [micro(latest[1].quantity), latest[1].value_fen, latest[1].time]
        else:
            unknown += 1
        assert found[VALUE] is not None
        assert found[TIME_MS] == now.time
    assert unknown <= len(fixes)  # without a correction nothing is unknown


overridden = st.fixed_dictionaries(
    {"kind": st.just("do_not_contact"), "ended": st.booleans(), "by": st.sampled_from(["S-1", "S-2"])}
) | st.fixed_dictionaries({"kind": st.just("tier"), "tier": st.sampled_from("ABC"), "until": st.just(at(90))})


@quick(300)
@given(
    told=st.lists(overridden, min_size=1, max_size=8),
    fixes=FIXES.map(lambda fixes: fixes[:2]),
    order=st.integers(),
)
def test_overrides(told, fixes, order):
    client, right = played("overrides", told, [(i, None, later) for i, _, later in fixes], order, "kept")
    fresh = Desk(PLANS["kept"])
    fresh.take(profile(at(0)), *(("overrides", event) for event in right))
    assert {key: entry[:EARLIER] for key, entry in client.overrides.items()} == {
        key: entry[:EARLIER] for key, entry in fresh.client.overrides.items()
    }
