"""`engage simulate-policy`: its counts are those of the replay of the same records; its page stands alone."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from engine.cli.main import main
from engine.core.contract.events import parse_time_ms
from engine.core.contract.outbound import Outcome
from engine.core.rules.ruleset import RuleSet
from engine.rulefile.read.load import load, read_directory
from tests.core.making import TIERS, rule
from tests.services.process import REPOSITORY

RULES = str(REPOSITORY / "rules")
NIGHT = """\
contact: {daily_cap: %s}
classes: {service: {when_quiet: hold}, marketing: {when_quiet: drop}}
quiet_hours: {night: {hours: "21:30-08:00"}}
"""


def engage(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


def found(*arguments: str) -> dict[str, Any]:
    result = engage("simulate-policy", *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("records") / "history.ndjson"
    file.write_bytes(engage("simulate", "--clients", "60", "--days", "40", "--seed", "5").stdout_bytes)
    return str(file)


def directory(at: Path, *rules: str, cap: int = 9) -> str:
    at.mkdir()
    written = {"tiers.yaml": TIERS, "policy.yaml": NIGHT % cap, "rules.yaml": "rules:\n" + "".join(rules)}
    measure = "{source: balances, aggregate: daily_mean, field: assets_cny, window: 30d}"
    written["features.yaml"] = f"features: {{assets_avg_cny_30d: {measure}}}\n"
    for name, text in written.items():
        (at / name).write_text(text)
    return str(at)


def records(at: Path, *times: str, zone: str | None = None) -> str:
    """A client who agrees to all, and logs in."""
    said: dict[str, Any] = {"event_id": "p", "client_id": "c1", "time": "2026-11-01T00:00:00Z", "type": "individual"}
    said |= {"consents": {"app_push": True, "sms": True}} | ({} if zone is None else {"time_zone": zone})
    events = [("profiles", said)]
    for number, time in enumerate(times):
        values = {"event_id": f"l{number}", "client_id": "c1", "time": time, "channel": "app", "success": True}
        events.append(("logins", values))
    lines = (
        {"topic": topic, "key": "c1", "timestamp": parse_time_ms(str(value["time"])), "value": value}
        for topic, value in events
    )
    at.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return str(at)


def test_counts_are_those_of_the_replay(history: str) -> None:
    answer = found(history, "--rules", RULES)
    replayed = [json.loads(line) for line in engage("replay", history, "--rules", RULES).stdout.splitlines()]
    actions = [line["value"] for line in replayed if "audience" in line["value"]]
    by_rule = Counter(action["rule_id"] for action in actions)
    journeys = {rule_id.partition("/")[0] for rule_id in answer["rules"] if "/" in rule_id}
    sent = {name: row["sent"] for name, row in answer["rules"].items() if row["sent"] and name not in journeys}
    assert sent == by_rule
    to_clients = [action for action in actions if action["audience"] == "client"]
    assert answer["for_clients"]["sent"] == len(to_clients) == sum(answer["contacts_by_hour"]) > 20
    a_day = answer["days_with_contacts"].items()
    assert sum(int(contacts) * days for contacts, days in a_day) == len(to_clients)
    contacts = Counter(action["client_id"] for action in to_clients)
    assert all(contacts[busy["client_id"]] == busy["contacts"] for busy in answer["busiest"])
    assert sum(row["matched"] for row in answer["classes"].values()) == sum(
        row["matched"] for row in answer["rules"].values()
    )


def test_each_match_has_one_end(history: str) -> None:
    """Nothing that came to an end on the way, by being held, counts as another match."""
    answer = found(history, "--rules", RULES)
    for row in (*answer["rules"].values(), *answer["classes"].values(), answer["for_clients"]):
        ends = {name: times for name, times in row["outcomes"].items() if name != Outcome.HELD}
        assert row["matched"] == sum(ends.values()) + row["waiting"]
    assert answer["for_clients"]["outcomes"]["held"] > 0


def test_what_is_held_comes_to_its_end_with_until(tmp_path: Path) -> None:
    rules = directory(tmp_path / "rules", rule("x", cooldown="1m"), rule("y", cooldown="1m", **{"class": "marketing"}))
    file = records(tmp_path / "r.ndjson", "2026-11-02T23:00:00+08:00")
    first = found(file, "--rules", rules)
    assert first["rules"]["x"] | {"class": ""} == {
        "class": "", "matched": 1, "sent": 0, "outcomes": {"held": 1}, "waiting": 1
    }  # fmt: skip
    assert first["rules"]["y"]["outcomes"] == {"quiet_hours": 1}
    assert sum(first["contacts_by_hour"]) == 0
    later = found(file, "--rules", rules, "--until", "2026-11-03T08:00:00+08:00")
    assert later["for_clients"] == {
        "matched": 2, "sent": 1, "outcomes": {"quiet_hours": 1, "held": 1, "sent": 1}, "waiting": 0
    }  # fmt: skip
    assert later["contacts_by_hour"][8] == 1
    assert later["busiest"] == [{"client_id": "c1", "most": 1, "day": "2026-11-03", "contacts": 1}]


def test_hours_are_those_on_the_clients_wall(tmp_path: Path) -> None:
    rules = directory(tmp_path / "rules", rule("x", cooldown="1m"))
    file = records(tmp_path / "r.ndjson", "2026-11-02T12:00:00Z", zone="Asia/Kathmandu")
    hours = found(file, "--rules", rules)["contacts_by_hour"]
    assert [hour for hour, contacts in enumerate(hours) if contacts] == [17]


def test_other_rules_beside_it(tmp_path: Path) -> None:
    both = rule("x", cooldown="1m", priority="60"), rule("y", cooldown="1m", priority="50")
    one = directory(tmp_path / "one", *both, cap=1)
    two = directory(tmp_path / "two", *both, cap=2)
    file = records(tmp_path / "r.ndjson", "2026-11-02T12:00:00+08:00")
    answer = found(file, "--rules", two, "--against", one)
    assert list(answer["differ"]["rules"]) == ["y"]
    changed = answer["differ"]["rules"]["y"]
    assert (changed["before"]["outcomes"], changed["now"]["outcomes"]) == ({"daily_cap": 1}, {"sent": 1})
    assert answer["against"]["for_clients"]["sent"] == 1
    said = engage("simulate-policy", file, "--rules", two, "--against", one).stdout
    assert "no rule differs" not in said
    assert ["sent", "1", "2", "+1"] in [line.split() for line in said.splitlines()]
    assert "no rule differs" in engage("simulate-policy", file, "--rules", two, "--against", two).stdout


def test_a_renamed_rule_is_the_same_rule(tmp_path: Path) -> None:
    old = directory(tmp_path / "old", rule("x"))
    new = directory(tmp_path / "new", rule("y", was="[x]"))
    file = records(tmp_path / "r.ndjson", "2026-11-02T12:00:00+08:00")
    assert found(file, "--rules", new, "--against", old)["differ"] == {"classes": {}, "rules": {}}


def test_the_tables_have_every_outcome_and_rule(history: str) -> None:
    answer = found(history, "--rules", RULES)
    said = engage("simulate-policy", history, "--rules", RULES).stdout
    rule_set = load(read_directory(Path(RULES)))
    assert isinstance(rule_set, RuleSet)
    audiences = {rule.id: rule.audience for rule in rule_set.rules}
    for name, row in answer["rules"].items():
        assert (f"\n{name} " in said) is (audiences[name] == "client")
        for outcome in row["outcomes"] if audiences[name] == "client" else ():
            assert outcome in said


def test_the_page_stands_alone(history: str, tmp_path: Path) -> None:
    """No script, nothing from elsewhere, every element closed; what is read from files is escaped."""
    odd = tmp_path / "a<b>&c"
    odd.write_bytes(Path(history).read_bytes())
    other = tmp_path / "<i>"
    directory(other, rule("x"))
    for beside in ((), ("--against", str(other))):
        file = tmp_path / "page.html"
        result = engage("simulate-policy", str(odd), "--rules", RULES, *beside, "--html", str(file))
        assert result.stdout.endswith(f"{file}: written\n")
        text = file.read_text(encoding="utf-8")
        for outside in ("<script", "http:", "https:", "src=", "url(", "@import", "<link"):
            assert outside not in text
        body = text[text.index("<h1>") : text.index("</body>")]
        tree = ET.fromstring(f"<all>{body.replace('<br>', '<br/>').replace('<wbr>', '')}</all>")
        said = " ".join(tree.itertext())
        assert "a<b>&c" in said
        assert (str(other) in said) is bool(beside)
        assert tree.find(".//i") is None
        assert len(tree.findall(".//svg")) == 3
        assert all(float(bar.get("width") or -1) >= 0 for bar in tree.iter("rect"))
        assert "<title>What the contact policy stops</title>" in text
        assert "prefers-color-scheme: dark" in text


def test_what_is_rejected_is_named(history: str, tmp_path: Path) -> None:
    file = tmp_path / "records"
    file.write_bytes(Path(history).read_bytes() + b'{"topic":"trades","key":"c","timestamp":1,"value":[]}\n')
    said = engage("simulate-policy", str(file), "--rules", RULES).stdout
    assert "clients, 1 records rejected\n" in said
    assert ": wrong_type: a JSON array, not an object" in said
    answer = found(str(file), "--rules", RULES)
    assert (answer["rejected"], len(answer["rejections"])) == (1, 1)


def test_nothing_at_all_is_a_report(tmp_path: Path) -> None:
    rules = directory(tmp_path / "rules", rule("x"))
    (tmp_path / "none").write_text("")
    answer = found(str(tmp_path / "none"), "--rules", rules, "--html", str(tmp_path / "page.html"))
    assert (answer["for_clients"]["matched"], answer["from"], answer["busiest"]) == (0, None, [])
    assert "0 of 0 matches" in (tmp_path / "page.html").read_text()
    assert engage("simulate-policy", str(tmp_path / "none"), "--rules", rules).exit_code == 0


@pytest.mark.parametrize(
    ("content", "options", "status", "said"),
    [
        ("garbage\n", [], 1, ":1: not a record line"),
        ("", ["--until", "tomorrow"], 2, "--until: not an RFC 3339 time"),
        ("", ["--against", "/nowhere"], 2, "/nowhere: no such directory"),
        ("", ["--against", "."], 1, "."),
        ("", ["--html", "/nowhere/at/all.html"], 2, "/nowhere"),
    ],
)
def test_what_is_refused(content: str, options: list[str], status: int, said: str, tmp_path: Path) -> None:
    file = tmp_path / "records"
    file.write_text(content)
    result = engage("simulate-policy", str(file), "--rules", RULES, *options)
    assert result.exit_code == status
    assert said in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""
