"""Client states in memory, within a bound of bytes.

Enters: states, and the packed bytes of some of them. Leaves: the states used last.
Holds: what a state takes is judged by the packed sizes seen last, so that richer rules or longer histories keep fewer
clients instead of taking more memory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Container, Iterable, Sequence
from itertools import islice
from typing import Final

from engine.runtime.protocol.processor import State

# What states take with what is kept of them for the next write, by the memory of the process. Under few features 3.5 kB
# at 150 bytes packed, 4.6 at 370; under the shipped rules 11.5 at 900, 14.5 at 1,340, 25.7 at 2,160, 34.7 at 2,680
LIGHT_BYTES: Final = 2_900
LIGHT_BYTES_PER_PACKED_BYTE: Final = 4.8
RICH_BYTES: Final = -1_000
RICH_BYTES_PER_PACKED_BYTE: Final = 13.0
FIRST_GUESS_BYTES: Final = 12_000.0
WEIGHT_OF_NEWS: Final = 0.2


class StateCache(OrderedDict[str, State]):
    """By key; those used last are at the end."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__()
        self._limit_bytes = limit_bytes
        self._bytes_each = FIRST_GUESS_BYTES

    @property
    def limit(self) -> int:
        """How many clients are kept."""
        return int(self._limit_bytes / self._bytes_each)

    def weigh(self, packed: Sequence[bytes]) -> None:
        """Learn from states just loaded or written what one takes."""
        if packed:
            mean = sum(map(len, packed)) / len(packed)
            light = LIGHT_BYTES + LIGHT_BYTES_PER_PACKED_BYTE * mean
            each = max(light, RICH_BYTES + RICH_BYTES_PER_PACKED_BYTE * mean)
            self._bytes_each += WEIGHT_OF_NEWS * (each - self._bytes_each)

    def make_room(self, clients: int, wanted: Container[str], uncommitted: Collection[str]) -> None:
        """Forget who was used longest ago so that as many more fit in; none who is wanted or not committed yet. While
        some are not, a quarter more may stay: whom a unit needs again is not read again.
        """
        excess = len(self) + clients - (self.limit * 5 // 4 if uncommitted else self.limit)
        if excess > 0:
            for client_id in list(islice((c for c in self if c not in wanted and c not in uncommitted), excess)):
                del self[client_id]

    def keep_last(self, used: Iterable[str]) -> None:
        """Forget who was used longest ago, beyond the bound."""
        for client_id in used:
            self.move_to_end(client_id)
        for _ in range(len(self) - self.limit):
            self.popitem(last=False)
