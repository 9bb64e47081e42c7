"""Runs the plain Faust agent on its share of the day's job.

Enters: a running Kafka, the job's records. Leaves: what the agent used for the trades, and its actions.
Holds: exactly once when this version of Faust gets through with it, at least once otherwise, which flatters it; the
result says which.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.backlog import Engine, Servers
from benchmarks.day.job import Record
from benchmarks.peers.process import Process, used_by_peer
from benchmarks.process import BenchmarkError, cpu_s
from benchmarks.sides import Measured
from benchmarks.wire import Action, engine_actions, produce


def measure(
    servers: Servers, rules: Path, portraits: Sequence[Record], trades: Sequence[Record]
) -> tuple[Measured, list[Action]]:
    """The portraits of those clients who trade, then the trades."""
    trading = {record.key for record in trades}
    portraits = [record for record in portraits if record.key in trading]
    try:
        return _measure(servers, rules, portraits, trades, "exactly_once")
    except BenchmarkError as error:
        print(
            f"plain Faust failed with exactly_once, so it is measured with at_least_once, which flatters it:\n{error}"
        )
        return _measure(servers, rules, portraits, trades, "at_least_once")


def _measure(
    servers: Servers, rules: Path, portraits: Sequence[Record], trades: Sequence[Record], guarantee: str
) -> tuple[Measured, list[Action]]:
    kafka, prefix = servers.kafka.bootstrap, f"{guarantee.replace('_', '-')}-"
    Engine(servers, "plain-faust", rules, prefix).create_topics()
    produce(kafka, prefix, portraits)
    arguments = {"kafka": kafka, "prefix": prefix, "rules": rules, "guarantee": guarantee}
    numbers = {"portraits": len(portraits), "trades": len(trades)}
    with Process("benchmarks.peers.plain_faust", {**arguments, **numbers}) as agent:
        started = agent.said("start_cpu_s")
        kafka_cpu_s = cpu_s(servers.kafka.pid)
        produce(kafka, prefix, trades)
        used = agent.said("cpu_s")
        kafka_cpu_s = cpu_s(servers.kafka.pid) - kafka_cpu_s
    measured = used_by_peer(len(trades), started, used, kafka_cpu_s, guarantee.replace("_", " "))
    return measured, engine_actions(kafka, prefix, servers.partitions)
