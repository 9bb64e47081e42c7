"""A story that ends differently in the engine and its model, as short as it can be, and told so that it can be read.

Enters: a story, and what ends a story differently. Leaves: a shorter one; text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from tests.properties.policy_model import Verdict
from tests.properties.policy_occasions import Rules
from tests.properties.policy_sets import ALWAYS
from tests.properties.policy_stories import Step, Story
from tests.properties.policy_words import FIRM, FUTURE, Told, clock

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
    if len(story.sets) > 1:
        for active in story.sets:
            yield replace(story, sets=[active], steps=[step for step in steps if step.kind != "rules"])
    if story.sets[0].calendar:
        yield replace(story, sets=[replace(active, calendar=None) for active in story.sets])
    for way in dict.fromkeys(way for active in story.sets for way in ways(active)):
        yield replace(story, sets=[left_out(active, way) for active in story.sets])
    for place, step in enumerate(steps):
        for key in list(step.record or ()):
            record = {name: value for name, value in (step.record or {}).items() if name != key}
            yield replace(story, steps=[*steps[:place], step._replace(record=record), *steps[place + 1 :]])


def ways(active: Rules) -> Iterator[tuple[str, ...]]:
    """To each rule, each key of one, each part of the policy."""
    for rule in active.rules:
        yield "rules", rule["id"]
        yield from (("rules", rule["id"], key) for key in rule)
    yield from (("policy", *way) for way in ways_into(active.policy, 3))


def ways_into(known: Told, depth: int) -> Iterator[tuple[str, ...]]:
    for key, value in known.items():
        yield (key,)
        if depth and isinstance(value, dict):
            yield from ((key, *way) for way in ways_into(value, depth - 1))


def left_out(active: Rules, way: tuple[str, ...]) -> Rules:
    if way[0] == "policy":
        return replace(active, policy=without(active.policy, way[1:]))
    if len(way) == 2:
        return replace(active, rules=[rule for rule in active.rules if rule["id"] != way[1]])
    rules = [without(rule, way[2:]) if rule["id"] == way[1] else rule for rule in active.rules]
    return replace(active, rules=rules)


def without(known: Told, way: tuple[str, ...]) -> Told:
    if len(way) == 1 or not isinstance(known.get(way[0]), dict):
        return {key: value for key, value in known.items() if key != way[0] or len(way) > 1}
    return {key: without(value, way[1:]) if key == way[0] else value for key, value in known.items()}


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


def without_usual(rule: Told) -> Told:
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
