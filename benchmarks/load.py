"""`python -m benchmarks.load`: a past loaded into a real Kafka and Redis, beside a live worker that takes in the same.

Enters: how many records, of how many clients; how many of them the worker takes in. Leaves: events a second of
processor time and of the clock, of both; memory. Holds: the records are the simulator's, under the shipped rules; the
worker finds all of its own waiting, and plays them by event time, so both decide everything in them.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from itertools import islice
from pathlib import Path

from benchmarks.backlog import Engine, Servers, wait
from benchmarks.day.job import Record
from benchmarks.process import BenchmarkError, children_s, cpu_s
from benchmarks.wire import produce
from engine.core.contract.message import rfc3339
from engine.demo import simulator
from engine.operations.record_file import parse_line
from tests.services.kafka import KafkaBroker
from tests.services.process import REPOSITORY
from tests.services.redis import RedisServer

PARTITIONS = 4
END = "2026-10-01T00:00:00Z"
RULES = REPOSITORY / "rules"
STUCK_S = 6 * 3_600.0


def written(file: Path, records: int, clients: int, days: float) -> str:
    """The end of the past: just after its last record, since the first `records` may end before END."""
    with file.open("wb") as out:
        simulator.write(out, seed=7, end=END, clients=clients, days=days, count=records)
    with file.open() as lines:
        return rfc3339(max(parse_line(line)[2] for line in lines) + 1)


def loaded(engine: Engine, file: Path, until: str) -> None:
    names = ["--redis", engine.servers.store.url, *engine._names(), "--rules", str(RULES), "--until", until]
    command = [sys.executable, "-m", "engine.cli", "load", str(file), *names, "--work", str(file.parent / "work")]
    redis_s, kafka_s = cpu_s(engine.servers.store.pid), cpu_s(engine.servers.kafka.pid)
    began, used = time.monotonic(), children_s()
    done = subprocess.run(command, cwd=file.parent, capture_output=True, text=True, check=False, timeout=STUCK_S)
    if done.returncode:
        raise BenchmarkError(f"the load failed:\n{done.stdout}{done.stderr}")
    took, used = time.monotonic() - began, children_s() - used
    events = next(int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("events "))
    clients = next(line for line in done.stdout.splitlines() if line.startswith("clients "))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1_000
    _say("load", events, used, took)
    kafka_s, redis_s = cpu_s(engine.servers.kafka.pid) - kafka_s, cpu_s(engine.servers.store.pid) - redis_s
    print(f"  {clients}, at most {peak:,.0f} MB a process, Kafka {kafka_s:.1f} s, Redis {redis_s:.1f} s")


def taken_in(engine: Engine, file: Path, records: int) -> None:
    """The file's first records, by a worker that finds them waiting; measured from its first partition on."""
    with file.open() as lines:
        parsed = [parse_line(line) for line in islice(lines, records)]
    sent = [Record(topic, key or b"", value, time_ms) for topic, key, time_ms, value in parsed]
    produce(engine.servers.kafka.bootstrap, engine.prefix, sent)
    worker = engine.worker()
    try:
        worker.wait_ready()
        for topic, number in Counter(record.topic for record in sent).items():
            wait(worker, engine, topic, number)
        _say(
            "live worker",
            records,
            cpu_s(worker.pid) - worker.ready_cpu_s,
            time.monotonic() - worker.began - worker.ready_s,
        )
        worker.stop()
    finally:
        worker.kill()


def _say(who: str, events: int, used_s: float, took_s: float) -> None:
    print(
        f"{who}: {events:,} events, {events / used_s:,.0f} a second of processor time ({used_s:.1f} s), "
        f"{events / took_s:,.0f} a second of the clock ({took_s:.1f} s)",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--records", type=int, default=10_000_000)
    parser.add_argument("--clients", type=int, default=100_000)
    parser.add_argument("--days", type=float, default=365.0)
    parser.add_argument("--live-records", type=int, default=200_000, help="for the worker; 0 leaves it out")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="engage-bench-") as temporary:
        directory = Path(temporary)
        file = directory / "past.ndjson"
        until = written(file, given.records, given.clients, given.days)
        with KafkaBroker(directory / "kafka") as kafka, RedisServer(directory / "redis") as store:
            servers = Servers(kafka, store, PARTITIONS)
            for app_id in ("load", "live") if given.live_records else ("load",):
                engine = Engine(servers, app_id, RULES, f"{app_id}.", ("--clock", "event"))
                engine.create_topics()
                if app_id == "load":
                    loaded(engine, file, until)
                else:
                    taken_in(engine, file, given.live_records)


if __name__ == "__main__":
    main()
