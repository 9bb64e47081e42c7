"""Client states in memory, within a bound of bytes.

Enters: states, and the packed bytes of some of them. Leaves: the states used last.
Holds: what a state takes is judged by the packed sizes seen last, so that richer rules or longer histories keep fewer
clients instead of taking more memory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence, Set
from itertools import islice
from typing import Final

from engine.runtime.protocol.processor import State

# What states of the shipped rules take, from 500 to 1,900 bytes packed.
BYTES_EACH: Final = 2_500
BYTES_PER_PACKED_BYTE: Final = 9.5
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
            each = BYTES_EACH + BYTES_PER_PACKED_BYTE * sum(map(len, packed)) / len(packed)
            self._bytes_each += WEIGHT_OF_NEWS * (each - self._bytes_each)

    def make_room(self, clients: int, wanted: Set[str]) -> None:
        """Forget who was used longest ago so that as many more fit in; none of the wanted ones."""
        excess = len(self) + clients - self.limit
        if excess > 0:
            for client_id in list(islice((c for c in self if c not in wanted), excess)):
                del self[client_id]

    def keep_last(self, used: Iterable[str]) -> None:
        """Forget who was used longest ago, beyond the bound."""
        for client_id in used:
            self.move_to_end(client_id)
        for _ in range(len(self) - self.limit):
            self.popitem(last=False)
