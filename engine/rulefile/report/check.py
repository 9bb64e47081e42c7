"""The report of `engage check`.

Enters: a directory. Leaves: what is wrong with its rule files, each with its source line, as text; an exit code.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import Final, Protocol, TextIO

from engine.core.rules.ruleset import RuleSet
from engine.rulefile.read.load import DirectoryError, load, read_directory

GOOD: Final = 0
FAULTY: Final = 1
UNUSABLE: Final = 2
MAX_SHOWN_LINE: Final = 160


class Placed(Protocol):
    """What stands at a line and column, counted from 1."""

    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...


def check(directory: Path, out: TextIO) -> int:
    """Exit code 0: no problem; 1: problems, all printed; 2: no rule files there."""
    try:
        files = read_directory(directory)
    except DirectoryError as error:
        print(error, file=out)
        return UNUSABLE
    result = load(files)
    if isinstance(result, RuleSet):
        counts = (len(result.rules), "rules"), (len(result.features), "features"), (len(files), "files")
        said = ", ".join(f"{count} {what if count != 1 else what[:-1]}" for count, what in counts)
        print(f"{directory}: no problems in {said}; digest {result.digest}", file=out)
        return GOOD
    for problem in result:
        print(f"{directory / problem.file}{str(problem)[len(problem.file) :]}", file=out)
        print(excerpt(problem, files.get(problem.file, "")), end="", file=out)
    in_files = len({problem.file for problem in result})
    print(
        f"{len(result)} problem{'s' if len(result) > 1 else ''} in {in_files} file{'s' if in_files > 1 else ''}",
        file=out,
    )
    return FAULTY


@lru_cache(maxsize=2)  # a file may have as many problems as lines
def _lines(text: str) -> list[str]:
    return text.split("\n")


def excerpt(at: Placed, text: str) -> str:
    """The source line with a caret under the column."""
    lines = _lines(text)
    if at.line > len(lines) or not lines[at.line - 1].strip():
        return ""
    line = lines[at.line - 1].rstrip()
    start = max(0, at.column - MAX_SHOWN_LINE // 2)
    shown = "".join(c if c.isprintable() else "?" for c in line[start : start + MAX_SHOWN_LINE])
    before = shown[: at.column - 1 - start]
    width = sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in before)
    return f"    {shown}\n    {' ' * width}^\n"
