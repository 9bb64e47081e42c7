"""Files of journeys: what they may say, what is refused and where, what is doubtful."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.core.rules.occasion import Ends, JourneyStep, Split, Waits
from engine.core.rules.ruleset import RuleSet
from engine.rulefile.lint.lint import lint
from engine.rulefile.read.load import load, read_directory
from engine.rulefile.tools.diff import differences
from engine.rulefile.tools.effects import effects
from engine.rulefile.tools.format import formatted
from engine.rulefile.trial.run import run_tests
from tests.core.making import FEATURES, TIERS, rule
from tests.services.process import REPOSITORY

ACT = "{kind: task, audience: team, priority: 50, expires: 2d, template: t}"
HEAD = "title: T\n    owner: wealth\n    description: D.\n    serves: service\n    entry: {on: trades}"


def files(steps: str, more: str = "", rules: str = "", head: str = HEAD, id_: str = "way") -> dict[str, str]:
    text = f"journeys:\n  - id: {id_}\n    {head}\n{more}    steps:\n"
    text += "".join(f"      {line}\n" for line in steps.strip().splitlines())
    return {
        "features.yaml": f"features:\n{FEATURES}",
        "tiers.yaml": TIERS,
        "policy.yaml": "contact: {daily_cap: 2}\n",
        "rules.yaml": f"rules:\n{rules}" if rules else "rules: []\n",
        "journeys/way.yaml": text,
    }


def good(texts: dict[str, str]) -> RuleSet:
    found = load(texts)
    assert isinstance(found, RuleSet), "\n".join(map(str, found))
    return found


def problem(texts: dict[str, str]) -> str:
    found = load(texts)
    assert not isinstance(found, RuleSet)
    assert len(found) == 1, "\n".join(map(str, found))
    return str(found[0])


def test_a_journey_becomes_rules_and_steps():
    rule_set = good(
        files(f"a: {{act: {ACT}}}\nrest: {{wait: 2d}}\narm: {{split: {{to: {{a: 1, z: 3}}}}}}\nz: {{exit: gone}}")
    )
    (journey,) = rule_set.journeys
    assert {each.id: each.occasion for each in rule_set.rules}["way/a"] == JourneyStep("way", "a")
    assert [each.kind for each in rule_set.rules if each.id == "way"] == ["journey"]
    assert journey.doing["rest"] == Waits("", None, None, 2 * 86_400, None, 0, "arm", "arm")
    assert journey.doing["arm"] == Split("way/arm", (("a", 1), ("z", 3)))
    assert journey.doing["z"] == Ends("gone")
    assert journey.reasons == ("gone", "completed", "journey_changed")


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ("a: {wait: 2d, next: b}", '9:27: rule "way": no step "b"; allowed: a, end'),
        ("end: {wait: 2d}", 'a step called "end"'),
        ("a: {wait: 2d, exit: gone}", "2 of act, wait, branch, split, exit; a step does one of them"),
        ("a: {wait: {on: logins, until: client.has_advisor}}", "2 of on, until, at and for"),
        ("a: {wait: {on: logins, otherwise: a}}", "otherwise without timeout"),
        ("a: {wait: {until: now > client.tier_since}}", '"now" changes all the time'),
        ("a: {wait: {on: logins, when: trade.amount_cny > 1}}", 'unknown name "trade.amount_cny"'),
        ("a: {wait: {on: logins, of: b}}", "of beside on: logins"),
        ("a: {wait: 400d}", "400d is out of range"),
        ("a: {exit: goal}", '"goal" has a meaning of its own'),
        ("a: {split: {to: {a: 1}}}", "1 ways; write 2 to 10"),
        ("a: {branch: [{otherwise: a}]}", "a loop without a wait: a; put a wait"),
        (f"a: {{act: {ACT}}}\nb: {{wait: {{until: client.has_advisor}}, next: a}}", "a loop without a wait: a, b"),
        ("a: {act: {kind: task, audience: team, priority: 50, expires: 2d}}", "missing key template"),
        ("a: {act: {kind: note, audience: team, priority: 50, expires: 2d, template: t}}", 'unknown value "note"'),
    ],
)
def test_what_is_refused(steps: str, said: str):
    assert said in problem(files(steps))


def test_faults_of_a_step_name_journey_and_step():
    assert 'rule "way/a": missing key channels' in problem(files(f"a: {{act: {ACT.replace('team', 'client')}}}"))


def test_ids_are_those_of_rules_too():
    assert 'duplicate rule id "way"' in problem(files("a: {wait: 2d}", rules=rule("way")))


def test_names_of_journey_and_step_fit_an_identifier():
    long = "a" * 40
    assert "has more than 64 characters" in problem(files(f"{long}: {{act: {ACT}}}", id_=long))


def test_there_are_at_most_32():
    texts = files("a: {wait: 2d}")
    text = texts["journeys/way.yaml"]
    texts |= {f"journeys/{n}.yaml": text.replace("id: way", f"id: way-{n}") for n in range(31)}
    assert len(good(texts).journeys) == 32
    texts["journeys/one.yaml"] = text.replace("id: way", "id: one")
    assert "33 journeys; stay within 32" in problem(texts)


@pytest.mark.parametrize(
    ("steps", "more", "codes"),
    [
        (f"a: {{act: {ACT}, next: end}}\nb: {{act: {ACT}}}", "", ["L601"]),
        (f"a: {{wait: {{on: logins}}}}\nb: {{act: {ACT}}}", "", ["L602"]),
        (f"a: {{wait: {{on: logins, timeout: 9d}}}}\nb: {{act: {ACT}}}", "", []),
        ("a: {wait: 2d}", "", ["L603"]),
        (f"a: {{act: {ACT}}}", "    exits: {known: client.days_known >= 0}\n", ["L102"]),
        (f"a: {{act: {ACT}}}", "    goal: client.days_known < 0\n", ["L101"]),
        (f"a: {{branch: [{{when: client.days_known < 0, to: b}}]}}\nb: {{act: {ACT}}}", "", ["L101"]),
    ],
)
def test_what_is_doubtful(steps: str, more: str, codes: list[str]):
    texts = files(steps, more + "    tests:\n      - {name: n, wait: 1d, expect: {stands: nowhere}}\n")
    assert [finding.code for finding in lint(good(texts)) if finding.file == "journeys/way.yaml"] == codes


def test_a_journey_without_tests_is_named():
    findings = lint(good(files(f"a: {{act: {ACT}}}")))
    assert [(finding.code, finding.subject) for finding in findings if finding.code == "L301"] == [
        ("L301", 'journey "way"')
    ]


STORY = """\
    tests:
      - name: right
        given: {client: {tier: B}}
        events: [{trades: {}}, {after: 1d, logins: {}}]
        wait: 9d
        expect: {acts: [a, b], ended: completed}
      - name: other acts
        events: [{trades: {}}]
        expect: {acts: [b]}
      - name: elsewhere
        events: [{trades: {}}]
        expect: {stands: nowhere}
      - name: not stopped
        events: [{trades: {}}]
        expect: {stopped: {a: cap}}
      - name: not ended
        events: [{trades: {}}]
        expect: {ended: completed}
"""


def test_tests_play_time_and_say_what_was_otherwise():
    steps = f"a: {{act: {ACT}}}\nlook: {{wait: {{on: logins, timeout: 5d, otherwise: end}}}}\nb: {{act: {ACT}}}"
    report = run_tests(good(files(steps, STORY)))
    assert {result.test.name: result.failure for result in report.results} == {
        "right": "",
        "other acts": "what acted: a; the client stands: look",
        "elsewhere": "the client stands: look",
        "not stopped": "a was not stopped; the client stands: look",
        "not ended": "the client stands: look",
    }


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ("{name: n, expect: {acts: []}}", "neither events nor wait"),
        ("{name: n, wait: 1d, expect: {}}", "nothing is expected"),
        ("{name: n, wait: 1d, expect: {stands: a, ended: completed}}", "both stands and ended"),
        ("{name: n, wait: 1d, expect: {acts: [rest]}}", 'unknown value "rest"; did you mean'),
        ("{name: n, wait: 1d, expect: {ended: bored}}", 'unknown value "bored"'),
        ("{name: n, events: [{after: 1d}], expect: {acts: []}}", "0 events"),
    ],
)
def test_tests_with_faults(test: str, said: str):
    texts = files(f"a: {{act: {ACT}}}\nrest: {{wait: 2d}}", f"    tests:\n      - {test}\n")
    found = load(texts)
    assert not isinstance(found, RuleSet)
    assert any(said.partition("; did")[0] in str(one) for one in found), "\n".join(map(str, found))


def test_the_folder_is_read_and_hidden_files_are_not(tmp_path: Path):
    for name, text in files("a: {wait: 2d}").items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    (tmp_path / "journeys/.way.yaml.swp.yaml").write_text("x")
    (tmp_path / "journeys/notes.txt").write_text("x")
    assert [name for name in read_directory(tmp_path) if "/" in name] == ["journeys/way.yaml"]


def test_shipped_journeys_are_laid_out():
    for path in sorted((REPOSITORY / "rules/journeys").glob("*.yaml")):
        text = path.read_text()
        assert formatted(path.name, text) == text


def test_what_changed_and_what_it_does_to_who_is_in_it():
    before = good(files("rest: {wait: 2d}\nlook: {wait: {on: logins, timeout: 9d}}", "    goal: client.has_advisor\n"))
    after = good(
        files("rest: {wait: 1d}\nseek: {wait: {on: logins, timeout: 9d}}", "    goal: client.days_known > 9\n")
    )
    (found,) = differences(before, after)
    assert str(found).splitlines() == [
        'journey "way":',
        "  ends goal: `client.has_advisor` becomes `client.days_known > 9`",
        "  steps rest for: 2d becomes 1d",
        "  steps rest next: look becomes seek",
        "  steps rest otherwise: look becomes seek",
        "  steps look: removed",
        "  steps seek: added, on logins, for 0d, timeout 9d",
        "  steps seek: looks like a rename of look",
    ]
    assert [effect for effect in effects(before, after) if effect.startswith("journey")] == [
        "journey way: whoever stands at look leaves it (journey_changed), since the step is gone",
        "journey way: the new time of rest counts from when a client came there: what is over by that ends at once",
        "journey way: its goal and exits are asked at once of whoever is in it",
    ]
    gone = good({name: text for name, text in files("a: {wait: 2d}").items() if "/" not in name})
    assert "journey way: whoever is in it leaves it (journey_changed)" in effects(before, gone)
    assert not differences(before, before)


def test_a_feature_that_only_a_journey_uses_is_used():
    texts = files("look: {wait: {until: seen_3d >= 1, timeout: 9d}}")
    texts["features.yaml"] += "  seen_3d: {source: logins, aggregate: count, window: 3d}\n"
    unused = {found.subject for found in lint(good(texts)) if found.code == "L306"}
    assert 'feature "seen_3d"' not in unused
    texts["journeys/way.yaml"] = texts["journeys/way.yaml"].replace("seen_3d >= 1", "client.has_advisor")
    assert 'feature "seen_3d"' in {found.subject for found in lint(good(texts)) if found.code == "L306"}
