"""`python -m benchmarks.rebuild`: how fast an emptied Redis is made whole, from the ledger, and from a snapshot and the
ledger after it.

Enters: how many events, how many of them after the snapshot. Leaves: events for each CPU second of `engage rebuild`.
Holds: the events are decided by a worker first; the hash of all states must be the same before and after, else the exit
status is 1. An event counts when its effect on the states has been written again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.process import children_s, cpu_s
from tests.faults.load import Load
from tests.kafka.installation import Installation
from tests.services.kafka import KafkaBroker
from tests.services.redis import RedisServer

PARTITIONS = 12
EVENTS_PER_CLIENT = 20


def _decide(engine: Installation, seed: int, events: int) -> None:
    file = engine.directory / f"produced-{seed}.ndjson"
    clients = max(events // EVENTS_PER_CLIENT, 100)
    load = Load(engine, seed, 0, file, clients=clients, count=events).start()
    load.join(900)
    engine.settle(60 + events / 500)


def _rebuild(engine: Installation, store: RedisServer, wanted: str, events: int, *arguments: str) -> bool:
    """Empty Redis, make it whole, say how fast; whether all is as it was."""
    with engine.redis() as client:
        client.flushall()
    before, store_cpu_s, began = children_s(), cpu_s(store.pid), time.monotonic()
    done = engine.engage("rebuild", *arguments, timeout_s=900)
    used_s, taken_s = children_s() - before, time.monotonic() - began
    store_s = cpu_s(store.pid) - store_cpu_s
    same = done.returncode == 0 and engine.states() == wanted
    source = "a snapshot and the ledger after it" if arguments else "the whole ledger"
    print(f"from {source}: {' '.join(done.stdout.split())}; states {'are the same' if same else 'DIFFER'}")
    print(
        f"  {events / used_s:,.0f} events per CPU second, start included ({used_s:.1f} s, Redis {store_s:.1f} s; "
        f"{taken_s:.1f} s in all)",
        flush=True,
    )
    if done.returncode:
        print(done.stderr, file=sys.stderr)
    return same


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rebuild")
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--after-snapshot", type=int, default=20_000, help="so many of them come after the snapshot")
    arguments = parser.parse_args()
    later = arguments.after_snapshot
    with tempfile.TemporaryDirectory(prefix="engage-rebuild-") as name:
        directory = Path(name)
        with KafkaBroker(directory / "kafka") as broker, RedisServer(directory / "redis") as store:
            engine = Installation("rebuild", broker.bootstrap, store.url, directory).create_topics(PARTITIONS)
            worker = engine.worker().wait_ready()
            _decide(engine, 1, arguments.events - later)
            snapshot = directory / "snapshot"
            engine.engage("snapshot", str(snapshot), timeout_s=300)
            _decide(engine, 2, later)
            worker.stop()
            wanted = engine.states()
            print(f"{arguments.events} events, {later} of them after the snapshot; {' '.join(wanted.split()[:2])}")
            same = _rebuild(engine, store, wanted, arguments.events)
            same = _rebuild(engine, store, wanted, arguments.events, "--snapshot", str(snapshot)) and same
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
