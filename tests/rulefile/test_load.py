"""Good rule files become the rule set they say."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import pytest

from engine.core.language.expressions import number
from engine.core.plan.compile import compile_rule_set
from engine.core.rules.occasion import Occasion, OnEvents, Silence, on
from engine.core.rules.policy import ContactPolicy, daily_cap
from engine.core.rules.ruleset import Service, TierStep
from engine.rulefile.read.load import DirectoryError, digest, read_directory
from engine.rulefile.source.characters import MAX_BYTES
from engine.runtime.rule_sets.archive import load_directory
from tests.faults.herd import DAILY, write_rules
from tests.rulefile.sample import FILES, good, problems_of

SHIPPED = Path(__file__).parents[2] / "rules"


@pytest.fixture(scope="module")
def shipped():
    return good(read_directory(SHIPPED))


def test_a_rule_set_says_what_the_files_say():
    rule_set = good()
    assert [rule.id for rule in rule_set.rules] == ["hello", "vip-winback", "silent-client"]  # priority, then id
    hello, vip, silent = rule_set.rules
    assert (vip.version, vip.occasion, vip.channels, vip.cooldown_s, vip.expires_s) == (
        2,
        OnEvents((on("balances"),)),
        ("work_queue",),
        7 * 86_400,
        12 * 3_600,
    )
    assert [(name, value.text, value.type.unit) for name, value in vip.parameters] == [
        ("money_out_cny", "money_out_cny_7d", "cny"),
        ("tone", '"warm"', None),
    ]
    assert (silent.occasion, silent.channels) == (Silence("logins", 30), ("sms", "email"))
    assert silent.when.names == ("client.tier", "client.segment")
    assert (hello.version, hello.triggers, hello.when.text, hello.channels) == (
        1,
        (on("logins"), on("trades")),
        "True",
        ("app_push",),
    )
    assert [feature.name for feature in rule_set.features] == ["assets_avg_cny_30d", "money_out_cny_7d", "trades_30d"]
    ladder = rule_set.tiers.ladders["individual"]
    assert ladder.measure.type == number("cny")
    assert ladder.steps == (
        TierStep("A", 1_000_000, 900_000),
        TierStep("B", 300_000, 270_000.5),
        TierStep("C", None, None),
    )
    assert (ladder.promote_after_days, ladder.demote_after_days) == (0, 30)
    assert rule_set.policy == ContactPolicy((daily_cap(2),))
    compile_rule_set(rule_set)


def test_order_of_files_does_not_matter_and_every_character_does():
    rule_set = good()
    other = good(dict(reversed(FILES.items())))
    assert (other.digest, other.files) == (rule_set.digest, rule_set.files)
    assert [rule.id for rule in other.rules] == [rule.id for rule in rule_set.rules]
    assert rule_set.digest == digest(dict(rule_set.files))
    assert good(FILES | {"policy.yaml": FILES["policy.yaml"] + "\n"}).digest != rule_set.digest
    assert digest({"a": "bc"}) != digest({"ab": "c"})


def test_lines_may_end_as_on_windows_and_words_stay_text():
    files = {name: text.replace("\n", "\r\n") for name, text in FILES.items()}
    files["retention.yaml"] = files["retention.yaml"].replace("title: Hello", "title: 1.10")
    assert good(files).rules[0].title == "1.10"


def rule_file(rule_set, rule_id):
    return next(name for name, text in rule_set.files if re.search(rf"^ *- id: {rule_id}( |$)", text, re.MULTILINE))


def test_shipped_rules(shipped):
    plan = compile_rule_set(shipped)
    led = {journey.id for journey in shipped.journeys}
    rules = [rule for rule in shipped.rules if rule.id.partition("/")[0] not in led]
    by_file = Counter(rule_file(shipped, rule.id) for rule in rules)
    own, answers = by_file.pop("own_events.yaml"), by_file.pop("listening.yaml")
    assert by_file.pop("holdings.yaml") == 5
    assert by_file.pop("stages.yaml") == 1
    assert 50 <= by_file.total() <= 65
    assert 10 <= own <= 20
    assert 10 <= answers <= 21
    of_all = [feature for feature in shipped.features if feature.source in ("trades", "logins", "balances")]
    assert len(of_all) <= 30  # each costs memory in every client's state; four are of the portrait
    assert len(shipped.features) - len(of_all) <= 24  # these only in the states of clients who have such events
    assert {rule.kind for rule in rules} == {"alert", "assignment", "survey", "message", "task"}
    assert {rule.kind for rule in shipped.rules} - {rule.kind for rule in rules} == {"journey"}
    assert {type(rule.occasion) for rule in shipped.rules} == {*get_args(Occasion)}
    on_trades = [compiled.rule for compiled in plan.compiled[on("trades")]]
    alone = [
        rule
        for rule in on_trades
        if rule.audience != "client" and not any(name.startswith("client.") for name in rule.when.names)
    ]
    assert len(alone) >= 5  # trades without profiles lead to something
    types = {"mutual_fund", "private_fund", "insurer", "qfii", "social_security_fund", "enterprise_annuity"}
    served = next(table for table in shipped.tables if table.name == "meeting_topic")
    assert {row.cells[0].text for row in served.rows} == types


def test_the_manual_says_which_need_each_shipped_rule_serves(shipped):
    manual = (SHIPPED.parent / "docs/shipped-rules.md").read_text(encoding="utf-8")
    acting = [rule for rule in shipped.rules if "/" in rule.id]  # they are their journey's
    rules = [rule for rule in shipped.rules if rule not in acting]
    assert f"\n{len(rules) - len(shipped.journeys)} rules in files" in manual
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*)$", manual, re.MULTILINE))
    assert set(rows) == set(get_args(Service))
    for rule in rules:
        assert [need for need, row in rows.items() if f"`{rule.id}`" in row] == [rule.serves], rule.id
    known = {rule.id for rule in shipped.rules}
    assert set(re.findall(r"`([a-z]+(?:-[a-z]+)+)`", manual)) <= known


def test_every_declared_feature_is_used(shipped):
    text = "\n".join(text for name, text in shipped.files if name != "features.yaml")
    assert [feature.name for feature in shipped.features if feature.name not in text] == []


NOBODY = 65_534


@contextmanager
def anybody() -> Iterator[None]:
    """As a user who may not read everything."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("mode", [0o000, 0o400], ids=["closed", "names only"])
def test_a_directory_that_may_not_be_read(mode):
    with TemporaryDirectory() as name:  # its parents are everybody's
        directory = Path(name)
        (directory / "a.yaml").write_text("rules: []\n")
        if os.geteuid() == 0:
            os.chown(directory, NOBODY, -1)
        with anybody():
            assert read_directory(directory).keys() == {"a.yaml"}
            directory.chmod(mode)
            with pytest.raises(DirectoryError, match="Permission denied; make it readable"):
                read_directory(directory)
            directory.chmod(0o700)


def test_read_directory(tmp_path):
    with pytest.raises(DirectoryError, match="no such directory; give the directory"):
        read_directory(tmp_path / "nowhere")
    for name in ("rules.yml", "Rules.YAML"):
        (tmp_path / name).write_text("rules: []\n")
        with pytest.raises(DirectoryError, match=r"name it [rR]ules\.yaml"):
            read_directory(tmp_path)
        (tmp_path / name).unlink()
    (tmp_path / "List.CSV").write_text("symbol\n")
    with pytest.raises(DirectoryError, match=r"name it List\.csv"):
        read_directory(tmp_path)
    (tmp_path / "List.CSV").unlink()
    os.mkfifo(tmp_path / "pipe.yaml")  # to open it would wait for a writer
    with pytest.raises(DirectoryError, match=r"pipe\.yaml: not a file"):
        read_directory(tmp_path)
    (tmp_path / "pipe.yaml").unlink()
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    with pytest.raises(
        DirectoryError, match=r"loop\.yaml: Too many levels .* links; it is a link to loop\.yaml; remove"
    ):
        read_directory(tmp_path)
    (tmp_path / "loop.yaml").unlink()
    (tmp_path / "gone.yaml").symlink_to("../gone.yaml")
    with pytest.raises(
        DirectoryError, match=r"gone\.yaml: No such file .*; it is a link to \.\./gone\.yaml; remove it, or"
    ):
        read_directory(tmp_path)
    (tmp_path / "gone.yaml").unlink()
    unnamed = tmp_path / os.fsdecode(b"\xff.yaml")  # could not be published
    unnamed.write_text("rules: []\n")
    with pytest.raises(DirectoryError, match=r"'\\udcff\.yaml' is not valid UTF-8; rename it"):
        read_directory(tmp_path)
    unnamed.unlink()
    (tmp_path / ".#rules.yaml").symlink_to("nowhere")  # an editor's lock
    with pytest.raises(DirectoryError, match=r"no \*.yaml file in it"):
        read_directory(tmp_path)
    (tmp_path / "b.yaml").write_bytes(b"\xef\xbb\xbfrules: []\r\n")
    (tmp_path / "a.yaml").write_bytes(b"rules: \xff")
    (tmp_path / "large.yaml").write_bytes(b"#" * (MAX_BYTES + 5))
    (tmp_path / "notes.txt").write_text("not read")
    files = read_directory(tmp_path)
    assert list(files) == ["a.yaml", "b.yaml", "large.yaml"]
    assert files["b.yaml"] == "rules: []\r\n"
    problems = [str(problem) for problem in problems_of(files) if problem.file != "b.yaml"]
    assert any(
        "a.yaml:1:8: byte 0xFF, which is not UTF-8: the file looks like Windows-1252" in said for said in problems
    )
    assert "large.yaml:1:1: file larger than 1 MiB; split it by concern" in problems


def test_the_rules_of_the_herd_in_the_proof_of_overload_are_right(tmp_path: Path):
    """It takes a part of the shipped ones, which may come to need more of them."""
    assert len(load_directory(write_rules(tmp_path, 0.0)).rules) == DAILY + 1
