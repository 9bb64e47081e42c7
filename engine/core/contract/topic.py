"""A kind of event as the engine knows it: its model, its names in rules, its facts.

Enters: an event model. Leaves: a Topic, of which everything else is asked. Holds: the model alone says what a field is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from types import NoneType
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from engine.core.contract.corrections import Correction
from engine.core.contract.events import Event, parse_time_ms
from engine.core.contract.fields import Limits
from engine.core.quick import Quick, Usual, quick
from engine.core.text import Form

COMMON: Final = tuple(Event.model_fields)  # what every event has; rules do not ask for it


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
    _said: Mapping[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = field(init=False, repr=False)  # kinds, limits

    def __post_init__(self) -> None:
        object.__setattr__(self, "validate", self.model.__pydantic_validator__.validate_json)
        object.__setattr__(self, "nested", tuple(nested(self.model)))
        fields = self.model.model_fields.items()
        said = {name: (_kinds(of.annotation), (*of.metadata, *_limits(of.annotation))) for name, of in fields}
        object.__setattr__(self, "_said", said)
        needs_own = any(field.is_required() for name, field in self.model.model_fields.items() if name not in COMMON)
        across = any(field.validate_default for field in self.model.model_fields.values())  # what others lack, one has
        plain = needs_own and not across and not self.told_facts and self.model is not Correction  # events are in it
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
        return self._said[name][0]

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

    def _limits(self, name: str) -> tuple[Any, ...]:
        """What its annotation says beside the type."""
        return self._said[name][1]


def _kinds(annotation: Any) -> tuple[Any, ...]:
    inner, origin = get_args(annotation), get_origin(annotation)
    if origin is Literal:
        return inner
    if origin is Annotated:
        return _kinds(inner[0])
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return tuple(member.value for member in annotation)
    return tuple(kind for part in inner for kind in _kinds(part)) if inner else (annotation,)


def _limits(annotation: Any) -> Iterator[Any]:
    """What each `Annotated` in it says beside the type."""
    for part in get_args(annotation):
        yield from part.metadata if isinstance(part, FieldInfo) else (part,)
        yield from _limits(part)


def values_of(event: Any, fields: Iterable[str]) -> dict[str, Any]:
    """These fields of an event, as a state keeps them."""
    values = {name: getattr(event, name) for name in fields}
    return {name: value.model_dump() if isinstance(value, BaseModel) else value for name, value in values.items()}


def event_of(topic: Topic, values: Mapping[str, Any]) -> Any:
    """The event again, as rules read it; what was not kept of it is None."""
    model = topic.model
    inner = nested(model)
    fields: dict[str, Any] = {
        name: inner[name].model_construct(**value) if name in inner and isinstance(value, dict) else value
        for name, value in values.items()
    }
    lacking: dict[str, Any] = {name: None for name in model.model_fields if name not in fields and name not in COMMON}
    return model.model_construct(**(lacking | fields))
