"""Records of Kafka whose headers have names that are not UTF-8, as other clients can write them.

Enters: what a broker answers to a fetch. Leaves: records.
Holds: aiokafka raises in the middle of such a fetch, so that no consumer gets past the record. Here its C code reads
each batch, and its Python code those that this refuses, with � in such names. Nothing in the engine uses them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, Final

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

LENGTH_AT: Final = 8  # in a batch: after its base offset
HEAD_BYTES: Final = 12  # base offset and length
PIECE_RECORDS: Final = 200


class Records:
    """aiokafka's MemoryRecords. `form`: of its batches."""

    def __init__(self, data: bytes, form: type[Batch] | None = None) -> None:
        self._form = form or Batch
        self._data = data
        self._records = MemoryRecords(data)
        self._at = 0

    def size_in_bytes(self) -> int:
        return int(self._records.size_in_bytes())

    def has_next(self) -> bool:
        return bool(self._records.has_next())

    def next_batch(self) -> Batch:
        begin = self._at
        length = int.from_bytes(self._data[begin + LENGTH_AT : begin + HEAD_BYTES], "big")
        self._at = begin + HEAD_BYTES + length
        return self._form(self._records.next_batch(), memoryview(self._data)[begin : self._at])


class Batch:
    """One batch of them; what is not said here is the C code's."""

    def __init__(self, batch: Any, data: memoryview) -> None:
        self._batch = batch
        self._data = data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        return chain.from_iterable(self.pieces())

    def pieces(self) -> Iterator[list[Any]]:
        """Some records after the other: all of a batch at once, for each topic of each partition, are much memory."""
        read = 0
        try:
            for piece in _pieces(self._batch):
                yield piece
                read += len(piece)
        except UnicodeDecodeError:
            batch = _DefaultRecordBatchPy(self._data)
            batch._maybe_uncompress()
            batch._buffer = _Lenient(batch._buffer)
            yield from _pieces(islice(batch, read, None))


def _pieces(records: Iterable[Any]) -> Iterator[list[Any]]:
    left = chain(records)  # the C code's own iterator begins but once, and may not be asked past its end
    while piece := list(islice(left, PIECE_RECORDS)):
        yield piece


class _Lenient(bytearray):
    """Bytes that decode as far as they can, and whose parts do."""

    def __getitem__(self, where: Any) -> Any:
        found = super().__getitem__(where)
        return _Lenient(found) if isinstance(found, bytearray) else found

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        return super().decode(encoding, errors)


def read_any_header() -> None:
    """Have every consumer of this process read such records."""
    fetcher.MemoryRecords = Records
