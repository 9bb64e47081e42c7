"""What an installation has that is not in a checkout: the wheel, built from what the Dockerfile copies."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from engine.runtime.rule_sets import shipped as shipped_
from tests.services.process import REPOSITORY

BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpacked where pip would put it: the package, and beside it what comes with it."""
    source, built, site = (tmp_path_factory.mktemp(name) for name in ("source", "built", "site"))
    copied = re.findall(r"^COPY ((?!--from).*) \S+$", (REPOSITORY / "Dockerfile").read_text(), re.MULTILINE)
    for name in " ".join(copied).split():
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(REPOSITORY / name, source / name)
    subprocess.run([sys.executable, "-c", BUILD, built], cwd=source, check=True, capture_output=True)
    with zipfile.ZipFile(next(built.glob("*.whl"))) as file:
        file.extractall(site)
    return site


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
