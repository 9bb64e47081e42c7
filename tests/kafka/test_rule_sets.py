"""Rules change under running workers: a good change is in force within seconds, a bad one changes nothing and shows."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka.admin import NewTopic

from engine.rulefile.read.load import digest, read_directory
from engine.runtime.clients import Clients
from engine.runtime.errors import Refused, Unavailable
from engine.runtime.kafka.connection import discard
from engine.runtime.rule_sets import publishing
from engine.runtime.rule_sets.archive import HEAD, Entry, RuleSetArchive, load_directory
from engine.runtime.rule_sets.carrying import pauses_of
from engine.runtime.rule_sets.pausing import BREAKER, pause
from tests.kafka.installation import RULES, Installation, Sent, WorkerProcess
from tests.kafka.worker_process import eventually
from tests.rulefile.sample import FILES, good

JULY_2025_MS = 1_751_328_000_000
RULE = """\
rules:
  - id: any-trade
    title: Any trade at all
    owner: trading
    on: trades
    when: trade.amount_cny >= 1
    kind: alert
    audience: team
    priority: 1
    cooldown: 1h
    expires: 1d
    template: any_trade
    description: For this test.
"""


def trade(client_id: str) -> Sent:
    value = {"event_id": "T", "client_id": client_id, "time": JULY_2025_MS, "symbol": "600000", "side": "buy"}
    return Sent("trades", client_id.encode(), json.dumps(value | {"quantity": 1, "amount_fen": 100}).encode())


def in_force(worker: WorkerProcess, digest: str) -> bool:
    return worker.metric("engage_rule_set_info", digest=digest) == 1 and worker.metric("engage_rule_set_info") == 1


def rules_that_acted(engine: Installation, client_id: str) -> list[str]:
    engine.produce([trade(client_id)])
    engine.settle()
    return [r.json["rule_id"] for r in engine.read("alerts") if r.key == client_id.encode()]


def test_watched_files(engine: Installation, tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    shutil.copytree(RULES, rules)
    first = load_directory(rules).digest
    watching = engine.worker(rules=rules, ENGAGE_WATCH="true").wait_ready()
    following = engine.worker(rules=None).wait_ready()
    workers = (watching, following)
    assert all(in_force(worker, first) for worker in workers)  # the second has it from the topic
    assert rules_that_acted(engine, "C1") == []

    (rules / "extra.yaml").write_text(RULE)
    second = load_directory(rules).digest
    assert second != first
    eventually(lambda: all(in_force(worker, second) for worker in workers), "the changed rules are in force")
    # a partition changes at its next unit's end, or when it is idle
    eventually(lambda: all(len(worker.logged("rule set active")) == 1 for worker in workers), "everywhere")
    assert rules_that_acted(engine, "C2") == ["any-trade"]

    (rules / "extra.yaml").write_text(RULE.replace("trade.amount_cny", "trade.amuont_cny"))
    eventually(lambda: watching.metric("engage_rule_set_stale") == 1, "the bad file shows")
    assert all(in_force(worker, second) for worker in workers)
    refused = watching.logged("rule set refused, the last good one stays active")
    assert len(refused) == 1
    assert refused[0]["level"] == "error"
    assert "extra.yaml:6:" in refused[0]["reason"]
    assert watching.metric("engage_rule_set_refused_total") == 1
    assert watching.ready
    assert json.loads(watching.get("/health/ready")[1])["rule_set_stale"] is True
    assert rules_that_acted(engine, "C3") == ["any-trade"]

    (rules / "extra.yaml").unlink()
    eventually(lambda: all(in_force(worker, first) for worker in workers), "the mended rules are in force")
    assert watching.metric("engage_rule_set_stale") == 0
    eventually(lambda: all(len(worker.logged("rule set active")) == 2 for worker in workers), "everywhere")
    assert rules_that_acted(engine, "C4") == []

    for worker in workers:
        worker.stop()
    replayed = engine.engage("replay", "--from-ledger")  # over three rule sets
    assert replayed.returncode == 0, replayed.stderr
    assert "differences 0" in replayed.stderr
    assert engine.states().split()[-1] in replayed.stderr


SILENT = RULE.replace("on: trades\n    when: trade.amount_cny >= 1\n", "silence: {of: trades, for: 30d}\n").replace(
    "kind: alert", "kind: task"
)


@pytest.mark.short
def test_a_new_rule_on_silence_reaches_clients_who_do_nothing(engine: Installation, tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    shutil.copytree(RULES, rules)
    worker = engine.worker(rules=rules, ENGAGE_WATCH="true", ENGAGE_CLOCK="wall").wait_ready()
    clients = [f"C{number}" for number in range(600)]
    engine.produce([trade(client_id) for client_id in clients])
    engine.settle()

    def told() -> list[str]:
        return [r.key.decode() for r in engine.read("tasks") if r.json["rule_id"] == "any-trade"]

    assert told() == []
    (rules / "extra.yaml").write_text(SILENT)
    eventually(lambda: len(told()) == len(clients), "every client is told")
    eventually(lambda: len(worker.logged("sweep ends")) == 1, "all were looked at")
    assert sorted(told()) == sorted(clients)
    assert worker.metric("engage_swept_clients_total", result="changed") == len(clients)
    worker.stop()
    replayed = engine.engage("replay", "--from-ledger")
    assert replayed.returncode == 0, replayed.stderr
    assert engine.states().split()[-1] in replayed.stderr


def archive(engine: Installation) -> RuleSetArchive:
    found = RuleSetArchive(engine.settings, Clients())
    asyncio.run(found.read())
    return found


def with_cap(cap: int) -> dict[str, str]:
    return FILES | {"policy.yaml": f"contact:\n  daily_cap: {cap}\n"}


def append(engine: Installation, records: list[tuple[bytes, bytes]], commit: bool = True) -> None:
    """As another publisher does, of a later version, say; without commit it dies between two records."""

    async def send() -> None:
        producer = AIOKafkaProducer(
            **engine.settings.kafka_client(),
            transactional_id=f"{engine.settings.prefix}{engine.settings.app_id}-rule-sets",
        )
        await producer.start()
        await producer.begin_transaction()
        for key, value in records:
            await producer.send_and_wait(engine.settings.rule_set_topic, value, key=key, partition=0)
        if commit:
            await producer.commit_transaction()
        await discard(producer)

    asyncio.run(send())


def as_published(number: int, files: dict[str, str], over: str) -> list[tuple[bytes, bytes]]:
    name = digest(files)
    entry = Entry(number, 1_751_328_000_000, "publish", name, "ann", "of a later version", over, in_force=True)
    return [
        (name.encode(), json.dumps({"files": files}).encode()),
        (entry.key, entry.encode()),
        (HEAD, name.encode()),
    ]


@pytest.mark.short
def test_two_at_once_are_one_after_the_other(engine: Installation) -> None:
    """Whoever is fenced reads again; a person's command then stops, since it is not the set it saw that it replaces."""

    async def publish(cap: int) -> Entry | None:
        while True:
            try:
                return await publishing.publish(engine.settings, Clients(), good(with_cap(cap)), f"p{cap}", "why")
            except Unavailable:  # on a slow machine the others come between again and again
                await asyncio.sleep(cap)

    async def all_at_once() -> list[Entry | BaseException | None]:
        return await asyncio.gather(*(publish(cap) for cap in range(3, 8)), return_exceptions=True)

    assert asyncio.run(publish(2))
    outcomes = asyncio.run(all_at_once())
    done = [outcome for outcome in outcomes if isinstance(outcome, Entry)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    assert len(done) + len(refused) == 5, outcomes
    assert done
    history = archive(engine).history
    assert history[1:] == sorted(done, key=lambda entry: entry.number)
    assert [entry.over for entry in history[1:]] == [entry.digest for entry in history[:-1]]
    assert archive(engine).head == history[-1].digest


@pytest.mark.short
def test_of_workers_that_pause_a_rule_at_once_one_does(engine: Installation) -> None:
    asyncio.run(publishing.publish(engine.settings, Clients(), good(), "ann", "why"))

    async def pause_(number: int) -> Entry | None:
        while True:
            try:
                whys = {"hello": f"{number} in a minute"}
                return await pause(engine.settings, Clients(), whys, f"worker {number}", on_behalf_of=BREAKER)
            except Unavailable:  # on a slow machine the others come between again and again
                await asyncio.sleep(number)

    async def all_at_once() -> list[Entry | None]:
        return await asyncio.gather(*(pause_(number) for number in range(3)))

    done = [entry for entry in asyncio.run(all_at_once()) if entry is not None]
    held = archive(engine)
    assert [entry.action for entry in held.history] == ["publish", "pause"]
    assert held.history[1:] == done
    paused, _ = pauses_of(held, held.head)
    assert [(one.rule, one.by) for one in paused] == [("hello", BREAKER)]


@pytest.mark.short
def test_a_publisher_that_dies_in_between_leaves_nothing(engine: Installation) -> None:
    first = asyncio.run(publishing.publish(engine.settings, Clients(), good(with_cap(2)), "ann", "why"))
    assert first is not None
    append(engine, as_published(2, with_cap(3), first.digest), commit=False)
    second = asyncio.run(
        publishing.publish(engine.settings, Clients(), good(with_cap(4)), "bob", "why")
    )  # and waits for nobody
    held = archive(engine)
    assert held.history == [first, second]
    assert not held.holds(digest(with_cap(3)))


def test_the_topic_of_rule_sets_made_anew_under_a_running_worker(engine: Installation) -> None:
    """It was waited for in silence: nothing that was published came any more."""
    worker = engine.worker().wait_ready()
    topic = engine.settings.rule_set_topic
    engine.admin.delete_topics([topic])[topic].result(120)
    eventually(lambda: topic not in engine.admin.list_topics(timeout=60).topics, "the topic is gone")
    engine.admin.create_topics([NewTopic(topic, 1, config={"cleanup.policy": "compact"})])[topic].result(120)
    eventually(lambda: worker.metric("engage_rule_set_stale") == 1, "it is told")
    assert any(
        "was created again" in entry["reason"]
        for entry in worker.logged("rule set refused, the last good one stays active")
    )
    assert worker.ready
    worker.stop()


def test_a_set_that_a_worker_cannot_load(engine: Installation, tmp_path: Path) -> None:
    """The last good one stays in force, also for a worker that starts now; and everyone can see it."""
    done = engine.engage("publish", str(RULES), "--note", "the first", "--as", "ann")
    assert done.returncode == 0, done.stderr
    good_digest = load_directory(RULES).digest
    running = engine.worker(rules=None).wait_ready()
    assert json.loads(running.get("/health/ready")[1])["state"] == "green"
    later = read_directory(RULES) | {"policy.yaml": "contact:\n  daily_cap: 2\nof_a_later_version: 1\n"}
    append(engine, as_published(2, later, good_digest))
    eventually(lambda: running.metric("engage_rule_set_stale") == 1, "the worker refuses it")
    starting = engine.worker(rules=None).wait_ready()
    for worker in (running, starting):
        assert in_force(worker, good_digest)
        health = json.loads(worker.get("/health/ready")[1])
        assert (health["ready"], health["state"]) == (True, "amber")
        assert health["rule_set"] == {"in_force": good_digest, "head": digest(later)}
        assert 'unknown key "of_a_later_version"' in health["warnings"][0]
        refused = worker.logged("rule set refused, the last good one stays active")
        assert [line["level"] for line in refused] == ["error"]
    urls = [f"http://127.0.0.1:{worker.port}" for worker in (running, starting)]
    status = engine.engage("rules", "status", *urls)
    assert status.returncode == 1
    assert status.stdout.count("it refused newer rules") == 2
    back = engine.engage("rules", "revert", good_digest[:12], "--note", "workers first", "--as", "ann")
    assert back.returncode == 0, back.stderr
    eventually(lambda: engine.metric("engage_rule_set_stale") == 0, "all is well again")
    assert engine.engage("rules", "status", *urls).returncode == 0
    assert engine.metric("engage_rule_set_partitions", digest=good_digest) == engine.partitions
