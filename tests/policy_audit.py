"""What the contact policy must never let happen, told from what is published alone, and from what clients said.

Enters: inputs in the order in which they were decided, each with what was published of it and the policy of the moment.
Leaves: faults.
Holds: it reads policies as data and shares nothing with the gates, nor with what a state keeps: it counts, looks at the
clock and remembers consents by itself, in the plainest way.
"""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from engine.core.contract.message import Message
from engine.core.contract.topics import REQUESTS
from engine.core.plan.compile import Plan
from engine.core.rules.policy import Cap, ContactClass, ContactPolicy, QuietHours, Selection

FIRM: Final = dt.timezone(dt.timedelta(hours=8))
# what stops an action -> the exemption with which it must not
EXEMPTION: Final = {
    "cap": "caps", "daily_cap": "caps", "quiet_hours": "quiet_hours", "snoozed": "snooze",
    "do_not_contact": "do_not_contact", "no_consent": "consent",
}  # fmt: skip
Told = dict[str, Any]


class Sent(NamedTuple):
    """A contact of a client."""

    number: int
    at_ms: int
    action: Told


@dataclass
class _Client:
    said: dict[str, tuple[int, frozenset[str]]] = field(default_factory=dict)  # purpose or all -> when, channels
    out: dict[tuple[str, str], int] = field(default_factory=dict)  # channel and purpose or all -> when
    zone_said: tuple[int, str | None] = (-1, None)
    sent: list[Sent] = field(default_factory=list)
    held: dict[str, str] = field(default_factory=dict)  # matches without an end -> their rule
    ended: set[str] = field(default_factory=set)

    def hear(self, topic: str, event: Any) -> None:
        if topic == "receipts" and event.status == "opted_out":
            about = event.channel, event.purpose or "all"
            self.out[about] = max(self.out.get(about, 0), event.time)
        if topic != "profiles":
            return
        for name in event.model_fields_set & {"consents", "marketing_consents", "service_consents", "risk_consents"}:
            purpose, agreed = name.partition("_")[0] if "_" in name else "all", getattr(event, name)
            if event.time >= self.said.get(purpose, (-1, None))[0]:
                self.said[purpose] = event.time, frozenset(c for c, yes in agreed if yes) if agreed else frozenset()
        if "time_zone" in event.model_fields_set and event.time >= self.zone_said[0]:
            self.zone_said = event.time, event.time_zone

    def agrees(self, channel: str, purpose: str) -> bool:
        """The latest word; of one moment an opt-out, then what is said of the purpose."""
        words = [(0, 0, False)]
        for rank, about in enumerate(("all", purpose)):
            if about in self.said:
                at_ms, channels = self.said[about]
                words.append((at_ms, rank, channel in channels))
            if (channel, about) in self.out:
                words.append((self.out[channel, about], 2, False))
        return max(words)[2]

    @property
    def zone(self) -> dt.tzinfo:
        return ZoneInfo(self.zone_said[1]) if self.zone_said[1] else FIRM


class PolicyAudit:
    def __init__(self) -> None:
        self.clients: dict[str, _Client] = defaultdict(_Client)
        self.looked: Counter[str] = Counter()  # at what, how often: none of it may be nothing
        self.counted: Counter[tuple[str, str]] = Counter()  # (rule, outcome): published, or told to have been counted
        self._policy: ContactPolicy | None = None
        self._since: dict[Cap, int] = {}  # the number of the first contact that each cap is sure to count
        self._numbers = 0

    def take(self, plan: Plan, item: Any, messages: Iterable[Message]) -> list[str]:
        """What is wrong with what was published of an input."""
        self._use(plan.rule_set.policy)
        no_actions = ("tier-changes", *REQUESTS)
        of_client = [(m.topic, json.loads(m.value)) for m in messages if m.value and m.topic not in no_actions]
        event = item[1] if isinstance(item, tuple) and item[0] in ("profiles", "receipts") else None
        client = self.clients[item[1].client_id if isinstance(item, tuple) else item.client_id]
        faults, actions = [], dict[str, Told]()
        heard = event is None
        for topic, told in of_client:
            if not heard and ms(told["time"]) >= event.time:  # what fell due before it knew nothing of it
                client.hear(item[0], event)
                heard = True
            if topic != "decisions":
                actions |= {told["id"]: told} if "parameters" in told else {}
                continue
            faults += self._decision(plan, client, told, actions)
        if not heard:
            client.hear(item[0], event)
        return faults + [f"the action {id_} has no decision" for id_ in actions]

    def hear(self, kind: str, event: Any) -> None:
        """What a client said before all that is taken."""
        self.clients[event.client_id].hear(kind, event)

    def _use(self, policy: ContactPolicy) -> None:
        if policy != self._policy:
            self._policy = policy
            self._since = {cap: self._since.get(cap, self._numbers) for cap in policy.caps}

    def _decision(self, plan: Plan, client: _Client, told: Told, actions: dict[str, Told]) -> Iterator[str]:
        match, outcome, name = told["match"], told["outcome"], f"the decision {told['id']} of {told['rule_id']}"
        self.counted[told["rule_id"], outcome] += 1
        for folded in told.get("folded", ()):
            self.counted[folded["rule_id"], folded["outcome"]] += folded["times"]
        if match == told["id"]:
            if match in client.held or match in client.ended:
                yield f"{name} begins a match that was decided before"
        elif client.held.pop(match, None) is None:
            yield f"{name} ends what was not held, or has ended"
        else:
            self.looked["what was held was decided again"] += 1
        if outcome == "held":
            client.held[match] = told["rule_id"]
        else:
            client.ended.add(match)
        own = next((one for one in plan.rule_set.policy.classes if one.name == told.get("class")), None)
        if own is not None:
            exempt = EXEMPTION.get(outcome, "quiet_hours" if told.get("numbers", {}).get("quiet_hours") else "")
            if exempt in own.exempt and not (exempt == "consent" and self._without_channel(plan, own, told)):
                yield f"{name}: {outcome}, of which {own.name} is exempt"
            self.looked[f"exempt from {exempt}"] += bool(own.exempt)
        begins = told.get("kind") == "journey"  # which sends nothing itself
        if (outcome == "sent" and not begins) != ("action_id" in told):
            yield f"{name}: {outcome}, and the action is {told.get('action_id')}"
        elif "action_id" in told:
            action = actions.pop(told["action_id"], None)
            if action is None:
                yield f"{name}: no action {told['action_id']}"
            elif own is not None:
                yield from (f"{name}: {fault}" for fault in self._sent(plan, client, own, action))

    @staticmethod
    def _without_channel(plan: Plan, own: ContactClass, told: Told) -> bool:
        """Exempt from consent is a class on its own channels alone."""
        rule = next(rule for rule in plan.rule_set.rules if rule.id == told["rule_id"])
        return bool(own.channels) and not set(own.channels) & set(rule.channels)

    # -- what was sent -------------------------------------------------------------------------------------------------

    def _sent(self, plan: Plan, client: _Client, own: ContactClass, action: Told) -> Iterator[str]:
        at_ms, policy = ms(action["time"]), plan.rule_set.policy
        if action["expires_at"] <= action["time"]:
            yield "sent after it had expired"
        if action["audience"] != "client":
            return
        channel = action["channel"]
        if not (client.agrees(channel, own.purpose) or ("consent" in own.exempt and channel in own.channels)):
            yield f"sent by {channel} without consent"
        self.looked["consent"] += 1
        if "quiet_hours" not in own.exempt:
            for hours in policy.quiet_hours:
                if meets(hours.of, action):
                    self.looked["quiet hours"] += 1
                    if is_quiet(plan, hours, at_ms, client.zone):
                        yield f"sent in the quiet hours {hours.name} of {client.zone}"
        self._numbers += 1
        sent = Sent(self._numbers, at_ms, action)
        if "caps" not in own.exempt:
            yield from self._over(plan, client, sent)
        client.sent.append(sent)

    def _over(self, plan: Plan, client: _Client, sent: Sent) -> Iterator[str]:
        """The caps that left no room for it."""
        policy, renamed = plan.rule_set.policy, plan.layout.renamed
        names = [one.name for one in policy.classes]
        uncounted = {one.name for one in policy.classes if not one.counts}
        for cap in policy.caps:
            spared = cap.spared_from is not None and sent.action["priority"] >= cap.spared_from
            if spared or not meets(cap.of, sent.action):
                continue
            since_ms = begins_ms(cap, sent.at_ms, client.zone)
            had = []
            for one in client.sent:
                action = {**one.action, "rule_id": renamed.get(one.action["rule_id"], one.action["rule_id"])}
                counts = bool(cap.of.classes) or action["class"] not in uncounted
                if one.number > self._since[cap] and one.at_ms >= since_ms and counts and meets(cap.of, action):
                    had.append(action["class"])
            self.looked["a cap that was used up but for one"] += len(had) == cap.at_most - 1
            if len(had) >= cap.at_most:
                yield f"over the cap {cap.name}: {len(had)} before it, at most {cap.at_most}"
            lower = set(names[names.index(cap.reserved_for) + 1 :]) if cap.reserved else set()
            if sent.action["class"] in lower and sum(of in lower for of in had) >= cap.at_most - cap.reserved:
                yield f"over the cap {cap.name}: the slot was reserved"

    def waiting(self, client_id: str) -> set[str]:
        """The matches of a client that are held by all that was published."""
        return set(self.clients[client_id].held)


def meets(of: Selection, action: Told) -> bool:
    asked = (
        (of.kinds, action["kind"]),
        (of.classes, action["class"]),
        (of.channels, action["channel"]),
        (of.teams, action["team"]),
        (of.rules, action["rule_id"]),
    )
    return all(not allowed or value in allowed for allowed, value in asked) and (
        not of.tags or bool(set(of.tags) & set(action["tags"]))
    )


def ms(text: str) -> int:
    return round(dt.datetime.fromisoformat(text).timestamp() * 1000)


def begins_ms(cap: Cap, at_ms: int, zone: dt.tzinfo) -> int:
    """The first moment that counts for a contact now."""
    if cap.per is None:
        return at_ms - cap.within_s * 1000 + 1
    here = dt.datetime.fromtimestamp(at_ms / 1000, zone if cap.zone == "client" else FIRM)
    first = here.replace(minute=0, second=0, microsecond=0)
    if cap.per != "hour":
        first = first.replace(hour=0, fold=0)
    if cap.per == "week":
        first -= dt.timedelta(days=here.weekday())
    if cap.per == "month":
        first = first.replace(day=1)
    return round(first.timestamp() * 1000)


def is_quiet(plan: Plan, hours: QuietHours, at_ms: int, zone: dt.tzinfo) -> bool:
    if hours.holidays:
        business = plan.timed.business
        return business is None or not business.is_working_day(at_ms)
    here = dt.datetime.fromtimestamp(at_ms / 1000, FIRM if hours.zone == "firm" else zone)
    minute = here.hour * 60 + here.minute
    over = hours.until <= hours.begin  # midnight
    today = hours.begin <= minute and (over or minute < hours.until)
    since_yesterday = over and minute < hours.until
    return (today and _on(hours, here.weekday())) or (since_yesterday and _on(hours, (here.weekday() - 1) % 7))


def _on(hours: QuietHours, weekday: int) -> bool:
    return not hours.days or weekday in hours.days
