"""`python -m tests.simulation`: seeds from the command line. Exits 1 when one fails."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from tests.simulation.bugs import BUGS
from tests.simulation.run import report, run_many


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2_000, help="how many")
    parser.add_argument("--start", type=int, default=0, help="the first")
    parser.add_argument("--bug", default="", choices=["", *BUGS], metavar="NAME", help=f"one of: {', '.join(BUGS)}")
    parser.add_argument("--keep", help="numbers of the inputs and faults to leave in, as a failure prints them")
    parser.add_argument("--processes", type=int, help="as many as there are cores when left out")
    given = parser.parse_args()
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
    print(f"{given.seeds} seeds, none fails, {seconds:.0f} s. Seeds in which it happened:")
    print("\n".join(f"  {number:6} {what}" for what, number in sorted(seen.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
