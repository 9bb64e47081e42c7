"""Plays the tests of journeys.

Enters: a plan in which nothing but the journey's rules can act, a test. Leaves: what is not as expected.
Holds: a test is decided by the same `decide` as a worker would, event by event.
"""

from __future__ import annotations

from typing import Any

from engine.core.client.items import ENDED, STANDS, journey
from engine.core.client.state import ClientState
from engine.core.contract.outbound import Outcome
from engine.core.decide.path import Due, Input, decide
from engine.core.firm_time import NEVER_MS
from engine.core.pace import Block, Pace
from engine.core.plan.compile import Plan
from engine.core.policy.rates import period_of
from engine.rulefile.stories.cases import RuleTest
from engine.rulefile.stories.journeys import NOWHERE, JourneyTest, Led
from engine.rulefile.stories.story import CLIENT_ID


def pace_of(plan: Plan, test: RuleTest | JourneyTest) -> Pace | None:
    """What a test says is left of budgets, and of the others all; None for a test that says nothing. There is no more
    of it, whatever time passes; nor has an advisor who is busy.
    """
    if not test.budgets and not test.advisor_busy:
        return None
    pace, left = Pace(asks_rates=False, asks_room=test.advisor_busy), dict(test.budgets)
    for name, budget in plan.budgets.items():
        period, _ = period_of(budget, 0)
        pace.keep(name, Block(period, NEVER_MS, budget.limit, left=left.get(name, budget.limit), refused=1))
    return pace


def play(plan: Plan, states: dict[str, ClientState], test: JourneyTest, latest: Any) -> str:
    """What is not as expected; empty when all is. `states` is what was given; `latest` gives an event that comes back
    the action it is about.
    """
    acts: list[str] = []
    stopped: list[tuple[str, str]] = []
    pace = pace_of(plan, test)

    def take(item: Input) -> None:
        for (rule_id, outcome), times in decide(plan, states, [item], pace=pace).outcomes.items():
            journey_id, _, step = rule_id.partition("/")
            if journey_id == test.rule and step and outcome == Outcome.SENT:
                acts.extend([step] * times)
            elif journey_id == test.rule and step:
                stopped.append((step, Outcome(outcome).value))

    for topic, event in test.events:
        while (client := states.get(CLIENT_ID)) is not None and client.due_ms <= event.time:
            take(Due(CLIENT_ID, client.due_ms))  # each moment by itself: what acts then is noted in its order
        take(latest(states, topic, event))
    while (client := states.get(CLIENT_ID)) is not None and client.due_ms <= test.until_ms:
        take(Due(CLIENT_ID, client.due_ms))
    return _unlike(test.expected, acts, stopped, journey(states[CLIENT_ID].journeys, test.rule) if states else None)


def _unlike(expected: Led, acts: list[str], stopped: list[tuple[str, str]], entry: list[Any] | None) -> str:
    stands = NOWHERE if entry is None else f"ended: {entry[ENDED]}" if entry[ENDED] else entry[STANDS]
    if expected.acts is not None and list(expected.acts) != acts:
        why = f" ({', '.join(f'{step} {reason}' for step, reason in stopped)})" if stopped else ""
        return f"what acted: {', '.join(acts) or 'nothing'}{why}; the client stands: {stands}"
    for step, why in expected.stopped:
        if (step, why) not in stopped:
            told = [reason for name, reason in stopped if name == step]
            return f"{step} was {f'stopped: {told[0]}' if told else 'not stopped'}; the client stands: {stands}"
    if expected.stands is not None and expected.stands != stands:
        return f"the client stands: {stands}"
    if expected.ended is not None and (entry is None or entry[ENDED] != expected.ended):
        return f"the client stands: {stands}"
    return ""
