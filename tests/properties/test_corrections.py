"""Any history with corrections ends as the history in which the events had been right from the start, or unknown."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.core.client.sections import pack, unpack
from engine.core.contract.corrections import Correction
from engine.core.contract.events import Event
from engine.core.decide.path import Input, decide
from engine.core.firm_time import DAY_MS, HOUR_MS
from tests.core.making import Desk, event_of, plan_of, rule, topic_of
from tests.properties.histories import histories, quick
from tests.properties.test_features import PLANS, UNDECIDED, Kind, Log, modelled, read
from tests.retractions import Retractions

CORRECTABLE = ("trades", "logins", "balances")
# which event, by its place; replaced by another of its topic or cancelled; at its own time or moved; how many events
# later it is corrected, below 0: before it comes; how often
orders = st.lists(
    st.tuples(
        st.integers(0, 39), st.none() | st.integers(0, 39), st.sampled_from([0, 0, 0, 1, -HOUR_MS, HOUR_MS, -DAY_MS]),
        st.sampled_from([-3, 1, 1, 2, 5, 20]), st.integers(1, 2),
    ),
    min_size=1,
    max_size=5,
)  # fmt: skip


def timed(history: Sequence[Input]) -> list[tuple[str, Event]]:
    """The same, no two events at one moment: which of those is the later one, nobody could say."""
    found, taken = [], set()
    for item in history:
        event = event_of(item)
        time_ms = event.time
        while time_ms in taken:
            time_ms += 1
        taken.add(time_ms)
        found.append((topic_of(item), event.model_copy(update={"time": time_ms})))
    return found


class Told:
    """A history as it is told, corrections in it, and as it was."""

    def __init__(self, history: list[tuple[str, Event]], asked: Sequence[tuple[Any, ...]]) -> None:
        self.right: dict[int, Event | None] = {}  # by place: what it should have been
        self.told: list[list[tuple[str, Event]]] = [[item] for item in history]  # by place, what comes then
        taken = {event.time for _, event in history}
        for number, (place, other, moved_ms, later, times) in enumerate(asked):
            place %= len(history)
            topic, event = history[place]
            if topic not in CORRECTABLE or place in self.right:
                continue
            alike = [of for of_topic, of in history if of_topic == topic]
            new = None if other is None else self._changed(event, alike[other % len(alike)], moved_ms, taken)
            self.right[place] = new
            come = min(max(place + later, 0), len(history) - 1)
            if later < 0 and self._waits_too_long(history, place, come):
                come = place
            now_ms = max([event.time, *(e.time for _, e in history[: come + 1]), *([new.time] if new else [])])
            fields = {"kind": "cancel" if new is None else "replace", "topic": topic, "corrects": event.event_id}
            for again in range(times):
                about = {"event_id": f"c{number}-{again}", "client_id": event.client_id, "time": now_ms}
                correction = Correction.model_construct(**about, **fields, original=event, replacement=new)
                at = self.told[come]
                at.insert(0 if come < place else len(at), ("corrections", correction))
        self.history = history

    @staticmethod
    def _waits_too_long(history: list[tuple[str, Event]], place: int, come: int) -> bool:
        """Whether days pass before the event comes: a correction waits for it no longer than seven. One of an event
        that is older than that regards one that has come.
        """
        before = max(event.time for _, event in history[: come + 1])
        waits = max(event.time for _, event in history[: place + 1]) - before > DAY_MS
        return waits or before - history[place][1].time > DAY_MS

    @staticmethod
    def _changed(event: Event, like: Event, moved_ms: int, taken: set[int]) -> Event | None:
        time_ms = event.time + moved_ms
        while moved_ms and time_ms in taken:
            time_ms += 1
        taken.add(time_ms)
        return like.model_copy(update={"event_id": event.event_id, "time": time_ms})

    def as_it_was(self) -> tuple[Log, dict[str, int]]:
        log: Log = []
        for place, (topic, event) in enumerate(self.history):
            right = self.right.get(place, event)
            if right is not None:
                insort(log, (right.time, topic, right), key=lambda entry: entry[0])
        return log, {topic: time_ms for time_ms, topic, _ in log}


def known(plan: Any, client: Any, name: str) -> bool:
    return bool(plan.reaches[name].is_known(client))


def assert_right(plan: Any, pairs: Sequence[tuple[Kind, str]], client: Any, log: Log, now_ms: int) -> None:
    found = read(plan, client)
    for kind, span in pairs:
        name, expected = f"{kind[0]}_{span}", modelled(kind, span, log, now_ms)
        if expected is UNDECIDED or not known(plan, client, name):
            assert kind[2] not in ("count", "sum", "avg") or expected is UNDECIDED or span not in ("1d", "30d"), name
            continue
        value = found[name]
        same = abs(value - expected) < 1e-9 if isinstance(value, float) and expected is not None else value == expected
        assert same, f"{name} is {value}, should be {expected}"


@quick(150)
@given(
    history=histories(clients=1, most=30),
    asked=orders,
    store=st.lists(st.booleans(), min_size=1, max_size=5),
    number=st.integers(0, len(PLANS) - 1),
)
def test_a_corrected_history_ends_as_the_right_one(history, asked, store, number):
    pairs, plan = PLANS[number]
    told = Told(timed(history), asked)
    desk = Desk(plan)
    for place, items in enumerate(told.told):
        for item in items:
            desk.take(item)
            if store[place % len(store)]:
                desk.states["c1"] = unpack(plan.layout, pack(plan.layout, desk.client))
    log, last = told.as_it_was()
    client = desk.client
    tops = {name for name, reach in plan.reaches.items() if reach.aggregate == "top"}  # too many values: no correction
    unknown = {name for name in plan.reaches if not known(plan, client, name)}
    assert unknown - tops <= client.unknown_until.keys() <= unknown
    assert_right(plan, pairs, client, log, client.now_ms)
    for topic in CORRECTABLE:
        activity = client.activities[topic]
        assert activity.last_ms == last.get(topic) or (activity.unsure_ms and activity.last_ms is None)
    balances = [event for _, topic, event in log if topic == "balances"]
    if client.assets_fen is not None:
        assert client.assets_fen == balances[-1].assets_fen
    if client.assets_peak_fen is not None:
        assert client.assets_peak_fen == max(event.assets_fen for event in balances)


ACTING = plan_of(
    rule("any", on="[trades, logins, balances]", kind="alert", audience="team"),
    rule("large", on="trades", when="trade.amount_cny >= 10_000", kind="task", audience="team"),
    rule("poor", becomes="client.assets_cny < 300_000", kind="alert", audience="team"),
    rule("followed", sequence="{first: {on: logins}, within: 30d, then: {on: trades}}", kind="task", audience="team"),
    rule("unanswered", unanswered="{of: any, for: 1d}", kind="task", audience="team"),
)


@quick(150)
@given(history=histories(clients=1, most=30), asked=orders, store=st.lists(st.booleans(), min_size=1, max_size=5))
def test_what_a_cancelled_event_led_to_is_retracted_once_and_nothing_else(history, asked, store):
    states, model = {}, Retractions()
    for place, items in enumerate(Told(timed(history), asked).told):
        for item in items:
            assert model.take(item, decide(ACTING, states, [item]).messages) == []
            if store[place % len(store)]:
                states["c1"] = unpack(ACTING.layout, pack(ACTING.layout, states["c1"]))
