"""What staff decided of a client: a tier, a rest for rules, do not contact, notes.

Enters: overrides, each with its time. Leaves: the latest of each kind, and of the snooze of each rule; what holds at a
moment; when that changes.
Holds: the order in which overrides come makes no difference. One that has ended, or was withdrawn, is kept, so that an
older one does not come back to life; of those the oldest go first when there are more than MAX_OVERRIDES. Where the
latest is cancelled, the one before it holds: the last MAX_EARLIER of those are known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple, Protocol

from engine.core.firm_time import NEVER_MS

MAX_OVERRIDES: Final = 64
MAX_NOTES: Final = 10
TIER, SNOOZE, DO_NOT_CONTACT, NOTE = "tier", "snooze", "do_not_contact", "note"
_OF_A_RULE: Final = f"{SNOOZE} "  # begins the key of a rule's snooze
_WITHDRAWN, _HOLDS = 0, 1
# places in an override: of two of the same moment the greater counts, so that what stops more goes before what ends it
SAID_MS, STATE, UNTIL_MS, FROM_MS, BY, REASON, TIER_GIVEN = range(7)
EARLIER: Final = 7  # earlier ones of its kind, the latest first; left out when empty
MAX_EARLIER: Final = 2
Overrides = dict[str, list[Any]]


class Client(Protocol):
    overrides: Overrides
    now_ms: int


class Override(NamedTuple):
    """An override as it is shown."""

    kind: str
    rule_id: str | None
    said_ms: int
    from_ms: int
    until_ms: int | None  # None: for good
    by: str
    reason: str | None
    tier: str | None
    withdrawn: bool


def taken(overrides: Overrides, event: Any, now_ms: int) -> Overrides:
    """With one more: it counts if none of its kind is later."""
    key, entry = _entry(event)
    found = _kept([*_all(overrides.get(key)), entry])
    return _bounded({**overrides, key: found}, max(now_ms, event.time))


def taken_back(overrides: Overrides, event: Any) -> Overrides:
    """Without one that was cancelled: what it replaced holds, as far as that is known."""
    key, entry = _entry(event)
    entries = _all(overrides.get(key))
    if entry not in entries:
        return overrides
    entries.remove(entry)
    others = {name: other for name, other in overrides.items() if name != key}
    return dict(sorted({**others, key: _kept(entries)}.items())) if entries else others


def _entry(event: Any) -> tuple[str, list[Any]]:
    key = event.kind
    if event.kind == SNOOZE and event.rule_id is not None:
        key = _OF_A_RULE + event.rule_id
    elif event.kind == NOTE:
        key = f"{NOTE} {event.time:013} {event.event_id}"
    until_ms = NEVER_MS if event.until is None else event.until
    from_ms = max(event.time, event.starts_at or 0)
    state = _WITHDRAWN if event.ended else _HOLDS
    return key, [event.time, state, until_ms, from_ms, event.by, event.reason or "", event.tier or ""]


def _all(entry: list[Any] | None) -> list[list[Any]]:
    """It, and those before it."""
    return [entry[:EARLIER], *(entry[EARLIER] if len(entry) > EARLIER else ())] if entry is not None else []


def _kept(entries: list[list[Any]]) -> list[Any]:
    latest, *earlier = sorted(entries, key=_rank, reverse=True)[: MAX_EARLIER + 1]
    return [*latest, earlier] if earlier else latest


def _rank(entry: list[Any]) -> list[Any]:
    """Of two that end at once the one that begins earlier holds longer."""
    return [*entry[:FROM_MS], -entry[FROM_MS], *entry[BY:]]


def _bounded(overrides: Overrides, now_ms: int) -> Overrides:
    notes = sorted(key for key in overrides if key.startswith(NOTE))
    gone = set(notes[:-MAX_NOTES])
    others = [key for key in overrides if not key.startswith(NOTE)]
    if len(others) > MAX_OVERRIDES:
        gone.add(min(others, key=lambda key: (_is_on(overrides[key], now_ms), key == DO_NOT_CONTACT, overrides[key])))
    return {key: overrides[key] for key in sorted(overrides) if key not in gone}


def _is_on(entry: list[Any], now_ms: int) -> bool:
    """Whether it holds, or will."""
    return bool(entry[STATE] == _HOLDS and entry[UNTIL_MS] > now_ms)


def _now(client: Client, key: str) -> list[Any] | None:
    entry = client.overrides.get(key)
    if entry is None or entry[STATE] != _HOLDS or not entry[FROM_MS] <= client.now_ms < entry[UNTIL_MS]:
        return None
    return entry


def holds(client: Client, kind: str) -> bool:
    """Whether one that is of no rule holds now."""
    return bool(client.overrides) and _now(client, kind) is not None


def until_ms(client: Client, kind: str, rule_id: str = "") -> int | None:
    """Until when it holds, if it holds now; NEVER_MS: for good."""
    entry = _now(client, f"{kind} {rule_id}" if rule_id else kind)
    return entry[UNTIL_MS] if entry is not None else None


def tier_now(client: Client) -> str | None:
    """The tier that staff gave, while it holds."""
    entry = _now(client, TIER)
    return entry[TIER_GIVEN] if entry is not None else None


def next_change_ms(client: Client) -> int:
    """When the next one begins or ends."""
    return min(
        (
            moment_ms
            for key, entry in client.overrides.items()
            if entry[STATE] == _HOLDS and not key.startswith(NOTE)
            for moment_ms in (entry[FROM_MS], entry[UNTIL_MS])
            if moment_ms > client.now_ms
        ),
        default=NEVER_MS,
    )


def shown(overrides: Overrides) -> Iterator[Override]:
    """All that is kept, the latest first."""
    for key, entry in sorted(overrides.items(), key=lambda pair: (-pair[1][SAID_MS], pair[0])):
        kind, _, rest = key.partition(" ")
        yield Override(
            kind,
            rest if kind == SNOOZE and rest else None,
            entry[SAID_MS],
            entry[FROM_MS],
            None if entry[UNTIL_MS] >= NEVER_MS else entry[UNTIL_MS],
            entry[BY],
            entry[REASON] or None,
            entry[TIER_GIVEN] or None,
            entry[STATE] == _WITHDRAWN,
        )


def sentence(entry: Override, now_ms: int, time_text: Callable[[int], str]) -> str:
    """Who decided what, why, and until when."""
    what = {TIER: f"tier {entry.tier}", SNOOZE: f"snooze of {entry.rule_id or 'all that goes to the client'}"}.get(
        entry.kind, entry.kind.replace("_", " ")
    )
    said = f"by {entry.by} at {time_text(entry.said_ms)}: {entry.reason or 'no reason is known'}"
    if entry.kind == NOTE:
        return f"{what}, {said}"
    if entry.withdrawn:
        return f"{what.removesuffix(' None')}: withdrawn, {said}"
    if entry.until_ms is None:
        ends = "for good"
    else:
        ends = f"{'ended' if entry.until_ms <= now_ms else 'until'} {time_text(entry.until_ms)}"
    begins = f"from {time_text(entry.from_ms)} " if entry.from_ms > max(now_ms, entry.said_ms) else ""
    return f"{what} {begins}{ends}, {said}"


def renamed(overrides: Overrides, names: Mapping[str, str]) -> Overrides:
    """A snooze of a rule's former id is one of the rule."""
    found: Overrides = {}
    for key, entry in overrides.items():
        former = key.removeprefix(_OF_A_RULE) if key.startswith(_OF_A_RULE) else ""
        now = _OF_A_RULE + names[former] if former in names else key
        found[now] = max(found.get(now, entry), entry)
    return found
