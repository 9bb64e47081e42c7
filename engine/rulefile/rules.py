"""Reads the rules of one file.

Enters: a file's root node, the features and tiers. Leaves: rules.
Holds: a rule with several triggers fits the names of each of them.
"""

from __future__ import annotations

from typing import Final, get_args

from engine.core import names
from engine.core.actions import Audience, Kind
from engine.core.declared import NOTHING, Declared
from engine.core.events import Channel
from engine.core.expressions import Scope
from engine.core.ruleset import Feature, Rule, Tiers, Trigger
from engine.rulefile.cases import read_tests
from engine.rulefile.document import Mapping, Node, Scalar
from engine.rulefile.fields import IDENTIFIER, KEBAB, TEMPLATE, Reader
from engine.rulefile.occasions import OCCASION_KEYS, read_occasion

KINDS: Final[tuple[str, ...]] = get_args(Kind)
AUDIENCES: Final[tuple[str, ...]] = get_args(Audience)
CHANNELS: Final[tuple[str, ...]] = get_args(Channel)
REQUIRED: Final = (
    "id",
    "title",
    "owner",
    "kind",
    "audience",
    "priority",
    "cooldown",
    "expires",
    "template",
    "description",
)
OPTIONAL: Final = ("version", *OCCASION_KEYS, "channels", "parameters", "tests")
MINUTE_S: Final = 60
DAY_S: Final = 86_400
MAX_COOLDOWN_S: Final = 365 * DAY_S
MAX_EXPIRES_S: Final = 90 * DAY_S


def read_rules(
    reader: Reader, root: Node, features: tuple[Feature, ...], tiers: Tiers, declared: Declared = NOTHING
) -> list[tuple[Scalar | None, Rule]]:
    """Each rule with the node of its id."""
    segments = tuple(segment.id for segment in tiers.segments)
    scopes = {
        trigger: names.rule_scope(trigger, features, tiers.names, segments, declared=declared)
        for trigger in get_args(Trigger)
    }
    rules = []
    for node in reader.items(reader.mapping(root, ("rules",)).get("rules")):
        id_ = node.entries["id"][1] if isinstance(node, Mapping) and "id" in node.entries else None
        reader.rule = id_.value if isinstance(id_, Scalar) and id_.value.isprintable() else None
        rules.append((id_ if isinstance(id_, Scalar) else None, _rule(reader, node, scopes, tiers)))
        reader.rule = None
    return rules


def _rule(reader: Reader, node: Node, scopes: dict[str, Scope], tiers: Tiers) -> Rule:
    fields = reader.mapping(node, REQUIRED, OPTIONAL)
    occasion = read_occasion(reader, node, fields, scopes)
    known: dict[str, Scope] = {trigger: scopes[trigger] for trigger in occasion.on}
    kind = reader.choice(fields.get("kind"), KINDS)
    audience = reader.choice(fields.get("audience"), AUDIENCES)
    channels = reader.choices(fields.get("channels"), CHANNELS)
    if audience == "client" and "channels" not in fields:
        reader.problem(node, "missing key channels", f"list those to use, best first: {', '.join(CHANNELS)}")
    elif audience in ("advisor", "team"):
        if "channels" in fields:
            reader.problem(fields["channels"], f"channels for audience {audience}", "remove them: it has a work queue")
        channels = ("work_queue",)
    rule = Rule(
        id=reader.word(fields.get("id"), KEBAB),
        version=reader.integer(fields["version"], 1, 1_000_000) if "version" in fields else 1,
        title=reader.words(fields.get("title"), 120),
        owner=reader.word(fields.get("owner"), IDENTIFIER),
        on=occasion.on,
        silence=occasion.silence,
        becomes=occasion.becomes,
        at=occasion.at,
        sequence=occasion.sequence,
        when=occasion.when,
        kind=kind,
        audience=audience,
        channels=channels,
        priority=reader.integer(fields.get("priority"), 0, 100),
        cooldown_s=reader.duration(fields.get("cooldown"), "mhd", MINUTE_S, MAX_COOLDOWN_S),
        expires_s=reader.duration(fields.get("expires"), "mhd", MINUTE_S, MAX_EXPIRES_S),
        template=reader.word(fields.get("template"), TEMPLATE),
        parameters=tuple(
            (reader.word(key, IDENTIFIER), reader.expression_in(value, known, None))
            for key, value in reader.entries(fields.get("parameters"))
        ),
        description=reader.words(fields.get("description"), 500),
    )
    read_tests(reader, fields.get("tests"), rule, tiers)
    return rule
