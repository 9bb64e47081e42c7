"""The templates that a rule set asks for: what a messaging system has to render, with which parameters.

Enters: a rule set, or two. Leaves: Templates, their JSON Schemas, what would break whoever renders them.
Holds: a template that several rules use has what all of them give; what only some give, or what can be missing, if only
since a correction left a feature unknown, may be null or absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from engine.core.language.expressions import Expression
from engine.core.language.types import DURATION, MONEY, TIME
from engine.core.plan.corrected import can_be_unknown, features_behind
from engine.core.rules.names import Scopes
from engine.core.rules.ruleset import Rule, RuleSet
from engine.rulefile.proof.worlds import scope_of
from engine.rulefile.tools.diff import Difference

# As they are published: money as a decimal text, a time as RFC 3339, a duration in seconds.
_WRITTEN: Final[dict[str | None, dict[str, Any]]] = {
    MONEY: {"type": "string", "pattern": r"^-?\d+\.\d\d$"},
    TIME: {"type": "string", "format": "date-time"},
    DURATION: {"type": "integer"},
}


@dataclass(frozen=True, slots=True)
class Parameter:
    kind: str  # number, text or bool
    unit: str | None
    values: tuple[str, ...] | None  # of a text that has few
    always: bool  # all rules give it, and it is never missing

    def __str__(self) -> str:
        what = (
            " | ".join(self.values) if self.values else self.unit or {"bool": "true or false"}.get(self.kind, self.kind)
        )
        return what if self.always else f"{what}, or nothing"

    def schema(self) -> dict[str, Any]:
        if self.kind == "bool":
            found: dict[str, Any] = {"type": "boolean"}
        elif self.kind == "text":
            found = {"type": "string"} | ({"enum": list(self.values)} if self.values else {})
        else:
            found = _WRITTEN.get(self.unit, {"type": "number"})
        if self.unit:
            found = found | {"description": f"In {self.unit}."}
        return found if self.always else {"anyOf": [found, {"type": "null"}]}


@dataclass(frozen=True, slots=True)
class Template:
    name: str
    rules: tuple[str, ...]
    kinds: tuple[str, ...]
    audiences: tuple[str, ...]
    channels: tuple[str, ...]
    parameters: dict[str, Parameter]

    def as_json(self) -> dict[str, Any]:
        return {
            "template": self.name,
            "rules": self.rules,
            "kinds": self.kinds,
            "audiences": self.audiences,
            "channels": self.channels,
            "parameters": {
                name: {"kind": one.kind, "unit": one.unit, "values": one.values, "always": one.always}
                for name, one in self.parameters.items()
            },
            "schema": self.schema(),
        }

    def schema(self) -> dict[str, Any]:
        """Of an action's `parameters`, where its `template` is this one."""
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": f"Parameters of {self.name}",
            "type": "object",
            "properties": {name: one.schema() for name, one in self.parameters.items()},
            "required": [name for name, one in self.parameters.items() if one.always],
            "additionalProperties": False,
        }

    def lines(self) -> Iterator[str]:
        yield f"{self.name}: {', '.join(self.kinds)} by {', '.join(self.channels)}, of {', '.join(self.rules)}"
        yield from (f"  {name}: {one}" for name, one in self.parameters.items())


def templates(rule_set: RuleSet) -> dict[str, Template]:
    """By name."""
    of: dict[str, list[Rule]] = {}
    for rule in sorted(rule_set.rules, key=lambda rule: rule.id):
        of.setdefault(rule.template, []).append(rule)
    doubtful, scopes = can_be_unknown(rule_set.features), Scopes(partial(scope_of, rule_set))

    def is_sure(rule: Rule, value: Expression) -> bool:
        return not value.optional and not features_behind(scopes[rule.triggers[0]], doubtful, value.names)

    return {name: _template(name, of[name], is_sure) for name in sorted(of)}


def _template(name: str, rules: list[Rule], is_sure: Callable[[Rule, Expression], bool]) -> Template:
    given: dict[str, list[Expression]] = {}
    for rule in rules:
        for parameter, expression in rule.parameters:
            given.setdefault(parameter, []).append(expression)
    sure = {
        key
        for key, each in given.items()
        if len(each) == len(rules) and all(is_sure(rule, dict(rule.parameters)[key]) for rule in rules)
    }
    parameters = {key: _parameter(each, always=key in sure) for key, each in sorted(given.items())}
    return Template(
        name,
        tuple(rule.id for rule in rules),
        tuple(dict.fromkeys(rule.kind for rule in rules)),
        tuple(dict.fromkeys(rule.audience for rule in rules)),
        tuple(dict.fromkeys(channel for rule in rules for channel in rule.channels)),
        parameters,
    )


def _parameter(expressions: list[Expression], *, always: bool) -> Parameter:
    kinds, units = {e.type.kind for e in expressions}, {e.type.unit for e in expressions}
    listed = [e.type.values for e in expressions]
    values = None if None in listed else tuple(sorted({value for each in listed for value in each or ()}))
    kind = kinds.pop() if len(kinds) == 1 else "text"
    unit = units.pop() if len(units) == 1 else None
    return Parameter(kind, unit, values, always)


def breaking(old: RuleSet, new: RuleSet) -> Iterator[Difference]:
    """What whoever renders the old set's templates has to change before the new one is published."""
    before, after = templates(old), templates(new)
    for name, template in after.items():
        lines = list(_breaks(before[name], template)) if name in before else ["it has to be rendered: it is new"]
        if lines:
            yield Difference("template", f'"{name}"', "changed", tuple(lines))


def _breaks(old: Template, new: Template) -> Iterator[str]:
    for name, was in old.parameters.items():
        now = new.parameters.get(name)
        if now is None:
            yield f"{name} is no longer given"
        elif (now.kind, now.unit) != (was.kind, was.unit):
            yield f"{name} was {was}, and is {now}"
        else:
            if was.always and not now.always:
                yield f"{name} may be missing"
            if was.values and now.values and (more := sorted(set(now.values) - set(was.values))):
                yield f"{name} may be {', '.join(more)}, too"
            elif was.values and not now.values:
                yield f"{name} may be any text"
    for channel in new.channels:
        if channel not in old.channels:
            yield f"it goes out by {channel}, too"
