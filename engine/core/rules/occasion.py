"""When a rule is evaluated: on events, after silence, when a condition becomes true, at times, in sequences; journeys.
And when what a rule sent is spoken of again.

Enters: nothing; a rule set. Leaves: Trigger, one frozen dataclass for each kind of occasion, and Care; which actions
are kept, since rules wait for an answer to them or staff have them in a list.
Holds: a rule has exactly one occasion; its triggers follow from that. Triggers are what plans, scopes and `explain` are
indexed by.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Final, Literal, NamedTuple

from engine.core.contract.outbound import WORK_KINDS
from engine.core.contract.topics import TOPICS, Kinds, in_order
from engine.core.language.expressions import Expression
from engine.core.rules.day_lists import expressions_of

Every = Literal["day", "trading_day", "working_day", "week", "month", "quarter", "year", "birthday"]
BUSINESS_DAYS: Final = ("trading_day", "working_day")  # of Every: days that calendar.yaml names
_OfTiers = Literal["tier_change", "tier_at_risk"]
_OfTime = Literal["silence", "becomes", "at", "maturity", "after", "timeout", "unanswered", "item", "journey"]
Kind = Literal["event", _OfTiers, _OfTime]


class Trigger(NamedTuple):
    """What a rule is evaluated on: an event of a topic or declared type, the tier change that an event or timer led to,
    or the notice of one to come; a timer of the client's own, a condition over its state; `after` an event that is the
    second step of a sequence, and the `timeout` of a sequence whose second step did not come; a step of an open `item`,
    or of a `journey`.
    """

    kind: Kind
    topic: str = ""  # of the event at hand, for `event` and `after`; of the first step, for `timeout`

    @property
    def about(self) -> str:
        """What the names are about that are known beside the client's."""
        return self.topic or (ITEM if self.kind in ("unanswered", "journey") else self.kind)

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
JOURNEY: Final = Trigger("journey")
ITEM: Final = "item"  # what the names of all three are about
ITEM_STEPS: Final = (
    "opened", "answered", "closed", "expired", "retracted", "acknowledged", "waiting_for_client", "client_answered",
    "ended", "reminded", "overdue", "escalated",
)  # fmt: skip
Hours = Literal["all", "business"]  # what a clock counts
Until = Literal["acknowledged", "answered", "closed"]  # what an item can be waited for to come to
EscalatedTo = Literal["team", "head"]
Reopened = Literal["begins_anew", "goes_on"]  # what a clock does when its item is opened again
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
    return (*event_triggers(kinds), SILENCE, BECOMES, AT, MATURITY, *steps, UNANSWERED, JOURNEY)


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
    """Fires once for each item that has had no answer for `for_s` since it was opened, without the time for which it
    waits for the client.
    """

    triggers: ClassVar = (UNANSWERED,)
    of: str  # a kind of item, or the id of the rule whose actions are meant
    for_s: int
    by_severity: tuple[tuple[str, int], ...] = ()  # of complaints: seconds; `for_s` is of those that are not listed
    until: Until = "answered"
    hours: Hours = "all"  # in business hours a day is a working day, which is as long as its business hours
    reopened: Reopened = "begins_anew"


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


@dataclass(frozen=True, slots=True)
class JourneyStep:
    """Fires when the client comes to that step of a journey."""

    triggers: ClassVar = (JOURNEY,)
    journey: str
    step: str


Occasion = OnEvents | Silence | Unanswered | Becomes | Calendar | BeforeMaturity | Sequence | JourneyStep


# -- journeys: what follows on what. A step that does not name the next one has "": the journey is completed -----------


GOAL: Final = "goal"
COMPLETED: Final = "completed"
CHANGED: Final = "journey_changed"  # the step at which the client stood is gone
BEGINS: Final = "journey"  # the kind of a rule that begins one


@dataclass(frozen=True, slots=True)
class Act:
    """Fires the rule that is called after journey and step, and goes on."""

    next: str


@dataclass(frozen=True, slots=True)
class Waits:
    """Stays until an event comes (`on`, for which `when` holds), a condition holds (`until`), or a time has come: so
    long after the step was entered (`for_s`), or then at a time of the calendar (`at`). After `timeout_s`, unless that
    is 0, it goes on with `otherwise`.
    """

    on: str
    when: Expression | None  # over the client and the event
    until: Expression | None  # over the client
    for_s: int
    at: Calendar | None
    timeout_s: int
    next: str
    otherwise: str


@dataclass(frozen=True, slots=True)
class Branch:
    """Goes on with the first whose condition holds."""

    ways: tuple[tuple[Expression, str], ...]
    otherwise: str


@dataclass(frozen=True, slots=True)
class Split:
    """Goes on by lot: what the client draws follows from the lot's name and the client's id."""

    lot: str
    ways: tuple[tuple[str, int], ...]  # a step, and its weight


@dataclass(frozen=True, slots=True)
class Ends:
    """Ends the journey."""

    reason: str


Doing = Act | Waits | Branch | Split | Ends


def pinned_to(version: int) -> str:
    """How the names of the steps of a pinned version end."""
    return f"-v{version}"


@dataclass(frozen=True, slots=True)
class Journey:
    """How a client is led from step to step. A rule of the same id begins it; a client is in it once at a time."""

    id: str
    again_s: int | None  # it can begin again so long after its end; None: never
    ends: tuple[tuple[str, Expression], ...]  # at any time, with that reason; `goal` is the first, if it has one
    steps: tuple[tuple[str, Doing], ...]  # by name, in order; the first begins
    pinned: tuple[int, ...] = ()  # versions, the one that begins first: the name of each step ends with its own

    @property
    def doing(self) -> dict[str, Doing]:
        return dict(self.steps)

    def of_version(self, version: int) -> dict[str, Doing]:
        """The steps of a pinned version by the names that rule files have; of a journey that is not pinned all."""
        if not self.pinned:
            return self.doing
        last = pinned_to(version)
        return {name.removesuffix(last): doing for name, doing in self.steps if name.endswith(last)}

    def place_of(self, step: str) -> tuple[int | None, str]:
        """Version and name of a step as written; None: the journey is not pinned."""
        version = next((one for one in self.pinned if step.endswith(pinned_to(one))), None)
        return version, step if version is None else step.removesuffix(pinned_to(version))

    @property
    def waits_before(self) -> dict[str, str]:
        """Of a pinned journey each wait, journey/step as it was before the journey was pinned: whoever stands there is
        in the oldest version.
        """
        waits = {}
        for name, doing in self.steps if self.pinned else ():
            version, written = self.place_of(name)
            if version == min(self.pinned) and isinstance(doing, Waits):
                waits[f"{self.id}/{written}"] = f"{self.id}/{name}"
        return waits

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it can end."""
        steps = (doing.reason for _, doing in self.steps if isinstance(doing, Ends))
        return tuple(dict.fromkeys((*(reason for reason, _ in self.ends), *steps, COMPLETED, CHANGED)))


@dataclass(frozen=True, slots=True)
class CareAt:
    """A step of what nobody has taken up."""

    name: str  # of this step, `to` if it has that: no item has one twice, whatever becomes of `wait_s`
    step: Literal["reminded", "overdue", "escalated"]
    to: EscalatedTo | None  # who acts from then on; None: who was to act before
    wait_s: int  # since the action was sent


@dataclass(frozen=True, slots=True)
class Care:
    """How what a rule sends to staff is seen through."""

    steps: tuple[CareAt, ...]  # in order of `wait_s`
    until: Literal["accepted", "done"] = "accepted"
    hours: Hours = "all"
    ends_when: Expression | None = None  # over the client: nobody need act any more


# -- what rules wait for -----------------------------------------------------------------------------------------------


def kept_items(rule_set: Any) -> frozenset[str]:
    """The kinds of actions, and the rules, whose actions are kept until they are answered: rules wait for an answer to
    them or for their steps, or something asks how many there are, or how old.
    """
    found = {rule.occasion.of for rule in rule_set.rules if isinstance(rule.occasion, Unanswered)}
    found |= {rule.id for rule in rule_set.rules if rule.care is not None}
    found |= {kind for rule in rule_set.rules if ITEM_STEP in rule.triggers for kind in _kinds_asked(rule.when.tree)}
    parts = (rule_set.rules, rule_set.journeys, rule_set.tiers, rule_set.definitions, rule_set.tables)
    asked = {name for expression in expressions_of((*parts, rule_set.portrait)) for name in expression.names}
    found |= {
        kind for kind in ITEM_KINDS if not asked.isdisjoint((f"client.open_{kind}s", f"client.oldest_{kind}_days"))
    }
    return frozenset(found - {"complaint"})


def listed_work(rule_set: Any, kept: frozenset[str]) -> frozenset[str]:
    """The other rules whose actions are work for staff: in a list, where the firm says which departments there are. Who
    asks for an advisor is answered by a pool, or a profile, and not by staff who do something.
    """
    work = {rule.id: rule.kind for rule in rule_set.rules if rule.audience != "client" and rule.kind in WORK_KINDS}
    return frozenset(id_ for id_, kind in work.items() if rule_set.teams and kept.isdisjoint((id_, kind)))


def _kinds_asked(tree: ast.expr) -> Iterable[str]:
    """The kinds of items, or the rule, that a condition on their steps is about; all, where it does not say so."""
    found: Iterable[str] = ITEM_KINDS
    for part in tree.values if isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And) else [tree]:
        if not isinstance(part, ast.Compare) or not isinstance(part.left, ast.Name) or len(part.ops) > 1:
            continue
        values = {str(node.value) for node in ast.walk(part.comparators[0]) if isinstance(node, ast.Constant)}
        if not isinstance(part.ops[0], ast.Eq | ast.In) or not values:
            continue
        if part.left.id == "item.about":
            return values  # rules, or categories of complaints, which are always kept
        if part.left.id == "item.kind":
            found = values
    return found
