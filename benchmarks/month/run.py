"""The month's job: the engine before and after its peers, each in turn on the same bytes; then live. Where the core is
compiled, its Python sources run beside, before and after, too.

Enters: sizes. Leaves: tables, figures, and whether all actions are those of an offline replay.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks import backlog
from benchmarks.backlog import Engine, Servers
from benchmarks.day.job import Record
from benchmarks.month import history, sizes
from benchmarks.month.job import Month, write_rules
from benchmarks.month.live import Live
from benchmarks.month.sizes import Sizes
from benchmarks.peers import rival
from benchmarks.peers.process import PEERS, measure
from benchmarks.sides import Measured, expected, print_table, same_actions
from benchmarks.wire import engine_actions
from engine.compiled import form
from tests.services.kafka import KafkaBroker
from tests.services.redis import RedisServer

BEFORE, AFTER = "Engage before", "Engage after"
PURE_BEFORE, PURE_AFTER = "pure before", "pure after"  # on the Python sources of the core


class Run:
    """The sides so far, on one Kafka and one Redis."""

    def __init__(self, given: argparse.Namespace, servers: Servers, rules: Path) -> None:
        self._given = given
        self._servers = servers
        self._rules = rules
        month = Month(given.clients)
        self._profiles: list[Record] = list(month.profiles())
        self.trades: list[Record] = list(month.trades(given.trades))
        self._wanted = expected(rules, self._profiles, self.trades)
        self.sides: dict[str, Measured] = {}
        self.same = True

    def plain_faust(self) -> None:
        trades = self.trades[: self._given.plain_trades]
        if trades:
            self.sides["plain Faust"], actions = rival.measure(self._servers, self._rules, self._profiles, trades)
            self.same &= same_actions("plain Faust", actions, self._wanted[: len(trades)])

    def engine(self, name: str, prefix: str, core: str = "") -> Sizes:
        engine = Engine(self._servers, "month", self._rules, prefix, ("--clock", "event"), core)
        with self._servers.redis_client() as store:
            store.flushall()
        redis_bytes = sizes.redis_bytes(engine)
        engine.create_topics()
        backlog.learn_clients(engine, self._profiles)
        ledger_bytes = sizes.ledger_bytes(engine)
        self.sides[name], worker = backlog.work_off(engine, self.trades, self._given.profile)
        try:
            worker.stop()
        finally:
            worker.kill()
        actions = engine_actions(self._servers.kafka.bootstrap, prefix, self._servers.partitions)
        self.same &= same_actions(name, actions, self._wanted)
        return Sizes(
            sizes.state_bytes(engine),
            (sizes.redis_bytes(engine) - redis_bytes) / len(self._profiles),
            (sizes.ledger_bytes(engine) - ledger_bytes) / len(self.trades),
        )

    def peers(self, prefix: str) -> None:
        for peer in PEERS:
            self.sides[peer.name], actions = measure(self._servers, peer, f"{prefix}trades", len(self.trades))
            self.same &= same_actions(peer.name, actions, self._wanted)

    def ratios(self) -> tuple[dict[str, float], history.Row]:
        """Engage / peer, of events per CPU-second; Engage's are the mean of before and after."""
        turns = (self.sides[BEFORE], self.sides[AFTER])
        alone, with_redis = mean(t.events_per_cpu_s for t in turns), mean(t.with_redis for t in turns)
        found = {}
        print("\nEngage / peer, of events per CPU-second (with Redis' CPU):", flush=True)
        for name, side in self.sides.items():
            if side not in turns and name not in (PURE_BEFORE, PURE_AFTER):
                found[name] = alone / side.events_per_cpu_s
                print(f"  {name:<16}{found[name]:8.2f} ({with_redis / side.events_per_cpu_s:.2f})", flush=True)
        if form.RUNNING == form.COMPILED:
            pure = mean(self.sides[name].events_per_cpu_s for name in (PURE_BEFORE, PURE_AFTER))
            print(f"  {'the core pure':<16}{alone / pure:8.2f} (compiled / pure)", flush=True)
        return found, history.Row.of(len(self.trades), len(self._profiles), alone, with_redis, found)


def run(given: argparse.Namespace, directory: Path) -> tuple[dict[str, Any], bool]:
    rules = write_rules(directory / "rules")
    print(f"A month: {given.trades:,} trades of {given.clients:,} clients, {given.partitions} partitions", flush=True)
    with KafkaBroker(directory / "kafka") as kafka, RedisServer(directory / "redis") as redis:
        servers = Servers(kafka, redis, given.partitions)
        ran = Run(given, servers, rules)
        ran.plain_faust()
        pure = form.PURE if form.RUNNING == form.COMPILED else None
        kept = ran.engine(BEFORE, "before-")
        if pure:
            ran.engine(PURE_BEFORE, "pure-before-", pure)
        ran.peers("before-")
        if pure:
            ran.engine(PURE_AFTER, "pure-after-", pure)
        ran.engine(AFTER, "after-")
        print_table(ran.sides)
        ratios, row = ran.ratios()
        print(f"\n{kept}", flush=True)
        live = Live(servers, rules, given.clients, ran.trades)
        took = live.measure(given.rate, given.latency_s) if given.latency_s else {}
    if lost := history.lost_ground(row):
        print(f"\n{lost}", flush=True)
    if given.record and ran.same:
        history.append(row)
    found = {"ratios": ratios, "sides": {name: side.as_dict() for name, side in ran.sides.items()}}
    return found | {"sizes": asdict(kept), "live": {name: asdict(of_side) for name, of_side in took.items()}}, ran.same
