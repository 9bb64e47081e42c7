"""Where the rules, schemas and examples that come with Engage are: in a checkout beside the package, in an installation
with it.

Enters: a folder's name. Leaves: its path.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

_CHECKOUT = Path(__file__).parents[3]


def shipped(folder: str) -> Path:
    """The folder `rules`, `schemas` or `examples/pools`; that of a checkout where none is installed, if it is there
    or not.
    """
    if (_CHECKOUT / folder).is_dir() and (_CHECKOUT / "pyproject.toml").exists():
        return _CHECKOUT / folder
    try:
        installed = files("engage") or []
    except PackageNotFoundError:
        installed = []
    return next(
        (Path(str(f.locate())).parent for f in installed if f.match(f"share/engage/{folder}/*")), _CHECKOUT / folder
    )
