"""A condition taken apart: the terms that are true or false, and the values that each of them asks.

Enters: a checked Expression, the Scope of its names, what is declared. Leaves: a tree of Parts, each with its compiled
function.
Holds: a part is checked and compiled from its own text as the whole is from its own; it means the same alone. What is
declared is opened up into its own parts.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from engine.core.client.state import ClientState
from engine.core.language.expressions import BOOL, Expression, Scope, Type, one_line, parse, to_python
from engine.core.plan.codegen import Code
from engine.core.rules.names import is_personal
from engine.core.rules.tables import Declared, Definition, Table, matches
from engine.insight.values import shown

Read = Callable[[ClientState, Any, Any], Any]
Joins = Literal["", "and", "or", "not", "if", "is"]


@dataclass(frozen=True, slots=True)
class OpenTable:
    """A table whose inputs' values are at hand."""

    table: Table
    inputs: tuple[Type, ...]

    def hit_by(self, values: list[Any]) -> str:
        """The row that these values of its inputs give, in words."""
        table = self.table
        for row in table.rows:
            if all(matches(cell, value) for cell, value in zip(row.cells, values, strict=True)):
                cells = [
                    f"{name} {cell.text}"
                    for name, cell in zip(table.inputs, row.cells, strict=True)
                    if cell is not None
                ]
                return f"{', '.join(cells) or 'any'}: {shown(row.then, table.type)} ({row.place})"
        return f"otherwise: {shown(table.otherwise, table.type)}"


@dataclass(slots=True)
class Reading:
    """A name, or a part that is calculated. Definitions and tables also carry what they were computed from."""

    text: str
    type: Type
    read: Read
    reads: frozenset[str]  # the names behind it that are not declared
    description: str = ""
    personal: bool = False
    made_of: list[Reading] = field(default_factory=list)
    table: OpenTable | None = None


@dataclass(slots=True)
class Part:
    """A term. Its parts are those of its own text; that of "is" is the text of a definition."""

    text: str
    offset: int
    joins: Joins
    read: Read
    reads: frozenset[str]
    readings: list[Reading] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)

    def all(self) -> Iterable[Part]:
        """The terms of this text."""
        yield self
        if self.joins != "is":
            for part in self.parts:
                yield from part.all()


def parts_of(condition: Expression, scope: Scope, declared: Declared) -> Part:
    return _Text(condition.text, scope, declared).whole()


def readings_of(expression: Expression, scope: Scope, declared: Declared) -> list[Reading]:
    """The values that an expression asks."""
    text = _Text(expression.text, scope, declared)
    return [reading for name in expression.names for reading in text.reading(name)]


class _Text:
    def __init__(self, text: str, scope: Scope, declared: Declared) -> None:
        self.scope = scope
        self.declared = declared
        self.line = text.replace("\n", " ")
        self.start = len(self.line) - len(self.line.lstrip())
        self.encoded = self.line.strip().encode()

    def whole(self) -> Part:
        return self.part(ast.parse(self.line.strip(), mode="eval").body)

    def written(self, node: ast.expr) -> tuple[str, int]:
        """A node's text on one line, and where it stands."""
        begin, end = node.col_offset, node.end_col_offset
        text = self.encoded[begin:end].decode()
        return one_line(text), self.start + len(self.encoded[:begin].decode())

    def part(self, node: ast.expr) -> Part:
        text, offset = self.written(node)
        expression = self.checked(text, BOOL)
        part = Part(text, offset, "", self.compiled(expression), self.behind(expression.names))
        definition = self.definition(text)
        match node:
            case ast.BoolOp():
                part.joins = "and" if isinstance(node.op, ast.And) else "or"
                part.parts = [self.part(value) for value in node.values]
            case ast.UnaryOp(op=ast.Not()):
                part.joins, part.parts = "not", [self.part(node.operand)]
            case ast.IfExp():
                part.joins, part.parts = "if", [self.part(n) for n in (node.test, node.body, node.orelse)]
            case _ if definition is not None:
                part.joins = "is"
                part.parts = [parts_of(definition.expression, self.scope, self.declared)]
            case _:
                asked = {self.written(inner)[0]: None for inner in _calculated(node)}
                part.readings = [reading for words in asked for reading in self.reading(words)]
        return part

    def reading(self, text: str) -> list[Reading]:
        """None for the name of a list, which has no value."""
        name = self.scope.get(text)
        if name is not None and name.type.kind == "set":
            return []
        expression = self.checked(text, None)
        read = self.compiled(expression)
        reading = Reading(text, expression.type, read, self.behind(expression.names))
        if expression.type != BOOL or (name is not None and name.personal):
            reading.personal = any(is_personal(self.scope[known]) for known in expression.names)
        if name is None:
            return [reading]
        reading.description = name.description
        definition = self.definition(text)
        table = next((table for table in self.declared.tables if table.name == text), None)
        if definition is not None:
            made_of = definition.expression.names
        elif table is not None:
            made_of = table.inputs
            reading.table = OpenTable(table, tuple(self.scope[name].type for name in table.inputs))
        else:
            return [reading]
        reading.made_of = [inner for name in made_of for inner in self.reading(name)]
        return [reading]

    def definition(self, text: str) -> Definition | None:
        return next((found for found in self.declared.definitions if found.name == text), None)

    def behind(self, names: Iterable[str]) -> frozenset[str]:
        return frozenset(name for text in names for name in names_behind(text, self.scope))

    def checked(self, text: str, expect: Type | None) -> Expression:
        expression = parse(text, self.scope, expect)
        if not isinstance(expression, Expression):
            raise AssertionError(f"a part of a checked condition is refused: {text!r}: {expression}")
        return expression

    def compiled(self, expression: Expression) -> Read:
        code = Code()
        code.constants |= self.declared.globals
        code.function("read", "c, e, t", [f"return {code.place(to_python(expression, self.scope))}"])
        function: Read = code.run()["read"]
        return function


def names_behind(text: str, scope: Scope) -> tuple[str, ...]:
    """The undeclared names from which the value of a name comes; the name itself if it is not declared."""
    reads = scope[text].reads
    return (text,) if reads is None else tuple(name.name for name in reads)


def _calculated(node: ast.expr) -> Iterable[ast.expr]:
    """Names, and the sides of a comparison that are calculated from names, in the order of the text."""
    sides = [node.left, *node.comparators] if isinstance(node, ast.Compare) else [node]
    for side in sides:
        inner = list(_names(side))
        yield from inner
        if inner and side is not node and isinstance(side, (ast.BinOp, ast.IfExp, ast.Call, ast.UnaryOp)):
            yield side


def _names(node: ast.AST) -> Iterable[ast.expr]:
    if isinstance(node, (ast.Attribute, ast.Name)):
        yield node
        return
    for key, child in ast.iter_fields(node):
        if key != "func":
            for inner in child if isinstance(child, list) else [child]:
                if isinstance(inner, ast.AST):
                    yield from _names(inner)
