"""Rules and features under other names.

Enters: the rules or features of two sets, by name. Leaves: the old ones by the names that they have now, and those that
may be meant.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import fields, is_dataclass, replace
from typing import Any, Final

from engine.core.rules.meaning import FILTERS, filter_meaning, meaning
from engine.core.rules.occasion import Act, Branch, Doing, Journey, JourneyStep, Split, Waits, pinned_to
from engine.core.rules.ruleset import Feature, Rule, RuleSet

# Of a rule or feature: what it does is the same without.
NO_MEANING: Final = ("id", "name", "was", "title", "owner", "description", "serves", "version", "holdout", "breaker")
LIKE: Final = 4  # parts of six that are the same: then one may be the other under a new name
TELLING: Final = 20  # a value that more have tells nothing


def by_present_name(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What was there before, each under the name of the one that says it was that."""
    heirs = {was: name for name, item in after.items() for was in getattr(item, "was", ()) if name not in before}
    return {heirs.get(name, name): item for name, item in before.items()}


def likenesses(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, str]:
    """Of what is new, what it may have been: the one that is gone and did the same, or nearly."""
    gone = {name: item for name, item in before.items() if name not in after}
    same: dict[str, list[str]] = {}
    near: dict[tuple[str, str], list[str]] = {}
    for name, item in gone.items():
        same.setdefault(_acts(item), []).append(name)
        for sign in _signs(item):
            near.setdefault(sign, []).append(name)
    found = {}
    taken: set[str] = set()
    come = [name for name in after if name not in before] if gone else []
    for name in come:
        was = next((one for one in same.get(_acts(after[name]), ()) if one not in taken), None)
        if was is not None:
            taken.add(was)
            found[name] = _said(after[name], was, f'it does what "{was}" did, which is gone')
    for name in come:
        if name not in found and isinstance(after[name], (Rule, Feature)):
            shared = [near.get(sign, []) for sign in _signs(after[name])]
            counts = Counter(one for names in shared if len(names) <= TELLING for one in names if one not in taken)
            (was, count), *_ = counts.most_common(1) or [("", 0)]
            if count >= LIKE:
                taken.add(was)
                found[name] = _said(after[name], was, f'it is much like "{was}", which is gone')
    return found


def _said(item: Any, was: str, how: str) -> str:
    if isinstance(item, Rule):
        lost = "its cooldowns are forgotten, and clients may get it again"
    elif isinstance(item, Feature):
        lost = "it begins without a past"
    else:
        return f"looks like a rename: {how}"
    kind = "rule" if isinstance(item, Rule) else "feature"
    return f"looks like a rename: {how}, so {lost}; `was: {was}` makes it the same {kind}"


def _acts(item: Any) -> str:
    return repr(_plain(item)) if isinstance(item, (Rule, Feature)) else repr(_nameless(item))


def _nameless(item: Any) -> Any:
    if not is_dataclass(item):
        return meaning(item)
    return meaning(replace(item, **{key: "" for key in ("name", "description") if hasattr(item, key)}))  # type: ignore[type-var]


def _signs(item: Any) -> list[tuple[str, str]]:
    """What tells a rule or feature from others."""
    if not isinstance(item, (Rule, Feature)):
        return []
    plain = _plain(item) | {part: getattr(item, part) for part in ("title", "description") if hasattr(item, part)}
    parts = ("title", "description", "occasion", "when", "template", "parameters")
    if isinstance(item, Feature):
        parts = ("description", "source", "aggregate", "field", "where", "window")
    return [(part, repr(plain[part])) for part in parts]


def name_of(item: Rule | Feature) -> str:
    return item.id if isinstance(item, Rule) else item.name


def renamed(before: Rule | Feature, after: Rule | Feature) -> Rule | Feature:
    """The former one with the name of the present one."""
    if isinstance(before, Rule) and isinstance(after, Rule):
        step = isinstance(before.occasion, JourneyStep) and isinstance(after.occasion, JourneyStep)  # called after it
        occasion = after.occasion if step else before.occasion
        return replace(before, id=name_of(after), was=after.was, occasion=occasion)
    assert isinstance(before, Feature)
    return replace(before, name=name_of(after), was=after.was)


def versions_before(old: RuleSet, new: RuleSet) -> dict[str, Rule]:
    """Of each act of a version of a journey that begins now: what did the same step of the version that began."""
    was, rules = {journey.id: journey for journey in old.journeys}, {rule.id: rule for rule in old.rules}
    found = {}
    for journey in new.journeys:
        before = was.get(journey.id)
        if before is None or not journey.pinned or journey.pinned[0] in before.pinned:
            continue
        began = pinned_to(before.pinned[0]) if before.pinned else ""
        for step in journey.of_version(journey.pinned[0]):
            former = rules.get(f"{journey.id}/{step}{began}")
            name = f"{journey.id}/{step}{pinned_to(journey.pinned[0])}"
            if former is not None and name not in rules and any(rule.id == name for rule in new.rules):
                found[name] = former
    return found


def alone(journey: Journey, version: int | None) -> Journey:
    """A pinned version as if there was no other, by the names that rule files have; None: it is not pinned."""
    if version is None:
        return journey
    last = pinned_to(version)

    class Written(ast.NodeTransformer):
        def visit_Constant(self, node: ast.Constant) -> ast.Constant:
            named = isinstance(node.value, str) and node.value.startswith(f"{journey.id}/")
            return ast.Constant(str(node.value).removesuffix(last)) if named else node

    def written(doing: Doing) -> Doing:
        match doing:
            case Act(next_):
                return Act(next_.removesuffix(last))
            case Waits():
                when = doing.when and replace(doing.when, tree=Written().visit(deepcopy(doing.when.tree)))
                next_, otherwise = doing.next.removesuffix(last), doing.otherwise.removesuffix(last)
                return replace(doing, when=when, next=next_, otherwise=otherwise)
            case Branch(ways, otherwise):
                return Branch(tuple((when, to.removesuffix(last)) for when, to in ways), otherwise.removesuffix(last))
            case Split(lot, shares):
                return Split(lot, tuple((to.removesuffix(last), weight) for to, weight in shares))
        return doing

    steps = tuple((name, written(doing)) for name, doing in journey.of_version(version).items())
    return replace(journey, steps=steps, pinned=())


def acts_otherwise(before: Rule | Feature, after: Rule | Feature) -> bool:
    """Apart from names and words."""
    return _plain(before) != _plain(after)


def _plain(item: Rule | Feature) -> dict[str, Any]:
    parts = {field.name: getattr(item, field.name) for field in fields(item) if field.name not in NO_MEANING}
    filter_ = FILTERS.get(type(item), "")
    return {name: filter_meaning(part) if name == filter_ else meaning(part) for name, part in parts.items()}
