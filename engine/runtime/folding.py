"""Warnings that come again and again, as few lines: the first at once, then one a minute with their number, and one
when a minute has passed without.

Enters: what a process logs, by the engine or by a library. Leaves: the lines that are written.
Holds: what differs in a number, in an address, in the partition or in the error's text is the same warning.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import re
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

FOLD_S: Final = 60.0
LOOK_S: Final = 1.0
MOST_KINDS: Final = 1_000  # at once; a further warning is written as it is
_NUMBERS: Final = re.compile(r"0x[0-9a-fA-F]+|[0-9]+")
# `reason` says what a person has to mend, so that another reason is another warning
_VARIES: Final = frozenset({"partition", "error", "timestamp", "exception"})


@dataclass(slots=True)
class _Kind:
    """A warning since its last line."""

    since: float
    last: logging.LogRecord
    said: float
    times: int = 0
    all_times: int = 1
    folded: bool = False
    partitions: set[Any] = field(default_factory=set)


class Folding(logging.Filter):
    """A filter of `handler`. `clock` may be asked from any thread."""

    def __init__(self, handler: logging.Handler, clock: Callable[[], float]) -> None:
        super().__init__()
        self._handler = handler
        self._clock = clock
        self._lock = threading.Lock()
        self._kinds: dict[tuple[Any, ...], _Kind] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        key, now = _key(record), self._clock()
        with self._lock:
            kind = self._kinds.get(key)
            if kind is None:
                if len(self._kinds) < MOST_KINDS:
                    self._kinds[key] = _Kind(now, record, now)
                return True
            kind.last = record
            kind.times += 1
            kind.all_times += 1
            if isinstance(record.msg, dict) and "partition" in record.msg:
                kind.partitions.add(record.msg["partition"])
            return False

    def say(self, *, all_of_it: bool = False) -> None:
        """Write the lines that are due, or whatever has not been written yet."""
        now = self._clock()
        due = []
        with self._lock:
            for key, kind in list(self._kinds.items()):
                if not all_of_it and now - kind.said < FOLD_S:
                    continue
                if kind.times:
                    due.append(_with(kind.last, "", times=kind.times, **_partitions(kind)))
                    kind.said, kind.times, kind.folded, kind.partitions = now, 0, True, set()
                    continue
                del self._kinds[key]
                if kind.folded and not all_of_it:
                    for_s = round(kind.said - kind.since)
                    due.append(_with(kind.last, "no longer: ", times=kind.all_times, for_s=for_s))
        for record in due:
            self._handler.acquire()
            try:
                self._handler.emit(record)
            finally:
                self._handler.release()


def _key(record: logging.LogRecord) -> tuple[Any, ...]:
    fields: tuple[Any, ...] = ()
    said = record.msg
    if isinstance(said, dict):  # the engine's own, see logs.py
        fields = tuple(
            (name, _NUMBERS.sub("#", value))
            for name, value in sorted(said.items())
            if name not in _VARIES and isinstance(value, str)
        )
        said = said.get("event", "")
    raised = record.exc_info[0] if record.exc_info else None
    return record.name, record.levelno, _NUMBERS.sub("#", str(said)), raised, fields


def _partitions(kind: _Kind) -> dict[str, list[Any]]:
    return {"partitions": sorted(kind.partitions)} if kind.partitions else {}


def _with(record: logging.LogRecord, begun: str, **fields: Any) -> logging.LogRecord:
    made = copy.copy(record)
    if isinstance(made.msg, dict):
        said = {name: value for name, value in made.msg.items() if not (name == "partition" and "partitions" in fields)}
        made.msg = {**said, "event": f"{begun}{said.get('event', '')}", **fields}
    else:
        shown = ", ".join(f"{name} {value}" for name, value in fields.items())
        made.msg, made.args = f"{begun}{record.getMessage()} ({shown})", ()
    return made


@asynccontextmanager
async def folded() -> AsyncIterator[None]:
    """Fold what the process logs meanwhile."""
    foldings = []
    for handler in logging.getLogger().handlers:
        handler.addFilter(folding := Folding(handler, asyncio.get_running_loop().time))
        foldings.append(folding)

    async def say() -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            for folding in foldings:
                folding.say()

    saying = asyncio.get_running_loop().create_task(say())
    try:
        yield
    finally:
        saying.cancel()
        with suppress(asyncio.CancelledError):
            await saying
        for folding in foldings:
            folding.say(all_of_it=True)
            folding._handler.removeFilter(folding)
