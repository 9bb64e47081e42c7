"""Rates: so many actions a minute or hour over all clients; what comes faster waits for its turn, and is not dropped.

Enters: an action that nothing else stops. Leaves: the same, or a Hold until its turn.
Holds: each partition has an equal share of a rate, and spaces its actions evenly. When a rate has room again is part of
the partition's position, so that a worker that takes over goes on with it, and the ledger's replay agrees.
"""

from __future__ import annotations

from typing import Final

from engine.core.client.state import ClientState
from engine.core.contract.outbound import Outcome
from engine.core.pace import Pace
from engine.core.policy import holding
from engine.core.policy.gates import Hold, Send, Suppress
from engine.core.policy.match import Match

RATE: Final = "rate"  # why an action is held


def in_turn(pace: Pace, client: ClientState, match: Match, sent: Send, decided_ms: int) -> Send | Hold | Suppress:
    """The action, or when its turn comes. A turn is kept for what is held, which need not wait again."""
    held, rule = match.held, match.compiled.rule
    rates = [rate for rate in match.compiled.rates if rate.of.meets(rule.contact(sent.channel))]
    if not rates or (held is not None and held[holding.WHY] == RATE):
        return sent
    now_ms = decided_ms or client.now_ms
    turn_ms = max(now_ms, *(pace.free_ms.get(rate.name, 0) for rate in rates))
    expires_ms = held[holding.EXPIRES_MS] if held is not None else client.now_ms + rule.expires_s * 1000
    if turn_ms > now_ms and (turn_ms >= expires_ms or holding.is_full(client)):
        return Suppress(sent.channel, Outcome.RATE, turn_ms, (("rate", rates[0].name),))
    for rate in rates:
        pace.free_ms[rate.name] = turn_ms + -(-rate.per_ms * pace.partitions // rate.at_most)
    if turn_ms <= now_ms:
        return sent
    return Hold(sent.channel, turn_ms, RATE, (("rate", rates[0].name),))
