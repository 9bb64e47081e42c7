"""What becomes of a fetch is what aiokafka makes of it, however many records are read at once."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest.mock import patch

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED, PartitionRecords
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.runtime.kafka.wire import any_header
from engine.runtime.kafka.wire.any_header import Records
from engine.runtime.kafka.wire.reader import _InPieces, _Unread
from engine.runtime.protocol.records import fetched

TP = TopicPartition("p-trades", 3)
ATTRIBUTES_AT = 21
CONTROL, APPENDED = 0x20, 0x08
PLAIN = -1  # the producer of records outside a transaction


class NotUtf8(str):
    def encode(self, *_: str) -> bytes:
        return b"a\xff\xfe"


@dataclass(frozen=True)
class Written:
    producer: int
    records: int
    gap: int = 0  # offsets before it that compaction or markers took
    codec: int = 0
    odd: bool = False
    marker: int | None = None  # of a control batch: 0 aborts
    appended: bool = False


batches = st.builds(
    Written,
    producer=st.sampled_from([PLAIN, 7, 8]),
    records=st.integers(1, 7),
    gap=st.integers(0, 3),
    codec=st.sampled_from([0, 1]),
    odd=st.booleans(),
    appended=st.booleans(),
) | st.builds(Written, producer=st.sampled_from([7, 8]), records=st.just(1), marker=st.sampled_from([0, 1]))


def as_sent(written: list[Written]) -> tuple[bytes, int]:
    """The bytes of a fetch, and the offset after them."""
    data, offset = b"", 0
    for batch in written:
        offset += batch.gap
        builder = _DefaultRecordBatchBuilderPy(2, batch.codec, batch.producer != PLAIN, batch.producer, 0, 0, 100_000)
        for number in range(batch.records):
            key = struct.pack(">hh", 0, batch.marker) if batch.marker is not None else b"k%d" % (offset + number)
            headers = [(NotUtf8("?") if batch.odd and number % 3 == 1 else "name", b"h")]
            builder.append(number, 1_000 + offset + number, key, b"v" * number, headers)
        made = bytearray(builder.build())
        made[:8] = offset.to_bytes(8, "big")
        made[ATTRIBUTES_AT + 1] |= (CONTROL if batch.marker is not None else 0) | (APPENDED if batch.appended else 0)
        data += made
        offset += batch.records
    return data, offset


def read(kind: Any, data: bytes, form: Any, aborted: Any, begin: int, isolation: int) -> tuple[list[Any], int]:
    unread = kind(TP, Records(data, form), aborted, begin, None, None, False, isolation)
    if kind is _Unread:
        unread.make = partial(fetched, "trades")
    return list(unread), unread.next_fetch_offset


@settings(max_examples=500)
@given(
    st.lists(batches, min_size=1, max_size=8),
    st.lists(st.tuples(st.sampled_from([7, 8]), st.integers(0, 40)), max_size=4),
    st.integers(0, 30),
    st.sampled_from([READ_COMMITTED, READ_UNCOMMITTED]),
    st.integers(1, 8),
)
def test_it_is_what_aiokafka_reads_one_by_one(
    written: list[Written], aborted: list[tuple[int, int]], begin: int, isolation: int, at_once: int
):
    data, end = as_sent(written)
    begin %= end  # mostly within a batch
    with patch.object(any_header, "PIECE_RECORDS", at_once):
        pieces, next_offset = read(_Unread, data, _InPieces, aborted, begin, isolation)
        expected, expected_offset = read(PartitionRecords, data, None, aborted, begin, isolation)
    assert [
        (r.topic, r.partition, r.offset, r.timestamp_ms, r.appended, r.key, r.value, tuple(r.headers))
        for piece in pieces
        for r in piece
    ] == [
        ("trades", 3, r.offset, r.timestamp, r.timestamp_type == 1, r.key, r.value, tuple(r.headers)) for r in expected
    ]
    assert all(0 < len(piece) <= at_once for piece in pieces)
    assert next_offset == expected_offset == end
