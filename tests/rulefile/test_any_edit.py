"""Whatever is done to good files: loading never raises, problems stand within the files, what loads also compiles."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.core.plan.compile import compile_rule_set
from engine.core.rules.ruleset import RuleSet
from engine.rulefile.read.load import load
from tests.rulefile.sample import FILES

NAMES = sorted(FILES)
PIECES = (
    *(
        "",
        " ",
        "\n",
        "  ",
        "- ",
        ": ",
        "#",
        "'",
        '"',
        "''",
        '\\"',
        "[",
        "]",
        "{",
        "}",
        ",",
        "|",
        ">",
        "|2-",
        "&a",
        "*a",
        "!!str",
    ),
    *(
        "client.tier",
        "== 'A'",
        "and",
        "30d",
        "1_000",
        "-1",
        "0.5",
        "true",
        "null",
        "~",
        "no",
        "rules:",
        "on:",
        "---",
        "<<:",
    ),
    *("\t", "\r", "\0", "\ud800", "\u2028", "\ufeff", "中", "\u3000", "\U0001f600", "\\x41", "\\u4e2d", "? "),
)
EDITS = st.tuples(st.integers(0, 2000), st.integers(0, 12), st.sampled_from(PIECES) | st.text(max_size=3))


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(NAMES), st.lists(EDITS, min_size=1, max_size=3), st.booleans())
def test_no_edit_raises(name, edits, quoted):
    text = FILES[name]
    if quoted:  # the same condition with escapes to be counted over
        text = text.replace('client.tier == "A" and', '"client.tier == \\"\\x41\\" and').replace(
            "_peak_cny\n", '_peak_cny"\n'
        )
    for at, length, piece in edits:
        at %= len(text) + 1
        text = text[:at] + piece + text[at + length :]
    files = FILES | {name: text}
    result = load(files)
    if isinstance(result, RuleSet):
        compile_rule_set(result)
        return
    assert result
    for problem in result:
        lines = files[problem.file].split("\n")
        assert 1 <= problem.line <= len(lines)
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1
        assert problem.message
        assert problem.remedy
        assert str(problem).isprintable()
