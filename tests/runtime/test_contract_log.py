"""The Log in memory keeps the contract that the one on Kafka keeps (tests/kafka), and fails as it is told to."""

from __future__ import annotations

import pytest

from engine.runtime.errors import Unavailable
from engine.runtime.protocol.ledger import Log
from tests.contract_log import LogContract, message
from tests.memory import ABORTED, AFTER, BEFORE, Faults, Ledger, MemoryLog


class TestMemoryLog(LogContract):
    @pytest.fixture(autouse=True)
    def _ledger(self):
        self.ledger = Ledger()

    def open_log(self) -> Log:
        return MemoryLog(self.ledger)

    async def published(self):
        return [(m.key, m.value) for m in self.ledger.messages]


@pytest.mark.parametrize(("fault", "committed"), [(BEFORE, False), (ABORTED, False), (AFTER, True)])
async def test_a_failure_leaves_all_or_nothing(fault, committed):
    ledger = Ledger()
    log = MemoryLog(ledger, Faults(["", fault]))
    await log.start()
    await log.publish([message(1)], [b"one"])
    with pytest.raises(Unavailable):
        await log.publish([message(2)], [b"two", b"three"])
    expected = [b"one", b"two", b"three"] if committed else [b"one"]
    assert [record for _, record in ledger.units()] == expected
    assert len(ledger.messages) == (2 if committed else 1)
    await log.publish([], [b"next"])
    offset, record = ledger.units()[-1]
    assert record == b"next"
    assert offset == {BEFORE: 2, ABORTED: 5, AFTER: 5}[fault]
