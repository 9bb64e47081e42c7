"""`python -m benchmarks.coefficients [--write]`: what a client and an event cost, for `engage capacity`.

Enters: how many clients and trades of the month's job. Leaves: engine/operations/coefficients.json, printed or written.
Holds: microseconds are of CPU, so that a busy machine does not change them much; of a job that waits for Redis at each
step (rebuild), Redis's are added. A command's start is taken off.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks import backlog
from benchmarks.backlog import Engine, Servers
from benchmarks.day.job import Record
from benchmarks.month import sizes
from benchmarks.month.job import DAYS, Month, write_rules
from benchmarks.population import populate
from benchmarks.process import BenchmarkError, Worker, children_s, cpu_s
from engine.core.firm_time import DAY_MS
from engine.operations.capacity import FILE, Coefficients
from engine.runtime.redis.keys import client_key
from engine.runtime.settings import Settings
from tests.services.kafka import KafkaBroker
from tests.services.process import REPOSITORY
from tests.services.redis import RedisServer

NEXT = 100_000  # trades
MANY = 100_000  # of few clients, what a command does once would count
NEW_FEATURE = "  trades_30d: {source: trades, aggregate: count, window: 30d, description: trades in a month}\n"


class Job:
    """One engine on one Kafka and Redis, on which each step follows the one before."""

    def __init__(self, servers: Servers, directory: Path, clients: int, trades: int) -> None:
        self._servers = servers
        self._directory = directory
        self._rules = write_rules(directory / "rules")
        self._engine = Engine(servers, "capacity", self._rules, "", ("--clock", "event"))
        month = Month(clients)
        self._profiles, self._trades = list(month.profiles()), list(month.trades(trades))
        self._start_s = self._command("--version")[0]

    def measure(self) -> Coefficients:
        """A month of few clients, for the size of a state; then these many times over, and events of nearly as many
        clients, as a firm has them.
        """
        engine, clients, events = self._engine, len(self._profiles), len(self._trades)
        empty = sizes.redis_bytes(engine)
        engine.create_topics()
        backlog.learn_clients(engine, self._profiles)
        backlog.work_off(engine, self._trades)[1].stop()
        redis_bytes, state_bytes = sizes.redis_bytes(engine) - empty, self._state_bytes()
        backfill_s, _ = self._backfill()
        settings = Settings(kafka=self._servers.kafka.bootstrap, redis=self._servers.store.url, app_id="capacity")
        asyncio.run(populate(settings, self._rules, clients, MANY, self._servers.partitions))
        sweep_s = self._sweep()
        snapshot = self._directory / "snapshot"
        self._command("snapshot", str(snapshot), *self._redis())
        restore_s = self._rebuild(self._states(), snapshot)
        ledger_bytes = sizes.ledger_bytes(engine)
        worked, worker = backlog.work_off(engine, self._next_trades(), before=events)
        worker.stop()
        ledger_bytes = sizes.ledger_bytes(engine) - ledger_bytes
        after_s = self._rebuild(self._states(), snapshot) - restore_s
        return Coefficients(
            measured={
                "machine": f"{os.cpu_count()} cores, {_processor()}",
                "python": platform.python_version(),
                "date": dt.datetime.now(dt.UTC).date().isoformat(),
                "command": "python -m benchmarks.coefficients --write",
                "job": f"{events:,} trades of {clients:,} clients in a month, 100 rules; then {NEXT:,} trades of "
                f"{MANY:,} clients; {self._servers.partitions} partitions",
            },
            state_bytes_per_client=round(state_bytes),
            redis_bytes_per_client=round(redis_bytes / clients),
            snapshot_bytes_per_client=round(snapshot.stat().st_size / MANY),
            ledger_bytes_per_event=round(ledger_bytes / NEXT),
            worker_us_per_event=round(worked.cpu_s / NEXT * 1e6, 1),
            redis_us_per_event=round(worked.redis_cpu_s / NEXT * 1e6, 1),
            sweep_us_per_client=round(sweep_s / MANY * 1e6, 1),
            restore_us_per_client=round(restore_s / MANY * 1e6, 1),
            rebuild_us_per_event=round(after_s / NEXT * 1e6, 1),
            backfill_us_per_event=round(backfill_s / events * 1e6, 1),
        )

    def _next_trades(self) -> list[Record]:
        """Just after the month, of all clients."""
        month = Month(MANY)
        return [month.trade(f"U{index}", month.begin_ms + DAYS * DAY_MS + index) for index in range(NEXT)]

    def _state_bytes(self) -> float:
        with self._servers.redis_client() as store:
            return sum(
                store.hstrlen(key, "state")
                for partition in range(self._servers.partitions)
                for key in store.scan_iter(client_key("capacity", partition, "*"), count=5_000)
            ) / len(self._profiles)

    def _sweep(self) -> float:
        """CPU seconds of a worker, and of Redis, from its start to the end of a sweep of all clients."""
        tiers = self._rules / "tiers.yaml"
        tiers.write_text(tiers.read_text().replace("4000000", "3900000"))
        worker = Engine(self._servers, "capacity", self._rules).worker()  # by the wall clock: nothing else comes
        try:
            worker.wait_ready()
            redis_s = cpu_s(self._servers.store.pid)
            until = time.monotonic() + 900
            while sum('"sweep ends"' in line for line in worker.log) < self._servers.partitions:
                worker.check()
                if time.monotonic() > until:
                    raise BenchmarkError("the sweep does not end:\n" + "\n".join(worker.log))
                time.sleep(0.05)
            used_s = cpu_s(worker.pid) - worker.ready_cpu_s + cpu_s(self._servers.store.pid) - redis_s
            worker.stop()
        finally:
            worker.kill()
        return used_s

    def _backfill(self) -> tuple[float, str]:
        features = self._rules / "features.yaml"
        features.write_text(features.read_text() + NEW_FEATURE)
        worker = self._engine.worker()
        try:
            _wait_for(worker, '"partition runs"', self._servers.partitions)
            return self._command("backfill", "trades_30d", *self._everything())
        finally:
            worker.stop()

    def _rebuild(self, states: str, snapshot: Path) -> float:
        with self._servers.redis_client() as store:
            store.flushall()
        used_s, _ = self._command("rebuild", "--snapshot", str(snapshot), *self._everything())
        if self._states() != states:
            raise BenchmarkError("a rebuild led to other states")
        return used_s

    def _states(self) -> str:
        return self._command("states", *self._redis())[1]

    def _command(self, *arguments: str) -> tuple[float, str]:
        """CPU seconds of a command and of Redis, without the command's start; what it printed."""
        before, redis_s = children_s(), cpu_s(self._servers.store.pid)
        command = [sys.executable, "-m", "engine.cli", *arguments]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=1_800)
        if done.returncode:
            raise BenchmarkError(f"engage {' '.join(arguments)}:\n{done.stdout}{done.stderr}")
        used_s = children_s() - before + cpu_s(self._servers.store.pid) - redis_s
        return used_s - getattr(self, "_start_s", 0.0), done.stdout

    def _redis(self) -> Sequence[str]:
        return ["--redis", self._servers.store.url, "--app-id", "capacity"]

    def _everything(self) -> Sequence[str]:
        return ["--kafka", self._servers.kafka.bootstrap, *self._redis()]


def _wait_for(worker: Worker, line: str, times: int) -> None:
    until = time.monotonic() + 300
    while sum(line in said for said in worker.log) < times:
        worker.check()
        if time.monotonic() > until:
            raise BenchmarkError(f"{line} is not said {times} times:\n" + "\n".join(worker.log))
        time.sleep(0.05)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coefficients")
    parser.add_argument("--clients", type=int, default=4_000)
    parser.add_argument("--trades", type=int, default=100_000)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--write", action="store_true", help=f"into {FILE.relative_to(REPOSITORY)}")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="engage-coefficients-") as name:
        directory = Path(name)
        with KafkaBroker(directory / "kafka") as kafka, RedisServer(directory / "redis") as store:
            job = Job(Servers(kafka, store, arguments.partitions), directory, arguments.clients, arguments.trades)
            text = json.dumps(asdict(job.measure()), indent=2, ensure_ascii=False) + "\n"
    print(text, end="")
    if arguments.write:
        FILE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
