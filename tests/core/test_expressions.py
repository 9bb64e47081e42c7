"""The expression language: what it means, what code it becomes, what it refuses and how it says so."""

import ast
import time

import pytest

from engine.core.language.expressions import BOOL, TEXT, Expression, Fault, Type, enum, number, parse, to_python
from tests.core.expression_code import function, named

SCOPE = {
    name.name: name
    for name in (
        named("client.tier", enum("A", "B", "C"), optional=True),
        named("client.region", enum("east", "west"), optional=True),
        named("client.assets_cny", number("cny"), optional=True),
        named("client.days_silent", number("days"), optional=True),
        named("client.margin_ratio", number("ratio"), optional=True),
        named("client.has_advisor", BOOL),
        named("client.vip", BOOL, optional=True),
        named("trade.amount_cny", number("cny")),
        named("trade.side", enum("buy", "sell")),
        named("trade.symbol", TEXT),
        named("trades_7d", number("count")),
        named("trades_30d", number("count")),
        named("assets_peak_cny", number("cny"), optional=True),
        named("now", number("time")),
        named("client.last_trade_at", number("time"), optional=True),
        named("watched", Type("set", None, ("600519.SH", "000001.SZ"))),
        named("regions", Type("set", None, ("east", "north"))),
        named("many", Type("set", None, tuple(map(str, range(1001))))),
    )
}
MISSING = {name: None for name, known in SCOPE.items() if known.optional}
KNOWN = {
    "client.has_advisor": True,
    "trade.amount_cny": 250_050,
    "trade.side": "sell",
    "trade.symbol": "600519.SH",
    "trades_7d": 3,
    "trades_30d": 10,
    "now": 1_790_830_800_000,  # Thursday 2026-10-01, 13:00 for the firm
    "watched": frozenset(("600519.SH", "000001.SZ")),
    "many": frozenset(map(str, range(1001))),
}
USUAL = KNOWN | {
    "client.tier": "B",
    "client.region": "east",
    "client.assets_cny": 50_000_000,
    "client.days_silent": 12,
    "client.margin_ratio": 1.4,
    "client.vip": True,
    "assets_peak_cny": 80_000_000,
    "client.last_trade_at": 1_790_740_800_000,  # 25 hours before now
}
ABSENT = KNOWN | MISSING


def checked(text, expect=None):
    result = parse(text, SCOPE, expect)
    assert isinstance(result, Expression), result
    return result


@pytest.mark.parametrize(
    ("text", "usual", "absent"),
    [
        # a written number takes the unit of what it meets; code counts fen
        ("client.assets_cny > 499_999.99", True, False),
        ("client.assets_cny == 500_000", True, False),
        ("trade.amount_cny == 2_500.50", True, True),
        ("trade.amount_cny == 2 * 1_250.25", True, True),
        ("10 * 0.1 + 0.2 + 2_499.3 == trade.amount_cny", True, True),
        ("trade.amount_cny in (1, 2_500.5)", True, True),
        ("-trade.amount_cny <= -2_500.50", True, True),
        ("trade.amount_cny > (1_000 if client.region == 'east' else 2_600)", True, False),
        ("trade.amount_cny > 2 * (1_000 if client.region == 'east' else 2_000)", True, False),
        ("min(trade.amount_cny, 3_000) == 2_500.5", True, True),
        ("100 < trade.amount_cny - 2_000 < 600", True, True),
        ("1 < 2 < trade.amount_cny", True, True),
        ("round(trade.amount_cny) == 2_500", True, True),
        ("client.assets_cny / assets_peak_cny", 0.625, None),
        ("client.assets_cny / assets_peak_cny <= 0.625", True, False),
        ("client.assets_cny * 2 - 1", 99_999_900, None),
        ("trades_7d / trades_30d", 0.3, 0.3),
        ("0.5 * trades_7d < trades_30d", True, True),
        ("client.margin_ratio * trades_7d > 4", True, False),
        # what is missing
        ("client.tier == 'B'", True, False),
        ("client.tier != 'A'", True, False),
        ("client.tier not in ('A', 'C')", True, False),
        ("client.tier in ('A', 'B')", True, False),
        ("not client.tier == 'A'", True, True),
        ("not (client.days_silent > 12)", True, True),
        ("known(client.tier)", True, False),
        ("known(trades_7d)", True, True),
        ("client.vip", True, False),
        ("not client.vip", False, True),
        ("client.days_silent + 1", 13, None),
        ("client.days_silent if known(client.days_silent) else 0", 12, 0),
        ("1 if client.days_silent > 3 else 0", 1, 0),
        ("max(client.days_silent, 1)", 12, None),
        ("'x' if client.vip else client.tier", "x", None),
        ("client.days_silent if client.vip else 7", 12, 7),
        ("(client.days_silent if trades_7d > 2 else 7) > 8", True, False),
        ("trades_7d / (trades_30d - 10)", None, None),
        ("trades_7d / (trades_30d - 10) > 1", False, False),
        # times
        ("hour(now)", 13, 13),
        ("weekday(now) in ('mon', 'thu')", True, True),
        ("day(now)", 1, 1),
        ("month(now)", 10, 10),
        ("year(now)", 2026, 2026),
        ("date_of(now)", "2026-10-01", "2026-10-01"),
        ("hour(client.last_trade_at)", 12, None),
        ("date_of(now - days(1)) == '2026-09-30'", True, True),
        ("month(now - days(30) * trades_7d)", 7, 7),
        ("year(now + days(10_000_000))", None, None),
        ("weekday(date('0001-01-01') - days(1))", None, None),
        ("now - client.last_trade_at", 90_000_000, None),
        ("now - client.last_trade_at > days(1)", True, False),
        ("now - client.last_trade_at >= hours(25)", True, False),
        ("now > date('2026-10-01') + hours(12.5)", True, True),
        ("(now - client.last_trade_at) / days(1)", 25 / 24, None),
        ("days(2) / hours(6)", 8, 8),
        ("-days(1) < minutes(30) * 2 - hours(1)", True, True),
        ("max(client.last_trade_at, date('2026-10-01')) == date('2026-10-01')", True, False),
        ("abs(hours(1) - days(1))", 82_800_000, 82_800_000),
        ("known(client.last_trade_at)", True, False),
        # money with its unit
        ("client.assets_cny == cny(500_000)", True, False),
        ("cny(1.50) + 2", 350, 350),
        ("cny(3) / cny(1.5)", 2, 2),
        ("round(cny(2.5))", 200, 200),
        ("trades_7d * cny(10)", 3_000, 3_000),
        # texts and lists
        ("starts_with(trade.symbol, '60')", True, True),
        ("starts_with(trade.symbol, ('00', '60'))", True, True),
        ("ends_with(trade.symbol, '.SZ')", False, False),
        ("contains(trade.symbol, ['X', '0519'])", True, True),
        ("starts_with(client.region, 'ea')", True, False),
        ("not contains(client.region, 'ea')", False, True),
        ("trade.symbol in watched", True, True),
        ("trade.symbol not in watched", False, False),
        ("ends_with(trade.symbol, watched)", True, True),
        ("starts_with(trade.symbol, watched) and contains(trade.symbol, watched)", True, True),
        ("starts_with(trade.symbol, many)", True, True),
        # plain
        ("client.has_advisor and trade.side == 'sell' or client.vip", True, True),
        ("round(2.5)", 2, 2),
        ("abs(-3) + max(1, 2.5)", 5.5, 5.5),
        ("3 <= trades_7d < 4", True, True),
        ("trade.symbol == '600519.SH'", True, True),
        ("True", True, True),
        ("7", 7, 7),
        ("  trades_7d ==\n 3", True, True),
    ],
)
def test_meaning(text, usual, absent):
    expression = checked(text)
    run = function(expression, SCOPE)
    for values, expected in ((USUAL, usual), (ABSENT, absent)):
        result = run(values)
        assert result == expected
        assert isinstance(result, bool) == (expression.type == BOOL)
    assert expression.optional or absent is not None


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("trade.amount_cny > 1_000_000", "v['trade.amount_cny'] > 100000000"),
        ("client.assets_cny > 2 * 50_000", "(_v0 := v['client.assets_cny']) is not None and _v0 > 10000000"),
        ("client.tier == 'A'", "v['client.tier'] == 'A'"),
        ("client.tier in ('A', 'B')", "v['client.tier'] in {'A', 'B'}"),
        ("trades_7d / trades_30d >= 0.3", "(_v0 := v['trades_30d']) != 0 and v['trades_7d'] / _v0 >= 0.3"),
        ("client.assets_cny / 3 > 1", "(_v0 := v['client.assets_cny']) is not None and _v0 / 3 > 100"),
        ("1 < trades_7d < 5 and client.has_advisor", "1 < v['trades_7d'] < 5 and v['client.has_advisor']"),
        ("known(client.tier)", "v['client.tier'] is not None"),
    ],
)
def test_code_is_plain(text, code):
    assert ast.unparse(ast.fix_missing_locations(to_python(checked(text), SCOPE))) == code


def test_names_in_order_and_types():
    expression = checked(
        "client.vip and trades_7d > 1 and client.assets_cny / trade.amount_cny > trades_7d / trades_30d"
    )
    assert expression.names == ("client.vip", "trades_7d", "client.assets_cny", "trade.amount_cny", "trades_30d")
    assert checked("client.assets_cny / trade.amount_cny").type == number("ratio")
    assert checked("client.assets_cny / trades_7d").type == number("cny")
    assert checked("0.5 * trades_7d").type == number("count")
    assert checked("5", number("cny")).type == number("cny")
    assert checked("'a' if client.vip else 'b'").type == enum("a", "b")


TIERS = 'allowed: "A", "B", "C"'
NOT_HERE = "is not in the rule language"
DECLARED = "write a condition over the declared names"


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ('client.teir == "A"', [(0, 'unknown name "client.teir"', 'did you mean "client.tier"?')]),
        ('"中文" == client.teir', [(8, 'unknown name "client.teir"', 'did you mean "client.tier"?')]),
        ("zzz > 1", [(0, 'unknown name "zzz"', "known here: client.*, features, trade.*")]),
        ("client.tier == A", [(15, 'unknown name "A"', 'a text is written in quotes: "A"')]),
        ("client.vip == true", [
            (0, "a condition is not compared", "write it alone, or with not"),
            (14, 'unknown name "true"', "write True"),
        ]),
        ("min > 1", [(0, 'unknown name "min"', "min is a function: min(x, y)")]),
        ('client.tier == "D"', [(15, 'client.tier is never "D"', TIERS)]),
        ('trade.side in ("buy", "sel")', [
            (22, 'trade.side is never "sel"', 'did you mean "sell"? allowed: "buy", "sell"'),
        ]),
        ("client.tier == client.region", [(15, 'client.tier is never "east"', TIERS)]),
        ("client.assets_cny > client.days_silent", [(20, "cannot compare money and days", "bring both to one unit")]),
        ("trades_7d + trade.amount_cny", [(12, "cannot add a count and money", "bring both to one unit")]),
        ("trade.amount_cny > trades_7d / client.days_silent", [
            (19, "cannot compare money and a plain number", "only a written number takes the unit of money"),
        ]),
        ("trade.amount_cny * client.assets_cny > 1", [
            (0, "cannot multiply money by money", "multiply money by a number"),
        ]),
        ("1 / trade.amount_cny > 1", [
            (0, "cannot divide a plain number by money", "divide money by money or by a number"),
        ]),
        ("trade.amount_cny > 0.001", [(19, "money with more than two decimals", "write at most two decimals")]),
        ("client.has_advisor > 1", [(0, "a condition is not compared", "write it alone, or with not")]),
        ("client.has_advisor + 1", [(0, "cannot calculate with a condition", "write a number")]),
        ("trade.side > 'buy'", [(0, "texts have no order", "write ==, != or in")]),
        ("trade.side == 1", [(14, "cannot compare a text and a plain number", "write a text")]),
        ("trades_7d and client.vip", [(0, "expected a condition, found a count", "compare it, such as x > 0")]),
        ("trades_7d / 0 > 1", [(12, "division by zero", "write another divisor")]),
        ("client.tier is None", [
            (0, f'the operator "is" {NOT_HERE}', "write ==, or not known(x) for a missing value"),
        ]),
        ("client.tier == None", [(15, f"None {NOT_HERE}", "write not known(x) for a missing value")]),
        (
            "client.tier in 'AB'",
            [(15, "in needs a list of written values", 'write ("A", "B"), or ["A"] for one alone')],
        ),
        ("client.cash_cny between 1 and 2",
         [(16, "not an expression: between", "write both bounds: 1 <= client.cash_cny <= 2")]),
        ("trades_7d in (1, trades_30d)", [(17, "in needs a list of written values", "write a number or a text")]),
        ("knwon(client.tier)", [(0, 'unknown function "knwon"', 'did you mean "known"?')]),
        ("known(3)", [(6, "known asks about one name", "write known(x) with a declared name")]),
        ("max(1)", [(0, "max takes 2 to 20 values", "write max(x, y)")]),
        ("trades_7d % 2 == 0", [(0, f"the operator % {NOT_HERE}", "compare with / or a feature")]),
        ("trades_7d > 1 & trades_30d > 1", [(12, f"the operator & {NOT_HERE}", "write: and")]),
        ("trades_7d = 3", [(10, "not an expression: invalid syntax", "write == to compare")]),
        ("trades_7d > 1 && True", [(15, "not an expression: invalid syntax", "write: and")]),
        ("trades_7d >", [(11, "the expression ends too early", 'write an expression such as client.tier == "A"')]),
        ("trades_7d ＞ 3", [
            (10, "character U+FF1E (FULLWIDTH GREATER-THAN SIGN) outside of quotes", "write: >"),
        ]),
        ("client.tier == “A”", [
            (15, "character U+201C (LEFT DOUBLE QUOTATION MARK) outside of quotes", 'write: "'),
        ]),
        ("trades_7d >= １００", [(13, "character U+FF11 (FULLWIDTH DIGIT ONE) outside of quotes", "write: 100")]),
        ("trades_7d > ٣", [(12, "character U+0663 (ARABIC-INDIC DIGIT THREE) outside of quotes", "write: 3")]),
        ("trades_7d > −1", [(12, "character U+2212 (MINUS SIGN) outside of quotes", "write: -")]),
        ("trades_7d ≥ 1", [(10, "character U+2265 (GREATER-THAN OR EQUAL TO) outside of quotes", "write: >=")]),
        ("trades_7d × 2 > 1", [(10, "character U+00D7 (MULTIPLICATION SIGN) outside of quotes", "write: *")]),
        ("cliеnt.tier == 'А'", [
            (3, "character U+0435 (CYRILLIC SMALL LETTER IE) outside of quotes", "write: client.tier"),
        ]),
        ("max(trades_7d，3) > 1", [(13, "character U+FF0C (FULLWIDTH COMMA) outside of quotes", "write: ,")]),
        ("trades_7d > ３０％", [(12, 'not a number: "30%"', "write 0.3")]),
        ("trades_7d >\u00a03", [(11, "character U+00A0 (NO-BREAK SPACE)", "write a plain space")]),
        ("trades_7d > 3\u200b", [(13, "character U+200B (ZERO WIDTH SPACE)", "delete it")]),
        ("trades_7d > ¥3", [
            (12, "character U+00A5 (YEN SIGN) outside of quotes",
             "leave it out; only text in quotes is in another script"),
        ]),
        ("trades_7d > = 3", [(10, 'not an expression: a space in "> ="', "write: >=")]),
        ("client.assets_cny > 30%", [(20, 'not a number: "30%"', "write 0.3")]),
        ("trades_7d > 3 and client.assets_cny > 1.5万 and True", [(38, 'not a number: "1.5万"', "write 15_000")]),
        ("trades_7d > 7d", [
            (12, 'not a number: "7d"', "write a duration such as days(7); where days are counted, the number alone"),
        ]),
        ("trade.symbol == 600519.SH", [
            (16, 'not a number: "600519.SH"', "write digits alone, such as 1_000_000; a text is written in quotes"),
        ]),
        ("trades_7d > 3 and and True", [
            (18, "not an expression: invalid syntax", 'write an expression such as client.tier == "A"'),
        ]),
        ("now > date(2026-10-01)", [
            (19, "a number that begins with 0", 'write it without; a day is date("2026-10-01")'),
        ]),
        ("(trades_7d > 3", [(0, "not an expression: '(' was never closed", "write the other bracket, too")]),
        ('tier == "A"', [(0, 'unknown name "tier"', 'did you mean "client.tier"?')]),
        ("balance.amount_cny > 1", [
            (0, 'unknown name "balance.amount_cny"', "known here: client.*, features, trade.*"),
        ]),
        ("True) or (False", [
            (4, "not an expression: unmatched ')'", "remove it, or write the one that opens it"),
        ]),
        ("trades_7d > 1 # and\n trades_30d > 1", [
            (14, "comment in an expression", "put it on a line of its own above"),
        ]),
        ("", [(0, "empty expression", "write a condition such as True")]),
        ("now - client.last_trade_at > 7", [
            (29, "cannot compare a duration and a plain number", "write a duration such as days(7)"),
        ]),
        ("now > 7", [(6, "cannot compare a time and a plain number", 'write a time such as date("2026-10-01")')]),
        ("now - client.last_trade_at > client.days_silent", [
            (29, "cannot compare a duration and days", "subtract times: now - client.tier_since > days(7)"),
        ]),
        ("now + 7 > now", [(0, "cannot add a time and a plain number", "write a duration such as days(7)")]),
        ("now + now > now", [
            (0, "cannot add a time and a time", "subtract them, or add a duration such as days(7)"),
        ]),
        ("days(7) - now > now", [(0, "cannot subtract a duration and a time", "write the time first")]),
        ("now * 2 > now", [(0, "cannot multiply a time", "subtract two times for a duration")]),
        ("now / days(1) > 2", [(0, "cannot divide a time, or by one", "subtract two times for a duration")]),
        ("-now < now", [(0, "a time has no sign", "subtract two times for a duration")]),
        ("abs(now) < now", [(0, "abs takes a number, found a time", "such as round(x / days(1))")]),
        ("days(1) * days(1) > 1", [(0, "cannot multiply a duration by a duration", "multiply a duration by a number")]),
        ("trades_7d / days(1) > 1", [
            (0, "cannot divide a count by a duration", "divide a duration by a duration or by a number"),
        ]),
        ("days(trades_7d) > days(1)", [
            (5, "days takes a written number", "write days(7), or days(1) * x"),
        ]),
        ("cny(trades_7d) > 1", [(4, "cny takes a written number", "write cny(50_000)")]),
        ("cny(0.001) > 1", [(4, "money with more than two decimals", "write at most two decimals")]),
        ("hour(7) > 1", [
            (5, "hour takes a time, found a plain number", "write a time such as now or client.last_trade_at"),
        ]),
        ("hour(now) > day(now)", [
            (12, "cannot compare an hour of the day and a day of the month", "bring both to one unit"),
        ]),
        ("weekday(now) == 'sunday'", [
            (16, 'weekday(now) is never "sunday"',
             'did you mean "sun"? allowed: "mon", "tue", "wed", "thu", "fri", "sat", "sun"'),
        ]),
        ("now > date('2026-13-01')", [
            (11, 'no such day: "2026-13-01"', 'write year, month and day: date("2026-10-01")'),
        ]),
        ("now > date(2026)", [(11, "date takes a written day", 'write a time such as date("2026-10-01")')]),
        ("starts_with(trade.symbol)", [
            (0, "starts_with takes two values", 'write starts_with(x, "60")'),
        ]),
        ("starts_with(trade.symbol, trade.side)", [
            (26, "in needs a list of written values", 'write ("A", "B"), or ["A"] for one alone'),
        ]),
        ("contains(trades_7d, 'A')", [(9, "contains takes a text, found a count", "write a name that is a text")]),
        ("contains(trade.symbol, '')", [
            (23, "contains looks for written texts", 'write contains(x, "60"), or the name of a list'),
        ]),
        ("contains(trade.symbol, many)", [
            (23, "contains with a list of more than 1,000 texts", "use starts_with, ends_with or in"),
        ]),
        ("watched == 'A'", [(0, "watched is a list, not a value", "write: x in watched")]),
        ("trades_7d in watched", [(13, "cannot compare a count and a text", "write a count")]),
        ("client.region in regions", [(17, 'client.region is never "north"', 'allowed: "east", "west"')]),
        ("trade.symbol in wached", [(16, 'unknown name "wached"', 'did you mean "watched"?')]),
        # all at once, by offset
        ('client.teir == "A" and trade.side == "x" or client.assets_cny > trades_7d', [
            (0, 'unknown name "client.teir"', 'did you mean "client.tier"?'),
            (37, 'trade.side is never "x"', 'allowed: "buy", "sell"'),
            (64, "cannot compare money and a count", "bring both to one unit"),
        ]),
    ],
)  # fmt: skip
def test_faults(text, faults):
    found = parse(text, SCOPE)
    assert isinstance(found, tuple)
    assert [(fault.offset, fault.message, fault.remedy) for fault in found] == faults


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ('client.teir == "A"', "unknown name", "client.teir"),
        ("trades_7 > 1", "unknown name", "trades_7"),
        ("trade.symbol in wached", "unknown name", "wached"),
        ('trade.side == "x"', "never that value", "trade.side"),
        ('"x" == trade.side', "never that value", "trade.side"),
        ("client.region in regions", "never that value", "client.region"),
        ("trades_7d", "other", ""),
        ("trades_7d > ", "other", ""),
        ("trades_7d == client.tier", "other", ""),
    ],
)
def test_a_fault_says_of_what_kind_it_is_and_about_which_name(text, kind, name):
    found = parse(text, SCOPE, BOOL)
    assert isinstance(found, tuple)
    assert [(fault.kind, fault.name) for fault in found] == [(kind, name)]


def test_the_place_asks_for_a_type():
    assert parse("trades_7d", SCOPE, BOOL) == (
        Fault(0, "expected a condition, found a count", "compare it, such as x > 0"),
    )
    assert parse("client.vip", SCOPE, number()) == (
        Fault(0, "expected a plain number, found a condition", "write a plain number"),
    )
    assert parse("now", SCOPE, number()) == (Fault(0, "expected a plain number, found a time", "write a plain number"),)
    assert parse("trades_7d", SCOPE, number("cny")) == (Fault(0, "expected money, found a count", "write money"),)


HOSTILE = {
    "dunder": "client.__class__ == 1",
    "dunder of a text": "''.__class__.__mro__",
    "dunder name": "__import__('os').system('true')",
    "builtin": "eval('1')",
    "method": "client.tier.upper() == 'A'",
    "attribute of a call": "min(1, 2).real",
    "format": "'{0.__class__}'.format(1)",
    "lambda": "(lambda: 1)()",
    "comprehension": "[x for x in (1,)] == 1",
    "generator": "max(x for x in (1, 2))",
    "f-string": "f'{client.tier}' == 'A'",
    "walrus": "(x := 1) > 0",
    "star": "max(*(1, 2))",
    "keyword": "max(1, 2, key=abs)",
    "double star": "max(**{})",
    "subscript": "client.tier[0] == 'A'",
    "dictionary": "{1: 2} == 1",
    "await": "await client.tier",
    "yield": "(yield)",
    "statement": "import os",
    "two lines": "True\nimport os",
    "power": "9**9**9 > 1",
    "shift": "1 << 999_999_999 > 1",
    "repeat": "'a' * 999_999_999 == 'a'",
    "long number": "9" * 5_000,
    "large number": "9" * 1_500,
    "large product": "*".join(["999_999_999_999_999"] * 90),
    "infinity": "1e999 > 1",
    "bytes": "b'a' == 'a'",
    "complex": "1j == 1",
    "ellipsis": "... == 1",
    "ten megabytes": "1 + " * 2_500_000 + "1",
    "deep parentheses": "(" * 900 + "1" + ")" * 900,
    "deep minus": "-" * 1_999 + "1",
    "deep not": "not " * 499 + "True",
    "deep sum": "+".join(["trades_7d"] * 180),
    "deep calls": "abs(" * 300 + "1" + ")" * 300,
    "wide": f"trades_7d in ({'1,' * 900})",
    "product of names": "*".join(["trades_7d"] * 30),
    "null byte": "True\0",
    "lone surrogate": "'\ud800' == 'a'",
    "tab": "True\tor True",
    "other space": "True\u3000or True",
    "right to left mark": "True \u202e or True",
    "bad escape": "'\\N{no such}' == 'a'",
    "backslash": "True \\\n",
    "unclosed": "(" * 50,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_is_refused_in_bounded_time(text):
    begun = time.perf_counter()
    faults = parse(text, SCOPE)
    assert time.perf_counter() - begun < 60  # as good as never, when it grows with the square or worse
    assert isinstance(faults, tuple)
    assert faults
    assert all(0 <= fault.offset <= len(text) and fault.message and fault.remedy for fault in faults)
