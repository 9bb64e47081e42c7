"""A record to publish, and the texts of times and money in it.

Enters: what was decided. Leaves: Message, RFC 3339 times, exact decimals.
Holds: nothing here depends on a clock, a locale or a partition.
"""

from __future__ import annotations

import datetime as dt
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

FIRST_MS: Final = -62_135_596_800_000  # the year 1


LAST_MS: Final = 253_402_300_799_999  # the year 9999


_EPOCH: Final = dt.date(1970, 1, 1)


class Message(msgspec.Struct, frozen=True, gc=False):
    """One record to publish. `topic` is the contract's name, without the configured prefix."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp_ms: int | None = None  # None: the time of publishing
    rides: bool = False  # it is published with what else there is, and never the reason to publish at once
    schema: str | None = None  # the file of the value's JSON Schema; whoever publishes knows where that is kept


class Because(NamedTuple):
    """What led to a record, as the model `Cause` publishes it: an event, or a timer, which has no id."""

    type: str
    event_id: str | None
    time_ms: int  # the event's, or the timer's

    @property
    def time(self) -> str:
        return rfc3339(self.time_ms)

    def said(self) -> dict[str, str | None]:
        return {"type": self.type, "event_id": self.event_id, "time": self.time}


@lru_cache(maxsize=16)  # what one event leads to names the same moment several times
def rfc3339(moment_ms: int) -> str:
    """Epoch milliseconds as RFC 3339 in UTC with milliseconds."""
    seconds, milliseconds = divmod(moment_ms, 1000)
    return f"{rfc3339_seconds(seconds)[:-1]}.{milliseconds:03d}Z"


def rfc3339_seconds(moment_s: int) -> str:
    """Epoch seconds as RFC 3339 in UTC."""
    day, second = divmod(moment_s, 86_400)
    return _day(day) + _MINUTES[second // 60] + _SECONDS[second % 60]


@lru_cache(maxsize=4096)
def _day(day: int) -> str:
    """Days since 1970-01-01 as YYYY-MM-DDT."""
    return f"{(_EPOCH + dt.timedelta(days=day)).isoformat()}T"


_MINUTES: Final = [f"{minute // 60:02d}:{minute % 60:02d}" for minute in range(1_440)]
_SECONDS: Final = [f":{second:02d}Z" for second in range(60)]


def cny(amount_fen: int | float) -> str:
    """Fen as an exact decimal text in CNY; a fraction of a fen (from a product or quotient) is rounded half to even."""
    fen = round(amount_fen)
    sign, fen = ("-", -fen) if fen < 0 else ("", fen)
    return f"{sign}{fen // 100}{_CENTS[fen % 100]}"


_CENTS: Final = [f".{cent:02d}" for cent in range(100)]
