"""Lint finds texts that no event can have, that none of a sample had, and what spreadsheets have probably changed."""

import json

import pytest
from click.testing import CliRunner

from engine.cli.main import main
from engine.rulefile.lint.lint import lint
from engine.rulefile.lint.texts import Sample
from tests.core.making import rule
from tests.core.making import trade as trade_event
from tests.rulefile.sample import good
from tests.rulefile.test_lint import FEATURES, files, found, one

LAST = FEATURES + "  last_symbol: {source: trades, aggregate: last, field: symbol, window: 30d}\n"
SYMBOL = "trade.symbol is 1 to 64 characters of printable ASCII without blanks"
LANGUAGE = "client.language is written like zh-CN or en"


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ('trade.symbol == "６００５１９"', f"{SYMBOL}: perhaps 600519"),
        ('trade.symbol == "600519 "', f"{SYMBOL}: perhaps 600519"),
        ('trade.symbol == "贵州茅台"', SYMBOL),
        ('trade.symbol == "60О519"', f"{SYMBOL}: perhaps 60O519"),
        (f'trade.symbol == "{"6" * 65}"', SYMBOL),
        ('trade.symbol in ("６００５１９", "平安")', SYMBOL),
        ('starts_with(trade.symbol, "贵州")', SYMBOL),
        ('starts_with(trade.symbol, ("６０", "贵"))', SYMBOL),
        ('contains(trade.symbol, "5 19")', SYMBOL),
        ('ends_with(trade.symbol, "．SH")', SYMBOL),
        ('client.language == "zh_CN"', f"{LANGUAGE}: perhaps zh-CN"),
        ('client.language == "ZH-CN"', f"{LANGUAGE}: perhaps zh-CN"),
        ('client.language == "zh-Hans-CN"', f"{LANGUAGE}: perhaps zh-CN"),
        ('client.language == "中文"', LANGUAGE),
        ('client.language == "Chinese"', LANGUAGE),
        ('starts_with(client.language, "ZH")', LANGUAGE),
        ('starts_with(client.language, "zh_")', LANGUAGE),
        ('starts_with(client.region, "华")', ""),
        ('starts_with(trade.product, "Robo")', ""),
        ('contains(client.tier, "z")', ""),
        ('date_of(now) == "2026/10/1"', "date_of is a day such as 2026-10-01: perhaps 2026-10-01"),
        ('date_of(now) == "2026年10月1日"', "perhaps 2026-10-01"),
        ('date_of(now) == "20261001"', "perhaps 2026-10-01"),
        ('ends_with(date_of(now), "/01")', "date_of is a day"),
        ('last_symbol == "600 519"', "last_symbol is 1 to 64 characters"),
    ],
)
def test_conditions_on_texts_that_never_hold(when, said):
    (finding,) = found(one(when, on="trades"), features=LAST)
    assert finding.code == "L101"
    assert said in finding.message


@pytest.mark.parametrize(
    "when",
    [
        'trade.symbol == "600519"',
        'trade.symbol == "BRK.B" or trade.symbol == "0700.HK"',
        'starts_with(trade.symbol, ("60", "00"))',
        'client.language == "zh-Hant-CN"',
        'client.language in ("en", "zh-CN", "es-419")',
        'starts_with(client.language, "zh-")',
        'ends_with(client.language, "CN")',
        'date_of(now) == "2026-10-01"',
        'starts_with(date_of(now), "2026-10")',
        'starts_with(client.region, "ea")',
        'trade.symbol != "600519"',
    ],
)
def test_what_can_be_is_left_alone(when):
    assert found(one(when, on="trades"), features=LAST) == []


def test_of_several_texts_those_that_cannot_be():
    (finding,) = found(one('trade.symbol in ("600519", "６０００３６")', on="trades"))
    assert (finding.code, finding.severity) == ("L108", "error")
    assert f'"６０００３６" can never be, as {SYMBOL}: perhaps 600036' in finding.message
    (finding,) = found(one('starts_with(trade.symbol, ("60", "贵"))', on="trades"))
    assert finding.code == "L108"
    (finding,) = found(one('trade.symbol != "６００"', on="trades"))
    assert finding.code == "L102"


def listed(*values, when="trade.symbol in watched", sample=None):
    """Findings of the one list: code, line in its CSV file, message, remedy."""
    texts = files(one(when, on="trades"), features=LAST)
    texts["definitions.yaml"] = "lists: {watched: {file: watched.csv}}\n"
    texts["watched.csv"] = "code\n" + "\n".join(values) + "\n"
    findings = lint(good(texts), sample=sample)
    assert all(finding.code[:3] in ("L10", "L11", "L30") for finding in findings)
    return [(f.code, f.line, f.message, f.remedy) for f in findings if f.file == "watched.csv"]


@pytest.mark.parametrize(
    ("when", "value", "message", "remedy"),
    [
        ("trade.symbol in watched", "贵州茅台", SYMBOL[18:], "write what the data has"),
        ("trade.symbol in watched", "600 5190", SYMBOL[18:], "write 6005190"),
        ("last_symbol in watched", "五粮液", "last_symbol: it is 1 to 64", "write what the data has"),
        ("starts_with(trade.symbol, watched)", "沪", SYMBOL[18:], "write what the data has"),
        ("client.language in watched", "zh_CN", "client.language: it is written like", "write zh-CN"),
        ("date_of(now) in watched", "2026/10/1", "date_of: it is a day such as 2026-10-01", "write 2026-10-01"),
        ("date_of(now) in watched", "20261001", "date_of: it is a day such as 2026-10-01", "write 2026-10-01"),
    ],
)
def test_values_of_a_list_that_nothing_compared_with_it_can_have(when, value, message, remedy):
    sound = {"d": "2026-10-02", "c": "en"}.get(when[0], "600519")
    ((code, line, said, what),) = listed(sound, value, when=when)
    assert (code, line) == ("L108", 3)
    assert f'"{value}" is never ' in said
    assert message in said
    assert what == remedy


@pytest.mark.parametrize(
    ("value", "message", "remedy"),
    [
        ("1", "has 1 digit, the others 6: it looks like zeros cut by a spreadsheet", "write 000001"),
        ("2415", "has 4 digits, the others 6", "write 002415"),
        ("600519.0", "looks like a number with decimals", "write 600519, with the zeros"),
        ("TRUE", "looks like the true or false of a spreadsheet", "write the text"),
        ("NaN", "looks like a word for an empty cell", "remove it"),
        ("1E5", "looks like a number in powers of ten", "write all digits"),
        ("2-Sep", "looks like a day that a spreadsheet made of a code", "in a column that is text"),
        ("2026/9/2", "looks like a day that a spreadsheet made of a code", "in a column that is text"),
        ("600036.SH", "is written otherwise than the others, such as 600519", "write it as they are"),
        ("sh600036", "is written otherwise than the others, such as 600519", "write it as they are"),
    ],
)
def test_what_a_spreadsheet_has_probably_changed(value, message, remedy):
    ((code, line, said, what),) = listed("600519", "300750", value, "688981")
    assert (code, line) == ("L109", 4)
    assert message in said
    assert remedy in what


def test_lists_that_are_as_they_should_be():
    assert listed("600519", "000001", "00700", "AAPL", "BRK.B") == []
    assert listed("1", "2", "63") == []
    assert listed("zh-CN", "en", when="client.language in watched") == []
    assert listed("2026-10-01", "2026-10-02", when="date_of(now) in watched") == []


def test_a_comment_in_the_yaml_allows_what_is_found_in_the_csv_file():
    texts = files(one("trade.symbol in watched", on="trades"))
    texts["definitions.yaml"] = "lists:\n  # lint: allow L109 of Hong Kong\n  watched: {file: watched.csv}\n"
    texts["watched.csv"] = "code\n600519\n000001\n80700\n"
    assert {finding.code for finding in lint(good(texts))} == {"L301", "L302", "L306"}


SAMPLE = Sample.of(
    trade_event(1_790_812_800_000, symbol=symbol) for symbol in ("600519", "000001", "300750.SZ", "AAPL")
)


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ('trade.symbol == "1"', 'no event ever had trade.symbol "1" (4 events looked through; nearest: 000001)'),
        ('trade.symbol == "300750"', 'trade.symbol "300750" (4 events looked through; nearest: 300750.SZ)'),
        ('trade.symbol == "aapl"', 'trade.symbol "aapl" (4 events looked through; nearest: AAPL)'),
        ('trade.symbol == "60O519"', 'trade.symbol "60O519" (4 events looked through; nearest: 600519)'),
        ('trade.symbol == "TSLA"', 'trade.symbol "TSLA" (4 events looked through)'),
        ('trade.symbol in ("600519", "SH600519")', '"SH600519" (4 events looked through; nearest: 600519)'),
        ('starts_with(trade.symbol, "SH")', 'trade.symbol "SH" (4 events looked through)'),
        ('last_symbol == "600519.SH"', 'last_symbol "600519.SH" (4 events looked through; nearest: 600519)'),
        ('trade.product == "bond"', 'trade.product "bond" (4 events looked through)'),
    ],
)
def test_no_event_of_a_sample_ever_had_it(when, said):
    findings = lint(good(files(one(when, on="trades"), features=LAST)), sample=SAMPLE)
    (finding,) = [finding for finding in findings if finding.code == "L110" and finding.file == "rules.yaml"]
    assert said in finding.message


@pytest.mark.parametrize(
    "when",
    [
        'trade.symbol == "600519"',
        'starts_with(trade.symbol, "60")',
        'ends_with(trade.symbol, ".SZ")',
        'trade.product in ("stock", "bond")',  # one of them came: the other may
        'client.region == "east"',  # the sample has no profile
        'login.region == "west"',
    ],
)
def test_what_the_sample_had_or_does_not_speak_of(when):
    on = "logins" if "login." in when else "trades"
    findings = lint(good(files(one(when, on=on), features=LAST)), sample=SAMPLE)
    assert not [f for f in findings if f.code == "L110" and f.file == "rules.yaml"]


def test_values_of_lists_and_tables_that_no_event_of_a_sample_ever_had():
    (one_,) = listed("600519", "300750", sample=SAMPLE)
    assert one_[:2] == ("L110", 3)
    assert "nearest: 300750.SZ" in one_[2]
    many = listed("600519", *(f"60{n:04}" for n in range(30)), sample=SAMPLE)
    assert len(many) == 20
    table = "tables: {t: {hit: first, on: trades, rows: [{trade.symbol: '1', then: a}, {then: b}]}}\n"
    texts = files(rule("x", on="trades", when='t == "a"'))
    findings = lint(good(texts | {"definitions.yaml": table}), sample=SAMPLE)
    (found_,) = [f for f in findings if f.code == "L110" and f.file == "definitions.yaml"]
    assert 'no event ever had trade.symbol "1" of definitions.yaml:1:45 (4 events' in found_.message


def test_the_command_reads_a_sample(tmp_path):
    for name, text in files(one('trade.symbol == "1"', on="trades")).items():
        (tmp_path / name).write_text(text)
    value = {"event_id": "t", "client_id": "c", "time": "2026-11-02T10:00:00+08:00", "symbol": "000001", "side": "buy"}
    record = {"topic": "trades", "key": "c", "timestamp": 1793584800000, "value": {**value, "amount_fen": 1}}
    records = tmp_path / "records.ndjson"
    records.write_text(json.dumps(record) + "\n")
    result = CliRunner().invoke(main, ["lint", str(tmp_path), "--records", str(records)])
    assert 'no event ever had trade.symbol "1" (1 event looked through; nearest: 000001)' in result.output
    assert result.exit_code == 1
    records.write_text("{}\n")
    result = CliRunner().invoke(main, ["lint", str(tmp_path), "--records", str(records)])
    assert (result.exit_code, "not a record line" in result.output) == (2, True)
