"""Parts of the rule files' schemas: how the readers' kinds of values look to a JSON Schema.

Enters: forms and choices of the readers. Leaves: schemas.
Holds: a number may be written as the readers take it, with underscores, which YAML 1.2 takes for a text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from engine.core.contract.topics import TOPICS, Kinds
from engine.core.firm_time import WEEKDAYS
from engine.core.rules.ruleset import RuleSet
from engine.rulefile.proof.worlds import scope_of
from engine.rulefile.read import occasions
from engine.rulefile.source.fields import IDENTIFIER, MONEY, OWNER

Schema = dict[str, Any]
Keys = Mapping[str, tuple[Schema, str]]  # key -> what it may hold, and what it is
DIGITS: Final = "^-?[0-9][0-9_]{0,20}(\\.[0-9]{1,10})?$"
SHOWN: Final = 400  # names told in a description


def kinds_of(rule_set: RuleSet | None) -> Kinds:
    """The kinds of events that its files can name."""
    return TOPICS if rule_set is None else rule_set.kinds


def one_kind(rule_set: RuleSet | None, known: Iterable[str]) -> Schema:
    """The name of a kind of event. Without a rule set any name may be that of a declared type."""
    return choice(known) if rule_set is not None else either(choice(known), _form(IDENTIFIER))


def described(schema: Schema, said: str) -> Schema:
    return {**schema, "description": f"{said} {schema['description']}" if "description" in schema else said}


def mapping(keys: Keys, required: Iterable[str], optional: Iterable[str] = ()) -> Schema:
    """A mapping with these keys and no others; a key without a word on it is a KeyError, which tests meet."""
    required = tuple(required)
    properties = {key: described(*keys[key]) for key in (*required, *optional)}
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": list(required)} if required else schema


def named(form: tuple[str, str], value: Schema) -> Schema:
    """A mapping whose keys are names of a form; it may be left empty."""
    return {"type": ["object", "null"], "propertyNames": _form(form), "additionalProperties": value}


def items(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def _form(form: tuple[str, str]) -> Schema:
    return {"type": "string", "pattern": f"^({form[0]})$", "maxLength": 64}


def word(form: tuple[str, str]) -> Schema:
    return {**_form(form), "description": f"Write {form[1]}."}


def owner(rule_set: RuleSet | None) -> Schema:
    """One of the teams that a set declares; without any, a name."""
    return choice(team.name for team in rule_set.teams) if rule_set is not None and rule_set.teams else word(OWNER)


def text(most: int) -> Schema:
    return {"type": ["string", "number"], "minLength": 1, "maxLength": most}


def choice(allowed: Iterable[str]) -> Schema:
    """One of these. An empty list of values is no schema to editors, who would drop the whole file's."""
    values = list(dict.fromkeys(allowed))
    return {"enum": values} if values else {"not": {}}


def choices(allowed: Iterable[str]) -> Schema:
    """One, or a list of them."""
    return several(choice(allowed))


def several(one: Schema) -> Schema:
    """One, or a list of them."""
    listed = {"type": "array", "items": one, "minItems": 1, "uniqueItems": True}
    return {"anyOf": [*one.get("anyOf", [one]), listed]}


def either(*schemas: Schema) -> Schema:
    return {"anyOf": list(schemas)}


def number(least: float | None = None, most: float | None = None) -> Schema:
    schema: Schema = {"type": ["number", "string"], "pattern": DIGITS}
    if least is not None and most is not None:
        schema |= {"type": ["integer", "string"], "minimum": least, "maximum": most, "pattern": "^[0-9][0-9_]{0,20}$"}
    return schema


def amount(*, or_number: bool = False) -> Schema:
    money: Schema = {"type": "string", "pattern": f"^{MONEY.pattern}$"}
    return either(money, number(0)) if or_number else money


def duration(units: str) -> Schema:
    forms = " or ".join(f"{n}{unit}" for n, unit in ((30, "m"), (12, "h"), (7, "d")) if unit in units)
    return {"type": "string", "pattern": f"^[0-9]{{1,6}}[{units}]$", "description": f"Write {forms}."}


def expression(known: str = "") -> Schema:
    schema: Schema = {"type": ["string", "number", "boolean"], "minLength": 1}
    return {**schema, "description": known} if known else schema


def words_of(rule_set: RuleSet | None) -> str:
    """The names that a rule set declares for expressions, each with its description."""
    if rule_set is None:
        return ""
    scope = scope_of(rule_set, None)
    own = [known for name, known in scope.items() if "." not in name][:SHOWN]
    said = "; ".join(f"{known.name}{f' ({known.description})' if known.description else ''}" for known in own)
    return f"Declared names: {said}." if said else ""


def calendar_time(known: tuple[str, ...] = occasions.EVERY) -> Schema:
    day = either(number(1, 31), choice(WEEKDAYS))
    parts: Keys = {
        "every": (choice(known), "How often, or on which of the client's days."),
        "time": (
            {"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"},
            'The firm\'s time, such as "09:00".',
        ),
        "day": (day, "Of the month; or of the week: mon to sun."),
        "month": (number(1, 12), "Of the year."),
        "before": (duration("d"), "So many days before the birthday or the maturity."),
    }
    calendar = mapping(parts, ("every", "time"), ("day", "month", "before"))
    calendar["allOf"] = [
        {
            "if": {"properties": {"every": {"const": every}}, "required": ["every"]},
            "then": {"propertyNames": {"enum": ["every", "time", *keys]}},
        }
        for every, keys in occasions.CALENDAR_KEYS.items()
        if every in known
    ]
    calendar["allOf"] += [
        {
            "if": {"properties": {"every": {"const": "week"}}, "required": ["every"]},
            "then": {"properties": {"day": choice(WEEKDAYS)}},
            "else": {"properties": {"day": number(1, 31)}},
        }
    ]
    return calendar
