"""The audit of journeys against the engine, where rules change the length of a wait between two events."""

from __future__ import annotations

import pytest

from engine.core.decide.path import Due, Input, decide
from engine.core.plan.compile import Plan
from tests.core.making import at, login, plan_of, profile, trade
from tests.journey_audit import JourneyAudit
from tests.simulation.rule_texts import WAY

BEGINS = trade(at(1), amount_fen=2_000_000)


def rules(rest: str) -> Plan:
    return plan_of(others=(("journeys/trader.yaml", WAY.replace("wait: 2h", f"wait: {rest}")),))


class Watched:
    """An engine whose journeys are audited, as far as inputs go one after another."""

    def __init__(self) -> None:
        self.states: dict = {}
        self.audit = JourneyAudit()
        self.did: list[str] = []
        self.faults: list[str] = []

    def take(self, plan: Plan, *inputs: Input) -> None:
        for item in inputs:
            stood_ms = client.now_ms if (client := self.states.get("c1")) is not None else 0
            decided = decide(plan, self.states, [item])
            tasks = [message for message in decided.messages if message.topic == "tasks"]
            self.did += [message.topic for message in tasks]
            self.faults += self.audit.take(plan, item, tasks, False, stood_ms, self.states["c1"].now_ms)


@pytest.mark.parametrize("hours", [1, 1.5])
def test_a_login_that_finds_a_shortened_wait_over_is_not_heard_by_the_next(hours):
    found = Watched()
    found.take(rules("2h"), profile(at(0)), BEGINS)
    assert len(found.did) == 1
    found.take(rules("1h"), login(at(1) + round(hours * 3_600_000)))
    assert len(found.did) == 2  # it led on
    found.take(rules("1h"), Due("c1", at(2)))
    assert len(found.did) == 3  # and nobody logged in after
    assert found.faults == []


def test_a_login_after_the_wait_is_heard_also_in_the_moment_in_which_it_ends():
    for hours in (2, 3):
        found = Watched()
        found.take(rules("2h"), profile(at(0)), BEGINS, login(at(1, 12 + hours)), Due("c1", at(2)))
        assert len(found.did) == 2
        assert found.faults == []


def test_the_audit_sees_a_login_that_is_heard_twice():
    """What the engine would do if it were: nothing at the end."""
    found = Watched()
    found.take(rules("2h"), profile(at(0)), BEGINS)
    found.take(rules("1h"), login(at(1, 13.5)))
    found.states["c1"].journeys = []
    found.take(rules("1h"), Due("c1", at(2)), login(at(2, 13)))
    assert len(found.faults) == 1
