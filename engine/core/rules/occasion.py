"""When a rule is evaluated: on events, after silence, when a condition becomes true, at times, in sequences.

Enters: nothing. Leaves: Trigger, and one frozen dataclass for each kind of occasion.
Holds: a rule has exactly one occasion; its triggers follow from that. Triggers are what plans, scopes and `explain` are
indexed by.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Final, Literal, NamedTuple

from engine.core.contract.topics import TOPICS, Kinds, in_order
from engine.core.language.expressions import Expression

Every = Literal["day", "trading_day", "working_day", "week", "month", "quarter", "year", "birthday"]
BUSINESS_DAYS: Final = ("trading_day", "working_day")  # of Every: days that calendar.yaml names
_OfTiers = Literal["tier_change", "tier_at_risk"]
_OfTime = Literal["silence", "becomes", "at", "maturity", "after", "timeout", "unanswered", "item"]
Kind = Literal["event", _OfTiers, _OfTime]


class Trigger(NamedTuple):
    """What a rule is evaluated on: an event of a topic or declared type, the tier change that an event or timer led to,
    or the notice of one to come; a timer of the client's own, a condition over its state; `after` an event that is the
    second step of a sequence, and the `timeout` of a sequence whose second step did not come; a step of an open `item`.
    """

    kind: Kind
    topic: str = ""  # of the event at hand, for `event` and `after`; of the first step, for `timeout`

    @property
    def about(self) -> str:
        """What the names are about that are known beside the client's."""
        return self.topic or (ITEM if self.kind == "unanswered" else self.kind)

    def __str__(self) -> str:
        return f"{self.kind}_{self.topic}" if self.kind in ("after", "timeout") else self.topic or self.kind


TIER_CHANGE: Final = Trigger("tier_change")
TIER_AT_RISK: Final = Trigger("tier_at_risk")
SILENCE: Final = Trigger("silence")
BECOMES: Final = Trigger("becomes")
AT: Final = Trigger("at")
MATURITY: Final = Trigger("maturity")
UNANSWERED: Final = Trigger("unanswered")
ITEM_STEP: Final = Trigger("item")
ITEM: Final = "item"  # what the names of both are about
ITEM_STEPS: Final = ("opened", "answered", "closed", "expired", "retracted")
ITEM_KINDS: Final = ("complaint", "survey", "task", "alert", "assignment")


@cache
def on(topic: str) -> Trigger:
    return Trigger("event", topic)


@cache
def after(topic: str) -> Trigger:
    return Trigger("after", topic)


@cache
def timeout(topic: str) -> Trigger:
    return Trigger("timeout", topic)


def event_triggers(kinds: Kinds = TOPICS) -> tuple[Trigger, ...]:
    """What rule files name after `on`."""
    return (*map(on, in_order(kinds)), TIER_CHANGE, TIER_AT_RISK, ITEM_STEP)


def triggers(kinds: Kinds = TOPICS) -> tuple[Trigger, ...]:
    steps = (trigger for topic in in_order(kinds) for trigger in (after(topic), timeout(topic)))
    return (*event_triggers(kinds), SILENCE, BECOMES, AT, MATURITY, *steps, UNANSWERED)


def trigger_about(name: str | None, kinds: Kinds = TOPICS) -> Trigger | None:
    """The trigger whose names a declaration `on` this uses; None: the client's alone."""
    return next((trigger for trigger in (*event_triggers(kinds), MATURITY) if trigger.about == name), None)


@dataclass(frozen=True, slots=True)
class OnEvents:
    """Fires on any of these events."""

    triggers: tuple[Trigger, ...]


@dataclass(frozen=True, slots=True)
class Silence:
    """Fires once when a client had no event of `source` for `days`, counted from the last one."""

    triggers: ClassVar = (SILENCE,)
    source: str
    days: int


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Fires once for each item that has had no answer for `for_s` since it was opened."""

    triggers: ClassVar = (UNANSWERED,)
    of: str  # a kind of item, or the id of the rule whose actions are meant
    for_s: int


@dataclass(frozen=True, slots=True)
class Becomes:
    """Fires when the condition has become true and stayed so for `for_s`, once; then again every `repeat_s` while it
    stays true, unless that is 0.
    """

    triggers: ClassVar = (BECOMES,)
    for_s: int
    repeat_s: int


@dataclass(frozen=True, slots=True)
class Calendar:
    """Fires at a time of the firm's calendar (UTC+8), `before_days` earlier than the day that the rest names."""

    triggers: ClassVar = (AT,)
    every: Every
    day: int  # of the week (1 is Monday), the month, or the quarter's or year's first month; 1 where it has no meaning
    month: int  # of the year, for `year`; else 1
    minute: int  # of the day
    before_days: int  # for birthday


@dataclass(frozen=True, slots=True)
class BeforeMaturity:
    """Fires at a time of the firm's calendar, `before_days` earlier than the last day of each holding with a term."""

    triggers: ClassVar = (MATURITY,)
    minute: int  # of the day
    before_days: int


@dataclass(frozen=True, slots=True)
class Step:
    """An event of a sequence."""

    on: str  # a topic
    when: Expression  # over the client and the event


@dataclass(frozen=True, slots=True)
class Sequence:
    """`first` begins a wait of `within_s`. Fires when `then` comes within it, or with `absent` when it does not.

    Without `absent` a further `first` begins the wait anew; with it the wait that began goes on.
    """

    first: Step
    then: Step
    within_s: int
    absent: bool

    @property
    def triggers(self) -> tuple[Trigger, ...]:
        return (timeout(self.first.on) if self.absent else after(self.then.on),)


Occasion = OnEvents | Silence | Unanswered | Becomes | Calendar | BeforeMaturity | Sequence
