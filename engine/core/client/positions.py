"""Positions: what a client holds of each security, as last told; and what follows from all of them.

Enters: position records, each with its time. Leaves: a client's positions, never changed in place; a Portfolio.
Holds: of each security the two latest records count, by their own times, in whatever order they come. Where the latest
is cancelled, the one before holds; where that is not known, neither is the position: its quantity is None. One that has
ended is remembered for as long as late records of it may come. There are at most MAX_POSITIONS, the greatest by value,
and MAX_ENDED that have ended, the latest.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from engine.core.contract.events import Position
from engine.core.contract.fields import micro
from engine.core.firm_time import DAY_MS, day_of

if TYPE_CHECKING:
    from engine.core.client.state import ClientState

MAX_POSITIONS: Final = 100
MAX_ENDED: Final = 50
ENDED_MS: Final = 30 * DAY_MS  # for so long it is known that a position has ended
# places in a position; quantities are in millionths, 0 once it has ended
PRODUCT, RISK, QUANTITY, VALUE, COST, TIME_MS, BEFORE = range(7)
# of the record before, in BEFORE: [quantity, value, time], and [product, risk, cost] if one of them was another; None
# if there was none. One that was cancelled has the quantity None: what came before its time is not known
AT = 2
Positions = dict[str, list[Any]]  # by symbol, in order of symbols


class Portfolio(NamedTuple):
    """What follows from all positions. None is unknown, as all money is while a position's value is."""

    held: int | None
    value_fen: int | None = None
    concentration: float | None = None  # share of the greatest
    gain: float | None = None  # of those whose value and cost are known, as a share of the cost
    riskiest: str | None = None
    symbols: str | None = None
    products: str | None = None
    value_of: dict[str, int] | None = None  # by product


def taken(positions: Positions, told: Position) -> tuple[Positions, int]:
    """The positions after a record, and how many the bound has cost."""
    time_ms, known = told.time, positions.get(told.symbol)
    quantity, value_fen = micro(told.quantity), told.value_fen
    now = [told.product, told.risk_class, quantity, value_fen, told.cost_fen, time_ms]
    if known is None:
        return _bounded(dict(sorted([*positions.items(), (told.symbol, [*now, None])])))
    before = _before(known)
    if time_ms > known[TIME_MS]:
        before = known[:BEFORE]
    elif time_ms < known[TIME_MS]:
        if before is not None and time_ms < before[TIME_MS]:
            return positions, 0
        now, before = known[:BEFORE], now
    return _bounded({**positions, told.symbol: [*now, _noted(now, before)]})


def taken_back(positions: Positions, told: Position) -> Positions:
    """The positions after a record was cancelled."""
    known = positions.get(told.symbol)
    if known is None:
        return positions
    entry = [told.product, told.risk_class, micro(told.quantity), told.value_fen, told.cost_fen, told.time]
    before = _before(known)
    if entry == known[:BEFORE]:
        if before is None:
            return {symbol: other for symbol, other in positions.items() if symbol != told.symbol}
        return {**positions, told.symbol: [*before, [None, None, before[TIME_MS] - 1]]}
    if entry == before:
        return {**positions, told.symbol: [*known[:BEFORE], [None, None, told.time]]}
    return positions


def _before(position: list[Any]) -> list[Any] | None:
    """The record before, as a position without a BEFORE of its own."""
    if position[BEFORE] is None:
        return None
    quantity, value_fen, time_ms, *others = position[BEFORE]
    product, risk, cost_fen = others or (position[PRODUCT], position[RISK], position[COST])
    return [product, risk, quantity, value_fen, cost_fen, time_ms]


def _noted(now: list[Any], before: list[Any] | None) -> list[Any] | None:
    """The record before, in its place in a position."""
    if before is None:
        return None
    product, risk, quantity, value_fen, cost_fen, time_ms = before
    others = [product, risk, cost_fen]
    same = quantity is None or others == [now[PRODUCT], now[RISK], now[COST]]
    return [quantity, value_fen, time_ms] if same else [quantity, value_fen, time_ms, *others]


def _bounded(positions: Positions) -> tuple[Positions, int]:
    held = [symbol for symbol, position in positions.items() if position[QUANTITY] != 0]
    ended = [symbol for symbol, position in positions.items() if position[QUANTITY] == 0]
    gone: list[str] = []
    if len(held) > MAX_POSITIONS:  # what has no known value may be of the greatest
        gone.append(min(held, key=lambda s: math.inf if positions[s][VALUE] is None else positions[s][VALUE]))
    lost = len(gone)
    if len(ended) > MAX_ENDED:
        gone.append(min(ended, key=lambda symbol: positions[symbol][TIME_MS]))
    return {symbol: told for symbol, told in positions.items() if symbol not in gone} if gone else positions, lost


def remembered(positions: Positions, day: int) -> Positions:
    """Without what has ended too long ago. It goes at a midnight, whatever else happens."""
    kept = {s: told for s, told in positions.items() if told[QUANTITY] != 0 or day_of(told[TIME_MS] + ENDED_MS) >= day}
    return kept if len(kept) < len(positions) else positions


def portfolio(client: ClientState) -> Portfolio:
    """What follows from a client's positions; reckoned anew only after they have changed."""
    if not client.positions:
        found = _NOTHING_HELD
    elif client.portfolio is None or client.portfolio[0] is not client.positions:
        found = _portfolio(client.positions)
        client.portfolio = client.positions, found
    else:
        found = client.portfolio[1]
    if found.held or client.activities["positions"].last_ms is not None:
        return found
    return _NOTHING_TOLD


def _portfolio(positions: Positions) -> Portfolio:
    if any(position[QUANTITY] is None for position in positions.values()):
        return _NOTHING_TOLD
    held = {symbol: position for symbol, position in positions.items() if position[QUANTITY]}
    values = [position[VALUE] for position in held.values()]
    valued = None not in values
    value_of: dict[str, int] = {}
    for position in held.values() if valued else ():
        value_of[position[PRODUCT]] = value_of.get(position[PRODUCT], 0) + position[VALUE]
    value_fen = sum(values) if valued else None
    both = [(position[VALUE], position[COST]) for position in held.values() if None not in position[VALUE:TIME_MS]]
    cost_fen = sum(cost for _, cost in both)
    return Portfolio(
        len(held),
        value_fen,
        max(values) / value_fen if value_fen else None,
        (sum(value for value, _ in both) - cost_fen) / cost_fen if cost_fen else None,
        max((position[RISK] for position in held.values() if position[RISK]), default=None),
        " ".join(held) or None,
        " ".join(sorted({position[PRODUCT] for position in held.values()})) or None,
        value_of,
    )


_NOTHING_TOLD: Final = Portfolio(None)
_NOTHING_HELD: Final = _portfolio({})


# -- what rules ask ----------------------------------------------------------------------------------------------------


def product_share(client: ClientState, product: str) -> float | None:
    found = portfolio(client)
    return found.value_of.get(product, 0) / found.value_fen if found.value_of and found.value_fen else None


def classes_above(risk_class: str | None, risk_level: str | None) -> int | None:
    """By how many classes something is riskier than the client's level allows; below 0 where there is room."""
    return int(risk_class[1:]) - int(risk_level[1:]) if risk_class and risk_level else None


def gain(value_fen: int | None, cost_fen: int | None) -> float | None:
    return None if value_fen is None or not cost_fen else (value_fen - cost_fen) / cost_fen


def _current(client: ClientState, told: Position) -> list[Any] | None:
    """The position that a record tells of, unless a later record has come before it."""
    position: list[Any] | None = client.positions.get(told.symbol)
    return position if position is not None and position[TIME_MS] == told.time else None


def last_value(client: ClientState, told: Position) -> int | None:
    position = _current(client, told)
    return position[BEFORE][1] if position is not None and position[BEFORE] is not None else None


def value_change(client: ClientState, told: Position) -> float | None:
    """How the value of one unit has moved since the record before, so that a sale is no fall."""
    position = _current(client, told)
    if position is None or position[BEFORE] is None or position[VALUE] is None or not position[QUANTITY]:
        return None
    quantity, value_fen = position[BEFORE][:AT]
    if not quantity or not value_fen:
        return None
    same = value_fen * position[QUANTITY]  # the value now times the quantity before, had a unit kept its value
    change: float = (position[VALUE] * quantity - same) / same
    return change


def position_share(client: ClientState, told: Position) -> float | None:
    found, position = portfolio(client), _current(client, told)
    if position is None or position[VALUE] is None or not found.value_fen:
        return None
    share: float = position[VALUE] / found.value_fen if position[QUANTITY] else 0.0
    return share


READERS: Final[dict[str, Callable[..., Any]]] = {
    "portfolio": portfolio,
    "product_share": product_share,
    "classes_above": classes_above,
    "gain": gain,
    "last_value": last_value,
    "value_change": value_change,
    "position_share": position_share,
}
