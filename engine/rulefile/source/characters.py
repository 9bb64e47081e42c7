"""Finds characters that nobody sees or that were pasted, before a file is read as YAML or CSV.

Enters: the text of a file; bytes that are not UTF-8 are surrogates in it. Leaves: place, what is wrong, what to do.
Holds: linear in the text.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Final

from engine.core.text import INVISIBLE, TURNING, disguised, named, odd

MAX_BYTES: Final = 1 << 20
LARGER: Final = "file larger than 1 MiB"
MAX_FAULTS: Final = 100
BULLETS: Final = "–—−－‐‑•·●▪◦‣"
CONTROLS: Final = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff]")
_LOST: Final = re.compile("[\udc80-\udcff]")  # bytes that are not UTF-8
# What people paste in place of YAML's own signs, at the beginning of a line: a colon after a key, an item's hyphen.
_PASTED: Final = re.compile(rf"^ *(?:(?:- +)?[A-Za-z_][\w.-]*([：﹕∶])|([{BULLETS}]))", re.MULTILINE)
_WIDE: Final = re.compile("[：，；｛｝［］]")  # between braces or brackets
_SAVE: Final = 'save it as UTF-8 (a spreadsheet: as "CSV UTF-8")'


def control_characters(text: str) -> Iterator[tuple[int, str, str]]:
    """Why a text cannot be used at all: its size, its encoding, controls; one a line, for tabs, else one alone."""
    if len(text.encode(errors="replace")) > MAX_BYTES:
        yield 0, LARGER, "split it by concern"
        return
    encoding = _encoding(text)
    line_end = -1  # of the last line that was reported for a tab
    for found in CONTROLS.finditer(text):
        index, character = found.start(), found[0]
        if character == "\r" and text[index + 1 : index + 2] == "\n":
            continue
        if character == "\t":
            if index > line_end:
                yield index, "a tab", "use spaces"
                line_end = _line_end(text, index)
        elif encoding:
            yield index, f"{named(character)}: the file looks like {encoding}", _SAVE
            return
        else:
            yield odd(text, index)
            return


def _encoding(text: str) -> str:
    """What a file that is not UTF-8 was probably saved as."""
    if text.startswith(("\udcff\udcfe", "\udcfe\udcff")) or text.count("\0") > len(text) // 4:
        return "UTF-16"
    try:
        text.encode()
    except UnicodeEncodeError:
        pass
    else:
        return ""
    if not _LOST.search(text):
        return ""
    data = re.sub("[\ud800-\udc7f\udd00-\udfff]", "?", text).encode(errors="surrogateescape")
    foreign = re.findall(rb"[\x80-\xff]+", data)
    single = sum(len(run) % 2 for run in foreign)  # GBK has two bytes a sign; accented letters stand alone
    return "GBK" if 4 * single <= len(foreign) else "Windows-1252 or Latin-1"


def invisible(text: str) -> Iterator[tuple[int, str, str]]:
    """Each character that nobody sees, several in a row as one. In a line that is a comment only those that turn what
    follows matter.
    """
    end, count = 0, 0
    while (found := INVISIBLE.search(text, end)) and count < MAX_FAULTS:
        begin, end = text.rfind("\n", 0, found.start()) + 1, _line_end(text, found.start())
        pattern = TURNING if text[begin:end].lstrip(" ").startswith("#") else INVISIBLE
        after = -1
        for each in itertools.islice(pattern.finditer(text, found.start(), end), MAX_FAULTS):
            if each.start() != after and each[0] != "\r":  # of a line end
                count += 1
                yield odd(text, each.start())
            after = each.end()


def pasted(text: str, index: int) -> tuple[int, str, str] | None:
    """A sign from a chat or a word processor that is taken for YAML's own, in the line of a place or the two before."""
    begin = index
    for _ in range(3):
        begin = max(text.rfind("\n", 0, begin), 0)
    begin += text.startswith("\n", begin)
    found = _PASTED.search(text, begin, _line_end(text, index))
    if found is not None:
        at = max(found.start(1), found.start(2))
        return at, named(text[at]), "write a hyphen and a space" if found[2] else "write a colon and a space"
    line = text.rfind("\n", 0, index) + 1
    wide = _WIDE.search(text, line, _line_end(text, index)) if re.search("[{[｛［]", text[line:index]) else None
    return disguised(text[: wide.end()], wide.start()) if wide else None


def _line_end(text: str, index: int) -> int:
    end = text.find("\n", index)
    return len(text) if end < 0 else end
