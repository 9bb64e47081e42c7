"""`make bench`: the engine beside a plain Faust agent, on a real Kafka and a real Valkey started for it; then what
many rules cost.

Enters: sizes of the job. Leaves: tables, and benchmarks/results/latest.json; exit status 1 when actions are not
exactly those that an offline replay of the same trades gives, or many rules cost more than they may.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import backlog, latency, rival
from benchmarks import rules as many_rules
from benchmarks.backlog import Measured, Servers
from benchmarks.job import Job, Record, write_rules
from benchmarks.process import BenchmarkError
from benchmarks.wire import action_ids
from engine.core.plan.compile import compile_rule_set
from engine.operations.replay import Replayed, replay_records
from engine.runtime.protocol.records import Inbound
from engine.runtime.rule_sets.archive import load_directory
from tests.services.kafka import KafkaBroker
from tests.services.process import ServiceError
from tests.services.redis import RedisServer

RESULTS = Path(__file__).with_name("results") / "latest.json"


def expected_ids(rules: Path, portraits: Sequence[Record], trades: Sequence[Record]) -> list[list[str]]:
    """What an offline replay decides: the ids of the actions of each trade."""
    plan = compile_rule_set(load_directory(rules))
    ids: list[list[str]] = [[] for _ in trades]
    numbers = {f"T{number}": number for number in range(len(trades))}
    records = (Inbound(r.topic, 0, number, r.time_ms, r.key, r.value) for number, r in enumerate([*portraits, *trades]))
    for message in replay_records(plan, records, Replayed()):
        if message.topic != "tier-changes":
            action = json.loads(message.value or b"")
            ids[numbers[action["cause"]["event_id"]]].append(action["id"])
    return ids


def _compare(who: str, published: list[str], expected: list[list[str]]) -> bool:
    wanted = [id_ for ids in expected for id_ in ids]
    same = sorted(published) == sorted(wanted)
    share = f"{len(wanted) / len(expected):.1%} of the trades"
    word = "the same" if same else "NOT THE SAME"
    print(f"{who}: {len(published)} actions, {len(wanted)} expected ({share}): {word}", flush=True)
    return same


def _table(sides: dict[str, Measured]) -> None:
    rows: list[tuple[str, Any]] = [
        ("events", lambda m: f"{m.events:,}"),
        ("guarantee", lambda m: m.guarantee.replace("_", " ")),
        ("CPU seconds", lambda m: f"{m.cpu_s:.2f}"),
        ("events per CPU-second", lambda m: f"{m.events_per_cpu_s:,.0f}"),
        ("wall seconds", lambda m: f"{m.wall_s:.1f}"),
        ("events per second", lambda m: f"{m.events / m.wall_s:,.0f}"),
        ("CPU seconds to start", lambda m: f"{m.start_cpu_s:.2f}"),
        ("Kafka's CPU seconds", lambda m: f"{m.kafka_cpu_s:.2f}"),
        ("Redis' CPU seconds", lambda m: f"{m.redis_cpu_s:.2f}"),
        ("peak memory, MB", lambda m: f"{m.peak_mb:.0f}"),
        ("actions published", lambda m: f"{m.actions:,}"),
    ]
    print("\n" + " " * 24 + "".join(f"{name:>16}" for name in sides))
    for title, shown in rows:
        print(f"{title:<24}" + "".join(f"{shown(side):>16}" for side in sides.values()))


def run(given: argparse.Namespace, directory: Path) -> int:
    rules = write_rules(directory / "rules", given.rules)
    job = Job(given.clients)
    portraits, trades = list(job.portraits()), list(job.trades(given.trades))
    result: dict[str, Any] = {"job": {k: v for k, v in vars(given).items() if k != "profile"}}
    sides: dict[str, Measured] = {}
    same = True
    print(
        f"{given.trades:,} trades of {given.clients:,} clients, {given.partitions} partitions, {given.rules} rules",
        flush=True,
    )
    expected = expected_ids(rules, portraits, trades)
    with KafkaBroker(directory / "kafka") as kafka, RedisServer(directory / "redis") as redis:
        servers = Servers(kafka, redis, given.partitions)
        if given.plain_trades:
            measured, ids = rival.measure(servers, rules, portraits, trades[: given.plain_trades])
            sides["plain Faust"] = measured
            same &= _compare("plain Faust", ids, expected[: given.plain_trades])
        servers.create_topics()
        backlog.learn_clients(servers, rules, portraits)
        sides["engage"], worker = backlog.work_off(servers, rules, trades, given.profile)
        try:
            same &= _compare("engage", action_ids(kafka.bootstrap, "", given.partitions), expected)
            _table(sides)
            if "plain Faust" in sides:
                ratio = sides["engage"].events_per_cpu_s / sides["plain Faust"].events_per_cpu_s
                result["ratio"] = ratio
                print(f"{'ratio':<24}{'':>16}{ratio:>15.1f}x", flush=True)
            if given.latency_s:
                took = latency.measure(servers, job, given.rate, given.latency_s)
                result["latency"] = asdict(took)
                print(
                    f"\nfrom produce to a read_committed consumer, {took.rate_per_s:,} trades a second for "
                    f"{took.seconds:.0f} s (the first {latency.WARM_UP_S:.0f} s left out), {took.actions} actions:\n"
                    f"p50 {took.p50_ms:.1f} ms  p95 {took.p95_ms:.1f} ms  p99 {took.p99_ms:.1f} ms  "
                    f"max {took.max_ms:.1f} ms  (the schedule was at most {took.late_ms:.1f} ms late)"
                )
            worker.stop()
        finally:
            worker.kill()
    result["rules"], within = many_rules.report()
    result |= {"sides": {name: side.as_dict() for name, side in sides.items()}, "same_actions": same}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    return 0 if same and within else 1


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trades", type=int, default=500_000)
    parser.add_argument("--plain-trades", type=int, default=40_000, help="for plain Faust; 0 leaves it out")
    parser.add_argument("--clients", type=int, default=20_000)
    parser.add_argument("--rules", type=int, default=100)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--latency-s", type=float, default=60.0, help="0 leaves the latency out")
    parser.add_argument("--rate", type=int, default=1_000, help="trades a second for the latency")
    parser.add_argument("--profile", action="store_true", help="show where the worker's time goes (needs py-spy)")
    given = parser.parse_args()
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="engage-bench-") as directory:
            status = run(given, Path(directory))
    except (BenchmarkError, ServiceError) as error:
        sys.exit(str(error))
    print(f"took {time.monotonic() - began:.0f} s; figures in {RESULTS}")
    sys.exit(status)


if __name__ == "__main__":
    main()
