"""Reads when a rule is looked at: on events, after silence, when a condition becomes true, at calendar times, in
sequences.

Enters: a rule's fields. Leaves: an Occasion, with the rule's condition.
Holds: a rule has exactly one of the five; its condition fits the names that are known then.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, cast, get_args

from engine.core.contract.topics import inbound_topics, sources
from engine.core.firm_time import WEEKDAYS
from engine.core.language.expressions import BOOL, Expression, Scope
from engine.core.plan.waking import read_by
from engine.core.rules.ruleset import Becomes, Calendar, Every, Sequence, Silence, Step, event_triggers
from engine.rulefile.source.document import Mapping, Node
from engine.rulefile.source.fields import ALWAYS, DAY_S, MINUTE_S, Reader

KINDS: Final = ("on", "silence", "becomes", "at", "sequence")
OCCASION_KEYS: Final = (*KINDS, "when", "for", "repeat_every")
EVERY: Final[tuple[str, ...]] = get_args(Every)
# What of a calendar time may be said beside `every` and `time`.
CALENDAR_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "day": (),
    "week": ("day",),
    "month": ("day",),
    "quarter": ("day",),
    "year": ("month", "day"),
    "birthday": ("before",),
    "maturity": ("before",),
}
YEAR_S: Final = 366 * DAY_S


@dataclass(frozen=True, slots=True)
class Occasion:
    """`on` is empty after a fault."""

    on: tuple[str, ...] = ()
    when: Expression = ALWAYS
    silence: Silence | None = None
    becomes: Becomes | None = None
    at: Calendar | None = None
    sequence: Sequence | None = None


def read_occasion(reader: Reader, node: Node, fields: dict[str, Node], scopes: dict[str, Scope]) -> Occasion:
    given = [key for key in KINDS if key in fields]
    if reader.whole(node, fields) and len(given) != 1:
        message = f"both {given[0]} and {given[1]}" if given else f"missing key {', '.join(KINDS[:-1])} or {KINDS[-1]}"
        reader.problem(fields[given[1]] if given else node, message, "a rule has one of them")
    for key in ("for", "repeat_every"):
        if key in fields and "becomes" not in fields:
            reader.problem(fields[key], f"{key} without becomes", f"write the condition as becomes, or remove {key}")
    if not given:
        return Occasion()
    kind = given[0]
    if kind == "becomes":
        return _becomes(reader, fields, scopes)

    def when(*triggers: str) -> Expression:
        known = {trigger: scopes[trigger] for trigger in triggers}
        return reader.expression_in(fields["when"], known, BOOL) if "when" in fields and known else ALWAYS

    if kind == "silence":
        return Occasion(("silence",), when("silence"), silence=_silence(reader, fields["silence"]))
    if kind == "at":
        calendar = _calendar(reader, fields["at"])
        trigger = "maturity" if calendar.every == "maturity" else "at"
        return Occasion((trigger,), when(trigger), at=calendar)
    if kind == "sequence":
        sequence = _sequence(reader, fields["sequence"], scopes)
        trigger = "timeout" if sequence.absent else f"after_{sequence.then.on}"
        return Occasion((trigger,), when(trigger), sequence=sequence)
    on = reader.choices(fields["on"], event_triggers())
    return Occasion(on, when(*on))


def _silence(reader: Reader, node: Node) -> Silence:
    fields = reader.mapping(node, ("of", "for"))
    days = reader.duration(fields.get("for"), "d", DAY_S, YEAR_S) // DAY_S
    return Silence(reader.choice(fields.get("of"), sources()), days)


def _becomes(reader: Reader, fields: dict[str, Node], scopes: dict[str, Scope]) -> Occasion:
    if "when" in fields:
        reader.problem(fields["when"], "when beside becomes", "join both conditions with and, under becomes")
    condition = reader.expression(fields["becomes"], scopes["becomes"], BOOL)
    for name in read_by(condition, scopes["becomes"]):
        if name.changes == "now":
            remedy = "compare days, such as client.days_since_login, or write a rule with at or silence"
            reader.problem(fields["becomes"], f'"{name.name}" changes all the time', remedy)
            break

    def length(key: str, least_s: int) -> int:
        return reader.duration(fields[key], "mhd", least_s, YEAR_S) if key in fields else 0

    return Occasion(
        ("becomes",), condition, becomes=Becomes(length("for", MINUTE_S), length("repeat_every", 60 * MINUTE_S))
    )


def _calendar(reader: Reader, node: Node) -> Calendar:
    every = "day"
    if isinstance(node, Mapping) and "every" in node.entries:
        every = reader.choice(node.entries["every"][1], EVERY) or "day"
        fields = reader.mapping(node, ("every", "time"), CALENDAR_KEYS[every])
    else:
        fields = reader.mapping(node, ("every", "time"), ("day", "month", "before"))
    day = 1
    if "day" in fields and every == "week":
        weekday = reader.choice(fields["day"], WEEKDAYS)
        day = WEEKDAYS.index(weekday) + 1 if weekday else 1
    elif "day" in fields:
        day = reader.integer(fields["day"], 1, 31)
    return Calendar(
        cast(Every, every),
        day,
        reader.integer(fields["month"], 1, 12) if "month" in fields else 1,
        _minute(reader, fields.get("time")),
        reader.duration(fields["before"], "d", 0, 90 * DAY_S) // DAY_S if "before" in fields else 0,
    )


def _minute(reader: Reader, node: Node | None) -> int:
    scalar = reader.scalar(node)
    found = re.fullmatch(r"([01][0-9]|2[0-3]):([0-5][0-9])", scalar.value) if scalar else None
    if scalar is not None and found is None:
        reader.problem(scalar, f'not a time of day: "{scalar.value[:80]}"', 'write "09:00", in the firm\'s time zone')
    return int(found[1]) * 60 + int(found[2]) if found else 0


def _sequence(reader: Reader, node: Node, scopes: dict[str, Scope]) -> Sequence:
    fields = reader.mapping(node, ("first", "within"), ("then", "without"))
    if reader.whole(node, fields) and ("then" in fields) == ("without" in fields):
        both = "then" in fields
        message = "both then and without" if both else "missing key then, or without"
        reader.problem(fields["without"] if both else node, message, "a sequence has one of them")
    absent = "without" in fields
    return Sequence(
        _step(reader, fields.get("first"), scopes),
        _step(reader, fields.get("without" if absent else "then"), scopes),
        reader.duration(fields.get("within"), "mhd", MINUTE_S, YEAR_S),
        absent,
    )


def _step(reader: Reader, node: Node | None, scopes: dict[str, Scope]) -> Step:
    fields = reader.mapping(node, ("on",), ("when",))
    on = reader.choice(fields.get("on"), inbound_topics()) or "profiles"
    given = "when" in fields and on in scopes
    return Step(on, reader.expression(fields["when"], scopes[on], BOOL) if given else ALWAYS)
