"""A budget and the topic `advisors` on real Kafka: what clients get ends with the limit though a worker is killed, and
what another program says of an advisor counts.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from engine.core.contract.outbound import DECISIONS
from engine.core.contract.topics import ADVISORS, BUDGET_REQUESTS, DEAD_LETTERS
from tests.kafka.conftest import MakeInstallation
from tests.kafka.installation import Installation, Sent
from tests.kafka.test_pools import ADVISORS as ROSTER
from tests.kafka.test_pools import CLIENTS, answers, held, login
from tests.kafka.worker_process import eventually
from tests.runtime.test_pools import write_rules

LIMIT = 7  # fewer than clients
HELLO = """\
rules:
  - id: hello
    title: Said to everybody
    owner: wealth
    on: logins
    kind: message
    audience: client
    channels: [app_push]
    priority: 40
    cooldown: 1d
    expires: 1d
    template: hello
    description: It costs one of the budget.
"""


def profile(number: int) -> Sent:
    now_ms = int(time.time() * 1000)
    record = {
        "event_id": f"profile-{number}",
        "client_id": f"c{number}",
        "time": now_ms,
        "consents": {"app_push": True},
    }
    return Sent("profiles", f"c{number}".encode(), json.dumps(record).encode())


def kcat(engine: Installation, advisor: str, **said: object) -> None:
    """By another program, which puts the record on another partition than the engine would."""
    record = {"event_id": f"{advisor}-{time.time_ns()}", "pool": "all", "time": int(time.time() * 1000)}
    line = b"all\t" + json.dumps(record | {"advisor_id": advisor, **said}).encode()
    command = ["kcat", "-P", "-b", engine.settings.kafka, "-t", engine.settings.topic(ADVISORS.name), "-K", "\t"]
    subprocess.run(command, input=line + b"\n", check=True, timeout=60)


@pytest.mark.short
@pytest.mark.skipif(shutil.which("kcat") is None, reason="kcat is not installed")
def test_what_another_program_says_of_an_advisor_counts(install: MakeInstallation, tmp_path: Path) -> None:
    engine = install(clock="wall").create_topics()
    engine.worker(rules=write_rules(tmp_path / "rules", ROSTER)).wait_ready()
    kcat(engine, "ann", present=False)
    eventually(
        lambda: held(engine, f"{engine.name}-assignment", "all").get("absent") == "1", "the pool has heard of it"
    )
    engine.produce([login(0)])
    eventually(lambda: [one.get("advisor_id") for one in answers(engine)] == ["bob"], "the other one has the client")
    kcat(engine, "ann", present=None)
    kcat(engine, "nobody", present=False)
    eventually(lambda: len(engine.read(DEAD_LETTERS)) == 1, "whom the roster does not have is put aside")
    assert b"neither advisors.yaml nor .csv" in engine.read(DEAD_LETTERS)[0].headers["engage_error"]
    eventually(lambda: held(engine, f"{engine.name}-assignment", "all")["absent"] == "0", "and who is back is there")
    engine.produce([login(1)])
    eventually(lambda: [one.get("advisor_id") for one in answers(engine)][1:] == ["ann"], "and has the next one")


def test_nothing_is_sent_beyond_the_limit_though_a_worker_is_killed(install: MakeInstallation, tmp_path: Path) -> None:
    rules = write_rules(tmp_path / "rules", ROSTER)
    (rules / "hello.yaml").write_text(HELLO)
    budgets = f"budgets: {{hello: {{limit: {LIMIT}, per: month, of: {{channel: app_push}}}}}}\n"
    (rules / "policy.yaml").write_text("contact: {daily_cap: 9}\n" + budgets)
    engine = install(clock="wall").create_topics()
    worker = engine.worker(rules=rules).wait_ready()
    engine.produce([profile(number) for number in range(CLIENTS)])
    engine.produce([login(number) for number in range(CLIENTS)])
    eventually(lambda: len(engine.read("messages")) > 1, "the first have their message")
    worker.signal(signal.SIGKILL)
    worker.wait()
    engine.worker(rules=None).wait_ready()

    def outcomes() -> list[str]:
        told = (record.json for record in engine.read(DECISIONS))
        return [one["outcome"] for one in told if one["rule_id"] == "hello" and one["outcome"] != "held"]

    eventually(lambda: len(outcomes()) >= CLIENTS, "each has an end")
    engine.settle()
    assert len(outcomes()) == CLIENTS
    sent = outcomes().count("sent")
    assert outcomes().count("no_budget") == CLIENTS - sent
    assert sent == LIMIT == len(engine.read("messages"))
    asked = [record.json for record in engine.read(BUDGET_REQUESTS.name)]
    granted = {one.json["request_id"]: one.json["amount"] for one in engine.read("budget_answers")}
    assert granted.keys() == {one["request_id"] for one in asked}
    assert sum(granted.values()) == LIMIT
