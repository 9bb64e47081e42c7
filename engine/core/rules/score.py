"""The score of a client in four dimensions, as score.yaml declares it.

Enters: the parts, checked. Leaves: a definition for each, and one expression for the whole.
Holds: a part counts 0 to 100, whatever its expression gives; the weights add up to 100, and so the score is 0 to 100.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Final

from engine.core.language.expressions import Expression, number
from engine.core.language.functions import FUNCTIONS
from engine.core.rules.tables import Definition

SCORE_FILE: Final = "score.yaml"
SCORE: Final = "client.value_score"
FULL: Final = 100


@dataclass(frozen=True, slots=True)
class ScorePart:
    name: str  # a dimension: assets, behaviour, risk or needs
    weight: int | float  # of 100
    value: Expression  # counted from 0 to 100
    otherwise: int | float | None = None  # what counts where the value is missing; None: the score is missing, too
    description: str = ""

    @property
    def declared_as(self) -> str:
        """Its name in expressions."""
        return f"score_{self.name}"


def definitions_of(parts: Iterable[ScorePart]) -> tuple[Definition, ...]:
    return tuple(
        Definition(part.declared_as, replace(part.value, tree=_within(part.value.tree)), None, part.description)
        for part in parts
    )


def _within(tree: ast.expr) -> ast.expr:
    """From 0 to 100."""
    return FUNCTIONS["min"].call(FUNCTIONS["max"].call(tree, ast.Constant(0)), ast.Constant(FULL))


def total(parts: Iterable[ScorePart]) -> Expression | None:
    """The score, over the parts' own names; None without parts."""
    parts = tuple(parts)
    if not parts:
        return None
    tree = _points(parts[0])
    for part in parts[1:]:
        tree = ast.BinOp(tree, ast.Add(), _points(part))
    lacking = any(part.value.optional and part.otherwise is None for part in parts)
    names = tuple(part.declared_as for part in parts)
    return Expression(SCORE_FILE, tree, number("score"), lacking, names, log10=2.0)


def _points(part: ScorePart) -> ast.expr:
    read: ast.expr = ast.Name(part.declared_as, ast.Load())
    if part.otherwise is not None and part.value.optional:
        read = ast.IfExp(FUNCTIONS["known"].call(read), read, ast.Constant(part.otherwise))
    return ast.BinOp(ast.BinOp(ast.Constant(part.weight), ast.Mult(), read), ast.Div(), ast.Constant(FULL))


class _Score(ast.NodeTransformer):
    """Puts the score's own expression in the place of its name."""

    def __init__(self, score: Expression) -> None:
        self.score = score

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return deepcopy(self.score.tree) if node.id == SCORE else node


def with_score(expression: Expression, score: Expression | None) -> Expression:
    """The expression with the score as it is now in it, not as it was last stored."""
    if score is None or SCORE not in expression.names:
        return expression
    names = dict.fromkeys((*(name for name in expression.names if name != SCORE), *score.names))
    tree = _Score(score).visit(deepcopy(expression.tree))
    return replace(expression, tree=tree, optional=expression.optional or score.optional, names=tuple(names))
