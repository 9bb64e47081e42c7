"""The event types that a rule set declares in events.yaml, and the kind of event that each is.

Enters: declarations that passed their checks. Leaves: a Topic for each, with a model like those of the built-in topics.
Holds: equal declarations have one Topic and one model, whatever rule set they stand in. All types come on one topic,
`events`; a type's own name stands for it in rules, states, causes and metrics.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, create_model

from engine.core.contract.events import (
    MAX_AMOUNT_FEN,
    AmountFen,
    DeclaredEvent,
    Identifier,
    TimeMs,
)
from engine.core.contract.fields import MAX_NUMBER, Day, Instead, exact_number
from engine.core.contract.topic import Asked, Topic
from engine.core.contract.topics import EVENTS_RANK, TOPICS, Kinds
from engine.core.language.types import INTEGER_UNITS

FieldKind = Literal["text", "enum", "number", "money", "time", "date", "bool", "id"]
OTHER: Final = "other"  # of an enum that has it: what is not in its list counts as this
MAX_TEXT: Final = 200
NEVER_BELOW_ZERO: Final = ("count", "days", "shares")  # units
_STORED_AS: Final[dict[str, str]] = {"enum": "text", "id": "text"}  # values that can stand beside each other


@dataclass(frozen=True, slots=True)
class EventField:
    """A field of a declared type, by the name that rules use: money ends in _cny there, and in _fen in records."""

    name: str
    kind: FieldKind
    required: bool = False
    personal: bool = False
    unit: str | None = None  # of a number
    least: float | None = None  # of a number or of money, in CNY
    most: float | None = None
    values: tuple[str, ...] = ()  # of an enum
    description: str = ""

    @property
    def sent_as(self) -> str:
        """Its name in records."""
        return f"{self.name.removesuffix('_cny')}_fen" if self.kind == "money" else self.name

    @property
    def whole(self) -> bool:
        return self.kind == "number" and self.unit in INTEGER_UNITS


@dataclass(frozen=True, slots=True)
class EventType:
    """What a record on `events` can be. A record whose required fields are not all legible is refused."""

    name: str
    title: str
    owner: str
    fields: tuple[EventField, ...]
    description: str = ""


def kinds_of(event_types: Iterable[EventType]) -> Kinds:
    """The kinds of events that a rule set knows."""
    return {**TOPICS, **declared_by(event_types)}


def declared_by(event_types: Iterable[EventType]) -> Kinds:
    return {event_type.name: topic_of(event_type) for event_type in event_types}


@lru_cache(maxsize=1024)
def topic_of(event_type: EventType) -> Topic:
    return Topic(
        name=event_type.name,
        rank=EVENTS_RANK,
        singular=event_type.name,
        called=f"{event_type.name} event",
        model=_model(event_type),
        names=tuple(
            Asked(
                field.sent_as,
                field.description,
                "time" if field.kind in ("time", "date") else field.unit,
                date=field.kind == "date",
                personal=field.personal,
                stored_as=_stored_as(field),
            )
            for field in event_type.fields
        ),
        example={field.sent_as: _example(field) for field in event_type.fields if field.required},
    )


def _stored_as(field: EventField) -> str:
    """Differs where values that were kept before would be read as what they are not."""
    kind = _STORED_AS.get(field.kind, field.kind)
    return f"{field.name} as {kind}{f' of {field.unit}' if field.unit else ''}"


def _model(event_type: EventType) -> type[DeclaredEvent]:
    required = {field.sent_as for field in event_type.fields if field.required}
    lenient = {field.sent_as for field in event_type.fields if field.required and OTHER in field.values}
    fields: dict[str, Any] = {
        "type": (Literal[event_type.name], Field(description="The declared type's name.")),
        "essential": (ClassVar[frozenset[str]], DeclaredEvent.essential | required - lenient),
        "needed": (ClassVar[frozenset[str]], frozenset(required)),
    }
    fields |= {field.sent_as: _annotated(field) for field in event_type.fields}
    name = "".join(word.capitalize() for word in event_type.name.split("_"))
    said = event_type.description or f"{event_type.title}."
    return create_model(name, __base__=DeclaredEvent, __doc__=said, **fields)


def _annotated(field: EventField) -> tuple[Any, Any]:
    annotation: Any
    match field.kind:
        case "text":
            annotation = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
        case "id":
            annotation = Identifier
        case "bool":
            annotation = bool
        case "time":
            annotation = TimeMs
        case "date":
            annotation = Day
        case "enum":
            annotation = Literal[field.values]
        case "money":
            annotation = _money(field)
        case "number":
            least, most = bounds_of(field)
            whole = Annotated[int, Field(ge=round(least), le=round(most))]
            annotation = whole if field.whole else exact_number(least, most)
    said = Field(description=field.description or None)
    if OTHER in field.values:
        annotation = Annotated[annotation, Instead(OTHER)]
        return (annotation, said) if field.required else (annotation, Field(OTHER, description=said.description))
    if field.required:
        return annotation, said
    return annotation | None, Field(None, description=said.description)


def _money(field: EventField) -> Any:
    if field.least is None and field.most is None:
        return AmountFen
    least = -MAX_AMOUNT_FEN if field.least is None else round(field.least * 100)
    most = MAX_AMOUNT_FEN if field.most is None else round(field.most * 100)
    return Annotated[int, Field(ge=least, le=most)]


def bounds_of(field: EventField) -> tuple[float, float]:
    """The least and the most that a number can be."""
    least = field.least
    if least is None:
        least = 0 if field.unit in NEVER_BELOW_ZERO else -MAX_NUMBER
    return least, MAX_NUMBER if field.most is None else field.most


def _example(field: EventField) -> Any:
    """What a test in a rule file has where it leaves a required field out; as the model takes it."""
    match field.kind:
        case "enum":
            return field.values[0]
        case "bool":
            return True
        case "time":
            return 1_793_584_800_000  # 2026-11-02 10:00
        case "date":
            return "2026-11-02"
        case "number":
            least, most = bounds_of(field)
            return min(max(1, least), most)
        case "money":
            return round(100 * min(max(100, field.least or 0), field.most or 100))
    return f"{field.name}-1"
