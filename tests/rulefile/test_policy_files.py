"""What policy.yaml and the keys of rules about it may say, what is wrong with them, and what a change does."""

from __future__ import annotations

import pytest

from engine.core.rules.policy import Holdout
from engine.rulefile.tools.diff import differences
from engine.rulefile.tools.effects import effects
from engine.rulefile.trial.run import run_tests
from tests.core.making import TIERS, rule
from tests.rulefile.sample import good, problems_of

FEATURES = (
    "features:\n  assets_avg_cny_30d: {source: balances, aggregate: daily_mean, field: assets_cny, window: 30d}\n"
)


def files(policy: str = "", *rules: str) -> dict[str, str]:
    return {
        "features.yaml": FEATURES,
        "tiers.yaml": TIERS,
        "policy.yaml": "contact: {daily_cap: 9}\n" + policy,
        "rules.yaml": "rules:\n" + "".join(rules or (rule("r"),)),
    }


def said(found: dict[str, str]) -> list[str]:
    return [str(problem) for problem in problems_of(found)]


def stories(*tests: str) -> str:
    return "\n" + "".join(f"      - {test}\n" for test in tests)


LOGIN = "event: {logins: {}}"


@pytest.mark.parametrize(
    ("policy", "problem"),
    [
        ("holdout: {share: 1.5, salt: a}", "policy.yaml:2:18: 1.5 is out of range; write a share from 0 to 1, such as"),
        ("holdout: {share: 5%, salt: a}", 'policy.yaml:2:18: not a number: "5%"; '),
        ("holdout: {share: 0.1}", "policy.yaml:2:10: missing key salt; add it"),
        ("holdout: {share: 0.1, salt: A B}", 'policy.yaml:2:29: not a name: "A B"; write lower-case words'),
        ("classes: {service: {holdout: maybe}}", 'policy.yaml:2:30: unknown value "maybe"; allowed: true, false'),
    ],
)
def test_what_a_policy_may_not_say(policy, problem):
    found = said(files(policy))
    assert len(found) == 1
    assert found[0].startswith(problem)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"holdout": "{share: -1, salt: a}"}, 'rules.yaml:15:22: rule "r": -1 is out of range; write a share from'),
        ({"holdout": "0.1"}, 'rules.yaml:15:14: rule "r": not a mapping; write keys: share, salt'),
    ],
)  # fmt: skip
def test_what_a_rule_may_not_say(fields, problem):
    found = said(files("", rule("r", **fields)))
    assert len(found) == 1
    assert found[0].startswith(problem)


# -- holdouts ----------------------------------------------------------------------------------------------------------

SPRING = "holdout: {share: 0.05, salt: spring}"


def test_tests_say_in_which_arm_the_client_is():
    tests = stories(
        f"{{name: a, {LOGIN}, expect: fires}}",
        f"{{name: b, given: {{arm: treated}}, {LOGIN}, expect: fires}}",
        f"{{name: c, given: {{arm: holdout}}, {LOGIN}, expect: {{not: holdout}}}}",
        f"{{name: d, given: {{arm: holdout, client: {{consents: []}}}}, {LOGIN}, expect: {{not: no_consent}}}}",
        f"{{name: e, {LOGIN}, expect: {{not: holdout}}}}",
    )
    for policy, by_rule in ((SPRING, {}), ("", {"holdout": SPRING[9:]}), (SPRING.replace("0.05", "1"), {})):
        report = run_tests(good(files(policy, rule("r", tests=tests, **by_rule))))
        assert [result.test.name for result in report.failed] == ["e"], policy
        assert report.failed[0].failure == "it fired once"
    (found,) = said(files(SPRING, rule("r", tests=stories(f"{{name: a, given: {{arm: x}}, {LOGIN}, expect: fires}}"))))
    assert 'unknown value "x"; allowed: treated, holdout' in found


def test_classes_that_are_exempt_unless_said():
    policy = good(
        files("classes: {regulatory: {counts: false}, risk: {holdout: true}, offers: {}, service: {}}")
    ).policy
    assert [(one.name, one.holdout) for one in policy.classes] == [
        ("regulatory", False),
        ("risk", True),
        ("offers", True),
        ("service", True),
    ]
    assert [one.name for one in good(files()).policy.classes if not one.holdout] == ["regulatory", "risk"]


DRAWN = [
    (SPRING, SPRING.replace("0.05", "0.1"), "5.00% of all clients are held out from now on; those before stay"),
    (SPRING, SPRING.replace("0.05", "0.02"), "3.00% of all clients are no longer held out"),
    (SPRING, "", "5.00% of all clients are no longer held out"),
    ("", SPRING, "5.00% of all clients are held out from now on"),
    (SPRING, SPRING.replace("spring", "summer"), "its salt changed, so all clients are drawn anew and what was measured"
     " so far is spoilt; write salt: spring again unless that is meant"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "effect"), DRAWN)
def test_what_a_change_of_a_holdout_does(before, after, effect):
    assert effects(good(files(before)), good(files(after))) == (f"holdout of the firm: {effect}",)

    def of_rule(id_: str, text: str, **fields: str) -> dict[str, str]:
        return files("", rule(id_, holdout=text[9:] or None, **fields))

    old = good(of_rule("r", before))
    assert effects(old, good(of_rule("r", after))) == (f"holdout of rule r: {effect}",)
    assert effects(old, good(of_rule("s", after, was="r"))) == (f"holdout of rule s: {effect}",)
    assert effects(old, good(of_rule("s", before, was="r"))) == ()


def test_the_difference_in_words():
    before, after = good(files(SPRING)), good(files(SPRING.replace("0.05", "0.1").replace("spring", "summer")))
    assert [str(one) for one in differences(before, after)] == [
        "policy:\n  holdout salt: spring becomes summer\n  holdout share: 0.05 becomes 0.1"
    ]
    assert [str(one) for one in differences(good(files()), before)] == [
        "policy:\n  holdout: none becomes salt spring, share 0.05"
    ]
    classes = (
        good(files("classes: {risk: {holdout: true}, service: {}}")),
        good(files("classes: {risk: {}, service: {}}")),
    )
    assert [str(one) for one in differences(*classes)] == ["policy:\n  classes risk holdout: yes becomes no"]
    (changed,) = differences(good(files()), good(files("", rule("r", holdout="{share: 0.5, salt: a}"))))
    assert changed.lines == ("holdout: none becomes salt a, share 0.5",)  # what the rule does is the same


def test_a_holdout_is_read():
    found = good(files(SPRING, rule("r", holdout="{share: 0, salt: a-b}")))
    assert found.policy.holdout == Holdout("spring", 0.05)
    assert found.rules[0].holdout == Holdout("a-b", 0)


@pytest.mark.parametrize(
    ("rates", "fault"),
    [
        ("{sms: {at_most: 0, per: minute}}", "0"),
        ("{sms: {at_most: 5, per: second}}", "second"),
        ("{sms: {at_most: 5}}", "missing key per"),
        ("{sms: {at_most: 5, per: minute, of: {channel: fax}}}", "fax"),
        ("{sms: {at_most: 5, per: minute, of: {team: nobody}}}", 'no rule has team "nobody"'),
    ],
)
def test_a_rate_that_is_none_is_refused_where_it_stands(rates: str, fault: str) -> None:
    found = said(files(f"rates: {rates}\n"))
    assert [problem for problem in found if fault in problem and problem.startswith("policy.yaml:2:")], found


def test_a_rate_in_a_diff():
    before, after = (good(files(f"rates: {{sms: {{at_most: {n}, per: minute}}}}\n")) for n in (5, 6))
    (found,) = map(str, differences(before, after))
    assert "rates" in found
