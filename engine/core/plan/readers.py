"""How a feature's value is read: text of ours over what is kept, and the functions that it calls.

Enters: what a feature keeps. Leaves: Python text, `READERS`.
Holds: a value without events is missing, but for counts and sums.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from engine.core.activity.tallies import winner
from engine.core.client import consents, items, overrides, positions
from engine.core.contract.fields import MICRO, units
from engine.core.contract.message import cny, rfc3339
from engine.core.firm_time import DAY_MS
from engine.core.language.types import INTEGER_UNITS, MONEY, TIME
from engine.core.rules.ruleset import Feature


def in_millionths(feature: Feature) -> bool:
    """Quantities have decimals; what is added up is kept in whole numbers, so that sums are exact."""
    return feature.aggregate in ("sum", "daily_mean") and feature.of_field.exact


def kept_text(kind: str, unit: str, activity: str, column: int, past: int) -> str:
    """Text of what a window holds."""
    if unit == "previous_month" and kind == "daily_mean":
        return f"mean({activity}.past[{past}])"
    if unit == "previous_month" and kind == "top":
        return f"winner(None, {activity}.past[{past}])"
    if unit == "previous_month" or kind in ("distinct", "last"):
        return f"{activity}.past[{past}]"
    if kind in ("count", "sum"):
        return f"({activity}.today[{column}] + {activity}.past[{past}])"
    reader = {"min": "least", "max": "greatest", "daily_mean": "daily_mean", "top": "winner"}[kind]
    return f"{reader}({activity}.today[{column}], {activity}.past[{past}])"


def total_text(aggregate: str, total: str) -> str:
    """Text of what a total holds."""
    return {"distinct": f"len({total})", "top": f"winner(None, {total})"}.get(aggregate, total)


def value_text(feature: Feature, kept: Sequence[str]) -> str:
    """Text of a feature's value, from those of its parts."""
    if feature.aggregate != "avg":
        return f"units({kept[0]})" if in_millionths(feature) else kept[0]
    unit = feature.of_field.type.unit
    if unit == MONEY:
        return f"mean(({kept[0]}, {kept[1]}))"
    return f"average({kept[0]}, {kept[1]}, {1 if unit in INTEGER_UNITS else MICRO})"


def least(today: Any, past: Any) -> Any:
    return past if today is None else today if past is None or today < past else past


def greatest(today: Any, past: Any) -> Any:
    return past if today is None else today if past is None or today > past else past


def daily_mean(today: Any, past: tuple[int, int]) -> Any:
    """Mean of daily closing values, today's being the value now; whole units (fen) stay whole, rounded down."""
    return None if today is None else mean((past[0] + today, past[1] + 1))


def mean(past: tuple[int, int]) -> Any:
    total, days = past
    if not days:
        return None
    return total / days if isinstance(total, float) else total // days


def average(total: int, events: int, scale: int) -> int | float | None:
    """The mean of `events` values whose sum is `total`, each times `scale`: whole, or the nearest number."""
    if not events:
        return None
    whole, rest = divmod(total, events * scale)
    return total / (events * scale) if rest else whole


def days_between(earlier_ms: int | None, later_ms: int) -> int | None:
    return None if earlier_ms is None else (later_ms - earlier_ms) // DAY_MS


def public_value(unit: str | None) -> Callable[[Any], Any]:
    """How other systems read a value: money as an exact decimal text in CNY, times as RFC 3339."""
    if unit == MONEY:
        return cny
    if unit == TIME:
        return lambda value: rfc3339(round(value))
    return lambda value: float(f"{value:.6g}") if isinstance(value, float) else value


READERS: Final[dict[str, Callable[..., Any]]] = {
    "least": least,
    "greatest": greatest,
    "daily_mean": daily_mean,
    "mean": mean,
    "average": average,
    "winner": winner,
    "days_between": days_between,
    "units": units,
    "open_items": items.count,
    "oldest_item": items.oldest_ms,
    **positions.READERS,
    "holds": overrides.holds,
    "agreed_channels": consents.channels,
}
