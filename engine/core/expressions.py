"""The expression language: Python's expression syntax over declared names, typed, compiled.

(types and Scope; see the module's functions below)
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Type:
    """What a value is. `unit` is for numbers ("cny", "days", "ratio", "count", "shares", "score"); `values` for enums."""

    kind: Literal["number", "text", "bool"]
    unit: str | None = None
    values: tuple[str, ...] | None = None


def number(unit: str | None = None) -> Type:
    return Type("number", unit)


def enum(*values: str) -> Type:
    return Type("text", None, values)


TEXT: Final = Type("text")
BOOL: Final = Type("bool")


@dataclass(frozen=True, slots=True)
class Name:
    """A name that expressions can use. `code` is the engine's own Python text that reads its value (None when missing)."""

    name: str
    type: Type
    optional: bool
    code: str
    description: str = ""


Scope = Mapping[str, Name]


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression: its text, its parsed tree, its type, whether it can be missing, the names it reads in order."""

    text: str
    tree: ast.expr
    type: Type
    optional: bool
    names: tuple[str, ...]
