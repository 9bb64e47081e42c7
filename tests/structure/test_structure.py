"""The shape of the code: imports go one way, the core stands on next to nothing, files stay short."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.process import REPOSITORY

ENGINE = REPOSITORY / "engine"
LAYERS = ("core", "rulefile", "runtime")  # each may import itself and what stands before it; the rest of engine, all
CORE_THIRD_PARTY = {"msgpack", "pydantic", "pydantic_core"}
MAX_LINES = 400
FILES = sorted(ENGINE.rglob("*.py"))


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import, wherever in the file; `from a import b` gives a.b."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def layer(dotted_or_path: str) -> int:
    """Position in LAYERS of engine.<layer>...; what belongs to none of them stands on top."""
    parts = dotted_or_path.split(".")
    if parts[:2] == ["engine", "__version__"]:
        return 0
    return LAYERS.index(parts[1]) if len(parts) > 1 and parts[1] in LAYERS else len(LAYERS)


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)


def faults(path: Path) -> Iterator[str]:
    own = layer(module_name(path))
    for line, name in imported(path):
        top = name.partition(".")[0]
        where = f"{path.relative_to(REPOSITORY)}:{line}: imports {name}"
        if top in ("tests", "benchmarks"):
            yield f"{where}: the product does not stand on its tests"
        elif top == "engine" and layer(name) > own:
            yield f"{where}: engine.{LAYERS[own]} may import only engine.{', engine.'.join(LAYERS[: own + 1])}"
        elif own == 0 and top != "engine" and top not in sys.stdlib_module_names | CORE_THIRD_PARTY:
            yield f"{where}: the core stands on {', '.join(sorted(CORE_THIRD_PARTY))} and the standard library alone"


def test_imports_go_one_way() -> None:
    found = [fault for path in FILES for fault in faults(path)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("core/x.py", "from engine.runtime import ledger", "engine.core may import only engine.core"),
        ("core/x.py", "def f():\n    import redis", "x.py:2: imports redis: the core stands on"),
        ("core/x.py", "import engine", "engine.core may import only engine.core"),
        ("rulefile/x.py", "import engine.runtime.app", "engine.rulefile may import only engine.core, engine.rulefile"),
        ("runtime/x.py", "from engine import cli", "engine.runtime may import only"),
        ("cli.py", "from tests.services.redis import RedisServer", "does not stand on its tests"),
    ],
)
def test_a_wrong_import_is_found(
    path: str, text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "REPOSITORY", tmp_path)
    file = tmp_path / "engine" / path
    file.parent.mkdir(parents=True)
    file.write_text(text)
    found = list(faults(file))
    assert len(found) == 1
    assert said in found[0]


def test_files_are_short() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    long = [
        f"{path.relative_to(REPOSITORY)}: {n} lines, {MAX_LINES} allowed" for path, n in lines.items() if n > MAX_LINES
    ]
    assert not long, "\n".join(long)


def test_every_module_says_what_it_is() -> None:
    silent = [str(p.relative_to(REPOSITORY)) for p in FILES if not ast.get_docstring(ast.parse(p.read_text("utf-8")))]
    assert not [path for path in silent if not path.endswith("__init__.py")]
