"""Which channel a client is reached on: the order by what the client answers to, channels that rest, and what is said
again on another channel.

Enters: a Plan, the client, channels, a receipt, an action that was sent. Leaves: channels; the client's failures and
waiting actions, changed.
Holds: failures are kept only of channels that policy.yaml lets rest. What is said again is what was sent, decided anew.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

from engine.core.client.state import ClientState
from engine.core.contract.message import Because
from engine.core.plan.compile import Plan
from engine.core.policy import holding
from engine.core.policy.holding import MATCH, PAUSE_MS, RELEASE_MS, THEN, WHY
from engine.core.policy.match import FOLLOWS, Match

FAILED: Final = ("failed", "bounced")
REACHED: Final = ("delivered", "opened", "clicked")


def to_try(plan: Plan, client: ClientState, match: Match, channels: tuple[str, ...]) -> tuple[str, ...]:
    """Of the rule's channels, in the order in which they are tried; others for what is said again."""
    if match.held is not None and match.follows:
        return holding.left(match.compiled.rule, match.held)
    return by_answers(plan, client, channels) if match.compiled.contact_class.by_answers else channels


def by_answers(plan: Plan, client: ClientState, channels: tuple[str, ...]) -> tuple[str, ...]:
    """Those that the client answers to go first; of equal ones the order stays."""
    if plan.answers is None or len(channels) < 2:
        return channels
    names = (channel for channel, _ in plan.rule_set.policy.answers)
    values = dict(zip(names, plan.answers(client, None, None), strict=True))
    return tuple(sorted(channels, key=lambda channel: -(values.get(channel) or 0)))


# -- channels that rest ------------------------------------------------------------------------------------------------


def resting(plan: Plan, client: ClientState, channels: tuple[str, ...]) -> tuple[str, ...]:
    """Those that rest now."""
    return tuple(channel for channel in channels if rests_until_ms(plan, client, channel) is not None)


def rests_until_ms(plan: Plan, client: ClientState, channel: str) -> int | None:
    """When it may be used again, if it rests."""
    failed, rest = client.failures.get(channel, []), plan.rests.get(channel)
    if rest is None or len(failed) < rest.failures:
        return None
    until_ms = failed[-1] + rest.for_s * 1000
    return until_ms if client.now_ms < until_ms else None


def note_receipt(plan: Plan, client: ClientState, receipt: Any) -> None:
    """Count failures in a row, by their own times; what reaches the client ends the row."""
    channel, rest = receipt.channel, plan.rests.get(receipt.channel)
    before = client.failures.get(channel, [])
    if rest is not None and receipt.status in FAILED:
        client.failures = {**client.failures, channel: sorted([*before, receipt.time])[-rest.failures :]}
    elif before and receipt.status in REACHED:
        left = [at_ms for at_ms in before if at_ms > receipt.time]
        others = {name: times for name, times in client.failures.items() if name != channel}
        client.failures = {**others, channel: left} if left else others


def corrected(plan: Plan, client: ClientState, kind: str, receipt: Any, instead: Any) -> None:
    """A receipt that counted was none, or another. A row that it ended does not come back."""
    if kind != "receipts":
        return
    failed = client.failures.get(receipt.channel, [])
    if receipt.status in FAILED and receipt.time in failed:
        left = list(failed)
        left.remove(receipt.time)
        others = {name: times for name, times in client.failures.items() if name != receipt.channel}
        client.failures = {**others, receipt.channel: left} if left else others
    if instead is not None:
        note_receipt(plan, client, instead)


# -- said again --------------------------------------------------------------------------------------------------------


def follow(plan: Plan, client: ClientState, match: Match, cause: Because, channel: str, action_id: str) -> bool:
    """It was sent, and its rule says what then. False where a client has no room for it."""
    rule, held = match.compiled.rule, match.held
    assert rule.then is not None
    used = [*(held[FOLLOWS][1] if held is not None and match.follows else ()), channel]
    if set(rule.then.channels) <= set(used):
        return True
    if holding.is_full(client):
        return False
    expires_ms, wait_s = holding.expires_ms(client, match), rule.then.wait_s
    release_ms = expires_ms if wait_s is None else min(client.now_ms + wait_s * 1000, expires_ms)
    holding.hold(plan, client, match, cause, release_ms, THEN, b"")
    # what was sent had its verdict: this is another match
    client.waiting[-1][MATCH] = blake2b(f"follows\0{action_id}".encode(), digest_size=16).digest()
    client.waiting[-1][PAUSE_MS:] = [0, [action_id, used]]
    return True


def heard(client: ClientState, action_id: str, status: str) -> list[list[Any]]:
    """What became of an action: it failed, so it is said again at once; or the client has seen it. Then what was held
    is returned: it ends.
    """
    found = next((held for held in client.waiting if len(held) > FOLLOWS and held[FOLLOWS][0] == action_id), None)
    if found is None or status == "delivered":
        return []
    if status not in FAILED:
        client.waiting = [held for held in client.waiting if held is not found]
        return [found] if found[WHY] != THEN else []
    if found[WHY] == THEN:
        found[RELEASE_MS] = min(found[RELEASE_MS], client.now_ms)
    return []
