"""The names that expressions can use, each with its type and where its value is found.

Enters: the features and tiers of a rule set. Leaves: one Scope per trigger.
Holds: `Name.code` is the engine's own Python text over `c` (ClientState), `e` (the event), `t` (a TierMove); money is
fen there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final, get_args

from engine.core.contract import events
from engine.core.language.expressions import BOOL, TEXT, Changes, Name, Scope, Type, enum, number
from engine.core.rules.ruleset import Feature, Since, Source
from engine.core.rules.tables import NOTHING, Declared, with_declared

CLIENT_TYPES: Final = get_args(events.ClientType)
TIME: Final = number("time")
TIER_REASONS: Final = ("first", "promoted", "demoted", "type_changed")


def _whole_days(name: str, base: str, description: str, *, optional: bool = True) -> Name:
    code = f"days_between({base}, c.now_ms)"
    return Name(name, number("days"), optional, code, description, "elapsed", base)


def client_names(tiers: tuple[str, ...], segments: tuple[str, ...]) -> list[Name]:
    """What is known of the client, whatever happened. `tiers` and `segments` are the values those two can have."""
    return [
        Name("client.type", enum(*CLIENT_TYPES), True, "c.type", "type of client; missing until a profile came"),
        Name("client.tier", enum(*tiers), True, "c.tier", "tier; missing until one is known"),
        _whole_days("client.days_in_tier", "c.tier_since_ms", "whole days in this tier"),
        Name("client.age_band", enum(*get_args(events.AgeBand)), True, "c.age_band", "age band from the profile"),
        Name("client.region", enum(*get_args(events.Region)), True, "c.region", "region from the profile"),
        Name(
            "client.risk_level", enum(*get_args(events.RiskLevel)), True, "c.risk_level", "risk level from the profile"
        ),
        Name("client.language", TEXT, True, "c.language", "language from the profile"),
        Name("client.has_advisor", BOOL, False, "(c.advisor_id is not None)", "whether an advisor is assigned"),
        Name("client.segment", enum(*segments), True, "c.segment", "first segment that holds, as of the last event"),
        Name("client.value_score", number("score"), True, "c.value_score", "value score, as of the last event"),
        Name("client.assets_cny", number("cny"), True, "c.assets_fen", "total assets at the last balance event"),
        Name("client.assets_peak_cny", number("cny"), True, "c.assets_peak_fen", "highest total assets ever seen"),
        Name("client.cash_cny", number("cny"), True, "c.cash_fen", "cash at the last balance event that gave it"),
        Name(
            "client.margin_ratio",
            number("ratio"),
            True,
            "c.margin_ratio",
            "maintenance ratio at the last balance event",
        ),
        _whole_days("client.days_known", "c.since_ms", "whole days since the first event", optional=False),
        _whole_days("client.days_since_trade", "c.trades.last_ms", "whole days since the last trade before now"),
        _whole_days("client.days_since_login", "c.logins.last_ms", "whole days since the last login before now"),
        _whole_days("client.days_since_balance", "c.balances.last_ms", "whole days since the last balance event"),
        Name("client.last_trade_at", TIME, True, "c.trades.last_ms", "time of the last trade before now"),
        Name("client.last_login_at", TIME, True, "c.logins.last_ms", "time of the last login before now"),
        Name("client.last_balance_at", TIME, True, "c.balances.last_ms", "time of the last balance event"),
        Name("client.tier_since", TIME, True, "c.tier_since_ms", "when the client came into this tier"),
        Name("client.known_since", TIME, False, "c.since_ms", "time of the first event"),
        Name("now", TIME, False, "c.now_ms", "time of the event, or when a rule is due by itself", "now"),
    ]


EVENT_NAMES: Final[dict[str, list[Name]]] = {
    "trades": [
        Name("trade.symbol", TEXT, False, "e.symbol", "security traded"),
        Name(
            "trade.product",
            enum(*get_args(events.Trade.model_fields["product"].annotation)),
            False,
            "e.product",
            "kind of product",
        ),
        Name("trade.side", enum("buy", "sell"), False, "e.side", "buy or sell"),
        Name("trade.quantity", number("shares"), False, "e.quantity", "shares, units or contracts"),
        Name("trade.amount_cny", number("cny"), False, "e.amount_fen", "turnover"),
        Name("trade.channel", enum(*get_args(events.AccessChannel)), False, "e.channel", "channel of access"),
    ],
    "logins": [
        Name("login.channel", enum(*get_args(events.AccessChannel)), False, "e.channel", "channel of access"),
        Name("login.success", BOOL, False, "e.success", "whether it succeeded"),
        Name("login.region", enum(*get_args(events.Region)), True, "e.region", "where it came from"),
        Name("login.device_id", TEXT, True, "e.device_id", "device"),
    ],
    "balances": [
        Name(
            "balance.kind",
            enum(*get_args(events.Balance.model_fields["kind"].annotation)),
            False,
            "e.kind",
            "kind of change",
        ),
        Name("balance.amount_cny", number("cny"), False, "e.amount_fen", "size of the change"),
        Name("balance.assets_cny", number("cny"), False, "e.assets_fen", "total assets after it"),
        Name("balance.cash_cny", number("cny"), True, "e.cash_fen", "cash after it"),
        Name("balance.margin_ratio", number("ratio"), True, "e.margin_ratio", "maintenance ratio after it"),
    ],
    "profiles": [],  # a profile becomes the client's own fields before rules are looked at
    "maturity": [
        Name("maturity.symbol", TEXT, False, "e.symbol", "security that comes to its term"),
        Name("maturity.amount_cny", number("cny"), False, "e.amount_fen", "turnover it was bought for"),
        Name("maturity.days", number("days"), False, "e.days", "days until its last day"),
    ],
}


def tier_change_names(tiers: tuple[str, ...]) -> list[Name]:
    return [
        Name("tier_change.old", enum(*tiers), True, "t.from_tier", "tier before; missing for a client's first"),
        Name("tier_change.new", enum(*tiers), False, "t.to_tier", "tier now"),
        Name("tier_change.reason", enum(*TIER_REASONS), False, "t.reason", "first, promoted, demoted or type_changed"),
    ]


def event_scope(source: Source) -> Scope:
    """Names for a feature's `where` and `field`: the event alone."""
    return {name.name: name for name in EVENT_NAMES[source]}


def feature_type(feature: Feature) -> Type:
    """The type of a feature's value: that of its field, or a count."""
    if feature.aggregate in ("count", "distinct"):
        return number("count")
    name = next(n for n in EVENT_NAMES[feature.source] if n.name.partition(".")[2] == feature.field)
    return name.type


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
        )
        for f in features
    ]


def _before(topic: str, name: Name) -> Name:
    """On an event, what is asked of the last one means the one before it."""
    last, before = f"c.{topic}.last_ms", f"c.{topic}.before_ms"
    return replace(name, code=name.code.replace(last, before), base=name.base.replace(last, before))


def rule_scope(
    trigger: str,
    features: Iterable[Feature],
    tiers: tuple[str, ...],
    segments: tuple[str, ...],
    code: dict[str, str] | None = None,
    declared: Declared = NOTHING,
) -> Scope:
    """Names for a rule's condition and parameters when looked at on `trigger`; "client" is the scope of tiers,
    segments and score. The second step of a sequence has the names of its event.
    """
    tiers = (*tiers, *(t for t in CLIENT_TYPES if t not in tiers and t != "individual"))
    topic = trigger.removeprefix("after_")
    client = [_before(topic, name) for name in client_names(tiers, segments)]
    names = [*client, *feature_names(features, code), *EVENT_NAMES.get(topic, [])]
    if trigger == "tier_change":
        names += tier_change_names(tiers)
    return with_declared({name.name: name for name in names}, declared, topic, compiling=code is not None)
