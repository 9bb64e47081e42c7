"""The formats of what the engine stores, by number, and what to do about those of another version.

Enters: the format that a record names. Leaves: nothing, or Newer.
Holds: within a format, fields are only added, and whoever does not know one ignores it (or carries it along, where this
is said); whatever would be wrong for an older engine to ignore is a new format. docs/upgrading.md has the table.
"""

from __future__ import annotations

from typing import Final

from engine.runtime.errors import Newer

# 0.1.0 wrote positions without a number (1), ledger records of 2, snapshots of 2 and rule-set records without one (1).
# Rule-set records of 2 are the history's entries of pauses; all others are of 1 still.
POSITION_FORMAT: Final = 2
LEDGER_FORMAT: Final = 3
SNAPSHOT_FORMAT: Final = 3
RULE_SET_FORMAT: Final = 2


def check_readable(what: str, found: int, known: int) -> None:
    """Raises Newer when an engine wrote it that knows more than this one."""
    if found > known:
        raise Newer(
            f"{what} was written by a newer Engage (format {found}, this one reads up to {known}): upgrade this worker"
        )
