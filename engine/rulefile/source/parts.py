"""The parts that a condition is joined of, as they are written and as they are understood.

Enters: checked expressions. Leaves: their conjuncts and leaves, each with its text and where in the whole it begins.
Holds: a part's tree is that of the checked expression: names whole, money in fen.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from engine.core.language.expressions import Expression, one_line

LISTED: Final = "\0"


@dataclass(frozen=True, slots=True)
class Part:
    text: str
    offset: int
    tree: ast.expr
    negated: bool = False  # whether it stands under an odd number of `not`


def conjuncts(expression: Expression) -> list[Part]:
    """What is joined by `and`; the whole, when nothing is."""
    return _walk(expression, negations=False, only=ast.And)


def leaves(expression: Expression) -> list[Part]:
    """The conditions that `and`, `or` and `not` join."""
    return _walk(expression, negations=True, only=None)


def _walk(expression: Expression, *, negations: bool, only: type[ast.boolop] | None) -> list[Part]:
    line = expression.text.replace("\n", " ")
    start = len(line) - len(line.lstrip())
    source = line[start:]
    encoded = source.encode()
    pending = [(ast.parse(source, mode="eval").body, expression.tree, False)]
    found = []
    while pending:
        written, meant, negated = pending.pop()
        match written, meant:
            case ast.BoolOp(), ast.BoolOp() if only in (None, type(written.op)):
                pending += [(*pair, negated) for pair in zip(written.values, meant.values, strict=True)][::-1]
                continue
            case ast.UnaryOp(op=ast.Not()), ast.UnaryOp(op=ast.Not()) if negations:
                pending.append((written.operand, meant.operand, not negated))
                continue
        begin, end = written.col_offset, written.end_col_offset or len(encoded)
        text = one_line(encoded[begin:end].decode())
        found.append(Part(text, start + len(encoded[:begin].decode()), meant, negated))
    return found


def texts_of(tree: ast.expr) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """The written texts that a name, or a text that a function gives, is compared with: what has them as trees call it,
    the texts, and the function that looks for them (empty: they are whole). A declared list is its name after LISTED.
    """
    for node in ast.walk(tree):
        match node:
            case ast.Compare(left=left, ops=[ast.Eq() | ast.NotEq() | ast.In() | ast.NotIn()], comparators=[right]):
                one, other = (right, left) if isinstance(left, ast.Constant) else (left, right)
                given, function = _given(other), ""
            case ast.Call(
                func=ast.Name(id="starts_with" | "ends_with" | "contains" | "has_code" as function), args=[one, sought]
            ):
                given = _given(sought)
            case _:
                continue
        match one:
            case ast.Name(id=said) | ast.Call(func=ast.Name(id=said)) if given:
                yield said, given, function


def _given(node: ast.expr) -> tuple[str, ...]:
    if isinstance(node, ast.Name):
        return (f"{LISTED}{node.id}",)
    values: list[Any] = [item.value for item in getattr(node, "elts", [node]) if isinstance(item, ast.Constant)]
    flat = values[0] if values and isinstance(values[0], tuple) else values
    return tuple(value for value in flat if isinstance(value, str) and value)


def written_alone(tree: ast.expr, value: str) -> ast.expr | None:
    """The same comparison or search with one of its texts."""
    match tree:
        case ast.Compare(left=left, ops=[ast.In() | ast.NotIn()]):
            return ast.Compare(left, [ast.Eq()], [ast.Constant(value)])
        case ast.Call(func=function, args=[text, ast.Constant(value=tuple())]):
            return ast.Call(function, [text, ast.Constant(value)], [])
    return None
