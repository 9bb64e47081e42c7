"""Finds what a decision table leaves open, says twice, or never says.

Enters: a Table and the names of its inputs. Leaves: gaps and overlaps as problems, rows that no case reaches, whether
the table leaves open only what events can say since 0.2.0.
Holds: exact. An input's values fall into pieces within which no row tells one from another: each value of an enum, each
interval between two written bounds, missing. Cases are combinations of pieces; those that the same rows match are
followed as one. Inputs are taken as independent: a combination that never occurs counts too.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, Final

from engine.core.language.expressions import BOOL, Name, Scope
from engine.core.language.types import INTEGER_UNITS, MONEY
from engine.core.rules.tables import Bound, Cell, Table, matches
from engine.rulefile.source.document import Node
from engine.rulefile.source.fields import Reader

MAX_STEPS: Final = 1_000_000
NOT_NEGATIVE: Final = (
    *INTEGER_UNITS,
    "shares",
    "ratio",
)  # names in these units; what is calculated of them can be negative
OTHER: Final = "\0"  # a text that no row names
# What inputs can be since 0.2.0; money that can be negative is such a case too. Tables that were complete stay valid.
SINCE: Final[dict[str, str | None]] = {
    "trade.channel": "other",
    "login.channel": "other",
    "balance.kind": "other",
    "trade.quantity": None,
}


class TooMany(Exception):
    """More combinations than can be checked."""


def tell_gaps_and_overlaps(reader: Reader, at: Node | int, table: Table, scope: Scope) -> bool:
    """Whether the table is partial: complete but for what inputs can be since 0.2.0."""
    cases = Cases(table, scope)
    partial = False
    try:
        gap = cases.gap() if table.otherwise is None else None
        if gap is not None:
            gap = Cases(table, scope, newer=False).gap()
            partial = gap is None
    except TooMany:
        reader.problem(at, f"table {table.name} has too many combinations to check", "split it, or use fewer bounds")
        return False
    if gap is not None:
        reader.problem(at, f"no row of {table.name} matches {cases.shown(gap)}", "add a row for it, or otherwise")
    if table.hit == "unique":
        for earlier, later, example in cases.overlaps():
            one, two = table.rows[earlier].place, table.rows[later].place
            message = f"the rows at {one} and {two} both match {cases.shown(example)}"
            reader.problem(at, message, "let one exclude the other, or write hit: first")
    return partial


def unreachable(table: Table, scope: Scope) -> tuple[int, ...]:
    """The rows, counted from 0, that others before them leave no case for; len(rows) stands for `otherwise`."""
    cases = Cases(table, scope)
    rows = len(table.rows)
    try:
        found = [row for row in range(rows) if cases.gap(before=row, within=row) is None]
        if table.otherwise is not None and cases.gap() is None:
            found.append(rows)
    except TooMany:
        return ()
    return tuple(found)


class Cases:
    def __init__(self, table: Table, scope: Scope, *, newer: bool = True) -> None:
        self.table = table
        self.steps = 0  # of all that is asked
        self.names = [scope[name] for name in table.inputs]
        columns = [[row.cells[i] for row in table.rows] for i in range(len(self.names))]
        self.pieces = [_pieces(name, cells, newer) for name, cells in zip(self.names, columns, strict=True)]
        # By input and piece, the rows whose cell matches it, as bits.
        self.rows = [
            [sum(1 << row for row, cell in enumerate(cells) if matches(cell, piece)) for piece in pieces]
            for cells, pieces in zip(columns, self.pieces, strict=True)
        ]
        # By input, the rows that ask nothing of it and of those after it.
        self.open = [0] * len(columns) + [(1 << len(table.rows)) - 1]
        for i in reversed(range(len(columns))):
            self.open[i] = self.open[i + 1] & sum(1 << r for r, cell in enumerate(columns[i]) if cell is None)

    def gap(self, before: int | None = None, within: int | None = None) -> tuple[Any, ...] | None:
        """A case that no row matches, of those before one; and that row `within` does."""
        among = (1 << (len(self.table.rows) if before is None else before)) - 1
        states: dict[int, tuple[Any, ...]] = {among: ()}
        for i, pieces in enumerate(self.pieces):
            after: dict[int, tuple[Any, ...]] = {}
            choices: dict[int, Any] = {}
            for rows, piece in zip(self.rows[i], pieces, strict=True):
                if within is None or rows >> within & 1:
                    choices.setdefault(rows & among, piece)
            self.steps += len(states) * len(choices)
            if self.steps > MAX_STEPS:
                raise TooMany
            for matching, example in states.items():
                for rows, piece in choices.items():
                    left = matching & rows
                    if not left & self.open[i + 1]:
                        after.setdefault(left, (*example, piece))
            states = after
        return states.get(0)

    def overlaps(self) -> list[tuple[int, int, tuple[Any, ...]]]:
        """The first earlier row that each row meets, with a case that both match."""
        sets = [
            [sum(1 << p for p, rows in enumerate(by_piece) if rows >> row & 1) for by_piece in self.rows]
            for row in range(len(self.table.rows))
        ]
        found = []
        for later, mine in enumerate(sets):
            for earlier, theirs in enumerate(sets[:later]):
                both = [a & b for a, b in zip(mine, theirs, strict=True)]
                if all(both):
                    example = tuple(
                        pieces[bits.bit_length() - 1] for pieces, bits in zip(self.pieces, both, strict=True)
                    )
                    found.append((earlier, later, example))
                    break
        return found

    def shown(self, example: Sequence[Any]) -> str:
        return ", ".join(_shown(name, value) for name, value in zip(self.names, example, strict=True))


def _shown(name: Name, value: Any) -> str:
    if value is None:
        return f"{name.name} missing"
    if value == OTHER:
        return f"any other {name.name}"
    if isinstance(value, bool):
        return f"{name.name} = {str(value).lower()}"
    if isinstance(value, str):
        return f"{name.name} = {value}"
    if name.type.unit == MONEY:
        value = value // 100 if value % 100 == 0 else value / 100
    return f"{name.name} = {value:_}"


def _pieces(name: Name, cells: Sequence[Cell | None], newer: bool) -> list[Any]:
    """An example of each piece; None for missing, which comes last: a gap's example is then the plainest."""
    pieces = _all_pieces(name, cells, newer)
    return pieces if newer or name.name not in SINCE else [piece for piece in pieces if piece != SINCE[name.name]]


def _all_pieces(name: Name, cells: Sequence[Cell | None], newer: bool) -> list[Any]:
    if name.type == BOOL:
        pieces: list[Any] = [True, False]
    elif name.type.kind == "text":
        written = dict.fromkeys(value for cell in cells if cell for value in cell.values)
        pieces = list(name.type.values) if name.type.values is not None else [*written, OTHER]
    else:
        pieces = _intervals(name, cells, name.signed and newer)
    return [*pieces, None] if name.optional else pieces


def _intervals(name: Name, cells: Sequence[Cell | None], signed: bool) -> list[int | float]:
    leaf, unit = name.reads is None, name.type.unit
    cuts = {bound for cell in cells if cell for bound in (cell.low, cell.high) if bound is not None}
    least = (0, False) if leaf and unit in NOT_NEGATIVE and not signed else None
    if least is not None:
        cuts = {cut for cut in cuts if cut > least} | {least}
    ordered: list[Bound | None] = [*([] if least else [None]), *sorted(cuts), None]
    whole = leaf and unit in INTEGER_UNITS
    examples = (_example(low, high, whole) for low, high in itertools.pairwise(ordered))
    return [example for example in examples if example is not None]


def _example(low: Bound | None, high: Bound | None, whole: bool) -> int | float | None:
    """A number from `low` to below `high`; None if there is no whole number there."""
    if low is None:
        if high is None:
            return 0
        value, inside = high
        return value if inside and not whole else math.floor(value) if inside else math.ceil(value) - 1
    value, above = low
    if whole:
        value = math.floor(value) + 1 if above else math.ceil(value)
        return value if high is None or (value, False) < high else None
    if not above:
        return value
    return value + 1 if high is None else (value + high[0]) / 2
