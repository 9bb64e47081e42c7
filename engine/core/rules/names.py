"""The names that expressions can use, each with its type and where its value is found.

Enters: the table of topics, the features and tiers of a rule set. Leaves: one Scope per trigger.
Holds: `Name.code` is the engine's own Python text over `c` (ClientState), `e` (the event), `t` (a TierMove); money is
fen there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Final, get_args

from engine.core.contract import events
from engine.core.contract.actions import ACTIONS
from engine.core.contract.topic import Topic, written_as
from engine.core.contract.topics import TOPICS, Kinds, in_order, sources
from engine.core.language.expressions import BOOL, TEXT, Changes, Name, Scope, Type, enum, number
from engine.core.language.types import INTEGER_UNITS, MONEY
from engine.core.rules.occasion import ITEM, ITEM_KINDS, ITEM_STEPS, MATURITY, TIER_AT_RISK, TIER_CHANGE, Trigger
from engine.core.rules.ruleset import Feature, Since
from engine.core.rules.tables import NOTHING, Declared, with_declared
from engine.core.text import IDENTIFIER

CLIENT_TYPES: Final = get_args(events.ClientType)
TIME: Final = number("time")
TIER_REASONS: Final = ("first", "promoted", "demoted", "type_changed", "override", "override_ended")
RISKS: Final = get_args(events.RiskLevel)
PRODUCTS: Final = get_args(events.Product)
SEVERITIES: Final = get_args(events.Severity)
POSITIONS: Final = "positions"  # what the names of POSITION_NAMES are about, beside those of its fields
_MONEY: Final = (0, math.inf)
PERSONAL: Final = "(personal)"  # in place of a value that is about a person
SHOWS_A_VALUE: Final = ("min", "max", "last", "top")  # aggregates whose value is one event's own
MATURITY_NAMES: Final = (
    Name("maturity.symbol", TEXT, False, "e.symbol", "security that comes to its term", form=IDENTIFIER, of="event"),
    Name("maturity.amount_cny", number("cny"), False, "e.amount_fen", "turnover it was bought for", of="event"),
    Name("maturity.product", enum(*PRODUCTS), True, "e.product", "kind of product", of="event"),
    Name("maturity.date", TIME, False, "e.date_ms", "its last day", of="event"),
    Name("maturity.days", number("days"), False, "e.days", "days until its last day", of="event"),
)

ITEM_NAMES: Final = (
    Name("item.kind", enum(*ITEM_KINDS, "journey"), False, "e.kind", "a kind of action, or another", of="event"),
    Name("item.id", TEXT, False, "e.id", "id of the complaint, journey or action", form=IDENTIFIER, of="event"),
    Name("item.about", TEXT, True, "e.about", "category, step or reason of its end, or rule", of="event"),
    Name("item.step", enum(*ITEM_STEPS), False, "e.step", "what it came to", of="event"),
    Name("item.severity", enum(*SEVERITIES), True, "e.severity", "severity of the complaint", of="event"),
    Name("item.opened_at", TIME, False, "e.since_ms", "when it was opened, the last time", of="event"),
    Name("item.days", number("days"), False, "e.days", "whole days since", bounds=(0, math.inf), of="event"),
)


def activity_code(source: str) -> str:
    """The text that reads what a client did at one source."""
    return f'c.activities["{source}"]'


def days_since(source: str, kinds: Kinds = TOPICS) -> str:
    return f"client.days_since_{kinds[source].singular}"


def last_at(source: str, kinds: Kinds = TOPICS) -> str:
    return f"client.last_{kinds[source].singular}_at"


def _whole_days(name: str, base: str, description: str, *, optional: bool = True) -> Name:
    code = f"days_between({base}, c.now_ms)"
    return Name(name, number("days"), optional, code, description, "elapsed", base)


def _type(topic: Topic, field: str, unit: str | None) -> Type:
    kinds, choices = topic.kinds(field), topic.choices(field)
    if choices or bool in kinds:
        return enum(*choices) if choices else BOOL
    if int in kinds or float in kinds:
        return number("cny" if field.endswith("_fen") else unit)
    return TEXT


def _fact_names(topic: Topic) -> list[Name]:
    return [
        Name(
            f"client.{written_as(fact.attribute)}",
            _type(topic, fact.field, fact.unit),
            True,
            f"(c.{fact.attribute} or {fact.default!r})" if fact.default else f"c.{fact.attribute}",
            fact.description,
            bounds=topic.bounds(fact.field),
            form=topic.form(fact.field),
        )
        for fact in topic.facts
    ]


def client_names(
    tiers: tuple[str, ...],
    segments: tuple[str, ...],
    event: str | None = None,
    kinds: Kinds = TOPICS,
    stages: tuple[str, ...] = (),
) -> list[Name]:
    """What is known of the client, whatever happened. `tiers`, `segments` and `stages` are the values those can have.
    On an event of a topic, the last one of that topic is the one before it.
    """
    last = {s: f"{activity_code(s)}.{'before_ms' if s == event else 'last_ms'}" for s in sources(kinds)}
    called = {s: f"the last {kinds[s].called} before now" for s in last}
    return [
        *(name for topic in in_order(kinds) for name in _fact_names(kinds[topic])),
        Name("client.id", TEXT, False, "c.client_id", "id of the client, for draw", form=IDENTIFIER),
        Name("client.has_advisor", BOOL, False, "(c.advisor_id is not None)", "whether an advisor is assigned"),
        Name("client.advisor", TEXT, True, "c.advisor_id", "id of the advisor", form=IDENTIFIER),
        Name(
            "client.advisor_before",
            TEXT,
            True,
            "c.advisor_before",
            "id of the last advisor before; missing if there was none",
            form=IDENTIFIER,
        ),
        Name(
            "client.advisor_changed_at",
            TIME,
            True,
            "c.advisor_changed_ms",
            "when another advisor came, or the last one left; missing if that never happened",
        ),
        Name("client.tier", enum(*tiers), True, "c.tier", "tier; missing until one is known"),
        _whole_days("client.days_in_tier", "c.tier_since_ms", "whole days in this tier"),
        Name(
            "client.segment",
            enum(*segments),
            True,
            "c.segment",
            "first segment that holds, as of the last profile or balance event or midnight",
        ),
        Name(
            "client.value_score",
            number("score"),
            True,
            "c.value_score",
            "value score, as of the last profile or balance event or midnight",
        ),
        Name("client.stage", enum(*stages), True, "c.stage", "stage of life, the first of portrait.yaml that holds"),
        _whole_days("client.days_in_stage", "c.stage_since_ms", "whole days in this stage"),
        Name("client.stage_since", TIME, True, "c.stage_since_ms", "when the client came into this stage"),
        _whole_days("client.days_known", "c.since_ms", "whole days since the first event", optional=False),
        *(_whole_days(days_since(s, kinds), at, f"whole days since {called[s]}") for s, at in last.items()),
        *(Name(last_at(s, kinds), TIME, True, at, f"time of {called[s]}") for s, at in last.items()),
        Name("client.tier_since", TIME, True, "c.tier_since_ms", "when the client came into this tier"),
        *(
            Name(f"client.open_{k}s", number("count"), False, f'open_items(c.items, "{k}")', f"open {k}s")
            for k in ITEM_KINDS
        ),
        *(
            _whole_days(
                f"client.oldest_{k}_days", f'oldest_item(c.items, "{k}")', f"whole days since the oldest {k} opened"
            )
            for k in ITEM_KINDS
        ),
        *_portfolio_names(),
        *(
            Name(
                f"client.{purpose}_channels",
                TEXT,
                True,
                f'agreed_channels(c, "{purpose}")',
                f"channels that the client agrees to for {purpose}, for has_code; missing while nothing was said",
            )
            for purpose in get_args(events.Purpose)
        ),
        Name("client.do_not_contact", BOOL, False, 'holds(c, "do_not_contact")', "whether staff said so, and it holds"),
        Name("client.snoozed", BOOL, False, 'holds(c, "snooze")', "whether staff let all that goes to the client rest"),
        Name("client.tier_overridden", BOOL, False, "(c.tier_before is not None)", "whether staff gave the tier"),
        Name("client.tier_at_risk", BOOL, False, "(c.tier_risk is not None)", "whether a demotion was announced"),
        Name("client.tier_falls_at", TIME, True, "(c.tier_risk and c.tier_risk[1])", "when it comes, if it does"),
        Name("client.known_since", TIME, False, "c.since_ms", "time of the first event"),
        Name("now", TIME, False, "c.now_ms", "time of the event, or when a rule is due by itself", "now"),
    ]


def _portfolio_names() -> list[Name]:
    """What follows from all positions; missing until the first record came, money while a value is unknown."""
    found, share = "portfolio(c)", (0.0, 1.0)
    return [
        Name("client.positions", number("count"), True, f"{found}.held", "positions held", bounds=(0, math.inf)),
        Name(
            "client.positions_cny", number(MONEY), True, f"{found}.value_fen", "value of all positions", bounds=_MONEY
        ),
        Name(
            "client.concentration", number("ratio"), True, f"{found}.concentration",
            "share of the greatest position in their value", bounds=share,
        ),
        Name(
            "client.positions_gain", number("ratio"), True, f"{found}.gain",
            "gain against cost of the positions whose cost is known, as a share of it; below 0: a loss",
            bounds=(-1, math.inf),
        ),
        *(
            Name(
                f"client.{product}_share", number("ratio"), True, f"product_share(c, {product!r})",
                f"share of positions of product {product} in their value", bounds=share,
            )
            for product in PRODUCTS
        ),
        Name("client.riskiest_class", enum(*RISKS), True, f"{found}.riskiest", "riskiest class among the positions"),
        Name(
            "client.classes_above_level", number(), True, f"classes_above({found}.riskiest, c.risk_level)",
            "classes by which that is above the client's risk level; 0 or less: none", bounds=(-4, 4),
        ),
        Name("client.held_symbols", TEXT, True, f"{found}.symbols", "symbols of all positions, for has_code"),
        Name("client.held_products", TEXT, True, f"{found}.products", "products of all positions, for has_code"),
    ]  # fmt: skip


POSITION_NAMES: Final = (
    Name(
        "position.gain", number("ratio"), True, "gain(e.value_fen, e.cost_fen)",
        "gain against its cost, as a share of it; below 0: a loss", bounds=(-1, math.inf), of="event",
    ),
    Name(
        "position.value_change", number("ratio"), True, "value_change(c, e)",
        "change of the value of one unit since the record before, as a share; below 0: a fall",
        bounds=(-1, math.inf), of="event",
    ),
    Name("position.last_value_cny", number(MONEY), True, "last_value(c, e)", "value by the record before", of="event"),
    Name(
        "position.share", number("ratio"), True, "position_share(c, e)", "its share in the value of all positions",
        bounds=(0, 1), of="event",
    ),
    Name(
        "position.classes_above_level", number(), True, "classes_above(e.risk_class, c.risk_level)",
        "classes by which its risk class is above the client's risk level; 0 or less: none", bounds=(-4, 4), of="event",
    ),
)  # fmt: skip


def event_names(about: str, kinds: Kinds = TOPICS) -> tuple[Name, ...]:
    """The names of the event itself: one of a kind of events, an action, a maturity, an item; else none."""
    if about in kinds:
        return _topic_names(kinds[about])
    if about == ACTIONS.name:
        return _topic_names(ACTIONS)
    return {MATURITY.about: MATURITY_NAMES, ITEM: ITEM_NAMES}.get(about, ())


def eventful(kinds: Kinds = TOPICS) -> tuple[str, ...]:
    """What has names of its own, for declarations that use them."""
    others = (MATURITY.about, ITEM, TIER_CHANGE.about, TIER_AT_RISK.about)
    return (*(kind for kind in kinds if event_names(kind, kinds)), *others)


@lru_cache
def _topic_names(topic: Topic) -> tuple[Name, ...]:
    hour = Name(
        f"{topic.singular}.hour",
        number("hour"),
        False,
        "hour(e.time)",
        "hour of the day at which it happened, 0 to 23",
        bounds=(0, 23),
        of="event",
        kept=False,
    )
    named = tuple(
        Name(
            f"{topic.singular}.{written_as(asked.field)}",
            _type(topic, asked.field, asked.unit),
            topic.optional(asked.field),
            f"e.{asked.field}",
            asked.description,
            bounds=topic.bounds(asked.field),
            form=topic.form(asked.field),
            of="event",
            exact=topic.exact(asked.field),
            personal=asked.personal,
            stored_as=asked.stored_as,
            kept=asked.kept,
        )
        for asked in topic.names
    )
    return named if any(name.name == hour.name for name in named) else (*named, hour)


def field_name(source: str, field: str | None, kinds: Kinds = TOPICS) -> Name | None:
    """The name of an event's field, as a feature's `field` has it."""
    return next((name for name in event_names(source, kinds) if name.name.partition(".")[2] == field), None)


def tier_change_names(tiers: tuple[str, ...]) -> list[Name]:
    reasons = "why it moved; override and override_ended: staff gave it a tier for a time"
    before = "tier before; missing for a client's first"
    return [
        Name("tier_change.old", enum(*tiers), True, "t.from_tier", before, of="move"),
        Name("tier_change.new", enum(*tiers), False, "t.to_tier", "tier now", of="move"),
        Name("tier_change.reason", enum(*TIER_REASONS), False, "t.reason", reasons, of="move"),
    ]


def tier_at_risk_names(tiers: tuple[str, ...]) -> list[Name]:
    to, at = "tier that the client would fall to", "when, unless the measure rises before"
    days = "whole days from the notice until then"
    return [
        Name("tier_at_risk.falls_to", enum(*tiers), False, "e.falls_to", to, of="event"),
        Name("tier_at_risk.falls_at", TIME, False, "e.falls_ms", at, of="event"),
        Name("tier_at_risk.days", number("days"), False, "e.days", days, bounds=(0, math.inf), of="event"),
    ]


def event_scope(source: str, kinds: Kinds = TOPICS) -> Scope:
    """Names for a feature's `where` and `field`: the event alone."""
    return {name.name: name for name in event_names(source, kinds)}


def feature_type(feature: Feature) -> Type:
    """The type of a feature's value: that of its field, or a count."""
    if feature.aggregate in ("count", "distinct"):
        return number("count")
    type_ = feature.of_field.type
    if feature.aggregate == "avg" and type_.unit != MONEY and type_.unit in INTEGER_UNITS:
        return number()  # it has a fraction
    return type_


def feature_changes(feature: Feature) -> Changes:
    """How a feature's value changes while no event comes: its window moves on."""
    if isinstance(feature.window, Since):
        return "event"
    return "hour" if feature.window.unit == "hour" else "day"


def feature_names(features: Iterable[Feature], code: dict[str, str] | None = None) -> list[Name]:
    """One bare name per feature. `code` (feature name -> Python text) is known only to the compiler of the whole
    set.
    """
    return [
        Name(
            f.name,
            feature_type(f),
            f.aggregate not in ("count", "sum", "distinct"),
            (code or {}).get(f.name, "None"),
            f.description,
            feature_changes(f),
            bounds=f.bounds,
            form=f.of_field.form if feature_type(f) == TEXT else None,
            personal=f.asked is not None and f.asked.personal and f.aggregate in SHOWS_A_VALUE,
        )
        for f in features
    ]


def is_personal(name: Name) -> bool:
    """Whether its value, or what it follows from, is about a person. That something holds of one tells less."""
    return name.personal or (name.type != BOOL and any(read.personal for read in name.reads or ()))


class Scopes(dict[Trigger | None, Scope]):
    """The names of each trigger, found when they are first asked for: few triggers of a rule set have rules."""

    def __init__(self, of: Callable[[Trigger | None], Scope]) -> None:
        super().__init__()
        self._of = of

    def __missing__(self, trigger: Trigger | None) -> Scope:
        scope = self[trigger] = self._of(trigger)
        return scope


def rule_scope(
    trigger: Trigger | None,
    features: Iterable[Feature],
    tiers: tuple[str, ...],
    segments: tuple[str, ...],
    code: dict[str, str] | None = None,
    declared: Declared = NOTHING,
    kinds: Kinds = TOPICS,
    stages: tuple[str, ...] = (),
) -> Scope:
    """Names for a rule's condition and parameters when it is evaluated on `trigger`; without one, those of the client
    alone, for tiers, segments and score.
    """
    tiers = (*tiers, *(t for t in CLIENT_TYPES if t not in tiers and t != "individual"))
    about = trigger.about if trigger else ""
    ended = trigger is not None and trigger.kind == "timeout"  # the event is the first step, which lies back
    names = client_names(tiers, segments, "" if ended else about, kinds, stages)
    names += [*feature_names(features, code), *event_names(about, kinds)]
    if about == POSITIONS and not ended:
        names += POSITION_NAMES
    if trigger == TIER_CHANGE:
        names += tier_change_names(tiers)
    if trigger == TIER_AT_RISK:
        names += tier_at_risk_names(tiers)
    scope = with_declared({name.name: name for name in names}, declared, about, compiling=code is not None)
    if ended:  # of a wait that began before the rule asked, nothing was kept
        for name in [*scope.values()]:
            if name.of == "event" or any(read.of == "event" for read in name.reads or ()):
                scope[name.name] = replace(name, optional=True)
    return scope
