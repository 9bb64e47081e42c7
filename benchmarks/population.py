"""`python -m benchmarks.population`: a large population in a real Redis, and whether `engage capacity` foretold it.

Enters: how many clients. Leaves: foretold and found: Redis's memory, a snapshot, a rebuild from it, a sweep.
Holds: states are those of some thousand clients after the month's job, each copied under other names, and written by
the engine's own commits: to the ledger, then to Redis. A sweep is watched for two minutes. Times are of the wall clock:
on a busy machine they are longer than foretold.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from benchmarks import backlog
from benchmarks.backlog import Engine, Servers
from benchmarks.month import sizes
from benchmarks.month.job import Month, name_of, write_rules
from benchmarks.process import BenchmarkError, children_s, cpu_s
from engine.core.client.record import tallied_by
from engine.core.plan.compile import compile_rule_set
from engine.operations.capacity import Coefficients, Firm, plan
from engine.processors.engagement import ENGAGEMENT
from engine.processors.opening import open_partition
from engine.runtime import logs
from engine.runtime.clients import Clients
from engine.runtime.partitioning import partitioner
from engine.runtime.protocol.ledger import Step
from engine.runtime.protocol.unit import OpenUnit
from engine.runtime.redis.reading import packed_states
from engine.runtime.rule_sets.archive import load_directory
from engine.runtime.settings import Settings
from tests.services.kafka import KafkaBroker
from tests.services.process import REPOSITORY
from tests.services.redis import RedisServer

PARTITIONS = 12
MODELS, TRADES = 4_000, 100_000
UNIT = 2_000
WATCHED_S = 120.0


async def populate(settings: Settings, rules: Path, models: int, clients: int, partitions: int) -> None:
    """Copies of the first clients, the models, until there are so many: by name they follow on these."""
    logs.configure(settings)
    made = Clients()
    compiled = compile_rule_set(load_directory(rules))
    redis, partition_of = made.redis(settings), partitioner(partitions)
    names: dict[int, list[str]] = {number: [] for number in range(partitions)}
    for index in range(models, clients):
        name = name_of(index)
        names[partition_of(name.encode())].append(name)
    for number in range(partitions):
        states = itertools.cycle([state async for _, state in packed_states(redis, settings.scope, number)])
        opened = open_partition(settings, made, redis, ENGAGEMENT, number, plan=lambda: compiled)
        partition = opened.partition
        await partition.recover()
        for begin in range(0, len(names[number]), UNIT):
            unit = OpenUnit(steps=[Step({})])
            for name in names[number][begin : begin + UNIT]:
                state = ENGAGEMENT.unpack(compiled, next(states))
                state.client_id = name
                unit.changed[name] = state
                unit.tallies.update(tallied_by(state))
            unit.states_added = len(unit.changed)
            partition._cache.update(unit.changed)
            partition._unit = unit
            await partition.commit("size")
        await opened.log.stop()
    await redis.aclose()


def _timed(*arguments: str) -> tuple[float, str]:
    began = time.monotonic()
    command = [sys.executable, "-m", "engine.cli", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=3_600)
    if done.returncode:
        raise BenchmarkError(f"engage {' '.join(arguments)}:\n{done.stdout}{done.stderr}")
    return time.monotonic() - began, " ".join(done.stdout.split())


def _swept_in(engine: Engine, rules: Path) -> tuple[int, float]:
    """How many clients a worker evaluates anew, and in which time."""
    tiers = rules / "tiers.yaml"
    tiers.write_text(tiers.read_text().replace("4000000", "3900000"))
    worker = engine.worker()
    try:
        worker.wait_ready(300)
        began = time.monotonic()
        first = 0.0
        while not first or time.monotonic() - first < WATCHED_S:
            worker.check()
            if not first and any('"sweep begins' in line for line in worker.log):
                first, already = time.monotonic(), _swept(worker.url)
            if time.monotonic() - began > 600:
                raise BenchmarkError("no sweep begins:\n" + "\n".join(worker.log))
            time.sleep(0.5)
        return _swept(worker.url) - already, time.monotonic() - first
    finally:
        worker.kill()


def _swept(url: str) -> int:
    with urllib.request.urlopen(f"{url}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith("engage_swept_clients_total"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.population")
    parser.add_argument("--clients", type=int, default=2_000_000)
    clients: int = parser.parse_args().clients
    cost = Coefficients.read()
    foretold = plan(Firm(clients=clients, events_per_day=0), cost)
    with tempfile.TemporaryDirectory(prefix="engage-population-") as name:
        directory = Path(name)
        rules = write_rules(directory / "rules")
        with KafkaBroker(directory / "kafka") as kafka, RedisServer(directory / "redis") as store:
            engine = Engine(Servers(kafka, store, PARTITIONS), "many", rules)
            empty = sizes.redis_bytes(engine)
            engine.create_topics()
            month = Month(MODELS)
            backlog.learn_clients(engine, list(month.profiles()))
            _, worker = backlog.work_off(engine, list(month.trades(TRADES)))
            worker.stop()
            settings = Settings(kafka=kafka.bootstrap, redis=store.url, app_id="many")  # type: ignore[arg-type]
            began = time.monotonic()
            asyncio.run(populate(settings, rules, MODELS, clients, PARTITIONS))
            print(f"{clients:,} clients, written in {time.monotonic() - began:,.0f} s", flush=True)
            found = sizes.redis_bytes(engine) - empty
            print(f"Redis: foretold {foretold.redis_gb:.2f} GB, found {found / 1e9:.2f} GB", flush=True)
            redis = ["--redis", store.url, "--app-id", "many"]
            snapshot = directory / "snapshot"
            took_s, _ = _timed("snapshot", str(snapshot), *redis)
            size = snapshot.stat().st_size
            print(
                f"snapshot: foretold {foretold.snapshot_gb:.2f} GB, found {size / 1e9:.2f} GB in {took_s:.0f} s",
                flush=True,
            )
            swept, swept_s = _swept_in(engine, rules)
            print(
                f"sweep: foretold {clients / foretold.sweep_s / foretold.workers:,.0f} clients a second and worker, "
                f"found {swept / swept_s:,.0f}",
                flush=True,
            )
            with engine.servers.redis_client() as client:
                client.flushall()
            used_s, redis_s = children_s(), cpu_s(store.pid)
            took_s, said = _timed("rebuild", "--snapshot", str(snapshot), "--kafka", kafka.bootstrap, *redis)
            used_s = children_s() - used_s + cpu_s(store.pid) - redis_s
            print(
                f"rebuild: foretold {foretold.rebuild_s:,.0f} s, found {took_s:,.0f} s, {used_s:,.0f} s of CPU; {said}",
                flush=True,
            )


if __name__ == "__main__":
    main()
