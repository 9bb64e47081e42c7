"""One fault is one problem, in whatever file it is, and however much of the other files builds on that one."""

import re

import pytest

from engine.rulefile.source.problem import Problem
from tests.rulefile.sample import FILES, good, problems_of

F, T, P, D, R = "features.yaml", "tiers.yaml", "policy.yaml", "definitions.yaml", "offers.yaml"
BUILT = FILES | {
    D: """\
lists:
  watched:
    file: watched.csv
    description: under watch
  held:
    values: [A1, B2]
tables:
  offer:
    hit: first
    file: offers.csv
  pause_days:
    hit: first
    unit: days
    rows:
      - {client.tier: A, then: 30}
      - {client.segment: active, then: 5}
      - {then: 7}
  ways:
    hit: first
    rows:
      - {client.tier: A | B, then: [phone, sms]}
      - {then: [email, sms]}
  hurry_cny:
    hit: first
    unit: cny
    on: trades
    rows:
      - {trade.side: buy, trades_30d: "> 3", then: 10}
      - {then: 20}
define:
  keen: {is: trades_30d >= 3 and client.tier != "C", description: trades much}
  large: {is: trade.amount_cny >= hurry_cny and keen, on: trades}
""",
    "watched.csv": "symbol\n600519\n000001\n",
    "offers.csv": "client.tier,trades_30d,then\nA,-,fine\nB,>= 3,plain\n-,-,none\n",
    R: """\
rules:
  - id: offer-of-the-day
    title: An offer
    owner: wealth
    on: trades
    when: trade.symbol in watched and (large or trade.symbol in held) and money_out_cny_7d >= 0
    kind: message
    audience: client
    channels: ways
    priority: 40
    cooldown: pause_days
    expires: 2d
    template: offer
    parameters:
      what: offer
      out_cny: money_out_cny_7d
      hurry_cny: hurry_cny
      keen: keen
      tier: client.tier
      much: 1.5 * trades_30d
    description: Offers.
    tests:
      - name: tier A
        given:
          client: {tier: A, consents: [phone, sms]}
          history: [{at: -3d, every: 1d, times: 3, trades: {symbol: "600519"}}]
        event: {trades: {symbol: "600519", amount_cny: 50_000}}
        expect:
          fires:
            channel: phone
            count: 1
            parameters: {what: fine, out_cny: 0, hurry_cny: 10, keen: true, tier: A, much: 6}
      - name: tier C
        given: {client: {tier: C}}
        event: {trades: {symbol: A1}}
        expect: {not: condition}
  - id: waits
    title: Waits
    owner: wealth
    sequence: {first: {on: trades, when: large}, without: {on: logins}, within: 3d}
    when: keen
    kind: task
    audience: advisor
    priority: 40
    cooldown: 1d
    expires: 2d
    template: waits
    parameters: {what: offer}
    description: Waits.
    tests:
      - name: no login
        given:
          client: {tier: B}
          history: [{at: -3d, every: 12h, times: 5, trades: {}}]
        event: {trades: {symbol: A1, amount_cny: 50_000}}
        wait: 4d
        expect: {fires: {parameters: {what: plain}}}
""",
}
YAML = (F, T, P, D, "retention.yaml", R)
CSV = ("watched.csv", "offers.csv")


def middle(text: str, line: str) -> str:
    lines = text.split("\n")
    return "\n".join([*lines[: len(lines) // 2], line, *lines[len(lines) // 2 :]])


UNREADABLE = {
    "empty": lambda text: "",
    "a list": lambda text: "- a\n- b\n",
    "a text": lambda text: "text\n",
    "a bracket": lambda text: middle(text, "    x: ["),
    "a brace": lambda text: text + "x: {",
    "a quote": lambda text: middle(text, "  'x: 1"),
    "a colon": lambda text: middle(text, "  a: b: c"),
    "indentation": lambda text: middle(text, " x: 1"),
    "a tab": lambda text: middle(text, "\tx: 1"),
    "an anchor": lambda text: text + "x: *y\n",
    "a control character": lambda text: text + "\0",
    "other bytes": lambda text: text + "\udcff",
    "a key at the top": lambda text: text + "zzqq: 1\n",
    "a key of the top misspelt": lambda text: text.replace(":", "x:", 1),
    "another key at the top": lambda text: "zzqq" + text[text.index(":") :],
}


def told(files: dict[str, str], name: str) -> None:
    problems = problems_of(files)
    assert [problem.file for problem in problems] == [name], "\n".join(map(str, problems))


def test_the_sample_is_sound():
    good(BUILT)


@pytest.mark.parametrize("fault", UNREADABLE)
@pytest.mark.parametrize("name", YAML)
def test_a_file_that_is_not_as_it_should_be(name, fault):
    told(BUILT | {name: UNREADABLE[fault](BUILT[name])}, name)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: "\0" + text,
        lambda text: "\t" + text,
        lambda text: text + "\udcff",
        lambda text: "one\n" + text.replace("symbol\n", "") if "," in text else "\n\n",
        lambda text: text + 'a,"b\n',
        lambda text: text + "a,b,c,d\n",
    ],
)
@pytest.mark.parametrize("name", CSV)
def test_a_csv_file_that_is_not_as_it_should_be(name, spoil):
    told(BUILT | {name: spoil(BUILT[name])}, name)


@pytest.mark.parametrize("name", [F, T, P, D])
def test_a_file_that_is_missing(name):
    told({file: text for file, text in BUILT.items() if file != name}, name)


@pytest.mark.parametrize("name", CSV)
def test_a_csv_file_that_is_missing(name):
    told({file: text for file, text in BUILT.items() if file != name}, D)


# (file, what to replace, with what)
FAULTS = [
    (F, "trades_30d: {source: trades", "trades_30d: {source: trade"),
    (F, "aggregate: count, window: 30d", "aggregate: count, window: 30x"),
    (F, "aggregate: count, window: 30d", "aggregate: count"),
    (F, "aggregate: count, window", "aggregat: count, window"),
    (F, "aggregate: count, window", "zzqq: count, window"),
    (F, "window: 30d}", "zzqq: 30d}"),
    (F, "    field: amount_cny\n", ""),
    (F, 'in ("withdrawal"', 'in ("withdrawl"'),
    (F, "features:\n", "features:\n  trades_30d: {source: trades, aggregate: count, window: 30d}\n"),
    (F, "  money_out_cny_7d:\n", ""),
    (T, "measure: assets_avg_cny_30d", "measure: assets_avg"),
    (T, "  tiers:\n", "  tirs:\n"),
    (T, "{tier: A, enter: 1_000_000", "{tier: A, enter: much"),
    (T, "{tier: A, ", "{tire: A, "),
    (T, "{tier: A, ", "{tier: 1A, "),
    (T, "- id: active", "- id: Active"),
    (T, "- id: active", "- ident: active"),
    (T, "segments:", "segmnts:"),
    (T, "when: trades_30d >= 20", "when: trades_30d => 20"),
    (P, "daily_cap: 2", "daily_cap: two"),
    (P, "daily_cap", "dayly_cap"),
    (P, "contact:\n  daily_cap: 2", "contact: 2"),
    (D, "file: watched.csv", "file: watchd.csv"),
    (D, "file: watched.csv", "fil: watched.csv"),
    (D, "file: watched.csv", "zzqq: watched.csv"),
    (D, "file: watched.csv", "file: watched.csv\n    column: zzqq"),
    (D, "values: [A1, B2]", "values: []"),
    (D, "hit: first\n    file", "hit: last\n    file"),
    (D, "    hit: first\n    file", "    file"),
    (D, "client.tier: A, then: 30", "client.tire: A, then: 30"),
    (D, "client.tier: A, then: 30", "client.tier: D, then: 30"),
    (D, "client.tier: A, then: 30", "client.tier: A, than: 30"),
    (D, "client.tier: A, then: 30", "client.tier: A, then: many"),
    (D, "[phone, sms]", "[phone, fax]"),
    (D, "[phone, sms]", "phone: sms"),
    (D, "unit: cny\n    on: trades", "unit: eur\n    on: trades"),
    (D, "on: trades\n    rows", "on: trade\n    rows"),
    (D, "rows:\n      - {trade.side", "zzqq:\n      - {trade.side"),
    (D, "is: trades_30d >= 3", "is: trades_3d >= 3"),
    (D, "large: {is: ", "large: {iss: "),
    (D, "large: {is: ", "large: {zzqq: "),
    (D, "on: trades}", "on: trade}"),
    (D, "define:", "defines:"),
    (D, "tables:", "zzqq:"),
    (R, "channels: ways", "channels: wais"),
    (R, "channels: ways", "channels: [phone, fax]"),
    (R, "    channels: ways\n", ""),
    (R, "audience: client", "audience: clients"),
    (R, "cooldown: pause_days", "cooldown: pause_day"),
    (R, "what: offer\n", "what: ofer\n"),
    (R, "    parameters:\n", "    paramters:\n"),
    (R, "    parameters:\n", "    zzqq:\n"),
    (R, "what: offer\n", "What: offer\n"),
    (R, "on: trades\n", "on: trade\n"),
    (R, "sequence: {first", "sequence: {firts"),
    (R, "without: {on: logins}", "witout: {on: logins}"),
    (R, "without: {on: logins}", "zzqq: {on: logins}"),
    (R, "within: 3d", "within: 3w"),
    (R, "tests:\n      - name: tier A", "tests:\n      - nme: tier A"),
    (R, "{client: {tier: C}}", "{client: {tier: D}}"),
    (R, "{client: {tier: C}}", "{client: {teir: C}}"),
    (R, "{client: {tier: C}}", "{client: {type: person, tier: C}}"),
    (R, "event: {trades: {symbol: A1}}", "event: {trads: {symbol: A1}}"),
    (R, "event: {trades: {symbol: A1}}", "event: {zzqq: {symbol: A1}}"),
    (R, "event: {trades: {symbol: A1}}", "event: {trades: {symbol: A1, side: by}}"),
    (R, "event: {trades: {symbol: A1}}", "evnt: {trades: {symbol: A1}}"),
    (R, "event: {trades: {symbol: A1}}", "zzqq: {trades: {symbol: A1}}"),
    (R, "{at: -3d, every: 1d, times: 3, trades", "{at: -3d, every: 1d, times: 3, trads"),
    (R, "{at: -3d, every: 1d, times: 3, trades", "{at: 3d, every: 1d, times: 3, trades"),
    (R, "expect: {not: condition}", "expect: {nt: condition}"),
    (R, "expect: {not: condition}", "expect: {not: conditions}"),
    (R, "channel: phone", "channel: email2"),
    (R, "what: fine,", "wht: fine,"),
    (R, "keen: true,", "keen: maybe,"),
    ("offers.csv", "client.tier,", "client.tire,"),
    ("offers.csv", "client.tier,trades_30d,then", "client.tier,then"),
    ("offers.csv", ",then", ",than"),
    ("offers.csv", ">= 3", "=> 3"),
    ("offers.csv", "B,", "D,"),
    ("offers.csv", "-,-,none\n", ""),
]


@pytest.mark.parametrize(("name", "old", "new"), FAULTS)
def test_a_fault_within(name, old, new):
    assert old in BUILT[name]
    told(BUILT | {name: BUILT[name].replace(old, new, 1)}, name)


@pytest.mark.parametrize(
    ("name", "pattern", "missed"),
    [
        (F, r"  trades_30d: .*\n", 'unknown name "trades_30d", here and at 6 other places'),
        (F, r"  money_out_cny_7d:\n(    .*\n)+", 'unknown name "money_out_cny_7d", here and at 3 other places'),
        (F, r"  assets_avg_cny_30d: .*\n", 'unknown name "assets_avg_cny_30d"'),
        (D, r"  keen: .*\n", 'unknown name "keen", here and at 2 other places'),
        (D, r"  watched:\n(    .*\n)+", 'unknown name "watched"'),
        (D, r"  offer:\n(    .*\n)+", 'unknown name "offer", here and at another place'),
        (D, r"  pause_days:\n(    .*\n)+", 'unknown name "pause_days"'),
        (T, r"    - \{tier: B.*\n", 'client.tier is never "B", here and at 3 other places'),
        (T, r"segments:\n(  .*\n)+", 'client.segment is never "active", here and at another place'),
    ],
)
def test_what_was_deleted_is_missed_once_with_every_place(name, pattern, missed):
    spoilt = re.sub(pattern, "", BUILT[name])
    assert spoilt != BUILT[name]
    (problem,) = problems_of(BUILT | {name: spoilt})
    assert problem.message == missed


def test_a_csv_file_that_two_refer_to_is_missed_once():
    both = BUILT | {D: BUILT[D].replace("tables:\n", "  again:\n    file: watched.csv\ntables:\n")}
    told({file: text for file, text in both.items() if file != "watched.csv"}, D)


@pytest.mark.parametrize("name", [F, T, P, D, R])
def test_a_character_that_nobody_sees_hides_no_fault_of_another_file(name):
    other = D if name == P else P
    spoilt = {name: BUILT[name].replace(":", ":\u00a0", 1), other: BUILT[other] + "zzqq: 1\n"}
    assert sorted(problem.file for problem in problems_of(BUILT | spoilt)) == sorted([name, other])


@pytest.mark.parametrize(
    ("name", "old", "new", "uses"),
    [
        (F, "  trades_30d:", "  trades_30:", "trades_30d"),
        (D, "  keen:", "  keener:", "keen"),
        (D, "  ways:", "  way:", "ways"),
        (D, "  offer:", "  offers:", "offer"),
        (T, "{tier: B", "{tier: S", '"B"'),
    ],
)
def test_what_has_another_name_now_is_told_where_it_is_used_and_nothing_follows_from_that(name, old, new, uses):
    problems: tuple[Problem, ...] = problems_of(BUILT | {name: BUILT[name].replace(old, new, 1)})
    assert len({(problem.file, problem.line, problem.column) for problem in problems}) == len(problems)
    assert all(uses in problem.message for problem in problems), "\n".join(map(str, problems))
