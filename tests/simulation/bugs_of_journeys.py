"""Deliberate bugs in journeys: the auditor decides with them, too, and must see them by clocks alone. See bugs.py."""

from __future__ import annotations

from typing import Any

from engine.core.contract.outbound import Outcome
from engine.core.decide import journeys
from engine.core.policy import gates
from tests.simulation.bug import Change, Table, registering

BUGS: Table = {}
bug = registering(BUGS)


@bug("a wait of a journey is an hour too long")
def _() -> list[Change]:
    original = journeys.over

    def over(*given: Any) -> tuple[int, str]:
        due_ms, step = original(*given)
        return due_ms + 3_600_000, step

    return [(journeys, "over", over)]


@bug("a journey begins again before its time")
def _() -> list[Change]:
    kept = tuple((why, gate) for why, gate in gates.GATES if why is not Outcome.NOT_ENTERED)
    return [(gates, "GATES", kept)]
