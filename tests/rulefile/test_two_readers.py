"""libyaml reads plain rule files, ruamel.yaml all others: what libyaml is given, both read the same."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.rulefile.source import document
from engine.rulefile.source.document import read_document
from engine.rulefile.source.problem import Problem
from tests.services.process import REPOSITORY

FILES = {path.name: path.read_text(encoding="utf-8") for path in sorted((REPOSITORY / "rules").glob("*.yaml"))}
LINES = [line for text in FILES.values() for line in text.split("\n")]
PIECES = [
    *" \n\t:-,[]{}#&*!|>'\"%@`?~\\.0ab", "é", "中", "\x85", "\u2028", "\ufeff", "\xa0", "😀", "- ", "? ", ": ", "\n  ",
    "\n\n", "---\n", "...\n", "<<: ", "|\n", "|-\n", "|+2\n", ">\n", ">-\n", "''", '""',
    "\\x41", "\\u0041", "\\/", "\\ \n",
    "a:b", "{a: 1}", "[a, b]", "{a:1}", '{"a":1}', "{a, b}", "# c\n", " # c", "%YAML 1.1\n", "!t ", "&a ", "*a ",
    "http://x:1", "12:30", "\r\n", "\r", "key: v\n", "- x\n",
]  # fmt: skip
PLACES = st.integers(0, 10_000)
EDITS = st.lists(st.tuples(PLACES, st.sampled_from((0, 0, 1, 3)), st.sampled_from(PIECES)), max_size=4)


def edited(text: str, edits: list[tuple[int, int, str]]) -> str:
    for place, less, more in edits:
        place %= len(text) + 1
        text = text[:place] + more + text[place + less :]
    return text


TEXTS = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=14).map("".join),
    st.builds(
        lambda first, lines, edits: edited("\n".join(LINES[first : first + lines]) + "\n", edits),
        st.integers(0, len(LINES)), st.integers(1, 12), EDITS,
    ),
)  # fmt: skip


def by_ruamel(text: str) -> tuple[object, list[Problem]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(document, "_events", document._with_words)
        return read_document("f.yaml", text)


@settings(max_examples=400, deadline=None)
@given(TEXTS)
@example("&a:b\n")
@example("|#\n  ")
@example(">\n---\n x")
@example(">\n# c\n # c")
@example("given:\t {client: unknown}\n")
@example("a: 1\n*b: 2\n")
@example("minutes: {kind: !number, least: 0}\n")
@example("when: >\n  \n      is_individual\n   and more\n")
def test_both_readers_see_the_same(text: str) -> None:
    assert read_document("f.yaml", text) == by_ruamel(text)


@pytest.mark.parametrize("name", FILES)
def test_shipped_files_are_read_by_the_faster_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = by_ruamel(FILES[name])
    monkeypatch.setattr(document, "_with_words", None)
    assert read_document(name, FILES[name]) == expected
