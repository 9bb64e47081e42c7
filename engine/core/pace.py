"""What all clients of a partition share: from when on each rate has room again.

Enters: nothing. Leaves: Pace. Holds: `decide` is given it beside the states; the position keeps it from unit to unit.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Pace:
    """Of one of so many partitions, each of which has an equal share."""

    free_ms: dict[str, int] = field(default_factory=dict)  # rate -> when it has room again
    partitions: int = 1
