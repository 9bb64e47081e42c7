"""The parts of a worker, each by itself: the way through Faust, what it waits for, its health, its watchdog."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from engine.runtime.app import faust_app
from engine.runtime.errors import Surprised
from engine.runtime.observe.metrics import Metrics
from engine.runtime.settings import Settings
from engine.runtime.worker import event_loop
from engine.runtime.worker.delivery import Delivery
from engine.runtime.worker.event_loop import EXIT_HUNG, Watchdog
from engine.runtime.worker.health import Health
from engine.runtime.worker.waiting import Waiting
from tests.services.process import free_port
from tests.simulation.faust import SimApp

# -- the way through Faust ----------------------------------------------------------------------------


class Place:
    """A partition that takes batches, fails at some, and waits at others."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.go_on = asyncio.Event()

    async def take(self, batch: Any, decided_ms: int) -> None:
        assert decided_ms == 7
        if isinstance(batch, Exception):
            raise batch
        if batch == "slow":
            await self.go_on.wait()
        self.taken.append(batch)


@pytest.fixture(params=["simulated", "faust"])
async def delivery(request: pytest.FixtureRequest):
    app: Any = SimApp() if request.param == "simulated" else faust_app(Settings(web_port=free_port()))
    made = Delivery(app, 1)
    await app.start()
    app.flow_control.resume()
    yield made
    await app.stop()


async def test_a_batch_is_taken_once_it_was_delivered(delivery: Delivery) -> None:
    place: Any = Place()
    for batch in range(3):
        await delivery.deliver(place, batch, 7)
        assert place.taken == list(range(batch + 1))


@pytest.mark.parametrize("fault", [Surprised("moved"), ValueError("a fault of ours"), TimeoutError()])
async def test_what_goes_wrong_is_raised_where_it_was_delivered_and_the_agent_goes_on(
    delivery: Delivery, fault: Exception
) -> None:
    place: Any = Place()
    with pytest.raises(type(fault)):
        await delivery.deliver(place, fault, 7)
    await delivery.deliver(place, "next", 7)
    assert place.taken == ["next"]


async def test_an_actor_outlives_whoever_no_longer_waits(delivery: Delivery) -> None:
    place: Any = Place()
    waiting = asyncio.create_task(delivery.deliver(place, "slow", 7))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    place.go_on.set()
    await delivery.deliver(place, "next", 7)
    assert place.taken[-1] == "next"


async def test_what_the_app_opened_goes_with_the_app() -> None:
    app = faust_app(Settings(web_port=free_port()))
    directory = Path(app.conf.datadir)
    assert directory.is_dir()
    await app.start()
    loop = app.consumer._thread.thread_loop
    await app.stop()
    assert not directory.exists()
    assert loop.is_closed()  # Faust makes it, and would leave it to the garbage collector


# -- health -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("joined", "away", "running", "trouble", "state", "reasons"),
    [
        (True, (), (True, True), None, "green", []),
        (True, (), (), None, "green", []),  # a spare
        (False, (), (), None, "red", ["has no assignment from its group yet"]),
        (True, ("kafka",), (True,), None, "red", ["kafka is away"]),
        (
            True,
            ("redis", "kafka"),
            (False,),
            None,
            "red",
            ["kafka is away", "redis is away", "partition 0 is not running"],
        ),
        (True, (), (True, False), None, "red", ["partition 1 is not running"]),
        (True, (), (True,), "a bad set", "amber", []),
        (True, (), (False,), "a bad set", "red", ["partition 0 is not running"]),
    ],
)
async def test_health(
    joined: bool, away: Any, running: Any, trouble: str | None, state: str, reasons: list[str]
) -> None:
    waiting = Waiting(Metrics(CollectorRegistry()))
    for system in away:
        waiting.begin(system, f"who waits for {system}", "refused")
    runners = [
        SimpleNamespace(number=number, ready=ready, trouble=None, warnings=[], tallies={"A": 3, "stage:new": 3})
        for number, ready in enumerate(running)
    ]
    partitions: Any = SimpleNamespace(joined=joined, runners=lambda: runners)
    rule_sets: Any = SimpleNamespace(trouble=trouble, in_words=lambda: {}, warnings=list, fillable=frozenset())
    report = Health(waiting, partitions, rule_sets).report()
    assert (report["state"], report["reasons"], report["ready"]) == (state, reasons, not reasons)
    assert report["rule_set_stale"] is (trouble is not None)
    assert report["warnings"] == ([trouble] if trouble else [])


def test_whatever_somebody_has_to_act_on_makes_it_amber() -> None:
    tallies = {"A": 3, "unknown:last_symbol": 2, "unknown:gone": 1}
    runners = [
        SimpleNamespace(number=0, ready=True, trouble=None, warnings=["held"], tallies=tallies),
        SimpleNamespace(number=1, ready=True, trouble=None, warnings=[], tallies={**tallies, "unknown:largest_cny": 4}),
    ]
    partitions: Any = SimpleNamespace(joined=True, runners=lambda: runners)
    rule_sets: Any = SimpleNamespace(trouble="a bad set", in_words=lambda: {}, warnings=lambda: ["a list ends"])
    rule_sets.fillable = frozenset({"last_symbol", "largest_cny", "well_known"})
    eviction: Any = SimpleNamespace(warning="evicts")
    report = Health(Waiting(Metrics(CollectorRegistry())), partitions, rule_sets, eviction).report()
    assert (report["state"], report["ready"], report["warnings"]) == (
        "amber",
        True,
        [
            "a bad set",
            "a list ends",
            "corrections left values unknown: largest_cny (4 clients), last_symbol (4 clients): run `engage backfill "
            "largest_cny last_symbol`",
            "evicts",
            "held",
        ],
    )


# -- the watchdog -------------------------------------------------------------------------------------


class Ended(Exception):
    """In place of the process's end."""


async def test_an_event_loop_that_hangs_ends_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []

    def end(code: int) -> None:
        codes.append(code)
        raise Ended

    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setattr(event_loop, "LOOK_S", 0.001)
    with pytest.raises(Ended):
        Watchdog(0.0).watch()  # here, so that the loop does hang
    assert codes == [EXIT_HUNG]


async def test_an_event_loop_that_turns_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_loop, "BEAT_S", 0.0)
    watchdog = Watchdog(1.0)
    watchdog._beat_at -= 1_000  # it would be over
    beating = asyncio.create_task(watchdog.beat())
    await asyncio.sleep(0)
    assert asyncio.get_running_loop().time() - watchdog._beat_at < 500
    beating.cancel()
