"""Caps: how many contacts a client may have in a period, of which those already had are counted.

Enters: the caps that concern an action, the client. Leaves: what stops it, with its numbers.
Holds: of several that stop it the one that does so longest is named, of equal ones the first. Contacts of a class that
does not count are left out, except by caps that name it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from engine.core.client import contacts
from engine.core.client.state import ClientState
from engine.core.contact import Contact
from engine.core.firm_time import NEVER_MS
from engine.core.policy.clock import FIRM, period_ms, zone_named
from engine.core.rules.policy import Cap, ContactPolicy

MOST_NAMED = 3  # of those that had the slots


# what will count towards a cap until a moment: when, and of which rule
Coming = Callable[[Cap, int], Sequence[tuple[int, str]]]


class Reached(NamedTuple):
    """A cap that leaves no room."""

    cap: Cap
    had: int
    at_most: int  # for this action: fewer than the cap's where slots are reserved for others
    until_ms: int | None  # None: it leaves room for none, ever
    lost_to: tuple[str, ...]  # the rules that had the latest of them
    elsewhere: bool = False  # another channel may have room


def reached(
    policy: ContactPolicy, caps: Iterable[Cap], client: ClientState, contact: Contact, coming: Coming
) -> Reached | None:
    """What leaves no room for a contact now."""
    met = [cap for cap in caps if cap.of.meets(contact)]
    found = [stop for cap in met if (stop := _reached(policy, cap, client, contact, coming)) is not None]
    if not found:
        return None
    longest = max(found, key=lambda stop: NEVER_MS if stop.until_ms is None else stop.until_ms)
    return longest._replace(elsewhere=all(stop.cap.of.channels for stop in found))


def _reached(policy: ContactPolicy, cap: Cap, client: ClientState, contact: Contact, coming: Coming) -> Reached | None:
    length_ms = cap.within_s * 1000
    if cap.per is None:
        since_ms, next_ms = client.now_ms - length_ms + 1, None
    else:
        zone = (zone_named(client.time_zone) if cap.zone == "client" else None) or FIRM
        since_ms, next_ms = period_ms(cap.per, client.now_ms, zone)
    uncounted = frozenset(one.name for one in policy.classes if not one.counts and not cap.of.classes)

    def meant(sent: Contact) -> bool:
        return sent.contact_class not in uncounted and cap.of.meets(sent)

    def stop(times: list[int], at_most: int) -> Reached | None:
        if len(times) < at_most:
            return None
        # the moment from which on fewer than `at_most` of them count
        until_ms = None
        if at_most:
            until_ms = next_ms if next_ms is not None else times[len(times) - at_most] + length_ms
        had = contacts.last_of(client.contacts, meant, since_ms, MOST_NAMED)
        rules = dict.fromkeys(one.rule for one in had if one.rule)
        return Reached(cap, len(times), at_most, until_ms, tuple(rules))

    times = contacts.times_of(client.contacts, meant, since_ms)
    if (whole := stop(times, cap.at_most)) is not None:
        return whole
    if cap.for_calendar:
        until_ms = client.now_ms + length_ms if next_ms is None else next_ms
        for kept, (due_ms, rule) in enumerate(coming(cap, until_ms), 1):
            had = len(times) if next_ms is not None else sum(t > due_ms - length_ms for t in times)
            if had + 1 + kept > cap.at_most:  # what is sent now would take its place
                return Reached(cap, len(times), max(cap.at_most - kept, 0), due_ms, (rule,))
    if not cap.reserved:
        return None
    lower = {one.name for one in policy.classes[policy.rank(cap.reserved_for) + 1 :]}
    if contact.contact_class not in lower:
        return None
    times = contacts.times_of(client.contacts, lambda one: meant(one) and one.contact_class in lower, since_ms)
    return stop(times, max(cap.at_most - cap.reserved, 0))
