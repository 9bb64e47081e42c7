"""What changed between two rule sets, in words."""

import json

import pytest
from click.testing import CliRunner

from engine.cli.main import main
from engine.core.rules.meaning import Changes, changes
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
        '  it does what "hello" did, which is gone: `was: hello` makes it the same rule',
    ]
    other = said((RULES, "id: hello", "id: howdy"), (RULES, "kind: survey", "kind: message"))
    assert "was:" not in "".join(other)


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
    assert come.endswith("which is gone: `was: money_out_cny_7d` makes it the same feature")
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
        'feature "bought":\n  window length: 7 becomes 8']  # fmt: skip


@pytest.mark.parametrize(
    ("file", "old", "new", "text"),
    [
        (RULES, "{of: logins, for: 30d}", "{of: logins, for: 60d}", 'rule "silent-client" (久未登录):\n'
         "  silence days: 30d becomes 60d\n  its meaning changed, and its version is 1 as before: raise it"),
        (RULES, "[sms, email]", "[email, sms]", 'rule "silent-client" (久未登录):\n'
         "  channels: order becomes email, sms\n  its meaning changed, and its version is 1 as before: raise it"),
        ("features.yaml", "count, window: 30d", "count, window: 90d", 'feature "trades_30d":\n'
         "  window length: 30 becomes 90\n"
         "  30 of 90 days known, all of them 60 days after it becomes active"),
        ("tiers.yaml", "enter: 1_000_000", "enter: 950_000", "tiers:\n"
         "  ladders individual steps A enter: 1,000,000 becomes 950,000"),
        ("tiers.yaml", "demote_after: 30d", "demote_after: 10d", "tiers:\n"
         "  ladders individual demote after: 30d becomes 10d"),
        ("tiers.yaml", "trades_30d >= 20", "trades_30d >= 25", "tiers:\n"
         "  segments active when: `trades_30d >= 20` becomes `25`"),
        ("policy.yaml", "daily_cap: 2", "daily_cap: 3", "policy:\n  daily cap: 2 becomes 3"),
        ("policy.yaml", "daily_cap: 2", "daily_cap: 2\npublishing: {approval: true}", "policy:\n"
         "  approval: no becomes yes"),
        ("definitions.yaml", "500_000", "300_000", 'definition "rich":\n'
         "  expression: `client.assets_cny >= 500_000` becomes `300_000`"),
        ("definitions.yaml", '"000001"', '"510300"', 'list "watched":\n  510300 added\n  000001 removed'),
        ("definitions.yaml", "then: 300_000", "then: 250_000", 'table "large_cny":\n'
         "  row client.tier B: 300_000 becomes 250_000"),
        ("definitions.yaml", "client.tier: B, ", "client.tier: C, ", 'table "large_cny":\n'
         "  row client.tier B, then 300_000: removed\n  row client.tier C, then 300_000: added"),
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
    assert (run("a", "b").exit_code, run("a", "b").output) == (1, "policy:\n  daily cap: 2 becomes 3\n")
    assert json.loads(run("a", "b", "--json").output) == [
        {"what": "policy", "name": "", "change": "changed", "lines": ["daily cap: 2 becomes 3"]}
    ]
    assert "every client is evaluated once: tiers" in run("a", "d").output
    assert run("a", "c").exit_code == 2
