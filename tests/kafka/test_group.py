"""The group of workers: who has which partition, and what becomes of one that was away."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.group_coordinator import GroupCoordinator

from engine.runtime.clients import Clients
from engine.runtime.errors import Unavailable
from engine.runtime.kafka.membership import Membership
from tests.kafka.conftest import Offline
from tests.kafka.installation import Installation, Sent
from tests.kafka.worker_process import eventually


def shared_out(engine: Installation) -> list[set[tuple[str, int]]]:
    """Topic and partition of each member, as the broker has it."""
    group = engine.settings.group
    described = engine.admin.describe_consumer_groups([group])[group].result(120)
    return [{(tp.topic, tp.partition) for tp in member.assignment.topic_partitions} for member in described.members]


def test_partitions_are_shared_and_taken_over(engine: Installation) -> None:
    everything = {(engine.settings.ledger_topic, p) for p in range(4)}
    first = engine.worker(ENGAGE_SESSION_TIMEOUT_S=1).wait_ready()
    eventually(lambda: shared_out(engine) == [everything], "the ledger and nothing else")
    second = engine.worker(ENGAGE_SESSION_TIMEOUT_S=1).wait_ready()
    eventually(lambda: sorted(map(len, shared_out(engine))) == [2, 2], "two partitions each")
    assert set.union(*shared_out(engine)) == everything
    eventually(lambda: first.metric("engage_partitions_assigned") == 2, "the first worker gave two away")
    second.kill()
    eventually(lambda: shared_out(engine) == [everything], "the first has all of a killed worker's")
    eventually(lambda: first.metric("engage_partitions_assigned") == 4 and first.ready, "and runs them")
    third = engine.worker(ENGAGE_SESSION_TIMEOUT_S=1).wait_ready()
    eventually(lambda: third.metric("engage_partitions_assigned") == 2, "two partitions each")
    first.stop()
    eventually(lambda: third.metric("engage_partitions_assigned") == 4 and third.ready, "the third has all")
    third.stop()


async def test_a_member_whose_part_in_the_group_has_ended_is_replaced(
    engine: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by an assertion of aiokafka's that fails when a subscription changes while the coordinator is looked for."""
    shares: list[frozenset[int]] = []
    member = Membership(engine.settings, Clients(), shares.append)

    async def poll_until(assignments: int) -> int:
        failures = 0
        while len(shares) < assignments:
            try:
                await member.poll()
            except Unavailable:
                failures += 1
        return failures

    def fails(self: GroupCoordinator, subscription: object) -> bool:
        raise AssertionError

    await member.start()
    try:
        assert await poll_until(1) == 0
        with monkeypatch.context() as patched:
            patched.setattr(GroupCoordinator, "need_rejoin", fails)
            member.rejoin()
            while not member._failures:
                with contextlib.suppress(Unavailable):
                    await member.poll()
        assert await poll_until(2) > 0
        assert shares == [frozenset(range(4))] * 2
    finally:
        await member.stop()


async def test_a_member_that_is_polled_stays_and_reads_nothing(engine: Installation) -> None:
    """Unpolled beyond the interval it leaves; polled it stays, paused all the while."""

    consumers: list[AIOKafkaConsumer] = []
    seen: list[object] = []

    def with_short_interval(*topics: str, **options: object) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(*topics, **{**options, "max_poll_interval_ms": 6_000})
        getmany = consumer.getmany

        async def watched(*args: object, **kwargs: object) -> object:
            fetched = await getmany(*args, **kwargs)
            seen.extend(fetched)
            return fetched

        consumer.getmany = watched
        consumers.append(consumer)
        return consumer

    assigned: list[frozenset[int]] = []
    member = Membership(engine.settings, Clients(consumer=with_short_interval), assigned.append)
    await member.start()
    try:
        while not assigned:
            await member.poll()
        assert assigned[-1] == frozenset(range(4))
        record = Sent(f"{engine.name}-ledger", None, b"not to be read", 0)
        until = time.monotonic() + 8  # more than the interval
        while time.monotonic() < until:
            await member.poll()
        # from a thread: what holds up the event loop holds up the polls
        sending = asyncio.create_task(asyncio.to_thread(engine.produce, [record]))
        while not sending.done():
            await member.poll()
        await sending
        await member.poll()
        assert len(consumers[0].paused()) == 4
        assert seen == []
        members = await asyncio.to_thread(shared_out, engine)
        assert [len(tps) for tps in members] == [4]
        assert len(assigned) == 1  # never thrown out in between
        await asyncio.to_thread(eventually, lambda: shared_out(engine) == [], "an unpolled member leaves")
        while len(assigned) < 2:  # polled again, it is back
            await member.poll()
    finally:
        await member.stop()


@pytest.mark.short
def test_a_worker_that_was_stopped_and_wakes_writes_no_more(engine: Installation, trades: Offline) -> None:
    """SIGSTOP past the session timeout: another takes over; the zombie is fenced, joins again, and all adds up."""
    producing = threading.Thread(target=engine.produce, args=(trades.records,), kwargs={"rate": 1_200})
    producing.start()
    zombie = engine.worker(ENGAGE_BATCH_RECORDS=50, ENGAGE_SESSION_TIMEOUT_S=1).wait_ready()
    eventually(lambda: zombie.metric("engage_events_total") > 200, "the first worker is at work")
    zombie.signal(signal.SIGSTOP)
    other = engine.worker(ENGAGE_BATCH_RECORDS=50, ENGAGE_SESSION_TIMEOUT_S=1).wait_ready()
    eventually(lambda: other.metric("engage_partitions_assigned") == 4, "the second worker has all")
    eventually(lambda: other.metric("engage_events_total") > 200, "the second worker is at work")
    zombie.signal(signal.SIGCONT)
    producing.join()
    engine.settle()
    eventually(
        lambda: zombie.metric("engage_partitions_assigned") == 2 and zombie.ready, "the zombie is a worker again"
    )
    engine.comes_to(trades.states)
    assert engine.actions() == trades.actions
    zombie.stop()
    other.stop()
