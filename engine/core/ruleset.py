"""A rule set: what the rule files say, checked and typed, ready to be compiled.

Enters: nothing (the rulefile package builds these from YAML). Leaves: frozen dataclasses.
Holds: a RuleSet exists only if every part of it passed every check; its digest names its exact source text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from engine.core.declared import Declared, Definition, Table
from engine.core.expressions import Expression

Source = Literal["trades", "logins", "balances"]
Aggregate = Literal["count", "sum", "min", "max", "distinct", "last", "daily_mean"]
WINDOW_DAYS: Final = (1, 7, 30, 90)
Trigger = Literal["profiles", "balances", "logins", "trades", "tier_change", "silence"]


@dataclass(frozen=True, slots=True)
class Feature:
    """One windowed value per client. A window of N days is today and the N-1 days before, in the firm's time zone."""

    name: str
    source: Source
    aggregate: Aggregate
    field: str | None  # the event's field without its unit, as in expressions ("amount_cny"); None for count
    where: Expression | None  # over the event alone
    window_days: int
    description: str = ""


@dataclass(frozen=True, slots=True)
class TierStep:
    """One tier of a ladder, best first. The last step has neither threshold."""

    tier: str
    enter: float | None  # at least this (in the measure's own unit, CNY for money) to come in
    exit: float | None  # below this the client leaves


@dataclass(frozen=True, slots=True)
class Ladder:
    """How clients of one type move between tiers."""

    measure: Expression
    steps: tuple[TierStep, ...]
    promote_after_days: int
    demote_after_days: int


@dataclass(frozen=True, slots=True)
class Segment:
    id: str
    when: Expression


@dataclass(frozen=True, slots=True)
class Tiers:
    """`ladders` by client type; a type without a ladder has its own name as its tier."""

    ladders: dict[str, Ladder]
    segments: tuple[Segment, ...]  # the first that holds
    value_score: Expression | None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(step.tier for ladder in self.ladders.values() for step in ladder.steps))


@dataclass(frozen=True, slots=True)
class ContactPolicy:
    """Limits that hold for every rule whose audience is the client."""

    daily_cap: int


@dataclass(frozen=True, slots=True)
class Silence:
    """Fires once when a client had no event of `source` for `days`, counted from the last one."""

    source: Source
    days: int


@dataclass(frozen=True, slots=True)
class Rule:
    id: str
    version: int
    title: str
    owner: str
    on: tuple[Trigger, ...]
    silence: Silence | None  # set exactly when on == ("silence",)
    when: Expression
    kind: str
    audience: str
    channels: tuple[str, ...]  # in order of preference; ("work_queue",) unless the audience is the client
    priority: int
    cooldown_s: int
    expires_s: int
    template: str
    parameters: tuple[tuple[str, Expression], ...]
    description: str = ""


@dataclass(frozen=True, slots=True)
class RuleSet:
    digest: str  # sha256 hex of the source files
    files: tuple[tuple[str, str], ...]  # (name, text), sorted by name: what travels on the rule-set topic
    features: tuple[Feature, ...]
    tiers: Tiers
    policy: ContactPolicy
    rules: tuple[Rule, ...]  # by priority (highest first), then id
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of texts, by name
    tables: tuple[Table, ...] = ()
    definitions: tuple[Definition, ...] = ()

    @property
    def declared(self) -> Declared:
        return Declared(self.lists, self.tables, self.definitions)
