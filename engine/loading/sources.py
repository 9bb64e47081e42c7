"""The files of a load: which parts they are read in, and what each line of one says.

Enters: paths, mappings. Leaves: parts; of a part, its rows and what is refused of it.
Holds: a part is read by one process from its beginning to its end, whatever the others do. What is wrong with a file as
a whole (its kind, encoding, header, compression) is refused before anything is decided; what is wrong with one line
costs that line.
"""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from engine.core.contract.topics import inbound_topics
from engine.loading.mapping import Mapping, mapping_of
from engine.loading.spill import Index, Row, Spill, bucket_of
from engine.operations.record_file import parse_line
from engine.runtime.errors import Refused
from engine.runtime.partitioning import partitioner

PART_BYTES: Final = 64_000_000
PIECE_BYTES: Final = 1 << 20
LONGEST_LINE: Final = 16_000_000
KINDS: Final = {
    ".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "ndjson", ".csv": "csv", ".tsv": "csv", ".txt": "csv",
    ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip
OTHER_KINDS: Final = {
    ".xlsx": "a spreadsheet: save it as CSV", ".xls": "a spreadsheet: save it as CSV", ".zip": "unpack it first",
    ".zst": "unpack it first", ".bz2": "unpack it first", ".xz": "unpack it first", ".7z": "unpack it first",
    ".tar": "unpack it first", ".tgz": "unpack it first", ".avro": "write it as Parquet or ndjson",
    ".orc": "write it as Parquet or ndjson",
}  # fmt: skip
TOPIC: Final = "topic"  # a part that is a partition of a topic; begin and end are offsets, the path names both
TOPIC_RECORD_BYTES: Final = 300
ROW_GROUP_BYTES: Final = 32_000_000
GZIP_MAGIC: Final = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a file: bytes [begin, end) of ndjson (the lines that begin there), row groups of Parquet, or all."""

    path: Path
    kind: str
    begin: int = 0
    end: int | None = None
    mapping: Mapping | None = None

    @property
    def size(self) -> int:
        """In bytes; of records on a topic and of row groups, about."""
        if self.kind == TOPIC:
            return ((self.end or 0) - self.begin) * TOPIC_RECORD_BYTES
        if self.kind == "parquet":
            return ROW_GROUP_BYTES
        whole = self.path.stat().st_size
        return min(self.end or whole, whole) - self.begin

    @property
    def stated(self) -> list[Any]:
        """What tells whether it is the same as before."""
        if self.kind == TOPIC:
            return [str(self.path), self.begin, self.end]
        found = self.path.stat()
        return [str(self.path.resolve()), found.st_size, found.st_mtime_ns, self.begin, self.end, repr(self.mapping)]


def parts_of(paths: list[Path], mappings: list[Mapping], part_bytes: int = PART_BYTES) -> list[Part]:
    """Raises Refused for a file that cannot be read as what it is."""
    parts: list[Part] = []
    names: dict[Path, Path] = {}
    for path in paths:
        if not path.is_file():
            raise Refused(f"{path}: is no file that can be read")
        if path.resolve() in names:
            raise Refused(f"{path} is named twice: name each file once")
        names[path.resolve()] = path
        kind = kind_of(path)
        mapping = mapping_of(mappings, path)
        if mapping is None and kind != "ndjson":
            raise Refused(
                f"{path}: no entry of a mapping is for this file: --mapping FILE says which topic and fields its "
                "columns are (docs/loading.md)"
            )
        try:
            size = path.stat().st_size
            if kind == "ndjson":
                _look(path, mapping)
                step = size or 1
                if not path.name.endswith(".gz"):
                    step = part_bytes
                parts += [Part(path, kind, at, at + step, mapping) for at in range(0, size or 1, step)]
            else:
                from engine.loading import tables

                assert mapping is not None
                parts += [Part(path, kind, *piece, mapping) for piece in tables.pieces(path, kind, mapping)]
        except OSError as error:
            raise Refused(f"{path}: {error.strerror or error}") from error
    return parts


def kind_of(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [".gz"]:
        suffixes.pop()
    last = suffixes[-1] if suffixes else ""
    if last in OTHER_KINDS:
        raise Refused(f"{path}: {OTHER_KINDS[last]}")
    if last not in KINDS:
        raise Refused(f"{path}: name it by what it is: .ndjson, .csv or .parquet; the first two may end in .gz")
    if KINDS[last] == "parquet" and path.suffix == ".gz":
        raise Refused(f"{path}: Parquet is compressed within; unpack the file")
    return KINDS[last]


def opened(path: Path) -> BinaryIO:
    """The file's bytes, unpacked if it is packed."""
    with path.open("rb") as file:
        packed = file.read(2) == GZIP_MAGIC
    if packed != (path.suffix == ".gz"):
        what = (
            "is packed by gzip, but its name does not say so" if packed else "is no gzip file, though its name says so"
        )
        raise Refused(f"{path} {what}: rename it")
    return cast(BinaryIO, gzip.open(path, "rb")) if packed else path.open("rb")


def _look(path: Path, mapping: Mapping | None) -> None:
    """Raises Refused if the first line is not one of ndjson."""
    with opened(path) as file, unpacking(path):
        for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE), b""), 1):
            if len(line) == LONGEST_LINE:
                raise Refused(f"{path}:{number}: a line of more than 16 MB: this is not ndjson, an object a line")
            if not line.strip():
                continue
            if line.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise Refused(f"{path}: is UTF-16; ndjson is UTF-8: convert it (iconv -f UTF-16 -t UTF-8)")
            found = record_of(line.removeprefix(b"\xef\xbb\xbf"), mapping, number)
            if isinstance(found, str):
                raise Refused(f"{path}:{number}: {found}. Nothing was loaded")
            return


class unpacking:
    """What gzip says of a broken file becomes a refusal that names it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.line = 0

    def __enter__(self) -> unpacking:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, EOFError | gzip.BadGzipFile | zlib.error):
            raise Refused(
                f"{self._path}: the gzip file is cut off or broken after line {self.line} ({error}): fetch it again. "
                "Nothing was loaded"
            ) from error


def record_of(line: bytes, mapping: Mapping | None, place: int) -> Row | str:
    """A line of ndjson as a record; or what is wrong with it."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        return f"byte {error.start + 1} of the line is not UTF-8: convert the file (iconv -f GB18030 -t UTF-8)"
    if mapping is not None:
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            return f"not JSON: {error}"
        if not isinstance(fields, dict):
            return "not a JSON object"
        found = mapping.record(fields)
        return found if isinstance(found, str) else Row(*found, place)
    try:
        topic, key, timestamp_ms, value = parse_line(text)
    except ValueError as error:
        return str(error)
    if topic not in inbound_topics():
        return f'"{topic[:80]}" is not an inbound topic; there are {", ".join(inbound_topics())}'
    return Row(topic, key, timestamp_ms, value, place)


def split(number: int, part: Part, directory: Path, partitions: int, each: int) -> Index:
    """Read a part into buckets."""
    with Spill(directory, number, bucket_of(each, partitioner(partitions))) as spill:
        if part.kind == "ndjson":
            return spill.end(_split_lines(part, spill))
        from engine.loading import tables

        return spill.end(tables.split(part, spill))


def _split_lines(part: Part, spill: Spill) -> int:
    number = 0
    for line in lines_of(part):
        number += 1
        if not line.strip():
            continue
        found = record_of(line, part.mapping, number)
        if isinstance(found, str):
            spill.refuse(letter(number, "not_a_record", found, line))
        else:
            spill.add(found)
    return number


def lines_of(part: Part) -> Iterator[bytes]:
    """The lines that begin within the part."""
    with opened(part.path) as file, unpacking(part.path) as where:
        at, packed = part.begin, part.path.suffix == ".gz"
        end = None if packed or part.end is None else part.end
        if at:
            file.seek(at - 1)
            at += len(file.readline()) - 1
        while end is None or at < end:
            lines = file.readlines(PIECE_BYTES if end is None else max(min(PIECE_BYTES, end - at), 1))
            if not lines:
                return
            for line in lines:
                if end is not None and at >= end:
                    return
                first = at == 0
                at += len(line)
                where.line += 1
                yield line.removeprefix(b"\xef\xbb\xbf") if first else line


def letter(place: int, reason: str, error: str, raw: bytes) -> dict[str, Any]:
    """A line that is no record, as the file of dead letters has it."""
    try:
        said: dict[str, Any] = {"line": raw.decode().rstrip("\r\n")}
    except UnicodeDecodeError:
        said = {"line_base64": base64.b64encode(raw).decode()}
    return {"place": place, "reason": reason, "error": error, **said}
