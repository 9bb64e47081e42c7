"""Files of columns: CSV and Parquet, read through a mapping.

Enters: a part of a file. Leaves: its rows as records, and what is refused of it.
Holds: a header without the columns that the mapping names is refused before anything is decided; a row that cannot be
read costs that row. A CSV file is one part, since only reading it from its beginning tells where its rows begin.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TextIO

from engine.loading.mapping import Mapping
from engine.loading.sources import Part, opened, unpacking
from engine.loading.spill import Row, Spill
from engine.runtime.errors import Refused

GROUP_ROWS: Final = 20_000
FIELD_BYTES: Final = 1_000_000
NO_PYARROW: Final = "Parquet is read by pyarrow, which is not installed: pip install 'engage[parquet]'"


def pieces(path: Path, kind: str, mapping: Mapping) -> Iterator[tuple[int, int | None]]:
    """(begin, end) of each part. Raises Refused when the columns are not those that the mapping names."""
    if kind == "csv":
        with unpacking(path) as where, _text(path, mapping) as text:
            header, _ = _rows(path, mapping, text, where)
        _check(path, mapping, header)
        yield 0, None
        return
    with _parquet(path) as file:
        _check(path, mapping, file.schema_arrow.names)
        yield from ((group, group + 1) for group in range(max(file.num_row_groups, 1)))


def _check(path: Path, mapping: Mapping, columns: list[str]) -> None:
    if (fault := mapping.missing(columns)) is not None:
        raise Refused(f"{path}: {fault}. Mend the mapping, or the file")


def split(part: Part, spill: Spill) -> int:
    """Read a part; how many rows it has (for CSV: lines)."""
    assert part.mapping is not None
    if part.kind == "csv":
        with unpacking(part.path) as where, _text(part.path, part.mapping) as text:
            return _split_csv(part.path, part.mapping, text, spill, where)
    return _split_parquet(part, part.mapping, spill)


def _take(spill: Spill, mapping: Mapping, row: dict[str, Any], place: int) -> None:
    found = mapping.record(row)
    if isinstance(found, str):
        spill.refuse({"place": place, "reason": "not_a_record", "error": found, "row": row})
    else:
        spill.add(Row(*found, place))


# -- CSV ---------------------------------------------------------------------------------------------------------------


def _split_csv(path: Path, mapping: Mapping, text: TextIO, spill: Spill, where: unpacking) -> int:
    header, reader = _rows(path, mapping, text, where)
    try:
        for row in reader:
            where.line = reader.line_num
            if not row:
                continue
            if len(row) != len(header):
                error = f"has {len(row)} values, the header {len(header)}: is a separator or a quote missing?"
                letter = {"place": reader.line_num, "reason": "not_a_record", "error": error, "values": row}
                spill.refuse(letter)
                continue
            _take(spill, mapping, dict(zip(header, row, strict=True)), reader.line_num)
    except (csv.Error, UnicodeDecodeError) as error:
        raise _unreadable(path, reader.line_num, mapping, error) from error
    return reader.line_num


def _text(path: Path, mapping: Mapping) -> TextIO:
    encoding = "utf-8-sig" if mapping.encoding.lower().replace("_", "-") in ("utf-8", "utf8") else mapping.encoding
    return io.TextIOWrapper(opened(path), encoding, newline="")


def _rows(path: Path, mapping: Mapping, text: TextIO, where: unpacking) -> tuple[list[str], Any]:
    csv.field_size_limit(FIELD_BYTES)
    separator = mapping.separator or ("\t" if ".tsv" in path.suffixes else ",")
    reader = csv.reader(text, delimiter=separator, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
    except (csv.Error, UnicodeDecodeError) as error:
        raise _unreadable(path, 1, mapping, error) from error
    if not header:
        raise Refused(f"{path}: is empty; its first line must name the columns")
    where.line = 1
    return header, reader


def _unreadable(path: Path, line: int, mapping: Mapping, error: Exception) -> Refused:
    if isinstance(error, UnicodeDecodeError):
        byte = f"0x{error.object[error.start]:02x}"
        what = (
            f"after line {line} it is not {mapping.encoding} (byte {byte}): name its encoding in the mapping, such as "
            "gb18030"
        )
    elif "unexpected end" in str(error):
        what = f"a quote is never closed; the last row begins at or after line {line}"
    else:
        what = f"line {line}: {error}"
    return Refused(f"{path}: {what}. Nothing was loaded")


# -- Parquet -----------------------------------------------------------------------------------------------------------


def _parquet(path: Path) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise Refused(f"{path}: {NO_PYARROW}") from error
    try:
        return pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid as error:
        raise Refused(f"{path}: is no whole Parquet file ({error}): fetch it again. Nothing was loaded") from error


def _split_parquet(part: Part, mapping: Mapping, spill: Spill) -> int:
    import pyarrow

    place = 0
    try:
        with _parquet(part.path) as file:
            groups = [part.begin] if file.num_row_groups else []
            for batch in file.iter_batches(GROUP_ROWS, row_groups=groups, columns=sorted(mapping.columns)):
                for row in batch.to_pylist():
                    place += 1
                    _take(spill, mapping, row, place)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise Refused(
            f"{part.path}: row group {part.begin + 1} cannot be read ({error}). Nothing was loaded"
        ) from error
    return place
