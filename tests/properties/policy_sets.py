"""Random rule sets for the slow model of the contact policy: policies, rules and what their conditions mean.

Enters: a random source. Leaves: rule sets as plain values, and as files.
Holds: what is drawn is valid: `engage check` finds no problem in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random
from typing import Any

from tests.properties.policy_occasions import Client, Record, Rules
from tests.properties.policy_words import FIRM, HOUR, clock, length, listed, works

CALENDAR = {
    "title": "C",
    "first_day": "2026-02-17",
    "last_day": "2026-10-31",
    "holidays": ["2026-02-18", "2026-02-19", "2026-03-30", "2026-10-01", "2026-10-02", "2026-10-05", "2026-10-06"],
    "workdays": ["2026-02-28", "2026-10-10"],
}
FEATURES = {"logins_5h": {"source": "logins", "aggregate": "count", "window": "5h"}} | {
    f"{channel}_opened_2d": {
        "source": "receipts",
        "aggregate": "count",
        "where": f'receipt.channel == "{channel}" and receipt.status in ("opened", "clicked")',
        "window": "2d",
    }
    for channel in ("sms", "email")
}
PRODUCTS = {  # risk_class, youngest, oldest
    "cash": ("R1", None, None),
    "bonds": ("R2", 18, None),
    "shares": ("R4", 18, 69),
    "gone": ("R1", None, None),
}
PRODUCT_FIELDS = ("product", "risk_class", "youngest", "oldest")
LISTS = {"staff": ["c2"], "family": ["c1", "c2"], "withdrawn": ["gone"]}
TIERS = "segments: []\n"

# -- conditions --------------------------------------------------------------------------------------------------------

Condition = Callable[[Client, Record | None], bool | None]


def region(client: Client) -> Any:
    return client.fact("profiles", "region")


def logins_5h(client: Client) -> int:
    """This hour of the clock and the four before."""
    return sum(client.now // HOUR - 4 <= time // HOUR <= client.now // HOUR for time in client.times_of("logins"))


def rich(client: Client) -> bool:
    return (client.fact("balances", "cash_fen") or 0) >= 100_000


def large(record: Record | None) -> bool:
    return record is not None and record["amount_fen"] >= 50_000


ALWAYS = "client.days_known >= 0"
WEST = 'client.region == "west"'
RICH = "client.cash_cny >= 1_000"
WORKING = "is_working_day(now)"
OPEN_COMPLAINT = "client.open_complaints > 0"
OF_CLIENT: dict[str, Condition] = {
    ALWAYS: lambda *_: True,
    WEST: lambda client, _: region(client) == "west",
    RICH: lambda client, _: rich(client),
    'has_code(client.marketing_channels, "email")': lambda client, _: client.agreed("email", "marketing"),
    "not client.snoozed": lambda client, _: not client.in_force("snooze"),
    "logins_5h < 3": lambda client, _: logins_5h(client) < 3,
    f"{WEST} and logins_5h >= 1": lambda client, _: region(client) == "west" and logins_5h(client) > 0,
}
OF_TIME: dict[str, Condition] = {  # of rules on events, where there is a calendar
    WORKING: lambda client, _: works(client.active.calendar, clock(client.now, FIRM).date()),
}
OF_EVENT: dict[str, dict[str, Condition]] = {
    "trades": {
        "trade.amount_cny >= 500": lambda _, record: large(record),
        'trade.amount_cny >= 500 and client.region != "east"': lambda client, record: (
            large(record) and region(client) == "west"
        ),
    },
    "logins": {"login.success": lambda _, record: record is not None and record["success"]},
}
OF_CLASSES: dict[str, Condition] = {OPEN_COMPLAINT: lambda client, _: client.complains()}
CONDITIONS: dict[str, Condition] = OF_CLIENT | OF_TIME | OF_CLASSES | OF_EVENT["trades"] | OF_EVENT["logins"]

# -- policies ----------------------------------------------------------------------------------------------------------

CHANNELS = ("app_push", "sms", "email", "phone")
CLASSES = ("regulatory", "risk", "service", "relationship", "marketing")
EXEMPTIONS = ("consent", "caps", "quiet_hours", "snooze", "do_not_contact", "rests")
SPANS = (
    "21:30-08:00", "00:00-24:00", "22:00-24:00", "12:00-13:30", "01:00-02:30", "02:00-03:00", "23:59-00:00",
    "00:00-01:30", "22:00-01:30", "00:00-06:00", "08:00-07:59", "20:00-00:30",
)  # fmt: skip
NIGHT_SPANS = (  # some end within an hour that a night has twice
    "00:00-01:30", "22:00-01:30", "00:30-01:45", "22:30-23:30", "22:00-00:30", "02:30-03:15", "01:00-02:00",
    "02:00-03:00", "00:30-02:30",
)  # fmt: skip
TEAMS, TAGS, RULES = ("wealth", "trading"), ("gold", "spring"), ("r1", "r2", "r3", "r4", "r5")
REDRAWN = (
    "owner", "kind", "priority", "cooldown", "expires", "channels", "class", "tags", "still", "holdout",
)  # fmt: skip
Drawn = dict[str, Any]


def maybe(random: Random, chance: float) -> bool:
    return random.random() < chance


def some(random: Random, values: Iterable[Any], most: int = 2) -> list[Any]:
    known = list(values)
    return random.sample(known, random.randint(1, min(most, len(known))))


def a_rule_set(random: Random, night: bool) -> Rules:
    """`night`: it matters in nights of 23 and 25 hours."""
    policy: Drawn = {}
    if maybe(random, 0.85):
        names = CLASSES if maybe(random, 0.7) else random.sample(CLASSES, random.randint(1, 5))
        policy["classes"] = {name: a_class(random, name) for name in names}
    classes, calendar = list(policy.get("classes", CLASSES)), CALENDAR if maybe(random, 0.5) else None
    rules = [a_rule(random, id_, classes, calendar is not None) for id_ in RULES[: random.randint(1, len(RULES))]]
    policy["caps"] = {f"cap_{n}": a_period(random, night) for n in range(random.randint(0, 3))}
    policy["caps"] = {name: cap | limits(random, cap, rules, classes) for name, cap in policy["caps"].items()}
    if not policy["caps"] or maybe(random, 0.3):
        policy["contact"] = {"daily_cap": random.choice([0, 1, 2, 5, 50])}
        policy["contact"] |= {"urgent_from": random.choice([20, 50, 80])} if maybe(random, 0.3) else {}
    names = [f"quiet_{n}" for n in range(random.choice([0, 1, 1] if night else [0, 1, 1, 2, 3]))]
    spans = NIGHT_SPANS if night else SPANS
    policy["quiet_hours"] = {name: hours(random, spans, rules, classes, calendar is not None) for name in names}
    if maybe(random, 0.4):
        policy["release_over"] = random.choice(["1m", "30m", "2h", "12h"])
    if maybe(random, 0.15):
        policy["holdout"] = a_holdout(random)
    if maybe(random, 0.4):
        policy["rests"] = {channel: a_rest(random) for channel in some(random, CHANNELS, 4)}
    policy["answers"] = {"sms": "sms_opened_2d", "email": "email_opened_2d"}
    products = add_offers(random, policy, rules) if maybe(random, 0.2) else {}
    add_bars(policy, calendar is not None)
    add_other_channels(rules)
    return Rules({key: value for key, value in policy.items() if value}, rules, calendar, products, LISTS)


def add_other_channels(rules: list[Drawn]) -> None:
    """On which channels something is said again. Drawn apart, so that nothing else is drawn otherwise."""
    random = Random(json.dumps(rules))
    if maybe(random, 0.6):
        return
    for rule in rules:
        if rule["audience"] == "client" and maybe(random, 0.6):
            rule["then"] = {"channel": some(random, CHANNELS, 3)}
            if (after := random.choice(["1m", "1h", "12h", "2d", None])) is not None:
                rule["then"] = in_time(rule, {"after": after})


def in_time(rule: Drawn, then: Drawn) -> Drawn:
    """Nothing is waited for until it has expired."""
    found = rule["then"] | then
    late = "after" in found and length(found["after"]) >= length(rule["expires"])
    return without("after", found) if late else found


def add_bars(policy: Drawn, calendar: bool) -> None:
    """What keeps classes from the client. Drawn apart, so that nothing else is drawn otherwise."""
    random = Random(json.dumps(policy))
    if not maybe(random, 0.25):
        return
    for said in policy.get("classes", {}).values():
        if maybe(random, 0.5):
            conditions = [OPEN_COMPLAINT, OPEN_COMPLAINT, WEST, RICH, *([WORKING] if calendar else ())]
            said["not_while"] = {f"bar_{n}": one for n, one in enumerate(some(random, conditions))}


def a_rest(random: Random) -> Drawn:
    return {"after": random.choice([1, 1, 2, 3]), "for": random.choice(["1h", "12h", "2d"])}


def add_offers(random: Random, policy: Drawn, rules: list[Drawn]) -> Drawn:
    """Rules offer something, and policy.yaml says what suits whom."""
    policy["suitability"] = {"products": "products.csv"}
    if maybe(random, 0.5):
        policy["suitability"] |= {"assessed": "client.days_since_balance", "within": random.choice(["1d", "3d"])}
    if maybe(random, 0.5):
        clients = random.choice(["staff", "staff", "family"])
        policy["suitability"]["blacklist"] = {"clients": clients, "products": "withdrawn"}
    for rule in rules:
        if maybe(random, 0.6):
            rule["offers"] = {"product": f'"{random.choice([*PRODUCTS, "cash", "bonds", "none"])}"'}
    return {name: dict(zip(PRODUCT_FIELDS[1:], row, strict=True)) for name, row in PRODUCTS.items()}


def changed(random: Random, active: Rules) -> Rules:
    """Rules of the same ids and occasions, caps of the same periods; what else they say is drawn anew."""
    if maybe(random, 0.5) and (other := with_a_tag_less(random, active)) is not None:
        return other
    policy, classes = dict(active.policy), list(active.policy.get("classes", CLASSES))
    rules, text = [], "same_text"
    redrawn = [key for key in REDRAWN if key != "class" or not asks_for_texts(active)]
    for rule in active.rules:
        other = a_rule(random, rule["id"], classes, False)
        keys = [key for key in redrawn if key in other and (key != "channels" or rule["audience"] == "client")]
        kept = {key: value for key, value in rule.items() if key != "tags" or maybe(random, 0.5)}
        rules.append(now := kept | {key: other[key] for key in keys if maybe(random, 0.4)})
        if "then" in now:
            now["then"] = in_time(now, {})
    if "classes" in policy and maybe(random, 0.5):
        said = {name: {text: one[text]} if text in (one or {}) else {} for name, one in policy["classes"].items()}
        drawn = {name: a_class(random, name) for name in classes}
        policy["classes"] = {name: without(text, one) | said[name] for name, one in drawn.items()}
    for name, cap in active.policy.get("caps", {}).items():
        if maybe(random, 0.5) or not names_of(cap) <= names_in(rules):
            period = {key: cap[key] for key in ("at_most", "per", "within", "zone") if key in cap}
            policy["caps"] = dict(policy["caps"]) | {name: period | limits(random, cap, rules, classes)}
    names = active.policy.get("quiet_hours", {})
    policy["quiet_hours"] = {name: hours(random, SPANS, rules, classes, active.calendar is not None) for name in names}
    policy["classes"] = {name: dict(one) for name, one in policy.get("classes", {}).items()}
    add_bars(policy, active.calendar is not None)
    return Rules({key: value for key, value in policy.items() if value}, rules, active.calendar, active.products, LISTS)


def with_a_tag_less(random: Random, active: Rules) -> Rules | None:
    """All as before, but for the tags of one of several rules that a cap counts by them."""
    sections = ("caps", "quiet_hours")
    named = {tag for section in sections for one in active.policy.get(section, {}).values() for tag in tags_of(one)}
    counted = {tag for cap in active.policy.get("caps", {}).values() for tag in tags_of(cap)}
    tagged = [rule for rule in active.rules if counted & set(rule.get("tags", ()))]
    if not tagged:
        return None
    loses = random.choice(tagged)
    if not named <= {tag for rule in active.rules if rule is not loses for tag in rule.get("tags", ())}:
        return None
    return replace(active, rules=[without("tags", rule) if rule is loses else rule for rule in active.rules])


def tags_of(limit: Drawn) -> list[str]:
    return listed(limit.get("of", {}).get("tag"))


def asks_for_texts(active: Rules) -> bool:
    """A text is known from when a rule asks for it, so that none may begin or cease to."""
    return any("same_text" in (one or {}) for one in (*active.rules, *active.policy.get("classes", {}).values()))


def without(key: str, known: Drawn) -> Drawn:
    return {name: value for name, value in known.items() if name != key}


def names_of(cap: Drawn) -> set[str]:
    """Tags and teams that it names."""
    of = cap.get("of", {})
    return {*tags_of(cap), *listed(of.get("team"))}


def names_in(rules: list[Drawn]) -> set[str]:
    return {name for rule in rules for name in (rule["owner"], *rule.get("tags", ()))}


def a_class(random: Random, name: str) -> Drawn:
    found: Drawn = {}
    if name == "regulatory" and maybe(random, 0.4):
        return {"exempt": list(EXEMPTIONS), "channels": some(random, CHANNELS, 3)}
    if maybe(random, 0.35):
        exempt = some(random, EXEMPTIONS, 3)
        channels = some(random, CHANNELS) if "consent" in exempt else []
        if name == "regulatory":
            found = {"exempt": exempt} | ({"channels": channels} if channels else {})
        elif left := [one for one in exempt if one not in ("consent", "do_not_contact")]:
            found["exempt"] = left
    if maybe(random, 0.25):
        found["counts"] = False
    if maybe(random, 0.3):
        found["purpose"] = random.choice(["marketing", "service", "risk"])
    if maybe(random, 0.75):
        found["when_quiet"] = random.choice(["hold", "hold", "drop", "other_channel"])
    if maybe(random, 0.3):
        found["collect"] = random.choice(["5m", "15m", "2h", "12h"])
    if maybe(random, 0.2):
        found["holdout"] = maybe(random, 0.5)
    if maybe(random, 0.15):
        found["same_text"] = random.choice(["1h", "12h", "2d"])
    if maybe(random, 0.2):
        found["by_answers"] = True
    return found


def a_holdout(random: Random) -> Drawn:
    return {"share": random.choice([0.01, 0.3, 0.5]), "salt": random.choice(["salt-1", "salt-2", "salt-3"])}


def a_period(random: Random, night: bool) -> Drawn:
    found: Drawn = {"at_most": random.choice([0, 1, 1, 1, 2, 2, 3])}
    if night and maybe(random, 0.6):
        return {"at_most": random.choice([1, 1, 2]), "per": "hour", "zone": "client"}
    if maybe(random, 0.35):
        return found | {"within": random.choice(["30m", "1h", "24h", "2d", "31d"])}
    zone = {"zone": random.choice(["client", "client", "firm"])} if maybe(random, 0.5) else {}
    return found | {"per": random.choice(["hour", "day", "day", "week", "month"])} | zone


def limits(random: Random, cap: Drawn, rules: list[Any], classes: list[str]) -> Drawn:
    """What else a cap says."""
    tags = sorted({tag for rule in rules for tag in rule.get("tags", ())})
    by_tag = {"of": {"tag": random.choice(tags)}} if tags and maybe(random, 0.3) else None
    found = by_tag or selection(random, 0.6, rules, classes)
    if cap["at_most"] > 0 and len(classes) > 1 and maybe(random, 0.3):
        found["reserve"] = {"slots": random.randint(1, cap["at_most"]), "for": random.choice(classes[:-1])}
    return found | ({"spare_from": random.choice([20, 50, 80])} if maybe(random, 0.2) else {})


def selection(random: Random, chance: float, rules: list[Any], classes: list[str]) -> Drawn:
    if not maybe(random, chance):
        return {}
    known = {
        "kind": ["message", "survey"],
        "class": classes,
        "channel": CHANNELS,
        "tag": sorted({tag for rule in rules for tag in rule.get("tags", ())}),
        "team": sorted({rule["owner"] for rule in rules}),
        "rule": [rule["id"] for rule in rules],
    }
    keys = some(random, [key for key, values in known.items() if values])
    return {"of": {key: some(random, known[key]) if maybe(random, 0.3) else random.choice(known[key]) for key in keys}}


def hours(random: Random, spans: tuple[str, ...], rules: list[Any], classes: list[str], calendar: bool) -> Drawn:
    if calendar and maybe(random, 0.25):
        return {"days": "holidays"} | selection(random, 0.4, rules, classes)
    found: Drawn = {"hours": random.choice(spans)}
    if maybe(random, 0.1 if spans is NIGHT_SPANS else 0.35):
        found["days"] = some(random, ("mon", "tue", "wed", "thu", "fri", "sat", "sun"), 5)
    if maybe(random, 0.25):
        found["zone"] = random.choice(["firm", "client"])
    return found | selection(random, 0.4, rules, classes)


# -- rules -------------------------------------------------------------------------------------------------------------


def a_rule(random: Random, id_: str, classes: list[str], calendar: bool) -> Drawn:
    rule: Drawn = {
        "id": id_,
        "title": "T",
        "owner": random.choice(TEAMS),
        "kind": random.choice(["message", "message", "survey"]),
        "audience": random.choice(["client"] * 7 + ["team"]),
        "priority": random.choice([10, 20, 50, 50, 80]),
        "cooldown": random.choice(["1m", "1m", "1m", "1m", "30m", "2h", "12h", "1d", "3d"]),
        "expires": random.choice(["5m", "1h", "6h", "1d", "2d", "3d", "6d"]),
        "template": random.choice(["t", "t", "u"]),
        "description": "D.",
    }
    if rule["template"] == "u":
        rule["parameters"] = {"region": "client.region"}
    if rule["audience"] == "client":
        rule["channels"] = some(random, CHANNELS, 3)
    if "service" not in classes or maybe(random, 0.7):
        rule["class"] = random.choice(classes)
    if maybe(random, 0.6):
        rule["tags"] = some(random, TAGS)
    if maybe(random, 0.2):
        rule["still"] = False
    if maybe(random, 0.1):
        rule["holdout"] = a_holdout(random)
    if rule["audience"] == "client" and maybe(random, 0.1):
        rule["same_text"] = random.choice(["1h", "12h", "2d"])
    return rule | occasion(random, calendar)


def occasion(random: Random, calendar: bool) -> Drawn:
    kind = random.choice(["on"] * 6 + ["at", "silence", "becomes", "sequence"])
    when = {"when": random.choice(list(OF_CLIENT))}
    if kind == "on":
        topic = random.choice(["logins", "logins", "trades", "balances", "profiles", "overrides"])
        conditions = [*OF_CLIENT, *OF_EVENT.get(topic, {}), *(OF_TIME if calendar else ())]
        return {"on": topic, "when": random.choice([ALWAYS, WEST, WEST, random.choice(conditions)])}
    if kind == "at":
        at = {"every": "day", "time": random.choice(["00:00", "08:00", "09:00", "12:00", "23:59"])}
        return {"at": at | ({"every": "week", "day": "sat"} if maybe(random, 0.2) else {})} | when
    if kind == "silence":
        return {"silence": {"of": random.choice(["logins", "trades"]), "for": random.choice(["1d", "2d"])}} | when
    if kind == "sequence":
        first, second = random.sample(["logins", "trades", "balances", "profiles", "overrides"], 2)
        steps = {"first": {"on": first}, random.choice(["then", "without"]): {"on": second}}
        return {"sequence": steps | {"within": random.choice(["1h", "5h", "1d"])}} | when
    found = {"becomes": random.choice([WEST, RICH])}
    found |= {"for": random.choice(["1h", "1d"])} if maybe(random, 0.3) else {}
    return found | ({"repeat_every": random.choice(["2h", "1d"])} if maybe(random, 0.3) else {})


def files(active: Rules) -> dict[str, str]:
    """JSON is YAML, too."""
    texts = {"policy.yaml": json.dumps(active.policy), "rules.yaml": json.dumps({"rules": active.rules})}
    texts |= {"features.yaml": json.dumps({"features": FEATURES}), "tiers.yaml": TIERS}
    texts["definitions.yaml"] = json.dumps({"lists": {name: {"values": known} for name, known in LISTS.items()}})
    if active.products:
        rows = [(name, *(said or "" for said in one.values())) for name, one in active.products.items()]
        texts["products.csv"] = "".join(",".join(map(str, row)) + "\n" for row in [PRODUCT_FIELDS, *rows])
    if active.calendar is not None:
        texts["calendar.yaml"] = json.dumps({"calendar": active.calendar})
    return texts
