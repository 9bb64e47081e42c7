"""`make compiled`: compiles with mypyc what engine/compiled/form.py names of the core, and says which form runs then.

Enters: the sources, a C compiler. Leaves: the libraries, under the digest of the sources; those of others go.
Holds: without a C compiler nothing is done, which is an error only with `--required`. What was compiled already is
not compiled again. A library is in its place whole or not at all.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

# ruff: noqa: E402
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
os.environ["ENGAGE_CORE"] = "pure"
from engine.compiled import form

CACHE = ROOT / ".cache/core"
# Of the project's own configuration mypyc takes what is said of modules that it does not read for errors.
STORED_HEAD = "from typing import Any\n\nfrom engine.core.client.state import ClientState\n\n\n"
CONFIG = "[mypy]\nplugins = pydantic.mypy\nexplicit_package_bases = True\nignore_missing_imports = True\n"


def compiler() -> str | None:
    """The program that this Python's own libraries are compiled by, if it is there, with Python's headers."""
    named = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    headers = Path(sysconfig.get_paths()["include"]) / "Python.h"
    return shutil.which(named) if headers.exists() else None


def build(place: Path) -> None:
    """Compile, beside the place that it goes to at last."""
    from mypyc.build import mypycify
    from setuptools import setup

    from engine.core.client.sections import sections_source

    sources = [name.replace(".", "/") + ".py" for name in (*form.MODULES, form.STORED)]
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch, contextlib.chdir(scratch):
        shutil.copytree(ROOT / "engine", "engine", ignore=shutil.ignore_patterns("__pycache__", "built"))
        Path(sources[-1]).write_text(STORED_HEAD + sections_source())
        Path("mypy.ini").write_text(CONFIG)
        extensions = mypycify(
            ["--config-file", "mypy.ini", "--cache-dir", str(CACHE / "mypy"), *sources],
            opt_level="3",
            debug_level="0",
            target_dir=f"{scratch}/c",
            group_name=form.LIBRARY,
        )
        build_into = ["build_ext", "--build-lib", f"{scratch}/lib", "--build-temp", f"{scratch}/o"]
        setup(name="engage-core", script_args=["--quiet", *build_into], ext_modules=extensions)
        shutil.rmtree(form.PLACES, ignore_errors=True)
        form.PLACES.mkdir()
        Path(scratch, "lib").rename(place)


def main() -> int:
    required = "--required" in sys.argv[1:]
    place = form.PLACES / form.digest()
    if not place.is_dir():
        if compiler() is None:
            print("core: pure (compiling it needs a C compiler and Python's headers; it does without)")
            return int(required)
        print("compiling the core (once, one to three minutes; it does without: ENGAGE_CORE=pure)", flush=True)
        log = CACHE / "log"
        CACHE.mkdir(parents=True, exist_ok=True)
        with log.open("w") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
            try:
                build(place)
            except (Exception, SystemExit) as error:
                failed = f"{type(error).__name__}: {error}"
            else:
                failed = ""
        if failed:
            print(f"core: pure (it could not be compiled: {failed}; {log.relative_to(ROOT)} says more)")
            return int(required)
    print(f"core: {form.COMPILED}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
