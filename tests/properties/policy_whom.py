"""Whom an action suits, on which channels, what is said again on another one, and what a client has just read:
docs/policy.md, sections Channels, Suitability, The same text again.

Enters: a rule, what is known of the client. Leaves: yes or no, and until when.
Holds: everything is counted anew, from what was said and sent.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field, replace
from typing import Any

from tests.properties.policy_occasions import Client, Offer, Record
from tests.properties.policy_words import DAY, FIRM, PAST, Told, class_named, clock, length, listed

FAILED, REACHED = ("failed", "bounced"), ("delivered", "opened", "clicked")
LEVELS = ("R1", "R2", "R3", "R4", "R5")


@dataclass
class Whom(Client):
    """One client, and what was sent."""

    texts: list[tuple[int, tuple[Any, ...]]] = field(default_factory=list)  # time, template and parameters
    held: list[Offer] = field(default_factory=list)
    actions: int = 0  # that were sent, whoever acts; they are numbered from 1

    # -- channels ------------------------------------------------------------------------------------------------------

    def by_answers(self, channels: list[str], class_: Told) -> list[str]:
        """Those that the client answers to more go first; of equal ones the order stays."""
        answers = self.active.policy.get("answers", {})
        if not class_.get("by_answers"):
            return channels
        return sorted(channels, key=lambda channel: -(self.answered(answers[channel]) if channel in answers else 0))

    def answered(self, feature: str) -> int:
        """Of today and the day before: what was opened or clicked, as the features of the rule sets have it."""
        channel, today = feature.removesuffix("_opened_2d"), clock(self.now, FIRM).date()
        receipts = [record for topic, record in self.records if topic == "receipts" and record["channel"] == channel]
        days = [clock(one["time"], FIRM).date() for one in receipts if one["status"] in ("opened", "clicked")]
        return sum((today - day).days in (0, 1) for day in days)

    def rests_until(self, channel: str) -> int:
        """0 if it does not. Failures count in a row, by their own times; what reached the client ends those before."""
        rest = self.active.policy.get("rests", {}).get(channel)
        failures: list[int] = []
        for topic, record in self.records:
            if topic == "receipts" and record["channel"] == channel and record["status"] in FAILED:
                failures = sorted([*failures, record["time"]])
            elif topic == "receipts" and record["channel"] == channel and record["status"] in REACHED:
                failures = [time for time in failures if time > record["time"]]
        if rest is None or len(failures) < rest["after"]:
            return 0
        until = failures[-1] + length(rest["for"])
        return until if self.now < until else 0

    # -- what is said again --------------------------------------------------------------------------------------------

    def follow(self, offer: Offer, channel: str, most: int) -> None:
        """What was just sent waits to be said again; at most so many are held."""
        then, used = offer.rule.get("then"), (*offer.used, channel)
        if then is None or set(listed(then["channel"])) <= set(used) or len(self.held) >= most:
            return
        until = self.now + length(then["after"]) if "after" in then else offer.expires
        again = replace(
            offer, until=min(until, offer.expires), why="then", failed=False, follows=self.actions, used=used
        )
        self.held.append(again)

    def hear(self, topic: str, record: Record, number: int) -> Offer | None:
        """What became of an action: returns what was to be said again, and is held by the policy, where it ends so."""
        failed = topic == "receipts" and record["status"] in FAILED
        if topic not in ("receipts", "feedback") or record.get("status") == "delivered":
            return None
        found = next((offer for offer in self.held if offer.follows == number), None) if number else None
        if found is None:
            return None
        if failed:
            if found.why == "then":
                found.until, found.failed = min(found.until, self.now + 1), True  # the next moment
            return None
        self.held = [offer for offer in self.held if offer is not found]
        return None if found.why == "then" else found

    def number_of(self, record: Record) -> int:
        """Of the action that it is about: the last one sent, the one before, ...; 0 if there is none."""
        name, _, back = str(record.get("action_id")).partition("-")
        return max(self.actions + 1 - int(back), 0) if name == "latest" else 0

    # -- suitability ---------------------------------------------------------------------------------------------------

    def suits(self, rule: Told) -> bool:
        """What is not known does not suit."""
        if "offers" not in rule:
            return True
        suitability, name = self.active.policy["suitability"], rule["offers"]["product"].strip('"')
        barred = suitability.get("blacklist", {})
        product = self.active.products.get(name)
        if product is None or name in self.active.lists.get(barred.get("products"), ()):
            return False
        if "c1" in self.active.lists.get(barred.get("clients"), ()):
            return False
        level = self.fact("profiles", "risk_level")
        if level is None or LEVELS.index(level) < LEVELS.index(product["risk_class"]):
            return False
        if "assessed" in suitability and not self.is_assessed(length(suitability["within"])):
            return False
        return self.is_of_age(product)

    def is_assessed(self, within: int) -> bool:
        """client.days_since_balance stands for the assessment."""
        times = self.times_of("balances")
        return bool(times) and (self.now - max(times)) // DAY * DAY <= within

    def is_of_age(self, product: Told) -> bool:
        youngest, oldest = product["youngest"], product["oldest"]
        if youngest is None and oldest is None:
            return True
        born = self.fact("profiles", "birth_date")
        if born is None:
            return False
        years = age(dt.date.fromisoformat(born), clock(self.now, FIRM).date())
        return not (youngest is not None and years < youngest) and not (oldest is not None and years > oldest)

    # -- texts ---------------------------------------------------------------------------------------------------------

    def same_text(self, rule: Told, classes: Told) -> int:
        """How long the client does not get it again; the rule's own goes before its class's."""
        if rule["audience"] != "client":
            return 0
        class_ = classes[class_named(rule)] or {}
        return length(rule.get("same_text", class_.get("same_text", "0d")))

    def text(self, rule: Told) -> tuple[Any, ...]:
        return rule["template"], *(self.fact("profiles", "region") for _ in rule.get("parameters", {}))

    def repeated_until(self, rule: Told, classes: Told) -> int:
        """0 if the client has not read it within the time."""
        read = max((time for time, text in self.texts if text == self.text(rule)), default=PAST)
        until = read + self.same_text(rule, classes)
        return until if self.now < until else 0

    def note_text(self, rule: Told, classes: Told) -> None:
        """It counts where a rule of the set asks for it, of that template."""
        others = [one for one in self.active.rules if one["template"] == rule["template"]]
        if rule["audience"] == "client" and any(self.same_text(one, classes) for one in others):
            self.texts.append((self.now, self.text(rule)))


def age(born: dt.date, today: dt.date) -> int:
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day))
