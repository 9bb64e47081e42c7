"""Pauses outlast what is published: whatever set becomes active, what is paused stays so until a person resumes it.

Enters: a rule set, the archive. Leaves: the same rules with the pauses of the active set.
Holds: the pauses of the files that are given count for nothing.
"""

from __future__ import annotations

from engine.core.rules.policy import PAUSES_FILE
from engine.core.rules.ruleset import RuleSet
from engine.rulefile.read.load import digest as digest_of
from engine.rulefile.read.load import repaused
from engine.rulefile.read.pauses import Pauses, of_rules, pauses_in, pauses_text, without_pauses
from engine.runtime.errors import Refused
from engine.runtime.rule_sets.archive import RuleSetArchive


def carried(archive: RuleSetArchive, rule_set: RuleSet) -> RuleSet:
    """With the pauses that stand, of rules that it has under this or a former id. Raises Refused, Newer."""
    standing = of_rules(pauses_of(archive, archive.head), rule_set.rules)
    return repaused(rule_set, with_pauses(dict(rule_set.files), standing)) or rule_set


def with_pauses(files: dict[str, str], pauses: Pauses) -> dict[str, str]:
    """The files of a set, with these pauses. Raises Refused where their file is one of rules."""
    kept, text = without_pauses(files), pauses_text(pauses)
    if text and PAUSES_FILE in kept:
        raise Refused(
            f"{PAUSES_FILE} holds rules, and is where pauses are kept: give the file another name, and publish"
        )
    return kept | ({PAUSES_FILE: text} if text else {})


def pauses_of(archive: RuleSetArchive, digest: str | None) -> Pauses:
    """Of a set of the topic. Raises Refused, Newer."""
    return pauses_in(archive.files(digest).get(PAUSES_FILE, "")) if digest is not None else ((), ())


def unpaused_digest(rule_set: RuleSet) -> str:
    """Names the files as people wrote them."""
    return digest_of(without_pauses(dict(rule_set.files)))
