"""`engage lint`: what is doubtful in rule files that have no error.

Enters: a RuleSet. Leaves: findings, each with its place, a code and what to do.
Holds: what is said to be never or always so is proved (engine/rulefile/proof), for clients whose tiers were set under
the same rules.
"""

from __future__ import annotations

from collections.abc import Mapping

from engine.core.rules.ruleset import RuleSet
from engine.rulefile.lint import care as lint_care
from engine.rulefile.lint import conditions as lint_conditions
from engine.rulefile.lint import journeys as lint_journeys
from engine.rulefile.lint import policy as lint_policy
from engine.rulefile.lint import texts as lint_texts
from engine.rulefile.lint import together as lint_together
from engine.rulefile.lint import upkeep as lint_upkeep
from engine.rulefile.lint.findings import Finding, Findings
from engine.rulefile.lint.texts import Sample
from engine.rulefile.proof.worlds import Worlds
from engine.rulefile.source.document import Node
from engine.rulefile.source.places import Places


def lint(
    rule_set: RuleSet,
    documents: Mapping[str, Node] | None = None,
    now_ms: int | None = None,
    sample: Sample | None = None,
) -> list[Finding]:
    """Everything doubtful, in the order of files and lines. `documents`: the files' trees, if they are at hand. With a
    sample of events: what none of them ever had.
    """
    findings, worlds = Findings(Places(rule_set.files, documents)), Worlds(rule_set)
    lint_conditions.look(worlds, findings)
    lint_together.look(worlds, findings)
    lint_policy.look(rule_set, findings)
    lint_journeys.look(worlds, findings)
    lint_care.look(worlds, findings)
    lint_upkeep.look(worlds, findings)
    lint_upkeep.look_at_days(rule_set, now_ms, findings)
    lint_texts.look(rule_set, findings, sample)
    return findings.left()
