"""JSON Schema of the files that declare: features.yaml, tiers.yaml and all others but those of rules.

Enters: the constants that their readers use; of a rule set, the names that it declares. Leaves: schemas.
"""

from __future__ import annotations

from typing import Final

from engine.core.contract.actions import counted
from engine.core.contract.fields import DIMENSIONS
from engine.core.contract.topics import in_order
from engine.core.language.types import TIME
from engine.core.rules import names
from engine.core.rules.occasion import on as on_topic
from engine.core.rules.ruleset import RuleSet
from engine.rulefile.proof.worlds import scope_of
from engine.rulefile.read import declarations, definitions, event_types, tables
from engine.rulefile.schema.parts import (
    Keys,
    Schema,
    calendar_time,
    choice,
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
from engine.rulefile.source.fields import IDENTIFIER, KEBAB, OWNER, TIER

WINDOW: Final = "^([1-9][0-9]{0,2}[dh]|" + "|".join(declarations.MONTHS) + ")$"


def features_schema(rule_set: RuleSet | None) -> Schema:
    kinds = kinds_of(rule_set)
    since: Keys = {
        "on": (one_kind(rule_set, counted(kinds)), "The kind of event."),
        "when": (expression(), "Which of them; names of that event alone."),
    }
    parts: Keys = {
        "source": (one_kind(rule_set, counted(kinds)), "The events that are counted."),
        "aggregate": (choice(declarations.AGGREGATES), "What is made of them."),
        "field": ({"type": "string"}, "The field of the event; not for count."),
        "by": (
            {"type": "string"},
            "Of top: the field that is added up for each value; without it, events are counted.",
        ),
        "where": (expression(), "Only events for which this holds; names of the event alone."),
        "window": ({"type": "string", "pattern": WINDOW}, f"What of the past counts: {declarations.WINDOW_FORMS}."),
        "since": (mapping(since, ("on",), ("when",)), "What counts is what came after the last such event."),
        "description": (text(300), "What it is, in plain words."),
        "was": (either(word(IDENTIFIER), items(word(IDENTIFIER))), "Its former names, the oldest first."),
    }
    feature = mapping(parts, ("source", "aggregate"), declarations.FEATURE_KEYS)
    feature["oneOf"] = [{"required": ["window"]}, {"required": ["since"]}]
    count = {"properties": {"aggregate": {"const": "count"}}, "required": ["aggregate"]}
    field: Schema = {"required": ["field"]}
    feature["allOf"] = [{"if": count, "then": {"not": field}, "else": field}]
    top: Schema = {"properties": {"aggregate": {"const": "top"}}, "required": ["aggregate"]}
    feature["allOf"] += [{"if": top, "else": {"not": {"required": ["by"]}}}]
    for source in counted(kinds):
        fields = [(name.name.partition(".")[2], name.type) for name in names.event_names(source, kinds) if name.kept]
        numeric = [name for name, type_ in fields if type_.kind == "number"]
        added = [name for name, type_ in fields if type_.kind == "number" and type_.unit != TIME]
        of = {"source": {"const": source}}
        feature["allOf"] += [
            {"if": {"properties": of}, "then": {"properties": {"field": choice(name for name, _ in fields)}}},
            {
                "if": {"properties": {**of, "aggregate": choice(declarations.NUMERIC)}},
                "then": {"properties": {"field": choice(numeric)}},
            },
            {
                "if": {"properties": {**of, "aggregate": {"const": "avg"}}},
                "then": {"properties": {"field": choice(added)}},
            },
            {"if": {"properties": of}, "then": {"properties": {"by": choice(added)}}},
        ]
    root: Keys = {"features": (named(IDENTIFIER, feature), "By name.")}
    return mapping(root, ("features",))


def tiers_schema(rule_set: RuleSet | None) -> Schema:
    known = words_of(rule_set)
    step: Keys = {
        "tier": (word(TIER), "Its name."),
        "enter": (number(), "A client comes in from this on."),
        "exit": (number(), "And leaves below this. The last tier has neither."),
    }
    one = {**mapping(step, ("tier",), ("enter", "exit")), "dependencies": {"enter": ["exit"], "exit": ["enter"]}}
    ladder: Keys = {
        "measure": (expression(known), "The value that decides the tier."),
        "tiers": ({**items(one), "minItems": 1}, "Best first."),
        "promote_after": (duration("d"), "Days in the tier before moving up."),
        "demote_after": (duration("d"), "Days in the tier before moving down."),
        "grace": (duration("d"), "Days from the notice of a move down, `tier_at_risk`, to the move."),
        "review": (
            calendar_time(declarations.REVIEWS),
            "When clients move down, having had notice.",
        ),
    }
    segment: Keys = {"id": (word(KEBAB), "Its name."), "when": (expression(known), "Who is in it.")}
    of_type = mapping(ladder, ("measure", "tiers"), declarations.LADDER_KEYS)
    root: Keys = {
        **dict.fromkeys(names.CLIENT_TYPES, (of_type, "How clients of this type move between tiers.")),
        "segments": (items(mapping(segment, ("id", "when"))), "The first that holds is the client's."),
        "value_score": (expression(known), "What the client is worth, as a number; without score.yaml."),
    }
    return mapping(root, (), (*names.CLIENT_TYPES, "segments", "value_score"))


def score_schema(rule_set: RuleSet | None) -> Schema:
    part: Keys = {
        "weight": (number(), "What of 100 it counts for. The weights add up to 100."),
        "is": (expression(words_of(rule_set)), "A number from 0 to 100; below counts as 0, above as 100."),
        "otherwise": (number(), "What counts where the value is missing. Without it, the score is missing then."),
        "description": (text(300), "What it is, in plain words."),
    }
    one = mapping(part, ("weight", "is"), ("otherwise", "description"))
    said = {
        "assets": "What the client has.",
        "behaviour": "What the client does.",
        "risk": "What risk the client takes, or can take.",
        "needs": "What service the client needs.",
    }
    parts: Keys = {name: (one, said[name]) for name in DIMENSIONS}
    dimensions = mapping(parts, (), DIMENSIONS) | {"minProperties": 1}
    return mapping({"score": (dimensions, "By dimension.")}, ("score",))


def portrait_schema(rule_set: RuleSet | None) -> Schema:
    known = words_of(rule_set)
    stage: Keys = {
        "id": (word(KEBAB), "Its name."),
        "when": (expression(known), "Who is in it; client.stage is the stage so far."),
    }
    trait: Keys = {
        "is": (expression(known), "A text, a number or a condition over the client alone."),
        "description": (text(300), "What it is, in plain words."),
    }
    root: Keys = {
        "stages": (items(mapping(stage, ("id", "when"))), "Of a client's life; the first that holds."),
        "portrait": (named(IDENTIFIER, mapping(trait, ("is",), ("description",))), "Traits, by name."),
    }
    return mapping(root, (), ("stages", "portrait"))


def definitions_schema(rule_set: RuleSet | None) -> Schema:
    value: Schema = {"type": ["string", "number", "boolean"]}
    on = (
        one_kind(rule_set, in_order(kinds_of(rule_set))),
        "The event whose names it uses; without it, the client's alone.",
    )
    said = (text(300), "What it is, in plain words.")
    listed: Keys = {
        "values": ({**items(value), "minItems": 1}, "Written here."),
        "file": ({"type": "string", "pattern": "\\.csv$"}, "Or in a CSV file beside this one."),
        "column": (value, "Its column, when it has several."),
        "last_day": (
            {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"},
            "Of a list of days: the last that it covers. What it says of later days is not known.",
        ),
        "description": said,
    }
    one_list = mapping(listed, (), tuple(listed))
    one_list |= {
        "oneOf": [{"required": ["values"]}, {"required": ["file"]}],
        "dependencies": {"column": ["file"]},
    }
    then = described(either(value, {**items(value), "minItems": 1}), "The value: a number, a text, or a list of texts.")
    cell: Schema = {"type": ["string", "number", "boolean", "null"]}
    row: Schema = {"type": "object", "properties": {tables.THEN: then}, "required": [tables.THEN]}
    row["additionalProperties"] = cell
    if rule_set is not None:  # columns that can be inputs
        scopes = (scope_of(rule_set, trigger) for trigger in (None, *map(on_topic, in_order(rule_set.kinds))))
        row["properties"] = {name: cell for scope in scopes for name in scope if "." in name} | row["properties"]
    table: Keys = {
        "hit": (choice(tables.HITS), "The first row that matches; or the only one, and rows may not overlap."),
        "unit": (choice(tables.UNITS), "Of its values, when they are numbers."),
        "otherwise": (then, "The value where no row matches."),
        "rows": ({**items(row), "minItems": 1}, "What each input must be, and then."),
        "file": ({"type": "string", "pattern": "\\.csv$"}, "Or a CSV file: a column an input, the last one then."),
        "on": on,
        "description": said,
    }
    one_table = mapping(table, ("hit",), ("unit", "otherwise", "rows", "file", "on", "description"))
    one_table["oneOf"] = [{"required": ["rows"]}, {"required": ["file"]}]
    definition: Keys = {"is": (expression(words_of(rule_set)), "What it means."), "on": on, "description": said}
    root: Keys = {
        "lists": (named(IDENTIFIER, one_list), "Texts, for in and not in."),
        "tables": (named(IDENTIFIER, one_table), "Decision tables."),
        "define": (named(IDENTIFIER, mapping(definition, ("is",), ("on", "description"))), "Named expressions."),
    }
    return mapping(root, (), ("lists", "tables", "define"))


def events_schema(rule_set: RuleSet | None) -> Schema:
    value: Schema = {"type": ["string", "number"]}
    parts: Keys = {
        "kind": (choice(event_types.FIELD_KINDS), "What it holds."),
        "required": ({"type": "boolean"}, "Whether a record without it is refused."),
        "personal": ({"type": "boolean"}, "Whether it is about a person: commands do not show it unasked."),
        "unit": (choice(event_types.NUMBER_UNITS), "Of a number."),
        "least": (number(), "The least that a number or an amount can be."),
        "most": (number(), "The most that it can be."),
        "values": ({**items(value), "minItems": 1}, "Of an enum; any other text counts as other, if that is one."),
        "description": (text(300), "What it is, in plain words."),
    }
    one_field = either(choice(event_types.FIELD_KINDS), mapping(parts, ("kind",), event_types.FIELD_KEYS))
    one_type: Keys = {
        "title": (text(120), "What happened, in plain words."),
        "owner": (owner(rule_set), "The department whose systems send it."),
        "fields": (named(IDENTIFIER, one_field), "What it says beside event_id, client_id, time and type."),
        "description": (text(300), "More of it."),
    }
    declared = mapping(one_type, ("title", "owner", "fields"), ("description",))
    return mapping({"events": (named(IDENTIFIER, declared), "By name.")}, ("events",))


def calendar_schema() -> Schema:
    day: Schema = {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}
    span: Schema = {"type": "string", "pattern": f"^{definitions.SPAN.pattern}$"}
    parts: Keys = {
        "title": (text(120), "Whose calendar it is."),
        "first_day": (day, "The first day that it covers. What it says of earlier days is not known."),
        "last_day": (day, "The last day that it covers. What it says of later days is not known."),
        "holidays": (items(day), "Days without trade and work; of Saturdays and Sundays nothing need be said."),
        "closed": (items(day), "Days without trade on which people work."),
        "workdays": (items(day), "Saturdays and Sundays on which people work; the exchange does not trade then."),
        "business_hours": (items(span), "Of working days, in the firm's time."),
    }
    calendar = mapping(parts, ("title", "first_day", "last_day"), definitions.CALENDAR_KEYS)
    return mapping({"calendar": (calendar, "Which days are trading and working days.")}, ("calendar",))


def teams_schema() -> Schema:
    names_ = word(definitions.HEADER)
    no_own: Schema = {"not": {"pattern": "^(content-type|ce_)"}}
    headers: Schema = {"type": ["object", "null"], "propertyNames": {**names_, **no_own}}
    headers |= {"additionalProperties": text(definitions.MAX_TEXT), "maxProperties": definitions.MAX_HEADERS}
    parts: Keys = {
        "title": (text(120), "What it is called."),
        "head": (text(64), "Whom it is escalated to: an id or a role of the firm's staff."),
        "topics": (several(choice(definitions.TEAM_TOPICS)), "Those that its systems read; all unless said."),
        "headers": (headers, "Of the records of its actions, for systems that filter by them."),
        "description": (text(300), "More of it."),
    }
    team = mapping(parts, ("title", "head"), definitions.TEAM_KEYS)
    teams = named(OWNER, team) | {"type": "object", "minProperties": 1}
    return mapping({"teams": (teams, "By the name that `owner` has.")}, ("teams",))
