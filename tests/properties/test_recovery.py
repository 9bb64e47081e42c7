"""Exactly once, whatever goes wrong and in whatever order: publishing fails before, in the middle or after; applying
likewise; workers are killed, replaced, or go on without knowing that they were; Redis loses any number of its last
writes. At the end messages and states are those of a run in which nothing happened.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.decide.path import Due
from engine.runtime.errors import Fenced, Surprised, Unavailable
from engine.runtime.protocol.ledger import decode_unit, digest_of_messages
from engine.runtime.protocol.partition import Partition
from engine.runtime.protocol.unit import UnitLimits
from tests.core.making import at, balance, event_of, login, plan_of, profile, rule, trade
from tests.memory import ABORTED, AFTER, BEFORE
from tests.properties.histories import LAST_MS, histories, quick
from tests.runtime.driving import Bench, Faultless, Topics, all_batches, by_client, end_of, next_batch, topics_of

PLAN = plan_of(
    rule("hello", on="[logins, trades]", cooldown="1h", when="client.days_known >= 1"),
    rule("moved", on="tier_change", when="tier_change.new in ('A', 'B')", cooldown="1m", kind="survey"),
    rule("quiet", silence="{of: logins, for: 3d}", cooldown="1m", kind="task", audience="team"),
)
COMMIT, TICK, KILL, ZOMBIE, LOSE_ONE, LOSE_ALL = "commit", "tick", "kill", "zombie", "lose one", "lose all"
# a number is a batch of so many records
one_step = st.integers(1, 8) | st.sampled_from([COMMIT, COMMIT, TICK, TICK, KILL, ZOMBIE, LOSE_ONE, LOSE_ALL])
SCHEDULES: Final = st.lists(one_step, max_size=60) | st.lists(one_step, min_size=20, max_size=60)
PUBLISHING: Final = st.lists(st.sampled_from(["", "", BEFORE, ABORTED, AFTER]), max_size=12)
APPLYING: Final = st.lists(st.sampled_from(["", "", BEFORE, AFTER]), max_size=12)
happened: Counter[str] = Counter()


class Run:
    """Drives workers over a bench by a schedule until all records are decided and all ticks have come."""

    def __init__(self, bench: Bench, topics: Topics, times: list[int]) -> None:
        self.bench = bench
        self.topics = topics
        self.times = times  # of the events in the order of the merge
        self.worker = bench.worker()
        self.recovered = False

    async def guarded(self, work) -> None:
        """What a Runner does about errors."""
        try:
            if not self.recovered:
                await self.worker.recover()
                self.recovered = True
            await work(self.worker)
        except (Unavailable, Surprised) as error:
            happened[type(error).__name__] += 1
            self.recovered = False

    async def step(self, what: int | str) -> None:
        if what == KILL:
            self.worker, self.recovered = self.bench.worker(), False
        elif what == LOSE_ONE:
            self.bench.data.lose(1)
        elif what == LOSE_ALL:
            self.bench.data.lose(1_000_000)
        elif what == ZOMBIE:
            await self.zombie()
        elif what == COMMIT:
            await self.guarded(lambda worker: worker.commit("age"))
        elif what == TICK:
            await self.guarded(self.tick)
        else:
            await self.guarded(lambda worker: self.take(worker, int(what)))

    async def take(self, worker: Partition, limit: int) -> None:
        batch = next_batch(self.topics, worker.offsets, limit)
        if batch is not None:
            await worker.take(batch)

    async def tick(self, worker: Partition) -> None:
        """Not ahead of any event to come, so that it cannot matter how many ticks there were."""
        decided = sum(worker.offsets.values())
        await worker.tick(min(self.times[decided:], default=LAST_MS), limit=2)

    async def zombie(self) -> None:
        """The worker is replaced and does not know it: it decides one batch more, and tries to commit."""
        old, was_running = self.worker, self.recovered
        self.worker, self.recovered = self.bench.worker(), False
        await self.guarded(self.tick)
        if not (was_running and self.recovered):
            return
        before = len(self.bench.ledger.records), self.bench.data.position
        try:
            await self.take(old, 3)
            await old.commit("age")
        except (Fenced, Surprised) as error:
            happened[f"zombie {type(error).__name__}"] += 1
        assert (len(self.bench.ledger.records), self.bench.data.position) == before

    async def finish(self) -> None:
        for _ in range(1_000):
            await self.guarded(lambda worker: self.take(worker, 4))
            await self.guarded(lambda worker: worker.commit("age"))
            await self.guarded(self.tick)
            done = self.worker.offsets == {t: end_of(r) for t, r in self.topics.items()}
            if done and self.recovered and not await self.bench_due():
                return
        raise AssertionError("never came to an end")

    async def bench_due(self) -> bool:
        return any(row.due_ms <= LAST_MS for row in self.bench.data.rows().values())


@quick(150)
@given(
    history=histories(clients=4, most=40, known=True),
    schedule=SCHEDULES,
    publish_faults=PUBLISHING,
    apply_faults=APPLYING,
    cache_bytes=st.sampled_from([0, 10_000, 10_000_000]),
    records=st.sampled_from([5, 1000]),
)
def test_nothing_that_happens_changes_what_comes_of_it(
    history, schedule, publish_faults, apply_faults, cache_bytes, records
):
    bench = Bench(
        PLAN,
        publish_faults=publish_faults,
        apply_faults=apply_faults,
        cache_bytes=cache_bytes,
        limits=UnitLimits(records=records),
    )
    topics = topics_of(history)
    expected = Faultless(PLAN, topics)
    expected.tick([Due(client_id, LAST_MS) for client_id in sorted(expected.states)])
    run = Run(bench, topics, merged_times(history, topics))

    async def play() -> None:
        for what in schedule:
            await run.step(what)
        await run.finish()

    asyncio.run(play())
    assert by_client(bench.ledger.messages) == by_client(expected.messages)
    assert bench.data.states() == expected.states
    check_books(bench, topics)


def merged_times(history, topics: Topics) -> list[int]:
    """Event times in the order in which records are decided: records come one after another, so that of the history."""
    times = [event_of(item).time for item in history]
    assert sum(map(len, topics.values())) == len(times)
    return times


def check_books(bench: Bench, topics: Topics) -> None:
    """The ledger tells the whole story: each offset once and in order, each unit where the one before ended."""
    reached = dict.fromkeys(topics, 0)
    published = iter(bench.ledger.messages)
    for _, record in bench.ledger.units():
        unit = decode_unit(record)
        for step in unit.steps:
            for topic, (begin, end) in step.ranges.items():
                assert begin == reached[topic]
                reached[topic] = end
        assert unit.offsets == {topic: end for topic, end in reached.items() if topic in unit.offsets}
        for number in range(len(bench.ledger.messages) + 1):
            if digest_of_messages(taken := [next(published) for _ in range(number)]) == unit.published:
                break
            published = iter([*taken, *published])
        else:
            raise AssertionError("messages that no unit of the ledger tells of")
    assert list(published) == []
    assert reached == {topic: end_of(records) for topic, records in topics.items()}
    tiers = Counter(tier for id_ in bench.data.states() if (tier := bench.data.public(id_)["tier"]))
    position = bench.data.position
    assert position is not None
    last = decode_unit(bench.ledger.units()[-1][1])
    assert last.end.states == len(bench.data.states())
    assert last.end.tallies == dict(tiers)


def test_the_schedules_do_bring_trouble():
    """The property above means something only if what it speaks of happened. (It runs it when it was not run.)"""
    if not happened:
        test_nothing_that_happens_changes_what_comes_of_it()
    for what in ("Unavailable", "Surprised", "zombie Fenced"):
        assert happened[what] > 3, happened


@pytest.mark.parametrize("lost", range(8))
@pytest.mark.parametrize("fault", [BEFORE, ABORTED, AFTER])
def test_every_point_of_failure_once(fault, lost):
    """Each unit of a run fails in each way, at publish or at apply, and Redis then loses any suffix of its writes."""
    history = list(_long_history())
    topics = topics_of(history)
    expected = Faultless(PLAN, topics)
    units = len(all_batches(topics, 4))
    for failing in range(units):
        for place in ("publish", "apply"):
            if (place, fault) == ("apply", ABORTED):
                continue
            bench = Bench(PLAN, **{f"{place}_faults": [""] * failing + [fault]})  # type: ignore[arg-type]
            asyncio.run(_run_once(bench, topics, lost))
            assert by_client(bench.ledger.messages) == by_client(expected.messages)
            assert bench.data.states() == expected.states


async def _run_once(bench: Bench, topics: Topics, lost: int) -> None:
    worker = await bench.started()
    failures = 0
    while batch := next_batch(topics, worker.offsets, 4):
        try:
            await worker.take(batch)
            await worker.commit("age")
        except Unavailable:
            failures += 1
            bench.data.lose(lost)
            worker = await bench.started()
    assert failures == 1


def _long_history():
    for number in range(3):
        yield profile(at(0) + number, client_id=f"c{number}")
    for day in range(1, 9):
        yield balance(at(day), 400_000 * (day % 3), client_id=f"c{day % 3}")
        yield login(at(day) + 1, client_id=f"c{day % 2}")
        yield trade(at(day) + 2, client_id="c2")
