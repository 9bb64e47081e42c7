"""Records on their way from the inputs to the clients: one file for each part of the input, sorted into buckets.

Enters: records as they are read. Leaves: the records of a bucket, in the order of the inputs.
Holds: a client's records are all in one bucket, and a bucket's clients in one partition. A part is there whole, with
its index, or not at all: its index appears last. What a part holds follows from its input alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgpack

BUFFER_BYTES: Final = 64_000_000  # held by each process before it writes
ROW_BYTES: Final = 120  # about, of a record beside key and value


Pieces = list[tuple[int, list[tuple[int, int]]]]  # of a bucket: part, and where it is there


class Row(NamedTuple):
    """A record. `place` is its line or row, counted within its part."""

    topic: str
    key: bytes | None
    timestamp_ms: int
    value: bytes | None
    place: int


@dataclass(slots=True)
class Index:
    """What a part holds, and where: bucket -> (begin, bytes) of each piece."""

    lines: int = 0  # of its input, refused ones included
    records: Counter[str] = field(default_factory=Counter)  # by topic
    refused: int = 0
    digest: str = ""
    pieces: dict[int, list[tuple[int, int]]] = field(default_factory=dict)

    def encode(self) -> bytes:
        return json.dumps([self.lines, self.records, self.refused, self.digest, self.pieces]).encode()

    @classmethod
    def read(cls, directory: Path, part: int) -> Index | None:
        """None: the part is not there whole."""
        try:
            lines, records, refused, digest, pieces = json.loads(_index(directory, part).read_text())
            at = {int(bucket): [(begin, size) for begin, size in found] for bucket, found in pieces.items()}
            return cls(lines, Counter(records), refused, digest, at)
        except (OSError, ValueError, TypeError, KeyError):
            return None


def bucket_of(each: int, partition_of: Callable[[bytes], int]) -> Callable[[bytes | None], int]:
    """Key -> bucket: those of partition p are p * each to (p + 1) * each - 1."""

    def of(key: bytes | None) -> int:
        found = key or b""
        return partition_of(found) * each + zlib.crc32(found) % each

    return of


class Spill:
    """Writes one part."""

    def __init__(self, directory: Path, part: int, bucket_of: Callable[[bytes | None], int]) -> None:
        self.index = Index()
        self._directory = directory
        self._part = part
        self._bucket_of = bucket_of
        self._pack = msgpack.Packer().pack
        self._held: dict[int, list[bytes]] = {}
        self._size = 0
        self._at = 0
        self._digest = hashlib.blake2b(digest_size=16)
        _index(directory, part).unlink(missing_ok=True)
        self._out = _data(directory, part).open("wb")
        self._letters = _letters(directory, part).open("wb")

    def __enter__(self) -> Spill:
        return self

    def __exit__(self, *_: object) -> None:
        self._out.close()
        self._letters.close()

    def add(self, row: Row) -> None:
        packed = self._pack(row)
        self._held.setdefault(self._bucket_of(row.key), []).append(packed)
        self._size += len(packed) + 60
        self.index.records[row.topic] += 1
        self._digest.update(packed)
        if self._size > BUFFER_BYTES:
            self._flush()

    def refuse(self, letter: dict[str, Any]) -> None:
        """A line that is no record."""
        line = json.dumps(letter, ensure_ascii=False).encode() + b"\n"
        self._letters.write(line)
        self._digest.update(line)
        self.index.refused += 1

    def _flush(self) -> None:
        for bucket, rows in sorted(self._held.items()):
            piece = b"".join(rows)
            self._out.write(piece)
            self.index.pieces.setdefault(bucket, []).append((self._at, len(piece)))
            self._at += len(piece)
        self._held.clear()
        self._size = 0

    def end(self, lines: int) -> Index:
        self._flush()
        for file in (self._out, self._letters):
            file.flush()
            os.fsync(file.fileno())
        self.index.lines = lines
        self.index.digest = self._digest.hexdigest()
        write_whole(_index(self._directory, self._part), self.index.encode())
        return self.index


def rows_of(directory: Path, pieces_of: Pieces) -> Iterator[tuple[int, Row]]:
    """(part, row) of a bucket, in the order of the inputs."""
    for number, pieces in pieces_of:
        with _data(directory, number).open("rb") as source:
            for begin, size in pieces:
                source.seek(begin)
                unpacker = msgpack.Unpacker(max_buffer_size=0)
                unpacker.feed(source.read(size))
                for row in unpacker:
                    yield number, Row(*row)


def letters_of(directory: Path, part: int) -> Iterator[dict[str, Any]]:
    """What was refused while a part was read."""
    with _letters(directory, part).open("rb") as lines:
        for line in lines:
            yield json.loads(line)


def write_whole(path: Path, content: bytes) -> None:
    """The file appears whole or not at all."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    part.replace(path)


def _data(directory: Path, part: int) -> Path:
    return directory / f"part-{part:05}.rows"


def _letters(directory: Path, part: int) -> Path:
    return directory / f"part-{part:05}.refused"


def _index(directory: Path, part: int) -> Path:
    return directory / f"part-{part:05}.index"
