"""Random expressions: compiled code gives what a slow walk over the syntax gives, or both refuse; a fault anywhere
refuses the whole; no text whatever raises.
"""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.core.language.expressions import BOOL, Expression, parse
from engine.core.rules.tables import Declared, with_declared
from tests.core.expression_code import function
from tests.fuzz.expressions import LISTS, NAMES, Writer, fuzz, value_of

SCOPE = with_declared({name.name: name for name in NAMES}, Declared(LISTS), None, compiling=True)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_compiled_code_means_what_the_model_means(seed):
    outcomes, found = fuzz(1000, seed)
    assert not found, "\n".join(found)
    assert outcomes["taken"] > 500
    assert outcomes["refused"] > 100


FAULTY = (
    'c.teir == "A"',
    'c.tier == "D"',
    "c.money > c.days",
    "c.money + count_7d > 1",
    "c.flag == e.flag",
    "c.tier == e.side",
    "count_7d % 2 == 1",
    "c.money * e.money > 1",
    "e.money > 0.005",
    "now > 7",
    "hour(c.days) > 7",
    "c.tier in odd",
    "watched == e.symbol",
    "count_7d",
)


@pytest.mark.parametrize("faulty", FAULTY)
def test_a_fault_anywhere_refuses_the_whole_at_its_place(faulty):
    chance = random.Random(faulty)
    writer = Writer(chance, SCOPE)
    sound = [
        text for text in (writer.part("bool", 2) for _ in range(60)) if isinstance(parse(text, SCOPE, BOOL), Expression)
    ]
    for before, after in zip(sound[::2], sound[1::2], strict=False):
        join = chance.choice(("and", "or"))
        begin = len(before) + len(join) + 3
        faults = parse(f"{before} {join} ({faulty}) {join} {after}", SCOPE, BOOL)
        assert isinstance(faults, tuple)
        assert all(begin <= fault.offset < begin + len(faulty) for fault in faults)


WORDS = [
    "and",
    "or",
    "not",
    "in",
    "if",
    "else",
    "is",
    "lambda",
    "for",
    "None",
    "True",
    "min(",
    "known(",
    "round(",
    "abs(",
    "hour(",
    "days(",
    "date(",
    "cny(",
    "starts_with(",
]
SIGNS = [
    "==",
    "<",
    "!=",
    "+",
    "-",
    "*",
    "/",
    "**",
    "%",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ".",
    ":",
    ":=",
    "'",
    '"',
    "#",
    "\\",
]
ODD = ("1", "0", "0.5", "1_000", "1e300", "9" * 20, '"A"', "'buy'", "\n", "\t", "\0", "\ud800", "中", "f'", "__class__")


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.sampled_from((*SCOPE, *WORDS, *SIGNS, *ODD)), max_size=12).map(" ".join) | st.text(max_size=40),
    st.integers(0, 10**9),
)
def test_no_text_raises(text, seed):
    result = parse(text, SCOPE)
    if isinstance(result, Expression):
        chance = random.Random(seed)
        outcome = function(result, SCOPE, LISTS)({name.name: value_of(chance, name) for name in NAMES})
        assert isinstance(outcome, bool) == (result.type == BOOL)
    else:
        assert result
        assert all(0 <= fault.offset <= len(text) for fault in result)
