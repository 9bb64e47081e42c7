"""A worker works off a backlog of trades, after the profiles and balances of its clients.

Enters: a running Kafka and Redis, the job. Leaves: what the worker used for the trades alone.
Holds: states come from a worker before it, so that the measured one starts as after an outage: known clients, cold
cache, all trades waiting. From its first running partition until Redis stands behind the last trade, all CPU counts.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import redis

from benchmarks import profiler
from benchmarks.day.job import Record
from benchmarks.process import BenchmarkError, Worker, cpu_s, peak_mb
from benchmarks.sides import Measured
from benchmarks.wire import Progress, produce
from tests.services.kafka import KafkaBroker
from tests.services.process import REPOSITORY, free_port
from tests.services.redis import RedisServer

STUCK_S = 900.0  # ends what hangs


@dataclass(frozen=True, slots=True)
class Servers:
    kafka: KafkaBroker
    store: RedisServer
    partitions: int

    def redis_client(self) -> redis.Redis:
        return redis.Redis.from_url(self.store.url)


@dataclass(frozen=True, slots=True)
class Engine:
    """One with a group, a ledger and keys of its own; with a prefix, also with topics of its own."""

    servers: Servers
    app_id: str
    rules: Path
    prefix: str = ""
    options: tuple[str, ...] = ()
    core: str = ""  # see Worker

    def create_topics(self) -> None:
        command = [sys.executable, "-m", "engine.cli", "topics", "--create", *self._names()]
        command += ["--partitions", str(self.servers.partitions)]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode:
            raise BenchmarkError(f"topics cannot be created:\n{done.stdout}{done.stderr}")

    def worker(self) -> Worker:
        port = free_port()
        redis = ["--redis", self.servers.store.url, "--web-port", str(port)]
        arguments = [*self._names(), *redis, "--rules", str(self.rules), *self.options]
        return Worker(arguments, f"http://127.0.0.1:{port}", self.core)

    def _names(self) -> list[str]:
        names = ["--kafka", self.servers.kafka.bootstrap, "--app-id", self.app_id]
        return [*names, "--prefix", self.prefix] if self.prefix else names


def learn_clients(engine: Engine, records: Sequence[Record]) -> None:
    """A first worker takes in the profiles and balances of the clients."""
    produce(engine.servers.kafka.bootstrap, engine.prefix, records)
    worker = engine.worker()
    try:
        for topic, number in Counter(record.topic for record in records).items():
            wait(worker, engine, topic, number)
        worker.stop()
    finally:
        worker.kill()


def work_off(
    engine: Engine, trades: Sequence[Record], profile: bool = False, before: int = 0
) -> tuple[Measured, Worker]:
    """Measure a second worker on the trades, which come after so many. It is left running."""
    produce(engine.servers.kafka.bootstrap, engine.prefix, trades)
    kafka, redis = engine.servers.kafka.pid, engine.servers.store.pid
    kafka_cpu_s, redis_cpu_s = cpu_s(kafka), cpu_s(redis)
    worker = engine.worker()
    try:
        worker.wait_ready()
        sampling = profiler.start(worker.pid) if profile else None
        wait(worker, engine, "trades", before + len(trades))
        used_s, ended = cpu_s(worker.pid), time.monotonic()
        kafka_cpu_s, redis_cpu_s = cpu_s(kafka) - kafka_cpu_s, cpu_s(redis) - redis_cpu_s
        if sampling is not None:
            sampling.stop()
        measured = Measured(
            events=len(trades),
            cpu_s=used_s - worker.ready_cpu_s,
            wall_s=ended - worker.began - worker.ready_s,
            start_cpu_s=worker.ready_cpu_s,
            kafka_cpu_s=kafka_cpu_s,
            redis_cpu_s=redis_cpu_s,
            peak_mb=peak_mb(worker.pid),
        )
    except BaseException:
        worker.kill()
        raise
    return measured, worker


def wait(worker: Worker, engine: Engine, topic: str, records: int) -> None:
    progress = Progress(engine.servers.store.url, engine.app_id, engine.servers.partitions)
    until = time.monotonic() + STUCK_S
    while (done := progress.done(topic)) < records:
        worker.check()
        if time.monotonic() > until:
            raise BenchmarkError(f"{done} of {records} {topic} after {STUCK_S:.0f} s:\n" + "\n".join(worker.log))
        time.sleep(0.02)
