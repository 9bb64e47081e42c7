"""definitions.yaml: lists, tables and named expressions mean what they say; each fault is told at its place."""

import ast
import random
import re
import time

import pytest

from engine.core.language.expressions import Name, Type, enum, function_globals, number
from engine.core.plan.compile import compile_rule_set
from engine.core.rules import names
from engine.core.rules.occasion import after, on
from engine.core.rules.ruleset import RuleSet
from engine.core.rules.tables import list_globals
from engine.rulefile.read.load import digest, load
from engine.rulefile.source.table_checks import unreachable
from tests.rulefile.sample import FILES, good, problems_of
from tests.services.process import REPOSITORY

BOUNDED_S = 60.0  # of CPU, on a slow machine too; what grows with the square or worse takes longer
DEFINITIONS = """\
lists:
  watched: {file: watched.csv, column: symbol, description: looked at daily}
  far: {values: [west, northeast]}
tables:
  large_cny:
    hit: first
    unit: cny
    otherwise: 10_000
    rows:
      - {client.tier: A, client.assets_cny: ">= 1_000_000", then: 50_000.5}
      - {client.tier: A | B, client.assets_cny: 1000 .. 2000, then: 20_000}
      - {client.tier: not A, client.assets_cny: "< 10", then: 5}
  pause: {hit: unique, unit: days, file: pause.csv}
  reach:
    hit: first
    rows:
      - {client.has_advisor: true, then: [phone, sms]}
      - {then: sms}
  tone:
    hit: first
    on: trades
    otherwise: plain
    rows:
      - {trade.side: sell, trade.symbol: A | B, then: warm}
define:
  is_vip: {is: client.tier == "A", description: who is called}
  large: {is: balance.amount_cny >= large_cny and is_vip, on: balances}
  share: {is: client.cash_cny / client.assets_cny}
  limit_cny: {is: cny(500)}
  nought: {is: hours(0) / hours(1)}
  by_nought: {is: client.cash_cny / nought}
  far_away: {is: now + days(10_000_000)}
  far_year: {is: year(far_away)}
"""
CSV = {
    "watched.csv": 'symbol,name\r\n600519.SH,"Moutai, ""big"""\r\n\r\n000001.SZ,Ping An\r\n',
    "pause.csv": "client.has_advisor;client.days_known;then\nTRUE;-;3\nfalse; < 10 ;5\nfalse;>=10;6\n",
}
GOOD = FILES | CSV | {"definitions.yaml": DEFINITIONS}


class Client:
    tier = assets_fen = cash_fen = advisor_id = None
    since_ms = now_ms = 0

    def __init__(self, **known):
        self.__dict__.update(known)


class Event:
    side, symbol, amount_fen = "sell", "A", 5_000_050


def value(name, client, rule_set, trigger):
    reads = {feature.name: "0" for feature in rule_set.features}
    scope = names.rule_scope(trigger, rule_set.features, ("A", "B", "C"), (), reads, rule_set.declared)
    space = {**function_globals(), **list_globals(rule_set.lists), "days_between": lambda a, b: (b - a) // 86_400_000}
    space |= {"c": client, "e": Event()}
    return eval(scope[name].code, space)


@pytest.mark.parametrize(
    ("name", "client", "expected"),
    [
        ("large_cny", Client(tier="A", assets_fen=100_000_000), 5_000_050),
        ("large_cny", Client(tier="A", assets_fen=99_999_999), 1_000_000),
        ("large_cny", Client(tier="B", assets_fen=100_000), 2_000_000),
        ("large_cny", Client(tier="B", assets_fen=200_000), 1_000_000),
        ("large_cny", Client(tier="C", assets_fen=999), 500),
        ("large_cny", Client(assets_fen=999), 1_000_000),
        ("pause", Client(advisor_id="x"), 3),
        ("pause", Client(now_ms=9 * 86_400_000), 5),
        ("pause", Client(now_ms=10 * 86_400_000), 6),
        ("reach", Client(advisor_id="x"), ("phone", "sms")),
        ("reach", Client(), ("sms",)),
        ("tone", Client(), "warm"),
        ("is_vip", Client(tier="A"), True),
        ("is_vip", Client(), False),
        ("large", Client(tier="A", assets_fen=100_000_000), True),
        ("share", Client(cash_fen=1, assets_fen=4), 0.25),
        ("share", Client(cash_fen=1, assets_fen=0), None),
        ("watched", Client(), frozenset(("600519.SH", "000001.SZ"))),
        ("limit_cny", Client(), 50_000),
        ("by_nought", Client(cash_fen=5), None),
        ("far_year", Client(), None),
    ],
)
def test_meaning(name, client, expected):
    trigger = on("balances" if name == "large" else "trades")
    assert value(name, client, good(GOOD), trigger) == expected


def test_names_say_what_they_follow_from_and_where_they_are_known():
    rule_set = good(GOOD)
    scopes = {
        trigger: names.rule_scope(trigger, rule_set.features, ("A",), (), declared=rule_set.declared)
        for trigger in (None, on("balances"), after("balances"), on("trades"))
    }
    large = scopes[on("balances")]["large"]
    assert [read.name for read in large.reads] == ["balance.amount_cny", "client.tier", "client.assets_cny"]
    assert scopes[None]["limit_cny"].reads == ()
    assert ("large" in scopes[after("balances")], "large" in scopes[on("trades")], "tone" in scopes[on("trades")]) == (
        1,
        0,
        1,
    )
    assert [scopes[on("trades")][n].type for n in ("large_cny", "reach", "tone", "share", "watched")] == [
        number("cny"),
        Type("list", None, ("phone", "sms")),
        enum("warm", "plain"),
        number("ratio"),
        Type("set", None, ("600519.SH", "000001.SZ")),
    ]
    assert rule_set.lists["far"] == ("west", "northeast")


def test_rules_use_them():
    text = FILES["retention.yaml"].replace(
        'client.tier == "A" and', "large and balance.amount_cny > limit_cny and client.region in far and"
    )
    rule_set = good(GOOD | {"retention.yaml": text})
    rule = next(rule for rule in rule_set.rules if rule.id == "vip-winback")
    assert rule.when.lists == ("far",)
    assert "far" not in rule.when.names
    assert rule.when.names[:2] == ("large", "balance.amount_cny")
    compile_rule_set(rule_set)


def test_csv_files_are_part_of_the_rule_set():
    rule_set = good(GOOD)
    assert set(CSV) <= {name for name, _ in rule_set.files}
    assert digest(GOOD) != digest(GOOD | {"watched.csv": CSV["watched.csv"] + "600000.SH,x\n"})
    comma = CSV["pause.csv"].replace(";", ",")
    assert good(GOOD | {"pause.csv": "\ufeff".strip("\ufeff") + comma}).tables[1].rows[0].then == 3


D, W, P, R = "definitions.yaml", "watched.csv", "pause.csv", "retention.yaml"
BAD = [
    (D, "hit: first\n    unit", "hit: last\n    unit", f'{D}:6:10: unknown value "last"; allowed: first, unique'),
    (D, "who is called", "x" * 301, f"{D}:26:49: text of 301 characters; stay within 300"),
    (D, "  share:", "  trades_30d:", f'{D}:28:3: "trades_30d" is declared already; keep one, or choose another name'),
    (D, "  share:", "  far:", f'{D}:28:3: "far" is declared already; keep one, or choose another name'),
    (D, "  share:", "  days:", f'{D}:28:3: "days" is a word of the rule language; choose another name'),
    (D, "and is_vip", "and share2", f'{D}:27:51: unknown name "share2"; known here: balance.*, client.*, features'),
    (D, "and is_vip", "and large", f"{D}:27:51: large asks for itself; write what it means without it"),
    (D, "and is_vip", "and share > 1", f"{D}:27:51: share is declared further down; move it above large"),
    (
        D,
        'is: client.tier == "A"',
        'is: client.tier == "D"',
        f'{D}:26:31: client.tier is never "D"; allowed: "A", "B", "C", "mutual_fund", "private_fund", "insurer", '
        '"qfii", "social_security_fund", "enterprise_annuity"',
    ),
    (
        D,
        "is_vip, on: balances",
        "is_vip",
        f'{D}:27:15: unknown name "balance.amount_cny"; known here: client.*, features',
    ),
    (
        D,
        "client.tier: not A",
        "client.tear: not A",
        f'{D}:12:10: unknown name "client.tear"; did you mean "client.tier"?',
    ),
    (
        D,
        "client.tier: not A",
        "client.tier: not D",
        f'{D}:12:23: client.tier is never "D"; allowed: A, B, C, mutual_fund, private_fund, insurer, qfii, '
        "social_security_fund, enterprise_annuity",
    ),
    (
        D,
        "client.tier: not A",
        "now: not A",
        f"{D}:12:10: now cannot be an input; use a number, a text or a bool; of times, client.days_*",
    ),
    (D, "A | B, client", "A | , client", f'{D}:11:23: an empty value in "A |"; write A, A | B, not A, or - for any'),
    (
        D,
        '"< 10"',
        '"=< 10"',
        f'{D}:12:49: not a number or range: "=< 10"; write >= n, > n, <= n, < n, n .. m (less than '
        "m), n, or - for any; digits such as 1_000_000",
    ),
    (
        D,
        "1000 .. 2000",
        "2000 .. 2000",
        f'{D}:11:49: nothing lies in "2000 .. 2000"; write n .. m: from n to less than m',
    ),
    (D, "1000 .. 2000", "0.001 .. 1", f"{D}:11:49: money with more than two decimals; write at most two decimals"),
    (D, "then: 20_000", "then: many", f'{D}:11:69: not a number: "many"; write digits such as 1_000_000 or 0.5'),
    (D, ", then: 20_000", "", f"{D}:11:9: a row without then; add its value, such as then: 5"),
    (
        D,
        "true, then",
        "maybe, then",
        f'{D}:17:30: not true or false: "maybe"; client.has_advisor is one of them; - is both',
    ),
    (
        D,
        "      - {then: sms}\n",
        "",
        f"{D}:15:5: no row of reach matches client.has_advisor = false; add a row for it, or otherwise",
    ),
    (
        D,
        "    otherwise: plain\n",
        "",
        f"{D}:20:5: no row of tone matches trade.side = buy, trade.symbol = A; add a row for it, or otherwise",
    ),
    (D, "file: pause.csv", "file: paus.csv", f'{D}:13:42: no file paus.csv; did you mean "pause.csv"?'),
    (D, ", column: symbol", "", f"{D}:2:19: which column of watched.csv?; add column, one of: symbol, name"),
    (
        D,
        "column: symbol",
        "column: symbl",
        f'{D}:2:40: no column "symbl" in watched.csv; did you mean "symbol"? allowed: symbol, name',
    ),
    (D, "[west, northeast]", "[]", f"{D}:3:17: empty list; write at least one value"),
    (
        D,
        "values: [west, northeast]",
        "values: [a], file: watched.csv, column: name",
        f"{D}:3:8: values or file; a list has one of them",
    ),
    (W, "symbol,name", "symbol" + ",x" * 50_000, f"{W}:1:206: 50001 columns; stay within 100"),
    (W, "Ping An", "Ping,An", f"{W}:4:1: row of 3 cells; the header has 2; a cell with a , in it is quoted"),
    (
        W,
        '"Moutai',
        '"Mou"tai',
        f'{W}:2:11: a quote that does not fit; write the cell as "..." on one line, each " within it twice',
    ),
    (W, "600519.SH", "", f"{W}:2:1: empty value; write 1 to 100 characters"),
    (W, "symbol,name", "symbol,symbol", f'{W}:1:8: column "symbol" twice; give each column a name of its own'),
    (W, CSV[W], "", f"{W}:1:1: empty file; write a line of column names, then a row a line"),
    (
        W,
        "Ping An",
        "Ping\udcc4An",
        f"{W}:4:15: byte 0xC4, which is not UTF-8: the file looks like Windows-1252 or Latin-1; "
        'save it as UTF-8 (a spreadsheet: as "CSV UTF-8")',
    ),
    (P, ";then", ";than", f"{P}:1:38: no column then; add it: the value of each row"),
    (
        P,
        "false; < 10 ;5",
        "false; < 1O ;5",
        f'{P}:3:8: not a number or range: "< 1O"; write >= n, > n, <= n, < n, n .. m '
        "(less than m), n, or - for any; digits such as 1_000_000",
    ),
    (
        P,
        "false;>=10;6",
        "false;>=11;6",
        f"{P}:1:1: no row of pause matches client.has_advisor = false, client.days_known "
        "= 10; add a row for it, or otherwise",
    ),
    (
        P,
        "false;>=10;6",
        "-;>=10;6",
        f"{P}:1:1: the rows at {P}:2:1 and {P}:4:1 both match client.has_advisor = true, "
        "client.days_known = 10; let one exclude the other, or write hit: first",
    ),
    (
        R,
        'client.tier == "A" and',
        "watched and",
        f'{R}:7:11: rule "vip-winback": watched is a list, not a value; write: x in watched',
    ),
    (
        R,
        'client.tier == "A" and',
        'tone == "warm" and',
        f'{R}:7:11: rule "vip-winback": unknown name "tone"; it is declared for trades alone',
    ),
]


@pytest.mark.parametrize(("file", "old", "new", "problem"), BAD, ids=[f"{bad[0]}: {bad[2][:40]}" for bad in BAD])
def test_one_fault_one_problem(file, old, new, problem):
    assert GOOD[file].count(old) >= 1
    told = [str(p) for p in problems_of(GOOD | {file: GOOD[file].replace(old, new, 1)})]
    assert told == [problem]


def test_a_csv_file_that_nothing_refers_to_is_told():
    told = problems_of(GOOD | {"other.csv": "a\nb\n"})
    assert [str(p) for p in told] == [
        "other.csv:1:1: no list or table refers to this file; name it in definitions.yaml, or remove it"
    ]


@pytest.mark.parametrize("written", ["30%", "5,00", "1.5.0", "-7"])
def test_a_number_written_wrong_among_numbers_makes_no_texts_of_them(written):
    text = "tables:\n  share:\n    hit: first\n    otherwise: some\n    rows:\n      - client.tier: A\n"
    text += f"        then: {written}\n"
    (problem,) = problems_of(FILES | {D: text})
    assert problem.message == f'"{written}" is among texts'


def test_rows_that_no_case_reaches_are_found():
    text = DEFINITIONS.replace(
        "      - {then: sms}\n", "      - {client.has_advisor: false, then: sms}\n      - {then: email}\n"
    )
    rule_set = good(GOOD | {D: text})
    scope = names.rule_scope(on("trades"), rule_set.features, ("A", "B", "C"), (), declared=rule_set.declared)
    assert [unreachable(table, scope) for table in rule_set.tables] == [(), (), (2,), ()]


def test_a_list_of_100_000_is_read_and_compiled_fast():
    text = "symbol\n" + "\n".join(f"{n:06}" for n in range(100_000))
    begun = time.process_time()
    rule_set = good(FILES | {D: "lists: {watched: {file: watched.csv}}\n", W: text})
    compile_rule_set(rule_set)
    assert time.process_time() - begun < BOUNDED_S
    assert len(rule_set.lists["watched"]) == 100_000


def test_a_table_of_too_many_combinations_is_refused_in_bounded_time():
    chance = random.Random(1)
    inputs = ("client.assets_cny", "client.assets_peak_cny", "client.cash_cny", "client.days_known", "trades_30d")

    def row(then):
        cells = [f"{low} .. {low + chance.randrange(1, 500)}" for low in (chance.randrange(1000) for _ in inputs)]
        return ",".join((*cells, str(then)))

    sheet = "\n".join([",".join((*inputs, "then")), *map(row, range(900))])
    begun = time.process_time()
    told = problems_of(FILES | {D: "tables: {wide: {hit: first, file: wide.csv}}\n", "wide.csv": sheet})
    assert "has too many combinations to check" in told[0].message
    rule_set = good(FILES | {D: "tables: {wide: {hit: first, otherwise: 1, file: wide.csv}}\n", "wide.csv": sheet})
    scope = names.rule_scope(None, rule_set.features, (), (), declared=rule_set.declared)
    assert unreachable(rule_set.tables[0], scope) == ()
    assert time.process_time() - begun < BOUNDED_S


def test_definitions_that_grow_without_bound_are_refused_in_bounded_time():
    lines = ["define:", "  d0: {is: trades_30d}"]
    lines += [f"  d{n}: {{is: {' + '.join([f'd{n - 1}'] * 20)}}}" for n in range(1, 30)]
    begun = time.process_time()
    told = [str(p) for p in problems_of(FILES | {D: "\n".join(lines) + "\n"})]
    assert time.process_time() - begun < BOUNDED_S
    assert len(told) == 1
    assert "with its definitions written out; use fewer or smaller definitions and tables" in told[0]


def test_deep_definitions_compile():
    lines = ["define:", "  d0: {is: trades_30d > 1}"]
    lines += [f"  d{n}: {{is: not (d{n - 1} and trades_30d > {n})}}" for n in range(1, 24)]
    text = FILES["retention.yaml"].replace('client.tier == "A" and', "d23 and")
    compile_rule_set(good(FILES | {D: "\n".join(lines) + "\n", R: text}))


def test_the_code_of_a_declared_name_is_an_expression():
    rule_set = good(GOOD)
    reads = {feature.name: "0" for feature in rule_set.features}
    scope = names.rule_scope(on("trades"), rule_set.features, ("A",), (), reads, rule_set.declared)
    for name in ("large_cny", "pause", "reach", "tone", "share"):
        assert isinstance(scope[name], Name)
        ast.parse(scope[name].code, mode="eval")


def test_what_the_manual_shows_is_right():
    manual = (REPOSITORY / "docs/rules.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:yaml)?\n(.*?)```", manual, re.DOTALL)
    shown = next(block for block in blocks if block.startswith("lists:"))
    sheet = next(block for block in blocks if block.startswith("client.tier;"))
    text = shown.replace("define:", "  pause: {hit: first, unit: days, file: pause.csv}\n\ndefine:")
    rule_set = good(FILES | {D: text, "watched_securities.csv": "symbol\n600519.SH\n", "pause.csv": sheet})
    assert [len(table.rows) for table in rule_set.tables] == [3, 4]


def test_a_department_has_definitions_of_its_own_beside_those_of_all():
    texts = {
        **FILES,
        "definitions.yaml": "define: {rich: {is: client.assets_cny >= 500_000}}\n",
        "definitions-wealth.yaml": "define: {idle_rich: {is: rich and client.cash_cny >= 100_000}}\n",
    }
    rule_set = good(texts)
    assert [one.name for one in rule_set.definitions] == ["rich", "idle_rich"]
    (twice,) = problems_of(texts | {"definitions-a.yaml": "define: {idle_rich: {is: rich}}\n"})
    assert str(twice).startswith('definitions-wealth.yaml:1:10: "idle_rich" is declared already')
    (other,) = problems_of(texts | {"definitions-a.yaml": "define: {poor: {is: not idle_rich}}\n"})
    assert str(other).startswith('definitions-a.yaml:1:25: unknown name "idle_rich"')


def test_a_published_set_may_have_rules_in_a_file_of_that_name():
    texts = {**FILES, "definitions-wealth.yaml": FILES["retention.yaml"]}
    del texts["retention.yaml"]
    rule_set = load(texts, published=True)
    assert isinstance(rule_set, RuleSet)
    assert [rule.id for rule in rule_set.rules] == [rule.id for rule in good(FILES).rules]


def test_what_belongs_elsewhere_is_said_with_its_file():
    (found,) = problems_of({**FILES, "retention.yaml": "tables: {t: {hit: first}}\n" + FILES["retention.yaml"]})
    assert "tables belong in another file; write tables in definitions.yaml, or a file such as" in str(found)
