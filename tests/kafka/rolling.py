"""A rolling restart of three workers under load: how often each partition moves, and for how long it pauses.

    python -m tests.kafka.rolling [--partitions 60] [--rate 240] [--surge]

Enters: a broker, a store. Leaves: moves and pauses by partition, and the auditor's findings.
Holds: a pause is read from the ledger: the longest time from an inbound record's append to the unit that has it. So it
is what a client of the engine sees, the unit's own age included.
"""

from __future__ import annotations

import argparse
import bisect
import datetime as dt
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from engine.core.contract.topics import inbound_topics
from engine.runtime.protocol.ledger import decode_unit
from tests.faults.auditor import Audit, audit
from tests.faults.load import Load
from tests.kafka.installation import Installation
from tests.kafka.worker_process import WorkerProcess, eventually
from tests.services.kafka import KafkaBroker
from tests.services.redis import RedisServer

WORKERS = 3


@dataclass(frozen=True)
class Rolled:
    moves: Counter[int]  # of each partition
    pauses_s: list[float]  # of each partition, longest first
    audit: Audit

    def __str__(self) -> str:
        told = Counter(self.moves.values())
        return (
            f"moves: {', '.join(f'{told[n]} partitions {n} times' for n in sorted(told))}; pause: longest "
            f"{self.pauses_s[0]:.2f} s, median {statistics.median(self.pauses_s):.2f} s; "
            f"{self.audit.lost} lost, {self.audit.doubled} doubled, {len(self.audit.findings)} findings"
        )


def roll(engine: Installation, rate: float, *, surge: bool = False) -> Rolled:
    """Stop and start each worker, one after another; with `surge`, start its successor first."""
    load = Load(engine, 5, rate, engine.directory / "produced.ndjson", clients=1_000, days=400).start()
    workers = []
    for number in range(WORKERS):
        workers.append(engine.worker())
        _all_work(engine, workers[: number + 1])
    began_s = time.time()
    for index in range(WORKERS):
        if surge:
            workers.append(engine.worker())
            _all_work(engine, workers[index:])
            workers[index].stop()
        else:
            workers[index].stop()
            _all_work(engine, workers[index + 1 :])
            workers.append(engine.worker())
        _all_work(engine, workers[index + 1 :])
    ended_s = time.time()
    load.stop()
    engine.settle()
    for worker in workers[WORKERS:]:
        worker.stop()
    moves = Counter(dict.fromkeys(range(engine.partitions), 0))
    moves.update(p for at_s, gained in _gains(workers) if began_s < at_s < ended_s for p in gained)
    return Rolled(moves, sorted(_pauses(engine, began_s).values(), reverse=True), audit(engine, load.acknowledged))


def _all_work(engine: Installation, workers: list[WorkerProcess]) -> None:
    """All partitions are shared out among these workers, and each commits. Asked of logs and Redis: the pages of
    metrics would take the time that is measured.
    """

    def shared_out() -> bool:
        shares = [len(w.logged("assigned")[-1]["partitions"]) for w in workers if w.logged("assigned")]
        return len(shares) == len(workers) and sum(shares) == total and max(shares) - min(shares) <= 1

    def committed() -> bool:
        return all(
            now.get("ledger", 0) > then.get("ledger", 0) for now, then in zip(engine.positions(), before, strict=True)
        )

    total = engine.partitions
    eventually(shared_out, "all partitions are shared out", every_s=0.2)
    before = engine.positions()
    eventually(committed, "every partition commits", every_s=0.2)


def _gains(workers: list[WorkerProcess]) -> list[tuple[float, set[int]]]:
    """When a worker was given partitions that it did not have, and which."""
    found = []
    for worker in workers:
        had: set[int] = set()
        for entry in worker.logged("assigned"):
            now = set(entry["partitions"])
            found.append((dt.datetime.fromisoformat(entry["timestamp"]).timestamp(), now - had))
            had = now
    return found


def _pauses(engine: Installation, began_s: float) -> dict[int, float]:
    """By partition, the longest time that a record which came since had to wait for its unit."""
    longest = dict.fromkeys(range(engine.partitions), 0.0)
    units: dict[tuple[str, int], tuple[list[int], list[int]]] = {}  # each topic's ends, and when they were written
    for record in engine.read(engine.settings.ledger_topic.removeprefix(engine.settings.prefix)):
        for topic, end in decode_unit(record.value or b"").offsets.items():
            ends, times = units.setdefault((topic, record.partition), ([], []))
            ends.append(end)
            times.append(record.timestamp_ms)
    for record in engine.read(*inbound_topics()):
        if record.timestamp_ms / 1000 > began_s:
            ends, times = units[record.topic, record.partition]
            waited_ms = times[bisect.bisect_right(ends, record.offset)] - record.timestamp_ms
            longest[record.partition] = max(longest[record.partition], waited_ms / 1000)
    return longest


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.kafka.rolling", description=__doc__.partition("\n")[0])
    parser.add_argument("--partitions", type=int, default=60)
    parser.add_argument("--rate", type=float, default=240.0, help="records a second")
    parser.add_argument("--surge", action="store_true", help="start each successor before its predecessor is stopped")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="engage-rolling-") as name:
        directory = Path(name)
        with KafkaBroker(directory / "kafka") as broker, RedisServer(directory / "redis") as store:
            engine = Installation(
                "rolling", broker.bootstrap, store.url, directory, session_timeout_s=10, clock="wall"
            ).create_topics(arguments.partitions)
            try:
                rolled = roll(engine, arguments.rate, surge=arguments.surge)
            finally:
                engine.end()
    print(rolled)
    sys.exit(1 if rolled.audit.findings else 0)


if __name__ == "__main__":
    main()
