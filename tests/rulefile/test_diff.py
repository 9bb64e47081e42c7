"""What changed between two rule sets, in words."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from engine.cli.main import main
from engine.core.rules.meaning import Changes, changes
from engine.rulefile.tools import renames
from engine.rulefile.tools.diff import differences
from tests.rulefile.sample import FILES, good

RULES = "retention.yaml"
DEFINITIONS = """\
define:
  rich: {is: client.assets_cny >= 500_000, description: much}
lists:
  watched: {values: ["600000", "000001"], description: under watch}
tables:
  large_cny:
    hit: first
    unit: cny
    rows:
      - {client.tier: A, then: 1_000_000}
      - {client.tier: B, then: 300_000}
      - {then: 50_000}
"""
WITH = {**FILES, "definitions.yaml": DEFINITIONS}


def said(*edits, of=FILES):
    """The differences after replacing texts in files."""
    files = dict(of)
    for name, old, new in edits:
        assert old in files[name]
        files[name] = files[name].replace(old, new, 1)
    return [str(difference) for difference in differences(good(of), good(files))]


VIP = 'rule "vip-winback" (A tier A client moves money out):'
RAISE = "  its meaning changed, and its version is 2 as before: raise it"


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ("0.3 * client.assets", "0.25 * client.assets", [
            "  when: `money_out_cny_7d >= 0.3 * client.assets_peak_cny` becomes `0.25`", RAISE]),
        ("cooldown: 7d", "cooldown: 36h", ["  cooldown: 7d becomes 36h", RAISE]),
        ("audience: advisor", "audience: team", ["  audience: advisor becomes team", RAISE]),
        ("priority: 90", "priority: 91", ["  priority: 90 becomes 91", RAISE]),
        ("on: balances", "on: [balances, trades]", ["  on: trades added", RAISE]),
        ('when: client.tier == "A" and ', "when: ", ['  when: `client.tier == "A"` no longer asked', RAISE]),
        ('client.tier == "A" and ', 'client.tier == "A" and known(client.type) and ', [
            "  when: `known(client.type)` asked too", RAISE]),
        ('client.tier == "A" and ', 'client.tier in ("A", "B") and ', [
            '  when: `client.tier == "A"` becomes `client.tier in ("A", "B")`', RAISE]),
        ("tone: '\"warm\"'", "tone: '\"cool\"'", ['  parameters tone: `"warm"` becomes `"cool"`', RAISE]),
        ("      tone: '\"warm\"'\n", "", ["  parameters tone: removed", RAISE]),
        ("owner: wealth", "owner: research", ["  owner: wealth becomes research"]),
        ("version: 2", "version: 3", ["  version: 2 becomes 3"]),
        ("description: Retention.", "description: Retention!", ["  description: Retention. becomes Retention!"]),
    ],
)  # fmt: skip
def test_a_rule(old, new, lines):
    assert said((RULES, old, new)) == ["\n".join([VIP, *lines])]


def test_a_version_that_was_raised_needs_no_word():
    (text,) = said((RULES, "version: 2", "version: 3"), (RULES, "cooldown: 7d", "cooldown: 1d"))
    assert text == "\n".join([VIP, "  version: 2 becomes 3", "  cooldown: 7d becomes 1d"])


def test_rules_that_come_and_go():
    assert said((RULES, "id: hello", "id: howdy")) == [
        'rule "hello": removed\n  Hello\n  survey to client, on logins, trades, when True\n'
        "  what it did is kept for 365 days: put back, it goes on from there",
        'rule "howdy": added\n  Hello\n  survey to client, on logins, trades, when True\n'
        '  looks like a rename: it does what "hello" did, which is gone, so its cooldowns are '
        "forgotten, and clients may get it again; `was: hello` makes it the same rule",
    ]
    other = said((RULES, "id: hello", "id: howdy"), (RULES, "kind: survey", "kind: message"))
    assert 'it is much like "hello", which is gone' in "".join(other)


RENAMED = '  renamed: it was "hello", and goes on with what is known of that'


@pytest.mark.parametrize(
    ("edits", "lines"),
    [
        ([], []),
        ([("title: Hello", "title: Howdy")], ["  title: Hello becomes Howdy"]),
        ([("app_push\n    priority: 90", "app_push\n    priority: 80")],
         ["  priority: 90 becomes 80", "  its meaning changed, and its version is 1 as before: raise it"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("was", ["hello", "[hola, hello]"])
def test_a_rule_that_says_what_it_was(edits, lines, was):
    (text,) = said((RULES, "id: hello", f"id: howdy\n    was: {was}"), *((RULES, *edit) for edit in edits))
    assert text.split("\n")[1:] == [RENAMED, *lines]


def test_what_was_renamed_before_is_no_news():
    once = {**FILES, RULES: FILES[RULES].replace("id: hello", "id: howdy\n    was: hello")}
    assert said((RULES, "was: hello", "was: [hello]"), of=once) == []
    assert said((RULES, "    was: hello\n", ""), of=once) == ['rule "howdy" (Hello):\n  was: hello removed']
    assert good(once).was_rules == {"hello": "howdy"}
    assert changes(good(), good(once)) == Changes((), ("howdy",), (), ())


def test_features_under_other_names():
    rename = ("features.yaml", "money_out_cny_7d:", "left_cny_7d:")
    use = (RULES, "and money_out_cny_7d", "and left_cny_7d")
    more = (RULES, "money_out_cny: money_out_cny_7d", "money_out_cny: left_cny_7d")
    gone, come = (text for text in said(rename, use, more) if text.startswith("feature"))
    assert gone.startswith('feature "money_out_cny_7d": removed')
    assert come.split("\n")[2].endswith("begins without a past; `was: money_out_cny_7d` makes it the same feature")
    former = ("features.yaml", "left_cny_7d:", "left_cny_7d:\n    was: money_out_cny_7d")
    assert [text for text in said(rename, use, more, former) if text.startswith("feature")] == [
        'feature "left_cny_7d":\n  renamed: it was "money_out_cny_7d", and goes on with what is known of that'
    ]


def test_layout_comments_and_order_in_files_are_no_difference():
    text = FILES[RULES]
    head, vip, silent, hello = text.replace("  - id:", "\0  - id:").split("\0")
    moved = {**FILES, RULES: head + "  # a comment\n" + hello + silent.replace("[sms, email]", "[ sms,  email ]") + vip}
    assert differences(good(), good(moved)) == []
    spaced = {**WITH, "definitions.yaml": "# more lines\n\n" + DEFINITIONS}
    assert differences(good(WITH), good(spaced)) == []


FILTERED = """\
features:
  bought: {source: trades, aggregate: count, where: trade.side == "buy" and trade.amount_cny >= 1_000, window: 7d}
  since: {source: logins, aggregate: count, since: {on: trades, when: 'trade.side in ("buy", "sell")'}}
"""
REWRITTEN = """\
features:
  since: {source: logins, aggregate: count, since: {on: trades, when: "trade.side  in ['sell', 'buy']"}}
  bought:
    source: trades
    aggregate: count
    where: >
      1000 <= trade.amount_cny
      and "buy"  ==  trade.side
    window: 7d
"""


def test_how_a_feature_is_written_is_no_difference():
    more = FILES["features.yaml"].removeprefix("features:\n")
    one, other = ({**FILES, "features.yaml": text + more} for text in (FILTERED, REWRITTEN))
    assert differences(good(one), good(other)) == []
    assert [str(d) for d in differences(good(one), good({**other, "features.yaml": (
        other["features.yaml"].replace("window: 7d", "window: 8d", 1))}))] == [
        'feature "bought":\n  window: 7d becomes 8d']  # fmt: skip


@pytest.mark.parametrize(
    ("file", "old", "new", "text"),
    [
        (RULES, "{of: logins, for: 30d}", "{of: logins, for: 60d}", 'rule "silent-client" (久未登录):\n'
         "  silence days: 30d becomes 60d\n  its meaning changed, and its version is 1 as before: raise it"),
        (RULES, "[sms, email]", "[email, sms]", 'rule "silent-client" (久未登录):\n'
         "  channels: order becomes email, sms\n  its meaning changed, and its version is 1 as before: raise it"),
        ("features.yaml", "count, window: 30d", "count, window: 90d", 'feature "trades_30d":\n'
         "  window: 30d becomes 90d\n"
         "  30 of 90 days known, all of them 60 days after it becomes active"),
        ("tiers.yaml", "enter: 1_000_000", "enter: 950_000", "tiers:\n"
         "  ladders individual steps A enter: 1,000,000 becomes 950,000"),
        ("tiers.yaml", "demote_after: 30d", "demote_after: 10d", "tiers:\n"
         "  ladders individual demote after: 30d becomes 10d"),
        ("tiers.yaml", "trades_30d >= 20", "trades_30d >= 25", "tiers:\n"
         "  segments active when: `trades_30d >= 20` becomes `25`"),
        ("policy.yaml", "daily_cap: 2", "daily_cap: 3", "policy:\n  caps daily_cap at most: 2 becomes 3"),
        ("policy.yaml", "daily_cap: 2", "daily_cap: 2\npublishing: {approval: true}", "policy:\n"
         "  approval: no becomes yes"),
        ("definitions.yaml", "500_000", "300_000", 'definition "rich":\n'
         "  expression: `client.assets_cny >= 500_000` becomes `300_000`"),
        ("definitions.yaml", '"000001"', '"510300"', 'list "watched":\n  510300 added\n  000001 removed'),
        ("definitions.yaml", "then: 300_000", "then: 250_000", 'table "large_cny":\n'
         "  row client.tier B: 300,000 CNY becomes 250,000 CNY"),
        ("definitions.yaml", "client.tier: B, ", "client.tier: C, ", 'table "large_cny":\n'
         "  row client.tier B: 300,000 CNY, removed\n  row client.tier C: 300,000 CNY, added"),
    ],
)  # fmt: skip
def test_declarations(file, old, new, text):
    assert said((file, old, new), of=WITH) == [text]


def test_the_command_ends_with_0_1_or_2(tmp_path):
    capped = {**FILES, "policy.yaml": "contact:\n  daily_cap: 3\n"}
    tiered = {**FILES, "tiers.yaml": FILES["tiers.yaml"].replace("after: 30d", "after: 20d")}
    for name, files in (("a", FILES), ("b", capped), ("c", {}), ("d", tiered)):
        (tmp_path / name).mkdir()
        for file, text in files.items():
            (tmp_path / name / file).write_text(text, encoding="utf-8")

    def run(one, other, *options):
        return CliRunner().invoke(main, ["diff", str(tmp_path / one), str(tmp_path / other), *options])

    assert (run("a", "a").exit_code, run("a", "a").output) == (0, "no difference in what they do\n")
    assert (run("a", "b").exit_code, run("a", "b").output) == (1, "policy:\n  caps daily_cap at most: 2 becomes 3\n")
    assert json.loads(run("a", "b", "--json").output) == [
        {"what": "policy", "name": "", "change": "changed", "lines": ["caps daily_cap at most: 2 becomes 3"]}
    ]
    assert "every client is evaluated once: tiers" in run("a", "d").output
    assert run("a", "c").exit_code == 2


TABLE = """\
tables:
  limit:
    hit: HIT
    unit: cny
    otherwise: 9_000
    description: how much is much
    rows:
ROWS
"""
ROW_A, ROW_B = "      - {client.tier: A, then: 1_000}", "      - {client.has_advisor: true, then: 2_000.50}"
ROW_C = '      - {client.tier: "B | C", client.assets_cny: 0 .. 500_000, then: 3_000}'


def table(*rows, hit="first", **edits):
    text = TABLE.replace("HIT", hit).replace("ROWS", "\n".join(rows))
    for old, new in edits.values():
        assert old in text
        text = text.replace(old, new)
    return {**FILES, "definitions.yaml": text}


MOVED = "  the order of its rows changed (the first that matches counts); now: "


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        (table(ROW_A, ROW_B), table(ROW_B, ROW_A), [
            f"{MOVED}row client.has_advisor true: 2,000.50 CNY; row client.tier A: 1,000 CNY"]),
        (table(ROW_A, ROW_B, ROW_C), table(ROW_B, ROW_C), [
            "  row client.tier A: 1,000 CNY, removed"]),
        (table(ROW_A), table(ROW_A, ROW_C), [
            "  row client.tier B | C, client.assets_cny 0 .. 500_000: 3,000 CNY, added",
            "  column client.assets_cny: added"]),
        (table(ROW_A, ROW_B), table(ROW_A.replace("1_000", "1500"), ROW_B), [
            "  row client.tier A: 1,000 CNY becomes 1,500 CNY"]),
        (table(ROW_A), table(ROW_A, edit=("9_000", "8_000.01")), ["  otherwise: 9,000 CNY becomes 8,000.01 CNY"]),
        (table(ROW_A), table(ROW_A, edit=("    unit: cny\n", "")), [
            "  row client.tier A: 1,000 CNY becomes 1,000", "  otherwise: 9,000 CNY becomes 9,000",
            "  unit: cny becomes none"]),
        (table(ROW_A), table(ROW_A, edit=("how much", "how  much")), [
            '  description: how much is much becomes "how  much is much"']),
        # What is written otherwise and means the same.
        (table(ROW_C), table(ROW_C.replace("B | C", "C | B").replace("500_000", "500000")), []),
    ],
)  # fmt: skip
def test_tables_row_by_row(old, new, lines):
    assert "\n".join(map(str, differences(good(old), good(new)))).split("\n")[1:] == lines


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ('trade.symbol != "A  B"', 'trade.symbol != "A B"', 'when: `trade.symbol != "A  B"` becomes `"A B"`'),
        ('trade.symbol != " A"', 'trade.symbol != "A"', 'when: `trade.symbol != " A"` becomes `"A"`'),
        ('trade.symbol != "A"', 'trade.symbol != "\u0410"',
         'when: `trade.symbol != "A"` becomes `trade.symbol != "\\u0410"`'),
        ('trade.symbol != "caf\u00e9"', 'trade.symbol != "cafe\u0301"',
         'when: `trade.symbol != "caf\\u00e9"` becomes `trade.symbol != "cafe\\u0301"`'),
        ('trade.symbol  in ("A  1", "B")', 'trade.symbol in ("A 1", "B")',
         'when: `trade.symbol in ("A  1", "B")`: `"A  1"` becomes `"A 1"`'),
        ("trade.symbol == 'it''s  x'", "trade.symbol == 'it''s x'", None),
        ("limit > 9 and True", "True and limit > 9", "when: the order of its terms changed"),
    ],
)  # fmt: skip
def test_texts_are_shown_as_they_are(old, new, line):
    def rule(when):
        return {
            **table(ROW_A),
            RULES: FILES[RULES].replace("on: [logins, trades]", f"on: trades\n    when: >\n      {when}"),
        }

    if line is None:
        old, new = (text.replace("''", "\\'") for text in (old, new))
        line = f"when: `{old}` becomes `{new.partition('== ')[2]}`"
    (found,) = differences(good(rule(old)), good(rule(new)))
    assert found.lines[0] == line


def test_what_stays_as_written_and_means_another_thing():
    use = {RULES: FILES[RULES].replace("on: [logins, trades]", "on: trades\n    when: limit > 100")}
    old, new = ({**table(ROW_A, **edit), **use} for edit in ({}, {"edit": ("    unit: cny\n", "")}))
    rule = next(d for d in differences(good(old), good(new)) if d.what == "rule")
    assert rule.lines[0] == "when: `limit > 100` stays as it is written, but what it names has changed"


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("at: {every: day, time: \"09:00\"}", "at: {every: day, time: \"10:30\"}", "at time: 09:00 becomes 10:30"),
        ("at: {every: day, time: \"09:00\"}", "at: {every: month, day: 2, time: \"09:00\"}",
         "at every: day becomes month"),
    ],
)  # fmt: skip
def test_times_in_words(old, new, line):
    text = FILES[RULES]
    assert "on: [logins, trades]" in text
    ones, others = ({**FILES, RULES: text.replace("on: [logins, trades]", when)} for when in (old, new))
    (found,) = differences(good(ones), good(others))
    assert found.lines[0] == line


@pytest.mark.parametrize(
    ("edits", "like"),
    [
        ([("id: hello", "id: howdy")], "rule"),
        ([("id: hello", "id: howdy"), ("title: Hello", "title: Howdy")], "rule"),
        ([("id: hello", "id: howdy"), ("kind: survey", "kind: message")], "rule"),
        ([("id: hello", "id: howdy"), ("priority: 90", "priority: 10")], "rule"),
        ([("id: vip-winback", "id: vip-back"), ("0.3 * client", "0.2 * client")], "rule"),
        ([("id: silent-client", "id: quiet"), ("for: 30d", "for: 31d")], "rule"),
    ],
)  # fmt: skip
def test_what_looks_like_a_rename(edits, like):
    found = "\n".join(said(*((RULES, *edit) for edit in edits)))
    (id_,) = (old.removeprefix("id: ") for old, _ in edits if old.startswith("id: "))
    assert f"which is gone, so its cooldowns are forgotten, and clients may get it again; `was: {id_}`" in found
    assert found.count("looks like a rename") == 1


def test_what_is_gone_is_taken_for_one_thing():
    twice = FILES[RULES].replace("id: hello", "id: howdy")
    other = twice[twice.index("  - id: howdy") :].replace("howdy", "hi-there")
    found = [str(d) for d in differences(good(), good({**FILES, RULES: twice.rstrip("\n") + "\n" + other}))]
    assert "\n".join(found).count("looks like a rename") == 1


def test_renamed_lists_definitions_and_parameters():
    found = said(("definitions.yaml", "watched:", "observed:"), ("definitions.yaml", "rich:", "wealthy:"), of=WITH)
    assert "\n".join(found).count("looks like a rename") == 2
    (text,) = said((RULES, "      tone: ", "      mood: "))
    assert "  parameters mood: looks like a rename of tone" in text.split("\n")


def test_renames_are_found_without_comparing_each_with_each(monkeypatch):
    calls = []
    for name in ("_acts", "_signs"):
        real = getattr(renames, name)
        monkeypatch.setattr(renames, name, lambda item, real=real: (calls.append(0), real(item))[1])
    counts = []
    for many in (50, 100):
        calls.clear()
        rule = good().rules[0]
        ones, others = ({f"{w}-{i}": replace(rule, id=f"{w}-{i}", priority=i) for i in range(many)} for w in "ab")
        assert len(renames.likenesses(ones, others)) == many
        counts.append(len(calls))
    assert counts[1] <= 2 * counts[0]
