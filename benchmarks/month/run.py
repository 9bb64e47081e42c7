"""The month's job: the engine before and after its peers, each in turn on the same bytes.

Enters: sizes. Leaves: tables, figures, and whether all actions are those of an offline replay.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks import backlog
from benchmarks.backlog import Engine, Servers
from benchmarks.day.job import Record
from benchmarks.month.job import Month, write_rules
from benchmarks.peers.process import PEERS, measure
from benchmarks.sides import Measured, expected, print_table, same_actions
from benchmarks.wire import engine_actions
from tests.services.kafka import KafkaBroker
from tests.services.redis import RedisServer

BEFORE, AFTER = "Engage before", "Engage after"


class Run:
    """The sides so far, on one Kafka and one Redis."""

    def __init__(self, given: argparse.Namespace, servers: Servers, rules: Path) -> None:
        self._given = given
        self._servers = servers
        self._rules = rules
        month = Month(given.clients)
        self._profiles: list[Record] = list(month.profiles())
        self._trades: list[Record] = list(month.trades(given.trades))
        self._wanted = expected(rules, self._profiles, self._trades)
        self.sides: dict[str, Measured] = {}
        self.same = True

    def engine(self, name: str, prefix: str) -> None:
        engine = Engine(self._servers, f"{prefix}month", self._rules, prefix, ("--clock", "event"))
        engine.create_topics()
        backlog.learn_clients(engine, self._profiles)
        self.sides[name], worker = backlog.work_off(engine, self._trades, self._given.profile)
        try:
            worker.stop()
        finally:
            worker.kill()
        actions = engine_actions(self._servers.kafka.bootstrap, prefix, self._servers.partitions)
        self.same &= same_actions(name, actions, self._wanted)

    def peers(self, prefix: str) -> None:
        for peer in PEERS:
            self.sides[peer.name], actions = measure(self._servers, peer, f"{prefix}trades", len(self._trades))
            self.same &= same_actions(peer.name, actions, self._wanted)

    def ratios(self) -> dict[str, dict[str, float]]:
        """Engage / peer, of events per CPU-second; Engage's are the mean of before and after."""
        turns = (self.sides[BEFORE], self.sides[AFTER])
        alone, with_redis = mean(t.events_per_cpu_s for t in turns), mean(t.with_redis for t in turns)
        found = {}
        print("\nEngage / peer, of events per CPU-second (with Redis' CPU):", flush=True)
        for peer in PEERS:
            of_peer = self.sides[peer.name].events_per_cpu_s
            found[peer.name] = {"alone": alone / of_peer, "with_redis": with_redis / of_peer}
            print(f"  {peer.name:<20}{alone / of_peer:6.2f} ({with_redis / of_peer:.2f})", flush=True)
        return found


def run(given: argparse.Namespace, directory: Path) -> tuple[dict[str, Any], bool]:
    rules = write_rules(directory / "rules")
    print(f"A month: {given.trades:,} trades of {given.clients:,} clients, {given.partitions} partitions", flush=True)
    with KafkaBroker(directory / "kafka") as kafka, RedisServer(directory / "redis") as redis:
        ran = Run(given, Servers(kafka, redis, given.partitions), rules)
        ran.engine(BEFORE, "before-")
        ran.peers("before-")
        ran.engine(AFTER, "after-")
    print_table(ran.sides)
    return {"ratios": ran.ratios(), "sides": {name: side.as_dict() for name, side in ran.sides.items()}}, ran.same
