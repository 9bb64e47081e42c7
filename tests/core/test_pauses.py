"""Paused rules: what they would do waits, ends once, and is judged anew when a person ends the pause."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine.core.client.sections import pack, unpack
from engine.core.decide.path import decide
from engine.core.firm_time import NEVER_MS
from engine.core.plan.compile import Plan, compile_rule_set
from engine.core.policy.gates import Hold, Suppress, judge
from engine.core.policy.holding import MAX_PAUSED, spread_ms
from engine.core.policy.match import Match
from engine.core.rules.occasion import on
from engine.core.rules.policy import Pause, Resumption
from engine.rulefile.tools.diff import differences
from engine.rulefile.tools.effects import effects
from engine.rulefile.trial.run import run_tests
from tests.core.making import HOUR_MS, Desk, at, login, plan_of, profile, published, rule, trade

RULES = (
    rule("r", expires="6h"),
    rule("team", audience="team", kind="alert", when="login.channel == 'app'"),
    rule("other", on="trades"),
)
SINCE = at(1, 10)
PAUSED = (Pause("r", SINCE, "breaker", "12,000 actions in a minute"), Pause("team", SINCE, "ann", "too many"))


def with_pauses(plan: Plan, paused: tuple[Pause, ...] = (), resumed: tuple[Resumption, ...] = ()) -> Plan:
    return compile_rule_set(replace(plan.rule_set, paused=paused, resumed=resumed))


def plan_with(paused: tuple[Pause, ...] = (), resumed: tuple[Resumption, ...] = (), policy: str = "") -> Plan:
    declared = "contact: {daily_cap: 100}\n" + policy
    return with_pauses(plan_of(*RULES, others=(("policy.yaml", declared),)), paused, resumed)


def paused_desk(policy: str = "") -> Desk:
    desk = Desk(plan_with(PAUSED, policy=policy))
    desk.take(profile(at(0, hour=0)))
    return desk


def resumed(at_ms: int, dropped_ms: int = 0) -> tuple[Resumption, ...]:
    return tuple(Resumption(rule, at_ms, "bob", "mended", dropped_ms) for rule in ("r", "team"))


def verdicts(desk: Desk) -> list[tuple[str, str]]:
    found, desk.outcomes = sorted(desk.outcomes), []
    return found


def sent(messages: list[dict[str, Any]]) -> list[str]:
    return [m["rule_id"] for m in messages if m["topic"] != "tier-changes"]


def test_a_paused_rule_holds_what_is_due_and_others_go_on():
    desk = paused_desk()
    assert sent(desk.take(login(at(1)), trade(at(1, 13)))) == ["other"]
    assert verdicts(desk) == [("other", "sent"), ("r", "held"), ("team", "held")]
    assert desk.client.due_ms == at(1, 18)  # when the first of them expires
    assert "r" not in desk.client.acted


def test_what_a_pause_held_ends_as_expired_if_nobody_resumes_it():
    desk = paused_desk()
    desk.take(login(at(1)))
    verdicts(desk)
    assert sent(desk.tick_all(at(3))) == []
    assert verdicts(desk) == [("r", "expired"), ("team", "expired")]
    assert desk.client.waiting == []
    assert desk.client.due_ms == NEVER_MS


def test_a_sweep_releases_what_was_held_once_it_is_resumed():
    desk = paused_desk()
    login_ = login(at(1))
    desk.take(login_)
    desk.plan = plan_with(resumed=resumed(at(1, 13)))
    messages = desk.sweep(at(1, 13) + 5_000)
    assert sorted(sent(messages)) == ["r", "team"]
    assert {m["cause"]["event_id"] for m in messages} == {login_[1].event_id}
    assert desk.client.waiting == []
    assert sent(desk.sweep(at(1, 14)) + desk.tick_all(at(4))) == []  # once
    verdicts(desk)
    assert sent(desk.take(login(at(1, 15)))) == ["r", "team"]


def test_what_is_released_is_judged_anew_and_spread():
    policy = "caps: {one: {at_most: 1, per: day, of: {rule: [r, other]}}}\nrelease_over: 2h\n"
    desk = paused_desk(policy)
    desk.take(login(at(1)), trade(at(1, 13)))
    desk.plan = plan_with(resumed=resumed(at(1, 13.5)), policy=policy)
    share_ms = spread_ms(desk.plan, desk.client)
    assert 0 < share_ms < 2 * HOUR_MS
    verdicts(desk)
    assert desk.sweep(at(1, 13.5) + 5_000) == []
    assert desk.client.due_ms == at(1, 13.5) + share_ms
    assert sent(desk.tick_all(at(1, 16))) == ["team"]
    assert verdicts(desk) == [("r", "cap"), ("team", "sent")]


def test_what_is_dropped_ends_at_once_and_what_is_held_later_does_not():
    desk = paused_desk("release_over: 2h\n")
    desk.take(login(at(1)))
    desk.plan = plan_with(resumed=resumed(at(1, 13), at(1, 13)), policy="release_over: 2h\n")
    verdicts(desk)
    assert desk.sweep(at(1, 13) + 5_000) == []
    assert verdicts(desk) == [("r", "paused"), ("team", "paused")]
    assert desk.client.waiting == []
    again = tuple(Pause(pause.rule, at(1, 14), "ann", "again") for pause in PAUSED)
    desk.plan = plan_with(again, resumed(at(1, 13), at(1, 13)))
    desk.take(login(at(1, 12.5)), login(at(1, 15)))  # an event from before, too, is what this pause holds
    assert desk.sweep(at(1, 15) + 5_000) == []
    assert verdicts(desk) == [("r", "held"), ("r", "held"), ("team", "held"), ("team", "held")]


def test_what_was_dropped_stays_so_though_the_rule_is_paused_again_before_the_client_is_evaluated():
    desk = paused_desk()
    desk.take(login(at(1)))
    verdicts(desk)
    desk.plan = plan_with((Pause("r", at(1, 14), "ann", "again"),), resumed(at(1, 13), at(1, 13)))
    assert desk.sweep(at(1, 15)) == []
    assert verdicts(desk) == [("r", "paused"), ("team", "paused")]


def test_a_pause_that_ended_without_a_word_releases_with_the_next_event():
    desk = paused_desk()
    desk.take(login(at(1)))
    desk.plan = plan_with()
    assert sorted(sent(desk.take(trade(at(1, 13))) + desk.tick_all(at(1, 14)))) == ["other", "r", "team"]


def test_quiet_hours_and_a_pause_follow_each_other():
    policy = "classes:\n  service: {when_quiet: hold}\nquiet_hours: {night: {hours: '21:30-08:30'}}\n"
    desk = Desk(plan_with(policy=policy))
    desk.take(profile(at(0, hour=0)), login(at(1, 7)))
    assert verdicts(desk) == [("r", "held"), ("team", "sent")]
    desk.plan = plan_with(PAUSED, policy=policy)
    desk.tick(at(1, 8.5))
    assert verdicts(desk) == [("r", "held")]
    assert desk.client.due_ms == at(1, 13)  # its expiry is that of its match
    desk.plan = plan_with(resumed=resumed(at(1, 9)), policy=policy)
    assert sent(desk.sweep(at(1, 9) + 5_000)) == ["r"]


def test_a_rule_that_ran_away_leaves_room_for_others():
    desk = paused_desk()
    desk.take(*(login(at(1, 12 + minute / 60)) for minute in range(12)))
    found = verdicts(desk)
    assert found.count(("r", "held")) + found.count(("team", "held")) == MAX_PAUSED
    assert found.count(("r", "paused")) + found.count(("team", "paused")) == 24 - MAX_PAUSED


def test_a_state_with_held_actions_is_read_as_it_was_written():
    desk = paused_desk()
    desk.take(login(at(1)))
    copied = unpack(desk.plan.layout, pack(desk.plan.layout, desk.client))
    assert copied.waiting == desk.client.waiting != []


def test_nothing_is_stored_of_clients_whom_no_pause_concerns():
    ways, inputs = [], (profile(at(0, hour=0)), trade(at(1)))
    for plan in (plan_with(), plan_with(PAUSED[:1], resumed(at(1, 10))[1:])):
        desk = Desk(plan)
        desk.take(*inputs)
        ways.append(pack(plan.layout, desk.client))
    assert ways[0] == ways[1]


def test_only_the_end_of_a_pause_asks_for_a_look_at_every_client():
    digests = [plan_with().timed.digest, plan_with(PAUSED).timed.digest, plan_with(PAUSED[:1]).timed.digest]
    assert len(set(digests)) == 1
    assert plan_with(resumed=resumed(at(1))).timed.digest != digests[0]
    assert plan_with(resumed=resumed(at(1))[:1]).timed.digest == plan_with(resumed=resumed(at(1))).timed.digest


def test_the_verdict_says_since_when_by_whom_and_why():
    desk = paused_desk()
    compiled = desk.plan.compiled[on("logins")][0]
    verdict = judge(desk.plan, desk.client, Match(compiled, login(at(1))[1]))
    assert isinstance(verdict, Hold)
    assert dict(verdict.told)["why"] in {pause.why for pause in PAUSED}
    desk.take(*(login(at(1, 12 + minute / 60)) for minute in range(12)))
    full = judge(desk.plan, desk.client, Match(compiled, login(at(1))[1]))
    assert isinstance(full, Suppress)
    assert full.told == verdict.told


def test_a_late_event_of_a_paused_rule_is_not_sent_at_its_end_of_being_late():
    desk = paused_desk()
    decided = decide(desk.plan, desk.states, [login(at(1))], decided_ms=at(1, 13))
    assert published(decided.messages) == []


def test_tests_of_rules_show_what_they_do_though_they_are_paused():
    told = rule("r", tests="[{name: fires, event: {logins: {channel: app}}, expect: fires}]")
    plan = with_pauses(plan_of(told), PAUSED[:1])
    assert run_tests(plan.rule_set).failed == ()


@pytest.mark.parametrize("dropped", [False, True])
def test_what_differs_by_a_pause_and_its_end(dropped):
    before, during = plan_with().rule_set, plan_with(PAUSED).rule_set
    after = plan_with(resumed=resumed(at(2), at(2) if dropped else 0)).rule_set
    assert [str(found) for found in differences(before, during)] == [
        'pause of "r": added\n  since 2026-02-17 10:00 by breaker: 12,000 actions in a minute',
        'pause of "team": added\n  since 2026-02-17 10:00 by ann: too many',
    ]
    end = "  resumed 2026-02-18 12:00 by bob: mended" + (", and what it held is not sent" if dropped else "")
    assert str(differences(during, after)[0]) == f'pause of "r": removed\n{end}'
    assert effects(before, during) == ("paused: r, team: what is due is held until `engage rules resume`, or expires",)
    said = effects(during, after)
    assert said[0] == f"resumed: r: what it held is {'not sent' if dropped else 'decided again'}"
    assert said[2].startswith("every client is evaluated once: a rule was resumed")
