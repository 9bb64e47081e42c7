"""`python -m tests.simulation`: seeds from the command line. Exits 1 when one fails."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from engine.compiled import form
from tests.simulation import first_seeds
from tests.simulation.bugs import BUGS, BY_SCENARIO
from tests.simulation.run import first_seed, report, run_many


def write_first_seeds(processes: int | None) -> int:
    """1 when there is a bug that no seed catches."""
    bugs = [bug for bug in BUGS if bug not in BY_SCENARIO]
    found: dict[str, int] = {}
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        for bug, seed in zip(bugs, pool.map(first_seed, bugs), strict=True):
            print(f"{bug}: {'caught by none' if seed is None else seed}", flush=True)
            if seed is not None:
                found[bug] = seed
    file = Path(first_seeds.__file__)
    rows = "".join(f"    {json.dumps(bug)}: {seed},\n" for bug, seed in found.items())
    before, name, _ = file.read_text(encoding="utf-8").partition("FIRST_SEED")
    file.write_text(f"{before}{name}: Final[dict[str, int]] = {{\n{rows}}}\n", encoding="utf-8")
    return 0 if len(found) == len(bugs) else 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2_000, help="how many")
    parser.add_argument("--start", type=int, default=0, help="the first")
    parser.add_argument("--bug", default="", choices=["", *BUGS], metavar="NAME", help=f"one of: {', '.join(BUGS)}")
    parser.add_argument("--keep", help="numbers of the inputs and faults to leave in, as a failure prints them")
    parser.add_argument("--processes", type=int, help="as many as there are cores when left out")
    parser.add_argument(
        "--first-seeds", action="store_true", help="find the seeds of first_seeds.py anew, and write it"
    )
    given = parser.parse_args()
    if form.RUNNING == form.COMPILED and (given.bug or given.first_seeds):
        parser.error(f"a deliberate bug replaces functions of the core: run it with {form.VARIABLE}={form.PURE}")
    if given.first_seeds:
        return write_first_seeds(given.processes)
    if given.keep is not None:
        report(given.start, given.bug, [int(number) for number in given.keep.split(",") if number])
        return 0
    began, seen, failed = time.monotonic(), Counter[str](), []
    for done, result in enumerate(
        run_many(range(given.start, given.start + given.seeds), given.bug, given.processes), start=1
    ):
        seen.update(set(result.seen))
        if result.violations:
            failed.append(result.seed)
            print(f"seed {result.seed} fails: {result.violations[0]}", flush=True)
            if given.bug or len(failed) == 10:
                break
        if done % (2_000 if sys.stdout.isatty() else 10_000) == 0:
            print(f"{done} seeds, {len(failed)} failed", flush=True)
    if failed:
        report(failed[0], given.bug)
        return 1
    seconds = time.monotonic() - began
    print(f"{given.seeds} seeds, none fails, {seconds:.0f} s, core: {form.RUNNING}. Seeds in which it happened:")
    print("\n".join(f"  {number:6} {what}" for what, number in sorted(seen.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
