"""What the engine remembers of one client.

Enters: a layout (which columns the features need), facts, the turn of time. Leaves: ClientState.
Holds: the client's present never goes back; a fact is that of the latest event that set it. sections.py says how a
state is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final
from zlib import crc32

from engine.core.activity.activities import Activities
from engine.core.activity.activity import BLANK_DICT, BLANK_LIST
from engine.core.activity.layout import SourceLayout
from engine.core.client import accounts, contacts, items, positions
from engine.core.firm_time import DAY_MS, HOUR_MS, NEVER_MS, day_of

MAX_HISTORY: Final = 10
OUTCOME_FIELDS: Final = 6  # of one of the last outcomes, and one more while it counts
MAX_CAUSED: Final = 16  # actions whose events are known, so that they can be retracted
REACH_MS: Final = 31 * DAY_MS  # for so long
MAX_HOLDINGS: Final = 20
REMEMBERED_MS: Final = 366 * DAY_MS  # what a rule did: as long as a cooldown can ask
MAX_REMEMBERED: Final = 256  # rules, of each kind of memory
DUPLICATE_DAYS: Final = 7  # for so long the same event is known again, as one of a client's last MAX_EVENT_IDS
MAX_EVENT_IDS: Final = 4_096
EVENT_ID_BYTES: Final = 6
EVENT_IDS_CHECKED: Final = 256 * EVENT_ID_BYTES


@dataclass(frozen=True, slots=True)
class Layout:
    sources: dict[str, SourceLayout]  # by topic
    renamed: Mapping[str, str] = field(default_factory=dict)  # former rule id -> the rule's id now
    contacts_ms: int = 0  # for so long contacts are kept
    texts_ms: int = 0  # for so long texts are
    by_hour: bool = field(init=False)  # whether any source keeps values by hour

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_hour", any(source.hours is not None for source in self.sources.values()))


class NewerState(ValueError):
    """A newer engine wrote the state."""


class ClientState:
    """One client. Times are epoch milliseconds, money is fen, `day` is the firm's calendar day of `now_ms`."""

    __slots__ = (
        "accounts", "accounts_dropped", "acted", "activities", "advisor_before", "advisor_changed_ms", "advisor_id",
        "age_band", "asked", "assets_fen", "assets_peak_fen", "assigned", "birth_date", "calendar_ms", "calendar_rules",
        "cash_fen", "caused", "client_id", "consent_sources", "consents", "contacts", "corrected", "day", "decided_ms",
        "due_ms", "event_ids", "failures", "first_steps", "forgets_ms", "held", "holdings", "items", "journeys",
        "language", "late", "listed", "margin_ratio", "marketing_consents", "now_ms", "opted_out", "overrides",
        "packed", "peak_below_fen", "portfolio", "portrait", "portrayed", "positions", "positions_dropped", "public",
        "recent", "region", "review_ms", "risk_consents", "risk_level", "rooms", "said_ms", "score_parts", "segment",
        "sequence", "service_consents", "silenced", "since_ms", "stage", "stage_since_ms", "tallied", "texts", "tier",
        "tier_before", "tier_history", "tier_risk", "tier_since_ms", "time_zone", "type", "unknown", "unknown_until",
        "value_score", "waiting", "waits",
    )  # fmt: skip

    def __init__(self, layout: Layout, client_id: str, now_ms: int) -> None:
        self.client_id = client_id
        self.sequence = 0  # events and timers applied so far: with the client's id it names each of them
        self.since_ms = self.now_ms = now_ms
        self.day = day_of(now_ms)
        self.due_ms = NEVER_MS  # when the client is evaluated next if no event comes
        self.review_ms = NEVER_MS  # the part of it that the tier asks for
        self.decided_ms = 0  # the wall clock's moment when something of more than a day before was last decided
        self.late: list[list[Any]] = BLANK_LIST  # [topic, the event's time, the client's when it came], newest last
        # facts; None, or no consent, when it is not known. The defaults of language and time zone are the reader's
        self.type: str | None = None
        self.age_band: str | None = None
        self.region: str | None = None
        self.risk_level: str | None = None
        self.consents: tuple[str, ...] = ()
        self.marketing_consents: tuple[str, ...] | None = None  # None: nothing was said of this purpose alone
        self.service_consents: tuple[str, ...] | None = None
        self.risk_consents: tuple[str, ...] | None = None
        self.consent_sources: dict[str, str] = BLANK_DICT  # purpose, or all -> where it came from
        self.opted_out: dict[str, int] = BLANK_DICT  # channel, or it and a purpose -> when consent was withdrawn
        self.language: str | None = None
        self.time_zone: str | None = None
        self.advisor_id: str | None = None
        self.advisor_before: str | None = None  # the last one before, also where there was none for a while
        self.advisor_changed_ms: int | None = None  # since when there is another one than before, or none
        self.birth_date: str | None = None
        self.assets_fen: int | None = None
        self.cash_fen: int | None = None
        self.margin_ratio: float | None = None
        self.said_ms: dict[str, int] = BLANK_DICT  # fact -> the time of the event that set it
        self.assets_peak_fen: int | None = None
        # the tier, and what else is evaluated from facts and features
        self.tier: str | None = None
        self.tier_since_ms: int | None = None
        self.tier_history: list[list[Any]] = BLANK_LIST  # [ms, from, to], newest last
        self.tier_before: str | None = None  # while staff's tier holds: the one before it, or ""
        self.tier_risk: list[Any] | None = None  # [since, when it falls, to which tier]; replaced, never changed
        self.segment: str | None = None
        self.value_score: float | None = None
        self.score_parts: list[Any] | None = None  # of each dimension its weight, value, and what counts without one
        self.stage: str | None = None  # of the client's life
        self.stage_since_ms: int | None = None
        self.portrait: dict[str, Any] | None = None  # trait -> what other systems read; None: nobody portrayed it
        # what rules did, and what they wait for
        self.acted: dict[str, int] = BLANK_DICT  # rule id -> when it last acted, for its cooldown
        self.silenced: dict[str, int] = BLANK_DICT  # rule id -> the last event after which its silence was already seen
        self.held: dict[str, list[int]] = BLANK_DICT  # rule id -> since when its condition holds, last acted or 0
        self.waits: dict[str, int] = BLANK_DICT  # rule id -> when the first step of its sequence came; see occasions
        self.first_steps: dict[str, dict[str, Any]] = BLANK_DICT  # rule id -> fields of that step, read when it ends
        self.contacts: contacts.Contacts = BLANK_DICT  # what caps count; see contacts.py
        self.texts: dict[int, int] = BLANK_DICT  # what was sent -> when; see core/policy/match.py
        self.failures: dict[str, list[int]] = BLANK_DICT  # channel -> the last in a row
        self.waiting: list[list[Any]] = BLANK_LIST  # what was held, to be decided again; see core/policy/holding.py
        self.recent: list[list[Any]] = BLANK_LIST  # the last outcomes, newest last; see core/policy/outcomes.py
        # what was bought until a day: [day, symbol, fen, millionths or None, product or None], the nearest first
        self.holdings: list[list[Any]] = BLANK_LIST
        self.items: list[list[Any]] = BLANK_LIST  # what waits for an answer; see items.py
        self.journeys: list[list[Any]] = BLANK_LIST  # that the client is in, or was in; see items.py, too
        self.accounts: accounts.Accounts = BLANK_DICT  # by account; see accounts.py
        self.accounts_dropped = self.positions_dropped = 0  # since the first event: more than are kept
        self.positions: positions.Positions = BLANK_DICT  # by symbol; see positions.py
        self.overrides: dict[str, list[Any]] = BLANK_DICT  # what staff decided, the latest of each; see overrides.py
        self.event_ids: dict[int, bytes] = {}  # day -> digests of the events that came on it
        self.corrected: dict[int, int] = BLANK_DICT  # digest of an event -> what it is by now, 0: cancelled
        self.asked: list[Any] | None = None  # [pool, request, the advisor then]; replaced, never changed
        self.assigned: list[Any] | None = None  # the same of what was answered; see core/decide/assigning.py
        self.rooms: list[list[Any]] = BLANK_LIST  # asked of advisors for what is open with them; see items.py
        self.caused: list[list[Any]] = BLANK_LIST  # actions that events led to; see retractions.py
        self.peak_below_fen: int | None = None  # the highest assets were cancelled: what they are below this is unknown
        self.unknown_until: dict[str, int] = BLANK_DICT  # features that a correction left unknown -> until which day
        self.activities = Activities(client_id, layout.sources, (self.day, now_ms // HOUR_MS))
        # not stored
        self.forgets_ms = 0  # nothing of `acted` is to be forgotten before: a rule acts at the client's present
        self.portfolio: tuple[positions.Positions, positions.Portfolio] | None = None  # and what follows from them
        self.calendar_ms = 0  # the next calendar time after `now_ms`, when later than it
        self.calendar_rules: list[int] = BLANK_LIST  # those that it regards
        self.portrayed: tuple[Any, ...] | None = None  # the values that gave the portrait
        self.packed: dict[str, tuple[tuple[Any, ...], bytes]] = {}  # section -> its values, and them packed
        self.listed: tuple[str, ...] | None = None  # what it was listed by when it was last written; None: it was not
        self.tallied: tuple[str, ...] = ()  # what its partition counts it as
        self.public: tuple[Any, ...] | None = None  # values, and then the public texts that they give
        self.unknown: dict[str, Any] = BLANK_DICT  # sections of a newer release, as they were read

    def advance(self, layout: Layout, moment_ms: int) -> None:
        """Move the client's time to `moment_ms`; never back."""
        if moment_ms <= self.now_ms:
            return
        hour, new_hour = self.now_ms // HOUR_MS, moment_ms // HOUR_MS
        self.now_ms = moment_ms
        if new_hour == hour:
            return
        day = day_of(moment_ms)
        self.activities.moment = day, new_hour
        if day == self.day and not layout.by_hour:
            return
        for topic, activity in self.activities.read.items():
            kept = layout.sources[topic]
            if kept.hours is not None:
                activity.turn_hour(kept, hour, new_hour)
            if day != self.day and (kept.keeps_slots or activity.touched or activity.known):
                activity.close_day(kept, self.day, day)
                activity.recompute(kept, day)
        if day == self.day:
            return
        self.day = day
        if self.acted and (self.forgets_ms <= moment_ms or len(self.acted) > MAX_REMEMBERED):
            self.acted = _remembered(self.acted, moment_ms)
            self.forgets_ms = min(self.acted.values(), default=moment_ms) + REMEMBERED_MS
        if len(self.silenced) > MAX_REMEMBERED:  # a silence is noted for as long as it lasts
            self.silenced = _newest(self.silenced)
        if self.contacts:
            self.contacts = contacts.remembered(self.contacts, moment_ms - layout.contacts_ms)
        if self.texts:
            self.texts = {text: at_ms for text, at_ms in self.texts.items() if at_ms + layout.texts_ms > moment_ms}
        if self.caused and self.caused[0][1] + REACH_MS <= moment_ms:
            self.caused = [sent for sent in self.caused if sent[1] + REACH_MS > moment_ms]
        if self.items:
            self.items = items.remembered(self.items, day)
        if self.accounts:
            self.accounts = accounts.remembered(self.accounts, day)
        if self.positions:
            self.positions = positions.remembered(self.positions, day)
        if self.holdings:
            self.holdings = [held for held in self.holdings if held[0] >= day]
        while self.event_ids and (first := next(iter(self.event_ids))) < day - DUPLICATE_DAYS:  # in order of days
            del self.event_ids[first]

    def list_outcome(self, outcome: list[Any]) -> None:
        """Among the last ones; the oldest goes, but none that counts what is still to be published."""
        recent = self.recent = self.recent or []
        recent.append(outcome)
        if len(recent) > MAX_HISTORY:
            del recent[next(index for index, one in enumerate(recent) if len(one) == OUTCOME_FIELDS)]

    def seen(self, topic: str, event_id: str, time_ms: int, may_be: bool) -> bool:
        """Whether this event has come within DUPLICATE_DAYS; it is known from now on. Of another time it is another
        event, whose producer gave an id twice: one that is later than all before it cannot have come (`may_be`).
        """
        digest = event_digest(topic, event_id, time_ms)
        if may_be and self.has_seen(digest):
            return True
        self.see(digest)
        return False

    def see(self, digest: bytes) -> None:
        """Know an event from now on."""
        today = self.event_ids[self.day] = self.event_ids.get(self.day, b"") + digest
        if len(today) % EVENT_IDS_CHECKED == 0:
            self._bound_event_ids()

    def has_seen(self, digest: bytes) -> bool:
        for ids in self.event_ids.values():
            at = ids.find(digest)
            while at >= 0 and at % EVENT_ID_BYTES:  # across two of them
                at = ids.find(digest, at + 1)
            if at >= 0:
                return True
        return False

    def knows_since(self) -> int:
        """The first day from which on every event that came is still known by its id."""
        if sum(map(len, self.event_ids.values())) >= MAX_EVENT_IDS * EVENT_ID_BYTES:
            return next(iter(self.event_ids)) + 1
        return self.day - DUPLICATE_DAYS

    def _bound_event_ids(self) -> None:
        """Forget the oldest events of a client who has very many."""
        room = MAX_EVENT_IDS * EVENT_ID_BYTES
        kept: dict[int, bytes] = {}
        for day, ids in reversed(self.event_ids.items()):
            kept[day] = ids[max(len(ids) - room, 0) :]
            room -= len(kept[day])
        self.event_ids = {day: kept[day] for day in self.event_ids if kept[day]}


def event_digest(topic: str, event_id: str, time_ms: int) -> bytes:
    """What an event is known by."""
    return (crc32(event_id.encode(), _seed(topic)) << 16 | time_ms & 0xFFFF).to_bytes(EVENT_ID_BYTES, "big")


@cache
def _seed(topic: str) -> int:
    return crc32(f"{topic} ".encode())


def _remembered(memory: dict[str, int], moment_ms: int) -> dict[str, int]:
    """What is not older than any cooldown, the newest MAX_REMEMBERED of it."""
    if len(memory) <= MAX_REMEMBERED and min(memory.values(), default=moment_ms) + REMEMBERED_MS > moment_ms:
        return memory
    kept = {rule_id: at_ms for rule_id, at_ms in memory.items() if at_ms + REMEMBERED_MS > moment_ms}
    return _newest(kept) if len(kept) > MAX_REMEMBERED else kept


def _newest(memory: dict[str, int]) -> dict[str, int]:
    return dict(sorted(memory.items(), key=lambda item: item[1])[-MAX_REMEMBERED:])
