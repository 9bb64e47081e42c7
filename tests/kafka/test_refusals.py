"""A worker does not start on what would lose or double events: it says what is wrong and what to do, exit status 1."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from pathlib import Path

import msgpack
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from confluent_kafka import TopicPartition
from confluent_kafka.admin import NewPartitions as ConfluentNewPartitions
from confluent_kafka.admin import NewTopic

from engine.runtime.formats import LEDGER_FORMAT
from engine.runtime.kafka.topics import needed
from engine.runtime.redis.keys import position_key
from tests.kafka.conftest import MakeInstallation, Offline
from tests.kafka.installation import RULES, Installation
from tests.kafka.worker_process import eventually
from tests.services.process import free_port


def test_topics_missing(install: MakeInstallation) -> None:
    engine = install()
    text = engine.refusal()
    assert engine.settings.ledger_topic in text
    assert engine.settings.topic("trades") in text
    assert "engage topics --create" in text


@pytest.mark.short
def test_a_topic_published_to_is_missing(engine: Installation) -> None:
    gone = engine.settings.topic("alerts")
    engine.admin.delete_topics([gone])[gone].result(120)
    eventually(lambda: gone not in engine.admin.list_topics(timeout=60).topics, "the topic is gone")
    assert engine.refusal().startswith(
        f"topics are missing: {gone}. Create them with `{engine.settings.create_topics}`"
    )


def test_inbound_topics_differ_in_partitions(install: MakeInstallation) -> None:
    engine = install()
    odd = engine.settings.topic("logins")
    engine.admin.create_topics([NewTopic(odd, 3)])[odd].result(120)
    engine.create_topics(3)
    engine.admin.delete_topics([odd])[odd].result(120)
    eventually(lambda: odd not in engine.admin.list_topics(timeout=60).topics, "the topic is gone")
    engine.admin.create_topics([NewTopic(odd, 2)])[odd].result(120)
    text = engine.refusal()
    assert f"{odd} 2" in text
    assert f"{engine.settings.topic('trades')} 3" in text
    assert "recreate the odd ones" in text


def test_partition_count_changed(ran: Installation) -> None:
    async def grow() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=ran.settings.kafka)
        await admin.start()
        topics = [topic.name for topic in needed(ran.settings) if topic.partitions is None]
        await admin.create_partitions({name: NewPartitions(3) for name in topics})
        await admin.close()

    asyncio.run(grow())
    text = ran.refusal()
    assert "2 partitions, the topics have 3" in text
    assert "--app-id" in text


@pytest.mark.parametrize("grown", ["trades", "ledger"])
def test_partitions_added_while_a_worker_runs(ran: Installation, grown: str) -> None:
    topic = ran.settings.ledger_topic if grown == "ledger" else ran.settings.topic(grown)
    worker = ran.worker(program=("-m", "tests.kafka.attentive_worker")).wait_ready()
    ran.admin.create_partitions([ConfluentNewPartitions(topic, 3)])[topic].result(120)
    assert worker.wait() == 1
    assert f"{topic} has 3 partitions now, it had 2" in worker.log.read_text().partition("Error: ")[2]


@pytest.mark.parametrize("gone", ["alerts", "logins"])
def test_a_topic_deleted_while_a_worker_runs(ran: Installation, trades: Offline, gone: str) -> None:
    """One to publish to looked like a Kafka that is away, one to read from like one without news."""
    topic = ran.settings.topic(gone)
    worker = ran.worker(program=("-m", "tests.kafka.attentive_worker")).wait_ready()
    ran.admin.delete_topics([topic])[topic].result(120)
    ran.produce(trades.records[400:2_000])
    assert worker.wait() == 1
    assert worker.log.read_text().partition("Error: ")[2].startswith(f"topics are missing: {topic}. Create them with")


def test_the_ledger_made_anew_under_a_running_worker(ran: Installation, trades: Offline) -> None:
    ran.produce(trades.records[400:2_000])
    worker = ran.worker(ENGAGE_BATCH_RECORDS=50).wait_ready()
    ran.settle()
    ledger = ran.settings.ledger_topic
    ran.admin.delete_topics([ledger])[ledger].result(120)
    eventually(lambda: ledger not in ran.admin.list_topics(timeout=60).topics, "the ledger is gone")
    ran.admin.create_topics([NewTopic(ledger, 2)])[ledger].result(120)
    ran.produce(trades.records[2_000:2_400])
    assert worker.wait() == 1
    assert "Kafka has lost the end of it" in worker.log.read_text().partition("Error: ")[2]


def test_a_position_that_another_program_wrote(ran: Installation) -> None:
    with ran.redis() as client:
        client.set(position_key(ran.name, 0), "7")
    assert "Redis holds no valid position of a partition: found" in ran.refusal()


def test_the_port_is_taken(engine: Installation) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = engine.engage("run", "--rules", str(RULES), "--web-port", str(port))
    assert done.returncode == 1
    assert f"cannot be served at 127.0.0.1, port {port}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "seconds"), [("ENGAGE_SESSION_TIMEOUT_S", "1000"), ("ENGAGE_TRANSACTION_TIMEOUT_S", "800")]
)
def test_timeouts_that_kafka_does_not_take(engine: Installation, name: str, seconds: str) -> None:
    text = engine.refusal(**{name: seconds, "ENGAGE_UNIT_DEADLINE_S": "2000"})
    assert "Kafka does not take session_timeout_s or transaction_timeout_s" in text


@pytest.mark.short
def test_redis_empty_under_a_ledger(ran: Installation, redis_server_url_of_another_database: str) -> None:
    text = ran.refusal(ENGAGE_REDIS=redis_server_url_of_another_database)
    assert "this Redis holds no state but the ledger has records" in text
    assert "--redis" in text
    assert "backup" in text


@pytest.fixture
def redis_server_url_of_another_database(ran: Installation) -> str:
    return ran.settings.redis.get_secret_value().removesuffix("/0") + "/9"


def change_position(engine: Installation, partition: int, **changes: object) -> None:
    with engine.redis() as client:
        key = position_key(engine.name, partition)
        position = json.loads(client.get(key) or b"")
        client.set(key, json.dumps(position | changes, sort_keys=True, separators=(",", ":")))


def test_redis_of_another_ledger(ran: Installation) -> None:
    change_position(ran, 1, digest="0123456789abcdef")
    text = ran.refusal()
    assert "partition 1" in text
    assert "is not the one that Redis applied last" in text
    assert "restore the pair that belongs together" in text


def test_redis_that_lost_a_position(ran: Installation, tmp_path: Path) -> None:
    """One partition's keys are gone and the others are not: its states cannot be begun anew over its ledger."""
    with ran.redis() as client:
        client.delete(position_key(ran.name, 0))
    # the ledger is whole from its beginning, so this is mended by following it, not refused
    worker = ran.worker().wait_ready()
    assert worker.metric("engage_recovered_units_total") > 0
    worker.stop()


def test_ledger_of_a_newer_version(ran: Installation) -> None:
    """Not refused: the partition waits for the worker's upgrade, and the other one is decided."""
    producer = ran.producer()
    producer.produce(ran.settings.ledger_topic, value=msgpack.packb([99, "whatever came later"]), partition=1)
    assert producer.flush(120) == 0
    worker = ran.worker()
    newer = f"written by a newer Engage (format 99, this one reads up to {LEDGER_FORMAT}): upgrade this worker"
    eventually(lambda: newer in worker.get("/health/ready")[1], "the worker says what it waits for")
    other = {"partition": "0", "state": "running"}
    eventually(lambda: worker.metric("engage_partition_state", **other) == 1, "the other partition runs")
    assert worker.metric("engage_partition_state", partition="1", state="running") == 0
    worker.stop()


def test_two_engines_with_one_id_on_one_redis(ran: Installation) -> None:
    """They differ in the prefix of their topics, and would write each other's keys."""
    other = {"ENGAGE_PREFIX": "other.", "ENGAGE_APP_ID": ran.name}
    assert ran.engage("topics", "--create", "--partitions", "2", **other).returncode == 0
    text = ran.refusal(**other)
    assert f"its ledger is {ran.settings.ledger_topic}, this one's other.{ran.name}-ledger" in text
    assert "another --app-id or another Redis" in text
    ran.worker().wait_ready().stop()  # and the first one is unharmed


@pytest.mark.short
def test_ledger_lost_its_end(ran: Installation) -> None:
    position = ran.positions()[0]["ledger"]
    change_position(ran, 0, ledger=position + 1000)
    text = ran.refusal()
    assert f"stands at ledger offset {position + 1000}" in text
    assert "Kafka has lost the end of it" in text
    assert "Restore" in text


def test_ledger_lost_its_beginning(ran: Installation) -> None:
    with ran.redis() as client:
        client.delete(position_key(ran.name, 0))
    tp = TopicPartition(ran.settings.ledger_topic, 0, 1)
    ran.admin.delete_records([tp])[tp].result(120)
    text = ran.refusal()
    assert "its beginning was deleted" in text
    assert "backup" in text


def test_inbound_retention_has_passed(ran: Installation, trades: Offline) -> None:
    ran.produce(trades.records[400:800])
    topic = ran.settings.topic("trades")
    consumer = ran.consumer()
    end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=60)[1]
    consumer.close()
    position = ran.positions()[0]["offsets"]["trades"]
    assert position < end - 1
    ran.admin.delete_records([TopicPartition(topic, 0, end - 1)])[TopicPartition(topic, 0, end - 1)].result(120)
    text = ran.refusal()
    assert f"{topic} must be read from offset {position} but holds {end - 1} to {end}" in text
    assert "events are missing. Restore the topic" in text
    assert "engage accept-loss" in text
    listed = ran.engage("accept-loss")
    gap = f"partition 0: {topic} lacks the records from offset {position} to {end - 2}\n"
    assert (listed.returncode, listed.stdout) == (1, gap + "nothing was changed\n")
    assert ran.positions()[0]["offsets"]["trades"] == position
    accepted = ran.engage("accept-loss", "--yes")
    assert (accepted.returncode, accepted.stdout) == (0, gap + "workers go on after these\n"), accepted.stderr
    assert ran.positions()[0]["offsets"]["trades"] == end - 1
    assert ran.engage("accept-loss").stdout == "nothing is missing\n"
    replayed = ran.engage("replay", "--from-ledger")  # which needs them: no differences are told
    assert (replayed.returncode, "no longer holds offsets" in replayed.stderr) == (1, True), replayed.stderr
    worker = ran.worker().wait_ready()
    ran.settle()
    assert worker.metric("engage_events_total", topic="trades") > 0  # those that are left
    worker.stop()


def test_a_replay_of_inputs_that_retention_has_deleted(ran: Installation) -> None:
    """It is not told as differences: nothing was decided otherwise."""
    tp = TopicPartition(ran.settings.topic("trades"), 0, 10)
    ran.admin.delete_records([tp])[tp].result(120)
    replayed = ran.engage("replay", "--from-ledger")
    assert replayed.returncode == 1
    assert f"partition 0: {tp.topic} no longer holds offsets 0 to 9, which were decided" in replayed.stderr
    assert "differences" not in replayed.stderr


def test_what_was_deleted_before_anything_was_decided_is_told(engine: Installation, trades: Offline) -> None:
    """An engine may begin on topics that are old; it cannot know whether their first records were for it."""
    engine.produce(trades.records[:100])
    tp = TopicPartition(engine.settings.topic("trades"), 0, 5)
    engine.admin.delete_records([tp])[tp].result(120)
    worker = engine.worker().wait_ready()
    eventually(lambda: worker.metric("engage_events_total") == 95, "the others are decided")
    told = worker.logged("the first records were deleted before this engine read any: passed over")
    assert [(entry["topic"], entry["partition"], entry["before_offset"]) for entry in told] == [(tp.topic, 0, 5)]
    worker.stop()


def test_retention_deletes_nothing_but_what_was_aborted(ran: Installation) -> None:
    """That is no gap: the position stands behind it, though nothing of it was decided."""
    topic = ran.settings.topic("trades")
    worker = ran.worker().wait_ready()
    producer = ran.producer(**{"transactional.id": f"{ran.name}-upstream"})
    producer.init_transactions()
    producer.begin_transaction()
    for number in range(10):
        producer.produce(topic, key=b"C1", value=b"aborted", partition=number % ran.partitions)
    producer.flush(120)
    producer.abort_transaction()
    tps = [TopicPartition(topic, p) for p in range(ran.partitions)]
    ends: dict[int, int] = {}

    def at_the_ends() -> bool:
        ends.update({p: end for (_, p), end in ran.ends(tps).items()})  # the markers of an abort come a moment later
        return {p: position["offsets"]["trades"] for p, position in enumerate(ran.positions())} == ends

    eventually(at_the_ends, "all stand at the ends")
    worker.stop()
    deleted = [TopicPartition(topic, p, end) for p, end in ends.items()]
    for future in ran.admin.delete_records(deleted).values():
        future.result(120)
    ran.worker().wait_ready().stop()


@pytest.mark.short
def test_no_rule_set(engine: Installation) -> None:
    done = engine.engage("run", "--web-port", str(free_port()))
    assert done.returncode == 1
    assert "give --rules DIRECTORY" in done.stderr


@pytest.mark.short
def test_bad_rules(engine: Installation, tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("rules:\n  - id: x\n    when: client.teir\n")
    done = engine.engage("run", "--rules", str(tmp_path), "--web-port", str(free_port()))
    assert done.returncode == 1
    assert "broken.yaml:2:" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_copy_whose_time_its_topic_does_not_take(engine: Installation, trades: Offline) -> None:
    """A copy keeps its time. It may lie a year ahead, as here, or the broker may want nothing that is old."""
    inbound, rerouted = engine.settings.topic("trades"), engine.settings.topic("rerouted")
    engine.alter(inbound, "message.timestamp.type", "CreateTime")
    engine.alter(inbound, "message.timestamp.after.max.ms", str(2**63 - 1))
    engine.alter(rerouted, "message.timestamp.after.max.ms", "3600000")
    record = trades.records[0]
    producer = engine.producer()
    for partition in range(engine.partitions):
        producer.produce(
            inbound, record.value, record.key, partition, timestamp=int((time.time() + 365 * 86_400) * 1000)
        )
    assert producer.flush(120) == 0
    worker = engine.worker()
    assert worker.wait() == 1
    text = worker.log.read_text()
    assert "a topic does not take a record's time" in text
    assert "Traceback" not in text
    said = engine.engage("topics").stdout
    assert f"{rerouted}: message.timestamp.after.max.ms is 3600000, needs {2**63 - 1}" in said
    engine.alter(rerouted, "message.timestamp.after.max.ms", str(2**63 - 1))
    worker = engine.worker().wait_ready()
    engine.settle()
    worker.stop()
    assert len(engine.read("rerouted")) == engine.partitions - 1
