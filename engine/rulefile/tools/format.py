"""One layout for rule files.

Enters: the text of a file. Leaves: the same in canonical layout, or Problems. Holds: it says the same (checked each
time, values and comments both); formatting twice is formatting once.

The layout: two spaces, hyphens of a list two in; a rule's keys in the order of ORDER; one line for what was written in
braces or brackets if it fits, else one line an entry; long texts folded; no two blank lines, one between rules; two
spaces before a comment at a line's end. (ruamel.yaml reads; it does not write: its comments belong to the token before
them, and would stay behind when a key moves.)
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from engine.rulefile.source.document import Listing, Mapping, Node, Scalar, place, read_document
from engine.rulefile.source.problem import Problem

WIDTH: Final = 120
RULE: Final = (
    *("id", "was", "version", "title", "owner"),
    *("on", "silence", "unanswered", "becomes", "at", "sequence", "for", "when", "repeat_every"),
    *("kind", "audience", "channels", "priority", "cooldown", "expires", "template", "parameters", "care"),
    *("description", "serves", "tests"),
)
FEATURE: Final = ("source", "aggregate", "field", "by", "where", "window", "since", "description", "was")
ORDER: Final = {"rules": RULE, "features": FEATURE}
FOLDED: Final = frozenset({"when", "becomes", "where", "is", "value_score", "description"})  # long ones are folded
WHITE: Final = " \t"  # what YAML takes for white space; an ideographic space is text
_FOLDS: Final = re.compile(r"[ \t\n]+")
BREAK: Final = re.compile(r" (?=(?:and|or|if|else) )")


@dataclass(slots=True)
class _Comments:
    """Those of a file by their place, each claimed once by what it stands before or beside."""

    own: list[tuple[int, int, str]] = field(default_factory=list)  # line, column, text; "" is a blank line
    beside: dict[int, str] = field(default_factory=dict)  # by line
    starts: list[int] = field(default_factory=list)  # lines at which something of a block begins
    next: int = 0

    def before(self, line: int) -> list[str]:
        first = self.next
        while self.next < len(self.own) and self.own[self.next][0] < line:
            self.next += 1
        return [text for _, _, text in self.own[first : self.next]]

    def ending(self, column: int, line: int) -> list[str]:
        """Those after the last entry of a block, as far in as the block is, before what follows it."""
        following = bisect_left(self.starts, line + 1)
        limit = self.starts[following] if following < len(self.starts) else 1 << 60
        last = self.next
        for index in range(self.next, len(self.own)):
            at, its_column, text = self.own[index]
            if at >= limit or (text and its_column < column):
                break
            if text:
                last = index + 1
        found, self.next = [text for _, _, text in self.own[self.next : last]], last
        return found


def lay_out(paths: Iterable[Path], check_only: bool, say: Callable[[str], object]) -> int:
    """Files, and directories' *.yaml files, laid out in place. 1: one is faulty or, with `check_only`, would change."""
    status = 0
    for file in (file for path in paths for file in (_within(path) if path.is_dir() else [path])):
        text = file.read_bytes().decode("utf-8-sig", "surrogateescape")
        written = formatted(file.name, text)
        if not isinstance(written, str):
            for problem in written:
                say(f"{file.parent / problem.file}{str(problem)[len(problem.file) :]}")
            status = 1
        elif written != text and check_only:
            say(f"{file}: not in canonical layout")
            status = 1
        elif written != text:
            replacement = file.with_name(f".{file.name}.new")  # whoever watches the directory never sees half a file
            replacement.write_bytes(written.encode())
            replacement.chmod(file.stat().st_mode)
            replacement.replace(file)
            say(f"{file}: laid out")
    return status


def _within(directory: Path) -> list[Path]:
    return sorted((*directory.glob("*.yaml"), *directory.glob("journeys/*.yaml")))


class Unformatted(Exception):
    """It cannot be laid out; the index and what to do."""


def formatted(name: str, text: str) -> str | list[Problem]:
    text = text.replace("\r\n", "\n")
    root, problems = read_document(name, text, published=True)
    if problems or root is None:
        return problems
    try:
        writer = _Writer(text, root)
        written = writer.file(root)
    except Unformatted as error:
        index, remedy = error.args
        return [Problem(name, *place(text, index), None, "this has no canonical layout", remedy)]
    again, _ = read_document(name, written, published=True)
    if again is None or _plain(again) != _plain(root) or _said(written, again) != _said(text, root):
        return [Problem(name, 1, 1, None, "the layout would change what the file says", "leave it, and tell us")]
    return written


def _plain(node: Node) -> Any:
    """What a node says; a mapping's order says nothing, but where a table or parameters are written it is kept."""
    if isinstance(node, Scalar):
        return " ".join(_FOLDS.split(node.value)).strip(" ") if node.style in ("", ">") else node.value
    if isinstance(node, Listing):
        return [_plain(item) for item in node.items]
    return {key: _plain(value) for key, (_, value) in node.entries.items()}


def _scalars(node: Node) -> Iterator[Scalar]:
    if isinstance(node, Scalar):
        yield node
    elif isinstance(node, Listing):
        for item in node.items:
            yield from _scalars(item)
    else:
        for key, value in node.entries.values():
            yield key
            yield from _scalars(value)


def _block_end(text: str, scalar: Scalar) -> int:
    """Where the last line of a | or > text ends: the parser's mark may lie beyond blank lines."""
    return scalar.index + len(text[scalar.index : scalar.end].rstrip("\n "))


def _comment_marks(text: str, root: Node) -> Iterator[tuple[int, str]]:
    """(index, text) of each comment: a # outside of every value."""
    spans = sorted((s.index, _block_end(text, s) if s.style in ("|", ">") else s.end) for s in _scalars(root))
    at = 0
    for first, end in (*spans, (len(text), len(text))):
        while (found := text.find("#", at, first)) >= 0:
            line_end = text.find("\n", found)
            line_end = len(text) if line_end < 0 else line_end
            yield found, text[found:line_end].rstrip(WHITE)
            at = line_end
        at = max(at, end)


def _said(text: str, root: Node) -> Counter[str]:
    headers = (text[s.index : s.end].partition("\n")[0] for s in _scalars(root) if s.style in ("|", ">"))
    return Counter(
        [
            *(said for _, said in _comment_marks(text, root)),
            *(h[h.index("#") :].rstrip(WHITE) for h in headers if "#" in h),
        ]
    )


class _Writer:
    def __init__(self, text: str, root: Node) -> None:
        self.text = text
        self.comments = _Comments()
        self._read_comments(root)

    def line(self, index: int) -> int:
        return place(self.text, index)[0]

    def _read_comments(self, root: Node) -> None:
        comments = self.comments
        values = sorted((self.line(s.index), self.line(max(self.end(s) - 1, s.index))) for s in _scalars(root))
        inside = {line for first, last in values for line in range(first, last + 1)}
        blank = {
            number
            for number, line in enumerate(self.text.split("\n"), 1)
            if not line.strip(WHITE) and number not in inside
        }
        own = [(line, 0, "") for line in blank]
        for index, said in _comment_marks(self.text, root):
            line, column = place(self.text, index)
            if self.text[index - column + 1 : index].strip("-" + WHITE):  # beside a dash alone it is about what follows
                comments.beside[line] = said
            else:
                own.append((line, column, said))
        comments.own = sorted(own)
        comments.starts = sorted(self._starts(root))

    def _starts(self, node: Node) -> Iterator[int]:
        if isinstance(node, Scalar) or self.flow(node):
            return
        for key, value in node.entries.values() if isinstance(node, Mapping) else ((i, i) for i in node.items):
            yield self.line(key.index)
            yield from self._starts(value)

    def flow(self, node: Node) -> bool:
        return not isinstance(node, Scalar) and self.text[node.index] in "[{"

    def end(self, node: Node) -> int:
        """The index after a node. A collection in brackets may end a little later."""
        if isinstance(node, Scalar):
            return _block_end(self.text, node) if node.style in ("|", ">") else node.end
        return max((self.end(scalar) for scalar in _scalars(node)), default=node.index + 1)

    # -- writing ---------------------------------------------------------------------------------------------------

    def file(self, root: Node) -> str:
        lines = [*self.node(root, 0, ""), *self.comments.before(1 << 60)]
        kept = [line for before, line in zip(["", *lines], lines, strict=False) if line or before]
        while kept and not kept[-1]:
            kept.pop()
        return "\n".join(kept) + "\n"

    def node(self, node: Node, indent: int, key: str) -> list[str]:
        """The lines of a block collection."""
        pad = " " * indent
        entries: list[tuple[str, list[str]]] = []
        if isinstance(node, Listing):
            for item in node.items:
                before = self._lead(pad, item.index, first=not entries)
                if key == "rules" and entries and (not before or before[0]):
                    before.insert(0, "")
                entries.append(("", [*before, *self.item(item, indent, key)]))
        elif isinstance(node, Mapping):
            keys = ORDER.get(key.removesuffix("[]"), ()) if key.endswith("[]") else ()
            order = {name: number for number, name in enumerate(keys)}
            for name, (at, value) in node.entries.items():
                before = self._lead(pad, at.index, first=not entries)
                before = [said for said in before if said or not order]  # no blank lines within a rule
                entries.append((name, [*before, *self.entry(at, value, indent, key)]))
            entries.sort(key=lambda entry: order.get(entry[0], len(order)))
        else:
            first, *rest = (f"{pad}{part}" for part in self.scalar("", node, indent))
            return self._with(first, self._beside(node.index, node), rest, pad)
        lines = [line for _, written in entries for line in written]
        if self.flow(node):
            return lines
        # A list may stand as far out as its key: what stands there after it is about the file.
        column = max(place(self.text, next(self._first(node), node.index))[1], 2 if indent else 1)
        ending = self.comments.ending(column, self.line(max(self.end(node) - 1, 0)))
        return [*lines, *(f"{pad}{said}" if said else "" for said in ending)]

    def _first(self, node: Node) -> Iterator[int]:
        """Where a block's entries begin: its column is theirs."""
        if isinstance(node, Mapping):
            yield from (at.index for at, _ in node.entries.values())
        elif isinstance(node, Listing):
            yield node.index

    def _lead(self, pad: str, index: int, first: bool) -> list[str]:
        found = self.comments.before(self.line(index))
        while found and first and not found[0] and pad:
            found = found[1:]
        return [f"{pad}{said}" if said else "" for said in found]

    def item(self, node: Node, indent: int, key: str) -> list[str]:
        pad = " " * indent
        if isinstance(node, Scalar) or (one := self.one_line(node, indent + 2)) is not None:
            said = self._beside(node.index, node)
            if isinstance(node, Scalar):
                first, *rest = self.scalar("", node, indent + 2)
            else:
                first, rest = str(one), []
            return self._with(
                f"{pad}- {first}".rstrip(WHITE), said, [f"{pad}  {line}" if line else "" for line in rest], pad
            )
        beside = self._beside(node.index, None) if self.flow(node) else []
        lines = self.node(node, indent + 2, f"{key}[]")
        at = next(
            (
                number
                for number, line in enumerate(lines)
                if line.strip(WHITE) and not line.lstrip(WHITE).startswith("#")
            ),
            0,
        )
        lines[at] = f"{pad}- {lines[at][indent + 2 :]}"
        before = [f"{pad}{line[indent + 2 :]}" if line else "" for line in lines[:at]]
        return [*(f"{pad}{said}" for said in beside), *before, *lines[at:]]

    def entry(self, key: Scalar, value: Node, indent: int, parent: str) -> list[str]:
        pad = " " * indent
        name = self._quoted(key)
        if isinstance(value, Scalar):
            said = self._beside(key.index, value)
            first, *rest = self.scalar(f"{pad}{name}: ", value, indent + 2, key.value)
            return self._with(f"{pad}{name}: {first}".rstrip(WHITE), said, rest, pad)
        if (one := self.one_line(value, indent + len(name) + 2)) is not None:
            return self._with(f"{pad}{name}: {one}", self._beside(key.index, value), [], pad)
        said = self._beside(key.index, None)
        deeper = "features[]" if parent == "features" else key.value
        return self._with(f"{pad}{name}:", said, self.node(value, indent + 2, deeper), pad)

    def _with(self, first: str, said: list[str], rest: list[str], pad: str) -> list[str]:
        """A line with the comment beside it; others that stood inside go before it."""
        if not said:
            return [first, *rest]
        return [*(f"{pad}{other}" for other in said[1:]), f"{first}  {said[0]}", *rest]

    def _beside(self, index: int, value: Node | None) -> list[str]:
        last = self.line(max(self._close(value) - 1, index)) if value is not None else self.line(index)
        lines = range(self.line(index), last + 1)
        return [said for line in lines if (said := self.comments.beside.pop(line, ""))]

    def _close(self, node: Node) -> int:
        """The index after a node, its closing bracket included."""
        if isinstance(node, Scalar):
            return self.end(node)
        at = max((self._close(part) for part in _parts(node)), default=node.index + 1)
        spaces = re.compile(r"(?:[\s,]|#[^\n]*)*[\]}]").match(self.text, at)
        return spaces.end() if spaces else at

    def one_line(self, node: Node, indent: int) -> str | None:
        """What was written in brackets, on one line; None when it does not fit, or has comments in it."""
        if isinstance(node, Scalar) or (_parts(node) and not self.flow(node)):
            return None
        inside = range(self.line(node.index), self.line(self._close(node) - 1))
        if any(line in self.comments.beside for line in inside) or any(
            line - 1 in inside and said for line, _, said in self.comments.own
        ):
            return None
        written = self._flow(node)
        return written if "\n" not in written and indent + len(written) <= WIDTH else None

    def _flow(self, node: Node) -> str:
        if isinstance(node, Scalar):
            return self._quoted(node)
        if isinstance(node, Listing):
            return f"[{', '.join(map(self._flow, node.items))}]"
        pairs = ((self._quoted(at), self._flow(value)) for at, value in node.entries.values())
        return f"{{{', '.join(f'{at}: {value}' if value else at for at, value in pairs)}}}"

    def scalar(self, before: str, node: Scalar, indent: int, key: str = "") -> list[str]:
        """Its lines; the first goes after what stands before it, the others carry their indent when there is a key."""
        pad = " " * indent if before else ""
        if node.style in ("|", ">"):
            header, _, body = self.text[node.index : self.end(node)].partition("\n")
            if any(character.isdigit() for character in header.partition("#")[0]):
                raise Unformatted(node.index, "write the text without a number after | or >")
            lines = body.split("\n")
            depth = min((len(line) - len(line.lstrip(WHITE)) for line in lines if line.strip(WHITE)), default=0)
            return [
                header.partition("#")[0].rstrip(WHITE)
                + ("  " + header[header.index("#") :].rstrip(WHITE) if "#" in header else ""),
                *(f"{pad}{line[depth:].rstrip(WHITE)}" if line.strip(WHITE) else "" for line in lines if body),
            ]
        written = self._quoted(node)
        if "\n" in written:
            return [
                line.strip(WHITE) if not number else f"{pad}{line.strip(WHITE)}" if line.strip(WHITE) else ""
                for number, line in enumerate(written.split("\n"))
            ]
        if key in FOLDED and not node.style and len(before) + len(written) > WIDTH:
            return [">", *(f"{pad}{line}" for line in _folded(written, WIDTH - indent))]
        return [written]

    def _quoted(self, node: Scalar) -> str:
        """A value on one line if it can be, in double quotes rather than single ones."""
        raw = self.text[node.index : node.end] if node.index < node.end else ""
        if not node.style:
            return node.value if "\n" not in node.value else raw
        if "\n" not in node.value and node.style == "'" and node.value.isprintable():
            plain = '"' not in node.value and "\\" not in node.value
            return f'"{node.value}"' if plain else "'" + node.value.replace("'", "''") + "'"
        return raw


def _parts(node: Node) -> list[Node]:
    if isinstance(node, Mapping):
        return [part for pair in node.entries.values() for part in pair]
    return node.items if isinstance(node, Listing) else []


def _folded(text: str, width: int) -> list[str]:
    """Lines that a > joins again: broken before and, or, where that is enough, else at any single space."""
    lines: list[str] = []
    for part in BREAK.split(text) if " and " in text or " or " in text else text.split(" "):
        if lines and len(lines[-1]) + 1 + len(part) <= width:
            lines[-1] += f" {part}"
        else:
            lines.append(part)
    return lines
