"""Rules that are not looked at on one event: conditions that become true, sequences, calendar times, maturities."""

import msgspec

from engine.core.client.sections import pack, unpack
from engine.core.firm_time import DAY_MS
from engine.core.plan.compile import Plan
from tests.core.making import HOUR_MS, Desk, at, balance, login, plan_of, profile, rule, trade

TEAM = {"audience": "team", "kind": "task", "cooldown": "1m"}
LOGINS = "  logins_7d: {source: logins, aggregate: count, window: 7d}\n"


def plan_with(*rules: str, features: str = LOGINS, definitions: str = "") -> Plan:
    return plan_of(*rules, features=features, tiers="segments: []\n", definitions=definitions)


def desk_with(*rules: str, **files: str) -> Desk:
    return Desk(plan_with(*rules, **files))


def take_rules(desk: Desk, *rules: str) -> None:
    """Another rule set is in force from now on."""
    packed = pack(desk.plan.layout, desk.client)
    desk.plan = plan_with(*rules)
    desk.states["c1"] = unpack(desk.plan.layout, packed)


def fired(published: list[dict]) -> list[tuple[str, str]]:
    return [(message["rule_id"], message["time"]) for message in published]


# -- becomes -----------------------------------------------------------------------------------------------------------


def test_it_fires_when_the_condition_becomes_true_and_not_again_while_it_stays_true():
    desk = desk_with(rule("rich", becomes="client.assets_cny > 1_000", **TEAM))
    assert fired(desk.take(balance(at(0), 1_000))) == []
    assert fired(desk.take(balance(at(1), 1_001), balance(at(2), 5_000), login(at(3)))) == [
        ("rich", "2026-02-17T04:00:00.000Z")
    ]
    assert fired(desk.take(balance(at(4), 10), balance(at(5), 2_000))) == [("rich", "2026-02-21T04:00:00.000Z")]


def test_true_from_the_first_event_counts_as_become_true():
    desk = desk_with(rule("known", becomes="client.days_known >= 0", **TEAM))
    assert fired(desk.take(login(at(0)))) == [("known", "2026-02-16T04:00:00.000Z")]


def test_it_must_stay_true_for_as_long_as_is_said():
    desk = desk_with(rule("rich", becomes="client.assets_cny > 1_000", **{"for": "3d"}, **TEAM))
    assert desk.take(balance(at(0), 2_000), balance(at(2), 500), balance(at(2.5), 2_000)) == []
    assert desk.client.due_ms == at(5.5)
    assert fired(desk.tick(at(30))) == [("rich", "2026-02-21T16:00:00.000Z")]
    assert desk.tick(at(60)) == []


def test_it_repeats_while_it_stays_true():
    desk = desk_with(rule("rich", becomes="client.assets_cny > 1_000", repeat_every="10d", **TEAM))
    published = desk.take(balance(at(0), 2_000))
    published += desk.tick(at(25))
    published += desk.take(balance(at(26), 0))
    assert [time[:10] for _, time in fired(published)] == ["2026-02-16", "2026-02-26", "2026-03-08"]
    assert desk.tick(at(90)) == []


def test_a_count_of_days_is_looked_at_on_the_day_it_reaches_the_threshold_and_on_no_other():
    desk = desk_with(rule("idle", becomes="client.days_since_login > 30 and known(client.assets_cny)", **TEAM))
    desk.take(login(at(0)), balance(at(1), 5))
    assert desk.client.due_ms == at(31)
    assert fired(desk.tick(at(100))) == [("idle", "2026-03-19T04:00:00.000Z")]
    assert desk.client.due_ms > at(10_000)
    assert fired(desk.take(login(at(101)))) == []
    assert fired(desk.tick(at(200))) == [("idle", "2026-06-28T04:00:00.000Z")]


def test_a_window_that_slides_makes_a_condition_true_at_midnight():
    desk = desk_with(rule("gone", becomes="logins_7d == 0", **TEAM))
    desk.take(login(at(0)), login(at(1)))
    assert fired(desk.tick(at(40))) == [("gone", "2026-02-23T16:00:00.000Z")]  # midnight in the firm's zone


def test_what_is_asked_of_the_last_event_means_the_one_before_it_on_its_own_topic_alone():
    parameters = "{days: client.days_since_login}"
    desk = desk_with(
        rule("on-login", on="logins", parameters=parameters, **TEAM),
        rule("on-trade", on="trades", parameters=parameters, **TEAM),
    )
    published = desk.take(login(at(0)), login(at(5)), trade(at(7)))
    assert [(m["rule_id"], m["parameters"]["days"]) for m in published] == [
        ("on-login", None),
        ("on-login", 5),
        ("on-trade", 2),
    ]


# -- sequences ---------------------------------------------------------------------------------------------------------

DEPOSIT = '{on: balances, when: balance.kind == "deposit"}'


def deposit(time_ms: int):
    return balance(time_ms, 500, kind="deposit", amount_fen=100)


IDLE = {
    "sequence": "{first: {on: balances, when: balance.kind == 'deposit'}, without: {on: trades}, within: 7d}",
    "parameters": "{amount_cny: balance.amount_cny, hour: balance.hour}",
}


def test_the_first_step_is_known_when_the_second_does_not_come():
    desk = desk_with(rule("idle-money", when="balance.amount_cny >= 500", **IDLE, **TEAM))
    desk.take(balance(at(0, 15), 9_000, kind="deposit", amount_fen=70_000))
    desk.take(balance(at(1), 9_900, kind="deposit", amount_fen=90_000))  # changes nothing while the wait lasts
    assert desk.client.first_steps == {"idle-money": {"amount_fen": 70_000}}  # what the rule reads, and no more
    take_again = unpack(desk.plan.layout, pack(desk.plan.layout, desk.client))
    desk.states["c1"] = take_again
    (told,) = desk.tick(at(8))
    assert told["parameters"] == {"amount_cny": "700.00", "hour": 15}
    assert told["why"]["balance.amount_cny"] == "700.00"
    assert not desk.client.first_steps


def test_a_first_step_for_which_the_condition_does_not_hold():
    desk = desk_with(rule("idle-money", when="balance.amount_cny >= 500", **IDLE, **TEAM))
    desk.take(balance(at(0), 9_000, kind="deposit", amount_fen=40_000))
    assert desk.tick(at(8)) == []


def test_a_second_step_forgets_the_first():
    desk = desk_with(rule("idle-money", **IDLE, **TEAM))
    desk.take(balance(at(0), 9_000, kind="deposit", amount_fen=70_000), trade(at(2)))
    assert not desk.client.first_steps
    assert desk.tick(at(8)) == []


def test_a_rule_that_asks_for_the_first_step_when_the_wait_had_begun():
    plain = {"sequence": IDLE["sequence"]}
    desk = desk_with(rule("idle-money", **plain, **TEAM))
    desk.take(balance(at(0), 9_000, kind="deposit", amount_fen=70_000))
    assert not desk.client.first_steps
    take_rules(desk, rule("idle-money", **IDLE, **TEAM))
    (told,) = desk.tick(at(8))
    assert told["parameters"] == {"amount_cny": None, "hour": 12}


def test_a_wait_ends_when_nothing_came_in_time():
    desk = desk_with(rule("idle-money", sequence=f"{{first: {DEPOSIT}, without: {{on: trades}}, within: 7d}}", **TEAM))
    desk.take(deposit(at(0)), deposit(at(3)))
    assert desk.client.due_ms == at(7)
    assert fired(desk.tick(at(20))) == [("idle-money", "2026-02-23T04:00:00.000Z")]
    assert desk.client.waits == {}
    assert desk.take(deposit(at(21)), trade(at(22))) == []
    assert desk.tick(at(60)) == []


def test_the_second_step_at_the_very_end_of_the_wait_is_too_late():
    desk = desk_with(rule("idle-money", sequence=f"{{first: {DEPOSIT}, without: {{on: trades}}, within: 7d}}", **TEAM))
    assert [rule_id for rule_id, _ in fired(desk.take(deposit(at(0)), trade(at(7))))] == ["idle-money"]


def test_a_second_step_in_time_fires_at_once_with_its_own_names():
    then = "{on: trades, when: trade.side == 'buy'}"
    desk = desk_with(
        rule(
            "put-to-work",
            sequence=f"{{first: {DEPOSIT}, then: {then}, within: 7d}}",
            when="trade.amount_cny >= 2",
            parameters="{symbol: trade.symbol}",
            **TEAM,
        )
    )
    published = desk.take(trade(at(0)), deposit(at(1)), deposit(at(6)), trade(at(7), side="sell"), trade(at(8), 200))
    assert [(m["time"], m["parameters"]) for m in published] == [("2026-02-24T04:00:00.000Z", {"symbol": "600000"})]
    assert desk.take(trade(at(9), 500)) == []  # the wait is over
    assert desk.take(deposit(at(20)), trade(at(21), 100), trade(at(22), 500)) == []  # looked at once, at its step
    assert desk.take(deposit(at(30)), trade(at(37), 500)) == []


def test_the_same_event_may_end_one_wait_and_begin_the_next():
    desk = desk_with(rule("twice", sequence="{first: {on: logins}, then: {on: logins}, within: 1h}", **TEAM))
    published = desk.take(login(at(0)), login(at(0) + HOUR_MS // 2), login(at(0) + HOUR_MS))
    assert len(published) == 2


# -- calendar times ----------------------------------------------------------------------------------------------------


def test_a_monthly_review_comes_each_month_once_though_ticks_are_late():
    desk = desk_with(rule("review", at='{every: month, day: 1, time: "09:00"}', **TEAM))
    desk.take(login(at(0)))
    published = desk.tick(at(80)) + desk.take(login(at(81))) + desk.tick(at(81))
    assert fired(published) == [
        ("review", "2026-03-01T01:00:00.000Z"),
        ("review", "2026-04-01T01:00:00.000Z"),
        ("review", "2026-05-01T01:00:00.000Z"),
    ]


def test_a_birthday_follows_the_profile():
    desk = desk_with(rule("birthday", at='{every: birthday, time: "09:00", before: 1d}', **TEAM))
    desk.take(login(at(0)))
    assert desk.client.due_ms > at(10_000)
    desk.take(profile(at(1), birth_date="1980-02-19"))
    assert desk.client.due_ms == at(2, hour=9)
    desk.take(profile(at(1.5), birth_date="1980-02-20"))
    assert fired(desk.tick(at(370))) == [
        ("birthday", "2026-02-19T01:00:00.000Z"),
        ("birthday", "2027-02-19T01:00:00.000Z"),
    ]


def test_each_holding_comes_to_its_term_unless_it_was_sold():
    desk = desk_with(
        rule(
            "term",
            at='{every: maturity, time: "10:00", before: 2d}',
            when="maturity.amount_cny >= 2",
            parameters="{symbol: maturity.symbol, amount_cny: maturity.amount_cny, days: maturity.days}",
            **{**TEAM, "audience": "advisor", "kind": "alert"},
        )
    )
    desk.take(
        trade(at(0), 500, symbol="B1", matures_on="2026-03-10"),
        trade(at(0), 300, symbol="A2", matures_on="2026-03-10"),
        trade(at(0), 400, symbol="C3", matures_on="2026-03-10"),
        trade(at(0), 100, symbol="small", matures_on="2026-03-11"),
        trade(at(-9), 900, symbol="past", matures_on="2026-02-15"),  # it comes late, when its term is over
        trade(at(1), 700, symbol="sold", matures_on="2026-03-20"),
        trade(at(2), 700, symbol="sold", side="sell"),
    )
    published = desk.tick(at(100))
    assert [(m["time"], m["parameters"]) for m in published[:1]] == [
        ("2026-03-08T02:00:00.000Z", {"symbol": "B1", "amount_cny": "5.00", "days": 2})
    ]
    assert [outcome for outcome in desk.outcomes if outcome[0] == "term"] == [
        ("term", "sent"),
        *[("term", "cooldown")] * 2,
    ]
    assert desk.client.due_ms > at(100) + 1000 * DAY_MS


def test_a_term_has_the_day_and_the_kind_of_product_that_is_missing_for_what_was_bought_before():
    """Version 1 of the section had no product."""
    values = "{product: maturity.product, day: maturity.date, bond: maturity.product == 'bond'}"
    desk = desk_with(rule("term", at='{every: maturity, time: "10:00", before: 2d}', parameters=values, **TEAM))
    desk.take(trade(at(0), 500, symbol="B1", product="bond", quantity=3, matures_on="2026-03-10"))
    old = msgspec.msgpack.decode(pack(desk.plan.layout, desk.client))
    old[2]["holdings"] = [1, {"h": [held[:4] for held in old[2]["holdings"][1]["h"]]}]
    before = unpack(desk.plan.layout, msgspec.msgpack.encode(old))
    assert before.holdings == [[*desk.client.holdings[0][:4], None]]
    desk.take(trade(at(1), 100, symbol="B1", product="bond", quantity=1, side="sell"))
    (published,) = desk.tick(at(100))
    assert published["parameters"] == {"product": "bond", "day": "2026-03-09T16:00:00.000Z", "bond": True}
    desk.states["c1"] = before
    (published,) = desk.tick(at(100))
    assert published["parameters"] == {"product": None, "day": "2026-03-09T16:00:00.000Z", "bond": False}


# -- rule sets that change -----------------------------------------------------------------------------------------

ON_LOGIN = rule("rich", on="logins", **TEAM)


def rich(**more: str) -> str:
    return rule("rich", becomes="client.assets_cny > 1_000", **more, **TEAM)


def test_a_condition_is_not_new_when_its_rule_was_away_and_comes_back():
    for meanwhile in ((), (ON_LOGIN,), (rule("other", becomes="logins_7d > 100", **TEAM),)):
        desk = desk_with(rich())
        assert fired(desk.take(balance(at(0), 2_000))) == [("rich", "2026-02-16T04:00:00.000Z")]
        take_rules(desk, *meanwhile)
        desk.take(balance(at(1), 0), balance(at(2), 3_000))
        take_rules(desk, rich())
        assert fired(desk.take(login(at(3)))) == []
        desk.take(balance(at(4), 0))
        assert fired(desk.take(balance(at(5), 2_000))) == [("rich", "2026-02-21T04:00:00.000Z")]


def test_a_rule_that_changes_keeps_what_it_knows():
    desk = desk_with(rich(**{"for": "5d"}))
    desk.take(balance(at(0), 2_000))
    take_rules(desk, rich(**{"for": "2d"}))
    assert desk.tick(at(4.5)) == []  # until an event or what was due before
    assert fired(desk.take(login(at(4.75)))) == [("rich", "2026-02-20T22:00:00.000Z")]
    take_rules(desk, rule("rich", becomes="client.assets_cny > 500", repeat_every="10d", **TEAM))
    assert fired(desk.take(login(at(6)))) == []
    assert fired(desk.tick(at(20))) == [("rich", "2026-03-02T22:00:00.000Z")]


def waiting(second: str, within: str) -> str:
    return rule("waits", sequence=f"{{first: {DEPOSIT}, {second}: {{on: trades}}, within: {within}}}", **TEAM)


def test_a_wait_goes_on_when_its_rule_was_away():
    for second, comes in (("without", []), ("then", [("waits", "2026-02-19T04:00:00.000Z")])):
        desk = desk_with(waiting(second, "7d"))
        desk.take(deposit(at(0)))
        take_rules(desk)
        take_rules(desk, waiting(second, "7d"))
        assert fired(desk.take(trade(at(3)))) == comes
        assert desk.tick(at(30)) == []
    desk = desk_with(waiting("without", "7d"))
    desk.take(deposit(at(0)))
    take_rules(desk)
    take_rules(desk, waiting("without", "7d"))
    assert fired(desk.tick(at(30))) == [("waits", "2026-02-23T04:00:00.000Z")]


def test_a_wait_that_may_have_missed_its_second_step_does_not_end_as_if_it_had_not_come():
    desk = desk_with(waiting("without", "7d"))
    desk.take(deposit(at(0)))
    take_rules(desk)
    desk.take(trade(at(1)))
    take_rules(desk, waiting("without", "7d"))
    assert desk.take(login(at(2))) == []
    assert desk.tick(at(30)) == []


def test_a_wait_that_was_made_shorter_ends_with_the_next_event_or_timer():
    desk = desk_with(waiting("then", "7d"))
    desk.take(deposit(at(0)))
    take_rules(desk, waiting("then", "2d"))
    assert desk.take(trade(at(3))) == []
    desk = desk_with(waiting("without", "7d"))
    desk.take(deposit(at(0)))
    take_rules(desk, waiting("without", "2d"))
    assert fired(desk.take(login(at(3)), login(at(4)))) == [("waits", "2026-02-19T04:00:00.001Z")]
