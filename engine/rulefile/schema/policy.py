"""The JSON Schema of policy.yaml.

Enters: the constants that its reader uses. Leaves: the schema.
Holds: it allows what `read.policy` reads.
"""

from __future__ import annotations

from engine.core.firm_time import WEEKDAYS
from engine.rulefile.read import policy, tables
from engine.rulefile.roster import budgets
from engine.rulefile.schema.parts import (
    Keys,
    Schema,
    amount,
    choice,
    choices,
    duration,
    either,
    expression,
    items,
    mapping,
    named,
    number,
    several,
    word,
)
from engine.rulefile.source.csv_file import FILE
from engine.rulefile.source.fields import IDENTIFIER, KEBAB, OWNER, RULE

SPAN: Schema = {
    "type": "string",
    "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]-(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$",
}


def policy_schema() -> Schema:
    contact: Keys = {
        "daily_cap": (number(0, 100), "Contacts a client and day, all channels together."),
        "urgent_from": (
            number(1, 100),
            "Rules of this priority or higher are sent even when the cap is used up; they count towards it.",
        ),
    }
    one_class: Keys = {
        "exempt": (
            choices(policy.EXEMPTIONS),
            "What does not concern its rules. Of regulatory alone: consent, do_not_contact.",
        ),
        "counts": ({"type": "boolean"}, "Whether what it sends counts towards caps that do not name it; true."),
        "purpose": (choice(policy.PURPOSES), "What the client's consent must be for."),
        "when_quiet": (choice(policy.WHEN_QUIET), "What becomes of its actions in quiet hours; drop unless said."),
        "collect": (duration("mh"), "Its actions wait so long for others; then the highest priority goes first."),
        "channels": (choices(policy.CHANNELS), "With exempt: consent: the channels used without the client's consent."),
        "by_answers": ({"type": "boolean"}, "Whether the channels that the client answers to, by answers, go first."),
        "not_while": (
            named(IDENTIFIER, expression()) | {"minProperties": 1},
            "By name conditions on the client: as long as one holds, the client gets nothing of the class.",
        ),
        "same_text": (
            duration("hd"),
            "For so long a client does not get the same template with the same values again.",
        ),
        "holdout": (
            {"type": "boolean"},
            "Whether the firm's holdout concerns it; not regulatory and risk unless said.",
        ),
    }
    slots: Keys = {
        "slots": (number(1, 1000), "So many of at_most, for a class."),
        "for": (word(IDENTIFIER), "This class and those above; or calendar: what is known to be due."),
    }
    reserve = mapping(slots, ("for",), ("slots",))
    for_calendar: Schema = {"properties": {"for": {"const": policy.FOR_CALENDAR}}, "not": {"required": ["slots"]}}
    reserve["oneOf"] = [{"required": ["slots"]}, for_calendar]
    cap: Keys = {
        "at_most": (number(0, 1000), "Contacts of a client."),
        "per": (choice(policy.PERS), "In this period of the calendar."),
        "within": (duration("mhd"), "Or in so long up to now; at most 31d."),
        "zone": (choice(policy.ZONES), "Whose calendar; the firm's unless said."),
        "of": (_selection(), "Which contacts count, and are limited; all unless said."),
        "reserve": (
            either(reserve, items(reserve)),
            "Kept free for more important classes, or for calendar actions that are known to be due.",
        ),
        "spare_from": (number(1, 100), "Rules of this priority or higher are sent all the same, and count."),
    }
    one_cap = mapping(cap, ("at_most",), policy.CAP_KEYS)
    one_cap["oneOf"] = [{"required": ["per"]}, {"required": ["within"]}]
    quiet: Keys = {
        "hours": (SPAN, 'By the clock, such as "21:30-08:30"; over midnight too.'),
        "days": (
            either({"const": policy.HOLIDAYS}, several(choice(WEEKDAYS))),
            "Days on which they begin; all unless said. Or holidays: all days that are no working days.",
        ),
        "zone": (choice(policy.ZONES), "Whose clock; the client's unless said, the firm's where that is not known."),
        "of": (_selection(), "What is not sent then; everything unless said."),
    }
    rate: Keys = {
        "at_most": (number(1, policy.MAX_CLIENTS), "Actions, over all clients."),
        "per": (choice(tuple(policy.RATE_PERS)), "In this time, evenly."),
        "of": (_selection(), "Which actions; all to clients unless said."),
    }
    costs: Keys = {channel: (amount(), "Of an action there.") for channel in policy.CHANNELS}
    budget: Keys = {
        "limit": (amount(or_number=True), "All together; a number is of actions."),
        "per": (choice(budgets.PERS), "In this period of the firm's calendar; once, for good, unless said."),
        "of": (_selection(campaigns=True), "Which actions it pays for; all to clients unless said."),
        "cost": (
            either(amount(), mapping(costs, (), policy.CHANNELS)),
            "What an action costs, or by channel; each rule's own cost goes first.",
        ),
    }
    rest: Keys = {
        "after": (
            number(1, policy.MAX_FAILURES),
            "So many receipts failed or bounced, with none that arrived between.",
        ),
        "for": (duration("hd"), "So long, or until something arrives."),
    }
    rests: Keys = {channel: (mapping(rest, policy.REST_KEYS), "When it rests.") for channel in policy.CHANNELS}
    answers: Keys = {channel: (expression(), "A number; more goes first.") for channel in policy.CHANNELS}
    clients = number(0, policy.MAX_CLIENTS)
    publishing: Keys = {
        "approval": ({"type": "boolean"}, "Whether a second person must approve a rule set."),
        "ask_above": (clients, "Clients whom a set moves or acts on at once: above this `engage publish` asks."),
        "approve_above": (clients, "And above this a second person must approve it."),
    }
    decisions: Keys = {
        "publish": ({"type": "boolean"}, "Whether decisions are published on the topic `decisions`; true unless said."),
        "leave_out": (choices(policy.REFUSALS), "Outcomes that are not, unless the action had been held."),
    }
    class_of = either(mapping(one_class, (), policy.CLASS_KEYS), {"type": "null"})
    root: Keys = {
        "contact": (
            mapping(contact, ("daily_cap",), ("urgent_from",)),
            "The cap of the day, over all rules; the short form of one in caps.",
        ),
        "classes": (
            named(IDENTIFIER, class_of) | {"minProperties": 1},
            "Of rules, the most important first. Unless said: regulatory, risk, service, relationship, marketing.",
        ),
        "caps": (named(IDENTIFIER, one_cap), "Limits on contacting a client, by name; the tightest wins."),
        "quiet_hours": (named(IDENTIFIER, mapping(quiet, (), policy.QUIET_KEYS)), "When nothing is sent, by name."),
        "rates": (
            named(IDENTIFIER, mapping(rate, policy.RATE_KEYS[:2], policy.RATE_KEYS[2:])),
            "How fast actions go out over all clients, by name; what comes faster waits for its turn.",
        ),
        "budgets": (
            named(IDENTIFIER, mapping(budget, ("limit",), budgets.BUDGET_KEYS)),
            "What actions may cost in all, over all clients, by name; what nothing is left for is not sent.",
        ),
        "release_over": (duration("mh"), "What quiet hours held goes out over so long, not all at once."),
        "breaker": (_breaker(), "When a rule is paused for everybody."),
        "holdout": (holdout(), "Clients who get nothing but what is exempt, to compare the others with."),
        "suitability": (_suitability(), "What the products that rules offer have to meet."),
        "rests": (
            mapping(rests, (), policy.CHANNELS),
            "Channels that are not used for a client after failures in a row.",
        ),
        "answers": (mapping(answers, (), policy.CHANNELS), "How much a client answers to a channel; see by_answers."),
        "publishing": (mapping(publishing, (), policy.PUBLISHING_KEYS), "How rule sets take effect."),
        "decisions": (mapping(decisions, (), policy.DECISIONS_KEYS), "What is published of rules that matched."),
    }
    schema = mapping(root, (), policy.POLICY_KEYS)
    schema["anyOf"] = [{"required": ["contact"]}, {"required": ["caps"]}]
    return schema


def _breaker() -> Schema:
    parts: Keys = {
        "each_rule": (bounds(), "More actions of a rule than so many: it is paused."),
        "all": (bounds(policy.ALL_KEYS), "More of all rules together: those that are most above what is usual are."),
        "except": (
            either(word(policy.CLASS_OR_RULE), items(word(policy.CLASS_OR_RULE))),
            "Classes, or rules, that are neither counted nor paused; regulatory unless said.",
        ),
    }
    found = mapping(parts, (), policy.BREAKER_KEYS)
    found["anyOf"] = [{"required": [key]} for key in ("each_rule", "all")]
    return found


def bounds(keys: tuple[str, ...] = policy.BOUND_KEYS) -> Schema:
    parts: Keys = {
        "per_minute": (number(1, policy.MAX_CLIENTS), "Actions in a minute, to all clients together."),
        "per_hour": (number(1, policy.MAX_CLIENTS), "Actions in an hour."),
        "times_usual": (number(2, policy.MAX_TIMES), "So many times what its busiest hour of the last 8 days had."),
        "usual_from": (number(1, policy.MAX_CLIENTS), "Which is not asked up to so many actions an hour; 500."),
    }
    found = mapping({key: parts[key] for key in keys}, (), keys)
    found["anyOf"] = [{"required": [key]} for key in keys[:3]]
    return found


def holdout() -> Schema:
    """Of policy.yaml, or of a rule."""
    parts: Keys = {
        "share": (
            {**number(), "minimum": 0, "maximum": 1},
            "Of all clients, such as 0.05. A greater one holds out the same clients and more.",
        ),
        "salt": (word(KEBAB), "Any name. It never changes: with another one all clients are drawn anew."),
    }
    return mapping(parts, policy.HOLDOUT_KEYS)


def _suitability() -> Schema:
    black: Keys = {
        "clients": (word(IDENTIFIER), "A list of client ids, to whom nothing is offered."),
        "products": (word(IDENTIFIER), "A list of products that are offered to nobody."),
    }
    parts: Keys = {
        "products": (
            word(FILE),
            f"A CSV file with the columns {', '.join(tables.COLUMNS)}; no other product is offered.",
        ),
        "assessed": (expression(), "Days since the client's risk was assessed."),
        "within": (duration("d"), "An older assessment does not count."),
        "blacklist": (mapping(black, (), tables.BLACKLIST_KEYS), "Lists of definitions.yaml."),
    }
    found = mapping(parts, ("products",), tables.SUITABILITY_KEYS[1:])
    found["dependencies"] = {"assessed": ["within"], "within": ["assessed"]}
    return found


def _selection(*, campaigns: bool = False) -> Schema:
    parts: Keys = {
        "kind": (choices(policy.KINDS), "What comes out."),
        "class": (several(word(IDENTIFIER)), "What the rule is for."),
        "channel": (choices(policy.CHANNELS), "How the client is reached."),
        "tag": (several(word(KEBAB)), "One of the rule's tags, as it was when it was sent."),
        "team": (several(word(OWNER)), "The rule's owner."),
        "rule": (several(word(RULE)), "The rule's id."),
    }
    if campaigns:
        parts = {**parts, budgets.CAMPAIGN: (several(word(KEBAB)), "What the rule is part of.")}
    return mapping(parts, (), tuple(parts)) | {"minProperties": 1}
