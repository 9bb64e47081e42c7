"""Reads the `tests:` of a journey: who the client is, what happens while time passes, what the journey then did.

Enters: the node of a journey's tests, the journey, the tiers. Leaves: JourneyTests, with real events in order of time.
Holds: what is given is turned into events here, so that a test is run by deciding them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from engine.core.contract.events import Event
from engine.core.contract.outbound import Arm, Outcome
from engine.core.contract.topics import in_order
from engine.core.rules.occasion import Act, Journey, Waits, pinned_to
from engine.core.rules.ruleset import Tiers
from engine.rulefile.source.document import Mapping, Node, place
from engine.rulefile.source.fields import Reader
from engine.rulefile.stories.cases import read_arm, read_busy, read_draws, read_left
from engine.rulefile.stories.story import AT_MS, MAX_WAIT_S, Story

NOWHERE: Final = "nowhere"  # the client was never in it
STOPPED: Final = tuple(outcome.value for outcome in Outcome if outcome is not Outcome.SENT)


@dataclass(frozen=True, slots=True)
class Led:
    """What is to become of the client from the test's time on; None, or nothing: no matter."""

    acts: tuple[str, ...] | None = None  # the steps whose action was sent, in order
    stopped: tuple[tuple[str, str], ...] = ()  # a step, and why its action was not sent
    stands: str | None = None  # the step at which the client waits at last, or NOWHERE
    ended: str | None = None  # why the journey ended

    def __str__(self) -> str:
        said = [f"acts {', '.join(self.acts) or 'none'}"] if self.acts is not None else []
        said += [f"{step} stopped: {why}" for step, why in self.stopped]
        said += [f"stands {self.stands}"] if self.stands is not None else []
        said += [f"ended {self.ended}"] if self.ended is not None else []
        return "; ".join(said)


@dataclass(frozen=True, slots=True)
class JourneyTest:
    rule: str  # the journey's id
    name: str
    file: str
    line: int
    column: int
    history: tuple[tuple[str, Event], ...]
    tier: str | None
    arm: Arm
    draws: tuple[tuple[str, float], ...]  # what each lot gives
    budgets: tuple[tuple[str, int], ...]  # what is left of each that is named; of others their limit
    advisor_busy: bool  # whether no advisor has room for more open tasks
    at_ms: int
    events: tuple[tuple[str, Event], ...]  # from then on
    until_ms: int
    expected: Led
    version: int | None = None  # of a pinned journey: the one that the client begins; None: the one that begins


def read_journey_tests(reader: Reader, node: Node | None, journey: Journey, tiers: Tiers) -> tuple[JourneyTest, ...]:
    """Those without a fault; the faults of the others are with the reader."""
    tests = []
    for item in reader.items(node):
        before = len(reader.problems)
        test = _test(reader, item, journey, tiers)
        if len(reader.problems) == before:
            tests.append(test)
    return tuple(tests)


def _test(reader: Reader, node: Node, journey: Journey, tiers: Tiers) -> JourneyTest:
    fields = reader.mapping(node, ("name", "expect"), ("given", "at", "events", "wait", "version"))
    if reader.whole(node, fields) and "events" not in fields and "wait" not in fields:
        reader.problem(node, "neither events nor wait", "write what happens, such as wait: 30d")
    story = Story(reader, tiers)
    at_ms = story.moment(fields["at"], None) if "at" in fields else AT_MS
    tier = story.given(fields.get("given"), at_ms)
    history = tuple(story.events)
    steps = _events(reader, fields.get("events"), at_ms)
    for moment_ms, topic, item in steps:
        story.happen(topic, item, moment_ms)
    wait_ms = reader.duration(fields["wait"], "mhd", 60, MAX_WAIT_S) * 1000 if "wait" in fields else 0
    version = _version(reader, fields, journey)
    line, column = place(reader.text, node.index)
    return JourneyTest(
        rule=journey.id,
        name=reader.words(fields.get("name"), 120),
        file=reader.file,
        line=line,
        column=column,
        history=history,
        tier=tier,
        arm=read_arm(reader, fields.get("given")),
        draws=read_draws(reader, fields.get("given")),
        budgets=read_left(reader, fields.get("given")),
        advisor_busy=read_busy(reader, fields.get("given")),
        at_ms=at_ms,
        events=tuple(story.events[len(history) :]),
        until_ms=max([at_ms + wait_ms, *(moment_ms for moment_ms, _, _ in steps)]),
        expected=_expected(reader, fields.get("expect"), journey, version),
        version=version,
    )


def _version(reader: Reader, fields: dict[str, Node], journey: Journey) -> int | None:
    if "version" not in fields:
        return journey.pinned[0] if journey.pinned else None
    version = reader.integer(fields["version"], 1, 1_000_000)
    if version not in journey.pinned:
        said = f"it has {', '.join(map(str, journey.pinned))}" if journey.pinned else "the journey is not pinned"
        reader.problem(fields["version"], f"no version {version} of its steps", f"leave it out: {said}")
    return version


def _events(reader: Reader, node: Node | None, at_ms: int) -> list[tuple[int, str, Node]]:
    """(time, topic, fields) in order of time: each so long `after` the test's time."""
    known, found = in_order(reader.kinds), []
    for item in reader.items(node):
        fields = reader.mapping(item, (), ("after", *known))
        topics = [topic for topic in known if topic in fields]
        if len(topics) != 1:
            if reader.whole(item, fields):
                reader.problem(item, f"{len(topics)} events", f"write one of: {', '.join(known)}")
            continue
        after_s = reader.duration(fields["after"], "mhd", 0, MAX_WAIT_S) if "after" in fields else 0
        found.append((at_ms + after_s * 1000, topics[0], fields[topics[0]]))
    return sorted(found, key=lambda step: step[0])


def _expected(reader: Reader, node: Node | None, journey: Journey, version: int | None) -> Led:
    fields = reader.mapping(node, (), ("acts", "stopped", "stands", "ended"))
    if isinstance(node, Mapping) and not fields:
        reader.problem(node, "nothing is expected", "write acts, stopped, and stands or ended")
    if "stands" in fields and "ended" in fields:
        reader.problem(fields["ended"], "both stands and ended", "write where the client stands, or why it ended")
    last = "" if version is None else pinned_to(version)
    steps = {} if version is not None and version not in journey.pinned else journey.of_version(version or 0)
    acting = tuple(name for name, doing in steps.items() if isinstance(doing, Act))
    waits = tuple(name for name, doing in steps.items() if isinstance(doing, Waits))
    acts = None
    if "acts" in fields:
        acts = tuple(reader.choice(item, acting) + last for item in reader.items(fields["acts"]))
    stopped = []
    for name, why in reader.mapping(fields.get("stopped"), (), acting).items():
        stopped.append((name + last, reader.choice(why, STOPPED)))
    stands = reader.choice(fields["stands"], (*waits, NOWHERE)) if "stands" in fields else ""
    return Led(
        acts,
        tuple(stopped),
        (stands + last if stands in waits else stands) or None,
        (reader.choice(fields["ended"], journey.reasons) or None) if "ended" in fields else None,
    )
