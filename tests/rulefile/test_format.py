"""One layout: comments stay with what they are about, no meaning changes, formatting twice is formatting once."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engine.cli.main import main
from engine.core.rules.meaning import meaning
from engine.core.rules.ruleset import RuleSet
from engine.rulefile.read.load import load
from engine.rulefile.tools.format import formatted
from tests.rulefile.sample import FILES, good
from tests.rulefile.test_any_edit import EDITS
from tests.services.process import REPOSITORY

SHIPPED = {file.name: file.read_text(encoding="utf-8") for file in (REPOSITORY / "rules").glob("*.yaml")}
UNTIDY = """\
# About the file.


rules:   # all of them
# about one
- title: 'One'   # its title
  id:   one
  # why seven
  priority: 7

  channels: [sms,
     email]   # best first
  parameters: {a:   1,
    # the second
    b: '"x"'}
  when: a_long_name_of_a_feature_30d >= 1_000 and another_long_name_of_a_feature_30d >= 1_000 or client.tier == "A"
    and client.region == "north"
  # the last of one
# about two
- {id: two, title: "it's"}
- id: three
  description: >-   # folded
        Kept as
        it is.
# the end
"""
TIDY = """\
# About the file.

rules:  # all of them
  # about one
  - id: one
    title: "One"  # its title
    when: >
      a_long_name_of_a_feature_30d >= 1_000 and another_long_name_of_a_feature_30d >= 1_000 or client.tier == "A"
      and client.region == "north"
    channels: [sms, email]  # best first
    # why seven
    priority: 7
    parameters:
      a: 1
      # the second
      b: '"x"'
    # the last of one

  # about two
  - {id: two, title: "it's"}

  - id: three
    description: >-  # folded
      Kept as
      it is.
# the end
"""


def test_layout() -> None:
    assert formatted("x.yaml", UNTIDY) == TIDY
    assert formatted("x.yaml", TIDY) == TIDY
    assert formatted("x.yaml", UNTIDY.replace("\n", "\r\n")) == TIDY


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("rules:\n- # first\n  id: x\n\n# other\n- # second\n  id: z\n",
         "rules:\n  # first\n  - id: x\n\n  # other\n  # second\n  - id: z\n"),
        ("- # x\n  a: {b: 1}\n", "# x\n- a: {b: 1}\n"),
        ("- - # q\n    1\n  - 2\n", "# q\n- - 1\n  - 2\n"),
        ("- # only\n", "-\n# only\n"),
        ("a: \u3000\n", "a: \u3000\n"),  # an ideographic space is text
        ("a: b\u3000\n  \u3000c \n", "a: b\u3000 \u3000c\n"),
        (" no list\n at all # y\n", "no list at all  # y\n"),
    ],
)  # fmt: skip
def test_comments_in_odd_places(text: str, written: str) -> None:
    assert formatted("x.yaml", text) == written
    assert formatted("x.yaml", written) == written


def once_is_enough(name: str, text: str) -> str | None:
    written = formatted(name, text)
    if not isinstance(written, str):
        assert all(problem.remedy != "leave it, and tell us" for problem in written), text
        return None
    assert formatted(name, written) == written
    return written


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_shipped_rules_are_laid_out_without_a_change_of_meaning(name: str) -> None:
    written = once_is_enough(name, SHIPPED[name])
    assert written is not None
    csv = {file.name: file.read_text(encoding="utf-8") for file in (REPOSITORY / "rules").glob("*.csv")}
    assert meaning(good(SHIPPED | csv | {name: written})) == meaning(good(SHIPPED | csv))


COMMENTS = st.tuples(st.integers(0, 2000), st.sampled_from(["# x", "  # y", "\n# z\n", "\n      # z\n", "\n\n", " "]))


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(sorted(FILES)), st.lists(EDITS, max_size=2), st.lists(COMMENTS, max_size=4), st.integers(0, 3))
@example("policy.yaml", [(777, 2, "|")], [(0, "  # y")], 0)  # a text begins where the file ends
def test_any_file(name: str, edits: list[tuple[int, int, str]], comments: list[tuple[int, str]], shape: int) -> None:
    """Edits make files of every kind, most of them wrong for the engine; what is YAML keeps what it says."""
    text = FILES[name]
    if shape == 1:
        text = text.replace("{", "{\n     ").replace(",", " ,\n        ").replace('"A"\n', '"A"  # tier\n')
    elif shape == 2:
        text = text.replace("\n  - ", "\n- ").replace("\n    ", "\n  ")
    for at, said in comments:
        ends = [index for index, character in enumerate(text) if character == "\n"]
        end = ends[at % len(ends)]
        text = text[:end] + said + text[end:]
    for at, length, piece in edits:
        at %= len(text) + 1
        text = text[:at] + piece + text[at + length :]
    written = once_is_enough(name, text)
    before = load(FILES | {name: text})
    if written is not None and isinstance(before, RuleSet):
        after = load(FILES | {name: written})
        assert isinstance(after, RuleSet), after
        assert meaning(after) == meaning(before)


def test_command(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "retention.yaml").write_text(UNTIDY, encoding="utf-8")
    engage = CliRunner().invoke
    checked = engage(main, ["fmt", "--check", str(tmp_path)])
    assert (checked.exit_code, checked.output) == (1, f"{tmp_path}/retention.yaml: not in canonical layout\n")
    assert (tmp_path / "retention.yaml").read_text(encoding="utf-8") == UNTIDY
    done = engage(main, ["fmt", str(tmp_path)])
    assert (done.exit_code, done.output) == (0, f"{tmp_path}/retention.yaml: laid out\n")
    assert (tmp_path / "retention.yaml").read_text(encoding="utf-8") == TIDY
    assert engage(main, ["fmt", "--check", str(tmp_path / "retention.yaml")]).exit_code == 0
    (tmp_path / "policy.yaml").write_text("contact: [\n", encoding="utf-8")
    refused = engage(main, ["fmt", str(tmp_path)])
    assert refused.exit_code == 1
    assert f"{tmp_path}/policy.yaml:2:1: not YAML: expected the node content" in refused.output
    assert (tmp_path / "policy.yaml").read_text(encoding="utf-8") == "contact: [\n"
    assert engage(main, ["fmt", "nowhere"]).exit_code == 2


def test_a_file_keeps_its_mode(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("rules:   []\n", encoding="utf-8")
    file.chmod(0o640)
    assert CliRunner().invoke(main, ["fmt", str(file)]).exit_code == 0
    assert file.stat().st_mode & 0o777 == 0o640
