"""`python -m tests.faults --rounds 20 --seed 7`: faults on real Kafka and Redis under load, then the audit.

Exit status 0: nothing lost, nothing doubled, everything drained. Else 1, with the seed, the round, and where the logs
of all processes are kept. `--trades-only` also compares with the offline replay of the produced file.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from pathlib import Path
from random import Random
from statistics import median

from engine.core.contract.topics import inbound_topics
from tests.faults import offline, pools
from tests.faults.arena import Arena
from tests.faults.auditor import Audit, audit
from tests.faults.failovers import BY_REDIS, EVERY
from tests.faults.faults import Harm, schedule
from tests.faults.load import Load
from tests.kafka.worker_process import eventually
from tests.services.process import ServiceError
from tests.services.redis_nodes import Cluster, Sentinels

WORKERS = 3
WELL_S = 300.0  # a partition that has not committed anything this long after a fault hangs
AIM_S = 5.0
NODES = {"standalone": None, "sentinel": Sentinels, "cluster": Cluster}


class Trial:
    """One run: rounds of faults under load, then the audit."""

    def __init__(self, arguments: argparse.Namespace, directory: Path) -> None:
        self._arguments = arguments
        self._random = Random(arguments.seed)
        self.round = 0
        self.recoveries: dict[str, list[float]] = defaultdict(list)
        self._arena = Arena(directory, WORKERS + 1, nodes=NODES[arguments.redis], with_pools=not arguments.trades_only)
        self._file = directory / "produced.ndjson"
        topics = ("trades",) if arguments.trades_only else inbound_topics()
        # a file does not say at which record the rules changed
        kinds = BY_REDIS[arguments.redis].keys() - ({"publish-rules"} if arguments.trades_only else set())
        self._kinds = arguments.only or kinds
        per_round = 2_000 if arguments.trades_only else 600  # so many that the load does not run out of records
        clients = per_round * max(arguments.rounds, 20)
        self._load = Load(
            self._arena.installation, arguments.seed, arguments.rate, self._file, topics=topics, clients=clients
        )

        self._changes = None if arguments.trades_only else pools.Changes(self._arena.installation, arguments.seed)

    def run(self) -> Audit:
        arena = self._arena
        try:
            arena.start()
            for slot in arena.slots[:WORKERS]:
                slot.start()
            eventually(arena.ready, "all workers are ready")
            self._load.start()
            if self._changes:
                self._changes.start()
            eventually(lambda: arena.watch.recovered_s(0) is not None, "every partition has committed")
            for number, name in enumerate(schedule(self._arguments.rounds, self._kinds, self._random), 1):
                self.round = number
                self._fault(name)
            return self._end()
        finally:
            arena.end()

    def _fault(self, name: str) -> None:
        arena = self._arena
        time.sleep(self._random.uniform(0, 1))
        harm = EVERY[name](arena, self._random)
        if self._random.random() < 0.25 and self.round < self._arguments.rounds:
            arena.check_alive()
            print(f"round {self.round:3}  {harm.text}; the next at once", flush=True)
            return
        self._wait_well(harm)
        after_s = arena.watch.recovered_s(harm.since if harm.silent else harm.over)
        assert after_s is not None
        recovery_s = max(0.0, harm.since + after_s - harm.over) if harm.silent else after_s
        self.recoveries[name].append(recovery_s)
        print(f"round {self.round:3}  {harm.text}; all partitions commit again after {recovery_s:.1f} s", flush=True)

    def _wait_well(self, harm: Harm) -> None:
        deadline = harm.over + WELL_S
        watch = self._arena.watch
        while watch.recovered_s(harm.over) is None or not self._arena.ready():
            self._arena.check_alive()
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"{harm.text}: {WELL_S:.0f} s after its end partitions {watch.behind(harm.over)} have committed "
                    f"nothing, all workers ready: {self._arena.ready()}"
                )
            time.sleep(0.1)

    def _end(self) -> Audit:
        arena, installation = self._arena, self._arena.installation
        self._load.stop()
        if self._changes:
            self._changes.stop()
            print(f"{self._changes.told} changes of advisors", flush=True)
        print(f"{self._load.acknowledged} records produced", flush=True)
        began = time.monotonic()
        eventually(installation.settled, "every inbound record decided and applied")
        arena.check_alive()
        until_ms = int(time.time() * 1000)
        time.sleep(2)  # a tick more, so that nothing due before `until_ms` is still to be done
        for slot in arena.taken:
            slot.stop()
        print(f"drained in {time.monotonic() - began:.1f} s, workers ended", flush=True)
        arena.watch.stop()
        found = audit(installation, self._load.acknowledged)
        if self._arguments.trades_only:
            offline.compare(installation, self._file, until_ms, found)
        return found


def _report(trial: Trial, found: Audit, seconds: float) -> None:
    everything = sorted(value for values in trial.recoveries.values() for value in values)
    print(
        "recovery, seconds from the fault's end (for a worker: from the group's detection) until all partitions commit:"
    )
    for name, values in sorted(trial.recoveries.items()):
        print(f"  {name:<20} median {median(values):5.1f}   max {max(values):5.1f}   of {len(values)}")
    if everything:
        late = sum(value > AIM_S for value in everything)
        print(f"  {'all':<20} median {median(everything):5.1f}   max {everything[-1]:5.1f}   over {AIM_S:g} s: {late}")
    print("  ".join(f"{name} {number}" for name, number in found.counted.items()))
    print(f"{found.lost} lost, {found.doubled} doubled, {len(found.findings)} findings, {seconds:.0f} s in all")
    for finding in found.findings:
        print(f"  - {finding}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--rate", type=float, default=400.0, help="records a second")
    parser.add_argument("--only", nargs="+", choices=EVERY, help="these kinds of faults")
    parser.add_argument("--redis", choices=NODES, default="standalone", help="one server, or several")
    parser.add_argument("--trades-only", action="store_true", help="and compare with the produced file, offline")
    parser.add_argument("--keep", action="store_true", help="keep data and logs of a run without findings too")
    arguments = parser.parse_args()
    if wrong := set(arguments.only or ()) - BY_REDIS[arguments.redis].keys():
        parser.error(f"with --redis {arguments.redis} there is no {', '.join(sorted(wrong))}")
    directory = Path(tempfile.mkdtemp(prefix=f"engage-faults-{arguments.seed}-"))
    print(f"seed {arguments.seed}, {arguments.rounds} rounds, in {directory}", flush=True)
    began = time.monotonic()
    failed = True
    trial = Trial(arguments, directory)
    try:
        found = trial.run()
        _report(trial, found, time.monotonic() - began)
        failed = bool(found.findings or found.lost or found.doubled)
    except (AssertionError, ServiceError):
        traceback.print_exc()
    finally:
        if failed:
            print(f"FAILED: seed {arguments.seed}, round {trial.round}; data and logs of all processes: {directory}")
        elif not arguments.keep:
            shutil.rmtree(directory, ignore_errors=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
