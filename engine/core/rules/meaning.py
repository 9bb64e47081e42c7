"""What a rule set means, apart from how its files are written.

Enters: rule sets. Leaves: values that are equal when the engine would do the same by both; what changed between two.
Holds: digest and files have no part in it; neither have layout, comments and the order of rules in files.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Final

from engine.core.language.canonical import canonical
from engine.core.language.expressions import Expression
from engine.core.rules.occasion import Unanswered
from engine.core.rules.ruleset import Feature, RuleSet, Since

# how and where it is written; what follows
SOURCE: Final = frozenset({"digest", "files", "text", "place", "asked", "asked_by"})
# what older releases did not have counts only where it is said
LATER: Final[dict[type, dict[str, Any]]] = {
    Unanswered: {"by_severity": (), "until": "answered", "hours": "all", "reopened": "begins_anew"}
}
FILTERS: Final = {Feature: "where", Since: "when"}  # nothing of them is published, so the order of terms has no meaning


def filter_meaning(filter_: Expression | None) -> str:
    """Which events a feature's `where` or a `since` takes: equal texts take the same events. Empty: all."""
    if filter_ is None or (isinstance(filter_.tree, ast.Constant) and filter_.tree.value is True):
        return ""
    return canonical(filter_.tree)


def meaning(value: Any) -> Any:
    """A rule set, or a part of one, as nested tuples that can be compared."""
    if isinstance(value, ast.AST):
        return ast.dump(value)
    if isinstance(value, (Feature, Since)):
        parts = {field.name: getattr(value, field.name) for field in fields(value) if field.name not in SOURCE}
        filtered = filter_meaning(parts.pop(FILTERS[type(value)]))
        if "by" in parts and parts["by"] is None:  # what older releases did not have is not asked for
            del parts["by"]
        return type(value).__name__, filtered, *((name, meaning(part)) for name, part in parts.items())
    if is_dataclass(value) and not isinstance(value, type):
        later = LATER.get(type(value), {})
        kept = [field.name for field in fields(value) if field.name not in SOURCE]
        kept = [name for name in kept if name not in later or getattr(value, name) != later[name]]
        return type(value).__name__, *((name, meaning(getattr(value, name))) for name in kept)
    if isinstance(value, dict):
        return tuple((key, meaning(item)) for key, item in value.items())
    if isinstance(value, (tuple, list)):
        return tuple(map(meaning, value))
    return type(value).__name__, value


@dataclass(frozen=True, slots=True)
class Changes:
    """Ids of the rules that differ, and the other parts that do, such as features or tiers."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    parts: tuple[str, ...]


def changes(old: RuleSet, new: RuleSet) -> Changes:
    now = {former: id_ for former, id_ in new.was_rules.items() if id_ not in {rule.id for rule in old.rules}}
    before = {now.get(rule.id, rule.id): meaning(rule) for rule in old.rules}
    after = {rule.id: meaning(rule) for rule in new.rules}
    parts = [field.name for field in fields(RuleSet) if field.name not in SOURCE | {"rules"}]
    return Changes(
        tuple(sorted(after.keys() - before.keys())),
        tuple(sorted(id_ for id_ in after.keys() & before.keys() if after[id_] != before[id_])),
        tuple(sorted(before.keys() - after.keys())),
        tuple(part for part in parts if meaning(getattr(old, part)) != meaning(getattr(new, part))),
    )
