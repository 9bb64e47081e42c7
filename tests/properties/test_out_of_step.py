"""Topics that arrive out of step end in the same facts and features as in step."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.core.client.state import ClientState
from engine.core.decide.path import Due, Input, decide
from engine.core.plan.compile import Plan
from engine.core.rules.occasion import TIER_CHANGE
from engine.rulefile.read.declarations import MAX_FEATURES
from tests.core.making import event_of, plan_of, rule, topic_of
from tests.properties.histories import LAST_MS, histories, quick
from tests.properties.test_features import KINDS, written

WINDOWS = ("1d", "7d", "366d", "5h", "72h", "month", "previous_month")
FACTS = (
    "type", "age_band", "region", "risk_level", "consents", "language", "time_zone", "advisor_id", "birth_date",
    "assets_fen", "cash_fen", "margin_ratio", "assets_peak_fen", "said_ms", "since_ms", "now_ms",
)  # fmt: skip
PAIRS = [(kind, span) for kind in KINDS for span in WINDOWS if kind[2] != "daily_mean" or not span.endswith("h")]


def _plan(pairs: list[tuple[Any, str]]) -> Plan:
    names = [f"{kind[0]}_{span}" for kind, span in pairs]
    readers = [
        rule(f"reader-{first}", on="tier_change", when='tier_change.new == "A"',
             parameters="{" + ", ".join(f"{name}: {name}" for name in names[first : first + 12]) + "}")
        for first in range(0, len(names), 12)
    ]  # fmt: skip
    tiers = "individual:\n  measure: client.assets_cny\n  tiers:\n    - {tier: A}\n"
    return plan_of(*readers, features="".join(written(*pair) for pair in pairs), tiers=tiers)


PARTS = -(-len(PAIRS) // MAX_FEATURES)
PLANS = [_plan(PAIRS[part::PARTS]) for part in range(PARTS)]


def known(plan: Plan, client: ClientState) -> dict[str, Any]:
    found = {fact: getattr(client, fact) for fact in FACTS}
    found |= {source: client.activities[source].last_ms for source in plan.layout.sources}
    for reader in plan.compiled[TIER_CHANGE]:
        values = reader.parameters(client, None, None)
        found |= {name: value for (name, _), value in zip(reader.parameter_names, values, strict=True)}
    return found


def end_of(plan: Plan, history: list[Input]) -> dict[str, dict[str, Any]]:
    states: dict[str, ClientState] = {}
    decide(plan, states, history)
    decide(plan, states, [Due(id_, LAST_MS) for id_ in sorted(states)])
    for client in states.values():
        client.advance(plan.layout, LAST_MS)
    return {id_: known(plan, client) for id_, client in states.items()}


@quick(150)
@given(history=histories(clients=2, most=50), data=st.data())
def test_topics_out_of_step_end_in_the_same_facts_and_features(history, data):
    in_step = sorted(history, key=lambda item: event_of(item).time)
    times = {(topic_of(item), event_of(item).client_id, event_of(item).time) for item in in_step}
    if len(times) < len(in_step):
        return  # which of two at one moment is the later one only the order of arrival says
    by_topic: dict[str, list[Input]] = defaultdict(list)
    for item in in_step:
        by_topic[topic_of(item)].append(item)
    arrived: list[Input] = []
    while any(by_topic.values()):
        topic = data.draw(st.sampled_from(sorted(topic for topic, items in by_topic.items() if items)))
        arrived.append(by_topic[topic].pop(0))
    for plan in PLANS:
        assert end_of(plan, arrived) == end_of(plan, in_step)
