"""Actions that wait: for the end of quiet hours, for what competes with them, for what the log still holds, for the end
of a pause.

Enters: a match that is held, a client whose time has come. Leaves: the client's waiting actions, changed; the matches
again, to be judged anew.
Holds: what waits is decided again by what is known then. It waits while its rule is not in the active set, until it
expires; while its rule is paused, too. There are at most MAX_WAITING of a client, MAX_PAUSED of them by pauses. Each
ends once: judged, corrected or expired.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from zlib import crc32

from engine.core.client.items import BEGAN_MS, ENDED, journey
from engine.core.client.items import find as find_item
from engine.core.client.state import ClientState
from engine.core.contract.events import parse_time_ms
from engine.core.contract.message import Because, rfc3339
from engine.core.firm_time import DAY_MS, MINUTE_MS, NEVER_MS
from engine.core.learn.items import is_unanswered
from engine.core.plan.compile import CompiledRule, Plan
from engine.core.policy.match import FOLLOWS, AtRisk, Match, about, stored
from engine.core.rules.occasion import COMPLETED, JourneyStep, Silence, Unanswered
from engine.core.rules.ruleset import Rule

MAX_WAITING: Final = 16
MAX_PAUSED: Final = 8  # a rule that ran away must not take the room of the others
PAUSED: Final = "paused"
THEN: Final = "then"  # why an action waits that was sent: to be said again on another channel
# places in what waits; the last is there of what a pause holds, and is when that began; see FOLLOWS, too
RULE, TRIGGER, SINCE_MS, RELEASE_MS, EXPIRES_MS, WHY, ABOUT, CAUSE, MATCH, VERSION, PAUSE_MS = range(11)


def is_full(client: ClientState) -> bool:
    return len(client.waiting) >= MAX_WAITING


def expires_ms(client: ClientState, match: Match) -> int:
    """When the action is not to be delivered any more; of one that waits, as it was first decided."""
    return match.held[EXPIRES_MS] if match.held else client.now_ms + match.compiled.rule.expires_s * 1000


def is_full_of_paused(client: ClientState) -> bool:
    return len([held for held in client.waiting if held[WHY] == PAUSED]) >= MAX_PAUSED


def is_dropped(plan: Plan, held: list[Any]) -> bool:
    """Whether a pause held it, and somebody said that nothing of what that held is to be sent."""
    resumed = plan.resumed.get(held[RULE])
    return resumed is not None and held[WHY] == PAUSED and bool(held[PAUSE_MS] < resumed.dropped_ms)


def is_freed(held: list[Any]) -> bool:
    """Whether it comes from a pause that a person has ended."""
    return bool(held[WHY] == PAUSED)


def hold(
    plan: Plan, client: ClientState, match: Match, cause: Because, release_ms: int, why: str, named: bytes
) -> None:
    """Note that it waits, under this name of the match; again, for longer, if it did."""
    compiled, kept = match.compiled, match.held
    pause = [plan.paused[compiled.rule.id].since_ms] if why == PAUSED else []
    if kept is not None:
        more = [*(pause or [0]), *kept[FOLLOWS:]] if match.follows else pause
        waits = [*kept[:RELEASE_MS], release_ms, kept[EXPIRES_MS], why, *kept[ABOUT:PAUSE_MS], *more]
        client.waiting = [*client.waiting, waits]
        return
    entry = [compiled.rule.id, str(compiled.trigger), client.now_ms, release_ms, expires_ms(client, match), why]
    about_it = [stored(match), [cause.type, cause.event_id, cause.time], named, compiled.rule.version]
    client.waiting = [*client.waiting, [*entry, *about_it, *pause]]


def spread_ms(plan: Plan, client: ClientState) -> int:
    """A client's share of the time over which all goes out that was held; the same for all of a client's, so that the
    highest priority goes first.
    """
    over = plan.rule_set.policy.release_over_s * 1000 // MINUTE_MS
    return crc32(client.client_id.encode()) % over * MINUTE_MS if over else 0


def cause_of(held: list[Any]) -> Because:
    type_, event_id, time = held[CAUSE]
    return Because(type_, event_id, parse_time_ms(time))


def next_release_ms(plan: Plan, client: ClientState) -> int:
    """When the next is judged, or expires since nobody would send it."""
    moments = (
        release_ms(plan, client, held) if compiled_of(plan, held) else held[EXPIRES_MS] for held in client.waiting
    )
    return min(moments, default=NEVER_MS)


def compiled_of(plan: Plan, held: list[Any]) -> CompiledRule | None:
    """Its rule; None while it is not in the active set."""
    return plan.holdable.get(held[RULE], {}).get(held[TRIGGER])


def release_ms(plan: Plan, client: ClientState, held: list[Any]) -> int:
    """When it is decided again. What a pause holds waits until it expires, unless the pause ends before: then as all
    that is released, spread over a time; at once if it is not to be sent.
    """
    until_ms: int = held[RELEASE_MS]
    if held[WHY] != PAUSED:
        return until_ms
    if is_dropped(plan, held):
        return 0
    if held[RULE] in plan.paused:
        return until_ms
    resumed = plan.resumed.get(held[RULE])
    return min(until_ms, resumed.at_ms + spread_ms(plan, client)) if resumed is not None else 0


def bring_forward(client: ClientState, why: str, match: bytes = b"") -> None:
    """What it waited for is there; for one match, or for all of that kind."""
    for held in client.waiting:
        if held[WHY] == why and match in (b"", held[MATCH]):
            held[RELEASE_MS] = min(held[RELEASE_MS], client.now_ms)


def take_released(plan: Plan, client: ClientState) -> list[Match]:
    """What has waited long enough."""
    if not client.waiting:
        return []
    matches, waiting = [], []
    for held in client.waiting:
        compiled = compiled_of(plan, held)
        if compiled is None or release_ms(plan, client, held) > client.now_ms:
            waiting.append(held)
        else:
            matches.append(Match(compiled, *about(compiled, held[ABOUT], plan.rule_set.kinds), held))
    client.waiting = waiting
    return matches


def take_expired(plan: Plan, client: ClientState) -> list[list[Any]]:
    """What nobody would send any more, at its time: its rule is gone, or has no other channel to say it on."""
    gone = [held for held in client.waiting if _is_over(plan, client, held)]
    if gone:
        client.waiting = [held for held in client.waiting if held not in gone]
    return [held for held in gone if held[WHY] != THEN]


def _is_over(plan: Plan, client: ClientState, held: list[Any]) -> bool:
    if (compiled := compiled_of(plan, held)) is None:
        return bool(held[EXPIRES_MS] <= client.now_ms)
    last = len(held) > FOLLOWS and not left(compiled.rule, held)
    return last and release_ms(plan, client, held) <= client.now_ms


def left(rule: Rule, held: list[Any]) -> tuple[str, ...]:
    """The channels on which it can still be said again; none once it would be too late, since nothing has failed."""
    if rule.then is None or (held[WHY] == THEN and held[RELEASE_MS] >= held[EXPIRES_MS]):
        return ()
    return tuple(channel for channel in rule.then.channels if channel not in held[FOLLOWS][1])


def is_still_true(plan: Plan, client: ClientState, match: Match) -> bool:
    """Whether what it waits to say is so, by what is known now."""
    compiled, held = match.compiled, match.held
    assert held is not None
    if compiled.index not in plan.match[compiled.trigger](client, match.event, match.move):
        return False
    if isinstance(match.event, AtRisk):
        return client.tier_risk is not None
    occasion = compiled.rule.occasion
    if isinstance(occasion, Silence):
        last_ms = client.activities[occasion.source].last_ms
        return last_ms is not None and last_ms <= held[SINCE_MS] - occasion.days * DAY_MS
    if isinstance(occasion, Unanswered):
        item = find_item(client.items, match.event.kind, match.event.id)
        return item is not None and is_unanswered(occasion, item)
    if isinstance(occasion, JourneyStep):
        entry = journey(client.journeys, occasion.journey)
        return entry is not None and entry[BEGAN_MS] == match.event.since_ms and entry[ENDED] in ("", COMPLETED)
    return True


def correct(
    plan: Plan, client: ClientState, kind: str, original: Any, new: Any, stands: Callable[[str], bool]
) -> list[list[Any]]:
    """The event that led to what waits was corrected: it is sent as what replaces the event says, or not at all. The
    latter are returned.
    """
    cause, waiting, gone = [kind, original.event_id, rfc3339(original.time)], [], []
    for held in client.waiting:
        compiled = compiled_of(plan, held)
        if held[CAUSE] != cause:
            waiting.append(held)
        elif new is not None and stands(held[RULE]):
            kept = held[ABOUT]
            if compiled is not None and kept and kept[0] == "event":
                kept = stored(Match(compiled, new))
            waiting.append([*held[:ABOUT], kept, [kind, new.event_id, rfc3339(new.time)], *held[MATCH:]])
        elif held[WHY] != THEN:  # else it was sent, and the action is retracted
            gone.append(held)
    client.waiting = waiting
    return gone
