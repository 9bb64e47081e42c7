"""Lots that clients draw: the same ones for ever, by share, and anew where a third value says so."""

import pytest

from engine.core.language.helpers import draw, place
from engine.core.rules.ruleset import RuleSet
from engine.rulefile.read.load import load
from engine.rulefile.trial.run import run_tests
from tests.core.making import TIERS, Desk, at, login, plan_of, rule

IDS = [f"C{number:06}" for number in range(1, 10_001)]
DRAWN = 'draw(client.id, "panel") < 5'


def who(when: str, time_ms: int) -> set[str]:
    desk = Desk(plan_of(rule("asked", when=when, kind="task", audience="team", channels=None)))
    return {action["client_id"] for client_id in IDS[:2000] for action in desk.take(login(time_ms, client_id))}


def test_shares_are_as_said_and_other_lots_are_independent():
    drawn = [draw(client_id, "panel") for client_id in IDS]
    assert all(0 <= number <= 99.99 and round(number, 2) == number for number in drawn)
    for share in (1, 5, 20, 50):
        assert abs(sum(number < share for number in drawn) / len(IDS) - share / 100) < 0.015
    both = sum(a < 20 and draw(client_id, "other") < 20 for a, client_id in zip(drawn, IDS, strict=True))
    assert abs(both / len(IDS) - 0.04) < 0.01
    assert draw("C000001", "spring") == 35.71  # of every release
    assert draw("C000001", "spring", 7) == draw("C000001", "spring", 7.0) == 95.81


def test_who_is_drawn_is_who_a_holdout_of_that_name_holds_out():
    assert {id_ for id_ in IDS if draw(id_, "spring") < 20} == {id_ for id_ in IDS if place("spring", id_) < 0.2}


def test_a_rule_asks_the_same_clients_each_time():
    assert who(DRAWN, at(0)) == who(DRAWN, at(40)) == {id_ for id_ in IDS[:2000] if draw(id_, "panel") < 5}


def test_a_third_value_draws_anew_when_it_changes():
    anew = 'draw(client.id, "panel", month(now)) < 5'
    first, same, later = who(anew, at(0)), who(anew, at(1)), who(anew, at(40))
    assert first == same
    assert first != later
    assert len(first & later) < 0.3 * len(first)


def results(*draws: str) -> list[str]:
    """What fails in tests that give these draws."""
    tests = "".join(
        f"      - {{name: n{number}, given: {{draws: {given}}}, event: {{logins: {{}}}}, expect: fires}}\n"
        for number, given in enumerate(draws)
    )
    asked = rule("asked", when=f'{DRAWN} and draw(client.id, "other") >= 50')
    files = {
        "features.yaml": "features: {}\n",
        "tiers.yaml": TIERS.replace("assets_avg_cny_30d", "client.assets_cny"),
        "policy.yaml": "contact:\n  daily_cap: 2\n",
        "rules.yaml": f"rules:\n{asked}    tests:\n{tests}",
    }
    rule_set = load(files)
    if not isinstance(rule_set, RuleSet):
        return [f"{problem.message}; {problem.remedy}" for problem in rule_set]
    return [result.test.name for result in run_tests(rule_set).failed]


def test_a_test_says_what_lots_give():
    assert results("{panel: 4.99, other: 50}", "{panel: 5, other: 50}", "{panel: 0, other: 49.99}") == ["n1", "n2"]


@pytest.mark.parametrize(
    ("draws", "said"),
    [
        ("{panel: 100}", "no lot gives that; write 0 to 99.99"),
        ("{panel: -1}", "no lot gives that; write 0 to 99.99"),
        ("{panel: many}", "not a number"),
        ("5", "draws says what lots give; write draws: {panel: 12}"),
    ],
)
def test_what_no_lot_gives_is_said(draws, said):
    assert any(said in problem for problem in results(draws)), results(draws)
