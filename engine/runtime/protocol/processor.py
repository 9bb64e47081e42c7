"""What a partition decides, as far as the protocol knows: a Processor; and whom it reports to: an Observer.

Enters: inbound records, states, moments. Leaves: messages and changed states.
Holds: whatever follows from what keys and states mean is in here; partition, intake, log, store, replay and snapshot
know nothing else of it. `decide` is a pure function. No decision depends on an observer; metrics are one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeVar

from engine.core.contract.events import Event
from engine.core.contract.message import Message
from engine.core.pace import Pace
from engine.core.reading.decode import Decode
from engine.runtime.protocol.writes import Write

if TYPE_CHECKING:
    from engine.runtime.protocol.unit import OpenUnit

Phase = Literal["decide", "publish", "apply"]
Plan = TypeVar("Plan")  # what it decides by; one object for as long as the rules stay the same
State = TypeVar("State")  # of one key
Input = TypeVar("Input")


@dataclass(slots=True)
class Decided(Generic[State]):
    """The result of a sequence of inputs."""

    messages: list[Message] = field(default_factory=list)
    changed: dict[str, State] = field(default_factory=dict)  # by key, those that differ from before
    counts: Counter[tuple[str, ...]] = field(default_factory=Counter)  # metric and its labels
    tallies: Counter[str] = field(default_factory=Counter)  # by how many more states have each label


class Processor(ABC, Generic[Plan, State, Input]):
    name: ClassVar[str]  # of the group of its workers
    semantics: ClassVar[int]  # raised when the same inputs may come to other decisions
    suffix: ClassVar[str]  # what distinguishes its ledger and its keys from others'; see Settings.scoped

    @abstractmethod
    def ranks(self) -> dict[str, int]:
        """The topics that it reads, rerouted copies included, with their places in the merge, in that order."""

    @abstractmethod
    def decoder(self, plan: Plan) -> Decode:
        """What a record is may depend on the plan, which the ledger names. It raises nothing, whatever the bytes."""

    @abstractmethod
    def arrived(self, events: Sequence[tuple[str, Event]]) -> Sequence[Input]:
        """Events with the topics that they came on. Each concerns the state of its `client_id`."""

    @abstractmethod
    def due(self, key: str, time_ms: int) -> Input:
        """Time has reached this moment."""

    @abstractmethod
    def sweep(self, key: str, time_ms: int) -> Input:
        """The rules have changed: evaluate the key at this moment."""

    @abstractmethod
    def decide(
        self, plan: Plan, states: MutableMapping[str, State], inputs: Sequence[Input], decided_ms: int, pace: Pace
    ) -> Decided[State]:
        """In order. `states` holds every key that is named and known; new ones are added to it. `pace` is what all keys
        of the partition share; it is changed.
        """

    @abstractmethod
    def pack(self, plan: Plan, state: State) -> bytes: ...

    @abstractmethod
    def unpack(self, plan: Plan, packed: bytes) -> State:
        """Raises Newer for a state of a newer engine, and anything for what is not a state."""

    @abstractmethod
    def write(self, state: State, packed: bytes) -> Write:
        """With when it is due, and what other systems read."""

    def recount(self, state: State) -> Mapping[str, int]:
        """By how many more states have each label, for what this one has become since it was read or last counted."""
        return {}

    @abstractmethod
    def digest(self, plan: Plan) -> str:
        """Names the plan, in the ledger."""

    def swept_by(self, plan: Plan) -> str:
        """Names all that a state without events follows from: if it is another, all states are swept. Empty: never."""
        return ""

    @property
    def bare_plan(self) -> Plan:
        """One to read and copy states by, without rules."""
        raise NotImplementedError

    def refill(self, plan: Plan, state: State, packed: bytes, names: Collection[str]) -> None:
        """Take over what a backfill of these features wrote."""
        raise NotImplementedError


class Observer(Protocol):
    def uses(self, plan: Any) -> None:
        """It decides with this plan from now on."""

    def timing(self, phase: Phase) -> AbstractContextManager[Any]:
        """Wraps a phase whose duration matters."""

    def decided(self, plan: Any, states: Mapping[str, Any], inputs: Sequence[Any]) -> None: ...

    def committed(
        self, partition: int, cause: str, unit: OpenUnit, tallies: Mapping[str, int], records: Sequence[bytes]
    ) -> None:
        """A unit was committed, in these ledger records; `tallies` counts the states by label."""

    def recovered(self, partition: int, units: int, healed: int, tallies: Mapping[str, int]) -> None:
        """A start applied this many units of the ledger, and wrote so many keys again that were gone."""

    def ticked(self) -> None: ...

    def swept(self, changed: int, unchanged: int) -> None: ...

    def stands(self, partition: int, rule_set: str, sweeping: bool) -> None:
        """After a start, a change of rules, and at both ends of a sweep: the digest of its rules, and whether clients
        have yet to be evaluated under them.
        """


class NobodyListens:
    """The Observer of commands: it ignores everything."""

    def uses(self, plan: Any) -> None: ...

    def timing(self, phase: Phase) -> AbstractContextManager[Any]:
        return nullcontext()

    def decided(self, plan: Any, states: Mapping[str, Any], inputs: Sequence[Any]) -> None: ...

    def committed(
        self, partition: int, cause: str, unit: OpenUnit, tallies: Mapping[str, int], records: Sequence[bytes]
    ) -> None: ...

    def recovered(self, partition: int, units: int, healed: int, tallies: Mapping[str, int]) -> None: ...

    def ticked(self) -> None: ...

    def swept(self, changed: int, unchanged: int) -> None: ...

    def stands(self, partition: int, rule_set: str, sweeping: bool) -> None: ...
