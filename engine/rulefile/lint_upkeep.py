"""What keeps a rule set in good order: tests, needs, owners, cooldowns, nothing unused. L301 to L306.

Enters: a RuleSet. Leaves: findings.
"""

from __future__ import annotations

import difflib
from collections import Counter
from typing import Final

from engine.core.ruleset import Rule, RuleSet
from engine.rulefile.lint import Findings
from engine.rulefile.places import Place

HOUR_S: Final = 3600
DAY_S: Final = 86_400
# The shortest time between two looks.
RHYTHM_S: Final = {"day": DAY_S, "week": 7 * DAY_S, "month": 28 * DAY_S, "quarter": 90 * DAY_S, "year": 365 * DAY_S}
ON_EVENTS: Final = ("profiles", "balances", "logins", "trades", "tier_change")


def look(rule_set: RuleSet, findings: Findings) -> None:
    owners = Counter(rule.owner for rule in rule_set.rules)
    for rule in rule_set.rules:
        home = findings.places.rules.get(rule.id)
        if home is not None:
            _rule(rule, home, owners, findings)
    _unused(rule_set, findings)


def _rule(rule: Rule, home: Place, owners: Counter[str], findings: Findings) -> None:
    def add(code: str, key: str, message: str, remedy: str) -> None:
        findings.add(code, home.key(key) or home, f'rule "{rule.id}"', message, remedy, home=home)

    if home.key("tests") is None:
        add("L301", "id", "no tests", "add tests: what is given, what is expected")
    if home.key("serves") is None:
        add("L302", "id", "does not say which need it serves", "add serves")
    rhythm_s, every = _rhythm(rule)
    if rhythm_s and rule.cooldown_s > rhythm_s:
        message = f"is looked at every {every}, and its cooldown outlasts that: it is passed over"
        add("L303", "cooldown", message, "shorten the cooldown, or look more seldom")
    if rule.audience == "client" and rule.cooldown_s < HOUR_S and set(rule.on) & {*ON_EVENTS}:
        message = "speaks to the client again within the hour"
        add("L304", "cooldown", message, "write a cooldown of at least 1h, better days")
    if owners[rule.owner] == 1:
        others = [owner for owner, rules in owners.items() if rules > 1]
        close = difflib.get_close_matches(rule.owner, others, n=1, cutoff=0.8)
        if close:
            add("L305", "owner", f'owner "{rule.owner}" has only this rule', f'did you mean "{close[0]}"?')


def _rhythm(rule: Rule) -> tuple[int, str]:
    if rule.at is not None and rule.at.every in RHYTHM_S:
        return RHYTHM_S[rule.at.every], rule.at.every
    if rule.becomes is not None and rule.becomes.repeat_s:
        days, rest = divmod(rule.becomes.repeat_s, DAY_S)
        return rule.becomes.repeat_s, f"{rule.becomes.repeat_s // 60}m" if rest else f"{days}d"
    return 0, ""


def _unused(rule_set: RuleSet, findings: Findings) -> None:
    tiers = rule_set.tiers
    expressions = [ladder.measure for ladder in tiers.ladders.values()] + [segment.when for segment in tiers.segments]
    expressions += [tiers.value_score] if tiers.value_score is not None else []
    for rule in rule_set.rules:
        expressions += [rule.when, *(expression for _, expression in rule.parameters)]
        if rule.sequence is not None:
            expressions += [rule.sequence.first.when, rule.sequence.then.when]
    used = {name for expression in expressions for name in expression.names}
    for feature in rule_set.features:
        at = findings.places.declared["features"].get(feature.name)
        if feature.name not in used and at is not None:
            remedy = "remove it, or use it: it costs memory in every client's state"
            findings.add("L306", at, f'feature "{feature.name}"', "nothing uses it", remedy, home=at)
