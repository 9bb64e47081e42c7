"""Publishing on a broker in this process: who did what is kept, and a second person is asked where it is said."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerFenced
from click.testing import CliRunner, Result
from prometheus_client import CollectorRegistry

from engine.cli.main import main
from engine.core.client.sections import pack
from engine.demo.embedded import EmbeddedKafka
from engine.operations import snapshot as snapshots
from engine.runtime.clients import Clients
from engine.runtime.errors import Refused, Unavailable
from engine.runtime.formats import SNAPSHOT_FORMAT
from engine.runtime.kafka.connection import discard
from engine.runtime.observe.metrics import Metrics
from engine.runtime.protocol.writes import encode_writes
from engine.runtime.rule_sets import following as rule_sets_
from engine.runtime.rule_sets import publishing
from engine.runtime.rule_sets.archive import HEAD, Entry, RuleSetArchive
from engine.runtime.rule_sets.following import RuleSets
from engine.runtime.settings import Settings, load
from tests.core.making import Desk, at, balance, plan_of, profile
from tests.rulefile.sample import FILES, good
from tests.runtime.driving import written as write_of

POLICY = "policy.yaml"
LOWER = FILES["tiers.yaml"].replace("300_000, exit: 270_000", "100_000, exit: 90_000")
FOUR_EYES = FILES[POLICY] + "publishing:\n  approval: true\n"


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


def with_cap(cap: int, approval: bool = False) -> dict[str, str]:
    return FILES | {POLICY: (FOUR_EYES if approval else FILES[POLICY]).replace("daily_cap: 2", f"daily_cap: {cap}")}


def archive(settings: Settings) -> RuleSetArchive:
    found = RuleSetArchive(settings, Clients())
    asyncio.run(found.read())
    return found


def publish(
    settings: Settings, files: dict[str, str], by: str = "ann", note: str = "why", **given: str
) -> Entry | None:
    return asyncio.run(publishing.publish(settings, Clients(), good(files), by, note, **given))  # type: ignore[arg-type]


def engage(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


def written(directory: Path, files: dict[str, str]) -> str:
    directory.mkdir()
    for name, text in files.items():
        (directory / name).write_text(text, encoding="utf-8")
    return str(directory)


def test_who_did_what_is_kept(settings: Settings) -> None:
    first = publish(settings, FILES)
    assert first is not None
    assert (first.number, first.over, first.in_force, first.added, first.changed) == (1, None, True, 3, 0)
    changed = FILES | {"retention.yaml": FILES["retention.yaml"].replace("priority: 50", "priority: 51")}
    changed["retention.yaml"] = changed["retention.yaml"].replace("id: hello", "id: hello-again")
    second = publish(settings, changed, "bob", "louder")
    assert second is not None
    assert (second.added, second.changed, second.removed, second.parts) == (1, 1, 1, ())
    assert second.effects == ("what hello did is kept for 365 days: a rule that is put back goes on from there",)
    third = publish(settings, with_cap(3))
    assert third is not None
    assert third.parts == ("policy",)
    held = archive(settings)
    assert held.history == [first, second, third]
    assert held.head == third.digest == good(with_cap(3)).digest
    assert held.newest_first() == [third.digest, second.digest, first.digest]
    assert "2  20" in str(second)
    assert 'publish by bob: "louder" (rules 1 added, 1 changed, 1 removed)' in str(second)


def test_what_becomes_of_what_is_known_of_clients_is_kept_too(settings: Settings) -> None:
    wider = FILES | {"features.yaml": FILES["features.yaml"].replace("count, window: 30d", "count, window: 90d")}
    assert publish(settings, FILES)
    second = publish(settings, wider)
    assert second is not None
    assert [effect.split()[0] for effect in second.effects] == ["knows", "until", "every"]
    assert archive(settings).history[-1] == second


def test_what_is_in_force_is_not_published_again(settings: Settings) -> None:
    assert publish(settings, FILES)
    assert publish(settings, FILES) is None
    comments = FILES | {POLICY: "# the same\n" + FILES[POLICY]}
    other = publish(settings, comments)  # other texts, the same meaning: a set of its own, and no rule differs
    assert other is not None
    assert (other.added, other.changed, other.removed, other.parts) == (0, 0, 0, ())


def test_an_old_set_again_is_a_new_step(settings: Settings) -> None:
    first, second = publish(settings, FILES), publish(settings, with_cap(3))
    assert first
    assert second
    entry = asyncio.run(publishing.revert(settings, Clients(), first.digest[:8], "ann", "too many contacts"))
    assert entry is not None
    assert (entry.action, entry.digest, entry.over, entry.number) == ("revert", first.digest, second.digest, 3)
    assert archive(settings).head == first.digest
    assert asyncio.run(publishing.revert(settings, Clients(), first.digest, "ann", "again")) is None
    with pytest.raises(Refused, match="no rule set on the topic begins with 00000000"):
        asyncio.run(publishing.revert(settings, Clients(), "00000000", "ann", "why"))
    with pytest.raises(Refused, match="at least 4 digits"):
        asyncio.run(publishing.revert(settings, Clients(), "", "ann", "why"))


@pytest.mark.parametrize(("by", "note"), [("", "x"), (" ", "x"), ("a\nb", "x"), ("ann", "x\x1b"), ("ann", "x" * 501)])
def test_name_and_note_are_one_line(settings: Settings, by: str, note: str) -> None:
    with pytest.raises(Refused, match="must be one line"):
        publish(settings, FILES, by, note)


def test_a_second_person(settings: Settings) -> None:
    """What asks for approval is the set in force, so nobody's own settings or new files take it away."""
    assert publish(settings, with_cap(2, approval=True))
    waits = publish(settings, with_cap(9), "Ann")  # without the policy: it has to be approved all the same
    assert waits is not None
    assert not waits.in_force
    held = archive(settings)
    assert held.head != waits.digest
    assert held.waiting() == [waits]
    assert publish(settings, with_cap(9), "bob") is None  # it waits already
    with pytest.raises(Refused, match="somebody else has to approve"):
        asyncio.run(publishing.approve(settings, Clients(), waits.digest[:8], " ann ", ""))
    approved = asyncio.run(publishing.approve(settings, Clients(), waits.digest[:8], "bob", "seen"))
    assert approved is not None
    assert (approved.approves, approved.in_force, approved.by) == (waits.number, True, "bob")
    held = archive(settings)
    assert held.head == waits.digest
    assert held.standing(waits) == "approved by bob"
    assert held.standing(held.history[-1]) == "active"
    now_free = publish(settings, FILES)
    assert now_free is not None
    assert now_free.in_force


def test_what_waited_while_another_took_effect_has_lapsed(settings: Settings) -> None:
    assert publish(settings, with_cap(2, approval=True))
    one, other = publish(settings, with_cap(3, approval=True)), publish(settings, with_cap(4, approval=True))
    assert one
    assert other
    assert archive(settings).waiting() == [other, one]
    assert asyncio.run(publishing.approve(settings, Clients(), one.digest, "bob", ""))
    held = archive(settings)
    assert held.standing(other) == "lapsed"
    with pytest.raises(Refused, match="does not wait for approval"):
        asyncio.run(publishing.approve(settings, Clients(), other.digest, "bob", ""))
    reverted = asyncio.run(
        publishing.revert(settings, Clients(), good(with_cap(2, approval=True)).digest, "ann", "back")
    )
    assert reverted is not None
    assert not reverted.in_force  # going back needs the second person too


def test_a_worker_publishes_nothing_that_needs_approval(settings: Settings) -> None:
    assert publish(settings, with_cap(2, approval=True))
    assert publish(settings, with_cap(3), action="start") is None
    assert publish(settings, with_cap(3), action="watch") is None
    assert len(archive(settings).history) == 1


def test_a_worker_does_not_undo_at_its_start_what_a_person_published(settings: Settings) -> None:
    assert publish(settings, FILES, action="start")
    assert publish(settings, with_cap(3), action="start")
    assert publish(settings, FILES, action="start")  # as somebody's files go back and forth
    assert publish(settings, with_cap(4))
    assert publish(settings, FILES, action="start") is None
    assert publish(settings, with_cap(5), action="start")  # never seen before: new rules came with the worker


def test_a_head_that_skips_the_approval_does_not_count(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """As a worker of an earlier version moves it, which writes no history."""
    first = publish(settings, with_cap(2, approval=True))
    assert first is not None
    forged = good(with_cap(99))

    async def append() -> None:
        producer = AIOKafkaProducer(**settings.kafka_client())
        await producer.start()
        for key, value in (
            (forged.digest.encode(), json.dumps({"files": dict(forged.files)}).encode()),
            (HEAD, forged.digest.encode()),
        ):
            await producer.send_and_wait(settings.rule_set_topic, value, key=key, partition=0)
        await discard(producer)

    asyncio.run(append())
    assert archive(settings).head == first.digest
    following = RuleSets(settings, Clients(), Metrics(CollectorRegistry()))
    asyncio.run(following.start())
    assert following.plan.rule_set.digest == first.digest
    assert following.trouble is not None
    assert "without the approval" in following.trouble


def test_the_commands(settings: Settings, tmp_path: Path) -> None:
    one, two = written(tmp_path / "one", FILES), written(tmp_path / "two", with_cap(3, approval=True))
    bad = written(tmp_path / "bad", FILES | {POLICY: "contact:\n  daily_cap: many\n"})
    assert "nothing was published" in engage("rules", "history").output
    refused = engage("publish", bad, "--note", "x", "--as", "ann")
    assert refused.exit_code == 1
    assert "policy.yaml:2:14" in refused.output
    assert engage("publish", one).exit_code == 2  # no note
    done = engage("publish", one, "--note", "the first", "--as", "ann")
    assert done.exit_code == 0, done.output
    assert "active" in done.output
    assert "nothing to do" in engage("publish", one, "--note", "again").output
    assert engage("publish", two, "--note", "control", "--as", "ann").exit_code == 0
    waits = engage("rules", "revert", good(FILES).digest[:8], "--note", "back", "--as", "ann")
    assert f"`engage rules approve {good(FILES).digest[:12]} --as NAME`" in waits.output
    own = engage("rules", "approve", good(FILES).digest[:8], "--as", "Ann")
    assert own.exit_code == 1
    assert "somebody else" in own.output
    assert "waits for approval" in engage("rules", "status").output
    assert engage("rules", "approve", good(FILES).digest[:8], "--as", "bob").exit_code == 0
    lines = engage("rules", "history").output.splitlines()
    assert [line.split()[4:7] for line in lines] == [["approve", "by", "bob"], ["revert", "by", "ann:"]] + [
        ["publish", "by", "ann:"]
    ] * 2
    assert lines[0].endswith("[active]")
    assert lines[1].endswith("[approved by bob]")
    assert json.loads(engage("rules", "history", "--json").output.splitlines()[-1])["note"] == "the first"
    shown = engage("rules", "show", good(FILES).digest[:8])
    assert f"\n# --- {POLICY}\n{FILES[POLICY]}" in shown.output
    into = tmp_path / "out"
    assert engage("rules", "show", good(FILES).digest[:8], "--into", str(into)).exit_code == 0
    assert {file.name: file.read_text(encoding="utf-8") for file in into.iterdir()} == FILES
    assert engage("rules", "show", good(FILES).digest[:8], "--into", str(into)).exit_code == 1
    assert engage("rules", "show", "0000").exit_code == 1
    nobody = engage("rules", "status", "http://127.0.0.1:1")
    assert nobody.exit_code == 1
    assert "cannot be read" in nobody.output


def test_failing_tests_are_not_published(settings: Settings) -> None:
    rules = FILES["retention.yaml"]
    tests = """\
    tests:
      - name: acts on a login
        event: {logins: {}}
        expect: {not: condition}
"""
    with pytest.raises(Refused, match="not published, 1 of the rules' tests fail") as error:
        publish(settings, FILES | {"retention.yaml": rules + tests})
    assert 'rule "hello", test "acts on a login"' in str(error.value)
    assert archive(settings).head is None


def test_a_change_of_watched_files_while_kafka_is_away_is_published_later(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(rule_sets_, "WATCH_S", 0.01)
    away = settings.model_copy(update={"kafka": "127.0.0.1:1"})

    async def watch() -> None:
        watching = RuleSets(settings.model_copy(update={"rules": tmp_path}), Clients(), Metrics(CollectorRegistry()))
        await watching.start()
        (tmp_path / POLICY).write_text(with_cap(3)[POLICY])
        watching._settings = away
        with pytest.raises(Unavailable):
            await asyncio.wait_for(watching.watch(tmp_path), 300)
        watching._settings = settings
        task = asyncio.create_task(watching.watch(tmp_path))
        published = RuleSetArchive(settings, Clients())
        async with asyncio.timeout(300):
            while published.head != good(with_cap(3)).digest:
                await published.read()
        task.cancel()

    asyncio.run(watch())


class FencedProducer:
    """One that somebody else fences each time."""

    def __init__(self, **options: object) -> None:
        pass

    async def start(self) -> None:
        raise ProducerFenced

    async def stop(self) -> None:
        pass


def test_who_is_fenced_again_and_again_gives_up_and_says_so() -> None:
    asked: list[int] = []

    def no_pause() -> float:
        asked.append(1)
        return 0.0

    clients = Clients(producer=FencedProducer, chance=no_pause)  # type: ignore[arg-type]
    with pytest.raises(Unavailable, match="others publish rule sets at the same time"):
        asyncio.run(publishing.publish(load(), clients, good(FILES), "ann", "why"))
    assert len(asked) == publishing.TRIES - 1  # it does not wait only to give up


def test_who_is_fenced_waits_for_a_while_that_chance_says() -> None:
    """Two that waited equally long would fence each other again."""
    longest = [publishing._pause_s(attempt, 1.0) for attempt in range(publishing.TRIES)]
    assert longest == [0.2 * 2**attempt for attempt in range(publishing.TRIES)]
    assert [publishing._pause_s(3, chance) for chance in (0.0, 0.25, 0.5)] == [0.0, longest[3] / 4, longest[3] / 2]


def test_engines_that_differ_in_their_prefix_do_not_fence_each_other() -> None:
    """By their producers' ids: the broker in this process fences nobody."""
    clients = Clients(producer=lambda **options: options["transactional_id"])  # type: ignore[arg-type]
    assert publishing._producer(load(), clients) == "engage-rule-sets"
    assert publishing._producer(load(prefix="another."), clients) == "another.engage-rule-sets"


@pytest.mark.parametrize(
    ("takes", "refused"),
    [(None, False), (8_388_608, False), (1_048_588, False), (2_000, True), (1_500, True), (0, False)],
    ids=["unread", "default", "mega", "small", "smaller", "none"],
)
def test_a_set_that_does_not_fit_its_topic_is_refused_before_anything_is_tried(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, takes: int | None, refused: bool
) -> None:
    """The embedded broker takes any size: what it would say comes from here."""

    async def largest(*_: object) -> int | None:
        return takes

    def producer(**_: object) -> None:
        raise AssertionError("it was tried")

    monkeypatch.setattr(publishing, "largest_record", largest)
    if not refused:
        assert publish(settings, FILES) is not None
        return
    with pytest.raises(Refused, match=r"one record of [0-9,]+ bytes, and .* takes .*: set its max.message.bytes"):
        asyncio.run(publishing.publish(settings, Clients(producer=producer), good(FILES), "ann", "why"))  # type: ignore[arg-type]


@pytest.mark.parametrize("letter", ["a", "\u80a1", "\n", '"', "\U0001f600"])
def test_the_size_of_a_set_is_that_of_its_record(letter: str) -> None:
    """Characters are not bytes: a comment of 4 million Chinese letters does not fit, as many Latin ones do."""
    from engine.rulefile.read.load import MAX_ALL, load

    width = len(json.dumps(letter, ensure_ascii=False).encode()) - 2
    line = "# " + letter * 900_000 + "\n" if letter != "\n" else "\n" * 900_000
    count = 7_998_000 // (width * 900_000) + 1
    files = {**FILES, **{f"more-{i}.csv": line for i in range(count)}}
    result = load(files)
    assert isinstance(result, tuple)
    assert "bytes in all files" in result[0].message
    assert f"{MAX_ALL:,}" in result[0].remedy
    fewer = load({**FILES, **{f"more-{i}.csv": line for i in range(count - 1)}})
    assert isinstance(fewer, tuple)
    assert all("bytes in all files" not in problem.message for problem in fewer)


def snapshot_of(path: Path, cny: tuple[int, ...]) -> str:
    plan = plan_of()
    desk = Desk(plan)
    for number, assets in enumerate(cny):
        desk.take(profile(at(0), f"c{number}"), balance(at(0), assets, f"c{number}"))
    with path.open("wb") as out:
        rows = snapshots.Rows(out)
        rows.put({"engage_snapshot": SNAPSHOT_FORMAT, "app_id": "engage", "partitions": 1})
        rows.put(
            {"states": encode_writes(write_of(client, pack(plan.layout, client)) for client in desk.states.values())}
        )
        rows.end()
    return str(path)


def test_whom_a_set_moves_at_once_is_said_and_asked(settings: Settings, tmp_path: Path) -> None:
    bounds = FILES[POLICY] + "publishing:\n  ask_above: 1\n  approve_above: 2\n"
    lower = FILES | {POLICY: bounds, "tiers.yaml": LOWER}
    assert publish(settings, FILES | {POLICY: bounds})
    rules = written(tmp_path / "lower", lower)
    given = ("publish", rules, "--note", "lower", "--as", "ann", "--snapshot")
    one, two, three = (snapshot_of(tmp_path / str(n), (50_000, *[200_000] * n)) for n in (1, 2, 3))
    asked = CliRunner().invoke(main, [*given, two], input="n\n")
    assert asked.exit_code == 1
    assert "of 3 clients, 2 would be moved or acted on at once\n  tier C -> B: 2 clients\n" in asked.output
    nobody = CliRunner().invoke(main, [*given, three, "--one-in", "1000000"], input="n\n")
    assert nobody.exit_code == 1  # it asks all the same
    assert "of 0 clients, by one in 1,000,000, " in nobody.output
    silent = CliRunner().invoke(main, [*given, two, "--json"])
    assert silent.exit_code == 1
    assert "2 clients would be moved or acted on at once: say --yes" in silent.output
    assert len(archive(settings).history) == 1
    waits = CliRunner().invoke(main, [*given, three, "--yes", "--json"])
    assert json.loads(waits.output)["at_once"]["affected"] == 3
    assert json.loads(waits.output)["entry"]["in_force"] is False
    digest = archive(settings).waiting()[0].digest
    assert engage("rules", "approve", digest, "--note", "seen", "--as", "bob").exit_code == 0
    before = written(tmp_path / "before", FILES | {POLICY: bounds})
    back = engage("publish", before, "--note", "back", "--snapshot", one)
    assert back.exit_code == 0  # nobody falls at once: without a question
    assert archive(settings).history[-1].in_force


def test_what_nobody_has_counted_waits_for_a_second_person_too(settings: Settings, tmp_path: Path) -> None:
    bounds = FILES[POLICY] + "publishing: {ask_above: 1, approve_above: 2}\n"
    assert publish(settings, FILES | {POLICY: bounds})
    lower = FILES | {POLICY: bounds, "tiers.yaml": LOWER}
    rules = written(tmp_path / "lower", lower)
    done = engage("publish", rules, "--note", "lower", "--as", "ann")
    assert done.exit_code == 0
    assert "nobody has counted on whom it acts at once: it waits for a second person" in done.output
    assert "waits for somebody else: `engage rules approve " in done.output
    assert [entry.in_force for entry in archive(settings).history] == [True, False]
    assert publish(settings, lower, "worker w-1", "watch", action="watch") is None  # nor does a worker publish it
    approved = engage("rules", "approve", archive(settings).waiting()[0].digest, "--as", "bob")
    assert approved.exit_code == 0
    few = written(tmp_path / "few", FILES)
    counted = snapshot_of(tmp_path / "counted", (50_000,))
    assert engage("publish", few, "--note", "few", "--as", "ann", "--snapshot", counted).exit_code == 0
    assert archive(settings).head == good(FILES).digest
    assert engage("publish", rules, "--note", "again", "--as", "ann").exit_code == 0  # what is active asks for nothing
    assert archive(settings).head == good(lower).digest
