"""What a client was sent lately: what caps count.

Enters: contacts, each with its time. Leaves: a log by kind of contact, and the times of those that a cap means.
Holds: times only grow. It reaches as far back as the longest cap did when it was kept: of a cap that is made longer the
beginning counts nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from engine.core.contact import Contact, contact_of

Contacts = dict[str, list[int]]  # the key of a contact -> when it was sent, in order; replaced, never changed


def noted(contacts: Contacts, contact: Contact, moment_ms: int) -> Contacts:
    return {**contacts, contact.key: [*contacts.get(contact.key, ()), moment_ms]}


def times_of(contacts: Contacts, meant: Callable[[Contact], bool], since_ms: int) -> list[int]:
    """When contacts that are meant were sent, in order, from a moment on."""
    found = [t for key, times in contacts.items() if meant(contact_of(key)) for t in times if t >= since_ms]
    return sorted(found)


def last_of(contacts: Contacts, meant: Callable[[Contact], bool], since_ms: int, most: int) -> list[Contact]:
    """The latest that are meant, the latest first."""
    found = [(t, key) for key, times in contacts.items() if meant(contact_of(key)) for t in times if t >= since_ms]
    return [contact_of(key) for _, key in sorted(found, reverse=True)[:most]]


def remembered(contacts: Contacts, since_ms: int) -> Contacts:
    """Those that are not older."""
    found = ((key, [t for t in times if t >= since_ms]) for key, times in contacts.items())
    return {key: times for key, times in found if times}


def renamed(contacts: Contacts, names: Mapping[str, str]) -> Contacts:
    """What a rule sent under a former id counts as its own."""
    found: Contacts = {}
    for key, times in contacts.items():
        contact = contact_of(key)
        now = contact._replace(rule=names.get(contact.rule, contact.rule)).key
        found[now] = sorted([*found.get(now, ()), *times])
    return found
