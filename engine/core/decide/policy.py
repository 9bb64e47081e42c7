"""The contact policy: whether the action of a rule that matched is sent, and if not, why.

Enters: a Plan, the client, a Match. Leaves: a Verdict, from gates in one order; and what the client remembers of it.
Holds: `judge` changes nothing, so that `explain` can ask the same question; `record` alone changes what the gates read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from engine.core.client import overrides
from engine.core.client.consents import granted
from engine.core.client.state import MAX_HISTORY, ClientState
from engine.core.contract.outbound import Outcome
from engine.core.decide.tiers import TierMove
from engine.core.firm_time import DAY_MS, NEVER_MS
from engine.core.plan.compile import CompiledRule, Plan


class Match(NamedTuple):
    """A rule whose condition holds, and what it is about: the names of its expressions are read from these."""

    compiled: CompiledRule
    event: Any = None  # an Event, a Maturity or None
    move: TierMove | None = None


@dataclass(frozen=True, slots=True)
class Send:
    """The action is published."""

    channel: str
    reason: Outcome = Outcome.SENT


@dataclass(frozen=True, slots=True)
class Suppress:
    """The action is not published, for a reason; `channel` is the one it would have taken."""

    channel: str
    reason: Outcome
    until_ms: int | None = None  # when the reason ends, if that is known


Verdict = Send | Suppress
PURPOSE: Final = "service"  # of every contact


class Offer(NamedTuple):
    """What a gate judges."""

    match: Match
    decided_ms: int  # the moment at which it is decided; 0: in time
    cooldown_ms: int
    channels: tuple[str, ...]  # in order of preference
    channel: str  # the first that the client agreed to; if there is none, the first of all

    @property
    def to_client(self) -> bool:
        return self.match.compiled.rule.audience == "client"


Gate = Callable[[Plan, ClientState, Offer], Suppress | None]


def _expired(plan: Plan, client: ClientState, offer: Offer) -> Suppress | None:
    """Its expiry had already passed when it was decided."""
    expires_ms = client.now_ms + offer.match.compiled.rule.expires_s * 1000
    return Suppress(offer.channel, Outcome.EXPIRED) if offer.decided_ms >= expires_ms else None


def _past_unknown(plan: Plan, client: ClientState, offer: Offer) -> Suppress | None:
    """Its condition may hold only because a feature has been kept for less time than its window."""
    if all(reach.is_known(client) for reach in offer.match.compiled.needs):
        return None
    return Suppress(offer.channel, Outcome.PAST_UNKNOWN)


def _day_unknown(plan: Plan, client: ClientState, offer: Offer) -> Suppress | None:
    """It may hold only because a list of days, or the calendar, says nothing of the day in question."""
    beyond = offer.match.compiled.beyond
    if beyond is None or not beyond(client, offer.match.event, offer.match.move):
        return None
    return Suppress(offer.channel, Outcome.DAY_UNKNOWN)


def _do_not_contact(plan: Plan, client: ClientState, offer: Offer) -> Suppress | None:
    """Staff said so. Work for staff goes on."""
    if not client.overrides or not offer.to_client:
        return None
    until_ms = overrides.until_ms(client, overrides.DO_NOT_CONTACT)
    if until_ms is None:
        return None
    return Suppress(offer.channel, Outcome.DO_NOT_CONTACT, until_ms if until_ms < NEVER_MS else None)


def _snoozed(plan: Plan, client: ClientState, offer: Offer) -> Suppress | None:
    """Staff let the rule rest, whoever acts; or everything that goes to the client."""
    if not client.overrides:
        return None
    of_rule = overrides.until_ms(client, overrides.SNOOZE, offer.match.compiled.rule.id)
    of_all = overrides.until_ms(client, overrides.SNOOZE) if offer.to_client else None
    until_ms = max(of_rule or 0, of_all or 0)
    return Suppress(offer.channel, Outcome.SNOOZED, until_ms) if until_ms else None


def _cooldown(plan: Plan, client: ClientState, offer: Offer) -> Suppress | None:
    acted_ms = client.acted.get(offer.match.compiled.rule.id)
    if acted_ms is None or client.now_ms >= acted_ms + offer.cooldown_ms:
        return None
    return Suppress(offer.channel, Outcome.COOLDOWN, acted_ms + offer.cooldown_ms)


def _no_consent(plan: Plan, client: ClientState, offer: Offer) -> Suppress | None:
    if not offer.to_client or granted(client, offer.channel, PURPOSE):
        return None
    return Suppress(offer.channel, Outcome.NO_CONSENT)


def _daily_cap(plan: Plan, client: ClientState, offer: Offer) -> Suppress | None:
    if not offer.to_client or client.contacts_day != client.day:
        return None
    policy = plan.rule_set.policy
    if client.contacts_today < policy.daily_cap or policy.is_urgent(offer.match.compiled.rule.priority):
        return None
    return Suppress(offer.channel, Outcome.DAILY_CAP)


# In the order of `Outcome`: the first that stops an action is the one recorded.
GATES: Final[tuple[tuple[Outcome, Gate], ...]] = (
    (Outcome.EXPIRED, _expired),
    (Outcome.PAST_UNKNOWN, _past_unknown),
    (Outcome.DAY_UNKNOWN, _day_unknown),
    (Outcome.DO_NOT_CONTACT, _do_not_contact),
    (Outcome.SNOOZED, _snoozed),
    (Outcome.COOLDOWN, _cooldown),
    (Outcome.NO_CONSENT, _no_consent),
    (Outcome.DAILY_CAP, _daily_cap),
)


def offer_of(client: ClientState, match: Match, decided_ms: int = 0) -> Offer:
    """What the rule offers this client now: its cooldown and channels can depend on the client."""
    rule = match.compiled.rule
    days, by_table = match.compiled.contact(client, None, None)
    channels: tuple[str, ...] = by_table or rule.channels
    most_ms = rule.cooldown_s * 1000
    cooldown_ms = most_ms if days is None else min(round(days * DAY_MS), most_ms)
    agreed = next((channel for channel in channels if granted(client, channel, PURPOSE)), channels[0])
    return Offer(match, decided_ms, cooldown_ms, channels, agreed if rule.audience == "client" else channels[0])


def judge(plan: Plan, client: ClientState, match: Match, decided_ms: int = 0) -> Verdict:
    """The verdict on the action. Changes nothing."""
    offer = offer_of(client, match, decided_ms)
    for _, gate in GATES:
        if (verdict := gate(plan, client, offer)) is not None:
            return verdict
    return Send(offer.channel)


def record(client: ClientState, match: Match, verdict: Verdict) -> None:
    """Remember the verdict: for cooldowns, the daily cap, and the list of the client's last outcomes."""
    rule = match.compiled.rule
    if isinstance(verdict, Send):
        client.acted[rule.id] = client.now_ms
        if rule.audience == "client":
            if client.contacts_day != client.day:
                client.contacts_day, client.contacts_today = client.day, 0
            client.contacts_today += 1
    times = 1
    if isinstance(verdict, Suppress):  # the same outcome again is counted, not listed again
        for index, entry in enumerate(client.recent):
            if entry[1] == rule.id and entry[4] == verdict.reason:
                times = entry[5] + 1
                del client.recent[index]
                break
    client.recent.append([client.now_ms, rule.id, rule.kind, verdict.channel, verdict.reason.value, times])
    if len(client.recent) > MAX_HISTORY:
        del client.recent[0]
