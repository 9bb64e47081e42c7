"""Which form of the core runs: its Python sources, or the library that `make setup` compiled from them.

Enters: the sources of engine/core, what was compiled of them, ENGAGE_CORE. Leaves: RUNNING; imports of MODULES.
Holds: a library is used beside the very sources that it was compiled from: it lies under their digest. Both
forms decide the same and write the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Final

VARIABLE: Final = "ENGAGE_CORE"
PURE, COMPILED = "pure", "compiled"
STORED: Final = "engine.core.client.stored"  # written from `sections_source` when it is compiled; the sources lack it
LIBRARY: Final = "engine_core"  # what all modules are in; each has a small file beside that leads to it
MODULES: Final = (
    "engine.core.firm_time",
    "engine.core.activity.activities",
    "engine.core.activity.activity",
    "engine.core.activity.layout",
    "engine.core.activity.packing",
    "engine.core.activity.tallies",
    "engine.core.activity.totals",
    "engine.core.activity.values",
    "engine.core.client.contacts",
    "engine.core.client.items",
    "engine.core.client.positions",
    "engine.core.client.record",
    "engine.core.client.sections",
    "engine.core.client.state",
    "engine.core.contract.message",
    "engine.core.plan.compile",
    "engine.core.plan.corrected",
    "engine.core.plan.features",
    "engine.core.plan.matching",
    "engine.core.plan.sensitivity",
    "engine.core.plan.waking",
    "engine.core.learn.actions",
    "engine.core.learn.care",
    "engine.core.learn.facts",
    "engine.core.learn.items",
    "engine.core.learn.portrait",
    "engine.core.learn.retractions",
    "engine.core.policy.caps",
    "engine.core.policy.clock",
    "engine.core.policy.gates",
    "engine.core.policy.holding",
    "engine.core.policy.match",
    "engine.core.policy.outcomes",
    "engine.core.decide.journeys",
    "engine.core.decide.messages",
    "engine.core.decide.occasions",
    "engine.core.decide.path",
    "engine.core.decide.tiers",
)
_SUFFIX: Final = EXTENSION_SUFFIXES[0]  # names the version of Python and the kind of machine
_ENGINE: Final = Path(__file__).parent.parent
PLACES: Final = Path(__file__).parent / "built"  # a folder for each digest


def digest() -> str:
    """Of all sources of the core, which modules are compiled, and the Python that runs: 16 hex digits."""
    found = hashlib.sha256(repr((MODULES, _SUFFIX)).encode())
    core = _ENGINE / "core"
    for folder, folders, files in os.walk(core):
        folders.sort()
        for name in sorted(files):
            if name.endswith(".py"):
                with open(os.path.join(folder, name), "rb") as file:
                    text = file.read()
                found.update(f"\0{os.path.relpath(folder, core)}/{name}\0{len(text)}\0".encode())
                found.update(text)
    return found.hexdigest()[:16]


class Finder:
    """Finds the compiled modules, for `import`."""

    def __init__(self, place: Path) -> None:
        """`place` has what was compiled of these sources."""
        names = (*MODULES, STORED, f"{LIBRARY}__mypyc")
        self._files = {name: place / (name.replace(".", "/") + _SUFFIX) for name in names}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        file = self._files.get(name)
        return spec_from_file_location(name, file) if file is not None else None


def choose(wanted: str) -> tuple[str, str]:
    """Which form runs, and in words why. From now on the core is imported so."""
    if wanted not in ("", PURE, COMPILED):
        raise ImportError(f"{VARIABLE} is {wanted!r}: make it {PURE} or {COMPILED}, or leave it out")
    if wanted == PURE:
        return PURE, f"{PURE}, since {VARIABLE} asks for it"
    if not PLACES.is_dir():
        found = f"{PURE}, nothing was compiled: `make compiled` does it"
    elif (place := PLACES / digest()).is_dir():
        sys.meta_path.insert(0, Finder(place))
        return COMPILED, COMPILED
    else:
        found = f"{PURE}, its sources are not those that were compiled: `make compiled` compiles them"
    if wanted == COMPILED:
        raise ImportError(f"{VARIABLE} is {COMPILED}, but the core is {found}")
    return PURE, found


RUNNING, IN_WORDS = choose(os.environ.get(VARIABLE, ""))
