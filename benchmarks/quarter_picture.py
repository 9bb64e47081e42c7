"""A quarter of advisors as SVG: each one's load by day, and how long tier A waited by week.

Enters: shares of capacity by advisor and day; median, nine of ten and the longest wait in hours by week. Leaves: SVG.
Holds: it stands alone, in light and dark; no script, nothing from elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

WIDTH, HEIGHT, LEFT, RIGHT = 720, 480, 56, 12
LOADS: Final = 40, 260  # top and bottom of the upper panel
WAITS: Final = 320, 440
STYLE: Final = """
svg { --paper: #fff; --ink: #1b2430; --faint: #5c6875; --line: #dde2e8;
  --one: #3566b0; --all: #b3541e; --half: #1f7a54; }
@media (prefers-color-scheme: dark) { svg { --paper: #14191f; --ink: #e4e9ef; --faint: #9aa7b4; --line: #2e3843;
  --one: #7ba6ea; --all: #e08a4f; --half: #4cbf8d; } }
rect.paper { fill: var(--paper); } text { fill: var(--ink); font: 13px system-ui, sans-serif; }
.small { fill: var(--faint); font-size: 11px; } .line { stroke: var(--line); } .full { stroke: var(--ink); }
.one { fill: none; stroke: var(--one); stroke-opacity: .25; }
.mean { fill: none; stroke: var(--all); stroke-width: 2.5; }
.most { fill: var(--one); fill-opacity: .4; } .half { fill: var(--half); }
"""
Waits = Sequence[tuple[int, tuple[float, float, float]]]


def picture(loads: Mapping[str, Sequence[float]], waits: Waits) -> str:
    parts = [*_loads(loads), *_waits(waits)]
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Advisors over a quarter"'
    paper = f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n<style>{STYLE}</style>'
    return "\n".join((head, paper, *parts, "</svg>\n"))


def _loads(loads: Mapping[str, Sequence[float]]) -> Iterator[str]:
    top, bottom = LOADS
    days = len(next(iter(loads.values())))

    def at(day: int, share: float) -> str:
        return f"{_across(day, days - 1):.1f},{bottom - share * (bottom - top):.1f}"

    yield f'<text x="{LEFT}" y="22">Load of each of {len(loads)} advisors, and their mean, by day</text>'
    for percent in (0, 25, 50, 75, 100):
        y = bottom - percent / 100 * (bottom - top)
        yield _rule(y, "full" if percent == 100 else "line", f"{percent}%")
    for of_days in loads.values():
        yield f'<polyline class="one" points="{" ".join(at(day, share) for day, share in enumerate(of_days))}"/>'
    means = [sum(of_days[day] for of_days in loads.values()) / len(loads) for day in range(days)]
    yield f'<polyline class="mean" points="{" ".join(at(day, share) for day, share in enumerate(means))}"/>'
    for day in range(0, days, 14):
        yield _below(_across(day, days - 1), bottom, f"day {day + 1}")


def _waits(waits: Waits) -> Iterator[str]:
    top, bottom = WAITS
    highest = max(1.0, *(quantiles[1] for _, quantiles in waits))
    said = "Tier A waits, in hours by week: nine of ten within (wide), the median (narrow)"
    yield f'<text x="{LEFT}" y="{top - 14}">{said}</text>'
    for share in (0.0, 0.5, 1.0):
        yield _rule(bottom - share * (bottom - top), "line", f"{highest * share:.3g} h")
    each = (WIDTH - LEFT - RIGHT) / len(waits)
    for place, (number, (half, most, _)) in enumerate(waits):
        middle = LEFT + (place + 0.5) * each
        for name, hours, wide in (("most", most, each * 0.6), ("half", half, each * 0.25)):
            high = hours / highest * (bottom - top)
            yield (
                f'<rect class="{name}" x="{middle - wide / 2:.1f}" y="{bottom - high:.1f}" width="{wide:.1f}" '
                f'height="{high:.1f}"><title>week {number}: {hours:.1f} h</title></rect>'
            )
        yield _below(middle, bottom, str(number))


def _below(x: float, bottom: int, said: str) -> str:
    return f'<text class="small" text-anchor="middle" x="{x:.1f}" y="{bottom + 16}">{said}</text>'


def _across(day: int, last: int) -> float:
    return LEFT + day / max(last, 1) * (WIDTH - LEFT - RIGHT)


def _rule(y: float, name: str, said: str) -> str:
    line = f'<line class="{name}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return f'{line}<text class="small" text-anchor="end" x="{LEFT - 6}" y="{y + 4:.1f}">{said}</text>'
