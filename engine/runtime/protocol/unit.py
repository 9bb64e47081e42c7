"""A commit unit while it is open: what was decided since the last commit, and when it is to be committed.

Enters: what batches, ticks and sweeps led to. Leaves: what the ledger is to record.
Holds: a unit is in memory only; one that cannot be committed is thrown away whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from engine.core.client.state import ClientState
from engine.core.contract.decode import Rejected, Taken
from engine.core.contract.message import Message
from engine.core.decide.path import Decided
from engine.runtime.protocol.ledger import Step
from engine.runtime.protocol.position import End, Position
from engine.runtime.protocol.records import Inbound, Outcome, Rerouted
from engine.runtime.protocol.writes import MAX_CHUNK_BYTES


@dataclass(frozen=True, slots=True)
class UnitLimits:
    """When a unit without messages is committed all the same (one with a message is committed at once), and after how
    many bytes of writes another ledger record begins.
    """

    records: int = 5_000
    size_bytes: int = 16_000_000
    age_s: float = 1.0
    chunk_bytes: int = MAX_CHUNK_BYTES


@dataclass(slots=True)
class OpenUnit:
    """What was decided since the last commit."""

    messages: list[Message] = field(default_factory=list)
    changed: dict[str, ClientState] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    records: int = 0
    size_bytes: int = 0
    clients_added: int = 0
    swept: str | None = None  # under which timed rules all clients have been looked at, when that is new
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    moves: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    rejected: Counter[tuple[str, str]] = field(default_factory=Counter)
    rerouted: Counter[str] = field(default_factory=Counter)
    unread: Counter[tuple[str, str]] = field(default_factory=Counter)  # (topic, field)
    duplicates: Counter[str] = field(default_factory=Counter)
    late: Counter[str] = field(default_factory=Counter)

    def add(self, decided: Decided, clients_added: int) -> None:
        self.clients_added += clients_added
        self.messages += decided.messages
        self.changed.update(decided.changed)
        self.outcomes.update(decided.outcomes)
        self.moves.update(decided.moves)
        self.duplicates.update(decided.duplicates)
        self.late.update(decided.late)

    def take(self, record: Inbound, outcome: Outcome) -> None:
        """Count a record; what is not decided here is published for whoever can do something with it."""
        match outcome:
            case Taken():
                self.events[record.topic] += 1
                self.unread.update((record.topic, name) for name in outcome.unread)
            case Rerouted():
                self.rerouted[record.topic] += 1
                self.messages.append(record.set_aside(outcome))
            case Rejected():
                self.rejected[record.topic, outcome.reason.value] += 1
                self.messages.append(record.set_aside(outcome))
            case _:
                assert_never(outcome)

    def end(self, stands: Position, offsets: Mapping[str, int], timed_digest: str) -> End:
        """Where the partition stands once the unit is committed, but for what the ledger will say."""
        tiers = Counter(stands.tallies)
        for (from_tier, to_tier, _), times in self.moves.items():
            tiers[to_tier] += times
            if from_tier:
                tiers[from_tier] -= times
        # When to look at a client again is noted by the rules of the moment: deciding by others undoes a sweep
        swept = timed_digest if stands.swept == timed_digest or not stands.states else ""
        return replace(
            stands.end,
            offsets=dict(offsets),
            states=stands.states + self.clients_added,
            tallies={tier: number for tier, number in sorted(tiers.items()) if number},
            swept=swept if self.swept is None else self.swept,
        )
