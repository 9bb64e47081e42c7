"""`engage reference-table`: where a value stands among all clients, as the rows of a decision table.

Enters: a plan, the states of a snapshot, the name of a number. Leaves: a CSV file for definitions.yaml.
Holds: a row `>= x` with n says that n percent of the clients, rounded down, have less than x; those without the value
do not count.
"""

from __future__ import annotations

import csv
import io
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.core.client.sections import unpack
from engine.core.language.expressions import BOOL, Expression, Type, parse, to_python
from engine.core.language.types import DURATION, MONEY, TIME
from engine.core.plan.codegen import Code
from engine.core.plan.compile import Plan
from engine.core.plan.sensitivity import Read
from engine.operations import snapshot as snapshots
from engine.runtime.errors import Refused

POINTS: Final = (99, *range(95, 0, -5))  # percent


@dataclass(frozen=True, slots=True)
class Reference:
    name: str
    rows: tuple[tuple[str, int], ...]  # from this value on, percent of the clients that have less; the highest first
    clients: int  # with a value
    without: int

    def __str__(self) -> str:
        out = io.StringIO()
        lines = csv.writer(out, lineterminator="\n")
        lines.writerow((self.name, "then"))
        lines.writerows((f">= {value}", percent) for value, percent in self.rows)
        return out.getvalue()


def reference_table(
    plan: Plan,
    snapshot: Path,
    name: str,
    where: str | None,
    at_ms: int,
    moved: snapshots.Moved = lambda done, of: None,
) -> Reference:
    """Of the clients of a snapshot for which `where` holds, each as it is at `at_ms`. Raises Refused."""
    scope = plan.scopes[None]
    known = scope.get(name)
    if known is None or known.type.kind != "number" or known.type.unit in (TIME, DURATION) or known.reads is not None:
        raise Refused(f"{name} is no number that a table can ask: name a feature, or one such as client.assets_cny")
    value = _read(plan, name, None)
    asked = None if where is None else _read(plan, where, BOOL)
    values, without = array("d"), 0
    for state in (write.state for write in snapshots.clients_of(snapshot, moved)):
        client = unpack(plan.layout, state)
        client.advance(plan.layout, at_ms)
        if asked is not None and not asked(client, None, None):
            continue
        found = value(client, None, None)
        if found is None:
            without += 1
        else:
            values.append(found)
    if not values:
        raise Refused(f"no client of {snapshot} has {name}: there is nothing to compare with")
    rows = tuple(rows_of(sorted(values), 100 if known.type.unit == MONEY else 1))
    return Reference(name, rows, len(values), without)


def rows_of(values: Sequence[float], divisor: int = 1) -> Iterator[tuple[str, int]]:
    """Of sorted values. A value that many clients have stands once, with the percentage that has less."""
    told = set()
    for point in POINTS:
        value = values[min(-(-point * len(values) // 100), len(values) - 1)]
        percent = 100 * bisect_left(values, value) // len(values)
        if percent and value not in told:
            told.add(value)
            yield _written(value / divisor), percent


def _written(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _read(plan: Plan, text: str, expect: Type | None) -> Read:
    scope = plan.scopes[None]
    expression = parse(text, scope, expect)
    if not isinstance(expression, Expression):
        raise Refused("\n".join(f"{text}: {fault.message}; {fault.remedy}" for fault in expression))
    code = Code()
    code.constants |= plan.rule_set.declared.globals
    code.function("read", "c, e, t", [f"return {code.place(to_python(expression, scope))}"])
    function: Read = code.run()["read"]
    return function
