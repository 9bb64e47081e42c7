"""Batches as a broker sends them, with headers' names that are not UTF-8."""

from __future__ import annotations

import pytest
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.record.memory_records import MemoryRecords

from engine.runtime.kafka.wire import any_header
from engine.runtime.kafka.wire.any_header import Records


class NotUtf8(str):
    def encode(self, *_: str) -> bytes:
        return b"a\xff\xfe"


def batch(name: str, codec: int) -> bytes:
    builder = _DefaultRecordBatchBuilderPy(2, codec, False, -1, -1, -1, 10_000)
    builder.append(0, 5, b"k0", b"v" * 50, [])
    builder.append(1, 6, None, b"", [(name, b"1"), ("plain", None)])
    builder.append(2, 7, b"k2", None, [])
    return bytes(builder.build())


@pytest.mark.parametrize("codec", range(5))
def test_every_record_is_read(codec: int):
    data = batch("fine", codec) + batch(NotUtf8("?"), codec) + batch("fine", codec)
    records = Records(data)
    found = []
    while records.has_next():
        each = records.next_batch()
        assert each.validate_crc()
        assert (each.base_offset, each.next_offset, each.is_control_batch) == (0, 3, False)
        found.append([(r.offset, r.timestamp, r.key, r.value, r.headers) for r in each])
    fine = [
        (0, 5, b"k0", b"v" * 50, []), (1, 6, None, b"", [("fine", b"1"), ("plain", None)]), (2, 7, b"k2", None, []),
    ]  # fmt: skip
    odd = [fine[0], (1, 6, None, b"", [("a\ufffd\ufffd", b"1"), ("plain", None)]), fine[2]]
    assert found == [fine, odd, fine]
    assert records.size_in_bytes() == len(data)


def test_records_are_read_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(any_header, "PIECE_RECORDS", 1)
    each = Records(batch("fine", 0)).next_batch()
    assert next(iter(each)).offset == 0
    assert next(each).offset == 1


@pytest.mark.parametrize("codec", [0, 1])
@pytest.mark.parametrize("name", ["fine", NotUtf8("?")], ids=["fine", "odd"])
@pytest.mark.parametrize("at_once", [1, 2, 3, 4])
def test_however_many_are_read_at_once(at_once: int, name: str, codec: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(any_header, "PIECE_RECORDS", at_once)
    each = Records(batch(name, codec)).next_batch()
    assert [[r.offset for r in piece] for piece in each.pieces()] == {
        1: [[0], [1], [2]], 2: [[0, 1], [2]], 3: [[0, 1, 2]], 4: [[0, 1, 2]]
    }[at_once]  # fmt: skip


def test_a_batch_cut_off_at_the_end_waits_for_the_next_fetch():
    data = batch("fine", 0)
    records = Records(data + data[:-1])
    assert len(list(records.next_batch())) == 3
    assert not records.has_next()


def test_aiokafka_itself_does_not_get_past_such_a_record():
    """When it does, engine.runtime.kafka.wire.any_header is of no use any more."""
    with pytest.raises(UnicodeDecodeError):
        list(MemoryRecords(batch(NotUtf8("?"), 0)).next_batch())
