"""What a simulated broker's other systems send, beside trades, logins, money and profiles: kept until its day.

Enters: records of any day. Leaves: those of a day, none at the moment of another event of its client. Holds: whichever
topics are asked for, the records of each are the same.

Positions are among them: what the custody system says of a client's securities after a day.
"""

from __future__ import annotations

from collections.abc import Collection
from random import Random
from typing import Any, Final

from engine.core.contract.topics import EVENTS
from engine.demo.population import Client
from engine.operations.record_file import SimulatedRecord

ANSWERS: Final = ("receipts", "outcomes", "feedback", "complaints", "overrides", "corrections")
POSITIONS: Final = "positions"
HOUR_MS: Final = 3_600_000
_RISK_OF: Final = {
    **{"bond": "R2", "robo_portfolio": "R2", "etf": "R3", "fund": "R3"},
    **{"stock": "R4", "future": "R5", "option": "R5"},
}


class Later:
    def __init__(self, topics: Collection[str]) -> None:
        self._topics = topics
        self._sent: dict[tuple[str, str], int] = {}  # by client and kind of id
        self._records: list[SimulatedRecord] = []
        self.wanted = not {EVENTS, POSITIONS, *ANSWERS}.isdisjoint(topics)
        self.moments: set[tuple[str | None, int]] = set()  # of the day's other events, by client

    def send(self, topic: str, client: Client, time_ms: int, fields: dict[str, Any]) -> None:
        if self.wanted:
            what = "own" if topic == EVENTS else topic
            number = self._sent[client.id, what] = self._sent.get((client.id, what), 0) + 1
            about = {"event_id": f"{client.id}-{what}-{number}", "client_id": client.id, "time": time_ms}
            self._records.append(SimulatedRecord(topic, client.id, time_ms, about | fields))

    def before(self, end_ms: int) -> list[SimulatedRecord]:
        """What was sent before this moment."""
        found = sorted((record for record in self._records if record.time_ms < end_ms), key=lambda r: r.time_ms)
        self._records = [record for record in self._records if record.time_ms >= end_ms]
        taken, self.moments = self.moments, set()
        moved = []
        for record in found:
            time_ms = record.time_ms
            while (record.key, time_ms) in taken:
                time_ms += 1
            taken.add((record.key, time_ms))
            assert isinstance(record.value, dict)
            moved.append(record._replace(time_ms=time_ms, value=record.value | {"time": time_ms}))
        return [record for record in moved if record.topic in self._topics]


class Custody:
    """Says what a client holds. Quantities stay for a while, prices follow the market; a random source of its own."""

    def __init__(self, seed: int, later: Later) -> None:
        self._uniform = Random(seed).random
        self._later = later
        self._held: dict[str, dict[str, tuple[int, int]]] = {}  # by client and symbol: (quantity, cost in fen)

    def active(self, client: Client, midnight_ms: int, index: float) -> None:
        """On one active day in four, each security that the client holds, or has held until now."""
        uniform = self._uniform
        room_fen = client.assets_fen - client.cash_fen
        if uniform() > 0.25 or room_fen <= 0:
            return
        held = self._held.setdefault(client.id, {})
        time_ms = max(midnight_ms + int((16 + 2 * uniform()) * HOUR_MS), client.born_ms)
        for symbol, product, start_fen in dict.fromkeys(client.securities):
            price_fen = max(1, int(start_fen * index * (0.93 + 0.14 * uniform())))
            room_fen //= 2
            before, cost_fen = held.get(symbol, (0, 0))
            chance, quantity = uniform(), before
            if not before or chance < 0.1:
                quantity = room_fen // price_fen if chance < 0.8 else 0
            elif chance < 0.2:
                quantity = 0
            if not quantity and not before:
                continue
            bought = quantity - before
            cost_fen = cost_fen + bought * price_fen if bought >= 0 else cost_fen * quantity // before
            held[symbol] = quantity, cost_fen
            value = {"symbol": symbol, "product": product, "risk_class": _RISK_OF.get(product), "quantity": quantity}
            value |= {"value_fen": quantity * price_fen, "cost_fen": cost_fen}
            self._later.send(POSITIONS, client, time_ms, value)
