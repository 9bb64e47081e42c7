"""What an event taught beside facts and features, taken back.

Enters: the client, an event that counted and is cancelled, or replaced. Leaves: the client, changed.
Holds: what was before it is back as far as the state knows it; what it does not know is unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from engine.core.client import overrides, positions
from engine.core.client.state import ClientState
from engine.core.contract.events import Balance, Position, Trade
from engine.core.contract.fields import micro
from engine.core.contract.profiles import Override
from engine.core.learn.items import lose_complaint, lose_feedback, lose_outcome


def _lose_peak(client: ClientState, balance: Balance) -> None:
    if client.assets_peak_fen == balance.assets_fen:
        client.assets_peak_fen, client.peak_below_fen = None, balance.assets_fen


def _lose_holding(client: ClientState, trade: Trade) -> None:
    """What was bought goes. What was sold does not come back: until which day it is, the sale did not say."""
    if trade.side != "buy" or trade.matures_on is None:
        return
    bought = [trade.symbol, trade.amount_fen, micro(trade.quantity)]
    whole = next((held for held in client.holdings if held[1:4] == bought), None)
    if whole is None:  # a part of it was sold: which, nobody can tell
        whole = next((held for held in client.holdings if held[1] == trade.symbol), None)
    if whole is not None:
        client.holdings, client.calendar_ms = [held for held in client.holdings if held is not whole], 0


def _lose_position(client: ClientState, told: Position) -> None:
    client.positions = positions.taken_back(client.positions, told)


def _lose_override(client: ClientState, override: Override) -> None:
    client.overrides = overrides.taken_back(client.overrides, override)


# by topic; a consent that a receipt withdrew stays withdrawn until a profile gives it
UNLEARN: Final[dict[str, Callable[[ClientState, Any], None]]] = {
    "balances": _lose_peak,
    "trades": _lose_holding,
    "outcomes": lose_outcome,
    "feedback": lose_feedback,
    "complaints": lose_complaint,
    "positions": _lose_position,
    "overrides": _lose_override,
}
