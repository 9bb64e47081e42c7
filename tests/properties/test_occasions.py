"""Rules that wait fire at the moments at which a slow model of docs/rules.md says so, and at no others."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.core.client.sections import pack, unpack
from engine.core.client.state import ClientState
from engine.core.contract.events import Complaint
from engine.core.decide.path import Due, Input, decide
from engine.core.firm_time import date_of_day, day_of
from engine.core.plan.compile import Plan
from tests.core.making import at, balance, event_of, login, plan_of, profile, rule, trade
from tests.properties.histories import quick
from tests.properties.occasions_model import DAY, HOUR, MINUTE, Fired, Model

FEATURES = """\
  assets_avg_cny_30d: {source: balances, aggregate: daily_mean, field: assets_cny, window: 3d}
  logins_3d: {source: logins, aggregate: count, window: 3d}
  failed_5h: {source: logins, aggregate: count, where: not login.success, window: 5h}
  sold_cny_2d: {source: trades, aggregate: sum, field: amount_cny, where: 'trade.side == "sell"', window: 2d}
  largest_cny_30h: {source: trades, aggregate: max, field: amount_cny, window: 30h}
  symbols_4d: {source: trades, aggregate: distinct, field: symbol, window: 4d}
  symbols_7h: {source: trades, aggregate: distinct, field: symbol, window: 7h}
  logins_month: {source: logins, aggregate: count, window: month}
  symbols_before: {source: trades, aggregate: distinct, field: symbol, window: previous_month}
  assets_before_cny: {source: balances, aggregate: daily_mean, field: assets_cny, window: previous_month}
  cash_last_cny: {source: balances, aggregate: last, field: cash_cny, window: 2d}
  trades_since_deposit: {source: trades, aggregate: count, since: {on: balances, when: 'balance.kind == "deposit"'}}
"""
TIERS = """\
individual:
  measure: assets_avg_cny_30d
  promote_after: 1d
  demote_after: 2d
  tiers:
    - {tier: A, enter: 1_000, exit: 900}
    - {tier: B}
segments: []
"""
DEFINITIONS = """\
tables:
  patience:
    hit: first
    unit: days
    rows:
      - {client.days_since_login: "2 .. 4", then: 1}
      - {client.tier: A, client.days_known: "> 3", then: 2}
    otherwise: 3
  sizes:
    hit: first
    on: trades
    rows: [{trade.side: sell, client.days_known: "> 1", then: 1}]
    otherwise: 2
define:
  sells: {is: trade.side == "sell" and sizes == 1, on: trades, description: D.}
  quiet: {is: client.days_since_trade >= 2 and not client.days_since_login == 1, description: D.}
  absence: {is: client.days_since_login, description: D.}
  restless: {is: failed_5h > 0 or (quiet and symbols_4d > 1), description: D.}
"""
complaint_ids = itertools.count()
VALUES = plan_of(features=FEATURES, tiers=TIERS, definitions=DEFINITIONS)

# -- conditions ------------------------------------------------------------------------------------------------------

days = st.sampled_from(
    ["client.days_since_login", "client.days_since_trade", "client.days_since_balance", "client.days_known",
     "client.days_in_tier", "client.oldest_complaint_days", "absence", "patience"]
)  # fmt: skip
small = st.sampled_from(["0", "1", "2", "3", "5", "2.5", "-1"])
compare = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
counts = st.sampled_from(["logins_3d", "failed_5h", "symbols_4d", "symbols_7h", "logins_month", "symbols_before",
                          "trades_since_deposit", "client.open_complaints"])  # fmt: skip
money = st.sampled_from(["sold_cny_2d", "largest_cny_30h", "assets_before_cny", "cash_last_cny", "assets_avg_cny_30d",
                         "client.cash_cny"])  # fmt: skip
tests = st.sampled_from(['client.tier == "A"', "logins_3d > 1", "client.days_known < 4", "known(client.days_in_tier)",
                         "quiet", "restless", 'client.region == "west"'])  # fmt: skip


def filled(form: str, *parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*parts).map(lambda given: form.format(*given))


windows = filled("{} {} {}", counts, compare, small)
atoms = st.one_of(
    windows,  # listed often: they are many
    windows,
    windows,
    filled("{} {} {}", days, compare, small),
    filled("{} {} {}", small, compare, days),
    filled("{} < {} <= {}", small, days, small),
    filled("{} > {} != {}", small, days, small),
    filled("{} in ({}, {})", days, small, small),
    filled("{} not in ({}, {})", days, small, small),
    filled("{} {} {}", days, compare, days),
    filled("{} <= {} <= {}", days, days, small),
    filled("{} - {} {} {}", days, days, compare, small),
    filled("{} / 2 {} {}", days, compare, small),
    filled("-{} {} -{}", days, compare, days),
    filled("{} {} min({}, 3)", days, compare, days),
    filled("({} if {} else {}) {} {}", days, tests, days, compare, small),
    filled("{} {} (2 if {} else 3)", days, compare, tests),
    filled("({} >= 2 if {} else {} < 3)", days, tests, days),
    filled("known({})", days),
    filled("{} {} {}", counts, compare, counts),
    filled("{} {} {}", money, compare, st.sampled_from(["0", "500", "1_000"])),
    filled("{} {} {}", money, compare, money),
    filled("known({})", money),
    tests,
)
conditions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        filled("({} and {})", inner, inner),
        filled("({} or {})", inner, inner),
        filled("not {}", inner),
        filled("({} if {} else {})", inner, inner, inner),
    ),
    max_leaves=4,
)

# -- rules -----------------------------------------------------------------------------------------------------------

TOPICS = ("profiles", "balances", "logins", "trades")
steps = st.sampled_from(
    ["{on: logins}", "{on: trades}", "{on: profiles}", "{on: balances}", '{on: trades, when: trade.side == "sell"}',
     '{on: logins, when: login.success and client.days_since_login >= 1}',
     '{on: balances, when: balance.kind == "deposit" and logins_3d > 0}']
)  # fmt: skip
lengths = st.sampled_from(["1m", "90m", "1h", "5h", "24h", "1d", "30h", "3d"])
repeats = st.none() | st.sampled_from(["1h", "90m", "24h", "2d"])
times = st.sampled_from(["00:00", "09:00", "12:00", "23:59"])
calendars = st.one_of(
    filled("every: day, time: '{}'", times),
    filled("every: {}, time: '{}'", st.sampled_from(["trading_day", "working_day"]), times),
    filled("every: week, day: {}, time: '{}'", st.sampled_from(["mon", "thu", "sun"]), times),
    filled("every: month, day: {}, time: '{}'", st.sampled_from(["1", "28", "31"]), times),
    filled("every: quarter, day: {}, time: '{}'", st.sampled_from(["1", "31"]), times),
    filled("every: year, month: 2, day: {}, time: '{}'", st.sampled_from(["20", "30"]), times),
    filled("every: birthday, before: {}d, time: '{}'", st.sampled_from(["0", "2", "40"]), times),
)
CALENDAR = """\
calendar:
  title: Ends between the two times at which histories begin
  first_day: 2026-02-17
  last_day: 2026-12-31
  holidays: [2026-02-18, 2026-02-20, 2026-02-22, 2026-02-23, 2026-03-02]
  closed: [2026-02-19]
  workdays: [2026-02-21, 2026-03-01]
"""
TEAM = {"audience": "team", "kind": "task", "cooldown": "1m"}


@st.composite
def rules(draw: st.DrawFn, name: str) -> str:
    kind = draw(
        st.sampled_from(
            [
                "becomes",
                "becomes",
                "becomes",
                "silence",
                "sequence",
                "sequence",
                "at",
                "maturity",
                "unanswered",
                "unanswered",
                "item",
            ]
        )
    )
    fields: dict[str, Any] = {"when": draw(conditions)} if draw(st.booleans()) and kind != "becomes" else {}
    if kind == "becomes":
        fields = {"becomes": draw(conditions), "repeat_every": draw(repeats), "for": draw(st.none() | lengths)}
    elif kind == "silence":
        fields["silence"] = f"{{of: {draw(st.sampled_from(TOPICS[1:]))}, for: {draw(st.integers(1, 3))}d}}"
    elif kind == "sequence":
        second = draw(st.sampled_from(["then", "without"]))
        fields["sequence"] = f"{{first: {draw(steps)}, {second}: {draw(steps)}, within: {draw(lengths)}}}"
    elif kind == "unanswered":
        fields["unanswered"] = f"{{of: complaint, for: {draw(lengths)}}}"
        asked = st.sampled_from(["item.days >= 1", 'item.id == "k1"', "client.open_complaints < 2"])
        fields |= {"when": draw(asked)} if draw(st.booleans()) else {}
    elif kind == "item":
        asked = st.sampled_from(['item.step == "closed"', "item.days >= 1", "client.open_complaints < 2"])
        fields = {"on": "item", "when": f'item.kind == "complaint" and {draw(asked)}'}  # the model sends no actions
    elif kind == "maturity":
        days_before = draw(st.sampled_from([0, 1, 3]))
        fields["at"] = f"{{every: maturity, before: {days_before}d, time: '{draw(times)}'}}"
        fields |= {"when": "maturity.amount_cny > 1"} if draw(st.booleans()) else {}
    else:
        fields["at"] = f"{{{draw(calendars)}}}"
    for key in fields.keys() & {"becomes", "when"}:
        fields[key] = f"'{fields[key]}'"
    return rule(name, **fields, **TEAM)


@st.composite
def rule_sets(draw: st.DrawFn, most: int = 6) -> tuple[str, ...]:
    return tuple(draw(rules(f"r{number}")) for number in range(draw(st.integers(1, most))))


def complaint(time_ms: int, **fields: Any) -> Input:
    return "complaints", Complaint(event_id=f"k{next(complaint_ids)}", client_id="c1", time=time_ms, **fields)


# -- histories -------------------------------------------------------------------------------------------------------

STARTS = (at(0), at(0, hour=0), at(0, hour=23.75), at(12.5), at(742, hour=9))  # the last: 2028-02-28
gaps = st.sampled_from([0, 1, MINUTE, HOUR - 1, HOUR, 2 * HOUR, 5 * HOUR, 12 * HOUR, DAY - 1, DAY, DAY + 1, 2 * DAY,
                        3 * DAY, 3 * DAY + HOUR, 5 * DAY])  # fmt: skip
late = st.sampled_from([0] * 6 + [1, HOUR, DAY, 4 * DAY])
SYMBOLS, SIDES = st.sampled_from(["600000", "000001"]), st.sampled_from(["buy", "buy", "sell"])
ASSETS_CNY = st.sampled_from([0, 500, 950, 1_000, 4_000])
doings = st.one_of(
    st.tuples(st.just(login), st.fixed_dictionaries({"success": st.booleans()})),
    st.tuples(
        st.just(trade),
        st.fixed_dictionaries(
            {"symbol": SYMBOLS, "side": SIDES, "amount_fen": st.sampled_from([100, 80_000])},
            optional={"matures_on": st.sampled_from(["2026-02-16", "2026-02-20", "2026-03-01", "2028-03-01"])},
        ),
    ),
    st.tuples(
        st.just(balance),
        st.fixed_dictionaries(
            {"assets_cny": ASSETS_CNY, "kind": st.sampled_from(["snapshot", "deposit"])},
            optional={"cash_fen": st.sampled_from([0, 60_000])},
        ),
    ),
    st.tuples(
        st.just(complaint),
        st.fixed_dictionaries(
            {"complaint_id": st.sampled_from(["k1", "k2"]),
             "status": st.sampled_from(["opened", "opened", "answered", "resolved", "reopened", "withdrawn"])}
        ),
    ),
    st.tuples(
        st.just(profile),
        st.fixed_dictionaries(
            {}, optional={"region": st.sampled_from(["west", "east"]), "type": st.sampled_from(["individual", "qfii"]),
                          "birth_date": st.sampled_from(["1980-02-29", "1980-02-20", "1980-03-31"])}
        ),
    ),
)  # fmt: skip


@st.composite
def lives(draw: st.DrawFn, most: int = 12) -> tuple[list[Input], int]:
    """One client's events, and a time some days after the last."""
    now_ms = draw(st.sampled_from(STARTS))
    history = []
    least = draw(st.sampled_from([1, most // 2]))  # lists are short unless asked for
    for gap, behind, (make, fields) in draw(st.lists(st.tuples(gaps, late, doings), min_size=least, max_size=most)):
        now_ms += gap
        if fields.get("matures_on", "") < date_of_day(day_of(now_ms - behind)).isoformat():  # nobody buys what is over
            fields = {field: value for field, value in fields.items() if field != "matures_on"}
        history.append(make(now_ms - behind, **fields))
    return history, now_ms + draw(st.sampled_from([0, DAY, 8 * DAY]))


# -- the engine ------------------------------------------------------------------------------------------------------


def plan_with(*given_rules: str) -> Plan:
    return plan_of(*given_rules, features=FEATURES, tiers=TIERS, definitions=DEFINITIONS, calendar=CALENDAR)


def looks(plan: Plan, states: dict[str, ClientState], item: Input | None, until_ms: int) -> Fired:
    """Each rule that fires when time passes up to `until_ms` and then the event comes, before the contact policy."""
    fired: Fired = []

    def take(given: Input) -> None:
        for (rule_id, _), times_ in decide(plan, states, [given]).outcomes.items():
            fired.extend([(rule_id, states["c1"].now_ms)] * times_)

    while "c1" in states and states["c1"].due_ms <= until_ms:
        take(Due("c1", states["c1"].due_ms))
    if item is not None:
        take(item)
    return fired


def in_order(fired: Fired) -> Fired:
    return sorted(fired, key=lambda pair: (pair[1], pair[0]))


@quick(70)
@given(given_rules=rule_sets(), lives_=st.lists(lives(), min_size=1, max_size=4), store=st.booleans())
def test_rules_that_wait_fire_when_the_model_says(given_rules, lives_, store):
    plan = plan_with(*given_rules)
    for history, end_ms in lives_:
        states: dict[str, ClientState] = {}
        fired: Fired = []
        for item in history:
            fired += looks(plan, states, item, event_of(item).time)
            if store:
                states["c1"] = unpack(plan.layout, pack(plan.layout, states["c1"]))
        fired += looks(plan, states, None, end_ms)
        assert in_order(fired) == in_order(Model(plan, VALUES).run(history, end_ms))


@quick(30)
@given(given_rules=rule_sets(4), others=st.lists(rules("other"), min_size=1, max_size=2), life=lives(), data=st.data())
def test_rules_that_come_and_go_beside_them_change_nothing(given_rules, others, life, data):
    """A rule set with one more rule, another, or none is taken between events, as a worker does it."""
    history, end_ms = life
    features = FEATURES + "  a_logins_1d: {source: logins, aggregate: count, window: 1d}\n"
    plans = [plan_with(*given_rules), *(plan_with(other, *given_rules) for other in others)]
    plans.append(plan_of(*given_rules, features=features, tiers=TIERS, definitions=DEFINITIONS, calendar=CALENDAR))
    states: dict[str, ClientState] = {}
    fired: Fired = []
    plan = plans[0]
    for item in [*history, None]:
        time_ms = event_of(item).time if item is not None else end_ms
        between_ms = data.draw(st.sampled_from([0, 0, HOUR, DAY]))
        if states:
            fired += looks(plan, states, None, time_ms - between_ms)
            packed = pack(plan.layout, states["c1"])
            plan = data.draw(st.sampled_from(plans))
            states["c1"] = unpack(plan.layout, packed)
        fired += looks(plan, states, item, time_ms)
    kept = [pair for pair in fired if pair[0] != "other"]
    assert in_order(kept) == in_order(Model(plans[0], VALUES).run(history, end_ms))
