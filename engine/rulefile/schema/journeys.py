"""JSON Schema of the files of the folder `journeys`.

Enters: the constants that their reader uses; of a rule set, the names that it declares. Leaves: the schema.
Holds: as in schema.py.
"""

from __future__ import annotations

from engine.core.contract.topics import in_order
from engine.core.rules.ruleset import RuleSet
from engine.rulefile.read import journeys, occasions
from engine.rulefile.schema.parts import (
    Keys,
    Schema,
    calendar_time,
    choice,
    duration,
    either,
    expression,
    items,
    kinds_of,
    mapping,
    named,
    number,
    one_kind,
    text,
    word,
    words_of,
)
from engine.rulefile.schema.policy import bounds, holdout
from engine.rulefile.schema.schema import given, one_event, rule_parts
from engine.rulefile.source.fields import IDENTIFIER, KEBAB
from engine.rulefile.stories import story
from engine.rulefile.stories.journeys import NOWHERE, STOPPED


def journeys_schema(rule_set: RuleSet | None) -> Schema:
    of_rules, known = rule_parts(rule_set), words_of(rule_set)
    again: Keys = {"again": (duration("mhd"), "It can begin again so long after its end; never, unless said.")}
    entry = mapping({**of_rules, **again}, (), journeys.ENTRY_KEYS)
    entry["oneOf"] = [{"required": [key]} for key in occasions.KINDS]
    step, led = _step(rule_set, of_rules, known), "By name; the first begins, each leads to the next."
    parts_of_steps: tuple[Schema, str] = (named(KEBAB, step), led)
    parts: Keys = {
        **{key: of_rules[key] for key in ("title", "owner", "description", "serves", "was")},
        "id": (word(KEBAB), "Never changes: it names the journey in actions, states and metrics."),
        "version": (number(1, 1_000_000), "Raise it when the meaning changes."),
        "priority": (number(0, 100), "Of several that begin at once the higher goes first; 50 unless said."),
        "entry": (entry, "What begins it: as a rule is evaluated."),
        "goal": (expression(known), "What it is for: when this holds, it ends and has reached its goal."),
        "exits": (named(IDENTIFIER, expression(known)), "What else ends it at any time, each with the reason."),
        "steps": parts_of_steps,
        "holdout": (holdout(), "Clients who do not begin it, to compare the others with."),
        "breaker": (bounds(), "When its beginning is paused for everybody."),
        "pinned": ({"type": "boolean"}, "Whoever is in it goes on with the version that was begun; false."),
        "earlier": (
            named(journeys.VERSION, mapping({"steps": parts_of_steps}, ("steps",))),
            "Of a pinned journey: the steps of earlier versions, by number, while anybody is in them.",
        ),
        "tests": (items(_test(rule_set)), "Who the client is, what happens while time passes, what is expected."),
    }
    one = mapping(parts, journeys.REQUIRED, journeys.OPTIONAL)
    return mapping({"journeys": (items(one), "The journeys of this file.")}, ("journeys",))


def _step(rule_set: RuleSet | None, of_rules: Keys, known: str) -> Schema:
    to: tuple[Schema, str] = (word(KEBAB), "The step that follows; end completes the journey.")
    way: Keys = {"when": (expression(known), "The condition."), "to": to, "otherwise": to}
    branch = items(
        either(mapping(way, ("when", "to")), mapping(way, ("otherwise",))),
    )
    split: Keys = {
        "lot": (
            word(IDENTIFIER),
            "By which lot; its own unless said. Another one draws all clients anew.",
        ),
        "to": (named(KEBAB, number(1, journeys.MAX_WEIGHT)), "Steps, each with its weight."),
    }
    parts: Keys = {
        "act": (mapping(of_rules, journeys.ACT_REQUIRED, journeys.ACT_OPTIONAL), "An action, as a rule's."),
        "wait": (either(duration("mhd"), _wait(rule_set, known)), "So long; or until something happens."),
        "branch": (branch, "Goes on with the first that holds."),
        "split": (mapping(split, ("to",), ("lot",)), "Goes on by lot: a client draws the same each time."),
        "exit": (word(IDENTIFIER), "Ends the journey, for this reason."),
        "next": to,
    }
    step = mapping(parts, (), (*journeys.DOES, "next"))
    step["oneOf"] = [{"required": [key]} for key in journeys.DOES]
    return step


def _wait(rule_set: RuleSet | None, known: str) -> Schema:
    parts: Keys = {
        "for": (duration("mhd"), "So long; with at, until such a time after that."),
        "at": (calendar_time(journeys.EVERY), "Until a time of the firm's calendar."),
        "on": (one_kind(rule_set, in_order(kinds_of(rule_set))), "Until such an event comes."),
        "of": (word(KEBAB), "With feedback, outcomes, receipts: the step whose action it comes back to."),
        "when": (expression(known), "Which of them."),
        "until": (expression(known), "Until this holds; it goes on at once if it does."),
        "timeout": (duration("mhd"), "No longer than this."),
        "otherwise": (word(KEBAB), "The step that follows then; the next one unless said."),
    }
    return mapping(parts, (), journeys.WAIT_KEYS)


def _test(rule_set: RuleSet | None) -> Schema:
    happens = one_event(rule_set)
    after: Keys = {"after": (duration("mhd"), "So long after the test's time; at once unless said.")}
    event = {
        **happens,
        "properties": {**happens["properties"], **mapping(after, (), ("after",))["properties"]},
        "maxProperties": 2,
    }
    expected: Keys = {
        "acts": (items(word(KEBAB)), "The steps whose action was sent, in order; none of it: []."),
        "stopped": (named(KEBAB, choice(STOPPED)), "Steps whose action was not sent, and why."),
        "stands": (word(KEBAB), f"The wait in which the client is at last; {NOWHERE}: it never began."),
        "ended": (word(IDENTIFIER), "Why it ended: goal, completed, or one of its exits."),
    }
    expect = mapping(expected, (), tuple(expected)) | {"minProperties": 1, "not": {"required": ["stands", "ended"]}}
    parts: Keys = {
        "name": (text(120), "What it shows."),
        "given": (given(rule_set), "Who the client is, what came before."),
        "at": (text(40), f'When, in the firm\'s time; "{story.AT}" unless said.'),
        "events": (items(event), "What happens from then on."),
        "wait": (duration("mhd"), "How much time passes."),
        "version": (number(1, 1_000_000), "Of a pinned journey: the version that the client begins."),
        "expect": (expect, "What is to become of the client."),
    }
    test = mapping(parts, ("name", "expect"), ("given", "at", "events", "wait", "version"))
    test["anyOf"] = [{"required": ["events"]}, {"required": ["wait"]}]
    return test
