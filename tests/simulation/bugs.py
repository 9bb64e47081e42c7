"""Deliberate bugs: mistakes that an engine like this one can make, to show that the simulation sees them.

Enters: the name of a bug. Leaves: an engine that has it, for as long as the context lasts.
Holds: each is a small change of the engine's own classes, or of what the script or Kafka's isolation promises; none
touches the auditor.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from tests.simulation import bugs_of_commands, bugs_of_deciding, bugs_of_journeys, bugs_of_log_and_store, bugs_of_policy

BUGS: Final = (
    bugs_of_log_and_store.BUGS
    | bugs_of_deciding.BUGS
    | bugs_of_policy.BUGS
    | bugs_of_journeys.BUGS
    | bugs_of_commands.BUGS
)

# What needs two things at once is seen by going through every request, or by scenarios made for it; rarely by chance.
BY_SCENARIO: Final = (
    "a wait that loses a cancellation",
    "a rebuild falls over what it finds moved",
    "a sweep goes on though other rules decided meanwhile",
    "workers decide while a past is being loaded",
)


@contextmanager
def switched_on(name: str) -> Iterator[None]:
    """The engine with this bug; with none for an empty name."""
    patches = [patch.object(*change) for change in (BUGS[name]() if name else ())]
    try:
        for one in patches:
            one.start()
        yield
    finally:
        for one in reversed(patches):
            one.stop()
