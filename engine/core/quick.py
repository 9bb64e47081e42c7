"""Reads JSON that is plainly an event, several times faster than its pydantic model does.

Enters: a pydantic model. Leaves: a function from bytes to an object with the model's fields, or None: a Quick.
Holds: the model stays the definition. What is read here, the model reads the same; None says nothing: the model then
reads the bytes, or says what is wrong with them. A field whose form is not understood here is only read while it is
absent.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, get_args, get_origin

import msgspec
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from engine.core.text import IDENTIFIER, Form

MayBe = Callable[[Iterable[str]], bool]


class Quick(NamedTuple):
    """`read` takes bytes; what says of the model which keys may be there beside its own; and a number: with another one
    that is asked again. `of` makes the same of an object of the model.
    """

    read: Callable[[bytes, Callable[[type[BaseModel]], MayBe], int], Any]
    of: Callable[[BaseModel], Any]


_BLANKS: Final = b" \t\r\n"
MAX_SHAPES: Final = 256  # sets of keys of a model's events that have a struct of their own; to make one takes 0.1 ms
MAX_KEYS: Final = 100  # in such a set
_LIMITS: Final = ("ge", "gt", "le", "lt", "min_length", "max_length", "pattern")


@dataclass(frozen=True, slots=True)
class Usual:
    """Marks a field of many forms: what JSON usually carries, as a msgspec type, and what a text of it means."""

    type: Any
    of_text: Callable[[str], Any] | None = None
    identifier: bool = False


class Unread:
    """Marks a part of a field's description that means nothing to what is read here: such a value the model reads."""


_ABSENT: Final = Usual(msgspec.UnsetType)  # a field that is only read while it is absent


def quick(model: type[BaseModel]) -> Quick:
    """What reads a JSON object of the model's fields, each once, beside others. Raises TypeError for a model that has
    validators of its own, which would not be asked.
    """
    if model.__pydantic_decorators__.field_validators or model.__pydantic_decorators__.model_validators:
        raise TypeError(f"{model.__name__} has validators, of which its quick reader would not know")
    forms = {
        name: _form(field.annotation, tuple(field.metadata)) or _ABSENT for name, field in model.model_fields.items()
    }
    fields = {
        name: (name, forms[name].type) if field.is_required() else (name, forms[name].type, field.default)
        for name, field in model.model_fields.items()
    }
    struct = _struct(model, fields)
    typed, untyped = msgspec.json.Decoder(struct).decode, msgspec.json.Decoder().decode
    meanings = [(name, form.of_text) for name, form in forms.items() if form.of_text is not None]
    identifiers = [name for name, form in forms.items() if form.identifier]
    own = frozenset(fields)
    shapes: dict[frozenset[str], _Shape] = {}
    usual: dict[int, _Shape] = {}  # by how many colons a value has, the last one that was read

    def read_by(decode: Callable[[bytes], Any], keys: int, value: bytes, colons: int) -> Any:
        # As many keys as there are different ones in the outermost object: none is there twice, and no object within.
        # Where texts have colons, too, in JSON without blanks a quote before it ends a key
        if colons != keys and value.translate(None, _BLANKS).count(b'":') != keys:
            return None
        try:
            event = decode(value)
            for name, of_text in meanings:
                if type(text := getattr(event, name)) is str:
                    setattr(event, name, of_text(text))
        except (ValueError, TypeError, RecursionError):
            return None
        visible = value.isascii() and 127 not in value  # no other control stands in a text of JSON
        if not visible or 32 in value:  # a blank (32): else none is in an identifier
            for name in identifiers:
                text = getattr(event, name)
                if text and (" " in text or not (visible or (text.isascii() and text.isprintable()))):
                    return None
        return event

    def read(value: bytes, may_be: Callable[[type[BaseModel]], MayBe], asked_with: int) -> Any:
        if 92 in value:  # a backslash; a number is found faster than bytes are
            return None
        colons = value.count(58)  # one follows each key
        if (shape := usual.get(colons)) is not None:
            decode, number, told_with = shape
            if told_with == asked_with and (event := read_by(decode, number, value, colons)) is not None:
                return event
        try:
            found = untyped(value)
        except (ValueError, RecursionError):
            return None
        keys = frozenset(found) if type(found) is dict else frozenset()
        if (shape := shapes.get(keys)) is None or shape.told_with != asked_with:
            if not own.issuperset(keys) and not may_be(model)(keys):
                return None
            if len(shapes) >= MAX_SHAPES or len(keys) > MAX_KEYS:
                return read_by(typed, len(keys), value, colons)  # what is beside the fields was read just now
            asked = {name: field[:2] if name in keys else field for name, field in fields.items()}
            decode = msgspec.json.Decoder(_struct(model, asked, keys - own)).decode
            shape = shapes[keys] = _Shape(decode, len(keys), asked_with)
        usual[colons] = shape
        return read_by(shape.decode, shape.keys, value, colons)

    return Quick(read, lambda event: struct(**event.__dict__))


class _Shape(NamedTuple):
    """Events with the same keys, as those of one producer are. What `decode` takes has all of these: in a value with
    so many keys there is no other.
    """

    decode: Callable[[bytes], Any]
    keys: int
    told_with: int  # the number with which it was said that the keys beside the fields may be there


def _struct(model: type[BaseModel], fields: Mapping[str, tuple[Any, ...]], beside: Collection[str] = ()) -> Any:
    """A struct of the model's fields, and of keys beside them, whose values are read as JSON and mean nothing."""
    others = {f"Beside{number}": key for number, key in enumerate(sorted(beside))}  # no field begins so
    named, space = [*fields.values(), *((name, Any) for name in others)], {"model_fields": model.model_fields}
    return msgspec.defstruct(model.__name__, named, rename=others, namespace=space, kw_only=True, gc=False)


def _form(annotation: Any, metadata: tuple[Any, ...]) -> Usual | None:
    """What reads the field that the annotation describes; None if that is not understood here."""
    metadata = tuple(
        part for given in metadata for part in (given.metadata if isinstance(given, FieldInfo) else [given])
    )
    if (usual := next((part for part in metadata if isinstance(part, Usual)), None)) is not None:
        return usual
    if not all(_understood(part) for part in metadata):
        return None
    inner, origin = get_args(annotation), get_origin(annotation)
    if origin is Annotated:
        return _form(inner[0], (*inner[1:], *metadata))
    if origin in (Union, UnionType) and len(inner) == 2 and NoneType in inner:
        found = _form(next(part for part in inner if part is not NoneType), metadata)
        return replace(found, type=found.type | None) if found else Usual(NoneType)
    if origin is Literal:
        return Usual(annotation)
    if annotation not in (str, int, bool):
        return None
    limits = {name: limit for part in metadata for name in _LIMITS if (limit := getattr(part, name, None)) is not None}
    identifier = IDENTIFIER in metadata
    if identifier:
        del limits["pattern"]  # would be asked of Python's `re`, which costs more than all the rest
    return Usual(Annotated[annotation, msgspec.Meta(**limits)] if limits else annotation, identifier=identifier)


def _understood(part: Any) -> bool:
    return isinstance(part, Form | Unread) or any(hasattr(part, name) for name in _LIMITS)
