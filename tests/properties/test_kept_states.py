"""A worker reads a client from Redis where the one before it had the client in memory: both decide the same."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from engine.core.client.sections import pack, unpack
from engine.core.client.state import ClientState
from engine.core.decide.path import Due, Input, decide
from engine.core.pace import Pace
from engine.core.reading.decode import Taken, decode, kind_of
from engine.demo.simulator import DAY_MS, simulate
from engine.operations.record_file import to_json
from tests.core.making import shipped_plan

PLAN = shipped_plan()
END_MS = 1_793_000_000_000
EVENTS = 2_500
RE_READ = 0.7  # of the clients that changed


class Worker:
    """Decides units; one that `forgets` reads most clients again from what it wrote of them."""

    def __init__(self, forgets: Random | None) -> None:
        self._forgets = forgets
        self._pace = Pace(partitions=4)
        self.states: dict[str, ClientState] = {}

    def decide(self, inputs: list[Input], now_ms: int) -> tuple[list[Any], dict[str, bytes]]:
        decided = decide(PLAN, self.states, inputs, now_ms, self._pace)
        written = {client_id: pack(PLAN.layout, client) for client_id, client in decided.changed.items()}
        for client_id in written:
            if self._forgets is not None and self._forgets.random() < RE_READ:
                self.states[client_id] = unpack(PLAN.layout, written[client_id])
        return decided.messages, written

    def due(self, now_ms: int) -> list[Input]:
        return [Due(name, now_ms) for name, client in sorted(self.states.items()) if client.due_ms <= now_ms]


@pytest.mark.parametrize(("clients", "days"), [(8, 300), (300, 20), (4_000, 5)])
def test_what_was_read_again_decides_the_same(clients: int, days: int) -> None:
    """The shipped rules, all topics, events as late as a backlog's, timers by the wall clock."""
    random = Random(clients)
    stays, forgets = Worker(None), Worker(Random(days))
    unit: list[Input] = []
    for number, record in enumerate(simulate(days, clients, END_MS - days * DAY_MS, END_MS, count=EVENTS)):
        key = None if record.key is None else record.key.encode()
        taken = decode(record.topic, key, to_json(record.value), -1, PLAN.declared_types)
        assert isinstance(taken, Taken)
        unit.append((kind_of(record.topic, taken.event), taken.event))
        now_ms = END_MS + number
        if random.random() < 0.1:
            assert stays.decide(unit, now_ms) == forgets.decide(unit, now_ms)
            due, unit = stays.due(now_ms), []
            assert due == forgets.due(now_ms)
            assert stays.decide(due, now_ms) == forgets.decide(due, now_ms)
    assert forgets.states.keys() == stays.states.keys()
