"""Lint finds what is doubtful, at its place, and is silent on what is not."""

import json

import pytest
from click.testing import CliRunner

from engine.cli.main import main
from engine.core.plan.compile import compile_rule_set
from engine.rulefile.lint.findings import CODES
from engine.rulefile.lint.lint import lint
from engine.rulefile.report.formats import formatted
from tests.core.making import TIERS, Desk, at, balance, plan_of, profile, rule
from tests.rulefile.sample import good

FEATURES = """\
features:
  assets_avg_cny_30d: {source: balances, aggregate: daily_mean, field: assets_cny, window: 30d}
  trades_7d: {source: trades, aggregate: count, window: 7d}
  trades_30d: {source: trades, aggregate: count, window: 30d}
  robo_30d: {source: trades, aggregate: count, where: trade.product == "robo_portfolio", window: 30d}
  symbols_30d: {source: trades, aggregate: distinct, field: symbol, window: 30d}
"""
ORDER = ("L301", "L302", "L306", "L511")  # good order: not what these tests are about
CLIENT = {"kind": "message", "audience": "client", "cooldown": "1d"}


def files(*rules, tiers=TIERS, features=FEATURES, cap=2):
    return {
        "features.yaml": features,
        "tiers.yaml": tiers,
        "policy.yaml": f"contact:\n  daily_cap: {cap}\n",
        "rules.yaml": "rules:\n" + "".join(rules) if rules else "rules: []\n",
    }


def found(*rules, but=ORDER, **more):
    return [finding for finding in lint(good(files(*rules, **more))) if finding.code not in but]


def one(when, on="logins"):
    return rule("x", on=on, when=f"'{when}'", audience="team", kind="task", cooldown="1d")


@pytest.mark.parametrize(
    ("on", "when", "said"),
    [
        ("logins", 'client.tier == "A" and client.type == "insurer"', "exclude each other"),
        ("logins", 'client.tier == "A" and client.days_known > 3 and client.type == "qfii"', "exclude each other"),
        ("logins", 'client.tier == "insurer" and not known(client.type)', "exclude each other"),
        ("balances", "balance.amount_cny > 5 and balance.amount_cny < 3", "exclude each other"),
        ("balances", "balance.amount_cny > 1e15", "balance.amount_cny is from 0 to 1,000,000,000,000,000"),
        ("balances", "balance.amount_cny < 0", "balance.amount_cny is from 0 to 1,000,000,000,000,000"),
        ("trades", "trade.quantity <= 0", "trade.quantity is from"),
        ("balances", "balance.margin_ratio >= 1001", "from 0 to 1,000"),
        ("balances", "client.assets_cny < 1 and balance.assets_cny > 2", "exclude each other"),
        ("balances", "client.assets_peak_cny < balance.assets_cny", ""),
        ("logins", "trades_7d < 0", "trades_7d is 0 or more"),
        ("logins", "symbols_30d > 64", "symbols_30d is from 0 to 64"),
        ("logins", "trades_7d > 10 and trades_30d < 5", "exclude each other"),
        ("logins", "trades_7d > 2 and trades_7d < 3", "exclude each other"),
        ("logins", "client.days_known > 100_000", "client.days_known is 0 or more"),
        ("logins", "known(client.risk_level) and not known(client.risk_level)", "exclude each other"),
        ("logins", "login.success and not login.success", "exclude each other"),
        ("trades", "trades_30d == 0", "trades_30d is 1 or more"),
        ("trades", 'trade.product == "robo_portfolio" and robo_30d == 0', "exclude each other"),
        ("tier_change", 'tier_change.new == "A" and tier_change.reason == "demoted"', "exclude each other"),
        ("tier_change", 'tier_change.new == "A" and client.tier == "B"', "exclude each other"),
        ("tier_change", 'tier_change.reason == "first" and known(tier_change.old)', "exclude each other"),
        ("tier_change", "client.days_in_tier > 30", ""),
        ("tier_at_risk", "tier_at_risk.days > 3", "no ladder of tiers.yaml has a grace or a review"),
    ],
)
def test_conditions_that_never_hold(on, when, said):
    (finding,) = found(one(when, on))
    assert finding.code == "L101"
    assert finding.severity == "error"
    assert said in finding.message
    assert finding.subject == 'rule "x"'


@pytest.mark.parametrize(
    ("on", "when", "codes"),
    [
        ("logins", "client.days_known >= 0", ["L102"]),
        ("tier_change", "known(tier_change.new)", ["L102"]),
        ("logins", "login.success or trades_7d < 0", ["L103"]),
        ("logins", "login.success and trades_7d >= 0", ["L104"]),
        ("trades", "trades_7d >= 1 and trade.amount_cny >= 100", ["L104"]),
        ("[trades, logins]", "trades_7d >= 1", []),
        ("[trades, logins]", "trades_7d == 0", ["L101"]),  # never on trades
        ("logins", "True", []),
        ("logins", "client.assets_cny >= 0", []),  # missing until a balance came
        ("logins", 'client.tier == "insurer" and client.type == "individual"', []),  # until it can be measured
        ("logins", 'client.tier != "A"', ["L106"]),
        ("balances", "balance.amount_cny / client.cash_cny > 1000", []),
        ("logins", "trades_7d == trades_30d", []),
        ("logins", "client.assets_cny < 0 and client.cash_cny < -5 and client.assets_peak_cny < 0", []),
        ("balances", "client.margin_ratio < 1 and not known(balance.margin_ratio)", []),  # the one before stays
        ("profiles", "not known(client.type)", []),
        ("trades", "100 < trade.quantity < 101", []),
        ("trades", 'trade.channel == "other" and not known(trade.quantity)', []),
        ("tier_change", 'tier_change.reason == "type_changed" and tier_change.new == "insurer"', []),
    ],
)
def test_what_always_holds_and_what_may_hold(on, when, codes):
    assert [finding.code for finding in found(one(when, on))] == codes


def test_a_silence_tells_how_long_it_was():
    silence = {"silence": "{of: logins, for: 30d}", "audience": "team", "kind": "task", "cooldown": "1d"}
    never = rule("x", when="client.days_since_login < 30", **silence)
    always = rule("x", when="client.days_since_login >= 30 and client.days_known > 9", **silence)
    assert [finding.code for finding in found(never)] == ["L101"]
    assert [finding.code for finding in found(always)] == ["L104"]


def test_the_place_is_the_part_at_fault():
    texts = files(one("login.success and trades_7d < 0"))
    (finding,) = [finding for finding in lint(good(texts)) if finding.code == "L101"]
    line = texts["rules.yaml"].split("\n")[finding.line - 1]
    assert line[finding.column - 1 :].startswith("trades_7d < 0")


def test_rules_that_only_repeat_another():
    fields = {**CLIENT, "kind": "task", "audience": "team", "template": "t"}
    wide = rule("wide", when="login.success", priority=60, **fields)
    narrow = rule("narrow", when="login.success and client.days_known > 9", priority=50, **fields)
    assert [(f.code, f.subject) for f in found(wide, narrow)] == [("L201", 'rule "narrow"')]
    assert [(f.code, f.subject) for f in found(rule("first", when="login.success", **fields), wide)] == [
        ("L201", 'rule "first"')  # of two that are equal, the one of lower priority
    ]
    other = rule("narrow", when="login.success and client.days_known > 9", priority=50, **{**fields, "template": "u"})
    assert found(wide, other) == []
    also = rule("narrow", on="[logins, trades]", when="client.days_known > 9", priority=50, **fields)
    assert found(rule("wide", when="True", **fields), also) == []


def test_rules_that_others_use_the_cap_up_for():
    first = rule("first", when="login.success", priority=60, **CLIENT)
    second = rule("second", when="login.success", priority=59, template="u", **CLIENT)
    third = rule("third", when="login.success and trades_7d > 3", priority=50, template="v", **CLIENT)
    (finding,) = found(first, second, third)
    assert (finding.code, finding.subject) == ("L202", 'rule "third"')
    assert found(first, second, third, cap=3) == []
    elsewhere = rule("third", when="login.success", priority=50, template="v", channels="[email]", **CLIENT)
    assert found(first, second, elsewhere) == []  # a client may have agreed to e-mail alone


def test_rules_of_one_priority_are_shown_by_values_that_meet_both():
    one_ = rule("one", when='client.tier == "A" and login.success', **CLIENT)
    two = rule("two", when="trades_7d >= 5 and client.assets_cny > 1_000", template="u", **CLIENT)
    (finding,) = found(one_, two)
    assert (finding.code, finding.subject) == ("L203", 'rule "two"')
    assert 'client.tier "A"' in finding.message
    assert "trades_7d 5" in finding.message
    assert "client.assets_cny 1,000.01" in finding.message
    assert found(one_, rule("two", when='client.type == "insurer"', template="u", **CLIENT)) == []
    assert found(one_, rule("two", when="trades_7d >= 5", priority=51, template="u", **CLIENT)) == []


def test_segments_and_filters():
    tiers = TIERS + "segments:\n  - {id: many, when: trades_7d > 3}\n  - {id: more, when: trades_7d > 5}\n"
    assert [(f.code, f.subject) for f in found(tiers=tiers + "", but=(*ORDER,))] == [("L204", 'segment "more"')]
    features = FEATURES + "  odd: {source: trades, aggregate: count, where: trade.quantity <= 0, window: 7d}\n"
    assert [(f.code, f.subject) for f in found(features=features)] == [("L101", 'feature "odd"')]


def test_nothing_is_sent_under_a_cap_of_nought():
    assert [finding.code for finding in found(rule("x", when="login.success", **CLIENT), cap=0)] == ["L205"]


def test_what_is_urgent_is_not_capped():
    urgent = {"when": "login.success", "priority": 80, **CLIENT}
    assert found(rule("x", **urgent), cap="0\n  urgent_from: 80") == []
    assert [f.code for f in found(rule("x", **urgent), cap="0\n  urgent_from: 81")] == ["L205"]
    one_, two = rule("one", **urgent), rule("two", **{**urgent, "template": "u", "when": "login.success or True"})
    assert {f.code for f in found(one_, two)} >= {"L203"}
    assert "L203" not in {f.code for f in found(one_, two, cap="2\n  urgent_from: 80")}


@pytest.mark.parametrize(
    ("where", "when", "codes"),
    [
        ("", "done >= 3", ["L207"]),
        ("", "login.success and done > 2", ["L207"]),
        ("", "done < 3", []),  # a limit
        ("", "done == 3", []),
        ('where: action.outcome == "cooldown"', "done >= 3", ["L207"]),
        ("where: \"action.kind == 'task' and action.rule_id in ('x', 'y')\"", "done >= 3", ["L207"]),
        ("where: action.rule_id != 'x'", "done >= 3", []),
        ('where: action.audience == "client"', "done >= 3", []),  # its own is for a team
        ('where: action.rule_id == "why"', "done >= 3", ["L309"]),
    ],
)
def test_a_rule_that_keeps_itself_true(where, when, codes):
    features = f"  done: {{source: actions, aggregate: count, window: 7d{where and ', '}{where}}}\n"
    other = rule(
        "y", on="trades", when="trade.amount_cny > 5", audience="team", kind="task", cooldown="1d", template="other"
    )
    assert [finding.code for finding in found(one(when), other, features=FEATURES + features)] == codes


@pytest.mark.parametrize(
    ("when", "codes"),
    [
        ("not client.has_advisor and login.success", ["L206"]),
        ("client.days_known > 3 and not (client.has_advisor or login.success)", ["L206"]),
        ("not client.has_advisor or login.success", []),
        ("client.has_advisor", []),
    ],
)
def test_work_for_an_advisor_whom_nobody_has(when, codes):
    assert [f.code for f in found(rule("x", when=when, kind="task", audience="advisor"))] == codes


def test_good_order():
    rules = [rule(f"r{n}", when="True", owner="wealth", template=f"t{n}", kind="task", audience="team") for n in (1, 2)]
    odd = rule("odd", when="True", owner="weatlh", kind="task", audience="team")
    codes = [(finding.code, finding.subject) for finding in found(*rules, odd, but=("L301", "L302", "L511"))]
    assert codes == [
        ("L306", 'feature "trades_7d"'),
        ("L306", 'feature "trades_30d"'),
        ("L306", 'feature "robo_30d"'),
        ("L306", 'feature "symbols_30d"'),
        ("L305", 'rule "odd"'),
    ]
    (quick,) = found(rule("hasty", when="login.success", cooldown="30m"))
    assert quick.code == "L304"


def test_a_comment_with_a_reason_allows_a_finding():
    said = one("trades_7d < 0")
    text = "rules:\n  # lint: allow L101 shows what lint says\n" + said
    assert _codes(text) == []
    assert _codes(text.replace(" shows what lint says", "")) == ["L001", "L101"]
    assert _codes(text.replace("L101", "L999")) == ["L001", "L101"]
    assert _codes(text.replace("L101", "L104")) == ["L002", "L101"]
    line = next(line for line in said.split("\n") if "when" in line)
    assert _codes("rules:\n" + said.replace(line, line + "  # lint: allow L101 a reason")) == []
    assert _codes("rules:\n" + said.replace(line, line + "  # lint: allowed L101 a reason")) == ["L101"]


def _codes(rules):
    texts = {**files(), "rules.yaml": rules}
    return [finding.code for finding in lint(good(texts)) if finding.code not in ORDER]


def test_formats(tmp_path):
    texts = files(one("trades_7d < 0"))
    findings = lint(good(texts))
    out = {format_: formatted(format_, tmp_path, texts, findings) for format_ in ("text", "json", "sarif", "github")}
    assert out["text"].count("^") == len(findings)
    assert [entry["code"] for entry in json.loads(out["json"])] == [finding.code for finding in findings]
    (run,) = json.loads(out["sarif"])["runs"]
    assert {rule_["id"] for rule_ in run["tool"]["driver"]["rules"]} >= set(CODES)
    assert [result["ruleId"] for result in run["results"]] == [finding.code for finding in findings]
    assert out["github"].startswith(f"::notice file={tmp_path}/features.yaml,line=4,col=3,title=L306::feature ")
    assert formatted("text", tmp_path, texts, []) == f"{tmp_path}: nothing to remark"
    assert formatted("github", tmp_path, texts, []) == ""


def test_the_command_ends_with_0_1_or_2(tmp_path):
    def run(*arguments):
        result = CliRunner().invoke(main, ["lint", *map(str, arguments)])
        return result.exit_code, result.output

    def write(**texts):
        for name, text in texts.items():
            (tmp_path / f"{name}.yaml").write_text(text)

    assert run(tmp_path)[0] == 2
    write(**{name.removesuffix(".yaml"): text for name, text in files(one("trades_7d < 0")).items()})
    code, said = run(tmp_path)
    assert (code, "rules.yaml:12:" in said, "L101 error" in said) == (1, True, True)
    assert json.loads(run(tmp_path, "--format", "json")[1])
    write(rules="rules: []", features="features:\n" + FEATURES.split("\n")[1] + "\n")
    assert run(tmp_path) == (0, f"{tmp_path}: nothing to remark\n")
    write(rules="rules: [1]")
    assert run(tmp_path) == (2, f"Error: {tmp_path} has 1 error: see `engage check {tmp_path}`\n")


DEFINITIONS = """\
define:
  rich: {is: client.assets_cny >= large_cny, description: much}
  small: {is: client.assets_cny < 1_000, description: little}
  unused: {is: client.tier == "A", description: of no use}
  broken: {is: trades_7d < 0, description: never}
lists:
  watched: {values: ["600000", "000001"], description: under watch}
  forgotten: {values: ["600000"], description: of no use}
tables:
  large_cny:
    hit: first
    unit: cny
    otherwise: 10_000
    rows:
      - {client.tier: A, then: 1_000_000}
      - {client.tier: A | B, then: 300_000}
      - {client.tier: A, then: 5}
"""


@pytest.mark.parametrize(
    ("on", "when", "codes"),
    [
        ("logins", "rich and small", ["L101"]),
        ("logins", 'rich and client.tier == "B" and client.assets_cny < 200_000', ["L101"]),
        ("logins", 'rich and client.tier == "C" and client.assets_cny < 200_000', []),
        ("logins", "large_cny > 1_000_000", ["L101"]),
        ("logins", "large_cny >= 10_000", ["L102"]),  # no case reaches the row that says 5
        ("trades", 'trade.symbol in watched and trade.symbol == "510300"', ["L101"]),
        ("trades", "trade.symbol in watched", []),
        ("logins", "broken or rich", ["L103"]),
    ],
)
def test_definitions_lists_and_tables_are_looked_into(on, when, codes):
    texts = {**files(one(when, on)), "definitions.yaml": DEFINITIONS}
    findings = [f for f in lint(good(texts)) if f.subject == 'rule "x"' and f.code not in ORDER]
    assert [finding.code for finding in findings] == codes


def test_what_is_declared_and_of_no_use():
    texts = {**files(one("rich and small")), "definitions.yaml": DEFINITIONS}
    findings = [(f.code, f.subject) for f in lint(good(texts)) if f.file == "definitions.yaml"]
    assert findings == [
        ("L306", 'definition "unused"'),
        ("L306", 'definition "broken"'),
        ("L101", 'definition "broken"'),
        ("L306", 'list "watched"'),
        ("L306", 'list "forgotten"'),
        ("L401", 'table "large_cny"'),
    ]


@pytest.mark.parametrize(
    ("occasion", "cooldown", "codes"),
    [
        ({"at": '{every: day, time: "09:00"}'}, "7d", ["L303"]),
        ({"at": '{every: month, time: "09:00"}'}, "31d", ["L303"]),
        ({"at": '{every: day, time: "09:00"}', "when": 'weekday(now) == "mon"'}, "5d", []),
        ({"at": '{every: day, time: "09:00"}', "when": "trades_7d > 3"}, "5d", ["L303"]),
        ({"at": '{every: month, time: "09:00"}'}, "28d", []),
        ({"at": '{every: month, time: "09:00"}', "when": "trades_7d < 0"}, "1d", ["L101"]),
        ({"becomes": "trades_7d < 0"}, "1d", ["L101"]),
        ({"becomes": "trades_7d > 9", "repeat_every": "7d"}, "30d", ["L303"]),
        ({"becomes": "trades_7d > 9", "repeat_every": "30d"}, "30d", []),
        ({"sequence": "{first: {on: trades, when: trades_7d == 0}, then: {on: logins}, within: 3d}"}, "1d", ["L101"]),
        ({"sequence": "{first: {on: logins}, without: {on: trades}, within: 3d}", "when": "trades_7d == 0"}, "1d", []),
        ({"sequence": "{first: {on: logins}, then: {on: trades}, within: 3d}", "when": "trades_7d<1"}, "1d", ["L101"]),
        ({"at": '{every: maturity, before: 3d, time: "09:00"}', "when": "maturity.amount_cny < 0"}, "1d", []),
        ({"on": "logins", "when": "hour(now) >= 24"}, "1d", ["L101"]),
        ({"on": "logins", "when": 'weekday(now) == "sat" and weekday(now) == "sun"'}, "1d", ["L101"]),
        ({"on": "logins", "when": "now - client.last_trade_at > days(3)"}, "1d", []),
        ({"on": "logins", "when": "now > client.last_trade_at and not known(client.last_trade_at)"}, "1d", ["L101"]),
    ],
)  # fmt: skip
def test_other_occasions(occasion, cooldown, codes):
    fields = {"when": None, "on": None, "audience": "team", "kind": "task", "cooldown": cooldown, **occasion}
    quoted = {key: f"'{value}'" if key in ("when", "becomes") and value else value for key, value in fields.items()}
    assert [finding.code for finding in found(rule("x", **quoted))] == codes


def test_what_a_cooldown_or_channels_name_is_used_and_no_fixed_length():
    definitions = """\
tables:
  every_days: {hit: first, unit: days, otherwise: 30, rows: [{client.region: east, then: 2}]}
  reached_by: {hit: first, otherwise: [email], rows: [{client.region: east, then: [sms]}]}
"""
    weekly = {
        "on": None,
        "when": None,
        "at": '{every: week, time: "09:00"}',
        "cooldown": "every_days",
        "channels": "reached_by",
    }
    plan = plan_of(rule("x", **weekly), definitions=definitions)
    assert [finding.code for finding in lint(plan.rule_set) if finding.code not in ("L301", "L302", "L511")] == []


L105, L106 = "holds where {} is missing, too", "is false where {} is missing"


@pytest.mark.parametrize(
    ("on", "when", "code", "name"),
    [
        ("logins", "not (trades_7d > 3 or client.assets_cny > 5)", "L105", "client.assets_cny"),
        ("logins", 'not client.tier == "A"', "L105", "client.tier"),
        ("trades", 'not (client.segment in ("active", "x"))', "L105", "client.segment"),
        ("balances", "not balance.margin_ratio >= 1.3 and client.days_known > 3", "L105", "balance.margin_ratio"),
        ("logins", "client.days_known > 3 and not (client.days_in_tier < 30)", "L105", "client.days_in_tier"),
        ("logins", "not (client.assets_cny / 2 > 5)", "L105", "client.assets_cny"),
        ("logins", 'client.segment != "active"', "L106", "client.segment"),
        ("logins", 'client.risk_level not in ("R1", "R2")', "L106", "client.risk_level"),
        ("logins", 'client.days_known > 3 and client.tier != "A"', "L106", "client.tier"),
        ("logins", 'trades_7d > 3 or client.language != "zh"', "L106", "client.language"),
        ("balances", "balance.margin_ratio != 1", "L106", "balance.margin_ratio"),
    ],
)
def test_what_a_missing_value_makes_of_it_is_said(on, when, code, name):
    tiers = TIERS + "segments:\n  - {id: active, when: trades_30d > 3}\n  - {id: x, when: trades_30d > 1}\n"
    (finding,) = found(one(when.replace("'", '"'), on=on), tiers=tiers)
    assert finding.code == code
    assert {"L105": L105, "L106": L106}[code].format(name) in finding.message
    assert f"known({name})" in finding.remedy


@pytest.mark.parametrize(
    ("on", "when"),
    [
        ("logins", "not (trades_7d > 3)"),
        ("logins", "not login.success"),
        ("logins", 'known(client.tier) and not client.tier == "A"'),
        ("logins", 'known(client.tier) and client.tier != "A"'),
        ("logins", 'not known(client.tier) or client.tier != "A"'),
        ("logins", "client.assets_cny > 5 and client.assets_cny != 7"),
        ("logins", 'client.tier in ("A", "B") and not (client.tier == "A")'),
        ("trades", 'trade.side != "buy"'),
        ("logins", "not known(client.tier)"),
    ],
)
def test_what_cannot_be_missing_there_is_no_finding(on, when):
    assert [f.code for f in found(one(when, on=on)) if f.code in ("L105", "L106")] == []


SCORE = "value_score: "


@pytest.mark.parametrize(
    ("score", "fen", "value", "codes"),
    [
        ("client.assets_cny", 1_234_500, 12_345.0, ["L107"]),
        ("client.assets_cny / 10_000", 1_234_500, 1.2345, ["L107"]),
        ("client.assets_cny / cny(10_000)", 1_234_500, 1.2345, []),
        ("max(client.assets_cny - 100, 0)", 1_234_500, 12_245.0, ["L107"]),
        ("client.assets_cny if trades_30d > 3 else 50", 1_234_500, 50.0, ["L107"]),
        ("100 * client.assets_cny / (client.assets_cny + 12_345)", 1_234_500, 50.0, []),
        ("0.5 * assets_avg_cny_30d", 1_234_500, 6172.5, ["L107"]),
    ],
)
def test_a_score_of_money_counts_cny_and_is_found(score, fen, value, codes):
    given = files(one("client.value_score > 5"), tiers=TIERS + SCORE + score + "\n")
    rule_set = good(given)
    assert [f.code for f in lint(rule_set) if f.code == "L107"] == codes
    desk = Desk(compile_rule_set(rule_set))
    desk.take(profile(at(0)), balance(at(0), fen // 100))
    assert desk.client.value_score == pytest.approx(value)


@pytest.mark.parametrize("when", ["trade.symbol in watched", 'trade.symbol not in watched and trade.side == "buy"'])
def test_two_rules_that_ask_a_list_may_fire_together(when):
    """Lint ended with a KeyError."""
    more = {"on": "trades", "when": f"'{when}'", "priority": 50, **CLIENT}
    given = files(rule("a", template="a", **more), rule("b", template="b", **more))
    given["definitions.yaml"] = 'lists:\n  watched: {values: ["600000", "000001"], description: watched}\n'
    assert [f.code for f in lint(good(given)) if f.code not in ORDER] == ["L203"]
