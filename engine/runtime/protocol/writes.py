"""What a unit writes: for each key that changed its state, when it is due, and its public fields.

Enters: writes. Leaves: chunks of them as the ledger holds them and the store's script applies them; and writes again.
Holds: a chunk names its fields, so that whoever applies it needs no list of its own; values are absolute.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgpack

from engine.core.firm_time import NEVER_MS

STATE_FIELD: Final = "state"
MAX_CHUNK_BYTES: Final = 900_000  # below Kafka's default of 1 MB a record
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
    """At least one chunk. Each is `{fields: [state, public field...], rows: [[key, due or -1, values...], ...],
    moved: [[row, values before...], ...]}`: the numbers, from 1, of rows that may have another value in a LISTED
    field, or in its places in work lists, and what they had if that is known; absent, it is all.
    """
    chunks: list[bytes] = []
    rows: list[tuple[Any, ...]] = []
    moved: list[tuple[Any, ...]] = []
    names: tuple[str, ...] = ()
    size = 0
    for write in sorted(writes, key=lambda write: len(write.public)):  # those with the same fields together
        public, state = write.public, write.state
        if rows and (size > chunk_bytes or tuple(public) != names):
            chunks.append(_chunk((STATE_FIELD, *names), rows, moved))
            rows, moved, size = [], [], 0
        if not rows:
            names = tuple(public)
        rows.append((write.key, write.due_ms if write.due_ms < NEVER_MS else -1, state, *public.values()))
        if write.moved is not None:
            moved.append((len(rows), *write.moved))
        size += len(state) + 256
    if rows or not chunks:
        chunks.append(_chunk((STATE_FIELD, *names), rows, moved))
    return chunks


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
