"""What must be in the work lists, told from what was published alone.

Enters: a plan, what was published under it, in order; in the end what is listed. Leaves: faults.
Holds: it shares nothing with the engine's items. Of work that no rule waits for it knows when it enters and leaves;
nobody accepts or closes any in the simulation.
"""

from __future__ import annotations

import datetime as dt
import json
from collections import defaultdict
from collections.abc import Iterable

from engine.core.contract.message import Message
from engine.core.plan.compile import Plan
from tests.care_audit import CARE, RETRACTION


def _ms(text: str) -> int:
    return round(dt.datetime.fromisoformat(text).timestamp() * 1000)


class WorkAudit:
    def __init__(self) -> None:
        self.leaves: defaultdict[str, dict[str, int]] = defaultdict(dict)  # client -> action -> when

    def take(self, plan: Plan, messages: Iterable[Message]) -> list[str]:
        rules = {rule.id: rule for rule in plan.rule_set.rules}
        faults = []
        for message in messages:
            headers, value = dict(message.headers), json.loads(message.value or b"{}")
            if headers.get("ce_type") == RETRACTION:
                self.leaves[value["client_id"]].pop(value["action_id"], None)
            if headers.get("ce_type") in (RETRACTION, CARE) or "parameters" not in value:
                continue
            if "ce_leaves" not in headers:
                continue
            rule = rules[value["rule_id"]]
            if rule.care is not None or value["audience"] == "client" or value["kind"] not in ("alert", "task"):
                faults.append(f"{value['id']} of {rule.id} is no work that leaves by itself")
            if headers["ce_leaves"] != value["expires_at"].encode():
                faults.append(f"{value['id']} leaves at {headers['ce_leaves']!r}, and expires at {value['expires_at']}")
            self.leaves[value["client_id"]][value["id"]] = _ms(value["expires_at"])
        return faults

    def end(self, client_id: str, listed: set[str], now_ms: int, *, full: bool) -> list[str]:
        """`listed`: the actions that the client's record places in lists at that moment. `full`: no more items have
        room, so that some may have gone before.
        """
        leaves = self.leaves[client_id]
        gone = {action for action, leaves_ms in leaves.items() if leaves_ms <= now_ms}
        faults = [f"{action} of {client_id} is listed though it has expired" for action in sorted(gone & listed)]
        if not full:
            faults += [f"{action} of {client_id} is not listed" for action in sorted(leaves.keys() - gone - listed)]
        return faults
