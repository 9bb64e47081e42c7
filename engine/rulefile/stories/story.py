"""What a test gives, as events: who the client is, and what happened.

Enters: nodes of a test, the tiers. Leaves: real events in order of time.
Holds: a client is given only what events can bring about; every event is one that the contract's own model takes.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, field
from typing import Any, Final, get_args

from pydantic import ValidationError

from engine.core.contract.actions import ACTIONS
from engine.core.contract.corrections import CORRECTABLE, CORRECTIONS, Correction
from engine.core.contract.events import Channel, Event, parse_time_ms
from engine.core.contract.message import cny
from engine.core.contract.profiles import CONSENTS
from engine.core.contract.topic import Topic, written_as
from engine.core.contract.topics import EVENTS, TOPICS, Kinds, in_order, sources
from engine.core.firm_time import DAY_MS, MINUTE_MS
from engine.core.language.expressions import Fault
from engine.core.rules import names
from engine.core.rules.ruleset import Tiers
from engine.core.text import CODES
from engine.rulefile.source.document import Listing, Mapping, Node, Scalar
from engine.rulefile.source.fields import SECONDS, Reader, nearest

AT: Final = "2026-11-02 10:00"  # a Monday
AT_MS: Final = parse_time_ms("2026-11-02T10:00:00+08:00")
BUILT_IN: Final = (*TOPICS, ACTIONS.name)
KNOWN_FOR_MS: Final = 366 * DAY_MS  # longer than any cooldown: what first made the client known has no after-effect
MAX_KNOWN_S: Final = 3650 * 86_400
MAX_EVENTS: Final = 2000
CLIENT_ID: Final = "client"
CHANNELS: Final[tuple[str, ...]] = get_args(Channel)
PROFILE_KEYS: Final = TOPICS["profiles"].fields
MONEY_KEYS: Final = ("assets_cny", "assets_peak_cny", "cash_cny")
CLIENT_KEYS: Final = (*PROFILE_KEYS, *MONEY_KEYS, "margin_ratio", "tier", "known_for")
CORRECTION_KEYS: Final = ("cancel", "replace", "by")
GIVEN_KEYS: Final = ("client", "history", "arm", "draws", "budgets", "advisor_busy")
CHANGES: Final = {"deposit": 1, "transfer_in": 1, "gain": 1, "dividend": 1, "interest": 1} | dict.fromkeys(
    ("withdrawal", "transfer_out", "loss", "fee"), -1
)
MAX_WAIT_S: Final = 400 * 86_400


@dataclass(slots=True)
class Story:
    """The events of one test while they are read, and the client's money as they leave it."""

    reader: Reader
    tiers: Tiers
    assets_fen: int | None = None
    margin_ratio: float | None = None
    accounts: dict[str, int] = field(default_factory=dict)  # the assets of each
    events: list[tuple[str, Event]] = field(default_factory=list)

    def given(self, node: Node | None, at_ms: int) -> str | None:
        """What was before the test's time, as events; the tier that the client must then be in."""
        fields = _entries(node)
        if "features" in fields:
            remedy = "write history, such as {at: -3d, trades: {}}"
            self.reader.problem(
                fields["features"][0], "a feature's value cannot be given: it follows from events", remedy
            )
        known = {key: entry for key, entry in fields.items() if key != "features"}
        parts = self.reader.mapping(Mapping(node.index, known) if isinstance(node, Mapping) else node, (), GIVEN_KEYS)
        steps = self.steps(parts.get("history"), at_ms)
        tier = self.client(parts.get("client"), at_ms, min([at_ms, *(step[0] for step in steps)]))
        for moment_ms, topic, item in steps:
            self.happen(topic, item, moment_ms)
        return tier

    # -- who the client is ---------------------------------------------------------------------------------------------

    def client(self, node: Node | None, at_ms: int, first_ms: int) -> str | None:
        """The events that make the client what is given, and the tier it must then be in."""
        reader = self.reader
        if isinstance(node, Scalar) and node.value == "unknown":
            return None
        follows = _follows(reader.kinds)
        for key, (at, _) in _entries(node).items():
            if key in follows:
                reader.problem(at, f"{key} cannot be given: it follows from events", follows[key])
        known = {key: entry for key, entry in _entries(node).items() if key not in follows}
        fields = reader.mapping(Mapping(node.index, known) if isinstance(node, Mapping) else node, (), CLIENT_KEYS)
        known_ms = reader.duration(fields["known_for"], "mhd", 0, MAX_KNOWN_S) * 1000 if "known_for" in fields else -1
        since_ms = at_ms - known_ms if known_ms >= 0 else min(at_ms - KNOWN_FOR_MS, first_ms - MINUTE_MS)
        if since_ms > first_ms:
            reader.problem(fields["known_for"], "history from before the client was known", "write a longer known_for")
        profile: dict[str, Any] = {"type": "individual", "consents": dict.fromkeys(CHANNELS, True)}
        given = len(reader.problems)
        profile |= {key: self.value(fields[key], "profiles", key) for key in PROFILE_KEYS if key in fields}
        if len(reader.problems) > given:
            return None
        self.put("profiles", profile, since_ms, node, fields)
        assets, peak, cash = (money_fen(reader, fields.get(key)) for key in MONEY_KEYS)
        if "margin_ratio" in fields:
            self.margin_ratio = float(reader.number(fields["margin_ratio"]))
        tier, of_tier = self.tier(fields.get("tier"), assets, str(profile["type"]))
        snapshots = [(peak, since_ms), (of_tier, since_ms)]
        if assets is not None or cash is not None or self.margin_ratio is not None:
            # beside a tier that other assets gave, the present ones come last, so that the tier is still that
            snapshots.append(
                (assets if assets is not None else of_tier or 0, since_ms if of_tier is None else first_ms)
            )
        for fen, moment_ms in snapshots:
            if fen is not None:
                extra = {"cash_fen": cash} if cash is not None else {}
                snapshot = {**TOPICS["balances"].example, "assets_fen": fen, "margin_ratio": self.margin_ratio, **extra}
                self.put("balances", snapshot, moment_ms, node, fields)
                self.assets_fen = fen
        if peak is not None and peak < (self.assets_fen or 0):
            reader.problem(fields["assets_peak_cny"], "a peak below the assets", "write the highest assets ever")
        return tier

    def tier(self, node: Node | None, assets_fen: int | None, type_: str) -> tuple[str | None, int | None]:
        """The tier given, and the assets that bring a client there unless those it has do so."""
        if node is None or "client.tier" in self.reader.unsure.values:
            return None, None
        ladder = self.tiers.ladders.get(type_)
        if ladder is None:
            return self.reader.choice(node, (type_,)) or None, None
        names = tuple(step.tier for step in ladder.steps)
        if isinstance(node, Scalar) and node.value.strip() and node.value not in names:
            said, remedy = f'client.tier is never "{node.value[:80]}"', nearest(node.value, names)
            self.reader.report(node, Fault(0, said, remedy, "never that value", "client.tier"))
            return None, None
        tier = self.reader.choice(node, names)
        if not tier:
            return None, None
        enters = [round((step.enter or 0) * 100) for step in ladder.steps]
        index = names.index(tier)
        least, most = enters[index], enters[index - 1] if index else 0
        if assets_fen is not None and least <= assets_fen and (not index or assets_fen < most):
            return tier, None
        return tier, (least + most) // 2 if index else least * 6 // 5

    # -- what happens --------------------------------------------------------------------------------------------------

    def steps(self, node: Node | None, at_ms: int) -> list[tuple[int, str, Node]]:
        """(time, topic, fields) in order of time; an item with `times` or `every` stands for several."""
        reader, steps = self.reader, []
        known = (*in_order(reader.kinds), ACTIONS.name)
        for item in reader.items(node):
            fields = reader.mapping(item, ("at",), (*known, "every", "times"))
            topics = [topic for topic in known if topic in fields]
            if reader.whole(item, fields) and len(topics) != 1:
                reader.problem(item, f"{len(topics)} events", f"write one of: {', '.join(known)}")
                continue
            if "at" not in fields or not topics:
                continue
            given = len(reader.problems)
            start_ms = self.moment(fields["at"], at_ms)
            every_ms = reader.duration(fields["every"], "mhd", 60, MAX_WAIT_S) * 1000 if "every" in fields else 0
            until = (at_ms - 1 - start_ms) // every_ms + 1 if every_ms and start_ms < at_ms else 1
            times = reader.integer(fields["times"], 1, MAX_EVENTS) if "times" in fields else max(until, 1)
            moments = [start_ms + number * (every_ms or MINUTE_MS) for number in range(times)]
            if moments[-1] > at_ms and len(reader.problems) == given:
                reader.problem(fields["at"], "history after the test's time", "write an earlier time, such as -3d")
            steps += [(moment_ms, topics[0], fields[topics[0]]) for moment_ms in moments]
            if len(steps) > MAX_EVENTS:
                reader.problem(item, f"more than {MAX_EVENTS} events", "write fewer")
                return []
        return sorted(steps, key=lambda step: step[0])

    def one_event(self, node: Node, at_ms: int) -> None:
        known = in_order(self.reader.kinds)
        found = self.reader.mapping(node, (), known)
        if self.reader.whole(node, found) and len(found) != 1:
            self.reader.problem(node, f"{len(found)} events", f"write one of: {', '.join(known)}")
        for topic, fields in list(found.items())[:1]:
            self.happen(topic, fields, at_ms)

    def happen(self, topic: str, node: Node, moment_ms: int) -> None:
        """One event, with what is not written taken from the client and from common sense."""
        if topic == CORRECTIONS:
            self.correct(node, moment_ms)
            return
        fields = _entries(node)
        kind = self.kind(topic)
        keys = event_keys(kind)
        self.reader.mapping(node, (), tuple(keys))
        before = len(self.reader.problems)
        written = {
            keys[k]: None if self.unknown(v, topic, keys[k]) else self.value(v, topic, k)
            for k, (_, v) in fields.items()
            if k in keys
        }
        values = {**kind.example, **written}
        if topic == "balances":
            values = self.balance(node, values, "kind" in written)
        if len(self.reader.problems) == before:
            self.put(topic, dict(values), moment_ms, node, {key: value for key, (_, value) in fields.items()})

    def balance(self, node: Node, values: dict[str, Any], says_kind: bool) -> dict[str, Any]:
        """A change of assets, from what the client had."""
        if values["amount_fen"] and not says_kind:
            self.reader.problem(node, "an amount without a kind", "add kind, such as kind: deposit")
        if "assets_fen" not in values:
            change = CHANGES.get(str(values["kind"]), 0) * int(values["amount_fen"] or 0)
            account = values.get("account")
            had_fen = (self.assets_fen or 0) if account is None else self.accounts.get(account, 0)
            values["assets_fen"] = had_fen + change
            if values["assets_fen"] < 0:
                had = cny(had_fen)
                self.reader.problem(node, f"more leaves than the {had} CNY there are", "give the client assets_cny")
                values["assets_fen"] = 0
        if values.get("account") is not None:
            self.accounts[values["account"]] = values["assets_fen"]
            return values
        self.assets_fen = values["assets_fen"]
        self.margin_ratio = values.setdefault("margin_ratio", self.margin_ratio)
        return values

    def correct(self, node: Node, moment_ms: int) -> None:
        """A correction of the latest event of a kind: `{cancel: trades}`, or `{replace: trades, by: {side: sell}}`."""
        reader = self.reader
        fields = reader.mapping(node, (), CORRECTION_KEYS)
        kinds = [key for key in ("cancel", "replace") if key in fields]
        if len(kinds) != 1 or ("by" in fields) != (kinds == ["replace"]):
            if reader.whole(node, fields):
                reader.problem(node, "no correction", "write cancel: trades, or replace: trades, by: {side: sell}")
            return
        asked = reader.choice(fields[kinds[0]], correctable(reader.kinds))
        latest = [event for topic, event in self.events if topic == asked]
        if not asked or not latest:
            if asked:
                reader.problem(fields[kinds[0]], f"no {asked} before to correct", "write one into history")
            return
        original: Any = latest[-1]
        values: dict[str, Any] = {
            "kind": kinds[0],
            "topic": asked if asked in TOPICS else EVENTS,
            "corrects": original.event_id,
        }
        values |= {"original": original, "replacement": None}
        if "by" in fields:
            keys, given = event_keys(reader.kinds[asked]), _entries(fields["by"])
            reader.mapping(fields["by"], (), tuple(keys))
            said = {keys[k]: self.value(v, asked, k) for k, (_, v) in given.items() if k in keys}
            before, told = len(self.events), {name: getattr(original, name) for name in original.model_fields_set}
            self.put(asked, told | said, original.time, fields["by"], {key: value for key, (_, value) in given.items()})
            if len(self.events) == before:
                return
            _, new = self.events.pop()
            values["replacement"] = new.model_copy(update={"event_id": original.event_id})
        values |= {"event_id": f"{CORRECTIONS}-{len(self.events) + 1}", "client_id": CLIENT_ID, "time": moment_ms}
        self.events.append((CORRECTIONS, Correction.model_construct(**values)))

    def put(self, topic: str, values: dict[str, Any], moment_ms: int, at: Node | None, nodes: dict[str, Node]) -> None:
        """An event by the contract's own model; what the model refuses is reported at the field."""
        about = {"event_id": f"{topic}-{len(self.events) + 1}", "client_id": CLIENT_ID, "time": moment_ms}
        if topic not in BUILT_IN:
            about["type"] = topic
        try:
            event: Any = self.kind(topic).model.model_validate({**values, **about})
        except ValidationError as error:
            for fault in error.errors():
                key = written_as(str(fault["loc"][0])) if fault["loc"] else ""
                node = nodes.get(key, at)
                self.reader.problem(node if node is not None else 0, f"{key}: {_sentence(fault['msg'])}", "correct it")
            return
        self.events.append((topic, event))

    def kind(self, name: str) -> Topic:
        return ACTIONS if name == ACTIONS.name else self.reader.kinds[name]

    # -- values --------------------------------------------------------------------------------------------------------

    def moment(self, node: Node, at_ms: int | None) -> int:
        """A time, or how long before `at_ms`."""
        scalar = self.reader.scalar(node)
        if scalar is None:
            return at_ms or AT_MS
        back = re.fullmatch(r"-([0-9]{1,6})([mhd])", scalar.value)
        if back and at_ms is not None:
            return at_ms - int(back[1]) * SECONDS[back[2]] * 1000
        try:
            return firm_time_ms(scalar.value)
        except ValueError as error:
            forms = "-3d, -12h, -30m or " if at_ms is not None else ""
            self.reader.problem(scalar, str(error), f'write {forms}"{AT}"')
            return at_ms or AT_MS

    def day(self, node: Node) -> str:
        """A day, as an event has it."""
        scalar = self.reader.scalar(node)
        return scalar.value if scalar else ""

    def unknown(self, node: Node, topic: str, field: str) -> bool:
        """Whether null is written, which says that the field is unknown from now on."""
        if not (isinstance(node, Scalar) and node.is_null):
            return False
        if not may_be_null(self.kind(topic), field):
            self.reader.problem(node, f"{written_as(field)} cannot be null: the event always says it", "write a value")
        return True

    def value(self, node: Node, topic: str, key: str) -> Any:
        """A field's value, by what the event's model holds there."""
        reader = self.reader
        if isinstance(node, Scalar) and node.is_null:
            reader.problem(node, f"{key} cannot be null here", "leave it out: then nothing is known of it")
            return None
        if key.endswith("_cny") and key != "price_cny":
            return money_fen(reader, node)
        if key in CONSENTS.values():
            empty = isinstance(node, Listing) and not node.items
            return dict.fromkeys(() if empty else reader.choices(node, CHANNELS), True)
        of = self.kind(topic)
        field = event_keys(of)[key]
        kinds = of.kinds(field)
        asked = next((asked for asked in of.names if asked.field == field), None)
        if asked is not None and asked.date:
            return self.day(node)
        if of.is_time(field):
            return self.moment(node, None)
        if choices := of.choices(field):
            return reader.choice(node, choices)
        if bool in kinds:
            return reader.choice(node, ("true", "false")) == "true"
        if of.form(field) is CODES:
            return [scalar.value for item in reader.items(node) if (scalar := reader.text_value(item)) is not None]
        if int in kinds or float in kinds:
            number = reader.number(node)
            return float(number) if float in kinds else number
        scalar = reader.scalar(node)
        return scalar.value if scalar else None


_FIRM: Final = dt.timezone(dt.timedelta(hours=8))
_HISTORY: Final = "segment value_score stage stage_since days_in_stage advisor_before advisor_changed_at"
# What of a client cannot be given, and what to write.
_FOLLOWS: Final = {
    **dict.fromkeys(_HISTORY.split(), "leave it out, and write history"),
    "days_in_tier": "leave it out: a tier that is given was reached when the client became known",
    "tier_since": "leave it out: a tier that is given was reached when the client became known",
    "has_advisor": "write advisor_id",
    "advisor": "write advisor_id",
    "days_known": "write known_for, such as known_for: 20d",
    "known_since": "write known_for, such as known_for: 20d",
}


def _follows(kinds: Kinds) -> dict[str, str]:
    return _FOLLOWS | {
        name.removeprefix("client."): f"write history, such as {{at: -3d, {source}: {{}}}}"
        for source in sources(kinds)
        for name in (names.days_since(source, kinds), names.last_at(source, kinds))
    }


def money_fen(reader: Reader, node: Node | None) -> int | None:
    if node is None:
        return None
    value = reader.number(node)
    if round(value * 100) / 100 != value:
        reader.problem(node, "money with more than two decimals", "write at most two decimals")
    return round(value * 100)


def correctable(kinds: Kinds) -> tuple[str, ...]:
    """The kinds of events that a correction can regard."""
    return tuple(name for name in in_order(kinds) if name in CORRECTABLE or name not in TOPICS)


def event_keys(kind: Topic) -> dict[str, str]:
    """The fields of an event as tests write them -> as the contract does: money in CNY, no id and time."""
    said_already = () if kind.name in BUILT_IN else ("type",)
    return {written_as(name): name for name in kind.fields if name not in said_already}


def may_be_null(kind: Topic, field: str) -> bool:
    """Whether an event may say that it is unknown."""
    return type(None) in get_args(kind.model.model_fields[field].annotation)


def firm_time_ms(text: str) -> int:
    """A time without offset is the firm's (UTC+8); without an hour it is the day's beginning. Raises ValueError."""
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f'not a time: "{text[:80]}"') from None
    return parse_time_ms((moment if moment.tzinfo else moment.replace(tzinfo=_FIRM)).isoformat())


def _entries(node: Node | None) -> dict[str, tuple[Scalar, Node]]:
    return node.entries if isinstance(node, Mapping) else {}


def _sentence(message: str) -> str:
    return message[:1].lower() + message[1:]
