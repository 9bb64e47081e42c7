"""Values as people read them. Enters: a value of an expression and its type. Leaves: a few words."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from engine.core.contract.message import cny
from engine.core.firm_time import DAY_MS, FIRM_UTC_OFFSET_MS
from engine.core.language.expressions import Type

MISSING: Final = "missing"
ZONE: Final = "UTC+8"  # of every time that is shown
_EPOCH: Final = dt.datetime.fromtimestamp(0, dt.timezone(dt.timedelta(milliseconds=FIRM_UTC_OFFSET_MS)))


def shown(value: Any, type_: Type) -> str:
    """Money is in here as fen, times and durations as milliseconds."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value or '""'
    if not isinstance(value, (int, float)):
        return ", ".join(map(str, value))
    if type_.unit == "cny":
        whole, _, cents = cny(value).rpartition(".")
        return f"{'-' if whole == '-0' else ''}{int(whole):,}.{cents} CNY"
    if type_.unit == "time":
        return _exact_time(round(value))
    if type_.unit == "duration":
        return duration(value)
    said = f"{value:,}" if isinstance(value, int) else f"{value:,.6f}".rstrip("0").rstrip(".")
    if type_.unit == "days":
        return f"{said} day{'' if value == 1 else 's'}"
    return f"{said} shares" if type_.unit == "shares" else said


def firm_time(moment_ms: int) -> str:
    """To the minute, in the firm's time zone."""
    return (_EPOCH + dt.timedelta(milliseconds=moment_ms)).strftime("%Y-%m-%d %H:%M")


def _exact_time(moment_ms: int) -> str:
    """Omits trailing zero parts: seconds, milliseconds."""
    moment = _EPOCH + dt.timedelta(milliseconds=moment_ms)
    if moment.microsecond:
        return moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{moment.microsecond // 1000:03d}"
    return moment.strftime("%Y-%m-%d %H:%M:%S" if moment.second else "%Y-%m-%d %H:%M")


def duration(length_ms: float) -> str:
    for unit, name in ((DAY_MS, "day"), (3_600_000, "hour"), (60_000, "minute"), (1000, "second")):
        if abs(length_ms) >= unit:
            count = f"{length_ms / unit:,.2f}".rstrip("0").rstrip(".")
            return f"{count} {name}{'' if count == '1' else 's'}"
    return f"{length_ms:g} ms"
