"""What an installation has that is not in a checkout: the wheel, built from what the Dockerfile copies."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from engine.compiled import form
from engine.runtime.rule_sets import shipped as shipped_
from tests.services.process import REPOSITORY

BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


def build(directory: Path, *left_out: str) -> tuple[str, Path]:
    """The wheel's name, and it unpacked where pip would put it: the package, and beside it what comes with it."""
    source, built, site = (directory / name for name in ("source", "built", "site"))
    for folder in (source, built, site):
        folder.mkdir()
    copied = re.findall(r"^COPY ((?!--from).*) \S+$", (REPOSITORY / "Dockerfile").read_text(), re.MULTILINE)
    for name in " ".join(copied).split():
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__", *left_out))
        else:
            shutil.copy(REPOSITORY / name, source / name)
    subprocess.run([sys.executable, "-c", BUILD, built], cwd=source, check=True, capture_output=True)
    wheel = next(built.glob("*.whl"))
    with zipfile.ZipFile(wheel) as file:
        file.extractall(site)
    return wheel.name, site


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    name, site = build(tmp_path_factory.mktemp("wheel"), "built")
    assert name.endswith("-py3-none-any.whl")
    assert not [*site.rglob("*.so")]
    return site


@pytest.mark.skipif(not (form.PLACES / form.digest()).is_dir(), reason="not compiled (make compiled)")
def test_it_carries_the_compiled_core_where_that_was_built(tmp_path: Path) -> None:
    name, site = build(tmp_path)
    assert not name.endswith("-any.whl")  # for one Python and one kind of machine
    shown = "from engine.core.decide import path; print(path.__file__)"
    environment = {k: v for k, v in os.environ.items() if k != form.VARIABLE} | {"PYTHONPATH": str(site)}
    file = subprocess.run([sys.executable, "-c", shown], cwd=site, env=environment, check=True, capture_output=True)
    assert file.stdout.decode().startswith(str(site / "engine/compiled/built" / form.digest()))


def names(folder: Path) -> set[str]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".md"]
    return {str(path.relative_to(folder)) for path in files}


@pytest.mark.parametrize("folder", ["rules", "schemas"])
def test_it_brings_the_rules_and_schemas(wheel: Path, folder: str) -> None:
    installed = next(wheel.glob("*.data/data/share/engage")) / folder
    assert names(installed) == names(REPOSITORY / folder)
    for name in names(installed):
        assert (installed / name).read_bytes() == (REPOSITORY / folder / name).read_bytes()


def test_it_has_its_licence(wheel: Path) -> None:
    metadata = next(wheel.glob("*.dist-info"))
    assert "License-Expression: Apache-2.0" in (metadata / "METADATA").read_text()
    assert (metadata / "licenses/LICENSE").read_text() == (REPOSITORY / "LICENSE").read_text()


def test_rules_are_found_where_there_is_no_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Installed(type(Path())):  # type: ignore[misc]
        def locate(self) -> Path:
            return tmp_path / self

    monkeypatch.setattr(shipped_, "_CHECKOUT", tmp_path)
    monkeypatch.setattr(shipped_, "files", lambda _: [Installed("engine/x.py"), Installed("share/engage/rules/a.yaml")])
    assert shipped_.shipped("rules") == tmp_path / "share/engage/rules"
    assert shipped_.shipped("schemas") == tmp_path / "schemas"
