"""A rule that matched, and what it is about.

Enters: a compiled rule, with the event, item, holding or tier change at hand. Leaves: Match; and what it is about as a
state keeps it while the action waits, and again; values as they are published.
Holds: what is only passed on, such as a comment, is in no state: it is missing from what was kept.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgspec

from engine.core.client.items import Item
from engine.core.client.state import ClientState
from engine.core.contract.message import FIRST_MS, LAST_MS, cny, rfc3339
from engine.core.contract.outbound import Value
from engine.core.contract.topic import event_of, values_of
from engine.core.contract.topics import Kinds
from engine.core.language.types import DURATION, MONEY, TIME
from engine.core.plan.compile import CompiledRule, Plan
from engine.core.plan.corrected import is_unknown
from engine.core.rules.occasion import Trigger

FOLLOWS: Final = 11  # place in what waits: of what is said again the action before it, and the channels used so far


NOT_KNOWN: Final = "(not known)"  # in `why`: a correction left it unknown
MAX_TEXTS: Final = 64  # of a client, the latest
_BYTES: Final = 6
_pack: Final = msgspec.msgpack.Encoder().encode


class Maturity(NamedTuple):
    """A holding that comes to its term, as rules read it."""

    symbol: str
    amount_fen: int
    days: int
    product: str | None  # None: bought under a release that did not keep it
    date_ms: int  # the beginning of its last day


class AtRisk(NamedTuple):
    """Notice of a demotion that will come unless the measure rises, as rules read it."""

    falls_to: str
    falls_ms: int
    days: int


class TierMove(msgspec.Struct, frozen=True, gc=False):
    """A change that has been made. `threshold` and `measure` are in the measure's stored unit (fen for money)."""

    from_tier: str | None
    to_tier: str
    reason: str  # of names.TIER_REASONS
    measure: Any
    measure_name: str | None
    threshold: float | None
    money: bool
    since_ms: int | None  # since when the client had the old tier


class Match(NamedTuple):
    """A rule whose condition holds, and what it is about: the names of its expressions are read from these."""

    compiled: CompiledRule
    event: Any = None  # an Event, an Item, a Maturity, AtRisk or None
    move: TierMove | None = None
    held: list[Any] | None = None  # what was kept of it while it waited; see holding.py

    @property
    def follows(self) -> str | None:
        """The action that it says again on another channel."""
        return self.held[FOLLOWS][0] if self.held is not None and len(self.held) > FOLLOWS else None


def matched(
    plan: Plan, client: ClientState, trigger: Trigger, event: Any = None, move: TierMove | None = None
) -> list[Match]:
    """The trigger's rules whose condition holds."""
    found = plan.match[trigger](client, event, move)
    return [Match(plan.compiled[trigger][index], event, move) for index in found]


_TUPLES: dict[str, Any] = {"item": Item, "maturity": Maturity, "at_risk": AtRisk}


def stored(match: Match) -> list[Any]:
    """What the match is about: its kind, and its values."""
    event, move = match.event, match.move
    if move is not None:
        return ["move", list(msgspec.structs.astuple(move))]  # its rules do not ask for the event that led to it
    if event is None:
        return []
    for name, form in _TUPLES.items():
        if isinstance(event, form):
            return [name, list(event)]
    kept = [name for name in type(event).model_fields if name not in match.compiled.passed_on]
    return ["event", values_of(event, kept)]


def about(compiled: CompiledRule, kept: list[Any], kinds: Kinds) -> tuple[Any, TierMove | None]:
    """The event and the tier change again, as rules read them."""
    if not kept:
        return None, None
    kind, values = kept
    if kind == "move":
        return None, TierMove(*values)
    if kind in _TUPLES:
        return _TUPLES[kind](*values), None
    return event_of(kinds[compiled.trigger.topic], values), None


def published_value(value: Any, unit: str | None) -> Value:
    """A value as it is published: money as CNY, a time as RFC 3339, a duration as whole seconds."""
    published: Value = value
    if value is not None and unit == MONEY:
        published = cny(value)
    elif value is not None and unit == TIME:  # one that was calculated can lie beyond what can be written
        published = rfc3339(min(max(round(value), FIRST_MS), LAST_MS))
    elif value is not None and unit == DURATION:
        published = round(value / 1000)
    return published


def parameters_of(client: ClientState, match: Match) -> dict[str, Value]:
    """The values for its template; what follows from a feature that a correction left unknown is missing."""
    compiled = match.compiled
    values = compiled.parameters(client, match.event, match.move)
    return _published(client, compiled.parameter_names, values, compiled.follows[1], None)


def why_of(client: ClientState, match: Match) -> dict[str, Value]:
    """Every name of its condition, with its value."""
    compiled = match.compiled
    values = compiled.why(client, match.event, match.move)
    return _published(client, compiled.why_names, values, compiled.follows[0], NOT_KNOWN)


def _published(
    client: ClientState,
    names: tuple[tuple[str, str | None], ...],
    values: tuple[Any, ...],
    follows: tuple[frozenset[str], ...],
    instead: Value,
) -> dict[str, Value]:
    found = {name: published_value(value, unit) for (name, unit), value in zip(names, values, strict=True)}
    if client.unknown_until:
        doubtful = [name for (name, _), of in zip(names, follows, strict=True) if is_unknown(client, of)]
        found |= dict.fromkeys(doubtful, instead)
    return found


# -- what the client reads: the same is not sent twice within a time ---------------------------------------------------


def text_of(client: ClientState, match: Match) -> int:
    """A digest of what the client would read."""
    packed = _pack([match.compiled.rule.template, sorted(parameters_of(client, match).items())])
    return int.from_bytes(blake2b(packed, digest_size=_BYTES).digest(), "big")


def sent_ms(client: ClientState, match: Match) -> int | None:
    """When it was sent, if that is not so long ago that it may be sent again."""
    at_ms = client.texts.get(text_of(client, match)) if client.texts else None
    return at_ms if at_ms is not None and client.now_ms < at_ms + match.compiled.same_text_ms else None


def note_text(client: ClientState, match: Match) -> None:
    """It is sent now."""
    kept = {**client.texts, text_of(client, match): client.now_ms}
    if len(kept) > MAX_TEXTS:
        del kept[min(kept, key=lambda text: (kept[text], text))]
    client.texts = kept
