"""Events whose own time lies far ahead: their producer's clock is wrong, and would move their clients' time with it.

Enters: records in their order, what was read of them, the wall clock's moment where there is one. Leaves: the same,
with such events rejected. Holds: what is said without a clock follows from the records alone; what a worker said by its
clock is in the ledger, so that a replay says the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from typing import Final

from engine.core.contract.decode import FUTURE_TOLERANCE_MS, Rejected, Taken
from engine.core.contract.outbound import Rejection
from engine.core.firm_time import DAY_MS
from engine.runtime.protocol.records import Inbound, Outcome, Place

NEIGHBOURS: Final = 20  # records before and after one that are asked
FAR_MS: Final = 366 * DAY_MS

FUTURE: Final = Rejected(
    Rejection.FUTURE,
    "the time lies far ahead of the engine's clock, or of the records around it: check the producer's clock",
)
Read = tuple[Inbound, Outcome]


def by_clock(found: Iterable[Read], wall_ms: int) -> Iterator[Read]:
    """No event may lie ahead of the wall clock. Where the record's time is the broker's, `decode` has compared it."""
    latest_ms = wall_ms + FUTURE_TOLERANCE_MS
    for record, outcome in found:
        ahead = isinstance(outcome, Taken) and outcome.event.time > latest_ms and not record.appended
        yield record, FUTURE if ahead else outcome


def by_ledger(found: Iterable[Read], refused: Collection[Place]) -> Iterator[Read]:
    """Those that were refused when the unit was decided."""
    for record, outcome in found:
        yield record, FUTURE if refused and record.place in refused else outcome


def by_neighbours(found: Iterable[Read]) -> Iterator[Read]:
    """Without a clock: no event may lie more than a year ahead of most of the next records, and of all events just
    before it.

    A record of which nothing follows is believed: time may have passed. Both sides are asked so that records need not
    be in the order of time: the last ones of one client may be followed by the first ones of another.
    """
    following: deque[Read] = deque()
    before: deque[int] = deque(maxlen=NEIGHBOURS)
    stream = iter(found)
    while True:
        while len(following) <= NEIGHBOURS and (more := next(stream, None)) is not None:
            following.append(more)
        if not following:
            return
        record, outcome = following.popleft()
        if isinstance(outcome, Taken):
            moment_ms = outcome.event.time
            if moment_ms > max(before, default=0) + FAR_MS and _ahead_of(moment_ms, following):
                outcome = FUTURE
            else:
                before.append(moment_ms)
        yield record, outcome


def _ahead_of(moment_ms: int, following: Iterable[Read]) -> bool:
    times = sorted(record.timestamp_ms for record, _ in following if record.timestamp_ms >= 0)
    return bool(times) and moment_ms > times[(len(times) - 1) // 2] + FAR_MS
