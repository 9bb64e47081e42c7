"""A story that ends differently in the engine and its model, as short as it can be, and told so that it can be read.

Enters: a story, and what ends a story differently. Leaves: a shorter one; text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from tests.properties.policy_model import Verdict
from tests.properties.policy_occasions import Rules
from tests.properties.policy_sets import ALWAYS
from tests.properties.policy_stories import Step, Story
from tests.properties.policy_words import FIRM, FUTURE, clock

Played = Callable[[Story], list[Verdict]]


def shortest(story: Story, differs: Callable[[Story], bool]) -> Story:
    """With less and less of it left out until every part is needed."""
    again = True
    while again:
        again = False
        for shorter in parts_left_out(story):
            if differs(shorter):
                story, again = shorter, True
                break
    return story


def parts_left_out(story: Story) -> Iterator[Story]:
    steps = story.steps
    for size in (8, 3, 1):
        for place in range(0, len(steps), size):
            yield replace(story, steps=steps[:place] + steps[place + size :])
    for id_ in [rule["id"] for rule in story.sets[0].rules]:
        yield replace(story, sets=[replace(one, rules=without_rule(one, id_)) for one in story.sets])
    for number, active in enumerate(story.sets):
        for smaller in smaller_rules(active):
            yield replace(story, sets=[*story.sets[:number], smaller, *story.sets[number + 1 :]])
    for place, step in enumerate(steps):
        for key in list(step.record or ()):
            record = {name: value for name, value in (step.record or {}).items() if name != key}
            yield replace(story, steps=[*steps[:place], step._replace(record=record), *steps[place + 1 :]])


def without_rule(active: Rules, id_: str) -> list[Mapping[str, Any]]:
    return [rule for rule in active.rules if rule["id"] != id_]


def smaller_rules(active: Rules) -> Iterator[Rules]:
    if active.calendar:
        yield replace(active, calendar=None)
    for smaller in without_one(active.policy, 3):
        yield replace(active, policy=smaller)
    for number, rule in enumerate(active.rules):
        for smaller in without_one(rule, 1):
            yield replace(active, rules=[*active.rules[:number], dict(smaller), *active.rules[number + 1 :]])


def without_one(known: Mapping[str, Any], depth: int) -> Iterator[Mapping[str, Any]]:
    for key, value in known.items():
        yield {name: other for name, other in known.items() if name != key}
        if depth and isinstance(value, dict):
            for inner in without_one(value, depth - 1):
                yield dict(known) | {key: inner}


# -- telling -----------------------------------------------------------------------------------------------------------


def told(story: Story, players: Mapping[str, Played]) -> str:
    """The rules, and the verdicts of both beside what led to them."""
    lines: list[str] = []
    for number, active in enumerate(story.sets):
        if len(story.sets) > 1:
            lines.append(f"rule set {number}")
        lines += [f"policy.yaml {key}: {json.dumps(value)}" for key, value in active.policy.items()]
        lines += ["rules.yaml " + json.dumps(without_usual(rule)) for rule in active.rules]
        if active.calendar:
            lines.append("calendar.yaml " + json.dumps(active.calendar))
    happened = dict.fromkeys(players, 0)
    for count in range(1, len(story.steps) + 1):
        step = story.steps[count - 1]
        lines.append(told_step(step))
        cut = replace(story, steps=story.steps[:count])
        for name, play in players.items():
            verdicts = play(cut)
            lines += [f"    {name:6} {told_verdict(verdict)}" for verdict in verdicts[happened[name] :]]
            happened[name] = len(verdicts)
    return "\n".join(lines)


def without_usual(rule: Mapping[str, Any]) -> Mapping[str, Any]:
    usual = {"title": "T", "template": "t", "description": "D.", "when": ALWAYS}
    return {key: value for key, value in rule.items() if usual.get(key) != value}


def moment(time: int) -> str:
    shown = clock(time, FIRM)
    return f"{shown:%Y-%m-%d %a %H:%M}" + (f":{shown:%S.%f}"[:-3] if time % 60_000 else "")


def told_step(step: Step) -> str:
    decided = f", decided {moment(step.wall)}" if step.wall else ""
    if step.record is not None:
        said = {name: value for name, value in step.record.items() if name not in ("event_id", "client_id", "time")}
        for name in said.keys() & {"until", "starts_at"}:
            said[name] = moment(said[name])
        return f"{moment(step.record['time'])} {step.topic} {json.dumps(said)}{decided}"
    if step.kind in ("tick", "ticks"):
        return f"{moment(step.at)} {'a tick' if step.kind == 'tick' else 'ticks until then, in time'}{decided}"
    return (
        f"{moment(step.at)} rule set {step.number}{decided}"
        if step.kind == "rules"
        else "-- the state is written and read again"
    )


def told_verdict(verdict: Verdict) -> str:
    text = f"{moment(verdict.time)} {verdict.rule} {verdict.outcome}"
    if verdict.until == FUTURE:
        text += " for good"
    elif verdict.until:
        text += f" until {moment(verdict.until)}"
    if verdict.outcome == "sent":
        text += f" by {verdict.channel}, caused {moment(verdict.cause)}, expires {moment(verdict.expires)}"
    if verdict.why:
        text += f" ({', '.join(map(str, verdict.why))})"
    return text
