"""`python -m tests.fuzz.expressions -n 100000 --seed 1`: random expressions, well and ill typed, over random values.

Holds: what the parser, the checker and the compiler make of a text is what the model says, value by value, or both
refuse it; whatever the text, nothing raises.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from engine.core.language.expressions import BOOL, TEXT, Expression, Name, Scope, enum, number, parse
from engine.core.rules.tables import Declared, Definition, with_declared
from tests.core.expression_code import function, named
from tests.fuzz.expression_model import Known, No, evaluate

NAMES = (
    named("c.money", number("cny"), optional=True),
    named("e.money", number("cny")),
    named("c.days", number("days"), optional=True),
    named("count_7d", number("count")),
    named("count_30d", number("count"), optional=True),
    named("c.ratio", number("ratio"), optional=True),
    named("e.shares", number("shares")),
    named("c.score", number("score"), optional=True),
    named("c.last_at", number("time"), optional=True),
    named("now", number("time")),
    named("c.tier", enum("A", "B", "C"), optional=True),
    named("e.side", enum("buy", "sell")),
    named("e.symbol", TEXT),
    named("c.language", TEXT, optional=True),
    named("c.flag", BOOL, optional=True),
    named("e.flag", BOOL),
)
LISTS = {
    "watched": ("600519.SH", "000001.SZ", "A"),
    "tiers": ("A", "B"),
    "odd": ("A", "Z"),
    "many": tuple(map(str, range(1001))),
}
TEXTS = ("A", "B", "Z", "buy", "mon", "60", "600519.SH", "2026-10-01", "é", "")
DATES = ("2026-10-01", "2024-02-29", "2025-02-29", "0001-01-01", "9999-12-31", "2026-1-1", "now")
UNITS = ("cny", "days", "count", "ratio", "shares", "score")
KINDS = ("bool", "text", "time", "duration", "free", *UNITS)
# Refused for their size alone, of which the model knows nothing.
BOUNDS = ("expression of", "expression too deeply", "a product of too many", "number too large")


class Writer:
    """Writes texts that mostly make sense: a part of another kind than its place asks for is put in now and then."""

    def __init__(self, chance: random.Random, scope: Scope) -> None:
        self.chance = chance
        self.scope = scope

    def text(self) -> str:
        kind = self.chance.choice(("bool", "bool", *KINDS))
        text = self.part(kind, self.chance.choice((1, 2, 3, 4)))
        return self.spoiled(text) if self.chance.random() < 0.05 else text

    def spoiled(self, text: str) -> str:
        at = self.chance.randrange(len(text))
        return (
            text[:at]
            + self.chance.choice(("", "(", ")", " ", ".", ",", '"', "not ", "=", "1", "lambda: "))
            + text[at + 1 :]
        )

    def name(self, kind: str) -> str:
        def fits(name: Name) -> bool:
            return kind in (name.type.unit, name.type.kind) or (kind == "free" and name.type == number())

        names = [name for name, known in self.scope.items() if fits(known)]
        return self.chance.choice(names) if names else self.written()

    def written(self) -> str:
        return self.chance.choice(("0", "1", "2", "7", "100", "0.5", "1_000", "12.34", "0.001", "2.5", "1e3"))

    def part(self, kind: str, depth: int) -> str:
        if self.chance.random() < 0.02:
            kind = self.chance.choice(KINDS)
        if depth <= 0:
            return self.leaf(kind)
        if self.chance.random() < 0.07:
            other = "free" if kind in UNITS and self.chance.random() < 0.3 else kind
            test, body, rest = self.part("bool", depth - 2), self.part(kind, depth - 1), self.part(other, depth - 1)
            return f"({body} if {test} else {rest})"
        if kind == "bool":
            return self.condition(depth)
        if kind == "text":
            return self.leaf(kind)
        return self.calculation(kind, depth)

    def leaf(self, kind: str) -> str:
        roll = self.chance.random()
        if kind == "free":
            return self.written()
        if kind == "text":
            if roll < 0.3:
                return f'"{self.chance.choice(TEXTS)}"'
            if roll < 0.45:
                return f"{self.chance.choice(('weekday', 'date_of'))}({self.part('time', 1)})"
        if kind == "time" and roll < 0.2:
            return f'date("{self.chance.choice(DATES)}")'
        if kind == "duration":
            return f"{self.chance.choice(('days', 'hours', 'minutes'))}({self.part('free', 1)})"
        if kind == "cny" and roll < 0.2:
            return f"cny({self.part('free', 1)})"
        if kind == "bool" and roll < 0.1:
            return self.chance.choice(("True", "False"))
        if kind == "bool" and roll < 0.3:
            return f"known({self.chance.choice(list(self.scope))})"
        return self.name(kind)

    def condition(self, depth: int) -> str:
        form = self.chance.choice(("leaf", "and", "or", "not", "compare", "compare", "compare", "chain", "in", "texts"))
        if form == "leaf":
            return self.leaf("bool")
        if form in ("and", "or"):
            several = [self.part("bool", depth - 1) for _ in range(self.chance.choice((2, 2, 3)))]
            return f"({f' {form} '.join(several)})"
        if form == "not":
            return f"(not {self.part('bool', depth - 1)})"
        if form == "texts":
            given = self.chance.choice(('"6"', '"A"', '("60", "b")', '["SH"]', *LISTS))
            which = self.chance.choice(("starts_with", "ends_with", "contains", "has_code"))
            return f"{which}({self.part('text', 1)}, {given})"
        kind = self.chance.choice(("text", "time", "duration", "free", *UNITS, "hour", "draw"))
        if kind == "draw":
            anew = self.chance.choice(("", f", month({self.part('time', depth - 1)})", f", {self.part('count', 0)}"))
            part = f'draw({self.part("text", 1)}, "{self.chance.choice(TEXTS)}"{anew})'
        elif kind == "hour":
            part = f"{self.chance.choice(('hour', 'day', 'month', 'year'))}({self.part('time', depth - 1)})"
        else:
            part = self.part(kind, depth - 1)
        if form == "in":
            wanted = [self.operand(kind, 0) for _ in range(self.chance.choice((1, 2, 3)))]
            listed = self.chance.choice(tuple(LISTS)) if self.chance.random() < 0.4 else f"({', '.join(wanted)},)"
            return f"({part} {self.chance.choice(('in', 'not in'))} {listed})"
        signs = ("==", "!=") if kind == "text" else ("==", "!=", "<", "<=", ">", ">=")
        rest = [
            f" {self.chance.choice(signs)} {self.operand(kind, depth - 1)}"
            for _ in range(1 if form == "compare" else 2)
        ]
        return f"({part}{''.join(rest)})"

    def operand(self, kind: str, depth: int) -> str:
        """What a part of a kind is compared with."""
        if kind in ("hour", "draw") or (kind in UNITS and self.chance.random() < 0.5):
            return self.part("free", 1 if depth else 0)
        if kind == "text" and self.chance.random() < 0.7:
            return f'"{self.chance.choice(TEXTS)}"'
        return self.part(kind, depth)

    def calculation(self, kind: str, depth: int) -> str:
        form = self.chance.choice(("leaf", "sum", "sum", "scale", "min", "sign", "round", "quotient"))
        first = self.part(kind, depth - 1)
        if form == "leaf" or (kind == "time" and form in ("scale", "sign", "round", "quotient")):
            if kind in ("time", "duration") and depth > 1:
                other = self.part("time" if kind == "duration" else "duration", depth - 1)
                sign = "-" if kind == "duration" else self.chance.choice("+-")
                return f"({self.part('time', depth - 1)} {sign} {other})"
            return self.leaf(kind)
        if form == "sum":
            second = (
                "duration" if kind == "time" else kind if self.chance.random() < 0.6 or kind == "duration" else "free"
            )
            return f"({first} {self.chance.choice('+-')} {self.part(second, depth - 1)})"
        if form == "scale":
            by = self.part(self.chance.choice(("free", "free", "ratio")), depth - 1)
            return f"({first} * {by})" if self.chance.random() < 0.5 else f"({first} / {by})"
        if form == "min":
            return f"{self.chance.choice(('min', 'max'))}({first}, {self.part(kind, depth - 1)})"
        if form == "sign":
            return f"(-{first})" if self.chance.random() < 0.5 else f"abs({first})"
        if form == "round":
            return f"round({first})"
        other = self.chance.choice(("cny", "count", "duration", "days"))
        return f"({self.part(other, depth - 1)} / {self.part(other, depth - 1)})" if kind == "ratio" else first


def value_of(chance: random.Random, name: Name) -> Any:
    if name.optional and chance.random() < 0.25:
        return None
    if name.type == BOOL:
        return chance.random() < 0.5
    if name.type.values is not None:
        return chance.choice(name.type.values)
    if name.type == TEXT:
        return chance.choice(TEXTS)
    if name.type.unit == "time":
        return chance.randrange(1_700_000_000_000, 1_900_000_000_000)
    if name.type.unit in ("ratio", "score"):
        return chance.choice((0.0, 0.5, 1.0, chance.random() * 100))
    return chance.choice((0, 1, 2, 7, 100, 1234, chance.randrange(10**12)))


def a_world(chance: random.Random) -> tuple[Scope, dict[str, Known]]:
    """The names that do not change, and a few definitions."""
    base = {name.name: name for name in NAMES}
    known = {name.name: Known(name.type.kind, name.type.unit, name.type.values) for name in NAMES} | {
        name: Known("list", texts=texts) for name, texts in LISTS.items()
    }
    definitions: list[Definition] = []
    scope: Mapping[str, Name] = base
    while len(definitions) < 4:
        scope = with_declared(base, Declared(LISTS, (), tuple(definitions)), None, compiling=True)
        text = Writer(chance, scope).text()
        made = parse(text, scope)
        if isinstance(made, Expression) and made.size < 100:
            name = f"defined_{len(definitions)}"
            definitions.append(Definition(name, made))
            known[name] = Known("defined", text=text)
    return with_declared(base, Declared(LISTS, (), tuple(definitions)), None, compiling=True), known


def differs(text: str, scope: Scope, known: Mapping[str, Known], chance: random.Random) -> tuple[str, str]:
    """What became of a text (taken, refused, bounds), and how engine and model differ on it, or nothing."""
    made = parse(text, scope)
    cases = [{name.name: value_of(chance, name) for name in NAMES} for _ in range(3)]
    expected: list[Any] = []
    with contextlib.suppress(No):
        expected = [evaluate(text, known, values) for values in cases]
    if isinstance(made, tuple):
        if any(fault.message.startswith(BOUNDS) for fault in made):
            return "bounds", ""
        return "refused", f"refused: {made}" if expected else ""
    if not expected:
        return "taken", f"taken: {made.type}"
    run = function(made, scope, LISTS)
    for values, wanted in zip(cases, expected, strict=True):
        try:
            given = run(values)
        except Exception as error:  # whatever it is, it is a finding
            return "taken", f"raises {error!r} with {values}"
        same = given == wanted and isinstance(given, bool) == isinstance(wanted, bool)
        if not same or (given is None and not made.optional) or isinstance(given, bool) != (made.type == BOOL):
            return "taken", f"{given!r}, the model says {wanted!r}, with {values}"
    return "taken", ""


def fuzz(count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Outcomes, and what differed."""
    chance = random.Random(seed)
    outcomes: Counter[str] = Counter()
    found: list[str] = []
    for index in range(count):
        if index % 100 == 0:
            scope, known = a_world(chance)
            writer = Writer(chance, scope)
        text = writer.text()
        outcome, difference = differs(text, scope, known, chance)
        outcomes[outcome] += 1
        if difference:
            told = {name: item.text for name, item in known.items() if item.kind == "defined" and name in text}
            found.append(f"{text}\n    {difference} {told or ''}")
    return outcomes, found


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("-n", type=int, default=10_000, help="how many expressions")
    arguments.add_argument("--seed", type=int, default=1)
    given = arguments.parse_args()
    begun = time.monotonic()
    outcomes, found = fuzz(given.n, given.seed)
    print(f"{given.n} expressions in {time.monotonic() - begun:.0f} s: {dict(outcomes)}; {len(found)} differ")
    print(*found[:20], sep="\n")
    return bool(found)


if __name__ == "__main__":
    raise SystemExit(main())
