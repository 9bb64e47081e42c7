"""Reads YAML into nodes that remember where they stand.

Enters: the text of one file. Leaves: its tree of Scalar, Listing and Mapping, or Problems.
Holds: YAML 1.2 in plain form only: no tags, anchors, aliases, merge keys, directives, tabs or second documents; no key
twice; size and depth are bounded before anything is built.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from engine.rulefile.source.problem import Problem

MAX_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 20
MAX_FAULTS: Final = 100
SPACE: Final = " \n\r"
# Other programs read these as something else than text: YAML 1.1 as true, false or nothing
NORWAY: Final = frozenset(
    form for word in ("yes", "no", "on", "off", "true", "false", "null") for form in (word, word.title(), word.upper())
) | {"~"}
LONG_ESCAPES: Final = {"x": 4, "u": 6, "U": 10}


@dataclass(slots=True)
class Scalar:
    index: int  # where it begins in the file's text
    end: int
    value: str
    style: str  # "" plain, or one of ' " | >


@dataclass(slots=True)
class Listing:
    index: int
    items: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class Mapping:
    index: int
    entries: dict[str, tuple[Scalar, Node]] = field(default_factory=dict)


Node = Scalar | Listing | Mapping


@lru_cache(maxsize=1024)  # as many files as a rule set may have, in any order
def _line_ends(text: str) -> list[int]:
    return [index for index, character in enumerate(text) if character == "\n"]


def place(text: str, index: int) -> tuple[int, int]:
    """Line and column, from 1."""
    ends = _line_ends(text)  # looked up, not counted: a file may have as many faults as lines
    line = bisect_left(ends, index)
    return line + 1, index - (ends[line - 1] if line else -1)


def read_document(name: str, text: str) -> tuple[Node | None, list[Problem]]:
    """The tree of one file; None when it cannot be used at all."""
    problems = [
        Problem(name, *place(text, index), None, message, remedy) for index, message, remedy in unreadable(text)
    ]
    if problems:
        return None, problems
    builder = _Builder()
    try:
        root = builder.document(text)
    except MarkedYAMLError as error:
        builder.faults.append(_in_plain_words(error))
        root = None
    except YAMLError as error:
        builder.faults.append((0, f"not YAML: {str(error).splitlines()[0]}", _YAML_REMEDY))
        root = None
    except _Refused as refused:
        builder.faults.append(refused.args)
        root = None
    if root is None and not builder.faults:
        builder.faults.append((0, "empty file", "write its keys, or remove it"))
    return root, [Problem(name, *place(text, index), None, m, r) for index, m, r in builder.faults]


_YAML_REMEDY: Final = "check indentation, colons and quotes near here"
# The parser's words -> whether its context is the better place, what it comes from, what to do.
_FAULTS: Final = (
    ("mapping values are not allowed", False, "a colon where no key can stand", 'put a text with ": " in it in quotes; '
     "a key stands under its neighbours"),
    ("but found '<scalar>'", False, "text after a closing quote", "put the whole value in single quotes, or in none"),
    ("but found '?'", False, "this line is not under its neighbours, or lacks its hyphen and space",
     "begin it in their column; an item of a list begins with a hyphen and a space"),
    ("expected <block end>", False, "this line is not under its neighbours", "begin it in their column"),
    ("could not find expected ':'", True, "a line without a colon", "write key: value, with a space after the colon; "
     "what continues a text is indented more than its key"),
    ("unexpected end of stream", True, "a quote that is never closed", "close it; write '' for a ' within ' '"),
    ("that cannot start any token", False, "a text cannot begin with this sign", "put the text in quotes"),
    ("expected ',' or ']'", True, "a list in brackets that is not closed, or lacks a comma", "mend it, or write "
     "one item a line, each after a hyphen"),
    ("expected ',' or '}'", True, "braces that are not closed, or lack a comma", "mend it, or write a key a line"),
)  # fmt: skip


def _in_plain_words(error: MarkedYAMLError) -> tuple[int, str, str]:
    said = str(error.problem or error.context)
    for words, at_context, message, remedy in _FAULTS:
        if words in said:
            mark = (error.context_mark if at_context else None) or error.problem_mark
            return (mark.index if mark else 0), f"not YAML: {message}", remedy
    mark = error.problem_mark or error.context_mark
    return (mark.index if mark else 0), f"not YAML: {said}", _YAML_REMEDY


def unreadable(text: str) -> Iterator[tuple[int, str, str]]:
    if len(text.encode(errors="replace")) > MAX_BYTES:
        yield 0, "file larger than 1 MiB", "split it by concern"
        return
    tab_line = None
    for index, character in enumerate(text):
        if character in "\n" or character.isprintable():
            continue
        if character == "\r" and text[index + 1 : index + 2] == "\n":
            continue
        if character == "\t":
            line = place(text, index)[0]
            if line != tab_line:  # one a line
                yield index, "a tab", "use spaces"
            tab_line = line
        elif unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character == "\ufeff":
            yield index, f"character U+{ord(character):04X}", "save the file as plain UTF-8 text"
            return


class _Refused(Exception):
    """The file cannot be read on: index, message, remedy."""

    args: tuple[int, str, str]


class _Builder:
    def __init__(self) -> None:
        self.faults: list[tuple[int, str, str]] = []

    def document(self, text: str) -> Node | None:
        root: Node | None = None
        events = iter(YAML(typ="safe", pure=True).parse(text))
        documents = 0
        for event in events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self.fault(event, "a second document", "one document a file: remove ---")
                if event.version or event.tags:
                    self.fault(event, "a directive", "remove the line that starts with %")
            elif isinstance(event, (ScalarEvent, SequenceStartEvent, MappingStartEvent, AliasEvent)):
                node = self.node(event, events, 1)
                root = node if root is None else root
        return None if isinstance(root, Scalar) and not root.value else root

    def fault(self, event: Any, message: str, remedy: str) -> None:
        if len(self.faults) == MAX_FAULTS:
            raise _Refused(event.start_mark.index, f"more than {MAX_FAULTS} faults", "mend these first")
        self.faults.append((event.start_mark.index, message, remedy))

    def node(self, event: Any, events: Iterator[Any], depth: int) -> Node:
        index: int = event.start_mark.index
        if depth > MAX_DEPTH:
            raise _Refused(index, "nested too deeply", f"nest at most {MAX_DEPTH} deep")
        if isinstance(event, AliasEvent):
            raise _Refused(index, "an alias (*)", "write the value out; a text that begins with * goes in quotes")
        if event.anchor is not None:
            self.fault(
                event, "an anchor (&)", "write the value out where it is used; a text that begins with & goes in quotes"
            )
        if event.tag is not None:
            self.fault(event, "a tag (!)", "write the value without it; a text that begins with ! goes in quotes")
        if isinstance(event, ScalarEvent):
            return Scalar(index, event.end_mark.index, event.value, event.style or "")
        if isinstance(event, SequenceStartEvent):
            listing = Listing(index)
            while not isinstance(event := next(events), SequenceEndEvent):
                listing.items.append(self.node(event, events, depth + 1))
            return listing
        mapping = Mapping(index)
        twice: dict[str, Any] = {}  # keys, each with the event of the second time
        while not isinstance(event := next(events), MappingEndEvent):
            key = self.node(event, events, depth + 1)
            value = self.node(next(events), events, depth + 1)
            if not isinstance(key, Scalar):
                self.fault(event, "a key that is not plain text", "write a name before the colon")
            elif key.value == "<<" and not key.style:
                self.fault(event, "a merge key (<<)", "write the keys out")
            elif key.value in mapping.entries:
                twice.setdefault(key.value, event)
            else:
                if isinstance(value, Scalar) and value.index == value.end:
                    value.index = value.end = key.end  # an empty value is reported at its key, not at what follows
                mapping.entries[key.value] = (key, value)
        if twice:  # several are one fault: two mappings ran into one
            keys = ", ".join(f'"{key}"' for key in twice)
            one = len(twice) == 1
            remedy = "keep one" if one else "keep one of each, or give each group its own name"
            self.fault(next(iter(twice.values())), f"{'key' if one else 'keys'} {keys} twice", remedy)
        return mapping


def index_within(text: str, scalar: Scalar, offset: int) -> int:
    """Where character `offset` of a scalar's value stands in the file, by counting visible ones: only spaces fold."""
    wanted = sum(character not in SPACE for character in scalar.value[:offset])
    index = scalar.index
    if scalar.style in ("'", '"'):
        index += 1
    elif scalar.style:
        index = text.index("\n", index)
    after = index
    while index < scalar.end:
        character, width = _unit(text, index, scalar.style)
        if character and character not in SPACE:
            if wanted == 0 and offset < len(scalar.value):
                return index
            if wanted == 0:
                return after
            wanted -= 1
            after = index + width
        index += width
    return after


def _unit(text: str, index: int, style: str) -> tuple[str, int]:
    """The character that stands at an index, and how many characters it is written with."""
    character = text[index]
    if style == "'" and text.startswith("''", index):
        return "'", 2
    if style == '"' and character == "\\":
        escape = text[index + 1]
        width = LONG_ESCAPES.get(escape)
        if width:
            return chr(int(text[index + 2 : index + width], 16)), width
        return ("" if escape in "\r\n" else " " if escape in " nr" else escape), 2
    return character, 1
