"""The servers that tests stand on: they start, keep their data through a kill, and say what is missing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.services import kafka
from tests.services.kafka import KafkaBroker
from tests.services.process import REPOSITORY, ServiceError
from tests.services.redis import RedisServer
from tests.services.redis_nodes import Cluster


def test_redis_keeps_its_data_through_kill_and_goes_back_to_an_earlier_time(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "server", appendfsync="always") as server:
        client = redis.Redis.from_url(server.url)
        client.set("a", "1")
        server.save_data(tmp_path / "copy")
        client.set("b", "2")
        server.kill()
        server.start()
        assert client.mget("a", "b") == [b"1", b"2"]
        server.kill()
        server.restore_data(tmp_path / "copy")
        server.start()
        assert client.mget("a", "b") == [b"1", None]
        client.close()
        pid = server.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_redis_paused_does_not_answer_and_goes_on() -> None:
    with RedisServer() as server:
        client = redis.Redis.from_url(server.url)
        client.set("a", "1")
        server.pause()
        hasty = redis.Redis.from_url(server.url, socket_timeout=0.2, retry=None)
        with pytest.raises(redis.exceptions.TimeoutError):
            hasty.get("a")
        server.resume()
        assert client.get("a") == b"1"
        client.close()
        hasty.close()


def test_a_start_of_several_that_fails_leaves_none_running(tmp_path: Path) -> None:
    nodes = Cluster(tmp_path)
    nodes.servers[2].config["no-such-directive"] = "1"
    with pytest.raises(ServiceError, match="no-such-directive"):
        nodes.start()
    assert not any(server.running for server in nodes.servers)


def test_a_server_that_does_not_come_up_shows_the_end_of_its_log() -> None:
    with pytest.raises(ServiceError, match="no-such-directive"):
        RedisServer(config={"no-such-directive": "1"}).start()


def test_a_missing_java_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ServiceError, match="apt-get install openjdk-17-jre-headless"):
        kafka.java()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's parent-death signal is Linux's")
def test_a_killed_test_run_leaves_no_server_behind() -> None:
    run = "from tests.services.redis import *; s = RedisServer().start(); print(s.pid, flush=True); signal.pause()"
    parent = subprocess.Popen([sys.executable, "-c", run], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    os.kill(pid, 0)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    for _ in range(6_000):
        status = Path(f"/proc/{pid}/stat")
        if not status.exists() or status.read_text().split()[2] == "Z":
            return
        signal.sigtimedwait([], 0.05)
    pytest.fail(f"process {pid} outlived its parent")


@pytest.mark.kafka
async def test_kafka_topics_transactions_kill_and_restart(tmp_path: Path) -> None:
    partition = TopicPartition("t", 1)
    with KafkaBroker(tmp_path / "kafka") as broker:
        admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic("t", 3, 1)])
        await admin.close()

        producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, transactional_id="x", retry_backoff_ms=5)
        await producer.start()
        async with producer.transaction():
            await (await producer.send("t", b"kept", partition=1))
        await producer.begin_transaction()
        await (await producer.send("t", b"aborted", partition=1))
        await producer.abort_transaction()
        await producer.stop()

        broker.kill()
        broker.start()
        consumer = AIOKafkaConsumer(
            bootstrap_servers=broker.bootstrap, isolation_level="read_committed", enable_auto_commit=False
        )
        await consumer.start()
        consumer.assign([partition])
        consumer.seek(partition, 0)
        records = await consumer.getmany(timeout_ms=60_000)
        assert [r.value for r in records[partition]] == [b"kept"]
        await consumer.stop()
    assert not broker.running
