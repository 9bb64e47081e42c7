"""Clients are woken at the moments at which something can change for them, and at no others."""

from engine.core.firm_time import DAY_MS, NEVER_MS
from engine.core.plan.compile import compile_rule_set
from engine.core.plan.sensitivity import Watch
from engine.core.rules.ruleset import RuleSet
from engine.rulefile.read.load import load
from tests.core.making import Desk, at, balance, login, plan_of, profile, rule, shipped_plan, trade
from tests.core.test_timers import LOGINS, TEAM, desk_with, fired

NEVER = at(100_000)
DEFINITIONS = """\
tables:
  patience:
    hit: first
    rows: [{client.days_since_login: "5 .. 9", then: 1}]
    otherwise: 2
define:
  is_fund: {is: 'known(client.type) and client.type != "individual"', description: D.}
"""


def test_windows_wake_only_for_conditions_that_read_them_and_can_hold():
    features = LOGINS + "  trades_7d: {source: trades, aggregate: count, where: trade.side == 'sell', window: 7d}\n"
    active = rule("active", becomes='client.type == "qfii" and trades_7d == 0', **TEAM)
    desk = desk_with(active, features=features)
    desk.take(login(at(0)), trade(at(0), side="sell"))
    assert desk.client.due_ms > NEVER
    desk.take(profile(at(1), type="qfii"))
    assert desk.client.due_ms == at(7, hour=0)
    desk.tick(at(8))
    desk.take(login(at(8)), trade(at(8), side="buy"))  # neither is counted
    assert desk.client.due_ms > NEVER


def test_a_mean_that_stays_wakes_nobody():
    features = "  mean_cny_3d: {source: balances, aggregate: daily_mean, field: assets_cny, window: 3d}\n"
    desk = desk_with(rule("rich", becomes="mean_cny_3d >= 1_000", **TEAM), features=features)
    desk.take(balance(at(0), 500))
    assert desk.client.due_ms == at(1, hour=0)
    desk.tick(at(1))
    assert desk.client.due_ms > NEVER
    desk.take(balance(at(5), 2_000))
    woken = []
    while desk.client.due_ms < NEVER:
        woken.append(round((desk.client.due_ms - at(0, hour=0)) / DAY_MS))
        desk.tick(desk.client.due_ms)
    assert woken == [6, 7, 8]  # on the last of them its three days have the same balance


def test_each_condition_is_woken_by_its_own_windows():
    features = LOGINS + "  trades_3d: {source: trades, aggregate: count, window: 3d}\n"
    desk = desk_with(
        rule("rest", becomes='client.type == "qfii" and trades_3d == 0', **TEAM),
        rule("away", becomes="logins_7d == 0", **TEAM),
        features=features,
    )
    desk.take(login(at(0)), trade(at(0)))
    assert desk.client.due_ms == at(7, hour=0)
    desk.take(profile(at(0), type="qfii"))
    assert desk.client.due_ms == at(3, hour=0)
    assert fired(desk.tick(at(3))) == [("rest", "2026-02-18T16:00:00.000Z")]
    assert desk.client.due_ms == at(7, hour=0)


def test_what_was_done_wakes_only_where_it_makes_a_condition_another():
    features = "  done_2d: {source: actions, aggregate: count, window: 2d}\n"
    desk = desk_with(
        rule("each", on="logins", when="client.days_known >= 0", **TEAM),
        rule("often", becomes="done_2d >= 3", **TEAM),
        features=features,
    )
    desk.take(login(at(0)), login(at(0, hour=14)))
    assert desk.client.due_ms == at(2, hour=0)  # two of them
    assert fired(desk.take(login(at(0, hour=15)))) == [("each", "2026-02-16T07:00:00.000Z")]
    assert desk.client.due_ms == at(0, hour=16)
    assert fired(desk.tick(at(1))) == [("often", "2026-02-16T08:00:00.000Z")]


def test_calendar_times_wake_only_clients_whom_the_rule_can_concern():
    desk = desk_with(
        rule("fund", at='{every: day, time: "09:00"}', when="is_fund and client.days_known >= 3", **TEAM),
        rule("region", at='{every: day, time: "10:00"}', when='client.region == "west" or logins_7d > 5', **TEAM),
        definitions=DEFINITIONS,
    )
    desk.take(profile(at(0)))
    assert desk.client.due_ms == at(1, hour=10)
    desk.take(profile(at(0), type="qfii"))
    assert desk.client.due_ms == at(1, hour=9)
    assert desk.tick(at(3)) == []
    assert fired(desk.tick(at(4))) == [("fund", "2026-02-20T01:00:00.000Z")]


def test_a_score_is_taken_anew_at_a_calendar_time():
    tiers = "segments: []\nvalue_score: 5 - logins_7d\n"
    quiet = rule("quiet", at='{every: day, time: "09:00"}', when="client.value_score >= 5", **TEAM)
    desk = Desk(plan_of(quiet, features=LOGINS, tiers=tiers))
    desk.take(login(at(0)))
    assert fired(desk.tick(at(7))) == [("quiet", "2026-02-23T01:00:00.000Z")]


def test_counts_of_days_wake_at_the_numbers_at_which_the_answer_changes():
    for condition, days in (
        ("client.days_since_login >= 5", [5]),
        ("5 > client.days_since_login", [5]),
        ("client.days_since_login <= 4.5", [5]),
        ("client.days_since_login == 5", [5, 6]),
        ("1 < client.days_since_login < 5", [2, 5]),
        ("client.days_since_login in (2, 3)", [2, 3, 4]),
        ("not known(client.days_since_login)", []),
        ("patience == 1", [5, 9]),
        ("client.days_since_login == 2.5", [3]),
        ("client.days_since_login >= 2.5", [3]),
    ):
        desk = desk_with(rule("idle", becomes=condition, **TEAM), definitions=DEFINITIONS)
        desk.take(login(at(0)))
        woken = []
        while desk.client.due_ms < NEVER:
            woken.append((desk.client.due_ms - at(0)) // DAY_MS)
            desk.tick(desk.client.due_ms)
        assert woken == days, condition


def test_a_client_of_whom_only_trades_are_known_is_woken_by_no_shipped_rule():
    """So that records of the past, played to a running engine, are decided as a replay of the file decides them."""
    files = {name: text for name, text in shipped_plan().rule_set.files if name not in ("portrait.yaml", "stages.yaml")}
    rule_set = load(files)  # a portrait counts days since trades
    assert isinstance(rule_set, RuleSet)
    desk = Desk(compile_rule_set(rule_set))
    for day in range(40):
        desk.take(trade(at(day), 5_000_000, symbol="600519", side="sell" if day % 3 else "buy"))
        assert desk.client.due_ms == NEVER_MS


def test_a_segment_beside_a_portrait_changes_with_time_alone():
    tiers = "segments: [{id: active, when: logins_7d >= 1}, {id: resting, when: client.days_since_login >= 10}]\n"
    portrait = "portrait:\n  money: {is: client.assets_cny, description: D.}\n"
    for given, moments in (({}, []), ({"portrait": portrait}, [(at(7, hour=0), None), (at(10), "resting")])):
        desk = Desk(plan_of(features=LOGINS, tiers=tiers, **given))
        desk.take(login(at(0)))
        assert desk.client.segment == "active"
        found = []
        while (due_ms := desk.client.due_ms) < NEVER:
            desk.tick(due_ms)
            found.append((due_ms, desk.client.segment))
        assert found == moments


def test_what_waits_for_all_of_a_feature_is_evaluated_daily_while_a_part_of_its_past_is_missing():
    desk = desk_with(rule("away", on="logins", when="logins_7d == 0", **TEAM))
    reach = desk.plan.reaches["logins_7d"]
    watch = Watch((), (), by_actions=False, needs=(reach,))
    desk.take(login(at(0)))
    assert watch.next_ms(desk.plan.layout, desk.client) == NEVER_MS
    desk.client.activities["logins"].known_from(str(reach.places[0]), desk.client.day + 1)
    assert watch.next_ms(desk.plan.layout, desk.client) == at(1, hour=0)
    desk.take(login(at(3)))
    assert watch.next_ms(desk.plan.layout, desk.client) == at(4, hour=0)
    desk.take(login(at(8)))
    assert watch.next_ms(desk.plan.layout, desk.client) == NEVER_MS
