"""Random decision tables: what the check says is open, doubled or never reached is what trying all cases says."""

import itertools

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.core.language.expressions import BOOL, TEXT, enum, function_globals, number
from engine.core.rules.tables import Bound, Cell, Row, Table, matches, table_name
from engine.rulefile.source.table_checks import Cases, unreachable
from tests.core.expression_code import named

QUICK = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
NAMES = {
    name.name: name
    for name in (
        named("tier", enum("A", "B", "C"), optional=True),
        named("symbol", TEXT),
        named("flag", BOOL, optional=True),
        named("count", number("count")),
        named("money", number("cny"), optional=True),
        named("ratio", number("score")),
    )
}
# One value at least of every piece that the bounds below can cut.
VALUES = {
    "tier": ["A", "B", "C", None],
    "symbol": ["x", "y", "else"],
    "flag": [True, False, None],
    "count": list(range(6)),
    "money": [*range(6), None],
    "ratio": [number / 4 for number in range(-2, 24)],
}
BOUNDS = st.tuples(st.integers(0, 4) | st.sampled_from([0.5, 2.5]), st.booleans())


@st.composite
def cells(draw, name):
    if draw(st.integers(0, 3)) == 0:
        return None
    if name in ("tier", "symbol"):
        some = draw(
            st.lists(st.sampled_from(["A", "B", "C"] if name == "tier" else ["x", "y"]), min_size=1, max_size=2)
        )
        return Cell("", tuple(some), draw(st.booleans()))
    if name == "flag":
        return Cell("", (draw(st.booleans()),))
    low, high = sorted(draw(st.lists(BOUNDS, min_size=2, max_size=2, unique=True)))
    low, high = draw(st.sampled_from([(low, None), (None, high), (low, high)]))
    return Cell("", low=low, high=high)


@st.composite
def tables(draw):
    inputs = draw(st.lists(st.sampled_from(list(NAMES)), min_size=1, max_size=3, unique=True))
    rows = draw(st.lists(st.tuples(*(cells(name) for name in inputs)), min_size=1, max_size=5))
    return Table(
        name="table",
        hit="first",
        inputs=tuple(inputs),
        rows=tuple(Row(row, index, str(index), "") for index, row in enumerate(rows)),
        otherwise=None,
        type=number(),
    )


def inside(cell: Cell | None, value: object) -> bool:
    """Apart from the engine's own."""
    if cell is None or value is None:
        return cell is None
    if cell.values:
        return (value in cell.values) != cell.negated

    def below(bound: Bound) -> bool:
        return value < bound[0] or (value == bound[0] and bound[1])

    return (cell.low is None or not below(cell.low)) and (cell.high is None or below(cell.high))


@QUICK
@given(tables())
def test_what_is_told_is_what_trying_all_cases_says(table):
    tried = list(itertools.product(*(VALUES[name] for name in table.inputs)))
    hits = [[i for i, row in enumerate(table.rows) if all(map(inside, row.cells, case))] for case in tried]
    cases = Cases(table, NAMES)
    gap = cases.gap()
    assert (gap is None) == all(hits)
    assert gap is None or not any(all(map(inside, row.cells, gap)) for row in table.rows)
    pairs = {(i, j) for hit in hits for i, j in itertools.combinations(hit, 2)}
    overlaps = cases.overlaps()
    assert {j for _, j, _ in overlaps} == {j for _, j in pairs}
    assert all((i, j) in pairs for i, j, _ in overlaps)
    assert all(all(map(inside, table.rows[k].cells, case)) for i, j, case in overlaps for k in (i, j))
    reached = {hit[0] for hit in hits if hit}
    assert set(unreachable(table, NAMES)) == set(range(len(table.rows))) - reached


@QUICK
@given(tables(), st.data())
def test_a_table_gives_the_first_row_that_matches(table, data):
    code = compile(table_name(table, NAMES, compiling=True).code, "<table>", "eval")
    for _ in range(5):
        case = [data.draw(st.sampled_from(VALUES[name])) for name in table.inputs]
        hits = [i for i, row in enumerate(table.rows) if all(map(inside, row.cells, case))]
        assert [i for i, row in enumerate(table.rows) if all(map(matches, row.cells, case))] == hits
        given_value = eval(code, function_globals(), {"v": dict(zip(table.inputs, case, strict=True))})
        assert given_value == (hits[0] if hits else None)
