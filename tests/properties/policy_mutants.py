"""Deliberate faults of the engine's contact policy, each of which the slow model has to see in some history.

Enters: a name. Leaves: a context in which the engine has the fault.
Holds: outside of it the engine is as it was.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from engine.core.client import contacts
from engine.core.contact import contact_of
from engine.core.decide import path
from engine.core.firm_time import DAY_MS, MINUTE_MS
from engine.core.policy import caps, channels, clock, gates, holding, quiet, whom
from engine.core.policy import match as texts
from tests.properties import policy_faults as faults

Change = Callable[[Callable[..., Any]], Callable[..., Any]]  # a function's mutant


def in_place(owner: Any, name: str, change: Change) -> Any:
    return patch.object(owner, name, change(getattr(owner, name)))


def of_gate(name: str, change: Change) -> Any:
    """GATES holds the functions themselves."""
    changed = tuple((why, change(gate) if gate.__name__ == name else gate) for why, gate in gates.GATES)
    assert changed != gates.GATES, name
    return patch.object(gates, "GATES", changed)


def never(_: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *_: None


def unless_held(gate: Callable[..., Any]) -> Callable[..., Any]:
    """Not asked again at the release."""
    return lambda plan, client, offer: None if offer.match.held else gate(plan, client, offer)


# -- caps --------------------------------------------------------------------------------------------------------------


def with_cap(**fields: Callable[[Any], Any]) -> Any:
    def change(reached: Callable[..., Any]) -> Callable[..., Any]:
        def mutant(policy: Any, cap: Any, client: Any, contact: Any, *more: Any) -> Any:
            changed = replace(cap, **{name: of(cap) for name, of in fields.items()})
            found = reached(policy, changed, client, contact, *more)
            return found._replace(cap=cap) if found else None

        return mutant

    return in_place(caps, "_reached", change)


def a_window_is_longer(times_of: Callable[..., Any]) -> Callable[..., Any]:
    return lambda kept, meant, since_ms: times_of(kept, meant, since_ms - 1)


def period(per: str, begins: Callable[[int, Any, int], int]) -> Any:
    """Another beginning of one kind of period, from the moment, the zone and the beginning."""

    def change(period_ms: Callable[..., Any]) -> Callable[..., Any]:
        def mutant(asked: str, moment_ms: int, zone: Any) -> tuple[int, int]:
            begin, end = period_ms(asked, moment_ms, zone)
            return (begins(moment_ms, zone, begin) if asked == per else begin), end

        return mutant

    return in_place(caps, "period_ms", change)


def hour_of_the_wall(moment_ms: int, zone: Any, _begin: int) -> int:
    here = clock.local(moment_ms, zone)
    return clock.instants_ms(here.date(), here.hour * 60, zone)[0]


def tags_of_now(capped: Callable[..., Any]) -> Callable[..., Any]:
    """Those that the rules have, though they had others when they sent."""

    def mutant(plan: Any, *others: Any) -> Any:
        tags = {rule.id: rule.tags for rule in plan.rule_set.rules}

        def of_now(key: str) -> Any:
            sent = contact_of(key)
            return sent._replace(tags=tags.get(sent.rule, sent.tags))

        with patch.object(contacts, "contact_of", of_now):
            return capped(plan, *others)

    return mutant


def every_class_counts(reached: Callable[..., Any]) -> Callable[..., Any]:
    def mutant(policy: Any, *others: Any) -> Any:
        return reached(replace(policy, classes=tuple(replace(one, counts=True) for one in policy.classes)), *others)

    return mutant


def no_other_channel(reached: Callable[..., Any]) -> Callable[..., Any]:
    def mutant(*given: Any) -> Any:
        found = reached(*given)
        return found and found._replace(elsewhere=False)

    return mutant


def as_long_as_any(reached: Callable[..., Any]) -> Callable[..., Any]:
    def mutant(*given: Any) -> Any:
        found = reached(*given)
        return found and found._replace(until_ms=0)

    return mutant


def reserved_for_the_first(reached: Callable[..., Any]) -> Callable[..., Any]:
    """Class alone, not for those above the one that is named."""

    def mutant(policy: Any, cap: Any, *others: Any) -> Any:
        return reached(policy, replace(cap, reserved_for=policy.classes[0].name), *others)

    return mutant


def spared_do_not_count(record: Callable[..., Any]) -> Callable[..., Any]:
    def mutant(plan: Any, client: Any, match: Any, verdict: Any) -> None:
        before, rule = client.contacts, match.compiled.rule
        record(plan, client, match, verdict)
        if any(cap.spared_from is not None and rule.priority >= cap.spared_from for cap in plan.rule_set.policy.caps):
            client.contacts = before

    return mutant


# -- quiet hours -------------------------------------------------------------------------------------------------------


def with_hours(**fields: Callable[[Any], Any]) -> Any:
    def change(end_ms: Callable[..., Any]) -> Callable[..., Any]:
        def mutant(hours: Any, *others: Any) -> Any:
            return end_ms(replace(hours, **{name: of(hours) for name, of in fields.items()}), *others)

        return mutant

    return in_place(quiet, "_end_ms", change)


def without_summer_time(zone_named: Callable[..., Any]) -> Callable[..., Any]:
    def mutant(name: str | None) -> Any:
        zone = zone_named(name)
        offset = dt.datetime(2026, 1, 15, tzinfo=zone).utcoffset() if zone else None
        return dt.timezone(offset) if offset is not None else None

    return mutant


def the_first_time_only(instants_ms: Callable[..., Any]) -> Callable[..., Any]:
    """Of a time that a night has twice."""

    def mutant(*given: Any) -> tuple[int, ...]:
        return instants_ms(*given)[:1] * 2

    return mutant


def week_days_of_now(end_ms: Callable[..., Any]) -> Callable[..., Any]:
    """Hours over midnight end with the day on which they begin."""

    def mutant(hours: Any, moment_ms: int, zone: Any, business: Any) -> Any:
        there = clock.FIRM if zone is None or hours.zone == "firm" else zone
        if hours.days and clock.local(moment_ms, there).weekday() not in hours.days:
            return None
        return end_ms(hours, moment_ms, zone, business)

    return mutant


def holidays_known(end_ms: Callable[..., Any]) -> Callable[..., Any]:
    def mutant(*given: Any) -> Any:
        try:
            return end_ms(*given)
        except quiet.Unknown:
            return None

    return mutant


def made_up_days_are_free(holiday_end_ms: Callable[..., Any]) -> Callable[..., Any]:
    def mutant(moment_ms: int, business: Any) -> Any:
        found = holiday_end_ms(moment_ms, business)
        day_ms = (moment_ms // DAY_MS + 1) * DAY_MS - 8 * 60 * MINUTE_MS
        return found or (day_ms if clock.local(moment_ms, clock.FIRM).weekday() >= 5 else None)

    return mutant


def past_the_expiry(expires_ms: Callable[..., Any]) -> Callable[..., Any]:
    return lambda client, match: expires_ms(client, match) + DAY_MS


def another_share(spread_ms: Callable[..., Any]) -> Callable[..., Any]:
    """Each night."""
    return lambda plan, client: spread_ms(plan, client) and client.now_ms // DAY_MS % 2 * MINUTE_MS


MUTANTS: dict[str, Callable[[], Any]] = {
    "a cap allows one more": lambda: with_cap(at_most=lambda cap: cap.at_most + 1),
    "a cap allows one less": lambda: with_cap(at_most=lambda cap: max(cap.at_most - 1, 0)),
    "a window ends a moment late": lambda: in_place(contacts, "times_of", a_window_is_longer),
    "a month is the last thirty days": lambda: period("month", lambda now, _, __: now - 30 * DAY_MS),
    "a week begins on Sunday": lambda: period("week", lambda _, __, begin: begin - DAY_MS),
    "a day begins at midnight in UTC": lambda: period("day", lambda now, _, __: now - now % DAY_MS),
    "an hour that a night has twice is one": lambda: period("hour", hour_of_the_wall),
    "a client's calendar is the firm's": lambda: with_cap(zone=lambda _: "firm"),
    "the first full cap is named": lambda: in_place(caps, "_reached", as_long_as_any),
    "tags as of now instead of as sent": lambda: in_place(gates, "_capped", tags_of_now),
    "all classes count": lambda: in_place(caps, "_reached", every_class_counts),
    "no slot is reserved": lambda: with_cap(reserved=lambda _: 0),
    "slots are reserved for the first class": lambda: in_place(caps, "_reached", reserved_for_the_first),
    "what is spared does not count": lambda: in_place(path, "record", spared_do_not_count),
    "a full channel is the last that is tried": lambda: in_place(caps, "reached", no_other_channel),
    "quiet hours end a minute late": lambda: with_hours(until=lambda hours: (hours.until + 1) % 1440 or 1),
    "quiet hours begin a minute late": lambda: with_hours(begin=lambda hours: (hours.begin + 1) % 1440),
    "quiet hours by the firm's clock": lambda: with_hours(zone=lambda _: "firm"),
    "no summer time": lambda: in_place(gates, "zone_named", without_summer_time),
    "a time that comes twice ends once": lambda: in_place(quiet, "instants_ms", the_first_time_only),
    "days on which quiet hours end": lambda: in_place(quiet, "_end_ms", week_days_of_now),
    "an unknown day is a working day": lambda: in_place(quiet, "_end_ms", holidays_known),
    "made-up working days are free": lambda: in_place(quiet, "_holiday_end_ms", made_up_days_are_free),
    "held beyond the expiry": lambda: in_place(holding, "expires_ms", past_the_expiry),
    "another share each night": lambda: in_place(holding, "spread_ms", another_share),
    "conditions are not asked again": lambda: of_gate("_no_longer_true", never),
    "consent is not asked again": lambda: in_place(gates, "offer_of", faults.as_agreed_before),
    "do not contact is not asked again": lambda: of_gate("_do_not_contact", unless_held),
    "cooldowns are not asked again": lambda: of_gate("_cooldown", unless_held),
    "each collects for itself": lambda: of_gate("_collected", faults.waits_for_itself),
    "what was held collects again": lambda: of_gate("_collected", faults.collects_again),
    "what falls due late does not wait": lambda: of_gate("_late", never),
    "released by id, not by priority": lambda: in_place(path, "_send", faults.in_order_of_ids),
    "one more may wait": lambda: patch.object(holding, "MAX_WAITING", holding.MAX_WAITING + 1),
    "held again, its expiry begins anew": lambda: in_place(holding, "hold", faults.began_anew),
    "consent of another purpose": lambda: in_place(gates, "granted", faults.of_service),
    "a class without consent uses any channel": lambda: in_place(gates, "offer_of", faults.on_any_channel),
    "channels without consent come in the rule's order": lambda: in_place(gates, "offer_of", faults.own_channels_first),
    "a cooldown is a moment longer": lambda: of_gate("_cooldown", faults.a_moment_longer),
    "staff may not be asked to contact": lambda: of_gate("_do_not_contact", faults.for_staff_too),
    "a snooze of all lets staff rest": lambda: of_gate("_snoozed", faults.for_staff_too),
    "a channel fails once more before it rests": lambda: in_place(channels, "rests_until_ms", faults.one_failure_more),
    "failures count when they are told": lambda: in_place(channels, "note_receipt", faults.by_arrival),
    "what reached the client ends no rest": lambda: in_place(channels, "note_receipt", faults.never_reached),
    "answers are not asked": lambda: in_place(channels, "by_answers", lambda _: lambda plan, client, given: given),
    "what keeps a class away is not asked again": lambda: of_gate("_not_while", unless_held),
    "a class is kept from staff, too": lambda: of_gate("_not_while", faults.for_staff_too),
    "the last that keeps a class away is named": lambda: of_gate("_not_while", faults.last_bar_first),
    "what failed is not said again at once": lambda: in_place(channels, "heard", faults.waits_on),
    "what was opened is said again": lambda: in_place(channels, "heard", faults.hears_nothing_of("opened", "clicked")),
    "what was answered is said again": lambda: in_place(channels, "heard", faults.hears_nothing_of("answered")),
    "who wants no more hears it again": lambda: in_place(channels, "heard", faults.hears_nothing_of("opted_out")),
    "said again where it failed before": lambda: in_place(holding, "left", faults.on_the_first_channel_again),
    "a cooldown stops what is said again": lambda: of_gate("_cooldown", faults.as_if_it_followed_nothing),
    "a text is not said again elsewhere": lambda: of_gate("_repeated", faults.as_if_it_followed_nothing),
    "what is said again expires later": lambda: in_place(channels, "follow", faults.of_a_day_more),
    "more waits to be said again than may": lambda: in_place(channels, "follow", faults.takes_no_place),
    "what is not known suits": lambda: in_place(whom, "against", faults.unknown_suits),
    "suitability is asked after cooldowns": lambda: patch.object(gates, "GATES", faults.suits_later()),
    "ages without birthdays": lambda: in_place(whom, "ages_of", faults.a_year_older),
    "parameters make no other text": lambda: in_place(texts, "text_of", faults.of_the_template_alone),
    "another rule's text is another": lambda: in_place(texts, "text_of", faults.of_the_rule_alone),
    "held out before all else": lambda: in_place(path, "judge", faults.draws_first),
    "what is held out begins no cooldown": lambda: in_place(path, "record", faults.forgets_holdouts),
}


@contextmanager
def mutated(name: str) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(MUTANTS[name]())
        yield
