"""What would reach a client if nothing but time happened: by the engine's own path, with the contact policy applied.

Enters: a plan, a client's state, until when. Leaves: a Preview; lines of text, or plain values; where the client stands
in a journey.
Holds: no event comes. Rates and the breaker, which all clients share, are not asked; budgets are where it is known what
is left of them, as if nobody else spent any.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from engine.core.client.items import BEGAN_MS, ENDED, ENTERED_MS, JOURNEY, STANDS, journey
from engine.core.client.state import ClientState
from engine.core.contract.events import parse_time_ms
from engine.core.contract.message import cny, rfc3339
from engine.core.contract.outbound import DECISIONS, TIER_CHANGES, Outcome
from engine.core.contract.topics import OWN
from engine.core.decide.journeys import over
from engine.core.decide.path import Decided
from engine.core.decide.timeline import Timeline
from engine.core.firm_time import NEVER_MS
from engine.core.plan.compile import Plan
from engine.core.policy.rates import Funds
from engine.core.rules.occasion import BEGINS, JourneyStep, Waits
from engine.core.rules.policy import Budget, Fen
from engine.core.rules.ruleset import Rule
from engine.insight.decisions import why
from engine.insight.values import ZONE, firm_time

MAX_TIMERS: Final = 2_000  # of one client, evaluated for a preview


@dataclass(slots=True)
class Preview:
    """`steps` are records as they would be published, in their order: actions, tier changes, and of decisions those
    that send nothing.
    """

    client_id: str
    from_ms: int
    until_ms: int  # earlier than asked for where the client has more than MAX_TIMERS timers up to then
    titles: dict[str, str]  # of the rules, by id
    is_whole: bool = True
    steps: list[tuple[str, dict[str, Any]]] = field(default_factory=list)  # topic, record
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)  # (rule, outcome), unpublished ones too
    budgets: Mapping[str, Budget] | None = None  # by name, where they are asked
    spent: Counter[str] = field(default_factory=Counter)  # of each budget: fen, or a number of actions


def preview(plan: Plan, client: ClientState, from_ms: int, until_ms: int, funds: Funds | None = None) -> Preview:
    """The client is changed. At `from_ms` it is evaluated as after a publication, so that rules which are not active
    yet show what they would do at once.
    """
    titles = {rule.id: rule.title for rule in plan.rule_set.rules}
    found = Preview(
        client.client_id, max(from_ms, client.now_ms), until_ms, titles, budgets=plan.budgets if funds else None
    )
    states = {client.client_id: client}
    timeline = Timeline(plan, states, funds=funds)
    for decided in timeline.sweep(client.client_id, found.from_ms):
        _note(found, decided)
    for number, decided in enumerate(timeline.reach(until_ms), 1):
        _note(found, decided)
        if number == MAX_TIMERS and states[client.client_id].due_ms <= until_ms:
            found.until_ms, found.is_whole = states[client.client_id].now_ms, False
            break
    return found


def _note(found: Preview, decided: Decided) -> None:
    for (what, *names), amount in decided.counts.items():
        if what == "budget_spent":
            found.spent[names[0]] += amount
    found.outcomes.update((rule_id, str(outcome)) for rule_id, outcome in decided.outcomes.elements())
    for message in decided.messages:
        if message.topic in OWN:
            continue  # who would be found depends on other clients
        record = json.loads(message.value or b"{}")
        if message.topic != DECISIONS or record["outcome"] != Outcome.SENT:
            found.steps.append((message.topic, record))


def lines(found: Preview) -> Iterator[str]:
    """Times are the firm's."""
    period = f"from {firm_time(found.from_ms)} to {firm_time(found.until_ms)} ({ZONE})"
    yield f"client {found.client_id} {period}, if nothing but time happens"
    yield ""
    for topic, record in found.steps:
        yield f"  {firm_time(parse_time_ms(record['time']))}  {_said(found, topic, record)}"
        if topic == DECISIONS and (because := why(record)):
            yield f"      {because}"
    if not found.steps:
        yield "  nothing"
    if not found.is_whole:
        yield f"  there is more: this is as far as {MAX_TIMERS:,} timers reach"
    yield ""
    in_all = Counter[str]()
    for (_, outcome), times in found.outcomes.items():
        in_all[outcome] += times
    told = ", ".join(f"{times} {outcome}" for outcome, times in sorted(in_all.items()))
    yield f"in all: {told or 'no rule matches'}"
    if found.budgets is None:
        yield "not asked: rates, budgets and the breaker, which depend on other clients"
        return
    for name, amount in _spent(found, found.budgets):
        budget, period = found.budgets[name], f"a {found.budgets[name].per}" if found.budgets[name].per else "in all"
        limit = f"{cny(budget.limit)} CNY" if isinstance(budget.limit, Fen) else f"{budget.limit:,}"
        yield f"of budget {name} ({limit} {period}) it spends {amount}{' CNY' if isinstance(amount, str) else ''}"
    asked = "; budgets are, as if nobody else spent any" if found.budgets else ""
    yield f"not asked: rates and the breaker, which depend on other clients{asked}"


def _spent(found: Preview, budgets: Mapping[str, Budget]) -> Iterator[tuple[str, str | int]]:
    """Of each budget: CNY as a decimal text, or a number of actions."""
    for name, budget in budgets.items():
        yield name, cny(found.spent[name]) if isinstance(budget.limit, Fen) else found.spent[name]


def _said(found: Preview, topic: str, record: dict[str, Any]) -> str:
    if topic == TIER_CHANGES:
        return f"{'tier':<14} {record['from_tier'] or '-'} -> {record['to_tier']} ({record['reason']})"
    title = found.titles.get(record["rule_id"], "not active")
    if "step" in record:  # of what was sent before
        return f"{record['step']:<14} {record['rule_id']} ({title})  {record['kind']} {_acts(record)}"
    outcome, sent = record.get("outcome", Outcome.SENT), ""
    if topic != DECISIONS:
        sent = f"  {record['kind']} {_to(record)}"
    return f"{outcome:<14} {record['rule_id']} ({title}){sent}"


def _acts(step: dict[str, Any]) -> str:
    if step["to"] == "head":
        return f"for {step['head'] or 'the head of ' + step['owner']}"
    return f"for advisor {step['advisor_id']}" if step["to"] == "advisor" else f"for team {step['owner']}"


def _to(action: dict[str, Any]) -> str:
    if action["audience"] == "client":
        return f"by {action['channel']}"
    return f"for advisor {action['advisor_id']}" if action["audience"] == "advisor" else f"for team {action['owner']}"


def as_json(found: Preview) -> dict[str, Any]:
    return {
        "client_id": found.client_id,
        "from": rfc3339(found.from_ms),
        "until": rfc3339(found.until_ms),
        "is_whole": found.is_whole,
        "spent": None if found.budgets is None else dict(_spent(found, found.budgets)),
        "steps": [
            {"topic": topic, "record": record, "why": (why(record) or None) if topic == DECISIONS else None}
            for topic, record in found.steps
        ],
        "outcomes": [
            {"rule_id": rule_id, "outcome": outcome, "times": times}
            for (rule_id, outcome), times in sorted(found.outcomes.items())
        ],
    }


def led(plan: Plan, rule: Rule, client: ClientState) -> str:
    """Where the client stands in the rule's journey; empty for a rule of none."""
    of = rule.occasion.journey if isinstance(rule.occasion, JourneyStep) else rule.id if rule.kind == BEGINS else ""
    if not of:
        return ""
    if (entry := journey(client.journeys, of)) is None:
        return "the client was never in the journey"
    began = f"the journey began at {firm_time(entry[BEGAN_MS])}"
    if entry[ENDED]:
        return f"{began} and ended at {firm_time(entry[ENTERED_MS])}: {entry[ENDED]}"
    said = f"{began}; the client stands at {entry[STANDS]} since {firm_time(entry[ENTERED_MS])}"
    waits_for, due_ms = awaited(plan, client, entry)
    until = f"until {firm_time(due_ms)}" if due_ms < NEVER_MS else ""
    if not waits_for:
        return f"{said}, {until}" if until else said
    return f"{said}, and waits for {waits_for}{f', {until} at the latest' if until else ''}"


def awaited(plan: Plan, client: ClientState, entry: list[Any]) -> tuple[str, int]:
    """What a journey waits for where the client stands, empty if for time alone; and when time leads on, NEVER_MS if it
    does not.
    """
    route = plan.journeys.get(entry[JOURNEY])
    doing = route.steps.get(entry[STANDS]) if route is not None else None
    if entry[ENDED] or not isinstance(doing, Waits):
        return "", NEVER_MS
    waits_for = doing.until.text if doing.until is not None else doing.on
    if doing.on and doing.when is not None:
        waits_for += f" where {doing.when.text}"
    return waits_for, over(plan, client, doing, entry[ENTERED_MS])[0]
