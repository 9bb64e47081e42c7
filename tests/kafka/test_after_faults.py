"""What `python -m tests.faults` found, each held by a test of its own."""

from __future__ import annotations

import asyncio

import pytest

from engine.core.contract.message import Message
from engine.core.contract.outbound import OUTBOUND
from engine.runtime.clients import Clients, redis_client
from engine.runtime.errors import Fenced
from engine.runtime.kafka.log import KafkaLog
from engine.runtime.kafka.membership import REJOIN_S, Membership
from engine.runtime.settings import Settings
from tests.kafka.installation import Installation
from tests.services.redis import RedisServer

pytestmark = pytest.mark.short


async def test_a_worker_fenced_between_two_sends_is_fenced(engine: Installation) -> None:
    """Seed 2, round 9: a zombie's worker ended with aiokafka's IllegalOperation, which is no KafkaError."""
    old, new = KafkaLog(engine.settings, Clients(), 0), KafkaLog(engine.settings, Clients(), 0)
    first, *others = (Message(topic, b"C1", b"from the zombie", ()) for topic in OUTBOUND)
    await old.start()
    try:
        await old.publish([first], [b"record"])
        await new.start()
        # the topics that are new to this producer are looked up first, and meanwhile the first send fails
        with pytest.raises(Fenced):
            await old.publish([first, *others], [b"record"])
    finally:
        await new.stop()
        await old.stop()


async def test_no_connection_from_before_a_restart_of_redis_is_used_after_it() -> None:
    """Seed 2, round 6: each connection that the restart had closed cost one partition a failure and its pause."""
    with RedisServer() as server:
        async with redis_client(Settings(redis=server.url)) as redis:
            await asyncio.gather(*(redis.get("key") for _ in range(4)))
            server.restart()
            await asyncio.sleep(0.2)
            assert await asyncio.gather(*(redis.get("key") for _ in range(4))) == [None] * 4


async def test_a_fence_asks_for_an_assignment_only_when_none_comes_by_itself(engine: Installation) -> None:
    """Seed 2027, round 38: fences in a rebalance led to rebalances, and those to fences, for 51 s."""
    assigned: list[frozenset[int]] = []
    member = Membership(engine.settings, Clients(), assigned.append)

    async def poll() -> None:
        while True:
            await member.poll()

    async def until_assigned(times: int) -> None:
        async with asyncio.timeout(300):
            while len(assigned) < times:
                await asyncio.sleep(0.01)

    await member.start()
    polling = asyncio.create_task(poll())
    try:
        await until_assigned(1)
        member.rejoin()
        await member.on_partitions_assigned([])  # what the group says after a rebalance
        assert len(assigned) == 2
        await asyncio.sleep(2 * REJOIN_S)
        assert len(assigned) == 2
        member.rejoin()  # fenced by somebody outside the group, such as a rebuild
        await until_assigned(3)
    finally:
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)
        await member.stop()
