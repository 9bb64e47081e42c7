"""Reads when a rule is evaluated: on events, after silence, without an answer, when a condition becomes true, at
calendar times, in sequences.

Enters: a rule's fields. Leaves: its Occasion and its condition.
Holds: a rule has exactly one of the six; its condition fits the names that are known then.
"""

from __future__ import annotations

import re
from typing import Any, Final, cast, get_args

from engine.core.client.items import LONGEST_MS
from engine.core.contract.events import Severity
from engine.core.contract.outbound import CARED_KINDS
from engine.core.contract.topics import in_order, sources
from engine.core.firm_time import WEEKDAYS
from engine.core.language.expressions import BOOL, Expression, Scope
from engine.core.plan.waking import read_by
from engine.core.rules.names import Scopes
from engine.core.rules.occasion import (
    BUSINESS_DAYS,
    ITEM_KINDS,
    Becomes,
    BeforeMaturity,
    Calendar,
    Care,
    CareAt,
    EscalatedTo,
    Every,
    Hours,
    Occasion,
    OnEvents,
    Reopened,
    Sequence,
    Silence,
    Step,
    Unanswered,
    Until,
    event_triggers,
    on,
)
from engine.rulefile.source.document import Mapping, Node, Scalar
from engine.rulefile.source.fields import ALWAYS, DAY_S, MINUTE_S, RULE, Reader

KINDS: Final = ("on", "silence", "unanswered", "becomes", "at", "sequence")
OCCASION_KEYS: Final = (*KINDS, "when", "for", "repeat_every")
MATURITY: Final = "maturity"  # what a calendar time can be about beside the days of Every
EVERY: Final[tuple[str, ...]] = (*get_args(Every), MATURITY)
# What of a calendar time may be said beside `every` and `time`.
CALENDAR_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "day": (),
    "trading_day": (),
    "working_day": (),
    "week": ("day",),
    "month": ("day",),
    "quarter": ("day",),
    "year": ("month", "day"),
    "birthday": ("before",),
    MATURITY: ("before",),
}
YEAR_S: Final = 366 * DAY_S
LONGEST_S: Final = LONGEST_MS // 1000
UNANSWERED_KEYS: Final = ("until", "hours", "reopened")
UNTIL: Final[tuple[str, ...]] = get_args(Until)
HOURS: Final[tuple[str, ...]] = get_args(Hours)
REOPENED: Final[tuple[str, ...]] = get_args(Reopened)
SEVERITIES: Final[tuple[str, ...]] = get_args(Severity)
CARE_KEYS: Final = ("hours", "until", "ends_when", "remind", "overdue", "escalate")
CARE_UNTIL: Final = ("accepted", "done")
ESCALATE_TO: Final[tuple[str, ...]] = get_args(EscalatedTo)
MAX_REMINDERS: Final = 10


def read_occasion(reader: Reader, node: Node, fields: dict[str, Node], scopes: Scopes) -> tuple[Occasion, Expression]:
    """The occasion, without triggers after a fault, and the condition."""
    given = [key for key in KINDS if key in fields]
    if reader.whole(node, fields) and len(given) != 1:
        message = f"both {given[0]} and {given[1]}" if given else f"missing key {', '.join(KINDS[:-1])} or {KINDS[-1]}"
        reader.problem(fields[given[1]] if given else node, message, "a rule has one of them")
    for key in ("for", "repeat_every"):
        if key in fields and "becomes" not in fields:
            reader.problem(fields[key], f"{key} without becomes", f"write the condition as becomes, or remove {key}")
    occasion: Occasion = OnEvents(())
    match given:
        case ["becomes", *_]:
            return _becomes(reader, fields, scopes)
        case ["silence", *_]:
            occasion = _silence(reader, fields["silence"])
        case ["unanswered", *_]:
            occasion = _unanswered(reader, fields["unanswered"])
        case ["at", *_]:
            occasion = read_calendar(reader, fields["at"])
        case ["sequence", *_]:
            occasion = _sequence(reader, fields["sequence"], scopes)
        case ["on", *_]:
            named = {str(trigger): trigger for trigger in event_triggers(reader.kinds)}
            occasion = OnEvents(tuple(named[name] for name in reader.choices(fields["on"], tuple(named))))
    known = {str(trigger): scopes[trigger] for trigger in occasion.triggers}
    when = reader.expression_in(fields["when"], known, BOOL) if "when" in fields and known else ALWAYS
    return occasion, when


def _silence(reader: Reader, node: Node) -> Silence:
    fields = reader.mapping(node, ("of", "for"))
    days = reader.duration(fields.get("for"), "d", DAY_S, YEAR_S) // DAY_S
    return Silence(reader.choice(fields.get("of"), sources(reader.kinds)), days)


def _unanswered(reader: Reader, node: Node) -> Unanswered:
    """Whether a rule that is named exists is said when all are read."""
    fields = reader.mapping(node, ("of", "for"), UNANSWERED_KEYS)
    kinds = f"{', '.join(ITEM_KINDS)}, or the id of a rule for one of these"
    of = reader.word(fields.get("of"), (RULE[0], kinds))
    hours = _hours(reader, fields.get("hours"))
    until = reader.choice(fields["until"], UNTIL) if "until" in fields else "answered"
    reopened = reader.choice(fields["reopened"], REOPENED) if "reopened" in fields else REOPENED[0]
    for key in ("reopened", "until"):
        said = {"reopened": reopened == REOPENED[1], "until": until == "acknowledged"}[key]
        if said and of and of != "complaint":
            reader.problem(
                fields[key], f"{key}: {fields_text(fields[key])} of no complaint", "only complaints come to that"
            )
    for_s, by_severity = _lengths(reader, fields.get("for"), hours, of)
    return Unanswered(of, for_s, by_severity, cast(Until, until or "answered"), hours, cast(Reopened, reopened))


def fields_text(node: Node) -> str:
    return node.value if isinstance(node, Scalar) else ""


def _hours(reader: Reader, node: Node | None) -> Hours:
    """What a clock counts."""
    if node is None:
        return "all"
    hours = reader.choice(node, HOURS) or "all"
    if hours == "business" and "in_business_hours" not in reader.answers:
        reader.problem(node, *reader.unanswered("in_business_hours"))
    return cast(Hours, hours)


def _length(reader: Reader, node: Node | None, hours: Hours, least_s: int = MINUTE_S) -> int:
    """Seconds. A day of business hours is a working day: more than a day is not written in hours."""
    seconds = reader.duration(node, "mhd", least_s, LONGEST_S)
    if hours == "business" and isinstance(node, Scalar) and not node.value.endswith("d") and seconds >= DAY_S:
        reader.problem(node, f"{node.value} of business hours", "write working days, such as 2d")
    return seconds


def _lengths(reader: Reader, node: Node | None, hours: Hours, of: str) -> tuple[int, tuple[tuple[str, int], ...]]:
    """One length; or those of complaints by severity, and of the others."""
    if not isinstance(node, Mapping):
        return _length(reader, node, hours), ()
    if of and of != "complaint":
        reader.problem(
            node, "lengths by severity of no complaint", "write one, such as 2d: only complaints have a severity"
        )
    fields = reader.mapping(node, ("otherwise",), SEVERITIES)
    by_severity = tuple((name, _length(reader, fields[name], hours)) for name in SEVERITIES if name in fields)
    return _length(reader, fields.get("otherwise"), hours), by_severity


def read_care(reader: Reader, node: Node, audience: str, kind: str, occasion: Occasion, scope: Scope) -> Care:
    """How what a rule sends to staff is seen through."""
    fields = reader.mapping(node, (), CARE_KEYS)
    if audience == "client" or (kind and kind not in CARED_KINDS):
        remedy = "remove it, or let a rule with unanswered follow what clients get"
        reader.problem(node, f"care for a {kind or 'rule'} of audience {audience or '?'}", remedy)
    if not {"remind", "overdue", "escalate"} & fields.keys() and reader.whole(node, fields):
        reader.problem(node, "none of remind, overdue, escalate", "write escalate: [{after: 4h, to: head}]")
    hours = _hours(reader, fields.get("hours"))
    until = reader.choice(fields["until"], CARE_UNTIL) if "until" in fields else CARE_UNTIL[0]
    steps: list[CareAt] = []
    if "remind" in fields:
        steps += _reminders(reader, fields["remind"], hours)
    if "overdue" in fields:
        steps.append(CareAt("overdue", "overdue", None, _length(reader, fields["overdue"], hours)))
    for item in reader.items(fields.get("escalate")):
        said = reader.mapping(item, ("after", "to"))
        to = reader.choice(said.get("to"), ESCALATE_TO)
        if to == "head" and not reader.owners:
            reader.problem(said["to"], "to: head, and there is no teams.yaml", "add it: it says who heads a team")
        if any(step.name == to for step in steps):
            reader.problem(said["to"], f"escalated to {to} twice", "keep one: remind instead")
        steps.append(CareAt(to, "escalated", cast(Any, to) or None, _length(reader, said.get("after"), hours)))
    ends_when = None
    if "ends_when" in fields:
        ends_when = reader.expression(fields["ends_when"], scope, BOOL)
        if isinstance(occasion, Becomes):
            reader.problem(
                fields["ends_when"], "ends_when beside becomes", "remove it: it ends when its condition does"
            )
    return Care(tuple(sorted(steps, key=lambda step: step.wait_s)), cast(Any, until or CARE_UNTIL[0]), hours, ends_when)


def _reminders(reader: Reader, node: Node, hours: Hours) -> list[CareAt]:
    """The first, and how often it is said again."""
    fields = reader.mapping(node, ("after",), ("every", "times"))
    after_s = _length(reader, fields.get("after"), hours)
    times = reader.integer(fields["times"], 1, MAX_REMINDERS) if "times" in fields else 1
    every_s = _length(reader, fields["every"], hours) if "every" in fields else 0
    if (times > 1) != bool(every_s) and reader.whole(node, fields):
        at = fields["every"] if every_s else fields["times"]
        remedy = "write both, such as every: 1d and times: 3"
        reader.problem(at, f"{'every' if every_s else 'times'} alone", remedy)
    if hours == "business" and every_s and (after_s % DAY_S == 0) != (every_s % DAY_S == 0):
        reader.problem(fields["every"], "days after hours, of business hours", "write both in days, or both in hours")
    if after_s + (times - 1) * every_s > LONGEST_S:
        reader.problem(node, "the last would come after 90 days", "remind less often: nothing is open for longer")
    return [CareAt(f"reminder {n + 1}", "reminded", None, after_s + n * every_s) for n in range(times)]


def _becomes(reader: Reader, fields: dict[str, Node], scopes: Scopes) -> tuple[Becomes, Expression]:
    if "when" in fields:
        reader.problem(fields["when"], "when beside becomes", "join both conditions with and, under becomes")
    condition = reader.expression(fields["becomes"], scopes[None], BOOL)
    for name in read_by(condition, scopes[None]):
        if name.changes == "now":
            remedy = "compare days, such as client.days_since_login, or write a rule with at or silence"
            reader.problem(fields["becomes"], f'"{name.name}" changes all the time', remedy)
            break

    def length(key: str, least_s: int) -> int:
        return reader.duration(fields[key], "mhd", least_s, YEAR_S) if key in fields else 0

    return Becomes(length("for", MINUTE_S), length("repeat_every", 60 * MINUTE_S)), condition


def read_calendar(reader: Reader, node: Node, known: tuple[str, ...] = EVERY) -> Calendar | BeforeMaturity:
    every = "day"
    if isinstance(node, Mapping) and "every" in node.entries:
        every = reader.choice(node.entries["every"][1], known)
        if not every:  # what else is right depends on it
            return Calendar("day", 1, 1, 0, 0)
        fields = reader.mapping(node, ("every", "time"), CALENDAR_KEYS[every])
        if every in BUSINESS_DAYS and f"is_{every}" not in reader.answers:
            reader.problem(node.entries["every"][1], *reader.unanswered(f"every: {every}"))
    else:
        fields = reader.mapping(node, ("every", "time"), ("day", "month", "before"))
    day = 1
    if "day" in fields and every == "week":
        weekday = reader.choice(fields["day"], WEEKDAYS)
        day = WEEKDAYS.index(weekday) + 1 if weekday else 1
    elif "day" in fields:
        day = reader.integer(fields["day"], 1, 31)
    month = reader.integer(fields["month"], 1, 12) if "month" in fields else 1
    minute = _minute(reader, fields.get("time"))
    before_days = reader.duration(fields["before"], "d", 0, 90 * DAY_S) // DAY_S if "before" in fields else 0
    if every == MATURITY:
        return BeforeMaturity(minute, before_days)
    return Calendar(cast(Every, every), day, month, minute, before_days)


def _minute(reader: Reader, node: Node | None) -> int:
    scalar = reader.scalar(node)
    found = re.fullmatch(r"([01][0-9]|2[0-3]):([0-5][0-9])", scalar.value) if scalar else None
    if scalar is not None and found is None:
        minutes = int(scalar.value) if re.fullmatch("[0-9]{1,4}", scalar.value) else 24 * 60
        meant = (
            f"{minutes // 60:02}:{minutes % 60:02}" if minutes < 24 * 60 else "09:00"
        )  # YAML 1.1 reads it as minutes
        reader.wrong(scalar, f'not a time of day: "{scalar.value[:80]}"', f'write "{meant}", in the firm\'s time zone')
    return int(found[1]) * 60 + int(found[2]) if found else 0


def _sequence(reader: Reader, node: Node, scopes: Scopes) -> Sequence:
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


def _step(reader: Reader, node: Node | None, scopes: Scopes) -> Step:
    fields = reader.mapping(node, ("on",), ("when",))
    topic = reader.choice(fields.get("on"), in_order(reader.kinds)) or "profiles"
    return Step(topic, reader.expression(fields["when"], scopes[on(topic)], BOOL) if "when" in fields else ALWAYS)
