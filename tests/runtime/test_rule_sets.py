"""Rule sets as they travel: a bad one never replaces a good one, and the topic alone is enough to load one again."""

from __future__ import annotations

import asyncio
import gc
import json
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from engine.core.plan.compile import Plan
from engine.core.rules.ruleset import RuleSet
from engine.runtime.clients import Clients
from engine.runtime.errors import Refused
from engine.runtime.observe.metrics import Metrics
from engine.runtime.rule_sets.archive import HEAD, RuleSetArchive, load_directory, load_files
from engine.runtime.rule_sets.following import RuleSets, _fingerprint
from engine.runtime.settings import load
from tests.rulefile.sample import FILES, good

OTHER = FILES | {"policy.yaml": "contact:\n  daily_cap: 3\n"}
BAD = FILES | {"policy.yaml": "contact:\n  daily_cap: many\n"}


def add(archive: RuleSetArchive, files: dict[str, Any], digest: str | None = None) -> str:
    """What publishing these files appends."""
    digest = digest or good(files).digest
    archive.add(digest.encode(), json.dumps({"files": files}, ensure_ascii=False).encode())
    archive.add(HEAD, digest.encode())
    return digest


@pytest.fixture
def rule_sets(capsys) -> RuleSets:
    return RuleSets(load(), Clients(), Metrics(CollectorRegistry()))


def state_of(rule_sets: RuleSets) -> tuple[float | None, float | None]:
    value = rule_sets._metrics.registry.get_sample_value
    return value("engage_rule_set_refused_total"), value("engage_rule_set_stale")


def test_a_directory_is_loaded_or_refused_with_every_problem(tmp_path: Path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    loaded = load_directory(tmp_path)
    assert isinstance(loaded, RuleSet)
    assert loaded.digest == good().digest
    (tmp_path / "policy.yaml").write_text("contact:\n  daily_cap: many\n  other: 1\n")
    with pytest.raises(Refused) as error:
        load_directory(tmp_path)
    lines = str(error.value).splitlines()
    assert lines[0] == f"the rules in {tmp_path} are refused, 2 problems:"
    assert [line.rsplit(": ", 3)[0][:15] for line in lines[1:]] == ["policy.yaml:2:1", "policy.yaml:3:3"]
    with pytest.raises(Refused, match="no such directory"):
        load_directory(tmp_path / "nowhere")


def test_what_is_on_the_topic_is_enough():
    archive = RuleSetArchive(load(), Clients())
    digest = add(archive, FILES)
    assert archive.head == digest
    plan = archive.plan(digest)
    assert [rule.id for rule in plan.rule_set.rules] == [rule.id for rule in good().rules]
    assert archive.plan(digest) is plan  # compiled once
    assert load_files(dict(plan.rule_set.files), "again").digest == digest


def test_an_older_rule_set_stays_there_for_replay():
    archive = RuleSetArchive(load(), Clients())
    old, new = add(archive, FILES), add(archive, OTHER)
    assert archive.head == new
    assert archive.plan(old).rule_set.policy.caps[0].at_most == 2
    assert archive.plan(new).rule_set.policy.caps[0].at_most == 3


def test_a_rule_set_that_is_not_held_is_refused():
    archive = RuleSetArchive(load(prefix="p."), Clients())
    with pytest.raises(Refused, match=r"the topic p\.engage-rule-sets does not hold the rule set abc"):
        archive.plan("abc")


@pytest.mark.parametrize(
    "value", [b"", None, b"\xff", b"[]", b"{}", b'{"files": 5}', b'{"files": ["ab"]}', b"null", b"[" * 99_999]
)
def test_any_bytes_on_the_topic_leave_the_rest_usable(value, capsys):
    archive = RuleSetArchive(load(), Clients())
    digest = add(archive, FILES)
    archive.add(b"another", value)
    archive.add(b"\xff\xfe", value)
    archive.add(None, value)
    assert archive.plan(digest).rule_set.digest == digest
    with pytest.raises(Refused):
        archive.plan("another")


async def started(rule_sets: RuleSets) -> Plan:
    """As after a start on a topic that holds a good rule set."""
    assert await rule_sets._take(add(rule_sets._archive, FILES))
    return rule_sets.plan


async def test_the_rule_set_in_force_is_shown(rule_sets):
    digest = (await started(rule_sets)).rule_set.digest
    assert state_of(rule_sets) == (0, 0)
    value = rule_sets._metrics.registry.get_sample_value
    assert value("engage_rule_set_info", {"digest": digest}) == 1


@pytest.mark.parametrize("bad", [BAD, {"policy.yaml": 5}, {}])
async def test_a_bad_head_leaves_the_last_good_one_in_force_and_says_so(rule_sets, bad):
    plan = await started(rule_sets)
    add(rule_sets._archive, bad, "bad")
    await rule_sets._take_head()
    assert rule_sets.plan is plan
    assert state_of(rule_sets) == (1, 1)
    add(rule_sets._archive, FILES)  # the head goes back: nothing is stale any more
    await rule_sets._take_head()
    assert rule_sets.plan is plan
    assert state_of(rule_sets) == (1, 0)
    newer = add(rule_sets._archive, OTHER)
    await rule_sets._take_head()
    assert rule_sets.plan.rule_set.digest == newer


async def test_a_head_that_is_not_held_changes_nothing(rule_sets):
    plan = await started(rule_sets)
    rule_sets._archive.add(HEAD, b"never published")
    await rule_sets._take_head()
    assert rule_sets.plan is plan
    assert state_of(rule_sets) == (1, 1)


async def test_the_same_head_again_keeps_the_plan(rule_sets):
    """States are read again under another plan, so an equal one must not be made for nothing."""
    plan = await started(rule_sets)
    add(rule_sets._archive, FILES)
    await rule_sets._take_head()
    assert rule_sets.plan is plan


async def test_watched_files_that_cannot_be_looked_at_do_not_end_a_worker(tmp_path: Path):
    """A link to itself, as a failed deployment leaves one; reading the rules says what to do about it."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    before = _fingerprint(tmp_path)
    (tmp_path / "x.yaml").symlink_to("x.yaml")
    assert _fingerprint(tmp_path) != before
    with pytest.raises(Refused, match=r"x\.yaml: Too many levels of symbolic links; it is a link to x.yaml; remove it"):
        load_directory(tmp_path)


def plans() -> list[Plan]:
    return [found for found in gc.get_objects() if isinstance(found, Plan)]


async def test_a_worker_that_runs_for_long_keeps_one_plan(rule_sets):
    """A plan takes some 20 KB a rule; one of every set that ever came while a worker ran was kept."""
    await started(rule_sets)
    others = plans()  # other tests'
    before = set(map(id, others))
    for cap in range(3, 9):
        add(rule_sets._archive, FILES | {"policy.yaml": f"contact:\n  daily_cap: {cap}\n"})
        await rule_sets._take_head()
    gc.collect()
    assert [plan for plan in plans() if id(plan) not in before] == [rule_sets.plan]


async def test_the_newest_comes_first_when_the_head_cannot_be_loaded(rule_sets):
    archive = rule_sets._archive
    old, new = add(archive, FILES), add(archive, OTHER)
    add(archive, BAD, "bad")
    assert archive.newest_first() == ["bad", new, old]
    assert not await rule_sets._take("bad")
    assert await rule_sets._take(new)
    assert state_of(rule_sets) == (1, 1)  # not the head, and it shows


async def test_watching_goes_on_whatever_stands_in_the_directory(rule_sets: RuleSets, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("engine.runtime.rule_sets.following.WATCH_S", 0.01)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "loop.txt").symlink_to("loop.txt")  # no rule file, and what it leads to cannot be looked at
    rule_sets._archive.named_head = add(rule_sets._archive, FILES)
    watching = asyncio.create_task(rule_sets.watch(tmp_path))
    await asyncio.sleep(0.5)  # nothing is to come of it, and nothing does on a slow machine either
    assert state_of(rule_sets) == (0, 0)
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    while not rule_sets.trouble and not watching.done():
        await asyncio.sleep(0.01)
    assert "loop.yaml: Too many levels of symbolic links" in (rule_sets.trouble or "")
    (tmp_path / "loop.yaml").unlink()
    while rule_sets.trouble and not watching.done():
        await asyncio.sleep(0.01)
    assert not watching.done()
    watching.cancel()
