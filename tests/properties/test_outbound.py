"""What is published has the bytes that the models of outbound.py would write, whatever is in it."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from engine.core.client.state import ClientState
from engine.core.contract.message import Because
from engine.core.contract.outbound import Cause, TierChange
from engine.core.decide.messages import tier_change_message
from engine.core.policy.match import TierMove
from tests.core.making import at, plan_of

PLAN = plan_of()
NOW = "2026-02-16T04:00:00.000Z"
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    st.one_of(st.integers(-(2**70), 2**70), st.floats(), TEXTS, st.booleans(), st.none()),
    st.one_of(st.integers(0, 2**53), st.floats(), st.none()),
    TEXTS,
    TEXTS,
    st.one_of(TEXTS, st.none()),
)
@example(1e16, 5e-324, "é\x7f", '"\\/\x00', "\u2028\U0001f600")
@example(2**64, -0.0, "A", "m", None)
def test_a_tier_change(measure: Any, threshold: float | None, tier: str, name: str, event_id: str | None) -> None:
    client = ClientState(PLAN.layout, "c1", at(0))
    client.type = "individual"
    move = TierMove(None, tier, "promoted", measure, name, threshold, False, at(0))
    message = tier_change_message(client, move, Because("trades", event_id, at(0)), 0)
    record = TierChange.model_construct(
        id=dict(message.headers)["ce_id"].decode(),
        client_id="c1",
        time=NOW,
        cause=Cause(type="trades", event_id=event_id, time=NOW),
        client_type="individual",
        from_tier=None,
        to_tier=tier,
        reason="promoted",
        why={name: measure, "threshold": threshold, "since": NOW},
    )
    assert message.value == record.model_dump_json(by_alias=True).encode()
