"""Accounts: what each account of a client comes to, by its latest balance; and what they come to together.

Enters: balances of accounts, each with its time. Leaves: a client's accounts, never changed in place; Changes.
Holds: of each account the two latest balances count, by their own times, in whatever order they come. An account that
came to nothing is remembered for as long as late records of it may come. There are at most MAX_ACCOUNTS, the greatest.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from engine.core.contract.message import cny, rfc3339
from engine.core.firm_time import DAY_MS, NEVER_MS, day_of

MAX_ACCOUNTS: Final = 32
ENDED_MS: Final = 30 * DAY_MS
# places in an account; BEFORE: [time, assets, cash] of the balance before the latest, or None
TIME_MS, ASSETS, CASH, MARGIN, BEFORE = range(5)
Accounts = dict[str, list[Any]]  # by account, in order of their names


class Change(NamedTuple):
    """By how much the client's total is another than was known, from a moment up to another."""

    assets_fen: int
    cash_fen: int
    from_ms: int
    until_ms: int = NEVER_MS


def taken(accounts: Accounts, told: Any) -> tuple[Accounts, Change | None, int]:
    """The accounts after a balance, what follows for the total, and how many the bound has cost. What it leaves out of
    cash and ratio stays as it was.
    """
    known, time_ms, cash_fen = accounts.get(told.account), told.time, told.cash_fen
    if known is not None and "cash_fen" not in told.model_fields_set:
        cash_fen = known[CASH]
    value = [time_ms, told.assets_fen, cash_fen]
    if known is None:
        now = {**accounts, told.account: [*value, told.margin_ratio, None]}
        kept, lost = _bounded(dict(sorted(now.items())))
        return kept, Change(told.assets_fen, cash_fen or 0, time_ms), lost
    before = known[BEFORE]
    if time_ms >= known[TIME_MS]:
        margin = told.margin_ratio if "margin_ratio" in told.model_fields_set else known[MARGIN]
        entry = [*value, margin, known[:MARGIN] if time_ms > known[TIME_MS] else before]
        change = Change(told.assets_fen - known[ASSETS], (cash_fen or 0) - (known[CASH] or 0), time_ms)
    elif before is None or time_ms >= before[TIME_MS]:
        was = before or [0, 0, 0]
        entry = [*known[:BEFORE], value]
        change = Change(told.assets_fen - was[ASSETS], (cash_fen or 0) - (was[CASH] or 0), time_ms, known[TIME_MS])
    else:
        return accounts, None, 0  # what was before is not known any more
    return {**accounts, told.account: entry}, change, 0


def without(accounts: Accounts, told: Any) -> tuple[Accounts, Change | None]:
    """The accounts as if a balance had not come: what was before it holds. The ratio before it is not known."""
    known = accounts.get(told.account)
    if known is None or told.time not in (known[TIME_MS], known[BEFORE][TIME_MS] if known[BEFORE] else None):
        return accounts, None
    before = known[BEFORE]
    if told.time != known[TIME_MS]:
        entry = [*known[:BEFORE], None]
        return {**accounts, told.account: entry}, Change(
            -before[ASSETS], -(before[CASH] or 0), told.time, known[TIME_MS]
        )
    was = before or [0, 0, 0]
    change = Change(was[ASSETS] - known[ASSETS], (was[CASH] or 0) - (known[CASH] or 0), told.time)
    others = {account: entry for account, entry in accounts.items() if account != told.account}
    return dict(sorted({**others, told.account: [*before, None, None]}.items())) if before else others, change


def _bounded(accounts: Accounts) -> tuple[Accounts, int]:
    if len(accounts) <= MAX_ACCOUNTS:
        return accounts, 0
    least = min(accounts, key=lambda account: (abs(accounts[account][ASSETS]), accounts[account][TIME_MS], account))
    return {account: told for account, told in accounts.items() if account != least}, 1


def remembered(accounts: Accounts, day: int) -> Accounts:
    """Without what came to nothing too long ago. It goes at a midnight, whatever else happens."""
    kept = {a: told for a, told in accounts.items() if not is_ended(told) or day_of(told[TIME_MS] + ENDED_MS) >= day}
    return kept if len(kept) < len(accounts) else accounts


def is_ended(told: list[Any]) -> bool:
    return not told[ASSETS] and not told[CASH] and told[MARGIN] is None


def totals(accounts: Accounts) -> tuple[int, int | None, float | None]:
    """Assets and cash together (cash of those that told it), and the lowest ratio."""
    told = accounts.values()
    cash = [account[CASH] for account in told if account[CASH] is not None]
    margins = [account[MARGIN] for account in told if account[MARGIN] is not None]
    return sum(account[ASSETS] for account in told), sum(cash) if cash else None, min(margins, default=None)


def as_json(accounts: Accounts) -> list[dict[str, Any]]:
    """As commands show them: money in CNY, times in RFC 3339."""
    return [
        {
            "account": account,
            "assets_cny": cny(told[ASSETS]),
            "cash_cny": None if told[CASH] is None else cny(told[CASH]),
            "margin_ratio": told[MARGIN],
            "time": rfc3339(told[TIME_MS]),
        }
        for account, told in accounts.items()
    ]


def latest_ms(accounts: Accounts) -> int:
    return max((told[TIME_MS] for told in accounts.values()), default=0)
