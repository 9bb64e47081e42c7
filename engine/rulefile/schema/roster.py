"""JSON Schema of advisors.yaml and assignment.yaml.

Enters: the constants that their reader uses; of a rule set, the names that it declares. Leaves: schemas.
"""

from __future__ import annotations

from engine.core.contract.granting import MAX_CAPACITY, MAX_OPEN_TASKS
from engine.core.rules.ruleset import RuleSet
from engine.rulefile.roster import cases, read
from engine.rulefile.schema.parts import (
    Keys,
    Schema,
    choice,
    choices,
    duration,
    expression,
    items,
    mapping,
    named,
    number,
    owner,
    word,
    words_of,
)
from engine.rulefile.source.fields import IDENTIFIER, TIER


def advisors_schema(rule_set: RuleSet | None) -> Schema:
    assignment = rule_set.assignment if rule_set is not None else None
    tiers = choices(rule_set.tiers.names) if rule_set is not None else items(word(TIER))
    day: Schema = {"type": "string", "pattern": f"^{read.DAY.pattern}$"}
    leave: Keys = {
        "from": (day, "The first day."),
        "until": (day, "The last day."),
        "stand_in": (word(read.ADVISOR), "Who of the pool has the clients meanwhile; they stay unless said."),
    }
    parts: Keys = {
        "pool": (
            choice(pool.name for pool in assignment.pools) if assignment is not None else word(IDENTIFIER),
            "The pool of assignment.yaml.",
        ),
        "capacity": (number(0, MAX_CAPACITY), "How many clients, each by the weight of its tier."),
        "regions": (choices(read.REGIONS), "Of clients; any unless said."),
        "languages": (items(word(read.LANGUAGE)), "Of clients; any unless said."),
        "tiers": (tiers, "Of clients; any unless said."),
        "skills": (named(IDENTIFIER, number(1, read.MAX_LEVEL)), "With the level, 1 to 9."),
        "licence_until": (
            day,
            "The last day on which new clients may be given; for good unless said.",
        ),
        "leave": (items(mapping(leave, ("from", "until"), ("stand_in",))), "One after the other."),
        "open_tasks": (number(1, MAX_OPEN_TASKS), "At most so many tasks and alerts are open; any unless said."),
        "not_for": (items(word(read.CLIENT)), "Clients whom this advisor must not have: relatives, an employer."),
        "last_day": (day, "With the firm: after it no new clients come; `engage handover` gives the others on."),
    }
    advisor = mapping(parts, ("pool", "capacity"), read.ADVISOR_KEYS)
    return mapping({"advisors": (named(read.ADVISOR, advisor), "By the advisor's id.")}, ("advisors",))


def assignment_schema(rule_set: RuleSet | None) -> Schema:
    known = words_of(rule_set)
    step: Keys = {
        "after": (duration("mhd"), "When the request has waited for so long."),
        "by": (number(1, read.MAX_LEVEL), "By so many levels less is asked for."),
    }
    parts: Keys = {
        "when": (expression(known), "Which clients; of several pools the first that holds."),
        "team": (owner(rule_set), "Whom it goes to where nobody can."),
        "needs": (named(IDENTIFIER, expression(known)), "Skill -> the level that the client needs; 0: none."),
        "widen": (items(mapping(step, ("after", "by"))), "What is asked for less and less, the first step first."),
        "accept": (duration("mhd"), "So long an advisor has to accept a client; nobody has to unless said."),
        "conflict": (expression(known), "For which clients somebody else than their advisor of that moment is asked."),
        "open_tasks": (number(1, MAX_OPEN_TASKS), "Of each advisor without a number of its own."),
        "give_up": (duration("mhd"), "When there is no capacity; at once unless said."),
    }
    pool = mapping(parts, ("when", "team"), read.POOL_KEYS)
    keys: Keys = {
        "pools": (named(IDENTIFIER, pool) | {"type": "object", "minProperties": 1}, "In order, by name."),
        "weights": (named(TIER, number(1, read.MAX_WEIGHT)), "Of a client, by tier; 1 unless said."),
    }
    whole: Keys = {
        "assignment": (mapping(keys, ("pools",), ("weights",)), "Who is asked."),
        "tests": (items(_test(rule_set)), "What advisors have, who asks, who is to take the client."),
    }
    return mapping(whole, ("assignment",), ("tests",))


def _test(rule_set: RuleSet | None) -> Schema:
    client: Keys = {
        "id": (word(read.CLIENT), "For not_for."),
        "tier": (choice(rule_set.tiers.names) if rule_set is not None else word(TIER), "Not known unless said."),
        "region": (choice(read.REGIONS), "Not known unless said."),
        "language": (word(read.LANGUAGE), "Not known unless said."),
    }
    day: Schema = {"type": "string", "pattern": f"^{read.DAY.pattern}$"}
    said: Keys = {
        "present": ({"type": "boolean"}, "false: no new clients come."),
        "last_day": (day, "With the firm."),
        "capacity": (number(0, MAX_CAPACITY), "Instead of the file's."),
        "open_tasks": (number(0, MAX_OPEN_TASKS), "Instead of the file's."),
        "leave_from": (day, "The first day of a leave, by which it is known."),
        "leave_until": (day, "Its last day; there is no such leave unless said."),
        "stand_in": (word(read.ADVISOR), "Who has the clients meanwhile."),
    }
    advisor, advisors = word(read.ADVISOR), read.ADVISOR
    assignment = rule_set.assignment if rule_set is not None else None
    pool = choice(pool.name for pool in assignment.pools) if assignment is not None else word(IDENTIFIER)
    parts: Keys = {
        "name": ({"type": "string", "maxLength": 120}, "What is shown."),
        "pool": (pool, "The pool that is asked."),
        "client": (mapping(client, (), cases.CLIENT_KEYS), "Who asks."),
        "needs": (named(IDENTIFIER, number(1, read.MAX_LEVEL)), "Skill -> level."),
        "loads": (named(advisors, number(0, MAX_CAPACITY)), "What advisors have already; nothing unless said."),
        "has": (advisor, "Who has the client already, within that load."),
        "conflict": ({"type": "boolean"}, "Whether the pool's `conflict` holds: `has` is not to have the client."),
        "said": (named(advisors, mapping(said, (), cases.SAID_KEYS)), "What the topic advisors said of them."),
        "waited": (duration("mhd"), "For how long the request waits; it has just come unless said."),
        "on": (day, f"The day; {cases.DAY} unless said."),
        "expect": (advisor, "The advisor, no_capacity, or waits."),
        "because": (named(advisors, choice(cases.REASONS)), "What keeps others."),
    }
    return mapping(parts, ("name", "pool", "expect"), cases.KEYS)
