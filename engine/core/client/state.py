"""What the engine remembers of one client, in memory and as the one packed field it is stored in.

Enters: a layout (which columns the features need) and packed bytes. Leaves: a ClientState, or its packed bytes.
Holds: `unpack(layout, pack(layout, c))` gives `c` again; the bytes depend only on the client's own events, not on
batches, partitions or the cache; their size is bounded by the features' windows. Values that follow from others
(`past`) are not stored.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final

import msgpack

from engine.core.client.activity import Activity, pack_activity, unpack_activity
from engine.core.client.layout import SourceLayout
from engine.core.firm_time import HOUR_MS, NEVER_MS, day_of

STATE_VERSION: Final = 2
MAX_HISTORY: Final = 10
MAX_MATURITIES: Final = 20


@dataclass(frozen=True, slots=True)
class Layout:
    trades: SourceLayout
    logins: SourceLayout
    balances: SourceLayout
    cooldowns_s: dict[str, int]  # rule id -> cooldown: what `acted` may forget
    by_hour: tuple[tuple[str, SourceLayout], ...] = field(init=False)  # the sources that keep values by hour

    def __post_init__(self) -> None:
        sources = (("trades", self.trades), ("logins", self.logins), ("balances", self.balances))
        object.__setattr__(self, "by_hour", tuple(pair for pair in sources if pair[1].hours is not None))


class NewerState(ValueError):
    """A newer engine wrote the state."""


class ClientState:
    """One client. Times are epoch milliseconds, money is fen, `day` is the firm's calendar day of `now_ms`."""

    __slots__ = (
        "acted", "advisor_id", "age_band", "assets_fen", "assets_peak_fen", "balances", "birth_date", "calendar_ms",
        "calendar_rules",
        "cash_fen", "client_id", "consents", "contacts_day", "contacts_today", "day", "due_ms", "held", "language",
        "logins", "margin_ratio", "maturities", "now_ms", "recent", "region", "review_ms", "risk_level", "segment",
        "sequence", "silenced", "since_ms", "tier", "tier_history", "tier_since_ms", "time_zone", "trades", "type",
        "value_score", "waits",
    )  # fmt: skip

    def __init__(self, layout: Layout, client_id: str, now_ms: int) -> None:
        self.client_id = client_id
        self.sequence = 0  # events and timers applied so far: with the client's id it names each of them
        self.since_ms = self.now_ms = now_ms
        self.day = day_of(now_ms)
        self.due_ms = NEVER_MS  # when the engine looks at the client even if no event comes
        self.review_ms = NEVER_MS  # the part of it that the tier asks for
        self.type: str | None = None
        self.age_band: str | None = None
        self.region: str | None = None
        self.risk_level: str | None = None
        self.consents: tuple[str, ...] = ()
        self.language: str | None = None
        self.time_zone: str | None = None
        self.advisor_id: str | None = None
        self.birth_date: str | None = None
        self.tier: str | None = None
        self.tier_since_ms: int | None = None
        self.tier_history: list[list[Any]] = []  # [ms, from, to], newest last
        self.segment: str | None = None
        self.value_score: float | None = None
        self.assets_fen: int | None = None
        self.assets_peak_fen: int | None = None
        self.cash_fen: int | None = None
        self.margin_ratio: float | None = None
        self.trades = Activity(layout.trades)
        self.logins = Activity(layout.logins)
        self.balances = Activity(layout.balances)
        self.acted: dict[str, int] = {}  # rule id -> when it last acted, for its cooldown
        self.silenced: dict[str, int] = {}  # rule id -> the last event after which its silence was already seen
        self.held: dict[str, list[int]] = {}  # rule id -> since when its condition holds, when it last acted or 0
        self.waits: dict[str, int] = {}  # rule id -> when the first step of its sequence came
        self.maturities: list[list[Any]] = []  # [day, symbol, fen] of holdings with a term, the nearest first
        self.calendar_ms = 0  # the next calendar time after `now_ms`, when later than it: not stored
        self.calendar_rules: list[int] = []  # those that it regards: not stored
        self.contacts_day = 0
        self.contacts_today = 0
        self.recent: list[list[Any]] = []  # [ms, rule id, kind, channel, outcome, times], newest last

    def advance(self, layout: Layout, moment_ms: int) -> None:
        """Move the client's time to `moment_ms`; never back."""
        if moment_ms <= self.now_ms:
            return
        if layout.by_hour and moment_ms // HOUR_MS != self.now_ms // HOUR_MS:
            for source, kept in layout.by_hour:
                getattr(self, source).turn_hour(kept, self.now_ms // HOUR_MS, moment_ms // HOUR_MS)
        self.now_ms = moment_ms
        day = day_of(moment_ms)
        if day == self.day:
            return
        self.trades.close_day(layout.trades, self.day, day)
        self.logins.close_day(layout.logins, self.day, day)
        self.balances.close_day(layout.balances, self.day, day)
        self.day = day
        if self.acted:
            cooldowns = layout.cooldowns_s
            self.acted = {r: at for r, at in self.acted.items() if at + cooldowns.get(r, 0) * 1000 > moment_ms}
        if self.silenced:
            self.silenced = {r: at for r, at in self.silenced.items() if r in layout.cooldowns_s}
        if self.maturities:
            self.maturities = [held for held in self.maturities if held[0] >= day]
        self._recompute(layout)

    def _recompute(self, layout: Layout) -> None:
        self.trades.recompute(layout.trades, self.day)
        self.logins.recompute(layout.logins, self.day)
        self.balances.recompute(layout.balances, self.day)
        for source, kept in layout.by_hour:
            getattr(self, source).recompute_hours(kept, self.now_ms // HOUR_MS)


_PLAIN: Final = (
    "sequence", "since_ms", "now_ms", "due_ms", "review_ms", "type", "age_band", "region", "risk_level", "consents",
    "language", "time_zone",
    "advisor_id", "tier", "tier_since_ms", "tier_history", "segment", "value_score", "assets_fen", "assets_peak_fen",
    "cash_fen",
    "margin_ratio", "acted", "silenced", "contacts_day", "contacts_today", "recent", "birth_date", "held", "waits",
    "maturities",
)  # fmt: skip


_plain: Final = attrgetter(*_PLAIN)


_pack: Final = msgpack.Packer().pack


def pack(layout: Layout, client: ClientState) -> bytes:
    """The client's whole state as msgpack."""
    packed: bytes = _pack(
        [
            STATE_VERSION,
            client.client_id,
            _plain(client),
            pack_activity(layout.trades, client.trades),
            pack_activity(layout.logins, client.logins),
            pack_activity(layout.balances, client.balances),
        ]
    )
    return packed


def unpack(layout: Layout, packed: bytes) -> ClientState:
    """The state again. Columns that the layout lacks are left behind, columns that it adds begin empty.

    Raises ValueError when another version of the engine wrote it.
    """
    version, client_id, values, *activities = msgpack.unpackb(packed)
    if version != STATE_VERSION:
        raise (NewerState if version > STATE_VERSION else ValueError)(
            f"client state has version {version}, this engine reads version {STATE_VERSION}"
        )
    client = ClientState.__new__(ClientState)
    client.client_id = client_id
    for name, value in zip(_PLAIN, values, strict=True):
        setattr(client, name, value)
    client.consents = tuple(client.consents)
    client.day = day_of(client.now_ms)
    client.calendar_ms, client.calendar_rules = 0, []
    client.trades, client.logins, client.balances = (
        unpack_activity(source, activity)
        for source, activity in zip((layout.trades, layout.logins, layout.balances), activities, strict=True)
    )
    client._recompute(layout)
    return client
