"""Reads YAML into nodes that remember where they stand.

Enters: the text of one file. Leaves: its tree of Scalar, Listing and Mapping, or Problems.
Holds: YAML 1.2 in plain form only: no tags, anchors, aliases, merge keys, directives, tabs or second documents; no key
twice; size and depth are bounded before anything is built.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import yaml
from yaml.cyaml import CParser

from engine.core.text import INVISIBLE, unseen, visible
from engine.rulefile.source.characters import MAX_FAULTS, control_characters, invisible, pasted
from engine.rulefile.source.problem import Problem

if TYPE_CHECKING:
    from ruamel.yaml.error import MarkedYAMLError

# What both readers call their events: see _events.
ALIAS: Final = "AliasEvent"
DOCUMENT: Final = "DocumentStartEvent"
MAPPING: Final = "MappingStartEvent"
MAPPING_END: Final = "MappingEndEvent"
SCALAR: Final = "ScalarEvent"
LISTING: Final = "SequenceStartEvent"
LISTING_END: Final = "SequenceEndEvent"

MAX_DEPTH: Final = 20
SPACE: Final = " \n\r"
# Other programs read these as something else than text: YAML 1.1 as true, false or nothing
NORWAY: Final = frozenset(
    form for word in ("yes", "no", "on", "off", "true", "false", "null") for form in (word, word.title(), word.upper())
) | {"~"}
LONG_ESCAPES: Final = {"x": 4, "u": 6, "U": 10}
ESCAPES: Final = dict(zip("0abtnvfre_NLP\t", "\0\a\b\t\n\v\f\r\x1b\xa0\x85\u2028\u2029\t", strict=True))


@dataclass(slots=True)
class Scalar:
    index: int  # where it begins in the file's text
    end: int
    value: str
    style: str  # "" plain, or one of ' " | >

    @property
    def is_null(self) -> bool:
        return not self.style and self.value in ("null", "~")


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


def read_document(name: str, text: str, *, published: bool = False) -> tuple[Node | None, list[Problem]]:
    """The tree of one file; None when it cannot be used at all. What is `published` passed the checks of its time. Of a
    file with characters that nobody sees, the tree is that of its visible text: for what other files use of it.
    """
    faults = list(control_characters(text))
    soiled = [] if faults or published else list(invisible(text))
    problems = [Problem(name, *place(text, index), None, message, remedy) for index, message, remedy in faults + soiled]
    if faults:
        return None, problems
    if soiled:
        return read_document(name, visible(text), published=True)[0], problems
    builder = _Builder(text, published)
    try:
        root = builder.document()
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


def _pasted(text: str, error: MarkedYAMLError) -> tuple[int, str, str] | None:
    marks = (mark.index for mark in (error.problem_mark, error.context_mark) if mark)
    return next((found for index in marks if (found := pasted(text, index))), None)


def _in_plain_words(error: MarkedYAMLError) -> tuple[int, str, str]:
    said = str(error.problem or error.context)
    for words, at_context, message, remedy in _FAULTS:
        if words in said:
            mark = (error.context_mark if at_context else None) or error.problem_mark
            return (mark.index if mark else 0), f"not YAML: {message}", remedy
    mark = error.problem_mark or error.context_mark
    return (mark.index if mark else 0), f"not YAML: {said}", _YAML_REMEDY


class _Refused(Exception):
    """The file cannot be read on: index, message, remedy."""

    args: tuple[int, str, str]


# What libyaml and ruamel.yaml may read in two ways: signs beyond plain text, anchors, aliases, tags, document marks
# within the text, a block of text that begins with an empty line or a #.
_ODD: Final = re.compile(
    "[^\n -%'-~\u00a1-\u1fff\u2030-\ufdff\uff01-\uffef\U00010000-\U0010fffd]"
    "|\n(?:---|\\.\\.\\.)"
    "|(?:^|[ \n,:\\[{])[*!](?![ =])"
    "|[|>][-+0-9]* *(?:#|\n *(?:\n|#|$))"
)


def _events(text: str) -> Iterator[Any]:
    """By libyaml, which takes a fifteenth of the time, what it surely reads as ruamel.yaml does; all else by
    ruamel.yaml, which has the words and places for what is wrong.
    """
    if not _ODD.search(text):
        parser = CParser(text)
        found = []
        try:
            while parser.check_event():
                found.append(parser.get_event())
            return iter(found)
        except yaml.YAMLError:
            pass
    return _with_words(text)


def _with_words(text: str) -> Iterator[Any]:
    from ruamel.yaml import YAML  # few files need it, and it takes a tenth of `engage check` to import
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        yield from YAML(typ="safe", pure=True).parse(text)
    except MarkedYAMLError as error:
        raise _Refused(*(_pasted(text, error) or _in_plain_words(error))) from error
    except YAMLError as error:
        raise _Refused(0, f"not YAML: {str(error).splitlines()[0]}", _YAML_REMEDY) from error


class _Builder:
    def __init__(self, text: str, published: bool) -> None:
        self.text, self.published = text, published
        self.faults: list[tuple[int, str, str]] = []

    def document(self) -> Node | None:
        root: Node | None = None
        events = _events(self.text)
        documents = 0
        for event in events:
            kind = type(event).__name__
            if kind == DOCUMENT:
                documents += 1
                if documents > 1:
                    self.fault(event, "a second document", "one document a file: remove ---")
                if event.version or event.tags:
                    self.fault(event, "a directive", "remove the line that starts with %")
            elif kind in (SCALAR, LISTING, MAPPING, ALIAS):
                node = self.node(event, events, 1)
                root = node if root is None else root
        return None if isinstance(root, Scalar) and not root.value else root

    def fault(self, at: Any, message: str, remedy: str) -> None:
        """`at`: an event or an index."""
        index = at if isinstance(at, int) else at.start_mark.index
        if len(self.faults) == MAX_FAULTS:
            raise _Refused(index, f"more than {MAX_FAULTS} faults", "mend these first")
        self.faults.append((index, message, remedy))

    def scalar(self, index: int, event: Any) -> Scalar:
        scalar = Scalar(index, event.end_mark.index, event.value, event.style or "")
        if not self.published and (character := unseen(scalar.value)):  # it was written as an escape
            self.fault(index_within(self.text, scalar, character.offset), character.message, character.remedy)
            scalar.value = INVISIBLE.sub("", scalar.value).strip() or "x"  # nothing follows from the fault
        return scalar

    def node(self, event: Any, events: Iterator[Any], depth: int) -> Node:
        index: int = event.start_mark.index
        kind = type(event).__name__
        if depth > MAX_DEPTH:
            raise _Refused(index, "nested too deeply", f"nest at most {MAX_DEPTH} deep")
        if kind == ALIAS:
            raise _Refused(index, "an alias (*)", "write the value out; a text that begins with * goes in quotes")
        if event.anchor is not None:
            self.fault(
                event, "an anchor (&)", "write the value out where it is used; a text that begins with & goes in quotes"
            )
        if event.tag is not None:
            self.fault(event, "a tag (!)", "write the value without it; a text that begins with ! goes in quotes")
        if kind == SCALAR:
            return self.scalar(index, event)
        if kind == LISTING:
            listing = Listing(index)
            while type(event := next(events)).__name__ != LISTING_END:
                listing.items.append(self.node(event, events, depth + 1))
            return listing
        mapping = Mapping(index)
        twice: dict[str, Any] = {}  # keys, each with the event of the second time
        while type(event := next(events)).__name__ != MAPPING_END:
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
            if one and not isinstance(mapping.entries[next(iter(twice))][1], Scalar):
                remedy = "put what is under both under one"
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
        return ("" if escape in "\r\n" else ESCAPES.get(escape, escape)), 2
    return character, 1
