"""The contact policy: whether the action of a rule that matched is sent, and if not, why.

Enters: a Plan, the client, a Match. Leaves: a Verdict, from gates in one order.
Holds: `judge` changes nothing, so that `explain` can ask the same question; outcomes.py changes what the gates read.
The first gate that stops an action is the one recorded. Quiet hours and caps are asked of each channel in its order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

import msgspec

from engine.core.client import overrides
from engine.core.client.consents import granted
from engine.core.client.items import ENDED, ENTERED_MS, STANDS, journey
from engine.core.client.state import ClientState
from engine.core.contract.message import rfc3339
from engine.core.contract.outbound import Outcome, Value
from engine.core.firm_time import DAY_MS, NEVER_MS
from engine.core.language.helpers import place
from engine.core.plan.compile import Plan
from engine.core.policy import caps, channels, holding, quiet, whom
from engine.core.policy.clock import next_ms, zone_named
from engine.core.policy.match import Match, sent_ms
from engine.core.rules.occasion import AT, BEGINS, Calendar
from engine.core.rules.policy import Cap, ContactClass

LATE_MS: Final = 2_000  # what fell due longer ago waits until all that has come since is known
UNSTOPPED: Final = {"consent", "do_not_contact", "snooze"}  # of a class exempt from all: what came since cannot stop it
Told = tuple[tuple[str, Value], ...]  # the numbers of a reason


class Send(msgspec.Struct, frozen=True, gc=False):
    """The action is published."""

    channel: str
    reason: Outcome = Outcome.SENT
    until_ms: int | None = None
    told: Told = ()


class Suppress(msgspec.Struct, frozen=True, gc=False):
    """The action is not published, for a reason; `channel` is the one it would have taken."""

    channel: str
    reason: Outcome
    until_ms: int | None = None  # when the reason ends, if that is known
    told: Told = ()


class Hold(msgspec.Struct, frozen=True, gc=False):
    """The action waits, and is decided again at `until_ms`."""

    channel: str
    until_ms: int
    why: str  # quiet_hours, collect, late, paused, rate, budget
    told: Told = ()
    reason: Outcome = Outcome.HELD


Verdict = Send | Suppress | Hold


class Moment(NamedTuple):
    """When a match is judged. With neither it is in time, as what an event brings about."""

    decided_ms: int = 0  # by the wall clock, of what fell due before; 0: in time
    behind: bool = False  # events that came since are still to be read


IN_TIME: Final = Moment()


class Offer(NamedTuple):
    """What a gate judges."""

    match: Match
    moment: Moment
    cooldown_ms: int
    channels: tuple[str, ...]  # in order of preference
    channel: str  # the first that the client agreed to; if there is none, the first of all
    agreed: tuple[str, ...]
    resting: tuple[str, ...] = ()  # of those that the client agreed to, too

    @property
    def to_client(self) -> bool:
        return self.match.compiled.rule.audience == "client"

    @property
    def contact_class(self) -> ContactClass:
        return self.match.compiled.contact_class


Gate = Callable[[Plan, ClientState, Offer], Suppress | Hold | None]


def _expired(plan: Plan, client: ClientState, offer: Offer) -> Suppress | None:
    """Its expiry had already passed when it was decided."""
    over = max(offer.moment.decided_ms, client.now_ms) >= holding.expires_ms(client, offer.match)
    return Suppress(offer.channel, Outcome.EXPIRED) if over else None


def _no_longer_true(plan: Plan, client: ClientState, offer: Offer) -> Suppress | None:
    """It has waited, and what it would say is not so any more."""
    match = offer.match
    if match.held is None or not match.compiled.rule.still or holding.is_still_true(plan, client, match):
        return None
    return Suppress(offer.channel, Outcome.NO_LONGER_TRUE)


def _past_unknown(plan: Plan, client: ClientState, offer: Offer) -> Suppress | None:
    """Its condition may hold only because a feature has been kept for less time than its window."""
    known = all(reach.is_known(client) for reach in offer.match.compiled.needs)
    return None if known else Suppress(offer.channel, Outcome.PAST_UNKNOWN)


def _day_unknown(plan: Plan, client: ClientState, offer: Offer) -> Suppress | None:
    """It may hold only because a list of days, or the calendar, says nothing of the day in question."""
    compiled, event, move, _ = offer.match
    unknown = compiled.beyond is not None and compiled.beyond(client, event, move)
    return Suppress(offer.channel, Outcome.DAY_UNKNOWN) if unknown else None


def _do_not_contact(plan: Plan, client: ClientState, offer: Offer) -> Suppress | None:
    """Staff said so. Work for staff goes on."""
    if not client.overrides or not offer.to_client or "do_not_contact" in offer.contact_class.exempt:
        return None
    until_ms = overrides.until_ms(client, overrides.DO_NOT_CONTACT)
    if until_ms is None:
        return None
    return Suppress(offer.channel, Outcome.DO_NOT_CONTACT, until_ms if until_ms < NEVER_MS else None)


def _snoozed(plan: Plan, client: ClientState, offer: Offer) -> Suppress | None:
    """Staff let the rule rest, whoever acts; or everything that goes to the client."""
    if not client.overrides or "snooze" in offer.contact_class.exempt:
        return None
    asked = (offer.match.compiled.rule.id, "") if offer.to_client else (offer.match.compiled.rule.id,)
    until_ms = max(overrides.until_ms(client, overrides.SNOOZE, rule) or 0 for rule in asked)
    return Suppress(offer.channel, Outcome.SNOOZED, until_ms) if until_ms else None


def _not_while(plan: Plan, client: ClientState, offer: Offer) -> Suppress | None:
    """Its class says of what is the case now that the client gets none of it meanwhile."""
    bars = plan.bars.get(offer.contact_class.name, ()) if offer.to_client else ()
    name = next((bar.name for bar in bars if bar.holds(client)), None)
    return Suppress(offer.channel, Outcome.NOT_WHILE, told=(("while", name),)) if name else None


def _unsuitable(plan: Plan, client: ClientState, offer: Offer) -> Suppress | None:
    """What it offers does not suit the client, whoever acts."""
    if offer.match.compiled.offers is None or (told := whom.against(plan, client, offer.match)) is None:
        return None
    return Suppress(offer.channel, Outcome.UNSUITABLE, None, told)


def _cooldown(plan: Plan, client: ClientState, offer: Offer) -> Suppress | None:
    acted_ms = client.acted.get(offer.match.compiled.rule.id)
    if acted_ms is None or offer.match.follows or client.now_ms >= acted_ms + offer.cooldown_ms:
        return None
    return Suppress(offer.channel, Outcome.COOLDOWN, acted_ms + offer.cooldown_ms)


def _not_entered(plan: Plan, client: ClientState, offer: Offer) -> Suppress | None:
    """The client is in the journey or was, or what ends it holds already."""
    rule = offer.match.compiled.rule
    if rule.kind != BEGINS:
        return None
    route, entry = plan.journeys[rule.id], journey(client.journeys, rule.id)
    if entry is not None:
        again_s, until_ms = route.journey.again_s, None
        if entry[ENDED] and again_s is not None:
            until_ms = entry[ENTERED_MS] + again_s * 1000
        if until_ms is None or client.now_ms < until_ms:
            told = ("ended", entry[ENDED]) if entry[ENDED] else ("step", entry[STANDS])
            return Suppress(offer.channel, Outcome.NOT_ENTERED, until_ms, (told,))
    reason = route.ended_by(client)
    return Suppress(offer.channel, Outcome.NOT_ENTERED, told=(("ends", reason),)) if reason else None


def _no_consent(plan: Plan, client: ClientState, offer: Offer) -> Suppress | None:
    if not offer.to_client or offer.agreed or offer.resting:
        return None
    told: Told = (("purpose", offer.contact_class.purpose), ("channels", ", ".join(offer.channels)))
    return Suppress(offer.channel, Outcome.NO_CONSENT, told=told)


def _channel_rests(plan: Plan, client: ClientState, offer: Offer) -> Suppress | None:
    """All channels that are left have failed too often in a row."""
    if offer.agreed or not offer.resting:
        return None
    ends = {channel: channels.rests_until_ms(plan, client, channel) or 0 for channel in offer.resting}
    first = min(offer.resting, key=lambda channel: ends[channel])
    told: Told = (("channel", first), ("failures", len(client.failures[first])))
    return Suppress(first, Outcome.CHANNEL_RESTS, ends[first], told)


def _repeated(plan: Plan, client: ClientState, offer: Offer) -> Suppress | None:
    """The client has just read it."""
    compiled = offer.match.compiled
    if not compiled.same_text_ms or offer.match.follows or (at_ms := sent_ms(client, offer.match)) is None:
        return None
    told: Told = (("template", compiled.rule.template), ("sent", rfc3339(at_ms)))
    return Suppress(offer.channel, Outcome.REPEATED, at_ms + compiled.same_text_ms, told)


def _late(plan: Plan, client: ClientState, offer: Offer) -> Suppress | Hold | None:
    """It fell due a while ago, and what has happened since is still to be read: a withdrawal of consent, say."""
    decided_ms, behind = offer.moment
    if not behind or not offer.to_client or decided_ms - client.now_ms <= LATE_MS:
        return None
    if holding.is_full(client) and UNSTOPPED.issubset(offer.contact_class.exempt):
        return None
    return _if_room(client, Hold(offer.channel, decided_ms, "late"))


def _if_room(client: ClientState, hold: Hold) -> Suppress | Hold:
    """At most so many wait of a client."""
    return Suppress(hold.channel, Outcome.QUIET_HOURS) if holding.is_full(client) else hold


def _collected(plan: Plan, client: ClientState, offer: Offer) -> Suppress | Hold | None:
    """Its class waits for what competes with it: from the first of them on, all for the same time."""
    collect_ms = offer.contact_class.collect_s * 1000
    if not collect_ms or not offer.to_client or offer.match.held is not None:
        return None
    begun = [
        entry[holding.RELEASE_MS]
        for entry in client.waiting
        if entry[holding.WHY] == "collect" and entry[holding.RELEASE_MS] > client.now_ms
    ]
    return _if_room(client, Hold(offer.channel, min((client.now_ms + collect_ms, *begun)), "collect"))


def _paused(plan: Plan, client: ClientState, offer: Offer) -> Suppress | Hold | None:
    """Its rule is paused for everybody; or what a pause held was dropped. Asked only where one was ever paused."""
    match = offer.match
    pause = plan.paused.get(match.compiled.rule.id)
    if match.held is not None and holding.is_dropped(plan, match.held):
        return Suppress(offer.channel, Outcome.PAUSED)
    if pause is None:
        return None
    told: Told = (("since", rfc3339(pause.since_ms)), ("by", pause.by), ("why", pause.why))
    if holding.is_full(client) or holding.is_full_of_paused(client):
        return Suppress(offer.channel, Outcome.PAUSED, None, told)
    return Hold(offer.channel, holding.expires_ms(client, match), holding.PAUSED, told)


# What few rules ask, or few clients have.
RARE: Final = (
    Outcome.NOT_WHILE, Outcome.UNSUITABLE, Outcome.NOT_ENTERED, Outcome.CHANNEL_RESTS, Outcome.REPEATED,
)  # fmt: skip
# In the order of `Outcome`: the first that stops an action is the one recorded.
GATES: Final[tuple[tuple[Outcome, Gate], ...]] = (
    (Outcome.EXPIRED, _expired),
    (Outcome.NO_LONGER_TRUE, _no_longer_true),
    (Outcome.PAST_UNKNOWN, _past_unknown),
    (Outcome.DAY_UNKNOWN, _day_unknown),
    (Outcome.DO_NOT_CONTACT, _do_not_contact),
    (Outcome.SNOOZED, _snoozed),
    (Outcome.NOT_WHILE, _not_while),
    (Outcome.UNSUITABLE, _unsuitable),
    (Outcome.COOLDOWN, _cooldown),
    (Outcome.NOT_ENTERED, _not_entered),
    (Outcome.NO_CONSENT, _no_consent),
    (Outcome.CHANNEL_RESTS, _channel_rests),
    (Outcome.REPEATED, _repeated),
    (Outcome.HELD, _late),
    (Outcome.HELD, _collected),
)


def offer_of(plan: Plan, client: ClientState, match: Match, moment: Moment) -> Offer:
    """What the rule offers this client now: its cooldown and channels can depend on the client."""
    rule = match.compiled.rule
    days, by_table = match.compiled.contact(client, None, None)
    to_use: tuple[str, ...] = by_table or rule.channels
    most_ms = rule.cooldown_s * 1000
    cooldown_ms = most_ms if days is None else min(round(days * DAY_MS), most_ms)
    if rule.audience != "client":
        return Offer(match, moment, cooldown_ms, to_use, to_use[0], to_use)
    own = match.compiled.contact_class
    if match.held is not None or own.by_answers:
        to_use = channels.to_try(plan, client, match, to_use)
    agreed = tuple(channel for channel in to_use if granted(client, channel, own.purpose))
    if "consent" in own.exempt:
        agreed += tuple(one for one in to_use if one in own.channels and one not in agreed)
    resting = channels.resting(plan, client, agreed) if client.failures and "rests" not in own.exempt else ()
    agreed = tuple(one for one in agreed if one not in resting)
    return Offer(match, moment, cooldown_ms, to_use, (*agreed, *to_use)[0], agreed, resting)


def judge(plan: Plan, client: ClientState, match: Match, moment: Moment = IN_TIME) -> Verdict:
    """The verdict on the action. Changes nothing."""
    offer, rare = offer_of(plan, client, match, moment), match.compiled.rare
    for outcome, gate in GATES:
        if (rare or offer.resting or outcome not in RARE) and (verdict := gate(plan, client, offer)) is not None:
            return verdict
    if (plan.paused or plan.resumed) and (stopped := _paused(plan, client, offer)) is not None:
        return stopped
    if not offer.to_client:
        return _drawn(client, offer, offer.channel)
    stops: list[Suppress | Hold] = []
    for channel in offer.agreed:
        stopped = _quiet(plan, client, offer, channel)
        elsewhere = offer.contact_class.when_quiet == "other_channel"
        if stopped is None:
            stopped, elsewhere = _capped(plan, client, offer, channel)
        if stopped is None:
            return _drawn(client, offer, channel)
        stops.append(stopped)
        if not elsewhere:
            break
    # what can go out later on one of them is not lost because there is no room on another
    holds = [stop for stop in stops if isinstance(stop, Hold)]
    return min(holds, key=lambda hold: hold.until_ms) if holds else stops[0]


def _drawn(client: ClientState, offer: Offer, channel: str) -> Send | Suppress:
    """All else lets it pass: it is sent unless the client is held out of it. So both arms are asked alike."""
    compiled = offer.match.compiled
    if not compiled.holdouts or (by := whom.holds_out(compiled.holdouts, client.client_id)) is None:
        return Send(channel)
    told: Told = (("holdout", "rule" if by is compiled.rule.holdout else "firm"), ("share", by.share))
    told += (("place", round(place(by.salt, client.client_id), 4)),)
    return Suppress(channel, Outcome.HOLDOUT, None, told)


def _quiet(plan: Plan, client: ClientState, offer: Offer, channel: str) -> Suppress | Hold | None:
    """The clock on the client's wall, or the calendar, says that it is no time for this."""
    compiled, own = offer.match.compiled, offer.contact_class
    if not compiled.quiet:
        return None
    contact = compiled.rule.contact(channel)
    hours = [one for one in compiled.quiet if one.of.meets(contact)]
    zone, business = zone_named(client.time_zone), plan.timed.business
    expires_ms = holding.expires_ms(client, offer.match)
    try:
        until_ms = quiet.quiet_until_ms(hours, client.now_ms, zone, business)
    except quiet.Unknown as beyond:
        if beyond.moment_ms == client.now_ms or (own.when_quiet != "drop" and beyond.moment_ms < expires_ms):
            return Suppress(channel, Outcome.DAY_UNKNOWN)
        until_ms = None
    if until_ms == client.now_ms:
        return None
    now = quiet.quiet_now(hours, client.now_ms, zone, business)
    assert now is not None
    whose = "firm" if zone is None or now.zone == "firm" else client.time_zone
    told: Told = (("quiet_hours", now.name), ("zone", whose))
    if own.when_quiet == "drop" or until_ms is None or until_ms >= expires_ms or holding.is_full(client):
        return Suppress(channel, Outcome.QUIET_HOURS, until_ms, told)
    spread_ms = until_ms + holding.spread_ms(plan, client)
    return Hold(channel, spread_ms if spread_ms < expires_ms else until_ms, "quiet_hours", told)


def _capped(plan: Plan, client: ClientState, offer: Offer, channel: str) -> tuple[Suppress | None, bool]:
    """Whether the client has had enough; and whether another channel may have room."""
    compiled = offer.match.compiled
    if not compiled.caps:
        return None, False
    coming = partial(_coming, plan, client, compiled.rule.priority)
    stop = caps.reached(plan.rule_set.policy, compiled.caps, client, compiled.rule.contact(channel), coming)
    if stop is None:
        return None, False
    period = stop.cap.per or stop.cap.within_s
    told: Told = (("cap", stop.cap.name), ("count", stop.had), ("at_most", stop.at_most), ("period", period))
    told += (("lost_to", ", ".join(stop.lost_to)),) if stop.lost_to else ()
    return Suppress(channel, stop.cap.outcome, stop.until_ms, told), stop.elsewhere


def _coming(plan: Plan, client: ClientState, priority: int, cap: Cap, until_ms: int) -> list[tuple[int, str]]:
    """The calendar actions of higher priority that are known to be due before a moment and count towards a cap, by
    what is known of the client now: when, and of which rule; no more of them than the cap allows.
    """
    found: list[tuple[int, str]] = []
    for index in plan.match[AT](client, None, None):
        compiled = plan.compiled[AT][index]
        rule, when = compiled.rule, compiled.rule.occasion
        offer = offer_of(plan, client, Match(compiled), IN_TIME)
        counts = compiled.contact_class.counts or bool(cap.of.classes)
        if rule.priority <= priority or cap not in compiled.caps or not counts or not isinstance(when, Calendar):
            continue
        if rule.id in plan.paused:
            continue
        if not cap.of.meets(rule.contact(offer.channel)) or whom.holds_out(compiled.holdouts, client.client_id):
            continue
        if any(gate(plan, client, offer) for why, gate in GATES if why not in (Outcome.COOLDOWN, Outcome.HELD)):
            continue
        again_ms = client.acted.get(rule.id, -offer.cooldown_ms) + offer.cooldown_ms
        due_ms = client.now_ms
        for _ in range(cap.at_most):
            due_ms = next_ms(when, max(due_ms, again_ms - 1), client.birth_date, plan.timed.business)
            if due_ms >= until_ms:
                break
            found.append((due_ms, rule.id))
            again_ms = due_ms + offer.cooldown_ms
    return sorted(found)[: cap.at_most]
