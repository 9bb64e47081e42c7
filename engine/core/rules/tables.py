"""What definitions.yaml declares for rules to use: lists of texts, decision tables, named expressions.

Enters: the declarations, and a scope that has the names they build on. Leaves: a Name for each, as any other.
Holds: a declared name's code is text of ours, made from checked trees; it can stand wherever its parts could.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from engine.core.language.expressions import BOOL, Expression, Name, Scope, Type, to_python
from engine.core.language.helpers import draw
from engine.core.rules.business_days import BusinessCalendar, business_days

Hit = Literal["first", "unique"]
Value = int | float | str | tuple[str, ...]
Bound = tuple[int | float, bool]  # a number of the input's stored unit; True: just above it


@dataclass(frozen=True, slots=True)
class Cell:
    """What a row asks of one input: one of some values, or none of them; or from `low` to below `high`."""

    text: str  # as written
    values: tuple[str | bool, ...] = ()
    negated: bool = False
    low: Bound | None = None
    high: Bound | None = None


@dataclass(frozen=True, slots=True)
class Row:
    cells: tuple[Cell | None, ...]  # one an input; None: anything, a missing value too, which no cell matches
    then: Value
    text: str  # of `then`, as written
    place: str  # file:line:column


@dataclass(frozen=True, slots=True)
class Table:
    """The value of the first row that matches, of the only one when `hit` is unique, or `otherwise`.

    Money is fen. A table always has a value, from a row or from `otherwise`, unless it is partial: then it was complete
    for what events could say in 0.1.0, and its value is missing where they say what they say only since.
    """

    name: str
    hit: Hit
    inputs: tuple[str, ...]
    rows: tuple[Row, ...]
    otherwise: Value | None
    type: Type
    on: str | None = None  # the event whose names it may have as inputs
    description: str = ""
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Definition:
    name: str
    expression: Expression
    on: str | None = None  # the event whose names it may use
    description: str = ""


@dataclass(frozen=True, slots=True)
class Declared:
    """All of it. Tables know nothing of definitions; a definition knows lists, tables and the definitions before it."""

    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tables: tuple[Table, ...] = ()
    definitions: tuple[Definition, ...] = ()
    last_days: Mapping[str, str] = field(default_factory=dict)  # of lists of days: the last that each covers
    calendar: BusinessCalendar | None = None
    draws: Mapping[str, float] = field(default_factory=dict)  # of tests: what a lot gives, whoever draws it

    @property
    def globals(self) -> dict[str, Any]:
        """What compiled code calls by name: lists, and the functions that the calendar or a test answers."""
        answers: dict[str, Any] = business_days(self.calendar).functions() if self.calendar is not None else {}
        if self.draws:
            answers["draw"] = lambda text, lot, anew=None: self.draws.get(lot, draw(text, lot, anew))
        return list_globals(self.lists) | answers


NOTHING: Final = Declared()


def list_code(name: str) -> str:
    """The global of compiled code that holds a list."""
    return f"list_{name}"


def list_globals(lists: Mapping[str, tuple[str, ...]]) -> dict[str, frozenset[str]]:
    return {list_code(name): frozenset(values) for name, values in lists.items()}


def list_name(name: str, values: tuple[str, ...]) -> Name:
    return Name(name, Type("set", None, values), False, list_code(name))


def with_declared(scope: Scope, declared: Declared, topic: str | None, compiling: bool) -> dict[str, Name]:
    """The scope with all that is declared for `topic`. Code is made only when it is to be compiled."""
    known = dict(scope)
    for name, values in declared.lists.items():
        known[name] = list_name(name, values)
    for table in declared.tables:
        if table.on in (None, topic):
            known[table.name] = table_name(table, known, compiling)
    for definition in declared.definitions:
        if definition.on in (None, topic):
            known[definition.name] = definition_name(definition, known, compiling)
    return known


def definition_name(definition: Definition, scope: Scope, compiling: bool) -> Name:
    name, expression = definition.name, definition.expression
    code = _text(to_python(expression, scope, temporary=f"_{name}_v")) if compiling else "None"
    return Name(
        name,
        expression.type,
        expression.optional,
        f"({code})",
        definition.description,
        reads=_reads(expression.names, scope),
        log10=expression.log10,
        size=expression.size,
        depth=expression.depth,
    )


def table_name(table: Table, scope: Scope, compiling: bool) -> Name:
    code = _table_code(table, scope) if compiling else "None"
    size = 10 + sum(3 + 5 * sum(cell is not None for cell in row.cells) for row in table.rows)
    depth = 10 + max((scope[name].depth for name in table.inputs), default=0)
    return Name(
        table.name,
        table.type,
        table.partial,
        code,
        table.description,
        reads=_reads(table.inputs, scope),
        size=size + sum(scope[name].size for name in table.inputs),
        depth=depth,
    )


def _reads(names: Iterable[str], scope: Scope) -> tuple[Name, ...]:
    found: dict[str, Name] = {}
    for name in names:
        for read in (scope[name],) if scope[name].reads is None else scope[name].reads or ():
            found[read.name] = read
    return tuple(found.values())


def _text(tree: ast.expr) -> str:
    return ast.unparse(ast.fix_missing_locations(tree))


def _table_code(table: Table, scope: Scope) -> str:
    """Each input is read once; then row after row, in one flat `or`, since a table can be long."""
    held = {name: f"_{table.name}_i{index}" for index, name in enumerate(table.inputs)}
    reads = ", ".join(f"({local} := {scope[name].code})" for name, local in held.items())
    at_hand = {**scope, **{name: replace(scope[name], code=local) for name, local in held.items()}}
    rows = []
    for row in table.rows:
        condition = Expression("", row_tree(table.inputs, row, scope), BOOL, False, ())
        rows.append(f"({_text(to_python(condition, at_hand, f'_{table.name}_v'))}) and ({row.then!r},)")
    return f"(({reads},) and ({' or '.join([*rows, f'({table.otherwise!r},)'])}))[0]"


def row_tree(inputs: tuple[str, ...], row: Row, scope: Scope) -> ast.expr:
    """A row as a checked condition."""
    tests = [
        test
        for name, cell in zip(inputs, row.cells, strict=True)
        if cell is not None
        for test in _cell_trees(scope[name], cell)
    ]
    if not tests:
        return ast.Constant(True)
    return tests[0] if len(tests) == 1 else ast.BoolOp(ast.And(), tests)


def _cell_trees(name: Name, cell: Cell) -> list[ast.expr]:
    read = ast.Name(name.name, ast.Load())
    if name.type == BOOL:
        known: list[ast.expr] = [ast.Call(ast.Name("known", ast.Load()), [read], [])] if name.optional else []
        return [*known, read if cell.values[0] else ast.UnaryOp(ast.Not(), read)]
    if cell.values:
        constants: list[ast.expr] = [ast.Constant(value) for value in cell.values]
        if len(constants) == 1:
            return [ast.Compare(read, [ast.NotEq() if cell.negated else ast.Eq()], constants)]
        return [ast.Compare(read, [ast.NotIn() if cell.negated else ast.In()], [ast.Set(constants)])]
    left: ast.expr = read if cell.low is None else ast.Constant(cell.low[0])
    ops: list[ast.cmpop] = []
    values: list[ast.expr] = []
    if cell.low is not None:
        ops.append(ast.Lt() if cell.low[1] else ast.LtE())
        values.append(read)
    if cell.high is not None:
        ops.append(ast.LtE() if cell.high[1] else ast.Lt())
        values.append(ast.Constant(cell.high[0]))
    return [ast.Compare(left, ops, values)]


def matches(cell: Cell | None, value: Any) -> bool:
    """What a cell's code does, for whoever has a value at hand. Money is fen."""
    if cell is None:
        return True
    if value is None:
        return False
    if cell.values:
        return (value in cell.values) is not cell.negated
    above = cell.low is None or (value > cell.low[0] if cell.low[1] else value >= cell.low[0])
    return above and (cell.high is None or (value <= cell.high[0] if cell.high[1] else value < cell.high[0]))
