"""The canonical text of a condition: however it is written it stays the same, and conditions that share it never
differ in value.
"""

from __future__ import annotations

import ast
import random

import pytest

from engine.core.language.canonical import canonical
from engine.core.language.expressions import BOOL, Expression, parse
from engine.core.rules.tables import Declared, with_declared
from tests.core.expression_code import function
from tests.fuzz.expressions import LISTS, NAMES, Writer, value_of

SCOPE = with_declared({name.name: name for name in NAMES}, Declared(LISTS), None, compiling=True)
MIRRORED = {ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE, ast.Eq: ast.Eq, ast.NotEq: ast.NotEq}


def checked(text: str) -> Expression | None:
    found = parse(text, SCOPE, BOOL)
    return found if isinstance(found, Expression) else None


class Rewrites(ast.NodeTransformer):
    """Puts what can change places in another order, now and then."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        self.generic_visit(node)
        self.chance.shuffle(node.values)
        if len(node.values) > 2 and self.chance.random() < 0.5:
            node.values = [ast.BoolOp(node.op, node.values[:2]), *node.values[2:]]
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.op, (ast.Add, ast.Mult)) and self.chance.random() < 0.5:
            node.left, node.right = node.right, node.left
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        op = type(node.ops[0])
        if isinstance(node.comparators[0], (ast.Tuple, ast.List, ast.Set)):
            self.chance.shuffle(node.comparators[0].elts)
        elif len(node.ops) == 1 and op in MIRRORED and self.chance.random() < 0.5:
            node.left, node.comparators, node.ops = node.comparators[0], [node.left], [MIRRORED[op]()]
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id in ("min", "max"):
            self.chance.shuffle(node.args)
        return node


class Mutations(ast.NodeTransformer):
    """Changes one thing at a time that may well have a meaning."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    def visit(self, node: ast.AST) -> ast.AST:
        self.generic_visit(node)
        if self.chance.random() > 0.3:
            return node
        match node:
            case ast.Constant(value=bool()):
                return ast.Constant(not node.value)
            case ast.Constant(value=int()):
                return ast.Constant(node.value + self.chance.choice((1, -1)))
            case ast.Compare() if type(node.ops[0]) in MIRRORED:
                node.ops[0] = self.chance.choice(list(MIRRORED))()
            case ast.BinOp():
                node.left, node.right = node.right, node.left
            case ast.BoolOp():
                node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        return node


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_layout_and_order_change_nothing_and_what_is_shared_is_one_meaning(seed):
    chance = random.Random(seed)
    writer = Writer(chance, SCOPE)
    written, other = 0, 0
    while written < 300:
        text = writer.part("bool", 3)
        one = checked(text)
        if one is None:
            continue
        again = checked(ast.unparse(Rewrites(chance).visit(ast.parse(text, mode="eval"))))
        assert again is not None
        assert canonical(again.tree) == canonical(one.tree), f"{text}\n{again.text}"
        written += 1
        mutant = checked(ast.unparse(Mutations(chance).visit(ast.parse(text, mode="eval"))))
        if mutant is None:
            continue
        values = [{name.name: value_of(chance, name) for name in NAMES} for _ in range(30)]
        runs = [function(each, SCOPE, LISTS) for each in (one, mutant)]
        if any(runs[0](value) != runs[1](value) for value in values):
            other += 1
            assert canonical(mutant.tree) != canonical(one.tree), f"{text}\n{mutant.text}"
    assert other > 30


@pytest.mark.parametrize(
    "texts",
    [
        ('e.side == "buy" and e.flag', 'e.flag  and  "buy" == e.side', "(e.flag)\nand (e.side in ('buy',))"),
        ("e.money > 1_000", "1000 < e.money", "e.money > 1000.00", "e.money > cny(1_000)", "e.money > 10 * 100"),
        ("1 < count_7d < 5", "count_7d > 1 and count_7d < 5", "5 > count_7d > 1"),
        ('e.side in ("buy", "sell")', 'e.side in ["sell", "buy", "buy"]'),
        (
            "e.flag or (c.flag or count_7d > 1)",
            "(count_7d > 1 or e.flag) or c.flag",
            "e.flag or c.flag or 1 < count_7d",
        ),
        ('starts_with(e.symbol, ("60", "00"))', "starts_with(e.symbol, ['00', '60'])"),
    ],
)
def test_ways_to_write_one_meaning(texts):
    found = {canonical(one.tree) for text in texts if (one := checked(text))}
    assert len(found) == 1


def test_kin_that_differ_stay_apart():
    """A missing value is what tells most of them apart."""
    texts = [
        "c.flag",
        "not c.flag",
        "known(c.flag)",
        'c.tier != "A"',
        'not c.tier == "A"',
        'c.tier not in ("A", "B")',
        'not c.tier in ("A", "B")',
        'c.tier in ("A", "B")',
        "c.money > 1",
        "c.money >= 1",
        "c.money < 1",
        "c.money > 0.01",
        "c.days > 1",
        "c.days - count_7d * 1 > 0 if e.flag else e.flag",
        'c.language == "A"',
        'c.language == "true"',
        "e.flag and c.flag or c.days > 1",
        "e.flag and (c.flag or c.days > 1)",
        "e.symbol in watched",
        'starts_with(e.symbol, "60")',
        'ends_with(e.symbol, "60")',
        "e.money / c.money > 2",
        "c.money / e.money > 2",
    ]
    found = [canonical(one.tree) for text in texts if (one := checked(text))]
    assert len(set(found)) == len(found) >= len(texts) - 1
