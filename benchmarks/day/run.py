"""The day's job: the engine, and a plain Faust agent on a part of it; then how long a live trade takes.

Enters: sizes. Leaves: tables, figures, and whether the actions are those of an offline replay.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import backlog, latency
from benchmarks.backlog import Engine, Servers
from benchmarks.day.job import Job, write_rules
from benchmarks.peers import rival
from benchmarks.sides import Measured, expected, print_table, same_actions
from benchmarks.wire import ACTION_TOPICS, engine_actions
from tests.services.kafka import KafkaBroker
from tests.services.redis import RedisServer


def run(given: argparse.Namespace, directory: Path) -> tuple[dict[str, Any], bool]:
    rules = write_rules(directory / "rules", given.rules)
    job = Job(given.clients)
    portraits, trades = list(job.portraits()), list(job.trades(given.trades))
    sides: dict[str, Measured] = {}
    same = True
    print(
        f"A day: {given.trades:,} trades of {given.clients:,} clients, {given.partitions} partitions, "
        f"{given.rules} rules",
        flush=True,
    )
    wanted = expected(rules, portraits, trades)
    with KafkaBroker(directory / "kafka") as kafka, RedisServer(directory / "redis") as redis:
        servers = Servers(kafka, redis, given.partitions)
        if given.plain_trades:
            sides["plain Faust"], actions = rival.measure(servers, rules, portraits, trades[: given.plain_trades])
            same &= same_actions("plain Faust", actions, wanted[: given.plain_trades])
        engine = Engine(servers, "day", rules)
        engine.create_topics()
        backlog.learn_clients(engine, portraits)
        sides["Engage"], worker = backlog.work_off(engine, trades, given.profile)
        found: dict[str, Any] = {}
        try:
            same &= same_actions("Engage", engine_actions(kafka.bootstrap, "", given.partitions), wanted)
            print_table(sides)
            if "plain Faust" in sides:
                found["ratio"] = sides["Engage"].events_per_cpu_s / sides["plain Faust"].events_per_cpu_s
                print(f"Engage / plain Faust, of events per CPU-second: {found['ratio']:.1f}", flush=True)
            if given.latency_s:
                print(latency.title(given.rate, given.latency_s), flush=True)
                took = latency.measure(
                    servers, worker.pid, "trades", ACTION_TOPICS, job.trade, given.rate, given.latency_s
                )
                found["latency"] = asdict(took)
                print(took, flush=True)
            worker.stop()
        finally:
            worker.kill()
    return found | {"sides": {name: side.as_dict() for name, side in sides.items()}}, same
