"""What people paste, and what spreadsheets save: reported at the character or the cell, with what to write."""

import pytest

from engine.core.rules.ruleset import RuleSet
from engine.rulefile.read.load import load, read_directory
from tests.rulefile.sample import FILES, good, problems_of

P, D, R, W = "policy.yaml", "definitions.yaml", "retention.yaml", "watched.csv"
TITLE, CONDITION = "title: Hello", 'client.tier == "A" and'


def said(files):
    return [f"{p.file}:{p.line}:{p.column}: {p.message}; {p.remedy}" for p in problems_of(files)]


def one(files):
    (problem,) = said(files)
    return problem


@pytest.mark.parametrize(
    ("old", "new", "place", "message"),
    [
        ("    priority: 50", "\u00a0\u00a0\u00a0\u00a0priority: 50", "28:1", "U+00A0 (NO-BREAK SPACE); write a plain"),
        ("    priority: 50", "    \u3000priority: 50", "28:5", "U+3000 (IDEOGRAPHIC SPACE); write a plain space"),
        ("priority: 50", "prio\u200brity: 50", "28:9", "U+200B (ZERO WIDTH SPACE); delete it"),
        ("priority: 50", "pri\u00adority: 50", "28:8", "U+00AD (SOFT HYPHEN); delete it"),
        ("priority: 50", "\ufeffpriority: 50", "28:5", "U+FEFF (ZERO WIDTH NO-BREAK SPACE); delete it"),
        ("priority: 50", "priоrity: 50", "28:8", "U+043E (CYRILLIC SMALL LETTER O); write: priority"),
        ("priority: 50", "priority: ５０", "28:15", "U+FF15 (FULLWIDTH DIGIT FIVE); write: 50"),
        ("priority: 50", "priority: −5", "28:15", "U+2212 (MINUS SIGN); write: -"),
        ("priority: 50", "priority：50", "28:13", "U+FF1A (FULLWIDTH COLON); write a colon and a space"),
        ("priority: 50", "priority：\u00a050", "28:14", "U+00A0"),
        ("cooldown: 30m", "cooldown: ３０m", "29:15", "U+FF13 (FULLWIDTH DIGIT THREE); write: 30m"),
        ("kind: survey", "kind: ｓurvey", "37:11", "U+FF53 (FULLWIDTH LATIN SMALL LETTER S); write: survey"),
        ("kind: survey", "kind: “survey”", "37:11", 'U+201C (LEFT DOUBLE QUOTATION MARK); write: "'),
        ("channels: [sms, email]", "channels: ［sms，email］", "27:15", "(FULLWIDTH LEFT SQUARE BRACKET); write: ["),
        ("template: hello", "template: hеllo", "43:16", "U+0435 (CYRILLIC SMALL LETTER IE); write: hello"),
        ("silence: {of: logins, for: 30d}", "silence: {of：logins, for: 30d}", "21:17", "(FULLWIDTH COLON); write: :"),
        ("silence: {of: logins, for: 30d}", "silence: {of: logins，for: 30d}", "21:25", "(FULLWIDTH COMMA); write: ,"),
        ("silence: {of: logins, for: 30d}", "silence: {of: logins, for： 30d}", "21:30", "(FULLWIDTH COLON); write: :"),
        ("  - id: hello", "  – id: hello", "33:3", "U+2013 (EN DASH); write a hyphen and a space"),
        ("  - id: hello", "  • id: hello", "33:3", "U+2022 (BULLET); write a hyphen and a space"),
        ("rules:\n", "rules：\n", "1:6", "U+FF1A (FULLWIDTH COLON); write a colon and a space"),
        (CONDITION, 'client.tier == "A"\u00a0and', "7:29", "U+00A0 (NO-BREAK SPACE); write a plain space"),
        (CONDITION, 'client.tier ＝＝ "A" and', "7:23", "U+FF1D (FULLWIDTH EQUALS SIGN) outside of quotes; write: ="),
        (CONDITION, "client.tier == “A” and", "7:26", '(LEFT DOUBLE QUOTATION MARK) outside of quotes; write: "'),
        (CONDITION, 'cIient.tier == "A" аnd', "7:30", "U+0430 (CYRILLIC SMALL LETTER A) outside of quotes; write: and"),
    ],
)  # fmt: skip
def test_the_place_of_the_character_its_name_and_what_to_type(old, new, place, message):
    assert old in FILES[R]
    problem = one(FILES | {R: FILES[R].replace(old, new, 1)})
    assert problem.startswith(f"{R}:{place}: character ")
    assert message in problem


PUBLISHED = [
    ("\u202e", "RIGHT-TO-LEFT OVERRIDE"),
    ("\u2066", "LEFT-TO-RIGHT ISOLATE"),
    ("\u200b", "ZERO WIDTH SPACE"),
    ("\u200d", "ZERO WIDTH JOINER"),
    ("\u2060", "WORD JOINER"),
    ("\ufe0f", "VARIATION SELECTOR-16"),
    ("\u3164", "HANGUL FILLER"),
    ("\u2800", "BRAILLE PATTERN BLANK"),
    ("\u00a0", "NO-BREAK SPACE"),
    ("\U000e0041", "TAG LATIN CAPITAL LETTER A"),
    ("\ue0b7", "A SIGN OF ONE FONT ALONE"),
    ("\ufffd", "REPLACEMENT CHARACTER"),
]
TABLES = "tables:\n  tone:\n    hit: first\n    rows: [{{client.tier: A, then: {}}}, {{then: none}}]\n"


@pytest.mark.parametrize(("character", "name"), PUBLISHED)
def test_nothing_invisible_leaves_the_engine(character, name):
    escape = f"\\U{ord(character):08x}"
    for text in (f"a{character}b", f'"a{escape}b"'):
        for old, new in (
            (TITLE, f"title: {text}"),
            ("description: Both.", f"description: {text}"),
            ("template: hello", f"template: {text}"),
        ):
            problem = one(FILES | {R: FILES[R].replace(old, new)})
            assert f"({name})" in problem
        assert f"({name})" in one(FILES | {D: TABLES.format(text)})
        assert f"({name})" in one(FILES | {D: f"lists: {{l: {{values: [{text}]}}}}\n"})
    assert f"({name})" in one(FILES | {D: "lists: {l: {file: watched.csv}}\n", W: f"symbol\na{character}b\n"})
    table = "tables: {tone: {hit: first, file: watched.csv}}\n"
    assert f"({name})" in one(FILES | {D: table, W: f"client.tier,then\nA,a{character}b\n-,none\n"})
    for constant in (f"'\"a{character}b\"'", f"'\"a{escape}b\"'"):
        assert f"({name})" in one(FILES | {R: FILES[R].replace("'\"warm\"'", constant)})


@pytest.mark.parametrize("escape", ["\\t", "\\_", "\\N", "\\L", "\\P", "\\e", "\\0", "\\a", "\\x07", "\\u0085"])
def test_an_escape_is_reported_where_it_stands(escape):
    problem = one(FILES | {R: FILES[R].replace(TITLE, f'title: "He said: {escape}"')})
    assert problem.startswith(f"{R}:34:22: character U+")


def test_what_people_see_is_left_alone():
    text = FILES[R].replace(TITLE, 'title: "客户“张三”—— 涨幅 ≥ ５％，请跟进 😀 №1"')
    text = text.replace("rules:\n", "rules:  # all\n  #\u3000说明：见\u00a0附件 ⚠\ufe0f\n")
    good(FILES | {R: text.replace("description: Both.", "description: |\n      One.\n      Two.")})
    assert "U+202E" in one(FILES | {R: FILES[R] + "# \u202e\n"})  # it turns what follows, also in a comment


def test_a_text_of_one_line():
    problem = one(FILES | {R: FILES[R].replace(TITLE, "title: |\n      a\n      b")})
    assert problem == f"{R}:34:12: a text of several lines; write it in one line"


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        ("symbol\n贵州茅台\n五粮液\n".encode("gbk"), "GBK"),
        ("symbol\n中国平安,\n".encode("gb18030"), "GBK"),
        ("symbol\nCafé\nMüller\n".encode("cp1252"), "Windows-1252 or Latin-1"),
        ("symbol\n600519\n".encode("utf-16"), "UTF-16"),
        ("symbol\n600519\n".encode("utf-16-be"), "UTF-16"),
        ("symbol\n茅台\n".encode("utf-16"), "UTF-16"),
    ],
)
def test_a_file_in_another_encoding(data, encoding, tmp_path):
    for name, text in (FILES | {D: "lists: {l: {file: watched.csv}}\n"}).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / W).write_bytes(data)
    problem = one(read_directory(tmp_path))
    assert problem.startswith(f"{W}:")
    assert f"looks like {encoding}; save it as UTF-8" in problem


# A cell of a list, what is said of it
CELLS = [
    ("6.00519E+05", "a number in powers of ten", "perhaps it was 600519"),
    ("1.23E+11", "a number in powers of ten", "its digits are lost"),
    ("'000002", "an apostrophe of a spreadsheet", "write 000002"),
    ('="000001"', "a formula of a spreadsheet", "write 000001"),
    ('"=""000001"""', "a formula of a spreadsheet", "write 000001"),
    ('"=TEXT(1,""000000"")"', "a formula of a spreadsheet", "write its value"),
    ("#N/A", "an error of a spreadsheet", "mend its formula"),
    ("#REF!", "an error of a spreadsheet", "mend its formula"),
    ("#NAME?", "an error of a spreadsheet", "mend its formula"),
    ("########", "an error of a spreadsheet", "mend its formula"),
    ('"600,519"', "thousands marks", "write 600519"),
    ("６００５１９", "U+FF16 (FULLWIDTH DIGIT SIX)", "write: 600519"),
    ("60О519", "U+041E (CYRILLIC CAPITAL LETTER O)", "write: 60O519"),
    ("600519\u200b", "U+200B (ZERO WIDTH SPACE)", "delete it"),
    ("600519\u00a0", "U+00A0 (NO-BREAK SPACE)", "write a plain space"),
    ("\u200e600519", "U+200E (LEFT-TO-RIGHT MARK)", "delete it"),
]


@pytest.mark.parametrize(("cell", "message", "remedy"), CELLS)
def test_a_cell_that_a_spreadsheet_or_a_chat_has_spoilt(cell, message, remedy):
    problem = one(FILES | {D: "lists: {l: {file: watched.csv}}\n", W: f"symbol\n300750\n{cell}\n"})
    assert problem.startswith(f"{W}:3:")
    assert message in problem
    assert remedy in problem


def test_cut_zeros_beside_other_damage_are_no_chance():
    text = "symbol,name\n1,cut\n6.00519E+05,number\n'000002,text\n300750,fine\n"
    problems = said(FILES | {D: "lists: {l: {file: watched.csv, column: symbol}}\n", W: text})
    assert [problem.partition(": ")[0] for problem in problems] == [f"{W}:2:1", f"{W}:3:1", f"{W}:4:1"]
    assert "zeros cut by a spreadsheet; write 000001" in problems[0]


@pytest.mark.parametrize(
    "value", ['"600519 "', '" 600519"', '"６００５１９"', '"600519\\u200b"', "1.5E+3", "'#N/A'", '"a\\nb"']
)
def test_a_value_of_a_list_that_no_text_can_equal(value):
    assert one(FILES | {D: f"lists:\n  l:\n    values: [a, {value}]\n"}).startswith(f"{D}:3:")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sep=;\nsymbol\n600519\n", '1:1: a line for spreadsheets alone: "sep=;"; remove it'),
        ("symbol\tname\n600519\tx\n", "1:7: a tab between cells; save it with commas"),
        ("symbol|name\n600519|x\n", '1:7: "|" between cells; save it with commas'),
        ("symbol，name\n600519，x\n", "1:7: character U+FF0C (FULLWIDTH COMMA); write a plain comma between cells"),
        ("symbol\n\n#REF!\n", "3:1: an error of a spreadsheet"),
        ("\ufeff\ufeffsymbol\n600519\n", "1:1: character U+FEFF"),
    ],
)
def test_a_file_as_some_spreadsheets_save_it(text, message):
    assert one(FILES | {D: "lists: {l: {file: watched.csv}}\n", W: text}).startswith(f"{W}:{message}")


def test_semicolons_are_read_also_beside_commas_within_cells():
    text = 'client.tier;trades_30d;then\nA;"> 3";"a, b"\n-;-;c\n'
    rule_set = good(FILES | {D: "tables: {t: {hit: first, file: watched.csv}}\n", W: text})
    assert [row.then for row in rule_set.tables[0].rows] == ["a, b", "c"]


@pytest.mark.parametrize(
    ("number", "meant"),
    [
        ('"1,000,000"', "write 1_000_000"),
        ('">= 1,000,000"', "write >= 1_000_000"),
        ('"0,5"', "write 0.5"),
        ('"1.000.000,5"', "write 1_000_000.5"),
        ('"1 000 000"', "write 1_000_000"),
        ("1.5E+05", "write 150_000"),
        ("30%", "write 0.3"),
        ("¥5000", "write 5_000"),
        ("5万", "write 50_000"),
        ("1.5万 .. 2亿", "write 15_000 .. 200_000_000"),
        ("(250)", "write -250"),
        ('="500"', "write 500"),
        ("５００", "write: 500"),
        ("≥ 500", "U+2265 (GREATER-THAN OR EQUAL TO); write: >="),
    ],
)
def test_a_number_of_a_table_that_is_written_otherwise(number, meant):
    text = f"client.assets_cny,then\n{number},5\n-,1\n"
    problem = one(FILES | {D: "tables: {t: {hit: first, file: watched.csv}}\n", W: text})
    assert problem.startswith(f"{W}:2:")
    assert meant in problem


@pytest.mark.parametrize(
    ("column", "cell", "remedy"),
    [
        ("trade.symbol", "贵州茅台", "it is 1 to 64 characters of printable ASCII without blanks; write what the data"),
        ("trade.symbol", "60 0519", "write 600519"),
        ("client.language", "zh_CN", "it is written like zh-CN or en; write zh-CN"),
        ("client.language", "ZH-cn", "write zh-CN"),
        ("client.language", "中文", "write what the data has"),
        ("client.region", "East", 'did you mean "east"?'),
        ("client.region", "华东", "allowed: east"),
        ("trade.product", "Stock", 'did you mean "stock"?'),
    ],
)
def test_a_text_of_a_table_that_never_equals(column, cell, remedy):
    table = "tables: {t: {hit: first, on: trades, file: watched.csv}}\n"
    problem = one(FILES | {D: table, W: f"{column},then\n{cell},a\n-,b\n"})
    assert problem.startswith(f'{W}:2:1: {column} is never "{cell}"')
    assert remedy in problem


def test_values_of_a_list_that_a_name_never_has_are_reported_in_the_list():
    text = FILES[R].replace('client.tier in ("B", "C")', "client.region in regions or client.region in regions")
    files = FILES | {R: text, D: "lists: {regions: {file: watched.csv}}\n", W: "region\nEast\nwest\n华东\n"}
    assert [problem.partition(";")[0] for problem in said(files)] == [
        f'{W}:2:1: client.region is never "East"',
        f'{W}:4:1: client.region is never "华东"',
    ]
    files = FILES | {R: text, D: "lists:\n  regions: {values: [west, WEST]}\n"}
    assert one(files).startswith(f'{D}:2:28: client.region is never "WEST"')


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    on: balances", "    true: balances"),
        ("    on: balances", "    True: balances"),
        ("    on: balances", '    "true": balances'),
        ("silence: {of: logins, for: 30d}", "sequence: {first: {true: trades}, then: {on: logins}, within: 3d}"),
    ],
)
def test_on_that_a_tool_turned_into_true(old, new):
    problem = one(FILES | {R: FILES[R].replace(old, new)})
    assert 'where on: is meant: a tool that reads YAML 1.1 changed it; write "on":' in problem


def test_09_00_that_a_tool_turned_into_minutes():
    problem = one(FILES | {R: FILES[R].replace("silence: {of: logins, for: 30d}", "at: {every: day, time: 540}")})
    assert 'not a time of day: "540"; write "09:00"' in problem


def test_a_published_set_is_read_as_it_was_then():
    """Rule sets of 0.1.0 could hold such texts: its workers are upgraded all the same."""
    text = FILES[R].replace(TITLE, "title: He\u200bllo").replace("'\"warm\"'", "'\"\\u200b\"'")
    files = FILES | {R: text, D: "lists: {l: {file: watched.csv}}\n", W: "symbol\n1.5E+3\n'2\n600519\u00a0\n６００\n"}
    assert not isinstance(load(files), RuleSet)
    rule_set = load(files, published=True)
    assert isinstance(rule_set, RuleSet)
    assert rule_set.lists["l"] == ("1.5E+3", "'2", "600519", "６００")  # blanks at the ends were taken off then
