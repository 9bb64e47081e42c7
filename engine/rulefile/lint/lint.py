"""`engage lint`: what is doubtful in rule files that have no error.

Enters: a RuleSet. Leaves: findings, each with its place, a code and what to do.
Holds: what is said to be never or always so is proved (narrowing.py), for clients whose tiers were set under the same
rules.
"""

from __future__ import annotations

from engine.core.rules.ruleset import RuleSet
from engine.rulefile.lint import conditions as lint_conditions
from engine.rulefile.lint import together as lint_together
from engine.rulefile.lint import upkeep as lint_upkeep
from engine.rulefile.lint.findings import Finding, Findings
from engine.rulefile.lint.places import Places


def lint(rule_set: RuleSet) -> list[Finding]:
    """Everything doubtful, in the order of files and lines."""
    findings = Findings(Places(rule_set.files))
    lint_conditions.look(rule_set, findings)
    lint_together.look(rule_set, findings)
    lint_upkeep.look(rule_set, findings)
    return findings.left()
