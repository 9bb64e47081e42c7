"""Finds which of many conditions hold while testing only a few: bitmap indexes over what each asks of one value.

Enters: conditions in order, and the scope of their names. Leaves: a Matcher.
Holds: an index leaves out only what cannot hold, and what it leaves is tested whole, so the result is that of testing
each condition alone. A form that is not understood here is left to the test.

A condition is one row, or one for each side of an `or`. Bit i of a mask stands for row i. For each value that enough
rows ask about, a table gives the mask of the rows that can hold with it: by the value itself for texts and bools, by
its place among all the written bounds for numbers. The `and` of these masks is what has to be tested.
"""

from __future__ import annotations

import ast
import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from operator import xor
from typing import Any, Final, NamedTuple

from engine.core.assign.roster import Assignment, Roster, roster_of
from engine.core.language.expressions import Expression, Name, Scope, number, to_python
from engine.core.language.types import MIRRORED
from engine.core.plan.codegen import Code
from engine.core.rules import names
from engine.core.rules.day_lists import DayLists
from engine.core.rules.occasion import BUSINESS_DAYS, Calendar, OnEvents, Trigger
from engine.core.rules.ruleset import Rule, RuleSet
from engine.core.teams import Headers, headers_by_team

Read = Callable[[Any, Any, Any], Any]
Values = frozenset[Any]  # what a text or bool may be
Range = tuple[float, float]  # where a number may be: from the first on, below the second
Row = dict[str, Values | Range]  # what is asked of each value; its key is a name, or the text of a calculation

MAX_ROWS: Final = 8  # of one condition; an `or` that makes more is left to the test
# A table costs less than a test of a condition. How many tests it spares is guessed from the types.
WORTH: Final = 0.75
SHARE_OF_RANGE: Final = 0.3
SHARE_OF_TEXT: Final = 0.05


class Matcher:
    """Called with client, event and tier change: the indexes of the conditions that hold, ascending."""

    __slots__ = ("_candidates", "_masks", "_rows", "_tests")

    def __init__(self, candidates: Read, rows: Sequence[int], tests: Sequence[Read]) -> None:
        self._candidates = candidates
        self._tests = tests
        self._rows = [(index, tests[index]) for index in rows]
        self._masks: dict[int, int] = {}  # of each condition, its rows

    def only(self, indexes: Iterable[int]) -> Matcher:
        """The same, but for those conditions that are not among these: they never hold."""
        if not self._masks:
            for row, (index, _) in enumerate(self._rows):
                self._masks[index] = self._masks.get(index, 0) | 1 << row
        mask = 0
        for index in indexes:
            mask |= self._masks.get(index, 0)
        return self._with((lambda c, e, t: self._candidates(c, e, t) & mask) if mask else _none)

    def watched(self, look: Read) -> Matcher:
        """The same, but it calls `look` each time before."""

        def candidates(client: Any, event: Any, move: Any) -> Any:
            look(client, event, move)
            return self._candidates(client, event, move)

        return self._with(candidates)

    def _with(self, candidates: Read) -> Matcher:
        found = Matcher(candidates, (), self._tests)
        found._rows, found._masks = self._rows, self._masks
        return found

    def __call__(self, client: Any, event: Any, move: Any) -> list[int]:
        mask, rows, last = self._candidates(client, event, move), self._rows, -1
        found: list[int] = []
        while mask:  # from the last row to the first: a mask gets shorter so
            row = mask.bit_length() - 1
            mask ^= 1 << row
            index, test = rows[row]
            if index != last and test(client, event, move):
                found.append(index)
            last = index
        found.reverse()
        return found

    def costs(self, client: Any, event: Any, move: Any, clock: Callable[[], int]) -> dict[int, int]:
        """What each test that this event needs takes on `clock`, by index; the rest of the conditions cost nothing."""
        mask = self._candidates(client, event, move)
        costs: dict[int, int] = {}
        for index in dict.fromkeys(index for row, (index, _) in enumerate(self._rows) if mask >> row & 1):
            began = clock()
            self._tests[index](client, event, move)
            costs[index] = clock() - began
        return costs


def _none(client: Any, event: Any, move: Any) -> int:
    return 0


def add(code: Code, name: str, conditions: Sequence[Expression], scope: Scope) -> None:
    """Make a Matcher called `name` of `code`: a test of each condition, and a function that gives the rows to test."""
    analysis = _Analysis(scope)
    split = [(at, row) for at, condition in enumerate(conditions) for row in analysis.rows(condition.tree)]
    code.function(f"candidates_{name}", "c, e, t", _candidates(code, name, [row for _, row in split], analysis))
    for at, condition in enumerate(conditions):
        code.function(f"test_{name}_{at}", "c, e, t", [f"return {code.place(to_python(condition, scope))}"])

    def make(space: Mapping[str, Any]) -> Matcher:
        tests = [space[f"test_{name}_{at}"] for at in range(len(conditions))]
        return Matcher(space[f"candidates_{name}"], [at for at, _ in split], tests)

    code.made[name] = make


class Pools(NamedTuple):
    """Which pool a client belongs to, and what it needs."""

    roster: Roster
    names: tuple[str, ...]
    which: Matcher
    needs: tuple[tuple[tuple[str, Read], ...], ...]  # of each pool: skill, level
    conflicts: tuple[Read | None, ...]  # of each pool: whether the client is not to have its advisor
    teams: tuple[tuple[str, Headers], ...]  # of each pool: whose work it is where a client has no advisor
    limited: Mapping[str, str]  # advisor -> pool, of those who have at most so many open tasks


def team_of(pools: Pools | None, client: Any, owner: str, headers: Headers = ()) -> tuple[str, Headers]:
    """Whose an advisor's work is where the client has none, with the headers: the team of the client's pool, of a
    client of no pool the rule's owner.
    """
    found = pools.which(client, None, None) if pools is not None else ()
    return pools.teams[found[0]] if pools is not None and found else (owner, headers)


def add_pools(code: Code, assignment: Assignment | None, scope: Scope, may_hold: Callable[..., Expression]) -> None:
    pools = assignment.pools if assignment is not None else ()
    add(code, "pool", [may_hold(pool.when) for pool in pools], scope if pools else {})
    for at, pool in enumerate(pools):
        if pool.conflict is not None:
            told = to_python(may_hold(pool.conflict), scope)
            code.function(f"conflict_{at}", "c, e, t", [f"return {code.place(told)}"])
        for skill, level in pool.needs:
            code.function(f"needs_{at}_{skill}", "c, e, t", [f"return {code.place(to_python(level, scope))}"])


def pools_of(rule_set: RuleSet, space: Mapping[str, Any]) -> Pools | None:
    if (assignment := rule_set.assignment) is None:
        return None
    needs = tuple(
        tuple((skill, space[f"needs_{at}_{skill}"]) for skill, _ in pool.needs)
        for at, pool in enumerate(assignment.pools)
    )
    roster = roster_of(assignment, rule_set.advisors)
    conflicts = tuple(space[f"conflict_{at}"] if one.conflict else None for at, one in enumerate(assignment.pools))
    headers = headers_by_team(rule_set.teams)
    teams = tuple((pool.team, headers.get(pool.team, ())) for pool in assignment.pools)
    limited = {one.name: one.pool for of in roster.advisors.values() for one in of if one.open_tasks is not None}
    return Pools(roster, tuple(roster.pools), space["pool"], needs, conflicts, teams, limited)


def _candidates(code: Code, name: str, rows: Sequence[Row], analysis: _Analysis) -> Iterator[str]:
    scope = analysis.scope
    code.constants["bisect_right"] = bisect_right
    code.constants[f"{name}_all"] = (1 << len(rows)) - 1
    yield f"mask = {name}_all"
    for position, key in enumerate(_worth(rows, scope)):
        table, rest, bounds = (f"{name}_{part}_{position}" for part in ("table", "rest", "bounds"))
        tree = analysis.asked[key]
        known = scope[tree.id] if isinstance(tree, ast.Name) else None
        value = known.code if known else code.place(to_python(Expression(key, tree, number(), True, ()), scope))
        code.constants[rest] = others = sum(1 << row for row, asks in enumerate(rows) if key not in asks)
        if any(isinstance(row.get(key), frozenset) for row in rows):
            code.constants[table] = _by_value(rows, key, others)
            yield f"mask &= {table}.get({value}, {rest})"
        else:
            code.constants[bounds], code.constants[table] = _by_bound(rows, key)
            yield f"x = {value}"
            missing = f"{rest} if x is None else " if known is None or known.optional else ""
            yield f"mask &= {missing}{table}[bisect_right({bounds}, x)]"
        yield "if not mask: return 0"
    yield "return mask"


# -- what a condition asks ---------------------------------------------------------------------------------------------


class _Analysis:
    """What conditions ask of single values; `asked` has the tree of each."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.asked: dict[str, ast.expr] = {}

    def rows(self, node: ast.expr) -> list[Row]:
        """The condition is false if no row can hold; without rows it is never true."""
        match node:
            case ast.BoolOp(op=ast.And()):
                rows: list[Row] = [{}]
                for part in node.values:
                    more = self.rows(part)
                    if len(rows) * len(more) <= MAX_ROWS:
                        rows = [both for a in rows for b in more if (both := _both(a, b)) is not None]
                return rows
            case ast.BoolOp():
                rows = [row for part in node.values for row in self.rows(part)]
                return rows if len(rows) <= MAX_ROWS and {} not in rows else [{}]
            case ast.Constant(value=False):
                return []
            case ast.Name():
                return [{self.key(node): frozenset((True,))}]
            case ast.UnaryOp(op=ast.Not(), operand=ast.Name() as name):
                return [{self.key(name): frozenset((False, None))}]
            case ast.Compare():
                row: Row | None = {}
                for left, op, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
                    row = _both(row, self.comparison(left, op, right)) if row is not None else None
                return [] if row is None else [row]
        return [{}]

    def comparison(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Row:
        if isinstance(left, ast.Constant) and type(op) in MIRRORED:
            left, op, right = right, MIRRORED[type(op)](), left
        if isinstance(left, ast.Constant):
            return {}
        match op, right:
            case ast.In(), ast.Set(elts=items) if all(isinstance(item, ast.Constant) for item in items):
                return self.one_of(left, [item.value for item in items if isinstance(item, ast.Constant)])
            case ast.In(), ast.Name(id=listed) if self.scope[listed].type.values:
                return self.one_of(left, list(self.scope[listed].type.values or ()))
            case ast.Eq(), ast.Constant(value=value):
                return self.one_of(left, [value])
            case ast.Lt(), ast.Constant(value=float() | int() as value):
                return {self.key(left): (-math.inf, value)}
            case ast.LtE(), ast.Constant(value=float() | int() as value):
                return {self.key(left): (-math.inf, _above(value))}
            case ((ast.Gt() | ast.GtE()), ast.Constant(value=float() | int() as value)):  # equality is left to the test
                return {self.key(left): (value, math.inf)}
        return {}

    def one_of(self, node: ast.expr, values: list[Any]) -> Row:
        """`node` is one of some written values."""
        if all(isinstance(value, str) for value in values):
            return {self.key(node): frozenset(values)}
        if all(isinstance(value, (int, float)) for value in values):
            return {self.key(node): (min(values), _above(max(values)))}
        return {}

    def key(self, node: ast.expr) -> str:
        key = node.id if isinstance(node, ast.Name) else ast.unparse(node)
        self.asked[key] = node
        return key


def _above(value: float) -> float:
    """The next number: what is below it, an integer also, is at most `value`, or is left to the test."""
    return math.nextafter(value, math.inf)


def _both(one: Row, other: Row) -> Row | None:
    """What both ask; None if no value fits."""
    both = dict(one)
    for key, asks in other.items():
        before = both.get(key, asks)
        if isinstance(asks, frozenset) and isinstance(before, frozenset):
            both[key] = values = asks & before
            if not values:
                return None
        elif isinstance(asks, tuple) and isinstance(before, tuple):
            both[key] = low, below = max(asks[0], before[0]), min(asks[1], before[1])
            if low >= below:
                return None
    return both


# -- tables ------------------------------------------------------------------------------------------------------------


def _worth(rows: Sequence[Row], scope: Scope) -> list[str]:
    """The keys whose tables pay, each the one that spares most of the tests that those before it leave."""
    uses: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for row, asks in enumerate(rows):
        for key, ask in asks.items():
            uses[key].append((row, 1 - _share(ask, scope.get(key))))
    uses = {key: spared for key, spared in uses.items() if len(spared) > 1}
    left = [1.0] * len(rows)
    chosen: list[str] = []
    while uses:
        gains = {key: sum(left[row] * spared for row, spared in of) for key, of in uses.items()}
        best = max(gains, key=lambda key: gains[key])
        if gains[best] < WORTH:
            break
        for row, spared in uses.pop(best):
            left[row] *= 1 - spared
        chosen.append(best)
    return chosen


def _share(ask: Values | Range, name: Name | None) -> float:
    """An estimate of how often a value fits."""
    if isinstance(ask, tuple):
        return SHARE_OF_RANGE
    if not all(isinstance(value, str) for value in ask):
        return 0.5
    return min(len(ask) / len(name.type.values) if name and name.type.values else len(ask) * SHARE_OF_TEXT, 1.0)


def _by_value(rows: Sequence[Row], key: str, rest: int) -> dict[Any, int]:
    table: dict[Any, int] = defaultdict(lambda: rest)
    for row, asks in enumerate(rows):
        for value in asks.get(key, ()):
            table[value] |= 1 << row
    return dict(table)


def _by_bound(rows: Sequence[Row], key: str) -> tuple[list[float], list[int]]:
    """All bounds, ascending, and a mask for the numbers before the first, between each two and after the last."""
    anywhere: Range = (-math.inf, math.inf)
    ranges = [asks.get(key, anywhere) for asks in rows]
    bounds = sorted({bound for range_ in ranges for bound in range_ if math.isfinite(bound)})
    places = {bound: place + 1 for place, bound in enumerate(bounds)} | {-math.inf: 0, math.inf: len(bounds) + 1}
    changes = [0] * (len(bounds) + 2)  # which rows come in or go at each place
    for row, (low, below) in enumerate(ranges):
        changes[places[low]] ^= 1 << row
        changes[places[below]] ^= 1 << row
    return bounds, list(accumulate(changes[:-1], xor))


def tuple_of(places: list[str]) -> str:
    return f"({', '.join(places)}{',' if len(places) == 1 else ''})"


def told(condition: Expression, scope: Scope) -> tuple[str, ...]:
    """The names whose values say why a condition holds: its own, and those that its definitions and tables follow
    from.
    """
    found: dict[str, None] = {}
    for name in condition.names:
        found |= dict.fromkeys((name, *(read.name for read in scope[name].reads or ())))
    return tuple(found)


def add_rules(
    code: Code,
    trigger: Trigger,
    rules: tuple[Rule, ...],
    scopes: Mapping[Trigger | None, Scope],
    day_lists: DayLists,
) -> None:
    """The conditions, reasons and parameters of a trigger's rules, as functions."""
    scope = scopes[trigger] if rules else {}
    conditions = [replace(rule.when, tree=day_lists.may_hold(rule.when.tree)) for rule in rules]
    add(code, f"match_{trigger}", conditions, scope)
    for index, rule in enumerate(rules):
        said = [scope[n] for n in told(rule.when, scope)]
        why = [repr(names.PERSONAL) if names.is_personal(name) else name.code for name in said]
        parameters = [code.place(to_python(expression, scope)) for _, expression in rule.parameters]
        code.function(f"why_{trigger}_{index}", "c, e, t", [f"return {tuple_of(why)}"])
        code.function(f"parameters_{trigger}_{index}", "c, e, t", [f"return {tuple_of(parameters)}"])
        if isinstance(rule.occasion, OnEvents) and (own := own_part(conditions[index], scope)) is not None:
            code.function(f"own_{trigger}_{index}", "c, e, t", [f"return {code.place(to_python(own, scope))}"])
        if rule.offers is not None:
            code.function(
                f"offers_{trigger}_{index}", "c, e, t", [f"return {code.place(to_python(rule.offers, scope))}"]
            )
        given = (rule.cooldown_by, rule.channels_by)
        others = [asked.tree for asked in (*(value for _, value in rule.parameters), rule.offers, *given) if asked]
        by_day = isinstance(rule.occasion, Calendar) and rule.occasion.every in BUSINESS_DAYS
        if (beyond := day_lists.beyond(rule.when.tree, others, by_day)) is not None:
            test = code.place(to_python(replace(rule.when, tree=beyond), scope))
            code.function(f"beyond_{trigger}_{index}", "c, e, t", [f"return {test}"])
        if any(given):
            contact = [code.place(to_python(by, scopes[None])) if by else "None" for by in given]
            code.function(f"contact_{trigger}_{index}", "c, e, t", [f"return {tuple_of(contact)}"])


def own_part(condition: Expression, scope: Scope) -> Expression | None:
    """What of a condition its event alone decides, whenever it is asked; None if nothing."""

    def is_own(part: ast.expr) -> bool:
        asked = [scope[node.id] for node in ast.walk(part) if isinstance(node, ast.Name) and node.id in scope]
        return bool(asked) and all(name.of == "event" for known in asked for name in known.reads or (known,))

    tree = condition.tree
    parts = tree.values if isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And) else [tree]
    own = [part for part in parts if is_own(part)]
    if not own:
        return None
    return replace(condition, tree=own[0] if len(own) == 1 else ast.BoolOp(ast.And(), own))
