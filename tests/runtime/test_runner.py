"""The life of a partition in a worker: what a newer engine wrote is waited for, and health says so; events go before
what the calendar brings.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from engine.core.contract.topics import intake_topics
from engine.core.plan.compile import paused_otherwise
from engine.runtime.errors import Newer, Surprised, Unavailable
from engine.runtime.observe.metrics import Metrics
from engine.runtime.protocol.intake import Batch, Held, Merger
from engine.runtime.protocol.partition import Partition
from engine.runtime.settings import load
from engine.runtime.worker.event_loop import TICK_BUSY_S, Pace, Timed, Turn, Turns
from engine.runtime.worker.health import Health
from engine.runtime.worker.runner import Runner
from engine.runtime.worker.waiting import Waiting
from tests.core.making import at, login
from tests.runtime.driving import (
    HELLO,
    Bench,
    ConsumerRecord,
    Topics,
    by_client,
    logins,
    next_batch,
    take_all,
    topics_of,
    units,
)
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
    fillable: frozenset[str] = frozenset()

    def __init__(self, runners: list[Runner]) -> None:
        self._runners = runners

    def runners(self) -> list[Runner]:
        return self._runners

    def in_words(self) -> dict[str, str]:
        return {}

    def warnings(self) -> list[str]:
        return []


async def nothing() -> None: ...


def runner_of(bench: Bench, intake: Topics | TopicsAtHand, turns: Turns | None = None) -> Runner:
    async def deliver(partition: Partition, batch: Batch, decided_ms: int) -> None:
        await partition.take(batch, decided_ms)

    metrics = Metrics(CollectorRegistry())
    return Runner(
        bench.worker(), intake if isinstance(intake, TopicsAtHand) else TopicsAtHand(intake), load(unit_age_s=0.05),
        metrics, Waiting(metrics), stop_log=nothing, deliver=deliver, turns=turns or Turns(8, 1_000),
        sweep_clients=10, check=nothing, fenced=lambda: None, wall_ms=lambda: at(99),
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
    monkeypatch.setattr("engine.runtime.worker.serving.TICK_S", 0.0)
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


# -- many clients who are due ------------------------------------------------------------------------

HERD = 95
SILENT = topics_of(login(at(69) - n, client_id=f"c{n}") for n in range(HERD))  # are due by at(99)


class Trickle(TopicsAtHand):
    """One more login each time that it is asked."""

    def __init__(self) -> None:
        super().__init__({"logins": [*SILENT["logins"]]})
        self._records = self._topics["logins"]

    async def next(self, wait_s: float) -> Batch | None:
        number = len(self._records)
        _, event = login(at(99), client_id=f"x{number}", channel="web")
        value = event.model_dump_json().encode()
        self._records.append(ConsumerRecord(number, at(99), event.client_id.encode(), value))
        return await super().next(wait_s)


async def herd() -> Bench:
    """Clients who fell silent, and no tick has come since."""
    bench = Bench(HELLO)
    worker = await bench.started()
    await take_all(worker, SILENT)
    await worker.commit("age")
    return bench


def woken(bench: Bench) -> list[str]:
    """Those of the herd, in the order in which their actions came."""
    keys = [(message.key or b"").decode() for message in bench.ledger.acts]
    return [key for key in keys if key.startswith("c")]


async def until(condition: Callable[[], bool], *tasks: asyncio.Future[None]) -> None:
    async with asyncio.timeout(120):  # ends what hangs
        while not condition():
            assert not any(task.done() for task in tasks)
            await asyncio.sleep(0)


def kinds(bench: Bench) -> list[str]:
    return ["tick" if step.tick_ms else "events" for unit in units(bench) for step in unit.steps]


@pytest.fixture
def at_every_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there once a second is there at every turn, and no turn ends by itself."""
    monkeypatch.setattr("engine.runtime.worker.serving.TICK_S", 0.0)
    monkeypatch.setattr("engine.runtime.worker.event_loop.LONGEST_TURN_S", 1e9)


@pytest.mark.usefixtures("at_every_turn")
async def test_events_are_read_between_the_parts_of_a_herd():
    bench = await herd()
    runner = runner_of(bench, Trickle(), Turns(8, 10))
    running = asyncio.ensure_future(runner.run())
    await until(lambda: len(woken(bench)) == HERD, running)
    runner.stop()
    await running
    steps = [step for unit in units(bench) for step in unit.steps if step.tick_ms]
    assert max(len(step.due) for step in steps) == 10
    assert not [pair for pair in itertools.pairwise(kinds(bench)) if pair == ("tick", "tick")]
    # as when all of them are evaluated at once
    at_once = await herd()
    await (await at_once.started()).tick(at(99), limit=2 * HERD)
    ours = {key: value for key, value in by_client(bench.ledger.messages).items() if key and key.startswith(b"c")}
    assert ours == by_client(at_once.ledger.messages)
    assert len(ours) == HERD


async def test_while_a_rule_is_paused_nothing_is_decided_by_the_rules_as_they_were():
    holds, paused = [False], replace(HELLO.rule_set, digest="paused")
    plans = [HELLO]
    bench = Bench(lambda: plans[-1])
    runner = runner_of(bench, logins(100), Turns(8, 1_000, lambda: holds[0]))
    decided = 0

    async def deliver(partition: Partition, batch: Batch, decided_ms: int) -> None:
        nonlocal decided
        assert not holds[0]
        await partition.take(batch, decided_ms)
        decided += len(batch.records)
        holds[0] = decided == 30

    runner._deliver = deliver
    running = asyncio.ensure_future(runner.run())
    await until(lambda: holds[0] and not runner._partition.uncommitted, running)
    plans.append(paused_otherwise(HELLO, paused))
    for _ in range(100):
        await asyncio.sleep(0)
    assert decided == 30
    holds[0] = False
    await until(lambda: decided == 100, running)
    runner.stop()
    await running
    sets = [unit.rule_set for unit in units(bench)]
    assert list(dict.fromkeys(sets)) == [HELLO.rule_set.digest, "paused"]


@pytest.mark.parametrize(
    ("looks", "ticks"),
    [
        ([(10, 10, 1), (11, 11, 2), (12, 12, 2)], [1, 2, 2]),  # nothing is held
        ([(10, 0, 1), (11, 0, 2), (12, 12, 3)], [0, 0, 3]),  # held from the start
        ([(10, 10, 1), (11, 10, 2), (12, 10, 9), (13, 13, 9)], [1, 1, 1, 9]),
        ([(10, 10, 1), (11, 10, 2), (12, 11, 5), (13, 12, 6), (14, 12, 7)], [1, 1, 2, 5, 5]),  # one after the other
        # so long that it forgets up to when it may go on, and stands still
        ([(10, 10, 1), *((n, 10, n) for n in range(11, 10_013))], [*[1] * 10_000, 0, 0, 0]),
    ],
)
async def test_with_the_clock_of_events_timers_wait_for_what_cannot_be_read(looks, ticks):
    """`looks`: wall clock, moment up to which all can be read, event time decided."""
    runner = runner_of(Bench(HELLO), {})
    found = []
    for wall_ms, readable_ms, reached_ms in looks:
        runner._partition.reached_event_ms = reached_ms
        found.append(runner._reached_event_ms(wall_ms, readable_ms))
    assert found == ticks


@pytest.mark.usefixtures("at_every_turn")
async def test_who_waits_for_the_turn_takes_events_and_no_more_than_a_few_of_a_herd(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("engine.runtime.worker.serving.TURN_WAIT_S", 0.0)
    turns, gone_on = Turns(8, 10), asyncio.Event()
    mine, others = await herd(), await herd()
    runners = [runner_of(mine, {}, turns), runner_of(others, Trickle(), turns)]
    tick, stuck = runners[0]._partition.tick, 0

    async def slow(time_ms: int, limit: int, decided_ms: int) -> bool:
        nonlocal stuck
        if turns.herding:
            stuck += 1
            await gone_on.wait()
        return await tick(time_ms, limit, decided_ms)

    monkeypatch.setattr(runners[0]._partition, "tick", slow)
    tasks = [asyncio.ensure_future(runners[0].run())]
    await until(lambda: stuck > 0, *tasks)
    tasks.append(asyncio.ensure_future(runners[1].run()))
    taken = kinds(others).count("events") + 30
    await until(lambda: kinds(others).count("events") >= taken, *tasks)
    assert (len(woken(mine)), len(woken(others))) == (10, 10)
    gone_on.set()
    await until(lambda: len(woken(mine)) + len(woken(others)) == 2 * HERD, *tasks)
    for runner in runners:
        runner.stop()
    await asyncio.gather(*tasks)
    assert not turns.herding


async def test_a_herd_that_cannot_go_on_gives_its_turn_away(monkeypatch: pytest.MonkeyPatch):
    line: list[Turn] = []
    first, second, third, fourth = turns = [Turn(line) for _ in range(4)]
    assert [await turn.came(0) for turn in turns] == [True, False, False, False]
    assert [turn.near for turn in turns] == [True, True, True, False]
    second.over()  # it has gone
    assert await first.came(0)
    monkeypatch.setattr("engine.runtime.worker.event_loop.LONGEST_TURN_S", 0.0)
    first.over()
    monkeypatch.setattr("engine.runtime.worker.event_loop.LONGEST_TURN_S", 1e9)
    assert await fourth.came(60)  # the third's turn has ended by itself
    assert not await third.came(0)
    assert line == [fourth, third]


async def test_a_part_of_a_herd_is_as_large_as_the_event_loop_can_spare(monkeypatch: pytest.MonkeyPatch):
    now_s = [0.0]
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now_s[0])

    async def waits(seconds: float) -> None:
        await asyncio.sleep(0)
        now_s[0] += seconds

    async def tick(busy_s: float, waits_s: float, more: bool = True) -> bool:
        now_s[0] += busy_s
        await asyncio.create_task(waits(waits_s))
        now_s[0] += busy_s
        return more

    pace = Pace(most=300)
    sizes = [pace.clients]
    for busy_s, waits_s in ((0.0, 9.0), (0.0, 9.0), (0.1, 0.0), (0.5, 0.0), (TICK_BUSY_S, 5.0)):
        assert await pace.of(tick(busy_s, waits_s))
        sizes.append(pace.clients)
    assert sizes == [100, 200, 300, 150, 75, 37]
    assert not await pace.of(tick(9.0, 0.0, more=False))  # how many there were is not known
    for _ in range(9):
        await pace.of(tick(9.0, 0.0))
    assert pace.clients == pace.few == 20


async def test_what_is_timed_is_cancelled_and_fails_as_otherwise():
    said: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            said.append("cancelled")
            raise

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await Timed(work())
    assert said == ["cancelled"]
    with pytest.raises(Unavailable):
        await Timed(always(Unavailable("redis", "no answer"))())
