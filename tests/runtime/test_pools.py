"""A worker with both processors, on an embedded Kafka and Redis: from a login to the advisor, and back."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from redis import Redis

from engine.advisors import handover
from engine.advisors.explaining import account, as_json, lines
from engine.demo.embedded import PARTITIONS, EmbeddedKafka, EmbeddedRedis
from engine.runtime.clients import Clients
from engine.runtime.errors import Refused
from engine.runtime.kafka.topics import needed
from engine.runtime.partitioning import partitioner
from engine.runtime.settings import Settings
from tests.rulefile.test_roster import FEATURES
from tests.services.process import free_port

ASK = """\
rules:
  - id: ask
    title: Nobody looks after the client
    owner: wealth
    on: logins
    when: not client.has_advisor
    kind: assignment
    audience: team
    priority: 50
    cooldown: 1h
    expires: 1d
    template: ask
    description: Each client has somebody.
"""
LIMIT_S = 600.0  # of what hangs


def write_rules(directory: Path, advisors: str) -> Path:
    """Rule files that ask for an advisor for whoever has none, in one pool of these."""
    directory.mkdir(exist_ok=True)
    texts = {
        "features.yaml": FEATURES,
        "tiers.yaml": "{}\n",
        "policy.yaml": "contact: {daily_cap: 9}\n",
        "rules.yaml": ASK,
        "advisors.yaml": advisors,
        "assignment.yaml": "assignment:\n  pools:\n    all: {when: client.days_known >= 0, team: wealth}\n",
    }
    for name, text in texts.items():
        (directory / name).write_text(text)
    return directory


async def until(what: Callable[[], Any]) -> Any:
    end = time.monotonic() + LIMIT_S
    while not (found := what()):
        assert time.monotonic() < end
        await asyncio.sleep(0.1)
    return found


@dataclass(frozen=True, slots=True)
class Engine:
    """A worker, and what goes in and out beside it."""

    settings: Settings
    redis: Redis
    producer: AIOKafkaProducer
    port: str
    worker: subprocess.Popen[bytes]
    env: dict[str, str]

    def shows(self, scope: str, key: str) -> dict[str, str]:
        number = partitioner(PARTITIONS)(key.encode())
        found: Any = self.redis.hgetall(f"{{{scope}:{number}}}:client:{key}")
        return {name.decode(): value.decode() for name, value in found.items() if name != b"state"}

    def advisor(self, client: str) -> str:
        return self.shows("engage", client).get("advisor", "")

    def load(self) -> str:
        return self.shows("engage-assignment", "all").get("load", "")

    async def send(self, topic: str, client: str, **fields: Any) -> None:
        time_ms = int(time.time() * 1000)
        record = {"event_id": f"{topic}-{client}-{time_ms}", "client_id": client, "time": time_ms} | fields
        await self.producer.send_and_wait(topic, json.dumps(record).encode(), key=client.encode())

    async def say(self, advisor: str, **says: Any) -> None:
        """On the topic advisors."""
        record = {"event_id": f"{advisor}-{says}".replace(" ", ""), "pool": "all", "time": int(time.time() * 1000)}
        value = json.dumps(record | {"advisor_id": advisor} | says).encode()
        await self.producer.send_and_wait("advisors", value, key=b"all")


@asynccontextmanager
async def running(rules: Path) -> AsyncIterator[Engine]:
    with EmbeddedKafka() as kafka, EmbeddedRedis() as server:
        kafka.create_topics(topic.name for topic in needed(Settings()))
        env = os.environ | {
            "ENGAGE_KAFKA": kafka.address,
            "ENGAGE_KAFKA_CHECKSUMS": "false",  # the embedded broker leaves some out
            "ENGAGE_REDIS": server.url,
            "ENGAGE_RULES": str(rules),
            "ENGAGE_WEB_PORT": (port := str(free_port())),
        }
        settings = Settings(kafka=kafka.address, redis=server.url, kafka_checksums=False)  # type: ignore[arg-type]
        with subprocess.Popen([sys.executable, "-m", "engine.cli", "run"], env=env) as worker:
            try:
                async with AIOKafkaProducer(bootstrap_servers=kafka.address) as producer:
                    yield Engine(settings, Redis.from_url(server.url), producer, port, worker, env)
            finally:
                worker.terminate()
        assert worker.returncode == 0


async def test_a_client_gets_an_advisor_and_the_next_one_waits_for_room(tmp_path: Path) -> None:
    async with running(write_rules(tmp_path, "advisors:\n  ann: {pool: all, capacity: 1}\n")) as engine:
        await engine.send("profiles", "c1", type="individual")
        await engine.send("logins", "c1", channel="app")
        await until(lambda: engine.advisor("c1") == "ann")
        await until(lambda: engine.load() == "1")
        await engine.send("logins", "c2", channel="app")
        answers = await _records(engine.settings.kafka, "assignment_answers", 2)
        assert [(one["client_id"], one["outcome"]) for one in answers] == [("c1", "assigned"), ("c2", "no_capacity")]
        await engine.send("profiles", "c1", advisor_id="somebody")  # ann has room again
        await until(lambda: engine.load() == "0")
        assert engine.advisor("c1") == "somebody"
        shown = await until(lambda: _of_pool(engine.port, waiting="0.0", load="0.0"))
        zeros = dict.fromkeys(("clients", "load", "absent", "waiting", "waits_seconds"), "0.0")
        assert shown == zeros | {"capacity": "1.0"}
        await _explained(engine.settings, answers)
        await engine.say("ann", present=False)
        await until(lambda: _of_pool(engine.port, absent="1.0"))
        await engine.send("logins", "c3", channel="app")
        last = (await _records(engine.settings.kafka, "assignment_answers", 3))[-1]
        assert (last["client_id"], last["outcome"]) == ("c3", "no_capacity")
        found = await account(engine.settings, Clients(), last["request_id"])
        assert [one.why_not for one in found.candidates] == ["absent"]
        await engine.say("dan", present=False)
        (letter,) = await _records(engine.settings.kafka, "dead-letters", 1)
        assert letter["advisor_id"] == "dan"


async def test_a_client_is_handed_over_and_then_declined(tmp_path: Path) -> None:
    advisors = "advisors:\n  ann: {pool: all, capacity: 1}\n  bob: {pool: all, capacity: 1}\n"
    async with running(write_rules(tmp_path, advisors)) as engine:
        await engine.send("logins", "c1", channel="app")
        await until(lambda: engine.advisor("c1") == "ann")
        await until(lambda: engine.load() == "1")
        found = await handover.planned(engine.settings, Clients(), "ann")
        ((client, request, to),) = found.steps
        assert (client, to, found.after) == ("c1", "bob", {"ann": 0, "bob": 1})
        for _ in range(2):  # the second changes nothing
            assert await handover.publish(engine.settings, Clients(), found, 1_000) == 1
        await until(lambda: engine.advisor("c1") == "bob")
        with pytest.raises(Refused, match="no client of ann"):
            await handover.planned(engine.settings, Clients(), "ann")
        await engine.send("outcomes", "c1", action_id=request, status="declined")
        await until(lambda: not engine.advisor("c1"))  # ann is not asked again for this request
        await until(lambda: engine.load() == "0")
        answers = await _records(engine.settings.kafka, "assignment_answers", 3)
        told = [(one["outcome"], one.get("why"), one.get("advisor_id")) for one in answers]
        assert told == [("assigned", None, "ann"), ("moved", "handover", "bob"), ("no_capacity", "declined", None)]


async def test_an_emptied_redis_gets_its_pools_back(tmp_path: Path) -> None:
    async with running(write_rules(tmp_path, "advisors:\n  ann: {pool: all, capacity: 2}\n")) as engine:
        await engine.send("logins", "c1", channel="app")
        await until(lambda: engine.advisor("c1") == "ann")
        await until(lambda: engine.load() == "1")
        engine.worker.terminate()
        assert engine.worker.wait(LIMIT_S) == 0
        before = _states(engine.redis)
        assert len(before) == 2
        engine.redis.flushall()
        told = await _rebuild(engine)
        assert (told["clients"], told["pools"], _states(engine.redis)) == (1, 1, before)
        for key in engine.redis.keys("{engage-assignment*"):  # as a rebuild of an earlier engine left it
            engine.redis.delete(key)
        assert (await _rebuild(engine))["pools"] == 1
        assert _states(engine.redis) == before


def _states(redis: Redis) -> dict[bytes, bytes]:
    keys: Any = redis.keys("*:client:*")
    return {key: redis.hget(key, "state") for key in keys}  # type: ignore[misc]


async def _rebuild(engine: Engine) -> dict[str, int]:
    command = (sys.executable, "-m", "engine.cli", "rebuild", "--json")
    process = await asyncio.create_subprocess_exec(*command, env=engine.env, stdout=subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    found: dict[str, int] = json.loads(out)
    return found


BUDGET = "budgets: {sms: {limit: 0.05 CNY, per: month, of: {channel: sms}, cost: 0.02 CNY}}\n"
HELLO = """\
rules:
  - id: hello
    title: A client has come
    owner: wealth
    on: logins
    when: client.days_known >= 0
    kind: message
    audience: client
    channels: [sms]
    priority: 50
    cooldown: 1m
    expires: 1d
    template: hello
    description: Each client hears of it.
"""


async def test_a_budget_pays_for_two_messages_and_no_third(tmp_path: Path) -> None:
    rules = write_rules(tmp_path, "")
    for name in ("advisors.yaml", "assignment.yaml"):
        (rules / name).unlink()
    (rules / "policy.yaml").write_text("contact: {daily_cap: 9}\n" + BUDGET)
    (rules / "rules.yaml").write_text(HELLO)
    async with running(rules) as engine:
        for client in ("c1", "c2", "c3"):  # of three partitions, perhaps
            await engine.send("profiles", client, type="individual", consents={"sms": True})
            await engine.send("logins", client, channel="app")
            if client != "c3":
                await _records(engine.settings.kafka, "messages", 1 if client == "c1" else 2)
        answers = await _records(engine.settings.kafka, "budget_answers", 3)
        assert [(one["client_id"], one["outcome"], one["amount"]) for one in answers] == [
            ("c1", "granted", 2),
            ("c2", "granted", 2),
            ("c3", "nothing", 0),
        ]
        outcomes = await _records(engine.settings.kafka, "decisions", 6)
        assert sorted((one["client_id"], one["outcome"]) for one in outcomes) == [
            *(("c1", "held"), ("c1", "sent"), ("c2", "held"), ("c2", "sent")),
            *(("c3", "held"), ("c3", "no_budget")),
        ]
        shown = {"planned": "5.0", "granted": "4.0", "spent_total": "4.0"}
        assert await until(lambda: _of_budget(engine.port, **shown)) == shown
        assert engine.shows("engage-assignment", "budget:sms")["granted"] == "4"
        with pytest.raises(Refused, match="no pool knows a request"):  # of a budget nobody is asked for
            await account(engine.settings, Clients(), answers[0]["request_id"])


def _of_budget(port: str, **wanted: str) -> dict[str, str]:
    return _shown(port, "budget", '{budget="sms"} ', wanted)


def _of_pool(port: str, **wanted: str) -> dict[str, str]:
    """What the worker's metrics say of the pool, once they say what is wanted."""
    return _shown(port, "pool", '{pool="all"} ', wanted)


def _shown(port: str, what: str, of: str, wanted: dict[str, str]) -> dict[str, str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    found = dict(line.removeprefix(f"engage_{what}_").split(of) for line in lines if of in line)
    return found if wanted.items() <= found.items() else {}


async def _explained(settings: Settings, answers: list[dict[str, Any]]) -> None:
    """Each answer is decided again, from the ledger alone."""
    first, second = [await account(settings, Clients(), one["request_id"]) for one in answers]
    assert [(found.asked.client, found.pool) for found in (first, second)] == [("c1", "all"), ("c2", "all")]
    assert [(one.advisor.name, one.load, one.why_not) for one in first.candidates] == [("ann", 0, "")]
    assert [(one.advisor.name, one.load, one.why_not) for one in second.candidates] == [("ann", 1, "capacity")]
    assert [as_json(found)["outcome"] for found in (first, second)] == ["assigned", "no_capacity"]
    assert list(lines(second))[-1] == "    ann: no, capacity: load 1 of 1, and the client takes 1"
    with pytest.raises(Refused, match="no pool knows a request nobody-asked"):
        await account(settings, Clients(), "nobody-asked")


async def _records(kafka: str, topic: str, number: int) -> list[dict[str, Any]]:
    """So many of a topic, by time."""
    found: list[dict[str, Any]] = []
    async with AIOKafkaConsumer(
        bootstrap_servers=kafka, isolation_level="read_committed", check_crcs=False
    ) as consumer:
        consumer.assign(tps := [TopicPartition(topic, partition) for partition in range(PARTITIONS)])
        await consumer.seek_to_beginning(*tps)
        async with asyncio.timeout(LIMIT_S):
            while len(found) < number:
                fetched = await consumer.getmany(timeout_ms=200)
                found += [json.loads(record.value) for records in fetched.values() for record in records]
    return sorted(found, key=lambda one: str(one["time"]))
