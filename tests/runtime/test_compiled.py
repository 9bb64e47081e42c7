"""The core in both forms: which one runs, and that they write the same bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import engine
from engine.compiled import form
from tests.services.process import REPOSITORY

FORM = "from engine.compiled import form; from engine.core.decide import path; print(form.RUNNING, path.__file__)"
BUILT = (form.PLACES / form.digest()).is_dir()
needs_library = pytest.mark.skipif(not BUILT, reason="these sources are not compiled (make compiled)")
# A digest of all that the month's job decides and of every state that it leaves.
MONTH = """
import hashlib, sys
from pathlib import Path
from benchmarks.month.job import Month, write_rules
from engine.compiled import form
from engine.core.client.sections import pack, unpack
from engine.core.decide.path import decide
from engine.core.plan.compile import compile_rule_set
from engine.core.reading.decode import decode
from engine.runtime.rule_sets.archive import load_directory

job = Month(300)
plan = compile_rule_set(load_directory(write_rules(Path(sys.argv[1]))))
states, found, sent = {}, hashlib.sha256(), 0
events = [(r.topic, decode(r.topic, r.key, r.value, r.time_ms).event) for r in [*job.profiles(), *job.trades(6_000)]]
for at in range(0, len(events), 500):
    decided = decide(plan, states, events[at : at + 500])
    sent += len(decided.messages)
    found.update(repr(decided.messages).encode())
    for client_id, client in decided.changed.items():
        packed = pack(plan.layout, client)
        found.update(packed)
        states[client_id] = unpack(plan.layout, packed)
assert sent > 300
print(form.RUNNING, found.hexdigest())
"""


def python(code: str, *arguments: str, at: Path = REPOSITORY, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {name: value for name, value in os.environ.items() if name != form.VARIABLE}
    command = [sys.executable, "-c", code, *arguments]
    given |= {"PYTHONPATH": str(at), "PYTHONDONTWRITEBYTECODE": "1"} | environment
    return subprocess.run(command, cwd=at, env=given, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The engine elsewhere, with what was compiled of it, if anything was."""
    shutil.copytree(Path(engine.__file__).parent, tmp_path / "engine", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def placed(copy: Path) -> Path:
    """A place for what was compiled of the sources as they are now in the copy: with nothing in it that can be run."""
    digest = python(
        "from engine.compiled import form; print(form.digest())", at=copy, ENGAGE_CORE="pure"
    ).stdout.strip()
    place = copy / "engine/compiled/built" / digest
    place.mkdir(parents=True, exist_ok=True)
    return place


def test_without_a_library_the_sources_run(copy: Path) -> None:
    shutil.rmtree(copy / "engine/compiled/built", ignore_errors=True)
    which, file = python(FORM, at=copy).stdout.split()
    assert (which, Path(file)) == ("pure", copy / "engine/core/decide/path.py")
    asked = python(FORM, at=copy, ENGAGE_CORE="compiled")
    assert asked.returncode == 1
    assert (
        "ENGAGE_CORE is compiled, but the core is pure, nothing was compiled: `make compiled` does it" in asked.stderr
    )


def test_a_word_that_is_none_of_the_two_is_refused() -> None:
    found = python(FORM, ENGAGE_CORE="fast")
    assert "ENGAGE_CORE is 'fast': make it pure or compiled, or leave it out" in found.stderr


@pytest.mark.parametrize("change", ["edited", "added", "removed"])
def test_a_library_of_other_sources_is_not_used(copy: Path, change: str) -> None:
    place = placed(copy)
    path = copy / "engine/core/decide/path.py"
    if change == "edited":
        path.write_text(path.read_text() + "# \n")
    elif change == "added":
        (copy / "engine/core/further.py").write_text("")
    else:
        (copy / "engine/core/rules/score.py").unlink()
    assert placed(copy) != place
    shutil.rmtree(placed(copy))
    said = python("from engine.compiled import form; print(form.RUNNING, form.IN_WORDS)", at=copy).stdout
    assert said == ("pure pure, its sources are not those that were compiled: `make compiled` compiles them\n")


def test_every_module_named_is_there_and_what_is_written_for_it_is_not() -> None:
    files = [REPOSITORY / f"{name.replace('.', '/')}.py" for name in form.MODULES]
    assert [file for file in files if not file.exists()] == []
    assert not (REPOSITORY / f"{form.STORED.replace('.', '/')}.py").exists()


@needs_library
def test_the_library_of_these_sources_is_used(copy: Path) -> None:
    which, file = python(FORM, at=copy).stdout.split()
    assert which == "compiled"
    assert Path(file).is_relative_to(copy / "engine/compiled/built" / form.digest())
    assert python(FORM, at=copy, ENGAGE_CORE="pure").stdout.split()[0] == "pure"


@needs_library
def test_every_module_named_is_compiled() -> None:
    names = (
        f"import importlib; print([importlib.import_module(n).__file__[-3:] for n in {(*form.MODULES, form.STORED)}])"
    )
    assert python(names).stdout.strip() == str([".so"] * (len(form.MODULES) + 1))


@needs_library
def test_both_forms_decide_the_same_and_write_the_same_bytes(tmp_path: Path) -> None:
    pure, fast = (
        python(MONTH, str(tmp_path / which), ENGAGE_CORE=which).stdout.split() for which in ("pure", "compiled")
    )
    assert (pure[0], fast[0]) == ("pure", "compiled")
    assert pure[1] == fast[1]
