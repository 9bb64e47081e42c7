"""Where things stand in rule files, for those who speak of a rule set that has been read.

Enters: the files of a RuleSet, which had no problem. Leaves: nodes by what they declare, lines, comments.
Holds: a RuleSet carries no positions; its files are read again here, by the same reader.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Mapping as Mapping_
from dataclasses import dataclass
from typing import Final

from engine.rulefile.source.document import Listing, Mapping, Node, Scalar, index_within, place, read_document

DECLARING: Final = ("features", "define", "lists", "tables", "teams")  # keys of files whose entries are names
ALLOW: Final = re.compile(r"(?:^|\s)# lint: allow\b(.*)$")


@dataclass(frozen=True, slots=True)
class Place:
    """A node and the file that it stands in."""

    file: str
    text: str
    node: Node

    @property
    def line(self) -> int:
        return place(self.text, self.node.index)[0]

    @property
    def column(self) -> int:
        return place(self.text, self.node.index)[1]

    def key(self, *path: str) -> Place | None:
        """The value under a key of a key of this mapping."""
        node: Node = self.node
        for key in path:
            if not isinstance(node, Mapping) or key not in node.entries:
                return None
            node = node.entries[key][1]
        return Place(self.file, self.text, node)

    def named(self, *path: str) -> Place | None:
        """The last key of a path itself."""
        above = self.key(*path[:-1])
        if above is None or not isinstance(above.node, Mapping) or path[-1] not in above.node.entries:
            return None
        return Place(self.file, self.text, above.node.entries[path[-1]][0])

    def item(self, index: int) -> Place | None:
        """An item of this list."""
        if not isinstance(self.node, Listing) or index >= len(self.node.items):
            return None
        return Place(self.file, self.text, self.node.items[index])

    def within(self, offset: int) -> tuple[int, int]:
        """Line and column of a character of this text."""
        assert isinstance(self.node, Scalar)
        return place(self.text, index_within(self.text, self.node, offset))


@dataclass(frozen=True, slots=True)
class Allowed:
    """A comment `# lint: allow CODE reason`."""

    file: str
    line: int
    column: int
    code: str
    reason: str


class Places:
    """`rules`, `journeys`, `segments` and `stages` by id; `declared` by key and name, at the name; `roots` by file."""

    def __init__(self, files: Iterable[tuple[str, str]], documents: Mapping_[str, Node] | None = None) -> None:
        self.texts = {name: text for name, text in files if name.endswith(".yaml")}
        self.roots: dict[str, Place] = {}
        self.rules: dict[str, Place] = {}
        self.journeys: dict[str, Place] = {}
        self.segments: dict[str, Place] = {}
        self.stages: dict[str, Place] = {}
        self.declared: dict[str, dict[str, Place]] = {key: {} for key in DECLARING}
        for name, text in self.texts.items():
            root = documents[name] if documents else read_document(name, text, published=True)[0]
            if isinstance(root, Mapping):
                self._take(Place(name, text, root))

    def _take(self, root: Place) -> None:
        self.roots[root.file] = root
        for key, found in (("rules", self.rules), ("segments", self.segments), ("stages", self.stages)):
            listed = root.key(key)
            for item in listed.node.items if listed and isinstance(listed.node, Listing) else ():
                at = Place(root.file, root.text, item)
                id_ = at.key("id")
                if id_ is not None and isinstance(id_.node, Scalar):
                    found[id_.node.value] = at
        listed = root.key("journeys")
        for item in listed.node.items if listed and isinstance(listed.node, Listing) else ():
            self._take_journey(Place(root.file, root.text, item))
        for key in DECLARING:
            entries = root.key(key)
            if entries is not None and isinstance(entries.node, Mapping):
                for name, (at_key, _) in entries.node.entries.items():
                    self.declared[key][name] = Place(root.file, root.text, at_key)

    def _take_journey(self, at: Place) -> None:
        """The rule that begins it stands in its entry, those that act in their steps."""
        id_, entry = at.key("id"), at.key("entry")
        if id_ is None or not isinstance(id_.node, Scalar) or entry is None:
            return
        self.journeys[id_.node.value] = at
        self.rules[id_.node.value] = entry
        live, pinned, earlier = at.key("version"), at.key("pinned"), at.key("earlier")
        version = live.node.value if live is not None and isinstance(live.node, Scalar) else "1"
        is_pinned = pinned is not None and isinstance(pinned.node, Scalar) and pinned.node.value == "true"
        versions: list[tuple[str, tuple[str, ...]]] = [(version, ("steps",))]
        if earlier is not None and isinstance(earlier.node, Mapping):
            versions += [(one, ("earlier", one, "steps")) for one in earlier.node.entries]
        for version, path in versions:
            steps, last = at.key(*path), f"-v{version}" if is_pinned else ""
            for name in steps.node.entries if steps is not None and isinstance(steps.node, Mapping) else ():
                if (act := at.key(*path, name, "act")) is not None:
                    self.rules[f"{id_.node.value}/{name}{last}"] = act

    def allowed(self) -> list[Allowed]:
        found = []
        for file, text in self.texts.items():
            for number, line in enumerate(text.split("\n"), 1):
                comment = ALLOW.search(line)
                if comment:
                    code, _, reason = comment[1].strip().partition(" ")
                    found.append(Allowed(file, number, comment.start() + 1, code, reason.strip()))
        return found
