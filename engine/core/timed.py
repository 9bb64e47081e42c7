"""What a plan knows of the rules that are not looked at on one event alone.

Enters: the rules by trigger, the names of each trigger's scope. Leaves: Timed.
Holds: indexes are those into the plan's compiled rules of the trigger; a condition over state is woken at every moment
at which time alone can change it.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

from engine.core.expressions import Expression, Name, Scope
from engine.core.ruleset import Becomes, Calendar, Rule, Step, Topic
from engine.core.state import DAY_MS, ClientState

Match = Callable[[ClientState, Any, Any], list[int]]
Read = Callable[[ClientState, Any, Any], Any]
TOPICS: Final[tuple[Topic, ...]] = get_args(Topic)


@dataclass(frozen=True, slots=True)
class Wait:
    """A sequence while it waits for its second step."""

    within_ms: int
    absent: bool
    index: int  # into the compiled rules of `timeout` when absent, else of `after_<topic>`


@dataclass(frozen=True, slots=True)
class Steps:
    """What an event of one topic means for the sequences: each function gives indexes into the rule ids beside it."""

    first: Match
    first_rules: tuple[str, ...]
    then: Match
    then_rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wake:
    """A number of whole days since `base` that conditions compare: they can change at these numbers, None: at each."""

    base: Read
    days: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Timed:
    silences: tuple[tuple[int, str, int], ...]  # (index, source, milliseconds)
    becomes: dict[str, Becomes]  # by rule id
    wakes: tuple[Wake, ...]
    slides: bool  # whether a condition that becomes true reads a window
    calendars: tuple[tuple[int, Calendar], ...]  # (index into `at`, when)
    moments: tuple[Calendar, ...]  # those of `calendars`, each once
    maturities: tuple[tuple[int, Calendar], ...]  # (index into `maturity`, when)
    waits: dict[str, Wait]  # by rule id
    steps: dict[str, Steps]  # by topic


def steps_of(rules: Iterable[Rule], topic: str) -> tuple[list[tuple[str, Step]], list[tuple[str, Step]]]:
    """The first steps and the second steps on a topic, each with its rule's id."""
    sequences = [(rule.id, rule.sequence) for rule in rules if rule.sequence is not None]
    return (
        [(id_, sequence.first) for id_, sequence in sequences if sequence.first.on == topic],
        [(id_, sequence.then) for id_, sequence in sequences if sequence.then.on == topic],
    )


def timed(
    by_trigger: Mapping[str, tuple[Rule, ...]],
    scope: Scope,
    definitions: Mapping[str, Expression],
    steps: dict[str, Steps],
    bases: Mapping[str, Read],
) -> Timed:
    """`scope` is that of `becomes`; `bases` reads the base of each name that counts days, by the name."""
    waits = {
        rule.id: Wait(rule.sequence.within_s * 1000, rule.sequence.absent, index)
        for trigger, rules in by_trigger.items()
        if trigger == "timeout" or trigger.startswith("after_")
        for index, rule in enumerate(rules)
        if rule.sequence is not None
    }
    names = [name for rule in by_trigger["becomes"] for name in read_by(rule.when, scope)]
    return Timed(
        silences=tuple(
            (index, rule.silence.source, rule.silence.days * DAY_MS)
            for index, rule in enumerate(by_trigger["silence"])
            if rule.silence is not None
        ),
        becomes={rule.id: rule.becomes for rule in by_trigger["becomes"] if rule.becomes is not None},
        wakes=tuple(Wake(bases[name], days) for name, days in flips(by_trigger["becomes"], scope, definitions).items()),
        slides=any(name.changes in ("day", "hour") for name in names),
        calendars=_calendars(by_trigger["at"]),
        moments=tuple(dict.fromkeys(when for _, when in _calendars(by_trigger["at"]))),
        maturities=_calendars(by_trigger["maturity"]),
        waits=waits,
        steps=steps,
    )


def _calendars(rules: tuple[Rule, ...]) -> tuple[tuple[int, Calendar], ...]:
    return tuple((index, rule.at) for index, rule in enumerate(rules) if rule.at is not None)


def read_by(expression: Expression, scope: Scope) -> list[Name]:
    """The names an expression reads, those that its definitions and tables read included."""
    return [inner for name in expression.names for inner in (scope[name].reads or (scope[name],))]


def flips(
    rules: Iterable[Rule], scope: Scope, definitions: Mapping[str, Expression]
) -> dict[str, tuple[int, ...] | None]:
    """For each name that counts whole days: the counts at which a comparison with it can change; None: at any."""
    found: dict[str, set[int] | None] = {}
    waiting = [rule.when for rule in rules]
    while waiting:
        tree = waiting.pop().tree
        compared: dict[int, set[int]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare):
                compared |= _compared(node)
        for node in ast.walk(tree):
            if not isinstance(node, ast.Name) or node.id not in scope:
                continue
            if node.id in definitions:
                waiting.append(definitions[node.id])
                continue
            for inner in scope[node.id].reads or ():
                if inner.changes == "elapsed":
                    found[inner.name] = None
            if scope[node.id].changes == "elapsed":
                so_far, more = found.get(node.id, set()), compared.get(id(node))
                found[node.id] = None if so_far is None or more is None else so_far | more
    return {name: None if days is None else tuple(sorted(days)) for name, days in found.items()}


def _compared(node: ast.Compare) -> dict[int, set[int]]:
    """The written numbers that the names of a comparison meet, by the name's node: a count of days can change its
    answer at such a number or just after it.
    """
    operands = [node.left, *node.comparators]
    written: set[int] = set()
    for operand in operands:
        parts = operand.elts if isinstance(operand, ast.Set) else [operand]
        for part in parts:
            if isinstance(part, ast.Constant) and isinstance(part.value, (int, float)):
                written |= {math.floor(part.value), math.floor(part.value) + 1}
            elif not isinstance(part, ast.Name):
                return {}
    names = [operand for operand in operands if isinstance(operand, ast.Name)]
    return {id(names[0]): written} if len(names) == 1 else {}
