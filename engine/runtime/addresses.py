"""Addresses as settings give them: hosts, and the URL of Redis.

Enters: text. Leaves: its parts, or why it is no address. Holds: no message quotes a URL, which may hold a password.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlsplit

REDIS_URL: Final = "needs a URL such as redis://USER:PASSWORD@HOST:6379/0"
_HOST: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")


def odd_characters(value: str) -> str | None:
    """What no name, address or password has: usually the rest of a file or a clipboard. None: there is nothing odd."""
    for place, character in enumerate(value, 1):
        if character in "\n\r\t":
            return f"character {place} is a line break or tab: take it out"
        if not character.isprintable():
            return f"character {place} (U+{ord(character):04X}) is invisible or no valid text: take it out"
    return None


def is_host(host: str) -> bool:
    """A name or an address of a machine."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        numbers = host.replace(".", "").isdecimal()
        return not numbers and len(host) < 254 and _HOST.fullmatch(host) is not None
    return True


@dataclass(frozen=True, slots=True)
class RedisAddresses:
    """A URL of Redis. It may name several servers, each with a port or without: HOST:PORT[,HOST:PORT]."""

    scheme: str
    user: str  # with its password and @
    servers: tuple[str, ...]
    rest: str

    @classmethod
    def of(cls, url: str) -> Self:
        """Raises ValueError, which says how it should look."""
        scheme, _, rest = url.partition("://")
        authority = re.split("[/?#]", rest, maxsplit=1)[0]
        user, at, servers = authority.rpartition("@")
        found = cls(scheme.lower(), user + at, tuple(re.split(", *", servers)), rest[len(authority) :])
        if not all(map(found._is_right, found.servers)):
            raise ValueError(REDIS_URL)
        return found

    def _is_right(self, server: str) -> bool:
        try:
            one = urlsplit(self.url(server))
            if self.scheme == "unix":
                return bool(one.path)
            right = one.hostname and is_host(one.hostname) and one.port != 0
        except ValueError:
            return False
        return bool(right and self.scheme in ("redis", "rediss") and re.fullmatch(r"/?|/[0-9]{1,4}", one.path))

    def url(self, server: str) -> str:
        """The URL of one server, with user, password, database and options as given."""
        return f"{self.scheme}://{self.user}{server}{self.rest}"
