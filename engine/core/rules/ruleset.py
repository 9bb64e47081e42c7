"""A rule set: what the rule files say, checked and typed, ready to be compiled.

Enters: nothing (the rulefile package builds these from YAML). Leaves: frozen dataclasses.
Holds: a RuleSet exists only if every part of it passed every check; its digest names its exact source text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from engine.core.assign.roster import Advisor, Assignment, asks_room
from engine.core.contact import Contact
from engine.core.contract.actions import ACTIONS
from engine.core.contract.outbound import Arm, Outcome
from engine.core.contract.topics import Kinds
from engine.core.language.expressions import Expression, Name
from engine.core.language.types import MAX_NAME_LOG10
from engine.core.rules.business_days import BusinessCalendar, asks_calendar
from engine.core.rules.event_types import EventType, declared_by, kinds_of
from engine.core.rules.occasion import BEGINS, BUSINESS_DAYS, Calendar, Care, Journey, Occasion, Trigger
from engine.core.rules.policy import (
    USUAL,
    Bounds,
    Budget,
    Cap,
    ContactPolicy,
    Holdout,
    Pause,
    QuietHours,
    Rate,
    Resumption,
    Then,
)
from engine.core.rules.score import ScorePart, total
from engine.core.rules.tables import Declared, Definition, Table
from engine.core.teams import Team

Limit = TypeVar("Limit", Cap, Rate, QuietHours, Budget)
Aggregate = Literal["count", "sum", "min", "max", "distinct", "last", "daily_mean", "avg", "top"]


@dataclass(frozen=True, slots=True)
class Window:
    """What of the past counts, by the firm's clock: this day or hour and the `length` - 1 before; the calendar month up
    to now; the whole month before it.
    """

    unit: Literal["day", "hour", "month", "previous_month"]
    length: int = 1


@dataclass(frozen=True, slots=True)
class Since:
    """What counts is what came after the last event of `on` for which `when` holds; all of it before there was one."""

    on: str  # a source
    when: Expression | None  # over that event alone; None: any


@dataclass(frozen=True, slots=True)
class Feature:
    """One value per client over part of its past."""

    name: str
    source: str
    aggregate: Aggregate
    field: str | None  # the event's field without its unit, as in expressions ("amount_cny"); None for count
    where: Expression | None  # over the event alone
    window: Window | Since
    description: str = ""
    was: tuple[str, ...] = ()  # former names, the oldest first
    asked: Name | None = None  # the field as expressions have it
    by: str | None = None  # of top: the field that is added up for each value; None: its events are counted
    asked_by: Name | None = None

    @property
    def of_field(self) -> Name:
        assert self.asked is not None
        return self.asked

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the most that its value can be, as far as that follows from its field."""
        if self.aggregate in ("count", "distinct"):
            return 0, math.inf
        low, high = self.of_field.bounds
        most = 10**MAX_NAME_LOG10
        return (-most if low < 0 else 0, most) if self.aggregate == "sum" else (low, high)


def counting(features: Iterable[Feature], source: str) -> frozenset[str]:
    """The names of those that events of a source can change."""
    return frozenset(f.name for f in features if source in (f.source, getattr(f.window, "on", None)))


def fillable(features: Sequence[Feature]) -> frozenset[str]:
    """The names of those that a backfill can compute: no inbound topic tells of the engine's own actions."""
    return frozenset(feature.name for feature in features) - counting(features, ACTIONS.name)


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
    grace_days: int = 0  # from the notice of a demotion to it
    review: Calendar | None = None  # the moments at which clients move down; None: at any

    @property
    def gives_notice(self) -> bool:
        """Whether a client hears of a demotion before it comes."""
        return bool(self.grace_days) or self.review is not None


@dataclass(frozen=True, slots=True)
class Segment:
    id: str
    when: Expression


@dataclass(frozen=True, slots=True)
class Tiers:
    """`ladders` by client type; a type without a ladder has its own name as its tier."""

    ladders: dict[str, Ladder]
    segments: tuple[Segment, ...]  # the first that holds
    value_score: Expression | None  # as a set without score.yaml has it

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(step.tier for ladder in self.ladders.values() for step in ladder.steps))


@dataclass(frozen=True, slots=True)
class Trait:
    """A part of the portrait, for other systems to read."""

    name: str
    value: Expression
    description: str = ""


# What the firm does for its clients, and a rule is part of.
Service = Literal[
    "tiers", "portrait", "service", "contact", "listening", "retention", "offers", "risk", "departments", "limits",
    "measuring",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rule:
    id: str
    version: int
    title: str
    owner: str
    occasion: Occasion
    when: Expression
    kind: str
    audience: str
    channels: tuple[str, ...]  # in order of preference; ("work_queue",) unless the audience is the client
    channels_by: Expression | None  # a table's lists; then `channels` has all that are in them
    priority: int
    cooldown_s: int  # at most, when `cooldown_by` gives it
    cooldown_by: Expression | None  # in days
    expires_s: int
    template: str
    parameters: tuple[tuple[str, Expression], ...]
    description: str = ""
    serves: Service | None = None
    was: tuple[str, ...] = ()  # former ids, the oldest first: what was remembered of them is this rule's
    contact_class: str = USUAL  # of the policy's
    tags: tuple[str, ...] = ()
    campaign: str | None = None
    still: bool = True  # whether what is held is sent only while its condition holds
    holdout: Holdout | None = None  # of this rule, whoever acts
    offers: Expression | None = None  # the product that it offers
    then: Then | None = None
    same_text_s: int | None = None  # for so long a client gets no text twice; None: as its class says
    breaker: Bounds | None = None  # its own; what it does not say, the policy says
    care: Care | None = None  # of what it sends to staff
    cost: int | None = None  # of an action, in fen; None: as its budgets say

    @property
    def all_channels(self) -> tuple[str, ...]:
        """Those of the first action, and those on which it is said again."""
        return tuple(dict.fromkeys((*self.channels, *(self.then.channels if self.then is not None else ()))))

    def contact(self, channel: str) -> Contact:
        """What a client would be sent."""
        return Contact(self.id, self.kind, self.contact_class, channel, self.owner, self.tags)

    @property
    def triggers(self) -> tuple[Trigger, ...]:
        """What it is evaluated on."""
        return self.occasion.triggers


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
    last_days: Mapping[str, str] = field(default_factory=dict)  # of lists of days, declared or inferred
    event_types: tuple[EventType, ...] = ()  # by name
    calendar: BusinessCalendar | None = None
    score: tuple[ScorePart, ...] = ()  # each a definition, too
    stages: tuple[Segment, ...] = ()  # of life: the first that holds; they may ask the stage so far
    traits: tuple[Trait, ...] = ()
    paused: tuple[Pause, ...] = ()
    resumed: tuple[Resumption, ...] = ()
    draws: Mapping[str, float] = field(default_factory=dict)  # of tests: what lots give
    assignment: Assignment | None = None
    advisors: tuple[Advisor, ...] = ()  # by name
    teams: tuple[Team, ...] = ()  # the owners that there are; none: without teams.yaml any name is one
    journeys: tuple[Journey, ...] = ()  # by id; a rule of the same id begins each, and one of journey/step is each act

    @property
    def portrait(self) -> tuple[Expression, ...]:
        """What its parts follow from; none without a portrait."""
        return (*(stage.when for stage in self.stages), *(trait.value for trait in self.traits))

    def caps_on(self, rule: Rule) -> tuple[Cap, ...]:
        """The caps that can stop it."""
        caps = self._concerning(rule, "caps", self.policy.caps)
        return tuple(cap for cap in caps if cap.spared_from is None or rule.priority < cap.spared_from)

    def rates_on(self, rule: Rule) -> tuple[Rate, ...]:
        """The rates that can make it wait."""
        return self._concerning(rule, "rates", self.policy.rates)

    def budgets_on(self, rule: Rule) -> tuple[Budget, ...]:
        """The budgets that pay for it."""
        found = self._concerning(rule, "budgets", self.policy.budgets)
        return tuple(one for one in found if not one.campaigns or rule.campaign in one.campaigns)

    def quiet_hours_on(self, rule: Rule) -> tuple[QuietHours, ...]:
        """The quiet hours that can stop it."""
        return self._concerning(rule, "quiet_hours", self.policy.quiet_hours)

    def _concerning(self, rule: Rule, what: str, limits: tuple[Limit, ...]) -> tuple[Limit, ...]:
        """Those of one of its channels, also of one on which it is said again, unless its class is exempt."""
        if rule.audience != "client" or what in self.policy.class_named(rule.contact_class).exempt:
            return ()
        return tuple(one for one in limits if any(one.of.meets(rule.contact(by)) for by in rule.all_channels))

    def asks_zone(self, rule: Rule) -> bool:
        """Whether what the clock says where the client is decides whether it is sent."""
        zones = [cap.zone for cap in self.caps_on(rule)]
        return "client" in (*zones, *(one.zone for one in self.quiet_hours_on(rule) if not one.holidays))

    def same_text_s(self, rule: Rule) -> int:
        """For how long what it sends is not sent again as it is."""
        of_class = self.policy.class_named(rule.contact_class).same_text_s
        return 0 if rule.audience != "client" else of_class if rule.same_text_s is None else rule.same_text_s

    @property
    def texts_s(self) -> Mapping[str, int]:
        """The templates of which it matters what was sent, and for how long."""
        found: dict[str, int] = {}
        for rule in self.rules:
            if seconds := self.same_text_s(rule):
                found[rule.template] = max(found.get(rule.template, 0), seconds)
        return found

    def holdouts_on(self, rule: Rule) -> tuple[Holdout, ...]:
        """Those that concern it, the firm's first."""
        to_client = rule.audience == "client" and self.policy.class_named(rule.contact_class).holdout
        return tuple(one for one in (self.policy.holdout if to_client else None, rule.holdout) if one is not None)

    def drawn(self, arm: Arm, draws: Mapping[str, float]) -> RuleSet:
        """The same rules, with every client in that arm of each holdout, and what lots give: tests say both."""

        def all_of(one: Holdout | None) -> Holdout | None:
            return one and replace(one, share=1.0 if arm == "holdout" else 0.0)

        rules = tuple(replace(rule, holdout=all_of(rule.holdout)) for rule in self.rules)
        policy = replace(self.policy, holdout=all_of(self.policy.holdout))
        return replace(self, rules=rules, policy=policy, draws=draws)

    def outcomes_of(self, rule: Rule) -> tuple[Outcome, ...]:
        """What can become of it when it matched, in the order of the gates, and of what an older policy held."""
        to_client, own = rule.audience == "client", self.policy.class_named(rule.contact_class)
        caps, quiet = self.caps_on(rule), self.quiet_hours_on(rule)
        by_itself = any(trigger.kind not in ("event", "after") for trigger in rule.triggers)
        paused = any(pause.rule == rule.id for pause in self.paused)
        waits_long = to_client and (by_itself or own.collect_s > 0)
        busy = asks_room(rule, self)
        shared = bool(self.rates_on(rule) or self.budgets_on(rule)) or busy
        held = waits_long or shared or (bool(quiet) and own.when_quiet != "drop")
        resumed = next((of for of in self.resumed if of.rule == rule.id), None)  # what its pause held may still wait
        waits = held or paused or resumed is not None or rule.then is not None
        rests = any(rest.name in rule.all_channels for rest in self.policy.rests)
        always_agreed = "consent" in own.exempt and not {*rule.all_channels} - {*(own.channels or rule.all_channels)}
        possible = {
            Outcome.EXPIRED: by_itself or waits,
            Outcome.NO_LONGER_TRUE: waits and rule.still,
            Outcome.PAST_UNKNOWN: not self._names_in(rule.when).isdisjoint(feature.name for feature in self.features),
            Outcome.DAY_UNKNOWN: self._asks_days(rule) or any(hours.holidays for hours in quiet),
            Outcome.DO_NOT_CONTACT: to_client and "do_not_contact" not in own.exempt,
            Outcome.SNOOZED: "snooze" not in own.exempt,
            Outcome.NOT_WHILE: to_client and bool(own.not_while),
            Outcome.UNSUITABLE: rule.offers is not None,
            Outcome.COOLDOWN: True,
            Outcome.NOT_ENTERED: rule.kind == BEGINS,
            Outcome.NO_CONSENT: to_client and not always_agreed,
            Outcome.CHANNEL_RESTS: to_client and "rests" not in own.exempt and rests,
            Outcome.REPEATED: bool(self.same_text_s(rule)),
            Outcome.HELD: held or paused,
            Outcome.PAUSED: paused or (resumed is not None and resumed.dropped_ms > 0),
            Outcome.QUIET_HOURS: bool(quiet) or waits_long,  # also of what has no room to wait
            Outcome.DAILY_CAP: any(cap.outcome is Outcome.DAILY_CAP for cap in caps),
            Outcome.CAP: any(cap.outcome is Outcome.CAP for cap in caps),
            Outcome.HOLDOUT: any(one.share > 0 for one in self.holdouts_on(rule)),
            Outcome.ADVISOR_BUSY: busy,
            Outcome.NO_BUDGET: bool(self.budgets_on(rule)),
            Outcome.RATE: bool(self.rates_on(rule)),
            Outcome.RETRACTED: waits,
            Outcome.SENT: True,
        }
        return tuple(outcome for outcome in Outcome if possible[outcome])

    def _with_definitions(self, *asked: Expression) -> list[Expression]:
        """These, and the definitions that they stand on."""
        meanings = {definition.name: definition.expression for definition in self.definitions}
        found = list(asked)
        for expression in found:
            found += [meanings.pop(name) for name in expression.names if name in meanings]
        return found

    def _names_in(self, condition: Expression) -> set[str]:
        """What it reads, itself or by a definition or a table."""
        names = {name for expression in self._with_definitions(condition) for name in expression.names}
        return names.union(*(table.inputs for table in self.tables if table.name in names))

    def _asks_days(self, rule: Rule) -> bool:
        """Whether a list that ends, or the calendar, has to know a day for it."""
        if any(name in self.last_days for part in self._with_definitions(rule.when) for name in part.lists):
            return True
        if self.calendar is None:
            return False
        given = (rule.when, *(value for _, value in rule.parameters), rule.cooldown_by, rule.channels_by)
        asked = self._with_definitions(*(expression for expression in given if expression is not None))
        on_business_days = isinstance(rule.occasion, Calendar) and rule.occasion.every in BUSINESS_DAYS
        return on_business_days or any(map(asks_calendar, asked))

    @property
    def value_score(self) -> Expression | None:
        return total(self.score) or self.tiers.value_score

    @property
    def kinds(self) -> Kinds:
        """The kinds of events that it knows: those of built-in topics, and the types that it declares."""
        return kinds_of(self.event_types)

    @property
    def declared_types(self) -> Kinds:
        """Those that come on the topic `events`."""
        return declared_by(self.event_types)

    def showing_all(self) -> RuleSet:
        """The same rules, by which nothing is personal: for whoever asks to see it."""
        types = tuple(
            replace(event_type, fields=tuple(replace(field, personal=False) for field in event_type.fields))
            for event_type in self.event_types
        )
        features = tuple(
            replace(feature, asked=feature.asked and replace(feature.asked, personal=False))
            for feature in self.features
        )
        return replace(self, event_types=types, features=features)

    @property
    def was_rules(self) -> dict[str, str]:
        """Former id -> the rule that has its memory now; of one rule the newest first, whose memory counts."""
        return {former: rule.id for rule in self.rules for former in reversed(rule.was)}

    @property
    def declared(self) -> Declared:
        return Declared(self.lists, self.tables, self.definitions, calendar=self.calendar, draws=self.draws)
