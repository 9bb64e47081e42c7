"""Commands about rule files: `engage check`.

Enters: arguments, rule files. Leaves: exit status 0 good, 1 refused or found wrong, 2 used wrongly.
Holds: nothing is decided here; each command imports what it needs when it runs, so that the others start at once.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

commands = click.Group()  # cli.py hangs each of them on `engage`


@commands.command()
@click.argument("directory", type=click.Path(path_type=Path))
def check(directory: Path) -> None:
    """Check rule files: every error with file, line and column."""
    from engine.rulefile import check as check_rules

    sys.exit(check_rules(directory, sys.stdout))
