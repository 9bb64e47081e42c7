"""Reads the rules of one file.

Enters: a file's root node, the features and tiers. Leaves: rules.
Holds: a rule with several triggers fits the names of each of them.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping as Fields
from typing import Final, cast, get_args

from engine.core.contract.events import Channel, Kind
from engine.core.contract.outbound import Audience
from engine.core.language.expressions import TEXT, Expression, Fault, Scope, number
from engine.core.rules.names import Scopes, is_personal
from engine.core.rules.occasion import Occasion
from engine.core.rules.policy import USUAL, ContactPolicy, Then
from engine.core.rules.ruleset import Rule, Service, Tiers
from engine.rulefile.read.occasions import OCCASION_KEYS, read_care, read_occasion
from engine.rulefile.read.policy import read_bounds, read_holdout, read_same_text
from engine.rulefile.source.document import Mapping, Node, Scalar
from engine.rulefile.source.fields import DAY_S, IDENTIFIER, KEBAB, MINUTE_S, TEMPLATE, Reader
from engine.rulefile.stories.cases import read_tests

KINDS: Final[tuple[str, ...]] = get_args(Kind)
AUDIENCES: Final[tuple[str, ...]] = get_args(Audience)
CHANNELS: Final[tuple[str, ...]] = get_args(Channel)
SERVICES: Final[tuple[str, ...]] = get_args(Service)
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
POLICY_KEYS: Final = ("class", "tags", "campaign", "still", "holdout", "breaker", "offers", "same_text", "then", "cost")
CARE_KEY: Final = "care"
OPTIONAL: Final = (
    "version",
    "was",
    *OCCASION_KEYS,
    "channels",
    "parameters",
    "serves",
    *POLICY_KEYS,
    CARE_KEY,
    "tests",
)
# what a rule does, in whatever file
ACTION_KEYS: Final = (
    *("title", "kind", "audience", "channels", "priority", "cooldown", "expires", "template", "parameters"),
    *("description", *POLICY_KEYS),
)
OFFER_KEYS: Final = ("product",)
MAX_TAGS: Final = 8
LONGEST_THEN_S: Final = 31 * DAY_S
MAX_COOLDOWN_S: Final = 365 * DAY_S
MAX_EXPIRES_S: Final = 90 * DAY_S


def read_rules(
    reader: Reader, root: Node, scopes: Scopes, tiers: Tiers, policy: ContactPolicy
) -> list[tuple[Scalar | None, Rule]]:
    """Each rule with the node of its id."""
    rules = []
    for node in reader.items(_without_strangers(reader, root).get("rules")):
        id_ = node.entries["id"][1] if isinstance(node, Mapping) and "id" in node.entries else None
        reader.rule = id_.value if isinstance(id_, Scalar) and id_.value.isprintable() else None
        rules.append((id_ if isinstance(id_, Scalar) else None, _rule(reader, node, scopes, tiers, policy)))
        reader.rule = None
    return rules


# What is declared in a file of its own -> which one.
_BELONGS: Final = {
    **dict.fromkeys(("lists", "tables", "define"), "definitions.yaml, or a file such as definitions-wealth.yaml"),
    "features": "features.yaml",
    "contact": "policy.yaml",
    "segments": "tiers.yaml",
    "calendar": "calendar.yaml",
    "events": "events.yaml",
    "score": "score.yaml",
    "teams": "teams.yaml",
    "advisors": "advisors.yaml",
    "assignment": "assignment.yaml",
    "suitability": "policy.yaml",
}


def _without_strangers(reader: Reader, root: Node) -> dict[str, Node]:
    """The keys of a file of rules, once what belongs elsewhere is reported."""
    if not isinstance(root, Mapping):
        return reader.mapping(root, ("rules",))
    strangers = [key for key in root.entries if key in _BELONGS]
    for key in strangers:
        has = "belong" if key.endswith("s") else "belongs"
        reader.problem(root.entries[key][0], f"{key} {has} in another file", f"write {key} in {_BELONGS[key]}")
    left = Mapping(root.index, {key: entry for key, entry in root.entries.items() if key not in strangers})
    return reader.mapping(left, ("rules",)) if left.entries or not strangers else {}


def _rule(reader: Reader, node: Node, scopes: Scopes, tiers: Tiers, policy: ContactPolicy) -> Rule:
    before = reader.faults
    fields = reader.mapping(node, REQUIRED, OPTIONAL)
    occasion, when = read_occasion(reader, node, fields, scopes)
    rule = read_action(reader, node, fields, occasion, when, scopes, policy)
    stages = scopes[None]["client.stage"].type.values or ()
    read_tests(reader, fields.get("tests"), rule, tiers, stages, sound=reader.faults == before)
    return rule


def read_action(
    reader: Reader,
    node: Node,
    fields: dict[str, Node],
    occasion: Occasion,
    when: Expression,
    scopes: Scopes,
    policy: ContactPolicy,
) -> Rule:
    """The rule of these fields; keys that are not among them are blank."""
    known: dict[str, Scope] = {str(trigger): scopes[trigger] for trigger in occasion.triggers}
    kind = reader.choice(fields.get("kind"), KINDS)
    audience = reader.choice(fields.get("audience"), AUDIENCES)
    channels, channels_by = _channels(reader, fields.get("channels"), scopes[None])
    cooldown_s, cooldown_by = _cooldown(reader, fields.get("cooldown"), scopes[None])
    if audience == "client" and "channels" not in fields:
        reader.problem(node, "missing key channels", f"list those to use, best first: {', '.join(CHANNELS)}")
    elif audience in ("advisor", "team"):
        if "channels" in fields:
            reader.problem(fields["channels"], f"channels for audience {audience}", "remove them: it has a work queue")
        channels = ("work_queue",)
    parameters = tuple(
        (reader.word(key, IDENTIFIER), reader.expression_in(value, known, None))
        for key, value in reader.entries(fields.get("parameters"))
    )
    expires_s = reader.duration(fields.get("expires"), "mhd", MINUTE_S, MAX_EXPIRES_S)
    offers = None
    if "offers" in fields:
        suits = policy.suitability is not None
        offers = _offers(reader, fields["offers"], known, dict(parameters), suitability=suits)
    return Rule(
        id=reader.word(fields.get("id"), KEBAB),
        version=reader.integer(fields["version"], 1, 1_000_000) if "version" in fields else 1,
        title=reader.words(fields.get("title"), 120),
        owner=reader.owner(fields.get("owner")),
        occasion=occasion,
        when=when,
        kind=kind,
        audience=audience,
        channels=channels,
        channels_by=channels_by,
        priority=reader.integer(fields.get("priority"), 0, 100),
        cooldown_s=cooldown_s,
        cooldown_by=cooldown_by,
        expires_s=expires_s,
        template=reader.word(fields.get("template"), TEMPLATE),
        parameters=parameters,
        description=reader.words(fields.get("description"), 500, lines=True),
        was=reader.former(fields.get("was"), KEBAB),
        serves=cast(Service, reader.choice(fields["serves"], SERVICES) or None) if "serves" in fields else None,
        contact_class=_class(reader, node, fields, audience, tuple(one.name for one in policy.classes)),
        tags=_tags(reader, fields.get("tags")),
        campaign=reader.word(fields["campaign"], KEBAB) if "campaign" in fields else None,
        still=reader.choice(fields["still"], ("true", "false")) != "false" if "still" in fields else True,
        holdout=read_holdout(reader, fields["holdout"]) if "holdout" in fields else None,
        offers=offers,
        then=_then(reader, fields["then"], audience, expires_s) if "then" in fields else None,
        same_text_s=_same_text(reader, fields["same_text"], audience) if "same_text" in fields else None,
        breaker=read_bounds(reader, fields["breaker"]) if "breaker" in fields else None,
        cost=_cost(reader, fields["cost"], audience) if "cost" in fields else None,
        care=read_care(reader, fields["care"], audience, kind, occasion, scopes[None]) if "care" in fields else None,
    )


def _class(reader: Reader, node: Node, fields: dict[str, Node], audience: str, classes: tuple[str, ...]) -> str:
    """One of the policy's."""
    if "class" in fields:
        return reader.choice(fields["class"], classes) or classes[0]
    if USUAL not in classes and audience == "client":
        reader.problem(node, "missing key class", f"add it, one of those of policy.yaml: {', '.join(classes)}")
    return USUAL if USUAL in classes else classes[-1]


def _same_text(reader: Reader, node: Node, audience: str) -> int:
    if audience in ("advisor", "team"):
        reader.problem(node, f"same_text for audience {audience}", "remove it: it is about what clients read")
    return read_same_text(reader, node)


def _then(reader: Reader, node: Node, audience: str, expires_s: int) -> Then:
    """What a rule does when what it sent does not reach the client."""
    fields = reader.mapping(node, ("channel",), ("after",))
    if audience in ("advisor", "team"):
        reader.problem(node, f"then for audience {audience}", "remove it: work for staff has no other channel")
    channels = reader.choices(fields.get("channel"), CHANNELS)
    wait_s = reader.duration(fields["after"], "mhd", MINUTE_S, LONGEST_THEN_S) if "after" in fields else None
    if wait_s is not None and 0 < expires_s <= wait_s:
        remedy = "wait for less, or let it expire later"
        reader.problem(fields["after"], "it has expired by then: nothing would be sent", remedy)
    return Then(channels, wait_s)


def _cost(reader: Reader, node: Node, audience: str) -> int:
    if audience in ("advisor", "team"):
        reader.problem(node, f"cost for audience {audience}", "remove it: budgets pay for what goes to clients")
    return reader.amount(node)


def _tags(reader: Reader, node: Node | None) -> tuple[str, ...]:
    """A list of them."""
    tags = tuple(reader.word(item, KEBAB) for item in reader.items(node))
    if len(tags) > MAX_TAGS or len(set(tags)) < len(tags):
        assert node is not None
        reader.problem(
            node, "a tag twice" if len(tags) <= MAX_TAGS else f"{len(tags)} tags", f"at most {MAX_TAGS}, each once"
        )
    return tags


def _channels(reader: Reader, node: Node | None, scope: Scope) -> tuple[tuple[str, ...], Expression | None]:
    """A list, or the name of a table whose values are lists."""
    if not isinstance(node, Scalar) or node.value in CHANNELS or not node.value.strip():
        return reader.choices(node, CHANNELS), None
    known = scope.get(node.value)
    if known is None or known.type.kind != "list":
        lists = [name for name, known in scope.items() if known.type.kind == "list"]
        remedy = f"write a list such as [sms, email]{', or one of ' + ', '.join(lists) if lists else ''}"
        message = f'"{node.value[:80]}" is neither a list nor a table of lists'
        if not node.value.isascii():
            reader.wrong(node, message, remedy)
            return (), None
        reader.report(node, Fault(0, message, remedy, "unknown name" if known is None else "other", node.value))
        return (), None
    listed = Expression(node.value, ast.Name(node.value, ast.Load()), known.type, False, (node.value,))
    return known.type.values or (), listed


def _cooldown(reader: Reader, node: Node | None, scope: Scope) -> tuple[int, Expression | None]:
    """A length of time, or a number of days that follows from the client."""
    if not isinstance(node, Scalar) or node.value[:1].isdigit() or not node.value.strip():
        return reader.duration(node, "mhd", MINUTE_S, MAX_COOLDOWN_S), None
    given = len(reader.problems)
    days = reader.expression(node, scope, number("days"))
    if days.optional and len(reader.problems) == given:
        reader.problem(node, "a cooldown that can be missing", "give a table with otherwise, or: x if known(x) else 30")
    return MAX_COOLDOWN_S, days


def _offers(
    reader: Reader, node: Node, scopes: Fields[str, Scope], parameters: Fields[str, Expression], *, suitability: bool
) -> Expression | None:
    """The product that a rule offers: an expression, or the name of one of its parameters."""
    fields = reader.mapping(node, OFFER_KEYS)
    if not suitability:
        remedy = "add suitability to policy.yaml: which products there are, and their risk class"
        reader.problem(node, "offers, and policy.yaml does not say what suits whom", remedy)
    product, given = fields.get("product"), reader.faults
    if (
        isinstance(product, Scalar)
        and product.value in parameters
        and not any(product.value in scope for scope in scopes.values())
    ):
        offered = parameters[product.value]
    elif product is not None:
        offered = reader.expression_in(product, scopes, TEXT)
    else:
        return None
    if reader.faults != given:
        return None
    if offered.type.kind != "text":
        reader.problem(node, "offers what is no text", "offer a product by its name in the products' file")
    known = [scope[name] for scope in scopes.values() for name in offered.names if name in scope]
    if any(map(is_personal, known)):
        reader.problem(node, "offers what is personal", "offer a product by its name in the products' file")
    return offered
