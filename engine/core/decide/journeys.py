"""Journeys: a client begins one, is led from step to step, and comes to its end.

Enters: a Plan, the client, an event or a moment. Leaves: where the client stands, changed; the rules of the steps that
act, and those that hear of a journey's beginning and end; counts.
Holds: a client stands in a wait, never between two steps. What ends a journey is asked before what leads on. The time
of a wait counts from when the client came to it, by the rules of now; an event from before that does not count. A
client stands in no step that the rules of now do not have: the journey has ended then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from engine.core.client.items import BEGAN_MS, ENDED, ENTERED_MS, JOURNEY, STANDS, as_item, with_journey
from engine.core.client.state import ClientState
from engine.core.contract.message import Because
from engine.core.decide.messages import decision_message, match_name
from engine.core.firm_time import NEVER_MS
from engine.core.language.helpers import place
from engine.core.plan.compile import Plan
from engine.core.plan.journeys import Route
from engine.core.policy import clock, holding
from engine.core.policy.gates import Hold, Moment, Send, judge
from engine.core.policy.match import Match, matched
from engine.core.policy.outcomes import record
from engine.core.rules import occasion
from engine.core.rules.occasion import BEGINS, CHANGED, COMPLETED, ITEM_STEP, Act, Branch, Ends, Split, Waits

Counts = Counter[tuple[str, ...]]


def travel(
    plan: Plan, client: ClientState, cause: Because, matches: list[Match], ordinal: int, moment: Moment, decided: Any
) -> tuple[list[Match], int]:
    """Begin the journeys that the matches are to begin, as far as the policy lets them. The other matches, and those
    that follow; and the next ordinal.
    """
    begin = [match for match in matches if match.compiled.rule.kind == BEGINS]
    found = [match for match in matches if match.compiled.rule.kind != BEGINS]
    for match in sorted(begin, key=lambda match: (-match.compiled.rule.priority, match.compiled.rule.id)):
        verdict, rule = judge(plan, client, match, moment), match.compiled.rule
        first = cause if match.held is None else holding.cause_of(match.held)
        decided.outcomes[rule.id, verdict.reason] += 1
        folded, named = record(plan, client, match, verdict), match_name(client, match, ordinal)
        if isinstance(verdict, Hold):
            holding.hold(plan, client, match, cause, verdict.until_ms, verdict.why, named)
        elif isinstance(verdict, Send):
            found += _begin(plan, client, plan.journeys[rule.id], decided.counts)
        if folded is not None:
            decided.messages.append(decision_message(client, match, named, verdict, first, folded, None))
        ordinal += 1
    return found, ordinal


def _begin(plan: Plan, client: ClientState, route: Route, counts: Counts) -> list[Match]:
    first = route.journey.steps[0][0]
    entry = [route.journey.id, client.now_ms, first, client.now_ms, ""]
    client.journeys = with_journey(client.journeys, entry)
    return _hearing(plan, client, entry) + _run(plan, client, route, entry, first, counts)


def heard(plan: Plan, client: ClientState, topic: str, event: Any, counts: Counts) -> list[Match]:
    """What an event means for the journeys that the client is in."""
    return [match for entry in client.journeys for match in _go_on(plan, client, entry, counts, topic, event)]


def take(plan: Plan, client: ClientState, counts: Counts) -> list[Match]:
    """What time means for them."""
    return [match for entry in client.journeys for match in _go_on(plan, client, entry, counts)]


def next_ms(plan: Plan, client: ClientState) -> int:
    """When time alone leads on next, or can end one."""
    due_ms = NEVER_MS
    for entry in client.journeys:
        if entry[ENDED]:
            continue
        route = plan.journeys.get(entry[JOURNEY])
        doing = route.steps.get(entry[STANDS]) if route is not None else None
        if route is None or not isinstance(doing, Waits):
            return client.now_ms
        watched_ms = route.watches[entry[STANDS]].next_ms(plan.layout, client)
        due_ms = min(due_ms, watched_ms, over(plan, client, doing, entry[ENTERED_MS])[0])
    return due_ms


def over(plan: Plan, client: ClientState, doing: Waits, entered_ms: int) -> tuple[int, str]:
    """When a wait that began then is over by time alone, and the step that follows."""
    timeout_ms = entered_ms + doing.timeout_s * 1000 if doing.timeout_s else NEVER_MS
    come_ms = NEVER_MS
    if doing.at is not None:
        after_ms = entered_ms + doing.for_s * 1000 - bool(doing.for_s)  # the very moment counts after a length of time
        come_ms = clock.next_ms(doing.at, after_ms, client.birth_date, plan.timed.business)
    elif doing.for_s:
        come_ms = entered_ms + doing.for_s * 1000
    return (come_ms, doing.next) if come_ms <= timeout_ms else (timeout_ms, doing.otherwise)


def _go_on(
    plan: Plan, client: ClientState, entry: list[Any], counts: Counts, topic: str = "", event: Any = None
) -> list[Match]:
    """From where the client stands, if anything ends the wait."""
    if entry[ENDED]:
        return []
    route = plan.journeys.get(entry[JOURNEY])
    doing = route.steps.get(entry[STANDS]) if route is not None else None
    if route is None or not isinstance(doing, Waits):
        return _end(plan, client, entry, CHANGED, counts)
    if reason := route.ended_by(client):
        return _end(plan, client, entry, reason, counts)
    tests, (due_ms, following) = route.tests.get(entry[STANDS], ()), over(plan, client, doing, entry[ENTERED_MS])
    if doing.until is not None and tests[0].holds(client):
        return _run(plan, client, route, entry, doing.next, counts)
    if due_ms <= client.now_ms:
        return _run(plan, client, route, entry, following, counts)
    waited_for = topic and doing.on == topic and event.time >= entry[ENTERED_MS]
    if waited_for and (not tests or tests[0].holds(client, event)):
        return _run(plan, client, route, entry, doing.next, counts)
    return []


def _run(plan: Plan, client: ClientState, route: Route, entry: list[Any], step: str, counts: Counts) -> list[Match]:
    """From a step to the next wait, or to the end. Each loop has a wait for an event or a time, so there is one."""
    found: list[Match] = []
    while step:
        doing, tests = route.steps[step], route.tests.get(step, ())
        if isinstance(doing, Waits):
            entry[STANDS], entry[ENTERED_MS] = step, client.now_ms
            if doing.until is None or not tests[0].holds(client):
                return found
            step = doing.next
        elif isinstance(doing, Act):
            found += _acting(plan, client, route, entry, step)
            step = doing.next
        elif isinstance(doing, Branch):
            ways = zip(doing.ways, tests, strict=True)
            step = next((to for (_, to), test in ways if test.holds(client)), doing.otherwise)
        elif isinstance(doing, Split):
            step = drawn(doing, client.client_id, plan.rule_set.draws)
        else:
            assert isinstance(doing, Ends)
            return found + _end(plan, client, entry, doing.reason, counts)
    return found + _end(plan, client, entry, COMPLETED, counts)


def drawn(split: Split, client_id: str, draws: Mapping[str, float]) -> str:
    """The way of a client; `draws` are what lots give in tests."""
    given = draws.get(split.lot)
    share = place(split.lot, client_id) if given is None else given / 100
    share *= sum(weight for _, weight in split.ways)
    for step, weight in split.ways:
        share -= weight
        if share < 0:
            return step
    return split.ways[-1][0]


def _acting(plan: Plan, client: ClientState, route: Route, entry: list[Any], step: str) -> list[Match]:
    """The step's rule, if its condition holds."""
    about = as_item(entry, client.now_ms, step)
    matches = matched(plan, client, occasion.JOURNEY, about)
    return [match for match in matches if match.compiled.index == route.acts[step]]


def _end(plan: Plan, client: ClientState, entry: list[Any], reason: str, counts: Counts) -> list[Match]:
    entry[ENTERED_MS], entry[ENDED] = client.now_ms, reason
    counts["journeys", entry[JOURNEY], reason] += 1
    return _hearing(plan, client, entry)


def _hearing(plan: Plan, client: ClientState, entry: list[Any]) -> list[Match]:
    """The rules on items that hear of it; no journey begins by one, there would be no end to it."""
    if not plan.timed.hearing:
        return []
    matches = matched(plan, client, ITEM_STEP, as_item(entry, client.now_ms, entry[STANDS]))
    return [match for match in matches if match.compiled.rule.kind != BEGINS]


def in_order(journeys: list[list[Any]]) -> list[list[Any]]:
    """Those that go on first, each in the order in which they began."""
    return sorted(journeys, key=lambda entry: (bool(entry[ENDED]), entry[BEGAN_MS], entry[JOURNEY]))
