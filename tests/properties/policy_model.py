"""The contact policy done slowly, from docs/policy.md: one client's contacts are kept in a list, and counted anew for
each verdict; the end of quiet hours is looked for minute by minute.

Enters: policy.yaml, calendar.yaml and rules as plain values, and one client's records in the order in which they come.
Leaves: the verdicts, in their order.
Holds: nothing of it is the engine's. `python -m tests.properties.policy_model --histories 100000` plays random stories
in both.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.properties.policy_occasions import Offer, Record, Rules
from tests.properties.policy_whom import Whom
from tests.properties.policy_words import (
    FIRM,
    FUTURE,
    MINUTE,
    PAST,
    SECOND,
    Told,
    class_named,
    clock,
    in_hours,
    length,
    listed,
    meant,
    period,
    period_end,
    works,
)

MAX_HELD = 16
LATE = 2 * SECOND
USUAL: Told = {  # of a policy that declares no classes
    "regulatory": {
        "exempt": ["consent", "caps", "quiet_hours", "snooze", "do_not_contact", "rests"],
        "counts": False,
        "channels": ["email", "sms"],
    },
    "risk": {},
    "service": {},
    "relationship": {},
    "marketing": {},
}


class Verdict(NamedTuple):
    """Of one match. `until` is when what is held is decided again, or when what stops it ends; `why` has the reason's
    numbers."""

    time: int
    rule: str
    outcome: str
    channel: str = ""
    until: int = 0
    why: tuple[Any, ...] = ()
    cause: int = 0
    expires: int = 0


class Answer(NamedTuple):
    """To one question of the policy."""

    outcome: str
    channel: str = ""
    until: int = 0
    why: tuple[Any, ...] = ()


class Full(NamedTuple):
    """A cap that leaves no room."""

    name: str
    cap: Told
    counted: int
    allowed: int
    until: int

    @property
    def numbers(self) -> tuple[Any, ...]:
        """As the record of a decision has them; the period by name, or in seconds."""
        within = length(self.cap.get("within", "0m")) // SECOND
        return self.name, self.counted, self.allowed, self.cap.get("per") or within


@dataclass
class Model(Whom):
    """One client. `spread` is by how much later than quiet hours end the client hears, by `release_over`; `held_out` is
    whether the client is held out, by a holdout's share and salt.
    """

    spread: Callable[[int], int] = lambda _: 0
    held_out: Callable[[float, str], bool] = lambda *_: False
    verdicts: list[Verdict] = field(default_factory=list)
    contacts: list[tuple[int, str, Told]] = field(default_factory=list)  # time, channel, the rule as it was then
    acted: dict[str, int] = field(default_factory=dict)  # rule -> when it last did
    wall: int = 0  # when it is decided; 0: in time
    behind: bool = False  # a record that came since is at hand

    # -- what happens --------------------------------------------------------------------------------------------------

    def take(self, topic: str, record: Record, wall: int = 0) -> None:
        """One record, after what falls due up to its time."""
        self.behind, about = True, self.number_of(record)
        self.pass_time(record["time"], wall)
        self.behind, self.wall = False, 0
        offers = self.learn(topic, record)
        if (ended := self.hear(topic, record, about)) is not None:
            self.verdicts.append(Verdict(self.now, ended.rule["id"], "no_longer_true"))
        self.act(offers)

    def change(self, active: Rules, time: int, wall: int = 0) -> None:
        """Other rules of the same ids: what falls due, and what waits, is decided by them."""
        self.active = active
        for offer in self.held:
            offer.rule = next(rule for rule in active.rules if rule["id"] == offer.rule["id"])
        self.pass_time(time, wall)
        if time > self.now:
            return
        # it is evaluated at a moment that it has not been through, which leaves no trace unless something comes of it
        before, said = self.now, (len(self.verdicts), dict(self.true_since), dict(self.fired), dict(self.waits))
        held = list(self.held)
        self.pass_time(before + 1, wall)
        if said == (len(self.verdicts), self.true_since, self.fired, self.waits) and held == self.held:
            self.now = before

    def pass_time(self, until: int, wall: int = 0) -> None:
        """Every moment up to `until` at which something falls due, each at its own time; decided at `wall`."""
        self.wall = wall
        while (moment := self.next_moment()) <= until:
            self.now = moment
            due = [offer for offer in self.held if offer.until <= moment and not self.is_too_late(offer)]
            self.held = [offer for offer in self.held if offer.until > moment]
            self.act(due + self.fall_due())

    def is_too_late(self, offer: Offer) -> bool:
        """Nothing has failed, and nobody says again what has expired."""
        return offer.why == "then" and not offer.failed and offer.until >= offer.expires

    def next_moment(self) -> int:
        if self.now == PAST:
            return FUTURE
        moments = [offer.until for offer in self.held] + self.moments()
        return min((moment for moment in moments if moment > self.now), default=FUTURE)

    def act(self, offers: list[Offer]) -> None:
        """The highest priority first, of equal ones by id, of one rule what has waited longest."""
        for offer in sorted(offers, key=lambda offer: (-offer.rule["priority"], offer.rule["id"])):
            answer, id_ = self.judge(offer), offer.rule["id"]
            if answer.outcome != "expired" or offer.until or "at" not in offer.rule:
                self.verdicts.append(Verdict(self.now, id_, *answer, offer.cause, offer.expires))
            if answer.outcome in ("sent", "holdout"):
                self.acted[id_] = self.now
            self.actions += answer.outcome == "sent"
            if answer.outcome == "sent" and offer.rule["audience"] == "client":
                self.note_text(offer.rule, self.classes())
                self.contacts.append((self.now, answer.channel, offer.rule))
                self.follow(offer, answer.channel, MAX_HELD)
            elif answer.outcome == "held":
                offer.until = answer.until
                self.held.append(offer)

    # -- the order of the questions ------------------------------------------------------------------------------------

    def classes(self) -> Told:
        found: Told = self.active.policy.get("classes", USUAL)
        return found

    def judge(self, offer: Offer) -> Answer:
        rule, id_, to_client = offer.rule, offer.rule["id"], offer.rule["audience"] == "client"
        class_ = self.classes()[class_named(rule)] or {}
        exempt = class_.get("exempt", [])
        if max(self.now, self.wall) >= offer.expires:
            return Answer("expired")
        if offer.until and rule.get("still", True) and not self.still(offer):
            return Answer("no_longer_true")
        if self.holds(offer) is None:
            return Answer("day_unknown")
        if to_client and "do_not_contact" not in exempt and (until := self.in_force("do_not_contact")):
            return Answer("do_not_contact", "", until)
        if "snooze" not in exempt:
            until = max(self.in_force("snooze", id_), self.in_force("snooze") if to_client else 0)
            if until:
                return Answer("snoozed", "", until)
        if to_client and (name := self.barred_by(class_)):
            return Answer("not_while", why=(name,))
        if not self.suits(rule):
            return Answer("unsuitable")
        acts_again = self.acted.get(id_, PAST) + length(rule["cooldown"])
        if self.now < acts_again and not offer.follows:
            return Answer("cooldown", "", acts_again)
        if not to_client:
            return self.drawn(rule, class_, "work_queue")
        channels = self.channels(offer, class_)
        if not channels:
            return Answer("no_consent")
        rests = {channel: self.rests_until(channel) for channel in channels if "rests" not in exempt}
        if not (channels := [channel for channel in channels if not rests.get(channel)]):
            return Answer("channel_rests", min(rests, key=lambda one: rests[one]), min(rests.values()))
        if (until := self.repeated_until(rule, self.classes())) and not offer.follows:
            return Answer("repeated", "", until)
        if self.behind and self.wall - self.now > LATE:
            unstopped = {"consent", "do_not_contact", "snooze"} <= set(exempt)
            if not unstopped or len(self.held) < MAX_HELD:
                return self.hold(offer, channels[0], self.wall, "late")
        if not offer.until and "collect" in class_:
            others = [other.until for other in self.held if other.why == "collect"]
            return self.hold(offer, channels[0], min([*others, self.now + length(class_["collect"])]), "collect")
        return self.by_channel(offer, channels, class_)

    def barred_by(self, class_: Told) -> str:
        """The first of what keeps the class from the client; what nobody knows does."""
        bars = class_.get("not_while", {}).items()
        return next((name for name, condition in bars if self.conditions[condition](self, None) is not False), "")

    def channels(self, offer: Offer, class_: Told) -> list[str]:
        """Those that the client agreed to, then those that need no consent. Of `then` each is tried in turn."""
        rule, name = offer.rule, class_named(offer.rule)
        purpose = class_.get("purpose") or (name if name in ("marketing", "service", "risk") else "service")
        ordered = self.by_answers(rule["channels"], class_)
        if offer.follows:
            ordered = [one for one in listed(rule["then"]["channel"]) if one not in offer.used]
        found = [channel for channel in ordered if self.agreed(channel, purpose)]
        free = class_.get("channels", []) if "consent" in class_.get("exempt", []) else []
        return found + [channel for channel in ordered if channel in free and channel not in found]

    def by_channel(self, offer: Offer, channels: list[str], class_: Told) -> Answer:
        exempt, other_channel = class_.get("exempt", []), class_.get("when_quiet") == "other_channel"
        stops: list[Answer] = []
        for channel in channels:
            stop, elsewhere = None, other_channel
            if "quiet_hours" not in exempt:
                stop = self.by_quiet_hours(offer, channel, class_.get("when_quiet", "drop"))
            if stop is None and "caps" not in exempt and (full := self.full_caps(offer.rule, channel)):
                longest = max(full, key=lambda one: one.until)  # the first of equal ones
                outcome = "daily_cap" if longest.name == "daily_cap" else "cap"
                stop = Answer(outcome, channel, longest.until, longest.numbers)
                elsewhere = all("channel" in one.cap.get("of", {}) for one in full)
            if stop is None:
                return self.drawn(offer.rule, class_, channel)
            stops.append(stop)
            if not elsewhere:
                break
        holds = [stop for stop in stops if stop.outcome == "held"]
        return min(holds, key=lambda stop: stop.until) if holds else stops[0]

    def drawn(self, rule: Told, class_: Told, channel: str) -> Answer:
        """All else lets it pass."""
        usual = class_named(rule) not in ("regulatory", "risk")
        firms = [self.active.policy.get("holdout")] if class_.get("holdout", usual) else []
        concerned = [rule.get("holdout"), *(firms if rule["audience"] == "client" else [])]
        if any(one is not None and self.held_out(one["share"], one["salt"]) for one in concerned):
            return Answer("holdout", channel)
        return Answer("sent", channel)

    def hold(self, offer: Offer, channel: str, until: int, why: str) -> Answer:
        if len(self.held) >= MAX_HELD:
            return Answer("quiet_hours", channel)
        offer.why = why
        return Answer("held", channel, until, (why,))

    # -- quiet hours ---------------------------------------------------------------------------------------------------

    def by_quiet_hours(self, offer: Offer, channel: str, when_quiet: str) -> Answer | None:
        """It is decided again at their end, unless it would have expired."""
        hours = self.hours_of(offer.rule, channel)
        quiet = self.quiet(hours, self.now)
        if not quiet:
            return Answer("day_unknown", channel) if quiet is None else None
        if when_quiet == "drop":
            return Answer("quiet_hours", channel)
        end = self.quiet_end(hours, offer.expires)
        if end is None:
            return Answer("day_unknown", channel)
        if end >= offer.expires:
            return Answer("quiet_hours", channel)
        later = end + self.spread(length(self.active.policy.get("release_over", "0m")))
        return self.hold(offer, channel, later if later < offer.expires else end, "quiet_hours")

    def hours_of(self, rule: Told, channel: str) -> list[tuple[Told, dt.tzinfo]]:
        """Those that concern it, and whose clock they are by."""
        hours = self.active.policy.get("quiet_hours", {}).values()
        concerned = [one for one in hours if meant(one.get("of", {}), rule, channel)]
        return [(one, self.zone(one.get("zone", "client")) if "hours" in one else FIRM) for one in concerned]

    def quiet(self, hours: list[tuple[Told, dt.tzinfo]], moment: int) -> bool | None:
        """None where none of them is known to hold, and the calendar does not know."""
        unknown = False
        for one, zone in hours:
            shown = clock(moment, zone)
            free = not in_hours(one, shown) if "hours" in one else works(self.active.calendar, shown.date())
            if free is False:
                return True
            unknown |= free is None
        return None if unknown else False

    def quiet_end(self, hours: list[tuple[Told, dt.tzinfo]], at_most: int) -> int | None:
        """Minute by minute, since the minutes of all clocks begin at once; `at_most` if it lasts as long as that."""
        moment = (self.now // MINUTE + 1) * MINUTE
        while moment < at_most and (quiet := self.quiet(hours, moment)) is not False:
            if quiet is None:
                return None
            moment += MINUTE
        return min(moment, at_most)

    # -- caps ----------------------------------------------------------------------------------------------------------

    def full_caps(self, rule: Told, channel: str) -> list[Full]:
        """Those that leave no room."""
        caps: dict[str, Told] = {}
        if contact := self.active.policy.get("contact"):
            caps["daily_cap"] = {"at_most": contact["daily_cap"], "per": "day"}
            caps["daily_cap"] |= {"spare_from": contact["urgent_from"]} if "urgent_from" in contact else {}
        caps |= self.active.policy.get("caps", {})
        found = (self.full(name, cap, rule, channel) for name, cap in caps.items())
        return [one for one in found if one is not None]

    def full(self, name: str, cap: Told, rule: Told, channel: str) -> Full | None:
        if not meant(cap.get("of", {}), rule, channel) or rule["priority"] >= cap.get("spare_from", 1_000):
            return None
        counted = [(time, class_named(sent)) for time, by, sent in self.contacts if self.counts(cap, time, by, sent)]
        allowed, reserve, order = cap["at_most"], cap.get("reserve"), list(self.classes())
        if len(counted) < allowed and reserve:
            lower = order[order.index(reserve["for"]) + 1 :]
            if class_named(rule) not in lower:
                return None
            counted, allowed = [one for one in counted if one[1] in lower], allowed - reserve["slots"]
        if len(counted) < allowed:
            return None
        until = FUTURE  # where nothing is allowed
        if allowed and "within" in cap:
            until = counted[-allowed][0] + length(cap["within"])
        elif allowed:
            until = period_end(cap["per"], self.now, self.zone(cap.get("zone", "firm")))
        return Full(name, cap, len(counted), allowed, until)

    def counts(self, cap: Told, time: int, channel: str, sent: Told) -> bool:
        """As it was sent; which classes count is what the policy says now."""
        class_, of = self.classes().get(class_named(sent)) or {}, cap.get("of", {})
        if not meant(of, sent, channel) or not (class_.get("counts", True) or "class" in of):
            return False
        if "within" in cap:
            return time > self.now - length(cap["within"])
        zone = self.zone(cap.get("zone", "firm"))
        return period(cap["per"], clock(time, zone)) == period(cap["per"], clock(self.now, zone))


if __name__ == "__main__":
    from tests.properties.policy_proof import main

    raise SystemExit(main())
