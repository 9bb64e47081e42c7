"""How large an installation has to be: workers, partitions, Redis, ledger, and how long the long jobs take.

Enters: what a firm has (clients, events a day), and what one client and one event cost, as measured: coefficients.json.
Leaves: a Plan, and which part of it reaches its limit first. Holds: pure arithmetic; all costs are given.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

FILE: Final = Path(__file__).with_name("coefficients.json")
BUSY: Final = 0.6  # of a core, at the peak: what is left takes up a worker's loss and the herd at nine
LEAST_WORKERS: Final = 2
PARTITIONS_PER_WORKER: Final = 4  # so that the loss of a worker spreads evenly, and workers can be added
GROWTH: Final = 2  # partitions can never change: they are planned for twice the workers
STEPS: Final = (12, 24, 36, 48, 60, 96, 120, 180, 240, 360, 480, 720, 960, 1_440)  # divided evenly by many numbers
SWEEP_CLIENTS_PER_S: Final = 2_000  # of a worker, at most: SWEEP_CLIENTS there
BACKFILL_CLIENTS: Final = 20_000  # of a partition, in one reading of its history
REDIS_FULL: Final = 0.7  # of a server's memory: the rest is for a rewrite of its file and for replicas that are behind
DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class Coefficients:
    """What one costs. Bytes and microseconds of CPU, of the machine named in `measured`."""

    measured: dict[str, str]  # on which machine, when, by which command
    state_bytes_per_client: float
    redis_bytes_per_client: float
    snapshot_bytes_per_client: float
    ledger_bytes_per_event: float  # nearly each event is another client's
    worker_us_per_event: float  # its timers included
    redis_us_per_event: float
    sweep_us_per_client: float
    restore_us_per_client: float  # of `engage rebuild --snapshot`
    rebuild_us_per_event: float  # of the ledger after the snapshot
    backfill_us_per_event: float

    @classmethod
    def read(cls, file: Path = FILE) -> Self:
        return cls(**json.loads(file.read_text(encoding="utf-8")))


@dataclass(frozen=True, slots=True)
class Firm:
    clients: int
    events_per_day: float
    peak: float = 8.0  # times the day's mean
    event_bytes: float = 250.0
    keep_days: float = 7.0  # of inbound topics, and of the ledger between two trims
    history_days: float = 30.0  # of inbound topics that a backfill reads
    redis_gb: float = 32.0  # memory of one Redis server
    replication: int = 3  # of Kafka's topics


@dataclass(frozen=True, slots=True)
class Plan:
    events_per_s: float  # at the peak
    workers: int
    partitions: int
    redis_gb: float
    redis_shards: int
    redis_busy: float  # of a core of each, at the peak
    inbound_gb: float  # on Kafka's disks, with all copies
    ledger_gb: float
    ledger_gb_per_day: float  # one copy
    snapshot_gb: float
    sweep_s: float  # after a change of rules
    rebuild_s: float  # of an empty Redis, from a snapshot of this morning
    rebuild_from_ledger_s: float  # of `keep_days`
    backfill_s: float
    catch_up_s: float  # after an hour's outage at the peak
    notes: tuple[str, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def plan(firm: Firm, cost: Coefficients) -> Plan:
    peak_s = firm.events_per_day / DAY_S * firm.peak
    workers = max(math.ceil(peak_s * cost.worker_us_per_event / 1e6 / BUSY), LEAST_WORKERS)
    redis_bytes = firm.clients * cost.redis_bytes_per_client
    redis_us_per_s = peak_s * cost.redis_us_per_event
    shards = max(math.ceil(redis_bytes / (firm.redis_gb * 1e9 * REDIS_FULL)), math.ceil(redis_us_per_s / 1e6 / BUSY), 1)
    ledger_per_day = firm.events_per_day * cost.ledger_bytes_per_event
    able_s = workers * 1e6 / cost.worker_us_per_event  # events a second, all workers busy
    partitions = _partitions(max(workers * PARTITIONS_PER_WORKER * GROWTH, shards))
    readings = math.ceil(firm.clients / partitions / BACKFILL_CLIENTS)
    made = Plan(
        events_per_s=peak_s,
        workers=workers,
        partitions=partitions,
        redis_gb=redis_bytes / 1e9,
        redis_shards=shards,
        redis_busy=redis_us_per_s / 1e6 / shards,
        inbound_gb=firm.events_per_day * firm.event_bytes * firm.keep_days * firm.replication / 1e9,
        ledger_gb=ledger_per_day * firm.keep_days * firm.replication / 1e9,
        ledger_gb_per_day=ledger_per_day / 1e9,
        snapshot_gb=firm.clients * cost.snapshot_bytes_per_client / 1e9,
        sweep_s=firm.clients / workers * max(1 / SWEEP_CLIENTS_PER_S, cost.sweep_us_per_client / 1e6),
        rebuild_s=(firm.clients * cost.restore_us_per_client + firm.events_per_day * cost.rebuild_us_per_event) / 1e6,
        rebuild_from_ledger_s=firm.events_per_day * firm.keep_days * cost.rebuild_us_per_event / 1e6,
        backfill_s=firm.events_per_day * firm.history_days * cost.backfill_us_per_event / 1e6 * readings,
        catch_up_s=3_600 * peak_s / (able_s - peak_s),
    )
    return Plan(**{**made.as_dict(), "notes": tuple(_notes(firm, made))})


def _partitions(least: int) -> int:
    return next((step for step in STEPS if step >= least), math.ceil(least / STEPS[-1]) * STEPS[-1])


def _notes(firm: Firm, made: Plan) -> list[str]:
    """Which part reaches its limit first, in the order of what hurts most."""
    notes = []
    if made.redis_shards > 1:
        notes.append(
            f"one Redis server does not do: {made.redis_shards} primaries of a Redis Cluster, each with a replica"
        )
    if made.rebuild_s > 4 * 3_600:
        notes.append(
            f"a rebuild takes {duration(made.rebuild_s)}, since it works off one partition after another: replicas and "
            "Redis's own files are what to rely on"
        )
    if made.backfill_s > 12 * 3_600:
        notes.append(f"a backfill takes {duration(made.backfill_s)}: declare features before they are needed")
    if made.ledger_gb_per_day > 500:
        notes.append(f"the ledger grows by {made.ledger_gb_per_day:,.0f} GB a day: trim it daily, after a snapshot")
    if made.partitions / made.workers > 40:
        notes.append("more than 40 partitions a worker: a worker polls Kafka for each, even when it is idle")
    if made.catch_up_s > 4 * 3_600:
        notes.append(
            f"after an hour's outage at the peak it takes {duration(made.catch_up_s)} to catch up: add workers"
        )
    if firm.clients / made.partitions > 2_000_000:
        notes.append("more than 2 million clients a partition: a start looks through many keys when some are lost")
    return notes


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5_400 else f"{seconds / 3_600:.1f} h"


def lines(made: Plan, cost: Coefficients) -> list[str]:
    """The plan as text."""
    rows = [
        ("events a second at the peak", f"{made.events_per_s:,.0f}"),
        ("workers", f"{made.workers}, a core and 500 MB each"),
        ("partitions", f"{made.partitions}, never to be changed"),
        ("Redis", f"{made.redis_gb:,.1f} GB on {made.redis_shards}, each busy at {made.redis_busy:.0%} of a core"),
        ("inbound topics", f"{made.inbound_gb:,.0f} GB with all copies"),
        ("ledger", f"{made.ledger_gb:,.0f} GB with all copies, {made.ledger_gb_per_day:,.1f} GB more a day"),
        ("snapshot", f"{made.snapshot_gb:,.1f} GB"),
        ("sweep after new rules", duration(made.sweep_s)),
        (
            "rebuild of Redis",
            f"{duration(made.rebuild_s)} from a snapshot and a day, "
            f"{duration(made.rebuild_from_ledger_s)} from the ledger",
        ),
        ("backfill of a feature", duration(made.backfill_s)),
        ("after an hour's outage", f"{duration(made.catch_up_s)} to catch up"),
    ]
    measured = cost.measured
    told = [f"{name:<30}{value}" for name, value in rows] + [f"! {note}" for note in made.notes]
    return [*told, f"measured on {measured['machine']}, {measured['date']}, by `{measured['command']}`"]
