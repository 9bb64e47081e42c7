"""Edits of journeys under way: who is in one goes on as a slow model says, nobody is stuck, nothing is done twice, and
what `engage diff` and `publish` say beforehand is what happens. In a pinned journey an edit changes nothing for whoever
is in it.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from hypothesis import assume, given
from hypothesis import strategies as st

from engine.core.client.items import ENDED, STANDS
from engine.core.client.items import journey as standing
from engine.core.client.sections import pack, unpack
from engine.core.client.state import ClientState
from engine.core.decide.path import Input, Sweep, decide
from engine.core.plan.compile import Plan
from engine.core.rules.occasion import CHANGED, Waits
from engine.insight.outlook import outlook
from engine.rulefile.tools.diff import differences
from engine.rulefile.tools.effects import effects
from tests.core.making import event_of
from tests.properties.histories import quick
from tests.properties.journeys_model import JourneyModel
from tests.properties.occasions_model import DAY, HOUR, Fired
from tests.properties.test_journeys import VALUES, again, ends, heads, journey, plan_of, steps_of, ways, written
from tests.properties.test_occasions import filled, in_order, lives

# so that a client is in the journey when it is edited, more often than not
BEGINS = (
    "on: logins",
    "on: trades",
    "on: balances",
    "at: {every: day, time: '09:00'}",
    "becomes: client.days_known >= 0",
)
WAITS = (
    "{wait: 1d}", "{wait: 5d}", "{wait: {on: complaints, timeout: 3d, otherwise: end}}", "{wait: {on: trades}}",
    "{wait: {at: {every: week, day: mon, time: '12:00'}}}", "{wait: {until: client.assets_cny > 2_000, timeout: 5d}}",
)  # fmt: skip
begins = st.one_of(heads, *[filled("    entry: {{{}{}}}\n", st.sampled_from(BEGINS), again)] * 3)
conditions = st.one_of(st.just(""), st.just(""), ends())
steps_ = st.one_of(ways(), *[st.builds(lambda steps, wait: steps | {"s0": wait}, ways(), st.sampled_from(WAITS))] * 3)
edits = st.tuples(st.integers(1, 6), st.sampled_from([0, 1, HOUR, DAY, 3 * DAY]))
SWEPT = re.compile(r"(way/\S+?)-v\d+")


class Life(NamedTuple):
    """One client's events, before which of them the rules are edited, and how long after the one before."""

    history: list[Input]
    end_ms: int
    at: int
    edited_ms: int


@st.composite
def edited_lives(draw: st.DrawFn) -> Life:
    history, end_ms = draw(lives())
    place, behind = draw(edits)
    place = min(place, len(history))
    before_ms = max(event_of(item).time for item in history[:place])
    next_ms = event_of(history[place]).time if place < len(history) else end_ms
    return Life(history, end_ms, place, max(before_ms, min(before_ms + behind, next_ms)))


class Told(NamedTuple):
    fired: Fired
    before: ClientState  # just before the edit, by the rules of then
    packed: bytes
    after: ClientState  # just after it
    last: ClientState


def by_engine(before: Plan, after: Plan, life: Life) -> Told:
    states: dict[str, ClientState] = {}
    fired: Fired = []
    for item in life.history[: life.at]:
        fired += steps_of(before, states, item, event_of(item).time)
    fired += steps_of(before, states, None, life.edited_ms)
    packed = pack(before.layout, states["c1"])
    states["c1"] = unpack(after.layout, packed)
    decided, now_ms = decide(after, states, [Sweep("c1", life.edited_ms)]), life.edited_ms
    for (rule_id, outcome), times in decided.outcomes.items():
        if "/" in rule_id or outcome == "sent":
            fired.extend([(rule_id, now_ms)] * times)
    for (what, *labels), times in decided.counts.items():
        if what == "journeys":
            fired.extend([(f"ended {labels[1]}", now_ms)] * times)
    swept = unpack(after.layout, pack(after.layout, states["c1"]))
    for item in life.history[life.at :]:
        fired += steps_of(after, states, item, event_of(item).time)
    fired += steps_of(after, states, None, life.end_ms)
    return Told(fired, unpack(before.layout, packed), packed, swept, states["c1"])


def edited(steps: dict[str, str], others: dict[str, str], kept: set[str]) -> dict[str, str]:
    """The other steps; those that are kept, and those that they lead to, as they were."""
    now = others | {name: step for name, step in steps.items() if name in kept}
    while gone := set(re.findall(r"\bs\d\b", " ".join(now.values()))) - now.keys():
        now |= {name: steps[name] for name in gone}
    return now


def stands(client: ClientState) -> str:
    entry = standing(client.journeys, "way")
    return "" if entry is None or entry[ENDED] else entry[STANDS]


def by_model(model: JourneyModel, edit: Any, life: Life) -> Fired:
    model.run(life.history[: life.at], life.edited_ms)
    edit()
    return model.run(life.history[life.at :], life.end_ms)


@quick(40)
@given(
    head=begins, ends_=st.tuples(conditions, conditions), steps=steps_, others=steps_,
    kept=st.sets(st.sampled_from([f"s{number}" for number in range(5)])), life=edited_lives(),
)  # fmt: skip
def test_who_is_in_a_journey_goes_on_by_the_rules_of_now(head, ends_, steps, others, kept, life):
    now = edited(steps, others, kept)
    before, after = plan_of(journey(head + ends_[0], steps)), plan_of(journey(head + ends_[1], now))
    assume(before is not None and after is not None)
    assert before is not None
    assert after is not None
    told = by_engine(before, after, life)
    model = JourneyModel(before, VALUES)
    expected = by_model(model, lambda: model.edit(after, life.edited_ms), life)
    assert in_order(told.fired) == in_order(expected)

    stood, (way,) = stands(told.before), after.rule_set.journeys
    gone = bool(stood) and not isinstance(way.doing.get(stood), Waits)
    found = outlook(before, after, [told.packed], life.edited_ms)
    assert found.stands == ({("way", stood): 1} if stood else {})
    assert found.leave == ({"way": 1} if gone else {})
    at_edit = [what for what, moment_ms in told.fired if moment_ms == life.edited_ms]
    assert (f"ended {CHANGED}" in at_edit) == gone
    said = [line for line in effects(before.rule_set, after.rule_set) if "since the step is gone" in line]
    assert not gone or any(re.search(rf"stands at .*\b{stood}\b", line) for line in said)
    assert not said or differences(before.rule_set, after.rule_set)
    if stands(told.last):  # never stuck: it waits, and is asked again
        assert isinstance(doing := way.doing[stands(told.last)], Waits)
        assert told.last.due_ms < 1 << 60 or not (doing.for_s or doing.at or doing.timeout_s)


class PinnedModel(JourneyModel):
    """Each version is a journey of its own: the client goes on with the one that was begun."""

    following: Plan | None = None

    def edit(self, plan: Plan, now: int) -> None:
        self.following = plan
        if not self.step:
            super().edit(plan, now)

    def end(self, reason: str) -> None:
        super().end(reason)
        if self.following is not None:
            self.lead_by(self.following)


@quick(40)
@given(
    head=begins, ends_=conditions, steps=steps_, others=steps_, life=edited_lives(), was_pinned=st.booleans(),
    version=st.integers(2, 12),
)  # fmt: skip
def test_who_is_in_a_pinned_journey_hears_of_no_edit(head, ends_, steps, others, life, was_pinned, version):
    one, other = plan_of(journey(head + ends_, steps)), plan_of(journey(head + ends_, others))
    assume(one is not None and other is not None)
    assert one is not None
    assert other is not None
    began = plan_of(journey(head + ends_, steps, "    pinned: true\n")) if was_pinned else one
    earlier = "    earlier:\n      1:\n" + written("", steps, "        ")
    now = plan_of(journey(head + ends_, others, f"    version: {version}\n    pinned: true\n{earlier}"))
    assert began is not None
    assert now is not None
    told = by_engine(began, now, life)
    model = PinnedModel(one, VALUES)
    expected = by_model(model, lambda: model.edit(other, life.edited_ms), life)
    assert in_order([(SWEPT.sub(r"\1", what), at) for what, at in told.fired]) == in_order(expected)

    stood = stands(told.before)
    assert stands(told.after) == (stood if was_pinned or not stood else f"{stood}-v1")
    found = outlook(began, now, [told.packed], life.edited_ms)
    assert found.left == {("way", 1): int(bool(stood))}
    assert not found.leave
