"""The arithmetic of `engage capacity`, with costs that are easy to reckon with."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from engine.cli.main import main
from engine.operations.capacity import Coefficients, Firm, Plan, duration, lines, plan

COST = Coefficients(
    measured={"machine": "a slide rule", "date": "2026-11-28", "command": "none"},
    state_bytes_per_client=500.0,
    redis_bytes_per_client=1_000.0,
    snapshot_bytes_per_client=600.0,
    ledger_bytes_per_event=700.0,
    worker_us_per_event=100.0,
    redis_us_per_event=10.0,
    sweep_us_per_client=100.0,
    restore_us_per_client=20.0,
    rebuild_us_per_event=30.0,
    backfill_us_per_event=50.0,
)
FIRM = Firm(clients=1_000_000, events_per_day=86_400_000, peak=6.0)  # 1,000 a second, 6,000 at the peak


def row(name: str, firm: Firm = FIRM, cost: Coefficients = COST) -> float:
    return float(getattr(plan(firm, cost), name))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("events_per_s", 6_000),
        ("workers", 2),  # 0.6 of a core needs one
        ("partitions", 24),  # 4 for each of twice as many workers are 16
        ("redis_gb", 1.0),
        ("redis_shards", 1),
        ("redis_busy", 0.06),
        ("inbound_gb", 86.4 * 0.25 * 7 * 3),
        ("ledger_gb", 86.4 * 0.7 * 7 * 3),
        ("ledger_gb_per_day", 86.4 * 0.7),
        ("snapshot_gb", 0.6),
        ("sweep_s", 1_000_000 / 2 / 2_000),
        ("rebuild_s", 20 + 86.4 * 30),
        ("rebuild_from_ledger_s", 86.4 * 7 * 30),
        ("backfill_s", 86.4 * 30 * 50 * 3),  # 41,667 clients a partition are three readings
        ("catch_up_s", 3_600 * 6_000 / (20_000 - 6_000)),
    ],
)
def test_each_figure(name: str, value: float) -> None:
    assert row(name) == pytest.approx(value)


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        ({"peak": 12.0}, "workers", 2),
        ({"peak": 12.1}, "workers", 3),  # 60% of two cores is full
        ({"peak": 60.0}, "workers", 10),
        ({"peak": 60.0}, "partitions", 96),
        ({"peak": 600.0}, "workers", 100),
        ({"peak": 600.0}, "partitions", 960),
        ({"peak": 6_000.0}, "partitions", 8_640),  # a multiple of the largest step
        ({"clients": 22_400_000}, "redis_shards", 1),  # 70% of 32 GB
        ({"clients": 22_500_000}, "redis_shards", 2),
        ({"clients": 22_500_000, "redis_gb": 64.0}, "redis_shards", 1),
        ({"peak": 100.0}, "redis_shards", 2),  # a core of Redis, at most 60% busy
        ({"replication": 1}, "ledger_gb", 86.4 * 0.7 * 7),
        ({"keep_days": 1.0}, "inbound_gb", 86.4 * 0.25 * 3),
        ({"event_bytes": 500.0}, "inbound_gb", 86.4 * 0.5 * 7 * 3),
        ({"history_days": 60.0}, "backfill_s", 86.4 * 60 * 50 * 3),
        ({"clients": 480_000}, "backfill_s", 86.4 * 30 * 50),
    ],
)
def test_what_depends_on_what(given: dict[str, float], name: str, value: float) -> None:
    assert row(name, replace(FIRM, **given)) == pytest.approx(value)  # type: ignore[arg-type]


def test_a_sweep_is_paced_until_it_is_dear() -> None:
    assert row("sweep_s", cost=replace(COST, sweep_us_per_client=1_000.0)) == 1_000_000 / 2 / 1_000


@pytest.mark.parametrize("cost", [COST, replace(COST, worker_us_per_event=160.0), Coefficients.read()])
@pytest.mark.parametrize("peak", [1.0, 8.0, 100.0, 5_000.0])
def test_there_is_room_at_the_peak(peak: float, cost: Coefficients) -> None:
    made = plan(replace(FIRM, peak=peak), cost)
    assert made.events_per_s * cost.worker_us_per_event / 1e6 <= 0.6 * made.workers
    assert made.redis_busy <= 0.6
    assert made.partitions >= 4 * made.workers
    assert 0 < made.catch_up_s < 6_000  # with 60% at most, less than 1.5 times the outage


def test_what_gives_out_first_is_said() -> None:
    assert plan(replace(FIRM, clients=100_000, events_per_day=1_000_000), COST).notes == ()
    huge = plan(Firm(20_000_000, 1_080_000_000), COST)
    assert [note for note in huge.notes if "Redis Cluster" in note]
    assert [note for note in huge.notes if "backfill" in note]
    assert [note for note in huge.notes if "rebuild" in note]


def test_the_command_prints_the_plan() -> None:
    given = ["capacity", "--clients", "2000000", "--events-per-day", "20000000"]
    text = CliRunner().invoke(main, given)
    assert text.exit_code == 0, text.output
    expected = plan(Firm(2_000_000, 20_000_000), Coefficients.read())
    assert text.output.splitlines() == lines(expected, Coefficients.read())
    found = json.loads(CliRunner().invoke(main, [*given, "--json"]).output)
    assert Plan(**{**found["plan"], "notes": tuple(found["plan"]["notes"])}) == expected
    assert found["firm"]["clients"] == 2_000_000
    assert found["coefficients"]["measured"]["command"]


@pytest.mark.parametrize("odd", [["--clients", "0"], ["--clients", "many"], ["--peak", "nan"], ["--redis-gb", "0"]])
def test_odd_values_are_refused(odd: list[str]) -> None:
    given = ["capacity", "--clients", "10", "--events-per-day", "10", *odd]
    assert CliRunner().invoke(main, given).exit_code == 2


def test_measured_costs_say_where_they_come_from() -> None:
    measured = Coefficients.read().measured
    assert measured.keys() >= {"machine", "python", "date", "command", "job"}
    assert all(measured.values())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3, "3 s"), (89, "89 s"), (90, "2 min"), (600, "10 min"), (5_400, "1.5 h"), (90_000, "25.0 h")],
)
def test_durations_are_read_at_a_glance(seconds: float, text: str) -> None:
    assert duration(seconds) == text
