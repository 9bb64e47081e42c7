"""What compiled expressions call for functions of times and texts.

Enters: times in epoch milliseconds, numbers, texts. Leaves: a number, a text, a bool, or None for missing.
Holds: none of them raises. The calendar is the firm's (UTC+8); a time beyond the years 1 to 9999 is on no
day of it.
"""

from __future__ import annotations

import datetime as dt
from hashlib import blake2b
from typing import Final

from engine.core.firm_time import DAY_MS, FIRM_UTC_OFFSET_MS, HOUR_MS, WEEKDAYS, date_of_day, day_number, day_start_ms

_FIRST_MS: Final = day_start_ms(day_number(dt.date.min))
_END_MS: Final = day_start_ms(day_number(dt.date.max) + 1)
_LOT_BYTES: Final = 6  # what a float holds exactly


def date_ms(text: str) -> int:
    """The start of a day written 2026-10-01; raises ValueError if there is no such day."""
    return day_start_ms(day_number(dt.date.fromisoformat(text)))


def _firm_ms(time_ms: float) -> int | None:
    """Whole milliseconds since 1970 began for the firm. Times that were calculated can be floats of any size."""
    return int(time_ms // 1) + FIRM_UTC_OFFSET_MS if _FIRST_MS <= time_ms < _END_MS else None


def _date(time_ms: float) -> dt.date | None:
    moment_ms = _firm_ms(time_ms)
    return None if moment_ms is None else date_of_day(moment_ms // DAY_MS)


def hour(time_ms: float) -> int | None:
    moment_ms = _firm_ms(time_ms)
    return None if moment_ms is None else moment_ms % DAY_MS // HOUR_MS


def weekday(time_ms: float) -> str | None:
    date = _date(time_ms)
    return None if date is None else WEEKDAYS[date.weekday()]


def day(time_ms: float) -> int | None:
    date = _date(time_ms)
    return None if date is None else date.day


def month(time_ms: float) -> int | None:
    date = _date(time_ms)
    return None if date is None else date.month


def year(time_ms: float) -> int | None:
    date = _date(time_ms)
    return None if date is None else date.year


def date_of(time_ms: float) -> str | None:
    date = _date(time_ms)
    return None if date is None else date.isoformat()


Texts = str | tuple[str, ...] | frozenset[str]  # one, some that are written, or a list of a file, which can be long


def starts_with(text: str, given: Texts) -> bool:
    if isinstance(given, frozenset):
        return any(text[:end] in given for end in range(1, len(text) + 1))
    return text.startswith(given)


def ends_with(text: str, given: Texts) -> bool:
    if isinstance(given, frozenset):
        return any(text[start:] in given for start in range(len(text)))
    return text.endswith(given)


def contains(text: str, given: Texts) -> bool:
    return given in text if isinstance(given, str) else any(part in text for part in given)


def has_code(text: str, given: Texts) -> bool:
    codes = text.split(" ")
    return given in codes if isinstance(given, str) else any(code in given for code in codes)


def place(lot: str, text: str) -> float:
    """At least 0, below 1; as if drawn by lot, and the same for the same texts for ever."""
    digest = blake2b(f"{lot}\0{text}".encode(), digest_size=_LOT_BYTES).digest()
    return int.from_bytes(digest, "big") / (1 << 8 * _LOT_BYTES)


def draw(text: str, lot: str, anew: float | None = None) -> float:
    """A place in percent, from 0 to 99.99."""
    return int(10_000 * place(lot if anew is None else f"{lot}\0{anew:.0f}", text)) / 100
