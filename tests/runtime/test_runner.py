"""The life of a partition in a worker: what a newer engine wrote is waited for, and health says so."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from engine.core.contract.topics import intake_topics
from engine.runtime.errors import Newer, Surprised, Unavailable
from engine.runtime.observe.metrics import Metrics
from engine.runtime.protocol.intake import Batch, Held, Merger
from engine.runtime.protocol.partition import Partition
from engine.runtime.settings import load
from engine.runtime.worker.health import Health
from engine.runtime.worker.runner import Runner, Turns
from engine.runtime.worker.waiting import Waiting
from tests.core.making import at
from tests.runtime.driving import HELLO, Bench, Topics, logins, next_batch
from tests.versions import too_new


class TopicsAtHand:
    """An Intake whose records have all come."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._offsets: dict[str, int] = {}
        self.merger = Merger(dict.fromkeys(intake_topics(), 0))
        self.caught_up = True

    async def start(self, offsets: dict[str, int]) -> dict[str, int]:
        self._offsets = dict(offsets)
        return dict(offsets)

    async def next(self, wait_s: float) -> Batch | None:
        await asyncio.sleep(0)
        batch = next_batch(self._topics, self._offsets, 10)
        if batch is not None:
            self._offsets |= {topic: end for topic, (_, end) in batch.ranges.items()}
        return batch

    def readable_ms(self, now_ms: int) -> int:
        return now_ms

    def held(self) -> list[Held]:
        return []

    async def stop(self) -> None: ...


class OfAWorker:
    """As health asks a worker's partitions and rules."""

    joined = True
    trouble = None

    def __init__(self, runners: list[Runner]) -> None:
        self._runners = runners

    def runners(self) -> list[Runner]:
        return self._runners

    def in_words(self) -> dict[str, str]:
        return {}

    def warnings(self) -> list[str]:
        return []


async def nothing() -> None: ...


def runner_of(bench: Bench, topics: Topics) -> Runner:
    async def deliver(partition: Partition, batch: Batch, decided_ms: int) -> None:
        await partition.take(batch, decided_ms)

    metrics = Metrics(CollectorRegistry())
    return Runner(
        bench.worker(), TopicsAtHand(topics), load(unit_age_s=0.05), metrics, Waiting(metrics), stop_log=nothing,
        deliver=deliver, turns=Turns(asyncio.Semaphore(8), asyncio.Semaphore(8)), sweep_clients=10, check=nothing,
        fenced=lambda: None, wall_ms=lambda: at(99),
    )  # fmt: skip


async def test_what_a_newer_engine_wrote_is_waited_for(monkeypatch: pytest.MonkeyPatch):
    pauses: list[float] = []
    gone_on = asyncio.Event()

    async def sleep(self: Any, seconds: float) -> None:
        pauses.append(seconds)
        await (gone_on.wait() if len(pauses) == 12 else asyncio.sleep(0))

    monkeypatch.setattr(Runner, "_sleep", sleep)
    mine, newers = Bench(HELLO), Bench(HELLO)
    topics = logins(30)
    with too_new():
        newer = await newers.started()
        first = next_batch(topics, {}, 10)
        assert first is not None
        await newer.take(first)
        await newer.commit("age")
    before = newers.ledger.units()
    runners = [runner_of(mine, topics), runner_of(newers, topics)]
    tasks = [asyncio.ensure_future(runner.run()) for runner in runners]
    while len(pauses) < 12 or not mine.data.applied or mine.data.applied[-1][0].count(b'"logins":30') == 0:
        await asyncio.sleep(0.01)
    assert [runner.ready for runner in runners] == [True, False]
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert pauses[-2:] == [30.0, 30.0]
    worker: Any = OfAWorker(runners)
    report = Health(runners[0]._waiting, worker, worker).report()
    assert report["state"] == "red"
    assert report["reasons"] == [
        "partition 7 is not running: a partition's position was written by a newer Engage (format 3, this one reads up "
        "to 2): upgrade this worker"
    ]
    assert newers.ledger.units() == before
    with too_new():  # as after the upgrade
        gone_on.set()
        while not runners[1].ready:
            await asyncio.sleep(0.01)
        assert runners[1].trouble is None
        for runner in runners:
            runner.stop()
        await asyncio.gather(*tasks)
    assert len(newers.ledger.units()) > len(before)


def always(error: Exception) -> Any:
    async def fails(*_: Any, **__: Any) -> Any:
        raise error

    return fails


@pytest.mark.parametrize(
    ("method", "error", "quiet"),
    [
        ("take", Newer("the state of client c1 is of a newer Engage: upgrade this worker"), False),
        ("tick", Newer("the state of client c1 is of a newer Engage: upgrade this worker"), True),
        ("sweep", Newer("the state of client c1 is of a newer Engage: upgrade this worker"), True),
        ("take", Unavailable("redis", "no answer"), False),
        ("commit", Unavailable("kafka", "not enough replicas in sync"), False),
        ("tick", Unavailable("redis", "no answer"), True),
        ("commit", Surprised("Redis stands elsewhere"), False),
        ("take", Surprised("a batch does not begin where the partition stands"), False),
    ],
)
async def test_what_can_start_but_not_go_on_is_at_no_moment_ready(
    monkeypatch: pytest.MonkeyPatch, method: str, error: Exception, quiet: bool
):
    """Health is asked at every turn of the event loop while the partition starts and fails, again and again."""
    monkeypatch.setattr("engine.runtime.worker.runner.TICK_S", 0.0)
    tries = 0

    async def sleep(self: Any, seconds: float) -> None:
        nonlocal tries
        tries += 1
        await asyncio.sleep(0)

    monkeypatch.setattr(Runner, "_sleep", sleep)
    runner = runner_of(Bench(HELLO), {} if quiet else logins(30))
    right = getattr(runner._partition, method)
    monkeypatch.setattr(runner._partition, method, always(error))
    worker: Any = OfAWorker([runner])
    running = asyncio.ensure_future(runner.run())
    while tries == 0:
        await asyncio.sleep(0)
    while tries < 8:
        report = Health(runner._waiting, worker, worker).report()
        assert report["state"] == "red", report
        await asyncio.sleep(0)
    monkeypatch.setattr(runner._partition, method, right)
    while not runner.ready:
        assert not running.done()
        await asyncio.sleep(0)
    assert Health(runner._waiting, worker, worker).report()["state"] == "green"
    runner.stop()
    await running
