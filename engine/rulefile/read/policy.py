"""Reads policy.yaml: classes, caps, quiet hours, and what `contact:` of the first release says.

Enters: the file's root node; afterwards the rules. Leaves: a ContactPolicy, without its expressions: see tables.py.
Holds: a name that no class, channel, kind, team, tag or rule has is a fault, since what it limits would not be limited.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, cast, get_args

from engine.core.contract.events import Channel, Kind
from engine.core.contract.outbound import Outcome
from engine.core.firm_time import HOUR_MS, MINUTE_MS, WEEKDAYS
from engine.core.rules.policy import (
    CLASSES,
    LONGEST_CAP_DAYS,
    REGULATORY,
    Bounds,
    Breaker,
    Cap,
    ContactClass,
    ContactPolicy,
    Exemption,
    Holdout,
    Per,
    Purpose,
    QuietHours,
    Rate,
    Rest,
    Selection,
    WhenQuiet,
    Zone,
    daily_cap,
)
from engine.core.rules.ruleset import Rule
from engine.rulefile.read.definitions import SPAN
from engine.rulefile.roster.budgets import read_budgets
from engine.rulefile.source.document import Listing, Node, Scalar
from engine.rulefile.source.fields import DAY_S, HOUR_S, IDENTIFIER, KEBAB, MINUTE_S, OWNER, RULE, Reader, nearest

CHANNELS: Final[tuple[str, ...]] = get_args(Channel)
KINDS: Final[tuple[str, ...]] = get_args(Kind)
PURPOSES: Final[tuple[str, ...]] = get_args(Purpose)
EXEMPTIONS: Final[tuple[str, ...]] = get_args(Exemption)
BY_LAW: Final = ("consent", "do_not_contact")  # what only the class regulatory can be exempt from
WHEN_QUIET: Final[tuple[str, ...]] = get_args(WhenQuiet)
PERS: Final[tuple[str, ...]] = get_args(Per)
ZONES: Final[tuple[str, ...]] = get_args(Zone)
CLASS_OR_RULE: Final = ("[a-z][a-z0-9_-]*", "a class of this file, or the id of a rule")
BOOLEANS: Final = ("true", "false")
POLICY_KEYS: Final = (
    "contact", "classes", "caps", "quiet_hours", "release_over", "rates", "holdout", "suitability", "rests",
    "answers", "breaker", "publishing", "decisions", "budgets",
)  # fmt: skip
CLASS_KEYS: Final = (
    "exempt", "counts", "purpose", "when_quiet", "collect", "channels", "holdout", "same_text", "by_answers",
    "not_while",
)  # fmt: skip
HOLDOUT_KEYS: Final = ("share", "salt")
CAP_KEYS: Final = ("per", "within", "zone", "of", "reserve", "spare_from")
RATE_KEYS: Final = ("at_most", "per", "of")
RATE_PERS: Final = {"minute": MINUTE_MS, "hour": HOUR_MS}
QUIET_KEYS: Final = ("hours", "days", "zone", "of")
BREAKER_KEYS: Final = ("each_rule", "all", "except")
ALL_KEYS: Final = ("per_minute", "per_hour")
BOUND_KEYS: Final = (*ALL_KEYS, "times_usual", "usual_from")
OF_KEYS: Final = ("kind", "class", "channel", "tag", "team", "rule")
HOLIDAYS: Final = "holidays"
FOR_CALENDAR: Final = "calendar"
PUBLISHING_KEYS: Final = ("approval", "ask_above", "approve_above")
MAX_CLIENTS: Final = 1_000_000_000
MAX_TIMES: Final = 1_000
DECISIONS_KEYS: Final = ("publish", "leave_out")
# What stops an action at once. The end of what was held is published in any case.
REFUSALS: Final = tuple(
    outcome.value
    for outcome in Outcome
    if outcome not in (Outcome.SENT, Outcome.HELD, Outcome.NO_LONGER_TRUE, Outcome.RETRACTED)
)
LONGEST_COLLECT_S: Final = DAY_S
LONGEST_TEXT_S: Final = 90 * DAY_S
REST_KEYS: Final = ("after", "for")
MAX_FAILURES: Final = 10
LONGEST_REST_S: Final = 366 * DAY_S


def read_policy(reader: Reader, root: Node) -> ContactPolicy:
    fields = reader.mapping(root, (), POLICY_KEYS)
    if reader.whole(root, fields) and not {"contact", "caps"} & fields.keys():
        reader.problem(root, "neither contact nor caps", "write contact: {daily_cap: 2}, or caps by name")
    caps: list[Cap] = []
    if "contact" in fields:
        contact = reader.mapping(fields["contact"], ("daily_cap",), ("urgent_from",))
        urgent_from = reader.integer(contact["urgent_from"], 1, 100) if "urgent_from" in contact else None
        caps.append(daily_cap(reader.integer(contact.get("daily_cap"), 0, 100), urgent_from))
    classes = _classes(reader, fields["classes"]) if "classes" in fields else CLASSES
    known = tuple(one.name for one in classes)
    for key, node in reader.entries(fields.get("caps")):
        caps.append(_cap(reader, reader.word(key, IDENTIFIER), node, known))
        if caps[-1].name == "daily_cap":
            reader.problem(key, "daily_cap is what contact: says", "choose another name")
    quiet = tuple(
        _quiet(reader, reader.word(key, IDENTIFIER), node, known)
        for key, node in reader.entries(fields.get("quiet_hours"))
    )
    rates = tuple(
        _rate(reader, reader.word(key, IDENTIFIER), node, known) for key, node in reader.entries(fields.get("rates"))
    )
    release = reader.duration(fields["release_over"], "mh", MINUTE_S, 12 * HOUR_S) if "release_over" in fields else 0
    holdout = read_holdout(reader, fields["holdout"]) if "holdout" in fields else None
    breaker = _breaker(reader, fields["breaker"], known) if "breaker" in fields else None
    publishing = reader.mapping(fields.get("publishing"), (), PUBLISHING_KEYS)
    approval = reader.choice(publishing["approval"], BOOLEANS) if "approval" in publishing else "false"
    ask, approve = (
        reader.integer(publishing[key], 0, MAX_CLIENTS) if key in publishing else None for key in PUBLISHING_KEYS[1:]
    )
    decisions = reader.mapping(fields.get("decisions"), (), DECISIONS_KEYS)
    publish = reader.choice(decisions["publish"], BOOLEANS) != "false" if "publish" in decisions else True
    left_out = reader.choices(decisions.get("leave_out"), REFUSALS)
    if left_out and not publish:
        reader.problem(decisions["leave_out"], "leave_out beside publish: false", "leave one of them out")
    return ContactPolicy(
        caps=tuple(caps),
        classes=classes,
        quiet_hours=quiet,
        rates=rates,
        budgets=read_budgets(reader, fields.get("budgets"), lambda of: _selection(reader, of, known)),
        release_over_s=release,
        holdout=holdout,
        rests=_rests(reader, fields["rests"]) if "rests" in fields else (),
        breaker=breaker,
        approval=approval == "true",
        ask_above=ask or 0,
        approve_above=approve,
        decisions=publish,
        left_out=tuple(map(Outcome, left_out)),
    )


def _classes(reader: Reader, node: Node) -> tuple[ContactClass, ...]:
    entries = reader.entries(node)
    if not entries:
        reader.problem(node, "no classes", "declare at least one, the most important first, or leave classes out")
    return tuple(_class(reader, reader.word(key, IDENTIFIER), value) for key, value in entries) or CLASSES


def _class(reader: Reader, name: str, node: Node) -> ContactClass:
    usual = next((one for one in CLASSES if one.name == name), ContactClass(name))
    fields = reader.mapping(node, (), CLASS_KEYS) if not (isinstance(node, Scalar) and not node.value) else {}
    exempt = cast("tuple[Exemption, ...]", reader.choices(fields["exempt"], EXEMPTIONS)) if "exempt" in fields else ()
    channels = reader.choices(fields["channels"], CHANNELS) if "channels" in fields else ()
    for item in _values(fields.get("exempt")):
        if item.value in BY_LAW and name != REGULATORY:
            remedy = f"leave it out: only the class {REGULATORY} can be, for what the law asks for"
            reader.problem(item, f"class {name} exempt from {item.value}", remedy)
    if channels and "consent" not in exempt:
        remedy = "leave them out, or add consent to exempt: they are what is used without the client's agreement"
        reader.problem(fields["channels"], f"channels of class {name}, which asks for consent", remedy)
    if "consent" in exempt and "channels" not in fields:
        reader.problem(node, "exempt from consent on any channel", f"list channels: some of {', '.join(CHANNELS)}")
    purpose = reader.choice(fields["purpose"], PURPOSES) if "purpose" in fields else usual.purpose
    when_quiet = reader.choice(fields["when_quiet"], WHEN_QUIET) if "when_quiet" in fields else "drop"
    return ContactClass(
        name,
        exempt,
        reader.choice(fields["counts"], BOOLEANS) != "false" if "counts" in fields else True,
        cast(Purpose, purpose or usual.purpose),
        cast(WhenQuiet, when_quiet or "drop"),
        reader.duration(fields["collect"], "mh", MINUTE_S, LONGEST_COLLECT_S) if "collect" in fields else 0,
        channels,
        reader.choice(fields["holdout"], BOOLEANS) != "false" if "holdout" in fields else usual.holdout,
        read_same_text(reader, fields["same_text"]) if "same_text" in fields else 0,
        reader.choice(fields["by_answers"], BOOLEANS) == "true" if "by_answers" in fields else False,
    )


def _rests(reader: Reader, node: Node) -> tuple[Rest, ...]:
    found = []
    for key, value in reader.entries(node):
        channel = reader.choice(key, CHANNELS)
        fields = reader.mapping(value, REST_KEYS)
        failures = reader.integer(fields.get("after"), 1, MAX_FAILURES)
        found.append(Rest(channel, failures, reader.duration(fields.get("for"), "hd", HOUR_S, LONGEST_REST_S)))
    return tuple(found)


def read_same_text(reader: Reader, node: Node) -> int:
    """Of a class, or of a rule."""
    return reader.duration(node, "hd", HOUR_S, LONGEST_TEXT_S)


def _breaker(reader: Reader, node: Node, classes: tuple[str, ...]) -> Breaker:
    fields = reader.mapping(node, (), BREAKER_KEYS)
    if reader.whole(node, fields) and not {"each_rule", "all"} & fields.keys():
        reader.problem(node, "neither each_rule nor all", "write each_rule: {per_minute: 5_000}")
    listed = fields.get("except")
    items = [] if listed is None else reader.items(listed) if isinstance(listed, Listing) else [listed]
    usual = (REGULATORY,) if listed is None and REGULATORY in classes else ()
    return Breaker(
        read_bounds(reader, fields["each_rule"]) if "each_rule" in fields else Bounds(),
        read_bounds(reader, fields["all"], ALL_KEYS) if "all" in fields else Bounds(),
        usual or tuple(reader.word(item, CLASS_OR_RULE) for item in items),
    )


def read_bounds(reader: Reader, node: Node, keys: tuple[str, ...] = BOUND_KEYS) -> Bounds:
    fields = reader.mapping(node, (), keys)
    if reader.whole(node, fields) and not {*fields} & {*keys[:3]}:
        reader.problem(node, f"none of {', '.join(keys[:3])}", "write per_minute: 5_000")
    if "usual_from" in fields and "times_usual" not in fields:
        reader.problem(fields["usual_from"], "usual_from without times_usual", "add it, such as times_usual: 10")
    per_minute, per_hour = (reader.integer(fields[key], 1, MAX_CLIENTS) if key in fields else None for key in ALL_KEYS)
    if per_minute is not None and per_hour is not None and per_hour >= 60 * per_minute:
        reader.problem(
            fields["per_hour"], f"{per_hour} in an hour, and {per_minute} in a minute", "write less than 60 times that"
        )
    return Bounds(
        per_minute,
        per_hour,
        reader.integer(fields["times_usual"], 2, MAX_TIMES) if "times_usual" in fields else None,
        reader.integer(fields["usual_from"], 1, MAX_CLIENTS) if "usual_from" in fields else Bounds().usual_from,
    )


def read_holdout(reader: Reader, node: Node) -> Holdout:
    """Of policy.yaml, or of a rule."""
    fields = reader.mapping(node, HOLDOUT_KEYS)
    share = reader.number(fields["share"]) if "share" in fields else 0
    if not 0 <= share <= 1:
        reader.problem(fields["share"], f"{share} is out of range", "write a share from 0 to 1, such as 0.05")
    return Holdout(reader.word(fields.get("salt"), KEBAB), share)


def _cap(reader: Reader, name: str, node: Node, classes: tuple[str, ...]) -> Cap:
    fields = reader.mapping(node, ("at_most",), CAP_KEYS)
    if reader.whole(node, fields) and ("per" in fields) == ("within" in fields):
        remedy = "write per: day, or within: 24h for the time up to now"
        reader.problem(node, "neither per nor within" if "per" not in fields else "per beside within", remedy)
    if "zone" in fields and "within" in fields:
        reader.problem(fields["zone"], "zone beside within", "leave it out: the same time up to now is in all zones")
    reserve, for_calendar = _reserves(reader, fields["reserve"]) if "reserve" in fields else ({}, False)
    at_most = reader.integer(fields.get("at_most"), 0, 1000)
    reserved = reader.integer(reserve["slots"], 1, 1000) if "slots" in reserve else 0
    reserved_for = reader.choice(reserve["for"], classes) if "for" in reserve else ""
    if reserved > at_most and "slots" in reserve:
        reader.problem(reserve["slots"], f"{reserved} of {at_most} reserved", f"reserve at most {at_most}")
    if reserved_for and reserved_for == classes[-1]:
        reader.problem(reserve["for"], f"{reserved_for} is the last class", "reserve for one that stands above others")
    return Cap(
        name,
        at_most,
        cast(Per, reader.choice(fields["per"], PERS) or "day") if "per" in fields else None,
        reader.duration(fields["within"], "mhd", MINUTE_S, LONGEST_CAP_DAYS * DAY_S) if "within" in fields else 0,
        cast(Zone, reader.choice(fields["zone"], ZONES) or "firm") if "zone" in fields else "firm",
        _selection(reader, fields.get("of"), classes),
        reserved,
        reserved_for or classes[0],
        for_calendar,
        reader.integer(fields["spare_from"], 1, 100) if "spare_from" in fields else None,
    )


def _rate(reader: Reader, name: str, node: Node, classes: tuple[str, ...]) -> Rate:
    fields = reader.mapping(node, RATE_KEYS[:2], RATE_KEYS[2:])
    at_most = reader.integer(fields.get("at_most"), 1, MAX_CLIENTS)
    per = reader.choice(fields.get("per"), tuple(RATE_PERS)) or "minute"
    return Rate(name, max(at_most, 1), RATE_PERS[per], _selection(reader, fields.get("of"), classes))


def _reserves(reader: Reader, node: Node) -> tuple[dict[str, Node], bool]:
    """For a class, and whether for the calendar: one of them, or a list of both."""
    of_class: dict[str, Node] = {}
    for_calendar = False
    for item in node.items if isinstance(node, Listing) else [node]:
        fields = reader.mapping(item, ("for",), ("slots",))
        said = fields.get("for")
        if "slots" in fields and of_class:
            reader.problem(item, "reserved for two classes", "name the lower one: those above it are meant too")
        elif "slots" in fields:
            of_class = fields
        elif isinstance(said, Scalar) and said.value == FOR_CALENDAR:
            for_calendar = True
        elif reader.whole(item, fields):
            reader.problem(item, "missing key slots", f"add it: how many; or write for: {FOR_CALENDAR}")
    return of_class, for_calendar


def _quiet(reader: Reader, name: str, node: Node, classes: tuple[str, ...]) -> QuietHours:
    fields = reader.mapping(node, (), QUIET_KEYS)
    listed = fields.get("days")
    of = _selection(reader, fields.get("of"), classes)
    zone = cast(Zone, reader.choice(fields["zone"], ZONES) or "client") if "zone" in fields else "client"
    if isinstance(listed, Scalar) and listed.value == HOLIDAYS:
        for key in ("hours", "zone"):
            if key in fields:
                reader.problem(fields[key], f"{key} beside days: holidays", "leave it out: it is the firm's whole day")
        if not reader.answers:
            remedy = "add calendar.yaml: it says which days are working days"
            reader.problem(listed, "holidays, and there is no calendar.yaml", remedy)
        return QuietHours(name, 0, 24 * 60, (), True, "firm", of)
    if "hours" not in fields and reader.whole(node, fields):
        reader.problem(node, "missing key hours", 'add it, such as hours: "21:30-08:30", or days: holidays')
    begin, until = _span(reader, fields.get("hours"))
    days = reader.choices(listed, WEEKDAYS) if listed is not None else ()
    return QuietHours(name, begin, until, tuple(WEEKDAYS.index(day) for day in days), False, zone, of)


def _span(reader: Reader, node: Node | None) -> tuple[int, int]:
    scalar = reader.scalar(node)
    if scalar is None:
        return 0, 1
    begin, _, until = scalar.value.partition("-")
    if SPAN.fullmatch(scalar.value) and begin != until:
        return int(begin[:2]) * 60 + int(begin[3:]), int(until[:2]) * 60 + int(until[3:])
    remedy = 'write "00:00-24:00" for whole days' if begin == until else 'write a text such as "21:30-08:30"'
    reader.wrong(scalar, f'not a span of the day: "{scalar.value[:40]}"', remedy)
    return 0, 1


def _selection(reader: Reader, node: Node | None, classes: tuple[str, ...]) -> Selection:
    fields = reader.mapping(node, (), OF_KEYS) if node is not None else {}

    def free(key: str, form: tuple[str, str]) -> tuple[str, ...]:
        found = fields.get(key)
        nodes = [] if found is None else reader.items(found) if isinstance(found, Listing) else [found]
        return tuple(reader.word(item, form) for item in nodes)

    def among(key: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
        return reader.choices(fields[key], allowed) if key in fields else ()

    return Selection(
        among("kind", KINDS),
        among("class", classes),
        among("channel", CHANNELS),
        free("tag", KEBAB),
        free("team", OWNER),
        free("rule", RULE),
    )


def check_names(reader: Reader, root: Node, rules: Sequence[Rule], classes: Iterable[str]) -> None:
    """That the rules, tags and teams that policy.yaml names are there."""
    known: dict[str, set[str]] = {
        "rule": {name for rule in rules for name in (rule.id, *rule.was)},
        "tag": {tag for rule in rules for tag in rule.tags},
        "team": set(reader.owners) or {rule.owner for rule in rules},
        "campaign": {rule.campaign for rule in rules if rule.campaign},
    }
    allowed = {*classes, *known["rule"]}
    for item in _values(_at(root, "breaker", "except")):
        if item.value not in allowed:
            remedy = nearest(item.value, sorted(allowed))
            reader.problem(item, f'neither a class nor a rule: "{item.value[:80]}"', remedy)
    for node in _selections(root):
        for key, names in known.items():
            for item in _values(node.get(key)):
                if item.value not in names:
                    said = "there is no team" if key == "team" and reader.owners else f"no rule has {key}"
                    remedy = nearest(item.value, sorted(names)) if names else f"give a rule the {key}, or leave it out"
                    reader.problem(item, f'{said} "{item.value[:80]}"', remedy)


def _selections(root: Any) -> Iterable[dict[str, Node]]:
    for section in ("caps", "quiet_hours", "rates", "budgets"):
        for _, entry in getattr(_at(root, section), "entries", {}).values():
            yield {key: value for key, (_, value) in getattr(_at(entry, "of"), "entries", {}).items()}


def _at(node: Any, *path: str) -> Any:
    for key in path:
        _, node = getattr(node, "entries", {}).get(key, (None, None))
    return node


def _values(node: Node | None) -> list[Scalar]:
    items = node.items if isinstance(node, Listing) else [node]
    return [item for item in items if isinstance(item, Scalar)]
