"""What a load says: how far it has come, with an end in sight, and what it came to.

Enters: what was done of how much; counts. Leaves: lines. Holds: it measures by a clock that is passed in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from engine.core.client.record import told_by
from engine.loading.deciding import Counts

EVERY_S: Final = 5.0


class Progress:
    def __init__(self, say: Callable[[str], None], clock_s: Callable[[], float]) -> None:
        self.say = say
        self.total = 0  # whatever was done: more of it is progress
        self._clock_s = clock_s
        self._what, self._of, self._done = "", 0, 0
        self._began = self._said = clock_s()

    def begin(self, what: str, of: int) -> None:
        self._what, self._of, self._done = what, max(of, 1), 0
        self._began = self._said = self._clock_s()

    def done(self, more: int) -> None:
        self.total += more
        self._done = min(self._done + more, self._of)
        now = self._clock_s()
        if now - self._said >= EVERY_S or self._done == self._of:
            self._said = now
            took = max(now - self._began, 0.001)
            left = took / self._done * (self._of - self._done) if self._done else 0
            self.say(f"{self._what}: {self._done / self._of:.0%} in {_in_words(took)}, {_in_words(left)} left")


def _in_words(seconds: float) -> str:
    if seconds < 90:
        return f"{round(seconds)} s"
    return f"{round(seconds / 60)} min" if seconds < 5_400 else f"{seconds / 3_600:.1f} h"


def lines(counts: Counts, letters: Path, *, dry_run: bool) -> Iterator[str]:
    yield f"records {counts.records + counts.refused['not_a_record']}"
    yield f"events {counts.events}"
    yield f"duplicates {counts.duplicates}"
    yield f"refused {counts.refused.total()}"
    for reason, number in counts.refused.most_common():
        yield f"  {reason} {number}"
    if counts.refused:
        yield f"  each is in {letters}, with its place and what to mend"
    for name, number in counts.unread.most_common():
        yield f"unknown {name} {number}: could not be read, and counts as unknown"
    yield f"clients {counts.clients}"
    yield from _listed("tier", Counter({label: n for label, n in counts.tallies.items() if ":" not in label}))
    stages = {name: n for label, n in counts.tallies.items() for what, name, *_ in [told_by(label)] if what == "stage"}
    yield from _listed("stage", Counter(stages))
    yield f"actions that were not sent, since they are past: {counts.muted.total()}"
    yield from _listed("", counts.muted)
    if counts.waiting:
        yield (
            f"of these, {counts.waiting.total()} wait for an answer that nobody was asked for "
            f"({', '.join(f'{number} {kind}s' for kind, number in counts.waiting.most_common())}): --acted cooldowns "
            "leaves them out"
        )
    if dry_run:
        yield "at the first live tick, clients that each rule would act on:"
        yield from _listed("", counts.first)
        if not counts.first:
            yield "  none"
        yield "nothing was written"


def _listed(what: str, counts: Counter[str]) -> Iterator[str]:
    for name, number in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])):
        yield f"  {what} {name} {number}".replace("   ", "  ")
