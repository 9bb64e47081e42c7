"""Runs the plain Faust agent on its share of the job.

Enters: a running Kafka, the job's records. Leaves: what the agent used for the trades, and the ids of its actions.
Holds: exactly once when this version of Faust gets through with it, at least once otherwise, which flatters it; the
result says which.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.backlog import Measured, Servers
from benchmarks.job import Record
from benchmarks.process import BenchmarkError, cpu_s
from benchmarks.wire import action_ids, produce
from tests.services.process import REPOSITORY

SIDE_S = 90.0


def measure(
    servers: Servers, rules: Path, portraits: Sequence[Record], trades: Sequence[Record]
) -> tuple[Measured, list[str]]:
    """The portraits of those clients who trade, then the trades."""
    trading = {record.key for record in trades}
    portraits = [record for record in portraits if record.key in trading]
    try:
        return _measure(servers, rules, portraits, trades, "exactly_once")
    except BenchmarkError as error:
        print(
            f"plain Faust failed with exactly_once, so it is measured with at_least_once, which flatters it:\n{error}"
        )
        return _measure(servers, rules, portraits, trades, "at_least_once")


def _measure(
    servers: Servers, rules: Path, portraits: Sequence[Record], trades: Sequence[Record], guarantee: str
) -> tuple[Measured, list[str]]:
    kafka, prefix = servers.kafka.bootstrap, f"{guarantee.replace('_', '-')}-"
    servers.create_topics(prefix)
    produce(kafka, prefix, portraits)
    command = [sys.executable, "-m", "benchmarks.plain_faust", "--kafka", kafka, "--prefix", prefix]
    command += ["--rules", str(rules), "--portraits", str(len(portraits)), "--trades", str(len(trades))]
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as log:
        agent = subprocess.Popen([*command, "--guarantee", guarantee], cwd=REPOSITORY, stdout=said, stderr=log)
        try:
            until = time.monotonic() + SIDE_S
            started = _last_word(agent, said, log, "start_cpu_s", until)
            kafka_cpu_s = cpu_s(servers.kafka.pid)
            produce(kafka, prefix, trades)
            measured = _last_word(agent, said, log, "cpu_s", until)
            kafka_cpu_s = cpu_s(servers.kafka.pid) - kafka_cpu_s
        finally:
            agent.kill()  # its own way out takes a minute, and it has committed
            agent.wait()
    ids = action_ids(kafka, prefix, servers.partitions)
    return Measured(
        len(trades),
        measured["cpu_s"],
        measured["wall_s"],
        started["start_cpu_s"],
        kafka_cpu_s,
        0.0,
        measured["peak_mb"],
        len(ids),
        guarantee,
    ), ids


def _last_word(agent: subprocess.Popen, said, log, key: str, until: float) -> dict[str, float]:  # type: ignore[no-untyped-def, type-arg]
    while True:
        ended = agent.poll() is not None
        said.seek(0)
        for line in said:
            if line.startswith("{") and line.endswith("}\n") and key in (words := json.loads(line)):
                return words  # type: ignore[no-any-return]
        if ended or time.monotonic() > until:
            log.seek(0)
            raise BenchmarkError(f"plain Faust ended or took too long:\n{log.read()[-2500:]}")
        time.sleep(0.1)
