"""JSON Schema of every kind of rule file, for editors: they complete keys and values, say what each is, mark faults.

Enters: the constants that the readers use; of a rule set, the names that it declares. Leaves: file name -> schema.
Holds: a file that `engage check` accepts is valid, its texts being texts in YAML 1.2. The reverse holds for keys and
written values; what expressions say, and what two keys say to each other, is for `engage check`. Draft 7 is what
editors know.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from engine.core.contract.actions import ACTIONS
from engine.core.contract.corrections import CORRECTIONS
from engine.core.contract.profiles import CONSENTS
from engine.core.contract.topic import Topic
from engine.core.contract.topics import TOPICS, in_order, sources
from engine.core.rules import names
from engine.core.rules.occasion import ITEM_KINDS, event_triggers
from engine.core.rules.ruleset import RuleSet
from engine.rulefile.read import occasions, rules
from engine.rulefile.schema.parts import (
    Keys,
    Schema,
    amount,
    calendar_time,
    choice,
    choices,
    described,
    duration,
    either,
    expression,
    items,
    kinds_of,
    mapping,
    named,
    number,
    one_kind,
    owner,
    several,
    text,
    word,
    words_of,
)
from engine.rulefile.schema.policy import bounds, holdout, policy_schema
from engine.rulefile.source.fields import IDENTIFIER, KEBAB, RULE, TEMPLATE
from engine.rulefile.stories import cases, story

DECLARED: Final[Schema] = {"type": ["object", "null"], "description": "An event of a declared type."}
DRAFT: Final = "http://json-schema.org/draft-07/schema#"


def rule_parts(rule_set: RuleSet | None) -> Keys:
    """What a rule can say."""
    known = words_of(rule_set)
    return {
        "id": (word(KEBAB), "Never changes: it names the rule in actions, states and metrics."),
        "was": (
            either(word(KEBAB), items(word(KEBAB))),
            "Its former ids, the oldest first: what was remembered of them is its own.",
        ),
        "version": (number(1, 1_000_000), "Raise it when the meaning changes."),
        "title": (text(120), "What the rule does, in plain words; the action carries it."),
        "owner": (owner(rule_set), "The department that it belongs to."),
        "serves": (choice(rules.SERVICES), "Which of the firm's needs it serves."),
        "description": (text(500), "Why there is such a rule."),
        "on": (
            several(one_kind(rule_set, map(str, event_triggers(kinds_of(rule_set))))),
            "The events on which it is evaluated.",
        ),
        "silence": (_silence(rule_set), "Looks at a client once when nothing has come for so long."),
        "unanswered": (_unanswered(), "Fires for each item that has had no answer for so long."),
        "becomes": (expression(known), "Fires when this becomes true, not again while it stays true."),
        "at": (calendar_time(), "Looks at every client at a time of the firm's calendar."),
        "sequence": (_sequence(known, rule_set), "An event, and another that follows it or does not."),
        "for": (duration("mhd"), "With becomes: it must have been true for so long."),
        "repeat_every": (duration("mhd"), "With becomes: again while it stays true."),
        "when": (expression(known), "The condition."),
        "kind": (choice(rules.KINDS), "What comes out, and so the topic that it goes to."),
        "audience": (choice(rules.AUDIENCES), "Who acts on it."),
        "channels": (
            either(choices(rules.CHANNELS), _table(rule_set)),
            "Best first: the first that the client agreed to is taken. Or a table whose values are lists.",
        ),
        "priority": (number(0, 100), "Higher goes first when a cap leaves room for one."),
        "cooldown": (
            either(duration("mhd"), {"type": "string", "pattern": "^[^0-9]"}),
            "Not again for this client within; or days, by a table or another expression.",
        ),
        "expires": (duration("mhd"), "Not to be delivered after."),
        "template": ({**word(TEMPLATE), "type": ["string", "number"]}, "What the messaging system renders."),
        "parameters": (named(IDENTIFIER, expression(known)), "Its values: expressions; a text is quoted twice."),
        "class": (
            word(IDENTIFIER) if rule_set is None else choice(one.name for one in rule_set.policy.classes),
            "What it is for, by policy.yaml: regulatory, risk, service (unless said), relationship, marketing.",
        ),
        "tags": (items(word(KEBAB)), "For caps; what was sent keeps those that it had then."),
        "campaign": (word(KEBAB), "What it is part of; the action carries it."),
        "still": ({"type": "boolean"}, "Whether what is held is sent only if its condition still holds; true."),
        "holdout": (holdout(), "Clients on whom it does not act, to compare the others with."),
        "then": (_then(), "Where it is said again when it fails, or is not opened."),
        "same_text": (
            duration("hd"),
            "For so long a client does not get the same text again; its class's unless said.",
        ),
        "offers": (_offers(known), "What it offers: sent only if policy.yaml says that it suits the client."),
        "cost": (amount(), "What an action costs its budgets, such as 12 CNY; as they say unless said."),
        "care": (_care(known), "How what it sends to staff is seen through, until somebody takes it up."),
        "breaker": (bounds(), "When it is paused for everybody; policy.yaml says what is missing here."),
        "tests": (items(_test(rule_set)), "What is given, what happens, what is expected."),
    }


def rules_schema(rule_set: RuleSet | None) -> Schema:
    rule = mapping(rule_parts(rule_set), rules.REQUIRED, rules.OPTIONAL)
    rule["oneOf"] = [{"required": [key]} for key in occasions.KINDS]
    rule["dependencies"] = {
        "for": ["becomes"],
        "repeat_every": ["becomes"],
        "becomes": {"not": {"required": ["when"]}},
    }
    client: Schema = {"properties": {"audience": {"const": "client"}}, "required": ["audience"]}
    rule |= {"if": client, "then": {"required": ["channels"]}, "else": {"not": {"required": ["channels"]}}}
    root: Keys = {"rules": (items(rule), "The rules of this file, one concern.")}
    return mapping(root, ("rules",))


def _then() -> Schema:
    parts: Keys = {
        "channel": (choices(rules.CHANNELS), "Where it is said again, in order of preference."),
        "after": (duration("mhd"), "Also when it has not been opened for so long."),
    }
    return mapping(parts, ("channel",), ("after",))


def _offers(known: str) -> Schema:
    return mapping({"product": (expression(known), "A product; or the name of one of its parameters.")}, ("product",))


def _table(rule_set: RuleSet | None) -> Schema:
    if rule_set is None:
        return word(IDENTIFIER)
    return choice(tuple(table.name for table in rule_set.tables if table.type.kind == "list"))


def _silence(rule_set: RuleSet | None) -> Schema:
    parts: Keys = {
        "of": (one_kind(rule_set, sources(kinds_of(rule_set))), "Events that do not come."),
        "for": (duration("d"), "For so many days."),
    }
    return mapping(parts, ("of", "for"))


def _unanswered() -> Schema:
    lengths: Keys = dict.fromkeys((*occasions.SEVERITIES, "otherwise"), (duration("mhd"), "For so long."))
    parts: Keys = {
        "of": (word(RULE), f"{', '.join(ITEM_KINDS)}; or the id of a rule, whose actions are meant."),
        "for": (
            either(duration("mhd"), mapping(lengths, ("otherwise",), occasions.SEVERITIES)),
            "For so long, since it was opened; of complaints, by severity.",
        ),
        "until": (choice(occasions.UNTIL), "What is waited for; answered unless said."),
        "hours": (choice(occasions.HOURS), "What the clock counts; a day of business hours is a working day."),
        "reopened": (choice(occasions.REOPENED), "What the clock does when it is opened again."),
    }
    return mapping(parts, ("of", "for"), occasions.UNANSWERED_KEYS)


def _care(known: str) -> Schema:
    remind: Keys = {
        "after": (duration("mhd"), "Since it was sent."),
        "every": (duration("mhd"), "How long after the one before."),
        "times": (number(1, occasions.MAX_REMINDERS), "How often."),
    }
    escalate: Keys = {
        "after": (duration("mhd"), "Since it was sent."),
        "to": (choice(occasions.ESCALATE_TO), "The owner's team, or who heads it by teams.yaml."),
    }
    parts: Keys = {
        "hours": (choice(occasions.HOURS), "What the clock counts; a day of business hours is a working day."),
        "until": (choice(occasions.CARE_UNTIL), "What stops it: accepted, unless said, or done."),
        "ends_when": (expression(known), "Nobody need act any more, whatever the rule's own condition."),
        "remind": (mapping(remind, ("after",), ("every", "times")), "Whoever is to act hears of it again."),
        "overdue": (duration("mhd"), "By when it should have been taken up."),
        "escalate": (items(mapping(escalate, ("after", "to"))), "Who is to act instead."),
    }
    return mapping(parts, (), occasions.CARE_KEYS)


def _sequence(known: str, rule_set: RuleSet | None) -> Schema:
    parts: Keys = {
        "on": (one_kind(rule_set, in_order(kinds_of(rule_set))), "The kind of event."),
        "when": (expression(known), "Which of them."),
    }
    step = mapping(parts, ("on",), ("when",))
    whole: Keys = {
        "first": (step, "What begins the wait."),
        "then": (step, "What must follow: the rule is evaluated when it comes."),
        "without": (step, "What must not follow: the rule is evaluated when it did not come."),
        "within": (duration("mhd"), "How long the wait is."),
    }
    sequence = mapping(whole, ("first", "within"), ("then", "without"))
    sequence["oneOf"] = [{"required": ["then"]}, {"required": ["without"]}]
    return sequence


# -- tests -------------------------------------------------------------------------------------------------------------


def _test(rule_set: RuleSet | None) -> Schema:
    fires: Keys = {
        "channel": (choice((*rules.CHANNELS, "work_queue")), "The channel that it takes."),
        "audience": (choice(rules.AUDIENCES), "Who acts; the team, where the client has no advisor."),
        "count": (number(1, 1000), "How often."),
        "parameters": (named(IDENTIFIER, _scalar()), "Values of the record; missing for one that is not there."),
        "steps": (items(choice(cases.STEPS)), "What its care comes to, in order; team and head: escalated to."),
    }
    outcome: Keys = {
        "fires": (mapping(fires, (), tuple(fires)), "It fires, with these."),
        "not": (choice(cases.REASONS), "It does not, and this is why."),
        "stage": (
            word(KEBAB) if rule_set is None else choice(stage.id for stage in rule_set.stages),
            "The client's stage of life then.",
        ),
    }
    expected = mapping(outcome, (), tuple(outcome))
    expected |= {"minProperties": 1, "not": {"required": ["fires", "not"]}}
    parts: Keys = {
        "name": (text(120), "What it shows."),
        "given": (given(rule_set), "Who the client is, what came before."),
        "at": (text(40), f'When, in the firm\'s time; "{story.AT}" unless said.'),
        "event": (one_event(rule_set), "What comes."),
        "wait": (duration("mhd"), "How much time passes then."),
        "expect": (either({"enum": ["fires", cases.RETRACTED]}, expected), "What is to become of the rule."),
    }
    test = mapping(parts, ("name", "expect"), ("given", "at", "event", "wait"))
    test["anyOf"] = [{"required": ["event"]}, {"required": ["wait"]}]
    return test


def given(rule_set: RuleSet | None) -> Schema:
    parts: Keys = {
        "client": (either({"const": "unknown"}, _client(rule_set)), "What is known of the client."),
        "history": (items(_happening(rule_set)), "What came before."),
        "arm": (choice(cases.ARMS), "Of holdouts; treated unless said."),
        "draws": ({"type": "object", "additionalProperties": number()}, "What lots give: {visit: 12}."),
        "advisor_busy": (
            {"type": "boolean"},
            "Whether advisors have all the open tasks that they can; they have room unless said.",
        ),
        "budgets": (named(IDENTIFIER, amount(or_number=True)), "What is left of budgets; of others, all."),
    }
    return mapping(parts, (), story.GIVEN_KEYS)


def _client(rule_set: RuleSet | None) -> Schema:
    profile = _event(TOPICS["profiles"])["properties"]
    tiers = (*rule_set.tiers.names, *names.CLIENT_TYPES) if rule_set is not None else None
    more: dict[str, Schema] = {
        **{key: number() for key in (*story.MONEY_KEYS, "margin_ratio")},
        "tier": text(64) if tiers is None else choice(tiers),
        "known_for": duration("mhd"),
    }
    return {
        "type": "object",
        "properties": {key: _said(profile[key]) if key in profile else more[key] for key in story.CLIENT_KEYS},
        "additionalProperties": False,
    }


def _said(value: Schema) -> Schema:
    """Without null: who the client is has no field that is gone."""
    left = [one for one in value.get("anyOf", ()) if one != {"type": "null"}]
    return value if not left else {key: said for key, said in value.items() if key != "anyOf"} | either(*left)


def _happening(rule_set: RuleSet | None) -> Schema:
    kinds = kinds_of(rule_set)
    parts: Keys = {
        "at": (text(40), 'A time, or how long before the test\'s: "-3d".'),
        **_events(rule_set),
        ACTIONS.name: (_event(ACTIONS), "An action of the engine, which features count."),
        "every": (duration("mhd"), "Again every so often."),
        "times": (number(1, story.MAX_EVENTS), "So many times."),
    }
    happened = (*in_order(kinds), ACTIONS.name)
    step = mapping(parts, ("at",), (*happened, "every", "times"))
    if rule_set is None:
        return step | {"additionalProperties": DECLARED}
    step["oneOf"] = [{"required": [name]} for name in happened]
    return step


def one_event(rule_set: RuleSet | None) -> Schema:
    kinds = kinds_of(rule_set)
    parts: Keys = _events(rule_set)
    event = mapping(parts, (), in_order(kinds)) | {"minProperties": 1, "maxProperties": 1}
    return event | {"additionalProperties": DECLARED} if rule_set is None else event


def _events(rule_set: RuleSet | None) -> Keys:
    kinds = kinds_of(rule_set)
    parts: Keys = {name: (_event(kinds[name]), "An event of this kind.") for name in in_order(kinds)}
    return {**parts, CORRECTIONS: (_correction(rule_set), "The latest event of a kind is corrected.")}


def _correction(rule_set: RuleSet | None) -> Schema:
    kinds = story.correctable(kinds_of(rule_set))
    what = text(64) if rule_set is None else choice(kinds)
    parts: Keys = {
        "cancel": (what, "The kind of event that is cancelled."),
        "replace": (what, "The kind of event that is replaced."),
        "by": ({"type": "object"}, "The fields that it should have had."),
    }
    return mapping(parts, (), story.CORRECTION_KEYS)


def _event(kind: Topic) -> Schema:
    """The fields of an event as tests write them, each by the event's own model."""
    contract = kind.model.model_json_schema()["properties"]
    dates = {asked.field for asked in kind.names if asked.date}
    properties = {}
    for key, field in story.event_keys(kind).items():
        given = contract[field]
        said = given.get("description") or key.replace("_", " ")
        value = text(40) if field in dates or kind.is_time(field) else _value(key, given)
        if story.may_be_null(kind, field):
            value = either(value, {"type": "null"})
        properties[key] = described(value, said)
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _value(key: str, given: dict[str, Any]) -> Schema:
    if key in CONSENTS.values():
        return either(choices(rules.CHANNELS), {"type": "array", "maxItems": 0})
    if key.endswith("_cny") and key != "price_cny":
        return number()
    kinds = [given, *given.get("anyOf", ())]
    allowed = [value for kind in kinds for value in kind.get("enum", ())]
    if allowed:
        return choice(allowed)
    types = {kind.get("type") for kind in kinds}
    if "array" in types:
        return items(text(32))
    if "boolean" in types:
        return {"type": "boolean"}
    return number() if types & {"integer", "number"} else _scalar()


def _scalar() -> Schema:
    return {"type": ["string", "number", "boolean"]}


def rule_file_schemas(rule_set: RuleSet | None, base: str) -> dict[str, Schema]:
    """Every kind of rule file. With a rule set, its names are in them."""
    from engine.rulefile.schema import declarations as other
    from engine.rulefile.schema import roster
    from engine.rulefile.schema.journeys import journeys_schema

    built: Iterable[tuple[str, str, str, Schema]] = (
        ("rules", "Rules", "What is done for clients, and when.", rules_schema(rule_set)),
        ("features", "Features", "What rules can ask about a client's past.", other.features_schema(rule_set)),
        ("tiers", "Tiers", "Which tier and segment a client is in.", other.tiers_schema(rule_set)),
        ("score", "Score", "What a client is worth, in four dimensions.", other.score_schema(rule_set)),
        ("portrait", "Portrait", "Stages of life, and what other systems read.", other.portrait_schema(rule_set)),
        ("policy", "Policy", "When clients are contacted, and how often; and who may publish rules.", policy_schema()),
        (
            "definitions",
            "Definitions",
            "Lists, decision tables and named conditions.",
            other.definitions_schema(rule_set),
        ),
        ("events", "Event types", "The firm's own events, and what they say.", other.events_schema(rule_set)),
        ("calendar", "Calendar", "Trading days, working days and business hours.", other.calendar_schema()),
        ("advisors", "Advisors", "Who takes clients, and how many.", roster.advisors_schema(rule_set)),
        ("assignment", "Assignment", "Which advisors a client's are.", roster.assignment_schema(rule_set)),
        ("journeys", "Journeys", "How clients are led from step to step.", journeys_schema(rule_set)),
        ("teams", "Teams", "The departments that can own rules and event types.", other.teams_schema()),
    )
    return {
        f"{name}.json": {
            "$schema": DRAFT,
            "$id": f"{base}/rule-files/{name}.json",
            "title": title,
            "description": said,
            **schema,
        }
        for name, title, said, schema in built
    }
