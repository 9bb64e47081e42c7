"""What the engine remembers of one client, in memory and as the one packed field it is stored in.

Enters: a layout (which columns the features need) and packed bytes. Leaves: a ClientState, or its packed bytes.
Holds: `unpack(layout, pack(layout, c))` gives `c` again; the bytes depend only on the client's own events, not on
batches, partitions or the cache; their size is bounded by the features' windows. Values that follow from others
(`past`) are not stored.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

import msgpack

DAY_MS: Final = 86_400_000
FIRM_UTC_OFFSET_MS: Final = 8 * 3_600_000  # the firm's calendar day: China keeps UTC+8 all year
NEVER_MS: Final = 1 << 62
STATE_VERSION: Final = 1
MAX_DISTINCT: Final = 64
MAX_HISTORY: Final = 10
MAX_SUM: Final = (1 << 63) - 1


def day_of(moment_ms: int) -> int:
    """Days since 1970-01-01 in the firm's time zone."""
    return (moment_ms + FIRM_UTC_OFFSET_MS) // DAY_MS


def day_start_ms(day: int) -> int:
    return day * DAY_MS - FIRM_UTC_OFFSET_MS


@dataclass(frozen=True, slots=True)
class Window:
    """One feature over a column: `past[index]` holds its value over the days before today."""

    column: int
    days: int


@dataclass(frozen=True, slots=True)
class SourceLayout:
    """The columns one source keeps, each named by a key that outlives the order of features."""

    columns: tuple[tuple[str, str], ...]  # (key, aggregate): count, sum, min, max, daily_mean: one value a day
    sets: tuple[str, ...]  # distinct: value -> last day it was seen
    lasts: tuple[str, ...]  # last: (day, value)
    windows: tuple[tuple[str, Window], ...]  # (aggregate, window), in the order of `Activity.past`
    keys: list[list[str]]  # of columns, sets and lasts: what is stored to know them again
    keep_days: int
    blank_today: tuple[Any, ...]  # what today's row begins with
    blank_past: tuple[Any, ...]  # every window's value without past days


@dataclass(frozen=True, slots=True)
class Layout:
    trades: SourceLayout
    logins: SourceLayout
    balances: SourceLayout
    cooldowns_s: dict[str, int]  # rule id -> cooldown: what `acted` may forget


class Activity:
    """What a client did at one source, a row per active day, today apart."""

    __slots__ = ("columns", "days", "last_ms", "lasts", "packed", "packed_past", "past", "sets", "today", "touched")

    def __init__(self, layout: SourceLayout) -> None:
        self.last_ms: int | None = None
        self.days: list[int] = []
        self.columns: list[list[Any]] = [[] for _ in layout.columns]
        self.today: list[Any] = list(layout.blank_today)
        self.touched = False  # whether today has a row
        self.sets: list[dict[Any, int]] = [{} for _ in layout.sets]
        self.lasts: list[list[Any] | None] = [None for _ in layout.lasts]
        self.past: list[Any] = list(layout.blank_past)  # by window, see Layout; follows from the rest
        self.packed: bytes | None = None  # all of it packed, until it changes
        self.packed_past: bytes | None = None  # `days` and `columns` packed, until the day closes

    def saw_event(self, moment_ms: int) -> None:
        """An event was applied; the time is noted apart, since rules ask for the days since the one before."""
        self.last_ms = moment_ms
        self.packed = None

    def close_day(self, layout: SourceLayout, day: int, new_day: int) -> None:
        """Today's row becomes a past one, and rows that no window reaches are dropped."""
        self.packed = None
        if self.touched:
            self.packed_past = None
            self.days.append(day)
            for column, value in zip(self.columns, self.today, strict=True):
                column.append(value)
            # daily_mean carries its last value forward, the others start anew
            self.today = [
                0 if a in ("count", "sum") else v if a == "daily_mean" else None
                for (_, a), v in zip(layout.columns, self.today, strict=True)
            ]
            self.touched = False
        oldest = new_day - layout.keep_days
        if (
            len(self.days) > 1 and self.days[1] <= oldest
        ):  # one row before the window stays: what daily_mean carries from
            self.packed_past = None
            drop = bisect_right(self.days, oldest) - 1
            del self.days[:drop]
            for column in self.columns:
                del column[:drop]
        for seen in self.sets:
            for value in [v for v, last in seen.items() if last <= oldest]:
                del seen[value]

    def recompute(self, layout: SourceLayout, day: int) -> None:
        """Every feature's value over the days of its window before `day`."""
        days = self.days
        starts: dict[int, int] = {}
        if not days and not any(self.sets) and not any(self.lasts):
            self.past = list(layout.blank_past)
            return
        past: list[Any] = []
        for aggregate, window in layout.windows:
            first_day = day - window.days  # the window is (first_day, day]
            if aggregate in ("distinct", "last"):
                past.append(self.window_value(aggregate, window.column, first_day))
                continue
            start = starts.get(first_day)
            if start is None:
                start = starts[first_day] = bisect_right(days, first_day)
            if aggregate == "daily_mean":
                past.append(self._carried(window.column, start, first_day, day))
                continue
            values = self.columns[window.column][start:]
            if aggregate in ("count", "sum"):
                past.append(min(sum(values), MAX_SUM))
            else:
                known = [v for v in values if v is not None]
                past.append((min if aggregate == "min" else max)(known) if known else None)
        self.past = past

    def window_value(self, aggregate: str, index: int, first_day: int) -> Any:
        """distinct or last over the days after `first_day`, today included."""
        if aggregate == "distinct":
            return sum(1 for last in self.sets[index].values() if last > first_day)
        last = self.lasts[index]
        return last[1] if last is not None and last[0] > first_day else None

    def _carried(self, column: int, start: int, first_day: int, day: int) -> tuple[int, int]:
        """(sum, number) of daily closing values for the days of the window before today, each day without one as the
        last.
        """
        days, values = self.days, self.columns[column]
        total = number = 0
        if start > 0:
            reached, value = first_day + 1, values[start - 1]
        elif days:
            reached, value = days[0], values[0]
        else:
            return 0, 0
        for index in range(start, len(days)):
            if value is not None:
                total += value * (days[index] - reached)
                number += days[index] - reached
            reached, value = days[index], values[index]
        if value is not None:
            total += value * (day - reached)
            number += day - reached
        return total, number


class ClientState:
    """One client. Times are epoch milliseconds, money is fen, `day` is the firm's calendar day of `now_ms`."""

    __slots__ = (
        "acted", "advisor_id", "age_band", "assets_fen", "assets_peak_fen", "balances", "cash_fen", "client_id",
        "consents",
        "contacts_day", "contacts_today", "day", "due_ms", "language", "logins", "margin_ratio", "now_ms", "recent",
        "region",
        "review_ms", "risk_level", "segment", "sequence", "silenced", "since_ms", "tier", "tier_history",
        "tier_since_ms", "time_zone", "trades",
        "type", "value_score",
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
        self.language = "zh-CN"
        self.time_zone = "Asia/Shanghai"
        self.advisor_id: str | None = None
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
        self.contacts_day = 0
        self.contacts_today = 0
        self.recent: list[list[Any]] = []  # [ms, rule id, kind, channel, outcome, times], newest last

    def advance(self, layout: Layout, moment_ms: int) -> None:
        """Move the client's time to `moment_ms`; never back."""
        if moment_ms <= self.now_ms:
            return
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
        self._recompute(layout)

    def _recompute(self, layout: Layout) -> None:
        self.trades.recompute(layout.trades, self.day)
        self.logins.recompute(layout.logins, self.day)
        self.balances.recompute(layout.balances, self.day)


_PLAIN: Final = (
    "sequence", "since_ms", "now_ms", "due_ms", "review_ms", "type", "age_band", "region", "risk_level", "consents",
    "language", "time_zone",
    "advisor_id", "tier", "tier_since_ms", "tier_history", "segment", "value_score", "assets_fen", "assets_peak_fen",
    "cash_fen",
    "margin_ratio", "acted", "silenced", "contacts_day", "contacts_today", "recent",
)  # fmt: skip


_plain: Final = attrgetter(*_PLAIN)


_pack: Final = msgpack.Packer().pack


def _pack_activity(layout: SourceLayout, activity: Activity) -> bytes:
    """Packing is most of what a write costs: what has not changed since the last time is not packed again."""
    if activity.packed is None:
        if activity.packed_past is None:
            activity.packed_past = _pack([layout.keys, activity.days, activity.columns])
        activity.packed = _pack(
            [
                activity.last_ms,
                activity.touched,
                activity.packed_past,
                activity.today,
                activity.sets,
                activity.lasts,
            ]
        )
    return activity.packed


def _unpack_activity(layout: SourceLayout, packed: bytes) -> Activity:
    activity = Activity(layout)
    activity.last_ms, activity.touched, packed_past, today, sets, lasts = msgpack.unpackb(packed)
    (columns_keys, sets_keys, lasts_keys), activity.days, columns = msgpack.unpackb(packed_past)
    if [columns_keys, sets_keys, lasts_keys] == layout.keys:
        activity.columns, activity.today, activity.sets, activity.lasts = columns, today, sets, lasts
        activity.packed_past, activity.packed = packed_past, packed
        return activity
    # written under other features: what is no longer asked for is left behind, what is new begins empty
    known = {key: (column, value) for key, column, value in zip(columns_keys, columns, today, strict=True)}
    blanks = zip(layout.columns, layout.blank_today, strict=True)
    found = [known.get(key, ([blank] * len(activity.days), blank)) for (key, _), blank in blanks]
    activity.columns, activity.today = [column for column, _ in found], [value for _, value in found]
    known_sets = dict(zip(sets_keys, sets, strict=True))
    activity.sets = [known_sets.get(key, {}) for key in layout.sets]
    known_lasts = dict(zip(lasts_keys, lasts, strict=True))
    activity.lasts = [known_lasts.get(key) for key in layout.lasts]
    return activity


def pack(layout: Layout, client: ClientState) -> bytes:
    """The client's whole state as msgpack."""
    packed: bytes = _pack(
        [
            STATE_VERSION,
            client.client_id,
            _plain(client),
            _pack_activity(layout.trades, client.trades),
            _pack_activity(layout.logins, client.logins),
            _pack_activity(layout.balances, client.balances),
        ]
    )
    return packed


def unpack(layout: Layout, packed: bytes) -> ClientState:
    """The state again. Columns that the layout lacks are left behind, columns that it adds begin empty.

    Raises ValueError when another version of the engine wrote it.
    """
    version, client_id, values, *activities = msgpack.unpackb(packed)
    if version != STATE_VERSION:
        raise ValueError(f"client state has version {version}, this engine reads version {STATE_VERSION}")
    client = ClientState.__new__(ClientState)
    client.client_id = client_id
    for name, value in zip(_PLAIN, values, strict=True):
        setattr(client, name, value)
    client.consents = tuple(client.consents)
    client.day = day_of(client.now_ms)
    client.trades, client.logins, client.balances = (
        _unpack_activity(source, activity)
        for source, activity in zip((layout.trades, layout.logins, layout.balances), activities, strict=True)
    )
    client._recompute(layout)
    return client
