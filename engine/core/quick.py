"""Reads JSON that is plainly an event, several times faster than its pydantic model does.

Enters: a pydantic model. Leaves: a function from bytes to an object with the model's fields, or None: a Quick.
Holds: the model stays the definition. What is read here, the model reads the same; None says nothing: the model then
reads the bytes, or says what is wrong with them. A field whose form is not understood here is only read while it is
absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from operator import attrgetter
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, get_args, get_origin

import msgspec
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from engine.core.text import IDENTIFIER, Form


class Quick(NamedTuple):
    """`read` takes bytes, and what says whether these keys may be there beside the model's; `of` makes the same of an
    object of the model.
    """

    read: Callable[[bytes, Callable[[Iterable[str]], bool]], Any]
    of: Callable[[BaseModel], Any]


_BLANKS: Final = b" \t\r\n"
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
    struct = msgspec.defstruct(
        model.__name__,
        [
            (name, forms[name].type) if field.is_required() else (name, forms[name].type, field.default)
            for name, field in model.model_fields.items()
        ],
        kw_only=True,
        gc=False,
    )
    typed, untyped = msgspec.json.Decoder(struct).decode, msgspec.json.Decoder().decode
    names = [name for name, form in forms.items() if form.identifier]
    optional = frozenset(name for name in names if not model.model_fields[name].is_required())
    identifiers, needed = attrgetter(*names), attrgetter(*(name for name in names if name not in optional))
    meanings = [(name, form.of_text) for name, form in forms.items() if form.of_text is not None]

    own = frozenset(model.model_fields)
    passed: list[Any] = [None, None]  # the keys of the last event that was read, and what said that they may be there

    def read(value: bytes, may_be: Callable[[Iterable[str]], bool]) -> Any:
        # As many keys as there are different ones in the outermost object: none is there twice, and no object within.
        # Each key has a colon (58); where texts have some, too, in JSON without blanks a quote before it ends a key
        try:
            keys = untyped(value)
            if 92 in value:  # a backslash; a number is found faster than bytes are
                return None
            if value.count(58) != len(keys) and value.translate(None, _BLANKS).count(b'":') != len(keys):
                return None
            event = typed(value)
            for name, of_text in meanings:
                if type(text := getattr(event, name)) is str:
                    setattr(event, name, of_text(text))
        except (ValueError, TypeError, RecursionError):
            return None
        visible = value.isascii() and 127 not in value  # no other control stands in a text of JSON
        if not visible or 32 in value:  # a blank (32): else none is in an identifier
            for text in needed(event) if keys.keys().isdisjoint(optional) else identifiers(event):
                if text and (" " in text or not (visible or (text.isascii() and text.isprintable()))):
                    return None
        told = tuple(keys)  # those of one producer are the same each time
        if told != passed[0] or may_be is not passed[1]:
            if not own.issuperset(keys) and not may_be(keys):
                return None
            passed[:] = told, may_be
        return event

    return Quick(read, lambda event: struct(**event.__dict__))


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
