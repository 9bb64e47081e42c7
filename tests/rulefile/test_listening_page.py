"""The tutorial docs/listen.md is right: its files and records, in its order, lead to the actions that it shows."""

import json
import re
import shutil

from engine.core.contract.events import parse_time_ms
from engine.core.plan.compile import compile_rule_set
from engine.operations.record_file import SimulatedRecord, to_line
from engine.operations.replay import Replayed, read_file, replay_records
from engine.runtime.rule_sets.archive import load_directory
from tests.services.process import REPOSITORY

PAGE = (REPOSITORY / "docs/listen.md").read_text(encoding="utf-8")
RULES = {
    "visit-survey",
    "low-score-follow-up",
    "complaint-opened",
    "complaint-unanswered",
    "very-large-trade",
    "busted-trade",
}
WRITTEN = re.compile(r"^cat >>? listen/(\S+) <<'END'\n(.*?)^END$", re.DOTALL | re.MULTILINE)
SENT = re.compile(r"^echo '(\{.*\})' \| send (\S+)$", re.MULTILINE)
SHOWN = re.compile(r"^```json\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def has(found, said):
    """Whether all that is said is there; of a text that ends in dots the beginning."""
    if isinstance(said, dict):
        return isinstance(found, dict) and all(
            name in found and has(found[name], value) for name, value in said.items()
        )
    if isinstance(said, str) and said.endswith("..."):
        return found.startswith(said[:-3])
    return found == said


def sent(topic, value):
    return SimulatedRecord(topic, value["client_id"], parse_time_ms(value["time"]), value)


def test_it_is_as_it_says(tmp_path):
    rules = tmp_path / "listen"
    shutil.copytree(REPOSITORY / "rules", rules)
    written = WRITTEN.findall(PAGE)
    for name, text in written:
        with (rules / name).open("a", encoding="utf-8") as file:
            file.write(text)
    records = [(topic, json.loads(value)) for value, topic in SENT.findall(PAGE)]
    lines = [to_line(sent(topic, value)).encode() for topic, value in records]
    replayed = Replayed()
    messages = replay_records(compile_rule_set(load_directory(rules)), read_file(lines, "listen.md"), replayed)
    actions = [(m.topic, json.loads(m.value), dict(m.headers)) for m in messages if m.topic != "decisions"]
    assert (len(written), replayed.events, replayed.rejected) == (2, len(records), 0)
    shown = [json.loads(" ".join(text.split())) for text in SHOWN.findall(PAGE)]
    assert len(shown) == 3
    for said in shown:
        assert [action for _, action, _ in actions if has(action, said)], said
    assert {action["rule_id"] for _, action, _ in actions if "rule_id" in action} >= RULES
    reminder = next(action for _, action, _ in actions if action.get("rule_id") == "complaint-unanswered")
    assert reminder["time"] == "2026-11-05T09:30:00.000Z"
    topic, retraction, headers = next(one for one in actions if "action_id" in one[1])
    assert (topic, headers["ce_type"]) == ("alerts", b"engage.retraction.v1")
    assert headers["ce_retracts"].decode() == retraction["action_id"]
    assert re.search(r"ce_retracts=([0-9a-f]+)\.\.\.", PAGE)[1] == retraction["action_id"][:8]
