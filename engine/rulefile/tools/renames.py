"""Rules and features under other names.

Enters: the rules or features of two sets, by name. Leaves: the old ones by the names that they have now, and those that
may be meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Final

from engine.core.rules.meaning import FILTERS, filter_meaning, meaning
from engine.core.rules.ruleset import Feature, Rule

# Of a rule or feature: what it does is the same without.
NO_MEANING: Final = ("id", "name", "was", "title", "owner", "description", "serves", "version")


def by_present_name(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What was there before, each under the name of the one that says it was that."""
    heirs = {was: name for name, item in after.items() for was in getattr(item, "was", ()) if name not in before}
    return {heirs.get(name, name): item for name, item in before.items()}


def twin(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    """Of a rule or feature that is new, the one that is gone and did the same."""
    if name in before or not isinstance(after[name], (Rule, Feature)):
        return None
    return next((one for one in before if one not in after and not acts_otherwise(before[one], after[name])), None)


def name_of(item: Rule | Feature) -> str:
    return item.id if isinstance(item, Rule) else item.name


def renamed(before: Rule | Feature, after: Rule | Feature) -> Rule | Feature:
    """The former one with the name of the present one."""
    if isinstance(before, Rule):
        return replace(before, id=name_of(after), was=after.was)
    return replace(before, name=name_of(after), was=after.was)


def acts_otherwise(before: Rule | Feature, after: Rule | Feature) -> bool:
    """Apart from names and words."""
    plain: list[dict[str, Any]] = []
    for item in (before, after):
        parts = {field.name: getattr(item, field.name) for field in fields(item) if field.name not in NO_MEANING}
        filter_ = FILTERS.get(type(item), "")
        plain.append({name: filter_meaning(part) if name == filter_ else meaning(part) for name, part in parts.items()})
    return plain[0] != plain[1]
