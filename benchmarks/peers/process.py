"""A peer as a process of its own: started, measured, killed.

Enters: a running Kafka whose topic holds the trades. Leaves: what the peer used for them, and its actions.
Holds: a peer reads the topic from its beginning and publishes onto a topic of its own. Those that need other versions
of libraries than Engage run in `.cache/bench`, which `make bench` makes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from benchmarks.backlog import STUCK_S, Servers
from benchmarks.process import BenchmarkError, cpu_s
from benchmarks.sides import Measured
from benchmarks.wire import Action, actions, create_topic
from tests.services.process import CACHE, REPOSITORY, end_with_parent

OWN: Final = Path(sys.executable)
APART: Final = CACHE / "bench" / "bin" / "python"


@dataclass(frozen=True, slots=True)
class Peer:
    name: str
    module: str
    python: Path
    guarantee: str

    @property
    def label(self) -> str:
        """In names of topics."""
        return self.module.rpartition(".")[2].replace("_", "-")


AIOKAFKA: Final = Peer("aiokafka loop", "benchmarks.peers.aiokafka_loop", OWN, "state lost")
BYTEWAX: Final = Peer("Bytewax", "benchmarks.peers.bytewax_flow", APART, "at least once")
QUIX: Final = Peer("Quix Streams", "benchmarks.peers.quix_app", APART, "exactly once")
PEERS: Final = (AIOKAFKA, BYTEWAX, QUIX)


class Process:
    """It runs until it is left, by SIGKILL, or this process ends: a peer says itself when it has done its trades."""

    def __init__(self, module: str, arguments: dict[str, Any], python: Path = OWN, flags: Sequence[str] = ()) -> None:
        self._command = [str(python), "-m", module]
        self._command += [word for name, value in arguments.items() for word in (f"--{name}", str(value))]
        self._command += flags
        self._module = module

    def __enter__(self) -> Self:
        self._said, self._log = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            self._command, cwd=REPOSITORY, stdout=self._said, stderr=self._log, preexec_fn=end_with_parent()
        )
        self.pid = self._process.pid
        return self

    def said(self, key: str) -> dict[str, float]:
        """The line of its figures that has this one, waited for."""
        until = time.monotonic() + STUCK_S
        while True:
            ended = self._process.poll() is not None
            self._said.seek(0)
            for line in self._said:
                if line.startswith("{") and line.endswith("}\n") and key in (words := json.loads(line)):
                    return words  # type: ignore[no-any-return]
            if ended or time.monotonic() > until:
                self._log.seek(0)
                raise BenchmarkError(f"{self._module} ended or took too long:\n{self._log.read()[-2500:]}")
            time.sleep(0.1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._said.close()
        self._log.close()


def used_by_peer(
    trades: int, started: dict[str, float], used: dict[str, float], kafka_cpu_s: float, guarantee: str
) -> Measured:
    """From the two lines that a peer says: when it has started, and when it has done its trades."""
    return Measured(
        events=trades,
        cpu_s=used["cpu_s"],
        wall_s=used["wall_s"],
        start_cpu_s=started["start_cpu_s"],
        kafka_cpu_s=kafka_cpu_s,
        redis_cpu_s=0.0,
        peak_mb=used["peak_mb"],
        guarantee=guarantee,
    )


@contextmanager
def running(peer: Peer, kafka: str, topic: str, actions: str, trades: int, live: bool = False) -> Iterator[Process]:
    """A peer whose topics are there. It ends after so many trades, or goes on with live ones."""
    with tempfile.TemporaryDirectory(prefix="engage-peer-") as directory:
        arguments = {"kafka": kafka, "topic": topic, "actions": actions, "trades": trades, "directory": directory}
        with Process(peer.module, arguments, peer.python, ["--live"] if live else []) as process:
            yield process


def measure(servers: Servers, peer: Peer, topic: str, trades: int) -> tuple[Measured, list[Action]]:
    """All trades that the topic holds."""
    kafka, published = servers.kafka.bootstrap, f"{peer.label}-actions"
    create_topic(kafka, published, servers.partitions)
    with running(peer, kafka, topic, published, trades) as process:
        started, kafka_cpu_s = process.said("start_cpu_s"), cpu_s(servers.kafka.pid)
        used = process.said("cpu_s")
        kafka_cpu_s = cpu_s(servers.kafka.pid) - kafka_cpu_s
    if used["events"] != trades:
        raise BenchmarkError(f"{peer.name} took {used['events']:.0f} of {trades} trades")
    measured = used_by_peer(trades, started, used, kafka_cpu_s, peer.guarantee)
    return measured, actions(kafka, [published], servers.partitions)
