"""Turns a checked expression into Python: plain comparisons, with a test for None only where a value can be missing.

Enters: an Expression and the Scope that tells where values are found. Leaves: an `ast.expr` for a function's body.
Holds: it evaluates to a real bool, a number, a text, or None when missing; it never raises; its temporaries are locals
named _v0, _v1, ..., each assigned before it is read, so that several expressions of one function may share them; the
code of a declared name has a prefix of its own in place of _v.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import lru_cache

from engine.core.language.functions import FUNCTIONS, Function
from engine.core.language.types import BOOL, INTEGER_UNITS, TINY, Expression, Scope


def to_python(expression: Expression, scope: Scope, temporary: str = "_v") -> ast.expr:
    """The expression over the engine's own code."""
    return _materialise(_Emitter(scope, temporary).emit(expression.tree))


@lru_cache(maxsize=4096)
def _parsed(code: str) -> ast.expr:
    """Names are read by many rules; nobody changes these trees."""
    return ast.parse(code, mode="eval").body


@dataclass(frozen=True, slots=True)
class _Code:
    """`value` may be evaluated once, after all `guards`, in order, were true; a guard is always a real bool."""

    guards: tuple[ast.expr, ...]
    value: ast.expr


class _Emitter:
    def __init__(self, scope: Scope, temporary: str) -> None:
        self.scope = scope
        self.temporary = temporary
        self.temporaries = 0

    def emit(self, node: ast.expr) -> _Code:
        match node:
            case ast.Constant():
                return _Code((), ast.Constant(node.value))
            case ast.Name():
                return self.name(node)
            case ast.BoolOp():
                return _Code((), _join(node.op, [self.emit(value).value for value in node.values]))
            case ast.UnaryOp():
                operand = self.emit(node.operand)
                return _Code(operand.guards, ast.UnaryOp(node.op, operand.value))
            case ast.BinOp():
                return self.arithmetic(node)
            case ast.Compare():
                return self.comparison(node)
            case ast.IfExp():
                body, orelse = self.emit(node.body), self.emit(node.orelse)
                tree = ast.IfExp(self.emit(node.test).value, _materialise(body), _materialise(orelse))
                return self.guarded(tree) if body.guards or orelse.guards else _Code((), tree)
            case ast.Call(func=ast.Name(id="known")):
                return _Code((), _is_not_none(self.read(node.args[0])))
            case ast.Call(func=ast.Name(id=function)):
                return self.call(node, FUNCTIONS[function])
        raise AssertionError(f"not of a checked expression: {ast.dump(node)}")

    def call(self, node: ast.Call, function: Function) -> _Code:
        arguments = [self.emit(argument) for argument in node.args]
        guards = tuple(guard for argument in arguments for guard in argument.guards)
        call = function.call(*(argument.value for argument in arguments))
        if function.type == BOOL:
            return _Code((), _join(ast.And(), [*guards, call]))
        if function.lacks is not None and function.lacks(node.args, self.scope):
            code = self.guarded(call)
            return _Code(guards + code.guards, code.value)
        return _Code(guards, call)

    def read(self, node: ast.expr) -> ast.expr:
        assert isinstance(node, ast.Name)
        return _parsed(self.scope[node.id].code)

    def name(self, node: ast.Name) -> _Code:
        name, code = self.scope[node.id], self.read(node)
        if not name.optional:
            return _Code((), code)
        if name.type == BOOL:
            return _Code((), ast.Compare(code, [ast.Is()], [ast.Constant(True)]))
        return self.guarded(code)

    def guarded(self, code: ast.expr) -> _Code:
        """A value that is None when missing."""
        if isinstance(code, ast.Name):
            return _Code((_is_not_none(code),), code)
        kept, again = self.keep(code)
        return _Code((_is_not_none(kept),), again)

    def keep(self, code: ast.expr) -> tuple[ast.expr, ast.expr]:
        """Evaluate once, use twice."""
        if isinstance(code, ast.Name):
            return code, code
        local = f"{self.temporary}{self.temporaries}"
        self.temporaries += 1
        return ast.NamedExpr(ast.Name(local, ast.Store()), code), ast.Name(local, ast.Load())

    def arithmetic(self, node: ast.BinOp) -> _Code:
        left, right = self.emit(node.left), self.emit(node.right)
        guards, divisor = left.guards + right.guards, right.value
        if isinstance(node.op, ast.Div) and not isinstance(node.right, ast.Constant):
            kept, divisor = self.keep(divisor)
            name = self.scope[node.right.id] if isinstance(node.right, ast.Name) else None
            if name is not None and name.reads is None and name.type.unit in INTEGER_UNITS:
                guard: ast.expr = ast.Compare(kept, [ast.NotEq()], [ast.Constant(0)])
            else:  # a quotient beyond all bounds would overflow further on
                inside = ast.Compare(ast.Constant(-TINY), [ast.Lt(), ast.Lt()], [kept, ast.Constant(TINY)])
                guard = ast.UnaryOp(ast.Not(), inside)
            guards += (guard,)
        return _Code(guards, ast.BinOp(left.value, node.op, divisor))

    def comparison(self, node: ast.Compare) -> _Code:
        nodes = [node.left, *node.comparators]
        if isinstance(node.ops[0], (ast.In, ast.NotIn)):
            nodes = [node.left]
        operands = [self.emit(n) for n in nodes]
        # None is equal to nothing written, and in no list: there the test for None can be left out.
        positive = len(node.ops) == 1 and isinstance(node.ops[0], (ast.Eq, ast.In))
        if positive and sum(bool(operand.guards) for operand in operands) == 1:
            operands = [
                _Code((), self.read(n)) if operand.guards and isinstance(n, ast.Name) else operand
                for n, operand in zip(nodes, operands, strict=True)
            ]
        guards = [guard for operand in operands for guard in operand.guards]
        rest = [operand.value for operand in operands[1:]]
        if len(nodes) == 1:
            listed = node.comparators[0]
            rest = [self.read(listed) if isinstance(listed, ast.Name) else listed]
        return _Code((), _join(ast.And(), [*guards, ast.Compare(operands[0].value, node.ops, rest)]))


def _is_not_none(code: ast.expr) -> ast.expr:
    return ast.Compare(code, [ast.IsNot()], [ast.Constant(None)])


def _materialise(code: _Code) -> ast.expr:
    if not code.guards:
        return code.value
    return ast.IfExp(_join(ast.And(), list(code.guards)), code.value, ast.Constant(None))


def _join(op: ast.boolop, values: list[ast.expr]) -> ast.expr:
    """`a and (b and c)` is `a and b and c`."""
    flat: list[ast.expr] = []
    for value in values:
        flat += value.values if isinstance(value, ast.BoolOp) and type(value.op) is type(op) else [value]
    return flat[0] if len(flat) == 1 else ast.BoolOp(op, flat)
