"""The contact policy of a run, judged by what was published: see tests/policy_audit.py.

Enters: what a replay decides again, which is what was published. Leaves: findings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from engine.core.client.sections import unpack
from engine.core.policy.holding import MATCH, THEN, WHY
from engine.core.policy.outcomes import COUNTED, OUTCOME, RULE
from engine.processors.engagement import Engagement
from engine.runtime.protocol.processor import Decided
from engine.runtime.redis.reading import NO_RULES
from tests.policy_audit import PolicyAudit


class Audited(Engagement):
    """Decides as the engine, one input at a time, and looks at what is published of each."""

    def __init__(self) -> None:
        super().__init__()
        self.audit = PolicyAudit()
        self.faults: list[str] = []
        self.outcomes: Counter[tuple[str, ...]] = Counter()

    def decide(self, plan: Any, states: Any, inputs: Any, *moment: Any) -> Decided[Any]:
        decided = super().decide(plan, states, [], *moment)  # of no client: a budget's part is given back
        for item in inputs:
            one = super().decide(plan, states, [item], *moment)
            self.faults += self.audit.take(plan, item, one.messages)
            self.outcomes.update({tuple(labels): n for (name, *labels), n in one.counts.items() if name == "decisions"})
            decided.messages += one.messages
            decided.changed.update(one.changed)
        return decided

    def at_rest(self, states: Mapping[str, bytes]) -> list[str]:
        """What is wrong in all, by the states at the end."""
        counted, faults = self.audit.counted.copy(), list(self.faults)
        for client_id, packed in states.items():
            client = unpack(NO_RULES.layout, packed)
            for one in client.recent:
                counted[one[RULE], one[OUTCOME]] += sum(one[COUNTED:])
            waits = {held[MATCH].hex() for held in client.waiting if held[WHY] != THEN}
            if waits != (held := self.audit.waiting(client_id)):
                faults.append(f"{client_id} waits for {waits}, and what is published leaves {held} without an end")
        differ = sorted(what for what in {*counted, *self.outcomes} if counted[what] != self.outcomes[what])
        faults += [f"of {differ} others were counted than there were"] if differ else []
        return faults if self.audit.looked["consent"] else [*faults, "no action for a client was looked at"]
