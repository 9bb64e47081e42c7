"""Budgets in the simulation: rule files whose messages cost something, and an auditor of what was spent.

Enters: a World at rest, whose workers have the processor of pools and budgets beside that of clients. Leaves: what is
wrong.
Holds: what was spent is counted from the actions that were published, what was granted from the topics; nothing of how
either is decided is asked.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any, Final

from aiokafka import TopicPartition

from engine.core.assign.budgets import unpack as budget_of
from engine.core.contract.outbound import TOPIC_OF_KIND
from engine.core.contract.topics import BUDGET_REQUESTS
from engine.core.pace import Block, Pace
from engine.runtime.protocol.ledger import decode_unit
from engine.runtime.settings import Settings
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
        self.found: list[str] = []
        self.numbers = range(world.scenario.partitions)
        ((_, _), (self.settings, _)) = world.scopes
        # what was said while workers stopped waits for the next start
        self.requests, self.unheard = self._heard(BUDGET_REQUESTS.name, self.settings)
        heard, self.to_come = self._heard("budget_answers", world.settings)
        self.answers = heard + self.to_come
        self.budgets = {name: budget_of(state) for name, state in self._stored(self.settings.scope).items()}
        self.granted: dict[tuple[str, str], int] = defaultdict(int)  # by budget and period, without what was returned
        self.spent, self.left = Counter[tuple[str, str]](), Counter[tuple[str, str]]()

    def check(self) -> list[str]:
        self._answered()
        self._limits()
        self._blocks()
        self._sums()
        self._paid()
        return self.found

    def _answered(self) -> None:
        """Each request has one answer."""
        asked = Counter(one["request_id"] for one in self.requests if one["kind"] == "grant")
        answers = Counter(one["request_id"] for one in self.answers)
        returned = Counter(one["request_id"] for one in self.requests if one["kind"] == "return")
        self.found += [f"{name} gives back {times} times" for name, times in returned.items() if times > 1]
        self.found += [
            f"{name} was asked {asked[name]} times, has {answers[name]} answers"
            for name in asked | answers
            if asked[name] != answers[name]
        ]
        self.world.network.seen.update(f"budget {one['outcome']}" for one in self.answers)
        self.world.network.seen.update(f"budget {one['kind']}" for one in self.requests)

    def _limits(self) -> None:
        """In the order in which a budget took its requests: it grants no more than the limit that it answers with."""
        answer_to = {one["request_id"]: one for one in self.answers}
        for one in self.requests:
            key = one["client_id"].removeprefix("budget:"), one["period"]
            if one["kind"] == "return":
                self.granted[key] -= one["amount"]
                continue
            answer = answer_to.pop(one["request_id"], None)
            if answer is None:  # nothing was answered, or it was asked again
                continue
            self.granted[key] += answer["amount"]
            if answer["amount"] and self.granted[key] > min(answer["limit"], one["limit"]):
                self.found.append(f"{key} has {self.granted[key]} granted of {answer['limit']}")
            if answer["amount"] and answer["amount"] < one["least"]:
                self.found.append(f"{key} was granted {answer['amount']}, of which {one['least']} is the least use")

    def _blocks(self) -> None:
        """What each partition spent in each period, by the ends of its units."""
        for number in self.numbers:
            log = self.world.kafka.logs[TopicPartition(self.world.settings.ledger_topic, number)]
            before: dict[str, Block] = {}
            for entry in log.committed():
                pace = Pace(dict(decode_unit(entry.value or b"").end.pace))
                blocks = {name: block for name in pace.budgets() if (block := pace.block(name)) is not None}
                for name, block in blocks.items():
                    self._sound(name, block)
                    had = before.get(name)
                    known = had.spent if had is not None and had.period == block.period else 0
                    self.spent[name, block.period] += block.spent - known
                before = blocks
            for name, block in before.items():
                self.left[name, block.period] += block.left
                coming = {one["request_id"] for one in (*self.to_come, *self.unheard)}
                if not coming.issuperset((*block.late, *filter(None, (block.request,)))):
                    self.found.append(f"partition {number} still waits for an answer of {name}: {block}")

    def _sound(self, name: str, block: Block) -> None:
        if block.left < 0:
            self.found.append(f"more of {name} was spent than was granted: {block}")

    def _sums(self) -> None:
        """What is granted was spent, is left, or on its way; what the budget says is the same."""
        heard = {one["request_id"] for one in self.answers if one not in self.to_come}
        coming = {one["request_id"]: one for one in self.to_come if one["request_id"] not in heard}
        for one in coming.values():
            self.left[one["budget"], one["period"]] += one["amount"]
        for one in self.unheard:
            if one["kind"] == "return":
                self.left[one["client_id"].removeprefix("budget:"), one["period"]] += one["amount"]
        for key in {*self.granted, *self.spent}:
            if self.granted[key] != self.spent[key] + self.left[key]:
                self.found.append(f"{key}: {self.granted[key]} granted, {self.spent[key]} spent, {self.left[key]} left")
        held = {
            (name.removeprefix("budget:"), period): n
            for name, of in self.budgets.items()
            for period, n in of.periods.items()
        }
        if held != {key: n for key, n in self.granted.items() if key in held}:
            self.found.append(f"budgets hold {held}, by the topics it would be {dict(self.granted)}")

    def _paid(self) -> None:
        """What was published cost what was spent."""
        paid = Counter[str]()
        for topic in TOPIC_OF_KIND.values():
            for one in self._records(topic):
                if one.get("audience") == "client" and one["channel"] in COSTS:
                    paid["contact"] += COSTS[one["channel"]]
        spent = sum(n for (name, _), n in self.spent.items() if name == "contact")
        if paid["contact"] != spent:
            self.found.append(f"actions cost {paid['contact']}, {spent} was spent")

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
