"""The words of documents, docstrings, messages and comments: plain English, one word for one thing.

A small list of phrases that readers stumbled over, each with what to write instead. `code` is left out.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.services.process import REPOSITORY

INSTEAD = {
    r"(?<!there\s)\b(is|are) none\b": "is invalid, is not one",
    r"\bsuch (a )?ones?\b": "name it again",
    r"\b(is|are|was|were|been|being) looked at\b": "is evaluated",
    r"\b[Gg]o(es)? by\b": "use, follow",
    r"\b(is|are|was|were) told\b": "is reported",
    r"\bin force\b": "active",
    r"\bthat there is not\b": "that does not exist",
    r"\bis to be (read|evaluated)\b": "must be",
}
FILES = [
    *sorted(REPOSITORY.glob("engine/**/*.py")),
    *sorted(REPOSITORY.glob("*.md")),
    *sorted(REPOSITORY.glob("docs/**/*.md")),
]


def stumbles(text: str) -> list[str]:
    """line: phrase: what to write instead."""
    plain = re.sub(r"^```.*?^```|`[^`\n]+`", lambda code: re.sub(r"[^\n]", "-", code[0]), text, flags=re.M | re.S)
    return [
        f"{plain.count(chr(10), 0, found.start()) + 1}: {' '.join(found[0].split())}: write {instead}"
        for phrase, instead in INSTEAD.items()
        for found in re.finditer(phrase.replace(" ", r"\s+(?:# )?"), plain)
    ]


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(REPOSITORY)) for path in FILES])
def test_words_are_plain(path: Path) -> None:
    assert not stumbles(path.read_text(encoding="utf-8"))


def test_a_stumble_is_found_and_code_is_not_read() -> None:
    text = "a time that\nis none, `in force`\n```\nin force\n```\nif there is none\n"
    assert stumbles(text) == ["2: is none: write is invalid, is not one"]
