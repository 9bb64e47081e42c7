"""What a worker waits for: a wait is one of the whole worker, and its lines in the log are few."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from engine.runtime.observe.metrics import Metrics
from engine.runtime.worker.waiting import LINES_AT_ONCE, SYSTEMS, UPGRADE, Waiting
from tests.simulation.loop import SimLoop

TRY_S = 2.0


class Worker:
    """As much of a worker as waits, in virtual time."""

    def __init__(self) -> None:
        self.metrics = Metrics(CollectorRegistry())
        self.waiting = Waiting(self.metrics)

    def gauges(self) -> dict[str, float | None]:
        value = self.metrics.registry.get_sample_value
        return {system: value("engage_waiting", {"system": system}) for system in SYSTEMS}

    async def outage(self, what: str, who: range | list[str], seconds: float) -> None:
        """Each tries every two seconds; then all go on, one after another."""
        now = asyncio.get_running_loop().time
        until = now() + seconds
        while now() < until:
            for each in who:
                self.waiting.begin(what, each, "refused")
            await asyncio.sleep(TRY_S)
        for each in who:
            await asyncio.sleep(0.01)
            self.waiting.end(each)


def lines(what_happens: Callable[[Worker], Awaitable[None]]) -> list[dict[str, Any]]:
    """The log of a worker to which this happens, with a quiet ten minutes after."""

    async def life() -> None:
        await what_happens(Worker())
        await asyncio.sleep(600)

    with capture_logs() as entries:
        SimLoop(Random(1)).run(life(), 10_000, 1_000_000)
    return [dict(entry) for entry in entries]


@pytest.mark.parametrize(
    ("what", "who", "seconds", "events"),
    [
        ("redis", range(12), 30, ["waiting", "no longer waiting"]),
        ("kafka", range(64), 590, ["waiting", *["still waiting"] * 9, "no longer waiting"]),
        ("redis", range(1), 1, ["waiting", "no longer waiting"]),
        ("kafka", ["start"], 150, ["waiting", *["still waiting"] * 2, "no longer waiting"]),
        (
            UPGRADE,
            range(64),
            100,
            [
                "waiting for this worker's upgrade",
                "still waiting for this worker's upgrade",
                "no longer waiting for this worker's upgrade",
            ],
        ),
    ],
)
def test_a_line_when_it_begins_one_a_minute_and_one_when_it_is_over(
    what: str, who: Any, seconds: float, events: list[str]
) -> None:
    found = lines(lambda worker: worker.outage(what, who, seconds))
    assert [entry["event"] for entry in found] == events
    assert {entry.get("system") for entry in found} == {what if what in SYSTEMS else None}
    for entry in found[1:-1]:
        assert entry["partitions"] == (len(who) if isinstance(who, range) else 0)
        assert entry["tries"] == pytest.approx(30 * len(who), abs=len(who))
    assert found[-1]["for_s"] == pytest.approx(seconds, abs=3)


def test_a_system_that_comes_and_goes_writes_a_few_lines_a_minute() -> None:
    async def flapping(worker: Worker) -> None:
        for _ in range(200):
            await worker.outage("redis", range(12), 1)
            await asyncio.sleep(1)

    found = lines(flapping)
    assert len(found) <= (LINES_AT_ONCE + 1) * (200 * 3.2 / 60 + 1)
    assert sum(entry.get("times", 1) for entry in found if "times" in entry or entry["event"] == "waiting") >= 190
    assert found[-1]["event"] == "no longer waiting"


def test_an_outage_right_after_many_is_said_within_the_minute() -> None:
    async def in_the_end_away(worker: Worker) -> None:
        for _ in range(20):
            await worker.outage("kafka", range(3), 1)
        await worker.outage("kafka", range(3), 200)

    events = [entry["event"] for entry in lines(in_the_end_away)]
    assert events[-4:-1] == ["still waiting"] * 3
    assert events[-1] == "no longer waiting"


def test_it_is_over_when_nobody_waits_any_more() -> None:
    async def one_by_one(worker: Worker) -> None:
        waiting = worker.waiting
        for number in range(3):
            waiting.begin("redis", number, "refused")
        waiting.begin("kafka", "worker", "refused")
        waiting.end(0)
        waiting.end("worker", "kafka")
        assert (waiting.systems, worker.gauges()) == (["redis"], {"kafka": 0, "redis": 1})
        waiting.begin("kafka", 1, "timed out")  # Redis answered it, so it no longer waits for that
        assert (waiting.systems, worker.gauges()) == (["kafka", "redis"], {"kafka": 1, "redis": 1})
        waiting.end(2)
        assert (waiting.systems, worker.gauges()) == (["kafka"], {"kafka": 1, "redis": 0})
        waiting.end(1)
        assert (waiting.systems, worker.gauges()) == ([], {"kafka": 0, "redis": 0})

    lines(one_by_one)
