"""Pauses as steps of the history, on a broker in this process: no publication ends them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from prometheus_client import CollectorRegistry

from engine.cli.main import main
from engine.core.plan.compile import compile_rule_set
from engine.core.rules.meaning import meaning
from engine.core.rules.policy import PAUSES_FILE
from engine.demo.embedded import EmbeddedKafka
from engine.runtime.clients import Clients
from engine.runtime.errors import Refused
from engine.runtime.formats import RULE_SET_FORMAT
from engine.runtime.observe.metrics import Metrics
from engine.runtime.rule_sets import publishing
from engine.runtime.rule_sets.archive import Entry, RuleSetArchive, load_files
from engine.runtime.rule_sets.following import RuleSets
from engine.runtime.rule_sets.pausing import BREAKER, pause, resume
from engine.runtime.settings import Settings, load
from tests.rulefile.sample import FILES, good

POLICY = "policy.yaml"
FOUR_EYES = FILES | {POLICY: FILES[POLICY] + "publishing:\n  approval: true\n"}


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka() as started:
        yield started


@pytest.fixture
def settings(broker: EmbeddedKafka, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """An engine of its own for each test."""
    prefix = re.sub(r"[^a-z_]", "-", request.node.name) + "."
    monkeypatch.setenv("ENGAGE_KAFKA", broker.address)
    monkeypatch.setenv("ENGAGE_PREFIX", prefix)
    settings = load(kafka=broker.address, prefix=prefix)
    broker.create_topics([settings.rule_set_topic])
    return settings


def archive(settings: Settings) -> RuleSetArchive:
    found = RuleSetArchive(settings, Clients())
    asyncio.run(found.read())
    return found


def publish(settings: Settings, files: dict[str, str], **given: str) -> Entry | None:
    return asyncio.run(publishing.publish(settings, Clients(), good(files), "ann", "why", **given))  # type: ignore[arg-type]


def paused(settings: Settings, rule: str = "hello", why: str = "too many") -> Entry | None:
    return asyncio.run(pause(settings, Clients(), {rule: why}, "ann"))


def resumed(settings: Settings, rule: str = "hello", *, drop: bool = False) -> Entry | None:
    return asyncio.run(resume(settings, Clients(), rule, "bob", "mended", drop=drop))


def standing(settings: Settings) -> list[str]:
    held = archive(settings)
    assert held.head is not None
    return [one.rule for one in held.plan(held.head).rule_set.paused]


def engage(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


def test_a_pause_and_its_end_are_steps_of_the_history(settings: Settings) -> None:
    first = publish(settings, FILES)
    assert first is not None
    step = paused(settings)
    assert step is not None
    assert (step.action, step.over, step.in_force, step.parts) == ("pause", first.digest, True, ("pauses",))
    assert step.unpaused == first.digest
    assert step.effects == ("paused: hello: what is due is held until `engage rules resume`, or expires",)
    assert 'pause by ann: "hello: too many" (rules as before, pauses)' in str(step)
    held = archive(settings)
    assert held.head == step.digest
    plan = held.plan(step.digest)
    assert [(one.rule, one.by, one.why) for one in plan.rule_set.paused] == [("hello", "ann", "too many")]
    assert paused(settings) is None
    end = resumed(settings, drop=True)
    assert end is not None
    assert end.effects == (
        "resumed: hello: what it held is not sent",
        "every client is evaluated once: a rule was resumed",
    )
    rule_set = archive(settings).plan(end.digest).rule_set
    assert rule_set.paused == ()
    assert rule_set.resumed[0].drops
    assert resumed(settings) is None
    for wrong in (paused, resumed):
        with pytest.raises(Refused, match="the active set has no rule helo: did you mean hello"):
            wrong(settings, "helo")


def test_a_later_pause_begins_after_what_ended_the_one_before(settings: Settings) -> None:
    """Clocks of two machines differ; what a pause is told by is when it began."""
    publish(settings, FILES)
    clocks = iter([5_000, 9_000, 4_000, 3_000])
    clients = Clients(wall_ms=lambda: next(clocks))

    async def steps() -> None:
        await pause(settings, clients, {"hello": "one"}, "ann")
        await resume(settings, clients, "hello", "ann", "one", drop=True)
        await pause(settings, clients, {"hello": "two"}, "ann")

    asyncio.run(steps())
    held = archive(settings)
    assert held.head is not None
    rule_set = held.plan(held.head).rule_set
    assert (rule_set.paused[0].since_ms, rule_set.resumed[0].dropped_ms) == (9_001, 9_000)


def test_a_publication_carries_what_stands_over(settings: Settings) -> None:
    publish(settings, FILES)
    paused(settings)
    paused(settings, "silent-client")
    assert publish(settings, FILES) is None  # as a worker's directory, at each of its starts
    assert publish(settings, FILES, action="start") is None
    changed = FILES | {"retention.yaml": FILES["retention.yaml"].replace("priority: 50", "priority: 51")}
    renamed = changed | {"retention.yaml": changed["retention.yaml"].replace("id: hello", "id: hallo\n    was: hello")}
    step = publish(settings, renamed)
    assert step is not None
    assert (
        step.effects[-1] == "paused: hallo, silent-client: what is due is held until `engage rules resume`, or expires"
    )
    assert standing(settings) == ["hallo", "silent-client"]
    gone = publish(settings, FILES | {"retention.yaml": FILES["retention.yaml"].replace("id: hello", "id: other")})
    assert gone is not None
    assert "the pause of hallo ends with the rule: put back, it is not paused" in gone.effects
    assert standing(settings) == ["silent-client"]
    own = FILES | {PAUSES_FILE: 'paused:\n  hello: {since: "2026-01-01T00:00:00Z", by: x, why: y}\n'}
    publish(settings, own)
    assert standing(settings) == ["silent-client"]  # what a directory says of pauses counts for nothing


def test_a_set_that_was_active_before_does_not_end_a_pause(settings: Settings) -> None:
    first = publish(settings, FILES)
    publish(settings, FILES | {POLICY: FILES[POLICY].replace("2", "3")})
    paused(settings)
    assert first is not None
    step = asyncio.run(publishing.revert(settings, Clients(), first.digest, "ann", "back"))
    assert step is not None
    assert (step.unpaused, standing(settings)) == (first.digest, ["hello"])
    assert asyncio.run(publishing.revert(settings, Clients(), first.digest, "ann", "again")) is None


def test_nobody_approves_a_pause_and_it_does_not_end_a_wait_for_approval(settings: Settings) -> None:
    publish(settings, FOUR_EYES)
    waits = publish(settings, FOUR_EYES | {POLICY: FOUR_EYES[POLICY].replace("2", "3")})
    assert waits is not None
    step = paused(settings)
    assert step is not None
    assert step.in_force
    held = archive(settings)
    assert held.head == step.digest
    assert held.waiting() == [waits]
    approved = asyncio.run(publishing.approve(settings, Clients(), waits.digest, "bob", "seen"))
    assert approved is not None
    held = archive(settings)
    assert (held.head, held.standing(waits), standing(settings)) == (approved.digest, "approved by bob", ["hello"])
    end = resumed(settings)
    assert end is not None
    assert end.in_force


def test_a_worker_at_its_start_does_not_undo_what_a_person_published_before_a_pause(settings: Settings) -> None:
    publish(settings, FILES, action="start")
    publish(settings, FILES | {POLICY: FILES[POLICY].replace("2", "3")})
    paused(settings)
    assert publish(settings, FILES, action="start") is None
    assert publish(settings, FILES | {POLICY: FILES[POLICY].replace("2", "4")}, action="start") is not None
    assert standing(settings) == ["hello"]


def test_a_set_with_pauses_is_what_its_files_say(settings: Settings) -> None:
    """However it came about: a plan that is at hand is used again, and a directory's set gets the pauses that stand."""
    publish(settings, FILES)
    held = archive(settings)
    assert held.head is not None
    before = held.plan(held.head)
    step = paused(settings)
    assert step is not None
    asyncio.run(held.read())
    plan = held.plan(step.digest)
    assert plan.match is before.match  # nothing was compiled
    loaded = load_files(held.files(step.digest), "these rules")
    assert (plan.rule_set.digest, plan.rule_set.files) == (loaded.digest, loaded.files)
    assert meaning(plan.rule_set) == meaning(loaded)
    compiled = compile_rule_set(loaded)
    assert (plan.paused, plan.resumed, plan.timed.digest) == (compiled.paused, compiled.resumed, compiled.timed.digest)
    end = resumed(settings)
    assert end is not None
    asyncio.run(held.read())
    plan, compiled = held.plan(end.digest), compile_rule_set(load_files(held.files(end.digest), "these rules"))
    assert plan.match is before.match
    assert (plan.paused, plan.resumed, plan.timed.digest) == (compiled.paused, compiled.resumed, compiled.timed.digest)
    assert plan.timed.digest != before.timed.digest


def test_files_of_rules_under_the_name_of_pauses_are_not_lost(settings: Settings) -> None:
    """Any name was one of rules before."""
    files = {("pauses.yaml" if name == "retention.yaml" else name): text for name, text in FILES.items()}
    rule_set = load_files(files, "of old")
    assert "hello" in {rule.id for rule in rule_set.rules}
    entry = asyncio.run(publishing.publish(settings, Clients(), rule_set, "ann", "why"))
    assert entry is not None
    assert archive(settings).files(entry.digest) == files
    with pytest.raises(Refused, match=r"pauses\.yaml holds rules"):
        paused(settings)


def test_an_older_engine_does_not_number_steps_as_these_are(settings: Settings) -> None:
    entry = publish(settings, FILES)
    step = paused(settings)
    assert entry is not None
    assert step is not None
    assert json.loads(entry.encode())["format"] == 1
    assert json.loads(step.encode())["format"] == RULE_SET_FORMAT == 2


async def test_a_worker_says_what_is_paused(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = Metrics(CollectorRegistry())
    following = RuleSets(settings, Clients(), metrics)
    await publishing.publish(settings, Clients(), good(FILES), "ann", "why")
    await following.start()

    def shown() -> float | None:
        return metrics.registry.get_sample_value("engage_rule_paused", {"rule": "hello"})

    assert (shown(), following.warnings()) == (None, [])
    await pause(settings, Clients(), {"hello": "9,000 actions in a minute"}, "worker", on_behalf_of=BREAKER)
    await following._archive.read()
    await following._take_head()
    assert shown() == 1
    assert (
        "by breaker (9,000 actions in a minute): find out why, then run `engage rules resume hello"
        in (following.warnings()[0])
    )
    await resume(settings, Clients(), "hello", "ann", "mended")
    await following._archive.read()
    await following._take_head()
    assert (shown(), following.warnings()) == (None, [])


def test_the_commands(settings: Settings, tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    for name, text in FILES.items():
        (rules / name).write_text(text, encoding="utf-8")
    assert engage("rules", "pause", "hello", "--note", "why").exit_code == 1  # nothing is active
    assert engage("publish", str(rules), "--note", "first", "--as", "ann").exit_code == 0
    done = engage("rules", "pause", "hello", "--note", "too many", "--as", "ann")
    assert done.exit_code == 0
    assert 'pause by ann: "hello: too many"' in done.output
    assert "what is due is held until" in done.output
    assert "nothing to do: hello is paused already" in engage("rules", "pause", "hello", "--note", "x").output
    assert re.search(r"paused: hello since \S+ by ann: too many", engage("rules", "status").output)
    assert json.loads(engage("rules", "status", "--json").output)["paused"][0]["rule"] == "hello"
    assert "hello" in engage("diff", str(rules), "live").output
    assert engage("diff", "live", str(rules)).exit_code == 0  # it would be published with what is paused
    assert "nothing to do" in engage("publish", str(rules), "--note", "again").output
    done = engage("rules", "resume", "hello", "--note", "mended", "--as", "bob", "--drop")
    assert "resumed: hello: what it held is not sent" in done.output
    assert "nothing to do: hello is not paused" in engage("rules", "resume", "hello", "--note", "x").output
    assert "resume by bob" in engage("rules", "history").output
