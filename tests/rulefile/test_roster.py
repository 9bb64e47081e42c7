"""advisors.yaml and assignment.yaml: what they declare, what is wrong with them, what diff, lint and schemas say."""

from __future__ import annotations

import pytest
from jsonschema import Draft7Validator

from engine.core.assign.roster import Advisor, Leave, Widening
from engine.core.plan.compile import compile_rule_set
from engine.core.rules.ruleset import RuleSet
from engine.processors.assignment import ASSIGNMENT as ASSIGNMENT_OF
from engine.rulefile.lint.lint import lint
from engine.rulefile.read.load import load
from engine.rulefile.report.trial import failure_lines
from engine.rulefile.roster.cases import PoolTest
from engine.rulefile.schema.schema import rule_file_schemas
from engine.rulefile.tools.diff import differences
from engine.rulefile.trial.run import run_tests
from tests.core.making import TIERS, rule
from tests.rulefile.sample import good, problems_of

ADVISORS = """\
advisors:
  li-na: {pool: east, capacity: 120, regions: [east], languages: [zh], tiers: [A], skills: {funds: 3}, licence_until: 2027-06-30}
  adv-7: {pool: rest, capacity: 40}
"""  # noqa: E501
ASSIGNMENT = """\
assignment:
  weights: {A: 3, B: 2}
  pools:
    east:
      when: client.region == "east"
      team: wealth
      needs: {funds: trades_30d}
      widen: [{after: 4h, by: 1}, {after: 1d, by: 2}]
      give_up: 3d
    rest: {when: client.days_known >= 0, team: wealth}
"""
FEATURES = """\
features:
  assets_avg_cny_30d: {source: balances, aggregate: daily_mean, field: assets_cny, window: 30d}
  trades_30d: {source: trades, aggregate: count, window: 30d}
"""


def files(advisors: str = ADVISORS, assignment: str = ASSIGNMENT, **more: str) -> dict[str, str]:
    texts = {
        "features.yaml": FEATURES,
        "tiers.yaml": TIERS,
        "policy.yaml": "contact: {daily_cap: 9}\n",
        "rules.yaml": "rules:\n" + rule("r", kind="assignment", audience="team"),
        "advisors.yaml": advisors,
        "assignment.yaml": assignment,
    } | {f"{name}.yaml": text for name, text in more.items()}
    return {name: text for name, text in texts.items() if text}


def test_both_are_read():
    rule_set = good(files())
    assert rule_set.assignment is not None
    east, rest = rule_set.assignment.pools
    assert rule_set.assignment.weights == (("A", 3), ("B", 2))
    assert (east.widen, east.give_up_s) == ((Widening(14_400, 1), Widening(86_400, 2)), 259_200)
    assert [skill for skill, _ in east.needs] == ["funds"]
    assert (rest.needs, rest.widen, rest.give_up_s) == ((), (), 0)
    assert rule_set.advisors == (
        Advisor("adv-7", "rest", 40),
        Advisor("li-na", "east", 120, ("east",), ("zh",), ("A",), (("funds", 3),), "2027-06-30"),
    )


def test_a_set_without_them_assigns_nobody():
    rule_set = good(files("", ""))
    assert (rule_set.assignment, rule_set.advisors) == (None, ())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("A: 3", "D: 3", 'assignment.yaml:2:13: no tier "D"; allowed: '),
        ("A: 3", "A: 0", "assignment.yaml:2:16: 0 is out of range; write a whole number from 1 to 1000"),
        ('== "east"', "== 5", "assignment.yaml:5:"),
        ("      team: wealth\n      needs", "      needs", "assignment.yaml:5:7: missing key team; add it"),
        ("funds: trades_30d", "funds: trade.side", 'assignment.yaml:7:22: unknown name "trade.side"'),
        ("by: 2", "by: 1", "assignment.yaml:8:14: steps that are not later and wider each; write them in order"),
        ("after: 1d", "after: 3h", "assignment.yaml:8:14: steps that are not later and wider each; "),
        ("give_up: 3d", "give_up: 1d", "assignment.yaml:8:14: a step at or after the end of the wait; let give_up"),
        ("pool: rest", "pool: west", 'advisors.yaml:3:17: unknown value "west"; did you mean "rest"?'),
        ("capacity: 40", "capacity: many", 'advisors.yaml:3:33: not a number: "many"; '),
        ("[zh]", "[zh-CN]", 'advisors.yaml:2:67: not a name: "zh-CN"; write a language without its region'),
        ("funds: 3", "funds: 10", "advisors.yaml:2:100: 10 is out of range; write a whole number from 1 to 9"),
        ("2027-06-30", "2027-06-31", 'advisors.yaml:2:119: not a day: "2027-06-31"; write it as 2027-06-30'),
        ("adv-7:", "li-na:", 'advisors.yaml:3:3: key "li-na" twice; '),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_once(old, new, said):
    assert old in ADVISORS + ASSIGNMENT
    found = [str(p) for p in problems_of(files(ADVISORS.replace(old, new, 1), ASSIGNMENT.replace(old, new, 1)))]
    assert len(found) == 1, found
    assert found[0].startswith(said), found


@pytest.mark.parametrize(
    ("advisors", "assignment", "said"),
    [
        ("advisors:\n", ASSIGNMENT, "advisors.yaml:1:9: no advisors; declare at least one, or remove the file"),
        ("advisors: {}\n", ASSIGNMENT, "advisors.yaml:1:11: no advisors; declare at least one, or remove the file"),
        ("advisors: [li]\n", ASSIGNMENT, "advisors.yaml:1:11: not a mapping; write name: value"),
        (ADVISORS, "", "advisors.yaml:2:3: advisors, and no assignment.yaml; add it: it declares their pools"),
        (ADVISORS, "assignment:\n", "assignment.yaml:1:11: not a mapping; write keys: pools, weights"),
        (ADVISORS, "assignment: {pools: {}}\n", "assignment.yaml:1:21: no pools; declare at least one, or remove"),
        (ADVISORS, "assignment: {weights: 1\n", "assignment.yaml:1:13: not YAML: braces that are not closed"),
    ],
)
def test_of_files_that_are_half_written_one_thing_is_said(advisors, assignment, said):
    (problem,) = problems_of(files(advisors, assignment))
    assert str(problem).startswith(said)


def test_a_pools_team_is_one_of_teams():
    first, _, last = ASSIGNMENT.rpartition("wealth")
    teams = "teams:\n  wealth: {title: W, head: h}\n"
    (problem,) = problems_of(files(teams=teams, assignment=f"{first}welth{last}"))
    assert str(problem).startswith('assignment.yaml:10:48: no team "welth" in teams.yaml; did you mean "wealth"?')


def test_published_files_of_rules_by_these_names_are_read_as_such():
    texts = files("", "")
    texts["assignment.yaml"] = texts.pop("rules.yaml")
    texts["advisors.yaml"] = "rules: []\n"
    rule_set = load(texts, published=True)
    assert isinstance(rule_set, RuleSet)
    assert ([one.id for one in rule_set.rules], rule_set.assignment) == (["r"], None)
    assert not isinstance(load(texts), RuleSet)


def test_diff_names_each_advisor_and_what_pools_ask():
    changed = files(
        ADVISORS.replace("capacity: 120", "capacity: 90").replace("funds: 3", "funds: 4").replace("  adv-7", "  adv-8"),
        ASSIGNMENT.replace("give_up: 3d", "give_up: 4d").replace("A: 3", "A: 4"),
    )
    said = "\n".join(map(str, differences(good(files()), good(changed))))
    for line in (
        'advisor "li-na":\n  capacity: 120 becomes 90\n  skills funds: 3 becomes 4',
        'advisor "adv-7": removed',
        'advisor "adv-8": added',
        "assignment:\n  pools east give up: 3d becomes 4d\n  weights A: 3 becomes 4",
    ):
        assert line in said
    (come,) = (d for d in differences(good(files("", "")), good(files())) if d.what == "assignment")
    assert str(come) == "assignment: added\n  pools east, rest"


def test_lint_finds_pools_where_nobody_can_be_found():
    def found(advisors: str) -> list[str]:
        return [str(one) for one in lint(good(files(advisors))) if one.code == "L312"]

    assert found(ADVISORS) == []
    assert found(ADVISORS.replace("skills: {funds: 3}", "skills: {tax: 3}")) == [
        'assignment.yaml:5:7: L312 warning: pool "east": none of its advisors has funds; add the skill, or do not '
        "ask for it"
    ]
    assert found(ADVISORS.replace("capacity: 40", "capacity: 0")) == [
        'assignment.yaml:10:11: L312 warning: pool "rest": no advisor takes clients of it; add advisors of this pool, '
        "or leave it out"
    ]


def test_what_pools_ask_is_used():
    assert "trades_30d" not in "".join(str(one) for one in lint(good(files())) if one.code == "L306")


def test_the_schemas_take_what_check_takes():
    schemas = rule_file_schemas(None, "")
    pool = {"when": "client.days_known >= 0", "team": "wealth", "widen": [{"after": "4h", "by": 1}], "give_up": "1d"}
    validator = Draft7Validator(schemas["assignment.json"])
    assert validator.is_valid({"assignment": {"pools": {"east": pool}, "weights": {"A": 3}}})
    assert not validator.is_valid({"assignment": {"pools": {}}})
    assert not validator.is_valid({"assignment": {"pools": {"east": pool | {"teams": "x"}}}})
    validator = Draft7Validator(rule_file_schemas(good(files()), "")["advisors.json"])
    assert validator.is_valid({"advisors": {"li-na": {"pool": "east", "capacity": 3, "tiers": ["A"]}}})
    assert not validator.is_valid({"advisors": {"li-na": {"pool": "west", "capacity": 3}}})
    assert not validator.is_valid({"advisors": {"li-na": {"pool": "east", "capacity": 3, "languages": ["zh-CN"]}}})


TESTS = """\
tests:
  - {name: who knows funds, pool: east, client: {tier: A, region: east, language: zh}, needs: {funds: 3}, expect: li-na}
  - {name: she is full, pool: east, client: {tier: A}, loads: {li-na: 118}, expect: waits, because: {li-na: capacity}}
  - {name: it took too long, pool: east, client: {tier: A}, loads: {li-na: 118}, waited: 3d, expect: no_capacity}
  - {name: she has the client, pool: east, client: {tier: A}, loads: {li-na: 120}, has: li-na, expect: li-na}
  - {name: a level less after four hours, pool: east, client: {tier: A}, needs: {funds: 4}, waited: 5h, expect: li-na}
  - {name: her licence ended, pool: east, client: {tier: A}, "on": 2027-07-01, expect: waits, because: {li-na: licence}}
  - {name: in the rest nobody waits, pool: rest, loads: {adv-7: 40}, expect: no_capacity}
"""


def test_the_file_has_tests_of_its_own():
    report = run_tests(good(files(assignment=ASSIGNMENT + TESTS)))
    of_pools = [result for result in report.results if isinstance(result.test, PoolTest)]
    assert [(result.test.name, result.failure) for result in of_pools] == [
        (name, "")
        for name in (
            *("who knows funds", "she is full", "it took too long", "she has the client"),
            *("a level less after four hours", "her licence ended", "in the rest nobody waits"),
        )
    ]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("needs: {funds: 3}, expect: li-na", "needs: {funds: 4}, expect: li-na", "it came to waits (li-na: skills)"),
        ("expect: waits, because: {li-na: capacity}", "expect: li-na", "it came to waits (li-na: capacity)"),
        ("because: {li-na: licence}", "because: {li-na: tier}", "what kept li-na was licence"),
        ("loads: {adv-7: 40}, expect: no_capacity", "expect: no_capacity", "it came to adv-7 (adv-7: could)"),
    ],
)
def test_a_test_that_fails_says_what_it_came_to(before: str, after: str, said: str):
    assert before in TESTS
    report = run_tests(good(files(assignment=ASSIGNMENT + TESTS.replace(before, after))))
    (failed,) = report.failed
    assert failed.failure == said
    first, second = failure_lines(failed)
    assert first.startswith("assignment.yaml:")
    assert f'pool "{failed.test.rule}": test "{failed.test.name}" failed' in first
    assert second == f"  expected {failed.test.expected}; {said}"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("pool: rest, loads", "pool: nowhere, loads", "nowhere"),
        ("expect: li-na}", "expect: adv-7}", "adv-7"),
        ("because: {li-na: licence}", "because: {li-na: mood}", "mood"),
        ('"on": 2027-07-01', '"on": tomorrow', "not a day"),
    ],
)
def test_a_test_that_cannot_be_read_is_a_problem(before: str, after: str, said: str):
    assert said in str(problems_of(files(assignment=ASSIGNMENT + TESTS.replace(before, after, 1))))


AWAY = "  adv-8: {pool: rest, capacity: 4, last_day: 2026-12-31, leave: [{from: 2026-12-01, until: 2026-12-14, stand_in: adv-7}]}\n"  # noqa: E501


def test_leaves_and_the_last_day_are_read():
    one = good(files(ADVISORS + AWAY)).advisors[1]
    assert (one.leave, one.last_day) == ((Leave("2026-12-01", "2026-12-14", "adv-7"),), "2026-12-31")
    days = ("2026-11-30", "2026-12-01", "2026-12-14", "2026-12-15")
    assert [one.away(day) is not None for day in days] == [False, True, True, False]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("stand_in: adv-7", "stand_in: li-na", '"li-na" cannot stand in for adv-8'),
        ("stand_in: adv-7", "stand_in: adv-8", '"adv-8" cannot stand in for adv-8'),
        ("stand_in: adv-7", "stand_in: nobody", '"nobody" cannot stand in for adv-8'),
        ("until: 2026-12-14", "until: 2026-11-14", "ends before it begins"),
        ("from: 2026-12-01", "from: first", "not a day"),
        ("}]", "}, {from: 2026-12-10, until: 2026-12-20}]", "begins within the one before"),
    ],
)
def test_a_leave_that_cannot_be_is_a_problem(before: str, after: str, said: str):
    assert said in str(problems_of(files(ADVISORS + AWAY.replace(before, after))))


def test_diff_says_who_goes_on_leave():
    old, new = good(files(ADVISORS + AWAY.replace(", stand_in: adv-7", ""))), good(files(ADVISORS + AWAY))
    (found,) = differences(old, new)
    assert (found.what, found.name, found.change) == ("advisor", '"adv-8"', "changed")
    assert "adv-7" in " ".join(found.lines)


SHEET = """\
advisor;pool;capacity;regions;languages;tiers;skills;licence_until;last_day;leave_from;leave_until;stand_in
li-na;east;120;east | west;zh | no;A;funds:3 | tax:1;2027-06-30;;;;
adv-7;rest;40;;;;;;;;;
adv-8;rest;4;;;;;;2026-12-31;2026-12-01;2026-12-14;adv-7
"""
THE_SAME = """\
advisors:
  li-na: {pool: east, capacity: 120, regions: [east, west], languages: [zh, "no"], tiers: [A], skills: {funds: 3, tax: 1}, licence_until: 2027-06-30}
  adv-7: {pool: rest, capacity: 40}
  adv-8: {pool: rest, capacity: 4, last_day: 2026-12-31, leave: [{from: 2026-12-01, until: 2026-12-14, stand_in: adv-7}]}
"""  # noqa: E501


def of_rows(sheet: str = SHEET, advisors: str = "", **more: str) -> dict[str, str]:
    return files(advisors, **more) | {"advisors.csv": sheet}


def test_rows_say_the_same_as_yaml():
    old, new = good(files(THE_SAME)), good(of_rows())
    assert new.advisors == old.advisors
    assert differences(old, new) == differences(new, old) == []
    assert ASSIGNMENT_OF.swept_by(compile_rule_set(old)) == ASSIGNMENT_OF.swept_by(compile_rule_set(new))
    commas = SHEET.replace(";", ",")
    assert good(of_rows(commas)).advisors == old.advisors
    assert good(of_rows(SHEET.replace(" | ", "|"))).advisors == old.advisors


def test_each_advisor_is_in_one_of_the_two():
    first, *others = THE_SAME.splitlines(keepends=True)
    both = of_rows("".join(SHEET.splitlines(keepends=True)[:2]), first + "".join(others[1:]))
    assert good(both).advisors == good(of_rows()).advisors
    (problem,) = problems_of(of_rows(SHEET, first + others[1]))
    assert str(problem) == 'advisors.csv:3:1: advisor "adv-7" twice; first at advisors.yaml:2:3; keep one of them'
    (change,) = differences(good(of_rows()), good(of_rows(SHEET.replace(";120;", ";90;"))))
    assert str(change) == 'advisor "li-na":\n  capacity: 120 becomes 90'


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (";tiers;", ";tier;", 'advisors.csv:1:41: unknown column "tier"; did you mean "tiers"?'),
        ("advisor;pool;capacity", "advisor;pool;last_day", 'advisors.csv:1:68: column "last_day" twice; give each '),
        ("advisor;", "name;", 'advisors.csv:1:1: unknown column "name"; '),
        (";120;", ";;", "advisors.csv:2:1: missing key capacity; add it"),
        (";120;", ";many;", 'advisors.csv:2:12: not a number: "many"; '),
        ("li-na;east", ";east", "advisors.csv:2:1: empty value; write one value"),
        ("li-na;east", "li-na;nowhere", 'advisors.csv:2:7: unknown value "nowhere"; '),
        ("east | west", "east | moon", 'advisors.csv:2:23: unknown value "moon"; '),
        ("zh | no", "zh | no-NO", 'advisors.csv:2:33: not a name: "no-NO"; write a language without its region'),
        ("funds:3 | tax:1", "funds:3 | tax", 'advisors.csv:2:48: no level in "tax"; write each skill once with its '),
        ("funds:3 | tax:1", "funds:3 | funds:1", 'advisors.csv:2:48: skill "funds" twice; '),
        ("funds:3", "funds:10", "advisors.csv:2:44: 10 is out of range; write a whole number from 1 to 9"),
        ("2027-06-30", "2027/6/30", 'advisors.csv:2:54: not a day: "2027/6/30"; write it as 2027-06-30'),
        ("2026-12-14;adv-7", "2026-11-14;adv-7", "advisors.csv:4:30: a leave that ends before it begins"),
        (
            "2026-12-14;adv-7",
            ";adv-7",
            "advisors.csv:4:30: a leave without its first or its last day; write leave_from and leave_until",
        ),
        ("2026-12-14;adv-7", "2026-12-14;li-na", 'advisors.csv:4:1: "li-na" cannot stand in for adv-8; '),
        ("li-na;east;120;", "li-na;east;120;;", "advisors.csv:2:1: row of 13 cells; the header has 12"),
        ("li-na;", "adv-7;", 'advisors.csv:3:1: advisor "adv-7" twice; first at advisors.csv:2:1; keep one of them'),
    ],
)
def test_what_is_wrong_in_a_row_is_said_at_its_cell(before: str, after: str, said: str):
    assert before in SHEET
    found = [str(problem) for problem in problems_of(of_rows(SHEET.replace(before, after, 1)))]
    assert said in [one[: len(said)] for one in found], found


def test_a_published_list_of_this_name_stays_one():
    of_old = files("", "") | {
        "advisors.csv": "who\nadv-1\n",
        "definitions.yaml": "lists:\n  people: {file: advisors.csv, column: who}\n",
    }
    rule_set = load(of_old, published=True)
    assert isinstance(rule_set, RuleSet), rule_set
    assert rule_set.advisors == ()
    assert not isinstance(load(of_old), RuleSet)


CONFLICTS = ADVISORS.replace("capacity: 40", "capacity: 40, not_for: [C2, C1]")


def test_conflicts_are_read_tested_and_diffed():
    declared = ASSIGNMENT.replace("rest: {when:", "rest: {conflict: trades_30d > 0, when:")
    tests = """\
tests:
  - {name: a relative, pool: rest, client: {id: C1}, expect: no_capacity, because: {adv-7: conflict}}
  - {name: somebody else, pool: rest, client: {id: C3}, expect: adv-7}
  - {name: not the same again, pool: rest, has: adv-7, conflict: true, expect: no_capacity}
  - {name: it does not hold, pool: rest, has: adv-7, conflict: false, expect: adv-7}
"""
    old, new = good(files()), good(files(CONFLICTS, declared + tests))
    assert new.advisors[0].not_for == ("C1", "C2")
    assert [result.failure for result in run_tests(new).results if isinstance(result.test, PoolTest)] == [""] * 4
    said = "\n".join(map(str, differences(old, new)))
    assert 'advisor "adv-7":\n  not for' in said
    assert "pools rest conflict" in said
    rows = "advisor,pool,capacity,not_for\nadv-7,rest,40,C1 | C2\n"
    (one,) = good(of_rows(rows)).advisors
    assert one.not_for == ("C1", "C2")
    (problem,) = problems_of(files(ADVISORS.replace("capacity: 40", 'capacity: 40, not_for: ["C 1"]')))
    assert str(problem) == 'advisors.yaml:3:47: not a name: "C 1"; write a client\'s id'


def test_open_tasks_are_read_checked_and_shown():
    assert [one.open_tasks for one in good(files()).advisors] == [None, None]
    limited = files(
        ADVISORS.replace("capacity: 40", "capacity: 40, open_tasks: 5"),
        ASSIGNMENT.replace("give_up: 3d", "give_up: 3d\n      open_tasks: 9"),
    )
    rule_set = good(limited)
    roster = compile_rule_set(rule_set).pools
    assert roster is not None
    assert roster.limited == {"li-na": "east", "adv-7": "rest"}
    assert [one.open_tasks for of in roster.roster.advisors.values() for one in of] == [9, 5]
    assert [str(one) for one in differences(good(files()), rule_set)] == [
        "assignment:\n  pools east open tasks: none becomes 9",
        'advisor "adv-7":\n  open tasks: none becomes 5',
    ]
    small = ADVISORS.replace("capacity: 40", "capacity: 40, open_tasks: 0")
    (problem,) = problems_of(files(small))
    assert str(problem) == "advisors.yaml:3:49: 0 is out of range; write a whole number from 1 to 10000"


def test_a_column_has_open_tasks():
    sheet = "advisor,pool,capacity,open_tasks\nwu,rest,9,4\n"
    rule_set = good(files(**{}) | {"advisors.csv": sheet})
    assert next(one for one in rule_set.advisors if one.name == "wu").open_tasks == 4


def test_a_sheet_of_more_than_a_mebibyte_is_refused_whole_and_a_smaller_one_is_read():
    head = "advisor,pool,capacity,regions,languages,skills\n"
    rows = [f"adv-{n:06d},rest,90,east | west,zh | en,funds:2 | tax:3 | bonds:1\n" for n in range(20_000)]
    most = (1 << 20) // len(rows[0]) - 1
    rule_set = good(files(**{}) | {"advisors.csv": head + "".join(rows[:most])})
    assert len(rule_set.advisors) == most + 2
    (problem,) = problems_of(files() | {"advisors.csv": head + "".join(rows)})
    assert str(problem).startswith("advisors.csv:1:1: file larger than 1 MiB; leave out columns and rows")
    assert str(problem).endswith("advisors can be in advisors.yaml")


def test_lint_finds_a_number_that_nothing_waits_for():
    def found(*rules: str) -> list[str]:
        texts = files(ADVISORS.replace("capacity: 40", "capacity: 40, open_tasks: 5")) | {
            "rules.yaml": "rules:\n" + "".join(rules)
        }
        return [str(one) for one in lint(good(texts)) if one.code == "L313"]

    asks = rule("r", kind="assignment", audience="team")
    assert len(found(asks, rule("s", kind="task", audience="advisor"))) == 1
    assert found(asks, rule("s", kind="task", audience="advisor", care="{overdue: 1h}")) == []


@pytest.mark.parametrize(
    ("when", "is_found"),
    [
        ("client.days_known >= 0", True),
        ('client.tier == "A"', True),
        ('assignment_answer.outcome != "no_capacity"', True),
        ("known(assignment_answer.advisor_id)", True),
        ('assignment_answer.outcome == "no_capacity"', False),
        ('assignment_answer.outcome in ("assigned", "moved") and client.tier == "A"', False),
        ('assignment_answer.why in ("handover", "stand_in")', False),
        ("known(assignment_answer.why)", False),
        ('assignment_answer.outcome in ("room", "assigned")', False),  # on purpose
        ('assignment_answer.outcome == "away"', False),
    ],
)
def test_lint_finds_rules_on_answers_that_hear_of_room_for_tasks(when, is_found):
    def found(advisors: str, care: str = "{overdue: 1h}") -> list[str]:
        rules = rule("s", kind="task", audience="advisor", care=care) if care else ""
        rules += rule("r", on="assignment_answers", when=f"'{when}'", kind="task", audience="team")
        return [
            str(one) for one in lint(good(files(advisors) | {"rules.yaml": "rules:\n" + rules})) if one.code == "L314"
        ]

    limited = ADVISORS.replace("capacity: 40", "capacity: 40, open_tasks: 5")
    said = 'rule "r": hears of each task that has waited for its advisor, too: of outcome room or away; ask the outcome'
    assert [said in one for one in found(limited)] == [True] * is_found
    assert found(ADVISORS) == []
    assert found(limited, care="") == []


def test_tests_of_rules_say_that_the_advisor_is_busy():
    tests = """
      - {name: room, given: GIVEN, event: {logins: {}}, expect: fires}
      - {name: busy, given: BUSY, event: {logins: {}}, expect: {not: held}}
      - {name: in vain, given: BUSY, event: {logins: {}}, wait: 3d, expect: {not: advisor_busy}}
      - {name: wrong, given: BUSY, event: {logins: {}}, expect: fires}
      - {name: nobody, given: {advisor_busy: true}, event: {logins: {}}, expect: fires}
""".replace("GIVEN", "{client: {advisor_id: adv-7}}").replace(
        "BUSY", "{client: {advisor_id: adv-7}, advisor_busy: true}"
    )
    task = rule("s", kind="task", audience="advisor", care="{overdue: 1h}", tests=tests)
    texts = files(ADVISORS.replace("capacity: 40", "capacity: 40, open_tasks: 5")) | {"rules.yaml": "rules:\n" + task}
    rule_set = good(texts)
    results = run_tests(rule_set).results
    assert [one.test.name for one in results if one.failure] == ["wrong"]
    assert len(results) == 5
