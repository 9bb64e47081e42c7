"""The month's job in its live form: trades at a fixed rate for a worker that has the last days of the month behind it.

Enters: a running Kafka and Redis, the trades of those days. Leaves: how long a trade takes to its action, by side.
Holds: each side runs alone, on topics of its own, with the same trades.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import backlog, latency
from benchmarks.backlog import Engine, Servers
from benchmarks.day.job import Record
from benchmarks.latency import Latency
from benchmarks.month.job import Month
from benchmarks.peers.process import PEERS, Peer, running
from benchmarks.wire import ACTION_TOPICS, create_topic, produce

BEHIND = 100_000  # trades; in the whole job, those of six days


class Live:
    def __init__(self, servers: Servers, rules: Path, clients: int, trades: Sequence[Record]) -> None:
        self._servers = servers
        self._rules = rules
        self._clients = clients
        self._trades = trades[-BEHIND:]

    def measure(self, rate_per_s: int, seconds: float) -> dict[str, Latency]:
        print(latency.title(rate_per_s, seconds), flush=True)
        found = {}
        for name, side in {"Engage": self._engine(), **{peer.name: self._peer(peer) for peer in PEERS}}.items():
            with side as (pid, topic, actions):
                month = Month(self._clients)
                found[name] = latency.measure(self._servers, pid, topic, actions, month.trade, rate_per_s, seconds)
            print(f"  {name:<16}{found[name]}", flush=True)
        return found

    @contextmanager
    def _engine(self) -> Iterator[tuple[int, str, list[str]]]:
        """Its time is the wall clock's, as live."""
        engine = Engine(self._servers, "live", self._rules, "live-")
        engine.create_topics()
        backlog.learn_clients(engine, list(Month(self._clients).profiles()))
        _, worker = backlog.work_off(engine, self._trades)
        try:
            yield worker.pid, "live-trades", [f"live-{topic}" for topic in ACTION_TOPICS]
            worker.stop()
        finally:
            worker.kill()

    @contextmanager
    def _peer(self, peer: Peer) -> Iterator[tuple[int, str, list[str]]]:
        kafka, topic, actions = self._servers.kafka.bootstrap, f"live-{peer.label}-trades", f"live-{peer.label}-actions"
        for name in (topic, actions):
            create_topic(kafka, name, self._servers.partitions)
        produce(kafka, f"live-{peer.label}-", self._trades)
        with running(peer, kafka, topic, actions, len(self._trades), live=True) as process:
            process.said("caught_up")
            yield process.pid, topic, [actions]
