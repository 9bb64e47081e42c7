"""What the polls ask a broker for, as what readers want changes; with real brokers: tests/kafka/test_polls.py."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition

from engine.runtime.kafka.wire.polls import Polls
from engine.runtime.kafka.wire.sessions import Asked, Fetch

TRADES, LOGINS = TopicPartition("trades", 0), TopicPartition("logins", 0)


class Broker:
    """Of a client: it leads all, and has nothing new."""

    def __init__(self) -> None:
        self.cluster = SimpleNamespace(leader_for_partition=lambda _: 1)
        self.asked: list[tuple[int, set[TopicPartition]]] = []  # of each fetch: its session, and what is read

    async def send(self, _node: int, fetch: Fetch) -> Any:
        self.asked.append((fetch._session.number, set(fetch._asked)))
        await asyncio.sleep(0)
        return SimpleNamespace(API_VERSION=11, error_code=0, session_id=7, topics=[])


class Reader:
    isolation = 1

    def __init__(self) -> None:
        self.client = Broker()
        self.full = False

    def wants(self, _tp: TopicPartition) -> Asked | None:
        return None if self.full else Asked(0, 1_000)

    def heard(self, tp: TopicPartition) -> None:
        pass


async def test_when_all_are_full_the_session_is_given_up():
    """The broker would answer at once, again and again, with what nobody has room for."""
    polls, reader = Polls(), Reader()
    asked = reader.client.asked
    polls.join(reader, frozenset((TRADES, LOGINS)))  # type: ignore[arg-type]
    async with asyncio.timeout(60):
        while (7, {TRADES, LOGINS}) not in asked:
            await asyncio.sleep(0)
        reader.full = True
        polls.changed(TRADES)
        polls.changed(LOGINS)
        (poll,) = polls._polls.values()
        while poll._asked:
            await asyncio.sleep(0)
        before = len(asked)
        reader.full = False
        polls.changed(TRADES)
        while len(asked) == before:
            await asyncio.sleep(0)
    assert asked[before] == (0, {TRADES})
    polls.leave(reader)  # type: ignore[arg-type]
