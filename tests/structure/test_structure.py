"""The shape of the code: imports go one way, the core stands on next to nothing, files stay short."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.process import REPOSITORY

ENGINE = REPOSITORY / "engine"
# Every room, and the rooms whose modules it may import beside its own. A name with modules in rooms of its own (core,
# runtime) stands for those directly in it.
CORE = (
    "core",
    "core.contract",
    "core.reading",
    "core.language",
    "core.assign",
    "core.rules",
    "core.activity",
    "core.client",
    "core.plan",
    "core.learn",
    "core.policy",
    "core.decide",
)
RULEFILE = (
    "rulefile.source",
    "rulefile.roster",
    "rulefile.stories",
    "rulefile.read",
    "rulefile.trial",
    "rulefile.proof",
    "rulefile.lint",
)
RIM = ("runtime", "runtime.protocol", "runtime.kafka.wire", "runtime.kafka", "runtime.redis", "runtime.observe")
READERS = (*CORE, "insight", *RULEFILE, "rulefile.report", "rulefile.tools", "rulefile.schema")
BELOW_COMMANDS = (*READERS, *RIM, "runtime.rule_sets", "processors")
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "compiled": (),
    "core": ("compiled",),  # which form of it runs is chosen with its first import
    "core.contract": ("core",),
    "core.reading": ("core", "core.contract"),
    "core.language": ("core",),
    "core.assign": ("core", "core.language"),
    "core.rules": ("core", "core.contract", "core.language", "core.assign"),
    "core.activity": ("core",),
    "core.client": ("core", "core.contract", "core.activity"),
    "core.plan": CORE[:8],
    "core.learn": CORE[:9],
    "core.policy": CORE[:10],
    "core.decide": CORE[:11],
    "insight": CORE,
    "rulefile.source": CORE,
    "rulefile.roster": (*CORE, "rulefile.source"),
    "rulefile.stories": (*CORE, "rulefile.source"),
    "rulefile.read": (*CORE, "rulefile.source", "rulefile.roster", "rulefile.stories"),
    "rulefile.trial": (*CORE, "insight", *RULEFILE[:4]),
    "rulefile.proof": CORE,
    "rulefile.lint": (*CORE, "rulefile.source", "rulefile.read", "rulefile.proof"),
    "rulefile.report": (*CORE, "insight", *RULEFILE),
    "rulefile.tools": (*CORE, "insight", *RULEFILE),
    "rulefile.schema": (*CORE, *RULEFILE),
    "runtime": CORE,
    "runtime.protocol": ("core", "core.contract", "core.reading", "runtime"),
    "runtime.kafka.wire": (),
    "runtime.kafka": (*CORE, "runtime", "runtime.protocol", "runtime.kafka.wire"),
    "runtime.redis": (*CORE, "runtime", "runtime.protocol"),
    "runtime.observe": (*CORE, "compiled", "runtime", "runtime.protocol"),
    "runtime.rule_sets": (*READERS, *RIM),
    "processors": (*CORE, *RIM),
    "runtime.worker": BELOW_COMMANDS,
    "operations": BELOW_COMMANDS,
    "advisors": (*BELOW_COMMANDS, "operations"),
    "publish": BELOW_COMMANDS,
    "reports": (*BELOW_COMMANDS, "operations", "publish"),
    "loading": (*BELOW_COMMANDS, "operations"),
    "demo": (*BELOW_COMMANDS, "operations"),
    "cli": (
        *(*BELOW_COMMANDS, "compiled", "runtime.worker", "operations", "advisors", "reports", "loading", "publish"),
        "demo",
    ),
}
MAX_MODULES = 10  # a room that needs more is two rooms
CORE_THIRD_PARTY = {"msgpack", "msgspec", "pydantic", "pydantic_core"}
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


def room(dotted: str) -> str | None:
    """The room of engine.<room>.<module>...; None for engine itself."""
    parts = dotted.split(".")[1:]
    return next((".".join(parts[:n]) for n in (3, 2, 1) if ".".join(parts[:n]) in MAY_IMPORT), None)


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)


def faults(path: Path) -> Iterator[str]:
    own = room(module_name(path))
    for line, name in imported(path):
        top = name.partition(".")[0]
        where = f"{path.relative_to(REPOSITORY)}:{line}: imports {name}"
        if top in ("tests", "benchmarks"):
            yield f"{where}: the product does not stand on its tests"
        elif top == "engine" and name != "engine.__version__" and own is not None:
            found = room(name)
            if found != own and found not in MAY_IMPORT[own]:
                yield f"{where}: engine.{own} may import only {', '.join(MAY_IMPORT[own]) or 'itself'}"
        elif (own or "").partition(".")[0] == "core" and top not in sys.stdlib_module_names | CORE_THIRD_PARTY:
            yield f"{where}: the core stands on {', '.join(sorted(CORE_THIRD_PARTY))} and the standard library alone"


def test_each_file_of_kafka_tests_has_a_part_in_the_short_run() -> None:
    contract = (REPOSITORY / "tests/contract_log.py").read_text()
    for path in (REPOSITORY / "tests/kafka").glob("test_*.py"):
        assert "mark.short" in path.read_text(), f"{path.name}: mark its most telling tests as short"
    assert "mark.short" in contract


def test_imports_go_one_way() -> None:
    found = [fault for path in FILES for fault in faults(path)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        (
            "core/decide/x.py",
            "from engine.runtime import ledger",
            "engine.core.decide may import only core, core.contract",
        ),
        (
            "core/plan/x.py",
            "from engine.core.decide import path",
            "engine.core.plan may import only core, core.contract",
        ),
        ("core/x.py", "def f():\n    import redis", "x.py:2: imports redis: the core stands on"),
        ("core/x.py", "import engine", "engine.core may import only compiled"),
        ("rulefile/read/x.py", "import engine.runtime.worker.worker", "engine.rulefile.read may import only"),
        ("runtime/protocol/x.py", "from engine import cli", "engine.runtime.protocol may import only"),
        ("cli/x.py", "from tests.services.redis import RedisServer", "does not stand on its tests"),
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


def test_rooms_are_small_and_known() -> None:
    folders = {path.parent for path in FILES if path.name != "__init__.py"}
    names = {".".join(folder.relative_to(ENGINE).parts): folder for folder in folders}
    assert set(names) == set(MAY_IMPORT)
    sizes = {name: len([p for p in folder.glob("*.py") if p.stem != "__init__"]) for name, folder in names.items()}
    assert not {name: size for name, size in sizes.items() if size > MAX_MODULES}


def test_files_are_short() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    long = [
        f"{path.relative_to(REPOSITORY)}: {n} lines, {MAX_LINES} allowed" for path, n in lines.items() if n > MAX_LINES
    ]
    assert not long, "\n".join(long)


def test_every_module_says_what_it_is() -> None:
    silent = [str(p.relative_to(REPOSITORY)) for p in FILES if not ast.get_docstring(ast.parse(p.read_text("utf-8")))]
    assert not [path for path in silent if not path.endswith("__init__.py")]
