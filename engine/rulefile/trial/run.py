"""Runs the tests of a rule set's files, and tells which branches of the conditions they never took.

Enters: a RuleSet (its files' texts hold the tests, assignment.yaml those of pools). Leaves: a Report.
Holds: a test is decided by the same `decide` as a worker would, with all rules that can make a difference to its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

from engine.core.assign.roster import ASSIGNMENT_FILE, roster_of
from engine.core.client.items import KEY, KIND
from engine.core.client.sections import pack, unpack
from engine.core.client.state import ClientState
from engine.core.contract.actions import ACTIONS, OwnAction
from engine.core.contract.events import Event
from engine.core.contract.message import Message
from engine.core.contract.outbound import CARE, TOPIC_OF_KIND, Arm, Outcome, is_action, is_retraction
from engine.core.contract.topics import TOPICS
from engine.core.decide.path import Due, Input, decide
from engine.core.firm_time import DAY_MS
from engine.core.learn import actions
from engine.core.plan.compile import Plan, compile_rule_set
from engine.core.policy.match import FOLLOWS
from engine.core.rules.occasion import Trigger
from engine.core.rules.ruleset import Rule, RuleSet
from engine.insight.explain import Explainer, Explanation, Look, reached, watched
from engine.insight.values import MISSING
from engine.rulefile.read.journeys import FOLDER
from engine.rulefile.roster.cases import PoolTest, failure, read_pool_tests
from engine.rulefile.source.document import Mapping, Node, Scalar, index_within, place, read_document
from engine.rulefile.source.fields import Reader
from engine.rulefile.source.unsure import Unsure
from engine.rulefile.stories.cases import RETRACTED, Expected, RuleTest, read_tests
from engine.rulefile.stories.journeys import JourneyTest, read_journey_tests
from engine.rulefile.stories.story import CLIENT_ID
from engine.rulefile.trial.alone import Companies
from engine.rulefile.trial.journeys import pace_of, play

Documents = dict[str, Node]
Key = tuple[int, str]  # where a term begins, and its text
MILESTONES: Final = (100, 32, 8, 2)  # days before a test's time
CARE_TYPE: Final = f"engage.{CARE}.v1".encode()
PUBLISHED: Final = frozenset(TOPIC_OF_KIND.values())


@dataclass(frozen=True, slots=True)
class Result:
    """`failure` is empty for a test that passed; `looked` is the last evaluation of the rule, if any. A test of
    assignment.yaml is of a pool, not of a rule.
    """

    test: RuleTest | JourneyTest | PoolTest
    failure: str
    looked: Explanation | None


@dataclass(frozen=True, slots=True)
class Branch:
    """A term of a condition that was never true, or never false, whenever the rule's tests came to it."""

    rule: str
    file: str
    line: int
    column: int
    text: str
    never: bool

    def __str__(self) -> str:
        never = "true" if self.never else "false"
        return f'{self.file}:{self.line}:{self.column}: rule "{self.rule}": never {never} in its tests: {self.text}'


@dataclass(frozen=True, slots=True)
class Report:
    results: tuple[Result, ...]
    branches: tuple[Branch, ...]
    taken: int  # how many branches were taken, of all
    of: int
    untested: tuple[str, ...]  # rules without a test

    @property
    def failed(self) -> tuple[Result, ...]:
        return tuple(result for result in self.results if result.failure)


@dataclass(slots=True)
class _Told:
    """A rule with its tests, and where its condition stands."""

    rule: Rule
    tests: tuple[RuleTest, ...]
    reader: Reader
    when: Scalar | None


def run_tests(
    rule_set: RuleSet,
    only: str | None = None,
    documents: Documents | None = None,
    moved: Callable[[int, int], None] = lambda done, of: None,
) -> Report:
    """All tests, or those of one rule. `documents`: the files' trees, if they are at hand; `moved` hears of how many
    rules are done, and of how many there are. A test shows what a rule does, so none is paused here.
    """
    rule_set = replace(rule_set, paused=(), resumed=())
    told = [entry for entry in _told(rule_set, documents) if only in (None, entry.rule.id)]
    led = {id_: tests for id_, tests in _led(rule_set, documents) if only in (None, id_)}
    shown = rule_set.showing_all()

    @cache
    def runner(arm: Arm, draws: tuple[tuple[str, float], ...]) -> _Runner:
        return _Runner(compile_rule_set(shown.drawn(arm, dict(draws))))

    results: list[Result] = []
    branches: list[Branch] = []
    of = 0
    for done, entry in enumerate(told):
        moved(done, len(told))
        seen: dict[Key, set[bool]] = {}
        for drawn in dict.fromkeys((test.arm, test.draws) for test in entry.tests):
            runner(*drawn).take(entry.rule)
        results += [runner(test.arm, test.draws).run(test, entry.rule, seen) for test in entry.tests]
        if entry.tests and entry.when is not None:
            terms = list(runner("treated", ()).explainer.part(entry.rule, entry.rule.triggers[0]).all())
            of += 2 * len(terms)
            branches += [
                _branch(entry, entry.when, term.offset, term.text, never)
                for term in terms
                for never in (True, False)
                if never not in seen.get((term.offset, term.text), ())
            ]
    if only is None and rule_set.assignment is not None:
        results += _of_pools(rule_set, documents)
    for id_, tests in led.items():
        results += [runner(test.arm, test.draws).play(test, id_) for test in tests]
    untested = tuple(entry.rule.id for entry in told if not entry.tests)
    untested += tuple(id_ for id_, tests in led.items() if not tests)
    return Report(tuple(results), tuple(branches), of - len(branches), of, untested)


def _of_pools(rule_set: RuleSet, documents: Documents | None) -> list[Result]:
    """The tests of assignment.yaml."""
    assert rule_set.assignment is not None
    text = dict(rule_set.files)[ASSIGNMENT_FILE]
    root = documents[ASSIGNMENT_FILE] if documents else read_document(ASSIGNMENT_FILE, text, published=True)[0]
    reader = Reader(ASSIGNMENT_FILE, text, Unsure())
    assert root is not None  # of a checked file
    tests = read_pool_tests(reader, root, rule_set.assignment, rule_set.advisors, rule_set.tiers.names)
    roster = roster_of(rule_set.assignment, rule_set.advisors)
    return [Result(test, failure(roster, test), None) for test in tests]


def _branch(entry: _Told, when: Scalar, offset: int, text: str, never: bool) -> Branch:
    line, column = place(entry.reader.text, index_within(entry.reader.text, when, offset))
    return Branch(entry.rule.id, entry.reader.file, line, column, text, never)


def _told(rule_set: RuleSet, documents: Documents | None) -> list[_Told]:
    """In the order of the files."""
    rules = {rule.id: rule for rule in rule_set.rules}
    told, stages = [], tuple(stage.id for stage in rule_set.stages)
    for file, text in rule_set.files:
        root = documents.get(file) if documents else read_document(file, text, published=True)[0]
        listed = root.entries.get("rules") if isinstance(root, Mapping) else None
        reader = Reader(file, text, Unsure(), kinds=rule_set.kinds)
        for node in reader.items(listed[1]) if listed else ():
            assert isinstance(node, Mapping)  # of a checked file
            fields = {key: value for key, (_, value) in node.entries.items()}
            id_, when = fields["id"], fields.get("when", fields.get("becomes"))
            assert isinstance(id_, Scalar)
            rule = rules[id_.value]
            tests = read_tests(reader, fields.get("tests"), rule, rule_set.tiers, stages)
            told.append(_Told(rule, tests, reader, when if isinstance(when, Scalar) else None))
    return told


def _led(rule_set: RuleSet, documents: Documents | None) -> Iterator[tuple[str, tuple[JourneyTest, ...]]]:
    """Of each journey its tests, in the order of the files."""
    journeys = {journey.id: journey for journey in rule_set.journeys}
    for file, text in rule_set.files:
        if not file.startswith(FOLDER):
            continue
        root = documents.get(file) if documents else read_document(file, text, published=True)[0]
        reader = Reader(file, text, Unsure(), kinds=rule_set.kinds)
        for node in reader.items(reader.mapping(root, ("journeys",))["journeys"]):
            assert isinstance(node, Mapping)  # of a checked file
            id_ = node.entries["id"][1]
            assert isinstance(id_, Scalar)
            tests = node.entries["tests"][1] if "tests" in node.entries else None
            yield id_.value, read_journey_tests(reader, tests, journeys[id_.value], rule_set.tiers)


class _Runner:
    def __init__(self, plan: Plan) -> None:
        self.companies = Companies(plan)
        self.plan = plan
        self.explainer = Explainer(plan)
        self.kept: dict[tuple[tuple[tuple[str, Event], ...], int], bytes] = {}

    def take(self, rule: Rule) -> None:
        """What is run next are the tests of this rule."""
        plan = self.companies.of(rule)
        if plan is not self.plan:
            self.plan, self.kept = plan, {}

    def run(self, test: RuleTest, rule: Rule, seen: dict[Key, set[bool]]) -> Result:
        def note(trigger: Trigger, client: ClientState, event: Any, move: Any) -> None:
            if trigger in rule.triggers:
                for term, holds in reached(self.explainer.part(rule, trigger), client, event, move):
                    seen.setdefault((term.offset, term.text), set()).add(holds)

        failure = self._decide(test, note)
        if not failure:
            return Result(test, "", None)
        looks: list[Explanation] = []

        def explain(trigger: Trigger, client: ClientState, event: Any, move: Any) -> None:
            if trigger in rule.triggers:
                looks.append(self.explainer.explain(rule, trigger, client, event, move))

        self._decide(test, explain)
        # the evaluation at which the condition held is the one that the contact policy decided about
        held = [look for look in looks if look.term.holds]
        return Result(test, failure, held[-1] if held else looks[-1] if looks else None)

    def play(self, test: JourneyTest, id_: str) -> Result:
        plan = self.companies.of_journey(id_, test.version)
        if plan is not self.plan:
            self.plan, self.kept = plan, {}
        states = self._given(test)
        if test.tier is not None and (tier := states[CLIENT_ID].tier) != test.tier:
            return Result(test, _elsewhere(test.tier, tier), None)
        return Result(test, play(plan, states, test, _of_latest), None)

    def _decide(self, test: RuleTest, look: Look) -> str:
        """What is not as expected; empty when all is."""
        states = self._given(test)
        if test.tier is not None and (tier := states[CLIENT_ID].tier) != test.tier:
            return _elsewhere(test.tier, tier)
        inputs: list[Input] = [_of_latest(states, *test.event)] if test.event else []
        if test.wait_ms:
            inputs.append(Due(CLIENT_ID, test.at_ms + test.wait_ms))
        if unknown := [name for name, _ in test.budgets if name not in self.plan.budgets]:
            return f"policy.yaml has no budget {unknown[0]}"
        decided = decide(watched(self.plan, look), states, inputs, pace=pace_of(self.plan, test))
        outcomes = {outcome: n for (id_, outcome), n in decided.outcomes.items() if id_ == test.rule}
        actions = [action for action in _actions(decided.messages) if action["rule_id"] == test.rule]
        stage, wanted = states[CLIENT_ID].stage, test.expected.stage
        if wanted is not None and stage != wanted:
            return f"the client's stage was {stage or 'none'}"
        if test.expected.reason == RETRACTED:
            gone = {_value(m)["rule_id"] for m in decided.messages if is_retraction(m.headers)}
            return "" if test.rule in gone or Outcome.RETRACTED in outcomes else "nothing was retracted"
        if test.expected.steps and (failure := _steps_unlike(test, decided.messages)):
            return failure
        return _failure(test.expected, outcomes, actions) if test.expected.reason else ""

    def _given(self, test: RuleTest | JourneyTest) -> dict[str, ClientState]:
        """The client just before the test's time: what falls due until then does not concern the test.

        Tests give much the same clients, and a year has many timers: states on the way are kept.
        """
        states: dict[str, ClientState] = {}
        done = 0
        for moment_ms in (*(test.at_ms - days * DAY_MS for days in MILESTONES), test.at_ms - 1):
            events = tuple(item for item in test.history if item[1].time <= moment_ms)
            key = (events, moment_ms)
            if key in self.kept:
                states = {CLIENT_ID: unpack(self.plan.layout, self.kept[key])}
            else:
                _decide(self.plan, states, events[done:])
                decide(self.plan, states, [Due(CLIENT_ID, moment_ms)])
                if states:
                    self.kept[key] = pack(self.plan.layout, states[CLIENT_ID])
            done = len(events)
        _decide(self.plan, states, test.history[done:])
        return states


def _elsewhere(given: str, tier: str | None) -> str:
    return f"the client is given as tier {given}, but its events put it in {tier or 'none'}"


def _decide(plan: Plan, states: dict[str, ClientState], history: Iterable[tuple[str, Event]]) -> None:
    """Events, and actions of the engine that are given: they count in features as those of rules do."""
    for topic, event in history:
        if topic != ACTIONS.name:
            decide(plan, states, [_of_latest(states, topic, event)])
        elif ACTIONS.name in plan.update:
            decide(plan, states, [Due(CLIENT_ID, event.time)])
            client = states.setdefault(CLIENT_ID, ClientState(plan.layout, CLIENT_ID, event.time))
            client.advance(plan.layout, event.time)
            actions.take(plan, client, OwnAction(*(getattr(event, field) for field in OwnAction._fields)))


def _of_latest(states: dict[str, ClientState], topic: str, event: Any) -> tuple[str, Event]:
    """What comes back without saying of which action is about the latest that waits for it."""
    client, unsaid = states.get(CLIENT_ID), TOPICS[topic].example.get("action_id") if topic in TOPICS else None
    if client is None or unsaid is None or event.action_id != unsaid:
        return topic, event
    sent = [held[FOLLOWS][0] for held in client.waiting if len(held) > FOLLOWS]
    opened = [item[KEY] for item in client.items if item[KIND] != "complaint"]
    return topic, event.model_copy(update={"action_id": (*opened, *sent)[-1]}) if opened or sent else event


def _actions(messages: Iterable[Message]) -> Iterable[dict[str, Any]]:
    return (_value(m) for m in messages if m.topic in PUBLISHED and is_action(m.headers))


def _steps_unlike(test: RuleTest, messages: Iterable[Message]) -> str:
    """Reminders, escalations and ends of what the rule sent."""
    care = [_value(m) for m in messages if m.topic in PUBLISHED and dict(m.headers)["ce_type"] == CARE_TYPE]
    steps = [one["to"] if one["step"] == "escalated" else one["step"] for one in care if one["rule_id"] == test.rule]
    return "" if steps == list(test.expected.steps) else f"its steps were {', '.join(steps) or 'none'}"


def _value(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(message.value or b"")
    return found


def _failure(expected: Expected, outcomes: dict[str, int], actions: list[dict[str, Any]]) -> str:
    stopped = [Outcome(outcome).value for outcome in outcomes if outcome != Outcome.SENT]
    if expected.reason == "fires":
        if not actions:
            return f"it was stopped: {', '.join(stopped)}" if stopped else "it did not fire"
        return _unlike(expected, actions)
    if actions:
        return f"it fired {_times(len(actions))}"
    if expected.reason == "condition":
        return f"its condition held; it was stopped: {', '.join(stopped)}" if stopped else ""
    if expected.reason not in stopped:
        return f"it was stopped: {', '.join(stopped)}" if stopped else "it did not fire, but nothing stopped it"
    return ""


def _unlike(expected: Expected, actions: list[dict[str, Any]]) -> str:
    if expected.count is not None and len(actions) != expected.count:
        return f"it fired {_times(len(actions))}"
    for action in actions:
        if expected.channel is not None and action["channel"] != expected.channel:
            return f"its channel was {action['channel']}"
        if expected.audience is not None and action["audience"] != expected.audience:
            return f"it was for the {action['audience']}"
        for name, value in expected.parameters:
            found = action["parameters"][name]
            if found != value:
                return f"its parameter {name} was {MISSING if found is None else found}"
    return ""


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
