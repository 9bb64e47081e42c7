"""Faults of the contact policy's gates: what is held, whom an action suits, channels, cooldowns, holdouts.

Enters: a function of the engine. Leaves: one that is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from zlib import crc32

from msgspec import structs

from engine.core.decide import path
from engine.core.policy import channels, clock, gates, holding
from engine.core.policy.gates import Hold, Suppress

# -- what is held ------------------------------------------------------------------------------------------------------


def waits_for_itself(gate: Callable[..., Any]) -> Callable[..., Any]:
    """Not for what others of the client have begun."""

    def mutant(plan: Any, client: Any, offer: Any) -> Any:
        found = gate(plan, client, offer)
        if isinstance(found, Hold):
            return structs.replace(found, until_ms=client.now_ms + offer.contact_class.collect_s * 1000)
        return found

    return mutant


def collects_again(gate: Callable[..., Any]) -> Callable[..., Any]:
    """What waited for quiet hours waits for others, too."""

    def mutant(plan: Any, client: Any, offer: Any) -> Any:
        held = offer.match.held
        if held is not None and held[holding.WHY] == "quiet_hours":
            offer = offer._replace(match=offer.match._replace(held=None))
        return gate(plan, client, offer)

    return mutant


def in_order_of_ids(send: Callable[..., Any]) -> Callable[..., Any]:
    def mutant(plan: Any, client: Any, cause: Any, matches: Any, *others: Any) -> Any:
        by_id = sorted(matches, key=lambda match: match.compiled.rule.id)
        with patch.object(path, "sorted", lambda given, key: given, create=True):
            return send(plan, client, cause, by_id, *others)

    return mutant


def began_anew(hold: Callable[..., Any]) -> Callable[..., Any]:
    """The expiry counts from when it was held again."""

    def mutant(plan: Any, client: Any, match: Any, *others: Any) -> None:
        hold(plan, client, match, *others)
        if match.held is not None:
            client.waiting[-1][holding.EXPIRES_MS] = client.now_ms + match.compiled.rule.expires_s * 1000

    return mutant


# -- the rest ----------------------------------------------------------------------------------------------------------


def of_service(granted: Callable[..., Any]) -> Callable[..., Any]:
    return lambda client, channel, _purpose: granted(client, channel, "service")


def on_any_channel(offer_of: Callable[..., Any]) -> Callable[..., Any]:
    """Without consent, though the class lists some."""

    def mutant(*given: Any) -> Any:
        offer = offer_of(*given)
        if "consent" not in offer.contact_class.exempt or not offer.to_client:
            return offer
        return offer._replace(agreed=offer.agreed + tuple(one for one in offer.channels if one not in offer.agreed))

    return mutant


def own_channels_first(offer_of: Callable[..., Any]) -> Callable[..., Any]:
    def mutant(*given: Any) -> Any:
        offer = offer_of(*given)
        return offer._replace(agreed=tuple(one for one in offer.channels if one in offer.agreed))

    return mutant


def as_agreed_before(offer_of: Callable[..., Any]) -> Callable[..., Any]:
    """What was held was agreed to when it was."""

    def mutant(*given: Any) -> Any:
        offer = offer_of(*given)
        return offer._replace(agreed=offer.channels) if offer.match.held is not None else offer

    return mutant


def a_moment_longer(gate: Callable[..., Any]) -> Callable[..., Any]:
    def mutant(plan: Any, client: Any, offer: Any) -> Any:
        return gate(plan, client, offer._replace(cooldown_ms=offer.cooldown_ms + 1))

    return mutant


def for_staff_too(gate: Callable[..., Any]) -> Callable[..., Any]:
    class ToClient:
        def __init__(self, offer: Any) -> None:
            self.offer, self.to_client = offer, True

        def __getattr__(self, name: str) -> Any:
            return getattr(self.offer, name)

    return lambda plan, client, offer: gate(plan, client, ToClient(offer))


def last_bar_first(gate: Callable[..., Any]) -> Callable[..., Any]:
    def mutant(plan: Any, client: Any, offer: Any) -> Any:
        turned = {name: tuple(reversed(bars)) for name, bars in plan.bars.items()}
        return gate(replace(plan, bars=turned), client, offer)

    return mutant


def draws_first(judge: Callable[..., Any]) -> Callable[..., Any]:
    def mutant(plan: Any, client: Any, match: Any, moment: Any = gates.IN_TIME) -> Any:
        offer = gates.offer_of(plan, client, match, moment)
        drawn = gates._drawn(client, offer, offer.channel)
        return drawn if isinstance(drawn, Suppress) else judge(plan, client, match, moment)

    return mutant


def forgets_holdouts(record: Callable[..., Any]) -> Callable[..., Any]:
    """What is held out begins no cooldown."""

    def mutant(plan: Any, client: Any, match: Any, verdict: Any) -> None:
        before = dict(client.acted)
        record(plan, client, match, verdict)
        if verdict.reason == "holdout":
            client.acted.clear()
            client.acted.update(before)

    return mutant


# -- what is said again ------------------------------------------------------------------------------------------------


def hears_nothing_of(*statuses: str) -> Callable[..., Any]:
    def change(heard: Callable[..., Any]) -> Callable[..., Any]:
        return lambda client, action, status: [] if status in statuses else heard(client, action, status)

    return change


def on_the_first_channel_again(left: Callable[..., Any]) -> Callable[..., Any]:
    """The channels of `then` that failed before are tried again."""

    def mutant(rule: Any, held: Any) -> Any:
        found = left(rule, held)
        return rule.then.channels if found else found

    return mutant


def as_if_it_followed_nothing(gate: Callable[..., Any]) -> Callable[..., Any]:
    """Asked as of what is said for the first time."""

    def mutant(plan: Any, client: Any, offer: Any) -> Any:
        match = offer.match
        held = match.held[: holding.FOLLOWS] if match.follows else match.held
        return gate(plan, client, offer._replace(match=match._replace(held=held)))

    return mutant


def waits_on(heard: Callable[..., Any]) -> Callable[..., Any]:
    """What failed is said again when it would have been anyway."""

    def mutant(client: Any, action: str, status: str) -> Any:
        before = [list(held) for held in client.waiting]
        found = heard(client, action, status)
        if status in channels.FAILED:
            client.waiting = before
        return found

    return mutant


def of_a_day_more(follow: Callable[..., Any]) -> Callable[..., Any]:
    """What is said again expires later than what was sent."""

    def mutant(plan: Any, client: Any, *about: Any) -> Any:
        before = len(client.waiting)
        found = follow(plan, client, *about)
        for held in client.waiting[before:]:
            held[holding.EXPIRES_MS] += 86_400_000
        return found

    return mutant


def takes_no_place(follow: Callable[..., Any]) -> Callable[..., Any]:
    def mutant(*given: Any) -> Any:
        with patch.object(holding, "is_full", lambda _client: False):
            return follow(*given)

    return mutant


# -- whom and by what --------------------------------------------------------------------------------------------------


def one_failure_more(rests_until_ms: Callable[..., Any]) -> Callable[..., Any]:
    def mutant(plan: Any, client: Any, channel: str) -> Any:
        rest = plan.rests.get(channel)
        if rest is not None and len(client.failures.get(channel, [])) <= rest.failures and rest.failures > 1:
            return None
        return rests_until_ms(plan, client, channel)

    return mutant


def by_arrival(note_receipt: Callable[..., Any]) -> Callable[..., Any]:
    """A receipt counts when it comes, not at its own time."""

    def mutant(plan: Any, client: Any, receipt: Any) -> None:
        note_receipt(plan, client, SimpleNamespace(channel=receipt.channel, status=receipt.status, time=client.now_ms))

    return mutant


def never_reached(note_receipt: Callable[..., Any]) -> Callable[..., Any]:
    def mutant(plan: Any, client: Any, receipt: Any) -> None:
        if receipt.status in channels.FAILED:
            note_receipt(plan, client, receipt)

    return mutant


def suits_later() -> Any:
    names = [gate.__name__ for _, gate in gates.GATES]
    place, later = names.index("_unsuitable"), names.index("_cooldown")
    return (*gates.GATES[:place], *gates.GATES[place + 1 : later + 1], gates.GATES[place], *gates.GATES[later + 1 :])


def unknown_suits(against: Callable[..., Any]) -> Callable[..., Any]:
    def mutant(*given: Any) -> Any:
        told = against(*given)
        return None if told and told[-1][0] == "unknown" else told

    return mutant


def a_year_older(ages_of: Callable[..., Any]) -> Callable[..., Any]:
    """By the calendar's years alone."""

    def mutant(client: Any) -> Any:
        born = client.birth_date
        years = clock.local(client.now_ms, clock.FIRM).year - int(born[:4]) if born else 0
        return (years, years) if born else ages_of(client)

    return mutant


def of_the_template_alone(_: Callable[..., Any]) -> Callable[..., Any]:
    return lambda client, match: crc32(match.compiled.rule.template.encode())


def of_the_rule_alone(text_of: Callable[..., Any]) -> Callable[..., Any]:
    return lambda client, match: text_of(client, match) ^ crc32(match.compiled.rule.id.encode())
