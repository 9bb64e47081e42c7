"""What changed between two decision tables, row by row.

Enters: two tables. Leaves: a line for each difference, money in CNY.
Holds: a row is found again by what it asks, wherever it and its columns stand; that its place changed is said apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from engine.core.rules.tables import Row, Table
from engine.rulefile.tools.wording import amount, becomes, label, said, shortened, text


def between_tables(before: Table, after: Table) -> Iterable[str]:
    ones, others = _rows(before), _rows(after)
    for key in dict.fromkeys((*ones, *others)):
        row, other = ones.get(key), others.get(key)
        if row is None and other is not None:
            yield f"{_row(after, other)}, added"
        elif other is None and row is not None:
            yield f"{_row(before, row)}, removed"
        elif row is not None and other is not None and _differ(before, row.then, after, other.then):
            changed = becomes(amount(before.type, row.then), amount(after.type, other.then))
            yield f"row {_asked(after, other)}: {changed}"
    kept, now = [key for key in ones if key in others], [key for key in others if key in ones]
    if kept != now:
        why = "the first that matches counts" if after.hit == "first" else "it has no meaning, as hit is unique"
        order = shortened([_row(after, others[key]) for key in now], "; ")
        yield f"the order of its rows changed ({why}); now: {order}"
    for column in dict.fromkeys((*before.inputs, *after.inputs)):
        if (column in before.inputs) is not (column in after.inputs):
            yield f"column {column}: {'removed' if column in before.inputs else 'added'}"
    if _differ(before, before.otherwise, after, after.otherwise):
        yield f"otherwise: {becomes(amount(before.type, before.otherwise), amount(after.type, after.otherwise))}"
    plain = [("values", before.type.kind, after.type.kind), ("unit", before.type.unit, after.type.unit)]
    plain += [
        (label(part), getattr(before, part), getattr(after, part)) for part in ("hit", "on", "description", "partial")
    ]
    for part, one, two in plain:
        if one != two:
            yield f"{part}: {becomes(said('', one), said('', two))}"


def _differ(before: Table, one: Any, after: Table, other: Any) -> bool:
    return one != other or (other is not None and before.type.unit != after.type.unit)


def _row(table: Table, row: Row) -> str:
    return f"row {_asked(table, row)}: {amount(table.type, row.then)}"


def _asked(table: Table, row: Row) -> str:
    given = [f"{name} {text(cell.text)}" for name, cell in zip(table.inputs, row.cells, strict=True) if cell]
    return ", ".join(given) or "of everything else"


def _rows(table: Table) -> dict[Any, Row]:
    """By what they ask; of two that ask the same, each has a key of its own."""
    found: dict[Any, Row] = {}
    times: dict[Any, int] = {}
    for row in table.rows:
        asked = frozenset(
            (name, frozenset(cell.values), cell.negated, cell.low, cell.high)
            for name, cell in zip(table.inputs, row.cells, strict=True)
            if cell
        )
        times[asked] = times.get(asked, 0) + 1
        found[asked, times[asked]] = row
    return found
