"""What a partition tells about itself while it runs. Metrics are one who listens.

Enters: what happened. Leaves: nothing: no decision follows from who listens.
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
        """It decides by this plan from now on."""

    def timing(self, phase: Phase) -> AbstractContextManager[Any]:
        """Around what takes time."""

    def decided(self, plan: Any, states: Mapping[str, Any], inputs: Sequence[Any]) -> None: ...

    def committed(self, partition: int, cause: str, unit: OpenUnit, tallies: Mapping[str, int], records: int) -> None:
        """A unit, in so many ledger records; how many states have each label now."""

    def recovered(self, partition: int, units: int, tallies: Mapping[str, int]) -> None:
        """At a start, by so many units of the ledger."""

    def ticked(self) -> None: ...

    def swept(self, changed: int, unchanged: int) -> None: ...


class NobodyListens:
    """An Observer for commands."""

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
