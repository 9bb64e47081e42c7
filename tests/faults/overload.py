"""`python -m tests.faults.overload`: a backlog before a slow Redis, 64 partitions on one worker, clients who are due at
one moment, a soak; with figures.

Exit status 1 when a worker took 400 MB or more, was moved by a rebalance, recovered again, or did not keep flat, or
when a trade waited for the calendar. `--backlog 2000000` and `--soak-s 600` are for a run by hand.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from tests.faults.arena import Arena
from tests.faults.findings import Findings, cpu_s
from tests.faults.herd import herd
from tests.faults.load import Load
from tests.kafka.installation import Installation
from tests.kafka.worker_process import HUNG_S, WorkerProcess, eventually

MAX_MB = 400
RECORDS_PER_CLIENT = 20


def _status_mb(pid: int, field: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1000
    raise AssertionError(f"process {pid} has no {field}")


def _with_arena(partitions: int, work: Callable[[Arena], None]) -> None:
    directory = Path(tempfile.mkdtemp(prefix="engage-overload-"))
    arena = Arena(directory, 1, partitions, session_timeout_s=10)
    try:
        arena.start()
        work(arena)
    except AssertionError:
        print(f"logs of all processes: {directory}")
        raise
    finally:
        arena.end()
    shutil.rmtree(directory, ignore_errors=True)


def _worker(arena: Arena) -> WorkerProcess:
    arena.slots[0].start()
    worker = arena.slots[0].worker
    assert worker is not None
    return worker


def _check_undisturbed(worker: WorkerProcess, partitions: int, findings: Findings) -> None:
    peak_mb = _status_mb(worker.pid, "VmHWM")
    findings.check(peak_mb < MAX_MB, f"the worker took {peak_mb:.0f} MB at most, of {MAX_MB}")
    causes = {cause: worker.metric("engage_recoveries_total", cause=cause) for cause in ("surprised", "kafka", "redis")}
    # on a machine with too little to give, one commit or another takes over a second, and its partition starts again
    right = not causes["kafka"] + causes["redis"] and causes["surprised"] <= partitions / 4
    findings.check(right, f"partitions that started again, by cause: {causes}")
    assigned = len(worker.logged("assigned"))
    findings.check(assigned == 1, f"{assigned} assignment by the group")


def backlog(records: int, latency_ms: float, partitions: int, findings: Findings) -> None:
    """As many records as wait after an outage, taken in through a Redis that answers late."""

    def work(arena: Arena) -> None:
        installation = arena.installation
        file = arena.directory / "produced.ndjson"
        clients = max(records // RECORDS_PER_CLIENT, 1000)
        load = Load(installation, 1, 0, file, clients=clients, count=records).start()
        load.join(900)
        arena.slots[0].redis.delay_s = latency_ms / 2000
        began = time.monotonic()
        worker = _worker(arena)
        eventually(installation.settled, "the backlog is worked off", HUNG_S + records / 100)
        taken_s = time.monotonic() - began
        print(
            f"  {load.produced} records of {clients} clients in {taken_s:.0f} s, {load.produced / taken_s:.0f} a second"
        )
        _check_undisturbed(worker, arena.partitions, findings)
        arena.slots[0].stop()

    print(f"a backlog of {records} on {partitions} partitions, Redis answers after {latency_ms:g} ms", flush=True)
    _with_arena(partitions, work)


def many_partitions(partitions: int, idle_s: float, findings: Findings) -> None:
    def work(arena: Arena) -> None:
        began = time.monotonic()
        worker = _worker(arena)
        eventually(lambda: worker.ready, "the worker is ready")
        start_s = time.monotonic() - began
        time.sleep(5)
        used_s, kafka_s = cpu_s(worker.pid), cpu_s(arena.broker.pid)
        time.sleep(idle_s)
        cpu = (cpu_s(worker.pid) - used_s) / idle_s
        kafka = (cpu_s(arena.broker.pid) - kafka_s) / idle_s
        findings.check(start_s < 15, f"ready after {start_s:.1f} s")
        findings.check(cpu < 0.5, f"{100 * cpu:.0f}% of a processor while idle (the broker: {100 * kafka:.0f}%)")
        print(f"  {_status_mb(worker.pid, 'VmRSS'):.0f} MB while idle")
        _check_undisturbed(worker, partitions, findings)
        arena.slots[0].stop()

    print(f"{partitions} partitions on one worker", flush=True)
    _with_arena(partitions, work)


def soak(seconds: float, rate: float, findings: Findings) -> None:
    """A steady rate: memory and latency at the end as after the first third; Redis holds its clients and no more."""

    def work(arena: Arena) -> None:
        installation, records = arena.installation, int(seconds * rate)
        worker = _worker(arena)
        eventually(lambda: worker.ready, "the worker is ready")
        clients = records // RECORDS_PER_CLIENT
        file = arena.directory / "produced.ndjson"
        load = Load(installation, 1, rate, file, clients=clients, count=records).start()
        began = time.monotonic()
        memory: list[tuple[float, float]] = []
        while load.running:
            time.sleep(1)
            memory.append((time.monotonic() - began, _status_mb(worker.pid, "VmRSS")))
        load.join()
        eventually(installation.settled, "everything is decided")
        third = len(memory) // 3
        early, late = median(mb for _, mb in memory[third : 2 * third]), median(mb for _, mb in memory[2 * third :])
        findings.check(late < early * 1.1 + 5, f"{early:.0f} MB in the second third, {late:.0f} MB in the last")
        _check_latency(installation, findings)
        with installation.redis() as client:
            keys, used_mb = client.dbsize(), client.info("memory")["used_memory"] / 1e6
            known = sum(position.get("states", 0) for position in installation.positions())
        most = known + 2 * arena.partitions + 2
        findings.check(
            keys <= most, f"Redis has {keys} keys for {known} clients, {used_mb * 1e6 / known:.0f} bytes each"
        )
        _check_undisturbed(worker, arena.partitions, findings)
        arena.slots[0].stop()

    print(f"{rate:g} records a second for {seconds:g} s", flush=True)
    _with_arena(12, work)


def _check_latency(installation: Installation, findings: Findings) -> None:
    """From a bad record's arrival at the broker to its dead letter's sending: both times are in the letter."""
    letters = sorted(installation.read("dead-letters"), key=lambda letter: letter.timestamp_ms)
    waited = [letter.timestamp_ms - int(letter.headers["engage_timestamp"]) for letter in letters]
    third = len(waited) // 3
    assert third > 30, "too few bad records to tell the latency by"
    (_, early, _), (_, late, last) = (_quantiles(part) for part in (waited[third : 2 * third], waited[2 * third :]))
    text = f"latency: median {median(waited):.0f} ms, 99% within {early} ms in the second third, {late} ms in the last"
    findings.check(late < 2 * early + 100, f"{text}, longest {last} ms")


def _quantiles(values: list[int]) -> tuple[int, int, int]:
    ordered = sorted(values)
    return ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100], ordered[-1]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.overload")
    parser.add_argument("--backlog", type=int, default=300_000)
    parser.add_argument("--latency-ms", type=float, default=20)
    parser.add_argument("--partitions", type=int, default=64)
    parser.add_argument("--idle-s", type=float, default=30)
    parser.add_argument("--herd", type=int, default=20_000, help="clients who are due at one moment")
    parser.add_argument("--herd-partitions", type=int, default=4)
    parser.add_argument("--soak-s", type=float, default=60)
    parser.add_argument("--soak-rate", type=float, default=2_000)
    arguments = parser.parse_args()
    findings = Findings()
    if arguments.backlog:
        for partitions in sorted({12, arguments.partitions or 12}):
            backlog(arguments.backlog, arguments.latency_ms, partitions, findings)
    if arguments.partitions:
        many_partitions(arguments.partitions, arguments.idle_s, findings)
    if arguments.herd:
        herd(arguments.herd, arguments.herd_partitions, findings)
    if arguments.soak_s:
        soak(arguments.soak_s, arguments.soak_rate, findings)
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
