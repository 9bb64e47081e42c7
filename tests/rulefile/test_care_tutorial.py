"""docs/care-tutorial.md is what it says: its files load, its records, in its order, lead to what it shows, and clients
go on where an edit of a journey leaves them.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from engine.cli.explain import _work_line
from engine.core.assign.state import PoolState
from engine.core.client.items import journey
from engine.core.client.record import PORTRAIT_FIELDS, PUBLIC_FIELDS, open_work, public_fields, work_places
from engine.core.client.sections import last_events, pack, unpack
from engine.core.client.state import ClientState
from engine.core.contract.message import rfc3339
from engine.core.decide.path import Sweep, decide
from engine.core.decide.timeline import Timeline
from engine.core.firm_time import NEVER_MS
from engine.core.plan.compile import Plan, compile_rule_set
from engine.core.reading.decode import Taken, decode, kind_of
from engine.insight.preview import awaited
from engine.rulefile.tools.effects import effects
from engine.runtime.redis import reading
from engine.runtime.rule_sets.archive import load_directory
from tests.rulefile.test_listening_page import has
from tests.services.process import REPOSITORY

PAGE = (REPOSITORY / "docs/care-tutorial.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
STEP = re.compile(
    r"^cat > care/(?P<file>\S+) <<'END'\n(?P<text>.*?)^END$"
    r"|^echo '(?P<value>\{[^\n]*\})' \| send (?P<topic>\S+) (?P<key>\S+)$"
    r"|^engage (?P<publish>publish) care [^\n]*$",
    re.DOTALL | re.MULTILINE,
)
LATER_MS = 1_800_000_000_000


class Firm:
    """Clients and pools in one order of time, under the rules that were published last."""

    def __init__(self, rules: Path) -> None:
        self.rules = rules
        self.states: dict[str, ClientState] = {}
        self.pools: dict[str, PoolState] = {}
        self.timeline: Timeline | None = None
        self.published: list[dict[str, Any]] = []
        self.said: list[str] = []  # of the last publication

    @property
    def plan(self) -> Plan:
        assert self.timeline is not None
        return self.timeline.plan

    def play(self, script: str) -> int:
        """Each step of a block; how many there were."""
        steps = list(STEP.finditer(script))
        for step in steps:
            if step["file"]:
                (self.rules / step["file"]).write_text(step["text"], encoding="utf-8")
            elif step["publish"]:
                self.publish(compile_rule_set(load_directory(self.rules)))
            else:
                self.send(step["topic"], step["key"], step["value"])
        return len(steps)

    def publish(self, plan: Plan) -> None:
        """Every client is evaluated once by the new rules."""
        before = self.timeline
        self.said = effects(before.plan.rule_set, plan.rule_set) if before is not None else []
        self.timeline = Timeline(plan, self.states, self.pools)
        if before is None:
            return
        for key, client in self.states.items():
            self.states[key] = unpack(plan.layout, pack(before.plan.layout, client))
        for key, client in list(self.states.items()):
            self.note(decide(plan, self.states, [Sweep(key, client.now_ms)]).messages)
        self.timeline = Timeline(plan, self.states, self.pools)

    def send(self, topic: str, key: str, value: str) -> None:
        assert self.timeline is not None
        taken = decode(topic, key.encode(), value.encode(), LATER_MS, self.plan.declared_types)
        assert isinstance(taken, Taken), value
        assert not taken.unread
        for decided in self.timeline.take(kind_of(topic, taken.event), taken.event):
            self.note(decided.messages)

    def note(self, messages: Any) -> None:
        self.published += [json.loads(message.value) for message in messages if message.topic != "decisions"]

    def answer(self, command: str) -> list[str]:
        """What `engage client` and `engage work` print."""
        told, _, wanted = command.partition(" | grep ")
        _, name, *given = told.split()
        wanted = wanted.strip('"')
        if name == "client":
            return [line for line in self.screen(given[0]).splitlines() if wanted in line]
        assert name == "work"
        return self.work(f"advisor:{given[1]}" if given[0] == "--advisor" else f"team:{given[0]}")

    def screen(self, key: str) -> str:
        client = self.states[key]
        packed = pack(self.plan.layout, client)
        shown = reading._private(unpack(reading.NO_RULES.layout, packed), last_events(packed))
        for one in shown["journeys"]:
            entry = journey(client.journeys, one["journey"])
            assert entry is not None
            waits_for, due_ms = awaited(self.plan, client, entry)
            one |= {"waits_for": waits_for, "until": rfc3339(due_ms) if due_ms < NEVER_MS else None}
        public = {name: public_fields(client).get(name) or None for name in (*PUBLIC_FIELDS, *PORTRAIT_FIELDS)}
        return reading.on_one_screen({"client_id": key, **public, **shown, "portrait": {}})

    def work(self, whose: str) -> list[str]:
        found = []
        for client in self.states.values():
            shown = {one["action_id"]: one for one in open_work(client)}
            for line in work_places(client).splitlines():
                list_, place, action = line.split()
                if list_ == whose:
                    found.append((int(place), action, _work_line(shown[action])))
        return [line for *_, line in sorted(found)]


@pytest.fixture
def firm(tmp_path: Path) -> Firm:
    shutil.copytree(REPOSITORY / "rules", tmp_path / "care")
    return Firm(tmp_path / "care")


def test_it_is_as_it_says(firm):
    played = shown = 0
    for language, text in BLOCK.findall(PAGE):
        if language == "json":
            said = json.loads(" ".join(text.split()))
            assert [one for one in firm.published if has(one, said)], said
            shown += 1
        elif language == "text":
            assert {line.strip() for line in text.splitlines()} <= set(firm.said)
            shown += 1
        elif language == "console":
            for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                command, *lines = part.splitlines()
                assert firm.answer(command) == lines, command
                shown += len(lines)
        else:
            played += firm.play(text)
    assert played == len(re.findall(r"^cat >|^echo|^engage publish", PAGE, re.MULTILINE))
    assert shown > 20
