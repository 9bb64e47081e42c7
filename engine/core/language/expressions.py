"""The expression language: Python's expression syntax over declared names, typed, compiled.

Enters: a text and the Scope of names it may use. Leaves: an Expression, or every Fault in it; Python trees.
Holds: what is not on the allow-list is refused; `parse` never raises and its time is bounded; compiled code never
raises, and nothing of the user's text but checked constants is in it.

Allowed: `and or not`, comparison chains, `+ - * /`, `in` and `not in` a written or a declared list, `a if test else b`,
numbers, text, True and False, names such as client.tier, and the functions of `functions.FUNCTIONS`.

Units: a written number takes the unit of what it meets, so that `client.assets_cny > 1_000_000` compares CNY although
code counts fen; cny(5) has it already. Money / money is a ratio; money times or by a number is money; unlike units are
not compared or added. Times and durations take no written number: time - time is a duration, time +- duration a time,
duration / duration a ratio; they are written date("2026-10-01") and days(7), hours(2), minutes(30).

Missing: a comparison with a missing value is false (`!=` and `not in` too), so `not (x > 3)` holds when x is missing.
Arithmetic with a missing value is missing; so is division by zero. known(x) asks. A missing bool counts as false.
So a condition is always true or false, and a missing test takes the second branch of `a if test else b`.
"""

from __future__ import annotations

import ast
import re
import warnings
from typing import Final

from engine.core.language.check import Checker
from engine.core.language.code import to_python
from engine.core.language.faults import foreign_sign, syntax_fault
from engine.core.language.functions import function_globals
from engine.core.language.types import BOOL, TEXT, Changes, Expression, Fault, Name, Scope, Type, enum, number
from engine.core.language.units import Refused
from engine.core.text import odd

__all__ = [
    "BOOL",
    "TEXT",
    "Changes",
    "Expression",
    "Fault",
    "Name",
    "Scope",
    "Type",
    "enum",
    "function_globals",
    "number",
    "one_line",
    "parse",
    "to_python",
]

MAX_LENGTH: Final = 2000
MAX_DEPTH: Final = 40
MAX_NODES: Final = 500
MAX_WRITTEN_OUT: Final = 20_000
MAX_DEPTH_WRITTEN_OUT: Final = 100
QUOTED: Final = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')""")


def parse(text: str, scope: Scope, expect: Type | None = None) -> Expression | tuple[Fault, ...]:
    """Check a text against the names of `scope`; `expect` is what the place asks for. All faults at once, by offset."""
    body = _syntax(text)
    if isinstance(body, Fault):
        return (body,)
    levels, nodes = _extent(body)
    encoded = None if text.isascii() else text.encode()

    def offset(node: ast.AST) -> int:
        column: int = getattr(node, "col_offset", 0)
        return column if encoded is None else len(encoded[:column].decode(errors="ignore"))

    checker = Checker(scope)
    try:
        result = checker.run(body, expect)
    except Refused as refused:
        faults = {Fault(offset(wrong.node), *wrong[1:]) for wrong in refused.faults}
        return tuple(sorted(faults, key=lambda fault: (fault.offset, fault.message)))
    size, depth = nodes + checker.size, levels + checker.depth
    if size > MAX_WRITTEN_OUT or depth > MAX_DEPTH_WRITTEN_OUT:
        message = f"expression of {size} parts, {depth} deep, with its definitions written out"
        return (Fault(0, message, "use fewer or smaller definitions and tables"),)
    return Expression(
        text,
        result.tree,
        result.type,
        result.optional,
        names=tuple(checker.names),
        log10=result.log10,
        lists=tuple(checker.lists),
        size=size,
        depth=depth,
    )


def _syntax(text: str) -> ast.expr | Fault:
    if len(text) > MAX_LENGTH:
        return Fault(
            MAX_LENGTH,
            f"expression of {len(text)} characters",
            f"stay within {MAX_LENGTH}; declare a feature or split the rule",
        )
    if not text.isprintable():
        for offset, character in enumerate(text):
            if not character.isprintable() and character != "\n":
                return Fault(*odd(text, offset))
    line = text.replace("\n", " ")  # same offsets; a condition may be folded over several lines of a file
    start = len(line) - len(line.lstrip())
    if not line.strip():
        return Fault(0, "empty expression", "write a condition such as True")
    if foreign := foreign_sign(line):
        return foreign
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # From its first character: leading spaces are indentation to Python, and parentheses let "a) or (b" pass.
            body = ast.parse(line[start:], mode="eval").body
    except SyntaxError as error:
        return syntax_fault(text, error, start)
    except (ValueError, RecursionError, MemoryError):
        return Fault(start, "expression too deeply nested", f"nest at most {MAX_DEPTH} deep")
    for node in ast.walk(body):
        if isinstance(node, ast.expr):
            node.col_offset += start  # leading spaces are single bytes
            node.end_col_offset = (node.end_col_offset or 0) + start
    return _within_bounds(body, line) or body


def _extent(body: ast.expr) -> tuple[int, int]:
    """Depth and number of parts, without recursion."""
    level: list[ast.AST] = [body]
    depth = nodes = 0
    while level:
        depth, nodes = depth + 1, nodes + len(level)
        level = [
            c
            for n in level
            for c in ast.iter_child_nodes(n)
            if isinstance(c, (ast.expr, ast.comprehension, ast.keyword))
        ]
    return depth, nodes


def _within_bounds(body: ast.expr, line: str) -> Fault | None:
    """Depth and size; and no comment, which would hide the rest of a folded condition."""
    depth, nodes = _extent(body)
    if depth > MAX_DEPTH:
        return Fault(0, "expression too deeply nested", f"nest at most {MAX_DEPTH} deep")
    strings = [
        (node.col_offset, node.end_col_offset or 0)
        for node in ast.walk(body)
        if isinstance(node, (ast.Constant, ast.JoinedStr))
    ]
    if nodes > MAX_NODES:
        return Fault(0, f"expression of {nodes} parts", f"stay within {MAX_NODES}; declare a feature or split the rule")
    encoded = line.encode()
    for column, byte in enumerate(encoded):
        if byte == ord("#") and not any(begin <= column < end for begin, end in strings):
            return Fault(
                len(encoded[:column].decode()), "comment in an expression", "put it on a line of its own above"
            )
    return None


def one_line(text: str) -> str:
    """A condition as it is written, but for the layout: texts in quotes keep their blanks."""
    pieces = QUOTED.split(text)
    laid = (piece if at % 2 else re.sub(r"\s+", " ", piece) for at, piece in enumerate(pieces))
    return "".join(laid).strip()
