"""A commit unit while it is open: what was decided since the last commit, and when it is to be committed.

Enters: what batches, ticks and sweeps led to. Leaves: what the ledger is to record.
Holds: a unit is in memory only; one that cannot be committed is thrown away whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, assert_never

from engine.core.contract.message import Message
from engine.core.reading.decode import Rejected
from engine.runtime.protocol.ledger import Step
from engine.runtime.protocol.position import End, Position
from engine.runtime.protocol.processor import Decided
from engine.runtime.protocol.records import Inbound, Rerouted
from engine.runtime.protocol.writes import MAX_CHUNK_BYTES

HEAD_BYTES: Final = 600  # what a message takes beside its value, about: its headers are objects


@dataclass(frozen=True, slots=True)
class UnitLimits:
    """When a unit is full, after how many bytes of writes another ledger record begins, and how many clients a tick
    takes. It is, too, when it changed as many clients as the cache keeps: until it is committed, none can be forgotten.
    One with a message is committed before that, unless a quarter as many records wait: a client is written once a unit.
    """

    records: int = 20_000
    size_bytes: int = 16_000_000
    chunk_bytes: int = MAX_CHUNK_BYTES
    tick_clients: int = 1_000


@dataclass(slots=True)
class OpenUnit:
    """What was decided since the last commit."""

    messages: list[Message] = field(default_factory=list)
    pressing: int = 0  # of them, those that do not only ride
    changed: dict[str, Any] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    records: int = 0
    size_bytes: int = 0  # of records and messages
    states_added: int = 0
    swept: str | None = None  # digest of the rules under which all clients have been evaluated, if that is new
    load: Mapping[str, Any] | None = None  # of a load's unit: see End
    counts: Counter[tuple[str, ...]] = field(default_factory=Counter)  # metric and its labels
    tallies: Counter[str] = field(default_factory=Counter)  # by how many more states have each label
    events: Counter[str] = field(default_factory=Counter)
    rejected: Counter[tuple[str, str]] = field(default_factory=Counter)  # (topic, reason)
    refusals: dict[tuple[str, str], str] = field(default_factory=dict)  # of each of them, an error
    rerouted: Counter[str] = field(default_factory=Counter)
    unread: Counter[tuple[str, str]] = field(default_factory=Counter)  # (topic, field)
    acted_ms: list[int] = field(default_factory=list)  # of each message that a record led to, the record's time

    def add(self, decided: Decided[Any], states_added: int) -> None:
        self.states_added += states_added
        self.messages += decided.messages
        self.size_bytes += sum([len(message.value or b"") + HEAD_BYTES for message in decided.messages])
        self.pressing += sum(not message.rides for message in decided.messages)
        self.changed.update(decided.changed)
        self.counts.update(decided.counts)
        self.tallies.update(decided.tallies)

    def set_aside(self, record: Inbound, outcome: Rejected | Rerouted) -> None:
        """Count a record that is not decided here; it is published for whoever can do something with it."""
        self.pressing += 1
        match outcome:
            case Rerouted():
                self.rerouted[record.topic] += 1
                self.messages.append(record.set_aside(outcome))
            case Rejected():
                self.rejected[record.topic, outcome.reason.value] += 1
                self.refusals.setdefault((record.topic, outcome.reason.value), outcome.error)
                self.messages.append(record.set_aside(outcome))
            case _:
                assert_never(outcome)

    def end(self, stands: Position, offsets: Mapping[str, int], swept_by: str, pace: Mapping[str, int]) -> End:
        """Where the partition stands once the unit is committed, but for what the ledger will say."""
        tallies = Counter(stands.tallies)
        tallies.update(self.tallies)
        # Each client stores when it is next due, by the rules of the moment: deciding by others undoes a sweep
        swept = swept_by if stands.swept == swept_by or not stands.states else ""
        return replace(
            stands.end,
            offsets=dict(offsets),
            states=stands.states + self.states_added,
            tallies={label: number for label, number in sorted(tallies.items()) if number},
            swept=swept if self.swept is None else self.swept,
            load=stands.end.load if self.load is None else self.load,
            pace=dict(pace),
        )
