"""The portrait: stages and traits, by events and by time alone; what is kept, shown and said of it."""

from __future__ import annotations

import json
import random

import pytest

from engine.core.client.record import PORTRAIT_FIELDS, PUBLIC_FIELDS, public_fields
from engine.core.client.sections import pack, unpack
from engine.core.firm_time import NEVER_MS
from engine.core.learn.portrait import portray
from engine.core.plan.compile import Plan, compile_rule_set
from engine.core.rules.ruleset import RuleSet
from engine.operations import explain as explaining
from engine.operations.explain_text import lines
from engine.rulefile.lint.lint import lint
from engine.rulefile.read.load import load
from engine.rulefile.tools.diff import differences
from engine.runtime.redis.reading import NO_RULES
from tests.core.making import FEATURES, TIERS, Desk, at, balance, login, plan_of, profile, rule, shipped_plan, trade

MORE = FEATURES + (
    "  trades_7d: {source: trades, aggregate: count, window: 7d}\n"
    "  logins_2h: {source: logins, aggregate: count, where: login.hour >= 12, window: 2h}\n"
    "  product_30d: {source: trades, aggregate: top, field: product, window: 30d}\n"
)
DEFINITIONS = """\
tables:
  style:
    hit: first
    otherwise: calm
    rows: [{trades_7d: '>= 3', then: busy}]
"""
PORTRAIT = """\
stages:
  - {id: lost, when: client.days_since_login >= 30}
  - {id: won-back, when: client.stage == "lost" or client.stage == "won-back" and client.days_in_stage < 10}
  - {id: silent, when: client.days_since_login >= 7}
  - {id: active, when: trades_7d >= 1}
portrait:
  style: {is: style}
  product: {is: product_30d, description: preferred}
  at_work: {is: logins_2h >= 1}
  assets: {is: client.assets_cny}
  share: {is: trades_7d / 3}
  came: {is: client.known_since}
"""


def portrayed(**given: str) -> Plan:
    return plan_of(*given.pop("rules", ()), features=MORE, definitions=DEFINITIONS, portrait=PORTRAIT, **given)


def history(seed: int, days: int = 60) -> list:
    chance, inputs = random.Random(seed), [profile(at(0, 9))]
    day = 0.0
    while (day := day + chance.choice((0.01, 0.3, 1, 3, 9, 35))) < days:
        moment = at(day, 9)
        what = chance.randrange(3)
        inputs.append(login(moment) if what == 0 else trade(moment, product=chance.choice(("stock", "fund", "bond"))))
    return inputs


def test_other_systems_read_every_trait_that_is_known():
    desk = Desk(portrayed())
    desk.take(profile(at(0)))
    record = public_fields(desk.client)
    assert tuple(record) == (*PUBLIC_FIELDS[:-1], *PORTRAIT_FIELDS, PUBLIC_FIELDS[-1])
    assert record["stage"] == record["stage_since"] == ""
    known = {"style": "calm", "at_work": False, "share": 0, "came": "2026-02-16T04:00:00.000Z"}
    assert json.loads(record["portrait"]) == known
    desk.take(balance(at(0, 13), 1234.5), *(trade(at(1, 13 + n), product="fund") for n in range(4)), login(at(1, 18)))
    record = public_fields(desk.client)
    assert (record["stage"], record["stage_since"]) == ("active", "2026-02-17T05:00:00Z")
    assert json.loads(record["portrait"]) == {
        **known,
        "style": "busy",
        "product": "fund",
        "at_work": True,
        "share": 1.33333,
        "assets": "1234.50",
    }


def test_time_alone_moves_a_client_through_its_stages():
    desk = Desk(portrayed())
    desk.take(profile(at(0)), login(at(0, 13)), trade(at(0, 14)))
    seen = []
    while desk.client.due_ms < NEVER_MS and len(seen) < 50:
        moment, before = desk.client.due_ms, (desk.client.stage, desk.client.portrait)
        desk.tick(moment)
        if (desk.client.stage, desk.client.portrait) != before:
            seen.append((moment, desk.client.stage, desk.client.portrait["at_work"]))
    moments = [(moment, stage) for moment, stage, _ in seen]
    assert (at(0, 15), "active") in moments  # the hour that is counted slides
    assert (at(7, 13), "silent") in moments
    assert (at(30, 13), "lost") in moments
    assert desk.client.stage == "lost"
    assert len(seen) <= 8
    desk.take(login(at(40)))
    assert desk.client.stage == "won-back"
    desk.tick_all(at(70))
    assert desk.client.stage == "lost"


@pytest.mark.parametrize("seed", range(12))
def test_a_portrait_is_at_every_moment_as_if_it_were_taken_anew(seed):
    """Whatever the moment: nothing of it waits for an event or a timer that does not come."""
    plan = portrayed()
    desk, inputs = Desk(plan), history(seed)
    for item, following in zip(inputs, [*inputs[1:], login(at(130))], strict=True):
        desk.take(item)
        moment, end = item[1].time, following[1].time
        while moment < end:
            while desk.client.due_ms <= moment:
                desk.tick(desk.client.due_ms)
            again = unpack(plan.layout, pack(plan.layout, desk.client))
            again.advance(plan.layout, moment)
            portray(plan, again)
            assert (again.stage, again.portrait) == (desk.client.stage, desk.client.portrait), moment
            moment += 3_600_000 * random.Random(moment).choice((1, 7, 24))


@pytest.mark.parametrize("seed", range(6))
def test_ticks_make_no_difference(seed):
    plan = portrayed()
    ticked, alone = Desk(plan), Desk(plan)
    for item in history(seed):
        if "c1" in ticked.states:
            ticked.tick_all(item[1].time - 1)
        ticked.take(item)
        alone.take(item)
    assert pack(plan.layout, ticked.client) == pack(plan.layout, alone.client)


def test_rules_act_on_a_stage_at_its_moment():
    asks = rule("gone", becomes="client.stage == 'silent'", audience="team")
    desk = Desk(portrayed(rules=(asks,)))
    desk.take(profile(at(0)), login(at(0, 13)))
    fired = desk.tick_all(at(20))
    assert [(action["rule_id"], action["time"]) for action in fired if "rule_id" in action] == [
        ("gone", "2026-02-23T05:00:00.000Z")
    ]


def test_state_keeps_the_portrait_and_blank_is_nothing():
    plan = portrayed()
    desk = Desk(plan)
    desk.take(profile(at(0)), trade(at(1)))
    packed = pack(plan.layout, desk.client)
    again = unpack(plan.layout, packed)
    assert public_fields(again) == public_fields(desk.client)
    assert pack(plan.layout, again) == packed
    assert public_fields(unpack(NO_RULES.layout, packed)) == public_fields(desk.client)
    bare = Desk(plan_of())
    bare.take(profile(at(0)), trade(at(1)))
    assert b"portrait" not in pack(bare.plan.layout, bare.client)
    assert tuple(public_fields(bare.client)) == PUBLIC_FIELDS


def test_a_new_portrait_reaches_everybody_and_one_that_is_gone_is_taken_back():
    desk = Desk(plan_of(features=MORE))
    desk.take(profile(at(0)), login(at(0, 13)))
    desk.plan = portrayed()
    desk.sweep(at(8))
    assert desk.client.stage == "silent"
    assert desk.client.portrait["style"] == "calm"
    desk.plan = plan_of(features=MORE)
    desk.sweep(at(9))
    record = public_fields(desk.client)
    assert [record[name] for name in PORTRAIT_FIELDS] == ["", "", "{}"]
    desk.plan = portrayed()
    desk.sweep(at(10))
    packed = pack(desk.plan.layout, desk.client)
    desk.sweep(at(10, 13))  # nothing differs: nothing is written
    assert pack(desk.plan.layout, desk.client) == packed


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("trades_7d >= 1}", "hour(now) >= 9}", "now in a portrait"),
        ("client.stage == \"lost\" or", "client.stage == \"gone\" or", 'client.stage is never "gone"'),
        ("id: active", "id: silent", '"silent" twice'),
        ("is: style}", "is: stile}", 'unknown name "stile"'),
        ("is: style}", "is: trade.symbol}", "unknown name"),
        ("portrait:\n", "portrait:\n  Odd: {is: style}\n", 'not a name: "Odd"'),
        ("trades_7d >= 1}", "trades_7d}", "expected"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_portrait_is_said(old, new, said):
    problems = load(dict(portrayed().rule_set.files) | {"portrait.yaml": PORTRAIT.replace(old, new)})
    assert isinstance(problems, tuple)
    assert any(said in str(problem) for problem in problems), "\n".join(map(str, problems))


def test_tiers_cannot_follow_from_a_stage():
    files = dict(portrayed().rule_set.files)
    tiers = TIERS.replace("measure: assets_avg_cny_30d", "measure: client.days_in_stage")
    problems = load(files | {"tiers.yaml": tiers})
    assert isinstance(problems, tuple)
    assert 'unknown name "client.days_in_stage"' in str(problems[0])


def test_diff_and_lint_know_the_portrait():
    before = portrayed().rule_set
    text = PORTRAIT.replace(">= 30}", ">= 40}").replace("  share: {is: trades_7d / 3}\n", "")
    after = load(dict(before.files) | {"portrait.yaml": text})
    assert isinstance(after, RuleSet)
    assert [str(found).partition("\n")[0] for found in differences(before, after)] == [
        'stage "lost":',
        'trait "share": removed',
    ]
    text = PORTRAIT.replace("trades_7d >= 1}", "trades_7d < 0}")
    never = load(dict(before.files) | {"portrait.yaml": text})
    assert isinstance(never, RuleSet)
    assert [str(found.code) for found in lint(never) if "active" in str(found)] == ["L101"]
    assert not [found for found in lint(before) if found.code == "L306" and "_2h" in str(found)]


def test_explain_says_what_each_trait_follows_from():
    desk = Desk(portrayed())
    desk.take(profile(at(0)), *(trade(at(0, 13 + n)) for n in range(3)))
    account = explaining.account_of(desk.plan, pack(desk.plan.layout, desk.client), None, None)
    text = "\n".join(lines(account, None, False))
    assert "stage active since 2026-02-16 13:00, portrait\n  stage: active; trades_7d >= 1\n    trades_7d = 3\n" in text
    assert "  style: busy; style\n    style = busy, by the row trades_7d >= 3: busy (definitions.yaml:" in text
    assert "  assets: missing; client.assets_cny\n" in text
    shown = json.loads(lines(account, None, True)[0])["portrait"]
    assert shown["stage"] == "active"
    assert {part["name"]: part["value"] for part in shown["parts"]}["share"] == 1


def test_the_shipped_portrait_follows_a_client_through_its_life():
    desk = Desk(compile_rule_set(shipped_plan().rule_set))
    desk.take(profile(at(0), risk_level="R2"), balance(at(0, 13), 500_000), login(at(1, 20)), trade(at(1), 10_000))
    assert desk.client.stage == "new"
    assert desk.client.portrait["active_hours"] == "evening"
    assert desk.client.portrait["risk_taken"] == "within"
    desk.take(trade(at(2), 10_000, product="option"))
    assert desk.client.portrait["risk_taken"] == "above"
    stages = [desk.client.stage]
    while desk.client.due_ms <= at(300):
        desk.tick(desk.client.due_ms)
        if desk.client.stage != stages[-1]:
            stages.append(desk.client.stage)
    assert stages == ["new", "silent", "lost"]
    desk.take(login(at(300)))
    assert desk.client.stage == "won-back"
    desk.take(balance(at(301), 100_000, kind="transfer_out", amount_fen=40_000_000))
    assert desk.client.stage == "won-back"
    assert desk.client.portrait["churn_risk"] >= 35
