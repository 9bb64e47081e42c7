"""Journeys, compiled: which conditions end one or lead on, and when time alone can change them.

Enters: journeys as declared, the names of each trigger's scope. Leaves: Routes.
Holds: a condition that may hold only because a part of the past is not known, or that follows from what a correction
left unknown, does not hold. What a client is asked is asked while the client is in the journey, and of nobody else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from engine.core.client.state import ClientState
from engine.core.language.expressions import Expression, Scope, to_python
from engine.core.plan.codegen import Code
from engine.core.plan.corrected import Features, features_behind, is_unknown
from engine.core.plan.features import Reach
from engine.core.plan.sensitivity import Meanings, Read, Watch, wrong_when_short
from engine.core.rules.day_lists import DayLists
from engine.core.rules.occasion import Branch, Journey, JourneyStep, Trigger, Waits, on
from engine.core.rules.ruleset import Rule, RuleSet


@dataclass(frozen=True, slots=True)
class Test:
    """A condition of a journey."""

    read: Read
    needs: tuple[Reach, ...]
    behind: Features

    def holds(self, client: ClientState, event: Any = None) -> bool:
        return bool(
            self.read(client, event, None)
            and all(reach.is_known(client) for reach in self.needs)
            and not is_unknown(client, self.behind)
        )


@dataclass(frozen=True, slots=True)
class Route:
    """A journey, ready to be taken."""

    journey: Journey
    steps: Mapping[str, Any]  # what each step does, by its name
    acts: Mapping[str, int]  # step -> its rule among the compiled ones of the trigger JOURNEY
    ends: tuple[tuple[str, Test], ...]
    tests: Mapping[str, tuple[Test, ...]]  # of a step: of a wait what it waits for, of a branch each way
    watches: Mapping[str, Watch]  # of each wait: what ends the journey, and what is waited for

    def ended_by(self, client: ClientState) -> str:
        """Why it ends now; empty if it goes on."""
        return next((reason for reason, test in self.ends if test.holds(client)), "")


Routes = Mapping[str, Route]  # by the journey's id


def _conditions(journey: Journey) -> Iterable[tuple[str, str, Expression, Trigger | None]]:
    """Each with the step that it is of (empty: it ends the journey), and the trigger whose names it uses."""
    for at, (_, when) in enumerate(journey.ends):
        yield f"{journey.id} ends {at}", "", when, None
    for name, doing in journey.steps:
        if isinstance(doing, Waits):
            if doing.when is not None:
                yield f"{journey.id} {name}", name, doing.when, on(doing.on)
            elif doing.until is not None:
                yield f"{journey.id} {name}", name, doing.until, None
        elif isinstance(doing, Branch):
            for at, (when, _) in enumerate(doing.ways):
                yield f"{journey.id} {name} {at}", name, when, None


def _called(what: str) -> str:
    return "journey_" + "".join(letter if letter.isalnum() else f"_{ord(letter):x}_" for letter in what)


def add(code: Code, journeys: Iterable[Journey], scopes: Mapping[Trigger | None, Scope], sure: DayLists) -> None:
    """The conditions as functions."""
    for journey in journeys:
        for what, _, when, trigger in _conditions(journey):
            test = code.place(to_python(sure.sure(when), scopes[trigger]))
            code.function(_called(what), "c, e, t", [f"return {test}"])


def routes(
    rule_set: RuleSet,
    acting: tuple[Rule, ...],
    space: Mapping[str, Any],
    scopes: Mapping[Trigger | None, Scope],
    meanings: Meanings,
    watch: Callable[[Collection[Expression]], Watch],
    reaches: Mapping[str, Reach],
) -> Routes:
    """`acting` are the rules of the trigger JOURNEY; `watch` says when time alone can change some conditions."""
    aggregates = {name: reach.aggregate for name, reach in reaches.items()}
    places = {rule.occasion: index for index, rule in enumerate(acting)}

    def test(what: str, when: Expression, trigger: Trigger | None) -> Test:
        needs = sorted(wrong_when_short(when, aggregates, meanings))
        behind = features_behind(scopes[trigger], reaches, when.names)
        return Test(space[_called(what)], tuple(reaches[name] for name in needs), behind)

    def watched(asked: list[Expression]) -> Watch:
        needs = set().union(*(wrong_when_short(when, aggregates, meanings) for when in asked))
        return replace(watch(asked), needs=tuple(reaches[name] for name in sorted(needs)))

    found: dict[str, Route] = {}
    for journey in rule_set.journeys:
        ending = [when for _, when in journey.ends]
        tests: dict[str, list[Test]] = {}
        for what, step, when, trigger in _conditions(journey):
            tests.setdefault(step, []).append(test(what, when, trigger))
        found[journey.id] = Route(
            journey,
            journey.doing,
            {name: places[of] for name, _ in journey.steps if (of := JourneyStep(journey.id, name)) in places},
            tuple(zip((reason for reason, _ in journey.ends), tests.pop("", ()), strict=True)),
            {step: tuple(of) for step, of in tests.items()},
            {
                name: watched([*ending, doing.until] if doing.until is not None else ending)
                for name, doing in journey.steps
                if isinstance(doing, Waits)
            },
        )
    return found
