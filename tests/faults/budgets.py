"""Budgets in a run of faults: what messages to clients cost, and the judge of every part that was granted.

Enters: rule files; an installation at rest. Leaves: policy.yaml with budgets whose limits change with the rules;
findings. Holds: it is the audit of tests/budget_audit.py; what was published is compared with the replay elsewhere.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

import msgpack

from engine.core.contract.outbound import DECISIONS, TOPIC_OF_KIND
from engine.core.contract.topics import BUDGET_REQUESTS
from engine.core.decide.pools import OF_BUDGETS
from tests.budget_audit import BudgetAudit
from tests.kafka.installation import RULES, Installation, Record

if TYPE_CHECKING:
    from tests.faults.auditor import Audit, Chain

COSTS: Final = {
    "contact": {"sms": 5, "app_push": 1, "wechat": 2, "email": 1},
    "push": {"app_push": 1},
}
LIMITS: Final = (("0.40 CNY", 15), ("0.20 CNY", 40), ("0.90 CNY", 25))
_YAML: Final = """\
budgets:
  contact: {{limit: {}, per: month, of: {{channel: [sms, app_push, wechat, email]}}, cost: {{{}}}}}
  push: {{limit: {}, per: day, of: {{channel: app_push}}}}
"""


def write(directory: Path, random: Random | None = None) -> None:
    """The shipped policy with budgets; by `random` with other limits than at first."""
    contact, push = random.choice(LIMITS) if random else LIMITS[0]
    costs = ", ".join(f"{channel}: {fen / 100:.2f} CNY" for channel, fen in COSTS["contact"].items())
    (directory / "policy.yaml").write_text((RULES / "policy.yaml").read_text() + _YAML.format(contact, costs, push))


def check(
    installation: Installation,
    ledger: list[list[Record]],
    chains: tuple[list[Chain], list[Chain]],
    budgets: dict[str, bytes],
    found: Audit,
) -> None:
    """`ledger` is that of clients, `chains` of clients and of budgets; `budgets` as replayed."""
    of_clients, of_budgets = chains
    asked, answers = installation.read(BUDGET_REQUESTS.name), installation.read(OF_BUDGETS)
    requests, unheard = _heard(asked, of_budgets)
    heard, to_come = _heard(answers, of_clients)
    judge = BudgetAudit(requests, heard + to_come, unheard, to_come, {one["request_id"] for one in heard})
    judge.answered()
    judge.limits()
    for number, records in enumerate(ledger):
        units = (msgpack.unpackb(record.value or b"")[1] for record in records)
        ends = (json.loads(unit["end"]) for unit in units if unit["chunk"] + 1 == unit["chunks"])
        judge.blocks(number, (end.get("pace", {}) for end in ends))
    judge.sums(budgets)
    judge.paid(COSTS, (record.json for record in installation.read(*TOPIC_OF_KIND.values())))
    if judge.found:
        found.find(f"{len(judge.found)} faults of budgets", judge.found)
    _refused(answers, installation.read(DECISIONS), found)
    found.counted.update(
        budget_parts=sum(one["outcome"] == "granted" for one in judge.answers),
        budget_returns=sum(one["kind"] == "return" for one in requests),
        budget_spent=sum(judge.spent.values()),
    )


def _heard(records: list[Record], deciding: list[Chain]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What was decided by the processor that reads the topic; and what was not."""
    made: tuple[list[dict[str, Any]], list[dict[str, Any]]] = [], []
    for record in records:
        made[record.offset >= deciding[record.partition].offsets.get(record.topic, 0)].append(record.json)
    return made


def _refused(answers: list[Record], decisions: list[Record], found: Audit) -> None:
    """An action is told that nothing is left only where a budget has said so to its partition."""
    nothing = {
        (one.partition, one.json["budget"], one.json["period"]) for one in answers if one.json["outcome"] == "nothing"
    }
    told = Counter[str]()
    for record in decisions:
        one = record.json
        if one["outcome"] != "no_budget":
            continue
        told["left" if "until" in one else "wait"] += 1
        if "until" in one and (record.partition, one["numbers"]["budget"], one["numbers"]["period"]) not in nothing:
            found.find("no_budget, and no budget has said so", [one])
    found.counted.update(no_budget=told.total(), no_budget_without_answer=told["wait"])
