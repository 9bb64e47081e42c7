"""Reads the `tests:` of a rule: who the client is, what happened, what is expected of the rule.

Enters: the node of a rule's tests, the rule, the tiers. Leaves: RuleTests, each with real events in order of time.
Holds: a client is given only what events can bring about; all that is given is turned into events here, so that a
test is run by deciding them, and every fault is reported at its place in the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, get_args

from engine.core.contract.events import Event
from engine.core.contract.message import cny
from engine.core.contract.outbound import Arm, Audience, Outcome, Value
from engine.core.rules.ruleset import Rule, Tiers
from engine.rulefile.source.document import Mapping, Node, Scalar, place
from engine.rulefile.source.fields import Reader
from engine.rulefile.stories.story import AT_MS, MAX_WAIT_S, Story, money_fen

MISSING: Final = "missing"
ARMS: Final[tuple[Arm, ...]] = get_args(Arm)
RETRACTED: Final = Outcome.RETRACTED.value  # the event corrects the one that the rule has acted on, or waits to act on
# a test shows what a rule does, whether it is paused or not
_SAID_OTHERWISE: Final = (Outcome.SENT, Outcome.RETRACTED, Outcome.PAUSED)
REASONS: Final = ("condition", *(outcome.value for outcome in Outcome if outcome not in _SAID_OTHERWISE))


STEPS: Final = ("reminded", "overdue", "team", "head", "ended")  # of care; team and head: escalated to


@dataclass(frozen=True, slots=True)
class Expected:
    """What is to become of the rule from the test's time on."""

    reason: str  # "fires", "retracted", or why not: condition or a reason of the contact policy; empty: no matter
    count: int | None = None
    channel: str | None = None
    audience: str | None = None
    parameters: tuple[tuple[str, Value], ...] = ()  # as in the published record
    stage: str | None = None  # of the client at the end
    steps: tuple[str, ...] = ()  # of what was sent, in their order

    def __str__(self) -> str:
        rule = self._rule() if self.reason else ""
        return ", ".join(filter(None, (rule, f"stage {self.stage}" if self.stage else "")))

    def _rule(self) -> str:
        if self.reason == RETRACTED:
            return RETRACTED
        if self.reason != "fires":
            return f"not: {self.reason}"
        said = [f"count {self.count}"] if self.count is not None else []
        said += [f"channel {self.channel}"] if self.channel else []
        said += [f"audience {self.audience}"] if self.audience else []
        said += [f"{name} {MISSING if value is None else value}" for name, value in self.parameters]
        said += [f"steps {', '.join(self.steps)}"] if self.steps else []
        return f"fires{' with ' if said else ''}{', '.join(said)}"


@dataclass(frozen=True, slots=True)
class RuleTest:
    rule: str
    name: str
    file: str
    line: int
    column: int
    history: tuple[tuple[str, Event], ...]  # what makes the client what it is, in order
    tier: str | None  # where the client must be after that, when the test says so
    arm: Arm  # of every holdout
    draws: tuple[tuple[str, float], ...]  # what each lot gives
    budgets: tuple[tuple[str, int], ...]  # what is left of each that is named; of others their limit
    advisor_busy: bool  # whether no advisor has room for more open tasks
    at_ms: int
    event: tuple[str, Event] | None
    wait_ms: int  # how much time passes then
    expected: Expected


def read_tests(
    reader: Reader, node: Node | None, rule: Rule, tiers: Tiers, stages: tuple[str, ...], *, sound: bool = True
) -> tuple[RuleTest, ...]:
    """Those without a fault; the faults of the others are with the reader. Of a rule that is not sound, nothing that
    its tests expect is checked against it.
    """
    tests = []
    for item in reader.items(node):
        before = len(reader.problems)
        test = _test(reader, item, rule, tiers, stages, sound)
        if len(reader.problems) == before:
            tests.append(test)
    return tuple(tests)


def _test(reader: Reader, node: Node, rule: Rule, tiers: Tiers, stages: tuple[str, ...], sound: bool) -> RuleTest:
    fields = reader.mapping(node, ("name", "expect"), ("given", "at", "event", "wait"))
    if reader.whole(node, fields) and "event" not in fields and "wait" not in fields:
        reader.problem(node, "neither event nor wait", "write what happens, such as event: {logins: {}}")
    story = Story(reader, tiers)
    at_ms = story.moment(fields["at"], None) if "at" in fields else AT_MS
    tier = story.given(fields.get("given"), at_ms)
    history = tuple(story.events)
    if "event" in fields:
        story.one_event(fields["event"], at_ms)
    line, column = place(reader.text, node.index)
    return RuleTest(
        rule=rule.id,
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
        event=story.events[-1] if len(story.events) > len(history) else None,
        wait_ms=reader.duration(fields["wait"], "mhd", 60, MAX_WAIT_S) * 1000 if "wait" in fields else 0,
        expected=_expected(reader, fields.get("expect"), rule, stages, sound),
    )


def read_arm(reader: Reader, given: Node | None) -> Arm:
    """Of every holdout; treated unless said."""
    node = given.entries["arm"][1] if isinstance(given, Mapping) and "arm" in given.entries else None
    return "holdout" if node is not None and reader.choice(node, ARMS) == "holdout" else "treated"


def read_left(reader: Reader, given: Node | None) -> tuple[tuple[str, int], ...]:
    """What is left of budgets: fen, or a number of actions."""
    node = given.entries["budgets"][1] if isinstance(given, Mapping) and "budgets" in given.entries else None
    return tuple((key.value, reader.amount(value, number=True)) for key, value in reader.entries(node))


def read_busy(reader: Reader, given: Node | None) -> bool:
    """Whether an advisor who has at most so many open tasks has them; each has room unless said."""
    node = given.entries["advisor_busy"][1] if isinstance(given, Mapping) and "advisor_busy" in given.entries else None
    return node is not None and reader.choice(node, ("true", "false")) == "true"


def read_draws(reader: Reader, given: Node | None) -> tuple[tuple[str, float], ...]:
    """Of lots that are not named, the client of all tests draws the same as ever."""
    node = given.entries["draws"][1] if isinstance(given, Mapping) and "draws" in given.entries else None
    if node is not None and not isinstance(node, Mapping):
        reader.problem(node, "draws says what lots give", "write draws: {panel: 12}")
        return ()
    lots = []
    for name, (_, value) in node.entries.items() if node is not None else ():
        drawn = float(reader.number(value))
        if not 0 <= drawn < 100:
            reader.problem(value, "no lot gives that", "write 0 to 99.99")
        lots.append((name, drawn))
    return tuple(sorted(lots))


def _expected(reader: Reader, node: Node | None, rule: Rule, stages: tuple[str, ...], sound: bool) -> Expected:
    if isinstance(node, Scalar):
        return Expected(reader.choice(node, ("fires", RETRACTED)) or "fires")
    fields = reader.mapping(node, (), ("fires", "not", "stage"))
    if node is not None and reader.whole(node, fields) and (not fields or {"fires", "not"} <= fields.keys()):
        remedy = "write fires: {...} or not: condition, and the client's stage if it matters"
        reader.problem(node, "expect says what is to become of the rule", remedy)
    stage = None
    if "stage" in fields and not stages:
        reader.problem(fields["stage"], "no stages are declared", "declare them in portrait.yaml, or leave it out")
    elif "stage" in fields:
        stage = reader.choice(fields["stage"], stages) or None
    if "not" in fields or "fires" not in fields:
        return Expected(reader.choice(fields["not"], REASONS) if "not" in fields else "", stage=stage)
    said = reader.mapping(fields.get("fires"), (), ("channel", "audience", "count", "parameters", "steps"))
    return Expected(
        "fires",
        reader.integer(said["count"], 1, 1000) if "count" in said else None,
        (reader.choice(said["channel"], rule.all_channels) or None) if sound and "channel" in said else None,
        (reader.choice(said["audience"], get_args(Audience)) or None) if "audience" in said else None,
        _parameters(reader, said.get("parameters"), rule) if sound else (),
        stage,
        _steps(reader, said["steps"], rule) if sound and "steps" in said else (),
    )


def _steps(reader: Reader, node: Node, rule: Rule) -> tuple[str, ...]:
    """Those that its care can come to."""
    if rule.care is None:
        reader.problem(node, "steps of a rule without care", "remove them, or say how what it sends is seen through")
        return ()
    known = {*(at.to or at.step for at in rule.care.steps), "ended"}
    return tuple(reader.choice(item, tuple(name for name in STEPS if name in known)) for item in reader.items(node))


def _parameters(reader: Reader, node: Node | None, rule: Rule) -> tuple[tuple[str, Value], ...]:
    """By the types of the rule's parameters."""
    types = {name: expression.type for name, expression in rule.parameters}
    expected: list[tuple[str, Value]] = []
    for name, value in reader.mapping(node, (), tuple(types)).items():
        type_, scalar = types[name], reader.scalar(value)
        if scalar is None or scalar.value == MISSING:
            expected.append((name, None))
        elif type_.kind == "bool":
            expected.append((name, reader.choice(value, ("true", "false")) == "true"))
        elif type_.kind == "text":
            expected.append((name, scalar.value))
        elif type_.unit == "cny":
            expected.append((name, cny(money_fen(reader, value) or 0)))
        else:
            expected.append((name, reader.number(value)))
    return tuple(expected)
