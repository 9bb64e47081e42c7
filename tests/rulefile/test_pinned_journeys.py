"""Pinned journeys: whoever is in one goes on with the version that was begun."""

from __future__ import annotations

from typing import Any

import pytest

from engine.core.client.items import ENDED, STANDS, journey
from engine.core.client.sections import pack, unpack
from engine.core.decide.path import Sweep, decide
from engine.core.plan.compile import compile_rule_set
from engine.core.rules.ruleset import RuleSet
from engine.insight.outlook import outlook
from engine.rulefile.lint.lint import lint
from engine.rulefile.read.load import load
from engine.rulefile.tools.diff import differences
from engine.rulefile.tools.effects import effects
from engine.rulefile.trial.run import run_tests
from tests.core.making import FEATURES, TIERS, Desk, at, balance, profile, trade

ACT = "{kind: task, audience: team, priority: 50, expires: 2d, template: t}"
TELL = "{kind: message, audience: client, channels: [sms], priority: 50, expires: 2d, template: t}"
ONE = ("rest: {wait: 5d}", f"call: {{act: {ACT}}}")
TWO = ("rest: {wait: 9d}", f"call: {{act: {ACT.replace('50', '60')}}}", f"tell: {{act: {TELL}}}")


def files(steps: tuple[str, ...], more: str = "", **earlier: tuple[str, ...]) -> dict[str, str]:
    text = "journeys:\n  - id: way\n    title: T\n    owner: wealth\n    description: D.\n    serves: service\n"
    text += f"    entry: {{on: trades}}\n{more}    steps:\n" + "".join(f"      {step}\n" for step in steps)
    text += "    earlier:\n" if earlier else ""
    for version, kept in earlier.items():
        text += f"      {version[1:]}:\n        steps:\n" + "".join(f"          {step}\n" for step in kept)
    others = {
        "features.yaml": f"features:\n{FEATURES}",
        "tiers.yaml": TIERS,
        "policy.yaml": "contact: {daily_cap: 2}\n",
    }
    return {**others, "rules.yaml": "rules: []\n", "journeys/way.yaml": text}


def good(texts: dict[str, str]) -> RuleSet:
    found = load(texts)
    assert isinstance(found, RuleSet), "\n".join(map(str, found))
    return found


def problems(texts: dict[str, str]) -> str:
    found = load(texts)
    assert not isinstance(found, RuleSet)
    return "\n".join(map(str, found))


def version(number: int) -> str:
    return f"    version: {number}\n    pinned: true\n"


def under(desk: Desk, rule_set: RuleSet) -> Desk:
    """The same client under other rules, as a worker that begins to follow them reads its state."""
    plan = compile_rule_set(rule_set)
    after = Desk(plan)
    after.states["c1"] = unpack(plan.layout, pack(desk.plan.layout, desk.client))
    return after


def begun(rule_set: RuleSet) -> Desk:
    desk = Desk(compile_rule_set(rule_set))
    desk.take(profile(at(0), consents={"sms": True}), trade(at(1)))
    return desk


def stands(desk: Desk) -> Any:
    entry = journey(desk.client.journeys, "way")
    assert entry is not None
    return entry[ENDED] or entry[STANDS]


def test_who_is_in_it_goes_on_with_the_version_that_was_begun():
    desk = under(begun(good(files(ONE, version(1)))), good(files(TWO, version(2), v1=ONE)))
    desk.sweep(at(2))
    assert stands(desk) == "rest-v1"
    assert [(one["rule_id"], one["priority"], one["rule_version"]) for one in desk.tick_all(at(20))] == [
        ("way/call-v1", 50, 1)
    ]
    assert stands(desk) == "completed"
    later = begun(good(files(TWO, version(2), v1=ONE)))
    assert [(one["rule_id"], one["rule_version"]) for one in later.tick_all(at(20))] == [
        ("way/call-v2", 2), ("way/tell-v2", 2)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (files(ONE, version(1)), "rest-v1"),  # pinned under way
        (files(TWO, version(2)), "rest-v2"),  # and edited at once: it was not pinned when it was begun
        (files(TWO, version(2), v1=ONE), "rest-v1"),  # unless the steps of then are kept
        (files(("wait: {wait: 9d}",), version(2)), "journey_changed"),
    ],
)
def test_a_journey_that_is_pinned_under_way(after: dict[str, str], expected: str):
    desk = under(begun(good(files(ONE))), good(after))
    desk.sweep(at(2))
    assert stands(desk) == expected
    assert unpack(desk.plan.layout, pack(desk.plan.layout, desk.client)).journeys == desk.client.journeys


def test_what_was_sent_before_it_was_pinned_counts_as_its_own():
    """A cooldown of an act holds on."""
    once = ACT.replace("template", "cooldown: 90d, template")
    steps = (f"call: {{act: {once}}}", "rest: {wait: 5d, next: call}")
    desk = begun(good(files(steps)))
    assert ("way/call", "sent") in desk.outcomes
    desk = under(desk, good(files(steps, version(1))))
    desk.tick_all(at(9))
    assert desk.outcomes == [("way/call-v1", "cooldown")]


def test_goal_and_exits_are_those_of_now():
    now = version(2) + "    exits: {rich: client.assets_cny >= 100}\n"
    desk = under(begun(good(files(ONE, version(1)))), good(files(TWO, now, v1=ONE)))
    desk.take(balance(at(2), 100))
    assert stands(desk) == "rich"


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (files(ONE, v1=TWO), "earlier without pinned: true"),
        (files(ONE, version(2), v2=TWO), "version 2 is not earlier than 2; raise the journey's version"),
        (files(ONE, version(2), v1=("rest: {wait: 5d, next: tell}",)), 'no step "tell"; allowed: rest, end'),
        (files(ONE, version(2), v1=("a: {branch: [{otherwise: a}]}",)), "a loop without a wait: a-v1"),
        (files(("rest-v2: {wait: 5d}",), version(2)), '"rest-v2" ends like a version'),
        (files(ONE, version(20), **{f"v{n}": ONE for n in range(1, 11)}), "10 earlier versions; keep at most 9"),
        (files(ONE, "    pinned: maybe\n"), 'unknown value "maybe"; allowed: true, false'),
    ],
)
def test_what_is_refused(texts: dict[str, str], said: str):
    assert said in problems(texts)


def test_diff_compares_with_the_version_that_began_before():
    before, after = good(files(ONE, version(1))), good(files(TWO, version(2), v1=ONE))
    said = [str(each) for each in differences(before, after)]
    assert said == [
        'rule "way" (T):\n  version: 1 becomes 2',
        'rule "way/call-v2": added\n  T\n  task to team, on journey, when True\n'
        "  beside way/call-v1: priority: 50 becomes 60",
        'rule "way/tell-v2": added\n  T\n  message to client, on journey, when True',
        'journey "way":\n'
        "  pinned: version 1 began becomes version 2 begins\n"
        "  steps rest for: 5d becomes 9d\n"
        '  steps call next: "" becomes tell\n'
        "  steps tell: added, ",
    ]
    led = [effect for effect in effects(before, after) if effect.startswith("journey")]
    assert led == ["journey way: whoever is in version 1 goes on with it; version 2 begins"]


def test_diff_of_a_journey_that_is_pinned_under_way():
    before = good(files(ONE))
    assert [str(each) for each in differences(before, good(files(ONE, version(1))))] == [
        'rule "way/call-v1" (T):\n  renamed: it was "way/call", and goes on with what is known of that',
        'journey "way":\n  pinned: none becomes version 1 begins',
    ]
    assert [str(each) for each in differences(before, good(files(TWO, version(2), v1=ONE)))][-1] == (
        'journey "way":\n  pinned: none becomes version 2 begins\n  steps rest for: 5d becomes 9d\n'
        '  steps call next: "" becomes tell\n  steps tell: added, \n  earlier 1: added'
    )


@pytest.mark.parametrize(
    ("after", "led"),
    [
        (
            files(TWO, version(2)),
            [
                "journey way: version 1 is taken out: to keep them, put its steps under `earlier`",
                "journey way: whoever stands at rest-v1 leaves it (journey_changed), since the step is gone",
            ],
        ),
        (
            files(TWO, "    version: 2\n"),
            [
                "journey way: is no longer pinned: whoever is in it leaves it (journey_changed)",
                "journey way: whoever stands at rest-v1 leaves it (journey_changed), since the step is gone",
            ],
        ),
        (
            files(("rest: {wait: 6d}", ONE[1]), version(1)),
            [
                "journey way: the new time of rest-v1 counts from when a client came there: "
                "what is over by that ends at once"
            ],
        ),
    ],
)
def test_what_publishing_does_to_who_is_in_it(after: dict[str, str], led: list[str]):
    before = good(files(ONE, version(1)))
    assert [effect for effect in effects(before, good(after)) if effect.startswith("journey")] == led
    desk = under(begun(before), good(after))
    decided = decide(desk.plan, desk.states, [Sweep("c1", at(2))])
    assert decided.counts["journeys", "way", "journey_changed"] == any("leaves" in line for line in led)


def test_publishing_counts_who_is_in_earlier_versions():
    before, after = good(files(ONE, version(1))), good(files(TWO, version(2), v1=ONE))
    plans, desk = [compile_rule_set(one) for one in (before, after)], begun(before)
    states = [pack(plans[0].layout, desk.client)] * 3
    lines = [line for line in outlook(plans[0], plans[1], states, at(2)).lines() if "journey" in line]
    assert lines == ["  journey way: 3 at rest-v1", "  journey way: 3 clients go on with version 1"]
    desk.tick_all(at(20))
    found = outlook(plans[0], plans[1], [pack(plans[0].layout, desk.client)], at(20))
    gone = "  journey way: nobody is in version 1 any more: it can be taken out of earlier"
    assert [line for line in found.lines() if "journey" in line] == [gone]
    assert found.as_json()["earlier_versions"] == [{"journey": "way", "version": 1, "clients": 0}]
    assert gone not in found.of_all(10).lines()  # a sample does not tell


def test_what_is_held_of_a_version_keeps_it():
    """Its night is not over yet."""
    night = "contact: {daily_cap: 9}\nclasses: {service: {when_quiet: hold}}\n"
    night += "quiet_hours: {night: {hours: '00:00-09:00'}}\n"
    steps = (f"tell: {{act: {TELL}}}",)
    before = files(steps, version(1)) | {"policy.yaml": night}
    after = files(ONE, version(2), v1=steps) | {"policy.yaml": night}
    desk = Desk(compile_rule_set(good(before)))
    desk.take(profile(at(0), consents={"sms": True}), trade(at(1, hour=2)))
    assert stands(desk) == "completed"
    plan = compile_rule_set(good(after))
    found = outlook(desk.plan, plan, [pack(desk.plan.layout, desk.client)], at(1, hour=3))
    assert found.left == {("way", 1): 1}
    assert [one["rule_id"] for one in under(desk, good(after)).tick_all(at(2))] == ["way/tell-v1"]


TESTS = """\
    tests:
      - name: version 2
        given: {client: {consents: [sms]}}
        events: [{trades: {}}]
        wait: 20d
        expect: {acts: [call, tell], ended: completed}
      - name: version 1
        version: 1
        given: {client: {consents: [sms]}}
        events: [{trades: {}}]
        wait: 3d
        expect: {acts: [], stands: rest}
      - name: not so
        version: 1
        events: [{trades: {}}]
        wait: 20d
        expect: {acts: []}
"""


def test_tests_play_each_version():
    report = run_tests(good(files(TWO, version(2) + TESTS, v1=ONE)))
    assert {result.test.name: result.failure for result in report.results} == {
        "version 2": "",
        "version 1": "",
        "not so": "what acted: call-v1; the client stands: ended: completed",
    }
    assert "no version 3 of its steps; leave it out: it has 2, 1" in problems(
        files(TWO, version(2) + TESTS.replace("version: 1", "version: 3", 1), v1=ONE)
    )
    assert "leave it out: the journey is not pinned" in problems(files(TWO, TESTS))


def test_lint_finds_its_place_in_each_version():
    doubtful = ("look: {wait: {on: logins}}", "old: {wait: {until: client.days_known < 0, timeout: 9d}}")
    texts = files(TWO, version(2), v1=doubtful)
    lines = texts["journeys/way.yaml"].splitlines()
    found = [
        one for one in lint(good(texts)) if one.file == "journeys/way.yaml" and one.code in ("L101", "L601", "L602")
    ]
    assert [(one.code, one.subject, lines[one.line - 1].split(":")[0].strip()) for one in found] == [
        ("L602", 'journey "way": step "look-v1"', "look"),
        ("L101", 'journey "way": step "old-v1"', "old"),
    ]
