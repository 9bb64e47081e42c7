"""A contact of a client: what was sent, or would be, as the rule was then.

Enters: nothing. Leaves: Contact, and the text under which states keep it.
Holds: a tag that a rule loses later was still the tag of what it sent before.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

_SEPARATOR = "\t"  # in no part


class Contact(NamedTuple):
    """All is "" for contacts that an older release only counted."""

    rule: str = ""
    kind: str = ""
    contact_class: str = ""
    channel: str = ""
    team: str = ""
    tags: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return _SEPARATOR.join((*self[:5], *self.tags)) if self.rule else ""


@lru_cache(maxsize=8192)
def contact_of(key: str) -> Contact:
    """The contact again."""
    rule, kind, contact_class, channel, team, *tags = key.split(_SEPARATOR) if key else ("",) * 5
    return Contact(rule, kind, contact_class, channel, team, tuple(tags))
