"""Other versions of the engine, for what is done within a `with`: 0.1.0, a neighbour that adds fields, one whose
formats are too new.

Holds: only what is stored differs; they all decide alike.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import msgpack

from engine.runtime.protocol import formats, ledger, partition
from engine.runtime.protocol.ledger import Step
from engine.runtime.protocol.position import End, Position
from engine.runtime.protocol.writes import FIELDS_0_1, Write, decode_writes


def position_0_1(offset: int, digest: str, end: End) -> bytes:
    fields = {
        "ledger": offset, "digest": digest, "offsets": dict(end.offsets), "clients": end.states,
        "tiers": dict(end.tallies), "swept": end.swept,
    }  # fmt: skip
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def writes_0_1(writes: Iterable[Write]) -> bytes:
    rows = []
    for w in writes:
        public = [w.public.get(name, "") for name in FIELDS_0_1[1:]]
        rows.append([w.key, w.due_ms if w.due_ms < 1 << 60 else -1, w.state, *public])
    packed: bytes = msgpack.packb(rows, use_bin_type=False)
    return packed


def unit_0_1(
    begin: bytes, end: End, chunks: Sequence[bytes], rule_set: str, published: str, steps: Sequence[Step]
) -> list[bytes]:
    audit = [(s.ranges, s.tick_ms, s.due, s.swept, s.backfilled) for s in steps]
    ends = dict(end.offsets), end.states, dict(end.tallies), end.swept
    last, chunks = len(chunks) - 1, [writes_0_1(decode_writes(chunk)) for chunk in chunks]
    return [
        msgpack.packb((2, n, len(chunks), begin, *ends, part, rule_set, published, audit if n == last else []))
        for n, part in enumerate(chunks)
    ]


@contextmanager
def release_0_1() -> Iterator[None]:
    """What a worker commits meanwhile is written as 0.1.0 wrote it."""

    def after(offset: int, digest: str, end: bytes) -> Position:
        return Position.read(position_0_1(offset, digest, End.decode(end)))

    with (
        mock.patch.object(ledger, "encode_unit", unit_0_1),
        mock.patch.object(Position, "after", after),
    ):
        yield


@contextmanager
def neighbour() -> Iterator[None]:
    """A newer engine that has added fields everywhere, within the same formats."""
    encode_end, encode_step, encode_unit = End.encode, Step.encode, ledger.encode_unit

    def end_(self: End) -> bytes:
        count = self.others.get("budget", {}).get("left", 100)
        return encode_end(End(*_known(self), {**self.others, "budget": {"left": count - 1}}))

    def step(self: Step) -> dict[str, Any]:
        return {**encode_step(self), "why": "it was asked to"}

    def unit(*parts: Any) -> list[bytes]:
        records = [msgpack.unpackb(record) for record in encode_unit(*parts)]
        return [msgpack.packb([number, {**fields, "by": "a neighbour"}]) for number, fields in records]

    def writes(given: Any, chunk_bytes: int) -> list[bytes]:
        rows = [[w.key, w.due_ms if w.due_ms < 1 << 60 else -1, w.state, *w.public.values(), "new"] for w in given]
        names = ["state", *next((w.public for w in given), {}), "household"]
        return [msgpack.packb({"fields": names, "rows": rows, "since": 1}, use_bin_type=False)]

    with (
        mock.patch.object(End, "encode", end_),
        mock.patch.object(Step, "encode", step),
        mock.patch.object(ledger, "encode_unit", unit),
        mock.patch.object(partition, "encode_writes", writes),
    ):
        yield


def _known(end: End) -> tuple[Any, ...]:
    return end.offsets, end.states, end.tallies, end.swept


@contextmanager
def too_new() -> Iterator[None]:
    """A newer engine whose formats this one cannot read."""
    with mock.patch.multiple(formats, POSITION_FORMAT=3, LEDGER_FORMAT=4):
        yield
