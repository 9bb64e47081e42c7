"""Reads the CSV files that lists and tables refer to.

Enters: the texts of a rule set's files by name. Leaves: rows of cells that remember where they stand.
Holds: comma or semicolon, whichever the first line has more of; quotes as spreadsheets write them; every row as long as
the header; lines without any value are left out.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from engine.core.text import named
from engine.rulefile.source.characters import LARGER, control_characters
from engine.rulefile.source.document import Node, Scalar, place
from engine.rulefile.source.fields import Reader
from engine.rulefile.source.problem import Problem
from engine.rulefile.source.unsure import Unsure

FILE: Final = ("[A-Za-z0-9][A-Za-z0-9_-]*[.]csv", "the name of a CSV file beside this one, such as watched.csv")
SUFFIX: Final = ".csv"
MAX_COLUMNS: Final = 100
_LESS: Final = (
    "leave out columns and rows that nothing asks for; a table or list can be two, and advisors can be in advisors.yaml"
)
_FIELD: Final = {d: re.compile(rf'[ ]*(?:"((?:[^"]|"")*)"[ ]*|([^"{d}][^{d}]*)?)(?:{d}|$)') for d in ",;"}


@dataclass(frozen=True, slots=True)
class Sheet:
    """A header, rows of the same length, and the reader that reports faults in them."""

    reader: Reader
    header: list[Scalar]
    rows: list[list[Scalar]]


@dataclass(slots=True)
class Sheets:
    """The CSV files of a rule set, each read when first referred to."""

    files: Mapping[str, str]
    unsure: Unsure
    problems: list[Problem]
    read: dict[str, Sheet | None] = field(default_factory=dict)

    def sheet(self, reader: Reader, node: Node | None) -> Sheet | None:
        """The file that a node names; None after a fault."""
        given = len(reader.problems)
        name = reader.word(node, FILE)
        if node is None or len(reader.problems) > given:
            return None
        if name not in self.files and name in self.read:
            self.unsure.hidden += 1  # reported where it was first named
            return None
        if name not in self.files:
            self.read[name] = None
            meant = difflib.get_close_matches(name, self.names, n=1)
            remedy = f'did you mean "{meant[0]}"?' if meant else "put it beside this one"
            reader.problem(node, f"no file {name}", remedy)
            return None
        return self.named(name)

    def named(self, name: str) -> Sheet | None:
        """A file that there is; None after a fault."""
        if name not in self.read:
            text = self.files[name]
            self.read[name] = _sheet(Reader(name, text, self.unsure, self.problems))
        return self.read[name]

    @property
    def names(self) -> list[str]:
        return [name for name in self.files if name.endswith(SUFFIX)]

    def tell_unused(self) -> None:
        for name in self.names:
            if name not in self.read:
                remedy = "name it in definitions.yaml, or remove it"
                self.problems.append(Problem(name, 1, 1, None, "no list or table refers to this file", remedy))


def _sheet(reader: Reader) -> Sheet | None:
    given = len(reader.problems)
    for index, message, remedy in _unusable(reader.text) or control_characters(reader.text):
        reader.problem(index, message, _LESS if message == LARGER else remedy)
    if len(reader.problems) > given:
        return None
    rows = list(_rows(reader))
    if not rows:
        reader.problem(0, "empty file", "write a line of column names, then a row a line")
        return None
    header, *rest = rows
    if len(header) > MAX_COLUMNS:
        reader.problem(header[MAX_COLUMNS], f"{len(header)} columns", f"stay within {MAX_COLUMNS}")
        return None
    names = [cell.value for cell in header]
    for position, cell in enumerate(header):
        if reader.cell(cell) and (comma := re.search("[，；]", cell.value)):
            reader.problem(cell.index + comma.start(), named(comma[0]), "write a plain comma between cells")
            return None
        if not cell.value or cell.value in names[:position]:
            said = f'column "{cell.value}" twice' if cell.value else "a column without a name"
            reader.problem(cell, said, "give each column a name of its own")
    lengths = {len(row) for row in rest}
    if len(rest) > 1 and len(lengths) == 1 and len(header) not in lengths:
        remedy = f"the rows have {len(rest[0])}; the first line has the columns' names"
        reader.problem(header[0], f"header of {len(header)} cells", remedy)
        return None
    for row in rest:
        if len(row) != len(header):
            remedy = f"the header has {len(header)}; a cell with a {_delimiter(reader.text)} in it is quoted"
            reader.problem(row[0], f"row of {len(row)} cells", remedy)
    return Sheet(reader, header, rest) if len(reader.problems) == given else None


def _unusable(text: str) -> list[tuple[int, str, str]]:
    """What a spreadsheet saves beside commas."""
    first = text.partition("\n")[0]
    if re.match("sep=", first, re.IGNORECASE):
        return [(0, f'a line for spreadsheets alone: "{first.rstrip()[:10]}"', "remove it")]
    other = None if re.search("[,;]", first) else re.search(r"[\t|]", first)
    if other:
        between = "a tab" if other[0] == "\t" else f'"{other[0]}"'
        return [(other.start(), f"{between} between cells", 'save it with commas (a spreadsheet: as "CSV UTF-8")')]
    return []


def _delimiter(text: str) -> str:
    first = re.sub('"[^"]*"', "", text.partition("\n")[0])
    return ";" if first.count(";") > first.count(",") else ","


def _rows(reader: Reader) -> Iterator[list[Scalar]]:
    delimiter, index = _delimiter(reader.text), 0
    blanks = None if reader.unsure.published else " "  # other blanks stay, and are reported
    for whole in reader.text.split("\n"):
        line = whole.rstrip("\r")
        if line.strip(f"{delimiter} "):
            cells = (
                _quoted_cells(reader, line, delimiter, index, blanks)
                if '"' in line
                else _cells(line, delimiter, index, blanks)
            )
            if cells:
                yield cells
        index += len(whole) + 1


def _cells(line: str, delimiter: str, index: int, blanks: str | None) -> list[Scalar]:
    cells = []
    for part in line.split(delimiter):
        value = part.strip(blanks)
        at = index + len(part) - len(part.lstrip(blanks)) if value else index
        cells.append(Scalar(at, at + len(value), value, ""))
        index += len(part) + 1
    return cells


def _quoted_cells(reader: Reader, line: str, delimiter: str, index: int, blanks: str | None) -> list[Scalar]:
    cells, at = [], 0
    while True:
        found = _FIELD[delimiter].match(line, at)
        if found is None:
            remedy = 'write the cell as "..." on one line, each " within it twice'
            reader.problem(index + at, "a quote that does not fit", remedy)
            return []
        group = 1 if found[1] is not None else 2
        value = found[1].replace('""', '"') if group == 1 else (found[2] or "").strip(blanks)
        start = found.start(group) if found[group] is not None else at
        cells.append(Scalar(index + start, index + max(found.end(group), start), value.strip(blanks), ""))
        if found.end() == len(line) and not found[0].endswith(delimiter):
            return cells
        at = found.end()


def where(reader: Reader, node: Node) -> str:
    """file:line:column"""
    return ":".join(map(str, (reader.file, *place(reader.text, node.index))))
