"""Reads events.yaml: the types of events that the firm declares.

Enters: the file's root node. Leaves: EventTypes, by name.
Holds: no type is called as anything that rules can name beside it, now or in a release that is planned; a field's name
says whether it is money.
"""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from typing import Final, cast, get_args

from engine.core.contract.events import DeclaredEvent
from engine.core.contract.fields import MAX_NUMBER
from engine.core.contract.outbound import DECISIONS, OUTBOUND, TIMER, TOPIC_OF_KIND
from engine.core.contract.topics import DEAD_LETTERS, EVENTS, REROUTED, TOPICS
from engine.core.language.functions import FUNCTIONS
from engine.core.rules.event_types import EventField, EventType, FieldKind, bounds_of
from engine.core.rules.occasion import triggers
from engine.rulefile.source.document import Listing, Node, Scalar, read_document
from engine.rulefile.source.document import Mapping as MappingNode
from engine.rulefile.source.fields import IDENTIFIER, Reader
from engine.rulefile.source.unsure import Unsure

EVENTS_FILE: Final = "events.yaml"
FIELD_KINDS: Final[tuple[str, ...]] = get_args(FieldKind)
NUMBER_UNITS: Final = ("count", "days", "ratio", "shares", "score")
FIELD_KEYS: Final = ("required", "personal", "unit", "least", "most", "values", "description")
OF_KIND: Final[dict[str, tuple[str, ...]]] = {  # what is said of some kinds alone
    "number": ("unit", "least", "most"),
    "money": ("least", "most"),
    "enum": ("values",),
}
MAX_TYPES: Final = 40  # each has names, triggers and columns of its own
MAX_FIELDS: Final = 30
MAX_VALUES: Final = 50
MAX_VALUE: Final = 64
_PLANNED: Final = (
    "overrides", "override", "corrections", "correction", "actions", "action", "items", "item",
    "calendar", "score",
)  # fmt: skip
_WORDS: Final = (
    "client", "now", "firm", "advisor", "event", "history", "every", "times", "then", "timeout", "type", TIMER,
    REROUTED, EVENTS, DEAD_LETTERS.replace("-", "_"),
)  # fmt: skip


def reserved() -> frozenset[str]:
    """What no type may be called. `decisions` was not published yet when firms chose names."""
    built_in = {name for topic in TOPICS.values() for name in (topic.name, topic.singular)}
    published = {name.replace("-", "_") for name in (*OUTBOUND, *TOPIC_OF_KIND) if name != DECISIONS}
    return frozenset({*built_in, *published, *map(str, triggers()), *FUNCTIONS, *_PLANNED, *_WORDS})


def is_rules_of_old(root: Node | None, key: str = "events") -> bool:
    """Whether a file of this name is one of rules: any name was one's before it had a use of its own, under `key`."""
    return isinstance(root, MappingNode) and "rules" in root.entries and key not in root.entries


def event_types_of(files: Mapping[str, str]) -> tuple[EventType, ...]:
    """The types that a published set declares."""
    text = files.get(EVENTS_FILE, "")
    root, _ = read_document(EVENTS_FILE, text, published=True)
    if root is None or is_rules_of_old(root):
        return ()
    return read_event_types(Reader(EVENTS_FILE, text, Unsure(published=True)), root)


def read_event_types(reader: Reader, root: Node) -> tuple[EventType, ...]:
    """By name."""
    fields = reader.mapping(root, ("events",))
    entries = reader.entries(fields.get("events"))
    if len(entries) > MAX_TYPES:
        reader.problem(entries[MAX_TYPES][0], f"{len(entries)} event types", f"declare at most {MAX_TYPES}")
    return tuple(sorted((_type(reader, key, node) for key, node in entries), key=lambda found: found.name))


def _type(reader: Reader, key: Scalar, node: Node) -> EventType:
    name = reader.word(key, IDENTIFIER)
    if name in reserved() or keyword.iskeyword(name) or name.startswith("after_"):
        reader.problem(key, f'"{key.value}" has a meaning of its own in rules', "choose another name")
    given = reader.mapping(node, ("title", "owner", "fields"), ("description",))
    entries = reader.entries(given.get("fields"))
    if len(entries) > MAX_FIELDS:
        reader.problem(entries[MAX_FIELDS][0], f"{len(entries)} fields", f"declare at most {MAX_FIELDS}")
    return EventType(
        name=key.value,
        title=reader.words(given.get("title"), 120),
        owner=reader.owner(given.get("owner")),
        fields=tuple(_field(reader, field_key, field_node) for field_key, field_node in entries),
        description=reader.words(given.get("description"), 300, lines=True),
    )


def _field(reader: Reader, key: Scalar, node: Node) -> EventField:
    name = reader.word(key, IDENTIFIER)
    given: dict[str, Node] = {}
    if isinstance(node, Scalar):
        kind = reader.choice(node, FIELD_KINDS)
    else:
        given = reader.mapping(node, ("kind",), FIELD_KEYS)
        kind = reader.choice(given.get("kind"), FIELD_KINDS)
    _named_rightly(reader, key, name, kind)
    for own in ("unit", "least", "most", "values"):
        if kind and own in given and own not in OF_KIND.get(kind, ()):
            reader.problem(given[own], f"{own} of a field of kind {kind}", "remove it")
    if kind == "enum" and "values" not in given:
        reader.problem(node, "an enum without values", "add values, such as values: [tool, course, other]")

    def yes(of: str) -> bool:
        return of in given and reader.choice(given[of], ("true", "false")) == "true"

    def bound(of: str) -> float | None:
        return reader.number(given[of]) if of in given else None

    field = EventField(
        name,
        cast(FieldKind, kind or "text"),
        yes("required"),
        yes("personal"),
        reader.choice(given["unit"], NUMBER_UNITS) or None if "unit" in given else None,
        bound("least"),
        bound("most"),
        _values(reader, given.get("values")) if kind == "enum" else (),
        reader.words(given.get("description"), 300, lines=True),
    )
    _bounded(reader, key, field)
    return field


def _named_rightly(reader: Reader, key: Scalar, name: str, kind: str) -> None:
    money = kind == "money"
    if name.endswith("_fen"):
        remedy = f"write {name.removesuffix('_fen')}_cny: rules count CNY; records have it as {name}"
        reader.problem(key, f'"{name}" is money as records have it', remedy)
    elif money and not name.endswith("_cny"):
        reader.problem(key, f'"{name}" is money', f"put the unit in its name: {name}_cny")
    elif name.endswith("_cny") and not money:
        reader.problem(key, f'"{name}" is no money', "write kind: money, or leave _cny out of its name")
    sent_as = f"{name.removesuffix('_cny')}_fen" if money else name
    if hasattr(DeclaredEvent, sent_as) or sent_as in DeclaredEvent.model_fields or keyword.iskeyword(sent_as):
        reader.problem(key, f'"{name}" has a meaning of its own in events', "choose another name")


def _values(reader: Reader, node: Node | None) -> tuple[str, ...]:
    """The texts of an enum, none twice."""
    found: dict[str, None] = {}
    if node is None:
        return ()
    items = reader.items(node)
    if isinstance(node, Listing) and not items:
        reader.problem(node, "empty list", "write at least one value")
    for item in items:
        scalar = reader.text_value(item)
        if scalar is None:
            continue
        if scalar.value in found:
            reader.problem(scalar, "a value twice", "keep one")
        elif len(scalar.value) > MAX_VALUE or scalar.value != scalar.value.strip():
            reader.problem(
                scalar, f'not a value: "{scalar.value[:80]}"', f"write 1 to {MAX_VALUE} characters, no blanks around"
            )
        elif reader.cell(scalar):
            found[scalar.value] = None
    if len(found) > MAX_VALUES:
        reader.problem(node, f"{len(found)} values", f"at most {MAX_VALUES}; for more, declare a text")
    return tuple(found)


def _bounded(reader: Reader, key: Scalar, field: EventField) -> None:
    least, most = bounds_of(field)
    if field.kind == "money":
        least, most = field.least or 0, MAX_NUMBER if field.most is None else field.most
    if least > most or max(-least, most) > MAX_NUMBER:
        reader.problem(key, f"{field.name} can have no value", f"write least below most, within {MAX_NUMBER:,}")
    elif field.whole and any(isinstance(bound, float) for bound in (field.least, field.most)):
        reader.problem(key, f"a number of {field.unit} is whole", "write least and most as whole numbers")
