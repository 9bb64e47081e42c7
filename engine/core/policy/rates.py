"""Rates and budgets: what all clients share. So many actions a minute or hour, and what they may cost in all.

Enters: an action that nothing else stops; the answer of a budget. Leaves: the action, or why it waits or is not sent;
requests to budgets.
Holds: each partition has an equal share of a rate, and spaces its actions evenly. It has a part of each budget, spends
no more than that, and gives back what is left when the period ends, or the rules have another limit. Both are part of
the partition's position, so that a worker that takes over goes on with them, and the ledger's replay agrees.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from engine.core.client.state import ClientState
from engine.core.contract.granting import BUDGET, BudgetAnswer
from engine.core.contract.message import Message, cny, rfc3339
from engine.core.contract.outbound import Outcome
from engine.core.contract.topics import BUDGET_REQUESTS
from engine.core.firm_time import NEVER_MS, date_of_day, day_of
from engine.core.pace import Block, Pace
from engine.core.policy import holding
from engine.core.policy.clock import FIRM, period_ms
from engine.core.policy.gates import Hold, Send, Suppress, Told
from engine.core.policy.match import Match
from engine.core.rules.policy import Budget, Fen

RATE: Final = "rate"  # why an action is held
WAITS: Final = "budget"  # and this until a budget has answered
FIRST_MS: Final = 2_000  # so long at first; then about as long as the budget has been silent,
LONGEST_MS: Final = 300_000  # but no longer than this,
AGAIN_MS: Final = 600_000  # then an unanswered request is sent again: with the same id, so it is granted once,
PATIENCE: Final = 8  # and what waits, waits at least such a part of the time that this took
MOST_LATE: Final = 64  # requests whose answers are still to be given back
ACTIONS: Final = 16  # a first part is for so many; then it grows with what was spent
_json: Final = msgspec.json.Encoder().encode


class Deciding(Protocol):
    """What a decision adds to."""

    messages: list[Message]
    counts: Counter[tuple[str, ...]]
    decided_ms: int


def in_turn(pace: Pace, client: ClientState, match: Match, sent: Send, decided: Deciding) -> Send | Hold | Suppress:
    """The action, or when its turn comes, or why it is not sent. A turn is kept for what is held, which need not wait
    for it again.
    """
    now_ms = max(decided.decided_ms, client.now_ms)  # what is held must not be due at once: a clock can be behind
    costs = [
        (budget, int(budget.cost_of(match.compiled.rule.cost, sent.channel) or 0))
        for budget in match.compiled.budgets
        if budget.of.meets(match.compiled.rule.contact(sent.channel))
    ]
    stops = [_ask(pace, client, budget, cost, now_ms, decided.messages) for budget, cost in costs]
    for (budget, _), found in zip(costs, stops, strict=True):
        if found is not None:
            return _stopped(client, match, sent, budget, found, now_ms)
    at_ms = decided.decided_ms or client.now_ms
    verdict = _at_rate(pace, client, match, sent, at_ms) if pace.asks_rates else sent
    if isinstance(verdict, Send):
        for budget, cost in costs:
            block = pace.block(budget.name)
            assert block is not None
            pace.keep(budget.name, block._replace(left=block.left - cost, spent=block.spent + cost))
            decided.counts["budget_spent", budget.name] += cost
    return verdict


def _at_rate(pace: Pace, client: ClientState, match: Match, sent: Send, now_ms: int) -> Send | Hold | Suppress:
    held, rule = match.held, match.compiled.rule
    rates = [rate for rate in match.compiled.rates if rate.of.meets(rule.contact(sent.channel))]
    if not rates or (held is not None and held[holding.WHY] == RATE):
        return sent
    turn_ms = max(now_ms, *(pace.kept.get(rate.name, 0) for rate in rates))
    if turn_ms > now_ms and (turn_ms >= holding.expires_ms(client, match) or holding.is_full(client)):
        return Suppress(sent.channel, Outcome.RATE, turn_ms, (("rate", rates[0].name),))
    for rate in rates:
        pace.kept[rate.name] = turn_ms + -(-rate.per_ms * pace.partitions // rate.at_most)
    if turn_ms <= now_ms:
        return sent
    return Hold(sent.channel, turn_ms, RATE, (("rate", rates[0].name),))


# -- budgets -----------------------------------------------------------------------------------------------------------


def period_of(budget: Budget, now_ms: int) -> tuple[str, int]:
    """Its name, and when it ends, by the firm's clock."""
    if budget.per is None:
        return "once:", NEVER_MS
    begin_ms, until_ms = period_ms(budget.per, now_ms, FIRM)
    return f"{budget.per}:{date_of_day(day_of(begin_ms)).isoformat()}", until_ms


class Funds(NamedTuple):
    """What is known of budgets outside of a decision: what the client's partition has of each, and what was granted."""

    pace: Pace
    granted: Mapping[str, Mapping[str, int]]  # to all partitions and not given back: budget -> period -> how much


class Payment(NamedTuple):
    """What an action costs a budget, and what is left of that. Amounts are fen, or a number of actions."""

    budget: Budget
    cost: int
    period: str
    until_ms: int  # when the period ends
    granted: int  # to all partitions in the period, and not given back
    spent: int  # of that by the client's partition
    left: int  # and what it still has

    @property
    def is_covered(self) -> bool:
        """Whether it is paid for as soon as the budget has answered, if nobody else asks meanwhile."""
        return self.cost <= self.left + max(int(self.budget.limit) - self.granted, 0)


def payments(match: Match, channel: str, funds: Funds, now_ms: int) -> tuple[Payment, ...]:
    """From each budget that pays for the action there. Changes nothing."""
    rule, found = match.compiled.rule, []
    for budget in match.compiled.budgets:
        if not budget.of.meets(rule.contact(channel)):
            continue
        period, until_ms = period_of(budget, now_ms)
        block = funds.pace.block(budget.name)
        spent, left = (block.spent, block.left) if block is not None and block.period == period else (0, 0)
        granted = funds.granted.get(budget.name, {}).get(period, 0)
        cost = int(budget.cost_of(rule.cost, channel) or 0)
        found.append(Payment(budget, cost, period, until_ms, granted, spent, left))
    return tuple(found)


def told_of(budget: Budget, period: str) -> Told:
    """The numbers of what it stops, or holds."""
    limit = cny(budget.limit) if isinstance(budget.limit, Fen) else str(budget.limit)
    return ("budget", budget.name), ("limit", limit), ("period", period)


def _ask(
    pace: Pace, client: ClientState, budget: Budget, cost: int, now_ms: int, messages: list[Message]
) -> Block | None:
    """The block, if what is left of it does not pay for the action. More is asked for before it is used up."""
    block = _current(pace, budget, now_ms, messages)
    lacks = max(cost - block.left, 0)
    least = lacks or cost
    if cost and (lacks or block.left * 4 < block.size) and not block.request and not 0 < block.refused <= least:
        wanted = max(least, min(max(ACTIONS * cost, block.spent, block.missed), block.limit))
        request = _named("budget", budget.name, client.client_id, str(client.sequence))
        block = block._replace(request=request, asked=(client.client_id, wanted, least), asked_ms=0, missed=0, asks=0)
    elif lacks:
        block = block._replace(missed=block.missed + cost)
    if block.request and (not block.asked_ms or (lacks and now_ms - block.asked_ms >= AGAIN_MS)):
        block = block._replace(asked_ms=now_ms, asks=block.asks + (block.asked_ms > 0))
        asked_by, wanted, least = block.asked
        more = {"kind": "grant", "amount": wanted, "least": least, "limit": block.limit}
        messages.append(_request(budget.name, block.period, block.request, asked_by, client.now_ms, more))
    pace.keep(budget.name, block)
    return block if lacks else None


def _stopped(
    client: ClientState, match: Match, sent: Send, budget: Budget, block: Block, now_ms: int
) -> Hold | Suppress:
    """It waits for an answer, at most until it expires; where nothing is left it is not sent."""
    told = told_of(budget, block.period)
    if not block.request:
        return Suppress(sent.channel, Outcome.NO_BUDGET, block.until_ms if block.until_ms < NEVER_MS else None, told)
    wait_ms = max(min(max(now_ms - block.asked_ms, FIRST_MS), LONGEST_MS), block.asks * AGAIN_MS // PATIENCE)
    until_ms = min(now_ms + wait_ms, holding.expires_ms(client, match) - 1)
    if until_ms <= now_ms or holding.is_full(client):
        return Suppress(sent.channel, Outcome.NO_BUDGET, None, told)
    return Hold(sent.channel, until_ms, WAITS, told)


def _current(pace: Pace, budget: Budget, now_ms: int, messages: list[Message]) -> Block:
    """The block of the period; one of a period before, or by another limit, is given back."""
    before = pace.block(budget.name)
    if before is not None and now_ms < before.until_ms and before.limit == budget.limit:
        return before
    period, until_ms = period_of(budget, now_ms)
    if before is None:
        return Block(period, until_ms, int(budget.limit))
    closed = _closed(budget.name, before, now_ms, messages)
    spent = closed.spent if closed.period == period else 0
    return Block(period, until_ms, int(budget.limit), spent=spent, last=closed.last, late=closed.late)


def _closed(name: str, block: Block, now_ms: int, messages: list[Message]) -> Block:
    """Nothing of it is left: what was not spent is given back, and what is still to come will be."""
    if block.left:
        messages.append(_return(name, block, block.last, block.asked[0], block.left, now_ms or block.asked_ms))
    late = (*block.late, block.request)[-MOST_LATE:] if block.request else block.late
    return block._replace(left=0, request="", late=late)


def settle(budgets: Mapping[str, Budget], pace: Pace, now_ms: int) -> list[Message]:
    """Gives back blocks whose period has ended, or whose budget the rules do not have any more, or not so. `now_ms`: 0
    where there is no clock; then a period ends with the first action of the next.
    """
    messages: list[Message] = []
    for name in pace.budgets():
        block, budget = pace.block(name), budgets.get(name)
        assert block is not None
        if budget is not None and now_ms < block.until_ms and block.limit == budget.limit:
            continue
        if not block.is_idle:
            pace.keep(name, block := _closed(name, block, now_ms, messages))
        if budget is None and not block.late:
            pace.keep(name, None)
    return messages


def answered(budgets: Mapping[str, Budget], pace: Pace, answer: BudgetAnswer) -> tuple[list[Message], bool]:
    """What is granted is spent from now on; what comes too late is given back. One answer counts once. And whether what
    waits for it can be decided.
    """
    block = pace.block(answer.budget)
    if block is None:
        return [], False
    if answer.request_id in block.late:
        late = tuple(one for one in block.late if one != answer.request_id)
        over = answer.budget not in budgets and not late and block.is_idle
        pace.keep(answer.budget, None if over else block._replace(late=late))
        if not answer.amount:
            return [], True
        given = block._replace(period=answer.period)
        return [_return(answer.budget, given, answer.request_id, answer.client_id, answer.amount, answer.time)], True
    if answer.request_id != block.request:
        return [], False
    block, known = block._replace(request=""), answer.outcome == "granted" or answer.limit == block.limit
    if answer.outcome == "granted":
        left = block.left + answer.amount
        block = block._replace(left=left, size=answer.amount, last=answer.request_id, refused=0)
    elif known:  # else one of both has yet to come to the other's rules: it is asked again, but not at once
        block = block._replace(refused=answer.least)
    pace.keep(answer.budget, block)
    return [], known


def _return(name: str, block: Block, request: str, client: str, amount: int, now_ms: int) -> Message:
    """`request`: to which it was granted; nothing else is given back by its name."""
    return _request(name, block.period, _named("return", request), client, now_ms, {"kind": "return", "amount": amount})


def _named(*parts: str) -> str:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


def _request(name: str, period: str, request: str, client: str, now_ms: int, more: dict[str, Any]) -> Message:
    record = {
        "event_id": request,
        "client_id": BUDGET + name,
        "time": rfc3339(now_ms),
        "request_id": request,
        "client": client,
        "period": period,
        **more,
    }
    headers = (("content-type", b"application/json"),)
    return Message(BUDGET_REQUESTS.name, (BUDGET + name).encode(), _json(record), headers)
