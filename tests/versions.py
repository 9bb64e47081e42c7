"""Versions of the engine that are yet to come, for what is done within a `with`: one that adds fields, one whose
formats are too new. What an older one wrote is recorded in tests/fixtures.

Holds: only what is stored differs; they all decide alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import msgpack

from engine.runtime import formats
from engine.runtime.protocol import ledger, partition
from engine.runtime.protocol.ledger import Step
from engine.runtime.protocol.position import End


@contextmanager
def neighbour() -> Iterator[None]:
    """A newer engine that has added fields everywhere, within the same formats."""
    encode_end, encode_step, encode_unit = End.encode, Step.encode, ledger.encode_unit

    def end_(self: End) -> bytes:
        count = self.others.get("budget", {}).get("left", 100)
        return encode_end(End(*_known(self), others={**self.others, "budget": {"left": count - 1}}))

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
