"""Advisors on real Kafka and Redis: from a login to the advisor, while workers are killed in between."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from engine.core.contract.topics import ASSIGNMENT_REQUESTS, DEAD_LETTERS
from tests.kafka.conftest import MakeInstallation
from tests.kafka.installation import Installation, Sent
from tests.kafka.worker_process import eventually
from tests.runtime.test_pools import write_rules

DYING_WORKER = Path(__file__).with_name("dying_worker.py")
EXIT_STATUS = 99
ROOM = {"ann": 3, "bob": 2}
ADVISORS = "advisors:\n" + "".join(f"  {name}: {{pool: all, capacity: {room}}}\n" for name, room in ROOM.items())
CLIENTS = 24


def login(number: int) -> Sent:
    client, now_ms = f"c{number}", int(time.time() * 1000)
    record = {"event_id": f"login-{now_ms}", "client_id": client, "time": now_ms, "channel": "app"}
    return Sent("logins", client.encode(), json.dumps(record).encode())


def held(engine: Installation, scope: str, key: str) -> dict[str, str]:
    with engine.redis() as redis:
        (found,) = [redis.hgetall(name) for name in redis.scan_iter(f"{{{scope}:*}}:client:{key}")] or [{}]
    return {name.decode(): value.decode() for name, value in found.items() if name != b"state"}


def answers(engine: Installation) -> list[dict[str, Any]]:
    return [record.json for record in engine.read("assignment_answers")]


@pytest.mark.short
def test_each_request_has_one_answer_though_workers_are_killed(install: MakeInstallation, tmp_path: Path) -> None:
    engine = install(clock="wall").create_topics()
    rules = write_rules(tmp_path / "rules", ADVISORS)
    dying = engine.worker(
        rules=rules, program=(str(DYING_WORKER),), DIE_MOMENT="before_apply", DIE_AT=2
    )  # the first unit has the request, the second the answer: published, and Redis knows nothing of it
    dying.wait_ready()
    engine.produce([login(0)])
    assert dying.wait() == EXIT_STATUS
    assert [one["client_id"] for one in answers(engine)] == ["c0"]
    assert held(engine, f"{engine.name}-assignment", "all") == {}

    worker = engine.worker(rules=None).wait_ready()
    eventually(lambda: held(engine, engine.name, "c0").get("advisor") == "ann", "the client has an advisor")
    engine.produce([login(number) for number in range(1, CLIENTS)])
    eventually(lambda: len(answers(engine)) > 2, "the first are answered")
    worker.signal(signal.SIGKILL)
    worker.wait()
    engine.worker(rules=None).wait_ready()
    eventually(lambda: len(answers(engine)) >= CLIENTS, "all are answered")
    engine.settle()

    requests = Counter(one.json["request_id"] for one in engine.read("assignment_requests"))
    told = answers(engine)
    assert Counter(one["request_id"] for one in told) == requests
    assert set(requests.values()) == {1}
    assigned = {one["client_id"]: one["advisor_id"] for one in told if one["outcome"] == "assigned"}
    assert Counter(assigned.values()) == ROOM
    has = {name: held(engine, engine.name, name).get("advisor") for name in (f"c{n}" for n in range(CLIENTS))}
    assert {name: advisor for name, advisor in has.items() if advisor} == assigned
    assert held(engine, f"{engine.name}-assignment", "all")["load"] == str(sum(ROOM.values()))

    # every answer is decided again from the ledger, that of the worker that died included
    for one in (told[0], told[-1]):
        explained = json.loads(engine.engage("explain-assignment", one["request_id"], "--json").stdout)
        assert (explained["client_id"], explained["outcome"]) == (one["client_id"], one["outcome"])
        assert explained["advisor_id"] == one.get("advisor_id")
        assert {of["advisor_id"] for of in explained["candidates"]} == set(ROOM)
    planned = json.loads(engine.engage("handover", "ann", "--dry-run", "--json").stdout)
    assert [one["to"] for one in planned["clients"]] == [None] * ROOM["ann"]  # bob has no room
    assert planned["before"] == planned["after"] == ROOM

    # what is no request is put aside, and can be sent again
    engine.produce([Sent(ASSIGNMENT_REQUESTS.name, b"all", b"no request")])
    eventually(lambda: len(engine.read(DEAD_LETTERS)) == 1, "it is put aside")
    assert engine.engage("dead-letters", "resend", "--reason", "not_json").returncode == 0
    eventually(lambda: len(engine.read(DEAD_LETTERS)) == 2, "its copy is, too")
