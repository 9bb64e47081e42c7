"""Generated Python functions, collected and compiled at once.

Enters: lines of our own text with places for checked trees, and constants. Leaves: the functions by name.
Holds: nothing of a user's text is ever evaluated; trees come from `to_python` alone.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from engine.core.language.expressions import function_globals
from engine.core.plan import readers


class _Fill(ast.NodeTransformer):
    """Puts trees in the places that names such as `_x3` keep for them."""

    def __init__(self, trees: dict[str, ast.expr]) -> None:
        self.trees = trees

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.trees.get(node.id, node)


class Code:
    """Text of ours with places for expressions."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.trees: dict[str, ast.expr] = {}
        self.constants: dict[str, Any] = {**function_globals(), **readers.READERS}
        self.made: dict[str, Callable[[Mapping[str, Any]], Any]] = {}  # of the compiled functions, by its own name

    def place(self, tree: ast.expr) -> str:
        name = f"_x{len(self.trees)}"
        self.trees[name] = tree
        return name

    def function(self, name: str, arguments: str, body: Iterable[str]) -> None:
        self.lines += [f"def {name}({arguments}):", *(f"    {line}" for line in body)]

    def run(self) -> dict[str, Any]:
        module = ast.parse("\n".join(self.lines))
        module = ast.fix_missing_locations(_Fill(self.trees).visit(module))
        space = dict(self.constants)
        exec(compile(module, "<rule set>", "exec"), space)  # our own generated tree
        return space | {name: make(space) for name, make in self.made.items()}
