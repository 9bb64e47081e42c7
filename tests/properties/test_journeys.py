"""Journeys go as a slow model of docs/journeys.md says, through late events and edits, and by no other way."""

from __future__ import annotations

from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from engine.core.client.sections import pack, unpack
from engine.core.client.state import ClientState
from engine.core.contract.outbound import Outcome
from engine.core.decide.path import Due, Input, decide
from engine.core.plan.compile import Plan, compile_rule_set
from engine.core.rules.ruleset import RuleSet
from engine.rulefile.read.load import load
from tests.core.making import event_of
from tests.properties.histories import quick
from tests.properties.journeys_model import JourneyModel
from tests.properties.occasions_model import Fired
from tests.properties.test_occasions import (
    CALENDAR,
    DEFINITIONS,
    FEATURES,
    TIERS,
    TOPICS,
    VALUES,
    calendars,
    conditions,
    filled,
    in_order,
    lengths,
    lives,
)

ACT = "kind: task, audience: team, priority: 50, expires: 90d, template: t"
quoted = conditions.map(lambda condition: f"'{condition}'")
events = st.sampled_from(
    ["on: logins", "on: trades", "on: balances", "on: logins, when: login.success", "on: complaints",
     "on: trades, when: 'trade.side == \"sell\" and logins_3d > 0'"]
)  # fmt: skip
entries = st.one_of(
    events,
    filled("becomes: {}", quoted),
    filled("becomes: {}, for: {}", quoted, lengths),
    filled("at: {{{}}}", calendars),
    filled("silence: {{of: {}, for: 1d}}", st.sampled_from(TOPICS[1:])),
)
kinds = st.sampled_from(["act", "act", "for", "on", "on", "until", "until", "at", "branch", "split", "exit"])
again = st.sampled_from(["", ", again: 1m", ", again: 5h", ", again: 2d"])


@st.composite
def ways(draw: st.DrawFn) -> dict[str, str]:
    """Steps by name."""
    count = draw(st.integers(1, 5))
    names = [f"s{number}" for number in range(count)]
    to = st.sampled_from([*names, "end"])

    def timeout() -> str:
        if not draw(st.booleans()):
            return ""
        otherwise = f", otherwise: {draw(to)}" if draw(st.booleans()) else ""
        return f", timeout: {draw(lengths)}{otherwise}"

    def step(name: str) -> str:
        following = f", next: {draw(to)}" if draw(st.booleans()) else ""
        kind = draw(
            st.sampled_from(["act", "act", "for", "on", "on", "until", "until", "at", "branch", "split", "exit"])
        )
        if kind == "act":
            when = f"when: {draw(quoted)}, " if draw(st.booleans()) else ""
            return f"{{act: {{{when}{ACT}}}{following}}}"
        if kind == "for":
            return f"{{wait: {draw(lengths)}{following}}}"
        if kind == "on":
            return f"{{wait: {{{draw(events)}{timeout()}}}{following}}}"
        if kind == "until":
            return f"{{wait: {{until: {draw(quoted)}{timeout()}}}{following}}}"
        if kind == "at":
            after = f", for: {draw(lengths)}" if draw(st.booleans()) else ""
            return f"{{wait: {{at: {{{draw(calendars)}}}{after}{timeout()}}}{following}}}"
        if kind == "branch":
            ways = [f"{{when: {draw(quoted)}, to: {draw(to)}}}" for _ in range(draw(st.integers(1, 2)))]
            ways += [f"{{otherwise: {draw(to)}}}"] if draw(st.booleans()) else []
            return f"{{branch: [{', '.join(ways)}]}}"
        if kind == "split":
            return f"{{split: {{to: {{{draw(to)}: 1, {name if draw(st.booleans()) else 'end'}: 2}}}}}}"
        return "{exit: bored}"

    return {name: step(name) for name in names}


@st.composite
def ends(draw: st.DrawFn) -> str:
    text = f"    goal: {draw(quoted)}\n" if draw(st.integers(0, 3)) == 0 else ""
    return text + (f"    exits: {{worse: {draw(quoted)}}}\n" if draw(st.integers(0, 3)) == 0 else "")


heads = filled("    entry: {{{}{}}}\n", entries, again)


def written(head: str, steps: dict[str, str], indent: str = "    ") -> str:
    return head + f"{indent}steps:\n" + "".join(f"{indent}  {name}: {step}\n" for name, step in steps.items())


def journey(head: str, steps: dict[str, str], more: str = "") -> str:
    text = "journeys:\n  - id: way\n    title: T\n    owner: wealth\n    description: D.\n"
    return text + more + written(head, steps)


journeys = st.builds(lambda head, ends_, steps: journey(head + ends_, steps), heads, ends(), ways())


def plan_of(journey: str) -> Plan | None:
    """None for one that is refused, such as for a loop without a wait."""
    files = {"features.yaml": f"features:\n{FEATURES}", "tiers.yaml": TIERS, "definitions.yaml": DEFINITIONS}
    files |= {"policy.yaml": "contact: {daily_cap: 2}\n", "calendar.yaml": CALENDAR, "journeys/way.yaml": journey}
    found = load(files)
    if isinstance(found, RuleSet):
        return compile_rule_set(found)
    said = "\n".join(map(str, found))
    assert "a loop without a wait" in said or "twice" in said or "changes all the time" in said, said
    return None


def steps_of(plan: Plan, states: dict[str, ClientState], item: Input | None, until_ms: int) -> Fired:
    """What becomes of the journey when time passes up to `until_ms` and then the event comes."""
    fired: Fired = []

    def take(given_: Any) -> None:
        decided, now_ms = decide(plan, states, [given_]), 0
        now_ms = states["c1"].now_ms
        for (rule_id, outcome), times in decided.outcomes.items():
            if "/" in rule_id or outcome == Outcome.SENT:
                fired.extend([(rule_id, now_ms)] * times)
        for (what, *labels), times in decided.counts.items():
            if what == "journeys":
                fired.extend([(f"ended {labels[1]}", now_ms)] * times)

    while "c1" in states and states["c1"].due_ms <= until_ms:
        take(Due("c1", states["c1"].due_ms))
    if item is not None:
        take(item)
    return fired


@quick(30)
@given(text=journeys, lives_=st.lists(lives(), min_size=1, max_size=4), store=st.booleans())
def test_a_journey_goes_as_the_model_says(text, lives_, store):
    plan = plan_of(text)
    assume(plan is not None)
    assert plan is not None
    for history, end_ms in lives_:
        states: dict[str, ClientState] = {}
        fired: Fired = []
        for item in history:
            fired += steps_of(plan, states, item, event_of(item).time)
            if store:
                states["c1"] = unpack(plan.layout, pack(plan.layout, states["c1"]))
        fired += steps_of(plan, states, None, end_ms)
        assert in_order(fired) == in_order(JourneyModel(plan, VALUES).run(history, end_ms)), text
