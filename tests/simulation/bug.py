"""How a deliberate bug is written down: a name, and the changes that make it.

Enters: a function without name that gives (object, attribute, replacement) triples. Leaves: it in a table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Change = tuple[Any, str, Any]
Changes = Callable[[], list[Change]]
Table = dict[str, Changes]


def registering(table: Table) -> Callable[[str], Callable[[Changes], Changes]]:
    """A decorator `bug(name)` that fills this table."""

    def bug(name: str) -> Callable[[Changes], Changes]:
        def register(make: Changes) -> Changes:
            table[name] = make
            return make

        return register

    return bug
