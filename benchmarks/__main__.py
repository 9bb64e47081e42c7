"""`make bench`: the engine beside other ways to do the same, on a real Kafka and a real Valkey started for it: the job
of a month and that of a day; then what many rules cost.

Enters: sizes of the jobs. Leaves: tables, and benchmarks/results/latest.json; exit status 1 when a side's actions are
not exactly those that an offline replay of the same trades gives, or many rules cost more than they may.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import rules as many_rules
from benchmarks.day import run as day
from benchmarks.month import run as month
from benchmarks.process import BenchmarkError
from tests.services.process import ServiceError

RESULTS = Path(__file__).with_name("results") / "latest.json"
JOBS = {"month": month.run, "day": day.run}


def run(given: argparse.Namespace, directory: Path) -> int:
    result: dict[str, Any] = {"given": vars(given)}
    right = True
    for job in given.jobs:
        if job == "rules":
            result[job], held = many_rules.report()
        else:
            result[job], held = JOBS[job](given, directory / job)
        right &= held
        print(flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result | {"right": right}, indent=2) + "\n")
    return 0 if right else 1


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("jobs", nargs="*", default=["month", "day", "rules"], help="month, day, rules")
    parser.add_argument("--trades", type=int, default=500_000)
    parser.add_argument("--plain-trades", type=int, default=40_000, help="for plain Faust; 0 leaves it out")
    parser.add_argument("--clients", type=int, default=20_000)
    parser.add_argument("--rules", type=int, default=100, help="of the day's job")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--latency-s", type=float, default=60.0, help="0 leaves the latency out")
    parser.add_argument("--rate", type=int, default=1_000, help="trades a second for the latency")
    parser.add_argument("--record", action="store_true", help="append the month's row to benchmarks/results.md")
    parser.add_argument("--profile", action="store_true", help="show where the worker's time goes (needs py-spy)")
    given = parser.parse_args()
    if unknown := {*given.jobs} - {*JOBS, "rules"}:
        parser.error(f"no such job: {', '.join(unknown)}")
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="engage-bench-") as directory:
            status = run(given, Path(directory))
    except (BenchmarkError, ServiceError) as error:
        sys.exit(str(error))
    print(f"took {time.monotonic() - began:.0f} s; figures in {RESULTS}")
    sys.exit(status)


if __name__ == "__main__":
    main()
