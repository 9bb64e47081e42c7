"""What comes back to a simulated broker: receipts, answers to surveys, complaints, and what staff made of their work.

Enters: clients who are active on a day. Leaves: records. Holds: a random source of its own; who is leaving opens less,
scores lower and complains more. Nobody reads the engine's actions here: the ids are of actions like those it sends.
"""

from __future__ import annotations

from random import Random
from typing import Any, Final

from engine.demo.later import Later
from engine.demo.population import Client, pick

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
_RULES: Final = ("monthly-letter", "market-news-for-b", "dormant-cash", "birthday-greeting", "life-stage-plan")
_SURVEYS: Final = ("half-year-survey/ask", "first-trade-survey/ask", "meeting-survey", "tier-change-survey")
_WORK: Final = (("task", 60), ("alert", 30), ("assignment", 10))
_WORK_RULES: Final = {"task": "silent-vip", "alert": "vip-money-leaving", "assignment": "assign-advisor"}
_WAYS: Final = (("delivered", 92), ("failed", 5), ("bounced", 3))
_RESULTS: Final = (("done", 55), ("accepted", 20), ("not_reached", 15), ("declined", 10))
_CODES: Final = (("agreed", 40), ("call_back", 30), ("no_interest", 30))
_CATEGORIES: Final = (("fees", 35), ("app", 30), ("execution", 20), ("advice", 15))
_SEVERITIES: Final = (("low", 40), ("medium", 40), ("high", 17), ("critical", 3))
_REASONS: Final = (("fees", 35), ("app_slow", 25), ("service", 20), ("research", 20))
_DECISIONS: Final = (("note", 50), ("snooze", 30), ("tier", 12), ("do_not_contact", 8))
_WHY: Final = {
    "note": "prefers the evening",
    "snooze": "is in hospital",
    "tier": "a parent is a client of tier A",
    "do_not_contact": "asked for it by letter",
}
_UNHAPPY: Final = ("leaving", "shrinking", "silent")


class Answers:
    def __init__(self, seed: int, later: Later) -> None:
        self._random = Random(seed)
        self._later = later

    def active(self, client: Client, midnight_ms: int) -> None:
        """What a client, and those who look after it, answer on a day."""
        uniform = self._random.random
        moment_ms = max(midnight_ms + int((9 + 9 * uniform()) * HOUR_MS), client.born_ms)
        unhappy = client.phase in _UNHAPPY
        chance = uniform()
        if chance < 0.10:
            self._message(client, moment_ms, unhappy)
        elif chance < 0.13:
            self._survey(client, moment_ms, unhappy)
        elif chance < 0.16:
            self._work(client, moment_ms)
        elif chance < (0.18 if unhappy else 0.1625):
            self._complaint(client, moment_ms)
        elif chance < 0.1825:
            self._override(client, moment_ms)

    def _message(self, client: Client, moment_ms: int, unhappy: bool) -> None:
        uniform = self._random.random
        rule_id = _RULES[int(uniform() * len(_RULES))]
        about = self._action(rule_id, "message")
        read = self._on_its_way(client, moment_ms, about, 0.25 if unhappy else 0.5)
        if read and uniform() < 0.3:
            self._later.send("receipts", client, moment_ms + HOUR_MS + MINUTE_MS, about | {"status": "clicked"})
        elif uniform() < (0.04 if unhappy else 0.01):
            self._later.send(
                "receipts", client, moment_ms + 2 * HOUR_MS, about | {"status": "opted_out", "purpose": "marketing"}
            )

    def _survey(self, client: Client, moment_ms: int, unhappy: bool) -> None:
        """Two in three never answer."""
        uniform = self._random.random
        about = self._action(_SURVEYS[int(uniform() * len(_SURVEYS))], "survey")
        if not self._on_its_way(client, moment_ms, about, 0.6) or uniform() > 0.55:
            return
        mood = 0.45 * uniform() if unhappy else 0.25 + 0.75 * uniform()
        said: dict[str, Any] = {"nps": int(mood * 10.99), "csat": 1 + int(mood * 4.99)}
        if uniform() < 0.3:
            said["ces"] = 1 + int(mood * 6.99)
        if mood < 0.6 and uniform() < 0.5:
            said["answers"] = [pick(uniform, _REASONS)]
        if uniform() < 0.2:
            said["comment"] = "Too many letters." if mood < 0.6 else "All fine."
        del about["channel"]
        self._later.send("feedback", client, moment_ms + int((2 + 40 * uniform()) * HOUR_MS), about | said)

    def _on_its_way(self, client: Client, moment_ms: int, about: dict[str, Any], opens: float) -> bool:
        """Whether the client opens it."""
        uniform = self._random.random
        agreed = [channel for channel, said in client.consents.items() if said]
        about["channel"] = agreed[int(uniform() * len(agreed))] if agreed else "app_push"
        status = pick(uniform, _WAYS)
        self._later.send("receipts", client, moment_ms, about | {"status": status})
        if status != "delivered" or uniform() > opens:
            return False
        self._later.send("receipts", client, moment_ms + HOUR_MS, about | {"status": "opened"})
        return True

    def _work(self, client: Client, moment_ms: int) -> None:
        """Staff act within two days, or never say what became of it."""
        uniform = self._random.random
        kind = pick(uniform, _WORK)
        about = self._action(_WORK_RULES[kind], kind) | {"by": f"S{int(uniform() * 200):03d}"}
        if uniform() < 0.2:
            return
        status = pick(uniform, _RESULTS)
        moment_ms += int((1 + 40 * uniform()) * HOUR_MS)
        self._later.send("outcomes", client, moment_ms, about | {"status": status})
        if status == "accepted":
            if moment_ms // HOUR_MS % 3 == 0:
                self._stands("outcomes", client, moment_ms, about)
            moment_ms += int((1 + 20 * uniform()) * HOUR_MS)
            status = "done"
            self._later.send("outcomes", client, moment_ms, about | {"status": status, "code": pick(uniform, _CODES)})

    def _stands(self, topic: str, client: Client, moment_ms: int, about: dict[str, Any]) -> None:
        """Staff ask the client something; the answer comes within the hour."""
        for minutes, status in ((30, "waiting_for_client"), (50, "client_answered")):
            self._later.send(topic, client, moment_ms + minutes * MINUTE_MS, about | {"status": status})

    def _complaint(self, client: Client, moment_ms: int) -> None:
        """Answered within two days, closed within nine; one in eight is opened again."""
        uniform = self._random.random
        about: dict[str, Any] = {
            "complaint_id": f"K{int(uniform() * 10**9):09d}",
            "category": pick(uniform, _CATEGORIES),
            "severity": pick(uniform, _SEVERITIES),
        }

        def step(status: str, days: float) -> None:
            nonlocal moment_ms
            moment_ms += int(days * (0.1 + 0.9 * uniform()) * DAY_MS)
            self._later.send("complaints", client, moment_ms, about | {"status": status})

        step("opened", 0)
        if moment_ms // HOUR_MS % 3 == 0:
            self._later.send("complaints", client, moment_ms + 15 * MINUTE_MS, about | {"status": "acknowledged"})
            self._stands("complaints", client, moment_ms, about)
        chance = uniform()
        if chance < 0.05:
            step("withdrawn", 4)
        elif chance < 0.95:  # the others are forgotten
            step("answered", 2)
            step("resolved", 7)
            if uniform() < 0.125:
                step("reopened", 5)
                step("resolved", 7)

    def _override(self, client: Client, moment_ms: int) -> None:
        """Staff decide of a client: mostly notes; a rest for a rule or all, a better tier, no contact for good."""
        uniform = self._random.random
        about: dict[str, Any] = {"by": f"S{int(uniform() * 200):03d}"}
        kind = pick(uniform, _DECISIONS)
        about |= {"kind": kind, "reason": _WHY[kind]}
        if kind in ("snooze", "tier"):
            about["until"] = moment_ms + int((1 + 29 * uniform()) * DAY_MS)
        if kind == "tier":
            about["tier"] = "A" if uniform() < 0.5 else "B"
        elif kind == "snooze" and uniform() < 0.5:
            about["rule_id"] = _RULES[int(uniform() * len(_RULES))]
        self._later.send("overrides", client, moment_ms, about)
        if kind != "note" and uniform() < 0.25:
            ended = {name: about[name] for name in ("kind", "by", "rule_id") if name in about}
            moment_ms += int((1 + 100 * uniform()) * HOUR_MS)
            self._later.send("overrides", client, moment_ms, ended | {"ended": True, "reason": "no longer needed"})

    def _action(self, rule_id: str, kind: str) -> dict[str, Any]:
        return {"action_id": f"{self._random.getrandbits(128):032x}", "rule_id": rule_id, "kind": kind}


class Corrections:
    """The back office puts trades right, hours or days later: some are busted, a few were booked too large."""

    def __init__(self, seed: int, later: Later) -> None:
        self._random = Random(seed)
        self._later = later

    def traded(self, client: Client, time_ms: int, trade: dict[str, Any]) -> None:
        chance, wait = self._random.random(), self._random.random()
        if chance >= 0.006:
            return
        fields = {"kind": "cancel", "topic": "trades", "corrects": trade["event_id"], "original": trade}
        if chance < 0.002 and trade["quantity"] == int(trade["quantity"]) and trade["quantity"] % 200 == 0:
            half = {"quantity": trade["quantity"] // 2, "amount_fen": trade["amount_fen"] // 2}
            fields |= {"kind": "replace", "replacement": trade | half}
        days = 30 if chance > 0.0055 else int(3 * wait * wait)  # a few only when the month is closed
        self._later.send("corrections", client, time_ms + days * DAY_MS + int((1 + 90 * wait) * MINUTE_MS), fields)
