"""The smallest Processor: it counts the events of each key, says so at every third, and is woken an hour later.

Holds: nothing in it knows of clients, rules or tiers.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import msgpack

from engine.core.contract.events import Event
from engine.core.contract.message import Message
from engine.core.contract.topics import ranks
from engine.core.firm_time import HOUR_MS, NEVER_MS
from engine.core.reading.decode import Decode, decode
from engine.runtime.errors import Newer
from engine.runtime.protocol.processor import Decided, Processor
from engine.runtime.protocol.writes import Write

VERSION: Final = 1
EVERY: Final = 3


@dataclass(slots=True)
class Count:
    key: str
    events: int = 0
    due_ms: int = NEVER_MS


@dataclass(frozen=True, slots=True)
class Moment:
    key: str
    time_ms: int
    event: bool


class Counter(Processor[Any, Count, Moment]):
    name: ClassVar[str] = "counter"
    suffix: ClassVar[str] = "counter"
    semantics: ClassVar[int] = 1

    def ranks(self) -> dict[str, int]:
        return ranks()

    def decoder(self, plan: Any) -> Decode:
        return decode

    def arrived(self, events: Sequence[tuple[str, Event]]) -> Sequence[Moment]:
        return [Moment(event.client_id, event.time, event=True) for _, event in events]

    def due(self, key: str, time_ms: int) -> Moment:
        return Moment(key, time_ms, event=False)

    def sweep(self, key: str, time_ms: int) -> Moment:
        raise AssertionError("nothing is swept by")

    def decide(
        self, plan: Any, states: MutableMapping[str, Count], inputs: Sequence[Moment], decided_ms: int, pace: Any
    ) -> Decided[Count]:
        decided: Decided[Count] = Decided()
        for moment in inputs:
            if moment.event:
                count = states.setdefault(moment.key, Count(moment.key))
                count.events += 1
                count.due_ms = moment.time_ms + HOUR_MS
                if count.events == EVERY:
                    decided.tallies["many"] += 1
                if count.events % EVERY == 0:
                    name = f"{moment.key}:{count.events}".encode()
                    decided.messages.append(Message("tasks", moment.key.encode(), name, (("ce_id", name),)))
            elif (count := states.get(moment.key) or Count("")).due_ms <= moment.time_ms:
                count.due_ms = NEVER_MS
            else:
                continue
            decided.changed[moment.key] = count
        return decided

    def pack(self, plan: Any, state: Count) -> bytes:
        packed: bytes = msgpack.packb([VERSION, state.key, state.events, state.due_ms])
        return packed

    def unpack(self, plan: Any, packed: bytes) -> Count:
        version, *fields = msgpack.unpackb(packed)
        if version > VERSION:
            raise Newer(f"version {version}")
        return Count(*fields)

    def write(self, state: Count, packed: bytes) -> Write:
        return Write(state.key, state.due_ms, packed, {"events": str(state.events)})

    def digest(self, plan: Any) -> str:
        return getattr(plan, "rule_set", plan).digest if plan else "one"

    @property
    def bare_plan(self) -> Any:
        return None


COUNTER: Final = Counter()
