"""Budgets in the simulation: rule files whose messages cost something, and an auditor of what was spent.

Enters: a World at rest, whose workers have the processor of pools and budgets beside that of clients. Leaves: what is
wrong.
Holds: it is the audit of tests/budget_audit.py.
"""

from __future__ import annotations

import json
from typing import Any, Final

from aiokafka import TopicPartition

from engine.core.contract.outbound import TOPIC_OF_KIND
from engine.core.contract.topics import BUDGET_REQUESTS
from engine.runtime.protocol.ledger import decode_unit
from engine.runtime.settings import Settings
from tests.budget_audit import BudgetAudit
from tests.simulation.auditor import audit
from tests.simulation.policy_texts import CONTACTS
from tests.simulation.pools import with_own_rules
from tests.simulation.rule_texts import GOOD
from tests.simulation.scenario import Scenario
from tests.simulation.world import World

COSTS: Final = {"sms": 5, "app_push": 1}
CONTACT: Final = (
    "  contact: {limit: LIMIT, per: day, of: {channel: [sms, app_push]}, cost: {sms: 0.05 CNY, app_push: 0.01 CNY}}\n"
)
OFFERS: Final = "  offers: {limit: LIMIT, of: {kind: survey, channel: [sms, app_push]}}\n"


def _files(files: dict[str, str], contact: str, offers: str | None) -> dict[str, str]:
    budgets = "budgets:\n" + CONTACT.replace("LIMIT", contact)
    budgets += OFFERS.replace("LIMIT", offers) if offers is not None else ""
    rules = files["rules.yaml"] if CONTACTS in files["rules.yaml"] else files["rules.yaml"] + CONTACTS
    files = {name: text for name, text in files.items() if not name.startswith("journeys/")}
    return files | {"policy.yaml": files["policy.yaml"] + budgets, "rules.yaml": rules}


# The limits go up and down, and one budget comes and goes.
WITH_BUDGETS: Final = (
    _files(GOOD[0], "0.40 CNY", "6"),
    _files(GOOD[2], "0.15 CNY", None),
    _files(GOOD[0], "0.90 CNY", "3"),
)


def with_budgets(scenario: Scenario) -> None:
    with_own_rules(scenario, len(WITH_BUDGETS))


def judge(world: World) -> list[str]:
    """Clients as always, then budgets."""
    return audit(world) or _Budgets(world).check()


class _Budgets:
    def __init__(self, world: World) -> None:
        self.world = world
        self.numbers = range(world.scenario.partitions)
        ((_, _), (self.settings, _)) = world.scopes
        # what was said while workers stopped waits for the next start
        requests, unheard = self._heard(BUDGET_REQUESTS.name, self.settings)
        heard, to_come = self._heard("budget_answers", world.settings)
        read = {one["request_id"] for one in heard}
        self.audit = BudgetAudit(requests, heard + to_come, unheard, to_come, read)

    def check(self) -> list[str]:
        audit_, seen = self.audit, self.world.network.seen
        audit_.answered()
        seen.update(f"budget {one['outcome']}" for one in audit_.answers)
        seen.update(f"budget {one['kind']}" for one in audit_.requests)
        audit_.limits()
        for number in self.numbers:
            log = self.world.kafka.logs[TopicPartition(self.world.settings.ledger_topic, number)]
            audit_.blocks(number, (decode_unit(entry.value or b"").end.pace for entry in log.committed()))
        audit_.sums(self._stored(self.settings.scope))
        published = (one for topic in TOPIC_OF_KIND.values() for one in self._records(topic))
        audit_.paid({"contact": COSTS}, published)
        return audit_.found

    def _records(self, topic: str) -> list[dict[str, Any]]:
        logs = (self.world.kafka.logs[TopicPartition(self.settings.topic(topic), number)] for number in self.numbers)
        return [json.loads(entry.value or b"") for log in logs for entry in log.committed()]

    def _heard(self, topic: str, reader: Settings) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """What was decided by the processor that reads the topic, by its ledger; and what was not."""
        found: tuple[list[dict[str, Any]], list[dict[str, Any]]] = [], []
        for number in self.numbers:
            units = list(self.world.kafka.logs[TopicPartition(reader.ledger_topic, number)].committed())
            end = decode_unit(units[-1].value or b"").offsets.get(topic, 0) if units else 0
            for entry in self.world.kafka.logs[TopicPartition(self.settings.topic(topic), number)].committed():
                found[entry.offset >= end].append(json.loads(entry.value or b""))
        return found

    def _stored(self, scope: str) -> dict[str, bytes]:
        hashes = self.world.redis.data.hashes
        return {
            key.rpartition(":client:")[2]: fields["state"]
            for key, fields in hashes.items()
            if key.partition(":")[0] == f"{{{scope}"
        }
