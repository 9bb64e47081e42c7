"""What lint proves of rules is never contradicted by the engine: random rules, decided over random histories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.core.decide.path import Due, Input, decide
from engine.core.rules.occasion import SILENCE, TIER_AT_RISK, TIER_CHANGE, Trigger, on
from engine.core.rules.ruleset import Rule
from engine.rulefile.lint.conditions import implied
from engine.rulefile.proof.narrowing import impossible
from engine.rulefile.proof.worlds import scope_of, world_of
from tests.core.making import TIERS, event_of, plan_of, rule
from tests.properties.histories import LAST_MS, histories, quick

FEATURES = """\
  assets_avg_cny_30d: {source: balances, aggregate: daily_mean, field: assets_cny, window: 30d}
  trades_7d: {source: trades, aggregate: count, window: 7d}
  trades_30d: {source: trades, aggregate: count, window: 30d}
  logins_1d: {source: logins, aggregate: count, window: 1d}
  failed_7d: {source: logins, aggregate: count, where: not login.success, window: 7d}
  turnover_cny_7d: {source: trades, aggregate: sum, field: amount_cny, window: 7d}
  turnover_cny_30d: {source: trades, aggregate: sum, field: amount_cny, window: 30d}
  sold_cny_30d: {source: trades, aggregate: max, field: amount_cny, where: trade.side == "sell", window: 30d}
  symbols_30d: {source: trades, aggregate: distinct, field: symbol, window: 30d}
  deposits_30d: {source: balances, aggregate: count, where: balance.kind == "deposit", window: 30d}
"""
SOME = st.sampled_from(["0", "1", "2", "5", "30", "64"])
CNY = st.sampled_from(["0", "1_000", "300_000", "1_000_000", "100_000_000_000"])
ANYWHERE = [
    'client.type == "individual"', 'client.type != "individual"', 'client.type in ("insurer", "qfii")',
    "known(client.type)", "known(client.tier)", 'client.tier == "A"', 'client.tier in ("B", "C")',
    'client.tier == "insurer"', 'client.tier not in ("A", "B")', "known(client.assets_cny)", "client.has_advisor",
    'client.region == "east"',
    "client.cash_cny > 0.5 * client.assets_cny", "client.assets_cny <= client.assets_peak_cny",
    "client.margin_ratio < 1.3", "known(assets_avg_cny_30d)", "trades_7d == trades_30d", "trades_7d > trades_30d",
    "turnover_cny_7d <= turnover_cny_30d", "turnover_cny_7d / turnover_cny_30d > 1", "known(sold_cny_30d)",
]  # fmt: skip
ON = {
    on("trades"): ['trade.side == "sell"', "trade.quantity >= 1", "trade.amount_cny > sold_cny_30d"],
    on("logins"): ["login.success", "login.region != client.region", "login.channel in (\"app\", \"web\")"],
    on("balances"): [
        'balance.kind == "deposit"',
        "balance.assets_cny == client.assets_cny", "client.margin_ratio == balance.margin_ratio",
        "known(client.margin_ratio)", "known(balance.margin_ratio)", "balance.cash_cny == client.cash_cny",
        "balance.assets_cny > client.assets_peak_cny",
    ],
    on("profiles"): [],
    TIER_CHANGE: [
        'tier_change.new == "A"', 'tier_change.old == "A"', 'tier_change.reason == "promoted"',
        'tier_change.reason == "demoted"', 'tier_change.reason == "first"', 'tier_change.reason == "type_changed"',
        "known(tier_change.old)", "tier_change.new == client.tier", "tier_change.old == client.tier",
        'tier_change.new in ("insurer", "qfii")', "client.days_in_tier == 0",
    ],
    TIER_AT_RISK: [
        'tier_at_risk.falls_to == "B"', 'tier_at_risk.falls_to == "A"', "tier_at_risk.falls_to == client.tier",
        "tier_at_risk.days >= 1", "client.tier_at_risk", "known(client.tier_falls_at)", 'client.tier == "C"',
        'client.type == "insurer"', "client.tier_falls_at == tier_at_risk.falls_at",
    ],
}  # fmt: skip
TIMED = {SILENCE: ["client.days_since_login >= 30", "client.days_since_login == 30"]}


@st.composite
def parts(draw: st.DrawFn, trigger: Trigger) -> str:
    form = draw(st.integers(0, 5))
    sign = draw(st.sampled_from(["<", "<=", ">", ">=", "==", "!="]))
    if form == 0:
        counts = ["trades_7d", "trades_30d", "logins_1d", "failed_7d", "symbols_30d", "deposits_30d"]
        return f"{draw(st.sampled_from(counts))} {sign} {draw(SOME)}"
    if form == 1:
        days = ["in_tier", "known", "since_trade", "since_login", "since_balance"]
        return f"client.days_{draw(st.sampled_from(days))} {sign} {draw(SOME)}"
    if form == 2:
        money = [
            "client.assets_cny",
            "client.assets_peak_cny",
            "client.cash_cny",
            "turnover_cny_7d",
            "assets_avg_cny_30d",
        ]
        return f"{draw(st.sampled_from(money))} {sign} {draw(CNY)}"
    own = ON.get(trigger, []) + TIMED.get(trigger, [])
    return draw(st.sampled_from(own if form > 3 and own else ANYWHERE))


def conditions(trigger: Trigger) -> st.SearchStrategy[str]:
    def join(some: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        several = st.lists(some, min_size=2, max_size=3)
        return st.one_of(
            several.map(lambda found: f"({' and '.join(found)})"),
            several.map(lambda found: f"({' or '.join(found)})"),
            some.map(lambda one: f"not ({one})"),
        )

    return st.recursive(parts(trigger), join, max_leaves=4)


@st.composite
def rule_texts(draw: st.DrawFn) -> tuple[str, ...]:
    found = []
    for number in range(12):
        trigger = draw(st.sampled_from([*ON, *TIMED]))
        when = "'" + draw(conditions(trigger)) + "'"
        fields: dict[str, Any] = {"silence": "{of: logins, for: 30d}"} if trigger == SILENCE else {"on": str(trigger)}
        found.append(rule(f"r{number}", when=when, audience="team", kind="task", **fields))
    return tuple(found)


def in_time(history: list[Input]) -> list[Input]:
    """Of the events those that come in time: a late one counts in the window of its own time, and tells facts of it."""
    return sorted(history, key=lambda item: event_of(item).time)


@quick(60)
@given(rule_texts(), histories(most=60).map(in_time))
def test_the_engine_never_does_what_lint_says_cannot_be(texts, history):
    plan = plan_of(*texts, features=FEATURES, tiers=TIERS.replace("  tiers:\n", "  grace: 1d\n  tiers:\n"))
    seen: list[tuple[Trigger, frozenset[int]]] = []

    def watched(trigger: Trigger) -> Callable[..., list[int]]:
        def match(client: Any, event: Any, move: Any) -> list[int]:
            found = list(plan.match[trigger](client, event, move))
            seen.append((trigger, frozenset(found)))
            return found

        return match

    rules = {trigger: [compiled.rule for compiled in plan.compiled[trigger]] for trigger in (*ON, *TIMED)}
    worlds = {t: {r.id: world_of(plan.rule_set, t, r) for r in found} for t, found in rules.items()}
    never, always = (
        {r.id for t, found in rules.items() for r in found if impossible(worlds[t][r.id], (r.when.tree, holds))}
        for holds in (True, False)
    )
    decided = decide(
        replace(plan, match={**plan.match, **{trigger: watched(trigger) for trigger in ON}}),
        {},
        [*history, *(Due(f"c{n}", LAST_MS) for n in (1, 2, 3))],
    )
    assert not never & {rule_id for rule_id, _ in decided.outcomes}
    for trigger, found in seen:
        fired = {rules[trigger][index].id for index in found}
        assert fired >= {r.id for r in rules[trigger] if r.id in always}
        for one in (r for r in rules[trigger] if r.id in fired):
            assert all(other.id in fired for other in rules[trigger] if _covers(worlds[trigger][one.id], one, other))


def _covers(world: Any, one: Rule, other: Rule) -> bool:
    return one is not other and implied([world], one.when, other.when)


def _reading(trigger: Trigger) -> str:
    """A rule whose parameters are all names of its trigger, and what the features' filters say."""
    rule_set = plan_of(features=FEATURES).rule_set
    names = {name.replace(".", "_"): name for name, known in scope_of(rule_set, trigger).items()}
    where = {f"where_{f.name}": f.where.text for f in rule_set.features if f.where and on(f.source) == trigger}
    parameters = "".join(f"\n      {key}: '{text}'" for key, text in {**names, **where}.items())
    occasion: dict[str, Any] = {"silence": "{of: logins, for: 30d}"} if trigger == SILENCE else {"on": str(trigger)}
    return rule(
        f"reads-{str(trigger).replace('_', '-')}", audience="team", kind="task", parameters=parameters, **occasion
    )


READING = tuple(_reading(trigger) for trigger in [*ON, *TIMED])


@quick(60)
@given(histories(most=60).map(in_time))
def test_what_lint_takes_for_certain_is_so(history):
    plan = plan_of(*READING, features=FEATURES)

    def watched(trigger: Trigger) -> Callable[..., list[int]]:
        (compiled,) = plan.compiled[trigger]
        world = world_of(plan.rule_set, trigger, compiled.rule)
        scope = scope_of(plan.rule_set, trigger)

        def match(client: Any, event: Any, move: Any) -> list[int]:
            read = dict(
                zip((n for n, *_ in compiled.parameter_names), compiled.parameters(client, event, move), strict=True)
            )
            values = {name: read[name.replace(".", "_")] for name in scope}
            for name, value in values.items():
                assert world.domains[name].holds(value), (trigger, name, value)
            for one, other in world.same.items():
                assert values[one] == values[other], (trigger, one, other)
            for lesser, greater in world.at_most:
                assert values[lesser] <= values[greater], (trigger, lesser, greater)
            for names, rows in world.relations:
                assert tuple(values[name] for name in names) in rows, trigger
            for _, name, domain in world.implied:
                assert not read[f"where_{name}"] or domain.holds(values[name]), (trigger, name)
            return list(plan.match[trigger](client, event, move))

        return match

    watching = {trigger: watched(trigger) for trigger in [*ON, *TIMED]}
    ticks = [Due(f"c{n}", LAST_MS) for n in (1, 2, 3)]
    decide(replace(plan, match={**plan.match, **watching}), {}, [*history, *ticks])
