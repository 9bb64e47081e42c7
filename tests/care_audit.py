"""How what was sent to staff must be seen through, told from what was published and from the rules' files alone.

Enters: a plan, what was published under it, in order; in the end the states. Leaves: faults.
Holds: it shares nothing with the engine's clocks. Of rules whose clock counts every hour, and stands for nothing, it
knows the moment of every step; of the others that each comes once, in order, and after what it follows.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable
from typing import Any

from engine.core.client.items import KEY
from engine.core.client.state import ClientState
from engine.core.contract.message import Message
from engine.core.plan.compile import Plan
from engine.core.rules.occasion import Becomes, Care

CARE = b"engage.care.v1"
RETRACTION = b"engage.retraction.v1"


def _ms(text: str) -> int:
    return round(dt.datetime.fromisoformat(text).timestamp() * 1000)


class CareAudit:
    def __init__(self) -> None:
        self.open: dict[
            str, tuple[str, int, Care, bool]
        ] = {}  # by action: client, when, its care, whether all is known
        self.had: dict[str, list[str]] = {}  # by action, ended ones too

    def take(self, plan: Plan, messages: Iterable[Message]) -> list[str]:
        rules = {rule.id: rule for rule in plan.rule_set.rules}
        faults: list[str] = []
        for message in messages:
            type_ = dict(message.headers).get("ce_type")
            value = json.loads(message.value or b"{}")
            if type_ == RETRACTION:
                self.open.pop(value["action_id"], None)
            elif type_ == CARE:
                faults += self._step(value, dict(message.headers))
            elif "parameters" in value and (rule := rules[value["rule_id"]]).care is not None:
                known = isinstance(rule.occasion, Becomes) and rule.care.hours == "all"
                self.open[value["id"]] = value["client_id"], _ms(value["time"]), rule.care, known
                self.had[value["id"]] = []
        return faults

    def _step(self, value: dict[str, Any], headers: dict[str, bytes]) -> list[str]:
        action = value["follows"]
        if action not in self.open:
            return [f"{value['step']} of {action}, which is not open"]
        client, sent_ms, care, known = self.open[action]
        had, faults, now_ms = self.had[action], [], _ms(value["time"])
        name = value["to"] if value["step"] == "escalated" else value["step"]
        if name == "reminded":
            name = f"reminder {1 + sum(one.startswith('reminder') for one in had)}"
        if name in had or value["number"] != len(had) + 1:
            faults.append(f"{name} of {action} is number {value['number']} after {had}")
        had.append(name)
        named = hashlib.blake2b(f"care\0{action}\0{name}".encode(), digest_size=16).hexdigest()
        if value["id"] != named or headers["ce_follows"] != action.encode() or value["client_id"] != client:
            faults.append(f"{name} of {action} does not say which it follows")
        if value["age_s"] != (now_ms - sent_ms) // 1000:
            faults.append(f"{name} of {action} gives the age {value['age_s']}")
        if name == "ended":
            del self.open[action]
            return faults
        at = [step for step in care.steps if step.name == name]
        if not at or (known and now_ms != sent_ms + at[0].wait_s * 1000):
            faults.append(f"{name} of {action} came at {value['time']}, not when it was due")
        return faults

    def end(self, clients: Iterable[ClientState]) -> list[str]:
        """What was due by now has come."""
        now = {client.client_id: client.now_ms for client in clients}
        kept = {item[KEY] for client in clients for item in client.items}
        return [
            f"{step.name} of {action} of {client} has not come"
            for action, (client, sent_ms, care, known) in self.open.items()
            if known and action in kept
            for step in care.steps
            if sent_ms + step.wait_s * 1000 <= now[client] and step.name not in self.had[action]
        ]
