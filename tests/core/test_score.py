"""The score of four dimensions: its parts, what is missing, tiers by it, and what is said of it."""

from __future__ import annotations

import json

import pytest

from engine.core.client.sections import pack, unpack
from engine.core.plan.compile import compile_rule_set
from engine.core.rules.ruleset import RuleSet
from engine.operations import explain as explaining
from engine.operations.explain_text import lines
from engine.rulefile.read.load import load
from engine.rulefile.tools.diff import differences
from engine.rulefile.tools.effects import effects
from tests.core.making import FEATURES, TIERS, Desk, at, balance, login, plan_of, profile, rule, trade

MORE = FEATURES + (
    "  trades_7d: {source: trades, aggregate: count, window: 7d}\n"
    "  logins_7d: {source: logins, aggregate: count, window: 7d}\n"
)
SCORE = """\
score:
  assets: {weight: 40, is: 100 * client.assets_cny / cny(1_000_000), otherwise: 10}
  behaviour: {weight: 30, is: 10 * trades_7d}
  needs: {weight: 30, is: usage, description: what is used}
"""
DEFINITIONS = "define:\n  usage: {is: 20 * logins_7d - 20}\n"
BY_SCORE = """\
individual:
  measure: client.value_score
  tiers:
    - {tier: A, enter: 60, exit: 50}
    - {tier: B, enter: 20, exit: 15}
    - {tier: C}
"""


def files(**given: str) -> dict[str, str]:
    rules = given.pop("rules", "rules: []\n")
    texts = {
        "features.yaml": f"features:\n{MORE}",
        "tiers.yaml": TIERS,
        "policy.yaml": "contact:\n  daily_cap: 2\n",
        "definitions.yaml": DEFINITIONS,
        "score.yaml": SCORE,
        "rules.yaml": rules,
    }
    return texts | {f"{name}.yaml": text for name, text in given.items()}


def sound(**given: str) -> RuleSet:
    rule_set = load(files(**given))
    assert isinstance(rule_set, RuleSet), "\n".join(map(str, rule_set))
    return rule_set


@pytest.mark.parametrize(
    ("events", "score"),
    [
        ([profile(at(0))], 4.0),  # no assets: 10 of 40; minus 20 counts as none
        ([balance(at(0), 500_000)], 20.0),
        ([balance(at(0), 5_000_000)], 40.0),  # no part counts beyond its weight
        ([trade(at(0)), trade(at(0, 13)), balance(at(0, 14), 500_000)], 20 + 6.0),
        ([*(login(at(0, 8 + n)) for n in range(4)), balance(at(0, 14), 500_000)], 20 + 18.0),
    ],
    ids=["missing", "a part", "too much", "counts", "a definition"],
)
def test_the_parts_make_the_score(events, score):
    desk = Desk(compile_rule_set(sound()))
    desk.take(*events)
    assert desk.client.value_score == pytest.approx(score)
    again = unpack(desk.plan.layout, pack(desk.plan.layout, desk.client))
    assert (again.value_score, again.score_parts) == (desk.client.value_score, desk.client.score_parts)
    assert [part and part[0] for part in again.score_parts] == [40, 30, None, 30]


def test_a_part_that_is_missing_leaves_no_score():
    desk = Desk(compile_rule_set(sound(score=SCORE.replace(", otherwise: 10", ""))))
    desk.take(profile(at(0)))
    assert desk.client.value_score is None
    desk.take(balance(at(0, 13), 500_000))
    assert desk.client.value_score == pytest.approx(20)


def test_tiers_follow_the_score_at_each_event_and_by_time_alone():
    desk = Desk(compile_rule_set(sound(tiers=BY_SCORE)))
    desk.take(profile(at(0)), balance(at(0, 13), 1_000_000))
    assert desk.client.tier == "B"
    moved = desk.take(*(trade(at(1, 8 + n)) for n in range(7)))  # a trade is no reason to take the stored score anew
    assert [(m["from_tier"], m["to_tier"]) for m in moved if m["topic"] == "tier-changes"] == [("B", "A")]
    assert moved[0]["why"] | {"since": ""} == {"client.value_score": pytest.approx(61), "threshold": 60, "since": ""}
    fallen = desk.tick_all(at(30))
    assert [(m["from_tier"], m["to_tier"]) for m in fallen if m["topic"] == "tier-changes"] == [("A", "B")]
    assert fallen[0]["time"].startswith("2026-02-23T16:00")  # the moment at which the trades leave the window


def test_rules_ask_for_the_score_and_for_its_parts():
    asks = rule("asks", on="trades", when="score_behaviour >= 20 and client.value_score >= 40")
    desk = Desk(compile_rule_set(sound(rules=f"rules:\n{asks}")))
    desk.take(profile(at(0)), balance(at(0, 13), 1_000_000))
    assert not desk.take(trade(at(1)))
    fired = desk.take(trade(at(1, 13)))
    assert fired[0]["rule_id"] == "asks"
    assert fired[0]["why"] == {"trades_7d": 2, "client.value_score": 43.0} | fired[0]["why"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"score": SCORE.replace("weight: 40", "weight: 50")}, "the weights add up to 110; let them add up to 100"),
        ({"score": SCORE.replace("weight: 40", "weight: 140")}, "a weight of 140"),
        ({"score": SCORE.replace("otherwise: 10", "otherwise: 101")}, "otherwise 101"),
        ({"score": "score: {assets: {weight: 100, is: client.assets_cny}}"}, "assets is money"),
        ({"score": "score: {assets: {weight: 100, is: client.days_in_tier}}"}, "assets follows from client.days_in_"),
        ({"score": "score: {wealth: {weight: 100, is: trades_7d}}"}, 'unknown key "wealth"'),
        ({"score": "score: {}"}, "the weights add up to 0"),
        ({"tiers": TIERS + "value_score: trades_7d\n"}, "value_score beside score.yaml; remove it"),
        ({"definitions": DEFINITIONS + "  score_needs: {is: 1}\n"}, '"score_needs" is declared already'),
        ({"definitions": DEFINITIONS + "  worth: {is: score_assets}\n"}, 'unknown name "score_assets"'),
        (
            {"definitions": "define:\n  usage: {is: 1 if client.has_advisor else client.value_score}\n"},
            "needs follows from client.",
        ),
    ],
)
def test_what_is_wrong_with_a_score_is_said(given, said):
    problems = load(files(**given))
    assert isinstance(problems, tuple)
    assert any(said in str(problem) for problem in problems), "\n".join(map(str, problems))


def test_a_published_file_of_rules_may_be_called_so():
    texts = files(score="rules: []\n")
    assert isinstance(load(texts, published=True), RuleSet)
    assert isinstance(load(texts), tuple)


def test_explain_shows_each_part():
    desk = Desk(compile_rule_set(sound()))
    desk.take(profile(at(0)), login(at(0, 13)), login(at(0, 14)), balance(at(0, 15), 500_000))
    account = explaining.account_of(desk.plan, pack(desk.plan.layout, desk.client), None, None)
    text = "\n".join(lines(account, None, False))
    assert "value score 26\n" in text
    assert "  assets     50 of 100, weight 40: 20 points; 100 * client.assets_cny / cny(1_000_000)\n" in text
    assert "    client.assets_cny = 500,000.00 CNY\n" in text
    assert "    usage = 20\n      logins_7d = 2" in text
    shown = json.loads(lines(account, None, True)[0])["score"]
    assert sum(part["points"] for part in shown["parts"]) == shown["value"] == 26
    assert [part["part"] for part in shown["parts"]] == ["assets", "behaviour", "needs"]


def test_diff_names_the_parts_and_every_client_is_evaluated():
    before, after = sound(), sound(score=SCORE.replace("weight: 40", "weight: 35").replace("30, is: us", "35, is: us"))
    assert [str(found) for found in differences(before, after)] == [
        'score "assets":\n  weight: 40 becomes 35',
        'score "needs":\n  weight: 30 becomes 35',
    ]
    assert any("every client is evaluated once" in effect for effect in effects(before, after))
    assert [str(found).partition("\n")[0] for found in differences(sound(score=SCORE), sound())] == []


def test_other_weights_reach_clients_who_do_nothing():
    before = compile_rule_set(sound())
    after = compile_rule_set(sound(score=SCORE.replace("40, is", "50, is").replace("30, is: us", "20, is: us")))
    desk = Desk(before)
    desk.take(balance(at(0), 1_000_000))
    assert desk.client.value_score == pytest.approx(40)
    desk.plan = after
    desk.sweep(at(1))
    assert desk.client.value_score == pytest.approx(50)
    sequence = desk.client.sequence
    desk.plan = compile_rule_set(sound(score=SCORE.replace("what is used", "said otherwise")))
    assert desk.client.sequence == sequence


def test_without_a_score_nothing_is_kept():
    desk = Desk(plan_of())
    desk.take(balance(at(0), 1_000_000))
    assert desk.client.score_parts is None
    assert b"value_score" not in pack(desk.plan.layout, desk.client)
