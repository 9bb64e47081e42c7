"""Records that Kafka holds and nobody can read yet: those behind a transaction that is still open.

Enters: the last stable offset and the end of each topic, as each answer gives them. Leaves: up to which moment
everything can be read, and which topics are held for long.
Holds: transactions that follow each other closely hold nothing up: what counts is whether a former end can be read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from engine.runtime.protocol.intake import Held

HELD_S: Final = 5.0  # a transaction that is open for longer is reported
NEVER_READ: Final = 0


@dataclass(slots=True)
class _Topic:
    stable: int = 0
    end: int = 0
    readable_ms: int = NEVER_READ  # all that came before this moment can be read
    # a later moment, by two clocks, and the end of the topic then, while that cannot be read
    waits_for: int | None = None
    since_ms: int = 0
    since_s: float = 0.0


class OpenTransactions:
    """Of one partition of the inbound topics."""

    def __init__(self, topics: Iterable[str]) -> None:
        self._topics = {topic: _Topic() for topic in topics}

    def note(self, topic: str, stable: int, end: int, asked_ms: int, now_s: float) -> None:
        """Both offsets are of an answer that was asked for at `asked_ms` or later."""
        known = self._topics[topic]
        known.stable, known.end = stable, max(end, stable)
        if stable >= end:
            known.readable_ms, known.waits_for = asked_ms, None
            return
        if known.waits_for is not None and stable >= known.waits_for:
            known.readable_ms, known.waits_for = known.since_ms, None
        if known.waits_for is None:
            known.waits_for, known.since_ms, known.since_s = end, asked_ms, now_s

    def readable_ms(self, now_ms: int) -> int:
        """Whatever came before this moment can be read; `now_ms` while no transaction is open."""
        waiting = [known.readable_ms for known in self._topics.values() if known.waits_for is not None]
        return min([now_ms, *waiting])

    def held(self, now_s: float) -> list[Held]:
        return [
            Held(topic, known.stable, known.end - known.stable, now_s - known.since_s)
            for topic, known in self._topics.items()
            if known.waits_for is not None and now_s - known.since_s >= HELD_S
        ]
