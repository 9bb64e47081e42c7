"""What a balance of one account means for the client: assets, cash and ratio of all accounts together.

Enters: a Plan, the client, a Balance. Leaves: the same balance with what the client has in all accounts, which is what
facts, features and rules then see.
Holds: the client's assets are the sum of each account's latest balance, in whatever order they come. Once there are
accounts, a balance without one changes nothing of that. Daily means are as if each had come in time, as far as the two
latest balances of an account say.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Any, Final

from engine.core.client import accounts
from engine.core.client.accounts import Change
from engine.core.client.state import ClientState
from engine.core.firm_time import day_of
from engine.core.plan.compile import Plan

BALANCES: Final = "balances"
_FACTS: Final = ("assets_fen", "cash_fen", "margin_ratio")


def of_client(plan: Plan, client: ClientState, balance: Any) -> Any:
    """The balance as one of the whole client."""
    if balance.account is None and not client.accounts:
        return balance
    told, last_ms = bool(client.accounts), client.activities[BALANCES].last_ms
    late = told and last_ms is not None and balance.time < last_ms
    if balance.account is None:
        return _with_totals(plan, client, balance, None, late=late)
    client.accounts, change, dropped = accounts.taken(client.accounts, balance)
    client.accounts_dropped += dropped
    if change is not None and late:
        _shift(plan, client, change)
    restate(client)
    return _with_totals(plan, client, balance, change, late=late)


def take_back(plan: Plan, client: ClientState, balance: Any) -> None:
    """As if a balance of an account had not come."""
    client.accounts, change = accounts.without(client.accounts, balance)
    if change is not None:
        _shift(plan, client, change)


def as_counted(client: ClientState, balance: Any) -> Any:
    """A balance of an account as it was counted when it came, if it is that account's latest."""
    known = client.accounts.get(balance.account)
    if known is None or known[accounts.TIME_MS] != balance.time:
        return balance
    return balance.model_copy(update=dict(zip(_FACTS, accounts.totals(client.accounts), strict=True)))


def restate(client: ClientState) -> None:
    """The facts as the accounts have them."""
    found = accounts.totals(client.accounts) if client.accounts else (None, None, None)
    client.assets_fen, client.cash_fen, client.margin_ratio = found
    client.said_ms = {**client.said_ms, **dict.fromkeys(_FACTS, accounts.latest_ms(client.accounts))}


def _with_totals(plan: Plan, client: ClientState, balance: Any, change: Change | None, *, late: bool) -> Any:
    found = dict(zip(_FACTS, accounts.totals(client.accounts), strict=True))
    if late:  # the totals as of then, where a daily mean has kept them
        by = (change.assets_fen, change.cash_fen) if change is not None else (0, 0)
        kept = {f: _as_of(plan, client, f, balance.time, more) for f, more in zip(_FACTS, by, strict=False)}
        found |= {field: value for field, value in kept.items() if value is not None}
    return balance.model_copy(update=found)


def _as_of(plan: Plan, client: ClientState, field: str, time_ms: int, more_fen: int) -> Any:
    """`more_fen` is what came to the closing values from then on."""
    activity, day = client.activities[BALANCES], day_of(time_ms)
    for column in plan.client_totals.get(field, ()):
        if day >= client.day:
            return activity.today[column]
        row = bisect_left(activity.days, day)
        if row < len(activity.days) and activity.days[row] == day:
            return activity.columns[column][row]
        return ((activity.columns[column][row - 1] or 0) if row else 0) + more_fen
    return None


def _shift(plan: Plan, client: ClientState, change: Change) -> None:
    """Closing values from a day on, up to the day on which the account told something else."""
    activity, layout = client.activities[BALANCES], plan.layout.sources[BALANCES]
    first, end = day_of(change.from_ms), day_of(change.until_ms)
    for field, by in (("assets_fen", change.assets_fen), ("cash_fen", change.cash_fen)):
        for index in plan.client_totals.get(field, ()) if by else ():
            column = activity.columns[index]
            for row in range(bisect_left(activity.days, first), bisect_left(activity.days, end)):
                column[row] = None if column[row] is None else column[row] + by
            if first <= client.day < end and activity.today[index] is not None:
                activity.today[index] += by
    activity.packed = activity.packed_past = None
    activity.recompute(layout, client.day)
