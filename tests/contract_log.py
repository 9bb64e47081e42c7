"""What every Log keeps, whatever is below it. A test module derives from LogContract and says how to open one.

`open_log()` gives a new Log of the same, at first empty, ledger partition; `published()` what a read_committed
consumer sees on the messages' topic. A KafkaContract goes on to what lies below a KafkaLog: `producer()` gives a
started transactional producer with aiokafka's interface; `appended()` says where the ledger ends, be it committed or
not; `lose_requests()` and `lose_answers()` say what becomes of whatever is sent from then on, until `mend()`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import InvalidProducerEpoch, InvalidTxnState, ProducerFenced

from engine.core.contract.message import Message
from engine.runtime.errors import Fenced, Unavailable
from engine.runtime.kafka import connection as kafka
from engine.runtime.kafka.log import KafkaLog
from engine.runtime.protocol.ledger import Log


def message(number: int) -> Message:
    key = f"client-{number}".encode()
    return Message("tasks", key, b'{"number":%d}' % number, (("ce_id", b"%d" % number),))


class LogContract:
    def open_log(self) -> Log:
        raise NotImplementedError

    async def published(self, open_transactions: bool = False) -> list[tuple[bytes | None, bytes | None]]:
        raise NotImplementedError

    @pytest.fixture
    async def log(self):
        log = self.open_log()
        await log.start()
        yield log
        await log.stop()

    async def settle(self, log: Log) -> None:
        """Wait until all that was published can be read."""

    async def held(self, log: Log, first: int = 0) -> list[tuple[int, bytes]]:
        await self.settle(log)
        return await self.readable(log, first)

    async def readable(self, log: Any, first: int = 0) -> list[tuple[int, bytes]]:
        _, end = await log.bounds()
        return [pair async for pair in log.read(first, end)]

    async def test_a_new_ledger_is_empty(self, log):
        assert await log.bounds() == (0, 0)
        assert await self.held(log) == []

    async def test_records_are_read_at_the_offsets_that_publish_named(self, log):
        offsets = [await log.publish([], [b"record %d" % number]) for number in range(3)]
        assert offsets == sorted(set(offsets))
        assert await self.held(log) == [(offset, b"record %d" % n) for n, offset in enumerate(offsets)]
        assert await self.held(log, offsets[1]) == [(offsets[1], b"record 1"), (offsets[2], b"record 2")]
        first, end = await log.bounds()
        assert first == 0
        assert end > offsets[-1]

    async def test_a_read_ends_before_its_end(self, log):
        offsets = [await log.publish([], [b"%d" % number]) for number in range(3)]
        assert [o async for o, _ in log.read(offsets[0], offsets[2])] == offsets[:2]
        assert [o async for o, _ in log.read(offsets[2], offsets[2])] == []

    async def test_records_of_one_transaction_stand_together_and_the_last_is_named(self, log):
        before = await log.publish([], [b"before"])
        last = await log.publish([], [b"one", b"two", b"three"])
        assert await self.held(log, before + 1) == [(last - 2, b"one"), (last - 1, b"two"), (last, b"three")]

    async def test_messages_come_with_their_records_in_order(self, log):
        await log.publish([message(1), message(2)], [b"a"])
        await log.publish([message(3)], [b"b"])
        assert sorted(await self.published()) == sorted((message(n).key, message(n).value) for n in (1, 2, 3))

    async def test_whoever_starts_later_fences_whoever_was_there(self, log):
        await log.publish([message(1)], [b"mine"])
        successor = self.open_log()
        await successor.start()
        try:
            with pytest.raises(Fenced):
                await log.publish([message(2)], [b"a zombie's"])
            await successor.publish([message(3)], [b"the successor's"])
            assert [record for _, record in await self.held(successor)] == [b"mine", b"the successor's"]
            assert {key for key, _ in await self.published()} == {b"client-1", b"client-3"}
        finally:
            await successor.stop()

    async def test_a_log_can_start_again(self, log):
        await log.publish([], [b"one"])
        await log.start()
        await log.publish([], [b"two"])
        assert [record for _, record in await self.held(log)] == [b"one", b"two"]

    async def test_records_of_nearly_a_megabyte(self, log):
        records = [bytes([number]) * 900_000 for number in range(3)]
        await log.publish([], records)
        assert [record for _, record in await self.held(log)] == records

    async def test_messages_of_a_key_keep_their_order_however_large(self, log):
        """More than go together, among them one that alone is most of what goes together, and those of other keys."""
        sizes = (10, 900_000, 20, 30, 600_000, 500_000, 40)
        mine = [Message("tasks", b"client-1", b"%d" % at * size, ()) for at, size in enumerate(sizes)]
        others = [message(number) for number in range(2, 9)]
        await log.publish([one for both in zip(mine, others, strict=True) for one in both], [b"record"])
        await self.settle(log)
        published = await self.published()
        assert [value for key, value in published if key == b"client-1"] == [one.value for one in mine]
        assert {key for key, _ in published} == {one.key for one in (*mine, *others)}

    async def test_stopping_twice_is_harmless(self, log):
        await log.stop()
        await log.stop()


class KafkaContract(LogContract):
    ledger: TopicPartition
    tasks: str  # the messages' topic

    def open_log(self) -> KafkaLog:
        """With a `transaction_timeout_s` of a few seconds."""
        raise NotImplementedError

    async def producer(self, transactional_id: str, timeout_ms: int = 60_000) -> Any:
        raise NotImplementedError

    async def lose_requests(self) -> None:
        raise NotImplementedError

    async def lose_answers(self) -> None:
        raise NotImplementedError

    async def mend(self) -> None:
        raise NotImplementedError

    async def appended(self) -> int:
        raise NotImplementedError

    async def settle(self, log: Log) -> None:
        until = time.monotonic() + 300
        while (await log.bounds())[1] != await self.appended() and time.monotonic() < until:
            await asyncio.sleep(0.05)

    async def readable(self, log: KafkaLog, first: int = 0) -> list[tuple[int, bytes]]:
        """What needs no waiting: up to the first open transaction."""
        async with kafka.reader(log._settings, log._clients) as consumer:
            end = (await consumer.end_offsets([self.ledger]))[self.ledger]
        return [pair async for pair in log.read(first, end)]

    @staticmethod
    async def stalled(log: KafkaLog, monkeypatch: pytest.MonkeyPatch, first: int, end: int) -> str:
        """What a read says that gets nothing; whoever waits too short for a slow broker only learns that it is away."""
        for wait_s in (0.5, 4.0, 32.0, 256.0):
            monkeypatch.setattr(kafka, "STALLED_S", wait_s)
            with pytest.raises(Unavailable) as raised:
                assert not [pair async for pair in log.read(first, end)]
            if "gives no records" not in str(raised.value):
                break
        return str(raised.value)

    @staticmethod
    async def ends_at(log: Log, offset: int) -> None:
        """Markers follow the answer."""
        until = time.monotonic() + 300
        while (end := (await log.bounds())[1]) != offset and time.monotonic() < until:
            await asyncio.sleep(0.05)
        assert end == offset

    async def test_a_marker_takes_an_offset(self, log):
        last = await log.publish([], [b"one", b"two"])
        await self.ends_at(log, last + 2)
        assert await log.publish([], [b"three"]) == last + 2

    @pytest.mark.short
    async def test_what_is_open_hides_itself_and_all_that_comes_after(self, log, monkeypatch):
        before = await log.publish([message(1)], [b"before"])
        await self.ends_at(log, before + 2)  # or the stranger's record may come before the marker
        stranger = await self.producer("a-stranger")
        await stranger.begin_transaction()
        await (await stranger.send(self.ledger.topic, b"open", partition=self.ledger.partition))
        await (await stranger.send(self.tasks, b"open", key=message(2).key))
        last = await log.publish([message(2)], [b"behind"])
        await self.ends_at(log, last + 2)  # what was published behind it counts: a start must not pass it over
        assert await self.readable(log) == [(before, b"before")]
        said = await self.stalled(log, monkeypatch, before + 1, last + 1)
        assert f"from offset {before + 2} on cannot be read: a transaction of another" in said
        assert [key for key, _ in await self.published(open_transactions=True)] == [b"client-1"]
        successor = await self.producer("a-stranger")  # ends what its predecessor left open
        await self.ends_at(log, last + 3)  # two markers: the log's own, and that of the abort
        assert await self.held(log) == [(before, b"before"), (last, b"behind")]
        assert sorted(await self.published()) == [(message(n).key, message(n).value) for n in (1, 2)]
        with pytest.raises((ProducerFenced, InvalidProducerEpoch)):
            await stranger.commit_transaction()
        await stranger.stop()
        await successor.stop()

    async def test_a_transaction_that_is_left_alone_is_ended(self, log):
        sleeper = await self.producer("a-sleeper", timeout_ms=4_000)
        await sleeper.begin_transaction()
        await (await sleeper.send(self.ledger.topic, b"open", partition=self.ledger.partition))
        last = await log.publish([], [b"behind"])
        assert await self.readable(log) == []
        await self.ends_at(log, last + 3)
        assert await self.held(log) == [(last, b"behind")]
        with pytest.raises((ProducerFenced, InvalidProducerEpoch, InvalidTxnState)):
            await sleeper.commit_transaction()
        await sleeper.stop()

    async def test_the_first_record_that_is_not_older(self, log):
        began = int(time.time() * 1000) - 60_000
        async with kafka.reader(log._settings, log._clients) as consumer:
            assert await consumer.offsets_for_times({self.ledger: 0}) == {self.ledger: None}
            first = await log.publish([], [b"one"])
            await self.ends_at(log, first + 2)
            await log.publish([], [b"two"])
            found = (await consumer.offsets_for_times({self.ledger: 0}))[self.ledger]
            assert found.offset == first
            assert began < found.timestamp < began + 120_000
            assert await consumer.offsets_for_times({self.ledger: began + 3_600_000}) == {self.ledger: None}

    @pytest.mark.short
    async def test_an_end_whose_answer_is_lost_is_done(self, log, monkeypatch):
        await log.publish([message(1)], [b"one"])
        before_the_end(monkeypatch, log, self.lose_answers)
        with pytest.raises(Unavailable):
            await log.publish([message(2)], [b"two"])
        await log.stop()  # or the client inside would try again as soon as it can
        await self.mend()
        await log.start()
        assert [record for _, record in await self.held(log)] == [b"one", b"two"]
        assert {key for key, _ in await self.published()} == {b"client-1", b"client-2"}

    @pytest.mark.short
    async def test_an_end_that_is_lost_is_not_done(self, log, monkeypatch):
        await log.publish([message(1)], [b"one"])
        before_the_end(monkeypatch, log, self.lose_requests)
        with pytest.raises(Unavailable):
            await log.publish([message(2)], [b"two"])
        await log.stop()  # or the client inside would try again as soon as it can
        await self.mend()
        await log.start()
        assert [record for _, record in await self.held(log)] == [b"one"]
        await log.publish([message(3)], [b"three"])
        assert [record for _, record in await self.held(log)] == [b"one", b"three"]
        assert {key for key, _ in await self.published()} == {b"client-1", b"client-3"}

    @pytest.mark.short
    async def test_sends_without_an_answer_are_no_commit(self, log):
        await log.publish([message(1)], [b"one"])
        await self.lose_answers()
        with pytest.raises(Unavailable):
            await log.publish([message(2)], [b"two"])
        await self.mend()
        await log.start()
        assert [record for _, record in await self.held(log)] == [b"one"]
        assert [key for key, _ in await self.published()] == [b"client-1"]


def before_the_end(monkeypatch: pytest.MonkeyPatch, log: KafkaLog, what: Callable[[], Awaitable[None]]) -> None:
    """All sends are acknowledged; then this; then EndTxn is sent."""
    producer: Any = log._producer
    commit = producer.commit_transaction

    async def commit_after() -> None:
        await what()
        await commit()

    monkeypatch.setattr(producer, "commit_transaction", commit_after)
