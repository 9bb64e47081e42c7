"""A checked expression as a function of its names' values."""

import ast

from engine.core.language.expressions import Name, Type, function_globals, to_python
from engine.core.rules.tables import list_globals


def named(name: str, type_: Type, optional: bool = False) -> Name:
    """A name whose value stands in the mapping `v`."""
    return Name(name, type_, optional, f"v[{name!r}]")


def function(expression, scope, lists=None):
    module = ast.parse("def run(v):\n    return None")
    definition = module.body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.body[-1] = ast.Return(to_python(expression, scope))
    space = {**function_globals(), **list_globals(lists or {}), "__builtins__": {}}
    exec(compile(ast.fix_missing_locations(module), "<expression>", "exec"), space)
    return space["run"]
