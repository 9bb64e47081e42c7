"""A rule that matched, and what it is about.

Enters: a compiled rule, with the event, item, holding or tier change at hand. Leaves: Match; and what it is about as a
state keeps it while the action waits, and again.
Holds: what is only passed on, such as a comment, is in no state: it is missing from what was kept.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any, NamedTuple

from pydantic import BaseModel

from engine.core.client.items import Item
from engine.core.client.state import ClientState
from engine.core.contract.topic import event_of, values_of
from engine.core.contract.topics import Kinds
from engine.core.plan.compile import CompiledRule, Plan
from engine.core.rules.occasion import Trigger


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


@dataclass(frozen=True, slots=True)
class TierMove:
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


def matched(
    plan: Plan, client: ClientState, trigger: Trigger, event: Any = None, move: TierMove | None = None
) -> list[Match]:
    """The trigger's rules whose condition holds."""
    rules = plan.compiled[trigger]
    return [Match(rules[index], event, move) for index in plan.match[trigger](client, event, move)]


_TUPLES: dict[str, Any] = {"item": Item, "maturity": Maturity, "at_risk": AtRisk}


def stored(match: Match) -> list[Any]:
    """What the match is about: its kind, and its values."""
    event, move = match.event, match.move
    if move is not None:
        return ["move", list(astuple(move))]  # its rules do not ask for the event that led to it
    if event is None:
        return []
    for name, form in _TUPLES.items():
        if isinstance(event, form):
            return [name, list(event)]
    names = type(event).model_fields if isinstance(event, BaseModel) else event.__struct_fields__
    return ["event", values_of(event, (name for name in names if name not in match.compiled.passed_on))]


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
