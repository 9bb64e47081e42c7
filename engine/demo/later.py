"""What a simulated broker's other systems send, beside trades, logins, money and profiles: kept until its day.

Enters: records of any day. Leaves: those of a day, none at the moment of another event of its client. Holds: whichever
topics are asked for, the records of each are the same.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from engine.core.contract.topics import EVENTS
from engine.demo.population import Client
from engine.operations.record_file import SimulatedRecord

ANSWERS: Final = ("receipts", "outcomes", "feedback", "complaints")


class Later:
    def __init__(self, topics: Collection[str]) -> None:
        self._topics = topics
        self._sent: dict[tuple[str, str], int] = {}  # by client and kind of id
        self._records: list[SimulatedRecord] = []
        self.wanted = not {EVENTS, *ANSWERS}.isdisjoint(topics)
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
