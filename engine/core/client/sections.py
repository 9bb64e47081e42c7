"""How a client's state is stored: named sections, each with a version and its fields by name.

Enters: a layout and a ClientState, or its bytes. Leaves: the other one.
Holds: `unpack(layout, pack(layout, c))` gives `c` again. A section or field that is absent is blank; a section that is
not known, of a newer release, is kept as it is. A section of an older version is read by its converters, one from each
version to the next. The bytes depend only on the client's own events, not on batches, partitions or the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from operator import attrgetter
from typing import Any, Final

import msgspec

from engine.core.activity.activities import Activities, read
from engine.core.activity.packing import from_positions, last_of, unknown_until
from engine.core.client import contacts, overrides
from engine.core.client.items import ABOUT, JOURNEY, KIND, SEEN, STANDS
from engine.core.client.state import ClientState, Layout, NewerState
from engine.core.contract.actions import ACTIONS
from engine.core.contract.profiles import CONSENTS
from engine.core.contract.topics import TOPICS
from engine.core.firm_time import HOUR_MS, NEVER_MS, day_of, day_start_ms

STATE_VERSION: Final = 3
ACTIVITY_VERSION: Final = 2
SAID: Final = "said"
ACTIVITY: Final = "@"  # begins the name of a built-in topic's section
DECLARED: Final = "#"  # begins that of a declared type's
_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder().decode
Body = dict[str, Any]  # the fields of a section, by the names they are stored under


@dataclass(frozen=True, slots=True)
class Section:
    """Fields of ClientState: each with the name it is stored under, and the value that is left out."""

    name: str
    version: int
    fields: tuple[tuple[str, str, Any], ...]
    kept_packed: bool = False  # its values are never changed in place: when they are the same, so are the bytes
    converters: Mapping[int, Callable[[Body], Body]] = field(default_factory=dict)  # from this version to the next
    attribute_of: Mapping[str, str] = field(init=False)
    values: Callable[[Any], tuple[Any, ...]] = field(init=False)  # those of all fields, to be compared

    def __post_init__(self) -> None:
        object.__setattr__(self, "attribute_of", {name: attribute for attribute, name, _ in self.fields})
        object.__setattr__(self, "values", attrgetter("client_id", *(attribute for attribute, _, _ in self.fields)))

    def unpack(self, version: int, body: Body) -> Body:
        if version > self.version:
            raise NewerState(f"section {self.name} has version {version}, this engine reads up to {self.version}")
        for older in range(version, self.version):
            body = self.converters[older](body)
        return body


def _by_time(said_ms: dict[str, int]) -> dict[int, str]:
    """When facts were set, as it is stored: usually many have the same time. In one order, whatever the dict's."""
    by_time: dict[int, str] = dict.fromkeys(sorted(set(said_ms.values())), "")
    for fact, stored in _FACTS.items():
        if fact in said_ms:
            by_time[said_ms[fact]] += stored
    return by_time


def _by_fact(by_time: dict[int, str]) -> dict[str, int]:
    return {_FACT_OF[stored]: time_ms for time_ms, facts in by_time.items() for stored in facts}


def _without_products(body: Body) -> Body:
    """Version 1 did not keep what kind of product a holding is."""
    return {"h": [[*holding, None] for holding in body.get("h", [])]}


def _from_counts(body: Body) -> Body:
    """Version 1 kept only how many contacts came on the last day with any."""
    day, count = body.pop("d", 0), body.pop("n", 0)
    return {**body, "c": {"": [day_start_ms(day)] * count}} if count else body


SECTIONS: Final = (
    Section(
        "time",
        1,
        (
            ("sequence", "q", 0), ("since_ms", "s", 0), ("now_ms", "n", 0), ("due_ms", "d", NEVER_MS),
            ("review_ms", "r", NEVER_MS), ("late", "l", []), ("decided_ms", "w", 0),
        ),
    ),
    Section(
        "facts",
        1,
        (
            ("type", "t", None), ("age_band", "a", None), ("region", "r", None), ("risk_level", "k", None),
            ("consents", "c", ()), ("language", "l", None), ("time_zone", "z", None), ("advisor_id", "v", None),
            ("birth_date", "b", None), ("assets_fen", "f", None), ("cash_fen", "h", None), ("margin_ratio", "m", None),
            ("assets_peak_fen", "peak", None), ("said_ms", "said", {}), ("opted_out", "out", {}),
            ("marketing_consents", "M", None), ("service_consents", "S", None), ("risk_consents", "R", None),
            ("consent_sources", "from", {}), ("advisor_before", "w", None), ("advisor_changed_ms", "W", None),
        ),
        kept_packed=True,
    ),
    Section(
        "tier",
        1,
        (
            ("tier", "t", None), ("tier_since_ms", "s", None), ("tier_history", "h", []), ("segment", "g", None),
            ("value_score", "v", None), ("score_parts", "p", None), ("tier_before", "b", None),
            ("tier_risk", "k", None),
        ),
        kept_packed=True,
    ),
    Section(
        "portrait",
        1,
        (("stage", "s", None), ("stage_since_ms", "t", None), ("portrait", "p", None)),
        kept_packed=True,
    ),
    Section(
        "memory",
        1,
        (
            ("acted", "a", {}), ("silenced", "s", {}), ("held", "h", {}), ("waits", "w", {}), ("first_steps", "f", {}),
        ),
    ),
    Section(
        "contacts",
        2,
        (("contacts", "c", {}), ("waiting", "w", []), ("recent", "r", []), ("texts", "x", {}), ("failures", "f", {})),
        converters={1: _from_counts},
    ),
    Section("holdings", 2, (("holdings", "h", []),), converters={1: _without_products}),
    Section("items", 2, (("items", "i", []),), converters={1: dict}),  # version 1 did not see them through
    Section("journeys", 1, (("journeys", "j", []),)),
    Section("accounts", 1, (("accounts", "a", {}), ("accounts_dropped", "d", 0)), kept_packed=True),
    Section("positions", 1, (("positions", "p", {}), ("positions_dropped", "d", 0)), kept_packed=True),
    Section("overrides", 1, (("overrides", "o", {}),)),
    Section("events", 1, (("event_ids", "i", {}),)),
    Section("corrections", 1, (("corrected", "c", {}), ("peak_below_fen", "p", None), ("unknown_until", "u", {}))),
    Section("assignment", 1, (("asked", "a", None), ("assigned", "b", None), ("rooms", "r", []))),
    Section("causes", 1, (("caused", "a", []),)),
)  # fmt: skip


def sections_source() -> str:
    """The text of `sections_of`, which makes a client's SECTIONS: each its version and body, or these packed if they
    are kept for the next time.

    One test for each field, in a row: loops over sections and fields would take most of the time of packing a state.
    """
    lines = ["def sections_of(client: ClientState, by_time: Any, pack: Any) -> dict[str, Any]:"]
    lines += ["    body: dict[str, Any]", "    values: Any", "    found: Any"]
    lines += ["    sections: dict[str, Any] = {}", "    kept = client.packed"]
    for section in SECTIONS:
        name, indent = section.name, "    "
        said = {
            attribute: f"client.{attribute}" + (" is not None" if blank is None else f" != {blank}" if blank else "")
            for attribute, _, blank in section.fields
        }
        if section.kept_packed:
            own = ", ".join(f"client.{attribute}" for attribute, _, _ in section.fields)
            lines += [f"    if {' or '.join(said.values())}:"]
            lines += [f"        values = (client.client_id, {own})", f"        found = kept.get({name!r})"]
            lines += ["        if found is None or found[0] != values:"]
            indent += "        "
        lines += [f"{indent}body = {{}}"]
        for attribute, stored_as, _ in section.fields:
            value = f"client.{attribute}"
            written = f"by_time({value})" if stored_as == SAID else value
            lines += [f"{indent}if {said[attribute]}: body[{stored_as!r}] = {written}"]
        if section.kept_packed:
            lines += [f"{indent}found = kept[{name!r}] = values, pack([{section.version}, body])"]
            lines += [f"        sections[{name!r}] = found[1]"]
        else:
            lines += [f"    if body: sections[{name!r}] = {section.version}, body"]
    return "\n".join([*lines, "    return sections", ""])


try:  # where the core is compiled, this is, too; tools/compile_core.py writes it as a module
    from engine.core.client.stored import sections_of  # type: ignore[import-not-found]
except ModuleNotFoundError:
    space: dict[str, Any] = {"ClientState": ClientState, "Any": Any}
    exec(sections_source(), space)  # our own text, from SECTIONS
    sections_of = space["sections_of"]
_KEPT: Final = tuple(section for section in SECTIONS if section.kept_packed)
_BY_NAME: Final = {section.name: section for section in SECTIONS}
_FACTS: Final = {attribute: stored for attribute, stored, _ in _BY_NAME["facts"].fields}
_FACT_OF: Final = {stored: attribute for attribute, stored in _FACTS.items()}


def pack(layout: Layout, client: ClientState) -> bytes:
    """The client's whole state as msgpack: version, client id, sections."""
    sections: dict[str, Any] = sections_of(client, _by_time, _pack)
    for topic, source, packed in client.activities.packed():
        sections[_section_of(topic)] = ACTIVITY_VERSION, packed, source.mark
    if client.unknown:
        sections |= client.unknown
    return _pack([STATE_VERSION, client.client_id, sections])


def unpack(layout: Layout, packed: bytes) -> ClientState:
    """The state again. Columns that the layout lacks are left behind, columns that it adds begin empty.

    Raises NewerState when a newer release wrote it, ValueError when nothing of the engine's did.
    """
    version, client_id, *rest = _unpack(packed)
    if version > STATE_VERSION:
        raise NewerState(f"client state has version {version}, this engine reads up to {STATE_VERSION}")
    sections: dict[str, Any] = _from_positions(*rest) if version == 2 else rest[0]
    fields: dict[str, Any] = {}
    unknown: dict[str, Any] = {}
    older: set[str] = set()
    for name, stored in sections.items():
        if name in _BY_NAME:
            section = _BY_NAME[name]
            version_of, body = _unpack(stored) if type(stored) is bytes else stored
            if version_of != section.version:
                body = section.unpack(version_of, body)
                older.add(name)
            for stored_as, value in body.items():
                fields[section.attribute_of[stored_as]] = value
        elif name[0] != DECLARED and (name[1:] not in layout.sources or name[0] != ACTIVITY):
            unknown[name] = stored  # but what is kept of a type that is no longer declared is left behind
    client = ClientState(layout, client_id, fields["now_ms"])
    since = day_of(fields["since_ms"]), fields["since_ms"] // HOUR_MS
    client.activities.stored(_activities(layout, client.activities, sections, since), since)
    client.unknown = unknown
    for name in CONSENTS.values():
        if name in fields:
            fields[name] = tuple(fields[name])
    fields["said_ms"] = _by_fact(fields.get("said_ms", {}))
    for attribute, value in fields.items():
        setattr(client, attribute, value)
    for section in _KEPT:
        if type(found := sections.get(section.name)) is bytes and section.name not in older:
            client.packed[section.name] = (section.values(client), found)
    if ACTIONS.name in layout.sources and not client.activities.has(ACTIONS.name):
        _not_counted_yet(layout, client, since)
    if layout.renamed:
        _rename(client, layout.renamed)
    return client


def _activities(
    layout: Layout, activities: Activities, sections: dict[str, Any], since: tuple[int, int]
) -> dict[str, bytes]:
    """The activities that were stored under these layouts; those of others are put among `activities`."""
    same: dict[str, bytes] = {}
    for name, stored in sections.items():
        topic = name[1:]
        source = layout.sources.get(topic)
        if source is None or name != _section_of(topic):
            continue
        version, packed, *mark = stored
        if version > ACTIVITY_VERSION:
            raise NewerState(f"section {name} has version {version}, this engine reads {ACTIVITY_VERSION}")
        if mark and mark[0] == source.mark:
            same[topic] = packed
            continue
        moment, found = activities.moment, from_positions(packed) if version == 1 else packed
        activities[topic] = read(source, found, moment, since, moment)
    return same


def _not_counted_yet(layout: Layout, client: ClientState, since: tuple[int, int]) -> None:
    """What rules did before a feature asked for it is not known. To begin a journey is no action."""
    done = [at_ms for at_ms, _, kind, *_ in client.recent if kind != "journey"]
    if done:
        source, moment = layout.sources[ACTIONS.name], client.activities.moment
        client.activities[ACTIONS.name] = read(source, unknown_until(done[-1]), moment, since, moment)


@cache
def _section_of(topic: str) -> str:
    return f"{ACTIVITY if topic in TOPICS else DECLARED}{topic}"


def last_events(packed: bytes) -> dict[str, int]:
    """When the last event of each declared type came, by any layout."""
    _, _, *rest = _unpack(packed)
    sections = rest[0] if isinstance(rest[0], dict) else {}
    found = {name[1:]: last_of(stored[1]) for name, stored in sorted(sections.items()) if name[0] == DECLARED}
    return {name: last_ms for name, last_ms in found.items() if last_ms is not None}


def _rename(client: ClientState, renamed: Mapping[str, str]) -> None:
    """What a rule did under a former id counts as its own."""
    memories: tuple[dict[str, Any], ...] = (client.acted, client.silenced, client.held, client.waits)
    for memory in (*memories, client.first_steps):
        for former, rule_id in renamed.items():
            if former in memory:
                value = memory.pop(former)
                memory.setdefault(rule_id, value)
    if client.overrides:
        client.overrides = overrides.renamed(client.overrides, renamed)
    client.contacts = contacts.renamed(client.contacts, renamed)
    for held in client.waiting:
        held[0] = renamed.get(held[0], held[0])  # the rule that waits
    for entry in client.journeys:
        entry[JOURNEY] = renamed.get(entry[JOURNEY], entry[JOURNEY])
        now = renamed.get(f"{entry[JOURNEY]}/{entry[STANDS]}", "")
        entry[STANDS] = now.partition("/")[2] or entry[STANDS]
    for item in client.items:
        item[SEEN] = [renamed.get(rule_id, rule_id) for rule_id in item[SEEN]]
        if item[KIND] != "complaint":
            item[ABOUT] = renamed.get(item[ABOUT], item[ABOUT])


# -- what release 0.1.0 wrote ------------------------------------------------------------------------------------------

_OF_0_1_0: Final = (
    "sequence", "since_ms", "now_ms", "due_ms", "review_ms", "type", "age_band", "region", "risk_level", "consents",
    "language", "time_zone", "advisor_id", "tier", "tier_since_ms", "tier_history", "segment", "value_score",
    "assets_fen", "assets_peak_fen", "cash_fen", "margin_ratio", "acted", "silenced", "contacts_day", "contacts_today",
    "recent", "birth_date", "held", "waits", "holdings",
)  # fmt: skip


def _from_positions(values: list[Any], *activities: bytes) -> dict[str, Any]:
    """The sections of a state of 0.1.0 (version 2), whose values stood by position.

    It did not keep when a fact was set: the next event with that fact replaces it, whatever its time.
    """
    of_client = dict(zip(_OF_0_1_0, values, strict=True))
    of_client["holdings"] = [[*holding, None, None] for holding in of_client["holdings"]]
    counts = {"d": of_client.pop("contacts_day"), "n": of_client.pop("contacts_today")}
    of_client["contacts"] = _from_counts(counts).get("c", {})
    sections: dict[str, Any] = {}
    for section in SECTIONS:
        stored = {name: of_client[attribute] for attribute, name, _ in section.fields if attribute in of_client}
        sections[section.name] = [section.version, stored]
    for topic, activity in zip(("trades", "logins", "balances"), activities, strict=True):
        sections[ACTIVITY + topic] = [1, activity]
    return sections
