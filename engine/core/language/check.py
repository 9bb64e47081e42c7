"""Checks a syntax tree against a scope: allowed parts only, names, types, units; and makes the tree normal.

Enters: a tree of `ast.parse` and a Scope. Leaves: a Checked tree with its type, or Refused with every fault.
Holds: the tree that leaves has only nodes that `expression_code` knows.
"""

from __future__ import annotations

import ast
import difflib
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, Never

from engine.core.language.arithmetic import MAX_LITERAL, calculate, negative, written
from engine.core.language.functions import FUNCTIONS, a_number
from engine.core.language.types import BOOL, DURATION, TIME, Name, Scope, Type, enum, number
from engine.core.language.units import Checked, Refused, Wrong, agree, constant, take_unit, unit_of, words

REFUSED: Final[dict[type[ast.AST], tuple[str, str]]] = {
    ast.Lambda: ("a lambda", "write a condition over the declared names"),
    ast.ListComp: ("a comprehension", "declare a feature for what is counted"),
    ast.SetComp: ("a comprehension", "declare a feature for what is counted"),
    ast.DictComp: ("a comprehension", "declare a feature for what is counted"),
    ast.GeneratorExp: ("a comprehension", "declare a feature for what is counted"),
    ast.JoinedStr: ("an f-string", "write plain text in quotes"),
    ast.NamedExpr: ("an assignment", "write == to compare"),
    ast.Starred: ("a star", "list the values one by one"),
    ast.Subscript: ("an index in brackets", "use a declared name"),
    ast.Dict: ("a dictionary", 'write a list after in, such as ("A", "B")'),
    ast.Attribute: ("an attribute of a value", "use a declared name"),
    ast.Tuple: ("a list", "write it after in; a large number is 1_000_000, a part of one 0.3"),
    ast.List: ("a list", "write it after in"),
    ast.Set: ("a list", "write it after in"),
    ast.Pow: ("the operator **", "multiply, or write the number out"),
    ast.FloorDiv: ("the operator //", "write /, and round(x) for whole numbers"),
    ast.Mod: ("the operator %", "compare with / or a feature"),
    ast.BitAnd: ("the operator &", "write: and"),
    ast.BitOr: ("the operator |", "write: or"),
    ast.BitXor: ("the operator ^", "multiply, or write the number out"),
    ast.Invert: ("the operator ~", "write: not"),
    ast.UAdd: ("a plus sign before a value", "leave it out"),
    ast.Is: ('the operator "is"', "write ==, or not known(x) for a missing value"),
    ast.IsNot: ('the operator "is not"', "write !=, or known(x) for a value that is there"),
}


class Checker:
    """Each method gives a Checked part or raises Refused."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.names: dict[str, None] = {}  # as met, in order
        self.lists: dict[str, None] = {}
        self.size = 0  # of the names' code
        self.depth = 0

    def run(self, body: ast.expr, expect: Type | None) -> Checked:
        result = self.check(body)
        if expect is not None:
            result = _expected(result, expect)
        return replace(result, tree=_Finish().visit(result.tree))

    def check(self, node: ast.expr) -> Checked:
        match node:
            case ast.Constant():
                return self.constant(node)
            case ast.Name() | ast.Attribute():
                return self.name(node)
            case ast.BoolOp():
                values = self.each(self.condition, node.values)
                return Checked(node, ast.BoolOp(node.op, [value.tree for value in values]), BOOL)
            case ast.UnaryOp(op=ast.Not()):
                return Checked(node, ast.UnaryOp(ast.Not(), self.condition(node.operand).tree), BOOL)
            case ast.UnaryOp(op=ast.USub()):
                return negative(node, self.number(node.operand))
            case ast.BinOp():
                return self.arithmetic(node)
            case ast.Compare():
                return self.comparison(node)
            case ast.IfExp():
                return self.conditional(node)
            case ast.Call():
                return self.call(node)
            case _:
                return _refuse(node, node.op if isinstance(node, ast.UnaryOp) else node)

    def each(self, check: Callable[[ast.expr], Checked], nodes: Iterable[ast.expr]) -> list[Checked]:
        return self.each_of(*((check, node) for node in nodes))

    def each_of(self, *parts: tuple[Callable[[ast.expr], Checked], ast.expr]) -> list[Checked]:
        """All of them, so that all faults are reported at once."""
        items: list[Checked] = []
        faults: list[Wrong] = []
        for check, node in parts:
            try:
                items.append(check(node))
            except Refused as refused:
                faults += refused.faults
        if faults:
            raise Refused(*faults)
        return items

    def condition(self, node: ast.expr) -> Checked:
        return _expected(self.check(node), BOOL)

    def number(self, node: ast.expr) -> Checked:
        return a_number(self.check(node))

    def constant(self, node: ast.Constant) -> Checked:
        value: Any = node.value
        if isinstance(value, bool):
            return Checked(node, constant(value), BOOL)
        if isinstance(value, str):
            return Checked(node, constant(value), enum(value), literal=True)
        if isinstance(value, int):
            return written(node, Fraction(value))
        if isinstance(value, float):
            return written(node, Fraction(Decimal(repr(value))) if math.isfinite(value) else Fraction(MAX_LITERAL + 1))
        remedy = "write not known(x) for a missing value" if value is None else "write a number or a text"
        raise Refused((node, f"{value if value is None else type(value).__name__} is not in the rule language", remedy))

    def declared(self, node: ast.expr) -> Name:
        """A chain of attributes is looked up whole, as one name; there is no attribute access."""
        parts: list[str] = []
        at = node
        while isinstance(at, ast.Attribute):
            parts.append(at.attr)
            at = at.value
        if not isinstance(at, ast.Name):
            _refuse(node, node)
        name = ".".join([at.id, *reversed(parts)])
        known = self.scope.get(name)
        if known is None:
            raise Refused(Wrong(node, f'unknown name "{name}"', self.meant(name), "unknown name", name))
        return known

    def name(self, node: ast.expr) -> Checked:
        known = self.declared(node)
        if known.type.kind in ("set", "list"):
            remedy = f"write: x in {known.name}" if known.type.kind == "set" else "name it as a rule's channels"
            raise Refused((node, f"{known.name} is a list, not a value", remedy))
        self.names[known.name] = None
        self.size += known.size
        self.depth = max(self.depth, known.depth)
        tree = ast.Name(known.name, ast.Load())
        return Checked(node, tree, known.type, optional=known.optional, log10=known.log10)

    def meant(self, name: str) -> str:
        if name in ("true", "false"):
            return f"write {name.title()}"
        if name in FUNCTIONS:
            return f"{name} is a function: {FUNCTIONS[name].example}"
        if any(name in (known.type.values or ()) for known in self.scope.values() if known.type.kind == "text"):
            return f'a text is written in quotes: "{name}"'
        groups = {known.partition(".")[0]: f"{known.partition('.')[0]}.*" for known in self.scope if "." in known}
        group, dot, _ = name.partition(".")
        if not dot or difflib.get_close_matches(group, groups):  # names of another event are not misspelt ones of this
            close = [known for known in self.scope if known.endswith(f".{name}")]
            close = close or difflib.get_close_matches(name, self.scope, n=1)
            if close:
                return f'did you mean "{close[0]}"?'
        features = ["features"] if any("." not in known for known in self.scope) else []
        return f"known here: {', '.join(sorted([*groups.values(), *features]))}"

    def arithmetic(self, node: ast.BinOp) -> Checked:
        if not isinstance(node.op, (ast.Add, ast.Sub, ast.Mult, ast.Div)):
            _refuse(node, node.op)
        left, right = self.each(self.number, (node.left, node.right))
        return calculate(node, left, right)

    def comparison(self, node: ast.Compare) -> Checked:
        for op in node.ops:
            if isinstance(op, (ast.Is, ast.IsNot)):
                _refuse(node, op)
        if any(isinstance(op, (ast.In, ast.NotIn)) for op in node.ops):
            return self.membership(node)
        items = self.each(self.comparable, (node.left, *node.comparators))
        items = agree(items, "compare")
        if items[0].type.kind == "text" and not all(isinstance(op, (ast.Eq, ast.NotEq)) for op in node.ops):
            raise Refused((node, "texts have no order", "write ==, != or in"))
        return Checked(node, ast.Compare(items[0].tree, node.ops, [item.tree for item in items[1:]]), BOOL)

    def comparable(self, node: ast.expr) -> Checked:
        result = self.check(node)
        if result.type == BOOL:
            raise Refused((node, "a condition is not compared", "write it alone, or with not"))
        return result

    def membership(self, node: ast.Compare) -> Checked:
        if len(node.ops) > 1:
            raise Refused((node, "in stands within a chain of comparisons", "join two comparisons with and"))
        left, listed = self.each_of((self.comparable, node.left), (self.listed, node.comparators[0]))
        if isinstance(listed.tree, ast.Name):
            agree((left, listed), "compare")
            return Checked(node, ast.Compare(left.tree, node.ops, [listed.tree]), BOOL)
        left, *values = agree((left, *listed.items), "compare")
        return Checked(node, ast.Compare(left.tree, node.ops, [ast.Set([value.tree for value in values])]), BOOL)

    def listed(self, node: ast.expr) -> Checked:
        """What stands after in: a written list, its values in `items`, or the name of a declared one."""
        if isinstance(node, (ast.Name, ast.Attribute)):
            known = self.declared(node)
            if known.type.kind == "set":
                self.lists[known.name] = None
                return Checked(node, ast.Name(known.name, ast.Load()), enum(*known.type.values or ()), literal=True)
        if not isinstance(node, (ast.Tuple, ast.List, ast.Set)) or not node.elts:
            raise Refused((node, "in needs a list of written values", 'write ("A", "B"), or ["A"] for one alone'))
        items = self.each(self.comparable, node.elts)
        for item in items:
            if not isinstance(item.tree, ast.Constant):
                raise Refused((item.node, "in needs a list of written values", "write a number or a text"))
        return Checked(node, node, items[0].type, items=tuple(items))

    def conditional(self, node: ast.IfExp) -> Checked:
        body, test, orelse = self.each(self.check, (node.body, node.test, node.orelse))
        test = _expected(test, BOOL)
        literal, optional = body.literal and orelse.literal, body.optional or orelse.optional
        body, orelse = agree((body, orelse), "choose between")
        type_ = body.type
        if type_.kind == "text":
            a, b = type_.values, orelse.type.values
            type_ = Type("text", None, None if a is None or b is None else tuple(dict.fromkeys(a + b)))
        elif type_.kind == "number":
            type_ = number(unit_of((body, orelse)))
        tree = ast.IfExp(test.tree, body.tree, orelse.tree)
        return Checked(node, tree, type_, literal, optional, max(body.log10, orelse.log10))

    def call(self, node: ast.Call) -> Checked:
        name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)[:60]
        function = FUNCTIONS.get(name)
        if function is None:
            close = difflib.get_close_matches(name, FUNCTIONS, n=1)
            remedy = f'did you mean "{close[0]}"?' if close else f"functions are {', '.join(FUNCTIONS)}"
            raise Refused((node, f'unknown function "{name}"', remedy))
        if node.keywords or not function.least <= len(node.args) <= function.most:
            raise Refused((node, f"{name} takes {function.takes}", f"write {function.example}"))
        return function.check(function, self, node)


def _refuse(at: ast.expr, what: ast.AST) -> Never:
    said, remedy = REFUSED.get(type(what), (type(what).__name__, "write a condition over the declared names"))
    raise Refused((at, f"{said} is not in the rule language", remedy))


def _expected(result: Checked, expect: Type) -> Checked:
    same = result.type.kind == expect.kind
    if same and result.literal:
        return take_unit(result, expect.unit)
    if same and (expect.unit == result.type.unit or (expect.unit is None and result.type.unit not in (TIME, DURATION))):
        return result
    remedy = "compare it, such as x > 0" if expect == BOOL else f"write {words(expect)}"
    raise Refused((result.node, f"expected {words(expect)}, found {words(result.type)}", remedy))


class _Finish(ast.NodeTransformer):
    """Written numbers become int, or float when they have decimals."""

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        value: Any = node.value
        if isinstance(value, Fraction):
            return constant(value.numerator if value.denominator == 1 else float(value))
        return node
