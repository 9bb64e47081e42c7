"""Which form of the core the tests run on (engine/compiled/form.py): its sources by default.

Enters: ENGAGE_CORE. Leaves: what tests need to run on both. Holds: a test that replaces a part of the core has no
meaning on the compiled one, whose modules call each other directly: it is left out there.
"""

from __future__ import annotations

import pytest

from engine.compiled import form

IS_COMPILED = form.RUNNING == form.COMPILED
_REASON = "replaces something within the core, so it needs the sources"
replaces_parts = pytest.mark.skipif(IS_COMPILED, reason=_REASON)


def needs_sources() -> None:
    """For a fixture that replaces something."""
    if IS_COMPILED:
        pytest.skip(_REASON)


def attribute_names(kind: type) -> tuple[str, ...]:
    """Those of a class's own slots; a compiled class does without slots."""
    names: tuple[str, ...] = kind.__mypyc_attrs__ if IS_COMPILED else kind.__slots__  # type: ignore[attr-defined]
    return names
