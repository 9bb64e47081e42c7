"""A broker's clients as a seeded, pure generator of inbound records, with some bad ones among them when asked.

Enters: a seed, the number of clients, a span of time. Leaves: records of all inbound topics in time order.
Holds: same arguments, same bytes, on any machine; a client's money adds up from event to event; the good records do not
depend on `bad_share` and `odd_share`, and those of one topic not on which others are asked for. Memory is O(clients).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterator
from operator import attrgetter
from random import Random
from typing import Any, BinaryIO, Final

from engine.core.contract.events import parse_time_ms
from engine.core.contract.topics import inbound_topics
from engine.demo.answers import Answers, Corrections
from engine.demo.later import POSITIONS, Custody, Later
from engine.demo.own_events import OwnEvents
from engine.demo.population import (
    CHANNELS,
    CNY,
    HABITS,
    INSTITUTION_CHANNELS,
    MARKET_SHARE_OF_RISK,
    MAX_ASSETS_FEN,
    REGIONS,
    TERM_DAYS,
    Client,
    Habit,
    balance_values,
    found_client,
    margin_account,
    next_phase,
    pick,
    profile_value,
)
from engine.demo.spoiling import BAD_KINDS, blur, spoil
from engine.operations.record_file import SimulatedRecord, parse_line, to_line

__all__ = ["SimulatedRecord", "parse_line", "simulate", "to_line", "write"]

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
CHINA_OFFSET_MS: Final = 8 * HOUR_MS  # no daylight saving time
NEW_ACCOUNT_SHARE: Final = 0.08
NEW_ACCOUNTS_WITHIN_MS: Final = 180 * DAY_MS
CHINA: Final = dt.timezone(dt.timedelta(hours=8))


class _Market:
    """One path that all clients share: a small drift, small moves, and a fall every few weeks."""

    def __init__(self, random: Random) -> None:
        self._uniform = random.random
        self.index = 1.0
        self.falls = False
        self._days_to_fall = 6 + int(self._uniform() * 8)

    def next_day(self) -> None:
        self._days_to_fall -= 1
        self.falls = self._days_to_fall <= 0
        if self.falls:
            self._days_to_fall = 8 + int(self._uniform() * 20)
            self.index *= 1 - (0.04 + 0.05 * self._uniform())
        else:
            self.index *= 1.0034 + 0.012 * (self._uniform() + self._uniform() - 1)


class _Broker:
    """The simulation's state: clients, the market, and the calendar of who is active on which day."""

    def __init__(self, seed: int, clients: int, start_ms: int, end_ms: int, topics: Collection[str]) -> None:
        random = Random(seed)
        self.uniform = uniform = random.random
        self.market = _Market(random)
        self.records: list[SimulatedRecord] = []  # of the day at hand
        self.topics = topics
        self.later = Later(topics)
        self.corrections = Corrections(seed + 5, self.later)
        self.own = OwnEvents(seed + 3, self.later)
        self.answers = Answers(seed + 4, self.later)
        self.custody = Custody(seed + 5, self.later)
        self.calendar: dict[int, list[Client]] = {}
        self.born: list[Client] = []
        settled_ms = min(2 * HOUR_MS, (end_ms - start_ms) // 20)  # existing clients become known at the very start
        year = _date(_day_of(start_ms)).year
        for index in range(clients):
            existing = uniform() >= NEW_ACCOUNT_SHARE
            within_ms = settled_ms if existing else min(NEW_ACCOUNTS_WITHIN_MS, end_ms - start_ms)
            born_ms = start_ms + int(uniform() * within_ms)
            client = found_client(uniform, index, clients, born_ms, _day_of(born_ms), year, existing)
            self.calendar.setdefault(_day_of(born_ms), []).append(client)

    def day(self, day: int) -> list[SimulatedRecord]:
        """All records of one day, in time order."""
        self.records = []
        self.own.day()
        opens = (day + 3) % 7 < 5  # day 0 was a Thursday
        if opens:
            self.market.next_day()
        for client in self.calendar.pop(day, ()):
            if client.sequence == 0:
                self._open_account(client)
            self._active_day(client, day, opens)
            self.own.active(client, day * DAY_MS - CHINA_OFFSET_MS)
            self.answers.active(client, day * DAY_MS - CHINA_OFFSET_MS)
            if POSITIONS in self.topics:
                self.custody.active(client, day * DAY_MS - CHINA_OFFSET_MS, self.market.index)
        if opens and self.market.falls:
            for client in self.born:
                self._value(client, day)
        self.records += self.later.before((day + 1) * DAY_MS - CHINA_OFFSET_MS)
        self.records.sort(key=attrgetter("time_ms"))
        return self.records

    def _open_account(self, client: Client) -> None:
        self.born.append(client)
        client.index_at_mark = self.market.index
        self._profile(client, client.born_ms)
        if client.existing:
            self._balance(client, client.born_ms, "snapshot", 0)
        else:
            self.own.opens(client)
            opening_fen, client.assets_fen, client.cash_fen, client.debt_fen = client.assets_fen, 0, 0, 0
            if client.funded:
                self._flow(client, client.born_ms + 10 * MINUTE_MS, "deposit", opening_fen)

    def _active_day(self, client: Client, day: int, opens: bool) -> None:
        uniform = self.uniform
        next_phase(client, day, uniform)
        habit = HABITS[client.phase]
        if client.phase == "silent":
            gap_days = 35 + int(40 * uniform())
        else:
            gap_days = 1 + int(2 * (habit.days_between - 1) * uniform() + 0.5)
            if not habit.weekends:
                gap_days += max(0, 7 - (day + gap_days + 3) % 7) if (day + gap_days + 3) % 7 >= 5 else 0
            self._sessions(client, habit, day * DAY_MS - CHINA_OFFSET_MS, opens)
            if opens and uniform() < 0.3:
                self._value(client, day)
            if uniform() < 0.002:
                client.consents["sms"] = not client.consents["sms"]
                self._profile(client, client.last_ms)
        self.calendar.setdefault(day + gap_days, []).append(client)

    def _sessions(self, client: Client, habit: Habit, midnight_ms: int, opens: bool) -> None:
        uniform = self.uniform
        hour = 9.2 + 4.5 * uniform() if opens and uniform() < 0.85 else 9 + 10 * uniform()
        time_ms = midnight_ms + int(hour * HOUR_MS)
        if time_ms <= client.last_ms:  # the account was opened later on this day
            return
        for session in range(1 + int(uniform() * habit.sessions)):
            self._login(client, time_ms + session * int((0.5 + 1.5 * uniform()) * HOUR_MS))
            if session == 0:
                chance = uniform()
                if chance < habit.deposit_share:
                    self._deposit(client, habit)
                elif chance < habit.deposit_share + habit.withdrawal_share:
                    self._withdraw(client, habit, midnight_ms, opens)
            if opens and uniform() < habit.trade_share:
                for _ in range(1 + int(uniform() * habit.trades)):
                    self._trade(client, habit, midnight_ms, client.last_ms + int((0.3 + 6 * uniform()) * MINUTE_MS))

    def _login(self, client: Client, time_ms: int) -> None:
        uniform = self.uniform
        channel = pick(uniform, INSTITUTION_CHANNELS if client.type != "individual" else CHANNELS)
        if client.phase == "young":
            channel = "app"
        chance = uniform()
        if chance < 0.004:  # someone else tries, from elsewhere
            region = REGIONS[int(uniform() * len(REGIONS))][0]
            device_id = f"X{int(uniform() * 1_000_000):06d}"
            for _ in range(4 + int(uniform() * 4)):
                self._attempt(client, time_ms, "web", False, device_id, region)
            if uniform() < 0.3:
                self._attempt(client, time_ms, "web", True, device_id, region)
        elif chance < 0.03:
            self._attempt(client, time_ms, channel, False, client.device_id, client.region)
        self._attempt(client, time_ms, channel, True, client.device_id, client.region)

    def _attempt(self, client: Client, time_ms: int, channel: str, success: bool, device_id: str, region: str) -> None:
        time_ms = max(time_ms, client.last_ms + 8 * SECOND_MS)
        self._emit(
            "logins",
            client,
            time_ms,
            {"channel": channel, "success": success, "device_id": device_id, "region": region},
        )

    def _deposit(self, client: Client, habit: Habit) -> None:
        low, high = habit.flow_size
        amount_fen = int(max(client.assets_fen, 5_000 * CNY) * (low + (high - low) * self.uniform()))
        kind = "transfer_in" if self.uniform() < 0.15 else "deposit"
        self._flow(client, client.last_ms + 2 * MINUTE_MS, kind, amount_fen)

    def _withdraw(self, client: Client, habit: Habit, midnight_ms: int, opens: bool) -> None:
        low, high = habit.flow_size
        amount_fen = int(client.assets_fen * (low + (high - low) * self.uniform()))
        if amount_fen > client.cash_fen:
            if client.phase == "leaving" and self.uniform() < 0.3:
                self._flow(client, client.last_ms + 5 * MINUTE_MS, "transfer_out", amount_fen)
                return
            if opens:
                self._trade(
                    client, habit, midnight_ms, client.last_ms + MINUTE_MS, sell_fen=amount_fen - client.cash_fen
                )
        self._flow(client, client.last_ms + 5 * MINUTE_MS, "withdrawal", min(amount_fen, client.cash_fen))

    def _flow(self, client: Client, time_ms: int, kind: str, amount_fen: int) -> None:
        """Money or securities come in or go out."""
        if amount_fen > 10_000 * CNY:
            amount_fen -= amount_fen % (1_000 * CNY)  # people move round sums
        if kind in ("deposit", "transfer_in"):
            amount_fen = min(amount_fen, MAX_ASSETS_FEN - client.assets_fen)
        elif kind == "transfer_out":
            amount_fen = min(amount_fen, client.assets_fen - client.cash_fen)
        if amount_fen <= 0:
            return
        client.assets_fen += amount_fen if kind in ("deposit", "transfer_in") else -amount_fen
        client.cash_fen += {"deposit": amount_fen, "withdrawal": -amount_fen}.get(kind, 0)
        self._balance(client, time_ms, kind, amount_fen)

    def _trade(self, client: Client, habit: Habit, midnight_ms: int, time_ms: int, sell_fen: int = 0) -> None:
        uniform = self.uniform
        clock_ms = time_ms - midnight_ms
        if not (9.5 * HOUR_MS <= clock_ms < 11.5 * HOUR_MS or 13 * HOUR_MS <= clock_ms < 15 * HOUR_MS):
            return  # the exchange is closed
        symbol, product, start_fen = client.securities[int(uniform() * len(client.securities))]
        price_fen = max(1, int(start_fen * self.market.index * (0.98 + 0.04 * uniform())))
        holdings_fen = client.assets_fen - client.cash_fen
        power_fen = client.cash_fen + client.debt_fen // 4  # a margin account buys on credit: its cash goes below zero
        buys = not sell_fen and uniform() * client.assets_fen < 2 * power_fen
        share = habit.order_size * (0.1 + 0.9 * uniform())
        parts = 100 if product == "fund" else 1  # units of funds have two decimals
        if sell_fen:
            bought = min(parts * holdings_fen // price_fen, parts * sell_fen // price_fen + 1)
        else:
            bought = parts * int((power_fen if buys else holdings_fen) * share) // price_fen
        if bought >= 100 and parts == 1 and not sell_fen:
            bought -= bought % 100
        amount_fen = bought * price_fen // parts
        if amount_fen <= 0:
            return
        client.cash_fen += -amount_fen if buys else amount_fen
        value = {
            "symbol": symbol,
            "product": product,
            "side": "buy" if buys else "sell",
            "quantity": bought if parts == 1 else bought / parts,
            "price_cny": f"{price_fen // CNY}.{price_fen % CNY:02d}",
            "amount_fen": amount_fen,
            "channel": "app" if client.type == "individual" else "api",
        }
        if account := margin_account(client):
            value["account"] = account
        if buys and symbol in TERM_DAYS:
            value["matures_on"] = _date(_day_of(time_ms) + TERM_DAYS[symbol]).isoformat()
        self._emit("trades", client, time_ms, value)

    def _value(self, client: Client, day: int) -> None:
        """After the close, holdings follow the market since last valued; now and then something else is booked."""
        uniform = self.uniform
        time_ms = day * DAY_MS - CHINA_OFFSET_MS + int((15.2 + 1.5 * uniform()) * HOUR_MS)
        holdings_fen = client.assets_fen - client.cash_fen
        move = MARKET_SHARE_OF_RISK[client.risk_level] * (self.market.index / client.index_at_mark - 1)
        change_fen = int(holdings_fen * max(-0.9, move))
        change_fen = min(change_fen, MAX_ASSETS_FEN - client.assets_fen)
        client.index_at_mark = self.market.index
        if change_fen:
            client.assets_fen += change_fen
            self._balance(client, time_ms, "gain" if change_fen > 0 else "loss", abs(change_fen))
        chance = uniform()
        if chance < 0.03:
            self._balance(client, time_ms, "snapshot", 0)
        elif chance < 0.07:
            kind, rate = (("interest", 0.0005), ("dividend", 0.002), ("fee", -0.0002))[int(chance * 1000) % 3]
            amount_fen = int((max(client.cash_fen, 0) if kind == "interest" else client.assets_fen) * abs(rate))
            signed_fen = amount_fen if rate > 0 else -min(amount_fen, max(client.cash_fen, 0))
            if signed_fen and client.assets_fen + signed_fen <= MAX_ASSETS_FEN:
                client.assets_fen += signed_fen
                client.cash_fen += signed_fen
                self._balance(client, time_ms, kind, abs(signed_fen))

    def _balance(self, client: Client, time_ms: int, kind: str, amount_fen: int) -> None:
        for value in balance_values(client, kind, amount_fen):
            self._emit("balances", client, time_ms, value)

    def _profile(self, client: Client, time_ms: int) -> None:
        self._emit("profiles", client, time_ms, profile_value(client))

    def _emit(self, topic: str, client: Client, time_ms: int, fields: dict[str, Any]) -> None:
        if time_ms <= client.last_ms:
            time_ms = client.last_ms + 1  # a client's events never share a moment, so their order is the order of times
        client.last_ms = time_ms
        client.sequence += 1
        if self.later.wanted:
            self.later.moments.add((client.id, time_ms))
        # profiles carry the other of the two forms of time that the contract allows
        time = _rfc3339(time_ms) if topic == "profiles" else time_ms
        value = {"event_id": f"{client.id}-{client.sequence}", "client_id": client.id, "time": time, **fields}
        if topic == "trades":
            self.corrections.traded(client, time_ms, value)
        if topic not in self.topics:
            return
        self.records.append(SimulatedRecord(topic, client.id, time_ms, value))


def simulate(
    seed: int,
    clients: int,
    start_ms: int,
    end_ms: int,
    topics: Collection[str] | None = None,
    count: int | None = None,
    bad_share: float = 0.0,
    odd_share: float = 0.0,
) -> Iterator[SimulatedRecord]:
    """Records from `start_ms` to before `end_ms`, at most `count`, an `odd_share` of them with a field that cannot be
    read or is not said; and `bad_share` bad ones for each of them.
    """
    topics = inbound_topics() if topics is None else topics
    if unknown := set(topics) - set(inbound_topics()):
        raise ValueError(f"unknown topics {', '.join(sorted(unknown))}; there are {', '.join(inbound_topics())}")
    broker = _Broker(seed, clients, start_ms, end_ms, frozenset(topics))
    bad, odd = Random(seed + 1), Random(seed + 2)
    left = count if count is not None else -1
    for day in range(_day_of(start_ms), _day_of(end_ms - 1) + 1):
        for record in broker.day(day):
            if left == 0 or record.time_ms >= end_ms:
                return
            left -= 1
            yield blur(record, odd.random) if odd_share and odd.random() < odd_share else record
            if bad_share and bad.random() < bad_share:
                yield spoil(record, int(bad.random() * BAD_KINDS))


def _day_of(time_ms: int) -> int:
    return (time_ms + CHINA_OFFSET_MS) // DAY_MS


def _date(day: int) -> dt.date:
    return dt.date(1970, 1, 1) + dt.timedelta(days=day)


def _rfc3339(time_ms: int) -> str:
    return dt.datetime.fromtimestamp(time_ms / 1000, CHINA).isoformat(timespec="milliseconds")


def write(
    out: BinaryIO,
    *,
    seed: int,
    clients: int,
    days: float,
    end: str,
    topics: Collection[str] | None = None,
    count: int | None = None,
    bad_share: float = 0.0,
    odd_share: float = 0.0,
    moved: Callable[[int, int], None] = lambda done, of: None,
) -> int:
    """Write `days` of records before `end` (RFC 3339 with an offset) as lines; how many there were. `moved` hears of
    the minutes that are past, and of how many.
    """
    end_ms = parse_time_ms(end)
    begin_ms = end_ms - int(days * DAY_MS)
    written = 0
    for record in simulate(seed, clients, begin_ms, end_ms, topics, count, bad_share, odd_share):
        out.write(to_line(record).encode())
        written += 1
        if written % 1_000 == 0:
            moved((record.time_ms - begin_ms) // 60_000, (end_ms - begin_ms) // 60_000)
    return written
