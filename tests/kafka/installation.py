"""One engine on a real broker and store, as operations would run it: topics, workers as processes, other clients.

Enters: addresses, a name of its own. Leaves: running workers, and what other Kafka and Redis clients see.
Holds: what was published is judged by confluent_kafka (librdkafka), not by the client the engine uses; only processes
started here are signalled; a worker ends with the process that started it.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import redis
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs leave some out
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from redis.cluster import ClusterNode, RedisCluster
from redis.sentinel import Sentinel

from engine.core.contract.outbound import OUTBOUND
from engine.core.contract.topics import intake_topics
from engine.demo.embedded import die_with_parent
from engine.runtime.addresses import RedisAddresses
from engine.runtime.clients import Clients
from engine.runtime.kafka import topics
from engine.runtime.redis.keys import position_key
from engine.runtime.settings import Settings
from tests.kafka.worker_process import HUNG_S, WorkerProcess, eventually
from tests.services.process import REPOSITORY, free_port


def _shipped_rules(directory: Path) -> Path:
    """A copy whose calendar goes on for decades: no worker here is to be amber because the year ends. Without a
    portrait: nothing wakes a client of whom only trades are known, and so the past can be played as fast as it goes.
    """
    shutil.copytree(REPOSITORY / "rules", directory, ignore=shutil.ignore_patterns("portrait.yaml", "stages.yaml"))
    calendar = directory / "calendar.yaml"
    calendar.write_text(re.sub(r"(last_day: )[0-9-]{10}", r"\g<1>2069-12-31", calendar.read_text()))
    return directory


_KEPT = tempfile.TemporaryDirectory(prefix="engage-rules-")
RULES = _shipped_rules(Path(_KEPT.name) / "rules")
ENGAGE = ("-m", "engine.cli")

_Offsets = dict[tuple[str | None, int | None], int]  # by topic and partition, as librdkafka's messages name them


class Record(NamedTuple):
    """A record as another client reads it; `topic` without the prefix."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.value or b"")
        return found


class Sent(NamedTuple):
    """A record to produce."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int = -1  # whatever the producer's partitioner says


class Installation:
    """An engine under its own prefix, application id and topics."""

    def __init__(self, name: str, bootstrap: str, redis_url: str, directory: Path, **given: object) -> None:
        self.name = name
        self.directory = directory
        self.environment = {
            "ENGAGE_KAFKA": bootstrap,
            "ENGAGE_REDIS": redis_url,
            "ENGAGE_PREFIX": f"{name}.",
            "ENGAGE_APP_ID": name,
            "ENGAGE_SESSION_TIMEOUT_S": "3",
            "ENGAGE_CLOCK": "event",  # history is played: what falls due is not the wall clock's to say
            **{f"ENGAGE_{key.upper()}": str(value) for key, value in given.items()},
        }
        self.settings = Settings(
            **{key.removeprefix("ENGAGE_").lower(): value for key, value in self.environment.items()}  # type: ignore[arg-type]
        )
        self.partitions = 0
        self.further: dict[
            str, tuple[str, ...]
        ] = {}  # processors beside that of clients: their keys' app, their topics
        self.workers: list[WorkerProcess] = []

    @cached_property
    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.settings.kafka})

    # -- set-up -----------------------------------------------------------------------------------

    def create_topics(self, partitions: int = 4) -> Installation:
        asyncio.run(topics.create(self.settings, Clients(), partitions, 1))
        self.partitions = partitions
        consumer = self.consumer()
        for topic in topics.needed(self.settings):  # a new partition has its leader a moment later
            for partition in range(topic.partitions or partitions):
                tp = TopicPartition(topic.name, partition)
                eventually(partial(_answers, consumer, tp), f"a leader of {tp}")
        consumer.close()
        return self

    def alter(self, topic: str, name: str, value: str) -> None:
        """Change a setting of a topic."""
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        self.admin.incremental_alter_configs([resource])[resource].result(60)

    # -- processes --------------------------------------------------------------------------------

    def _environment(self, given: dict[str, object]) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("ENGAGE_")}
        return kept | {"PYTHONPATH": str(REPOSITORY)} | self.environment | {k: str(v) for k, v in given.items()}

    def start(self, *arguments: str, program: Sequence[str] = ENGAGE, **environment: object) -> subprocess.Popen[str]:
        """A command of the engine, started; its output is text."""
        return subprocess.Popen(
            [sys.executable, *program, *arguments],
            cwd=self.directory,
            env=self._environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent,
        )

    def engage(
        self, *arguments: str, timeout_s: float = HUNG_S, **environment: object
    ) -> subprocess.CompletedProcess[str]:
        """A command of the engine, run to its end."""
        with self.start(*arguments, program=ENGAGE, **environment) as process:
            try:
                out, err = process.communicate(timeout=timeout_s)
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def refusal(self, **environment: object) -> str:
        """What a worker says that does not start."""
        done = self.engage(
            "run", "--rules", str(RULES), "--web-port", str(free_port()), timeout_s=HUNG_S, **environment
        )
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr
        assert "Error: " in done.stderr
        return done.stderr.partition("Error: ")[2]

    def worker(
        self, *, rules: Path | None = RULES, program: Sequence[str] = ENGAGE, **environment: object
    ) -> WorkerProcess:
        """A worker, started; not yet ready."""
        if rules is not None:
            environment["ENGAGE_RULES"] = rules
        port = free_port()
        log = self.directory / f"worker-{len(self.workers)}.log"
        everything = self._environment({"ENGAGE_WEB_PORT": port, **environment})
        worker = WorkerProcess([sys.executable, *program, "run"], everything, port, log)
        self.workers.append(worker)
        return worker

    def end(self) -> None:
        for worker in self.workers:
            worker.kill()
            print(f"-- {worker.log.name}\n{worker.log.read_text()[-4000:]}")  # pytest shows it when the test failed

    # -- producing --------------------------------------------------------------------------------

    def producer(self, partitioner: str = "murmur2_random", **options: object) -> Producer:
        given = {"bootstrap.servers": self.settings.kafka, "partitioner": partitioner, "linger.ms": 2}
        return Producer(
            {**given, "enable.idempotence": True, "log_level": 0, "message.max.bytes": 8_000_000, **options}
        )

    def produce(self, records: Iterable[Sent], partitioner: str = "murmur2_random", rate: float | None = None) -> None:
        """Send all, in order, at most `rate` a second. Raises when one was not acknowledged."""
        producer = self.producer(partitioner)
        failed: list[object] = []
        began = time.monotonic()
        for number, record in enumerate(records):
            producer.produce(
                self.settings.topic(record.topic),
                key=record.key,
                value=record.value,
                partition=record.partition,
                on_delivery=lambda error, _: failed.append(error) if error else None,
            )
            ahead_s = number / rate - (time.monotonic() - began) if rate else 0
            producer.poll(ahead_s if ahead_s > 0.01 else 0)
        assert producer.flush(HUNG_S) == 0
        assert not failed, failed[:3]

    # -- what others see --------------------------------------------------------------------------

    def read(
        self, *names: str, start: dict[tuple[str, int], int] | None = None, open_transactions: bool = False
    ) -> list[Record]:
        """Every committed record of the topics, partition by partition, from its beginning or from `start`.

        A transaction is committed a moment before all its records can be read: what was appended is waited for, unless
        there are `open_transactions` to stop at.
        """
        consumer = self.consumer()
        try:
            tps = []
            for name in names:
                real = self.settings.topic(name)
                count = len(consumer.list_topics(real, timeout=60).topics[real].partitions)
                tps += [TopicPartition(real, p, (start or {}).get((name, p), 0)) for p in range(count)]
            found = _read_to(
                consumer, tps, self.ends(tps, "read_committed" if open_transactions else "read_uncommitted")
            )
        finally:
            consumer.close()
        return [
            Record(
                next(name for name in names if self.settings.topic(name) == message.topic()),
                message.partition(),
                message.offset(),
                message.timestamp()[1],
                message.key(),
                message.value(),
                dict(message.headers() or ()),
            )
            for message in found
        ]

    def published(self) -> list[Record]:
        return self.read(*OUTBOUND)

    def actions(self) -> dict[tuple[str, str], list[str]]:
        """What was published: topic and client -> values in order. Comparable with `by_client` of a replay."""
        return by_client((r.topic, (r.key or b"").decode(), (r.value or b"").decode()) for r in self.published())

    def consumer(self, isolation_level: str = "read_committed") -> Consumer:
        return Consumer(
            {
                "bootstrap.servers": self.settings.kafka,
                "group.id": "judge",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "isolation.level": isolation_level,
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 5,
                "fetch.message.max.bytes": 8_000_000,
                "log_level": 0,  # an outage is no news here
            }
        )

    def redis(self) -> Any:
        """redis-py's own client of the server, of the primary that a Sentinel names, or of the cluster."""
        mode, url = self.settings.redis_mode, RedisAddresses.of(self.settings.redis.get_secret_value())
        servers = [(host, int(port)) for host, _, port in (server.rpartition(":") for server in url.servers)]
        if mode == "cluster":
            return RedisCluster(startup_nodes=[ClusterNode(*server) for server in servers], socket_timeout=5)
        if mode == "sentinel":
            assert self.settings.redis_service is not None
            return Sentinel(servers, socket_timeout=5).master_for(self.settings.redis_service)
        return redis.Redis.from_url(url.url(url.servers[0]))

    def positions(self, app: str | None = None) -> list[dict[str, Any]]:
        """Position of each partition as Redis holds it; {} where it is missing. `app`: of another processor."""
        with self.redis() as client:
            found = [client.get(position_key(app or self.name, p)) for p in range(self.partitions)]
        return [json.loads(text) if text else {} for text in found]

    def settled(self) -> bool:
        """Whether every inbound record has been decided, published and applied."""
        behind = []
        try:  # before the ends: what a unit re-sent is visible before its position moves
            for app, topics_ in {self.name: intake_topics(), **self.further}.items():
                for p, position in enumerate(self.positions(app)):
                    offsets = position.get("offsets", {})
                    behind += [TopicPartition(self.settings.topic(t), p, offsets.get(t, 0)) for t in topics_]
        except (redis.RedisError, redis.exceptions.RedisClusterException):
            return False
        ends = self.ends(behind)
        behind = [tp for tp in behind if tp.offset < ends[tp.topic, tp.partition]]
        consumer = self.consumer()
        try:
            # what is left may be nothing but the markers of transactions
            return not behind or not _read_to(consumer, behind, ends, limit=1)
        finally:
            consumer.close()

    def ends(self, tps: Iterable[TopicPartition], isolation_level: str = "read_uncommitted") -> _Offsets:
        """Offset after the last record appended, be its transaction committed or not; `read_committed`: after the last
        that can be read.
        """
        consumer = self.consumer(isolation_level)
        try:
            return {(tp.topic, tp.partition): consumer.get_watermark_offsets(tp, timeout=60)[1] for tp in tps}
        finally:
            consumer.close()

    def settle(self, within_s: float = HUNG_S) -> None:
        eventually(self.settled, "every inbound record decided and applied", within_s)

    def states(self) -> str:
        """What `engage states` prints: number of clients and the hash of all states."""
        done = self.engage("states")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def comes_to(self, states: str) -> None:
        """Waits for these states: what falls due by itself comes a tick after the records. Actions: only then."""
        eventually(lambda: self.states() == states, f"the states are {states}")

    def metric(self, name: str, **labels: str) -> float:
        """Sum over all running workers."""
        return sum(worker.metric(name, **labels) for worker in self.workers if worker.running)


def by_client(lines: Iterable[tuple[str, str, str]]) -> dict[tuple[str, str], list[str]]:
    """(topic, client, value) -> topic and client: values in order."""
    found: dict[tuple[str, str], list[str]] = {}
    for topic, client_id, value in lines:
        found.setdefault((topic, client_id), []).append(value)
    return found


def _answers(consumer: Consumer, tp: TopicPartition) -> bool:
    try:
        consumer.list_topics(tp.topic, timeout=60)  # what was not there at the first look is not looked for again
        return consumer.get_watermark_offsets(tp, timeout=60) is not None
    except KafkaException:
        return False


def _read_to(consumer: Consumer, tps: list[TopicPartition], ends: _Offsets, limit: int | None = None) -> list[Any]:
    """Committed messages up to each partition's end, at most `limit`; an open transaction is waited for."""
    found: list[Any] = []
    ended: set[tuple[str | None, int | None]] = set()
    consumer.assign(tps)
    deadline = time.monotonic() + HUNG_S
    while len(ended) < len(tps) and (limit is None or len(found) < limit):
        assert time.monotonic() < deadline, "the topics could not be read to their end"
        for message in consumer.consume(1000, timeout=0.2):
            error = message.error()
            if error is None:
                deadline = time.monotonic() + HUNG_S
                found.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                place = message.topic(), message.partition()
                if (message.offset() or 0) >= ends[place]:
                    ended.add(place)
            elif not error.retriable():
                raise AssertionError(str(error))
    return found
