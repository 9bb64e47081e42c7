"""What values a condition leaves possible: it is assumed true or false, and the values of each name are narrowed.

Enters: trees of checked expressions, and a World that tells what each name can be. Leaves: boxes, each a domain a term.
Holds: a box may be too large, never too small. So when no box is left, no values whatever meet the assumptions; when
one is left, nothing is proved. Work is bounded: beyond BUDGET steps `Unsettled` is raised.

An Or makes one box for each of its parts: the disjunctive normal form, made lazily and cut where a box is empty. A
comparison of a term (a name, or arithmetic as it is written) with written values narrows the term's domain; one of two
terms narrows which of <, = and > can hold between them. Missing is one more value of a domain: a comparison that holds
rules it out, one that does not hold keeps it.
"""

from __future__ import annotations

import ast
import itertools
import math
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from engine.core.language.functions import FUNCTIONS
from engine.core.language.types import MIRRORED
from engine.rulefile.proof.ranges import (
    BOOLS,
    INF,
    NUMBERS,
    SIGNS,
    TEXTS,
    Choice,
    Domain,
    Span,
    Values,
    bounds_of,
    solutions,
)

BUDGET: Final = 4000  # steps; a shipped condition takes less than a hundred
SLACK: Final = 1e-9  # computed bounds are widened by it: arithmetic rounds
ROUNDS: Final = 5

Box = Mapping[str, Domain]
Operator = type[ast.cmpop]
OPPOSITE: Final[dict[Operator, Operator]] = {
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
HOLDING_SIGNS: Final[dict[Operator, str]] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "=",
    ast.NotEq: "<>",
}


class Unsettled(Exception):
    """More boxes than the budget allows."""


@dataclass(frozen=True, slots=True)
class World:
    """What is known of names, whatever the condition."""

    domains: Mapping[str, Domain]
    whole: frozenset[str] = frozenset()  # names of whole numbers
    same: Mapping[str, str] = field(default_factory=dict)  # a name -> the name that always has the same value
    meanings: Mapping[str, ast.expr] = field(default_factory=dict)  # a name -> the expression it stands for
    relations: tuple[tuple[tuple[str, ...], frozenset[tuple[Any, ...]]], ...] = ()  # names and the values they can have
    at_most: tuple[tuple[str, str], ...] = ()  # the first is never above the second, and neither is ever missing
    implied: tuple[tuple[ast.expr, str, Domain], ...] = ()  # where the condition holds, the name is such
    ordered: frozenset[tuple[str, str]] = field(init=False)  # at_most, to be looked up
    ordered_by: Mapping[str, tuple[tuple[str, str], ...]] = field(init=False)
    implied_by: Mapping[str, tuple[tuple[ast.expr, str, Domain], ...]] = field(init=False)

    def __post_init__(self) -> None:
        ordered, implied = defaultdict[str, Any](tuple), defaultdict[str, Any](tuple)
        for pair in self.at_most:
            for name in pair:
                ordered[name] += (pair,)
        for entry in self.implied:
            implied[entry[1]] += (entry,)
        object.__setattr__(self, "ordered", frozenset(self.at_most))
        object.__setattr__(self, "ordered_by", dict(ordered))
        object.__setattr__(self, "implied_by", dict(implied))


def boxes(world: World, *assumptions: tuple[ast.expr, bool]) -> Iterator[Box]:
    """The boxes in which every condition is as assumed. Raises Unsettled."""
    narrowing = _Narrowing(world)
    found: Iterable[Box] = ({},)
    for tree, holds in assumptions:
        found = narrowing.each(found, tree, holds)
    for box in found:
        settled = narrowing.settle(box)
        if settled is not None:
            yield settled


def impossible(world: World, *assumptions: tuple[ast.expr, bool]) -> bool:
    """True only when it is certain that no values meet all of the assumptions."""
    try:
        return next(boxes(world, *assumptions), None) is None
    except Unsettled:
        return False


class _Narrowing:
    def __init__(self, world: World) -> None:
        self.world = world
        self.steps = 0
        self.pairs: dict[str, tuple[ast.expr, ast.expr]] = {}  # terms that were compared, by the key of their signs

    def each(self, found: Iterable[Box], tree: ast.expr, holds: bool) -> Iterator[Box]:
        for box in found:
            yield from self.assume(tree, holds, box)

    def assume(self, node: ast.expr, holds: bool, box: Box) -> Iterator[Box]:
        self.steps += 1
        if self.steps > BUDGET:
            raise Unsettled
        match node:
            case ast.Constant():
                if bool(node.value) is holds:
                    yield box
            case ast.UnaryOp(op=ast.Not()):
                yield from self.assume(node.operand, not holds, box)
            case ast.BoolOp():
                yield from self.junction(node.values, isinstance(node.op, ast.And), holds, box)
            case ast.IfExp():
                for chosen, branch in ((True, node.body), (False, node.orelse)):
                    yield from self.each(self.assume(node.test, chosen, box), branch, holds)
            case ast.Compare() if len(node.ops) > 1:
                pairs = zip(itertools.pairwise([node.left, *node.comparators]), node.ops, strict=True)
                links: list[ast.expr] = [ast.Compare(left, [op], [right]) for (left, right), op in pairs]
                yield from self.junction(links, True, holds, box)
            case ast.Compare():
                yield from self.comparison(node, holds, box)
            case ast.Call(func=ast.Name(id="known"), args=[ast.Name() as name]):
                yield from self.known(name, holds, box)
            case ast.Name() if node.id in self.world.meanings:
                yield from self.assume(self.world.meanings[node.id], holds, box)
            case ast.Call(func=ast.Name(id=id_), args=[text, given]) if self.never(id_, text, given, box):
                if not holds:
                    yield box
            case _:  # a bool by name, or something that is only known to be true or false
                allowed = Domain(Choice(frozenset((holds,))), missing=not holds)
                yield from self.narrow(box, self.key(node), self.domain(node, box, BOOLS), allowed)

    def never(self, function: str, text: ast.expr, given: ast.expr, box: Box) -> bool:
        """Whether no value of the text has what starts_with, ends_with, contains or has_code looks for."""
        code, listed = FUNCTIONS[function].code, self.meant(given)
        values = self.domain(text, box, TEXTS).values
        items = listed.elts if isinstance(listed, ast.Set) else [listed]
        written: list[Any] = [item.value for item in items if isinstance(item, ast.Constant)]
        pieces: list[str] = [*written[0]] if written and isinstance(written[0], tuple) else written
        if code is None or not pieces or not isinstance(values, Choice):
            return False
        if not values.others:
            return not any(code(value, tuple(pieces)) for value in values.values)
        form = values.form
        return form is not None and not any(form.can_have(piece, function) for piece in pieces)

    def junction(self, parts: list[ast.expr], conjunction: bool, holds: bool, box: Box) -> Iterator[Box]:
        if conjunction is not holds:  # one of them is enough
            for part in parts:
                yield from self.assume(part, holds, box)
            return
        found: Iterable[Box] = (box,)
        for part in parts:
            found = self.each(found, part, holds)
        yield from found

    def known(self, name: ast.Name, holds: bool, box: Box) -> Iterator[Box]:
        if name.id in self.world.meanings:
            before = box.get(f"known {name.id}", Domain(BOOLS, missing=False))
            yield from self.narrow(box, f"known {name.id}", before, Domain(Choice(frozenset((holds,)))))
            return
        before = self.domain(name, box, NUMBERS)
        nothing: Values = Choice(frozenset()) if isinstance(before.values, Choice) else ()
        yield from self.narrow(box, self.key(name), before, Domain(before.values if holds else nothing, not holds))

    def comparison(self, node: ast.Compare, holds: bool, box: Box) -> Iterator[Box]:
        left, right, op = self.meant(node.left), self.meant(node.comparators[0]), type(node.ops[0])
        if isinstance(left, ast.IfExp) or isinstance(right, ast.IfExp):
            yield from self.distribute(left, node.ops, right, holds, box)
            return
        if isinstance(left, ast.Constant) and not isinstance(right, (ast.Constant, ast.Set)):
            left, right, op = right, left, MIRRORED.get(op, op)
        effective = op if holds else OPPOSITE[op]
        listed = right.elts if isinstance(right, ast.Set) else [right]
        constants = [item.value for item in listed if isinstance(item, ast.Constant)]
        if len(constants) < len(listed):
            yield from self.pair(left, right, effective, not holds, box)
            return
        allowed = Domain(solutions(effective, constants), missing=not holds)
        if isinstance(left, ast.Constant):
            if allowed.holds(left.value):
                yield box
            return
        before = self.domain(left, box, TEXTS if isinstance(allowed.values, Choice) else NUMBERS)
        for narrowed in self.narrow(box, self.key(left), before, allowed):
            yield from self.all_known(left, narrowed) if holds else (narrowed,)

    def distribute(self, left: ast.expr, ops: list[ast.cmpop], right: ast.expr, holds: bool, box: Box) -> Iterator[Box]:
        """`(a if t else b) > c` is `a > c if t else b > c`."""
        side = left if isinstance(left, ast.IfExp) else right
        assert isinstance(side, ast.IfExp)
        for chosen, branch in ((True, side.body), (False, side.orelse)):
            compare = ast.Compare(branch, ops, [right]) if side is left else ast.Compare(left, ops, [branch])
            yield from self.each(self.assume(side.test, chosen, box), compare, holds)

    def pair(self, left: ast.expr, right: ast.expr, op: Operator, missing: bool, box: Box) -> Iterator[Box]:
        """Two terms: which signs can hold between them, and what the bounds of one say of the other."""
        if op not in HOLDING_SIGNS:  # a list that is not written out
            key = f"{self.key(left)} in {ast.dump(right)}"
            before, allowed = Domain(BOOLS), Domain(Choice(frozenset((op is ast.In,))), missing)
            yield from self.narrow(box, key, box.get(key, before), allowed)
            return
        if self.key(left) > self.key(right):
            left, right, op = right, left, MIRRORED.get(op, op)
        signs = set(HOLDING_SIGNS[op])
        if self.key(left) == self.key(right):
            signs &= {"="}
        signs -= {">"} if (self.key(left), self.key(right)) in self.world.ordered else set()
        signs -= {"<"} if (self.key(right), self.key(left)) in self.world.ordered else set()
        one, two = self.domain(left, box, NUMBERS), self.domain(right, box, NUMBERS)
        (a, b), (c, d) = one.hull(), two.hull()
        out = {sign for sign, never in (("<", a >= d), (">", b <= c), ("=", a > d or b < c)) if never}
        key = f"{self.key(left)} ? {self.key(right)}"
        self.pairs[key] = left, right
        allowed = Domain(Choice(frozenset(signs - out)), missing)
        for narrowed in self.narrow(box, key, box.get(key, Domain(SIGNS)), allowed):
            if missing:
                yield narrowed
                continue
            for first in self.all_known(left, narrowed):
                for second in self.all_known(right, first):
                    yield from self.bounded(left, right, signs, second)

    def bounded(self, left: ast.expr, right: ast.expr, signs: Collection[Hashable], box: Box) -> Iterator[Box]:
        """Of `left <= right`, `left >= right` or both: each takes the other's bound."""
        one, two = self.domain(left, box, NUMBERS), self.domain(right, box, NUMBERS)
        if {"<", ">"} <= {*signs} or isinstance(one.values, Choice) or isinstance(two.values, Choice):
            yield box
            return
        below, above, strict = ">" not in signs, "<" not in signs, "=" not in signs
        (a, b), (c, d) = one.hull(), two.hull()
        if (a, b, c, d) == (-INF, INF, -INF, INF):  # nothing to learn, and perhaps no numbers
            yield box
            return
        mine = Domain((Span(c if above else -INF, d if below else INF, strict, strict),))
        theirs = Domain((Span(a if below else -INF, b if above else INF, strict, strict),))
        for narrowed in self.narrow(box, self.key(left), one, mine):
            yield from self.narrow(narrowed, self.key(right), self.domain(right, narrowed, NUMBERS), theirs)

    def all_known(self, node: ast.expr, box: Box) -> Iterator[Box]:
        """Every value that this arithmetic needs is there."""
        node = self.meant(node)
        parts: list[ast.expr] = []
        match node:
            case ast.Name():
                before = self.domain(node, box, NUMBERS)
                yield from self.narrow(box, self.key(node), before, Domain(before.values, missing=False))
                return
            case ast.BinOp():
                parts = [node.left, node.right]
            case ast.UnaryOp():
                parts = [node.operand]
            case ast.Call():
                parts = node.args
        found: list[Box] = [box]
        for part in parts:
            found = [narrowed for one in found for narrowed in self.all_known(part, one)]
        yield from found

    def narrow(self, box: Box, key: str, before: Domain, allowed: Domain) -> Iterator[Box]:
        """The box with the term inside both, unless nothing is left of it."""
        after = before.meet(allowed, key in self.world.whole)
        if not after.empty:
            yield {**box, key: after}

    def meant(self, node: ast.expr) -> ast.expr:
        while isinstance(node, ast.Name) and node.id in self.world.meanings:
            node = self.world.meanings[node.id]
        return node

    def key(self, node: ast.expr) -> str:
        return self.world.same.get(node.id, node.id) if isinstance(node, ast.Name) else ast.dump(node)

    def domain(self, node: ast.expr, box: Box, like: Values) -> Domain:
        """What a term can be in this box; `like` is every value of its kind."""
        node = self.meant(node)
        key = self.key(node)
        kept = box.get(key)
        if isinstance(node, ast.Name):
            return kept or self.world.domains.get(key) or Domain(like)
        computed = self.computed(node, box, like)
        return computed if kept is None else computed.meet(kept)

    def computed(self, node: ast.expr, box: Box, like: Values) -> Domain:
        match node:
            case ast.Constant():
                value: Any = node.value
                exact = Choice(frozenset((value,))) if isinstance(value, (str, bool)) else (Span(value, value),)
                return Domain(exact, missing=False)
            case ast.Call(func=ast.Name(id=id_)) if (texts := FUNCTIONS[id_].texts) is not None:
                return Domain(Choice(frozenset(texts)))
            case ast.Call(func=ast.Name(id=id_)) if (form := FUNCTIONS[id_].form) is not None:
                return Domain(Choice(frozenset(), True, form))
        if isinstance(like, Choice):
            return Domain(like)
        parts: list[ast.expr] = []
        match node:
            case ast.BinOp():
                parts = [node.left, node.right]
            case ast.UnaryOp():
                parts = [node.operand]
            case ast.IfExp():
                parts = [node.body, node.orelse]
            case ast.Call(func=ast.Name(id=id_)) if FUNCTIONS[id_].bounds is not None:
                parts = node.args
            case _:
                return Domain(like)
        domains = [self.domain(part, box, NUMBERS) for part in parts]
        low, high = bounds_of(node, [(float(a), float(b)) for a, b in (domain.hull() for domain in domains)])
        missing = any(domain.missing for domain in domains)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and not isinstance(node.right, ast.Constant):
            missing = True
        if isinstance(node, ast.Call) and FUNCTIONS[ast.unparse(node.func)].type is not None:
            return Domain((Span(low, high),))
        if math.isnan(low) or math.isnan(high):
            return Domain(NUMBERS, missing)
        return Domain((Span(low - abs(low) * SLACK, high + abs(high) * SLACK),), missing)

    def settle(self, box: Box) -> Box | None:
        """Take in what is known of several names at once; None when nothing is left."""
        for _ in range(ROUNDS):
            before = box
            for names, rows in self.world.relations:
                box = self.related(box, names, rows)
            for key, (left, right) in self.pairs.items():
                if key in box and not box[key].missing:
                    signs = box[key].values
                    assert isinstance(signs, Choice)
                    again = next(self.bounded(left, right, signs.values, box), None)
                    if again is None:
                        return None
                    box = again
            for lesser, greater in _of(self.world.ordered_by, box):
                low = self.of(lesser, box).hull()[0]
                box = self.within(box, greater, Domain((Span(low=low),)))
                high = self.of(greater, box).hull()[1]
                box = self.within(box, lesser, Domain((Span(high=high),)))
            for tree, name, domain in _of(self.world.implied_by, box):
                if next(self.assume(tree, False, box), None) is None:
                    box = self.within(box, name, domain)
            if any(domain.empty for domain in box.values()):
                return None
            if box == before:
                break
        return box

    def of(self, name: str, box: Box) -> Domain:
        return box.get(name) or self.world.domains[name]

    def within(self, box: Box, name: str, allowed: Domain) -> Box:
        return {**box, name: self.of(name, box).meet(allowed, name in self.world.whole)}

    def related(self, box: Box, names: tuple[str, ...], rows: frozenset[tuple[Any, ...]]) -> Box:
        if not any(name in box for name in names):
            return box
        domains = [self.of(name, box) for name in names]
        left = [row for row in rows if all(d.holds(value) for d, value in zip(domains, row, strict=True))]
        for position, name in enumerate(names):
            found = {row[position] for row in left}
            box = self.within(box, name, Domain(Choice(frozenset(found - {None})), missing=None in found))
        return box


def _of(known: Mapping[str, tuple[Any, ...]], box: Box) -> list[Any]:
    """What is known of the names of a box, each once."""
    return list(dict.fromkeys(entry for name in box for entry in known.get(name, ())))
