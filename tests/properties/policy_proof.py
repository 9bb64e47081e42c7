"""The engine's contact policy against its slow model: plays stories in both, compares each verdict, tells the first
difference as a story that is as short as it can be.

Enters: seeds. Leaves: the differences.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any
from unittest.mock import patch

from engine.core.client.sections import pack, unpack
from engine.core.client.state import ClientState
from engine.core.decide import path
from engine.core.decide.path import Due, Input, Sweep, decide
from engine.core.plan.compile import Plan, compile_rule_set
from engine.core.policy.gates import Hold
from engine.core.reading.decode import Taken, decode
from engine.core.rules.occasion import Calendar
from engine.core.rules.ruleset import RuleSet
from engine.rulefile.read.load import load
from tests.properties.policy_model import Model, Verdict
from tests.properties.policy_occasions import Rules
from tests.properties.policy_sets import ALWAYS, CONDITIONS, files
from tests.properties.policy_stories import CLIENT, Step, Story, story
from tests.properties.policy_telling import shortest, told
from tests.properties.policy_words import FIRM, FUTURE, HOUR, MINUTE

MIDNIGHT = int(dt.datetime(2026, 3, 2, tzinfo=FIRM).timestamp()) * 1000
CHUNK = 200  # stories at once
SHOWN = {  # of outcomes, beside time and rule
    "sent": ("channel", "cause", "expires"),
    "held": ("channel", "until", "why"),
    "quiet_hours": ("channel",),
    "cap": ("channel", "until", "why"),
    "daily_cap": ("channel", "until", "why"),
    "cooldown": ("until",),
    "snoozed": ("until",),
    "do_not_contact": ("until",),
    "channel_rests": ("channel", "until"),
    "repeated": ("until",),
    "not_while": ("why",),
    "holdout": ("channel",),
}

# -- the engine --------------------------------------------------------------------------------------------------------


@cache
def plan_of(texts: tuple[tuple[str, str], ...]) -> Plan:
    result = load(dict(texts))
    assert isinstance(result, RuleSet), "\n".join(map(str, result))
    return compile_rule_set(result)


def ms(text: str) -> int:
    return round(dt.datetime.fromisoformat(text).timestamp() * 1000)


@contextmanager
def overheard(verdicts: list[Verdict], sent: list[str]) -> Iterator[None]:
    """Each verdict as it is recorded; of what is sent, what its record says, and its id. And what ends without one.

    Calendar times that were missed by so much that nothing could be sent are passed over or expire, as it comes.
    """
    record, action_message, end = path.record, path.action_message, path.end

    def recorded(plan: Plan, client: ClientState, match: Any, verdict: Any) -> None:
        record(plan, client, match, verdict)
        if verdict.reason == "expired" and match.held is None and isinstance(match.compiled.rule.occasion, Calendar):
            return
        until = getattr(verdict, "until_ms", 0) or FUTURE
        said = (client.now_ms, match.compiled.rule.id, verdict.reason.value, verdict.channel, until, numbers(verdict))
        verdicts.append(comparable(Verdict(*said)))

    def published(*given: Any) -> Any:
        message = action_message(*given)
        told = json.loads(message.value)
        assert verdicts[-1][:4] == (ms(told["time"]), told["rule_id"], "sent", told["channel"])
        verdicts[-1] = verdicts[-1]._replace(cause=ms(told["cause"]["time"]), expires=ms(told["expires_at"]))
        sent.append(told["id"])
        return message

    def ended(plan: Plan, client: ClientState, rule: str, kind: str, outcome: Any) -> Any:
        verdicts.append(Verdict(client.now_ms, rule, outcome.value))
        return end(plan, client, rule, kind, outcome)

    heard = {"record": recorded, "action_message": published, "end": ended}
    with patch.multiple(path, **heard):
        yield


def numbers(verdict: Any) -> tuple[Any, ...]:
    """Why it is held; or of what stops it, but for those to whom it lost."""
    if isinstance(verdict, Hold):
        return (verdict.why,)
    return tuple(value for name, value in getattr(verdict, "told", ()) if name != "lost_to")


class Engine:
    """One client's state, and the rules that are active."""

    def __init__(self, sets: list[Rules], sent: list[str] | None = None) -> None:
        self.plans = [plan_of(tuple(files(active).items())) for active in sets]
        self.plan, self.wall = self.plans[0], 0
        self.states: dict[str, ClientState] = {}
        self.sent = [] if sent is None else sent  # the ids of actions

    def play(self, step: Step) -> None:
        self.wall = max(self.wall, step.wall)
        if step.kind == "record":
            decide(self.plan, self.states, [read(step, self.sent)], step.wall)
        elif step.kind == "tick":
            decide(self.plan, self.states, [Due(CLIENT, step.at)], step.wall)
        elif step.kind == "ticks":
            decide(self.plan, self.states, [Due(CLIENT, self.wall)], self.wall)
            while self.states and self.states[CLIENT].due_ms <= step.at:
                self.wall = max(self.wall, self.states[CLIENT].due_ms + step.number)
                decide(self.plan, self.states, [Due(CLIENT, self.wall)], self.wall)
        else:
            before = self.plan.layout
            self.plan = self.plans[step.number] if step.kind == "rules" else self.plan
            for client_id, client in self.states.items():
                self.states[client_id] = unpack(self.plan.layout, pack(before, client))
            if step.kind == "rules":
                decide(self.plan, self.states, [Sweep(CLIENT, step.at)], step.wall)


def by_engine(story: Story) -> list[Verdict]:
    verdicts, sent = list[Verdict](), list[str]()
    engine = Engine(story.sets, sent)
    with overheard(verdicts, sent):
        for step in story.steps:
            engine.play(step)
    return verdicts


def read(step: Step, sent: list[str]) -> Input:
    """A record about the latest action, the one before, ... names it by its id."""
    record = dict(step.record or {})
    name, _, back = str(record.get("action_id")).partition("-")
    if name == "latest" and int(back) <= len(sent):
        record["action_id"] = sent[-int(back)]
    taken = decode(step.topic, CLIENT.encode(), json.dumps(record).encode(), -1)
    assert isinstance(taken, Taken), taken
    return step.topic, taken.event


def probe(policy: dict[str, Any]) -> Verdict:
    """What becomes of a message at midnight."""
    policy = {"contact": {"daily_cap": 9}, "classes": {"service": {"when_quiet": "hold"}}} | policy
    rule = {"id": "r", "on": "logins", "when": ALWAYS, "channels": ["sms"], "cooldown": "1m", "expires": "2d"}
    rule |= {"title": "T", "owner": "wealth", "kind": "message", "audience": "client", "priority": 1, "template": "t"}
    common = {"client_id": CLIENT, "time": MIDNIGHT}
    steps = [
        Step("record", "profiles", common | {"event_id": "p", "consents": {"sms": True}}),
        Step("record", "logins", common | {"event_id": "l", "channel": "app"}),
    ]
    (verdict,) = by_engine(Story([Rules(policy, [rule | {"description": "D."}])], steps))
    return verdict


@cache
def spread(over: int) -> int:
    """How long after the end of quiet hours the client hears: the manual says that it is always as long, no more."""
    if not over:
        return 0
    quiet = {"quiet_hours": {"q": {"hours": "00:00-01:00", "zone": "firm"}}, "release_over": f"{over // MINUTE}m"}
    found = probe(quiet).until - MIDNIGHT - HOUR
    assert 0 <= found <= over
    return found


@cache
def held_out(share: float, salt: str) -> bool:
    """Whether the client is: by the manual that follows from the salt and the client's id alone."""
    return probe({"holdout": {"share": share, "salt": salt}}).outcome == "holdout"


# -- the model ---------------------------------------------------------------------------------------------------------


def by_model(story: Story) -> list[Verdict]:
    model, wall = Model(story.sets[0], CONDITIONS, spread=spread, held_out=held_out), 0
    for step in story.steps:
        wall = max(wall, step.wall)
        if step.kind == "record":
            assert step.record is not None
            model.take(step.topic, step.record, step.wall)
        elif step.kind == "tick":
            model.pass_time(step.at, step.wall)
        elif step.kind == "ticks":
            model.pass_time(wall, wall)
            while (due := model.next_moment()) <= step.at:
                wall = max(wall, due + step.number)
                model.pass_time(wall, wall)
        elif step.kind == "rules":
            model.change(story.sets[step.number], step.at, step.wall)
    return [comparable(verdict) for verdict in model.verdicts]


def comparable(verdict: Verdict) -> Verdict:
    """What the model says of each outcome: of what is sent the action's record, of what is stopped by whom and until
    when."""
    shown = SHOWN.get(verdict.outcome, ())
    return Verdict(*verdict[:3])._replace(**{name: getattr(verdict, name) for name in shown})


# -- differences -------------------------------------------------------------------------------------------------------


def differs(story: Story) -> bool:
    try:
        return by_engine(story) != by_model(story)
    except Exception:  # one that was cut so short that it cannot be told
        return False


def in_short(story: Story) -> str:
    """A story that ends differently, with what each says."""
    return told(shortest(story, differs), {"engine": by_engine, "model": by_model})


# -- many --------------------------------------------------------------------------------------------------------------


def compared(seeds: Iterable[int]) -> tuple[list[int], Counter[str]]:
    """The seeds whose stories end differently, and how often each outcome came."""
    failed, seen = [], Counter[str]()
    for seed in seeds:
        try:
            engine, model = by_engine(story(seed)), by_model(story(seed))
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise
        failed += [seed] if engine != model else []
        seen.update(verdict.outcome for verdict in engine)
    return failed, seen


def main() -> int:
    """Exits 1 when a story ends differently."""
    parser = argparse.ArgumentParser(prog="python -m tests.properties.policy_model", description=main.__doc__)
    parser.add_argument("--histories", type=int, default=2_000, help="how many")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="as many as there are cores unless said")
    given = parser.parse_args()
    began, seen, done = time.monotonic(), Counter[str](), 0
    every = range(given.start, given.start + given.histories)
    chunks = [every[place : place + CHUNK] for place in range(0, len(every), CHUNK)]
    with ProcessPoolExecutor(given.processes) as pool:
        for failed, outcomes in pool.map(compared, chunks):
            if failed:
                pool.shutdown(wait=False, cancel_futures=True)
                print(f"seed {failed[0]} ends differently. In short:\n{in_short(story(failed[0]))}")
                return 1
            seen += outcomes
            done += CHUNK
            if done % (CHUNK * (5 if sys.stdout.isatty() else 50)) == 0:
                print(f"{done} histories, no difference, {time.monotonic() - began:.0f} s", flush=True)
    print(f"{len(every)} histories, no difference, {time.monotonic() - began:.0f} s. Verdicts:")
    print("\n".join(f"  {number:8} {outcome}" for outcome, number in seen.most_common()))
    return 0
