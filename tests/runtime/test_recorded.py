"""The history as a topic gives it that lacks some of what the ledger says was decided."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka import TopicPartition

from engine.runtime.errors import Refused, Unavailable
from engine.runtime.kafka import history as recorded
from engine.runtime.kafka.history import RecordedInputs
from engine.runtime.settings import Settings
from tests.runtime.driving import ConsumerRecord


class Short:
    """A consumer of topics that hold offsets 2 to 4 and give no more."""

    def __init__(self) -> None:
        self._at: dict[TopicPartition, int] = {}

    async def beginning_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, 2)

    def assign(self, tps: list[TopicPartition]) -> None:
        self._at = dict.fromkeys(tps, 0)

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self._at[tp] = offset

    async def position(self, tp: TopicPartition) -> int:
        return self._at[tp]

    async def getmany(self, tp: TopicPartition, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Any]]:
        found = [ConsumerRecord(offset, offset) for offset in range(self._at[tp], 5)]
        self._at[tp] = 5
        return {tp: found} if found else {}


async def test_what_is_gone_is_left_out_or_refused():
    inputs = RecordedInputs(Settings(), Short(), 3)
    assert [record.offset for record in await inputs.read({"logins": (0, 4)})] == [2, 3]
    whole = RecordedInputs(Settings(), Short(), 3, whole=True)
    with pytest.raises(Refused, match="partition 3: logins no longer holds offsets 0 to 1"):
        await whole.read({"logins": (0, 4)})


async def test_what_never_comes_is_not_waited_for_without_end(monkeypatch):
    monkeypatch.setattr(recorded, "STALLED_S", 0.05)
    inputs = RecordedInputs(Settings(), Short(), 3)
    with pytest.raises(Unavailable, match="logins-3 gives no records at 5"):
        await inputs.read({"logins": (2, 9)})
