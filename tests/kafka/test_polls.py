"""Polls that the partitions of a worker share, with a real broker: who reads what, and what comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from engine.core.contract.topics import ranks
from engine.runtime.clients import Clients
from engine.runtime.kafka.intake import KafkaIntake
from engine.runtime.kafka.wire.polls import Polls
from engine.runtime.kafka.wire.reader import FULL_BYTES
from engine.runtime.kafka.wire.sessions import Fetch
from tests.kafka.conftest import MakeInstallation
from tests.kafka.installation import Installation, Sent

PARTITIONS = 3
FETCH_BYTES = 16_384  # of a topic's partition at a time: several fetches until it is full
Fetched = Callable[[Any, Fetch], None]


@pytest.fixture
def engine(install: MakeInstallation) -> Installation:
    return install().create_topics(PARTITIONS)


@pytest.fixture
async def intakes(engine: Installation) -> AsyncIterator[list[KafkaIntake]]:
    """Of all partitions, by the same polls."""
    polls = Polls()
    made = [KafkaIntake(engine.settings, Clients(), ranks(), number, PARTITIONS, 1, polls) for number in range(3)]
    for intake in made:
        intake._fetch_bytes = FETCH_BYTES
        await intake.start({})
    yield made
    for intake in made:
        await intake.stop()


@pytest.fixture
def fetches(intakes: list[KafkaIntake], monkeypatch: pytest.MonkeyPatch) -> list[tuple[KafkaIntake, Any]]:
    """Each that is sent: by whose client, and what it is."""
    sent = []
    for intake in intakes:
        consumer: Any = intake._consumer

        async def send(node: int, request: Any, by: KafkaIntake = intake, real: Any = consumer._client.send) -> Any:
            if isinstance(request, Fetch):
                sent.append((by, request))
            return await real(node, request)

        monkeypatch.setattr(consumer._client, "send", send)
    return sent


async def comes(intake: KafkaIntake, *values: bytes) -> None:
    """Just these records, in this order, are the next ones."""
    found: list[bytes | None] = []
    for _ in range(400):
        batch = await intake.next(0.25)
        found += [record.value for record in batch.records] if batch else []
        if len(found) >= len(values):
            break
    assert found == list(values)


def session(intake: KafkaIntake) -> Any:
    (poll,) = intake._polls._polls.values()
    return poll._session


@pytest.mark.short
async def test_one_session_of_one_client_reads_for_all(
    engine: Installation, intakes: list[KafkaIntake], fetches: list[tuple[KafkaIntake, Any]]
) -> None:
    numbers = set()
    for turn, topic in enumerate(["trades", "logins", "trades", "profiles"]):
        for number, intake in enumerate(intakes):
            value = b"%d of %d" % (turn, number)
            engine.produce([Sent(topic, b"c", value, number)])
            await comes(intake, value)
            numbers.add(session(intake).number)
    assert len(numbers) == 1
    assert len({id(by) for by, _ in fetches}) == 1
    assert max(len(fetch._news) for _, fetch in fetches[1:]) < len(ranks()) <= len(fetches[-1][1]._asked)
    for intake in intakes:
        for _ in range(400):
            if intake.caught_up:
                break
            await intake.next(0.05)
        assert intake.caught_up


async def test_a_session_that_the_broker_does_not_know_begins_anew(
    engine: Installation, intakes: list[KafkaIntake]
) -> None:
    engine.produce([Sent("trades", b"c", b"before", 0)])
    await comes(intakes[0], b"before")
    for number, (field, wrong) in enumerate([("number", 1), ("epoch", 1_000_000)]):
        lost = session(intakes[0])
        setattr(lost, field, wrong)
        value = b"after %d" % number
        engine.produce([Sent("trades", b"c", value, 0)])
        await comes(intakes[0], value)
        assert session(intakes[0]).epoch < 1_000_000
        assert session(intakes[0]).number != 1


@pytest.mark.short
async def test_who_takes_nothing_is_left_out_and_keeps_nobody_waiting(
    engine: Installation, intakes: list[KafkaIntake], fetches: list[tuple[KafkaIntake, Any]]
) -> None:
    busy, reading, _ = intakes
    values = [b"%04d" % number + b"." * 1_000 for number in range(3 * FULL_BYTES // 1_000)]
    trades = busy._topics["trades"]
    for begin in range(0, len(values), 10):  # in batches smaller than a fetch: a broker gives none in part
        await asyncio.to_thread(engine.produce, [Sent("trades", b"c", v, 0) for v in values[begin : begin + 10]])
    for number in range(20):
        value = b"%d" % number
        engine.produce([Sent("logins", b"c", value, 1)])
        await comes(reading, value)
    assert trades not in fetches[-1][1]._asked
    at_hand = busy._consumer._fetcher._at_hand[trades]  # type: ignore[union-attr]
    assert FULL_BYTES <= at_hand.size_bytes < FULL_BYTES + FETCH_BYTES
    await comes(busy, *values)
    engine.produce([Sent("trades", b"c", b"more", 0)])
    await comes(busy, b"more")


async def test_others_read_on_when_the_one_whose_client_is_used_leaves(
    engine: Installation, intakes: list[KafkaIntake], fetches: list[tuple[KafkaIntake, Any]]
) -> None:
    engine.produce([Sent("trades", b"c", b"0", number) for number in range(PARTITIONS)])
    for intake in intakes:
        await comes(intake, b"0")
    left = fetches[-1][0]
    await left.stop()
    staying = [intake for intake in intakes if intake is not left]
    engine.produce([Sent("trades", b"c", b"1", number) for number in range(PARTITIONS)])
    for intake in staying:
        await comes(intake, b"1")
    assert not [tp for tp in left._names if tp in fetches[-1][1]._asked]
    begin = {topic: 1 if topic == "trades" else 0 for topic in ranks()}
    await left.start(begin)  # it comes back, and reads from where it stood
    await comes(left, b"1")


async def test_a_client_that_is_cut_off_reads_on(engine: Installation, intakes: list[KafkaIntake]) -> None:
    engine.produce([Sent("trades", b"c", b"before", 2)])
    await comes(intakes[2], b"before")
    for intake in intakes:
        consumer: Any = intake._consumer
        for connection in consumer._client._conns.values():
            connection.close()
    engine.produce([Sent("trades", b"c", b"after", 2)])
    await comes(intakes[2], b"after")
