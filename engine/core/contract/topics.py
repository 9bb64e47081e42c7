"""THE table of inbound topics: everything that the engine knows of a kind of event follows from its entry here.

Enters: the event models. Leaves: one Topic each, and the lists that follow from the table.
Holds: every function reads the table when it is called, so an entry added to it is known everywhere. A rank is part of
the contract, since it breaks ties when topics are merged by time: it never changes and is never given twice. The types
that a rule set declares are kinds of events too, each with a Topic of its own; all of them come on the topic `events`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import NoneType
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from engine.core.contract.events import (
    DEFAULT_LANGUAGE,
    Balance,
    Complaint,
    Event,
    Feedback,
    Login,
    Outcome,
    Position,
    Profile,
    Receipt,
    Trade,
    parse_time_ms,
)
from engine.core.contract.fields import Limits
from engine.core.contract.overrides import Override
from engine.core.quick import Quick, Usual, quick
from engine.core.text import Form

COMMON: Final = tuple(Event.model_fields)  # what every event has; rules do not ask for it

REROUTED: Final = "rerouted"
REROUTED_RANK: Final = 4
EVENTS: Final = "events"  # carries the types that rule sets declare
EVENTS_RANK: Final = 5
DEAD_LETTERS: Final = "dead-letters"


def written_as(name: str) -> str:
    """A field as rule files write it: money is CNY there, and fen in events and states."""
    return f"{name.removesuffix('_fen')}_cny" if name.endswith("_fen") else name


@dataclass(frozen=True, slots=True)
class Asked:
    """A field of an event that rules can ask for, as `<singular>.<written_as(field)>`."""

    field: str
    description: str
    unit: str | None = None  # of a number that is not money
    date: bool = False  # a time that is written as a day, at whose beginning it is
    personal: bool = False  # about a person: shown only where a rule sends it, or somebody asks for it
    stored_as: str = ""  # in the key of a feature's column; differs where values of the same name could not be mixed
    kept: bool = True  # features can keep it; otherwise a rule can only pass it on


@dataclass(frozen=True, slots=True)
class Fact:
    """Something known of a client from the last event that gave it, as `client.<written_as(kept_as)>`."""

    field: str  # of the event; gives the type
    description: str
    unit: str | None = None
    kept_as: str = ""  # the client's attribute, when it is not the field's name
    default: str = ""  # what rules read while it is not known; otherwise it is missing

    @property
    def attribute(self) -> str:
        return self.kept_as or self.field


@cache
def nested(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The fields that have fields themselves."""
    found: dict[str, type[BaseModel]] = {}
    for name, field_ in model.model_fields.items():
        for part in (field_.annotation, *get_args(field_.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                found[name] = part
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Topic:
    """A kind of event. `name` is the topic's, without the configured prefix, or the declared type's."""

    name: str
    rank: int
    singular: str  # in names: trade.symbol, client.days_since_trade
    called: str  # in sentences: the last balance event
    model: type[Event]
    names: tuple[Asked, ...] = ()
    facts: tuple[Fact, ...] = ()
    told: tuple[str, ...] = ()  # further facts of the client, which rules do not ask for by name
    activity: bool = True  # states keep when the last one came, and features count them
    example: Mapping[str, Any] = field(default_factory=dict)  # of fields that a test in a rule file leaves out
    validate: Callable[..., Event] = field(init=False, repr=False)  # the model's own, at hand for each record
    quick: Quick | None = field(init=False, repr=False)  # where it makes no difference what an event leaves out
    nested: tuple[str, ...] = field(init=False, repr=False)  # the fields that have fields themselves

    def __post_init__(self) -> None:
        object.__setattr__(self, "validate", self.model.__pydantic_validator__.validate_json)
        object.__setattr__(self, "nested", tuple(nested(self.model)))
        needs_own = any(field.is_required() for name, field in self.model.model_fields.items() if name not in COMMON)
        across = any(field.validate_default for field in self.model.model_fields.values())  # what others lack, one has
        plain = needs_own and not across and not self.told_facts
        object.__setattr__(self, "quick", quick(self.model) if plain else None)

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of its own."""
        return tuple(name for name in self.model.model_fields if name not in COMMON)

    @property
    def told_facts(self) -> tuple[str, ...]:
        """The fields that are facts of the client until another event tells otherwise."""
        return (*(fact.field for fact in self.facts if not fact.kept_as), *self.told)

    def kinds(self, name: str) -> tuple[Any, ...]:
        """What a field can hold: types, and each text of a Literal."""
        return _kinds(self.model.model_fields[name].annotation)

    def choices(self, name: str) -> tuple[str, ...]:
        """The texts that a field is limited to; empty when any text or a number will do."""
        return tuple(kind for kind in self.kinds(name) if isinstance(kind, str))

    def bounds(self, name: str) -> tuple[float, float]:
        """The least and the most that a number can be."""
        kinds = self.kinds(name)
        step = 1 if int in kinds and float not in kinds else 0  # what is above 0 is at least 1, of whole numbers
        low, high = -math.inf, math.inf
        for limit in self._limits(name):
            low = max(low, getattr(limit, "ge", low))
            high = min(high, getattr(limit, "le", high))
            if (above := getattr(limit, "gt", None)) is not None:
                low = max(low, above + step)
            if (below := getattr(limit, "lt", None)) is not None:
                high = min(high, below - step)
        return low, high

    def form(self, name: str) -> Form | None:
        """What a text looks like."""
        return next((part for part in self._limits(name) if isinstance(part, Form)), None)

    def is_time(self, name: str) -> bool:
        """Whether it is a moment."""
        return any(isinstance(part, Usual) and part.of_text is parse_time_ms for part in self._limits(name))

    def optional(self, name: str) -> bool:
        return NoneType in self.kinds(name)

    def exact(self, name: str) -> bool:
        """Whether it is a number with decimals of which no more are kept than a sum in millionths takes."""
        return any(isinstance(part, Limits) for part in self._limits(name))

    def _limits(self, name: str) -> Iterator[Any]:
        """What its annotation says beside the type."""
        found = self.model.model_fields[name]
        yield from found.metadata
        yield from _limits(found.annotation)


def _kinds(annotation: Any) -> tuple[Any, ...]:
    inner, origin = get_args(annotation), get_origin(annotation)
    if origin is Literal:
        return inner
    if origin is Annotated:
        return _kinds(inner[0])
    return tuple(kind for part in inner for kind in _kinds(part)) if inner else (annotation,)


def _limits(annotation: Any) -> Iterator[Any]:
    """What each `Annotated` in it says beside the type."""
    for part in get_args(annotation):
        yield from part.metadata if isinstance(part, FieldInfo) else (part,)
        yield from _limits(part)


_OF_AN_ACTION: Final = (
    Asked("action_id", "the action's id"),
    Asked("rule_id", "the rule that it came from"),
    Asked("kind", "the kind of action"),
)
TOPICS: Final[dict[str, Topic]] = {
    topic.name: topic
    for topic in (
        Topic(
            name="trades",
            rank=3,
            singular="trade",
            called="trade",
            model=Trade,
            names=(
                Asked("symbol", "security traded"),
                Asked("product", "kind of product"),
                Asked("side", "buy or sell"),
                Asked("quantity", "shares, units or contracts", "shares"),
                Asked("amount_fen", "turnover"),
                Asked("channel", "channel of access"),
                Asked("account", "account that it is booked on"),
                Asked("order_id", "order that it fills"),
                Asked("commission_fen", "what the client paid for it"),
                Asked("market", "where it was done, by the firm's own code"),
            ),
            example={"symbol": "600000", "side": "buy", "quantity": 100, "amount_fen": 1_000_000},
        ),
        Topic(
            name="logins",
            rank=2,
            singular="login",
            called="login",
            model=Login,
            names=(
                Asked("channel", "channel of access"),
                Asked("success", "whether it succeeded; true if that is not known"),
                Asked("region", "where it came from"),
                Asked("device_id", "device"),
            ),
            example={"channel": "app"},
        ),
        Topic(
            name="balances",
            rank=1,
            singular="balance",
            called="balance event",
            model=Balance,
            names=(
                Asked("kind", "kind of change"),
                Asked("amount_fen", "size of the change"),
                Asked("assets_fen", "total assets after it"),
                Asked("cash_fen", "cash after it"),
                Asked("margin_ratio", "maintenance ratio after it", "ratio"),
            ),
            facts=(
                Fact("assets_fen", "total assets at the last balance event"),
                Fact("assets_fen", "highest total assets ever seen", kept_as="assets_peak_fen"),
                Fact("cash_fen", "cash at the last balance event that gave it"),
                Fact("margin_ratio", "maintenance ratio at the last balance event that gave it", "ratio"),
            ),
            example={"kind": "snapshot", "amount_fen": 0},
        ),
        Topic(
            name="profiles",
            rank=0,
            singular="profile",
            called="profile",
            model=Profile,
            # a profile becomes the client's own facts before rules are evaluated: rules ask for those
            facts=(
                Fact("type", "type of client; missing until a profile came"),
                Fact("age_band", "age band from the profile"),
                Fact("region", "region from the profile"),
                Fact("risk_level", "risk level from the profile"),
                Fact("language", "language from the profile", default=DEFAULT_LANGUAGE),
            ),
            told=("consents", "time_zone", "advisor_id", "birth_date"),
            activity=False,
        ),
        Topic(
            name="receipts",
            rank=6,
            singular="receipt",
            called="receipt",
            model=Receipt,
            names=(
                Asked("status", "what became of it"),
                Asked("channel", "the channel it was sent on"),
                *_OF_AN_ACTION,
            ),
            example={"action_id": "action-1", "channel": "sms", "status": "delivered"},
        ),
        Topic(
            name="outcomes",
            rank=7,
            singular="outcome",
            called="outcome",
            model=Outcome,
            names=(
                Asked("status", "what staff made of it"),
                Asked("code", "the firm's own code of the result"),
                Asked("by", "who of the staff"),
                *_OF_AN_ACTION,
            ),
            example={"action_id": "action-1", "status": "done"},
        ),
        Topic(
            name="feedback",
            rank=8,
            singular="feedback",
            called="feedback event",
            model=Feedback,
            names=(
                Asked("nps", "how likely to recommend the firm, 0 to 10", "score"),
                Asked("csat", "how satisfied, 1 to 5", "score"),
                Asked("ces", "how easy it was, 1 to 7", "score"),
                Asked("answers", "the codes of what was chosen, for has_code"),
                Asked("comment", "in the client's own words; can only be passed on", personal=True, kept=False),
                *_OF_AN_ACTION,
            ),
            example={"action_id": "survey-1"},
        ),
        Topic(
            name="complaints",
            rank=9,
            singular="complaint",
            called="complaint",
            model=Complaint,
            names=(
                Asked("status", "the step"),
                Asked("category", "the firm's own code of what it is about"),
                Asked("severity", "how grave"),
                Asked("complaint_id", "the same for all its steps"),
            ),
            example={"complaint_id": "complaint-1", "status": "opened"},
        ),
        Topic(
            name="positions",
            rank=10,
            singular="position",
            called="position record",
            model=Position,
            names=(
                Asked("symbol", "security held"),
                Asked("product", "kind of product"),
                Asked("risk_class", "risk class of the product"),
                Asked("quantity", "shares, units or contracts; 0: nothing is held any more", "shares"),
                Asked("value_fen", "market value of the position"),
                Asked("cost_fen", "what the position was bought for"),
            ),
            example={"symbol": "600000", "quantity": 100},
        ),
        Topic(
            name="overrides",
            rank=11,
            singular="override",
            called="override",
            model=Override,
            names=(
                Asked("kind", "what was decided"),
                Asked("by", "who of the staff"),
                Asked("reason", "why, in their words; can only be passed on", personal=True, kept=False),
                Asked("tier", "the tier that was given"),
                Asked("rule_id", "the rule that rests; missing for all rules"),
                Asked("until", "until when; missing for good", "time"),
                Asked("ended", "whether it was withdrawn"),
            ),
            example={"kind": "note", "by": "S-1", "reason": "on the phone"},
        ),
    )
}


Kinds = Mapping[str, Topic]  # the kinds of events that a rule set knows: those of the table, and those it declares


def inbound_topics() -> tuple[str, ...]:
    """The topics that producers write to, in order of rank."""
    return tuple(name for name in ranks() if name != REROUTED)


def ranks() -> dict[str, int]:
    """Every topic that a partition reads, with its place in the merge: the first of equal times goes first."""
    found = {REROUTED: REROUTED_RANK, EVENTS: EVENTS_RANK} | {topic.name: topic.rank for topic in TOPICS.values()}
    return {name: found[name] for name in sorted(found, key=found.__getitem__)}


def intake_topics() -> tuple[str, ...]:
    """What a partition reads, in order of rank."""
    return tuple(ranks())


def in_order(kinds: Kinds) -> tuple[str, ...]:
    """The kinds of events by the rank of the topic that carries them; declared ones by name."""
    return tuple(sorted(kinds, key=lambda name: (kinds[name].rank, name)))


def sources(kinds: Kinds = TOPICS) -> tuple[str, ...]:
    """The kinds of events that features count, and whose last one states know."""
    return tuple(topic.name for topic in kinds.values() if topic.activity)
