"""The parts of a client's score, as they are kept with the client and shown.

Enters: what is stored of each dimension. Leaves: points.
Holds: the points of all parts add up to the score, if no part is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.core.contract.fields import DIMENSIONS


@dataclass(frozen=True, slots=True)
class ScorePoints:
    """A part of the score: from 0 to 100, what of 100 it weighs, and the points that makes."""

    name: str
    weight: int | float
    value: int | float | None
    otherwise: int | float | None  # what counts where there is no value

    @property
    def points(self) -> float | None:
        counted = self.otherwise if self.value is None else self.value
        return None if counted is None else self.weight * counted / 100

    def as_json(self) -> dict[str, Any]:
        return {
            "part": self.name,
            "value": _short(self.value),
            "weight": self.weight,
            "points": _short(self.points),
            **({"otherwise": self.otherwise} if self.value is None else {}),
        }

    def __str__(self) -> str:
        value = "missing" if self.value is None else f"{_short(self.value):g} of 100"
        if self.value is None and self.otherwise is not None:
            value += f", counts as {self.otherwise:g}"
        points = "no points" if self.points is None else f"{_short(self.points):g} points"
        return f"{self.name:<9}  {value}, weight {self.weight:g}: {points}"


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def score_points(stored: Sequence[Any] | None) -> list[ScorePoints]:
    """Of each dimension that counts: `stored` has its weight and value, and what counts without one; or None."""
    return [ScorePoints(name, *part) for name, part in zip(DIMENSIONS, stored or (), strict=False) if part]
