"""When a unit is committed: after its age however steadily events come, and when it is full while many wait; in virtual
time.
"""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from engine.core.contract.topics import ranks
from engine.core.decide.path import Due
from engine.runtime.clients import Clients
from engine.runtime.kafka.intake import LEAST_BATCH_RECORDS, KafkaIntake
from engine.runtime.protocol.intake import Batch
from engine.runtime.protocol.state_cache import LIGHT_BYTES
from engine.runtime.protocol.unit import UnitLimits
from engine.runtime.protocol.writes import decode_writes
from engine.runtime.settings import load
from tests.core.making import at, login
from tests.runtime.driving import QUIET, Bench, Faultless, batch_at, by_client, logins, next_batch, topics_of, units
from tests.runtime.test_runner import HELLO, TopicsAtHand, runner_of
from tests.simulation.loop import SimLoop

AGE_S = 0.05  # as runner_of has it


class Paced(TopicsAtHand):
    """Its batches come so many seconds after one another, each after so many looks that found nothing."""

    def __init__(self, number: int, every_s: float, looks: int = 0) -> None:
        super().__init__(logins(number))
        self._every_s = every_s
        self._looks = looks
        self._asked = 0
        self.over = asyncio.Event()

    async def next(self, wait_s: float) -> Batch | None:
        await asyncio.sleep(self._every_s)
        self._asked += 1
        if self._asked % (self._looks + 1):
            return None
        batch = await super().next(wait_s)
        self.caught_up = batch is None or not batch.waiting
        if batch is None:
            self.over.set()
        return batch


def served(bench: Bench, number: int, every_s: float, looks: int = 0) -> list[int]:
    """How many records each unit has after a runner has taken so many."""

    async def life() -> None:
        intake = Paced(number, every_s, looks)
        runner = runner_of(bench, intake)
        running = asyncio.ensure_future(runner.run())
        await intake.over.wait()
        runner.stop()
        await running

    SimLoop(Random(1)).run(life(), 10_000, 1_000_000)
    return [sum(end - begin for step in unit.steps for begin, end in step.ranges.values()) for unit in units(bench)]


@pytest.mark.parametrize("every_s", [0.001, 0.01, 0.04])
def test_a_unit_lasts_as_long_as_it_may_however_steadily_events_come(every_s: float):
    """The intake of the test gives ten at a time."""
    found = served(Bench(QUIET), 1_000, every_s)
    assert sum(found) == 1_000
    least = 10 * int(AGE_S / every_s)
    assert all(least <= records <= least + 20 for records in found[:-1])


def test_after_a_pause_a_unit_begins_anew():
    assert served(Bench(QUIET), 30, 0.02, looks=9) == [10, 10, 10]


def test_while_many_wait_units_are_full_even_if_nothing_is_at_hand_for_a_moment():
    bench = Bench(QUIET, limits=UnitLimits(records=100))
    found = served(bench, 1_000, 0.03, looks=3)
    assert found[:9] == [100] * 9
    assert sum(found) == 1_000


def test_while_many_wait_a_tick_is_part_of_the_unit():
    """And who was due is not evaluated again by the next tick, before the store knows of it."""
    past = [login(at(0) + n, client_id=f"s{n}") for n in range(5)]
    topics = topics_of([*past, *(login(at(40) + n, client_id=f"c{n % 5}", channel="web") for n in range(100))])

    async def life() -> None:
        bench = Bench(HELLO, limits=UnitLimits(records=100))
        worker = await bench.started()
        await worker.take(batch_at(topics, dict(worker.offsets), 5))
        await worker.commit("age")
        await worker.take(batch_at(topics, dict(worker.offsets), 10))
        assert worker.behind
        for _ in range(2):
            assert not await worker.tick(at(40), ends_unit=False)
        await worker.take(batch_at(topics, dict(worker.offsets), 10))
        assert len(units(bench)) == 1
        await worker.commit("age")
        steps = units(bench)[-1].steps
        assert [bool(step.tick_ms) for step in steps] == [False, True, True, False]
        faultless = Faultless(HELLO, {"logins": topics["logins"][:25]})
        faultless.tick(Due(f"s{n}", at(40)) for n in range(5))
        assert by_client(bench.ledger.messages) == by_client(faultless.messages)
        assert {(key or b"")[:1] for key in by_client(bench.ledger.messages)} == {b"s", b"c"}

    asyncio.run(life())


def test_a_unit_changes_no_more_clients_than_memory_is_for():
    """Those of the batch that fills it are on top."""
    bench = Bench(QUIET, cache_bytes=500_000)
    topics = logins(2_000, clients=1_000)

    async def life() -> None:
        worker = await bench.started()
        most = 0
        while batch := next_batch(topics, dict(worker.offsets), 20):
            await worker.take(batch)
            most = max(most, worker.cached - worker.room)
        assert most <= 20 + 500_000 / LIGHT_BYTES / 4
        await worker.commit("age")

    asyncio.run(life())
    changed = [len(list(decode_writes(unit.writes))) for unit in units(bench)]
    assert max(changed) < 500_000 / LIGHT_BYTES + 20
    assert len(changed) > 10
    assert len(bench.data.states()) == 1_000


def test_what_messages_take_counts_in_a_unit():
    bench = Bench(HELLO, limits=UnitLimits(records=40, size_bytes=6_000))

    async def life() -> None:
        worker = await bench.started()
        batch = batch_at(logins(1_000, channel="web"), {}, 10)
        assert batch.size_bytes < 4_000
        await worker.take(batch)
        assert worker.behind
        assert not worker.uncommitted

    asyncio.run(life())


@pytest.mark.parametrize(("room", "most"), [(300, 300), (10, LEAST_BATCH_RECORDS), (9_000, 1_000)])
async def test_a_batch_has_no_more_records_than_clients_are_kept(room: int, most: int):
    """But for a few hundred."""
    intake = KafkaIntake(load(batch_records=1_000), Clients(), ranks(), 0, 1, room=lambda: room)
    intake.merger.add("logins", logins(2_000)["logins"], 2_000, 2_000)
    batch = await intake.next(0)
    assert batch is not None
    assert len(batch.records) == most
