# ruff: noqa: E501 (messages stand whole, so that they can be searched for)
"""Bad rule files, one fault a file: each is told at its line and column, with its remedy."""

import io
import time

import pytest

from engine.rulefile.report.check import check
from tests.rulefile.sample import FILES, good, problems_of

BOUNDED_S = 60.0  # on a slow and busy machine too; what grows with the square or worse takes longer
F, T, P, R = "features.yaml", "tiers.yaml", "policy.yaml", "retention.yaml"
VIP = 'rule "vip-winback": '
SILENT = 'rule "silent-client": '
HELLO = 'rule "hello": '
TIERS = 'allowed: "A", "B", "C", "mutual_fund", "private_fund", "insurer", "qfii", "social_security_fund", "enterprise_annuity"'
CONDITION = 'when: client.tier == "A" and money_out_cny_7d >= 0.3 * client.assets_peak_cny'
FOLDED = '>\n      client.tier in ("B", "C")\n      and client.segment != "active"'
RULE_KEYS = "id, title, owner, kind, audience, priority, cooldown, expires, template, description, version, was, on, silence, unanswered, becomes, at, sequence, when, for, repeat_every, channels, parameters, serves, class, tags, campaign, still, holdout, breaker, offers, same_text, then, cost, care, tests"
COLON = 'put a text with ": " in it in quotes; a key stands under its neighbours'
QUOTED = "a text that begins with {} goes in quotes"

# (file, what to replace, with what, the one problem)
BAD = [
    # Expressions: the column points into the text as it stands in the file
    (R, "client.tier ==", "client.teir ==", f'7:11: {VIP}unknown name "client.teir"; did you mean "client.tier"?'),
    (R, CONDITION, "when: 'client.has_advisor and client.tier == ''D'''",
     f'7:50: {VIP}client.tier is never "D"; {TIERS}'),
    (R, CONDITION, 'when: "client.tier == \\"\\x41\\" and client.tier == \\"D\\""',
     f'7:55: {VIP}client.tier is never "D"; {TIERS}'),
    (R, CONDITION, "when:\n      client.tier\n      == 'D'", f'9:10: {VIP}client.tier is never "D"; {TIERS}'),
    (R, "client.segment", "client.segmnt",
     f'24:11: {SILENT}unknown name "client.segmnt"; did you mean "client.segment"?'),
    (R, FOLDED, '|-\n      client.tier in ("B", "C")\n      and client.segment != "x"',
     f'24:29: {SILENT}client.segment is never "x"; allowed: "active"'),
    (R, FOLDED, '>-\n\n      client.tier in ("B", "C")\n\n        and client.days_known > client.tier',
     f'26:33: {SILENT}cannot compare days and a text; write days'),
    (R, CONDITION, "when: client.tier == 'A' and", f"7:33: {VIP}the expression ends too early; "
     'write an expression such as client.tier == "A"'),
    (R, CONDITION, "when: money_out_cny_7d", f"7:11: {VIP}expected a condition, found money; compare it, such as x > 0"),
    (R, CONDITION, "when: true", f'7:11: {VIP}unknown name "true"; write True'),
    (R, CONDITION, "when: [a]", f"7:11: {VIP}no single value; write one value"),
    (R, CONDITION, "when:", f"7:9: {VIP}empty value; write one value"),
    (R, "'\"warm\"'", "warm", f'16:13: {VIP}unknown name "warm"; known here: balance.*, client.*, features'),
    (R, "kind: survey", "when: trade.side == 'buy'\n    kind: survey",
     f'37:11: {HELLO}unknown name "trade.side" on logins; known here: client.*, features, login.*'),
    # Rules
    (R, "priority: 50", "prioritty: 50\n    priority: 50", f'28:5: {SILENT}unknown key "prioritty"; did you mean "priority"?'),
    (R, "priority: 50", "colour: red\n    priority: 50", f'28:5: {SILENT}unknown key "colour"; keys here: {RULE_KEYS}'),
    (R, "    cooldown: 7d\n", "", f"2:5: {VIP}missing key cooldown; add it"),
    (R, "    title: Hello\n    owner: client_service\n", "", f"33:5: {HELLO}missing keys title, owner; add it"),
    (R, "id: hello", "id: Hello There", '33:9: rule "Hello There": not a name: "Hello There"; '
     "write lower-case words joined by hyphens, such as vip-winback"),
    (R, "id: hello", "id: vip-winback",
     '33:9: duplicate rule id "vip-winback"; first used at retention.yaml:2:9; choose another'),
    (R, "id: hello", "id: hello\n    was: silent-client", '33:9: hello was "silent-client", which is still there; leave out was, or the other one'),
    (R, "id: hello", "id: hello\n    was: hello", '33:9: hello was "hello", which is still there; leave out was, or the other one'),
    (R, "id: hello", "id: hello\n    was: [a, b, a]", f"34:10: {HELLO}a name twice; keep one"),
    (R, "id: hello", "id: hello\n    was: []", f"34:10: {HELLO}empty list; write the former name, or leave the key out"),
    (R, "id: hello", "id: hello\n    was: Old One", f'34:10: {HELLO}not a name: "Old One"; write lower-case words joined by hyphens, such as vip-winback'),
    (R, "version: 2", "version: 0", f"3:14: {VIP}0 is out of range; write a whole number from 1 to 1000000"),
    (R, "version: 2", 'version: "2"', f'3:14: {VIP}not a number: "2"; write 2, without quotes'),
    (R, "on: balances", "on: balance",
     f'6:9: {VIP}unknown value "balance"; did you mean "balances"? allowed: profiles, balances, logins, trades, receipts, outcomes, feedback, complaints, positions, overrides, corrections, assignment_answers, budget_answers, tier_change, tier_at_risk, item'),
    (R, "    on: balances\n", "", f"2:5: {VIP}missing key on, silence, unanswered, becomes, at or sequence; a rule has one of them"),
    (R, "on: [logins, trades]", "on: []", f"36:9: {HELLO}empty list; allowed: profiles, balances, logins, trades, receipts, outcomes, feedback, complaints, positions, overrides, corrections, assignment_answers, budget_answers, tier_change, tier_at_risk, item"),
    (R, "on: [logins, trades]", "on: [logins, logins]", f"36:9: {HELLO}a value twice; keep one"),
    (R, "on: [logins, trades]", "on: logins\n    silence: {of: logins, for: 3d}",
     f"37:14: {HELLO}both on and silence; a rule has one of them"),
    (R, "for: 30d", "for: 30", f'21:32: {SILENT}not a duration: "30"; write 7d, from 1d to 366d'),
    (R, "of: logins", "of: login",
     f'21:19: {SILENT}unknown value "login"; did you mean "logins"? allowed: trades, logins, balances, receipts, outcomes, feedback, complaints, positions, overrides, corrections'),
    (R, "kind: alert", "kind: alarm", f'8:11: {VIP}unknown value "alarm"; did you mean "alert"? allowed: alert, assignment, survey, message, task'),
    (R, "audience: advisor", "audience: advisers",
     f'9:15: {VIP}unknown value "advisers"; did you mean "advisor"? allowed: client, advisor, team'),
    (R, "    channels: [sms, email]\n", "",
     f"18:5: {SILENT}missing key channels; list those to use, best first: app_push, sms, email, phone, wechat"),
    (R, "[sms, email]", "[sms, e-mail]",
     f'27:21: {SILENT}unknown value "e-mail"; did you mean "email"? allowed: app_push, sms, email, phone, wechat'),
    (R, "audience: advisor", "audience: advisor\n    channels: [sms]",
     f"10:15: {VIP}channels for audience advisor; remove them: it has a work queue"),
    (R, "priority: 50", "priority: 101", f"28:15: {SILENT}101 is out of range; write a whole number from 0 to 100"),
    (R, "cooldown: 7d", "cooldown: 7 days", f'11:15: {VIP}not a duration: "7 days"; write 30m or 12h or 7d, from 1m to 365d'),
    (R, "cooldown: 7d", "cooldown: 0m", f"11:15: {VIP}0m is out of range; write 30m or 12h or 7d, from 1m to 365d"),
    (R, "expires: 12h", "expires: 400d", f"12:14: {VIP}400d is out of range; write 30m or 12h or 7d, from 1m to 90d"),
    (R, "template: money_leaving", "template: Money leaving",
     f'13:15: {VIP}not a name: "Money leaving"; write the template\'s name in the messaging system, such as welcome_v2'),
    (R, "money_out_cny: money", "Money-out: money",
     f'15:7: {VIP}not a name: "Money-out"; write lower-case words joined by underscores, such as trades_30d'),
    (R, "rules:", "rule:", '1:1: unknown key "rule"; did you mean "rules"?'),
    (R, FILES[R], "rules: 5\n", "1:8: not a list; write one item a line, each after a hyphen"),
    (R, FILES[R], "rules: [5]\n", f"1:9: not a mapping; write keys: {RULE_KEYS}"),
    # Features
    (F, "source: trades", "source: trade", '2:24: unknown value "trade"; did you mean "trades"? allowed: trades, logins, balances, receipts, outcomes, feedback, complaints, positions, overrides, corrections, actions'),
    (F, "window: 7d", "window: 367d", '8:13: not a window: "367d"; write 7d (1d to 366d), 24h (1h to 72h), month or previous_month'),
    (F, "window: 7d", "window: 73h", '8:13: not a window: "73h"; write 7d (1d to 366d), 24h (1h to 72h), month or previous_month'),
    (F, "    window: 7d\n", "", "3:3: neither window nor since; add window: 7d, or since: {on: balances, when: ...}"),
    (F, "window: 7d", "window: 7d\n    since: {on: trades}", "9:12: both window and since; keep the one that is meant"),
    (F, "window: 7d", "since: {on: profiles}", '8:17: unknown value "profiles"; allowed: trades, logins, balances, receipts, outcomes, feedback, complaints, positions, overrides, corrections, actions'),
    (F, "window: 7d", "since: {on: balances, when: trade.side == 'buy'}",
     '8:33: unknown name "trade.side"; known here: balance.*'),
    (F, "aggregate: count", "aggregate: median",
     '2:43: unknown value "median"; did you mean "min"? allowed: count, sum, min, max, distinct, last, daily_mean, avg, top'),
    (F, "aggregate: count, ", "aggregate: top, field: symbol, by: side, ",
     '2:67: unknown value "side"; allowed: quantity, amount_cny, commission_cny'),
    (F, "aggregate: count, ", "aggregate: last, field: symbol, by: amount_cny, ",
     "2:68: last takes no by; remove it, or write aggregate: top"),
    (F, "    field: amount_cny\n", "", "4:5: sum needs a field; add field, one of: amount_cny, assets_cny, cash_cny, margin_ratio"),
    (F, "field: amount_cny", "field: kind",
     '6:12: unknown value "kind"; allowed: amount_cny, assets_cny, cash_cny, margin_ratio'),
    (F, "aggregate: count, ", "aggregate: count, field: symbol, ", "2:57: count takes no field; remove it, or use where"),
    (F, "balance.kind", "client.tier", '7:12: unknown name "client.tier"; known here: balance.*'),
    (F, "money_out_cny_7d:", "money_out_7d:",
     '3:3: "money_out_7d" holds money; put the unit in its name, such as "money_out_7d_cny"'),
    (F, "trades_30d:", "trades_cny_30d:", '2:3: "trades_cny_30d" holds no money; leave _cny out of its name'),
    (F, "trades_30d:", "max:", '2:3: "max" is a word of the rule language; choose another name'),
    (F, "trades_30d:", "Trades:",
     '2:3: not a name: "Trades"; write lower-case words joined by underscores, such as trades_30d'),
    (F, "window: 30d}\n  money", "window: 30d, was: money_out_cny_7d}\n  money",
     '2:3: trades_30d was "money_out_cny_7d", which is still there; leave out was, or the other one'),
    # Tiers and policy
    (T, "exit: 900_000", "exit: 1_100_000", "6:41: exit 1100000 is above enter 1000000; write exit at or below enter"),
    (T, "exit: 900_000", "exit: 200_000",
     "7:7: tier B reaches above the exit of A; tiers stand best first: A is left at 200000, B begins at 300000"),
    (T, "270_000.5", "270_000.555", "7:39: money with more than two decimals; write at most two decimals"),
    (T, "{tier: C}", "{tier: C, enter: 5}", '8:17: unknown key "enter"; keys here: tier'),
    (T, ", exit: 900_000", "", "6:7: missing key exit; add it"),
    (T, "tier: C", "tier: B", '8:7: "B" twice; keep one, or choose another name'),
    (T, "demote_after: 30d", "demote_after: 12h", '4:17: not a duration: "12h"; write 7d, from 0d to 366d'),
    (T, "measure: assets_avg_cny_30d", "measure: assets_avg_30d",
     '2:12: unknown name "assets_avg_30d"; did you mean "assets_avg_cny_30d"?'),
    (T, "when: trades_30d", "when: client.segment == 'x' or trades_30d",
     '11:11: unknown name "client.segment"; did you mean "client.region"?'),
    (T, "individual:", "persons:", '1:1: unknown key "persons"; keys here: individual, mutual_fund, private_fund, '
     "insurer, qfii, social_security_fund, enterprise_annuity, segments, value_score"),
    (P, "daily_cap: 2", "daily_cap: many", '2:14: not a number: "many"; write digits such as 1_000_000 or 0.5'),
    (P, "  daily_cap: 2", "  daily_cap: 2\npublishing: {approval: yes}",
     '3:24: unknown value "yes"; allowed: true, false'),
    (P, "contact:", "publising: {approval: true}\ncontact:",
     '1:1: unknown key "publising"; did you mean "publishing"?'),
    (P, FILES[P], "# nothing\n", "1:1: empty file; write its keys, or remove it"),
    # YAML
    (P, "contact:", "contact:\n  daily_cap: 1", '3:3: key "daily_cap" twice; keep one'),
    (R, "rules:", "rules: []\nrules:", '2:1: key "rules" twice; put what is under both under one'),
    (P, "  daily_cap", "\tdaily_cap", "2:1: a tab; use spaces"),
    (P, "daily_cap: 2", "daily_cap: &two 2", "2:14: an anchor (&); write the value out where it is used; " + QUOTED.format("&")),
    (P, "daily_cap: 2", "daily_cap: *two", "2:14: an alias (*); write the value out; " + QUOTED.format("*")),
    (P, "daily_cap: 2", "<<: {daily_cap: 2}\n  daily_cap: 2", "2:3: a merge key (<<); write the keys out"),
    (P, "daily_cap: 2", "daily_cap: !!python/object:os.system 2", "2:14: a tag (!); write the value without it; " + QUOTED.format("!")),
    (P, "contact:", "%YAML 1.1\n---\ncontact:", "2:1: a directive; remove the line that starts with %"),
    (P, "  daily_cap: 2", "  daily_cap: 2\n---\nx: 1", "3:1: a second document; one document a file: remove ---"),
    (P, "daily_cap: 2", "daily_cap: 2\n   x: 1", f"3:5: not YAML: a colon where no key can stand; {COLON}"),
    (P, "daily_cap: 2", "daily_cap: [2", "2:14: not YAML: a list in brackets that is not closed, or lacks a comma; mend it, or write one item a line, "
     "each after a hyphen"),
    (R, "title: Hello", "title: Hello: world", f"34:17: not YAML: a colon where no key can stand; {COLON}"),
    (R, "title: Hello", "title: 'Hello",
     "34:12: not YAML: a quote that is never closed; close it; write '' for a ' within ' '"),
    (R, "title: Hello", "title: @Hello", "34:12: not YAML: a text cannot begin with this sign; put the text in quotes"),
    (R, "    title: Hello", "   title: Hello",
     "34:4: not YAML: this line is not under its neighbours; begin it in their column"),
    (R, "    title: Hello", "    title Hello", "34:5: not YAML: a line without a colon; write key: value, with a space "
     "after the colon; what continues a text is indented more than its key"),
    (R, "  - id: hello", "  -id: hello", "33:3: not YAML: this line is not under its neighbours, or lacks its hyphen and "
     "space; begin it in their column; an item of a list begins with a hyphen and a space"),
    (R, "channels: app_push", "channels: {app_push", "39:15: not YAML: braces that are not closed, or lack a comma; "
     "mend it, or write a key a line"),
    (R, 'when: client.tier == "A"', 'when: "A" == client.tier',
     "7:15: not YAML: text after a closing quote; put the whole value in single quotes, or in none"),
    (R, "owner: wealth", "owner: no",
     f'5:12: {VIP}no without quotes, which other programs read as true or false; write "no", or another text'),
    (R, "description: Both.", "description: ~",
     f'44:18: {HELLO}~ without quotes, which other programs read as nothing; write "~", or another text'),
    (R, 'client.tier == "A" and', 'client.tier == "A" AND', f"7:30: {VIP}not an expression: invalid syntax; write: and"),
    (R, ">= 0.3", "=> 0.3", f"7:51: {VIP}not an expression: invalid syntax; write: >="),
    (P, "daily_cap: 2", "? [a]\n  : 2\n  daily_cap: 2", "2:5: a key that is not plain text; write a name before the colon"),
    (P, "daily_cap: 2", "daily_cap: " + "[" * 30 + "]" * 30, "2:32: nested too deeply; nest at most 20 deep"),
    (P, "daily_cap: 2", "daily_cap: 2 # \x07", "2:18: character U+0007 (BELL); delete it"),
    (P, "daily_cap: 2", "daily_cap: 2 # \u2028", "2:18: character U+2028 (LINE SEPARATOR); write a line break, or delete it"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "problem"), BAD, ids=[bad[3][:60] for bad in BAD])
def test_one_fault_one_problem(file, old, new, problem):
    assert FILES[file].count(old) >= 1
    problems = problems_of(FILES | {file: FILES[file].replace(old, new, 1)})
    # A faulty declaration is told, what only follows from it is not; but a name that is gone is gone.
    renamed = file == F and old.endswith(":")
    told = [str(p) for p in problems if not (renamed and p.message.startswith("unknown name"))]
    assert told == [f"{file}:{problem}"]


@pytest.mark.parametrize("name", [F, T, P])
def test_a_missing_file_is_told_alone(name):
    problems = problems_of({file: text for file, text in FILES.items() if file != name})
    assert [str(p) for p in problems] == [
        f"{name}:1:1: missing file; add it; a rule set needs all three: features, tiers, policy"
    ]


def test_all_problems_of_all_files_by_file_and_line():
    bad = {
        P: FILES[P].replace("2", "-1"),
        R: FILES[R]
        .replace("client.tier ==", "client.teir ==")
        .replace("kind: survey", "kind: form")
        .replace("30m", "30"),
        F: FILES[F].replace("window: 7d", "window: 6w"),
        "zz.yaml": "rules:\n" + FILES[R][FILES[R].index("  - id: hello") :],
    }
    problems = problems_of(FILES | bad)
    assert [(p.file, p.line, p.column, p.rule) for p in problems] == [
        (F, 8, 13, None),
        (P, 2, 14, None),
        (R, 7, 11, "vip-winback"),
        (R, 29, 15, "silent-client"),
        (R, 37, 11, "hello"),
        ("zz.yaml", 2, 9, None),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "[" * 500_000,
        "{" * 500_000,
        "a: " * 100_000,
        "- " * 300_000,
        "? " * 300_000,
        "&a [" * 1000 + "*a" + "]" * 1000,
        "a: " + "x" * (1 << 20),
        "'" * 999_999,
        "k: v\n" * 20_000,
        "x" * (1 << 22),
        "\0" * 1000,
    ],
    ids=lambda text: text[:6] + str(len(text)),
)
def test_hostile_files_are_refused_in_bounded_time(text):
    begun = time.perf_counter()
    assert problems_of(FILES | {"x.yaml": text})
    assert time.perf_counter() - begun < BOUNDED_S


def test_check_prints_the_line_and_a_caret(tmp_path):
    def run():
        out = io.StringIO()
        return check(tmp_path, out), out.getvalue()

    code, said = run()
    assert (code, "no *.yaml file" in said) == (2, True)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    code, said = run()
    assert code == 0
    assert said == f"{tmp_path}: no problems in 3 rules, 3 features, 4 files; digest {good().digest}\n"
    (tmp_path / R).write_text(FILES[R].replace("久未登录", "久未 # 登录: x").replace("[sms, email]", "[sms, fax]"))
    (tmp_path / P).write_text("contact: {名: 1, daily_cap: x}\n", encoding="utf-8")
    code, said = run()
    assert code == 1
    assert said.splitlines() == [
        f'{tmp_path}/policy.yaml:1:11: unknown key "名"; keys here: daily_cap, urgent_from',
        "    contact: {名: 1, daily_cap: x}",
        "              ^",
        f'{tmp_path}/policy.yaml:1:28: not a number: "x"; write digits such as 1_000_000 or 0.5',
        "    contact: {名: 1, daily_cap: x}",
        "                                ^",
        f'{tmp_path}/retention.yaml:27:21: rule "silent-client": unknown value "fax"; '
        "allowed: app_push, sms, email, phone, wechat",
        "        channels: [sms, fax]",
        "                        ^",
        "3 problems in 2 files",
    ]
