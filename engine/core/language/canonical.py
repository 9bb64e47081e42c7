"""A checked expression as one text: equal texts give equal values for every client and event.

Enters: the tree of an Expression. Leaves: text that depends on neither layout, quotes, the way a number is written nor
the order of terms that can change places.
Holds: the text is stored (a feature's column is found again by it), so it never changes for a tree: it has its own form
for each kind of node, and does not depend on Python's.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable
from typing import Final

COMMUTATIVE_CALLS: Final = ("min", "max")
OPERATORS: Final[dict[type[ast.operator], str]] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
ORDERS: Final[dict[type[ast.cmpop], tuple[str, bool]]] = {  # the sign, and whether both sides change places first
    ast.Lt: ("<", False),
    ast.LtE: ("<=", False),
    ast.Gt: ("<", True),
    ast.GtE: ("<=", True),
}


def canonical(tree: ast.expr) -> str:
    match tree:
        case ast.Constant():
            return _constant(tree.value)
        case ast.Name():
            return tree.id
        case ast.BoolOp():
            return _joined("and" if isinstance(tree.op, ast.And) else "or", _flat(tree))
        case ast.UnaryOp():
            return _form("not" if isinstance(tree.op, ast.Not) else "neg", [canonical(tree.operand)])
        case ast.BinOp():
            sides = [canonical(tree.left), canonical(tree.right)]
            return _form(OPERATORS[type(tree.op)], sorted(sides) if isinstance(tree.op, (ast.Add, ast.Mult)) else sides)
        case ast.Compare():
            return _joined("and", _comparisons(tree))
        case ast.IfExp():
            return _form("if", map(canonical, (tree.test, tree.body, tree.orelse)))
        case ast.Call(func=ast.Name(id=function)):
            arguments = [canonical(argument) for argument in tree.args]
            return _form(function, sorted(arguments) if function in COMMUTATIVE_CALLS else arguments)
    raise TypeError(f"{type(tree).__name__} is not in a checked tree")


def _form(head: str, parts: Iterable[str]) -> str:
    return f"({' '.join((head, *parts))})"


def _joined(head: str, parts: Iterable[str]) -> str:
    """Terms that can change places, and of which one that stands twice says nothing more."""
    distinct = sorted(set(parts))
    return distinct[0] if len(distinct) == 1 else _form(head, distinct)


def _flat(tree: ast.BoolOp) -> Iterable[str]:
    """The terms of `and` or `or`, of those of its own kind within it too; a chain of comparisons is an `and`."""
    for value in tree.values:
        if isinstance(value, ast.BoolOp) and type(value.op) is type(tree.op):
            yield from _flat(value)
        elif isinstance(value, ast.Compare) and isinstance(tree.op, ast.And):
            yield from _comparisons(value)
        else:
            yield canonical(value)


def _comparisons(tree: ast.Compare) -> Iterable[str]:
    """Each two neighbours of a chain."""
    operands = [tree.left, *tree.comparators]
    for left, op, right in zip(operands, tree.ops, tree.comparators, strict=False):
        if isinstance(op, (ast.In, ast.NotIn)):
            yield _membership(left, "in" if isinstance(op, ast.In) else "not-in", right)
        elif isinstance(op, (ast.Eq, ast.NotEq)):
            yield _form("==" if isinstance(op, ast.Eq) else "!=", sorted((canonical(left), canonical(right))))
        else:
            sign, turned = ORDERS[type(op)]
            yield _form(sign, map(canonical, (right, left) if turned else (left, right)))


def _membership(left: ast.expr, sign: str, listed: ast.expr) -> str:
    if not isinstance(listed, ast.Set):
        return _form(sign, (canonical(left), f"@{canonical(listed)}"))  # a declared list
    values = sorted({canonical(value) for value in listed.elts})
    if len(values) == 1:
        return _form("==" if sign == "in" else "!=", sorted((canonical(left), *values)))
    return _form(sign, (canonical(left), *values))


def _constant(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):  # written texts, one of which is looked for
        return _form("any", sorted({_constant(item) for item in value}))
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value)
