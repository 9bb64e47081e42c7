"""The parts that a condition is joined of, as they are written and as they are understood.

Enters: checked expressions. Leaves: their conjuncts and leaves, each with its text and where in the whole it begins.
Holds: a part's tree is that of the checked expression: names whole, money in fen.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from engine.core.language.expressions import Expression, one_line


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
