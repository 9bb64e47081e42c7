"""What follows from a fault elsewhere, so that one fault is one problem.

Enters: faults of expressions, problems. Leaves: which of them only follow from another; problems that say the same as
one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from engine.core.language.expressions import Fault
from engine.rulefile.source.problem import Problem

TIERS_DECLARE: Final = (
    "client.tier",
    "tier_change.old",
    "tier_change.new",
    "tier_at_risk.falls_to",
    "client.segment",
)  # names by their values
MAX_SHOWN: Final = 5


@dataclass(slots=True)
class Unsure:
    """Names whose own declaration is faulty: what is said of them elsewhere would only mislead."""

    published: bool = False  # the files passed the checks of their time: those that came later do not apply
    names: set[str] = field(default_factory=set)
    any_name: bool = False
    values: tuple[str, ...] = ()  # names whose values are declared
    known_on: dict[str, str] = field(default_factory=dict)  # what is declared for one topic
    hidden: int = 0  # faults that were not reported
    cells: dict[str, dict[str, tuple[str, int, int]]] = field(default_factory=dict)  # of lists: where each value stands
    alike: dict[str, list[Problem]] = field(default_factory=dict)  # by the undeclared name

    def hides(self, fault: Fault) -> bool:
        if fault.kind == "unknown name":
            hides = self.any_name or fault.name in self.names
        else:
            hides = fault.kind == "never that value" and fault.name in self.values
        self.hidden += hides
        return hides

    def remedy(self, fault: Fault) -> str:
        """A name that is declared for one topic is unknown elsewhere."""
        topic = self.known_on.get(fault.name) if fault.kind == "unknown name" else None
        return f"it is declared for {topic} alone" if topic else fault.remedy

    def in_list(self, fault: Fault, text: str, problems: list[Problem]) -> bool:
        """A value that a list has and the name never: reported once, in the list."""
        listed = re.match("[a-z0-9_]*", text[fault.offset :])
        value = fault.message.partition(' never "')[2].removesuffix('"')
        at = self.cells.get(listed[0], {}).get(value) if listed and fault.kind == "never that value" else None
        if at is not None:
            problem = Problem(*at, None, fault.message, fault.remedy)
            if problem not in problems:
                problems.append(problem)
            self.hidden += 1
        return at is not None

    def note(self, fault: Fault, problem: Problem) -> None:
        """What rule files declare is missed wherever it is used: a name, a tier, a segment."""
        if fault.kind == "unknown name" and "." not in fault.name:
            self.alike.setdefault(fault.name, []).append(problem)
        elif fault.kind == "never that value" and fault.name in TIERS_DECLARE:
            self.alike.setdefault(fault.message.partition(" never ")[2], []).append(problem)

    def folded(self, problems: Iterable[Problem]) -> list[Problem]:
        """In order of their places, with one problem for all uses of an undeclared name."""
        instead: dict[Problem, Problem | None] = {}
        for uses in self.alike.values():
            first, *others = sorted(dict.fromkeys(uses), key=_place)
            if others:
                shown = ", ".join(f"{p.file}:{p.line}:{p.column}" for p in others[:MAX_SHOWN])
                shown += ", ..." if len(others) > MAX_SHOWN else ""
                places = f"{len(others)} other places" if len(others) > 1 else "another place"
                message = f"{first.message}, here and at {places}"
                instead |= dict.fromkeys(others)
                instead[first] = replace(first, message=message, remedy=f"{first.remedy}; the others: {shown}")
        found = (instead.get(problem, problem) for problem in problems)
        return sorted((problem for problem in found if problem is not None), key=_place)


def _place(problem: Problem) -> tuple[str, int, int, str]:
    return problem.file, problem.line, problem.column, problem.message
