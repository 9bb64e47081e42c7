"""Explanations agree with the compiled condition, and the change that they name really turns the answer."""

from __future__ import annotations

import ast
import copy
from dataclasses import replace
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.client.sections import pack, unpack
from engine.core.client.state import ClientState
from engine.core.firm_time import DAY_MS
from engine.core.language.expressions import BOOL, Expression, parse
from engine.core.plan.compile import Plan, compile_rule_set
from engine.core.rules.occasion import SILENCE
from engine.core.rules.occasion import on as on_topic
from engine.core.rules.ruleset import RuleSet
from engine.insight.explain import Explainer, Explanation, Term, failing
from engine.insight.rendering import as_json, in_full, in_short
from engine.rulefile.read.load import load
from tests.core.making import FEATURES, TIERS, Desk, at, balance, event_of, plan_of, profile, rule, trade

DEFINITIONS = """\
define:
  wealthy: {is: client.assets_cny >= least_assets_cny}
  young: {is: 'client.age_band in ("under_25", "25_35")'}
  twice_cny: {is: 2 * client.assets_cny}
lists:
  watched: {values: ["600000", "600519"]}
tables:
  least_assets_cny:
    hit: first
    unit: cny
    rows:
      - {client.tier: A, then: 2_000_000}
      - {client.tier: B, client.days_known: ">= 100", then: 500_000}
    otherwise: 1_000_000
"""


@lru_cache(maxsize=4)
def base(on: str) -> Plan:
    files = {
        "features.yaml": f"features:\n{FEATURES}  trades_30d: {{source: trades, aggregate: count, window: 30d}}\n",
        "tiers.yaml": TIERS,
        "policy.yaml": "contact:\n  daily_cap: 2\n",
        "definitions.yaml": DEFINITIONS,
        "rules.yaml": "rules:\n" + rule("r", on=on, when=None, cooldown="1d"),
    }
    result = load(files)
    assert isinstance(result, RuleSet), "\n".join(map(str, result))
    return compile_rule_set(result)


@lru_cache(maxsize=256)
def plan(when: str, on: str = "balances") -> Plan:
    """The same rule set with another condition."""
    plan_ = base(on)
    condition = parse(when, plan_.scopes[on_topic(on)], BOOL)
    assert isinstance(condition, Expression), condition
    rules = tuple(replace(rule_, when=condition) for rule_ in plan_.rule_set.rules)
    return compile_rule_set(replace(plan_.rule_set, rules=rules))


def client_of(plan_: Plan, **fields: Any) -> ClientState:
    desk = Desk(plan_)
    desk.take(profile(at(0), region="east"), balance(at(0), 400_000), trade(at(1)))
    client = desk.client
    client.now_ms = at(10)
    client.day += 9
    for name, value in fields.items():
        setattr(client, name, value)
    return client


def deposit(amount_cny: float = 5_000, **fields: Any) -> Any:
    item = balance(at(10), 405_000, **{"kind": "deposit", "amount_fen": round(amount_cny * 100), **fields})
    return event_of(item)


def explained(when: str, client: dict[str, Any] | None = None, event: Any = None, on: str = "balances") -> Explanation:
    plan_ = plan(when, on)
    return Explainer(plan_).explain(
        plan_.rule_set.rules[0], on_topic(on), client_of(plan_, **client or {}), event, None
    )


@pytest.mark.parametrize(
    ("when", "flip"),
    [
        ("balance.amount_cny >= 6_000", "balance.amount_cny at least 6,000.00 CNY (now 5,000.00 CNY)"),
        ("balance.amount_cny > 6_000", "balance.amount_cny at least 6,000.01 CNY (now 5,000.00 CNY)"),
        ("balance.amount_cny < 6_000", "balance.amount_cny at least 6,000.00 CNY (now 5,000.00 CNY)"),
        ("balance.amount_cny == 6_000", "balance.amount_cny exactly 6,000.00 CNY (now 5,000.00 CNY)"),
        ("10 <= client.days_known <= 20", "client.days_known at most 9 days (now 10 days)"),
        ("12 <= client.days_known <= 20", "client.days_known at least 12 days (now 10 days)"),
        (  # the name stands on both sides
            "3 * balance.amount_cny - 1_000 >= balance.amount_cny + 11_000",
            "balance.amount_cny at least 6,000.00 CNY (now 5,000.00 CNY)",
        ),
        (
            "balance.amount_cny / client.assets_cny < 0.01",
            "client.assets_cny at least 500,000.01 CNY (now 400,000.00 CNY)",
        ),
        ("balance.amount_cny * 0.3 >= 2_000", "balance.amount_cny at least 6,666.67 CNY (now 5,000.00 CNY)"),
        ("max(balance.amount_cny, 5_500) >= 6_000", "balance.amount_cny at least 6,000.00 CNY (now 5,000.00 CNY)"),
        ("abs(balance.amount_cny - 9_000) <= 1_000", "balance.amount_cny at least 8,000.00 CNY (now 5,000.00 CNY)"),
        ("round(balance.amount_cny) >= 6_000", "balance.amount_cny at least 5,999.50 CNY (now 5,000.00 CNY)"),
        ('balance.kind == "loss"', "balance.kind being loss (now deposit)"),
        ("client.has_advisor", "client.has_advisor being yes (now no)"),
        ("client.margin_ratio < 1.3", "client.margin_ratio at most 1.2999 (now missing)"),
        ("not known(client.region)", "client.region being missing (now east)"),
        ("known(client.cash_cny)", "client.cash_cny with a value such as 0.00 CNY (now missing)"),
        ("young", "client.age_band being under_25 (now missing)"),
        ("wealthy", "client.assets_cny at least 1,000,000.00 CNY (now 400,000.00 CNY)"),
        ("twice_cny < 700_000", "client.assets_cny at most 349,999.99 CNY (now 400,000.00 CNY)"),
        (
            "client.assets_cny < least_assets_cny - 650_000",
            "client.assets_cny at most 349,999.99 CNY (now 400,000.00 CNY)",
        ),
        ("trades_30d >= 2", "trades_30d at least 2 (now 1)"),
    ],
)
def test_the_smallest_change_is_named(when: str, flip: str) -> None:
    flips = explained(when, event=deposit()).flips
    assert str(flips[0]) == flip


def test_no_single_change_would_do() -> None:
    explanation = explained('balance.kind == "loss" and client.days_known >= 20', event=deposit())
    assert explanation.flips == ()
    assert [term.text for term in failing(explanation.term)] == ['balance.kind == "loss"', "client.days_known >= 20"]
    said = "\n".join(in_full(explanation))
    assert "no change of one value alone would make it hold" in said


def test_where_not_all_can_be_tried_that_is_said() -> None:
    assert explained("hour(now) == 3", event=deposit()).flips == ()
    assert "alone was found" in "\n".join(in_full(explained("hour(now) == 3", event=deposit())))


def test_terms_have_their_text_and_values() -> None:
    explanation = explained(
        '(client.tier == "B" or not known(client.age_band)) and balance.amount_cny\n      >= 0.5 * client.assets_cny',
        event=deposit(),
    )
    lines = list(in_full(explanation))
    assert lines[:6] == [
        "  no   all of",
        "       yes  one of",
        '            yes  client.tier == "B"                               client.tier is B',
        "            yes  not",
        "                 no   known(client.age_band)                      client.age_band is missing",
        "       no   balance.amount_cny >= 0.5 * client.assets_cny         balance.amount_cny is 5,000.00 CNY; "
        "client.assets_cny is 400,000.00 CNY; 0.5 * client.assets_cny is 200,000.00 CNY",
    ]


def test_definitions_and_tables_open_up() -> None:
    lines = list(in_full(explained("wealthy", event=deposit())))
    assert lines[0] == "  no   wealthy, which is"
    assert "client.assets_cny is 400,000.00 CNY; least_assets_cny is 1,000,000.00 CNY" in lines[1]
    assert "client.tier is B; client.days_known is 10 days, by the row otherwise: 1,000,000.00 CNY" in lines[2]
    tier_a = "\n".join(in_full(explained("wealthy", {"tier": "A"}, deposit())))
    assert "by the row client.tier A: 2,000,000.00 CNY (definitions.yaml:" in tier_a


def test_without_its_event_a_condition_is_open_or_certain() -> None:
    open_ = explained('client.tier == "B" and balance.amount_cny >= 1')
    assert (open_.term.holds, open_.flips) == (None, ())
    assert in_short(open_) == "depends on the event (balances): balance.amount_cny"
    assert open_.term.parts[1].values[0].shown == "not known before it comes"
    assert explained('client.tier == "A" and balance.amount_cny >= 1').term.holds is False
    assert explained('client.tier == "B" or balance.amount_cny >= 1').term.holds is True


def test_the_contact_policy_is_named() -> None:
    assert "would let it pass, by app_push" in list(in_full(explained("client.has_advisor")))[-1]
    assert (
        "no consent to app_push or sms (app_push: withdrawn at 2026-0"
        in list(in_full(explained("client.has_advisor", {"consents": ()})))[-1]
    )
    cooling = {"acted": {"r": at(9.5)}}
    assert "cooldown until 2026-02-27 00:00" in list(in_full(explained("client.has_advisor", cooling)))[-1]
    capped = {"contacts": {"": [client_of(plan("client.has_advisor")).now_ms] * 2}}
    assert "daily cap" in list(in_full(explained("client.has_advisor", capped)))[-1]


@pytest.mark.parametrize(("advisor", "said"), [(None, "to the team of wealth: the client has no advisor"), ("a", "")])
def test_who_acts_in_place_of_an_advisor_is_named(advisor, said) -> None:
    plan_ = plan_of(rule("r", audience="advisor"))
    desk = Desk(plan_)
    desk.take(profile(at(0), advisor_id=advisor))
    found = Explainer(plan_).explain(plan_.rule_set.rules[0], on_topic("logins"), desk.client, None, None)
    assert list(in_full(found))[-1] == f"contact policy: would let it pass{', ' if said else ''}{said}"
    assert as_json(found)["audience"] == ("advisor" if advisor else "team")


def test_a_silence_says_where_it_stands() -> None:
    plan_ = plan_of(rule("quiet", on=None, silence="{of: logins, for: 30d}"))
    desk = Desk(plan_)
    desk.take(profile(at(0)))
    explainer, quiet = Explainer(plan_), plan_.rule_set.rules[0]
    assert "not begun" in explainer.explain(quiet, SILENCE, desk.client, None, None).standing


# -- whatever the condition and the client -----------------------------------------------------------------------------

NUMBERS = {
    "client.days_known": st.integers(0, 60),
    "trades_30d": st.integers(0, 5),
    "balance.amount_cny": st.integers(0, 9_000),
    "client.assets_cny": st.integers(0, 9_000),
    "least_assets_cny": st.integers(0, 9_000),
    "twice_cny": st.integers(0, 9_000),
    "client.margin_ratio": st.sampled_from(["1", "1.25", "2.5"]),
}
MONEY = ("balance.amount_cny", "client.assets_cny", "least_assets_cny", "twice_cny")
SIMPLE = st.sampled_from(
    [
        "wealthy",
        "young",
        "client.has_advisor",
        'client.tier == "A"',
        'client.tier in ("B", "C")',
        'balance.kind != "deposit"',
        "known(client.margin_ratio)",
        'client.age_band not in ("25_35", "over_60")',
    ]
)


@st.composite
def comparisons(draw: st.DrawFn) -> str:
    name = draw(st.sampled_from(list(NUMBERS)))
    op = draw(st.sampled_from(["<", "<=", ">", ">=", "==", "!="]))
    number = draw(NUMBERS[name])
    other = draw(st.sampled_from([n for n in MONEY if n != name]))
    forms = [f"{name} {op} {number}", f"{number} {op} {name}"]
    if name in MONEY:
        forms += [
            f"{name} {op} 0.5 * {other}",
            f"2 * {name} - {other} {op} {name} + {number}",
            f"{name} / {other} {op} 0.75",
            f"max({name}, {other}) {op} {number}",
            f"abs({name} - {number}) {op} {other}",
            f"({name} if client.has_advisor else {other}) {op} {number}",
        ]
    return draw(st.sampled_from(forms))


CONDITIONS = st.recursive(
    SIMPLE | comparisons(),
    lambda inner: (
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda t: f"({t[0]}) {t[1]} ({t[2]})")
        | inner.map(lambda text: f"not ({text})")
    ),
    max_leaves=4,
)
FEN = st.integers(0, 9_000).map(lambda cny: cny * 100)
CLIENTS = st.fixed_dictionaries(
    {
        "tier": st.sampled_from([None, "A", "B", "C"]),
        "age_band": st.sampled_from([None, "under_25", "25_35", "over_60"]),
        "assets_fen": st.none() | FEN,
        "margin_ratio": st.sampled_from([None, 1.0, 1.25, 1.3, 2.5]),
        "advisor_id": st.sampled_from([None, "a"]),
        "since_ms": st.integers(0, 120).map(lambda days: at(10) - days * DAY_MS),
    }
)
# What a name's value is set to, on a client and an event.
SETTERS: dict[str, Any] = {
    "client.tier": lambda c, _, v: setattr(c, "tier", v),
    "client.age_band": lambda c, _, v: setattr(c, "age_band", v),
    "client.assets_cny": lambda c, _, v: setattr(c, "assets_fen", v),
    "client.margin_ratio": lambda c, _, v: setattr(c, "margin_ratio", v),
    "client.has_advisor": lambda c, _, v: setattr(c, "advisor_id", "a" if v else None),
    "client.days_known": lambda c, _, v: setattr(c, "since_ms", c.now_ms - v * DAY_MS),
    "trades_30d": lambda c, _, v: setattr(c.activities["trades"], "past", [v - c.activities["trades"].today[0]]),
    "balance.amount_cny": lambda _, e, v: setattr(e, "amount_fen", v),
    "balance.kind": lambda _, e, v: setattr(e, "kind", v),
}
# Every value that a name can have, or those near enough: what is not named as a change must turn nothing.
EVERY: dict[str, Any] = {
    "client.tier": [None, "A", "B", "C"],
    "client.has_advisor": [True, False],
    "client.days_known": range(130),
    "trades_30d": range(12),
    "balance.kind": ["deposit", "withdrawal", "gain"],
}


def holds(plan_: Plan, client: ClientState, event: Any, **changed: Any) -> bool:
    client, event = unpack(plan_.layout, pack(plan_.layout, client)), copy.copy(event)
    for name, value in changed.items():
        SETTERS[name](client, event, value)
    return bool(plan_.match[on_topic("balances")](client, event, None))


@given(CONDITIONS, CLIENTS, FEN, st.sampled_from(["deposit", "gain"]))
@settings(max_examples=60, deadline=None)
def test_what_is_said_is_so(when: str, fields: dict[str, Any], amount_fen: int, kind: str) -> None:
    plan_ = plan(when)
    client = client_of(plan_, **fields)
    event = SimpleNamespace(amount_fen=amount_fen, kind=kind)
    explanation = Explainer(plan_).explain(plan_.rule_set.rules[0], on_topic("balances"), client, event, None)
    assert explanation.term.holds == holds(plan_, client, event)
    _agrees(explanation.term)
    named = {}
    for flip in explanation.flips:
        assert holds(plan_, client, event, **{flip.name: flip.value}) is not explanation.term.holds, str(flip)
        named[flip.name] = flip.value
    for name in Explainer(plan_).flipper(plan_.rule_set.rules[0], on_topic("balances")).names:
        if name not in EVERY:
            continue
        turning = [v for v in EVERY[name] if holds(plan_, client, event, **{name: v}) is not explanation.term.holds]
        assert bool(turning) <= (name in named), (name, turning)
        if isinstance(named.get(name), int) and name in ("client.days_known", "trades_30d") and turning:
            now = 10**9 if name not in named else _now(name, client)
            assert min(abs(v - now) for v in turning) >= abs(named[name] - now), (name, turning, named[name])


def _now(name: str, client: ClientState) -> int:
    if name == "client.days_known":
        return (client.now_ms - client.since_ms) // DAY_MS
    return int(client.activities["trades"].today[0] + client.activities["trades"].past[0])


def _agrees(term: Term) -> None:
    parts = [part.holds for part in term.parts]
    made = {"and": all, "or": any, "not": lambda p: not p[0], "is": lambda p: p[0]}
    if term.joins in made:
        assert term.holds == made[term.joins](parts), term.text
    for part in term.parts:
        _agrees(part)


def test_each_name_says_what_has_its_value() -> None:
    """Without the event, what it alone has is open: so its names must be known."""
    of = {"c": "client", "e": "event", "t": "move"}
    for trigger, scope in plan("True").scopes.items():
        for name in scope.values():
            if name.reads is None and name.type.kind != "set":
                used = {node.id for node in ast.walk(ast.parse(name.code)) if isinstance(node, ast.Name)}
                assert [of[variable] for variable in sorted(used & of.keys())] == [name.of], (trigger, name)
