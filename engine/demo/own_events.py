"""What the systems of a simulated broker send on `events`: the types that the shipped rules declare.

Enters: clients who open accounts or are active on a day. Leaves: records. Holds: a random source of its own, so that
the other topics' records are the same with and without these.
"""

from __future__ import annotations

from random import Random
from typing import Any, Final

from engine.core.contract.topics import EVENTS
from engine.demo.later import Later
from engine.demo.population import CNY, Client, pick

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
STEPS: Final = ("started", "identity", "risk_test", "contract", "account_opened", "bank_linked")
OPTIONAL: Final[dict[str, tuple[str, ...]]] = {  # fields that may be missing or unreadable
    "service_usage": ("item", "minutes", "finished"),
    "application_step": ("channel",),
    "order_incident": ("symbol", "amount_fen", "delay_s", "own_mistake"),
    "meeting": ("topic", "minutes", "notes"),
    "allotment": ("pay_by",),
    "product_maturity": ("matures_on", "extended"),
    "risk_assessment": ("channel",),
    "referral": ("referred",),
}
_STALLS: Final = 0.2  # of applications
_FAILS: Final = 0.15  # of their steps
_OUTAGE: Final = 0.02  # of days
_SERVICES: Final = (("content", 45), ("tool", 25), ("research", 20), ("course", 10))
_MEETINGS: Final = (("call", 50), ("visit", 25), ("forum", 15), ("roadshow", 10))
_TOPICS: Final = (("review", 40), ("product", 30), ("market", 25), ("complaint", 5))


class OwnEvents:
    def __init__(self, seed: int, later: Later) -> None:
        self._random = Random(seed)
        self._later = later
        self._outage = False

    def day(self) -> None:
        """A day begins."""
        self._outage = self._random.random() < _OUTAGE

    def opens(self, client: Client) -> None:
        """The steps of an application, some of them tried again; one in five stops on the way."""
        uniform = self._random.random
        moment_ms = client.born_ms
        end = 1 + int(uniform() * (len(STEPS) - 1)) if uniform() < _STALLS else len(STEPS)
        for step in STEPS[:end]:
            while step != "started" and uniform() < _FAILS:
                moment_ms += int((5 + 55 * uniform()) * MINUTE_MS)
                self._send(client, moment_ms, "application_step", {"step": step, "outcome": "failed", "channel": "app"})
            moment_ms += int((2 + 20 * uniform()) * MINUTE_MS)
            self._send(client, moment_ms, "application_step", {"step": step, "outcome": "done", "channel": "app"})
            if step == "risk_test":
                self._send(client, moment_ms, "risk_assessment", {"level": client.risk_level, "channel": "app"})

    def active(self, client: Client, midnight_ms: int) -> None:
        """What happens to a client beside logins, trades and money."""
        uniform = self._random.random
        moment_ms = max(midnight_ms + int((9 + 9 * uniform()) * HOUR_MS), client.born_ms)
        chance = uniform()
        if chance < 0.12:
            used = {"kind": pick(uniform, _SERVICES), "item": f"S{int(uniform() * 500):03d}"}
            self._send(
                client,
                moment_ms,
                "service_usage",
                used | {"minutes": 1 + int(uniform() * 60), "finished": uniform() < 0.6},
            )
        elif chance < 0.128:
            kind = "rejected" if uniform() < 0.6 else "slow"
            self._incident(client, moment_ms, {"kind": kind, "own_mistake": kind == "rejected" and uniform() < 0.7})
        elif chance < 0.142:
            kind, outcome = pick(uniform, _MEETINGS), "held" if uniform() < 0.85 else "missed"
            self._send(
                client,
                moment_ms,
                "meeting",
                {"kind": kind, "outcome": outcome, "topic": pick(uniform, _TOPICS), "notes": "as agreed"}
                | ({"minutes": 5 + int(uniform() * 85)} if outcome == "held" else {}),
            )
        elif chance < 0.146:
            shares, price_fen = 500 * (1 + int(uniform() * 2)), int((8 + 60 * uniform()) * CNY)
            symbol = f"787{int(uniform() * 1000):03d}"
            self._send(
                client, moment_ms, "allotment", {"symbol": symbol, "shares": shares, "amount_fen": shares * price_fen}
            )
        elif chance < 0.149:
            amount_fen = max(client.assets_fen // 10, 1)
            ends = {"product": f"P{int(uniform() * 50):02d}", "amount_fen": amount_fen, "extended": uniform() < 0.3}
            self._send(client, moment_ms, "product_maturity", ends)
        elif chance < 0.151:
            stage = ("invited", "opened", "funded")[int(uniform() * 3)]
            self._send(client, moment_ms, "referral", {"stage": stage, "referred": f"N{int(uniform() * 100_000):05d}"})
        if self._outage and uniform() < 0.3:
            self._incident(client, moment_ms + MINUTE_MS, {"kind": "outage", "own_mistake": False})

    def _incident(self, client: Client, moment_ms: int, said: dict[str, Any]) -> None:
        symbol = client.securities[int(self._random.random() * len(client.securities))][0]
        amount_fen = int(max(client.assets_fen, 0) * 0.3 * self._random.random())
        self._send(client, moment_ms, "order_incident", said | {"symbol": symbol, "amount_fen": amount_fen})

    def _send(self, client: Client, time_ms: int, type_: str, fields: dict[str, Any]) -> None:
        self._later.send(EVENTS, client, time_ms, {"type": type_} | fields)
