"""Open tasks with a worker on an embedded Kafka and Redis: what is asked for is explained, and outlives Redis."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from redis import Redis

from engine.advisors.explaining import account, as_json, lines
from engine.core.assign.state import unpack
from engine.runtime.clients import Clients
from tests.runtime.test_pools import LIMIT_S, _rebuild, _records, _states, running, until, write_rules

CALL = """\
rules:
  - id: call
    title: The advisor calls
    owner: wealth
    on: logins
    when: client.has_advisor
    kind: task
    audience: advisor
    priority: 50
    cooldown: 1h
    expires: 1d
    template: call
    care: {remind: {after: 2h}}
    description: It is open until somebody closes it.
"""
ADVISORS = """\
advisors:
  ann: {pool: all, capacity: 9, open_tasks: 1}
  bob: {pool: all, capacity: 9, open_tasks: 1}
"""


async def test_pools_with_tasks_come_back_and_go_on(tmp_path: Path) -> None:
    rules = write_rules(tmp_path / "rules", ADVISORS)
    (rules / "rules.yaml").write_text(CALL)
    async with running(rules) as engine:
        for client in ("c1", "c2"):
            await engine.send("profiles", client, advisor_id="ann")
            await engine.send("logins", client, channel="app")
        await until(lambda: engine.shows("engage-assignment", "all").get("queued_tasks") == "1")
        (task,) = await _records(engine.settings.kafka, "tasks", 1)
        asked = await _records(engine.settings.kafka, "assignment_requests", 2)
        of = {one["client"]: one["request_id"] for one in asked}
        found = {client: await account(engine.settings, Clients(), request) for client, request in of.items()}
        other = "c2" if task["client_id"] == "c1" else "c1"
        assert {name: as_json(one)["outcome"] for name, one in found.items()} == {
            task["client_id"]: "open",
            other: "waits",
        }
        assert list(lines(found[other]))[-1] == "    ann: no, open_tasks: 1 of 1 are open"

        engine.worker.terminate()
        assert engine.worker.wait(LIMIT_S) == 0
        before = _states(engine.redis)
        file = tmp_path / "clients.snapshot"
        command = (sys.executable, "-m", "engine.cli")
        subprocess.run([*command, "snapshot", str(file)], env=engine.env, check=True)
        engine.redis.flushall()
        assert (await _rebuild(engine))["pools"] == 1
        assert _states(engine.redis) == before
        engine.redis.flushall()
        subprocess.run([*command, "rebuild", "--snapshot", str(file)], env=engine.env, check=True)
        assert _states(engine.redis) == before

        with subprocess.Popen([*command, "run"], env=engine.env) as worker:
            try:  # clients and pools know what was open and what waited
                await engine.send("outcomes", task["client_id"], action_id=task["id"], status="done")
                sent = await _records(engine.settings.kafka, "tasks", 2)
                assert {one["client_id"] for one in sent} == {"c1", "c2"}
                await engine.send("profiles", other, advisor_id="bob")
                (comes,) = (
                    one
                    for one in await _records(engine.settings.kafka, "assignment_requests", 5)
                    if one["kind"] == "open"
                )
                assert (comes["client"], comes["advisor_id"]) == (other, "bob")
                brought = await until(lambda: _open(engine.redis, "bob"))
                assert brought == [other]
                assert _open(engine.redis, "ann") == []
            finally:
                worker.terminate()
        assert worker.returncode == 0


def _open(redis: Redis, advisor: str) -> list[str]:
    """Clients of whom something is open with the advisor, as the pool has it."""
    (packed,) = [state for key, state in _states(redis).items() if key.startswith(b"{engage-assignment")]
    return [task.client for task in unpack(packed).tasks.values() if task.given_ms and task.advisor == advisor]
