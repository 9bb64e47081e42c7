"""What is known of one client, and when rules are evaluated: as much of docs/rules.md, docs/contract.md and
docs/overrides.md as the model of the contact policy needs.

Enters: the client's records in the order in which they come, and time. Leaves: what rules want to send.
Holds: everything that was ever said is kept, and read again for each question.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.properties.policy_words import FIRM, FUTURE, PAST, Told, clock, length, listed, next_time, zone_named

Record = dict[str, Any]


@dataclass
class Rules:
    """What is active: the files, as YAML reads them."""

    policy: Told
    rules: list[Told]
    calendar: Told | None = None
    products: Told = field(default_factory=dict)  # products.csv, by name
    lists: Told = field(default_factory=dict)  # of definitions.yaml


@dataclass
class Offer:
    """Something that a rule wants to send. `record` is what it was evaluated on, None for time alone."""

    rule: Told
    record: Record | None
    cause: int  # when what led to it was
    since: int  # when it was wanted
    expires: int
    until: int = 0  # when it is decided again; 0: it was not held
    why: str = ""  # it is held
    failed: bool = False  # what it is to say again
    follows: int = 0  # the number of the action that it says again; 0: none
    used: tuple[str, ...] = ()  # the channels that this was sent on so far


@dataclass
class Client:
    """What is known of the client now."""

    active: Rules
    conditions: Mapping[str, Callable[[Any, Record | None], bool | None]]  # None: nobody knows
    now: int = PAST
    records: list[tuple[str, Record]] = field(default_factory=list)  # as they came
    silent_at: dict[str, int] = field(default_factory=dict)  # rule -> when its silence is complete
    waits: dict[str, int] = field(default_factory=dict)  # rule -> when the first step of its sequence was
    true_since: dict[str, int] = field(default_factory=dict)  # rule -> since when its condition has been true
    fired: dict[str, int] = field(default_factory=dict)  # rule -> when it last did, while it stays true

    # -- what was said -------------------------------------------------------------------------------------------------

    def times_of(self, topic: str) -> list[int]:
        return [record["time"] for name, record in self.records if name == topic]

    def fact(self, topic: str, name: str) -> Any:
        """The latest word by its own time, of equal times the one that came last."""
        said = [(record["time"], n) for n, (of, record) in enumerate(self.records) if of == topic and name in record]
        return self.records[max(said)[1]][1][name] if said else None

    def zone(self, whose: str) -> dt.tzinfo:
        return (zone_named(self.fact("profiles", "time_zone")) if whose == "client" else None) or FIRM

    def agreed(self, channel: str, purpose: str) -> bool:
        """The latest word; of one moment an opt-out, then what was said of the purpose, then of all."""
        words = [((PAST, 0, 0), False)]
        for number, (topic, record) in enumerate(self.records):
            time = record["time"]
            if topic == "receipts" and record["status"] == "opted_out" and record["channel"] == channel:
                if record.get("purpose") in (None, purpose):
                    words.append(((time, 2, number), False))
            elif topic == "profiles":
                for rank, name in enumerate(("consents", f"{purpose}_consents")):
                    if name in record:
                        words.append(((time, rank, number), (record[name] or {}).get(channel) is True))
        return max(words)[1]

    def in_force(self, kind: str, rule: str | None = None) -> int:
        """Until when; 0 if it is not. The latest by its own time, of equal times the one that holds longer."""
        latest, begin, end = PAST, 0, 0
        for topic, record in self.records:
            if topic != "overrides" or record["kind"] != kind or record.get("rule_id") != rule:
                continue
            until = 0 if record.get("ended") else record.get("until", FUTURE)
            if (record["time"], until) > (latest, end):
                latest, begin, end = record["time"], max(record["time"], record.get("starts_at", 0)), until
        return end if begin <= self.now < end else 0

    def complains(self) -> bool:
        """Of each complaint the latest step counts, of equal times the one that came last; after 90 days it is over."""
        latest: dict[str, tuple[int, int]] = {}
        for number, (topic, record) in enumerate(self.records):
            if topic == "complaints":
                latest[record["complaint_id"]] = max(
                    latest.get(record["complaint_id"], (PAST, 0)), (record["time"], number)
                )
        return any(
            self.records[number][1]["status"] not in ("resolved", "withdrawn")
            and (clock(self.now, FIRM).date() - clock(time, FIRM).date()).days <= 90
            for time, number in latest.values()
        )

    # -- when rules are evaluated --------------------------------------------------------------------------------------

    def learn(self, topic: str, record: Record) -> list[Offer]:
        """What rules want to send on a record."""
        self.now = max(self.now, record["time"])
        last = max(self.times_of(topic), default=PAST)
        self.records.append((topic, record))
        rules, cause = self.active.rules, record["time"]
        for rule in rules:
            if "silence" in rule and rule["silence"]["of"] == topic and cause > last:
                self.silent_at[rule["id"]] = max(cause + length(rule["silence"]["for"]), self.now + 1)
        offers = [self.offer(rule, record, cause) for rule in rules if topic in listed(rule.get("on"))]
        offers += [self.offer(rule, record, cause) for rule in rules if self.steps(rule, topic, record)]
        offers += [self.offer(rule, None, cause) for rule in rules if self.became(rule)]
        return [offer for offer in offers if self.may_hold(offer)]

    def fall_due(self) -> list[Offer]:
        """What rules want to send at this moment, without a record."""
        offers = [self.offer(rule, None, self.now) for rule in self.active.rules if self.falls_due(rule)]
        offers += [self.offer(rule, None, self.now) for rule in self.active.rules if self.became(rule)]
        return [offer for offer in offers if self.may_hold(offer)]

    def offer(self, rule: Told, record: Record | None, cause: int) -> Offer:
        return Offer(rule, record, cause, self.now, self.now + length(rule["expires"]))

    def moments(self) -> list[int]:
        """At which a rule may be evaluated."""
        found = []
        for rule in self.active.rules:
            id_ = rule["id"]
            if "at" in rule:
                found.append(next_time(rule["at"], self.now))
            elif "silence" in rule and id_ in self.silent_at:
                found.append(self.silent_at[id_])
            elif "sequence" in rule and id_ in self.waits:
                found.append(max(self.waits[id_] + length(rule["sequence"]["within"]), self.now + 1))
            elif "becomes" in rule and id_ in self.true_since:
                if id_ not in self.fired:
                    found.append(self.true_since[id_] + length(rule.get("for", "0m")))
                elif "repeat_every" in rule:
                    found.append(self.fired[id_] + length(rule["repeat_every"]))
        return found

    def falls_due(self, rule: Told) -> bool:
        id_ = rule["id"]
        if "at" in rule:
            return next_time(rule["at"], self.now - 1) == self.now
        if "silence" in rule:
            return self.silent_at.get(id_) == self.now
        if "sequence" in rule and self.now >= self.waits.get(id_, FUTURE) + length(rule["sequence"]["within"]):
            del self.waits[id_]
            return "without" in rule["sequence"]
        return False

    def became(self, rule: Told) -> bool:
        """The condition has been true for so long, or it is time to repeat it."""
        if "becomes" not in rule:
            return False
        id_ = rule["id"]
        if not self.conditions[rule["becomes"]](self, None):
            self.true_since.pop(id_, None)
            self.fired.pop(id_, None)
            return False
        since = self.true_since.setdefault(id_, self.now)
        if id_ not in self.fired:
            due = self.now >= since + length(rule.get("for", "0m"))
        else:
            due = "repeat_every" in rule and self.now >= self.fired[id_] + length(rule["repeat_every"])
        if due:
            self.fired[id_] = self.now
        return due

    def steps(self, rule: Told, topic: str, record: Record) -> bool:
        """Whether the record ends a wait for it; it may begin the next."""
        if "sequence" not in rule:
            return False
        sequence, id_, ends = rule["sequence"], rule["id"], False
        second = sequence.get("then") or sequence["without"]
        if second["on"] == topic and id_ in self.waits and record["time"] >= self.waits[id_]:
            ends = record["time"] < self.waits.pop(id_) + length(sequence["within"])
        if sequence["first"]["on"] == topic and not ("without" in sequence and id_ in self.waits):
            self.waits[id_] = max(record["time"], self.waits.get(id_, 0))
        return ends and "then" in sequence

    # -- conditions ----------------------------------------------------------------------------------------------------

    def may_hold(self, offer: Offer) -> bool:
        return self.holds(offer) is not False

    def holds(self, offer: Offer) -> bool | None:
        """The condition, by what is known now; of the record what it says. None: the calendar does not know."""
        return self.conditions[offer.rule["when"]](self, offer.record) if "when" in offer.rule else True

    def still(self, offer: Offer) -> bool:
        """Whether what was held is still so."""
        rule = offer.rule
        if "becomes" in rule and not self.conditions[rule["becomes"]](self, None):
            return False
        if "silence" in rule:
            silent_since = offer.since - length(rule["silence"]["for"])
            return max(self.times_of(rule["silence"]["of"])) <= silent_since and self.may_hold(offer)
        return self.may_hold(offer)
