"""`python -m engine.publish.reference`: the reference of the rule language, as Markdown, made from the code.

Enters: the models, constants and schemas that the readers use. Leaves: the text of docs/rules-reference.md.
Holds: it has everything that can be written in a rule file; an undocumented part is a KeyError.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final

from engine.core.activity.layout import MAX_DISTINCT
from engine.core.activity.tallies import MAX_TALLIES
from engine.core.client.state import MAX_HOLDINGS
from engine.core.contract.actions import ACTIONS
from engine.core.contract.outbound import Outcome
from engine.core.contract.topics import TOPICS
from engine.core.language import expressions
from engine.core.language.expressions import Name
from engine.core.language.functions import FUNCTIONS
from engine.core.rules import names
from engine.core.rules.ruleset import RuleSet
from engine.rulefile.lint.findings import CODES
from engine.rulefile.read import declarations, definitions, journeys
from engine.rulefile.schema import schema
from engine.rulefile.source import characters, document

HEAD: Final = """\
# Rules: reference

Made from the code by `make schemas`; do not edit. [rules.md](rules.md) explains, [rules-cookbook.md](rules-cookbook.md)
has examples.
"""
AGGREGATE_GIVES: Final = {
    "count": "how many events",
    "sum": "their total",
    "min": "the smallest; missing without events",
    "max": "the largest; missing without events",
    "distinct": f"how many different values, counted to {MAX_DISTINCT}",
    "last": "the value of the latest; missing without events",
    "daily_mean": "the mean of each day's last value, days without one counted as the last before",
    "avg": "the mean of their values, of money rounded down to whole fen; missing without events",
    "top": "the most frequent value, or the one whose events add up to the most of `by`; missing without events",
}
OUTCOME_MEANS: Final = {
    Outcome.EXPIRED: "its `expires` had already passed when it was decided",
    Outcome.NO_LONGER_TRUE: "it was held, and at its release its condition did not hold any more",
    Outcome.PAST_UNKNOWN: "the condition may hold only because of a past that is not known: `engage backfill`",
    Outcome.DAY_UNKNOWN: "a list of days, or calendar.yaml, is asked for a day that it does not cover: add days",
    Outcome.DO_NOT_CONTACT: "staff said that the client is not to be contacted",
    Outcome.SNOOZED: "staff let the rule, or everything that goes to the client, rest",
    Outcome.NOT_WHILE: "what keeps its class from the client holds, such as an open complaint: see `not_while`",
    Outcome.UNSUITABLE: "what it offers does not suit the client, or it is not known whether it does",
    Outcome.COOLDOWN: "the rule acted for this client less than its cooldown ago",
    Outcome.NOT_ENTERED: "of a journey: the client is in it, or was and it does not begin again, or what ends it holds",
    Outcome.NO_CONSENT: "the client agreed to none of the rule's channels",
    Outcome.CHANNEL_RESTS: "the channels that the client agreed to rest, after failures in a row",
    Outcome.REPEATED: "the client was sent the same template with the same values within `same_text`",
    Outcome.HELD: "it waits, to be decided again: quiet hours, a pause, `collect`, a rate, a budget, a log to be read",
    Outcome.PAUSED: "the rule is paused and no more of it can be held for the client, or what a pause held was dropped",
    Outcome.QUIET_HOURS: "it is a quiet hour by policy.yaml, and the rule's class does not hold, or it would expire",
    Outcome.DAILY_CAP: "the client had the day's contacts of policy.yaml, and the rule is below `urgent_from`",
    Outcome.CAP: "the client had the contacts that a cap of policy.yaml allows",
    Outcome.HOLDOUT: "nothing else stops it, and the client is held out of it, for comparison",
    Outcome.ADVISOR_BUSY: "until it expired, its advisor had as many open tasks as advisors.yaml allows",
    Outcome.NO_BUDGET: "nothing is left of a budget of policy.yaml, or it has not answered before its expiry",
    Outcome.RATE: "its turn, by a rate of policy.yaml over all clients, would come after its expiry",
    Outcome.RETRACTED: "it was held, and the event that led to it was corrected",
    Outcome.SENT: "published",
}
CHANGES_MEANS: Final = {
    "event": "",
    "day": "at midnight",
    "hour": "at the full hour",
    "elapsed": "every 24 hours",
    "now": "always; not for `becomes`",
}
LIMITS: Final = (
    ("length of an expression", expressions.MAX_LENGTH, "characters"),
    ("parts of an expression", expressions.MAX_NODES, ""),
    ("depth of an expression", expressions.MAX_DEPTH, ""),
    ("size of a file", characters.MAX_BYTES, "bytes"),
    ("depth of a file", document.MAX_DEPTH, ""),
    ("features", declarations.MAX_FEATURES, ""),
    ("values of a top, each counted once a day or hour", MAX_TALLIES, ""),
    ("values of a list", definitions.MAX_LISTED, ""),
    ("definitions, lists and tables", definitions.MAX_DECLARED, ""),
    ("holdings with a term, a client", MAX_HOLDINGS, ""),
    ("journeys", journeys.MAX_JOURNEYS, ""),
    ("steps of a journey", journeys.MAX_STEPS, "of each version, if it is pinned"),
    ("earlier versions of a pinned journey", journeys.MAX_EARLIER, ""),
)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    head = tuple(head)
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return [*lines, *(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows), ""]


def _type_said(name: Name) -> str:
    type_ = name.type
    if type_.kind == "number":
        return type_.unit or "number"
    if type_.values:
        return ", ".join(type_.values)
    return {"bool": "true or false", "text": "as in tiers.yaml" if type_.values == () else "text"}[type_.kind]


def _names(found: Iterable[Name]) -> list[str]:
    return table(
        ("name", "unit or values", "", "can be missing", "changes by itself"),
        (
            (
                f"`{name.name}`",
                _type_said(name),
                name.description,
                "yes" if name.optional else "",
                CHANGES_MEANS[name.changes],
            )
            for name in found
        ),
    )


def _keys(part: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str, str]]:
    """Every key of a mapping, those below it too: (path, required, what it is). Keys already listed for a sibling are
    not repeated; an event's fields are those of its schema.
    """
    required = part.get("required", ())
    shown: list[tuple[str, list[Any]]] = []
    named = part.get("additionalProperties")
    for kind in (named, *named.get("anyOf", ())) if isinstance(named, dict) else ():  # an entry may be empty
        yield from _keys(kind, f"{prefix}<name>.")
    for key, value in part.get("properties", {}).items():
        said = value.get("description", key.replace("_", " ").capitalize())
        below = [] if key in (*TOPICS, ACTIONS.name) else list(_below(value))
        same = next((f"`{prefix}{other}`" for other, parts in shown if below and parts == below), None)
        if same:
            said, below = f"As {same}.", []
        shown.append((key, below))
        allowed = _allowed(value)
        if allowed and allowed not in said:
            said = f"{said.rstrip('.')}. One of {allowed}."
        yield f"`{prefix}{key}`", "yes" if key in required else "", said
        for inner in below:
            yield from _keys(inner, f"{prefix}{key}.")


def _allowed(value: Mapping[str, Any]) -> str:
    kinds = [value, *value.get("anyOf", ())]
    found = [str(item) for kind in kinds for item in kind.get("enum", ())]
    return ", ".join(found) if len(found) <= 20 else ""


def _below(value: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """The mappings that it can be, or a list of: each once."""
    found: list[Mapping[str, Any]] = []
    for kind in (value, *value.get("anyOf", ())):
        for inner in (kind, kind.get("items", {})):
            mapping = "properties" in inner or isinstance(inner.get("additionalProperties"), dict)
            if mapping and inner not in found:
                found.append(inner)
    return found


FILES: Final = {
    "rules": "A file of rules: any name",
    "features": "features.yaml",
    "tiers": "tiers.yaml",
    "score": "score.yaml",
    "portrait": "portrait.yaml",
    "policy": "policy.yaml",
    "definitions": "definitions.yaml",
    "events": "events.yaml",
    "calendar": "calendar.yaml",
    "advisors": "advisors.yaml",
    "assignment": "assignment.yaml",
    "journeys": "A file of the folder journeys: any name",
    "teams": "teams.yaml",
}


def _files(rule_set: RuleSet | None) -> list[str]:
    lines = []
    for file, said in schema.rule_file_schemas(rule_set, "").items():
        lines += [f"### {FILES[file.removesuffix('.json')]}", "", said["description"], ""]
        lines += table(("key", "required", ""), _keys(said))
    return lines


def render() -> str:
    """The whole reference."""
    lines = [HEAD, "## Files and keys", "", *_files(None)]
    lines += ["## Names", "", "Of the client, everywhere:", "", *_names(names.client_names((), ()))]
    for topic in TOPICS:
        if names.event_names(topic):
            said = f"A rule on {topic}, and on the second step of a sequence on them:"
            lines += [said, "", *_names(names.event_names(topic))]
    lines += ["A feature of `actions`, in its `where` and `field`:", "", *_names(names.event_names(ACTIONS.name))]
    lines += ["A rule on positions, beside these:", "", *_names(names.POSITION_NAMES)]
    lines += ["A rule at a maturity:", "", *_names(names.MATURITY_NAMES)]
    lines += ["A rule on `item` or `unanswered`, and an act of a journey:", "", *_names(names.ITEM_NAMES)]
    lines += ["A rule on `tier_change`:", "", *_names(names.tier_change_names(()))]
    lines += ["Features, definitions and tables are bare names. A list is named after `in` or `not in`.", ""]
    lines += ["## Functions", ""]
    lines += table(
        ("function", "gives"), ((f"`{function.example}`", function.gives) for function in FUNCTIONS.values())
    )
    lines += ["## Aggregates", ""]
    lines += table(("aggregate", "gives"), ((f"`{name}`", AGGREGATE_GIVES[name]) for name in declarations.AGGREGATES))
    lines += [f"Windows: {declarations.WINDOW_FORMS}, in the firm's zone (UTC+8); or `since` an event.", ""]
    lines += ["## What became of a rule that matched", "", "The first that applies, in this order.", ""]
    lines += table(("outcome", ""), ((f"`{outcome}`", OUTCOME_MEANS[outcome]) for outcome in Outcome))
    lines += ["## Lint", ""]
    lines += table(("code", "severity", ""), ((f"`{code}`", *said) for code, said in CODES.items()))
    lines += ["## Limits", ""]
    lines += table(("", "at most"), ((what, f"{most:,} {unit}".strip()) for what, most, unit in LIMITS))
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    sys.stdout.write(render())
