"""What policy.yaml and the keys of rules about it may say, what is wrong with them, and what a change does."""

from __future__ import annotations

from typing import Any

import pytest

from engine.core.rules.policy import Holdout
from engine.core.rules.ruleset import RuleSet
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
        ("caps: {c: {at_most: 2, per: day, reserve: {for: service}}}", "policy.yaml:2:43: missing key slots; add it"),
        ("caps: {c: {at_most: 2, per: day, reserve: {for: calendar, slots: 1}}}", "policy.yaml:2:49: unknown value"),
        ("rests: {fax: {after: 3, for: 1d}}", 'policy.yaml:2:9: unknown value "fax"; allowed: '),
        ("rests: {sms: {after: 0, for: 1d}}", "policy.yaml:2:22: 0 is out of range; write a whole number from 1 to 10"),
        ("rests: {sms: {after: 3}}", "policy.yaml:2:14: missing key for; add it"),
        ("answers: {sms: client.tier}", "policy.yaml:2:16: expected a plain number, found a text; "),
        ("answers: {sms: sms_opened}", 'policy.yaml:2:16: unknown name "sms_opened"; '),
        (
            "classes: {service: {exempt: [caps, consent], channels: [sms]}}",
            "policy.yaml:2:36: class service exempt from consent; leave it out: only the class",
        ),
        (
            "classes: {service: {exempt: do_not_contact}}",
            "policy.yaml:2:29: class service exempt from do_not_contact; leave it out: only the class",
        ),
        (
            "caps: {c: {at_most: 1, per: day, of: {tag: a}}}",
            'policy.yaml:2:44: no rule has tag "a"; give a rule the tag',
        ),
        (
            "classes: {service: {not_while: client.open_complaints > 0}}",
            "policy.yaml:2:32: not a mapping; write name: value",
        ),
        ("classes: {service: {not_while: {}}}", "policy.yaml:2:32: nothing in not_while; write a name and a condition"),
        (
            "classes: {service: {not_while: {a: client.open_complaints}}}",
            "policy.yaml:2:36: expected a condition, found",
        ),
        ("classes: {service: {not_while: {a: trade.side == 'buy'}}}", 'policy.yaml:2:36: unknown name "trade.side"; '),
        ("classes: {service: {not_while: {A B: True}}}", 'policy.yaml:2:33: not a name: "A B"; write lower-case words'),
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
        ({"then": "{after: 1h}"}, 'rules.yaml:15:11: rule "r": missing key channel; add it'),
        ({"then": "{channel: fax}"}, 'rules.yaml:15:21: rule "r": unknown value "fax"; '),
        ({"then": "{channel: sms, after: 1d}"}, 'rules.yaml:15:33: rule "r": it has expired by then: nothing would be'),
        ({"then": "{channel: sms}", "audience": "team"}, 'rules.yaml:14:11: rule "r": then for audience team; remove'),
        ({"same_text": "5m"}, 'rules.yaml:15:16: rule "r": not a duration: "5m"; write 12h or 7d, from 60m to 90d'),
        ({"same_text": "5d", "audience": "team"}, 'rules.yaml:14:16: rule "r": same_text for audience team; remove it'),
        ({"holdout": "0.1"}, 'rules.yaml:15:14: rule "r": not a mapping; write keys: share, salt'),
    ],
)  # fmt: skip
def test_what_a_rule_may_not_say(fields, problem):
    found = said(files("", rule("r", **fields)))
    assert len(found) == 1
    assert found[0].startswith(problem)


# -- suitability -------------------------------------------------------------------------------------------------------

SUITS = "suitability: {products: products.csv}\n"
SHEET = "product,risk_class,youngest,oldest\ncash,R1,,\nshares,R4,18,69\n"


def with_products(policy: str = SUITS, sheet: str = SHEET, *rules: str) -> dict[str, str]:
    return files(policy, *rules) | {"products.csv": sheet}


@pytest.mark.parametrize(
    ("sheet", "problem"),
    [
        ("product,risk\ncash,R1\n", 'products.csv:1:1: no column risk_class; the columns are'),
        ("product,risk_class\ncash,R7\n", 'products.csv:2:6: unknown value "R7"; '),
        ("product,risk_class\ncash,R1\ncash,R2\n", "products.csv:3:1: product twice; write each product once"),
        ("product,risk_class\n,R1\n", "products.csv:2:1: empty value; write each product once"),
        ("product,risk_class,oldest\ncash,R1,old\n", 'products.csv:2:9: not a number: "old"; '),
        ("product,risk_class,oldest\ncash,R1,200\n", "products.csv:2:9: 200 is out of range; write a whole"),
    ],
)  # fmt: skip
def test_what_a_file_of_products_may_not_say(sheet, problem):
    found = said(with_products(sheet=sheet))
    assert found[0].startswith(problem), found


@pytest.mark.parametrize(
    ("policy", "problem"),
    [
        ("suitability: {}", "policy.yaml:2:14: missing key products; add it"),
        (SUITS.replace("products.csv", "product.csv"), 'policy.yaml:2:25: no file product.csv; did you mean'),
        (SUITS.replace("}", ", within: 9d}"), "policy.yaml:2:14: assessed and within go together; write"),
        (SUITS.replace("}", ", assessed: client.tier, within: 9d}"), "policy.yaml:2:49: expected days, found a text; "),
        (SUITS.replace("}", ", blacklist: {clients: staff}}"), 'policy.yaml:2:60: no list "staff"; declare it in'),
    ],
)  # fmt: skip
def test_what_suitability_may_not_say(policy, problem):
    assert any(one.startswith(problem) for one in said(with_products(policy))), said(with_products(policy))


def test_an_offer_needs_a_product_and_somebody_who_says_whom_it_suits():
    offers = rule("r", offers="{product: '\"cash\"'}")
    (found,) = said(files("", offers))
    assert found.startswith('rules.yaml:15:13: rule "r": offers, and policy.yaml does not say what suits whom; add')
    assert good(with_products(SUITS, SHEET, offers)).rules[0].offers is not None
    for product, problem in (
        ("5", "expected a text, found a plain number"),
        ("cash", 'unknown name "cash"'),
        ("n", "offers what is no text; offer a product by its name in the products' file"),
        ("feedback.comment", "offers what is personal; offer"),
    ):
        spoilt = rule("r", on="feedback", offers=f"{{product: {product}}}", parameters="{n: client.days_known}")
        (found,) = said(with_products(SUITS, SHEET, spoilt))
        assert problem in found


def test_rules_are_tested_for_what_they_offer():
    tests = stories(
        f"{{name: a, given: {{client: {{risk_level: R5, age_band: 36_45}}}}, {LOGIN}, expect: fires}}",
        f"{{name: b, given: {{client: {{risk_level: R5}}}}, {LOGIN}, expect: {{not: unsuitable}}}}",
    )
    report = run_tests(good(with_products(SUITS, SHEET, rule("r", offers="{product: '\"shares\"'}", tests=tests))))
    assert not report.failed


def test_a_change_of_products_in_words():
    before = good(with_products())
    after = good(with_products(SUITS, SHEET.replace("R4", "R3") + "gold,R2,,\n"))
    assert [str(one) for one in differences(before, after)] == [
        "policy:\n  suitability products shares risk class: R4 becomes R3\n"
        "  suitability products gold: added, risk class R2"
    ]
    (added,) = differences(good(files()), before)
    assert added.lines == ("suitability: none becomes products 2",)


# -- slots -------------------------------------------------------------------------------------------------------------


def test_slots_for_the_calendar_and_for_a_class_of_that_name():
    def cap(reserve: str, classes: str = "") -> Any:
        return good(files(f"{classes}caps: {{c: {{at_most: 3, per: day, reserve: {reserve}}}}}\n")).policy.caps[1]

    assert (cap("{for: calendar}").for_calendar, cap("{for: calendar}").reserved) == (True, 0)
    both = cap("[{slots: 2, for: service}, {for: calendar}]")
    assert (both.for_calendar, both.reserved, both.reserved_for) == (True, 2, "service")
    of_class = cap("{slots: 1, for: calendar}", "classes: {calendar: {}, service: {}}\n")
    assert (of_class.for_calendar, of_class.reserved, of_class.reserved_for) == (False, 1, "calendar")
    before, after = (
        files(f"caps: {{c: {{at_most: 3, per: day{more}}}}}\n") for more in ("", ", reserve: {for: calendar}")
    )
    (changed,) = differences(good(before), good(after))
    assert changed.lines == ("caps c for calendar: no becomes yes",)


# -- channels ----------------------------------------------------------------------------------------------------------


def test_rules_are_tested_for_what_comes_then():
    history = "history: [{at: -1d, logins: {}}]"
    tests = stories(
        f"{{name: a, given: {{{history}}}, event: {{receipts: {{channel: app_push, status: bounced}}}}, wait: 1h,"
        " expect: {fires: {count: 1, channel: sms}}}",
        f"{{name: b, given: {{{history}}}, event: {{receipts: {{channel: app_push, status: opened}}}}, wait: 9d,"
        " expect: {not: condition}}",
        f"{{name: c, {LOGIN}, wait: 2d, expect: {{fires: {{count: 2}}}}}}",
        f"{{name: d, given: {{history: [{{at: -1h, receipts: {{channel: app_push, status: failed}}}}]}}, {LOGIN},"
        " expect: {not: channel_rests}}",
    )
    then = {"then": "{channel: sms, after: 2d}", "expires": "9d", "cooldown": "9d"}
    report = run_tests(good(files("", rule("r", **then, tests=tests))))
    assert [(result.test.name, result.failure) for result in report.failed] == [("d", "it fired once")]
    rests = "rests: {app_push: {after: 1, for: 9d}, sms: {after: 1, for: 9d}}"
    report = run_tests(good(files(rests, rule("r", **then, channels="app_push", tests=tests))))
    assert not [result.test.name for result in report.failed if result.test.name != "c"]


def test_changes_of_channels_in_words():
    before, after = (good(files(f"rests: {{sms: {{after: {n}, for: 9d}}}}\nanswers: {{sms: {n}}}\n")) for n in (3, 4))
    (policy,) = differences(before, after)
    assert policy.lines == ("rests sms failures: 3 becomes 4", "answers sms: `3` becomes `4`")
    then = rule("r", then="{channel: [sms, email], after: 2d}", expires="9d")
    (changed,) = differences(good(files("", rule("r", expires="9d"))), good(files("", then)))
    assert changed.lines[0] == "then: none becomes channels sms, email, wait 2d"


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


# -- what keeps a class from a client ----------------------------------------------------------------------------------


def test_rules_are_tested_for_what_keeps_them_away_and_a_change_of_it_in_words():
    def of(bars: str) -> RuleSet:
        opened, settled = "{at: -9d, complaints: {}}", "{at: -5d, complaints: {status: resolved}}"
        tests = stories(
            f"{{name: a, {LOGIN}, expect: fires}}",
            f"{{name: b, given: {{history: [{opened}]}}, {LOGIN}, expect: {{not: not_while}}}}",
            f"{{name: c, given: {{history: [{opened}, {settled}]}}, {LOGIN}, expect: fires}}",
        )
        return good(files(f"classes: {{service: {{not_while: {{{bars}}}}}}}", rule("r", tests=tests)))

    complains = of("complaint: client.open_complaints > 0")
    assert not run_tests(complains).failed
    changed = of("complaint: client.open_complaints > 1, silent: client.days_since_login > 90")
    assert [result.test.name for result in run_tests(changed).failed] == ["b"]
    (policy,) = differences(complains, changed)
    assert policy.lines == (
        "classes service not while complaint: `client.open_complaints > 0` becomes `1`",
        "classes service not while silent: added, client.days_since_login > 90",
    )
