"""Why a rule fires for a client, or does not: its condition term by term, and what would change the answer.

Enters: a Plan, a rule, the client at a moment, the event and tier change of that moment if there are. Leaves: an
Explanation.
Holds: every term is a part of the condition's own text, checked and compiled as the whole is; a change that is named
has been tried on the compiled condition. Without the event its terms are open, and so may be the answer.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from engine.core import features, names
from engine.core.actions import Outcome
from engine.core.decide import contact, cooldown_ends_ms
from engine.core.expressions import BOOL, Expression, Name, Scope, parse, to_python
from engine.core.flips import Flip, flips
from engine.core.generated import Code
from engine.core.matching import Matcher
from engine.core.plan import Plan
from engine.core.ruleset import Rule
from engine.core.shown import shown
from engine.core.state import ClientState

Read = Callable[[ClientState, Any, Any], Any]
Look = Callable[[str, ClientState, Any, Any], None]  # trigger, client, event, tier change
OF_THE_EVENT: Final = re.compile(r"\b[et]\.")  # in a name's code
OPEN: Final = "depends on the event"


@dataclass(frozen=True, slots=True)
class Value:
    """A name, or a part that is calculated, with what it is now."""

    text: str
    shown: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Term:
    """A part of a condition that is true or false; `holds` is None when it depends on an event that is not given."""

    text: str
    offset: int  # where it stands in the condition's text
    joins: Literal["", "and", "or", "not", "if"]
    holds: bool | None
    values: tuple[Value, ...] = ()  # of a term that has no parts
    parts: tuple[Term, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    rule: Rule
    trigger: str
    now_ms: int
    term: Term
    flips: tuple[Flip, ...]  # the smallest change first; one for each name that can do it alone
    stopped: Outcome | None  # what of the contact policy would stop it now
    channel: str
    until_ms: int | None  # the end of its cooldown


@dataclass(slots=True)
class _Part:
    """A term before it has values."""

    text: str
    offset: int
    joins: Literal["", "and", "or", "not", "if"]
    read: Read
    reads: frozenset[str]
    values: list[tuple[str, Expression, Read]] = field(default_factory=list)
    parts: list[_Part] = field(default_factory=list)

    def all(self) -> Iterable[_Part]:
        yield self
        for part in self.parts:
            yield from part.all()


class Explainer:
    """Explains rules of one plan; what is compiled for it is kept."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._scopes: dict[str, Scope] = {}
        self._parts: dict[tuple[str, str], _Part] = {}

    def scope(self, trigger: str) -> Scope:
        if trigger not in self._scopes:
            rule_set = self.plan.rule_set
            reads: dict[str, str] = {}
            for source in features.SOURCES:
                reads |= features.plan_source(source, rule_set.features).reads
            segments = tuple(segment.id for segment in rule_set.tiers.segments)
            self._scopes[trigger] = names.rule_scope(trigger, rule_set.features, rule_set.tiers.names, segments, reads)
        return self._scopes[trigger]

    def part(self, rule: Rule, trigger: str) -> _Part:
        key = (rule.id, trigger)
        if key not in self._parts:
            self._parts[key] = _Reader(rule.when.text, self.scope(trigger)).whole()
        return self._parts[key]

    def explain(self, rule: Rule, trigger: str, client: ClientState, event: Any, move: Any) -> Explanation:
        scope = self.scope(trigger)
        open_names = frozenset(
            n for n in rule.when.names if event is None and move is None and OF_THE_EVENT.search(scope[n].code)
        )
        term = _term(self.part(rule, trigger), scope, client, event, move, open_names)
        found: tuple[Flip, ...] = ()
        if not open_names:
            now = {n: _run(ast.parse(scope[n].code, mode="eval").body)(client, event, move) for n in rule.when.names}
            found = flips(rule.when, scope, now)
        compiled = next(c for c in self.plan.compiled[trigger] if c.rule.id == rule.id)
        outcome, channel = contact(self.plan, copy.copy(client), compiled)
        return Explanation(
            rule=rule,
            trigger=trigger,
            now_ms=client.now_ms,
            term=term,
            flips=found,
            stopped=None if outcome is Outcome.SENT else outcome,
            channel=channel,
            until_ms=cooldown_ends_ms(client, compiled) if outcome is Outcome.COOLDOWN else None,
        )


def watched(plan: Plan, look: Look) -> Plan:
    """The same plan, with a word to `look` at every moment at which rules are looked at, before they are."""

    return replace(plan, match={trigger: _Watched(trigger, match, look) for trigger, match in plan.match.items()})


class _Watched(Matcher):
    __slots__ = ("look", "match", "trigger")

    def __init__(self, trigger: str, match: Matcher, look: Look) -> None:
        self.trigger, self.match, self.look = trigger, match, look

    def __call__(self, client: ClientState, event: Any, move: Any) -> list[int]:
        self.look(self.trigger, client, event, move)
        return self.match(client, event, move)


def reached(part: _Part, client: ClientState, event: Any, move: Any) -> Iterable[tuple[_Part, bool]]:
    """The terms that decide, read from left to right as they would be, each with whether it holds."""
    holds = bool(part.read(client, event, move))
    yield part, holds
    if part.joins in ("and", "or"):
        for inner in part.parts:
            yield from reached(inner, client, event, move)
            if bool(inner.read(client, event, move)) == (part.joins == "or"):
                break
    elif part.joins == "not":
        yield from reached(part.parts[0], client, event, move)
    elif part.joins == "if":
        test, body, orelse = part.parts
        yield from reached(test, client, event, move)
        yield from reached(body if test.read(client, event, move) else orelse, client, event, move)


# -- the parts of a condition ------------------------------------------------------------------------------------------


class _Reader:
    """Takes a condition's text apart. Each part is checked and compiled by itself: it means the same alone."""

    def __init__(self, text: str, scope: Scope) -> None:
        self.text = text
        self.scope = scope
        self.line = text.replace("\n", " ")
        self.start = len(self.line) - len(self.line.lstrip())
        self.encoded = self.line.strip().encode()

    def whole(self) -> _Part:
        return self.part(ast.parse(self.line.strip(), mode="eval").body)

    def written(self, node: ast.expr) -> tuple[str, int]:
        """A node's text on one line, and where it stands."""
        begin, end = node.col_offset, node.end_col_offset
        text = self.encoded[begin:end].decode()
        return re.sub(r"\s+", " ", text), self.start + len(self.encoded[:begin].decode())

    def part(self, node: ast.expr) -> _Part:
        text, offset = self.written(node)
        expression = _checked(text, self.scope, BOOL)
        part = _Part(text, offset, "", _function(expression, self.scope), frozenset(expression.names))
        match node:
            case ast.BoolOp():
                part.joins = "and" if isinstance(node.op, ast.And) else "or"
                part.parts = [self.part(value) for value in node.values]
            case ast.UnaryOp(op=ast.Not()):
                part.joins, part.parts = "not", [self.part(node.operand)]
            case ast.IfExp():
                part.joins, part.parts = "if", [self.part(n) for n in (node.test, node.body, node.orelse)]
            case _:
                for inner in _calculated(node):
                    words, _ = self.written(inner)
                    value = _checked(words, self.scope, None)
                    part.values.append((words, value, _function(value, self.scope)))
        return part


def _calculated(node: ast.expr) -> Iterable[ast.expr]:
    """Names, and the sides of a comparison that are calculated from names, in the order of the text."""
    sides = [node.left, *node.comparators] if isinstance(node, ast.Compare) else [node]
    for side in sides:
        if isinstance(side, (ast.BinOp, ast.IfExp, ast.Call, ast.UnaryOp)) and side is not node:
            inner = list(_names(side))
            yield from inner
            if inner:
                yield side
        else:
            yield from _names(side)


def _names(node: ast.AST) -> Iterable[ast.expr]:
    if isinstance(node, (ast.Attribute, ast.Name)):
        yield node
        return
    for key, child in ast.iter_fields(node):
        if key != "func":
            for inner in child if isinstance(child, list) else [child]:
                if isinstance(inner, ast.AST):
                    yield from _names(inner)


def _checked(text: str, scope: Scope, expect: Any) -> Expression:
    expression = parse(text, scope, expect)
    if not isinstance(expression, Expression):
        raise AssertionError(f"a part of a checked condition is refused: {text!r}: {expression}")
    return expression


def _function(expression: Expression, scope: Scope) -> Read:
    return _run(to_python(expression, scope))


def _run(tree: ast.expr) -> Read:
    code = Code()
    code.function("read", "c, e, t", [f"return {code.place(tree)}"])
    function: Read = code.run()["read"]
    return function


# -- with values -------------------------------------------------------------------------------------------------------


def _term(part: _Part, scope: Scope, client: ClientState, event: Any, move: Any, open_names: frozenset[str]) -> Term:
    parts = tuple(_term(inner, scope, client, event, move, open_names) for inner in part.parts)
    if part.reads & open_names:
        holds = _open(part.joins, [inner.holds for inner in parts])
    else:
        holds = bool(part.read(client, event, move))
    values = []
    for text, expression, read in part.values:
        if open_names.intersection(expression.names):
            values.append(Value(text, OPEN))
            continue
        name: Name | None = scope.get(text)
        said = shown(read(client, event, move), expression.type)
        values.append(Value(text, said, name.description if name else ""))
    unique = tuple({value.text: value for value in values}.values())
    return Term(part.text, part.offset, part.joins, holds, unique, parts)


def _open(joins: str, parts: list[bool | None]) -> bool | None:
    """What is certain though some parts are open."""
    match joins:
        case "and":
            return False if False in parts else None
        case "or":
            return True if True in parts else None
    return None


def failing(term: Term, wanted: bool = True) -> list[Term]:
    """The smallest terms that keep the whole from being `wanted`."""
    if term.holds is wanted:
        return []
    if term.joins == "not":
        return failing(term.parts[0], not wanted)
    if term.joins in ("and", "or"):
        return [inner for part in term.parts for inner in failing(part, wanted)]
    return [term]


def open_terms(term: Term) -> list[Term]:
    """The smallest terms that depend on the event."""
    if term.holds is not None:
        return []
    return [inner for part in term.parts for inner in open_terms(part)] or [term]
