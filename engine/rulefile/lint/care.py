"""What is doubtful in how work is seen through: L701 to L703, and conditions that never or always hold.

Enters: a RuleSet. Leaves: findings.
"""

from __future__ import annotations

from engine.core.rules.occasion import Care, CareAt
from engine.core.rules.ruleset import Rule
from engine.rulefile.lint.conditions import Look
from engine.rulefile.lint.findings import Findings, in_short
from engine.rulefile.proof.worlds import Worlds
from engine.rulefile.source.places import Place


def look(certain: Worlds, findings: Findings) -> None:
    for rule in certain.rule_set.rules:
        home = findings.places.rules.get(rule.id)
        if rule.care is not None and home is not None:
            _rule(certain, rule, rule.care, home, findings)


def _rule(certain: Worlds, rule: Rule, care: Care, home: Place, findings: Findings) -> None:
    subject, whole = f'rule "{rule.id}"', home.key("care") or home

    def add(code: str, step: CareAt, message: str, remedy: str) -> None:
        key = {"reminded": "remind", "escalated": "escalate"}.get(step.step, step.step)
        findings.add(code, whole.named(key) or whole, subject, message, remedy, home=home)

    late = next((step for step in care.steps if step.wait_s > rule.expires_s), None)
    if late is not None:
        message = (
            f"{_said(late)} after {in_short(late.wait_s)}, and the action expires after {in_short(rule.expires_s)}"
        )
        add("L701", late, message, "let it expire later, or come to it sooner")
    to_team = next((step for step in care.steps if step.to == "team"), None)
    if to_team is not None and rule.audience == "team":
        add("L702", to_team, "is escalated to the team that has it already", "escalate to the head, or remind")
    first = next((step for step in care.steps if step.step == "reminded"), None)
    others = [step for step in care.steps if step.step != "reminded"]
    if first is not None and others and first.wait_s >= others[0].wait_s:
        message = f"first reminds after {in_short(first.wait_s)}, when it is {_come_to(others[0])} already"
        add("L703", first, message, f"remind sooner than after {in_short(others[0].wait_s)}, or not at all")
    if care.ends_when is not None and (at := whole.key("ends_when")) is not None:
        Look(findings, subject, home, at, {"": certain.of(None)}).condition(care.ends_when)


def _said(step: CareAt) -> str:
    return {"reminded": "reminds", "overdue": "is overdue"}.get(step.step, f"is escalated to {step.to}")


def _come_to(step: CareAt) -> str:
    return "overdue" if step.step == "overdue" else f"escalated to {step.to}"
