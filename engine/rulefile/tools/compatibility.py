"""What a change of declared event types does to records: those on the topic, and those that producers still send.

Enters: the active set and the one that follows. Leaves: a sentence for each change by which records of the old form are
refused, or lose what they say.
Holds: a change of which nothing is said reads every record that was read before, with the same values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from engine.core.rules.event_types import OTHER, EventField, EventType, bounds_of
from engine.core.rules.ruleset import RuleSet

WIDER = {("id", "text"), ("enum", "text")}  # from kind to kind: what fitted still does


def broken(old: RuleSet, new: RuleSet) -> tuple[str, ...]:
    after = {event_type.name: event_type for event_type in new.event_types}
    return tuple(said for before in old.event_types for said in _of_type(before, after.get(before.name)))


def _of_type(before: EventType, after: EventType | None) -> Iterator[str]:
    if after is None:
        yield f"event type {before.name} is removed: its records become dead letters, unknown_type"
        return
    known = {field.name: field for field in before.fields}
    for field in after.fields:
        was = known.get(field.name)
        for said in _added(field) if was is None else _changed(was, field):
            yield f"event type {before.name}: {said}"


def _added(field: EventField) -> Iterable[str]:
    if field.required:
        yield f"{field.name} is new and required: records without it become dead letters"


def _changed(before: EventField, after: EventField) -> Iterable[str]:
    name = after.name
    lost = "become dead letters" if after.required else f"lose their {name}"
    if after.required and not before.required:
        yield f"{name} becomes required: records without it become dead letters"
    if after.kind != before.kind:
        if (before.kind, after.kind) not in WIDER:
            yield f"{name} was {_a(before.kind)} and is {_a(after.kind)}: records of the old form {lost}"
        return
    if after.unit != before.unit:
        yield f"{name} was in {before.unit or 'no unit'} and is in {after.unit or 'none'}: check what producers send"
        if after.whole and not before.whole:
            yield f"{name} is whole now: records with decimals {lost}"
    if after.kind in ("number", "money"):
        (least, most), (least_now, most_now) = _bounds(before), _bounds(after)
        if least_now > least or most_now < most:
            yield f"{name} has narrower bounds: records beyond them {lost}"
    gone = [value for value in before.values if value not in after.values]
    if gone and OTHER in after.values:
        yield f"{name} has lost {', '.join(gone)}: records with it count as other"
    elif gone:
        yield f"{name} has lost {', '.join(gone)}: records with it {lost}"


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _bounds(field: EventField) -> tuple[float, float]:
    least, most = bounds_of(field)
    return (field.least or 0, most) if field.kind == "money" else (least, most)
