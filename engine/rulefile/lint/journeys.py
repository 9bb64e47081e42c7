"""What is doubtful in journeys: L601 to L603, and conditions that never or always hold.

Enters: a RuleSet. Leaves: findings.
"""

from __future__ import annotations

from collections.abc import Iterable

from engine.core.rules.occasion import Act, Branch, Doing, Ends, Journey, Split, Waits, on, pinned_to
from engine.rulefile.lint.conditions import Look
from engine.rulefile.lint.findings import Findings
from engine.rulefile.proof.worlds import Worlds
from engine.rulefile.source.places import Place


def look(certain: Worlds, findings: Findings) -> None:
    for journey in certain.rule_set.journeys:
        home = findings.places.journeys.get(journey.id)
        if home is not None:
            _journey(certain, journey, home, findings)


def _journey(certain: Worlds, journey: Journey, home: Place, findings: Findings) -> None:
    subject, client = f'journey "{journey.id}"', {"": certain.of(None)}
    if home.key("tests") is None:
        findings.add("L301", home, subject, "no tests", "add tests: what is given, what is expected", home=home)
    for reason, when in journey.ends:
        at = home.key("exits", reason) or home.key(reason)
        if at is not None:
            Look(findings, f"{subject}: {reason}", home, at, client).condition(when)
    reached = _reached(journey)
    for name, doing in journey.steps:
        path = _path(journey, name)
        step, place = f'{subject}: step "{name}"', home.named(*path) or home
        if name not in reached:
            findings.add("L601", place, step, "nothing leads to it", "lead to it, or remove it", home=home)
        if isinstance(doing, Waits):
            _wait(certain, doing, path, step, place, home, findings)
        elif isinstance(doing, Branch):
            _branch(certain, doing, path, step, home, findings)
    if not any(isinstance(doing, Act) for _, doing in journey.steps):
        findings.add("L603", home, subject, "no step acts", "add one, or write a rule", home=home)


def _path(journey: Journey, step: str) -> tuple[str, ...]:
    """Where the file has it."""
    version, name = journey.place_of(step)
    return ("steps", name) if version in (None, *journey.pinned[:1]) else ("earlier", str(version), "steps", name)


def _wait(
    certain: Worlds, doing: Waits, path: tuple[str, ...], step: str, place: Place, home: Place, findings: Findings
) -> None:
    if (doing.on or doing.until is not None) and not doing.timeout_s:
        remedy = "add a timeout, such as timeout: 14d, and otherwise: the step that follows then"
        findings.add("L602", place, step, "waits for what may never come", remedy, home=home)
    when, key = (doing.until, "until") if doing.until is not None else (doing.when, "when")
    at = home.key(*path, "wait", key)
    if when is not None and at is not None:
        world = certain.of(on(doing.on) if doing.on else None)
        Look(findings, step, home, at, {"": world}).condition(when)


def _branch(certain: Worlds, doing: Branch, path: tuple[str, ...], step: str, home: Place, findings: Findings) -> None:
    listed = home.key(*path, "branch")
    for index, (when, _) in enumerate(doing.ways):
        at = listed.item(index) if listed is not None else None
        written = at.key("when") if at is not None else None
        if written is not None:
            Look(findings, step, home, written, {"": certain.of(None)}).condition(when)


def _reached(journey: Journey) -> set[str]:
    """From the first step on, of each version."""
    steps, found = journey.doing, set[str]()
    waiting = [next(iter(journey.of_version(version))) + pinned_to(version) for version in journey.pinned]
    waiting = waiting or [journey.steps[0][0]]
    while waiting:
        step = waiting.pop()
        if step and step not in found:
            found.add(step)
            waiting += follows(steps[step])
    return found


def follows(doing: Doing) -> Iterable[str]:
    """The steps that a step can lead to; "" completes the journey."""
    match doing:
        case Act():
            return (doing.next,)
        case Waits():
            return (doing.next, doing.otherwise) if doing.timeout_s else (doing.next,)
        case Branch():
            return (*(to for _, to in doing.ways), doing.otherwise)
        case Split():
            return tuple(to for to, _ in doing.ways)
        case Ends():
            return ()
