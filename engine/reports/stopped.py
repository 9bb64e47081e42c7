"""What the contact policy makes of records: what each rule sends and what stops the rest, by hour and by client.

Enters: a plan, records in their order. Leaves: a Report; what differs between two of the same records.
Holds: it is what `engage replay` decides, counted. A match has one final outcome, or is still held when the records
end; what was held on the way is counted beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec

from engine.core.contract.events import parse_time_ms
from engine.core.contract.message import rfc3339
from engine.core.contract.outbound import TOPIC_OF_KIND, Outcome, is_action
from engine.core.decide.path import Decided
from engine.core.firm_time import NEVER_MS, date_of_day, day_of
from engine.core.plan.compile import Plan
from engine.core.policy.clock import FIRM, local, zone_named
from engine.operations.replay import Replayed, replay_records
from engine.runtime.protocol.records import Inbound

STAFF: Final = "(staff)"  # stands for the class of work for staff, which the policy does not limit
BUSIEST: Final = 10  # clients that are listed
_TOPICS: Final = frozenset(TOPIC_OF_KIND.values())


class _Action(msgspec.Struct):
    client_id: str
    audience: str
    time: str


_action_of: Final = msgspec.json.Decoder(_Action).decode


@dataclass
class Contacts(Replayed):
    """A replay that counts contacts, too."""

    by_hour: Counter[int] = field(default_factory=Counter)  # by the clock on the client's wall
    by_day: Counter[tuple[str, int]] = field(default_factory=Counter)  # (client, day of the firm)
    from_ms: int = NEVER_MS
    to_ms: int = 0

    def decided(self, decided: Decided) -> None:
        super().decided(decided)
        for client in decided.changed.values():
            self.from_ms, self.to_ms = min(self.from_ms, client.now_ms), max(self.to_ms, client.now_ms)
        for message in decided.messages:
            if message.topic not in _TOPICS or not is_action(message.headers):
                continue
            action = _action_of(message.value or b"")
            if action.audience == "client":
                sent_ms = parse_time_ms(action.time)
                zone = zone_named(decided.changed[action.client_id].time_zone) or FIRM
                self.by_hour[local(sent_ms, zone).hour] += 1
                self.by_day[action.client_id, day_of(sent_ms)] += 1


@dataclass(frozen=True, slots=True)
class Row:
    """What became of a rule's matches, or of those of several rules."""

    name: str
    contact_class: str
    outcomes: Counter[Outcome]
    waiting: int  # held when the records end

    @property
    def matched(self) -> int:
        return self.outcomes.total() - self.held + self.waiting

    @property
    def sent(self) -> int:
        return self.outcomes[Outcome.SENT]

    @property
    def held(self) -> int:
        """How often something was held; what is held twice counts twice."""
        return self.outcomes[Outcome.HELD]

    def as_dict(self) -> dict[str, Any]:
        counted = {outcome.value: self.outcomes[outcome] for outcome in Outcome if self.outcomes[outcome]}
        return {"matched": self.matched, "sent": self.sent, "outcomes": counted, "waiting": self.waiting}


class Busy(NamedTuple):
    """A client, and the day on which it had the most contacts."""

    client_id: str
    most: int
    day: str
    contacts: int  # in all


@dataclass(frozen=True, slots=True)
class Report:
    """What a rule set makes of records."""

    rules_from: str  # the directory
    digest: str
    replayed: Contacts
    clients: Row  # all that is for clients
    classes: tuple[Row, ...]  # the most important first, then the work for staff
    rules: tuple[Row, ...]  # those that matched, the most matches first
    was: Mapping[str, str]  # former id of a rule -> its id

    @property
    def for_clients(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rules if row.contact_class != STAFF)

    @property
    def days_with(self) -> dict[int, int]:
        """Number of contacts -> on how many days a client had so many."""
        return dict(sorted(Counter(self.replayed.by_day.values()).items()))

    @property
    def busiest(self) -> list[Busy]:
        best: dict[str, tuple[int, int]] = {}
        total: Counter[str] = Counter()
        for (client_id, day), count in self.replayed.by_day.items():
            total[client_id] += count
            best[client_id] = max(best.get(client_id, (0, 0)), (count, -day))
        order = sorted(best, key=lambda one: (-best[one][0], -total[one], one))[:BUSIEST]
        return [Busy(one, best[one][0], date_of_day(-best[one][1]).isoformat(), total[one]) for one in order]

    def as_dict(self) -> dict[str, Any]:
        replayed = self.replayed
        span = [rfc3339(replayed.from_ms), rfc3339(replayed.to_ms)] if replayed.to_ms else [None, None]
        return {
            "rules_from": self.rules_from,
            "digest": self.digest,
            "events": replayed.events,
            "rejected": replayed.rejected,
            "rejections": list(replayed.rejections(of_a_file=True)),
            "clients": len(replayed.states),
            "from": span[0],
            "to": span[1],
            "for_clients": self.clients.as_dict(),
            "classes": {row.name: row.as_dict() for row in self.classes},
            "rules": {row.name: {"class": row.contact_class} | row.as_dict() for row in self.rules},
            "contacts_by_hour": [replayed.by_hour[hour] for hour in range(24)],
            "days_with_contacts": self.days_with,
            "busiest": [busy._asdict() for busy in self.busiest],
        }


def report(rules_from: str, plan: Plan, records: Iterable[Inbound], until_ms: int | None = None) -> Report:
    """Decide the records, and with `until_ms` what falls due up to then. Raises ValueError naming an invalid line."""
    replayed = Contacts()
    for _ in replay_records(plan, records, replayed, until_ms):
        pass
    rule_set = plan.rule_set
    by_rule: dict[str, Counter[Outcome]] = {}
    for (rule_id, outcome), times in replayed.outcomes.items():
        by_rule.setdefault(rule_id, Counter())[Outcome(outcome)] += times
    rows = [
        Row(
            rule.id,
            rule.contact_class if rule.audience == "client" else STAFF,
            by_rule[rule.id],
            replayed.waiting[rule.id],
        )
        for rule in rule_set.rules
        if rule.id in by_rule
    ]
    names = (*(one.name for one in rule_set.policy.classes), STAFF)
    classes = [_sum(name, name, (row for row in rows if row.contact_class == name)) for name in names]
    for_clients = _sum("for clients", "", (row for row in rows if row.contact_class != STAFF))
    rows.sort(key=lambda row: (-row.matched, row.name))
    used = tuple(row for row in classes if row.matched)
    return Report(rules_from, rule_set.digest, replayed, for_clients, used, tuple(rows), rule_set.was_rules)


def _sum(name: str, contact_class: str, rows: Iterable[Row]) -> Row:
    outcomes: Counter[Outcome] = Counter()
    waiting = 0
    for row in rows:
        outcomes.update(row.outcomes)
        waiting += row.waiting
    return Row(name, contact_class, outcomes, waiting)


class Change(NamedTuple):
    """One name's rows under the rules, and under those it is compared with; None: it had no match there."""

    name: str
    now: Row | None
    before: Row | None

    def of(self, outcome: Outcome | None = None) -> tuple[int, int]:
        """Before and now: of an outcome, or of matches."""
        before, now = (
            0 if row is None else row.matched if outcome is None else row.outcomes[outcome]
            for row in (self.before, self.now)
        )
        return before, now

    def as_dict(self) -> dict[str, Any]:
        return {
            "before": None if self.before is None else self.before.as_dict(),
            "now": None if self.now is None else self.now.as_dict(),
        }


def changes(now: Iterable[Row], before: Iterable[Row], was: Mapping[str, str]) -> Iterator[Change]:
    """The rows that differ, in the order of `now`, then those that are gone."""
    old = {was.get(row.name, row.name): row for row in before}
    for row in now:
        other = old.pop(row.name, None)
        if other is None or (row.outcomes, row.waiting) != (other.outcomes, other.waiting):
            yield Change(row.name, row, other)
    for name, row in old.items():
        yield Change(name, None, row)


def shown_outcomes(rows: Iterable[Row]) -> list[Outcome]:
    """The final outcomes that there are, what is sent first, else in order of precedence."""
    found = {outcome for row in rows for outcome, times in row.outcomes.items() if times}
    others = [outcome for outcome in Outcome if outcome in found - {Outcome.SENT, Outcome.HELD}]
    return [Outcome.SENT, *others]


def as_dict(now: Report, before: Report | None) -> dict[str, Any]:
    """One of them, or both and what differs."""
    if before is None:
        return now.as_dict()
    differ = {
        "classes": {change.name: change.as_dict() for change in changes(now.classes, before.classes, {})},
        "rules": {change.name: change.as_dict() for change in changes(now.rules, before.rules, now.was)},
    }
    return now.as_dict() | {"against": before.as_dict(), "differ": differ}
