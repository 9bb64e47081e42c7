"""From the last release to this checkout under load, and back: a worker of each on one Kafka and Redis, then the audit.

    python -m tests.kafka.upgrade take-over | take-over-behind | roll | return | roll-back [--keep]

Enters: a broker, a store, the release's wheel (tests/fixtures). Leaves: the auditor's findings.
Holds: every step waits for what the workers have done, never for a time, so that a slow machine only takes longer; the
load goes on from the first step to the last. The release creates the topics and publishes its own rules, which both go
by: that is what an upgrade finds.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from confluent_kafka import TopicPartition

from engine.demo.demo import topics_for
from tests.faults.auditor import Audit, audit
from tests.faults.load import Load
from tests.fixtures.loading import RELEASE, WHEEL, write_rules
from tests.kafka.installation import Installation
from tests.kafka.worker_process import WorkerProcess, eventually
from tests.services.kafka import KafkaBroker
from tests.services.redis import RedisServer

PARTITIONS = 4
SEED = 11
RATE = 250.0
CLIENTS, DAYS = 200, 1_500  # some twenty minutes of records, a day of them in about a second
UNITS = 60  # committed by each before the next step
REFUSAL = "Error: what Redis holds as a partition's position is none"
NO_LEDGER = "Error: the ledger was written in format 3, this engine reads format 2"
BACKFILL = ["backfill", "trades_30d"]
RELEASED = {"PYTHONPATH": str(WHEEL)}  # the environment in which a process is one of the release


class Upgrade:
    """An engine of the release under load, and its successor."""

    def __init__(self, installation: Installation, store: RedisServer) -> None:
        self.engine = installation
        self._store = store
        directory = installation.directory
        self._rules = write_rules(directory / "released-rules")
        produced, topics = directory / "produced.ndjson", topics_for(())  # what only the checkout reads comes later
        self.load = Load(installation, SEED, RATE, produced, clients=CLIENTS, days=DAYS, topics=topics)
        self.old: WorkerProcess
        self.new: WorkerProcess

    def start(self) -> None:
        """Topics, rules and a worker of the release, which is at work."""
        assert self._released("--version").split()[-1] == RELEASE
        self._released("topics", "--create", "--partitions", str(PARTITIONS))
        self.engine.create_topics(PARTITIONS)  # those that are new since; waits for the partitions' leaders
        self._released("publish", str(self._rules), "--note", "as released", "--as", "ann")
        self.old = self.engine.worker(rules=None, **RELEASED).wait_ready()
        self.load.start()
        self._works(self.old)

    def take_over(self) -> None:
        """The release ends, the checkout starts; what was produced meanwhile waits for it."""
        self.old.stop()
        self.new = self.engine.worker(rules=None).wait_ready()
        self._works(self.new)

    def take_over_behind(self) -> None:
        """As `take_over`, but Redis comes back without its last writes: the ledger has units of the release that it
        lacks. Where it lacks nothing, a start decodes no record of the ledger.
        """
        copy = self.engine.directory / "earlier-redis"
        self._store.save_data(copy)
        self._works(self.old)
        self.old.stop()
        self._store.stop()
        self._store.restore_data(copy)
        self._store.start()
        self.new = self.engine.worker(rules=None).wait_ready()
        eventually(lambda: _metric(self.new, "engage_recovered_units_total") > 0, "units are recovered")
        self._works(self.new)

    def roll(self) -> None:
        """The checkout joins the release in its group and takes some partitions over; then the release ends: by itself
        when it is handed one that the checkout has written.
        """
        self.new = self.engine.worker(rules=None).wait_ready()
        self._works(self.new)
        self.old.signal(signal.SIGTERM)
        if self.old.wait() != 0:
            refused(self.old)
        eventually(lambda: _owns(self.new, PARTITIONS), "the new worker has all partitions")
        self._works(self.new)

    def come_back(self) -> None:
        """A worker of the release is started beside the checkout, which has written every partition."""
        self.take_over()
        eventually(lambda: all("format" in position for position in self.engine.positions()), "all are written")
        refused(self.engine.worker(rules=None, **RELEASED))
        eventually(lambda: _owns(self.new, PARTITIONS), "the checkout has all partitions again")
        self._works(self.new)

    def roll_back(self) -> None:
        """The checkout ends, the release is started instead, and its commands are tried: they refuse, and change
        nothing. Nor can the release rebuild an emptied Redis; the checkout can, and goes on.
        """
        earlier = self.engine.directory / "earlier-snapshot"
        self._released("snapshot", str(earlier))
        self.take_over()
        eventually(lambda: all("format" in position for position in self.engine.positions()), "all are written")
        self.new.stop()
        self.load.stop()
        stored, ends = self._stored(), self._ends()
        refused(self.engine.worker(rules=None, **RELEASED))
        for arguments in (["snapshot", "now"], ["trim", str(earlier)], ["accept-loss", "--yes"], ["rebuild"], BACKFILL):
            done = self.engine.engage(*arguments, **RELEASED)
            assert done.returncode != 0, f"engage {' '.join(arguments)}: {done.stdout}"
        assert not (self.engine.directory / "now").exists()
        assert self._stored() == stored
        assert self._ends() == ends
        states = self.engine.states()
        self.engine.redis().flushall()
        rebuilt = self.engine.engage("rebuild", "--snapshot", str(earlier), **RELEASED)
        assert rebuilt.returncode == 1, rebuilt.stdout
        assert NO_LEDGER in rebuilt.stderr
        rebuilt = self.engine.engage("rebuild")
        assert rebuilt.returncode == 0, rebuilt.stderr
        assert self.engine.states() == states
        assert self._ends() == ends
        self.new = self.engine.worker(rules=None).wait_ready()

    def end(self) -> Audit:
        """All that was produced is decided; then the audit. Raises when a worker did not end well."""
        if self.load.running:
            self.load.stop()
        self.engine.settle()
        self.new.stop()
        return audit(self.engine, self.load.acknowledged)

    def _stored(self) -> dict[bytes, bytes]:
        """Everything in Redis."""
        with self.engine.redis() as client:
            return {key: client.dump(key) for key in client.scan_iter(count=1000)}

    def _ends(self) -> dict[tuple[str | None, int | None], tuple[int, int]]:
        """Where the engine's topics begin and end: no record was written or deleted."""
        consumer = self.engine.consumer("read_uncommitted")
        listed = consumer.list_topics(timeout=20).topics
        tps = [
            TopicPartition(t.topic, p) for t in listed.values() for p in t.partitions if not t.topic.startswith("__")
        ]
        found = {(tp.topic, tp.partition): consumer.get_watermark_offsets(tp, timeout=20) for tp in tps}
        consumer.close()
        return found

    def _works(self, *workers: WorkerProcess) -> None:
        """Each commits some more units of events."""
        if not self.load.running:
            self.load.join()  # raises what ended it
            raise AssertionError("the load has ended")
        for worker in workers:
            before = worker.metric("engage_units_total"), worker.metric("engage_events_total")
            eventually(lambda worker=worker, before=before: _since(worker, *before), "units are committed")

    def _released(self, *arguments: str) -> str:
        done = self.engine.engage(*arguments, **RELEASED)
        assert done.returncode == 0, f"engage {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout


def refused(worker: WorkerProcess) -> None:
    """A worker of the release ends since it cannot read what it finds, and says so."""
    assert worker.wait() == 1
    assert REFUSAL in worker.log.read_text()


def _owns(worker: WorkerProcess, partitions: int) -> bool:
    return worker.ready and worker.metric("engage_partitions_assigned") == partitions


def _since(worker: WorkerProcess, units: float, events: float) -> bool:
    return _metric(worker, "engage_units_total") >= units + UNITS and worker.metric("engage_events_total") > events


def _metric(worker: WorkerProcess, name: str) -> float:
    """A worker that is ending may still say that it is ready."""
    assert worker.running, f"the worker has ended, status {worker.wait()}: {worker.log.read_text()[-3000:]}"
    return worker.metric(name)


HOW = {
    "take-over": Upgrade.take_over,
    "take-over-behind": Upgrade.take_over_behind,
    "roll": Upgrade.roll,
    "return": Upgrade.come_back,
    "roll-back": Upgrade.roll_back,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.kafka.upgrade", description=__doc__.partition("\n")[0])
    parser.add_argument("how", choices=HOW)
    parser.add_argument("--keep", action="store_true", help="keep data and logs of a run without findings too")
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="engage-upgrade-"))
    print(f"in {directory}", flush=True)
    with KafkaBroker(directory / "kafka") as broker, RedisServer(directory / "redis") as store:
        engine = Installation("upgrade", broker.bootstrap, store.url, directory)
        try:
            upgrade = Upgrade(engine, store)
            upgrade.start()
            print(f"{upgrade.load.acknowledged} records produced, the release is at work", flush=True)
            HOW[arguments.how](upgrade)
            print(f"{upgrade.load.acknowledged} records produced, the checkout has taken over", flush=True)
            found = upgrade.end()
        finally:
            engine.end()
    print("  ".join(f"{name} {number}" for name, number in found.counted.items()))
    print(f"{found.lost} lost, {found.doubled} doubled, {len(found.findings)} findings")
    for finding in found.findings:
        print(f"  - {finding}")
    if not found.findings and not arguments.keep:
        shutil.rmtree(directory, ignore_errors=True)
    sys.exit(1 if found.findings else 0)


if __name__ == "__main__":
    main()
