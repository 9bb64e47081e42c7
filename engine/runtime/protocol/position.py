"""Where a partition stands: the last write of every unit to the store, and the beginning of the next unit.

Enters: bytes as the store or the ledger holds them. Leaves: Position, End.
Holds: a position is its bytes, and is compared by them alone; they are put together from the ledger record's own bytes,
so that every version of the engine that reads the record comes to the same ones, whatever fields they hold.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.runtime import formats
from engine.runtime.errors import Refused


@dataclass(frozen=True, slots=True)
class End:
    """Where a unit leaves its partition, but for the unit's own place in the ledger."""

    offsets: Mapping[str, int] = field(default_factory=dict)  # inbound topic -> the offset to read next
    states: int = 0  # how many states there are
    tallies: Mapping[str, int] = field(default_factory=dict)  # how many of them have each label, such as a tier
    swept: str = ""  # digest of the rules under which every client has been evaluated
    load: Mapping[str, Any] = field(default_factory=dict)  # of a past: which, and how far it has come (`done`)
    pace: Mapping[str, int] = field(default_factory=dict)  # rate -> from when on it has room; see core/policy/rates.py
    others: Mapping[str, Any] = field(default_factory=dict)  # of a newer engine: carried along as they are

    def encode(self) -> bytes:
        known: dict[str, Any] = {
            "format": formats.POSITION_FORMAT,
            "offsets": self.offsets,
            "states": self.states,
            "tallies": self.tallies,
            "swept": self.swept,
        }
        if self.load:
            known["load"] = self.load
        if self.pace:
            known["pace"] = self.pace
        return json.dumps({**self.others, **known}, sort_keys=True, separators=(",", ":")).encode()

    @property
    def loading(self) -> bool:
        """Whether a load has begun and has not come to its end: nobody but a load may decide here."""
        return "done" in self.load

    @classmethod
    def decode(cls, text: bytes) -> End:
        """Raises ValueError, KeyError, TypeError or AttributeError for other bytes."""
        return cls._of(dict(json.loads(text)))

    @classmethod
    def _of(cls, fields: dict[str, Any]) -> End:
        formats.check_readable("a partition's position", fields.pop("format"), formats.POSITION_FORMAT)
        known = {name: fields.pop(name) for name in ("offsets", "states", "tallies", "swept")}
        return cls(**known, load=fields.pop("load", {}), pace=fields.pop("pace", {}), others=fields)


@dataclass(frozen=True, slots=True)
class Position:
    """How far a partition has come. `text` is what the store holds, byte by byte; the rest is read from it."""

    text: bytes = b""
    ledger: int = field(default=0, compare=False)  # the ledger offset to read next
    digest: str = field(default="", compare=False)  # of the last ledger record applied
    end: End = field(default_factory=End, compare=False)

    @classmethod
    def read(cls, text: bytes | None) -> Position:
        """As the store holds it. Raises Newer, or Refused for what is not a position."""
        if not text:
            return cls()
        try:
            fields = dict(json.loads(text))
            if "format" not in fields:
                return _of_0_1(text, fields)
            ledger, digest = fields.pop("ledger"), fields.pop("digest")
            return cls(text, ledger, digest, End._of(fields))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Refused(
                f"Redis holds no valid position of a partition: found {text[:60]!r}; another program wrote there. "
                "Restore Redis's backup, or empty it and run `engage rebuild`"
            ) from error

    @classmethod
    def after(cls, ledger: int, digest: str, end: bytes) -> Position:
        """That of a unit whose last ledger record has this digest and lies before the offset `ledger`."""
        return cls.read(b'{"ledger":%d,"digest":"%s",' % (ledger, digest.encode()) + end[1:])

    @classmethod
    def after_0_1(cls, ledger: int, digest: str, end: End) -> Position:
        """The same for a unit of 0.1.0, which put its positions together in another way."""
        fields = {
            "ledger": ledger,
            "digest": digest,
            "offsets": end.offsets,
            "clients": end.states,
            "tiers": end.tallies,
            "swept": end.swept,
        }
        return cls(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode(), ledger, digest, end)

    @property
    def offsets(self) -> Mapping[str, int]:
        return self.end.offsets

    @property
    def states(self) -> int:
        return self.end.states

    @property
    def tallies(self) -> Mapping[str, int]:
        return self.end.tallies

    @property
    def swept(self) -> str:
        return self.end.swept


def _of_0_1(text: bytes, fields: dict[str, Any]) -> Position:
    end = End(fields["offsets"], fields["clients"], fields["tiers"], fields["swept"])
    return Position(text, fields["ledger"], fields["digest"], end)
