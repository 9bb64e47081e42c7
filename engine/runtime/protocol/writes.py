"""What a unit writes: for each key that changed its state, when it is due, and its public fields.

Enters: writes. Leaves: chunks of them as the ledger holds them and the store's script applies them; and writes again.
Holds: a chunk names its fields, so that whoever applies it needs no list of its own; values are absolute.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

import msgpack

from engine.core.firm_time import NEVER_MS

STATE_FIELD: Final = "state"
MAX_CHUNK_BYTES: Final = 900_000  # below Kafka's default of 1 MB a record
ROW_BYTES: Final = 60  # about what a row takes beside its state, so that a chunk too large is seldom packed
LISTED: Final = ("tier", "segment", "advisor", "stage")  # public fields by whose values the store lists keys
PLACES: Final = "work_places"  # the one with a line for each work list that the key is in: list, place, what is there
PASSING: Final = ("work", PLACES)  # public fields, the last of all, that are not kept once they are empty
# A row of 0.1.0 held these after key and due time, in this order.
FIELDS_0_1: Final = (
    STATE_FIELD, "tier", "tier_since", "client_type", "segment", "value_score", "advisor", "assets_cny", "updated_at",
)  # fmt: skip


class Write(NamedTuple):
    """What becomes of one key."""

    key: str
    due_ms: int  # NEVER_MS or later: never
    state: bytes
    public: Mapping[str, str]  # what other systems read beside the state
    # the LISTED fields, then PLACES, as they were, when one has another value now; None when none has, () when nobody
    # knows
    moved: tuple[str, ...] | None = ()


def encode_writes(writes: Iterable[Write], chunk_bytes: int = MAX_CHUNK_BYTES) -> list[bytes]:
    """At least one chunk, none larger than it may be unless one row is. Each is `{fields: [state, public field...],
    rows: [[key, due or -1, values...], ...], moved: [[row, values before...], ...]}`: the numbers, from 1, of rows that
    may have another value in a LISTED field, or in its places in work lists, and what they had if that is known;
    absent, it is all.
    """
    chunks: list[bytes] = []
    for _, alike in groupby(sorted(writes, key=lambda write: len(write.public)), lambda write: tuple(write.public)):
        chunks += _chunks(list(alike), chunk_bytes)
    return chunks or [_chunk([STATE_FIELD], [], [])]


def _chunks(alike: Sequence[Write], most_bytes: int) -> list[bytes]:
    size_bytes = sum(len(write.state) for write in alike) + ROW_BYTES * len(alike)
    if size_bytes <= most_bytes or len(alike) == 1:
        rows = [(key, due if due < NEVER_MS else -1, state, *public.values()) for key, due, state, public, _ in alike]
        moved = [(row, *write.moved) for row, write in enumerate(alike, 1) if write.moved is not None]
        chunk = _chunk([STATE_FIELD, *alike[0].public], rows, moved)
        if len(chunk) <= most_bytes or len(alike) == 1:
            return [chunk]
        size_bytes = len(chunk)
    each = -(-len(alike) // (1 + size_bytes // most_bytes))
    return [part for at in range(0, len(alike), each) for part in _chunks(alike[at : at + each], most_bytes)]


def _chunk(fields: Iterable[str], rows: Sequence[Sequence[Any]], moved: Sequence[Sequence[Any]] | None = None) -> bytes:
    chunk: dict[str, Any] = {"fields": list(fields), "rows": rows}
    if moved is not None:
        chunk["moved"] = moved
    # Redis's cmsgpack does not know msgpack's binary type: bytes go as the older raw type
    packed: bytes = msgpack.packb(chunk, use_bin_type=False)
    return packed


def decode_writes(chunk: bytes) -> Iterator[Write]:
    found = msgpack.unpackb(chunk, raw=True)
    names = [name.decode() for name in found[b"fields"]]
    for key, due, *values in found[b"rows"]:
        fields = dict(zip(names, values, strict=True))
        state = fields.pop(STATE_FIELD)
        public = {name: text.decode() for name, text in fields.items()}
        yield Write(key.decode(), due if due >= 0 else NEVER_MS, state, public)


def from_0_1(chunk: bytes) -> bytes:
    """A chunk that 0.1.0 wrote, as chunks are now."""
    return _chunk(FIELDS_0_1, msgpack.unpackb(chunk, raw=True))
