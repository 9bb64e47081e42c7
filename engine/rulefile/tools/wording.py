"""Values of rule sets in words, as rule files write them.

Enters: a value, and the label of the field that holds it. Leaves: its text.
Holds: two texts that differ are never shown alike: what cannot be seen is shown by its code.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

from engine.core.language.expressions import Expression, Type, one_line
from engine.core.language.types import MONEY
from engine.core.rules.policy import Fen
from engine.core.rules.ruleset import Window

# of how it is written or compiled
SILENT: Final = ("text", "place", "tree", "log10", "size", "depth", "asked", "asked_by")
KEYS: Final = ("id", "name", "tier")
SHOWN: Final = 5  # values of a list; if there are more, their number is shown
SECONDS: Final = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))
TIMES: Final = (
    "cooldown",
    "expires",
    "for",
    "repeat",
    "within",
    "text",
    "collect",
    "over",
    "wait",
    "up",
    "waited",
    "low",
    "medium",
    "high",
    "critical",
    "accept",
    "timeout",
    "again",
)  # fields of seconds
LABELS: Final = {"minute": "time", "partial": "has no value in some cases"}


def label(field: str) -> str:
    return LABELS.get(field, field.removesuffix("_s").removesuffix("_days").replace("_", " "))


def said(field: str, value: Any) -> str:
    """A value in words."""
    last = field.split(" ")[-1]
    if isinstance(value, Expression):
        return one_line(value.text)
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Fen):
        return f"{value // 100:,}.{value % 100:02}".removesuffix(".00") + " CNY"
    if isinstance(value, int) and last in TIMES:
        unit, seconds = next(((u, s) for u, s in SECONDS if value % s == 0), SECONDS[-1])
        return f"{value // seconds}{unit}"
    if isinstance(value, int) and last == "time":
        return f"{value // 60:02}:{value % 60:02}"
    if isinstance(value, int) and field.endswith(("days", "after", "before")):
        return f"{value}d"
    if isinstance(value, (int, float)):
        return f"{value:,}"
    if isinstance(value, tuple):
        return ", ".join(said(field, item) for item in value)
    if isinstance(value, Mapping):
        return f"{len(value):,}"
    if isinstance(value, Window):
        return value.unit if "month" in value.unit else f"{value.length}{value.unit[0]}"
    if is_dataclass(value):
        given = ((f.name, getattr(value, f.name)) for f in fields(value) if f.name not in (*KEYS, *SILENT))
        return ", ".join(f"{label(name)} {said(label(name), item)}" for name, item in given if item not in (None, ""))
    return text(str(value))


def becomes(before: str, after: str, quote: str = "") -> str:
    """Two texts as they are; where they might look alike, each sign that is not ASCII by its code."""
    if before == after:
        return f"{quote}{before}{quote} stays as it is written, but what it names has changed"
    if _look_alike(before, after):
        before, after = _coded(before), _coded(after)
    return f"{quote}{before}{quote} becomes {quote}{after}{quote}"


def shortened(values: list[str], between: str = ", ") -> str:
    more = f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
    return between.join(values[:SHOWN]) + more


def text(value: str) -> str:
    """In quotes when it begins, ends or is joined in a way that would not be seen."""
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in value
    )
    plain = shown == value == " ".join(value.split(" ")).strip() and "  " not in value and value
    return shown if plain else f'"{shown}"'


def amount(type_: Type, value: Any) -> str:
    """A value of a table: money in CNY."""
    if isinstance(value, (int, float)) and type_.unit == MONEY:
        return f"{value / 100:,.2f}".removesuffix(".00") + " CNY"
    if isinstance(value, tuple):
        return " | ".join(value)
    return said("", value)


def _look_alike(one: str, other: str) -> bool:
    if one.isascii() and other.isascii():
        return False
    if _plain(one) == _plain(other):
        return True
    differ = [(a, b) for a, b in zip(one, other, strict=False) if a != b]
    return len(one) == len(other) and any(a.isascii() is not b.isascii() for a, b in differ)


def _plain(value: str) -> str:
    kept = unicodedata.normalize("NFKC", value)
    return "".join(c for c in kept if c.isprintable() and not unicodedata.category(c).startswith("M"))


def _coded(value: str) -> str:
    return "".join(c if c.isascii() else f"\\u{ord(c):04x}" for c in value)
