"""teams.yaml: who can own a rule, what is wrong with a file of teams, and what their actions' records carry."""

from __future__ import annotations

import pytest
from jsonschema import Draft7Validator

from engine.core.contract.outbound import is_retraction
from engine.core.rules.ruleset import RuleSet
from engine.core.teams import Team
from engine.publish.starter import begin
from engine.rulefile.lint.lint import lint
from engine.rulefile.read.load import load, read_directory
from engine.rulefile.schema.schema import rule_file_schemas
from engine.rulefile.tools.diff import differences
from tests.core.making import TIERS, Desk, at, plan_of, rule, trade
from tests.core.test_corrections import correction
from tests.rulefile import declaring
from tests.rulefile.sample import good, problems_of
from tests.services.process import REPOSITORY

TEAMS = """\
teams:
  wealth: {title: Wealth management, head: li-na, topics: [tasks, alerts], headers: {desk: "07", site: 北京}}
  research: {title: Research, head: head-of-research}
"""
WORK = {"kind": "task", "audience": "team"}


def files(*rules: str, teams: str = TEAMS, policy: str = "contact: {daily_cap: 9}\n") -> dict[str, str]:
    texts = {
        "features.yaml": "features:\n  assets_avg_cny_30d: "
        "{source: balances, aggregate: daily_mean, field: assets_cny, window: 30d}\n",
        "tiers.yaml": TIERS,
        "policy.yaml": policy,
        "rules.yaml": "rules:\n" + "".join(rules or (rule("r", **WORK),)),
    }
    return {**texts, "teams.yaml": teams} if teams else texts


def said(found: dict[str, str]) -> list[str]:
    return [str(problem) for problem in problems_of(found)]


def test_teams_are_read_by_name():
    research, wealth = good(files()).teams
    assert research == Team("research", "Research", "head-of-research")
    assert wealth.topics == ("tasks", "alerts")
    assert wealth.headers == (("desk", "07"), ("site", "北京"))


def test_without_the_file_any_name_is_an_owner():
    assert good(files(rule("r", owner="welth", **WORK), teams="")).teams == ()


@pytest.mark.parametrize(
    ("owner", "remedy"),
    [
        ("welth", 'did you mean "wealth"? allowed: research, wealth'),
        ("trading", "allowed: research, wealth"),
    ],
)
def test_an_owner_that_is_no_team_is_refused_with_a_suggestion(owner, remedy):
    assert said(files(rule("r", owner=owner, **WORK))) == [
        f'rules.yaml:4:12: rule "r": no team "{owner}" in teams.yaml; {remedy}'
    ]


def test_the_owner_of_an_event_type_is_a_team_too():
    found = said(declaring.FILES | {"teams.yaml": TEAMS})
    assert found == ['events.yaml:4:12: no team "trading" in teams.yaml; allowed: research, wealth']


def test_a_cap_names_a_team_though_it_owns_nothing_yet_and_no_other():
    caps = "caps: {c: {at_most: 2, per: day, of: {team: NAME}}}\n"
    assert good(files(policy=caps.replace("NAME", "research"))).policy.caps[0].of.teams == ("research",)
    assert said(files(policy=caps.replace("NAME", "reserch"))) == [
        'policy.yaml:1:45: there is no team "reserch"; did you mean "research"? allowed: research, wealth'
    ]
    assert said(files(policy=caps.replace("NAME", "research"), teams="")) == [
        'policy.yaml:1:45: no rule has team "research"; allowed: wealth'
    ]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("title: Research, ", "", "teams.yaml:3:13: missing key title; add it"),
        (", head: head-of-research", "", "teams.yaml:3:13: missing key head; add it"),
        ("tasks, alerts", "task", 'teams.yaml:2:60: unknown value "task"; did you mean "tasks"? allowed: '),
        ("tasks, alerts", "tasks, tasks", "teams.yaml:2:59: a value twice; keep one"),
        ("desk:", "ce_type:", "teams.yaml:2:86: every record has a header ce_type, or may have; choose another name"),
        ("desk:", "content-type:", "teams.yaml:2:86: every record has a header content-type, or may have; "),
        ("desk:", "Desk:", 'teams.yaml:2:86: not a name: "Desk"; write lower-case letters, digits, hyphens and'),
        ('"07"', "no", 'teams.yaml:2:92: no without quotes, which other programs read as true or false; write "no"'),
        ("research:", "Research:", 'teams.yaml:3:3: not a name: "Research"; write lower-case words joined by'),
        ("research:", "wealth:", 'teams.yaml:3:3: key "wealth" twice; '),
        ("head-of-research", "head-of-research, heads: [a]", 'teams.yaml:3:55: unknown key "heads"; did you mean'),
        (TEAMS, "teams: {}\n", "teams.yaml:1:8: no teams; list at least one, or remove the file"),
        ("teams:", "team:", 'teams.yaml:1:1: unknown key "team"; did you mean "teams"?'),
    ],
)  # fmt: skip
def test_what_is_wrong_with_teams_is_said_once_and_no_rule_is_blamed(old, new, problem):
    assert old in TEAMS
    found = said(files(teams=TEAMS.replace(old, new)))
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_there_are_at_most_so_many_headers():
    many = ", ".join(f"h{n}: x" for n in range(9))
    (problem,) = said(files(teams=TEAMS.replace('desk: "07", site: 北京', many)))
    assert "9 headers; at most 8" in problem


def test_a_published_file_of_rules_by_that_name_is_read_as_one():
    texts = files(teams="")
    texts["teams.yaml"] = texts.pop("rules.yaml")
    rule_set = load(texts, published=True)
    assert isinstance(rule_set, RuleSet)
    assert ([one.id for one in rule_set.rules], rule_set.teams) == (["r"], ())
    assert [text.partition(":")[0] for text in said(texts)] == ["teams.yaml"]


def test_the_key_is_reported_in_a_file_of_rules():
    texts = files(teams="")
    (problem,) = said({**texts, "rules.yaml": texts["rules.yaml"] + TEAMS})
    assert problem.endswith("teams belong in another file; write teams in teams.yaml")


def test_diff_says_what_became_of_teams():
    changed = TEAMS.replace("li-na", "wang-wei").replace('"07"', '"08"').replace("research:", "analysis:")
    assert [str(one) for one in differences(good(files()), good(files(teams=changed)))] == [
        'team "research": removed\n  title Research, head head-of-research',
        'team "wealth":\n  head: li-na becomes wang-wei\n  headers desk: 07 becomes 08',
        'team "analysis": added\n  title Research, head head-of-research\n'
        '  looks like a rename: it does what "research" did, which is gone',
    ]


def test_lint_finds_teams_without_work_and_work_that_nobody_reads():
    alone = {"serves": "service", "tests": "\n      - {name: n, event: {logins: {}}, expect: fires}"}
    survey = rule("s", **{**WORK, **alone, "kind": "survey"})
    told = rule("m", kind="message", **alone)  # the client's channels read it, not the team
    found = [str(one) for one in lint(good(files(survey, told))) if one.code in ("L305", "L310", "L311")]
    assert found == [
        'rules.yaml:5:11: L311 warning: rule "s": its actions go to surveys, and the systems of wealth read tasks, '
        "alerts alone; add surveys to the team's topics, or choose another kind",
        'teams.yaml:3:3: L310 note: team "research": owns no rule and no event type; remove it',
    ]


def test_lint_guesses_at_no_owner_where_they_are_declared():
    rules = [*(rule(f"r{n}", owner="wealth", **WORK) for n in range(3)), rule("x", owner="wealths", **WORK)]
    near = TEAMS + "  wealths: {title: W, head: h}\n"
    assert [one.code for one in lint(good(files(*rules, teams=""))) if one.code == "L305"] == ["L305"]
    assert not [one for one in lint(good(files(*rules, teams=near))) if one.code == "L305"]


def test_the_records_of_a_teams_actions_and_their_retractions_have_its_headers():
    alert = rule("large", on="trades", when="trade.amount_cny >= 10", kind="alert", audience="team", owner="wealth")
    other = rule("small", on="trades", when="trade.amount_cny < 10", kind="alert", audience="team", owner="research")
    desk = Desk(plan_of(alert, other, others=(("teams.yaml", TEAMS),)))
    big = trade(at(0), 200_000)
    desk.take(big, trade(at(0.1), 100), correction(at(1), big))
    own = [[(name, value) for name, value in m.headers if name in ("desk", "site")] for m in desk.messages]
    of_team = [("desk", b"07"), ("site", "北京".encode())]
    assert own == [of_team, [], of_team]
    assert [is_retraction(message.headers) for message in desk.messages] == [False, False, True]


def test_the_schema_takes_what_check_takes_and_names_the_owners():
    plain, known = rule_file_schemas(None, ""), rule_file_schemas(good(files()), "")
    assert known["rules.json"]["properties"]["rules"]["items"]["properties"]["owner"]["enum"] == ["research", "wealth"]
    validator = Draft7Validator(plain["teams.json"])
    team = {"title": "T", "head": "h", "topics": ["tasks"], "headers": {"desk": "07"}}
    assert validator.is_valid({"teams": {"wealth": team}})
    for wrong in ({"topics": ["task"]}, {"headers": {"ce_id": "x"}}, {"headers": {"Desk": "x"}}, {"title": ""}):
        assert not validator.is_valid({"teams": {"wealth": team | wrong}})
    assert not validator.is_valid({"teams": {}})


def test_the_shipped_rules_and_those_of_init_have_teams(tmp_path):
    begin(tmp_path / "own", everything=False)
    for directory in (REPOSITORY / "rules", tmp_path / "own" / "rules"):
        rule_set = good(read_directory(directory))
        assert {one.owner for one in rule_set.rules} <= {team.name for team in rule_set.teams}
        assert rule_set.teams
        assert not [one for one in lint(rule_set) if one.code in ("L310", "L311")]
