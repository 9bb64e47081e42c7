"""What all clients of a partition share: from when on each rate has room again, and its part of each budget.

Enters: nothing. Leaves: Pace. Holds: `decide` is given it beside the states; the position keeps it from unit to unit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

_BLOCK: Final = "budget:"  # before a budget's name; no rate is called so


class Block(NamedTuple):
    """A partition's part of a budget in a period. Amounts are fen, or a number of actions."""

    period: str
    until_ms: int  # when the period ends
    limit: int  # of the whole budget, by the rules it was asked for by
    left: int = 0  # granted and not spent
    spent: int = 0  # in this period, here
    size: int = 0  # of what was granted last
    request: str = ""  # what was asked for and is not answered
    asked_ms: int = 0  # when that was said last
    asked: tuple[str, int, int] = ("", 0, 0)  # by which client, how much, and at least how much
    last: str = ""  # the last request that was granted
    missed: int = 0  # what actions cost that waited since that was asked for
    refused: int = 0  # of so much there was no more; 0: nobody said so
    late: tuple[str, ...] = ()  # requests of before: what is granted to them is given back
    asks: int = 0  # how often the request was said again

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left of it, or to come."""
        return not (self.left or self.request)


@dataclass(slots=True)
class Pace:
    """Of one of so many partitions, each of which has an equal share of a rate."""

    kept: dict[str, Any] = field(default_factory=dict)  # rate -> when it has room again; budgets: -> its block
    partitions: int = 1
    asks_rates: bool = True
    asks_room: bool = True  # whether advisors are asked who have at most so many open tasks

    def block(self, budget: str) -> Block | None:
        found = self.kept.get(_BLOCK + budget)
        if found is None or isinstance(found, Block):
            return found
        block = Block(*found)  # as the position has it
        return block._replace(asked=(block.asked[0], block.asked[1], block.asked[2]), late=tuple(block.late))

    def keep(self, budget: str, block: Block | None) -> None:
        if block is not None:
            self.kept[_BLOCK + budget] = block
        else:
            self.kept.pop(_BLOCK + budget, None)

    def budgets(self) -> Iterator[str]:
        """Those of which it has a block, or had one; by name, since a position that is read has that order, too."""
        return (name.removeprefix(_BLOCK) for name in sorted(self.kept) if name.startswith(_BLOCK))
