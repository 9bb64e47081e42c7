"""A worker works off a backlog: the trades of a day, after the clients' portraits.

Enters: a running Kafka and Redis, the job. Leaves: what the worker used for the trades alone, and what it published.
Holds: states come from a worker before it, so that the measured one starts as after an outage: known clients, cold
cache, all trades waiting. From its first running partition until Redis stands behind the last trade, all CPU counts.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import profiler
from benchmarks.job import Record
from benchmarks.process import BenchmarkError, Worker, cpu_s, peak_mb
from benchmarks.wire import Progress, action_ids, produce
from tests.services.kafka import KafkaBroker
from tests.services.process import REPOSITORY, free_port
from tests.services.redis import RedisServer

APP_ID = "bench"
PORTRAITS_S = 60.0
BACKLOG_S = 150.0


@dataclass(frozen=True, slots=True)
class Servers:
    kafka: KafkaBroker
    redis: RedisServer
    partitions: int

    def create_topics(self, prefix: str = "") -> None:
        command = [sys.executable, "-m", "engine.cli", "topics", "--create", "--partitions", str(self.partitions)]
        command += ["--kafka", self.kafka.bootstrap, "--app-id", APP_ID]
        if prefix:
            command += ["--prefix", prefix]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode:
            raise BenchmarkError(f"topics cannot be created:\n{done.stdout}{done.stderr}")

    def worker(self, rules: Path) -> Worker:
        port = str(free_port())
        connection = ["--kafka", self.kafka.bootstrap, "--redis", self.redis.url, "--app-id", APP_ID]
        return Worker([*connection, "--rules", str(rules), "--web-port", port])


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds are of CPU unless they are called wall."""

    events: int
    cpu_s: float
    wall_s: float
    start_cpu_s: float
    kafka_cpu_s: float
    redis_cpu_s: float
    peak_mb: float
    actions: int
    guarantee: str = "exactly_once"

    @property
    def events_per_cpu_s(self) -> float:
        return self.events / self.cpu_s

    def as_dict(self) -> dict[str, object]:
        return {**asdict(self), "events_per_cpu_s": self.events_per_cpu_s, "events_per_s": self.events / self.wall_s}


def learn_clients(servers: Servers, rules: Path, portraits: Sequence[Record]) -> None:
    """A first worker takes in the clients' profiles and balances."""
    produce(servers.kafka.bootstrap, "", portraits)
    worker = servers.worker(rules)
    try:
        _wait(worker, servers, "balances", len(portraits) // 2, PORTRAITS_S)
        _wait(worker, servers, "profiles", len(portraits) // 2, PORTRAITS_S)
        worker.stop()
    finally:
        worker.kill()


def work_off(servers: Servers, rules: Path, trades: Sequence[Record], profile: bool) -> tuple[Measured, Worker]:
    """Measure a second worker on the trades. It is left running."""
    produce(servers.kafka.bootstrap, "", trades)
    before = action_ids(servers.kafka.bootstrap, "", servers.partitions)
    if before:
        raise BenchmarkError(f"{len(before)} actions were published before the first trade")
    kafka_cpu_s, redis_cpu_s = cpu_s(servers.kafka.pid), cpu_s(servers.redis.pid)
    worker = servers.worker(rules)
    try:
        worker.wait_ready()
        sampling = profiler.start(worker.pid) if profile else None
        _wait(worker, servers, "trades", len(trades), BACKLOG_S)
        used_s, ended = cpu_s(worker.pid), time.monotonic()
        kafka_cpu_s, redis_cpu_s = cpu_s(servers.kafka.pid) - kafka_cpu_s, cpu_s(servers.redis.pid) - redis_cpu_s
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
            actions=len(action_ids(servers.kafka.bootstrap, "", servers.partitions)),
        )
    except BaseException:
        worker.kill()
        raise
    return measured, worker


def _wait(worker: Worker, servers: Servers, topic: str, records: int, timeout_s: float) -> None:
    progress = Progress(servers.redis.url, APP_ID, servers.partitions)
    until = time.monotonic() + timeout_s
    while (done := progress.done(topic)) < records:
        worker.check()
        if time.monotonic() > until:
            raise BenchmarkError(f"{done} of {records} {topic} after {timeout_s:.0f} s:\n" + "\n".join(worker.log))
        time.sleep(0.02)
