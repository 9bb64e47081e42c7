"""What a client is told at once, and what is noted for later, when rules that need no event are new."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.client.sections import pack, unpack
from engine.core.client.state import ClientState
from engine.core.decide.path import Due, Sweep, decide
from engine.core.plan.compile import Plan
from tests.core.making import FEATURES, HOUR_MS, TIERS, Desk, at, balance, login, plan_of, profile, rule, trade
from tests.properties.histories import histories, quick

TEAM = {"audience": "team", "kind": "task", "cooldown": "1m"}
NOTHING = plan_of()
SILENT = plan_of(rule("silent", silence="{of: logins, for: 30d}", **TEAM))


def under(desk: Desk, plan: Plan) -> None:
    """Another rule set is in force from now on."""
    desk.states = {c: unpack(plan.layout, pack(desk.plan.layout, client)) for c, client in desk.states.items()}
    desk.plan = plan


def swept(plan: Plan, *inputs, before: Plan = NOTHING, at_ms: int) -> tuple[Desk, list[tuple[str, str]]]:
    """A client of the rules `before`, looked at under `plan`; what was published then."""
    desk = Desk(before)
    desk.take(*inputs)
    under(desk, plan)
    return desk, [(message.get("rule_id", message["topic"]), message["time"]) for message in desk.sweep(at_ms)]


def test_who_has_been_silent_for_long_is_told_now_and_once():
    desk, told = swept(SILENT, login(at(0)), at_ms=at(45))
    assert told == [("silent", "2026-04-02T04:00:00.000Z")]
    assert desk.sweep(at(46)) == desk.tick(at(90)) == []


def test_who_is_not_silent_yet_will_be_in_time():
    desk, told = swept(SILENT, login(at(0)), at_ms=at(20))
    assert (told, desk.client.due_ms, desk.client.now_ms) == ([], at(30), at(0))  # only when to look was noted
    assert [message["time"] for message in desk.tick(at(31))] == ["2026-03-18T04:00:00.000Z"]


def test_what_holds_has_become_true_now():
    plan = plan_of(rule("rich", becomes="client.assets_cny > 1_000", **TEAM))
    assert swept(plan, balance(at(0), 2_000), at_ms=at(3))[1] == [("rich", "2026-02-19T04:00:00.000Z")]
    assert swept(plan, balance(at(0), 500), at_ms=at(3))[1] == []


def test_another_score_reaches_clients_who_do_nothing():
    worthy = rule("worthy", becomes="client.value_score >= 50", **TEAM)
    scored = [
        plan_of(worthy, tiers=f"{TIERS}value_score: client.assets_cny / cny({n})\n") for n in ("1_000_000", "10_000")
    ]
    told = swept(scored[1], balance(at(0), 600_000), before=scored[0], at_ms=at(3))[1]
    assert told == [("worthy", "2026-02-19T04:00:00.000Z")]


def test_what_must_hold_for_long_is_held_from_now_on():
    plan = plan_of(rule("rich", becomes="client.assets_cny > 1_000", **{"for": "3d"}, **TEAM))
    desk, told = swept(plan, balance(at(0), 2_000), at_ms=at(10))
    assert (told, desk.client.due_ms) == ([], at(13))
    assert len(desk.tick(at(14))) == 1


def test_other_tiers_move_clients_who_do_nothing():
    lower = plan_of(tiers=TIERS.replace("300_000, exit: 270_000", "100_000, exit: 90_000"))
    desk, told = swept(lower, profile(at(0)), balance(at(0), 200_000), at_ms=at(5))
    assert (desk.tier, told) == ("B", [("tier-changes", "2026-02-21T04:00:00.000Z")])


def test_other_segments():
    labelled = plan_of(tiers=TIERS + "segments:\n  - {id: wealthy, when: client.assets_cny > 1_000}\n")
    desk, told = swept(labelled, balance(at(0), 2_000), at_ms=at(5))
    assert (desk.client.segment, told) == ("wealthy", [])


def test_a_calendar_time_comes_once_though_the_sweep_comes_at_that_moment():
    morning = plan_of(rule("morning", at='{every: day, time: "09:00"}', **TEAM))
    desk = Desk(morning)
    desk.take(login(at(0, 8)))
    assert len(desk.tick(at(0, 9))) == 1
    assert desk.sweep(at(0, 9)) == []
    desk, told = swept(morning, login(at(0, 8)), at_ms=at(0, 9))
    assert (told, desk.client.due_ms) == ([("morning", "2026-02-16T01:00:00.000Z")], at(1, 9))


def test_what_fell_due_before_comes_first_and_at_its_own_time():
    desk = Desk(SILENT)
    desk.take(login(at(0)))
    assert [message["time"] for message in desk.sweep(at(45))] == ["2026-03-18T04:00:00.000Z"]


def test_an_unknown_client_and_one_for_whom_nothing_is_new_stay_as_they_are():
    desk = Desk(SILENT)
    desk.take(login(at(0)))
    before = pack(desk.plan.layout, desk.client)
    decided = decide(desk.plan, desk.states, [Sweep("nobody", at(9)), Sweep("c1", at(9))])
    assert (decided.changed, decided.messages, list(desk.states)) == ({}, [], ["c1"])
    assert pack(desk.plan.layout, desk.client) == before


# -- when a sweep is asked for -------------------------------------------------------------------------

TIMED = rule("idle", becomes="client.days_since_trade >= 3", **TEAM)


@pytest.mark.parametrize(
    ("plan", "asked"),
    [
        (plan_of(TIMED, rule("hello")), False),  # looked at on events
        (plan_of(rule("idle", becomes="client.days_since_trade >= 3", title="Other", **TEAM)), False),
        (plan_of(TIMED, features=FEATURES.replace("30d}", '30d, description: "The mean."}')), False),
        (plan_of(TIMED, daily_cap=1), False),
        (plan_of(rule("idle", becomes="client.days_since_trade >= 4", **TEAM)), True),
        (plan_of(rule("other", becomes="client.days_since_trade >= 3", **TEAM)), True),
        (plan_of(TIMED, rule("silent", silence="{of: logins, for: 3d}", **TEAM)), True),
        (plan_of(TIMED, rule("monthly", at='{every: month, day: 1, time: "09:00"}', **TEAM)), True),
        (plan_of(TIMED, tiers=TIERS.replace("1_000_000", "2_000_000")), True),
        (plan_of(TIMED, features=FEATURES.replace("daily_mean", "max")), True),
        (plan_of(TIMED, tiers=TIERS + "value_score: client.assets_cny / cny(10_000)\n"), True),
        (plan_of(TIMED, policy="urgent_from: 80"), False),
        (plan_of(TIMED, definitions="define: {busy: {is: client.days_since_trade > 3}}\n"), True),
    ],
)
def test_only_what_needs_no_event_asks_for_it(plan: Plan, asked: bool):
    assert (plan.timed.digest != plan_of(TIMED).timed.digest) == asked


# -- any history ------------------------------------------------------------------------------------------------------

MANY_FEATURES = FEATURES + "  trades_7d: {source: trades, aggregate: count, window: 7d}\n"
MANY = plan_of(
    rule("silent", silence="{of: logins, for: 5d}", **TEAM),
    rule("idle", becomes="client.days_since_trade >= 3 and trades_7d >= 1", **{"for": "6h"}, **TEAM),
    rule("rich", becomes="client.assets_cny > 300_000", repeat_every="10d", **TEAM),
    rule("monthly", at='{every: month, day: 1, time: "09:00"}', when='client.tier == "A"', **TEAM),
    rule(
        "unused", sequence="{first: {on: balances}, without: {on: trades}, within: 3d}", **TEAM
    ),
    features=MANY_FEATURES,
)  # fmt: skip


@quick(120)
@given(histories(), st.integers(0, 60 * 24), st.integers(0, 40 * 24))
def test_a_sweep_does_it_once_and_for_all(history, after_h: int, later_h: int):
    """After it, time alone brings the same as if the client were looked at again and again."""
    states: dict[str, ClientState] = {}
    decide(NOTHING, states, history)
    states = {c: unpack(MANY.layout, pack(NOTHING.layout, client)) for c, client in states.items()}
    now_ms = max((client.now_ms for client in states.values()), default=0) + after_h * HOUR_MS
    decide(MANY, states, [Sweep(client_id, now_ms) for client_id in states])
    again = decide(MANY, states, [Sweep(client_id, now_ms) for client_id in states])
    assert (again.messages, again.changed) == ([], {})
    assert all(client.due_ms > now_ms for client in states.values())
    later_ms = now_ms + later_h * HOUR_MS
    decide(MANY, states, [Due(client_id, later_ms) for client_id in states])
    assert decide(MANY, states, [Sweep(client_id, later_ms) for client_id in states]).messages == []


def test_trades_of_the_past_are_not_moved_to_the_present():
    """A client of whom only trades are known stays at the time of its last one."""
    desk, told = swept(SILENT, trade(at(0)), trade(at(1)), at_ms=at(300))
    assert (told, desk.client.now_ms) == ([], at(1))


def test_another_segment_does_not_move_the_clients_time():
    """Events of before the sweep that come after it count at their own time."""
    labelled = plan_of(tiers=TIERS + "segments:\n  - {id: trader, when: trades_7d >= 1}\n", features=MANY_FEATURES)
    desk, _ = swept(labelled, trade(at(0)), trade(at(1)), before=plan_of(features=MANY_FEATURES), at_ms=at(3))
    assert (desk.client.segment, desk.client.now_ms, desk.client.sequence) == ("trader", at(1), 2)
