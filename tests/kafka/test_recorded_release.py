"""What release 0.1.0 wrote, put back into a real Kafka and Redis: its ledger, its states, its snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures import loading
from tests.fixtures.loading import APP_ID, PARTITIONS, Record, by_partition, facts, readable
from tests.kafka.installation import Installation, Sent
from tests.kafka.worker_process import eventually
from tests.services.kafka import KafkaBroker
from tests.services.redis import RedisServer

CLIENT = b"C000007"
STATES = f"clients {facts()['clients']}\nstates {facts()['states']}\n"


@pytest.fixture(scope="module")
def recorded(kafka_broker: KafkaBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The recorded engine at rest, on a Redis of its own."""
    directory = tmp_path_factory.mktemp("recorded")
    with RedisServer(directory / "redis") as store:
        engine = Installation(APP_ID, kafka_broker.bootstrap, store.url, directory, prefix="recorded.")
        engine.create_topics(PARTITIONS)
        loading.produce_topics(kafka_broker.bootstrap, prefix=engine.settings.prefix)
        with engine.redis() as client:
            loading.restore_redis(client, ledger_topic=engine.settings.ledger_topic)
        yield engine
        engine.end()


def replayed(engine: Installation) -> dict[str, str]:
    """What a replay of the ledger says: no difference, and that what the release decided was taken as it is."""
    done = engine.engage("replay", "--from-ledger")
    assert done.returncode == 0, done.stderr
    said = dict(line.split(" ", 1) for line in done.stderr.splitlines())
    assert said["differences"] == "0"
    assert said[str(facts()["units"])] == "units decided by an older engine were applied, not decided again"
    return said


def test_the_logs_are_as_they_were(recorded: Installation) -> None:
    names = {topic: f"{APP_ID}-{topic}" if topic in ("ledger", "rule-sets") else topic for topic in loading.TOPICS}
    found: dict[tuple[str, int], list[Record]] = {}
    for record in recorded.read(*names.values()):
        place = next(topic for topic, name in names.items() if name == record.topic), record.partition
        content = (record.offset, record.timestamp_ms, record.key, record.value, tuple(record.headers.items()))
        found.setdefault(place, []).append(Record(*place, *content))
    for place, entries in by_partition(loading.log()):
        wanted = [
            Record(*place, e.offset, e.timestamp_ms, e.key, e.value, tuple(dict(e.headers).items()))
            for e in readable(entries)
        ]
        assert found.get(place, []) == wanted, place


@pytest.mark.short
def test_the_replay_finds_no_difference(recorded: Installation) -> None:
    said = replayed(recorded)
    assert (said["units"], said["states"]) == ("0", facts()["states"])
    assert recorded.states() == STATES


def test_the_snapshot_and_the_ledger_after_it_rebuild(recorded: Installation, tmp_path: Path) -> None:
    file = tmp_path / "snapshot"
    file.write_bytes(loading.snapshot())
    recorded.redis().flushall()
    rebuilt = recorded.engage("rebuild", "--snapshot", str(file))
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert recorded.states() == STATES
    recorded.redis().flushall()
    assert recorded.engage("rebuild").returncode == 0
    assert recorded.states() == STATES


@pytest.mark.short
def test_a_worker_goes_on(recorded: Installation) -> None:
    """The last of these tests: what the worker writes stays."""
    worker = recorded.worker(rules=None).wait_ready()
    assert worker.metric("engage_recovered_units_total") == 0
    assert worker.metric("engage_rule_set_partitions", digest=facts()["rule_sets"][facts()["in_force"]]) == PARTITIONS
    before = worker.metric("engage_events_total")
    again = [record for record in loading.records("logins") if record.key == CLIENT][-3:]  # old ones: late, yet good
    recorded.produce(Sent(record.topic, record.key, record.value) for record in again)
    recorded.settle()
    eventually(lambda: worker.metric("engage_events_total") == before + 3, "the events are decided")
    worker.stop()
    said = replayed(recorded)
    assert int(said["units"]) > 0  # of this version: from the upgrade on
    assert recorded.states() == f"clients {said['clients']}\nstates {said['states']}\n"
