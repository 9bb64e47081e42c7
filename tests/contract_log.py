"""What every Log keeps, whatever is below it. A test module derives from LogContract and says how to open one.

`open_log()` gives a new Log of the same, at first empty, ledger partition; `published()` what a read_committed consumer
sees on the messages' topic.
"""

from __future__ import annotations

import pytest

from engine.core.messages import Message
from engine.runtime.ledger import Fenced, Log


def message(number: int) -> Message:
    key = f"client-{number}".encode()
    return Message("tasks", key, b'{"number":%d}' % number, (("ce_id", b"%d" % number),))


class LogContract:
    def open_log(self) -> Log:
        raise NotImplementedError

    async def published(self) -> list[tuple[bytes | None, bytes | None]]:
        raise NotImplementedError

    @pytest.fixture
    async def log(self):
        log = self.open_log()
        await log.start()
        yield log
        await log.stop()

    @staticmethod
    async def held(log: Log, first: int = 0) -> list[tuple[int, bytes]]:
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

    async def test_stopping_twice_is_harmless(self, log):
        await log.stop()
        await log.stop()
