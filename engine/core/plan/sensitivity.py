"""Where a condition or the measure of a ladder can be wrong, or change, without an event.

Enters: a tree; a ladder; what keeps classes from clients. Leaves: the features that make it wrong while their past is
not wholly known, how it moves with `now`; the ladder with what moves it; bars; when to evaluate a client next.
Holds: in doubt, a feature counts as making the condition wrong, and a bar holds. What cannot move wakes nobody: only
the windows and the counts of days that are read do, and these only where they come to another value.
"""

from __future__ import annotations

import ast
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from engine.core.client.state import ClientState, Layout
from engine.core.contract.actions import ACTIONS
from engine.core.firm_time import DAY_MS, HOUR_MS, NEVER_MS, day_start_ms
from engine.core.language.expressions import Expression, Name, Scope, to_python
from engine.core.language.functions import FUNCTIONS
from engine.core.language.types import MIRRORED
from engine.core.plan.codegen import Code
from engine.core.plan.corrected import Features, features_behind, is_unknown
from engine.core.plan.features import Reach, SourcePlan, Windows, next_slide_ms, windows_of
from engine.core.rules.day_lists import DayLists
from engine.core.rules.policy import ContactClass
from engine.core.rules.ruleset import Ladder

Read = Callable[[ClientState, Any, Any], Any]
Meanings = Mapping[str, Sequence[ast.expr]]  # what a definition or a table stands for, by its name
_RISING: Final = ("count", "sum", "distinct", "max")  # more of the past never makes them less


def wrong_when_short(condition: Expression, aggregates: Mapping[str, str], meanings: Meanings) -> set[str]:
    """The features that a condition may hold by though it would not if all of their past were known.

    A count of which a part is missing is too low: where a condition asks for at least so much, it holds rightly.
    `aggregates` gives each feature's; `meanings` what a definition or a table stands for.
    """
    found: set[str] = set()
    waiting: list[tuple[ast.AST, bool]] = [(condition.tree, True)]  # a part, and whether its being true is what counts
    passed: set[tuple[str, bool]] = set()
    while waiting:
        tree, decides = waiting.pop()
        if isinstance(tree, ast.Name) and tree.id in meanings:
            waiting += [(part, decides) for part in meanings[tree.id] if (tree.id, decides) not in passed]
            passed.add((tree.id, decides))
        elif isinstance(tree, ast.Name) and tree.id in aggregates:
            found.add(tree.id)
        elif not (decides and _at_least(tree, aggregates)):
            waiting += [(part, decides and isinstance(tree, ast.BoolOp)) for part in ast.iter_child_nodes(tree)]
    return found


def _at_least(tree: ast.AST, aggregates: Mapping[str, str]) -> bool:
    """Whether this asks that a count, or a value like it, is at least a written value."""
    if not isinstance(tree, ast.Compare) or len(tree.ops) != 1:
        return False
    left, op, right = tree.left, tree.ops[0], tree.comparators[0]
    if isinstance(op, ast.Lt | ast.LtE):
        left, right = right, left
    elif not isinstance(op, ast.Gt | ast.GtE):
        return False
    return isinstance(left, ast.Name) and aggregates.get(left.id) in _RISING and isinstance(right, ast.Constant)


def moves_with_now(tree: ast.expr) -> Literal["day", "hour"]:
    """Whether what an expression makes of `now` moves with the day alone."""
    inside = {
        id(call.args[0])
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and FUNCTIONS[ast.unparse(call.func)].by_day
    }
    moments = (node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "now")
    return "day" if all(id(node) in inside for node in moments) else "hour"


@dataclass(frozen=True, slots=True)
class CompiledLadder:
    ladder: Ladder
    measure: Read
    money: bool
    enter: tuple[float | None, ...]  # in the measure's stored unit (fen for money)
    exit: tuple[float | None, ...]
    place: dict[str | None, int]  # tier -> its step
    daily_mean: tuple[int, int] | None  # (column, window in days) when the measure is one daily_mean feature
    falling: (
        tuple[str, int, int] | None
    )  # (topic, column, window in days) when it is one count or sum that can only fall
    bases: tuple[Read, ...]  # since when the days are counted that the measure reads
    by_now: Literal["day", "hour"] | None  # how the measure moves with `now`
    windows: Windows  # that the measure reads
    needs: tuple[Reach, ...]  # the features that the measure reads


def compiled_ladder(
    ladder: Ladder,
    measured: Expression,
    measure: Read,
    sources: Mapping[str, SourcePlan],
    reads: Sequence[Name],
    base_of: Mapping[str, Read],
    reaches: Mapping[str, Reach],
) -> CompiledLadder:
    money, name = ladder.measure.type.unit == "cny", ladder.measure.text.strip()
    by_now = moves_with_now(measured.tree) if measured is ladder.measure else "hour"

    def stored(threshold: float | None) -> float | None:
        return round(threshold * 100) if money and threshold is not None else threshold

    return CompiledLadder(
        ladder,
        measure,
        money,
        tuple(stored(step.enter) for step in ladder.steps),
        tuple(stored(step.exit) for step in ladder.steps),
        {step.tier: place for place, step in reversed([*enumerate(ladder.steps)])},
        sources["balances"].daily_means.get(name),
        next(((topic, *plan.falling[name]) for topic, plan in sources.items() if name in plan.falling), None),
        tuple(base_of[name.name] for name in reads if name.changes == "elapsed"),
        by_now if any(name.changes == "now" for name in reads) else None,
        windows_of(sources, {name.name for name in reads}),
        tuple(reaches[name.name] for name in reads if name.name in reaches),
    )


@dataclass(frozen=True, slots=True)
class Bar:
    """What keeps a class of the policy from the client as long as it holds."""

    name: str
    read: Read
    needs: tuple[Reach, ...]  # the features that it may be false by though it is not
    behind: Features

    def holds(self, client: ClientState) -> bool:
        return bool(
            self.read(client, None, None)
            or not all(reach.is_known(client) for reach in self.needs)
            or is_unknown(client, self.behind)
        )


def add_bars(code: Code, classes: Iterable[ContactClass], scope: Scope, sure: DayLists) -> None:
    """Their conditions, as functions."""
    for one in classes:
        for name, condition in one.not_while:
            test = code.place(to_python(sure.sure(condition, in_doubt=True), scope))
            code.function(f"bar_{one.name}_{name}", "c, e, t", [f"return {test}"])


def bars_of(
    classes: Iterable[ContactClass],
    space: Mapping[str, Any],
    scope: Scope,
    meanings: Meanings,
    reaches: Mapping[str, Reach],
) -> dict[str, tuple[Bar, ...]]:
    """Of each class that has some, in their order."""
    aggregates = {name: reach.aggregate for name, reach in reaches.items()}

    def bar(of: str, name: str, condition: Expression) -> Bar:
        opposite = replace(condition, tree=ast.UnaryOp(ast.Not(), condition.tree))
        needs = sorted(wrong_when_short(opposite, aggregates, meanings))
        behind = features_behind(scope, reaches, condition.names)
        return Bar(name, space[f"bar_{of}_{name}"], tuple(reaches[name] for name in needs), behind)

    return {one.name: tuple(bar(one.name, *said) for said in one.not_while) for one in classes if one.not_while}


# -- when time alone changes what is read ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wake:
    """A number of whole days since `base` that conditions compare: they can change at these numbers, None: at each."""

    base: Read
    days: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Watch:
    """When time alone can change what conditions and values say."""

    wakes: tuple[Wake, ...]
    windows: Windows
    by_actions: bool  # whether they read what the engine itself does
    needs: tuple[Reach, ...] = ()  # the features whose value must not be short of its past for them to say anything

    def next_ms(self, layout: Layout, client: ClientState) -> int:
        due_ms = min(next_flip_ms(self.wakes, client), next_slide_ms(layout, client, self.windows))
        if self.by_actions and has_acted(client):
            due_ms = min(due_ms, next_hour_ms(client))
        if self.needs and not all(reach.is_known(client) for reach in self.needs):
            due_ms = min(due_ms, day_start_ms(client.day + 1))
        return due_ms


def has_acted(client: ClientState) -> bool:
    """Whether something was done just now: what reads it is evaluated with the next event, or when the hour ends."""
    return client.activities[ACTIONS.name].last_ms == client.now_ms


def next_hour_ms(client: ClientState) -> int:
    return (client.now_ms // HOUR_MS + 1) * HOUR_MS


def next_flip_ms(wakes: Iterable[Wake], client: ClientState) -> int:
    """When the days that one of them counts next come to a number that matters."""
    due_ms = NEVER_MS
    for wake in wakes:
        if (base_ms := wake.base(client, None, None)) is None:
            continue
        days = (client.now_ms - base_ms) // DAY_MS
        if wake.days is None:
            due_ms = min(due_ms, base_ms + (days + 1) * DAY_MS)
        elif (later := bisect_right(wake.days, days)) < len(wake.days):
            due_ms = min(due_ms, base_ms + wake.days[later] * DAY_MS)
    return due_ms


def flips(conditions: Iterable[Expression], scope: Scope, meanings: Meanings) -> dict[str, tuple[int, ...] | None]:
    """For each name that counts whole days: the counts at which a comparison with it changes; None: any."""
    found: dict[str, set[int] | None] = {}
    waiting = [condition.tree for condition in conditions]
    while waiting:
        tree = waiting.pop()
        compared: dict[int, set[int] | None] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare):
                _compare(node, compared)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "known":
                compared[id(node.args[0])] = set()  # what is known stays known
        for node in ast.walk(tree):
            if not isinstance(node, ast.Name) or node.id not in scope:
                continue
            waiting += meanings.get(node.id, ())
            if scope[node.id].changes == "elapsed":
                so_far, more = found.get(node.id, set()), compared.get(id(node))
                found[node.id] = None if so_far is None or more is None else so_far | more
    return {name: None if days is None else tuple(sorted(days)) for name, days in found.items()}


def _compare(node: ast.Compare, found: dict[int, set[int] | None]) -> None:
    """Add the counts at which a comparison changes, by the node of each name in it; None: any."""
    operands = [node.left, *node.comparators]
    for left, op, right in zip(operands, node.ops, node.comparators, strict=False):
        for name, sign, other in ((left, type(op), right), (right, MIRRORED.get(type(op), type(op)), left)):
            if isinstance(name, ast.Name):
                so_far, more = found.get(id(name), set()), _counts(sign, other)
                found[id(name)] = None if so_far is None or more is None else so_far | more


def _counts(sign: type[ast.cmpop], other: ast.expr) -> set[int] | None:
    """The whole numbers at which `count sign other` changes; None when `other` is not written."""
    counts: set[int] = set()
    for part in other.elts if isinstance(other, ast.Set) else [other]:
        if not isinstance(part, ast.Constant) or not isinstance(part.value, (int, float)):
            return None
        if sign not in (ast.Gt, ast.LtE):
            counts.add(math.ceil(part.value))
        if sign not in (ast.GtE, ast.Lt):
            counts.add(math.floor(part.value) + 1)
    return counts
