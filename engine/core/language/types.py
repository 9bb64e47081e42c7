"""What the parts of the expression language share: types, names, checked expressions, faults.

Enters: nothing. Leaves: frozen dataclasses. Import them from `engine.core.language.expressions`.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from engine.core.text import Form


@dataclass(frozen=True, slots=True)
class Type:
    """What a value is. `unit` is for numbers (cny, days, ratio, count, shares, score, time, duration); `values` for
    enums, for a set (a list of texts that stands after `in`), and for a list (one of the choices of a table).
    """

    kind: Literal["number", "text", "bool", "set", "list"]
    unit: str | None = None
    values: tuple[str, ...] | None = None


def number(unit: str | None = None) -> Type:
    return Type("number", unit)


def enum(*values: str) -> Type:
    return Type("text", None, values)


TEXT: Final = Type("text")
BOOL: Final = Type("bool")
MONEY: Final = "cny"  # the unit whose values are integer fen in code
TIME: Final = "time"  # epoch milliseconds in code
DURATION: Final = "duration"  # milliseconds in code
INTEGER_UNITS: Final = (MONEY, "days", "count", TIME)  # a name in one of these is an integer
MAX_NAME_LOG10: Final = 19.0  # no name's value is beyond 64 bits
TINY: Final = 1e-30  # a quotient whose divisor is nearer to zero is missing
TINY_LOG10: Final = 30.0
# `a < b` is `b > a`.
MIRRORED: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Eq: ast.Eq,
    ast.Lt: ast.Gt,
    ast.Gt: ast.Lt,
    ast.LtE: ast.GtE,
    ast.GtE: ast.LtE,
}


Changes = Literal["event", "day", "hour", "elapsed", "now"]
Of = Literal["client", "event", "move"]


@dataclass(frozen=True, slots=True)
class Name:
    """A name that expressions can use. `code` is the engine's own Python text that reads it (None when missing).

    `changes` says how its value changes while no event comes: never alone (event), at the firm's midnight (day), at
    the full hour (hour), with every whole day since `base`, Python text of its milliseconds (elapsed), or always (now).
    A definition or a table has in `reads` the names that its value follows from, none of which has any itself; how it
    changes is theirs to say, and its own `changes` is "event".
    """

    name: str
    type: Type
    optional: bool
    code: str
    description: str = ""
    changes: Changes = "event"
    base: str = ""
    reads: tuple[Name, ...] | None = None
    log10: float = MAX_NAME_LOG10  # no value of it is beyond 10 ** log10
    size: int = 1  # parts of its code, and how deep they are nested
    depth: int = 1
    bounds: tuple[float, float] = (-math.inf, math.inf)  # of a number: no value of it is outside
    form: Form | None = None  # of a text: what all of its values look like
    of: Of = "client"  # what has the value: the client, or the event or tier change of the moment
    exact: bool = False  # a number with decimals, which is added up in millionths
    personal: bool = False  # about a person: not shown unless somebody asks for it
    stored_as: str = ""  # of an event's field: what a column's key calls it, if not by its name
    kept: bool = True  # of an event's field: a feature can keep it

    @property
    def signed(self) -> bool:
        """Whether its values are known to reach below zero."""
        return -math.inf < self.bounds[0] < 0


Scope = Mapping[str, Name]


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression: its text, its tree, its type, whether it can be missing, the names it reads in order.

    The tree is normal: every name is one `ast.Name` with its whole dotted name as id, numbers written against money
    are fen, arithmetic between written numbers is done. No value of it is beyond 10 ** log10.
    """

    text: str
    tree: ast.expr
    type: Type
    optional: bool
    names: tuple[str, ...]
    log10: float = 0.0
    lists: tuple[str, ...] = ()  # the lists of texts that it asks; lists are not values
    size: int = 1  # with the definitions and tables in it written out
    depth: int = 1


FaultKind = Literal["unknown name", "never that value", "other"]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with an expression, at a character of its text (from 0), and what to write instead."""

    offset: int
    message: str
    remedy: str
    kind: FaultKind = "other"
    name: str = ""  # that is unknown, or never has the value


def quoted(values: tuple[str, ...] | list[str]) -> str:
    return ", ".join(f'"{value}"' for value in values)
