"""The code that applies an event to the columns of its source's features.

Enters: the plans of all sources. Leaves: Python text of ours.
Holds: an event counts in the slot of its own time; only the values of columns are changed here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from engine.core.activity import totals
from engine.core.activity.layout import MAX_SUM, SET_AT
from engine.core.activity.tallies import crop, tally
from engine.core.activity.values import see, set_last, set_mean
from engine.core.contract.events import MAX_AMOUNT_FEN
from engine.core.contract.fields import MAX_QUANTITY, MICRO, micro
from engine.core.firm_time import HOUR_MS, day_of, day_start_ms
from engine.core.language.expressions import Expression
from engine.core.language.types import INTEGER_UNITS
from engine.core.plan.features import Grid, SourcePlan
from engine.core.plan.readers import greatest, in_millionths, least
from engine.core.rules.meaning import filter_meaning
from engine.core.rules.names import activity_code
from engine.core.rules.ruleset import Feature, Since

Condition = Callable[[Expression], str]  # the text of an expression over the event
_STEPS: Final = {
    "count": "{cell} += 1",
    "sum": "{cell} += {value}",
    "min": "{cell} = least({value}, {cell})",
    "max": "{cell} = greatest({value}, {cell})",
    "daily_mean": "set_mean(t, {index}, {at_index}, {value}, at)",
    "top": "{cell}, more = tally({cell}, {value}, {amount}, more)",
}
UPDATERS: Final[dict[str, Callable[..., Any]]] = {
    "see": see,
    "set_last": set_last,
    "set_mean": set_mean,
    "add": totals.add,
    "remember": totals.remember,
    "begin": totals.begin,
    "tally": tally,
    "crop": crop,
    "micro": micro,
    "least": least,
    "greatest": greatest,
    "day_of": day_of,
    "day_start_ms": day_start_ms,
}


def update_lines(source: str, plans: dict[str, SourcePlan], condition: Condition) -> list[str]:
    """Python text that applies event `e` of a source to client `c`; `late` says that its time lies before the client's
    present. Uses `UPDATERS` and `constants`.
    """
    plan = plans[source]
    lines = [f"a = {activity_code(source)}"]
    starts, excluded = _starts(source, plans, condition)
    lines += starts
    if plan.days.layout.windows:
        lines += [f"kept = layout_{source}", "now = c.day", "slot = day_of(e.time) if late else now"]
        lines += _grid_lines(plan.days, "day_start_ms(slot)", condition)
    for index, feature in enumerate(plan.totals):
        value, tests = field_code(feature), has_by(feature)
        counted = f"[{value}, {by_code(feature)}]" if feature.aggregate == "top" else value
        step = f'add(n, "{feature.aggregate}", e.time, {counted})'
        if feature.aggregate in totals.INLINE:
            tests.append(f"e.time >= n[{totals.START}]")
            cell = f"n[{totals.VALUE}]"
            if feature.aggregate == "sum":
                tests.append(_not_full(feature, cell))
            step = _STEPS[feature.aggregate].format(cell=cell, value=value)
            step += f"; remember(n[{totals.TAIL}], e.time, {value})"
        lines += [f"n = a.totals[{index}]", _guarded(feature, value, condition, step, excluded.get(index), tests)]
    if plan.hours:
        lines += ["a = a.hours", f"kept = hour_layout_{source}", f"now = c.now_ms // {HOUR_MS}"]
        lines += [f"slot = e.time // {HOUR_MS} if late else now"]
        lines += _grid_lines(plan.hours, f"slot * {HOUR_MS}", condition)
    return lines or ["pass"]


def _grid_lines(grid: Grid, slot_begins: str, condition: Condition) -> list[str]:
    lines: list[str] = []
    keys = grid.layout.keys[0]
    tops = any(feature.aggregate == "top" for feature in grid.columns)
    if grid.layout.means or grid.lasts:
        lines.append(f"at = e.time - {slot_begins}")
    if grid.columns:
        lines += ["t = a.row(kept, slot) if slot < now else a.today", "if slot >= now: a.touched = True"]
    for index, feature in enumerate(grid.columns):
        value, cell, tests = field_code(feature), f"t[{index}]", has_by(feature)
        at_index = keys.index(keys[index] + SET_AT) if feature.aggregate == "daily_mean" else 0
        if feature.aggregate == "sum":
            tests.append(_not_full(feature, cell))
        elif feature.aggregate == "top":  # a late event of slots that are forgotten is not counted
            tests.append(f'(slot >= now or slot >= a.known.get("{keys[index]}", slot))')
        places = {"cell": cell, "index": index, "at_index": at_index}
        step = _STEPS[feature.aggregate].format(value=value, amount=by_code(feature), **places)
        lines.append(_guarded(feature, value, condition, step, None, tests))
    for index, feature in enumerate(grid.sets):
        value = field_code(feature)
        lines.append(_guarded(feature, value, condition, f"see(a, {index}, {value}, slot, now, kept)"))
    for index, feature in enumerate(grid.lasts):
        value = field_code(feature)
        lines.append(_guarded(feature, value, condition, f"set_last(a, {index}, {value}, slot, at, now, kept)"))
    put = "a.put_row(kept, slot, now, t)" if grid.columns else "a.recompute(kept, now)"
    lines.append(f"if slot < now: {put}")
    return ["more = False", *lines, "if more: crop(a, kept, now)"] if tops else lines


def _starts(source: str, plans: dict[str, SourcePlan], condition: Condition) -> tuple[list[str], dict[int, str]]:
    """Text that begins totals anew when the event they count from comes; for each total of this source whose own event
    it may be, the local name that says whether it was.
    """
    lines: list[str] = []
    found: dict[str, str] = {}  # condition's meaning -> local name
    excluded: dict[int, str] = {}
    for counted, plan in plans.items():
        for index, feature in enumerate(plan.totals):
            since = feature.window
            if not isinstance(since, Since) or since.on != source:
                continue
            text = filter_meaning(since.when)
            if text not in found:
                found[text] = f"s{len(found)}"
                lines.append(f"{found[text]} = {condition(since.when) if since.when else 'True'}")
            counted_code = activity_code(counted)
            begin = f'begin({counted_code}.totals[{index}], "{feature.aggregate}", e.time)'
            lines.append(f"if {found[text]}: {begin}; {counted_code}.packed = None")
            if counted == source:
                excluded[index] = found[text]
    return lines, excluded


def field_code(feature: Feature) -> str:
    if feature.field is None:
        return "1"
    code = feature.of_field.code
    return f"micro({code})" if in_millionths(feature) else code


def by_code(feature: Feature) -> str:
    """What a `top` adds up for an event's value."""
    if feature.asked_by is None:
        return "1"
    code = feature.asked_by.code
    return code if feature.asked_by.type.unit in INTEGER_UNITS else f"micro({code})"


def has_by(feature: Feature) -> list[str]:
    by = feature.asked_by
    return [f"{by.code} is not None"] if by is not None and by.optional else []


def _not_full(feature: Feature, cell: str) -> str:
    """A sum saturates, so that a state can always be stored."""
    most = MAX_SUM - (MAX_QUANTITY * MICRO if in_millionths(feature) else MAX_AMOUNT_FEN)
    return f"{-most} < {cell} < {most}" if feature.bounds[0] < 0 else f"{cell} < {most}"


def _guarded(
    feature: Feature,
    value: str,
    condition: Condition,
    step: str,
    excluded: str | None = None,
    more: list[str] | None = None,
) -> str:
    """The step, for the events that the feature takes."""
    tests = [f"not {excluded}"] if excluded else []
    if feature.where:
        tests.append(condition(feature.where))
    if feature.field and feature.of_field.optional:
        tests.append(f"{value} is not None")
    tests += more or []
    return f"if {' and '.join(tests)}: {step}" if tests else step


def constants(plans: dict[str, SourcePlan]) -> dict[str, Any]:
    """What the text of `update_lines` calls by name, beside `UPDATERS`."""
    found: dict[str, Any] = {f"layout_{source}": plan.layout for source, plan in plans.items()}
    return found | {f"hour_layout_{s}": plan.hours.layout for s, plan in plans.items() if plan.hours}
