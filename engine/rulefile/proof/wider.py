"""Which rules may hold wherever another does, found without comparing each rule with each.

Enters: rules, and what is certain on each trigger. Leaves: for each rule the few others worth a proof, in their order.
Holds: work grows with the number of rules. Of few rules all are named. Of many, one that holds more widely is found by
a value that both ask for, or by a bound: among the widest bounds, and among those nearest to the rule's own.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from engine.core.language.canonical import canonical
from engine.core.rules.occasion import Trigger
from engine.core.rules.ruleset import Rule
from engine.rulefile.proof.narrowing import Box, Unsettled, World, boxes
from engine.rulefile.proof.ranges import INF, Choice, Number

ALL: Final = 40  # of a group of so many rules, each is compared with each
FEW: Final = 8  # of a longer list, so many from each of its ends
MAX_BOXES: Final = 8
MAX_VALUES: Final = 50
MAX_TERMS: Final = 12

Texts = frozenset[Hashable]
Bounds = tuple[Number, Number]
Key = tuple[Hashable, ...]
Entry = tuple[Number, Number, int]  # bounds of a rule's first number, and its place
ANY: Final[tuple[str, Bounds]] = ("", (-INF, INF))
NO_TEXT: Final[tuple[str, Hashable]] = ("", "")


@dataclass(frozen=True, slots=True)
class Outline:
    """What a condition leaves possible, term by term: the values of a text, the bounds of a number."""

    texts: Mapping[str, Texts]
    bounds: Mapping[str, Bounds]

    def within(self, other: Outline) -> bool:
        """Whether it may be that this holds only where the other does."""
        return all(name in self.texts and self.texts[name] <= texts for name, texts in other.texts.items()) and all(
            name in self.bounds and low <= self.bounds[name][0] and self.bounds[name][1] <= high
            for name, (low, high) in other.bounds.items()
        )


NOTHING_KNOWN: Final = Outline({}, {})


def outline(world: World, rule: Rule) -> Outline:
    try:
        found = list(itertools.islice(boxes(world, (rule.when.tree, True)), MAX_BOXES + 1))
    except Unsettled:
        return NOTHING_KNOWN
    if not 0 < len(found) <= MAX_BOXES:
        return NOTHING_KNOWN
    texts: dict[str, Texts] = {}
    bounds: dict[str, Bounds] = {}
    shared = [term for term in found[0] if all(term in box for box in found[1:])]
    for term in shared[:MAX_TERMS]:
        values = _values(found, term)
        if values is not None:
            texts[term] = values
        elif not any(isinstance(box[term].values, Choice) for box in found):
            hulls = [box[term].hull() for box in found]
            bounds[term] = min(low for low, _ in hulls), max(high for _, high in hulls)
    return Outline(texts, bounds)


def _values(found: list[Box], term: str) -> Texts | None:
    values: set[Hashable] = set()
    for box in found:
        choice = box[term].values
        if not isinstance(choice, Choice) or choice.others:
            return None
        values |= choice.values
    return frozenset(values)


class Wider:
    """Of rules in one order. `group`: only rules of one group are compared; None leaves a rule out."""

    def __init__(
        self, rules: list[Rule], worlds: Mapping[Trigger, World], group: Callable[[Rule], Hashable | None]
    ) -> None:
        self.rules = rules
        self.groups = [group(rule) if any(on in worlds for on in rule.triggers) else None for rule in rules]
        self.members: defaultdict[Hashable, list[int]] = defaultdict(list)
        self.outlines: dict[tuple[int, Trigger], Outline] = {}
        for place, rule in enumerate(rules):
            if self.groups[place] is not None:
                self.members[self.groups[place]].append(place)
                for trigger in worlds.keys() & {*rule.triggers}:
                    self.outlines[place, trigger] = outline(worlds[trigger], rule)
        self.alike: defaultdict[Key, list[int]] = defaultdict(list)  # by what they ask, however it is written
        for place, rule in enumerate(rules):
            if self.groups[place] is not None:
                self.alike[self.groups[place], canonical(rule.when.tree)].append(place)
        often = Counter(
            (trigger, *pair) for (_, trigger), drawn in self.outlines.items() for pair in _pairs(drawn.texts)
        )
        self.listed: defaultdict[Key, list[Entry]] = defaultdict(list)
        for (place, trigger), drawn in self.outlines.items():
            term, (low, high) = next(iter(drawn.bounds.items()), ANY)
            pairs = {name: [*_pairs({name: values})] for name, values in drawn.texts.items()}
            some = [found for found in pairs.values() if found]
            for pair in min(some, key=lambda found: sum(often[trigger, *p] for p in found), default=[NO_TEXT]):
                self.listed[self.groups[place], trigger, pair, term].append((low, high, place))
        for entries in self.listed.values():
            entries.sort()
        self.widest = {key: sorted(entries, key=_narrowness)[:FEW] for key, entries in self.listed.items()}

    def of(self, place: int) -> list[int]:
        """The places of rules that may hold wherever this one does."""
        group = self.groups[place]
        members = [] if group is None else self.members[group]
        if len(members) <= ALL:
            return [other for other in members if other != place]
        trigger = next(trigger for trigger in self.rules[place].triggers if (place, trigger) in self.outlines)
        drawn = self.outlines[place, trigger]
        pairs = [NO_TEXT, *((name, min(values, key=str)) for name, values in drawn.texts.items())]
        found: set[int] = set()
        for pair, (term, (low, _)) in itertools.product(pairs, [ANY, *drawn.bounds.items()]):
            key = (group, trigger, pair, term)
            entries = self.listed.get(key, [])
            at = bisect_right(entries, (low, INF, len(self.rules)))
            found.update(other for _, _, other in (*self.widest.get(key, ()), *entries[max(0, at - FEW) : at]))
        found.update(self.alike[group, canonical(self.rules[place].when.tree)][:FEW])
        found.discard(place)
        may = (other for other in sorted(found) if drawn.within(self.outlines.get((other, trigger), NOTHING_KNOWN)))
        return list(itertools.islice(may, 2 * FEW))


def _pairs(texts: Mapping[str, Texts]) -> Iterator[tuple[str, Hashable]]:
    for name, values in texts.items():
        if len(values) <= MAX_VALUES:
            yield from ((name, value) for value in values)


def _narrowness(entry: Entry) -> tuple[int, Number, int]:
    low, high, place = entry
    bounded = (low > -INF) + (high < INF)
    width = high - low if bounded == 2 else -low if high == INF else high
    return bounded, -width if bounded else 0, place
