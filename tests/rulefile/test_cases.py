"""Tests in rule files: what they give, what they expect, what is wrong with them, which branches they leave out."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from textwrap import indent
from xml.etree import ElementTree

import pytest

from engine.core.rules.ruleset import RuleSet
from engine.rulefile.read.load import load, read_directory
from engine.rulefile.report.trial import report_tests
from engine.rulefile.trial.run import Report, run_tests
from tests.core.making import TIERS, rule
from tests.rulefile.sample import problems_of
from tests.services.process import REPOSITORY

FEATURES = """\
features:
  assets_avg_cny_30d: {source: balances, aggregate: daily_mean, field: assets_cny, window: 30d}
  logins_30d: {source: logins, aggregate: count, window: 30d}
  bought_cny_7d: {source: trades, aggregate: sum, field: amount_cny, where: trade.side == "buy", window: 7d}
"""
RULE = """\
rules:
  - id: r
    title: T
    owner: wealth
    {on}
    kind: message
    audience: client
    channels: [sms, email]
    priority: 50
    cooldown: 7d
    expires: 1d
    template: t
    parameters: {{logins: logins_30d, assets: client.assets_cny, type: client.type, margin: client.margin_ratio}}
    description: D.
    tests:
"""


def files(tests: str, on: str) -> dict[str, str]:
    return {
        "features.yaml": FEATURES,
        "tiers.yaml": TIERS,
        "policy.yaml": "contact:\n  daily_cap: 2\n",
        "rules.yaml": RULE.format(on=on) + indent(tests.strip("\n"), "      ") + "\n",
    }


def run(tests: str, on: str) -> Report:
    rule_set = load(files(tests, on))
    assert isinstance(rule_set, RuleSet), "\n".join(map(str, rule_set))
    return run_tests(rule_set)


def a_test(given: str = "", what: str = "event: {logins: {}}", expect: str = "fires") -> str:
    return f"- name: n\n{indent(given.strip(), '  ')}\n  {what}\n  expect: {expect}\n"


@pytest.mark.parametrize(
    ("on", "given", "what", "expect"),
    [
        ("on: logins", "", "event: {logins: {}}", "fires"),
        ("on: logins", "", "event: {logins: {}}", "{fires: {channel: sms, count: 1, parameters: {logins: 1}}}"),
        ("on: logins", "given: {client: {consents: [email]}}", "event: {logins: {}}", "{fires: {channel: email}}"),
        ("on: logins", "given: {client: {consents: []}}", "event: {logins: {}}", "{not: no_consent}"),
        ("on: logins", "given: {history: [{at: -3d, logins: {}}]}", "event: {logins: {}}", "{not: cooldown}"),
        ("on: logins", "given: {history: [{at: -8d, logins: {}}]}", "event: {logins: {}}", "fires"),
        ("on: trades", "", "event: {logins: {}}", "{not: condition}"),
        # what came back, and was wrong
        (
            "on: feedback",
            "given: {history: [{at: -1h, feedback: {nps: 3}}]}",
            "event: {corrections: {cancel: feedback}}",
            "retracted",
        ),
        (
            "on: logins",
            "given: {history: [{at: -3d, overrides: {kind: do_not_contact}}, "
            "{at: -1d, corrections: {cancel: overrides}}]}",
            "event: {logins: {}}",
            "fires",
        ),
        # what staff decided
        (
            "on: logins",
            "given: {history: [{at: -3d, overrides: {kind: do_not_contact}}]}",
            "event: {logins: {}}",
            "{not: do_not_contact}",
        ),
        (
            "on: logins",
            'given: {history: [{at: -3d, overrides: {kind: snooze, until: "2026-11-02 10:01"}}]}',
            "event: {logins: {}}",
            "{not: snoozed}",
        ),
        (
            "on: logins",
            'given: {history: [{at: -3d, overrides: {kind: snooze, rule_id: r, until: "2026-11-02 10:00"}}]}',
            "event: {logins: {}}",
            "fires",
        ),
        (
            "becomes: client.tier == 'A'",
            "given: {client: {tier: C}}",
            'event: {overrides: {kind: tier, tier: A, starts_at: "2026-11-05", until: "2026-12-01"}}\n  wait: 2d',
            "{not: condition}",
        ),
        (
            "becomes: client.tier == 'A'",
            "given: {client: {tier: C}}",
            'event: {overrides: {kind: tier, tier: A, starts_at: "2026-11-05", until: "2026-12-01"}}\n  wait: 3d',
            "fires",
        ),
        # who the client is
        ("on: logins\n    when: client.tier == 'A'", "given: {client: {tier: A}}", "event: {logins: {}}", "fires"),
        ("on: logins\n    when: client.tier == 'C'", "given: {client: {tier: C}}", "event: {logins: {}}", "fires"),
        (
            'on: logins\n    when: client.tier == "A" and client.assets_cny == 5_000',
            "given: {client: {tier: A, assets_cny: 5_000}}",
            "event: {logins: {}}",
            "{fires: {parameters: {assets: 5_000}}}",
        ),
        (
            'on: logins\n    when: client.tier == "insurer" and client.type == "insurer"',
            "given: {client: {type: insurer, tier: insurer}}",
            "event: {logins: {}}",
            "{fires: {parameters: {type: insurer, assets: missing, margin: missing}}}",
        ),
        (
            "on: logins\n    when: client.days_known == 20",
            "given: {client: {known_for: 20d}}",
            "event: {logins: {}}",
            "fires",
        ),
        ("on: logins\n    when: client.days_known == 366", "", "event: {logins: {}}", "fires"),
        (
            "on: logins\n    when: not known(client.type)",
            "given: {client: unknown}",
            "event: {logins: {}}",
            "{not: no_consent}",
        ),
        (
            "on: logins\n    when: client.margin_ratio < 2 and client.assets_peak_cny > 800 and client.cash_cny == 7",
            "given: {client: {margin_ratio: 1.25, assets_cny: 10, assets_peak_cny: 900, cash_cny: 7}}",
            "event: {logins: {}}",
            "{fires: {parameters: {margin: 1.25}}}",
        ),
        (
            'on: logins\n    when: client.age_band == "25_35" and client.has_advisor and client.region == "west"',
            "given: {client: {age_band: 25_35, advisor_id: a-7, region: west, risk_level: R2, language: en}}",
            "event: {logins: {}}",
            "fires",
        ),
        # what happened, and what happens
        (
            "on: logins\n    when: logins_30d == 5",
            "given: {history: [{at: -20d, every: 1d, times: 4, logins: {success: false}}]}",
            "event: {logins: {}}",
            "fires",
        ),
        (
            "on: trades\n    when: logins_30d == 6 and bought_cny_7d == 300.5",
            "given: {history: [{at: -6d, every: 1d, logins: {}}, {at: -1h, trades: {amount_cny: 100}}]}",
            "event: {trades: {amount_cny: 200.50}}",
            "fires",
        ),
        (
            "on: balances\n    when: balance.assets_cny == 150 and client.margin_ratio == 2",
            "given: {client: {assets_cny: 100, margin_ratio: 2}}",
            "event: {balances: {kind: deposit, amount_cny: 50}}",
            "fires",
        ),
        (
            "on: balances\n    when: balance.assets_cny == 60",
            "given: {client: {assets_cny: 100}, history: [{at: -2d, balances: {kind: fee, amount_cny: 10}}]}",
            "event: {balances: {kind: loss, amount_cny: 30}}",
            "fires",
        ),
        ('on: balances\n    when: balance.kind == "snapshot"', "", "event: {balances: {assets_cny: 90}}", "fires"),
        (
            'on: profiles\n    when: client.region == "west" and client.age_band == "over_60"',
            "given: {client: {age_band: over_60}}",
            "event: {profiles: {region: west}}",
            "fires",
        ),
        (
            'on: tier_change\n    when: tier_change.new == "A"',
            "given: {client: {tier: C}}",
            "event: {balances: {assets_cny: 90_000_000}}",
            "fires",
        ),
        # time
        ("silence: {of: logins, for: 30d}", "given: {history: [{at: -1h, logins: {}}]}", "wait: 30d", "fires"),
        (
            "silence: {of: logins, for: 30d}",
            "given: {history: [{at: -1h, logins: {}}]}",
            "wait: 29d",
            "{not: condition}",
        ),
        ("silence: {of: logins, for: 30d}", "", "event: {logins: {}}\n  wait: 30d", "{fires: {count: 1}}"),
        (
            'becomes: client.tier == "A"',
            "given: {client: {tier: C}}",
            "event: {balances: {assets_cny: 90_000_000}}",
            "fires",
        ),
        ('becomes: client.tier == "A"', "given: {client: {tier: A}}", "event: {logins: {}}", "{not: condition}"),
        (
            "becomes: client.assets_cny < 100\n    for: 3d",
            "given: {client: {assets_cny: 500}}",
            "event: {balances: {kind: withdrawal, amount_cny: 450}}\n  wait: 3d",
            "{fires: {count: 1}}",
        ),
        ('at: {every: month, day: 5, time: "09:00"}', "", "wait: 4d", "fires"),
        ("at: {every: birthday, time: '09:00'}", "given: {client: {birth_date: 1980-11-04}}", "wait: 2d", "fires"),
        (
            "at: {every: maturity, before: 3d, time: '09:00'}\n    when: maturity.days == 3",
            "given: {history: [{at: -9d, trades: {matures_on: 2026-11-10}}]}",
            "wait: 7d",
            "fires",
        ),
        (
            "sequence: {first: {on: balances, when: balance.amount_cny >= 100}, without: {on: trades}, within: 7d}",
            "",
            "event: {balances: {kind: deposit, amount_cny: 100}}\n  wait: 7d",
            "fires",
        ),
        (
            "sequence: {first: {on: balances}, then: {on: trades}, within: 7d}",
            "given: {history: [{at: -6d, balances: {kind: deposit, amount_cny: 100}}]}",
            "event: {trades: {}}",
            "fires",
        ),
        ("on: logins\n    when: client.days_known == 366", "at: 2026-03-01", "event: {logins: {}}", "fires"),
        # null: it is unknown from now on
        ("becomes: not client.has_advisor", "given: {client: {advisor_id: adv-1}}",
         "event: {profiles: {advisor_id: null}}", "fires"),
        ("becomes: not client.has_advisor", "given: {client: {advisor_id: adv-1}}",
         "event: {profiles: {advisor_id: 'null'}}", "{not: condition}"),
        ("on: logins\n    when: not known(client.margin_ratio)",
         "given: {client: {margin_ratio: 1.5}, history: [{at: -1d, balances: {margin_ratio: ~}}]}",
         "event: {logins: {}}", "fires"),
        ("on: logins", "at: 2026-03-01T10:00:00+08:00\ngiven: {history: [{at: 2026-02-28, logins: {}}]}",
         "event: {logins: {}}", "{not: cooldown}"),
    ],
)  # fmt: skip
def test_a_test_passes(on: str, given: str, what: str, expect: str) -> None:
    report = run(a_test(given, what, expect), on)
    assert [result.failure for result in report.results] == [""]


@pytest.mark.parametrize(
    ("on", "given", "expect", "failure"),
    [
        ("on: logins", "", "{not: condition}", "it fired once"),
        ("on: trades", "", "fires", "it did not fire"),
        ("on: logins", "given: {client: {consents: []}}", "fires", "it was stopped: no_consent"),
        (
            "on: logins",
            "given: {client: {consents: []}}",
            "{not: condition}",
            "its condition held; it was stopped: no_consent",
        ),
        ("on: logins", "given: {client: {consents: []}}", "{not: cooldown}", "it was stopped: no_consent"),
        ("on: trades", "", "{not: cooldown}", "it did not fire, but nothing stopped it"),
        ("on: logins", "", "{fires: {count: 2}}", "it fired once"),
        ("on: logins", "", "{fires: {channel: email}}", "its channel was sms"),
        ("on: logins", "", "{fires: {parameters: {logins: 2}}}", "its parameter logins was 1"),
        ("on: logins", "", "{fires: {parameters: {assets: 1}}}", "its parameter assets was missing"),
        (
            "on: logins",
            "given:\n  client: {tier: A, assets_cny: 1}\n  history: [{at: -90d, balances: {assets_cny: 1}}]",
            "fires",
            "the client is given as tier A, but its events put it in C",
        ),
    ],
)
def test_a_test_fails(on: str, given: str, expect: str, failure: str) -> None:
    (result,) = run(a_test(given, expect=expect), on).results
    assert result.failure == failure


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("expect: fires", "expect: never", '19:17: rule "r": unknown value "never"; allowed: fires'),
        (
            "expect: fires",
            "expect: {not: conditon}",
            '19:23: rule "r": unknown value "conditon"; did you mean "condition"?',
        ),
        ("expect: fires", "expect: {}", '19:17: rule "r": expect says what is to become of the rule'),
        (
            "expect: fires",
            "expect: {fires: {channel: phone}}",
            '19:35: rule "r": unknown value "phone"; allowed: sms, email',
        ),
        ("expect: fires", "expect: {fires: {parameters: {x: 1}}}", '19:39: rule "r": unknown key "x"; keys here:'),
        ("expect: fires", "expect: {fires: {parameters: {logins: x}}}", '19:47: rule "r": not a number: "x"'),
        ("  expect: fires", "", '16:9: rule "r": missing key expect; add it'),
        ("  event: {logins: {}}", "", '16:9: rule "r": neither event nor wait; write what happens'),
        ("event: {logins: {}}", "event: {logons: {}}", '18:17: rule "r": unknown key "logons"; did you mean "logins"?'),
        ("event: {logins: {}}", "event: {logins: {}, trades: {}}", '18:16: rule "r": 2 events; write one of: profiles'),
        ("logins: {}", "logins: {channel: ap}", '18:35: rule "r": unknown value "ap"; did you mean "app"?'),
        ("logins: {}", "logins: {success: yes}", '18:35: rule "r": unknown value "yes"; allowed: true, false'),
        (
            "logins: {}",
            "trades: {quantity: 0}",
            '18:36: rule "r": quantity: a number above 0, with at most six decimals and fifteen digits; correct it',
        ),
        (
            "logins: {}",
            "trades: {amount_cny: 1.234}",
            '18:38: rule "r": money with more than two decimals; write at most',
        ),
        (
            "logins: {}",
            "trades: {amount_fen: 1}",
            '18:26: rule "r": unknown key "amount_fen"; did you mean "amount_cny"?',
        ),
        ("logins: {}", "balances: {amount_cny: 1}", '18:27: rule "r": an amount without a kind; add kind'),
        (
            "logins: {}",
            "balances: {kind: fee, amount_cny: 1}",
            '18:27: rule "r": more leaves than the 0.00 CNY there are; give the client assets_cny',
        ),
        ("given: {}", "given: {client: {tier: D}}", '17:32: rule "r": client.tier is never "D"; allowed: A, B, C'),
        (
            "given: {}",
            "given: {client: {colour: red}}",
            '17:26: rule "r": unknown key "colour"; keys here: type, age_band',
        ),
        (
            "given: {}",
            "given: {client: {segment: active}}",
            '17:26: rule "r": segment cannot be given: it follows from events; leave it out, and write history',
        ),
        (
            "given: {}",
            "given: {client: {days_since_login: 3}}",
            '17:26: rule "r": days_since_login cannot be given: it follows from events; write history, such as',
        ),
        (
            "given: {}",
            "given: {features: {logins_30d: 3}}",
            '17:17: rule "r": a feature\'s value cannot be given: it follows from events; write history, such as',
        ),
        (
            "given: {}",
            "given: {client: {assets_cny: 5, assets_peak_cny: 4}}",
            '17:58: rule "r": a peak below the assets;',
        ),
        (
            "given: {}",
            "given: {client: {known_for: 1d}, history: [{at: -2d, logins: {}}]}",
            '17:37: rule "r": history from before the client was known; write a longer known_for',
        ),
        ("given: {}", "given: {history: [{logins: {}}]}", '17:27: rule "r": missing key at; add it'),
        ("given: {}", "given: {history: [{at: -1d}]}", '17:27: rule "r": 0 events; write one of: profiles'),
        ("given: {}", "given: {history: [{at: soon, logins: {}}]}", '17:32: rule "r": not a time: "soon"; write -3d'),
        (
            "given: {}",
            "given: {history: [{at: 2027-01-01, logins: {}}]}",
            '17:32: rule "r": history after the test\'s time; write an earlier time, such as -3d',
        ),
        (
            "event: {logins: {}}",
            "event: {logins: {success: null}}",
            '18:35: rule "r": success cannot be null: the event always says it; write a value',
        ),
        (
            "given: {}",
            "given: {client: {advisor_id: null}}",
            '17:38: rule "r": advisor_id cannot be null here; leave it out: then nothing is known of it',
        ),
        ("given: {}", "at: tomorrow", '17:13: rule "r": not a time: "tomorrow"; write "2026-11-02 10:00"'),
        ("given: {}", "wait: 500d", '17:15: rule "r": 500d is out of range; write 30m or 12h or 7d, from 1m to 400d'),
    ],
)  # fmt: skip
def test_a_fault_in_a_test_is_told_at_its_place(old: str, new: str, problem: str) -> None:
    spoilt = a_test("given: {}").replace(old, new, 1)
    (found,) = problems_of(files(spoilt, "on: logins"))
    assert str(found).startswith(f"rules.yaml:{problem}")


def test_branches_that_no_test_takes_are_listed() -> None:
    report = run(
        a_test("given: {client: {tier: B}}"),
        'on: logins\n    when: client.tier == "A" or not login.success or login.channel == "app"',
    )
    said = [(branch.text, branch.never, branch.line, branch.column) for branch in report.branches]
    assert said == [
        ('client.tier == "A" or not login.success or login.channel == "app"', False, 6, 11),
        ('client.tier == "A"', True, 6, 11),
        ("not login.success", True, 6, 33),
        ("login.success", False, 6, 37),
        ('login.channel == "app"', False, 6, 54),
    ]
    assert (report.taken, report.of) == (5, 10)


def test_a_rule_without_tests_is_named() -> None:
    texts = files("", "on: logins")
    texts["rules.yaml"] = texts["rules.yaml"].replace("    tests:\n", "").rstrip() + "\n"
    rule_set = load(texts)
    assert isinstance(rule_set, RuleSet)
    assert run_tests(rule_set).untested == ("r",)


def write(path: Path, texts: dict[str, str]) -> Path:
    for name, text in texts.items():
        (path / name).write_text(text, encoding="utf-8")
    return path


def test_the_report_says_why_a_test_failed(tmp_path: Path) -> None:
    tests = a_test("given: {client: {tier: B}}") + a_test(expect="{not: condition}")
    directory = write(tmp_path, files(tests, "on: logins\n    when: client.tier == 'A'"))
    out, junit = StringIO(), tmp_path / "junit.xml"
    assert report_tests(directory, out, junit=junit) == 1
    said = out.getvalue()
    assert 'rules.yaml:17:9: rule "r": test "n" failed\n  expected fires; it did not fire\n' in said
    assert "client.tier == 'A'" in said
    assert "client.tier being A (now B)" in said
    assert said.endswith("1 of 2 tests passed, 1 of 2 branches taken\n")
    suite = ElementTree.parse(junit).getroot()
    assert (suite.get("tests"), suite.get("failures"), len(suite.findall("testcase/failure"))) == ("2", "1", 1)
    out = StringIO()
    assert report_tests(directory, out, as_lines=True) == 1
    found = json.loads(out.getvalue())
    assert [test["passed"] for test in found["tests"]] == [False, True]
    assert found["tests"][0]["explanation"]["flips"][0]["new"] == "A"


def test_what_cannot_be_run_has_its_own_status(tmp_path: Path) -> None:
    out = StringIO()
    assert report_tests(tmp_path / "nowhere", out) == 2
    good = files(a_test(), "on: logins")
    assert report_tests(write(tmp_path, good), out, only="other") == 2
    assert report_tests(write(tmp_path, good), out, only="r") == 0
    assert report_tests(write(tmp_path, good | {"rules.yaml": "rules: 1\n"}), out) == 2
    assert "engage check" in out.getvalue()


def test_the_shipped_rules_pass_their_tests() -> None:
    rule_set = load(read_directory(REPOSITORY / "rules"))
    assert isinstance(rule_set, RuleSet)
    report = run_tests(rule_set)
    assert report.results
    assert [f"{r.test.rule}: {r.test.name}: {r.failure}" for r in report.failed] == []


ACTED = """\
- name: two letters
  given: {history: [{at: -2d, actions: {rule_id: letter, kind: message, channel: email}, times: 2}]}
  event: {logins: {}}
  expect: fires
- name: what was stopped does not count
  given: {history: [{at: -2d, actions: {outcome: daily_cap}, times: 2}]}
  event: {logins: {}}
  expect: {not: condition}
- name: other rules act, too
  given: {history: [{at: -2h, actions: {}}, {at: -1h, trades: {}}]}
  event: {logins: {}}
  expect: fires
"""


def acting(tests: str) -> Report:
    found = files(tests, "on: logins\n    when: acted_7d >= 2")
    found["features.yaml"] += "  acted_7d: {source: actions, aggregate: count, window: 7d}\n"
    found["rules.yaml"] += rule("other", on="trades", audience="team", kind="task")
    rule_set = load(found)
    assert isinstance(rule_set, RuleSet), "\n".join(map(str, rule_set))
    return run_tests(rule_set)


def test_actions_of_the_engine_are_a_part_of_what_happened():
    assert [result.failure for result in acting(ACTED).results] == ["", "", ""]
    wrong = ACTED.replace("times: 2}]}", "times: 1}]}", 1)
    assert [result.failure for result in acting(wrong).results] == ["it did not fire", "", ""]


def test_no_event_of_a_test_is_an_action():
    problems = problems_of(files("- {name: n, event: {actions: {}}, expect: fires}", "on: logins"))
    assert any("actions" in str(problem) for problem in problems)


BY_ACCOUNT = """\
- name: two accounts together
  given: {history: [{at: -2d, balances: {account: a, assets_cny: 300}}]}
  event: {balances: {account: b, kind: deposit, amount_cny: 300}}
  expect: {fires: {parameters: {assets: 600}}}
- name: what one account has does not count for another
  given:
    history:
      - {at: -2d, balances: {account: a, assets_cny: 450}}
      - {at: -1d, balances: {account: b, assets_cny: 40}}
  event: {balances: {account: b, kind: deposit, amount_cny: 20}}
  expect: {fires: {parameters: {assets: 510}}}
- name: of the whole client
  given: {client: {assets_cny: 900}}
  event: {balances: {account: a, assets_cny: 300}}
  expect: {not: condition}
"""


def test_a_client_has_what_its_accounts_have():
    report = run(BY_ACCOUNT, "on: balances\n    when: client.assets_cny >= 500")
    assert [result.failure for result in report.results] == ["", "", ""]


STAGES = """\
stages:
  - {id: asleep, when: client.days_since_login >= 30}
  - {id: awake, when: client.days_known >= 0}
"""
STAGE_TESTS = """\
- name: awake
  event: {logins: {}}
  expect: {fires: {count: 1}, stage: awake}
- name: asleep
  given: {history: [{at: -1d, logins: {}}]}
  event: {trades: {}}
  wait: 30d
  expect: {stage: asleep}
- name: not yet
  given: {history: [{at: -1d, logins: {}}]}
  event: {trades: {}}
  wait: 20d
  expect: {not: condition, stage: asleep}
"""


def staged(tests: str, portrait: str = STAGES) -> dict[str, str]:
    found = files(tests, "on: logins\n    when: client.days_known >= 0")
    return found | ({"portrait.yaml": portrait} if portrait else {})


def test_the_stage_of_a_client_can_be_expected():
    rule_set = load(staged(STAGE_TESTS))
    assert isinstance(rule_set, RuleSet), "\n".join(map(str, rule_set))
    report = run_tests(rule_set)
    assert [result.failure for result in report.results] == ["", "", "the client's stage was awake"]
    assert str(report.results[2].test.expected) == "not: condition, stage asleep"


@pytest.mark.parametrize(
    ("expect", "portrait", "said"),
    [
        ("{stage: dead}", STAGES, 'unknown value "dead"'),
        ("{stage: awake}", "", "no stages are declared"),
        ("{fires: {}, not: condition, stage: awake}", STAGES, "expect says what is to become of the rule"),
        ("{}", STAGES, "expect says what is to become of the rule"),
    ],
)
def test_a_stage_that_cannot_be_expected(expect, portrait, said):
    (problem,) = problems_of(staged(f"- {{name: n, event: {{logins: {{}}}}, expect: {expect}}}", portrait))
    assert said in str(problem)
