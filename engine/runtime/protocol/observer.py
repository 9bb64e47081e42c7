"""What a partition reports about itself while it runs. Metrics are one observer.

Enters: what happened. Leaves: nothing: no decision depends on an observer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from engine.runtime.protocol.unit import OpenUnit

Phase = Literal["decide", "publish", "apply"]


class Observer(Protocol):
    def uses(self, plan: Any) -> None:
        """It decides with this plan from now on."""

    def timing(self, phase: Phase) -> AbstractContextManager[Any]:
        """Wraps a phase whose duration matters."""

    def decided(self, plan: Any, states: Mapping[str, Any], inputs: Sequence[Any]) -> None: ...

    def committed(self, partition: int, cause: str, unit: OpenUnit, tallies: Mapping[str, int], records: int) -> None:
        """A unit was committed, in so many ledger records; `tallies` counts the states by label."""

    def recovered(self, partition: int, units: int, tallies: Mapping[str, int]) -> None:
        """A start applied this many units of the ledger."""

    def ticked(self) -> None: ...

    def swept(self, changed: int, unchanged: int) -> None: ...


class NobodyListens:
    """The Observer of commands: it ignores everything."""

    def uses(self, plan: Any) -> None: ...

    def timing(self, phase: Phase) -> AbstractContextManager[Any]:
        return nullcontext()

    def decided(self, plan: Any, states: Mapping[str, Any], inputs: Sequence[Any]) -> None: ...

    def committed(
        self, partition: int, cause: str, unit: OpenUnit, tallies: Mapping[str, int], records: int
    ) -> None: ...

    def recovered(self, partition: int, units: int, tallies: Mapping[str, int]) -> None: ...

    def ticked(self) -> None: ...

    def swept(self, changed: int, unchanged: int) -> None: ...
